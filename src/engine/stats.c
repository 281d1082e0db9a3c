/* SPDX-License-Identifier: Apache-2.0 */
/* See stats.h: where what lies, what it is called, and how it is sent to a client. */
#include "engine/stats.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "op/table.h"
#include "op/wire.h"
#include "uapi/virtio_accel.h"

#define PAGE 4096

/* ---- the layout ---- */

size_t stats_conn_size(uint32_t n_rings)
{
	size_t size = sizeof(struct stats_conn) + n_rings * sizeof(struct stats_ring);

	return (size + PAGE - 1) / PAGE * PAGE;
}

size_t stats_conn_offset(uint32_t n_rings, uint32_t conn)
{
	return PAGE + (conn - 1) * stats_conn_size(n_rings);
}

size_t stats_size(uint32_t n_conns, uint32_t n_rings)
{
	return stats_conn_offset(n_rings, n_conns + 1);
}

struct stats_conn *stats_conn(const struct stats *stats, uint32_t conn)
{
	return (void *)((char *)stats->head + stats_conn_offset(stats->n_rings, conn));
}

/* ---- names ---- */

static const struct {
	uint32_t type;
	const char *name;
} types[] = {
	{ VIRTIO_ACCEL_T_SESSION_OPEN, "session_open" },
	{ VIRTIO_ACCEL_T_SESSION_CLOSE, "session_close" },
	{ VIRTIO_ACCEL_T_BUFFER_REGISTER, "buffer_register" },
	{ VIRTIO_ACCEL_T_BUFFER_UNREGISTER, "buffer_unregister" },
	{ VIRTIO_ACCEL_T_CANCEL, "cancel" },
	{ VIRTIO_ACCEL_T_QUERY, "query" },
};

_Static_assert(sizeof(struct virtio_accel_stats) + STATS_MAX_KINDS * sizeof(struct virtio_accel_stats_row) +
			       STATS_MAX_KINDS * STAGE_N_OF_DAEMON *
				       (sizeof(struct virtio_accel_stats_time) + HIST_BUCKETS * sizeof(uint64_t)) <=
		       STATS_MAX_ENCODED,
	       "room for everything");

static uint32_t n_ops(void)
{
	static uint32_t n;

	/* Whoever comes first: all find the same. */
	if (!__atomic_load_n(&n, __ATOMIC_RELAXED)) {
		uint32_t i = 0;

		while (op_at(i))
			i++;
		__atomic_store_n(&n, MIN(i, STATS_MAX_KINDS - (uint32_t)ARRAY_SIZE(types) - 1), __ATOMIC_RELAXED);
	}
	return n;
}

uint32_t stats_kind_undecoded(void)
{
	return n_ops() + (uint32_t)ARRAY_SIZE(types);
}

uint32_t stats_n_kinds(void)
{
	return stats_kind_undecoded() + 1;
}

const char *stats_kind_name(uint32_t kind)
{
	uint32_t ops = n_ops();

	if (kind < ops)
		return op_at(kind)->name;
	return kind - ops < ARRAY_SIZE(types) ? types[kind - ops].name : "undecoded";
}

uint32_t stats_kind(uint32_t type, uint32_t op)
{
	uint32_t ops = n_ops();

	for (uint32_t i = 0; type == VIRTIO_ACCEL_T_OP && i < ops; i++)
		if (op_at(i)->id == op)
			return i;
	for (uint32_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type == type)
			return ops + i;
	return stats_kind_undecoded();
}

/* ---- for a client ---- */

struct out {
	char *data;
	size_t len, at;
};

static void put(struct out *out, const void *from, size_t size)
{
	if (out->at < out->len)
		memcpy(out->data + out->at, from, MIN(size, out->len - out->at));
	out->at += size;
}

static bool kind_results(const struct stats *stats, const struct stats_conn *conn, uint32_t kind,
			 uint64_t results[STATS_STATUSES])
{
	bool any = false;

	memset(results, 0, STATS_STATUSES * sizeof(*results));
	for (uint32_t ring = 0; ring < stats->n_rings; ring++) {
		for (uint32_t status = 0; status < STATS_STATUSES; status++) {
			results[status] += stats_get(&conn->rings[ring].results[kind][status]);
			any = any || results[status];
		}
	}
	return any;
}

static uint32_t put_rows(const struct stats *stats, const struct stats_conn *conn, struct out *out)
{
	uint32_t n = 0;

	for (uint32_t kind = 0; kind < stats_n_kinds(); kind++) {
		struct virtio_accel_stats_row row = { .kind = htole32(kind) };
		uint64_t results[STATS_STATUSES];

		if (!kind_results(stats, conn, kind, results))
			continue;
		snprintf(row.name, sizeof(row.name), "%s", stats_kind_name(kind));
		for (size_t i = 0; i < ARRAY_SIZE(row.results); i++)
			row.results[i] = htole64(results[i]);
		put(out, &row, sizeof(row));
		n++;
	}
	return n;
}

static void put_time(struct out *out, uint32_t kind, const char *stage, const struct hist *hist)
{
	struct virtio_accel_stats_time time = { .kind = htole32(kind) };
	uint32_t first = 0, end = HIST_BUCKETS;

	while (first < end && !stats_get(&hist->buckets[first]))
		first++;
	while (end > first && !stats_get(&hist->buckets[end - 1]))
		end--;
	snprintf(time.stage, sizeof(time.stage), "%s", stage);
	time.len = htole32((uint32_t)(sizeof(time) + (end - first) * sizeof(uint64_t)));
	time.first = htole32(first);
	time.n_buckets = htole32(end - first);
	time.count = htole64(stats_get(&hist->count));
	time.sum_ns = htole64(stats_get(&hist->sum_ns));
	put(out, &time, sizeof(time));
	for (uint32_t i = first; i < end; i++) {
		uint64_t n = htole64(stats_get(&hist->buckets[i]));

		put(out, &n, sizeof(n));
	}
}

static uint32_t put_times(const struct stats_conn *conn, struct out *out)
{
	uint32_t n = 0;

	for (uint32_t kind = 0; kind < stats_n_kinds(); kind++) {
		for (size_t stage = 0; stage < STAGE_N_OF_DAEMON; stage++) {
			const struct hist *hist = &conn->times[kind][stage];

			if (!stats_get(&hist->count))
				continue;
			put_time(out, kind, op_stage_at(STAGE_FIRST_OF_DAEMON + stage)->name, hist);
			n++;
		}
	}
	return n;
}

size_t stats_encode(const struct stats *stats, const struct stats_conn *conn, void *data, size_t len)
{
	struct out out = { .data = data, .len = len, .at = sizeof(struct virtio_accel_stats) };
	struct virtio_accel_stats head = {
		.head_len = htole32(sizeof(head)),
		.row_len = htole32(sizeof(struct virtio_accel_stats_row)),
		.sampling = htole32(stats->trace ? 1 : STATS_SAMPLE),
		.worker_starts = htole64(__atomic_load_n(&stats->head->worker_starts, __ATOMIC_RELAXED)),
	};
	uint64_t copied = 0, in_flight = 0, queued = 0;
	size_t end;

	for (uint32_t ring = 0; ring < stats->n_rings; ring++) {
		copied += stats_get(&conn->rings[ring].bytes_copied);
		in_flight += stats_get(&conn->rings[ring].in_flight);
		queued += stats_get(&conn->rings[ring].queued);
	}
	head.bytes_copied = htole64(copied);
	head.in_flight = htole64(in_flight);
	head.queued = htole64(queued);
	head.n_rows = htole32(put_rows(stats, conn, &out));
	head.n_times = htole32(put_times(conn, &out));
	end = out.at;
	out.at = 0;
	put(&out, &head, sizeof(head));
	return end;
}
