/* SPDX-License-Identifier: Apache-2.0 */
/* INFER: a request by itself. Outputs are copied once, from the framework's memory to the guest's. */
#include <errno.h>
#include <string.h>

#include "model/infer.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "descriptions and tensors are used as they lie in memory");

void infer_answer(struct infer *infer, size_t output, const struct vaccel_plugin_tensor *tensor)
{
	const struct vaccel_plugin_arg *arg = &infer->call->args[2 + infer->n_inputs + output];
	struct vaccel_tensor_desc *answer = &infer->answers[output];

	*answer = (struct vaccel_tensor_desc){ .dtype = tensor->dtype, .rank = tensor->rank, .len = tensor->len };
	memcpy(answer->name, infer->descs[infer->n_inputs + output].name, sizeof(answer->name));
	memcpy(answer->dims, tensor->dims, tensor->rank * sizeof(answer->dims[0]));
	if (!tensor->len || tensor->len > arg->len)
		return;
	/* A model may give back its input, and a caller may ask for that where it is. */
	memmove(arg->data, tensor->data, tensor->len);
	if (infer->call->copied)
		*infer->call->copied += tensor->len;
}

void infer_finish(struct infer *infer)
{
	memcpy(infer->call->args[1].data, infer->answers, infer->n_outputs * sizeof(infer->answers[0]));
}

static int take_output(void *opaque, size_t output, const struct vaccel_plugin_tensor *tensor, struct error *error)
{
	infer_answer(opaque, output, tensor);
	return 0;
}

int infer_alone(struct infer *infer, struct error *error)
{
	const struct run run = {
		.model = infer->model,
		.host = infer->serve->host,
		.inputs = infer->inputs,
		.n_inputs = infer->n_inputs,
		.outputs = infer->outputs,
		.n_outputs = infer->n_outputs,
		.take = take_output,
		.opaque = infer,
		.copied = infer->call->copied,
	};
	int r = run_model(&run, error);

	if (r == 0)
		infer_finish(infer);
	return r;
}

int infer_run(const struct serve *serve, const struct vaccel_plugin_call *call)
{
	const struct vaccel_infer *params = call->params;
	struct error error = { 0 };
	struct model *model;
	struct infer infer;
	int r = store_get(serve->store, params->model, &model, &error);

	if (r < 0)
		return serve_failed(call, r, &error);
	r = infer_prepare(&infer, serve, model, call, &error);
	if (r == 0)
		r = infer_alone(&infer, &error);
	infer_clear(&infer);
	store_put(serve->store, model);
	return r < 0 ? serve_failed(call, r, &error) : 0;
}
