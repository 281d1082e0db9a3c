/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench copy: products whose matrices lie in registered buffers, and in ordinary memory; counted is how many bytes of
 * them were copied on the way, by the library and by the daemon.
 */
#include <string.h>

#include "bench/bench.h"

/* All three matrices, once for each product. */
static double payload(const struct bench_row *row)
{
	return 3.0 * 4 * (double)row->size * (double)row->size * (double)row->n_ops;
}

static double copies(const struct bench_row *row)
{
	return (double)row->copied_bytes / payload(row);
}

static void ratios(const struct bench_row *rows, size_t n, struct json_object *ratios_)
{
	uint64_t registered = 0;
	double plain = 0;

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(rows[i].side->name, "registered"))
			registered += rows[i].copied_bytes;
		else
			plain = MAX(plain, copies(&rows[i]));
	}
	js_count(ratios_, "copied_bytes_registered", registered);
	js_number(ratios_, "copies_plain", plain);
}

static const struct bench_side sides[] = {
	{ .name = "registered", .task = &bench_products, .end = BENCH_DAEMON, .memory = BENCH_REGISTERED },
	{ .name = "plain",
	  .task = &bench_products,
	  .end = BENCH_DAEMON,
	  .memory = BENCH_PLAIN,
	  .base = "registered",
	  .ratio = "plain_over_registered",
	  .ratio_per_size = true },
};

const struct bench bench_copy = {
	.name = "copy",
	.summary = "bytes copied on the way of matrix products",
	.op = "sgemm",
	.key = "size",
	.value = "copies",
	.value_title = "copies",
	.sizes = { 256, 1024 },
	.seconds = 1,
	.turn_ns = 10000000,
	.turn_samples = 500,
	.warm = 2,
	.threads = 1,
	.counts_copies = true,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.value_of = copies,
	.ratios = ratios,
};
