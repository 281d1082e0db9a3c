/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIPHER. A message in one request: a prepared context gets the IV, then the data, in place or not, in calls as large as
 * libcrypto takes.
 */
#include <errno.h>
#include <string.h>
#include "openssl.h"

/* libcrypto counts in int. A multiple of the block. */
#define MAX_STEP ((size_t)1 << 30)

static int set_iv(const struct vaccel_plugin_call *call, struct context *context)
{
	const struct vaccel_plugin_arg *iv = &call->args[IV];

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

static int finish(const struct vaccel_plugin_call *call, struct context *context)
{
	if (context->mode != VACCEL_GCM)
		return 0;
	return context->direction == VACCEL_ENCRYPT ? make_tag(call, context) : check_tag(call, context);
}

/* Uses up key stream of CTR. */
static int skip(const struct vaccel_plugin_call *call, struct context *context, uint32_t bytes)
{
	uint8_t used[16] = { 0 };
	int r = update(call, context, used, bytes, used);

	OPENSSL_cleanse(used, sizeof(used));
	return r;
}

static int one_message(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher, struct context *context)
{
	const struct vaccel_plugin_arg *arg = call->args;
	int r = set_iv(call, context);

	if (r == 0 && cipher->skip)
		r = skip(call, context, cipher->skip);
	if (r == 0)
		r = update(call, context, arg[AAD].data, arg[AAD].len, NULL);
	if (r == 0)
		r = update(call, context, arg[SOURCE].data, arg[SOURCE].len, arg[DESTINATION].data);
	if (r == 0)
		r = finish(call, context);
	/* What did not pass its check is nobody's to read. */
	if (r < 0 && cipher->mode == VACCEL_GCM && arg[DESTINATION].len)
		memset(arg[DESTINATION].data, 0, arg[DESTINATION].len);
	return r;
}

int cipher_run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	struct context *context = NULL;
	int r;

	if (cipher->stream)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "a message comes in one request");
	r = context_take(call, cipher, &context);
	if (r < 0)
		return r;
	r = one_message(call, cipher, context);
	/* A context that failed is not trusted with the next message. */
	if (r < 0 && r != -EKEYREJECTED)
		context_free(context);
	else
		context_give(context);
	return r;
}
