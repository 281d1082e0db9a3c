/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzz targets share. A target is one file, TARGET.c, with LLVMFuzzerTestOneInput(): it reads its input with the
 * functions below, drives one parser through its real interface, and CHECK()s what must hold whatever the input says. A
 * target keeps no state from one input to the next, so that a crash can be replayed from its input alone.
 *
 * Two programs are made of it: with libFuzzer (tools/fuzz), and with replay.c, which runs the inputs of seeds.c and those
 * that once crashed (fuzz/crashes/TARGET/) as an ordinary test.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                          \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

/* The input, read from front to back. Past its end everything is 0. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *in, void *dst, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(dst, 0, len);
	if (n)
		memcpy(dst, in->at, n);
	in->at += n;
	in->left -= n;
}

static inline uint8_t input_u8(struct input *in)
{
	uint8_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint16_t input_u16(struct input *in)
{
	uint16_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint32_t input_u32(struct input *in)
{
	uint32_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

static inline uint64_t input_u64(struct input *in)
{
	uint64_t value;

	input_bytes(in, &value, sizeof(value));
	return value;
}

#endif
