/* SPDX-License-Identifier: Apache-2.0 */
/* The head of an input of target ring; memory, journal and script follow. */
#ifndef FUZZ_RING_H
#define FUZZ_RING_H

#include <stdint.h>

enum {
	FUZZ_RING_RECOVER = 1,
	FUZZ_RING_JOURNAL = 2, /* the input has one */
	FUZZ_RING_VALID = 4,   /* with the right version and size, whatever else it says */
};

struct fuzz_ring {
	uint16_t num;
	uint16_t base;
	uint16_t memory_len;
	uint16_t flags;
	uint32_t desc; /* guest addresses */
	uint32_t avail;
	uint32_t used;
	uint32_t reserved;
	uint64_t features;
};

#endif
