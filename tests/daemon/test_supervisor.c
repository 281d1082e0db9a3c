/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor under pressure: a worker that is stuck, silent or has much to be told, descriptors that run out, and
 * front-ends that make it busy. Whoever has done nothing wrong is served.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "util/util.h"

#define STEPS 3000 /* of 20 ms */

/* What a daemon of this test is started with. */
struct start {
	const char *config;
	const char *option; /* NULL: none */
	rlim_t files, most; /* RLIMIT_NOFILE, soft and hard; 0: as it is */
};

static void log_path(char *path, size_t len)
{
	snprintf(path, len, "%s/log", rig_daemon.folder);
}

static void exec_daemon(const struct start *start, pid_t parent)
{
	char config[128], path[128], log[128];
	struct rlimit limit;
	int fd;

	log_path(log, sizeof(log));
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (start->most)
		limit.rlim_max = start->most;
	if (start->files)
		limit.rlim_cur = start->files;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || dup2(fd, 2) < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		_exit(126);
	snprintf(config, sizeof(config), "--config=%s", rig_daemon.config);
	snprintf(path, sizeof(path), "--socket-path=%s", rig_daemon.socket);
	execl(getenv("VACCELD"), "vacceld", config, path, start->option, (char *)NULL);
	_exit(127);
}

static int raw_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, rig_daemon.socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* As rig_start(), with its log in a file. */
static void start(const struct start *start)
{
	char config[512];
	pid_t parent = getpid();
	int fd = -1;

	snprintf(config, sizeof(config), "[order]\ndefault = fault reference\n%s", start->config);
	assert_int_equal(daemon_prepare(&rig_daemon, config), 0);
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	rig_daemon.pid = fork();
	assert_true(rig_daemon.pid >= 0);
	if (rig_daemon.pid == 0)
		exec_daemon(start, parent);
	for (int i = 0; fd < 0 && i < STEPS && kill(rig_daemon.pid, 0) == 0; i++) {
		fd = raw_connect();
		if (fd < 0)
			usleep(20000);
	}
	assert_true(fd >= 0);
	close(fd);
}

static unsigned int count_in_log(const char *part)
{
	char path[128], line[1024];
	unsigned int n = 0;
	FILE *file;

	log_path(path, sizeof(path));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, part) != NULL;
	fclose(file);
	return n;
}

static void wait_in_log(const char *part)
{
	for (int i = 0; i < STEPS; i++) {
		if (count_in_log(part) > 0)
			return;
		usleep(20000);
	}
	fail_msg("the log does not say '%s'", part);
}

/* Waits for the daemon's end by itself; returns its exit status. */
static int wait_exit(void)
{
	int status = 0;

	for (int i = 0; i < STEPS; i++) {
		if (waitpid(rig_daemon.pid, &status, WNOHANG) == rig_daemon.pid) {
			rig_daemon.pid = 0;
			assert_true(WIFEXITED(status));
			return WEXITSTATUS(status);
		}
		usleep(20000);
	}
	daemon_kill(&rig_daemon, SIGKILL);
	fail_msg("the daemon does not end");
	return -1;
}

static int try_frontend(struct frontend **ret_frontend, struct error *error)
{
	const struct frontend_options options = { .features = FRONTEND_RING_FEATURES,
						  .protocol_features = FRONTEND_PROTOCOL_FEATURES,
						  .timeout_ms = 60000 };

	return frontend_connect(rig_daemon.socket, &options, ret_frontend, error);
}

static void add_regions(struct frontend *frontend, unsigned int n)
{
	struct frontend_region *region;
	struct error error = { 0 };

	for (unsigned int i = 0; i < n; i++)
		if (frontend_region_new(frontend, 4096, &region, &error) < 0)
			fail_msg("region %u: %s", i, error.text);
}

/* ---- the worker ---- */

/* More than the socket between the two has room for, in both directions. */
static void much_to_tell(void **state)
{
	struct frontend *others[12];
	struct error error = { 0 };
	struct guest *g;
	pid_t old;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(try_frontend(&others[i], &error), 0);
		add_regions(others[i], 60);
	}
	for (int round = 0; round < 2; round++) {
		old = rig_kill_worker();
		guest_works(g);
		assert_true(rig_worker(old) != old);
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			add_regions(others[i], 1);
	}
	assert_int_equal(count_in_log("is ended"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		frontend_free(others[i]);
	guest_works(g);
	guest_close(g);
}

/* Commands that are not acknowledged: the next worker is told again. */
static void stuck_worker(void **state)
{
	struct guest *g;
	pid_t old;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	old = rig_worker(0);
	assert_int_equal(kill(old, SIGSTOP), 0);
	add_regions(g->frontend, 1);
	rig_wait_gone(old);
	guest_works(g);
	guest_close(g);
}

/* A front-end that hung up is not let go of: its place comes back nevertheless. */
static void stuck_goodbye(void **state)
{
	struct frontend *frontend = NULL;
	pid_t old;

	start(&(struct start){ .config = "[limits]\nconnections = 1\nop_time_ms = 300\n",
			       .option = "--drain-time=300" });
	for (int i = 0; i < STEPS && try_frontend(&frontend, NULL) < 0; i++)
		usleep(20000); /* start() was connected */
	assert_non_null(frontend);
	old = rig_worker(0);
	assert_int_equal(kill(old, SIGSTOP), 0);
	frontend_free(frontend);
	rig_wait_gone(old);
	frontend = NULL;
	for (int i = 0; i < STEPS && try_frontend(&frontend, NULL) < 0; i++)
		usleep(20000);
	assert_non_null(frontend);
	frontend_free(frontend);
}

/* It lives, and closes its link. */
static void silent_worker(void **state)
{
	struct guest *g;
	pid_t old;
	int pidfd, link;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	guest_works(g);
	old = rig_worker(0);
	pidfd = (int)syscall(SYS_pidfd_open, old, 0);
	link = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, 3, 0);
	if (link < 0) {
		print_message("skipped: another process's descriptor cannot be had: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(shutdown(link, SHUT_WR), 0);
	close(link);
	close(pidfd);
	rig_wait_gone(old);
	guest_works(g);
	guest_close(g);
}

/* Workers that end because of a front-end's memory are not started again as fast as they can end. */
static void young_deaths(void **state)
{
	struct guest *g;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	product_run(&(struct product){ g, 8, 0, fault_alpha(FAULT_EXIT, 6, 76), 0 }, 0, VIRTIO_ACCEL_S_OK);
	assert_true(count_in_log("died young") > 0);
	guest_works(g);
	guest_close(g);
}

/* ---- descriptors ---- */

static void limit_daemon(rlim_t files)
{
	struct rlimit limit;

	assert_int_equal(prlimit(rig_daemon.pid, RLIMIT_NOFILE, NULL, &limit), 0);
	limit.rlim_cur = files ? files : limit.rlim_max;
	assert_int_equal(prlimit(rig_daemon.pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

static void low_soft_limit(void **state)
{
	struct guest *guests[8];

	start(&(struct start){ .config = "", .files = 26 });
	for (size_t i = 0; i < ARRAY_SIZE(guests); i++)
		guests[i] = guest_open_all();
	for (size_t i = 0; i < ARRAY_SIZE(guests); i++) {
		guest_works(guests[i]);
		guest_close(guests[i]);
	}
}

static void low_hard_limit(void **state)
{
	const struct start s = { .config = "", .files = 256, .most = 256 };
	pid_t parent = getpid();

	assert_int_equal(daemon_prepare(&rig_daemon, s.config), 0);
	rig_daemon.pid = fork();
	if (rig_daemon.pid == 0)
		exec_daemon(&s, parent);
	assert_int_equal(wait_exit(), 1);
	assert_int_equal(count_in_log("RLIMIT_NOFILE is 256"), 1);
	assert_int_equal(access(rig_daemon.socket, F_OK), -1);
}

/* There is little to share: whoever takes more than what is left loses its connection. */
static void regions_of_all(void **state)
{
	struct frontend *frontend;
	struct frontend_region *region;
	struct error error = { 0 };
	struct guest *g;
	int n = 0;

	start(&(struct start){ .config = "[limits]\nconnections = 4\n", .files = 250, .most = 250 });
	g = guest_open_all();
	assert_int_equal(try_frontend(&frontend, &error), 0);
	while (frontend_region_new(frontend, 4096, &region, &error) == 0)
		assert_true(++n < 60);
	assert_true(n >= 2);
	assert_int_equal(count_in_log("memory regions of all connections"), 1);
	frontend_free(frontend);
	guest_works(g);
	rig_kill_worker();
	guest_works(g);
	guest_close(g);
}

static void no_descriptors_left(void **state)
{
	struct guest *g;
	int fd;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	limit_daemon(16);
	fd = raw_connect();
	assert_true(fd >= 0);
	wait_in_log("cannot accept");
	for (int i = 0; i < 20; i++)
		guest_works(g);
	usleep(300000);
	assert_int_equal(count_in_log("cannot accept"), 1);
	limit_daemon(0);
	close(fd);
	guest_close(guest_open_all());
	guest_works(g);
	guest_close(g);
}

/* Without poll(2) there is nothing to do: it says so and ends, and does not try for ever. */
static void poll_fails(void **state)
{
	struct guest *g;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	limit_daemon(2);
	close(raw_connect());
	assert_int_equal(wait_exit(), 1);
	assert_int_equal(count_in_log("cannot wait"), 1);
	guest_close(g);
}

/* ---- front-ends ---- */

static void refused_often(void **state)
{
	struct frontend *frontend = NULL;

	start(&(struct start){ .config = "[limits]\nconnections = 1\n" });
	for (int i = 0; i < STEPS && try_frontend(&frontend, NULL) < 0; i++)
		usleep(20000); /* start() was connected */
	assert_non_null(frontend);
	for (int i = 0; i < 500; i++) {
		int fd = raw_connect();
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 60000), 1);
		close(fd);
	}
	assert_in_range(count_in_log("connection refused"), 1, 499);
	frontend_free(frontend);
}

/* What a queue that is stopped by a reset had reached does not count any more. */
static void reset_base(void **state)
{
	struct error error = { 0 };
	struct guest *g;
	uint16_t base = 1;

	start(&(struct start){ .config = "" });
	g = guest_open_all();
	guest_works(g);
	assert_int_equal(frontend_reset_device(g->frontend, &error), 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		assert_int_equal(frontend_get_vring_base(g->frontend, i, &base, &error), 0);
		assert_int_equal(base, 0);
	}
	guest_close(g);
}

#define T(name) cmocka_unit_test_teardown(name, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(much_to_tell),	T(stuck_worker),   T(stuck_goodbye),  T(silent_worker),
		T(young_deaths),	T(low_soft_limit), T(low_hard_limit), T(regions_of_all),
		T(no_descriptors_left), T(poll_fails),	   T(refused_often),  T(reset_base),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
