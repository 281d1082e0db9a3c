/* SPDX-License-Identifier: Apache-2.0 */
/* What the device answers to well-formed and malformed requests, over every way to bring memory. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

static void config_space(void **state)
{
	struct guest *g = guest_open_all();
	struct {
		struct virtio_accel_config config;
		uint8_t beyond[64];
	} space;
	struct error error;

	assert_int_equal(frontend_get_config(g->frontend, 0, &space, sizeof(space), &error), 0);
	assert_int_equal(le16toh(space.config.version_major), VIRTIO_ACCEL_VERSION_MAJOR);
	assert_int_equal(le32toh(space.config.num_queues), frontend_max_queues(g->frontend));
	assert_int_equal(le32toh(space.config.ops[0]) & 7, 7); /* NOOP, SGEMM, DGEMM */
	for (size_t i = 0; i < sizeof(space.beyond); i++)
		assert_int_equal(space.beyond[i], 0);
	guest_close(g);
}

static void products(void **state)
{
	const uint64_t protocols[] = {
		FRONTEND_PROTOCOL_FEATURES,
		FRONTEND_PROTOCOL_FEATURES & ~VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS), /* SET_MEM_TABLE */
		VHOST_BIT(VHOST_PF_MQ) | VHOST_BIT(VHOST_PF_CONFIG),
	};
	const uint64_t features[] = { ALL_FEATURES, ALL_FEATURES & ~FRONTEND_RING_FEATURES };

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(features); j++) {
			struct guest *g = guest_open(features[j], protocols[i]);

			for (uint32_t n = 1; n <= 64; n *= 4) {
				product_run(&(struct product){ g, n, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
				product_run(&(struct product){ g, n, 64, 2, 3 }, 1, VIRTIO_ACCEL_S_OK);
			}
			guest_close(g);
		}
	}
}

/* More than the ring holds, on both queues, so that indices wrap. */
static void many(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };
	struct job *jobs[16];

	for (int round = 0; round < 40; round++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++)
			jobs[i] = guest_send(g, i % QUEUES, &noop);
		for (unsigned int i = 0; i < ARRAY_SIZE(jobs); i++) {
			guest_wait(g, i % QUEUES, jobs[i]);
			assert_int_equal(jobs[i]->response.status, VIRTIO_ACCEL_S_OK);
			job_free(g, jobs[i]);
		}
	}
	guest_close(g);
}

/* C in pieces: gathered and scattered, and what lies between its rows stays as it was. */
static void scattered(void **state)
{
	struct guest *g = guest_open_all();
	float *a = guest_heap(g, 0), *c = guest_heap(g, 8192);
	struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
				    .transa = VACCEL_NO_TRANS,
				    .transb = VACCEL_NO_TRANS,
				    .m = 2,
				    .n = 2,
				    .k = 2,
				    .lda = 2,
				    .ldb = 2,
				    .ldc = 3,
				    .alpha = 1 };
	struct wire_extent extents[] = {
		{ guest_heap_addr(g, 0), 4 },  { guest_heap_addr(g, 4), 12 }, /* contiguous after all */
		{ guest_heap_addr(g, 0), 16 }, { guest_heap_addr(g, 8192), 12 }, { guest_heap_addr(g, 8192 + 100), 8 },
	};
	struct wire_request request = {
		.type = VIRTIO_ACCEL_T_OP,
		.session = g->session,
		.op = VACCEL_OP_SGEMM,
		.n_args = 3,
		.n_extents = ARRAY_SIZE(extents),
		.params_len = sizeof(gemm),
		.args = { { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_IN, 0, 2, 0, 0, 16 },
			  { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_IN, 0, 1, 0, 0, 16 },
			  { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_OUT, 0, 2, 0, 0, 20 } },
		.extents = extents,
		.params = &gemm,
	};

	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	memcpy(a, (float[]){ 1, 2, 3, 4 }, 16);
	for (int i = 0; i < 40; i++)
		c[i] = 77;
	guest_call(g, 0, &request, VIRTIO_ACCEL_S_OK);
	assert_true(c[0] == 7 && c[1] == 10 && c[2] == 77 && c[25] == 15 && c[26] == 22);
	assert_true(c[3] == 77 && c[24] == 77 && c[27] == 77);
	guest_close(g);
}

static void buffers(void **state)
{
	struct guest *g = guest_open_all();
	/* Pages in the wrong order: one linear range for the plugin all the same. */
	const struct wire_extent swapped[] = { { guest_heap_addr(g, 8192), 4096 }, { guest_heap_addr(g, 0), 8192 } };
	const struct wire_extent whole = { guest_heap_addr(g, 0), 65536 };
	const struct wire_extent inside[] = { { guest_heap_addr(g, 0), 100 }, { guest_heap_addr(g, 4096), 100 } };
	const struct wire_extent outside = { g->data->guest_addr + DATA_SIZE, 4096 };
	struct product p = { g, 64, 0, 1, 0 };
	struct wire_request unregister = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER, .session = g->session };
	struct wire_request only_read = {
		.type = VIRTIO_ACCEL_T_BUFFER_REGISTER,
		.session = g->session,
		.n_args = 1,
		.n_extents = 1,
		.args = { { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_IN, 0, 1, 0, 0, 65536 } },
		.extents = &whole,
	};
	float *low = guest_heap(g, 0), *high = guest_heap(g, 8192);

	p.buffer = guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);
	product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	unregister.object = p.buffer;
	/* By the session that has it alone. */
	unregister.session = guest_session(g);
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_NOBUFFER);
	product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	unregister.session = g->session;
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_OK);
	product_run(&p, 0, VIRTIO_ACCEL_S_STALE);
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_STALE);
	guest_register(g, inside, 2, VIRTIO_ACCEL_S_INVAL);
	guest_register(g, &outside, 1, VIRTIO_ACCEL_S_FAULT);
	guest_call(g, 0, &only_read, VIRTIO_ACCEL_S_INVAL);

	/* 32 x 32: A is the page at 8192, B and C are those at 0 and 4096. */
	p = (struct product){ g, 32, 0, 1, 0 };
	p.buffer = guest_register(g, swapped, 2, VIRTIO_ACCEL_S_OK);
	memset(high, 0, 4096);
	for (int i = 0; i < 32; i++)
		high[i * 33] = 2;
	for (int i = 0; i < 1024; i++)
		low[i] = (float)i;
	job_free(g, guest_wait(g, 0, product_send(&p, 0)));
	for (int i = 0; i < 1024; i++)
		assert_true(low[1024 + i] == (float)(2 * i));
	guest_close(g);
}

static void refused(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request r;
	struct job *job;
	uint8_t bytes[256] = { 0 };

	r = (struct wire_request){ .type = 99 };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_UNSUPPORTED);
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = 200 };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_UNSUPPORTED);
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_OP, .session = 12345678, .op = VACCEL_OP_NOOP };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_NOSESSION);
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_SGEMM };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_INVAL);
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_CANCEL, .object = 4711 };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_NOENT);
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = g->session };
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_OK);
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_STALE);
	/* Cut short, and longer than it says. */
	for (size_t len = 0; len < sizeof(struct virtio_accel_req); len += 16) {
		job = guest_wait(g, 0, guest_send_bytes(g, 0, bytes, MAX(len, 1), 512));
		assert_int_equal(job->response.status, VIRTIO_ACCEL_S_BADMSG);
		job_free(g, job);
	}
	r = (struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	wire_encode(&r, bytes);
	job = guest_wait(g, 0, guest_send_bytes(g, 0, bytes, sizeof(struct virtio_accel_req) + 1, 512));
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_BADMSG);
	job_free(g, job);
	guest_session(g);
	guest_close(g);
}

/* An answer that has no room is not written; one that has little is cut. */
static void little_room(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_request r = { .type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP };
	uint8_t bytes[256];
	const size_t rooms[] = { 0, 1, sizeof(struct virtio_accel_resp) - 1 };
	struct job *job;

	wire_encode(&r, bytes);
	for (size_t i = 0; i < ARRAY_SIZE(rooms); i++) {
		job = guest_wait(g, 0, guest_send_bytes(g, 0, bytes, wire_encoded_len(&r), rooms[i]));
		assert_int_equal(job->written, 0);
		job_free(g, job);
	}
	job = guest_wait(g, 0, guest_send_bytes(g, 0, bytes, wire_encoded_len(&r), sizeof(struct virtio_accel_resp)));
	assert_int_equal(job->written, sizeof(struct virtio_accel_resp));
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	job_free(g, job);
	r.session = 999;
	wire_encode(&r, bytes);
	job = guest_wait(g, 0,
			 guest_send_bytes(g, 0, bytes, wire_encoded_len(&r), sizeof(struct virtio_accel_resp) + 5));
	assert_int_equal(job->written, sizeof(struct virtio_accel_resp) + 5);
	assert_int_equal(job->response.detail_len, 5);
	job_free(g, job);
	guest_close(g);
}

/* What a feature bit stands for, without the bit. */
static void not_negotiated(void **state)
{
	struct guest *g = guest_open(FRONTEND_RING_FEATURES, FRONTEND_PROTOCOL_FEATURES);
	const struct wire_extent extent = { guest_heap_addr(g, 0), 65536 };
	struct wire_request cancel = { .type = VIRTIO_ACCEL_T_CANCEL, .object = 1 };
	struct wire_request unregister = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER,
					   .session = g->session,
					   .object = 1 };
	struct wire_request noop = {
		.type = VIRTIO_ACCEL_T_OP, .session = g->session, .op = VACCEL_OP_NOOP, .deadline_ms = 60000
	};

	guest_register(g, &extent, 1, VIRTIO_ACCEL_S_UNSUPPORTED);
	guest_call(g, 0, &unregister, VIRTIO_ACCEL_S_UNSUPPORTED);
	product_run(&(struct product){ .guest = g, .n = 8, .alpha = 1, .buffer = 1 }, 0, VIRTIO_ACCEL_S_UNSUPPORTED);
	guest_call(g, 0, &cancel, VIRTIO_ACCEL_S_UNSUPPORTED);
	guest_call(g, 0, &noop, VIRTIO_ACCEL_S_UNSUPPORTED);
	noop.deadline_ms = 0;
	guest_call(g, 0, &noop, VIRTIO_ACCEL_S_OK);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

static void query(void **state)
{
	struct guest *g = guest_open_all();
	struct wire_extent extent = { guest_heap_addr(g, 0), 65536 };
	struct wire_request r = {
		.type = VIRTIO_ACCEL_T_QUERY,
		.object = VIRTIO_ACCEL_Q_INFO,
		.n_args = 1,
		.n_extents = 1,
		.args = { { VIRTIO_ACCEL_ARG_EXTENTS, VIRTIO_ACCEL_DIR_OUT, 0, 1, 0, 0, 65536 } },
		.extents = &extent,
	};
	const struct virtio_accel_info *info = guest_heap(g, 0);
	const struct virtio_accel_op_info *ops = (const void *)(info + 1);
	uint64_t len = guest_call(g, 0, &r, VIRTIO_ACCEL_S_OK);

	assert_true(le32toh(info->n_ops) >= 3);
	assert_true(len == sizeof(*info) + le32toh(info->n_ops) * sizeof(*ops));
	assert_string_equal(ops[1].name, "sgemm");
	assert_string_equal(ops[1].plugin, "fault");
	extent.len = r.args[0].len = 10;
	assert_true(guest_call(g, 0, &r, VIRTIO_ACCEL_S_OK) == len);
	r.object = 77;
	guest_call(g, 0, &r, VIRTIO_ACCEL_S_UNSUPPORTED);
	guest_close(g);
}

/* Two guests at once see each other's sessions and buffers as little as anything else. */
static void strangers(void **state)
{
	struct guest *a = guest_open_all(), *b = guest_open_all();
	const struct wire_extent extent = { guest_heap_addr(a, 0), 65536 };
	struct product p = { a, 16, 0, 1, 0 };

	product_run(&p, 0, VIRTIO_ACCEL_S_OK);
	p.buffer = guest_register(a, &extent, 1, VIRTIO_ACCEL_S_OK);
	p.session = a->session;
	p.guest = b;
	product_run(&p, 0, VIRTIO_ACCEL_S_NOSESSION);
	p.session = 0;
	product_run(&p, 0, VIRTIO_ACCEL_S_NOBUFFER);
	guest_close(a);
	p.buffer = 0;
	product_run(&p, 1, VIRTIO_ACCEL_S_OK);
	guest_close(b);
}

/* Closing waits for what runs, cancels what waits, and holds up nobody else on the same queue. */
static void close_while_running(void **state)
{
	struct guest *g = guest_open_all();
	uint64_t other = guest_session(g);
	struct product slow = { g, 72, 0, fault_alpha(FAULT_DELAY, 0, 400), 0 };
	struct wire_request close_it = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = other };
	struct job *running, *closing;

	slow.session = other;
	product_fill(&slow);
	running = product_send(&slow, 1);
	/* So that it has been taken. */
	product_run(&(struct product){ g, 8, 131072, 1, 0 }, 1, VIRTIO_ACCEL_S_OK);
	closing = guest_send(g, 0, &close_it);
	product_run(&(struct product){ g, 8, 131072, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	assert_false(closing->done);
	guest_wait(g, 0, closing);
	guest_wait(g, 1, running);
	assert_true(running->response.status == VIRTIO_ACCEL_S_OK ||
		    running->response.status == VIRTIO_ACCEL_S_CANCELED);
	assert_int_equal(closing->response.status, VIRTIO_ACCEL_S_OK);
	guest_close(g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_space),
		T(products),
		T(many),
		T(scattered),
		T(buffers),
		T(refused),
		T(little_room),
		T(not_negotiated),
		T(query),
		T(strangers),
		T(close_while_running),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
