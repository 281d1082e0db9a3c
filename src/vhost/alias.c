/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scattered guest memory as one linear range (struct vhost_alias of memory.h).
 *
 * Two passes over the extents: the first checks and counts, joining pieces that follow each other in their file; the
 * second maps each joined run into a reserved range. A run is as long as it can be: mappings are the scarce resource.
 * Extents that are not the same in both passes are refused before anything is mapped outside of that range.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "util/calls.h"
#include "util/util.h"
#include "vhost/guard.h"
#include "vhost/memory.h"

#define PAGE 4096u

/* Bytes that follow each other in one file and in one region's mapping. */
struct run {
	const struct vhost_mapped *row;
	uint64_t start; /* in the region */
	uint64_t len;
};

struct walk {
	const struct vhost_memory *memory;
	struct vhost_extent (*next)(const void *opaque, uint32_t i);
	const void *opaque;
	uint32_t n;
	uint32_t index;		     /* of the extent after current */
	struct vhost_extent current; /* what is left of it */
};

static const struct vhost_mapped *row_of(const struct vhost_memory *memory, uint64_t gpa)
{
	for (size_t i = 0; i < memory->n; i++)
		if (gpa >= memory->rows[i].gpa && gpa - memory->rows[i].gpa < memory->rows[i].size)
			return &memory->rows[i];
	return NULL;
}

/* The next piece inside one region, not joined. 0: none left. */
static int next_piece(struct walk *walk, struct run *piece, struct error *error)
{
	while (walk->current.len == 0) {
		if (walk->index == walk->n)
			return 0;
		walk->current = walk->next(walk->opaque, walk->index++);
	}
	piece->row = row_of(walk->memory, walk->current.gpa);
	if (!piece->row)
		return error_set(error, -EFAULT, "extent %u: address %#" PRIx64 " is not in shared memory",
				 walk->index - 1, walk->current.gpa);
	piece->start = walk->current.gpa - piece->row->gpa;
	piece->len = MIN(walk->current.len, piece->row->size - piece->start);
	walk->current.gpa += piece->len;
	walk->current.len -= piece->len;
	return 1;
}

/* Calls each(run) for every joined run, in order. */
static int for_each_run(struct walk walk, int (*each)(void *opaque, const struct run *run, struct error *error),
			void *opaque, struct error *error)
{
	struct run run = { .row = NULL };
	struct run piece;
	int r;

	while ((r = next_piece(&walk, &piece, error)) > 0) {
		if (run.row == piece.row && run.start + run.len == piece.start) {
			run.len += piece.len;
			continue;
		}
		if (run.row) {
			r = each(opaque, &run, error);
			if (r < 0)
				return r;
		}
		run = piece;
	}
	if (r == 0 && run.row)
		r = each(opaque, &run, error);
	return r;
}

struct tally {
	uint64_t len;
	unsigned int n;
	struct run first;
	uint64_t last_end; /* in its file */
};

static int count_run(void *opaque, const struct run *run, struct error *error)
{
	struct tally *tally = opaque;

	if (tally->n > 0 && (tally->last_end % PAGE || (run->row->offset + run->start) % PAGE))
		return error_set(error, -EINVAL, "extents do not meet on a page boundary after %" PRIu64 " bytes",
				 tally->len);
	if (tally->n == VHOST_ALIAS_MAX_ONE)
		return error_set(error, -EDQUOT, "extents fall into more than %d pieces", VHOST_ALIAS_MAX_ONE);
	if (add_u64(tally->len, run->len, &tally->len) || tally->len > INT64_MAX - 2 * PAGE)
		return error_set(error, -EINVAL, "extents are too long together");
	if (tally->n++ == 0)
		tally->first = *run;
	tally->last_end = run->row->offset + run->start + run->len;
	return 0;
}

struct placing {
	struct tally tally;
	char *at; /* page where the next run goes */
	char *end;
};

static int extents_changed(struct error *error)
{
	return error_set(error, -EINVAL, "extents changed while they were mapped");
}

static int place_run(void *opaque, const struct run *run, struct error *error)
{
	struct placing *placing = opaque;
	uint64_t offset = run->row->offset + run->start;
	uint64_t skip = offset % PAGE;
	uint64_t len = (skip + run->len + PAGE - 1) / PAGE * PAGE;
	int r = count_run(&placing->tally, run, error);

	if (r < 0)
		return r;
	if (len > (uint64_t)(placing->end - placing->at))
		return extents_changed(error);
	if (mmap(placing->at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, run->row->fd,
		 (off_t)(offset - skip)) == MAP_FAILED)
		return error_set(error, -errno, "cannot map %" PRIu64 " bytes of shared memory again: %s", len,
				 strerror(errno));
	placing->at += len;
	return 0;
}

/* The second pass. */
static int place_runs(struct walk walk, const struct tally *tally, char *map, uint64_t map_len, struct error *error)
{
	struct placing placing = { .at = map, .end = map + map_len };
	const struct tally *again = &placing.tally;
	int r = for_each_run(walk, place_run, &placing, error);

	if (r == 0 && (again->len != tally->len || again->n != tally->n || again->first.row != tally->first.row ||
		       again->first.start != tally->first.start))
		return extents_changed(error);
	return r;
}

static bool take_budget(atomic_uint *budget, unsigned int n)
{
	unsigned int used = atomic_fetch_add(budget, n);

	if (used <= VHOST_ALIAS_MAX_ALL && n <= VHOST_ALIAS_MAX_ALL - used)
		return true;
	atomic_fetch_sub(budget, n);
	return false;
}

int vhost_alias_map(const struct vhost_memory *memory, struct vhost_extent (*next)(const void *opaque, uint32_t i),
		    const void *opaque, uint32_t n, atomic_uint *budget, struct vhost_alias *ret_alias,
		    struct error *error)
{
	struct walk walk = { .memory = memory, .next = next, .opaque = opaque, .n = n };
	struct tally tally = { .len = 0 };
	uint64_t skip, map_len;
	void *map;
	int r = for_each_run(walk, count_run, &tally, error);

	if (r < 0)
		return r;
	if (tally.len == 0)
		return error_set(error, -EINVAL, "extents hold no bytes");
	if (tally.n == 1) {
		*ret_alias =
			(struct vhost_alias){ .data = tally.first.row->data + tally.first.start, .len = tally.len };
		return 0;
	}
	if (!take_budget(budget, tally.n))
		return error_set(error, -EDQUOT, "registered buffers use all %d mappings of the process",
				 VHOST_ALIAS_MAX_ALL);
	skip = (tally.first.row->offset + tally.first.start) % PAGE;
	map_len = (skip + tally.len + PAGE - 1) / PAGE * PAGE;
	map = mmap(NULL, map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		atomic_fetch_sub(budget, tally.n);
		return error_set(error, -ENOMEM, "cannot reserve %" PRIu64 " bytes of addresses", map_len);
	}
	r = place_runs(walk, &tally, map, map_len, error);
	if (r < 0) {
		munmap(map, map_len);
		atomic_fetch_sub(budget, tally.n);
		return r;
	}
	madvise(map, map_len, MADV_DONTDUMP);
	*ret_alias = (struct vhost_alias){ .data = (char *)map + skip,
					   .len = tally.len,
					   .map = map,
					   .map_len = map_len,
					   .n_mappings = tally.n,
					   .guard = vhost_guard_add(map, map_len, memory->owner),
					   .budget = budget };
	return 0;
}

void vhost_alias_unmap(struct vhost_alias *alias)
{
	if (!alias->map)
		return;
	vhost_guard_remove(alias->guard);
	munmap(alias->map, alias->map_len);
	atomic_fetch_sub(alias->budget, alias->n_mappings);
	alias->map = NULL;
}

/* The range is reserved as private memory, its pieces are files. */
SANDBOX_CALLS(SANDBOX_IF("mmap", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED),
	      SANDBOX_IF("mmap2", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED), { "munmap" }, { "madvise" });
