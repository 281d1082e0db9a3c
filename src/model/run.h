/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a model in its framework. */
#ifndef VACCEL_MODEL_RUN_H
#define VACCEL_MODEL_RUN_H

#include "model/model.h"

struct run {
	const struct model *model;
	const struct vaccel_plugin_host *host;
	const struct vaccel_plugin_tensor *inputs;
	size_t n_inputs;
	const char *const *outputs; /* names, VACCEL_MAX_TENSORS at most */
	size_t n_outputs;
	/* Each output once, in any order: a tensor in the framework's memory, whose shape fits its length. */
	int (*take)(void *opaque, size_t output, const struct vaccel_plugin_tensor *tensor, struct error *error);
	void *opaque;
	uint64_t *copied; /* may be NULL */
};

/*
 * -EINVAL: the framework does not like the inputs; -EIO: it failed; or what take() returned. Sentences have no host
 * paths.
 */
int run_model(const struct run *run, struct error *error);

/* A sentence for a guest: the folder of models is not its business. */
void run_hide_paths(const struct vaccel_plugin_host *host, char *text);

#endif
