/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See top.h. The best so far are a heap with the worst of them at its root, so each value costs one comparison, and log
 * k steps if it is among the best. Values are compared as they are handed out, in single precision.
 */
#include "model/top.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <vaccel/ops.h>

#include "util/util.h"

/* Half precision, IEEE 754 binary16. */
static double half_value(uint16_t bits)
{
	const double sign = bits & 0x8000 ? -1 : 1;
	const int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;

	if (exponent == 0x1f)
		return fraction ? NAN : sign * INFINITY;
	if (!exponent)
		return sign * ldexp(fraction, -24);
	return sign * ldexp(fraction + 0x400, exponent - 25);
}

/* The upper half of a single precision number. */
static double bfloat_value(uint16_t bits)
{
	const uint32_t wide = (uint32_t)bits << 16;
	float value;

	memcpy(&value, &wide, sizeof(value));
	return (double)value;
}

static double value_at(const struct top_values *values, size_t index)
{
	switch (values->dtype) {
	case VACCEL_FLOAT32:
		return (double)((const float *)values->data)[index];
	case VACCEL_FLOAT64:
		return ((const double *)values->data)[index];
	case VACCEL_FLOAT16:
		return half_value(((const uint16_t *)values->data)[index]);
	default:
		return bfloat_value(((const uint16_t *)values->data)[index]);
	}
}

/* What turns a logit into a probability: exp(value - max) / sum. */
struct softmax {
	double max, sum;
};

static struct softmax softmax_of(const struct top_values *values)
{
	struct softmax s = { .max = -INFINITY };

	for (size_t i = 0; i < values->n; i++)
		s.max = fmax(s.max, value_at(values, i));
	for (size_t i = 0; i < values->n; i++)
		s.sum += exp(value_at(values, i) - s.max);
	return s;
}

static bool is_worse(const struct top *a, const struct top *b)
{
	return a->value < b->value || (a->value == b->value && a->index > b->index);
}

/* Puts a value at the root, or below, where it belongs. */
static void sink(struct top *heap, size_t n, struct top value)
{
	size_t at = 0, child;

	while ((child = 2 * at + 1) < n) {
		if (child + 1 < n && is_worse(&heap[child + 1], &heap[child]))
			child++;
		if (!is_worse(&heap[child], &value))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = value;
}

static void swim(struct top *heap, size_t at, struct top value)
{
	for (; at && is_worse(&value, &heap[(at - 1) / 2]); at = (at - 1) / 2)
		heap[at] = heap[(at - 1) / 2];
	heap[at] = value;
}

static int compare(const void *a, const void *b)
{
	return is_worse(a, b) ? 1 : -1;
}

int top_find(const struct top_values *values, struct top *ret_top, size_t k, struct error *error)
{
	const struct softmax s = values->softmax ? softmax_of(values) : (struct softmax){ 0 };
	size_t n = 0;

	k = MIN(k, values->n);
	for (size_t i = 0; i < values->n; i++) {
		const double value = value_at(values, i);
		const struct top one = { (uint32_t)i, (float)(values->softmax ? exp(value - s.max) / s.sum : value) };

		if (isnan(one.value))
			return error_set(error, -EIO, "class %zu of its output is not a number", i);
		if (n < k)
			swim(ret_top, n++, one);
		else if (k && is_worse(&ret_top[0], &one))
			sink(ret_top, k, one);
	}
	qsort(ret_top, n, sizeof(*ret_top), compare);
	return 0;
}
