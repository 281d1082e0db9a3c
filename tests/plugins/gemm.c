/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SGEMM and DGEMM of one plugin against sums in extended precision, over shapes, orders, transposes, strides, scalars,
 * special values and ways in which memory is handed over.
 *
 *	gemm [-q] [-c CACHE-DIR] PLUGIN.so [KEY=VALUE...]
 *
 * -q: a seventh of the shapes, for kernels that are slow.
 *
 * The bound: with u the unit roundoff of the op's precision, an element may be off by
 * (k + 4) * u * (|alpha| * sum |a||b| + |beta| * |c|), which covers every order of summation. NaN and infinities must
 * be the same. Memory around and between the matrices' lines must not change, and holds NaN, so that reading it shows.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "harness.h"

enum { GUARD = 64 }; /* elements before and after each matrix */

enum special { PLAIN, NAN_IN_A, INF_IN_B, OPPOSITE_INFS, N_SPECIALS };
enum memory { ALIGNED, ODD_START, REGISTERED, N_MEMORIES };

struct test {
	struct vaccel_gemm gemm;
	bool wide;
	enum special special;
	enum memory memory;
};

/* A stored matrix inside a block of memory; all elements outside it are NaN. */
struct matrix {
	uint64_t rows, cols, lines, width, ld;
	bool by_rows;
	void *block;
	size_t block_bytes;
	char *data;
	size_t bytes;
};

static uint64_t random_state = 88172645463325252u;
static uint64_t next_buffer = 1;
static bool quick;

static double random_value(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (double)(random_state >> 11) / (double)(1ull << 52) - 1;
}

static double get(const void *data, uint64_t index, bool wide)
{
	return wide ? ((const double *)data)[index] : (double)((const float *)data)[index];
}

static void put(void *data, uint64_t index, double value, bool wide)
{
	if (wide)
		((double *)data)[index] = value;
	else
		((float *)data)[index] = (float)value;
}

static uint64_t at(const struct matrix *m, uint64_t row, uint64_t col)
{
	return m->by_rows ? row * m->ld + col : col * m->ld + row;
}

static size_t element(bool wide)
{
	return wide ? sizeof(double) : sizeof(float);
}

/* ---- Matrices ---- */

static struct matrix matrix_new(const struct test *t, uint64_t rows, uint64_t cols, bool transposed, uint64_t ld)
{
	struct matrix m = { .rows = rows, .cols = cols, .ld = ld };
	const size_t size = element(t->wide);
	size_t i, n, lead = GUARD * 8 + (t->memory == ODD_START ? size : 0);

	m.by_rows = (t->gemm.order == VACCEL_ROW_MAJOR) != transposed;
	m.lines = m.by_rows ? rows : cols;
	m.width = m.by_rows ? cols : rows;
	m.bytes = m.lines && m.width ? ((m.lines - 1) * ld + m.width) * size : 0;
	m.block_bytes = (lead + m.bytes + GUARD * 8 + 4095) / 4096 * 4096;
	m.block = aligned_alloc(4096, m.block_bytes);
	if (!m.block)
		abort();
	n = m.block_bytes / size;
	for (i = 0; i < n; i++)
		put(m.block, i, NAN, t->wide);
	m.data = (char *)m.block + lead;
	return m;
}

static void matrix_fill(const struct test *t, struct matrix *m)
{
	uint64_t i, j;

	for (i = 0; i < m->rows; i++)
		for (j = 0; j < m->cols; j++)
			put(m->data, at(m, i, j), random_value(), t->wide);
}

static void set_specials(const struct test *t, struct matrix *a, struct matrix *b)
{
	const struct vaccel_gemm *g = &t->gemm;

	if (!g->m || !g->n || !g->k)
		return;
	if (t->special == NAN_IN_A)
		put(a->data, at(a, g->m / 2, g->k / 2), NAN, t->wide);
	if (t->special == INF_IN_B) {
		put(b->data, at(b, g->k / 2, g->n / 2), INFINITY, t->wide);
		put(a->data, at(a, 0, g->k / 2), 0, t->wide); /* 0 * Inf is NaN */
	}
	if (t->special == OPPOSITE_INFS) {
		put(a->data, at(a, g->m - 1, 0), INFINITY, t->wide);
		put(a->data, at(a, g->m - 1, g->k - 1), -INFINITY, t->wide);
	}
}

static struct vaccel_plugin_arg as_arg(const struct test *t, const struct matrix *m, uint32_t dir)
{
	struct vaccel_plugin_arg arg = { .data = m->data, .len = m->bytes, .dir = dir };

	if (t->memory == REGISTERED) {
		arg.buffer = next_buffer++;
		arg.buffer_data = m->block;
		arg.buffer_len = m->block_bytes;
	}
	return arg;
}

/* ---- Comparison ---- */

struct operation {
	const struct test *test;
	double alpha, beta;
	struct matrix a, b, c;
	void *before; /* copy of C's block */
};

static double c_before(const struct operation *o, uint64_t index)
{
	return get((char *)o->before + (o->c.data - (char *)o->c.block), index, o->test->wide);
}

static void check_element(const struct operation *o, uint64_t i, uint64_t j)
{
	const struct vaccel_gemm *g = &o->test->gemm;
	const long double unit = o->test->wide ? DBL_EPSILON / 2 : FLT_EPSILON / 2;
	const uint64_t index = at(&o->c, i, j);
	const double got = get(o->c.data, index, o->test->wide);
	long double sum = 0, size = 0, want = 0;
	bool ok;
	uint64_t p;

	if (o->alpha != 0 && g->k) {
		for (p = 0; p < g->k; p++) {
			const long double x = (long double)get(o->a.data, at(&o->a, i, p), o->test->wide) *
					      get(o->b.data, at(&o->b, p, j), o->test->wide);

			sum += x;
			size += fabsl(x);
		}
		want = o->alpha * sum;
		size *= fabs(o->alpha);
	}
	if (o->beta != 0) {
		want += (long double)o->beta * c_before(o, index);
		size += fabsl((long double)o->beta * c_before(o, index));
	}
	if (isnan(want) || isinf(want))
		ok = isnan(want) ? isnan(got) : got == (double)want;
	else
		ok = fabsl(got - want) <= (long double)(g->k + 4) * unit * size;
	CHECK(ok,
	      "%cgemm order %u transa %u transb %u m %llu n %llu k %llu ld %llu %llu %llu alpha %g beta %g special %d "
	      "memory %d: "
	      "C[%llu][%llu] is %.17g, not %.17Lg",
	      o->test->wide ? 'd' : 's', g->order, g->transa, g->transb, (unsigned long long)g->m,
	      (unsigned long long)g->n, (unsigned long long)g->k, (unsigned long long)g->lda,
	      (unsigned long long)g->ldb, (unsigned long long)g->ldc, o->alpha, o->beta, o->test->special,
	      o->test->memory, (unsigned long long)i, (unsigned long long)j, got, want);
}

/* Bits outside the matrix are those from before. Destroys C. */
static void check_surroundings(const struct operation *o)
{
	const size_t size = element(o->test->wide);
	char *before = (char *)o->before + (o->c.data - (char *)o->c.block);
	uint64_t i;

	for (i = 0; i < o->c.lines && o->c.width; i++)
		memcpy(before + i * o->c.ld * size, o->c.data + i * o->c.ld * size, o->c.width * size);
	CHECK(!memcmp(o->before, o->c.block, o->c.block_bytes),
	      "memory beside C changed: m %llu n %llu ldc %llu memory %d", (unsigned long long)o->test->gemm.m,
	      (unsigned long long)o->test->gemm.n, (unsigned long long)o->test->gemm.ldc, o->test->memory);
}

/* All elements of small results; of large ones the edges and some inside. */
static void check_result(const struct operation *o)
{
	const uint64_t m = o->c.rows, n = o->c.cols;
	uint64_t i, j;

	if (m * n <= 20000) {
		for (i = 0; i < m; i++)
			for (j = 0; j < n; j++)
				check_element(o, i, j);
	} else {
		for (i = 0; i < 1000; i++)
			check_element(o, (uint64_t)((random_value() + 1) / 2 * (double)m) % m,
				      (uint64_t)((random_value() + 1) / 2 * (double)n) % n);
		for (i = 0; i < m; i += 7)
			check_element(o, i, n - 1);
		for (j = 0; j < n; j += 7)
			check_element(o, m - 1, j);
	}
	check_surroundings(o);
}

/* ---- One test ---- */

static void run_test(struct harness *h, const struct test *t)
{
	const struct vaccel_gemm *g = &t->gemm;
	struct vaccel_plugin_arg args[3];
	struct operation o = { .test = t, .alpha = g->alpha, .beta = g->beta };
	int r, i;

	if (!t->wide) {
		o.alpha = (float)o.alpha;
		o.beta = (float)o.beta;
	}
	o.a = matrix_new(t, g->m, g->k, g->transa != VACCEL_NO_TRANS, g->lda);
	o.b = matrix_new(t, g->k, g->n, g->transb != VACCEL_NO_TRANS, g->ldb);
	o.c = matrix_new(t, g->m, g->n, false, g->ldc);
	matrix_fill(t, &o.a);
	matrix_fill(t, &o.b);
	set_specials(t, &o.a, &o.b);
	if (g->beta != 0) /* else C stays NaN, which must not be seen */
		matrix_fill(t, &o.c);
	o.before = malloc(o.c.block_bytes);
	if (!o.before)
		abort();
	memcpy(o.before, o.c.block, o.c.block_bytes);

	args[0] = as_arg(t, &o.a, 1);
	args[1] = as_arg(t, &o.b, 1);
	args[2] = as_arg(t, &o.c, g->beta != 0 ? 3 : 2);
	if (g->alpha == 0 || !g->k) /* then they may not be touched at all */
		args[0] = args[1] = (struct vaccel_plugin_arg){ .dir = 1 };
	r = harness_run(h, t->wide ? VACCEL_OP_DGEMM : VACCEL_OP_SGEMM, g, sizeof(*g), args, 3);
	if (CHECK(!r, "m %llu n %llu k %llu: error %d: %s", (unsigned long long)g->m, (unsigned long long)g->n,
		  (unsigned long long)g->k, r, h->error))
		check_result(&o);
	for (i = 0; i < 3; i++)
		if (args[i].buffer && h->plugin->buffer_gone)
			h->plugin->buffer_gone(args[i].buffer);
	free(o.a.block);
	free(o.b.block);
	free(o.c.block);
	free(o.before);
}

/* ---- The matrix of tests ---- */

static void set_strides(struct vaccel_gemm *g, uint64_t gap)
{
	const bool rows = g->order == VACCEL_ROW_MAJOR;
	const uint64_t a = rows != (g->transa != VACCEL_NO_TRANS) ? g->k : g->m;
	const uint64_t b = rows != (g->transb != VACCEL_NO_TRANS) ? g->n : g->k;
	const uint64_t c = rows ? g->n : g->m;

	g->lda = (a ? a : 1) + gap;
	g->ldb = (b ? b : 1) + gap * 2;
	g->ldc = (c ? c : 1) + gap * 3;
}

/* Every order and pair of transposes for one shape; scalars, gaps, special values and memory take turns. */
static void run_shape(struct harness *h, bool wide, uint64_t m, uint64_t n, uint64_t k)
{
	static const double alphas[] = { 1, -1.5, 0, 0.3 }, betas[] = { 0, 1, 0.7 };
	static unsigned int turn;
	uint32_t order, ta, tb;

	for (order = VACCEL_ROW_MAJOR; order <= VACCEL_COL_MAJOR; order++)
		for (ta = VACCEL_NO_TRANS; ta <= VACCEL_CONJ_TRANS; ta++)
			for (tb = VACCEL_NO_TRANS; tb <= VACCEL_CONJ_TRANS; tb++) {
				struct test t = { .wide = wide };

				t.gemm = (struct vaccel_gemm){
					.order = order,
					.transa = ta,
					.transb = tb,
					.m = m,
					.n = n,
					.k = k,
					.alpha = alphas[turn % 4],
					.beta = betas[turn / 4 % 3],
				};
				t.special = (enum special)(turn / 5 % N_SPECIALS);
				t.memory = (enum memory)(turn / 7 % N_MEMORIES);
				set_strides(&t.gemm, turn / 11 % 3);
				run_test(h, &t);
				turn++;
			}
}

static void run_all(struct harness *h, bool wide)
{
	static const uint64_t small[] = { 0, 1, 2, 5, 16, 33 };
	static const uint64_t more[][3] = {
		{ 64, 64, 64 },	  { 65, 63, 67 },   { 127, 1, 129 },  { 1, 128, 7 },   { 100, 100, 1 }, { 3, 200, 150 },
		{ 130, 131, 40 }, { 256, 256, 32 }, { 31, 257, 513 }, { 16390, 2, 3 }, { 2, 16391, 3 }, { 3, 2, 16392 },
	};
	const size_t n = sizeof(small) / sizeof(small[0]);
	size_t i, j, k;

	for (i = 0; i < n; i++)
		for (j = 0; j < n; j++)
			for (k = 0; k < n; k++)
				if (!quick || !((i + 2 * j + 3 * k) % 7))
					run_shape(h, wide, small[i], small[j], small[k]);
	for (i = 0; i < sizeof(more) / sizeof(more[0]); i += quick ? 5 : 1)
		run_shape(h, wide, more[i][0], more[i][1], more[i][2]);
}

/* Large enough that libraries choose other kernels, with threads of their own; each pair of transposes once. */
static void run_large(struct harness *h, bool wide)
{
	static const uint64_t sizes[] = { 1024, 1039 };
	unsigned int i, bits;

	for (i = quick; i < 2; i++)
		for (bits = 0; bits < (quick ? 1 : 4); bits++) {
			struct test t = { .wide = wide, .memory = (enum memory)(bits % N_MEMORIES) };

			t.gemm = (struct vaccel_gemm){
				.order = bits ^ i ? VACCEL_ROW_MAJOR : VACCEL_COL_MAJOR,
				.transa = bits & 1 ? VACCEL_TRANS : VACCEL_NO_TRANS,
				.transb = bits & 2 ? VACCEL_TRANS : VACCEL_NO_TRANS,
				.m = sizes[i],
				.n = sizes[i] + i,
				.k = sizes[i] - i,
				.alpha = 0.9,
				.beta = bits == 2 ? 0.5 : 0,
			};
			t.special = i ? INF_IN_B : PLAIN;
			set_strides(&t.gemm, i);
			run_test(h, &t);
		}
}

int main(int argc, char **argv)
{
	const char *cache = NULL;
	struct harness h;
	unsigned int so_before;
	int c, r;

	while ((c = getopt(argc, argv, "c:q")) >= 0) {
		if (c == 'c')
			cache = optarg;
		else if (c == 'q')
			quick = true;
		else
			return 2;
	}
	if (optind >= argc || harness_open(&h, argv[optind]) < 0)
		return 2;
	r = harness_start(&h, cache, 0, argv + optind + 1);
	if (r == -ENODEV) {
		printf("skipped: %s\n", h.error);
		harness_stop(&h);
		return SKIPPED;
	}
	if (!CHECK(!r, "%s does not start: error %d: %s", argv[optind], r, h.error))
		return harness_end();
	printf("%s: %s\n", h.plugin->name, h.plugin->hardware());
	so_before = cache ? harness_count_files(cache, ".so") : 0;
	run_all(&h, false);
	run_large(&h, false);
	if (harness_has(&h, VACCEL_OP_DGEMM)) {
		run_all(&h, true);
		run_large(&h, true);
	}
	/* After ready() a worker may no longer start a linker: nothing is compiled while operations run. */
	if (cache)
		CHECK(harness_count_files(cache, ".so") == so_before,
		      "kernels were compiled after ready(): %u before, %u now", so_before,
		      harness_count_files(cache, ".so"));
	harness_stop(&h);
	return harness_end();
}
