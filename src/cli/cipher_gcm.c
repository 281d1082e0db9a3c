/* SPDX-License-Identifier: Apache-2.0 */
/* See cipher.h: GCM. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cipher.h"

#define PIECE (1u << 20)

/* Memory of a piece: what comes from the input, and what comes of it. */
struct piece {
	struct vaccel_buffer *buffer;
	uint8_t *source, *destination;
};

static int make_piece(struct cipher_job *job, size_t len, struct piece *piece, struct error *error)
{
	int r = vaccel_buffer_alloc(job->session, 2 * len, &piece->buffer);

	if (r < 0)
		return error_set(error, r, "memory: cannot register it: %s", vaccel_error());
	piece->source = vaccel_buffer_data(piece->buffer);
	piece->destination = piece->source + len;
	return 0;
}

static void free_piece(struct piece *piece)
{
	if (piece->buffer)
		explicit_bzero(piece->source, vaccel_buffer_size(piece->buffer));
	vaccel_buffer_free(piece->buffer);
}

static int failed(int r, struct error *error)
{
	return error_set(error, r, "%s", vaccel_error());
}

/* The last tag_len bytes that were read are kept back, at the beginning of source: they may be the tag. */
static int update_all(struct cipher_job *job, struct vaccel_stream *stream, struct piece *piece, size_t tag_len,
		      struct error *error)
{
	size_t kept = 0, read, n;
	int r;

	do {
		r = cipher_read(job, piece->source + kept, PIECE, &read, error);
		if (r < 0)
			return r;
		n = kept + read;
		if (n > tag_len) {
			r = vaccel_stream_update(stream, piece->source, n - tag_len, piece->destination, n - tag_len,
						 &n);
			if (r < 0)
				return failed(r, error);
			job->n_requests++;
			r = cipher_write(job, piece->destination, n, error);
			if (r < 0)
				return r;
			memmove(piece->source, piece->source + n, tag_len);
			n = tag_len;
		}
		kept = n;
	} while (read == PIECE);
	if (kept < tag_len)
		return error_set(error, -EINVAL, "input %s: has %" PRIu64 " bytes, fewer than its tag", job->input,
				 job->bytes_in);
	memcpy(job->tag, piece->source, tag_len);
	return 0;
}

static int run_stream(struct cipher_job *job, struct vaccel_stream *stream, struct error *error)
{
	bool decrypts = job->direction == VACCEL_DECRYPT;
	size_t in_file = job->tag_len ? 0 : CIPHER_MAX_TAG;
	struct piece piece = { .buffer = NULL };
	int r = make_piece(job, PIECE + CIPHER_MAX_TAG, &piece, error);

	if (r == 0) {
		r = vaccel_stream_aad(stream, job->aad, job->aad_len);
		if (r < 0)
			failed(r, error);
	}
	if (r == 0)
		r = update_all(job, stream, &piece, decrypts ? in_file : 0, error);
	if (r == 0) {
		r = vaccel_stream_final(stream, NULL, 0, job->tag, MAX(job->tag_len, in_file), NULL);
		job->n_requests++;
		if (r < 0)
			failed(r, error);
	}
	if (r == 0 && !decrypts)
		r = cipher_write(job, job->tag, in_file, error);
	free_piece(&piece);
	return r;
}

/*
 * A key that the host lends for decryption alone tells nothing before the tag was checked: the message has to be in one
 * piece.
 */
static int run_whole(struct cipher_job *job, struct error *error)
{
	size_t room = job->max_request / 2, len = 0;
	_cleanup_free_ uint8_t *data = NULL;
	struct vaccel_message message;
	int r = cipher_read_all(job, room, &data, &len, error);

	if (r < 0)
		return r;
	if (!job->tag_len && len < CIPHER_MAX_TAG)
		return error_set(error, -EINVAL, "input %s: has %zu bytes, fewer than its tag", job->input, len);
	if (!job->tag_len) {
		len -= CIPHER_MAX_TAG;
		memcpy(job->tag, data + len, CIPHER_MAX_TAG);
	}
	message = (struct vaccel_message){
		.size = sizeof(message),
		.mode = VACCEL_GCM,
		.direction = VACCEL_DECRYPT,
		.iv = job->iv,
		.iv_len = job->iv_len,
		.aad = job->aad,
		.aad_len = job->aad_len,
		.source = data,
		.destination = data,
		.len = len,
		.tag = job->tag,
		.tag_len = job->tag_len ? job->tag_len : CIPHER_MAX_TAG,
	};
	r = vaccel_cipher(job->key, &message);
	job->n_requests++;
	r = r < 0 ? failed(r, error) : cipher_write(job, data, len, error);
	explicit_bzero(data, len);
	return r;
}

int cipher_gcm(struct cipher_job *job, struct error *error)
{
	const struct vaccel_key_about *about = vaccel_key_about(job->key);
	const struct vaccel_stream_options options = {
		.size = sizeof(options),
		.mode = VACCEL_GCM,
		.direction = job->direction,
		.iv = job->iv,
		.iv_len = job->iv_len,
	};
	struct vaccel_stream *stream;
	int r;

	if (about->held && !(about->rights & VACCEL_MAY_ENCRYPT))
		return run_whole(job, error);
	r = vaccel_stream_new(job->key, &options, &stream);
	if (r < 0)
		return failed(r, error);
	r = run_stream(job, stream, error);
	vaccel_stream_free(stream);
	return r;
}
