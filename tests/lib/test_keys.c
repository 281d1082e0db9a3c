/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of keys, ciphers and streams: what the op suite does not show, since it concerns one process: sizes of structs,
 * threads, fork(), a daemon that dies, and where the bytes of a key are not.
 */
#include "fixture.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <vaccel/basic.h>

#define BOTH (VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT)

static const uint8_t zeros[64];

static struct vaccel_key *import(struct fixture *f, size_t len)
{
	struct vaccel_key *key = NULL;

	assert_ok(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, zeros, len, &key));
	return key;
}

static struct vaccel_message message_of(uint32_t mode, const void *source, void *destination, size_t len)
{
	return (struct vaccel_message){
		.size = sizeof(struct vaccel_message),
		.mode = mode,
		.direction = VACCEL_ENCRYPT,
		.iv = zeros,
		.iv_len = mode == VACCEL_ECB ? 0 : 16,
		.source = source,
		.destination = destination,
		.len = len,
	};
}

static struct vaccel_stream_options options_of(uint32_t mode, uint32_t direction)
{
	return (struct vaccel_stream_options){ .size = sizeof(struct vaccel_stream_options),
					       .mode = mode,
					       .direction = direction,
					       .iv = zeros,
					       .iv_len = 16 };
}

static struct vaccel_stream *begin(struct vaccel_key *key, const struct vaccel_stream_options *options)
{
	struct vaccel_stream *stream = NULL;

	assert_ok(vaccel_stream_new(key, options, &stream));
	return stream;
}

/* ---- Parameters ---- */

static void test_sizes(void **state)
{
	struct fixture *f = *state;
	struct {
		struct vaccel_message known;
		uint64_t more;
	} longer;
	struct {
		struct vaccel_stream_options known;
		uint64_t more;
	} options = { .known = options_of(VACCEL_CBC, VACCEL_ENCRYPT) };
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream *stream = NULL;
	uint8_t data[16] = { 0 };

	longer.known = message_of(VACCEL_CBC, data, data, sizeof(data));
	longer.known.size = 4;
	assert_error(vaccel_cipher(key, &longer.known), -EINVAL, "vaccel_message");
	longer.known.size = sizeof(longer);
	longer.more = 1;
	assert_error(vaccel_cipher(key, &longer.known), -EINVAL, "is set");
	longer.more = 0;
	longer.known.reserved = 1;
	assert_error(vaccel_cipher(key, &longer.known), -EINVAL, "reserved is 1");
	longer.known.reserved = 0;
	assert_ok(vaccel_cipher(key, &longer.known));
	/* Without the members at its end. */
	longer.known.size = offsetof(struct vaccel_message, tag);
	longer.known.tag_len = 99;
	assert_ok(vaccel_cipher(key, &longer.known));
	options.known.size = sizeof(options);
	options.more = 1;
	assert_error(vaccel_stream_new(key, &options.known, &stream), -EINVAL, "is set");
	options.more = 0;
	assert_ok(vaccel_stream_new(key, &options.known, &stream));
	vaccel_stream_free(stream);
	assert_ok(vaccel_key_free(key));
}

static void test_nothing(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream_options options = options_of(VACCEL_CTR, VACCEL_ENCRYPT);
	struct vaccel_message message = message_of(VACCEL_CTR, NULL, NULL, 0);
	struct vaccel_request *request = NULL;
	struct vaccel_stream *stream;
	uint8_t data[4] = { 0 };
	size_t n = 0;

	assert_error(vaccel_key_import(NULL, VACCEL_KEY_AES, 0, BOTH, zeros, 16, &key), -EINVAL, "session");
	assert_error(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, zeros, 16, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, NULL, 16, &key), -EINVAL, "NULL");
	assert_error(vaccel_key_open(f->session, NULL, &key), -EINVAL, "none is named");
	assert_error(vaccel_key_open(f->session, "absent", &key), -ENOENT, "absent");
	assert_ok(vaccel_key_free(NULL));
	assert_null(vaccel_key_about(NULL));
	assert_error(vaccel_cipher(NULL, &message), -EINVAL, "key");
	assert_error(vaccel_cipher(key, NULL), -EINVAL, "vaccel_message");
	assert_ok(vaccel_cipher(key, &message));
	assert_error(vaccel_cipher_submit(key, &message, NULL, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_cipher_submit(NULL, &message, NULL, &request), -EINVAL, "key");
	message.len = 4;
	assert_error(vaccel_cipher(key, &message), -EINVAL, "NULL");
	assert_error(vaccel_akcipher(NULL, VACCEL_AK_SIGN, VACCEL_RSA_RAW, 0, data, 4, data, 4), -EINVAL, "key");
	assert_error(vaccel_stream_new(NULL, &options, &stream), -EINVAL, "key");
	assert_error(vaccel_stream_new(key, NULL, &stream), -EINVAL, "vaccel_stream_options");
	assert_error(vaccel_stream_new(key, &options, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_stream_update(NULL, data, 4, data, 4, &n), -EINVAL, "stream");
	assert_error(vaccel_stream_aad(NULL, data, 4), -EINVAL, "stream");
	assert_error(vaccel_stream_final(NULL, NULL, 0, NULL, 0, NULL), -EINVAL, "stream");
	assert_error(vaccel_stream_dup(NULL, &stream), -EINVAL, "stream");
	stream = begin(key, &options);
	assert_error(vaccel_stream_dup(stream, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_stream_update(stream, data, 4, data, 4, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_stream_update(stream, NULL, 4, data, 4, &n), -EINVAL, "NULL");
	assert_error(vaccel_stream_update(stream, data, 4, NULL, 4, &n), -EINVAL, "NULL");
	assert_error(vaccel_stream_update(stream, data, SIZE_MAX, data, 4, &n), -EINVAL, "any memory");
	assert_error(vaccel_stream_final(stream, NULL, 4, NULL, 0, NULL), -EINVAL, "NULL");
	assert_ok(vaccel_stream_update(stream, NULL, 0, NULL, 0, &n));
	assert_ok(vaccel_stream_final(stream, NULL, 0, NULL, 0, NULL));
	vaccel_stream_free(stream);
	vaccel_stream_free(NULL);
	assert_ok(vaccel_key_free(key));
}

static void test_options(void **state)
{
	static const struct {
		struct vaccel_stream_options options;
		int code;
		const char *part;
	} rows[] = {
		{ { .mode = 0 }, -EINVAL, "mode 0" },
		{ { .mode = 6 }, -EINVAL, "mode 6" },
		{ { .mode = VACCEL_CBC, .direction = 3 }, -EINVAL, "direction is 3" },
		{ { .mode = VACCEL_CBC, .padding = 2 }, -EINVAL, "padding is 2" },
		{ { .mode = VACCEL_CBC, .reserved = 1 }, -EINVAL, "reserved is 1" },
		{ { .mode = VACCEL_CTR, .padding = 1 }, -EINVAL, "ctr has no padding" },
		{ { .mode = VACCEL_GCM, .padding = 1 }, -EINVAL, "gcm has no padding" },
		{ { .mode = VACCEL_CBC, .iv_len = 15 }, -EINVAL, "IV of 15 bytes" },
		{ { .mode = VACCEL_ECB, .iv_len = 16 }, -EINVAL, "IV of 16 bytes" },
		{ { .mode = VACCEL_GCM, .iv_len = 129 }, -EINVAL, "IV of 129 bytes" },
		{ { .mode = VACCEL_XTS }, -EINVAL, "xts takes no key of 128 bits" },
	};
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16), *inward = NULL;
	struct vaccel_stream_options options;
	struct vaccel_stream *stream = NULL;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		options = rows[i].options;
		options.size = sizeof(options);
		options.iv = zeros;
		options.direction = options.direction ? options.direction : VACCEL_ENCRYPT;
		options.iv_len = options.iv_len ? options.iv_len : 16;
		assert_error(vaccel_stream_new(key, &options, &stream), rows[i].code, rows[i].part);
	}
	options = options_of(VACCEL_CBC, VACCEL_DECRYPT);
	options.iv = NULL;
	assert_error(vaccel_stream_new(key, &options, &stream), -EINVAL, "NULL");
	/* What the key is not for is known here already. */
	assert_ok(vaccel_key_import(f->session, VACCEL_KEY_AES, 1u << VACCEL_CBC, VACCEL_MAY_ENCRYPT, zeros, 16,
				    &inward));
	options = options_of(VACCEL_CBC, VACCEL_DECRYPT);
	assert_error(vaccel_stream_new(inward, &options, &stream), -EPERM, "may not decrypt");
	options = options_of(VACCEL_CTR, VACCEL_ENCRYPT);
	assert_error(vaccel_stream_new(inward, &options, &stream), -EPERM, "not for mode ctr");
	assert_null(stream);
	assert_ok(vaccel_key_free(inward));
	assert_ok(vaccel_key_free(key));
}

/* ---- Streams ---- */

static void test_no_room(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	uint8_t text[20] = "nineteen characters", secret[64], back[64];
	struct vaccel_stream *stream;
	size_t n = 99, m = 0;

	options.padding = 1;
	stream = begin(key, &options);
	/* Nothing has happened, so that it can be asked again. */
	assert_error(vaccel_stream_update(stream, text, 20, secret, 15, &n), -ERANGE, "16 bytes would be written");
	assert_int_equal(n, 99);
	assert_ok(vaccel_stream_update(stream, text, 20, secret, 16, &n));
	assert_int_equal(n, 16);
	assert_error(vaccel_stream_final(stream, secret + 16, 15, NULL, 0, &m), -ERANGE, "16 bytes would be written");
	assert_error(vaccel_stream_final(stream, secret + 16, 16, NULL, 0, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_stream_final(stream, secret + 16, 16, back, 16, &m), -EINVAL, "tag");
	assert_ok(vaccel_stream_final(stream, secret + 16, 16, NULL, 0, &m));
	assert_int_equal(m, 16);
	assert_error(vaccel_stream_update(stream, text, 20, secret, 64, &n), -EINVAL, "has ended");
	assert_error(vaccel_stream_final(stream, secret, 64, NULL, 0, &n), -EINVAL, "has ended");
	vaccel_stream_free(stream);
	options.direction = VACCEL_DECRYPT;
	stream = begin(key, &options);
	assert_ok(vaccel_stream_update(stream, secret, 32, back, 64, &n));
	assert_int_equal(n, 16);
	assert_error(vaccel_stream_final(stream, back + 16, 3, NULL, 0, &m), -ERANGE, "4 bytes would be written");
	assert_ok(vaccel_stream_final(stream, back + 16, 4, NULL, 0, &m));
	assert_int_equal(m, 4);
	assert_memory_equal(back, text, 20);
	vaccel_stream_free(stream);
	assert_ok(vaccel_key_free(key));
}

static void test_padding(void **state)
{
	/* Under a key of zeros and with that IV these decrypt to blocks that end otherwise than padding does. */
	static const uint8_t ends[][16] = {
		{ [15] = 0 },
		{ [15] = 17 },
		{ [14] = 1, [15] = 2 },
		{ [1] = 1, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, [15] = 16 },
	};
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_DECRYPT);
	struct vaccel_stream *stream;
	uint8_t secret[16], back[32];
	size_t n;

	options.padding = 1;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct vaccel_message message = message_of(VACCEL_CBC, ends[i], secret, 16);

		assert_ok(vaccel_cipher(key, &message));
		stream = begin(key, &options);
		assert_ok(vaccel_stream_update(stream, secret, 16, back, 32, &n));
		assert_int_equal(n, 0);
		assert_error(vaccel_stream_final(stream, back, 32, NULL, 0, &n), -EBADMSG, "padding");
		assert_error(vaccel_stream_final(stream, back, 32, NULL, 0, &n), -EBADMSG, "before");
		vaccel_stream_free(stream);
	}
	stream = begin(key, &options);
	assert_error(vaccel_stream_final(stream, back, 32, NULL, 0, &n), -EINVAL, "positive whole number");
	assert_ok(vaccel_stream_update(stream, secret, 5, back, 32, &n));
	assert_error(vaccel_stream_final(stream, back, 32, NULL, 0, &n), -EINVAL, "positive whole number");
	vaccel_stream_free(stream);
	options.padding = 0;
	stream = begin(key, &options);
	assert_ok(vaccel_stream_update(stream, secret, 5, back, 32, &n));
	assert_error(vaccel_stream_final(stream, back, 32, NULL, 0, NULL), -EINVAL, "whole number of blocks");
	vaccel_stream_free(stream);
	assert_ok(vaccel_key_free(key));
}

static void test_gcm_order(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream_options options = options_of(VACCEL_GCM, VACCEL_ENCRYPT);
	struct vaccel_stream *stream, *copy = NULL, *cbc;
	uint8_t data[20] = { 0 }, tag[16], same[16];
	size_t n;

	stream = begin(key, &options);
	assert_ok(vaccel_stream_aad(stream, NULL, 0));
	/* Nobody else has anything of it yet. */
	assert_ok(vaccel_stream_dup(stream, &copy));
	assert_ok(vaccel_stream_aad(stream, data, 20));
	assert_ok(vaccel_stream_aad(copy, data, 20));
	assert_error(vaccel_stream_dup(stream, &copy), -EOPNOTSUPP, "cannot copy");
	assert_ok(vaccel_stream_update(stream, data, 20, data, 20, &n));
	assert_error(vaccel_stream_aad(stream, data, 20), -EINVAL, "comes before");
	assert_error(vaccel_stream_final(stream, NULL, 0, NULL, 0, NULL), -EINVAL, "tag");
	assert_error(vaccel_stream_final(stream, NULL, 0, tag, 5, NULL), -EINVAL, "tag of 5 bytes");
	assert_ok(vaccel_stream_final(stream, NULL, 0, tag, 16, NULL));
	vaccel_stream_free(stream);
	memset(data, 0, sizeof(data));
	assert_ok(vaccel_stream_update(copy, data, 20, data, 20, &n));
	assert_ok(vaccel_stream_final(copy, NULL, 0, same, 16, NULL));
	assert_memory_equal(tag, same, 16);
	vaccel_stream_free(copy);
	options.mode = VACCEL_CBC;
	cbc = begin(key, &options);
	assert_error(vaccel_stream_aad(cbc, data, 1), -EINVAL, "with GCM only");
	vaccel_stream_free(cbc);
	/* Freeing one says nothing of what became of its message. */
	options.direction = VACCEL_DECRYPT;
	options.mode = VACCEL_GCM;
	stream = begin(key, &options);
	assert_ok(vaccel_stream_update(stream, data, 20, data, 20, &n));
	assert_error(vaccel_stream_update(stream, data, 20, data, 19, &n), -ERANGE, "room for 19");
	vaccel_stream_free(stream);
	assert_non_null(strstr(vaccel_error(), "room for 19"));
	options.direction = VACCEL_ENCRYPT;
	/* Those that are left in the middle leave nothing behind: there is room for as many as one likes. */
	options.mode = VACCEL_GCM;
	for (int i = 0; i < 3000; i++) {
		stream = begin(key, &options);
		assert_ok(vaccel_stream_update(stream, data, 20, data, 20, &n));
		vaccel_stream_free(stream);
	}
	assert_ok(vaccel_key_free(key));
}

/* What is too large for one request is refused here: the stream goes on as if it had not been asked. */
static void test_refused_here(void **state)
{
	static const uint8_t halves[32] = { 1 }; /* XTS takes no two that are the same */
	const size_t len = 40u << 20, unit = 1u << 24;
	struct fixture *f = *state;
	struct vaccel_key *key = NULL;
	struct vaccel_stream_options options = options_of(VACCEL_XTS, VACCEL_ENCRYPT);
	uint8_t *large = calloc(1, len), small[32] = { 0 }, out[32], want[32], tag[16], same[16];
	struct vaccel_message message = message_of(VACCEL_XTS, small, want, sizeof(small));
	struct vaccel_stream *stream;
	size_t n;

	assert_ok(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, halves, sizeof(halves), &key));
	stream = begin(key, &options);
	assert_ok(vaccel_cipher(key, &message));
	assert_error(vaccel_stream_update(stream, large, unit, large, unit, &n), -E2BIG, "larger than");
	assert_ok(vaccel_stream_update(stream, small, sizeof(small), out, sizeof(out), &n));
	assert_memory_equal(out, want, sizeof(out));
	vaccel_stream_free(stream);
	options.mode = VACCEL_GCM;
	message.mode = VACCEL_GCM;
	message.aad = small;
	message.aad_len = sizeof(small);
	message.tag = tag;
	message.tag_len = sizeof(tag);
	assert_ok(vaccel_cipher(key, &message));
	stream = begin(key, &options);
	for (int i = 0; i < 2; i++) {
		assert_error(vaccel_stream_aad(stream, large, len), -E2BIG, "larger than");
		assert_ok(vaccel_stream_aad(stream, small + 16 * i, 16));
	}
	assert_ok(vaccel_stream_update(stream, small, sizeof(small), out, sizeof(out), &n));
	assert_ok(vaccel_stream_final(stream, NULL, 0, same, sizeof(same), NULL));
	assert_memory_equal(out, want, sizeof(out));
	assert_memory_equal(same, tag, sizeof(tag));
	vaccel_stream_free(stream);
	free(large);
	assert_ok(vaccel_key_free(key));
}

/* More than one request may have: it is cut up, and nobody notices. */
static void test_large(void **state)
{
	const size_t len = (33u << 20) + 5;
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	static const uint32_t modes[] = { VACCEL_CBC, VACCEL_CTR, VACCEL_GCM };
	uint8_t *data = calloc(1, len), *secret = malloc(len + 16), tag[16] = { 0 };

	for (int i = 0; i < 3; i++) {
		struct vaccel_stream_options options = options_of(modes[i], VACCEL_ENCRYPT);
		struct vaccel_stream *stream;
		size_t n = 0, m = 0, tag_len = modes[i] == VACCEL_GCM ? 16 : 0;

		options.padding = modes[i] == VACCEL_CBC;
		stream = begin(key, &options);
		assert_ok(vaccel_stream_update(stream, data, len, secret, len, &n));
		assert_ok(vaccel_stream_final(stream, secret + n, len + 16 - n, tag, tag_len, &m));
		vaccel_stream_free(stream);
		options.direction = VACCEL_DECRYPT;
		stream = begin(key, &options);
		memset(data, 1, len);
		m += n;
		n = 0;
		for (size_t at = 0, out; at < m; at += 10000003) {
			size_t piece = m - at < 10000003 ? m - at : 10000003;

			assert_ok(vaccel_stream_update(stream, secret + at, piece, data + n, len - n, &out));
			n += out;
		}
		assert_ok(vaccel_stream_final(stream, data + n, len - n, tag, tag_len, &m));
		assert_int_equal(n + m, len);
		vaccel_stream_free(stream);
		for (size_t at = 0; at < len; at++)
			assert_true(data[at] == 0);
	}
	free(data);
	free(secret);
	assert_ok(vaccel_key_free(key));
}

/* ---- <vaccel/basic.h> ---- */

static void test_basic(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 32);
	uint8_t in[100] = { 0 }, out[100], want[100];
	struct vaccel_message message = message_of(VACCEL_CTR, in, want, 100);
	struct vaccel_cipher_input input = { .size = sizeof(input), .key = zeros, .key_len = 32, .message = &message };
	vaccel_session_t *basic;

	assert_ok(vaccel_cipher(key, &message));
	assert_ok(vaccel_key_free(key));
	message.destination = out;
	setenv("VACCEL_TRANSPORT", fixture_url, 1);
	basic = create_vaccel_session();
	unsetenv("VACCEL_TRANSPORT");
	assert_non_null(basic);
	/* More often than there may be keys at once. */
	for (int i = 0; i < 20; i++)
		assert_ok(do_operation(basic, VACCEL_OP_CIPHER, &input, NULL));
	assert_memory_equal(out, want, 100);
	assert_error(do_operation(basic, VACCEL_OP_CIPHER, &input, &input), -EINVAL, "no output");
	assert_error(do_operation(basic, VACCEL_OP_CIPHER, NULL, NULL), -EINVAL, "vaccel_cipher_input");
	/* Nor does one that fails leave a key behind. */
	message.mode = 9;
	for (int i = 0; i < 20; i++)
		assert_error(do_operation(basic, VACCEL_OP_CIPHER, &input, NULL), -EINVAL, "mode 9");
	input.key_len = 31;
	assert_error(do_operation(basic, VACCEL_OP_CIPHER, &input, NULL), -EINVAL, "31 bytes");
	input.host_key = "absent";
	assert_error(do_operation(basic, VACCEL_OP_CIPHER, &input, NULL), -ENOENT, "absent");
	assert_ok(destroy_vaccel_session(basic));
}

/* ---- Requests ---- */

static void test_submit(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	int mark;
	struct vaccel_submit_options options = { .size = sizeof(options), .user_data = &mark };
	uint8_t in[1000] = { 0 }, out[1000], whole[1000];
	struct vaccel_message message = message_of(VACCEL_CTR, in, out, sizeof(in));
	struct vaccel_request *request = NULL, *next = NULL;

	assert_ok(vaccel_cipher_submit(key, &message, &options, &request));
	assert_ptr_equal(vaccel_request_user_data(request), &mark);
	assert_ok(vaccel_request_wait(request, -1));
	assert_int_equal(vaccel_context_next(f->context, &next), -EAGAIN);
	vaccel_request_free(request);
	message.destination = whole;
	assert_ok(vaccel_cipher(key, &message));
	assert_memory_equal(out, whole, sizeof(out));
	options.reserved = 1;
	assert_error(vaccel_cipher_submit(key, &message, &options, &request), -EINVAL, "reserved is 1");
	message.mode = 77;
	assert_error(vaccel_cipher_submit(key, &message, NULL, &request), -EINVAL, "mode 77");
	/* What the key may not do is found there. */
	message.mode = VACCEL_XTS;
	assert_ok(vaccel_cipher_submit(key, &message, NULL, &request));
	assert_error(vaccel_request_wait(request, -1), -EINVAL, "xts takes no key");
	vaccel_request_free(request);
	assert_ok(vaccel_key_free(key));
}

struct worker {
	struct vaccel_key *key;
	const uint8_t *want;
	pthread_t thread;
	int failures;
};

#define PER_THREAD 200
#define LEN	   777

static void *work(void *opaque)
{
	struct worker *w = opaque;
	uint8_t in[LEN] = { 0 }, out[LEN];

	for (int i = 0; i < PER_THREAD; i++) {
		struct vaccel_stream_options options = options_of(VACCEL_CTR, VACCEL_ENCRYPT);
		struct vaccel_message message = message_of(VACCEL_CTR, in, out, LEN);
		struct vaccel_stream *stream = NULL;
		size_t n;
		int r;

		memset(out, 0, sizeof(out));
		if (i % 4) {
			r = vaccel_cipher(w->key, &message);
		} else {
			r = vaccel_stream_new(w->key, &options, &stream);
			if (r == 0)
				r = vaccel_stream_update(stream, in, 100, out, 100, &n);
			if (r == 0)
				r = vaccel_stream_update(stream, in, LEN - 100, out + 100, LEN - 100, &n);
			vaccel_stream_free(stream);
		}
		w->failures += r < 0 || memcmp(out, w->want, LEN) != 0;
	}
	return NULL;
}

static void test_threads(void **state)
{
	enum { N = 8 };
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 32);
	uint8_t in[LEN] = { 0 }, want[LEN];
	struct vaccel_message message = message_of(VACCEL_CTR, in, want, LEN);
	struct worker workers[N];

	assert_ok(vaccel_cipher(key, &message));
	for (int i = 0; i < N; i++) {
		workers[i] = (struct worker){ .key = key, .want = want };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].failures, 0);
	}
	assert_ok(vaccel_key_free(key));
}

/* Handles of keys go with their session; streams are freed when their owner likes. */
static void test_session_ends(void **state)
{
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	struct vaccel_context *context = fixture_context();
	struct vaccel_stream *early, *late, *copy = NULL;
	struct vaccel_session *session = NULL;
	struct vaccel_key *keys[3] = { NULL };
	uint8_t data[16] = { 0 };
	size_t n;

	assert_ok(vaccel_session_open(context, &session));
	for (int i = 0; i < 3; i++)
		assert_ok(vaccel_key_import(session, VACCEL_KEY_AES, 0, BOTH, zeros, 16, &keys[i]));
	early = begin(keys[0], &options);
	late = begin(keys[1], &options);
	assert_ok(vaccel_key_free(keys[1]));
	vaccel_stream_free(early);
	assert_ok(vaccel_session_close(session));
	assert_error(vaccel_stream_update(late, data, 16, data, 16, &n), -ESTALE, "key");
	assert_error(vaccel_stream_dup(late, &copy), -ESTALE, "stream");
	vaccel_context_free(context);
	assert_error(vaccel_stream_final(late, NULL, 0, NULL, 0, NULL), -ESTALE, "stream");
	vaccel_stream_free(late);
}

/* ---- Processes ---- */

static int child(struct vaccel_key *key, struct vaccel_stream *stream)
{
	uint8_t data[16] = { 0 };
	struct vaccel_message message = message_of(VACCEL_CBC, data, data, 16);
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	struct vaccel_stream *other;
	size_t n;
	int failures = 0;

	failures += vaccel_cipher(key, &message) != -ECHILD;
	failures += vaccel_stream_update(stream, data, 16, data, 16, &n) != -ECHILD;
	failures += vaccel_stream_final(stream, NULL, 0, data, 16, NULL) != -ECHILD;
	failures += vaccel_stream_new(key, &options, &other) != -ECHILD;
	failures += vaccel_stream_dup(stream, &other) != -ECHILD;
	failures += vaccel_key_free(key) != -ECHILD;
	vaccel_stream_free(stream);
	return failures;
}

static void test_fork(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = import(f, 16);
	struct vaccel_stream_options options = options_of(VACCEL_GCM, VACCEL_ENCRYPT);
	struct vaccel_stream *stream = begin(key, &options);
	uint8_t data[16] = { 0 }, tag[16];
	int status;
	size_t n;
	pid_t pid;

	assert_ok(vaccel_stream_update(stream, data, 16, data, 16, &n));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child(key, stream));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_ok(vaccel_stream_update(stream, data, 16, data, 16, &n));
	assert_ok(vaccel_stream_final(stream, NULL, 0, tag, 16, NULL));
	vaccel_stream_free(stream);
	assert_ok(vaccel_key_free(key));
}

/* ---- Daemons ---- */

static pid_t worker_of(pid_t daemon)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", daemon, daemon);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		*text = 0;
	fclose(file);
	return atoi(text);
}

static void kill_worker(void)
{
	pid_t worker = worker_of(fixture_daemon.pid);

	assert_true(worker > 0);
	assert_int_equal(kill(worker, SIGKILL), 0);
	for (int i = 0; i < 600 && worker_of(fixture_daemon.pid) == worker; i++)
		usleep(50000);
	assert_int_not_equal(worker_of(fixture_daemon.pid), worker);
}

/* Keys outlive a worker, and so does what the library chains; of GCM the host had something. */
static void test_worker_dies(void **state)
{
	struct fixture *f = *state;
	struct vaccel_stream_options cbc_options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	struct vaccel_stream_options gcm_options = options_of(VACCEL_GCM, VACCEL_ENCRYPT);
	struct vaccel_stream *cbc, *gcm;
	uint8_t in[64] = { 0 }, out[64], whole[64], tag[16];
	struct vaccel_message message = message_of(VACCEL_CBC, in, whole, 64);
	struct vaccel_key *key;
	size_t n;

	if (!fixture_own) {
		skip();
		return;
	}
	key = import(f, 16);
	assert_ok(vaccel_cipher(key, &message));
	cbc = begin(key, &cbc_options);
	gcm = begin(key, &gcm_options);
	assert_ok(vaccel_stream_update(cbc, in, 32, out, 32, &n));
	assert_ok(vaccel_stream_update(gcm, in, 32, in, 32, &n));
	memset(in, 0, sizeof(in));
	kill_worker();
	assert_ok(vaccel_stream_update(cbc, in + 32, 32, out + 32, 32, &n));
	assert_ok(vaccel_stream_final(cbc, NULL, 0, NULL, 0, NULL));
	assert_memory_equal(out, whole, 64);
	assert_error(vaccel_stream_update(gcm, in, 32, in, 32, &n), -EOWNERDEAD, "message");
	assert_error(vaccel_stream_final(gcm, NULL, 0, tag, 16, NULL), -EOWNERDEAD, "before");
	vaccel_stream_free(cbc);
	vaccel_stream_free(gcm);
	assert_ok(vaccel_key_free(key));
}

/* The daemon dies, and another one listens: what has the number of the old key there is another key. */
static void test_daemon_dies(void **state)
{
	static const uint8_t ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	struct fixture *f = *state;
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	uint8_t in[16] = { 0 }, out[16] = { 0 }, want[16];
	struct vaccel_message message = message_of(VACCEL_CBC, in, want, 16);
	struct vaccel_request *request = NULL;
	struct vaccel_stream *stream;
	struct vaccel_key *key, *next = NULL;
	size_t n;

	if (!fixture_own) {
		skip();
		return;
	}
	key = import(f, 16);
	stream = begin(key, &options);
	assert_ok(vaccel_cipher(key, &message));
	daemon_kill(&fixture_daemon, SIGKILL);
	assert_int_equal(daemon_start(&fixture_daemon), 0);
	message.destination = out;
	/* The request that finds out is lost with the connection, or is the first that is not sent any more. */
	assert_true(vaccel_cipher(key, &message) < 0);
	for (int i = 0; i < 100 && (!next || vaccel_key_about(next)->id != vaccel_key_about(key)->id); i++) {
		assert_ok(vaccel_key_free(next));
		assert_ok(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, ones, 16, &next));
	}
	assert_int_equal(vaccel_key_about(next)->id, vaccel_key_about(key)->id);
	assert_error(vaccel_cipher(key, &message), -ESTALE, "lost with a daemon");
	assert_error(vaccel_cipher_submit(key, &message, NULL, &request), -ESTALE, "lost with a daemon");
	assert_error(vaccel_stream_update(stream, in, 16, out, 16, &n), -ESTALE, "lost with a daemon");
	assert_memory_equal(out, zeros, 16);
	vaccel_stream_free(stream);
	/* It is gone, as was wished; and nobody else's key with it. */
	assert_ok(vaccel_key_free(key));
	assert_ok(vaccel_cipher(next, &message));
	assert_true(memcmp(out, want, 16) != 0);
	assert_ok(vaccel_key_free(next));
}

/* ---- Where keys are not ---- */

/* What a sanitizer maps is too large to look through, and it keeps what was freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

struct mapping {
	unsigned long start, end;
};

/* Times that the bytes, which are here with all their bits turned, occur in what the process can write to. */
static unsigned int occurrences(const uint8_t *turned, size_t len)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int n = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		struct mapping m;
		char rights[8];

		if (sscanf(line, "%lx-%lx %7s", &m.start, &m.end, rights) != 3 || strncmp(rights, "rw", 2) != 0 ||
		    strstr(line, "[v"))
			continue;
		for (const uint8_t *at = (const uint8_t *)m.start; at + len <= (const uint8_t *)m.end; at++) {
			size_t i = 0;

			while (i < len && (at[i] ^ turned[i]) == 0xff)
				i++;
			n += i == len;
		}
	}
	fclose(maps);
	return n;
}

/*
 * Over shm: the library has copied it for the daemon, which has it in memory of its own. Over local: the engine's state is part
 * of this process, and has it until it is freed.
 */
static void test_no_trace(void **state)
{
	struct fixture *f = *state;
	struct vaccel_key *key = NULL;
	uint8_t turned[32], *bytes;

	if (SANITIZED)
		skip();
	bytes = malloc(32);
	assert_non_null(bytes);
	assert_int_equal(getrandom(turned, sizeof(turned), 0), sizeof(turned));
	for (size_t i = 0; i < 32; i++)
		bytes[i] = turned[i] ^ 0xff;
	assert_int_equal(occurrences(turned, 32), 1);
	assert_ok(vaccel_key_import(f->session, VACCEL_KEY_AES, 0, BOTH, bytes, 32, &key));
	explicit_bzero(bytes, 32);
	free(bytes);
	assert_int_equal(occurrences(turned, 32), fixture_remote ? 0 : 1);
	assert_ok(vaccel_key_free(key));
	assert_int_equal(occurrences(turned, 32), 0);
}

/* What a stream holds of a block that is not whole is plain text. */
static void test_no_trace_of_text(void **state)
{
	struct fixture *f = *state;
	struct vaccel_stream_options options = options_of(VACCEL_CBC, VACCEL_ENCRYPT);
	struct vaccel_stream *stream;
	struct vaccel_key *key;
	uint8_t turned[15], *text;
	size_t n;

	if (SANITIZED)
		skip();
	key = import(f, 16);
	stream = begin(key, &options);
	text = malloc(15);
	assert_int_equal(getrandom(turned, sizeof(turned), 0), sizeof(turned));
	for (size_t i = 0; i < 15; i++)
		text[i] = turned[i] ^ 0xff;
	assert_ok(vaccel_stream_update(stream, text, 15, NULL, 0, &n));
	explicit_bzero(text, 15);
	free(text);
	assert_int_equal(occurrences(turned, 15), 1);
	vaccel_stream_free(stream);
	assert_int_equal(occurrences(turned, 15), 0);
	assert_ok(vaccel_key_free(key));
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, fixture_open, fixture_close)
		TEST(test_sizes),	 TEST(test_nothing),   TEST(test_options),     TEST(test_no_room),
		TEST(test_padding),	 TEST(test_gcm_order), TEST(test_basic),       TEST(test_large),
		TEST(test_submit),	 TEST(test_threads),   TEST(test_no_trace),    TEST(test_no_trace_of_text),
		TEST(test_session_ends), TEST(test_fork),      TEST(test_worker_dies), TEST(test_daemon_dies),
		TEST(test_refused_here),
	};

	return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}

int main(int argc, char **argv)
{
	/* $MALLOC_PERTURB_ overwrites what is freed, which is for others to do here. */
	mallopt(M_PERTURB, 0);
	return fixture_main(argc, argv, run);
}
