/* SPDX-License-Identifier: Apache-2.0 */
/* cmocka and what it wants before it, and the helpers that tests of src/vhost share. */
#ifndef TESTS_VHOST_CHECK_H
#define TESTS_VHOST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost/memory.h"

/* Descriptors open in this process: a test compares before and after. */
static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline int new_memfd(size_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static inline struct vhost_region region_of(uint64_t gpa, uint64_t size, uint64_t uva, uint64_t offset)
{
	return (struct vhost_region){ .guest_addr = gpa, .size = size, .user_addr = uva, .mmap_offset = offset };
}

#endif
