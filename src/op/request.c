/* SPDX-License-Identifier: Apache-2.0 */
/* See request.h: the checks that every operation shares. */
#include "op/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "util/util.h"

/* What is wrong with it, after its name. One that repeats is called by its number, too. */
static int bad_arg(const struct op_desc *op, size_t index, struct error *error, const char *text)
{
	const struct op_arg_desc *desc = op_arg_desc(op, index);

	if (op->repeats && index + 1 >= op->n_args)
		return error_set(error, -EINVAL, "%s: argument %s %zu %s", op->name, desc->name, index + 1 - op->n_args,
				 text);
	return error_set(error, -EINVAL, "%s: argument %s %s", op->name, desc->name, text);
}

HOT static int check_arg(const struct op_desc *op, size_t index, const struct op_arg *arg, struct error *error)
{
	const struct op_arg_desc *desc = op_arg_desc(op, index);
	uint64_t place = arg->buffer ? arg->offset : (uintptr_t)arg->data;
	char text[80];

	if (arg->dir > 3 || !(desc->dirs & 1u << arg->dir))
		snprintf(text, sizeof(text), "has direction %u, which it cannot have", arg->dir);
	else if (arg->len && place % desc->align)
		snprintf(text, sizeof(text), "starts at %#" PRIx64 ", not a multiple of %u bytes", place, desc->align);
	else if (arg->len && !arg->buffer && !arg->data)
		snprintf(text, sizeof(text), "has %" PRIu64 " bytes but no address", arg->len);
	else
		return 0;
	return bad_arg(op, index, error, text);
}

HOT int op_check(const struct op_request *request, struct error *error)
{
	const struct op_desc *op = op_by_id(request->op);

	if (!op)
		return error_set(error, -EOPNOTSUPP, "operation %u is not known", request->op);
	if (request->params_len != op->params_len)
		return error_set(error, -EINVAL, "%s: %u bytes of parameters, not %zu", op->name, request->params_len,
				 op->params_len);
	if (op->repeats ? request->n_args < op->n_args : request->n_args != op->n_args)
		return error_set(error, -EINVAL, "%s: %u arguments, not %zu%s", op->name, request->n_args, op->n_args,
				 op->repeats ? " or more" : "");
	if (request->n_args > OP_MAX_ARGS)
		return error_set(error, -E2BIG, "%s: %u arguments, at most %d are possible", op->name, request->n_args,
				 OP_MAX_ARGS);
	for (size_t i = 0; i < request->n_args; i++) {
		int r = check_arg(op, i, &request->args[i], error);

		if (r < 0)
			return r;
	}
	return op->check ? op->check(op, request, error) : 0;
}

int op_check_parsed(const struct op_request *request, struct error *error)
{
	const struct op_desc *op = op_by_id(request->op);

	return op->check_parsed ? op->check_parsed(op, request, error) : 0;
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
