/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the test of ciphers share (cipher.c): one request of CIPHER, and what it has to give by libcrypto, which
 * this program uses itself.
 */
#ifndef TESTS_PLUGINS_CIPHER_H
#define TESTS_PLUGINS_CIPHER_H

#include "harness.h"

enum { WHOLE = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END };

struct request;

struct cipher_test {
	struct harness h;
	bool aead;		/* the plugin has GCM, */
	bool streams;		/* also of several requests */
	unsigned long left_out; /* requests that are the next plugin's */
};

/* Whether it may leave the request, with which it did so, to the next plugin: one that has all of GCM may not. */
bool may_leave(struct cipher_test *t, const struct request *request, int result);

/* One request. Lengths of source and destination are len. */
struct request {
	const struct vaccel_plugin_crypto_key *key;
	uint32_t mode, direction;
	uint32_t flags; /* 0: WHOLE, unless there is a stream */
	uint32_t skip;
	uint64_t stream;
	const void *iv, *aad;
	size_t iv_len, aad_len;
	const void *source;
	void *destination;
	size_t len;
	void *tag;
	size_t tag_len;
};

/* What the plugin says. error: 256 bytes for its sentence, or NULL. */
int request_run(const struct cipher_test *t, const struct request *request, char *error);
/* The same by libcrypto, one whole message. -EKEYREJECTED */
int oracle_run(const struct request *request);

struct vaccel_plugin_crypto_key key_make(const void *data, size_t len);
void key_drop(const struct cipher_test *t, const struct vaccel_plugin_crypto_key *key);

/* Of one seed, so that a failure comes again. */
uint64_t random_below(uint64_t limit);
void random_fill(void *data, size_t len);

/* cipher_stream.c */
void test_streams(struct cipher_test *t);
void test_stream_errors(struct cipher_test *t);
void test_private_gcm(struct cipher_test *t);
/* cipher_key.c */
void test_wiped(struct cipher_test *t);
void test_threads(struct cipher_test *t);

#endif
