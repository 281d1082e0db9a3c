/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Front-ends that use what they share against the daemon: descriptors that block, memory and journals that are cut
 * short, rings that are always full. It costs them their own connection at most.
 */
#include "rig.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

/* The daemon hangs up, and says so. */
static void expect_hangup(struct guest *g)
{
	struct pollfd p = { .fd = frontend_fd(g->frontend), .events = POLLIN };
	char byte;

	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(read(p.fd, &byte, 1) <= 0);
}

/* ---- being woken ---- */

/* Takes the answer without reading the descriptor that it was signalled by. */
static void spy(struct guest *g, unsigned int queue, const struct job *job)
{
	for (int i = 0; i < 3000 && !job->done; i++) {
		guest_poll(g, queue);
		usleep(job->done ? 0 : 20000);
	}
	assert_true(job->done);
}

/* An eventfd that is full, and blocks who writes to it: nobody's request waits for that. */
static void full_eventfd(void **state)
{
	struct guest *g = guest_open(ALL_FEATURES & ~VHOST_BIT(VHOST_F_EVENT_IDX), FRONTEND_PROTOCOL_FEATURES);
	struct guest *h = guest_open_all();
	struct job *jobs[QUEUES];
	eventfd_t count;

	for (unsigned int i = 0; i < QUEUES; i++) {
		int flags = fcntl(g->call[i], F_GETFL);

		eventfd_read(g->call[i], &count);
		assert_int_equal(eventfd_write(g->call[i], UINT64_MAX - 1), 0);
		assert_int_equal(fcntl(g->call[i], F_SETFL, flags & ~O_NONBLOCK), 0);
	}
	/* As many as there are threads, and too large for the queues' own. */
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct product p = { g, 72, i * 131072, 1, 0 };

		product_fill(&p);
		jobs[i] = product_send(&p, i);
	}
	for (unsigned int i = 0; i < QUEUES; i++)
		spy(g, i, jobs[i]);
	product_run(&(struct product){ h, 72, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	guest_works(g);
	guest_close(g);
	guest_close(h);
}

/* A long row of requests: the first answers are told of before the last are there. */
static void told_in_between(void **state)
{
	struct guest *g = guest_open(ALL_FEATURES & ~VHOST_BIT(VHOST_F_EVENT_IDX), FRONTEND_PROTOCOL_FEATURES);
	struct wire_request unknown = { .type = 99 };
	struct job *jobs[24];
	struct error error;
	uint16_t base;
	eventfd_t count = 0;

	/* While the queue stands still, so that it finds all of them at once. */
	assert_int_equal(frontend_get_vring_base(g->frontend, 0, &base, &error), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++)
		jobs[i] = guest_send(g, 0, &unknown);
	eventfd_read(g->call[0], &count);
	assert_int_equal(frontend_vring_state(g->frontend, VHOST_SET_VRING_BASE, 0, base, &error), 0);
	assert_int_equal(frontend_vring_fd(g->frontend, VHOST_SET_VRING_KICK, 0, g->kick[0], &error), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++)
		spy(g, 0, jobs[i]);
	assert_int_equal(frontend_get_vring_base(g->frontend, 0, &base, &error), 0);
	assert_int_equal(eventfd_read(g->call[0], &count), 0);
	assert_true(count >= 2);
	guest_close(g);
}

/* ---- memory that is cut short ---- */

static void share(struct guest *g, struct vhost_region region, int fd)
{
	struct error error = { 0 };
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_ADD_MEM_REG, sizeof(struct vhost_mem_reg));
	msg.payload.mem_reg.region = region;
	msg.fds[0] = fd;
	msg.n_fds = 1;
	assert_int_equal(frontend_message(g->frontend, &msg, false, &error), 0);
}

/* Has a registered buffer of two pages in the wrong order, and cuts off their file before an op uses it. */
static void cut_off_buffer(struct guest *g)
{
	const struct vhost_region region = { .guest_addr = 0x1000, .size = 8 * 4096, .user_addr = 0x1000 };
	const struct wire_extent swapped[] = { { 0x5000, 4096 }, { 0x1000, 4096 } };
	struct product p = { g, 8, 0, 1, 0 };
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 8 * 4096), 0);
	share(g, region, fd);
	p.buffer = guest_register(g, swapped, 2, VIRTIO_ACCEL_S_OK);
	job_free(g, guest_wait(g, 0, product_send(&p, 0)));
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	product_send(&p, 0);
	expect_hangup(g);
}

/* Twice, beside a request of somebody else, which is not to blame for it. */
static void buffer_taken_away(void **state)
{
	struct guest *g[] = { guest_open_all(), guest_open_all() }, *h = guest_open_all();
	struct product p = { h, 72, 0, fault_alpha(FAULT_DELAY, 0, 400), 0 };
	uint64_t other = guest_session(h);
	struct job *job;

	product_fill(&p);
	job = product_send(&p, 0);
	for (size_t i = 0; i < ARRAY_SIZE(g); i++) {
		/* There is a worker, which has begun it. */
		product_run(&(struct product){ h, 8, 524288, 1, 0, other }, 1, VIRTIO_ACCEL_S_OK);
		cut_off_buffer(g[i]);
	}
	guest_wait(h, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&p);
	job_free(h, job);
	guest_works(h);
	for (size_t i = 0; i < ARRAY_SIZE(g); i++)
		guest_close(g[i]);
	guest_close(h);
}

static void journal_taken_away(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();
	struct vhost_inflight inflight;
	struct error error = { 0 };
	uint16_t base;
	int fd = -1, own;

	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(frontend_queue_stop(g->frontend, i, &base, &error), 0);
		dring_fini(&g->ring[i]);
	}
	assert_int_equal(frontend_get_inflight(g->frontend, QUEUES, RING_SIZE, &inflight, &fd, &error), 0);
	close(fd);
	/* Of our own: the daemon seals those that it makes. */
	own = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(ftruncate(own, (off_t)inflight.mmap_size), 0);
	assert_int_equal(frontend_set_inflight(g->frontend, &inflight, own, &error), 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		guest_start_queue(g, i);
	g->session = guest_session(g);
	guest_works(g);
	assert_int_equal(ftruncate(own, 0), 0);
	close(own);
	guest_send(g, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN });
	expect_hangup(g);
	guest_works(h);
	guest_close(g);
	guest_close(h);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(full_eventfd),
		T(told_in_between),
		T(buffer_taken_away),
		T(journal_taken_away),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
