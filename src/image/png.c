/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG, by libpng, row by row. Chunks that no pixel depends on are not looked into, so texts that unpack into gigabytes
 * never do. The input is read through read_bytes(), in pieces of a few kilobytes, also where the library discards what
 * an oversized picture has too many: that is where the clock is looked at, besides the rows.
 *
 * All memory that the library takes is counted, and what is too much is not given.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <string.h>

#include <png.h>

#include "image/decode.h"
#include "util/util.h"

/* Of one chunk that is kept, as it lies in the file and unpacked: colour profiles have some kilobytes. */
#define MAX_CHUNK (4u << 20)
/* The clock is looked at after this many bytes of input: what they unpack into takes some milliseconds. */
#define CLOCK_BYTES 4096
/* Likewise for rows, so that small ones do not pay for it. */
#define CLOCK_PIXELS 65536

/* What TensorFlow has libpng weigh red and green with; blue gets the rest. */
#define GREY_RED   0.299
#define GREY_GREEN 0.587

struct png {
	png_structp lib;
	png_infop info;
	struct decode *d;
	size_t at;	    /* in the input */
	size_t clocked;	    /* where the clock was looked at */
	uint64_t allocated; /* bytes that the library has */
	bool starved;	    /* it was not given what it asked for last */
};

/* ---- What the library calls ---- */

static __attribute__((cold, noreturn)) void fail(png_structp lib, png_const_charp text)
{
	struct png *png = png_get_error_ptr(lib);

	decode_fail(png->d, png->starved ? -ENOMEM : -EBADMSG, "%s", text);
}

/* What it warns of concerns chunks that no pixel depends on, or what lies behind the pixels. */
static void silent(png_structp lib, png_const_charp text)
{
}

/* Lies in front of every piece of memory, and keeps it aligned. */
union piece {
	size_t len;
	max_align_t align;
};

static png_voidp take(png_structp lib, png_alloc_size_t len)
{
	struct png *png = png_get_mem_ptr(lib);
	uint64_t limit = decode_memory(png->d);
	union piece *piece;

	png->starved = true;
	if (len > limit || png->allocated > limit - len)
		return NULL;
	piece = malloc(sizeof(*piece) + len);
	if (!piece)
		return NULL;
	png->starved = false;
	piece->len = len;
	png->allocated += len;
	return piece + 1;
}

static void give(png_structp lib, png_voidp memory)
{
	struct png *png = png_get_mem_ptr(lib);
	union piece *piece = memory;

	if (!piece)
		return;
	png->allocated -= piece[-1].len;
	free(piece - 1);
}

static void read_bytes(png_structp lib, png_bytep dst, size_t len)
{
	struct png *png = png_get_io_ptr(lib);

	if (len > png->d->len - png->at)
		decode_fail(png->d, -EBADMSG, "ends early, after %zu bytes", png->d->len);
	memcpy(dst, png->d->bytes + png->at, len);
	png->at += len;
	if (png->at - png->clocked < CLOCK_BYTES)
		return;
	png->clocked = png->at;
	decode_clock(png->d);
}

/* ---- Decoding ---- */

static void be_careful(struct png *png)
{
	/* Five bytes each: names and their NULs. What is not here but known: PLTE, tRNS, eXIf, and what says how bright a
	 * value is (cHRM, gAMA, iCCP, sBIT, sRGB), on which grey depends. */
	static const png_byte useless[] = "bKGD\0hIST\0iTXt\0oFFs\0pCAL\0pHYs\0sCAL\0sPLT\0tEXt\0tIME\0zTXt";

	/* Sides are judged by decode_size(). */
	png_set_user_limits(png->lib, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
	png_set_chunk_malloc_max(png->lib, MAX_CHUNK);
	png_set_keep_unknown_chunks(png->lib, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
	png_set_keep_unknown_chunks(png->lib, PNG_HANDLE_CHUNK_NEVER, useless, sizeof(useless) / 5);
}

/* Asks for 8 bits, without alpha, in as many channels as are wanted. */
static void set_transforms(struct png *png)
{
	int type = png_get_color_type(png->lib, png->info);
	bool grey = !(type & PNG_COLOR_MASK_COLOR);

	if (type == PNG_COLOR_TYPE_PALETTE)
		png_set_palette_to_rgb(png->lib);
	if (grey && png_get_bit_depth(png->lib, png->info) < 8)
		png_set_expand_gray_1_2_4_to_8(png->lib);
	png_set_strip_16(png->lib);
	png_set_strip_alpha(png->lib);
	if (grey && png->d->channels == 3)
		png_set_gray_to_rgb(png->lib);
	else if (!grey && png->d->channels == 1)
		png_set_rgb_to_gray(png->lib, PNG_ERROR_ACTION_NONE, GREY_RED, GREY_GREEN);
}

static void read_rows(struct png *png)
{
	struct image *image = &png->d->image;
	size_t row = (size_t)image->width * image->channels;
	int passes = png_set_interlace_handling(png->lib);
	uint64_t pixels = 0;

	png_read_update_info(png->lib, png->info);
	if (png_get_rowbytes(png->lib, png->info) != row)
		decode_fail(png->d, -EBADMSG, "its rows are not as long as its head says");
	/* Rows of an interlaced picture are filled pass by pass, those without pixels in a pass are left as they were. */
	if (passes > 1)
		memset(image->pixels, 0, row * image->height);
	for (int pass = 0; pass < passes; pass++) {
		for (uint32_t y = 0; y < image->height; y++) {
			png_read_row(png->lib, image->pixels + y * row, NULL);
			pixels += image->width;
			if (pixels < CLOCK_PIXELS)
				continue;
			pixels = 0;
			decode_clock(png->d);
		}
	}
}

static void read_orientation(struct png *png)
{
	png_bytep exif;
	png_uint_32 len;

	if (png_get_eXIf_1(png->lib, png->info, &len, &exif))
		png->d->orientation = exif_orientation(exif, len);
}

static void read_all(struct png *png)
{
	png->info = png_create_info_struct(png->lib);
	if (!png->info)
		decode_fail(png->d, -ENOMEM, "no memory");
	png_set_read_fn(png->lib, png, read_bytes);
	be_careful(png);
	png_read_info(png->lib, png->info);
	decode_size(png->d, png_get_image_width(png->lib, png->info), png_get_image_height(png->lib, png->info));
	set_transforms(png);
	read_rows(png);
	png_read_end(png->lib, png->info);
	read_orientation(png);
}

/* A function of its own: what it has on its stack does not change between setjmp() and longjmp(). */
static int try_all(struct png *png)
{
	if (setjmp(png->d->fail))
		return png->d->code;
	png->lib = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, png, fail, silent, png, take, give);
	if (!png->lib)
		return error_set(png->d->error, -ENOMEM, "picture: PNG: no memory");
	read_all(png);
	return 0;
}

int png_decode(struct decode *d)
{
	struct png png = { .d = d };
	int r = try_all(&png);

	if (png.lib)
		png_destroy_read_struct(&png.lib, &png.info, NULL);
	return r;
}
