/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scaling along one axis: for each of the n places of the result, which neighbouring places of the source it is made
 * of, and with what weights. All ways of scaling are this, and both axes are independent of each other.
 */
#ifndef VACCEL_IMAGE_AXIS_H
#define VACCEL_IMAGE_AXIS_H

#include "image/image.h"

/* A place that is made of more than these has the same weight for all of them but the first and the last. */
#define AXIS_FEW 4

struct axis {
	uint32_t n;
	uint32_t max_taps; /* weights of a place in weights[] */
	uint32_t *start;   /* first place of the source */
	uint32_t *taps;	   /* how many places, 1 to max_taps */
	float *weights;
};

/* From in places to out, both at least 1. -ENOMEM. */
int axis_init(struct axis *axis, enum image_resize resize, uint32_t in, uint32_t out);
void axis_fini(struct axis *axis);

#endif
