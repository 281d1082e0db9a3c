/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted of each connection, in memory that outlives the worker: the supervisor makes a memfd, the worker maps
 * it and counts, the supervisor reads copies. The transport local: has the same in private memory, for one connection.
 *
 * Counters are exact. They are added to with relaxed atomics, in cache lines that one ring has to itself; a request is
 * counted before its answer can be seen, so that a client which has its answer finds it counted. Times are taken of a
 * sample, since reading a clock costs as much as a tenth of a small request: of about one request in STATS_SAMPLE, more
 * often if its ring slept before it (struct stats_ticks), of all with [metrics] trace = on.
 *
 * The supervisor trusts nothing of the content: it copies, and uses numbers as numbers only. Both run the same program
 * file, so the layout needs no version.
 */
#ifndef VACCEL_ENGINE_STATS_H
#define VACCEL_ENGINE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "op/stage.h"
#include "util/hist.h"
#include "util/util.h"

#define STATS_SAMPLE	64
#define STATS_SLEEP	8  /* a request that comes after a sleep counts as so many */
#define STATS_MAX_KINDS 32 /* ops, other types, "undecoded" */
#define STATS_STATUSES	32 /* enum virtio_accel_status, and room */

/* A ring's own. */
struct stats_ring {
	_Alignas(64) uint64_t bytes_copied; /* argument bytes: gathered and scattered */
	uint64_t in_flight;		    /* requests taken and not answered */
	uint64_t queued;		    /* of them, those that wait for a plugin */
	uint64_t results[STATS_MAX_KINDS][STATS_STATUSES];
};

struct stats_conn {
	_Alignas(64) struct hist times[STATS_MAX_KINDS][STAGE_N_OF_DAEMON];
	struct stats_ring rings[];
};

/* At the beginning of the memory; the supervisor's to write. */
struct stats_head {
	uint64_t worker_starts;
	uint64_t reserved[7];
};

struct stats {
	struct stats_head *head;
	uint32_t n_conns, n_rings;
	bool trace; /* times of all requests */
};

size_t stats_size(uint32_t n_conns, uint32_t n_rings);
/* Where the part of a connection (1..) lies, and its length: whole pages. */
size_t stats_conn_offset(uint32_t n_rings, uint32_t conn);
size_t stats_conn_size(uint32_t n_rings);

struct stats_conn *stats_conn(const struct stats *stats, uint32_t conn);

/* Kinds: the op table's rows, then the other request types, then "undecoded". */
uint32_t stats_n_kinds(void);
const char *stats_kind_name(uint32_t kind);
uint32_t stats_kind(uint32_t type, uint32_t op);
uint32_t stats_kind_undecoded(void);

static inline void stats_add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline void stats_set(uint64_t *gauge, uint64_t value)
{
	__atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

/* Of what others write meanwhile. */
static inline uint64_t stats_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static inline void stats_time(struct stats_conn *conn, uint32_t kind, enum op_stage stage, uint64_t from, uint64_t to)
{
	hist_add(&conn->times[kind][stage - STAGE_FIRST_OF_DAEMON], to > from ? to - from : 0);
}

/* Which requests are timed; each ring has one, used by its thread alone. */
struct stats_ticks {
	int left;
	int interval; /* 0: all are */
};

static inline struct stats_ticks stats_ticks(const struct stats *stats)
{
	return (struct stats_ticks){ .interval = stats->trace ? 0 : STATS_SAMPLE };
}

/* The time now if the request that comes next is to be timed, else 0. */
static inline uint64_t stats_ticks_begin(const struct stats_ticks *ticks)
{
	return ticks->left <= 0 ? now_ns() : 0;
}

/* It came. */
static inline void stats_ticks_took(struct stats_ticks *ticks, uint64_t begin)
{
	if (begin)
		ticks->left = ticks->interval;
	ticks->left--;
}

/* The ring's thread slept: it has time to spare, and such requests may be the only ones. */
static inline void stats_ticks_slept(struct stats_ticks *ticks)
{
	ticks->left -= STATS_SLEEP - 1;
}

/* More than there can be. */
#define STATS_MAX_ENCODED (512u << 10)

/* VIRTIO_ACCEL_Q_STATS of a connection: writes at most len bytes, returns how many there are. It may be changing. */
size_t stats_encode(const struct stats *stats, const struct stats_conn *conn, void *data, size_t len);

#endif
