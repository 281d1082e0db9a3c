/* SPDX-License-Identifier: Apache-2.0 */
/* See shm.h: from a request to the ring and back. */
#include "transport/shm.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "transport/trace.h"
#include "util/util.h"

#define ALIGN	    64
#define TABLE_BYTES (2 * sizeof(struct vring_desc))
#define BATCH	    32 /* answers taken out under one lock */

static size_t round_up(size_t value)
{
	return (value + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- Building ---- */

/* Where the parts of a block are. */
struct layout {
	size_t message;
	size_t message_len;
	size_t response;
	size_t payload;
	size_t total;
};

HOT static int lay_out(const struct wire_request *wire, const uint64_t *copies, uint32_t n, struct layout *ret,
		       struct error *error)
{
	uint64_t total;

	ret->message = round_up(TABLE_BYTES);
	ret->message_len = wire_encoded_len(wire);
	ret->response = ret->message + round_up(ret->message_len);
	ret->payload = ret->response + round_up(sizeof(struct virtio_accel_resp) + ERROR_TEXT);
	total = ret->payload;
	for (uint32_t i = 0; i < n; i++)
		if (add_u64(total, copies[i], &total) || add_u64(total, ALIGN - 1, &total))
			return error_set(error, -E2BIG, "request: its arguments are larger than any memory");
	ret->total = total;
	return 0;
}

HOT static int new_request(struct shm *shm, uint64_t connection, const struct layout *layout, struct shm_request **ret,
			   struct error *error)
{
	struct shm_request *sr = malloc(sizeof(*sr));
	uint8_t *data;
	int r;

	if (!sr)
		return error_set(error, -ENOMEM, "request: out of memory");
	memset(sr, 0, offsetof(struct shm_request, error));
	r = arena_alloc(&shm->arena, layout->total, ALIGN, true, &sr->block, error);
	if (r < 0) {
		free(sr);
		return r;
	}
	data = sr->block.data;
	sr->shm = shm;
	sr->connection = connection;
	sr->id = __atomic_add_fetch(&shm->next_id, 1, __ATOMIC_RELAXED);
	sr->table = (struct dring_table){ .desc = (struct vring_desc *)data, .addr = sr->block.addr };
	sr->response = data + layout->response;
	sr->response_room = layout->payload - layout->response;
	sr->bufs[0] =
		(struct dring_buf){ .addr = sr->block.addr + layout->message, .len = (uint32_t)layout->message_len };
	sr->bufs[1] = (struct dring_buf){ .addr = sr->block.addr + layout->response,
					  .len = (uint32_t)sr->response_room,
					  .writable = true };
	*ret = sr;
	return 0;
}

/* The arena gives its memory to other requests. */
static void wipe_secrets(struct shm_request *sr)
{
	for (uint32_t i = 0; i < OP_MAX_ARGS; i++)
		if (sr->secrets & 1u << i && sr->copies[i])
			explicit_bzero(sr->copies[i], sr->request->op.args[i].len);
}

HOT static void free_request(struct shm_request *sr)
{
	if (sr->secrets)
		wipe_secrets(sr);
	arena_free(&sr->shm->arena, &sr->block);
	free(sr);
}

/* Into the ring and, if the daemon sleeps, a kick. The request may be complete and gone when this returns. */
HOT static int send_request(struct shm *shm, struct shm_request *sr, struct error *error)
{
	struct shm_queue *queue = sr->queue;
	bool indirect = frontend_has_feature(shm->frontend, VHOST_F_INDIRECT_DESC);
	bool kick = false;
	int r;

	pthread_mutex_lock(&queue->lock);
	if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) != sr->connection) {
		r = error_set(error, -ECONNRESET, "request: the connection to the daemon is lost");
	} else {
		r = dring_add(&queue->ring, sr->bufs, 2, indirect ? &sr->table : NULL, sr);
		if (r == 0)
			kick = dring_publish(&queue->ring);
	}
	pthread_mutex_unlock(&queue->lock);
	/* A full ring is full of requests in flight. */
	if (r == -ENOSPC)
		return -EAGAIN;
	if (kick) {
		uint64_t one = 1;

		/* The counter cannot overflow, and a daemon that is gone shows on the socket. */
		if (write(queue->kick, &one, sizeof(one)) < 0)
			return r;
	}
	return r;
}

static uint64_t copied_bytes(const struct op_arg *arg)
{
	return arg->buffer ? 0 : arg->len;
}

static void copy(struct shm *shm, void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	__atomic_fetch_add(&shm->transport.bytes_copied, len, __ATOMIC_RELAXED);
}

HOT static void fill_args(const struct op_request *op, struct shm_request *sr, const struct layout *layout,
			  struct wire_request *wire, struct wire_extent *extents)
{
	const struct op_desc *desc = op_by_id(op->op);
	/* What the operation leaves alone in its outputs must go there and back. */
	bool partial = desc->partial(op);
	size_t at = layout->payload;
	uint32_t n = 0;

	for (uint32_t i = 0; i < op->n_args; i++) {
		const struct op_arg *arg = &op->args[i];

		wire->args[i].len = arg->len;
		if (wire->args[i].kind == VIRTIO_ACCEL_ARG_BUFFER || !arg->len)
			continue;
		sr->copies[i] = (uint8_t *)sr->block.data + at;
		if (op_arg_desc(desc, i)->secret)
			sr->secrets |= 1u << i;
		extents[n++] = (struct wire_extent){ .addr = sr->block.addr + at, .len = arg->len };
		if (arg->dir & VIRTIO_ACCEL_DIR_IN || partial)
			copy(sr->shm, sr->copies[i], arg->data, arg->len);
		at += round_up(arg->len);
	}
}

static uint64_t session_id(uint64_t handle)
{
	return handle ? __atomic_load_n(&((const struct shm_session *)(uintptr_t)handle)->id, __ATOMIC_RELAXED) : 0;
}

static uint64_t buffer_id(uint64_t handle)
{
	return handle ? __atomic_load_n(&((const struct shm_buffer *)(uintptr_t)handle)->id, __ATOMIC_RELAXED) : 0;
}

static struct shm_queue *queue_of(struct shm *shm, uint64_t session)
{
	return &shm->queues[session % __atomic_load_n(&shm->n_queues, __ATOMIC_RELAXED)];
}

/* Everything of the message but what depends on where the block is. Ids of a connection that is over are never sent. */
HOT static void describe(const struct op_request *op, struct wire_request *wire)
{
	*wire = (struct wire_request){
		.type = VIRTIO_ACCEL_T_OP,
		.session = session_id(op->session),
		.op = op->op,
		.deadline_ms = op->deadline_ms,
		.n_args = op->n_args,
		.params_len = op->params_len,
	};
	for (uint32_t i = 0; i < op->n_args; i++) {
		const struct op_arg *arg = &op->args[i];

		wire->args[i] = (struct wire_arg){
			.kind = arg->buffer ? VIRTIO_ACCEL_ARG_BUFFER : VIRTIO_ACCEL_ARG_EXTENTS,
			.dir = (uint8_t)arg->dir,
			.n_extents = arg->buffer || !arg->len ? 0 : 1,
			.buffer = buffer_id(arg->buffer),
			.offset = arg->buffer ? arg->offset : 0,
		};
		wire->n_extents += wire->args[i].n_extents;
	}
}

HOT static int build(struct shm *shm, uint64_t connection, struct transport_request *request, struct shm_request **ret,
		     struct error *error)
{
	const struct op_request *op = &request->op;
	_Alignas(16) uint8_t params[OP_MAX_PARAMS];
	struct wire_extent extents[OP_MAX_ARGS];
	uint64_t copies[OP_MAX_ARGS];
	struct wire_request wire;
	struct shm_request *sr;
	struct layout layout;
	int r;

	if (!arena_admits(&shm->arena))
		return -EAGAIN;
	describe(op, &wire);
	for (uint32_t i = 0; i < op->n_args; i++)
		copies[i] = copied_bytes(&op->args[i]);
	r = lay_out(&wire, copies, op->n_args, &layout, error);
	if (r == 0)
		r = new_request(shm, connection, &layout, &sr, error);
	if (r < 0)
		return r;
	sr->request = request;
	fill_args(op, sr, &layout, &wire, extents);
	op_params_encode(op_by_id(op->op), params, op->params);
	wire.id = sr->id;
	wire.extents = extents;
	wire.params = params;
	wire_encode(&wire, (uint8_t *)sr->block.data + layout.message);
	/* Ids of sessions count up, so they spread; one session's requests stay in order. */
	sr->queue = queue_of(shm, wire.session);
	*ret = sr;
	return 0;
}

HOT static int submit_once(struct shm *shm, uint64_t connection, struct transport_request *request, struct error *error)
{
	struct shm_request *sr;
	int r = build(shm, connection, request, &sr, error);

	if (r < 0)
		return r;
	request->cookie = sr->id;
	request->connection = connection;
	trace_mark(&shm->transport, &request->times.encoded);
	r = send_request(shm, sr, error);
	trace_mark(&shm->transport, &request->times.submitted);
	if (r < 0)
		free_request(sr);
	return r;
}

/* bound: 0, or the only connection that will do. */
HOT static int ready_for(struct shm *shm, uint64_t bound, uint64_t *ret_connection, struct error *error)
{
	if (!bound)
		return shm_ready(shm, ret_connection, error);
	*ret_connection = bound;
	return __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) == bound
		       ? 0
		       : error_set(error, -ESTALE, "request: what it uses was lost with a daemon before this one");
}

HOT int shm_submit(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct shm *shm = container_of(transport, struct shm, transport);
	uint64_t connection, bound = request->connection;
	int r, tries = 0;

	if (request->op.deadline_ms && !frontend_has_feature(shm->frontend, VIRTIO_ACCEL_F_DEADLINE))
		return error_set(error, -EOPNOTSUPP, "request: the daemon knows no deadlines");
	do {
		r = ready_for(shm, bound, &connection, error);
		if (r < 0)
			return r;
		r = submit_once(shm, connection, request, error);
		/* Nobody has seen it: another connection will do. */
	} while (r == -ECONNRESET && shm_lost(shm, connection) && ++tries < SHM_TRIES);
	/* So it is when there was no room: it may be submitted again, over whatever connection there is then. */
	if (r < 0)
		request->connection = bound;
	return r;
}

/* ---- Answers ---- */

/* The daemon's sentence, fit for a terminal. */
static void take_text(struct error *error, int code, const struct wire_response *response)
{
	if (!response->detail_len) {
		error_set(error, code, "request: the daemon answered %s", error_name(code));
		return;
	}
	error_set(error, code, "%.*s", (int)MIN(response->detail_len, ERROR_TEXT - 1), response->detail);
	for (char *c = error->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
}

/* Copies the response and reads the copy. 0 when it is one for this request, whatever it says. */
HOT static int read_response(struct shm_request *sr, uint32_t len, struct error *error)
{
	uint8_t copy[sizeof(struct virtio_accel_resp) + ERROR_TEXT];
	struct wire_response response;

	len = MIN(len, (uint32_t)MIN(sr->response_room, sizeof(copy)));
	memcpy(copy, sr->response, len);
	if (wire_decode_response(copy, len, &response) < 0)
		return error_set(error, -EPROTO, "request: the daemon's answer of %u bytes is malformed", len);
	if (response.id != sr->id)
		return error_set(error, -EPROTO, "request: the daemon answered %" PRIu64 " to request %" PRIu64,
				 response.id, sr->id);
	sr->header.value = response.value;
	sr->result = wire_errno(response.status);
	if (sr->result < 0)
		take_text(&sr->error, sr->result, &response);
	return 0;
}

HOT static void copy_out(const struct shm_request *sr)
{
	const struct op_request *op = &sr->request->op;

	for (uint32_t i = 0; i < op->n_args; i++)
		if (sr->copies[i] && op->args[i].dir & VIRTIO_ACCEL_DIR_OUT)
			copy(sr->shm, op->args[i].data, sr->copies[i], op->args[i].len);
}

/* The result is in sr. Frees it, unless a thread waits for it in shm_control(). */
HOT static void complete(struct shm *shm, struct shm_request *sr)
{
	struct transport_request *request = sr->request;

	if (sr->posted) {
		free_request(sr);
		__atomic_sub_fetch(&shm->n_posted, 1, __ATOMIC_RELEASE);
		reaper_progress(&shm->transport.reaper);
		return;
	}
	if (!request) {
		reaper_done(&shm->transport.reaper, &sr->item);
		return;
	}
	if (sr->result == 0)
		copy_out(sr);
	request->result = sr->result;
	if (sr->result < 0)
		request->error = sr->error;
	free_request(sr);
	shm->sink.completed(shm->sink.opaque, request);
}

HOT static int pop(struct shm_queue *queue, struct shm_request **srs, uint32_t *lens, struct error *error)
{
	int n = 0, r = 1;

	pthread_mutex_lock(&queue->lock);
	while (n < BATCH) {
		void *token;

		r = dring_pop(&queue->ring, &token, &lens[n], error);
		if (r <= 0)
			break;
		srs[n++] = token;
	}
	pthread_mutex_unlock(&queue->lock);
	/* A broken ring is found again with the next look; what came before it counts. */
	return n ? n : r;
}

/* A daemon that ends fails what it still has, each in its own way: to the caller it is all the same. */
static void judge_failure(struct shm *shm, struct shm_request *sr)
{
	if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) != sr->connection)
		sr->result = error_set(&sr->error, -ECONNRESET, "request: the daemon went away");
}

HOT static int drain_queue(struct shm *shm, struct shm_queue *queue, struct error *error)
{
	struct shm_request *srs[BATCH];
	uint32_t lens[BATCH];
	int total = 0, n;

	do {
		n = pop(queue, srs, lens, error);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			int r;

			if (srs[i]->request)
				trace_mark(&shm->transport, &srs[i]->request->times.answered);
			r = read_response(srs[i], lens[i], &srs[i]->error);
			if (r < 0)
				srs[i]->result = r;
			if (srs[i]->result < 0)
				judge_failure(shm, srs[i]);
			complete(shm, srs[i]);
		}
		total += n;
	} while (n == BATCH);
	return total;
}

HOT int shm_drain(struct shm *shm, struct error *error)
{
	int total = 0;

	for (uint32_t i = 0; i < shm->n_queues; i++) {
		/* As in shm_pending(). */
		int n = dring_pending(&shm->queues[i].ring) ? drain_queue(shm, &shm->queues[i], error) : 0;

		if (n < 0)
			return n;
		total += n;
	}
	return total;
}

HOT bool shm_pending(struct shm *shm)
{
	/* last_used changes only in reap(), where this is called too. */
	for (uint32_t i = 0; i < shm->n_queues; i++)
		if (dring_pending(&shm->queues[i].ring))
			return true;
	return false;
}

HOT bool shm_arm(struct shm *shm)
{
	bool pending = false;

	/* Without the lock, as in shm_pending(). */
	for (uint32_t i = 0; i < shm->n_queues; i++)
		pending |= dring_arm(&shm->queues[i].ring);
	return pending;
}

bool shm_arm_elsewhere(struct shm *shm)
{
	bool pending = false;

	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		pthread_mutex_lock(&shm->queues[i].lock);
		if (shm->queues[i].ring.size)
			pending |= dring_arm(&shm->queues[i].ring);
		pthread_mutex_unlock(&shm->queues[i].lock);
	}
	return pending;
}

void shm_give_up(struct shm *shm, const struct error *cause)
{
	__atomic_store_n(&shm->connection, 0, __ATOMIC_RELEASE);
	/* All locks, so that whoever takes one later sees it. */
	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		for (;;) {
			struct shm_request *sr;

			pthread_mutex_lock(&shm->queues[i].lock);
			sr = dring_detach(&shm->queues[i].ring);
			pthread_mutex_unlock(&shm->queues[i].lock);
			if (!sr)
				break;
			sr->result = -ECONNRESET;
			sr->error = *cause;
			sr->error.code = -ECONNRESET;
			complete(shm, sr);
		}
	}
}

/* ---- Requests of the transport's own ---- */

/* Builds, sends and waits once. -EAGAIN: no room, try again after the next completion. */
static int control_once(struct shm *shm, uint64_t connection, struct wire_request *wire, void *data, size_t room,
			uint64_t *ret_value, struct error *error)
{
	struct wire_extent extent = { .len = room };
	uint64_t copies[1] = { room };
	struct shm_request *sr;
	struct layout layout;
	int r;

	r = lay_out(wire, copies, room ? 1 : 0, &layout, error);
	if (r == 0)
		r = new_request(shm, connection, &layout, &sr, error);
	if (r < 0)
		return r;
	if (room) {
		extent.addr = sr->block.addr + layout.payload;
		wire->extents = &extent;
		/* The daemon may fill less than it says: never show what was here before. */
		memset((uint8_t *)sr->block.data + layout.payload, 0, room);
	}
	wire->id = sr->id;
	wire_encode(wire, (uint8_t *)sr->block.data + layout.message);
	sr->queue = queue_of(shm, wire->session);
	r = send_request(shm, sr, error);
	if (r == 0) {
		reaper_wait(&shm->transport.reaper, &sr->item, -1);
		r = sr->result;
		if (r < 0 && error)
			*error = sr->error;
		if (r == 0 && ret_value)
			*ret_value = sr->header.value;
		if (r == 0 && room)
			memcpy(data, (uint8_t *)sr->block.data + layout.payload, room);
	}
	free_request(sr);
	/* Whoever waits for room was woken before there was any; one of them may look at the descriptors again. */
	reaper_progress(&shm->transport.reaper);
	eventfd_write(shm->call, 1);
	return r;
}

int shm_control(struct shm *shm, uint64_t connection, struct wire_request *wire, void *data, size_t room,
		uint64_t *ret_value, struct error *error)
{
	for (;;) {
		uint64_t ticket = reaper_ticket(&shm->transport.reaper);
		int r = control_once(shm, connection, wire, data, room, ret_value, error);

		if (r != -EAGAIN)
			return r;
		reaper_wait_progress(&shm->transport.reaper, ticket);
	}
}

int shm_post(struct shm *shm, uint64_t connection, struct wire_request *wire, struct error *error)
{
	struct shm_request *sr;
	struct layout layout;
	int r = lay_out(wire, NULL, 0, &layout, error);

	if (r == 0)
		r = new_request(shm, connection, &layout, &sr, error);
	if (r < 0)
		return r;
	sr->posted = true;
	wire->id = sr->id;
	wire_encode(wire, (uint8_t *)sr->block.data + layout.message);
	sr->queue = &shm->queues[0];
	__atomic_add_fetch(&shm->n_posted, 1, __ATOMIC_RELAXED);
	r = send_request(shm, sr, error);
	if (r < 0) {
		__atomic_sub_fetch(&shm->n_posted, 1, __ATOMIC_RELAXED);
		free_request(sr);
	}
	return r;
}

void shm_forget(struct shm *shm)
{
	for (uint32_t i = 0; i < shm->n_queues; i++) {
		struct shm_request *sr;

		while ((sr = dring_detach(&shm->queues[i].ring)))
			free_request(sr);
	}
}
