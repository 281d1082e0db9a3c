/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IMAGE_CLASSIFY and INFER as functions. A job is one allocation with all that the operation needs beside the caller's
 * memory: parameters, descriptions of tensors, and the structs that are answered into. *_init() builds it, then it either
 * runs here and now or becomes the request's (struct pending); its finish() checks the answer and hands it over.
 *
 * What is not valid in a call is left for op_check() and op_check_parsed() to say. What the caller gets is checked private
 * memory, except elements and labels, which the operation writes where they are to be.
 */
#include "lib/model.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "op/tensor.h"
#include "util/util.h"

int model_name(char dst[VACCEL_MODEL_NAME], const char *name, const char *op)
{
	size_t len;

	if (!name)
		return lib_failf(-EINVAL, "%s: no model is named", op);
	len = strnlen(name, VACCEL_MODEL_NAME);
	if (len == VACCEL_MODEL_NAME)
		return lib_failf(-EINVAL, "%s: the model's name has more than 63 characters", op);
	memset(dst, 0, VACCEL_MODEL_NAME);
	memcpy(dst, name, len);
	return 0;
}

/* Submits; the job is the request's afterwards, or gone. */
static int start(struct vaccel_session *session, struct vaccel_call *call, const struct vaccel_submit_options *options,
		 struct pending *job, struct vaccel_request **ret_request)
{
	int r = request_options(call, options);

	if (r == 0)
		r = request_submit(session, call, 0, job, ret_request);
	if (r < 0)
		free(job);
	return r;
}

static int run(struct vaccel_session *session, const struct vaccel_call *call, struct pending *job)
{
	struct error error = { 0 };
	int r = vaccel_run(session, call);

	if (r == 0) {
		r = job->finish(job, &error);
		if (r < 0)
			lib_fail(&error);
	}
	return r;
}

/* ---- IMAGE_CLASSIFY ---- */

struct classification {
	struct pending pending;
	struct vaccel_classify params;
	struct vaccel_arg args[3];
	struct vaccel_call call;
	struct vaccel_classified about;
	struct vaccel_label *labels;	     /* the caller's */
	struct vaccel_classified *ret_about; /* may be NULL */
};

static int classified(struct pending *pending, struct error *error)
{
	struct classification *job = container_of(pending, struct classification, pending);
	int r = answer_classified(&job->about, job->labels, job->params.k, error);

	if (r == 0 && job->ret_about)
		*job->ret_about = job->about;
	return r;
}

static int classification_init(struct classification *job, const char *model, const void *image, size_t len, uint32_t k,
			       struct vaccel_label *ret_labels, struct vaccel_classified *ret_about)
{
	int r = model_name(job->params.model, model, "image_classify");

	if (r < 0)
		return r;
	if (!ret_labels)
		return lib_failf(-EINVAL, "image_classify: nowhere to return the labels");
	job->pending.finish = classified;
	job->params.k = k;
	job->labels = ret_labels;
	job->ret_about = ret_about;
	job->args[0] = in_arg(image, len);
	job->args[1] = out_arg(&job->about, sizeof(job->about));
	job->args[2] = out_arg(ret_labels, k * sizeof(*ret_labels));
	job->call = (struct vaccel_call){
		.size = sizeof(job->call),
		.op = VACCEL_OP_IMAGE_CLASSIFY,
		.params = &job->params,
		.params_len = sizeof(job->params),
		.args = job->args,
		.n_args = ARRAY_SIZE(job->args),
	};
	return 0;
}

PUBLIC int vaccel_classify(struct vaccel_session *session, const char *model, const void *image, size_t len, uint32_t k,
			   struct vaccel_label *ret_labels, struct vaccel_classified *ret_about)
{
	struct classification job = { .labels = NULL };
	int r = classification_init(&job, model, image, len, k, ret_labels, ret_about);

	if (r == 0)
		r = run(session, &job.call, &job.pending);
	return r < 0 ? r : (int)job.about.n_labels;
}

PUBLIC int vaccel_classify_submit(struct vaccel_session *session, const char *model, const void *image, size_t len,
				  uint32_t k, struct vaccel_label *ret_labels, struct vaccel_classified *ret_about,
				  const struct vaccel_submit_options *options, struct vaccel_request **ret_request)
{
	struct classification *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return lib_failf(-ENOMEM, "image_classify: out of memory");
	r = classification_init(job, model, image, len, k, ret_labels, ret_about);
	if (r < 0) {
		free(job);
		return r;
	}
	return start(session, &job->call, options, &job->pending, ret_request);
}

/* ---- INFER ---- */

struct inference {
	struct pending pending;
	struct vaccel_infer params;
	struct vaccel_arg args[OP_MAX_ARGS];
	struct vaccel_call call;
	struct vaccel_tensor_desc descs[VACCEL_MAX_TENSORS];   /* of inputs and outputs, as they travel */
	struct vaccel_tensor_desc answers[VACCEL_MAX_TENSORS]; /* of outputs */
	struct vaccel_tensor *outputs;			       /* the caller's, stride bytes apart */
	size_t stride;
};

_Static_assert(VACCEL_MAX_TENSORS + 2 <= OP_MAX_ARGS, "descriptions and answers, then each tensor");

static struct vaccel_tensor *tensor_at(const struct vaccel_tensor *tensors, size_t stride, size_t index)
{
	return (struct vaccel_tensor *)((uintptr_t)tensors + index * stride);
}

/* The size that all of an array have, so that it can be walked whatever header its maker had. */
static int check_array(const struct vaccel_tensor *tensors, size_t n, const char *what, size_t *ret_stride)
{
	if (n && !tensors)
		return lib_failf(-EINVAL, "infer: %zu %ss, but they are NULL", n, what);
	*ret_stride = n ? tensors->size : 0;
	for (size_t i = 0; i < n; i++) {
		size_t size = tensor_at(tensors, *ret_stride, i)->size;

		if (size < sizeof(struct vaccel_tensor) || size != *ret_stride || size % _Alignof(struct vaccel_tensor))
			return lib_failf(
				-EINVAL,
				"struct vaccel_tensor: %s %zu has size %zu: set it to sizeof(struct vaccel_tensor)",
				what, i, size);
	}
	return 0;
}

static int describe(struct vaccel_tensor_desc *desc, const struct vaccel_tensor *tensor, const char *what, size_t index)
{
	size_t len = tensor->name ? strnlen(tensor->name, sizeof(desc->name)) : 0;

	if (!tensor->name || len == sizeof(desc->name))
		return lib_failf(-EINVAL, "infer: %s %zu has %s", what, index,
				 tensor->name ? "a name of more than 127 characters" : "no name");
	memcpy(desc->name, tensor->name, len);
	return 0;
}

static int describe_input(struct vaccel_tensor_desc *desc, const struct vaccel_tensor *tensor)
{
	if (tensor->rank > VACCEL_MAX_RANK)
		return lib_failf(-EINVAL, "infer: input %.80s has %" PRIu32 " dimensions, at most %d are possible",
				 tensor->name, tensor->rank, VACCEL_MAX_RANK);
	desc->dtype = htole32(tensor->dtype);
	desc->rank = htole32(tensor->rank);
	for (uint32_t i = 0; i < tensor->rank; i++)
		desc->dims[i] = (int64_t)htole64((uint64_t)tensor->dims[i]);
	desc->len = htole64(tensor->len);
	return 0;
}

static int add_inputs(struct inference *job, const struct vaccel_tensor *inputs, size_t n)
{
	size_t stride;
	int r = check_array(inputs, n, "input", &stride);

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct vaccel_tensor tensor;

		r = lib_read_struct(&tensor, sizeof(tensor), tensor_at(inputs, stride, i), "vaccel_tensor");
		if (r == 0)
			r = describe(&job->descs[i], &tensor, "input", i);
		if (r == 0)
			r = describe_input(&job->descs[i], &tensor);
		if (r == 0)
			job->args[2 + i] = in_arg(tensor.data, tensor.len);
	}
	return r;
}

static int add_outputs(struct inference *job, struct vaccel_tensor *outputs, size_t n)
{
	size_t n_inputs = job->params.n_inputs;
	int r = check_array(outputs, n, "output", &job->stride);

	job->outputs = outputs;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct vaccel_tensor tensor;

		r = lib_read_struct(&tensor, sizeof(tensor), tensor_at(outputs, job->stride, i), "vaccel_tensor");
		if (r == 0)
			r = describe(&job->descs[n_inputs + i], &tensor, "output", i);
		if (r == 0)
			job->args[2 + n_inputs + i] = out_arg(tensor.data, tensor.room);
	}
	return r;
}

static int check_answer(struct inference *job, size_t index, struct error *error)
{
	const struct vaccel_arg *arg = &job->args[2 + job->params.n_inputs + index];
	struct vaccel_tensor_desc *answer = &job->answers[index];
	int r = answer_output(answer, job->descs[job->params.n_inputs + index].name, error);

	return r < 0 || answer->len > arg->len ? r : answer_strings(answer, arg->data, error);
}

static void hand_over(struct inference *job, size_t index)
{
	struct vaccel_tensor *tensor = tensor_at(job->outputs, job->stride, index);
	const struct vaccel_tensor_desc *answer = &job->answers[index];

	tensor->dtype = answer->dtype;
	tensor->rank = answer->rank;
	memcpy(tensor->dims, answer->dims, sizeof(tensor->dims));
	tensor->len = answer->len;
}

static int inferred(struct pending *pending, struct error *error)
{
	struct inference *job = container_of(pending, struct inference, pending);
	const struct vaccel_arg *rooms = &job->args[2 + job->params.n_inputs];
	int r = 0;

	for (size_t i = 0; r == 0 && i < job->params.n_outputs; i++)
		r = check_answer(job, i, error);
	if (r < 0)
		return r;
	for (size_t i = 0; i < job->params.n_outputs; i++)
		hand_over(job, i);
	for (size_t i = 0; i < job->params.n_outputs; i++)
		if (job->answers[i].len > rooms[i].len)
			return error_set(error, -ERANGE,
					 "infer: output %.80s needs %" PRIu64 " bytes, there is room for %zu",
					 job->answers[i].name, job->answers[i].len, rooms[i].len);
	return 0;
}

static int inference_init(struct inference *job, const char *model, const struct vaccel_tensor *inputs, size_t n_inputs,
			  struct vaccel_tensor *outputs, size_t n_outputs)
{
	int r = model_name(job->params.model, model, "infer");

	if (r < 0)
		return r;
	if (n_inputs > VACCEL_MAX_TENSORS || n_outputs > VACCEL_MAX_TENSORS - n_inputs)
		return lib_failf(-EINVAL, "infer: %zu inputs and %zu outputs are more than the %d tensors of a request",
				 n_inputs, n_outputs, VACCEL_MAX_TENSORS);
	job->pending.finish = inferred;
	job->params.n_inputs = (uint32_t)n_inputs;
	job->params.n_outputs = (uint32_t)n_outputs;
	job->args[0] = in_arg(job->descs, (n_inputs + n_outputs) * sizeof(job->descs[0]));
	job->args[1] = out_arg(job->answers, n_outputs * sizeof(job->answers[0]));
	job->call = (struct vaccel_call){
		.size = sizeof(job->call),
		.op = VACCEL_OP_INFER,
		.params = &job->params,
		.params_len = sizeof(job->params),
		.args = job->args,
		.n_args = 2 + n_inputs + n_outputs,
	};
	r = add_inputs(job, inputs, n_inputs);
	return r < 0 ? r : add_outputs(job, outputs, n_outputs);
}

PUBLIC int vaccel_infer(struct vaccel_session *session, const char *model, const struct vaccel_tensor *inputs,
			size_t n_inputs, struct vaccel_tensor *outputs, size_t n_outputs)
{
	struct inference job = { .stride = 0 };
	int r = inference_init(&job, model, inputs, n_inputs, outputs, n_outputs);

	return r < 0 ? r : run(session, &job.call, &job.pending);
}

PUBLIC int vaccel_infer_submit(struct vaccel_session *session, const char *model, const struct vaccel_tensor *inputs,
			       size_t n_inputs, struct vaccel_tensor *outputs, size_t n_outputs,
			       const struct vaccel_submit_options *options, struct vaccel_request **ret_request)
{
	struct inference *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return lib_failf(-ENOMEM, "infer: out of memory");
	r = inference_init(job, model, inputs, n_inputs, outputs, n_outputs);
	if (r < 0) {
		free(job);
		return r;
	}
	return start(session, &job->call, options, &job->pending, ret_request);
}

/* ---- Tensors ---- */

PUBLIC size_t vaccel_dtype_size(uint32_t dtype)
{
	const struct op_dtype *type = op_dtype_find(dtype);

	return type ? type->size : 0;
}

PUBLIC const char *vaccel_dtype_name(uint32_t dtype)
{
	const struct op_dtype *type = op_dtype_find(dtype);

	return type ? type->name : NULL;
}

/*
 * Bounds are kept whatever the bytes say and however they change meanwhile: they may be in a buffer that the other end can
 * still write to.
 */
PUBLIC int vaccel_tensor_string(const struct vaccel_tensor *tensor, size_t index, const char **ret_text,
				size_t *ret_len)
{
	uint64_t count, at, len = 0;
	uint32_t one;

	if (!tensor || !ret_text || !ret_len)
		return lib_failf(-EINVAL, "string: no tensor, or nowhere to return it");
	if (tensor->dtype != VACCEL_STRING || op_tensor_count(tensor->rank, tensor->dims, &count) < 0 ||
	    mul_u64(count, sizeof(one), &at) || at > tensor->len)
		return lib_failf(-EINVAL, "string: the tensor has none");
	if (index >= count)
		return lib_failf(-ENOENT, "string %zu: the tensor has %" PRIu64, index, count);
	for (size_t i = 0; i <= index; i++) {
		at += len;
		memcpy(&one, (const char *)tensor->data + i * sizeof(one), sizeof(one));
		len = le32toh(one);
		if (!range_in(at, len, tensor->len))
			return lib_failf(-EINVAL, "string %zu: ends behind the tensor", i);
	}
	*ret_text = (const char *)tensor->data + at;
	*ret_len = len;
	return 0;
}
