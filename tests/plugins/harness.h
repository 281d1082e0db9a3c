/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of plugins share: a plugin, loaded straight from its file without the engine, and its operations.
 * Failures are counted and printed; harness_end() is the program's exit status.
 */
#ifndef TESTS_PLUGINS_HARNESS_H
#define TESTS_PLUGINS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/plugin.h>

#define SKIPPED 77

struct harness {
	void *library;
	const struct vaccel_plugin *plugin;
	void *session;
	char error[512]; /* of the last callback that failed */
	struct vaccel_plugin_report report;
};

/* Counts a failure and says where and why, if ok is false. Returns ok. */
#define CHECK(ok, ...) harness_check((ok), __FILE__, __LINE__, __VA_ARGS__)
bool harness_check(bool ok, const char *file, int line, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* 0 or 1: whether there were failures. Says how many checks there were. */
int harness_end(void);

/* dlopen and the symbol; the plugin is not started. */
int harness_open(struct harness *h, const char *path);
/* load(), config() for each "key=value" up to NULL, ready(), open(). 0 or the error, with its sentence in h->error. */
int harness_start(struct harness *h, const char *cache_dir, unsigned int threads, char *const *keys);
/* The same in a host of the caller's. */
int harness_start_in(struct harness *h, const struct vaccel_plugin_host *host, char *const *keys);
/* close(), unload(), dlclose(). */
void harness_stop(struct harness *h);

/* Runs the op if the plugin has it, else -EOPNOTSUPP. */
int harness_run(struct harness *h, uint32_t op, const void *params, size_t params_len,
		const struct vaccel_plugin_arg *args, size_t n_args);
/* The same with a key, by any number of threads at once: report is the caller's. */
int harness_run_key(const struct harness *h, uint32_t op, const void *params, size_t params_len,
		    const struct vaccel_plugin_arg *args, size_t n_args, const struct vaccel_plugin_crypto_key *key,
		    struct vaccel_plugin_report report);
bool harness_has(const struct harness *h, uint32_t op);

double harness_now(void);

/* A new empty folder below $TMPDIR or /tmp, removed with its contents by harness_end(). */
const char *harness_folder(void);
/* Number of files below the folder whose name ends so. */
unsigned int harness_count_files(const char *folder, const char *ending);

#endif
