/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations, each in a file of its own. Plugin calls come checked by the op table (src/op/model.c): names end,
 * counts are in their ranges, arguments hold what the parameters say.
 */
#ifndef VACCEL_MODEL_SERVE_H
#define VACCEL_MODEL_SERVE_H

#include "model/store.h"

/* What the operations work on: of the plugin, from ready() to unload(). */
struct serve {
	const struct vaccel_plugin_host *host;
	struct model_settings settings;
	struct store *store;
};

int classify_run(const struct serve *serve, const struct vaccel_plugin_call *call);
int infer_run(const struct serve *serve, const struct vaccel_plugin_call *call);
int model_list_run(const struct serve *serve, const struct vaccel_plugin_call *call);
int model_info_run(const struct serve *serve, const struct vaccel_plugin_call *call);

/*
 * Requests of one model, n at least 2. results[i] is what the op would have returned; it is 1 where nobody has tried
 * yet.
 */
#define SERVE_OPEN 1
void classify_run_many(const struct serve *serve, struct model *model, const struct vaccel_plugin_call *const *calls,
		       int *results, size_t n);
void infer_run_many(const struct serve *serve, struct model *model, const struct vaccel_plugin_call *const *calls,
		    int *results, size_t n);

/* See struct vaccel_plugin. */
void batch_key(const struct serve *serve, const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch);
void batch_run(const struct serve *serve, const struct vaccel_plugin_call *const *calls, int *results, size_t n);

/*
 * The end of a request that failed: its sentence goes to the caller. -EOPNOTSUPP would be taken for another plugin's
 * turn.
 */
int serve_failed(const struct vaccel_plugin_call *call, int r, const struct error *error);

#endif
