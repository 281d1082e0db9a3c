/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/engine/batch.c: which requests run together, what they wait for, and that each of them still ends on its own. The
 * plugins are probes; the engine's only thread is held at a gate while a test queues what it wants.
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "util/util.h"

#define OWNER 1
#define HOUR  3600000000u /* microseconds: nobody waits for it */
#define MOST  16

static uint8_t picture[16];
static struct vaccel_classified classified;
static struct vaccel_label labels[MOST];

/* What the plugin says of requests: those of one k run together. */
static uint32_t batch_max, batch_delay_us;

static const struct vaccel_classify *params_of(const struct vaccel_plugin_call *call)
{
	return call->params;
}

static void by_k(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	if (call->op == VACCEL_OP_IMAGE_CLASSIFY)
		*ret_batch = (struct vaccel_plugin_batch){ params_of(call)->k, batch_max, batch_delay_us };
}

/* The batches that ran: how many in each, and the first letter of each one's model. */
static struct {
	size_t n;
	char models[MOST];
} batches[MOST];
static size_t n_batches;

static void note_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		batches[n_batches].models[i] = params_of(calls[i])->model[0];
		results[i] = 0;
	}
	batches[n_batches++].n = n;
}

static int note_run(const struct vaccel_plugin_call *call)
{
	int result;

	note_batch(&call, &result, 1);
	return result;
}

static void classify_init(struct harness *h, struct test_request *request, uint64_t session, char model, uint32_t k)
{
	struct vaccel_classify params = { .model = { model }, .k = k };
	struct op_request *op = &request->engine.op;

	request_init(h, request, VACCEL_OP_NOOP, OWNER, session);
	op->op = VACCEL_OP_IMAGE_CLASSIFY;
	op->n_args = 3;
	op->params_len = sizeof(params);
	memcpy(op->params, &params, sizeof(params));
	op->args[0] = (struct op_arg){ picture, sizeof(picture), 1 };
	op->args[1] = (struct op_arg){ &classified, sizeof(classified), 2 };
	op->args[2] = (struct op_arg){ labels, k * sizeof(labels[0]), 2 };
}

static void submit(struct harness *h, struct test_request *request, uint64_t session, char model, uint32_t k)
{
	classify_init(h, request, session, model, k);
	request_submit(h, request);
}

/* One thread, which is held in an operation of another plugin until hold_end(). */
struct hold {
	struct harness h;
	struct gate gate;
	struct test_request blocker;
	struct probe *probe; /* of the plugin that is given batches */
};

static void hold_begin(struct hold *hold, const char *plugin, uint32_t max, uint32_t delay_us)
{
	char order[64];
	const char *const settings[] = { "engine.threads=1", "models.dir=/", "order.noop=probe-any", order, NULL };
	struct probe *any;

	snprintf(order, sizeof(order), "order.image_classify=%s", plugin);
	batch_max = max;
	batch_delay_us = delay_us;
	n_batches = 0;
	memset(batches, 0, sizeof(batches));
	gate_init(&hold->gate);
	harness_start(&hold->h, NULL, settings);
	any = harness_probe("probe-any");
	any->run = gate_run;
	order[strcspn(order, " ")] = '\0';
	hold->probe = harness_probe(strchr(order, '=') + 1);
	hold->probe->batch = by_k;
	hold->probe->run_batch = note_batch;
	hold->probe->run = note_run;
	request_init(&hold->h, &hold->blocker, VACCEL_OP_NOOP, OWNER, harness_session(&hold->h, OWNER));
	request_submit(&hold->h, &hold->blocker);
	await(&hold->gate.entered);
}

static void hold_end(struct hold *hold)
{
	sem_post(&hold->gate.leave);
	assert_int_equal(request_wait(&hold->blocker), 0);
}

static void stop(struct hold *hold)
{
	assert_int_equal(hold->probe->violations, 0);
	harness_stop(&hold->h);
}

static void cancel(struct hold *hold, struct test_request *request)
{
	assert_int_equal(engine_cancel(hold->h.engine, OWNER, request->engine.id, NULL), 0);
	assert_int_equal(request_wait(request), -ECANCELED);
}

/* ---- What runs together ---- */

/* Full, so that nobody waits for more; of all sessions, with those that were given the least first. */
static void a_batch_is_of_all_sessions(void **state)
{
	struct test_request a[5], b;
	struct hold hold;
	uint64_t session;

	hold_begin(&hold, "probe-models", 4, HOUR);
	session = harness_session(&hold.h, OWNER);
	for (int i = 0; i < 5; i++)
		submit(&hold.h, &a[i], session, 'a', 1);
	submit(&hold.h, &b, harness_session(&hold.h, OWNER), 'b', 1);
	hold_end(&hold);
	for (int i = 0; i < 3; i++)
		assert_int_equal(request_wait(&a[i]), 0);
	assert_int_equal(request_wait(&b), 0);
	assert_int_equal(n_batches, 1);
	assert_int_equal(batches[0].n, 4);
	assert_string_equal(batches[0].models, "abaa");
	assert_int_equal(b.n_started, 1);
	assert_string_equal(b.engine.plugin, "probe-models");
	assert_true(b.engine.end_ns >= b.engine.start_ns && b.engine.start_ns > 0);
	/* Two are left, and wait for two more. */
	assert_int_equal(a[3].n_done, 0);
	cancel(&hold, &a[4]);
	cancel(&hold, &a[3]);
	assert_int_equal(a[3].n_started, 0);
	stop(&hold);
}

static void keys_do_not_mix(void **state)
{
	struct test_request requests[8];
	struct hold hold;

	hold_begin(&hold, "probe-models", 2, HOUR);
	for (int i = 0; i < 8; i++)
		submit(&hold.h, &requests[i], harness_session(&hold.h, OWNER), (char)('a' + i / 2 % 2),
		       (uint32_t)(1 + i / 2 % 2));
	hold_end(&hold);
	for (int i = 0; i < 8; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_int_equal(n_batches, 4);
	for (int i = 0; i < 4; i++)
		assert_true(!strcmp(batches[i].models, "aa") || !strcmp(batches[i].models, "bb"));
	stop(&hold);
}

/* What its session asked for before it has not begun: neither does it. */
static void nobody_overtakes(void **state)
{
	struct test_request a1, a2, b;
	struct hold hold;
	uint64_t session;

	hold_begin(&hold, "probe-models", 2, HOUR);
	session = harness_session(&hold.h, OWNER);
	submit(&hold.h, &a1, session, 'a', 7);
	submit(&hold.h, &a2, session, 'a', 1);
	submit(&hold.h, &b, harness_session(&hold.h, OWNER), 'b', 1);
	hold_end(&hold);
	/* Two of k 1 wait, but one of them behind another that waits itself. By the end of this one, they have been looked at. */
	request_init(&hold.h, &hold.blocker, VACCEL_OP_NOOP, OWNER, harness_session(&hold.h, OWNER));
	request_submit(&hold.h, &hold.blocker);
	await(&hold.gate.entered);
	hold_end(&hold);
	assert_int_equal(n_batches, 0);
	cancel(&hold, &a1);
	assert_int_equal(request_wait(&b), 0);
	assert_int_equal(request_wait(&a2), 0);
	assert_int_equal(n_batches, 1);
	stop(&hold);
}

/* ---- What they wait for ---- */

static void the_time_comes(void **state)
{
	struct test_request a, b;
	struct hold hold;

	hold_begin(&hold, "probe-models", 8, 3000);
	hold_end(&hold);
	submit(&hold.h, &a, harness_session(&hold.h, OWNER), 'a', 1);
	submit(&hold.h, &b, harness_session(&hold.h, OWNER), 'b', 1);
	assert_int_equal(request_wait(&a), 0);
	assert_int_equal(request_wait(&b), 0);
	assert_true(a.engine.start_ns >= a.engine.arrived_ns + 3000000);
	stop(&hold);
}

/* The thread does other work while somebody waits, and what comes does not have to wait as well. */
static void others_go_on_meanwhile(void **state)
{
	struct test_request waits, other, last;
	struct hold hold;
	uint64_t session;

	hold_begin(&hold, "probe-models", 2, HOUR);
	hold_end(&hold);
	submit(&hold.h, &waits, harness_session(&hold.h, OWNER), 'a', 1);
	session = harness_session(&hold.h, OWNER);
	for (int i = 0; i < 3; i++) {
		request_init(&hold.h, &other, VACCEL_OP_NOOP, OWNER, session);
		request_submit(&hold.h, &other);
		await(&hold.gate.entered);
		assert_int_equal(waits.n_started, 0);
		sem_post(&hold.gate.leave);
		assert_int_equal(request_wait(&other), 0);
	}
	submit(&hold.h, &last, session, 'b', 1);
	assert_int_equal(request_wait(&waits), 0);
	assert_int_equal(request_wait(&last), 0);
	assert_int_equal(n_batches, 1);
	stop(&hold);
}

static void those_that_are_there_need_no_delay(void **state)
{
	struct test_request requests[3];
	struct hold hold;

	hold_begin(&hold, "probe-models", 8, 0);
	for (int i = 0; i < 3; i++)
		submit(&hold.h, &requests[i], harness_session(&hold.h, OWNER), (char)('a' + i), 1);
	hold_end(&hold);
	for (int i = 0; i < 3; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_int_equal(n_batches, 1);
	assert_string_equal(batches[0].models, "abc");
	stop(&hold);
}

static void a_deadline_is_not_waited_away(void **state)
{
	struct test_request request;
	struct hold hold;

	hold_begin(&hold, "probe-models", 8, HOUR);
	classify_init(&hold.h, &request, harness_session(&hold.h, OWNER), 'a', 1);
	request.engine.op.deadline_ms = 60000;
	request_submit(&hold.h, &request);
	assert_true(request.engine.batch_due_ns == request.engine.arrived_ns + 30 * UINT64_C(1000000000));
	cancel(&hold, &request);
	hold_end(&hold);
	stop(&hold);
}

static void late_ones_do_not_join(void **state)
{
	struct test_request late, good[2];
	struct hold hold;

	hold_begin(&hold, "probe-models", 2, HOUR);
	classify_init(&hold.h, &late, harness_session(&hold.h, OWNER), 'l', 1);
	late.engine.op.deadline_ms = 1;
	request_submit(&hold.h, &late);
	assert_int_equal(request_wait(&late), -ETIMEDOUT);
	assert_text(late.engine.error, "deadline of 1 ms");
	for (int i = 0; i < 2; i++)
		submit(&hold.h, &good[i], harness_session(&hold.h, OWNER), 'g', 1);
	hold_end(&hold);
	for (int i = 0; i < 2; i++)
		assert_int_equal(request_wait(&good[i]), 0);
	assert_string_equal(batches[0].models, "gg");
	stop(&hold);
}

/* A session that is closed, an owner that goes, an engine that ends: none waits for those that wait. */
static void who_waits_is_let_go(void **state)
{
	struct test_request requests[3];
	uint64_t sessions[3];
	struct hold hold;

	hold_begin(&hold, "probe-models", 8, HOUR);
	hold_end(&hold);
	for (int i = 0; i < 3; i++) {
		sessions[i] = harness_session(&hold.h, i == 1 ? OWNER + 1 : OWNER);
		classify_init(&hold.h, &requests[i], sessions[i], 'a', 1);
		requests[i].engine.owner = i == 1 ? OWNER + 1 : OWNER;
		request_submit(&hold.h, &requests[i]);
	}
	assert_int_equal(engine_session_close(hold.h.engine, OWNER, sessions[0], NULL), 0);
	assert_int_equal(request_wait(&requests[0]), -ECANCELED);
	engine_owner_gone(hold.h.engine, OWNER + 1);
	assert_int_equal(request_wait(&requests[1]), -ECANCELED);
	stop(&hold);
	assert_int_equal(request_wait(&requests[2]), -ECANCELED);
	assert_int_equal(n_batches, 0);
}

/* ---- Not together ---- */

static void what_shall_run_alone_does(void **state)
{
	struct test_request alone, single, others[2];
	struct hold hold;

	hold_begin(&hold, "probe-models", 2, HOUR);
	classify_init(&hold.h, &alone, harness_session(&hold.h, OWNER), 'l', 1);
	alone.engine.alone = true;
	request_submit(&hold.h, &alone);
	for (int i = 0; i < 2; i++)
		submit(&hold.h, &others[i], harness_session(&hold.h, OWNER), 'o', 1);
	hold_end(&hold);
	assert_int_equal(request_wait(&alone), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(request_wait(&others[i]), 0);
	for (size_t i = 0; i < n_batches; i++)
		assert_true(!strcmp(batches[i].models, "l") || !strcmp(batches[i].models, "oo"));
	/* A batch of one is none. */
	batch_max = 1;
	submit(&hold.h, &single, harness_session(&hold.h, OWNER), 's', 1);
	assert_int_equal(request_wait(&single), 0);
	stop(&hold);
}

/* However short it is: who waits for others must not keep its caller's thread. */
static void never_in_the_callers_thread(void **state)
{
	struct test_request request;
	struct hold hold;
	uint64_t session;

	hold_begin(&hold, "probe-models", 8, 0);
	hold_end(&hold);
	session = harness_session(&hold.h, OWNER);
	for (int i = 0; i < 5; i++) {
		classify_init(&hold.h, &request, session, 'a', 1);
		engine_submit(hold.h.engine, &request.engine, UINT64_MAX);
		assert_int_equal(request_wait(&request), 0);
		assert_false(pthread_equal(request.done_in, pthread_self()));
	}
	stop(&hold);
}

/* ---- Thread models ---- */

static void one_of_a_session_at_a_time(void **state)
{
	struct test_request a[3], b[2];
	uint64_t sessions[2];
	struct hold hold;

	hold_begin(&hold, "probe-models-session", 2, HOUR);
	for (int i = 0; i < 2; i++)
		sessions[i] = harness_session(&hold.h, OWNER);
	for (int i = 0; i < 3; i++)
		submit(&hold.h, &a[i], sessions[0], 'a', 1);
	for (int i = 0; i < 2; i++)
		submit(&hold.h, &b[i], sessions[1], 'b', 1);
	hold_end(&hold);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(request_wait(&a[i]), 0);
		assert_int_equal(request_wait(&b[i]), 0);
	}
	assert_int_equal(n_batches, 2);
	for (int i = 0; i < 2; i++)
		assert_true(!strcmp(batches[i].models, "ab") || !strcmp(batches[i].models, "ba"));
	cancel(&hold, &a[2]);
	stop(&hold);
}

static void a_batch_is_one_operation(void **state)
{
	struct test_request requests[4];
	struct hold hold;
	uint64_t session;

	hold_begin(&hold, "probe-models-one", 4, HOUR);
	session = harness_session(&hold.h, OWNER);
	for (int i = 0; i < 4; i++)
		submit(&hold.h, &requests[i], session, 'a', 1);
	hold_end(&hold);
	for (int i = 0; i < 4; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_int_equal(n_batches, 1);
	assert_int_equal(hold.probe->batches, 1);
	assert_int_equal(hold.probe->opens, 1);
	stop(&hold);
}

/* ---- Each for itself ---- */

static void result_by_model(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	note_batch(calls, results, n);
	for (size_t i = 0; i < n; i++) {
		char model = params_of(calls[i])->model[0];

		if (model == 'e')
			results[i] = vaccel_plugin_error(&calls[i]->report, -EINVAL, "no picture");
		else if (model == 'p')
			results[i] = 3;
		else if (model == 'u')
			results[i] = -EOPNOTSUPP;
		*calls[i]->copied += (uint64_t)i;
	}
}

static void each_has_its_own_result(void **state)
{
	struct test_request good, wrong, positive, unsupported;
	struct probe *next;
	struct hold hold;

	hold_begin(&hold, "probe-models probe-models-one", 4, HOUR);
	hold.probe->run_batch = result_by_model;
	next = harness_probe("probe-models-one");
	next->batch = by_k;
	submit(&hold.h, &good, harness_session(&hold.h, OWNER), 'g', 1);
	submit(&hold.h, &wrong, harness_session(&hold.h, OWNER), 'e', 1);
	submit(&hold.h, &positive, harness_session(&hold.h, OWNER), 'p', 1);
	submit(&hold.h, &unsupported, harness_session(&hold.h, OWNER), 'u', 1);
	hold_end(&hold);
	assert_int_equal(request_wait(&good), 0);
	assert_string_equal(good.engine.error.text, "");
	assert_int_equal(request_wait(&wrong), -EINVAL);
	assert_string_equal(wrong.engine.error.text, "image_classify: plugin probe-models: no picture");
	assert_int_equal(request_wait(&positive), -EIO);
	assert_text(positive.engine.error, "returned 3");
	/* The next plugin takes it over, at once and alone. */
	assert_int_equal(request_wait(&unsupported), 0);
	assert_string_equal(unsupported.engine.plugin, "probe-models-one");
	assert_int_equal(unsupported.n_started, 2);
	assert_int_equal(next->runs, 1);
	assert_int_equal(next->batches, 0);
	assert_int_equal(n_batches, 1);
	/* Copies are counted by request: 16 bytes of picture, and what the plugin adds. */
	assert_int_equal(good.engine.copied + wrong.engine.copied + positive.engine.copied + unsupported.engine.copied,
			 4 * 16 + 0 + 1 + 2 + 3);
	stop(&hold);
}

static void forget_some(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	results[0] = 0;
}

static void a_result_that_is_forgotten_is_no_success(void **state)
{
	struct test_request a, b;
	struct hold hold;

	hold_begin(&hold, "probe-models", 2, HOUR);
	hold.probe->run_batch = forget_some;
	submit(&hold.h, &a, harness_session(&hold.h, OWNER), 'a', 1);
	submit(&hold.h, &b, harness_session(&hold.h, OWNER), 'b', 1);
	hold_end(&hold);
	assert_int_equal(request_wait(&a), 0);
	assert_int_equal(request_wait(&b), -EIO);
	stop(&hold);
}

static int fail_second_open(struct vaccel_plugin_report *report)
{
	static int n;

	return n++ % 2 ? vaccel_plugin_error(report, -ENOMEM, "no room for another") : 0;
}

/* Who does not get as far as the op has no part in the batch, which is none with one left. */
static void who_cannot_enter_leaves_the_others(void **state)
{
	struct test_request a, b;
	struct hold hold;

	hold_begin(&hold, "probe-models", 2, HOUR);
	hold.probe->open = fail_second_open;
	submit(&hold.h, &a, harness_session(&hold.h, OWNER), 'a', 1);
	submit(&hold.h, &b, harness_session(&hold.h, OWNER), 'b', 1);
	hold_end(&hold);
	assert_int_equal(request_wait(&a), 0);
	assert_int_equal(request_wait(&b), -ENOMEM);
	assert_string_equal(b.engine.error.text, "image_classify: plugin probe-models: no room for another");
	assert_int_equal(b.n_started, 0);
	assert_int_equal(hold.probe->batches, 0);
	assert_int_equal(hold.probe->runs, 1);
	stop(&hold);
}

static char steps[64];

static void note_entered(struct engine_request *request)
{
	strcat(steps, "(");
}

static void note_started(struct engine_request *request)
{
	strcat(steps, "!");
}

static void note_left(struct engine_request *request)
{
	strcat(steps, ")");
}

static void note_steps(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	strcat(steps, "*");
	memset(results, 0, n * sizeof(*results));
}

/* So a worker that dies in a batch has died in each of its requests, and no other. */
static void books_are_kept_of_each(void **state)
{
	struct test_request requests[3];
	struct hold hold;

	hold_begin(&hold, "probe-models", 3, HOUR);
	hold.probe->run_batch = note_steps;
	for (int i = 0; i < 3; i++) {
		classify_init(&hold.h, &requests[i], harness_session(&hold.h, OWNER), 'a', 1);
		requests[i].engine.entered = note_entered;
		requests[i].engine.started = note_started;
		requests[i].engine.left = note_left;
		request_submit(&hold.h, &requests[i]);
	}
	hold_end(&hold);
	for (int i = 0; i < 3; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_string_equal(steps, "(!(!(!*)))");
	stop(&hold);
}

/* ---- Many at once ---- */

static atomic_int n_storm_batches;

static void storm_batch(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	if (call->op == VACCEL_OP_IMAGE_CLASSIFY)
		*ret_batch = (struct vaccel_plugin_batch){ params_of(call)->k % 3, 4, params_of(call)->k * 20 };
}

/* Some are passed on until nobody is left. */
static int storm_run_one(const struct vaccel_plugin_call *call)
{
	return call->op == VACCEL_OP_IMAGE_CLASSIFY && params_of(call)->k == 5 ? -EOPNOTSUPP : 0;
}

static void storm_run_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		results[i] = storm_run_one(calls[i]);
	atomic_fetch_add(&n_storm_batches, 1);
}

static void storm_request(struct storm *storm, struct test_request *request, uint64_t session, uint64_t random)
{
	if (random & 1)
		classify_init(storm->h, request, session, 'a', 1 + (random >> 8) % 8);
	else
		request_init(storm->h, request, VACCEL_OP_NOOP, OWNER, session);
}

static void storm_probe(struct probe *probe)
{
	probe->batch = storm_batch;
	probe->run_batch = storm_run_batch;
	probe->run = storm_run_one;
}

static void storm(const char *order)
{
	const char *const settings[] = { order, "models.dir=/", "engine.threads=3", NULL };
	const struct storm_plan plan = {
		.settings = settings,
		.plugins = { "probe-models", "probe-models-session", "probe-models-one" },
		.set = storm_probe,
		.request = storm_request,
		.may_end = -EOPNOTSUPP,
	};

	atomic_store(&n_storm_batches, 0);
	storm_run(&plan);
	assert_true(n_storm_batches > 0);
}

static void storms(void **state)
{
	storm("order.default=probe-models probe-models-session probe-models-one");
	storm("order.default=probe-models-session probe-models-one probe-models");
	storm("order.default=probe-models-one probe-models probe-models-session");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_of_all_sessions),
		cmocka_unit_test(keys_do_not_mix),
		cmocka_unit_test(nobody_overtakes),
		cmocka_unit_test(the_time_comes),
		cmocka_unit_test(others_go_on_meanwhile),
		cmocka_unit_test(those_that_are_there_need_no_delay),
		cmocka_unit_test(a_deadline_is_not_waited_away),
		cmocka_unit_test(late_ones_do_not_join),
		cmocka_unit_test(who_waits_is_let_go),
		cmocka_unit_test(what_shall_run_alone_does),
		cmocka_unit_test(never_in_the_callers_thread),
		cmocka_unit_test(one_of_a_session_at_a_time),
		cmocka_unit_test(a_batch_is_one_operation),
		cmocka_unit_test(each_has_its_own_result),
		cmocka_unit_test(a_result_that_is_forgotten_is_no_success),
		cmocka_unit_test(who_cannot_enter_leaves_the_others),
		cmocka_unit_test(books_are_kept_of_each),
		cmocka_unit_test(storms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
