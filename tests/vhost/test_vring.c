/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split ring against a driver that writes whatever it likes: chains of every shape, broken ones,
 * event index, and the journal through which the next worker takes over.
 */
#include "check.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#include "util/util.h"
#include "vhost/vring.h"

#define NUM   8
#define UVA   0x7000000000ul
#define DESC  0x0000ul /* guest addresses */
#define AVAIL 0x1000ul
#define USED  0x2000ul
#define TABLE 0x3000ul
#define DATA  0x4000ul
#define END   0x10000ul /* of the first region */
#define HIGH  0x20000ul /* second region */

struct fixture {
	struct vhost_memory memory;
	char *bytes; /* of the first region */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *table;
	struct inflight_region *journal;
	struct inflight_entry entries[NUM];
	struct vq vq;
	struct vq_chain chain;
	struct error error;
};

static struct vq_setup plan(void)
{
	return (struct vq_setup){ .num = NUM,
				  .desc = UVA + DESC,
				  .avail = UVA + AVAIL,
				  .used = UVA + USED,
				  .features = VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_INDIRECT_DESC) |
					      VHOST_BIT(VHOST_F_EVENT_IDX),
				  .counter = 1 };
}

static void start(struct fixture *f, struct vq_setup setup, int expected)
{
	assert_int_equal(vq_init(&f->vq, &f->memory, &setup, f->journal, f->entries, &f->error), expected);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vhost_region low = region_of(0, END, UVA, 0), high = region_of(HIGH, 0x1000, UVA + 0x100000, END);

	assert_non_null(f);
	assert_int_equal(vhost_memory_add(&f->memory, &low, new_memfd(END), &f->error), 0);
	assert_int_equal(vhost_memory_add(&f->memory, &high, new_memfd(END + 0x1000), &f->error), 0);
	f->bytes = f->memory.rows[0].data;
	f->desc = (void *)(f->bytes + DESC);
	f->avail = (void *)(f->bytes + AVAIL);
	f->used = (void *)(f->bytes + USED);
	f->table = (void *)(f->bytes + TABLE);
	f->journal = calloc(1, inflight_size(NUM));
	start(f, plan(), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->vq.num)
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

static void offer(struct fixture *f, uint16_t head)
{
	f->avail->ring[f->avail->idx % NUM] = head;
	f->avail->idx++;
}

static int pop(struct fixture *f)
{
	return vq_pop(&f->vq, &f->chain, &f->error);
}

static void expect_broken(struct fixture *f, int code)
{
	f->error.text[0] = '\0';
	assert_int_equal(pop(f), code);
	assert_true(f->error.text[0]);
	assert_int_equal(vq_n_busy(&f->vq), 0);
}

/* A readable and a writable descriptor from head on. */
static void simple(struct fixture *f, uint16_t head)
{
	put(&f->desc[head], DATA, 16, VRING_DESC_F_NEXT, (uint16_t)(head + 1));
	put(&f->desc[head + 1], DATA + 0x100, 32, VRING_DESC_F_WRITE, 0);
}

static void round_trip(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pop(f), 0);
	for (int i = 0; i < 3 * NUM; i++) {
		uint16_t head = i % 2 ? 3 : 6;

		simple(f, head);
		offer(f, head);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, head);
		assert_int_equal(f->chain.n_readable, 1);
		assert_int_equal(f->chain.readable_len, 16);
		assert_ptr_equal(f->chain.readable[0].iov_base, f->bytes + DATA);
		assert_int_equal(f->chain.n_writable, 1);
		assert_int_equal(f->chain.writable_len, 32);
		assert_int_equal(pop(f), 0);
		vq_take(&f->vq, head);
		vq_push(&f->vq, head, 7);
		assert_int_equal(f->used->idx, i + 1);
		assert_int_equal(f->used->ring[i % NUM].id, head);
		assert_int_equal(f->used->ring[i % NUM].len, 7);
	}
}

/* Chains are known before they are popped, and what becomes of descriptors and ring after that does not matter. */
static void known_ahead(void **state)
{
	struct fixture *f = *state;

	for (uint16_t head = 0; head < 6; head += 2) {
		simple(f, head);
		offer(f, head);
	}
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 0);
	put(&f->desc[2], DATA + 0x800, 8, 0, 0);
	f->avail->ring[1] = 7;
	f->avail->ring[2] = NUM;
	assert_true(vq_available(&f->vq));
	for (uint16_t head = 2; head < 6; head += 2) {
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, head);
		assert_int_equal(f->chain.readable_len, 16);
		assert_ptr_equal(f->chain.readable[0].iov_base, f->bytes + DATA);
	}
	assert_false(vq_available(&f->vq));
	assert_int_equal(pop(f), 0);
}

/* Looking ahead at a chain that is nowhere does no harm to those before it. */
static void broken_ahead(void **state)
{
	struct fixture *f = *state;

	simple(f, 0);
	put(&f->desc[2], HIGH - 16, 32, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	offer(f, 2);
	offer(f, NUM);
	assert_int_equal(pop(f), 1);
	vq_take(&f->vq, 0);
	vq_push(&f->vq, 0, 0);
	expect_broken(f, -EFAULT);
}

static void indirect(void **state)
{
	struct fixture *f = *state;

	put(&f->desc[2], TABLE, 3 * sizeof(struct vring_desc), VRING_DESC_F_INDIRECT, 0);
	put(&f->table[0], DATA, 10, VRING_DESC_F_NEXT, 2);
	put(&f->table[2], END - 4, 4, VRING_DESC_F_NEXT, 1);
	put(&f->table[1], HIGH, 5, VRING_DESC_F_WRITE, 0);
	offer(f, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.n_readable, 2);
	assert_int_equal(f->chain.readable_len, 14);
	assert_int_equal(f->chain.n_writable, 1);
	assert_ptr_equal(f->chain.writable[0].iov_base, f->memory.rows[1].data);
	/* What the guest changes now is not looked at again. */
	f->table[0].addr = 0xdead0000;
	assert_ptr_equal(f->chain.readable[0].iov_base, f->bytes + DATA);
}

static void long_indirect(void **state)
{
	struct fixture *f = *state;
	const uint32_t n = 1024;
	struct vring_desc *table = (void *)(f->bytes + DATA);

	put(&f->desc[0], DATA, n * 16, VRING_DESC_F_INDIRECT, 0);
	for (uint32_t i = 0; i < n; i++)
		put(&table[i], DATA + i, 1, i + 1 < n ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.n_readable, n);
	vq_push(&f->vq, 0, 0);
	put(&f->desc[0], DATA, (n + 1) * 16, VRING_DESC_F_INDIRECT, 0);
	offer(f, 0);
	expect_broken(f, -EINVAL);
}

static void broken_index(void **state)
{
	struct fixture *f = *state;

	f->avail->idx = NUM + 1;
	expect_broken(f, -EINVAL);
	f->avail->idx = 0x8000;
	expect_broken(f, -EINVAL);
	f->avail->idx = UINT16_MAX;
	expect_broken(f, -EINVAL);
}

static void broken_head(void **state)
{
	struct fixture *f = *state;

	offer(f, NUM);
	expect_broken(f, -EINVAL);
	f->avail->ring[0] = 0xffff;
	expect_broken(f, -EINVAL);
}

static void offered_twice(void **state)
{
	struct fixture *f = *state;

	simple(f, 0);
	offer(f, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(pop(f), -EINVAL);
	assert_int_equal(vq_n_busy(&f->vq), 1);
	vq_push(&f->vq, 0, 0);
	assert_int_equal(pop(f), 1);
}

static void broken_chain(void **state)
{
	struct fixture *f = *state;
	const struct {
		struct vring_desc first, second;
		int code;
	} rows[] = {
		/* loops */
		{ { DATA, 1, VRING_DESC_F_NEXT, 0 }, { 0 }, -ELOOP },
		{ { DATA, 1, VRING_DESC_F_NEXT, 1 }, { DATA, 1, VRING_DESC_F_NEXT, 0 }, -ELOOP },
		/* out of the table */
		{ { DATA, 1, VRING_DESC_F_NEXT, NUM }, { 0 }, -EINVAL },
		{ { DATA, 1, VRING_DESC_F_NEXT, 0xffff }, { 0 }, -EINVAL },
		/* readable after writable */
		{ { DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1 }, { DATA, 1, 0, 0 }, -EINVAL },
		/* addresses: unshared, leaving, wrapping */
		{ { END, 1, 0, 0 }, { 0 }, -EFAULT },
		{ { END - 1, 2, 0, 0 }, { 0 }, -EFAULT },
		{ { UINT64_MAX, 2, VRING_DESC_F_WRITE, 0 }, { 0 }, -EFAULT },
		{ { DATA, UINT32_MAX, 0, 0 }, { 0 }, -EFAULT },
		/* indirect: empty, odd length, with NEXT, unshared, leaving */
		{ { TABLE, 0, VRING_DESC_F_INDIRECT, 0 }, { 0 }, -EINVAL },
		{ { TABLE, 24, VRING_DESC_F_INDIRECT, 0 }, { 0 }, -EINVAL },
		{ { TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1 }, { DATA, 1, 0, 0 }, -EINVAL },
		{ { END, 16, VRING_DESC_F_INDIRECT, 0 }, { 0 }, -EFAULT },
		{ { END - 16, 32, VRING_DESC_F_INDIRECT, 0 }, { 0 }, -EFAULT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		f->desc[0] = rows[i].first;
		f->desc[1] = rows[i].second;
		f->avail->idx = 1;
		f->avail->ring[0] = 0;
		expect_broken(f, rows[i].code);
		/* Also for who does not want to know why. */
		assert_int_equal(vq_pop(&f->vq, &f->chain, NULL), rows[i].code);
	}
}

static void broken_indirect(void **state)
{
	struct fixture *f = *state;

	offer(f, 0);
	put(&f->desc[0], TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	put(&f->table[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	expect_broken(f, -EINVAL);
	put(&f->table[0], DATA, 1, VRING_DESC_F_NEXT, 2);
	expect_broken(f, -EINVAL);
	put(&f->table[0], DATA, 1, VRING_DESC_F_NEXT, 1);
	put(&f->table[1], DATA, 1, VRING_DESC_F_NEXT, 0);
	expect_broken(f, -ELOOP);
}

static void not_negotiated(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	s.features = VHOST_BIT(VHOST_F_VERSION_1);
	vq_fini(&f->vq);
	start(f, s, 0);
	offer(f, 0);
	put(&f->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	put(&f->table[0], DATA, 1, 0, 0);
	expect_broken(f, -EINVAL);
}

static void refused_setups(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s;

	vq_fini(&f->vq);
	s = plan(), s.num = 0, start(f, s, -EINVAL);
	s = plan(), s.num = 6, start(f, s, -EINVAL);
	s = plan(), s.num = 2048, start(f, s, -EINVAL);
	s = plan(), s.desc += 8, start(f, s, -EINVAL);
	s = plan(), s.avail += 1, start(f, s, -EINVAL);
	s = plan(), s.used += 2, start(f, s, -EINVAL);
	s = plan(), s.desc = 0, start(f, s, -EFAULT);
	s = plan(), s.desc = UVA + END - 16, start(f, s, -EFAULT);
	s = plan(), s.used = UVA + END - 16, start(f, s, -EFAULT);
	s = plan(), s.avail = UVA - 2, start(f, s, -EFAULT);
	f->journal->version = 2;
	start(f, plan(), -EINVAL);
	f->journal->version = INFLIGHT_VERSION;
	f->journal->desc_num = NUM * 2;
	start(f, plan(), -EINVAL);
	f->vq.num = 0;
}

static uint16_t *used_event(struct fixture *f)
{
	return &f->avail->ring[NUM];
}

static uint16_t avail_event(const struct fixture *f)
{
	uint16_t event;

	memcpy(&event, &f->used->ring[NUM], sizeof(event));
	return event;
}

static void one(struct fixture *f)
{
	simple(f, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
	vq_take(&f->vq, 0);
	vq_push(&f->vq, 0, 0);
}

static void signals_by_event(void **state)
{
	struct fixture *f = *state;

	assert_true(vq_wants_signal(&f->vq)); /* the first time in any case */
	*used_event(f) = 0;
	one(f);
	assert_true(vq_wants_signal(&f->vq));
	assert_false(vq_wants_signal(&f->vq)); /* nothing new */
	one(f);
	assert_false(vq_wants_signal(&f->vq)); /* the guest still waits for an older one */
	*used_event(f) = 4;
	one(f);
	one(f);
	assert_false(vq_wants_signal(&f->vq));
	one(f);
	assert_true(vq_wants_signal(&f->vq));
}

/* All the way round 2^16. */
static void signals_wrap(void **state)
{
	struct fixture *f = *state;

	vq_wants_signal(&f->vq);
	for (uint32_t i = 0; i < 0x10000 + 10; i++) {
		*used_event(f) = (uint16_t)i;
		one(f);
		assert_true(vq_wants_signal(&f->vq));
		*used_event(f) = (uint16_t)(i + 2);
		assert_false(vq_wants_signal(&f->vq));
	}
}

static void signals_by_flag(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	s.features = VHOST_BIT(VHOST_F_VERSION_1);
	vq_fini(&f->vq);
	start(f, s, 0);
	vq_wants_signal(&f->vq);
	one(f);
	assert_true(vq_wants_signal(&f->vq));
	assert_false(vq_wants_signal(&f->vq));
	f->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	one(f);
	assert_false(vq_wants_signal(&f->vq));
	vq_disable_kicks(&f->vq);
	assert_int_equal(f->used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vq_enable_kicks(&f->vq));
	assert_int_equal(f->used->flags, 0);
	offer(f, 0);
	assert_true(vq_enable_kicks(&f->vq));
}

static void kicks_by_event(void **state)
{
	struct fixture *f = *state;

	one(f);
	assert_false(vq_enable_kicks(&f->vq));
	assert_int_equal(avail_event(f), 1);
	offer(f, 0);
	assert_true(vq_enable_kicks(&f->vq));
	vq_disable_kicks(&f->vq);
	assert_int_equal(f->used->flags, 0);
}

/* Whatever the driver negotiated, it gets on with the device. */
static void nothing_told(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();
	struct vq_chain chain;

	s.features = 0;
	vq_fini(&f->vq);
	start(f, s, 0);
	offer(f, 0);
	put(&f->desc[0], TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	put(&f->table[0], DATA, 1, 0, 0);
	assert_int_equal(vq_pop(&f->vq, &chain, &f->error), 1);
	vq_push(&f->vq, 0, 0);
	/* One that uses events never sets the flag, whatever its event says. */
	f->avail->ring[f->vq.num] = 1000;
	assert_true(vq_wants_signal(&f->vq));
	vq_disable_kicks(&f->vq);
	assert_int_equal(f->used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vq_enable_kicks(&f->vq));
	assert_int_equal(f->used->flags, 0);
	assert_int_equal(avail_event(f), 1);
}

/* The worker dies with three requests taken, of which one was answered; the next finds the other two in order. */
static void taken_over(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	simple(f, 0), simple(f, 2), simple(f, 4);
	offer(f, 4), offer(f, 0), offer(f, 2);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pop(f), 1);
		vq_take(&f->vq, f->chain.head);
	}
	vq_push(&f->vq, 0, 1);
	vq_fini(&f->vq);

	s.recover = true;
	s.base = 77; /* not used */
	start(f, s, 2);
	assert_int_equal(f->entries[0].head, 4);
	assert_int_equal(f->entries[1].head, 2);
	assert_true(vq_next_counter(&f->vq) > f->entries[1].counter);
	assert_int_equal(f->vq.last_avail, 3);
	assert_int_equal(vq_n_busy(&f->vq), 2);
	assert_int_equal(vq_refetch(&f->vq, &f->entries[0], &f->chain, &f->error), 0);
	assert_int_equal(f->chain.head, 4);
	assert_int_equal(f->chain.readable_len, 16);
	f->desc[2].addr = END;
	assert_int_equal(vq_refetch(&f->vq, &f->entries[1], &f->chain, &f->error), -EFAULT);
	assert_int_equal(vq_refetch(&f->vq, &f->entries[1], &f->chain, NULL), -EFAULT);
	vq_push(&f->vq, 4, 0);
	vq_push(&f->vq, 2, 0);
	assert_int_equal(f->used->idx, 3);
	assert_int_equal(pop(f), 0);
	vq_fini(&f->vq);
	start(f, s, 0);
}

/* It dies between the used index and the journal: the answer counts as given. */
static void settled(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	simple(f, 0), simple(f, 2);
	offer(f, 0), offer(f, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pop(f), 1);
		vq_take(&f->vq, f->chain.head);
	}
	inflight_give_begin(&f->vq.inflight, 2);
	f->used->ring[0].id = 2;
	f->used->idx = 1;
	vq_fini(&f->vq);
	s.recover = true;
	start(f, s, 1);
	assert_int_equal(f->entries[0].head, 0);
	assert_int_equal(f->vq.last_avail, 2);
	assert_int_equal(f->journal->desc[2].inflight, 0);
	assert_int_equal(f->journal->used_idx, 1);
}

/* A worker before left two heads in the front-end's journal; what the front-end says next decides what they are. */
static void left_over(struct fixture *f)
{
	for (int i = 0; i < 3; i++)
		one(f);
	simple(f, 0), simple(f, 2);
	offer(f, 0), offer(f, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pop(f), 1);
		vq_take(&f->vq, f->chain.head);
	}
	vq_fini(&f->vq);
}

static void goes_on(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	left_over(f);
	s.base = 3; /* what a front-end knows whose back-end died */
	start(f, s, 2);
	assert_int_equal(f->vq.last_avail, 5);
	vq_fini(&f->vq);
	s.base = 5; /* and one that stopped in order */
	start(f, s, 2);
	assert_int_equal(f->vq.last_avail, 5);
	vq_fini(&f->vq);
	s.base = 1; /* neither */
	start(f, s, 0);
	assert_int_equal(f->vq.last_avail, 1);
}

static void starts_over(void **state)
{
	struct fixture *f = *state;

	left_over(f);
	f->avail->idx = f->used->idx = 0;
	/* Has offered as many as its predecessor left, but they are other ones. */
	simple(f, 4), simple(f, 6);
	offer(f, 4), offer(f, 6);
	start(f, plan(), 0);
	assert_int_equal(vq_n_busy(&f->vq), 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 4);
	vq_take(&f->vq, 4);
	vq_push(&f->vq, 4, 0);
	vq_fini(&f->vq);
	/* A predecessor none of whose requests was answered: the used index tells nothing, the available one does. */
	f->avail->idx = f->used->idx = f->journal->used_idx = 0;
	f->journal->desc[0].inflight = f->journal->desc[2].inflight = 1;
	offer(f, 4);
	start(f, plan(), 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 4);
}

/* A journal that a front-end filled with nonsense leads nowhere bad. */
static void hostile_journal(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	vq_fini(&f->vq);
	memset(f->journal, 0xff, inflight_size(NUM));
	f->journal->version = INFLIGHT_VERSION;
	f->journal->desc_num = NUM;
	for (int i = 0; i < NUM; i++)
		f->journal->desc[i] = (struct inflight_desc){ .inflight = 1, .next = 0xffff, .counter = UINT64_MAX };
	f->journal->used_idx = (uint16_t)(f->used->idx - 3);
	s.recover = true;
	start(f, s, NUM);
	offer(f, 0);
	f->avail->idx = (uint16_t)(f->vq.last_avail + 1);
	f->avail->ring[f->vq.last_avail % NUM] = 0;
	assert_int_equal(pop(f), -EINVAL); /* all heads are busy */
}

static void starts_at_base(void **state)
{
	struct fixture *f = *state;
	struct vq_setup s = plan();

	vq_fini(&f->vq);
	s.base = 5;
	start(f, s, 0);
	f->avail->idx = 5;
	assert_int_equal(pop(f), 0);
	simple(f, 0);
	offer(f, 0);
	assert_int_equal(pop(f), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(round_trip),	   T(known_ahead),     T(broken_ahead),	    T(indirect),     T(long_indirect),
		T(broken_index),   T(broken_head),     T(offered_twice),    T(broken_chain), T(broken_indirect),
		T(not_negotiated), T(refused_setups),  T(signals_by_event), T(signals_wrap), T(signals_by_flag),
		T(kicks_by_event), T(nothing_told),    T(taken_over),	    T(settled),	     T(goes_on),
		T(starts_over),	   T(hostile_journal), T(starts_at_base),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
