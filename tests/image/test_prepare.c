/* SPDX-License-Identifier: Apache-2.0 */
/* image_prepare(): numbers that can be worked out by hand. test_tensorflow.py has the pictures. */
#include "../unit/test.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "image/image.h"
#include "util/util.h"

/* Of any rule that is changed in one thing. */
static const struct image_rule plain = { .width = 2, .height = 2, .channels = 1, .scale = { 1, 1, 1 } };

static void prepare(const struct image *image, const struct image_rule *rule, void *dst, size_t len)
{
	struct error error;

	if (image_prepare(image, rule, dst, len, &error) < 0)
		fail_msg("%s", error.text);
}

static void assert_floats(const float *got, const float *want, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!(fabsf(got[i] - want[i]) <= 1e-4f))
			fail_msg("element %zu is %g, not %g", i, (double)got[i], (double)want[i]);
	}
}

/* One row of grey, scaled to n columns. */
static void row(enum image_resize resize, const uint8_t *pixels, uint32_t in, const float *want, uint32_t n)
{
	const struct image image = { in, 1, 1, (uint8_t *)(uintptr_t)pixels };
	struct image_rule rule = plain;
	float got[16];

	rule.width = n;
	rule.height = 1;
	rule.resize = resize;
	prepare(&image, &rule, got, n * sizeof(*got));
	assert_floats(got, want, n);
}

/* ---- Scaling ---- */

static void nearest_takes_the_centre(void **state)
{
	row(IMAGE_NEAREST, (uint8_t[]){ 10, 20 }, 2, (float[]){ 10, 10, 20, 20 }, 4);
	row(IMAGE_NEAREST, (uint8_t[]){ 1, 2, 3, 4, 5, 6 }, 6, (float[]){ 2, 5 }, 2);
	row(IMAGE_NEAREST, (uint8_t[]){ 1, 2, 3 }, 3, (float[]){ 1, 2, 3 }, 3);
}

static void bilinear_has_centres_at_halves(void **state)
{
	row(IMAGE_BILINEAR, (uint8_t[]){ 0, 100 }, 2, (float[]){ 0, 25, 75, 100 }, 4);
	/* Not antialiased: of eight pixels only those beside the two centres count. */
	row(IMAGE_BILINEAR, (uint8_t[]){ 0, 10, 20, 90, 0, 0, 40, 0 }, 8, (float[]){ 15, 20 }, 2);
	row(IMAGE_BILINEAR, (uint8_t[]){ 7 }, 1, (float[]){ 7, 7, 7 }, 3);
}

static void bicubic_is_that_of_keys(void **state)
{
	/* Half-way between the second and the third of four: (-1, 9, 9, -1) / 16. */
	row(IMAGE_BICUBIC, (uint8_t[]){ 16, 32, 64, 160 }, 4, (float[]){ 43 }, 1);
	/* At the edge what is outside has no weight, and the rest is divided by its sum: (111, -9) / 128 a quarter of a
	 * pixel outside, (111, 29) / 128 inside. */
	row(IMAGE_BICUBIC, (uint8_t[]){ 0, 200 }, 2, (float[]){ -17.64706f, 41.42857f, 158.57143f, 217.64706f }, 4);
}

static void area_is_the_mean(void **state)
{
	row(IMAGE_AREA, (uint8_t[]){ 1, 2, 3, 4 }, 4, (float[]){ 1.5f, 3.5f }, 2);
	row(IMAGE_AREA, (uint8_t[]){ 30, 60, 90 }, 3, (float[]){ 40, 80 }, 2);
	row(IMAGE_AREA, (uint8_t[]){ 10, 40 }, 2, (float[]){ 10, 25, 40 }, 3);
}

static void both_axes_are_scaled(void **state)
{
	static uint8_t pixels[] = { 0, 100, 200, 100 };
	const struct image image = { 2, 2, 1, pixels };
	struct image_rule rule = plain;
	float got[12];

	rule.width = 4;
	rule.height = 3;
	rule.resize = IMAGE_BILINEAR;
	prepare(&image, &rule, got, sizeof(got));
	assert_floats(got, (float[]){ 0, 25, 75, 100, 100, 100, 100, 100, 200, 175, 125, 100 }, 12);
}

/* Places that rounding puts past the end of a very wide picture. */
static void wide_pictures(void **state)
{
	enum { WIDTH = (1 << 26) + 3 };
	struct image image = { WIDTH, 1, 1, malloc(WIDTH) };
	struct image_rule rule = plain;
	float got[7];

	assert_non_null(image.pixels);
	memset(image.pixels, 9, WIDTH);
	rule.width = ARRAY_SIZE(got);
	rule.height = 1;
	for (unsigned int resize = IMAGE_NEAREST; resize <= IMAGE_AREA; resize++) {
		rule.resize = resize;
		prepare(&image, &rule, got, sizeof(got));
		for (size_t i = 0; i < ARRAY_SIZE(got); i++) {
			/* A sum of so many in single precision. */
			if (fabsf(got[i] - 9) > 1)
				fail_msg("resize %u: element %zu is %g", resize, i, (double)got[i]);
		}
	}
	image_free(&image);
}

/* ---- Fits ---- */

/* A row of six pixels and one of six columns, in both directions. */
static void fit(enum image_fit fit, uint32_t width, uint32_t height, uint32_t to_width, uint32_t to_height,
		const float *want)
{
	static uint8_t pixels[] = { 10, 20, 30, 40, 50, 60 };
	const struct image image = { width, height, 1, pixels };
	struct image_rule rule = plain;
	float got[16];

	rule.width = to_width;
	rule.height = to_height;
	rule.fit = fit;
	prepare(&image, &rule, got, to_width * to_height * sizeof(float));
	assert_floats(got, want, to_width * to_height);
}

static void crop_is_central(void **state)
{
	fit(IMAGE_CROP, 6, 1, 2, 1, (float[]){ 30, 40 });
	fit(IMAGE_CROP, 1, 6, 1, 2, (float[]){ 30, 40 });
	/* Odd: one more on the right. */
	fit(IMAGE_CROP, 6, 1, 3, 1, (float[]){ 20, 30, 40 });
	fit(IMAGE_CROP, 3, 2, 2, 2, (float[]){ 10, 20, 40, 50 });
	/* Thinner than a pixel is none: one is kept. */
	fit(IMAGE_CROP, 6, 1, 1, 16, (float[]){ 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30 });
}

static void pad_is_black(void **state)
{
	fit(IMAGE_PAD, 3, 2, 3, 4, (float[]){ 0, 0, 0, 10, 20, 30, 40, 50, 60, 0, 0, 0 });
	fit(IMAGE_PAD, 2, 3, 4, 3, (float[]){ 0, 10, 20, 0, 0, 30, 40, 0, 0, 50, 60, 0 });
	/* Odd: one more below. */
	fit(IMAGE_PAD, 3, 2, 3, 3, (float[]){ 10, 20, 30, 40, 50, 60, 0, 0, 0 });
	fit(IMAGE_PAD, 6, 1, 2, 2, (float[]){ 20, 50, 0, 0 });
}

/* ---- Elements ---- */

static uint8_t rgb[] = { 0, 10, 20, 255, 100, 50 };
static const struct image two = { 2, 1, 3, rgb };

static void elements_are_normalised(void **state)
{
	const struct image_rule rule = {
		.width = 2, .height = 1, .channels = 3, .mean = { 127.5f, 10, 0 }, .scale = { 1 / 127.5f, 2, -1 }
	};
	float got[6];

	prepare(&two, &rule, got, sizeof(got));
	assert_floats(got, (float[]){ -1, 0, -20, 1, 180, -50 }, 6);
}

static void planes_stand_one_behind_the_other(void **state)
{
	struct image_rule rule = { .width = 2,
				   .height = 2,
				   .channels = 3,
				   .layout = IMAGE_NCHW,
				   .fit = IMAGE_PAD,
				   .mean = { 1, 2, 3 },
				   .scale = { 1, 1, 1 } };
	float got[12];

	prepare(&two, &rule, got, sizeof(got));
	/* Bars are pixels of 0, normalised. */
	assert_floats(got, (float[]){ -1, 254, -1, -1, 8, 98, -2, -2, 17, 47, -3, -3 }, 12);
}

static void bytes_are_rounded_and_held(void **state)
{
	static uint8_t pixels[] = { 0, 1, 3, 255, 10, 21 };
	const struct image image = { 6, 1, 1, pixels };
	struct image_rule rule = { .width = 6, .height = 1, .channels = 1, .type = IMAGE_UINT8, .scale = { 0.5f } };
	uint8_t got[7] = { [6] = 77 };

	prepare(&image, &rule, got, 6);
	assert_memory_equal(got, ((uint8_t[]){ 0, 0, 2, 128, 5, 10, 77 }), 7);
	rule.mean[0] = 10;
	rule.scale[0] = 30;
	prepare(&image, &rule, got, 6);
	assert_memory_equal(got, ((uint8_t[]){ 0, 0, 0, 255, 0, 255, 77 }), 7);
	/* Past what a float holds. */
	rule.mean[0] = -3e38f;
	rule.scale[0] = 3e38f;
	prepare(&image, &rule, got, 6);
	assert_memory_equal(got, ((uint8_t[]){ 255, 255, 255, 255, 255, 255, 77 }), 7);
}

/* ---- What is refused ---- */

static void wrong_rules_are_refused(void **state)
{
	static const struct {
		struct image_rule rule;
		const char *text;
	} wrong[] = {
		{ { .width = 0, .height = 1, .channels = 1 }, "0 x 1: sides are" },
		{ { .width = 1, .height = 0, .channels = 1 }, "1 x 0: sides are" },
		{ { .width = IMAGE_MAX_SIDE + 1, .height = 1, .channels = 1 }, "16385 x 1" },
		{ { .width = 1, .height = UINT32_MAX, .channels = 1 }, "sides are 1 to 16384" },
		{ { .width = 1, .height = 1, .channels = 2 }, "2 channels" },
		{ { .width = 1, .height = 1, .channels = 1, .layout = 2 }, "not known" },
		{ { .width = 1, .height = 1, .channels = 1, .resize = 4 }, "not known" },
		{ { .width = 1, .height = 1, .channels = 1, .fit = 3 }, "not known" },
		{ { .width = 1, .height = 1, .channels = 1, .type = 2 }, "not known" },
		{ { .width = 1, .height = 1, .channels = 3, .mean = { 0, 0, NAN } }, "channel 2 is no number" },
		{ { .width = 1, .height = 1, .channels = 3, .scale = { 0, INFINITY } }, "channel 1 is no number" },
	};
	struct error error;
	float dst[4];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(image_rule_check(&wrong[i].rule, &error), -EINVAL);
		assert_text(error, wrong[i].text);
		assert_int_equal(image_prepare(&two, &wrong[i].rule, dst, sizeof(dst), NULL), -EINVAL);
	}
	assert_int_equal(image_rule_check(&plain, &error), 0);
}

static void what_does_not_fit_is_refused(void **state)
{
	struct error error;
	float dst[5] = { 0 };

	assert_int_equal(image_prepared_len(&plain), 16);
	assert_int_equal(image_prepare(&two, &plain, dst, 16, &error), -EINVAL);
	assert_text(error, "has 3 channels, its rule is for 1");
	assert_int_equal(image_prepare(&(struct image){ 1, 1, 1, rgb }, &plain, dst, 20, &error), -EINVAL);
	assert_text(error, "into 20 bytes, its rule makes 16");
	assert_int_equal(image_prepare(&(struct image){ 0, 1, 1, rgb }, &plain, dst, 16, &error), -EINVAL);
	assert_text(error, "has no pixels");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nearest_takes_the_centre),
		cmocka_unit_test(bilinear_has_centres_at_halves),
		cmocka_unit_test(bicubic_is_that_of_keys),
		cmocka_unit_test(area_is_the_mean),
		cmocka_unit_test(both_axes_are_scaled),
		cmocka_unit_test(wide_pictures),
		cmocka_unit_test(crop_is_central),
		cmocka_unit_test(pad_is_black),
		cmocka_unit_test(elements_are_normalised),
		cmocka_unit_test(planes_stand_one_behind_the_other),
		cmocka_unit_test(bytes_are_rounded_and_held),
		cmocka_unit_test(wrong_rules_are_refused),
		cmocka_unit_test(what_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
