/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIPHER of a plugin: vectors, and what libcrypto gives for random requests.
 *
 *	cipher [-v VECTORS]... PLUGIN.so [KEY=VALUE...]
 *
 * Exits 77 when the plugin does not serve here, or a file of vectors is not there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/evp.h>
#include "cipher.h"
#include "vector.h"

enum { IV, AAD, SOURCE, DESTINATION, TAG, N_ARGS };

/* ---- what the parts share ---- */

static uint64_t seed = UINT64_C(0x5eed);

uint64_t random_below(uint64_t limit)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % limit;
}

void random_fill(void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)data)[i] = (uint8_t)random_below(256);
}

struct vaccel_plugin_crypto_key key_make(const void *data, size_t len)
{
	static uint64_t last = UINT64_C(1) << 32;

	return (struct vaccel_plugin_crypto_key){
		.id = ++last, .data = data, .len = len, .type = VACCEL_KEY_AES, .rights = VACCEL_MAY_ALL
	};
}

void key_drop(const struct cipher_test *t, const struct vaccel_plugin_crypto_key *key)
{
	if (t->h.plugin->key_gone)
		t->h.plugin->key_gone(key->id);
}

int request_run(const struct cipher_test *t, const struct request *request, char *error)
{
	const struct vaccel_cipher params = {
		.key = request->key->id,
		.mode = request->mode,
		.direction = request->direction,
		.flags = request->flags || request->stream ? request->flags : WHOLE,
		.skip = request->skip,
		.stream = request->stream,
	};
	const struct vaccel_plugin_arg args[N_ARGS] = {
		[IV] = { .data = (void *)request->iv, .len = request->iv_len, .dir = 1 },
		[AAD] = { .data = (void *)request->aad, .len = request->aad_len, .dir = 1 },
		[SOURCE] = { .data = (void *)request->source, .len = request->len, .dir = 1 },
		[DESTINATION] = { .data = request->destination, .len = request->len, .dir = 2 },
		[TAG] = { .data = request->tag,
			  .len = request->tag_len,
			  .dir = request->direction == VACCEL_ENCRYPT ? 2 : 1 },
	};
	const struct vaccel_plugin_report report = { .text = error, .len = error ? 256 : 0 };

	return harness_run_key(&t->h, VACCEL_OP_CIPHER, &params, sizeof(params), args, N_ARGS, request->key, report);
}

bool may_leave(struct cipher_test *t, const struct request *request, int result)
{
	bool large = request->len > 65536 && (request->mode == VACCEL_XTS || request->mode == VACCEL_GCM);
	bool odd = request->mode == VACCEL_GCM && request->iv_len != 12;

	if (result != -EOPNOTSUPP || t->streams || !(large || odd))
		return false;
	t->left_out++;
	return true;
}

static const EVP_CIPHER *evp_of(uint32_t mode, size_t key_len)
{
	static const char *const names[] = { [VACCEL_ECB] = "ecb",
					     [VACCEL_CBC] = "cbc",
					     [VACCEL_CTR] = "ctr",
					     [VACCEL_XTS] = "xts",
					     [VACCEL_GCM] = "gcm" };
	char name[32];

	snprintf(name, sizeof(name), "aes-%zu-%s", (mode == VACCEL_XTS ? key_len / 2 : key_len) * 8, names[mode]);
	return EVP_get_cipherbyname(name);
}

int oracle_run(const struct request *q)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t skipped[16] = { 0 };
	bool encrypt = q->direction == VACCEL_ENCRYPT, ok;
	int n = 0;

	ok = c && EVP_CipherInit_ex(c, evp_of(q->mode, q->key->len), NULL, NULL, NULL, encrypt);
	if (q->mode == VACCEL_GCM)
		ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, (int)q->iv_len, NULL);
	ok = ok && EVP_CipherInit_ex(c, NULL, NULL, q->key->data, q->iv, -1) && EVP_CIPHER_CTX_set_padding(c, 0);
	if (q->mode == VACCEL_GCM && !encrypt)
		ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, (int)q->tag_len, q->tag);
	if (q->skip)
		ok = ok && EVP_CipherUpdate(c, skipped, &n, skipped, (int)q->skip);
	if (q->aad_len)
		ok = ok && EVP_CipherUpdate(c, NULL, &n, q->aad, (int)q->aad_len);
	if (q->len)
		ok = ok && EVP_CipherUpdate(c, q->destination, &n, q->source, (int)q->len);
	if (!ok)
		return -EIO;
	ok = EVP_CipherFinal_ex(c, skipped, &n);
	if (ok && q->mode == VACCEL_GCM && encrypt)
		ok = EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, (int)q->tag_len, q->tag);
	EVP_CIPHER_CTX_free(c);
	return ok ? 0 : -EKEYREJECTED;
}

/* ---- vectors ---- */

static void vector_run(struct cipher_test *t, const struct vector *v, struct request *q, uint8_t *destination,
		       bool in_place)
{
	bool encrypt = v->direction == VACCEL_ENCRYPT;
	char error[256] = "";
	uint8_t tag[16] = { 0 };
	int r;

	if (in_place)
		memcpy(destination, v->source.data, v->source.len);
	q->source = in_place ? destination : v->source.data;
	q->destination = destination;
	if (!encrypt)
		memcpy(tag, v->tag.data, v->tag.len);
	q->tag = tag;
	r = request_run(t, q, error);
	if (may_leave(t, q, r))
		return;
	if (v->rejected) {
		CHECK(r == -EKEYREJECTED && strstr(error, "tag"), "%s: %d %s", v->origin, r, error);
		return;
	}
	CHECK(r == 0, "%s: %d %s", v->origin, r, error);
	CHECK(!memcmp(destination, v->result.data, v->result.len), "%s: another result", v->origin);
	CHECK(!memcmp(tag, v->tag.data, v->tag.len), "%s: another tag", v->origin);
}

static void test_vector(struct cipher_test *t, const struct vector *v)
{
	struct vaccel_plugin_crypto_key key = key_make(v->key.data, v->key.len);
	uint8_t *destination = malloc(v->source.len + 1);
	struct request q = {
		.key = &key,
		.mode = v->mode,
		.direction = v->direction,
		.iv = v->iv.data,
		.iv_len = v->iv.len,
		.aad = v->aad.data,
		.aad_len = v->aad.len,
		.len = v->source.len,
		.tag_len = v->tag.len,
	};
	struct vector back = *v;

	if (!destination)
		abort();
	/* The second time with what the first has left of the key. */
	vector_run(t, v, &q, destination, false);
	vector_run(t, v, &q, destination, true);
	if (!v->rejected) {
		back.direction = q.direction = VACCEL_ENCRYPT + VACCEL_DECRYPT - v->direction;
		back.source = v->result;
		back.result = v->source;
		vector_run(t, &back, &q, destination, false);
	}
	key_drop(t, &key);
	free(destination);
}

static int test_vectors(struct cipher_test *t, const char *path)
{
	struct vector_file file;
	struct vector v;
	unsigned long n = 0;
	int r = vector_open(&file, path);

	if (r < 0) {
		printf("%s: %s; tests/crypto/vectors makes it\n", path, strerror(-r));
		return SKIPPED;
	}
	while ((r = vector_next(&file, &v)) > 0) {
		n++;
		if (v.mode == VACCEL_GCM && !t->aead)
			t->left_out++;
		else
			test_vector(t, &v);
	}
	CHECK(r == 0 && n, "%s: %lu vectors, then %d", path, n, r);
	vector_close(&file);
	printf("%s: %lu vectors\n", path, n);
	return 0;
}

/* ---- random requests ---- */

struct random_case {
	uint8_t key[64], iv[128], aad[64];
	uint8_t *source, *destination, *expected;
	uint8_t tag[16], expected_tag[16];
	struct vaccel_plugin_crypto_key plugin_key;
	struct request q;
};

static size_t random_len(uint32_t mode)
{
	static const uint32_t limits[] = { 64, 600, 5000, 70000, 1200000 };
	size_t len = random_below(limits[random_below(100) < 95 ? random_below(4) : 4]);

	if (mode == VACCEL_ECB || mode == VACCEL_CBC)
		len -= len % 16;
	return mode == VACCEL_XTS ? len + 16 : len;
}

static void case_init(struct random_case *c, uint32_t mode)
{
	static const size_t key_lens[] = { 16, 24, 32 }, tag_lens[] = { 4, 8, 12, 13, 14, 15, 16 };
	size_t key_len = mode == VACCEL_XTS ? (size_t)32 << random_below(2) : key_lens[random_below(3)];
	size_t len = random_len(mode);

	*c = (struct random_case){ 0 };
	c->source = malloc(len + 1);
	c->destination = malloc(len + 1);
	c->expected = malloc(len + 1);
	if (!c->source || !c->destination || !c->expected)
		abort();
	random_fill(c->key, sizeof(c->key));
	random_fill(c->iv, sizeof(c->iv));
	random_fill(c->aad, sizeof(c->aad));
	random_fill(c->source, len);
	c->plugin_key = key_make(c->key, key_len);
	c->q = (struct request){
		.mode = mode,
		.direction = VACCEL_ENCRYPT,
		.skip = mode == VACCEL_CTR ? (uint32_t)random_below(16) : 0,
		.iv = c->iv,
		.iv_len = mode == VACCEL_ECB ? 0 : 16,
		.len = len,
	};
	if (mode == VACCEL_GCM) {
		c->q.iv_len = random_below(4) ? 12 : 1 + random_below(128);
		c->q.aad = c->aad;
		c->q.aad_len = random_below(sizeof(c->aad) + 1);
		c->q.tag_len = tag_lens[random_below(7)];
	}
}

static void case_fini(struct random_case *c)
{
	free(c->source);
	free(c->destination);
	free(c->expected);
}

static void test_case(struct cipher_test *t, uint32_t mode)
{
	struct random_case c;
	char error[256] = "";
	int r;

	case_init(&c, mode);
	c.q.key = &c.plugin_key;
	c.q.source = c.source;
	c.q.destination = c.expected;
	c.q.tag = c.expected_tag;
	CHECK(oracle_run(&c.q) == 0, "libcrypto fails");
	c.q.destination = c.destination;
	c.q.tag = c.tag;
	r = request_run(t, &c.q, error);
	if (may_leave(t, &c.q, r)) {
		case_fini(&c);
		return;
	}
	CHECK(r == 0 && !memcmp(c.destination, c.expected, c.q.len), "mode %u, %zu bytes: %d %s", mode, c.q.len, r,
	      error);
	CHECK(!memcmp(c.tag, c.expected_tag, sizeof(c.tag)), "mode %u: another tag", mode);
	/* Back, in place. */
	c.q.direction = VACCEL_DECRYPT;
	c.q.source = c.destination;
	r = request_run(t, &c.q, error);
	CHECK(r == 0 && !memcmp(c.destination, c.source, c.q.len), "mode %u, %zu bytes, back: %d %s", mode, c.q.len, r,
	      error);
	key_drop(t, &c.plugin_key);
	case_fini(&c);
}

static void test_random(struct cipher_test *t, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t mode = VACCEL_ECB + (uint32_t)random_below(5);

		if (mode != VACCEL_GCM || t->aead)
			test_case(t, mode);
	}
}

static void counter_add(uint8_t *counter, uint64_t blocks)
{
	for (int i = 15; i >= 0; i--) {
		blocks += counter[i];
		counter[i] = (uint8_t)blocks;
		blocks >>= 8;
	}
}

/* A message of CTR in pieces, each of which begins within a block, is the whole; also where the counter overflows. */
static void test_pieces(const struct cipher_test *t)
{
	struct random_case c;
	struct request q;
	uint8_t counter[16];

	case_init(&c, VACCEL_CTR);
	memset(c.iv, 0xff, 16);
	c.iv[15] = 0xfd;
	c.q.key = &c.plugin_key;
	c.q.skip = 0;
	c.q.source = c.source;
	c.q.destination = c.expected;
	CHECK(oracle_run(&c.q) == 0, "libcrypto fails");
	for (size_t done = 0, step; done < c.q.len; done += step) {
		step = 1 + random_below(c.q.len - done);
		step = step > 1000 ? 1000 : step;
		memcpy(counter, c.iv, 16);
		counter_add(counter, done / 16);
		q = c.q;
		q.iv = counter;
		q.skip = done % 16;
		q.source = c.source + done;
		q.destination = c.destination + done;
		q.len = step;
		CHECK(request_run(t, &q, NULL) == 0, "a piece");
	}
	CHECK(!memcmp(c.destination, c.expected, c.q.len), "pieces of %zu bytes are not the whole", c.q.len);
	key_drop(t, &c.plugin_key);
	case_fini(&c);
}

/* ---- errors ---- */

static void test_wrong_key(const struct cipher_test *t)
{
	uint8_t data[64] = { 0 }, iv[16] = { 0 };
	struct vaccel_plugin_crypto_key key = key_make(data, 20);
	struct request q = { .key = &key,
			     .mode = VACCEL_CBC,
			     .direction = VACCEL_ENCRYPT,
			     .iv = iv,
			     .iv_len = 16,
			     .source = data,
			     .destination = data,
			     .len = 16 };
	char error[256] = "";
	int r = request_run(t, &q, error);

	/* Hardware has not all lengths that there are: the next plugin may. */
	CHECK((r == -EINVAL || (!t->streams && r == -EOPNOTSUPP)) && strstr(error, "20"), "a key of 20 bytes: %d %s", r,
	      error);
	key_drop(t, &key);
}

/* What was decrypted before its tag turned out wrong is not left behind. */
static void test_rejected(const struct cipher_test *t, bool in_place)
{
	struct random_case c;
	size_t left = 0;
	int r;

	do {
		case_init(&c, VACCEL_GCM);
		if (c.q.len >= 1000 && c.q.len < 65536)
			break;
		case_fini(&c);
	} while (true);
	c.q.iv_len = 12;
	c.q.key = &c.plugin_key;
	c.q.source = c.source;
	c.q.destination = c.expected;
	c.q.tag = c.tag;
	CHECK(oracle_run(&c.q) == 0, "libcrypto fails");
	c.q.direction = VACCEL_DECRYPT;
	c.q.source = c.expected;
	c.q.destination = in_place ? c.expected : c.destination;
	c.tag[random_below(c.q.tag_len)] ^= 1;
	r = request_run(t, &c.q, NULL);
	CHECK(r == -EKEYREJECTED, "a wrong tag: %d", r);
	for (size_t i = 0; i < c.q.len; i++)
		left += ((uint8_t *)c.q.destination)[i] == c.source[i];
	CHECK(left < c.q.len / 16, "%zu of %zu bytes are in the clear", left, c.q.len);
	key_drop(t, &c.plugin_key);
	case_fini(&c);
}

/* ---- all of it ---- */

static void find_out(struct cipher_test *t)
{
	uint8_t data[16] = { 0 }, iv[12] = { 0 }, tag[16] = { 0 };
	struct vaccel_plugin_crypto_key key = key_make(data, 16);
	struct request q = { .key = &key,
			     .mode = VACCEL_GCM,
			     .direction = VACCEL_ENCRYPT,
			     .iv = iv,
			     .iv_len = 12,
			     .source = data,
			     .destination = tag,
			     .tag = tag,
			     .tag_len = 16 };

	t->aead = request_run(t, &q, NULL) != -EOPNOTSUPP;
	q.stream = 1;
	q.flags = VACCEL_CIPHER_BEGIN;
	q.tag_len = 0;
	t->streams = request_run(t, &q, NULL) != -EOPNOTSUPP;
	key_drop(t, &key);
	printf("%s: %s, %s\n", t->h.plugin->hardware(), t->aead ? "GCM" : "no GCM",
	       t->streams ? "streams" : "no streams");
}

static void test_all(struct cipher_test *t)
{
	test_random(t, 400);
	for (int i = 0; i < 20; i++)
		test_pieces(t);
	test_wrong_key(t);
	if (t->aead) {
		for (int i = 0; i < 8; i++)
			test_rejected(t, i % 2);
		test_private_gcm(t);
	}
	if (t->streams) {
		test_streams(t);
		test_stream_errors(t);
	}
	test_wiped(t);
	test_threads(t);
}

int main(int argc, char **argv)
{
	const char *paths[8];
	struct cipher_test t = { 0 };
	int n = 0, option, r = 0;

	while ((option = getopt(argc, argv, "+v:")) != -1)
		if (option == 'v' && n < 8)
			paths[n++] = optarg;
	if (optind >= argc || harness_open(&t.h, argv[optind]) < 0)
		return 2;
	r = harness_start(&t.h, NULL, 1, argv + optind + 1);
	if (r < 0) {
		printf("%s does not serve here: %s\n", t.h.plugin->name, t.h.error);
		harness_stop(&t.h);
		return SKIPPED;
	}
	find_out(&t);
	r = 0;
	for (int i = 0; i < n && r == 0; i++)
		r = test_vectors(&t, paths[i]);
	if (!n)
		test_all(&t);
	printf("%lu requests were left to other plugins\n", t.left_out);
	harness_stop(&t.h);
	return r == SKIPPED ? r : harness_end();
}
