/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the op table's rows for the operations on models point to. What others share with them is in name.h and tensor.h.
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

#endif
