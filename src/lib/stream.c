/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: a message in pieces.
 *
 * What a mode chains is kept here, in iv: of CBC the last block of ciphertext, of CTR the next counter, and in skip how many
 * bytes of its key stream are used up, of XTS the number of the next data unit. It moves on when a request has succeeded.
 * ECB and CBC take whole blocks only: bytes of a block that is not whole, or that may be the one with the padding, are in
 * held. GCM is chained by the host, under the stream's number; the first request brings the IV. A stream that is freed
 * before its end ends the message there, so that the host forgets it.
 *
 * A failure at the other end is remembered: how much of the message was worked on is not known then. What fails before any
 * of a function's requests was sent changes nothing, so that the function can be called again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/cipher.h"
#include "lib/internal.h"
#include "op/block.h"
#include "op/cipher.h"
#include "util/util.h"

#define MAX_IV	    128			 /* of GCM */
#define REQUEST_MAX (UINT64_C(16) << 20) /* bytes that one request moves: more gains nothing */
#define BESIDE	    512			 /* bytes of a request that are not source or destination, at most */

struct vaccel_stream {
	struct vaccel_key *key; /* counted */
	const struct cipher_mode *mode;
	uint32_t direction;
	bool padding;
	bool begun; /* GCM: the host has something of the message */
	bool fed;   /* of its source */
	bool sent;  /* the function that is under way has sent a request */
	bool ended;
	int failure;
	uint64_t number; /* GCM */
	uint32_t skip;	 /* CTR */
	uint32_t n_held; /* at most a block */
	size_t iv_len;
	uint8_t held[CIPHER_BLOCK];
	uint8_t iv[MAX_IV];
};

_Static_assert(MAX_IV >= CIPHER_BLOCK, "the IV of any mode");

/* ---- Requests ---- */

/* A request for len bytes has succeeded. last: CBC's last block of ciphertext. */
static void move_on(struct vaccel_stream *stream, size_t len, const uint8_t *last)
{
	uint64_t used;

	switch (stream->mode->mode) {
	case VACCEL_CBC:
		memcpy(stream->iv, last, CIPHER_BLOCK);
		break;
	case VACCEL_CTR:
		used = stream->skip + len;
		block_count(stream->iv, used / CIPHER_BLOCK);
		stream->skip = used % CIPHER_BLOCK;
		break;
	case VACCEL_XTS:
		block_next_unit(stream->iv);
		break;
	case VACCEL_GCM:
		stream->begun = true;
		break;
	default:
		break;
	}
}

static bool is_gcm(const struct vaccel_stream *stream)
{
	return stream->mode->mode == VACCEL_GCM;
}

/* Sends one. Of a stream of GCM it is part of the message, and its end if there is a tag. */
static int send(struct vaccel_stream *stream, struct vaccel_message *message)
{
	struct vaccel_session *session;
	struct cipher_call cipher;
	struct journey journey;
	int r;

	session = key_session(stream->key, &r);
	if (!session)
		return r;
	message->mode = stream->mode->mode;
	message->direction = stream->direction;
	message->skip = stream->skip;
	if (!stream->begun) {
		message->iv = stream->iv;
		message->iv_len = stream->iv_len;
	}
	cipher_call_init(&cipher, stream->key, message);
	if (is_gcm(stream)) {
		cipher.params.flags = (stream->begun ? 0 : VACCEL_CIPHER_BEGIN) |
				      (message->tag_len ? VACCEL_CIPHER_END : 0);
		cipher.params.stream =
			cipher.params.flags == (VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END) ? 0 : stream->number;
	}
	r = request_run(session, &cipher.call, stream->key->connection, &journey);
	stream->sent |= journey.sent;
	return r;
}

/* One request's worth of source, whole units of it. */
static int run(struct vaccel_stream *stream, const uint8_t *source, size_t len, uint8_t *destination)
{
	struct vaccel_message message = { .source = source, .destination = destination, .len = len };
	bool encrypts = stream->direction == VACCEL_ENCRYPT, chains = stream->mode->mode == VACCEL_CBC;
	uint8_t last[CIPHER_BLOCK] = { 0 };
	int r;

	/* Before it is overwritten in place. */
	if (chains && !encrypts)
		memcpy(last, source + len - CIPHER_BLOCK, CIPHER_BLOCK);
	r = send(stream, &message);
	if (r < 0)
		return r;
	if (chains && encrypts)
		memcpy(last, destination + len - CIPHER_BLOCK, CIPHER_BLOCK);
	move_on(stream, len, last);
	return 0;
}

static size_t request_len(const struct vaccel_stream *stream)
{
	uint64_t max = stream->key->context->limits.max_request_bytes;

	if (stream->mode->mode == VACCEL_XTS)
		return SIZE_MAX;
	max = max > BESIDE ? MIN((max - BESIDE) / 2, REQUEST_MAX) : 0;
	return MAX(max / CIPHER_BLOCK, 1) * CIPHER_BLOCK;
}

static int run_all(struct vaccel_stream *stream, const uint8_t *source, size_t len, uint8_t *destination)
{
	size_t most = request_len(stream);
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += MIN(len - at, most))
		r = run(stream, source + at, MIN(len - at, most), destination + at);
	return r;
}

/* Whether they share a byte though they are not the same. */
static bool collide(const uint8_t *a, const uint8_t *b, size_t len)
{
	uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;

	return x != y && (x < y ? y - x : x - y) < len;
}

static int run_anywhere(struct vaccel_stream *stream, const uint8_t *source, size_t len, uint8_t *destination)
{
	uint8_t *copy;
	int r;

	if (!collide(source, destination, len))
		return run_all(stream, source, len, destination);
	copy = malloc(len);
	if (!copy)
		return lib_failf(-ENOMEM, "stream: out of memory");
	memcpy(copy, source, len);
	r = run_all(stream, copy, len, destination);
	explicit_bzero(copy, len);
	free(copy);
	return r;
}

/* What is -ESTALE stays so. */
static int keep_failure(struct vaccel_stream *stream, int r)
{
	if (r < 0 && (stream->sent || r == -ESTALE))
		stream->failure = r;
	return r;
}

static int check_stream(const struct vaccel_stream *stream)
{
	int r = stream ? context_check(stream->key->context, "stream") : lib_failf(-EINVAL, "stream: none given");

	if (r < 0)
		return r;
	if (stream->failure)
		return lib_failf(stream->failure, "stream: it failed before, with %s", error_name(stream->failure));
	return stream->ended ? lib_failf(-EINVAL, "stream: its message has ended") : 0;
}

/* The same where requests may follow. */
static int enter(struct vaccel_stream *stream)
{
	int r = check_stream(stream);

	if (r == 0)
		stream->sent = false;
	return r;
}

/* ---- Beginning and end ---- */

/* What the other end would say of the key, without asking it. */
static int check_key(const struct vaccel_key *key, const struct vaccel_stream_options *options)
{
	const struct op_key known = {
		.type = key->about.type,
		.bits = key->about.bits,
		.modes = key->about.modes,
		.rights = key->about.rights,
		.held = key->about.held,
	};
	const struct vaccel_cipher params = { .mode = options->mode, .direction = options->direction };
	const struct op_desc *op = op_by_id(VACCEL_OP_CIPHER);
	struct op_request request = { .op = VACCEL_OP_CIPHER };
	struct error error;

	memcpy(request.params, &params, sizeof(params));
	error.code = op->check_key(op, &request, &known, &error);
	return error.code < 0 ? lib_fail(&error) : 0;
}

static int check_options(const struct vaccel_stream_options *options)
{
	const struct cipher_mode *mode = cipher_mode(options->mode);

	if (!mode)
		return lib_failf(-EINVAL, "stream: mode %" PRIu32 " is not known", options->mode);
	if (options->direction != VACCEL_ENCRYPT && options->direction != VACCEL_DECRYPT)
		return lib_failf(-EINVAL, "stream: direction is %" PRIu32 ", neither 1 (encrypt) nor 2 (decrypt)",
				 options->direction);
	if (options->padding > 1 || options->reserved)
		return lib_failf(-EINVAL,
				 "stream: padding is %" PRIu32 ", not 0 or 1, or reserved is %" PRIu32 ", not 0",
				 options->padding, options->reserved);
	if (options->padding && mode->unit == 1)
		return lib_failf(-EINVAL, "stream: %s has no padding", mode->name);
	if (options->iv_len < mode->iv_min || options->iv_len > mode->iv_max)
		return lib_failf(-EINVAL, "stream: IV of %zu bytes, %s takes %" PRIu32 " to %" PRIu32, options->iv_len,
				 mode->name, mode->iv_min, mode->iv_max);
	if (options->iv_len && !options->iv)
		return lib_failf(-EINVAL, "stream: IV of %zu bytes at address NULL", options->iv_len);
	return 0;
}

PUBLIC int vaccel_stream_new(struct vaccel_key *key, const struct vaccel_stream_options *options,
			     struct vaccel_stream **ret_stream)
{
	struct vaccel_stream_options known;
	struct vaccel_session *session;
	struct vaccel_stream *stream;
	int r;

	session = key_session(key, &r);
	if (session)
		r = lib_read_struct(&known, sizeof(known), options, "vaccel_stream_options");
	if (r == 0)
		r = check_options(&known);
	if (r == 0)
		r = check_key(key, &known);
	if (r < 0)
		return r;
	if (!ret_stream)
		return lib_failf(-EINVAL, "stream: nowhere to return it");
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return lib_failf(-ENOMEM, "stream: out of memory");
	key_ref(key);
	stream->key = key;
	stream->mode = cipher_mode(known.mode);
	stream->direction = known.direction;
	stream->padding = known.padding;
	stream->number = __atomic_add_fetch(&session->n_streams, 1, __ATOMIC_RELAXED);
	stream->iv_len = known.iv_len;
	if (known.iv_len)
		memcpy(stream->iv, known.iv, known.iv_len);
	*ret_stream = stream;
	return 0;
}

PUBLIC int vaccel_stream_dup(const struct vaccel_stream *stream, struct vaccel_stream **ret_stream)
{
	struct vaccel_session *session;
	struct vaccel_stream *copy;
	int r = check_stream(stream);

	if (r < 0)
		return r;
	if (!ret_stream)
		return lib_failf(-EINVAL, "stream: nowhere to return it");
	if (stream->begun)
		return lib_failf(-EOPNOTSUPP, "stream: the host cannot copy what it has of a message of GCM");
	session = key_session(stream->key, &r);
	if (!session)
		return r;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return lib_failf(-ENOMEM, "stream: out of memory");
	*copy = *stream;
	copy->number = __atomic_add_fetch(&session->n_streams, 1, __ATOMIC_RELAXED);
	key_ref(copy->key);
	*ret_stream = copy;
	return 0;
}

/*
 * The host forgets the message with its end, whatever becomes of that; also when a request failed, for it may not have got
 * there. What vaccel_error() says is still about what the caller did.
 */
static void abandon(struct vaccel_stream *stream)
{
	uint8_t tag[CIPHER_MAX_TAG] = { 0 };
	struct vaccel_message message = { .tag = tag, .tag_len = sizeof(tag) };
	struct error before = { .code = 0 };

	if (!stream->begun || stream->ended || !__atomic_load_n(&stream->key->session, __ATOMIC_ACQUIRE))
		return;
	snprintf(before.text, sizeof(before.text), "%s", vaccel_error());
	send(stream, &message);
	lib_fail(&before);
}

PUBLIC void vaccel_stream_free(struct vaccel_stream *stream)
{
	if (!stream || stream->key->context->pid != lib_process())
		return;
	abandon(stream);
	key_unref(stream->key);
	explicit_bzero(stream, sizeof(*stream));
	free(stream);
}

/* ---- In between ---- */

PUBLIC int vaccel_stream_aad(struct vaccel_stream *stream, const void *data, size_t len)
{
	struct vaccel_message message = { .aad = data, .aad_len = len };
	int r = enter(stream);

	if (r < 0)
		return r;
	if (!is_gcm(stream) || stream->fed)
		return lib_failf(-EINVAL, "stream: additional data comes before the message, and with GCM only");
	if (len && !data)
		return lib_failf(-EINVAL, "stream: %zu bytes of additional data at address NULL", len);
	if (!len)
		return 0;
	r = keep_failure(stream, send(stream, &message));
	if (r == 0)
		stream->begun = true;
	return r;
}

/* How an update is cut. */
struct cut {
	size_t head; /* bytes of source that make the held block whole */
	size_t body;
	size_t keep; /* behind them */
	bool first;  /* there is such a block */
};

static struct cut cut_update(const struct vaccel_stream *stream, size_t len)
{
	size_t unit = stream->mode->unit, total = stream->n_held + len;
	struct cut cut = { .keep = total % unit };

	/* The last block may have the padding. */
	if (stream->padding && stream->direction == VACCEL_DECRYPT && !cut.keep && total)
		cut.keep = unit;
	cut.first = stream->n_held && total - cut.keep;
	cut.head = cut.first ? unit - stream->n_held : 0;
	cut.body = total - cut.keep - (cut.first ? unit : 0);
	return cut;
}

/*
 * The held block is written last: its place may be that of source which is not read yet. What is to be held next is read
 * first, since destination may lie on it.
 */
static int update(struct vaccel_stream *stream, const uint8_t *source, size_t len, uint8_t *destination,
		  const struct cut *cut)
{
	uint8_t first[CIPHER_BLOCK], next[CIPHER_BLOCK];
	size_t unit = cut->first ? stream->mode->unit : 0;
	int r = 0;

	memcpy(next, source + len - cut->keep, cut->keep);
	if (cut->first) {
		memcpy(stream->held + stream->n_held, source, cut->head);
		r = run(stream, stream->held, unit, first);
	}
	if (r == 0 && cut->body)
		r = run_anywhere(stream, source + cut->head, cut->body, destination + unit);
	if (r == 0) {
		memcpy(destination, first, unit);
		memcpy(stream->held, next, cut->keep);
		stream->n_held = (uint32_t)cut->keep;
	}
	explicit_bzero(first, sizeof(first));
	explicit_bzero(next, sizeof(next));
	return keep_failure(stream, r);
}

static int check_update(const struct vaccel_stream *stream, const void *source, size_t len, const void *destination,
			size_t room, size_t wanted)
{
	const struct cipher_mode *mode = stream->mode;

	if ((len && !source) || (room && !destination))
		return lib_failf(-EINVAL, "stream: %zu bytes, or room for %zu, at address NULL", len, room);
	if (mode->mode == VACCEL_XTS && (len < mode->min || len > mode->max))
		return lib_failf(-EINVAL, "stream: %zu bytes, xts takes %" PRIu64 " to %" PRIu64, len, mode->min,
				 mode->max);
	if (room < wanted)
		return lib_failf(-ERANGE, "stream: %zu bytes would be written, there is room for %zu", wanted, room);
	return 0;
}

PUBLIC int vaccel_stream_update(struct vaccel_stream *stream, const void *source, size_t len, void *destination,
				size_t room, size_t *ret_len)
{
	struct cut cut;
	size_t wanted;
	int r = enter(stream);

	if (r < 0)
		return r;
	if (!ret_len)
		return lib_failf(-EINVAL, "stream: nowhere to return how much was written");
	if (len > PTRDIFF_MAX)
		return lib_failf(-EINVAL, "stream: %zu bytes are more than any memory", len);
	cut = cut_update(stream, len);
	wanted = cut.body + (cut.first ? stream->mode->unit : 0);
	r = check_update(stream, source, len, destination, room, wanted);
	if (r < 0)
		return r;
	if (!wanted && len) {
		memcpy(stream->held + stream->n_held, source, len);
		stream->n_held += (uint32_t)len;
	} else if (wanted) {
		r = update(stream, source, len, destination, &cut);
		stream->fed |= stream->sent;
	}
	if (r == 0)
		*ret_len = wanted;
	return r;
}

/* ---- The end ---- */

static int final_tag(struct vaccel_stream *stream, void *tag, size_t tag_len)
{
	struct vaccel_message message = { .tag = tag, .tag_len = tag_len };

	if (!is_gcm(stream) || !tag_len) {
		if (is_gcm(stream) || tag_len)
			return lib_failf(-EINVAL, "stream: a tag of %zu bytes, %s", tag_len,
					 is_gcm(stream) ? "gcm has one" : "gcm alone has one");
		return 0;
	}
	return keep_failure(stream, send(stream, &message));
}

static int final_pad(struct vaccel_stream *stream, uint8_t *destination, size_t room)
{
	uint8_t block[CIPHER_BLOCK];
	int r;

	if (room < sizeof(block))
		return lib_failf(-ERANGE, "stream: %zu bytes would be written, there is room for %zu", sizeof(block),
				 room);
	memcpy(block, stream->held, stream->n_held);
	block_pad(block, stream->n_held);
	r = run(stream, block, sizeof(block), destination);
	explicit_bzero(block, sizeof(block));
	return r < 0 ? keep_failure(stream, r) : (int)sizeof(block);
}

static int final_unpad(struct vaccel_stream *stream, uint8_t *destination, size_t room)
{
	uint8_t block[CIPHER_BLOCK], iv[CIPHER_BLOCK];
	uint32_t pad;
	size_t n;
	int r;

	memcpy(iv, stream->iv, sizeof(iv));
	r = keep_failure(stream, run(stream, stream->held, sizeof(block), block));
	pad = r < 0 ? 0 : block_padding(block);
	n = sizeof(block) - pad;
	if (r == 0 && !pad) {
		r = keep_failure(stream, lib_failf(-EBADMSG, "stream: the message does not end with padding"));
	} else if (r == 0 && room < n) {
		memcpy(stream->iv, iv, sizeof(iv));
		r = lib_failf(-ERANGE, "stream: %zu bytes would be written, there is room for %zu", n, room);
	} else if (r == 0 && n) {
		memcpy(destination, block, n);
	}
	explicit_bzero(block, sizeof(block));
	return r < 0 ? r : (int)n;
}

/* Returns how many bytes were written. */
static int final_block(struct vaccel_stream *stream, uint8_t *destination, size_t room)
{
	bool decrypts = stream->direction == VACCEL_DECRYPT;

	if (stream->padding && !decrypts)
		return final_pad(stream, destination, room);
	if (stream->padding && stream->n_held == CIPHER_BLOCK)
		return final_unpad(stream, destination, room);
	if (stream->padding || stream->n_held)
		return lib_failf(-EINVAL, "stream: the message is not %swhole number of blocks of %d bytes",
				 stream->padding ? "a positive " : "a ", CIPHER_BLOCK);
	return 0;
}

PUBLIC int vaccel_stream_final(struct vaccel_stream *stream, void *destination, size_t room, void *tag, size_t tag_len,
			       size_t *ret_len)
{
	int r = enter(stream);

	if (r < 0)
		return r;
	if (room && !destination)
		return lib_failf(-EINVAL, "stream: room for %zu bytes at address NULL", room);
	if (stream->padding && !ret_len)
		return lib_failf(-EINVAL, "stream: nowhere to return how much was written");
	r = final_tag(stream, tag, tag_len);
	if (r == 0)
		r = final_block(stream, destination, room);
	if (r < 0)
		return r;
	stream->ended = true;
	if (ret_len)
		*ret_len = (size_t)r;
	return 0;
}
