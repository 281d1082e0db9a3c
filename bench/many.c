/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench many: whether many sessions get as much done together as one alone, how long they wait for each other, and
 * whether small requests wait for another session's large one. Nothing is bound to a CPU, the engine has as many threads
 * as there are CPUs, and all wait as they do by default.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "bench/product.h"

#define PROCESSES 8
#define SESSIONS  8 /* of each process */
#define LARGE	  8 /* times as large as the sessions' products is the one that small requests are behind */

/* ---- sessions that multiply ---- */

struct seat {
	struct vaccel_session *session;
	struct bench_product product;
	struct vaccel_request *request; /* in flight; NULL: none */
	uint64_t start_ns;
};

struct many {
	size_t n;
	struct seat seats[SESSIONS];
};

static int fail(struct error *error, int code)
{
	return error_set(error, code, "%s", vaccel_error());
}

static int seat_init(struct seat *seat, struct bench_job *job, uint64_t size, struct error *error)
{
	int r = vaccel_session_open(job->context, &seat->session);

	if (r < 0)
		return fail(error, r);
	r = bench_product_init(&seat->product, job, seat->session, size, error);
	if (r < 0)
		vaccel_session_close(seat->session);
	return r;
}

static void seat_fini(struct seat *seat)
{
	vaccel_request_free(seat->request);
	gemm_job_fini(&seat->product.job);
	vaccel_session_close(seat->session);
}

static int seat_submit(struct seat *seat, struct error *error)
{
	bench_product_next(&seat->product);
	seat->start_ns = now_ns();
	return gemm_job_submit(&seat->product.job, seat, &seat->request, error);
}

/* Its request has completed, or is waited for. */
static int seat_take(struct seat *seat, uint64_t *ret_ns, struct error *error)
{
	int r = vaccel_request_wait(seat->request, -1);

	*ret_ns = now_ns() - seat->start_ns;
	if (r < 0)
		return fail(error, r);
	vaccel_request_free(seat->request);
	seat->request = NULL;
	return bench_product_look(&seat->product, error);
}

static void many_finish(struct bench_job *job)
{
	struct many *many = job->state;

	while (many->n)
		seat_fini(&many->seats[--many->n]);
	free(many);
	job->state = NULL;
}

static int prepare_seats(struct bench_job *job, size_t n, uint64_t size, struct error *error)
{
	struct many *many = calloc(1, sizeof(*many));
	int r = 0;

	if (!many)
		return error_set(error, -ENOMEM, "out of memory");
	job->state = many;
	while (r == 0 && many->n < n) {
		r = seat_init(&many->seats[many->n], job, size, error);
		many->n += r == 0;
	}
	if (r < 0)
		many_finish(job);
	return r;
}

static int one_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	return prepare_seats(job, 1, size, error);
}

static int many_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	return prepare_seats(job, SESSIONS, size, error);
}

static int many_begin(struct bench_job *job, struct error *error)
{
	struct many *many = job->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < many->n; i++)
		r = seat_submit(&many->seats[i], error);
	return r;
}

int bench_next_request(struct bench_job *job, void **ret_user_data, struct error *error)
{
	struct pollfd p = { .fd = vaccel_context_fd(job->context), .events = POLLIN };
	struct vaccel_request *request;
	int r;

	if (p.fd < 0)
		return fail(error, p.fd);
	while ((r = vaccel_context_next(job->context, &request)) == -EAGAIN)
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return error_set(error, -errno, "cannot poll");
	if (r < 0)
		return fail(error, r);
	*ret_user_data = vaccel_request_user_data(request);
	return 0;
}

/* The seat whose request completes next. One alone is waited for as a synchronous caller would. */
static int next_seat(struct bench_job *job, struct many *many, struct seat **ret_seat, struct error *error)
{
	void *seat = &many->seats[0];
	int r = many->n == 1 ? 0 : bench_next_request(job, &seat, error);

	*ret_seat = seat;
	return r;
}

static int many_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct seat *seat = NULL;
	int r = next_seat(job, job->state, &seat, error);

	if (r == 0)
		r = seat_take(seat, ret_ns, error);
	return r < 0 ? r : seat_submit(seat, error);
}

static int many_end(struct bench_job *job, uint64_t *ret_ops, struct error *error)
{
	struct many *many = job->state;
	uint64_t ns;
	int r = 0;

	for (size_t i = 0; r == 0 && i < many->n; i++)
		r = seat_take(&many->seats[i], &ns, error);
	*ret_ops = many->n;
	return r;
}

static int many_check(struct bench_job *job, struct error *error)
{
	struct many *many = job->state;
	int r = 0;

	for (size_t i = 0; r == 0 && i < many->n; i++)
		r = bench_product_check(&many->seats[i].product, error);
	return r;
}

static const struct bench_task one = {
	.prepare = one_prepare,
	.begin = many_begin,
	.end = many_end,
	.once = many_once,
	.check = many_check,
	.finish = many_finish,
};

static const struct bench_task many = {
	.prepare = many_prepare,
	.begin = many_begin,
	.end = many_end,
	.once = many_once,
	.check = many_check,
	.finish = many_finish,
};

/* ---- small ones behind a large one ---- */

/* As those behind a large one are measured. */
static int alone_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	uint64_t start = now_ns();
	int r = vaccel_noop(job->session);

	*ret_ns = now_ns() - start;
	return r < 0 ? fail(error, r) : 0;
}

static const struct bench_task alone = { .once = alone_once };

static int behind_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct seat *large = calloc(1, sizeof(*large));
	int r;

	if (!large || mul_u64(size, LARGE, &size)) {
		free(large);
		return error_set(error, -ENOMEM, "out of memory");
	}
	r = seat_init(large, job, size, error);
	if (r < 0) {
		free(large);
		return r;
	}
	job->state = large;
	return 0;
}

static int behind_begin(struct bench_job *job, struct error *error)
{
	int r = seat_submit(job->state, error);

	/* It has begun when the small ones come. */
	poll(NULL, 0, 2);
	return r;
}

/* A small one, and a look whether the next large one is due. */
static int behind_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct seat *large = job->state;
	uint64_t ns;
	int r = alone_once(job, ret_ns, error);

	if (r < 0)
		return r;
	if (vaccel_request_wait(large->request, 0) == -ETIME)
		return 0;
	r = seat_take(large, &ns, error);
	return r < 0 ? r : seat_submit(large, error);
}

static int behind_end(struct bench_job *job, uint64_t *ret_ops, struct error *error)
{
	uint64_t ns;

	return seat_take(job->state, &ns, error);
}

static int behind_check(struct bench_job *job, struct error *error)
{
	struct seat *large = job->state;

	return bench_product_check(&large->product, error);
}

static void behind_finish(struct bench_job *job)
{
	seat_fini(job->state);
	free(job->state);
	job->state = NULL;
}

static const struct bench_task behind = {
	.prepare = behind_prepare,
	.begin = behind_begin,
	.end = behind_end,
	.once = behind_once,
	.check = behind_check,
	.finish = behind_finish,
};

/* ---- the bench ---- */

static double per_second(const struct bench_row *row)
{
	return row->rate;
}

static void ratios(const struct bench_row *rows, size_t n, struct json_object *ratios_)
{
	double worst = 0;

	for (size_t i = 0; i < n; i++)
		if (!strcmp(rows[i].side->name, "64 sessions"))
			worst = MAX(worst, (double)rows[i].stats.p99 / (double)rows[i].stats.median);
	js_number(ratios_, "p99_over_p50_64", worst);
}

static const struct bench_side sides[] = {
	{ .name = "1 session", .task = &one, .end = BENCH_DAEMON },
	{ .name = "64 sessions",
	  .task = &many,
	  .end = BENCH_DAEMON,
	  .processes = PROCESSES,
	  .base = "1 session",
	  .stat = BENCH_RATE,
	  .ratio = "throughput_64_over_1" },
	{ .name = "no-op alone", .task = &alone, .end = BENCH_DAEMON },
	{ .name = "no-op behind large",
	  .task = &behind,
	  .end = BENCH_DAEMON,
	  .base = "no-op alone",
	  .stat = BENCH_P99,
	  .ratio = "small_behind_large" },
};

const struct bench bench_many = {
	.name = "many",
	.summary = "many sessions at once; small requests beside a large one",
	.op = "sgemm",
	.key = "size",
	.value = "ops_per_second",
	.value_title = "ops/s",
	.sizes = { 256 },
	.seconds = 3,
	.turn_ns = 300000000,
	.turn_samples = BENCH_TURN_SAMPLES,
	.warm = 1,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.value_of = per_second,
	.ratios = ratios,
};
