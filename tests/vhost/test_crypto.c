/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions in messages: both layouts, read and answered; through the state machine; and no key stays behind. */
#include "check.h"

#include <errno.h>
#include <linux/virtio_crypto.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "common/session.h"
#include "util/util.h"
#include "vhost/server.h"

static const uint8_t key[1024] = { "a key that nobody else has, 1234" };

static const struct session_plan cbc = {
	.algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
	.opcode = VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
	.type = 1,
	.direction = VIRTIO_CRYPTO_OP_DECRYPT,
	.key_len = 32,
	.key = key,
	.key_bytes = 32,
};

static const struct session_plan rsa = {
	.size = SESSION_NEW,
	.akcipher = true,
	.algorithm = VIRTIO_CRYPTO_AKCIPHER_RSA,
	.opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION,
	.type = VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE,
	.padding = VIRTIO_CRYPTO_RSA_PKCS1_PADDING,
	.hash = VIRTIO_CRYPTO_RSA_SHA256,
	.key_len = 1000,
	.key = key,
	.key_bytes = 1000,
};

static void write_plan(const struct session_plan *plan, uint32_t size, struct vhost_msg *msg)
{
	struct session_plan sized = *plan;

	sized.size = size;
	vhost_msg_init(msg, VHOST_CREATE_CRYPTO_SESSION, size);
	session_write(&sized, msg->payload.bytes);
}

static void ciphers(void **state)
{
	const uint32_t sizes[] = { SESSION_OLD, SESSION_NEW };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vhost_crypto_session session;
		struct vhost_msg msg;
		struct error error;

		write_plan(&cbc, sizes[i], &msg);
		assert_int_equal(vhost_crypto_parse(&msg, &session, &error), 0);
		assert_int_equal(session.opcode, VIRTIO_CRYPTO_CIPHER_CREATE_SESSION);
		assert_int_equal(session.algorithm, VIRTIO_CRYPTO_CIPHER_AES_CBC);
		assert_int_equal(session.kind, 1);
		assert_int_equal(session.direction, VIRTIO_CRYPTO_OP_DECRYPT);
		assert_int_equal(session.key_len, 32);
		assert_memory_equal(session.key, key, 32);
		for (size_t j = 32; j < sizeof(session.key); j++)
			assert_int_equal(session.key[j], 0);
		vhost_crypto_set_id(&msg, 0x1122334455667788);
		assert_true(session_id(msg.payload.bytes, sizes[i]) == 0x1122334455667788);
	}
}

static void asymmetric(void **state)
{
	struct vhost_crypto_session session;
	struct vhost_msg msg;
	struct error error;

	write_plan(&rsa, SESSION_NEW, &msg);
	assert_int_equal(vhost_crypto_parse(&msg, &session, &error), 0);
	assert_int_equal(session.opcode, VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION);
	assert_int_equal(session.algorithm, VIRTIO_CRYPTO_AKCIPHER_RSA);
	assert_int_equal(session.kind, VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE);
	assert_int_equal(session.padding, VIRTIO_CRYPTO_RSA_PKCS1_PADDING);
	assert_int_equal(session.hash, VIRTIO_CRYPTO_RSA_SHA256);
	assert_int_equal(session.key_len, 1000);
	assert_memory_equal(session.key, key, 1000);
}

static void refuse(struct session_plan plan, uint32_t size, int code)
{
	struct vhost_crypto_session session, before;
	struct vhost_msg msg;
	struct error error;

	memset(&session, 0x5a, sizeof(session));
	before = session;
	write_plan(&plan, size == SESSION_OLD ? SESSION_OLD : SESSION_NEW, &msg);
	msg.header.size = size;
	assert_int_equal(vhost_crypto_parse(&msg, &session, &error), code);
	assert_memory_equal(&session, &before, sizeof(session));
}

/* A key that fills its room is read, one that is longer by a byte is not. */
static void lengths(void **state)
{
	struct session_plan plan = cbc;
	struct vhost_crypto_session session;
	struct vhost_msg msg;
	struct error error;

	plan.key_len = plan.key_bytes = 64;
	plan.auth_len = 512;
	write_plan(&plan, SESSION_OLD, &msg);
	assert_int_equal(vhost_crypto_parse(&msg, &session, &error), 0);
	assert_int_equal(session.key_len, 64);
	plan.key_len = 65;
	refuse(plan, SESSION_OLD, -EINVAL);
	refuse(plan, SESSION_NEW, -EINVAL);
	plan.key_len = UINT32_MAX;
	refuse(plan, SESSION_OLD, -EINVAL);
	plan.key_len = 16;
	plan.auth_len = 513;
	refuse(plan, SESSION_NEW, -EINVAL);
	plan = rsa;
	plan.key_len = 1024;
	write_plan(&plan, SESSION_NEW, &msg);
	assert_int_equal(vhost_crypto_parse(&msg, &session, &error), 0);
	plan.key_len = 1025;
	refuse(plan, SESSION_NEW, -EINVAL);
	refuse(cbc, SESSION_OLD + 8, -EBADMSG);
	refuse(cbc, SESSION_NEW - 1, -EBADMSG);
}

/* ---- through the state machine ---- */

static const struct vhost_device device = { .n_queues = 1, .crypto = true };
static const struct vhost_device other = { .n_queues = 1 };

struct fixture {
	struct vhost_server server;
	struct vhost_step step;
	struct vhost_msg msg;
	struct error error;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	vhost_server_init(&f->server, &device);
	f->server.protocol_features = vhost_device_protocol_features(&device);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vhost_server_fini(&f->server);
	free(f);
	return 0;
}

static void created(void **state)
{
	struct fixture *f = *state;
	const uint32_t sizes[] = { SESSION_OLD, SESSION_NEW };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		uint32_t size = sizes[i / 2];

		write_plan(&cbc, size, &f->msg);
		/* It has an answer of its own, whether or not one is asked for. */
		f->msg.header.flags |= i % 2 ? VHOST_FLAG_NEED_REPLY : 0;
		assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
		assert_int_equal(f->step.refused.code, 0);
		assert_int_equal(f->step.effects, VHOST_EFFECT_CREATE);
		assert_memory_equal(f->step.session.key, key, 32);
		f->step.session_id = 4711 + (int64_t)i;
		vhost_server_finish(&f->server, &f->step);
		assert_true(f->step.has_reply);
		assert_int_equal(f->step.reply.header.flags, VHOST_FLAG_VERSION | VHOST_FLAG_REPLY);
		assert_int_equal(f->step.reply.header.size, size);
		assert_true(session_id(f->step.reply.payload.bytes, size) == 4711 + (int64_t)i);
		assert_null(memmem(f->step.reply.payload.bytes, size, key, 8));
	}
	/* Nobody said which it is: there is none. */
	write_plan(&cbc, SESSION_NEW, &f->msg);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
	vhost_server_finish(&f->server, &f->step);
	assert_true(session_id(f->step.reply.payload.bytes, SESSION_NEW) == -1);
}

/* Answered with -1, not hung up on: a guest can cause it. */
static void cannot_be(void **state)
{
	struct fixture *f = *state;
	struct session_plan plan = cbc;

	plan.key_len = 65;
	write_plan(&plan, SESSION_OLD, &f->msg);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
	assert_int_equal(f->step.refused.code, -EINVAL);
	assert_int_equal(f->step.effects, 0);
	vhost_server_finish(&f->server, &f->step);
	assert_true(f->step.has_reply);
	assert_true(session_id(f->step.reply.payload.bytes, SESSION_OLD) == -1);
	/* What is no such message at all has no such answer. */
	write_plan(&cbc, SESSION_NEW, &f->msg);
	f->msg.header.size = SESSION_NEW - 8;
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), -EBADMSG);
	write_plan(&cbc, SESSION_NEW, &f->msg);
	f->msg.header.size = SESSION_NEW + 8;
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), -EBADMSG);
	vhost_msg_init(&f->msg, VHOST_CREATE_CRYPTO_SESSION, 8);
	f->msg.header.flags |= VHOST_FLAG_NEED_REPLY;
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
	assert_int_equal(f->step.refused.code, -EBADMSG);
	assert_int_equal(f->step.reply.header.size, 8);
	assert_true(f->step.reply.payload.u64 == 1);
}

static void closed(void **state)
{
	struct fixture *f = *state;

	for (int failed = 0; failed < 2; failed++) {
		vhost_msg_init(&f->msg, VHOST_CLOSE_CRYPTO_SESSION, 8);
		f->msg.payload.u64 = UINT64_C(0xfffffff100000002);
		f->msg.header.flags |= VHOST_FLAG_NEED_REPLY;
		assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
		assert_int_equal(f->step.effects, VHOST_EFFECT_CLOSE);
		assert_true((uint64_t)f->step.session_id == UINT64_C(0xfffffff100000002));
		f->step.failed = failed;
		vhost_server_finish(&f->server, &f->step);
		assert_true(f->step.has_reply);
		assert_true(f->step.reply.payload.u64 == (uint64_t)failed);
	}
	vhost_msg_init(&f->msg, VHOST_CLOSE_CRYPTO_SESSION, 8);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
	f->step.failed = true;
	vhost_server_finish(&f->server, &f->step);
	assert_false(f->step.has_reply);
	/* QEMU waits for no answer, and passes on what its guest says: no reason to part. */
	vhost_msg_init(&f->msg, VHOST_CLOSE_CRYPTO_SESSION, 4);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
	assert_int_equal(f->step.refused.code, -EBADMSG);
}

/* Other devices neither offer it nor take it. */
static void other_devices(void **state)
{
	struct fixture *f = *state;

	vhost_server_fini(&f->server);
	vhost_server_init(&f->server, &other);
	assert_int_equal(vhost_device_protocol_features(&other), VHOST_SERVER_PROTOCOL_FEATURES);
	vhost_msg_init(&f->msg, VHOST_SET_PROTOCOL_FEATURES, 8);
	f->msg.payload.u64 = VHOST_BIT(VHOST_PF_CRYPTO_SESSION);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), -EINVAL);
	write_plan(&cbc, SESSION_NEW, &f->msg);
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), -EPROTO);
}

static void handle(struct fixture *f, uint32_t request, uint64_t value, int fd)
{
	vhost_msg_init(&f->msg, request, 8);
	f->msg.payload.u64 = value;
	if (fd >= 0)
		f->msg.fds[f->msg.n_fds++] = fd;
	assert_int_equal(vhost_server_handle(&f->server, &f->msg, &f->step, &f->error), 0);
}

/* The front-end that sends these messages neither says VERSION_1 nor enables a ring; others do both. */
static void never_enabled(void **state)
{
	static const struct {
		const struct vhost_device *device;
		uint64_t features;
		bool enabled;
	} rows[] = {
		{ &device, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES), true },
		{ &device, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES) | VHOST_BIT(VHOST_F_VERSION_1), false },
		{ &other, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES), false },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		vhost_server_fini(&f->server);
		vhost_server_init(&f->server, rows[i].device);
		f->server.features = rows[i].features;
		handle(f, VHOST_SET_VRING_KICK, 0, eventfd(0, EFD_CLOEXEC));
		assert_int_equal(f->server.rings[0].enabled, rows[i].enabled);
		/* One that does tell is listened to. */
		handle(f, VHOST_SET_VRING_ENABLE, 0, -1);
		assert_false(f->server.rings[0].enabled);
	}
}

/* ---- what stays in memory ---- */

static void sent_in_parts(bool peek)
{
	struct {
		struct vhost_header header;
		uint8_t payload[SESSION_NEW];
	} bytes = { { VHOST_CREATE_CRYPTO_SESSION, VHOST_FLAG_VERSION, SESSION_NEW }, { 0 } };
	struct session_plan plan = cbc;
	struct vhost_rx rx = { .peek = peek };
	struct error error;
	int pair[2];

	plan.size = SESSION_NEW;
	session_write(&plan, bytes.payload);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(write(pair[0], &bytes, 500), 500);
	assert_int_equal(vhost_rx_step(&rx, pair[1], &error), 0);
	/* Half of it came, and then nothing more does. */
	vhost_rx_reset(&rx);
	assert_null(memmem(&rx, sizeof(rx), key, 8));
	if (!peek)
		assert_int_equal(write(pair[0], &bytes, sizeof(bytes)), sizeof(bytes));
	else
		assert_int_equal(write(pair[0], (char *)&bytes + 500, sizeof(bytes) - 500), sizeof(bytes) - 500);
	assert_int_equal(vhost_rx_step(&rx, pair[1], &error), 1);
	assert_non_null(memmem(&rx, sizeof(rx), key, 8));
	vhost_rx_reset(&rx);
	assert_null(memmem(&rx, sizeof(rx), key, 8));
	close(pair[0]);
	close(pair[1]);
}

static void wiped(void **state)
{
	sent_in_parts(false);
	sent_in_parts(true);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ciphers), T(asymmetric),    T(lengths),	T(created), T(cannot_be),
		T(closed),  T(other_devices), T(never_enabled), T(wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
