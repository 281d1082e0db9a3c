/* SPDX-License-Identifier: Apache-2.0 */
/* See memory.h. Rows are sorted by guest address and do not overlap, neither there nor in user addresses. */
#include "vhost/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "util/calls.h"
#include "util/util.h"
#include "vhost/guard.h"

#define PAGE 4096u

static bool ranges_meet(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* All that can be said about a region by itself. */
static int check_region(const struct vhost_region *r, struct error *error)
{
	uint64_t end;

	if (r->size == 0)
		return error_set(error, -EINVAL, "memory region at %#" PRIx64 ": size is 0", r->guest_addr);
	if (r->guest_addr % PAGE || r->mmap_offset % PAGE)
		return error_set(error, -EINVAL,
				 "memory region at %#" PRIx64 ": address or file offset is not on a page",
				 r->guest_addr);
	if (add_u64(r->guest_addr, r->size, &end) || add_u64(r->user_addr, r->size, &end) ||
	    add_u64(r->mmap_offset, r->size, &end) || end > INT64_MAX - 2 * PAGE)
		return error_set(error, -EINVAL, "memory region at %#" PRIx64 ": size %#" PRIx64 " wraps",
				 r->guest_addr, r->size);
	return 0;
}

static int check_file(const struct vhost_region *r, int fd, struct error *error)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(error, -EBADF, "memory region at %#" PRIx64 ": its descriptor is not a memory file",
				 r->guest_addr);
	if (!range_in(r->mmap_offset, r->size, (uint64_t)st.st_size))
		return error_set(error, -EFBIG,
				 "memory region at %#" PRIx64 ": bytes %#" PRIx64 "+%#" PRIx64
				 " leave its file of %#" PRIx64,
				 r->guest_addr, r->mmap_offset, r->size, (uint64_t)st.st_size);
	return 0;
}

static int check_overlap(const struct vhost_region *a, uint64_t gpa, uint64_t uva, uint64_t size, struct error *error)
{
	if (ranges_meet(a->guest_addr, a->size, gpa, size) || ranges_meet(a->user_addr, a->size, uva, size))
		return error_set(error, -EEXIST, "memory region at %#" PRIx64 ": overlaps the one at %#" PRIx64,
				 a->guest_addr, gpa);
	return 0;
}

int vhost_regions_add(struct vhost_regions *regions, const struct vhost_region *region, int fd, struct error *error)
{
	size_t at = 0;
	int r = check_region(region, error);

	if (r == 0)
		r = check_file(region, fd, error);
	for (size_t i = 0; r == 0 && i < regions->n; i++) {
		const struct vhost_region *row = &regions->rows[i].region;

		r = check_overlap(region, row->guest_addr, row->user_addr, row->size, error);
		if (row->guest_addr < region->guest_addr)
			at = i + 1;
	}
	if (r < 0)
		return r;
	if (regions->n == VHOST_MAX_REGIONS)
		return error_set(error, -ENOSPC, "memory region at %#" PRIx64 ": all %d slots are in use",
				 region->guest_addr, VHOST_MAX_REGIONS);
	memmove(&regions->rows[at + 1], &regions->rows[at], (regions->n - at) * sizeof(regions->rows[0]));
	regions->rows[at].region = *region;
	regions->rows[at].fd = fd;
	regions->n++;
	return 0;
}

int vhost_regions_remove(struct vhost_regions *regions, const struct vhost_region *region, struct error *error)
{
	for (size_t i = 0; i < regions->n; i++) {
		const struct vhost_region *row = &regions->rows[i].region;

		if (row->guest_addr != region->guest_addr || row->user_addr != region->user_addr ||
		    row->size != region->size)
			continue;
		close(regions->rows[i].fd);
		regions->n--;
		memmove(&regions->rows[i], &regions->rows[i + 1], (regions->n - i) * sizeof(regions->rows[0]));
		return 0;
	}
	return error_set(error, -ENOENT, "memory region at %#" PRIx64 ": there is none to remove", region->guest_addr);
}

void vhost_regions_clear(struct vhost_regions *regions)
{
	for (size_t i = 0; i < regions->n; i++)
		close(regions->rows[i].fd);
	regions->n = 0;
}

/* A file of huge pages can only be mapped from multiples of their size. */
static uint64_t file_alignment(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
		return (uint64_t)fs.f_bsize;
	return PAGE;
}

static int map_region(const struct vhost_region *region, int fd, struct vhost_mapped *row, struct error *error)
{
	uint64_t align = file_alignment(fd);
	uint64_t skip = region->mmap_offset % align;
	uint64_t len = (region->size + skip + align - 1) / align * align;
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
			 (off_t)(region->mmap_offset - skip));

	if (map == MAP_FAILED)
		return error_set(error, -errno, "memory region at %#" PRIx64 ": cannot map it: %s", region->guest_addr,
				 strerror(errno));
	/* A core file of the worker must not hold the guest's memory. */
	madvise(map, len, MADV_DONTDUMP);
	*row = (struct vhost_mapped){
		.gpa = region->guest_addr,
		.uva = region->user_addr,
		.size = region->size,
		.offset = region->mmap_offset,
		.data = (char *)map + skip,
		.map = map,
		.map_len = len,
		.fd = fd,
	};
	return 0;
}

int vhost_memory_add(struct vhost_memory *memory, const struct vhost_region *region, int fd, struct error *error)
{
	struct vhost_mapped mapped;
	size_t at = 0;
	int r = check_region(region, error);

	if (r == 0)
		r = check_file(region, fd, error);
	for (size_t i = 0; r == 0 && i < memory->n; i++) {
		const struct vhost_mapped *row = &memory->rows[i];

		r = check_overlap(region, row->gpa, row->uva, row->size, error);
		if (row->gpa < region->guest_addr)
			at = i + 1;
	}
	if (r == 0 && memory->n == VHOST_MAX_REGIONS)
		r = error_set(error, -ENOSPC, "memory region at %#" PRIx64 ": all %d slots are in use",
			      region->guest_addr, VHOST_MAX_REGIONS);
	if (r == 0)
		r = map_region(region, fd, &mapped, error);
	if (r < 0)
		return r;
	memmove(&memory->rows[at + 1], &memory->rows[at], (memory->n - at) * sizeof(memory->rows[0]));
	mapped.guard = vhost_guard_add(mapped.map, mapped.map_len, memory->owner);
	memory->rows[at] = mapped;
	memory->n++;
	return 0;
}

static void unmap_row(struct vhost_mapped *row)
{
	vhost_guard_remove(row->guard);
	munmap(row->map, row->map_len);
	close(row->fd);
}

int vhost_memory_remove(struct vhost_memory *memory, const struct vhost_region *region, struct error *error)
{
	for (size_t i = 0; i < memory->n; i++) {
		struct vhost_mapped *row = &memory->rows[i];

		if (row->gpa != region->guest_addr || row->uva != region->user_addr || row->size != region->size)
			continue;
		unmap_row(row);
		memory->n--;
		memmove(row, row + 1, (memory->n - i) * sizeof(*row));
		return 0;
	}
	return error_set(error, -ENOENT, "memory region at %#" PRIx64 ": there is none to remove", region->guest_addr);
}

void vhost_memory_clear(struct vhost_memory *memory)
{
	for (size_t i = 0; i < memory->n; i++)
		unmap_row(&memory->rows[i]);
	memory->n = 0;
}

/* The region that holds gpa; few regions, but looked up per descriptor: binary search. */
HOT static const struct vhost_mapped *find_row(const struct vhost_memory *memory, uint64_t gpa)
{
	size_t low = 0, high = memory->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		const struct vhost_mapped *row = &memory->rows[mid];

		if (gpa < row->gpa)
			high = mid;
		else if (gpa - row->gpa >= row->size)
			low = mid + 1;
		else
			return row;
	}
	return NULL;
}

HOT void *vhost_memory_at(const struct vhost_memory *memory, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	const struct vhost_mapped *row = find_row(memory, gpa);

	if (!row)
		return NULL;
	*ret_len = MIN(len, row->size - (gpa - row->gpa));
	return row->data + (gpa - row->gpa);
}

void *vhost_memory_user(const struct vhost_memory *memory, uint64_t uva, uint64_t len)
{
	for (size_t i = 0; i < memory->n; i++) {
		const struct vhost_mapped *row = &memory->rows[i];

		if (uva >= row->uva && range_in(uva - row->uva, len, row->size))
			return row->data + (uva - row->uva);
	}
	return NULL;
}

HOT int vhost_memory_iov(const struct vhost_memory *memory, uint64_t gpa, uint64_t len, struct iovec *iov, size_t max,
			 size_t *n, struct error *error)
{
	while (len > 0) {
		uint64_t piece;
		void *data = vhost_memory_at(memory, gpa, len, &piece);

		if (!data)
			return error_set(error, -EFAULT, "address %#" PRIx64 " is not in shared memory", gpa);
		if (*n == max)
			return error_set(error, -E2BIG, "more than %zu pieces of memory", max);
		iov[(*n)++] = (struct iovec){ .iov_base = data, .iov_len = piece };
		gpa += piece; /* ends of regions do not wrap */
		len -= piece;
	}
	return 0;
}

HOT int vhost_memory_read(const struct vhost_memory *memory, uint64_t gpa, void *dst, size_t len, struct error *error)
{
	char *out = dst;

	while (len > 0) {
		uint64_t piece;
		const void *data = vhost_memory_at(memory, gpa, len, &piece);

		if (!data)
			return error_set(error, -EFAULT, "address %#" PRIx64 " is not in shared memory", gpa);
		memcpy(out, data, piece);
		out += piece;
		gpa += piece;
		len -= piece;
	}
	return 0;
}

/* Guests' memory is files of theirs; the limit of private memory does not count it. */
SANDBOX_CALLS(SANDBOX_IF("mmap", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED),
	      SANDBOX_IF("mmap2", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED), { "munmap" }, { "madvise" }, { "fstat" },
	      { "newfstatat" }, { "fstatat64" }, { "fstatfs" }, { "fstatfs64" }, { "close" });
