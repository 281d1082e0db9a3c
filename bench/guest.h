/* SPDX-License-Identifier: Apache-2.0 */
/* Sides of bench classify that measure in a guest (guest.c), and where their pictures are (classify.c). */
#ifndef BENCH_GUEST_H
#define BENCH_GUEST_H

#include "bench/bench.h"

extern const struct bench_task bench_guest;

/* The file with a picture of that many bytes. */
int bench_picture_file(uint64_t size, char *path, size_t len, struct error *error);

#endif
