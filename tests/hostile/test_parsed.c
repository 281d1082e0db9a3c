/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments that are parsed: descriptions of tensors that lie, and that change while they are read. The plugin that serves
 * models here (fuzz/touch.c) demands what it is promised, and fails an operation for which it was not kept.
 */
#include "peer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <vaccel/ops.h>

#include "util/util.h"

#define DESCS	0u /* in the heap */
#define ANSWERS 4096u
#define X	8192u
#define Y	12288u
#define ROUNDS	3000
#define X_LEN	(6 * sizeof(float))

static const struct vaccel_tensor_desc good_descs[] = {
	{ .name = "x", .dtype = VACCEL_FLOAT32, .rank = 2, .dims = { 2, 3 }, .len = X_LEN },
	{ .name = "y" },
};

/* A request for one output y of one input x; the lengths of its four arguments as they are to be. */
struct infer {
	struct vaccel_infer params;
	uint64_t len[4];
	uint8_t dir[4];
	uint32_t n_args;
};

static struct infer good_infer(void)
{
	return (struct infer){
		.params = { .model = "m", .n_inputs = 1, .n_outputs = 1 },
		.len = { sizeof(good_descs), sizeof(struct vaccel_tensor_desc), X_LEN, 64 },
		.dir = { 1, 2, 1, 2 },
		.n_args = 4,
	};
}

/* buffer: 0, or one that is registered over the heap's beginning. */
static struct job *send_infer(struct guest *g, const struct infer *infer, uint64_t buffer)
{
	static const uint64_t places[] = { DESCS, ANSWERS, X, Y };
	struct vaccel_infer params = infer->params;
	struct wire_extent extents[4];
	struct wire_request r = { .type = VIRTIO_ACCEL_T_OP,
				  .session = g->session,
				  .op = VACCEL_OP_INFER,
				  .n_args = infer->n_args,
				  .params_len = sizeof(params),
				  .params = &params,
				  .extents = extents };

	op_params_encode(op_by_id(VACCEL_OP_INFER), &params, &params);
	for (uint32_t i = 0; i < infer->n_args; i++) {
		r.args[i] = (struct wire_arg){ .dir = infer->dir[i], .len = infer->len[i] };
		if (buffer) {
			r.args[i].kind = VIRTIO_ACCEL_ARG_BUFFER;
			r.args[i].buffer = buffer;
			r.args[i].offset = places[i];
			continue;
		}
		r.args[i].kind = VIRTIO_ACCEL_ARG_EXTENTS;
		r.args[i].n_extents = infer->len[i] != 0;
		extents[r.n_extents] = (struct wire_extent){ guest_heap_addr(g, places[i]), infer->len[i] };
		r.n_extents += infer->len[i] != 0;
	}
	return guest_send(g, 0, &r);
}

static void run_infer(struct guest *g, const struct infer *infer, uint64_t buffer, uint32_t status)
{
	struct job *job = guest_wait(g, 0, send_infer(g, infer, buffer));

	assert_int_equal(job->response.status, status);
	job_free(g, job);
}

static uint64_t register_heap(struct guest *g)
{
	struct wire_extent whole = { guest_heap_addr(g, 0), 16384 };

	return guest_register(g, &whole, 1, VIRTIO_ACCEL_S_OK);
}

static void put_descs(struct guest *g, const struct vaccel_tensor_desc descs[2])
{
	memcpy(guest_heap(g, DESCS), descs, sizeof(good_descs));
}

/* One thing wrong each; INVAL where nothing else is said. */
static const struct {
	const char *name;
	size_t offset; /* of a field of the input's description */
	uint64_t value;
	size_t len;
	uint32_t status;
} wrong_fields[] = {
#define FIELD(name_, member_, value_, status_)                                                         \
	{                                                                                              \
		name_, offsetof(struct vaccel_tensor_desc, member_), (uint64_t)(value_),               \
			sizeof(((struct vaccel_tensor_desc *)NULL)->member_), VIRTIO_ACCEL_S_##status_ \
	}
	FIELD("no type", dtype, 0, INVAL),
	FIELD("an unknown type", dtype, 11, INVAL),
	FIELD("a type of another size", dtype, VACCEL_FLOAT64, INVAL),
	FIELD("nine dimensions", rank, 9, INVAL),
	FIELD("any number of dimensions", rank, UINT32_MAX, INVAL),
	FIELD("a dimension behind the rank", rank, 1, INVAL),
	FIELD("a negative dimension", dims[0], -2, INVAL),
	FIELD("an unknown dimension", dims[1], -1, INVAL),
	FIELD("more elements than bytes", dims[1], 4, INVAL),
	FIELD("a product that wraps to what is there", dims[1], (UINT64_C(1) << 61) + 3, TOOBIG),
	FIELD("the largest dimension", dims[1], INT64_MAX, TOOBIG),
	FIELD("fewer bytes than elements", len, X_LEN - 1, INVAL),
	FIELD("all bytes", len, UINT64_MAX, INVAL),
	FIELD("no name", name[0], 0, INVAL),
	FIELD("something behind the name", name[VACCEL_TENSOR_NAME - 1], 'x', INVAL),
};

static void descriptions_lie(void **state)
{
	struct guest *g = guest_open_all();
	struct infer infer = good_infer();
	uint64_t buffer = register_heap(g);
	struct vaccel_tensor_desc descs[2];

	for (size_t i = 0; i < ARRAY_SIZE(wrong_fields); i++) {
		print_message("  %s\n", wrong_fields[i].name);
		put_descs(g, good_descs);
		run_infer(g, &infer, 0, VIRTIO_ACCEL_S_OK);
		run_infer(g, &infer, buffer, VIRTIO_ACCEL_S_OK);
		memcpy((uint8_t *)guest_heap(g, DESCS) + wrong_fields[i].offset, &wrong_fields[i].value,
		       wrong_fields[i].len);
		run_infer(g, &infer, 0, wrong_fields[i].status);
		run_infer(g, &infer, buffer, wrong_fields[i].status);
	}
	memcpy(descs, good_descs, sizeof(descs));
	descs[1].len = 4;
	put_descs(g, descs);
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	/* Wrongly described and larger than its argument agrees with itself, but not with that. */
	memcpy(descs, good_descs, sizeof(descs));
	descs[0].dims[1] = 300;
	descs[0].len = 2 * 300 * sizeof(float);
	put_descs(g, descs);
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_RANGE);
	guest_close(g);
	hostile_over();
}

/* What is not in memory but in the message: counts, directions, lengths. */
static void counts_lie(void **state)
{
	struct guest *g = guest_open_all();
	struct infer infer = good_infer();

	put_descs(g, good_descs);
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_OK);
	infer.params.n_inputs = UINT32_MAX;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_TOOBIG);
	infer.params.n_inputs = 13;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	infer = good_infer();
	infer.params.n_outputs = 0;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	infer = good_infer();
	memset(infer.params.model, 'm', sizeof(infer.params.model));
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	infer = good_infer();
	strcpy(infer.params.model, "../m");
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	infer = good_infer();
	infer.len[0]--;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_RANGE);
	infer = good_infer();
	infer.len[1]--;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_RANGE);
	for (uint32_t i = 0; i < 4; i++) {
		infer = good_infer();
		infer.dir[i] = 3 - infer.dir[i];
		run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	}
	infer = good_infer();
	infer.n_args = 3;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	infer = good_infer();
	infer.n_args = 2;
	run_infer(g, &infer, 0, VIRTIO_ACCEL_S_INVAL);
	guest_close(g);
	hostile_over();
}

struct flipper {
	volatile uint8_t *descs;
	bool stop; /* atomic */
	pthread_t thread;
};

/* Between a description that is right and one that leads astray in one field or another, as fast as it goes. */
static void *flip(void *opaque)
{
	static const struct {
		size_t offset;
		uint8_t good, bad;
	} fields[] = {
		{ offsetof(struct vaccel_tensor_desc, rank), 2, 255 },
		{ offsetof(struct vaccel_tensor_desc, dims[1]) + 6, 0, 0x40 },
		{ offsetof(struct vaccel_tensor_desc, dims[0]), 2, 200 },
		{ offsetof(struct vaccel_tensor_desc, len) + 5, 0, 1 },
		{ offsetof(struct vaccel_tensor_desc, dtype), VACCEL_FLOAT32, VACCEL_STRING },
		{ VACCEL_TENSOR_NAME - 1, 0, 'x' },
	};
	struct flipper *f = opaque;

	for (size_t i = 0; !__atomic_load_n(&f->stop, __ATOMIC_RELAXED); i++) {
		f->descs[fields[i % ARRAY_SIZE(fields)].offset] = fields[i % ARRAY_SIZE(fields)].bad;
		f->descs[fields[i % ARRAY_SIZE(fields)].offset] = fields[i % ARRAY_SIZE(fields)].good;
	}
	return NULL;
}

/* Each is run as it was when it was checked, or refused; none is run with anything else. */
static void descriptions_change(void **state)
{
	struct guest *g = guest_open_all();
	struct infer infer = good_infer();
	struct flipper f = { .descs = guest_heap(g, DESCS) };
	uint64_t buffer = register_heap(g);
	int n_ok = 0;

	put_descs(g, good_descs);
	assert_int_equal(pthread_create(&f.thread, NULL, flip, &f), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct job *job = guest_wait(g, 0, send_infer(g, &infer, i % 2 ? buffer : 0));
		uint32_t status = job->response.status;

		n_ok += status == VIRTIO_ACCEL_S_OK;
		job_free(g, job);
		if (status != VIRTIO_ACCEL_S_OK && status != VIRTIO_ACCEL_S_INVAL && status != VIRTIO_ACCEL_S_RANGE &&
		    status != VIRTIO_ACCEL_S_TOOBIG)
			fail_msg("request %d ended with status %u", i, status);
	}
	print_message("  %d of %d were right when they were looked at\n", n_ok, ROUNDS);
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	pthread_join(f.thread, NULL);
	guest_close(g);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptions_lie),
		cmocka_unit_test(counts_lie),
		cmocka_unit_test(descriptions_change),
	};

	return hostile_main("parsed", tests, ARRAY_SIZE(tests));
}
