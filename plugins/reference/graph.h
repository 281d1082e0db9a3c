/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framework reference: a few fixed graphs in portable C, so that everything about models can be tried without a real
 * framework. Between framework.c (loading, names, running) and the files with the graphs.
 *
 * A graph is a row of a table: what its keys make of the signature, and what it computes. A loaded model never changes,
 * so it runs in any number of threads.
 */
#ifndef VACCEL_PLUGIN_REFERENCE_GRAPH_H
#define VACCEL_PLUGIN_REFERENCE_GRAPH_H

#include <vaccel/plugin.h>

#define GRAPH_TENSORS 2 /* inputs or outputs, at most */

struct graph_tensor {
	const char *name; /* NULL: there is none */
	uint32_t dtype;
	uint32_t rank; /* UINT32_MAX: any */
	int64_t dims[VACCEL_MAX_RANK];
};

struct graph_model {
	const struct graph *graph;
	/* The keys of the description, whatever the graph makes of them. */
	uint32_t height, width, channels, hidden, classes, seed, delay_ms, dtype;

	struct graph_tensor inputs[GRAPH_TENSORS], outputs[GRAPH_TENSORS];
	float *weights; /* of dense alone */
	char path[256]; /* of the model, for a sentence */
};

struct graph {
	const char *name;
	/* Fills the signature and what the graph needs. */
	int (*setup)(struct graph_model *model, const struct vaccel_plugin_report *report);
	/* Computes, and emits the outputs that were asked for. */
	int (*run)(const struct graph_model *model, const struct vaccel_plugin_run *run);
};

extern const struct graph graph_dense, graph_echo, graph_add, graph_strings, graph_fail, graph_picky, graph_slow;

/* An input of the run, which is there; and the place of an output among those asked for, -1 if it is not. */
const struct vaccel_plugin_tensor *graph_input(const struct vaccel_plugin_run *run, const char *name);
int graph_output(const struct vaccel_plugin_run *run, const char *name);
/* Emits an output if it was asked for. */
int graph_emit(const struct vaccel_plugin_run *run, const char *name, const struct vaccel_plugin_tensor *like,
	       const void *data, size_t len);
size_t graph_count(const struct vaccel_plugin_tensor *tensor);

extern const struct vaccel_plugin_framework reference_framework;

#endif
