/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the decoders share: one struct decode for each image_decode(), on the caller's stack.
 *
 * The libraries report a failure by calling back, and must not return from that: decode_fail() leaves by longjmp() to
 * the decoder's own setjmp(). So that nothing is lost on that way, whatever is taken between the two lies in struct
 * decode or in the library's own pools, and is freed by who called the function with the setjmp().
 */
#ifndef VACCEL_IMAGE_DECODE_H
#define VACCEL_IMAGE_DECODE_H

#include <setjmp.h>
#include <stdbool.h>

#include "image/image.h"

struct decode {
	const uint8_t *bytes;
	size_t len;
	const struct image_limits *limits;
	unsigned int channels;
	const char *format;	  /* "JPEG", for messages */
	uint64_t began;		  /* CPU time of this thread, ns */
	struct image image;	  /* its pixels are taken by decode_size() */
	unsigned int orientation; /* as Exif counts, 1 to 8; anything else: none */
	struct error *error;
	int code; /* of the failure that was jumped from */
	jmp_buf fail;
};

/* Ends the decoding from anywhere below the decoder's setjmp(), with a code and a sentence about it. */
__attribute__((cold, noreturn, format(printf, 3, 4))) void decode_fail(struct decode *d, int code, const char *format,
								       ...);

/* Memory for len bytes of pixels, to be freed by free(); NULL: there is none. */
uint8_t *image_memory(uint64_t len);

/* Judges the size in a header and takes memory for pixels of it; fails by itself. */
void decode_size(struct decode *d, uint32_t width, uint32_t height);
/* To be called every few rows and every few kilobytes; fails by itself when it took too long. */
void decode_clock(struct decode *d);
/* Bytes that a decoder may take beside the pixels; before decode_size() for what stands in front of the picture. */
uint64_t decode_memory(const struct decode *d);

/* Fill d->image with pixels as they lie in the file, and d->orientation. They free all but d->image. */
int jpeg_decode(struct decode *d);
int png_decode(struct decode *d);

/* The orientation in a TIFF structure, as Exif has it; 1 if there is none to be found. */
unsigned int exif_orientation(const uint8_t *tiff, size_t len);

/* Turns a picture as an orientation of 1 to 8 asks for. */
int image_turn(struct image *image, unsigned int orientation, struct error *error);

#endif
