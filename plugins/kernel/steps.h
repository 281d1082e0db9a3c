/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What plugins share that hand AES to a kernel: messages in steps as large as the kernel takes, and a known result for each
 * mode, by which they find out whether the kernel does what they think.
 */
#ifndef PLUGINS_KERNEL_STEPS_H
#define PLUGINS_KERNEL_STEPS_H

#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

enum { STEPS_BLOCK = 16, STEPS_MAX_TAG = 16, STEPS_MAX_MODE = VACCEL_GCM };

/*
 * A message of ECB, CBC or CTR; or one of XTS that is one step. What one step hands on to the next is the IV, which is made
 * here: that holds with every driver.
 */
struct steps {
	uint32_t mode;
	uint32_t direction;
	uint32_t skip; /* CTR: bytes of the first block that are used up */
	size_t max;    /* bytes of a step, a multiple of the block */
	uint8_t iv[STEPS_BLOCK];
	const uint8_t *source;
	uint8_t *destination;
	size_t left;
	/* Does one step with the IV. 0 or a negative errno, which ends it. */
	int (*exchange)(const struct steps *steps, const uint8_t *source, uint8_t *destination, size_t len);
	const void *opaque;
};

int steps_run(struct steps *steps);

/* Two blocks, and what they are encrypted: of GCM with a tag, and the first 12 bytes of the IV. */
enum { STEPS_KNOWN = 2 * STEPS_BLOCK };

struct steps_known {
	uint8_t key[2 * STEPS_BLOCK]; /* XTS: all of it, otherwise the first half */
	uint8_t iv[STEPS_BLOCK];
	uint8_t text[STEPS_KNOWN];
	const uint8_t *result; /* followed by the tag, or zeros */
};

void steps_known(uint32_t mode, struct steps_known *ret_known);

#endif
