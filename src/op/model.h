/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the op table's rows for the operations on models point to, and what whoever serves models shares with them: names,
 * element types, descriptions of tensors.
 *
 * Two kinds of checks. Those of a row's `check` see parameters and lengths; model_check_tensors() reads the descriptions
 * that INFER brings as an argument, which its sender may still be writing to unless they were copied first.
 */
#ifndef VACCEL_OP_MODEL_H
#define VACCEL_OP_MODEL_H

#include "op/request.h"

int classify_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int infer_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int model_list_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int model_info_check(const struct op_desc *op, const struct op_request *request, struct error *error);

/* No output lies over another argument. */
bool model_replayable(const struct op_request *request);

/* Rough: what a model costs is not known here. */
uint64_t classify_cost(const struct op_request *request);
uint64_t infer_cost(const struct op_request *request);

/*
 * INFER's descriptions of its tensors: names end and are given once, types are known, an input's dimensions and length
 * agree with each other and with its argument, of an output nothing but the name is set. -EINVAL, -ERANGE, -E2BIG.
 */
int model_check_tensors(const struct op_desc *op, const struct op_request *request, struct error *error);

/* Whether it ends with a NUL in its size bytes, with nothing but more of them behind. */
bool model_text_ends(const char *text, size_t size);

/* Whether it can be a model's name; see <vaccel/ops.h>. */
bool model_name_valid(const char *name);

struct model_dtype {
	uint32_t id; /* enum vaccel_dtype */
	const char *name;
	uint32_t size; /* bytes of an element; 0: they differ */
	/* Elements are only computed with: another value gives another result. Others may be indices, conditions or lengths to
	 * whoever reads them, and must not change while they are read. */
	bool values;
};

/* NULL: not known. VACCEL_DTYPE_ANY is none. */
const struct model_dtype *model_dtype(uint32_t id);
/* Row index; NULL past the end. */
const struct model_dtype *model_dtype_at(size_t index);

/*
 * Elements of a tensor of these dimensions and bytes of an element, not 0; true when a dimension is negative, or when the
 * product of all that are not 0 is more than INT64_MAX: frameworks count with signed numbers. rank: at most VACCEL_MAX_RANK.
 */
bool model_elements(const int64_t *dims, uint32_t rank, uint32_t size, uint64_t *ret);

/*
 * Whether the len bytes of a STRING tensor are right: n lengths, which add up to the bytes behind them. data is private, for
 * what was checked must not change.
 */
bool model_strings_valid(const void *data, uint64_t len, uint64_t n);

#endif
