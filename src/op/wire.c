/* SPDX-License-Identifier: Apache-2.0 */
/* See wire.h. The decoder reads its input once, front to back; every count is bounded before it is multiplied. */
#include "op/wire.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "util/util.h"

/* Which fields a request type may use; the others must be zero. */
enum {
	USES_SESSION = 1 << 0,
	USES_OBJECT = 1 << 1,
	USES_OP = 1 << 2,  /* op, deadline_ms, params, any number of arguments */
	USES_ARG = 1 << 3, /* exactly one argument */
	EXTENTS_ONLY = 1 << 4,
};

static const struct {
	uint32_t type;
	const char *name;
	unsigned int uses;
} types[] = {
	{ VIRTIO_ACCEL_T_OP, "OP", USES_SESSION | USES_OP },
	{ VIRTIO_ACCEL_T_SESSION_OPEN, "SESSION_OPEN", 0 },
	{ VIRTIO_ACCEL_T_SESSION_CLOSE, "SESSION_CLOSE", USES_SESSION },
	{ VIRTIO_ACCEL_T_BUFFER_REGISTER, "BUFFER_REGISTER", USES_SESSION | USES_ARG | EXTENTS_ONLY },
	{ VIRTIO_ACCEL_T_BUFFER_UNREGISTER, "BUFFER_UNREGISTER", USES_SESSION | USES_OBJECT },
	{ VIRTIO_ACCEL_T_CANCEL, "CANCEL", USES_OBJECT },
	{ VIRTIO_ACCEL_T_QUERY, "QUERY", USES_OBJECT | USES_ARG },
};

HOT static int find_type(uint32_t type)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type == type)
			return (int)i;
	return -1;
}

HOT static bool all_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i])
			return false;
	return true;
}

HOT static void read_header(const struct virtio_accel_req *header, struct wire_request *request)
{
	request->type = le32toh(header->type);
	request->id = le64toh(header->id);
	request->session = le64toh(header->session);
	request->object = le64toh(header->object);
	request->op = le32toh(header->op);
	request->deadline_ms = le32toh(header->deadline_ms);
	request->params_len = le32toh(header->params_len);
	request->n_extents = le32toh(header->n_extents);
	request->n_args = le16toh(header->n_args);
}

HOT static int check_header(const struct virtio_accel_req *header, const struct wire_request *request,
			    unsigned int *ret_uses, struct error *error)
{
	int index = find_type(request->type);
	unsigned int uses;

	if (index < 0)
		return error_set(error, -EOPNOTSUPP, "request type %u is not known", request->type);
	if (header->flags)
		return error_set(error, -EOPNOTSUPP, "request %s: flags %#x are not known", types[index].name,
				 le32toh(header->flags));
	uses = types[index].uses;
	if (!all_zero(header->reserved, sizeof(header->reserved)))
		return error_set(error, -EBADMSG, "request %s: reserved bytes are not zero", types[index].name);
	if ((request->session && !(uses & USES_SESSION)) || (request->object && !(uses & USES_OBJECT)) ||
	    ((request->op || request->deadline_ms || request->params_len) && !(uses & USES_OP)))
		return error_set(error, -EBADMSG, "request %s: a field that it does not use is not zero",
				 types[index].name);
	if (!(uses & USES_OP) && request->n_args != (uses & USES_ARG ? 1 : 0))
		return error_set(error, -EBADMSG, "request %s: has %u arguments", types[index].name, request->n_args);
	*ret_uses = uses;
	return 0;
}

HOT static int check_limits(const struct wire_request *request, const struct wire_limits *limits, struct error *error)
{
	if (request->n_args > MIN(limits->max_args, OP_MAX_ARGS))
		return error_set(error, -E2BIG, "request has %u arguments, more than %u", request->n_args,
				 MIN(limits->max_args, OP_MAX_ARGS));
	if (request->n_extents > MIN(limits->max_extents, WIRE_MAX_EXTENTS))
		return limit_refuse(limits->counts, LIMIT_EXTENTS, MIN(limits->max_extents, WIRE_MAX_EXTENTS), error,
				    -E2BIG, "request has %u extents, more than %u", request->n_extents,
				    MIN(limits->max_extents, WIRE_MAX_EXTENTS));
	if (request->params_len > MIN(limits->max_params_len, OP_MAX_PARAMS))
		return error_set(error, -E2BIG, "request has %u bytes of parameters, more than %u", request->params_len,
				 MIN(limits->max_params_len, OP_MAX_PARAMS));
	return 0;
}

static int check_extents(const struct wire_request *request, const struct wire_arg *arg, unsigned int index,
			 struct error *error)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < arg->n_extents; i++) {
		struct wire_extent extent = wire_extent(request, arg->first_extent + i);
		uint64_t end;

		if (!extent.len || add_u64(extent.addr, extent.len, &end) || add_u64(sum, extent.len, &sum))
			return error_set(error, -EBADMSG, "argument %u: extent %u is empty or wraps", index, i);
	}
	if (sum != arg->len)
		return error_set(error, -EBADMSG, "argument %u: its extents have %" PRIu64 " bytes, it says %" PRIu64,
				 index, sum, arg->len);
	return 0;
}

HOT static int decode_arg(const struct wire_request *request, const struct virtio_accel_arg *in, unsigned int index,
			  uint32_t *next_extent, struct wire_arg *arg, struct error *error)
{
	*arg = (struct wire_arg){
		.kind = in->kind,
		.dir = in->dir,
		.first_extent = *next_extent,
		.n_extents = le32toh(in->n_extents),
		.buffer = le64toh(in->buffer),
		.offset = le64toh(in->offset),
		.len = le64toh(in->len),
	};
	if (in->reserved || !arg->dir || arg->dir > VIRTIO_ACCEL_DIR_INOUT)
		return error_set(error, -EBADMSG, "argument %u: bad direction or reserved field", index);
	if (arg->n_extents > request->n_extents - *next_extent)
		return error_set(error, -EBADMSG, "argument %u: more extents than the request has", index);
	*next_extent += arg->n_extents;
	switch (arg->kind) {
	case VIRTIO_ACCEL_ARG_EXTENTS:
		if (arg->buffer || arg->offset)
			return error_set(error, -EBADMSG, "argument %u: extents with a buffer or offset", index);
		return check_extents(request, arg, index, error);
	case VIRTIO_ACCEL_ARG_BUFFER:
		if (arg->n_extents || !arg->buffer)
			return error_set(error, -EBADMSG, "argument %u: a buffer without id, or with extents", index);
		return 0;
	default:
		return error_set(error, -EOPNOTSUPP, "argument %u: kind %u is not known", index, arg->kind);
	}
}

HOT static int decode_args(struct wire_request *request, const uint8_t *in, const struct wire_limits *limits,
			   struct error *error)
{
	uint64_t bytes = 0;
	uint32_t next_extent = 0;

	for (uint32_t i = 0; i < request->n_args; i++) {
		struct virtio_accel_arg copy;
		int r;

		memcpy(&copy, in + i * sizeof(copy), sizeof(copy));
		r = decode_arg(request, &copy, i, &next_extent, &request->args[i], error);
		if (r < 0)
			return r;
		if (add_u64(bytes, request->args[i].len, &bytes) || bytes > limits->max_request_bytes)
			return limit_refuse(limits->counts, LIMIT_REQUEST_BYTES, limits->max_request_bytes, error,
					    -E2BIG, "request: its arguments are larger than it may have");
	}
	if (next_extent != request->n_extents)
		return error_set(error, -EBADMSG, "request has %u extents, its arguments use %u", request->n_extents,
				 next_extent);
	return 0;
}

HOT int wire_decode(const void *msg, size_t len, const struct wire_limits *limits, struct wire_request *request,
		    struct error *error)
{
	const uint8_t *bytes = msg;
	struct virtio_accel_req header;
	unsigned int uses = 0;
	size_t args_at = sizeof(header), extents_at, params_at;
	int r;

	/* Of the arguments, most of the struct, only those that there are are written. */
	memset(request, 0, offsetof(struct wire_request, args));
	request->extents = NULL;
	request->params = NULL;
	if (len < sizeof(header))
		return error_set(error, -EBADMSG, "request of %zu bytes is shorter than its header", len);
	memcpy(&header, msg, sizeof(header));
	read_header(&header, request);
	r = check_header(&header, request, &uses, error);
	if (r == 0)
		r = check_limits(request, limits, error);
	if (r < 0)
		return r;
	extents_at = args_at + request->n_args * sizeof(struct virtio_accel_arg);
	params_at = extents_at + (size_t)request->n_extents * sizeof(struct virtio_accel_extent);
	if (params_at + request->params_len != len)
		return error_set(error, -EBADMSG, "request of %zu bytes should have %zu", len,
				 params_at + request->params_len);
	request->extents = bytes + extents_at;
	request->params = bytes + params_at;
	r = decode_args(request, bytes + args_at, limits, error);
	if (r == 0 && (uses & EXTENTS_ONLY) && request->args[0].kind != VIRTIO_ACCEL_ARG_EXTENTS)
		r = error_set(error, -EBADMSG, "request needs an argument of extents");
	return r;
}

struct wire_extent wire_extent(const struct wire_request *request, uint32_t index)
{
	struct virtio_accel_extent extent;

	memcpy(&extent, (const uint8_t *)request->extents + (size_t)index * sizeof(extent), sizeof(extent));
	return (struct wire_extent){ .addr = le64toh(extent.addr), .len = le64toh(extent.len) };
}

HOT size_t wire_encoded_len(const struct wire_request *request)
{
	return sizeof(struct virtio_accel_req) + request->n_args * sizeof(struct virtio_accel_arg) +
	       (size_t)request->n_extents * sizeof(struct virtio_accel_extent) + request->params_len;
}

HOT static void encode_arg(const struct wire_arg *arg, struct virtio_accel_arg *out)
{
	*out = (struct virtio_accel_arg){
		.kind = arg->kind,
		.dir = arg->dir,
		.n_extents = htole32(arg->n_extents),
		.buffer = htole64(arg->buffer),
		.offset = htole64(arg->offset),
		.len = htole64(arg->len),
	};
}

HOT void wire_encode(const struct wire_request *request, void *dst)
{
	const struct wire_extent *extents = request->extents;
	uint8_t *at = dst;
	struct virtio_accel_req header = {
		.type = htole32(request->type),
		.id = htole64(request->id),
		.session = htole64(request->session),
		.object = htole64(request->object),
		.op = htole32(request->op),
		.deadline_ms = htole32(request->deadline_ms),
		.params_len = htole32(request->params_len),
		.n_extents = htole32(request->n_extents),
		.n_args = htole16((uint16_t)request->n_args),
	};

	memcpy(at, &header, sizeof(header));
	at += sizeof(header);
	for (uint32_t i = 0; i < request->n_args; i++) {
		struct virtio_accel_arg arg;

		encode_arg(&request->args[i], &arg);
		memcpy(at, &arg, sizeof(arg));
		at += sizeof(arg);
	}
	for (uint32_t i = 0; i < request->n_extents; i++) {
		struct virtio_accel_extent extent = { .addr = htole64(extents[i].addr),
						      .len = htole64(extents[i].len) };

		memcpy(at, &extent, sizeof(extent));
		at += sizeof(extent);
	}
	if (request->params_len)
		memcpy(at, request->params, request->params_len);
}

HOT size_t wire_encode_response(const struct wire_response *response, void *dst, size_t room)
{
	struct virtio_accel_resp header = {
		.id = htole64(response->id),
		.value = htole64(response->value),
		.status = htole32(response->status),
	};
	size_t detail_len = response->detail ? response->detail_len : 0;

	if (room < sizeof(header))
		return 0;
	detail_len = MIN(detail_len, room - sizeof(header));
	header.detail_len = htole32((uint32_t)detail_len);
	memcpy(dst, &header, sizeof(header));
	if (detail_len)
		memcpy((uint8_t *)dst + sizeof(header), response->detail, detail_len);
	return sizeof(header) + detail_len;
}

HOT int wire_decode_response(const void *msg, size_t len, struct wire_response *response)
{
	struct virtio_accel_resp header;

	if (len < sizeof(header))
		return -EBADMSG;
	memcpy(&header, msg, sizeof(header));
	*response = (struct wire_response){
		.id = le64toh(header.id),
		.value = le64toh(header.value),
		.status = le32toh(header.status),
		.detail_len = le32toh(header.detail_len),
		.detail = (const char *)msg + sizeof(header),
	};
	return response->detail_len > len - sizeof(header) ? -EBADMSG : 0;
}
