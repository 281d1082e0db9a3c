/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's command line. One table makes the usage text and the parser; vacceld(8) has the long descriptions. */
#ifndef VACCEL_DAEMON_OPTIONS_H
#define VACCEL_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/device.h"

#define OPTIONS_MAX_SETS 64

struct options {
	const char *socket_path;
	const char *socket_group; /* NULL: the caller's own */
	int fd;			  /* -1: none */
	const struct device *device;
	const char *config; /* NULL: the installed default file */
	const char *sets[OPTIONS_MAX_SETS];
	size_t n_sets;
	const char *models; /* NULL: what the configuration says */
	int log_level;
	bool log_json;
	unsigned int drain_ms;
	unsigned int restart_delay_ms; /* at most, before a worker whose predecessors died young */
	bool fd_store;
	bool print_capabilities;
	bool help;
	bool version;

	/* Between supervisor and worker only. */
	bool worker;
	bool safe;	/* no plugins */
	bool restarted; /* not the first worker: it says less */
};

/* 0, or -EINVAL after a line on standard error that says what is wrong. */
int options_parse(int argc, char **argv, struct options *ret_options);
void options_usage(void);

#endif
