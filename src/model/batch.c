/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests may run together, and that they do. The key is a hint of what parameters and lengths tell: one model,
 * one version, one op, arguments of the same lengths. Whether requests really fit is found out when they run, for a
 * guest that makes two keys equal must not get more than time out of it, and a model may have been replaced meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "model/serve.h"
#include "util/util.h"

/* Mixes a number into a key (the steps of splitmix64). */
static uint64_t mix(uint64_t key, uint64_t value)
{
	key += value + UINT64_C(0x9e3779b97f4a7c15);
	key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
	return key ^ key >> 31;
}

/* Pictures have one size when they are prepared; inputs of INFER have what the guest gives them. */
static uint64_t key_of(const struct vaccel_plugin_call *call, const struct model *model)
{
	uint64_t key = mix(mix(0, model->version), call->op);

	if (call->op == VACCEL_OP_INFER) {
		const struct vaccel_infer *params = call->params;

		key = mix(mix(key, params->n_inputs), params->n_outputs);
		for (uint32_t i = 0; i < params->n_inputs; i++)
			key = mix(key, call->args[2 + i].len);
	}
	return MAX(key, 1);
}

/* Both parameter structs begin with the model's name. */
static const char *model_name(const struct vaccel_plugin_call *call)
{
	_Static_assert(!offsetof(struct vaccel_classify, model) && !offsetof(struct vaccel_infer, model), "first");
	return call->params;
}

static bool can_batch(uint32_t op)
{
	return op == VACCEL_OP_IMAGE_CLASSIFY || op == VACCEL_OP_INFER;
}

void batch_key(const struct serve *serve, const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	struct model *model;

	*ret_batch = (struct vaccel_plugin_batch){ 0 };
	if (!can_batch(call->op) || store_get(serve->store, model_name(call), &model, NULL) < 0)
		return;
	if (model->describe.batch.given)
		*ret_batch = (struct vaccel_plugin_batch){ .key = key_of(call, model),
							   .max = model->describe.batch.max,
							   .delay_us = model->describe.batch.delay_us };
	store_put(serve->store, model);
}

/* Moves the calls of one model to the front of those from at on. Returns how many there are. */
static size_t gather(const struct vaccel_plugin_call **calls, int **results, size_t at, size_t n)
{
	size_t end = at + 1;

	for (size_t i = end; i < n; i++) {
		const struct vaccel_plugin_call *call = calls[i];
		int *result = results[i];

		if (call->op != calls[at]->op || strncmp(model_name(call), model_name(calls[at]), VACCEL_MODEL_NAME))
			continue;
		calls[i] = calls[end];
		results[i] = results[end];
		calls[end] = call;
		results[end++] = result;
	}
	return end - at;
}

/* Calls of one op and model name. */
static void run_group(const struct serve *serve, const struct vaccel_plugin_call *const *calls, int *const *results,
		      size_t n)
{
	int ends[MODEL_MAX_BATCH];
	struct error error = { 0 };
	struct model *model;
	int r = store_get(serve->store, model_name(calls[0]), &model, &error);

	for (size_t i = 0; i < n; i++)
		ends[i] = r < 0 ? serve_failed(calls[i], r, &error) : SERVE_OPEN;
	if (r == 0) {
		/* The version of now may be one that takes its inputs one by one. */
		const size_t most = model_can_batch(model) ? n : 1;

		for (size_t i = 0; i < n; i += most) {
			if (calls[0]->op == VACCEL_OP_INFER)
				infer_run_many(serve, model, calls + i, ends + i, most);
			else
				classify_run_many(serve, model, calls + i, ends + i, most);
		}
		store_put(serve->store, model);
	}
	for (size_t i = 0; i < n; i++)
		*results[i] = ends[i];
}

void batch_run(const struct serve *serve, const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	while (n) {
		const struct vaccel_plugin_call *sorted[MODEL_MAX_BATCH];
		int *ends[MODEL_MAX_BATCH];
		const size_t now = MIN(n, MODEL_MAX_BATCH);

		for (size_t i = 0; i < now; i++) {
			sorted[i] = calls[i];
			ends[i] = &results[i];
		}
		for (size_t i = 0, m; i < now; i += m) {
			m = gather(sorted, ends, i, now);
			run_group(serve, sorted + i, ends + i, m);
		}
		calls += now;
		results += now;
		n -= now;
	}
}
