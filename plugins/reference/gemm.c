/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Portable GEMM, see gemm.h. C is computed in blocks of at most ROWS x COLS elements whose sums stay in the first-level
 * cache while p runs over all of k. The blocks have no influence on the result: an element's sum is taken in the order
 * of p, whatever the shape.
 *
 * One always-inlined body serves both element types; `wide` is a constant in each caller.
 */
#include <string.h>
#include "gemm.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 32, COLS = 64 };

/* The operands of one operation in the types of its caller. */
struct operands {
	const void *x, *y;
	void *c;
	double alpha, beta;
	struct gemm_view view;
};

void gemm_view_init(struct gemm_view *view, const struct vaccel_gemm *gemm)
{
	const bool at = gemm->transa != VACCEL_NO_TRANS, bt = gemm->transb != VACCEL_NO_TRANS;
	const bool swapped = gemm->order == VACCEL_COL_MAJOR;
	const size_t x_ld = swapped ? gemm->ldb : gemm->lda, y_ld = swapped ? gemm->lda : gemm->ldb;
	const bool xt = swapped ? bt : at, yt = swapped ? at : bt;

	*view = (struct gemm_view){
		.m = swapped ? gemm->n : gemm->m,
		.n = swapped ? gemm->m : gemm->n,
		.k = gemm->k,
		.swapped = swapped,
		.x_row = xt ? 1 : x_ld,
		.x_col = xt ? x_ld : 1,
		.y_row = yt ? 1 : y_ld,
		.y_col = yt ? y_ld : 1,
		.ldc = gemm->ldc,
	};
}

INLINE double load(const void *base, size_t index, bool wide)
{
	return wide ? ((const double *)base)[index] : (double)((const float *)base)[index];
}

INLINE void store(void *base, size_t index, double value, bool wide)
{
	if (wide)
		((double *)base)[index] = value;
	else
		((float *)base)[index] = (float)value;
}

/* Writes value + beta * C; C is read only if beta is not 0. */
INLINE void update(const struct operands *o, size_t index, double value, bool wide)
{
	if (o->beta != 0)
		value += o->beta * load(o->c, index, wide);
	store(o->c, index, value, wide);
}

/* The block of rows x cols elements of C that begins at row i0, column j0. */
INLINE void multiply_block(const struct operands *o, size_t i0, size_t j0, size_t rows, size_t cols, bool wide)
{
	const struct gemm_view *v = &o->view;
	double sum[ROWS][COLS], line[COLS];
	size_t i, j, p;

	memset(sum, 0, sizeof(sum));
	for (p = 0; p < v->k; p++) {
		for (j = 0; j < cols; j++)
			line[j] = load(o->y, p * v->y_row + (j0 + j) * v->y_col, wide);
		for (i = 0; i < rows; i++) {
			const double x = load(o->x, (i0 + i) * v->x_row + p * v->x_col, wide);

			for (j = 0; j < cols; j++)
				sum[i][j] += x * line[j];
		}
	}
	for (i = 0; i < rows; i++)
		for (j = 0; j < cols; j++)
			update(o, (i0 + i) * v->ldc + j0 + j, o->alpha * sum[i][j], wide);
}

INLINE void multiply(const struct operands *o, bool wide)
{
	const struct gemm_view *v = &o->view;
	size_t i, j;

	for (j = 0; j < v->n; j += COLS)
		for (i = 0; i < v->m; i += ROWS)
			multiply_block(o, i, j, v->m - i < ROWS ? v->m - i : ROWS, v->n - j < COLS ? v->n - j : COLS,
				       wide);
}

/* C := beta * C, where beta = 1 leaves every bit as it is. */
INLINE void scale(const struct operands *o, bool wide)
{
	size_t i, j;

	if (o->beta == 1)
		return;
	for (i = 0; i < o->view.m; i++)
		for (j = 0; j < o->view.n; j++)
			update(o, i * o->view.ldc + j, 0, wide);
}

INLINE void gemm_any(const struct vaccel_gemm *gemm, struct operands *o, const void *a, const void *b, bool wide)
{
	gemm_view_init(&o->view, gemm);
	o->x = o->view.swapped ? b : a;
	o->y = o->view.swapped ? a : b;
	if (!gemm->m || !gemm->n)
		return;
	if (gemm_is_scaling(gemm, o->alpha))
		scale(o, wide);
	else
		multiply(o, wide);
}

void gemm_float(const struct vaccel_gemm *gemm, const float *a, const float *b, float *c)
{
	struct operands o = { .c = c, .alpha = (float)gemm->alpha, .beta = (float)gemm->beta };

	gemm_any(gemm, &o, a, b, false);
}

void gemm_double(const struct vaccel_gemm *gemm, const double *a, const double *b, double *c)
{
	struct operands o = { .c = c, .alpha = gemm->alpha, .beta = gemm->beta };

	gemm_any(gemm, &o, a, b, true);
}
