/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rings that lie: indices that jump, heads and chains that lead nowhere, tables within tables, descriptors that another
 * thread changes all the time. It breaks that ring alone, the log says how, and set up anew it serves again.
 */
#include "peer.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

#define DATA  (PEER_DATA + PEER_HEAP)
#define TABLE (PEER_DATA + PEER_TABLE)
#define END   (PEER_DATA + PEER_DATA_LEN)

/* Descriptors 0 to 2 of the ring, the first two of an indirect table, what is made available. */
static const struct {
	const char *name;
	struct vring_desc desc[3], table[2];
	uint16_t head;
	uint16_t ahead; /* of the available index */
	const char *log;
} rows[] = {
	{ "index jumps", { { 0 } }, { { 0 } }, 0, PEER_NUM + 1, "is 65 ahead in a ring of 64" },
	{ "index goes back", { { 0 } }, { { 0 } }, 0, UINT16_MAX, "is 65535 ahead" },
	{ "half-way round", { { 0 } }, { { 0 } }, 0, 0x8000, "is 32768 ahead" },
	{ "head behind the table", { { 0 } }, { { 0 } }, PEER_NUM, 1, "available descriptor 64 in a ring of 64" },
	{ "head far behind", { { 0 } }, { { 0 } }, UINT16_MAX, 1, "available descriptor 65535" },
	{ "loop of one", { { DATA, 1, N, 0 } }, { { 0 } }, 0, 1, "chain of more than 64 descriptors" },
	{ "loop of two", { { DATA, 1, N, 1 }, { DATA, 1, N, 0 } }, { { 0 } }, 0, 1, "chain of more than 64" },
	{ "loop without bytes", { { DATA, 0, N, 0 } }, { { 0 } }, 0, 1, "chain of more than 64" },
	{ "next behind the table", { { DATA, 1, N, PEER_NUM } }, { { 0 } }, 0, 1, "next descriptor 64 of 64" },
	{ "next far behind", { { DATA, 1, N, UINT16_MAX } }, { { 0 } }, 0, 1, "next descriptor 65535 of 64" },
	{ "readable after writable",
	  { { DATA, 64, N | W, 1 }, { DATA, 1, 0, 0 } },
	  { { 0 } },
	  0,
	  1,
	  "readable descriptor after a writable one" },
	{ "address nowhere", { { 0x20000000, 1, 0, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "address 0", { { 0, 1, 0, 0 } }, { { 0 } }, 0, 1, "address 0 is not in shared memory" },
	{ "over the end", { { END - 1, 2, 0, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "address wraps", { { UINT64_MAX, 2, W, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "longest there is", { { DATA, UINT32_MAX, 0, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "table of nothing", { { TABLE, 0, I, 0 } }, { { 0 } }, 0, 1, "indirect table of 0 bytes" },
	{ "table of half", { { TABLE, 24, I, 0 } }, { { 0 } }, 0, 1, "indirect table of 24 bytes" },
	{ "table too long", { { TABLE, 1025 * 16, I, 0 } }, { { 0 } }, 0, 1, "indirect table of 16400 bytes" },
	{ "enormous table", { { TABLE, UINT32_MAX - 15, I, 0 } }, { { 0 } }, 0, 1, "indirect table of 4294967280" },
	{ "table and next", { { TABLE, 16, I | N, 1 } }, { { 0 } }, 0, 1, "indirect descriptor with a next one" },
	{ "table nowhere", { { 0x20000000, 16, I, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "table over the end", { { END - 16, 32, I, 0 } }, { { 0 } }, 0, 1, "is not in shared memory" },
	{ "table in a table", { { TABLE, 32, I, 0 } }, { { TABLE, 16, I, 0 } }, 0, 1, "inside an indirect table" },
	{ "table deep in a table",
	  { { TABLE, 32, I, 0 } },
	  { { DATA, 1, N, 1 }, { TABLE, 16, I, 0 } },
	  0,
	  1,
	  "inside an indirect table" },
	{ "loop in a table",
	  { { TABLE, 32, I, 0 } },
	  { { DATA, 1, N, 1 }, { DATA, 1, N, 0 } },
	  0,
	  1,
	  "chain of more than 2 descriptors" },
	{ "next out of a table", { { TABLE, 32, I, 0 } }, { { DATA, 1, N, 2 } }, 0, 1, "next descriptor 2 of 2" },
	{ "table behind a chain", { { DATA, 1, N, 1 }, { TABLE, 24, I, 0 } }, { { 0 } }, 0, 1, "indirect table of 24" },
};

static void one_good_request(struct peer *p, uint16_t head)
{
	peer_request(p, head, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, head * 64u);
	peer_offer(p, head);
	peer_wait_used(p, 1);
}

static void broken(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("  %s\n", rows[i].name);
		hostile_mark();
		one_good_request(p, 8);
		memcpy(p->desc, rows[i].desc, sizeof(rows[i].desc));
		memcpy(p->table, rows[i].table, sizeof(rows[i].table));
		p->avail->ring[p->avail->idx % PEER_NUM] = rows[i].head;
		__atomic_store_n(&p->avail->idx, (uint16_t)(p->avail->idx + rows[i].ahead), __ATOMIC_RELEASE);
		eventfd_write(p->kick, 1);
		peer_expect_broken(p);
		hostile_logged(rows[i].log);
		peer_alive(p);
		guest_works(honest);
		peer_start_ring(p, PEER_NUM);
	}
	one_good_request(p, 8);
	peer_free(p);
	hostile_over();
}

/* Where a ring may not lie: between regions, over an end, on an odd place of the file. */
static void places(void **state)
{
	static const struct {
		const char *name;
		uint64_t desc, avail, used;
		const char *log;
	} bad[] = {
		{ "nowhere", 0x10, 0x20, 0x40, "descriptor table at 0x10 is not in one region" },
		{ "table over the end", PEER_UVA + PEER_DATA + PEER_DATA_LEN - 16, PEER_UVA + PEER_RINGS,
		  PEER_UVA + PEER_RINGS + PEER_USED, "descriptor table at" },
		{ "available over the end", PEER_UVA + PEER_RINGS, PEER_UVA + PEER_RINGS + PEER_RINGS_LEN - 2,
		  PEER_UVA + PEER_RINGS + PEER_USED, "available ring at" },
		{ "used over the end", PEER_UVA + PEER_RINGS, PEER_UVA + PEER_RINGS + PEER_AVAIL,
		  PEER_UVA + PEER_RINGS + PEER_RINGS_LEN - 4, "used ring at" },
		{ "at the last address", UINT64_MAX & ~UINT64_C(15), PEER_UVA + PEER_RINGS, PEER_UVA + PEER_RINGS,
		  "is not in one region" },
	};
	struct peer *p = peer_new(PEER_RUNNING);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct vhost_vring_addr addr = { .desc = bad[i].desc,
						       .avail = bad[i].avail,
						       .used = bad[i].used };

		print_message("  %s\n", bad[i].name);
		hostile_mark();
		assert_int_equal(peer_say(p, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1), PEER_ACCEPTED);
		hostile_logged(bad[i].log);
		peer_alive(p);
		guest_works(honest);
		peer_start_ring(p, PEER_NUM);
		one_good_request(p, 0);
	}
	peer_free(p);
	hostile_over();
}

/* Rings over each other, and the used ring over its own descriptors: only their owner is the worse for it. */
static void over_itself(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	const struct vhost_vring_addr addr = { .desc = PEER_UVA + PEER_RINGS,
					       .avail = PEER_UVA + PEER_RINGS,
					       .used = PEER_UVA + PEER_RINGS };

	assert_int_equal(peer_say(p, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1), PEER_ACCEPTED);
	for (uint16_t i = 0; i < 200; i++) {
		memset(p->rings, i, PEER_NUM);
		eventfd_write(p->kick, 1);
	}
	peer_alive(p);
	peer_free(p);
	hostile_over();
}

/* A head that is still in use is offered again. */
static void offered_again(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	struct virtio_accel_resp response;
	struct vaccel_gemm gemm = {
		VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 0, 72, 72, 72, 72, 72, 72, 1, 0
	};
	struct wire_extent extents[3];
	struct wire_request request = { .type = VIRTIO_ACCEL_T_OP,
					.op = VACCEL_OP_SGEMM,
					.n_args = 3,
					.n_extents = 3,
					.params_len = sizeof(gemm),
					.extents = extents,
					.params = &gemm };

	one_good_request(p, 0);
	memcpy(&response, p->data + PEER_ANSWERS, sizeof(response));
	request.session = response.value;
	gemm.alpha = fault_alpha(FAULT_DELAY, 0, 1500);
	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	for (uint32_t i = 0; i < 3; i++) {
		extents[i] = (struct wire_extent){ DATA + i * 20736, 20736 };
		request.args[i] = (struct wire_arg){ VIRTIO_ACCEL_ARG_EXTENTS, i < 2 ? 1 : 2, 0, 1, 0, 0, 20736 };
	}
	peer_request(p, 2, &request, 0x1000);
	hostile_mark();
	peer_offer(p, 2);
	peer_offer(p, 2);
	peer_expect_broken(p);
	hostile_logged("descriptor 2 was made available while it is in use");
	/* It is answered all the same, once. */
	peer_wait_used(p, 1);
	memcpy(&response, p->data + PEER_ANSWERS + 2 * 128, sizeof(response));
	assert_int_equal(response.status, VIRTIO_ACCEL_S_OK);
	peer_start_ring(p, PEER_NUM);
	one_good_request(p, 0);
	peer_free(p);
	hostile_over();
}

/* ---- changes between check and use ---- */

struct flipper {
	struct peer *peer;
	pthread_t thread;
	bool stop; /* atomic */
};

/* Between a request and its opposite, in every field that is checked, as fast as it goes. */
static void *flip(void *opaque)
{
	struct flipper *f = opaque;
	struct vring_desc *desc = f->peer->desc, *table = f->peer->table;
	volatile uint8_t *message = f->peer->data;
	uint32_t i = 0;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		bool bad = ++i % 2;

		__atomic_store_n(&desc[0].len, bad ? UINT32_MAX : 64, __ATOMIC_RELAXED);
		__atomic_store_n(&desc[0].next, bad ? 0xfff0 : 1, __ATOMIC_RELAXED);
		__atomic_store_n(&desc[2].len, bad ? 1024 * 16 : 32, __ATOMIC_RELAXED);
		__atomic_store_n(&desc[2].addr, bad ? UINT64_MAX - 15 : TABLE, __ATOMIC_RELAXED);
		__atomic_store_n(&table[0].next, bad ? 0x7fff : 1, __ATOMIC_RELAXED);
		__atomic_store_n(&table[0].flags, bad ? I : N, __ATOMIC_RELAXED);
		__atomic_store_n(&table[1].addr, bad ? 0 : PEER_DATA + PEER_ANSWERS, __ATOMIC_RELAXED);
		/* Counts of arguments and extents, and the type. */
		message[offsetof(struct virtio_accel_req, n_args)] = bad ? 255 : 0;
		message[offsetof(struct virtio_accel_req, n_extents) + 1] = bad ? 255 : 0;
		message[offsetof(struct virtio_accel_req, params_len)] = bad ? 255 : 0;
		message[0] = bad ? VIRTIO_ACCEL_T_QUERY : VIRTIO_ACCEL_T_SESSION_OPEN;
	}
	return NULL;
}

static void wait_round(struct peer *p)
{
	struct pollfd err = { .fd = p->err, .events = POLLIN };

	while (__atomic_load_n(&p->used->idx, __ATOMIC_ACQUIRE) == p->last_used) {
		eventfd_t count;

		if (poll(&err, 1, 0) == 0)
			continue;
		eventfd_read(p->err, &count);
		peer_start_ring(p, PEER_NUM);
		return;
	}
	p->last_used++;
}

static void changed_meanwhile(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	struct flipper flipper = { .peer = p };

	assert_int_equal(pthread_create(&flipper.thread, NULL, flip, &flipper), 0);
	for (int i = 0; i < 2000; i++) {
		peer_desc(p, 0, PEER_DATA, 64, N, 1);
		peer_desc(p, 1, PEER_DATA + PEER_ANSWERS, 256, W, 0);
		peer_desc(p, 2, TABLE, 32, I, 0);
		p->table[0] = (struct vring_desc){ PEER_DATA, 64, N, 1 };
		p->table[1] = (struct vring_desc){ PEER_DATA + PEER_ANSWERS, 256, W, 0 };
		peer_offer(p, i % 2 ? 0 : 2);
		wait_round(p);
	}
	__atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
	pthread_join(flipper.thread, NULL);
	peer_free(p);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken),
		cmocka_unit_test(places),
		cmocka_unit_test(over_itself),
		cmocka_unit_test(offered_again),
		cmocka_unit_test(changed_meanwhile),
	};

	return hostile_main("rings", tests, ARRAY_SIZE(tests));
}
