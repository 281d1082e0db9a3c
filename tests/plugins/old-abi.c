/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugins as other versions of the header would make them, for tests of the loader. Which one is chosen by OLD:
 *	1  a plugin of an earlier, shorter struct, which ends before buffer_gone and works
 *	2  a plugin of an ABI that this version does not know
 *	3  a plugin of a later, longer struct, which works
 * Does not use VACCEL_PLUGIN_HEADER, which is what makes them different.
 */
#include <vaccel/plugin.h>

static int noop(const struct vaccel_plugin_call *call)
{
	return 0;
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_op_impl ops[] = { VACCEL_IMPL(NOOP, noop) };

struct longer {
	struct vaccel_plugin plugin;
	void *later[4];
};

static const struct longer plugin = {
	.plugin = {
#if OLD == 1
		.size = offsetof(struct vaccel_plugin, buffer_gone),
		.abi = VACCEL_PLUGIN_ABI,
#elif OLD == 2
		.size = sizeof(struct vaccel_plugin),
		.abi = VACCEL_PLUGIN_ABI + 1,
#else
		.size = sizeof(struct longer),
		.abi = VACCEL_PLUGIN_ABI,
#endif
		.call_size = sizeof(struct vaccel_plugin_call),
		.name = OLD == 1 ? "shorter" : OLD == 2 ? "foreign" : "longer",
		.version = VACCEL_BUILD_VERSION,
		.description = "for tests of the loader",
		.threads = VACCEL_THREADS_ANY,
		.ops = ops,
		.n_ops = 1,
		.hardware = hardware,
	},
};
VACCEL_PLUGIN(plugin.plugin)
