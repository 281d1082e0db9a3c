/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench sgemm: square products, MFlop/s, beside the same plugin in the measuring process, which is bound to the CPU that
 * the daemon has in its turns. Matrices stay where they are from one product to the next, so that no side pays for
 * bringing them to another CPU's caches; alpha changes with every product and one entry of each result is looked at,
 * so that one that was not computed is noticed.
 */
#include <errno.h>

#include "bench/bench.h"
#include "cli/gemm.h"

#define CHECK_WORK (1u << 21) /* multiplications: half a second where floating point is emulated */

struct sgemm {
	struct gemm_job job;
	struct gemm_spot spot;
	unsigned int n;
};

int bench_gemm_init(struct gemm_job *job, struct bench_job *bench, uint64_t size, bool plain, struct error *error)
{
	int r;

	*job = (struct gemm_job){
		.gemm = { .order = VACCEL_ROW_MAJOR,
			  .transa = VACCEL_NO_TRANS,
			  .transb = VACCEL_NO_TRANS,
			  .m = size,
			  .n = size,
			  .k = size,
			  .alpha = 1 },
		.is_double = bench->options->is_double,
		.plain = plain,
		.seed = bench->options->seed,
	};
	r = gemm_job_init(job, bench->session, error);
	if (r < 0)
		gemm_job_fini(job);
	return r;
}

int bench_gemm_check(const struct gemm_job *job, struct error *error)
{
	struct gemm_check result;
	char text[ERROR_TEXT];

	gemm_job_check(job, CHECK_WORK, &result);
	if (!result.wrong)
		return 0;
	gemm_check_text(&result, text, sizeof(text));
	return error_set(error, -EBADMSG, "%s", text);
}

static int prepare(struct bench_job *bench, uint64_t size, struct error *error)
{
	struct sgemm *sgemm = calloc(1, sizeof(*sgemm));
	int r;

	if (!sgemm)
		return error_set(error, -ENOMEM, "out of memory");
	/* The side may insist on the kind of memory. */
	r = bench_gemm_init(&sgemm->job, bench, size, bench->options->plain || bench->side->argument == BENCH_PLAIN,
			    error);
	if (r < 0) {
		free(sgemm);
		return r;
	}
	gemm_job_spot(&sgemm->job, &sgemm->spot);
	gemm_job_fill(&sgemm->job);
	bench->state = sgemm;
	return 0;
}

static int once(struct bench_job *bench, uint64_t *ret_ns, struct error *error)
{
	/* Exact in both types, and no two in a row alike. */
	static const double alphas[] = { 1, 2, 0.5, -1 };
	struct sgemm *sgemm = bench->state;
	int r;

	sgemm->job.gemm.alpha = alphas[sgemm->n++ % ARRAY_SIZE(alphas)];
	r = gemm_job_call(&sgemm->job, ret_ns, error);
	if (r == 0 && !gemm_job_spot_right(&sgemm->job, &sgemm->spot))
		r = error_set(error, -EBADMSG, "product %u has a wrong entry", sgemm->n);
	return r;
}

static int check(struct bench_job *bench, struct error *error)
{
	struct sgemm *sgemm = bench->state;
	uint64_t ns;
	int r;

	/* All of it anew: what an earlier product has left behind does not count. */
	gemm_job_fill(&sgemm->job);
	r = gemm_job_call(&sgemm->job, &ns, error);
	return r < 0 ? r : bench_gemm_check(&sgemm->job, error);
}

static void finish(struct bench_job *bench)
{
	struct sgemm *sgemm = bench->state;

	gemm_job_fini(&sgemm->job);
	free(sgemm);
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
	  .ratio = "shm_over_local" },
	{ .name = "shm, parked",
	  .task = &bench_products,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_TWO_CPUS,
	  .base = "local",
	  .ratio = "parked_over_local" },
};

const struct bench bench_sgemm = {
	.name = "sgemm",
	.summary = "square matrix products",
	.op = "sgemm",
	.key = "size",
	.value = "mflops",
	.value_title = "MFlop/s",
	.sizes = { 128, 256, 512, 1024 },
	.ratio_per_size = true,
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
