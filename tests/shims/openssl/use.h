/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `use` share. See use.c. */
#ifndef TESTS_SHIMS_USE_H
#define TESTS_SHIMS_USE_H

#include <stdbool.h>
#include <stddef.h>
#include <openssl/evp.h>

#define MESSAGE (96u << 10)
#define TAG	16

extern OSSL_LIB_CTX *library; /* with the provider, and the default one for everything else */

/** Says what, and OpenSSL's errors. Returns 1. */
int failed(const char *what);

bool is_gcm(const EVP_CIPHER_CTX *context);

/** A message, and what is expected of it. */
struct work {
	const char *name;
	unsigned char key[64], iv[16];
	unsigned char source[MESSAGE], expected[MESSAGE + 32], result[MESSAGE + 32];
	size_t len;
};

/** Encrypts len bytes of the source, behind what is done. */
bool work_part(EVP_CIPHER_CTX *context, const struct work *work, size_t first, size_t len, unsigned char *out,
	       size_t *done);

/** Ends the message, with its tag if it has one. */
bool work_end(EVP_CIPHER_CTX *context, unsigned char *out, size_t *done);

/* use_held.c: commands. */
int held_fork(const char *name);
int held_copy(const char *name);
int held_change(const char *name, const char *held_name);
int held_lost(const char *name);
int held_guarded(const char *name, const char *other);

#endif
