/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of a SavedModel. See signature.h. Numbers of fields are those of meta_graph.proto and tensor_shape.proto; maps
 * are lists of pairs in no particular order, so tensors are sorted by name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "signature.h"

enum {
	META_GRAPH_SIGNATURES = 5,
	MAP_KEY = 1,
	MAP_VALUE = 2,
	SIGNATURE_INPUTS = 1,
	SIGNATURE_OUTPUTS = 2,
	TENSOR_NAME = 1,
	TENSOR_DTYPE = 2,
	TENSOR_SHAPE = 3,
	SHAPE_DIM = 2,
	SHAPE_UNKNOWN_RANK = 3,
	DIM_SIZE = 1,
};

static int error_malformed(const struct vaccel_plugin_report *report, const char *what)
{
	return vaccel_plugin_error(report, -EINVAL, "%s is malformed", what);
}

/* Of a pair of a map; what is absent is empty. */
static void pair(struct proto_bytes entry, struct proto_bytes *ret_key, struct proto_bytes *ret_value)
{
	struct proto_field field = { 0 };

	*ret_key = proto_find(entry, MAP_KEY, PROTO_BYTES, &field) ? field.bytes : (struct proto_bytes){ 0 };
	*ret_value = proto_find(entry, MAP_VALUE, PROTO_BYTES, &field) ? field.bytes : (struct proto_bytes){ 0 };
}

int signature_add(struct signature_list *list, struct proto_bytes name, char *graph,
		  struct signature_tensor **ret_tensor, const struct vaccel_plugin_report *report)
{
	struct signature_tensor *more;
	int r = 0;

	if (!name.len || name.len >= VACCEL_TENSOR_NAME || memchr(name.data, 0, name.len))
		r = vaccel_plugin_error(
			report, -EINVAL, "the name of a tensor, '%.*s', does not have 1 to %d characters",
			(int)(name.len < 200 ? name.len : 200), (const char *)name.data, VACCEL_TENSOR_NAME - 1);
	else if (list->n == SIGNATURE_MAX_TENSORS)
		r = vaccel_plugin_error(report, -E2BIG, "more than %d inputs or outputs", SIGNATURE_MAX_TENSORS);
	more = r || !graph ? NULL : realloc(list->tensors, (list->n + 1) * sizeof(*more));
	if (!more) {
		free(graph);
		return r ? r : vaccel_plugin_error(report, -ENOMEM, "no memory for a signature");
	}
	list->tensors = more;
	more += list->n++;
	*more = (struct signature_tensor){ .graph = graph, .rank = UINT32_MAX };
	memcpy(more->name, name.data, name.len);
	*ret_tensor = more;
	return 0;
}

static int read_shape(struct proto_bytes shape, struct signature_tensor *t, const struct vaccel_plugin_report *report)
{
	struct proto p = proto_init(shape);
	struct proto_field field, size;

	t->rank = 0;
	while (proto_next(&p, &field)) {
		if (field.number == SHAPE_UNKNOWN_RANK && field.type == PROTO_VARINT && field.value) {
			t->rank = UINT32_MAX;
			return 0;
		}
		if (field.number != SHAPE_DIM || field.type != PROTO_BYTES)
			continue;
		if (t->rank == VACCEL_MAX_RANK)
			return vaccel_plugin_error(report, -ENOTSUP, "tensor '%s' has more than %d dimensions", t->name,
						   VACCEL_MAX_RANK);
		t->dims[t->rank] = 0;
		if (proto_find(field.bytes, DIM_SIZE, PROTO_VARINT, &size))
			t->dims[t->rank] = (int64_t)size.value;
		if (t->dims[t->rank] < -1)
			return error_malformed(report, "the shape of a tensor");
		t->rank++;
	}
	return p.bad ? error_malformed(report, "the shape of a tensor") : 0;
}

static int read_tensor(struct proto_bytes entry, struct signature_list *list, const struct vaccel_plugin_report *report)
{
	struct proto_bytes name, info;
	struct proto_field field;
	struct signature_tensor *t = NULL;
	int r;

	pair(entry, &name, &info);
	if (!proto_find(info, TENSOR_NAME, PROTO_BYTES, &field) || !field.bytes.len)
		return vaccel_plugin_error(
			report, -ENOTSUP, "tensor '%.*s' is sparse or made of several, or its description is malformed",
			(int)(name.len < 200 ? name.len : 200), name.len ? (const char *)name.data : "");
	r = signature_add(list, name, strndup((const char *)field.bytes.data, field.bytes.len), &t, report);
	if (r < 0)
		return r;
	if (proto_find(info, TENSOR_DTYPE, PROTO_VARINT, &field) && field.value < UINT32_MAX)
		t->dtype = (uint32_t)field.value;
	/* A tensor without a shape may have any. */
	return proto_find(info, TENSOR_SHAPE, PROTO_BYTES, &field) ? read_shape(field.bytes, t, report) : 0;
}

static int read_signature(struct proto_bytes message, struct signature *s, const struct vaccel_plugin_report *report)
{
	struct proto p = proto_init(message);
	struct proto_field field;
	int r = 0;

	while (!r && proto_next(&p, &field)) {
		if (field.type != PROTO_BYTES)
			continue;
		if (field.number == SIGNATURE_INPUTS)
			r = read_tensor(field.bytes, &s->inputs, report);
		else if (field.number == SIGNATURE_OUTPUTS)
			r = read_tensor(field.bytes, &s->outputs, report);
	}
	return !r && p.bad ? error_malformed(report, "a signature") : r;
}

/* "a", "b": what there is instead. Names that begin with __ are TensorFlow's own. */
static void list_names(struct proto_bytes meta_graph, char *text, size_t size)
{
	struct proto p = proto_init(meta_graph);
	struct proto_bytes entry, name, message;
	struct proto_field field;
	size_t used = 0;

	*text = '\0';
	while (used < size && proto_next_bytes(&p, META_GRAPH_SIGNATURES, &entry)) {
		pair(entry, &name, &message);
		if (proto_find(message, SIGNATURE_OUTPUTS, PROTO_BYTES, &field) && name.len < 64 &&
		    !(name.len > 2 && !memcmp(name.data, "__", 2)))
			used += (size_t)snprintf(text + used, size - used, "%s'%.*s'", used ? ", " : "", (int)name.len,
						 name.len ? (const char *)name.data : "");
	}
}

static int error_no_signature(struct proto_bytes meta_graph, const char *key, const struct vaccel_plugin_report *report)
{
	char names[256];

	list_names(meta_graph, names, sizeof(names));
	return vaccel_plugin_error(report, -ENOENT, "it has no signature '%s'; there %s", key,
				   *names ? names : "is none");
}

static bool find_signature(struct proto_bytes meta_graph, const char *key, struct proto_bytes *ret_message)
{
	struct proto p = proto_init(meta_graph);
	struct proto_bytes entry, name, message;
	bool found = false;

	while (proto_next_bytes(&p, META_GRAPH_SIGNATURES, &entry)) {
		pair(entry, &name, &message);
		if (!proto_equal(name, key))
			continue;
		*ret_message = message;
		found = true;
	}
	return found && !p.bad;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct signature_tensor *)a)->name, ((const struct signature_tensor *)b)->name);
}

static void sort(struct signature_list *list)
{
	if (list->n)
		qsort(list->tensors, list->n, sizeof(*list->tensors), by_name);
}

void signature_sort(struct signature *s)
{
	sort(&s->inputs);
	sort(&s->outputs);
}

int signature_read(struct proto_bytes meta_graph, const char *key, struct signature *ret_signature,
		   const struct vaccel_plugin_report *report)
{
	struct signature s = { 0 };
	struct proto_bytes message = { 0 };
	int r;

	if (!*key)
		key = "serving_default";
	if (!find_signature(meta_graph, key, &message))
		return error_no_signature(meta_graph, key, report);
	r = read_signature(message, &s, report);
	if (!r && !s.outputs.n)
		r = vaccel_plugin_error(report, -EINVAL, "its signature '%s' has no output", key);
	if (r < 0) {
		signature_fini(&s);
		return r;
	}
	signature_sort(&s);
	*ret_signature = s;
	return 0;
}

static void drop(struct signature_list *list)
{
	size_t i;

	for (i = 0; i < list->n; i++)
		free(list->tensors[i].graph);
	free(list->tensors);
}

void signature_fini(struct signature *s)
{
	drop(&s->inputs);
	drop(&s->outputs);
	*s = (struct signature){ 0 };
}
