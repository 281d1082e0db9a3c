/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ciphers whose key the program has: OpenSSL's functions of one.
 *
 * The local context gets all that OpenSSL says, and answers all that it asks, but for the bulk that the host computes. What
 * is remembered beside it is what it cannot be asked for: the key, for the host; the original IV, which is lost when the
 * chain is put back; and the bytes of a block that is not whole yet. How many these are follows from its own answers: what
 * went in and did not come out.
 *
 * After a parameter whose effect on the state is not known here, and after any failure, a context is `pinned`: the local
 * one does everything until the next init that succeeds, of GCM and with TLS for ever.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "provider.h"

/* Parameters that leave the chain alone. */
static const char *const harmless[] = { OSSL_CIPHER_PARAM_PADDING, OSSL_CIPHER_PARAM_KEYLEN, OSSL_CIPHER_PARAM_IVLEN,
					OSSL_CIPHER_PARAM_AEAD_TAG, PARAM_KEY };

/* ---- The local context ---- */

int cipher_local_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	int written = 0;

	if (len > INT_MAX - AES_BLOCK)
		return raise_reason(PROV_R_LENGTH_TOO_LARGE);
	if (!EVP_CipherUpdate(cipher->local, out, &written, in, (int)len))
		return 0;
	*ret_len = (size_t)written;
	return 1;
}

bool cipher_local_uint(struct cipher *cipher, const char *name, unsigned int *ret_value)
{
	OSSL_PARAM params[] = { OSSL_PARAM_construct_uint(name, ret_value), OSSL_PARAM_construct_end() };

	return EVP_CIPHER_CTX_get_params(cipher->local, params) == 1;
}

size_t cipher_threshold(const struct cipher *cipher)
{
	const struct thresholds *thresholds = &cipher->provider->thresholds;

	return cipher->algorithm->mode == VACCEL_CBC && cipher->encrypt ? thresholds->serial : thresholds->parallel;
}

int cipher_key_ready(struct cipher *cipher)
{
	if (host_key_handle(cipher->key))
		return 0;
	host_key_unref(cipher->key);
	cipher->key = NULL;
	return host_key_import(cipher->provider->host, cipher->algorithm->mode, cipher->key_bytes,
			       cipher->algorithm->key_len, &cipher->key);
}

static bool is_gcm(const struct cipher *cipher)
{
	return cipher->algorithm->mode == VACCEL_GCM;
}

static bool has_pending(const struct cipher *cipher)
{
	return cipher->algorithm->mode == VACCEL_ECB || cipher->algorithm->mode == VACCEL_CBC;
}

/* ---- Life ---- */

static void cipher_free(void *opaque)
{
	struct cipher *cipher = opaque;

	if (!cipher)
		return;
	EVP_CIPHER_CTX_free(cipher->local);
	host_key_unref(cipher->key);
	held_free(cipher->held);
	message_fini(&cipher->message);
	OPENSSL_clear_free(cipher->scratch, cipher->scratch ? SCRATCH_BYTES : 0);
	OPENSSL_clear_free(cipher, sizeof(*cipher));
}

static const struct offer *offer_of(void *opaque)
{
	struct provider *provider = opaque;

	return atomic_load(&provider->offer);
}

static void *cipher_new(void *opaque, size_t index)
{
	struct provider *provider = opaque;
	const EVP_CIPHER *base = offer_of(provider)->ciphers[index];
	struct cipher *cipher = OPENSSL_zalloc(sizeof(*cipher));

	if (!cipher)
		return NULL;
	cipher->provider = provider;
	cipher->index = index;
	cipher->algorithm = &algorithms[index];
	cipher->local = EVP_CIPHER_CTX_new();
	if (!cipher->local || !base || !EVP_CipherInit_ex2(cipher->local, base, NULL, NULL, 1, NULL)) {
		cipher_free(cipher);
		return NULL;
	}
	return cipher;
}

static void *cipher_dup(void *opaque)
{
	const struct cipher *cipher = opaque;
	struct cipher *copy = OPENSSL_memdup(cipher, sizeof(*cipher));

	if (!copy)
		return NULL;
	copy->scratch = NULL;
	copy->key = host_key_ref(cipher->key);
	copy->held = NULL;
	memset(&copy->message, 0, sizeof(copy->message));
	copy->local = EVP_CIPHER_CTX_new();
	if (!copy->local || !EVP_CIPHER_CTX_copy(copy->local, cipher->local) ||
	    (cipher->held && !(copy->held = held_dup(cipher->held))) || !message_dup(copy, cipher)) {
		cipher_free(copy);
		return NULL;
	}
	return copy;
}

/* ---- What is known beside the local context ---- */

/* Puts key and IV, as far as they are given, into the local context. */
static int local_init(struct cipher *cipher, bool encrypt, const unsigned char *key, const unsigned char *iv,
		      const OSSL_PARAM *params)
{
	/* Without an IV the one before holds; the local context may have another for that. */
	if (!iv && cipher->moved && cipher->algorithm->mode == VACCEL_CBC)
		iv = cipher->iv;
	return EVP_CipherInit_ex2(cipher->local, NULL, key, iv, encrypt, params);
}

static void remember_key(struct cipher *cipher, const unsigned char *key, bool encrypt)
{
	cipher->key_encrypts = encrypt;
	memcpy(cipher->key_bytes, key, cipher->algorithm->key_len);
	cipher->key_set = true;
	host_key_unref(cipher->key);
	cipher->key = NULL;
}

static void remember_iv(struct cipher *cipher, const unsigned char *iv)
{
	if (cipher->algorithm->iv_len && !is_gcm(cipher))
		memcpy(cipher->iv, iv, AES_BLOCK);
	cipher->iv_set = true;
	cipher->moved = false;
}

/* ---- A key of the host's instead ---- */

/* What a context has of these before it gets such a key it has with it, too. */
static int hand_over(struct cipher *cipher, struct held *held)
{
	unsigned int padding = 1;
	size_t iv_len = (size_t)EVP_CIPHER_CTX_get_iv_length(cipher->local);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_PADDING, &padding),
		OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_IVLEN, &iv_len),
		OSSL_PARAM_construct_end(),
	};

	return cipher_local_uint(cipher, OSSL_CIPHER_PARAM_PADDING, &padding) && held_set_params(held, params);
}

/* And those that it gets meanwhile are there when it has a key of its own again. */
static int keep_for_later(struct cipher *cipher, const OSSL_PARAM *params)
{
	static const char *const names[] = { OSSL_CIPHER_PARAM_PADDING, OSSL_CIPHER_PARAM_IVLEN };
	OSSL_PARAM kept[sizeof(names) / sizeof(names[0]) + 1];
	const OSSL_PARAM *param;
	size_t n = 0;

	for (size_t i = 0; params && i < sizeof(names) / sizeof(names[0]); i++) {
		param = OSSL_PARAM_locate_const(params, names[i]);
		if (param)
			kept[n++] = *param;
	}
	kept[n] = OSSL_PARAM_construct_end();
	return !n || EVP_CIPHER_CTX_set_params(cipher->local, kept) == 1;
}

/* A parameter that names a key of the host's makes the context one of that. */
static int choose_held(struct cipher *cipher, const OSSL_PARAM *params)
{
	const OSSL_PARAM *named = OSSL_PARAM_locate_const(params, PARAM_KEY);
	const char *name = NULL;
	struct held *held;

	if (!named)
		return 1;
	if (!OSSL_PARAM_get_utf8_string_ptr(named, &name))
		return raise_reason(PROV_R_FAILED_TO_GET_PARAMETER);
	held = held_new(cipher->provider, name, cipher->algorithm->mode, (uint32_t)cipher->algorithm->key_len * 8);
	if (!held || !hand_over(cipher, held)) {
		held_free(held);
		return 0;
	}
	held_free(cipher->held);
	cipher->held = held;
	return 1;
}

/* The program has a key again. Returns the IV: without another one the one that was set holds, if it may. */
static const unsigned char *leave_held(struct cipher *cipher, const unsigned char *iv, unsigned char *kept)
{
	if (!iv && held_iv(cipher->held, kept))
		iv = kept;
	held_free(cipher->held);
	cipher->held = NULL;
	return iv;
}

/* ---- Init ---- */

static bool is_harmless(const char *name)
{
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (strcmp(name, harmless[i]) == 0)
			return true;
	return false;
}

/* Whether there is one that changes a message of GCM. */
static bool unsettle(const OSSL_PARAM *params)
{
	for (; params && params->key; params++)
		if (!is_harmless(params->key) || strcmp(params->key, OSSL_CIPHER_PARAM_IVLEN) == 0)
			return true;
	return false;
}

/* What parameters mean for what is remembered here. The local context has taken them. */
static void notice_params(struct cipher *cipher, const OSSL_PARAM *params)
{
	for (; params && params->key; params++) {
		cipher->foreign |= !is_harmless(params->key);
		if (is_gcm(cipher))
			message_param(cipher, params);
	}
}

static int cipher_init(struct cipher *cipher, bool encrypt, const unsigned char *key, size_t key_len,
		       const unsigned char *iv, size_t iv_len, const OSSL_PARAM *params)
{
	unsigned char kept[MAX_IV_BYTES];

	if (params && !choose_held(cipher, params))
		return 0;
	/* Of two keys the one that is named in the same call comes first, else the one that comes last. */
	if (cipher->held && (!key || (params && OSSL_PARAM_locate_const(params, PARAM_KEY))))
		return keep_for_later(cipher, params) && held_init(cipher->held, encrypt, iv, iv_len, params);
	if (key && key_len != cipher->algorithm->key_len)
		return raise_reason(PROV_R_INVALID_KEY_LENGTH);
	if (cipher->held)
		iv = leave_held(cipher, iv, kept);
	if (is_gcm(cipher) && !iv && (key || encrypt != cipher->encrypt))
		message_settle(cipher);
	cipher->n_pending = 0;
	cipher->pinned = true;
	if (!local_init(cipher, encrypt, key, iv, params))
		return 0;
	if (is_gcm(cipher))
		message_init(cipher, iv);
	if (is_gcm(cipher) && unsettle(params))
		message_settle(cipher);
	if (key)
		remember_key(cipher, key, encrypt);
	if (iv)
		remember_iv(cipher, iv);
	cipher->encrypt = encrypt;
	cipher->pinned = false;
	notice_params(cipher, params);
	return 1;
}

static int encrypt_init(void *opaque, const unsigned char *key, size_t key_len, const unsigned char *iv, size_t iv_len,
			const OSSL_PARAM params[])
{
	return cipher_init(opaque, true, key, key_len, iv, iv_len, params);
}

static int decrypt_init(void *opaque, const unsigned char *key, size_t key_len, const unsigned char *iv, size_t iv_len,
			const OSSL_PARAM params[])
{
	return cipher_init(opaque, false, key, key_len, iv, iv_len, params);
}

/* ---- Data ---- */

/* The last `keep` bytes of what is pending and what came. last: the last bytes of what came, at most a block. */
static void keep_pending(struct cipher *cipher, const unsigned char *last, size_t n_last, size_t keep)
{
	unsigned char all[2 * AES_BLOCK];

	memcpy(all, cipher->pending, cipher->n_pending);
	memcpy(all + cipher->n_pending, last, n_last);
	memcpy(cipher->pending, all + cipher->n_pending + n_last - keep, keep);
	cipher->n_pending = keep;
	OPENSSL_cleanse(all, sizeof(all));
}

/* Follows what ECB and CBC keep back: the source's end as it is when all is written, if it lies under the destination. */
static int followed_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, size_t room,
			   const unsigned char *in, size_t len)
{
	size_t n_last = in ? (len < AES_BLOCK ? len : AES_BLOCK) : 0, keep;
	int r;

	if (forward_wanted(cipher, out, room, in, len))
		r = forward_update(cipher, out, ret_len, in, len);
	else
		r = cipher_local_update(cipher, out, ret_len, in, len);
	keep = cipher->n_pending + len - *ret_len;
	if (!r || keep > AES_BLOCK || keep > cipher->n_pending + n_last)
		cipher->pinned = true;
	else
		keep_pending(cipher, n_last ? in + len - n_last : cipher->pending, n_last, keep);
	return r;
}

static int cipher_update(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in,
			 size_t len)
{
	struct cipher *cipher = opaque;
	int r;

	if (cipher->held)
		return held_update(cipher->held, out, ret_len, room, in, len);
	*ret_len = 0;
	if (is_gcm(cipher))
		return message_update(cipher, out, ret_len, in, len);
	if (cipher->pinned || cipher->foreign)
		return cipher_local_update(cipher, out, ret_len, in, len);
	if (has_pending(cipher))
		return followed_update(cipher, out, ret_len, room, in, len);
	if (forward_wanted(cipher, out, room, in, len))
		r = forward_update(cipher, out, ret_len, in, len);
	else
		r = cipher_local_update(cipher, out, ret_len, in, len);
	cipher->pinned = !r;
	return r;
}

int cipher_local_final(struct cipher *cipher, unsigned char *out, size_t *ret_len)
{
	int written = 0;

	if (!EVP_CipherFinal_ex(cipher->local, out, &written))
		return 0;
	*ret_len = (size_t)written;
	return 1;
}

static int cipher_final(void *opaque, unsigned char *out, size_t *ret_len, size_t room)
{
	struct cipher *cipher = opaque;

	if (cipher->held)
		return held_final(cipher->held, out, ret_len, room);
	*ret_len = 0;
	if (is_gcm(cipher))
		return message_final(cipher, out, ret_len);
	if (!cipher_local_final(cipher, out, ret_len)) {
		cipher->pinned = true;
		return 0;
	}
	cipher->n_pending = 0;
	return 1;
}

int cipher_local_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	int r;

	if (len > INT_MAX)
		return raise_reason(PROV_R_LENGTH_TOO_LARGE);
	r = EVP_Cipher(cipher->local, out, in, (unsigned int)len);
	if (r < 0)
		return 0;
	*ret_len = (size_t)r;
	return 1;
}

/*
 * EVP_Cipher(): of GCM update and final in one function; of other modes the bytes as they are, past what is pending and
 * without a thought of padding.
 */
static int cipher_once(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in,
		       size_t len)
{
	struct cipher *cipher = opaque;

	if (cipher->held)
		return held_once(cipher->held, out, ret_len, room, in, len);
	*ret_len = 0;
	if (is_gcm(cipher))
		return message_once(cipher, out, ret_len, in, len);
	if (!cipher->pinned && !cipher->foreign && cipher->n_pending == 0 && len % cipher->algorithm->block_len == 0 &&
	    forward_wanted(cipher, out, room, in, len))
		return forward_once(cipher, out, ret_len, in, len);
	return cipher_local_once(cipher, out, ret_len, in, len);
}

/* ---- Parameters ---- */

/* A key may come from the program again: it has the algorithm's length. */
static int held_params(struct cipher *cipher, OSSL_PARAM *params)
{
	OSSL_PARAM *key_len = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_KEYLEN);

	return held_get_params(cipher->held, params) &&
	       (!key_len || OSSL_PARAM_set_size_t(key_len, cipher->algorithm->key_len) ||
		raise_reason(PROV_R_FAILED_TO_SET_PARAMETER));
}

/* The local context answers, but for what the host made of the message, and an IV that is not its own. */
static int cipher_get_params(void *opaque, OSSL_PARAM params[])
{
	struct cipher *cipher = opaque;
	OSSL_PARAM *iv;

	if (cipher->held)
		return held_params(cipher, params);
	if (is_gcm(cipher))
		return message_get_params(cipher, params);
	if (EVP_CIPHER_CTX_get_params(cipher->local, params) != 1)
		return 0;
	iv = cipher->moved && cipher->algorithm->iv_len ? OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_IV) : NULL;
	if (iv && !OSSL_PARAM_set_octet_string(iv, cipher->iv, AES_BLOCK) &&
	    !OSSL_PARAM_set_octet_ptr(iv, cipher->iv, AES_BLOCK))
		return raise_reason(PROV_R_FAILED_TO_SET_PARAMETER);
	return 1;
}

static int cipher_set_params(void *opaque, const OSSL_PARAM params[])
{
	struct cipher *cipher = opaque;

	if (!choose_held(cipher, params))
		return 0;
	if (cipher->held)
		return keep_for_later(cipher, params) && held_set_params(cipher->held, params);
	if (is_gcm(cipher) && unsettle(params))
		message_settle(cipher);
	if (!params || EVP_CIPHER_CTX_set_params(cipher->local, params) != 1)
		return !params;
	notice_params(cipher, params);
	return 1;
}

int cipher_constants(OSSL_PARAM *params, uint32_t mode, uint32_t flags, size_t key_len, size_t block_len, size_t iv_len)
{
	for (; params && params->key; params++) {
		const struct {
			const char *name;
			size_t value;
		} constants[] = {
			{ OSSL_CIPHER_PARAM_MODE, openssl_mode(mode) },
			{ OSSL_CIPHER_PARAM_KEYLEN, key_len },
			{ OSSL_CIPHER_PARAM_IVLEN, iv_len },
			{ OSSL_CIPHER_PARAM_BLOCK_SIZE, block_len },
			{ OSSL_CIPHER_PARAM_AEAD, (flags & FLAG_AEAD) != 0 },
			{ OSSL_CIPHER_PARAM_CUSTOM_IV, (flags & FLAG_CUSTOM_IV) != 0 },
			{ OSSL_CIPHER_PARAM_CTS, 0 },
			{ OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK, 0 },
			{ OSSL_CIPHER_PARAM_HAS_RAND_KEY, 0 },
		};

		for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
			if (strcmp(params->key, constants[i].name) == 0 &&
			    !OSSL_PARAM_set_size_t(params, constants[i].value) &&
			    !OSSL_PARAM_set_int(params, (int)constants[i].value))
				return raise_reason(PROV_R_FAILED_TO_SET_PARAMETER);
	}
	return 1;
}

const OSSL_PARAM *cipher_gettable_constants(void *provider)
{
	static const OSSL_PARAM constants[] = {
		OSSL_PARAM_uint(OSSL_CIPHER_PARAM_MODE, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_BLOCK_SIZE, NULL),
		OSSL_PARAM_int(OSSL_CIPHER_PARAM_AEAD, NULL),
		OSSL_PARAM_int(OSSL_CIPHER_PARAM_CUSTOM_IV, NULL),
		OSSL_PARAM_int(OSSL_CIPHER_PARAM_CTS, NULL),
		OSSL_PARAM_int(OSSL_CIPHER_PARAM_TLS1_MULTIBLOCK, NULL),
		OSSL_PARAM_int(OSSL_CIPHER_PARAM_HAS_RAND_KEY, NULL),
		OSSL_PARAM_END,
	};

	return constants;
}

/* ---- One set of functions per algorithm ---- */

#define FUNCTION(id, function)                                    \
	{                                                         \
		OSSL_FUNC_CIPHER_##id, (void (*)(void))(function) \
	}

/* clang-format off: a table of functions */
#define ROW(symbol, mode, bits, flags, key_len, block_len, iv_len, names)                                  \
	static void *new_##symbol(void *provider)                                                          \
	{                                                                                                  \
		return cipher_new(provider, ALGORITHM_##symbol);                                           \
	}                                                                                                  \
	static int constants_##symbol(OSSL_PARAM params[])                                                 \
	{                                                                                                  \
		return cipher_constants(params, VACCEL_##mode, (flags), (key_len), (block_len), (iv_len)); \
	}                                                                                                  \
	static const OSSL_PARAM *gettable_##symbol(void *cipher, void *provider)                           \
	{                                                                                                  \
		return EVP_CIPHER_gettable_ctx_params(offer_of(provider)->ciphers[ALGORITHM_##symbol]);    \
	}                                                                                                  \
	static const OSSL_PARAM *settable_##symbol(void *cipher, void *provider)                           \
	{                                                                                                  \
		return offer_of(provider)->settable[ALGORITHM_##symbol];                                   \
	}                                                                                                  \
	static const OSSL_DISPATCH functions_##symbol[] = {                                                \
		FUNCTION(NEWCTX, new_##symbol),                                                            \
		FUNCTION(FREECTX, cipher_free),                                                            \
		FUNCTION(DUPCTX, cipher_dup),                                                              \
		FUNCTION(ENCRYPT_INIT, encrypt_init),                                                      \
		FUNCTION(DECRYPT_INIT, decrypt_init),                                                      \
		FUNCTION(UPDATE, cipher_update),                                                           \
		FUNCTION(FINAL, cipher_final),                                                             \
		FUNCTION(CIPHER, cipher_once),                                                             \
		FUNCTION(GET_PARAMS, constants_##symbol),                                                  \
		FUNCTION(GET_CTX_PARAMS, cipher_get_params),                                               \
		FUNCTION(SET_CTX_PARAMS, cipher_set_params),                                               \
		FUNCTION(GETTABLE_PARAMS, cipher_gettable_constants),                                      \
		FUNCTION(GETTABLE_CTX_PARAMS, gettable_##symbol),                                          \
		FUNCTION(SETTABLE_CTX_PARAMS, settable_##symbol),                                          \
		{ 0, NULL },                                                                               \
	};
ALGORITHMS(ROW)
#undef ROW
/* clang-format on */

const struct algorithm algorithms[N_ALGORITHMS] = {
#define ROW(symbol, mode, bits, flags, key_len, block_len, iv_len, names) \
	{ names, VACCEL_##mode, bits, flags, key_len, block_len, iv_len, functions_##symbol },
	ALGORITHMS(ROW)
#undef ROW
};
