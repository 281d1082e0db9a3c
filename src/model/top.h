/* SPDX-License-Identifier: Apache-2.0 */
/* The classes of highest probability, out of a model's output as it lies in the framework's memory. */
#ifndef VACCEL_MODEL_TOP_H
#define VACCEL_MODEL_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct top {
	uint32_t index;
	float value;
};

/* Values of one picture. dtype: a floating type of enum vaccel_dtype. */
struct top_values {
	const void *data;
	uint32_t dtype;
	size_t n;
	bool softmax; /* the values are logits */
};

/*
 * Fills ret_top with the MIN(k, values->n) highest, highest first, of equal ones the lower index first. -EIO: one of
 * the values is not a number, so that there is no order.
 */
int top_find(const struct top_values *values, struct top *ret_top, size_t k, struct error *error);

#endif
