/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench sgemm: square products, MFlop/s, beside the same plugin in the measuring process, which is bound to the CPU that
 * the daemon has in its turns. Matrices stay where they are from one product to the next, so that no side pays for
 * bringing them to another CPU's caches; alpha changes with every product and one entry of each result is looked at,
 * so that one that was not computed is noticed.
 */
#include <errno.h>

#include "bench/product.h"

#define CHECK_WORK (1u << 21) /* multiplications: half a second where floating point is emulated */

int bench_product_init(struct bench_product *product, const struct bench_job *bench, struct vaccel_session *session,
		       uint64_t size, struct error *error)
{
	int r;

	*product = (struct bench_product){
		.job = { .gemm = { .order = VACCEL_ROW_MAJOR,
				   .transa = VACCEL_NO_TRANS,
				   .transb = VACCEL_NO_TRANS,
				   .m = size,
				   .n = size,
				   .k = size,
				   .alpha = 1 },
			 .is_double = bench->options->is_double,
			 /* The side may insist on the kind of memory. */
			 .plain = bench->side->memory ? bench->side->memory == BENCH_PLAIN : bench->options->plain,
			 .seed = bench->options->seed },
	};
	r = gemm_job_init(&product->job, session, error);
	if (r < 0) {
		gemm_job_fini(&product->job);
		return r;
	}
	gemm_job_spot(&product->job, &product->spot);
	gemm_job_fill(&product->job);
	return 0;
}

void bench_product_next(struct bench_product *product)
{
	/* Exact in both types, and no two in a row alike. */
	static const double alphas[] = { 1, 2, 0.5, -1 };

	product->job.gemm.alpha = alphas[product->n++ % ARRAY_SIZE(alphas)];
}

int bench_product_look(const struct bench_product *product, struct error *error)
{
	if (gemm_job_spot_right(&product->job, &product->spot))
		return 0;
	return error_set(error, -EBADMSG, "product %u has a wrong entry", product->n);
}

int bench_product_check(struct bench_product *product, struct error *error)
{
	struct gemm_check result;
	char text[ERROR_TEXT];
	uint64_t ns;
	int r;

	/* All of it anew: what an earlier product has left behind does not count. */
	gemm_job_fill(&product->job);
	r = gemm_job_call(&product->job, &ns, error);
	if (r < 0)
		return r;
	gemm_job_check(&product->job, CHECK_WORK, &result);
	if (!result.wrong)
		return 0;
	gemm_check_text(&result, text, sizeof(text));
	return error_set(error, -EBADMSG, "%s", text);
}

static int prepare(struct bench_job *bench, uint64_t size, struct error *error)
{
	struct bench_product *product = calloc(1, sizeof(*product));
	int r;

	if (!product)
		return error_set(error, -ENOMEM, "out of memory");
	r = bench_product_init(product, bench, bench->session, size, error);
	if (r < 0) {
		free(product);
		return r;
	}
	bench->state = product;
	return 0;
}

static int once(struct bench_job *bench, uint64_t *ret_ns, struct error *error)
{
	struct bench_product *product = bench->state;
	int r;

	bench_product_next(product);
	r = gemm_job_call(&product->job, ret_ns, error);
	return r < 0 ? r : bench_product_look(product, error);
}

static int check(struct bench_job *bench, struct error *error)
{
	return bench_product_check(bench->state, error);
}

static void finish(struct bench_job *bench)
{
	struct bench_product *product = bench->state;

	gemm_job_fini(&product->job);
	free(product);
	bench->state = NULL;
}

const struct bench_task bench_products = {
	.prepare = prepare,
	.once = once,
	.check = check,
	.finish = finish,
};

static double mflops(const struct bench_row *row)
{
	double size = (double)row->size;

	return 2 * size * size * size / (double)row->stats.median * 1e3;
}

static const struct bench_side sides[] = {
	{ .name = "local", .task = &bench_products, .end = BENCH_LOCAL, .place = BENCH_TWO_CPUS },
	{ .name = "shm, polled",
	  .task = &bench_products,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_POLLED,
	  .place = BENCH_TWO_CPUS,
	  .base = "local",
	  .ratio = "shm_over_local",
	  .ratio_per_size = true },
	{ .name = "shm, parked",
	  .task = &bench_products,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_TWO_CPUS,
	  .base = "local",
	  .ratio = "parked_over_local",
	  .ratio_per_size = true },
};

const struct bench bench_sgemm = {
	.name = "sgemm",
	.summary = "square matrix products",
	.op = "sgemm",
	.key = "size",
	.value = "mflops",
	.value_title = "MFlop/s",
	.sizes = { 128, 256, 512, 1024 },
	.seconds = 2,
	.turn_ns = 10000000,
	.turn_samples = 500,
	.warm = 2,
	.threads = 1,
	.poll_us = 100000,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.task = &bench_products,
	.value_of = mflops,
};
