/* SPDX-License-Identifier: Apache-2.0 */
/* The operations as functions. What is not valid is left for op_check() to say. */
#include "lib/gemm.h"

#include "lib/internal.h"
#include "op/gemm.h"
#include "util/util.h"

PUBLIC int vaccel_noop(struct vaccel_session *session)
{
	const struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };

	return vaccel_run(session, &call);
}

int lib_gemm(struct vaccel_session *session, uint32_t op, const struct vaccel_gemm *params, const void *a,
	     const void *b, void *c)
{
	/* Arguments carry no const; A and B are IN and so only read. */
	struct vaccel_arg args[3] = {
		{ .data = (void *)(uintptr_t)a, .dir = VACCEL_IN },
		{ .data = (void *)(uintptr_t)b, .dir = VACCEL_IN },
		{ .data = c, .dir = params->beta != 0 ? VACCEL_INOUT : VACCEL_OUT },
	};
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = op,
		.params = params,
		.params_len = sizeof(*params),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};
	uint64_t lens[3];
	struct error error;

	if (gemm_lens(op_by_id(op), params, lens, &error) < 0)
		return lib_fail(&error);
	for (size_t i = 0; i < ARRAY_SIZE(args); i++)
		args[i].len = lens[i];
	return vaccel_run(session, &call);
}

PUBLIC int vaccel_sgemm(struct vaccel_session *session, enum vaccel_order order, enum vaccel_transpose transa,
			enum vaccel_transpose transb, size_t m, size_t n, size_t k, float alpha, const float *a,
			size_t lda, const float *b, size_t ldb, float beta, float *c, size_t ldc)
{
	const struct vaccel_gemm params = {
		.order = order,
		.transa = transa,
		.transb = transb,
		.m = m,
		.n = n,
		.k = k,
		.lda = lda,
		.ldb = ldb,
		.ldc = ldc,
		.alpha = alpha,
		.beta = beta,
	};

	return lib_gemm(session, VACCEL_OP_SGEMM, &params, a, b, c);
}

PUBLIC int vaccel_dgemm(struct vaccel_session *session, enum vaccel_order order, enum vaccel_transpose transa,
			enum vaccel_transpose transb, size_t m, size_t n, size_t k, double alpha, const double *a,
			size_t lda, const double *b, size_t ldb, double beta, double *c, size_t ldc)
{
	const struct vaccel_gemm params = {
		.order = order,
		.transa = transa,
		.transb = transb,
		.m = m,
		.n = n,
		.k = k,
		.lda = lda,
		.ldb = ldb,
		.ldc = ldc,
		.alpha = alpha,
		.beta = beta,
	};

	return lib_gemm(session, VACCEL_OP_DGEMM, &params, a, b, c);
}
