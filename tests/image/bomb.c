/* SPDX-License-Identifier: Apache-2.0 */
#include "bomb.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MUST(condition)           \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void put(struct file *file, const void *bytes, size_t len)
{
	file->bytes = realloc(file->bytes, file->len + len + 1);
	MUST(file->bytes);
	memcpy(file->bytes + file->len, bytes, len);
	file->len += len;
}

/* ---- PNG ---- */

static void put_u32(struct file *file, uint32_t value)
{
	value = htonl(value);
	put(file, &value, sizeof(value));
}

static void put_chunk(struct file *file, const char *name, const struct file *data)
{
	size_t at = file->len + 4;

	put_u32(file, (uint32_t)data->len);
	put(file, name, 4);
	put(file, data->bytes, data->len);
	put_u32(file, (uint32_t)crc32(0, file->bytes + at, (uInt)(file->len - at)));
}

/* Appends head and n zeros, packed, in pieces. */
static void put_packed(struct file *file, const uint8_t *head, size_t len, size_t n)
{
	static const uint8_t zeros[1 << 16];
	uint8_t packed[1 << 16];
	z_stream z = { .next_in = (uint8_t *)(uintptr_t)head, .avail_in = (uInt)len };
	int r;

	MUST(deflateInit(&z, 1) == Z_OK);
	do {
		if (!z.avail_in && n) {
			z.next_in = (uint8_t *)(uintptr_t)zeros;
			z.avail_in = (uInt)(n < sizeof(zeros) ? n : sizeof(zeros));
			n -= z.avail_in;
		}
		z.next_out = packed;
		z.avail_out = sizeof(packed);
		r = deflate(&z, n || z.avail_in ? Z_NO_FLUSH : Z_FINISH);
		MUST(r == Z_OK || r == Z_STREAM_END);
		put(file, packed, sizeof(packed) - z.avail_out);
	} while (r != Z_STREAM_END);
	deflateEnd(&z);
}

/* The head of a colour profile that is as long as it says, so that it is worth unpacking. */
static void make_profile(uint8_t profile[132], size_t len)
{
	const uint32_t size = htonl((uint32_t)len);

	memset(profile, 0, 132);
	memcpy(profile, &size, sizeof(size));
	memcpy(profile + 8, "\2\0\0\0mntrRGB XYZ ", 16);
	memcpy(profile + 36, "acsp", 4);
	memcpy(profile + 68, "\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d", 12); /* its light */
}

struct file bomb_png(const char *chunk, size_t unpacked)
{
	/* A pixel of colour: of grey no profile is looked at that is for colours. */
	static const uint8_t size[] = { 0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0 };
	struct file png = { .len = 0 }, head = { .len = 0 }, data = { .len = 0 };
	uint8_t profile[132];
	bool pixel = !strcmp(chunk, "IDAT");

	put(&png, "\x89PNG\r\n\x1a\n", 8);
	put(&head, size, sizeof(size));
	put_chunk(&png, "IHDR", &head);
	if (!pixel)
		put(&data, "bomb\0", 6);
	make_profile(profile, unpacked);
	if (!strcmp(chunk, "iCCP"))
		put_packed(&data, profile, sizeof(profile), unpacked - sizeof(profile));
	else
		put_packed(&data, NULL, 0, unpacked);
	put_chunk(&png, chunk, &data);
	data.len = 0;
	put_packed(&data, NULL, 0, 4);
	if (!pixel)
		put_chunk(&png, "IDAT", &data);
	data.len = 0;
	put_chunk(&png, "IEND", &data);
	free(head.bytes);
	free(data.bytes);
	return png;
}

/* ---- JPEG ---- */

static void put_segment(struct file *file, uint8_t marker, const void *data, size_t len)
{
	const uint8_t head[] = { 0xff, marker, (uint8_t)((len + 2) >> 8), (uint8_t)(len + 2) };

	put(file, head, sizeof(head));
	put(file, data, len);
}

/* A table of one code, the bit 0, for one symbol. */
static void put_table(struct file *file, uint8_t which, uint8_t symbol)
{
	const uint8_t table[18] = { [0] = which, [1] = 1, [17] = symbol };

	put_segment(file, 0xc4, table, sizeof(table));
}

struct file bomb_jpeg(uint16_t side, unsigned int scans)
{
	const uint8_t frame[] = {
		8, (uint8_t)(side >> 8), (uint8_t)side, (uint8_t)(side >> 8), (uint8_t)side, 1, 1, 0x11, 0
	};
	size_t blocks = (size_t)(side / 8) * (side / 8);
	struct file jpeg = { .len = 0 };
	uint8_t quant[65], *zeros = calloc(1, blocks / 8 + 2);

	MUST(zeros);
	memset(quant, 1, sizeof(quant));
	quant[0] = 0;
	put(&jpeg, "\xff\xd8", 2);
	put_segment(&jpeg, 0xdb, quant, sizeof(quant));
	put_segment(&jpeg, 0xc2, frame, sizeof(frame));
	put_table(&jpeg, 0x00, 0);    /* of a block: like the one before */
	put_table(&jpeg, 0x10, 0xe0); /* with 14 bits that are 0 behind it: 2^14 blocks have nothing */
	put_segment(&jpeg, 0xda, "\1\1\0\0\0\0", 6);
	put(&jpeg, zeros, (blocks + 7) / 8);
	for (unsigned int i = 1; i < scans; i++) {
		put_segment(&jpeg, 0xda, "\1\1\0\1\x3f\0", 6);
		put(&jpeg, zeros, ((blocks + 16383) / 16384 * 15 + 7) / 8);
	}
	put(&jpeg, "\xff\xd9", 2);
	free(zeros);
	return jpeg;
}
