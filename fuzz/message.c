/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages, from the socket to the state of a connection: vhost_rx_step() and vhost_server_handle(), with
 * descriptors of every kind. No descriptor may be lost, a refusal changes nothing, and what the state then says holds.
 */
#include "fuzz.h"
#include "message.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/util.h"
#include "vhost/server.h"
#include "vhost/vring.h"

#define MEMORY	64 * 1024
#define MAX_FDS 10 /* of one message: more than it may have */

static uint8_t config_space[92];
static const struct vhost_device device = {
	.features = VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_INDIRECT_DESC) | VHOST_BIT(VHOST_F_EVENT_IDX) |
		    VHOST_BIT(VHOST_F_PROTOCOL_FEATURES) | 7,
	.n_queues = 3,
	.config = config_space,
	.config_len = sizeof(config_space),
	.crypto = true,
};

/* Descriptors to send, made once: what is sent are copies. */
static int kinds[FUZZ_FD_KINDS];

static void make_kinds(void)
{
	int pair[2], pipes[2];

	if (kinds[FUZZ_FD_MEMORY])
		return;
	kinds[FUZZ_FD_MEMORY] = memfd_create("fuzz", MFD_CLOEXEC);
	kinds[FUZZ_FD_EVENT] = eventfd(0, EFD_CLOEXEC);
	kinds[FUZZ_FD_JOURNAL] = memfd_create("fuzz", MFD_CLOEXEC);
	kinds[FUZZ_FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	CHECK(ftruncate(kinds[FUZZ_FD_MEMORY], MEMORY) == 0 && ftruncate(kinds[FUZZ_FD_JOURNAL], 4096) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && pipe2(pipes, O_CLOEXEC) == 0);
	kinds[FUZZ_FD_SOCKET] = pair[0];
	kinds[FUZZ_FD_PIPE] = pipes[0];
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* False: the input has no more. */
static bool send_next(struct input *in, int socket)
{
	struct fuzz_message plan;
	struct {
		struct vhost_header header;
		uint8_t payload[VHOST_MAX_PAYLOAD];
	} bytes;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = &bytes };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t n_fds;
	struct cmsghdr *c;

	if (!in->left)
		return false;
	input_bytes(in, &plan, sizeof(plan));
	bytes.header = (struct vhost_header){ plan.request, plan.flags, plan.size };
	iov.iov_len = sizeof(bytes.header) + MIN(plan.len, sizeof(bytes.payload));
	input_bytes(in, bytes.payload, iov.iov_len - sizeof(bytes.header));
	n_fds = plan.n_fds % (MAX_FDS + 1);
	if (n_fds) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &kinds[plan.fds[i % 8] % FUZZ_FD_KINDS], sizeof(int));
	}
	return sendmsg(socket, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
}

static void check_regions(const struct vhost_regions *regions)
{
	CHECK(regions->n <= VHOST_MAX_REGIONS);
	for (size_t i = 0; i < regions->n; i++) {
		const struct vhost_region *r = &regions->rows[i].region;
		uint64_t end;

		CHECK(r->size && !add_u64(r->guest_addr, r->size, &end) && !add_u64(r->user_addr, r->size, &end));
		CHECK(range_in(r->mmap_offset, r->size, MEMORY));
		CHECK(regions->rows[i].fd >= 0);
		if (i + 1 < regions->n)
			CHECK(r->guest_addr + r->size <= regions->rows[i + 1].region.guest_addr);
	}
}

static void check_state(const struct vhost_server *s)
{
	check_regions(&s->regions);
	CHECK(!(s->features & ~device.features));
	CHECK(!(s->protocol_features & ~vhost_device_protocol_features(&device)));
	for (uint32_t i = 0; i < VHOST_MAX_QUEUES; i++) {
		const struct vhost_ring *ring = &s->rings[i];

		CHECK(i < device.n_queues || (ring->kick < 0 && ring->call < 0 && ring->err < 0 && !ring->have_addr));
		CHECK(ring->num <= VRING_MAX_NUM && (ring->num & (ring->num - 1)) == 0);
		CHECK(ring->desc % 16 == 0 && ring->avail % 2 == 0 && ring->used % 4 == 0);
		if (i < device.n_queues && vhost_ring_active(s, i))
			CHECK(ring->kick >= 0 && ring->num && ring->have_addr && s->regions.n);
	}
	if (s->inflight_fd >= 0)
		CHECK(s->inflight.n_queues <= device.n_queues &&
		      (uint64_t)s->inflight.n_queues * inflight_size(s->inflight.queue_size) <= s->inflight.mmap_size);
}

/* As the daemon does. False: it hangs up. */
static bool serve(struct vhost_server *server, struct vhost_rx *rx)
{
	static struct vhost_step step;
	struct vhost_server before = *server;
	struct error error = { 0 };
	int r = vhost_server_handle(server, &rx->msg, &step, &error);

	vhost_rx_reset(rx);
	CHECK(r == 0 || (r < 0 && error.text[0]));
	if (r < 0 || step.refused.code < 0)
		CHECK(memcmp(&before, server, sizeof(before)) == 0);
	if (r < 0)
		return false;
	CHECK(step.refused.code == 0 || (step.refused.text[0] && !step.effects));
	CHECK(!(step.effects & (VHOST_EFFECT_RESTART | VHOST_EFFECT_CALL)) || step.index < device.n_queues);
	check_state(server);
	if (step.effects & VHOST_EFFECT_CREATE)
		CHECK(step.has_reply && step.session.key_len <= VHOST_CRYPTO_MAX_KEY);
	vhost_server_finish(server, &step);
	if (step.has_reply)
		CHECK(step.reply.header.size <= VHOST_MAX_PAYLOAD && step.reply.n_fds <= 1);
	vhost_msg_close_fds(&step.reply);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vhost_server server;
	static struct vhost_rx rx;
	struct input in = { data, size };
	struct error error = { 0 };
	int pair[2], n, r = 0;

	make_kinds();
	n = count_fds();
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	memset(&rx, 0, sizeof(rx));
	vhost_server_init(&server, &device);
	while (r >= 0 && send_next(&in, pair[0])) {
		while ((r = vhost_rx_step(&rx, pair[1], &error)) > 0)
			if (!serve(&server, &rx)) {
				r = -1;
				break;
			}
	}
	vhost_rx_reset(&rx);
	vhost_server_fini(&server);
	close(pair[0]);
	close(pair[1]);
	CHECK(count_fds() == n);
	return 0;
}
