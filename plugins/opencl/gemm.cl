/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernels for pre-built binaries: C := alpha * X * Y + beta * C, where X[i][p] is x[x_offset + i * x_row + p * x_col] and
 * C is row-major. vaccel-opencl(7) describes the arguments. C is read only if beta is not 0.
 *
 * As it is: one work-item per element of C, in groups of TILE x TILE that share tiles of X and Y in local memory.
 * With -DVACCEL_SINGLE: one work-item does all of C with nested loops, which compilers for FPGAs turn into a pipeline.
 */
#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#define TILE 16

#define GEMM_ARGUMENTS(REAL)                                                                                           \
	ulong m, ulong n, ulong k, REAL alpha, global const REAL *restrict x, ulong x_offset, ulong x_row,             \
		ulong x_col, global const REAL *restrict y, ulong y_offset, ulong y_row, ulong y_col, REAL beta,       \
		global REAL *restrict c, ulong c_offset, ulong ldc

#ifdef VACCEL_SINGLE

#define GEMM(NAME, REAL)                                                                                               \
	__attribute__((reqd_work_group_size(1, 1, 1))) kernel void NAME(GEMM_ARGUMENTS(REAL))                          \
	{                                                                                                              \
		for (ulong i = 0; i < m; i++)                                                                          \
			for (ulong j = 0; j < n; j++) {                                                                \
				const ulong at = c_offset + i * ldc + j;                                               \
				REAL sum = 0;                                                                          \
                                                                                                                       \
				for (ulong p = 0; p < k; p++)                                                          \
					sum += x[x_offset + i * x_row + p * x_col] *                                   \
					       y[y_offset + p * y_row + j * y_col];                                    \
				c[at] = beta == 0 ? alpha * sum : alpha * sum + beta * c[at];                          \
			}                                                                                              \
	}

#else

/* Beyond the end of k both tiles hold zeros, so that no NaN of one meets a zero of the other. */
#define GEMM(NAME, REAL)                                                                                               \
	__attribute__((reqd_work_group_size(TILE, TILE, 1))) kernel void NAME(GEMM_ARGUMENTS(REAL))                    \
	{                                                                                                              \
		local REAL xs[TILE][TILE], ys[TILE][TILE];                                                             \
		const ulong i = get_global_id(1), j = get_global_id(0);                                                \
		const uint li = get_local_id(1), lj = get_local_id(0);                                                 \
		REAL sum = 0;                                                                                          \
                                                                                                                       \
		for (ulong p = 0; p < k; p += TILE) {                                                                  \
			xs[li][lj] = i < m && p + lj < k ? x[x_offset + i * x_row + (p + lj) * x_col] : 0;             \
			ys[li][lj] = j < n && p + li < k ? y[y_offset + (p + li) * y_row + j * y_col] : 0;             \
			barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
			for (uint q = 0; q < TILE; q++)                                                                \
				sum += xs[li][q] * ys[q][lj];                                                          \
			barrier(CLK_LOCAL_MEM_FENCE);                                                                  \
		}                                                                                                      \
		if (i < m && j < n) {                                                                                  \
			const ulong at = c_offset + i * ldc + j;                                                       \
                                                                                                                       \
			c[at] = beta == 0 ? alpha * sum : alpha * sum + beta * c[at];                                  \
		}                                                                                                      \
	}

#endif

GEMM(vaccel_sgemm, float)
#ifdef cl_khr_fp64
GEMM(vaccel_dgemm, double)
#endif
