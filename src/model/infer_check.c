/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a model demands of a request: the names, types and shapes of its signature. The op table has checked that
 * descriptions are right in themselves (src/op/model.c), and the engine that they do not change any more.
 *
 * Tensors of floating and complex numbers and of bytes are computed on where they lie, in memory that the guest can
 * write to. The others may be indices, conditions or lengths: a framework checks those once and uses them later, so it
 * gets a copy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/infer.h"
#include "model/signature.h"
#include "op/tensor.h"

static bool is_computed_on(uint32_t dtype)
{
	switch (dtype) {
	case VACCEL_FLOAT16:
	case VACCEL_BFLOAT16:
	case VACCEL_FLOAT32:
	case VACCEL_FLOAT64:
	case VACCEL_COMPLEX64:
	case VACCEL_COMPLEX128:
	case VACCEL_INT8:
	case VACCEL_UINT8:
		return true;
	default:
		return false;
	}
}

static bool fits(const struct model_tensor *row, const struct vaccel_tensor_desc *desc)
{
	if (row->dtype != desc->dtype)
		return false;
	if (row->rank == UINT32_MAX)
		return true;
	for (uint32_t i = 0; i < row->rank && row->rank == desc->rank; i++)
		if (row->dims[i] >= 0 && row->dims[i] != desc->dims[i])
			return false;
	return row->rank == desc->rank;
}

static int unknown(const struct model *model, const char *what, const char *name, const struct model_tensors *tensors,
		   struct error *error)
{
	char names[96];

	signature_names(tensors, names, sizeof(names));
	return error_set(error, -EINVAL, "model %s: has no %s '%.48s'; it has: %s", model->name, what, name,
			 tensors->n ? names : "none");
}

static int check_input(const struct model *model, const struct vaccel_tensor_desc *desc, struct error *error)
{
	const struct model_tensor *row = model_tensor_find(&model->inputs, desc->name);
	char wanted[80], given[80];

	if (!row)
		return unknown(model, "input", desc->name, &model->inputs, error);
	if (fits(row, desc))
		return 0;
	model_tensor_text(row->dtype, row->rank, row->dims, wanted, sizeof(wanted));
	model_tensor_text(desc->dtype, desc->rank, desc->dims, given, sizeof(given));
	return error_set(error, -EINVAL, "model %s: input %.40s is %s, not %s", model->name, desc->name, wanted, given);
}

/* The op table lets no name come twice, so as many as there are means all. */
static int check_missing(const struct infer *infer, struct error *error)
{
	const struct model *model = infer->model;

	for (size_t i = 0; i < model->inputs.n; i++) {
		bool given = false;

		for (uint32_t j = 0; j < infer->n_inputs; j++)
			given |= !strcmp(model->inputs.rows[i].name, infer->descs[j].name);
		if (!given)
			return error_set(error, -EINVAL, "model %s: input %s is missing", model->name,
					 model->inputs.rows[i].name);
	}
	return 0;
}

/* A guest may write what it likes into the memory of a condition; a framework reads it as a C++ bool. */
static void make_bools(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = bytes[i] != 0;
}

static int copy_input(struct infer *infer, uint32_t index, struct error *error)
{
	const struct vaccel_tensor_desc *desc = &infer->descs[index];
	struct vaccel_plugin_tensor *input = &infer->inputs[index];
	uint64_t count = 0;
	void *copy = aligned_alloc(64, (MAX(input->len, 1) + 63) / 64 * 64);

	if (!copy)
		return error_set(error, -ENOMEM, "model %s: no memory for input %s", infer->model->name, desc->name);
	infer->copies[index] = copy;
	if (input->len)
		memcpy(copy, input->data, input->len);
	if (infer->call->copied)
		*infer->call->copied += input->len;
	input->data = copy;
	if (desc->dtype == VACCEL_BOOL)
		make_bools(copy, input->len);
	/* Only now nobody can change the lengths. */
	if (desc->dtype == VACCEL_STRING &&
	    (op_tensor_count(desc->rank, desc->dims, &count) < 0 || op_strings_check(copy, input->len, count) < 0))
		return error_set(error, -EINVAL, "model %s: the strings of input %s do not fill their %zu bytes",
				 infer->model->name, desc->name, input->len);
	return 0;
}

static int set_input(struct infer *infer, uint32_t index, struct error *error)
{
	const struct vaccel_tensor_desc *desc = &infer->descs[index];
	const struct vaccel_plugin_arg *arg = &infer->call->args[2 + index];
	struct vaccel_plugin_tensor *input = &infer->inputs[index];
	int r = check_input(infer->model, desc, error);

	if (r < 0)
		return r;
	*input = (struct vaccel_plugin_tensor){
		.name = desc->name, .dtype = desc->dtype, .rank = desc->rank, .data = arg->data, .len = desc->len
	};
	memcpy(input->dims, desc->dims, sizeof(input->dims));
	return is_computed_on(desc->dtype) ? 0 : copy_input(infer, index, error);
}

int infer_prepare(struct infer *infer, const struct serve *serve, const struct model *model,
		  const struct vaccel_plugin_call *call, struct error *error)
{
	const struct vaccel_infer *params = call->params;
	int r = 0;

	*infer = (struct infer){ .serve = serve,
				 .model = model,
				 .call = call,
				 .n_inputs = params->n_inputs,
				 .n_outputs = params->n_outputs };
	memcpy(infer->descs, call->args[0].data, (params->n_inputs + params->n_outputs) * sizeof(infer->descs[0]));
	for (uint32_t i = 0; i < infer->n_outputs && r == 0; i++) {
		infer->outputs[i] = infer->descs[infer->n_inputs + i].name;
		if (!model_tensor_find(&model->outputs, infer->outputs[i]))
			r = unknown(model, "output", infer->outputs[i], &model->outputs, error);
	}
	for (uint32_t i = 0; i < infer->n_inputs && r == 0; i++)
		r = set_input(infer, i, error);
	return r == 0 ? check_missing(infer, error) : r;
}

void infer_clear(struct infer *infer)
{
	for (size_t i = 0; i < VACCEL_MAX_TENSORS; i++) {
		free(infer->copies[i]);
		infer->copies[i] = NULL;
	}
}
