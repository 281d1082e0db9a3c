/* SPDX-License-Identifier: Apache-2.0 */
/* See probe.h. PROBE_NAME and PROBE_THREADS come from the build file. */
#include "probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

__attribute__((visibility("default"))) struct probe probe_control;

struct session {
	atomic_int running;
};

static atomic_int in_callback;

static void enter(void)
{
	if (atomic_fetch_add(&in_callback, 1))
		atomic_fetch_add(&probe_control.violations, 1);
}

static void leave(void)
{
	atomic_fetch_sub(&in_callback, 1);
}

static int run(const struct vaccel_plugin_call *call)
{
	struct session *session = call->session;
	int beside = atomic_fetch_add(&probe_control.running, 1);
	int in_session = atomic_fetch_add(&session->running, 1);
	int r;

	if ((PROBE_THREADS == VACCEL_THREADS_ONE && beside) ||
	    (PROBE_THREADS == VACCEL_THREADS_PER_SESSION && in_session))
		atomic_fetch_add(&probe_control.violations, 1);
	atomic_fetch_add(&probe_control.runs, 1);
	r = probe_control.run ? probe_control.run(call) : 0;
	atomic_fetch_sub(&session->running, 1);
	atomic_fetch_sub(&probe_control.running, 1);
	return r;
}

#ifdef PROBE_MODELS
static void batch(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	for (size_t i = 0; i < call->n_args; i++)
		if (call->args[i].data || call->session)
			atomic_fetch_add(&probe_control.violations, 1);
	if (probe_control.batch)
		probe_control.batch(call, ret_batch);
}

/* Of each session, one more or less runs in it. */
static void count_sessions(const struct vaccel_plugin_call *const *calls, size_t n, int change)
{
	for (size_t i = 0; i < n; i++) {
		struct session *session = calls[i]->session;

		if (atomic_fetch_add(&session->running, change) && change > 0 &&
		    PROBE_THREADS == VACCEL_THREADS_PER_SESSION)
			atomic_fetch_add(&probe_control.violations, 1);
	}
}

static void run_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	if (atomic_fetch_add(&probe_control.running, 1) && PROBE_THREADS == VACCEL_THREADS_ONE)
		atomic_fetch_add(&probe_control.violations, 1);
	count_sessions(calls, n, 1);
	atomic_fetch_add(&probe_control.batches, 1);
	if (probe_control.run_batch)
		probe_control.run_batch(calls, results, n);
	else
		memset(results, 0, n * sizeof(*results));
	count_sessions(calls, n, -1);
	atomic_fetch_sub(&probe_control.running, 1);
}
#endif

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	enter();
	atomic_fetch_add(&probe_control.loads, 1);
	probe_control.host = host;
	leave();
	return 0;
}

static void unload(void)
{
	enter();
	atomic_fetch_add(&probe_control.unloads, 1);
	if (probe_control.unload)
		probe_control.unload();
	leave();
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	strncpy(probe_control.last_key, key, sizeof(probe_control.last_key) - 1);
	strncpy(probe_control.last_value, value, sizeof(probe_control.last_value) - 1);
	return strcmp(value, "bad") ? 0 : vaccel_plugin_error(report, -EINVAL, "'bad' is not what it takes");
}

static int open_session(void **ret_session, struct vaccel_plugin_report *report)
{
	struct session *session;
	int r;

	enter();
	r = probe_control.open ? probe_control.open(report) : 0;
	if (r == 0) {
		session = calloc(1, sizeof(*session));
		*ret_session = session;
		r = session ? 0 : -ENOMEM;
	}
	if (r == 0)
		atomic_fetch_add(&probe_control.opens, 1);
	leave();
	return r;
}

static void close_session(void *opaque)
{
	struct session *session = opaque;

	enter();
	if (atomic_load(&session->running))
		atomic_fetch_add(&probe_control.violations, 1);
	atomic_fetch_add(&probe_control.closes, 1);
	free(session);
	leave();
}

static void buffer_gone(uint64_t buffer)
{
	enter();
	if (probe_control.gone)
		probe_control.gone(buffer);
	leave();
}

#ifdef PROBE_KEYS
static int key_check(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
		     const struct vaccel_plugin_report *report)
{
	return probe_control.key_check ? probe_control.key_check(key, ret_bits, report) : 0;
}

static void key_gone(uint64_t key)
{
	if (probe_control.key_gone)
		probe_control.key_gone(key);
}
#endif

static const char *hardware(void)
{
	return "a test's function";
}

static const struct vaccel_plugin_key keys[] = { { "key", "anything but 'bad'" } };

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(NOOP, run),		  VACCEL_IMPL(SGEMM, run),    VACCEL_IMPL(DGEMM, run),
#ifdef PROBE_MODELS
	VACCEL_IMPL(IMAGE_CLASSIFY, run), VACCEL_IMPL(INFER, run),
#endif
#ifdef PROBE_KEYS
	VACCEL_IMPL(CIPHER, run),	  VACCEL_IMPL(AKCIPHER, run),
#endif
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = PROBE_NAME,
	.version = "1",
	.description = "does what a test says",
	.threads = PROBE_THREADS,
	.keys = keys,
	.n_keys = 1,
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
#ifdef PROBE_MODELS
	.needs = VACCEL_NEED_MODELS,
	.batch = batch,
	.run_batch = run_batch,
#endif
	.load = load,
	.config = config,
	.open = open_session,
	.close = close_session,
	.unload = unload,
	.hardware = hardware,
	.buffer_gone = buffer_gone,
#ifdef PROBE_KEYS
	.key_check = key_check,
	.key_gone = key_gone,
#endif
};
VACCEL_PLUGIN(plugin);
