/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See cipher.h. Pieces go round a ring of slots: one is filled from the input and started, the oldest is waited for and
 * written. A piece is written only when the next one was read, so that it is known which is the last.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cipher.h"
#include "op/block.h"

#define PIECE	    (UINT64_C(1) << 20)
#define SLOTS	    8
#define MAX_SLOTS   64 /* of XTS, whose units may be small */
#define SLOTS_BYTES (UINT64_C(16) << 20)
#define BESIDE	    512 /* bytes of a request that are not of the piece */

struct slot {
	struct vaccel_buffer *buffer;
	uint8_t *source, *destination;
	size_t len;
	uint8_t iv[CIPHER_BLOCK];
	struct vaccel_request *request;
};

struct pipe {
	struct cipher_job *job;
	struct slot slots[MAX_SLOTS];
	size_t n_slots, piece;
	uint64_t head, tail; /* pieces that were started, and written */
	bool eof;
};

static bool encrypts(const struct cipher_job *job)
{
	return job->direction == VACCEL_ENCRYPT;
}

/* ---- Slots ---- */

static void choose_sizes(struct pipe *pipe)
{
	struct cipher_job *job = pipe->job;
	uint64_t most = job->max_request > 2 * BESIDE ? (job->max_request - BESIDE) / 2 : BESIDE / 2;

	if (job->mode->mode == VACCEL_XTS) {
		pipe->piece = job->unit;
		pipe->n_slots = MAX(MIN(SLOTS_BYTES / job->unit, MAX_SLOTS), 2);
		return;
	}
	pipe->piece = MIN(PIECE, most) / CIPHER_BLOCK * CIPHER_BLOCK;
	pipe->n_slots = SLOTS;
}

/* Source and destination apart: what lies over its source cannot be run again if the host's worker dies in it. */
static int make_slots(struct pipe *pipe, struct error *error)
{
	size_t room = pipe->piece + CIPHER_BLOCK; /* for padding */

	for (size_t i = 0; i < pipe->n_slots; i++) {
		struct slot *slot = &pipe->slots[i];
		int r = vaccel_buffer_alloc(pipe->job->session, 2 * room, &slot->buffer);

		if (r < 0)
			return error_set(error, r, "memory: cannot register it: %s", vaccel_error());
		slot->source = vaccel_buffer_data(slot->buffer);
		slot->destination = slot->source + room;
	}
	return 0;
}

static void free_slots(struct pipe *pipe)
{
	for (size_t i = 0; i < pipe->n_slots; i++) {
		struct slot *slot = &pipe->slots[i];

		vaccel_request_free(slot->request);
		if (slot->buffer)
			explicit_bzero(slot->source, vaccel_buffer_size(slot->buffer));
		vaccel_buffer_free(slot->buffer);
	}
}

static struct slot *slot_at(struct pipe *pipe, uint64_t index)
{
	return &pipe->slots[index % pipe->n_slots];
}

/* ---- A piece ---- */

static int check_piece(const struct cipher_job *job, size_t len, struct error *error)
{
	if (len % job->mode->unit)
		return error_set(error, -EINVAL, "input %s: %" PRIu64 " bytes are not a whole number of blocks of %d",
				 job->input, job->bytes_in, CIPHER_BLOCK);
	if (len < job->mode->min)
		return error_set(error, -EINVAL,
				 "input %s: its last data unit has %zu bytes; xts needs %" PRIu64 " or more",
				 job->input, len, job->mode->min);
	return 0;
}

/* Nothing more to read and nothing to pad: the slot stays empty. */
static int fill(struct pipe *pipe, struct slot *slot, struct error *error)
{
	struct cipher_job *job = pipe->job;
	int r = cipher_read(job, slot->source, pipe->piece, &slot->len, error);

	if (r < 0)
		return r;
	pipe->eof = slot->len < pipe->piece;
	if (pipe->eof && job->padding && encrypts(job)) {
		size_t part = slot->len % CIPHER_BLOCK;

		block_pad(slot->source + slot->len - part, (uint32_t)part);
		slot->len += CIPHER_BLOCK - part;
	}
	return slot->len ? check_piece(job, slot->len, error) : 0;
}

static int await(struct slot *slot, struct error *error)
{
	int r = 0;

	if (slot->request) {
		r = vaccel_request_wait(slot->request, -1);
		if (r < 0)
			error_set(error, r, "%s", vaccel_error());
		vaccel_request_free(slot->request);
	}
	slot->request = NULL;
	return r;
}

/* The IV of the piece after this one, whose source is there but not its result. */
static void move_on(struct cipher_job *job, const struct slot *slot)
{
	switch (job->mode->mode) {
	case VACCEL_CBC:
		memcpy(job->iv, slot->source + slot->len - CIPHER_BLOCK, CIPHER_BLOCK);
		break;
	case VACCEL_CTR:
		block_count(job->iv, slot->len / CIPHER_BLOCK);
		break;
	case VACCEL_XTS:
		block_next_unit(job->iv);
		break;
	default:
		break;
	}
}

static int start(struct pipe *pipe, struct slot *slot, struct error *error)
{
	struct cipher_job *job = pipe->job;
	bool chained = job->mode->mode == VACCEL_CBC && encrypts(job);
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = job->mode->mode,
		.direction = job->direction,
		.iv = slot->iv,
		.iv_len = job->iv_len,
		.source = slot->source,
		.destination = slot->destination,
		.len = slot->len,
	};
	int r = 0;

	if (chained && pipe->head) {
		struct slot *before = slot_at(pipe, pipe->head - 1);

		r = await(before, error);
		if (r < 0)
			return r;
		memcpy(job->iv, before->destination + before->len - CIPHER_BLOCK, CIPHER_BLOCK);
	}
	memcpy(slot->iv, job->iv, sizeof(slot->iv));
	r = vaccel_cipher_submit(job->key, &message, NULL, &slot->request);
	if (r < 0)
		return error_set(error, r, "%s", vaccel_error());
	job->n_requests++;
	if (!chained)
		move_on(job, slot);
	return 0;
}

/* Bytes of the last piece that are not padding. */
static int unpad(const struct cipher_job *job, struct slot *slot, struct error *error)
{
	uint8_t block[CIPHER_BLOCK];
	uint32_t pad;

	/* The host can change what is in a registered buffer. */
	memcpy(block, slot->destination + slot->len - CIPHER_BLOCK, CIPHER_BLOCK);
	pad = block_padding(block);
	explicit_bzero(block, sizeof(block));
	if (!pad)
		return error_set(error, -EBADMSG,
				 "input %s: what comes out does not end with padding: the key, the IV or the file is "
				 "another, or "
				 "it was made with --no-padding",
				 job->input);
	slot->len -= pad;
	return 0;
}

static int finish(struct pipe *pipe, struct slot *slot, struct error *error)
{
	struct cipher_job *job = pipe->job;
	bool last = pipe->eof && pipe->tail + 1 == pipe->head;
	int r = await(slot, error);

	if (r == 0 && last && job->padding && !encrypts(job))
		r = unpad(job, slot, error);
	return r < 0 ? r : cipher_write(job, slot->destination, slot->len, error);
}

static int pump(struct pipe *pipe, struct error *error)
{
	int r = 0;

	while (r == 0 && (!pipe->eof || pipe->tail < pipe->head)) {
		struct slot *slot = slot_at(pipe, pipe->head);

		if (pipe->eof || pipe->head - pipe->tail == pipe->n_slots) {
			r = finish(pipe, slot_at(pipe, pipe->tail), error);
			pipe->tail++;
			continue;
		}
		r = fill(pipe, slot, error);
		if (r < 0 || !slot->len)
			continue;
		r = start(pipe, slot, error);
		pipe->head++;
	}
	return r;
}

int cipher_pipe(struct cipher_job *job, struct error *error)
{
	struct pipe pipe = { .job = job };
	int r;

	choose_sizes(&pipe);
	r = make_slots(&pipe, error);
	if (r == 0)
		r = pump(&pipe, error);
	free_slots(&pipe);
	if (r == 0 && job->padding && !encrypts(job) && !job->bytes_in)
		r = error_set(error, -EINVAL, "input %s: is empty, so it has no padding", job->input);
	return r;
}
