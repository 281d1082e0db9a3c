/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and workers that die: what makes a key makes one, what removes one removes it, however often that runs, and keys
 * that there were go on.
 */
#include "keys.h"

#include <endian.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/util.h"
#include "vhost/inflight.h"

#define KEYS 3
/* In the heap: of each key its bytes and the answer. */
#define AT(i) (65536u + (i)*256u)

static int setup(void **state)
{
	rig_start("cipher = openssl\n[engine]\nthreads = 2\n[limits]\nkeys = 1\n");
	return 0;
}

static int teardown(void **state)
{
	rig_stop();
	return 0;
}

static struct job *send_op(struct guest *g, unsigned int i, struct wire_request *request, uint32_t op, void *params,
			   size_t len)
{
	request->type = VIRTIO_ACCEL_T_OP;
	request->session = g->session;
	request->op = op;
	request->params = params;
	request->params_len = (uint32_t)len;
	op_params_encode(op_by_id(op), params, params);
	return guest_send(g, i % QUEUES, request);
}

static struct job *send_import(struct guest *g, unsigned int i)
{
	struct vaccel_key_import params = { .type = VACCEL_KEY_AES, .rights = VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT };
	const struct wire_extent extents[] = { { guest_heap_addr(g, AT(i)), 16 },
					       { guest_heap_addr(g, AT(i) + 128), sizeof(struct vaccel_key_about) } };
	struct wire_request request = {
		.n_args = 2,
		.n_extents = 2,
		.extents = extents,
		.args = { { .kind = VIRTIO_ACCEL_ARG_EXTENTS, .dir = VIRTIO_ACCEL_DIR_IN, .n_extents = 1, .len = 16 },
			  { .kind = VIRTIO_ACCEL_ARG_EXTENTS,
			    .dir = VIRTIO_ACCEL_DIR_OUT,
			    .first_extent = 1,
			    .n_extents = 1,
			    .len = sizeof(struct vaccel_key_about) } },
	};

	memset(guest_heap(g, AT(i)), (int)i + 1, 16);
	return send_op(g, i, &request, VACCEL_OP_KEY_IMPORT, &params, sizeof(params));
}

static struct job *send_free(struct guest *g, unsigned int i, uint64_t id)
{
	struct vaccel_key_free params = { .key = id };
	struct wire_request request = { .n_args = 0 };

	return send_op(g, i, &request, VACCEL_OP_KEY_FREE, &params, sizeof(params));
}

static const struct vaccel_key_about *answer_at(struct guest *g, unsigned int i)
{
	return guest_heap(g, AT(i) + 128);
}

/* ---- the journal is ours: what was answered is made to look as if the worker had died before ---- */

struct journal {
	struct vhost_inflight inflight;
	int fd;
	uint8_t *map;
};

static void journal_open(struct guest *g, struct journal *journal)
{
	struct error error = { 0 };
	uint16_t base;

	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(frontend_queue_stop(g->frontend, i, &base, &error), 0);
		dring_fini(&g->ring[i]);
	}
	assert_int_equal(
		frontend_get_inflight(g->frontend, QUEUES, RING_SIZE, &journal->inflight, &journal->fd, &error), 0);
	assert_int_equal(frontend_set_inflight(g->frontend, &journal->inflight, journal->fd, &error), 0);
	journal->map = mmap(NULL, journal->inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, journal->fd,
			    (off_t)journal->inflight.mmap_offset);
	assert_true(journal->map != MAP_FAILED);
	for (unsigned int i = 0; i < QUEUES; i++)
		guest_start_queue(g, i);
	/* With all its queues stopped a device is a new one. */
	g->session = guest_session(g);
}

static void journal_close(struct journal *journal)
{
	munmap(journal->map, journal->inflight.mmap_size);
	close(journal->fd);
}

/* The last request of the queue, which is answered: a worker takes it again. Returns the status that it ends with. */
static uint32_t run_again(struct guest *g, const struct journal *journal, unsigned int queue, const struct job *job)
{
	struct dring *ring = &g->ring[queue];
	uint16_t last = (uint16_t)(le16toh(ring->used->idx) - 1) % RING_SIZE;
	uint32_t head = le32toh(ring->used->ring[last].id);
	struct inflight_region *region = (struct inflight_region *)(journal->map + queue * inflight_size(RING_SIZE));
	struct virtio_accel_resp *response = (void *)((char *)g->data->data + job->slot * SLOT_SIZE + SLOT_SIZE / 2);
	uint64_t until = now_ns() + UINT64_C(60000000000);

	assert_int_equal(region->desc[head].inflight, 0);
	memset(response, 0xee, sizeof(*response));
	/* As it was between taking it and giving it back. */
	region->desc[head].inflight = 1;
	region->used_idx--;
	ring->used->idx = htole16((uint16_t)(le16toh(ring->used->idx) - 1));
	ring->last_used--;
	rig_kill_worker();
	while (!dring_pending(ring)) {
		assert_true(now_ns() < until);
		poll(NULL, 0, 1);
	}
	/* Nobody waits for it. */
	ring->last_used++;
	assert_int_equal(le64toh(response->id), job->response.id);
	return le32toh(response->status);
}

static void exactly_once(void **state)
{
	struct guest *g = guest_open_all();
	struct journal journal;
	struct job *job;
	uint64_t id;

	journal_open(g, &journal);
	for (unsigned int i = 0; i < KEYS; i++) {
		unsigned int queue = i % QUEUES;

		job = guest_wait(g, queue, send_import(g, i));
		assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
		id = answer_at(g, i)->id;
		memset(guest_heap(g, AT(i) + 128), 0, sizeof(struct vaccel_key_about));
		/* The same key, and the limit allows no other one. */
		assert_int_equal(run_again(g, &journal, queue, job), VIRTIO_ACCEL_S_OK);
		assert_true(answer_at(g, i)->id == id);
		job_free(g, job);
		guest_crypt(g, queue, g->session, le64toh(id), VIRTIO_ACCEL_S_OK);
		/* It is gone already, and that is what was asked for. */
		job = guest_wait(g, queue, send_free(g, i, le64toh(id)));
		assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
		assert_int_equal(run_again(g, &journal, queue, job), VIRTIO_ACCEL_S_OK);
		job_free(g, job);
		guest_crypt(g, queue, g->session, le64toh(id), VIRTIO_ACCEL_S_STALE);
	}
	journal_close(&journal);
	guest_close(g);
}

/* Keys that there are go on. */
static void keys_outlive_the_worker(void **state)
{
	struct guest *g = guest_open_all();
	const uint8_t key[16] = "sixteen bytes...";
	uint64_t id = guest_import(g, g->session, key, sizeof(key), 1);

	for (unsigned int i = 0; i < 3; i++) {
		guest_crypt(g, i % QUEUES, g->session, id, VIRTIO_ACCEL_S_OK);
		rig_kill_worker();
	}
	guest_key_free(g, g->session, id);
	rig_kill_worker();
	guest_crypt(g, 0, g->session, id, VIRTIO_ACCEL_S_STALE);
	guest_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(exactly_once, setup, teardown),
		cmocka_unit_test_setup_teardown(keys_outlive_the_worker, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
