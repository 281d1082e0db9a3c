/* SPDX-License-Identifier: Apache-2.0 */
/* See proto.h. */
#include <string.h>
#include "proto.h"

struct proto proto_init(struct proto_bytes bytes)
{
	static const uint8_t nothing;
	const uint8_t *at = bytes.data ? bytes.data : &nothing;

	return (struct proto){ .at = at, .end = at + bytes.len };
}

static bool malformed(struct proto *p)
{
	p->bad = true;
	p->at = p->end;
	return false;
}

/* At most ten bytes, of which the last holds one bit. */
static bool varint(struct proto *p, uint64_t *ret_value)
{
	uint64_t value = 0;
	unsigned int shift;

	for (shift = 0; shift < 64 && p->at < p->end; shift += 7) {
		const uint8_t byte = *p->at++;

		if (shift == 63 && byte > 1)
			return malformed(p);
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret_value = value;
			return true;
		}
	}
	return malformed(p);
}

static bool fixed(struct proto *p, size_t len, uint64_t *ret_value)
{
	size_t i;

	if ((size_t)(p->end - p->at) < len)
		return malformed(p);
	*ret_value = 0;
	for (i = 0; i < len; i++)
		*ret_value |= (uint64_t)p->at[i] << (8 * i);
	p->at += len;
	return true;
}

static bool bytes(struct proto *p, struct proto_bytes *ret_bytes)
{
	uint64_t len = 0;

	if (!varint(p, &len))
		return false;
	if (len > (uint64_t)(p->end - p->at))
		return malformed(p);
	*ret_bytes = (struct proto_bytes){ .data = p->at, .len = (size_t)len };
	p->at += len;
	return true;
}

bool proto_next(struct proto *p, struct proto_field *ret_field)
{
	struct proto_field field = { 0 };
	uint64_t key = 0;
	bool ok;

	if (p->at == p->end || !varint(p, &key))
		return false;
	if (key >> 3 == 0 || key >> 3 > (1U << 29) - 1)
		return malformed(p);
	field.number = (uint32_t)(key >> 3);
	field.type = (uint32_t)(key & 7);
	switch (field.type) {
	case PROTO_VARINT:
		ok = varint(p, &field.value);
		break;
	case PROTO_FIXED64:
		ok = fixed(p, 8, &field.value);
		break;
	case PROTO_FIXED32:
		ok = fixed(p, 4, &field.value);
		break;
	case PROTO_BYTES:
		ok = bytes(p, &field.bytes);
		break;
	default: /* groups, which TensorFlow has none of */
		return malformed(p);
	}
	if (ok)
		*ret_field = field;
	return ok;
}

bool proto_next_bytes(struct proto *p, uint32_t number, struct proto_bytes *ret_bytes)
{
	struct proto_field field;

	while (proto_next(p, &field))
		if (field.number == number && field.type == PROTO_BYTES) {
			*ret_bytes = field.bytes;
			return true;
		}
	return false;
}

bool proto_find(struct proto_bytes message, uint32_t number, uint32_t type, struct proto_field *ret_field)
{
	struct proto p = proto_init(message);
	struct proto_field field;
	bool found = false;

	while (proto_next(&p, &field))
		if (field.number == number && field.type == type) {
			*ret_field = field;
			found = true;
		}
	return found && !p.bad;
}

bool proto_equal(struct proto_bytes b, const char *text)
{
	const size_t len = strlen(text);

	return b.len == len && (!len || !memcmp(b.data, text, len));
}

static void put(struct proto_writer *w, const void *data, size_t len)
{
	if (len && w->len <= w->size && len <= w->size - w->len)
		memcpy(w->data + w->len, data, len);
	w->len += len;
}

static void put_number(struct proto_writer *w, uint64_t value)
{
	uint8_t byte;

	do {
		byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		put(w, &byte, 1);
		value >>= 7;
	} while (value);
}

void proto_put_varint(struct proto_writer *w, uint32_t number, uint64_t value)
{
	put_number(w, (uint64_t)number << 3 | PROTO_VARINT);
	put_number(w, value);
}

void proto_put_bytes(struct proto_writer *w, uint32_t number, const void *data, size_t len)
{
	put_number(w, (uint64_t)number << 3 | PROTO_BYTES);
	put_number(w, len);
	put(w, data, len);
}
