/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory: the regions that a front-end shared, and the ways into them.
 *
 * Two parts. struct vhost_regions is the table as told (addresses, sizes, descriptors), checked but not mapped: the
 * supervisor keeps it and never touches a byte of it. struct vhost_memory is that table mapped, for the worker.
 *
 * A vhost_memory has one writer and many readers: vhost_memory_add() may run beside readers if the caller excludes them
 * for its duration only (pointers handed out before stay valid); vhost_memory_remove() and vhost_memory_clear() unmap,
 * so nothing may use the memory then.
 *
 * Every address comes from a guest: nothing here is reached without a bounds check, and sums cannot wrap.
 */
#ifndef VACCEL_VHOST_MEMORY_H
#define VACCEL_VHOST_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/error.h"
#include "vhost/proto.h"

#define VHOST_MAX_REGIONS 64

struct vhost_regions {
	struct {
		struct vhost_region region;
		int fd;		   /* owned */
	} rows[VHOST_MAX_REGIONS]; /* by guest address */
	size_t n;
};

/*
 * Checks a region against the table and against the size of the file behind fd, and takes fd over on success.
 * -EINVAL size 0, unaligned or wrapping; -EEXIST overlaps; -EFBIG leaves the file; -ENOSPC no free slot; -EBADF not memory.
 */
int vhost_regions_add(struct vhost_regions *regions, const struct vhost_region *region, int fd, struct error *error);
/* The region with this guest address, user address and size. -ENOENT. */
int vhost_regions_remove(struct vhost_regions *regions, const struct vhost_region *region, struct error *error);
void vhost_regions_clear(struct vhost_regions *regions);

struct vhost_memory {
	struct vhost_mapped {
		uint64_t gpa;
		uint64_t uva;
		uint64_t size;
		uint64_t offset; /* in the file, of the region's first byte */
		char *data;	 /* of the region's first byte */
		void *map;
		size_t map_len;
		int fd; /* owned */
		unsigned int guard;
	} rows[VHOST_MAX_REGIONS]; /* by guest address */
	size_t n;
	uint32_t owner; /* as which vhost_guard_find() knows it and its aliases; 0: not at all */
};

/* As vhost_regions_add(), and maps it. */
int vhost_memory_add(struct vhost_memory *memory, const struct vhost_region *region, int fd, struct error *error);
int vhost_memory_remove(struct vhost_memory *memory, const struct vhost_region *region, struct error *error);
void vhost_memory_clear(struct vhost_memory *memory);

/* Pointer to guest address gpa; *ret_len: how many bytes from there are contiguous, at most len. NULL: not shared. */
void *vhost_memory_at(const struct vhost_memory *memory, uint64_t gpa, uint64_t len, uint64_t *ret_len);

/* Pointer to len bytes at a front-end's address, in one region; NULL when they are not. For rings. */
void *vhost_memory_user(const struct vhost_memory *memory, uint64_t uva, uint64_t len);

/*
 * Appends the pieces of a range to iov[*n] and raises *n. -EFAULT part of it is not shared, -E2BIG more than max pieces.
 * Adjacent pieces are not joined.
 */
int vhost_memory_iov(const struct vhost_memory *memory, uint64_t gpa, uint64_t len, struct iovec *iov, size_t max,
		     size_t *n, struct error *error);

/* Copies a range into private memory. -EFAULT. */
int vhost_memory_read(const struct vhost_memory *memory, uint64_t gpa, void *dst, size_t len, struct error *error);

struct vhost_extent {
	uint64_t gpa;
	uint64_t len;
};

/*
 * Extents as one linear range. Contiguous ones are used where they are; others are mapped again, next to each other,
 * for which every inner boundary has to lie on a page. budget counts such mappings in the whole process: a process has
 * 65,530 at most.
 */
struct vhost_alias {
	void *data; /* first byte */
	uint64_t len;
	void *map; /* NULL: inside a region's own mapping */
	size_t map_len;
	unsigned int n_mappings;
	unsigned int guard;
	atomic_uint *budget;
};

#define VHOST_ALIAS_MAX_ONE 8192  /* mappings of one alias */
#define VHOST_ALIAS_MAX_ALL 49152 /* of all of them */

/*
 * next(opaque, i) gives extent i of n. -EFAULT not shared; -EINVAL boundary inside a page, or no bytes; -EDQUOT too many
 * mappings; -ENOMEM.
 */
int vhost_alias_map(const struct vhost_memory *memory, struct vhost_extent (*next)(const void *opaque, uint32_t i),
		    const void *opaque, uint32_t n, atomic_uint *budget, struct vhost_alias *ret_alias,
		    struct error *error);
void vhost_alias_unmap(struct vhost_alias *alias);

#endif
