/* SPDX-License-Identifier: Apache-2.0 */
/* bench session: opening a session and closing it, beside a request that does nothing. */
#include "bench/bench.h"

static int once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	uint64_t start = now_ns();
	struct vaccel_session *session;
	int r = vaccel_session_open(job->context, &session);

	if (r == 0)
		r = vaccel_session_close(session);
	*ret_ns = now_ns() - start;
	return r < 0 ? error_set(error, r, "%s", vaccel_error()) : 0;
}

static const struct bench_task open_close = { .once = once };

static double per_second(const struct bench_row *row)
{
	return 1e9 / (double)row->stats.median;
}

static const struct bench_side sides[] = {
	{ .name = "no-op, parked",
	  .task = &bench_noop,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_ONE_CPU,
	  .extra = true },
	{ .name = "open and close, parked",
	  .task = &open_close,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_ONE_CPU,
	  .extra = true,
	  .base = "no-op, parked",
	  .ratio = "open_close_over_noop",
	  .suffix = "_parked" },
	{ .name = "no-op", .task = &bench_noop, .end = BENCH_DAEMON, .waiting = BENCH_POLLED, .place = BENCH_TWO_CPUS },
	{ .name = "open and close",
	  .task = &open_close,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_POLLED,
	  .place = BENCH_TWO_CPUS,
	  .base = "no-op",
	  .ratio = "open_close_over_noop",
	  .suffix = "_polled" },
};

const struct bench bench_session = {
	.name = "session",
	.summary = "opening a session and closing it",
	.op = "noop",
	.value = "per_second",
	.value_title = "per second",
	.sizes = { 1 },
	.seconds = 1,
	.turn_ns = 5000000,
	.turn_samples = 500,
	.warm = 16,
	.threads = 1,
	.poll_us = 1000,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.value_of = per_second,
};
