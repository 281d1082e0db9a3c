/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a GEMM case is and what must come out of it.
 *
 * The bound: a sum of k products, each rounded, in any order, with alpha and beta applied in either place, is off by at
 * most (k + 2) roundings of half an eps each of the sum of magnitudes |alpha| |A| |B| + |beta| |C|; the suite allows
 * 2 (k + 2) eps of it, which also covers the reference's own error. Elements that are not finite must be the same kind
 * of not finite. Bytes of C that are no elements, and all of A and B, must stay what they were.
 */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

#define CANARY 0xa5

uint64_t suite_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1du;
}

static size_t element_size(const struct gemm_case *c)
{
	return c->op == VACCEL_OP_SGEMM ? sizeof(float) : sizeof(double);
}

static long double load(const struct gemm_case *c, const unsigned char *at)
{
	float f;
	double d;

	if (c->op == VACCEL_OP_SGEMM) {
		memcpy(&f, at, sizeof(f));
		return f;
	}
	memcpy(&d, at, sizeof(d));
	return d;
}

static void store(const struct gemm_case *c, unsigned char *at, double value)
{
	float f = (float)value;

	if (c->op == VACCEL_OP_SGEMM)
		memcpy(at, &f, sizeof(f));
	else
		memcpy(at, &value, sizeof(value));
}

static void set_shape(struct stored *matrix, const struct vaccel_gemm *p, uint32_t trans, uint64_t rows, uint64_t cols,
		      uint64_t ld, size_t element)
{
	bool by_rows = (p->order == VACCEL_ROW_MAJOR) == (trans == VACCEL_NO_TRANS);

	matrix->lines = by_rows ? rows : cols;
	matrix->length = by_rows ? cols : rows;
	matrix->ld = ld;
	matrix->bytes = matrix->lines && matrix->length ? ((matrix->lines - 1) * ld + matrix->length) * element : 0;
}

/* Where element (row, col) of op(A), op(B) or C lies. */
static const unsigned char *element_at(const struct prepared *p, int which, const unsigned char *area, size_t row,
				       size_t col)
{
	uint32_t trans = which == 0 ? p->c.p.transa : which == 1 ? p->c.p.transb : VACCEL_NO_TRANS;
	bool by_rows = (p->c.p.order == VACCEL_ROW_MAJOR) == (trans == VACCEL_NO_TRANS);
	size_t index = by_rows ? row * p->matrix[which].ld + col : col * p->matrix[which].ld + row;

	return area + GUARD_BYTES + index * element_size(&p->c);
}

static bool fill_matrix(const struct gemm_case *c, struct stored *matrix, uint64_t *seed)
{
	size_t size = matrix->bytes + 2 * GUARD_BYTES, element = element_size(c);

	matrix->area = malloc(size);
	if (!matrix->area)
		return false;
	memset(matrix->area, CANARY, size);
	for (size_t i = 0; i < matrix->lines; i++)
		for (size_t j = 0; j < matrix->length; j++)
			store(c, matrix->area + GUARD_BYTES + (i * matrix->ld + j) * element,
			      (double)(int64_t)(suite_random(seed) >> 12) / (double)(INT64_C(1) << 51) - 1);
	return true;
}

/* Puts one value into the middle of a matrix. */
static void spoil(const struct prepared *p, int which, double value)
{
	const struct stored *matrix = &p->matrix[which];
	size_t index = matrix->lines / 2 * matrix->ld + matrix->length / 2;

	if (matrix->bytes)
		store(&p->c, matrix->area + GUARD_BYTES + index * element_size(&p->c), value);
}

static void apply_special(const struct prepared *p)
{
	switch (p->c.special) {
	case SPECIAL_NAN_A:
		spoil(p, 0, NAN);
		break;
	case SPECIAL_NAN_B:
		spoil(p, 1, NAN);
		break;
	case SPECIAL_NAN_C:
		spoil(p, 2, NAN);
		break;
	case SPECIAL_INF_A:
		spoil(p, 0, INFINITY);
		break;
	case SPECIAL_INF_B:
		spoil(p, 1, -INFINITY);
		break;
	case SPECIAL_INF_C:
		spoil(p, 2, INFINITY);
		break;
	default:
		break;
	}
}

/* C := alpha op(A) op(B) + beta C in long double, and the magnitude of what was added. */
static void compute_want(struct prepared *p)
{
	const struct vaccel_gemm *g = &p->c.p;
	const long double eps = p->c.op == VACCEL_OP_SGEMM ? FLT_EPSILON : DBL_EPSILON;

	for (size_t i = 0; i < g->m; i++) {
		for (size_t j = 0; j < g->n; j++) {
			long double sum = 0, magnitude = 0;

			for (size_t l = 0; g->alpha != 0 && l < g->k; l++) {
				long double x = load(&p->c, element_at(p, 0, p->matrix[0].area, i, l));
				long double y = load(&p->c, element_at(p, 1, p->matrix[1].area, l, j));

				sum += x * y;
				magnitude += fabsl(x * y);
			}
			if (g->alpha != 0 && g->k) {
				sum *= g->alpha;
				magnitude *= fabs(g->alpha);
			}
			if (g->beta != 0) {
				long double c = load(&p->c, element_at(p, 2, p->matrix[2].area, i, j));

				sum += g->beta * c;
				magnitude += fabsl(g->beta * c);
			}
			p->want[i * g->n + j] = sum;
			p->bound[i * g->n + j] = 2 * ((long double)g->k + 2) * eps * magnitude;
		}
	}
}

int gemm_call(struct vaccel_session *session, const struct gemm_case *c, const void *a, const void *b, void *out)
{
	const struct vaccel_gemm *g = &c->p;

	if (c->op == VACCEL_OP_SGEMM)
		return vaccel_sgemm(session, g->order, g->transa, g->transb, g->m, g->n, g->k, (float)g->alpha, a,
				    g->lda, b, g->ldb, (float)g->beta, out, g->ldc);
	return vaccel_dgemm(session, g->order, g->transa, g->transb, g->m, g->n, g->k, g->alpha, a, g->lda, b, g->ldb,
			    g->beta, out, g->ldc);
}

/* The oracle of the others must itself be right. */
static bool reference_is_right(struct prepared *p, char *detail, size_t len)
{
	unsigned char *areas[3] = { p->matrix[0].area, p->matrix[1].area, p->reference };

	return reference_run(p, detail, len) && gemm_check(p, areas, detail, len);
}

bool gemm_prepare(const struct gemm_case *c, struct prepared *p, char *detail, size_t len)
{
	const struct vaccel_gemm *g = &c->p;
	size_t element = element_size(c), n = g->m * g->n;
	uint64_t seed = c->seed | 1;
	bool ok;

	*p = (struct prepared){ .c = *c };
	set_shape(&p->matrix[0], g, g->transa, g->m, g->k, g->lda, element);
	set_shape(&p->matrix[1], g, g->transb, g->k, g->n, g->ldb, element);
	set_shape(&p->matrix[2], g, VACCEL_NO_TRANS, g->m, g->n, g->ldc, element);
	ok = fill_matrix(c, &p->matrix[0], &seed) && fill_matrix(c, &p->matrix[1], &seed) &&
	     fill_matrix(c, &p->matrix[2], &seed);
	p->want = calloc(n + 1, sizeof(*p->want));
	p->bound = calloc(n + 1, sizeof(*p->bound));
	p->reference = malloc(p->matrix[2].bytes + 2 * GUARD_BYTES);
	if (!ok || !p->want || !p->bound || !p->reference) {
		snprintf(detail, len, "no memory for a case");
		gemm_release(p);
		return false;
	}
	apply_special(p);
	compute_want(p);
	if (!reference_is_right(p, detail, len)) {
		gemm_release(p);
		return false;
	}
	return true;
}

void gemm_release(struct prepared *p)
{
	for (int i = 0; i < 3; i++)
		free(p->matrix[i].area);
	free(p->want);
	free(p->bound);
	free(p->reference);
	*p = (struct prepared){ 0 };
}

size_t gemm_area_bytes(const struct prepared *p)
{
	/* Each area starts at a multiple of 64, and so does the matrix in it. */
	size_t bytes = 0;

	for (int i = 0; i < 3; i++)
		bytes += (p->matrix[i].bytes + 2 * GUARD_BYTES + 63) / 64 * 64;
	return bytes;
}

static bool near(long double want, long double bound, long double got)
{
	if (isnan(want))
		return isnan(got);
	if (isinf(want))
		return got == want;
	return isfinite(got) && fabsl(got - want) <= bound;
}

static bool check_elements(const struct prepared *p, const unsigned char *area, char *detail, size_t len)
{
	const struct vaccel_gemm *g = &p->c.p;

	for (size_t i = 0; i < g->m; i++) {
		for (size_t j = 0; j < g->n; j++) {
			long double got = load(&p->c, element_at(p, 2, area, i, j));
			long double ref = load(&p->c, element_at(p, 2, p->reference, i, j));
			long double want = p->want[i * g->n + j], bound = p->bound[i * g->n + j];

			if (near(want, bound, got) && near(ref, 2 * bound, got))
				continue;
			snprintf(detail, len, "C[%zu][%zu] is %.9Lg, not %.9Lg (reference: %.9Lg) within %.3Lg", i, j,
				 got, want, ref, bound);
			return false;
		}
	}
	return true;
}

/* Guards and what lies between the lines. */
static bool check_padding(const struct prepared *p, const unsigned char *area, char *detail, size_t len)
{
	const struct stored *c = &p->matrix[2];
	const size_t element = element_size(&p->c), line = c->ld * element, used = c->length * element;

	for (size_t i = 0; i < c->bytes + 2 * GUARD_BYTES; i++) {
		size_t at = i - GUARD_BYTES;

		if (i >= GUARD_BYTES && at < c->bytes && at % line < used)
			continue;
		if (area[i] == CANARY)
			continue;
		snprintf(detail, len, "the byte %zd behind the start of C is no element, and was written", (ssize_t)at);
		return false;
	}
	return true;
}

bool gemm_check(const struct prepared *p, unsigned char *const areas[3], char *detail, size_t len)
{
	for (int i = 0; i < 2; i++) {
		if (!memcmp(areas[i], p->matrix[i].area, p->matrix[i].bytes + 2 * GUARD_BYTES))
			continue;
		snprintf(detail, len, "%c was written", "AB"[i]);
		return false;
	}
	return check_padding(p, areas[2], detail, len) && check_elements(p, areas[2], detail, len);
}

void gemm_describe(const struct gemm_case *c, char *text, size_t len)
{
	static const char *const specials[N_SPECIALS] = {
		"",	      ", NaN in A",  ", NaN in B", ", NaN in C",
		", Inf in A", ", -Inf in B", ", Inf in C", ", A and B absent"
	};
	const struct vaccel_gemm *g = &c->p;

	snprintf(text, len, "%s %s %c%c m=%llu n=%llu k=%llu lda=%llu ldb=%llu ldc=%llu alpha=%g beta=%g%s",
		 c->op == VACCEL_OP_SGEMM ? "sgemm" : "dgemm", g->order == VACCEL_ROW_MAJOR ? "row" : "col",
		 "NTC"[g->transa - VACCEL_NO_TRANS], "NTC"[g->transb - VACCEL_NO_TRANS], (unsigned long long)g -> m,
		 (unsigned long long)g -> n, (unsigned long long)g -> k, (unsigned long long)g -> lda,
		 (unsigned long long)g -> ldb, (unsigned long long)g -> ldc, g -> alpha, g -> beta,
		 specials[c->special]);
}
