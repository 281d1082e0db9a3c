/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The models that there are: what the folder of models holds, by name.
 *
 * A name has a version that serves, or a cause why there is none (it is broken), or both: what is installed now is
 * broken, and the version before it goes on. Versions are counted by references; the store has one to each that serves.
 * The last reference may be dropped by any thread, but frameworks unload where they load: such versions wait in a list
 * for store_reap().
 *
 * Threads: store_get(), store_put() and store_rows() by any; everything else by one thread at a time, the keeper
 * (watch.c). The lock is held for moments only, never while files are read or frameworks work.
 *
 * What changes in the folder is noticed by looking at it (store_scan()): each model's files give a print, and one that
 * differs from the print that was last loaded is loaded when it has stayed the same for settle_ms. So a folder that is
 * still being copied waits, and it does not matter which changes the watch was told of.
 */
#ifndef VACCEL_MODEL_STORE_H
#define VACCEL_MODEL_STORE_H

#include "model/model.h"

struct store;

/*
 * host and settings have to outlive it. wake: called without locks when store_reap() has something to do; may be NULL.
 */
int store_new(const struct vaccel_plugin_host *host, const struct model_settings *settings, void (*wake)(void *opaque),
	      void *opaque, struct store **ret_store, struct error *error);
/* Nobody holds a reference any more. NULL is allowed. */
void store_free(struct store *store);

/*
 * Looks at the folder; loads, replaces and removes what has settled. at_once: everything is taken as it is (at the
 * start). folder: called with the absolute path of each folder before it is read, for the watch. Returns the time at
 * which it wants to look again (now_ns()), 0: not before something changes.
 */
uint64_t store_scan(struct store *store, bool at_once, void (*folder)(const char *path, void *opaque), void *opaque);
/* A scan that runs ends soon, without loading more. Any thread. */
void store_stop(struct store *store);
/* Unloads versions that nobody uses any more. */
void store_reap(struct store *store);

/*
 * The version that serves now; store_put() gives it back. name need not end with a NUL. -ENOENT: there is no such
 * model; -EIO: it is broken. Sentences are for guests: no paths.
 */
int store_get(struct store *store, const char name[VACCEL_MODEL_NAME], struct model **ret_model, struct error *error);
void store_put(struct store *store, struct model *model);

/* Rows of MODEL_LIST from first on, at most room. Returns how many were written. */
uint32_t store_rows(struct store *store, uint32_t first, struct vaccel_model_row *rows, uint32_t room,
		    struct vaccel_models *ret_models);
/* The row of one model, of this version. */
void store_row(const struct model *model, struct vaccel_model_row *ret_row);

#endif
