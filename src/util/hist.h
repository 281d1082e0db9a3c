/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histograms of times in nanoseconds, fit for shared memory: fixed size, no pointers, filled with relaxed atomics by
 * any number of threads. A copy that was taken meanwhile may lack the end of what is being added, and is otherwise
 * whole.
 *
 * Buckets are log-linear: 0 to 3 have a bucket each, from there on every power of two is cut into four. A value is
 * known to a quarter of itself at worst; the last bucket takes all from 120 s on. Whoever reads a histogram of a
 * process that it does not trust is safe here: every function works with any numbers.
 */
#ifndef VACCEL_UTIL_HIST_H
#define VACCEL_UTIL_HIST_H

#include <stdint.h>

#define HIST_BUCKETS 144

struct hist {
	uint64_t count;
	uint64_t sum_ns;
	uint64_t buckets[HIST_BUCKETS];
};

static inline unsigned int hist_bucket(uint64_t ns)
{
	unsigned int top, bucket;

	if (ns < 4)
		return (unsigned int)ns;
	top = 63 - (unsigned int)__builtin_clzll(ns);
	bucket = (top - 1) * 4 + (unsigned int)(ns >> (top - 2) & 3);
	return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

/* The least value of a bucket; of HIST_BUCKETS the end of the last but one. */
static inline uint64_t hist_start(unsigned int bucket)
{
	return bucket < 4 ? bucket : (uint64_t)(4 + bucket % 4) << (bucket / 4 - 1);
}

static inline void hist_add(struct hist *hist, uint64_t ns)
{
	__atomic_fetch_add(&hist->buckets[hist_bucket(ns)], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&hist->sum_ns, ns, __ATOMIC_RELAXED);
	__atomic_fetch_add(&hist->count, 1, __ATOMIC_RELAXED);
}

/* Adds all that is in one to another, which is the caller's own. */
void hist_merge(struct hist *into, const struct hist *hist);

/* The time that a part (0 to 1) of what was added does not exceed, from within its bucket; 0 when there is nothing. */
double hist_quantile(const struct hist *hist, double part);

#endif
