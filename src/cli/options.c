/* SPDX-License-Identifier: Apache-2.0 */
/* Options of subcommands: parsed, printed as help and listed for the completion, all from the subcommand's table. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define MAX_OPTIONS 40
#define LONG_BASE   0x100 /* getopt_long's value of row 0; above every letter */

static int bad_value(struct cli *cli, const struct cli_option *option, const char *text, const char *cause)
{
	return cli_fail(cli, CLI_USAGE, -EINVAL, "option --%s: value \"%s\" is not valid: %s", option->name, text,
			cause);
}

/* Digits only: strtoull() alone takes signs and spaces. Returns what follows the number, or NULL. */
static const char *scan_count(const char *text, uint64_t *ret_value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	errno = 0;
	*ret_value = strtoull(text, &end, 10);
	return errno ? NULL : end;
}

static int parse_count(struct cli *cli, const struct cli_option *option, const char *text, uint64_t *ret_value)
{
	uint64_t value;
	const char *end = scan_count(text, &value);
	char cause[96];

	if (!end || *end)
		return bad_value(cli, option, text, "it must be a whole number, 0 or more");
	if (value < option->min || (option->max && value > option->max)) {
		if (option->max)
			snprintf(cause, sizeof(cause), "it must be between %llu and %llu",
				 (unsigned long long)option->min, (unsigned long long)option->max);
		else
			snprintf(cause, sizeof(cause), "it must be at least %llu", (unsigned long long)option->min);
		return bad_value(cli, option, text, cause);
	}
	*ret_value = value;
	return CLI_OK;
}

static int parse_number(struct cli *cli, const struct cli_option *option, const char *text, double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !isfinite(value))
		return bad_value(cli, option, text, "it must be a finite number");
	*ret_value = value;
	return CLI_OK;
}

static int parse_choice(struct cli *cli, const struct cli_option *option, const char *text, int *ret_value)
{
	char cause[256] = "it must be one of:";

	for (int i = 0; option->choices[i]; i++) {
		if (!strcmp(option->choices[i], text)) {
			*ret_value = i;
			return CLI_OK;
		}
		strncat(cause, " ", sizeof(cause) - strlen(cause) - 1);
		strncat(cause, option->choices[i], sizeof(cause) - strlen(cause) - 1);
	}
	return bad_value(cli, option, text, cause);
}

static int parse_sizes(struct cli *cli, const struct cli_option *option, const char *text, struct cli_sizes *ret_sizes)
{
	struct cli_sizes sizes = { .n = 0 };
	const char *at = text;

	for (;;) {
		if (sizes.n == CLI_MAX_SIZES)
			return bad_value(cli, option, text, "there are too many sizes");
		at = scan_count(at, &sizes.size[sizes.n]);
		if (!at || (*at && *at != ',') || !sizes.size[sizes.n])
			return bad_value(cli, option, text, "it must be sizes of at least 1, with commas between them");
		sizes.n++;
		if (!*at++)
			break;
	}
	*ret_sizes = sizes;
	return CLI_OK;
}

static int parse_list(struct cli *cli, const struct cli_option *option, const char *text, struct cli_list *list)
{
	if (list->n == CLI_MAX_LIST)
		return bad_value(cli, option, text, "the option was given too often");
	list->item[list->n++] = text;
	return CLI_OK;
}

static int store(struct cli *cli, const struct cli_option *option, void *options, const char *text)
{
	void *at = (char *)options + option->offset;

	switch (option->type) {
	case CLI_FLAG:
		*(int *)at = option->set;
		return CLI_OK;
	case CLI_TEXT:
	case CLI_FILE:
		*(const char **)at = text;
		return CLI_OK;
	case CLI_COUNT:
		return parse_count(cli, option, text, at);
	case CLI_NUMBER:
		return parse_number(cli, option, text, at);
	case CLI_CHOICE:
		return parse_choice(cli, option, text, at);
	case CLI_SIZES:
		return parse_sizes(cli, option, text, at);
	case CLI_LIST:
		return parse_list(cli, option, text, at);
	}
	return CLI_USAGE;
}

/* getopt_long's arrays from the table. */
static void getopt_arrays(const struct cli_command *command, char *letters, struct option *longs)
{
	*letters++ = ':';
	for (size_t i = 0; i < command->n_options; i++) {
		const struct cli_option *option = &command->options[i];

		*longs++ = (struct option){ .name = option->name,
					    .has_arg = option->type == CLI_FLAG ? no_argument : required_argument,
					    .val = LONG_BASE + (int)i };
		if (option->letter) {
			*letters++ = option->letter;
			if (option->type != CLI_FLAG)
				*letters++ = ':';
		}
	}
	*letters = 0;
	memset(longs, 0, sizeof(*longs));
}

static const struct cli_option *find_option(const struct cli_command *command, int value)
{
	if (value >= LONG_BASE)
		return &command->options[value - LONG_BASE];
	for (size_t i = 0; i < command->n_options; i++)
		if (command->options[i].letter == value)
			return &command->options[i];
	return NULL;
}

/* What getopt_long() refused, by name: a letter has optopt, a long option the argument before optind. */
static int bad_option(struct cli *cli, char **argv, int found)
{
	const struct cli_option *option = optopt ? find_option(cli->command, optopt) : NULL;

	if (found == ':' && option)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --%s: value %s is missing", option->name,
				option->value);
	if (option)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option --%s: cannot be given a value", option->name);
	if (optopt)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "option -%c: unknown; see vaccel %s --help", optopt,
				cli->command->name);
	return cli_fail(cli, CLI_USAGE, -EINVAL, "option %s: unknown or ambiguous; see vaccel %s --help",
			argv[optind - 1], cli->command->name);
}

int cli_parse(struct cli *cli, void *options, int argc, char **argv, int *ret_first)
{
	const struct cli_command *command = cli->command;
	char letters[2 * MAX_OPTIONS + 2];
	struct option longs[MAX_OPTIONS + 1];
	int found, status;

	if (command->n_options > MAX_OPTIONS)
		return cli_fail(cli, CLI_FAILED, -E2BIG, "its options table has more rows than the parser takes");
	/* An error in front of --json is told as JSON all the same. */
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			cli->json = true;
	getopt_arrays(command, letters, longs);
	opterr = 0;
	optind = 1;
	while ((found = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (found == '?' || found == ':')
			return bad_option(cli, argv, found);
		status = store(cli, find_option(command, found), options, optarg);
		if (status != CLI_OK)
			return status;
	}
	*ret_first = optind;
	if ((size_t)(argc - optind) > command->max_operands)
		return cli_fail(cli, CLI_USAGE, -EINVAL, "operand \"%s\": there is one too many; see vaccel %s --help",
				argv[optind + (int)command->max_operands], command->name);
	return CLI_OK;
}

void cli_print_help(const struct cli_command *command)
{
	const char *word, *summary;

	printf("usage: vaccel %s [OPTION...]%s%s\n\n%s\n\n", command->name, *command->operands ? " " : "",
	       command->operands, command->summary);
	for (size_t i = 0; i < command->n_options; i++) {
		const struct cli_option *option = &command->options[i];
		char left[64], letter[8] = "    ";

		if (option->letter)
			snprintf(letter, sizeof(letter), "-%c, ", option->letter);
		snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name, option->value ? " " : "",
			 option->value ? option->value : "");
		printf("  %-28s  %s\n", left, option->help);
	}
	if (command->word)
		printf("\n%s is one of:\n", command->operands);
	for (size_t i = 0; command->word && (word = command->word(i, &summary)); i++)
		printf("  %-8s %s\n", word, summary);
	printf("\nExit status: 0 success, 1 the operation failed, 2 usage, 3 cannot connect. More: vaccel-%s(1).\n",
	       command->name);
}

static const char *type_name(const struct cli_option *option)
{
	static const char *const names[] = {
		[CLI_FLAG] = "flag",	 [CLI_TEXT] = "text",	  [CLI_FILE] = "file",	 [CLI_COUNT] = "count",
		[CLI_NUMBER] = "number", [CLI_CHOICE] = "choice", [CLI_SIZES] = "sizes", [CLI_LIST] = "list",
	};

	if (option->value && !strcmp(option->value, "URL"))
		return "url";
	return option->value && !strcmp(option->value, "MODEL") ? "model" : names[option->type];
}

void cli_print_options(const struct cli_command *command)
{
	const char *word, *summary;

	for (size_t i = 0; i < command->n_options; i++) {
		const struct cli_option *option = &command->options[i];
		char letter[3] = { '-', option->letter, 0 };

		printf("--%s\t%s\t%s", option->name, letter, type_name(option));
		for (size_t j = 0; option->choices && option->choices[j]; j++)
			printf("\t%s", option->choices[j]);
		putchar('\n');
	}
	for (size_t i = 0; command->word && (word = command->word(i, &summary)); i++)
		printf("%s\t-\toperand\n", word);
}
