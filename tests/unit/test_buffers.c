/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's registered buffers: what a plugin sees of them, who may use them, and that memory goes once and last. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "util/util.h"

#define OWNER 1
#define OTHER 2

static const char *const settings[] = { "order.default=probe-any",
					"engine.threads=2",
					"limits.sessions=8",
					"limits.buffers=8",
					"limits.extents=16",
					"limits.keys=8",
					NULL };
static const struct state_extent extents[] = { { 0x1000, 4096 } };

/* Memory that counts how often it was released. */
struct block {
	_Alignas(64) unsigned char data[4096];
	atomic_int released;
	atomic_int gone_before; /* plugins had heard of it when it was released */
};

static atomic_int n_gone;
static atomic_ullong last_gone;

static void release(void *data, uint64_t len, void *opaque)
{
	struct block *block = opaque;

	assert_ptr_equal(data, block->data);
	assert_int_equal(len, sizeof(block->data));
	block->gone_before = n_gone;
	atomic_fetch_add(&block->released, 1);
}

static void gone(uint64_t buffer)
{
	last_gone = buffer;
	atomic_fetch_add(&n_gone, 1);
}

static struct engine_mapping mapping_of(struct block *block)
{
	return (struct engine_mapping){ block->data, sizeof(block->data), release, block };
}

static struct probe *start(struct harness *h, struct state *state)
{
	struct probe *probe;

	harness_start(h, state, settings);
	probe = harness_probe("probe-any");
	probe->gone = gone;
	n_gone = 0;
	last_gone = 0;
	return probe;
}

static uint64_t add(struct harness *h, uint64_t session, struct block *block)
{
	struct engine_mapping mapping = mapping_of(block);
	uint64_t id = 0;

	assert_int_equal(engine_buffer_add(h->engine, OWNER, session, 0, &mapping, extents, 1, &id, NULL), 0);
	return id;
}

/* SGEMM whose A lies in a registered buffer. */
static void init_in_buffer(struct harness *h, struct test_request *request, uint64_t session, uint64_t buffer,
			   uint64_t offset)
{
	request_init(h, request, VACCEL_OP_SGEMM, OWNER, session);
	request->engine.op.args[0] = (struct op_arg){ .len = 64, .dir = 1, .buffer = buffer, .offset = offset };
}

static int run_in_buffer(struct harness *h, uint64_t session, uint64_t buffer, uint64_t offset, const char *text)
{
	struct test_request request;
	int r;

	init_in_buffer(h, &request, session, buffer, offset);
	request_submit(h, &request);
	r = request_wait(&request);
	if (r < 0)
		assert_text(request.engine.error, text);
	return r;
}

static struct vaccel_plugin_arg seen[3];

static int look(const struct vaccel_plugin_call *call)
{
	memcpy(seen, call->args, sizeof(seen));
	return 0;
}

static void plugins_see_the_buffer(void **state)
{
	static struct block block;
	struct harness h;
	uint64_t session, id;

	start(&h, NULL)->run = look;
	session = harness_session(&h, OWNER);
	id = add(&h, session, &block);
	assert_int_equal(run_in_buffer(&h, session, id, 128, NULL), 0);
	assert_ptr_equal(seen[0].data, block.data + 128);
	assert_int_equal(seen[0].len, 64);
	assert_true(seen[0].buffer == id);
	assert_ptr_equal(seen[0].buffer_data, block.data);
	assert_int_equal(seen[0].buffer_len, 4096);
	assert_true(seen[1].buffer == 0 && !seen[1].buffer_data && seen[1].data);
	assert_int_equal(seen[2].dir, 2);
	harness_stop(&h);
	assert_int_equal(block.released, 1);
}

static void ranges_and_ids_are_checked(void **state)
{
	static struct block block, second;
	uint64_t session, another, others, id, removed, never;
	struct error error = { 0 };
	struct harness h;
	void *data;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	another = harness_session(&h, OWNER);
	others = harness_session(&h, OTHER);
	id = add(&h, session, &block);
	removed = add(&h, session, &second);
	never = id + 5;
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, removed, NULL), 0);
	assert_int_equal(second.released, 1);
	assert_true(last_gone == removed);
	assert_int_equal(run_in_buffer(&h, session, id, 4096 - 64, NULL), 0);
	assert_int_equal(run_in_buffer(&h, session, id, 4096 - 60, "leave buffer"), -ERANGE);
	assert_int_equal(run_in_buffer(&h, session, id, UINT64_MAX - 63, "leave buffer"), -ERANGE);
	assert_int_equal(run_in_buffer(&h, session, removed, 0, "no longer registered"), -ESTALE);
	assert_int_equal(run_in_buffer(&h, session, never, 0, "never registered"), -ENXIO);
	assert_int_equal(run_in_buffer(&h, another, id, 0, "belongs to another session"), -ENXIO);
	assert_int_equal(engine_buffer_range(h.engine, OWNER, session, id, 4000, 96, &data, &error), 0);
	assert_ptr_equal(data, block.data + 4000);
	assert_int_equal(engine_buffer_range(h.engine, OWNER, session, id, 4000, 97, &data, &error), -ERANGE);
	assert_int_equal(engine_buffer_range(h.engine, OTHER, others, id, 0, 1, &data, &error), -ENXIO);
	assert_int_equal(engine_buffer_remove(h.engine, OTHER, others, id, &error), -ENXIO);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, removed, &error), -ESTALE);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, another, id, &error), -ENXIO);
	assert_text(error, "belongs to another session");
	assert_int_equal(run_in_buffer(&h, session, id, 0, NULL), 0);
	assert_int_equal(block.released, 0);
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), 0);
	assert_int_equal(block.released, 1);
	assert_true(last_gone == id);
	harness_stop(&h);
	assert_int_equal(block.released, 1);
	assert_int_equal(second.released, 1);
}

static void busy_buffers_stay(void **state)
{
	static struct block block;
	struct test_request running, waiting;
	struct error error = { 0 };
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t session, id;

	gate_init(&gate);
	harness_start(&h, NULL, (const char *const[]){ "order.default=probe-one", "limits.buffers=8", NULL });
	probe = harness_probe("probe-one");
	probe->run = gate_run;
	probe->gone = gone;
	n_gone = 0;
	session = harness_session(&h, OWNER);
	id = add(&h, session, &block);
	init_in_buffer(&h, &running, session, id, 0);
	request_submit(&h, &running);
	await(&gate.entered);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, &error), -EBUSY);
	assert_text(error, "a request uses it");
	init_in_buffer(&h, &waiting, session, id, 64);
	request_submit(&h, &waiting);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&running), 0);
	await(&gate.entered);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, &error), -EBUSY);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&waiting), 0);
	/* From done() on it is free. */
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), 0);
	assert_int_equal(block.released, 1);
	assert_int_equal(block.gone_before, 1);
	harness_stop(&h);
}

static void a_refused_request_leaves_no_trace(void **state)
{
	static struct block block;
	struct test_request request;
	struct harness h;
	uint64_t session, id;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	id = add(&h, session, &block);
	/* A is in the buffer, B leaves it. */
	init_in_buffer(&h, &request, session, id, 0);
	request.engine.op.args[1] = (struct op_arg){ .len = 64, .dir = 1, .buffer = id, .offset = 4096 };
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), -ERANGE);
	assert_text(request.engine.error, "argument 1");
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), 0);
	harness_stop(&h);
}

static void an_owner_and_an_engine_let_go(void **state)
{
	static struct block first, second, third;
	struct harness h;
	uint64_t session;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	add(&h, session, &first);
	add(&h, session, &second);
	engine_owner_gone(h.engine, OWNER);
	assert_int_equal(first.released, 1);
	assert_int_equal(second.released, 1);
	add(&h, harness_session(&h, OWNER), &third);
	harness_stop(&h);
	assert_int_equal(third.released, 1);
	assert_int_equal(third.gone_before, 3);
}

/* ---- The worker after this one ---- */

static void the_next_worker_binds(void **state)
{
	static struct block before, after, surplus;
	struct engine_mapping mapping = mapping_of(&before);
	_Alignas(64) static unsigned char memory[1 << 20];
	struct config_limits limits;
	struct state *shared = NULL;
	struct error error = { 0 };
	uint64_t session, id, again = 0;
	struct harness h;

	/* The limits that the settings make: an engine and its state agree on them. */
	harness_start(&h, NULL, settings);
	limits = h.config->limits;
	harness_stop(&h);
	assert_true(state_size(&limits) <= sizeof(memory));
	assert_int_equal(state_attach(memory, sizeof(memory), &limits, &shared, NULL, NULL), 0);
	start(&h, shared);
	assert_int_equal(engine_session_open(h.engine, OWNER, 77, &session, NULL), 0);
	assert_int_equal(engine_buffer_add(h.engine, OWNER, session, 78, &mapping, extents, 1, &id, NULL), 0);
	harness_stop(&h);
	state_detach(shared);
	assert_int_equal(before.released, 1);

	assert_int_equal(state_attach(memory, sizeof(memory), &limits, &shared, NULL, NULL), 0);
	start(&h, shared)->run = look;
	assert_int_equal(run_in_buffer(&h, session, id, 0, "its memory is no longer shared"), -EFAULT);
	mapping = mapping_of(&after);
	mapping.len--;
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, &error), -EINVAL);
	mapping.len++;
	assert_int_equal(engine_buffer_bind(h.engine, id + 1, &mapping, &error), -ENXIO);
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, &error), 0);
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, &error), -EINVAL);
	assert_int_equal(run_in_buffer(&h, session, id, 0, NULL), 0);
	assert_ptr_equal(seen[0].data, after.data);

	/* The registration runs again: it has happened. */
	mapping = mapping_of(&surplus);
	assert_int_equal(engine_session_open(h.engine, OWNER, 77, &again, NULL), 0);
	assert_true(again == session);
	assert_int_equal(engine_buffer_add(h.engine, OWNER, session, 78, &mapping, extents, 1, &again, NULL), 0);
	assert_true(again == id);
	assert_int_equal(surplus.released, 1);
	assert_int_equal(after.released, 0);
	assert_int_equal(run_in_buffer(&h, session, id, 0, NULL), 0);
	assert_ptr_equal(seen[0].data, after.data);
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), 0);
	assert_int_equal(after.released, 1);
	harness_stop(&h);
	state_detach(shared);
}

static void *unbind_main(void *arg)
{
	struct harness *h = arg;

	engine_owner_unbind(h->engine, OWNER);
	return NULL;
}

static void unbinding_waits_for_users(void **state)
{
	static struct block block, again;
	struct engine_mapping mapping = mapping_of(&again);
	struct test_request running, waiting;
	pthread_t thread;
	struct harness h;
	struct gate gate;
	uint64_t session, id;

	gate_init(&gate);
	harness_start(&h, NULL, (const char *const[]){ "order.default=probe-one", "limits.buffers=8", NULL });
	harness_probe("probe-one")->run = gate_run;
	session = harness_session(&h, OWNER);
	id = add(&h, session, &block);
	/* One that runs elsewhere holds the plugin; one that uses the buffer waits behind it and is cancelled. */
	request_init(&h, &running, VACCEL_OP_SGEMM, OWNER, session);
	request_submit(&h, &running);
	await(&gate.entered);
	init_in_buffer(&h, &waiting, session, id, 0);
	request_submit(&h, &waiting);
	assert_int_equal(pthread_create(&thread, NULL, unbind_main, &h), 0);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), -EBUSY);
	assert_int_equal(engine_cancel(h.engine, OWNER, waiting.engine.id, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(request_wait(&waiting), -ECANCELED);
	assert_int_equal(block.released, 1);
	assert_int_equal(running.n_done, 0);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&running), 0);
	assert_int_equal(run_in_buffer(&h, session, id, 0, "its memory is no longer shared"), -EFAULT);
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, NULL), 0);
	sem_post(&gate.leave);
	assert_int_equal(run_in_buffer(&h, session, id, 0, NULL), 0);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), 0);
	assert_int_equal(again.released, 1);
	harness_stop(&h);
}

/* ---- What has no mapping ---- */

struct closing {
	struct harness *h;
	uint64_t session;
};

static void *close_main(void *arg)
{
	struct closing *closing = arg;

	assert_int_equal(engine_session_close(closing->h->engine, OWNER, closing->session, NULL), 0);
	return NULL;
}

static uint64_t next_unbound(struct harness *h, uint32_t *cursor)
{
	struct state_extent *copy = NULL;
	struct state_buffer row;
	int r = engine_buffer_unbound(h->engine, OWNER, cursor, &row, &copy, NULL);

	assert_in_range(r, 0, 1);
	if (r == 0)
		return 0;
	assert_true(row.extents == copy && row.n_extents == 1 && row.owner == OWNER);
	assert_true(copy[0].addr == 0x1000 && copy[0].len == 4096 && row.len == 4096);
	free(copy);
	return row.id;
}

static void unbound_buffers_are_found(void **state)
{
	static struct block first, second, third, others;
	struct engine_mapping mapping = mapping_of(&others);
	struct harness h;
	uint64_t session, ids[3];
	uint32_t cursor = 0;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	ids[0] = add(&h, session, &first);
	ids[1] = add(&h, session, &second);
	assert_true(next_unbound(&h, &cursor) == 0);
	engine_owner_unbind(h.engine, OWNER);
	ids[2] = add(&h, session, &third);
	assert_int_equal(engine_buffer_add(h.engine, OTHER, harness_session(&h, OTHER), 0, &mapping, extents, 1,
					   &(uint64_t){ 0 }, NULL),
			 0);
	engine_owner_unbind(h.engine, OTHER);
	cursor = 0;
	assert_true(next_unbound(&h, &cursor) == ids[0]);
	assert_true(next_unbound(&h, &cursor) == ids[1]);
	assert_true(next_unbound(&h, &cursor) == 0);
	harness_stop(&h);
}

/* A mapping that came while its session goes would stay behind, and its row with it. */
static void nothing_is_bound_in_a_closing_session(void **state)
{
	static struct block block, again, next;
	struct engine_mapping mapping = mapping_of(&again);
	struct test_request running;
	pthread_t thread;
	struct harness h;
	struct gate gate;
	uint32_t cursor = 0;
	struct closing closing = { .h = &h };
	uint64_t id, session;
	int r;

	gate_init(&gate);
	harness_start(&h, NULL, (const char *const[]){ "order.default=probe-one", "limits.buffers=1", NULL });
	harness_probe("probe-one")->run = gate_run;
	closing.session = harness_session(&h, OWNER);
	id = add(&h, closing.session, &block);
	engine_owner_unbind(h.engine, OWNER);
	request_init(&h, &running, VACCEL_OP_SGEMM, OWNER, closing.session);
	request_submit(&h, &running);
	await(&gate.entered);
	assert_int_equal(pthread_create(&thread, NULL, close_main, &closing), 0);
	/* The only row is taken, until the session itself is in the way. */
	do
		r = engine_buffer_add(h.engine, OWNER, closing.session, 0, &mapping, extents, 1, &session, NULL);
	while (r == -EDQUOT);
	assert_int_equal(r, -ESTALE);
	assert_true(next_unbound(&h, &cursor) == 0);
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, NULL), -ESTALE);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&running), 0);
	pthread_join(thread, NULL);
	assert_int_equal(engine_buffer_bind(h.engine, id, &mapping, NULL), -ENXIO);
	assert_int_equal(again.released, 0);
	/* The only row is whole. */
	session = harness_session(&h, OWNER);
	id = add(&h, session, &next);
	assert_int_equal(next.released, 0);
	assert_int_equal(engine_buffer_remove(h.engine, OWNER, session, id, NULL), 0);
	assert_int_equal(next.released, 1);
	harness_stop(&h);
}

#define N_TURNS 2000

static atomic_bool turned;

/* Each registration has its own address, which its length tells as well: a torn copy shows. */
static void *turn_over(void *arg)
{
	static struct block block;
	struct harness *h = arg;
	uint64_t session = harness_session(h, OWNER);

	for (uint64_t i = 1; i <= N_TURNS; i++) {
		struct engine_mapping mapping = { .data = block.data, .len = i };
		const struct state_extent own[] = { { i * 4096, i } };
		uint64_t id = 0;

		assert_int_equal(engine_buffer_add(h->engine, OWNER, session, 0, &mapping, own, 1, &id, NULL), 0);
		if (i % 2)
			engine_owner_unbind(h->engine, OWNER);
		assert_int_equal(engine_buffer_remove(h->engine, OWNER, session, id, NULL), 0);
	}
	turned = true;
	return NULL;
}

/* Memory comes while queues register and unregister. */
static void the_walk_sees_whole_rows(void **state)
{
	static struct block block;
	pthread_t thread;
	struct harness h;

	start(&h, NULL);
	assert_int_equal(pthread_create(&thread, NULL, turn_over, &h), 0);
	while (!turned) {
		struct state_extent *copy = NULL;
		struct state_buffer row;
		uint32_t cursor = 0;

		while (engine_buffer_unbound(h.engine, OWNER, &cursor, &row, &copy, NULL) > 0) {
			struct engine_mapping mapping = { .data = block.data, .len = row.len };
			int r = engine_buffer_bind(h.engine, row.id, &mapping, NULL);

			assert_true(copy[0].len == row.len && copy[0].addr == row.len * 4096);
			assert_true(r == 0 || r == -ENXIO);
			free(copy);
		}
	}
	pthread_join(thread, NULL);
	harness_stop(&h);
}

/* ---- Limits ---- */

static void limits_hold(void **state)
{
	static struct block blocks[9];
	struct engine_mapping mapping = mapping_of(&blocks[8]);
	struct error error = { 0 };
	struct harness h;
	uint64_t session, id = 42;

	start(&h, NULL);
	session = harness_session(&h, OWNER);
	for (int i = 0; i < 8; i++)
		add(&h, session, &blocks[i]);
	assert_int_equal(engine_buffer_add(h.engine, OWNER, session, 0, &mapping, extents, 1, &id, &error), -EDQUOT);
	assert_text(error, "all 8 are in use");
	/* It is still the caller's. */
	assert_int_equal(blocks[8].released, 0);
	assert_int_equal(id, 42);
	for (int i = 1; i < 8; i++)
		harness_session(&h, OTHER);
	assert_int_equal(engine_session_open(h.engine, OWNER, 0, &id, &error), -EDQUOT);
	assert_text(error, "all 8 are in use");
	engine_owner_gone(h.engine, OTHER);
	harness_session(&h, OWNER);
	harness_stop(&h);
	for (int i = 0; i < 8; i++)
		assert_int_equal(blocks[i].released, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plugins_see_the_buffer),
		cmocka_unit_test(ranges_and_ids_are_checked),
		cmocka_unit_test(busy_buffers_stay),
		cmocka_unit_test(a_refused_request_leaves_no_trace),
		cmocka_unit_test(an_owner_and_an_engine_let_go),
		cmocka_unit_test(the_next_worker_binds),
		cmocka_unit_test(unbinding_waits_for_users),
		cmocka_unit_test(unbound_buffers_are_found),
		cmocka_unit_test(nothing_is_bound_in_a_closing_session),
		cmocka_unit_test(the_walk_sees_whole_rows),
		cmocka_unit_test(limits_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
