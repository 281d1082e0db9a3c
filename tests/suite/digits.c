/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model "digits" without a framework, from what the manual of the plugin reference says of the graph dense, and pictures
 * for it, without a library: PNG whose deflate stream is one stored block.
 */
#include <math.h>
#include <string.h>

#include "models.h"

/* As models/digits/model.conf has them. */
#define HIDDEN 6
#define SEED   20

static float weight(uint64_t index)
{
	uint64_t x = SEED * UINT64_C(0xd1342543de82ef95) + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return (float)((int64_t)(x >> 40) - 8388608) / 8388608;
}

void digits_expect(const float pixels[DIGITS_PIXELS], double logits[DIGITS_CLASSES],
		   double probabilities[DIGITS_CLASSES])
{
	double hidden[HIDDEN], total = 0;
	uint64_t at = 0;

	for (size_t i = 0; i < HIDDEN; i++) {
		hidden[i] = 0;
		for (size_t j = 0; j < DIGITS_PIXELS; j++)
			hidden[i] += (double)weight(at++) * (double)pixels[j];
		hidden[i] += (double)weight(at++);
		hidden[i] = hidden[i] > 0 ? hidden[i] / 8 : 0; /* the root of the number of pixels */
	}
	for (size_t i = 0; i < DIGITS_CLASSES; i++) {
		logits[i] = 0;
		for (size_t j = 0; j < HIDDEN; j++)
			logits[i] += (double)weight(at++) * hidden[j];
		logits[i] += (double)weight(at++);
		total += exp(logits[i]);
	}
	for (size_t i = 0; i < DIGITS_CLASSES; i++)
		probabilities[i] = exp(logits[i]) / total;
}

static unsigned char *put_u32(unsigned char *at, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (unsigned char)(value >> shift);
	return at;
}

static uint32_t crc(const unsigned char *data, size_t len)
{
	uint32_t sum = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		sum ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? 0xedb88320 : 0);
	}
	return ~sum;
}

static unsigned char *put_chunk(unsigned char *at, const char *kind, const void *data, uint32_t len)
{
	unsigned char *start;

	at = put_u32(at, len);
	start = at;
	memcpy(at, kind, 4);
	if (len)
		memcpy(at + 4, data, len);
	return put_u32(at + 4 + len, crc(start, 4 + len));
}

size_t digits_png(const unsigned char pixels[DIGITS_PIXELS], unsigned char *png)
{
	static const unsigned char head[] = { 0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 0 };
	/* Eight rows of a filter byte and eight pixels: 72 bytes. */
	unsigned char data[2 + 5 + 72 + 4] = { 0x78, 0x01, 1, 72, 0, 0xff - 72, 0xff };
	unsigned char *at = data + 7, *end;
	uint32_t low = 1, high = 0;

	for (size_t y = 0; y < 8; y++, at += 8) {
		*at++ = 0;
		memcpy(at, pixels + 8 * y, 8);
	}
	for (const unsigned char *byte = data + 7; byte < at; byte++) {
		low = (low + *byte) % 65521;
		high = (high + low) % 65521;
	}
	put_u32(at, high << 16 | low);
	memcpy(png, "\x89PNG\r\n\x1a\n", 8);
	end = put_chunk(png + 8, "IHDR", head, sizeof(head));
	end = put_chunk(end, "IDAT", data, sizeof(data));
	end = put_chunk(end, "IEND", NULL, 0);
	return (size_t)(end - png);
}
