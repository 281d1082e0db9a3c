/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front-end's connection in the supervisor: reads a message, lets the state machine (vhost/server.h) judge it, has the
 * mirror carry out what follows, and answers when that is done. While an answer is due nothing more is read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/supervisor.h"
#include "util/log.h"
#include "util/util.h"

#define COMPLAINT_NS UINT64_C(1000000000)
/* Lines about front-ends: so many at once, and one more in each interval. */
#define SAY_BURST 1000
#define SAY_NS	  UINT64_C(100000000)
/* After the first part of a message, until the rest is looked for. */
#define REST_PAUSE_NS UINT64_C(5000000)

/* Whoever may connect may do so as often as it likes: not a line each. */
static void complain(struct supervisor *s, uint32_t n)
{
	uint64_t now = now_ns();

	if (s->complaint_ns && now - s->complaint_ns < COMPLAINT_NS)
		return;
	s->complaint_ns = now;
	log_warning("connection refused: %u are open (limits.connections = %u)", n, s->n_slots);
}

struct connection *connection_alloc(struct supervisor *s, uint32_t id)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->id = id;
	c->fd = -1;
	c->keep.page_fd = -1;
	vhost_server_init(&c->server, &s->device);
	for (size_t i = 0; i < VHOST_MAX_QUEUES; i++)
		c->rings[i].ledger_fd = -1;
	s->connections[id - 1] = c;
	return c;
}

/* A bucket that is full at first and gets a drop each SAY_NS. */
static bool may_say(struct supervisor *s)
{
	uint64_t now = now_ns(), drops = (now - s->said_ns) / SAY_NS;

	if (drops > 0) {
		s->said -= (uint32_t)MIN(drops, s->said);
		s->said_ns = now;
	}
	if (s->said >= SAY_BURST) {
		s->unsaid++;
		return false;
	}
	s->said++;
	if (s->unsaid)
		log_warning("%u lines about front-ends were left out: there were too many", s->unsaid);
	s->unsaid = 0;
	return true;
}

void connection_say(struct supervisor *s, const struct connection *c, int priority, const char *format, ...)
{
	char text[2 * ERROR_TEXT];
	va_list ap;

	if (!may_say(s))
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	log_line(priority, "connection %u: %s", c->id, text);
}

int connection_new(struct supervisor *s, int fd)
{
	struct connection *c;
	uint32_t slot = 0;

	while (slot < s->n_slots && s->connections[slot])
		slot++;
	c = slot < s->n_slots ? connection_alloc(s, slot + 1) : NULL;
	if (slot == s->n_slots)
		limit_count(&s->limit_counts, LIMIT_CONNECTIONS);
	if (!c) {
		complain(s, slot);
		close(fd);
		return -EDQUOT;
	}
	c->fd = fd;
	keep_begin(s, c);
	log_debug("connection %u: opened", c->id);
	return 0;
}

void connection_free(struct supervisor *s, struct connection *c)
{
	s->connections[c->id - 1] = NULL;
	keep_end(s, c);
	tally_close(&s->tally, s->stats_fd, c->id);
	s->accept_ns = 0;
	for (size_t i = 0; i < VHOST_MAX_QUEUES; i++)
		if (c->rings[i].ledger_fd >= 0)
			close(c->rings[i].ledger_fd);
	vhost_rx_reset(&c->rx);
	session_forget(c);
	if (c->busy)
		vhost_msg_close_fds(&c->step.reply);
	if (c->fd >= 0)
		close(c->fd);
	vhost_server_fini(&c->server);
	free(c);
}

void connection_close(struct supervisor *s, struct connection *c, const char *why)
{
	if (c->fd < 0)
		return;
	if (why)
		connection_say(s, c, LOG_WARNING, "closed: %s", why);
	else
		connection_say(s, c, LOG_INFO, "front-end is gone");
	/* Whoever keeps a copy does not keep the front-end waiting. */
	shutdown(c->fd, SHUT_RDWR);
	close(c->fd);
	c->fd = -1;
	session_forget(c);
	mirror_sync(s, c);
}

/* Without this a front-end could leave no descriptors for others. */
static int check_regions(const struct supervisor *s, struct error *error)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->n_slots; i++)
		n += s->connections[i] ? s->connections[i]->server.regions.n : 0;
	if (n <= s->max_regions)
		return 0;
	return error_set(error, -ENOSPC,
			 "memory regions of all connections are %" PRIu64 ", and RLIMIT_NOFILE allows %" PRIu64, n,
			 s->max_regions);
}

static void greet(struct supervisor *s, struct connection *c)
{
	/* By then everything is negotiated. */
	if (c->greeted || !(c->step.effects & (VHOST_EFFECT_MEM_ADDED | VHOST_EFFECT_MEM_REPLACED)))
		return;
	c->greeted = true;
	connection_say(s, c, LOG_INFO, "front-end with features %#" PRIx64 ", protocol features %#" PRIx64,
		       c->server.features, c->server.protocol_features);
}

static void carry_out(struct supervisor *s, struct connection *c)
{
	const struct vhost_step *step = &c->step;

	greet(s, c);
	if (step->effects & VHOST_EFFECT_MEM_REPLACED)
		c->mem_synced = false;
	if (step->effects & VHOST_EFFECT_RESET)
		c->reset_wanted = true;
	if (step->effects & VHOST_EFFECT_RESTART)
		c->rings[step->index].restart = true;
	if (!s->launch.ready)
		return;
	if ((step->effects & VHOST_EFFECT_MEM_ADDED) && c->mem_synced) {
		struct link_msg add = { .type = LINK_MEM_ADD, .conn = c->id, .region = step->region, LINK_MSG_INIT };

		for (size_t i = 0; i < c->server.regions.n; i++)
			if (c->server.regions.rows[i].region.guest_addr == step->region.guest_addr)
				add.fds[0] = c->server.regions.rows[i].fd;
		mirror_command(s, c, &add);
	}
	if ((step->effects & VHOST_EFFECT_CALL) && c->rings[step->index].phase == RING_ON) {
		struct link_msg call = { .type = LINK_RING_CALL, .conn = c->id, .index = step->index, LINK_MSG_INIT };

		call.fds[LINK_FD_CALL] = c->server.rings[step->index].call;
		call.fds[LINK_FD_ERR] = c->server.rings[step->index].err;
		mirror_command(s, c, &call);
	}
}

void connection_readable(struct supervisor *s, struct connection *c)
{
	struct error error = { 0 };
	int r = vhost_rx_step(&c->rx, c->fd, &error);

	/* What was looked at still lies there: the socket stays readable. */
	c->read_ns = r == 0 && c->rx.peek ? now_ns() + REST_PAUSE_NS : 0;
	if (r == 0)
		return;
	if (r < 0) {
		connection_close(s, c, r == -EPIPE ? NULL : error.text);
		connection_progress(s, c);
		return;
	}
	log_debug("connection %u: %s", c->id, vhost_request_name(c->rx.msg.header.request));
	c->keep.pending = c->rx.peek ? (uint32_t)c->rx.have : 0;
	r = vhost_server_handle(&c->server, &c->rx.msg, &c->step, &error);
	vhost_rx_reset(&c->rx);
	if (r == 0 && (c->step.effects & (VHOST_EFFECT_MEM_ADDED | VHOST_EFFECT_MEM_REPLACED)))
		r = check_regions(s, &error);
	if (r < 0) {
		connection_close(s, c, error.text);
		connection_progress(s, c);
		return;
	}
	if (c->step.refused.code < 0)
		connection_say(s, c, LOG_WARNING, "refused: %s", c->step.refused.text);
	c->busy = true;
	session_begin(c);
	keep_save(s, c);
	carry_out(s, c);
	connection_progress(s, c);
}

void connection_progress(struct supervisor *s, struct connection *c)
{
	struct error error = { 0 };

	mirror_sync(s, c);
	if (mirror_gone(c)) {
		log_debug("connection %u: freed", c->id);
		connection_free(s, c);
		return;
	}
	if (!c->busy && c->keep.unsaved)
		keep_save(s, c);
	if (!c->busy || c->fd < 0 || !mirror_settled(s, c))
		return;
	vhost_server_finish(&c->server, &c->step);
	keep_save(s, c);
	c->busy = false;
	/* A front-end that does not read its answers must not hold up the others. */
	if (c->step.has_reply && keep_send(s, c, &error) < 0) {
		vhost_msg_close_fds(&c->step.reply);
		connection_close(s, c, error.text);
		return;
	}
	vhost_msg_close_fds(&c->step.reply);
	keep_done(c);
}
