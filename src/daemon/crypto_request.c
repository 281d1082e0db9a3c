/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the virtio-crypto device from its descriptor chain to its answer. Headers, IVs and keys are copied out of
 * guest memory once, and only the copies are looked at. Source and destination are pieces of the chain: used where they lie
 * when each is in one piece, else gathered, and scattered back after success. See crypto.h.
 *
 * A data queue's chain: header, IV, source | destination, ..., status: the last byte that may be written. Bytes between
 * source and end, or destination and status, are left alone, as drivers hand over whole pages.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/worker.h"
#include "util/util.h"

enum { IV, AAD, SOURCE, DESTINATION, TAG, N_CIPHER_ARGS };
enum { AK_SOURCE, AK_DESTINATION, AK_ANSWER, N_AKCIPHER_ARGS };

/* The control queue is the last. */
static bool is_control(const struct wring *ring)
{
	const struct worker *worker = ring->conn->worker;

	return ring->index + 1u == worker->device->n_queues(worker->config);
}

/* ---- pieces ---- */

HOT static void copy_from(const struct iovec *iov, size_t n, uint64_t skip, void *dst, uint64_t len)
{
	char *at = dst;

	for (size_t i = 0; i < n && len > 0; i++) {
		uint64_t from = MIN(skip, iov[i].iov_len);
		uint64_t part = MIN(iov[i].iov_len - from, len);

		memcpy(at, (const char *)iov[i].iov_base + from, part);
		skip -= from;
		at += part;
		len -= part;
	}
}

/* So many bytes, which are there, as pieces: at most n of them. */
HOT static void cut(const struct iovec *iov, size_t n, uint64_t skip, uint64_t len, struct iovec *room,
		    struct crypto_pieces *ret)
{
	*ret = (struct crypto_pieces){ .rows = room };
	for (size_t i = 0; i < n && len > 0; i++) {
		uint64_t from = MIN(skip, iov[i].iov_len);
		uint64_t part = MIN(iov[i].iov_len - from, len);
		char *base = (char *)iov[i].iov_base + from;
		struct iovec *last = ret->n ? &room[ret->n - 1] : NULL;

		skip -= from;
		len -= part;
		if (last && part && (char *)last->iov_base + last->iov_len == base)
			last->iov_len += part;
		else if (part)
			room[ret->n++] = (struct iovec){ .iov_base = base, .iov_len = part };
	}
}

/* Room for as many pieces as the chain has, which becomes invalid when the ring's thread takes the next. */
HOT static struct iovec *room_for(struct crypto_request *crypto, size_t n)
{
	if (n <= CRYPTO_PIECES)
		return crypto->pieces;
	crypto->more = calloc(n, sizeof(*crypto->more));
	return crypto->more;
}

/* ---- decoding ---- */

/* Copies the message, or as much of it as may be, which free_message() wipes. */
static int copy_message(struct crypto_request *crypto, const struct vq_chain *chain, struct error *error)
{
	crypto->message_len = MIN(chain->readable_len, crypto_max_control());
	crypto->message = malloc(crypto->message_len + 1);
	if (!crypto->message)
		return error_set(error, -ENOMEM, "request: no memory for its message");
	copy_from(chain->readable, chain->n_readable, 0, crypto->message, crypto->message_len);
	return 0;
}

static int decode_control(struct request *request, const struct vq_chain *chain, struct error *error)
{
	struct crypto_request *crypto = &request->crypto;
	int r = copy_message(crypto, chain, error);

	/* How a request is answered whose message nobody has read. */
	crypto->wire.kind = CRYPTO_CREATE;
	if (r == 0)
		r = crypto_wire_control(crypto->message, crypto->message_len, &crypto->wire, error);
	/* Read all the same: its opcode says how it is answered. */
	if (crypto->message && chain->readable_len > crypto->message_len)
		r = error_set(error, -EINVAL, "request: message of %" PRIu64 " bytes, at most %zu are taken",
			      chain->readable_len, crypto->message_len);
	if (r == 0)
		request->kind = stats_kind(VIRTIO_ACCEL_T_OP, crypto->wire.kind == CRYPTO_CREATE ? VACCEL_OP_KEY_IMPORT
												 : VACCEL_OP_KEY_FREE);
	cut(chain->writable, MIN(chain->n_writable, CRYPTO_PIECES), 0,
	    crypto->wire.kind == CRYPTO_DESTROY ? 1 : sizeof(struct virtio_crypto_session_input), crypto->pieces,
	    &crypto->response);
	return r;
}

/* The last byte that may be written. There is one. */
HOT static uint8_t *find_status(const struct vq_chain *chain)
{
	size_t i = chain->n_writable;

	while (i > 1 && chain->writable[i - 1].iov_len == 0)
		i--;
	return (uint8_t *)chain->writable[i - 1].iov_base + chain->writable[i - 1].iov_len - 1;
}

HOT static int find_arguments(struct request *request, const struct vq_chain *chain, struct error *error)
{
	struct crypto_request *crypto = &request->crypto;
	const struct crypto_wire *wire = &crypto->wire;
	uint64_t source = CRYPTO_DATA_HEADER + wire->iv_len;
	struct iovec *room = room_for(crypto, chain->n_readable * 2 + chain->n_writable);

	if (!room)
		return error_set(error, -ENOMEM, "request: no memory for its %zu pieces",
				 chain->n_readable + chain->n_writable);
	copy_from(chain->readable, chain->n_readable, CRYPTO_DATA_HEADER, crypto->iv, wire->iv_len);
	cut(chain->readable, chain->n_readable, source, wire->src_len, room, &crypto->source);
	room += crypto->source.n;
	if (wire->verifies)
		cut(chain->readable, chain->n_readable, source + wire->src_len, wire->dst_len, room,
		    &crypto->destination);
	else
		cut(chain->writable, chain->n_writable, 0, wire->dst_len, room, &crypto->destination);
	return 0;
}

HOT static int decode_data(struct request *request, const struct vq_chain *chain, struct error *error)
{
	struct crypto_request *crypto = &request->crypto;
	uint8_t header[CRYPTO_DATA_HEADER];
	int r;

	copy_from(chain->readable, chain->n_readable, 0, header, sizeof(header));
	r = crypto_wire_data(header, chain->readable_len, chain->writable_len, &crypto->wire, error);
	if (r < 0)
		return r;
	request->kind = stats_kind(VIRTIO_ACCEL_T_OP,
				   crypto->wire.kind == CRYPTO_CIPHER ? VACCEL_OP_CIPHER : VACCEL_OP_AKCIPHER);
	return find_arguments(request, chain, error);
}

HOT int crypto_decode(struct request *request, const struct vq_chain *chain, struct error *error)
{
	struct crypto_request *crypto = &request->crypto;
	int r;

	request->id = request_tag(request);
	crypto->message = NULL;
	crypto->more = NULL;
	crypto->source.n = crypto->destination.n = crypto->response.n = 0;
	crypto->control = is_control(request->ring);
	if (chain->writable_len == 0)
		return 1;
	crypto->status = find_status(chain);
	r = crypto->control ? decode_control(request, chain, error) : decode_data(request, chain, error);
	request->decoded_ns = request->popped_ns ? now_ns() : 0;
	return r;
}

/* ---- the answer ---- */

HOT static void scatter(const struct crypto_pieces *to, const void *data, uint64_t len)
{
	const char *at = data;

	for (size_t i = 0; i < to->n && len > 0; i++) {
		uint64_t part = MIN(to->rows[i].iov_len, len);

		memcpy(to->rows[i].iov_base, at, part);
		at += part;
		len -= part;
	}
}

/* Returns how many bytes were written: of what has no room for it, none or the status alone. */
static uint32_t answer_control(struct request *request, uint64_t id, uint8_t status)
{
	struct crypto_request *crypto = &request->crypto;
	struct virtio_crypto_session_input input = { .status = htole32(status) };
	uint64_t room = 0;

	for (size_t i = 0; i < crypto->response.n; i++)
		room += crypto->response.rows[i].iov_len;
	if (crypto->wire.kind == CRYPTO_DESTROY) {
		scatter(&crypto->response, &status, sizeof(status));
		return sizeof(status);
	}
	if (room < sizeof(input))
		return 0;
	input.session_id = htole64(id);
	scatter(&crypto->response, &input, sizeof(input));
	return sizeof(input);
}

static void free_message(struct crypto_request *crypto)
{
	if (!crypto->message)
		return;
	explicit_bzero(crypto->message, crypto->message_len);
	free(crypto->message);
	crypto->message = NULL;
}

/* value: CREATE: the session's id; data queues: bytes of the destination that were written. */
HOT void crypto_answer(struct request *request, int result, uint64_t value, const struct error *error)
{
	struct crypto_request *crypto = &request->crypto;
	uint8_t status = crypto_status(result, crypto->control && crypto->wire.kind == CRYPTO_CREATE);
	uint32_t written;

	if (result < 0)
		value = 0;
	if (crypto->control) {
		written = answer_control(request, value, status);
	} else {
		*crypto->status = status;
		/* Drivers take what is left of it without the status for the length of the result. */
		written = (uint32_t)value + 1;
	}
	free_message(crypto);
	free(crypto->more);
	crypto->more = NULL;
	request_finish(request, result, written, error);
}

/* ---- the control queue ---- */

static void run_control(struct request *request)
{
	const struct crypto_request *crypto = &request->crypto;
	struct wconn *conn = request->ring->conn;
	struct error error = { 0 };
	uint64_t id = 0, room = 0;
	int r;

	for (size_t i = 0; i < crypto->response.n; i++)
		room += crypto->response.rows[i].iov_len;
	if (crypto->wire.kind == CRYPTO_DESTROY)
		r = crypto_session_destroy(conn, crypto->wire.session, request->recovered, &error);
	else if (room < sizeof(struct virtio_crypto_session_input))
		r = error_set(&error, -EBADMSG, "session: there is no room for its id");
	else
		r = crypto_session_create(conn, request_tag(request), &crypto->wire.create, &id, &error);
	crypto_answer(request, r, id, &error);
}

/* ---- data queues ---- */

HOT static void fill_cipher(struct request *request, const struct state_key *key)
{
	struct crypto_request *crypto = &request->crypto;
	struct op_request *op = &request->engine.op;
	const struct vaccel_cipher params = {
		.key = crypto->wire.session,
		/* One mode each: see crypto_session_key(). */
		.mode = (uint32_t)(key->modes ? __builtin_ctz(key->modes) : 0),
		.direction = crypto->wire.operation,
		.flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END,
	};

	op->op = VACCEL_OP_CIPHER;
	op->n_args = N_CIPHER_ARGS;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[IV] = (struct op_arg){ .data = crypto->iv, .len = crypto->wire.iv_len, .dir = VIRTIO_ACCEL_DIR_IN };
	op->args[AAD] = (struct op_arg){ .dir = VIRTIO_ACCEL_DIR_IN };
	op->args[SOURCE] = (struct op_arg){ .len = crypto->wire.src_len, .dir = VIRTIO_ACCEL_DIR_IN };
	op->args[DESTINATION] = (struct op_arg){ .len = crypto->wire.dst_len, .dir = VIRTIO_ACCEL_DIR_OUT };
	op->args[TAG] = (struct op_arg){ .dir = VIRTIO_ACCEL_DIR_IN };
	request->engine.own_args = 1u << IV;
}

static void fill_akcipher(struct request *request, const struct state_key *key)
{
	struct crypto_request *crypto = &request->crypto;
	struct op_request *op = &request->engine.op;
	const struct vaccel_akcipher params = {
		.key = crypto->wire.session,
		.operation = crypto->wire.operation,
		.padding = crypto_key_padding(key),
		.hash = crypto_key_hash(key),
	};
	uint32_t dir = crypto->wire.verifies ? VIRTIO_ACCEL_DIR_IN : VIRTIO_ACCEL_DIR_OUT;

	crypto->answer = (struct vaccel_akcipher_answer){ .len = 0 };
	op->op = VACCEL_OP_AKCIPHER;
	op->n_args = N_AKCIPHER_ARGS;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[AK_SOURCE] = (struct op_arg){ .len = crypto->wire.src_len, .dir = VIRTIO_ACCEL_DIR_IN };
	op->args[AK_DESTINATION] = (struct op_arg){ .len = crypto->wire.dst_len, .dir = dir };
	op->args[AK_ANSWER] =
		(struct op_arg){ .data = &crypto->answer, .len = sizeof(crypto->answer), .dir = VIRTIO_ACCEL_DIR_OUT };
	request->engine.own_args = 1u << AK_ANSWER;
}

/* Stands for the address of an argument that will be gathered. */
static char scattered[1];

/* Where the argument lies, or where it will have been gathered. */
HOT static void place(struct op_arg *arg, const struct crypto_pieces *pieces)
{
	arg->data = pieces->n == 0 ? NULL : pieces->n == 1 ? pieces->rows[0].iov_base : scattered;
}

static int gather(struct request *request, uint32_t index, const struct crypto_pieces *pieces, struct error *error)
{
	struct op_arg *arg = &request->engine.op.args[index];
	int r = request_bounce(request, index, arg->len, &arg->data, error);

	/* What is only written is written wholly, or only so much of it goes back. */
	if (r < 0 || !(arg->dir & VIRTIO_ACCEL_DIR_IN))
		return r;
	copy_from(pieces->rows, pieces->n, 0, arg->data, arg->len);
	request_count_copied(request, arg->len);
	return 0;
}

HOT static int resolve(struct request *request, uint32_t source, uint32_t destination, struct error *error)
{
	const struct crypto_request *crypto = &request->crypto;
	struct op_request *op = &request->engine.op;
	uint64_t bytes = 0;
	int r = 0;

	place(&op->args[source], &crypto->source);
	place(&op->args[destination], &crypto->destination);
	bytes += crypto->source.n > 1 ? op->args[source].len : 0;
	bytes += crypto->destination.n > 1 ? op->args[destination].len : 0;
	if (!bytes)
		return 0;
	/* Nothing large is copied for a request that the engine would refuse. */
	r = op_check(op, error);
	if (r == 0 && bytes >= MUCH_TO_COPY)
		ring_tell(request->ring);
	if (r == 0 && crypto->source.n > 1)
		r = gather(request, source, &crypto->source, error);
	if (r == 0 && crypto->destination.n > 1)
		r = gather(request, destination, &crypto->destination, error);
	return r;
}

static int add_pieces(struct recover_pieces *all, uint32_t index, const struct crypto_pieces *pieces)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < pieces->n; i++)
		r = recover_add_piece(all, index, (uintptr_t)pieces->rows[i].iov_base, pieces->rows[i].iov_len);
	return r;
}

/* All pieces lie in the regions' own mappings, in which every byte of the guest is once. */
static bool may_run_again(const struct request *request, uint32_t source, uint32_t destination)
{
	struct recover_pieces all = { .n = 0 };
	int r = add_pieces(&all, source, &request->crypto.source);
	bool may;

	if (r == 0)
		r = add_pieces(&all, destination, &request->crypto.destination);
	may = recover_may_run_again(request, r < 0 ? NULL : &all);
	free(all.rows);
	return may;
}

HOT static void done(struct engine_request *engine)
{
	struct request *request = container_of(engine, struct request, engine);
	struct crypto_request *crypto = &request->crypto;
	bool cipher = crypto->wire.kind == CRYPTO_CIPHER;
	uint64_t written = cipher		   ? crypto->wire.dst_len
			   : crypto->wire.verifies ? 0
						   : MIN(le32toh(crypto->answer.len), crypto->wire.dst_len);

	request_ended(request);
	for (uint32_t i = 0; engine->result == 0 && i < request->n_bounces; i++) {
		if (request->bounces[i].arg != (cipher ? (uint32_t)DESTINATION : (uint32_t)AK_DESTINATION) || !written)
			continue;
		scatter(&crypto->destination, request->bounces[i].data, written);
		request_count_copied(request, written);
	}
	crypto_answer(request, engine->result, written, &engine->error);
}

static int check_size(const struct request *request, struct error *error)
{
	const struct worker *worker = request->ring->conn->worker;
	const struct crypto_wire *wire = &request->crypto.wire;

	if ((uint64_t)wire->iv_len + wire->src_len + wire->dst_len <= worker->limits.max_request_bytes)
		return 0;
	return limit_refuse(worker->limit_counts, LIMIT_REQUEST_BYTES, worker->limits.max_request_bytes, error, -E2BIG,
			    "request: its data is larger than it may be");
}

HOT static int prepare(struct request *request, struct error *error)
{
	const struct crypto_wire *wire = &request->crypto.wire;
	struct wconn *conn = request->ring->conn;
	struct op_request *op = &request->engine.op;
	bool cipher = wire->kind == CRYPTO_CIPHER;
	uint32_t source = cipher ? (uint32_t)SOURCE : (uint32_t)AK_SOURCE;
	uint32_t destination = cipher ? (uint32_t)DESTINATION : (uint32_t)AK_DESTINATION;
	struct state_key key;
	int r = crypto_session_about(conn, wire->session, &key, error);

	if (r == -ESTALE && request->begun)
		r = error_set(error, -EOWNERDEAD,
			      "interrupted: the host's worker died in it, and its session is gone since");
	if (r == 0)
		r = check_size(request, error);
	if (r == 0)
		r = crypto_session_home(conn, &op->session, error);
	if (r < 0)
		return r;
	op->deadline_ms = 0;
	if (cipher)
		fill_cipher(request, &key);
	else
		fill_akcipher(request, &key);
	r = resolve(request, source, destination, error);
	if (r == 0 && request->begun && !may_run_again(request, source, destination))
		r = error_set(error, -EOWNERDEAD,
			      "interrupted: the host's worker died in it, and it may not run twice");
	return r;
}

HOT void crypto_run(struct request *request)
{
	struct error error = { 0 };
	int r;

	if (request->crypto.control) {
		run_control(request);
		return;
	}
	r = prepare(request, &error);
	if (r < 0)
		crypto_answer(request, r, 0, &error);
	else
		request_submit(request, done);
}
