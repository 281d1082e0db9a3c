/* SPDX-License-Identifier: Apache-2.0 */
/* What the op table's rows for SGEMM and DGEMM point to. The element size is that of the row's arguments. */
#ifndef VACCEL_OP_GEMM_H
#define VACCEL_OP_GEMM_H

#include "op/request.h"

int gemm_check(const struct op_desc *op, const struct op_request *request, struct error *error);
bool gemm_replayable(const struct op_request *request);
bool gemm_partial(const struct op_request *request);
uint64_t gemm_cost(const struct op_request *request);

/* Bytes that A, B and C take from the first element to the last; 0 for one that is neither read nor written. -E2BIG. */
int gemm_lens(const struct op_desc *op, const struct vaccel_gemm *gemm, uint64_t ret_lens[3], struct error *error);

#endif
