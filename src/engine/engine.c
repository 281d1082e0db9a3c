/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of an engine: plugins are loaded in the order in which the configuration names them, those that
 * use others' frameworks last, each op gets its route (the
 * plugins that serve it, best first), then threads start. After that only session.c and schedule.c change anything.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "util/log.h"
#include "util/util.h"

HOT struct route *engine_route(struct engine *engine, uint32_t op)
{
	/* Rows of the op table are in the order of their numbers, as long as none is left out. */
	if (op < engine->n_routes && engine->routes[op].op->id == op)
		return &engine->routes[op];
	for (size_t i = 0; i < engine->n_routes; i++)
		if (engine->routes[i].op->id == op)
			return &engine->routes[i];
	return NULL;
}

void note_failure(struct engine *engine, const char *name, const struct error *error)
{
	struct engine_failure *failure = &engine->failures[engine->n_failures];

	log_warning("%s", error->text);
	failure->plugin = strdup(name);
	failure->text = strdup(error->text);
	if (failure->plugin && failure->text)
		engine->n_failures++;
}

static bool is_ordered(const struct config *config, const char *plugin)
{
	for (size_t i = 0; i < config->n_orders; i++)
		for (size_t j = 0; j < config->orders[i].n_plugins; j++)
			if (!strcmp(config->orders[i].plugins[j], plugin))
				return true;
	return false;
}

/* NULL: it does not serve, and why was noted. */
static struct plugin *open_plugin(struct engine *engine, const struct config_plugin *section)
{
	struct plugin *plugin = NULL;
	struct error error = { 0 };
	int r;

	if (!is_ordered(engine->config, section->name)) {
		/* One of an order that another has replaced, or a section that its author expects something of. */
		if (section->n_keys || section->path) {
			error_set(&error, -ENOENT, "plugin %s: is configured, but no [order] names it", section->name);
			note_failure(engine, section->name, &error);
		}
		return NULL;
	}
	r = plugin_open(section->path ? section->path : section->name, &plugin, &error);
	if (r == 0 && strcmp(plugin->decl.name, section->name))
		r = error_set(&error, -EINVAL, "plugin %s: %s calls itself %s", section->name, plugin->path,
			      plugin->decl.name);
	if (r == 0)
		return plugin;
	plugin_free(plugin);
	note_failure(engine, section->name, &error);
	return NULL;
}

static void start_plugin(struct engine *engine, struct plugin *plugin)
{
	struct plugin_set *set = &engine->plugins;
	struct error error = { 0 };

	if (plugin_start(plugin, engine->config, set, &error) == 0) {
		set->plugins[set->n++] = plugin;
		return;
	}
	note_failure(engine, plugin->decl.name, &error);
	plugin_free(plugin);
}

/* Those that use what others bring are started when all others are. */
static void load_plugins(struct engine *engine)
{
	struct plugin *later[CONFIG_MAX_PLUGINS];
	unsigned int n_later = 0;

	for (size_t i = 0; i < engine->config->n_plugins; i++) {
		struct plugin *plugin = open_plugin(engine, &engine->config->plugins[i]);

		if (plugin && plugin_uses_frameworks(plugin))
			later[n_later++] = plugin;
		else if (plugin)
			start_plugin(engine, plugin);
	}
	for (unsigned int i = 0; i < n_later; i++)
		start_plugin(engine, later[i]);
}

static void add_candidate(struct engine *engine, struct route *route, const char *name)
{
	for (unsigned int i = 0; i < engine->plugins.n; i++) {
		const struct vaccel_plugin *decl = &engine->plugins.plugins[i]->decl;

		if (strcmp(decl->name, name))
			continue;
		for (size_t j = 0; j < decl->n_ops; j++)
			if (decl->ops[j].op == route->op->id && route->n_candidates < CONFIG_MAX_PLUGINS)
				route->candidates[route->n_candidates++] =
					(struct candidate){ .plugin = i, .run = decl->ops[j].run };
	}
}

static uint32_t parsed_args(const struct op_desc *op)
{
	uint32_t set = 0;

	for (size_t i = 0; i < op->n_args; i++)
		set |= op->args[i].parsed ? 1u << i : 0;
	return set;
}

static int make_routes(struct engine *engine, struct error *error)
{
	const struct config_order *order;

	while (op_at(engine->n_routes))
		engine->n_routes++;
	engine->routes = calloc(engine->n_routes, sizeof(*engine->routes));
	if (!engine->routes)
		return error_set(error, -ENOMEM, "engine: no memory for its ops");
	for (size_t i = 0; i < engine->n_routes; i++) {
		struct route *route = &engine->routes[i];

		route->op = op_at(i);
		route->parsed = parsed_args(route->op);
		order = config_order(engine->config, route->op->name);
		for (size_t j = 0; order && j < order->n_plugins; j++)
			add_candidate(engine, route, order->plugins[j]);
		engine->uses_keys |= route->op->check_key && route->n_candidates;
	}
	return 0;
}

static void read_host(struct engine *engine)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256], model[64] = "unknown processor";

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "model name : %63[^\n]", model) == 1)
			break;
	if (file)
		fclose(file);
	snprintf(engine->host, sizeof(engine->host), "%s, %ld CPUs", model, sysconf(_SC_NPROCESSORS_ONLN));
}

static int init_tables(struct engine *engine, struct state *state, struct error *error)
{
	const struct config_limits *limits = &engine->config->limits;
	int r = 0;

	engine->state = state;
	if (!state) {
		engine->own_state = true;
		r = state_attach(NULL, 0, limits, &engine->state, NULL, error);
	}
	engine->sessions = calloc(limits->sessions, sizeof(*engine->sessions));
	engine->buffers = calloc(limits->buffers, sizeof(*engine->buffers));
	engine->keys = calloc(limits->keys, sizeof(*engine->keys));
	engine->failures = calloc(CONFIG_MAX_PLUGINS + CONFIG_MAX_HELD_KEYS, sizeof(*engine->failures));
	if (r == 0 && (!engine->sessions || !engine->buffers || !engine->keys || !engine->failures))
		r = error_set(error, -ENOMEM, "engine: no memory for %u sessions, %u buffers and %u keys",
			      limits->sessions, limits->buffers, limits->keys);
	return r;
}

static void free_tables(struct engine *engine)
{
	/* The last one may use what those before it bring. */
	while (engine->plugins.n > 0)
		plugin_free(engine->plugins.plugins[--engine->plugins.n]);
	for (size_t i = 0; i < engine->n_failures; i++) {
		free((char *)engine->failures[i].plugin);
		free((char *)engine->failures[i].text);
	}
	if (engine->own_state)
		state_detach(engine->state);
	held_free(engine);
	free(engine->failures);
	free(engine->routes);
	free(engine->sessions);
	free(engine->buffers);
	free(engine->keys);
	free(engine);
}

int engine_new(const struct config *config, struct state *state, struct engine **ret_engine, struct error *error)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	int r;

	if (!engine)
		return error_set(error, -ENOMEM, "engine: no memory");
	engine->config = config;
	read_host(engine);
	copy_init(engine);
	r = init_tables(engine, state, error);
	if (r == 0)
		r = held_load(engine, error);
	if (r == 0) {
		load_plugins(engine);
		r = make_routes(engine, error);
	}
	if (r < 0) {
		free_tables(engine);
		return r;
	}
	r = schedule_start(engine, error);
	if (r < 0) {
		engine_free(engine);
		return r;
	}
	*ret_engine = engine;
	return 0;
}

/* In shared state the sessions live on for the next worker: only this process's objects go. */
static void drop_objects(struct engine *engine)
{
	for (uint32_t i = 0; i < engine->config->limits.sessions; i++) {
		struct engine_session *session = engine->sessions[i];

		if (!session)
			continue;
		for (unsigned int p = 0; p < engine->plugins.n; p++)
			if (session->opened[p] && engine->plugins.plugins[p]->decl.close)
				engine->plugins.plugins[p]->decl.close(session->plugin_session[p]);
		free(session);
	}
	for (uint32_t i = 0; i < engine->config->limits.buffers; i++)
		if (engine->buffers[i].id)
			release_mapping(engine, engine->buffers[i].id, &engine->buffers[i].mapping);
	/* What plugins made of keys goes before they do. */
	for (uint32_t i = 0; i < engine->config->limits.keys; i++)
		for (unsigned int p = 0; engine->keys[i].id && p < engine->plugins.n; p++)
			if (engine->plugins.plugins[p]->decl.key_gone)
				engine->plugins.plugins[p]->decl.key_gone(engine->keys[i].id);
}

void engine_free(struct engine *engine)
{
	if (!engine)
		return;
	pthread_mutex_lock(&engine->lock);
	/* First of all: a request that runs must not be passed on into a queue that nobody looks at any more. */
	engine->stopping = true;
	for (uint32_t i = 0; i < engine->config->limits.sessions; i++)
		if (engine->sessions[i])
			schedule_cancel_waiting(engine, engine->sessions[i], "the engine stops");
	pthread_mutex_unlock(&engine->lock);
	schedule_stop(engine);
	drop_objects(engine);
	free_tables(engine);
}

bool engine_op_info(const struct engine *engine, size_t index, struct engine_op_info *ret_info)
{
	const struct route *route;
	const struct plugin *plugin;

	if (index >= engine->n_routes)
		return false;
	route = &engine->routes[index];
	*ret_info = (struct engine_op_info){ route->op->id, route->op->name, "", "" };
	if (route->n_candidates) {
		plugin = engine->plugins.plugins[route->candidates[0].plugin];
		ret_info->plugin = plugin->decl.name;
		ret_info->hardware = plugin->hardware;
	} else if (route->op->builtin && engine->uses_keys) {
		ret_info->plugin = "engine";
		ret_info->hardware = engine->host;
	}
	return true;
}

size_t engine_n_failures(const struct engine *engine)
{
	return engine->n_failures;
}

const struct engine_failure *engine_failure_at(const struct engine *engine, size_t index)
{
	return index < engine->n_failures ? &engine->failures[index] : NULL;
}

bool engine_plugin_needs(const struct engine *engine, size_t index, struct engine_plugin_needs *ret_needs)
{
	const struct plugin *plugin = index < engine->plugins.n ? engine->plugins.plugins[index] : NULL;

	if (!plugin)
		return false;
	*ret_needs = (struct engine_plugin_needs){ plugin->decl.name,  plugin->decl.needs, plugin->cache_dir,
						   plugin->models_dir, plugin->decl.calls, plugin->decl.n_calls };
	return true;
}

const char *engine_host(const struct engine *engine)
{
	return engine->host;
}
