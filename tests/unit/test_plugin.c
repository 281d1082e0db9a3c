/* SPDX-License-Identifier: Apache-2.0 */
/* src/engine/plugin.c: the loader against plugins with one thing wrong each (plugins/bad.c), and what an engine makes of
 * them. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/plugin.h"
#include "harness.h"
#include "util/util.h"

static const struct {
	const char *name;
	int code;
	const char *text;
} bad[] = {
	{ "missing", -ENOENT, "plugin missing: no vaccel-missing.so in " },
	{ "broken", -ELIBACC, "plugin broken: cannot load: " },
	{ "undefined", -ELIBACC, "vaccel_test_nobody_defines_this" },
	{ "no-dependency", -ELIBACC, "libvaccel-test-gone.so" },
	{ "no-symbol", -ENOEXEC, "no symbol vaccel_plugin_entry, not a vAccel plugin" },
	{ "null", -ENOEXEC, "declares nothing" },
	{ "abi", -ENOEXEC, "built for plugin ABI 2, this is 1" },
	{ "too-old", -EINVAL, "declares no name, ops or hardware" },
	{ "no-name", -EINVAL, "declares no name, ops or hardware" },
	{ "no-ops", -EINVAL, "declares no name, ops or hardware" },
	{ "no-run", -EINVAL, "op 0 has no implementation" },
	{ "bad-threads", -EINVAL, "thread model 4 is not known" },
	{ "bad-frame", -EINVAL, "its framework lacks a name or a function" },
	{ "old-frame", -EINVAL, "its framework lacks a name or a function" },
	{ "bad-batch", -EINVAL, "has one of batch and run_batch without the other" },
};

/* Those open well: what fails comes later, with the engine. */
static const struct {
	const char *name;
	const char *text;
} unable[] = {
	{ "other-name", "calls itself somebody-else" },
	{ "no-hardware", "names no hardware" },
	{ "fail-load", "plugin fail-load: no such card in this machine" },
	{ "fail-config", "[plugin fail-config] key = 1: Numerical result out of range" },
	{ "fail-ready", "plugin fail-ready: Permission denied" },
	{ "old", "[plugin old] nokey: the plugin has no such key" },
};

static void bad_plugins_do_not_open(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct plugin *plugin = NULL;
		struct error error = { 0 };
		int r = plugin_open(bad[i].name, &plugin, &error);

		if (r != bad[i].code)
			fail_msg("plugin %s: %d, not %d: %s", bad[i].name, r, bad[i].code, error.text);
		assert_null(plugin);
		assert_text(error, bad[i].text);
		assert_text(error, bad[i].name);
	}
	plugin_free(NULL);
}

static void opened_by_path(void **state)
{
	struct plugin *plugin = NULL;
	struct error error = { 0 };

	assert_int_equal(plugin_open("/nonexistent/vaccel-x.so", &plugin, &error), -ELIBACC);
	assert_text(error, "/nonexistent/vaccel-x.so");
	assert_int_equal(plugin_open(UNIT_PLUGIN_DIR "/vaccel-newer.so", &plugin, &error), 0);
	assert_string_equal(plugin->decl.name, "newer");
	plugin_free(plugin);
}

/* A declaration of another length: what is missing is absent, what is not known is not looked at. */
static void older_and_newer_plugins_open(void **state)
{
	struct plugin *old = NULL, *newer = NULL;

	assert_int_equal(plugin_open("old", &old, NULL), 0);
	assert_null(old->decl.buffer_gone);
	assert_non_null(old->decl.hardware);
	assert_int_equal(plugin_open("newer", &newer, NULL), 0);
	assert_int_equal(newer->decl.n_ops, 2);
	plugin_free(old);
	plugin_free(newer);
}

static void an_engine_lives_without_them(void **state)
{
	static const char *const settings[] = {
		"plugin fail-config.key=1", "plugin old.nokey=1",
		"order.noop=missing broken no-dependency no-symbol abi other-name no-hardware fail-load fail-config "
		"fail-ready old newer reference",
		NULL
	};
	struct harness h;
	struct engine_op_info info;
	size_t found = 0;

	harness_start(&h, NULL, settings);
	for (size_t i = 0; i < engine_n_failures(h.engine); i++) {
		const struct engine_failure *failure = engine_failure_at(h.engine, i);

		for (size_t j = 0; j < ARRAY_SIZE(unable); j++) {
			if (strcmp(failure->plugin, unable[j].name))
				continue;
			if (!strstr(failure->text, unable[j].text))
				fail_msg("%s: %s", failure->plugin, failure->text);
			found++;
		}
	}
	assert_int_equal(found, ARRAY_SIZE(unable));
	assert_null(engine_failure_at(h.engine, engine_n_failures(h.engine)));
	assert_true(engine_op_info(h.engine, 0, &info));
	assert_string_equal(info.plugin, "newer");
	assert_true(engine_op_info(h.engine, 1, &info));
	assert_string_equal(info.plugin, "reference");
	assert_false(engine_op_info(h.engine, 256, &info));
	harness_stop(&h);
}

static void what_no_order_names_is_not_loaded(void **state)
{
	static const char *const settings[] = { "order.default=abi", "plugin broken.key=1", "order.default=reference",
						NULL };
	struct harness h;

	harness_start(&h, NULL, settings);
	assert_int_equal(engine_n_failures(h.engine), 1);
	assert_string_equal(engine_failure_at(h.engine, 0)->text,
			    "plugin broken: is configured, but no [order] names it");
	harness_stop(&h);
}

static void nothing_serves(void **state)
{
	static const char *const settings[] = { "order.default=missing", NULL };
	struct engine_op_info info;
	struct test_request request;
	struct harness h;

	harness_start(&h, NULL, settings);
	assert_true(engine_op_info(h.engine, 1, &info));
	assert_string_equal(info.plugin, "");
	assert_string_equal(info.hardware, "");
	assert_int_equal(harness_run(&h, &request, VACCEL_OP_NOOP, harness_session(&h, 1)), -EOPNOTSUPP);
	assert_text(request.engine.error, "noop: no plugin here serves it");
	harness_stop(&h);
}

static void count(const char *name, const char *path, void *opaque)
{
	int *counts = opaque;

	assert_true(strlen(path) > strlen(name));
	counts[0] += !strcmp(name, "reference");
	counts[1] += !strcmp(name, "probe-any");
	counts[2]++;
}

static void the_list_has_each_once(void **state)
{
	_cleanup_free_ char *saved = strdup(getenv("VACCEL_PLUGIN_DIR")), *twice = NULL;
	int counts[3] = { 0 }, again[3] = { 0 };

	plugin_list(count, counts);
	assert_int_equal(counts[0], 1);
	assert_int_equal(counts[1], 1);
	assert_true(asprintf(&twice, "/nonexistent:%s:%s", saved, saved) > 0);
	setenv("VACCEL_PLUGIN_DIR", twice, 1);
	plugin_list(count, again);
	setenv("VACCEL_PLUGIN_DIR", saved, 1);
	/* A folder that is named twice may be walked twice; one that is not there is passed over. */
	assert_true(again[0] >= 1 && again[2] >= counts[2]);
}

static void plugins_start_and_stop(void **state)
{
	static const char *const settings[] = { "order.default=probe-any", "plugin probe-any.key=some value", NULL };
	static const char *const wrong[] = { "order.default=probe-any", "plugin probe-any.key=bad", NULL };
	struct probe *probe;
	struct harness h;

	harness_start(&h, NULL, settings);
	probe = harness_probe("probe-any");
	assert_int_equal(probe->loads, 1);
	assert_int_equal(probe->unloads, 0);
	assert_string_equal(probe->last_key, "key");
	assert_string_equal(probe->last_value, "some value");
	harness_stop(&h);
	assert_int_equal(probe->unloads, 1);
	harness_start(&h, NULL, wrong);
	assert_int_equal(engine_n_failures(h.engine), 1);
	assert_non_null(strstr(engine_failure_at(h.engine, 0)->text,
			       "[plugin probe-any] key = bad: 'bad' is not what it takes"));
	assert_int_equal(probe->loads, 2);
	assert_int_equal(probe->unloads, 2);
	harness_stop(&h);
	assert_int_equal(probe->violations, 0);
}

/* ---- Frameworks ---- */

static int n_unloaded_with_frame;

static void note_frame(void)
{
	const struct vaccel_plugin_host *host = harness_probe("probe-models")->host;

	n_unloaded_with_frame += host->framework(host, 0, NULL, NULL) != NULL;
}

/* Whatever the order says, who uses frameworks is started after those that bring them, and ends before them. */
static void frameworks_come_first(void **state)
{
	static const char *const settings[] = { "models.dir=/", "order.default=probe-models probe-any frame newer",
						NULL };
	const struct vaccel_plugin_framework *framework;
	const struct vaccel_plugin_host *host;
	const char *plugin = NULL, *hardware = NULL;
	struct engine_op_info info;
	struct probe *probe;
	struct harness h;

	harness_start(&h, NULL, settings);
	assert_int_equal(engine_n_failures(h.engine), 0);
	probe = harness_probe("probe-models");
	probe->unload = note_frame;
	host = probe->host;
	assert_string_equal(host->models_dir, "/");
	framework = host->framework(host, 0, &plugin, &hardware);
	assert_non_null(framework);
	assert_string_equal(framework->name, "frame");
	assert_string_equal(plugin, "frame");
	assert_string_equal(hardware, "none");
	assert_null(host->framework(host, 1, NULL, NULL));
	/* The order of ops is what the configuration says. */
	assert_true(engine_op_info(h.engine, 0, &info));
	assert_string_equal(info.plugin, "probe-models");
	/* Others need no models, and are not told where they are. */
	host = harness_probe("probe-any")->host;
	assert_null(host->models_dir);
	assert_null(host->framework(host, 0, NULL, NULL));
	n_unloaded_with_frame = 0;
	harness_stop(&h);
	assert_int_equal(n_unloaded_with_frame, 1);
}

static void models_need_their_folder(void **state)
{
	static const char *const none[] = { "order.default=probe-models frame", NULL };
	static const char *const missing[] = { "models.dir=/nonexistent/models", "order.default=probe-models frame",
					       NULL };
	struct harness h;

	harness_start(&h, NULL, none);
	assert_int_equal(engine_n_failures(h.engine), 0);
	assert_null(harness_probe("probe-models")->host->models_dir);
	harness_stop(&h);
	harness_start(&h, NULL, missing);
	assert_int_equal(engine_n_failures(h.engine), 1);
	assert_string_equal(engine_failure_at(h.engine, 0)->text,
			    "plugin probe-models: [models] dir = /nonexistent/models: No such file or directory");
	harness_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_plugins_do_not_open),
		cmocka_unit_test(opened_by_path),
		cmocka_unit_test(older_and_newer_plugins_open),
		cmocka_unit_test(an_engine_lives_without_them),
		cmocka_unit_test(what_no_order_names_is_not_loaded),
		cmocka_unit_test(nothing_serves),
		cmocka_unit_test(the_list_has_each_once),
		cmocka_unit_test(plugins_start_and_stop),
		cmocka_unit_test(frameworks_come_first),
		cmocka_unit_test(models_need_their_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
