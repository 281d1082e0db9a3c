/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a graph does besides computing: does it keep what it is fed, and does it read variables? See signature.h.
 *
 * An input that is used in place is the caller's memory, which goes away after the run, and may be written to by a guest at
 * any time. TensorFlow shares memory of tensors by reference: assigning an input to a variable makes the variable that
 * memory. What keeps things from run to run is an operation with state, and TensorFlow's list of operations says which are
 * such (or have an argument that refers to state). So of the nodes that the outputs depend on, and of all functions that
 * those call, every operation with state has to be one of the harmless ones below. Nodes that serve to save and restore
 * variables are in the graph of every SavedModel, but no output depends on them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "signature.h"

enum {
	GRAPH_NODE = 1,
	GRAPH_LIBRARY = 2,
	LIBRARY_FUNCTION = 1,
	FUNCTION_SIGNATURE = 1,
	FUNCTION_NODE = 3,
	NODE_NAME = 1,
	NODE_OP = 2,
	NODE_INPUT = 3,
	NODE_ATTR = 5,
	MAP_VALUE = 2,
	VALUE_LIST = 1,
	VALUE_FUNCTION = 10,
	LIST_FUNCTION = 9,
	FUNCTION_NAME = 1,
	FUNCTION_ATTR = 2,
	OPS_OP = 1,
	OP_NAME = 1,
	OP_INPUT = 2,
	OP_STATEFUL = 17,
	INPUT_TYPE = 3,
	INPUT_REF = 16,
	TYPE_RESOURCE = 20,
};

/* Operations with state that do not keep the tensors that they are given. Functions that they call are looked at. */
static const char *const harmless[] = {
	"Assert",
	"Case",
	"HashTableV2",
	"If",
	"LookupTableFindV2",
	"LookupTableSizeV2",
	"Multinomial",
	"ParameterizedTruncatedNormal",
	"PartitionedCall",
	"Print",
	"PrintV2",
	"RandomGamma",
	"RandomPoissonV2",
	"RandomShuffle",
	"RandomStandardNormal",
	"RandomUniform",
	"RandomUniformInt",
	"ReadVariableOp",
	"ResourceGather",
	"ResourceGatherNd",
	"StatefulPartitionedCall",
	"Timestamp",
	"TruncatedNormal",
	"VarHandleOp",
	"VarIsInitializedOp",
	"VariableShape",
	"While",
};

/* Something with a name: a node of the graph, a function, or an operation. */
struct named {
	struct proto_bytes name;
	struct proto_bytes message;
	bool reached;
};

struct table {
	struct named *rows;
	size_t n;
};

struct search {
	struct table nodes, functions, ops;
	struct named **open; /* reached, and not looked at yet */
	size_t n_open;
	bool keeps;
	bool has_variables;
	bool bad; /* malformed */
};

static int compare(struct proto_bytes a, struct proto_bytes b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return a.len ? memcmp(a.data, b.data, a.len) : 0;
}

static int compare_rows(const void *a, const void *b)
{
	return compare(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static struct proto_bytes find_bytes(struct proto_bytes message, uint32_t number)
{
	struct proto_field field = { 0 };

	return proto_find(message, number, PROTO_BYTES, &field) ? field.bytes : (struct proto_bytes){ 0 };
}

static struct proto_bytes name_of_function(struct proto_bytes message)
{
	return find_bytes(find_bytes(message, FUNCTION_SIGNATURE), OP_NAME);
}

static struct proto_bytes name_of_node(struct proto_bytes message)
{
	return find_bytes(message, NODE_NAME);
}

/* All messages of that number in a message, by name. false: malformed, or no memory. */
static bool table_init(struct table *table, struct proto_bytes message, uint32_t number,
		       struct proto_bytes (*name)(struct proto_bytes message))
{
	struct proto p = proto_init(message);
	struct proto_bytes row;
	size_t n = 0;

	while (proto_next_bytes(&p, number, &row))
		n++;
	if (p.bad)
		return false;
	table->rows = calloc(n ? n : 1, sizeof(*table->rows));
	if (!table->rows)
		return false;
	p = proto_init(message);
	while (table->n < n && proto_next_bytes(&p, number, &row))
		table->rows[table->n++] = (struct named){ .name = name(row), .message = row };
	qsort(table->rows, table->n, sizeof(*table->rows), compare_rows);
	return true;
}

static struct named *table_find(const struct table *table, struct proto_bytes name)
{
	const struct named key = { .name = name };

	return table->n ? bsearch(&key, table->rows, table->n, sizeof(key), compare_rows) : NULL;
}

static void reach(struct search *s, struct named *row)
{
	if (!row || row->reached)
		return;
	row->reached = true;
	s->open[s->n_open++] = row;
}

/* "^node" and "node:1" are node. */
static void reach_node(struct search *s, struct proto_bytes input)
{
	const uint8_t *colon;
	struct named *row;

	if (input.len && *input.data == '^') {
		input.data++;
		input.len--;
	}
	colon = input.len ? memchr(input.data, ':', input.len) : NULL;
	if (colon)
		input.len = (size_t)(colon - input.data);
	row = table_find(&s->nodes, input);
	s->keeps |= !row;
	reach(s, row);
}

static bool is_harmless(struct proto_bytes op)
{
	size_t i;

	for (i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (proto_equal(op, harmless[i]))
			return true;
	return false;
}

/* Has state, or an argument that refers to state. */
static bool has_state(struct proto_bytes op)
{
	struct proto p = proto_init(op);
	struct proto_field field, type;

	while (proto_next(&p, &field)) {
		if (field.number == OP_STATEFUL && field.type == PROTO_VARINT && field.value)
			return true;
		if (field.number != OP_INPUT || field.type != PROTO_BYTES)
			continue;
		if (proto_find(field.bytes, INPUT_TYPE, PROTO_VARINT, &type) && type.value == TYPE_RESOURCE)
			return true;
		if (proto_find(field.bytes, INPUT_REF, PROTO_VARINT, &type) && type.value)
			return true;
	}
	return p.bad;
}

static void look_at_op(struct search *s, struct proto_bytes op)
{
	struct named *function = table_find(&s->functions, op);
	struct named *known = table_find(&s->ops, op);

	s->has_variables |= proto_equal(op, "VarHandleOp") || proto_equal(op, "VariableV2");
	if (function)
		reach(s, function);
	else if (!known || (!is_harmless(op) && has_state(known->message)))
		s->keeps = true;
}

static void reach_function(struct search *s, struct proto_bytes attr_function)
{
	struct named *function = table_find(&s->functions, find_bytes(attr_function, FUNCTION_NAME));
	struct proto_field field;

	/* Attributes of its own could name further functions; nobody makes such graphs any more. */
	s->keeps |= !function || proto_find(attr_function, FUNCTION_ATTR, PROTO_BYTES, &field);
	reach(s, function);
}

/* Functions that a node's attributes name: what it calls. */
static void look_at_attr(struct search *s, struct proto_bytes entry)
{
	struct proto_bytes value = find_bytes(entry, MAP_VALUE), function;
	struct proto p = proto_init(value), list;
	struct proto_field field;

	while (proto_next(&p, &field)) {
		if (field.type != PROTO_BYTES)
			continue;
		if (field.number == VALUE_FUNCTION)
			reach_function(s, field.bytes);
		if (field.number != VALUE_LIST)
			continue;
		list = proto_init(field.bytes);
		while (proto_next_bytes(&list, LIST_FUNCTION, &function))
			reach_function(s, function);
		s->bad |= list.bad;
	}
	s->bad |= p.bad;
}

static void look_at_node(struct search *s, struct proto_bytes node, bool in_function)
{
	struct proto p = proto_init(node);
	struct proto_field field;

	while (!s->bad && proto_next(&p, &field)) {
		if (field.type != PROTO_BYTES)
			continue;
		if (field.number == NODE_OP)
			look_at_op(s, field.bytes);
		else if (field.number == NODE_INPUT && !in_function)
			reach_node(s, field.bytes);
		else if (field.number == NODE_ATTR)
			look_at_attr(s, field.bytes);
	}
	s->bad |= p.bad;
}

/* All of a function's nodes: which of them run is its own affair. */
static void look_at_function(struct search *s, struct proto_bytes function)
{
	struct proto p = proto_init(function);
	struct proto_bytes node;

	while (!s->bad && proto_next_bytes(&p, FUNCTION_NODE, &node))
		look_at_node(s, node, true);
	s->bad |= p.bad;
}

static bool is_row_of(const struct table *table, const struct named *row)
{
	return row >= table->rows && row < table->rows + table->n;
}

static bool search_init(struct search *s, struct proto_bytes graph, struct proto_bytes ops)
{
	struct proto_bytes library = find_bytes(graph, GRAPH_LIBRARY);

	if (!table_init(&s->nodes, graph, GRAPH_NODE, name_of_node) ||
	    !table_init(&s->functions, library, LIBRARY_FUNCTION, name_of_function) ||
	    !table_init(&s->ops, ops, OPS_OP, name_of_node))
		return false;
	s->open = calloc(s->nodes.n + s->functions.n + 1, sizeof(struct named *));
	return s->open != NULL;
}

int graph_study(struct proto_bytes graph, struct proto_bytes ops, const struct signature *signature,
		struct graph_traits *ret_traits)
{
	struct search s = { 0 };
	size_t i;

	s.bad = !search_init(&s, graph, ops);
	for (i = 0; i < signature->outputs.n && !s.bad; i++) {
		const char *name = signature->outputs.tensors[i].graph;

		reach_node(&s, (struct proto_bytes){ .data = (const uint8_t *)name, .len = strlen(name) });
	}
	while (s.n_open && !s.bad) {
		const struct named *row = s.open[--s.n_open];

		if (is_row_of(&s.nodes, row))
			look_at_node(&s, row->message, false);
		else
			look_at_function(&s, row->message);
	}
	free(s.nodes.rows);
	free(s.functions.rows);
	free(s.ops.rows);
	free(s.open);
	*ret_traits = (struct graph_traits){ .keeps = s.keeps || s.bad, .has_variables = s.has_variables };
	return s.bad ? -EINVAL : 0;
}
