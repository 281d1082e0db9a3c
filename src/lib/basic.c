/* SPDX-License-Identifier: Apache-2.0 */
/* <vaccel/basic.h> over <vaccel/vaccel.h>: a session is a context and a session. */
#include <errno.h>
#include <string.h>
#include <vaccel/basic.h>

#include "lib/gemm.h"
#include "lib/internal.h"
#include "util/util.h"

struct vaccel_basic_session {
	struct vaccel_context *context;
	struct vaccel_session *session;
};

PUBLIC int vaccel_get_operations(uint8_t *available_operations)
{
	struct vaccel_context *context;
	uint8_t found[VACCEL_OPERATIONS_MAX] = { 0 };
	struct vaccel_op_info op = { .size = sizeof(op) };
	int r;

	if (!available_operations)
		return lib_failf(-EINVAL, "operations: nowhere to return them");
	r = vaccel_context_new(NULL, &context);
	if (r < 0)
		return r;
	for (size_t i = 0; (r = vaccel_context_op(context, i, &op)) == 0; i++)
		if (op.op < ARRAY_SIZE(found) && *op.plugin)
			found[op.op] = 1;
	vaccel_context_free(context);
	if (r != -ENOENT)
		return r;
	memcpy(available_operations, found, sizeof(found));
	return 0;
}

PUBLIC vaccel_session_t *create_vaccel_session(void)
{
	vaccel_session_t *handle = calloc(1, sizeof(*handle));
	int r = handle ? vaccel_context_new(NULL, &handle->context) : lib_failf(-ENOMEM, "session: out of memory");

	if (r == 0) {
		r = vaccel_session_open(handle->context, &handle->session);
		if (r < 0)
			vaccel_context_free(handle->context);
	}
	if (r < 0) {
		free(handle);
		errno = -r;
		return NULL;
	}
	return handle;
}

/* Input and output of SGEMM and DGEMM differ in what their pointers point to, which nothing here looks at. */
_Static_assert(sizeof(struct vaccel_sgemm_input) == sizeof(struct vaccel_dgemm_input), "one reader serves both");
_Static_assert(sizeof(struct vaccel_sgemm_output) == sizeof(struct vaccel_dgemm_output), "one reader serves both");

struct operation {
	vaccel_op_t op;
	int (*run)(struct vaccel_session *session, const struct operation *operation, const void *input, void *output);
	const char *input; /* names of the structs, for messages */
	const char *output;
};

static int do_gemm(struct vaccel_session *session, const struct operation *operation, const void *input, void *output)
{
	struct vaccel_sgemm_input in;
	struct vaccel_sgemm_output out;
	int r = lib_read_struct(&in, sizeof(in), input, operation->input);

	if (r == 0)
		r = lib_read_struct(&out, sizeof(out), output, operation->output);
	return r < 0 ? r : lib_gemm(session, operation->op, &in.gemm, in.a, in.b, out.c);
}

static int do_classify(struct vaccel_session *session, const struct operation *operation, const void *input,
		       void *output)
{
	struct vaccel_classify_input in;
	struct vaccel_classify_output out;
	int r = lib_read_struct(&in, sizeof(in), input, operation->input);

	if (r == 0)
		r = lib_read_struct(&out, sizeof(out), output, operation->output);
	if (r == 0)
		r = vaccel_classify(session, in.model, in.image, in.len, in.k, out.labels, &out.about);
	return r < 0 ? r : lib_write_struct(output, &out, sizeof(out), operation->output);
}

static int do_infer(struct vaccel_session *session, const struct operation *operation, const void *input, void *output)
{
	struct vaccel_infer_input in;
	struct vaccel_infer_output out;
	int r = lib_read_struct(&in, sizeof(in), input, operation->input);

	if (r == 0)
		r = lib_read_struct(&out, sizeof(out), output, operation->output);
	return r < 0 ? r : vaccel_infer(session, in.model, in.tensors, in.n_tensors, out.tensors, out.n_tensors);
}

static int do_model_list(struct vaccel_session *session, const struct operation *operation, const void *input,
			 void *output)
{
	struct vaccel_model_list_output out;
	struct vaccel_catalog *catalog;
	const struct vaccel_model_row *row;
	int r = input ? lib_failf(-EINVAL, "models: the list takes no input") : 0;

	if (r == 0)
		r = lib_read_struct(&out, sizeof(out), output, operation->output);
	if (r == 0 && out.room && !out.rows)
		r = lib_failf(-EINVAL, "models: room for %zu rows at address NULL", out.room);
	if (r == 0)
		r = vaccel_catalog_new(session, &catalog);
	if (r < 0)
		return r;
	for (out.n_models = 0; (row = vaccel_catalog_row(catalog, out.n_models)); out.n_models++)
		if (out.n_models < out.room)
			out.rows[out.n_models] = *row;
	vaccel_catalog_free(catalog);
	return lib_write_struct(output, &out, sizeof(out), operation->output);
}

static int do_model_info(struct vaccel_session *session, const struct operation *operation, const void *input,
			 void *output)
{
	struct vaccel_model_info_input in;
	struct vaccel_model_info_output out;
	struct vaccel_model *model;
	int r = lib_read_struct(&in, sizeof(in), input, operation->input);

	if (r == 0)
		r = lib_read_struct(&out, sizeof(out), output, operation->output);
	if (r == 0 && out.room && !out.tensors)
		r = lib_failf(-EINVAL, "model: room for %zu tensors at address NULL", out.room);
	if (r == 0)
		r = vaccel_model_new(session, in.model, &model);
	if (r < 0)
		return r;
	out.about = *vaccel_model_about(model);
	for (size_t i = 0; i < MIN(out.room, out.about.n_tensors); i++)
		out.tensors[i] = i < out.about.n_inputs
					 ? *vaccel_model_tensor(model, VACCEL_IN, i)
					 : *vaccel_model_tensor(model, VACCEL_OUT, i - out.about.n_inputs);
	vaccel_model_free(model);
	return lib_write_struct(output, &out, sizeof(out), operation->output);
}

static int do_cipher(struct vaccel_session *session, const struct operation *operation, const void *input, void *output)
{
	const uint32_t rights = VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT;
	struct vaccel_cipher_input in;
	struct vaccel_key *key;
	int r = lib_read_struct(&in, sizeof(in), input, operation->input), closed;

	if (r == 0 && output)
		r = lib_failf(-EINVAL, "cipher: has no output: its message says where that goes");
	if (r < 0)
		return r;
	r = in.host_key ? vaccel_key_open(session, in.host_key, &key)
			: vaccel_key_import(session, VACCEL_KEY_AES, 0, rights, in.key, in.key_len, &key);
	if (r < 0)
		return r;
	r = vaccel_cipher(key, in.message);
	closed = vaccel_key_free(key);
	return r < 0 ? r : closed;
}

static int do_noop(struct vaccel_session *session, const struct operation *operation, const void *input, void *output)
{
	if (input || output)
		return lib_failf(-EINVAL, "noop: takes no input and no output");
	return vaccel_noop(session);
}

static const struct operation operations[] = {
	{ VACCEL_OP_NOOP, do_noop, NULL, NULL },
	{ VACCEL_OP_SGEMM, do_gemm, "vaccel_sgemm_input", "vaccel_sgemm_output" },
	{ VACCEL_OP_DGEMM, do_gemm, "vaccel_dgemm_input", "vaccel_dgemm_output" },
	{ VACCEL_OP_IMAGE_CLASSIFY, do_classify, "vaccel_classify_input", "vaccel_classify_output" },
	{ VACCEL_OP_INFER, do_infer, "vaccel_infer_input", "vaccel_infer_output" },
	{ VACCEL_OP_MODEL_LIST, do_model_list, NULL, "vaccel_model_list_output" },
	{ VACCEL_OP_CIPHER, do_cipher, "vaccel_cipher_input", NULL },
	{ VACCEL_OP_MODEL_INFO, do_model_info, "vaccel_model_info_input", "vaccel_model_info_output" },
};

PUBLIC int do_operation(vaccel_session_t *handle, vaccel_op_t operation, void *input, void *output)
{
	if (!handle)
		return lib_failf(-EINVAL, "session: none given");
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (operations[i].op == operation)
			return operations[i].run(handle->session, &operations[i], input, output);
	return lib_failf(-EOPNOTSUPP, "operation %u is not known", operation);
}

PUBLIC int destroy_vaccel_session(vaccel_session_t *handle)
{
	int r;

	if (!handle)
		return 0;
	r = vaccel_session_close(handle->session);
	vaccel_context_free(handle->context);
	free(handle);
	return r;
}

PUBLIC int destory_vaccel_session(vaccel_session_t *handle)
{
	return destroy_vaccel_session(handle);
}
