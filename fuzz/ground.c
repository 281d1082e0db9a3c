/* SPDX-License-Identifier: Apache-2.0 */
/* See ground.h. */
#include "ground.h"

#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul

static struct vhost_memory memory = { .owner = 1 };

static const struct {
	uint64_t gpa, len;
} parts[] = { { GROUND_A, GROUND_A_LEN }, { GROUND_B, GROUND_B_LEN }, { GROUND_C, GROUND_C_LEN } };

#define N_PARTS (sizeof(parts) / sizeof(parts[0]))

/* Moves a region's mapping between pages that nobody may touch. */
static void fence(struct vhost_mapped *row)
{
	char *room = mmap(NULL, row->map_len + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED);
	CHECK(mremap(row->map, row->map_len, row->map_len, MREMAP_MAYMOVE | MREMAP_FIXED, room + PAGE) == room + PAGE);
	row->map = room + PAGE;
	row->data = room + PAGE;
}

static void make(void)
{
	uint64_t offset = 0;

	for (size_t i = 0; i < N_PARTS; i++) {
		const struct vhost_region region = { .guest_addr = parts[i].gpa,
						     .size = parts[i].len,
						     .user_addr = parts[i].gpa + GROUND_UVA,
						     .mmap_offset = offset };
		int fd = memfd_create("fuzz", MFD_CLOEXEC);

		CHECK(fd >= 0 && ftruncate(fd, GROUND_LEN) == 0);
		CHECK(vhost_memory_add(&memory, &region, fd, NULL) == 0);
		offset += parts[i].len;
	}
	for (size_t i = 0; i < N_PARTS; i++)
		fence(&memory.rows[i]);
}

struct vhost_memory *ground(struct input *in, size_t len)
{
	if (!memory.n)
		make();
	for (size_t i = 0; i < N_PARTS; i++) {
		size_t n = len < parts[i].len ? len : parts[i].len;

		memset(memory.rows[i].data, 0, parts[i].len);
		input_bytes(in, memory.rows[i].data, n);
		len -= n;
	}
	return &memory;
}

void ground_check(const void *data, size_t len)
{
	for (size_t i = 0; i < N_PARTS; i++) {
		const char *start = memory.rows[i].data, *at = data;

		if (at >= start && at < start + parts[i].len) {
			CHECK(len <= parts[i].len - (size_t)(at - start));
			return;
		}
	}
	CHECK(!"inside of a region");
}

bool ground_has(const void *data)
{
	for (size_t i = 0; i < memory.n; i++) {
		const char *start = memory.rows[i].data, *at = data;

		if (at >= start && at < start + parts[i].len)
			return true;
	}
	return false;
}

uint8_t *ground_byte(size_t offset)
{
	offset %= GROUND_LEN;
	for (size_t i = 0; i < N_PARTS; i++) {
		if (offset < parts[i].len)
			return (uint8_t *)memory.rows[i].data + offset;
		offset -= parts[i].len;
	}
	return NULL;
}
