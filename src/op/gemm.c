/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What SGEMM and DGEMM demand of their parameters and arguments: the rules of BLAS, with the memory that each matrix
 * takes computed so that nothing can overflow.
 */
#include "op/gemm.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/util.h"

/* A matrix as stored: lines of length elements, ld elements apart. */
struct stored {
	const char *name; /* of the matrix */
	const char *ld_name;
	uint64_t lines;
	uint64_t length;
	uint64_t ld;
	bool used;
};

static const struct vaccel_gemm *gemm_of(const struct op_request *request)
{
	return (const struct vaccel_gemm *)request->params;
}

static int check_enums(const struct op_desc *op, const struct vaccel_gemm *gemm, struct error *error)
{
	const uint32_t trans[] = { gemm->transa, gemm->transb };

	if (gemm->order != VACCEL_ROW_MAJOR && gemm->order != VACCEL_COL_MAJOR)
		return error_set(error, -EINVAL, "%s: order is %u, not 101 (row-major) or 102 (column-major)", op->name,
				 gemm->order);
	for (size_t i = 0; i < ARRAY_SIZE(trans); i++)
		if (trans[i] < VACCEL_NO_TRANS || trans[i] > VACCEL_CONJ_TRANS)
			return error_set(error, -EINVAL,
					 "%s: trans%c is %u, not 111 (none), 112 (transposed) or 113 (conjugate)",
					 op->name, (int)('a' + i), trans[i]);
	if (gemm->reserved)
		return error_set(error, -EINVAL, "%s: reserved parameter is %u, not 0", op->name, gemm->reserved);
	return 0;
}

/* The lines of a rows x cols matrix, given how it is ordered and whether it is stored transposed. */
static void set_shape(struct stored *matrix, const struct vaccel_gemm *gemm, uint32_t trans, uint64_t rows,
		      uint64_t cols)
{
	bool by_rows = (gemm->order == VACCEL_ROW_MAJOR) == (trans == VACCEL_NO_TRANS);

	matrix->lines = by_rows ? rows : cols;
	matrix->length = by_rows ? cols : rows;
}

static void gemm_shapes(const struct vaccel_gemm *gemm, struct stored matrices[3])
{
	bool product = gemm->alpha != 0 && gemm->k;
	bool result = gemm->m && gemm->n;

	matrices[0] = (struct stored){ .name = "A", .ld_name = "lda", .ld = gemm->lda, .used = product && result };
	matrices[1] = (struct stored){ .name = "B", .ld_name = "ldb", .ld = gemm->ldb, .used = product && result };
	matrices[2] = (struct stored){ .name = "C", .ld_name = "ldc", .ld = gemm->ldc, .used = result };
	set_shape(&matrices[0], gemm, gemm->transa, gemm->m, gemm->k);
	set_shape(&matrices[1], gemm, gemm->transb, gemm->k, gemm->n);
	set_shape(&matrices[2], gemm, VACCEL_NO_TRANS, gemm->m, gemm->n);
}

/* Bytes from the first element to the last; true when that does not fit. */
static bool stored_bytes(const struct stored *matrix, uint64_t element, uint64_t *ret)
{
	uint64_t span;

	*ret = 0;
	if (!matrix->lines || !matrix->length)
		return false;
	return mul_u64(matrix->lines - 1, matrix->ld, &span) || add_u64(span, matrix->length, &span) ||
	       mul_u64(span, element, ret);
}

/* The same, but 0 for a matrix that is neither read nor written. */
static int matrix_len(const struct op_desc *op, const struct stored *matrix, uint64_t element, uint64_t *ret,
		      struct error *error)
{
	*ret = 0;
	if (matrix->used && stored_bytes(matrix, element, ret))
		return error_set(error, -E2BIG, "%s: matrix %s is larger than any memory", op->name, matrix->name);
	return 0;
}

int gemm_lens(const struct op_desc *op, const struct vaccel_gemm *gemm, uint64_t ret_lens[3], struct error *error)
{
	struct stored matrices[3];
	int r = 0;

	gemm_shapes(gemm, matrices);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(matrices); i++)
		r = matrix_len(op, &matrices[i], op->args[i].align, &ret_lens[i], error);
	return r;
}

static int check_matrix(const struct op_desc *op, const struct stored *matrix, const struct op_arg *arg,
			uint64_t element, struct error *error)
{
	uint64_t need;
	int r;

	if (matrix->ld < MAX(matrix->length, 1))
		return error_set(error, -EINVAL, "%s: %s is %" PRIu64 ", smaller than the %" PRIu64 " that %s needs",
				 op->name, matrix->ld_name, matrix->ld, MAX(matrix->length, 1), matrix->name);
	r = matrix_len(op, matrix, element, &need, error);
	if (r == 0 && arg->len < need)
		r = error_set(error, -ERANGE, "%s: matrix %s needs %" PRIu64 " bytes, its argument has %" PRIu64,
			      op->name, matrix->name, need, arg->len);
	return r;
}

int gemm_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_gemm *gemm = gemm_of(request);
	struct stored matrices[3];
	int r = check_enums(op, gemm, error);

	if (r < 0)
		return r;
	gemm_shapes(gemm, matrices);
	for (size_t i = 0; i < ARRAY_SIZE(matrices); i++) {
		r = check_matrix(op, &matrices[i], &request->args[i], op->args[i].align, error);
		if (r < 0)
			return r;
	}
	if (gemm->beta != 0 && matrices[2].used && request->args[2].dir == 2)
		return error_set(error, -EINVAL, "%s: beta is not 0, so C must be an in and out argument, not out only",
				 op->name);
	return 0;
}

/* With beta = 0 C is only written: a second run starts from the same inputs, unless C lies over one of them. */
bool gemm_replayable(const struct op_request *request)
{
	return gemm_of(request)->beta == 0 && !op_args_overlap(request);
}

/* C is written throughout when its lines have no gaps and its argument ends with it. */
bool gemm_partial(const struct op_request *request)
{
	const struct op_arg *c = &request->args[2];
	struct stored matrices[3];
	uint64_t bytes;

	gemm_shapes(gemm_of(request), matrices);
	return (matrices[2].lines > 1 && matrices[2].ld != matrices[2].length) ||
	       stored_bytes(&matrices[2], op_by_id(request->op)->args[2].align, &bytes) || bytes != c->len;
}

uint64_t gemm_cost(const struct op_request *request)
{
	const struct vaccel_gemm *gemm = gemm_of(request);
	uint64_t cost;

	if (mul_u64(gemm->m, gemm->n, &cost) || mul_u64(cost, MAX(gemm->k, 1), &cost) || mul_u64(cost, 2, &cost))
		return UINT64_MAX;
	return cost;
}
