/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AKCIPHER: RSA. Source and digest are copied first, and results written last: what a guest changes meanwhile changes
 * nothing. libcrypto blinds what it does with private keys.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include "openssl.h"

enum { AK_SOURCE, AK_DESTINATION, AK_ANSWER }; /* arguments of AKCIPHER */

static const struct {
	uint32_t hash;
	size_t len;
	const char *name;
} hashes[] = {
	{ VACCEL_RSA_MD5, 16, "MD5" },	       { VACCEL_RSA_SHA1, 20, "SHA1" },
	{ VACCEL_RSA_SHA224, 28, "SHA2-224" }, { VACCEL_RSA_SHA256, 32, "SHA2-256" },
	{ VACCEL_RSA_SHA384, 48, "SHA2-384" }, { VACCEL_RSA_SHA512, 64, "SHA2-512" },
};
static EVP_MD *digests[ARRAY_SIZE(hashes)];

/* One operation, as it runs. */
struct work {
	const struct vaccel_plugin_call *call;
	const struct vaccel_akcipher *params;
	EVP_PKEY_CTX *context;
	size_t size; /* of the modulus, in bytes */
	uint8_t source[VACCEL_KEY_BYTES];
	size_t source_len;
	uint8_t result[VACCEL_KEY_BYTES]; /* of VERIFY: the digest that is wanted */
	size_t result_len;
};

int rsa_init(struct vaccel_plugin_report *report)
{
	for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
		digests[i] = EVP_MD_fetch(crypto_library, hashes[i].name, NULL);
		if (!digests[i])
			return crypto_error(report, -ENOTSUP, hashes[i].name);
	}
	return 0;
}

void rsa_fini(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
		EVP_MD_free(digests[i]);
		digests[i] = NULL;
	}
	rsa_keys_fini();
}

static bool signs(const struct work *w)
{
	return w->params->operation == VACCEL_AK_SIGN || w->params->operation == VACCEL_AK_VERIFY;
}

static int set_hash(const struct work *w)
{
	size_t len = w->params->operation == VACCEL_AK_SIGN ? w->source_len : w->result_len;

	for (size_t i = 0; i < ARRAY_SIZE(hashes); i++) {
		if (hashes[i].hash != w->params->hash)
			continue;
		if (len != hashes[i].len)
			return vaccel_plugin_error(&w->call->report, -EINVAL, "%s has %zu bytes, the digest %zu",
						   hashes[i].name, hashes[i].len, len);
		if (EVP_PKEY_CTX_set_signature_md(w->context, digests[i]) <= 0)
			return crypto_error(&w->call->report, -EINVAL, hashes[i].name);
	}
	return 0;
}

static int prepare(const struct work *w, int (*init)(EVP_PKEY_CTX *context))
{
	bool raw = w->params->padding == VACCEL_RSA_RAW;

	if (init(w->context) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_padding(w->context, raw ? RSA_NO_PADDING : RSA_PKCS1_PADDING) <= 0)
		return crypto_error(&w->call->report, -EINVAL, "the operation cannot begin");
	return signs(w) && !raw ? set_hash(w) : 0;
}

/* ---- operations ---- */

/* ENCRYPT, DECRYPT and SIGN are alike. */
static int transform(struct work *w, int (*init)(EVP_PKEY_CTX *context),
		     int (*act)(EVP_PKEY_CTX *context, uint8_t *out, size_t *out_len, const uint8_t *in, size_t in_len),
		     int error, const char *action)
{
	int r = prepare(w, init);

	if (r < 0)
		return r;
	w->result_len = sizeof(w->result);
	if (act(w->context, w->result, &w->result_len, w->source, w->source_len) <= 0)
		return crypto_error(&w->call->report, error, action);
	return 0;
}

static int encrypt(struct work *w)
{
	return transform(w, EVP_PKEY_encrypt_init, EVP_PKEY_encrypt, -EINVAL, "cannot encrypt");
}

static int decrypt(struct work *w)
{
	int error = w->params->padding == VACCEL_RSA_RAW ? -EINVAL : -EKEYREJECTED;

	return transform(w, EVP_PKEY_decrypt_init, EVP_PKEY_decrypt, error, "cannot decrypt");
}

static int sign(struct work *w)
{
	return transform(w, EVP_PKEY_sign_init, EVP_PKEY_sign, -EINVAL, "cannot sign");
}

static bool raw_fits(struct work *w)
{
	uint8_t found[VACCEL_KEY_BYTES];
	size_t len = sizeof(found);

	return EVP_PKEY_verify_recover(w->context, found, &len, w->source, w->source_len) > 0 && len == w->result_len &&
	       !CRYPTO_memcmp(found, w->result, len);
}

static int verify(struct work *w)
{
	bool raw = w->params->padding == VACCEL_RSA_RAW, fits;
	int r;

	w->result_len = w->call->args[AK_DESTINATION].len;
	if (w->result_len)
		memcpy(w->result, w->call->args[AK_DESTINATION].data, w->result_len);
	r = prepare(w, raw ? EVP_PKEY_verify_recover_init : EVP_PKEY_verify_init);
	if (r < 0)
		return r;
	fits = raw ? raw_fits(w) : EVP_PKEY_verify(w->context, w->source, w->source_len, w->result, w->result_len) == 1;
	w->result_len = 0;
	ERR_clear_error();
	return fits ? 0 : vaccel_plugin_error(&w->call->report, -EKEYREJECTED, "the signature does not fit the digest");
}

/* ---- a request ---- */

/* Without padding the source is a number, which may be written in fewer bytes. OpenSSL wants them all. */
static void fill_up(struct work *w)
{
	size_t missing = w->size > w->source_len ? w->size - w->source_len : 0;

	if (w->params->padding != VACCEL_RSA_RAW || w->params->operation == VACCEL_AK_VERIFY)
		return;
	memmove(w->source + missing, w->source, w->source_len);
	memset(w->source, 0, missing);
	w->source_len += missing;
}

/* What the op table cannot know: it has not seen the key. */
static int check_lengths(const struct work *w)
{
	size_t room = w->call->args[AK_DESTINATION].len;
	bool whole = w->params->padding == VACCEL_RSA_RAW || w->params->operation == VACCEL_AK_DECRYPT ||
		     w->params->operation == VACCEL_AK_VERIFY;

	if (whole && w->source_len != w->size)
		return vaccel_plugin_error(&w->call->report, -ERANGE, "source of %zu bytes, the modulus has %zu",
					   w->source_len, w->size);
	if (w->params->operation == VACCEL_AK_VERIFY ||
	    (w->params->operation == VACCEL_AK_DECRYPT && w->params->padding != VACCEL_RSA_RAW))
		return 0;
	if (room < w->size)
		return vaccel_plugin_error(&w->call->report, -ERANGE, "destination of %zu bytes, the modulus has %zu",
					   room, w->size);
	return 0;
}

static int answer(const struct work *w)
{
	const struct vaccel_plugin_arg *destination = &w->call->args[AK_DESTINATION];
	const struct vaccel_akcipher_answer answer = { .len = htole32((uint32_t)w->result_len) };

	if (w->result_len > destination->len)
		return vaccel_plugin_error(&w->call->report, -ERANGE, "destination of %zu bytes, the result has %zu",
					   destination->len, w->result_len);
	if (w->result_len)
		memcpy(destination->data, w->result, w->result_len);
	memcpy(w->call->args[AK_ANSWER].data, &answer, sizeof(answer));
	return 0;
}

static int run(struct work *w, EVP_PKEY *key)
{
	static int (*const operations[])(struct work * w) = {
		[VACCEL_AK_ENCRYPT] = encrypt,
		[VACCEL_AK_DECRYPT] = decrypt,
		[VACCEL_AK_SIGN] = sign,
		[VACCEL_AK_VERIFY] = verify,
	};
	int r;

	w->size = (size_t)EVP_PKEY_get_size(key);
	fill_up(w);
	r = check_lengths(w);
	if (r < 0)
		return r;
	w->context = EVP_PKEY_CTX_new_from_pkey(crypto_library, key, NULL);
	if (!w->context)
		return crypto_error(&w->call->report, -ENOMEM, "no memory for the operation");
	r = operations[w->params->operation](w);
	EVP_PKEY_CTX_free(w->context);
	return r == 0 ? answer(w) : r;
}

int akcipher_run(const struct vaccel_plugin_call *call)
{
	struct work w = { .call = call, .params = call->params, .source_len = call->args[AK_SOURCE].len };
	EVP_PKEY *key = NULL;
	int r = rsa_key_get(call, &key);

	if (r < 0)
		return r;
	if (w.source_len > sizeof(w.source) || call->args[AK_DESTINATION].len > sizeof(w.result))
		return vaccel_plugin_error(&call->report, -ERANGE, "source of %zu bytes, destination of %zu",
					   w.source_len, call->args[AK_DESTINATION].len);
	memcpy(w.source, call->args[AK_SOURCE].data, w.source_len);
	r = run(&w, key);
	OPENSSL_cleanse(&w, sizeof(w));
	/* Random numbers have left something with this thread, which may outlive the plugin. */
	OPENSSL_thread_stop_ex(crypto_library);
	return r;
}
