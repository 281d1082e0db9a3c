/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing in a ring is read twice, and nothing in an argument that is parsed: what was checked is what is used. No race
 * decides that here: see watch.h.
 */
#include "vhost/check.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdio.h>

#include "hostile/watch.h"
#include "unit/harness.h"
#include "util/util.h"
#include "vhost/vring.h"

#ifdef __x86_64__

#define NUM   8
#define UVA   0x7000000000ul
#define AVAIL 0x1000ul
#define USED  0x2000ul
#define TABLE 0x3000ul
#define DATA  0x4000ul
#define LEN   0x6000ul

struct fixture {
	struct vhost_memory memory;
	char *bytes;
	struct vring_desc *desc, *table;
	struct vring_avail *avail;
	struct inflight_region *journal;
	struct vq vq;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct vhost_region region = region_of(0, LEN, UVA, 0);
	const struct vq_setup plan = { .num = NUM,
				       .desc = UVA,
				       .avail = UVA + AVAIL,
				       .used = UVA + USED,
				       .features = VHOST_BIT(VHOST_F_INDIRECT_DESC) | VHOST_BIT(VHOST_F_EVENT_IDX),
				       .counter = 1 };
	struct inflight_entry entries[NUM];

	assert_non_null(f);
	assert_int_equal(vhost_memory_add(&f->memory, &region, new_memfd(LEN), NULL), 0);
	f->bytes = f->memory.rows[0].data;
	f->desc = (void *)f->bytes;
	f->table = (void *)(f->bytes + TABLE);
	f->avail = (void *)(f->bytes + AVAIL);
	f->journal = calloc(1, inflight_size(NUM));
	assert_non_null(f->journal);
	assert_int_equal(vq_init(&f->vq, &f->memory, &plan, f->journal, entries, NULL), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vq_fini(&f->vq);
	vhost_memory_clear(&f->memory);
	free(f->journal);
	free(f);
	return 0;
}

static void put(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	*d = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* Pops the chain at head, watched. */
static int pop(struct fixture *f, uint16_t head, struct vq_chain *ret_chain)
{
	int r;

	f->avail->ring[f->avail->idx % NUM] = head;
	f->avail->idx++;
	watch_begin(f->bytes);
	r = vq_pop(&f->vq, ret_chain, NULL);
	watch_end();
	return r;
}

static void expect_once(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < WATCH; i++) {
		if (watch_reads[i] > 1)
			fail_msg("%u reads at %#zx", watch_reads[i], i);
		n += watch_reads[i];
	}
	/* It does see them. */
	assert_true(n >= 6);
}

static void direct_chain(void **state)
{
	struct fixture *f = *state;
	struct vq_chain chain;

	put(&f->desc[1], DATA, 16, VRING_DESC_F_NEXT, 4);
	put(&f->desc[4], DATA + 64, 16, VRING_DESC_F_NEXT, 2);
	put(&f->desc[2], DATA + 128, 32, VRING_DESC_F_WRITE, 0);
	assert_int_equal(pop(f, 1, &chain), 1);
	assert_int_equal(chain.readable_len, 32);
	assert_int_equal(chain.writable_len, 32);
	expect_once();
	assert_int_equal(watch_reads[4 * sizeof(struct vring_desc) + offsetof(struct vring_desc, next)], 1);
}

static void indirect_chain(void **state)
{
	struct fixture *f = *state;
	struct vq_chain chain;

	put(&f->desc[3], TABLE, 3 * sizeof(struct vring_desc), VRING_DESC_F_INDIRECT, 0);
	put(&f->table[0], DATA, 16, VRING_DESC_F_NEXT, 2);
	put(&f->table[2], DATA + 64, 16, VRING_DESC_F_NEXT, 1);
	put(&f->table[1], DATA + 128, 32, VRING_DESC_F_WRITE, 0);
	assert_int_equal(pop(f, 3, &chain), 1);
	assert_int_equal(chain.n_readable, 2);
	expect_once();
}

static void broken_chain(void **state)
{
	struct fixture *f = *state;
	struct vq_chain chain;

	put(&f->desc[0], DATA, 16, VRING_DESC_F_NEXT, NUM);
	assert_true(pop(f, 0, &chain) < 0);
	expect_once();
}

/* ---- Arguments ---- */

#define ARG_LEN 700 /* somewhere in the watched memory */
#define ARG_AT	4096

static unsigned int reads_before; /* the plugin ran */
static uint64_t plugin_sum;

/* A plugin that looks at all of it, twice. */
static int look(const struct vaccel_plugin_call *call)
{
	const volatile uint8_t *bytes = call->args[0].data;

	reads_before = watch_total();
	plugin_sum = 0;
	for (size_t i = 0; i < 2 * call->args[0].len; i++)
		plugin_sum += bytes[i % call->args[0].len];
	return 0;
}

/* Runs an operation whose first argument lies in watched memory; 0 or the error that it ended with. */
static int run_watched(const void *arg, size_t len, struct op_request *op)
{
	static const char *const settings[] = { "models.dir=/", "order.default=probe-models", "engine.threads=1",
						NULL };
	char *memory = mmap(NULL, WATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct test_request request;
	struct harness h;
	int r;

	assert_ptr_not_equal(memory, MAP_FAILED);
	memcpy(memory + ARG_AT, arg, len);
	harness_start(&h, NULL, settings);
	harness_probe("probe-models")->run = look;
	request_init(&h, &request, VACCEL_OP_NOOP, 1, harness_session(&h, 1));
	op->session = request.engine.op.session;
	op->args[0] = (struct op_arg){ memory + ARG_AT, len, 1 };
	request.engine.op = *op;
	reads_before = 0;
	watch_begin(memory);
	request_submit(&h, &request);
	await(&request.done);
	watch_end();
	r = request.engine.result;
	harness_stop(&h);
	munmap(memory, WATCH);
	/* memcpy() may load bytes twice where its pieces meet. */
	for (size_t i = 0; i < WATCH; i++)
		if (watch_reads[i] > 2)
			fail_msg("%u reads at %#zx", watch_reads[i], i);
	return r;
}

static void a_picture(void **state)
{
	static struct vaccel_classified classified;
	static struct vaccel_label label;
	struct op_request op = {
		.op = VACCEL_OP_IMAGE_CLASSIFY,
		.n_args = 3,
		.params_len = sizeof(struct vaccel_classify),
		.args = { { 0 }, { &classified, sizeof(classified), 2 }, { &label, sizeof(label), 2 } }
	};
	uint8_t picture[ARG_LEN];

	memcpy(op.params, &(struct vaccel_classify){ .model = "m", .k = 1 }, sizeof(struct vaccel_classify));
	memset(picture, 3, sizeof(picture));
	assert_int_equal(run_watched(picture, sizeof(picture), &op), 0);
	assert_int_equal(plugin_sum, 2 * 3 * ARG_LEN);
	/* All before the plugin, which has read all of it twice. */
	assert_true(reads_before > 0);
	assert_int_equal(watch_total(), reads_before);
}

static void descriptions(void **state)
{
	static const struct vaccel_tensor_desc descs[] = {
		{ .name = "x", .dtype = VACCEL_FLOAT32, .rank = 1, .dims = { 4 }, .len = 16 }, { .name = "y" }
	};
	static struct vaccel_tensor_desc answer;
	static float x[4], y[4];
	struct op_request op = { .op = VACCEL_OP_INFER,
				 .n_args = 4,
				 .params_len = sizeof(struct vaccel_infer),
				 .args = { { 0 }, { &answer, sizeof(answer), 2 }, { x, 16, 1 }, { y, 16, 2 } } };
	struct vaccel_tensor_desc wrong[2];

	memcpy(op.params, &(struct vaccel_infer){ "m", 1, 1 }, sizeof(struct vaccel_infer));
	assert_int_equal(run_watched(descs, sizeof(descs), &op), 0);
	assert_true(reads_before > 0);
	assert_int_equal(watch_total(), reads_before);
	/* The same when they are refused. */
	memcpy(wrong, descs, sizeof(wrong));
	wrong[1].len = 1;
	assert_int_equal(run_watched(wrong, sizeof(wrong), &op), -EINVAL);
	assert_int_equal(reads_before, 0);
	assert_true(watch_total() > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(direct_chain), T(indirect_chain), T(broken_chain),
					    cmocka_unit_test(a_picture), cmocka_unit_test(descriptions) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
	fprintf(stderr, "skipped: only x86-64 is stepped through here\n");
	return 77;
}

#endif
