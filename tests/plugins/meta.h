/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of SavedModels, put together by hand for the tests and fuzzers of plugins/tensorflow/signature.h: only the fields that
 * it reads.
 */
#ifndef TESTS_PLUGINS_META_H
#define TESTS_PLUGINS_META_H

#include <string.h>
#include "proto.h"

/* A message in the making. */
struct meta {
	uint8_t bytes[4096];
	size_t len;
};

static inline void meta_varint(struct meta *m, uint32_t number, uint64_t value)
{
	struct proto_writer w = { .data = m->bytes, .size = sizeof(m->bytes), .len = m->len };

	proto_put_varint(&w, number, value);
	m->len = w.len;
}

static inline void meta_bytes(struct meta *m, uint32_t number, const void *data, size_t len)
{
	struct proto_writer w = { .data = m->bytes, .size = sizeof(m->bytes), .len = m->len };

	proto_put_bytes(&w, number, data, len);
	m->len = w.len;
}

static inline void meta_text(struct meta *m, uint32_t number, const char *text)
{
	meta_bytes(m, number, text, strlen(text));
}

static inline void meta_message(struct meta *m, uint32_t number, const struct meta *inner)
{
	meta_bytes(m, number, inner->bytes, inner->len);
}

/* A pair of a map. */
static inline void meta_pair(struct meta *m, uint32_t number, const char *key, const struct meta *value)
{
	struct meta pair = { .len = 0 };

	meta_text(&pair, 1, key);
	meta_message(&pair, 2, value);
	meta_message(m, number, &pair);
}

/* A TensorInfo in a SignatureDef: number 1 an input, 2 an output. rank below 0: any. */
static inline void meta_tensor(struct meta *signature, uint32_t number, const char *name, const char *graph, int rank,
			       const int64_t *dims)
{
	struct meta info = { .len = 0 }, shape = { .len = 0 };

	for (int i = 0; i < rank; i++) {
		struct meta dim = { .len = 0 };

		meta_varint(&dim, 1, (uint64_t)dims[i]);
		meta_message(&shape, 2, &dim);
	}
	if (rank < 0)
		meta_varint(&shape, 3, 1);
	meta_text(&info, 1, graph);
	meta_varint(&info, 2, 1);
	meta_message(&info, 3, &shape);
	meta_pair(signature, number, name, &info);
}

/* A NodeDef in a GraphDef (number 1) or a FunctionDef (3). input, function: NULL: none. */
static inline void meta_node(struct meta *graph, uint32_t number, const char *name, const char *op, const char *input,
			     const char *function)
{
	struct meta node = { .len = 0 }, value = { .len = 0 }, called = { .len = 0 };

	meta_text(&node, 1, name);
	meta_text(&node, 2, op);
	if (input)
		meta_text(&node, 3, input);
	if (function) {
		meta_text(&called, 1, function);
		meta_message(&value, 10, &called);
		meta_pair(&node, 5, "f", &value);
	}
	meta_message(graph, number, &node);
}

/* A function with one node, in a FunctionDefLibrary. */
static inline void meta_function(struct meta *library, const char *name, const char *op, const char *calls)
{
	struct meta function = { .len = 0 }, signature = { .len = 0 };

	meta_text(&signature, 1, name);
	meta_message(&function, 1, &signature);
	meta_node(&function, 3, "node", op, NULL, calls);
	meta_message(library, 1, &function);
}

/* An OpDef in an OpList. */
static inline void meta_op(struct meta *ops, const char *name, int stateful, int resource)
{
	struct meta op = { .len = 0 }, arg = { .len = 0 };

	meta_text(&op, 1, name);
	if (resource) {
		meta_varint(&arg, 3, 20);
		meta_message(&op, 2, &arg);
	}
	if (stateful)
		meta_varint(&op, 17, 1);
	meta_message(ops, 1, &op);
}

static inline void meta_usual_ops(struct meta *ops)
{
	meta_op(ops, "Placeholder", 0, 0);
	meta_op(ops, "Identity", 0, 0);
	meta_op(ops, "StatefulPartitionedCall", 1, 0);
	meta_op(ops, "VarHandleOp", 1, 0);
	meta_op(ops, "AssignVariableOp", 1, 1);
	meta_op(ops, "Peek", 0, 1);
}

#endif
