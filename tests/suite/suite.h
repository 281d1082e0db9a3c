/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The op suite: every operation over one transport, compared with the plugin reference in this process and with a sum of
 * its own in higher precision. It uses nothing but <vaccel/vaccel.h>, so that it runs wherever an application runs.
 *
 * main.c: options and the transport; reference.c: the plugin to compare with; report.c: what is printed; plan.c: which cases; gemm.c: what a case is and
 * what must come out; runner.c: how cases travel (memory, synchronous or not); bad.c: mistakes and their answers;
 * models.c, model_rows.c, digits.c: operations on models; crypto*.c: keys and ciphers.
 */
#ifndef TESTS_SUITE_SUITE_H
#define TESTS_SUITE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/vaccel.h>

struct suite {
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_info info;
	char url[256];
	const char *plugin; /* that is to serve GEMM; NULL: whichever does */
	bool quick;
	bool models;		/* those of the folder models are served, too */
	bool crypto;		/* ciphers are, and the suite's keys are held */
	const char *vectors[4]; /* files of them */
	size_t n_vectors;
	uint64_t seed;
};

/* ---- report.c ---- */

/* A test's result: name is printed; detail, of the first failure, may be NULL. */
__attribute__((format(printf, 3, 4))) void report(bool ok, const char *detail, const char *format, ...);
void report_skip(const char *name, const char *why);
/* Ends: prints the plan, or the JSON object. Returns the exit status. */
int report_end(const struct suite *suite);
void report_as_json(void);

/* ---- gemm.c ---- */

/* What is unusual in the inputs of a case. */
enum special {
	SPECIAL_NONE,
	SPECIAL_NAN_A,
	SPECIAL_NAN_B,
	SPECIAL_NAN_C,
	SPECIAL_INF_A,
	SPECIAL_INF_B,
	SPECIAL_INF_C,
	SPECIAL_ABSENT, /* A and B, which the case does not read, are NULL; C too if it is empty */
	N_SPECIALS,
};

struct gemm_case {
	uint32_t op;
	struct vaccel_gemm p;
	enum special special;
	uint64_t seed; /* of its elements */
};

/* A matrix as it lies in memory: lines of length elements, ld apart; guards before and behind are not the request's. */
#define GUARD_BYTES 64

struct stored {
	size_t lines, length, ld;
	size_t bytes;	     /* from the first element to the last; 0: none */
	unsigned char *area; /* guard, matrix, guard */
};

/* A case with its inputs and what must come out. */
struct prepared {
	struct gemm_case c;
	struct stored matrix[3];
	long double *want;	  /* of C, line by line */
	long double *bound;	  /* how far from it each element may be */
	unsigned char *reference; /* what plugin reference makes of C's area */
};

/* Makes inputs and expectations; *detail says why if not. */
bool gemm_prepare(const struct gemm_case *c, struct prepared *p, char *detail, size_t len);
void gemm_release(struct prepared *p);
size_t gemm_area_bytes(const struct prepared *p);
/* Compares the areas of a run, copies of those in p before it, with what must be. */
bool gemm_check(const struct prepared *p, unsigned char *const areas[3], char *detail, size_t len);
/* One line that says which case it is. */
void gemm_describe(const struct gemm_case *c, char *text, size_t len);
/* Runs it through the synchronous call of its type. */
int gemm_call(struct vaccel_session *session, const struct gemm_case *c, const void *a, const void *b, void *out);

/* ---- reference.c ---- */

/* Before any context is made. */
bool reference_start(void);
/* Fills p->reference. */
bool reference_run(struct prepared *p, char *detail, size_t len);
void reference_stop(void);

/* ---- runner.c ---- */

/* Runs cases in every variant (memory, way of calling), reports one test per variant. name: of the group. */
void run_cases(struct suite *suite, const char *name, const struct gemm_case *cases, size_t n);

/* ---- plan.c, bad.c ---- */

void run_plan(struct suite *suite);
void run_noop(struct suite *suite);
void run_bad(struct suite *suite);

/* ---- models.c ---- */

void run_models(struct suite *suite);

/* ---- crypto.c ---- */

void run_crypto(struct suite *suite);

/* xorshift64*. state is not 0. */
uint64_t suite_random(uint64_t *state);

#endif
