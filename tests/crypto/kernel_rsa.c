/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel's RSA does, beside OpenSSL's: run in guests, where a driver of a device serves it. Programs reach it with
 * keys of type asymmetric; the kernel takes the driver of the highest priority.
 *
 * usage: kernel-rsa KEY...
 *
 * KEY is a private key, DER of PKCS #8. Prints what was done; exit status 0: all of it was right; 1: standard error says
 * what was not; 2 usage.
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LARGEST = 1024 };

struct bytes {
	uint8_t data[LARGEST];
	size_t len;
};

struct rsa_key {
	const char *path;
	int32_t id; /* the kernel's */
	EVP_PKEY *openssl;
	size_t size; /* of the modulus, in bytes */
};

__attribute__((format(printf, 2, 3))) static int wrong(const struct rsa_key *key, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", key->path);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return 1;
}

/* ---- The kernel ---- */

static int kernel_run(const struct rsa_key *key, int operation, const char *info, const struct bytes *in,
		      struct bytes *ret)
{
	struct keyctl_pkey_params params = { .key_id = key->id,
					     .in_len = (uint32_t)in->len,
					     .out_len = (uint32_t)key->size };
	long n = syscall(SYS_keyctl, operation, &params, info, in->data, ret->data);

	if (n < 0)
		return -errno;
	ret->len = (size_t)n;
	return 0;
}

static int kernel_verify(const struct rsa_key *key, const char *info, const struct bytes *digest,
			 const struct bytes *signature)
{
	struct keyctl_pkey_params params = { .key_id = key->id,
					     .in_len = (uint32_t)digest->len,
					     .in2_len = (uint32_t)signature->len };

	return syscall(SYS_keyctl, KEYCTL_PKEY_VERIFY, &params, info, digest->data, signature->data) < 0 ? -errno : 0;
}

/* ---- OpenSSL ---- */

typedef int (*openssl_step)(EVP_PKEY_CTX *ctx, unsigned char *out, size_t *out_len, const unsigned char *in,
			    size_t in_len);

static bool openssl_run(const struct rsa_key *key, int (*init)(EVP_PKEY_CTX *ctx), openssl_step step, int padding,
			const EVP_MD *hash, const struct bytes *in, struct bytes *ret)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key->openssl, NULL);
	bool ok = ctx && init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, padding) > 0;

	ret->len = sizeof(ret->data);
	ok = ok && (!hash || EVP_PKEY_CTX_set_signature_md(ctx, hash) > 0) &&
	     step(ctx, ret->data, &ret->len, in->data, in->len) > 0;
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static bool openssl_encrypt(const struct rsa_key *key, int padding, const struct bytes *in, struct bytes *ret)
{
	return openssl_run(key, EVP_PKEY_encrypt_init, EVP_PKEY_encrypt, padding, NULL, in, ret);
}

static bool openssl_decrypt(const struct rsa_key *key, int padding, const struct bytes *in, struct bytes *ret)
{
	return openssl_run(key, EVP_PKEY_decrypt_init, EVP_PKEY_decrypt, padding, NULL, in, ret);
}

/* ---- Both ---- */

static bool same(const struct bytes *a, const struct bytes *b)
{
	return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

static void random_bytes(struct bytes *ret, size_t len)
{
	ret->len = len;
	RAND_bytes(ret->data, (int)len);
}

static int check_raw(const struct rsa_key *key)
{
	struct bytes text, here, there, back;
	int r;

	random_bytes(&text, key->size);
	/* Below the modulus. */
	text.data[0] = 0;
	if (!openssl_encrypt(key, RSA_NO_PADDING, &text, &here))
		return wrong(key, "OpenSSL cannot encrypt");
	r = kernel_run(key, KEYCTL_PKEY_ENCRYPT, "enc=raw", &text, &there);
	if (r || !same(&here, &there))
		return wrong(key, "raw, encrypting: %s", r ? strerror(-r) : "wrong bytes");
	r = kernel_run(key, KEYCTL_PKEY_DECRYPT, "enc=raw", &here, &back);
	if (r || !same(&back, &text))
		return wrong(key, "raw, decrypting: %s", r ? strerror(-r) : "wrong bytes");
	return 0;
}

/* Padding is random: each decrypts what the other encrypted. */
static int check_padded(const struct rsa_key *key)
{
	struct bytes text, secret, back;
	int r;

	random_bytes(&text, 40);
	r = kernel_run(key, KEYCTL_PKEY_ENCRYPT, "enc=pkcs1", &text, &secret);
	if (r || !openssl_decrypt(key, RSA_PKCS1_PADDING, &secret, &back) || !same(&back, &text))
		return wrong(key, "pkcs1, encrypting: %s", r ? strerror(-r) : "not what OpenSSL decrypts");
	if (!openssl_encrypt(key, RSA_PKCS1_PADDING, &text, &secret))
		return wrong(key, "OpenSSL cannot encrypt");
	r = kernel_run(key, KEYCTL_PKEY_DECRYPT, "enc=pkcs1", &secret, &back);
	if (r || !same(&back, &text))
		return wrong(key, "pkcs1, decrypting: %s", r ? strerror(-r) : "wrong bytes");
	return 0;
}

static int check_signature(const struct rsa_key *key, const char *name, const EVP_MD *hash)
{
	struct bytes digest, here, there;
	char info[64];
	int r;

	snprintf(info, sizeof(info), "enc=pkcs1 hash=%s", name);
	random_bytes(&digest, (size_t)EVP_MD_get_size(hash));
	if (!openssl_run(key, EVP_PKEY_sign_init, EVP_PKEY_sign, RSA_PKCS1_PADDING, hash, &digest, &here))
		return wrong(key, "OpenSSL cannot sign");
	r = kernel_run(key, KEYCTL_PKEY_SIGN, info, &digest, &there);
	if (r || !same(&here, &there))
		return wrong(key, "%s, signing: %s", name, r ? strerror(-r) : "wrong bytes");
	r = kernel_verify(key, info, &digest, &here);
	if (r)
		return wrong(key, "%s, verifying: %s", name, strerror(-r));
	digest.data[3] ^= 1;
	r = kernel_verify(key, info, &digest, &here);
	if (r != -EKEYREJECTED)
		return wrong(key, "%s, verifying the signature of something else: %s", name, strerror(-r));
	return 0;
}

static int load(struct rsa_key *key)
{
	uint8_t der[8192];
	const uint8_t *at = der;
	FILE *file = fopen(key->path, "re");
	size_t len = file ? fread(der, 1, sizeof(der), file) : 0;

	if (file)
		fclose(file);
	key->openssl = d2i_AutoPrivateKey(NULL, &at, (long)len);
	if (!key->openssl)
		return wrong(key, "not a private key");
	key->size = (size_t)EVP_PKEY_get_size(key->openssl);
	key->id = (int32_t)syscall(SYS_add_key, "asymmetric", key->path, der, len, KEY_SPEC_PROCESS_KEYRING);
	return key->id < 0 ? wrong(key, "the kernel does not take it: %s", strerror(errno)) : 0;
}

static int check_key(const char *path)
{
	static const struct {
		const char *name;
		const EVP_MD *(*hash)(void);
	} hashes[] = { { "sha1", EVP_sha1 }, { "sha256", EVP_sha256 }, { "sha512", EVP_sha512 } };
	struct rsa_key key = { .path = path };
	int failed = load(&key);

	if (!failed)
		failed = check_raw(&key) | check_padded(&key);
	for (size_t i = 0; key.id > 0 && i < sizeof(hashes) / sizeof(*hashes); i++)
		failed |= check_signature(&key, hashes[i].name, hashes[i].hash());
	if (key.id > 0)
		syscall(SYS_keyctl, KEYCTL_UNLINK, key.id, KEY_SPEC_PROCESS_KEYRING);
	EVP_PKEY_free(key.openssl);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2) {
		fputs("usage: kernel-rsa KEY...\n", stderr);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		failed |= check_key(argv[i]);
	if (!failed)
		printf("%d keys are right\n", argc - 1);
	return failed;
}
