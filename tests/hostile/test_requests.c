/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in well-formed rings that lie about what they bring: lengths that differ, buffers registered twice or taken away
 * in use, sessions used after they closed, messages that change after they were sent. Each is answered once, with the
 * reason, and costs nothing but itself.
 */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

#define ORDER 8
#define BYTES (ORDER * ORDER * sizeof(float))

/* A product of order 8 whose three arguments each have a length of their own, and as many bytes of memory. */
struct lengths {
	const char *name;
	uint64_t len[3], there[3];
	uint32_t status;
};

static const struct lengths lengths[] = {
	{ "right", { BYTES, BYTES, BYTES }, { BYTES, BYTES, BYTES }, VIRTIO_ACCEL_S_OK },
	{ "longer than needed", { BYTES, BYTES, 2 * BYTES }, { BYTES, BYTES, 2 * BYTES }, VIRTIO_ACCEL_S_OK },
	{ "A too short", { BYTES - 1, BYTES, BYTES }, { BYTES - 1, BYTES, BYTES }, VIRTIO_ACCEL_S_RANGE },
	{ "B a line short", { BYTES, BYTES - 32, BYTES }, { BYTES, BYTES - 32, BYTES }, VIRTIO_ACCEL_S_RANGE },
	{ "C shorter than what is written to it", { BYTES, BYTES, 4 }, { BYTES, BYTES, 4 }, VIRTIO_ACCEL_S_RANGE },
	{ "C of no bytes", { BYTES, BYTES, 0 }, { BYTES, BYTES, 0 }, VIRTIO_ACCEL_S_RANGE },
	{ "C says more than it has", { BYTES, BYTES, BYTES }, { BYTES, BYTES, 4 }, VIRTIO_ACCEL_S_BADMSG },
	{ "A says less than it has", { 4, BYTES, BYTES }, { BYTES, BYTES, BYTES }, VIRTIO_ACCEL_S_BADMSG },
	{ "sum wraps", { UINT64_MAX, BYTES, BYTES }, { UINT64_MAX, BYTES, BYTES }, VIRTIO_ACCEL_S_BADMSG },
	{ "all memory", { UINT64_MAX / 2, BYTES, BYTES }, { UINT64_MAX / 2, BYTES, BYTES }, VIRTIO_ACCEL_S_TOOBIG },
	{ "out of memory", { DATA_SIZE, BYTES, BYTES }, { DATA_SIZE, BYTES, BYTES }, VIRTIO_ACCEL_S_FAULT },
};

static struct vaccel_gemm plain_gemm(void)
{
	return (struct vaccel_gemm){ .order = VACCEL_ROW_MAJOR,
				     .transa = VACCEL_NO_TRANS,
				     .transb = VACCEL_NO_TRANS,
				     .m = ORDER,
				     .n = ORDER,
				     .k = ORDER,
				     .lda = ORDER,
				     .ldb = ORDER,
				     .ldc = ORDER,
				     .alpha = 1 };
}

static void lengths_differ(void **state)
{
	struct guest *g = guest_open_all();

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct vaccel_gemm gemm = plain_gemm();
		struct wire_extent extents[3];
		struct wire_request r = { .type = VIRTIO_ACCEL_T_OP,
					  .session = g->session,
					  .op = VACCEL_OP_SGEMM,
					  .params_len = sizeof(gemm),
					  .params = &gemm,
					  .extents = extents };

		print_message("  %s\n", lengths[i].name);
		op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
		for (uint32_t j = 0; j < 3; j++) {
			uint32_t n = lengths[i].there[j] != 0;

			extents[r.n_extents] =
				(struct wire_extent){ guest_heap_addr(g, j * 4096), lengths[i].there[j] };
			r.n_extents += n;
			r.args[r.n_args++] = (struct wire_arg){ VIRTIO_ACCEL_ARG_EXTENTS, j < 2 ? 1 : 2, 0, n, 0, 0,
								lengths[i].len[j] };
		}
		/* What lies behind C stays as it was. */
		memset(guest_heap(g, 2 * 4096), 0x77, 4096);
		guest_call(g, 0, &r, lengths[i].status);
		assert_int_equal(*((uint8_t *)guest_heap(g, 2 * 4096 + BYTES)), 0x77);
	}
	guest_close(g);
	hostile_over();
}

/* The same with a registered buffer, of which arguments are ranges. */
static void ranges_leave(void **state)
{
	static const struct {
		uint64_t offset, len;
		uint32_t status;
	} rows[] = {
		{ 0, BYTES, VIRTIO_ACCEL_S_OK },
		{ 4096 - BYTES, BYTES, VIRTIO_ACCEL_S_OK },
		{ 4096 - BYTES + 4, BYTES, VIRTIO_ACCEL_S_RANGE },
		{ 4096, BYTES, VIRTIO_ACCEL_S_RANGE },
		{ UINT64_MAX - 3, BYTES, VIRTIO_ACCEL_S_RANGE },
		{ 0, 4100, VIRTIO_ACCEL_S_RANGE },
		{ 0, 4, VIRTIO_ACCEL_S_RANGE },
	};
	struct guest *g = guest_open_all();
	struct wire_extent whole = { guest_heap_addr(g, 0), 4096 };
	uint64_t buffer = guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vaccel_gemm gemm = plain_gemm();
		struct wire_request r = { .type = VIRTIO_ACCEL_T_OP,
					  .session = g->session,
					  .op = VACCEL_OP_SGEMM,
					  .params_len = sizeof(gemm),
					  .params = &gemm,
					  .n_args = 3 };

		op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
		for (uint32_t j = 0; j < 3; j++)
			r.args[j] = (struct wire_arg){
				VIRTIO_ACCEL_ARG_BUFFER,    j < 2 ? 1 : 2, 0, 0, buffer, j < 2 ? 0 : rows[i].offset,
				j < 2 ? BYTES : rows[i].len
			};
		guest_call(g, 0, &r, rows[i].status);
	}
	guest_close(g);
	hostile_over();
}

/* One memory, two buffers: each is its own, and is gone once. */
static void registered_twice(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_extent whole = { guest_heap_addr(g, 0), 65536 };
	const struct wire_extent twice[] = { { guest_heap_addr(g, 0), 4096 }, { guest_heap_addr(g, 0), 4096 } };
	struct product p = { g, 8, 0, 1, 0 };
	uint64_t first = guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);
	uint64_t second = guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);
	struct wire_request unregister = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER,
					   .session = g->session,
					   .object = first };

	assert_true(first != second);
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_OK);
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_STALE);
	p.buffer = second;
	product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	p.buffer = first;
	product_run(&p, 0, VIRTIO_ACCEL_S_STALE);
	/* And the same page twice in one. */
	p.buffer = guest_register(g, twice, 2, VIRTIO_ACCEL_S_OK);
	job_free(g, guest_wait(g, 0, product_send(&p, 0)));
	guest_close(g);
	hostile_over();
}

/*
 * A buffer is unregistered and its memory taken away while an op is in it. False: it was over before that could be asked.
 */
static bool free_in_use(struct guest *g, uint32_t delay_ms)
{
	struct frontend_region *more;
	struct error error = { 0 };
	struct wire_extent extents[2] = { { guest_heap_addr(g, 0), 65536 } };
	struct product slow = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, delay_ms), 0 };
	struct wire_request unregister = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER, .session = g->session };
	struct job *job, *refused;
	bool busy;

	assert_int_equal(frontend_region_new(g->frontend, 65536, &more, &error), 0);
	extents[1] = (struct wire_extent){ more->guest_addr, 65536 };
	slow.buffer = unregister.object = guest_register(g, extents, 2, VIRTIO_ACCEL_S_OK);
	product_fill(&slow);
	job = product_send(&slow, 0);
	/* Answered behind it: it has been taken. */
	product_run(&(struct product){ g, 8, 524288, 1, 0, guest_session(g) }, 0, VIRTIO_ACCEL_S_OK);
	refused = guest_wait(g, 1, guest_send(g, 1, &unregister));
	busy = refused->response.status == VIRTIO_ACCEL_S_BUSY;
	job_free(g, refused);
	/* Taking the memory away waits until nothing uses it. */
	assert_int_equal(frontend_region_free(g->frontend, more, &error), 0);
	guest_poll(g, 0);
	assert_true(job->done);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	job_free(g, job);
	product_run(&slow, 0, busy ? VIRTIO_ACCEL_S_FAULT : VIRTIO_ACCEL_S_STALE);
	return busy;
}

static void freed_in_use(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request close_it = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = g->session };
	uint32_t delay_ms = 300;

	while (!free_in_use(g, delay_ms))
		delay_ms *= 2;
	guest_call(g, 1, &close_it, VIRTIO_ACCEL_S_OK);
	guest_close(g);
	hostile_over();
}

/* A session after its end: for an op, for a buffer, for another end; also when its place has been given to somebody else. */
static void session_after_close(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_extent whole = { guest_heap_addr(g, 0), 4096 };
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };
	struct wire_request close_it = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = g->session };
	struct product p = { g, 8, 0, 1, 0 };

	p.buffer = guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);
	for (int i = 0; i < 2; i++) {
		guest_call(g, 0, &close_it, i == 0 ? VIRTIO_ACCEL_S_OK : VIRTIO_ACCEL_S_STALE);
		guest_call(g, 1, &noop, VIRTIO_ACCEL_S_STALE);
		product_run(&p, 1, VIRTIO_ACCEL_S_STALE);
		guest_register(g, &whole, 1, VIRTIO_ACCEL_S_STALE);
		/* All places are in use by other sessions now. */
		for (int j = 0; i == 0 && j < 1020; j++)
			guest_session(g);
	}
	/* Numbers that were never given out. */
	noop.session = close_it.session = UINT64_C(0xffffffff00000001);
	guest_call(g, 0, &noop, VIRTIO_ACCEL_S_NOSESSION);
	guest_call(g, 0, &close_it, VIRTIO_ACCEL_S_NOSESSION);
	guest_close(g);
	hostile_over();
}

/* Ids are the guest's own, and need not be unique. Each request is answered all the same. */
static void same_id(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };
	struct wire_request cancel = { .type = VIRTIO_ACCEL_T_CANCEL, .object = 7 };
	struct job *jobs[16];

	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
		g->next_id = 7;
		jobs[i] = guest_send(g, i % QUEUES, i % 4 == 3 ? &cancel : &noop);
	}
	for (size_t i = 0; i < ARRAY_SIZE(jobs); i++) {
		guest_wait(g, i % QUEUES, jobs[i]);
		assert_true(jobs[i]->response.id == 7);
		job_free(g, jobs[i]);
	}
	guest_close(g);
	hostile_over();
}

/* The answer is to be written over the request itself, over the arguments, over the ring. */
static void answers_over_everything(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	const uint64_t places[] = { PEER_DATA, PEER_DATA + 8, PEER_RINGS + PEER_NUM * 16, PEER_RINGS + PEER_USED + 64,
				    PEER_RINGS + PEER_RINGS_LEN - 256 };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		peer_request(p, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0);
		p->desc[1].addr = places[i];
		peer_offer(p, 0);
		peer_wait_used(p, 1);
	}
	peer_alive(p);
	peer_free(p);
	hostile_over();
}

/* A message changes as soon as it has been taken: what counts is what it said then. */
static void changed_after(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	struct virtio_accel_resp response;

	for (int i = 0; i < 500; i++) {
		peer_request(p, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0);
		peer_offer(p, 0);
		memset(p->data, i, sizeof(struct virtio_accel_req));
		peer_wait_used(p, 1);
		memcpy(&response, p->data + PEER_ANSWERS, sizeof(response));
		assert_true(response.status <= VIRTIO_ACCEL_S_REJECTED);
	}
	peer_free(p);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths_differ),	   cmocka_unit_test(ranges_leave),
		cmocka_unit_test(registered_twice),	   cmocka_unit_test(freed_in_use),
		cmocka_unit_test(session_after_close),	   cmocka_unit_test(same_id),
		cmocka_unit_test(answers_over_everything), cmocka_unit_test(changed_after),
	};

	return hostile_main("requests", tests, ARRAY_SIZE(tests));
}
