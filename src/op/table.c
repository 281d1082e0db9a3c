/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the op table, and the walk over parameter descriptions. What an op demands of its values is in its own
 * file (gemm.c). */
#include "op/table.h"

#include <endian.h>
#include <string.h>

#include "op/gemm.h"
#include "op/request.h"
#include "util/util.h"

static bool always_replayable(const struct op_request *request)
{
	return true;
}

static bool never_partial(const struct op_request *request)
{
	return false;
}

static uint64_t no_cost(const struct op_request *request)
{
	return 0;
}

#define GEMM_FIELD(type_, name_)                                              \
	{                                                                     \
#name_, OP_PARAM_##type_, offsetof(struct vaccel_gemm, name_) \
	}

static const struct op_param gemm_params[] = {
	GEMM_FIELD(U32, order), GEMM_FIELD(U32, transa), GEMM_FIELD(U32, transb), GEMM_FIELD(U32, reserved),
	GEMM_FIELD(U64, m),	GEMM_FIELD(U64, n),	 GEMM_FIELD(U64, k),	  GEMM_FIELD(U64, lda),
	GEMM_FIELD(U64, ldb),	GEMM_FIELD(U64, ldc),	 GEMM_FIELD(F64, alpha),  GEMM_FIELD(F64, beta),
};

#define DIR_IN	      (1u << 1)
#define DIR_OUT_INOUT (1u << 2 | 1u << 3)

static const struct op_arg_desc sgemm_args[] = {
	{ "A", DIR_IN, sizeof(float) },
	{ "B", DIR_IN, sizeof(float) },
	{ "C", DIR_OUT_INOUT, sizeof(float) },
};

static const struct op_arg_desc dgemm_args[] = {
	{ "A", DIR_IN, sizeof(double) },
	{ "B", DIR_IN, sizeof(double) },
	{ "C", DIR_OUT_INOUT, sizeof(double) },
};

#define GEMM_ROW(id_, name_, summary_, args_)                                                                   \
	{                                                                                                       \
		.id = (id_), .name = (name_), .summary = (summary_), .params = gemm_params,                     \
		.n_params = ARRAY_SIZE(gemm_params), .params_len = sizeof(struct vaccel_gemm), .args = (args_), \
		.n_args = ARRAY_SIZE(args_), .check = gemm_check, .replayable = gemm_replayable,                \
		.partial = gemm_partial, .cost = gemm_cost,                                                     \
	}

static const struct op_desc table[] = {
	{
		.id = VACCEL_OP_NOOP,
		.name = "noop",
		.summary = "does nothing: what the way there and back costs",
		.replayable = always_replayable,
		.partial = never_partial,
		.cost = no_cost,
	},
	GEMM_ROW(VACCEL_OP_SGEMM, "sgemm", "C := alpha * op(A) * op(B) + beta * C, single precision", sgemm_args),
	GEMM_ROW(VACCEL_OP_DGEMM, "dgemm", "C := alpha * op(A) * op(B) + beta * C, double precision", dgemm_args),
};

const struct op_desc *op_at(size_t index)
{
	return index < ARRAY_SIZE(table) ? &table[index] : NULL;
}

HOT const struct op_desc *op_by_id(uint32_t id)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].id == id)
			return &table[i];
	return NULL;
}

const struct op_desc *op_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

/* Swapping bytes is its own inverse, so one walk serves both ways; on a little-endian machine it is a copy. */
static void params_swap(const struct op_desc *op, uint8_t *dst, const uint8_t *src)
{
	for (size_t i = 0; i < op->n_params; i++) {
		const struct op_param *param = &op->params[i];
		uint32_t u32;
		uint64_t u64;

		if (param->type == OP_PARAM_U32) {
			memcpy(&u32, src + param->offset, sizeof(u32));
			u32 = htole32(u32);
			memcpy(dst + param->offset, &u32, sizeof(u32));
		} else {
			memcpy(&u64, src + param->offset, sizeof(u64));
			u64 = htole64(u64);
			memcpy(dst + param->offset, &u64, sizeof(u64));
		}
	}
}

void op_params_decode(const struct op_desc *op, void *dst, const void *src)
{
	params_swap(op, dst, src);
}

void op_params_encode(const struct op_desc *op, void *dst, const void *src)
{
	params_swap(op, dst, src);
}
