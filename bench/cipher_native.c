/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way "native" of bench crypto: libcrypto in the process itself. Also says what is right. The library is opened, not
 * linked: everything else that vaccel(1) does goes without it.
 */
#include <dlfcn.h>
#include <errno.h>

#include "bench/cipher.h"
#include "util/util.h"

#define LIBRARY "libcrypto.so.3"

/* Of OpenSSL 3, which keeps them as they are; its structs are seen as pointers alone. */
static struct {
	void *(*context_new)(void);
	void (*context_free)(void *context);
	const void *(*aes_128_cbc)(void);
	int (*init)(void *context, const void *cipher, void *engine, const unsigned char *key, const unsigned char *iv,
		    int encrypt);
	int (*set_padding)(void *context, int padding);
	int (*update)(void *context, unsigned char *out, int *ret_len, const unsigned char *in, int len);
} libcrypto;

static const struct {
	const char *name;
	void **function;
} symbols[] = {
	{ "EVP_CIPHER_CTX_new", (void **)&libcrypto.context_new },
	{ "EVP_CIPHER_CTX_free", (void **)&libcrypto.context_free },
	{ "EVP_aes_128_cbc", (void **)&libcrypto.aes_128_cbc },
	{ "EVP_CipherInit_ex", (void **)&libcrypto.init },
	{ "EVP_CIPHER_CTX_set_padding", (void **)&libcrypto.set_padding },
	{ "EVP_CipherUpdate", (void **)&libcrypto.update },
};

/* Once in a process, which has one thread when this is called. It is never closed: libcrypto does not like that. */
static int open_library(struct error *error)
{
	static void *library;
	bool whole = true;

	if (library)
		return 0;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; library && i < ARRAY_SIZE(symbols); i++) {
		*symbols[i].function = dlsym(library, symbols[i].name);
		whole = whole && *symbols[i].function;
	}
	if (library && whole)
		return 0;
	error_set(error, -EOPNOTSUPP, "%s: cannot use it: %s", LIBRARY, dlerror());
	library = NULL;
	return -EOPNOTSUPP;
}

static int fail(struct error *error)
{
	return error_set(error, -EIO, "%s: AES-128-CBC failed", LIBRARY);
}

/* With its key, and no IV yet. */
static int new_context(const struct bench_cipher *cipher, void **ret_context, struct error *error)
{
	int encrypt = cipher->plan.direction == VACCEL_ENCRYPT, r = open_library(error);
	void *context;

	if (r < 0)
		return r;
	context = libcrypto.context_new();
	*ret_context = context;
	if (context && libcrypto.init(context, libcrypto.aes_128_cbc(), NULL, cipher->key, NULL, encrypt) == 1 &&
	    libcrypto.set_padding(context, 0) == 1)
		return 0;
	libcrypto.context_free(context);
	*ret_context = NULL;
	return fail(error);
}

/* There is no padding, so that nothing is left for EVP_CipherFinal_ex(). */
static int run(void *context, const struct bench_cipher *cipher, const struct bench_cipher_slot *slot,
	       unsigned char *destination, struct error *error)
{
	int len = 0;

	if (libcrypto.init(context, NULL, NULL, NULL, slot->iv, -1) == 1 &&
	    libcrypto.update(context, destination, &len, slot->source, (int)cipher->plan.size) == 1)
		return 0;
	return fail(error);
}

static int native_open(struct bench_cipher *cipher, struct error *error)
{
	return new_context(cipher, &cipher->state, error);
}

static int native_start(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error)
{
	return run(cipher->state, cipher, slot, slot->destination, error);
}

static void native_close(struct bench_cipher *cipher)
{
	if (cipher->state)
		libcrypto.context_free(cipher->state);
}

int bench_cipher_expect(const struct bench_cipher *cipher, const struct bench_cipher_slot *slot, void *destination,
			struct error *error)
{
	void *context;
	int r = new_context(cipher, &context, error);

	if (r < 0)
		return r;
	r = run(context, cipher, slot, destination, error);
	libcrypto.context_free(context);
	return r;
}

const struct bench_cipher_way bench_cipher_native = {
	.name = "native",
	.open = native_open,
	.start = native_start,
	.close = native_close,
};
