/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that kills whoever loads it. */
#include <stdlib.h>
#include <vaccel/plugin.h>

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	abort();
}

static int run(const struct vaccel_plugin_call *call)
{
	return 0;
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_op_impl ops[] = { VACCEL_IMPL(NOOP, run) };

static const struct vaccel_plugin hopeless = {
	VACCEL_PLUGIN_HEADER,
	.name = "hopeless",
	.version = VACCEL_BUILD_VERSION,
	.description = "kills whoever loads it",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = 1,
	.load = load,
	.hardware = hardware,
};
VACCEL_PLUGIN(hopeless);
