/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel bench: measures a transport beside a baseline. The table below is the list of benches. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"

static const struct bench *const benches[] = { &bench_sgemm, &bench_rtt };

static const char *bench_word(size_t index, const char **ret_summary)
{
	if (index >= ARRAY_SIZE(benches))
		return NULL;
	*ret_summary = benches[index]->summary;
	return benches[index]->name;
}

static void defaults(void *data)
{
	struct bench_options *options = data;

	options->seconds = 1;
	options->seed = 1;
}

#define AT(member_) .offset = offsetof(struct bench_options, member_)

static const struct cli_option bench_options[] = {
	{ .name = "sizes", .letter = 's', .type = CLI_SIZES, .value = "N,N...", .help = "sizes to measure", AT(sizes) },
	{ .name = "against",
	  .letter = 'a',
	  .type = CLI_TEXT,
	  .value = "URL",
	  .help = "the baseline's transport, or none (local:)",
	  AT(against) },
	{ .name = "repeat",
	  .letter = 'r',
	  .type = CLI_COUNT,
	  .value = "N",
	  .max = 100000,
	  .help = "samples of each size, 0: as many as fit the time (0)",
	  AT(repeat) },
	{ .name = "seconds", .type = CLI_NUMBER, .value = "X", .help = "time for each size (1)", AT(seconds) },
	{ .name = "registered", .type = CLI_FLAG, .set = 0, .help = "data in registered buffers (default)", AT(plain) },
	{ .name = "plain", .type = CLI_FLAG, .set = 1, .help = "data in ordinary memory", AT(plain) },
	{ .name = "double", .type = CLI_FLAG, .set = 1, .help = "double precision", AT(is_double) },
	{ .name = "seed", .type = CLI_COUNT, .value = "N", .help = "of the random data (1)", AT(seed) },
	{ .name = "plot",
	  .type = CLI_FILE,
	  .value = "FILE",
	  .help = "draw the result: FILE.png or FILE.svg",
	  AT(plot) },
	{ .name = "from",
	  .type = CLI_FILE,
	  .value = "FILE",
	  .help = "show a result of --json, measure nothing",
	  AT(from) },
	CLI_COMMON(struct bench_options),
};

static const struct bench *find_bench(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++)
		if (!strcmp(benches[i]->name, name))
			return benches[i];
	return NULL;
}

static int load(struct cli *cli, const char *file, struct json_object **ret_result)
{
	struct json_object *result = json_object_from_file(file);

	if (!result)
		return cli_fail(cli, CLI_FAILED, -EINVAL, "result %s: cannot read: %s", file,
				json_util_get_last_err() ? json_util_get_last_err() : "not JSON");
	if (!bench_result_valid(result)) {
		json_object_put(result);
		return cli_fail(cli, CLI_FAILED, -EINVAL, "result %s: cannot use: not a result of vaccel bench --json",
				file);
	}
	*ret_result = result;
	return CLI_OK;
}

static int measure(struct cli *cli, const struct bench_options *options, int argc, char **argv,
		   struct json_object **ret_result)
{
	const struct bench *bench = argc ? find_bench(argv[0]) : NULL;

	if (!argc)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "operand BENCH: is missing; see vaccel bench --help");
	if (!bench)
		return cli_fail(cli, CLI_USAGE, -ENOENT, "bench \"%s\": unknown; see vaccel bench --help", argv[0]);
	return bench_run(cli, bench, options, ret_result);
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct bench_options *options = data;
	_cleanup_json_ struct json_object *result = NULL;
	int status;

	if (options->from)
		status = load(cli, options->from, &result);
	else
		status = measure(cli, options, argc, argv, &result);
	if (status == CLI_OK && options->plot)
		status = bench_plot(cli, result, options->plot);
	if (status != CLI_OK)
		return status;
	if (cli->json)
		cli_print_json(json_object_get(result));
	else
		bench_print(result);
	return CLI_OK;
}

const struct cli_command cmd_bench = {
	.name = "bench",
	.summary = "Measures a transport beside a baseline: MFlop/s or requests per second.",
	.operands = "BENCH",
	.word = bench_word,
	.options = bench_options,
	.n_options = ARRAY_SIZE(bench_options),
	.max_operands = 1,
	.options_size = sizeof(struct bench_options),
	.defaults = defaults,
	.run = run,
};
