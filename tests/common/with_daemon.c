/* SPDX-License-Identifier: Apache-2.0 */
/*
 * with-daemon [-c CONFIGURATION] COMMAND...: runs a command beside a daemon of its own, whose URL is in
 * $VACCEL_TRANSPORT; exits with the command's status, or 77 when there is no daemon in this build.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon.h"

static int run(char **command)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		return 1;
	if (pid == 0) {
		execvp(command[0], command);
		fprintf(stderr, "%s: %s\n", command[0], strerror(errno));
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	const char *config = "[order]\ndefault = reference\n";
	struct daemon daemon;
	char **command = argv + 1;
	int r;

	if (argc > 3 && !strcmp(argv[1], "-c")) {
		config = argv[2];
		command = argv + 3;
	}
	if (!*command) {
		fprintf(stderr, "usage: %s [-c CONFIGURATION] COMMAND...\n", argv[0]);
		return 2;
	}
	r = daemon_prepare(&daemon, config);
	if (r == 0)
		r = daemon_start(&daemon);
	if (r < 0) {
		fprintf(stderr, "%s\n", r == -ENOENT ? "skipped: there is no daemon in this build" : strerror(-r));
		daemon_stop(&daemon);
		return r == -ENOENT ? 77 : 1;
	}
	setenv("VACCEL_TRANSPORT", daemon.url, 1);
	r = run(command);
	daemon_stop(&daemon);
	return r;
}
