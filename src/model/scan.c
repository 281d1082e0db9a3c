/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the folder of models holds becomes entries of the store, see store.h. All of it runs in the keeper's thread.
 *
 * An entry goes through: seen (pending, since) -> the same for settle_ms -> loaded, or broken -> seen changed -> ... ->
 * not there any more (since) -> still not there after settle_ms -> removed. So a folder that is put in another's place
 * with two renames is a change, not a removal.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "model/store_internal.h"
#include "op/name.h"

/* After an error of reading the folder itself, which may be one of this moment. */
#define RETRY_NS UINT64_C(1000000000)
/* Loading what does not fit into memory now is tried less and less often. */
#define RETRY_MOST_NS (512 * RETRY_NS)

#define LOG(priority, ...) model_log(scan->store->host, (priority), __VA_ARGS__)

struct scan {
	struct store *store;
	int dir; /* the folder of models */
	bool at_once;
	void (*folder)(const char *path, void *opaque);
	void *opaque;
	const char *name; /* the model that is being looked at */
	uint64_t next_ns; /* when to look again; 0: never */
};

static bool stopped(const struct scan *scan)
{
	return __atomic_load_n(&scan->store->stop, __ATOMIC_RELAXED);
}

static void look_again(struct scan *scan, uint64_t at_ns)
{
	if (!scan->next_ns || at_ns < scan->next_ns)
		scan->next_ns = at_ns;
}

/* Whether what is so since since_ns may be believed; if not yet, when to look again is noted. */
static bool settled(struct scan *scan, uint64_t since_ns)
{
	uint64_t at_ns = since_ns + scan->store->settings->settle_ms * UINT64_C(1000000);

	if (scan->at_once || now_ns() >= at_ns)
		return true;
	look_again(scan, at_ns);
	return false;
}

static int model_path(const struct scan *scan, const char *below, char *ret_path, size_t len)
{
	int n = snprintf(ret_path, len, "%s/%s%s%s", scan->store->host->models_dir, scan->name, *below ? "/" : "",
			 below);

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

static void on_folder(const char *path, void *opaque)
{
	const struct scan *scan = opaque;
	char whole[PATH_MAX];

	if (scan->folder && model_path(scan, path, whole, sizeof(whole)) == 0)
		scan->folder(whole, scan->opaque);
}

static int read_tree(struct scan *scan, int dir, struct tree *ret_tree, struct error *error)
{
	const struct tree_limits limits = { scan->store->settings->files, on_folder, scan };

	return tree_read(dir, &limits, ret_tree, error);
}

/* ---- Entries ---- */

static struct entry *entry_add(struct scan *scan, const char *name)
{
	struct store *store = scan->store;
	struct entry *entry = calloc(1, sizeof(*entry)), **entries;
	size_t at = store_place(store, name);

	pthread_mutex_lock(&store->lock);
	entries = entry ? reallocarray(store->entries, store->n_entries + 1, sizeof(*entries)) : NULL;
	if (entries) {
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		memmove(entries + at + 1, entries + at, (store->n_entries - at) * sizeof(*entries));
		entries[at] = entry;
		store->entries = entries;
		store->n_entries++;
	}
	pthread_mutex_unlock(&store->lock);
	if (!entries)
		free(entry);
	return entries ? entry : NULL;
}

/* model NULL: the version that served goes, and none comes. */
static void entry_serve(struct store *store, struct entry *entry, struct model *model, bool broken)
{
	struct model *before;

	pthread_mutex_lock(&store->lock);
	before = entry->serves;
	entry->serves = model;
	entry->broken = broken;
	store->n_changes++;
	pthread_mutex_unlock(&store->lock);
	if (before)
		store_put(store, before);
}

static void entry_broken(struct store *store, struct entry *entry, bool broken)
{
	pthread_mutex_lock(&store->lock);
	store->n_changes += entry->broken != broken;
	entry->broken = broken;
	pthread_mutex_unlock(&store->lock);
}

static void entry_remove(struct scan *scan, size_t at)
{
	struct store *store = scan->store;
	struct entry *entry = store->entries[at];

	entry_serve(store, entry, NULL, false);
	pthread_mutex_lock(&store->lock);
	store->n_entries--;
	memmove(store->entries + at, store->entries + at + 1, (store->n_entries - at) * sizeof(*store->entries));
	pthread_mutex_unlock(&store->lock);
	LOG(LOG_NOTICE, "model %s: removed", entry->name);
	free(entry);
}

/* ---- Loading ---- */

/* Not the model's fault, and perhaps over soon. */
static bool may_pass(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EAGAIN;
}

static void entry_failed(struct scan *scan, struct entry *entry, const struct error *error)
{
	entry->pending = may_pass(error->code);
	if (entry->pending) {
		entry->retry_ns = entry->retry_ns ? MIN(2 * entry->retry_ns, RETRY_MOST_NS) : RETRY_NS;
		entry->since_ns = now_ns() + entry->retry_ns;
		look_again(scan, entry->since_ns + scan->store->settings->settle_ms * UINT64_C(1000000));
	}
	entry_broken(scan->store, entry, true);
	if (entry->serves)
		LOG(LOG_WARNING, "model %s: what is installed now is broken, the version before it still serves: %s",
		    entry->name, error->text);
	else
		LOG(LOG_WARNING, "model %s: broken: %s", entry->name, error->text);
}

static void entry_loaded(struct scan *scan, struct entry *entry, struct model *model, uint64_t begin_ns)
{
	const bool replaces = entry->serves != NULL;
	char hex[2 * TREE_HASH + 1];

	entry->retry_ns = 0;
	model->version = ++scan->store->n_versions;
	tree_hex(model->hash, hex);
	entry_serve(scan->store, entry, model, false);
	LOG(LOG_INFO, "model %s: %s%s, %zu inputs, %zu outputs, %llu bytes, hash %.16s, loaded in %llu ms", entry->name,
	    replaces ? "replaced, " : "", model->describe.framework, model->inputs.n, model->outputs.n,
	    (unsigned long long)model->bytes, hex, (unsigned long long)((now_ns() - begin_ns) / 1000000));
}

/* Whether the folder that has the model's name is still what was loaded: frameworks open files by their paths. */
static bool still_there(struct scan *scan, const struct tree *tree)
{
	struct error error;
	struct tree now;
	int dir = tree_open(scan->dir, scan->name, O_RDONLY | O_DIRECTORY);
	int r = dir < 0 ? dir : read_tree(scan, dir, &now, &error);
	bool same = r == 0 && !memcmp(now.print, tree->print, TREE_HASH);

	if (r == 0)
		tree_free(&now);
	if (dir >= 0)
		close(dir);
	return same;
}

static void entry_load(struct scan *scan, struct entry *entry, int dir, const struct tree *tree)
{
	const struct model_source source = {
		.host = scan->store->host,
		.settings = scan->store->settings,
		.stop = &scan->store->stop,
		.known = entry->serves ? entry->serves->hash : NULL,
	};
	struct error error = { 0 };
	char path[PATH_MAX];
	struct model *model = NULL;
	uint64_t begin_ns = now_ns();
	int r = model_path(scan, "", path, sizeof(path));

	r = r < 0 ? error_set(&error, r, "the path is too long")
		  : model_load(&source, entry->name, dir, path, tree, &model, &error);
	if (r == -ECANCELED)
		return;
	if (!still_there(scan, tree)) {
		/* The next look sees another print, or none. */
		model_free(model);
		look_again(scan, now_ns() + scan->store->settings->settle_ms * UINT64_C(1000000));
		return;
	}
	entry->pending = false;
	if (r == -EALREADY)
		entry_broken(scan->store, entry, false);
	else if (r < 0)
		entry_failed(scan, entry, &error);
	else
		entry_loaded(scan, entry, model, begin_ns);
}

/* ---- The walk ---- */

/* A print that the entry did not have is to be loaded when it has settled. */
static void entry_seen(struct scan *scan, struct entry *entry, const uint8_t print[TREE_HASH])
{
	const bool same = entry->since_ns && !memcmp(entry->print, print, TREE_HASH);

	entry->scan = scan->store->n_scans;
	/* One that was away for a moment, and is as it was, has not changed either. */
	if (same && (entry->present || !entry->pending)) {
		entry->present = true;
		return;
	}
	memcpy(entry->print, print, TREE_HASH);
	entry->since_ns = now_ns();
	entry->pending = true;
	entry->present = true;
	entry->retry_ns = 0;
}

static void look_into(struct scan *scan, struct entry *entry, int dir)
{
	struct error error = { 0 };
	struct tree tree = { 0 };
	int r = dir;

	if (dir >= 0)
		r = read_tree(scan, dir, &tree, &error);
	else
		error_set(&error, r, "cannot open: %s",
			  r == -EXDEV ? "it leads out of the folder of models" : strerror(-r));
	/* Without files the error is all that there is to be seen. */
	if (r < 0)
		memcpy(tree.print, &r, sizeof(r));
	entry_seen(scan, entry, tree.print);
	if (entry->pending && settled(scan, entry->since_ns)) {
		if (r == 0)
			entry_load(scan, entry, dir, &tree);
		else
			entry_failed(scan, entry, &error);
	}
	tree_free(&tree);
}

static struct entry *entry_of(struct scan *scan, const char *name)
{
	struct store *store = scan->store;
	struct entry *entry = store_find(store, name);

	if (entry)
		return entry;
	if (store->n_entries < store->settings->models)
		return entry_add(scan, name);
	if (!store->too_many)
		LOG(LOG_WARNING, "model %s and others: left out, there are more than %u ([plugin models] models)", name,
		    store->settings->models);
	store->too_many = true;
	return NULL;
}

/* Files, and links that lead nowhere, are nobody's. */
static void look_at(struct scan *scan, const char *name)
{
	int dir = tree_open(scan->dir, name, O_RDONLY | O_DIRECTORY);
	struct entry *entry = dir == -ENOTDIR || dir == -ENOENT ? NULL : entry_of(scan, name);

	scan->name = name;
	if (entry)
		look_into(scan, entry, dir);
	if (dir >= 0)
		close(dir);
}

static void look_for_removed(struct scan *scan)
{
	struct store *store = scan->store;

	for (size_t i = store->n_entries; i-- > 0;) {
		struct entry *entry = store->entries[i];

		if (entry->scan == store->n_scans)
			continue;
		if (entry->present) {
			entry->present = false;
			entry->since_ns = now_ns();
		}
		if (settled(scan, entry->since_ns))
			entry_remove(scan, i);
	}
}

/* 0: go on without models; an error: leave everything as it is. */
static int folder_failed(struct scan *scan, int r)
{
	const bool gone = r == -ENOENT || r == -ENOTDIR;
	const char *dir = scan->store->host->models_dir;

	if (r != scan->store->folder_error && gone)
		LOG(LOG_WARNING, "models: there is no folder %s", dir);
	else if (r != scan->store->folder_error)
		LOG(LOG_WARNING, "models: cannot read %s: %s; what has been loaded goes on%s", dir, strerror(-r),
		    r == -EACCES && scan->store->n_scans
			    ? " (a sandboxed worker knows a folder that was made anew only after a restart)"
			    : "");
	scan->store->folder_error = r;
	if (!gone)
		look_again(scan, now_ns() + RETRY_NS);
	return gone ? 0 : r;
}

static int list_names(struct scan *scan, struct dirent ***ret_names)
{
	int n;

	scan->dir = open(scan->store->host->models_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = scan->dir < 0 ? -1 : scandirat(scan->dir, ".", ret_names, NULL, alphasort);
	if (n < 0)
		return folder_failed(scan, -errno);
	scan->store->folder_error = 0;
	return n;
}

uint64_t store_scan(struct store *store, bool at_once, void (*folder)(const char *path, void *opaque), void *opaque)
{
	struct scan all = { .store = store, .at_once = at_once, .folder = folder, .opaque = opaque }, *scan = &all;
	struct dirent **names = NULL;
	int n = list_names(scan, &names);

	store->n_scans++;
	for (int i = 0; i < n && !stopped(scan); i++) {
		if (op_model_name_valid(names[i]->d_name))
			look_at(scan, names[i]->d_name);
		else if (names[i]->d_name[0] != '.' && at_once)
			LOG(LOG_WARNING, "models: '%s' is no name of a model, and left out", names[i]->d_name);
	}
	if (n >= 0 && !stopped(scan))
		look_for_removed(scan);
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	if (scan->dir >= 0)
		close(scan->dir);
	return scan->next_ns;
}
