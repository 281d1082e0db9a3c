/* SPDX-License-Identifier: Apache-2.0 */
/* The orientation of a picture: where Exif says it, and turning by it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "image/decode.h"
#include "util/util.h"

#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT	3
#define ENTRY		12 /* bytes: tag, type, count, value */
/* Pixels are moved in squares of this side: where rows become columns, what is written stays in the cache. */
#define TILE 32

/* ---- Exif ---- */

struct tiff {
	const uint8_t *bytes;
	size_t len;
	bool big;
};

/* 0 where there is nothing: no offset and no tag that is looked for is 0. */
static uint32_t tiff_u16(const struct tiff *t, uint64_t at)
{
	const uint8_t *b = t->bytes + at;

	if (!range_in(at, 2, t->len))
		return 0;
	return t->big ? (uint32_t)b[0] << 8 | b[1] : (uint32_t)b[1] << 8 | b[0];
}

static uint32_t tiff_u32(const struct tiff *t, uint64_t at)
{
	uint32_t first = tiff_u16(t, at), second = tiff_u16(t, at + 2);

	return t->big ? first << 16 | second : second << 16 | first;
}

unsigned int exif_orientation(const uint8_t *tiff, size_t len)
{
	struct tiff t = { .bytes = tiff, .len = len };
	uint64_t at;
	uint32_t n;

	if (len < 8 || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0))
		return 1;
	t.big = tiff[0] == 'M';
	at = tiff_u32(&t, 4);
	n = tiff_u16(&t, at);
	at += 2;
	for (uint32_t i = 0; i < n; i++, at += ENTRY) {
		uint32_t value = tiff_u16(&t, at + 8);

		if (tiff_u16(&t, at) != TAG_ORIENTATION)
			continue;
		return tiff_u16(&t, at + 2) == TYPE_SHORT && tiff_u32(&t, at + 4) == 1 && value >= 1 && value <= 8
			       ? value
			       : 1;
	}
	return 1;
}

/* ---- Turning ---- */

/* How an orientation leads from where a pixel lies in the file to where it lies in the picture, step by step. */
static const struct {
	bool transpose; /* rows become columns */
	bool mirror;	/* then left becomes right */
	bool flip;	/* and top becomes bottom */
} turns[9] = {
	[2] = { false, true, false }, [3] = { false, true, true }, [4] = { false, false, true },
	[5] = { true, false, false }, [6] = { true, true, false }, [7] = { true, true, true },
	[8] = { true, false, true },
};

/* Where pixels go: the first one, and by how many bytes the next of a row or a column is further. */
struct walk {
	uint8_t *origin;
	ptrdiff_t step_x;
	ptrdiff_t step_y;
};

static inline __attribute__((always_inline)) void move_tile(const struct image *from, const struct walk *to,
							    uint32_t left, uint32_t top, size_t channels)
{
	uint32_t right = left + MIN(TILE, from->width - left), bottom = top + MIN(TILE, from->height - top);

	for (uint32_t y = top; y < bottom; y++) {
		const uint8_t *src = from->pixels + ((size_t)y * from->width + left) * channels;
		uint8_t *dst = to->origin + (ptrdiff_t)left * to->step_x + (ptrdiff_t)y * to->step_y;

		for (uint32_t x = left; x < right; x++, src += channels, dst += to->step_x)
			memcpy(dst, src, channels);
	}
}

static void move_all(const struct image *from, const struct walk *to)
{
	for (uint32_t y = 0; y < from->height; y += TILE) {
		for (uint32_t x = 0; x < from->width; x += TILE) {
			/* Twice, so that the compiler knows how long a pixel is. */
			if (from->channels == 3)
				move_tile(from, to, x, y, 3);
			else
				move_tile(from, to, x, y, 1);
		}
	}
}

int image_turn(struct image *image, unsigned int orientation, struct error *error)
{
	bool transpose = turns[orientation].transpose;
	struct image turned = { .width = transpose ? image->height : image->width,
				.height = transpose ? image->width : image->height,
				.channels = image->channels };
	ptrdiff_t pixel = image->channels, row = (ptrdiff_t)turned.width * pixel;
	/* Along a row and a column of the result. */
	ptrdiff_t across = turns[orientation].mirror ? -pixel : pixel, down = turns[orientation].flip ? -row : row;
	struct walk to = { .step_x = transpose ? down : across, .step_y = transpose ? across : down };

	turned.pixels = image_memory((uint64_t)row * turned.height);
	if (!turned.pixels)
		return error_set(error, -ENOMEM, "picture: no memory to turn %" PRIu32 " x %" PRIu32 " pixels",
				 image->width, image->height);
	to.origin = turned.pixels + (turns[orientation].mirror ? row - pixel : 0) +
		    (turns[orientation].flip ? row * (ptrdiff_t)(turned.height - 1) : 0);
	move_all(image, &to);
	image_free(image);
	*image = turned;
	return 0;
}
