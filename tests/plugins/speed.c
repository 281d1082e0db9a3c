/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a plugin takes to start, and how fast it multiplies: for people, not a test.
 *
 *	speed [-c CACHE-DIR] PLUGIN.so [KEY=VALUE...]
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "harness.h"

/* The best time of several, in seconds; negative on failure. */
static double measure(struct harness *h, bool wide, uint64_t size, void *data)
{
	const size_t bytes = size * size * (wide ? sizeof(double) : sizeof(float));
	const struct vaccel_gemm gemm = {
		.order = VACCEL_ROW_MAJOR,
		.transa = VACCEL_NO_TRANS,
		.transb = VACCEL_NO_TRANS,
		.m = size,
		.n = size,
		.k = size,
		.lda = size,
		.ldb = size,
		.ldc = size,
		.alpha = 1,
	};
	const struct vaccel_plugin_arg args[] = {
		{ .data = data, .len = bytes, .dir = 1 },
		{ .data = (char *)data + bytes, .len = bytes, .dir = 1 },
		{ .data = (char *)data + 2 * bytes, .len = bytes, .dir = 2 },
	};
	double best = -1, begin, time;
	int i;

	for (i = 0; i < 10; i++) {
		begin = harness_now();
		if (harness_run(h, wide ? VACCEL_OP_DGEMM : VACCEL_OP_SGEMM, &gemm, sizeof(gemm), args, 3))
			return -1;
		time = harness_now() - begin;
		if (best < 0 || time < best)
			best = time;
	}
	return best;
}

static void fill(void *data, size_t n, bool wide)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (wide)
			((double *)data)[i] = (double)(i % 17) / 17;
		else
			((float *)data)[i] = (float)(i % 17) / 17;
}

int main(int argc, char **argv)
{
	const uint64_t largest = 1024;
	const size_t n = 3 * largest * largest;
	void *data = aligned_alloc(4096, n * sizeof(double));
	const char *cache = NULL;
	struct harness h;
	uint64_t size;
	double time;
	int c, r, wide;

	while ((c = getopt(argc, argv, "c:")) >= 0) {
		if (c != 'c')
			return 2;
		cache = optarg;
	}
	if (!data || optind >= argc || harness_open(&h, argv[optind]) < 0)
		return 2;
	time = harness_now();
	r = harness_start(&h, cache, 0, argv + optind + 1);
	if (r < 0) {
		fprintf(stderr, "%s\n", h.error);
		return 1;
	}
	printf("%s, %s: started in %.2f s\n", h.plugin->name, h.plugin->hardware(), harness_now() - time);
	for (wide = 0; wide < 2; wide++) {
		fill(data, n, wide);
		for (size = 64; size <= largest; size *= 2) {
			time = measure(&h, wide, size, data);
			if (time > 0)
				printf("%cGEMM %4llu: %10.1f us %8.2f GFlop/s\n", wide ? 'D' : 'S',
				       (unsigned long long)size, time * 1e6,
				       2.0 * (double)(size * size * size) / time / 1e9);
		}
	}
	harness_stop(&h);
	free(data);
	return 0;
}
