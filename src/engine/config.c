/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See config.h. Each scalar key is one row of scalars[]; the sections with free key names (plugin NAME, order) have a
 * function each, and those of keys a file (config_key.c).
 */
#include "engine/config.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/config_internal.h"
#include "op/table.h"
#include "util/number.h"
#include "util/spin.h"
#include "util/util.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

enum scalar_type {
	SCALAR_U32,
	SCALAR_U64,
	SCALAR_STRING,
	SCALAR_BOOL,
	SCALAR_WORD, /* the index of one of words as uint32_t */
};

static const char *const modes[] = { "off", "on", "required", NULL };
static const char *const violations[] = { "deny", "report", "kill", NULL };

static const struct {
	const char *section;
	const char *key;
	enum scalar_type type;
	size_t offset;
	uint64_t min, max;
	const char *const *words;
} scalars[] = {
	{ "engine", "threads", SCALAR_U32, offsetof(struct config, threads), 0, 1024 },
	{ "engine", "op_threads", SCALAR_U32, offsetof(struct config, op_threads), 0, 1024 },
	{ "engine", "spin_us", SCALAR_U32, offsetof(struct config, spin_us), 0, SPIN_MAX_US },
	{ "engine", "queues", SCALAR_U32, offsetof(struct config, queues), 1, 64 },
	{ "engine", "cache_dir", SCALAR_STRING, offsetof(struct config, cache_dir), 0, 0 },
	{ "limits", "sessions", SCALAR_U32, offsetof(struct config, limits.sessions), 1, 1u << 20 },
	{ "limits", "buffers", SCALAR_U32, offsetof(struct config, limits.buffers), 1, 1u << 20 },
	{ "limits", "keys", SCALAR_U32, offsetof(struct config, limits.keys), 1, 1u << 20 },
	{ "limits", "requests", SCALAR_U32, offsetof(struct config, limits.requests), 1, 1u << 16 },
	{ "limits", "total_requests", SCALAR_U32, offsetof(struct config, limits.total_requests), 1, 1u << 20 },
	{ "limits", "connections", SCALAR_U32, offsetof(struct config, limits.connections), 1, CONFIG_MAX_CONNECTIONS },
	{ "limits", "buffer_bytes", SCALAR_U64, offsetof(struct config, limits.buffer_bytes), 4 * KIB, 1024 * GIB },
	{ "limits", "registered_bytes", SCALAR_U64, offsetof(struct config, limits.registered_bytes), 4 * KIB,
	  1024 * GIB },
	{ "limits", "gathered_bytes", SCALAR_U64, offsetof(struct config, limits.gathered_bytes), 4 * KIB, 1024 * GIB },
	{ "limits", "request_bytes", SCALAR_U64, offsetof(struct config, limits.request_bytes), 4 * KIB, 1024 * GIB },
	{ "limits", "extents", SCALAR_U32, offsetof(struct config, limits.max_extents), 16, 1u << 16 },
	{ "limits", "op_time_ms", SCALAR_U32, offsetof(struct config, limits.op_time_ms), 0, UINT32_MAX },
	{ "models", "dir", SCALAR_STRING, offsetof(struct config, models_dir), 0, 0 },
	{ "metrics", "listen", SCALAR_STRING, offsetof(struct config, metrics_listen), 0, 0 },
	{ "metrics", "trace", SCALAR_BOOL, offsetof(struct config, metrics_trace), 0, 0 },
	{ "sandbox", "mode", SCALAR_WORD, offsetof(struct config, sandbox.mode), 0, 0, modes },
	{ "sandbox", "violation", SCALAR_WORD, offsetof(struct config, sandbox.violation), 0, 0, violations },
	{ "sandbox", "memory", SCALAR_U64, offsetof(struct config, sandbox.memory), 0, 1024 * GIB },
	{ "sandbox", "read", SCALAR_STRING, offsetof(struct config, sandbox.read), 0, 0 },
	{ "sandbox", "write", SCALAR_STRING, offsetof(struct config, sandbox.write), 0, 0 },
};

static const struct config_limits default_limits = {
	.sessions = 1024,
	.buffers = 4096,
	.keys = 1024,
	.requests = 1024,
	.total_requests = 8192,
	.connections = 64,
	.buffer_bytes = 4 * GIB,
	.registered_bytes = 64 * GIB,
	.gathered_bytes = 16 * GIB,
	.request_bytes = 16 * GIB,
	.max_extents = 1u << 15,
	.op_time_ms = 0,
};

/* Loading a framework takes a second and hundreds of megabytes: not without models for it. */
static const char default_order[] = "openblas openssl reference";
static const char default_order_with_models[] = "openblas openssl reference models tensorflow";

int config_set_string(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int set_bool(bool *field, size_t row, const char *value, struct error *error)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return error_set(error, -EINVAL, "[%s] %s = %s: neither on nor off", scalars[row].section,
				 scalars[row].key, value);
	*field = !strcmp(value, "on");
	return 0;
}

static int set_word(uint32_t *field, size_t row, const char *value, struct error *error)
{
	const char *const *words = scalars[row].words;

	for (uint32_t i = 0; words[i]; i++) {
		if (!strcmp(words[i], value)) {
			*field = i;
			return 0;
		}
	}
	return error_set(error, -EINVAL, "[%s] %s = %s: not one of %s, %s and %s", scalars[row].section,
			 scalars[row].key, value, words[0], words[1], words[2]);
}

static int set_scalar(struct config *config, size_t row, const char *value, struct error *error)
{
	char *field = (char *)config + scalars[row].offset;
	uint64_t number;

	if (scalars[row].type == SCALAR_STRING)
		return config_set_string((char **)field, value);
	if (scalars[row].type == SCALAR_BOOL)
		return set_bool((bool *)field, row, value, error);
	if (scalars[row].type == SCALAR_WORD)
		return set_word((uint32_t *)field, row, value, error);
	if (number_parse(value, &number) < 0 || number < scalars[row].min || number > scalars[row].max)
		return error_set(error, -EINVAL,
				 "[%s] %s = %s: not a number from %llu to %llu (K, M, G, T are allowed)",
				 scalars[row].section, scalars[row].key, value, (unsigned long long)scalars[row].min,
				 (unsigned long long)scalars[row].max);
	if (scalars[row].type == SCALAR_U32)
		*(uint32_t *)field = (uint32_t)number;
	else
		*(uint64_t *)field = number;
	return 0;
}

/* Names become file names: no way out of the plugin folder. */
static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > 31)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && !strchr("-_", name[i]))
			return false;
	return true;
}

static int get_plugin(struct config *config, const char *name, struct config_plugin **ret, struct error *error)
{
	struct config_plugin *plugin;

	for (size_t i = 0; i < config->n_plugins; i++) {
		if (!strcmp(config->plugins[i].name, name)) {
			*ret = &config->plugins[i];
			return 0;
		}
	}
	if (!name_ok(name))
		return error_set(error, -EINVAL, "plugin name '%s': only a-z, 0-9, - and _, at most 31", name);
	if (config->n_plugins == CONFIG_MAX_PLUGINS)
		return error_set(error, -E2BIG, "plugin %s: more than %d plugins", name, CONFIG_MAX_PLUGINS);
	plugin = &config->plugins[config->n_plugins];
	if (config_set_string(&plugin->name, name) < 0)
		return error_set(error, -ENOMEM, "plugin %s: no memory", name);
	config->n_plugins++;
	*ret = plugin;
	return 0;
}

static int set_plugin_key(struct config *config, const char *name, const char *key, const char *value,
			  struct error *error)
{
	struct config_plugin *plugin;
	struct config_key *row = NULL;
	int r = get_plugin(config, name, &plugin, error);

	if (r < 0)
		return r;
	if (!strcmp(key, "path"))
		return config_set_string(&plugin->path, value);
	for (size_t i = 0; i < plugin->n_keys; i++)
		if (!strcmp(plugin->keys[i].name, key))
			row = &plugin->keys[i];
	if (!row) {
		if (plugin->n_keys == CONFIG_MAX_KEYS)
			return error_set(error, -E2BIG, "[plugin %s] has more than %d keys", name, CONFIG_MAX_KEYS);
		row = &plugin->keys[plugin->n_keys];
		if (config_set_string(&row->name, key) < 0)
			return error_set(error, -ENOMEM, "[plugin %s] %s: no memory", name, key);
		plugin->n_keys++;
	}
	if (config_set_string(&row->value, value) < 0)
		return error_set(error, -ENOMEM, "[plugin %s] %s: no memory", name, key);
	return 0;
}

static void order_clear(struct config_order *order)
{
	for (size_t i = 0; i < order->n_plugins; i++) {
		free(order->plugins[i]);
		order->plugins[i] = NULL;
	}
	order->n_plugins = 0;
}

static int order_fill(struct config *config, struct config_order *order, const char *value, struct error *error)
{
	_cleanup_free_ char *copy = strdup(value);
	struct config_plugin *plugin;
	char *save = NULL;
	int r;

	if (!copy)
		return error_set(error, -ENOMEM, "[order] %s: no memory", order->op);
	order_clear(order);
	for (char *name = strtok_r(copy, " \t,", &save); name; name = strtok_r(NULL, " \t,", &save)) {
		if (order->n_plugins == CONFIG_MAX_PLUGINS)
			return error_set(error, -E2BIG, "[order] %s: more than %d plugins", order->op,
					 CONFIG_MAX_PLUGINS);
		r = get_plugin(config, name, &plugin, error);
		if (r < 0)
			return r;
		if (config_set_string(&order->plugins[order->n_plugins], name) < 0)
			return error_set(error, -ENOMEM, "[order] %s: no memory", order->op);
		order->n_plugins++;
	}
	return 0;
}

static int set_order(struct config *config, const char *op, const char *value, struct error *error)
{
	struct config_order *order = NULL;

	if (!strcmp(op, "default"))
		config->own_order = true;

	if (strcmp(op, "default") && !op_by_name(op))
		return error_set(error, -EINVAL, "[order] %s: no operation has that name", op);
	for (size_t i = 0; i < config->n_orders; i++)
		if (!strcmp(config->orders[i].op, op))
			order = &config->orders[i];
	if (!order) {
		/* One row per op of the table and one for "default": the array cannot overflow. */
		order = &config->orders[config->n_orders];
		if (config_set_string(&order->op, op) < 0)
			return error_set(error, -ENOMEM, "[order] %s: no memory", op);
		config->n_orders++;
	}
	return order_fill(config, order, value, error);
}

/* As long as nobody has given another. */
static int set_default_order(struct config *config, struct error *error)
{
	bool models = config->models_dir && *config->models_dir;
	int r;

	if (config->own_order)
		return 0;
	r = set_order(config, "default", models ? default_order_with_models : default_order, error);
	config->own_order = false;
	return r;
}

static int set_key(struct config *config, const char *section, const char *key, const char *value, struct error *error)
{
	static const char plugin_prefix[] = "plugin ";
	static const char key_prefix[] = "key ";
	bool section_known = false;

	if (!strncmp(section, plugin_prefix, strlen(plugin_prefix)))
		return set_plugin_key(config, section + strlen(plugin_prefix), key, value, error);
	if (!strncmp(section, key_prefix, strlen(key_prefix)))
		return config_set_held_key(config, section + strlen(key_prefix), key, value, error);
	if (!strcmp(section, "order"))
		return set_order(config, key, value, error);
	for (size_t i = 0; i < ARRAY_SIZE(scalars); i++) {
		if (strcmp(scalars[i].section, section))
			continue;
		section_known = true;
		if (!strcmp(scalars[i].key, key)) {
			int r = set_scalar(config, i, value, error);

			return r < 0 ? r : set_default_order(config, error);
		}
	}
	if (section_known)
		return error_set(error, -EINVAL, "[%s] %s: no such key", section, key);
	return error_set(error, -EINVAL, "[%s]: no such section", section);
}

struct parse {
	struct config *config;
	FILE *file;
	struct error error; /* of the first bad line */
	int line;	    /* read so far */
	bool cut;	    /* the last one does not fit; the parser would take its rest for a line */
};

/* fgets() for the parser, less the indentation, which it would take for a continued value. */
static char *read_line(char *text, int size, void *stream)
{
	struct parse *parse = stream;
	char *r = parse->cut ? NULL : fgets(text, size, parse->file);

	if (!r)
		return NULL;
	parse->line++;
	parse->cut = !strchr(text, '\n') && !feof(parse->file);
	if (parse->cut)
		return NULL;
	while (isspace((unsigned char)*r))
		r++;
	memmove(text, r, strlen(r) + 1);
	return text;
}

static int on_key(void *user, const char *section, const char *key, const char *value)
{
	struct parse *parse = user;
	struct error error = { 0 };

	if (set_key(parse->config, section, key, value, &error) == 0)
		return 1;
	if (!parse->error.code)
		parse->error = error;
	return 0;
}

static int parse_file(struct config *config, const char *path, struct error *error)
{
	struct parse parse = { .config = config, .file = fopen(path, "re") };
	int r, line;

	if (!parse.file) {
		r = -errno;
		return error_set(error, r, "configuration %s: cannot open: %s", path, strerror(-r));
	}
	line = ini_parse_stream(read_line, &parse, on_key, &parse);
	if (line == 0 && ferror(parse.file))
		line = -1;
	fclose(parse.file);
	if (line == 0 && parse.cut)
		return error_set(error, -EINVAL, "configuration %s:%d: the line is too long", path, parse.line);
	if (line == 0)
		return config_set_string(&config->path, path);
	if (line < 0)
		return error_set(error, -EIO, "configuration %s: cannot read", path);
	if (!parse.error.code)
		return error_set(error, -EINVAL, "configuration %s:%d: neither [section] nor key = value", path, line);
	return error_set(error, parse.error.code, "configuration %s:%d: %s", path, line, parse.error.text);
}

bool config_key_at(size_t index, struct config_key_info *ret_info)
{
	if (index >= ARRAY_SIZE(scalars))
		return false;
	*ret_info = (struct config_key_info){ scalars[index].section, scalars[index].key,
					      scalars[index].type >= SCALAR_STRING, scalars[index].min,
					      scalars[index].max };
	return true;
}

int config_load(const char *path, struct config **ret_config, struct error *error)
{
	struct config *config = calloc(1, sizeof(*config));
	int r;

	if (!config)
		return error_set(error, -ENOMEM, "configuration: no memory");
	config->limits = default_limits;
	config->sandbox.mode = SANDBOX_ON;
	config->queues = 2;
	config->spin_us = SPIN_AUTO;
	r = set_default_order(config, error);
	if (r == 0 && path && *path)
		r = parse_file(config, path, error);
	else if (r == 0 && !path && access(VACCEL_CONFIG_FILE, F_OK) == 0)
		r = parse_file(config, VACCEL_CONFIG_FILE, error);
	if (r == 0 && config->path && config_check(config, error) < 0) {
		r = error->code;
		error_prefix(error, "configuration %s", config->path);
	}
	if (r < 0) {
		config_free(config);
		return r;
	}
	*ret_config = config;
	return 0;
}

static void plugin_clear(struct config_plugin *plugin)
{
	for (size_t i = 0; i < plugin->n_keys; i++) {
		free(plugin->keys[i].name);
		free(plugin->keys[i].value);
	}
	free(plugin->name);
	free(plugin->path);
}

int config_check(const struct config *config, struct error *error)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < config->n_keys; i++)
		r = config_check_held_key(&config->keys[i], error);
	return r;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_plugins; i++)
		plugin_clear(&config->plugins[i]);
	for (size_t i = 0; i < config->n_orders; i++) {
		order_clear(&config->orders[i]);
		free(config->orders[i].op);
	}
	for (size_t i = 0; i < config->n_keys; i++)
		config_clear_held_key(&config->keys[i]);
	free(config->path);
	free(config->cache_dir);
	free(config->models_dir);
	free(config->metrics_listen);
	free(config->sandbox.read);
	free(config->sandbox.write);
	free(config);
}

int config_set(struct config *config, const char *assignment, struct error *error)
{
	_cleanup_free_ char *copy = strdup(assignment);
	char *equals, *dot;

	if (!copy)
		return error_set(error, -ENOMEM, "setting %s: no memory", assignment);
	equals = strchr(copy, '=');
	if (!equals)
		return error_set(error, -EINVAL, "setting '%s': not SECTION.KEY=VALUE", assignment);
	*equals = '\0';
	/* Names of keys may have some, their settings have none. */
	dot = strncmp(copy, "key ", 4) ? strchr(copy, '.') : strrchr(copy, '.');
	if (!dot)
		return error_set(error, -EINVAL, "setting '%s': not SECTION.KEY=VALUE", assignment);
	*dot = '\0';
	return set_key(config, copy, dot + 1, equals + 1, error);
}

const struct config_order *config_order(const struct config *config, const char *op)
{
	const struct config_order *fallback = NULL;

	for (size_t i = 0; i < config->n_orders; i++) {
		if (!strcmp(config->orders[i].op, op))
			return &config->orders[i];
		if (!strcmp(config->orders[i].op, "default"))
			fallback = &config->orders[i];
	}
	return fallback;
}

const struct config_plugin *config_plugin(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_plugins; i++)
		if (!strcmp(config->plugins[i].name, name))
			return &config->plugins[i];
	return NULL;
}
