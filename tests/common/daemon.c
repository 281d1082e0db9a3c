/* SPDX-License-Identifier: Apache-2.0 */
/* See daemon.h. */
#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))
#define WAIT_STEPS	 3000 /* of 20 ms: a slow machine is no failure */

int daemon_prepare(struct daemon *daemon, const char *config_text)
{
	FILE *file;

	memset(daemon, 0, sizeof(*daemon));
	strcpy(daemon->folder, "/tmp/vaccel-test.XXXXXX");
	if (!mkdtemp(daemon->folder))
		return -errno;
	snprintf(daemon->config, sizeof(daemon->config), "%s/vaccel.conf", daemon->folder);
	snprintf(daemon->socket, sizeof(daemon->socket), "%s/vaccel.sock", daemon->folder);
	snprintf(daemon->url, sizeof(daemon->url), "shm:%s", daemon->socket);
	file = fopen(daemon->config, "we");
	if (!file)
		return -errno;
	fputs(config_text, file);
	return fclose(file) == 0 ? 0 : -errno;
}

static int try_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = 0;

	if (fd < 0)
		return -errno;
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		r = -errno;
	close(fd);
	return r;
}

static void redirect(const char *log)
{
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(127);
}

static int wait_listening(struct daemon *daemon)
{
	const struct timespec step = { .tv_nsec = 20000000 };

	for (int i = 0; i < WAIT_STEPS; i++) {
		int status;

		if (try_connect(daemon->socket) == 0)
			return 0;
		if (waitpid(daemon->pid, &status, WNOHANG) == daemon->pid) {
			fprintf(stderr, "the daemon ended with wait status %#x before it listened\n", status);
			daemon->pid = 0;
			return -ECHILD;
		}
		nanosleep(&step, NULL);
	}
	return -ETIMEDOUT;
}

int daemon_start(struct daemon *daemon)
{
	const char *program = getenv("VACCELD");
	char config[128], path[128];
	const char *argv[ARRAY_LEN(daemon->words) + 4] = { program, config, path };
	pid_t parent = getpid();

	if (!program || access(program, X_OK) < 0)
		return -ENOENT;
	snprintf(config, sizeof(config), "--config=%s", daemon->config);
	snprintf(path, sizeof(path), "--socket-path=%s", daemon->socket);
	for (size_t i = 0; i < ARRAY_LEN(daemon->words) && daemon->words[i]; i++)
		argv[3 + i] = daemon->words[i];
	unlink(daemon->socket);
	daemon->pid = fork();
	if (daemon->pid < 0)
		return -errno;
	if (daemon->pid == 0) {
		/* A test that is killed leaves nothing running. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (daemon->log[0])
			redirect(daemon->log);
		if (getppid() == parent)
			execv(program, (char *const *)argv);
		_exit(127);
	}
	return wait_listening(daemon);
}

int daemon_kill(struct daemon *daemon, int signal)
{
	int status = 0;

	if (!daemon->pid)
		return 0;
	kill(daemon->pid, signal);
	while (waitpid(daemon->pid, &status, 0) < 0 && errno == EINTR)
		;
	daemon->pid = 0;
	return status;
}

static void remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	char path[512];

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (entry->d_type == DT_DIR)
			remove_folder(path);
		else
			unlink(path);
	}
	if (dir)
		closedir(dir);
	rmdir(folder);
}

void daemon_stop(struct daemon *daemon)
{
	daemon_kill(daemon, SIGTERM);
	if (daemon->folder[0])
		remove_folder(daemon->folder);
	daemon->folder[0] = 0;
}
