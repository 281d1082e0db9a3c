/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory shared with a back-end, cut into blocks: regions of the front-end, each with a list of its free ranges. Grows by
 * a region when nothing fits, up to a limit; a region that is empty again is kept for the next request while not too
 * many are, and given back otherwise.
 *
 * Bookkeeping is private memory. Threads: all functions lock.
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
	pthread_mutex_t lock;
	struct frontend *frontend;
	uint64_t limit; /* bytes of all regions */
	/* Under the lock: */
	struct arena_region *regions;
	uint64_t total;
	uint64_t idle; /* in regions without a block */
	uint32_t n_passing;
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

#endif
