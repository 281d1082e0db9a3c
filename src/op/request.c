/* SPDX-License-Identifier: Apache-2.0 */
/* See request.h: the checks that every operation shares. */
#include "op/request.h"

#include <errno.h>
#include <inttypes.h>

#include "util/util.h"

static int check_arg(const struct op_desc *op, const struct op_arg_desc *desc, const struct op_arg *arg,
		     struct error *error)
{
	uint64_t place = arg->buffer ? arg->offset : (uintptr_t)arg->data;

	if (arg->dir > 3 || !(desc->dirs & 1u << arg->dir))
		return error_set(error, -EINVAL, "%s: argument %s has direction %u, which it cannot have", op->name,
				 desc->name, arg->dir);
	if (arg->len && place % desc->align)
		return error_set(error, -EINVAL, "%s: argument %s starts at %#" PRIx64 ", not a multiple of %u bytes",
				 op->name, desc->name, place, desc->align);
	if (arg->len && !arg->buffer && !arg->data)
		return error_set(error, -EINVAL, "%s: argument %s has %" PRIu64 " bytes but no address", op->name,
				 desc->name, arg->len);
	return 0;
}

HOT int op_check(const struct op_request *request, struct error *error)
{
	const struct op_desc *op = op_by_id(request->op);

	if (!op)
		return error_set(error, -EOPNOTSUPP, "operation %u is not known", request->op);
	if (request->params_len != op->params_len)
		return error_set(error, -EINVAL, "%s: %u bytes of parameters, not %zu", op->name, request->params_len,
				 op->params_len);
	if (request->n_args != op->n_args)
		return error_set(error, -EINVAL, "%s: %u arguments, not %zu", op->name, request->n_args, op->n_args);
	for (size_t i = 0; i < op->n_args; i++) {
		int r = check_arg(op, &op->args[i], &request->args[i], error);

		if (r < 0)
			return r;
	}
	return op->check ? op->check(op, request, error) : 0;
}

static bool ranges_overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a_len && b_len && (a < b ? b - a < a_len : a - b < b_len);
}

static bool args_overlap(const struct op_arg *a, const struct op_arg *b)
{
	if (a->data && b->data)
		return ranges_overlap((uintptr_t)a->data, a->len, (uintptr_t)b->data, b->len);
	return a->buffer && a->buffer == b->buffer && ranges_overlap(a->offset, a->len, b->offset, b->len);
}

bool op_args_overlap(const struct op_request *request)
{
	for (uint32_t i = 0; i < request->n_args; i++)
		for (uint32_t j = 0; j < request->n_args; j++)
			if (i != j && request->args[i].dir != 1 && args_overlap(&request->args[i], &request->args[j]))
				return true;
	return false;
}
