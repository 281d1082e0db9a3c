/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the op table, and the walk over parameter descriptions. What an op demands of its values is in its own
 * file (gemm.c, model.c, cipher.c, key.c). */
#include "op/table.h"

#include <endian.h>
#include <string.h>

#include "op/cipher.h"
#include "op/gemm.h"
#include "op/key.h"
#include "op/model.h"
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

static bool always_partial(const struct op_request *request)
{
	return true;
}

static uint64_t no_cost(const struct op_request *request)
{
	return 0;
}

#define FIELD(type_, struct_, name_)                                                                 \
	{                                                                                            \
		.name = #name_, .type = OP_PARAM_##type_, .offset = offsetof(struct struct_, name_), \
		.len = sizeof(((struct struct_ *)NULL)->name_),                                      \
	}
#define GEMM_FIELD(type_, name_) FIELD(type_, vaccel_gemm, name_)

static const struct op_param gemm_params[] = {
	GEMM_FIELD(U32, order), GEMM_FIELD(U32, transa), GEMM_FIELD(U32, transb), GEMM_FIELD(U32, reserved),
	GEMM_FIELD(U64, m),	GEMM_FIELD(U64, n),	 GEMM_FIELD(U64, k),	  GEMM_FIELD(U64, lda),
	GEMM_FIELD(U64, ldb),	GEMM_FIELD(U64, ldc),	 GEMM_FIELD(F64, alpha),  GEMM_FIELD(F64, beta),
};

#define DIR_IN	      (1u << 1)
#define DIR_OUT	      (1u << 2)
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

static const struct op_param classify_params[] = {
	FIELD(TEXT, vaccel_classify, model),
	FIELD(U32, vaccel_classify, k),
	FIELD(U32, vaccel_classify, reserved),
};

static const struct op_arg_desc classify_args[] = {
	{ "image", DIR_IN, 1, .parsed = true },
	{ "answer", DIR_OUT, 1 },
	{ "labels", DIR_OUT, 1 },
};

static const struct op_param infer_params[] = {
	FIELD(TEXT, vaccel_infer, model),
	FIELD(U32, vaccel_infer, n_inputs),
	FIELD(U32, vaccel_infer, n_outputs),
};

static const struct op_arg_desc infer_args[] = {
	{ "descriptions", DIR_IN, 1, .parsed = true },
	{ "answers", DIR_OUT, 1 },
	{ "tensor", DIR_IN | DIR_OUT, 1 },
};

static const struct op_param model_list_params[] = {
	FIELD(U32, vaccel_model_list, first),
	FIELD(U32, vaccel_model_list, reserved),
};

static const struct op_arg_desc model_list_args[] = {
	{ "answer", DIR_OUT, 1 },
	{ "rows", DIR_OUT, 1 },
};

static const struct op_param model_info_params[] = {
	FIELD(TEXT, vaccel_model_query, model),
};

static const struct op_arg_desc model_info_args[] = {
	{ "answer", DIR_OUT, 1 },
	{ "tensors", DIR_OUT, 1 },
	{ "labels", DIR_OUT, 1 },
};

#define MODEL_ROW(id_, name_, summary_, lower_, struct_, ...)                                                         \
	{                                                                                                             \
		.id = (id_), .name = (name_), .summary = (summary_), .params = lower_##_params,                       \
		.n_params = ARRAY_SIZE(lower_##_params), .params_len = sizeof(struct struct_), .args = lower_##_args, \
		.n_args = ARRAY_SIZE(lower_##_args), .check = lower_##_check, .replayable = model_replayable,         \
		__VA_ARGS__                                                                                           \
	}

static const struct op_param cipher_params[] = {
	FIELD(U64, vaccel_cipher, key),	  FIELD(U32, vaccel_cipher, mode), FIELD(U32, vaccel_cipher, direction),
	FIELD(U32, vaccel_cipher, flags), FIELD(U32, vaccel_cipher, skip), FIELD(U64, vaccel_cipher, stream),
};

static const struct op_arg_desc cipher_args[] = {
	{ "iv", DIR_IN, 1 },	       { "aad", DIR_IN, 1 },	       { "source", DIR_IN, 1 },
	{ "destination", DIR_OUT, 1 }, { "tag", DIR_IN | DIR_OUT, 1 },
};

static const struct op_param akcipher_params[] = {
	FIELD(U64, vaccel_akcipher, key),  FIELD(U32, vaccel_akcipher, operation), FIELD(U32, vaccel_akcipher, padding),
	FIELD(U32, vaccel_akcipher, hash), FIELD(U32, vaccel_akcipher, reserved),
};

static const struct op_arg_desc akcipher_args[] = {
	{ "source", DIR_IN, 1 },
	{ "destination", DIR_IN | DIR_OUT, 1 },
	{ "answer", DIR_OUT, 1 },
};

static const struct op_param key_import_params[] = {
	FIELD(U32, vaccel_key_import, type),
	FIELD(U32, vaccel_key_import, modes),
	FIELD(U32, vaccel_key_import, rights),
	FIELD(U32, vaccel_key_import, reserved),
};

static const struct op_arg_desc key_import_args[] = {
	{ "key", DIR_IN, 1, .secret = true },
	{ "answer", DIR_OUT, 1 },
};

static const struct op_param key_open_params[] = {
	FIELD(TEXT, vaccel_key_open, name),
};

static const struct op_arg_desc key_open_args[] = {
	{ "answer", DIR_OUT, 1 },
};

static const struct op_param key_free_params[] = {
	FIELD(U64, vaccel_key_free, key),
};

/* What tells the rows of operations on keys apart; the table's other members follow. */
#define KEYED_ROW(id_, name_, summary_, lower_, struct_, ...)                                                         \
	{                                                                                                             \
		.id = (id_), .name = (name_), .summary = (summary_), .params = lower_##_params,                       \
		.n_params = ARRAY_SIZE(lower_##_params), .params_len = sizeof(struct struct_), .args = lower_##_args, \
		.n_args = ARRAY_SIZE(lower_##_args), .check = lower_##_check, __VA_ARGS__                             \
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
	MODEL_ROW(VACCEL_OP_IMAGE_CLASSIFY, "image_classify",
		  "labels of a JPEG or PNG picture, the most probable first", classify, vaccel_classify,
		  .partial = always_partial, .cost = classify_cost),
	/* What a short output leaves of its argument is undefined, so that room for large ones need not travel both ways. */
	MODEL_ROW(VACCEL_OP_INFER, "infer", "runs a model: named tensors in, named tensors out", infer, vaccel_infer,
		  .repeats = true, .check_parsed = model_check_tensors, .partial = never_partial, .cost = infer_cost),
	MODEL_ROW(VACCEL_OP_MODEL_LIST, "model_list", "names of the host's models", model_list, vaccel_model_list,
		  .partial = always_partial, .cost = no_cost),
	MODEL_ROW(VACCEL_OP_MODEL_INFO, "model_info", "what a model takes and gives, its labels and its hash",
		  model_info, vaccel_model_query, .partial = always_partial, .cost = no_cost),
	KEYED_ROW(VACCEL_OP_CIPHER, "cipher", "encrypts or decrypts with AES: ECB, CBC, CTR, XTS, GCM", cipher,
		  vaccel_cipher, .check_key = cipher_check_key, .replayable = cipher_replayable,
		  .partial = never_partial, .cost = cipher_cost),
	KEYED_ROW(VACCEL_OP_AKCIPHER, "akcipher", "encrypts, decrypts, signs or verifies with RSA", akcipher,
		  vaccel_akcipher, .check_key = akcipher_check_key, .replayable = akcipher_replayable,
		  .partial = always_partial, .cost = akcipher_cost),
	/* The engine makes and removes a key once, however often it is told. */
	KEYED_ROW(VACCEL_OP_KEY_IMPORT, "key_import", "gives a session a key", key_import, vaccel_key_import,
		  .builtin = true, .replayable = always_replayable, .partial = always_partial, .cost = no_cost),
	KEYED_ROW(VACCEL_OP_KEY_OPEN, "key_open", "gives a session a key that the host holds, by its name", key_open,
		  vaccel_key_open, .builtin = true, .replayable = always_replayable, .partial = always_partial,
		  .cost = no_cost),
	{
		.id = VACCEL_OP_KEY_FREE,
		.name = "key_free",
		.summary = "takes a key from a session",
		.params = key_free_params,
		.n_params = ARRAY_SIZE(key_free_params),
		.params_len = sizeof(struct vaccel_key_free),
		.builtin = true,
		.replayable = always_replayable,
		.partial = never_partial,
		.cost = no_cost,
	},
};

const struct op_desc *op_at(size_t index)
{
	return index < ARRAY_SIZE(table) ? &table[index] : NULL;
}

/* Every request comes by here several times. */
HOT const struct op_desc *op_by_id(uint32_t id)
{
	if (id < ARRAY_SIZE(table) && table[id].id == id)
		return &table[id];
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

		if (param->type == OP_PARAM_TEXT) {
			memmove(dst + param->offset, src + param->offset, param->len);
		} else if (param->type == OP_PARAM_U32) {
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
