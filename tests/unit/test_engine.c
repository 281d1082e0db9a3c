/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's queues and threads: who runs when, what ends a request, and that done() is called once whatever happens.
 * The probe plugins do what the tests say (plugins/probe.h).
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "harness.h"
#include "util/util.h"

#define OWNER 1
#define OTHER 2

/* ---- One request ---- */

static void a_request_runs(void **state)
{
	static const char *const settings[] = { "order.default=reference", NULL };
	struct test_request request;
	struct harness h;
	uint64_t session;

	harness_start(&h, NULL, settings);
	session = harness_session(&h, OWNER);
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), 0);
	for (int i = 0; i < 16; i++)
		assert_true(request.c[i] == 2 * (float)i);
	assert_string_equal(request.engine.plugin, "reference");
	assert_true(request.engine.arrived_ns && request.engine.start_ns >= request.engine.arrived_ns);
	assert_true(request.engine.end_ns >= request.engine.start_ns);
	assert_int_equal(request.n_started, 1);
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), 0);
	harness_stop(&h);
	engine_free(NULL);
}

static void expect_refusal(struct harness *h, struct test_request *request, int code, const char *text)
{
	request_submit(h, request);
	assert_int_equal(request_wait(request), code);
	assert_text(request->engine.error, text);
	assert_int_equal(request->n_started, 0);
	assert_null(request->engine.plugin);
}

static void refusals_say_why(void **state)
{
	static const char *const settings[] = { "order.default=reference", "order.dgemm=", NULL };
	struct test_request request;
	struct harness h;
	uint64_t session, closed;

	harness_start(&h, NULL, settings);
	session = harness_session(&h, OWNER);
	closed = harness_session(&h, OWNER);
	assert_int_equal(engine_session_close(h.engine, OWNER, closed, NULL), 0);
	request_init(&h, &request, 99, OWNER, session);
	expect_refusal(&h, &request, -EOPNOTSUPP, "operation 99 is not known");
	request_init(&h, &request, VACCEL_OP_DGEMM, OWNER, session);
	request.engine.op.args[0].len = request.engine.op.args[1].len = request.engine.op.args[2].len = 128;
	expect_refusal(&h, &request, -EOPNOTSUPP, "dgemm: no plugin here serves it");
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session);
	request.engine.op.args[0].len = 63;
	expect_refusal(&h, &request, -ERANGE, "matrix A needs 64 bytes");
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session + 100);
	expect_refusal(&h, &request, -EBADF, "never opened");
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, closed);
	expect_refusal(&h, &request, -ESTALE, "is closed");
	request_init(&h, &request, VACCEL_OP_SGEMM, OTHER, session);
	expect_refusal(&h, &request, -EBADF, "never opened");
	assert_int_equal(engine_session_close(h.engine, OTHER, session, NULL), -EBADF);
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), 0);
	harness_stop(&h);
}

static int fail_with_words(const struct vaccel_plugin_call *call)
{
	return vaccel_plugin_error(&call->report, -EIO, "the card is on fire");
}

static int fail_silently(const struct vaccel_plugin_call *call)
{
	return -ENOMEM;
}

static int return_nonsense(const struct vaccel_plugin_call *call)
{
	return 17;
}

static int fail_open(struct vaccel_plugin_report *report)
{
	return vaccel_plugin_error(report, -EACCES, "the card is locked");
}

static void failures_name_op_plugin_and_cause(void **state)
{
	static const char *const settings[] = { "order.default=probe-any reference", NULL };
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t session;

	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-any");
	session = harness_session(&h, OWNER);
	probe->open = fail_open;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), -EACCES);
	assert_string_equal(request.engine.error.text, "sgemm: plugin probe-any: the card is locked");
	probe->open = NULL;
	probe->run = fail_with_words;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), -EIO);
	assert_string_equal(request.engine.error.text, "sgemm: plugin probe-any: the card is on fire");
	probe->run = fail_silently;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), -ENOMEM);
	assert_string_equal(request.engine.error.text, "noop: plugin probe-any: Cannot allocate memory");
	probe->run = return_nonsense;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), -EIO);
	assert_text(request.engine.error, "noop: plugin probe-any: returned 17");
	probe->run = NULL;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), 0);
	assert_string_equal(request.engine.error.text, "");
	harness_stop(&h);
}

/* ---- Another plugin takes over ---- */

static int refuse(const struct vaccel_plugin_call *call)
{
	return -EOPNOTSUPP;
}

static int refuse_open(struct vaccel_plugin_report *report)
{
	return -EOPNOTSUPP;
}

static char steps[32];

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

/* Who keeps books of it knows at each moment whether it is in a plugin: not while it waits for the next one. */
static void each_plugin_is_entered_and_left(void **state)
{
	static const char *const settings[] = { "order.default=probe-one probe-any reference", NULL };
	struct test_request request;
	struct probe *one, *any;
	struct harness h;
	uint64_t session;

	harness_start(&h, NULL, settings);
	one = harness_probe("probe-one");
	any = harness_probe("probe-any");
	session = harness_session(&h, OWNER);
	one->open = refuse_open;
	any->run = refuse;
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session);
	request.engine.entered = note_entered;
	request.engine.started = note_started;
	request.engine.left = note_left;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), 0);
	assert_string_equal(steps, "()(!)(!)");
	harness_stop(&h);
}

static void the_next_plugin_takes_over(void **state)
{
	static const char *const settings[] = { "order.default=probe-one probe-any reference", "order.noop=probe-one",
						NULL };
	struct test_request request;
	struct probe *one, *any;
	struct harness h;
	uint64_t session;

	harness_start(&h, NULL, settings);
	one = harness_probe("probe-one");
	any = harness_probe("probe-any");
	session = harness_session(&h, OWNER);
	one->run = any->run = refuse;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), 0);
	assert_string_equal(request.engine.plugin, "reference");
	assert_true(request.c[5] == 10);
	assert_int_equal(one->runs, 1);
	assert_int_equal(any->runs, 1);
	/* Each request starts with the first again. */
	any->run = NULL;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), 0);
	assert_string_equal(request.engine.plugin, "probe-any");
	assert_int_equal(one->runs, 2);
	/* When all refuse, the last one's refusal is the answer. */
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), -EOPNOTSUPP);
	assert_text(request.engine.error, "noop: plugin probe-one: ");
	/* Any other failure is the answer. */
	one->run = fail_with_words;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), -EIO);
	assert_int_equal(any->runs, 2);
	harness_stop(&h);
}

static void a_plugin_without_sessions_makes_way(void **state)
{
	static const char *const settings[] = { "order.default=probe-one reference", NULL };
	struct test_request request;
	struct probe *one;
	struct harness h;

	harness_start(&h, NULL, settings);
	one = harness_probe("probe-one");
	one->open = refuse_open;
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, harness_session(&h, OWNER)), 0);
	assert_string_equal(request.engine.plugin, "reference");
	assert_int_equal(one->runs, 0);
	harness_stop(&h);
	assert_int_equal(one->closes, 0);
}

static void faults_on_demand(void **state)
{
	static const char *const settings[] = { "order.default=fault", NULL };
	struct test_request request;
	struct vaccel_gemm *gemm;
	struct harness h;
	uint64_t session;

	harness_start(&h, NULL, settings);
	session = harness_session(&h, OWNER);
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session);
	gemm = (struct vaccel_gemm *)request.engine.op.params;
	gemm->alpha = fault_alpha(FAULT_ERROR, 0, EIO);
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), -EIO);
	assert_text(request.engine.error, "sgemm: plugin fault: ");
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_SGEMM, session), 0);
	assert_true(request.c[5] == 10);
	harness_stop(&h);
}

/* ---- Thread models ---- */

static void plugin_sessions_are_opened_once(void **state)
{
	static const char *const settings[] = { "order.default=probe-session", NULL };
	struct test_request request;
	struct probe *probe;
	struct harness h;
	uint64_t a, b;

	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-session");
	a = harness_session(&h, OWNER);
	b = harness_session(&h, OWNER);
	harness_session(&h, OWNER); /* never used */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, a), 0);
		assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, b), 0);
	}
	assert_int_equal(probe->opens, 2);
	assert_int_equal(probe->closes, 0);
	assert_int_equal(engine_session_close(h.engine, OWNER, a, NULL), 0);
	assert_int_equal(probe->closes, 1);
	harness_stop(&h);
	assert_int_equal(probe->closes, 2);
	assert_int_equal(probe->violations, 0);
}

/* As many at once as the model allows, and no more: what may not start has not started when later ones have ended. */
static void model_any_runs_side_by_side(void **state)
{
	static const char *const settings[] = { "order.default=probe-any", "engine.threads=3", NULL };
	struct test_request requests[3];
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t session;

	gate_init(&gate);
	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-any");
	probe->run = gate_run;
	session = harness_session(&h, OWNER);
	for (int i = 0; i < 3; i++) {
		request_init(&h, &requests[i], VACCEL_OP_NOOP, OWNER, session);
		request_submit(&h, &requests[i]);
	}
	for (int i = 0; i < 3; i++)
		await(&gate.entered);
	for (int i = 0; i < 3; i++)
		sem_post(&gate.leave);
	for (int i = 0; i < 3; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	harness_stop(&h);
}

static void model_session_runs_sessions_side_by_side(void **state)
{
	static const char *const settings[] = { "order.default=probe-session", "engine.threads=3",
						"order.sgemm=reference", NULL };
	struct test_request a1, a2, b1, other;
	struct probe *probe;
	struct harness h;
	struct gate gate;
	uint64_t a, b;

	gate_init(&gate);
	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-session");
	probe->run = gate_run;
	a = harness_session(&h, OWNER);
	b = harness_session(&h, OWNER);
	request_init(&h, &a1, VACCEL_OP_NOOP, OWNER, a);
	request_init(&h, &a2, VACCEL_OP_NOOP, OWNER, a);
	request_init(&h, &b1, VACCEL_OP_NOOP, OWNER, b);
	request_submit(&h, &a1);
	request_submit(&h, &a2);
	request_submit(&h, &b1);
	await(&gate.entered);
	await(&gate.entered);
	assert_int_equal(harness_run(&h, &other, VACCEL_OP_SGEMM, harness_session(&h, OWNER)), 0);
	assert_int_equal(a2.n_started, 0);
	for (int i = 0; i < 3; i++)
		sem_post(&gate.leave);
	assert_int_equal(request_wait(&a1), 0);
	assert_int_equal(request_wait(&a2), 0);
	assert_int_equal(request_wait(&b1), 0);
	assert_int_equal(probe->violations, 0);
	harness_stop(&h);
}

static void model_one_runs_one(void **state)
{
	static const char *const settings[] = { "order.default=probe-one", "engine.threads=3", "order.sgemm=reference",
						NULL };
	struct test_request first, second, other;
	struct probe *probe;
	struct harness h;
	struct gate gate;

	gate_init(&gate);
	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-one");
	probe->run = gate_run;
	request_init(&h, &first, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_init(&h, &second, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_submit(&h, &first);
	await(&gate.entered);
	request_submit(&h, &second);
	/* A session whose turn has not come because of its plugin does not hold up another. */
	assert_int_equal(harness_run(&h, &other, VACCEL_OP_SGEMM, harness_session(&h, OWNER)), 0);
	assert_int_equal(second.n_started, 0);
	sem_post(&gate.leave);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&first), 0);
	assert_int_equal(request_wait(&second), 0);
	assert_int_equal(probe->violations, 0);
	harness_stop(&h);
}

/* ---- Many at once ---- */

static int refuse_some(const struct vaccel_plugin_call *call)
{
	static atomic_uint n;

	/* About every second, in no pattern that the order of the plugins could follow. */
	return atomic_fetch_add(&n, 1) * 0x9e3779b1u >> 31 ? -EOPNOTSUPP : 0;
}

static void storm_request(struct storm *storm, struct test_request *request, uint64_t session, uint64_t random)
{
	request_init(storm->h, request, random & 1 ? VACCEL_OP_NOOP : VACCEL_OP_SGEMM, OWNER, session);
}

static void storm_probe(struct probe *probe)
{
	probe->run = refuse_some;
}

static void storm(const char *order)
{
	const char *const settings[] = { order, "engine.threads=3", NULL };
	const struct storm_plan plan = {
		.settings = settings,
		.plugins = { "probe-one", "probe-session", "probe-any" },
		.set = storm_probe,
		.request = storm_request,
		/* The last plugin of the order may be one that refuses. */
		.may_end = -EOPNOTSUPP,
	};

	storm_run(&plan);
}

static void storms(void **state)
{
	storm("order.default=probe-one probe-session probe-any");
	storm("order.default=probe-session probe-any probe-one");
	storm("order.default=probe-any probe-one probe-session");
}

/* ---- Turns ---- */

static char turns[64];
static atomic_int n_turns;

static void note_turn(struct engine_request *engine)
{
	turns[atomic_fetch_add(&n_turns, 1)] = (char)engine->id;
}

/* Five of A wait, then two of B, then one of C: they take turns, each session in its own order. */
static void sessions_take_turns(void **state)
{
	static const char *const settings[] = { "order.default=probe-one", "engine.threads=1", NULL };
	static const char waiting[] = "AAAAABBC", expected[] = "ABCABAAA";
	struct test_request blocker, requests[8];
	uint64_t sessions[3], session;
	struct probe *probe;
	struct harness h;
	struct gate gate;

	n_turns = 0;
	gate_init(&gate);
	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-one");
	probe->run = gate_run;
	for (int i = 0; i < 3; i++)
		sessions[i] = harness_session(&h, OWNER);
	request_init(&h, &blocker, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_submit(&h, &blocker);
	await(&gate.entered);
	for (int i = 0; i < 8; i++) {
		session = sessions[waiting[i] - 'A'];
		request_init(&h, &requests[i], VACCEL_OP_NOOP, OWNER, session);
		requests[i].engine.id = (uint64_t)waiting[i];
		requests[i].engine.started = note_turn;
		request_submit(&h, &requests[i]);
	}
	for (int i = 0; i < 9; i++)
		sem_post(&gate.leave);
	for (int i = 0; i < 8; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_int_equal(request_wait(&blocker), 0);
	assert_memory_equal(turns, expected, 8);
	harness_stop(&h);
}

/* An SGEMM that counts four times as much as the least that a request counts. */
static void make_larger(struct test_request *request)
{
	static float matrices[3][32 * 32];
	struct vaccel_gemm gemm;
	struct op_request *op = &request->engine.op;

	memcpy(&gemm, op->params, sizeof(gemm));
	gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldb = gemm.ldc = 32;
	memcpy(op->params, &gemm, sizeof(gemm));
	for (int i = 0; i < 3; i++) {
		op->args[i].data = matrices[i];
		op->args[i].len = sizeof(matrices[i]);
	}
}

/* A's requests are four times as large as B's: B has four turns where A has one. */
static void sessions_share_work(void **state)
{
	static const char *const settings[] = { "order.default=probe-one", "engine.threads=1", NULL };
	static const char waiting[] = "AAABBBBBB", expected[] = "ABBBBABBA";
	struct test_request blocker, requests[9];
	uint64_t sessions[2];
	struct harness h;
	struct gate gate;

	n_turns = 0;
	gate_init(&gate);
	harness_start(&h, NULL, settings);
	harness_probe("probe-one")->run = gate_run;
	for (int i = 0; i < 2; i++)
		sessions[i] = harness_session(&h, OWNER);
	request_init(&h, &blocker, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_submit(&h, &blocker);
	await(&gate.entered);
	for (int i = 0; i < 9; i++) {
		bool large = waiting[i] == 'A';

		request_init(&h, &requests[i], large ? VACCEL_OP_SGEMM : VACCEL_OP_NOOP, OWNER,
			     sessions[waiting[i] - 'A']);
		if (large)
			make_larger(&requests[i]);
		requests[i].engine.id = (uint64_t)waiting[i];
		requests[i].engine.started = note_turn;
		request_submit(&h, &requests[i]);
	}
	for (int i = 0; i < 10; i++)
		sem_post(&gate.leave);
	for (int i = 0; i < 9; i++)
		assert_int_equal(request_wait(&requests[i]), 0);
	assert_int_equal(request_wait(&blocker), 0);
	assert_memory_equal(turns, expected, 9);
	harness_stop(&h);
}

/* ---- Deadlines, cancelling, the longest running ---- */

/* A one-thread engine whose thread is held by blocker. */
static void start_blocked(struct harness *h, struct gate *gate, struct test_request *blocker, uint64_t *ret_session)
{
	static const char *const settings[] = { "order.default=probe-one", "engine.threads=1", NULL };

	gate_init(gate);
	harness_start(h, NULL, settings);
	harness_probe("probe-one")->run = gate_run;
	*ret_session = harness_session(h, OWNER);
	request_init(h, blocker, VACCEL_OP_NOOP, OWNER, *ret_session);
	request_submit(h, blocker);
	await(&gate->entered);
}

static void deadlines_end_what_waits(void **state)
{
	struct test_request blocker, late, later, patient;
	struct harness h;
	struct gate gate;
	uint64_t session;

	start_blocked(&h, &gate, &blocker, &session);
	request_init(&h, &patient, VACCEL_OP_NOOP, OWNER, session);
	request_init(&h, &later, VACCEL_OP_NOOP, OWNER, session);
	request_init(&h, &late, VACCEL_OP_NOOP, OWNER, session);
	patient.engine.op.deadline_ms = UINT32_MAX;
	later.engine.op.deadline_ms = 5;
	late.engine.op.deadline_ms = 1000;
	late.engine.arrived_ns = now_ns() - 2000000000u;
	request_submit(&h, &patient);
	request_submit(&h, &later);
	request_submit(&h, &late);
	assert_int_equal(request_wait(&later), -ETIMEDOUT);
	assert_text(later.engine.error, "noop: its deadline of 5 ms passed before it could start");
	assert_int_equal(request_wait(&late), -ETIMEDOUT);
	assert_int_equal(late.n_started, 0);
	assert_true(late.engine.start_ns == 0);
	assert_int_equal(blocker.n_done, 0);
	assert_int_equal(patient.n_done, 0);
	sem_post(&gate.leave);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&blocker), 0);
	assert_int_equal(request_wait(&patient), 0);
	harness_stop(&h);
}

/* Late enough for the thread that watches deadlines to see nothing that waits, and to go to sleep. */
static int refuse_late(const struct vaccel_plugin_call *call)
{
	usleep(10000);
	return -EOPNOTSUPP;
}

/* The deadline passes while it waits for the second plugin, which another request holds. */
static void deadlines_hold_after_a_fallback(void **state)
{
	static const char *const settings[] = { "order.default=probe-one", "order.sgemm=probe-any probe-one",
						"engine.threads=2", NULL };
	struct test_request blocker, request;
	struct harness h;
	struct gate gate;
	uint64_t session;

	gate_init(&gate);
	harness_start(&h, NULL, settings);
	harness_probe("probe-one")->run = gate_run;
	harness_probe("probe-any")->run = refuse_late;
	request_init(&h, &blocker, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_submit(&h, &blocker);
	await(&gate.entered);
	session = harness_session(&h, OWNER);
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session);
	request.engine.op.deadline_ms = 50;
	request_submit(&h, &request);
	assert_int_equal(request_wait(&request), -ETIMEDOUT);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&blocker), 0);
	harness_stop(&h);
}

static void cancelling(void **state)
{
	struct test_request blocker, request;
	struct error error = { 0 };
	struct harness h;
	struct gate gate;
	uint64_t session;

	start_blocked(&h, &gate, &blocker, &session);
	request_init(&h, &request, VACCEL_OP_SGEMM, OWNER, session);
	request_submit(&h, &request);
	assert_int_equal(engine_cancel(h.engine, OTHER, request.engine.id, &error), -ENOENT);
	assert_int_equal(engine_cancel(h.engine, OWNER, 12345, &error), -ENOENT);
	assert_text(error, "is not here, or has completed");
	assert_int_equal(engine_cancel(h.engine, OWNER, blocker.engine.id, &error), -EBUSY);
	assert_text(error, "runs already");
	assert_int_equal(engine_cancel(h.engine, OWNER, request.engine.id, &error), 0);
	assert_int_equal(request_wait(&request), -ECANCELED);
	assert_text(request.engine.error, "sgemm: was cancelled");
	assert_int_equal(engine_cancel(h.engine, OWNER, request.engine.id, &error), -ENOENT);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&blocker), 0);
	assert_int_equal(engine_cancel(h.engine, OWNER, blocker.engine.id, NULL), -ENOENT);
	sem_post(&gate.leave);
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, session), 0);
	harness_stop(&h);
}

static void the_longest_running_is_known(void **state)
{
	static const char *const settings[] = { "order.default=probe-any", "engine.threads=2", NULL };
	struct test_request first, second;
	uint64_t session, id = 7;
	struct harness h;
	struct gate gate;
	uint32_t owner = 7;

	gate_init(&gate);
	harness_start(&h, NULL, settings);
	assert_true(engine_oldest(h.engine, &owner, &id) == 0);
	harness_probe("probe-any")->run = gate_run;
	session = harness_session(&h, OWNER);
	request_init(&h, &first, VACCEL_OP_NOOP, OWNER, session);
	request_init(&h, &second, VACCEL_OP_NOOP, OWNER, session);
	request_submit(&h, &first);
	await(&gate.entered);
	request_submit(&h, &second);
	await(&gate.entered);
	assert_true(engine_oldest(h.engine, &owner, &id) == first.engine.start_ns);
	assert_true(owner == OWNER && id == first.engine.id);
	sem_post(&gate.leave);
	sem_post(&gate.leave);
	assert_int_equal(request_wait(&first), 0);
	assert_int_equal(request_wait(&second), 0);
	harness_stop(&h);
}

/* ---- Ends ---- */

struct closing {
	struct harness *h;
	uint64_t session;
	int result;
};

static void *close_main(void *arg)
{
	struct closing *closing = arg;

	closing->result = engine_session_close(closing->h->engine, OWNER, closing->session, NULL);
	return NULL;
}

static void closing_a_session(void **state)
{
	struct test_request blocker, waiting, refused;
	struct closing closing;
	pthread_t thread;
	struct harness h;
	struct gate gate;
	uint64_t session;

	start_blocked(&h, &gate, &blocker, &session);
	request_init(&h, &waiting, VACCEL_OP_NOOP, OWNER, session);
	request_submit(&h, &waiting);
	closing = (struct closing){ &h, session, 1 };
	assert_int_equal(pthread_create(&thread, NULL, close_main, &closing), 0);
	assert_int_equal(request_wait(&waiting), -ECANCELED);
	assert_text(waiting.engine.error, "its session was closed");
	/* It closes from here on, and waits for what runs. */
	request_init(&h, &refused, VACCEL_OP_NOOP, OWNER, session);
	expect_refusal(&h, &refused, -ESTALE, "is being closed");
	assert_int_equal(engine_session_close(h.engine, OWNER, session, NULL), -ESTALE);
	assert_int_equal(blocker.n_done, 0);
	sem_post(&gate.leave);
	pthread_join(thread, NULL);
	assert_int_equal(closing.result, 0);
	assert_int_equal(request_wait(&blocker), 0);
	request_init(&h, &refused, VACCEL_OP_NOOP, OWNER, session);
	expect_refusal(&h, &refused, -ESTALE, "is closed");
	sem_post(&gate.leave);
	assert_int_equal(harness_run(&h, &refused, VACCEL_OP_NOOP, harness_session(&h, OWNER)), 0);
	harness_stop(&h);
}

static atomic_int slow_done_returned;

static void slow_done(struct engine_request *engine)
{
	struct test_request *request = container_of(engine, struct test_request, engine);

	sem_post(&request->done);
	/* Long enough for an engine that does not wait to be caught; a test of one that does takes no notice. */
	usleep(20000);
	atomic_fetch_add(&slow_done_returned, 1);
}

static void *owner_gone_main(void *arg)
{
	struct harness *h = arg;

	engine_owner_gone(h->engine, OWNER);
	return NULL;
}

/* When engine_owner_gone() returns, so have all done() of the owner: what they look at may go. */
static void an_owner_goes(void **state)
{
	struct test_request blocker, waiting, other;
	uint64_t session, others;
	pthread_t thread;
	struct harness h;
	struct gate gate;

	slow_done_returned = 0;
	start_blocked(&h, &gate, &blocker, &session);
	others = harness_session(&h, OTHER);
	request_init(&h, &waiting, VACCEL_OP_NOOP, OWNER, harness_session(&h, OWNER));
	request_init(&h, &other, VACCEL_OP_NOOP, OTHER, others);
	blocker.engine.done = slow_done;
	request_submit(&h, &waiting);
	request_submit(&h, &other);
	assert_int_equal(pthread_create(&thread, NULL, owner_gone_main, &h), 0);
	assert_int_equal(request_wait(&waiting), -ECANCELED);
	sem_post(&gate.leave);
	sem_post(&gate.leave);
	pthread_join(thread, NULL);
	assert_int_equal(slow_done_returned, 1);
	assert_int_equal(request_wait(&other), 0);
	request_init(&h, &waiting, VACCEL_OP_NOOP, OWNER, session);
	expect_refusal(&h, &waiting, -ESTALE, "is closed");
	engine_owner_gone(h.engine, OWNER);
	harness_stop(&h);
}

static void *stop_main(void *arg)
{
	harness_stop(arg);
	return NULL;
}

/* What runs when the engine goes is not passed on to a plugin whose turn never comes. */
static void an_engine_goes(void **state)
{
	static const char *const settings[] = { "order.default=probe-one reference", "engine.threads=1", NULL };
	struct test_request running, waiting;
	pthread_t thread;
	struct harness h;
	struct gate gate;
	uint64_t session;

	gate_init(&gate);
	gate.result = -EOPNOTSUPP;
	harness_start(&h, NULL, settings);
	harness_probe("probe-one")->run = gate_run;
	session = harness_session(&h, OWNER);
	request_init(&h, &running, VACCEL_OP_NOOP, OWNER, session);
	request_init(&h, &waiting, VACCEL_OP_NOOP, OWNER, session);
	request_submit(&h, &running);
	await(&gate.entered);
	/* It holds up the engine's end, so that what runs has the time to be passed on. */
	waiting.engine.done = slow_done;
	request_submit(&h, &waiting);
	assert_int_equal(pthread_create(&thread, NULL, stop_main, &h), 0);
	await(&waiting.done);
	assert_text(waiting.engine.error, "the engine stops");
	sem_post(&gate.leave);
	pthread_join(thread, NULL);
	assert_int_equal(request_wait(&running), -EOPNOTSUPP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_runs),
		cmocka_unit_test(refusals_say_why),
		cmocka_unit_test(failures_name_op_plugin_and_cause),
		cmocka_unit_test(each_plugin_is_entered_and_left),
		cmocka_unit_test(the_next_plugin_takes_over),
		cmocka_unit_test(a_plugin_without_sessions_makes_way),
		cmocka_unit_test(faults_on_demand),
		cmocka_unit_test(plugin_sessions_are_opened_once),
		cmocka_unit_test(model_any_runs_side_by_side),
		cmocka_unit_test(model_session_runs_sessions_side_by_side),
		cmocka_unit_test(model_one_runs_one),
		cmocka_unit_test(storms),
		cmocka_unit_test(sessions_take_turns),
		cmocka_unit_test(sessions_share_work),
		cmocka_unit_test(deadlines_end_what_waits),
		cmocka_unit_test(deadlines_hold_after_a_fallback),
		cmocka_unit_test(cancelling),
		cmocka_unit_test(the_longest_running_is_known),
		cmocka_unit_test(closing_a_session),
		cmocka_unit_test(an_owner_goes),
		cmocka_unit_test(an_engine_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
