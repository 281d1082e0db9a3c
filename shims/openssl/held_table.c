/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What OpenSSL calls of a cipher vaccel-NAME, whose key the host holds: held.c's functions, and those that differ from one key
 * to the next.
 *
 * OpenSSL hands its functions no pointer of ours from the table of algorithms. Which key it is, and of what mode, is therefore
 * the functions' own: there is a set of them for each place in an offer and each mode that a key there may have.
 */
#include "provider.h"

static void *slot_new(void *opaque, size_t index)
{
	struct provider *provider = opaque;
	const struct offer *offer = atomic_load(&provider->offer);
	const struct held_key *key = &offer->held[index];

	return index < offer->n_held ? held_new(provider, key->name, key->mode, key->bits) : NULL;
}

static int slot_encrypt(void *held, const unsigned char *key, size_t key_len, const unsigned char *iv, size_t iv_len,
			const OSSL_PARAM params[])
{
	return held_init(held, true, iv, iv_len, params);
}

static int slot_decrypt(void *held, const unsigned char *key, size_t key_len, const unsigned char *iv, size_t iv_len,
			const OSSL_PARAM params[])
{
	return held_init(held, false, iv, iv_len, params);
}

static const OSSL_PARAM *gettable(void *held, void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
		OSSL_PARAM_uint(OSSL_CIPHER_PARAM_PADDING, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_IV, NULL, 0),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_AEAD_TAGLEN, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
		OSSL_PARAM_utf8_string(PARAM_KEY, NULL, 0),
		OSSL_PARAM_END,
	};

	return list;
}

static const OSSL_PARAM *settable(void *held, void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_uint(OSSL_CIPHER_PARAM_PADDING, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_KEYLEN, NULL),
		OSSL_PARAM_size_t(OSSL_CIPHER_PARAM_IVLEN, NULL),
		OSSL_PARAM_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, NULL, 0),
		OSSL_PARAM_END,
	};

	return list;
}

#define FUNCTION(id, function)                                    \
	{                                                         \
		OSSL_FUNC_CIPHER_##id, (void (*)(void))(function) \
	}
#define CONSTANTS(mode, flags, block_len, iv_len)                                            \
	static int constants_##mode(OSSL_PARAM params[])                                     \
	{                                                                                    \
		return cipher_constants(params, VACCEL_##mode, flags, 0, block_len, iv_len); \
	}
CONSTANTS(ECB, 0, 16, 0)
CONSTANTS(CBC, 0, 16, 16)
CONSTANTS(CTR, 0, 1, 16)
CONSTANTS(XTS, FLAG_CUSTOM_IV, 1, 16)
CONSTANTS(GCM, FLAG_AEAD | FLAG_CUSTOM_IV, 1, 12)

/* clang-format off: a table of functions */
#define FUNCTIONS(slot, mode)                                                                                          \
	{                                                                                                              \
		FUNCTION(NEWCTX, slot_new_##slot), FUNCTION(FREECTX, held_free), FUNCTION(DUPCTX, held_dup),           \
			FUNCTION(ENCRYPT_INIT, slot_encrypt), FUNCTION(DECRYPT_INIT, slot_decrypt),                    \
			FUNCTION(UPDATE, held_update), FUNCTION(FINAL, held_final), FUNCTION(CIPHER, held_once),       \
			FUNCTION(GET_PARAMS, constants_##mode), FUNCTION(GET_CTX_PARAMS, held_get_params),             \
			FUNCTION(SET_CTX_PARAMS, held_set_params),                                                     \
			FUNCTION(GETTABLE_PARAMS, cipher_gettable_constants), FUNCTION(GETTABLE_CTX_PARAMS, gettable), \
			FUNCTION(SETTABLE_CTX_PARAMS, settable), { 0, NULL },                                          \
	}
#define SLOTS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define SLOT(n)                                   \
	static void *slot_new_##n(void *provider) \
	{                                         \
		return slot_new(provider, n);     \
	}
SLOTS(SLOT)
#undef SLOT

static const OSSL_DISPATCH functions[MAX_HELD_KEYS][VACCEL_GCM + 1][15] = {
#define SLOT(n)                                                                                                       \
	[n] = {                                                                                                       \
		[VACCEL_ECB] = FUNCTIONS(n, ECB), [VACCEL_CBC] = FUNCTIONS(n, CBC), [VACCEL_CTR] = FUNCTIONS(n, CTR), \
		[VACCEL_XTS] = FUNCTIONS(n, XTS), [VACCEL_GCM] = FUNCTIONS(n, GCM),                                   \
	},
	SLOTS(SLOT)
#undef SLOT
};
/* clang-format on */

const OSSL_DISPATCH *held_functions(size_t index, uint32_t mode)
{
	return functions[index][mode];
}
