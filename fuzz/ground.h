/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory for the targets that walk it: three regions, of which the first two follow each other in guest addresses
 * and the third lies apart. Each mapping has inaccessible pages before and behind it.
 */
#ifndef FUZZ_GROUND_H
#define FUZZ_GROUND_H

#include "fuzz.h"
#include "vhost/memory.h"

#define GROUND_A     0x1000ul
#define GROUND_A_LEN 0x2000ul
#define GROUND_B     (GROUND_A + GROUND_A_LEN)
#define GROUND_B_LEN 0x1000ul
#define GROUND_C     0x8000ul
#define GROUND_C_LEN 0x1000ul
#define GROUND_LEN   (GROUND_A_LEN + GROUND_B_LEN + GROUND_C_LEN)
#define GROUND_UVA   0x700000000000ul /* user address - guest address */

/* Made at the first call, and filled from the input at each. */
struct vhost_memory *ground(struct input *in, size_t len);
/* Aborts unless [data, data + len) lies in one region. */
void ground_check(const void *data, size_t len);
/* Whether it lies in one. */
bool ground_has(const void *data);
/* The byte at an offset of all regions together, for changes behind a parser's back. */
uint8_t *ground_byte(size_t offset);

#endif
