/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto_rig.h. */
#include "crypto_rig.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "util/util.h"

/* In a slot. */
#define HEADER_AT 0
#define IV_AT	  2048
#define KEY_AT	  4096
#define ANSWER_AT 12288 /* of the control queue, and the status */
#define TABLE_AT  16384
#define MAX_BUFS  1000

void crypto_rig_start(const char *order, const char *config)
{
	char text[1024];

	snprintf(text, sizeof(text), "[order]\ndefault = %s\n[engine]\nqueues = %d\nthreads = 2\n%s", order,
		 CRYPTO_DATA_QUEUES, config);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	rig_daemon.words[0] = "--device=crypto";
	assert_int_equal(daemon_start(&rig_daemon), 0);
}

static void start_queue(struct crypto_guest *g, unsigned int queue)
{
	uint8_t *memory = (uint8_t *)g->rings->data + queue * ((dring_bytes(CRYPTO_RING) + 4095) & ~4095ul);
	struct error error = { 0 };

	memset(memory, 0, dring_bytes(CRYPTO_RING));
	assert_int_equal(
		dring_init(&g->ring[queue], memory, CRYPTO_RING, frontend_has_feature(g->frontend, VHOST_F_EVENT_IDX)),
		0);
	if (frontend_queue_start(g->frontend, queue, &g->ring[queue], g->rings, g->kick[queue], g->call[queue], &error))
		fail_msg("%s", error.text);
}

struct crypto_guest *crypto_open(void)
{
	const struct frontend_options options = { .features = FRONTEND_RING_FEATURES,
						  .protocol_features = FRONTEND_PROTOCOL_FEATURES,
						  .timeout_ms = 60000 };
	struct crypto_guest *g = calloc(1, sizeof(*g));
	struct error error = { 0 };

	assert_non_null(g);
	if (frontend_connect(rig_daemon.socket, &options, &g->frontend, &error) < 0 ||
	    frontend_region_new(g->frontend, 128u << 10, &g->rings, &error) < 0 ||
	    frontend_region_new(g->frontend, CRYPTO_HEAP + CRYPTO_HEAP_LEN, &g->data, &error) < 0)
		fail_msg("%s", error.text);
	assert_int_equal(frontend_max_queues(g->frontend), CRYPTO_QUEUES);
	for (unsigned int i = 0; i < CRYPTO_QUEUES; i++) {
		g->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		start_queue(g, i);
	}
	return g;
}

void crypto_reset(struct crypto_guest *g)
{
	struct error error = { 0 };

	if (frontend_reset_device(g->frontend, &error) < 0)
		fail_msg("%s", error.text);
	for (unsigned int i = 0; i < CRYPTO_QUEUES; i++) {
		dring_fini(&g->ring[i]);
		start_queue(g, i);
	}
}

void crypto_close(struct crypto_guest *g)
{
	frontend_free(g->frontend);
	for (unsigned int i = 0; i < CRYPTO_QUEUES; i++) {
		dring_fini(&g->ring[i]);
		close(g->kick[i]);
		close(g->call[i]);
	}
	free(g);
}

static uint8_t *slot_at(struct crypto_guest *g, unsigned int slot)
{
	return (uint8_t *)g->data->data + slot * CRYPTO_SLOT;
}

uint8_t *crypto_heap(struct crypto_guest *g, uint32_t offset)
{
	return (uint8_t *)g->data->data + CRYPTO_HEAP + offset;
}

uint64_t crypto_addr(struct crypto_guest *g, const void *data)
{
	return g->data->guest_addr + (uint64_t)((const uint8_t *)data - (uint8_t *)g->data->data);
}

static unsigned int free_slot(struct crypto_guest *g)
{
	unsigned int slot = 0;

	while (g->slot_used[slot])
		assert_true(++slot < CRYPTO_SLOTS);
	return slot;
}

uint8_t *crypto_next_slot(struct crypto_guest *g)
{
	return slot_at(g, free_slot(g));
}

struct crypto_job *crypto_send(struct crypto_guest *g, unsigned int queue, const struct dring_buf *bufs, uint16_t n,
			       bool table)
{
	unsigned int slot = free_slot(g);
	struct dring_table indirect = { .desc = (void *)(slot_at(g, slot) + TABLE_AT),
					.addr = crypto_addr(g, slot_at(g, slot) + TABLE_AT) };
	struct crypto_job *job = &g->jobs[slot];

	*job = (struct crypto_job){ .slot = slot };
	g->slot_used[slot] = true;
	assert_int_equal(dring_add(&g->ring[queue], bufs, n, table ? &indirect : NULL, job), 0);
	if (dring_publish(&g->ring[queue]))
		assert_int_equal(eventfd_write(g->kick[queue], 1), 0);
	return job;
}

void crypto_poll(struct crypto_guest *g, unsigned int queue)
{
	struct error error = { 0 };
	void *token;
	uint32_t len;
	int r;

	while ((r = dring_pop(&g->ring[queue], &token, &len, &error)) > 0) {
		struct crypto_job *job = token;

		assert_false(job->done);
		job->done = true;
		job->written = len;
	}
	if (r < 0)
		fail_msg("%s", error.text);
}

void crypto_wait(struct crypto_guest *g, unsigned int queue, struct crypto_job *job)
{
	uint64_t until = now_ns() + UINT64_C(60000000000);

	for (crypto_poll(g, queue); !job->done; crypto_poll(g, queue)) {
		if (now_ns() > until)
			fail_msg("a request was not answered");
		rig_await(&g->ring[queue], g->call[queue]);
	}
}

void crypto_free(struct crypto_guest *g, struct crypto_job *job)
{
	assert_true(job->done);
	g->slot_used[job->slot] = false;
}

/* ---- chains ---- */

struct chain {
	struct crypto_guest *guest;
	struct dring_buf bufs[MAX_BUFS];
	uint16_t n;
	uint32_t piece, gap;
};

/* len bytes from data on, in pieces: with a gap the memory that they lie in is longer. */
static void add(struct chain *c, const uint8_t *data, uint32_t len, bool writable)
{
	uint32_t piece = c->piece ? c->piece : len;

	for (uint32_t done = 0, at = 0; done < len; done += piece, at += piece + c->gap) {
		assert_true(c->n < MAX_BUFS);
		c->bufs[c->n++] = (struct dring_buf){ .addr = crypto_addr(c->guest, data + at),
						      .len = MIN(piece, len - done),
						      .writable = writable };
	}
}

static void copy(uint32_t piece, uint32_t gap, uint8_t *memory, void *data, uint32_t len, bool take)
{
	uint8_t *bytes = data;

	if (!piece)
		piece = len;
	for (uint32_t done = 0; done < len; done += piece, memory += piece + gap) {
		uint32_t n = MIN(piece, len - done);

		if (take)
			memcpy(bytes + done, memory, n);
		else
			memcpy(memory, bytes + done, n);
	}
}

void crypto_put(struct crypto_guest *g, const struct crypto_plan *plan, uint32_t at, const void *data, uint32_t len)
{
	copy(plan->piece, plan->gap, crypto_heap(g, at), (void *)data, len, false);
}

void crypto_take(struct crypto_guest *g, const struct crypto_plan *plan, uint32_t at, void *data, uint32_t len)
{
	copy(plan->piece, plan->gap, crypto_heap(g, at), data, len, true);
}

/* ---- sessions ---- */

static void fill_make(const struct crypto_make *make, struct virtio_crypto_op_ctrl_req *req)
{
	uint32_t said = make->key_said ? make->key_said : make->key_len;

	*req = (struct virtio_crypto_op_ctrl_req){ .header.opcode = htole32(make->opcode),
						   .header.algo = htole32(make->algorithm) };
	if (make->opcode == VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION) {
		struct virtio_crypto_akcipher_session_para *para = &req->u.akcipher_create_session.para;

		para->algo = htole32(make->algorithm);
		para->keytype = htole32(make->kind ? make->kind : VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE);
		para->keylen = htole32(said);
		para->u.rsa.padding_algo = htole32(make->padding);
		para->u.rsa.hash_algo = htole32(make->hash);
		return;
	}
	req->u.sym_create_session.op_type = htole32(make->kind ? make->kind : VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req->u.sym_create_session.u.cipher.para.algo = htole32(make->algorithm);
	req->u.sym_create_session.u.cipher.para.keylen = htole32(said);
	req->u.sym_create_session.u.cipher.para.op = htole32(make->direction);
}

uint32_t crypto_create(struct crypto_guest *g, const struct crypto_make *plan, uint64_t *ret_id)
{
	struct crypto_make make = *plan;
	struct virtio_crypto_op_ctrl_req req;
	struct virtio_crypto_session_input input;
	uint8_t *slot = crypto_next_slot(g);
	struct chain c = { .guest = g, .piece = make.piece };
	struct crypto_job *job;
	uint32_t status;

	make.opcode = make.opcode ? make.opcode : VIRTIO_CRYPTO_CIPHER_CREATE_SESSION;
	fill_make(&make, &req);
	memcpy(slot + HEADER_AT, &req, sizeof(req));
	memset(slot + ANSWER_AT, 0xee, sizeof(input));
	assert_true(make.key_len <= ANSWER_AT - KEY_AT);
	if (make.key_len)
		memcpy(slot + KEY_AT, make.key, make.key_len);
	add(&c, slot + HEADER_AT, make.header ? make.header : sizeof(req), false);
	add(&c, slot + KEY_AT, make.key_len, false);
	if (!make.without_room)
		add(&c, slot + ANSWER_AT, make.room ? make.room : sizeof(input), true);
	job = crypto_send(g, CRYPTO_CONTROL, c.bufs, c.n, false);
	crypto_wait(g, CRYPTO_CONTROL, job);
	memcpy(&input, slot + ANSWER_AT, sizeof(input));
	status = job->written ? le32toh(input.status) : UINT32_MAX;
	if (status != VIRTIO_CRYPTO_OK && job->written)
		assert_true(input.session_id == 0);
	if (ret_id)
		*ret_id = le64toh(input.session_id);
	crypto_free(g, job);
	return status;
}

uint64_t crypto_cipher_session(struct crypto_guest *g, uint32_t algorithm, uint32_t direction, const void *key,
			       uint32_t key_len)
{
	const struct crypto_make make = {
		.algorithm = algorithm, .direction = direction, .key = key, .key_len = key_len
	};
	uint64_t id;

	assert_int_equal(crypto_create(g, &make, &id), VIRTIO_CRYPTO_OK);
	assert_true(id != 0);
	return id;
}

uint32_t crypto_destroy(struct crypto_guest *g, uint32_t opcode, uint64_t id)
{
	struct virtio_crypto_op_ctrl_req req = { .header.opcode = htole32(
							 opcode ? opcode : VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION),
						 .u.destroy_session.session_id = htole64(id) };
	uint8_t *slot = crypto_next_slot(g);
	struct chain c = { .guest = g };
	struct crypto_job *job;
	uint32_t status;

	memcpy(slot + HEADER_AT, &req, sizeof(req));
	slot[ANSWER_AT] = 0xee;
	add(&c, slot + HEADER_AT, sizeof(req), false);
	add(&c, slot + ANSWER_AT, 1, true);
	job = crypto_send(g, CRYPTO_CONTROL, c.bufs, c.n, false);
	crypto_wait(g, CRYPTO_CONTROL, job);
	status = job->written ? slot[ANSWER_AT] : UINT32_MAX;
	crypto_free(g, job);
	return status;
}

/* ---- requests ---- */

static void fill_plan(const struct crypto_plan *plan, struct virtio_crypto_op_data_req *req)
{
	*req = (struct virtio_crypto_op_data_req){ .header.opcode = htole32(plan->opcode),
						   .header.session_id = htole64(plan->session) };
	if (plan->opcode >> 8 == VIRTIO_CRYPTO_SERVICE_AKCIPHER) {
		req->u.akcipher_req.para.src_data_len = htole32(plan->src_len);
		req->u.akcipher_req.para.dst_data_len = htole32(plan->dst_len);
		return;
	}
	req->u.sym_req.op_type = htole32(plan->kind ? plan->kind : VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req->u.sym_req.u.cipher.para.iv_len = htole32(plan->iv_len);
	req->u.sym_req.u.cipher.para.src_data_len = htole32(plan->src_len);
	req->u.sym_req.u.cipher.para.dst_data_len = htole32(plan->dst_len);
}

static uint32_t there(uint32_t said, int32_t more)
{
	return (uint32_t)((int64_t)said + more);
}

struct crypto_job *crypto_plan_send(struct crypto_guest *g, unsigned int queue, const struct crypto_plan *plan)
{
	struct virtio_crypto_op_data_req req;
	uint8_t *slot = crypto_next_slot(g);
	struct chain c = { .guest = g, .piece = plan->piece, .gap = plan->gap };
	uint32_t iv_len = there(plan->iv_len, plan->iv_more);
	uint8_t iv[1024] = { 0 };

	fill_plan(plan, &req);
	assert_true(iv_len <= sizeof(iv));
	if (plan->iv)
		memcpy(iv, plan->iv, MIN(iv_len, 16));
	copy(plan->piece, plan->gap, slot + HEADER_AT, &req, sizeof(req), false);
	copy(plan->piece, plan->gap, slot + IV_AT, iv, iv_len, false);
	slot[ANSWER_AT] = 0xee;
	add(&c, slot + HEADER_AT, plan->header ? plan->header : sizeof(req), false);
	add(&c, slot + IV_AT, iv_len, false);
	add(&c, crypto_heap(g, plan->src), there(plan->src_len, plan->src_more), false);
	if (!plan->no_dst)
		add(&c, crypto_heap(g, plan->dst), there(plan->dst_len, plan->dst_more),
		    !plan->verifies && !plan->dst_readable);
	if (!plan->no_status)
		add(&c, slot + ANSWER_AT, 1, true);
	return crypto_send(g, queue, c.bufs, c.n, plan->table);
}

uint32_t crypto_finish(struct crypto_guest *g, unsigned int queue, struct crypto_job *job)
{
	uint32_t status;

	crypto_wait(g, queue, job);
	status = job->written ? slot_at(g, job->slot)[ANSWER_AT] : UINT32_MAX;
	crypto_free(g, job);
	return status;
}

uint32_t crypto_run(struct crypto_guest *g, unsigned int queue, const struct crypto_plan *plan)
{
	return crypto_finish(g, queue, crypto_plan_send(g, queue, plan));
}

/* NIST SP 800-38A, F.2.1 and F.2.2, the first block. */
static const uint8_t known_key[16] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
				       0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };
static const uint8_t known_plain[16] = { 0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
					 0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a };
static const uint8_t known_cipher[16] = { 0x76, 0x49, 0xab, 0xac, 0x81, 0x19, 0xb2, 0x46,
					  0xce, 0xe9, 0x8e, 0x9b, 0x12, 0xe9, 0x19, 0x7d };
static const uint8_t known_iv[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };

void crypto_works(struct crypto_guest *g)
{
	uint32_t at = CRYPTO_HEAP_LEN - 4096;

	for (unsigned int queue = 0; queue < CRYPTO_DATA_QUEUES; queue++)
		for (uint32_t direction = VIRTIO_CRYPTO_OP_ENCRYPT; direction <= VIRTIO_CRYPTO_OP_DECRYPT;
		     direction++) {
			bool encrypts = direction == VIRTIO_CRYPTO_OP_ENCRYPT;
			uint64_t id = crypto_cipher_session(g, VIRTIO_CRYPTO_CIPHER_AES_CBC, direction, known_key, 16);
			const struct crypto_plan plan = {
				.opcode = encrypts ? VIRTIO_CRYPTO_CIPHER_ENCRYPT : VIRTIO_CRYPTO_CIPHER_DECRYPT,
				.session = id,
				.iv = known_iv,
				.iv_len = 16,
				.src_len = 16,
				.dst_len = 16,
				.src = at,
				.dst = at + 64,
			};

			crypto_put(g, &plan, plan.src, encrypts ? known_plain : known_cipher, 16);
			assert_int_equal(crypto_run(g, queue, &plan), VIRTIO_CRYPTO_OK);
			assert_memory_equal(crypto_heap(g, plan.dst), encrypts ? known_cipher : known_plain, 16);
			assert_int_equal(crypto_destroy(g, 0, id), VIRTIO_CRYPTO_OK);
		}
}
