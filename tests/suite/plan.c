/* SPDX-License-Identifier: Apache-2.0 */
/* Which cases are run: groups of shapes, scalars, values and sizes, for SGEMM and DGEMM; and NOOP. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct dims {
	unsigned int m, n, k;
	bool quick; /* also in a quick run */
};

/* 0, 1, odd, primes, powers of two and their neighbours; long and thin. */
static const struct dims shapes[] = {
	{ 0, 3, 2, true },    { 3, 0, 2, true },     { 3, 2, 0, true },	    { 0, 0, 0, false },
	{ 1, 1, 1, true },    { 1, 5, 3, true },     { 5, 1, 3, false },    { 3, 5, 1, false },
	{ 2, 2, 2, false },   { 3, 3, 3, true },     { 4, 4, 4, false },    { 5, 7, 3, true },
	{ 7, 7, 7, false },   { 8, 8, 8, true },     { 9, 15, 10, false },  { 13, 11, 17, true },
	{ 16, 16, 16, true }, { 17, 19, 23, true },  { 31, 29, 37, false }, { 32, 32, 32, false },
	{ 33, 31, 35, true }, { 64, 64, 64, false }, { 65, 63, 61, false }, { 1, 64, 65, false },
	{ 64, 1, 65, false }, { 65, 64, 1, false },
};

static const struct dims sizes[] = {
	{ 100, 100, 100, false }, { 127, 127, 127, false }, { 128, 128, 128, true }, { 129, 129, 129, false },
	{ 192, 192, 192, false }, { 255, 257, 100, false }, { 300, 17, 200, true },  { 1, 1000, 3, true },
	{ 1000, 1, 7, false },	  { 3, 5, 1000, true },
};

static const double alphas[] = { 0, 1, -1, 0.75 }, betas[] = { 0, 1, -1, 0.3125 };

struct list {
	struct gemm_case *cases;
	size_t n, room;
};

static void add(struct list *list, const struct gemm_case *c)
{
	if (list->n == list->room) {
		list->room = list->room ? 2 * list->room : 64;
		list->cases = realloc(list->cases, list->room * sizeof(*list->cases));
		if (!list->cases) {
			perror("op-suite");
			exit(1);
		}
	}
	list->cases[list->n++] = *c;
}

static uint64_t at_least_one(uint64_t n)
{
	return n ? n : 1;
}

/* Leading dimensions that fit, and pad elements more. */
static void set_lds(struct vaccel_gemm *g, unsigned int pad_a, unsigned int pad_b, unsigned int pad_c)
{
	bool rows = g->order == VACCEL_ROW_MAJOR, ta = g->transa != VACCEL_NO_TRANS, tb = g->transb != VACCEL_NO_TRANS;

	g->lda = at_least_one(rows != ta ? g->k : g->m) + pad_a;
	g->ldb = at_least_one(rows != tb ? g->n : g->k) + pad_b;
	g->ldc = at_least_one(rows ? g->n : g->m) + pad_c;
}

static struct gemm_case make(struct suite *suite, uint32_t op, const struct dims *dims, uint64_t *random)
{
	struct gemm_case c = {
		.op = op,
		.p = { .order = VACCEL_ROW_MAJOR,
		       .transa = VACCEL_NO_TRANS,
		       .transb = VACCEL_NO_TRANS,
		       .m = dims->m,
		       .n = dims->n,
		       .k = dims->k,
		       .alpha = 1 },
		.seed = suite_random(random),
	};

	set_lds(&c.p, 0, 0, 0);
	return c;
}

/* Every order and pair of transposes with every shape; scalars and gaps between lines vary along. */
static void plan_shapes(struct suite *suite, uint32_t op, struct list *list, uint64_t *random)
{
	for (size_t s = 0; s < COUNT(shapes); s++) {
		for (unsigned int t = 0; t < 18; t++) {
			struct gemm_case c = make(suite, op, &shapes[s], random);
			uint64_t r = suite_random(random);

			c.p.order = t % 2 ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR;
			c.p.transa = VACCEL_NO_TRANS + t / 2 % 3;
			c.p.transb = VACCEL_NO_TRANS + t / 6;
			/* A quick run leaves out conjugate, which is transpose here, and keeps every shape. */
			if (suite->quick &&
			    (!shapes[s].quick || c.p.transa == VACCEL_CONJ_TRANS || c.p.transb == VACCEL_CONJ_TRANS))
				continue;
			c.p.alpha = alphas[r % 8 ? 1 + r % 3 : 0];
			c.p.beta = betas[r / 8 % 4];
			set_lds(&c.p, r / 32 % 4, r / 128 % 4, r / 512 % 4);
			add(list, &c);
		}
	}
}

static void plan_scalars(struct suite *suite, uint32_t op, struct list *list, uint64_t *random)
{
	static const struct dims dims[] = { { 9, 7, 5, true }, { 33, 32, 31, false } };

	for (unsigned int i = 0; i < 64; i++) {
		struct gemm_case c = make(suite, op, &dims[i / 32], random);

		if (suite->quick && !dims[i / 32].quick)
			continue;
		c.p.alpha = alphas[i % 4];
		c.p.beta = betas[i / 4 % 4];
		c.p.order = i / 16 % 2 ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR;
		set_lds(&c.p, 2, 1, 3);
		add(list, &c);
	}
}

/* NaN and Inf: where they must spread, and where BLAS says that they must not. */
static void plan_values(struct suite *suite, uint32_t op, struct list *list, uint64_t *random)
{
	static const struct {
		double alpha, beta;
		enum special special;
	} rows[] = {
		{ 1, 0, SPECIAL_NAN_A },       { 0.75, 1, SPECIAL_NAN_B },    { 1, 0, SPECIAL_NAN_C },
		{ -1, 0, SPECIAL_INF_C },      { 1, 1, SPECIAL_NAN_C },	      { 0, 0, SPECIAL_NAN_A },
		{ 0, 1, SPECIAL_NAN_B },       { 0, 0.3125, SPECIAL_INF_A },  { 0, 0, SPECIAL_NAN_C },
		{ 1, 0, SPECIAL_INF_A },       { -1, 0.3125, SPECIAL_INF_B }, { 1, -1, SPECIAL_INF_C },
		{ NAN, 0, SPECIAL_NONE },      { 1, NAN, SPECIAL_NONE },      { 0, NAN, SPECIAL_NONE },
		{ INFINITY, 0, SPECIAL_NONE },
	};
	static const struct dims dims[] = { { 6, 5, 7, true }, { 40, 33, 36, false } };

	for (size_t i = 0; i < COUNT(rows); i++) {
		for (unsigned int t = 0; t < 8; t++) {
			struct gemm_case c = make(suite, op, &dims[t / 4], random);

			if (suite->quick && (!dims[t / 4].quick || t % 2))
				continue;
			c.p.order = t % 2 ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR;
			c.p.transa = t & 2 ? VACCEL_TRANS : VACCEL_NO_TRANS;
			c.p.alpha = rows[i].alpha;
			c.p.beta = rows[i].beta;
			c.special = rows[i].special;
			set_lds(&c.p, t % 3, 0, t % 2);
			add(list, &c);
		}
	}
}

/* A and B are not there where they are not read, C where there is none. */
static void plan_absent(struct suite *suite, uint32_t op, struct list *list, uint64_t *random)
{
	static const struct dims dims[] = {
		{ 4, 3, 5, true }, { 4, 3, 0, true }, { 0, 3, 5, true }, { 4, 0, 5, true }
	};

	for (unsigned int i = 0; i < 16; i++) {
		struct gemm_case c = make(suite, op, &dims[i / 4], random);

		c.special = SPECIAL_ABSENT;
		c.p.alpha = i / 4 == 0 ? 0 : 1;
		c.p.beta = i & 1 ? 0.3125 : 0;
		c.p.order = i & 2 ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR;
		set_lds(&c.p, 0, 0, 2);
		add(list, &c);
	}
}

static void plan_sizes(struct suite *suite, uint32_t op, struct list *list, uint64_t *random)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct gemm_case c = make(suite, op, &sizes[i], random);

		if (suite->quick && !sizes[i].quick)
			continue;
		c.p.transb = i % 2 ? VACCEL_TRANS : VACCEL_NO_TRANS;
		c.p.beta = i % 3 ? 0.3125 : 0;
		set_lds(&c.p, i % 2 ? 3 : 0, 0, i % 3);
		add(list, &c);
	}
}

void run_plan(struct suite *suite)
{
	static const struct {
		const char *name;
		void (*plan)(struct suite *suite, uint32_t op, struct list *list, uint64_t *random);
	} groups[] = {
		{ "shapes", plan_shapes },	    { "scalars", plan_scalars }, { "NaN and Inf", plan_values },
		{ "absent matrices", plan_absent }, { "sizes", plan_sizes },
	};
	uint64_t random = suite->seed | 1;

	for (uint32_t op = VACCEL_OP_SGEMM; op <= VACCEL_OP_DGEMM; op++) {
		for (size_t i = 0; i < COUNT(groups); i++) {
			struct list list = { 0 };
			char name[64];

			groups[i].plan(suite, op, &list, &random);
			snprintf(name, sizeof(name), "%s %s", op == VACCEL_OP_SGEMM ? "sgemm" : "dgemm",
				 groups[i].name);
			run_cases(suite, name, list.cases, list.n);
			free(list.cases);
		}
	}
}

void run_noop(struct suite *suite)
{
	struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	struct vaccel_request *requests[32];
	const char *detail = NULL;
	int r = 0;
	size_t n;

	for (int i = 0; r == 0 && i < 100; i++)
		r = vaccel_noop(suite->session);
	report(r == 0, vaccel_error(), "noop, call: 100 in turn");
	for (r = 0, n = 0; r == 0 && n < COUNT(requests); n += r == 0)
		r = vaccel_submit(suite->session, &call, &requests[n]);
	if (r < 0)
		detail = vaccel_error();
	for (size_t i = 0; i < n; i++) {
		int result = vaccel_request_wait(requests[i], -1);

		if (result < 0) {
			r = result;
			detail = vaccel_error();
		}
	}
	report(r == 0, detail, "noop, submit: %zu at once", n);
	for (size_t i = 0; i < n; i++)
		vaccel_request_free(requests[i]);
}
