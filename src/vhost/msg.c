/* SPDX-License-Identifier: Apache-2.0 */
/* See msg.h. Reads never go past the end of a message, so descriptors always belong to the message being read. */
#include "vhost/msg.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "util/util.h"

void vhost_msg_init(struct vhost_msg *msg, uint32_t request, uint32_t size)
{
	msg->header.request = request;
	msg->header.flags = VHOST_FLAG_VERSION;
	msg->header.size = size;
	msg->n_fds = 0;
	memset(&msg->payload, 0, MIN(size, sizeof(msg->payload)));
}

int vhost_msg_take_fd(struct vhost_msg *msg, size_t index)
{
	int fd;

	if (index >= msg->n_fds)
		return -1;
	fd = msg->fds[index];
	msg->fds[index] = -1;
	return fd;
}

void vhost_msg_close_fds(struct vhost_msg *msg)
{
	for (size_t i = 0; i < msg->n_fds; i++)
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
	msg->n_fds = 0;
}

/* A message that brings a key. Of one whose header is not complete there is nothing yet. */
static bool is_secret(const struct vhost_header *header)
{
	return header->request == VHOST_CREATE_CRYPTO_SESSION;
}

void vhost_rx_reset(struct vhost_rx *rx)
{
	if (is_secret(&rx->msg.header))
		explicit_bzero(&rx->msg.payload, sizeof(rx->msg.payload));
	vhost_msg_close_fds(&rx->msg);
	rx->have = 0;
}

/* Takes over every descriptor that came, and says whether there were more than a message may have. */
static bool collect_fds(struct vhost_msg *msg, struct msghdr *mh)
{
	bool too_many = (mh->msg_flags & MSG_CTRUNC) != 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->n_fds < VHOST_MAX_FDS) {
				msg->fds[msg->n_fds++] = fd;
			} else {
				close(fd);
				too_many = true;
			}
		}
	}
	return too_many;
}

/* Up to len bytes. Bytes read, 0 at the end of the stream, or a negative errno. */
static ssize_t read_some(struct vhost_msg *msg, int fd, void *data, size_t len, struct error *error)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_MAX_FDS)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return error_set(error, -errno, "vhost-user message: cannot read it: %s", strerror(errno));
	if (collect_fds(msg, &mh))
		return error_set(error, -EBADMSG, "vhost-user message: more than %d descriptors", VHOST_MAX_FDS);
	return n;
}

static int check_header(const struct vhost_header *header, struct error *error)
{
	if ((header->flags & VHOST_FLAG_VERSION_MASK) != VHOST_FLAG_VERSION)
		return error_set(error, -EBADMSG, "vhost-user message %s: version %u, not 1",
				 vhost_request_name(header->request), header->flags & VHOST_FLAG_VERSION_MASK);
	if (header->size > VHOST_MAX_PAYLOAD)
		return error_set(error, -EMSGSIZE, "vhost-user message %s: payload of %u bytes, at most %zu are taken",
				 vhost_request_name(header->request), header->size, VHOST_MAX_PAYLOAD);
	return 0;
}

/* Where the next bytes go, and how many are missing in this part; 0 when the message is complete. */
static size_t missing(struct vhost_rx *rx, void **ret_data)
{
	const size_t head = sizeof(rx->msg.header);

	if (rx->have < head) {
		*ret_data = (char *)&rx->msg.header + rx->have;
		return head - rx->have;
	}
	*ret_data = rx->msg.payload.bytes + (rx->have - head);
	return rx->msg.header.size - (rx->have - head);
}

static int rx_fail(struct vhost_rx *rx, int code)
{
	vhost_rx_reset(rx);
	return code;
}

/*
 * Looks at up to len bytes from where the last look ended, with their descriptors if msg is not NULL. One call does not
 * look across the end of what was sent with descriptors, and each call that begins in it brings them: so a call has to ask
 * for all of a message that is left.
 */
static ssize_t look_some(struct vhost_msg *msg, int fd, void *data, size_t len, bool *ret_too_many)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_MAX_FDS)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = msg ? &control : NULL,
		.msg_controllen = msg ? sizeof(control) : 0,
	};
	ssize_t n;

	do
		n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_PEEK);
	while (n < 0 && errno == EINTR);
	if (n >= 0 && msg && collect_fds(msg, &mh))
		*ret_too_many = true;
	return n < 0 ? -errno : n;
}

/* Looks at len bytes from the beginning. Returns how many there are so far, or a negative errno if there is none. */
static ssize_t look(struct vhost_msg *msg, int fd, void *data, size_t len, bool *ret_too_many)
{
	const int start = 0;
	size_t have = 0;

	if (setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) < 0)
		return -errno;
	while (have < len) {
		ssize_t n = look_some(msg, fd, (char *)data + have, len - have, ret_too_many);

		if (n <= 0)
			return have ? (ssize_t)have : n;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* How many descriptors a front-end sends with a message, at most. */
static size_t fds_of(const struct vhost_msg *msg)
{
	switch (msg->header.request) {
	case VHOST_SET_MEM_TABLE:
		return MIN(msg->payload.table.n_regions, VHOST_MAX_TABLE);
	case VHOST_SET_VRING_KICK:
	case VHOST_SET_VRING_CALL:
	case VHOST_SET_VRING_ERR:
		return msg->payload.u64 & VHOST_VRING_NOFD ? 0 : 1;
	case VHOST_ADD_MEM_REG:
	case VHOST_REM_MEM_REG:
	case VHOST_SET_BACKEND_REQ_FD:
	case VHOST_SET_INFLIGHT_FD:
		return 1;
	default:
		return 0;
	}
}

/*
 * Who looks at a message without descriptors is shown those of the next message as well, if that is there already: Linux
 * looks at what follows for one step too many. What does not belong to this one will be seen again with its own.
 */
static void drop_others(struct vhost_msg *msg, int fd, size_t len)
{
	size_t own = fds_of(msg);
	int there = 0;

	if (ioctl(fd, SIOCINQ, &there) < 0 || (size_t)there <= len)
		return;
	while (msg->n_fds > own)
		close(msg->fds[--msg->n_fds]);
}

struct bytes {
	struct vhost_header header;
	uint8_t payload[VHOST_MAX_PAYLOAD];
};

static int peek_at(struct vhost_rx *rx, int fd, struct bytes *bytes, struct error *error)
{
	const size_t head = sizeof(bytes->header);
	bool too_many = false;
	ssize_t n = look(NULL, fd, bytes, head, &too_many);
	int r;

	rx->msg.n_fds = 0;
	rx->have = 0;
	if (n == 0)
		return error_set(error, -EPIPE, "vhost-user connection: closed by the peer");
	if (n < 0 && n != -EAGAIN)
		return error_set(error, (int)n, "vhost-user message: cannot read it: %s", strerror((int)-n));
	if (n < (ssize_t)head)
		return 0;
	r = check_header(&bytes->header, error);
	if (r < 0)
		return r;
	n = look(&rx->msg, fd, bytes, head + bytes->header.size, &too_many);
	if (too_many)
		return rx_fail(
			rx, error_set(error, -EBADMSG, "vhost-user message: more than %d descriptors", VHOST_MAX_FDS));
	if (n < (ssize_t)(head + bytes->header.size))
		return rx_fail(rx, 0);
	rx->msg.header = bytes->header;
	memcpy(rx->msg.payload.bytes, bytes->payload, bytes->header.size);
	rx->have = (size_t)n;
	drop_others(&rx->msg, fd, rx->have);
	return 1;
}

/* vhost_rx_step() for rx->peek: begins anew each time. */
static int peek_step(struct vhost_rx *rx, int fd, struct error *error)
{
	struct bytes bytes;
	int r;

	bytes.header.request = 0;
	r = peek_at(rx, fd, &bytes, error);

	if (is_secret(&bytes.header))
		explicit_bzero(&bytes, sizeof(bytes));
	return r;
}

int vhost_rx_step(struct vhost_rx *rx, int fd, struct error *error)
{
	if (rx->peek)
		return peek_step(rx, fd, error);
	if (rx->have == 0)
		rx->msg.n_fds = 0;
	for (;;) {
		void *data;
		size_t len = missing(rx, &data);
		ssize_t n;
		int r;

		if (len == 0)
			return 1;
		n = read_some(&rx->msg, fd, data, len, error);
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return rx_fail(rx, (int)n);
		if (n == 0) {
			bool between = rx->have == 0;

			return rx_fail(rx, error_set(error, between ? -EPIPE : -ECONNRESET,
						     "vhost-user connection: closed by the peer%s",
						     between ? "" : " in the middle of a message"));
		}
		rx->have += (size_t)n;
		if (rx->have != sizeof(rx->msg.header))
			continue;
		r = check_header(&rx->msg.header, error);
		if (r < 0)
			return rx_fail(rx, r);
	}
}

/* Waits until fd is ready for events; deadline 0: for ever. */
static int wait_for(int fd, short events, uint64_t deadline, struct error *error)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int ms = -1;
		int r;

		if (deadline) {
			uint64_t now = now_ns();

			ms = now >= deadline ? 0 : (int)((deadline - now + 999999) / 1000000);
		}
		r = poll(&p, 1, ms);
		if (r > 0)
			return 0;
		if (r == 0)
			return error_set(error, -ETIMEDOUT, "vhost-user message: the peer did not %s in time",
					 events & POLLIN ? "answer" : "read");
		if (errno != EINTR)
			return error_set(error, -errno, "vhost-user message: poll: %s", strerror(errno));
	}
}

static uint64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? 0 : now_ns() + (uint64_t)timeout_ms * 1000000;
}

int vhost_msg_recv(int fd, int timeout_ms, struct vhost_msg *ret_msg, struct error *error)
{
	uint64_t deadline = deadline_of(timeout_ms);
	struct vhost_rx rx = { .have = 0 };

	for (;;) {
		int r = vhost_rx_step(&rx, fd, error);

		if (r < 0)
			return r;
		if (r > 0) {
			*ret_msg = rx.msg;
			return 0;
		}
		r = wait_for(fd, POLLIN, deadline, error);
		if (r < 0)
			return rx_fail(&rx, r);
	}
}

/* Puts the descriptors into the control buffer. */
static void attach_fds(struct msghdr *mh, const struct vhost_msg *msg, void *control, size_t control_len)
{
	struct cmsghdr *c;

	memset(control, 0, control_len);
	mh->msg_control = control;
	mh->msg_controllen = CMSG_SPACE(sizeof(int) * msg->n_fds);
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * msg->n_fds);
	memcpy(CMSG_DATA(c), msg->fds, sizeof(int) * msg->n_fds);
}

static ssize_t write_some(int fd, const struct vhost_msg *msg, size_t done)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * VHOST_MAX_FDS)];
	} control;
	const size_t head = sizeof(msg->header);
	struct iovec iov[2];
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 0 };
	size_t skip = done > head ? done - head : 0;
	ssize_t n;

	if (done < head)
		iov[mh.msg_iovlen++] =
			(struct iovec){ .iov_base = (char *)&msg->header + done, .iov_len = head - done };
	if (msg->header.size > skip)
		iov[mh.msg_iovlen++] = (struct iovec){ .iov_base = (char *)msg->payload.bytes + skip,
						       .iov_len = msg->header.size - skip };
	if (done == 0 && msg->n_fds > 0)
		attach_fds(&mh, msg, &control, sizeof(control));
	do
		n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int vhost_msg_send(int fd, const struct vhost_msg *msg, int timeout_ms, struct error *error)
{
	uint64_t deadline = deadline_of(timeout_ms);
	size_t total = sizeof(msg->header) + msg->header.size;
	size_t done = 0;

	if (msg->header.size > VHOST_MAX_PAYLOAD || msg->n_fds > VHOST_MAX_FDS)
		return error_set(error, -EINVAL, "vhost-user message %s: too long to send",
				 vhost_request_name(msg->header.request));
	while (done < total) {
		ssize_t n = write_some(fd, msg, done);

		if (n >= 0) {
			done += (size_t)n;
		} else if (n == -EAGAIN && timeout_ms != 0) {
			int r = wait_for(fd, POLLOUT, deadline, error);

			if (r < 0)
				return r;
		} else {
			return error_set(error, (int)n, "vhost-user message %s: cannot send it: %s",
					 vhost_request_name(msg->header.request), strerror((int)-n));
		}
	}
	return 0;
}

#define NAME(n) [VHOST_##n] = #n
static const char *const request_names[] = {
	NAME(GET_FEATURES),
	NAME(SET_FEATURES),
	NAME(SET_OWNER),
	NAME(RESET_OWNER),
	NAME(SET_MEM_TABLE),
	NAME(SET_LOG_BASE),
	NAME(SET_LOG_FD),
	NAME(SET_VRING_NUM),
	NAME(SET_VRING_ADDR),
	NAME(SET_VRING_BASE),
	NAME(GET_VRING_BASE),
	NAME(SET_VRING_KICK),
	NAME(SET_VRING_CALL),
	NAME(SET_VRING_ERR),
	NAME(GET_PROTOCOL_FEATURES),
	NAME(SET_PROTOCOL_FEATURES),
	NAME(GET_QUEUE_NUM),
	NAME(SET_VRING_ENABLE),
	NAME(SEND_RARP),
	NAME(NET_SET_MTU),
	NAME(SET_BACKEND_REQ_FD),
	NAME(IOTLB_MSG),
	NAME(SET_VRING_ENDIAN),
	NAME(GET_CONFIG),
	NAME(SET_CONFIG),
	NAME(CREATE_CRYPTO_SESSION),
	NAME(CLOSE_CRYPTO_SESSION),
	NAME(POSTCOPY_ADVISE),
	NAME(POSTCOPY_LISTEN),
	NAME(POSTCOPY_END),
	NAME(GET_INFLIGHT_FD),
	NAME(SET_INFLIGHT_FD),
	NAME(GPU_SET_SOCKET),
	NAME(RESET_DEVICE),
	NAME(VRING_KICK),
	NAME(GET_MAX_MEM_SLOTS),
	NAME(ADD_MEM_REG),
	NAME(REM_MEM_REG),
	NAME(SET_STATUS),
	NAME(GET_STATUS),
	NAME(GET_SHARED_OBJECT),
	NAME(SET_DEVICE_STATE_FD),
	NAME(CHECK_DEVICE_STATE),
};

const char *vhost_request_name(uint32_t request)
{
	static __thread char number[24];

	if (request < ARRAY_SIZE(request_names) && request_names[request])
		return request_names[request];
	snprintf(number, sizeof(number), "request %u", request);
	return number;
}
