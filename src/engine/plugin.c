/* SPDX-License-Identifier: Apache-2.0 */
/* See plugin.h. */
#include "engine/plugin.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/log.h"
#include "util/util.h"

#define PREFIX "vaccel-"
#define SUFFIX ".so"

static const char *search_path(void)
{
	const char *path = secure_getenv("VACCEL_PLUGIN_DIR");

	return path && *path ? path : VACCEL_PLUGIN_DIR;
}

/* Calls visit for each folder of the search path until it returns true. */
static bool each_folder(bool (*visit)(const char *folder, void *opaque), void *opaque)
{
	_cleanup_free_ char *copy = strdup(search_path());
	char *save = NULL;

	if (!copy)
		return false;
	for (char *folder = strtok_r(copy, ":", &save); folder; folder = strtok_r(NULL, ":", &save))
		if (visit(folder, opaque))
			return true;
	return false;
}

struct visit {
	void (*visit)(const char *folder, void *opaque);
	void *opaque;
};

static bool visit_folder(const char *folder, void *opaque)
{
	const struct visit *visit = opaque;

	visit->visit(folder, visit->opaque);
	return false;
}

void plugin_folders(void (*visit)(const char *folder, void *opaque), void *opaque)
{
	struct visit all = { visit, opaque };

	each_folder(visit_folder, &all);
}

struct find {
	const char *name;
	char path[PATH_MAX];
};

static bool find_in(const char *folder, void *opaque)
{
	struct find *find = opaque;
	int n = snprintf(find->path, sizeof(find->path), "%s/" PREFIX "%s" SUFFIX, folder, find->name);

	return n > 0 && (size_t)n < sizeof(find->path) && access(find->path, F_OK) == 0;
}

static int locate(const char *name, struct plugin *plugin, struct error *error)
{
	struct find find = { .name = name };

	if (strchr(name, '/'))
		plugin->path = strdup(name);
	else if (each_folder(find_in, &find))
		plugin->path = strdup(find.path);
	else
		return error_set(error, -ENOENT, "plugin %s: no " PREFIX "%s" SUFFIX " in %s", name, name,
				 search_path());
	return plugin->path ? 0 : error_set(error, -ENOMEM, "plugin %s: no memory", name);
}

/* Members that a declaration cannot do without, whatever its age. */
static int check_decl(const struct plugin *plugin, struct error *error)
{
	const struct vaccel_plugin *decl = &plugin->decl;

	if (!decl->name || !decl->hardware || (!decl->framework && (!decl->ops || !decl->n_ops)))
		return error_set(error, -EINVAL, "plugin %s: declares no name, ops or hardware", plugin->path);
	if (decl->threads < VACCEL_THREADS_ONE || decl->threads > VACCEL_THREADS_ANY)
		return error_set(error, -EINVAL, "plugin %s: thread model %u is not known", plugin->path,
				 decl->threads);
	for (size_t i = 0; i < decl->n_ops; i++)
		if (!decl->ops[i].run)
			return error_set(error, -EINVAL, "plugin %s: op %u has no implementation", plugin->path,
					 decl->ops[i].op);
	if (!decl->batch != !decl->run_batch)
		return error_set(error, -EINVAL, "plugin %s: has one of batch and run_batch without the other",
				 plugin->path);
	return 0;
}

static int read_framework(struct plugin *plugin, struct error *error)
{
	const struct vaccel_plugin_framework *declared = plugin->decl.framework;
	struct vaccel_plugin_framework *framework = &plugin->framework;

	if (!declared)
		return 0;
	memcpy(framework, declared, MIN(declared->size, sizeof(*framework)));
	if (!framework->name || !framework->model_load || !framework->model_unload || !framework->model_tensor ||
	    !framework->model_run)
		return error_set(error, -EINVAL, "plugin %s: its framework lacks a name or a function", plugin->path);
	return 0;
}

static int read_decl(struct plugin *plugin, struct error *error)
{
	const struct vaccel_plugin *(*entry)(void);
	const struct vaccel_plugin *decl;
	int r;

	*(void **)&entry = dlsym(plugin->handle, VACCEL_PLUGIN_SYMBOL);
	if (!entry)
		return error_set(error, -ENOEXEC, "plugin %s: no symbol " VACCEL_PLUGIN_SYMBOL ", not a vAccel plugin",
				 plugin->path);
	decl = entry();
	if (!decl)
		return error_set(error, -ENOEXEC, "plugin %s: declares nothing", plugin->path);
	if (decl->abi != VACCEL_PLUGIN_ABI)
		return error_set(error, -ENOEXEC, "plugin %s: built for plugin ABI %u, this is %u", plugin->path,
				 decl->abi, VACCEL_PLUGIN_ABI);
	memcpy(&plugin->decl, decl, MIN(decl->size, sizeof(plugin->decl)));
	/* An array that is not there has no rows. */
	if (!plugin->decl.ops)
		plugin->decl.n_ops = 0;
	r = check_decl(plugin, error);
	return r < 0 ? r : read_framework(plugin, error);
}

int plugin_open(const char *name, struct plugin **ret_plugin, struct error *error)
{
	struct plugin *plugin = calloc(1, sizeof(*plugin));
	int r;

	if (!plugin)
		return error_set(error, -ENOMEM, "plugin %s: no memory", name);
	pthread_mutex_init(&plugin->lock, NULL);
	r = locate(name, plugin, error);
	if (r == 0) {
		/* NODELETE: libraries behind plugins start threads, which must not lose the code that they run. */
		plugin->handle = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
		if (!plugin->handle)
			r = error_set(error, -ELIBACC, "plugin %s: cannot load: %s", name, dlerror());
	}
	if (r == 0)
		r = read_decl(plugin, error);
	if (r < 0) {
		plugin_free(plugin);
		return r;
	}
	*ret_plugin = plugin;
	return 0;
}

/* mkdir -p; mode: of the last. */
static bool make_folders(char *path, mode_t mode)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST) {
			*slash = '/';
			return false;
		}
		*slash = '/';
	}
	return mkdir(path, mode) == 0 || errno == EEXIST;
}

int plugin_cache_base(const struct config *config, char *ret_path, size_t len)
{
	const char *base = config->cache_dir, *below = "";
	int n;

	if (!base) {
		base = secure_getenv("XDG_CACHE_HOME");
		below = "/vaccel/plugins";
	}
	if (!base || !*base) {
		base = secure_getenv("HOME");
		below = "/.cache/vaccel/plugins";
	}
	if (!base || !*base)
		return -ENOENT;
	n = snprintf(ret_path, len, "%s%s", base, below);
	if (n < 0 || (size_t)n >= len)
		return -ENAMETOOLONG;
	return make_folders(ret_path, 0755) ? 0 : -errno;
}

/* NULL: the plugin has to do without. */
static char *make_cache_dir(const struct plugin *plugin, const struct config *config)
{
	char base[PATH_MAX], path[PATH_MAX];
	int n;

	if (plugin_cache_base(config, base, sizeof(base)) < 0)
		return NULL;
	n = snprintf(path, sizeof(path), "%s/%s", base, plugin->decl.name);
	if (n < 0 || (size_t)n >= sizeof(path) || !make_folders(path, 0700) || access(path, W_OK) < 0)
		return NULL;
	return strdup(path);
}

bool plugin_uses_frameworks(const struct plugin *plugin)
{
	return plugin->decl.needs & VACCEL_NEED_MODELS && !plugin->framework.name;
}

/* Only who serves models fails without its folder: frameworks are told where to look, and nobody will ask them. */
static int find_models_dir(struct plugin *plugin, const struct config *config, struct error *error)
{
	const char *dir = config->models_dir;

	if (!(plugin->decl.needs & VACCEL_NEED_MODELS) || !dir || !*dir)
		return 0;
	plugin->models_dir = realpath(dir, NULL);
	if (!plugin->models_dir && plugin_uses_frameworks(plugin))
		return error_set(error, -errno, "plugin %s: [models] dir = %s: %s", plugin->decl.name, dir,
				 strerror(errno));
	return 0;
}

/* The plugin's vaccel_plugin_host.framework. */
static const struct vaccel_plugin_framework *framework_at(const struct vaccel_plugin_host *host, size_t index,
							  const char **ret_plugin, const char **ret_hardware)
{
	const struct plugin_set *set = container_of(host, struct plugin, host)->others;

	for (unsigned int i = 0; set && i < set->n; i++) {
		const struct plugin *plugin = set->plugins[i];

		if (!plugin->framework.name || index-- > 0)
			continue;
		if (ret_plugin)
			*ret_plugin = plugin->decl.name;
		if (ret_hardware)
			*ret_hardware = plugin->hardware;
		return &plugin->framework;
	}
	return NULL;
}

static void plugin_log(int priority, const char *text)
{
	log_line(priority, "%s", text);
}

static bool key_declared(const struct vaccel_plugin *decl, const char *key)
{
	for (size_t i = 0; i < decl->n_keys; i++)
		if (!strcmp(decl->keys[i].name, key))
			return true;
	return false;
}

static int run_config(struct plugin *plugin, const struct config_plugin *section,
		      const struct vaccel_plugin_report *report, struct error *error)
{
	for (size_t i = 0; section && i < section->n_keys; i++) {
		const struct config_key *key = &section->keys[i];
		int r;

		if (!key_declared(&plugin->decl, key->name) || !plugin->decl.config)
			return error_set(error, -EINVAL, "[plugin %s] %s: the plugin has no such key",
					 plugin->decl.name, key->name);
		r = plugin->decl.config(key->name, key->value, (struct vaccel_plugin_report *)report);
		if (r < 0)
			return error_set(error, r, "[plugin %s] %s = %s: %s", plugin->decl.name, key->name, key->value,
					 *report->text ? report->text : strerror(-r));
	}
	return 0;
}

static int run_start(struct plugin *plugin, const struct config *config, struct error *error)
{
	char text[ERROR_TEXT] = "";
	struct vaccel_plugin_report report = { text, sizeof(text) };
	int r = 0;

	plugin->host = (struct vaccel_plugin_host){
		.size = sizeof(plugin->host),
		.version = VACCEL_BUILD_VERSION,
		.cache_dir = plugin->cache_dir,
		.threads = config->op_threads,
		.log = plugin_log,
		.models_dir = plugin->models_dir,
		.framework = framework_at,
	};
	if (plugin->decl.load)
		r = plugin->decl.load(&plugin->host, &report);
	if (r == 0) {
		plugin->started = true;
		r = run_config(plugin, config_plugin(config, plugin->decl.name), &report, error);
		if (r < 0)
			return r;
	}
	if (r == 0 && plugin->decl.ready)
		r = plugin->decl.ready(&report);
	if (r < 0)
		return error_set(error, r, "plugin %s: %s", plugin->decl.name, *text ? text : strerror(-r));
	return 0;
}

int plugin_start(struct plugin *plugin, const struct config *config, const struct plugin_set *others,
		 struct error *error)
{
	int r = find_models_dir(plugin, config, error);

	if (r < 0)
		return r;
	if (plugin_uses_frameworks(plugin))
		plugin->others = others;

	if (plugin->decl.needs & (VACCEL_NEED_CACHE | VACCEL_NEED_CACHE_ALWAYS))
		plugin->cache_dir = make_cache_dir(plugin, config);
	pthread_mutex_lock(&plugin->lock);
	r = run_start(plugin, config, error);
	if (r == 0) {
		plugin->hardware = plugin->decl.hardware();
		if (!plugin->hardware)
			r = error_set(error, -EINVAL, "plugin %s: names no hardware", plugin->decl.name);
	}
	pthread_mutex_unlock(&plugin->lock);
	return r;
}

void plugin_free(struct plugin *plugin)
{
	if (!plugin)
		return;
	if (plugin->started && plugin->decl.unload)
		plugin->decl.unload();
	if (plugin->handle)
		dlclose(plugin->handle);
	pthread_mutex_destroy(&plugin->lock);
	free(plugin->cache_dir);
	free(plugin->models_dir);
	free(plugin->path);
	free(plugin);
}

struct listing {
	void (*found)(const char *name, const char *path, void *opaque);
	void *opaque;
};

static bool list_folder(const char *folder, void *opaque)
{
	const struct listing *listing = opaque;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		char name[sizeof(entry->d_name)];
		size_t len = strlen(entry->d_name);
		struct find find = { .name = name };

		if (len <= strlen(PREFIX SUFFIX) || strncmp(entry->d_name, PREFIX, strlen(PREFIX)) ||
		    strcmp(entry->d_name + len - strlen(SUFFIX), SUFFIX))
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(len - strlen(PREFIX SUFFIX)),
			 entry->d_name + strlen(PREFIX));
		/* Of two with one name, only the one that would be loaded. */
		if (each_folder(find_in, &find) && !strncmp(find.path, folder, strlen(folder)) &&
		    find.path[strlen(folder)] == '/' && !strcmp(find.path + strlen(folder) + 1, entry->d_name))
			listing->found(name, find.path, listing->opaque);
	}
	if (dir)
		closedir(dir);
	return false;
}

void plugin_list(void (*found)(const char *name, const char *path, void *opaque), void *opaque)
{
	struct listing listing = { found, opaque };

	each_folder(list_folder, &listing);
}
