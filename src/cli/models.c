/* SPDX-License-Identifier: Apache-2.0 */
/* See models.h. */
#include "cli/models.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int ask(struct cli *cli, const char *name, struct model_client *client)
{
	struct vaccel_info info = { .size = sizeof(info) };
	int r = vaccel_context_info(client->context, &info);

	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	client->max = MIN(info.max_request_bytes, (uint64_t)SIZE_MAX / 16);
	r = vaccel_model_new(client->session, name, &client->model);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "model %s: cannot be asked for: %s", name, vaccel_error());
	if (vaccel_model_about(client->model)->row.flags & VACCEL_MODEL_BROKEN)
		return cli_fail(cli, CLI_FAILED, -EIO, "model %s: is installed but broken; the host's log says why",
				name);
	return CLI_OK;
}

int model_open(struct cli *cli, const char *url, const char *name, struct model_client *ret_client)
{
	int status;

	*ret_client = (struct model_client){ .max = 0 };
	if (!name)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --model: is missing; vaccel models lists them");
	status = cli_connect(cli, url, &ret_client->context, &ret_client->session);
	return status == CLI_OK ? ask(cli, name, ret_client) : status;
}

void model_close(struct model_client *client)
{
	vaccel_model_free(client->model);
	vaccel_session_close(client->session);
	vaccel_context_free(client->context);
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
