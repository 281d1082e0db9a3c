/* SPDX-License-Identifier: Apache-2.0 */
/**
 * <vaccel/ops.h>: the operations and their parameters, shared by callers and plugins.
 *
 * The numbers are for ever. Parameter structs have the layout of the wire (docs/virtio-accel.md) in the machine's own
 * byte order; reserved members are zero.
 */
#ifndef VACCEL_OPS_H
#define VACCEL_OPS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vaccel_op {
	VACCEL_OP_NOOP = 0,  /* does nothing: no parameters, no arguments */
	VACCEL_OP_SGEMM = 1, /* struct vaccel_gemm; float A, B, C */
	VACCEL_OP_DGEMM = 2, /* struct vaccel_gemm; double A, B, C */
};

/** Values of CBLAS: what a program passes to cblas_sgemm() is valid here. */
enum vaccel_order {
	VACCEL_ROW_MAJOR = 101,
	VACCEL_COL_MAJOR = 102,
};

enum vaccel_transpose {
	VACCEL_NO_TRANS = 111,
	VACCEL_TRANS = 112,
	VACCEL_CONJ_TRANS = 113, /* the same as TRANS for real matrices */
};

/**
 * SGEMM, DGEMM: C := alpha * op(A) * op(B) + beta * C, as BLAS defines it.
 *
 * op(A) is m x k, op(B) k x n, C m x n elements. Arguments of the call: 0: A (in), 1: B (in), 2: C (out; in and out
 * when beta is not 0: C is read only then, so NaN in C does not spread through beta = 0). Leading dimensions count
 * elements and are at least 1 and at least the length of a row (row-major) or column (column-major) as stored.
 * With alpha = 0 or k = 0, A and B are not read. With m = 0 or n = 0 nothing happens.
 */
struct vaccel_gemm {
	uint32_t order;	 /* enum vaccel_order */
	uint32_t transa; /* enum vaccel_transpose */
	uint32_t transb;
	uint32_t reserved;
	uint64_t m;
	uint64_t n;
	uint64_t k;
	uint64_t lda;
	uint64_t ldb;
	uint64_t ldc;
	double alpha;
	double beta;
};

#ifdef __cplusplus
}
#endif
#endif /* VACCEL_OPS_H */
