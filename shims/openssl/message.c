/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GCM: who computes a message is decided when the first byte of its source comes, by the size of that update.
 *
 * Additional data that came before went to the local context, and into a log. When the host takes the message, the log goes
 * on with its source, up to LOG_BYTES: a message that is wholly in there can begin again in the local context, which knows
 * no more of it than its IV and additional data. So it survives the host's worker, and can be duplicated. Of a longer one
 * the state is at the host only: then neither is possible, and the message fails.
 *
 * The local context still waits for the source when the message has ended at the host. It must not be let go on, for it would
 * use the IV twice: MESSAGE_DONE and MESSAGE_FAILED keep it from that until the next IV.
 *
 * Records of TLS 1.2, which are announced by parameters, are always computed here: the local context knows their format.
 */
#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "provider.h"

#define LOG_BYTES (1u << 20)
#define LOG_FIRST 4096u

static bool overlap(const unsigned char *a, const unsigned char *b, size_t len)
{
	uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;

	return first < second + len && second < first + len;
}

/* ---- The log ---- */

static void log_forget(struct message *message)
{
	OPENSSL_clear_free(message->log, message->log_room);
	message->log = NULL;
	message->log_room = message->log_len = message->log_aad = 0;
	message->log_whole = false;
}

static bool log_grow(struct message *message, size_t len)
{
	size_t room = message->log_room ? message->log_room : LOG_FIRST;
	uint8_t *log;

	if (len > LOG_BYTES - message->log_len)
		return false;
	while (room < message->log_len + len)
		room *= 2;
	if (room == message->log_room)
		return true;
	log = OPENSSL_clear_realloc(message->log, message->log_room, room);
	if (!log)
		return false;
	message->log = log;
	message->log_room = room;
	return true;
}

/* Puts data behind the log, where it does not count yet. What does not fit ends the log. */
static bool log_put(struct message *message, const unsigned char *data, size_t len)
{
	if (!message->log_whole)
		return false;
	if (!log_grow(message, len)) {
		log_forget(message);
		return false;
	}
	if (len)
		memcpy(message->log + message->log_len, data, len);
	return true;
}

static void log_add(struct message *message, const unsigned char *data, size_t len)
{
	if (log_put(message, data, len))
		message->log_len += len;
}

/* ---- Life ---- */

static void message_leave(struct message *message, enum message_state state)
{
	vaccel_stream_free(message->stream);
	message->stream = NULL;
	message->state = state;
	log_forget(message);
}

void message_fini(struct message *message)
{
	message_leave(message, MESSAGE_LOCAL);
	OPENSSL_cleanse(message->tag, sizeof(message->tag));
}

/* ---- Here ---- */

/* The local context computes the part that the host had, again, and for nobody. It has had the additional data. */
static bool replay(struct cipher *cipher, const struct message *message)
{
	size_t len = message->log_len - message->log_aad, written = 0;
	unsigned char *out;
	bool fine;

	if (!message->log_whole)
		return false;
	out = OPENSSL_malloc(len ? len : 1);
	fine = out && (!len || cipher_local_update(cipher, out, &written, message->log + message->log_aad, len)) &&
	       written == len;
	OPENSSL_clear_free(out, len ? len : 1);
	return fine;
}

void message_settle(struct cipher *cipher)
{
	struct message *message = &cipher->message;

	if (message->state == MESSAGE_NEW)
		message_leave(message, MESSAGE_LOCAL);
	else if (message->state == MESSAGE_HOST)
		message_leave(message, replay(cipher, message) ? MESSAGE_LOCAL : MESSAGE_FAILED);
}

void message_init(struct cipher *cipher, const unsigned char *iv)
{
	struct message *message = &cipher->message;

	if (iv) {
		message_leave(message, cipher->foreign ? MESSAGE_LOCAL : MESSAGE_NEW);
		message->log_whole = !cipher->foreign;
	} else if (message->state == MESSAGE_NEW && message->log_len) {
		message_leave(message, MESSAGE_LOCAL);
	}
}

void message_param(struct cipher *cipher, const OSSL_PARAM *param)
{
	struct message *message = &cipher->message;

	if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0) {
		message->own_tag = false;
		message->tag_len = param->data && param->data_size <= MAX_TAG_BYTES ? param->data_size : 0;
		if (message->tag_len)
			memcpy(message->tag, param->data, message->tag_len);
	} else if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED) == 0) {
		message_leave(message, MESSAGE_LOCAL); /* a new IV */
	}
}

int message_dup(struct cipher *copy, const struct cipher *cipher)
{
	const struct message *message = &cipher->message;

	copy->message.state = message->state;
	copy->message.tag_len = message->tag_len;
	copy->message.own_tag = message->own_tag;
	memcpy(copy->message.tag, message->tag, sizeof(message->tag));
	switch (message->state) {
	case MESSAGE_NEW:
		copy->message.log_whole = message->log_whole;
		log_add(&copy->message, message->log, message->log_len);
		copy->message.log_aad = copy->message.log_len;
		return 1;
	case MESSAGE_HOST:
		copy->message.state = MESSAGE_LOCAL;
		return replay(copy, message) ? 1 : raise_reason(PROV_R_NOT_SUPPORTED);
	default:
		return 1;
	}
}

/* ---- At the host ---- */

/* The local context's, if it has one yet. */
static size_t message_iv(struct cipher *cipher, unsigned char *iv)
{
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_IV, iv, MAX_IV_BYTES),
				OSSL_PARAM_construct_end() };
	int len = EVP_CIPHER_CTX_get_iv_length(cipher->local);

	if (len <= 0 || (size_t)len > MAX_IV_BYTES)
		return 0;
	params[0].data_size = (size_t)len;
	return EVP_CIPHER_CTX_get_params(cipher->local, params) == 1 ? (size_t)len : 0;
}

static int stream_begin(struct cipher *cipher)
{
	struct message *message = &cipher->message;
	unsigned char iv[MAX_IV_BYTES];
	struct vaccel_stream_options options = {
		.size = sizeof(options),
		.mode = VACCEL_GCM,
		.direction = cipher->encrypt ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.iv = iv,
		.iv_len = message_iv(cipher, iv),
	};
	int r;

	if (!options.iv_len)
		return -EINVAL;
	r = cipher_key_ready(cipher);
	if (r == 0)
		r = vaccel_stream_new(host_key_handle(cipher->key), &options, &message->stream);
	if (r == 0 && message->log_len)
		r = vaccel_stream_aad(message->stream, message->log, message->log_len);
	if (r < 0 && cipher->key)
		host_key_failed(cipher->key, r);
	return r;
}

static bool host_wanted(const struct cipher *cipher, const unsigned char *out, const unsigned char *in, size_t len)
{
	const struct message *message = &cipher->message;

	return message->state == MESSAGE_NEW && message->log_whole && cipher->key_set && !cipher->pinned && in &&
	       len >= cipher_threshold(cipher) && (out == in || !overlap(out, in, len));
}

static int host_lost(struct cipher *cipher)
{
	message_leave(&cipher->message, MESSAGE_FAILED);
	return host_raise(PROV_R_CIPHER_OPERATION_FAILED);
}

/* The source goes from the log, if it is there, so that the host's work cannot spoil it for the local context's. */
static int host_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	struct message *message = &cipher->message;
	bool kept = log_put(message, in, len), fine;
	size_t written = 0;
	int r;

	r = vaccel_stream_update(message->stream, kept ? message->log + message->log_len : in, len, out, len, &written);
	if (r == 0 && written == len) {
		message->log_len += kept ? len : 0;
		*ret_len = len;
		return 1;
	}
	host_key_failed(cipher->key, r);
	if (!kept)
		return host_lost(cipher);
	fine = replay(cipher, message) &&
	       cipher_local_update(cipher, out, ret_len, message->log + message->log_len, len);
	message_leave(message, fine ? MESSAGE_LOCAL : MESSAGE_FAILED);
	return fine;
}

/* Whoever gets the first byte of the source gets the message. */
static void decide(struct cipher *cipher, const unsigned char *out, const unsigned char *in, size_t len)
{
	struct message *message = &cipher->message;

	message->log_aad = message->log_len;
	if (host_wanted(cipher, out, in, len) && stream_begin(cipher) == 0)
		message->state = MESSAGE_HOST;
	else
		message_leave(message, MESSAGE_LOCAL);
}

typedef int local_function(struct cipher *, unsigned char *, size_t *, const unsigned char *, size_t);

/* Whether the host is not concerned: then *ret is what local() says. */
static bool done_here(struct cipher *cipher, local_function *local, unsigned char *out, size_t *ret_len,
		      const unsigned char *in, size_t len, int *ret)
{
	struct message *message = &cipher->message;

	if (message->state == MESSAGE_NEW && out && in && len)
		decide(cipher, out, in, len);
	if (message->state != MESSAGE_NEW && message->state != MESSAGE_LOCAL)
		return false;
	*ret = local(cipher, out, ret_len, in, len);
	if (*ret && message->state == MESSAGE_NEW && in)
		log_add(message, in, len);
	return true;
}

int message_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	int r;

	if (done_here(cipher, cipher_local_update, out, ret_len, in, len, &r))
		return r;
	if (!len)
		return 1;
	if (cipher->message.state == MESSAGE_HOST && out && in)
		return host_update(cipher, out, ret_len, in, len);
	return raise_reason(PROV_R_CIPHER_OPERATION_FAILED);
}

/* Those that the operation knows; OpenSSL checks any number of bytes. */
static bool tag_is_possible(size_t len)
{
	return len == 4 || len == 8 || (len >= 12 && len <= MAX_TAG_BYTES);
}

static int host_final(struct cipher *cipher, unsigned char *out, size_t *ret_len)
{
	struct message *message = &cipher->message;
	int r = -EINVAL;

	if (cipher->encrypt)
		message->tag_len = MAX_TAG_BYTES;
	else if (!message->tag_len)
		return cipher_local_final(cipher, out, ret_len); /* has none either, and says so */
	if (tag_is_possible(message->tag_len))
		r = vaccel_stream_final(message->stream, NULL, 0, message->tag, message->tag_len, NULL);
	if (r == 0 || r == -EKEYREJECTED) {
		message->own_tag = cipher->encrypt;
		message_leave(message, MESSAGE_DONE);
		return r == 0;
	}
	host_key_failed(cipher->key, r);
	if (!replay(cipher, message))
		return host_lost(cipher);
	message_leave(message, MESSAGE_LOCAL);
	return cipher_local_final(cipher, out, ret_len);
}

int message_final(struct cipher *cipher, unsigned char *out, size_t *ret_len)
{
	struct message *message = &cipher->message;

	if (message->state == MESSAGE_HOST)
		return host_final(cipher, out, ret_len);
	if (message->state == MESSAGE_NEW)
		message_leave(message, MESSAGE_LOCAL);
	if (message->state != MESSAGE_LOCAL || !cipher_local_final(cipher, out, ret_len))
		return 0;
	message->own_tag = false;
	return 1;
}

int message_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	int r;

	if (!in && cipher->message.state == MESSAGE_NEW)
		message_leave(&cipher->message, MESSAGE_LOCAL);
	if (done_here(cipher, cipher_local_once, out, ret_len, in, len, &r)) {
		cipher->message.own_tag &= in || !r;
		return r;
	}
	if (!in)
		return message_final(cipher, out, ret_len);
	return cipher->message.state == MESSAGE_HOST && out && (!len || host_update(cipher, out, ret_len, in, len));
}

/* ---- Parameters ---- */

static int tag_get(const struct message *message, OSSL_PARAM *param)
{
	size_t len = param->data ? param->data_size : MAX_TAG_BYTES;

	if (!len || len > MAX_TAG_BYTES)
		return raise_reason(PROV_R_INVALID_TAG);
	if (!OSSL_PARAM_set_octet_string(param, message->tag, len))
		return raise_reason(PROV_R_FAILED_TO_SET_PARAMETER);
	return 1;
}

static int local_get(struct cipher *cipher, OSSL_PARAM *param)
{
	OSSL_PARAM params[] = { *param, OSSL_PARAM_END };
	int r = EVP_CIPHER_CTX_get_params(cipher->local, params) == 1;

	*param = params[0];
	if (r && strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_GET_IV_GEN) == 0)
		message_leave(&cipher->message, MESSAGE_LOCAL); /* the next IV is in use */
	return r;
}

int message_get_params(struct cipher *cipher, OSSL_PARAM *params)
{
	const struct message *message = &cipher->message;

	for (; params && params->key; params++) {
		bool own = message->own_tag && cipher->encrypt && strcmp(params->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0;

		if (!(own ? tag_get(message, params) : local_get(cipher, params)))
			return 0;
	}
	return 1;
}
