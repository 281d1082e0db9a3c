/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics endpoint: GET /metrics over HTTP/1.0, on a Unix socket or a loopback port, off unless [metrics] listen is
 * set. Served by the supervisor's poll loop and never waits: a few clients at a time, a small request, an answer made
 * in one go and sent as the client takes it, a deadline for all of it. More clients wait in the socket's backlog.
 *
 * Files: metrics.c the server, exposition.c the text.
 */
#ifndef VACCEL_DAEMON_METRICS_H
#define VACCEL_DAEMON_METRICS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define METRICS_CLIENTS 4
#define METRICS_REQUEST 4096		      /* bytes */
#define METRICS_POLLS	(1 + METRICS_CLIENTS) /* entries in a poll(2) set */

struct supervisor;

struct metrics_client {
	int fd; /* -1: free */
	uint64_t deadline_ns;
	size_t n_in;
	char *out; /* NULL: the request is not complete */
	size_t n_out, sent;
	char in[METRICS_REQUEST];
};

struct metrics {
	int listen_fd;	    /* -1: off */
	char *unlink_path;  /* NULL: there is nothing to remove */
	uint64_t accept_ns; /* nobody is accepted before this: descriptors or memory were short */
	struct metrics_client clients[METRICS_CLIENTS];
};

void metrics_init(struct metrics *metrics);
/* address: see [metrics] listen in vaccel.conf(5); "" or NULL: off. Only loopback addresses are taken. */
int metrics_open(struct metrics *metrics, const char *address, struct error *error);
/* Takes a listening socket instead. */
void metrics_take(struct metrics *metrics, int fd);
void metrics_fini(struct metrics *metrics);

/* Fills METRICS_POLLS entries; unused ones have descriptor -1. */
void metrics_poll(const struct metrics *metrics, struct pollfd *fds);
/* Does what poll(2) found possible, and hangs up on who took too long. */
void metrics_serve(struct supervisor *supervisor, const struct pollfd *fds);
/* The time of the next deadline; 0: none. */
uint64_t metrics_deadline(const struct metrics *metrics);

/* exposition.c: the text, allocated; NULL: no memory. */
char *exposition_text(struct supervisor *supervisor, size_t *ret_len);

#endif
