/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel sgemm: multiplies random matrices, checks the result and times it. */
#include <errno.h>
#include <stdio.h>

#include "cli/gemm.h"

#define CHECK_WORK (1u << 27) /* multiplications: below a second */

struct sgemm_options {
	struct cli_common common;
	uint64_t m, n, k, lda, ldb, ldc;
	int order;
	int transa, transb;
	double alpha, beta;
	uint64_t repeat, seed;
	int plain, is_double, no_verify;
};

static const char *const orders[] = { "row", "col", NULL };

static void defaults(void *data)
{
	struct sgemm_options *options = data;

	options->m = options->n = options->k = 512;
	options->alpha = 1;
	options->repeat = 5;
	options->seed = 1;
}

#define COUNT(name_, letter_, value_, member_, help_) \
	CLI_ROW_COUNT(struct sgemm_options, member_, name_, letter_, value_, 0, 0, help_)
#define FLAG(name_, member_, set_, help_) CLI_ROW_FLAG(struct sgemm_options, member_, name_, 0, set_, help_)
#define NUMBER(name_, member_, help_)	  CLI_ROW_VALUE(struct sgemm_options, member_, name_, 0, CLI_NUMBER, "X", help_)

static const struct cli_option sgemm_options[] = {
	COUNT("rows", 'm', "M", m, "rows of op(A) and C (512)"),
	COUNT("columns", 'n', "N", n, "columns of op(B) and C (512)"),
	COUNT("inner", 'k', "K", k, "columns of op(A), rows of op(B) (512)"),
	CLI_ROW_CHOICE(struct sgemm_options, order, "order", 0, "ORDER", orders,
		       "row or col: how they are stored (row)"),
	FLAG("transa", transa, 1, "A is stored transposed"),
	FLAG("transb", transb, 1, "B is stored transposed"),
	NUMBER("alpha", alpha, "factor of the product (1)"),
	NUMBER("beta", beta, "factor of what C held before (0)"),
	COUNT("lda", 0, "N", lda, "leading dimension of A, 0: the smallest (0)"),
	COUNT("ldb", 0, "N", ldb, "leading dimension of B (0)"),
	COUNT("ldc", 0, "N", ldc, "leading dimension of C (0)"),
	CLI_ROW_COUNT(struct sgemm_options, repeat, "repeat", 'r', "N", 1, 1000000,
		      "timed runs, after a first one (5)"),
	FLAG("registered", plain, 0, "matrices in registered buffers (default)"),
	FLAG("plain", plain, 1, "matrices in ordinary memory"),
	FLAG("double", is_double, 1, "double precision (DGEMM)"),
	FLAG("verify", no_verify, 0, "compare with a product computed here (default)"),
	FLAG("no-verify", no_verify, 1, "do not compare"),
	COUNT("seed", 0, "N", seed, "of the random matrices (1)"),
	CLI_ROWS_COMMON(struct sgemm_options),
};

static void job_from(const struct sgemm_options *options, struct gemm_job *ret_job)
{
	*ret_job = (struct gemm_job){
		.gemm = {
			.order = options->order ? VACCEL_COL_MAJOR : VACCEL_ROW_MAJOR,
			.transa = options->transa ? VACCEL_TRANS : VACCEL_NO_TRANS,
			.transb = options->transb ? VACCEL_TRANS : VACCEL_NO_TRANS,
			.m = options->m, .n = options->n, .k = options->k,
			.lda = options->lda, .ldb = options->ldb, .ldc = options->ldc,
			.alpha = options->alpha, .beta = options->beta,
		},
		.is_double = options->is_double,
		.plain = options->plain,
		.seed = options->seed,
	};
}

struct sgemm_result {
	struct stats stats;
	uint64_t first_ns;
	bool verified;
	struct gemm_check check;
	const char *plugin; /* may be NULL */
	const char *hardware;
};

/* The row of the op in the description of the context. */
static void find_server(struct json_object *where, uint32_t op, struct sgemm_result *result)
{
	struct json_object *ops = json_object_object_get(where, "ops");

	for (size_t i = 0; ops && i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);

		if (json_object_get_uint64(json_object_object_get(row, "op")) != op)
			continue;
		result->plugin = json_object_get_string(json_object_object_get(row, "plugin"));
		result->hardware = json_object_get_string(json_object_object_get(row, "hardware"));
	}
}

static void print_text(const struct gemm_job *job, const char *transport, const struct sgemm_result *result)
{
	const struct stats *stats = &result->stats;

	printf("%s %llu x %llu x %llu over %s, %s memory", job->is_double ? "dgemm" : "sgemm",
	       (unsigned long long)job->gemm.m, (unsigned long long)job->gemm.n, (unsigned long long)job->gemm.k,
	       transport, job->plain ? "plain" : "registered");
	if (result->plugin)
		printf(", by %s (%s)", result->plugin, result->hardware);
	printf("\nmedian of %zu runs %.3f ms, %.0f MFlop/s; min %.3f ms, max %.3f ms, spread %.1f %%; first run %.3f "
	       "ms\n",
	       stats->n, (double)stats->median / 1e6, gemm_flop(&job->gemm) / (double)stats->median * 1e3,
	       (double)stats->min / 1e6, (double)stats->max / 1e6, stats->spread * 100, (double)result->first_ns / 1e6);
	if (!result->verified)
		printf("not verified\n");
	else if (result->check.checked < result->check.entries)
		printf("verified on %llu of %llu entries, drawn at random: largest error is %.3g of the bound\n",
		       (unsigned long long)result->check.checked, (unsigned long long)result->check.entries,
		       result->check.worst);
	else
		printf("verified: largest error is %.3g of the bound\n", result->check.worst);
}

static void print_json(const struct gemm_job *job, const char *transport, const struct sgemm_result *result)
{
	struct json_object *object = json_object_new_object();
	struct json_object *check = NULL;

	js_text(object, "op", job->is_double ? "dgemm" : "sgemm");
	js_count(object, "m", job->gemm.m);
	js_count(object, "n", job->gemm.n);
	js_count(object, "k", job->gemm.k);
	js_text(object, "transport", transport);
	js_text(object, "memory", job->plain ? "plain" : "registered");
	js_text(object, "plugin", result->plugin);
	js_text(object, "hardware", result->hardware);
	js_count(object, "runs", result->stats.n);
	js_count(object, "first_ns", result->first_ns);
	js_count(object, "min_ns", result->stats.min);
	js_count(object, "median_ns", result->stats.median);
	js_count(object, "max_ns", result->stats.max);
	js_number(object, "spread_percent", result->stats.spread * 100);
	js_number(object, "mflops", gemm_flop(&job->gemm) / (double)result->stats.median * 1e3);
	if (result->verified) {
		check = json_object_new_object();
		js_count(check, "entries", result->check.entries);
		js_count(check, "checked", result->check.checked);
		js_count(check, "wrong", result->check.wrong);
		js_number(check, "worst_of_bound", result->check.worst);
	}
	json_object_object_add(object, "verified", check);
	cli_print_json(object);
}

static int measure(struct cli *cli, const struct sgemm_options *options, struct gemm_job *job,
		   struct sgemm_result *ret_result)
{
	_cleanup_free_ uint64_t *samples = calloc(options->repeat, sizeof(*samples));
	struct error error = { 0 };
	char text[256];
	int r;

	if (!samples)
		return cli_fail(cli, CLI_FAILED, -ENOMEM, "samples: cannot store: out of memory");
	progress("first run");
	r = gemm_job_run(job, &ret_result->first_ns, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "first run: failed: %s", error.text);
	for (uint64_t i = 0; i < options->repeat; i++) {
		progress("run %llu of %llu", (unsigned long long)(i + 1), (unsigned long long)options->repeat);
		r = gemm_job_run(job, &samples[i], &error);
		if (r < 0)
			return cli_fail(cli, CLI_FAILED, r, "run %llu: failed: %s", (unsigned long long)(i + 1),
					error.text);
	}
	stats_of(samples, options->repeat, &ret_result->stats);
	if (options->no_verify)
		return CLI_OK;
	progress("checking the result");
	ret_result->verified = true;
	gemm_job_check(job, CHECK_WORK, &ret_result->check);
	if (!ret_result->check.wrong)
		return CLI_OK;
	gemm_check_text(&ret_result->check, text, sizeof(text));
	return cli_fail(cli, CLI_FAILED, -EBADMSG, "result of seed %llu: does not verify: %s",
			(unsigned long long)options->seed, text);
}

static int run_job(struct cli *cli, const struct sgemm_options *options, struct vaccel_session *session,
		   struct json_object *where, struct gemm_job *job)
{
	const char *transport = json_object_get_string(json_object_object_get(where, "transport"));
	struct sgemm_result result = { .first_ns = 0 };
	struct error error = { 0 };
	int r, status;

	r = gemm_job_init(job, session, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s", error.text);
	status = measure(cli, options, job, &result);
	if (status != CLI_OK)
		return status;
	progress_end();
	find_server(where, options->is_double ? VACCEL_OP_DGEMM : VACCEL_OP_SGEMM, &result);
	if (cli->json)
		print_json(job, transport, &result);
	else
		print_text(job, transport, &result);
	return CLI_OK;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct sgemm_options *options = data;
	_cleanup_context_ struct vaccel_context *context = NULL;
	_cleanup_session_ struct vaccel_session *session = NULL;
	_cleanup_json_ struct json_object *where = NULL;
	struct gemm_job job;
	int status, r;

	status = cli_connect(cli, options->common.transport, &context, &session);
	if (status != CLI_OK)
		return status;
	r = cli_describe(context, &where);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	job_from(options, &job);
	status = run_job(cli, options, session, where, &job);
	gemm_job_fini(&job);
	return status;
}

const struct cli_command cmd_sgemm = {
	.name = "sgemm",
	.summary = "Multiplies random matrices, verifies the result and times it.",
	.operands = "",
	.options = sgemm_options,
	.n_options = ARRAY_SIZE(sgemm_options),
	.options_size = sizeof(struct sgemm_options),
	.defaults = defaults,
	.run = run,
};
