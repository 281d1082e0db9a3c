/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AKCIPHER of a plugin: vectors, libcrypto's own results, and keys that are none.
 *
 *	akcipher [-v VECTORS] PLUGIN.so
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include "harness.h"
#include "memory.h"
#include "vector.h"

enum { SOURCE, DESTINATION, ANSWER, N_ARGS };

static struct harness h;

/* One request; result is also the digest of VERIFY. */
struct request {
	const struct vaccel_plugin_crypto_key *key;
	uint32_t operation, padding, hash;
	const void *source;
	size_t source_len;
	uint8_t *result;
	size_t room; /* in: of result; out: what was written */
};

static int request_run(struct request *q, char *error)
{
	const struct vaccel_akcipher params = {
		.key = q->key->id, .operation = q->operation, .padding = q->padding, .hash = q->hash
	};
	struct vaccel_akcipher_answer answer = { 0 };
	const struct vaccel_plugin_arg args[N_ARGS] = {
		[SOURCE] = { .data = (void *)q->source, .len = q->source_len, .dir = 1 },
		[DESTINATION] = { .data = q->result, .len = q->room, .dir = q->operation == VACCEL_AK_VERIFY ? 1 : 2 },
		[ANSWER] = { .data = &answer, .len = sizeof(answer), .dir = 2 },
	};
	const struct vaccel_plugin_report report = { .text = error, .len = error ? 256 : 0 };
	int r = harness_run_key(&h, VACCEL_OP_AKCIPHER, &params, sizeof(params), args, N_ARGS, q->key, report);

	if (r == 0)
		q->room = le32toh(answer.len);
	return r;
}

static struct vaccel_plugin_crypto_key key_make(const void *data, size_t len, bool private)
{
	static uint64_t last = UINT64_C(1) << 32;

	return (struct vaccel_plugin_crypto_key){
		.id = ++last,
		.data = data,
		.len = len,
		.type = private ? VACCEL_KEY_RSA_PRIVATE : VACCEL_KEY_RSA_PUBLIC,
		.rights = VACCEL_MAY_ALL,
	};
}

static int key_check(const struct vaccel_plugin_crypto_key *key, uint32_t *bits, char *error)
{
	const struct vaccel_plugin_report report = { .text = error, .len = 256 };

	return h.plugin->key_check(key, bits, &report);
}

/* ---- vectors ---- */

static void test_vector(const struct vector_rsa *v)
{
	struct vaccel_plugin_crypto_key key = key_make(v->key.data, v->key.len, v->private);
	uint8_t result[VACCEL_KEY_BYTES];
	struct request q = { .key = &key,
			     .operation = v->operation,
			     .padding = v->padding,
			     .hash = v->hash,
			     .source = v->source.data,
			     .source_len = v->source.len,
			     .result = result,
			     .room = sizeof(result) };
	char error[256] = "";
	uint32_t bits = 0;
	int r = key_check(&key, &bits, error);

	CHECK(r == 0 && bits >= 1024 && bits <= 4096, "%s: the key: %d %s", v->origin, r, error);
	if (v->operation == VACCEL_AK_VERIFY) {
		memcpy(result, v->result.data, v->result.len);
		q.room = v->result.len;
	}
	r = request_run(&q, error);
	if (v->rejected)
		CHECK(r == -EKEYREJECTED && *error, "%s: %d %s", v->origin, r, error);
	else if (CHECK(r == 0, "%s: %d %s", v->origin, r, error) && v->operation != VACCEL_AK_VERIFY)
		CHECK(q.room == v->result.len && !memcmp(result, v->result.data, q.room), "%s: another result",
		      v->origin);
	h.plugin->key_gone(key.id);
}

static int test_vectors(const char *path)
{
	struct vector_file file;
	struct vector_rsa v;
	unsigned long n = 0;
	int r = vector_open(&file, path);

	if (r < 0) {
		printf("%s: %s; tests/crypto/vectors makes it\n", path, strerror(-r));
		return SKIPPED;
	}
	for (; (r = vector_next_rsa(&file, &v)) > 0; n++)
		test_vector(&v);
	CHECK(r == 0 && n, "%s: %lu vectors, then %d", path, n, r);
	vector_close(&file);
	printf("%s: %lu vectors\n", path, n);
	return 0;
}

/* ---- libcrypto's own ---- */

/* A key pair in both forms. */
struct pair {
	EVP_PKEY *evp;
	unsigned char *private_der, *public_der;
	size_t size;
	struct vaccel_plugin_crypto_key private, public;
};

static struct pair pair_new(unsigned int bits)
{
	struct pair p = { .evp = EVP_RSA_gen(bits) };
	int private_len = p.evp ? i2d_PrivateKey(p.evp, &p.private_der) : 0;
	int public_len = p.evp ? i2d_PublicKey(p.evp, &p.public_der) : 0;

	if (private_len <= 0 || public_len <= 0)
		abort();
	p.size = (size_t)EVP_PKEY_get_size(p.evp);
	p.private = key_make(p.private_der, (size_t)private_len, true);
	p.public = key_make(p.public_der, (size_t)public_len, false);
	return p;
}

static void pair_free(struct pair *p)
{
	h.plugin->key_gone(p->private.id);
	h.plugin->key_gone(p->public.id);
	OPENSSL_clear_free(p->private_der, p->private.len);
	OPENSSL_free(p->public_der);
	EVP_PKEY_free(p->evp);
}

static size_t evp_decrypt(const struct pair *p, const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(p->evp, NULL);
	size_t n = VACCEL_KEY_BYTES;
	bool ok = EVP_PKEY_decrypt_init(c) > 0 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) > 0 &&
		  EVP_PKEY_decrypt(c, out, &n, in, len) > 0;

	EVP_PKEY_CTX_free(c);
	return ok ? n : 0;
}

static void test_encrypt(const struct pair *p)
{
	uint8_t text[100], cipher[VACCEL_KEY_BYTES], back[VACCEL_KEY_BYTES];
	struct request q = { .key = &p->public,
			     .operation = VACCEL_AK_ENCRYPT,
			     .padding = VACCEL_RSA_PKCS1,
			     .source = text,
			     .source_len = p->size < 111 ? p->size - 11 : sizeof(text),
			     .result = cipher,
			     .room = p->size };
	char error[256] = "";
	size_t len = q.source_len;
	int r;

	memset(text, 'x', sizeof(text));
	r = request_run(&q, error);
	CHECK(r == 0 && q.room == p->size, "encrypt: %d %s", r, error);
	CHECK(evp_decrypt(p, cipher, p->size, back) == len && !memcmp(back, text, len), "libcrypto cannot read it");
	q = (struct request){ .key = &p->private,
			      .operation = VACCEL_AK_DECRYPT,
			      .padding = VACCEL_RSA_PKCS1,
			      .source = cipher,
			      .source_len = p->size,
			      .result = back,
			      .room = len };
	memset(back, 0, sizeof(back));
	r = request_run(&q, error);
	CHECK(r == 0 && q.room == len && !memcmp(back, text, len), "decrypt: %d %s", r, error);
	q.room = len - 1;
	CHECK(request_run(&q, error) == -ERANGE, "a destination that is too short");
	q.source_len--;
	CHECK(request_run(&q, error) == -ERANGE, "a source that is too short");
}

static const struct {
	uint32_t hash;
	size_t len;
	const char *name;
} hashes[] = {
	{ VACCEL_RSA_MD5, 16, "md5" },	     { VACCEL_RSA_SHA1, 20, "sha1" },	  { VACCEL_RSA_SHA224, 28, "sha224" },
	{ VACCEL_RSA_SHA256, 32, "sha256" }, { VACCEL_RSA_SHA384, 48, "sha384" }, { VACCEL_RSA_SHA512, 64, "sha512" },
	{ VACCEL_RSA_NO_HASH, 40, NULL },
};

static bool evp_verify(const struct pair *p, size_t i, const uint8_t *signature, const uint8_t *digest)
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(p->evp, NULL);
	bool ok = EVP_PKEY_verify_init(c) > 0 && EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) > 0;

	if (hashes[i].name)
		ok = ok && EVP_PKEY_CTX_set_signature_md(c, EVP_get_digestbyname(hashes[i].name)) > 0;
	ok = ok && EVP_PKEY_verify(c, signature, p->size, digest, hashes[i].len) == 1;
	EVP_PKEY_CTX_free(c);
	return ok;
}

static void test_sign(const struct pair *p, size_t i)
{
	uint8_t digest[65], signature[VACCEL_KEY_BYTES];
	struct request q = { .key = &p->private,
			     .operation = VACCEL_AK_SIGN,
			     .padding = VACCEL_RSA_PKCS1,
			     .hash = hashes[i].hash,
			     .source = digest,
			     .source_len = hashes[i].len,
			     .result = signature,
			     .room = p->size };
	char error[256] = "";
	int r;

	memset(digest, (int)i + 1, sizeof(digest));
	r = request_run(&q, error);
	CHECK(r == 0 && q.room == p->size && evp_verify(p, i, signature, digest), "sign %zu: %d %s", i, r, error);
	q.source_len++;
	if (hashes[i].name)
		CHECK(request_run(&q, error) == -EINVAL, "a digest of another length: %s", error);
	q.source_len--;
	q.room = p->size - 1;
	CHECK(request_run(&q, error) == -ERANGE, "a destination that is too short");
	q = (struct request){ .key = &p->public,
			      .operation = VACCEL_AK_VERIFY,
			      .padding = VACCEL_RSA_PKCS1,
			      .hash = hashes[i].hash,
			      .source = signature,
			      .source_len = p->size,
			      .result = digest,
			      .room = hashes[i].len };
	r = request_run(&q, error);
	CHECK(r == 0, "verify %zu: %d %s", i, r, error);
	digest[3] ^= 1;
	q.room = hashes[i].len;
	CHECK(request_run(&q, error) == -EKEYREJECTED && strstr(error, "signature"), "another digest: %s", error);
	digest[3] ^= 1;
	signature[9] ^= 1;
	CHECK(request_run(&q, error) == -EKEYREJECTED, "another signature");
}

/* Raw: what one exponent makes the other takes back; and its verification compares all of it. */
static void test_raw(const struct pair *p)
{
	uint8_t text[VACCEL_KEY_BYTES] = { 0 }, cipher[VACCEL_KEY_BYTES], back[VACCEL_KEY_BYTES];
	struct request q = { .key = &p->private,
			     .operation = VACCEL_AK_SIGN,
			     .source = text,
			     .source_len = p->size,
			     .result = cipher,
			     .room = p->size };
	char error[256] = "";

	memset(text + 1, 7, p->size - 1);
	CHECK(request_run(&q, error) == 0, "raw sign: %s", error);
	q.source_len++;
	CHECK(request_run(&q, error) == -ERANGE, "raw, too long: %s", error);
	/* Its first byte is 0: a number that may be written without it. */
	q.source = text + 1;
	q.source_len = p->size - 1;
	q.result = back;
	q.room = p->size;
	CHECK(request_run(&q, error) == 0 && !memcmp(back, cipher, p->size), "raw, shorter: %s", error);
	q = (struct request){ .key = &p->public,
			      .operation = VACCEL_AK_VERIFY,
			      .source = cipher,
			      .source_len = p->size,
			      .result = text,
			      .room = p->size };
	CHECK(request_run(&q, error) == 0, "raw verify: %s", error);
	text[p->size - 1] ^= 1;
	q.room = p->size;
	CHECK(request_run(&q, error) == -EKEYREJECTED, "raw verify of something else");
	text[p->size - 1] ^= 1;
	q.operation = VACCEL_AK_ENCRYPT;
	q.source = cipher;
	q.result = back;
	q.room = p->size;
	CHECK(request_run(&q, error) == 0 && !memcmp(back, text, p->size), "raw encrypt: %s", error);
	memset(back, 0xff, p->size);
	q.source = back;
	q.result = cipher;
	CHECK(request_run(&q, error) == -EINVAL && *error, "a number that is more than the modulus: %s", error);
}

/* ---- keys that are none ---- */

/* DER of numbers of so many bytes each: all ones, but for what is asked. */
struct forged {
	size_t n_len, e_len;
	uint8_t n_last, e_last;
	int wanted;
	const char *what;
};

static size_t put_number(uint8_t *at, size_t len, uint8_t last)
{
	at[0] = 2;
	at[1] = 0x82;
	at[2] = (uint8_t)((len + 1) >> 8);
	at[3] = (uint8_t)(len + 1);
	at[4] = 0;
	memset(at + 5, 0xff, len);
	at[4 + len] = last;
	return len + 5;
}

static size_t forge(const struct forged *f, uint8_t *der)
{
	size_t len = put_number(der + 4, f->n_len, f->n_last);

	len += put_number(der + 4 + len, f->e_len, f->e_last);
	der[0] = 0x30;
	der[1] = 0x82;
	der[2] = (uint8_t)(len >> 8);
	der[3] = (uint8_t)len;
	return len + 4;
}

static void test_forged(void)
{
	static const struct forged rows[] = {
		{ 256, 3, 0xff, 0xff, 0, "a modulus of 2048 bits" },
		{ 64, 3, 0xff, 0xff, 0, "a modulus of 512 bits" },
		{ 63, 3, 0xff, 0xff, -EINVAL, "a modulus of 504 bits" },
		{ 2048, 3, 0xff, 0xff, 0, "a modulus of 16384 bits" },
		{ 2049, 3, 0xff, 0xff, -EINVAL, "a modulus of 16392 bits" },
		{ 256, 3, 0xfe, 0xff, -EINVAL, "an even modulus" },
		{ 256, 3, 0xff, 0xfe, -EINVAL, "an even exponent" },
		{ 256, 1, 0xff, 1, -EINVAL, "an exponent of 1" },
		{ 256, 1, 0xff, 3, 0, "an exponent of 3" },
		{ 256, 32, 0xff, 0xff, 0, "an exponent of 256 bits" },
		{ 256, 33, 0xff, 0xff, -EINVAL, "an exponent of 264 bits" },
		{ 512, 8, 0xff, 0xff, 0, "an exponent of 64 bits, a large modulus" },
		{ 512, 9, 0xff, 0xff, -EINVAL, "an exponent of 72 bits, a large modulus" },
	};
	static uint8_t der[VACCEL_KEY_BYTES], source[VACCEL_KEY_BYTES] = { 1 }, result[VACCEL_KEY_BYTES];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vaccel_plugin_crypto_key key = key_make(der, forge(&rows[i], der), false);
		struct request q = { .key = &key,
				     .operation = VACCEL_AK_ENCRYPT,
				     .source = source,
				     .source_len = rows[i].n_len,
				     .result = result,
				     .room = rows[i].n_len };
		char error[256] = "";
		uint32_t bits = 0;
		int r = key_check(&key, &bits, error);

		CHECK(r == rows[i].wanted && (r == 0 || *error), "%s: %d %s", rows[i].what, r, error);
		CHECK(r < 0 || bits == 8 * rows[i].n_len, "%s: %u bits", rows[i].what, bits);
		/* The operation does not rely on who has checked. */
		r = request_run(&q, error);
		CHECK(r == rows[i].wanted, "%s, used: %d %s", rows[i].what, r, error);
		h.plugin->key_gone(key.id);
	}
}

/* Whatever becomes of a key's bytes, there is an answer, and it comes soon. */
static void test_mutated(const struct pair *p)
{
	uint8_t *der = malloc(p->private.len), source[VACCEL_KEY_BYTES] = { 1 }, result[VACCEL_KEY_BYTES];
	uint32_t bits, state = 1, usable = 0;
	char error[256];

	if (!der)
		abort();
	for (size_t len = 0; len < p->private.len; len++) {
		struct vaccel_plugin_crypto_key key = p->private;

		key.len = len;
		CHECK(key_check(&key, &bits, error) == -EINVAL, "the first %zu bytes of a key", len);
	}
	for (int i = 0; i < 1500; i++) {
		struct vaccel_plugin_crypto_key key = key_make(der, p->private.len, true);
		struct request q = { .key = &key,
				     .operation = VACCEL_AK_SIGN,
				     .source = source,
				     .source_len = p->size,
				     .result = result,
				     .room = sizeof(result) };
		int r;

		memcpy(der, p->private.data, key.len);
		state = state * 1103515245 + 12345;
		der[(state >> 8) % key.len] ^= (uint8_t)(1 << (state >> 28) % 8);
		*error = '\0';
		r = key_check(&key, &bits, error);
		CHECK(r == 0 || (r == -EINVAL && *error), "a key with another bit: %d", r);
		usable += r == 0;
		q.source_len = r == 0 ? (bits + 7) / 8 : q.source_len;
		CHECK(request_run(&q, error) <= 0, "more than success");
		h.plugin->key_gone(key.id);
	}
	printf("%u keys with another bit are such all the same\n", usable);
	free(der);
}

/* ---- what is left, and threads ---- */

static void test_wiped(void)
{
	struct pair p = pair_new(1024);
	struct memory_pattern prime = { .len = 64 }, reverse = { .len = 64 };
	uint8_t text[64] = { 1 }, result[VACCEL_KEY_BYTES], number[64];
	struct request q = { .key = &p.private,
			     .operation = VACCEL_AK_SIGN,
			     .padding = VACCEL_RSA_PKCS1,
			     .source = text,
			     .source_len = 40,
			     .result = result,
			     .room = sizeof(result) };
	BIGNUM *factor = NULL;
	uint64_t id = p.private.id;
	unsigned int left, left_reverse;

	if (EVP_PKEY_get_bn_param(p.evp, OSSL_PKEY_PARAM_RSA_FACTOR1, &factor) != 1)
		abort();
	BN_bn2binpad(factor, number, 64);
	memory_remember(&prime, number);
	BN_bn2lebinpad(factor, number, 64);
	memory_remember(&reverse, number);
	OPENSSL_cleanse(number, sizeof(number));
	BN_clear_free(factor);
	EVP_PKEY_free(p.evp);
	p.evp = NULL;
	/* What making the key has left behind is this test's own, and so is the DER, which has the prime once. */
	left = memory_count(&prime) - 1;
	left_reverse = memory_count(&reverse);
	CHECK(request_run(&q, NULL) == 0, "sign");
	OPENSSL_clear_free(p.private_der, p.private.len);
	p.private_der = NULL;
	CHECK(memory_count(&prime) + memory_count(&reverse) > left + left_reverse,
	      "the search does not find the key while it is used");
	h.plugin->key_gone(id);
	CHECK(memory_count(&prime) <= left, "a prime lies in memory when its key is gone");
	CHECK(memory_count(&reverse) <= left_reverse, "a prime lies in memory, backwards, when its key is gone");
	OPENSSL_free(p.public_der);
}

static void *thread_main(void *opaque)
{
	const struct pair *p = opaque;

	for (int i = 0; i < 10; i++)
		test_sign(p, (size_t)i % 6);
	return NULL;
}

static void test_threads(struct pair *p)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		if (pthread_create(&threads[i], NULL, thread_main, p))
			abort();
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void test_all(void)
{
	static const unsigned int sizes[] = { 512, 1024, 1031, 2048, 3072 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct pair p = pair_new(sizes[i]);

		test_encrypt(&p);
		for (size_t j = 0; j < sizeof(hashes) / sizeof(hashes[0]); j++)
			/* A signature has 11 bytes and its hash's name beside the digest. */
			if (hashes[j].len + 30 <= p.size)
				test_sign(&p, j);
		test_raw(&p);
		if (sizes[i] == 1024) {
			test_mutated(&p);
			test_threads(&p);
		}
		pair_free(&p);
	}
	test_forged();
	test_wiped();
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	int option, r = 0;

	while ((option = getopt(argc, argv, "+v:")) != -1)
		if (option == 'v')
			path = optarg;
	if (optind >= argc || harness_open(&h, argv[optind]) < 0)
		return 2;
	r = harness_start(&h, NULL, 1, argv + optind + 1);
	if (r < 0) {
		printf("%s does not serve here: %s\n", h.plugin->name, h.error);
		harness_stop(&h);
		return SKIPPED;
	}
	if (path)
		r = test_vectors(path);
	else
		test_all();
	harness_stop(&h);
	return r == SKIPPED ? r : harness_end();
}
