/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel(1): what its subcommands share. One file per subcommand (cmd_NAME.c), one row each in main.c; from a row's
 * options table come parsing, --help, --print-options (which the shell completion reads) and the test of the manual.
 *
 * Everything runs in the main thread (progress.c has a helper thread that only writes to the terminal). A subcommand
 * returns an enum cli_status; what failed has then been told by cli_fail(), once.
 */
#ifndef VACCEL_CLI_CLI_H
#define VACCEL_CLI_CLI_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/vaccel.h>

#include "util/error.h"
#include "util/util.h"

enum cli_status {
	CLI_OK = 0,
	CLI_FAILED = 1,	       /* the operation failed */
	CLI_USAGE = 2,	       /* the command line is not valid */
	CLI_NO_CONNECTION = 3, /* nothing to connect to, or no permission */
};

enum cli_type {
	CLI_FLAG,   /* no value: stores .set into an int */
	CLI_TEXT,   /* const char * */
	CLI_FILE,   /* const char *: completed as a file name */
	CLI_COUNT,  /* uint64_t between .min and .max */
	CLI_NUMBER, /* double, finite */
	CLI_CHOICE, /* int: index of a word in .choices */
	CLI_SIZES,  /* struct cli_sizes: "128,256,512" */
	CLI_LIST,   /* struct cli_list: the option may be given several times */
};

#define CLI_MAX_SIZES 64

struct cli_sizes {
	uint64_t size[CLI_MAX_SIZES];
	size_t n;
};

#define CLI_MAX_LIST 32

struct cli_list {
	const char *item[CLI_MAX_LIST];
	size_t n;
};

struct cli_option {
	const char *name; /* without the dashes */
	char letter;	  /* 0: none */
	enum cli_type type;
	const char *value; /* its name in the help; NULL for flags */
	const char *help;
	size_t offset; /* of the variable in the subcommand's struct */
	int set;
	uint64_t min;
	uint64_t max;		    /* 0: no limit */
	const char *const *choices; /* NULL-terminated */
};

/* Every subcommand's struct begins with this. */
struct cli_common {
	const char *transport;
	int json;
	int help;
};

/* Rows of an options table. letter: 0 for none; value: the value's name in the help; max: 0 for no limit. */
#define CLI_ROW_FLAG(struct_, member_, name_, letter_, set_, help_)                                 \
	{                                                                                           \
		name_, letter_, CLI_FLAG, NULL, help_, offsetof(struct_, member_), set_, 0, 0, NULL \
	}
#define CLI_ROW_VALUE(struct_, member_, name_, letter_, type_, value_, help_)                   \
	{                                                                                       \
		name_, letter_, type_, value_, help_, offsetof(struct_, member_), 0, 0, 0, NULL \
	}
#define CLI_ROW_COUNT(struct_, member_, name_, letter_, value_, min_, max_, help_)                        \
	{                                                                                                 \
		name_, letter_, CLI_COUNT, value_, help_, offsetof(struct_, member_), 0, min_, max_, NULL \
	}
#define CLI_ROW_CHOICE(struct_, member_, name_, letter_, value_, choices_, help_)                        \
	{                                                                                                \
		name_, letter_, CLI_CHOICE, value_, help_, offsetof(struct_, member_), 0, 0, 0, choices_ \
	}
#define CLI_ROWS_COMMON(struct_)                                                             \
	CLI_ROW_VALUE(struct_, common.transport, "transport", 't', CLI_TEXT, "URL",          \
		      "where operations are served: local:, virtio:DEVICE, shm:SOCKET"),     \
		CLI_ROW_FLAG(struct_, common.json, "json", 'j', 1, "print one JSON object"), \
		CLI_ROW_FLAG(struct_, common.help, "help", 'h', 1, "print this text")

struct cli;

struct cli_command {
	const char *name;
	const char *summary;
	const char *operands; /* as in a synopsis; "" for none */
	/* What the operand may be, by index, for help and completion; NULL past the end. NULL: anything. */
	const char *(*word)(size_t index, const char **ret_summary);
	const struct cli_option *options;
	size_t n_options;
	size_t max_operands;
	size_t options_size; /* of the subcommand's struct */
	/* options: its struct, zeroed, then defaults(), then the command line. */
	void (*defaults)(void *options);
	int (*run)(struct cli *cli, void *options, int argc, char **argv);
};

extern const struct cli_command cmd_info, cmd_ping, cmd_cipher, cmd_classify, cmd_infer, cmd_models, cmd_sgemm,
	cmd_bench, cmd_plugin, cmd_stats;

/* One run of a subcommand. */
struct cli {
	const struct cli_command *command;
	bool json;
};

/* ---- options.c ---- */

/* Parses into options; operands are moved to argv[*ret_first...]. CLI_OK or CLI_USAGE (told). */
int cli_parse(struct cli *cli, void *options, int argc, char **argv, int *ret_first);
void cli_print_help(const struct cli_command *command);
/* One line per option: NAME LETTER TYPE WORD..., tab-separated, "-" for none. */
void cli_print_options(const struct cli_command *command);

/* ---- output.c ---- */

/*
 * Says on standard error what failed, and with --json prints {"error": {...}} on standard output too. code: negative
 * errno. Returns status, so that `return cli_fail(...)` reads well.
 */
__attribute__((format(printf, 4, 5))) int cli_fail(struct cli *cli, int status, int code, const char *format, ...);
/* Prints a result of --json and drops the caller's reference. */
void cli_print_json(struct json_object *object);
/* A printed table: cells are copied; columns whose every cell is a number are aligned to the right. */
struct table;
struct table *table_new(size_t n_columns, const char *const *titles);
__attribute__((format(printf, 2, 3))) void table_cell(struct table *table, const char *format, ...);
void table_print(const struct table *table);
void table_free(struct table **table);

/* Bytes of the character that text of len, at least 1, begins with; 0: they are not UTF-8. */
size_t cli_utf8(const char *text, size_t len);
/* NULL: null. What is not UTF-8 becomes question marks, since JSON has to be. */
void js_text(struct json_object *object, const char *key, const char *text);
struct json_object *js_string(const char *text, size_t len);
void js_count(struct json_object *object, const char *key, uint64_t value);
void js_number(struct json_object *object, const char *key, double value); /* not finite: null */
void js_bool(struct json_object *object, const char *key, bool value);

static inline void js_put(struct json_object **object)
{
	json_object_put(*object);
}
#define _cleanup_json_ __attribute__((cleanup(js_put)))

/* ---- client.c ---- */

/* Connects and opens a session (ret_session may be NULL). CLI_OK, or the status to return (told). */
int cli_connect(struct cli *cli, const char *url, struct vaccel_context **ret_context,
		struct vaccel_session **ret_session);
/* The facts of a context as a JSON object, with its ops. A negative errno with vaccel_error() set. */
int cli_describe(struct vaccel_context *context, struct json_object **ret_object);

static inline void context_free(struct vaccel_context **context)
{
	vaccel_context_free(*context);
}
static inline void session_close(struct vaccel_session **session)
{
	vaccel_session_close(*session);
}
#define _cleanup_context_ __attribute__((cleanup(context_free)))
#define _cleanup_session_ __attribute__((cleanup(session_close)))

/* ---- file.c ---- */

/* All of a file, or of standard input ("-"), of at most max bytes; to be freed. error says what failed, not of which. */
int cli_read_file(const char *path, size_t max, void **ret_data, size_t *ret_len, struct error *error);
/* The way back; what cannot be finished is removed, also by a signal. */
int cli_write_file(const char *path, const void *data, size_t len, struct error *error);

/* ---- progress.c ---- */

/* Ctrl-C and SIGTERM: unfinished files are removed, the terminal's line is ended, then the signal takes its course. */
void cli_signals(void);
/* path is removed if the program is interrupted, until cli_keep_file(). At most one at a time. */
void cli_unfinished_file(const char *path);
void cli_keep_file(void);
/* tidy() is called before the program ends by a signal; only what is allowed in a signal handler. NULL: nothing is. */
void cli_at_signal(void (*tidy)(void));
/* What is being done, shown when it takes more than two seconds and standard error is a terminal. NULL: done. */
__attribute__((format(printf, 1, 2))) void progress(const char *format, ...);
void progress_end(void);

/* ---- stats.c ---- */

struct stats {
	size_t n;
	uint64_t min;
	uint64_t median;
	uint64_t p99;
	uint64_t max;
	double spread; /* (third quartile - first quartile) / median */
};

/* Sorts samples in place; n is at least 1. */
void stats_of(uint64_t *samples, size_t n, struct stats *ret_stats);

#endif
