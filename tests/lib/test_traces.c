/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: test_traces local|shm
 *
 * What the library keeps of a key: nothing. A process imports one, overwrites its own copy, and uses and frees the key, while
 * another one looks through its memory: also what it shares with the daemon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vaccel/vaccel.h>

#include "common/daemon.h"
#include "daemon/search.h"

#define CONFIG "[order]\ndefault = openssl reference\n"
#define LEN    32

static bool remote;
static struct daemon server;
static char url[160];

static void demand(bool fine, const char *what)
{
	if (fine)
		return;
	fprintf(stderr, "client: %s: %s\n", what, vaccel_error());
	_exit(1);
}

static void use(struct vaccel_key *key)
{
	uint8_t iv[16] = { 0 }, source[1024] = { 1, 2, 3 }, result[sizeof(source)], back[sizeof(source)];
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = VACCEL_CBC,
		.direction = VACCEL_ENCRYPT,
		.iv = iv,
		.iv_len = sizeof(iv),
		.source = source,
		.destination = result,
		.len = sizeof(source),
	};

	demand(vaccel_cipher(key, &message) == 0, "encrypting");
	message.direction = VACCEL_DECRYPT;
	message.source = result;
	message.destination = back;
	demand(vaccel_cipher(key, &message) == 0, "decrypting");
	demand(!memcmp(source, back, sizeof(source)), "comparing");
}

/* Tells that something is done, and waits until it was looked at. */
static void show(int in, int out)
{
	char byte = 0;

	demand(write(out, &byte, 1) == 1 && read(in, &byte, 1) == 1, "the parent");
}

static void client(int in, int out)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	struct vaccel_key *key = NULL;
	uint8_t bytes[LEN];

	demand(vaccel_context_new(&options, &context) == 0, "opening");
	demand(vaccel_session_open(context, &session) == 0, "a session");
	demand(read(in, bytes, LEN) == LEN, "the key");
	demand(vaccel_key_import(session, VACCEL_KEY_AES, 0, VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT, bytes, LEN,
				 &key) == 0,
	       "importing");
	explicit_bzero(bytes, LEN);
	use(key);
	show(in, out);
	demand(vaccel_key_free(key) == 0, "freeing");
	show(in, out);
	vaccel_session_close(session);
	vaccel_context_free(context);
	_exit(0);
}

static void expect_found(pid_t pid, const struct needles *needles, bool some)
{
	struct search found;

	assert_int_equal(search_process(pid, needles, true, &found), 0);
	if (!some && found.n)
		fail_msg("%u traces: %s", found.n, found.text);
	assert_int_equal(found.n > 0, some);
}

static void nothing_is_kept(void **state)
{
	struct needles needles = { .n = 0 };
	int in[2], out[2], status;
	uint8_t key[LEN];
	char byte;
	pid_t pid;

	assert_true(pipe(in) == 0 && pipe(out) == 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		client(in[0], out[1]);
	/* Only now, or it would be in the other's memory from the beginning. */
	assert_int_equal(getrandom(key, sizeof(key), 0), sizeof(key));
	needles_of_key(&needles, key, sizeof(key));
	assert_int_equal(write(in[1], key, sizeof(key)), sizeof(key));
	assert_int_equal(read(out[0], &byte, 1), 1);
	/* In use. Where the engine is in the same process that has it, of course. */
	expect_found(pid, &needles, !remote);
	assert_int_equal(write(in[1], &byte, 1), 1);
	assert_int_equal(read(out[0], &byte, 1), 1);
	expect_found(pid, &needles, false);
	assert_int_equal(write(in[1], &byte, 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int start(void **state)
{
	int r = daemon_prepare(&server, CONFIG);

	if (r == 0 && remote)
		r = daemon_start(&server);
	snprintf(url, sizeof(url), "%s%s", remote ? "" : "local:", remote ? server.url : server.config);
	return r;
}

static int stop(void **state)
{
	daemon_stop(&server);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_is_kept) };

	remote = argc > 1 && !strcmp(argv[1], "shm");
	if (remote && !getenv("VACCELD")) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, start, stop);
}
