/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIPHER. A message in one request: a prepared context gets the IV, then the data, in place or not, in calls as large as
 * libcrypto takes. Messages in several requests go through the same steps, from stream.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "openssl.h"

/* libcrypto counts in int. A multiple of the block. */
#define MAX_STEP ((size_t)1 << 30)

/* Bytes of a message that is decrypted out of sight, and of its tag. */
#define MAX_PRIVATE	((size_t)1 << 24)
#define MIN_PRIVATE_TAG 12

/*
 * All that CBC knows of a message while it decrypts is the block before, so that an IV is set by decrypting it as the block before
 * the first. Setting it otherwise has libcrypto look for parameters by their names, which takes longer.
 */
static int begin_chain(const struct vaccel_plugin_call *call, struct context *context)
{
	uint8_t none[16];
	int n = 0, r = EVP_CipherUpdate(context->evp, none, &n, call->args[IV].data, sizeof(none));

	OPENSSL_cleanse(none, sizeof(none));
	return r == 1 && n == (int)sizeof(none) ? 0 : crypto_error(&call->report, -EIO, "the IV cannot be set");
}

int message_begin(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *iv = &call->args[IV];

	if (context->mode == VACCEL_CBC && context->direction == VACCEL_DECRYPT && context->begun)
		return begin_chain(call, context);
	context->begun = true;
	if (context->mode == VACCEL_GCM && context->iv_len != iv->len) {
		if (EVP_CIPHER_CTX_ctrl(context->evp, EVP_CTRL_AEAD_SET_IVLEN, (int)iv->len, NULL) != 1)
			return crypto_error(&call->report, -EINVAL, "the length of the IV cannot be set");
		context->iv_len = iv->len;
	}
	if (EVP_CipherInit_ex2(context->evp, NULL, NULL, iv->len ? iv->data : NULL, -1, NULL) != 1)
		return crypto_error(&call->report, -EIO, "the IV cannot be set");
	return 0;
}

/* destination NULL: additional data. */
static int update(const struct vaccel_plugin_call *call, struct context *context, const uint8_t *source, size_t len,
		  uint8_t *destination)
{
	for (size_t done = 0; done < len;) {
		size_t step = len - done < MAX_STEP ? len - done : MAX_STEP;
		int n = 0;

		if (EVP_CipherUpdate(context->evp, destination ? destination + done : NULL, &n, source + done,
				     (int)step) != 1)
			return crypto_error(&call->report, -EIO, "the data cannot be processed");
		done += step;
	}
	return 0;
}

static int make_tag(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *tag = &call->args[TAG];
	uint8_t none[16];
	int n = 0;

	if (EVP_CipherFinal_ex(context->evp, none, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(context->evp, EVP_CTRL_AEAD_GET_TAG, (int)tag->len, tag->data) != 1)
		return crypto_error(&call->report, -EIO, "the tag cannot be made");
	return 0;
}

/* libcrypto compares in a time that does not depend on where they differ. */
static int check_tag(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *tag = &call->args[TAG];
	uint8_t copy[16], none[16];
	int n = 0;

	memcpy(copy, tag->data, tag->len);
	if (EVP_CIPHER_CTX_ctrl(context->evp, EVP_CTRL_AEAD_SET_TAG, (int)tag->len, copy) != 1)
		return crypto_error(&call->report, -EIO, "the tag cannot be set");
	if (EVP_CipherFinal_ex(context->evp, none, &n) != 1) {
		crypto_error(NULL, 0, "");
		return vaccel_plugin_error(&call->report, -EKEYREJECTED, "the tag does not fit");
	}
	return 0;
}

int message_end(const struct vaccel_plugin_call *call, struct context *context)
{
	if (context->mode != VACCEL_GCM)
		return 0;
	return context->direction == VACCEL_ENCRYPT ? make_tag(call, context) : check_tag(call, context);
}

int message_go_on(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *arg = call->args;
	int r = update(call, context, arg[AAD].data, arg[AAD].len, NULL);

	return r < 0 ? r : update(call, context, arg[SOURCE].data, arg[SOURCE].len, arg[DESTINATION].data);
}

/* Uses up key stream of CTR. */
static int skip(const struct vaccel_plugin_call *call, struct context *context, uint32_t bytes)
{
	uint8_t used[16] = { 0 };
	int r = update(call, context, used, bytes, used);

	OPENSSL_cleanse(used, sizeof(used));
	return r;
}

static int one_message(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher,
		       struct context *context)
{
	const struct vaccel_plugin_arg *destination = &call->args[DESTINATION];
	int r = message_begin(call, context);

	if (r == 0 && cipher->skip)
		r = skip(call, context, cipher->skip);
	if (r == 0)
		r = message_go_on(call, context);
	if (r == 0)
		r = message_end(call, context);
	/* What did not pass its check is nobody's to read. */
	if (r < 0 && cipher->mode == VACCEL_GCM && destination->len)
		memset(destination->data, 0, destination->len);
	return r;
}

/*
 * Whoever may only decrypt with a key that the host holds shall get no key stream: that of an IV would let him encrypt, and decrypt
 * whatever was encrypted with it. So he sees nothing before the tag was found to fit, works on nothing that he can still
 * change, and cannot try out short tags.
 */
static bool is_private(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher)
{
	return cipher->mode == VACCEL_GCM && call->key->held && !(call->key->rights & VACCEL_MAY_ENCRYPT);
}

static int private_message(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *arg = call->args;
	size_t len = arg[SOURCE].len;
	uint8_t *text;
	int r;

	if (arg[TAG].len < MIN_PRIVATE_TAG)
		return vaccel_plugin_error(&call->report, -EPERM,
					   "a tag of %zu bytes: with a key that may only decrypt it needs %d",
					   arg[TAG].len, MIN_PRIVATE_TAG);
	if (len > MAX_PRIVATE)
		return vaccel_plugin_error(&call->report, -E2BIG,
					   "%zu bytes: with a key that may only decrypt, a message has %zu at most",
					   len, MAX_PRIVATE);
	text = malloc(len + 1);
	if (!text)
		return vaccel_plugin_error(&call->report, -ENOMEM, "no memory for a copy of %zu bytes", len);
	if (len)
		memcpy(text, arg[SOURCE].data, len);
	if (call->copied)
		*call->copied += len;
	r = message_begin(call, context);
	if (r == 0)
		r = update(call, context, arg[AAD].data, arg[AAD].len, NULL);
	if (r == 0)
		r = update(call, context, text, len, text);
	if (r == 0)
		r = message_end(call, context);
	if (r == 0 && len)
		memcpy(arg[DESTINATION].data, text, len);
	OPENSSL_cleanse(text, len);
	free(text);
	return r;
}

void context_settle(struct context *context, int result)
{
	if (result < 0 && result != -EKEYREJECTED)
		context_free(context);
	else
		context_give(context);
}

int cipher_run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	struct context *context = NULL;
	int r;

	if (cipher->stream && is_private(call, cipher))
		return vaccel_plugin_error(&call->report, -EPERM,
					   "with a key that may only decrypt, a message comes in one request");
	if (cipher->stream)
		return stream_run(call);
	r = context_take(call, cipher, &context);
	if (r < 0)
		return r;
	r = is_private(call, cipher) ? private_message(call, context) : one_message(call, cipher, context);
	context_settle(context, r);
	return r;
}
