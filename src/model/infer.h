/* SPDX-License-Identifier: Apache-2.0 */
/* A request of INFER in the making: between infer.c (one runs), infer_many.c (several run as one) and infer_check.c. */
#ifndef VACCEL_MODEL_INFER_H
#define VACCEL_MODEL_INFER_H

#include "model/run.h"
#include "model/serve.h"

struct infer {
	const struct serve *serve;
	const struct model *model;
	const struct vaccel_plugin_call *call;
	uint32_t n_inputs, n_outputs;
	struct vaccel_tensor_desc descs[VACCEL_MAX_TENSORS]; /* inputs, then outputs; copied */
	struct vaccel_plugin_tensor inputs[VACCEL_MAX_TENSORS];
	const char *outputs[VACCEL_MAX_TENSORS];
	void *copies[VACCEL_MAX_TENSORS]; /* of inputs that must not change meanwhile */
	struct vaccel_tensor_desc answers[VACCEL_MAX_TENSORS];
};

/*
 * Checks the request against the model's signature, copies what must not change while it runs, and fills inputs and
 * outputs. Ends with infer_clear(), also after a failure. -EINVAL names what the model wants.
 */
int infer_prepare(struct infer *infer, const struct serve *serve, const struct model *model,
		  const struct vaccel_plugin_call *call, struct error *error);
void infer_clear(struct infer *infer);

/* Runs the prepared request by itself, and answers it. */
int infer_alone(struct infer *infer, struct error *error);

/* Describes an output, and copies it where it has room. */
void infer_answer(struct infer *infer, size_t output, const struct vaccel_plugin_tensor *tensor);
/* Hands the descriptions over: the request was successful. */
void infer_finish(struct infer *infer);

#endif
