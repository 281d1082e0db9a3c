/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How cases travel. A batch of cases is prepared once and run in every variant; in the asynchronous ones all of the
 * batch is in flight at once. Matrices lie in an arena of plain memory or in a registered buffer, which each variant of a
 * batch fills anew.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define BATCH	    16
#define ARENA_BYTES (6u << 20)

enum memory {
	PLAIN,
	REGISTERED,
	MIXED, /* B plain, A and C registered */
};

enum mode {
	CALL,	/* vaccel_sgemm(), vaccel_dgemm() */
	RUN,	/* vaccel_run() */
	SUBMIT, /* vaccel_submit(), vaccel_context_next() */
};

static const struct variant {
	const char *name;
	enum memory memory;
	enum mode mode;
} variants[] = {
	{ "plain, call", PLAIN, CALL },		{ "plain, submit", PLAIN, SUBMIT },
	{ "registered, run", REGISTERED, RUN }, { "registered, submit", REGISTERED, SUBMIT },
	{ "mixed, submit", MIXED, SUBMIT },
};

#define N_VARIANTS (sizeof(variants) / sizeof(variants[0]))

struct tally {
	size_t runs, failures;
	char first[512];
};

struct batch {
	struct suite *suite;
	struct prepared cases[BATCH];
	size_t n;
	size_t bytes;
	unsigned char *plain;
	struct vaccel_buffer *buffer;
	unsigned char *areas[BATCH][3];
	struct tally *tallies; /* one per variant */
};

static void note(struct tally *tally, const struct gemm_case *c, const char *detail)
{
	char text[200];

	if (tally->failures++)
		return;
	gemm_describe(c, text, sizeof(text));
	snprintf(tally->first, sizeof(tally->first), "%s: %s", text, detail);
}

/* Copies the inputs of the batch to where this variant wants them. */
static void lay_out(struct batch *batch, enum memory memory)
{
	unsigned char *registered = vaccel_buffer_data(batch->buffer);
	size_t at = 0;

	for (size_t i = 0; i < batch->n; i++) {
		for (int j = 0; j < 3; j++) {
			const struct stored *matrix = &batch->cases[i].matrix[j];
			bool plain = memory == PLAIN || (memory == MIXED && j == 1);
			size_t size = matrix->bytes + 2 * GUARD_BYTES;

			batch->areas[i][j] = (plain ? batch->plain : registered) + at;
			memcpy(batch->areas[i][j], matrix->area, size);
			at += (size + 63) / 64 * 64;
		}
	}
}

static void fill_call(const struct prepared *p, unsigned char *const areas[3], struct vaccel_call *call,
		      struct vaccel_arg args[3])
{
	bool no_inputs = p->c.special == SPECIAL_ABSENT;

	for (int i = 0; i < 3; i++) {
		bool absent = no_inputs && (i < 2 || !p->matrix[i].bytes);

		args[i] = (struct vaccel_arg){ .data = absent ? NULL : areas[i] + GUARD_BYTES,
					       .len = absent ? 0 : p->matrix[i].bytes,
					       .dir = i < 2		 ? VACCEL_IN
						      : p->c.p.beta != 0 ? VACCEL_INOUT
									 : VACCEL_OUT };
	}
	*call = (struct vaccel_call){ .size = sizeof(*call),
				      .op = p->c.op,
				      .params = &p->c.p,
				      .params_len = sizeof(p->c.p),
				      .args = args,
				      .n_args = 3 };
}

static int run_one(struct batch *batch, size_t index, enum mode mode)
{
	const struct prepared *p = &batch->cases[index];
	struct vaccel_arg args[3];
	struct vaccel_call call;

	fill_call(p, batch->areas[index], &call, args);
	if (mode == RUN)
		return vaccel_run(batch->suite->session, &call);
	return gemm_call(batch->suite->session, &p->c, args[0].data, args[1].data, args[2].data);
}

static void check_one(struct batch *batch, size_t index, int result, struct tally *tally)
{
	const struct prepared *p = &batch->cases[index];
	char detail[256];

	tally->runs++;
	if (result < 0) {
		snprintf(detail, sizeof(detail), "%s (%s)", vaccel_error(), strerrorname_np(-result));
		note(tally, &p->c, detail);
	} else if (!gemm_check(p, batch->areas[index], detail, sizeof(detail))) {
		note(tally, &p->c, detail);
	}
}

/* The next request that completed; NULL when waiting failed. */
static struct vaccel_request *next_done(struct suite *suite)
{
	struct pollfd fd = { .fd = vaccel_context_fd(suite->context), .events = POLLIN };
	struct vaccel_request *request = NULL;

	for (;;) {
		int r = vaccel_context_next(suite->context, &request);

		if (r == 0)
			return request;
		if (r != -EAGAIN || (poll(&fd, 1, -1) < 0 && errno != EINTR))
			return NULL;
	}
}

static void run_async(struct batch *batch, struct tally *tally)
{
	size_t in_flight = 0;

	for (size_t i = 0; i < batch->n; i++) {
		struct vaccel_request *request;
		struct vaccel_arg args[3];
		struct vaccel_call call;
		int r;

		fill_call(&batch->cases[i], batch->areas[i], &call, args);
		call.user_data = (void *)(i + 1);
		r = vaccel_submit(batch->suite->session, &call, &request);
		if (r < 0)
			check_one(batch, i, r, tally);
		else
			in_flight++;
	}
	while (in_flight) {
		struct vaccel_request *request = next_done(batch->suite);

		if (!request) {
			note(tally, &batch->cases[0].c, vaccel_error());
			return;
		}
		check_one(batch, (size_t)vaccel_request_user_data(request) - 1, vaccel_request_wait(request, 0), tally);
		vaccel_request_free(request);
		in_flight--;
	}
}

static void run_batch(struct batch *batch)
{
	for (size_t v = 0; v < N_VARIANTS; v++) {
		lay_out(batch, variants[v].memory);
		if (variants[v].mode == SUBMIT) {
			run_async(batch, &batch->tallies[v]);
			continue;
		}
		for (size_t i = 0; i < batch->n; i++)
			check_one(batch, i, run_one(batch, i, variants[v].mode), &batch->tallies[v]);
	}
	for (size_t i = 0; i < batch->n; i++)
		gemm_release(&batch->cases[i]);
	batch->n = 0;
	batch->bytes = 0;
}

static void add_case(struct batch *batch, const struct gemm_case *c, struct tally *reference)
{
	struct prepared p;
	char detail[256];

	reference->runs++;
	if (!gemm_prepare(c, &p, detail, sizeof(detail))) {
		note(reference, c, detail);
		return;
	}
	if (batch->n == BATCH || batch->bytes + gemm_area_bytes(&p) > ARENA_BYTES)
		run_batch(batch);
	batch->bytes += gemm_area_bytes(&p);
	batch->cases[batch->n++] = p;
}

void run_cases(struct suite *suite, const char *name, const struct gemm_case *cases, size_t n)
{
	struct tally tallies[N_VARIANTS] = { 0 }, reference = { 0 };
	struct batch *batch = calloc(1, sizeof(*batch));
	void *plain = NULL;
	int r = 0;

	if (batch && posix_memalign(&plain, 64, ARENA_BYTES) == 0)
		r = vaccel_buffer_alloc(suite->session, ARENA_BYTES, &batch->buffer);
	if (!plain || r < 0) {
		report(false, r < 0 ? vaccel_error() : "no memory", "%s", name);
		free(plain);
		free(batch);
		return;
	}
	batch->suite = suite;
	batch->tallies = tallies;
	batch->plain = plain;
	for (size_t i = 0; i < n; i++)
		add_case(batch, &cases[i], &reference);
	run_batch(batch);
	if (reference.failures)
		report(false, reference.first, "%s: %zu cases of the reference itself", name, reference.runs);
	for (size_t v = 0; v < N_VARIANTS; v++)
		report(!tallies[v].failures, tallies[v].first, "%s, %s: %zu of %zu", name, variants[v].name,
		       tallies[v].runs - tallies[v].failures, n);
	r = vaccel_buffer_free(batch->buffer);
	if (r < 0)
		report(false, vaccel_error(), "%s: freeing its buffer", name);
	free(batch->plain);
	free(batch);
}
