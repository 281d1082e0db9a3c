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

#include "search.h"
#include "util/util.h"

#define CONFIG "cipher = openssl\n[engine]\nthreads = 2\n"

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

static void start(const char *config)
{
	char text[2048];

	snprintf(text, sizeof(text), "[order]\ndefault = fault reference\n%s", config);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	snprintf(rig_daemon.log, sizeof(rig_daemon.log), "%s/log", rig_daemon.folder);
	rig_daemon.words[0] = "--log-level=debug";
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	assert_int_equal(daemon_start(&rig_daemon), 0);
}

static int setup(void **state)
{
	start(CONFIG);
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
	int r = search_process(pid, needles, &found);

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

static void wait_for_no_connection(void)
{
	char *log = calloc(1, 4u << 20);

	for (int i = 0; i < 3000; i++) {
		int fd = open(rig_daemon.log, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, log, (4u << 20) - 1);

		close(fd);
		log[MAX(n, 0)] = '\0';
		if (strstr(log, "connection 1: freed")) {
			free(log);
			return;
		}
		poll(NULL, 0, 20);
	}
	fail_msg("the connection is still there");
}

static void with_its_connection(void **state)
{
	struct secret secret = secret_new(16);
	struct guest *g;

	/* A daemon that has served nobody yet, so that this is connection 1. */
	rig_stop();
	start(CONFIG);
	g = guest_open_all();
	in_use(g, g->session, guest_import(g, g->session, secret.key, secret.len, 1));
	expect_found(&secret);
	guest_close(g);
	wait_for_no_connection();
	expect_nothing(&secret.needles);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(in_one_piece),
		T(scattered),
		T(with_its_session),
		T(with_its_connection),
	};
	char path[] = "/proc/self/mem";

	if (access(path, R_OK) < 0 || geteuid() != 0) {
		fprintf(stderr, "skipped: only root may look into the memory of the worker\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
