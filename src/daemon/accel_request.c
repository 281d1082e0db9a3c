/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request of the accel device from its descriptor chain to its answer. What is parsed is copied out of guest memory
 * first; what is computed on is used in place if it is contiguous, else gathered, and scattered back after success. See
 * accel.h.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/worker.h"
#include "util/log.h"
#include "util/util.h"

/* Arguments are used in place only if every type that plugins compute with may lie there. */
#define IN_PLACE_ALIGN 8

/* Keeps the first pieces of the writable part: an answer is short. */
HOT static int begin(struct request *request, const struct vq_chain *chain)
{
	struct accel_request *accel = &request->accel;
	size_t left = RESPONSE_MAX;

	accel->message = NULL;
	accel->n_response = 0;
	accel->wire.id = 0;
	for (size_t i = 0; i < chain->n_writable && i < RESPONSE_PIECES && left > 0; i++) {
		accel->response[i] = chain->writable[i];
		accel->response[i].iov_len = MIN(left, chain->writable[i].iov_len);
		left -= accel->response[i].iov_len;
		accel->n_response++;
	}
	return chain->writable_len >= sizeof(struct virtio_accel_resp) ? 0 : 1;
}

HOT static void copy_readable(const struct vq_chain *chain, uint8_t *dst, size_t len)
{
	for (size_t i = 0; i < chain->n_readable && len > 0; i++) {
		size_t n = MIN(len, chain->readable[i].iov_len);

		memcpy(dst, chain->readable[i].iov_base, n);
		dst += n;
		len -= n;
	}
}

/* So that even the refusal of a message that is not read can name its request. */
static void read_id(const struct vq_chain *chain, struct request *request)
{
	struct virtio_accel_req header;

	if (chain->readable_len < sizeof(header))
		return;
	copy_readable(chain, (uint8_t *)&header, sizeof(header));
	request->accel.wire.id = request->id = le64toh(header.id);
}

HOT int accel_decode(struct request *request, const struct vq_chain *chain, struct error *error)
{
	struct worker *worker = request->ring->conn->worker;
	uint8_t *message = request->accel.inline_message;
	size_t len = chain->readable_len;
	int r = begin(request, chain);

	if (r != 0)
		return r;
	if (chain->readable_len > worker->max_message) {
		read_id(chain, request);
		return error_set(error, -E2BIG, "request: message of %" PRIu64 " bytes, at most %zu are taken",
				 chain->readable_len, worker->max_message);
	}
	if (len > sizeof(request->accel.inline_message)) {
		message = malloc(len);
		if (!message) {
			read_id(chain, request);
			return error_set(error, -ENOMEM, "request: no memory for its message of %zu bytes", len);
		}
	}
	request->accel.message = message;
	copy_readable(chain, message, len);
	r = wire_decode(message, len, &worker->limits, &request->accel.wire, error);
	request->id = request->accel.wire.id;
	if (r == 0)
		request->kind = stats_kind(request->accel.wire.type, request->accel.wire.op);
	request->decoded_ns = request->popped_ns ? now_ns() : 0;
	return r;
}

HOT void accel_answer(struct request *request, int result, uint64_t value, const struct error *error)
{
	struct wire_response response = { .id = request->accel.wire.id,
					  .value = result < 0 ? 0 : value,
					  .status = wire_status(result) };
	uint8_t bytes[RESPONSE_MAX];
	size_t room = 0, len, done = 0;

	if (result < 0 && error) {
		response.detail = error->text;
		response.detail_len = (uint32_t)strnlen(error->text, sizeof(error->text));
	}
	for (size_t i = 0; i < request->accel.n_response; i++)
		room += request->accel.response[i].iov_len;
	len = wire_encode_response(&response, bytes, MIN(room, sizeof(bytes)));
	for (size_t i = 0; i < request->accel.n_response && done < len; i++) {
		size_t n = MIN(len - done, request->accel.response[i].iov_len);

		memcpy(request->accel.response[i].iov_base, bytes + done, n);
		done += n;
	}
	if (request->accel.message != request->accel.inline_message)
		free((void *)request->accel.message);
	request->accel.message = NULL;
	request_finish(request, result, (uint32_t)len, error);
}

/* ---- arguments ---- */

int accel_copy(struct request *request, const struct wire_arg *arg, void *data, uint64_t len, bool to_guest,
	       struct error *error)
{
	const struct vhost_memory *memory = &request->ring->conn->memory;
	char *at = data;

	for (uint32_t i = 0; i < arg->n_extents && len > 0; i++) {
		struct wire_extent extent = wire_extent(&request->accel.wire, arg->first_extent + i);
		uint64_t left = MIN(extent.len, len);

		len -= left;
		while (left > 0) {
			uint64_t n;
			void *guest = vhost_memory_at(memory, extent.addr, left, &n);

			if (!guest)
				return error_set(error, -EFAULT,
						 "extent %u: address %#" PRIx64 " is not in shared memory",
						 arg->first_extent + i, extent.addr);
			if (to_guest)
				memcpy(guest, at, n);
			else
				memcpy(at, guest, n);
			at += n;
			extent.addr += n;
			left -= n;
		}
	}
	return 0;
}

/* The argument where it lies; *ret_data NULL when it is not in one piece. */
static int find_in_place(struct request *request, const struct wire_arg *arg, void **ret_data, struct error *error)
{
	const struct vhost_memory *memory = &request->ring->conn->memory;
	char *start = NULL, *end = NULL;
	bool whole = true;

	for (uint32_t i = 0; i < arg->n_extents; i++) {
		struct wire_extent extent = wire_extent(&request->accel.wire, arg->first_extent + i);

		while (extent.len > 0) {
			uint64_t n;
			char *guest = vhost_memory_at(memory, extent.addr, extent.len, &n);

			if (!guest)
				return error_set(error, -EFAULT,
						 "argument %td: address %#" PRIx64 " is not in shared memory",
						 arg - request->accel.wire.args, extent.addr);
			if (!start)
				start = guest;
			else if (guest != end)
				whole = false;
			end = guest + n;
			extent.addr += n;
			extent.len -= n;
		}
	}
	*ret_data = whole && (uintptr_t)start % IN_PLACE_ALIGN == 0 ? start : NULL;
	return 0;
}

/*
 * Gathered also when it is only written: what the op leaves alone in it (gaps between rows) has to be the guest's own
 * bytes when it is scattered back.
 */
static int gather(struct request *request, uint32_t index, void **ret_data, struct error *error)
{
	const struct wire_arg *arg = &request->accel.wire.args[index];
	int r = request_bounce(request, index, arg->len, ret_data, error);

	if (r < 0)
		return r;
	r = accel_copy(request, arg, *ret_data, arg->len, false, error);
	request_count_copied(request, arg->len);
	return r;
}

/* Stands for the address of an argument that will be gathered. */
static _Alignas(64) char scattered[1];

/* Finds all arguments; *ret_scattered: the set of those that are not in one piece. */
static int find_args(struct request *request, uint32_t *ret_scattered, struct error *error)
{
	struct op_request *op = &request->engine.op;

	*ret_scattered = 0;
	for (uint32_t i = 0; i < op->n_args; i++) {
		const struct wire_arg *arg = &request->accel.wire.args[i];
		int r;

		op->args[i] = (struct op_arg){
			.len = arg->len, .dir = arg->dir, .buffer = arg->buffer, .offset = arg->offset
		};
		if (arg->kind != VIRTIO_ACCEL_ARG_EXTENTS || arg->len == 0)
			continue;
		r = find_in_place(request, arg, &op->args[i].data, error);
		if (r < 0)
			return r;
		if (op->args[i].data)
			continue;
		op->args[i].data = scattered;
		*ret_scattered |= 1u << i;
	}
	return 0;
}

static uint64_t scattered_bytes(const struct op_request *op, uint32_t set)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < op->n_args; i++)
		sum += set & (1u << i) ? op->args[i].len : 0;
	return sum;
}

static int resolve_args(struct request *request, struct error *error)
{
	struct op_request *op = &request->engine.op;
	uint32_t set;
	int r = find_args(request, &set, error);

	/* Nothing large is copied for a request that the engine would refuse. */
	if (r == 0 && set)
		r = op_check(op, error);
	if (r == 0 && scattered_bytes(op, set) >= MUCH_TO_COPY)
		ring_tell(request->ring);
	for (uint32_t i = 0; r == 0 && i < op->n_args; i++)
		if (set & (1u << i))
			r = gather(request, i, &op->args[i].data, error);
	return r;
}

HOT static void fill_op(struct request *request)
{
	const struct wire_request *wire = &request->accel.wire;
	const struct op_desc *desc = op_by_id(wire->op);
	struct op_request *op = &request->engine.op;

	op->op = wire->op;
	op->deadline_ms = wire->deadline_ms;
	op->session = wire->session;
	op->params_len = wire->params_len;
	/* Of another length it is refused by op_check() without being looked at. */
	if (desc && desc->params_len == wire->params_len && wire->params_len)
		op_params_decode(desc, op->params, wire->params);
}

/* ---- the end ---- */

HOT static void scatter(struct request *request)
{
	struct wconn *conn = request->ring->conn;

	for (uint32_t i = 0; i < request->n_bounces; i++) {
		const struct wire_arg *arg = &request->accel.wire.args[request->bounces[i].arg];

		if (!(arg->dir & VIRTIO_ACCEL_DIR_OUT))
			continue;
		pthread_rwlock_rdlock(&conn->memory_lock);
		accel_copy(request, arg, request->bounces[i].data, arg->len, true, NULL);
		pthread_rwlock_unlock(&conn->memory_lock);
		request_count_copied(request, arg->len);
	}
}

HOT static void done(struct engine_request *engine)
{
	struct request *request = container_of(engine, struct request, engine);

	request_ended(request);
	if (engine->result == 0)
		scatter(request);
	accel_answer(request, engine->result, 0, &engine->error);
}

/* ---- after a worker's death ---- */

/* The part of a buffer that the argument names. A buffer that is not there has the request refused, later. */
static int add_buffer(struct recover_pieces *pieces, const struct request *request, uint32_t index)
{
	const struct wire_arg *arg = &request->accel.wire.args[index];
	struct wconn *conn = request->ring->conn;
	_cleanup_free_ struct state_extent *extents = NULL;
	uint64_t skip = arg->offset, left = arg->len;
	int n = engine_buffer_extents(conn->worker->engine, conn->id, arg->buffer, &extents);
	int r = n == -ENOMEM ? n : 0;

	for (int i = 0; r == 0 && i < n && left > 0; i++) {
		uint64_t from = MIN(skip, extents[i].len);
		uint64_t len = MIN(extents[i].len - from, left);

		skip -= from;
		left -= len;
		if (len)
			r = recover_add_piece(pieces, index, extents[i].addr + from, len);
	}
	return r;
}

static int add_arg(struct recover_pieces *pieces, const struct request *request, uint32_t index)
{
	const struct wire_arg *arg = &request->accel.wire.args[index];
	int r = 0;

	if (arg->kind == VIRTIO_ACCEL_ARG_BUFFER)
		return add_buffer(pieces, request, index);
	for (uint32_t i = 0; r == 0 && i < arg->n_extents; i++) {
		struct wire_extent extent = wire_extent(&request->accel.wire, arg->first_extent + i);

		if (extent.len)
			r = recover_add_piece(pieces, index, extent.addr, extent.len);
	}
	return r;
}

/*
 * Addresses in this process do not tell whether arguments overlap: one page of the guest may be seen in its region's
 * mapping, in a registered buffer's and as a gathered copy.
 */
static bool may_run_again(const struct request *request)
{
	struct recover_pieces pieces = { .n = 0 };
	bool may;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < request->accel.wire.n_args; i++)
		r = add_arg(&pieces, request, i);
	may = recover_may_run_again(request, r < 0 ? NULL : &pieces);
	free(pieces.rows);
	return may;
}

/* ---- running ---- */

HOT static int check_features(const struct request *request, struct error *error)
{
	const struct wire_request *wire = &request->accel.wire;
	uint64_t missing = 0;

	if (wire->type == VIRTIO_ACCEL_T_BUFFER_REGISTER || wire->type == VIRTIO_ACCEL_T_BUFFER_UNREGISTER)
		missing |= VHOST_BIT(VIRTIO_ACCEL_F_BUFFERS);
	for (uint32_t i = 0; i < wire->n_args; i++)
		if (wire->args[i].kind == VIRTIO_ACCEL_ARG_BUFFER)
			missing |= VHOST_BIT(VIRTIO_ACCEL_F_BUFFERS);
	if (wire->type == VIRTIO_ACCEL_T_CANCEL)
		missing |= VHOST_BIT(VIRTIO_ACCEL_F_CANCEL);
	if (wire->deadline_ms)
		missing |= VHOST_BIT(VIRTIO_ACCEL_F_DEADLINE);
	missing &= ~request->ring->setup.features;
	if (missing)
		return error_set(error, -EOPNOTSUPP, "request: it needs feature %d, which was not negotiated",
				 __builtin_ctzll(missing));
	return 0;
}

HOT void accel_run(struct request *request)
{
	struct wconn *conn = request->ring->conn;
	struct error error;
	int r;

	error_clear(&error);
	r = check_features(request, &error);
	if (r < 0) {
		accel_answer(request, r, 0, &error);
		return;
	}
	if (request->accel.wire.type != VIRTIO_ACCEL_T_OP) {
		accel_control(request);
		return;
	}
	fill_op(request);
	if (request->engine.op.op == VACCEL_OP_KEY_IMPORT || request->engine.op.op == VACCEL_OP_KEY_OPEN)
		worker_hide(conn->worker);
	request->engine.op.n_args = request->accel.wire.n_args;
	/* Registered buffers are the engine's to find. */
	if (request->accel.wire.n_extents > 0)
		pthread_rwlock_rdlock(&conn->memory_lock);
	if (request->accel.wire.n_args > 0)
		r = resolve_args(request, &error);
	if (request->accel.wire.n_extents > 0)
		pthread_rwlock_unlock(&conn->memory_lock);
	if (r == 0 && request->begun && !may_run_again(request))
		r = error_set(&error, -EOWNERDEAD,
			      "interrupted: the host's worker died in it, and it may not run twice");
	if (r < 0) {
		accel_answer(request, r, 0, &error);
		return;
	}
	request_submit(request, done);
}
