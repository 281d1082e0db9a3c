/* SPDX-License-Identifier: Apache-2.0 */
/* vacceld as a program: its options, its socket in the file system, its beginning and its end. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <json-c/json.h>

#include "util/util.h"

/* Runs the program to its end with output and errors in ret_text; inherit: a descriptor to keep as number 9, or -1. */
static int run(const char *const *args, int inherit, char *ret_text, size_t len)
{
	const char *argv[16] = { getenv("VACCELD") };
	int pipes[2], status;
	size_t n = 0;
	ssize_t r;
	pid_t pid;

	for (int i = 0; args[i]; i++)
		argv[i + 1] = args[i];
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(pipes[1], 1);
		dup2(pipes[1], 2);
		if (inherit >= 0)
			dup2(inherit, 9);
		close(pipes[0]);
		close(pipes[1]);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(pipes[1]);
	while (n + 1 < len && (r = read(pipes[0], ret_text + n, len - n - 1)) > 0)
		n += (size_t)r;
	ret_text[n] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define RUN(text, ...) run((const char *[]){ __VA_ARGS__, NULL }, -1, text, sizeof(text))

static void expect_text(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in '%s'", part, text);
}

static void usage(void **state)
{
	char text[8192];

	assert_int_equal(RUN(text, "--help"), 0);
	expect_text(text, "--socket-path");
	expect_text(text, "--drain-time");
	assert_null(strstr(text, "--worker"));
	assert_int_equal(RUN(text, "--version"), 0);
	expect_text(text, VACCEL_BUILD_VERSION);
	assert_int_equal(RUN(text, "--log-level=info"), 2);
	expect_text(text, "--socket-path");
	assert_int_equal(RUN(text, "--no-such-option"), 2);
	assert_int_equal(RUN(text, "--socket-path=/x", "--fd=3"), 2);
	assert_int_equal(RUN(text, "--socket-path=/x", "word"), 2);
	expect_text(text, "word");
	assert_int_equal(RUN(text, "--fd=three"), 2);
	expect_text(text, "three");
	assert_int_equal(RUN(text, "--socket-path=/x", "--log-level=loud"), 2);
	expect_text(text, "loud");
}

static void capabilities(void **state)
{
	char text[8192];
	struct json_object *object, *type;

	assert_int_equal(RUN(text, "--print-capabilities"), 0);
	object = json_tokener_parse(text);
	assert_non_null(object);
	assert_true(json_object_object_get_ex(object, "type", &type));
	assert_string_equal(json_object_get_string(type), "accel");
	json_object_put(object);
}

static void cannot_serve(void **state)
{
	char text[8192], long_path[300];

	assert_int_equal(RUN(text, "--config=", "--socket-path=/no-such-folder/x.sock"), 1);
	expect_text(text, "/no-such-folder/x.sock");
	assert_int_equal(RUN(text, "--config=", "--socket-path=/dev/null"), 1);
	expect_text(text, "not a socket");
	memset(long_path, 'x', sizeof(long_path));
	memcpy(long_path, "--socket-path=", 14);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(RUN(text, "--config=", long_path), 1);
	assert_int_equal(RUN(text, "--config=/no-such-file", "--socket-path=/tmp/vaccel-x.sock"), 1);
	expect_text(text, "/no-such-file");
	assert_int_equal(RUN(text, "--config=", "--set=limits.no_such_key=1", "--socket-path=/tmp/vaccel-x.sock"), 1);
	expect_text(text, "no_such_key");
	assert_int_equal(RUN(text, "--config=", "--fd=9"), 1);
	expect_text(text, "--fd 9");
	assert_int_equal(RUN(text, "--config=", "--socket-group=no-such-group", "--socket-path=/tmp/vaccel-x.sock"), 1);
	expect_text(text, "no-such-group");
	assert_int_equal(access("/tmp/vaccel-x.sock", F_OK), -1);
}

static void socket_file(void **state)
{
	char text[8192], option[128];
	struct stat st;

	rig_start("");
	assert_int_equal(stat(rig_daemon.socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	/* In use: refused, and the one who uses it does not notice. */
	snprintf(option, sizeof(option), "--socket-path=%s", rig_daemon.socket);
	assert_int_equal(RUN(text, "--config=", option), 1);
	expect_text(text, "another daemon");
	guest_close(guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES));
	/* Killed: left behind. The next one takes over: daemon_start() would remove it, so this is done by hand. */
	daemon_kill(&rig_daemon, SIGKILL);
	assert_int_equal(access(rig_daemon.socket, F_OK), 0);
	rig_daemon.pid = fork();
	if (rig_daemon.pid == 0) {
		execl(getenv("VACCELD"), "vacceld", "--config=", option, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 3000; i++) {
		const struct frontend_options options = { .protocol_features = FRONTEND_PROTOCOL_FEATURES };
		struct frontend *frontend;

		if (frontend_connect(rig_daemon.socket, &options, &frontend, NULL) == 0) {
			frontend_free(frontend);
			break;
		}
		usleep(20000);
	}
	guest_close(guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES));
	/* Ended in good order: removed. */
	assert_int_equal(daemon_kill(&rig_daemon, SIGTERM), 0);
	assert_int_equal(access(rig_daemon.socket, F_OK), -1);
	rig_stop();
}

/* Whoever is connected is hung up on, and the worker goes with its supervisor, however that ends. */
static void ends(void **state)
{
	const int signals[] = { SIGTERM, SIGINT, SIGKILL };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct guest *g;
		pid_t worker;

		rig_start("");
		g = guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES);
		worker = rig_worker(0);
		daemon_kill(&rig_daemon, signals[i]);
		rig_wait_gone(worker);
		guest_close(g);
		rig_stop();
	}
}

static void inherited(void **state)
{
	char text[8192];
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	close(pair[0]); /* the front-end is gone before it begins: served, and over */
	assert_int_equal(run((const char *[]){ "--config=", "--fd=9", NULL }, pair[1], text, sizeof(text)), 0);
	close(pair[1]);
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(run((const char *[]){ "--config=", "--fd=9", NULL }, pair[1], text, sizeof(text)), 1);
	expect_text(text, "not a Unix stream socket");
	close(pair[0]);
	close(pair[1]);
}

static void connection_limit(void **state)
{
	const struct frontend_options options = { .protocol_features = FRONTEND_PROTOCOL_FEATURES };
	struct frontend *frontend, *b = NULL;
	struct error error;
	struct guest *a;
	uint8_t status;

	rig_start("[limits]\nconnections = 2\n");
	a = guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES);
	/* Whoever looked for the daemon at its start has a place until the worker has let go of it. */
	for (int i = 0; i < 3000 && frontend_connect(rig_daemon.socket, &options, &b, NULL) < 0; i++)
		usleep(20000);
	assert_non_null(b);
	assert_true(frontend_connect(rig_daemon.socket, &options, &frontend, NULL) < 0);
	product_run(&(struct product){ a, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_OK);
	assert_int_equal(frontend_get_status(b, &status, &error), 0);
	guest_close(a);
	frontend_free(b);
	rig_stop();
}

/* A plugin that kills every worker that loads it: requests fail, and do not hang. */
static void hopeless_plugin(void **state)
{
	struct guest *g;

	rig_start("noop = hopeless\n");
	g = guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES);
	product_run(&(struct product){ g, 8, 0, 1, 0 }, 0, VIRTIO_ACCEL_S_UNSUPPORTED);
	guest_close(g);
	rig_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usage),
		cmocka_unit_test(capabilities),
		cmocka_unit_test(cannot_serve),
		cmocka_unit_test(socket_file),
		cmocka_unit_test(ends),
		cmocka_unit_test(inherited),
		cmocka_unit_test(connection_limit),
		cmocka_unit_test(hopeless_plugin),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
