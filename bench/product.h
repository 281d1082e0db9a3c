/* SPDX-License-Identifier: Apache-2.0 */
/* Square products of random matrices, for the benches that multiply (sgemm.c has the functions). */
#ifndef BENCH_PRODUCT_H
#define BENCH_PRODUCT_H

#include "bench/bench.h"
#include "cli/gemm.h"

struct bench_product {
	struct gemm_job job;
	struct gemm_spot spot;
	unsigned int n; /* products so far */
};

/* Free with gemm_job_fini(). On failure nothing is left behind. */
int bench_product_init(struct bench_product *product, const struct bench_job *bench, struct vaccel_session *session,
		       uint64_t size, struct error *error);
/* The next product has another result than the one before. */
void bench_product_next(struct bench_product *product);
/* Whether an entry of the last result is right. */
int bench_product_look(const struct bench_product *product, struct error *error);
/* Runs it once more, and looks at all of the result, or a good part. */
int bench_product_check(struct bench_product *product, struct error *error);

#endif
