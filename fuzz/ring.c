/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring walk: vq_init(), vq_pop(), vq_refetch(), vq_push() and the journal, over memory that the input fills and goes on
 * changing. What is popped must lie in shared memory, be counted right, and be given back once.
 */
#include "fuzz.h"
#include "ground.h"
#include "ring.h"
#include "util/util.h"
#include "vhost/vring.h"

struct run {
	struct vq vq;
	struct inflight_entry entries[VRING_MAX_NUM];
	int n_entries;
	uint16_t popped[VRING_MAX_NUM];
	bool out[VRING_MAX_NUM];
	uint32_t n_popped;
};

static void check_pieces(const struct iovec *iov, size_t n, uint64_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		ground_check(iov[i].iov_base, iov[i].iov_len);
		sum += iov[i].iov_len;
	}
	CHECK(sum == len);
}

static void check_chain(const struct run *run, const struct vq_chain *chain)
{
	CHECK(chain->head < run->vq.num);
	CHECK(chain->n_readable + chain->n_writable <= VRING_MAX_PIECES);
	check_pieces(chain->readable, chain->n_readable, chain->readable_len);
	check_pieces(chain->writable, chain->n_writable, chain->writable_len);
}

static void hold(struct run *run, uint16_t head)
{
	CHECK(!run->out[head]);
	run->out[head] = true;
	run->popped[run->n_popped++] = head;
}

/* False: the ring is broken. */
static bool pop(struct run *run)
{
	struct vq_chain chain;
	struct error error = { 0 };
	int r = vq_pop(&run->vq, &chain, &error);

	if (r > 0) {
		check_chain(run, &chain);
		hold(run, chain.head);
		vq_take(&run->vq, chain.head);
	}
	CHECK(r >= 0 || error.text[0]);
	return r >= 0;
}

static void push(struct run *run, uint32_t which)
{
	uint16_t head;

	if (!run->n_popped)
		return;
	which %= run->n_popped;
	head = run->popped[which];
	run->popped[which] = run->popped[--run->n_popped];
	run->out[head] = false;
	vq_push(&run->vq, head, which);
}

static void refetch(struct run *run)
{
	for (int i = 0; i < run->n_entries; i++) {
		struct vq_chain chain;

		CHECK(run->entries[i].head < run->vq.num);
		CHECK(i == 0 || run->entries[i].counter >= run->entries[i - 1].counter);
		hold(run, run->entries[i].head);
		if (vq_refetch(&run->vq, &run->entries[i], &chain, NULL) == 0)
			check_chain(run, &chain);
	}
}

static void script(struct run *run, struct input *in)
{
	bool whole = true;

	while (in->left) {
		switch (input_u8(in) % 6) {
		case 0:
		case 1:
			whole = whole && pop(run);
			break;
		case 2:
			push(run, input_u8(in));
			break;
		case 3:
			vq_wants_signal(&run->vq);
			break;
		case 4:
			vq_disable_kicks(&run->vq);
			vq_enable_kicks(&run->vq);
			break;
		case 5:
			*ground_byte(input_u16(in)) = input_u8(in);
			break;
		}
		CHECK(vq_n_busy(&run->vq) == run->n_popped);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run run;
	struct input in = { data, size };
	struct fuzz_ring head;
	struct inflight_region *journal;
	struct vhost_memory *memory;
	struct vq_setup setup;

	input_bytes(&in, &head, sizeof(head));
	memory = ground(&in, MIN(in.left, head.memory_len));
	setup = (struct vq_setup){
		.num = head.num,
		.base = head.base,
		.recover = head.flags & FUZZ_RING_RECOVER,
		.desc = GROUND_UVA + head.desc,
		.avail = GROUND_UVA + head.avail,
		.used = GROUND_UVA + head.used,
		.features = head.features,
		.counter = 1,
	};
	/* The journal is as long as the ring's size says, which the caller has checked. */
	journal = calloc(1, inflight_size(MIN(head.num, VRING_MAX_NUM)));
	CHECK(journal);
	if (head.flags & FUZZ_RING_JOURNAL)
		input_bytes(&in, journal, MIN(inflight_size(MIN(head.num, VRING_MAX_NUM)), in.left / 2));
	if (head.flags & FUZZ_RING_VALID) {
		journal->version = INFLIGHT_VERSION;
		journal->desc_num = head.num;
	}
	memset(&run, 0, sizeof(run));
	run.n_entries = vq_init(&run.vq, memory, &setup, journal, run.entries, NULL);
	if (run.n_entries >= 0) {
		refetch(&run);
		script(&run, &in);
		while (run.n_popped)
			push(&run, 0);
		CHECK(vq_n_busy(&run.vq) == 0);
		vq_fini(&run.vq);
	}
	free(journal);
	return 0;
}
