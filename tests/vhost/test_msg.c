/* SPDX-License-Identifier: Apache-2.0 */
/* One message over a socket: whole, in pieces, broken, with descriptors, and none of them ever lost. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "util/util.h"
#include "vhost/msg.h"

struct fixture {
	int pair[2];
	int fds; /* open before */
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds = count_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->pair[0]);
	close(f->pair[1]);
	assert_int_equal(count_fds(), f->fds);
	free(f);
	return 0;
}

static void whole(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg sent, got;
	struct error error;
	int fd = new_memfd(4096);

	vhost_msg_init(&sent, VHOST_SET_VRING_KICK, 8);
	sent.payload.u64 = 0x1122334455667788;
	sent.fds[0] = fd;
	sent.n_fds = 1;
	assert_int_equal(vhost_msg_send(f->pair[0], &sent, -1, &error), 0);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &got, &error), 0);
	assert_int_equal(got.header.request, VHOST_SET_VRING_KICK);
	assert_int_equal(got.header.size, 8);
	assert_true(got.payload.u64 == 0x1122334455667788);
	assert_int_equal(got.n_fds, 1);
	close(vhost_msg_take_fd(&got, 0));
	assert_int_equal(vhost_msg_take_fd(&got, 0), -1);
	vhost_msg_close_fds(&got);
	close(fd);
}

/* Byte by byte; the descriptor comes with the first. */
static void in_pieces(void **state)
{
	struct fixture *f = *state;
	struct {
		struct vhost_header header;
		uint64_t value;
	} __attribute__((packed)) bytes = { { VHOST_SET_FEATURES, VHOST_FLAG_VERSION, 8 }, 42 };
	struct vhost_rx rx = { .have = 0 };
	struct error error;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 0);
		assert_int_equal(write(f->pair[0], (char *)&bytes + i, 1), 1);
	}
	assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 1);
	assert_true(rx.msg.payload.u64 == 42);
	vhost_rx_reset(&rx);
	assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 0);
}

/* Two messages at once are two messages, each with its own descriptor. */
static void back_to_back(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg, got;
	struct error error;
	int fd = new_memfd(4096);

	for (uint64_t i = 0; i < 2; i++) {
		vhost_msg_init(&msg, VHOST_SET_VRING_CALL, 8);
		msg.payload.u64 = i;
		msg.fds[0] = fd;
		msg.n_fds = 1;
		assert_int_equal(vhost_msg_send(f->pair[0], &msg, 0, &error), 0);
	}
	for (uint64_t i = 0; i < 2; i++) {
		assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &got, &error), 0);
		assert_true(got.payload.u64 == i);
		assert_int_equal(got.n_fds, 1);
		vhost_msg_close_fds(&got);
	}
	close(fd);
}

/* Takes out what was looked at. */
static void take_out(int fd, struct vhost_rx *rx)
{
	char bytes[256];
	size_t left = rx->have;

	vhost_rx_reset(rx);
	while (left > 0) {
		ssize_t n = recv(fd, bytes, MIN(left, sizeof(bytes)), 0);

		assert_true(n > 0);
		left -= (size_t)n;
	}
}

/* Messages that stay in the socket: each is seen again as it is, with its own descriptors and not the next one's. */
static void looked_at(void **state)
{
	static const struct {
		uint32_t request;
		uint64_t value;
		size_t n_fds;
	} rows[] = {
		{ VHOST_SET_STATUS, 1, 0 },
		{ VHOST_SET_VRING_CALL, 0, 1 },
		{ VHOST_SET_VRING_ERR, VHOST_VRING_NOFD, 0 },
		{ VHOST_SET_VRING_KICK, 1, 1 },
		{ VHOST_SET_VRING_KICK, 2, 1 },
		{ VHOST_SET_FEATURES, 3, 0 },
	};
	struct fixture *f = *state;
	struct vhost_rx rx = { .peek = true };
	struct vhost_msg msg;
	struct error error;
	int fd = new_memfd(4096);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		vhost_msg_init(&msg, rows[i].request, 8);
		msg.payload.u64 = rows[i].value;
		msg.fds[0] = fd;
		msg.n_fds = rows[i].n_fds;
		assert_int_equal(vhost_msg_send(f->pair[0], &msg, 0, &error), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (int again = 0; again < 3; again++) {
			int left = 0;
			socklen_t len = sizeof(left);

			vhost_rx_reset(&rx);
			assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 1);
			assert_int_equal(rx.msg.header.request, rows[i].request);
			assert_true(rx.msg.payload.u64 == rows[i].value);
			assert_int_equal(rx.msg.n_fds, rows[i].n_fds);
			/* What tells the next process how far this one got. */
			assert_int_equal(getsockopt(f->pair[1], SOL_SOCKET, SO_PEEK_OFF, &left, &len), 0);
			assert_int_equal(left, rx.have);
		}
		take_out(f->pair[1], &rx);
	}
	assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 0);
	close(fd);
}

/* The same in two parts, of which the first has the descriptor: nothing is seen of it until it is whole. */
static void looked_at_in_parts(void **state)
{
	struct {
		struct vhost_header header;
		uint64_t value;
	} __attribute__((packed)) bytes = { { VHOST_SET_VRING_KICK, VHOST_FLAG_VERSION, 8 }, 5 };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = &bytes, .iov_len = 14 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
	struct vhost_rx rx = { .peek = true };
	struct fixture *f = *state;
	struct error error;
	int fd = new_memfd(4096);

	mh.msg_controllen = sizeof(control);
	control.align = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
					  .cmsg_level = SOL_SOCKET,
					  .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	assert_int_equal(sendmsg(f->pair[0], &mh, 0), 14);
	for (int again = 0; again < 3; again++) {
		assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 0);
		assert_int_equal(rx.msg.n_fds, 0);
	}
	assert_int_equal(write(f->pair[0], (char *)&bytes + 14, sizeof(bytes) - 14), sizeof(bytes) - 14);
	assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 1);
	assert_true(rx.msg.payload.u64 == 5);
	assert_int_equal(rx.msg.n_fds, 1);
	take_out(f->pair[1], &rx);
	assert_int_equal(vhost_rx_step(&rx, f->pair[1], &error), 0);
	close(fd);
}

static void ends(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	struct error error;

	assert_int_equal(vhost_msg_recv(f->pair[1], 0, &msg, &error), -ETIMEDOUT);
	assert_int_equal(write(f->pair[0], "abcde", 5), 5);
	shutdown(f->pair[0], SHUT_RDWR);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -ECONNRESET);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EPIPE);
	vhost_msg_init(&msg, VHOST_SET_OWNER, 0);
	assert_int_equal(vhost_msg_send(f->pair[1], &msg, 1000, &error), -EPIPE);
}

static void send_header(int fd, uint32_t request, uint32_t flags, uint32_t size, int n_fds)
{
	struct vhost_header header = { request, flags, size };
	struct iovec iov = { &header, sizeof(header) };
	char control[CMSG_SPACE(sizeof(int) * 32)] = { 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c;

		mh.msg_control = control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)n_fds);
		for (int i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(c) + sizeof(int) * (size_t)i, &fd, sizeof(fd));
	}
	assert_int_equal(sendmsg(fd, &mh, 0), sizeof(header));
}

static void too_long(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	struct error error;

	send_header(f->pair[0], VHOST_SET_FEATURES, VHOST_FLAG_VERSION, VHOST_MAX_PAYLOAD + 1, 1);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EMSGSIZE);
	send_header(f->pair[0], VHOST_SET_FEATURES, VHOST_FLAG_VERSION, 0xffffffff, 0);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EMSGSIZE);
	vhost_msg_init(&msg, 1, VHOST_MAX_PAYLOAD + 1);
	assert_int_equal(vhost_msg_send(f->pair[0], &msg, 0, &error), -EINVAL);
}

static void wrong_version(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	struct error error;

	send_header(f->pair[0], VHOST_SET_FEATURES, 2, 0, 2);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EBADMSG);
}

static void too_many_fds(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	struct error error;

	send_header(f->pair[0], VHOST_SET_MEM_TABLE, VHOST_FLAG_VERSION, 0, VHOST_MAX_FDS);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), 0);
	assert_int_equal(msg.n_fds, VHOST_MAX_FDS);
	vhost_msg_close_fds(&msg);
	send_header(f->pair[0], VHOST_SET_MEM_TABLE, VHOST_FLAG_VERSION, 0, VHOST_MAX_FDS + 1);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EBADMSG);
	send_header(f->pair[0], VHOST_SET_MEM_TABLE, VHOST_FLAG_VERSION, 0, 32);
	assert_int_equal(vhost_msg_recv(f->pair[1], 1000, &msg, &error), -EBADMSG);
}

/* A peer that does not read: the sender gives up instead of waiting for ever. */
static void full_queue(void **state)
{
	struct fixture *f = *state;
	struct vhost_msg msg;
	struct error error;
	int r;

	vhost_msg_init(&msg, VHOST_GET_CONFIG, VHOST_MAX_PAYLOAD);
	do
		r = vhost_msg_send(f->pair[0], &msg, 0, &error);
	while (r == 0);
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(vhost_msg_send(f->pair[0], &msg, 10, &error), -ETIMEDOUT);
}

static void names(void **state)
{
	assert_string_equal(vhost_request_name(VHOST_SET_MEM_TABLE), "SET_MEM_TABLE");
	assert_string_equal(vhost_request_name(VHOST_CHECK_DEVICE_STATE), "CHECK_DEVICE_STATE");
	assert_string_equal(vhost_request_name(0), "request 0");
	assert_string_equal(vhost_request_name(4711), "request 4711");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole, setup, teardown),
		cmocka_unit_test_setup_teardown(in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(back_to_back, setup, teardown),
		cmocka_unit_test_setup_teardown(looked_at, setup, teardown),
		cmocka_unit_test_setup_teardown(looked_at_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(ends, setup, teardown),
		cmocka_unit_test_setup_teardown(too_long, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_version, setup, teardown),
		cmocka_unit_test_setup_teardown(too_many_fds, setup, teardown),
		cmocka_unit_test_setup_teardown(full_queue, setup, teardown),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
