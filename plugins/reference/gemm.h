/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Portable GEMM. Several plugins link it: it is the reference, and it does the cases that need no accelerator (alpha = 0
 * or k = 0), so that all plugins agree on them.
 *
 * Parameters have been checked by the loader: enumerations are known, every element that the operation touches lies in
 * its argument. No state; any number of threads.
 */
#ifndef VACCEL_PLUGIN_REFERENCE_GEMM_H
#define VACCEL_PLUGIN_REFERENCE_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <vaccel/ops.h>

/*
 * A GEMM seen as row-major and without transposes: C[i][j] += X[i][p] * Y[p][j], where X[i][p] lies at element
 * i * x_row + p * x_col. A column-major C is the row-major C transposed, so there X is B and Y is A.
 */
struct gemm_view {
	size_t m, n, k;
	bool swapped; /* X is B, Y is A */
	size_t x_row, x_col;
	size_t y_row, y_col;
	size_t ldc;
};

void gemm_view_init(struct gemm_view *view, const struct vaccel_gemm *gemm);

/* True if the result needs neither A nor B: C := beta * C, or nothing at all. alpha as the op's precision sees it. */
static inline bool gemm_is_scaling(const struct vaccel_gemm *gemm, double alpha)
{
	return !gemm->m || !gemm->n || !gemm->k || alpha == 0;
}

/*
 * Elements from the first to the last that a stored matrix spans: lines lines of len elements, ld apart. 0 if there are
 * none. The sum cannot overflow for arguments that the loader has checked.
 */
static inline size_t gemm_span(size_t lines, size_t len, size_t ld)
{
	return lines && len ? (lines - 1) * ld + len : 0;
}

/* C := alpha * op(A) * op(B) + beta * C. Sums are taken in double precision, in the order of k. */
void gemm_float(const struct vaccel_gemm *gemm, const float *a, const float *b, float *c);
void gemm_double(const struct vaccel_gemm *gemm, const double *a, const double *b, double *c);

#endif
