/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory: what a table may say, how addresses are found, and scattered memory as one linear range. */
#include "check.h"

#include <errno.h>

#include "util/util.h"
#include "vhost/guard.h"

#define PAGE 4096ul

/* A table's checks are the same mapped and unmapped: both are asked. */
static void expect_add(struct vhost_memory *memory, struct vhost_regions *regions, struct vhost_region region, int fd,
		       int expected)
{
	struct error error = { 0 };
	int a = fd >= 0 ? dup(fd) : -1, b = fd >= 0 ? dup(fd) : -1;

	assert_int_equal(vhost_memory_add(memory, &region, a, &error), expected);
	assert_int_equal(vhost_regions_add(regions, &region, b, &error), expected);
	if (expected < 0) {
		assert_true(error.text[0]);
		close_fd(&a);
		close_fd(&b);
	}
}

static void refused(void **state)
{
	struct vhost_memory memory = { .n = 0 };
	struct vhost_regions regions = { .n = 0 };
	int before = count_fds(), fd = new_memfd(16 * PAGE), pipes[2];

	expect_add(&memory, &regions, region_of(0, 0, 0, 0), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(1, PAGE, PAGE, 0), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(PAGE, PAGE, PAGE, 7), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(-PAGE, 2 * PAGE, PAGE, 0), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(PAGE, 2 * PAGE, -PAGE, 0), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(0, PAGE, PAGE, -PAGE), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(0, INT64_MAX, 0, 0), fd, -EINVAL);
	expect_add(&memory, &regions, region_of(0, 17 * PAGE, 0, 0), fd, -EFBIG);
	expect_add(&memory, &regions, region_of(0, PAGE, 0, 16 * PAGE), fd, -EFBIG);
	expect_add(&memory, &regions, region_of(0, PAGE, 0, 0), -1, -EBADF);
	assert_int_equal(pipe(pipes), 0);
	expect_add(&memory, &regions, region_of(0, PAGE, 0, 0), pipes[0], -EBADF);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(memory.n, 0);
	assert_int_equal(regions.n, 0);
	close(fd);
	assert_int_equal(count_fds(), before);
}

static void overlaps(void **state)
{
	struct vhost_memory memory = { .n = 0 };
	struct vhost_regions regions = { .n = 0 };
	int before = count_fds(), fd = new_memfd(64 * PAGE);
	const uint64_t far = 1ul << 40;

	expect_add(&memory, &regions, region_of(8 * PAGE, 4 * PAGE, far, 0), fd, 0);
	expect_add(&memory, &regions, region_of(8 * PAGE, 4 * PAGE, 2 * far, 0), fd, -EEXIST);
	expect_add(&memory, &regions, region_of(7 * PAGE, 2 * PAGE, 2 * far, 0), fd, -EEXIST);
	expect_add(&memory, &regions, region_of(11 * PAGE, 2 * PAGE, 2 * far, 0), fd, -EEXIST);
	expect_add(&memory, &regions, region_of(0, 64 * PAGE, 2 * far, 0), fd, -EEXIST);
	expect_add(&memory, &regions, region_of(64 * PAGE, PAGE, far + 3 * PAGE, 0), fd, -EEXIST);
	/* Touching is not overlapping; rows stay sorted. */
	expect_add(&memory, &regions, region_of(12 * PAGE, PAGE, 2 * far, 4 * PAGE), fd, 0);
	expect_add(&memory, &regions, region_of(7 * PAGE, PAGE, 3 * far, 5 * PAGE), fd, 0);
	for (size_t i = 1; i < memory.n; i++)
		assert_true(memory.rows[i - 1].gpa < memory.rows[i].gpa);
	vhost_memory_clear(&memory);
	vhost_regions_clear(&regions);
	for (uint64_t i = 0; i < VHOST_MAX_REGIONS; i++)
		expect_add(&memory, &regions, region_of(i * 2 * PAGE, PAGE, far + i * 2 * PAGE, 0), fd, 0);
	expect_add(&memory, &regions, region_of(far, PAGE, 0, 0), fd, -ENOSPC);
	vhost_memory_clear(&memory);
	vhost_regions_clear(&regions);
	close(fd);
	assert_int_equal(count_fds(), before);
}

static void removed(void **state)
{
	struct vhost_memory memory = { .n = 0 };
	struct vhost_regions regions = { .n = 0 };
	struct vhost_region a = region_of(0, PAGE, PAGE, 0), b = region_of(PAGE, PAGE, 8 * PAGE, PAGE), wrong = b;
	struct error error;
	uint64_t len;
	int before = count_fds(), fd = new_memfd(2 * PAGE);

	expect_add(&memory, &regions, a, fd, 0);
	expect_add(&memory, &regions, b, fd, 0);
	wrong.size = 2 * PAGE;
	assert_int_equal(vhost_memory_remove(&memory, &wrong, &error), -ENOENT);
	assert_int_equal(vhost_regions_remove(&regions, &wrong, &error), -ENOENT);
	assert_int_equal(vhost_memory_remove(&memory, &a, &error), 0);
	assert_int_equal(vhost_regions_remove(&regions, &a, &error), 0);
	assert_null(vhost_memory_at(&memory, 0, 1, &len));
	assert_non_null(vhost_memory_at(&memory, PAGE, 1, &len));
	vhost_memory_clear(&memory);
	vhost_regions_clear(&regions);
	close(fd);
	assert_int_equal(count_fds(), before);
}

/*
 * Guest: [0, 2) pages at file page 4, [2, 3) at file page 0, hole, [8, 10) at file page 1. The first two are adjacent
 * for the guest and not in the file.
 */
static void fill(struct vhost_memory *memory, int *ret_fd)
{
	struct vhost_region rows[] = {
		region_of(0, 2 * PAGE, 0x10000000, 4 * PAGE),
		region_of(2 * PAGE, PAGE, 0x20000000, 0),
		region_of(8 * PAGE, 2 * PAGE, 0x30000000, PAGE),
	};
	struct error error;

	*ret_fd = new_memfd(6 * PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(vhost_memory_add(memory, &rows[i], dup(*ret_fd), &error), 0);
}

static void write_file(int fd, uint64_t offset, const char *text)
{
	assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), strlen(text));
}

static void translated(void **state)
{
	struct vhost_memory memory = { .n = 0 };
	struct iovec iov[4];
	struct error error;
	char bytes[9] = "";
	uint64_t len;
	size_t n = 0;
	int fd;

	fill(&memory, &fd);
	write_file(fd, 6 * PAGE - 4, "abcd");
	write_file(fd, 0, "efgh");
	assert_non_null(vhost_memory_at(&memory, 100, 50, &len));
	assert_int_equal(len, 50);
	assert_non_null(vhost_memory_at(&memory, 2 * PAGE - 4, 100, &len));
	assert_int_equal(len, 4);
	assert_null(vhost_memory_at(&memory, 3 * PAGE, 1, &len));
	assert_null(vhost_memory_at(&memory, UINT64_MAX, 1, &len));
	assert_int_equal(vhost_memory_read(&memory, 2 * PAGE - 4, bytes, 8, &error), 0);
	assert_string_equal(bytes, "abcdefgh");
	assert_int_equal(vhost_memory_read(&memory, 3 * PAGE - 4, bytes, 8, &error), -EFAULT);
	assert_int_equal(vhost_memory_iov(&memory, 2 * PAGE - 4, 8, iov, 4, &n, &error), 0);
	assert_int_equal(n, 2);
	assert_int_equal(iov[0].iov_len, 4);
	assert_memory_equal(iov[1].iov_base, "efgh", 4);
	n = 0;
	assert_int_equal(vhost_memory_iov(&memory, 2 * PAGE - 4, 8, iov, 1, &n, &error), -E2BIG);
	n = 0;
	assert_int_equal(vhost_memory_iov(&memory, 9 * PAGE, PAGE + 1, iov, 4, &n, &error), -EFAULT);
	n = 0;
	assert_int_equal(vhost_memory_iov(&memory, 9 * PAGE, UINT64_MAX, iov, 4, &n, &error), -EFAULT);
	assert_non_null(vhost_memory_user(&memory, 0x10000000, 2 * PAGE));
	assert_null(vhost_memory_user(&memory, 0x10000000, 2 * PAGE + 1));
	assert_null(vhost_memory_user(&memory, 0x10000000 + PAGE, UINT64_MAX - PAGE));
	assert_null(vhost_memory_user(&memory, 0, 1));
	vhost_memory_clear(&memory);
	close(fd);
}

static struct vhost_extent next(const void *opaque, uint32_t i)
{
	return ((const struct vhost_extent *)opaque)[i];
}

static void aliased(void **state)
{
	/* Guest pages 9, 1 from its second half's start on a page, and the beginning of 2. */
	const struct vhost_extent extents[] = {
		{ 9 * PAGE, PAGE },
		{ PAGE, 2048 },
		{ PAGE + 2048, 2048 },
		{ 2 * PAGE, 10 },
	};
	struct vhost_memory memory = { .n = 0 };
	struct vhost_alias alias;
	atomic_uint budget = 0;
	struct error error;
	char *data;
	int fd;

	fill(&memory, &fd);
	write_file(fd, 2 * PAGE, "nine");
	write_file(fd, 5 * PAGE, "one");
	write_file(fd, 0, "two");
	assert_int_equal(vhost_alias_map(&memory, next, extents, 4, &budget, &alias, &error), 0);
	data = alias.data;
	assert_int_equal(alias.len, 2 * PAGE + 10);
	assert_memory_equal(data, "nine", 4);
	assert_memory_equal(data + PAGE, "one", 3);
	assert_memory_equal(data + 2 * PAGE, "two", 3);
	assert_int_equal(budget, 3); /* the two halves of page 1 are one mapping */
	memcpy(data + PAGE, "ONE", 3);
	vhost_alias_unmap(&alias);
	assert_int_equal(budget, 0);
	data = vhost_memory_at(&memory, PAGE, 3, &(uint64_t){ 0 });
	assert_memory_equal(data, "ONE", 3);
	vhost_memory_clear(&memory);
	close(fd);
}

/* Whose memory it is can be told of every byte that is mapped, and of no other. */
static void guarded(void **state)
{
	struct vhost_memory memory = { .owner = 7 };
	struct vhost_region region = region_of(0, 4 * PAGE, 0, 0);
	const struct vhost_extent swapped[] = { { 2 * PAGE, PAGE }, { 0, PAGE } };
	atomic_uint budget = 0;
	struct vhost_alias alias;
	struct error error = { 0 };
	char *data, *again, local;

	assert_int_equal(vhost_memory_add(&memory, &region, new_memfd(4 * PAGE), &error), 0);
	data = memory.rows[0].data;
	assert_int_equal(vhost_alias_map(&memory, next, swapped, 2, &budget, &alias, &error), 0);
	again = alias.data;
	assert_int_equal(vhost_guard_find(data), 7);
	assert_int_equal(vhost_guard_find(data + 4 * PAGE - 1), 7);
	assert_int_equal(vhost_guard_find(again), 7);
	assert_int_equal(vhost_guard_find(again + 2 * PAGE - 1), 7);
	assert_int_equal(vhost_guard_find(&local), 0);
	assert_int_equal(vhost_guard_find(NULL), 0);
	vhost_alias_unmap(&alias);
	assert_int_equal(vhost_guard_find(again), 0);
	assert_int_equal(vhost_guard_find(data), 7);
	vhost_memory_clear(&memory);
	assert_int_equal(vhost_guard_find(data), 0);
}

static void aliased_in_place(void **state)
{
	const struct vhost_extent one[] = { { 100, 50 }, { 150, 8 } };
	struct vhost_memory memory = { .n = 0 };
	struct vhost_alias alias;
	atomic_uint budget = 0;
	struct error error;
	int fd;

	fill(&memory, &fd);
	assert_int_equal(vhost_alias_map(&memory, next, one, 2, &budget, &alias, &error), 0);
	assert_ptr_equal(alias.data, vhost_memory_at(&memory, 100, 1, &(uint64_t){ 0 }));
	assert_int_equal(alias.len, 58);
	assert_int_equal(budget, 0);
	vhost_alias_unmap(&alias);
	vhost_memory_clear(&memory);
	close(fd);
}

static void alias_refused(void **state)
{
	const struct vhost_extent hole[] = { { 0, PAGE }, { 3 * PAGE, PAGE } };
	const struct vhost_extent inside[] = { { 9 * PAGE, 100 }, { 0, PAGE } };
	const struct vhost_extent wraps[] = { { 0, UINT64_MAX } };
	struct vhost_extent *many = calloc(VHOST_ALIAS_MAX_ONE + 1, sizeof(*many));
	const struct vhost_extent two[] = { { 9 * PAGE, PAGE }, { 0, PAGE } };
	struct vhost_memory memory = { .n = 0 };
	struct vhost_alias alias;
	atomic_uint budget = 0;
	struct error error;
	int fd;

	fill(&memory, &fd);
	assert_int_equal(vhost_alias_map(&memory, next, hole, 2, &budget, &alias, &error), -EFAULT);
	assert_int_equal(vhost_alias_map(&memory, next, inside, 2, &budget, &alias, &error), -EINVAL);
	assert_int_equal(vhost_alias_map(&memory, next, wraps, 1, &budget, &alias, &error), -EFAULT);
	assert_int_equal(vhost_alias_map(&memory, next, wraps, 0, &budget, &alias, &error), -EINVAL);
	for (size_t i = 0; i <= VHOST_ALIAS_MAX_ONE; i++)
		many[i] = (struct vhost_extent){ (i & 1) ? 0 : 9 * PAGE, PAGE };
	assert_int_equal(vhost_alias_map(&memory, next, many, VHOST_ALIAS_MAX_ONE + 1, &budget, &alias, &error),
			 -EDQUOT);
	assert_int_equal(vhost_alias_map(&memory, next, many, VHOST_ALIAS_MAX_ONE, &budget, &alias, &error), 0);
	vhost_alias_unmap(&alias);
	budget = VHOST_ALIAS_MAX_ALL - 1;
	assert_int_equal(vhost_alias_map(&memory, next, two, 2, &budget, &alias, &error), -EDQUOT);
	assert_int_equal(budget, VHOST_ALIAS_MAX_ALL - 1);
	vhost_memory_clear(&memory);
	close(fd);
	free(many);
}

/* Extents that are other ones when they are read again: from a table that somebody writes to. */
struct changing {
	const struct vhost_extent *first, *second;
	uint32_t *n_read;
	uint32_t n;
};

static struct vhost_extent next_changing(const void *opaque, uint32_t i)
{
	const struct changing *changing = opaque;

	return (*changing->n_read)++ < changing->n ? changing->first[i] : changing->second[i];
}

static void alias_changes(void **state)
{
	const struct vhost_extent extents[] = { { 9 * PAGE, PAGE }, { 0, PAGE } };
	const struct vhost_extent others[][2] = {
		{ { 9 * PAGE, PAGE }, { 0, 3 * PAGE } },     /* more pages than there is room for */
		{ { 9 * PAGE, PAGE }, { 0, PAGE - 1 } },     /* fewer bytes */
		{ { 9 * PAGE, PAGE - 8 }, { 0, PAGE + 8 } }, /* a boundary inside a page */
		{ { 9 * PAGE + 8, PAGE - 8 }, { 0, PAGE } }, /* another beginning */
		{ { 0, PAGE }, { PAGE, PAGE } },	     /* one piece */
		{ { 9 * PAGE, PAGE }, { 3 * PAGE, PAGE } },  /* not there */
		{ { 8 * PAGE, PAGE }, { 0, PAGE } },	     /* other pages */
	};
	struct vhost_memory memory = { .n = 0 };
	struct vhost_alias alias;
	atomic_uint budget = 0;
	struct error error;
	int fd;

	fill(&memory, &fd);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		uint32_t n_read = 0;
		struct changing changing = { extents, others[i], &n_read, 2 };
		int r = vhost_alias_map(&memory, next_changing, &changing, 2, &budget, &alias, &error);

		if (r != -EINVAL && r != -EFAULT)
			fail_msg("case %zu: %d", i, r);
		assert_int_equal(budget, 0);
	}
	vhost_memory_clear(&memory);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),    cmocka_unit_test(overlaps),      cmocka_unit_test(removed),
		cmocka_unit_test(translated), cmocka_unit_test(aliased),       cmocka_unit_test(aliased_in_place),
		cmocka_unit_test(guarded),    cmocka_unit_test(alias_refused), cmocka_unit_test(alias_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
