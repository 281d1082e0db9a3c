/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin reference: every operation in portable C. It is what other plugins are compared with, and what serves when
 * nothing better is there. It keeps no state, so operations run in any number of threads. Its framework is in
 * framework.c.
 */
#include <vaccel/plugin.h>
#include "gemm.h"
#include "graph.h"

static int noop(const struct vaccel_plugin_call *call)
{
	return 0;
}

static int sgemm(const struct vaccel_plugin_call *call)
{
	gemm_float(call->params, call->args[0].data, call->args[1].data, call->args[2].data);
	return 0;
}

static int dgemm(const struct vaccel_plugin_call *call)
{
	gemm_double(call->params, call->args[0].data, call->args[1].data, call->args[2].data);
	return 0;
}

static const char *hardware(void)
{
	return "CPU (portable C, 1 thread)";
}

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(NOOP, noop),
	VACCEL_IMPL(SGEMM, sgemm),
	VACCEL_IMPL(DGEMM, dgemm),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "reference",
	.version = VACCEL_BUILD_VERSION,
	.description = "every operation in portable C",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.hardware = hardware,
	.framework = &reference_framework,
};
VACCEL_PLUGIN(plugin);
