/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin loader: finds, opens, checks and starts plugins (contract: include/vaccel/plugin.h).
 *
 * Two steps, so that a tool can show what a plugin declares without starting it: plugin_open() loads the object and
 * copies its declaration; plugin_start() runs load, config and ready. The copy is what the engine uses: a plugin built
 * against a shorter struct has its missing members zero.
 */
#ifndef VACCEL_ENGINE_PLUGIN_H
#define VACCEL_ENGINE_PLUGIN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <vaccel/plugin.h>

#include "engine/config.h"
#include "util/error.h"

struct plugin {
	char *path; /* of the object */
	void *handle;
	struct vaccel_plugin decl; /* copied; its pointers lead into the object */
	pthread_mutex_t lock;	   /* held around every callback but the ops */
	char *cache_dir;
	char *models_dir;			  /* absolute; NULL: none, or it does not need it */
	struct vaccel_plugin_framework framework; /* copied like decl; name NULL: none */
	struct vaccel_plugin_host host;		  /* what load() was given, valid until unload() */
	const char *hardware;			  /* after plugin_start() */
	bool started;
	uint32_t n_running; /* ops under way; under the engine's lock */
	const struct plugin_set *others;
};

/* Plugins that have started, for one that is started last. */
struct plugin_set {
	struct plugin *plugins[CONFIG_MAX_PLUGINS];
	unsigned int n;
};

/*
 * name: of a plugin, searched as vaccel-NAME.so in each folder of $VACCEL_PLUGIN_DIR (colon-separated), else in the
 * installed one; with a '/' in it: a file. Errors name the file.
 */
int plugin_open(const char *name, struct plugin **ret_plugin, struct error *error);

/* It reaches for the frameworks of others: they have to be started before it, and end after it. */
bool plugin_uses_frameworks(const struct plugin *plugin);

/*
 * Runs load(), config() with the keys of its section, ready(). May be called once. others: those whose frameworks it may use,
 * until it is freed; NULL: none.
 */
int plugin_start(struct plugin *plugin, const struct config *config, const struct plugin_set *others,
		 struct error *error);

/* Stops and unloads; NULL is allowed. */
void plugin_free(struct plugin *plugin);

/*
 * The folder that holds the plugins' caches, made if need be: of the configuration, or below $XDG_CACHE_HOME or $HOME.
 * -ENOENT when nothing names one, or an error of making it.
 */
int plugin_cache_base(const struct config *config, char *ret_path, size_t len);

/* Calls visit(folder, opaque) for each folder where plugins are looked for. */
void plugin_folders(void (*visit)(const char *folder, void *opaque), void *opaque);

/* Calls found(name, path, opaque) for each vaccel-NAME.so in the search folders; the first of a name wins. */
void plugin_list(void (*found)(const char *name, const char *path, void *opaque), void *opaque);

#endif
