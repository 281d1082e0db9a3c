/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker is told of a connection. See supervisor.h.
 *
 * mirror_sync() may be called at any time and does what can be done now; each acknowledgement, message and new worker
 * leads to another call. The order that it keeps for a connection:
 *   1. rings that must not run (any more, or while memory or sessions change) are stopped
 *   2. with all rings off: memory is sent, if the worker does not have it as it is
 *   3. rings that a dead worker left unfinished and that shall not run are cleaned up (RING_START with ABORT)
 *   4. with all rings off and clean: the device is reset, if asked for
 *   5. rings that shall run are started
 * The worker executes commands in order, so only 1 and 3 wait for their acknowledgement.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/supervisor.h"
#include "util/log.h"
#include "util/util.h"

#define MS UINT64_C(1000000)
/* A worker that executes none of the commands that take no time for this long is stuck. */
#define STUCK_NS (5000 * MS)
/* What still runs for a front-end that hung up holds up nobody until threads run out. */
#define GONE_NS (30000 * MS)

/* Returns its seq. */
static uint32_t send_command(struct supervisor *s, struct connection *c, struct link_msg *msg)
{
	msg->seq = ++s->next_seq;
	launch_send(s, c, msg);
	return msg->seq;
}

void mirror_command(struct supervisor *s, struct connection *c, struct link_msg *msg)
{
	send_command(s, c, msg);
	c->unacked++;
	if (s->launch.unacked++ == 0)
		s->launch.progress_ns = now_ns();
}

/*
 * Whoever else has something in the state is gone: a supervisor before us had no time to have it taken away, or no record
 * told us of them. Whoever gets such a slot next must not find it, least of all by its tags, which begin anew.
 */
static void send_owners(struct supervisor *s)
{
	struct link_msg msg = { .type = LINK_OWNERS, .owners = { { 0 } }, LINK_MSG_INIT };

	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->connections[i])
			msg.owners.bits[i / 8] |= (uint8_t)(1u << i % 8);
	launch_send(s, NULL, &msg);
}

/* Returns its seq. */
static uint32_t send_simple(struct supervisor *s, struct connection *c, uint32_t type)
{
	struct link_msg msg = { .type = type, .conn = c->id, LINK_MSG_INIT };

	mirror_command(s, c, &msg);
	return msg.seq;
}

static void send_region(struct supervisor *s, struct connection *c, const struct vhost_region *region, int fd)
{
	struct link_msg msg = { .type = LINK_MEM_ADD, .conn = c->id, .region = *region, LINK_MSG_INIT };

	msg.fds[0] = fd;
	mirror_command(s, c, &msg);
}

static void send_memory(struct supervisor *s, struct connection *c)
{
	send_simple(s, c, LINK_MEM_CLEAR);
	for (size_t i = 0; i < c->server.regions.n; i++)
		send_region(s, c, &c->server.regions.rows[i].region, c->server.regions.rows[i].fd);
	send_simple(s, c, LINK_MEM_COMMIT);
	c->mem_synced = true;
}

/* The ring's ledger; with fresh, what it says of requests is forgotten, but counting goes on. */
static int prepare_ledger(struct mirror_ring *ring, bool fresh)
{
	const off_t start = offsetof(struct ledger, entries);

	if (ring->ledger_fd < 0) {
		_cleanup_close_ int fd = memfd_create("vaccel-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		if (fd < 0 || ftruncate(fd, (off_t)LEDGER_BYTES) < 0 ||
		    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
			return -errno;
		ring->ledger_fd = fd;
		fd = -1;
	} else if (fresh) {
		/* Zeroes without looking at what a worker wrote there. */
		static const char zeroes[LEDGER_BYTES];

		if (pwrite(ring->ledger_fd, zeroes, LEDGER_BYTES - (size_t)start, start) < 0)
			return -errno;
	}
	return 0;
}

static bool front_end_journal(const struct connection *c, uint32_t index)
{
	return c->server.inflight_fd >= 0 && index < c->server.inflight.n_queues;
}

static struct link_msg start_message(const struct connection *c, uint32_t index, uint32_t flags)
{
	const struct vhost_ring *want = &c->server.rings[index];
	const struct mirror_ring *ring = &c->rings[index];
	struct link_msg msg = { .type = LINK_RING_START, .conn = c->id, .index = index, LINK_MSG_INIT };

	msg.ring = (struct link_ring){
		.flags = flags,
		.num = want->num,
		.base = want->base,
		.desc = want->desc,
		.avail = want->avail,
		.used = want->used,
		.features = c->server.features,
	};
	msg.fds[LINK_FD_KICK] = want->kick;
	msg.fds[LINK_FD_CALL] = want->call;
	msg.fds[LINK_FD_ERR] = want->err;
	msg.fds[LINK_FD_LEDGER] = ring->ledger_fd;
	if (front_end_journal(c, index)) {
		msg.fds[LINK_FD_JOURNAL] = c->server.inflight_fd;
		msg.ring.journal_offset =
			c->server.inflight.mmap_offset + index * inflight_size(c->server.inflight.queue_size);
	}
	return msg;
}

static uint32_t recovery_flags(const struct mirror_ring *ring)
{
	return ring->dirty ? LINK_RING_RECOVER | (ring->blame ? LINK_RING_BLAME : 0) : 0;
}

static void break_ring(struct supervisor *s, struct connection *c, uint32_t index, const char *why)
{
	connection_say(s, c, LOG_WARNING, "ring %u stops: %s", index, why);
	c->rings[index].broken = true;
	c->server.status |= VHOST_STATUS_NEEDS_RESET;
	c->keep.unsaved = true;
}

static void start_ring(struct supervisor *s, struct connection *c, uint32_t index)
{
	struct mirror_ring *ring = &c->rings[index];
	struct vhost_ring *want = &c->server.rings[index];
	struct link_msg msg;
	bool news;
	int r = 0;

	if (front_end_journal(c, index) && want->num > c->server.inflight.queue_size)
		r = -EINVAL;
	if (r == 0)
		r = prepare_ledger(ring, want->fresh && !ring->dirty);
	if (r < 0) {
		break_ring(s, c, index, r == -EINVAL ? "it is larger than its journal" : strerror(-r));
		return;
	}
	news = want->fresh || !ring->dirty;
	want->fresh = false;
	msg = start_message(c, index, recovery_flags(ring));
	ring->phase = RING_ON;
	ring->dirty = true;
	if (news)
		keep_save(s, c);
	mirror_command(s, c, &msg);
	ring->blame = false;
	ring->restart = false;
}

static void stop_ring(struct supervisor *s, struct connection *c, uint32_t index)
{
	struct link_msg msg = { .type = LINK_RING_STOP, .conn = c->id, .index = index, LINK_MSG_INIT };
	struct mirror_ring *ring = &c->rings[index];

	ring->stop_seq = send_command(s, c, &msg);
	ring->phase = RING_STOPPING;
	ring->restart = false;
	ring->deadline_ns = now_ns() + s->options->drain_ms * MS;
}

/* For a ring that shall not run, but that a dead worker left with requests in flight. */
static void abort_ring(struct supervisor *s, struct connection *c, uint32_t index)
{
	struct mirror_ring *ring = &c->rings[index];
	uint32_t flags = recovery_flags(ring) | LINK_RING_ABORT;
	struct link_msg msg;

	if (front_end_journal(c, index))
		flags |= LINK_RING_KEEP;
	msg = start_message(c, index, flags);
	ring->stop_seq = send_command(s, c, &msg);
	ring->phase = RING_STOPPING;
	ring->blame = false;
	ring->deadline_ns = now_ns() + STUCK_NS;
}

/* Whether the ring shall run now, memory and reset aside. */
static bool shall_run(const struct supervisor *s, const struct connection *c, uint32_t index)
{
	return !s->leaving && vhost_ring_active(&c->server, index) && !c->rings[index].broken &&
	       !c->rings[index].restart;
}

static bool all_off(const struct connection *c)
{
	for (uint32_t i = 0; i < c->server.device->n_queues; i++)
		if (c->rings[i].phase != RING_OFF)
			return false;
	return true;
}

static bool all_clean(const struct connection *c)
{
	for (uint32_t i = 0; i < c->server.device->n_queues; i++)
		if (c->rings[i].dirty)
			return false;
	return true;
}

static void sync_gone(struct supervisor *s, struct connection *c)
{
	struct link_msg msg = { .type = LINK_CONN_GONE, .conn = c->id, LINK_MSG_INIT };
	uint64_t drain_ns = s->options->drain_ms * MS, op_time_ns = s->config->limits.op_time_ms * MS;

	if (c->gone_sent)
		return;
	c->gone_seq = send_command(s, c, &msg);
	c->gone_sent = true;
	c->gone_ns = now_ns() + (op_time_ns ? drain_ns + op_time_ns : MAX(drain_ns, GONE_NS));
}

/* Steps 1 to 5, as far as they go now. On leaving only the first: the rest is the next supervisor's. */
static void sync_rings(struct supervisor *s, struct connection *c)
{
	uint32_t n = c->server.device->n_queues;
	bool quiet = !c->mem_synced || c->reset_wanted;

	for (uint32_t i = 0; i < n; i++) {
		struct mirror_ring *ring = &c->rings[i];

		if (c->server.rings[i].fresh)
			ring->broken = false;
		if (ring->phase == RING_ON && (quiet || !shall_run(s, c, i)))
			stop_ring(s, c, i);
		else if (ring->phase == RING_OFF)
			ring->restart = false;
	}
	if (s->leaving)
		return;
	if (!c->mem_synced) {
		if (!all_off(c))
			return;
		send_memory(s, c);
	}
	for (uint32_t i = 0; i < n; i++)
		if (c->rings[i].phase == RING_OFF && c->rings[i].dirty && (c->reset_wanted || !shall_run(s, c, i)))
			abort_ring(s, c, i);
	if (c->reset_wanted) {
		if (!all_off(c) || !all_clean(c))
			return;
		c->reset_seq = send_simple(s, c, LINK_CONN_RESET);
		c->reset_wanted = false;
	}
	for (uint32_t i = 0; i < n; i++)
		if (c->rings[i].phase == RING_OFF && shall_run(s, c, i))
			start_ring(s, c, i);
}

void mirror_sync(struct supervisor *s, struct connection *c)
{
	if (!s->launch.ready || s->launch.killed)
		return;
	if (c->fd < 0) {
		sync_gone(s, c);
		return;
	}
	sync_rings(s, c);
	/* What was reset before is done by now, or will be before this. */
	if (!s->leaving && !c->reset_wanted)
		session_sync(s, c);
}

bool mirror_settled(const struct supervisor *s, const struct connection *c)
{
	if (c->unacked > 0 || c->session.due || !c->mem_synced || c->reset_wanted)
		return false;
	for (uint32_t i = 0; i < c->server.device->n_queues; i++) {
		const struct mirror_ring *ring = &c->rings[i];

		if (ring->phase == RING_STOPPING || ring->restart || (ring->phase == RING_OFF && ring->dirty))
			return false;
		if ((ring->phase == RING_ON) != shall_run(s, c, i))
			return false;
	}
	return true;
}

bool mirror_quiet(const struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->connections[i] && !all_off(s->connections[i]))
			return false;
	return true;
}

bool mirror_gone(const struct connection *c)
{
	return c->fd < 0 && c->gone_sent && c->gone_seq == 0 && c->queued == 0;
}

static void acknowledge(struct supervisor *s, struct connection *c, const struct link_msg *msg)
{
	if (c->gone_sent && msg->seq == c->gone_seq) {
		c->gone_seq = 0;
		return;
	}
	for (uint32_t i = 0; i < c->server.device->n_queues; i++) {
		struct mirror_ring *ring = &c->rings[i];

		if (ring->phase != RING_STOPPING || ring->stop_seq != msg->seq)
			continue;
		ring->phase = RING_OFF;
		ring->dirty = false;
		c->keep.unsaved = true;
		/* One that was set up anew meanwhile starts where it was told to. */
		if (msg->result == 0 && !c->server.rings[i].fresh)
			c->server.rings[i].base = (uint16_t)msg->value;
		return;
	}
	if (msg->seq == c->reset_seq)
		c->reset_seq = 0;
	if (c->unacked > 0) {
		c->unacked--;
		s->launch.unacked--;
		s->launch.progress_ns = now_ns();
	}
	if (!session_acknowledge(s, c, msg) && msg->result < 0 && c->fd >= 0)
		connection_close(s, c, msg->text);
}

void mirror_message(struct supervisor *s, const struct link_msg *msg)
{
	struct connection *c = msg->conn >= 1 && msg->conn <= s->n_slots ? s->connections[msg->conn - 1] : NULL;

	switch (msg->type) {
	case LINK_READY:
		launch_ready(s, &msg->ready);
		send_owners(s);
		for (uint32_t i = 0; i < s->n_slots; i++)
			if (s->connections[i])
				connection_progress(s, s->connections[i]);
		return;
	case LINK_ACK:
		if (c) {
			acknowledge(s, c, msg);
			connection_progress(s, c);
		}
		return;
	case LINK_BROKEN:
		if (c && msg->index < c->server.device->n_queues && c->rings[msg->index].phase == RING_ON) {
			break_ring(s, c, msg->index, msg->text);
			connection_progress(s, c);
		}
		return;
	case LINK_FAULT:
		if (c) {
			connection_close(s, c, "it took away memory that it shares");
			connection_progress(s, c);
		}
		return;
	default:
		launch_kill(s, "because it sent nonsense");
	}
}

void mirror_lost(struct supervisor *s, bool blame)
{
	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct connection *c = s->connections[i];

		if (!c)
			continue;
		c->mem_synced = false;
		/* What the driver had is there still, in the state. */
		c->reset_wanted |= c->reset_seq != 0;
		c->reset_seq = 0;
		c->unacked = 0;
		c->gone_sent = false;
		session_lost(c);
		for (uint32_t j = 0; j < s->device.n_queues; j++) {
			if (c->rings[j].phase == RING_OFF)
				continue;
			c->rings[j].phase = RING_OFF;
			c->rings[j].blame = blame;
		}
	}
}

static void earlier(uint64_t time, const char *why, uint64_t *first, const char **ret_why)
{
	if (*first && *first <= time)
		return;
	*first = time;
	*ret_why = why;
}

uint64_t mirror_deadline(const struct supervisor *s, const char **ret_why)
{
	uint64_t first = 0;

	if (s->launch.unacked > 0)
		earlier(s->launch.progress_ns + STUCK_NS, "because it does not execute commands", &first, ret_why);
	for (uint32_t i = 0; i < s->n_slots; i++) {
		const struct connection *c = s->connections[i];

		if (c && c->gone_sent && c->gone_seq != 0)
			earlier(c->gone_ns, "because it does not let go of a front-end that is gone", &first, ret_why);
		for (uint32_t j = 0; c && j < s->device.n_queues; j++)
			if (c->rings[j].phase == RING_STOPPING)
				earlier(c->rings[j].deadline_ns,
					"because a queue that is to stop did not drain in time", &first, ret_why);
	}
	return first;
}
