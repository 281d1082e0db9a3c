/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Graph dense: a picture through a dense layer, relu, a dense layer and softmax. Weights come from the seed by integer
 * arithmetic alone, and sums are taken in double precision in a fixed order: everywhere the same but for the last bit
 * of exp(). It recognises nothing, but tells pictures apart.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "graph.h"

#define MOST_WEIGHTS ((size_t)1 << 26)

/* splitmix64: a number for each index, without a state to carry along. */
static uint64_t random_at(uint64_t seed, uint64_t index)
{
	uint64_t x = seed * UINT64_C(0xd1342543de82ef95) + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* From -1 to 1, in steps that a float holds exactly. */
static float weight_at(uint64_t seed, uint64_t index)
{
	return (float)((int64_t)(random_at(seed, index) >> 40) - (1 << 23)) / (1 << 23);
}

static size_t inputs_of(const struct graph_model *model)
{
	return (size_t)model->height * model->width * model->channels;
}

/* Both layers: a row of weights for each of its outputs, with the bias at its end. */
static size_t first_weights(const struct graph_model *model)
{
	return model->hidden * (inputs_of(model) + 1);
}

static int setup(struct graph_model *model, const struct vaccel_plugin_report *report)
{
	const size_t n = first_weights(model) + model->classes * ((size_t)model->hidden + 1);
	size_t i;

	if (model->dtype != VACCEL_FLOAT32 && model->dtype != VACCEL_UINT8)
		return vaccel_plugin_error(report, -EINVAL, "[reference] type: dense takes float32 or uint8");
	if (n > MOST_WEIGHTS)
		return vaccel_plugin_error(report, -E2BIG, "[reference]: %zu weights are more than %zu", n,
					   MOST_WEIGHTS);
	model->weights = malloc(n * sizeof(*model->weights));
	if (!model->weights)
		return vaccel_plugin_error(report, -ENOMEM, "no memory for %zu weights", n);
	for (i = 0; i < n; i++)
		model->weights[i] = weight_at(model->seed, i);
	model->inputs[0] =
		(struct graph_tensor){ "image", model->dtype, 4, { -1, model->height, model->width, model->channels } };
	model->outputs[0] = (struct graph_tensor){ "probabilities", VACCEL_FLOAT32, 2, { -1, model->classes } };
	model->outputs[1] = (struct graph_tensor){ "logits", VACCEL_FLOAT32, 2, { -1, model->classes } };
	return 0;
}

static double element(const struct vaccel_plugin_tensor *tensor, size_t index)
{
	return tensor->dtype == VACCEL_UINT8 ? ((const uint8_t *)tensor->data)[index] / 255.0
					     : (double)((const float *)tensor->data)[index];
}

static void run_hidden(const struct graph_model *model, const struct vaccel_plugin_tensor *input, size_t row,
		       double *hidden)
{
	const size_t n = inputs_of(model);
	const float *w = model->weights;
	size_t i, j;

	for (i = 0; i < model->hidden; i++, w += n + 1) {
		double sum = (double)w[n];

		for (j = 0; j < n; j++)
			sum += (double)w[j] * element(input, row * n + j);
		/* Not fmax(): a NaN stays one. */
		hidden[i] = sum < 0 ? 0 : sum / sqrt((double)n);
	}
}

static void run_row(const struct graph_model *model, const double *hidden, float *logits, float *probabilities)
{
	const float *w = model->weights + first_weights(model);
	double largest = -INFINITY, total = 0;
	size_t i, j;

	for (i = 0; i < model->classes; i++, w += model->hidden + 1) {
		double sum = (double)w[model->hidden];

		for (j = 0; j < model->hidden; j++)
			sum += (double)w[j] * hidden[j];
		logits[i] = (float)sum;
		largest = fmax(largest, (double)logits[i]);
	}
	for (i = 0; i < model->classes; i++)
		total += exp((double)logits[i] - largest);
	for (i = 0; i < model->classes; i++)
		probabilities[i] = (float)(exp((double)logits[i] - largest) / total);
}

static int run(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct vaccel_plugin_tensor *input = graph_input(run, "image");
	const struct vaccel_plugin_tensor output = { .dtype = VACCEL_FLOAT32,
						     .rank = 2,
						     .dims = { input->dims[0], model->classes } };
	const size_t rows = (size_t)input->dims[0], n = rows * model->classes, len = n * sizeof(float);
	float *logits = calloc(n ? 2 * n : 1, sizeof(*logits)), *probabilities = logits ? logits + n : NULL;
	double *hidden = calloc(model->hidden, sizeof(*hidden));
	size_t i;
	int r = 0;

	if (!logits || !hidden)
		r = vaccel_plugin_error(&run->report, -ENOMEM, "no memory for %zu rows", rows);
	for (i = 0; i < rows && r == 0; i++) {
		run_hidden(model, input, i, hidden);
		run_row(model, hidden, logits + i * model->classes, probabilities + i * model->classes);
	}
	if (r == 0)
		r = graph_emit(run, "probabilities", &output, probabilities, len);
	if (r == 0)
		r = graph_emit(run, "logits", &output, logits, len);
	free(hidden);
	free(logits);
	return r;
}

const struct graph graph_dense = { "dense", setup, run };
