/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin models: the operations on models, over the frameworks that other plugins bring. This folder is a module and no
 * part of libvaccel, whose engine is in every guest that uses `local:`: so a guest needs no decoder of pictures.
 *
 *	plugin.c	what is declared, its life
 *	settings.c	keys of the configuration
 *	watch.c		the thread that looks at the folder of models, loads and unloads (the keeper)
 *	scan.c		what is in the folder becomes entries of the store
 *	store.c		models by name, references to their versions
 *	load.c		from a folder to a model: describe.c, labels.c, tree.c, hash.c, signature.c, picture.c
 *	run.c		one run of a model in its framework
 *	classify.c, block.c, top.c, infer.c, infer_check.c, infer_many.c, about.c	the operations
 *	batch.c		which of them run together
 *
 * A plugin has one state in a process, so one engine of a process can have models.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model/serve.h"
#include "model/watch.h"

static struct {
	bool loaded;
	struct serve serve;
	struct watch *watch;
	char hardware[256];
} state;

static int load(const struct vaccel_plugin_host *host, struct vaccel_plugin_report *report)
{
	if (state.loaded)
		return vaccel_plugin_error(report, -EBUSY, "another engine of this process has models already");
	if (host->size < sizeof(*host))
		return vaccel_plugin_error(report, -ENOTSUP, "the engine is older than models");
	state.serve.host = host;
	model_settings_init(&state.serve.settings);
	state.loaded = true;
	return 0;
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	return model_settings_set(&state.serve.settings, key, value, report);
}

/* "reference: CPU (portable C), tensorflow: ..." */
static void name_hardware(void)
{
	const struct vaccel_plugin_host *host = state.serve.host;
	size_t used = 0;

	*state.hardware = '\0';
	for (size_t i = 0; host->framework && used < sizeof(state.hardware); i++) {
		const char *plugin = NULL, *hardware = NULL;
		const struct vaccel_plugin_framework *framework = host->framework(host, i, &plugin, &hardware);

		if (!framework)
			break;
		used += (size_t)snprintf(state.hardware + used, sizeof(state.hardware) - used, "%s%s: %s",
					 i ? ", " : "", framework->name, hardware ? hardware : "?");
	}
	if (!used)
		snprintf(state.hardware, sizeof(state.hardware), "no framework");
}

static int ready(struct vaccel_plugin_report *report)
{
	struct error error = { 0 };
	int r;

	if (!state.serve.host->models_dir)
		return vaccel_plugin_error(report, -ENOENT,
					   "there is no folder of models ([models] dir, vacceld --models)");
	name_hardware();
	r = watch_new(state.serve.host, &state.serve.settings, &state.watch, &error);
	if (r < 0)
		return vaccel_plugin_error(report, r, "%s", error.text);
	state.serve.store = watch_store(state.watch);
	return 0;
}

static void unload(void)
{
	watch_free(state.watch);
	memset(&state, 0, sizeof(state));
}

static const char *hardware(void)
{
	return state.hardware;
}

static int classify(const struct vaccel_plugin_call *call)
{
	return classify_run(&state.serve, call);
}

static int infer(const struct vaccel_plugin_call *call)
{
	return infer_run(&state.serve, call);
}

static int model_list(const struct vaccel_plugin_call *call)
{
	return model_list_run(&state.serve, call);
}

static int model_info(const struct vaccel_plugin_call *call)
{
	return model_info_run(&state.serve, call);
}

static void batch(const struct vaccel_plugin_call *call, struct vaccel_plugin_batch *ret_batch)
{
	batch_key(&state.serve, call, ret_batch);
}

static void run_batch(const struct vaccel_plugin_call *const *calls, int *results, size_t n)
{
	batch_run(&state.serve, calls, results, n);
}

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(IMAGE_CLASSIFY, classify),
	VACCEL_IMPL(INFER, infer),
	VACCEL_IMPL(MODEL_LIST, model_list),
	VACCEL_IMPL(MODEL_INFO, model_info),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "models",
	.version = VACCEL_BUILD_VERSION,
	.description = "image classification and inference with the administrator's models",
	.threads = VACCEL_THREADS_ANY,
	.needs = VACCEL_NEED_MODELS,
	.keys = model_settings_keys,
	.n_keys = MODEL_SETTINGS_KEYS,
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.load = load,
	.config = config,
	.ready = ready,
	.unload = unload,
	.hardware = hardware,
	.batch = batch,
	.run_batch = run_batch,
};

VACCEL_PLUGIN(plugin);
