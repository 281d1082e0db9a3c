/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/image: from the bytes of a JPEG or PNG file to the elements of a model's input. A layer above util; knows no
 * models and no engine. Keeps no state: any number of threads may call it at once. It never writes to standard error
 * and never exits, whatever the bytes are.
 *
 *     image_decode()   bytes -> upright pixels, 8 bits each, grey or RGB
 *     image_prepare()  pixels -> cut, scaled, normalised elements in the order that a model wants
 *
 * Both do what TensorFlow does, so that a model sees here what it saw in training (tests/image compares):
 *
 * - JPEG: pixels are bit for bit those of tf.io.decode_image(channels=) with its defaults, through the library that
 *   TensorFlow has, too (libjpeg-turbo): the fast integer DCT ("INTEGER_FAST": libjpeg's own default is the accurate
 *   one, TensorFlow's is not), "fancy" upsampling, and all of the picture at full scale. libjpeg could decode a large
 *   picture at an eighth of its size in less time; what is scaled down from that is not what TensorFlow gives, so it
 *   is not done. One channel of a colour picture is the luma that the file holds. CMYK and YCCK become RGB by
 *   TensorFlow's rule, Adobe's inverted ones too; TensorFlow makes no grey of them, here it is the luma of that RGB.
 * - PNG: likewise. 16 bits are cut to the upper 8, palettes are looked up (a colour that is not in it is black), 1, 2
 *   and 4 bits of grey are spread over 0...255, and transparency is dropped, not composed: pixels keep their colour
 *   however transparent they are. One channel of a colour picture is libpng's grey, for which it regards gamma if the
 *   file says it.
 * - The orientation that Exif data ask for is applied. TensorFlow ignores it: who compares has to turn the picture
 *   first.
 * - Scaling is tf.image.resize() with antialias=False: centres of pixels at halves. Elements differ from TensorFlow's
 *   by at most 1/1000 where a pixel is 0...255 (times the rule's scale), nearest by nothing.
 *
 * Stricter than TensorFlow: data that end early and data that the decoder has to guess at are errors (-EBADMSG), there
 * are no half grey pictures. The exceptions are few and concern no pixel: bytes behind the last row, an unknown
 * version of JFIF, and in PNG damage to chunks that may be missing.
 *
 * What a file may cost is bounded by struct image_limits before and while it is decoded: memory for the picture is
 * taken when the header has been judged, and all of it is at most
 *
 *     2 * pixels * channels + 8 * (width + 32) * (height + 32) + IMAGE_MEMORY bytes
 *
 * where the first term is twice the pixels since turning needs a second place for them, and the second a progressive
 * JPEG's coefficients. Scans are counted, and a clock of the thread's own CPU time is looked at every few rows and
 * every few kilobytes of input, so that time spent waiting for a CPU does not count.
 */
#ifndef VACCEL_IMAGE_IMAGE_H
#define VACCEL_IMAGE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

/* Beyond pixels and coefficients: rows, tables, a PNG's colour profile, and what large pages round up. */
#define IMAGE_MEMORY (20u << 20)
/* Of a progressive JPEG. Encoders make about ten; each costs a walk over the whole picture. */
#define IMAGE_MAX_SCANS 100

/* Upright pixels: rows from the top, without gaps, channels bytes each. */
struct image {
	uint32_t width;
	uint32_t height;
	uint32_t channels; /* 1 grey, 3 red, green, blue */
	uint8_t *pixels;   /* freed by image_free() */
};

/* What a file may be. 0: no limit but those of the formats and of memory. */
struct image_limits {
	uint64_t bytes;	 /* of the file */
	uint32_t side;	 /* pixels, width and height alike */
	uint64_t pixels; /* width * height */
	uint32_t ms;	 /* of CPU time */
};

/*
 * Decodes len bytes, which must not change meanwhile, into channels (1 or 3). *ret is written on success alone.
 *
 * -EINVAL: neither JPEG nor PNG (the text says how it begins); -EBADMSG: damaged, or it ends early; -EOPNOTSUPP: a
 * kind of JPEG that libjpeg-turbo does not decode (12 bits, lossless); -E2BIG: beyond a limit of size, or too many
 * scans; -ETIME: beyond limits->ms; -ENOMEM.
 */
int image_decode(const void *bytes, size_t len, const struct image_limits *limits, unsigned int channels,
		 struct image *ret, struct error *error);

/* NULL and pictures that were freed are fine. */
void image_free(struct image *image);

enum image_layout {
	IMAGE_NHWC, /* channels of a pixel side by side */
	IMAGE_NCHW, /* planes */
};

/* As tf.image.resize() with antialias=False. */
enum image_resize {
	IMAGE_NEAREST,
	IMAGE_BILINEAR,
	IMAGE_BICUBIC, /* Keys, a = -0.5 */
	IMAGE_AREA,
};

/* How a picture of another shape comes to fill width * height. */
enum image_fit {
	IMAGE_STRETCH, /* sides are scaled each for itself */
	IMAGE_CROP,    /* the largest part of the right shape around the centre, as Keras' smart_resize() */
	IMAGE_PAD,     /* all of it, with black bars (pixels of 0, normalised too), as tf.image.resize_with_pad() */
};

enum image_type {
	IMAGE_FLOAT32,
	IMAGE_UINT8, /* rounded to the nearest, halves to even, and held to 0...255 */
};

/* What a model wants. An element is (pixel - mean[channel]) * scale[channel], pixel 0...255. */
struct image_rule {
	uint32_t width; /* 1 to IMAGE_MAX_SIDE */
	uint32_t height;
	uint32_t channels; /* 1 or 3 */
	enum image_layout layout;
	enum image_resize resize;
	enum image_fit fit;
	enum image_type type;
	float mean[3]; /* as many as channels; finite */
	float scale[3];
};

#define IMAGE_MAX_SIDE 16384 /* of a model's input */

/* Whether a rule can be followed: -EINVAL says what is wrong with it. For who reads rules, once. */
int image_rule_check(const struct image_rule *rule, struct error *error);

/* Bytes that image_prepare() writes for a rule that was checked. */
size_t image_prepared_len(const struct image_rule *rule);

/*
 * Cuts, scales and normalises image into dst, which is aligned for its type and has image_prepared_len() bytes.
 *
 * -EINVAL: len is another, the rule is wrong, or the picture has other channels than the rule (decode with
 * rule->channels); -ENOMEM: its working memory is at most 96 bytes for each pixel along the sides of the picture and
 * of the rule.
 */
int image_prepare(const struct image *image, const struct image_rule *rule, void *dst, size_t len, struct error *error);

#endif
