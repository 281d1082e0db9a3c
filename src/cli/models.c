/* SPDX-License-Identifier: Apache-2.0 */
/* See models.h. */
#include "cli/models.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int model_ask(struct cli *cli, struct vaccel_session *session, const char *name, struct vaccel_model **ret_model)
{
	struct vaccel_model *model;
	int r = vaccel_model_new(session, name, &model);

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "model %s: cannot be asked for: %s", name, vaccel_error());
	if (vaccel_model_about(model)->row.flags & VACCEL_MODEL_BROKEN) {
		vaccel_model_free(model);
		return cli_fail(cli, CLI_FAILED, -EIO, "model %s: is installed but broken; the host's log says why",
				name);
	}
	*ret_model = model;
	return CLI_OK;
}

void tensor_text(uint32_t dtype, uint32_t rank, const int64_t *dims, char text[TENSOR_TEXT])
{
	const char *name = dtype ? vaccel_dtype_name(dtype) : "any";
	size_t n;

	if (name)
		n = (size_t)snprintf(text, TENSOR_TEXT, "%s[", name);
	else
		n = (size_t)snprintf(text, TENSOR_TEXT, "type %" PRIu32 "[", dtype);
	if (rank > VACCEL_MAX_RANK)
		n += (size_t)snprintf(text + n, TENSOR_TEXT - n, "...");
	for (uint32_t i = 0; rank <= VACCEL_MAX_RANK && i < rank; i++) {
		const char *before = i ? ", " : "";

		if (dims[i] < 0)
			n += (size_t)snprintf(text + n, TENSOR_TEXT - n, "%s?", before);
		else
			n += (size_t)snprintf(text + n, TENSOR_TEXT - n, "%s%" PRIi64, before, dims[i]);
	}
	snprintf(text + n, TENSOR_TEXT - n, "]");
}

void tensor_json(struct json_object *object, uint32_t dtype, uint32_t rank, const int64_t *dims)
{
	struct json_object *shape = NULL;

	js_text(object, "dtype", vaccel_dtype_name(dtype));
	if (rank <= VACCEL_MAX_RANK) {
		shape = json_object_new_array();
		for (uint32_t i = 0; i < rank; i++)
			json_object_array_add(shape, dims[i] < 0 ? NULL : json_object_new_int64(dims[i]));
	}
	json_object_object_add(object, "shape", shape);
}
