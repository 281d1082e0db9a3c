/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory shared with a back-end, cut into blocks: regions of the front-end, each with a list of its free ranges. Grows
 * by a region when nothing fits, up to a limit; a region that is empty again is kept for the next request. While not too
 * many bytes are, its pages stay; otherwise they are given back, which the back-end need not know of.
 *
 * A region itself is taken away only for want of room, and only while no passing block is out: a back-end stops its
 * rings for that, and ends what runs too long meanwhile. Until then arena_admits() keeps new requests back, so that the
 * moment comes.
 *
 * Bookkeeping is private memory. Threads: all functions lock. Lock order: growing, lock. Adding a region is a round
 * trip under the first alone, so that blocks come and go meanwhile; removing one is under both, so that no request
 * starts.
 */
#ifndef VACCEL_TRANSPORT_ARENA_H
#define VACCEL_TRANSPORT_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "vhost/frontend.h"

struct arena_region;

struct arena {
	pthread_mutex_t growing; /* held by who changes the set of regions */
	pthread_mutex_t lock;
	struct frontend *frontend;
	uint64_t limit; /* bytes of all regions */
	/* Under the lock: */
	struct arena_region *regions;
	uint64_t total;
	uint64_t idle;	 /* bytes in regions without a block that have pages */
	uint32_t n_idle; /* regions without a block */
	uint32_t n_passing;
	bool crowded; /* somebody waits until regions can be removed; atomic, written under the lock */
};

struct arena_block {
	void *data;
	uint64_t addr; /* as the device sees it */
	size_t len;
	struct arena_region *region;
	bool fresh; /* never used before: still zero */
	bool passing;
};

void arena_init(struct arena *arena, struct frontend *frontend, uint64_t limit);
/* The regions themselves go with the front-end. */
void arena_fini(struct arena *arena);

/*
 * align: a power of two, up to the page size. passing: the block is of a request and will come back by itself.
 * -EAGAIN: no room beside the passing blocks of now; try again when one of them was freed. -ENOMEM: more than the limit,
 * or than the machine has.
 */
int arena_alloc(struct arena *arena, size_t len, size_t align, bool passing, struct arena_block *ret_block,
		struct error *error);
void arena_free(struct arena *arena, const struct arena_block *block);

/* False: a new request is to wait as after -EAGAIN. Never while no passing block is out. */
bool arena_admits(struct arena *arena);

#endif
