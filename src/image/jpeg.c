/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG, by libjpeg-turbo. What the library warns of are guesses at pixels, and errors here; harmless() lists what is
 * not. Its progress monitor is called for every row of blocks, also while it gathers the scans of a progressive file
 * before the first row comes out: that is where scans are counted and the clock is looked at.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "image/decode.h"
#include "util/util.h"

#define ROWS 16 /* asked for at once; the library gives as many as it has */

static const uint8_t exif_magic[] = { 'E', 'x', 'i', 'f', 0, 0 };

struct jpeg {
	struct jpeg_decompress_struct lib;
	struct jpeg_error_mgr errors;
	struct jpeg_progress_mgr progress;
	struct decode *d;
	bool exif_seen;
	bool complete; /* all rows have come out */
};

/* ---- What the library calls ---- */

static struct jpeg *jpeg_of(j_common_ptr lib)
{
	return container_of(lib->err, struct jpeg, errors);
}

/* The sentence that the library has about msg_code, within ours. */
static __attribute__((cold, noreturn)) void fail(j_common_ptr lib)
{
	char text[JMSG_LENGTH_MAX];
	int code = -EBADMSG;

	switch (lib->err->msg_code) {
	case JERR_OUT_OF_MEMORY:
	case JERR_NO_BACKING_STORE: /* it wants more than max_memory_to_use */
		code = -ENOMEM;
		break;
	case JERR_ARITH_NOTIMPL:
	case JERR_BAD_PRECISION:
	case JERR_CCIR601_NOTIMPL:
	case JERR_COMPONENT_COUNT:
	case JERR_CONVERSION_NOTIMPL:
	case JERR_FRACT_SAMPLE_NOTIMPL:
	case JERR_NOT_COMPILED:
	case JERR_SOF_UNSUPPORTED:
		code = -EOPNOTSUPP;
		break;
	case JWRN_JPEG_EOF:
	case JERR_INPUT_EMPTY:
	case JERR_INPUT_EOF:
		decode_fail(jpeg_of(lib)->d, code, "ends early, after %zu bytes", jpeg_of(lib)->d->len);
	}
	lib->err->format_message(lib, text);
	decode_fail(jpeg_of(lib)->d, code, "%s", text);
}

/* Warnings about what no pixel depends on. */
static bool harmless(const struct jpeg *jpeg)
{
	switch (jpeg->errors.msg_code) {
	case JWRN_JFIF_MAJOR:
		return true;
	case JWRN_EXTRANEOUS_DATA: /* between the last row and the end marker: some cameras' firmware */
		return jpeg->complete;
	}
	return false;
}

static void message(j_common_ptr lib, int level)
{
	if (level < 0 && !harmless(jpeg_of(lib)))
		fail(lib);
}

/* Never called; the library's own would write to standard error. */
static void silent(j_common_ptr lib)
{
}

static void progress(j_common_ptr lib)
{
	struct jpeg *jpeg = jpeg_of(lib);

	if (jpeg->lib.input_scan_number > IMAGE_MAX_SCANS)
		decode_fail(jpeg->d, -E2BIG, "has more than %d scans", IMAGE_MAX_SCANS);
	decode_clock(jpeg->d);
}

/* APP1: Exif data, XMP and others. All of the file is in the source's buffer, so that it is looked at in place. */
static boolean read_app1(j_decompress_ptr lib)
{
	struct jpeg *jpeg = jpeg_of((j_common_ptr)lib);
	struct jpeg_source_mgr *src = lib->src;
	const uint8_t *bytes = src->next_input_byte;
	size_t len = src->bytes_in_buffer < 2 ? SIZE_MAX : (size_t)bytes[0] << 8 | bytes[1];

	if (len > src->bytes_in_buffer)
		decode_fail(jpeg->d, -EBADMSG, "ends early, after %zu bytes", jpeg->d->len);
	if (len < 2)
		decode_fail(jpeg->d, -EBADMSG, "a marker is %zu bytes long", len);
	src->next_input_byte += len;
	src->bytes_in_buffer -= len;
	bytes += 2;
	len -= 2;
	if (!jpeg->exif_seen && len >= sizeof(exif_magic) && memcmp(bytes, exif_magic, sizeof(exif_magic)) == 0) {
		jpeg->exif_seen = true;
		jpeg->d->orientation = exif_orientation(bytes + sizeof(exif_magic), len - sizeof(exif_magic));
	}
	return TRUE;
}

/* ---- Inks ---- */

/*
 * Ink c and black k as light. Adobe's programs write CMYK inverted, and say that they wrote it; TensorFlow goes by
 * that.
 */
static inline unsigned int light(unsigned int c, unsigned int k, bool inverted)
{
	return inverted ? c * k / 255 : (255 - c) * (255 - k) / 255;
}

/* As libjpeg weighs red, green and blue. */
static inline uint8_t luma(unsigned int r, unsigned int g, unsigned int b)
{
	return (uint8_t)((19595 * r + 38470 * g + 7471 * b + 32768) >> 16);
}

static void inks_to_light(const struct jpeg *jpeg, const uint8_t *src, uint8_t *dst)
{
	bool inverted = jpeg->lib.saw_Adobe_marker;

	for (JDIMENSION x = 0; x < jpeg->lib.output_width; x++, src += 4) {
		unsigned int r = light(src[0], src[3], inverted), g = light(src[1], src[3], inverted),
			     b = light(src[2], src[3], inverted);

		if (jpeg->d->channels == 1) {
			*dst++ = luma(r, g, b);
			continue;
		}
		*dst++ = (uint8_t)r;
		*dst++ = (uint8_t)g;
		*dst++ = (uint8_t)b;
	}
}

/* ---- Decoding ---- */

static void read_head(struct jpeg *jpeg)
{
	struct jpeg_decompress_struct *lib = &jpeg->lib;

	jpeg_mem_src(lib, jpeg->d->bytes, jpeg->d->len);
	jpeg_set_marker_processor(lib, JPEG_APP0 + 1, read_app1);
	jpeg_read_header(lib, TRUE);
	decode_size(jpeg->d, lib->image_width, lib->image_height);
	if (lib->jpeg_color_space == JCS_CMYK || lib->jpeg_color_space == JCS_YCCK)
		lib->out_color_space = JCS_CMYK;
	else
		lib->out_color_space = jpeg->d->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
	/* TensorFlow's defaults, not libjpeg's; see image.h. */
	lib->dct_method = JDCT_IFAST;
	lib->do_fancy_upsampling = TRUE;
	lib->mem->max_memory_to_use = (long)MIN(decode_memory(jpeg->d), (uint64_t)LONG_MAX);
}

static void read_rows(struct jpeg *jpeg)
{
	struct jpeg_decompress_struct *lib = &jpeg->lib;
	size_t row = (size_t)lib->output_width * jpeg->d->channels;
	uint8_t *rows[ROWS];

	while (lib->output_scanline < lib->output_height) {
		for (size_t i = 0; i < ROWS; i++)
			rows[i] = jpeg->d->image.pixels +
				  MIN(lib->output_scanline + i, (size_t)lib->output_height - 1) * row;
		jpeg_read_scanlines(lib, rows, MIN(ROWS, lib->output_height - lib->output_scanline));
	}
}

static void read_inks(struct jpeg *jpeg)
{
	struct jpeg_decompress_struct *lib = &jpeg->lib;
	JSAMPARRAY inks = lib->mem->alloc_sarray((j_common_ptr)lib, JPOOL_IMAGE, lib->output_width * 4, 1);
	uint8_t *dst = jpeg->d->image.pixels;

	for (; lib->output_scanline < lib->output_height; dst += (size_t)lib->output_width * jpeg->d->channels) {
		jpeg_read_scanlines(lib, inks, 1);
		inks_to_light(jpeg, inks[0], dst);
	}
}

static void read_all(struct jpeg *jpeg)
{
	struct jpeg_decompress_struct *lib = &jpeg->lib;

	jpeg_create_decompress(lib);
	lib->progress = &jpeg->progress;
	read_head(jpeg);
	jpeg_start_decompress(lib);
	if (lib->out_color_space == JCS_CMYK)
		read_inks(jpeg);
	else
		read_rows(jpeg);
	jpeg->complete = true;
	jpeg_finish_decompress(lib);
}

/* A function of its own: what it has on its stack does not change between setjmp() and longjmp(). */
static int try_all(struct jpeg *jpeg)
{
	if (setjmp(jpeg->d->fail))
		return jpeg->d->code;
	read_all(jpeg);
	return 0;
}

int jpeg_decode(struct decode *d)
{
	struct jpeg jpeg = { .d = d, .progress.progress_monitor = progress };
	int r;

	jpeg.lib.err = jpeg_std_error(&jpeg.errors);
	jpeg.errors.error_exit = fail;
	jpeg.errors.emit_message = message;
	jpeg.errors.output_message = silent;
	r = try_all(&jpeg);
	jpeg_destroy_decompress(&jpeg.lib);
	return r;
}
