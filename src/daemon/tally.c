/* SPDX-License-Identifier: Apache-2.0 */
/* See tally.h. */
#include "daemon/tally.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"

int tally_init(struct tally *tally, uint32_t n_rings, struct error *error)
{
	size_t size = stats_conn_size(n_rings);

	*tally = (struct tally){ .n_rings = n_rings,
				 .closed = aligned_alloc(64, size),
				 .copy = aligned_alloc(64, size) };
	if (!tally->closed || !tally->copy)
		return error_set(error, -ENOMEM, "statistics: no memory");
	memset(tally->closed, 0, size);
	return 0;
}

void tally_fini(struct tally *tally)
{
	free(tally->closed);
	free(tally->copy);
}

static void add_ring(struct stats_ring *into, const struct stats_ring *ring)
{
	into->bytes_copied += ring->bytes_copied;
	into->in_flight += ring->in_flight;
	into->queued += ring->queued;
	for (uint32_t kind = 0; kind < stats_n_kinds(); kind++)
		for (size_t status = 0; status < STATS_STATUSES; status++)
			into->results[kind][status] += ring->results[kind][status];
}

const struct stats_conn *tally_read(struct tally *tally, int stats_fd, uint32_t conn)
{
	size_t size = stats_conn_size(tally->n_rings);
	ssize_t n = pread(stats_fd, tally->copy, size, (off_t)stats_conn_offset(tally->n_rings, conn));

	/* It is a memfd of that size. */
	if (n != (ssize_t)size)
		memset(tally->copy, 0, size);
	for (uint32_t i = 1; i < tally->n_rings; i++)
		add_ring(&tally->copy->rings[0], &tally->copy->rings[i]);
	return tally->copy;
}

void tally_close(struct tally *tally, int stats_fd, uint32_t conn)
{
	const struct stats_conn *last = tally_read(tally, stats_fd, conn);

	add_ring(&tally->closed->rings[0], &last->rings[0]);
	tally->closed->rings[0].in_flight = 0;
	tally->closed->rings[0].queued = 0;
	for (uint32_t kind = 0; kind < stats_n_kinds(); kind++)
		for (size_t stage = 0; stage < STAGE_N_OF_DAEMON; stage++)
			hist_merge(&tally->closed->times[kind][stage], &last->times[kind][stage]);
	if (fallocate(stats_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)stats_conn_offset(tally->n_rings, conn), (off_t)stats_conn_size(tally->n_rings)) < 0)
		log_error("connection %u: its statistics cannot be cleared: %s", conn, strerror(errno));
}

void tally_worker_starts(int stats_fd, uint64_t n)
{
	if (pwrite(stats_fd, &n, sizeof(n), offsetof(struct stats_head, worker_starts)) < 0)
		log_error("statistics: cannot be written: %s", strerror(errno));
}
