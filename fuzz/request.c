/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests from their message to their answer: the daemon's accel device, common.c, wconn.c and recover.c with the engine,
 * over guest memory between fences, with a plugin that touches every byte it is given. Each request is answered once, with
 * an answer that the other side can read, and a failure says why.
 */
#include "request.h"
#include "fuzz.h"
#include "ground.h"
#include "serve.h"

#include <endian.h>
#include <errno.h>

#define MAX_IDS	    16
#define MAX_EXTENTS 64
#define MAX_RAW	    2048

/* ---- messages ---- */

struct ids {
	uint64_t sessions[MAX_IDS], buffers[MAX_IDS];
	uint32_t n_sessions, n_buffers;
};

static uint64_t pick(const uint64_t *ids, uint32_t n, uint8_t which)
{
	which %= n + 2;
	return which == 0 ? 0 : which == 1 ? 0x700000001 : ids[which - 2];
}

static void build_arg(struct input *in, struct wire_request *wire, struct wire_extent *extents, const struct ids *ids)
{
	struct wire_arg *arg = &wire->args[wire->n_args++];
	struct fuzz_arg plan;
	uint64_t sum = 0;

	input_bytes(in, &plan, sizeof(plan));
	*arg = (struct wire_arg){ .kind = plan.kind, .dir = plan.dir, .offset = plan.offset, .len = plan.len };
	if (plan.kind == VIRTIO_ACCEL_ARG_BUFFER) {
		arg->buffer = pick(ids->buffers, ids->n_buffers, plan.buffer);
		return;
	}
	for (uint32_t i = 0; i < plan.n_extents && wire->n_extents < MAX_EXTENTS; i++) {
		struct fuzz_extent extent;

		input_bytes(in, &extent, sizeof(extent));
		extents[wire->n_extents++] = (struct wire_extent){ extent.addr, extent.len };
		arg->n_extents++;
		sum += extent.len;
	}
	if (!plan.len)
		arg->len = sum;
}

static void set_key(uint8_t *params)
{
	uint64_t keys[MAX_IDS], id;
	struct state_key key;
	uint32_t cursor = 0, n = 0;

	while (n < MAX_IDS && state_key_next(serve_worker.state, serve_conn.id, &cursor, &key))
		keys[n++] = key.id;
	id = htole64(pick(keys, n, *params));
	memcpy(params, &id, sizeof(id));
}

/* Returns the message's length. */
static size_t build(struct input *in, const struct fuzz_request *plan, const struct ids *ids, uint8_t *message)
{
	struct wire_extent extents[MAX_EXTENTS];
	uint8_t params[OP_MAX_PARAMS];
	struct wire_request wire = {
		.type = plan->type,
		.id = 77,
		.session = pick(ids->sessions, ids->n_sessions, plan->session),
		.object = pick(ids->buffers, ids->n_buffers, plan->object),
		.op = plan->op,
		.deadline_ms = plan->deadline_ms,
		.params_len = plan->params_len % (OP_MAX_PARAMS / 2),
		.params = params,
		.extents = extents,
	};

	if (plan->flags & FUZZ_REQUEST_RAW) {
		size_t len = plan->raw_len % (MAX_RAW + 64);

		input_bytes(in, message, len);
		return len;
	}
	for (uint32_t i = 0; i < plan->n_args % (OP_MAX_ARGS + 1u); i++)
		build_arg(in, &wire, extents, ids);
	input_bytes(in, params, wire.params_len);
	if (plan->flags & FUZZ_REQUEST_KEY && wire.params_len >= sizeof(uint64_t))
		set_key(params);
	wire_encode(&wire, message);
	return wire_encoded_len(&wire);
}

/* ---- one request ---- */

/* Type and session as the message says, for who reads the answer. */
static void learn(const struct virtio_accel_req *header, const struct wire_response *response, struct ids *ids)
{
	if (response->status)
		return;
	if (header->type == VIRTIO_ACCEL_T_SESSION_OPEN && ids->n_sessions < MAX_IDS)
		ids->sessions[ids->n_sessions++] = response->value;
	if (header->type == VIRTIO_ACCEL_T_BUFFER_REGISTER && ids->n_buffers < MAX_IDS)
		ids->buffers[ids->n_buffers++] = response->value;
}

static void check_answer(const uint8_t *answer, size_t room, const uint8_t *message, size_t len, struct ids *ids)
{
	struct virtio_accel_req header = { 0 };
	struct wire_response response;
	uint32_t written = serve_written();

	if (written == 0)
		return;
	CHECK(written <= room && wire_decode_response(answer, written, &response) == 0);
	if (len >= sizeof(header)) {
		memcpy(&header, message, sizeof(header));
		CHECK(response.id == header.id);
	}
	/* The plugin's word for what it must not be given. */
	CHECK(response.status != VIRTIO_ACCEL_S_IO);
	if (response.status)
		CHECK(response.value == 0 && (response.detail_len || room < sizeof(struct virtio_accel_resp) + 1));
	learn(&header, &response, ids);
}

static bool inside(const void *at, const struct iovec *iov)
{
	return at >= iov->iov_base && (const char *)at < (const char *)iov->iov_base + iov->iov_len;
}

/* Nothing that was decoded lies where the guest can still change it. */
static void check_private(const struct vq_chain *chain)
{
	for (size_t i = 0; i < chain->n_readable; i++)
		CHECK(!inside(serve_request.accel.message, &chain->readable[i]) &&
		      !inside(serve_request.accel.wire.extents, &chain->readable[i]) &&
		      !inside(serve_request.accel.wire.params, &chain->readable[i]));
}

static void next(struct input *in, struct ids *ids)
{
	uint8_t whole[sizeof(struct virtio_accel_req) + OP_MAX_ARGS * sizeof(struct virtio_accel_arg) +
		      MAX_EXTENTS * sizeof(struct virtio_accel_extent) + OP_MAX_PARAMS + MAX_RAW];
	struct fuzz_request plan;
	size_t len, split, room;
	uint8_t *message, *answer;
	struct iovec readable[2], writable[2];
	struct vq_chain chain;

	input_bytes(in, &plan, sizeof(plan));
	if (plan.flags & FUZZ_REQUEST_WRITE) {
		for (uint32_t i = 0; i < plan.raw_len % (MAX_RAW + 1); i++)
			input_bytes(in, ground_byte(plan.op + i), 1);
		return;
	}
	len = build(in, &plan, ids, whole);
	room = plan.room * 8u;
	split = plan.room % 2 && len ? plan.room % len : len;
	/* As long as they are, for the sanitizer. */
	message = malloc(len + 1);
	answer = malloc(room + 1);
	CHECK(message && answer);
	memcpy(message, whole, len);
	readable[0] = (struct iovec){ message, split };
	readable[1] = (struct iovec){ message + split, len - split };
	writable[0] = (struct iovec){ answer, room / 3 };
	writable[1] = (struct iovec){ answer + room / 3, room - room / 3 };
	chain = (struct vq_chain){ .readable = readable,
				   .n_readable = 2,
				   .readable_len = len,
				   .writable = writable,
				   .n_writable = 2,
				   .writable_len = room };
	serve_chain(&chain,
		    (plan.flags & FUZZ_REQUEST_RECOVERED ? SERVE_RECOVERED : 0) |
			    (plan.flags & FUZZ_REQUEST_BEGUN ? SERVE_BEGUN : 0),
		    check_private);
	check_answer(answer, room, message, len, ids);
	free(message);
	free(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const settings[] = { "limits.keys=4", "limits.buffers=4", "limits.extents=64",
						"limits.buffer_bytes=16K", NULL };
	struct input in = { data, size };
	struct ids ids = { .n_sessions = 0 };

	serve_start(&device_accel, settings);
	serve_worker.max_message = MAX_RAW;
	serve_conn.memory = *ground(&in, 0);
	for (int i = 0; in.left && i < 32; i++)
		next(&in, &ids);
	serve_end();
	return 0;
}
