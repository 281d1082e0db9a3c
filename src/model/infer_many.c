/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several requests of INFER as one: inputs are put one behind the other along their first dimension, outputs are cut
 * along theirs. Requests go together that ask for the same outputs and whose inputs differ in their first dimension
 * alone; the others, and all of them if the common run fails, run by themselves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "model/infer.h"
#include "util/util.h"

/* A common run. The first request stands for what all have in common. */
struct common {
	struct infer **infers;
	size_t n;
	uint64_t rows; /* of all of them: the first dimension */
	struct vaccel_plugin_tensor inputs[VACCEL_MAX_TENSORS];
	void *data[VACCEL_MAX_TENSORS];
};

static uint64_t rows_of(const struct infer *infer)
{
	return (uint64_t)infer->inputs[0].dims[0];
}

/* Whether a request can be put together with any other one. */
static bool can_join(const struct infer *infer)
{
	for (uint32_t i = 0; i < infer->n_inputs; i++) {
		const struct vaccel_plugin_tensor *input = &infer->inputs[i];

		if (!input->rank || input->dtype == VACCEL_STRING || input->dims[0] <= 0 || !input->len ||
		    input->dims[0] != infer->inputs[0].dims[0])
			return false;
	}
	return infer->n_inputs > 0;
}

static bool same_input(const struct vaccel_plugin_tensor *a, const struct vaccel_plugin_tensor *b)
{
	return !strcmp(a->name, b->name) && a->dtype == b->dtype && a->rank == b->rank &&
	       !memcmp(a->dims + 1, b->dims + 1, sizeof(a->dims) - sizeof(a->dims[0]));
}

static bool goes_with(const struct infer *infer, const struct infer *first)
{
	if (!can_join(infer) || infer->n_inputs != first->n_inputs || infer->n_outputs != first->n_outputs)
		return false;
	for (uint32_t i = 0; i < infer->n_inputs; i++)
		if (!same_input(&infer->inputs[i], &first->inputs[i]))
			return false;
	for (uint32_t i = 0; i < infer->n_outputs; i++)
		if (strcmp(infer->outputs[i], first->outputs[i]))
			return false;
	return true;
}

/* ---- The common run ---- */

static int join_input(struct common *common, uint32_t index)
{
	struct vaccel_plugin_tensor *input = &common->inputs[index];
	size_t len = 0;

	*input = common->infers[0]->inputs[index];
	for (size_t i = 0; i < common->n; i++)
		if (__builtin_add_overflow(len, common->infers[i]->inputs[index].len, &len))
			return -E2BIG;
	if (len > SIZE_MAX - 63)
		return -E2BIG;
	common->data[index] = aligned_alloc(64, (len + 63) / 64 * 64);
	if (!common->data[index])
		return -ENOMEM;
	input->data = common->data[index];
	input->len = 0;
	input->dims[0] = (int64_t)common->rows;
	for (size_t i = 0; i < common->n; i++) {
		struct infer *infer = common->infers[i];
		const struct vaccel_plugin_tensor *part = &infer->inputs[index];

		memcpy((char *)common->data[index] + input->len, part->data, part->len);
		input->len += part->len;
		if (infer->call->copied)
			*infer->call->copied += part->len;
	}
	return 0;
}

static int join(struct common *common)
{
	int r = 0;

	for (size_t i = 0; i < common->n; i++)
		if (add_u64(common->rows, rows_of(common->infers[i]), &common->rows))
			return -E2BIG;
	if (common->rows > INT64_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < common->infers[0]->n_inputs && r == 0; i++)
		r = join_input(common, i);
	return r;
}

static int cut_output(void *opaque, size_t output, const struct vaccel_plugin_tensor *tensor, struct error *error)
{
	const struct common *common = opaque;
	const char *at = tensor->data;
	size_t row;

	if (tensor->dtype == VACCEL_STRING || !tensor->rank || tensor->dims[0] != (int64_t)common->rows)
		return error_set(error, -EPROTO, "the output cannot be cut");
	row = tensor->len / common->rows;
	for (size_t i = 0; i < common->n; i++) {
		struct vaccel_plugin_tensor part = *tensor;

		part.dims[0] = (int64_t)rows_of(common->infers[i]);
		part.data = at;
		part.len = row * rows_of(common->infers[i]);
		infer_answer(common->infers[i], output, &part);
		at += part.len;
	}
	return 0;
}

static int run_common(struct common *common)
{
	const struct infer *first = common->infers[0];
	const struct run run = {
		.model = first->model,
		.host = first->serve->host,
		.inputs = common->inputs,
		.n_inputs = first->n_inputs,
		.outputs = first->outputs,
		.n_outputs = first->n_outputs,
		.take = cut_output,
		.opaque = common,
		.copied = first->call->copied,
	};
	struct error error;
	int r = join(common);

	if (r == 0)
		r = run_model(&run, &error);
	for (size_t i = 0; i < common->n && r == 0; i++)
		infer_finish(common->infers[i]);
	for (size_t i = 0; i < VACCEL_MAX_TENSORS; i++)
		free(common->data[i]);
	return r;
}

/* ---- Who runs with whom ---- */

static void run_alone(struct infer *infer, int *result)
{
	struct error error = { 0 };
	int r = infer_alone(infer, &error);

	*result = r < 0 ? serve_failed(infer->call, r, &error) : 0;
}

/* results: of the same indices as infers; those that are not SERVE_OPEN have ended. */
static void run_all(struct infer *infers, int *results, struct infer **chosen, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct common common = { .infers = chosen };

		if (results[i] != SERVE_OPEN)
			continue;
		for (size_t j = i; j < n; j++)
			if (results[j] == SERVE_OPEN && goes_with(&infers[j], &infers[i]))
				chosen[common.n++] = &infers[j];
		if (common.n > 1 && run_common(&common) == 0) {
			for (size_t j = 0; j < common.n; j++)
				results[chosen[j] - infers] = 0;
			continue;
		}
		/* Each by itself, and not together a second time. */
		for (size_t j = 0; j < common.n; j++)
			run_alone(chosen[j], &results[chosen[j] - infers]);
		if (!common.n)
			run_alone(&infers[i], &results[i]);
	}
}

void infer_run_many(const struct serve *serve, struct model *model, const struct vaccel_plugin_call *const *calls,
		    int *results, size_t n)
{
	_cleanup_free_ struct infer *infers = calloc(n, sizeof(*infers));
	_cleanup_free_ struct infer **chosen = calloc(n, sizeof(*chosen));
	struct error error = { 0 };

	error_set(&error, -ENOMEM, "model %s: no memory for %zu requests", model->name, n);
	for (size_t i = 0; i < n; i++) {
		int r = infers && chosen ? infer_prepare(&infers[i], serve, model, calls[i], &error) : -ENOMEM;

		results[i] = r < 0 ? serve_failed(calls[i], r, &error) : SERVE_OPEN;
	}
	if (!infers || !chosen)
		return;
	run_all(infers, results, chosen, n);
	for (size_t i = 0; i < n; i++)
		infer_clear(&infers[i]);
}
