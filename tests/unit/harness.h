/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine for a test, requests that count how often they are done, and a gate that holds operations of the probe
 * plugins until the test opens it. No test waits for time to pass: it waits for what must happen.
 */
#ifndef TESTS_UNIT_HARNESS_H
#define TESTS_UNIT_HARNESS_H

#include <semaphore.h>
#include <stdatomic.h>

#include "engine/engine.h"
#include "plugins/probe.h"

struct harness {
	struct config *config;
	struct engine *engine;
	uint64_t next_id;
};

/* settings: "SECTION.KEY=VALUE" over the built-in defaults, NULL at the end. state: NULL for a private one. */
void harness_start(struct harness *h, struct state *state, const char *const settings[]);
void harness_stop(struct harness *h);

uint64_t harness_session(struct harness *h, uint32_t owner);

/* The control block of a probe plugin that an engine has loaded, with its functions and counts reset. */
struct probe *harness_probe(const char *name);

struct test_request {
	struct engine_request engine;
	atomic_int n_done;
	atomic_int n_started;
	sem_t done;
	pthread_t done_in;
	float a[16], b[16], c[16]; /* of SGEMM, 4 x 4 */
};

/* op NOOP, or SGEMM of a and b into c. */
void request_init(struct harness *h, struct test_request *request, uint32_t op, uint32_t owner, uint64_t session);
void request_submit(struct harness *h, struct test_request *request);
/* Waits until it is done and checks that it was so once. */
int request_wait(struct test_request *request);
/* All four, with owner 1. */
int harness_run(struct harness *h, struct test_request *request, uint32_t op, uint64_t session);

/* Several threads that each submit many requests, in a session of their own or one that they share, and cancel some. */
struct storm {
	struct harness *h;
	uint64_t sessions[2];
	uint64_t seed;
	const struct storm_plan *plan;
	struct test_request *requests;
};

struct storm_plan {
	const char *const *settings;
	const char *plugins[3]; /* all of them serve */
	void (*set)(struct probe *probe);
	/* Initialises one; random decides which. */
	void (*request)(struct storm *storm, struct test_request *request, uint64_t session, uint64_t random);
	int may_end; /* with this error, besides having run and having been cancelled */
};

/* Runs it, and checks that each ended once and no thread model was violated. */
void storm_run(const struct storm_plan *plan);

/* For probe->run: tells that it entered, then waits for leave. */
struct gate {
	sem_t entered, leave;
	int result;
};

void gate_init(struct gate *gate);
/* The function to set; it uses the gate that was initialised last. */
int gate_run(const struct vaccel_plugin_call *call);

/* sem_wait() whatever signals come. */
void await(sem_t *sem);

#endif
