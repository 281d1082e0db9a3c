/* SPDX-License-Identifier: Apache-2.0 */
/* plugins/tensorflow: protocol buffers, signatures, and what a graph keeps; without TensorFlow. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "meta.h"
#include "signature.h"

static char why[256];
static const struct vaccel_plugin_report report = { .text = why, .len = sizeof(why) };

static struct proto_bytes of(const struct meta *m)
{
	return (struct proto_bytes){ .data = m->bytes, .len = m->len };
}

/* ---- proto.c ---- */

static void test_fields(void **state)
{
	static const uint8_t bytes[] = { 0x08, 0x96, 0x01, 0x11, 1, 2, 3,    4, 5,   6,	 7,
					 8,    0x1d, 1,	   0,	 0, 0, 0x22, 2, 'a', 'b' };
	struct proto p = proto_init((struct proto_bytes){ bytes, sizeof(bytes) });
	struct proto_field f;

	assert_true(proto_next(&p, &f));
	assert_true(f.number == 1 && f.type == PROTO_VARINT && f.value == 150);
	assert_true(proto_next(&p, &f));
	assert_true(f.number == 2 && f.type == PROTO_FIXED64 && f.value == UINT64_C(0x0807060504030201));
	assert_true(proto_next(&p, &f));
	assert_true(f.number == 3 && f.type == PROTO_FIXED32 && f.value == 1);
	assert_true(proto_next(&p, &f));
	assert_true(f.number == 4 && proto_equal(f.bytes, "ab") && !proto_equal(f.bytes, "abc"));
	assert_false(proto_next(&p, &f));
	assert_false(p.bad);
}

static void test_malformed(void **state)
{
	static const struct {
		uint8_t bytes[12];
		size_t len;
	} rows[] = {
		{ { 0x08 }, 1 },						       /* no value */
		{ { 0x08, 0x80 }, 2 },						       /* half a value */
		{ { 0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2 }, 11 },      /* more than 64 bits */
		{ { 0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 129, 0 }, 12 }, /* likewise */
		{ { 0x00, 0x01 }, 2 },						       /* number 0 */
		{ { 0x0b, 0x0c }, 2 },						       /* a group */
		{ { 0x0e }, 1 },						       /* a type that is none */
		{ { 0x09, 1, 2, 3 }, 4 },					       /* half of eight bytes */
		{ { 0x0d, 1, 2, 3 }, 4 },					       /* half of four */
		{ { 0x0a, 2, 'a' }, 3 },					       /* too short a text */
		{ { 0x0a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1 }, 11 },      /* a very long one */
	};
	struct proto_field f;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct proto p = proto_init((struct proto_bytes){ rows[i].bytes, rows[i].len });

		assert_false(proto_next(&p, &f));
		assert_true(p.bad);
		assert_false(proto_next(&p, &f));
	}
}

static void test_writer(void **state)
{
	uint8_t bytes[4];
	struct proto_writer w = { .data = bytes, .size = sizeof(bytes) };

	proto_put_varint(&w, 2, 300);
	assert_int_equal(w.len, 3);
	assert_memory_equal(bytes, "\x10\xac\x02", 3);
	proto_put_bytes(&w, 1, "abc", 3);
	assert_int_equal(w.len, 8); /* what it would be */
	assert_int_equal(bytes[3], 0x0a);
}

/* ---- signature.c ---- */

static int read_one(const struct meta *signature, struct signature *s)
{
	struct meta m = { .len = 0 };

	meta_pair(&m, 5, "serving_default", signature);
	why[0] = '\0';
	return signature_read(of(&m), "", s, &report);
}

static void test_signature(void **state)
{
	static const int64_t dims[] = { -1, 224, 0 };
	struct meta m = { .len = 0 };
	struct signature s;

	meta_tensor(&m, 1, "b", "call_b:0", 3, dims);
	meta_tensor(&m, 2, "out", "call:0", -1, NULL);
	meta_tensor(&m, 1, "a", "call_a:0", 0, NULL);
	assert_int_equal(read_one(&m, &s), 0);
	assert_int_equal(s.inputs.n, 2);
	assert_string_equal(s.inputs.tensors[0].name, "a");
	assert_int_equal(s.inputs.tensors[0].rank, 0);
	assert_string_equal(s.inputs.tensors[1].graph, "call_b:0");
	assert_int_equal(s.inputs.tensors[1].rank, 3);
	assert_memory_equal(s.inputs.tensors[1].dims, dims, sizeof(dims));
	assert_int_equal(s.outputs.tensors[0].rank, UINT32_MAX);
	assert_int_equal(s.outputs.tensors[0].dtype, 1);
	signature_fini(&s);
}

static void test_signature_errors(void **state)
{
	static const int64_t dims[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, negative = -2;
	char name[200] = "";
	struct meta m = { .len = 0 }, empty = { .len = 0 }, cut = { .len = 0 };
	struct signature s;

	assert_int_equal(signature_read(of(&empty), "", &s, &report), -ENOENT);
	assert_non_null(strstr(why, "there is none"));
	meta_tensor(&m, 1, "in", "x:0", 0, NULL);
	assert_int_equal(read_one(&m, &s), -EINVAL);
	assert_non_null(strstr(why, "no output"));
	memset(name, 'n', sizeof(name) - 1);
	m.len = 0;
	meta_tensor(&m, 2, name, "x:0", 0, NULL);
	assert_int_equal(read_one(&m, &s), -EINVAL);
	m.len = 0;
	meta_tensor(&m, 2, "", "x:0", 0, NULL);
	assert_int_equal(read_one(&m, &s), -EINVAL);
	m.len = 0;
	meta_tensor(&m, 2, "y", "", 0, NULL);
	assert_int_equal(read_one(&m, &s), -ENOTSUP);
	m.len = 0;
	meta_tensor(&m, 2, "y", "x:0", 9, dims);
	assert_int_equal(read_one(&m, &s), -ENOTSUP);
	m.len = 0;
	meta_tensor(&m, 2, "y", "x:0", 1, &negative);
	assert_int_equal(read_one(&m, &s), -EINVAL);
	/* Cut off anywhere it is an error, and nothing worse. */
	m.len = 0;
	meta_tensor(&m, 2, "y", "x:0", 8, dims);
	meta_pair(&cut, 5, "serving_default", &m);
	for (size_t len = 0; len < cut.len; len++)
		assert_true(signature_read((struct proto_bytes){ cut.bytes, len }, "", &s, &report) < 0);
}

static void test_too_many(void **state)
{
	struct signature s = { 0 };
	struct signature_tensor *t;
	const struct proto_bytes name = { (const uint8_t *)"x", 1 };

	for (int i = 0; i < SIGNATURE_MAX_TENSORS; i++)
		assert_int_equal(signature_add(&s.inputs, name, strdup("x:0"), &t, &report), 0);
	assert_int_equal(signature_add(&s.inputs, name, strdup("x:0"), &t, &report), -E2BIG);
	signature_fini(&s);
}

/* ---- keeps.c ---- */

static struct graph_traits study(const struct meta *graph, const char *output)
{
	struct meta ops = { .len = 0 }, m = { .len = 0 };
	struct graph_traits traits;
	struct signature s;

	meta_usual_ops(&ops);
	meta_tensor(&m, 2, "y", output, 0, NULL);
	assert_int_equal(read_one(&m, &s), 0);
	graph_study(of(graph), of(&ops), &s, &traits);
	signature_fini(&s);
	return traits;
}

static void test_keeps(void **state)
{
	struct meta graph = { .len = 0 };

	meta_node(&graph, 1, "x", "Placeholder", NULL, NULL);
	meta_node(&graph, 1, "y", "Identity", "x", NULL);
	meta_node(&graph, 1, "save", "AssignVariableOp", "x", NULL);
	meta_node(&graph, 1, "after", "Identity", "^save", NULL);
	meta_node(&graph, 1, "second", "Identity", "save:1", NULL);
	meta_node(&graph, 1, "lost", "Identity", "nowhere", NULL);
	meta_node(&graph, 1, "new", "OpOfTomorrow", "x", NULL);
	meta_node(&graph, 1, "peek", "Peek", "x", NULL);
	meta_node(&graph, 1, "variable", "VarHandleOp", NULL, NULL);
	meta_node(&graph, 1, "round", "Identity", "round", NULL);
	assert_false(study(&graph, "y:0").keeps);
	assert_true(study(&graph, "save").keeps);
	assert_true(study(&graph, "after:0").keeps);
	assert_true(study(&graph, "second:0").keeps);
	assert_true(study(&graph, "lost:0").keeps);
	assert_true(study(&graph, "new:0").keeps);
	assert_true(study(&graph, "peek:0").keeps);
	assert_true(study(&graph, "absent:0").keeps);
	assert_false(study(&graph, "variable:0").keeps);
	assert_true(study(&graph, "variable:0").has_variables);
	assert_false(study(&graph, "y:0").has_variables);
	assert_false(study(&graph, "round:0").keeps);
	graph.len -= 2; /* malformed */
	assert_true(study(&graph, "y:0").keeps);
}

static void test_keeps_in_functions(void **state)
{
	struct meta graph = { .len = 0 }, library = { .len = 0 };

	meta_node(&graph, 1, "good", "StatefulPartitionedCall", NULL, "outer");
	meta_node(&graph, 1, "bad", "StatefulPartitionedCall", NULL, "assigns");
	meta_node(&graph, 1, "deep", "Identity", NULL, "calls");
	meta_node(&graph, 1, "by_name", "assigns", NULL, NULL);
	meta_node(&graph, 1, "unknown", "StatefulPartitionedCall", NULL, "nothing");
	meta_function(&library, "outer", "Identity", NULL);
	meta_function(&library, "assigns", "AssignVariableOp", NULL);
	meta_function(&library, "calls", "Identity", "assigns");
	meta_message(&graph, 2, &library);
	assert_false(study(&graph, "good:0").keeps);
	assert_true(study(&graph, "bad:0").keeps);
	assert_true(study(&graph, "deep:0").keeps);
	assert_true(study(&graph, "by_name:0").keeps);
	assert_true(study(&graph, "unknown:0").keeps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_writer),
		cmocka_unit_test(test_signature),
		cmocka_unit_test(test_signature_errors),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_keeps),
		cmocka_unit_test(test_keeps_in_functions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
