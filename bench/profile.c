/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of an operation goes: the library's stages, which a context tells of, and those of the daemon, which
 * it tells of when asked what it counted. What the library waits for and no stage of the daemon has is between the two:
 * wake-ups, and looking at rings that are empty.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "cli/counts.h"
#include "op/stage.h"

static int add(struct bench_stage *stages, size_t *n, const struct bench_stage *stage)
{
	if (*n == BENCH_MAX_STAGES)
		return -E2BIG;
	stages[(*n)++] = *stage;
	return 0;
}

static int add_library(struct bench_job *job, struct bench_stage *stages, size_t *n)
{
	struct vaccel_stage_info info = { .size = sizeof(info) };
	int r;

	for (size_t i = 0; (r = vaccel_context_stage(job->context, i, &info)) == 0; i++) {
		struct bench_stage stage = { .count = info.count,
					     .mean_ns = (double)info.sum_ns / (double)MAX(info.count, 1),
					     .median_ns = (double)info.median_ns,
					     .p99_ns = (double)info.p99_ns };

		snprintf(stage.name, sizeof(stage.name), "%s", info.name);
		snprintf(stage.where, sizeof(stage.where), "library");
		r = add(stages, n, &stage);
		if (r < 0)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int add_daemon(struct bench_job *job, struct bench_stage *stages, size_t *n, struct error *error)
{
	const struct counts_kind *kind;
	struct counts counts;
	int r = counts_ask(job->context, &counts, error);

	if (r < 0)
		return r;
	kind = counts_kind(&counts, job->bench->op);
	for (size_t i = 0; kind && i < kind->n_stages && r == 0; i++) {
		const struct hist *hist = &kind->stages[i].hist;
		struct bench_stage stage = { .count = hist->count,
					     .mean_ns = (double)hist->sum_ns / (double)MAX(hist->count, 1),
					     .median_ns = hist_quantile(hist, 0.5),
					     .p99_ns = hist_quantile(hist, 0.99) };

		snprintf(stage.name, sizeof(stage.name), "%s", kind->stages[i].name);
		snprintf(stage.where, sizeof(stage.where), "daemon");
		r = add(stages, n, &stage);
	}
	counts_free(&counts);
	return r;
}

static const struct bench_stage *find(const struct bench_stage *stages, size_t n, enum op_stage wanted)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(stages[i].name, op_stage_at(wanted)->name))
			return &stages[i];
	return NULL;
}

/* The daemon's total ends with the answer that is written: waking who waits for it is between, too. */
static int add_between(struct bench_stage *stages, size_t *n)
{
	const struct bench_stage *wait = find(stages, *n, STAGE_WAIT), *total = find(stages, *n, STAGE_TOTAL);
	struct bench_stage stage = { .name = "between", .where = "both", .p99_ns = NAN };

	if (!wait || !total)
		return 0;
	stage.count = wait->count;
	stage.mean_ns = wait->mean_ns - total->mean_ns;
	stage.median_ns = wait->median_ns - total->median_ns;
	return add(stages, n, &stage);
}

int bench_profile_collect(struct bench_job *job, struct bench_stage *stages, size_t *ret_n, struct error *error)
{
	int r = add_library(job, stages, ret_n);

	if (r == 0)
		r = add_daemon(job, stages, ret_n, error);
	return r < 0 ? r : add_between(stages, ret_n);
}

void bench_profile_add(struct json_object *result, const struct bench_side *side, const struct bench_stage *stages,
		       size_t n)
{
	struct json_object *array = json_object_object_get(result, "profile");

	if (!array) {
		array = json_object_new_array();
		json_object_object_add(result, "profile", array);
	}
	for (size_t i = 0; i < n; i++) {
		struct json_object *object = json_object_new_object();

		js_text(object, "side", side->name);
		js_text(object, "stage", stages[i].name);
		js_text(object, "where", stages[i].where);
		js_count(object, "count", stages[i].count);
		js_number(object, "mean_ns", stages[i].mean_ns);
		js_number(object, "median_ns", stages[i].median_ns);
		js_number(object, "p99_ns", stages[i].p99_ns);
		json_object_array_add(array, object);
	}
}
