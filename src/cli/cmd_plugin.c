/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel plugin: what plugins declare, and whether they become ready on this machine. It loads them into this process with
 * the engine's own loader; no daemon is asked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "engine/plugin.h"
#include "op/table.h"

struct plugin_options {
	struct cli_common common;
};

static const struct cli_option plugin_options[] = { CLI_ROWS_COMMON(struct plugin_options) };

static const char *threads_text(uint32_t threads)
{
	static const char *const texts[] = {
		[VACCEL_THREADS_ONE] = "one op at a time",
		[VACCEL_THREADS_PER_SESSION] = "one op at a time in each session",
		[VACCEL_THREADS_ANY] = "any number of ops at once",
	};

	return threads < ARRAY_SIZE(texts) && texts[threads] ? texts[threads] : "unknown";
}

static const struct {
	uint32_t need;
	const char *name;
	const char *help;
} needs[] = {
	{ VACCEL_NEED_CACHE, "cache", "a folder of its own to write to until it is ready" },
	{ VACCEL_NEED_CACHE_ALWAYS, "cache-always", "that folder also while operations run" },
	{ VACCEL_NEED_DEVICE, "device", "device nodes of accelerators" },
	{ VACCEL_NEED_MODELS, "models", "the folder of models, to read at any time" },
	{ VACCEL_NEED_AF_ALG, "af-alg", "sockets of the kernel's crypto API" },
	{ VACCEL_NEED_SPAWN, "spawn", "starting programs until it is ready" },
};

static struct json_object *ops_of(const struct vaccel_plugin *decl)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < decl->n_ops; i++) {
		const struct op_desc *op = op_by_id(decl->ops[i].op);
		struct json_object *row = json_object_new_object();

		js_count(row, "op", decl->ops[i].op);
		js_text(row, "name", op ? op->name : NULL);
		json_object_array_add(array, row);
	}
	return array;
}

static struct json_object *needs_of(const struct vaccel_plugin *decl)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
		if (decl->needs & needs[i].need)
			json_object_array_add(array, json_object_new_string(needs[i].name));
	return array;
}

static struct json_object *calls_of(const struct vaccel_plugin *decl)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; decl->calls && i < decl->n_calls; i++)
		json_object_array_add(array, json_object_new_string(decl->calls[i]));
	return array;
}

static struct json_object *keys_of(const struct vaccel_plugin *decl)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; decl->keys && i < decl->n_keys; i++) {
		struct json_object *row = json_object_new_object();

		js_text(row, "name", decl->keys[i].name);
		js_text(row, "help", decl->keys[i].help);
		json_object_array_add(array, row);
	}
	return array;
}

/* Everything a plugin declares, and how its start went. */
static struct json_object *describe(struct plugin *plugin, const struct config *config)
{
	const struct vaccel_plugin *decl = &plugin->decl;
	struct json_object *object = json_object_new_object();
	struct error error = { 0 };
	int r;

	js_text(object, "name", decl->name);
	js_text(object, "version", decl->version);
	js_text(object, "description", decl->description);
	js_text(object, "file", plugin->path);
	js_count(object, "abi", decl->abi);
	js_text(object, "threads", threads_text(decl->threads));
	json_object_object_add(object, "ops", ops_of(decl));
	js_text(object, "framework", plugin->framework.name);
	json_object_object_add(object, "needs", needs_of(decl));
	json_object_object_add(object, "calls", calls_of(decl));
	json_object_object_add(object, "keys", keys_of(decl));
	r = plugin_start(plugin, config, NULL, &error);
	js_bool(object, "ready", r == 0);
	js_text(object, "hardware", r == 0 ? plugin->hardware : NULL);
	js_text(object, "cause", r == 0 ? NULL : error.text);
	return object;
}

static const char *text_of(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(json_object_object_get(object, key));

	return text ? text : "-";
}

/* "sgemm dgemm", of ops by name, of needs as they are. */
static void join(struct json_object *array, char *text, size_t len)
{
	size_t used = 0;

	*text = 0;
	for (size_t i = 0; i < json_object_array_length(array) && used < len; i++) {
		struct json_object *row = json_object_array_get_idx(array, i);
		const char *word = json_object_is_type(row, json_type_string) ? json_object_get_string(row)
									      : text_of(row, "name");

		if (!strcmp(word, "-"))
			word = text_of(row, "op");
		used += (size_t)snprintf(text + used, len - used, "%s%s", i ? " " : "", word);
	}
}

static void print_needs(struct json_object *array)
{
	if (!json_object_array_length(array))
		printf("%-12s nothing beyond computing\n", "needs");
	for (size_t i = 0; i < json_object_array_length(array); i++)
		for (size_t j = 0; j < ARRAY_SIZE(needs); j++)
			if (!strcmp(needs[j].name, json_object_get_string(json_object_array_get_idx(array, i))))
				printf("%-12s %s: %s\n", i ? "" : "needs", needs[j].name, needs[j].help);
}

static void print_plugin(struct json_object *object)
{
	struct json_object *calls = json_object_object_get(object, "calls");
	static const char *const facts[] = { "name", "version", "description", "file", "abi", "threads" };
	struct json_object *keys = json_object_object_get(object, "keys");
	char ops[512];

	for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
		printf("%-12s %s\n", facts[i], text_of(object, facts[i]));
	join(json_object_object_get(object, "ops"), ops, sizeof(ops));
	printf("%-12s %s\n", "ops", *ops ? ops : "-");
	if (json_object_object_get(object, "framework"))
		printf("%-12s %s, for the models of plugin models\n", "framework", text_of(object, "framework"));
	print_needs(json_object_object_get(object, "needs"));
	join(calls, ops, sizeof(ops));
	if (json_object_array_length(calls))
		printf("%-12s %s\n", "calls", ops);
	if (json_object_get_boolean(json_object_object_get(object, "ready")))
		printf("%-12s ready here, on %s\n", "state", text_of(object, "hardware"));
	else
		printf("%-12s not ready here: %s\n", "state", text_of(object, "cause"));
	for (size_t i = 0; i < json_object_array_length(keys); i++) {
		struct json_object *row = json_object_array_get_idx(keys, i);

		printf("%-12s %s: %s\n", i ? "" : "keys", text_of(row, "name"), text_of(row, "help"));
	}
}

struct listing {
	const struct config *config;
	struct json_object *array;
};

static void add_found(const char *name, const char *path, void *opaque)
{
	struct listing *listing = opaque;
	struct error error = { 0 };
	struct json_object *object;
	struct plugin *plugin;

	progress("plugin %s", name);
	if (plugin_open(path, &plugin, &error) < 0) {
		object = json_object_new_object();
		js_text(object, "name", name);
		js_text(object, "file", path);
		js_bool(object, "ready", false);
		js_text(object, "cause", error.text);
	} else {
		object = describe(plugin, listing->config);
		plugin_free(plugin);
	}
	json_object_array_add(listing->array, object);
}

static void print_list(struct json_object *array)
{
	static const char *const titles[] = { "plugin", "version", "ops", "ready", "hardware, or why not" };
	struct table *table = table_new(ARRAY_SIZE(titles), titles);

	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *row = json_object_array_get_idx(array, i), *ops;
		bool ready = json_object_get_boolean(json_object_object_get(row, "ready"));
		char text[512] = "-";

		if (json_object_object_get_ex(row, "ops", &ops))
			join(ops, text, sizeof(text));
		table_cell(table, "%s", text_of(row, "name"));
		table_cell(table, "%s", text_of(row, "version"));
		table_cell(table, "%s", text);
		table_cell(table, "%s", ready ? "yes" : "no");
		table_cell(table, "%s", text_of(row, ready ? "hardware" : "cause"));
	}
	table_print(table);
	table_free(&table);
}

static int run_list(struct cli *cli, const struct config *config)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();
	struct listing listing = { config, json_object_new_array() };

	json_object_object_add(object, "plugins", listing.array);
	plugin_list(add_found, &listing);
	progress_end();
	if (cli->json)
		cli_print_json(json_object_get(object));
	else if (json_object_array_length(listing.array))
		print_list(listing.array);
	else
		printf("no plugins found in %s\n",
		       getenv("VACCEL_PLUGIN_DIR") ? "$VACCEL_PLUGIN_DIR" : VACCEL_PLUGIN_DIR);
	return CLI_OK;
}

static int run_one(struct cli *cli, const struct config *config, const char *name)
{
	_cleanup_json_ struct json_object *object = NULL;
	_cleanup_free_ char *file = NULL;
	struct error error = { 0 };
	struct plugin *plugin;
	size_t len = strlen(name);
	int r;

	/* "vaccel-x.so" alone is a file here, not the name of a plugin. */
	if (len > 3 && !strchr(name, '/') && !strcmp(name + len - 3, ".so") && asprintf(&file, "./%s", name) > 0)
		name = file;
	r = plugin_open(name, &plugin, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s", error.text);
	progress("plugin %s", name);
	object = describe(plugin, config);
	progress_end();
	if (cli->json)
		cli_print_json(json_object_get(object));
	else
		print_plugin(object);
	plugin_free(plugin);
	return CLI_OK;
}

static int run(struct cli *cli, void *data, int argc, char **argv)
{
	const struct plugin_options *options = data;
	const char *url = options->common.transport;
	struct error error = { 0 };
	struct config *config;
	int status, r;

	if (url && strncmp(url, "local:", 6))
		return cli_fail(cli, CLI_USAGE, -EINVAL,
				"transport %s: cannot look at its plugins: they are loaded here, so that it must be "
				"local: or local:CONFIG-FILE; vaccel info tells what serves there",
				url);
	r = config_load(url && url[6] ? url + 6 : NULL, &config, &error);
	if (r < 0)
		return cli_fail(cli, CLI_FAILED, r, "%s", error.text);
	status = argc ? run_one(cli, config, argv[0]) : run_list(cli, config);
	config_free(config);
	return status;
}

const struct cli_command cmd_plugin = {
	.name = "plugin",
	.summary = "Shows what a plugin declares and whether it becomes ready here; all of them without a name.",
	.operands = "[NAME | FILE]",
	.options = plugin_options,
	.n_options = ARRAY_SIZE(plugin_options),
	.max_operands = 1,
	.options_size = sizeof(struct plugin_options),
	.run = run,
};
