/* SPDX-License-Identifier: Apache-2.0 */
/* bench rtt: requests that do nothing, several in flight at once; a sample is the time of all of them. */
#include <errno.h>

#include "cli/bench.h"

#define MAX_DEPTH 4096

struct rtt {
	size_t depth;
	struct vaccel_request *requests[];
};

static int prepare(struct bench_side *side, uint64_t size, const struct bench_options *options, struct error *error)
{
	struct rtt *rtt;

	if (size > MAX_DEPTH)
		return error_set(error, -E2BIG, "at most %u requests in flight", MAX_DEPTH);
	rtt = calloc(1, sizeof(*rtt) + size * sizeof(rtt->requests[0]));
	if (!rtt)
		return error_set(error, -ENOMEM, "out of memory");
	rtt->depth = size;
	side->state = rtt;
	return 0;
}

static int many(struct bench_side *side, struct rtt *rtt, struct error *error)
{
	struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	size_t n = 0;
	int r = 0;

	while (n < rtt->depth && r >= 0) {
		r = vaccel_submit(side->session, &call, &rtt->requests[n]);
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

static int once(struct bench_side *side, uint64_t *ret_ns, struct error *error)
{
	struct rtt *rtt = side->state;
	uint64_t start = now_ns();
	int r;

	/* One at a time is the synchronous call, which a transport may serve in a shorter way. */
	if (rtt->depth == 1) {
		r = vaccel_noop(side->session);
		if (r < 0)
			error_set(error, r, "%s", vaccel_error());
	} else {
		r = many(side, rtt, error);
	}
	*ret_ns = now_ns() - start;
	return r;
}

static void finish(struct bench_side *side)
{
	free(side->state);
	side->state = NULL;
}

static double per_second(uint64_t size, double ns)
{
	return (double)size / ns * 1e9;
}

const struct bench bench_rtt = {
	.name = "rtt",
	.summary = "requests that do nothing; a size is how many are in flight",
	.key = "in_flight",
	.value = "requests_per_second",
	.value_title = "requests/s",
	.sizes = { 1, 4, 16 },
	.prepare = prepare,
	.once = once,
	.finish = finish,
	.value_of = per_second,
};
