/* SPDX-License-Identifier: Apache-2.0 */
/* See model.h. */
#include "op/model.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "op/name.h"
#include "op/tensor.h"
#include "util/util.h"

/* Of arguments of INFER: its descriptions, its answers, then tensors. */
enum {
	TENSORS = 0,
	ANSWERS = 1,
	FIRST_TENSOR = 2,
};

/* What is paid for a model, whichever it is, and for each byte of a picture or a tensor. */
#define MODEL_COST (UINT64_C(1) << 24)
#define BYTE_COST  64

/* ---- Parameters and lengths ---- */

static int check_model(const struct op_desc *op, const char name[VACCEL_MODEL_NAME], struct error *error)
{
	if (!op_text_ends(name, VACCEL_MODEL_NAME))
		return error_set(error, -EINVAL, "%s: the model's name does not end, or something is behind its end",
				 op->name);
	if (!op_model_name_valid(name))
		return error_set(error, -EINVAL,
				 "%s: a model's name is of letters, digits, '.', '_' and '-', and does not begin with "
				 "'.' or '-'",
				 op->name);
	return 0;
}

static int check_reserved(const struct op_desc *op, uint32_t reserved, struct error *error)
{
	return reserved ? error_set(error, -EINVAL, "%s: reserved parameter is %u, not 0", op->name, reserved) : 0;
}

static int check_room(const struct op_desc *op, const struct op_request *request, size_t index, uint64_t need,
		      struct error *error)
{
	uint64_t len = request->args[index].len;

	return len < need ? error_set(error, -ERANGE, "%s: argument %s needs %" PRIu64 " bytes, it has %" PRIu64,
				      op->name, op->args[index].name, need, len)
			  : 0;
}

int classify_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_classify *params = (const struct vaccel_classify *)request->params;
	int r = check_model(op, params->model, error);

	if (r == 0)
		r = check_reserved(op, params->reserved, error);
	if (r < 0)
		return r;
	if (!params->k || params->k > VACCEL_MAX_LABELS)
		return error_set(error, -EINVAL, "%s: k is %u, not 1 to %d", op->name, params->k, VACCEL_MAX_LABELS);
	if (!request->args[0].len)
		return error_set(error, -EINVAL, "%s: the picture has no bytes", op->name);
	r = check_room(op, request, 1, sizeof(struct vaccel_classified), error);
	return r < 0 ? r : check_room(op, request, 2, params->k * sizeof(struct vaccel_label), error);
}

static int check_directions(const struct op_desc *op, const struct op_request *request,
			    const struct vaccel_infer *params, struct error *error)
{
	for (uint32_t i = 0; i < params->n_inputs + params->n_outputs; i++) {
		uint32_t dir = i < params->n_inputs ? 1 : 2;

		if (request->args[FIRST_TENSOR + i].dir != dir)
			return error_set(error, -EINVAL, "%s: tensor %u is an %s, but its argument has direction %u",
					 op->name, i, dir == 1 ? "input" : "output",
					 request->args[FIRST_TENSOR + i].dir);
	}
	return 0;
}

int infer_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_infer *params = (const struct vaccel_infer *)request->params;
	uint64_t n, descs;
	int r = check_model(op, params->model, error);

	if (r < 0)
		return r;
	if (add_u64(params->n_inputs, params->n_outputs, &n) || n > VACCEL_MAX_TENSORS)
		return error_set(error, -E2BIG, "%s: %u inputs and %u outputs are more than %d tensors", op->name,
				 params->n_inputs, params->n_outputs, VACCEL_MAX_TENSORS);
	if (!params->n_outputs)
		return error_set(error, -EINVAL, "%s: asks for no output", op->name);
	if (request->n_args != FIRST_TENSOR + n)
		return error_set(error, -EINVAL, "%s: %u arguments, not the %" PRIu64 " of %u inputs and %u outputs",
				 op->name, request->n_args, FIRST_TENSOR + n, params->n_inputs, params->n_outputs);
	descs = n * sizeof(struct vaccel_tensor_desc);
	if (request->args[TENSORS].len != descs)
		return error_set(error, -ERANGE,
				 "%s: argument %s has %" PRIu64 " bytes, not the %" PRIu64 " of %" PRIu64 " tensors",
				 op->name, op->args[TENSORS].name, request->args[TENSORS].len, descs, n);
	r = check_room(op, request, ANSWERS, params->n_outputs * sizeof(struct vaccel_tensor_desc), error);
	return r < 0 ? r : check_directions(op, request, params, error);
}

int model_list_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_model_list *params = (const struct vaccel_model_list *)request->params;
	int r = check_reserved(op, params->reserved, error);

	return r < 0 ? r : check_room(op, request, 0, sizeof(struct vaccel_models), error);
}

int model_info_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_model_query *params = (const struct vaccel_model_query *)request->params;
	int r = check_model(op, params->model, error);

	return r < 0 ? r : check_room(op, request, 0, sizeof(struct vaccel_model_about), error);
}

bool model_replayable(const struct op_request *request)
{
	return !op_args_overlap(request);
}

uint64_t classify_cost(const struct op_request *request)
{
	uint64_t cost;

	return mul_u64(request->args[0].len, BYTE_COST, &cost) || add_u64(cost, MODEL_COST, &cost) ? UINT64_MAX : cost;
}

uint64_t infer_cost(const struct op_request *request)
{
	uint64_t bytes = 0, cost;

	for (uint32_t i = FIRST_TENSOR; i < request->n_args; i++)
		if (add_u64(bytes, request->args[i].len, &bytes))
			return UINT64_MAX;
	return mul_u64(bytes, BYTE_COST, &cost) || add_u64(cost, MODEL_COST, &cost) ? UINT64_MAX : cost;
}

/* ---- Descriptions of tensors ---- */

/* In the machine's own byte order. */
static void read_desc(const struct op_request *request, uint32_t index, struct vaccel_tensor_desc *desc)
{
	memcpy(desc, (const uint8_t *)request->args[TENSORS].data + index * sizeof(*desc), sizeof(*desc));
	desc->dtype = le32toh(desc->dtype);
	desc->rank = le32toh(desc->rank);
	desc->len = le64toh(desc->len);
	for (size_t i = 0; i < VACCEL_MAX_RANK; i++)
		desc->dims[i] = (int64_t)le64toh((uint64_t)desc->dims[i]);
}

static bool dims_zero(const struct vaccel_tensor_desc *desc, uint32_t from)
{
	for (uint32_t i = from; i < VACCEL_MAX_RANK; i++)
		if (desc->dims[i])
			return false;
	return true;
}

static int check_shape(const struct op_desc *op, const struct vaccel_tensor_desc *desc, struct error *error)
{
	const struct op_dtype *dtype = op_dtype_find(desc->dtype);
	uint64_t n, bytes;
	int r;

	if (!dtype)
		return error_set(error, -EINVAL, "%s: input %s: type %u is not known", op->name, desc->name,
				 desc->dtype);
	r = op_tensor_count(desc->rank, desc->dims, &n);
	if (r < 0)
		return error_set(error, r, "%s: input %s: %s", op->name, desc->name,
				 r == -E2BIG ? "it is larger than any memory"
					     : "it has more than 8 dimensions, or one below 0");
	if (!dims_zero(desc, desc->rank))
		return error_set(error, -EINVAL, "%s: input %s: a dimension behind its rank %u is not 0", op->name,
				 desc->name, desc->rank);
	/* Strings begin with a length of each. */
	bytes = n * (dtype->size ? dtype->size : sizeof(uint32_t));
	if (dtype->size ? desc->len != bytes : desc->len < bytes)
		return error_set(error, -EINVAL, "%s: input %s: its shape takes %s%" PRIu64 " bytes, it says %" PRIu64,
				 op->name, desc->name, dtype->size ? "" : "at least ", bytes, desc->len);
	return 0;
}

static int check_tensor(const struct op_desc *op, const struct op_request *request, uint32_t index, bool input,
			struct vaccel_tensor_desc *desc, struct error *error)
{
	int r;

	read_desc(request, index, desc);
	if (!op_text_ends(desc->name, sizeof(desc->name)) || !*desc->name)
		return error_set(error, -EINVAL,
				 "%s: tensor %u: its name is empty, or does not end, or something is "
				 "behind its end",
				 op->name, index);
	if (!input)
		return desc->dtype || desc->rank || desc->len || !dims_zero(desc, 0)
			       ? error_set(error, -EINVAL, "%s: output %s: something is set besides its name", op->name,
					   desc->name)
			       : 0;
	r = check_shape(op, desc, error);
	if (r == 0 && desc->len != request->args[FIRST_TENSOR + index].len)
		r = error_set(error, -ERANGE, "%s: input %s: its argument has %" PRIu64 " bytes, it says %" PRIu64,
			      op->name, desc->name, request->args[FIRST_TENSOR + index].len, desc->len);
	return r;
}

int model_check_tensors(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_infer *params = (const struct vaccel_infer *)request->params;
	char names[VACCEL_MAX_TENSORS][VACCEL_TENSOR_NAME];
	uint32_t first = 0; /* of those that the name must differ from */

	for (uint32_t i = 0; i < params->n_inputs + params->n_outputs; i++) {
		struct vaccel_tensor_desc desc;
		int r = check_tensor(op, request, i, i < params->n_inputs, &desc, error);

		if (r < 0)
			return r;
		if (i == params->n_inputs)
			first = i;
		memcpy(names[i], desc.name, sizeof(names[i]));
		for (uint32_t j = first; j < i; j++)
			if (!strcmp(names[j], names[i]))
				return error_set(error, -EINVAL, "%s: %s %s is given twice", op->name,
						 i < params->n_inputs ? "input" : "output", names[i]);
	}
	return 0;
}
