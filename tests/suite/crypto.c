/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See crypto.h. What must come out is said by the vectors; everything else is compared with a message in one piece, or with
 * what went in.
 */
#include "crypto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vector.h"

#define MEMORY (4u << 20)
#define GUARD  0xa5
#define SMALL  51 /* of the message that is split at every byte: three blocks and more */

const unsigned char crypto_key[64] = {
	1,  2,	3,  4,	5,  6,	7,  8,	9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
	23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44,
	45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64,
};
/* A counter that carries soon. */
const unsigned char crypto_iv[16] = { 9, 8, 7, 6, 5, 4, 3, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe };

const struct crypto_mode crypto_modes[] = {
	{ "ecb", VACCEL_ECB, 16, 0, 16, 0 },  { "cbc", VACCEL_CBC, 24, 16, 16, 0 }, { "ctr", VACCEL_CTR, 32, 16, 1, 0 },
	{ "xts", VACCEL_XTS, 64, 16, 1, 16 }, { "gcm", VACCEL_GCM, 16, 12, 1, 0 },  { 0 },
};

/* ---- Ways ---- */

int crypto_import(struct way *way, uint32_t modes, uint32_t rights, size_t len, struct vaccel_key **ret_key)
{
	return vaccel_key_import(way->suite->session, VACCEL_KEY_AES, modes, rights, crypto_key, len, ret_key);
}

struct vaccel_message crypto_message(const struct crypto_mode *mode, uint32_t direction, const void *source,
				     void *destination, size_t len, void *tag)
{
	return (struct vaccel_message){
		.size = sizeof(struct vaccel_message),
		.mode = mode->mode,
		.direction = direction,
		.iv = crypto_iv,
		.iv_len = mode->iv_len,
		.source = source,
		.destination = destination,
		.len = len,
		.tag = tag,
		.tag_len = tag && mode->mode == VACCEL_GCM ? 16 : 0,
	};
}

static int finish(int r, struct vaccel_request *request)
{
	if (r < 0)
		return r;
	r = vaccel_request_wait(request, -1);
	vaccel_request_free(request);
	return r;
}

int way_cipher(struct way *way, struct vaccel_key *key, const struct vaccel_message *message)
{
	struct vaccel_request *request = NULL;
	int r;

	if (!way->submit)
		return vaccel_cipher(key, message);
	r = vaccel_cipher_submit(key, message, NULL, &request);
	return finish(r, request);
}

int way_call(struct way *way, struct vaccel_session *session, const struct vaccel_call *call)
{
	struct vaccel_request *request = NULL;
	int r;

	if (!way->submit)
		return vaccel_run(session, call);
	r = vaccel_submit(session, call, &request);
	return finish(r, request);
}

static unsigned char *take_random(struct way *way, size_t len, uint64_t seed)
{
	unsigned char *data = way_take(way, len + 1);

	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(suite_random(&seed) >> 40);
	return data;
}

/* ---- Vectors ---- */

static int run_vector(struct way *way, struct vaccel_key *key, const struct vector *v, bool in_place,
		      unsigned char **ret_result, unsigned char *tag)
{
	unsigned char *source = way_take(way, v->source.len + 1);
	unsigned char *destination = in_place ? source : way_take(way, v->source.len + 1);
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = v->mode,
		.direction = v->direction,
		.iv = v->iv.data,
		.iv_len = v->iv.len,
		.aad = v->aad.data,
		.aad_len = v->aad.len,
		.source = source,
		.destination = destination,
		.len = v->source.len,
		.tag = tag,
		.tag_len = v->tag.len,
	};

	memcpy(source, v->source.data, v->source.len);
	if (v->direction == VACCEL_DECRYPT)
		memcpy(tag, v->tag.data, v->tag.len);
	*ret_result = destination;
	return way_cipher(way, key, &message);
}

static bool check_vector(struct way *way, struct vaccel_key *key, const struct vector *v, bool in_place, char *detail,
			 size_t len)
{
	unsigned char *result, tag[16] = { 0 };
	int r;

	way_reset(way);
	r = run_vector(way, key, v, in_place, &result, tag);
	if (v->rejected)
		return model_is_error(r, -EKEYREJECTED, "tag", detail, len);
	if (r < 0)
		return model_failed(r, detail, len);
	if (memcmp(result, v->result.data, v->source.len) != 0)
		return wrong(detail, len, "a wrong result");
	return memcmp(tag, v->tag.data, v->tag.len) == 0 ? true : wrong(detail, len, "a wrong tag");
}

static bool run_line(struct way *way, const struct vector *v, char *detail, size_t len)
{
	struct vaccel_key *key;
	bool ok;
	int r = vaccel_key_import(way->suite->session, VACCEL_KEY_AES, 1u << v->mode, CRYPTO_BOTH, v->key.data,
				  v->key.len, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	ok = check_vector(way, key, v, false, detail, len) && check_vector(way, key, v, true, detail, len);
	r = vaccel_key_free(key);
	return r < 0 && ok ? model_failed(r, detail, len) : ok;
}

/* every: of which one is run. */
static void run_vectors(struct way *way, const char *path, unsigned int every)
{
	unsigned int n = 0, line = 0;
	struct vector_file file;
	char detail[512] = "", why[300];
	struct vector v;
	bool ok = true;
	int r = vector_open(&file, path);

	if (r == -ENOENT) {
		report_skip("crypto: vectors", "the file is not there; tests/crypto/vectors fetches NIST's");
		return;
	}
	while (r >= 0 && ok && (r = vector_next(&file, &v)) > 0) {
		if (line++ % every)
			continue;
		n++;
		if (!run_line(way, &v, why, sizeof(why)))
			ok = wrong(detail, sizeof(detail), "%s:%lu: %s", path, file.number, why);
	}
	vector_close(&file);
	report(ok && r >= 0 && n, detail, "crypto: %u of the vectors in %s, %s", n, strrchr(path, '/') + 1, way->name);
}

/* ---- Lengths ---- */

static bool there_and_back(struct way *way, struct vaccel_key *key, const struct crypto_mode *mode, size_t n,
			   size_t shift, char *detail, size_t len)
{
	unsigned char *source, *secret, *back, tag[16];
	struct vaccel_message message;
	int r;

	way_reset(way);
	source = take_random(way, n + shift, n + 1) + shift;
	secret = way_take(way, n + shift + 1);
	back = way_take(way, n + shift + 1);
	memset(secret, GUARD, n + shift + 1);
	memset(back, GUARD, n + shift + 1);
	message = crypto_message(mode, VACCEL_ENCRYPT, source, secret + shift, n, tag);
	r = way_cipher(way, key, &message);
	if (r < 0)
		return model_failed(r, detail, len);
	if (n >= 16 && !memcmp(source, secret + shift, n))
		return wrong(detail, len, "nothing was encrypted");
	message = crypto_message(mode, VACCEL_DECRYPT, secret + shift, back + shift, n, tag);
	r = way_cipher(way, key, &message);
	if (r < 0)
		return model_failed(r, detail, len);
	if (memcmp(source, back + shift, n) != 0)
		return wrong(detail, len, "what came back is not what went in");
	for (size_t i = 0; i < shift; i++)
		if (secret[i] != GUARD || back[i] != GUARD)
			return wrong(detail, len, "memory before the destination was written");
	if (secret[n + shift] != GUARD || back[n + shift] != GUARD)
		return wrong(detail, len, "memory behind the destination was written");
	/* In place. */
	message = crypto_message(mode, VACCEL_ENCRYPT, back + shift, back + shift, n, tag);
	r = way_cipher(way, key, &message);
	if (r < 0)
		return model_failed(r, detail, len);
	return memcmp(secret + shift, back + shift, n) == 0 ? true
							    : wrong(detail, len, "in place it is something else");
}

static bool lengths(struct way *way, char *detail, size_t len)
{
	static const size_t rows[] = { 0, 1, 15, 16, 17, 32, 33, 255, 4096, 4097, 65536, (1u << 20) - 1, 1u << 20 };

	for (const struct crypto_mode *mode = crypto_modes; mode->name; mode++) {
		struct vaccel_key *key;
		int r = crypto_import(way, 0, CRYPTO_BOTH, mode->key_len, &key);
		bool ok = r < 0 ? model_failed(r, detail, len) : true;

		for (size_t i = 0; ok && i < COUNT(rows); i++) {
			char why[300];

			if (rows[i] % mode->unit || rows[i] < mode->min)
				continue;
			ok = there_and_back(way, key, mode, rows[i], i % 4, why, sizeof(why));
			if (!ok)
				wrong(detail, len, "%s, %zu bytes: %s", mode->name, rows[i], why);
		}
		if (r >= 0)
			vaccel_key_free(key);
		if (!ok)
			return false;
	}
	return true;
}

/* ---- Streams ---- */

struct piece {
	const unsigned char *source;
	unsigned char *destination;
	size_t at, split, len, room, written;
};

static int feed(struct vaccel_stream *stream, struct piece *piece, size_t upto)
{
	size_t n;
	int r = vaccel_stream_update(stream, piece->source + piece->at, upto - piece->at,
				     piece->destination + piece->written, piece->room - piece->written, &n);

	piece->at = upto;
	if (r == 0)
		piece->written += n;
	return r;
}

/* A message in two pieces, or three; the second half goes through a copy of the stream if there can be one. */
static int run_stream(struct vaccel_key *key, const struct vaccel_stream_options *options, struct piece *piece,
		      unsigned char *tag)
{
	bool gcm = options->mode == VACCEL_GCM;
	struct vaccel_stream *stream, *copy;
	size_t n;
	int r = vaccel_stream_new(key, options, &stream);

	if (r < 0)
		return r;
	if (gcm)
		r = vaccel_stream_aad(stream, crypto_key, 5);
	if (gcm && r == 0)
		r = vaccel_stream_aad(stream, crypto_key + 5, 15);
	if (r == 0)
		r = feed(stream, piece, piece->split);
	if (r == 0 && !gcm) {
		r = vaccel_stream_dup(stream, &copy);
		if (r == 0) {
			vaccel_stream_free(stream);
			stream = copy;
		}
	}
	if (r == 0)
		r = feed(stream, piece, piece->split + (piece->len - piece->split) / 2);
	if (r == 0)
		r = feed(stream, piece, piece->len);
	if (r == 0)
		r = vaccel_stream_final(stream, piece->destination + piece->written, piece->room - piece->written, tag,
					gcm ? 16 : 0, &n);
	if (r == 0)
		piece->written += n;
	vaccel_stream_free(stream);
	return r;
}

static bool split_at(struct way *way, struct vaccel_key *key, const struct crypto_mode *mode, size_t split,
		     bool padding, char *detail, size_t len)
{
	size_t n = padding ? SMALL : SMALL / mode->unit * mode->unit, total = padding ? SMALL / 16 * 16 + 16 : n;
	unsigned char *source, *whole, *there, *back, tag[16], tag_there[16];
	struct vaccel_stream_options options = { .size = sizeof(options),
						 .mode = mode->mode,
						 .direction = VACCEL_ENCRYPT,
						 .iv = crypto_iv,
						 .iv_len = mode->iv_len,
						 .padding = padding };
	struct vaccel_message message;
	struct piece piece;
	int r;

	way_reset(way);
	source = take_random(way, total, 77);
	memset(source + n, (int)(total - n), total - n);
	whole = way_take(way, total);
	there = way_take(way, total + 1);
	back = way_take(way, total + 1);
	memset(there, GUARD, total + 1);
	message = crypto_message(mode, VACCEL_ENCRYPT, source, whole, total, tag);
	if (mode->mode == VACCEL_GCM) {
		message.aad = crypto_key;
		message.aad_len = 20;
	}
	r = way_cipher(way, key, &message);
	piece = (struct piece){ source, there, 0, split < n ? split : n, n, total, 0 };
	if (r == 0)
		r = run_stream(key, &options, &piece, tag_there);
	if (r < 0)
		return model_failed(r, detail, len);
	if (piece.written != total || memcmp(whole, there, total) != 0 || there[total] != GUARD)
		return wrong(detail, len, "%zu bytes, which are not those of one piece", piece.written);
	if (mode->mode == VACCEL_GCM && memcmp(tag, tag_there, 16) != 0)
		return wrong(detail, len, "another tag than that of one piece");
	options.direction = VACCEL_DECRYPT;
	piece = (struct piece){ there, back, 0, split < total ? split : total, total, total, 0 };
	r = run_stream(key, &options, &piece, tag);
	if (r < 0)
		return model_failed(r, detail, len);
	return piece.written == n && !memcmp(source, back, n)
		       ? true
		       : wrong(detail, len, "%zu other bytes came back", piece.written);
}

static bool streams(struct way *way, char *detail, size_t len)
{
	for (const struct crypto_mode *mode = crypto_modes; mode->name; mode++) {
		size_t step = way->suite->quick && mode->mode == VACCEL_GCM ? 7 : 1;
		struct vaccel_key *key;
		char why[300];
		bool ok = true;
		int r;

		/* Each of its pieces is a unit. */
		if (mode->mode == VACCEL_XTS)
			continue;
		r = crypto_import(way, 0, CRYPTO_BOTH, mode->key_len, &key);
		if (r < 0)
			return model_failed(r, detail, len);
		for (size_t split = 0; ok && split <= SMALL + 13; split += step) {
			ok = split_at(way, key, mode, split, false, why, sizeof(why)) &&
			     (mode->unit == 1 || split_at(way, key, mode, split, true, why, sizeof(why)));
			if (!ok)
				wrong(detail, len, "%s, split at %zu: %s", mode->name, split, why);
		}
		vaccel_key_free(key);
		if (!ok)
			return false;
	}
	return true;
}

/* The n-th unit of a stream is a message with that number as its IV. */
static bool units(struct way *way, char *detail, size_t len)
{
	struct vaccel_stream_options options = {
		.size = sizeof(options), .mode = VACCEL_XTS, .direction = VACCEL_ENCRYPT, .iv_len = 16
	};
	unsigned char number[16] = { 0xfe, 0xff }, *source, *unit, *whole;
	struct vaccel_stream *stream = NULL;
	struct vaccel_key *key;
	size_t n = 0;
	bool ok = true;
	int r = crypto_import(way, 0, CRYPTO_BOTH, 32, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	source = take_random(way, 512, 5);
	unit = way_take(way, 512);
	whole = way_take(way, 512);
	options.iv = number;
	r = vaccel_stream_new(key, &options, &stream);
	for (int i = 0; r == 0 && ok && i < 4; i++) {
		struct vaccel_message message = { .size = sizeof(message),
						  .mode = VACCEL_XTS,
						  .direction = VACCEL_ENCRYPT,
						  .iv = number,
						  .iv_len = 16,
						  .source = source,
						  .destination = whole,
						  .len = 512 - (size_t)i };

		r = vaccel_stream_update(stream, source, message.len, unit, 512, &n);
		if (r == 0)
			r = way_cipher(way, key, &message);
		ok = n == message.len && !memcmp(unit, whole, n);
		for (int j = 0; j < 16 && ++number[j] == 0; j++)
			;
	}
	if (r == 0 && ok)
		r = vaccel_stream_final(stream, NULL, 0, NULL, 0, NULL);
	vaccel_stream_free(stream);
	vaccel_key_free(key);
	if (r < 0)
		return model_failed(r, detail, len);
	return ok ? true : wrong(detail, len, "a unit is not what its number makes of it");
}

/* Over its own source, shifted: what the library has to copy first. */
static bool shifted(struct way *way, char *detail, size_t len)
{
	struct vaccel_stream_options options = {
		.size = sizeof(options), .mode = VACCEL_CBC, .direction = VACCEL_ENCRYPT, .iv = crypto_iv, .iv_len = 16
	};
	const struct crypto_mode *cbc = &crypto_modes[1];
	unsigned char *area, *source, *whole;
	struct vaccel_message message;
	struct vaccel_key *key;
	bool ok = true;
	int r = crypto_import(way, 0, CRYPTO_BOTH, cbc->key_len, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	source = take_random(way, 4096, 11);
	whole = way_take(way, 4096);
	area = way_take(way, 8192);
	message = crypto_message(cbc, VACCEL_ENCRYPT, source, whole, 4096, NULL);
	r = way_cipher(way, key, &message);
	/* first: what comes before, so that blocks lie across; by: how far in front of its source the rest goes, or behind. */
	for (int first = 0; r == 0 && ok && first < 20; first += 5) {
		for (int by = -33; r == 0 && ok && by <= 33; by += 11) {
			unsigned char start[48], *from = area + 100;
			size_t n, m;
			struct vaccel_stream *stream;

			memcpy(from, source + first, 4096 - (size_t)first);
			r = vaccel_stream_new(key, &options, &stream);
			if (r == 0)
				r = vaccel_stream_update(stream, source, (size_t)first, start, sizeof(start), &n);
			if (r == 0)
				r = vaccel_stream_update(stream, from, 4096 - (size_t)first, from + by, 4096, &m);
			if (r == 0)
				r = vaccel_stream_final(stream, NULL, 0, NULL, 0, NULL);
			vaccel_stream_free(stream);
			ok = r == 0 && n + m == 4096 && !memcmp(start, whole, n) && !memcmp(from + by, whole + n, m);
		}
	}
	vaccel_key_free(key);
	if (r < 0)
		return model_failed(r, detail, len);
	return ok ? true : wrong(detail, len, "overlapping memory: a wrong result");
}

/* ---- In flight ---- */

#define FLIGHTS 32
#define PIECE	16384

/* Pieces of one message of CTR, all at once. */
static bool many(struct way *way, char *detail, size_t len)
{
	const struct crypto_mode *ctr = &crypto_modes[2];
	struct vaccel_request *requests[FLIGHTS] = { NULL };
	unsigned char ivs[FLIGHTS][16], *source, *pieces, *whole;
	struct vaccel_message message;
	struct vaccel_key *key;
	int r = crypto_import(way, 0, CRYPTO_BOTH, ctr->key_len, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	source = take_random(way, FLIGHTS * PIECE, 3);
	pieces = way_take(way, FLIGHTS * PIECE);
	whole = way_take(way, FLIGHTS * PIECE);
	message = crypto_message(ctr, VACCEL_ENCRYPT, source, whole, FLIGHTS * PIECE, NULL);
	r = way_cipher(way, key, &message);
	for (size_t i = 0; r == 0 && i < FLIGHTS; i++) {
		uint64_t carry = i * PIECE / 16;

		for (int j = 15; j >= 0; j--, carry >>= 8)
			ivs[i][j] = (unsigned char)(carry += crypto_iv[j]);
		message.iv = ivs[i];
		message.source = source + i * PIECE;
		message.destination = pieces + i * PIECE;
		message.len = PIECE;
		r = vaccel_cipher_submit(key, &message, NULL, &requests[i]);
	}
	/* They end as they would have. */
	if (r == 0)
		r = vaccel_key_free(key);
	for (size_t i = 0; i < FLIGHTS; i++) {
		int s = requests[i] ? vaccel_request_wait(requests[i], -1) : 0;

		r = r < 0 ? r : s;
		vaccel_request_free(requests[i]);
	}
	if (r < 0)
		return model_failed(r, detail, len);
	return memcmp(pieces, whole, FLIGHTS * PIECE) == 0 ? true : wrong(detail, len, "a piece is wrong");
}

/* Nothing in a registered buffer is copied, here or there. */
static bool copies(struct way *way, char *detail, size_t len)
{
	const struct crypto_mode *cbc = &crypto_modes[1];
	struct vaccel_info before = { .size = sizeof(before) }, after = { .size = sizeof(after) };
	uint64_t there = 0, now = 0;
	struct vaccel_message message;
	struct vaccel_key *key;
	int r = crypto_import(way, 0, CRYPTO_BOTH, cbc->key_len, &key);

	if (r < 0)
		return model_failed(r, detail, len);
	message = crypto_message(cbc, VACCEL_ENCRYPT, way_take(way, 1u << 20), way_take(way, 1u << 20), 1u << 20, NULL);
	if (vaccel_context_info(way->suite->context, &before) < 0 || !bytes_copied(way->suite, &there))
		return wrong(detail, len, "cannot ask: %s", vaccel_error());
	r = way_cipher(way, key, &message);
	if (r < 0)
		return model_failed(r, detail, len);
	if (vaccel_context_info(way->suite->context, &after) < 0 || !bytes_copied(way->suite, &now))
		return wrong(detail, len, "cannot ask: %s", vaccel_error());
	vaccel_key_free(key);
	/* The IV is in ordinary memory. */
	if (after.bytes_copied - before.bytes_copied > 64 || now - there > 64)
		return wrong(detail, len, "%llu bytes were copied here and %llu there",
			     (unsigned long long)(after.bytes_copied - before.bytes_copied),
			     (unsigned long long)(now - there));
	return true;
}

/* ---- All of it ---- */

static const struct crypto_test tests[] = {
	{ "lengths", lengths },
	{ "streams", streams },
	{ "streams of units", units },
	{ "overlaps", shifted },
	{ "pieces at once, key freed", many },
	{ 0 },
};

static void run_tests(struct way *way, const struct crypto_test *rows)
{
	for (const struct crypto_test *test = rows; test->name; test++) {
		char detail[512] = "";
		bool ok;

		way_reset(way);
		ok = test->run(way, detail, sizeof(detail));
		report(ok, detail, "crypto: %s, %s", test->name, way->name);
	}
}

static void run_way(struct way *way, size_t index)
{
	/* A device of a guest costs more per request. */
	bool slow = way->suite->quick || !strncmp(way->suite->url, "virtio:", 7);

	for (size_t i = 0; i < way->suite->n_vectors; i++)
		run_vectors(way, way->suite->vectors[i], i == 0 ? 1 : slow ? 131 : index == 0 ? 1 : 17);
	run_tests(way, tests);
	run_tests(way, crypto_key_tests);
	run_tests(way, crypto_bad_tests);
}

static void run_once(struct way *registered)
{
	static const struct crypto_test rows[] = { { "no copies", copies }, { 0 } };

	run_tests(registered, rows);
}

void run_crypto(struct suite *suite)
{
	run_ways(suite, "crypto", MEMORY, run_way, run_once);
}
