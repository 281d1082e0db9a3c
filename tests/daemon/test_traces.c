/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keys leave behind: nothing in the log, nothing in a core dump, and nothing in the memory of worker and supervisor once
 * they are gone, neither the keys nor what AES makes of them.
 */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "common/crypt.h"
#include "search.h"
#include "util/util.h"

#define CONFIG "cipher = openssl\nakcipher = openssl\n[engine]\nqueues = 2\nthreads = 2\n"

struct secret {
	uint8_t key[64];
	size_t len;
	struct needles needles;
};

static struct secret secret_new(size_t len)
{
	struct secret secret = { .len = len };

	assert_int_equal(getrandom(secret.key, len, 0), (ssize_t)len);
	if (len <= 32)
		needles_of_key(&secret.needles, secret.key, len);
	else
		needles_of_bytes(&secret.needles, secret.key, len);
	return secret;
}

static void start(const char *config, const char *device)
{
	char text[2048];

	snprintf(text, sizeof(text), "[order]\ndefault = fault reference\n%s", config);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	snprintf(rig_daemon.log, sizeof(rig_daemon.log), "%s/log", rig_daemon.folder);
	rig_daemon.words[0] = "--log-level=debug";
	rig_daemon.words[1] = device;
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	assert_int_equal(daemon_start(&rig_daemon), 0);
}

static int setup(void **state)
{
	start(CONFIG, NULL);
	return 0;
}

static int teardown(void **state)
{
	rig_stop();
	return 0;
}

/* ---- what is demanded ---- */

static struct search look(pid_t pid, const struct needles *needles)
{
	struct search found;
	int r = search_process(pid, needles, false, &found);

	if (r < 0)
		fail_msg("the memory of process %d: %s", (int)pid, strerror(-r));
	return found;
}

/* The search finds what is there: while a key is in use it lies in the worker. */
static void expect_found(const struct secret *secret)
{
	assert_int_not_equal(look(rig_worker(0), &secret->needles).n, 0);
}

static void expect_nothing(const struct needles *needles)
{
	struct search worker = look(rig_worker(0), needles), supervisor = look(rig_daemon.pid, needles);

	if (worker.n)
		fail_msg("worker: %u traces: %s", worker.n, worker.text);
	if (supervisor.n)
		fail_msg("supervisor: %u traces: %s", supervisor.n, supervisor.text);
}

static void expect_not_logged(const struct secret *secret)
{
	char *log = calloc(1, 4u << 20), hex[2 * sizeof(secret->key) + 1];
	int fd = open(rig_daemon.log, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, log, 4u << 20);

	assert_true(n > 0);
	close(fd);
	for (size_t i = 0; i < secret->len; i++)
		snprintf(hex + 2 * i, 3, "%02x", secret->key[i]);
	/* Half of it would be too much as well. */
	hex[secret->len] = '\0';
	assert_null(memmem(log, (size_t)n, secret->key, secret->len / 2));
	assert_null(strcasestr(log, hex));
	free(log);
}

/* ---- keys that are imported ---- */

static void in_use(struct guest *g, uint64_t session, uint64_t key)
{
	for (unsigned int i = 0; i < 4; i++)
		guest_crypt(g, i % QUEUES, session, key, VIRTIO_ACCEL_S_OK);
}

static void imported(size_t len, unsigned int pieces)
{
	struct secret secret = secret_new(len);
	struct guest *g = guest_open_all();
	uint64_t key = guest_import(g, g->session, secret.key, len, pieces);

	if (len <= 32)
		in_use(g, g->session, key);
	expect_found(&secret);
	guest_key_free(g, g->session, key);
	expect_nothing(&secret.needles);
	expect_not_logged(&secret);
	guest_close(g);
}

static void in_one_piece(void **state)
{
	imported(16, 1);
	imported(24, 1);
	imported(32, 1);
}

/* Then it has to be gathered, and a copy of it is made. */
static void scattered(void **state)
{
	imported(16, 2);
	imported(32, 8);
	/* Of a longer one the heap writes less over what it was given back. */
	imported(64, 4);
}

static void add_number(struct needles *needles, EVP_PKEY *pkey, const char *name)
{
	unsigned char bytes[512];
	BIGNUM *number = NULL;
	int len;

	assert_int_equal(EVP_PKEY_get_bn_param(pkey, name, &number), 1);
	len = BN_num_bytes(number);
	/* As in files, and as libcrypto computes with it. */
	assert_int_equal(BN_bn2bin(number, bytes), len);
	needles_of_bytes(needles, bytes, 32);
	assert_int_equal(BN_bn2lebinpad(number, bytes, len), len);
	needles_of_bytes(needles, bytes, 32);
	BN_clear_free(number);
}

/* The numbers that make a key of RSA private, each of which gives away the others. */
static void of_rsa(void **state)
{
	const unsigned int pieces[] = { 1, 2 };

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		EVP_PKEY *pkey = EVP_RSA_gen(2048);
		struct needles needles = { .n = 0 };
		struct guest *g = guest_open_all();
		unsigned char *der = NULL;
		int len = i2d_PrivateKey(pkey, &der);
		uint64_t key;

		add_number(&needles, pkey, OSSL_PKEY_PARAM_RSA_FACTOR1);
		add_number(&needles, pkey, OSSL_PKEY_PARAM_RSA_FACTOR2);
		add_number(&needles, pkey, OSSL_PKEY_PARAM_RSA_D);
		add_number(&needles, pkey, OSSL_PKEY_PARAM_RSA_EXPONENT1);
		add_number(&needles, pkey, OSSL_PKEY_PARAM_RSA_COEFFICIENT1);
		/* One that cannot be cut in the middle is sent whole. */
		key = guest_import_as(g, g->session, VACCEL_KEY_RSA_PRIVATE, VACCEL_MAY_SIGN, der, (size_t)len,
				      len % pieces[i] ? 1 : pieces[i]);
		for (unsigned int j = 0; j < 3; j++)
			guest_sign(g, g->session, key, 256);
		assert_int_not_equal(look(rig_worker(0), &needles).n, 0);
		guest_key_free(g, g->session, key);
		expect_nothing(&needles);
		OPENSSL_clear_free(der, (size_t)len);
		EVP_PKEY_free(pkey);
		guest_close(g);
	}
}

/* Without KEY_FREE: with the session, and with the connection. */
static void with_its_session(void **state)
{
	struct secret secret = secret_new(32);
	struct guest *g = guest_open_all();
	uint64_t session = guest_session(g);
	struct wire_request close = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = session };

	in_use(g, session, guest_import(g, session, secret.key, secret.len, 2));
	expect_found(&secret);
	guest_call(g, 0, &close, VIRTIO_ACCEL_S_OK);
	expect_nothing(&secret.needles);
	guest_close(g);
}

static unsigned int count(const char *log, const char *text)
{
	unsigned int n = 0;

	while ((log = strstr(log, text))) {
		log++;
		n++;
	}
	return n;
}

/* All that were opened have been freed: until then the worker may have something of one. */
static void wait_for_no_connection(void)
{
	char *log = calloc(1, 4u << 20);
	bool gone = false;

	for (int i = 0; i < 3000 && !gone; i++) {
		int fd = open(rig_daemon.log, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, log, (4u << 20) - 1);

		close(fd);
		log[MAX(n, 0)] = '\0';
		gone = count(log, ": opened") == count(log, ": freed");
		poll(NULL, 0, 20);
	}
	free(log);
	assert_true(gone);
}

static void with_its_connection(void **state)
{
	struct secret secret = secret_new(16);
	struct guest *g;

	g = guest_open_all();
	in_use(g, g->session, guest_import(g, g->session, secret.key, secret.len, 1));
	expect_found(&secret);
	guest_close(g);
	wait_for_no_connection();
	expect_nothing(&secret.needles);
}

/* ---- keys that the host holds ---- */

/* It stays as long as the daemon does, in memory that no core file has; what AES makes of it goes with its last user. */
static void held(void **state)
{
	struct secret secret = secret_new(32);
	char config[512], path[128];
	struct needles schedules;
	struct search found;
	struct guest *g;
	uint64_t key;
	int fd;

	rig_stop();
	snprintf(path, sizeof(path), "/tmp/vaccel-test-key.%d", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, secret.key, secret.len), (ssize_t)secret.len);
	close(fd);
	snprintf(config, sizeof(config),
		 CONFIG "[key backup]\nfile = %s\nformat = raw\ncipher = aes-256-cbc\nallow = encrypt decrypt\n", path);
	start(config, NULL);
	g = guest_open_all();
	unlink(path);
	key = guest_key_open(g, g->session, "backup");
	in_use(g, g->session, key);
	schedules = secret.needles;
	needles_only_schedules(&schedules);
	assert_int_not_equal(look(rig_worker(0), &schedules).n, 0);
	guest_key_free(g, g->session, key);
	expect_nothing(&schedules);
	found = look(rig_worker(0), &secret.needles);
	assert_int_not_equal(found.n, 0);
	if (found.n_dumped)
		fail_msg("a core file would have it: %s", found.text);
	assert_int_equal(look(rig_daemon.pid, &secret.needles).n, 0);
	expect_not_logged(&secret);
	guest_close(g);
}

/* ---- sessions of the crypto device ---- */

static int setup_crypto(void **state)
{
	start(CONFIG, "--device=crypto");
	return 0;
}

static struct crypt *open_crypt(void)
{
	struct error error = { 0 };
	struct crypt *c;

	if (crypt_open(rig_daemon.socket, true, &c, &error) < 0)
		fail_msg("%s", error.text);
	return c;
}

static void use_session(struct crypt *c, int64_t id, uint32_t direction)
{
	uint32_t opcode = direction == VIRTIO_CRYPTO_OP_ENCRYPT ? VIRTIO_CRYPTO_CIPHER_ENCRYPT
								: VIRTIO_CRYPTO_CIPHER_DECRYPT;

	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(crypt_run(c, i % 2, (uint64_t)id, opcode, 8192, 16384, 1024), VIRTIO_CRYPTO_OK);
}

static void by_message(void **state)
{
	const uint32_t sizes[] = { SESSION_OLD, SESSION_NEW }, lengths[] = { 16, 24, 32 };
	struct crypt *c = open_crypt();
	struct error error = { 0 };

	for (unsigned int i = 0; i < 6; i++) {
		struct secret secret = secret_new(lengths[i / 2]);
		uint32_t direction = i % 2 ? VIRTIO_CRYPTO_OP_DECRYPT : VIRTIO_CRYPTO_OP_ENCRYPT;
		struct session_plan plan =
			crypt_cbc(sizes[(i + i / 2) % 2], secret.key, (uint32_t)secret.len, direction);
		int64_t id = -1;

		assert_int_equal(crypt_create(c, &plan, &id, &error), 0);
		use_session(c, id, direction);
		expect_found(&secret);
		/* It only passed through here. */
		assert_int_equal(look(rig_daemon.pid, &secret.needles).n, 0);
		assert_int_equal(crypt_end(c, (uint64_t)id, true, &error), 0);
		expect_nothing(&secret.needles);
		expect_not_logged(&secret);
	}
	crypt_close(c);
}

/* One that is not taken leaves nothing, either. */
static void refused_message(void **state)
{
	struct secret secret = secret_new(32);
	struct session_plan plan = crypt_cbc(SESSION_NEW, secret.key, (uint32_t)secret.len, VIRTIO_CRYPTO_OP_ENCRYPT);
	struct crypt *c = open_crypt();
	struct error error = { 0 };
	int64_t id = -1;

	plan.algorithm = VIRTIO_CRYPTO_CIPHER_3DES_CBC;
	assert_int_equal(crypt_create(c, &plan, &id, &error), 0);
	assert_true(id == -1);
	plan.key_len = 65;
	assert_int_equal(crypt_create(c, &plan, &id, &error), 0);
	assert_true(id == -1);
	expect_nothing(&secret.needles);
	expect_not_logged(&secret);
	crypt_close(c);
}

/* The rest of its message does not come. */
static void half_a_message(void **state)
{
	struct {
		struct vhost_header header;
		uint8_t payload[SESSION_NEW];
	} bytes = { { VHOST_CREATE_CRYPTO_SESSION, VHOST_FLAG_VERSION, SESSION_NEW }, { 0 } };
	struct secret secret = secret_new(32);
	struct session_plan plan = crypt_cbc(SESSION_NEW, secret.key, (uint32_t)secret.len, VIRTIO_CRYPTO_OP_ENCRYPT);
	struct crypt *c = open_crypt();
	const int half = 512;

	session_write(&plan, bytes.payload);
	assert_int_equal(write(crypt_fd(c), &bytes, half), half);
	/* Whoever asks after it is answered when it was read. */
	crypt_close(open_crypt());
	crypt_close(c);
	wait_for_no_connection();
	expect_nothing(&secret.needles);
}

static void by_control_queue(void **state)
{
	const uint32_t pieces[] = { 32, 16, 3 };
	struct crypt *c = open_crypt();

	for (unsigned int i = 0; i < ARRAY_SIZE(pieces); i++) {
		struct secret secret = secret_new(32);
		uint32_t direction = i % 2 ? VIRTIO_CRYPTO_OP_DECRYPT : VIRTIO_CRYPTO_OP_ENCRYPT;
		int64_t id = -1;

		for (uint32_t at = 0; at < secret.len; at++)
			*(uint8_t *)crypt_heap(c, at / pieces[i] * 2 * pieces[i] + at % pieces[i]) = secret.key[at];
		assert_int_equal(crypt_control_create(c, 0, (uint32_t)secret.len, pieces[i], direction, &id),
				 VIRTIO_CRYPTO_OK);
		use_session(c, id, direction);
		expect_found(&secret);
		assert_int_equal(crypt_control_end(c, (uint64_t)id), VIRTIO_CRYPTO_OK);
		memset(crypt_heap(c, 0), 0, 128);
		expect_nothing(&secret.needles);
		expect_not_logged(&secret);
	}
	crypt_close(c);
}

#define T(name)	     cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CRYPTO(name) cmocka_unit_test_setup_teardown(name, setup_crypto, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(in_one_piece),
		T(scattered),
		T(of_rsa),
		T(with_its_session),
		T(with_its_connection),
		T(held),
		CRYPTO(by_message),
		CRYPTO(refused_message),
		CRYPTO(half_a_message),
		CRYPTO(by_control_queue),
	};
	char path[] = "/proc/self/mem";

	if (access(path, R_OK) < 0 || geteuid() != 0) {
		fprintf(stderr, "skipped: only root may look into the memory of the worker\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
