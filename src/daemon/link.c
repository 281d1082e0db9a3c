/* SPDX-License-Identifier: Apache-2.0 */
/* See link.h. */
#include "daemon/link.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/calls.h"

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * LINK_N_FDS)];
};

void link_close_fds(struct link_msg *msg)
{
	for (size_t i = 0; i < LINK_N_FDS; i++) {
		if (msg->fds[i] >= 0)
			close(msg->fds[i]);
		msg->fds[i] = -1;
	}
}

void link_wipe(struct link_msg *msg)
{
	if (msg->type == LINK_SESSION_CREATE)
		explicit_bzero(&msg->session, sizeof(msg->session));
}

int link_send(int fd, const struct link_msg *msg)
{
	struct link_msg copy = *msg;
	struct iovec iov = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { .bytes = { 0 } };
	int fds[LINK_N_FDS];
	size_t n = 0;
	ssize_t r;

	copy.fd_mask = 0;
	for (size_t i = 0; i < LINK_N_FDS; i++) {
		if (msg->fds[i] < 0)
			continue;
		copy.fd_mask |= 1u << i;
		fds[n++] = msg->fds[i];
	}
	if (n > 0) {
		struct cmsghdr *c;

		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	do
		r = sendmsg(fd, &mh, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : 0;
	link_wipe(&copy);
	return (int)r;
}

/* Gives the descriptors that came their places again; false when they are not those that were announced. */
static int place_fds(struct msghdr *mh, struct link_msg *msg)
{
	int fds[LINK_N_FDS];
	size_t n = 0, next = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	}
	for (size_t i = 0; i < LINK_N_FDS; i++)
		msg->fds[i] = (msg->fd_mask & (1u << i)) && next < n ? fds[next++] : -1;
	while (next < n)
		close(fds[next++]);
	return (int)n == __builtin_popcount(msg->fd_mask) && !(mh->msg_flags & (MSG_CTRUNC | MSG_TRUNC));
}

int link_recv(int fd, struct link_msg *ret_msg, int dontwait)
{
	struct iovec iov = { .iov_base = ret_msg, .iov_len = sizeof(*ret_msg) };
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		/* Not a byte more: padding would let another descriptor in. */
		.msg_controllen = CMSG_LEN(sizeof(int) * LINK_N_FDS),
	};
	ssize_t r;

	do
		r = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC | (dontwait ? MSG_DONTWAIT : 0));
	while (r < 0 && errno == EINTR);
	if (r == 0 || (r < 0 && errno == ECONNRESET))
		return 0;
	if (r < 0)
		return -errno;
	if ((size_t)r != sizeof(*ret_msg))
		ret_msg->fd_mask = 0;
	if (!place_fds(&mh, ret_msg) || (size_t)r != sizeof(*ret_msg)) {
		link_close_fds(ret_msg);
		return -EBADMSG;
	}
	/* Only what comes from a worker has a text. */
	if (ret_msg->type >= LINK_READY)
		ret_msg->text[ERROR_TEXT - 1] = '\0';
	return 1;
}

SANDBOX_CALLS({ "sendmsg" }, { "recvmsg" }, { "close" });
