/* SPDX-License-Identifier: Apache-2.0 */
/* CIPHER and AKCIPHER as functions. What is not valid in a call is left for op_check() to say. */
#include "lib/cipher.h"

#include <errno.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "util/util.h"

/* Arguments carry no const; what is IN is only read. */
static struct vaccel_arg in_arg(const void *data, size_t len)
{
	return (struct vaccel_arg){ .data = (void *)(uintptr_t)data, .len = len, .dir = VACCEL_IN };
}

static struct vaccel_arg out_arg(void *data, size_t len)
{
	return (struct vaccel_arg){ .data = data, .len = len, .dir = VACCEL_OUT };
}

HOT void cipher_job_init(struct cipher_job *job, const struct vaccel_key *key, const struct vaccel_message *message)
{
	job->params = (struct vaccel_cipher){
		.key = key->about.id,
		.mode = message->mode,
		.direction = message->direction,
		.flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END,
		.skip = message->skip,
	};
	job->args[0] = in_arg(message->iv, message->iv_len);
	job->args[1] = in_arg(message->aad, message->aad_len);
	job->args[2] = in_arg(message->source, message->len);
	job->args[3] = out_arg(message->destination, message->len);
	job->args[4] = message->direction == VACCEL_ENCRYPT ? out_arg(message->tag, message->tag_len)
							    : in_arg(message->tag, message->tag_len);
	job->call = (struct vaccel_call){
		.size = sizeof(job->call),
		.op = VACCEL_OP_CIPHER,
		.params = &job->params,
		.params_len = sizeof(job->params),
		.args = job->args,
		.n_args = ARRAY_SIZE(job->args),
	};
}

/* The caller's struct, whatever its size, as a call. */
HOT static int read_message(struct cipher_job *job, const struct vaccel_key *key, const struct vaccel_message *message)
{
	struct vaccel_message known;
	int r = lib_read_struct(&known, sizeof(known), message, "vaccel_message");

	if (r < 0)
		return r;
	if (known.reserved)
		return lib_failf(-EINVAL, "struct vaccel_message: reserved is %u, not 0", known.reserved);
	cipher_job_init(job, key, &known);
	return 0;
}

HOT PUBLIC int vaccel_cipher(struct vaccel_key *key, const struct vaccel_message *message)
{
	struct vaccel_session *session;
	struct cipher_job job;
	int r;

	session = key_session(key, &r);
	if (session)
		r = read_message(&job, key, message);
	return r < 0 ? r : request_run(session, &job.call, key->connection, NULL);
}

PUBLIC int vaccel_cipher_submit(struct vaccel_key *key, const struct vaccel_message *message,
				const struct vaccel_submit_options *options, struct vaccel_request **ret_request)
{
	struct vaccel_session *session;
	struct cipher_job job;
	int r;

	session = key_session(key, &r);
	if (session)
		r = read_message(&job, key, message);
	if (r == 0)
		r = request_options(&job.call, options);
	return r < 0 ? r : request_submit(session, &job.call, key->connection, NULL, ret_request);
}

PUBLIC int vaccel_akcipher(struct vaccel_key *key, enum vaccel_akcipher_operation operation,
			   enum vaccel_rsa_padding padding, enum vaccel_rsa_hash hash, const void *source,
			   size_t source_len, void *destination, size_t destination_len)
{
	const struct vaccel_akcipher params = {
		.key = key ? key->about.id : 0, .operation = operation, .padding = padding, .hash = hash
	};
	bool verify = operation == VACCEL_AK_VERIFY;
	struct vaccel_akcipher_answer answer = { .len = 0 };
	struct vaccel_arg args[] = {
		in_arg(source, source_len),
		verify ? in_arg(destination, destination_len) : out_arg(destination, destination_len),
		out_arg(&answer, sizeof(answer)),
	};
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_AKCIPHER,
		.params = &params,
		.params_len = sizeof(params),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};
	struct vaccel_session *session;
	struct error error;
	int r;

	session = key_session(key, &r);
	if (session)
		r = request_run(session, &call, key->connection, NULL);
	if (r == 0 && answer_akcipher(&answer, verify ? 0 : destination_len, &error) < 0)
		r = lib_fail(&error);
	return r < 0 ? r : (int)answer.len;
}
