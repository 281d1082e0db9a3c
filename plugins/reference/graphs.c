/* SPDX-License-Identifier: Apache-2.0 */
/* The small graphs, for tests of what carries tensors to and from a model. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "graph.h"

#define ANY UINT32_MAX

/* y = x, in any shape. */
static int setup_echo(struct graph_model *model, const struct vaccel_plugin_report *report)
{
	model->inputs[0] = (struct graph_tensor){ "x", model->dtype, ANY, { 0 } };
	model->outputs[0] = (struct graph_tensor){ "y", model->dtype, ANY, { 0 } };
	return 0;
}

static int run_echo(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct vaccel_plugin_tensor *x = graph_input(run, "x");

	return graph_emit(run, "y", x, x->data, x->len);
}

const struct graph graph_echo = { "echo", setup_echo, run_echo };

static int run_slow(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct timespec time = { model->delay_ms / 1000, model->delay_ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
	return run_echo(model, run);
}

const struct graph graph_slow = { "slow", setup_echo, run_slow };

/* With a path, as frameworks have them in their sentences. */
static int run_fail(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	return vaccel_plugin_error(&run->report, -EIO, "the graph of %s fails whatever it is given", model->path);
}

const struct graph graph_fail = { "fail", setup_echo, run_fail };

/* sum = a + b, difference = a - b. */
static int setup_add(struct graph_model *model, const struct vaccel_plugin_report *report)
{
	static const char *const in[] = { "a", "b" }, *const out[] = { "sum", "difference" };
	size_t i;

	for (i = 0; i < GRAPH_TENSORS; i++) {
		model->inputs[i] = (struct graph_tensor){ in[i], VACCEL_FLOAT32, 2, { -1, model->width } };
		model->outputs[i] = (struct graph_tensor){ out[i], VACCEL_FLOAT32, 2, { -1, model->width } };
	}
	return 0;
}

static int run_add(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct vaccel_plugin_tensor *a = graph_input(run, "a"), *b = graph_input(run, "b");
	const float *x = a->data, *y = b->data;
	const size_t n = graph_count(a);
	float *sums, *differences;
	size_t i;
	int r;

	if (a->dims[0] != b->dims[0])
		return vaccel_plugin_error(&run->report, -EINVAL, "a and b have different numbers of rows");
	sums = calloc(n ? 2 * n : 1, sizeof(*sums));
	if (!sums)
		return vaccel_plugin_error(&run->report, -ENOMEM, "no memory for %zu elements", n);
	differences = sums + n;
	for (i = 0; i < n; i++) {
		sums[i] = x[i] + y[i];
		differences[i] = x[i] - y[i];
	}
	r = graph_emit(run, "sum", a, sums, n * sizeof(*sums));
	if (r == 0)
		r = graph_emit(run, "difference", a, differences, n * sizeof(*sums));
	free(sums);
	return r;
}

const struct graph graph_add = { "add", setup_add, run_add };

/* y = x, unless an element is below 0. */
static int setup_picky(struct graph_model *model, const struct vaccel_plugin_report *report)
{
	model->inputs[0] = (struct graph_tensor){ "x", VACCEL_FLOAT32, 2, { -1, model->width } };
	model->outputs[0] = (struct graph_tensor){ "y", VACCEL_FLOAT32, 2, { -1, model->width } };
	return 0;
}

static int run_picky(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct vaccel_plugin_tensor *x = graph_input(run, "x");
	const size_t n = graph_count(x);
	size_t i;

	for (i = 0; i < n; i++)
		if (((const float *)x->data)[i] < 0)
			return vaccel_plugin_error(&run->report, -EINVAL, "element %zu of x is below 0", i);
	return graph_emit(run, "y", x, x->data, x->len);
}

const struct graph graph_picky = { "picky", setup_picky, run_picky };

/* y = x in capitals, and lengths = their bytes. */
static int setup_strings(struct graph_model *model, const struct vaccel_plugin_report *report)
{
	model->inputs[0] = (struct graph_tensor){ "x", VACCEL_STRING, ANY, { 0 } };
	model->outputs[0] = (struct graph_tensor){ "y", VACCEL_STRING, ANY, { 0 } };
	model->outputs[1] = (struct graph_tensor){ "lengths", VACCEL_UINT32, ANY, { 0 } };
	return 0;
}

static int run_strings(const struct graph_model *model, const struct vaccel_plugin_run *run)
{
	const struct vaccel_plugin_tensor *x = graph_input(run, "x");
	const size_t table = graph_count(x) * sizeof(uint32_t);
	struct vaccel_plugin_tensor lengths = *x;
	unsigned char *y = malloc(x->len ? x->len : 1);
	size_t i;
	int r;

	if (!y)
		return vaccel_plugin_error(&run->report, -ENOMEM, "no memory for %zu bytes", x->len);
	if (x->len)
		memcpy(y, x->data, x->len);
	for (i = table; i < x->len; i++)
		y[i] = (unsigned char)(y[i] >= 'a' && y[i] <= 'z' ? y[i] - 'a' + 'A' : y[i]);
	r = graph_emit(run, "y", x, y, x->len);
	lengths.dtype = VACCEL_UINT32;
	if (r == 0)
		r = graph_emit(run, "lengths", &lengths, y, table);
	free(y);
	return r;
}

const struct graph graph_strings = { "strings", setup_strings, run_strings };
