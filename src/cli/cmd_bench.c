/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel bench: the table below is the list of benches; they and what they share are in bench/. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

static const struct bench *const benches[] = { &bench_rtt,  &bench_sgemm,    &bench_copy,  &bench_session,
					       &bench_many, &bench_classify, &bench_crypto };

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

	options->seed = 1;
	options->guests = "uml,qemu";
}

#define VALUE(name_, letter_, type_, value_, member_, help_) \
	CLI_ROW_VALUE(struct bench_options, member_, name_, letter_, type_, value_, help_)
#define FLAG(name_, member_, set_, help_) CLI_ROW_FLAG(struct bench_options, member_, name_, 0, set_, help_)
#define COUNT(name_, letter_, max_, member_, help_) \
	CLI_ROW_COUNT(struct bench_options, member_, name_, letter_, "N", 0, max_, help_)

static const struct cli_option bench_options[] = {
	VALUE("sizes", 's', CLI_SIZES, "N,N...", sizes, "sizes to measure"),
	VALUE("against", 'a', CLI_TEXT, "URL", against, "with -t: the transport to compare with, or none (local:)"),
	COUNT("repeat", 'r', BENCH_MAX_SAMPLES, repeat, "samples of each side and size, 0: what fits the time (0)"),
	VALUE("seconds", 0, CLI_NUMBER, "X", seconds, "time for each side and size (the bench's own)"),
	FLAG("registered", plain, 0, "data in registered buffers (default)"),
	FLAG("plain", plain, 1, "data in ordinary memory"),
	FLAG("double", is_double, 1, "double precision"),
	COUNT("seed", 0, 0, seed, "of the random data (1)"),
	FLAG("raw", raw, 1, "with --json: every sample too"),
	FLAG("profile", profile, 1, "time the stages of each operation, which makes it slower"),
	VALUE("models", 'm', CLI_TEXT, "NAME,...", models, "classify: models to measure with (the bench's own)"),
	VALUE("guests", 'g', CLI_TEXT, "KIND,...", guests,
	      "classify, crypto: kinds of guests to measure in, or none (uml,qemu)"),
	VALUE("plot", 0, CLI_FILE, "FILE", plot, "draw the result: FILE.png or FILE.svg"),
	VALUE("from", 0, CLI_FILE, "FILE", from, "show a result of --json, measure nothing"),
	CLI_ROWS_COMMON(struct bench_options),
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
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct json_object *result;

	if (fd < 0)
		return cli_fail(cli, CLI_FAILED, -errno, "result %s: cannot read: %s", file, strerror(errno));
	result = json_object_from_fd(fd);
	if (!result)
		return cli_fail(cli, CLI_FAILED, -EINVAL, "result %s: cannot use: not JSON", file);
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
	.summary = "Measures the way to the host's accelerators beside what it is made of.",
	.operands = "BENCH",
	.word = bench_word,
	.options = bench_options,
	.n_options = ARRAY_SIZE(bench_options),
	.max_operands = 1,
	.options_size = sizeof(struct bench_options),
	.defaults = defaults,
	.run = run,
};
