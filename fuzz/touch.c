/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin that serves every op by reading all that it may read and writing all that it may write. */
#include <stdint.h>
#include <vaccel/plugin.h>

static volatile uint8_t sink;

static int touch(const struct vaccel_plugin_call *call)
{
	for (size_t i = 0; i < call->n_args; i++) {
		uint8_t *bytes = call->args[i].data;

		for (size_t j = 0; j < call->args[i].len; j++) {
			if (call->args[i].dir & 1)
				sink = bytes[j];
			if (call->args[i].dir & 2)
				bytes[j] = (uint8_t)j;
		}
	}
	for (size_t i = 0; i < call->params_len; i++)
		sink = ((const uint8_t *)call->params)[i];
	return 0;
}

static struct vaccel_op_impl ops[256];

__attribute__((constructor)) static void fill(void)
{
	for (uint32_t i = 0; i < 256; i++)
		ops[i] = (struct vaccel_op_impl){ .op = i, .run = touch };
}

static const char *hardware(void)
{
	return "none";
}

static const struct vaccel_plugin declaration = {
	VACCEL_PLUGIN_HEADER,	       .name = "touch", .version = "1", .description = "touches its arguments",
	.threads = VACCEL_THREADS_ANY, .ops = ops,	.n_ops = 256,	.hardware = hardware,
};

VACCEL_PLUGIN(declaration)
