/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugin that lets operations on keys through when the test says so, and leaves them to the plugin behind it then. They
 * meet in a file of its cache folder: gate.h.
 */
#include "gate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <vaccel/plugin.h>

static struct gate *gate;

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/" GATE_FILE, host->cache_dir ? host->cache_dir : ".");
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*gate)) < 0)
		return vaccel_plugin_error(report, -EIO, "gate: no file %s", path);
	gate = mmap(NULL, sizeof(*gate), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return gate == MAP_FAILED ? vaccel_plugin_error(report, -EIO, "gate: cannot map its file") : 0;
}

static int run(const struct vaccel_plugin_call *call)
{
	const struct timespec step = { .tv_nsec = 1000000 };

	atomic_fetch_add(&gate->inside, 1);
	while (atomic_load(&gate->closed))
		nanosleep(&step, NULL);
	atomic_fetch_sub(&gate->inside, 1);
	return -EOPNOTSUPP;
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_op_impl ops[] = { VACCEL_IMPL(CIPHER, run), VACCEL_IMPL(AKCIPHER, run) };
static const char *const calls[] = { "nanosleep", "clock_nanosleep" };

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "gate",
	.version = VACCEL_BUILD_VERSION,
	.description = "lets operations on keys through when it is told to",
	.threads = VACCEL_THREADS_ANY,
	.needs = VACCEL_NEED_CACHE_ALWAYS,
	.calls = calls,
	.n_calls = sizeof(calls) / sizeof(calls[0]),
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.load = load,
	.hardware = hardware,
};
VACCEL_PLUGIN(plugin);
