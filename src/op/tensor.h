/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors as arguments of INFER: the types, how many bytes elements take, and whether strings lie as they have to. A header
 * alone, so that plugins in this tree can use it. Nothing here trusts what it is given.
 */
#ifndef VACCEL_OP_TENSOR_H
#define VACCEL_OP_TENSOR_H

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <vaccel/ops.h>

#include "util/util.h"

struct op_dtype {
	uint32_t dtype; /* enum vaccel_dtype */
	uint32_t size;	/* bytes of an element; 0: strings, which have none of their own */
	const char *name;
};

/* NULL: no type, or VACCEL_DTYPE_ANY. */
static inline const struct op_dtype *op_dtype_find(uint32_t dtype)
{
	static const struct op_dtype types[] = {
		{ VACCEL_FLOAT32, 4, "float32" },
		{ VACCEL_FLOAT64, 8, "float64" },
		{ VACCEL_INT32, 4, "int32" },
		{ VACCEL_UINT8, 1, "uint8" },
		{ VACCEL_INT16, 2, "int16" },
		{ VACCEL_INT8, 1, "int8" },
		{ VACCEL_STRING, 0, "string" },
		{ VACCEL_COMPLEX64, 8, "complex64" },
		{ VACCEL_INT64, 8, "int64" },
		{ VACCEL_BOOL, 1, "bool" },
		{ VACCEL_BFLOAT16, 2, "bfloat16" },
		{ VACCEL_UINT16, 2, "uint16" },
		{ VACCEL_COMPLEX128, 16, "complex128" },
		{ VACCEL_FLOAT16, 2, "float16" },
		{ VACCEL_UINT32, 4, "uint32" },
		{ VACCEL_UINT64, 8, "uint64" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].dtype == dtype)
			return &types[i];
	return NULL;
}

/*
 * Elements of a tensor. -EINVAL: rank above VACCEL_MAX_RANK, or a dimension below 0; -E2BIG: more than any memory holds. Those
 * that are 0 do not hide what the others come to: whoever multiplies in another order, counts with signed numbers or computes
 * strides in bytes shall not overflow either.
 */
static inline int op_tensor_count(uint32_t rank, const int64_t *dims, uint64_t *ret_count)
{
	uint64_t count = 1;
	bool empty = false;

	if (rank > VACCEL_MAX_RANK)
		return -EINVAL;
	for (uint32_t i = 0; i < rank; i++)
		if (dims[i] < 0)
			return -EINVAL;
	for (uint32_t i = 0; i < rank; i++) {
		empty |= dims[i] == 0;
		if (dims[i] && (mul_u64(count, (uint64_t)dims[i], &count) || count > INT64_MAX / 16))
			return -E2BIG;
	}
	*ret_count = empty ? 0 : count;
	return 0;
}

/*
 * Whether the elements of a STRING tensor fill len bytes: a little-endian uint32_t length of each, then the bytes of each.
 * data is private memory: what could change meanwhile would have been checked for nothing. -EINVAL: they do not.
 */
static inline int op_strings_check(const void *data, uint64_t len, uint64_t count)
{
	const unsigned char *at = data;
	uint64_t table, sum;
	uint32_t one;

	if (mul_u64(count, sizeof(one), &table) || table > len)
		return -EINVAL;
	sum = table;
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&one, at + i * sizeof(one), sizeof(one));
		if (add_u64(sum, le32toh(one), &sum) || sum > len)
			return -EINVAL;
	}
	return sum == len ? 0 : -EINVAL;
}

#endif
