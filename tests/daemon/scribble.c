/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin in a worker that was taken over: what the worker counts is whatever it likes. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <vaccel/plugin.h>

#include "daemon/supervisor.h"

static int run(const struct vaccel_plugin_call *call)
{
	struct stat st;
	void *map;

	if (fstat(WORKER_FD_STATS, &st) < 0)
		return -errno;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_STATS, 0);
	if (map == MAP_FAILED)
		return -errno;
	memset(map, 0xff, (size_t)st.st_size);
	munmap(map, (size_t)st.st_size);
	/* Nor can it take the memory away. */
	return ftruncate(WORKER_FD_STATS, 0) < 0 && errno == EPERM ? 0 : -EIO;
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_op_impl ops[] = { VACCEL_IMPL(NOOP, run) };

static const struct vaccel_plugin scribble = {
	VACCEL_PLUGIN_HEADER,
	.name = "scribble",
	.version = VACCEL_BUILD_VERSION,
	.description = "writes nonsense into the daemon's statistics",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = 1,
	.hardware = hardware,
};
VACCEL_PLUGIN(scribble);
