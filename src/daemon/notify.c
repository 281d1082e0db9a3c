/* SPDX-License-Identifier: Apache-2.0 */
/* See notify.h. */
#include "daemon/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/util.h"

/* Where the parent's descriptors begin. */
#define FIRST_FD 3
/* More than a parent may keep for us; a number beyond is a mistake. */
#define MAX_FDS	     65536
#define MAX_TEXT     1024
#define ROOM_WAIT_MS 1000

/* A number of the environment; false when it is not there or none. */
static bool read_number(const char *name, uint64_t *ret)
{
	const char *text = getenv(name);
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !errno && !*end;
}

static int open_socket(struct notify *n, struct error *error)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (!len)
		return 0;
	if (len >= sizeof(n->address.sun_path) || (*path != '/' && *path != '@') || len < 2)
		return error_set(error, -EINVAL, "NOTIFY_SOCKET %s: neither a path nor an abstract name", path);
	n->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(n->address.sun_path, path, len);
	if (*path == '@')
		n->address.sun_path[0] = '\0';
	n->address_len = (unsigned int)(offsetof(struct sockaddr_un, sun_path) + len + (*path == '/'));
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return n->fd < 0 ? error_set(error, -errno, "NOTIFY_SOCKET %s: %s", path, strerror(errno)) : 0;
}

static int name_fds(struct notify *n, const char *names)
{
	const char *at = names;

	for (size_t i = 0; i < n->n_fds; i++) {
		size_t len = at ? strcspn(at, ":") : 0;

		n->fds[i].name = at ? strndup(at, len) : strdup("unknown");
		if (!n->fds[i].name)
			return -ENOMEM;
		at = at && at[len] ? at + len + 1 : NULL;
	}
	return 0;
}

static int read_fds(struct notify *n, struct error *error)
{
	uint64_t pid = 0, count = 0;

	/* Variables of another process that were left standing are none of ours. */
	if (!read_number("LISTEN_PID", &pid) || pid != (uint64_t)getpid() || !read_number("LISTEN_FDS", &count) ||
	    !count)
		return 0;
	if (count > MAX_FDS)
		return error_set(error, -EINVAL, "LISTEN_FDS: %llu descriptors are too many",
				 (unsigned long long)count);
	n->fds = calloc(count, sizeof(*n->fds));
	if (!n->fds)
		return error_set(error, -ENOMEM, "LISTEN_FDS: no memory for %llu descriptors",
				 (unsigned long long)count);
	n->n_fds = count;
	for (size_t i = 0; i < count; i++)
		n->fds[i].fd = -1;
	for (size_t i = 0; i < count; i++) {
		if (fcntl(FIRST_FD + (int)i, F_SETFD, FD_CLOEXEC) < 0)
			return error_set(error, -errno, "LISTEN_FDS: descriptor %zu of %zu is not there", i + 1,
					 n->n_fds);
		n->fds[i].fd = FIRST_FD + (int)i;
	}
	return name_fds(n, getenv("LISTEN_FDNAMES")) < 0 ? error_set(error, -ENOMEM, "LISTEN_FDNAMES: no memory") : 0;
}

static void read_watchdog(struct notify *n)
{
	uint64_t pid = 0, us = 0;

	if (read_number("WATCHDOG_PID", &pid) && pid != (uint64_t)getpid())
		return;
	if (read_number("WATCHDOG_USEC", &us) && us <= UINT64_MAX / 1000)
		n->watchdog_ns = us * 1000;
}

int notify_init(struct notify *n, struct error *error)
{
	static const char *const names[] = { "NOTIFY_SOCKET", "LISTEN_PID",    "LISTEN_FDS", "LISTEN_FDNAMES",
					     "WATCHDOG_PID",  "WATCHDOG_USEC", "FDSTORE" };
	int r;

	*n = (struct notify){ .fd = -1 };
	/* The descriptors first: the socket would take a number of theirs that is missing. */
	r = read_fds(n, error);
	if (r == 0)
		r = open_socket(n, error);
	read_watchdog(n);
	read_number("FDSTORE", &n->max_stored);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
	return r;
}

void notify_fini(struct notify *n)
{
	for (size_t i = 0; i < n->n_fds; i++) {
		close_fd(&n->fds[i].fd);
		free(n->fds[i].name);
	}
	free(n->fds);
	close_fd(&n->fd);
	*n = (struct notify){ .fd = -1 };
}

int notify_take(struct notify *n, const char *name)
{
	for (size_t i = 0; i < n->n_fds; i++) {
		int fd = n->fds[i].fd;

		if (fd < 0 || (name && strcmp(n->fds[i].name, name)))
			continue;
		n->fds[i].fd = -1;
		return fd;
	}
	return -1;
}

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* fd: -1 sends none. */
static int send_text(const struct notify *n, const char *text, int fd, int wait_ms)
{
	struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
	struct msghdr mh = {
		.msg_name = (void *)&n->address, .msg_namelen = n->address_len, .msg_iov = &iov, .msg_iovlen = 1
	};
	uint64_t until = now_ns() + (uint64_t)wait_ms * 1000000;
	union control control = { .bytes = { 0 } };

	if (n->fd < 0)
		return -ENOTCONN;
	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control.bytes);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	for (;;) {
		int r = sendmsg(n->fd, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;

		if (r != -EINTR && r != -EAGAIN)
			return r;
		if (r == -EAGAIN && now_ns() >= until)
			return r;
		/* poll(2) cannot tell: it looks at this end, and the room is missing at the other. */
		if (r == -EAGAIN)
			poll(NULL, 0, 1);
	}
}

int notify_send(const struct notify *n, const char *format, ...)
{
	char text[MAX_TEXT];
	va_list ap;
	int len;

	if (n->fd < 0)
		return 0;
	va_start(ap, format);
	len = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= sizeof(text))
		return -E2BIG;
	return send_text(n, text, -1, 0);
}

uint64_t notify_alive(struct notify *n)
{
	uint64_t now = now_ns();

	if (n->fd < 0 || !n->watchdog_ns)
		return 0;
	/* Twice as often as it must be, as the protocol has it. One that finds no room is tried again soon. */
	if (now >= n->watchdog_next_ns)
		n->watchdog_next_ns = now + n->watchdog_ns / (notify_send(n, "WATCHDOG=1") < 0 ? 16 : 2);
	return n->watchdog_next_ns;
}

static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '~' || name[i] == ':')
			return false;
	return len > 0 && len <= 255;
}

int notify_store(const struct notify *n, const char *name, int fd, bool watch)
{
	char text[MAX_TEXT];

	if (!name_ok(name))
		return -EINVAL;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\n%s", name, watch ? "" : "FDPOLL=0\n");
	return send_text(n, text, fd, ROOM_WAIT_MS);
}

int notify_forget(const struct notify *n, const char *name)
{
	char text[MAX_TEXT];

	if (!name_ok(name))
		return -EINVAL;
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
	return send_text(n, text, -1, ROOM_WAIT_MS);
}

/* The parent closes the descriptor that comes with the request when it comes to it. */
int notify_barrier(const struct notify *n, int timeout_ms)
{
	struct pollfd p = { .events = 0 };
	int pipe_fds[2], r;

	if (n->fd < 0)
		return -ENOTCONN;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	r = send_text(n, "BARRIER=1", pipe_fds[1], ROOM_WAIT_MS);
	close(pipe_fds[1]);
	p.fd = pipe_fds[0];
	if (r == 0) {
		do
			r = poll(&p, 1, timeout_ms);
		while (r < 0 && errno == EINTR);
		r = r == 0 ? -ETIMEDOUT : r < 0 ? -errno : 0;
	}
	close(pipe_fds[0]);
	return r;
}
