/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: the thread that looks at the folder of models when something changes there, loads and unloads. So no
 * request ever waits for that.
 */
#ifndef VACCEL_MODEL_WATCH_H
#define VACCEL_MODEL_WATCH_H

#include "model/store.h"

struct watch;

/* Makes a store of the models that are there now, and keeps it. host and settings have to outlive it. */
int watch_new(const struct vaccel_plugin_host *host, const struct model_settings *settings, struct watch **ret_watch,
	      struct error *error);
/* Ends the thread and unloads all models, which nobody uses any more. NULL is allowed. */
void watch_free(struct watch *watch);

struct store *watch_store(struct watch *watch);

#endif
