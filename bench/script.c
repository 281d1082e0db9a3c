/* SPDX-License-Identifier: Apache-2.0 */
/* Runs scripts of the source tree that this program was built from, and takes their last line. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "bench/bench.h"

#define MAX_UP 8 /* folders from the program up to the source tree */

/* $VACCEL_SOURCE, or the nearest folder above this program that has such a script. */
int bench_script_find(const char *name, char *path, size_t len, struct error *error)
{
	const char *named = getenv("VACCEL_SOURCE");
	char folder[4096];
	ssize_t n = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
	char *slash;

	folder[MAX(n, 0)] = 0;
	for (unsigned int i = 0; i < MAX_UP && !(named && *named) && (slash = strrchr(folder, '/')); i++) {
		*slash = 0;
		if (snprintf(path, len, "%s/%s", folder, name) < (int)len && access(path, X_OK) == 0)
			return 0;
	}
	if (named && *named && snprintf(path, len, "%s/%s", named, name) < (int)len && access(path, X_OK) == 0)
		return 0;
	return error_set(error, -ENOENT, "%s: not found: it is in vAccel's source tree, which VACCEL_SOURCE can name",
			 name);
}

/* In the child. It ends when we do, and takes signals that a measuring process leaves to its parent. */
static void exec_script(char *const *argv, int fd, pid_t parent)
{
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		_exit(127);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(argv[0], argv);
	_exit(127);
}

pid_t bench_script_start(char *const *argv, int *ret_fd, struct error *error)
{
	pid_t parent = getpid(), pid;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return error_set(error, -errno, "%s: cannot start: %s", argv[0], strerror(errno));
	pid = fork();
	if (pid == 0)
		exec_script(argv, fds[1], parent);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return error_set(error, -EAGAIN, "%s: cannot start: out of processes", argv[0]);
	}
	*ret_fd = fds[0];
	return pid;
}

int bench_script_run(char *const *argv, char *line, size_t len, struct error *error)
{
	char text[4096];
	int fd, status = 0;
	pid_t pid = bench_script_start(argv, &fd, error);
	FILE *file;

	if (pid < 0)
		return (int)pid;
	file = fdopen(fd, "r");
	line[0] = 0;
	while (file && fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\n")] = 0;
		snprintf(line, len, "%.*s", (int)len - 1, text);
	}
	if (file)
		fclose(file);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(error, -EIO, "%s: failed, see above", argv[0]);
	return line[0] ? 0 : error_set(error, -EIO, "%s: printed nothing", argv[0]);
}
