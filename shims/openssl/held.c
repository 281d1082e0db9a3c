/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the host holds.
 *
 * A context of one is the key's name and a stream of the library's, which chains, pads and cuts up. Nothing is computed
 * here, for the key is not here: what the host refuses or cannot do is an error, with its sentence.
 *
 * How an unchanged program gets at one: each key that the configuration names is an algorithm of its own, `vaccel-NAME`,
 * with a key length of 0, so that whatever is passed as a key is not looked at, and no program has to make one up. It is not
 * a second implementation of AES-256-CBC, though OpenSSL would let it be one, told apart by properties: a query that happens
 * to match both would silently use another key than the program's. Nor is it a key of a store: OpenSSL 3.0 has no symmetric
 * ones. Programs that are written for it may set the parameter "vaccel-key" of an AES context of the provider's.
 *
 * GCM with a key that may only decrypt: the host gives out nothing before the tag has been checked, so that the message is
 * one update, and its tag has to be set before.
 */
#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "provider.h"

#define GCM_IV_BYTES  12u	  /* of IVs that are made here, and by default */
#define MAX_AAD_BYTES (64u << 10) /* of a message in one piece */

enum held_state {
	HELD_NEW,  /* no data yet */
	HELD_FED,  /* the stream has some */
	HELD_DONE, /* over, or failed: needs an init */
};

struct held {
	struct provider *provider;
	struct host_key *key;
	char name[VACCEL_KEY_NAME];
	uint32_t mode, bits;
	enum held_state state;
	bool encrypt;
	bool padding;
	bool iv_set;
	size_t iv_len;
	uint8_t iv[MAX_IV_BYTES];
	struct vaccel_stream *stream;
	uint8_t tag[MAX_TAG_BYTES];
	size_t tag_len; /* 0: none */
	bool guarded;	/* GCM, and may only decrypt: a message is one request */
	bool checked;	/* it was, and its tag fits */
	uint8_t *aad;	/* of it */
	size_t aad_len;
};

/* ---- Life ---- */

static bool is_gcm(const struct held *held)
{
	return held->mode == VACCEL_GCM;
}

/* Whether an opened key is one that the context is for. */
static bool fits(const struct held *held, const struct host_key *key)
{
	const struct vaccel_key_about *about = host_key_about(key);

	return about->type == VACCEL_KEY_AES && about->bits == held->bits && about->modes == 1u << held->mode &&
	       about->held;
}

/* The key at the host, opened again where the one that there was has gone with a daemon or is a parent's. */
static int key_ready(struct held *held)
{
	struct host_key *key;

	if (host_key_handle(held->key))
		return 1;
	host_key_unref(held->key);
	held->key = NULL;
	if (host_key_open(held->provider->host, held->name, &key) < 0)
		return ERR_raise_data(ERR_LIB_PROV, PROV_R_MISSING_KEY, "vaccel: %s", host_error()), 0;
	if (!fits(held, key)) {
		host_key_unref(key);
		return ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_KEY, "vaccel: key %s is not for this cipher",
				      held->name),
		       0;
	}
	held->key = key;
	held->guarded = is_gcm(held) && !(host_key_about(key)->rights & VACCEL_MAY_ENCRYPT);
	return 1;
}

struct held *held_new(struct provider *provider, const char *name, uint32_t mode, uint32_t bits)
{
	struct held *held = OPENSSL_zalloc(sizeof(*held));

	if (!held)
		return NULL;
	held->provider = provider;
	held->mode = mode;
	held->bits = bits;
	held->padding = true;
	held->iv_len = mode == VACCEL_ECB ? 0 : mode == VACCEL_GCM ? GCM_IV_BYTES : AES_BLOCK;
	if (strlen(name) >= sizeof(held->name)) {
		ERR_raise_data(ERR_LIB_PROV, PROV_R_MISSING_KEY, "vaccel: key %s: no name is that long", name);
	} else {
		strcpy(held->name, name);
		if (key_ready(held))
			return held;
	}
	held_free(held);
	return NULL;
}

static void forget_message(struct held *held)
{
	vaccel_stream_free(held->stream);
	held->stream = NULL;
	OPENSSL_free(held->aad);
	held->aad = NULL;
	held->aad_len = 0;
	held->checked = false;
}

void held_free(void *opaque)
{
	struct held *held = opaque;

	if (!held)
		return;
	forget_message(held);
	host_key_unref(held->key);
	OPENSSL_clear_free(held, sizeof(*held));
}

void *held_dup(void *opaque)
{
	const struct held *held = opaque;
	struct held *copy = OPENSSL_memdup(held, sizeof(*held));

	if (!copy)
		return NULL;
	host_key_ref(copy->key);
	copy->stream = NULL;
	copy->aad = NULL;
	if (held->aad)
		copy->aad = OPENSSL_memdup(held->aad, held->aad_len);
	if (held->aad && !copy->aad)
		(void)raise_reason(ERR_R_MALLOC_FAILURE);
	else if (held->stream && vaccel_stream_dup(held->stream, &copy->stream) < 0)
		(void)host_raise(PROV_R_NOT_SUPPORTED);
	else
		return copy;
	held_free(copy);
	return NULL;
}

/* A counter, or an IV of GCM, is never used twice; CBC begins again with the same, as OpenSSL's does. */
static bool iv_is_spent(const struct held *held)
{
	return held->state != HELD_NEW && (held->mode == VACCEL_CTR || is_gcm(held));
}

int held_init(struct held *held, bool encrypt, const unsigned char *iv, size_t iv_len, const OSSL_PARAM *params)
{
	if (params && !held_set_params(held, params))
		return 0;
	held->iv_set &= !iv_is_spent(held);
	forget_message(held);
	held->state = HELD_NEW;
	held->encrypt = encrypt;
	if (!iv || !held->iv_len)
		return 1;
	if (is_gcm(held) ? !iv_len || iv_len > MAX_IV_BYTES : iv_len != held->iv_len)
		return raise_reason(PROV_R_INVALID_IV_LENGTH);
	memcpy(held->iv, iv, iv_len);
	held->iv_len = iv_len;
	held->iv_set = true;
	return 1;
}

bool held_iv(const struct held *held, unsigned char *iv)
{
	if (!held->iv_set || iv_is_spent(held))
		return false;
	memcpy(iv, held->iv, held->iv_len);
	return true;
}

/* ---- A message ---- */

static int iv_ready(struct held *held)
{
	if (held->iv_set || !held->iv_len)
		return 1;
	if (!is_gcm(held) || !held->encrypt || held->iv_len < GCM_IV_BYTES)
		return raise_reason(PROV_R_INVALID_IV_LENGTH);
	if (RAND_bytes_ex(held->provider->library, held->iv, held->iv_len, 0) <= 0)
		return 0;
	held->iv_set = true;
	return 1;
}

static bool in_one_piece(const struct held *held)
{
	return held->guarded && !held->encrypt;
}

static struct vaccel_message whole_message(const struct held *held, unsigned char *out, const unsigned char *in,
					   size_t len)
{
	return (struct vaccel_message){
		.size = sizeof(struct vaccel_message),
		.mode = held->mode,
		.direction = held->encrypt ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.iv = held->iv_len ? held->iv : NULL,
		.iv_len = held->iv_len,
		.aad = held->aad,
		.aad_len = held->aad_len,
		.source = in,
		.destination = out,
		.len = len,
	};
}

/* The context needs an init. */
static int over(struct held *held)
{
	forget_message(held);
	held->state = HELD_DONE;
	return 0;
}

/* The same for a request that failed: the library's sentence is told. */
static int failed(struct held *held, int error)
{
	int reason = PROV_R_CIPHER_OPERATION_FAILED;

	if (error == -EBADMSG)
		reason = PROV_R_BAD_DECRYPT;
	else if (error == -EINVAL)
		reason = PROV_R_WRONG_FINAL_BLOCK_LENGTH;
	else if (error == -EKEYREJECTED)
		reason = PROV_R_INVALID_TAG;
	(void)host_raise(reason);
	if (held->key)
		host_key_failed(held->key, error);
	return over(held);
}

/* Makes the stream with which a message begins. */
static int stream_ready(struct held *held, bool padding)
{
	struct vaccel_stream_options options = {
		.size = sizeof(options),
		.mode = held->mode,
		.direction = held->encrypt ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.iv = held->iv_len ? held->iv : NULL,
		.iv_len = held->iv_len,
		.padding = padding && (held->mode == VACCEL_ECB || held->mode == VACCEL_CBC),
	};
	int r;

	if (held->stream)
		return 1;
	if (held->state == HELD_DONE)
		return raise_reason(PROV_R_INVALID_STATE);
	if (!iv_ready(held))
		return 0;
	if (!key_ready(held))
		return over(held);
	r = vaccel_stream_new(host_key_handle(held->key), &options, &held->stream);
	return r < 0 ? failed(held, r) : 1;
}

/* A message's first request meets a daemon that was started since: its key is opened again, once. */
static bool begin_again(struct held *held, int error, bool padding)
{
	if (held->state != HELD_NEW || error != -ESTALE)
		return false;
	host_key_failed(held->key, error);
	vaccel_stream_free(held->stream);
	held->stream = NULL;
	return stream_ready(held, padding);
}

static int stream_aad(struct held *held, const unsigned char *in, size_t len)
{
	int r;

	if (!stream_ready(held, false))
		return 0;
	r = vaccel_stream_aad(held->stream, in, len);
	if (r < 0 && begin_again(held, r, false))
		r = vaccel_stream_aad(held->stream, in, len);
	if (r < 0)
		return failed(held, r);
	held->state = HELD_FED;
	return 1;
}

static int stream_data(struct held *held, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in,
		       size_t len, bool padding)
{
	int r;

	if (!stream_ready(held, padding))
		return 0;
	r = vaccel_stream_update(held->stream, in, len, out, room, ret_len);
	if (r < 0 && begin_again(held, r, padding))
		r = vaccel_stream_update(held->stream, in, len, out, room, ret_len);
	if (r == -ERANGE)
		return raise_reason(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
	if (r < 0)
		return failed(held, r);
	held->state = HELD_FED;
	return 1;
}

static int whole_aad(struct held *held, const unsigned char *in, size_t len)
{
	uint8_t *aad;

	if (held->state != HELD_NEW)
		return raise_reason(PROV_R_INVALID_STATE);
	if (len > MAX_AAD_BYTES - held->aad_len)
		return raise_reason(PROV_R_LENGTH_TOO_LARGE);
	aad = OPENSSL_realloc(held->aad, held->aad_len + len);
	if (!aad)
		return 0;
	memcpy(aad + held->aad_len, in, len);
	held->aad = aad;
	held->aad_len += len;
	return 1;
}

/* XTS: the data unit has the IV's number. GCM: all of the message. Neither leaves a state behind. */
static int whole_data(struct held *held, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in,
		      size_t len)
{
	struct vaccel_message message = whole_message(held, out, in, len);
	int r = 0;

	if (held->state == HELD_DONE)
		return raise_reason(PROV_R_INVALID_STATE);
	if (!iv_ready(held))
		return 0;
	if (room < len)
		return raise_reason(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
	if (is_gcm(held) && !held->tag_len)
		return raise_reason(PROV_R_TAG_NOT_SET);
	message.tag = is_gcm(held) ? held->tag : NULL;
	message.tag_len = is_gcm(held) ? held->tag_len : 0;
	for (int attempt = 0; attempt < 2; attempt++) {
		if (!key_ready(held))
			return over(held);
		r = vaccel_cipher(host_key_handle(held->key), &message);
		if (r != -ESTALE)
			break;
		host_key_failed(held->key, r);
	}
	if (r < 0)
		return failed(held, r == -EINVAL ? -EIO : r);
	if (is_gcm(held))
		held->state = HELD_DONE;
	held->checked = true;
	*ret_len = len;
	return 1;
}

static int update(struct held *held, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in,
		  size_t len, bool padding)
{
	*ret_len = 0;
	if (!len)
		return 1;
	if (!key_ready(held))
		return over(held);
	if (is_gcm(held) && !out) {
		if (!(in_one_piece(held) ? whole_aad(held, in, len) : stream_aad(held, in, len)))
			return 0;
		*ret_len = len;
		return 1;
	}
	if (held->mode == VACCEL_XTS || in_one_piece(held))
		return whole_data(held, out, ret_len, room, in, len);
	return stream_data(held, out, ret_len, room, in, len, padding);
}

int held_update(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in, size_t len)
{
	struct held *held = opaque;

	return update(held, out, ret_len, room, in, len, held->padding);
}

static int final_tag(struct held *held)
{
	int r;

	if (held->encrypt)
		held->tag_len = MAX_TAG_BYTES;
	else if (!held->tag_len)
		return raise_reason(PROV_R_TAG_NOT_SET);
	r = vaccel_stream_final(held->stream, NULL, 0, held->tag, held->tag_len, NULL);
	return r < 0 ? failed(held, r) : 1;
}

int held_final(void *opaque, unsigned char *out, size_t *ret_len, size_t room)
{
	struct held *held = opaque;
	int r;

	*ret_len = 0;
	if (held->mode == VACCEL_XTS || held->checked)
		return 1;
	if (in_one_piece(held))
		return whole_data(held, NULL, ret_len, 0, NULL, 0);
	if (!stream_ready(held, held->padding))
		return 0;
	if (is_gcm(held)) {
		if (!final_tag(held))
			return 0;
	} else {
		r = vaccel_stream_final(held->stream, out, room, NULL, 0, ret_len);
		if (r == -ERANGE)
			return raise_reason(PROV_R_OUTPUT_BUFFER_TOO_SMALL);
		if (r < 0)
			return failed(held, r);
	}
	forget_message(held);
	held->state = HELD_DONE;
	return 1;
}

/* EVP_Cipher(): whole blocks, without padding. */
int held_once(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in, size_t len)
{
	struct held *held = opaque;

	if (!in && is_gcm(held))
		return held_final(held, out, ret_len, room);
	if ((held->mode == VACCEL_ECB || held->mode == VACCEL_CBC) && len % AES_BLOCK)
		return raise_reason(PROV_R_CIPHER_OPERATION_FAILED);
	return update(held, out, ret_len, room, in, len, false);
}

/* ---- Parameters ---- */

static int get_one(struct held *held, OSSL_PARAM *param)
{
	const char *name = param->key;

	if (strcmp(name, OSSL_CIPHER_PARAM_KEYLEN) == 0)
		return OSSL_PARAM_set_size_t(param, 0);
	if (strcmp(name, OSSL_CIPHER_PARAM_IVLEN) == 0)
		return OSSL_PARAM_set_size_t(param, held->iv_len);
	if (strcmp(name, OSSL_CIPHER_PARAM_PADDING) == 0)
		return OSSL_PARAM_set_uint(param, held->padding);
	if (strcmp(name, PARAM_KEY) == 0)
		return OSSL_PARAM_set_utf8_string(param, held->name);
	if (strcmp(name, OSSL_CIPHER_PARAM_AEAD_TAGLEN) == 0)
		return OSSL_PARAM_set_size_t(param, held->tag_len ? held->tag_len : MAX_TAG_BYTES);
	if (strcmp(name, OSSL_CIPHER_PARAM_IV) == 0)
		return iv_ready(held) && (OSSL_PARAM_set_octet_string(param, held->iv, held->iv_len) ||
					  OSSL_PARAM_set_octet_ptr(param, held->iv, held->iv_len));
	if (strcmp(name, OSSL_CIPHER_PARAM_UPDATED_IV) == 0)
		return 0; /* in the stream, or at the host */
	if (strcmp(name, OSSL_CIPHER_PARAM_AEAD_TAG) == 0)
		return held->encrypt && held->state == HELD_DONE && held->tag_len && param->data_size &&
		       param->data_size <= held->tag_len &&
		       OSSL_PARAM_set_octet_string(param, held->tag, param->data_size);
	return 1;
}

int held_get_params(void *opaque, OSSL_PARAM params[])
{
	struct held *held = opaque;

	for (; params && params->key; params++)
		if (!get_one(held, params))
			return raise_reason(PROV_R_FAILED_TO_SET_PARAMETER);
	return 1;
}

static int set_tag(struct held *held, const OSSL_PARAM *param)
{
	if (held->encrypt)
		return raise_reason(PROV_R_TAG_NOT_NEEDED);
	if (!param->data || !param->data_size || param->data_size > MAX_TAG_BYTES)
		return raise_reason(PROV_R_INVALID_TAG);
	memcpy(held->tag, param->data, param->data_size);
	held->tag_len = param->data_size;
	return 1;
}

static int set_iv_len(struct held *held, const OSSL_PARAM *param)
{
	size_t len;

	if (!OSSL_PARAM_get_size_t(param, &len))
		return raise_reason(PROV_R_FAILED_TO_GET_PARAMETER);
	if (is_gcm(held) ? !len || len > MAX_IV_BYTES : len != held->iv_len)
		return raise_reason(PROV_R_INVALID_IV_LENGTH);
	if (len != held->iv_len)
		held->iv_set = false;
	held->iv_len = len;
	return 1;
}

static int set_one(struct held *held, const OSSL_PARAM *param)
{
	unsigned int padding;
	size_t len;

	if (strcmp(param->key, OSSL_CIPHER_PARAM_PADDING) == 0) {
		if (!OSSL_PARAM_get_uint(param, &padding))
			return raise_reason(PROV_R_FAILED_TO_GET_PARAMETER);
		held->padding = padding;
		return 1;
	}
	if (strcmp(param->key, OSSL_CIPHER_PARAM_KEYLEN) == 0)
		return OSSL_PARAM_get_size_t(param, &len) ? 1 : raise_reason(PROV_R_FAILED_TO_GET_PARAMETER);
	if (strcmp(param->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
		return set_iv_len(held, param);
	if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TAG) == 0 && is_gcm(held))
		return set_tag(held, param);
	if (strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_AAD) == 0 ||
	    strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED) == 0 ||
	    strcmp(param->key, OSSL_CIPHER_PARAM_AEAD_TLS1_SET_IV_INV) == 0)
		return raise_reason(PROV_R_NOT_SUPPORTED); /* TLS makes its keys itself */
	return 1;
}

int held_set_params(void *opaque, const OSSL_PARAM params[])
{
	struct held *held = opaque;

	for (; params && params->key; params++)
		if (!set_one(held, params))
			return 0;
	return 1;
}
