/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See arena.h. Free ranges of a region are in a list by address; neighbours are joined when a block comes back. First
 * fit: blocks live as long as a request, so the list stays short.
 */
#include "transport/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util/util.h"

#define GRANULE	    64		   /* of all sizes: a cache line, and what frameworks want payloads aligned to */
#define REGION_SIZE (16ull << 20)  /* least: pages count only once they are touched */
#define REGION_STEP (2ull << 20)   /* larger ones are multiples of a huge page */
#define IDLE_MAX    (256ull << 20) /* kept for the next request: faulting in new pages costs more than copying */
#define IDLE_COUNT  8		   /* regions kept although none of them fits: each costs both sides a descriptor */

struct free_range {
	size_t offset;
	size_t len;
	struct free_range *next;
};

struct arena_region {
	struct frontend_region *memory;
	struct free_range *free;
	size_t used;	/* bytes in blocks */
	size_t touched; /* everything behind this offset was never in a block */
	struct arena_region *next;
};

void arena_init(struct arena *arena, struct frontend *frontend, uint64_t limit)
{
	*arena = (struct arena){ .frontend = frontend, .limit = limit };
	pthread_mutex_init(&arena->growing, NULL);
	pthread_mutex_init(&arena->lock, NULL);
}

static void free_region(struct arena_region *region)
{
	while (region->free) {
		struct free_range *range = region->free;

		region->free = range->next;
		free(range);
	}
	free(region);
}

void arena_fini(struct arena *arena)
{
	while (arena->regions) {
		struct arena_region *region = arena->regions;

		arena->regions = region->next;
		free_region(region);
	}
	pthread_mutex_destroy(&arena->lock);
	pthread_mutex_destroy(&arena->growing);
}

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) / to * to;
}

static struct free_range *new_range(size_t offset, size_t len, struct free_range *next)
{
	struct free_range *range = malloc(sizeof(*range));

	if (range)
		*range = (struct free_range){ .offset = offset, .len = len, .next = next };
	return range;
}

/* Cuts [offset, offset + len) out of *at. False: no memory to split it. */
HOT static bool cut(struct free_range **at, size_t offset, size_t len)
{
	struct free_range *range = *at;
	size_t before = offset - range->offset, after = range->len - before - len;

	if (before && after) {
		struct free_range *rest = new_range(offset + len, after, range->next);

		if (!rest)
			return false;
		range->len = before;
		range->next = rest;
	} else if (before) {
		range->len = before;
	} else if (after) {
		range->offset += len;
		range->len = after;
	} else {
		*at = range->next;
		free(range);
	}
	return true;
}

static void idle_begins(struct arena *arena, const struct arena_region *region)
{
	arena->n_idle++;
	arena->idle += region->touched ? region->memory->size : 0;
}

static void idle_ends(struct arena *arena, const struct arena_region *region)
{
	arena->n_idle--;
	arena->idle -= region->touched ? region->memory->size : 0;
}

HOT static bool take(struct arena *arena, struct arena_region *region, size_t len, size_t align,
		     struct arena_block *ret_block)
{
	for (struct free_range **at = &region->free; *at; at = &(*at)->next) {
		size_t offset = round_up((*at)->offset, align);

		if (!range_in(offset - (*at)->offset, len, (*at)->len) || !cut(at, offset, len))
			continue;
		if (!region->used)
			idle_ends(arena, region);
		region->used += len;
		*ret_block = (struct arena_block){
			.data = (char *)region->memory->data + offset,
			.addr = region->memory->guest_addr + offset,
			.len = len,
			.region = region,
			.fresh = offset >= region->touched,
		};
		region->touched = MAX(region->touched, offset + len);
		return true;
	}
	return false;
}

/* Gives back the pages of idle regions, which read as zero again, until at most keep bytes are left in such. */
static void give_pages_back(struct arena *arena, uint64_t keep)
{
	for (struct arena_region *region = arena->regions; region && arena->idle > keep; region = region->next) {
		if (region->used || !region->touched ||
		    fallocate(region->memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			      (off_t)region->memory->size) < 0)
			continue;
		idle_ends(arena, region);
		region->touched = 0;
		idle_begins(arena, region);
	}
}

/* Called with both locks, while no passing block is out. False: there was none. */
static bool drop_idle(struct arena *arena)
{
	bool any = arena->n_idle;

	for (struct arena_region **at = &arena->regions; *at;) {
		struct arena_region *region = *at;

		if (region->used) {
			at = &region->next;
			continue;
		}
		*at = region->next;
		idle_ends(arena, region);
		arena->total -= region->memory->size;
		/* A back-end that refuses has it mapped still; nothing of ours is in it any more. */
		frontend_region_free(arena->frontend, region->memory, NULL);
		free_region(region);
	}
	__atomic_store_n(&arena->crowded, false, __ATOMIC_RELAXED);
	return any;
}

/* Called without the lock. */
static int new_region(struct arena *arena, size_t size, struct arena_region **ret_region, struct error *error)
{
	struct arena_region *region = calloc(1, sizeof(*region));
	int r = -ENOMEM;

	if (region)
		region->free = new_range(0, size, NULL);
	if (!region || !region->free)
		error_set(error, -ENOMEM, "shared memory: out of memory");
	else
		r = frontend_region_new(arena->frontend, size, &region->memory, error);
	if (r < 0) {
		if (region)
			free_region(region);
		return r;
	}
	region->free->len = region->memory->size;
	*ret_region = region;
	return 0;
}

/* Called with both locks; lets go of the lock meanwhile. Nobody else takes of the region before this one did. */
static int grow(struct arena *arena, size_t size, size_t len, size_t align, struct arena_block *ret_block,
		struct error *error)
{
	struct arena_region *region;
	int r;

	pthread_mutex_unlock(&arena->lock);
	r = new_region(arena, size, &region, error);
	pthread_mutex_lock(&arena->lock);
	if (r < 0)
		return r;
	region->next = arena->regions;
	arena->regions = region;
	arena->total += region->memory->size;
	idle_begins(arena, region);
	return take(arena, region, len, align, ret_block) ? 0 : error_set(error, -ENOMEM, "out of memory");
}

HOT static bool take_any(struct arena *arena, size_t len, size_t align, struct arena_block *ret_block)
{
	for (struct arena_region *region = arena->regions; region; region = region->next)
		if (take(arena, region, len, align, ret_block))
			return true;
	return false;
}

/* With both locks: from what there is now, or from a new region, or from one in the place of idle ones. */
static int alloc_growing(struct arena *arena, size_t len, size_t align, struct arena_block *ret_block,
			 struct error *error)
{
	size_t size = MAX(round_up(len, REGION_STEP), REGION_SIZE);
	int r;

	if (len > arena->limit)
		return error_set(error, -ENOMEM, "shared memory: %zu bytes are more than the limit of %llu", len,
				 (unsigned long long)arena->limit);
	for (;;) {
		if (take_any(arena, len, align, ret_block))
			return 0;
		if (!arena->n_passing && arena->n_idle > IDLE_COUNT)
			drop_idle(arena);
		if (arena->total + size > arena->limit && arena->total)
			r = error_set(error, -ENOSPC,
				      "shared memory: %zu bytes do not fit beside the %llu of %llu in use", len,
				      (unsigned long long)arena->total, (unsigned long long)arena->limit);
		else
			r = grow(arena, size, len, align, ret_block, error);
		/* The lock may have been let go: what came back meanwhile counts. */
		if (r == -ENOSPC && take_any(arena, len, align, ret_block))
			return 0;
		if (r != -ENOSPC)
			return r;
		r = arena->n_passing ? -EAGAIN : -ENOMEM;
		if (error)
			error->code = r;
		if (r == -EAGAIN)
			__atomic_store_n(&arena->crowded, arena->n_idle > 0, __ATOMIC_RELAXED);
		if (r == -EAGAIN || !drop_idle(arena))
			return r;
	}
}

HOT int arena_alloc(struct arena *arena, size_t len, size_t align, bool passing, struct arena_block *ret_block,
		    struct error *error)
{
	int r = 0;

	if (!len || len > SIZE_MAX / 4)
		return error_set(error, -ENOMEM, "shared memory: a block cannot have %zu bytes", len);
	len = round_up(len, GRANULE);
	align = MAX(align, GRANULE);
	pthread_mutex_lock(&arena->lock);
	if (!take_any(arena, len, align, ret_block)) {
		pthread_mutex_unlock(&arena->lock);
		pthread_mutex_lock(&arena->growing);
		pthread_mutex_lock(&arena->lock);
		r = alloc_growing(arena, len, align, ret_block, error);
		pthread_mutex_unlock(&arena->growing);
	}
	if (r == 0) {
		ret_block->passing = passing;
		arena->n_passing += passing;
	}
	pthread_mutex_unlock(&arena->lock);
	return r;
}

HOT bool arena_admits(struct arena *arena)
{
	bool admits = true;

	if (!__atomic_load_n(&arena->crowded, __ATOMIC_RELAXED))
		return true;
	pthread_mutex_lock(&arena->growing);
	pthread_mutex_lock(&arena->lock);
	if (arena->crowded && arena->n_passing)
		admits = false;
	else if (arena->crowded)
		drop_idle(arena);
	pthread_mutex_unlock(&arena->lock);
	pthread_mutex_unlock(&arena->growing);
	return admits;
}

/* Puts the range back, joined with its neighbours. Without memory for a list entry the range stays unused. */
HOT static void give(struct arena_region *region, size_t offset, size_t len)
{
	struct free_range *before = NULL, **at = &region->free;
	struct free_range *range;

	while (*at && (*at)->offset < offset) {
		before = *at;
		at = &(*at)->next;
	}
	if (before && before->offset + before->len == offset) {
		before->len += len;
		range = before;
	} else {
		range = new_range(offset, len, *at);
		if (!range)
			return;
		*at = range;
	}
	if (range->next && range->offset + range->len == range->next->offset) {
		struct free_range *after = range->next;

		range->len += after->len;
		range->next = after->next;
		free(after);
	}
}

HOT void arena_free(struct arena *arena, const struct arena_block *block)
{
	struct arena_region *region = block->region;

	if (!region)
		return;
	pthread_mutex_lock(&arena->lock);
	give(region, (size_t)(block->addr - region->memory->guest_addr), block->len);
	region->used -= block->len;
	arena->n_passing -= block->passing;
	if (!region->used) {
		idle_begins(arena, region);
		give_pages_back(arena, IDLE_MAX);
	}
	pthread_mutex_unlock(&arena->lock);
}
