/* SPDX-License-Identifier: Apache-2.0 */
/* CIPHER and AKCIPHER as functions. What is not valid in a call is left for op_check() to say. */
#include "lib/cipher.h"

#include <errno.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "util/util.h"

HOT void cipher_call_init(struct cipher_call *cipher, const struct vaccel_key *key,
			  const struct vaccel_message *message)
{
	cipher->params = (struct vaccel_cipher){
		.key = key->about.id,
		.mode = message->mode,
		.direction = message->direction,
		.flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END,
		.skip = message->skip,
	};
	cipher->args[0] = in_arg(message->iv, message->iv_len);
	cipher->args[1] = in_arg(message->aad, message->aad_len);
	cipher->args[2] = in_arg(message->source, message->len);
	cipher->args[3] = out_arg(message->destination, message->len);
	cipher->args[4] = message->direction == VACCEL_ENCRYPT ? out_arg(message->tag, message->tag_len)
							       : in_arg(message->tag, message->tag_len);
	cipher->call = (struct vaccel_call){
		.size = sizeof(cipher->call),
		.op = VACCEL_OP_CIPHER,
		.params = &cipher->params,
		.params_len = sizeof(cipher->params),
		.args = cipher->args,
		.n_args = ARRAY_SIZE(cipher->args),
	};
}

/* The caller's struct, whatever its size, as a call. */
HOT static int read_message(struct cipher_call *cipher, const struct vaccel_key *key,
			    const struct vaccel_message *message)
{
	struct vaccel_message known;
	int r = lib_read_struct(&known, sizeof(known), message, "vaccel_message");

	if (r < 0)
		return r;
	if (known.reserved)
		return lib_failf(-EINVAL, "struct vaccel_message: reserved is %u, not 0", known.reserved);
	cipher_call_init(cipher, key, &known);
	return 0;
}

HOT PUBLIC int vaccel_cipher(struct vaccel_key *key, const struct vaccel_message *message)
{
	struct vaccel_session *session;
	struct cipher_call cipher;
	int r;

	session = key_session(key, &r);
	if (session)
		r = read_message(&cipher, key, message);
	return r < 0 ? r : request_run(session, &cipher.call, key->connection, NULL);
}

PUBLIC int vaccel_cipher_submit(struct vaccel_key *key, const struct vaccel_message *message,
				const struct vaccel_submit_options *options, struct vaccel_request **ret_request)
{
	struct vaccel_session *session;
	struct cipher_call cipher;
	int r;

	session = key_session(key, &r);
	if (session)
		r = read_message(&cipher, key, message);
	if (r == 0)
		r = request_options(&cipher.call, options);
	return r < 0 ? r : request_submit(session, &cipher.call, key->connection, NULL, ret_request);
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
