/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-seeds FOLDER: writes what the fuzzers start from, FOLDER/TARGET/NAME. Requests come from the op table, so that an op
 * is fuzzed from the day it has a row; the rest is what a good peer would send.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "common/session.h"
#include "fuzz.h"
#include "ground.h"
#include "image.h"
#include "message.h"
#include "meta.h"
#include "op/request.h"
#include "op/wire.h"
#include "request.h"
#include "ring.h"
#include "seeds.h"
#include "tenant.h"
#include "util/util.h"
#include "vhost/inflight.h"
#include "vhost/proto.h"

static const char *folder;

/* ---- bytes ---- */

void put(struct out *out, const void *data, size_t len)
{
	CHECK(len <= sizeof(out->bytes) - out->len);
	memcpy(out->bytes + out->len, data, len);
	out->len += len;
}

void save(const struct out *out, const char *target, const char *format, ...)
{
	char name[64], path[4096];
	va_list ap;
	FILE *file;

	va_start(ap, format);
	vsnprintf(name, sizeof(name), format, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", folder, target);
	if (mkdir(path, 0777) < 0)
		CHECK(errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%s/%s", folder, target, name);
	file = fopen(path, "we");
	CHECK(file && fwrite(out->bytes, 1, out->len, file) == out->len && fclose(file) == 0);
}

static void save_text(const char *target, const char *name, const char *text)
{
	struct out out = { .len = 0 };

	put(&out, text, strlen(text));
	save(&out, target, "%s", name);
}

/* ---- requests ---- */

static void put_request(struct out *out, struct fuzz_request request)
{
	request.room = 30;
	put(out, &request, sizeof(request));
}

static void put_extents(struct out *out, uint8_t dir, uint32_t addr, uint32_t len, uint32_t n)
{
	const struct fuzz_arg arg = { .kind = VIRTIO_ACCEL_ARG_EXTENTS, .dir = dir, .n_extents = (uint8_t)n };

	put(out, &arg, sizeof(arg));
	for (uint32_t i = 0; i < n; i++) {
		/* The pieces of one argument lie apart, so that it has to be gathered. */
		const struct fuzz_extent extent = { addr + i * 2 * len, len };

		put(out, &extent, sizeof(extent));
	}
}

static void put_buffer(struct out *out, uint8_t dir, uint32_t offset, uint64_t len)
{
	const struct fuzz_arg arg = {
		.kind = VIRTIO_ACCEL_ARG_BUFFER, .dir = dir, .buffer = 2, .offset = offset, .len = len
	};

	put(out, &arg, sizeof(arg));
}

static uint8_t some_dir(uint32_t dirs)
{
	return dirs & 1u << VIRTIO_ACCEL_DIR_INOUT ? VIRTIO_ACCEL_DIR_INOUT
	       : dirs & 1u << VIRTIO_ACCEL_DIR_IN  ? VIRTIO_ACCEL_DIR_IN
						   : VIRTIO_ACCEL_DIR_OUT;
}

/* Small values for every parameter: dimensions of 4, and for enumerations whatever the op's check lets through. */
static void guess_params(const struct op_desc *op, struct op_request *request)
{
	for (size_t i = 0; i < op->n_params; i++) {
		uint8_t *at = request->params + op->params[i].offset;

		if (op->params[i].type == OP_PARAM_TEXT)
			*at = 'm';
		else if (op->params[i].type == OP_PARAM_U64)
			memcpy(at, &(uint64_t){ 4 }, 8);
		else if (op->params[i].type == OP_PARAM_F64)
			memcpy(at, &(double){ 1 }, 8);
	}
	for (size_t i = 0; i < op->n_params; i++) {
		uint32_t *at = (uint32_t *)(request->params + op->params[i].offset);

		if (op->params[i].type != OP_PARAM_U32)
			continue;
		for (uint32_t value = 0; value < 256 && op->check && op->check(op, request, NULL) < 0; value++)
			*at = value;
	}
}

/* The enumerations depend on one another: the right value of one shows only when those before it are right. */
static void set_enums(const struct op_desc *op, struct op_request *request)
{
	struct error error = { 0 };

	for (size_t i = 0; i < op->n_params; i++) {
		uint32_t *at = (uint32_t *)(request->params + op->params[i].offset);

		if (op->params[i].type != OP_PARAM_U32)
			continue;
		for (*at = 0; *at < 256; ++*at) {
			op->check(op, request, &error);
			/* Its name and value are in the sentence as long as it is wrong. */
			if (!strstr(error.text, op->params[i].name))
				break;
			error.text[0] = '\0';
		}
		if (*at == 256)
			*at = 0;
	}
}

/* One input of four floats, one output: what the counts are depends on one another, and on the arguments. */
static void set_infer(struct op_request *request)
{
	struct vaccel_infer *params = (struct vaccel_infer *)request->params;

	params->n_inputs = params->n_outputs = 1;
	request->n_args = 4;
	request->args[0].len = 2 * sizeof(struct vaccel_tensor_desc);
	request->args[2].len = 16;
	request->args[3] = (struct op_arg){ .data = request, .len = 512, .dir = VIRTIO_ACCEL_DIR_OUT };
}

/* What the parameters of operations on keys are depends on their arguments' lengths. */
static void set_crypto(struct op_request *request)
{
	if (request->op == VACCEL_OP_CIPHER) {
		const struct vaccel_cipher cbc = { .key = UINT64_C(1) << 32 | 1,
						   .mode = VACCEL_CBC,
						   .direction = VACCEL_ENCRYPT,
						   .flags = VACCEL_CIPHER_BEGIN | VACCEL_CIPHER_END };

		memcpy(request->params, &cbc, sizeof(cbc));
		request->args[0].len = 16;
		request->args[1].len = request->args[4].len = 0;
	} else if (request->op == VACCEL_OP_AKCIPHER) {
		const struct vaccel_akcipher rsa = { .key = UINT64_C(1) << 32 | 1,
						     .operation = VACCEL_AK_ENCRYPT,
						     .padding = VACCEL_RSA_PKCS1 };

		memcpy(request->params, &rsa, sizeof(rsa));
		request->args[1].dir = VIRTIO_ACCEL_DIR_OUT;
	} else if (request->op == VACCEL_OP_KEY_IMPORT) {
		const struct vaccel_key_import aes = { .type = VACCEL_KEY_AES, .rights = VACCEL_MAY_ALL };

		memcpy(request->params, &aes, sizeof(aes));
		request->args[0].len = 16;
	}
}

/* Puts bytes where an argument of as many lies, in n pieces. */
static void put_memory(struct out *out, uint32_t offset, const void *bytes, size_t len, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct fuzz_request write = { .flags = FUZZ_REQUEST_WRITE,
						    .op = (uint32_t)(offset + i * 2 * (len / n)),
						    .raw_len = (uint16_t)(len / n) };

		put(out, &write, sizeof(write));
		put(out, (const uint8_t *)bytes + i * (len / n), len / n);
	}
}

static void put_descriptions(struct out *out, uint32_t n_extents, uint32_t dtype)
{
	const struct vaccel_tensor_desc descs[] = { { .name = "x",
						      .dtype = htole32(dtype),
						      .rank = htole32(1),
						      .dims = { (int64_t)htole64(4) },
						      .len = htole64(16) },
						    { .name = "y" } };

	put_memory(out, 0, descs, sizeof(descs), n_extents);
}

static void put_op(struct out *out, const struct op_desc *op, const struct op_request *request, bool registered,
		   uint32_t n_extents, uint8_t flags)
{
	uint8_t params[OP_MAX_PARAMS];

	put_request(out, (struct fuzz_request){ .flags = flags,
						.type = VIRTIO_ACCEL_T_OP,
						.session = 2,
						.op = op->id,
						.params_len = (uint16_t)op->params_len,
						.n_args = (uint8_t)request->n_args });
	for (uint32_t i = 0; i < request->n_args; i++) {
		const struct op_arg *arg = &request->args[i];

		if (registered)
			put_buffer(out, (uint8_t)arg->dir, i * 512, arg->len);
		else
			put_extents(out, (uint8_t)arg->dir, (uint32_t)(GROUND_A + i * 1024),
				    (uint32_t)arg->len / n_extents, arg->len ? n_extents : 0);
	}
	op_params_encode(op, params, request->params);
	put(out, params, op->params_len);
}

static void op_seed(const struct op_desc *op, bool registered, uint32_t n_extents)
{
	struct out out = { .len = 0 };
	struct op_request request = { .op = op->id,
				      .n_args = (uint32_t)op->n_args,
				      .params_len = (uint32_t)op->params_len };
	struct error error = { 0 };

	for (size_t i = 0; i < op->n_args; i++)
		request.args[i] = (struct op_arg){ .data = &out, .len = 512, .dir = some_dir(op->args[i].dirs) };
	guess_params(op, &request);
	if (op->check)
		set_enums(op, &request);
	if (op->id == VACCEL_OP_INFER)
		set_infer(&request);
	set_crypto(&request);
	if (op->id == VACCEL_OP_MODEL_INFO)
		request.args[0].len = sizeof(struct vaccel_model_about);
	/* A request that is refused leads nowhere. */
	if (op_check(&request, &error) < 0) {
		fprintf(stderr, "seed of %s: %s\n", op->name, error.text);
		abort();
	}
	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN });
	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_BUFFER_REGISTER, .session = 2, .n_args = 1 });
	put_extents(&out, VIRTIO_ACCEL_DIR_INOUT, GROUND_A, 4096, registered ? 1 : 2);
	/* Once with what is not to reach the plugin. */
	for (int i = 0; op->check_parsed && i < 2; i++) {
		put_descriptions(&out, n_extents, i == 0 ? 99 : VACCEL_FLOAT32);
		if (i == 0)
			put_op(&out, op, &request, registered, n_extents, 0);
	}
	put_op(&out, op, &request, registered, n_extents, 0);
	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER, .session = 2, .object = 2 });
	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = 2 });
	/* Once more when all of it is gone. */
	put_op(&out, op, &request, registered, n_extents, 0);
	save(&out, "request", "%s-%s%u", op->name, registered ? "buffer" : "extents", n_extents);
}

/* Imports a key and uses it, frees it, and uses it once more; ends with a key that goes with its session. */
static void key_seed(uint32_t n_extents)
{
	const uint32_t ops[] = { VACCEL_OP_KEY_IMPORT, VACCEL_OP_CIPHER,     VACCEL_OP_KEY_FREE,
				 VACCEL_OP_CIPHER,     VACCEL_OP_KEY_IMPORT, VACCEL_OP_CIPHER };
	struct out out = { .len = 0 };

	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN });
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		const struct op_desc *op = op_by_id(ops[i]);
		struct op_request request = { .op = op->id,
					      .n_args = (uint32_t)op->n_args,
					      .params_len = (uint32_t)op->params_len };

		for (size_t j = 0; j < op->n_args; j++)
			request.args[j] = (struct op_arg){ .data = &out, .len = 64, .dir = some_dir(op->args[j].dirs) };
		set_crypto(&request);
		/* Of a session's only key. */
		request.params[0] = op->id == VACCEL_OP_KEY_IMPORT ? request.params[0] : 2;
		put_op(&out, op, &request, false, n_extents, op->id == VACCEL_OP_KEY_IMPORT ? 0 : FUZZ_REQUEST_KEY);
	}
	put_request(&out, (struct fuzz_request){ .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = 2 });
	save(&out, "request", "key-%u", n_extents);
}

/* One of each type as it travels, for the decoder alone. */
static void raw_seeds(void)
{
	for (uint32_t type = 1; type <= VIRTIO_ACCEL_T_QUERY; type++) {
		const struct wire_extent extent = { GROUND_B, 4096 };
		struct wire_request wire = { .type = type, .id = 5, .extents = &extent };
		uint8_t message[256];
		struct out out = { .len = 0 };

		if (type == VIRTIO_ACCEL_T_BUFFER_REGISTER || type == VIRTIO_ACCEL_T_QUERY) {
			wire.n_args = wire.n_extents = 1;
			wire.args[0] =
				(struct wire_arg){ VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_OUT, 0, 1, 0, 0, 4096 };
		}
		wire_encode(&wire, message);
		put_request(&out, (struct fuzz_request){ .flags = FUZZ_REQUEST_RAW,
							 .raw_len = (uint16_t)wire_encoded_len(&wire) });
		put(&out, message, wire_encoded_len(&wire));
		save(&out, "request", "raw-%u", type);
	}
}

static void requests(void)
{
	for (size_t i = 0; op_at(i); i++) {
		op_seed(op_at(i), true, 1);
		op_seed(op_at(i), false, 1);
		op_seed(op_at(i), false, 2);
	}
	key_seed(1);
	key_seed(2);
	raw_seeds();
}

/* ---- rings ---- */

static void ring_seed(const char *name, uint64_t features, uint16_t flags, bool indirect)
{
	struct fuzz_ring head = { .num = 8,
				  .memory_len = 0x800,
				  .flags = flags,
				  .desc = GROUND_A,
				  .avail = GROUND_A + 0x100,
				  .used = GROUND_A + 0x200,
				  .features = features };
	uint8_t memory[0x800] = { 0 };
	struct vring_desc *desc = (void *)memory, *table = (void *)(memory + 0x400);
	struct vring_avail *avail = (void *)(memory + 0x100);
	struct inflight_desc journal[8] = { { .inflight = 1, .counter = 4 }, { 0 }, { .inflight = 1, .counter = 3 } };
	const struct inflight_region region = { .version = INFLIGHT_VERSION, .desc_num = 8 };
	struct out out = { .len = 0 };

	for (uint16_t i = 0; i < 8; i += 2) {
		struct vring_desc *chain = indirect && i == 4 ? table : &desc[i];

		if (chain == table)
			desc[i] = (struct vring_desc){ GROUND_A + 0x400, 32, VRING_DESC_F_INDIRECT, 0 };
		chain[0] = (struct vring_desc){ GROUND_C + i * 64u, 64, VRING_DESC_F_NEXT,
						(uint16_t)(chain == table ? 1 : i + 1) };
		/* Over the end of one region into the next. */
		chain[1] = (struct vring_desc){ GROUND_B - 16, 32, VRING_DESC_F_WRITE, 0 };
		avail->ring[i / 2] = i;
	}
	avail->idx = 4;
	put(&out, &head, sizeof(head));
	put(&out, memory, sizeof(memory));
	if (flags & FUZZ_RING_JOURNAL) {
		put(&out, &region, sizeof(region));
		put(&out, journal, sizeof(journal));
		/* The target takes at most half of what is left. */
		put(&out, memory + 0x600, sizeof(region) + sizeof(journal));
	}
	put(&out, "\0\0\2\1\3\0\1\4\2\0\2\0\3\4", 14);
	save(&out, "ring", "%s", name);
}

static void rings(void)
{
	const uint64_t all = VHOST_BIT(VHOST_F_INDIRECT_DESC) | VHOST_BIT(VHOST_F_EVENT_IDX);

	ring_seed("plain", 0, 0, false);
	ring_seed("event", VHOST_BIT(VHOST_F_EVENT_IDX), FUZZ_RING_VALID, false);
	ring_seed("indirect", all, 0, true);
	ring_seed("journal", all, FUZZ_RING_JOURNAL | FUZZ_RING_VALID, false);
	ring_seed("recover", all, FUZZ_RING_JOURNAL | FUZZ_RING_VALID | FUZZ_RING_RECOVER, true);
}

/* ---- messages ---- */

static void put_message(struct out *out, uint16_t request, const void *payload, size_t len, int fd)
{
	const struct fuzz_message message = { .request = request,
					      .flags = VHOST_FLAG_VERSION | VHOST_FLAG_NEED_REPLY,
					      .n_fds = fd >= 0,
					      .size = (uint16_t)len,
					      .len = (uint16_t)len,
					      .fds = { (uint8_t)(fd < 0 ? 0 : fd) } };

	put(out, &message, sizeof(message));
	put(out, payload, len);
}

static void put_u64(struct out *out, uint16_t request, uint64_t value, int fd)
{
	put_message(out, request, &value, sizeof(value), fd);
}

static void put_state(struct out *out, uint16_t request, uint32_t index, uint32_t num)
{
	const struct vhost_vring_state state = { index, num };

	put_message(out, request, &state, sizeof(state), -1);
}

static void put_hello(struct out *out)
{
	put_message(out, VHOST_GET_FEATURES, "", 0, -1);
	put_message(out, VHOST_GET_PROTOCOL_FEATURES, "", 0, -1);
	put_u64(out, VHOST_SET_PROTOCOL_FEATURES, 0x192a9, -1);
	put_message(out, VHOST_GET_QUEUE_NUM, "", 0, -1);
	put_message(out, VHOST_SET_OWNER, "", 0, -1);
	put_u64(out, VHOST_SET_FEATURES, UINT64_C(0x170000007), -1);
}

static void put_ring(struct out *out, uint32_t index)
{
	const struct vhost_vring_addr addr = { .index = index, .desc = 0x10000, .avail = 0x11000, .used = 0x12000 };

	put_state(out, VHOST_SET_VRING_NUM, index, 256);
	put_state(out, VHOST_SET_VRING_BASE, index, 0);
	put_message(out, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	put_u64(out, VHOST_SET_VRING_CALL, index, FUZZ_FD_EVENT);
	put_u64(out, VHOST_SET_VRING_ERR, index, FUZZ_FD_PIPE);
	put_u64(out, VHOST_SET_VRING_KICK, index, FUZZ_FD_EVENT);
	put_state(out, VHOST_SET_VRING_ENABLE, index, 1);
}

static void put_sessions(struct out *out)
{
	struct session_plan plan = {
		.size = SESSION_OLD, .opcode = 2, .algorithm = 3, .type = 1, .direction = 1, .key_len = 32, .key = ""
	};
	uint8_t bytes[SESSION_NEW];

	put_message(out, VHOST_CREATE_CRYPTO_SESSION, bytes, session_write(&plan, bytes), -1);
	plan.size = SESSION_NEW;
	put_message(out, VHOST_CREATE_CRYPTO_SESSION, bytes, session_write(&plan, bytes), -1);
	plan.akcipher = true;
	plan.opcode = 0x404;
	put_message(out, VHOST_CREATE_CRYPTO_SESSION, bytes, session_write(&plan, bytes), -1);
	put_u64(out, VHOST_CLOSE_CRYPTO_SESSION, 1, -1);
}

static void messages(void)
{
	const struct vhost_mem_reg reg = { .region = { 0x1000, 0x4000, 0x10000, 0x1000 } };
	const struct vhost_mem_table table = { .n_regions = 1, .regions = { reg.region } };
	const struct vhost_inflight inflight = { .mmap_size = 4096, .n_queues = 1, .queue_size = 128 };
	struct vhost_config config = { .size = 64 };
	uint8_t config_bytes[sizeof(config) + 64] = { 0 };
	struct out out = { .len = 0 };

	memcpy(config_bytes, &config, sizeof(config));
	put_hello(&out);
	put_message(&out, VHOST_ADD_MEM_REG, &reg, sizeof(reg), FUZZ_FD_MEMORY);
	put_message(&out, VHOST_SET_INFLIGHT_FD, &inflight, sizeof(inflight), FUZZ_FD_JOURNAL);
	put_ring(&out, 0);
	put_ring(&out, 2);
	put_state(&out, VHOST_GET_VRING_BASE, 0, 0);
	put_message(&out, VHOST_REM_MEM_REG, &reg, sizeof(reg), -1);
	save(&out, "message", "slots");
	out.len = 0;
	put_hello(&out);
	put_message(&out, VHOST_SET_MEM_TABLE, &table, offsetof(struct vhost_mem_table, regions[1]), FUZZ_FD_MEMORY);
	put_ring(&out, 1);
	put_message(&out, VHOST_GET_CONFIG, config_bytes, sizeof(config_bytes), -1);
	put_message(&out, VHOST_SET_CONFIG, config_bytes, sizeof(config_bytes), -1);
	put_u64(&out, VHOST_SET_STATUS, 15, -1);
	put_message(&out, VHOST_GET_STATUS, "", 0, -1);
	put_message(&out, VHOST_GET_INFLIGHT_FD, &inflight, sizeof(inflight), -1);
	put_message(&out, VHOST_SET_BACKEND_REQ_FD, "", 0, FUZZ_FD_SOCKET);
	put_message(&out, VHOST_RESET_DEVICE, "", 0, -1);
	put_message(&out, VHOST_RESET_OWNER, "", 0, -1);
	save(&out, "message", "table");
	out.len = 0;
	put_hello(&out);
	put_sessions(&out);
	save(&out, "message", "sessions");
}

/* ---- answers ---- */

static void put_reply(struct out *out, uint32_t request, const void *payload, uint32_t len)
{
	const struct vhost_header header = { request, VHOST_FLAG_VERSION | VHOST_FLAG_REPLY, len };

	put(out, &header, sizeof(header));
	put(out, payload, len);
}

static void put_number(struct out *out, uint32_t request, uint64_t value)
{
	put_reply(out, request, &value, sizeof(value));
}

static void answers(void)
{
	const struct wire_response response = { .id = 5, .status = 3, .detail = "it failed", .detail_len = 9 };
	struct out out = { .bytes = { 0 }, .len = 1 };
	uint8_t config[sizeof(struct vhost_config) + 64] = { 0 };

	out.len += wire_encode_response(&response, out.bytes + 1, 128);
	save(&out, "answer", "response");
	out.len = 0;
	put(&out, "\1\1\x80\0\1\3\4\x82\1\1\4\x84\1\0\2\2\2", 17);
	save(&out, "answer", "ring");
	out.len = 0;
	put(&out, "\2", 1);
	put_number(&out, VHOST_GET_FEATURES, UINT64_C(0x170000007));
	put_number(&out, VHOST_GET_PROTOCOL_FEATURES, 0x19229);
	put_number(&out, VHOST_SET_PROTOCOL_FEATURES, 0);
	put_number(&out, VHOST_GET_QUEUE_NUM, 2);
	put_number(&out, VHOST_GET_MAX_MEM_SLOTS, 64);
	put_number(&out, VHOST_SET_OWNER, 0);
	put_number(&out, VHOST_SET_BACKEND_REQ_FD, 0);
	put_number(&out, VHOST_SET_FEATURES, 0);
	((struct vhost_config *)(void *)config)->size = 64;
	put_reply(&out, VHOST_GET_CONFIG, config, sizeof(config));
	for (uint32_t i = 0; i < 8; i++)
		put_number(&out, VHOST_ADD_MEM_REG, 0);
	put_number(&out, VHOST_GET_STATUS, 15);
	save(&out, "answer", "back-end");
}

/* ---- models ---- */

static void put_zeros(struct out *out, size_t len)
{
	static const uint8_t zeros[1024];

	put(out, zeros, len);
}

/* The first two bytes: which operation, how much room. */
static void model_answers(void)
{
	const struct vaccel_classified classified = {
		.n_labels = 2, .n_classes = 10, .width = 28, .height = 28, .batch = 1
	};
	const struct vaccel_label label = { 3, 0.5f, "three" };
	const struct vaccel_tensor_desc numbers = { "y", VACCEL_FLOAT32, 2, { 1, 2 }, 8 };
	const struct vaccel_tensor_desc strings = { "y", VACCEL_STRING, 1, { 2 }, 12 };
	const struct vaccel_tensor_desc any = { "x", VACCEL_FLOAT32, UINT32_MAX, { 0 }, 0 };
	const struct vaccel_models models = { .n_models = 1, .n_rows = 1, .changes = 4 };
	const struct vaccel_model_row row = {
		.name = "digits", .framework = "tensorflow", .n_labels = 2, .bytes = 999
	};
	const struct vaccel_model_about about = {
		.row = row, .n_inputs = 1, .n_outputs = 1, .n_tensors = 2, .labels_len = 4
	};
	const struct vaccel_key_about key = { .id = 7, .type = VACCEL_KEY_AES, .bits = 128, .modes = 4, .rights = 3 };
	const struct vaccel_akcipher_answer rsa = { .len = 128 };
	struct out out = { .bytes = { 0, 2 }, .len = 2 };

	put(&out, &classified, sizeof(classified));
	put(&out, &label, sizeof(label));
	put(&out, &label, sizeof(label));
	save(&out, "model", "classified");
	out = (struct out){ .bytes = { 1, 8 }, .len = 2 };
	put(&out, &numbers, sizeof(numbers));
	put_zeros(&out, 8);
	save(&out, "model", "numbers");
	out = (struct out){ .bytes = { 1, 12 }, .len = 2 };
	put(&out, &strings, sizeof(strings));
	put(&out, "\1\0\0\0\3\0\0\0abcd", 12);
	save(&out, "model", "strings");
	out = (struct out){ .bytes = { 2, 1 }, .len = 2 };
	put(&out, &models, sizeof(models));
	put(&out, &row, sizeof(row));
	save(&out, "model", "list");
	out = (struct out){ .bytes = { 3, 4 }, .len = 2 };
	put(&out, &about, sizeof(about));
	put(&out, &any, sizeof(any));
	put(&out, "a\0b", 4);
	save(&out, "model", "about");
	out = (struct out){ .bytes = { 4, 128 }, .len = 2 };
	put(&out, &key, sizeof(key));
	put(&out, &key, sizeof(key));
	put(&out, &rsa, sizeof(rsa));
	save(&out, "model", "key");
}

static void save_npy(const char *name, uint8_t version, const char *header, const void *data, size_t len)
{
	struct out out = { .bytes = "\x93NUMPY", .len = 6 };
	uint16_t header_len = (uint16_t)strlen(header);

	put(&out, (uint8_t[]){ version, 0, header_len & 0xff, header_len >> 8, 0, 0 }, version == 1 ? 4 : 6);
	put(&out, header, header_len);
	put(&out, data, len);
	save(&out, "npy", "%s", name);
}

static void arrays(void)
{
	save_npy("float", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }   \n", "\0\0\x80?\0\0\0@", 8);
	save_npy("scalar", 2, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }\n", "\1", 1);
	save_npy("unicode", 3, "{'descr': '<U2', 'fortran_order': False, 'shape': (2,), }\n",
		 "a\0\0\0\xac \0\0b\0\0\0\0\0\0\0", 16);
	save_npy("bytes", 1, "{\"shape\": (2,), 'fortran_order': True, 'descr': '|S3'}", "abcd\0", 6);
	save_npy("complex", 1, "{'descr': '<c16', 'fortran_order': False, 'shape': (0, 5), }", "", 0);
}

/* ---- state, texts ---- */

static void put_changes(struct out *out)
{
	for (uint8_t i = 0; i < 60; i++)
		put(out, (uint8_t[]){ 0, i % 3 ? i % 10 : 2, i, 1, 1, 7, 9 }, 7);
}

static void put_tenant(struct out *out, uint8_t *memory)
{
	for (size_t i = 0; i < TENANT_PARTS; i++) {
		size_t len;
		const uint8_t *part = tenant_part(memory, i, &len);

		put(out, part, len);
	}
}

/* One that is new, and one with something of each kind; changes after them. */
static void states(void)
{
	const struct state_key key = {
		.type = VACCEL_KEY_AES, .bits = 128, .rights = 1, .data = "sixteen bytes...", .len = 16
	};
	const struct state_key held = { .type = VACCEL_KEY_AES, .held = true, .data = "name", .len = 4 };
	const struct state_extent extents[] = { { 4096, 4096 }, { 16384, 8192 } };
	uint8_t *memory = calloc(1, state_size(&tenant_limits));
	struct out out = { .len = 0 }, used = { .len = 0 };
	struct state *state = NULL;
	uint64_t session, id;

	CHECK(memory);
	put_tenant(&out, memory);
	put_changes(&out);
	save(&out, "state", "new");
	CHECK(state_attach(memory, state_size(&tenant_limits), &tenant_limits, &state, NULL, NULL) == 0);
	CHECK(state_session_open(state, 1, 1, &session, NULL) == 0 && state_session_open(state, 2, 0, &id, NULL) == 0);
	CHECK(state_buffer_add(state, 1, session, 2, 12288, extents, 2, &id, NULL) == 0);
	CHECK(state_key_add(state, 1, session, 3, &key, &id, NULL) == 0);
	CHECK(state_key_add(state, 1, session, 4, &held, &id, NULL) == 0);
	state_detach(state);
	put_tenant(&used, memory);
	put_changes(&used);
	save(&used, "state", "used");
	free(memory);
}

static void texts(void)
{
	save_text("config", "file",
		  "; comment\n[engine]\nthreads = 2\nqueues=4\ncache_dir = /tmp/x\n[limits]\nsessions = 16\n"
		  "buffer_bytes = 2G\nop_time_ms = 100\n[plugin openblas]\nthreads = 1\npath = /x.so\n"
		  "[order]\ndefault = openblas, reference\nsgemm = fault\n");
	save_text("config", "keys",
		  "[key backup]\nfile = /etc/k\nformat = hex\ncipher = aes-256-cbc\nallow = encrypt decrypt\n"
		  "[key other]\ncredential = c\ncipher = aes-128-gcm\nallow = decrypt\n");
	save_text("config", "lines",
		  "+key a.b.file=/k\nkey a.b.cipher=aes-128-xts\nlimits.sessions=1K\nplugin "
		  "fault.rules=crash=segv\norder.noop=a b\nengine.queues=65\n");
	save_text("rule", "many", "op=sgemm m=13 times=1 crash=segv, n=1 every=3 delay=5 fail=EIO, k=7 hang");
	save_text("rule", "file", "file=/nowhere fail=5");
}

/* ---- pictures ---- */

/* The files of the tests, each with another rule. */
static void pictures(void)
{
	struct dirent **entries;
	int n_entries = scandir(PICTURES, &entries, NULL, alphasort);

	CHECK(n_entries > 0);
	for (int n = 0; n < n_entries; n++) {
		const struct fuzz_image how = { .flags = (uint8_t)(n % 16 == 15 ? 15 : n % 8),
						.resize = (uint8_t)(n / 2 % 4),
						.fit = (uint8_t)(n / 3 % 3),
						.width = (uint8_t)(n * 7 % 64 + 1),
						.height = (uint8_t)(n * 5 % 64 + 1),
						.scale = 1 };
		struct out out = { .len = 0 };
		char path[4096];
		FILE *file;

		if (strchr(entries[n]->d_name, '.') > entries[n]->d_name) {
			snprintf(path, sizeof(path), "%s/%s", PICTURES, entries[n]->d_name);
			file = fopen(path, "re");
			CHECK(file);
			put(&out, &how, sizeof(how));
			out.len += fread(out.bytes + out.len, 1, sizeof(out.bytes) - out.len, file);
			fclose(file);
			save(&out, "image", "%s", entries[n]->d_name);
		}
		free(entries[n]);
	}
	free(entries);
}

/* ---- signatures ---- */

static void save_model(const char *name, const char *output)
{
	static const int64_t dims[] = { -1, 8 };
	struct meta ops = { .len = 0 }, graph = { .len = 0 }, library = { .len = 0 }, signature = { .len = 0 },
		    model = { .len = 0 };
	struct out out = { .len = 0 };
	uint16_t len;

	meta_usual_ops(&ops);
	meta_node(&graph, 1, "x", "Placeholder", NULL, NULL);
	meta_node(&graph, 1, "y", "StatefulPartitionedCall", "x", "outer");
	meta_node(&graph, 1, "z", "AssignVariableOp", "^y", NULL);
	meta_function(&library, "outer", "Identity", "inner");
	meta_function(&library, "inner", "VarHandleOp", NULL);
	meta_message(&graph, 2, &library);
	meta_tensor(&signature, 1, "x", "x:0", 2, dims);
	meta_tensor(&signature, 2, "y", output, -1, NULL);
	meta_message(&model, 2, &graph);
	meta_pair(&model, 5, "serving_default", &signature);
	len = htole16((uint16_t)ops.len);
	put(&out, &len, sizeof(len));
	put(&out, ops.bytes, ops.len);
	put(&out, model.bytes, model.len);
	save(&out, "signature", "%s", name);
}

static void models(void)
{
	save_model("computes", "y:0");
	save_model("keeps", "z");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	if (mkdir(folder, 0777) < 0)
		CHECK(errno == EEXIST);
	requests();
	crypto_seeds();
	rings();
	messages();
	answers();
	model_answers();
	arrays();
	states();
	texts();
	pictures();
	models();
	return 0;
}
