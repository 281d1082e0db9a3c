/* SPDX-License-Identifier: Apache-2.0 */
/* Median, quartiles and percentiles of measured times. */
#include <stdlib.h>

#include "cli/cli.h"

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Nearest rank: the smallest sample that at least permille/1000 of them do not exceed. */
static uint64_t quantile(const uint64_t *sorted, size_t n, unsigned int permille)
{
	size_t rank = (n * permille + 999) / 1000;

	return sorted[rank ? rank - 1 : 0];
}

void stats_of(uint64_t *samples, size_t n, struct stats *ret_stats)
{
	uint64_t low, high;

	qsort(samples, n, sizeof(*samples), compare);
	low = quantile(samples, n, 250);
	high = quantile(samples, n, 750);
	*ret_stats = (struct stats){
		.n = n,
		.min = samples[0],
		.median = n % 2 ? samples[n / 2] : samples[n / 2 - 1] / 2 + samples[n / 2] / 2,
		.p99 = quantile(samples, n, 990),
		.max = samples[n - 1],
	};
	if (ret_stats->median)
		ret_stats->spread = (double)(high - low) / (double)ret_stats->median;
}
