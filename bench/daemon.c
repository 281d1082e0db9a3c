/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private daemons. They, and the folder with their configurations, sockets and logs, belong to a process of its own, the
 * keeper: it waits for the end of a socket whose other end only the measuring program has, so that it tidies up
 * however that program ends, killed included. The keeper is in a session of its own: a Ctrl-C of the terminal is not for
 * it.
 *
 * On that socket: which daemon to start and where (struct order); answered by its process id once it listens, or a
 * negative errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bench/bench.h"
#include "engine/config.h"

#define START_MS 60000 /* a slow machine is no failure */
#define END_MS	 10000 /* then it is killed */
#define STEP_MS	 10
#define MAX_TMP	 70 /* the name of a socket in a folder in it has room for 107 characters */

/* From one request of a turn to the next; it has stopped before the next turn. As long as daemons do by default. */
#define DAEMON_POLL_US 50u

struct order {
	uint8_t index; /* of its configuration, socket and log */
	uint8_t place; /* enum bench_place */
	bool crypto;   /* a virtio-crypto device, not ours */
};

/* ---- where the programs are ---- */

/* The folder of this program, with room for more behind it. */
static bool own_folder(char *path, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", path, len - 64);
	char *slash;

	path[MAX(n, 0)] = 0;
	slash = strrchr(path, '/');
	if (slash)
		*slash = 0;
	return slash;
}

/* $VACCELD, or the one that belongs to this program: in the build folder, or installed beside it; or that of $PATH. */
static void find_program(char *path, size_t len)
{
	static const char *const places[] = { "/../daemon/vacceld", "/../sbin/vacceld", "/vacceld" };
	const char *named = getenv("VACCELD");
	char folder[4096];

	for (size_t i = 0; (!named || !*named) && i < ARRAY_SIZE(places) && own_folder(folder, sizeof(folder)); i++) {
		snprintf(path, len, "%s%s", folder, places[i]);
		if (access(path, X_OK) == 0)
			return;
	}
	snprintf(path, len, "%s", named && *named ? named : "vacceld");
}

/* A program of a build folder uses the plugins of that, unless it was told others. */
static void find_plugins(void)
{
	char pattern[4096], *folders;
	size_t len = 1;
	glob_t found;

	if (getenv("VACCEL_PLUGIN_DIR") || !own_folder(pattern, sizeof(pattern)))
		return;
	strcat(pattern, "/../../plugins/*/vaccel-*.so");
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		len += strlen(found.gl_pathv[i]) + 1;
	folders = calloc(1, len);
	for (size_t i = 0; folders && i < found.gl_pathc; i++) {
		*strrchr(found.gl_pathv[i], '/') = 0;
		strcat(folders, i ? ":" : "");
		strcat(folders, found.gl_pathv[i]);
	}
	if (folders)
		setenv("VACCEL_PLUGIN_DIR", folders, 1);
	free(folders);
	globfree(&found);
}

/* ---- the keeper ---- */

static int try_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path) >= (int)sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

/* In the child: becomes the daemon. */
static void exec_daemon(const struct order *order, const char *folder, pid_t parent)
{
	char program[4096], config[128], socket[128], log[128];
	sigset_t none;
	int fd;

	snprintf(config, sizeof(config), "--config=%s/%u.conf", folder, order->index);
	snprintf(socket, sizeof(socket), "--socket-path=%s/%u.sock", folder, order->index);
	snprintf(log, sizeof(log), "%s/%u.log", folder, order->index);
	find_program(program, sizeof(program));
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (getppid() != parent || fd < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	bench_place(order->place, true);
	execlp(program, program, config, socket, order->crypto ? "--device=crypto" : (char *)NULL, (char *)NULL);
	fprintf(stderr, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

static pid_t start_daemon(const struct order *order, const char *folder)
{
	pid_t parent = getpid(), pid = fork();
	char path[128];

	if (pid == 0)
		exec_daemon(order, folder, parent);
	if (pid < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/%u.sock", folder, order->index);
	for (int waited = 0; waited < START_MS; waited += STEP_MS) {
		if (try_connect(path) == 0)
			return pid;
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return -ECHILD;
		poll(NULL, 0, STEP_MS);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return -ETIMEDOUT;
}

static void end_daemons(const pid_t *pids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		kill(pids[i], SIGTERM);
	for (size_t i = 0; i < n; i++) {
		pid_t r = 0;

		for (int waited = 0; waited < END_MS && r == 0; waited += STEP_MS) {
			r = waitpid(pids[i], NULL, WNOHANG);
			if (r == 0)
				poll(NULL, 0, STEP_MS);
		}
		if (r == 0) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void keep(const char *folder, int fd)
{
	pid_t pids[BENCH_MAX_DAEMONS];
	struct order order;
	size_t n = 0;
	int null = open("/dev/null", O_RDWR);

	setsid();
	prctl(PR_SET_NAME, "vaccel-keeper");
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* Whoever reads what the program prints does not wait for the keeper. */
	for (int i = STDIN_FILENO; null >= 0 && i <= STDERR_FILENO; i++)
		dup2(null, i);
	while (n < BENCH_MAX_DAEMONS && read(fd, &order, sizeof(order)) == sizeof(order)) {
		pid_t pid = start_daemon(&order, folder);

		if (pid > 0)
			pids[n++] = pid;
		if (write(fd, &pid, sizeof(pid)) != sizeof(pid))
			break;
	}
	while (read(fd, &order, sizeof(order)) > 0)
		;
	end_daemons(pids, n);
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	_exit(EXIT_SUCCESS);
}

/* ---- for the measuring program ---- */

/* For the signal handler. */
static int keeper_fd = -1;
static pid_t keeper_pid;

static void tidy(void)
{
	close(keeper_fd);
	waitpid(keeper_pid, NULL, 0);
}

int bench_daemons_init(struct bench_daemons *daemons, const struct bench_options *options, struct error *error)
{
	const char *tmp = getenv("TMPDIR");
	int pair[2], r;

	*daemons = (struct bench_daemons){ .fd = -1, .options = options };
	find_plugins();
	snprintf(daemons->folder, sizeof(daemons->folder), "%s/vaccel-bench.XXXXXX",
		 tmp && *tmp == '/' && strlen(tmp) < MAX_TMP ? tmp : "/tmp");
	if (!mkdtemp(daemons->folder))
		return error_set(error, -errno, "folder %s: cannot make: %s", daemons->folder, strerror(errno));
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		r = error_set(error, -errno, "keeper: cannot start: %s", strerror(errno));
		rmdir(daemons->folder);
		return r;
	}
	daemons->keeper = fork();
	if (daemons->keeper == 0) {
		close(pair[0]);
		keep(daemons->folder, pair[1]);
	}
	close(pair[1]);
	if (daemons->keeper < 0) {
		r = error_set(error, -errno, "keeper: cannot start: %s", strerror(errno));
		close(pair[0]);
		rmdir(daemons->folder);
		return r;
	}
	daemons->fd = keeper_fd = pair[0];
	keeper_pid = daemons->keeper;
	cli_at_signal(tidy);
	return 0;
}

void bench_daemons_fini(struct bench_daemons *daemons)
{
	if (daemons->fd < 0)
		return;
	cli_at_signal(NULL);
	close(daemons->fd);
	daemons->fd = -1;
	while (waitpid(daemons->keeper, NULL, 0) < 0 && errno == EINTR)
		;
}

/* ---- configurations ---- */

/* Whether the engine has a key: one that it has not would end the daemon's start. */
static bool has_key(const char *section, const char *key)
{
	struct config_key_info info;

	for (size_t i = 0; config_key_at(i, &info); i++)
		if (!strcmp(info.section, section) && !strcmp(info.key, key))
			return true;
	return false;
}

static int write_config(const struct bench_daemons *daemons, const char *path, const struct bench *bench,
			enum bench_waiting waiting, struct error *error)
{
	FILE *file = fopen(path, "we");
	bool failed;

	if (!file)
		return error_set(error, -errno, "configuration %s: cannot write: %s", path, strerror(errno));
	fprintf(file, "[engine]\nthreads = %u\nop_threads = 1\n", bench->threads);
	if (waiting != BENCH_WAIT_DEFAULT && has_key("engine", "spin_us"))
		fprintf(file, "spin_us = %u\n", waiting == BENCH_PARKED ? 0 : DAEMON_POLL_US);
	if (daemons->options->profile)
		fputs("\n[metrics]\ntrace = on\n", file);
	if (bench->models)
		fprintf(file, "\n[models]\ndir = %s\n", bench_models());
	fprintf(file, "\n[order]\ndefault = %s\n",
		bench->order	? bench->order
		: bench->models ? "models tensorflow"
				: "openblas reference");
	failed = ferror(file);
	failed |= fclose(file) != 0;
	return failed ? error_set(error, -EIO, "configuration %s: cannot write", path) : 0;
}

int bench_daemons_local(struct bench_daemons *daemons, const struct bench *bench, char *url, size_t len,
			struct error *error)
{
	snprintf(url, len, "local:%s/local.conf", daemons->folder);
	return write_config(daemons, url + strlen("local:"), bench, BENCH_WAIT_DEFAULT, error);
}

/* ---- daemons ---- */

static bool serves(const struct bench_daemon *daemon, const struct bench_side *side)
{
	return daemon->side->waiting == side->waiting && daemon->side->place == side->place &&
	       daemon->side->crypto == side->crypto;
}

/* The last line that a daemon has said. */
static void last_words(const struct bench_daemons *daemons, size_t index, char *text, size_t len)
{
	char path[128], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%zu.log", daemons->folder, index);
	snprintf(text, len, "it does not say why");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(text, len, "%.*s", (int)len - 1, line);
	}
	if (file)
		fclose(file);
}

static int start(struct bench_daemons *daemons, size_t index, struct error *error)
{
	struct bench_daemon *daemon = &daemons->daemons[index];
	struct order order = { .index = (uint8_t)index,
			       .place = (uint8_t)daemon->side->place,
			       .crypto = daemon->side->crypto };
	char cause[128];
	pid_t pid = -EPIPE;

	if (send(daemons->fd, &order, sizeof(order), MSG_NOSIGNAL) != sizeof(order) ||
	    read(daemons->fd, &pid, sizeof(pid)) != sizeof(pid))
		return error_set(error, -EPIPE, "daemon: cannot start: its keeper has ended");
	if (pid < 0) {
		last_words(daemons, index, cause, sizeof(cause));
		return error_set(error, pid, "daemon: cannot start: %s", cause);
	}
	daemon->pid = pid;
	return 0;
}

int bench_daemons_get(struct bench_daemons *daemons, const struct bench *bench, const struct bench_side *side,
		      struct bench_daemon **ret_daemon, struct error *error)
{
	struct bench_daemon *daemon;
	char path[128];
	int r;

	for (size_t i = 0; i < daemons->n; i++) {
		if (serves(&daemons->daemons[i], side)) {
			*ret_daemon = &daemons->daemons[i];
			return 0;
		}
	}
	if (daemons->n == BENCH_MAX_DAEMONS)
		return error_set(error, -E2BIG, "daemon: cannot start more than %d", BENCH_MAX_DAEMONS);
	daemon = &daemons->daemons[daemons->n];
	daemon->side = side;
	snprintf(path, sizeof(path), "shm:%s/%zu.sock", daemons->folder, daemons->n);
	memcpy(daemon->url, path, sizeof(daemon->url));
	snprintf(path, sizeof(path), "%s/%zu.conf", daemons->folder, daemons->n);
	r = write_config(daemons, path, bench, side->waiting, error);
	if (r == 0)
		r = start(daemons, daemons->n, error);
	if (r < 0)
		return r;
	daemons->n++;
	*ret_daemon = daemon;
	return 0;
}

/* The one child that a supervisor has. */
pid_t bench_daemon_worker(const struct bench_daemon *daemon)
{
	char path[64];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)daemon->pid, (int)daemon->pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}
