/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of requests that a worker before had taken and not answered. They come in the order in which they were
 * taken. The ledger says of each whether a plugin had begun it, and how many workers died while it ran.
 *
 *   ended by its time limit                        -> DEADLINE
 *   ring is to stop                                -> INTERRUPTED if begun, else CANCELED; or left in the journal
 *   ran in two workers that died by themselves     -> IO
 *   begun, and may not run twice (op table)        -> INTERRUPTED (device.run(): it takes resolved arguments to tell)
 *   anything else                                  -> runs (again)
 *
 * Requests that had begun, or died while a plugin opened their session, run again one at a time, in the whole worker: if
 * it dies once more it is clear of which.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/worker.h"
#include "util/log.h"
#include "util/util.h"

/* Settles the books for one entry; returns whether a plugin had begun it. *ret_suspect: or was in it. */
static bool settle_entry(const struct wring *ring, struct ledger_entry *entry, uint64_t counter, bool *ret_suspect)
{
	bool blame = ring->setup.flags & LINK_RING_BLAME;

	*ret_suspect = true;
	/* Not our entry: taken by a back-end that kept no ledger. Then the worst is assumed. */
	if (entry->counter != counter) {
		*entry = (struct ledger_entry){ .counter = counter, .started = 1 };
		return true;
	}
	if (blame)
		entry->retaken++;
	if (entry->running && blame)
		entry->blame++;
	*ret_suspect = entry->started || entry->running;
	entry->running = 0;
	return entry->started;
}

/* The verdict without running it; 0: run it. */
static int judge(const struct wring *ring, const struct ledger_entry *entry, bool begun, struct error *error)
{
	if (entry->verdict == LEDGER_DEADLINE)
		return error_set(error, -ETIMEDOUT, "ran longer than this device allows (limits.op_time_ms = %u)",
				 ring->conn->worker->config->limits.op_time_ms);
	if (ring->setup.flags & LINK_RING_ABORT)
		return begun ? error_set(error, -EOWNERDEAD, "interrupted: its queue was stopped while it ran")
			     : error_set(error, -ECANCELED, "its queue was stopped before it ran");
	if (entry->blame >= LEDGER_MAX_BLAME || entry->retaken >= LEDGER_MAX_RETAKEN)
		return error_set(error, -EIO, "the host's worker died %u times in it", entry->retaken);
	return 0;
}

/* ---- whether it may run again ---- */

int recover_add_piece(struct recover_pieces *pieces, uint32_t arg, uint64_t start, uint64_t len)
{
	/* Room grows in powers of two. */
	if ((pieces->n & (pieces->n - 1)) == 0) {
		void *rows = realloc(pieces->rows, MAX(pieces->n * 2, 1) * sizeof(*pieces->rows));

		if (!rows)
			return -ENOMEM;
		pieces->rows = rows;
	}
	pieces->rows[pieces->n++] = (struct recover_piece){ .start = start, .end = start + len, .arg = arg };
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct recover_piece *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* Whether an argument that is written shares guest memory with another one. */
static bool pieces_overlap(const struct recover_pieces *pieces, const struct op_request *op)
{
	uint64_t end[OP_MAX_ARGS] = { 0 }; /* of the pieces seen */

	if (pieces->n)
		qsort(pieces->rows, pieces->n, sizeof(pieces->rows[0]), by_start);
	for (size_t i = 0; i < pieces->n; i++) {
		const struct recover_piece *piece = &pieces->rows[i];

		for (uint32_t arg = 0; arg < op->n_args; arg++)
			if (arg != piece->arg && end[arg] > piece->start &&
			    ((op->args[arg].dir | op->args[piece->arg].dir) & VIRTIO_ACCEL_DIR_OUT))
				return true;
		end[piece->arg] = MAX(end[piece->arg], piece->end);
	}
	return false;
}

bool recover_may_run_again(const struct request *request, const struct recover_pieces *pieces)
{
	const struct op_request *op = &request->engine.op;
	const struct op_desc *desc = op_by_id(op->op);

	/* One that the check refuses has done nothing and will be refused again. */
	if (!desc || op_check(op, NULL) < 0)
		return true;
	return desc->replayable && desc->replayable(op) && pieces && !pieces_overlap(pieces, op);
}

/* ---- one after the other ---- */

static void run_alone(struct request *request)
{
	struct wring *ring = request->ring;
	struct worker *worker = ring->conn->worker;

	pthread_mutex_lock(&worker->replay_lock);
	request->awaited = true;
	ring->awaiting = true;
	worker->device->run(request);
	ring_wait_awaited(ring);
	pthread_mutex_unlock(&worker->replay_lock);
}

static void recover_one(struct wring *ring, const struct inflight_entry *entry)
{
	struct wconn *conn = ring->conn;
	const struct device *device = conn->worker->device;
	struct ledger_entry *book = &ring->ledger->entries[entry->head];
	bool suspect, begun = settle_entry(ring, book, entry->counter, &suspect);
	struct request *request = ring_request(ring, entry->head);
	struct vq_chain chain = { .head = entry->head };
	struct error error = { 0 };
	int r;

	pthread_rwlock_rdlock(&conn->memory_lock);
	r = vq_refetch(&ring->vq, entry, &chain, &error);
	pthread_rwlock_unlock(&conn->memory_lock);
	if (r < 0 || !request) {
		log_warning("connection %u: ring %u: a request of the worker before is lost: %s", conn->id, ring->index,
			    request ? error.text : "no memory");
		vq_push(&ring->vq, entry->head, 0);
		return;
	}
	request_begin(ring, entry->head, request);
	request->popped_ns = 0;
	request->counter = entry->counter;
	request->recovered = true;
	request->begun = begun;
	pthread_mutex_lock(&ring->lock);
	stats_set(&ring->counts->in_flight, ++ring->active);
	pthread_mutex_unlock(&ring->lock);
	atomic_fetch_add(&conn->n_requests, 1);
	atomic_fetch_add(&conn->worker->in_flight, 1);
	r = device->decode(request, &chain, &error);
	if (r > 0) {
		log_warning("connection %u: ring %u: a request of the worker before has no room for its answer",
			    conn->id, ring->index);
		ring_complete(ring, request, 0);
		return;
	}
	if (r == 0)
		r = judge(ring, book, begun, &error);
	log_info("connection %u: request %" PRIu64 " of the worker before: %s", conn->id, request->id,
		 r < 0	 ? error.text
		 : begun ? "had begun, runs again if that is safe"
			 : "had not begun, runs");
	if (r < 0) {
		device->answer(request, r, 0, &error);
		return;
	}
	if (suspect)
		run_alone(request);
	else
		device->run(request);
	ring_tell(ring);
}

void ring_recover(struct wring *ring)
{
	const uint32_t keep = LINK_RING_ABORT | LINK_RING_KEEP;

	if ((ring->setup.flags & keep) == keep)
		return;
	for (int i = 0; i < ring->n_recovered; i++)
		recover_one(ring, &ring->recovered[i]);
	/* Whatever the guest waits for, it looks again. */
	ring->must_signal = ring->must_signal || (ring->setup.flags & LINK_RING_RECOVER);
}
