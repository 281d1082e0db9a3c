/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting, and describing what is at the other end. */
#include "cli/cli.h"

int cli_connect(struct cli *cli, const char *url, struct vaccel_context **ret_context,
		struct vaccel_session **ret_session)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	struct vaccel_context *context;
	int r;

	/* The library's sentence begins with the transport in use. */
	r = vaccel_context_new(&options, &context);
	if (r < 0)
		return cli_fail(cli, CLI_NO_CONNECTION, r, "%s", vaccel_error());
	if (ret_session) {
		r = vaccel_session_open(context, ret_session);
		if (r < 0) {
			cli_fail(cli, CLI_FAILED, r, "session: cannot open: %s", vaccel_error());
			vaccel_context_free(context);
			return CLI_FAILED;
		}
	}
	*ret_context = context;
	return CLI_OK;
}

static int describe_ops(struct vaccel_context *context, size_t n_ops, struct json_object *array)
{
	for (size_t i = 0; i < n_ops; i++) {
		struct vaccel_op_info info = { .size = sizeof(info) };
		struct json_object *row;
		int r = vaccel_context_op(context, i, &info);

		if (r < 0)
			return r;
		row = json_object_new_object();
		js_count(row, "op", info.op);
		js_text(row, "name", info.name);
		js_text(row, "plugin", *info.plugin ? info.plugin : NULL);
		js_text(row, "hardware", *info.plugin ? info.hardware : NULL);
		json_object_array_add(array, row);
	}
	return 0;
}

int cli_describe(struct vaccel_context *context, struct json_object **ret_object)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct json_object *object, *limits, *ops;
	int r;

	r = vaccel_context_info(context, &info);
	if (r < 0)
		return r;
	object = json_object_new_object();
	js_text(object, "transport", info.transport);
	js_text(object, "device", info.device);
	js_text(object, "version", info.version);
	js_text(object, "host", info.host);
	limits = json_object_new_object();
	js_count(limits, "request_bytes", info.max_request_bytes);
	js_count(limits, "buffer_bytes", info.max_buffer_bytes);
	js_count(limits, "sessions", info.max_sessions);
	js_count(limits, "buffers", info.max_buffers);
	js_count(limits, "queues", info.n_queues);
	json_object_object_add(object, "limits", limits);
	ops = json_object_new_array();
	json_object_object_add(object, "ops", ops);
	r = describe_ops(context, info.n_ops, ops);
	if (r < 0) {
		json_object_put(object);
		return r;
	}
	*ret_object = object;
	return 0;
}
