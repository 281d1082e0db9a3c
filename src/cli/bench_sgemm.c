/* SPDX-License-Identifier: Apache-2.0 */
/* bench sgemm: square products, MFlop/s. */
#include <errno.h>

#include "cli/bench.h"
#include "cli/gemm.h"

#define CHECK_WORK (1u << 21) /* multiplications: half a second where floating point is emulated */

static int prepare(struct bench_side *side, uint64_t size, const struct bench_options *options, struct error *error)
{
	struct gemm_job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return error_set(error, -ENOMEM, "out of memory");
	*job = (struct gemm_job){
		.gemm = { .order = VACCEL_ROW_MAJOR,
			  .transa = VACCEL_NO_TRANS,
			  .transb = VACCEL_NO_TRANS,
			  .m = size,
			  .n = size,
			  .k = size,
			  .alpha = 1 },
		.is_double = options->is_double,
		.plain = options->plain,
		.seed = options->seed,
	};
	r = gemm_job_init(job, side->session, error);
	if (r < 0) {
		gemm_job_fini(job);
		free(job);
		return r;
	}
	side->state = job;
	return 0;
}

static int once(struct bench_side *side, uint64_t *ret_ns, struct error *error)
{
	return gemm_job_run(side->state, ret_ns, error);
}

static int check(struct bench_side *side, uint64_t *ret_checked, struct error *error)
{
	struct gemm_check result;
	char text[ERROR_TEXT];

	gemm_job_check(side->state, CHECK_WORK, &result);
	*ret_checked = result.checked;
	if (!result.wrong)
		return 0;
	gemm_check_text(&result, text, sizeof(text));
	return error_set(error, -EBADMSG, "%s", text);
}

static void finish(struct bench_side *side)
{
	gemm_job_fini(side->state);
	free(side->state);
	side->state = NULL;
}

static double mflops(uint64_t size, double ns)
{
	return 2.0 * (double)size * (double)size * (double)size / ns * 1e3;
}

const struct bench bench_sgemm = {
	.name = "sgemm",
	.summary = "square matrix products",
	.key = "size",
	.value = "mflops",
	.value_title = "MFlop/s",
	.sizes = { 64, 128, 256, 512, 1024, 2048 },
	.prepare = prepare,
	.once = once,
	.check = check,
	.finish = finish,
	.value_of = mflops,
};
