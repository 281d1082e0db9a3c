/* SPDX-License-Identifier: Apache-2.0 */
/* See hist.h. */
#include "util/hist.h"

void hist_merge(struct hist *into, const struct hist *hist)
{
	into->count += hist->count;
	into->sum_ns += hist->sum_ns;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		into->buckets[i] += hist->buckets[i];
}

double hist_quantile(const struct hist *hist, double part)
{
	double total = 0, below = 0, rank;

	/* Not count: it may be ahead of the buckets. */
	for (unsigned int i = 0; i < HIST_BUCKETS; i++)
		total += (double)hist->buckets[i];
	rank = total * part;
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		double here = (double)hist->buckets[i];
		double start = (double)hist_start(i), end = (double)hist_start(i + 1);

		if (here > 0 && below + here >= rank)
			return start + (end - start) * (rank > below ? (rank - below) / here : 0);
		below += here;
	}
	return 0;
}
