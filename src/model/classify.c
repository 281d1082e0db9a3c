/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IMAGE_CLASSIFY: decode, prepare, run, and pick the best classes out of the framework's own memory. One request and
 * several go the same way: pictures are prepared side by side in one block, a picture that cannot be is left out of it,
 * and the model runs once over the block. If that fails, each runs by itself, so that nobody's error is another's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/block.h"
#include "model/run.h"
#include "model/top.h"
#include "util/util.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "answers are written as they lie in memory");

/* Those of a block that run together. */
struct part {
	const struct block *block;
	struct job *jobs;
	size_t n;
};

static const struct vaccel_classify *params_of(const struct vaccel_plugin_call *call)
{
	return call->params;
}

int serve_failed(const struct vaccel_plugin_call *call, int r, const struct error *error)
{
	/* Limits of time are the host's, ETIMEDOUT would be the caller's deadline. */
	r = r == -EOPNOTSUPP ? -EINVAL : r == -ETIME || r == -ETIMEDOUT ? -E2BIG : r;
	return vaccel_plugin_error(&call->report, r, "%s", error->text);
}

/* ---- Answers ---- */

static void write_labels(const struct model *model, const struct vaccel_plugin_arg *arg, const struct top *top,
			 size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct vaccel_label row = { .index = top[i].index, .probability = top[i].value };

		if (row.index < model->labels.n) {
			const char *name = model->labels.names[row.index];

			memcpy(row.name, name, labels_cut(name, sizeof(row.name) - 1));
		} else {
			snprintf(row.name, sizeof(row.name), "%u", row.index);
		}
		memcpy((char *)arg->data + i * sizeof(row), &row, sizeof(row));
	}
}

static int answer_one(const struct model *model, struct job *job, const struct top_values *values, struct error *error)
{
	const size_t k = MIN(params_of(job->call)->k, job->call->args[2].len / sizeof(struct vaccel_label));
	_cleanup_free_ struct top *top = calloc(MAX(k, 1), sizeof(*top));
	int r = top ? top_find(values, top, k, error) : error_set(error, -ENOMEM, "no memory");

	if (r < 0) {
		error_prefix(error, "model %s", model->name);
		return r;
	}
	job->answer.n_classes = (uint32_t)values->n;
	job->answer.n_labels = (uint32_t)MIN(k, values->n);
	write_labels(model, &job->call->args[2], top, job->answer.n_labels);
	return 0;
}

/* The output of all pictures of a part. A picture's own error is its request's alone. */
static int take_output(void *opaque, size_t output, const struct vaccel_plugin_tensor *tensor, struct error *error)
{
	const struct part *part = opaque;
	const struct model *model = part->block->model;
	const size_t size = tensor->dtype == VACCEL_FLOAT64 ? 8 : tensor->dtype == VACCEL_FLOAT32 ? 4 : 2;
	const size_t n = tensor->len / size / part->n;

	if (tensor->dtype != model->outputs.rows[model->output].dtype || !tensor->rank ||
	    tensor->dims[0] != (int64_t)part->n || n > UINT32_MAX)
		return error_set(error, -EIO, "model %s: its output is not one row for each picture", model->name);
	for (size_t i = 0; i < part->n; i++) {
		const struct top_values values = { (const char *)tensor->data + i * n * size, tensor->dtype, n,
						   model->describe.image.softmax != 0 };
		struct error own = { 0 };
		int r = answer_one(model, &part->jobs[i], &values, &own);

		*part->jobs[i].result = r < 0 ? serve_failed(part->jobs[i].call, r, &own) : 0;
	}
	return 0;
}

static void write_answers(const struct part *part, uint64_t run_ns)
{
	for (size_t i = 0; i < part->n; i++) {
		struct job *job = &part->jobs[i];

		job->answer.run_ns = run_ns;
		job->answer.batch = (uint32_t)part->n;
		if (*job->result == 0)
			memcpy(job->call->args[1].data, &job->answer, sizeof(job->answer));
	}
}

/* ---- Running ---- */

static int run_part(const struct part *part, struct error *error)
{
	const struct block *block = part->block;
	const struct model *model = block->model;
	const struct image_rule *rule = &model->rule;
	const bool planes = rule->layout == IMAGE_NCHW;
	const struct vaccel_plugin_tensor input = {
		.name = model->inputs.rows[model->input].name,
		.dtype = model->inputs.rows[model->input].dtype,
		.rank = 4,
		.dims = { (int64_t)part->n, planes ? rule->channels : rule->height, planes ? rule->height : rule->width,
			  planes ? rule->width : rule->channels },
		.data = block->data + (size_t)(part->jobs - block->jobs) * block->item,
		.len = part->n * block->item,
	};
	const char *const output = model->outputs.rows[model->output].name;
	const struct run run = {
		.model = model,
		.host = block->serve->host,
		.inputs = &input,
		.n_inputs = 1,
		.outputs = &output,
		.n_outputs = 1,
		.take = take_output,
		.opaque = (void *)part,
		.copied = part->jobs[0].call->copied,
	};
	uint64_t begin = now_ns();
	int r = run_model(&run, error);

	if (r == 0)
		write_answers(part, now_ns() - begin);
	return r;
}

static void run_block(const struct block *block)
{
	const struct part all = { block, block->jobs, block->n_jobs };
	struct error error = { 0 };

	if (block->n_jobs > 1 && run_part(&all, &error) == 0)
		return;
	for (size_t i = 0; i < block->n_jobs; i++) {
		const struct part one = { block, &block->jobs[i], 1 };
		int r = run_part(&one, &error);

		if (r < 0)
			*block->jobs[i].result = serve_failed(block->jobs[i].call, r, &error);
	}
}

static void fail_all(const struct vaccel_plugin_call *const *calls, int *results, size_t n, int r, const char *text)
{
	struct error error;

	error_set(&error, r, "%s", text);
	for (size_t i = 0; i < n; i++)
		if (results[i] == SERVE_OPEN)
			results[i] = serve_failed(calls[i], r, &error);
}

void classify_run_many(const struct serve *serve, struct model *model, const struct vaccel_plugin_call *const *calls,
		       int *results, size_t n)
{
	struct block block = { .serve = serve, .model = model };
	char text[160];

	if (!model->describe.image.given) {
		snprintf(text, sizeof(text), "model %s: does not classify pictures", model->name);
		fail_all(calls, results, n, -EINVAL, text);
		return;
	}
	if (block_fill(&block, calls, results, n) == 0) {
		run_block(&block);
	} else {
		snprintf(text, sizeof(text), "model %s: no memory for %zu pictures", model->name, n);
		fail_all(calls, results, n, -ENOMEM, text);
	}
	block_free(&block);
}

int classify_run(const struct serve *serve, const struct vaccel_plugin_call *call)
{
	struct error error = { 0 };
	struct model *model;
	int r = store_get(serve->store, params_of(call)->model, &model, &error);

	if (r < 0)
		return serve_failed(call, r, &error);
	r = SERVE_OPEN;
	classify_run_many(serve, model, &call, &r, 1);
	store_put(serve->store, model);
	return r;
}
