/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel(1): finds the subcommand and runs it. The table below is the list of subcommands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command *const commands[] = {
	&cmd_info,   &cmd_ping,	 &cmd_cipher, &cmd_classify, &cmd_infer,
	&cmd_models, &cmd_sgemm, &cmd_bench,  &cmd_plugin,   &cmd_stats,
};

static void print_usage(FILE *file)
{
	fputs("usage: vaccel COMMAND [OPTION...]\n"
	      "       vaccel --help | --version\n\n"
	      "Runs operations on the host's accelerators. Commands:\n\n",
	      file);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(file, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\nOptions of a command: vaccel COMMAND --help. More: vaccel(1).\n", file);
}

/* For the completion and the test of the manual: subcommands, or the options of one. */
static int print_options(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!name)
			puts(commands[i]->name);
		else if (!strcmp(commands[i]->name, name)) {
			cli_print_options(commands[i]);
			return CLI_OK;
		}
	}
	return name ? CLI_USAGE : CLI_OK;
}

static int run_command(const struct cli_command *command, int argc, char **argv)
{
	struct cli cli = { .command = command };
	_cleanup_free_ struct cli_common *options = calloc(1, command->options_size);
	int first, status;

	if (!options)
		return cli_fail(&cli, CLI_FAILED, -ENOMEM, "options: cannot store: out of memory");
	if (command->defaults)
		command->defaults(options);
	status = cli_parse(&cli, options, argc, argv, &first);
	if (status != CLI_OK)
		return status;
	cli.json = options->json;
	if (options->help) {
		cli_print_help(command);
		return CLI_OK;
	}
	cli_signals();
	status = command->run(&cli, options, argc - first, argv + first);
	progress_end();
	return status;
}

static int dispatch(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
		print_usage(stdout);
		return CLI_OK;
	}
	if (!strcmp(name, "--version")) {
		printf("vaccel %s\n", vaccel_version());
		return CLI_OK;
	}
	if (!strcmp(name, "--print-options"))
		return print_options(argv[2]);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i]->name, name))
			return run_command(commands[i], argc - 1, argv + 1);
	fprintf(stderr, "vaccel: %s \"%s\": unknown; see vaccel --help\n", *name == '-' ? "option" : "command", name);
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	int status = dispatch(argc, argv);

	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "vaccel: standard output: cannot write: %s\n", strerror(errno));
		return status == CLI_OK ? CLI_FAILED : status;
	}
	return status;
}
