/* SPDX-License-Identifier: Apache-2.0 */
/* See cipher.h: messages of GCM in several requests, and those that the host's own keys only decrypt. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cipher.h"

enum { MAX_LEN = 40000, AAD_LEN = 70 };

/* A message, and what libcrypto makes of it. */
struct message {
	uint8_t key[32], iv[12], aad[AAD_LEN], tag[16];
	uint8_t source[MAX_LEN], expected[MAX_LEN], destination[MAX_LEN];
	struct vaccel_plugin_crypto_key plugin_key;
	struct request whole;
};

static struct message *message_new(void)
{
	struct message *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	random_fill(m->key, sizeof(m->key));
	random_fill(m->iv, sizeof(m->iv));
	random_fill(m->aad, sizeof(m->aad));
	random_fill(m->source, sizeof(m->source));
	m->plugin_key = key_make(m->key, sizeof(m->key));
	m->whole = (struct request){
		.key = &m->plugin_key,
		.mode = VACCEL_GCM,
		.direction = VACCEL_ENCRYPT,
		.iv = m->iv,
		.iv_len = sizeof(m->iv),
		.aad = m->aad,
		.aad_len = random_below(AAD_LEN + 1),
		.source = m->source,
		.destination = m->expected,
		.len = random_below(MAX_LEN),
		.tag = m->tag,
		.tag_len = 16,
	};
	CHECK(oracle_run(&m->whole) == 0, "libcrypto fails");
	return m;
}

static void message_free(const struct cipher_test *t, struct message *m)
{
	key_drop(t, &m->plugin_key);
	free(m);
}

/* A request of the message: additional data up to aad, source from done, step bytes. */
static struct request part(const struct message *m, uint64_t stream, uint32_t flags)
{
	struct request q = m->whole;

	q.stream = stream;
	q.flags = flags;
	q.aad_len = q.len = q.tag_len = 0;
	if (!(flags & VACCEL_CIPHER_BEGIN))
		q.iv_len = 0;
	return q;
}

struct walk {
	struct message *m;
	struct request q;
	uint64_t stream;
	size_t aad_done, done;
	uint8_t tag[16];
	bool begun, ended;
};

/* The next request of a message, some of its additional data or of its text. */
static void walk_on(const struct cipher_test *t, struct walk *w, const uint8_t *source)
{
	const struct request *whole = &w->m->whole;
	struct request q = part(w->m, w->stream, w->begun ? 0 : VACCEL_CIPHER_BEGIN);
	char error[256] = "";
	int r;

	q.direction = w->q.direction;
	q.aad = w->m->aad + w->aad_done;
	q.aad_len = random_below(whole->aad_len - w->aad_done + 1);
	w->aad_done += q.aad_len;
	if (w->aad_done == whole->aad_len) {
		q.len = random_below(2) ? whole->len - w->done : random_below(whole->len - w->done + 1);
		w->ended = w->done + q.len == whole->len && (w->begun || q.len < whole->len);
	}
	q.source = source + w->done;
	q.destination = w->m->destination + w->done;
	w->done += q.len;
	if (w->ended) {
		q.flags |= VACCEL_CIPHER_END;
		q.tag = w->tag;
		q.tag_len = sizeof(w->tag);
	}
	r = request_run(t, &q, error);
	CHECK(r == 0, "part of a message: %d %s", r, error);
	w->begun = true;
	w->ended |= r < 0;
}

/* Several messages, their requests mixed. */
static void test_mixed(const struct cipher_test *t, uint32_t direction)
{
	enum { N = 5 };
	struct walk walks[N] = { 0 };
	unsigned int open = N;

	for (unsigned int i = 0; i < N; i++) {
		struct message *m = message_new();

		walks[i] = (struct walk){ .m = m, .stream = i + 1, .q = { .direction = direction } };
		if (direction == VACCEL_DECRYPT)
			memcpy(walks[i].tag, m->tag, sizeof(m->tag));
	}
	while (open) {
		struct walk *w = &walks[random_below(N)];

		if (w->ended)
			continue;
		walk_on(t, w, direction == VACCEL_ENCRYPT ? w->m->source : w->m->expected);
		open -= w->ended;
	}
	for (unsigned int i = 0; i < N; i++) {
		struct message *m = walks[i].m;

		CHECK(!memcmp(m->destination, direction == VACCEL_ENCRYPT ? m->expected : m->source, m->whole.len),
		      "a message in several requests: another text");
		CHECK(!memcmp(walks[i].tag, m->tag, sizeof(m->tag)), "a message in several requests: another tag");
		message_free(t, m);
	}
}

void test_streams(struct cipher_test *t)
{
	for (int i = 0; i < 10; i++) {
		test_mixed(t, VACCEL_ENCRYPT);
		test_mixed(t, VACCEL_DECRYPT);
	}
}

static void expect(const struct cipher_test *t, const struct request *q, int wanted, const char *what)
{
	char error[256] = "";
	int r = request_run(t, q, error);

	CHECK(r == wanted && (r == 0 || *error), "%s: %d (%s), not %d", what, r, error, wanted);
}

static void test_unknown(const struct cipher_test *t, struct message *m)
{
	struct request q = part(m, 9, 0);

	expect(t, &q, -EOWNERDEAD, "a message that nobody began");
	q = part(m, 9, VACCEL_CIPHER_BEGIN);
	expect(t, &q, 0, "its begin");
	q.direction = VACCEL_DECRYPT;
	q.flags = 0;
	q.iv_len = 0;
	expect(t, &q, -EINVAL, "another direction");
	q = part(m, 9, 0);
	q.len = 16;
	q.destination = m->destination;
	expect(t, &q, 0, "text");
	q.aad_len = 1;
	expect(t, &q, -EINVAL, "additional data after text");
	q.aad_len = 0;
	expect(t, &q, -EOWNERDEAD, "a message that has failed");
}

/* What was left of the first message under a number does not get into the second. */
static void test_again(const struct cipher_test *t, struct message *m)
{
	struct request q = part(m, 3, VACCEL_CIPHER_BEGIN);
	uint8_t tag[16] = { 0 };

	q.len = 16;
	q.destination = m->destination;
	expect(t, &q, 0, "a first begin");
	q = m->whole;
	q.stream = 3;
	q.flags = VACCEL_CIPHER_BEGIN;
	q.destination = m->destination;
	q.tag_len = 0;
	expect(t, &q, 0, "a second begin");
	q = part(m, 3, VACCEL_CIPHER_END);
	q.tag = tag;
	q.tag_len = 16;
	expect(t, &q, 0, "its end");
	CHECK(!memcmp(tag, m->tag, 16), "the first message got into the second");
}

static void test_wrong_tag(const struct cipher_test *t, struct message *m)
{
	struct request q = part(m, 4, VACCEL_CIPHER_BEGIN);
	uint8_t tag[16] = { 0 };

	q.direction = VACCEL_DECRYPT;
	expect(t, &q, 0, "a begin");
	q = part(m, 4, VACCEL_CIPHER_END);
	q.direction = VACCEL_DECRYPT;
	q.source = m->expected;
	q.destination = m->destination;
	q.len = 1000;
	q.tag = tag;
	q.tag_len = 16;
	expect(t, &q, -EKEYREJECTED, "a wrong tag");
	CHECK(memcmp(m->destination, m->source, 16) != 0, "what was rejected is in the clear");
	expect(t, &q, -EOWNERDEAD, "a message that was rejected");
}

static void test_limit(const struct cipher_test *t, struct message *m)
{
	struct vaccel_plugin_crypto_key other = key_make(m->key, sizeof(m->key));
	struct request q;
	uint64_t n = 0;
	int r = 0;

	while (r == 0 && n < 1000) {
		q = part(m, ++n, VACCEL_CIPHER_BEGIN);
		r = request_run(t, &q, NULL);
	}
	CHECK(r == -EDQUOT, "%llu messages at once: %d", (unsigned long long)n, r);
	q = part(m, 1, 0);
	q.key = &other;
	expect(t, &q, -EINVAL, "another key");
	/* They go with their key. */
	key_drop(t, &m->plugin_key);
	q = part(m, 1, 0);
	expect(t, &q, -EOWNERDEAD, "a message whose key is gone");
	q = part(m, n, VACCEL_CIPHER_BEGIN);
	q.key = &other;
	expect(t, &q, 0, "a message when there is room again");
	key_drop(t, &other);
}

void test_stream_errors(struct cipher_test *t)
{
	struct message *m = message_new();

	m->whole.len = 5000;
	m->whole.destination = m->expected;
	CHECK(oracle_run(&m->whole) == 0, "libcrypto fails");
	test_unknown(t, m);
	test_again(t, m);
	test_wrong_tag(t, m);
	test_limit(t, m);
	message_free(t, m);
}

/* A key of the host's that may only decrypt gives nothing away. */
void test_private_gcm(struct cipher_test *t)
{
	static const uint8_t untouched[64] = { 0 };
	struct message *m = message_new();
	struct request q;

	m->whole.len = 5000;
	CHECK(oracle_run(&m->whole) == 0, "libcrypto fails");
	m->plugin_key.held = 1;
	m->plugin_key.rights = VACCEL_MAY_DECRYPT;
	q = m->whole;
	q.direction = VACCEL_DECRYPT;
	q.source = m->expected;
	q.destination = m->destination;
	if (request_run(t, &q, NULL) == -EOPNOTSUPP) {
		message_free(t, m);
		return;
	}
	CHECK(!memcmp(m->destination, m->source, q.len), "a key that may only decrypt decrypts something else");
	memset(m->destination, 0, sizeof(m->destination));
	m->tag[3] ^= 4;
	expect(t, &q, -EKEYREJECTED, "a wrong tag");
	CHECK(!memcmp(m->destination, untouched, sizeof(untouched)), "something came out before the tag fitted");
	m->tag[3] ^= 4;
	/* In place. */
	q.source = q.destination;
	memcpy(m->destination, m->expected, q.len);
	expect(t, &q, 0, "in place");
	CHECK(!memcmp(m->destination, m->source, q.len), "in place: something else");
	q.tag_len = 8;
	expect(t, &q, -EPERM, "a short tag");
	q = part(m, 1, VACCEL_CIPHER_BEGIN);
	q.direction = VACCEL_DECRYPT;
	expect(t, &q, -EPERM, "a message in several requests");
	message_free(t, m);
}
