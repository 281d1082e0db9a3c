/* SPDX-License-Identifier: Apache-2.0 */
/* SGEMM and DGEMM for both APIs: arguments as long as the parameters make them, then vaccel_run(). */
#ifndef VACCEL_LIB_GEMM_H
#define VACCEL_LIB_GEMM_H

#include <vaccel/vaccel.h>

int lib_gemm(struct vaccel_session *session, uint32_t op, const struct vaccel_gemm *params, const void *a,
	     const void *b, void *c);

#endif
