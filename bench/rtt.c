/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench rtt: requests that do nothing, several in flight at once; a sample is the time of all of them. Beside them,
 * with both ends asleep: an eventfd there and one back; with both ends looking: a word in shared memory there and one
 * back. Asleep is measured on one CPU, where a wake-up is a switch, and on two, where it is an interrupt.
 */
#include <errno.h>

#include "bench/bench.h"

#define MAX_DEPTH 4096

struct rtt {
	size_t depth;
	struct vaccel_request *requests[];
};

static int prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct rtt *rtt;

	if (size > MAX_DEPTH)
		return error_set(error, -E2BIG, "at most %u requests in flight", MAX_DEPTH);
	rtt = calloc(1, sizeof(*rtt) + size * sizeof(rtt->requests[0]));
	if (!rtt)
		return error_set(error, -ENOMEM, "out of memory");
	rtt->depth = size;
	job->state = rtt;
	return 0;
}

static int many(struct bench_job *job, struct rtt *rtt, struct error *error)
{
	struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	size_t n = 0;
	int r = 0;

	while (n < rtt->depth && r >= 0) {
		r = vaccel_submit(job->session, &call, &rtt->requests[n]);
		if (r < 0)
			error_set(error, r, "%s", vaccel_error());
		else
			n++;
	}
	for (size_t i = 0; i < n; i++) {
		int result = vaccel_request_wait(rtt->requests[i], -1);

		if (result < 0 && r >= 0)
			r = error_set(error, result, "%s", vaccel_error());
		vaccel_request_free(rtt->requests[i]);
	}
	return r;
}

static int once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct rtt *rtt = job->state;
	uint64_t start = now_ns();
	int r;

	/* One at a time is the synchronous call, which a transport may serve in a shorter way. */
	if (rtt->depth == 1) {
		r = vaccel_noop(job->session);
		if (r < 0)
			error_set(error, r, "%s", vaccel_error());
	} else {
		r = many(job, rtt, error);
	}
	*ret_ns = now_ns() - start;
	return r;
}

static void finish(struct bench_job *job)
{
	free(job->state);
	job->state = NULL;
}

const struct bench_task bench_noop = {
	.prepare = prepare,
	.once = once,
	.finish = finish,
};

static double per_second(const struct bench_row *row)
{
	return (double)row->size / (double)row->stats.median * 1e9;
}

static const struct bench_side sides[] = {
	{ .name = "eventfd, one CPU",
	  .task = &bench_raw_eventfd,
	  .end = BENCH_RAW,
	  .place = BENCH_ONE_CPU,
	  .max_size = 1 },
	{ .name = "parked, one CPU",
	  .task = &bench_noop,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_ONE_CPU,
	  .base = "eventfd, one CPU",
	  .ratio = "parked_over_eventfd",
	  .suffix = "_one_cpu" },
	{ .name = "eventfd, two CPUs",
	  .task = &bench_raw_eventfd,
	  .end = BENCH_RAW,
	  .place = BENCH_TWO_CPUS,
	  .max_size = 1 },
	{ .name = "parked, two CPUs",
	  .task = &bench_noop,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_TWO_CPUS,
	  .base = "eventfd, two CPUs",
	  .ratio = "parked_over_eventfd",
	  .suffix = "_two_cpus" },
	{ .name = "spin, two CPUs", .task = &bench_raw_spin, .end = BENCH_RAW, .place = BENCH_TWO_CPUS, .max_size = 1 },
	{ .name = "polled, two CPUs",
	  .task = &bench_noop,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_POLLED,
	  .place = BENCH_TWO_CPUS,
	  .base = "spin, two CPUs",
	  .ratio = "polled_over_spin" },
};

const struct bench bench_rtt = {
	.name = "rtt",
	.summary = "requests that do nothing; a size is how many are in flight",
	.op = "noop",
	.key = "in_flight",
	.value = "requests_per_second",
	.value_title = "requests/s",
	.sizes = { 1 },
	.seconds = 1,
	.turn_ns = 5000000,
	.turn_samples = 500,
	.warm = 16,
	.threads = 1,
	.poll_us = 1000,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.task = &bench_noop,
	.value_of = per_second,
};
