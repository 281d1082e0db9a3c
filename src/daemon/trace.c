/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a ring counts and times: engine/stats.h says how. A request's times are kept in it as it goes its way, and are
 * added together just before its answer is there to be seen; only its signal comes later.
 */
#include "daemon/worker.h"

#include "util/util.h"

void trace_ring(struct wring *ring)
{
	const struct stats *stats = &ring->conn->worker->stats;

	ring->stats = stats_conn(stats, ring->conn->id);
	ring->counts = &ring->stats->rings[ring->index];
	ring->ticks = stats_ticks(stats);
	/* A worker before may have died with some. */
	stats_set(&ring->counts->in_flight, 0);
	stats_set(&ring->counts->queued, 0);
}

HOT void trace_queued(struct engine_request *engine)
{
	struct request *request = container_of(engine, struct request, engine);

	request->waiting = true;
	stats_add(&request->ring->counts->queued, 1);
}

HOT void trace_unqueued(struct request *request)
{
	if (!request->waiting)
		return;
	request->waiting = false;
	stats_add(&request->ring->counts->queued, (uint64_t)-1);
}

HOT static void add_engine_times(struct request *request, uint64_t now)
{
	struct stats_conn *stats = request->ring->stats;
	const struct engine_request *engine = &request->engine;
	uint32_t kind = request->kind;

	stats_time(stats, kind, STAGE_RESOLVE, request->decoded_ns, engine->arrived_ns);
	/* One that was refused, cancelled or late has seen no plugin. */
	if (engine->end_ns) {
		stats_time(stats, kind, STAGE_QUEUE, engine->arrived_ns, engine->start_ns);
		stats_time(stats, kind, STAGE_PLUGIN, engine->start_ns, engine->end_ns);
		stats_time(stats, kind, STAGE_ANSWER, engine->end_ns, now);
	}
}

HOT static void add_times(struct request *request)
{
	struct stats_conn *stats = request->ring->stats;
	uint64_t now = now_ns();

	stats_time(stats, request->kind, STAGE_FETCH, request->popped_ns, request->decoded_ns);
	if (request->submitted)
		add_engine_times(request, now);
	stats_time(stats, request->kind, STAGE_TOTAL, request->popped_ns, now);
	__atomic_store_n(&request->ring->signal_kind, request->kind + 1, __ATOMIC_RELAXED);
}

HOT void trace_answered(struct request *request, uint32_t status)
{
	stats_add(&request->ring->counts->results[request->kind][status % STATS_STATUSES], 1);
	if (request->popped_ns && request->decoded_ns)
		add_times(request);
}

HOT uint64_t trace_signal_begin(struct wring *ring, uint32_t *ret_kind)
{
	*ret_kind = __atomic_load_n(&ring->signal_kind, __ATOMIC_RELAXED);
	return *ret_kind ? now_ns() : 0;
}

HOT void trace_signal_end(struct wring *ring, uint32_t kind, uint64_t begin)
{
	if (!begin)
		return;
	__atomic_store_n(&ring->signal_kind, 0, __ATOMIC_RELAXED);
	stats_time(ring->stats, kind - 1, STAGE_SIGNAL, begin, now_ns());
}
