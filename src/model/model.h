/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model that is loaded: one version of it, which never changes. Whoever uses it holds a reference (store.h), so that
 * a request ends on the version that it began with.
 */
#ifndef VACCEL_MODEL_MODEL_H
#define VACCEL_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/plugin.h>

#include "image/image.h"
#include "model/describe.h"
#include "model/labels.h"
#include "model/settings.h"
#include "model/tree.h"
#include "util/error.h"

/* A row of the signature. */
struct model_tensor {
	char name[VACCEL_TENSOR_NAME];
	uint32_t dtype;
	uint32_t rank; /* UINT32_MAX: any */
	int64_t dims[VACCEL_MAX_RANK];
};

struct model_tensors {
	struct model_tensor *rows;
	size_t n;
};

struct model {
	char name[VACCEL_MODEL_NAME];
	uint64_t version; /* no other one has it, whatever its name */
	struct describe describe;
	const struct vaccel_plugin_framework *framework;
	void *handle; /* the framework's */
	struct model_tensors inputs, outputs;
	struct labels labels;
	uint64_t bytes; /* of its files */
	uint8_t hash[TREE_HASH];
	/* Of pictures; with describe.image.given alone. */
	struct image_rule rule;
	size_t input, output; /* rows of the signature */

	uint32_t n_refs; /* under the store's lock */
	struct model *next_retired;
};

/* Where models and their parts come from. */
struct model_source {
	const struct vaccel_plugin_host *host;
	const struct model_settings *settings;
	const bool *stop;     /* set: do not bother to finish */
	const uint8_t *known; /* NULL, or the hash of the version that serves */
};

/*
 * Loads the model name from its folder, open as dir and found at path, whose files are those of tree. The reference is
 * the caller's. -ECANCELED: *stop; -EALREADY: these are the files of the version that is known. One thread at a time,
 * as frameworks want it.
 */
int model_load(const struct model_source *source, const char *name, int dir, const char *path, const struct tree *tree,
	       struct model **ret_model, struct error *error);
/* Unloads it, as well in the thread that loads. NULL is allowed. */
void model_free(struct model *model);

/* NULL: there is none. */
const struct model_tensor *model_tensor_find(const struct model_tensors *tensors, const char *name);
/* "float32[?, 28, 28, 1]" */
void model_tensor_text(uint32_t dtype, uint32_t rank, const int64_t *dims, char *ret_text, size_t len);
/*
 * Whether every input and output has a first dimension that may be anything, which is what requests are put together
 * along.
 */
bool model_can_batch(const struct model *model);

/* Logs a line through the host. */
__attribute__((format(printf, 3, 4))) void model_log(const struct vaccel_plugin_host *host, int priority,
						     const char *format, ...);

#endif
