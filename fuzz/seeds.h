/* SPDX-License-Identifier: Apache-2.0 */
/* Making the files that fuzzers start from. */
#ifndef FUZZ_SEEDS_H
#define FUZZ_SEEDS_H

#include <stddef.h>
#include <stdint.h>

struct out {
	uint8_t bytes[16384];
	size_t len;
};

void put(struct out *out, const void *data, size_t len);
/* FOLDER/TARGET/NAME. */
__attribute__((format(printf, 3, 4))) void save(const struct out *out, const char *target, const char *format, ...);

/* ---- seeds_crypto.c ---- */
void crypto_seeds(void);

#endif
