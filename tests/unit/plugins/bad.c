/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugins with one thing wrong each (or, OLD, NEWER and FRAME, nothing). The build file names the plugin and defines which;
 * everything that is not wrong is as it should be.
 */
#include <errno.h>
#include <vaccel/plugin.h>

#if defined(BAD_UNDEFINED)
int vaccel_test_nobody_defines_this(void);
#endif
#if defined(BAD_DEPENDENCY)
int vaccel_test_gone(void);
#endif

static int noop(const struct vaccel_plugin_call *call)
{
#if defined(BAD_UNDEFINED)
	return vaccel_test_nobody_defines_this();
#elif defined(BAD_DEPENDENCY)
	return vaccel_test_gone();
#else
	return 0;
#endif
}

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
#if defined(BAD_LOAD)
	return vaccel_plugin_error(report, -ENODEV, "no such card in this machine");
#else
	return 0;
#endif
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	return -ERANGE;
}

static int ready(struct vaccel_plugin_report *report)
{
#if defined(BAD_READY)
	return -EACCES;
#else
	return 0;
#endif
}

static const char *hardware(void)
{
#if defined(BAD_NULL_HARDWARE)
	return NULL;
#else
	return "none";
#endif
}

static const struct vaccel_plugin_key keys[] = { { "key", "never right" } };

static const struct vaccel_op_impl ops[] = {
#if defined(BAD_RUN)
	{ .op = VACCEL_OP_NOOP },
#else
	VACCEL_IMPL(NOOP, noop),
#endif
	{ .op = 250, .run = noop }, /* an op that this table does not have is no mistake */
};

#if defined(FRAME) || defined(BAD_FRAME) || defined(OLD_FRAME)
static int model_load(const struct vaccel_plugin_model *model, void **ret_model,
		      const struct vaccel_plugin_report *report)
{
	return -ENOENT;
}

static void model_unload(void *model)
{
}

static int model_tensor(void *model, uint32_t dir, size_t index, struct vaccel_plugin_tensor *ret_tensor)
{
	return -ENOENT;
}

static int model_run(const struct vaccel_plugin_run *run)
{
	return 0;
}

static const struct vaccel_plugin_framework framework = {
	.size = sizeof(framework),
	.name = "frame",
	.model_load = model_load,
	.model_unload = model_unload,
	.model_tensor = model_tensor,
	.model_run = model_run,
#if defined(BAD_FRAME)
	.model_unload = NULL,
#elif defined(OLD_FRAME)
	.size = offsetof(struct vaccel_plugin_framework, model_run),
#endif
};
#endif

#if defined(BAD_BATCH)
static void run_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
}
#endif

/* As a later version might declare itself: more members behind those known here. */
struct declaration {
	struct vaccel_plugin known;
	void *unknown[4];
};

static const struct declaration plugin = {
	.known = {
		VACCEL_PLUGIN_HEADER,
		.name = BAD_NAME,
		.version = "1",
		.threads = VACCEL_THREADS_ANY,
		.keys = keys,
		.n_keys = 1,
		.ops = ops,
		.n_ops = 2,
		.load = load,
		.config = config,
		.ready = ready,
		.hardware = hardware,
/* Initialisers that come last win: what the plugin has wrong. */
#if defined(BAD_ABI)
		.abi = VACCEL_PLUGIN_ABI + 1,
#elif defined(OLD)
		.size = offsetof(struct vaccel_plugin, buffer_gone),
		/* What lies behind its end is not its own. */
		.buffer_gone = (void (*)(uint64_t))1,
#elif defined(NEWER)
		.size = sizeof(struct declaration),
#elif defined(BAD_TOO_OLD)
		.size = offsetof(struct vaccel_plugin, hardware),
#elif defined(BAD_NO_NAME)
		.name = NULL,
#elif defined(BAD_OTHER_NAME)
		.name = "somebody-else",
#elif defined(BAD_NO_OPS)
		.n_ops = 0,
#elif defined(BAD_THREADS)
		.threads = 4,
#elif defined(FRAME) || defined(BAD_FRAME) || defined(OLD_FRAME)
		.ops = NULL,
		.n_ops = 0,
		.needs = VACCEL_NEED_MODELS,
		.framework = &framework,
#elif defined(BAD_BATCH)
		.run_batch = run_batch,
#endif
	},
	.unknown = { (void *)1, (void *)2 },
};

#if defined(BAD_NULL)
__attribute__((visibility("default"))) const struct vaccel_plugin *vaccel_plugin_entry(void);
const struct vaccel_plugin *vaccel_plugin_entry(void)
{
	return plugin.known.name[0] == '?' ? &plugin.known : NULL;
}
#elif defined(BAD_SYMBOL)
__attribute__((visibility("default"))) const struct vaccel_plugin *vaccel_plugin_exit(void);
const struct vaccel_plugin *vaccel_plugin_exit(void)
{
	return &plugin.known;
}
#else
VACCEL_PLUGIN(plugin.known);
#endif
