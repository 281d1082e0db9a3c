/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights that tenants share. The variables of a SavedModel are put into a file, once, by vaccel-tensorflow-share; daemons map
 * that file read-only and hand its pages to TensorFlow as the variables' values, so that the machine holds them once however
 * many daemons there are. The file lies in the SavedModel's folder, in the place of variables/: without that TensorFlow restores
 * nothing when it loads the model. (Restored first and replaced then, the memory would stay with TensorFlow's allocator.)
 *
 * The file: a struct weights_head, its rows, then the elements of each row at multiples of 64. All numbers little-endian.
 */
#ifndef VACCEL_PLUGIN_TENSORFLOW_WEIGHTS_H
#define VACCEL_PLUGIN_TENSORFLOW_WEIGHTS_H

#include <stdint.h>
#include "tensorflow.h"

#define WEIGHTS_FILE  "weights.vaccel"
#define WEIGHTS_MAGIC "vAccelW1"

enum { WEIGHTS_ALIGN = 64, WEIGHTS_MAX_ROWS = 1 << 16, WEIGHTS_NAME = 512 };

struct weights_head {
	char magic[8];
	uint32_t n_rows;
	uint32_t reserved;
	uint64_t size; /* of the whole file */
};

struct weights_row {
	char node[WEIGHTS_NAME]; /* of the operation that gives the variable; ends with a NUL */
	uint32_t dtype;
	uint32_t rank;
	int64_t dims[VACCEL_MAX_RANK];
	uint64_t offset; /* in the file */
	uint64_t len;
};

/* Where the file of a SavedModel in folder would be. false: the name is too long. */
bool weights_path(const char *folder, char *path, size_t size);
/* Maps the file at path and makes its rows the values of the model's variables. */
int weights_share(struct tf_model *model, const char *path, const struct vaccel_plugin_report *report);
/* Checks a mapping of the file. -EINVAL. */
int weights_check(const void *data, size_t len, const struct vaccel_plugin_report *report);

/* An operation on the variable of node, "VERB_INDEX", with the value as second input if it has one. NULL: status says why. */
TF_Operation *weights_operation(TF_Graph *graph, const char *type, size_t index, TF_Operation *node,
				const TF_Output *value, TF_Status *status);

#endif
