/* SPDX-License-Identifier: Apache-2.0 */
/* vaccel info: what is at the other end of a transport, and what serves each operation. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "engine/engine.h"

struct info_options {
	struct cli_common common;
};

static const struct cli_option info_options[] = { CLI_ROWS_COMMON(struct info_options) };

/*
 * Plugins that do not serve, and why. A remote end does not tell; of "local:" another engine of the same configuration
 * is asked, after the context is gone, so that no plugin is loaded twice at once.
 */
static int add_failures(const char *config_file, struct json_object *where, struct error *error)
{
	struct json_object *array = json_object_new_array();
	struct config *config;
	struct engine *engine;
	int r;

	json_object_object_add(where, "plugin_failures", array);
	r = config_load(*config_file ? config_file : NULL, &config, error);
	if (r < 0)
		return r;
	r = engine_new(config, NULL, &engine, error);
	if (r < 0) {
		config_free(config);
		return r;
	}
	for (size_t i = 0; i < engine_n_failures(engine); i++) {
		const struct engine_failure *failure = engine_failure_at(engine, i);
		struct json_object *row = json_object_new_object();

		js_text(row, "plugin", failure->plugin);
		js_text(row, "cause", failure->text);
		json_object_array_add(array, row);
	}
	engine_free(engine);
	config_free(config);
	return 0;
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "-";
}

static void print_ops(struct json_object *ops)
{
	static const char *const titles[] = { "op", "name", "plugin", "hardware" };
	struct table *table = table_new(ARRAY_SIZE(titles), titles);

	for (size_t i = 0; i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);

		table_cell(table, "%s", text_of(row, "op"));
		table_cell(table, "%s", text_of(row, "name"));
		table_cell(table, "%s", text_of(row, "plugin"));
		table_cell(table, "%s", text_of(row, "hardware"));
	}
	table_print(table);
	table_free(&table);
}

static void print_text(struct json_object *where)
{
	static const char *const facts[] = { "transport", "device", "version", "host" };
	struct json_object *limits = json_object_object_get(where, "limits");
	struct json_object *failures = json_object_object_get(where, "plugin_failures");

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
		printf("%-10s %s\n", facts[i], text_of(where, facts[i]));
	/* How many queues there are is among the words for the device, where it has any. */
	printf("%-10s %s sessions, %s buffers, %s bytes in a buffer, %s bytes in a request\n\n", "limits",
	       text_of(limits, "sessions"), text_of(limits, "buffers"), text_of(limits, "buffer_bytes"),
	       text_of(limits, "request_bytes"));
	print_ops(json_object_object_get(where, "ops"));
	for (size_t i = 0; failures && i < json_object_array_length(failures); i++) {
		struct json_object *row = json_object_array_get_idx(failures, i);

		const char *name = text_of(row, "plugin");

		/* Keys that the host holds are among them, and say so. */
		printf("%s%s%s does not serve: %s\n", i ? "" : "\n", strncmp(name, "key ", 4) ? "plugin " : "", name,
		       text_of(row, "cause"));
	}
}

static int describe(struct cli *cli, const char *url, struct json_object **ret_where)
{
	_cleanup_context_ struct vaccel_context *context = NULL;
	int status, r;

	status = cli_connect(cli, url, &context, NULL);
	if (status != CLI_OK)
		return status;
	r = cli_describe(context, ret_where);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "transport: cannot ask what it is: %s", vaccel_error());
	return CLI_OK;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct info_options *options = data;
	_cleanup_json_ struct json_object *where = NULL;
	struct error error = { 0 };
	const char *transport;
	int status, r = 0;

	status = describe(cli, options->common.transport, &where);
	if (status != CLI_OK)
		return status;
	transport = text_of(where, "transport");
	if (!strncmp(transport, "local:", 6))
		r = add_failures(transport + 6, where, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "plugins: cannot tell which fail: %s", error.text);
	if (cli->json)
		cli_print_json(json_object_get(where));
	else
		print_text(where);
	return CLI_OK;
}

const struct cli_command cmd_info = {
	.name = "info",
	.summary = "Tells what is at the other end: device, limits, operations and what serves them.",
	.operands = "",
	.options = info_options,
	.n_options = ARRAY_SIZE(info_options),
	.options_size = sizeof(struct info_options),
	.run = run,
};
