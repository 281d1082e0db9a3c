/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads protocol buffers, the encoding of TensorFlow's files, field by field, out of memory that stays the caller's. A
 * library with a schema compiler would be more code than the few fields that are wanted here: the files themselves are read by
 * TensorFlow. Whatever the bytes say, nothing outside them is read, and a malformed message ends with `bad` set.
 */
#ifndef VACCEL_PLUGIN_TENSORFLOW_PROTO_H
#define VACCEL_PLUGIN_TENSORFLOW_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes inside a message. They need not end with a NUL, and may hold any. */
struct proto_bytes {
	const uint8_t *data;
	size_t len;
};

/* A message that is being read. */
struct proto {
	const uint8_t *at, *end;
	bool bad;
};

enum proto_type { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
	uint32_t number;
	uint32_t type;
	uint64_t value;		  /* of all types but PROTO_BYTES */
	struct proto_bytes bytes; /* of PROTO_BYTES: a text or an embedded message */
};

struct proto proto_init(struct proto_bytes bytes);
/* The next field; false at the end, or when the message is malformed. */
bool proto_next(struct proto *p, struct proto_field *ret_field);
/* The next field that has this number and holds bytes; others are passed over. */
bool proto_next_bytes(struct proto *p, uint32_t number, struct proto_bytes *ret_bytes);
/* The last field of that number and type, as readers of a message have to take it; false if there is none. */
bool proto_find(struct proto_bytes message, uint32_t number, uint32_t type, struct proto_field *ret_field);

bool proto_equal(struct proto_bytes bytes, const char *text);

/* A message that is written. What has no room is left out, and len says how much there would be. */
struct proto_writer {
	uint8_t *data;
	size_t size, len;
};

void proto_put_varint(struct proto_writer *w, uint32_t number, uint64_t value);
void proto_put_bytes(struct proto_writer *w, uint32_t number, const void *data, size_t len);

#endif
