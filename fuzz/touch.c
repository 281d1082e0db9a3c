/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin that serves every op by reading all that it may read and writing all that it may write. Of arguments that are
 * parsed it demands what the engine promises: that they are its own, so that they do not change, and right. An op that finds
 * otherwise fails with -EIO, which nothing else here does.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <vaccel/plugin.h>

#include "op/name.h"
#include "op/tensor.h"

static volatile uint8_t sink;

static uint64_t sum(const struct vaccel_plugin_arg *arg)
{
	const volatile uint8_t *bytes = arg->data;
	uint64_t sum = 0;

	for (size_t i = 0; i < arg->len; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

/* The process of a fuzz target knows where its guest's memory is; NULL: this is none. */
static bool (*fuzzed(void))(const void *data)
{
	bool (*ask)(const void *data);

	*(void **)&ask = dlsym(RTLD_DEFAULT, "fuzz_is_guests");
	return ask;
}

static bool is_private(const struct vaccel_plugin_arg *arg)
{
	return !(fuzzed() && fuzzed()(arg->data)) && (uintptr_t)arg->data % 64 == 0 && !arg->buffer &&
	       !arg->buffer_data && sum(arg) == sum(arg);
}

static bool input_is_right(const struct vaccel_tensor_desc *desc, const struct vaccel_plugin_arg *arg)
{
	const struct op_dtype *type = op_dtype_find(le32toh(desc->dtype));
	int64_t dims[VACCEL_MAX_RANK];
	uint64_t n;

	for (size_t i = 0; i < VACCEL_MAX_RANK; i++)
		dims[i] = (int64_t)le64toh((uint64_t)desc->dims[i]);
	return type && op_tensor_count(le32toh(desc->rank), dims, &n) == 0 && le64toh(desc->len) == arg->len &&
	       (type->size ? n * type->size == arg->len : n * sizeof(uint32_t) <= arg->len);
}

static bool tensors_are_right(const struct vaccel_plugin_call *call)
{
	const struct vaccel_infer *params = call->params;
	struct vaccel_tensor_desc desc;

	for (uint32_t i = 0; i < params->n_inputs + params->n_outputs; i++) {
		memcpy(&desc, (const uint8_t *)call->args[0].data + i * sizeof(desc), sizeof(desc));
		if (!*desc.name || !op_text_ends(desc.name, sizeof(desc.name)) ||
		    (i < params->n_inputs && !input_is_right(&desc, &call->args[2 + i])))
			return false;
	}
	return true;
}

/* A key that the operation may have, in memory that is not the guest's. */
static bool key_is_right(const struct vaccel_plugin_call *call)
{
	const struct vaccel_plugin_crypto_key *key = call->key;
	const struct vaccel_cipher *cipher = call->params;
	uint32_t right;

	if (!key || !key->id || key->id != cipher->key || !key->data || !key->len || key->len > VACCEL_KEY_BYTES ||
	    (fuzzed() && fuzzed()(key->data)))
		return false;
	if (call->op == VACCEL_OP_AKCIPHER)
		return key->type == VACCEL_KEY_RSA_PUBLIC || key->type == VACCEL_KEY_RSA_PRIVATE;
	right = cipher->direction == VACCEL_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;
	return key->type == VACCEL_KEY_AES && key->rights & right && key->len >= 16 && key->len <= 64 &&
	       (!key->modes || key->modes & 1u << cipher->mode) && call->args[2].len == call->args[3].len;
}

static int check(const struct vaccel_plugin_call *call)
{
	bool has_key = call->op == VACCEL_OP_CIPHER || call->op == VACCEL_OP_AKCIPHER;

	if (has_key ? !key_is_right(call) : call->key != NULL)
		return vaccel_plugin_error(&call->report, -EIO, "a key is not the operation's");
	if (call->op != VACCEL_OP_IMAGE_CLASSIFY && call->op != VACCEL_OP_INFER)
		return 0;
	if (!is_private(&call->args[0]))
		return vaccel_plugin_error(&call->report, -EIO, "an argument that is parsed is not its own");
	if (call->op == VACCEL_OP_INFER && !tensors_are_right(call))
		return vaccel_plugin_error(&call->report, -EIO, "descriptions of tensors are not checked");
	return 0;
}

static int touch(const struct vaccel_plugin_call *call)
{
	int r = check(call);

	if (r < 0)
		return r;
	for (size_t i = 0; i < call->n_args; i++) {
		uint8_t *bytes = call->args[i].data;

		for (size_t j = 0; j < call->args[i].len; j++) {
			if (call->args[i].dir & 1)
				sink = bytes[j];
			if (call->args[i].dir & 2)
				bytes[j] = (uint8_t)j;
		}
	}
	for (size_t i = 0; i < call->params_len; i++)
		sink = ((const uint8_t *)call->params)[i];
	return 0;
}

/*
 * Two requests for the model of this name run together, and wait for each other; a mark in one of them is fatal. Not where
 * requests come from a fuzzer, one at a time.
 */
static bool runs_together(const struct vaccel_plugin_call *call)
{
	return !fuzzed() && call->op == VACCEL_OP_INFER &&
	       !strcmp(((const struct vaccel_infer *)call->params)->model, "together");
}

static void batch(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	if (runs_together(call))
		*ret_batch = (struct vaccel_plugin_batch){ .key = 1, .max = 2, .delay_us = UINT32_MAX };
}

static int touch_marked(const struct vaccel_plugin_call *call)
{
	if (runs_together(call) && call->args[2].len && *(const uint8_t *)call->args[2].data == 0xee)
		abort();
	return touch(call);
}

static void run_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		results[i] = touch_marked(calls[i]);
}

static struct vaccel_op_impl ops[256];

__attribute__((constructor)) static void fill(void)
{
	for (uint32_t i = 0; i < 256; i++)
		ops[i] = (struct vaccel_op_impl){ .op = i, .run = touch_marked };
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_plugin declaration = {
	VACCEL_PLUGIN_HEADER,
	.name = "touch",
	.version = "1",
	.description = "touches its arguments",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = 256,
	.hardware = hardware,
	.batch = batch,
	.run_batch = run_batch,
};

VACCEL_PLUGIN(declaration)
