/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that never has a session open. */
#include <unistd.h>
#include <vaccel/plugin.h>

static int open_session(void **ret_session, struct vaccel_plugin_report *report)
{
	for (;;)
		pause();
	return 0;
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

static const struct vaccel_plugin stuck = {
	VACCEL_PLUGIN_HEADER,
	.name = "stuck",
	.version = VACCEL_BUILD_VERSION,
	.description = "hangs in whoever opens a session",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = 1,
	.open = open_session,
	.hardware = hardware,
};
VACCEL_PLUGIN(stuck);
