/* SPDX-License-Identifier: Apache-2.0 */
/* See run.h. */
#include "model/run.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "op/tensor.h"

struct state {
	const struct run *run;
	uint32_t taken;	    /* set of outputs */
	struct error error; /* of our own, which the framework hands back as a number */
};

void run_hide_paths(const struct vaccel_plugin_host *host, char *text)
{
	static const char word[] = "MODELS";
	size_t len = host->models_dir ? strlen(host->models_dir) : 0;

	while (len >= sizeof(word) && (text = strstr(text, host->models_dir))) {
		memcpy(text, word, sizeof(word) - 1);
		memmove(text + sizeof(word) - 1, text + len, strlen(text + len) + 1);
	}
}

static int check_output(struct state *state, size_t output, const struct vaccel_plugin_tensor *tensor)
{
	const char *model = state->run->model->name;
	const struct op_dtype *type = op_dtype_find(tensor->dtype);
	uint64_t count, len;

	if (output >= state->run->n_outputs || state->taken & UINT32_C(1) << output)
		return error_set(&state->error, -EIO, "model %s: its framework gave an output that nobody asked for",
				 model);
	if (!type || op_tensor_count(tensor->rank, tensor->dims, &count) < 0 ||
	    (type->size ? mul_u64(count, type->size, &len) || len != tensor->len
			: op_strings_check(tensor->data, tensor->len, count) < 0))
		return error_set(&state->error, -EIO, "model %s: output %s has no shape that could be handed over",
				 model, state->run->outputs[output]);
	return 0;
}

static int on_output(const struct vaccel_plugin_run *call, size_t output, const struct vaccel_plugin_tensor *tensor)
{
	struct state *state = call->opaque;
	int r = check_output(state, output, tensor);

	if (r < 0)
		return r;
	state->taken |= UINT32_C(1) << output;
	return state->run->take(state->run->opaque, output, tensor, &state->error);
}

static int failed(const struct run *run, int r, char *text, struct error *error)
{
	const bool input = r == -EINVAL || r == -ERANGE;

	run_hide_paths(run->host, text);
	return error_set(error,
			 input		? -EINVAL
			 : r == -ENOMEM ? r
					: -EIO,
			 "model %s: %s: %s", run->model->name, run->model->framework->name,
			 *text ? text : strerror(-r));
}

int run_model(const struct run *run, struct error *error)
{
	struct state state = { .run = run };
	uint64_t copied = 0;
	char text[2 * ERROR_TEXT] = "";
	const struct vaccel_plugin_run call = {
		.size = sizeof(call),
		.model = run->model->handle,
		.inputs = run->inputs,
		.n_inputs = run->n_inputs,
		.outputs = run->outputs,
		.n_outputs = run->n_outputs,
		.emit = on_output,
		.opaque = &state,
		.copied = &copied,
		.report = { text, sizeof(text) },
	};
	int r = run->model->framework->model_run(&call);

	if (run->copied)
		*run->copied += copied;
	if (r < 0 && state.error.code)
		return error_set(error, state.error.code, "%s", state.error.text);
	if (r < 0)
		return failed(run, r, text, error);
	if (state.taken != (UINT32_C(1) << run->n_outputs) - 1)
		return error_set(error, -EIO, "model %s: its framework did not give every output", run->model->name);
	return 0;
}
