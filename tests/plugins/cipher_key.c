/* SPDX-License-Identifier: Apache-2.0 */
/* See cipher.h: what is left of keys, and many threads with one. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "cipher.h"
#include "memory.h"

/* ---- what is left of a key ---- */

enum { KEY_LEN = 32 };

static size_t iv_len_of(uint32_t mode)
{
	return mode == VACCEL_ECB ? 0 : mode == VACCEL_GCM ? 12 : 16;
}

/*
 * libcrypto's code for AES instructions keeps the key itself at the head of the schedule, so that while the key is there a
 * copy is found beside the test's own: the search works.
 */
void test_wiped(struct cipher_test *t)
{
	struct memory_pattern pattern = { .len = KEY_LEN };
	uint8_t iv[16] = { 0 }, data[64] = { 0 };
	uint8_t *bytes = malloc(KEY_LEN);
	struct vaccel_plugin_crypto_key key;
	struct request q = { .direction = VACCEL_ENCRYPT, .iv = iv, .source = data, .destination = data, .len = 64 };
	unsigned int n;

	if (!bytes)
		abort();
	random_fill(bytes, KEY_LEN);
	memory_remember(&pattern, bytes);
	key = key_make(bytes, KEY_LEN);
	q.key = &key;
	for (q.mode = VACCEL_ECB; q.mode <= VACCEL_GCM; q.mode++) {
		uint8_t tag[16];

		q.iv_len = iv_len_of(q.mode);
		q.tag = tag;
		q.tag_len = q.mode == VACCEL_GCM ? 16 : 0;
		if (q.mode != VACCEL_GCM || t->aead)
			CHECK(request_run(t, &q, NULL) == 0, "mode %u", q.mode);
	}
	if (t->streams) {
		q.mode = VACCEL_GCM;
		q.stream = 7;
		q.flags = VACCEL_CIPHER_BEGIN;
		q.tag_len = 0;
		CHECK(request_run(t, &q, NULL) == 0, "a message that does not end");
	}
	n = memory_count(&pattern);
	printf("the key lies in memory %u times while it is used\n", n);
	/* The kernel's keys are not in this process. */
	CHECK(n >= (t->streams ? 2 : 1), "the search does not find the key at all");
	OPENSSL_cleanse(bytes, KEY_LEN);
	key_drop(t, &key);
	n = memory_count(&pattern);
	CHECK(n == 0, "the key lies in memory %u times when it is gone", n);
	free(bytes);
}

/* ---- threads ---- */

enum { THREADS = 8, ROUNDS = 300, TEXT = 3000 };

struct shared {
	struct cipher_test *t;
	const struct vaccel_plugin_crypto_key *key;
	const uint8_t *source;
	uint8_t expected[VACCEL_GCM + 1][TEXT];
};

static void *thread_main(void *opaque)
{
	const struct shared *shared = opaque;
	uint8_t destination[TEXT], iv[16] = { 1 }, tag[16];
	uintptr_t failures = 0;

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t mode = VACCEL_ECB + (uint32_t)i % (shared->t->aead ? 5 : 4);
		struct request q = {
			.key = shared->key,
			.mode = mode == VACCEL_XTS ? VACCEL_CBC : mode,
			.direction = VACCEL_ENCRYPT,
			.iv = iv,
			.iv_len = iv_len_of(mode),
			.source = shared->source,
			.destination = destination,
			.len = TEXT / 16 * 16,
			.tag = tag,
			.tag_len = mode == VACCEL_GCM ? 16 : 0,
		};

		failures += request_run(shared->t, &q, NULL) != 0 ||
			    memcmp(destination, shared->expected[q.mode], q.len) != 0;
	}
	return (void *)failures;
}

static void fill_expected(struct shared *shared)
{
	uint8_t iv[16] = { 1 }, tag[16];

	for (uint32_t mode = VACCEL_ECB; mode <= VACCEL_GCM; mode++) {
		struct request q = {
			.key = shared->key,
			.mode = mode == VACCEL_XTS ? VACCEL_CBC : mode,
			.direction = VACCEL_ENCRYPT,
			.iv = iv,
			.iv_len = iv_len_of(mode),
			.source = shared->source,
			.destination = shared->expected[mode],
			.len = TEXT / 16 * 16,
			.tag = tag,
			.tag_len = mode == VACCEL_GCM ? 16 : 0,
		};

		CHECK(oracle_run(&q) == 0, "libcrypto fails");
	}
}

void test_threads(struct cipher_test *t)
{
	uint8_t bytes[32] = { 0 }, source[TEXT];
	struct vaccel_plugin_crypto_key key = key_make(bytes, sizeof(bytes));
	struct shared *shared = calloc(1, sizeof(*shared));
	pthread_t threads[THREADS];

	if (!shared)
		abort();
	random_fill(bytes, sizeof(bytes));
	random_fill(source, sizeof(source));
	*shared = (struct shared){ .t = t, .key = &key, .source = source };
	fill_expected(shared);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, thread_main, shared))
			abort();
	for (int i = 0; i < THREADS; i++) {
		void *failures = NULL;

		pthread_join(threads[i], &failures);
		CHECK(failures == NULL, "%lu requests of a thread failed", (unsigned long)(uintptr_t)failures);
	}
	key_drop(t, &key);
	free(shared);
}
