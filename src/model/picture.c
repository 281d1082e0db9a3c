/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model that classifies pictures: whether its description's [image] fits its signature, and what of it the signature
 * tells alone. Done once, when the model is loaded, so that requests only follow the rule.
 */
#include "model/picture.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "model/signature.h"
#include "util/util.h"

/* The row that [image] means: by name, or the only one. */
static int choose(const struct model_tensors *tensors, const char *name, const char *what, size_t *ret_row,
		  struct error *error)
{
	const struct model_tensor *row = *name ? model_tensor_find(tensors, name) : tensors->rows;
	char names[96];

	signature_names(tensors, names, sizeof(names));
	if (!*name && tensors->n != 1)
		return error_set(error, -EINVAL, "[image] %s: is missing, and the model has %zu: %s", what, tensors->n,
				 names);
	if (!row)
		return error_set(error, -EINVAL, "[image] %s: the model has no '%.40s', but %s", what, name, names);
	*ret_row = (size_t)(row - tensors->rows);
	return 0;
}

/* A side or the channels: of the description, or of the signature; if both know it they have to agree. */
static int settle(uint32_t *field, int64_t dim, uint32_t fallback, const char *what, struct error *error)
{
	if (!*field && dim > 0 && dim <= IMAGE_MAX_SIDE)
		*field = (uint32_t)dim;
	if (!*field)
		*field = fallback;
	if (!*field)
		return error_set(error, -EINVAL, "[image] %s: is missing, and the model's input does not tell", what);
	if (dim >= 0 && dim != *field)
		return error_set(error, -EINVAL, "[image] %s: is %u, and the model's input has %" PRId64, what, *field,
				 dim);
	return 0;
}

static int settle_input(struct model *model, struct error *error)
{
	const struct model_tensor *row = &model->inputs.rows[model->input];
	const struct describe_image *image = &model->describe.image;
	const bool planes = image->layout == IMAGE_NCHW;
	const bool known = row->rank != UINT32_MAX;
	struct image_rule *rule = &model->rule;
	char text[96];
	int r;

	model_tensor_text(row->dtype, row->rank, row->dims, text, sizeof(text));
	if ((row->dtype != VACCEL_FLOAT32 && row->dtype != VACCEL_UINT8) || (known && row->rank != 4) ||
	    (known && row->dims[0] != -1 && row->dims[0] != 1))
		return error_set(error, -EINVAL,
				 "[image] input: %s is %s, which takes no picture (float32 or uint8, 4 "
				 "dimensions, the first 1 or any)",
				 row->name, text);
	r = settle(&rule->height, known ? row->dims[planes ? 2 : 1] : -1, 0, "height", error);
	if (r == 0)
		r = settle(&rule->width, known ? row->dims[planes ? 3 : 2] : -1, 0, "width", error);
	if (r == 0)
		r = settle(&rule->channels, known ? row->dims[planes ? 1 : 3] : -1, 3, "channels", error);
	rule->type = row->dtype == VACCEL_UINT8 ? IMAGE_UINT8 : IMAGE_FLOAT32;
	return r;
}

/* One number is for all channels. */
static int settle_numbers(float *field, const struct describe_numbers *numbers, float fallback, uint32_t channels,
			  const char *what, struct error *error)
{
	if (numbers->n > 1 && numbers->n != channels)
		return error_set(error, -EINVAL, "[image] %s: has %u numbers for %u channels", what, numbers->n,
				 channels);
	for (uint32_t i = 0; i < channels && i < DESCRIBE_CHANNELS; i++)
		field[i] = !numbers->n ? fallback : numbers->values[numbers->n > 1 ? i : 0];
	return 0;
}

/* Classes are what the output has elements of, apart from the batch. */
static int check_output(const struct model *model, struct error *error)
{
	const struct model_tensor *row = &model->outputs.rows[model->output];
	uint64_t classes = 1;
	bool known = row->rank != UINT32_MAX;
	char text[96];

	model_tensor_text(row->dtype, row->rank, row->dims, text, sizeof(text));
	if (row->dtype != VACCEL_FLOAT32 && row->dtype != VACCEL_FLOAT64 && row->dtype != VACCEL_FLOAT16 &&
	    row->dtype != VACCEL_BFLOAT16)
		return error_set(error, -EINVAL, "[image] output: %s is %s, which holds no probabilities", row->name,
				 text);
	if (known && (!row->rank || (row->dims[0] != -1 && row->dims[0] != 1)))
		return error_set(error, -EINVAL, "[image] output: %s is %s, which is not of one picture each",
				 row->name, text);
	for (uint32_t i = 1; known && i < row->rank; i++) {
		known = row->dims[i] >= 0;
		if (known && mul_u64(classes, (uint64_t)row->dims[i], &classes))
			return error_set(error, -E2BIG, "[image] output: %s is too large", row->name);
	}
	if (known && model->labels.n && model->labels.n != classes)
		return error_set(error, -EINVAL, "%s: has %zu labels, and output %s %" PRIu64 " classes",
				 model->describe.labels, model->labels.n, row->name, classes);
	return 0;
}

static int check_rule(const struct image_rule *rule, struct error *error)
{
	struct error own = { 0 };
	int r = image_rule_check(rule, &own);

	return r < 0 ? error_set(error, r, "[image]: %.160s", own.text) : 0;
}

int picture_setup(struct model *model, struct error *error)
{
	const struct describe_image *image = &model->describe.image;
	struct image_rule *rule = &model->rule;
	int r;

	*rule = (struct image_rule){ .width = image->width,
				     .height = image->height,
				     .channels = image->channels,
				     .layout = image->layout,
				     .resize = image->resize,
				     .fit = image->fit };
	r = choose(&model->inputs, image->input, "input", &model->input, error);
	if (r == 0 && model->inputs.n != 1)
		r = error_set(error, -EINVAL, "[image]: the model has %zu inputs, and a picture is only one",
			      model->inputs.n);
	if (r == 0)
		r = choose(&model->outputs, image->output, "output", &model->output, error);
	if (r == 0)
		r = settle_input(model, error);
	if (r == 0)
		r = settle_numbers(rule->mean, &image->mean, 0, rule->channels, "mean", error);
	if (r == 0)
		r = settle_numbers(rule->scale, &image->scale, 1, rule->channels, "scale", error);
	if (r == 0)
		r = check_rule(rule, error);
	if (r == 0 && image_prepared_len(rule) > MODEL_MAX_INPUT_BYTES)
		r = error_set(error, -E2BIG, "[image]: a picture of %u x %u takes more than %d bytes", rule->width,
			      rule->height, MODEL_MAX_INPUT_BYTES);
	return r == 0 ? check_output(model, error) : r;
}
