/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest may do wrong with a virtio-crypto device: requests that lie about their lengths, ask for what there is not, lack
 * what they should have, name sessions that are gone or another guest's. Each is answered once, with the status for it,
 * nothing is written that it did not give for that, and it costs nothing but itself: the same connection goes on, with the
 * same worker.
 */
#include "daemon/crypto_rig.h"
#include "gate.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "util/util.h"

#define SRC	0u
#define DST	65536u
#define NOTHING UINT32_MAX /* was answered */
#define KEYS	"[limits]\nkeys = 8\n"

static const uint8_t key[8192] = { 0x2b, 0x7e, 0x15, 0x16 };
static const uint8_t iv[16] = { 1, 2, 3 };

static const struct crypto_make cbc = {
	.algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC, .direction = VIRTIO_CRYPTO_OP_ENCRYPT, .key = key, .key_len = 16
};

static struct crypto_guest *guest;
static pid_t worker;

static int setup_order(const char *order)
{
	crypto_rig_start(order, KEYS);
	worker = rig_worker(0);
	guest = crypto_open();
	return 0;
}

static int setup(void **state)
{
	return setup_order("openssl");
}

static int setup_gate(void **state)
{
	return setup_order("gate openssl");
}

static int teardown(void **state)
{
	crypto_close(guest);
	rig_stop();
	return 0;
}

/* The connection goes on, and nothing had to be made anew. */
static void goes_on(void)
{
	crypto_works(guest);
	assert_int_equal(rig_worker(0), worker);
}

static uint64_t session(uint32_t algorithm, uint32_t direction, uint32_t key_len)
{
	return crypto_cipher_session(guest, algorithm, direction, key, key_len);
}

static uint64_t ecb_session(void)
{
	return session(VIRTIO_CRYPTO_CIPHER_AES_ECB, VIRTIO_CRYPTO_OP_ENCRYPT, 16);
}

/* A good request, 64 bytes to encrypt. */
static struct crypto_plan ecb_plan(uint64_t id)
{
	return (struct crypto_plan){ .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
				     .session = id,
				     .src_len = 64,
				     .dst_len = 64,
				     .src = SRC,
				     .dst = DST };
}

static void end(uint64_t id)
{
	assert_int_equal(crypto_destroy(guest, 0, id), VIRTIO_CRYPTO_OK);
}

/* As long as source and destination are, and a bit: of what is refused nothing is written. */
static void expect_refused(const struct crypto_plan *plan, uint32_t status)
{
	uint8_t before[4096];

	memset(crypto_heap(guest, plan->dst), 0x77, sizeof(before));
	memset(before, 0x77, sizeof(before));
	assert_int_equal(crypto_run(guest, 0, plan), status);
	assert_memory_equal(crypto_heap(guest, plan->dst), before, sizeof(before));
	goes_on();
}

/* ---- lengths ---- */

static const struct {
	const char *name;
	uint32_t algorithm, key_len;
	uint32_t iv_len, src_len, dst_len;
	uint32_t status;
} lengths[] = {
	{ "destination shorter", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 16, 64, 48, VIRTIO_CRYPTO_ERR },
	{ "destination longer", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 16, 64, 80, VIRTIO_CRYPTO_ERR },
	{ "no destination", VIRTIO_CRYPTO_CIPHER_AES_CTR, 16, 16, 64, 0, VIRTIO_CRYPTO_ERR },
	{ "no source", VIRTIO_CRYPTO_CIPHER_AES_CTR, 16, 16, 0, 64, VIRTIO_CRYPTO_ERR },
	{ "CBC, no blocks", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 16, 63, 63, VIRTIO_CRYPTO_ERR },
	{ "CBC, one byte", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 16, 1, 1, VIRTIO_CRYPTO_ERR },
	{ "ECB, no blocks", VIRTIO_CRYPTO_CIPHER_AES_ECB, 16, 0, 65, 65, VIRTIO_CRYPTO_ERR },
	{ "XTS, less than a block", VIRTIO_CRYPTO_CIPHER_AES_XTS, 32, 16, 15, 15, VIRTIO_CRYPTO_ERR },
	{ "CBC without IV", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 0, 64, 64, VIRTIO_CRYPTO_ERR },
	{ "IV a byte short", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 15, 64, 64, VIRTIO_CRYPTO_ERR },
	{ "IV a byte long", VIRTIO_CRYPTO_CIPHER_AES_CTR, 16, 17, 64, 64, VIRTIO_CRYPTO_ERR },
	{ "IV of XTS too short", VIRTIO_CRYPTO_CIPHER_AES_XTS, 32, 8, 64, 64, VIRTIO_CRYPTO_ERR },
	{ "IV where none belongs", VIRTIO_CRYPTO_CIPHER_AES_ECB, 16, 16, 64, 64, VIRTIO_CRYPTO_ERR },
	{ "IV as long as anything", VIRTIO_CRYPTO_CIPHER_AES_CBC, 16, 1024, 64, 64, VIRTIO_CRYPTO_ERR },
};

static void lengths_are_wrong(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint64_t id = session(lengths[i].algorithm, VIRTIO_CRYPTO_OP_ENCRYPT, lengths[i].key_len);
		const struct crypto_plan plan = { .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
						  .session = id,
						  .iv = iv,
						  .iv_len = lengths[i].iv_len,
						  .src_len = lengths[i].src_len,
						  .dst_len = lengths[i].dst_len,
						  .src = SRC,
						  .dst = DST };
		struct crypto_plan scattered = plan;

		print_message("  %s\n", lengths[i].name);
		expect_refused(&plan, lengths[i].status);
		scattered.piece = 24;
		scattered.gap = 8;
		expect_refused(&scattered, lengths[i].status);
		end(id);
	}
}

/* The header says more than the chain has: so much more of IV, source and destination. */
static void chain_is_shorter_than_it_says(void **state)
{
	static const struct {
		int32_t iv, src, dst;
		uint32_t said; /* 0: 64; of source and destination */
	} rows[] = {
		{ 0, -1, 0, 0 },  { 0, -64, 0, 0 },
		{ -16, 0, 0, 0 }, { 0, 0, -1, 0 },
		{ 0, 0, -64, 0 }, { -16, -64, -64, 0 },
		{ 0, -1, -1, 0 }, { 0, 64 + 16, 64 + 16, 0xfffffff0 }, /* as 64 and 80 bytes are there */
	};
	uint64_t id = session(VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, 16);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t len = rows[i].said ? rows[i].said : 64;

		print_message("  row %zu\n", i);
		expect_refused(&(struct crypto_plan){ .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
						      .session = id,
						      .iv = iv,
						      .iv_len = 16,
						      .src_len = len,
						      .dst_len = len,
						      .src = SRC,
						      .dst = DST,
						      .iv_more = rows[i].iv,
						      .src_more = rows[i].src,
						      .dst_more = rows[i].dst },
			       VIRTIO_CRYPTO_BADMSG);
	}
	end(id);
}

static void header_is_cut(void **state)
{
	static const uint32_t there[] = { 1, 4, 8, 16, 24, 68, 71 };
	const struct crypto_make make = { .algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
					  .direction = VIRTIO_CRYPTO_OP_ENCRYPT };
	uint64_t id = ecb_session();

	for (size_t i = 0; i < ARRAY_SIZE(there); i++) {
		struct crypto_make cut = make;

		expect_refused(
			&(struct crypto_plan){
				.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT, .session = id, .dst = DST, .header = there[i] },
			VIRTIO_CRYPTO_BADMSG);
		cut.header = there[i];
		assert_int_equal(crypto_create(guest, &cut, NULL), VIRTIO_CRYPTO_BADMSG);
		goes_on();
	}
	end(id);
}

/* A byte in each descriptor, and none beside another. */
static void header_is_spread(void **state)
{
	const uint8_t plain[16] = { 7 };
	uint8_t one[16], other[16];
	uint64_t id;
	const struct crypto_make make = { .algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
					  .direction = VIRTIO_CRYPTO_OP_ENCRYPT,
					  .key = key,
					  .key_len = 16,
					  .piece = 1 };
	struct crypto_plan plan = { .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
				    .iv = iv,
				    .iv_len = 16,
				    .src_len = 16,
				    .dst_len = 16,
				    .src = SRC,
				    .dst = DST };

	assert_int_equal(crypto_create(guest, &make, &id), VIRTIO_CRYPTO_OK);
	plan.session = id;
	crypto_put(guest, &plan, SRC, plain, 16);
	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	crypto_take(guest, &plan, DST, one, 16);
	plan.piece = plan.gap = 1;
	crypto_put(guest, &plan, SRC, plain, 16);
	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	crypto_take(guest, &plan, DST, other, 16);
	assert_memory_equal(one, other, 16);
	end(id);
	goes_on();
}

static void too_much_at_once(void **state)
{
	uint64_t id;
	struct crypto_plan plan = {
		.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT, .iv = iv, .iv_len = 16, .src = SRC, .dst = DST
	};

	teardown(state);
	crypto_rig_start("openssl", KEYS "gathered_bytes = 4K\nrequest_bytes = 64K\n");
	worker = rig_worker(0);
	guest = crypto_open();
	id = session(VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, 16);
	plan.session = id;
	plan.src_len = plan.dst_len = 32752;
	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	plan.src_len = plan.dst_len = 32768;
	expect_refused(&plan, VIRTIO_CRYPTO_ERR);
	/* Copies have a limit, too. */
	plan.src_len = plan.dst_len = 8192;
	plan.piece = 1024;
	plan.gap = 16;
	expect_refused(&plan, VIRTIO_CRYPTO_ERR);
	end(id);
}

/* ---- keys, algorithms, services ---- */

static const struct {
	const char *name;
	struct crypto_make make;
	uint32_t status;
} sessions[] = {
	{ "no key", { .algorithm = 3, .direction = 1 }, VIRTIO_CRYPTO_ERR },
	{ "key of 15 bytes", { .algorithm = 3, .direction = 1, .key_len = 15 }, VIRTIO_CRYPTO_ERR },
	{ "key of 17 bytes", { .algorithm = 3, .direction = 1, .key_len = 17 }, VIRTIO_CRYPTO_ERR },
	{ "key of 33 bytes", { .algorithm = 4, .direction = 1, .key_len = 33 }, VIRTIO_CRYPTO_ERR },
	{ "key for XTS", { .algorithm = 3, .direction = 1, .key_len = 64 }, VIRTIO_CRYPTO_ERR },
	{ "XTS with half a key", { .algorithm = 13, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_ERR },
	{ "XTS with 48 bytes", { .algorithm = 13, .direction = 1, .key_len = 48 }, VIRTIO_CRYPTO_ERR },
	{ "key of 4096 bytes", { .algorithm = 3, .direction = 1, .key_len = 4096 }, VIRTIO_CRYPTO_ERR },
	{ "key of 8000 bytes", { .algorithm = 3, .direction = 1, .key_len = 8000 }, VIRTIO_CRYPTO_ERR },
	{ "key longer than it is",
	  { .algorithm = 3, .direction = 1, .key_len = 16, .key_said = 32 },
	  VIRTIO_CRYPTO_BADMSG },
	{ "key of all memory",
	  { .algorithm = 3, .direction = 1, .key_len = 16, .key_said = UINT32_MAX },
	  VIRTIO_CRYPTO_BADMSG },
	{ "no algorithm", { .algorithm = 0, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "ARC4", { .algorithm = 1, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "3DES in CBC", { .algorithm = 8, .direction = 1, .key_len = 24 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "AES in F8", { .algorithm = 12, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "unheard of", { .algorithm = 4711, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "neither way", { .algorithm = 3, .direction = 0, .key_len = 16 }, VIRTIO_CRYPTO_ERR },
	{ "both ways", { .algorithm = 3, .direction = 3, .key_len = 16 }, VIRTIO_CRYPTO_ERR },
	{ "with a hash", { .kind = 2, .algorithm = 3, .direction = 1, .key_len = 16 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "HASH", { .opcode = VIRTIO_CRYPTO_HASH_CREATE_SESSION, .algorithm = 2 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "MAC", { .opcode = VIRTIO_CRYPTO_MAC_CREATE_SESSION, .algorithm = 2 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "AEAD", { .opcode = VIRTIO_CRYPTO_AEAD_CREATE_SESSION, .algorithm = 1 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "unheard-of service", { .opcode = VIRTIO_CRYPTO_OPCODE(17, 2), .algorithm = 3 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "unheard-of opcode", { .opcode = VIRTIO_CRYPTO_OPCODE(0, 9), .algorithm = 3 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "opcode of data", { .opcode = VIRTIO_CRYPTO_CIPHER_DECRYPT, .algorithm = 3 }, VIRTIO_CRYPTO_NOTSUPP },
	{ "DSA",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 2, .key_len = 16 },
	  VIRTIO_CRYPTO_NOTSUPP },
	{ "RSA with MD2",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .hash = 1, .key_len = 16 },
	  VIRTIO_CRYPTO_NOTSUPP },
	{ "RSA, padding unheard of",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .padding = 2, .key_len = 16 },
	  VIRTIO_CRYPTO_NOTSUPP },
	{ "RSA, neither key",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .kind = 3, .key_len = 16 },
	  VIRTIO_CRYPTO_ERR },
	{ "RSA, no key", { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1 }, VIRTIO_CRYPTO_ERR },
	{ "RSA, key that is none",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .key_len = 600 },
	  VIRTIO_CRYPTO_ERR },
	{ "RSA, key too long",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .key_len = 4097 },
	  VIRTIO_CRYPTO_ERR },
	{ "RSA, key of all memory",
	  { .opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION, .algorithm = 1, .key_len = 16, .key_said = UINT32_MAX },
	  VIRTIO_CRYPTO_BADMSG },
};

/* As many as may be open can be made afterwards: none of those that were refused was. */
static void all_can_be_made(void)
{
	uint64_t ids[8];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		ids[i] = session(VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, 16);
	assert_int_equal(crypto_create(guest, &cbc, NULL), VIRTIO_CRYPTO_NOSPC);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		end(ids[i]);
}

static void sessions_are_wrong(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
		struct crypto_make make = sessions[i].make;

		print_message("  %s\n", sessions[i].name);
		make.key = key;
		assert_int_equal(crypto_create(guest, &make, NULL), sessions[i].status);
		goes_on();
	}
	all_can_be_made();
}

static void opcodes_are_unknown(void **state)
{
	static const uint32_t opcodes[] = {
		VIRTIO_CRYPTO_HASH,
		VIRTIO_CRYPTO_MAC,
		VIRTIO_CRYPTO_AEAD_ENCRYPT,
		VIRTIO_CRYPTO_AEAD_DECRYPT,
		VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
		VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION,
		VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION,
		VIRTIO_CRYPTO_OPCODE(99, 0),
		UINT32_MAX,
	};
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		plan.opcode = opcodes[i];
		expect_refused(&plan, VIRTIO_CRYPTO_NOTSUPP);
	}
	/* Chained with a hash, or nothing at all. */
	plan.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT;
	plan.kind = VIRTIO_CRYPTO_SYM_OP_ALGORITHM_CHAINING;
	expect_refused(&plan, VIRTIO_CRYPTO_NOTSUPP);
	plan.kind = 77;
	expect_refused(&plan, VIRTIO_CRYPTO_NOTSUPP);
	end(id);
}

/* ---- descriptors ---- */

static void status_is_missing(void **state)
{
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);
	struct crypto_make make = cbc;

	plan.no_status = true;
	make.without_room = true;
	/* Its place is the last byte that there is: no room for the destination is left. */
	memset(crypto_heap(guest, DST), 0x77, 64);
	assert_int_equal(crypto_run(guest, 0, &plan), 0xee);
	assert_int_equal(crypto_heap(guest, DST)[63], VIRTIO_CRYPTO_BADMSG);
	for (uint32_t i = 0; i < 63; i++)
		assert_int_equal(crypto_heap(guest, DST)[i], 0x77);
	goes_on();
	plan.no_dst = true;
	expect_refused(&plan, NOTHING);
	/* Of the control queue. */
	assert_int_equal(crypto_create(guest, &make, NULL), NOTHING);
	goes_on();
	make.without_room = false;
	make.room = 15;
	assert_int_equal(crypto_create(guest, &make, NULL), NOTHING);
	goes_on();
	end(id);
	all_can_be_made();
}

static void destination_is_read_only(void **state)
{
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);

	plan.dst_readable = true;
	expect_refused(&plan, VIRTIO_CRYPTO_BADMSG);
	plan.piece = 16;
	plan.gap = 16;
	expect_refused(&plan, VIRTIO_CRYPTO_BADMSG);
	plan.no_dst = true;
	expect_refused(&plan, VIRTIO_CRYPTO_BADMSG);
	end(id);
}

/* ---- sessions of others, and closed ones ---- */

static void session_of_another_guest(void **state)
{
	struct crypto_guest *other = crypto_open();
	uint64_t theirs = crypto_cipher_session(other, VIRTIO_CRYPTO_CIPHER_AES_ECB, VIRTIO_CRYPTO_OP_ENCRYPT, key, 16);
	const uint64_t ids[] = {
		theirs, 0, 1, UINT64_MAX, theirs + (UINT64_C(1) << 32), theirs + 1, theirs & UINT32_MAX
	};
	struct crypto_plan plan = ecb_plan(0);

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		plan.session = ids[i];
		expect_refused(&plan, VIRTIO_CRYPTO_INVSESS);
		assert_int_equal(crypto_destroy(guest, 0, ids[i]), VIRTIO_CRYPTO_INVSESS);
	}
	plan.session = theirs;
	assert_int_equal(crypto_run(other, 0, &plan), VIRTIO_CRYPTO_OK);
	assert_int_equal(crypto_destroy(other, 0, theirs), VIRTIO_CRYPTO_OK);
	crypto_works(other);
	crypto_close(other);
	goes_on();
}

/* For what it was not made for. */
static void session_is_misused(void **state)
{
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);

	plan.opcode = VIRTIO_CRYPTO_CIPHER_DECRYPT;
	expect_refused(&plan, VIRTIO_CRYPTO_ERR);
	for (uint32_t i = 0; i < 4; i++) {
		plan.opcode = VIRTIO_CRYPTO_AKCIPHER_ENCRYPT + i;
		plan.verifies = plan.opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY;
		expect_refused(&plan, VIRTIO_CRYPTO_ERR);
	}
	end(id);
	plan.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT;
	plan.verifies = false;
	expect_refused(&plan, VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(crypto_destroy(guest, 0, id), VIRTIO_CRYPTO_INVSESS);
}

/* ---- with a plugin that waits ---- */

static struct gate *open_gate(void)
{
	char path[256];
	struct gate *gate;
	int fd;

	snprintf(path, sizeof(path), "%s/vaccel/plugins/gate/" GATE_FILE, rig_daemon.folder);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail_msg("there is no %s", path);
	gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	assert_true(gate != MAP_FAILED);
	return gate;
}

static void wait_inside(struct gate *gate, int n)
{
	for (int i = 0; atomic_load(&gate->inside) < n; i++) {
		assert_true(i < 60000);
		usleep(1000);
	}
}

static void session_is_closed_in_use(void **state)
{
	struct gate *gate = open_gate();
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);
	struct crypto_job *job;
	uint8_t expected[64];
	uint64_t others[7];

	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	memcpy(expected, crypto_heap(guest, DST), sizeof(expected));
	memset(crypto_heap(guest, DST), 0, sizeof(expected));
	atomic_store(&gate->closed, 1);
	job = crypto_plan_send(guest, 0, &plan);
	wait_inside(gate, 1);
	end(id);
	/* Gone for whoever comes now; others may have its place, but not its key's. */
	plan.dst = 2 * DST;
	assert_int_equal(crypto_run(guest, 1, &plan), VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(crypto_destroy(guest, 0, id), VIRTIO_CRYPTO_INVSESS);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		others[i] = crypto_cipher_session(guest, VIRTIO_CRYPTO_CIPHER_AES_ECB, VIRTIO_CRYPTO_OP_ENCRYPT,
						  (const uint8_t *)"another key, of another session", 16);
	atomic_store(&gate->closed, 0);
	assert_int_equal(crypto_finish(guest, 0, job), VIRTIO_CRYPTO_OK);
	assert_memory_equal(crypto_heap(guest, DST), expected, sizeof(expected));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		end(others[i]);
	all_can_be_made();
	goes_on();
	munmap(gate, sizeof(*gate));
}

/* A worker that is killed in one: it runs again where that gives the same, and only there. */
static void killed_inside(void **state)
{
	struct gate *gate = open_gate();
	uint64_t id = ecb_session();
	struct crypto_plan plan = ecb_plan(id);
	struct crypto_plan in_place = plan, half = plan, scattered = plan;
	struct crypto_job *jobs[4];
	uint8_t expected[64];

	in_place.src = in_place.dst = 2 * DST;
	half.src = 3 * DST;
	half.dst = 3 * DST + 32;
	scattered.src = scattered.dst = 4 * DST;
	scattered.piece = scattered.gap = 8;
	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	memcpy(expected, crypto_heap(guest, DST), sizeof(expected));
	memset(crypto_heap(guest, DST), 0, sizeof(expected));
	atomic_store(&gate->closed, 1);
	jobs[0] = crypto_plan_send(guest, 0, &plan);
	jobs[1] = crypto_plan_send(guest, 1, &in_place);
	wait_inside(gate, 2);
	rig_wait_gone(rig_kill_worker());
	/* Out of place it is inside again. */
	wait_inside(gate, 3);
	atomic_store(&gate->closed, 0);
	assert_int_equal(crypto_finish(guest, 0, jobs[0]), VIRTIO_CRYPTO_OK);
	assert_memory_equal(crypto_heap(guest, DST), expected, sizeof(expected));
	assert_int_equal(crypto_finish(guest, 1, jobs[1]), VIRTIO_CRYPTO_ERR);
	atomic_store(&gate->inside, 0);
	atomic_store(&gate->closed, 1);
	jobs[2] = crypto_plan_send(guest, 0, &half);
	jobs[3] = crypto_plan_send(guest, 1, &scattered);
	wait_inside(gate, 2);
	rig_wait_gone(rig_kill_worker());
	atomic_store(&gate->closed, 0);
	assert_int_equal(crypto_finish(guest, 0, jobs[2]), VIRTIO_CRYPTO_ERR);
	assert_int_equal(crypto_finish(guest, 1, jobs[3]), VIRTIO_CRYPTO_ERR);
	/* The session lives on. */
	assert_int_equal(crypto_run(guest, 0, &plan), VIRTIO_CRYPTO_OK);
	end(id);
	crypto_works(guest);
	munmap(gate, sizeof(*gate));
}

/* A session that goes while its request has to run again: that can give no result any more. */
static void closed_and_killed(void **state)
{
	struct gate *gate = open_gate();
	uint64_t id = ecb_session();
	const struct crypto_plan plan = ecb_plan(id);
	struct crypto_job *job;

	atomic_store(&gate->closed, 1);
	job = crypto_plan_send(guest, 0, &plan);
	wait_inside(gate, 1);
	end(id);
	rig_wait_gone(rig_kill_worker());
	assert_int_equal(crypto_finish(guest, 0, job), VIRTIO_CRYPTO_ERR);
	atomic_store(&gate->closed, 0);
	all_can_be_made();
	munmap(gate, sizeof(*gate));
}

/* A front-end that goes away takes its sessions along, also those in use. */
static void guest_is_gone(void **state)
{
	struct gate *gate = open_gate();

	for (int round = 0; round < 3; round++) {
		struct crypto_guest *other = crypto_open();
		struct crypto_plan plan = ecb_plan(0);

		for (int i = 0; i < 8; i++)
			plan.session = crypto_cipher_session(other, VIRTIO_CRYPTO_CIPHER_AES_ECB,
							     VIRTIO_CRYPTO_OP_ENCRYPT, key, 16);
		atomic_store(&gate->inside, 0);
		atomic_store(&gate->closed, 1);
		crypto_plan_send(other, 0, &plan);
		wait_inside(gate, 1);
		crypto_close(other);
		atomic_store(&gate->closed, 0);
		/* They are all free again once the worker has let go. */
		for (int i = 0;; i++) {
			uint64_t id;

			if (crypto_create(guest, &cbc, &id) == VIRTIO_CRYPTO_OK) {
				end(id);
				break;
			}
			assert_true(i < 60000);
			usleep(1000);
		}
	}
	goes_on();
	munmap(gate, sizeof(*gate));
}

/* ---- memory that changes ---- */

struct flipper {
	pthread_t thread;
	atomic_bool stop;
	uint8_t *slot;
};

/* Each moment another header: lengths, opcode. That nobody waits for anybody here is the point. */
__attribute__((no_sanitize_thread)) static void *flip(void *opaque)
{
	struct flipper *f = opaque;
	volatile struct virtio_crypto_op_data_req *req = (void *)f->slot;

	for (uint32_t i = 0; !atomic_load_explicit(&f->stop, memory_order_relaxed); i++) {
		req->u.sym_req.u.cipher.para.dst_data_len = i % 2 ? 64 : 1u << 30;
		req->u.sym_req.u.cipher.para.src_data_len = i % 3 ? 64 : 1u << 30;
		req->u.sym_req.u.cipher.para.iv_len = i % 5 ? 16 : 4096;
		req->header.opcode = i % 7 ? VIRTIO_CRYPTO_CIPHER_ENCRYPT : UINT32_MAX;
	}
	return NULL;
}

static void memory_changes(void **state)
{
	enum { ROUNDS = 3000 };
	uint64_t id = session(VIRTIO_CRYPTO_CIPHER_AES_CBC, VIRTIO_CRYPTO_OP_ENCRYPT, 16);
	const struct crypto_plan plan = { .opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
					  .session = id,
					  .iv = iv,
					  .iv_len = 16,
					  .src_len = 64,
					  .dst_len = 64,
					  .src = SRC,
					  .dst = DST };
	struct flipper flipper = { .slot = crypto_next_slot(guest) };
	uint32_t seen[8] = { 0 };

	memset(crypto_heap(guest, DST), 0x77, 4096);
	assert_int_equal(pthread_create(&flipper.thread, NULL, flip, &flipper), 0);
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t status = crypto_run(guest, 0, &plan);

		assert_true(status < ARRAY_SIZE(seen));
		seen[status]++;
	}
	atomic_store(&flipper.stop, true);
	pthread_join(flipper.thread, NULL);
	for (uint32_t i = 64; i < 4096; i++)
		assert_int_equal(crypto_heap(guest, DST)[i], 0x77);
	assert_int_equal(seen[VIRTIO_CRYPTO_OK] + seen[VIRTIO_CRYPTO_BADMSG] + seen[VIRTIO_CRYPTO_NOTSUPP] +
				 seen[VIRTIO_CRYPTO_ERR],
			 ROUNDS);
	goes_on();
	end(id);
}

#define T(name)	     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_GATE(name) cmocka_unit_test_setup_teardown(name, setup_gate, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(lengths_are_wrong),
		T(chain_is_shorter_than_it_says),
		T(header_is_cut),
		T(header_is_spread),
		T(too_much_at_once),
		T(sessions_are_wrong),
		T(opcodes_are_unknown),
		T(status_is_missing),
		T(destination_is_read_only),
		T(session_of_another_guest),
		T(session_is_misused),
		T_GATE(session_is_closed_in_use),
		T_GATE(killed_inside),
		T_GATE(closed_and_killed),
		T_GATE(guest_is_gone),
		T(memory_changes),
	};

	return cmocka_run_group_tests_name("hostile-crypto", tests, NULL, NULL);
}
