/* SPDX-License-Identifier: Apache-2.0 */
/* What plugin tensorflow reads of a SavedModel by itself: the signature, and what the graph does. */
#include "signature.h"
#include "fuzz.h"

enum { META_GRAPH_GRAPH = 2 };

static void check_list(const struct signature_list *list)
{
	CHECK(list->n <= SIGNATURE_MAX_TENSORS);
	for (size_t i = 0; i < list->n; i++) {
		const struct signature_tensor *t = &list->tensors[i];

		CHECK(t->name[0] && memchr(t->name, 0, sizeof(t->name)) && t->graph);
		CHECK(i == 0 || strcmp(t[-1].name, t->name) <= 0);
		CHECK(t->rank <= VACCEL_MAX_RANK || t->rank == UINT32_MAX);
		for (uint32_t j = 0; j < t->rank && t->rank != UINT32_MAX; j++)
			CHECK(t->dims[j] >= -1);
	}
}

/* A length, an OpList of that length, a MetaGraphDef. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	size_t n_ops = input_u16(&in);
	char why[256] = "";
	const struct vaccel_plugin_report report = { .text = why, .len = sizeof(why) };
	struct proto_bytes ops = { in.at, n_ops < in.left ? n_ops : in.left }, meta;
	struct proto_field graph = { 0 };
	struct graph_traits traits;
	struct signature s = { 0 };
	int r;

	meta = (struct proto_bytes){ ops.data + ops.len, in.left - ops.len };
	r = signature_read(meta, "", &s, &report);
	CHECK(r == 0 || why[0]);
	if (r < 0)
		return 0;
	CHECK(s.outputs.n);
	check_list(&s.inputs);
	check_list(&s.outputs);
	proto_find(meta, META_GRAPH_GRAPH, PROTO_BYTES, &graph);
	r = graph_study(graph.bytes, ops, &s, &traits);
	CHECK(r == 0 || traits.keeps);
	signature_fini(&s);
	return 0;
}
