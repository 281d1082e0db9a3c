/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding of requests and responses (include/uapi/virtio_accel.h, part 1). No I/O, no allocation, no addresses followed.
 *
 * wire_decode() checks all that can be checked without knowing memory or sessions: sizes, counts, kinds, directions,
 * reserved fields, sums. What it gives points into the caller's copy of the message, which must be private memory: a
 * message that its sender can still change must be copied first.
 */
#ifndef VACCEL_OP_WIRE_H
#define VACCEL_OP_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "op/limit.h"
#include "op/request.h"
#include "uapi/virtio_accel.h"

#define WIRE_MAX_EXTENTS (1u << 16)

/* An argument as it travels. Extents are indices into the message's table. */
struct wire_arg {
	uint8_t kind; /* enum virtio_accel_arg_kind */
	uint8_t dir;
	uint32_t first_extent;
	uint32_t n_extents;
	uint64_t buffer;
	uint64_t offset;
	uint64_t len;
};

struct wire_extent {
	uint64_t addr;
	uint64_t len;
};

struct wire_request {
	uint32_t type;
	uint64_t id;
	uint64_t session;
	uint64_t object;
	uint32_t op;
	uint32_t deadline_ms;
	uint32_t n_args;
	uint32_t n_extents;
	uint32_t params_len;
	struct wire_arg args[OP_MAX_ARGS];
	const void *extents; /* n_extents struct virtio_accel_extent; read with wire_extent() */
	const void *params;  /* as on the wire; op_params_decode() reads them */
};

struct wire_limits {
	uint64_t max_request_bytes;
	uint32_t max_args;
	uint32_t max_extents;
	uint32_t max_params_len;
	struct limit_counts *counts; /* of refusals; may be NULL */
};

/*
 * msg: len bytes, private. On failure request->id is set if the header could be read, so that the answer can name it.
 * -EBADMSG malformed; -EOPNOTSUPP unknown type or flag; -E2BIG over a limit.
 */
int wire_decode(const void *msg, size_t len, const struct wire_limits *limits, struct wire_request *ret_request,
		struct error *error);

struct wire_extent wire_extent(const struct wire_request *request, uint32_t index);

/* Bytes that wire_encode() writes. */
size_t wire_encoded_len(const struct wire_request *request);

/* Writes the message; request->extents is an array of struct wire_extent here. dst: wire_encoded_len() bytes. */
void wire_encode(const struct wire_request *request, void *dst);

struct wire_response {
	uint64_t id;
	uint64_t value;
	uint32_t status;
	uint32_t detail_len;
	const char *detail;
};

/* Writes struct virtio_accel_resp and as much of the detail as fits into room bytes; returns the bytes written, or 0
 * when not even the struct fits. */
size_t wire_encode_response(const struct wire_response *response, void *dst, size_t room);

/* -EBADMSG when it cannot be one. detail points into msg. */
int wire_decode_response(const void *msg, size_t len, struct wire_response *ret_response);

/* enum virtio_accel_status of a negative errno (0 is OK), and back. Unknown ones become S_IO and -EIO. */
uint32_t wire_status(int error);
int wire_errno(uint32_t status);
/* "INVAL"; NULL for a number that has no name. */
const char *wire_status_name(uint32_t status);

#endif
