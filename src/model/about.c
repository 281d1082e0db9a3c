/* SPDX-License-Identifier: Apache-2.0 */
/* MODEL_LIST and MODEL_INFO: answers are made in private memory and copied out once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/serve.h"
#include "util/util.h"

int model_list_run(const struct serve *serve, const struct vaccel_plugin_call *call)
{
	const struct vaccel_model_list *list = call->params;
	const struct vaccel_plugin_arg *arg = &call->args[1];
	const uint32_t room = (uint32_t)MIN(arg->len / sizeof(struct vaccel_model_row), serve->settings.models);
	_cleanup_free_ struct vaccel_model_row *rows = calloc(MAX(room, 1), sizeof(*rows));
	struct vaccel_models models;
	uint32_t n;

	if (!rows)
		return vaccel_plugin_error(&call->report, -ENOMEM, "models: no memory for %u rows", room);
	n = store_rows(serve->store, list->first, rows, room, &models);
	if (n)
		memcpy(arg->data, rows, n * sizeof(*rows));
	memcpy(call->args[0].data, &models, sizeof(models));
	return 0;
}

/* Returns how many rows had room. */
static size_t write_tensors(const struct vaccel_plugin_arg *arg, size_t at, const struct model_tensors *tensors)
{
	size_t n = 0;

	for (; n < tensors->n && (at + n + 1) * sizeof(struct vaccel_tensor_desc) <= arg->len; n++) {
		const struct model_tensor *row = &tensors->rows[n];
		struct vaccel_tensor_desc desc = { .dtype = row->dtype, .rank = row->rank };

		memcpy(desc.name, row->name, sizeof(desc.name));
		memcpy(desc.dims, row->dims, sizeof(desc.dims));
		memcpy((char *)arg->data + (at + n) * sizeof(desc), &desc, sizeof(desc));
	}
	return n;
}

/* Whole labels only. */
static void write_labels(const struct vaccel_plugin_arg *arg, const struct labels *labels)
{
	size_t len = MIN(arg->len, labels->len);

	while (len && labels->text[len - 1])
		len--;
	if (len)
		memcpy(arg->data, labels->text, len);
}

static void write_about(const struct vaccel_plugin_call *call, const struct model *model)
{
	struct vaccel_model_about about = {
		.n_inputs = (uint32_t)model->inputs.n,
		.n_outputs = (uint32_t)model->outputs.n,
		.width = model->rule.width,
		.height = model->rule.height,
		.channels = model->rule.channels,
		.labels_len = model->labels.len,
	};

	store_row(model, &about.row);
	memcpy(about.signature, model->describe.signature, sizeof(about.signature));
	memcpy(about.description, model->describe.text, sizeof(about.description));
	about.n_tensors = (uint32_t)write_tensors(&call->args[1], 0, &model->inputs);
	if (about.n_tensors == model->inputs.n)
		about.n_tensors += (uint32_t)write_tensors(&call->args[1], model->inputs.n, &model->outputs);
	write_labels(&call->args[2], &model->labels);
	memcpy(call->args[0].data, &about, sizeof(about));
}

int model_info_run(const struct serve *serve, const struct vaccel_plugin_call *call)
{
	const struct vaccel_model_query *query = call->params;
	struct error error = { 0 };
	struct model *model;
	int r = store_get(serve->store, query->model, &model, &error);

	if (r < 0)
		return serve_failed(call, r, &error);
	write_about(call, model);
	store_put(serve->store, model);
	return 0;
}
