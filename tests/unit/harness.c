/* SPDX-License-Identifier: Apache-2.0 */
/* See harness.h. */
#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "util/util.h"

static struct gate *current_gate;

void await(sem_t *sem)
{
	while (sem_wait(sem) < 0)
		assert_int_equal(errno, EINTR);
}

void harness_start(struct harness *h, struct state *state, const char *const settings[])
{
	struct error error = { 0 };

	*h = (struct harness){ 0 };
	assert_int_equal(config_load("", &h->config, &error), 0);
	for (size_t i = 0; settings && settings[i]; i++)
		if (config_set(h->config, settings[i], &error) < 0)
			fail_msg("%s", error.text);
	if (engine_new(h->config, state, &h->engine, &error) < 0)
		fail_msg("%s", error.text);
}

void harness_stop(struct harness *h)
{
	engine_free(h->engine);
	config_free(h->config);
}

uint64_t harness_session(struct harness *h, uint32_t owner)
{
	uint64_t id = 0;

	assert_int_equal(engine_session_open(h->engine, owner, 0, &id, NULL), 0);
	return id;
}

struct probe *harness_probe(const char *name)
{
	struct probe *probe;
	char path[512];
	void *handle;

	snprintf(path, sizeof(path), UNIT_PLUGIN_DIR "/vaccel-%s.so", name);
	handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
	assert_non_null(handle);
	probe = dlsym(handle, PROBE_SYMBOL);
	assert_non_null(probe);
	dlclose(handle);
	probe->run = NULL;
	probe->open = NULL;
	probe->gone = NULL;
	probe->unload = NULL;
	probe->batch = NULL;
	probe->run_batch = NULL;
	probe->key_check = NULL;
	probe->key_gone = NULL;
	probe->violations = probe->batches = probe->runs = probe->opens = probe->closes = 0;
	return probe;
}

static void on_started(struct engine_request *engine)
{
	struct test_request *request = container_of(engine, struct test_request, engine);

	atomic_fetch_add(&request->n_started, 1);
}

static void on_done(struct engine_request *engine)
{
	struct test_request *request = container_of(engine, struct test_request, engine);

	request->done_in = pthread_self();
	atomic_fetch_add(&request->n_done, 1);
	sem_post(&request->done);
}

static void fill_sgemm(struct test_request *request)
{
	struct vaccel_gemm gemm = {
		.order = VACCEL_ROW_MAJOR,
		.transa = VACCEL_NO_TRANS,
		.transb = VACCEL_NO_TRANS,
		.m = 4,
		.n = 4,
		.k = 4,
		.lda = 4,
		.ldb = 4,
		.ldc = 4,
		.alpha = 1,
	};
	struct op_request *op = &request->engine.op;

	for (int i = 0; i < 16; i++) {
		request->a[i] = (float)i;
		request->b[i] = i % 5 == 0 ? 2 : 0; /* twice the unit matrix */
		request->c[i] = -1;
	}
	op->n_args = 3;
	op->params_len = sizeof(gemm);
	memcpy(op->params, &gemm, sizeof(gemm));
	op->args[0] = (struct op_arg){ request->a, sizeof(request->a), 1 };
	op->args[1] = (struct op_arg){ request->b, sizeof(request->b), 1 };
	op->args[2] = (struct op_arg){ request->c, sizeof(request->c), 2 };
}

void request_init(struct harness *h, struct test_request *request, uint32_t op, uint32_t owner, uint64_t session)
{
	memset(request, 0, sizeof(*request));
	sem_init(&request->done, 0, 0);
	request->engine = (struct engine_request){
		.op = { .op = op, .session = session },
		.owner = owner,
		.id = __atomic_add_fetch(&h->next_id, 1, __ATOMIC_RELAXED),
		.started = on_started,
		.done = on_done,
	};
	if (op != VACCEL_OP_NOOP)
		fill_sgemm(request);
}

void request_submit(struct harness *h, struct test_request *request)
{
	engine_submit(h->engine, &request->engine, 0);
}

int request_wait(struct test_request *request)
{
	await(&request->done);
	assert_int_equal(request->n_done, 1);
	assert_int_equal(request->engine.result, request->engine.error.code);
	return request->engine.result;
}

int harness_run(struct harness *h, struct test_request *request, uint32_t op, uint64_t session)
{
	request_init(h, request, op, 1, session);
	request_submit(h, request);
	return request_wait(request);
}

void gate_init(struct gate *gate)
{
	*gate = (struct gate){ 0 };
	sem_init(&gate->entered, 0, 0);
	sem_init(&gate->leave, 0, 0);
	current_gate = gate;
}

int gate_run(const struct vaccel_plugin_call *call)
{
	sem_post(&current_gate->entered);
	await(&current_gate->leave);
	return current_gate->result;
}

#define STORM_OWNER    1
#define STORM_THREADS  3
#define STORM_REQUESTS 400

static void *storm_main(void *arg)
{
	struct storm *storm = arg;

	for (int i = 0; i < STORM_REQUESTS; i++) {
		struct test_request *request = &storm->requests[i];
		uint64_t random = test_random(&storm->seed);

		storm->plan->request(storm, request, storm->sessions[random >> 1 & 1], random);
		if (random >> 2 & 1)
			request->engine.op.deadline_ms = 60000;
		engine_submit(storm->h->engine, &request->engine, random >> 3 & 1 ? UINT64_MAX : 0);
		if ((random >> 4 & 15) == 0)
			engine_cancel(storm->h->engine, STORM_OWNER, request->engine.id, NULL);
	}
	for (int i = 0; i < STORM_REQUESTS; i++)
		await(&storm->requests[i].done);
	return NULL;
}

static void check_storm(struct storm *storm)
{
	for (int i = 0; i < STORM_REQUESTS; i++) {
		const struct test_request *request = &storm->requests[i];

		assert_int_equal(request->n_done, 1);
		assert_true(request->engine.result == 0 || request->engine.result == -ECANCELED ||
			    request->engine.result == storm->plan->may_end);
		/* Refused by some, run by none, or run by the last of at most three. */
		assert_true(request->n_started <= 3);
	}
	free(storm->requests);
}

void storm_run(const struct storm_plan *plan)
{
	struct storm storms[STORM_THREADS];
	pthread_t threads[STORM_THREADS];
	struct probe *probes[3];
	struct harness h;
	uint64_t shared;

	harness_start(&h, NULL, plan->settings);
	for (int i = 0; i < 3; i++) {
		probes[i] = harness_probe(plan->plugins[i]);
		plan->set(probes[i]);
	}
	shared = harness_session(&h, STORM_OWNER);
	for (unsigned int i = 0; i < STORM_THREADS; i++) {
		storms[i] = (struct storm){ &h,
					    { shared, harness_session(&h, STORM_OWNER) },
					    i + 1,
					    plan,
					    calloc(STORM_REQUESTS, sizeof(struct test_request)) };
		assert_non_null(storms[i].requests);
		assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storms[i]), 0);
	}
	for (unsigned int i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	/* After it no done() is under way, so what is counted is final. */
	harness_stop(&h);
	for (unsigned int i = 0; i < STORM_THREADS; i++)
		check_storm(&storms[i]);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(probes[i]->violations, 0);
		assert_true(probes[i]->runs > 0);
		assert_int_equal(probes[i]->opens, probes[i]->closes);
	}
}
