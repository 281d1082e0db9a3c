/* SPDX-License-Identifier: Apache-2.0 */
/* A part of a picture, scaled, row by row from the top; rows that the way of scaling does not need are never touched. */
#ifndef VACCEL_IMAGE_SCALE_H
#define VACCEL_IMAGE_SCALE_H

#include "image/axis.h"

/* Rows scaled across that are kept: as many as neighbouring rows of the result have in common at most. */
#define SCALER_ROWS 4

struct rect {
	uint32_t x;
	uint32_t y;
	uint32_t width;
	uint32_t height;
};

struct scaler {
	const struct image *image;
	struct rect from;
	struct axis across;
	struct axis down;
	/* When a row of the result is made of few: */
	float *rows[SCALER_ROWS];    /* row y of the part, scaled across, in rows[y % SCALER_ROWS] */
	uint32_t which[SCALER_ROWS]; /* that row, or none */
	/* When of many: */
	uint32_t *sums; /* of rows of the part */
	float *means;
};

/* from is in image and not empty. -ENOMEM; scaler_fini() is to be called then, too. */
int scaler_init(struct scaler *scaler, const struct image *image, const struct rect *from, enum image_resize resize,
		uint32_t width, uint32_t height);
/* Row y of the result: width pixels of as many channels as the picture has. */
void scaler_row(struct scaler *scaler, uint32_t y, float *dst);
void scaler_fini(struct scaler *scaler);

#endif
