/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures: a file is decoded within limits, and what it holds is prepared by any rule. */
#include "image.h"

#include <errno.h>

#include "fuzz.h"
#include "image/image.h"
#include "util/util.h"

static const struct image_limits limits = { .bytes = 1 << 20, .side = 2048, .pixels = 1 << 18 };

static struct image_rule rule_of(const struct fuzz_image *how, unsigned int channels)
{
	struct image_rule rule = { .width = how->width,
				   .height = how->height,
				   .channels = how->flags & FUZZ_IMAGE_OTHER ? 4 - channels : channels,
				   .layout = how->flags & FUZZ_IMAGE_PLANES ? IMAGE_NCHW : IMAGE_NHWC,
				   .resize = how->resize,
				   .fit = how->fit,
				   .type = how->flags & FUZZ_IMAGE_BYTES ? IMAGE_UINT8 : IMAGE_FLOAT32,
				   .mean = { 127.5f, 0, 3 } };

	for (int c = 0; c < 3; c++)
		rule.scale[c] = (float)how->scale / (float)(1 + c * 255);
	return rule;
}

/* All of dst is written, and with numbers: bicubic overshoots by less than the range of pixels. */
static void check_elements(const struct image_rule *rule, const float *dst)
{
	size_t n = (size_t)rule->width * rule->height * rule->channels;

	for (size_t i = 0; rule->type == IMAGE_FLOAT32 && i < n; i++)
		CHECK(dst[i] >= -512.f * 65535 && dst[i] <= 512.f * 65535);
}

static void prepare(const struct image *image, const struct image_rule *rule)
{
	size_t len = image_prepared_len(rule);
	struct error error = { .code = 0 };
	float *dst = malloc(len ? len : 1);
	int r;

	CHECK(dst);
	memset(dst, 0xff, len);
	r = image_prepare(image, rule, dst, len, &error);
	CHECK(r == 0 || (r == -EINVAL && error.text[0]));
	CHECK((r == 0) == (image_rule_check(rule, NULL) == 0 && rule->channels == image->channels));
	if (r == 0)
		check_elements(rule, dst);
	free(dst);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct error error = { .code = 0 };
	struct image_rule rule;
	struct fuzz_image how;
	unsigned int channels;
	struct image image;
	int r;

	input_bytes(&in, &how, sizeof(how));
	channels = how.flags & FUZZ_IMAGE_GREY ? 1 : 3;
	r = image_decode(in.at, in.left, &limits, channels, &image, &error);
	if (r < 0) {
		CHECK(error.code == r && error.text[0]);
		return 0;
	}
	CHECK(r == 0 && image.channels == channels && image.width && image.height);
	CHECK(image.width <= limits.side && image.height <= limits.side);
	CHECK((uint64_t)image.width * image.height <= limits.pixels);
	rule = rule_of(&how, channels);
	prepare(&image, &rule);
	image_free(&image);
	return 0;
}
