/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a SavedModel says of itself: the tensors of its signatures, and whether its graph may keep what it is fed. Both
 * read a MetaGraphDef, the message in saved_model.pb. Knows nothing of TensorFlow's library, so that it can be fuzzed.
 */
#ifndef VACCEL_PLUGIN_TENSORFLOW_SIGNATURE_H
#define VACCEL_PLUGIN_TENSORFLOW_SIGNATURE_H

#include <vaccel/plugin.h>
#include "proto.h"

enum { SIGNATURE_MAX_TENSORS = 256 }; /* in one direction */

/* An input or output. */
struct signature_tensor {
	char name[VACCEL_TENSOR_NAME]; /* that callers use */
	char *graph;		       /* its name in the graph: "node:0" */
	uint32_t dtype;
	uint32_t rank; /* UINT32_MAX: any */
	int64_t dims[VACCEL_MAX_RANK];
};

struct signature_list {
	struct signature_tensor *tensors;
	size_t n;
};

struct signature {
	struct signature_list inputs, outputs; /* each by name */
};

/* The signature called key, "" for "serving_default". -ENOENT, -EINVAL, -ENOTSUP, -E2BIG,
 * -ENOMEM. */
int signature_read(struct proto_bytes meta_graph, const char *key, struct signature *ret_signature,
		   const struct vaccel_plugin_report *report);
/* Adds a tensor with a checked name; takes over graph, also on failure. For models that have no signature. */
int signature_add(struct signature_list *list, struct proto_bytes name, char *graph,
		  struct signature_tensor **ret_tensor, const struct vaccel_plugin_report *report);
void signature_sort(struct signature *signature);
void signature_fini(struct signature *signature);

/* ---- keeps.c ---- */

/* Of what runs for the signature's outputs. */
struct graph_traits {
	/* A run may leave a reference to an input's memory behind, as a variable does that is assigned. Errs on the side of yes. */
	bool keeps;
	bool has_variables;
};

/* graph: a GraphDef; ops: an OpList, the operations that TensorFlow knows. -EINVAL: malformed, or no memory; keeps then. */
int graph_study(struct proto_bytes graph, struct proto_bytes ops, const struct signature *signature,
		struct graph_traits *ret_traits);

#endif
