/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of the crypto device that front-ends make with messages, as QEMU's cryptodev-vhost-user does: both layouts, used on
 * data queues, ended, those of others, and workers that die meanwhile.
 */
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/crypt.h"
#include "util/util.h"

#define LIMIT 24 /* keys */
#define FROM  0u
#define TO    8192u
#define BACK  16384u

/* NIST SP 800-38A, F.2.1: what its key makes of its first block with an IV of zeroes, which is ECB's, F.1.1. */
static const uint8_t nist_key[16] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
				      0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };
static const uint8_t nist_plain[16] = { 0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
					0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a };
static const uint8_t nist_cipher[16] = { 0x3a, 0xd7, 0x7b, 0xb4, 0x0d, 0x7a, 0x36, 0x60,
					 0xa8, 0x9e, 0xca, 0xf3, 0x24, 0x66, 0xef, 0x97 };

static int setup(void **state)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "[order]\ndefault = fault openssl reference\n[engine]\nqueues = 2\nthreads = 2\n"
		 "[limits]\nconnections = 4\nkeys = %d\n",
		 LIMIT);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	rig_daemon.words[0] = "--device=crypto";
	rig_daemon.words[1] = "--restart-delay=0";
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	assert_int_equal(daemon_start(&rig_daemon), 0);
	return 0;
}

static int teardown(void **state)
{
	rig_stop();
	return 0;
}

static struct crypt *open_crypt(void)
{
	struct error error = { 0 };
	struct crypt *c;

	if (crypt_open(rig_daemon.socket, false, &c, &error) < 0)
		fail_msg("%s", error.text);
	return c;
}

/* -1: refused. */
static int64_t create(struct crypt *c, const struct session_plan *plan)
{
	struct error error = { 0 };
	int64_t id = -2;

	if (crypt_create(c, plan, &id, &error) < 0)
		fail_msg("%s", error.text);
	assert_true(id >= -1);
	return id;
}

static int64_t create_cbc(struct crypt *c, uint32_t size, const void *key, uint32_t len, uint32_t direction)
{
	const struct session_plan plan = crypt_cbc(size, key, len, direction);

	return create(c, &plan);
}

static void end(struct crypt *c, int64_t id)
{
	struct error error = { 0 };

	if (crypt_end(c, (uint64_t)id, true, &error) < 0)
		fail_msg("%s", error.text);
}

static void expect_run(struct crypt *c, uint32_t queue, int64_t id, uint32_t opcode, uint32_t from, uint32_t to,
		       uint32_t len, int status)
{
	assert_int_equal(crypt_run(c, queue, (uint64_t)id, opcode, from, to, len), status);
}

/* With one session each for both ways. */
static void expect_round_trip(struct crypt *c, int64_t encrypt, int64_t decrypt)
{
	const uint32_t lengths[] = { 16, 1024, 8192 };
	uint8_t *from = crypt_heap(c, FROM);

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		for (uint32_t j = 0; j < lengths[i]; j++)
			from[j] = (uint8_t)(j * 7 + j / 256 + i);
		memset(crypt_heap(c, BACK), 0, lengths[i]);
		expect_run(c, i % 2, encrypt, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, lengths[i], VIRTIO_CRYPTO_OK);
		expect_run(c, 1 - i % 2, decrypt, VIRTIO_CRYPTO_CIPHER_DECRYPT, TO, BACK, lengths[i], VIRTIO_CRYPTO_OK);
		assert_memory_not_equal(from, crypt_heap(c, TO), lengths[i]);
		assert_memory_equal(from, crypt_heap(c, BACK), lengths[i]);
	}
}

static void expect_nist(struct crypt *c, int64_t id)
{
	memcpy(crypt_heap(c, FROM), nist_plain, 16);
	expect_run(c, 0, id, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_OK);
	assert_memory_equal(crypt_heap(c, TO), nist_cipher, 16);
}

/* ---- life of a session ---- */

static void both_layouts(void **state)
{
	const uint32_t sizes[] = { SESSION_OLD, SESSION_NEW }, lengths[] = { 16, 24, 32 };
	uint8_t key[32];
	struct crypt *c = open_crypt();

	memset(key, 0x39, sizeof(key));
	for (size_t i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(lengths); i++) {
		uint32_t size = sizes[i % 2], len = lengths[i / 2];
		int64_t to = create_cbc(c, size, key, len, VIRTIO_CRYPTO_OP_ENCRYPT);
		int64_t back = create_cbc(c, size, key, len, VIRTIO_CRYPTO_OP_DECRYPT);

		assert_true(to >= 0 && back >= 0 && to != back);
		expect_round_trip(c, to, back);
		end(c, to);
		end(c, back);
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int64_t id = create_cbc(c, sizes[i], nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);

		expect_nist(c, id);
		end(c, id);
	}
	crypt_close(c);
}

static void ended(void **state)
{
	struct crypt *c = open_crypt();
	struct error error = { 0 };
	int64_t id = create_cbc(c, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT), next;

	expect_nist(c, id);
	end(c, id);
	expect_run(c, 0, id, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_INVSESS);
	/* Twice, and what there never was. */
	assert_int_equal(crypt_end(c, (uint64_t)id, true, &error), -EREMOTEIO);
	assert_int_equal(crypt_end(c, 0, true, &error), -EREMOTEIO);
	assert_int_equal(crypt_end(c, UINT64_MAX, true, &error), -EREMOTEIO);
	/* Who asks for no answer is not hung up on. */
	assert_int_equal(crypt_end(c, (uint64_t)id, false, &error), 0);
	assert_int_equal(crypt_end(c, 4711, false, &error), 0);
	/* The next one is another, even in its place. */
	next = create_cbc(c, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
	assert_true(next >= 0 && next != id);
	expect_run(c, 0, id, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_INVSESS);
	expect_nist(c, next);
	/* As QEMU does it. */
	assert_int_equal(crypt_end(c, (uint64_t)next, false, &error), 0);
	assert_int_equal(crypt_end(c, (uint64_t)next, true, &error), -EREMOTEIO);
	expect_run(c, 1, next, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_INVSESS);
	crypt_close(c);
}

static void of_another(void **state)
{
	struct crypt *c = open_crypt(), *other = open_crypt();
	struct error error = { 0 };
	int64_t id = create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);

	assert_true(id >= 0);
	expect_run(other, 0, id, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(crypt_end(other, (uint64_t)id, true, &error), -EREMOTEIO);
	assert_int_equal(crypt_end(other, (uint64_t)id, false, &error), 0);
	expect_nist(c, id);
	crypt_close(other);
	expect_nist(c, id);
	crypt_close(c);
}

static void only_its_direction(void **state)
{
	struct crypt *c = open_crypt();
	int64_t id = create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);

	assert_int_not_equal(crypt_run(c, 0, (uint64_t)id, VIRTIO_CRYPTO_CIPHER_DECRYPT, FROM, TO, 16),
			     VIRTIO_CRYPTO_OK);
	expect_nist(c, id);
	crypt_close(c);
}

/* ---- what is refused ---- */

static void refused(void **state)
{
	const struct {
		uint32_t key_len, algorithm, type, direction;
		uint64_t opcode;
	} rows[] = {
		{ 0, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ 15, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ 17, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ 64, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ 65, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ UINT32_MAX, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 2 },
		{ 16, VIRTIO_CRYPTO_NO_CIPHER, 1, 1, 2 },
		{ 16, VIRTIO_CRYPTO_CIPHER_DES_CBC, 1, 1, 2 },
		{ 16, 4711, 1, 1, 2 },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 0, 1, 2 },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 2, 1, 2 }, /* with a hash */
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 0, 2 },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 3, 2 },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, VIRTIO_CRYPTO_HASH_CREATE_SESSION },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, UINT64_C(0x100000002) },
		{ 16, VIRTIO_CRYPTO_CIPHER_AES_CBC, 1, 1, 0 },
	};
	uint8_t key[64] = { 1 };
	struct crypt *c = open_crypt();
	int64_t id;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct session_plan plan = crypt_cbc(SESSION_NEW, key, rows[i].key_len, rows[i].direction);

		plan.key_bytes = sizeof(key);
		plan.algorithm = rows[i].algorithm;
		plan.type = rows[i].type;
		plan.opcode = rows[i].opcode;
		plan.akcipher = rows[i].opcode == VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION;
		if (create(c, &plan) != -1)
			fail_msg("row %zu made a session", i);
		plan.size = SESSION_OLD;
		if (rows[i].opcode == 2 && create(c, &plan) != -1)
			fail_msg("row %zu made a session with the old layout", i);
	}
	/* And it serves on. */
	id = create_cbc(c, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
	expect_nist(c, id);
	crypt_close(c);
}

static void as_many_as_allowed(void **state)
{
	struct crypt *c = open_crypt();
	int64_t ids[LIMIT];

	for (size_t i = 0; i < LIMIT; i++) {
		ids[i] = create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
		assert_true(ids[i] >= 0);
	}
	assert_true(create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT) == -1);
	end(c, ids[LIMIT / 2]);
	ids[LIMIT / 2] = create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
	for (size_t i = 0; i < LIMIT; i++)
		expect_nist(c, ids[i]);
	crypt_close(c);
	/* They go with their connection. */
	c = open_crypt();
	for (int i = 0; i < 3000 && create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT) < 0; i++)
		usleep(20000);
	for (size_t i = 1; i < LIMIT; i++)
		assert_true(create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT) >= 0);
	crypt_close(c);
}

/* ---- workers that die ---- */

static void worker_dies_between(void **state)
{
	struct crypt *c = open_crypt();
	int64_t to = create_cbc(c, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
	int64_t back = create_cbc(c, SESSION_NEW, nist_key, 16, VIRTIO_CRYPTO_OP_DECRYPT);

	for (int i = 0; i < 3; i++) {
		rig_kill_worker();
		expect_nist(c, to);
		expect_round_trip(c, to, back);
	}
	rig_kill_worker();
	end(c, to);
	expect_run(c, 0, to, VIRTIO_CRYPTO_CIPHER_ENCRYPT, FROM, TO, 16, VIRTIO_CRYPTO_INVSESS);
	crypt_close(c);
}

struct asked {
	struct crypt *crypt;
	int64_t id;
	int result;
};

static void *ask_create(void *opaque)
{
	struct asked *asked = opaque;
	const struct session_plan plan = crypt_cbc(SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT);
	struct error error;

	asked->result = crypt_create(asked->crypt, &plan, &asked->id, &error);
	return NULL;
}

static void *ask_end(void *opaque)
{
	struct asked *asked = opaque;
	struct error error;

	asked->result = crypt_end(asked->crypt, (uint64_t)asked->id, true, &error);
	return NULL;
}

/* The worker is held while it is asked, and then killed: the next one is asked again. */
static void ask_two_workers(struct asked *asked, void *(*ask)(void *))
{
	pid_t worker = rig_worker(0);
	pthread_t thread;

	kill(worker, SIGSTOP);
	assert_int_equal(pthread_create(&thread, NULL, ask, asked), 0);
	/* Whether the message came before or after the worker's end, what follows is the same. */
	usleep(100000);
	kill(worker, SIGKILL);
	pthread_join(thread, NULL);
	assert_int_equal(asked->result, 0);
}

static void worker_dies_before_it_answers(void **state)
{
	struct asked asked = { .crypt = open_crypt() };
	struct error error = { 0 };

	ask_two_workers(&asked, ask_create);
	assert_true(asked.id >= 0);
	expect_nist(asked.crypt, asked.id);
	ask_two_workers(&asked, ask_end);
	assert_int_equal(crypt_end(asked.crypt, (uint64_t)asked.id, true, &error), -EREMOTEIO);
	crypt_close(asked.crypt);
}

/*
 * Lets the worker do what it is asked, and kills it when it is about to say so: at its next sendmsg(2). False: it cannot be
 * traced by us.
 */
static bool die_before_acknowledging(struct asked *asked, void *(*ask)(void *))
{
	pid_t worker = rig_worker(0);
	struct __ptrace_syscall_info info;
	pthread_t thread;
	int status;

	if (ptrace(PTRACE_SEIZE, worker, NULL, PTRACE_O_TRACESYSGOOD) < 0)
		return false;
	assert_int_equal(ptrace(PTRACE_INTERRUPT, worker, NULL, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, ask, asked), 0);
	do {
		assert_int_equal(waitpid(worker, &status, __WALL), worker);
		assert_true(WIFSTOPPED(status));
		if (ptrace(PTRACE_GET_SYSCALL_INFO, worker, sizeof(info), &info) > 0 &&
		    info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_sendmsg)
			break;
	} while (ptrace(PTRACE_SYSCALL, worker, NULL, NULL) == 0);
	kill(worker, SIGKILL);
	/* Until we have seen it the supervisor does not. */
	while (waitpid(worker, &status, __WALL) == worker && !WIFSIGNALED(status))
		;
	pthread_join(thread, NULL);
	assert_int_equal(asked->result, 0);
	return true;
}

static void worker_dies_when_it_is_done(void **state)
{
	struct asked asked = { .crypt = open_crypt() };
	struct error error = { 0 };
	int64_t first;

	for (size_t i = 0; i < LIMIT - 1; i++)
		assert_true(create_cbc(asked.crypt, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT) >= 0);
	/* The last one that may be: made twice, it would be refused. */
	if (!die_before_acknowledging(&asked, ask_create))
		skip();
	assert_true(asked.id >= 0);
	expect_nist(asked.crypt, asked.id);
	assert_true(create_cbc(asked.crypt, SESSION_OLD, nist_key, 16, VIRTIO_CRYPTO_OP_ENCRYPT) == -1);
	first = asked.id;
	/* Closed by a worker that could not say so any more, which is no failure of the next one. */
	assert_true(die_before_acknowledging(&asked, ask_end));
	assert_int_equal(crypt_end(asked.crypt, (uint64_t)first, true, &error), -EREMOTEIO);
	/* Its number was used up: the next one is not taken for it. */
	assert_true(die_before_acknowledging(&asked, ask_create));
	assert_true(asked.id >= 0 && asked.id != first);
	expect_nist(asked.crypt, asked.id);
	crypt_close(asked.crypt);
}

struct deaths {
	atomic_uint done; /* by workers, which therefore are ready */
	atomic_bool stop;
};

static void *kill_workers(void *opaque)
{
	struct deaths *deaths = opaque;
	unsigned int seed = 1, done = 0;

	while (!deaths->stop) {
		if (deaths->done == done) {
			usleep(100);
			continue;
		}
		usleep((useconds_t)rand_r(&seed) % 3000);
		kill(rig_worker(0), SIGKILL);
		done = deaths->done;
	}
	return NULL;
}

/* Workers die all the time. A session that was made twice would take one of those that may be. */
static void once_each(void **state)
{
	struct deaths deaths = { .done = 0 };
	struct crypt *c = open_crypt();
	pthread_t killer;
	int64_t ids[LIMIT];

	assert_int_equal(pthread_create(&killer, NULL, kill_workers, &deaths), 0);
	for (int round = 0; round < 12; round++) {
		for (size_t i = 0; i < LIMIT; i++, deaths.done++) {
			ids[i] = create_cbc(c, i % 2 ? SESSION_NEW : SESSION_OLD, nist_key, 16,
					    VIRTIO_CRYPTO_OP_ENCRYPT);
			assert_true(ids[i] >= 0);
		}
		for (size_t i = 0; i < LIMIT; i++, deaths.done++)
			end(c, ids[i]);
	}
	deaths.stop = true;
	pthread_join(killer, NULL);
	crypt_close(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(both_layouts),
		T(ended),
		T(of_another),
		T(only_its_direction),
		T(refused),
		T(as_many_as_allowed),
		T(worker_dies_between),
		T(worker_dies_before_it_answers),
		T(worker_dies_when_it_is_done),
		T(once_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
