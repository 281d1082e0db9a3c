/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See axis.h. Where TensorFlow computes in single precision it is done here, in the same order: places are cut to
 * integers, and the last bit decides between neighbours.
 */
#include "image/axis.h"

#include <errno.h>
#include <math.h>

#include "util/util.h"

/* TensorFlow looks up bicubic weights for distances in steps of this fraction. */
#define CUBIC_STEPS 1024
#define CUBIC_A	    (-0.5)

struct taps {
	int64_t start;
	uint32_t n;
	uint32_t max;
	float *weights;
};

static float centre(uint32_t i, float scale)
{
	return ((float)i + 0.5f) * scale - 0.5f;
}

static void nearest(uint32_t i, float scale, uint32_t in, struct taps *ret)
{
	ret->start = MIN((int64_t)floorf(((float)i + 0.5f) * scale), (int64_t)in - 1);
	ret->n = 1;
	ret->weights[0] = 1;
}

static void bilinear(uint32_t i, float scale, uint32_t in, struct taps *ret)
{
	float at = centre(i, scale), below = floorf(at);
	int64_t upper = MIN((int64_t)ceilf(at), (int64_t)in - 1);

	ret->start = MIN(MAX((int64_t)below, 0), upper);
	ret->n = 1;
	ret->weights[0] = 1;
	if (upper == ret->start)
		return;
	ret->n = 2;
	ret->weights[0] = 1 - (at - below);
	ret->weights[1] = at - below;
}

/* Keys' function at a distance of x: */
static double cubic_near(double x) /* 0 to 1 */
{
	return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1;
}

static double cubic_far(double x) /* 1 to 2 */
{
	return ((CUBIC_A * x - 5 * CUBIC_A) * x + 8 * CUBIC_A) * x - 4 * CUBIC_A;
}

/* Places outside the picture have no weight, the others share it. */
static void bicubic(uint32_t i, float scale, uint32_t in, struct taps *ret)
{
	float at = centre(i, scale), below = floorf(at), sum = 0;
	double x = (double)lrintf((at - below) * CUBIC_STEPS) / CUBIC_STEPS;
	const double all[] = { cubic_far(1 + x), cubic_near(x), cubic_near(1 - x), cubic_far(2 - x) };

	ret->start = MAX((int64_t)below - 1, 0);
	ret->n = 0;
	for (int64_t place = ret->start; place <= (int64_t)below + 2 && place < in; place++) {
		ret->weights[ret->n] = (float)all[place - ((int64_t)below - 1)];
		sum += ret->weights[ret->n++];
	}
	for (uint32_t k = 0; k < ret->n; k++)
		ret->weights[k] /= sum;
}

/* How much of a place lies between begin and end: all of what is scaled if both are within it. */
static float covered(float place, float begin, float end, float scale)
{
	bool begins = place<begin, ends = place + 1> end;

	if (begins && ends)
		return scale;
	return begins ? place + 1 - begin : ends ? end - place : 1;
}

static void area(uint32_t i, float scale, uint32_t in, struct taps *ret)
{
	float begin = (float)i * scale, end = (float)(i + 1) * scale;
	int64_t last = (int64_t)ceilf(end);

	ret->start = MIN((int64_t)floorf(begin), (int64_t)in - 1);
	ret->n = 1;
	ret->weights[0] = covered((float)ret->start, begin, end, scale) / scale;
	for (int64_t place = ret->start + 1; place < last; place++) {
		float weight = covered((float)place, begin, end, scale) / scale;

		/* Rounding may put the end past the picture: the last place stands for what is there. */
		if (place < in && ret->n < ret->max)
			ret->weights[ret->n++] = weight;
		else
			ret->weights[ret->n - 1] += weight;
	}
}

static const struct {
	void (*weigh)(uint32_t i, float scale, uint32_t in, struct taps *ret);
	uint32_t max_taps; /* 0: as many as fit into a place of the result, and two halves */
} methods[] = {
	[IMAGE_NEAREST] = { nearest, 1 },
	[IMAGE_BILINEAR] = { bilinear, 2 },
	[IMAGE_BICUBIC] = { bicubic, 4 },
	[IMAGE_AREA] = { area, 0 },
};

int axis_init(struct axis *axis, enum image_resize resize, uint32_t in, uint32_t out)
{
	float scale = (float)in / (float)out;

	axis->n = out;
	axis->max_taps = methods[resize].max_taps ? methods[resize].max_taps : in / out + 3;
	axis->start = malloc(out * sizeof(*axis->start));
	axis->taps = malloc(out * sizeof(*axis->taps));
	axis->weights = calloc((size_t)out * axis->max_taps, sizeof(*axis->weights));
	if (!axis->start || !axis->taps || !axis->weights)
		return -ENOMEM;
	for (uint32_t i = 0; i < out; i++) {
		struct taps taps = { .max = axis->max_taps, .weights = axis->weights + (size_t)i * axis->max_taps };

		methods[resize].weigh(i, scale, in, &taps);
		axis->start[i] = (uint32_t)taps.start;
		axis->taps[i] = taps.n;
	}
	return 0;
}

void axis_fini(struct axis *axis)
{
	free(axis->start);
	free(axis->taps);
	free(axis->weights);
}
