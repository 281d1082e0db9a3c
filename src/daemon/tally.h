/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's side of the statistics (engine/stats.h): it reads copies of what the worker counts, and keeps the
 * sum of connections that are closed, whose part of the memory the next one of that number starts anew with.
 *
 * Nothing that the worker wrote is more than a number here.
 */
#ifndef VACCEL_DAEMON_TALLY_H
#define VACCEL_DAEMON_TALLY_H

#include "engine/stats.h"
#include "util/error.h"

struct tally {
	uint32_t n_rings;
	struct stats_conn *closed; /* sums; all in the first ring */
	struct stats_conn *copy;   /* of the connection that is looked at */
};

int tally_init(struct tally *tally, uint32_t n_rings, struct error *error);
void tally_fini(struct tally *tally);

/* The connection is gone, and so is whoever counted for it. */
void tally_close(struct tally *tally, int stats_fd, uint32_t conn);
/* What the worker has counted of a connection, all of it in rings[0]; valid until the next call. */
const struct stats_conn *tally_read(struct tally *tally, int stats_fd, uint32_t conn);
/* For clients that ask. */
void tally_worker_starts(int stats_fd, uint64_t n);

#endif
