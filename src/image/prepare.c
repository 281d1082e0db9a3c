/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_prepare(): a part of the picture (crop), scaled to a part of the result (pad), row by row, normalised and put
 * where the layout wants it.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "image/scale.h"
#include "util/util.h"

struct prepare {
	const struct image_rule *rule;
	struct rect from; /* in the picture */
	struct rect to;	  /* in the result */
	struct scaler scaler;
	float *row; /* of the result: pixels before they are normalised */
	uint8_t *dst;
};

/* ---- Rules ---- */

int image_rule_check(const struct image_rule *rule, struct error *error)
{
	if (!rule->width || rule->width > IMAGE_MAX_SIDE || !rule->height || rule->height > IMAGE_MAX_SIDE)
		return error_set(error, -EINVAL, "rule for pictures: %" PRIu32 " x %" PRIu32 ": sides are 1 to %d",
				 rule->width, rule->height, IMAGE_MAX_SIDE);
	if (rule->channels != 1 && rule->channels != 3)
		return error_set(error, -EINVAL, "rule for pictures: %" PRIu32 " channels: there are 1 or 3",
				 rule->channels);
	if ((unsigned int)rule->layout > IMAGE_NCHW || (unsigned int)rule->resize > IMAGE_AREA ||
	    (unsigned int)rule->fit > IMAGE_PAD || (unsigned int)rule->type > IMAGE_UINT8)
		return error_set(error, -EINVAL, "rule for pictures: layout, resize, fit or type is not known");
	for (uint32_t c = 0; c < rule->channels; c++) {
		if (!isfinite(rule->mean[c]) || !isfinite(rule->scale[c]))
			return error_set(error, -EINVAL,
					 "rule for pictures: mean or scale of channel %" PRIu32 " is no number", c);
	}
	return 0;
}

static size_t element_len(const struct image_rule *rule)
{
	return rule->type == IMAGE_UINT8 ? 1 : sizeof(float);
}

size_t image_prepared_len(const struct image_rule *rule)
{
	return (size_t)rule->width * rule->height * rule->channels * element_len(rule);
}

/* ---- Fits ---- */

/* Keras' smart_resize(). */
static void crop(struct prepare *p)
{
	uint64_t width = (uint64_t)p->from.height * p->rule->width / p->rule->height;
	uint64_t height = (uint64_t)p->from.width * p->rule->height / p->rule->width;

	/* A picture that is thinner than one pixel of the result is high still keeps one. */
	width = MAX(MIN(width, p->from.width), 1);
	height = MAX(MIN(height, p->from.height), 1);
	p->from = (struct rect){ (uint32_t)((p->from.width - width) / 2), (uint32_t)((p->from.height - height) / 2),
				 (uint32_t)width, (uint32_t)height };
}

/* tf.image.resize_with_pad(), in its precision: the last bit decides about a row. */
static void pad(struct prepare *p)
{
	float width = (float)p->from.width, height = (float)p->from.height;
	float to_width = (float)p->to.width, to_height = (float)p->to.height;
	float ratio = MAX(width / to_width, height / to_height);

	width /= ratio;
	height /= ratio;
	p->to = (struct rect){ (uint32_t)MAX(floorf((to_width - width) / 2), 0),
			       (uint32_t)MAX(floorf((to_height - height) / 2), 0), (uint32_t)MAX(floorf(width), 1),
			       (uint32_t)MAX(floorf(height), 1) };
}

/* ---- Rows ---- */

static inline uint8_t to_u8(float value)
{
	return (uint8_t)lrintf(MIN(MAX(value, 0.f), 255.f));
}

/* p->row becomes row y of the result. */
static void put_row(struct prepare *p, uint32_t y)
{
	const struct image_rule *rule = p->rule;
	size_t channels = rule->channels, plane = (size_t)rule->width * rule->height;
	bool planes = rule->layout == IMAGE_NCHW;

	for (size_t c = 0; c < channels; c++) {
		size_t step = planes ? 1 : channels;
		size_t at = planes ? c * plane + (size_t)y * rule->width : (size_t)y * rule->width * channels + c;
		float mean = rule->mean[c], scale = rule->scale[c];
		const float *src = p->row + c;

		if (rule->type == IMAGE_FLOAT32) {
			float *dst = (float *)(void *)p->dst + at;

			for (size_t x = 0; x < rule->width; x++)
				dst[x * step] = (src[x * channels] - mean) * scale;
		} else {
			for (size_t x = 0; x < rule->width; x++)
				p->dst[at + x * step] = to_u8((src[x * channels] - mean) * scale);
		}
	}
}

/* ---- The whole ---- */

static int begin(struct prepare *p, const struct image *image)
{
	/* Black where no part of the picture is put. */
	p->row = calloc((size_t)p->rule->width * p->rule->channels, sizeof(*p->row));
	if (!p->row)
		return -ENOMEM;
	return scaler_init(&p->scaler, image, &p->from, p->rule->resize, p->to.width, p->to.height);
}

static void end(struct prepare *p)
{
	scaler_fini(&p->scaler);
	free(p->row);
}

/* Rows above and below the picture are black: those below once more, since p->row holds a row of it then. */
static void put_all(struct prepare *p)
{
	uint32_t channels = p->rule->channels, y = 0;

	for (; y < p->to.y; y++)
		put_row(p, y);
	for (; y < p->to.y + p->to.height; y++) {
		scaler_row(&p->scaler, y - p->to.y, p->row + (size_t)p->to.x * channels);
		put_row(p, y);
	}
	memset(p->row, 0, (size_t)p->rule->width * channels * sizeof(*p->row));
	for (; y < p->rule->height; y++)
		put_row(p, y);
}

int image_prepare(const struct image *image, const struct image_rule *rule, void *dst, size_t len, struct error *error)
{
	struct prepare p = { .rule = rule,
			     .from = { 0, 0, image->width, image->height },
			     .to = { 0, 0, rule->width, rule->height },
			     .dst = dst };
	int r = image_rule_check(rule, error);

	if (r < 0)
		return r;
	if (len != image_prepared_len(rule))
		return error_set(error, -EINVAL, "picture: is to be prepared into %zu bytes, its rule makes %zu", len,
				 image_prepared_len(rule));
	if (image->channels != rule->channels)
		return error_set(error, -EINVAL, "picture: has %" PRIu32 " channels, its rule is for %" PRIu32,
				 image->channels, rule->channels);
	if (!image->width || !image->height)
		return error_set(error, -EINVAL, "picture: has no pixels");
	if (rule->fit == IMAGE_CROP)
		crop(&p);
	else if (rule->fit == IMAGE_PAD)
		pad(&p);
	r = begin(&p, image);
	if (r == 0)
		put_all(&p);
	else
		error_set(error, r, "picture: no memory to scale %" PRIu32 " x %" PRIu32 " pixels", image->width,
			  image->height);
	end(&p);
	return r;
}
