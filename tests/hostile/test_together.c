/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that run together, when one of them kills the worker: it has died in all of them, so each of them runs again, alone.
 * Who did it is found out so; the others are none the worse. The plugin (fuzz/touch.c) runs two requests for the model
 * "together" at once, as soon as there are two, and dies when one of them bears a mark.
 */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <vaccel/ops.h>

#include "util/util.h"

#define MARK  0xee
#define SPACE 4096u /* of the heap, for each request */

static const struct vaccel_tensor_desc descs[] = {
	{ .name = "x", .dtype = VACCEL_UINT8, .rank = 1, .dims = { 16 }, .len = 16 },
	{ .name = "y" },
};

static struct job *send_infer(struct guest *g, unsigned int queue, uint64_t session, uint64_t at, uint8_t mark)
{
	struct vaccel_infer params = { .model = "together", .n_inputs = 1, .n_outputs = 1 };
	static const uint64_t places[] = { 0, 1024, 2048, 3072 }, lens[] = { sizeof(descs), sizeof(descs[0]), 16, 16 };
	struct wire_extent extents[4];
	struct wire_request r = { .type = VIRTIO_ACCEL_T_OP,
				  .session = session,
				  .op = VACCEL_OP_INFER,
				  .n_args = 4,
				  .n_extents = 4,
				  .params_len = sizeof(params),
				  .params = &params,
				  .extents = extents };

	memcpy(guest_heap(g, at), descs, sizeof(descs));
	memset(guest_heap(g, at + places[2]), mark, 16);
	memset(guest_heap(g, at + places[3]), 0xff, 16);
	op_params_encode(op_by_id(VACCEL_OP_INFER), &params, &params);
	for (uint32_t i = 0; i < 4; i++) {
		extents[i] = (struct wire_extent){ guest_heap_addr(g, at + places[i]), lens[i] };
		r.args[i] = (struct wire_arg){ VIRTIO_ACCEL_ARG_EXTENTS, i % 2 ? 2 : 1, 0, 1, 0, 0, lens[i] };
	}
	return guest_send(g, queue, &r);
}

static void finish(struct guest *g, unsigned int queue, struct job *job, uint64_t at, uint32_t status)
{
	job = guest_wait(g, queue, job);
	assert_int_equal(job->response.status, status);
	if (status == VIRTIO_ACCEL_S_OK)
		for (int i = 0; i < 16; i++)
			assert_int_equal(((uint8_t *)guest_heap(g, at + 3072))[i], i);
	job_free(g, job);
}

/* marks: of two requests, of one guest or of two. */
static void run_two(struct guest *a, struct guest *b, uint8_t mark_a, uint8_t mark_b)
{
	uint64_t at = a == b ? SPACE : 0;
	struct job *first = send_infer(a, 0, a->session, 0, mark_a), *second;

	second = send_infer(b, 1, a == b ? guest_session(b) : b->session, at, mark_b);
	finish(a, 0, first, 0, mark_a == MARK ? VIRTIO_ACCEL_S_IO : VIRTIO_ACCEL_S_OK);
	finish(b, 1, second, at, mark_b == MARK ? VIRTIO_ACCEL_S_IO : VIRTIO_ACCEL_S_OK);
}

static void two_that_do_no_harm(void **state)
{
	struct guest *a = guest_open_all(), *b = guest_open_all();

	for (int i = 0; i < 20; i++)
		run_two(a, i % 2 ? a : b, 1, 2);
	guest_close(a);
	guest_close(b);
	hostile_over();
}

static void one_that_kills(void **state)
{
	struct guest *a = guest_open_all(), *b = guest_open_all();

	hostile_mark();
	run_two(a, a, MARK, 2);
	hostile_logged("had begun, runs again if that is safe");
	run_two(a, b, 1, MARK);
	run_two(a, b, 1, 2);
	guest_close(a);
	guest_close(b);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_that_do_no_harm),
		cmocka_unit_test(one_that_kills),
	};

	return hostile_main("together", tests, ARRAY_SIZE(tests));
}
