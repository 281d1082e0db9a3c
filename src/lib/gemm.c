/* SPDX-License-Identifier: Apache-2.0 */
/* The operations as functions. What is not valid is left for op_check() to say. */
#include <errno.h>
#include <stdbool.h>

#include "lib/internal.h"
#include "util/util.h"

struct matrix {
	const char *name;
	void *data;
	uint64_t rows;
	uint64_t cols;
	uint64_t ld;
	uint32_t trans;
	bool used;
};

PUBLIC int vaccel_noop(struct vaccel_session *session)
{
	const struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };

	return vaccel_run(session, &call);
}

/* Bytes from the first element to the last, and whether others lie between. */
static int measure(const struct matrix *matrix, uint32_t order, size_t element, size_t *ret_len, bool *ret_gaps)
{
	bool by_rows = (order == VACCEL_ROW_MAJOR) == (matrix->trans == VACCEL_NO_TRANS);
	uint64_t lines = by_rows ? matrix->rows : matrix->cols;
	uint64_t length = by_rows ? matrix->cols : matrix->rows;
	uint64_t span;

	*ret_len = 0;
	*ret_gaps = lines > 1 && matrix->ld > length;
	if (!matrix->used || !lines || !length)
		return 0;
	if (mul_u64(lines - 1, matrix->ld, &span) || add_u64(span, length, &span) || mul_u64(span, element, &span))
		return lib_failf(-E2BIG, "matrix %s: larger than any memory", matrix->name);
	*ret_len = span;
	return 0;
}

static int gemm(struct vaccel_session *session, uint32_t op, size_t element, const struct vaccel_gemm *params,
		const void *a, const void *b, void *c)
{
	bool result = params->m && params->n;
	bool product = result && params->k && params->alpha != 0;
	/* Arguments carry no const; A and B are IN and so only read. */
	const struct matrix matrices[3] = {
		{ "A", (void *)(uintptr_t)a, params->m, params->k, params->lda, params->transa, product },
		{ "B", (void *)(uintptr_t)b, params->k, params->n, params->ldb, params->transb, product },
		{ "C", c, params->m, params->n, params->ldc, VACCEL_NO_TRANS, result },
	};
	struct vaccel_arg args[3] = { 0 };
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = op,
		.params = params,
		.params_len = sizeof(*params),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};
	bool gaps;

	for (size_t i = 0; i < ARRAY_SIZE(args); i++) {
		int r = measure(&matrices[i], params->order, element, &args[i].len, &gaps);

		if (r < 0)
			return r;
		args[i].data = matrices[i].data;
		args[i].dir = VACCEL_IN;
	}
	/* Gaps are the caller's: an argument that is only written would come back with anything in them. */
	args[2].dir = params->beta != 0 || gaps ? VACCEL_INOUT : VACCEL_OUT;
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

	return gemm(session, VACCEL_OP_SGEMM, sizeof(float), &params, a, b, c);
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

	return gemm(session, VACCEL_OP_DGEMM, sizeof(double), &params, a, b, c);
}
