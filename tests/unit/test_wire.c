/* SPDX-License-Identifier: Apache-2.0 */
/* src/op: encoding of requests and responses, each rejection of the decoder, the table of statuses. */
#include "test.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/wire.h"
#include "util/util.h"

static const struct wire_limits limits = {
	.max_request_bytes = 1 << 20,
	.max_args = 4,
	.max_extents = 8,
	.max_params_len = 128,
};

#define MESSAGE_MAX 1024

/* The parts of a message in host order, to be spoilt by tests before it is packed. */
struct message {
	struct virtio_accel_req header;
	struct virtio_accel_arg args[OP_MAX_ARGS + 1];
	struct virtio_accel_extent extents[16];
	uint8_t params[160];
};

static struct message op_message(void)
{
	return (struct message){
		.header = { .type = VIRTIO_ACCEL_T_OP,
			    .id = 0x1122334455667788,
			    .session = 0x100000001,
			    .op = 1,
			    .deadline_ms = 250,
			    .params_len = 80,
			    .n_extents = 3,
			    .n_args = 3 },
		.args = { { VIRTIO_ACCEL_ARG_EXTENTS, 1, 0, 2, 0, 0, 300 },
			  { VIRTIO_ACCEL_ARG_BUFFER, 1, 0, 0, 0x200000001, 64, 4096 },
			  { VIRTIO_ACCEL_ARG_EXTENTS, 3, 0, 1, 0, 0, 50 } },
		.extents = { { 0x1000, 100 }, { 0x9000, 200 }, { 0x4000, 50 } },
		.params = { 1, 2, 3, 4, [79] = 5 },
	};
}

static size_t pack(const struct message *message, uint8_t *out)
{
	const struct virtio_accel_req *h = &message->header;
	struct virtio_accel_req header = *h;
	uint8_t *at = out;

	header.type = htole32(h->type);
	header.flags = htole32(h->flags);
	header.id = htole64(h->id);
	header.session = htole64(h->session);
	header.object = htole64(h->object);
	header.op = htole32(h->op);
	header.deadline_ms = htole32(h->deadline_ms);
	header.params_len = htole32(h->params_len);
	header.n_extents = htole32(h->n_extents);
	header.n_args = htole16(h->n_args);
	at = mempcpy(at, &header, sizeof(header));
	for (size_t i = 0; i < h->n_args; i++) {
		struct virtio_accel_arg arg = message->args[i];

		arg.reserved = htole16(arg.reserved);
		arg.n_extents = htole32(arg.n_extents);
		arg.buffer = htole64(arg.buffer);
		arg.offset = htole64(arg.offset);
		arg.len = htole64(arg.len);
		at = mempcpy(at, &arg, sizeof(arg));
	}
	for (size_t i = 0; i < h->n_extents; i++) {
		struct virtio_accel_extent extent = { htole64(message->extents[i].addr),
						      htole64(message->extents[i].len) };

		at = mempcpy(at, &extent, sizeof(extent));
	}
	at = mempcpy(at, message->params, h->params_len);
	return (size_t)(at - out);
}

/* Decodes from memory of exactly that size, so that a sanitizer sees a read beyond it. */
static int decode(const uint8_t *bytes, size_t len, struct wire_request *request, struct error *error)
{
	uint8_t *exact = malloc(len ? len : 1);
	int r;

	assert_non_null(exact);
	memcpy(exact, bytes, len);
	r = wire_decode(exact, len, &limits, request, error);
	free(exact);
	return r;
}

static void expect(const struct message *message, int code, const char *text)
{
	uint8_t bytes[MESSAGE_MAX];
	struct wire_request request;
	struct error error = { 0 };
	int r = decode(bytes, pack(message, bytes), &request, &error);

	if (r != code)
		fail_msg("wire_decode() is %d, not %d: %s", r, code, error.text);
	/* So that the answer names the request. */
	assert_true(request.id == message->header.id);
	if (code < 0) {
		assert_int_equal(error.code, code);
		assert_text(error, text);
	}
}

/* ---- What is right ---- */

static void good_message_is_read(void **state)
{
	struct message message = op_message();
	uint8_t bytes[MESSAGE_MAX];
	struct wire_request request;
	size_t len = pack(&message, bytes);

	assert_int_equal(wire_decode(bytes, len, &limits, &request, NULL), 0);
	assert_int_equal(request.type, VIRTIO_ACCEL_T_OP);
	assert_true(request.id == 0x1122334455667788 && request.session == 0x100000001 && request.object == 0);
	assert_int_equal(request.op, 1);
	assert_int_equal(request.deadline_ms, 250);
	assert_int_equal(request.n_args, 3);
	assert_int_equal(request.args[0].first_extent, 0);
	assert_int_equal(request.args[2].first_extent, 2);
	assert_int_equal(request.args[2].dir, 3);
	assert_true(request.args[1].buffer == 0x200000001 && request.args[1].offset == 64);
	assert_true(wire_extent(&request, 1).addr == 0x9000 && wire_extent(&request, 1).len == 200);
	assert_true(wire_extent(&request, 2).addr == 0x4000);
	assert_memory_equal(request.params, message.params, 80);
}

static void encode_is_the_inverse(void **state)
{
	struct message message = op_message();
	uint8_t bytes[MESSAGE_MAX], again[MESSAGE_MAX];
	struct wire_extent extents[3];
	struct wire_request request;
	size_t len = pack(&message, bytes);

	assert_int_equal(wire_decode(bytes, len, &limits, &request, NULL), 0);
	for (uint32_t i = 0; i < 3; i++)
		extents[i] = wire_extent(&request, i);
	request.extents = extents;
	assert_int_equal(wire_encoded_len(&request), len);
	memset(again, 0xee, sizeof(again));
	wire_encode(&request, again);
	assert_memory_equal(again, bytes, len);
	assert_int_equal(again[len], 0xee);
}

static struct message control_message(uint32_t type)
{
	struct message message = { .header = { .type = type, .id = 5 } };
	struct virtio_accel_arg arg = { VIRTIO_ACCEL_ARG_EXTENTS, 3, 0, 1, 0, 0, 4096 };

	if (type != VIRTIO_ACCEL_T_SESSION_OPEN && type != VIRTIO_ACCEL_T_CANCEL && type != VIRTIO_ACCEL_T_QUERY)
		message.header.session = 0x100000001;
	if (type == VIRTIO_ACCEL_T_BUFFER_UNREGISTER || type == VIRTIO_ACCEL_T_CANCEL)
		message.header.object = 0x300000002;
	if (type == VIRTIO_ACCEL_T_BUFFER_REGISTER || type == VIRTIO_ACCEL_T_QUERY) {
		message.header.n_args = 1;
		message.header.n_extents = 1;
		message.args[0] = arg;
		message.extents[0] = (struct virtio_accel_extent){ 0x1000, 4096 };
	}
	return message;
}

static void every_type_is_read(void **state)
{
	struct message query;

	for (uint32_t type = VIRTIO_ACCEL_T_SESSION_OPEN; type <= VIRTIO_ACCEL_T_QUERY; type++) {
		struct message message = control_message(type);

		expect(&message, 0, NULL);
	}
	query = control_message(VIRTIO_ACCEL_T_QUERY);
	query.header.n_extents = 0;
	query.args[0] = (struct virtio_accel_arg){ VIRTIO_ACCEL_ARG_BUFFER, 2, 0, 0, 9, 0, 100 };
	expect(&query, 0, NULL);
}

static void empty_arguments_are_read(void **state)
{
	struct message message = op_message();

	message.args[0] = (struct virtio_accel_arg){ VIRTIO_ACCEL_ARG_EXTENTS, 1, 0, 0, 0, 0, 0 };
	message.args[1].len = 0;
	message.args[2].n_extents = 3;
	message.args[2].len = 350;
	expect(&message, 0, NULL);
	message.header = (struct virtio_accel_req){ .type = VIRTIO_ACCEL_T_OP, .id = 1 };
	expect(&message, 0, NULL);
}

/* ---- What is not ---- */

static void truncated_at_every_length(void **state)
{
	struct message message = op_message();
	uint8_t bytes[MESSAGE_MAX];
	size_t len = pack(&message, bytes);

	for (size_t n = 0; n <= len; n++) {
		struct wire_request request;
		struct error error = { 0 };

		assert_int_equal(decode(bytes, n, &request, &error), n < len ? -EBADMSG : 0);
		assert_true(request.id == (n < sizeof(struct virtio_accel_req) ? 0 : message.header.id));
	}
}

static void trailing_bytes(void **state)
{
	struct message message = op_message();
	uint8_t bytes[MESSAGE_MAX + 64] = { 0 };
	struct wire_request request;
	size_t len = pack(&message, bytes);

	for (size_t more = 1; more <= 64; more++)
		assert_int_equal(decode(bytes, len + more, &request, NULL), -EBADMSG);
}

static void reserved_bytes_one_by_one(void **state)
{
	for (size_t i = 0; i < sizeof(((struct virtio_accel_req *)0)->reserved); i++) {
		struct message message = op_message();

		message.header.reserved[i] = 1;
		expect(&message, -EBADMSG, "reserved bytes");
	}
	for (unsigned int bit = 0; bit < 32; bit++) {
		struct message message = op_message();

		message.header.flags = 1u << bit;
		expect(&message, -EOPNOTSUPP, "flags");
	}
	for (unsigned int bit = 0; bit < 16; bit++) {
		struct message message = op_message();

		message.args[2].reserved = (uint16_t)(1u << bit);
		expect(&message, -EBADMSG, "argument 2");
	}
}

static void unknown_types(void **state)
{
	static const uint32_t types[] = { 0, 8, 255, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct message message = op_message();

		message.header.type = types[i];
		expect(&message, -EOPNOTSUPP, "type");
	}
}

/* For each type, each field that it does not use. */
static void unused_fields(void **state)
{
	for (uint32_t type = VIRTIO_ACCEL_T_OP; type <= VIRTIO_ACCEL_T_QUERY; type++) {
		const struct message good = type == VIRTIO_ACCEL_T_OP ? op_message() : control_message(type);
		struct message message = good;

		if (!good.header.session) {
			message.header.session = 1;
			expect(&message, -EBADMSG, "does not use");
			message = good;
		}
		if (!good.header.object && type != VIRTIO_ACCEL_T_QUERY) {
			message.header.object = UINT64_C(1) << 63;
			expect(&message, -EBADMSG, "does not use");
			message = good;
		}
		if (type == VIRTIO_ACCEL_T_OP)
			continue;
		message.header.op = 1;
		expect(&message, -EBADMSG, "does not use");
		message = good;
		message.header.deadline_ms = 1;
		expect(&message, -EBADMSG, "does not use");
		message = good;
		message.header.params_len = 8;
		expect(&message, -EBADMSG, "does not use");
	}
}

static void argument_counts_of_control_requests(void **state)
{
	for (uint32_t type = VIRTIO_ACCEL_T_SESSION_OPEN; type <= VIRTIO_ACCEL_T_QUERY; type++) {
		struct message message = control_message(type);
		uint16_t right = message.header.n_args;

		for (uint16_t n = 0; n < 4; n++) {
			if (n == right)
				continue;
			message.header.n_args = n;
			expect(&message, -EBADMSG, "arguments");
		}
		message = control_message(type);
		if (!right) {
			message.header.n_extents = 1;
			expect(&message, -EBADMSG, "extents");
		}
	}
}

static void registering_takes_extents(void **state)
{
	struct message message = control_message(VIRTIO_ACCEL_T_BUFFER_REGISTER);

	message.header.n_extents = 0;
	message.args[0] = (struct virtio_accel_arg){ VIRTIO_ACCEL_ARG_BUFFER, 3, 0, 0, 9, 0, 100 };
	expect(&message, -EBADMSG, "extents");
}

static void over_the_limits(void **state)
{
	struct message message = op_message();

	message.header.n_args = 5;
	expect(&message, -E2BIG, "5 arguments, more than 4");
	message = op_message();
	message.header.n_extents = 9;
	expect(&message, -E2BIG, "9 extents, more than 8");
	message = op_message();
	message.header.params_len = 129;
	expect(&message, -E2BIG, "129 bytes of parameters, more than 128");
	message = op_message();
	message.args[1].len = limits.max_request_bytes - 350;
	expect(&message, 0, NULL);
	message.args[1].len++;
	expect(&message, -E2BIG, "larger than");
	message.args[1].len = UINT64_MAX;
	expect(&message, -E2BIG, "larger than");
}

/* Counts that no message holds, with limits that would allow them: nothing is multiplied past its type. */
static void enormous_counts(void **state)
{
	static const struct wire_limits generous = { UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX };
	static const uint32_t counts[] = { 0x10000, 0x10001, 0x7fffffff, 0x80000000, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct virtio_accel_req header = { .type = htole32(VIRTIO_ACCEL_T_OP) };
		struct wire_request request;

		header.n_extents = htole32(counts[i]);
		assert_true(wire_decode(&header, sizeof(header), &generous, &request, NULL) < 0);
		header.n_extents = 0;
		header.params_len = htole32(counts[i]);
		assert_int_equal(wire_decode(&header, sizeof(header), &generous, &request, NULL), -E2BIG);
		header.params_len = 0;
		header.n_args = 0xffff;
		assert_int_equal(wire_decode(&header, sizeof(header), &generous, &request, NULL), -E2BIG);
	}
}

static void kinds_and_directions(void **state)
{
	static const uint8_t kinds[] = { 0, 3, 255 }, dirs[] = { 0, 4, 5, 255 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct message message = op_message();

		message.args[0].kind = kinds[i];
		expect(&message, -EOPNOTSUPP, "argument 0: kind");
	}
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct message message = op_message();

		message.args[1].dir = dirs[i];
		expect(&message, -EBADMSG, "argument 1: bad direction");
	}
}

static void extents_against_their_argument(void **state)
{
	struct message message = op_message();

	message.args[0].len++;
	expect(&message, -EBADMSG, "its extents have 300 bytes, it says 301");
	message.args[0].len -= 2;
	expect(&message, -EBADMSG, "it says 299");
	message = op_message();
	message.args[0].n_extents = 1;
	message.args[0].len = 100;
	message.args[2].n_extents = 1;
	message.args[2].len = 200;
	expect(&message, -EBADMSG, "request has 3 extents, its arguments use 2");
	message = op_message();
	message.args[2].n_extents = 2;
	expect(&message, -EBADMSG, "more extents than the request has");
	message.args[2].n_extents = UINT32_MAX;
	expect(&message, -EBADMSG, "more extents than the request has");
	message = op_message();
	message.args[2].n_extents = 0;
	message.header.n_extents = 2;
	expect(&message, -EBADMSG, "it says 50");
}

static void extents_that_wrap(void **state)
{
	struct message message = op_message();

	message.extents[0].len = 0;
	expect(&message, -EBADMSG, "extent 0 is empty or wraps");
	message = op_message();
	message.extents[1].addr = UINT64_MAX - 100;
	expect(&message, -EBADMSG, "extent 1 is empty or wraps");
	/* Their sum wraps round to what the argument says. */
	message = op_message();
	message.extents[0] = (struct virtio_accel_extent){ 0, UINT64_MAX - 100 };
	message.extents[1] = (struct virtio_accel_extent){ 0, 401 };
	expect(&message, -EBADMSG, "wraps");
}

static void fields_that_the_kind_does_not_use(void **state)
{
	struct message message = op_message();

	message.args[0].buffer = 1;
	expect(&message, -EBADMSG, "extents with a buffer");
	message = op_message();
	message.args[0].offset = 1;
	expect(&message, -EBADMSG, "extents with a buffer or offset");
	message = op_message();
	message.args[1].buffer = 0;
	expect(&message, -EBADMSG, "without id");
	message = op_message();
	message.args[1].n_extents = 1;
	message.args[2].n_extents = 0;
	expect(&message, -EBADMSG, "with extents");
}

/* Any bytes at all: an answer, and nothing read beyond them. */
static void random_messages(void **state)
{
	uint64_t seed = 42;

	for (int round = 0; round < 20000; round++) {
		struct message message = op_message();
		uint8_t bytes[MESSAGE_MAX];
		struct wire_request request;
		size_t len = pack(&message, bytes);

		for (unsigned int n = (unsigned int)test_random(&seed) % 6; n; n--)
			bytes[test_random(&seed) % len] = (uint8_t)test_random(&seed);
		if (test_random(&seed) % 4 == 0)
			len = test_random(&seed) % len;
		if (decode(bytes, len, &request, NULL) == 0)
			assert_true(request.n_args <= limits.max_args && request.n_extents <= limits.max_extents);
	}
}

/* ---- Responses ---- */

static void response_round_trip(void **state)
{
	static const char text[] = "session 0x7: is closed";
	struct wire_response out = { 7, 9, VIRTIO_ACCEL_S_STALE, sizeof(text) - 1, text }, in;
	uint8_t bytes[256];

	for (size_t room = 0; room < sizeof(bytes); room++) {
		size_t n;

		memset(bytes, 0xee, sizeof(bytes));
		n = wire_encode_response(&out, bytes, room);
		assert_true(n <= room);
		assert_int_equal(bytes[n], 0xee);
		if (room < sizeof(struct virtio_accel_resp)) {
			assert_int_equal(n, 0);
			continue;
		}
		assert_int_equal(wire_decode_response(bytes, n, &in), 0);
		assert_true(in.id == 7 && in.value == 9 && in.status == VIRTIO_ACCEL_S_STALE);
		assert_int_equal(in.detail_len, MIN(room - sizeof(struct virtio_accel_resp), sizeof(text) - 1));
		assert_memory_equal(in.detail, text, in.detail_len);
	}
	out.detail = NULL;
	assert_int_equal(wire_encode_response(&out, bytes, sizeof(bytes)), sizeof(struct virtio_accel_resp));
}

static void bad_responses(void **state)
{
	struct virtio_accel_resp resp = { .id = htole64(1) };
	struct wire_response in;

	for (size_t n = 0; n < sizeof(resp); n++)
		assert_int_equal(wire_decode_response(&resp, n, &in), -EBADMSG);
	assert_int_equal(wire_decode_response(&resp, sizeof(resp), &in), 0);
	resp.detail_len = htole32(1);
	assert_int_equal(wire_decode_response(&resp, sizeof(resp), &in), -EBADMSG);
	resp.detail_len = UINT32_MAX;
	assert_int_equal(wire_decode_response(&resp, sizeof(resp), &in), -EBADMSG);
}

/* ---- Statuses ---- */

static void statuses_both_ways(void **state)
{
	for (uint32_t status = VIRTIO_ACCEL_S_OK; status <= VIRTIO_ACCEL_S_REJECTED; status++) {
		assert_true(status == 0 || wire_errno(status) < 0);
		assert_int_equal(wire_status(wire_errno(status)), status);
		assert_int_equal(wire_status(-wire_errno(status)), status);
	}
	assert_int_equal(wire_errno(VIRTIO_ACCEL_S_REJECTED + 1), -EIO);
	assert_int_equal(wire_errno(UINT32_MAX), -EIO);
	assert_int_equal(wire_status(-EXDEV), VIRTIO_ACCEL_S_IO);
}

static int errno_by_name(const char *name)
{
	for (int i = 1; i < 200; i++)
		if (strerrorname_np(i) && !strcmp(strerrorname_np(i), name))
			return i;
	return 0;
}

/* The number of VIRTIO_ACCEL_S_NAME, from the header's text: the driver's table and this one see the same names. */
static int status_by_name(const char *wanted)
{
	FILE *file = fopen(SOURCE_ROOT "/include/uapi/virtio_accel.h", "re");
	char line[256], name[64];
	int number = -1, found;

	assert_non_null(file);
	while (number < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, " VIRTIO_ACCEL_S_%63[A-Z] = %d", name, &found) == 2 && !strcmp(name, wanted))
			number = found;
	fclose(file);
	return number;
}

static void driver_has_the_same_table(void **state)
{
	FILE *file = fopen(SOURCE_ROOT "/driver/answer.c", "re");
	char line[256], status[64], error[32];
	int rows = 0;

	if (!file)
		skip();
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " [VIRTIO_ACCEL_S_%63[A-Z]] = -%31[A-Z0-9]", status, error) != 2)
			continue;
		assert_int_not_equal(errno_by_name(error), 0);
		assert_int_equal(wire_errno((uint32_t)status_by_name(status)), -errno_by_name(error));
		rows++;
	}
	fclose(file);
	assert_int_equal(rows, VIRTIO_ACCEL_S_REJECTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_message_is_read),
		cmocka_unit_test(encode_is_the_inverse),
		cmocka_unit_test(every_type_is_read),
		cmocka_unit_test(empty_arguments_are_read),
		cmocka_unit_test(truncated_at_every_length),
		cmocka_unit_test(trailing_bytes),
		cmocka_unit_test(reserved_bytes_one_by_one),
		cmocka_unit_test(unknown_types),
		cmocka_unit_test(unused_fields),
		cmocka_unit_test(argument_counts_of_control_requests),
		cmocka_unit_test(registering_takes_extents),
		cmocka_unit_test(over_the_limits),
		cmocka_unit_test(enormous_counts),
		cmocka_unit_test(kinds_and_directions),
		cmocka_unit_test(extents_against_their_argument),
		cmocka_unit_test(extents_that_wrap),
		cmocka_unit_test(fields_that_the_kind_does_not_use),
		cmocka_unit_test(random_messages),
		cmocka_unit_test(response_round_trip),
		cmocka_unit_test(bad_responses),
		cmocka_unit_test(statuses_both_ways),
		cmocka_unit_test(driver_has_the_same_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
