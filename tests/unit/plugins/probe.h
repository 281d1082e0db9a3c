/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The probe plugins: they do what a test's function says and watch whether the engine keeps the thread model that they
 * declare. A test finds the control block of the loaded object by its symbol and may set run and open before it submits.
 */
#ifndef TESTS_UNIT_PROBE_H
#define TESTS_UNIT_PROBE_H

#include <stdatomic.h>
#include <vaccel/plugin.h>

struct probe {
	/* What an op, and opening a session, does; NULL: nothing, with success. */
	int (*run)(const struct vaccel_plugin_call *call);
	int (*open)(struct vaccel_plugin_report *report);
	void (*gone)(uint64_t buffer);
	void (*unload)(void);
	/* Of those for models; NULL: nothing runs together, and what does succeeds. */
	void (*batch)(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch);
	void (*run_batch)(const struct vaccel_plugin_call *const *calls, int *results, size_t n);
	/* Of those for keys. */
	int (*key_check)(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
			 const struct vaccel_plugin_report *report);
	void (*key_gone)(uint64_t key);
	const struct vaccel_plugin_host *host; /* that load() was given */

	atomic_int violations; /* of the thread model, or of "one callback at a time" */
	atomic_int running;
	atomic_int runs;	  /* of one request */
	atomic_int batches;	  /* of several */
	atomic_int opens, closes; /* of sessions */
	atomic_int loads, unloads;
	char last_key[64], last_value[64];
};

#define PROBE_SYMBOL "probe_control"

#endif
