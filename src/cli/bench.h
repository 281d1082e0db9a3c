/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel bench: measurements that are rows of one table (cmd_bench.c). A bench says how one sample is taken; sides,
 * interleaving, statistics, JSON, table and plot are the same for all.
 *
 * A side is a transport under measurement: the subject, and the baseline beside it. For each size both are prepared and
 * run once unmeasured, then samples are taken in turn, subject and baseline, so that what the machine does meanwhile
 * falls on both. Results are checked after the first run and after the last.
 *
 * The result is one JSON object, whose format vaccel-bench(1) has; table and plot are made from that object, so that a
 * stored one (--from) gives the same.
 */
#ifndef VACCEL_CLI_BENCH_H
#define VACCEL_CLI_BENCH_H

#include "cli/cli.h"

#define BENCH_MAX_SAMPLES 100000

struct bench_options {
	struct cli_common common;
	struct cli_sizes sizes;
	uint64_t repeat; /* 0: as many as fit seconds */
	double seconds;	 /* for each size */
	const char *against;
	const char *plot;
	const char *from;
	int plain, is_double, raw;
	uint64_t seed;
};

struct bench_side {
	const char *role; /* "subject" or "baseline" */
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct json_object *where; /* cli_describe() and "label" */
	void *state;		   /* of the bench, from prepare() to finish() */
	uint64_t *samples;
	size_t n_samples;
};

struct bench {
	const char *name;
	const char *summary;
	const char *key;	 /* what a size is: "size" */
	const char *value;	 /* what is computed from a time: "mflops" */
	const char *value_title; /* "MFlop/s" */
	uint64_t sizes[16];	 /* default, 0-terminated */
	/* On failure nothing is left behind. */
	int (*prepare)(struct bench_side *side, uint64_t size, const struct bench_options *options,
		       struct error *error);
	int (*once)(struct bench_side *side, uint64_t *ret_ns, struct error *error);
	/* Whether the last result is right; *ret_checked: values looked at. NULL: there is no result. */
	int (*check)(struct bench_side *side, uint64_t *ret_checked, struct error *error);
	void (*finish)(struct bench_side *side);
	double (*value_of)(uint64_t size, double ns);
};

extern const struct bench bench_sgemm, bench_rtt;

/* Runs all sizes. *ret_result: the JSON object. CLI_OK or the status (told). */
int bench_run(struct cli *cli, const struct bench *bench, const struct bench_options *options,
	      struct json_object **ret_result);

/* Whether an object has the shape that table and plot rely on. */
bool bench_result_valid(const struct json_object *result);
void bench_print(struct json_object *result);
/* file: *.png or *.svg, made by gnuplot. CLI_OK or the status (told). */
int bench_plot(struct cli *cli, struct json_object *result, const char *file);

/* Processor, kernel, kind of guest: where this process runs. */
struct json_object *bench_where(void);

#endif
