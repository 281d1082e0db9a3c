/* SPDX-License-Identifier: Apache-2.0 */
/* The back-end's state machine, message by message, without a socket. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "util/util.h"
#include "vhost/inflight.h"
#include "vhost/server.h"

static const uint32_t config_space[] = { 0x11111111, 0x22222222 };

static const struct vhost_device device = {
	.features = VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES) | 7,
	.n_queues = 2,
	.config = config_space,
	.config_len = sizeof(config_space),
};

struct fixture {
	struct vhost_server server;
	struct vhost_msg msg;
	struct vhost_step step;
	struct error error;
	int fds;
};

/* A front-end that has negotiated everything. */
static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds = count_fds();
	vhost_server_init(&f->server, &device);
	f->server.features = device.features;
	f->server.protocol_features = VHOST_SERVER_PROTOCOL_FEATURES;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vhost_server_fini(&f->server);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

static struct vhost_msg *prepare(struct fixture *f, uint32_t request, uint32_t size)
{
	vhost_msg_init(&f->msg, request, size);
	return &f->msg;
}

static int handle(struct fixture *f)
{
	int r = vhost_server_handle(&f->server, &f->msg, &f->step, &f->error);

	if (r == 0)
		vhost_server_finish(&f->server, &f->step);
	return r;
}

static void expect_ok(struct fixture *f)
{
	assert_int_equal(handle(f), 0);
	assert_int_equal(f->step.refused.code, 0);
}

/* Refused: with NEED_REPLY answered by an error, without it the connection ends. The state is as before. */
static void expect_refused(struct fixture *f, int code)
{
	struct vhost_server before = f->server;
	struct vhost_msg copy = f->msg;

	for (size_t i = 0; i < copy.n_fds; i++)
		copy.fds[i] = dup(copy.fds[i]);
	f->msg.header.flags |= VHOST_FLAG_NEED_REPLY;
	assert_int_equal(handle(f), 0);
	assert_int_equal(f->step.refused.code, code);
	assert_true(f->step.refused.text[0]);
	assert_true(f->step.has_reply);
	assert_true(f->step.reply.payload.u64 != 0);
	assert_int_equal(f->step.effects, 0);
	f->msg = copy;
	assert_int_equal(handle(f), code);
	assert_memory_equal(&before, &f->server, sizeof(before));
}

static void get_u64(struct fixture *f, uint32_t request, uint64_t expected)
{
	prepare(f, request, 0);
	expect_ok(f);
	assert_true(f->step.has_reply);
	assert_int_equal(f->step.reply.header.size, 8);
	assert_int_equal(f->step.reply.header.flags, VHOST_FLAG_VERSION | VHOST_FLAG_REPLY);
	assert_true(f->step.reply.payload.u64 == expected);
}

static void set_u64(struct fixture *f, uint32_t request, uint64_t value)
{
	prepare(f, request, 8)->payload.u64 = value;
}

static void set_state(struct fixture *f, uint32_t request, uint32_t index, uint32_t num)
{
	prepare(f, request, 8);
	f->msg.payload.state = (struct vhost_vring_state){ index, num };
}

static void set_fd(struct fixture *f, uint32_t request, uint64_t value, int fd)
{
	set_u64(f, request, value);
	if (fd >= 0)
		f->msg.fds[f->msg.n_fds++] = fd;
}

static void set_addr(struct fixture *f, uint32_t index, uint64_t desc, uint64_t avail, uint64_t used)
{
	prepare(f, VHOST_SET_VRING_ADDR, 40);
	f->msg.payload.addr = (struct vhost_vring_addr){ .index = index, .desc = desc, .avail = avail, .used = used };
}

static void add_memory(struct fixture *f, uint64_t gpa)
{
	prepare(f, VHOST_ADD_MEM_REG, 40);
	f->msg.payload.mem_reg.region = region_of(gpa, 0x1000, gpa + 0x10000000, 0);
	f->msg.fds[f->msg.n_fds++] = new_memfd(0x1000);
}

static void activate(struct fixture *f, uint32_t index)
{
	add_memory(f, 0x100000 * (index + 1));
	expect_ok(f);
	set_state(f, VHOST_SET_VRING_NUM, index, 256);
	expect_ok(f);
	set_state(f, VHOST_SET_VRING_BASE, index, 0);
	expect_ok(f);
	set_addr(f, index, 0, 0x1000, 0x2000);
	expect_ok(f);
	set_fd(f, VHOST_SET_VRING_KICK, index, eventfd(0, 0));
	expect_ok(f);
	assert_false(vhost_ring_active(&f->server, index));
	set_state(f, VHOST_SET_VRING_ENABLE, index, 1);
	expect_ok(f);
	assert_true(vhost_ring_active(&f->server, index));
}

static void features(void **state)
{
	struct fixture *f = *state;

	get_u64(f, VHOST_GET_FEATURES, device.features);
	get_u64(f, VHOST_GET_PROTOCOL_FEATURES, VHOST_SERVER_PROTOCOL_FEATURES);
	get_u64(f, VHOST_GET_QUEUE_NUM, 2);
	get_u64(f, VHOST_GET_MAX_MEM_SLOTS, VHOST_MAX_REGIONS);
	set_u64(f, VHOST_SET_FEATURES, VHOST_BIT(26));
	expect_refused(f, -EINVAL);
	set_u64(f, VHOST_SET_FEATURES, VHOST_BIT(VHOST_F_VERSION_1));
	expect_ok(f);
	set_u64(f, VHOST_SET_PROTOCOL_FEATURES, VHOST_BIT(VHOST_PF_PAGEFAULT));
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_SET_OWNER, 0);
	expect_ok(f);
	assert_false(f->step.has_reply);
	set_u64(f, VHOST_SET_STATUS, 7);
	expect_ok(f);
	get_u64(f, VHOST_GET_STATUS, 7);
}

/* UML asks for an answer to the very message that turns answers on. */
static void first_ack(void **state)
{
	struct fixture *f = *state;

	f->server.protocol_features = 0;
	set_u64(f, VHOST_SET_PROTOCOL_FEATURES, VHOST_BIT(VHOST_PF_REPLY_ACK));
	f->msg.header.flags |= VHOST_FLAG_NEED_REPLY;
	expect_ok(f);
	assert_true(f->step.has_reply);
	assert_true(f->step.reply.payload.u64 == 0);
	/* A message with an answer of its own gets just that. */
	prepare(f, VHOST_GET_FEATURES, 0);
	f->msg.header.flags |= VHOST_FLAG_NEED_REPLY;
	expect_ok(f);
	assert_true(f->step.reply.payload.u64 == device.features);
}

static void malformed(void **state)
{
	struct fixture *f = *state;

	prepare(f, 4711, 0);
	expect_refused(f, -EOPNOTSUPP);
	prepare(f, VHOST_SET_LOG_BASE, 16);
	expect_refused(f, -EOPNOTSUPP);
	prepare(f, VHOST_SET_FEATURES, 4);
	expect_refused(f, -EBADMSG);
	prepare(f, VHOST_SET_VRING_NUM, 16);
	expect_refused(f, -EBADMSG);
	set_fd(f, VHOST_SET_FEATURES, 0, eventfd(0, 0));
	expect_refused(f, -EBADMSG);
	set_u64(f, VHOST_SET_FEATURES, 0);
	f->msg.header.flags |= VHOST_FLAG_REPLY;
	expect_refused(f, -EBADMSG);
	f->server.protocol_features = VHOST_BIT(VHOST_PF_REPLY_ACK);
	prepare(f, VHOST_GET_QUEUE_NUM, 0);
	expect_refused(f, -EPROTO);
}

static void config(void **state)
{
	struct fixture *f = *state;
	const uint32_t sizes[] = { 0, 1, 4, 8, 9, 256, VHOST_MAX_CONFIG };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vhost_config *asked = (void *)prepare(f, VHOST_GET_CONFIG, 12 + sizes[i])->payload.bytes;
		const struct vhost_config *got = (void *)f->step.reply.payload.bytes;

		asked->size = sizes[i];
		expect_ok(f);
		assert_int_equal(f->step.reply.header.size, 12 + sizes[i]);
		assert_int_equal(got->size, sizes[i]);
		assert_memory_equal(got->data, config_space, MIN(sizes[i], sizeof(config_space)));
		for (size_t j = sizeof(config_space); j < sizes[i]; j++)
			assert_int_equal(got->data[j], 0);
	}
	prepare(f, VHOST_GET_CONFIG, 12 + 4);
	((struct vhost_config *)(void *)f->msg.payload.bytes)->size = 4;
	((struct vhost_config *)(void *)f->msg.payload.bytes)->offset = UINT32_MAX - 1;
	expect_ok(f);
	assert_int_equal(f->step.reply.header.size, 16);
	prepare(f, VHOST_GET_CONFIG, 12);
	((struct vhost_config *)(void *)f->msg.payload.bytes)->size = VHOST_MAX_CONFIG + 1;
	expect_ok(f);
	assert_int_equal(f->step.reply.header.size, 0);
	/* Writing is refused, which is no reason to part. */
	prepare(f, VHOST_SET_CONFIG, 16);
	assert_int_equal(handle(f), 0);
	assert_int_equal(f->step.refused.code, -EPERM);
	assert_false(f->step.has_reply);
}

static void memory_table(void **state)
{
	struct fixture *f = *state;

	prepare(f, VHOST_SET_MEM_TABLE, 8 + 2 * 32);
	f->msg.payload.table.n_regions = 2;
	f->msg.payload.table.regions[0] = region_of(0, 0x1000, 0x10000, 0);
	f->msg.payload.table.regions[1] = region_of(0x2000, 0x1000, 0x20000, 0);
	f->msg.fds[0] = new_memfd(0x1000);
	f->msg.fds[1] = new_memfd(0x1000);
	f->msg.n_fds = 2;
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_MEM_REPLACED);
	assert_int_equal(f->server.regions.n, 2);
	/* Too few descriptors, too short a payload, too many rows, none, overlapping. */
	prepare(f, VHOST_SET_MEM_TABLE, 8 + 2 * 32)->payload.table.n_regions = 2;
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_SET_MEM_TABLE, 8)->payload.table.n_regions = 1;
	f->msg.fds[f->msg.n_fds++] = new_memfd(0x1000);
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_SET_MEM_TABLE, sizeof(struct vhost_mem_table))->payload.table.n_regions = 9;
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_SET_MEM_TABLE, 8);
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_SET_MEM_TABLE, 8 + 2 * 32);
	f->msg.payload.table.n_regions = 2;
	f->msg.payload.table.regions[0] = region_of(0, 0x1000, 0x10000, 0);
	f->msg.payload.table.regions[1] = region_of(0, 0x1000, 0x20000, 0);
	f->msg.fds[0] = new_memfd(0x1000);
	f->msg.fds[1] = new_memfd(0x1000);
	f->msg.n_fds = 2;
	expect_refused(f, -EEXIST);
	assert_int_equal(f->server.regions.n, 2);
}

static void memory_slots(void **state)
{
	struct fixture *f = *state;

	add_memory(f, 0x1000);
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_MEM_ADDED);
	add_memory(f, 0x1000);
	expect_refused(f, -EEXIST);
	prepare(f, VHOST_ADD_MEM_REG, 40)->payload.mem_reg.region = region_of(0x8000, 0x1000, 0x80000, 0);
	expect_refused(f, -EINVAL);
	prepare(f, VHOST_REM_MEM_REG, 40)->payload.mem_reg.region = region_of(0x2000, 0x1000, 0x2000, 0);
	expect_refused(f, -ENOENT);
	prepare(f, VHOST_REM_MEM_REG, 40)->payload.mem_reg.region = region_of(0x1000, 0x1000, 0x10001000, 0);
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_MEM_REPLACED);
	assert_int_equal(f->server.regions.n, 0);
}

static void ring_life(void **state)
{
	struct fixture *f = *state;

	activate(f, 1);
	set_state(f, VHOST_SET_VRING_NUM, 1, 128);
	expect_refused(f, -EBUSY);
	set_state(f, VHOST_SET_VRING_BASE, 1, 3);
	expect_refused(f, -EBUSY);
	set_u64(f, VHOST_SET_FEATURES, 0);
	expect_refused(f, -EBUSY);
	set_addr(f, 1, 0x10, 0x1000, 0x2000);
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_RESTART);
	set_fd(f, VHOST_SET_VRING_CALL, 1, eventfd(0, 0));
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_CALL);
	assert_int_equal(f->step.index, 1);
	set_state(f, VHOST_SET_VRING_ENABLE, 1, 0);
	expect_ok(f);
	assert_false(vhost_ring_active(&f->server, 1));
	set_state(f, VHOST_SET_VRING_ENABLE, 1, 1);
	expect_ok(f);
	/* The caller stops it and says where it stood. */
	f->server.rings[1].base = 99;
	set_state(f, VHOST_GET_VRING_BASE, 1, 0);
	expect_ok(f);
	assert_int_equal(f->step.reply.header.size, 8);
	assert_int_equal(f->step.reply.payload.state.index, 1);
	assert_int_equal(f->step.reply.payload.state.num, 99);
	assert_false(vhost_ring_active(&f->server, 1));
}

static void ring_refused(void **state)
{
	struct fixture *f = *state;
	int pipes[2];

	set_state(f, VHOST_SET_VRING_NUM, 2, 256);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_NUM, 0, 0);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_NUM, 0, 3);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_NUM, 0, 2048);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_BASE, 0, 0x10000);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_BASE, UINT32_MAX, 0);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_GET_VRING_BASE, 2, 0);
	expect_refused(f, -EINVAL);
	set_state(f, VHOST_SET_VRING_ENABLE, 0, 2);
	expect_refused(f, -EINVAL);
	set_addr(f, 2, 0, 0, 0);
	expect_refused(f, -EINVAL);
	set_addr(f, 0, 8, 0, 0);
	expect_refused(f, -EINVAL);
	set_addr(f, 0, 0, 0, 0);
	f->msg.payload.addr.flags = VHOST_VRING_F_LOG;
	expect_refused(f, -EINVAL);
	set_fd(f, VHOST_SET_VRING_KICK, 2, eventfd(0, 0));
	expect_refused(f, -EINVAL);
	set_fd(f, VHOST_SET_VRING_KICK, 0, -1);
	expect_refused(f, -EINVAL);
	set_fd(f, VHOST_SET_VRING_KICK, VHOST_VRING_NOFD, -1);
	expect_refused(f, -EOPNOTSUPP);
	set_fd(f, VHOST_SET_VRING_KICK, VHOST_VRING_NOFD, eventfd(0, 0));
	expect_refused(f, -EINVAL);
	set_fd(f, VHOST_SET_VRING_KICK, 0, new_memfd(8)); /* always readable */
	expect_refused(f, -EBADF);
	set_fd(f, VHOST_SET_VRING_CALL, 0x200, eventfd(0, 0));
	expect_refused(f, -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	close(pipes[1]);
	set_fd(f, VHOST_SET_VRING_CALL, 0, pipes[0]);
	expect_ok(f);
	assert_true(fcntl(f->server.rings[0].call, F_GETFL) & O_NONBLOCK);
	set_fd(f, VHOST_SET_VRING_CALL, VHOST_VRING_NOFD, -1);
	expect_ok(f);
	assert_int_equal(f->server.rings[0].call, -1);
}

/* Front-ends without protocol features never enable a ring. */
static void enabled_by_default(void **state)
{
	struct fixture *f = *state;

	activate(f, 0);
	set_state(f, VHOST_SET_VRING_ENABLE, 0, 0);
	expect_ok(f);
	set_u64(f, VHOST_SET_FEATURES, VHOST_BIT(VHOST_F_VERSION_1));
	expect_ok(f);
	assert_true(vhost_ring_active(&f->server, 0));
}

/* A driver that starts over loses what the one before it had; one that goes on does not. */
static void started_over(void **state)
{
	struct fixture *f = *state;

	activate(f, 0);
	f->server.rings[0].base = 17;
	set_state(f, VHOST_GET_VRING_BASE, 0, 0);
	expect_ok(f);
	set_u64(f, VHOST_SET_STATUS, 0);
	expect_ok(f);
	assert_int_equal(f->step.effects, 0);
	set_state(f, VHOST_SET_VRING_BASE, 0, 17);
	expect_ok(f);
	assert_int_equal(f->step.effects, 0);
	set_state(f, VHOST_SET_VRING_BASE, 0, 0);
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_RESET);
}

static void reset(void **state)
{
	struct fixture *f = *state;

	activate(f, 0);
	prepare(f, VHOST_RESET_DEVICE, 0);
	expect_ok(f);
	assert_int_equal(f->step.effects, VHOST_EFFECT_RESET);
	assert_false(vhost_ring_active(&f->server, 0));
	assert_int_equal(f->server.rings[0].base, 0);
	prepare(f, VHOST_RESET_OWNER, 0);
	expect_ok(f);
	assert_int_equal(f->step.effects, 0);
}

static void journal(void **state)
{
	struct fixture *f = *state;
	struct vhost_inflight told;
	struct stat st;
	int fd;

	prepare(f, VHOST_GET_INFLIGHT_FD, 24)->payload.inflight =
		(struct vhost_inflight){ .n_queues = 2, .queue_size = 128 };
	expect_ok(f);
	told = f->step.reply.payload.inflight;
	fd = f->step.reply.fds[0];
	assert_int_equal(f->step.reply.n_fds, 1);
	assert_int_equal(f->step.reply.header.size, 24);
	assert_true(told.mmap_size == 2 * inflight_size(128));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, told.mmap_size);
	assert_true(ftruncate(fd, 0) < 0); /* nobody can pull it away */

	prepare(f, VHOST_SET_INFLIGHT_FD, 20)->payload.inflight = told;
	f->msg.fds[f->msg.n_fds++] = dup(fd);
	expect_ok(f);
	assert_true(f->server.inflight_fd >= 0);

	prepare(f, VHOST_GET_INFLIGHT_FD, 20)->payload.inflight =
		(struct vhost_inflight){ .n_queues = 3, .queue_size = 128 };
	expect_refused(f, -EINVAL);
	told.mmap_size += 1;
	prepare(f, VHOST_SET_INFLIGHT_FD, 24)->payload.inflight = told;
	f->msg.fds[f->msg.n_fds++] = dup(fd);
	expect_refused(f, -EINVAL);
	told.mmap_size -= 1;
	told.queue_size = 256;
	prepare(f, VHOST_SET_INFLIGHT_FD, 24)->payload.inflight = told;
	f->msg.fds[f->msg.n_fds++] = dup(fd);
	expect_refused(f, -EINVAL);
	told.queue_size = 128;
	told.mmap_offset = 64;
	prepare(f, VHOST_SET_INFLIGHT_FD, 24)->payload.inflight = told;
	f->msg.fds[f->msg.n_fds++] = dup(fd);
	expect_refused(f, -EINVAL);
	told.mmap_offset = 0;
	prepare(f, VHOST_SET_INFLIGHT_FD, 24)->payload.inflight = told;
	expect_refused(f, -EBADF);
	close(fd);
}

static void backend_channel(void **state)
{
	struct fixture *f = *state;

	set_fd(f, VHOST_SET_BACKEND_REQ_FD, 0, eventfd(0, 0));
	expect_ok(f);
	assert_true(f->server.backend_fd >= 0);
	prepare(f, VHOST_SET_BACKEND_REQ_FD, 0);
	f->msg.fds[f->msg.n_fds++] = eventfd(0, 0);
	expect_ok(f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(features),	       T(first_ack),	T(malformed), T(config),
		T(memory_table),       T(memory_slots), T(ring_life), T(ring_refused),
		T(enabled_by_default), T(started_over), T(reset),     T(journal),
		T(backend_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
