/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of tensors as text and as JSON. */
#include <endian.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/models.h"
#include "op/tensor.h"

enum kind {
	KIND_REAL,
	KIND_COMPLEX,
	KIND_SIGNED,
	KIND_UNSIGNED,
	KIND_BOOL,
	KIND_STRING,
};

/* An element, of the kind that its type is. */
struct value {
	enum kind kind;
	int digits; /* that tell a number of its type from its neighbours */
	double re, im;
	int64_t i;
	uint64_t u;
	const char *text;
	size_t len;
};

static double half(uint16_t bits)
{
	int exponent = bits >> 10 & 31, fraction = bits & 1023;
	double value;

	if (exponent == 31)
		value = fraction ? NAN : INFINITY;
	else if (exponent)
		value = ldexp(1024 + fraction, exponent - 25);
	else
		value = ldexp(fraction, -24);
	return bits >> 15 ? -value : value;
}

static double single(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static double twice(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Little-endian bytes as a number. */
static uint64_t bits_of(const unsigned char *at, size_t size)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < size; i++)
		bits |= (uint64_t)at[i] << 8 * i;
	return bits;
}

static int64_t extend(uint64_t bits, size_t size)
{
	unsigned int shift = 64 - 8 * (unsigned int)size;

	return (int64_t)(bits << shift) >> shift;
}

static void number(uint32_t dtype, const unsigned char *at, size_t size, struct value *v)
{
	uint64_t bits = bits_of(at, size > 8 ? 8 : size);

	switch (dtype) {
	case VACCEL_FLOAT32:
		*v = (struct value){ .kind = KIND_REAL, .digits = 9, .re = single((uint32_t)bits) };
		break;
	case VACCEL_FLOAT64:
		*v = (struct value){ .kind = KIND_REAL, .digits = 17, .re = twice(bits) };
		break;
	case VACCEL_FLOAT16:
		*v = (struct value){ .kind = KIND_REAL, .digits = 5, .re = half((uint16_t)bits) };
		break;
	case VACCEL_BFLOAT16:
		*v = (struct value){ .kind = KIND_REAL, .digits = 4, .re = single((uint32_t)bits << 16) };
		break;
	case VACCEL_COMPLEX64:
		*v = (struct value){ .kind = KIND_COMPLEX,
				     .digits = 9,
				     .re = single((uint32_t)bits),
				     .im = single((uint32_t)(bits >> 32)) };
		break;
	case VACCEL_COMPLEX128:
		*v = (struct value){
			.kind = KIND_COMPLEX, .digits = 17, .re = twice(bits), .im = twice(bits_of(at + 8, 8))
		};
		break;
	case VACCEL_BOOL:
		*v = (struct value){ .kind = KIND_BOOL, .u = bits };
		break;
	case VACCEL_INT8:
	case VACCEL_INT16:
	case VACCEL_INT32:
	case VACCEL_INT64:
		*v = (struct value){ .kind = KIND_SIGNED, .i = extend(bits, size) };
		break;
	default:
		*v = (struct value){ .kind = KIND_UNSIGNED, .u = bits };
		break;
	}
}

static void read_value(const struct vaccel_tensor *tensor, size_t index, struct value *v)
{
	size_t size = vaccel_dtype_size(tensor->dtype);

	if (size) {
		number(tensor->dtype, (const unsigned char *)tensor->data + index * size, size, v);
		return;
	}
	*v = (struct value){ .kind = KIND_STRING, .text = "" };
	if (vaccel_tensor_string(tensor, index, &v->text, &v->len) < 0)
		v->len = 0;
}

/* In quotes, cut if long; what a terminal should not see is escaped. */
static void string_text(const struct value *v, char text[VALUE_TEXT])
{
	size_t n = 1, i = 0;

	text[0] = '"';
	while (i < v->len && n < VALUE_TEXT - 12) {
		unsigned char c = (unsigned char)v->text[i];
		size_t bytes = cli_utf8(v->text + i, v->len - i);

		if (!bytes || c < ' ' || c == 0x7f || c == '"' || c == '\\') {
			n += (size_t)snprintf(text + n, VALUE_TEXT - n, "\\x%02x", c);
			i++;
		} else {
			memcpy(text + n, v->text + i, bytes);
			n += bytes;
			i += bytes;
		}
	}
	snprintf(text + n, VALUE_TEXT - n, i < v->len ? "\"..." : "\"");
}

void value_text(const struct vaccel_tensor *tensor, size_t index, char text[VALUE_TEXT])
{
	struct value v;

	read_value(tensor, index, &v);
	switch (v.kind) {
	case KIND_REAL:
		snprintf(text, VALUE_TEXT, "%.*g", v.digits, v.re);
		break;
	case KIND_COMPLEX:
		snprintf(text, VALUE_TEXT, "%.*g%+.*gj", v.digits, v.re, v.digits, v.im);
		break;
	case KIND_SIGNED:
		snprintf(text, VALUE_TEXT, "%" PRIi64, v.i);
		break;
	case KIND_UNSIGNED:
		snprintf(text, VALUE_TEXT, "%" PRIu64, v.u);
		break;
	case KIND_BOOL:
		snprintf(text, VALUE_TEXT, v.u ? "true" : "false");
		break;
	case KIND_STRING:
		string_text(&v, text);
		break;
	}
}

struct json_object *real_json(double value, int digits)
{
	char text[40];

	if (!isfinite(value))
		return NULL;
	snprintf(text, sizeof(text), "%.*g", digits, value);
	return json_object_new_double_s(value, text);
}

struct json_object *value_json(const struct vaccel_tensor *tensor, size_t index)
{
	struct json_object *pair;
	struct value v;

	read_value(tensor, index, &v);
	switch (v.kind) {
	case KIND_REAL:
		return real_json(v.re, v.digits);
	case KIND_COMPLEX:
		pair = json_object_new_array();
		json_object_array_add(pair, real_json(v.re, v.digits));
		json_object_array_add(pair, real_json(v.im, v.digits));
		return pair;
	case KIND_SIGNED:
		return json_object_new_int64(v.i);
	case KIND_UNSIGNED:
		return json_object_new_uint64(v.u);
	case KIND_BOOL:
		return json_object_new_boolean(v.u != 0);
	case KIND_STRING:
		break;
	}
	return js_string(v.text, v.len);
}

size_t value_count(const struct vaccel_tensor *tensor)
{
	uint64_t count;

	return op_tensor_count(tensor->rank, tensor->dims, &count) < 0 ? 0 : count;
}
