/* SPDX-License-Identifier: Apache-2.0 */
/* See metrics.h. */
#include "daemon/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/listener.h"
#include "daemon/supervisor.h"
#include "util/address.h"
#include "util/util.h"

#define CLIENT_NS UINT64_C(3000000000) /* for request and answer together */
#define PAUSE_NS  UINT64_C(100000000)

/* ---- where it listens ---- */

static int listen_on(const char *text, struct error *error)
{
	_cleanup_close_ int fd = -1;
	const int on = 1;
	union address address;
	socklen_t len = 0;
	int r = address_parse(text, &address, &len);

	if (r < 0)
		return error_set(error, r, "metrics %s: neither unix:PATH nor an ADDRESS:PORT", text);
	if (!address_is_loopback(&address))
		return error_set(error, -EPERM, "metrics %s: only loopback addresses are allowed", text);
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(error, -errno, "metrics %s: %s", text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &address.any, len) < 0 || listen(fd, 16) < 0)
		return error_set(error, -errno, "metrics %s: cannot listen: %s", text, strerror(errno));
	r = fd;
	fd = -1;
	return r;
}

void metrics_init(struct metrics *m)
{
	*m = (struct metrics){ .listen_fd = -1 };
	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		m->clients[i].fd = -1;
}

int metrics_open(struct metrics *m, const char *address, struct error *error)
{
	if (!address || !*address)
		return 0;
	if (strncmp(address, ADDRESS_UNIX, strlen(ADDRESS_UNIX)) != 0) {
		m->listen_fd = listen_on(address, error);
		return MIN(m->listen_fd, 0);
	}
	m->unlink_path = strdup(address + strlen(ADDRESS_UNIX));
	if (!m->unlink_path)
		return error_set(error, -ENOMEM, "metrics: no memory");
	m->listen_fd = listener_open(m->unlink_path, NULL, error);
	if (m->listen_fd >= 0)
		return 0;
	free(m->unlink_path);
	m->unlink_path = NULL;
	error_prefix(error, "metrics");
	return m->listen_fd;
}

void metrics_take(struct metrics *m, int fd)
{
	m->listen_fd = fd;
}

static void drop(struct metrics_client *c)
{
	close_fd(&c->fd);
	c->fd = -1;
	free(c->out);
	c->out = NULL;
}

void metrics_fini(struct metrics *m)
{
	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		drop(&m->clients[i]);
	close_fd(&m->listen_fd);
	m->listen_fd = -1;
	if (m->unlink_path)
		unlink(m->unlink_path);
	free(m->unlink_path);
	m->unlink_path = NULL;
}

/* ---- the poll loop ---- */

static const struct metrics_client *free_slot(const struct metrics *m)
{
	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		if (m->clients[i].fd < 0)
			return &m->clients[i];
	return NULL;
}

/* What the client may do next: finish its request, take its answer, hang up. */
static short events_of(const struct metrics_client *c)
{
	return c->out && c->sent < c->n_out ? POLLOUT : POLLIN;
}

void metrics_poll(const struct metrics *m, struct pollfd *fds)
{
	bool accepting = free_slot(m) && now_ns() >= m->accept_ns;

	fds[0] = (struct pollfd){ .fd = accepting ? m->listen_fd : -1, .events = POLLIN };
	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		fds[1 + i] = (struct pollfd){ .fd = m->clients[i].fd, .events = events_of(&m->clients[i]) };
}

uint64_t metrics_deadline(const struct metrics *m)
{
	uint64_t first = m->accept_ns > now_ns() ? m->accept_ns : 0;

	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		if (m->clients[i].fd >= 0 && (!first || m->clients[i].deadline_ns < first))
			first = m->clients[i].deadline_ns;
	return first;
}

/* One at a time: the listening socket stays readable. */
static void accept_client(struct metrics *m)
{
	struct metrics_client *c = (struct metrics_client *)free_slot(m);
	int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* The client stays where it is, and the socket readable. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			m->accept_ns = now_ns() + PAUSE_NS;
		return;
	}
	c->fd = fd;
	c->deadline_ns = now_ns() + CLIENT_NS;
	c->n_in = 0;
	c->sent = 0;
	c->n_out = 0;
}

/* body: taken over, may be NULL. */
static void answer(struct metrics_client *c, const char *status, char *body, size_t len)
{
	char *head = NULL;
	int n = asprintf(&head,
			 "HTTP/1.0 %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
			 "Content-Length: %zu\r\nConnection: close\r\n\r\n",
			 status, len);
	char *out = n < 0 ? NULL : realloc(head, (size_t)n + len);

	if (out) {
		memcpy(out + n, body ? body : "", len);
		c->out = out;
		c->n_out = (size_t)n + len;
	} else {
		if (n >= 0)
			free(head);
		drop(c);
	}
	free(body);
}

/* The whole head is there, its end cut off by a NUL. */
static void answer_request(struct supervisor *s, struct metrics_client *c)
{
	char *method = c->in, *line_end = c->in + strcspn(c->in, "\r\n");
	char *path, *version, *text;
	size_t len = 0;

	*line_end = '\0';
	path = strchr(method, ' ');
	version = path ? strchr(path + 1, ' ') : NULL;
	if (!version || strncmp(version + 1, "HTTP/1.", 7) != 0) {
		answer(c, "400 Bad Request", NULL, 0);
		return;
	}
	*path++ = '\0';
	*version = '\0';
	if (strcmp(method, "GET") != 0) {
		answer(c, "405 Method Not Allowed", NULL, 0);
	} else if (strcmp(path, "/metrics") != 0) {
		answer(c, "404 Not Found", NULL, 0);
	} else {
		text = exposition_text(s, &len);
		answer(c, text ? "200 OK" : "503 Service Unavailable", text, len);
	}
}

static void read_request(struct supervisor *s, struct metrics_client *c)
{
	ssize_t n = read(c->fd, c->in + c->n_in, sizeof(c->in) - 1 - c->n_in);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	c->n_in += (size_t)n;
	c->in[c->n_in] = '\0';
	if (memchr(c->in, '\0', c->n_in))
		answer(c, "400 Bad Request", NULL, 0);
	else if (strstr(c->in, "\r\n\r\n") || strstr(c->in, "\n\n"))
		answer_request(s, c);
	else if (c->n_in == sizeof(c->in) - 1)
		answer(c, "431 Request Header Fields Too Large", NULL, 0);
}

static void send_answer(struct metrics_client *c)
{
	ssize_t n = send(c->fd, c->out + c->sent, c->n_out - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		drop(c);
		return;
	}
	c->sent += (size_t)MAX(n, 0);
	/* Not closed yet: what the client may still be sending would have the kernel throw the answer away. */
	if (c->sent == c->n_out)
		shutdown(c->fd, SHUT_WR);
}

/* Has its answer; until it hangs up or its time is over. */
static void drain(struct metrics_client *c)
{
	ssize_t n = read(c->fd, c->in, sizeof(c->in));

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drop(c);
}

static void serve_client(struct supervisor *s, struct metrics_client *c, short revents)
{
	if (revents && !c->out)
		read_request(s, c);
	else if (revents && c->sent < c->n_out)
		send_answer(c);
	else if (revents)
		drain(c);
	if (c->fd >= 0 && now_ns() >= c->deadline_ns)
		drop(c);
}

void metrics_serve(struct supervisor *s, const struct pollfd *fds)
{
	struct metrics *m = &s->metrics;

	for (size_t i = 0; i < METRICS_CLIENTS; i++)
		if (m->clients[i].fd >= 0 && m->clients[i].fd == fds[1 + i].fd)
			serve_client(s, &m->clients[i], fds[1 + i].revents);
	if (fds[0].fd >= 0 && fds[0].revents)
		accept_client(m);
}
