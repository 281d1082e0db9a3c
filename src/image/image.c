/* SPDX-License-Identifier: Apache-2.0 */
/* See image.h: which decoder it is, what all decoders have to keep to, and turning what they gave. */
#include "image/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "image/decode.h"
#include "util/util.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

static const struct {
	const char *name;
	size_t len;
	uint8_t magic[8];
	int (*decode)(struct decode *d);
} formats[] = {
	{ "JPEG", 3, { 0xff, 0xd8, 0xff }, jpeg_decode },
	{ "PNG", 8, { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' }, png_decode },
};

/* What this thread has computed: a picture that waits for a CPU is none that costs too much. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void decode_fail(struct decode *d, int code, const char *format, ...)
{
	char text[ERROR_TEXT];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	d->code = error_set(d->error, code, "picture: %s: %s", d->format, text);
	longjmp(d->fail, 1);
}

void decode_clock(struct decode *d)
{
	if (d->limits->ms && cpu_ns() - d->began > d->limits->ms * UINT64_C(1000000))
		decode_fail(d, -ETIME, "takes more than %" PRIu32 " ms to decode", d->limits->ms);
}

/*
 * Pixels are written once and are gone soon after. Most of what a large picture costs besides libjpeg's work is the
 * kernel's, which hands out fresh memory page by page: so it is asked for large ones.
 */
uint8_t *image_memory(uint64_t len)
{
	uint64_t padded;
	void *memory;

	if (len > PTRDIFF_MAX - HUGE_PAGE)
		return NULL;
	if (len < 2 * HUGE_PAGE)
		return malloc(len);
	padded = (len + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	memory = aligned_alloc(HUGE_PAGE, padded);
	if (memory)
		madvise(memory, padded, MADV_HUGEPAGE);
	return memory;
}

void decode_size(struct decode *d, uint32_t width, uint32_t height)
{
	const struct image_limits *limits = d->limits;
	uint64_t pixels = (uint64_t)width * height, len;

	if (limits->side && MAX(width, height) > limits->side)
		decode_fail(d, -E2BIG, "is %" PRIu32 " x %" PRIu32 " pixels, a side has at most %" PRIu32, width,
			    height, limits->side);
	if (limits->pixels && pixels > limits->pixels)
		decode_fail(d, -E2BIG, "has %" PRIu32 " x %" PRIu32 " pixels, at most %" PRIu64 " are taken", width,
			    height, limits->pixels);
	if (mul_u64(pixels, d->channels, &len) || !(d->image.pixels = image_memory(len)))
		decode_fail(d, -ENOMEM, "no memory for %" PRIu32 " x %" PRIu32 " pixels", width, height);
	d->image.width = width;
	d->image.height = height;
	d->image.channels = d->channels;
}

uint64_t decode_memory(const struct decode *d)
{
	/* Two pieces of image_memory() are rounded up. */
	uint64_t len = IMAGE_MEMORY - 2 * HUGE_PAGE;

	if (d->image.pixels)
		len += 8 * ((uint64_t)d->image.width + 32) * ((uint64_t)d->image.height + 32);
	return len;
}

static int refuse_format(const uint8_t *bytes, size_t len, struct error *error)
{
	char begin[3 * 8 + 1] = "";

	for (size_t i = 0; i < MIN(len, 8); i++)
		snprintf(begin + 3 * i, sizeof(begin) - 3 * i, " %02x", bytes[i]);
	if (!len)
		return error_set(error, -EINVAL, "picture: is empty");
	return error_set(error, -EINVAL, "picture: is neither JPEG nor PNG, but begins with the bytes%s", begin);
}

static int decode(struct decode *d, int (*function)(struct decode *d), struct image *ret)
{
	int r = function(d);

	if (r == 0 && d->orientation >= 2 && d->orientation <= 8)
		r = image_turn(&d->image, d->orientation, d->error);
	if (r == 0)
		*ret = d->image;
	else
		image_free(&d->image);
	return r;
}

int image_decode(const void *bytes, size_t len, const struct image_limits *limits, unsigned int channels,
		 struct image *ret, struct error *error)
{
	struct decode d = { .bytes = bytes, .len = len, .limits = limits, .channels = channels, .error = error };

	if (channels != 1 && channels != 3)
		return error_set(error, -EINVAL, "picture: is decoded into 1 or 3 channels, not %u", channels);
	if (limits->bytes && len > limits->bytes)
		return error_set(error, -E2BIG, "picture: has %zu bytes, at most %" PRIu64 " are taken", len,
				 limits->bytes);
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		if (len < formats[i].len || memcmp(bytes, formats[i].magic, formats[i].len) != 0)
			continue;
		d.format = formats[i].name;
		d.began = cpu_ns();
		return decode(&d, formats[i].decode, ret);
	}
	return refuse_format(bytes, len, error);
}

void image_free(struct image *image)
{
	if (!image)
		return;
	free(image->pixels);
	*image = (struct image){ .pixels = NULL };
}
