/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the library share. Each program is given "local" or "shm" and runs the same tests over it; "shm"
 * starts a daemon of its own. Given a URL it uses that: in a guest, say, whose daemon runs outside with the configuration
 * that "config" prints. The plugin is fault: right results, and errors and delays on demand (plugins/fault).
 */
#ifndef TESTS_LIB_FIXTURE_H
#define TESTS_LIB_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <vaccel/vaccel.h>

#include "common/daemon.h"
#include "fault.h"

/* One engine thread: a delayed request holds up what comes after it. */
#define FIXTURE_CONFIG                                                                                                \
	"[engine]\nthreads = 1\nop_threads = 1\n[order]\ndefault = fault openssl\n[limits]\nsessions = 8\nbuffers = " \
	"16\nkeys = 8\n"                                                                                              \
	"buffer_bytes = 16M\nrequest_bytes = 32M\n"

extern struct daemon fixture_daemon;
extern char fixture_url[160];
extern bool fixture_remote; /* another process serves */
extern bool fixture_own;    /* it is a daemon of ours */

/* cmocka group functions: the daemon, or only the configuration. */
int fixture_start(void **state);
int fixture_stop(void **state);

/* cmocka test functions: *state is a struct fixture with a context and a session. */
struct fixture {
	struct vaccel_context *context;
	struct vaccel_session *session;
};
int fixture_open(void **state);
int fixture_close(void **state);

struct vaccel_context *fixture_context(void);

/* main() of a test program. */
int fixture_main(int argc, char **argv, int (*run)(void));

/* A call of SGEMM on square matrices of size n, and its memory; alpha as the call is to have it. */
struct product {
	size_t n;
	float *a, *b, *c;
	struct vaccel_gemm gemm;
	struct vaccel_arg args[3];
	struct vaccel_call call;
};
/* memory: 3 * n * n floats, or NULL: allocates. seed makes the contents. */
void product_init(struct product *product, size_t n, unsigned int seed, double alpha, float *memory);
void product_fini(struct product *product);
/* C is what alpha 1 and beta 0 make; or it still is what product_init() put there. */
void product_check(const struct product *product);
void product_untouched(const struct product *product);

#define assert_error(call_, code_, part_)                                              \
	do {                                                                           \
		assert_int_equal(call_, code_);                                        \
		if (!strstr(vaccel_error(), part_))                                    \
			fail_msg("'%s' does not contain '%s'", vaccel_error(), part_); \
	} while (0)

#define assert_ok(call_)                                                                \
	do {                                                                            \
		int ok_ = (call_);                                                      \
		if (ok_ < 0)                                                            \
			fail_msg("%s failed with %d: %s", #call_, ok_, vaccel_error()); \
	} while (0)

#endif
