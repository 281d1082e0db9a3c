/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of descriptors that the device has taken from a split ring and not yet given back, in the layout of the
 * vhost-user specification ("Inflight I/O tracking"), so that whoever serves the ring next knows what was under way.
 *
 * It lives in shared memory that outlives the process, and a front-end may hold it too: nothing read from it is
 * believed. One thread takes; giving back is serialised by the caller (the ring's push lock).
 *
 * Order of stores, on which recovery rests:
 *   take: counter, then inflight = 1
 *   give back: next and last_batch_head, then the used ring's idx, then inflight = 0, then used_idx
 */
#ifndef VACCEL_VHOST_INFLIGHT_H
#define VACCEL_VHOST_INFLIGHT_H

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct inflight_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc desc[];
};

#define INFLIGHT_VERSION 1

/* Bytes of one queue's region; regions of a file start at multiples of this. */
static inline size_t inflight_size(uint16_t queue_size)
{
	return (sizeof(struct inflight_region) + queue_size * sizeof(struct inflight_desc) + 63) & ~(size_t)63;
}

struct inflight {
	struct inflight_region *region;
	uint16_t num;
	uint64_t counter; /* of the next descriptor taken */
};

struct inflight_entry {
	uint16_t head;
	uint64_t counter;
};

/*
 * Takes over a region of inflight_size(num) bytes, new (zeroed) or as somebody left it. used_idx: of the used ring.
 * counter: at least this one is used next. Settles an interrupted give-back; forgets what was taken from a ring whose used
 * index is not this one's.
 * Fills entries (room for num) with what is still taken, in the order in which it was taken.
 * Returns their number, or -EINVAL: a journal of another version or size.
 */
int inflight_open(struct inflight *inflight, struct inflight_region *region, uint16_t num, uint16_t used_idx,
		  uint64_t counter, struct inflight_entry *entries, struct error *error);

/* Nothing is taken any more. */
void inflight_forget(struct inflight *inflight);

/* Returns the entry's counter. */
uint64_t inflight_take(struct inflight *inflight, uint16_t head);
/* Before and after the used ring's idx is advanced over head; used_idx: the new one. */
void inflight_give_begin(struct inflight *inflight, uint16_t head);
void inflight_give_end(struct inflight *inflight, uint16_t head, uint16_t used_idx);

#endif
