/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plugin models with the framework of the plugin reference and a folder of models of the test's own, without engine and
 * daemon. The modules are $VACCEL_MODELS_SO and $VACCEL_REFERENCE_SO. What a rig does wrong itself ends the test program.
 */
#ifndef TESTS_MODEL_RIG_H
#define TESTS_MODEL_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/plugin.h>

#include "harness.h"

#define RIG_ERROR 192

struct rig {
	char folder[64]; /* the test's */
	char models[80]; /* of models, in it */
	struct harness reference, plugin;
	struct vaccel_plugin_host host;
	struct vaccel_plugin_framework framework; /* of the plugin reference, but for how often loading fails */
	unsigned int n_failing;			  /* loads that fail with -ENOMEM; atomic */
	void (*on_load)(struct rig *rig);	  /* called once, when a model is loaded next, and set to NULL */
	unsigned int n_begun;			  /* runs, those that have ended too; atomic */
};

/* An input, or an output: data and room before, the rest afterwards. */
struct rig_tensor {
	const char *name;
	uint32_t dtype, rank;
	int64_t dims[VACCEL_MAX_RANK];
	void *data;
	size_t len; /* bytes of data; of an output, the room; then what it needs */
};

/* An empty folder of models; then the plugins. keys: "key=value"..., NULL; may be NULL. */
void rig_make(struct rig *rig);
int rig_start(struct rig *rig, char *const *keys);
/* Stops the plugins, and removes everything. */
void rig_stop(struct rig *rig);

/* Writes a file of the folder of models, making folders on its way. */
void rig_put(struct rig *rig, const char *path, const void *data, size_t len);
void rig_text(struct rig *rig, const char *path, const char *text);
/* PATH/model.conf for the framework reference; more: the rest of it. */
void rig_model(struct rig *rig, const char *path, const char *graph, const char *more);
void rig_rename(struct rig *rig, const char *from, const char *to);
/* Both at once change places. */
void rig_exchange(struct rig *rig, const char *one, const char *other);
void rig_link(struct rig *rig, const char *target, const char *path);
void rig_remove(struct rig *rig, const char *path);

/* All rows of MODEL_LIST; false: that name is not listed. */
bool rig_row(struct rig *rig, const char *name, struct vaccel_model_row *ret_row);
/* The counter of MODEL_LIST. */
uint64_t rig_changes(struct rig *rig);
/* Waits until the name is listed with these flags (outdated or broken), and with another hash than not, which may be NULL. */
bool rig_wait(struct rig *rig, const char *name, uint32_t flags, const uint8_t * not );
bool rig_wait_gone(struct rig *rig, const char *name);
/* Whether a line of the log has all of this. Lines that came before rig_start() returned, too. */
bool rig_logged(const char *text);
/* Waits for it. */
bool rig_wait_logged(const char *text);

/* Operations. error: of RIG_ERROR bytes, "" on success. */
int rig_run(struct rig *rig, uint32_t op, const void *params, size_t params_len, const struct vaccel_plugin_arg *args,
	    size_t n_args, uint64_t *copied, char *error);
int rig_classify(struct rig *rig, const char *model, const void *picture, size_t len, uint32_t k,
		 struct vaccel_classified *ret_answer, struct vaccel_label *ret_labels, char *error);
int rig_infer(struct rig *rig, const char *model, const struct rig_tensor *inputs, uint32_t n_inputs,
	      struct rig_tensor *outputs, uint32_t n_outputs, uint64_t *copied, char *error);

/* A request of INFER that can be handed to run_batch. */
struct rig_infer {
	struct vaccel_infer params;
	struct vaccel_tensor_desc descs[VACCEL_MAX_TENSORS], answers[VACCEL_MAX_TENSORS];
	struct vaccel_plugin_arg args[2 + VACCEL_MAX_TENSORS];
	struct vaccel_plugin_call call;
	uint64_t copied;
	char error[RIG_ERROR];
};
void rig_infer_make(struct rig_infer *infer, const char *model, const struct rig_tensor *inputs, uint32_t n_inputs,
		    const struct rig_tensor *outputs, uint32_t n_outputs);

/* A PNG of 8 bits, channels 1 or 3, whose pixels depend on seed; malloc'ed. */
void *rig_png(uint32_t width, uint32_t height, uint32_t channels, uint32_t seed, size_t *ret_len);

#endif
