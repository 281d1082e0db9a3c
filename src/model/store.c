/* SPDX-License-Identifier: Apache-2.0 */
/* See store.h: entries, references, rows. What the folder holds becomes entries in scan.c. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/store_internal.h"

int store_new(const struct vaccel_plugin_host *host, const struct model_settings *settings, void (*wake)(void *opaque),
	      void *opaque, struct store **ret_store, struct error *error)
{
	struct store *store = calloc(1, sizeof(*store));

	if (!store)
		return error_set(error, -ENOMEM, "models: no memory");
	store->host = host;
	store->settings = settings;
	store->wake = wake;
	store->opaque = opaque;
	pthread_mutex_init(&store->lock, NULL);
	*ret_store = store;
	return 0;
}

void store_free(struct store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < store->n_entries; i++) {
		if (store->entries[i]->serves)
			store_put(store, store->entries[i]->serves);
		free(store->entries[i]);
	}
	store_reap(store);
	free(store->entries);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

void store_stop(struct store *store)
{
	__atomic_store_n(&store->stop, true, __ATOMIC_RELAXED);
}

/* ---- References ---- */

void store_put(struct store *store, struct model *model)
{
	bool last;

	pthread_mutex_lock(&store->lock);
	last = --model->n_refs == 0;
	if (last) {
		model->next_retired = store->retired;
		store->retired = model;
	}
	pthread_mutex_unlock(&store->lock);
	if (last && store->wake)
		store->wake(store->opaque);
}

void store_reap(struct store *store)
{
	struct model *model, *next;

	pthread_mutex_lock(&store->lock);
	model = store->retired;
	store->retired = NULL;
	pthread_mutex_unlock(&store->lock);
	for (; model; model = next) {
		next = model->next_retired;
		model_free(model);
	}
}

/* ---- Entries, by name ---- */

size_t store_place(const struct store *store, const char *name)
{
	size_t low = 0, high = store->n_entries;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(store->entries[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct entry *store_find(const struct store *store, const char *name)
{
	size_t at = store_place(store, name);

	return at < store->n_entries && !strcmp(store->entries[at]->name, name) ? store->entries[at] : NULL;
}

int store_get(struct store *store, const char name[VACCEL_MODEL_NAME], struct model **ret_model, struct error *error)
{
	char copy[VACCEL_MODEL_NAME + 1] = "";
	struct entry *entry;
	int r = -ENOENT;

	memcpy(copy, name, VACCEL_MODEL_NAME);
	pthread_mutex_lock(&store->lock);
	entry = store_find(store, copy);
	/* One that nobody has tried to load yet is not there yet. */
	if (entry && entry->serves) {
		entry->serves->n_refs++;
		*ret_model = entry->serves;
		r = 0;
	} else if (entry && entry->broken) {
		r = -EIO;
	}
	pthread_mutex_unlock(&store->lock);
	if (r == -ENOENT)
		return error_set(error, r, "there is no model '%s'", copy);
	return r < 0 ? error_set(error, r, "model %s: is installed but broken; the host's log says why", copy) : 0;
}

/* ---- Rows ---- */

void store_row(const struct model *model, struct vaccel_model_row *ret_row)
{
	struct vaccel_model_row row = {
		.flags = model->describe.image.given ? VACCEL_MODEL_CLASSIFIES : 0,
		.n_labels = (uint32_t)model->labels.n,
		.bytes = model->bytes,
	};

	snprintf(row.name, sizeof(row.name), "%s", model->name);
	snprintf(row.framework, sizeof(row.framework), "%s", model->describe.framework);
	memcpy(row.hash, model->hash, sizeof(row.hash));
	*ret_row = row;
}

static void fill_row(const struct entry *entry, struct vaccel_model_row *row)
{
	if (entry->serves) {
		store_row(entry->serves, row);
		row->flags |= entry->broken ? VACCEL_MODEL_OUTDATED : 0;
	} else {
		*row = (struct vaccel_model_row){ .flags = VACCEL_MODEL_BROKEN };
		snprintf(row->name, sizeof(row->name), "%s", entry->name);
	}
}

uint32_t store_rows(struct store *store, uint32_t first, struct vaccel_model_row *rows, uint32_t room,
		    struct vaccel_models *ret_models)
{
	uint32_t n_models = 0, n_rows = 0;

	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->n_entries; i++) {
		const struct entry *entry = store->entries[i];

		if (!entry->serves && !entry->broken)
			continue;
		if (n_models >= first && n_rows < room)
			fill_row(entry, &rows[n_rows++]);
		n_models++;
	}
	*ret_models = (struct vaccel_models){ .n_models = n_models, .n_rows = n_rows, .changes = store->n_changes };
	pthread_mutex_unlock(&store->lock);
	return n_rows;
}
