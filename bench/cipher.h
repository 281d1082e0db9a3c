/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AES-128-CBC over several buffers of one size, over and over, by one of several ways: libcrypto, the kernel's AF_ALG, or the
 * operation CIPHER. Used where bench crypto measures: in the processes of `vaccel bench`, and in a guest (inside.c), which is
 * why nothing here needs more than libvaccel. Where libcrypto cannot be opened the way "native" is not there, and results are
 * compared with those of the other ways alone.
 *
 * Each buffer (slot) has a source, a destination and an IV of its own, and what the ways make of them is the same everywhere.
 * A round is one request for each slot, a sample the mean of the requests of one or several rounds.
 */
#ifndef BENCH_CIPHER_H
#define BENCH_CIPHER_H

#include <stdbool.h>
#include <stdint.h>
#include <vaccel/vaccel.h>

#include "util/error.h"

#define BENCH_CIPHER_MAX_SLOTS 64

struct bench_cipher_plan {
	const char *way;    /* "native", "kernel" (its software), "virtio-crypto" (its driver for that), "op" */
	uint32_t direction; /* enum vaccel_direction */
	uint64_t size;	    /* bytes of a request, a multiple of 16 */
	unsigned int slots;
	unsigned int in_flight; /* requests at once, at most slots; ways other than "op" do one at a time */
	bool plain;		/* "op": memory is not a registered buffer */
	uint64_t seed;		/* of data and key */
};

struct bench_cipher_turn {
	uint64_t n;	     /* samples */
	uint64_t n_ops;	     /* requests that they are of */
	uint64_t n_warm;     /* others, before and behind */
	uint64_t elapsed_ns; /* of the n_ops */
};

struct bench_cipher;

/*
 * Prepares, and does a round or two. session: of the way "op", whose plain or registered memory it uses; else NULL. It must outlive
 * the object. -EOPNOTSUPP: the way is not there.
 */
int bench_cipher_new(const struct bench_cipher_plan *plan, struct vaccel_session *session,
		     struct bench_cipher **ret_cipher, struct error *error);
void bench_cipher_free(struct bench_cipher *cipher);
/*
 * Rounds until there are max samples or ns have gone by, with as many requests in flight as planned at the begin and at the
 * end of each sample. Destinations are spoiled before, and looked at afterwards.
 */
int bench_cipher_turn(struct bench_cipher *cipher, uint64_t max, uint64_t ns, uint64_t *samples,
		      struct bench_cipher_turn *ret_turn, struct error *error);
/* Compares all of all destinations with what libcrypto makes, if there is one. */
int bench_cipher_check(struct bench_cipher *cipher, struct error *error);
/* Stands for the first destination, and is not 0. */
uint64_t bench_cipher_answer(const struct bench_cipher *cipher);

/* ---- What ways see ---- */

struct bench_cipher_slot {
	unsigned char *source, *destination, *iv;
	struct vaccel_request *request; /* "op", in flight; NULL: none */
	uint64_t tail;			/* how the right destination ends; valid if .known of the cipher */
};

struct bench_cipher {
	struct bench_cipher_plan plan;
	const struct bench_cipher_way *way;
	struct vaccel_session *session;
	unsigned char key[16];
	struct vaccel_buffer *buffer; /* NULL: memory is plain */
	unsigned char *memory;
	struct bench_cipher_slot slots[BENCH_CIPHER_MAX_SLOTS];
	bool known;
	uint64_t rounds; /* in a sample */
	void *state;	 /* of the way */
};

struct bench_cipher_way {
	const char *name;
	int (*open)(struct bench_cipher *cipher, struct error *error);
	/* One request for the slot; it may still run, if there is a take(). */
	int (*start)(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error);
	int (*take)(struct bench_cipher *cipher, struct bench_cipher_slot *slot, struct error *error);
	void (*close)(struct bench_cipher *cipher);
};

/* cipher_op.c, cipher_kernel.c, cipher_native.c */
extern const struct bench_cipher_way bench_cipher_op, bench_cipher_kernel, bench_cipher_virtio, bench_cipher_native;

/* What is right, by libcrypto; -EOPNOTSUPP: there is none. */
int bench_cipher_expect(const struct bench_cipher *cipher, const struct bench_cipher_slot *slot, void *destination,
			struct error *error);

#endif
