/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See scale.h. Both axes are scaled one after the other. Mostly rows are scaled across first, each once, and then
 * summed: few pixels of them are looked at. Where a picture is shrunk to the means of areas all pixels are: there
 * whole rows are summed first, which the compiler makes vectors of.
 */
#include "image/scale.h"

#include <errno.h>
#include <string.h>

#include "util/util.h"

#define NONE UINT32_MAX
/* Rows whose pixels can be summed in 31 bits, which become floats faster than 32 do. */
#define MAX_SUMMED (1u << 23)

static const uint8_t *pixels_of(const struct scaler *s, uint32_t y)
{
	return s->image->pixels + ((size_t)(s->from.y + y) * s->image->width + s->from.x) * s->image->channels;
}

/* ---- Across ---- */

/* The source is pixels or floats. To be inlined where that and channels are constants. */
static inline __attribute__((always_inline)) void scale_across(const struct axis *axis, const uint8_t *pixels,
							       const float *floats, float *dst, uint32_t channels)
{
	for (uint32_t x = 0; x < axis->n; x++, dst += channels) {
		const float *weights = axis->weights + (size_t)x * axis->max_taps;
		size_t at = (size_t)axis->start[x] * channels;
		float sum[3] = { 0 };

		for (uint32_t tap = 0; tap < axis->taps[x]; tap++, at += channels) {
			for (uint32_t c = 0; c < channels; c++)
				sum[c] += weights[tap] * (pixels ? (float)pixels[at + c] : floats[at + c]);
		}
		for (uint32_t c = 0; c < channels; c++)
			dst[c] = sum[c];
	}
}

static void pixels_across(const struct scaler *s, const uint8_t *src, float *dst)
{
	if (s->image->channels == 3)
		scale_across(&s->across, src, NULL, dst, 3);
	else
		scale_across(&s->across, src, NULL, dst, 1);
}

static void floats_across(const struct scaler *s, const float *src, float *dst)
{
	if (s->image->channels == 3)
		scale_across(&s->across, NULL, src, dst, 3);
	else
		scale_across(&s->across, NULL, src, dst, 1);
}

/* ---- Down: rows do not overlap, and the compiler may know ---- */

static const float *row_across(struct scaler *s, uint32_t y)
{
	uint32_t slot = y % SCALER_ROWS;

	if (s->which[slot] != y)
		pixels_across(s, pixels_of(s, y), s->rows[slot]);
	s->which[slot] = y;
	return s->rows[slot];
}

static void add_floats(float *restrict dst, const float *restrict row, float weight, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] += weight * row[i];
}

static void sum_few(struct scaler *s, uint32_t first, uint32_t taps, const float *weights, float *dst)
{
	size_t n = (size_t)s->across.n * s->image->channels;

	memset(dst, 0, n * sizeof(*dst));
	for (uint32_t tap = 0; tap < taps; tap++)
		add_floats(dst, row_across(s, first + tap), weights[tap], n);
}

static void add_row(uint32_t *restrict sums, const uint8_t *restrict row, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sums[i] += row[i];
}

static void weigh(float *restrict means, const uint32_t *restrict sums, float weight, size_t n)
{
	for (size_t i = 0; i < n; i++)
		means[i] = weight * (float)(int32_t)sums[i];
}

static void add_weighed(float *restrict means, const uint8_t *restrict row, float weight, size_t n)
{
	for (size_t i = 0; i < n; i++)
		means[i] += weight * (float)row[i];
}

/* Rows but the first and the last have the same weight: they are summed as integers. */
static void sum_many(struct scaler *s, uint32_t first, uint32_t taps, const float *weights, float *dst)
{
	size_t n = (size_t)s->from.width * s->image->channels;

	memset(s->sums, 0, n * sizeof(*s->sums));
	for (uint32_t tap = 1; tap < taps - 1; tap++)
		add_row(s->sums, pixels_of(s, first + tap), n);
	weigh(s->means, s->sums, weights[1], n);
	add_weighed(s->means, pixels_of(s, first), weights[0], n);
	add_weighed(s->means, pixels_of(s, first + taps - 1), weights[taps - 1], n);
	floats_across(s, s->means, dst);
}

void scaler_row(struct scaler *s, uint32_t y, float *dst)
{
	const float *weights = s->down.weights + (size_t)y * s->down.max_taps;

	if (s->sums && s->down.taps[y] > AXIS_FEW)
		sum_many(s, s->down.start[y], s->down.taps[y], weights, dst);
	else
		sum_few(s, s->down.start[y], s->down.taps[y], weights, dst);
}

/* ---- The whole ---- */

int scaler_init(struct scaler *s, const struct image *image, const struct rect *from, enum image_resize resize,
		uint32_t width, uint32_t height)
{
	size_t from_row = (size_t)from->width * image->channels, row = (size_t)width * image->channels;

	*s = (struct scaler){ .image = image, .from = *from };
	if (axis_init(&s->across, resize, from->width, width) < 0 ||
	    axis_init(&s->down, resize, from->height, height) < 0)
		return -ENOMEM;
	for (int i = 0; i < SCALER_ROWS; i++) {
		s->which[i] = NONE;
		s->rows[i] = malloc(row * sizeof(*s->rows[i]));
		if (!s->rows[i])
			return -ENOMEM;
	}
	if (s->down.max_taps <= AXIS_FEW || s->down.max_taps > MAX_SUMMED)
		return 0;
	s->sums = malloc(from_row * sizeof(*s->sums));
	s->means = malloc(from_row * sizeof(*s->means));
	return s->sums && s->means ? 0 : -ENOMEM;
}

void scaler_fini(struct scaler *s)
{
	axis_fini(&s->across);
	axis_fini(&s->down);
	for (int i = 0; i < SCALER_ROWS; i++)
		free(s->rows[i]);
	free(s->sums);
	free(s->means);
}
