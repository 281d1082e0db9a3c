/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon of the test's own: in a private folder, with the configuration given, ended with the test. The program is
 * $VACCELD, its plugins come from $VACCEL_PLUGIN_DIR.
 */
#ifndef TESTS_COMMON_DAEMON_H
#define TESTS_COMMON_DAEMON_H

#include <sys/types.h>

struct daemon {
	char folder[64];
	char config[96];
	char socket[96];
	char url[112];	      /* "shm:" and the socket */
	char log[96];	      /* its standard error goes there; "": to ours. Set between prepare and start */
	const char *words[8]; /* further options, the same; NULL ends them */
	pid_t pid;	      /* 0: not running */
};

/* Makes the private folder and writes config_text to daemon->config; daemon_stop() removes it. 0 or a negative errno. */
int daemon_prepare(struct daemon *daemon, const char *config_text);
/* Starts the prepared daemon and waits until it listens. -ENOENT: there is none in this build. */
int daemon_start(struct daemon *daemon);
/* Ends it with a signal and waits for it; returns its wait status. */
int daemon_kill(struct daemon *daemon, int signal);
/* Ends it and removes the folder. */
void daemon_stop(struct daemon *daemon);

#endif
