/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs and outputs of a model, as its framework knows them: copied once, looked up by name, and as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/signature.h"
#include "op/tensor.h"

static int copy_row(struct model_tensor *row, const struct vaccel_plugin_tensor *tensor, struct error *error)
{
	if (!tensor->name || !*tensor->name || strlen(tensor->name) >= sizeof(row->name))
		return error_set(error, -EINVAL, "the name of an input or output has no or more than %d bytes",
				 VACCEL_TENSOR_NAME - 1);
	if (tensor->rank > VACCEL_MAX_RANK && tensor->rank != UINT32_MAX)
		return error_set(error, -EINVAL, "%s has %u dimensions, more than %d", tensor->name, tensor->rank,
				 VACCEL_MAX_RANK);
	if (!op_dtype_find(tensor->dtype))
		return error_set(error, -EINVAL, "%s is of type %u, which nobody could hand over", tensor->name,
				 tensor->dtype);
	*row = (struct model_tensor){ .dtype = tensor->dtype, .rank = tensor->rank };
	strcpy(row->name, tensor->name);
	if (tensor->rank != UINT32_MAX)
		memcpy(row->dims, tensor->dims, tensor->rank * sizeof(row->dims[0]));
	return 0;
}

int signature_read(const struct vaccel_plugin_framework *framework, void *handle, uint32_t dir,
		   struct model_tensors *ret_tensors, struct error *error)
{
	struct model_tensors tensors = { .rows = calloc(MODEL_MAX_SIGNATURE, sizeof(*tensors.rows)) };
	int r = tensors.rows ? 0 : error_set(error, -ENOMEM, "no memory");

	while (r == 0) {
		struct vaccel_plugin_tensor tensor = { 0 };

		if (framework->model_tensor(handle, dir, tensors.n, &tensor) < 0)
			break;
		if (tensors.n == MODEL_MAX_SIGNATURE)
			r = error_set(error, -E2BIG, "the signature has more than %d %s", MODEL_MAX_SIGNATURE,
				      dir == 1 ? "inputs" : "outputs");
		else
			r = copy_row(&tensors.rows[tensors.n], &tensor, error);
		tensors.n += r == 0;
	}
	if (r < 0)
		free(tensors.rows);
	else
		*ret_tensors = tensors;
	return r;
}

const struct model_tensor *model_tensor_find(const struct model_tensors *tensors, const char *name)
{
	for (size_t i = 0; i < tensors->n; i++)
		if (!strcmp(tensors->rows[i].name, name))
			return &tensors->rows[i];
	return NULL;
}

void model_tensor_text(uint32_t dtype, uint32_t rank, const int64_t *dims, char *ret_text, size_t len)
{
	const struct op_dtype *type = op_dtype_find(dtype);
	size_t used = (size_t)snprintf(ret_text, len, "%s[", type ? type->name : "?");

	if (rank == UINT32_MAX && used < len)
		used += (size_t)snprintf(ret_text + used, len - used, "...");
	for (uint32_t i = 0; i < rank && rank <= VACCEL_MAX_RANK && used < len; i++) {
		if (dims[i] < 0)
			used += (size_t)snprintf(ret_text + used, len - used, "%s?", i ? ", " : "");
		else
			used += (size_t)snprintf(ret_text + used, len - used, "%s%" PRId64, i ? ", " : "", dims[i]);
	}
	if (used < len)
		snprintf(ret_text + used, len - used, "]");
}

void signature_names(const struct model_tensors *tensors, char *ret_text, size_t len)
{
	size_t used = 0;

	*ret_text = '\0';
	for (size_t i = 0; i < tensors->n && used < len; i++)
		used += (size_t)snprintf(ret_text + used, len - used, "%s%s", i ? ", " : "", tensors->rows[i].name);
}

static bool any_first(const struct model_tensors *tensors)
{
	for (size_t i = 0; i < tensors->n; i++) {
		const struct model_tensor *row = &tensors->rows[i];

		if (row->rank == UINT32_MAX || !row->rank || row->dims[0] >= 0)
			return false;
	}
	return true;
}

bool model_can_batch(const struct model *model)
{
	return any_first(&model->inputs) && any_first(&model->outputs);
}
