/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What requests of every device have in common: their beginning, copies of their arguments, their way through the engine
 * with what the ledger says of it, and their end. See worker.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/worker.h"
#include "util/log.h"
#include "util/util.h"

#define BOUNCE_ALIGN 64

HOT struct ledger_entry *request_entry(struct request *request)
{
	return &request->ring->ledger->entries[request->head];
}

HOT uint64_t request_tag(const struct request *request)
{
	return ((uint64_t)request->ring->index + 1) << 56 | (request->counter & ((UINT64_C(1) << 56) - 1));
}

HOT void request_begin(struct wring *ring, uint16_t head, struct request *request)
{
	request->ring = ring;
	request->head = head;
	request->recovered = false;
	request->begun = false;
	request->deferred = false;
	request->awaited = false;
	request->submitted = false;
	request->waiting = false;
	request->kind = stats_kind_undecoded();
	request->popped_ns = ring->popped_ns;
	request->decoded_ns = 0;
	request->n_bounces = 0;
	request->id = 0;
	request->engine.own_args = 0;
}

/* ---- copies ---- */

void request_count_copied(struct request *request, uint64_t len)
{
	atomic_fetch_add_explicit(&request->ring->conn->worker->bytes_copied, len, memory_order_relaxed);
	stats_add(&request->ring->counts->bytes_copied, len);
}

static bool is_secret(const struct request *request, uint32_t index)
{
	const struct op_desc *op = op_by_id(request->engine.op.op);

	return op && op->n_args && op_arg_desc(op, index)->secret;
}

int request_bounce(struct request *request, uint32_t index, uint64_t len, void **ret_data, struct error *error)
{
	struct worker *worker = request->ring->conn->worker;
	void *data;
	int r = engine_copy_take(worker->engine, index, len, error);

	if (r < 0)
		return r;
	data = aligned_alloc(BOUNCE_ALIGN, (len + BOUNCE_ALIGN - 1) / BOUNCE_ALIGN * BOUNCE_ALIGN);
	if (!data) {
		engine_copy_give(worker->engine, len);
		return error_set(error, -ENOMEM, "argument %u: no memory to gather %" PRIu64 " bytes", index, len);
	}
	request->bounces[request->n_bounces++] =
		(struct bounce){ .arg = index, .len = len, .data = data, .secret = is_secret(request, index) };
	request->engine.own_args |= 1u << index;
	*ret_data = data;
	return 0;
}

HOT static void free_bounces(struct request *request)
{
	struct worker *worker = request->ring->conn->worker;

	for (uint32_t i = 0; i < request->n_bounces; i++) {
		if (request->bounces[i].secret)
			explicit_bzero(request->bounces[i].data, request->bounces[i].len);
		engine_copy_give(worker->engine, request->bounces[i].len);
		free(request->bounces[i].data);
	}
	request->n_bounces = 0;
}

/* ---- the way through the engine ---- */

HOT static void entered(struct engine_request *engine)
{
	ring_enter(container_of(engine, struct request, engine)->ring, engine->start_ns);
	struct request *request = container_of(engine, struct request, engine);

	trace_unqueued(request);
	__atomic_store_n(&request_entry(request)->running, 1, __ATOMIC_RELEASE);
}

HOT static void started(struct engine_request *engine)
{
	__atomic_store_n(&request_entry(container_of(engine, struct request, engine))->started, 1, __ATOMIC_RELEASE);
}

/* Also when another plugin will be tried: until then it has no part in what kills the worker. */
HOT static void left(struct engine_request *engine)
{
	ring_leave(container_of(engine, struct request, engine)->ring);
	__atomic_store_n(&request_entry(container_of(engine, struct request, engine))->running, 0, __ATOMIC_RELEASE);
}

HOT void request_submit(struct request *request, void (*done)(struct engine_request *engine))
{
	struct wconn *conn = request->ring->conn;

	/* What may have killed a worker takes nobody with it, and gets no others under suspicion. */
	request->engine.alone = request->awaited;
	request->engine.tag = request_tag(request);
	request->engine.again = request->recovered;
	request->engine.owner = conn->id;
	request->engine.id = request->id;
	request->engine.arrived_ns = now_ns();
	request->submitted = true;
	request->engine.entered = entered;
	request->engine.started = started;
	request->engine.left = left;
	request->engine.queued = trace_queued;
	request->engine.done = done;
	engine_submit(conn->worker->engine, &request->engine, ring_spare_ns(request->ring));
}

HOT void request_ended(struct request *request)
{
	trace_unqueued(request);
	if (request->engine.copied)
		request_count_copied(request, request->engine.copied);
}

HOT void request_finish(struct request *request, int result, uint32_t written, const struct error *error)
{
	free_bounces(request);
	if (result < 0)
		log_debug("connection %u: request %" PRIu64 " failed: %s", request->ring->conn->id, request->id,
			  error ? error->text : strerror(-result));
	atomic_fetch_add_explicit(&request->ring->conn->worker->n_requests, 1, memory_order_relaxed);
	trace_answered(request, wire_status(result));
	ring_complete(request->ring, request, written);
}
