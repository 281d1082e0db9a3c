/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One picture that is classified over and over, in a registered buffer. Used where bench classify measures: in the processes of
 * `vaccel bench`, and in a guest (inside.c), which is why nothing here needs more than libvaccel.
 */
#ifndef BENCH_PICTURE_H
#define BENCH_PICTURE_H

#include <stdint.h>
#include <vaccel/vaccel.h>

#include "util/error.h"

#define BENCH_LABELS 5

/* What the other end said it spent, in all since they were last zeroed. */
struct bench_parts {
	uint64_t decode_ns, prepare_ns, run_ns;
	uint64_t n;
};

struct bench_picture {
	struct vaccel_session *session;
	char model[VACCEL_MODEL_NAME];
	struct vaccel_buffer *buffer;
	size_t len;
	struct vaccel_label labels[BENCH_LABELS];
	struct vaccel_classified about;
	uint32_t first;	  /* the answer's index, which all must give; valid if any */
	unsigned int any; /* answers so far */
};

/* The session must outlive it. Free with bench_picture_fini(). On failure nothing is left behind. */
int bench_picture_init(struct bench_picture *picture, struct vaccel_session *session, const char *model,
		       const char *file, struct error *error);
void bench_picture_fini(struct bench_picture *picture);
/* The picture's bytes. */
const void *bench_picture_data(const struct bench_picture *picture);
/* Once. *ret_ns: its time as the caller sees it. An answer that differs from the one before is an error. */
int bench_picture_classify(struct bench_picture *picture, uint64_t *ret_ns, struct error *error);
/* Of an answer that has come: whether it is the same as before and makes sense. */
int bench_picture_look(struct bench_picture *picture, struct error *error);
void bench_picture_add(const struct bench_picture *picture, struct bench_parts *parts);

#endif
