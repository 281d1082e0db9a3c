/* SPDX-License-Identifier: Apache-2.0 */
/* See inflight.h. */
#include "vhost/inflight.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define LOAD(field)	    __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

static int by_counter(const void *a, const void *b)
{
	const struct inflight_entry *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static void forget(struct inflight_region *region, uint16_t num)
{
	for (uint16_t head = 0; head < num; head++)
		STORE(region->desc[head].inflight, 0);
}

/* The last batch reached the used ring, but was not struck off here. */
static void settle(struct inflight_region *region, uint16_t num, uint16_t used_idx)
{
	uint16_t missed = (uint16_t)(used_idx - LOAD(region->used_idx));
	uint16_t head = LOAD(region->last_batch_head);

	/* Not a batch of ours: the ring was set up anew, and what is in here was not offered in it. */
	if (missed > num) {
		forget(region, num);
		missed = 0;
	}
	for (; missed > 0 && head < num; missed--) {
		STORE(region->desc[head].inflight, 0);
		head = LOAD(region->desc[head].next);
	}
	STORE(region->used_idx, used_idx);
}

int inflight_open(struct inflight *inflight, struct inflight_region *region, uint16_t num, uint16_t used_idx,
		  uint64_t counter, struct inflight_entry *entries, struct error *error)
{
	uint16_t version = LOAD(region->version);
	uint16_t desc_num = LOAD(region->desc_num);
	int n = 0;

	if (version == 0) {
		region->features = 0;
		STORE(region->desc_num, num);
		STORE(region->used_idx, used_idx);
		STORE(region->version, INFLIGHT_VERSION);
	} else if (version != INFLIGHT_VERSION || desc_num != num) {
		return error_set(error, -EINVAL, "in-flight journal: version %u for %u descriptors, not %d for %u",
				 version, desc_num, INFLIGHT_VERSION, num);
	} else {
		settle(region, num, used_idx);
	}
	for (uint16_t head = 0; head < num; head++) {
		if (LOAD(region->desc[head].inflight) != 1)
			continue;
		entries[n].head = head;
		entries[n].counter = LOAD(region->desc[head].counter);
		if (entries[n].counter >= counter && entries[n].counter < UINT64_MAX / 2)
			counter = entries[n].counter + 1;
		n++;
	}
	qsort(entries, (size_t)n, sizeof(entries[0]), by_counter);
	*inflight = (struct inflight){ .region = region, .num = num, .counter = counter };
	return n;
}

void inflight_forget(struct inflight *inflight)
{
	forget(inflight->region, inflight->num);
}

HOT uint64_t inflight_take(struct inflight *inflight, uint16_t head)
{
	struct inflight_desc *desc = &inflight->region->desc[head];
	uint64_t counter = inflight->counter++;

	STORE(desc->counter, counter);
	STORE(desc->inflight, 1);
	return counter;
}

HOT void inflight_give_begin(struct inflight *inflight, uint16_t head)
{
	STORE(inflight->region->desc[head].next, LOAD(inflight->region->last_batch_head));
	STORE(inflight->region->last_batch_head, head);
}

HOT void inflight_give_end(struct inflight *inflight, uint16_t head, uint16_t used_idx)
{
	STORE(inflight->region->desc[head].inflight, 0);
	STORE(inflight->region->used_idx, used_idx);
}
