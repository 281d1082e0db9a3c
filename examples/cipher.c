/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encrypts a text with a key that the host is given once, decrypts it again, and notices that somebody changed it: with GCM, in
 * one piece and in three.
 */
#include <err.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <vaccel/vaccel.h>

static const char text[] = "Attack at dawn. Bring tea.";

/* A key of 256 bits that nobody knows but the other end: the bytes here are overwritten. */
static struct vaccel_key *make_key(struct vaccel_session *session)
{
	struct vaccel_key *key;
	uint8_t bytes[32];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		err(1, "random bytes");
	if (vaccel_key_import(session, VACCEL_KEY_AES, 1u << VACCEL_GCM, VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT, bytes,
			      sizeof(bytes), &key) < 0)
		errx(1, "%s", vaccel_error());
	explicit_bzero(bytes, sizeof(bytes));
	return key;
}

/* A message in one piece. */
static int run(struct vaccel_key *key, uint32_t direction, const uint8_t iv[12], const void *source, void *destination,
	       uint8_t tag[16])
{
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = VACCEL_GCM,
		.direction = direction,
		.iv = iv,
		.iv_len = 12,
		.source = source,
		.destination = destination,
		.len = sizeof(text),
		.tag = tag,
		.tag_len = 16,
	};

	return vaccel_cipher(key, &message);
}

/* The same message, decrypted in pieces as they might come from a network. */
static void decrypt_in_pieces(struct vaccel_key *key, const uint8_t iv[12], const uint8_t *source, uint8_t tag[16])
{
	struct vaccel_stream_options options = {
		.size = sizeof(options), .mode = VACCEL_GCM, .direction = VACCEL_DECRYPT, .iv = iv, .iv_len = 12
	};
	struct vaccel_stream *stream;
	char out[sizeof(text)];
	size_t at = 0, len;

	if (vaccel_stream_new(key, &options, &stream) < 0)
		errx(1, "%s", vaccel_error());
	while (at < sizeof(text)) {
		size_t piece = sizeof(text) - at < 10 ? sizeof(text) - at : 10;

		if (vaccel_stream_update(stream, source + at, piece, out + at, sizeof(out) - at, &len) < 0)
			errx(1, "%s", vaccel_error());
		at += len;
	}
	if (vaccel_stream_final(stream, NULL, 0, tag, 16, NULL) < 0)
		errx(1, "%s", vaccel_error());
	vaccel_stream_free(stream);
	printf("in pieces: %s\n", out);
}

int main(void)
{
	uint8_t iv[12], tag[16], secret[sizeof(text)];
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_key *key;
	char out[sizeof(text)];

	if (vaccel_context_new(NULL, &context) < 0 || vaccel_session_open(context, &session) < 0)
		errx(1, "%s", vaccel_error());
	key = make_key(session);
	/* Never twice with one key. */
	if (getrandom(iv, sizeof(iv), 0) != (ssize_t)sizeof(iv))
		err(1, "random bytes");
	if (run(key, VACCEL_ENCRYPT, iv, text, secret, tag) < 0 || run(key, VACCEL_DECRYPT, iv, secret, out, tag) < 0)
		errx(1, "%s", vaccel_error());
	printf("in one piece: %s\n", out);
	decrypt_in_pieces(key, iv, secret, tag);
	secret[3] ^= 1;
	if (run(key, VACCEL_DECRYPT, iv, secret, out, tag) != -EKEYREJECTED)
		errx(1, "a changed message was not noticed");
	printf("a changed message: %s\n", vaccel_error());
	if (vaccel_key_free(key) < 0)
		errx(1, "%s", vaccel_error());
	vaccel_context_free(context);
	return 0;
}
