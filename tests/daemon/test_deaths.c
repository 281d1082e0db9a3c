/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker dies, by a plugin's fault, by time limit or by kill -9, between and during requests: the guest keeps its
 * device, its sessions and buffers, and every request is answered exactly once, with the right result or the error that
 * says why there is none.
 */
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

static int setup_limited(void **state)
{
	rig_start("[engine]\nthreads = 2\n[limits]\nop_time_ms = 300\n");
	return 0;
}

static int setup_stuck(void **state)
{
	rig_start("noop = stuck\n[engine]\nthreads = 2\n[limits]\nop_time_ms = 300\n");
	return 0;
}

static int setup_single(void **state)
{
	rig_start("[engine]\nthreads = 1\n");
	return 0;
}

static void between(void **state)
{
	struct guest *g = guest_open_all();
	const struct wire_extent swapped[] = { { guest_heap_addr(g, 4096), 4096 },
					       { guest_heap_addr(g, 0), 4096 },
					       { guest_heap_addr(g, 8192), 4096 } };
	struct product p = { g, 8, 65536, 1, 0 };
	struct product q = { g, 8, 4096, 1, 0 };
	pid_t old = 0;

	q.buffer = guest_register(g, swapped, 3, VIRTIO_ACCEL_S_OK);
	for (int i = 0; i < 4; i++) {
		product_run(&p, 0, VIRTIO_ACCEL_S_OK);
		product_run(&p, 1, VIRTIO_ACCEL_S_OK);
		/* The session's buffer is mapped again, too: same result at the same place. */
		product_run(&q, 0, VIRTIO_ACCEL_S_OK);
		old = rig_kill_worker();
	}
	assert_true(rig_worker(old) != old);
	product_run(&q, 1, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

/* Requests that arrive while there is no worker wait for the next one. */
static void while_away(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };
	struct job *jobs[10];
	struct wire_request open = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };

	rig_kill_worker();
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++)
		jobs[i] = guest_send(g, i % QUEUES, i < 5 ? &noop : &open);
	for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++) {
		guest_wait(g, i % QUEUES, jobs[i]);
		assert_int_equal(jobs[i]->response.status, VIRTIO_ACCEL_S_OK);
		for (unsigned int j = 5; i >= 5 && j < i; j++)
			assert_true(jobs[i]->response.value != jobs[j]->response.value);
	}
	guest_close(g);
}

/* Large enough that the queue's own thread does not run it; a request behind it tells that it has been taken. */
static struct job *send_slow(const struct product *p)
{
	struct job *job;

	product_fill(p);
	job = product_send(p, 0);
	product_run(&(struct product){ p->guest, 4, 524288, 1, 0, guest_session(p->guest) }, 0, VIRTIO_ACCEL_S_OK);
	return job;
}

static void during(void **state)
{
	struct guest *g = guest_open_all();
	struct product p = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 300), 0 };
	struct job *job = send_slow(&p);

	rig_kill_worker();
	guest_wait(g, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&p);
	product_run(&p, 1, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

static void during_not_replayable(void **state)
{
	struct guest *g = guest_open_all();
	struct product p = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 300), 1 };
	struct job *job = send_slow(&p);

	rig_kill_worker();
	guest_wait(g, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_INTERRUPTED);
	assert_true(job->detail[0]);
	job_free(g, job);
	product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

/* What lately was short runs in its queue's thread. When it hangs there after all, the queue goes on without it. */
static void held_up(void **state)
{
	struct guest *g = guest_open_all();
	struct product p = { g, 72, 0, 1, 0 };
	struct job *job;

	for (int i = 0; i < 8; i++)
		product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	p.alpha = fault_alpha(FAULT_HANG, 1, 1);
	product_fill(&p);
	job = product_send(&p, 0);
	for (int i = 0; i < 4; i++)
		product_run(&(struct product){ g, 4, 524288, 1, 0, guest_session(g) }, 0, VIRTIO_ACCEL_S_OK);
	assert_false(job->done);
	rig_kill_worker();
	guest_wait(g, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&p);
	guest_close(g);
}

/* A product of 72 x 72 as in struct product, but for where the arguments lie; extents are counted in args[].n_extents. */
static struct job *send_placed(struct guest *g, struct wire_arg args[3], const struct wire_extent *extents)
{
	struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
				    .transa = VACCEL_NO_TRANS,
				    .transb = VACCEL_NO_TRANS,
				    .m = 72,
				    .n = 72,
				    .k = 72,
				    .lda = 72,
				    .ldb = 72,
				    .ldc = 72,
				    .alpha = fault_alpha(FAULT_DELAY, 0, 300) };
	struct wire_request request = {
		.type = VIRTIO_ACCEL_T_OP,
		.session = g->session,
		.op = VACCEL_OP_SGEMM,
		.n_args = 3,
		.params_len = sizeof(gemm),
		.extents = extents,
		.params = &gemm,
	};
	struct job *job;

	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	for (unsigned int i = 0; i < 3; i++) {
		args[i].kind = args[i].buffer ? VIRTIO_ACCEL_ARG_BUFFER : VIRTIO_ACCEL_ARG_EXTENTS;
		args[i].dir = i < 2 ? VIRTIO_ACCEL_DIR_IN : VIRTIO_ACCEL_DIR_OUT;
		args[i].first_extent = request.n_extents;
		args[i].len = 72 * 72 * sizeof(float);
		request.args[i] = args[i];
		request.n_extents += args[i].n_extents;
	}
	job = guest_send(g, 0, &request);
	product_run(&(struct product){ g, 4, 524288, 1, 0, guest_session(g) }, 0, VIRTIO_ACCEL_S_OK);
	return job;
}

static void interrupted_placed(struct guest *g, struct wire_arg args[3], const struct wire_extent *extents,
			       uint32_t status)
{
	struct job *job = send_placed(g, args, extents);

	rig_kill_worker();
	guest_wait(g, 0, job);
	if (job->response.status != status)
		fail_msg("status %u (%s), not %u", job->response.status, job->detail, status);
	job_free(g, job);
}

/* C lies over A, which only the guest's own addresses show: another run would read what the first one wrote. */
static void during_hidden_overlap(void **state)
{
	struct guest *g = guest_open_all();
	const uint32_t len = 72 * 72 * sizeof(float);
	const struct wire_extent low = { guest_heap_addr(g, 0), 32768 }, high = { guest_heap_addr(g, 32768), 32768 };
	/* On their way through the daemon the pages of these are scattered. */
	const struct wire_extent turned[] = { { low.addr + 4096, 4096 },
					      { low.addr, 4096 },
					      { low.addr + 8192, 16384 } };
	uint64_t plain = guest_register(g, &low, 1, VIRTIO_ACCEL_S_OK);
	uint64_t alias = guest_register(g, turned, 3, VIRTIO_ACCEL_S_OK);
	uint64_t other = guest_register(g, &high, 1, VIRTIO_ACCEL_S_OK);
	const struct wire_extent b = { guest_heap_addr(g, 131072), len };
	const struct wire_extent apart[] = { b, { high.addr, len } };
	const struct wire_extent gathered[] = {
		{ low.addr, len }, b, { high.addr, 16384 }, { low.addr + 16384, len - 16384 }
	};
	const struct wire_extent spread[] = {
		{ low.addr, len }, b, { high.addr, 16384 }, { high.addr + 20480, len - 16384 }
	};

	/* Buffer and extents, two buffers, gathered. */
	interrupted_placed(g, (struct wire_arg[]){ { .buffer = alias }, { .n_extents = 1 }, { .n_extents = 1 } },
			   (struct wire_extent[]){ b, { low.addr, len } }, VIRTIO_ACCEL_S_INTERRUPTED);
	interrupted_placed(g, (struct wire_arg[]){ { .buffer = plain }, { .n_extents = 1 }, { .buffer = alias } }, &b,
			   VIRTIO_ACCEL_S_INTERRUPTED);
	interrupted_placed(g, (struct wire_arg[]){ { .n_extents = 1 }, { .n_extents = 1 }, { .n_extents = 2 } },
			   gathered, VIRTIO_ACCEL_S_INTERRUPTED);
	/* The same without an overlap. */
	interrupted_placed(g, (struct wire_arg[]){ { .buffer = alias }, { .n_extents = 1 }, { .n_extents = 1 } }, apart,
			   VIRTIO_ACCEL_S_OK);
	interrupted_placed(g, (struct wire_arg[]){ { .buffer = alias }, { .n_extents = 1 }, { .buffer = other } }, &b,
			   VIRTIO_ACCEL_S_OK);
	interrupted_placed(g, (struct wire_arg[]){ { .n_extents = 1 }, { .n_extents = 1 }, { .n_extents = 2 } }, spread,
			   VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

/* A request that had been taken and not begun may always run: here the only thread is busy with another. */
static void waiting(void **state)
{
	struct guest *g = guest_open_all();
	struct product slow = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 5000), 1 };
	struct product behind = { g, 72, 131072, 1, 1 };
	struct job *first, *second;

	product_fill(&slow);
	product_fill(&behind);
	first = product_send(&slow, 0);
	second = product_send(&behind, 0);
	guest_session(g); /* answered by the queue's thread, after it has taken both */
	rig_kill_worker();
	guest_wait(g, 0, second);
	assert_int_equal(second->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&behind);
	guest_wait(g, 0, first);
	assert_true(first->response.status == VIRTIO_ACCEL_S_INTERRUPTED ||
		    first->response.status == VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

static void poison(void **state)
{
	const enum fault_action actions[] = { FAULT_SEGV, FAULT_BUS, FAULT_ABORT, FAULT_EXIT };
	struct guest *g = guest_open_all();

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		/* Once: the second run succeeds. Always: two workers die, then it is over. */
		product_run(&(struct product){ g, 8, 0, fault_alpha(actions[i], 1, 1), 0 }, 0, VIRTIO_ACCEL_S_OK);
		product_run(&(struct product){ g, 8, 0, fault_alpha(actions[i], 0, 2), 0 }, 1, VIRTIO_ACCEL_S_IO);
		product_run(&(struct product){ g, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	}
	guest_close(g);
}

/* Who only happened to run beside a request that kills is not punished for it. */
static void bystanders(void **state)
{
	struct guest *g = guest_open_all(), *h = guest_open_all();
	struct product victim = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 400), 0 };
	struct product killer = { h, 8, 0, fault_alpha(FAULT_SEGV, 0, 0), 0 };
	struct job *job = send_slow(&victim);

	product_run(&killer, 0, VIRTIO_ACCEL_S_IO);
	guest_wait(g, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&victim);
	product_run(&(struct product){ h, 8, 0, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	guest_close(g);
	guest_close(h);
}

static void deadline(void **state)
{
	struct guest *g = guest_open_all();
	struct product slow = { g, 8, 0, fault_alpha(FAULT_HANG, 0, 0), 0 };

	product_run(&slow, 0, VIRTIO_ACCEL_S_DEADLINE);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	product_run(&slow, 1, VIRTIO_ACCEL_S_DEADLINE);
	guest_close(g);
}

/* It hangs before the op: in opening the plugin's session. */
static void deadline_of_open(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };

	guest_call(g, 0, &noop, VIRTIO_ACCEL_S_DEADLINE);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

/* Many deaths at random moments of a stream of requests; each is answered once, none is wrong. */
static void storm(void **state)
{
	struct guest *g = guest_open_all();
	uint64_t n = 0;

	srandom(1);
	for (int round = 0; round < 12; round++) {
		struct product p[8];
		struct job *jobs[8];

		for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
			p[i] = (struct product){ g, 64, i * 49152, fault_alpha(FAULT_DELAY, 0, 5), 0 };
			product_fill(&p[i]);
			jobs[i] = product_send(&p[i], i % QUEUES);
		}
		usleep((useconds_t)random() % 20000);
		rig_kill_worker();
		for (unsigned int i = 0; i < ARRAY_SIZE(p); i++) {
			guest_wait(g, i % QUEUES, jobs[i]);
			/* Killed twice while it ran is possible, if unlikely: then it must say so. */
			if (jobs[i]->response.status != VIRTIO_ACCEL_S_OK) {
				assert_int_equal(jobs[i]->response.status, VIRTIO_ACCEL_S_IO);
			} else {
				product_check(&p[i]);
				n++;
			}
			job_free(g, jobs[i]);
		}
	}
	assert_true(n > 12 * 8 / 2);
	guest_close(g);
}

/* What opens a session leaves one session, however often the worker dies. */
static void exactly_once(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request close_it = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE };
	uint64_t ids[12];

	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++) {
		struct wire_request open = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
		struct job *job = guest_send(g, i % QUEUES, &open);

		rig_kill_worker();
		guest_wait(g, i % QUEUES, job);
		assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
		ids[i] = job->response.value;
		for (unsigned int j = 0; j < i; j++)
			assert_true(ids[i] != ids[j]);
		job_free(g, job);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++) {
		struct job *job;

		close_it.session = ids[i];
		job = guest_send(g, 0, &close_it);
		if (i % 3 == 0)
			rig_kill_worker();
		guest_wait(g, 0, job);
		assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
		job_free(g, job);
	}
	guest_close(g);
}

#define T(name)		cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)
#define T_LIMITED(name) cmocka_unit_test_setup_teardown(name, setup_limited, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(between),
		T(while_away),
		T(during),
		T(during_not_replayable),
		T(held_up),
		T(during_hidden_overlap),
		cmocka_unit_test_setup_teardown(waiting, setup_single, rig_teardown),
		T(poison),
		T(bystanders),
		T_LIMITED(deadline),
		cmocka_unit_test_setup_teardown(deadline_of_open, setup_stuck, rig_teardown),
		T(storm),
		T(exactly_once),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
