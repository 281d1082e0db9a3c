/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/engine/copy.c: plugins see arguments that are parsed only where nobody else can write to them, and only when what is in
 * them is right; copies are counted, bounded and freed.
 */
#include "test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "op/limit.h"
#include "util/util.h"

#define OWNER 1
#define LIMIT 4096

static uint8_t picture[LIMIT + 64] __attribute__((aligned(64)));
static struct vaccel_classified classified;
static struct vaccel_label labels[2];
static struct vaccel_tensor_desc descs[2], answer;
static float x[4] __attribute__((aligned(64))), y[4];

/* What the plugin saw. */
static struct vaccel_plugin_arg seen[OP_MAX_ARGS];
static uint8_t seen_bytes[64];

static int look(const struct vaccel_plugin_call *call)
{
	memcpy(seen, call->args, call->n_args * sizeof(*seen));
	memcpy(seen_bytes, call->args[0].data, MIN(sizeof(seen_bytes), call->args[0].len));
	return 0;
}

static void classify_init(struct harness *h, struct test_request *request, uint64_t session, uint64_t len)
{
	struct vaccel_classify params = { .model = "m", .k = 2 };
	struct op_request *op = &request->engine.op;

	request_init(h, request, VACCEL_OP_NOOP, OWNER, session);
	op->op = VACCEL_OP_IMAGE_CLASSIFY;
	op->n_args = 3;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[0] = (struct op_arg){ picture + 1, len, 1 };
	op->args[1] = (struct op_arg){ &classified, sizeof(classified), 2 };
	op->args[2] = (struct op_arg){ labels, sizeof(labels), 2 };
}

static void infer_init(struct harness *h, struct test_request *request, uint64_t session)
{
	struct vaccel_infer params = { .model = "m", .n_inputs = 1, .n_outputs = 1 };
	struct op_request *op = &request->engine.op;

	descs[0] = (struct vaccel_tensor_desc){
		.name = "x", .dtype = VACCEL_FLOAT32, .rank = 1, .dims = { 4 }, .len = sizeof(x)
	};
	descs[1] = (struct vaccel_tensor_desc){ .name = "y" };
	request_init(h, request, VACCEL_OP_NOOP, OWNER, session);
	op->op = VACCEL_OP_INFER;
	op->n_args = 4;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[0] = (struct op_arg){ descs, sizeof(descs), 1 };
	op->args[1] = (struct op_arg){ &answer, sizeof(answer), 2 };
	op->args[2] = (struct op_arg){ x, sizeof(x), 1 };
	op->args[3] = (struct op_arg){ y, sizeof(y), 2 };
}

static uint64_t start(struct harness *h, struct probe **ret_probe, const char *order)
{
	const char *const settings[] = { "models.dir=/", order, "limits.gathered_bytes=4K", "engine.threads=2", NULL };

	for (size_t i = 0; i < sizeof(picture); i++)
		picture[i] = (uint8_t)(i * 7);
	memset(seen, 0, sizeof(seen));
	harness_start(h, NULL, settings);
	*ret_probe = harness_probe("probe-models");
	(*ret_probe)->run = look;
	return harness_session(h, OWNER);
}

/* All that copies took was given back. */
static void stop(struct harness *h)
{
	assert_int_equal(engine_copy_take(h->engine, 0, LIMIT, NULL), 0);
	engine_copy_give(h->engine, LIMIT);
	harness_stop(h);
}

static void what_is_parsed_is_copied(void **state)
{
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session = start(&h, &probe, "order.default=probe-models");

	classify_init(&h, &request, session, 50);
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_ptr_not_equal(seen[0].data, picture + 1);
	assert_int_equal((uintptr_t)seen[0].data % 64, 0);
	assert_int_equal(seen[0].len, 50);
	assert_memory_equal(seen_bytes, picture + 1, 50);
	/* What is computed on, or written, is used where it lies. */
	assert_ptr_equal(seen[1].data, &classified);
	assert_ptr_equal(seen[2].data, labels);
	assert_int_equal(request.engine.copied, 50);
	infer_init(&h, &request, session);
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_ptr_not_equal(seen[0].data, descs);
	assert_ptr_equal(seen[2].data, x);
	assert_ptr_equal(seen[3].data, y);
	assert_int_equal(request.engine.copied, sizeof(descs));
	stop(&h);
}

static void what_is_private_is_not(void **state)
{
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session = start(&h, &probe, "order.default=probe-models");

	classify_init(&h, &request, session, 50);
	request.engine.own_args = 1;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_ptr_equal(seen[0].data, picture + 1);
	assert_int_equal(request.engine.copied, 0);
	/* Its contents are checked all the same. */
	infer_init(&h, &request, session);
	request.engine.own_args = UINT32_MAX;
	descs[0].rank = 9;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), -EINVAL);
	stop(&h);
}

static void release(void *data, uint64_t len, void *opaque)
{
}

static void a_copy_lies_in_no_buffer(void **state)
{
	struct engine_mapping mapping = { picture, LIMIT, release, NULL };
	struct state_extent extent = { 0, LIMIT };
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session = start(&h, &probe, "order.default=probe-models"), id = 0;

	assert_int_equal(engine_buffer_add(h.engine, OWNER, session, 0, &mapping, &extent, 1, &id, NULL), 0);
	infer_init(&h, &request, session);
	memcpy(picture, descs, sizeof(descs));
	request.engine.op.args[0] = (struct op_arg){ .len = sizeof(descs), .dir = 1, .buffer = id };
	request.engine.op.args[2] = (struct op_arg){ .len = sizeof(x), .dir = 1, .buffer = id, .offset = 1024 };
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_int_equal(seen[0].buffer, 0);
	assert_null(seen[0].buffer_data);
	assert_ptr_not_equal(seen[0].data, picture);
	assert_int_equal(seen[2].buffer, id);
	assert_ptr_equal(seen[2].data, picture + 1024);
	/* One that is private already stays in its buffer, and is said to. */
	infer_init(&h, &request, session);
	request.engine.own_args = UINT32_MAX;
	request.engine.op.args[0] = (struct op_arg){ .len = sizeof(descs), .dir = 1, .buffer = id };
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_int_equal(seen[0].buffer, id);
	assert_ptr_equal(seen[0].data, picture);
	/* It is let go of all the same. */
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), 0);
	stop(&h);
}

static void wrong_contents_reach_no_plugin(void **state)
{
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session = start(&h, &probe, "order.default=probe-models");

	infer_init(&h, &request, session);
	descs[0].len = 12;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), -EINVAL);
	assert_string_equal(request.engine.error.text, "infer: input x: its shape takes 16 bytes, it says 12");
	assert_null(request.engine.plugin);
	assert_int_equal(request.n_started, 0);
	assert_int_equal(probe->runs, 0);
	stop(&h);
}

static int count_and_add(const struct vaccel_plugin_call *call)
{
	*call->copied += 1000;
	return 0;
}

static void plugins_add_what_they_copy(void **state)
{
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session = start(&h, &probe, "order.default=probe-models");

	probe->run = count_and_add;
	classify_init(&h, &request, session, 50);
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_int_equal(request.engine.copied, 1050);
	stop(&h);
}

static int refuse(const struct vaccel_plugin_call *call)
{
	look(call);
	return -EOPNOTSUPP;
}

/* The next plugin gets the same copy. */
static void one_copy_serves_all_candidates(void **state)
{
	struct test_request request;
	struct probe *first, *second;
	struct harness h;
	uint64_t session = start(&h, &first, "order.default=probe-models probe-models-session");
	const void *copy;

	first->run = refuse;
	classify_init(&h, &request, session, 50);
	second = harness_probe("probe-models-session");
	second->run = NULL;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	copy = seen[0].data;
	assert_ptr_not_equal(copy, picture + 1);
	assert_int_equal(request.engine.copied, 50);
	assert_string_equal(request.engine.plugin, "probe-models-session");
	stop(&h);
}

static void copies_are_bounded(void **state)
{
	struct test_request first, second;
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t session = start(&h, &probe, "order.default=probe-models");

	gate_init(&gate);
	probe->run = gate_run;
	/* Before a request that would hang in the gate. */
	assert_int_equal(engine_copy_take(h.engine, 0, LIMIT + 1, NULL), -EDQUOT);
	classify_init(&h, &first, session, LIMIT + 1);
	request_submit(&h, &first);
	assert_int_equal(request_wait(&first), -EDQUOT);
	assert_text(first.engine.error, "argument 0: 4097 bytes to copy are too many at a time");
	assert_text(first.engine.error, "(limits.gathered_bytes = 4096)");
	assert_null(first.engine.plugin);
	classify_init(&h, &first, session, 3000);
	request_submit(&h, &first);
	await(&gate.entered);
	classify_init(&h, &second, session, 1097);
	request_submit(&h, &second);
	assert_int_equal(request_wait(&second), -EDQUOT);
	/* A sum that wraps is no way around it. */
	assert_int_equal(engine_copy_take(h.engine, 0, UINT64_MAX, NULL), -EDQUOT);
	assert_int_equal(engine_copy_take(h.engine, 0, UINT64_MAX - 2999, NULL), -EDQUOT);
	classify_init(&h, &second, session, 1096);
	request_submit(&h, &second);
	await(&gate.entered);
	sem_post(&gate.leave);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&first), 0);
	assert_int_equal(request_wait(&second), 0);
	stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_parsed_is_copied),   cmocka_unit_test(what_is_private_is_not),
		cmocka_unit_test(a_copy_lies_in_no_buffer),   cmocka_unit_test(wrong_contents_reach_no_plugin),
		cmocka_unit_test(plugins_add_what_they_copy), cmocka_unit_test(one_copy_serves_all_candidates),
		cmocka_unit_test(copies_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
