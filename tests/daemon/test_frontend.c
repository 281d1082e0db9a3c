/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Front-ends: stopping queues, resets, memory that comes and goes, a journal that outlives the daemon, and peers that
 * break their rings, which must harm nobody else. What else hostile ones do: tests/hostile.
 */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

/* Large enough that the queue's own thread does not run it; a request behind it tells that it has been taken. */
static struct job *send_slow(const struct product *p)
{
	struct job *job;

	product_fill(p);
	job = product_send(p, 0);
	product_run(&(struct product){ p->guest, 4, 524288, 1, 0, guest_session(p->guest) }, 0, VIRTIO_ACCEL_S_OK);
	return job;
}

/* When the answer is there nothing is under way any more. */
static void quiesce(void **state)
{
	struct guest *g = guest_open_all();
	struct product p = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 200), 0 };
	struct job *job = send_slow(&p);
	struct error error;
	uint16_t base = 0;

	assert_int_equal(frontend_get_vring_base(g->frontend, 0, &base, &error), 0);
	assert_int_equal(base, g->ring[0].avail_idx);
	guest_poll(g, 0);
	assert_true(job->done);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&p);
	/* Goes on where it stopped, with the same session: a paused VM. */
	assert_int_equal(frontend_vring_state(g->frontend, VHOST_SET_VRING_BASE, 0, base, &error), 0);
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_KICK, 0, g->kick[0], &error), 0);
	guest_works(g);
	/* A driver that starts over: its predecessor's sessions are gone. */
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(frontend_queue_stop(g->frontend, i, &base, &error), 0);
		dring_fini(&g->ring[i]);
	}
	for (unsigned int i = 0; i < QUEUES; i++)
		guest_start_queue(g, i);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_STALE);
	g->session = guest_session(g);
	guest_works(g);
	guest_close(g);
}

/* What does not end in time is ended with the worker, and answered. */
static void quiesce_hanging(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();
	struct product p = { g, 72, 0, fault_alpha(FAULT_HANG, 0, 0), 0 };
	struct job *job = send_slow(&p);
	struct error error;

	assert_int_equal(frontend_vring_state(g->frontend, VHOST_SET_VRING_ENABLE, 0, 0, &error), 0);
	guest_poll(g, 0);
	assert_true(job->done);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_INTERRUPTED);
	job_free(g, job);
	assert_int_equal(frontend_vring_state(g->frontend, VHOST_SET_VRING_ENABLE, 0, 1, &error), 0);
	guest_works(g);
	guest_works(h);
	guest_close(g);
	guest_close(h);
}

static void reset_device(void **state)
{
	struct guest *g = guest_open_all();
	uint64_t old = g->session;
	struct error error;
	uint8_t status;

	assert_int_equal(frontend_set_status(g->frontend, 7, &error), 0);
	assert_int_equal(frontend_get_status(g->frontend, &status, &error), 0);
	assert_int_equal(status, 7);
	guest_works(g);
	assert_int_equal(frontend_reset_device(g->frontend, &error), 0);
	assert_int_equal(frontend_get_status(g->frontend, &status, &error), 0);
	assert_int_equal(status, 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		dring_fini(&g->ring[i]);
		guest_start_queue(g, i);
	}
	product_run(&(struct product){ g, 8, 0, 1, 0, old }, 0, VIRTIO_ACCEL_S_STALE);
	g->session = guest_session(g);
	guest_works(g);
	guest_close(g);
}

static void memory_comes_and_goes(void **state)
{
	const uint64_t protocols[] = { FRONTEND_PROTOCOL_FEATURES,
				       FRONTEND_PROTOCOL_FEATURES & ~VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS) };

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		struct guest *g = guest_open(ALL_FEATURES, protocols[i]);
		struct product p = { g, 8, 0, 1, 0 };
		struct frontend_region *more;
		struct error error;
		struct wire_extent mixed[2] = { { guest_heap_addr(g, 0), 65536 }, { 0, 4096 } };
		uint64_t buffer;

		assert_int_equal(frontend_region_new(g->frontend, 65536, &more, &error), 0);
		mixed[1].addr = more->guest_addr;
		p.buffer = guest_register(g, mixed, 1, VIRTIO_ACCEL_S_OK);
		buffer = guest_register(g, mixed, 2, VIRTIO_ACCEL_S_OK);
		product_run(&p, 0, VIRTIO_ACCEL_S_OK);
		/* Gone: what lay in it cannot be used, what did not goes on, in the middle of everything. */
		mixed[0].addr = more->guest_addr;
		mixed[0].len = 4096;
		assert_int_equal(frontend_region_free(g->frontend, more, &error), 0);
		guest_register(g, mixed, 1, VIRTIO_ACCEL_S_FAULT);
		product_run(&p, 0, VIRTIO_ACCEL_S_OK);
		p.buffer = buffer;
		product_run(&p, 1, VIRTIO_ACCEL_S_FAULT);
		p.buffer = 0;
		product_run(&p, 1, VIRTIO_ACCEL_S_OK);
		guest_works(g);
		guest_close(g);
	}
}

static void tell_region(struct guest *g, uint32_t request, const struct vhost_region *region, int fd)
{
	struct error error = { 0 };
	struct vhost_msg msg;

	vhost_msg_init(&msg, request, sizeof(struct vhost_mem_reg));
	msg.payload.mem_reg.region = *region;
	if (request == VHOST_ADD_MEM_REG) {
		msg.fds[0] = fd;
		msg.n_fds = 1;
	}
	if (frontend_message(g->frontend, &msg, false, &error) < 0)
		fail_msg("%s", error.text);
}

/* A VMM that changes its map takes regions away and shares them again: buffers in them are as before. */
static void memory_comes_back(void **state)
{
	struct guest *g = guest_open_all();
	const struct vhost_region region = { .guest_addr = 0x1000, .size = 65536, .user_addr = 0x1000 };
	const struct wire_extent mixed[2] = { { guest_heap_addr(g, 0), 65536 }, { 0x1000, 4096 } };
	struct product in_part = { g, 8, 0, 1, 0 }, whole = { g, 8, 0, 1, 0 }, another = { g, 8, 0, 1, 0 };
	struct wire_request unregister = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER, .session = g->session };
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 65536), 0);
	tell_region(g, VHOST_ADD_MEM_REG, &region, fd);
	whole.buffer = guest_register(g, mixed, 1, VIRTIO_ACCEL_S_OK);
	in_part.buffer = guest_register(g, mixed, 2, VIRTIO_ACCEL_S_OK);
	another.buffer = guest_register(g, mixed, 2, VIRTIO_ACCEL_S_OK);
	for (int i = 0; i < 3; i++) {
		product_run(&in_part, 0, VIRTIO_ACCEL_S_OK);
		tell_region(g, VHOST_REM_MEM_REG, &region, -1);
		product_run(&in_part, 0, VIRTIO_ACCEL_S_FAULT);
		product_run(&whole, 1, VIRTIO_ACCEL_S_OK);
		/* Also what was unregistered meanwhile stays so. */
		unregister.object = another.buffer;
		guest_call(g, 1, &unregister, i == 0 ? VIRTIO_ACCEL_S_OK : VIRTIO_ACCEL_S_STALE);
		tell_region(g, VHOST_ADD_MEM_REG, &region, fd);
		product_run(&in_part, 1, VIRTIO_ACCEL_S_OK);
		product_run(&another, 1, VIRTIO_ACCEL_S_STALE);
	}
	rig_kill_worker();
	product_run(&in_part, 0, VIRTIO_ACCEL_S_OK);
	close(fd);
	guest_close(g);
}

/* A call descriptor that is a socket (UML), one that is exchanged while requests run, and none at all. */
static void call_descriptors(void **state)
{
	struct guest *g = guest_open_all();
	struct error error;
	int pair[2], old = g->call[0];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_CALL, 0, pair[1], &error), 0);
	close(pair[1]);
	g->call[0] = pair[0];
	guest_works(g);
	/* The other side is gone: nothing worse happens than that nobody wakes. */
	close(pair[0]);
	g->call[0] = old;
	job_free(g, guest_wait(g, 1, product_send(&(struct product){ g, 8, 0, 1, 0 }, 1)));
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_CALL, 0, old, &error), 0);
	guest_works(g);
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_CALL, 0, -1, &error), 0);
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_CALL, 0, old, &error), 0);
	guest_works(g);
	guest_close(g);
}

/* ---- the journal ---- */

static void tell_memory(struct frontend *frontend, const struct frontend_region *region)
{
	struct error error = { 0 };
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_ADD_MEM_REG, sizeof(struct vhost_mem_reg));
	msg.payload.mem_reg.region = (struct vhost_region){ .guest_addr = region->guest_addr,
							    .size = region->size,
							    .user_addr = region->user_addr };
	msg.fds[0] = region->fd;
	msg.n_fds = 1;
	if (frontend_message(frontend, &msg, false, &error) < 0)
		fail_msg("%s", error.text);
}

/* Goes on with the ring as it is. */
static void restart_queue(struct guest *g, struct frontend *frontend, unsigned int queue)
{
	const struct frontend_region *rings = g->rings;
	uint64_t uva = rings->user_addr - (uint64_t)(uintptr_t)rings->data;
	struct error error = { 0 };
	struct vhost_msg msg;

	assert_int_equal(frontend_vring_state(frontend, VHOST_SET_VRING_NUM, queue, RING_SIZE, &error), 0);
	/* What is under way then is in the journal. */
	assert_int_equal(
		frontend_vring_state(frontend, VHOST_SET_VRING_BASE, queue, le16toh(g->ring[queue].used->idx), &error),
		0);
	vhost_msg_init(&msg, VHOST_SET_VRING_ADDR, sizeof(struct vhost_vring_addr));
	msg.payload.addr = (struct vhost_vring_addr){
		.index = queue,
		.desc = uva + (uint64_t)(uintptr_t)g->ring[queue].desc,
		.avail = uva + (uint64_t)(uintptr_t)g->ring[queue].avail,
		.used = uva + (uint64_t)(uintptr_t)g->ring[queue].used,
	};
	assert_int_equal(frontend_message(frontend, &msg, false, &error), 0);
	assert_int_equal(frontend_vring_fd(frontend, VHOST_SET_VRING_CALL, queue, g->call[queue], &error), 0);
	assert_int_equal(frontend_vring_fd(frontend, VHOST_SET_VRING_KICK, queue, g->kick[queue], &error), 0);
	assert_int_equal(frontend_vring_state(frontend, VHOST_SET_VRING_ENABLE, queue, 1, &error), 0);
}

/* The whole daemon dies. A front-end that keeps the journal connects again, and what was under way is answered. */
static void reconnect(void **state)
{
	const struct frontend_options options = { .features = ALL_FEATURES,
						  .protocol_features = FRONTEND_PROTOCOL_FEATURES };
	struct guest *g = guest_open_all();
	struct frontend *again;
	struct vhost_inflight inflight;
	struct job *job, *behind;
	pid_t worker;
	struct error error = { 0 };
	uint16_t base;
	int fd = -1;

	for (unsigned int i = 0; i < QUEUES; i++)
		assert_int_equal(frontend_queue_stop(g->frontend, i, &base, &error), 0);
	assert_int_equal(frontend_get_inflight(g->frontend, QUEUES, RING_SIZE, &inflight, &fd, &error), 0);
	assert_int_equal(frontend_set_inflight(g->frontend, &inflight, fd, &error), 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		restart_queue(g, g->frontend, i);
	guest_works(g);
	job = send_slow(&(struct product){ g, 72, 0, fault_alpha(FAULT_HANG, 0, 0), 0 });
	worker = rig_worker(0);
	daemon_kill(&rig_daemon, SIGKILL);
	rig_wait_gone(worker);
	behind = product_send(&(struct product){ g, 8, 131072, 1, 0 }, 0);
	assert_int_equal(daemon_start(&rig_daemon), 0);
	if (frontend_connect(rig_daemon.socket, &options, &again, &error) < 0)
		fail_msg("%s", error.text);
	tell_memory(again, g->rings);
	tell_memory(again, g->data);
	assert_int_equal(frontend_set_inflight(again, &inflight, fd, &error), 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		restart_queue(g, again, i);
	/* Its session died with the daemon, which is what both are told, each once. */
	guest_wait(g, 0, job);
	guest_wait(g, 0, behind);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_NOSESSION);
	assert_int_equal(behind->response.status, VIRTIO_ACCEL_S_NOSESSION);
	job_free(g, job);
	job_free(g, behind);
	g->session = guest_session(g);
	guest_works(g);
	close(fd);
	frontend_free(again);
	guest_close(g);
}

/* ---- peers that misbehave ---- */

/* The daemon hangs up, and says so. */
static void expect_hangup(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(read(fd, &byte, 1) <= 0);
	close(fd);
}

static void broken_ring(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();
	struct error error;
	struct pollfd err = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	uint16_t base;
	uint8_t status;

	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_ERR, 0, err.fd, &error), 0);
	g->ring[0].avail->idx = (uint16_t)(g->ring[0].avail->idx + 1000);
	eventfd_write(g->kick[0], 1);
	assert_int_equal(poll(&err, 1, 60000), 1);
	close(err.fd);
	/* That ring alone: neither the guest's other one nor another guest. */
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	guest_works(h);
	assert_int_equal(frontend_get_status(g->frontend, &status, &error), 0);
	assert_true(status & VHOST_STATUS_NEEDS_RESET);
	/* Also not after the worker died. */
	rig_kill_worker();
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	/* Set up anew it works again. */
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(frontend_queue_stop(g->frontend, i, &base, &error), 0);
		dring_fini(&g->ring[i]);
	}
	for (unsigned int i = 0; i < QUEUES; i++)
		guest_start_queue(g, i);
	g->session = guest_session(g);
	guest_works(g);
	guest_close(g);
	guest_close(h);
}

/* Ring addresses that are not in memory: the ring does not run, the connection stays. */
static void ring_nowhere(void **state)
{
	struct guest *g = guest_open_all();
	struct error error;
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_SET_VRING_ADDR, sizeof(struct vhost_vring_addr));
	msg.payload.addr = (struct vhost_vring_addr){ .index = 0, .desc = 0x1000, .avail = 0x2000, .used = 0x3000 };
	assert_int_equal(frontend_message(g->frontend, &msg, false, &error), 0);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

/* A guest that goes away with requests under way; who is left goes on. */
static void killed_and_gone(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();

	send_slow(&(struct product){ g, 72, 0, fault_alpha(FAULT_DELAY, 0, 300), 0 });
	guest_close(g); /* with a request under way */
	guest_works(h);
	rig_kill_worker();
	guest_works(h);
	for (int i = 0; i < 20; i++)
		guest_close(guest_open_all());
	guest_works(h);
	guest_close(h);
}

/* A front-end that cuts its memory short loses its connection, and nobody else anything. */
static void memory_taken_away(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();
	struct vhost_region region = { .guest_addr = 0x1000, .size = 8 * 4096, .user_addr = 0x1000 };
	struct wire_extent extent = { 0x1000, 8 * 4096 };
	struct wire_request request = {
		.type = VIRTIO_ACCEL_T_QUERY,
		.n_args = 1,
		.n_extents = 1,
		.args = { { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_OUT, 0, 1, 0, 0, 8 * 4096 } },
		.extents = &extent,
	};
	struct error error = { 0 };
	struct vhost_msg msg;
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 8 * 4096), 0);
	vhost_msg_init(&msg, VHOST_ADD_MEM_REG, sizeof(struct vhost_mem_reg));
	msg.payload.mem_reg.region = region;
	msg.fds[0] = fd;
	msg.n_fds = 1;
	assert_int_equal(frontend_message(g->frontend, &msg, false, &error), 0);
	guest_call(g, 0, &request, VIRTIO_ACCEL_S_OK);
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	guest_send(g, 0, &request);
	expect_hangup(dup(frontend_fd(g->frontend)));
	guest_works(h);
	guest_close(g);
	guest_close(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(quiesce),	      T(quiesce_hanging),  T(reset_device),	 T(memory_comes_and_goes),
		T(memory_comes_back), T(call_descriptors), T(reconnect),	 T(broken_ring),
		T(ring_nowhere),      T(killed_and_gone),  T(memory_taken_away),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
