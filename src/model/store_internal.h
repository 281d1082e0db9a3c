/* SPDX-License-Identifier: Apache-2.0 */
/* Between store.c and scan.c. */
#ifndef VACCEL_MODEL_STORE_INTERNAL_H
#define VACCEL_MODEL_STORE_INTERNAL_H

#include <pthread.h>

#include "model/store.h"
#include "util/util.h"

/* A name in the folder. Written by the keeper: what others read (serves, broken) under the lock. */
struct entry {
	char name[VACCEL_MODEL_NAME];
	struct model *serves; /* NULL: none */
	bool broken;	      /* what is installed now is not what serves, and cannot */

	/* The keeper's own. */
	uint8_t print[TREE_HASH]; /* of what was last seen in the folder, */
	uint64_t since_ns;	  /* for how long, 0: never looked at */
	bool pending;		  /* it has not been loaded */
	bool present;		  /* the last scan saw it; if not: since since_ns */
	uint64_t scan;		  /* that saw it last */
	uint64_t retry_ns;	  /* after an error that may pass: time to the next attempt; 0: there was none */
};

struct store {
	const struct vaccel_plugin_host *host;
	const struct model_settings *settings;
	void (*wake)(void *opaque);
	void *opaque;
	bool stop; /* atomic */

	pthread_mutex_t lock; /* what follows; only the keeper changes entries */
	struct entry **entries;
	size_t n_entries;
	struct model *retired;
	uint64_t n_changes;

	/* The keeper's own. */
	uint64_t n_versions, n_scans;
	int folder_error; /* said already; 0: the folder can be read */
	bool too_many;	  /* said already */
};

/* Where name is, or would be. */
size_t store_place(const struct store *store, const char *name);
struct entry *store_find(const struct store *store, const char *name);

#endif
