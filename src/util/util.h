/* SPDX-License-Identifier: Apache-2.0 */
/* Small things everybody needs: checked arithmetic, cleanup attributes, array and time helpers. */
#ifndef VACCEL_UTIL_UTIL_H
#define VACCEL_UTIL_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)			((a) < (b) ? (a) : (b))
#define MAX(a, b)			((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* True when the result does not fit: `if (add_u64(a, b, &sum)) return -EOVERFLOW;` */
static inline bool add_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_add_overflow(a, b, ret);
}

static inline bool mul_u64(uint64_t a, uint64_t b, uint64_t *ret)
{
	return __builtin_mul_overflow(a, b, ret);
}

/* Whether [offset, offset + len) lies in [0, size). */
static inline bool range_in(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

static inline void free_ptr(void *pp)
{
	free(*(void **)pp);
}

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/*
 * Runs for every request: the compiler puts these functions side by side, so that a request touches few pages of code.
 * Where a context switch empties the TLB each of them is a miss. What fails is cold (error.h), and lies elsewhere.
 */
#define HOT __attribute__((hot))

#define _cleanup_free_	__attribute__((cleanup(free_ptr)))
#define _cleanup_close_ __attribute__((cleanup(close_fd)))

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
