/* SPDX-License-Identifier: Apache-2.0 */
/* An input of the target `image`: how, and then the file. */
#ifndef FUZZ_IMAGE_H
#define FUZZ_IMAGE_H

#include <stdint.h>

enum fuzz_image_flags {
	FUZZ_IMAGE_GREY = 1 << 0,   /* decoded into one channel */
	FUZZ_IMAGE_PLANES = 1 << 1, /* NCHW */
	FUZZ_IMAGE_BYTES = 1 << 2,  /* uint8 */
	FUZZ_IMAGE_OTHER = 1 << 3,  /* the rule is for other channels than the picture */
};

struct fuzz_image {
	uint8_t flags;	/* set of enum fuzz_image_flags */
	uint8_t resize; /* as they are: also those that there are none of */
	uint8_t fit;
	uint8_t reserved;
	uint8_t width;
	uint8_t height;
	uint16_t scale;
} __attribute__((packed));

#endif
