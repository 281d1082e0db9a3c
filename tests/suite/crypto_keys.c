/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto.h: what keys are, who may use them and for what, the host's own, and RSA. */
#include "crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RSA_BYTES 128

/* A message with a key by its number, in any session. */
static int by_number(struct way *way, struct vaccel_session *session, uint64_t id)
{
	struct vaccel_cipher params = { .key = id,
					.mode = VACCEL_CTR,
					.direction = VACCEL_ENCRYPT,
					.flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END };
	unsigned char source[20] = { 0 }, destination[20];
	struct vaccel_arg args[] = {
		{ (void *)crypto_iv, 16, VACCEL_IN, 0 }, { NULL, 0, VACCEL_IN, 0 }, { source, 20, VACCEL_IN, 0 },
		{ destination, 20, VACCEL_OUT, 0 },	 { NULL, 0, VACCEL_IN, 0 },
	};
	struct vaccel_call call = { .size = sizeof(call),
				    .op = VACCEL_OP_CIPHER,
				    .params = &params,
				    .params_len = sizeof(params),
				    .args = args,
				    .n_args = COUNT(args) };

	return way_call(way, session, &call);
}

static int free_by_number(struct way *way, struct vaccel_session *session, uint64_t id)
{
	struct vaccel_key_free params = { .key = id };
	struct vaccel_call call = {
		.size = sizeof(call), .op = VACCEL_OP_KEY_FREE, .params = &params, .params_len = sizeof(params)
	};

	return way_call(way, session, &call);
}

/* ---- What a key is ---- */

static bool about(struct way *way, char *detail, size_t len)
{
	struct vaccel_key *key;
	const struct vaccel_key_about *a;
	bool ok;
	int r = crypto_import(way, 1u << VACCEL_CBC | 1u << VACCEL_GCM, VACCEL_MAY_DECRYPT, 24, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	a = vaccel_key_about(key);
	ok = a->id && a->type == VACCEL_KEY_AES && a->bits == 192 &&
	     a->modes == (1u << VACCEL_CBC | 1u << VACCEL_GCM) && a->rights == VACCEL_MAY_DECRYPT && !a->held &&
	     !a->reserved;
	r = vaccel_key_free(key);
	if (r < 0)
		return model_failed(r, detail, len);
	return ok ? true : wrong(detail, len, "the key is said to be another");
}

/* A key serves in the modes and for what it was meant, and only if it has the length for it. */
static bool rights(struct way *way, char *detail, size_t len)
{
	static const struct {
		uint32_t modes, rights;
		size_t key_len;
		size_t mode; /* index */
		uint32_t direction;
		int code;
		const char *words;
	} rows[] = {
		{ 0, VACCEL_MAY_ENCRYPT, 16, 1, VACCEL_ENCRYPT, 0, "" },
		{ 0, VACCEL_MAY_ENCRYPT, 16, 1, VACCEL_DECRYPT, -EPERM, "may not decrypt" },
		{ 0, VACCEL_MAY_DECRYPT, 16, 1, VACCEL_DECRYPT, 0, "" },
		{ 0, VACCEL_MAY_DECRYPT, 16, 1, VACCEL_ENCRYPT, -EPERM, "may not encrypt" },
		{ 0, VACCEL_MAY_SIGN | VACCEL_MAY_VERIFY, 16, 1, VACCEL_ENCRYPT, -EPERM, "may not encrypt" },
		{ 1u << VACCEL_CBC, CRYPTO_BOTH, 16, 1, VACCEL_ENCRYPT, 0, "" },
		{ 1u << VACCEL_CBC, CRYPTO_BOTH, 16, 2, VACCEL_ENCRYPT, -EPERM, "not for mode ctr" },
		{ 1u << VACCEL_CTR | 1u << VACCEL_ECB, CRYPTO_BOTH, 32, 0, VACCEL_DECRYPT, 0, "" },
		{ 0, CRYPTO_BOTH, 64, 1, VACCEL_ENCRYPT, -EINVAL, "cbc takes no key of 512 bits" },
		{ 0, CRYPTO_BOTH, 24, 3, VACCEL_ENCRYPT, -EINVAL, "xts takes no key of 192 bits" },
		{ 0, CRYPTO_BOTH, 32, 3, VACCEL_ENCRYPT, 0, "" },
		{ 0, CRYPTO_BOTH, 32, 2, VACCEL_ENCRYPT, 0, "" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned char *source, *destination;
		struct vaccel_message message;
		struct vaccel_key *key;
		bool ok;
		int r = crypto_import(way, rows[i].modes, rows[i].rights, rows[i].key_len, &key);

		if (r < 0)
			return model_failed(r, detail, len);
		way_reset(way);
		source = way_take(way, 32);
		destination = way_take(way, 32);
		message = crypto_message(&crypto_modes[rows[i].mode], rows[i].direction, source, destination, 32, NULL);
		r = way_cipher(way, key, &message);
		ok = rows[i].code ? model_is_error(r, rows[i].code, rows[i].words, detail, len)
				  : r == 0 || model_failed(r, detail, len);
		vaccel_key_free(key);
		if (!ok)
			return false;
	}
	return true;
}

/* ---- Whose a key is, and how long ---- */

static bool lifetime(struct way *way, char *detail, size_t len)
{
	struct vaccel_session *session = way->suite->session, *other = NULL;
	struct vaccel_key *key, *again;
	uint64_t id, foreign;
	bool ok;
	int r = crypto_import(way, 0, CRYPTO_BOTH, 16, &key);

	if (r == 0)
		r = vaccel_session_open(way->suite->context, &other);
	if (r < 0)
		return model_failed(r, detail, len);
	id = vaccel_key_about(key)->id;
	/* Another session cannot use it, and cannot free it. */
	ok = model_is_error(by_number(way, other, id), -ENOENT, "another session", detail, len) &&
	     model_is_error(free_by_number(way, other, id), -ENOENT, "another session", detail, len);
	r = by_number(way, session, id);
	if (ok && r < 0)
		ok = model_failed(r, detail, len);
	/* When it was freed nobody can, not even when another has its place. */
	r = vaccel_key_free(key);
	if (r == 0)
		r = crypto_import(way, 0, CRYPTO_BOTH, 16, &again);
	if (r < 0)
		return model_failed(r, detail, len);
	ok = ok && model_is_error(by_number(way, session, id), -ESTALE, "key", detail, len) &&
	     model_is_error(free_by_number(way, session, id), -ESTALE, "key", detail, len);
	vaccel_key_free(again);
	/* Nor after its session. */
	r = vaccel_key_import(other, VACCEL_KEY_AES, 0, CRYPTO_BOTH, crypto_key, 16, &key);
	foreign = r < 0 ? 0 : vaccel_key_about(key)->id;
	if (vaccel_session_close(other) < 0 || r < 0)
		return wrong(detail, len, "a session with a key: %s", vaccel_error());
	/* It may still be closing, as another session. */
	r = by_number(way, session, foreign);
	ok = ok && model_is_error(r, r == -ENOENT ? r : -ESTALE, "key", detail, len);
	return ok && model_is_error(by_number(way, session, 0), -ENOENT, "key", detail, len) &&
	       model_is_error(by_number(way, session, UINT64_MAX), -ENOENT, "key", detail, len);
}

/* As many as there may be, and what is freed makes room. */
static bool too_many(struct way *way, char *detail, size_t len)
{
	struct vaccel_key *keys[1200];
	size_t n = 0;
	int r = 0;
	bool ok;

	while (r == 0 && n < COUNT(keys)) {
		r = crypto_import(way, 0, CRYPTO_BOTH, 16, &keys[n]);
		n += r == 0;
	}
	ok = model_is_error(r, -EDQUOT, "keys", detail, len);
	while (n) {
		r = vaccel_key_free(keys[--n]);
		if (r < 0 && ok)
			ok = model_failed(r, detail, len);
	}
	r = crypto_import(way, 0, CRYPTO_BOTH, 16, &keys[0]);
	if (r < 0)
		return model_failed(r, detail, len);
	vaccel_key_free(keys[0]);
	return ok;
}

/* A stream outlives its key and its session, but not to any use. */
static bool orphans(struct way *way, char *detail, size_t len)
{
	struct vaccel_stream_options options = {
		.size = sizeof(options), .mode = VACCEL_GCM, .direction = VACCEL_DECRYPT, .iv = crypto_iv, .iv_len = 12
	};
	unsigned char *data = way_take(way, 100);
	struct vaccel_stream *begun = NULL, *fresh = NULL;
	struct vaccel_session *session;
	struct vaccel_key *key;
	size_t n = 0;
	bool ok = true;
	int r = vaccel_session_open(way->suite->context, &session);

	if (r < 0)
		return model_failed(r, detail, len);
	for (int turn = 0; ok && turn < 2; turn++) {
		r = vaccel_key_import(session, VACCEL_KEY_AES, 0, CRYPTO_BOTH, crypto_key, 16, &key);
		if (r == 0)
			r = vaccel_stream_new(key, &options, &fresh);
		if (r == 0)
			r = vaccel_stream_new(key, &options, &begun);
		if (r == 0)
			r = vaccel_stream_update(begun, data, 20, data, 20, &n);
		if (r < 0)
			return model_failed(r, detail, len);
		r = turn ? vaccel_session_close(session) : vaccel_key_free(key);
		ok = (r == 0 || model_failed(r, detail, len)) &&
		     model_is_error(vaccel_stream_update(begun, data, 20, data, 20, &n), -ESTALE, "key", detail, len) &&
		     model_is_error(vaccel_stream_final(fresh, NULL, 0, data, 16, NULL), -ESTALE, "key", detail, len);
		vaccel_stream_free(begun);
		vaccel_stream_free(fresh);
	}
	return ok;
}

/* ---- Keys of the host's ---- */

/* The configuration has crypto_key in pieces under these names, see held. */
static const struct held {
	const char *name;
	size_t mode; /* index */
	uint32_t rights;
	size_t key_len;
} held_keys[] = {
	{ "suite-both", 1, CRYPTO_BOTH, 16 },
	{ "suite-inward", 1, VACCEL_MAY_ENCRYPT, 32 },
	{ "suite-outward", 4, VACCEL_MAY_DECRYPT, 16 },
	{ "suite-disk", 3, CRYPTO_BOTH, 64 },
};

/* It does what the same bytes do when they are imported, or is refused. */
static bool use_held(struct way *way, struct vaccel_key *key, const struct held *held, uint32_t direction, char *detail,
		     size_t len)
{
	const struct crypto_mode *mode = &crypto_modes[held->mode];
	uint32_t right = direction == VACCEL_ENCRYPT ? VACCEL_MAY_ENCRYPT : VACCEL_MAY_DECRYPT;
	unsigned char *source, *want, *got, tag[16] = { 0 };
	struct vaccel_message message;
	struct vaccel_key *same;
	int r = crypto_import(way, 0, CRYPTO_BOTH, held->key_len, &same);

	if (r < 0)
		return model_failed(r, detail, len);
	way_reset(way);
	source = way_take(way, 512);
	want = way_take(way, 512);
	got = way_take(way, 512);
	/* What a tag is of has to be made first. */
	message = crypto_message(mode, VACCEL_ENCRYPT, source, want, 512, tag);
	r = way_cipher(way, same, &message);
	if (r == 0 && direction == VACCEL_DECRYPT) {
		memcpy(source, want, 512);
		message = crypto_message(mode, direction, source, want, 512, tag);
		r = way_cipher(way, same, &message);
	}
	vaccel_key_free(same);
	if (r < 0)
		return model_failed(r, detail, len);
	message = crypto_message(mode, direction, source, got, 512, tag);
	r = way_cipher(way, key, &message);
	if (!(held->rights & right))
		return model_is_error(r, -EPERM, "may not", detail, len);
	if (r < 0)
		return model_failed(r, detail, len);
	return memcmp(want, got, 512) == 0 ? true : wrong(detail, len, "another result than with the key's bytes");
}

/* Of a tag that does not fit, whoever may only decrypt learns nothing. */
static bool held_gives_nothing(struct way *way, struct vaccel_key *key, char *detail, size_t len)
{
	unsigned char *source = way_take(way, 64), *out = way_take(way, 64), tag[16] = { 1 };
	struct vaccel_message message = crypto_message(&crypto_modes[4], VACCEL_DECRYPT, source, out, 64, tag);

	if (!model_is_error(way_cipher(way, key, &message), -EKEYREJECTED, "tag", detail, len))
		return false;
	for (size_t i = 0; i < 64; i++)
		if (out[i])
			return wrong(detail, len, "something was given out before the tag was known to fit");
	return true;
}

static bool held(struct way *way, char *detail, size_t len)
{
	struct vaccel_key *key;

	for (size_t i = 0; i < COUNT(held_keys); i++) {
		const struct held *h = &held_keys[i];
		const struct vaccel_key_about *a;
		char why[300] = "";
		bool ok;
		int r = vaccel_key_open(way->suite->session, h->name, &key);

		if (r < 0)
			return model_failed(r, detail, len);
		a = vaccel_key_about(key);
		ok = (a->held && a->type == VACCEL_KEY_AES && a->rights == h->rights && a->bits == h->key_len * 8 &&
		      a->modes == 1u << crypto_modes[h->mode].mode) ||
		     wrong(why, sizeof(why), "said to be another");
		ok = ok && use_held(way, key, h, VACCEL_ENCRYPT, why, sizeof(why)) &&
		     use_held(way, key, h, VACCEL_DECRYPT, why, sizeof(why)) &&
		     (h->mode != 4 || held_gives_nothing(way, key, why, sizeof(why)));
		r = vaccel_key_free(key);
		if (!ok || r < 0)
			return wrong(detail, len, "key %s: %s", h->name, ok ? vaccel_error() : why);
	}
	return model_is_error(vaccel_key_open(way->suite->session, "suite-absent", &key), -ENOENT, "suite-absent",
			      detail, len);
}

/* ---- RSA ---- */

struct rsa_keys {
	struct vaccel_key *private, *public;
};

static int rsa_open(struct way *way, struct rsa_keys *keys)
{
	int r = vaccel_key_import(way->suite->session, VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_MAY_ALL, rsa_private,
				  rsa_private_len, &keys->private);

	return r < 0 ? r
		     : vaccel_key_import(way->suite->session, VACCEL_KEY_RSA_PUBLIC, 0, VACCEL_MAY_ALL, rsa_public,
					 rsa_public_len, &keys->public);
}

static void rsa_close(struct rsa_keys *keys)
{
	vaccel_key_free(keys->private);
	vaccel_key_free(keys->public);
}

/* What the public key encrypts, the private one decrypts. */
static bool rsa_secret(struct way *way, struct rsa_keys *keys, enum vaccel_rsa_padding padding, char *detail,
		       size_t len)
{
	size_t n = padding == VACCEL_RSA_RAW ? RSA_BYTES : 37;
	unsigned char *source, *secret, *back;
	int r;

	way_reset(way);
	source = way_take(way, n);
	secret = way_take(way, RSA_BYTES);
	back = way_take(way, RSA_BYTES);
	/* Below the modulus. */
	for (size_t i = 1; i < n; i++)
		source[i] = (unsigned char)(i * 3);
	r = vaccel_akcipher(keys->public, VACCEL_AK_ENCRYPT, padding, VACCEL_RSA_NO_HASH, source, n, secret, RSA_BYTES);
	if (r >= 0 && r != RSA_BYTES)
		return wrong(detail, len, "encrypting wrote %d bytes", r);
	if (r >= 0)
		r = vaccel_akcipher(keys->private, VACCEL_AK_DECRYPT, padding, VACCEL_RSA_NO_HASH, secret, RSA_BYTES,
				    back, RSA_BYTES);
	if (r < 0)
		return model_failed(r, detail, len);
	return (size_t)r == n && !memcmp(source, back, n) ? true : wrong(detail, len, "%d other bytes came back", r);
}

/* What the private key signs, the public one verifies, and nothing else. */
static bool rsa_signature(struct way *way, struct rsa_keys *keys, char *detail, size_t len)
{
	static const struct {
		enum vaccel_rsa_hash hash;
		size_t digest;
	} rows[] = { { VACCEL_RSA_SHA1, 20 }, { VACCEL_RSA_SHA256, 32 }, { VACCEL_RSA_SHA512, 64 } };

	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned char *digest, *signature;
		int r;

		way_reset(way);
		digest = way_take(way, rows[i].digest);
		signature = way_take(way, RSA_BYTES);
		r = vaccel_akcipher(keys->private, VACCEL_AK_SIGN, VACCEL_RSA_PKCS1, rows[i].hash, digest,
				    rows[i].digest, signature, RSA_BYTES);
		if (r == RSA_BYTES)
			r = vaccel_akcipher(keys->public, VACCEL_AK_VERIFY, VACCEL_RSA_PKCS1, rows[i].hash, signature,
					    RSA_BYTES, digest, rows[i].digest);
		if (r < 0)
			return model_failed(r, detail, len);
		if (r)
			return wrong(detail, len, "hash %d: %d bytes", (int)rows[i].hash, r);
		digest[3] = 1;
		r = vaccel_akcipher(keys->public, VACCEL_AK_VERIFY, VACCEL_RSA_PKCS1, rows[i].hash, signature,
				    RSA_BYTES, digest, rows[i].digest);
		if (!model_is_error(r, -EKEYREJECTED, "signature", detail, len))
			return false;
	}
	return true;
}

static bool rsa(struct way *way, char *detail, size_t len)
{
	struct rsa_keys keys = { NULL, NULL };
	bool ok;
	int r = rsa_open(way, &keys);

	if (r < 0)
		return model_failed(r, detail, len);
	ok = vaccel_key_about(keys.private)->bits == 8 * RSA_BYTES &&
	     vaccel_key_about(keys.public)->bits == 8 * RSA_BYTES;
	if (!ok)
		wrong(detail, len, "the keys are said to have other sizes");
	ok = ok && rsa_secret(way, &keys, VACCEL_RSA_PKCS1, detail, len) &&
	     rsa_secret(way, &keys, VACCEL_RSA_RAW, detail, len) && rsa_signature(way, &keys, detail, len);
	rsa_close(&keys);
	return ok;
}

static int rsa_use(struct vaccel_key *key, enum vaccel_akcipher_operation operation)
{
	unsigned char source[RSA_BYTES] = { 0 }, destination[RSA_BYTES] = { 0 };
	bool signs = operation == VACCEL_AK_SIGN;

	return vaccel_akcipher(key, operation, VACCEL_RSA_PKCS1, operation >= VACCEL_AK_SIGN ? VACCEL_RSA_SHA256 : 0,
			       source,
			       signs				? 32
			       : operation == VACCEL_AK_ENCRYPT ? 20
								: RSA_BYTES,
			       destination, operation == VACCEL_AK_VERIFY ? 32 : RSA_BYTES);
}

/* Every operation has a right, and two need the private key. */
static bool rsa_rights(struct way *way, char *detail, size_t len)
{
	static const uint32_t needed[] = { [VACCEL_AK_ENCRYPT] = VACCEL_MAY_ENCRYPT,
					   [VACCEL_AK_DECRYPT] = VACCEL_MAY_DECRYPT,
					   [VACCEL_AK_SIGN] = VACCEL_MAY_SIGN,
					   [VACCEL_AK_VERIFY] = VACCEL_MAY_VERIFY };
	struct rsa_keys keys = { NULL, NULL };
	struct vaccel_key *aes = NULL;
	bool ok = true;
	int r;

	for (uint32_t op = VACCEL_AK_ENCRYPT; ok && op <= VACCEL_AK_VERIFY; op++) {
		struct vaccel_key *key;

		r = vaccel_key_import(way->suite->session, VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_MAY_ALL & ~needed[op],
				      rsa_private, rsa_private_len, &key);
		if (r < 0)
			return model_failed(r, detail, len);
		ok = model_is_error(rsa_use(key, op), -EPERM, "may not", detail, len);
		vaccel_key_free(key);
	}
	r = rsa_open(way, &keys);
	if (r == 0)
		r = crypto_import(way, 0, CRYPTO_BOTH, 16, &aes);
	if (r < 0)
		return model_failed(r, detail, len);
	ok = ok && model_is_error(rsa_use(keys.public, VACCEL_AK_DECRYPT), -EINVAL, "a private", detail, len) &&
	     model_is_error(rsa_use(keys.public, VACCEL_AK_SIGN), -EINVAL, "a private", detail, len) &&
	     model_is_error(rsa_use(aes, VACCEL_AK_ENCRYPT), -EINVAL, "key of RSA", detail, len) &&
	     model_is_error(by_number(way, way->suite->session, vaccel_key_about(keys.private)->id), -EINVAL,
			    "not one of AES", detail, len);
	vaccel_key_free(aes);
	rsa_close(&keys);
	return ok;
}

const struct crypto_test crypto_key_tests[] = {
	{ "what a key is", about },
	{ "rights and modes", rights },
	{ "keys of others, and freed", lifetime },
	{ "too many keys", too_many },
	{ "streams without a key", orphans },
	{ "keys of the host", held },
	{ "RSA", rsa },
	{ "RSA, rights", rsa_rights },
	{ 0 },
};
