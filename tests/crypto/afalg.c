/* SPDX-License-Identifier: Apache-2.0 */
/* See afalg.h. */
#include "afalg.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_alg.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int afalg_key(const char *driver, const void *key, size_t len)
{
	struct sockaddr_alg address = { .salg_family = AF_ALG, .salg_type = "skcipher" };
	int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	snprintf((char *)address.salg_name, sizeof(address.salg_name), "%s", driver);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(fd, SOL_ALG, ALG_SET_KEY, key, (socklen_t)len) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int afalg_open(int key_fd)
{
	int fd = accept4(key_fd, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void add_control(struct msghdr *msg, struct cmsghdr **cmsg, int type, const void *data, size_t len)
{
	*cmsg = *cmsg ? CMSG_NXTHDR(msg, *cmsg) : CMSG_FIRSTHDR(msg);
	(*cmsg)->cmsg_level = SOL_ALG;
	(*cmsg)->cmsg_type = type;
	(*cmsg)->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(*cmsg), data, len);
}

/* Begins a message; data is to come. */
static int begin(int fd, const struct afalg_message *message)
{
	_Alignas(struct cmsghdr) char
		control[CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(struct af_alg_iv) + AFALG_BLOCK)] = { 0 };
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	char iv[sizeof(struct af_alg_iv) + AFALG_BLOCK];
	uint32_t op = message->encrypt ? ALG_OP_ENCRYPT : ALG_OP_DECRYPT;
	struct cmsghdr *cmsg = NULL;

	memcpy(iv, &(uint32_t){ AFALG_BLOCK }, sizeof(uint32_t));
	memcpy(iv + sizeof(struct af_alg_iv), message->iv, AFALG_BLOCK);
	add_control(&msg, &cmsg, ALG_SET_OP, &op, sizeof(op));
	add_control(&msg, &cmsg, ALG_SET_IV, iv, sizeof(iv));
	return sendmsg(fd, &msg, MSG_MORE) < 0 ? -errno : 0;
}

static int send_copied(int fd, const uint8_t *data, size_t len, bool last)
{
	while (len) {
		ssize_t n = send(fd, data, len, last ? 0 : MSG_MORE);

		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The pages go into the pipe and from there into the socket, which holds them until they are read. */
static int send_pages(int fd, const int *pipe_fds, const uint8_t *data, size_t len, bool last)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };

	while (iov.iov_len) {
		ssize_t in = vmsplice(pipe_fds[1], &iov, 1, 0), n;

		if (in < 0)
			return -errno;
		iov.iov_base = (char *)iov.iov_base + in;
		iov.iov_len -= (size_t)in;
		for (; in; in -= n) {
			n = splice(pipe_fds[0], NULL, fd, NULL, (size_t)in, !last || iov.iov_len ? SPLICE_F_MORE : 0);
			if (n <= 0)
				return n < 0 ? -errno : -EPIPE;
		}
	}
	return 0;
}

static int receive(int fd, uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = read(fd, data, len);

		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int run_pieces(int fd, const int *pipe_fds, const struct afalg_message *message)
{
	int r = begin(fd, message);

	for (size_t at = 0, n; !r && at < message->len; at += n) {
		n = MIN(message->piece, message->len - at);
		r = message->way == AFALG_SPLICE
			    ? send_pages(fd, pipe_fds, message->source + at, n, at + n == message->len)
			    : send_copied(fd, message->source + at, n, at + n == message->len);
		if (!r)
			r = receive(fd, message->destination + at, n);
	}
	return r;
}

int afalg_run(int fd, const struct afalg_message *message)
{
	int pipe_fds[2] = { -1, -1 }, r;

	if (message->way == AFALG_COPY)
		return run_pieces(fd, pipe_fds, message);
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	/* A piece has pages at both of its ends. */
	r = fcntl(pipe_fds[1], F_SETPIPE_SZ, 2 * AFALG_PIECE) < 0 ? -errno : run_pieces(fd, pipe_fds, message);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return r;
}
