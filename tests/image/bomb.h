/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures that cost more than they should, as large as a test wants them. All are freed with free(). */
#ifndef TESTS_IMAGE_BOMB_H
#define TESTS_IMAGE_BOMB_H

#include <stddef.h>
#include <stdint.h>

struct file {
	uint8_t *bytes;
	size_t len;
};

/* A PNG of one pixel with unpacked bytes of zeros in a chunk: "zTXt", "iCCP", or "IDAT", behind its pixel. */
struct file bomb_png(const char *chunk, size_t unpacked);

/* A grey progressive JPEG of side * side pixels (a multiple of 8) and scans that say nothing. */
struct file bomb_jpeg(uint16_t side, unsigned int scans);

#endif
