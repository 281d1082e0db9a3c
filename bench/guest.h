/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tasks of sides that measure in a guest. Several sides may measure in one (struct bench_side, with): for each size the
 * guest is told in words what a side does (inside.c), which it keeps ready until the side has finished.
 */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include "bench/bench.h"

#define BENCH_GUEST_WORDS 640

/* Members of a task; prepare() is the bench's own, and ends with bench_guest_prepare(). */
int bench_guest_open(struct bench_job *job, struct error *error);
int bench_guest_prepare(struct bench_job *job, const char *words, struct error *error);
int bench_guest_turn(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples,
		     struct bench_turn *ret_turn, struct error *error);
int bench_guest_once(struct bench_job *job, uint64_t *ret_ns, struct error *error);
int bench_guest_check(struct bench_job *job, struct error *error);
void bench_guest_finish(struct bench_job *job);
void bench_guest_close(struct bench_job *job);

#endif
