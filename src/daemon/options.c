/* SPDX-License-Identifier: Apache-2.0 */
/* See options.h. */
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "util/util.h"

enum {
	OPT_SOCKET_PATH = 256,
	OPT_SOCKET_GROUP,
	OPT_FD,
	OPT_DEVICE,
	OPT_PRINT_CAPABILITIES,
	OPT_CONFIG,
	OPT_SET,
	OPT_MODELS,
	OPT_LOG_LEVEL,
	OPT_LOG_FORMAT,
	OPT_DRAIN_TIME,
	OPT_RESTART_DELAY,
	OPT_FD_STORE,
	OPT_HELP,
	OPT_VERSION,
	OPT_WORKER,
	OPT_SAFE,
	OPT_RESTARTED,
};

static const struct {
	const char *name;
	const char *value; /* NULL: takes none */
	int code;
	const char *help; /* NULL: not for people */
} rows[] = {
	{ "socket-path", "PATH", OPT_SOCKET_PATH, "listen on this Unix socket" },
	{ "socket-group", "GROUP", OPT_SOCKET_GROUP, "give the socket (mode 0660) to this group" },
	{ "fd", "N", OPT_FD, "use this inherited descriptor: a listening or a connected Unix socket" },
	{ "device", "NAME", OPT_DEVICE, "what kind of device to be: accel (default) or crypto" },
	{ "config", "FILE", OPT_CONFIG, "configuration (default: " VACCEL_CONFIG_FILE ", if it exists)" },
	{ "set", "SECTION.KEY=VALUE", OPT_SET, "override one key of the configuration; may be repeated" },
	{ "models", "DIR", OPT_MODELS, "folder of models, like --set models.dir=DIR" },
	{ "log-level", "LEVEL", OPT_LOG_LEVEL, "error, warning, info (default) or debug" },
	{ "log-format", "FORMAT", OPT_LOG_FORMAT, "text (default) or json, one object a line" },
	{ "drain-time", "MS", OPT_DRAIN_TIME, "how long stopping a queue waits for its requests (default: 2000)" },
	{ "restart-delay", "MS", OPT_RESTART_DELAY, "longest pause between workers that die young (default: 500)" },
	{ "fd-store", NULL, OPT_FD_STORE, "the parent keeps descriptors, though it does not say so" },
	{ "print-capabilities", NULL, OPT_PRINT_CAPABILITIES, "print what this back-end can do as JSON and exit" },
	{ "help", NULL, OPT_HELP, "print this and exit" },
	{ "version", NULL, OPT_VERSION, "print the version and exit" },
	{ "worker", NULL, OPT_WORKER, NULL },
	{ "safe", NULL, OPT_SAFE, NULL },
	{ "restarted", NULL, OPT_RESTARTED, NULL },
};

static const struct {
	const char *name;
	int level;
} levels[] = {
	{ "error", LOG_ERR },
	{ "warning", LOG_WARNING },
	{ "info", LOG_INFO },
	{ "debug", LOG_DEBUG },
};

void options_usage(void)
{
	printf("usage: vacceld --socket-path PATH [OPTION...]\n"
	       "       vacceld --fd N [OPTION...]\n\n"
	       "Serves a virtio acceleration device over vhost-user. See vacceld(8).\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[64];

		if (!rows[i].help)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].value ? "=" : "",
			 rows[i].value ? rows[i].value : "");
		printf("  %-26s %s\n", left, rows[i].help);
	}
}

static int parse_level(const char *text, int *ret_level)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(levels[i].name, text)) {
			*ret_level = levels[i].level;
			return 0;
		}
	}
	fprintf(stderr, "vacceld: --log-level: '%s' is not one of error, warning, info, debug\n", text);
	return -EINVAL;
}

static int parse_format(const char *text, bool *ret_json)
{
	*ret_json = !strcmp(text, "json");
	if (*ret_json || !strcmp(text, "text"))
		return 0;
	fprintf(stderr, "vacceld: --log-format: '%s' is not one of text, json\n", text);
	return -EINVAL;
}

static int parse_device(const char *text, const struct device **ret_device)
{
	const struct device *device;

	*ret_device = device_by_name(text);
	if (*ret_device)
		return 0;
	fprintf(stderr, "vacceld: --device: '%s' is not one of", text);
	for (size_t i = 0; (device = device_at(i)); i++)
		fprintf(stderr, "%s %s", i ? "," : "", device->name);
	fprintf(stderr, "\n");
	return -EINVAL;
}

static int parse_int(const char *option, const char *text, int *ret)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < 0 || value > INT_MAX) {
		fprintf(stderr, "vacceld: --%s: '%s' is not a number\n", option, text);
		return -EINVAL;
	}
	*ret = (int)value;
	return 0;
}

static int add_set(struct options *o, const char *text)
{
	if (o->n_sets == OPTIONS_MAX_SETS) {
		fprintf(stderr, "vacceld: --set: more than %d of them\n", OPTIONS_MAX_SETS);
		return -EINVAL;
	}
	o->sets[o->n_sets++] = text;
	return 0;
}

static int take(struct options *o, int code, const char *value)
{
	int number = 0;
	int r;

	switch (code) {
	case OPT_SOCKET_PATH:
		o->socket_path = value;
		return 0;
	case OPT_SOCKET_GROUP:
		o->socket_group = value;
		return 0;
	case OPT_FD:
		return parse_int("fd", value, &o->fd);
	case OPT_DEVICE:
		return parse_device(value, &o->device);
	case OPT_CONFIG:
		o->config = value;
		return 0;
	case OPT_SET:
		return add_set(o, value);
	case OPT_MODELS:
		o->models = value;
		return 0;
	case OPT_LOG_LEVEL:
		return parse_level(value, &o->log_level);
	case OPT_LOG_FORMAT:
		return parse_format(value, &o->log_json);
	case OPT_DRAIN_TIME:
		r = parse_int("drain-time", value, &number);
		o->drain_ms = (unsigned int)number;
		return r;
	case OPT_RESTART_DELAY:
		r = parse_int("restart-delay", value, &number);
		o->restart_delay_ms = (unsigned int)number;
		return r;
	case OPT_FD_STORE:
		o->fd_store = true;
		return 0;
	case OPT_PRINT_CAPABILITIES:
		o->print_capabilities = true;
		return 0;
	case OPT_HELP:
		o->help = true;
		return 0;
	case OPT_VERSION:
		o->version = true;
		return 0;
	case OPT_WORKER:
		o->worker = true;
		return 0;
	case OPT_SAFE:
		o->safe = true;
		return 0;
	case OPT_RESTARTED:
		o->restarted = true;
		return 0;
	default: /* getopt has said what is wrong */
		return -EINVAL;
	}
}

static int check(const struct options *o, int optind_, int argc, char **argv)
{
	if (optind_ < argc) {
		fprintf(stderr, "vacceld: '%s': no such argument; see --help\n", argv[optind_]);
		return -EINVAL;
	}
	if (o->help || o->version || o->print_capabilities || o->worker)
		return 0;
	/* A parent that hands over a socket needs no option for it. */
	if (!o->socket_path && o->fd < 0 && !getenv("LISTEN_FDS")) {
		fprintf(stderr, "vacceld: one of --socket-path and --fd is needed; see --help\n");
		return -EINVAL;
	}
	if (o->socket_path && o->fd >= 0) {
		fprintf(stderr, "vacceld: --socket-path and --fd exclude each other\n");
		return -EINVAL;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret_options)
{
	struct option longs[ARRAY_SIZE(rows) + 1] = { 0 };
	struct options o = {
		.fd = -1, .device = device_at(0), .log_level = LOG_INFO, .drain_ms = 2000, .restart_delay_ms = 500
	};
	int code, r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		longs[i] = (struct option){ .name = rows[i].name,
					    .has_arg = rows[i].value ? required_argument : no_argument,
					    .val = rows[i].code };
	while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		r = take(&o, code, optarg);
		if (r < 0)
			return r;
	}
	r = check(&o, optind, argc, argv);
	if (r == 0)
		*ret_options = o;
	return r;
}
