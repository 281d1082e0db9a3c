/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of a request to a crypto device nothing that is looked at is read twice: headers, IVs, keys. What was checked is what is
 * used, whatever the guest does meanwhile. No race decides that here: see watch.h.
 */
#include "hostile/watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "serve.h"

#ifdef __x86_64__

#define HEADER sizeof(struct virtio_crypto_op_data_req)

static char *memory; /* watched; the message lies at its beginning */
static unsigned int reads_before;

/* The request is decoded: all has been read, and from here on it may change. */
static void decoded(const struct vq_chain *chain)
{
	reads_before = watch_total();
}

static void serve(size_t len, struct iovec *readable, size_t n_readable, struct iovec *writable, size_t n_writable)
{
	struct vq_chain chain = {
		.readable = readable, .n_readable = n_readable, .writable = writable, .n_writable = n_writable
	};

	for (size_t i = 0; i < n_readable; i++)
		chain.readable_len += readable[i].iov_len;
	for (size_t i = 0; i < n_writable; i++)
		chain.writable_len += writable[i].iov_len;
	reads_before = 0;
	watch_begin(memory);
	serve_chain(&chain, 0, decoded);
	watch_end();
	assert_true(reads_before > 0);
	assert_int_equal(watch_total(), reads_before);
	/* memcpy() loads 16 bytes, as many as an IV has, twice. */
	for (size_t i = 0; i < WATCH; i++)
		if (watch_reads[i] > (i < HEADER ? 1 : 2) || (i >= len && watch_reads[i]))
			fail_msg("%u reads at %zu of %zu", watch_reads[i], i, len);
}

static uint64_t create(uint32_t key_len)
{
	struct virtio_crypto_op_ctrl_req req = { .header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_CREATE_SESSION) };
	struct virtio_crypto_session_input input = { .status = 99 };
	struct iovec readable = { memory, sizeof(req) + key_len }, writable = { &input, sizeof(input) };

	req.u.sym_create_session.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req.u.sym_create_session.u.cipher.para.algo = htole32(VIRTIO_CRYPTO_CIPHER_AES_CBC);
	req.u.sym_create_session.u.cipher.para.keylen = htole32(key_len);
	req.u.sym_create_session.u.cipher.para.op = htole32(VIRTIO_CRYPTO_OP_ENCRYPT);
	memcpy(memory, &req, sizeof(req));
	serve_ring.index = device_crypto.n_queues(serve_worker.config) - 1u;
	serve(sizeof(req) + key_len, &readable, 1, &writable, 1);
	serve_ring.index = 0;
	assert_int_equal(input.status, VIRTIO_CRYPTO_OK);
	return le64toh(input.session_id);
}

static void destroy(uint64_t id)
{
	const struct virtio_crypto_op_ctrl_req req = { .header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION),
						       .u.destroy_session.session_id = htole64(id) };
	uint8_t status = 99;
	struct iovec readable = { memory, sizeof(req) }, writable = { &status, 1 };

	memcpy(memory, &req, sizeof(req));
	serve_ring.index = device_crypto.n_queues(serve_worker.config) - 1u;
	serve(sizeof(req), &readable, 1, &writable, 1);
	serve_ring.index = 0;
	assert_int_equal(status, VIRTIO_CRYPTO_OK);
}

static void sessions(void **state)
{
	uint64_t id = create(16), other = create(32);

	assert_true(id && other && id != other);
	destroy(id);
	destroy(other);
}

/* Where header and IV lie: in one descriptor, in two, in many. */
static void cipher(uint64_t id, size_t piece)
{
	struct virtio_crypto_op_data_req req = { .header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_ENCRYPT),
						 .header.session_id = htole64(id) };
	uint8_t source[64] = { 0 }, destination[64], status = 99;
	struct iovec readable[HEADER + 16 + 1], writable[] = { { destination, sizeof(destination) }, { &status, 1 } };
	size_t n = 0;

	req.u.sym_req.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req.u.sym_req.u.cipher.para.iv_len = htole32(16);
	req.u.sym_req.u.cipher.para.src_data_len = htole32(sizeof(source));
	req.u.sym_req.u.cipher.para.dst_data_len = htole32(sizeof(destination));
	memcpy(memory, &req, sizeof(req));
	for (size_t at = 0; at < HEADER + 16; at += piece)
		readable[n++] = (struct iovec){ memory + at, MIN(piece, HEADER + 16 - at) };
	readable[n++] = (struct iovec){ source, sizeof(source) };
	serve(HEADER + 16, readable, n, writable, 2);
	assert_int_equal(status, VIRTIO_CRYPTO_OK);
}

static void requests(void **state)
{
	uint64_t id = create(16);

	cipher(id, HEADER + 16);
	cipher(id, HEADER);
	cipher(id, 24);
	cipher(id, 1);
	destroy(id);
}

/* Refused ones, too. */
static void refused(void **state)
{
	uint8_t source[64] = { 0 }, status = 99;
	struct iovec readable[] = { { memory, HEADER }, { source, sizeof(source) } }, writable = { &status, 1 };
	const struct virtio_crypto_op_data_req req = { .header.opcode = htole32(VIRTIO_CRYPTO_HASH) };
	struct vq_chain chain = { .readable = readable,
				  .n_readable = 2,
				  .readable_len = HEADER + sizeof(source),
				  .writable = &writable,
				  .n_writable = 1,
				  .writable_len = 1 };

	memcpy(memory, &req, sizeof(req));
	watch_begin(memory);
	serve_chain(&chain, 0, NULL);
	watch_end();
	assert_int_equal(status, VIRTIO_CRYPTO_NOTSUPP);
	assert_true(watch_total() > 0);
	for (size_t i = 0; i < WATCH; i++)
		assert_true(watch_reads[i] <= 1);
}

int main(void)
{
	static const char *const settings[] = { "engine.queues=2", NULL };
	const struct CMUnitTest tests[] = { cmocka_unit_test(sessions), cmocka_unit_test(requests),
					    cmocka_unit_test(refused) };

	memory = mmap(NULL, WATCH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	serve_start(&device_crypto, settings);
	return cmocka_run_group_tests_name("hostile-crypto-once", tests, NULL, NULL);
}

#else

int main(void)
{
	fprintf(stderr, "skipped: only x86-64 is stepped through here\n");
	return 77;
}

#endif
