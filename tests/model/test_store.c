/* SPDX-License-Identifier: Apache-2.0 */
/* Models that come, go, change and are broken, while the plugin runs. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rig.h"
#include "unit/test.h"
#include "util/util.h"

static char quickly[] = "settle_ms=20", *quick[] = { quickly, NULL };

static int make(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	*state = rig;
	if (rig)
		rig_make(rig);
	return rig ? 0 : -1;
}

static int drop(void **state)
{
	rig_stop(*state);
	free(*state);
	return 0;
}

static void start(struct rig *rig)
{
	if (rig_start(rig, quick) < 0)
		fail_msg("%s", rig->plugin.error);
}

/* What the model echoes of one number; a version says which it is by the width that it takes. */
static int echo(struct rig *rig, const char *model, char *error)
{
	float x = 1.5f, y = 0;
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 1, { 1 }, &x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = &y, .len = sizeof(y) };
	int r = rig_infer(rig, model, &in, 1, &out, 1, NULL, error);

	return r == 0 && y != x ? -EBADMSG : r;
}

/* ---- Broken ---- */

static const struct {
	const char *name;
	const char *text; /* model.conf; NULL: none */
	const char *says;
} broken[] = {
	{ "empty", "", "model empty: broken: model.conf: [model] framework: is missing" },
	{ "word", "[model]\nframwork = reference\n",
	  "model word: broken: model.conf:2: [model] framwork: no such key" },
	{ "nofile", NULL, "model nofile: broken: model.conf: cannot open: No such file" },
	{ "foreign", "[model]\nframework = other\n",
	  "model foreign: broken: no plugin serves the framework 'other'; there are: reference" },
	{ "file", "[model]\nframework = reference\nfile = weights\n", "model file: broken: weights: cannot open" },
	{ "labels", "[model]\nframework = reference\nlabels = l\n", "model labels: broken: l: cannot open" },
	{ "signature", "[model]\nframework = reference\nsignature = s\n", "has no signature 's'" },
	{ "graph", "[model]\nframework = reference\n[reference]\ngraph = x\n",
	  "model graph: broken: reference: [reference] graph = 'x' is none of the graphs" },
	{ "output", "[model]\nframework = reference\n[image]\n",
	  "model output: broken: [image] output: is missing, and the model has 2: probabilities, logits" },
	{ "input", "[model]\nframework = reference\n[image]\ninput = x\noutput = logits\n",
	  "[image] input: the model has no 'x', but image" },
	{ "size", "[model]\nframework = reference\n[image]\noutput = logits\nwidth = 9\n",
	  "[image] width: is 9, and the model's input has 8" },
	{ "planes", "[model]\nframework = reference\n[image]\noutput = logits\nlayout = nchw\n",
	  "model planes: broken: [image]: rule for pictures: 8 channels" },
	{ "channels", "[model]\nframework = reference\n[image]\noutput = logits\nchannels = 3\n",
	  "[image] channels: is 3, and the model's input has 1" },
	{ "mean", "[model]\nframework = reference\n[image]\noutput = logits\nmean = 1 2\n",
	  "[image] mean: has 2 numbers for 1 channels" },
	{ "echo", "[model]\nframework = reference\n[image]\n[reference]\ngraph = echo\ntype = int64\n",
	  "[image] input: x is int64[...], which takes no picture" },
	{ "two", "[model]\nframework = reference\n[image]\ninput = a\noutput = sum\n[reference]\ngraph = add\n",
	  "[image]: the model has 2 inputs" },
	{ "together", "[model]\nframework = reference\n[batch]\nmax = 2\n[reference]\ngraph = echo\n",
	  "[batch]: the model cannot run requests together" },
	{ "binary", "[model]\nframework = reference\n\xff\x01 = 2\n", "model.conf:3: [model]" },
};

static void test_broken(void **state)
{
	struct rig *rig = *state;
	struct vaccel_model_row row;
	char error[RIG_ERROR], path[64];

	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		snprintf(path, sizeof(path), "%s/%s", broken[i].name, broken[i].text ? "model.conf" : "other");
		rig_text(rig, path, broken[i].text ? broken[i].text : "");
	}
	rig_model(rig, "good", "echo", "");
	start(rig);
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
		if (!rig_logged(broken[i].says))
			fail_msg("the log does not say: %s", broken[i].says);
		assert_true(rig_row(rig, broken[i].name, &row));
		assert_int_equal(row.flags, VACCEL_MODEL_BROKEN);
		assert_int_equal(echo(rig, broken[i].name, error), -EIO);
		assert_non_null(strstr(error, "is installed but broken"));
		assert_null(strstr(error, rig->models));
	}
	assert_int_equal(echo(rig, "good", error), 0);
}

static void test_links(void **state)
{
	struct rig *rig = *state;
	struct vaccel_model_row row;
	char error[RIG_ERROR];

	rig_model(rig, "out", "echo", "");
	rig_link(rig, "/etc/passwd", "out/weights");
	rig_model(rig, "file", "echo", "file = weights");
	rig_link(rig, "../out", "file/weights");
	rig_model(rig, ".hidden", "echo", "");
	rig_link(rig, ".hidden", "linked");
	rig_link(rig, "/etc", "etc");
	rig_link(rig, "nowhere", "dangling");
	rig_text(rig, "README", "no model");
	rig_model(rig, "-x", "echo", "");
	rig_model(rig, "not a name", "echo", "");
	start(rig);
	assert_true(rig_logged("model out: broken: weights: leads out of the model's folder"));
	assert_true(rig_logged("model file: broken: weights: leads out of the model's folder"));
	assert_true(rig_logged("model etc: broken: cannot open: it leads out of the folder of models"));
	assert_true(rig_logged("models: 'not a name' is no name of a model"));
	assert_int_equal(echo(rig, "linked", error), 0);
	assert_false(rig_row(rig, "dangling", &row));
	assert_false(rig_row(rig, "README", &row));
	assert_false(rig_row(rig, ".hidden", &row));
	assert_int_equal(echo(rig, "nothing", error), -ENOENT);
	assert_string_equal(error, "there is no model 'nothing'");
}

static void test_class_count(void **state)
{
	struct rig *rig = *state;

	rig_model(rig, "nine", "dense", "labels = l\n[image]\noutput = logits");
	rig_text(rig, "nine/l", "0\n1\n2\n3\n4\n5\n6\n7\n8\n");
	start(rig);
	assert_true(rig_logged("model nine: broken: l: has 9 labels, and output logits 10 classes"));
}

static void test_limits(void **state)
{
	char *keys[] = { (char[]){ "models=2" }, (char[]){ "files=3" }, NULL };
	struct rig *rig = *state;
	struct vaccel_model_row row;

	rig_model(rig, "a", "echo", "");
	rig_model(rig, "b", "echo", "");
	rig_model(rig, "c", "echo", "");
	rig_text(rig, "b/1", "");
	rig_text(rig, "b/2", "");
	rig_text(rig, "b/3", "");
	assert_int_equal(rig_start(rig, keys), 0);
	assert_true(rig_logged("model b: broken: model.conf: is one file too many"));
	assert_true(rig_logged("model c and others: left out, there are more than 2"));
	assert_true(rig_row(rig, "a", &row));
	assert_false(rig_row(rig, "c", &row));
}

/* ---- Changes ---- */

static void test_come_and_go(void **state)
{
	struct rig *rig = *state;
	char error[RIG_ERROR];

	start(rig);
	assert_int_equal(echo(rig, "m", error), -ENOENT);
	assert_int_equal(rig_changes(rig), 0);
	rig_model(rig, "m", "echo", "");
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_int_equal(echo(rig, "m", error), 0);
	rig_remove(rig, "m");
	assert_true(rig_wait_gone(rig, "m"));
	assert_int_equal(echo(rig, "m", error), -ENOENT);
	assert_true(rig_changes(rig) >= 2);
	/* The name as a file is no model; and a folder with a model in it appears at once. */
	rig_text(rig, "m", "");
	rig_model(rig, ".new", "echo", "");
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait(rig, "m", 0, NULL));
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait_gone(rig, "m"));
}

/* A copy that takes its time is broken for a while, and seen when it is complete. */
static void test_half_copied(void **state)
{
	struct rig *rig = *state;
	char error[RIG_ERROR];

	start(rig);
	rig_text(rig, "m/deep/er/weights", "1");
	assert_true(rig_wait(rig, "m", VACCEL_MODEL_BROKEN, NULL));
	rig_model(rig, "m", "echo", "file = deep/er/more");
	assert_true(rig_wait_logged("deep/er/more: cannot open"));
	rig_text(rig, "m/deep/er/more", "2");
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_int_equal(echo(rig, "m", error), 0);
}

static void test_replace(void **state)
{
	struct rig *rig = *state;
	struct vaccel_model_row row;
	char error[RIG_ERROR];

	rig_model(rig, "m", "echo", "");
	start(rig);
	assert_true(rig_row(rig, "m", &row));
	/* Another type: the old version would refuse it. */
	rig_model(rig, ".new", "echo", "description = new");
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait(rig, "m", 0, row.hash));
	assert_true(rig_logged("model m: replaced"));
	assert_int_equal(rig_changes(rig), 2);
	/* What was there before comes back, by two renames. */
	rig_rename(rig, "m", ".old");
	rig_rename(rig, ".new", "m");
	assert_true(rig_row(rig, "m", &row) && rig_wait(rig, "m", 0, row.hash));
	assert_int_equal(echo(rig, "m", error), 0);
	/* A link that changes where it leads. */
	rig_remove(rig, "m");
	rig_link(rig, ".old", "m");
	assert_true(rig_wait(rig, "m", 0, NULL));
	rig_model(rig, ".newest", "echo", "description = newest");
	assert_true(rig_row(rig, "m", &row));
	rig_link(rig, ".newest", ".link");
	rig_rename(rig, ".link", "m");
	assert_true(rig_wait(rig, "m", 0, row.hash));
}

static void test_broken_replaces(void **state)
{
	struct rig *rig = *state;
	struct vaccel_model_row row, now;
	char error[RIG_ERROR];

	rig_model(rig, "m", "echo", "");
	start(rig);
	assert_true(rig_row(rig, "m", &row));
	rig_model(rig, ".new", "nothing", "");
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait(rig, "m", VACCEL_MODEL_OUTDATED, NULL));
	assert_true(
		rig_logged("model m: what is installed now is broken, the version before it still serves: reference: "
			   "[reference] graph = 'nothing'"));
	assert_int_equal(echo(rig, "m", error), 0);
	assert_true(rig_row(rig, "m", &now));
	assert_memory_equal(now.hash, row.hash, sizeof(row.hash));
	/* The good one is back: nothing is loaded for it. */
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_false(rig_logged("model m: replaced"));
	assert_int_equal(echo(rig, "m", error), 0);
}

/* New times and nothing else: the version that serves goes on. */
static void test_touched(void **state)
{
	struct rig *rig = *state;

	rig_model(rig, "m", "echo", "");
	start(rig);
	rig_model(rig, "m", "echo", "");
	rig_model(rig, "n", "echo", "");
	assert_true(rig_wait(rig, "n", 0, NULL));
	usleep(100000);
	assert_false(rig_logged("model m: replaced"));
}

static void replace_again(struct rig *rig)
{
	rig_exchange(rig, ".newer", "m");
}

/* A version that is replaced while it is loaded may have been read in part from the next: it is never served. */
static void test_replaced_while_loading(void **state)
{
	struct rig *rig = *state;
	struct vaccel_model_row row;

	rig_model(rig, "m", "echo", "");
	start(rig);
	assert_true(rig_row(rig, "m", &row));
	rig_model(rig, ".new", "echo", "description = new");
	rig_model(rig, ".newer", "echo", "description = newer");
	__atomic_store_n(&rig->on_load, replace_again, __ATOMIC_RELEASE);
	rig_exchange(rig, ".new", "m");
	assert_true(rig_wait(rig, "m", 0, row.hash));
	assert_int_equal(rig_changes(rig), 2);
	assert_true(rig_row(rig, "m", &row));
	usleep(100000);
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_int_equal(rig_changes(rig), 2);
}

/* Want of memory is not the model's fault: it is tried again, and what changes meanwhile is seen. */
static void test_no_memory(void **state)
{
	struct rig *rig = *state;
	char error[RIG_ERROR];

	rig_model(rig, "m", "echo", "");
	rig->n_failing = 1;
	start(rig);
	assert_true(rig_logged("model m: broken: reference: no memory today"));
	assert_int_equal(echo(rig, "m", error), -EIO);
	rig_model(rig, "n", "echo", "");
	assert_true(rig_wait(rig, "n", 0, NULL));
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_int_equal(echo(rig, "m", error), 0);
}

static void test_folder_again(void **state)
{
	struct rig *rig = *state;
	char error[RIG_ERROR], moved[96];

	rig_model(rig, "m", "echo", "");
	start(rig);
	snprintf(moved, sizeof(moved), "%s/moved", rig->folder);
	assert_int_equal(rename(rig->models, moved), 0);
	assert_true(rig_wait_gone(rig, "m"));
	assert_true(rig_logged("models: there is no folder"));
	assert_int_equal(mkdir(rig->models, 0755), 0);
	rig_model(rig, "m", "echo", "");
	assert_true(rig_wait(rig, "m", 0, NULL));
	assert_int_equal(echo(rig, "m", error), 0);
	rig_remove(rig, "m");
	assert_true(rig_wait_gone(rig, "m"));
}

/* The kernel's, unless there are to be none; the plugin finds this one first. */
static bool blind;
__attribute__((visibility("default"))) int inotify_init1(int flags)
{
	if (!blind)
		return (int)syscall(SYS_inotify_init1, flags);
	errno = EMFILE;
	return -1;
}

/* Where nothing tells of changes, looking at it every second does. */
static void test_blind(void **state)
{
	char *keys[] = { (char[]){ "settle_ms=1" }, (char[]){ "rescan_s=1" }, NULL };
	struct rig *rig = *state;

	blind = true;
	assert_int_equal(rig_start(rig, keys), 0);
	assert_true(rig_logged("looking at it every 1 s instead"));
	rig_model(rig, "m", "echo", "");
	assert_true(rig_wait(rig, "m", 0, NULL));
	rig_remove(rig, "m");
	assert_true(rig_wait_gone(rig, "m"));
	blind = false;
}

/* ---- Requests meanwhile ---- */

struct worker {
	struct rig *rig;
	pthread_t thread;
	const bool *stop;
	unsigned int n_done, n_failed;
	char error[RIG_ERROR];
};

static void *work(void *arg)
{
	struct worker *w = arg;
	char error[RIG_ERROR];

	while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		w->n_done++;
		if (echo(w->rig, "m", error) < 0) {
			w->n_failed++;
			memcpy(w->error, error, sizeof(error));
		}
	}
	return NULL;
}

/* The model is replaced again and again, and no request notices. */
static void test_replace_under_load(void **state)
{
	enum { WORKERS = 4, ROUNDS = 12 };
	struct rig *rig = *state;
	struct worker workers[WORKERS];
	struct vaccel_model_row row;
	bool stop = false;
	char text[64];

	rig_model(rig, "m", "echo", "");
	start(rig);
	for (size_t i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .rig = rig, .stop = &stop };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(text, sizeof(text), "description = version %d", i);
		rig_model(rig, ".new", "echo", text);
		assert_true(rig_row(rig, "m", &row));
		rig_exchange(rig, ".new", "m");
		assert_true(rig_wait(rig, "m", 0, row.hash));
		rig_remove(rig, ".new");
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].n_failed)
			fail_msg("%u of %u requests failed: %s", workers[i].n_failed, workers[i].n_done,
				 workers[i].error);
	}
}

static void *run_slow(void *arg)
{
	struct worker *w = arg;

	w->n_failed = echo(w->rig, "slow", w->error) < 0;
	return NULL;
}

/* A request that runs when its model goes ends on it. */
static void test_remove_in_flight(void **state)
{
	struct rig *rig = *state;
	struct worker w = { .rig = rig };
	char error[RIG_ERROR];

	rig_model(rig, "slow", "slow", "[reference]\ndelay_ms = 1000");
	start(rig);
	assert_int_equal(pthread_create(&w.thread, NULL, run_slow, &w), 0);
	while (!__atomic_load_n(&rig->n_begun, __ATOMIC_RELAXED))
		usleep(1000);
	rig_remove(rig, "slow");
	assert_true(rig_wait_gone(rig, "slow"));
	assert_int_equal(echo(rig, "slow", error), -ENOENT);
	pthread_join(w.thread, NULL);
	if (w.n_failed)
		fail_msg("%s", w.error);
}

static void test_no_folder(void **state)
{
	struct rig *rig = *state;

	rig->host.models_dir = NULL;
	assert_int_equal(rig_start(rig, NULL), -ENOENT);
	assert_non_null(strstr(rig->plugin.error, "there is no folder of models"));
}

#define CASE(test_) cmocka_unit_test_setup_teardown(test_, make, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_broken),
		CASE(test_links),
		CASE(test_class_count),
		CASE(test_limits),
		CASE(test_come_and_go),
		CASE(test_half_copied),
		CASE(test_replace),
		CASE(test_broken_replaces),
		CASE(test_touched),
		CASE(test_replaced_while_loading),
		CASE(test_no_memory),
		CASE(test_folder_again),
		CASE(test_blind),
		CASE(test_replace_under_load),
		CASE(test_remove_in_flight),
		CASE(test_no_folder),
	};

	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
