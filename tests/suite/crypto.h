/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the suite's tests of keys and ciphers share. crypto.c: vectors, lengths, streams, what is in flight; crypto_keys.c: keys,
 * rights, RSA; crypto_bad.c: mistakes. Each test is run in every way: plain memory and registered buffers, waited for and
 * submitted.
 */
#ifndef TESTS_SUITE_CRYPTO_H
#define TESTS_SUITE_CRYPTO_H

#include "models.h"

struct crypto_test {
	const char *name;
	bool (*run)(struct way *way, char *detail, size_t len);
};

/* Both end with a row without a name. */
extern const struct crypto_test crypto_key_tests[], crypto_bad_tests[];

/* A mode, with a key and an IV that it takes. */
struct crypto_mode {
	const char *name;
	uint32_t mode;
	size_t key_len, iv_len;
	size_t unit, min; /* bytes of a message: a multiple, and how many at least */
};

/* Ends with a row without a name. */
extern const struct crypto_mode crypto_modes[];

/* Keys of tests: these bytes, as many as are asked for. */
extern const unsigned char crypto_key[64], crypto_iv[16];
#define CRYPTO_BOTH (VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT)

/* A key of len bytes of crypto_key. */
int crypto_import(struct way *way, uint32_t modes, uint32_t rights, size_t len, struct vaccel_key **ret_key);
/* A message of a mode, with crypto_iv. tag: 16 bytes, for GCM; otherwise NULL. */
struct vaccel_message crypto_message(const struct crypto_mode *mode, uint32_t direction, const void *source,
				     void *destination, size_t len, void *tag);
/* vaccel_cipher(), waited for or submitted. */
int way_cipher(struct way *way, struct vaccel_key *key, const struct vaccel_message *message);
/* The same of any call. */
int way_call(struct way *way, struct vaccel_session *session, const struct vaccel_call *call);

/* ---- rsa_key.c ---- */

extern const unsigned char rsa_private[], rsa_public[];
extern const size_t rsa_private_len, rsa_public_len;

#endif
