/* SPDX-License-Identifier: Apache-2.0 */
/* See graph.h: keys, names, and the callbacks of the framework. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const struct graph *const graphs[] = { &graph_dense, &graph_echo,  &graph_add, &graph_strings,
					      &graph_fail,  &graph_picky, &graph_slow };

/* Numbers of a description; "type" and "graph" are words. */
static const struct {
	const char *name;
	size_t offset;
	uint32_t least, most;
} numbers[] = {
	{ "height", offsetof(struct graph_model, height), 1, 1024 },
	{ "width", offsetof(struct graph_model, width), 1, 1024 },
	{ "channels", offsetof(struct graph_model, channels), 1, 4 },
	{ "hidden", offsetof(struct graph_model, hidden), 1, 4096 },
	{ "classes", offsetof(struct graph_model, classes), 1, 65536 },
	{ "seed", offsetof(struct graph_model, seed), 0, UINT32_MAX },
	{ "delay_ms", offsetof(struct graph_model, delay_ms), 0, 60000 },
};

static const struct {
	const char *name;
	uint32_t dtype;
} types[] = {
	{ "float32", VACCEL_FLOAT32 },	 { "float64", VACCEL_FLOAT64 },	    { "float16", VACCEL_FLOAT16 },
	{ "bfloat16", VACCEL_BFLOAT16 }, { "complex64", VACCEL_COMPLEX64 }, { "complex128", VACCEL_COMPLEX128 },
	{ "int8", VACCEL_INT8 },	 { "int16", VACCEL_INT16 },	    { "int32", VACCEL_INT32 },
	{ "int64", VACCEL_INT64 },	 { "uint8", VACCEL_UINT8 },	    { "uint16", VACCEL_UINT16 },
	{ "uint32", VACCEL_UINT32 },	 { "uint64", VACCEL_UINT64 },	    { "bool", VACCEL_BOOL },
	{ "string", VACCEL_STRING },
};

/* ---- What graphs use ---- */

const struct vaccel_plugin_tensor *graph_input(const struct vaccel_plugin_run *run, const char *name)
{
	size_t i;

	for (i = 0; i < run->n_inputs; i++)
		if (!strcmp(run->inputs[i].name, name))
			return &run->inputs[i];
	return NULL;
}

int graph_output(const struct vaccel_plugin_run *run, const char *name)
{
	size_t i;

	for (i = 0; i < run->n_outputs; i++)
		if (!strcmp(run->outputs[i], name))
			return (int)i;
	return -1;
}

int graph_emit(const struct vaccel_plugin_run *run, const char *name, const struct vaccel_plugin_tensor *like,
	       const void *data, size_t len)
{
	struct vaccel_plugin_tensor tensor = *like;
	int at = graph_output(run, name);

	if (at < 0)
		return 0;
	tensor.name = name;
	tensor.data = data;
	tensor.len = len;
	return run->emit(run, (size_t)at, &tensor);
}

size_t graph_count(const struct vaccel_plugin_tensor *tensor)
{
	size_t count = 1;
	uint32_t i;

	for (i = 0; i < tensor->rank; i++)
		count *= (size_t)tensor->dims[i];
	return count;
}

/* ---- Loading ---- */

static int set_number(struct graph_model *model, size_t row, const char *value,
		      const struct vaccel_plugin_report *report)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || number < numbers[row].least || number > numbers[row].most)
		return vaccel_plugin_error(report, -EINVAL, "[reference] %s = '%s' is not a number from %u to %u",
					   numbers[row].name, value, numbers[row].least, numbers[row].most);
	*(uint32_t *)((char *)model + numbers[row].offset) = (uint32_t)number;
	return 0;
}

static int set_type(struct graph_model *model, const char *value, const struct vaccel_plugin_report *report)
{
	size_t i;

	for (i = 0; i < LENGTH(types); i++) {
		if (!strcmp(types[i].name, value)) {
			model->dtype = types[i].dtype;
			return 0;
		}
	}
	return vaccel_plugin_error(report, -EINVAL, "[reference] type = '%s' is none of the types", value);
}

static int set_graph(struct graph_model *model, const char *value, const struct vaccel_plugin_report *report)
{
	size_t i;

	for (i = 0; i < LENGTH(graphs); i++) {
		if (!strcmp(graphs[i]->name, value)) {
			model->graph = graphs[i];
			return 0;
		}
	}
	return vaccel_plugin_error(report, -EINVAL, "[reference] graph = '%s' is none of the graphs", value);
}

static int set_key(struct graph_model *model, const char *key, const char *value,
		   const struct vaccel_plugin_report *report)
{
	size_t i;

	if (!strcmp(key, "graph"))
		return set_graph(model, value, report);
	if (!strcmp(key, "type"))
		return set_type(model, value, report);
	for (i = 0; i < LENGTH(numbers); i++)
		if (!strcmp(numbers[i].name, key))
			return set_number(model, i, value, report);
	return vaccel_plugin_error(report, -EINVAL, "[reference] %s: no such key", key);
}

static void model_unload(void *handle)
{
	struct graph_model *model = handle;

	free(model->weights);
	free(model);
}

static int model_load(const struct vaccel_plugin_model *args, void **ret_model,
		      const struct vaccel_plugin_report *report)
{
	struct graph_model *model = calloc(1, sizeof(*model));
	size_t i;
	int r = 0;

	if (!model)
		return vaccel_plugin_error(report, -ENOMEM, "no memory for model %s", args->name);
	*model = (struct graph_model){
		.graph = &graph_dense,
		.height = 8,
		.width = 8,
		.channels = 1,
		.hidden = 16,
		.classes = 10,
		.seed = 1,
		.delay_ms = 100,
		.dtype = VACCEL_FLOAT32,
	};
	snprintf(model->path, sizeof(model->path), "%s", args->path);
	for (i = 0; i < args->n_keys && r == 0; i++)
		r = set_key(model, args->keys[i], args->values[i], report);
	if (r == 0 && *args->signature)
		r = vaccel_plugin_error(report, -ENOENT, "model %s has no signature '%s', nor any", args->name,
					args->signature);
	if (r == 0)
		r = model->graph->setup(model, report);
	if (r < 0) {
		model_unload(model);
		return r;
	}
	*ret_model = model;
	return 0;
}

static int model_tensor(void *handle, uint32_t dir, size_t index, struct vaccel_plugin_tensor *ret_tensor)
{
	const struct graph_model *model = handle;
	const struct graph_tensor *rows = dir == 1 ? model->inputs : model->outputs;

	if (index >= GRAPH_TENSORS || !rows[index].name)
		return -ENOENT;
	*ret_tensor = (struct vaccel_plugin_tensor){
		.name = rows[index].name,
		.dtype = rows[index].dtype,
		.rank = rows[index].rank,
	};
	memcpy(ret_tensor->dims, rows[index].dims, sizeof(ret_tensor->dims));
	return 0;
}

static int model_run(const struct vaccel_plugin_run *run)
{
	const struct graph_model *model = run->model;

	return model->graph->run(model, run);
}

const struct vaccel_plugin_framework reference_framework = {
	.size = sizeof(reference_framework),
	.name = "reference",
	.model_load = model_load,
	.model_unload = model_unload,
	.model_tensor = model_tensor,
	.model_run = model_run,
};
