/* SPDX-License-Identifier: Apache-2.0 */
/* model.conf, labels and the keys of the plugin: what is read, and what each mistake is answered with. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "model/describe.h"
#include "model/labels.h"
#include "model/settings.h"
#include "unit/test.h"
#include "util/util.h"

/* ---- model.conf ---- */

static const char whole[] = "; a comment\n"
			    "[model]\n"
			    "framework = tensorflow\n"
			    "  file = saved/model   ; indented\n"
			    "signature = serve\r\n"
			    "labels = labels.txt\n"
			    "description = Digits, light on dark\n"
			    "\n"
			    "[image]\n"
			    "input = x\n"
			    "output = y\n"
			    "width = 28\n"
			    "height = 29\n"
			    "channels = 3\n"
			    "layout = nchw\n"
			    "resize = area\n"
			    "fit = pad\n"
			    "mean = 1 2.5,-3e1\n"
			    "scale = 0.5\n"
			    "softmax = on\n"
			    "[batch]\n"
			    "max = 16\n"
			    "delay_us = 100\n"
			    "[tensorflow]\n"
			    "threads = 2\n"
			    "threads = 3\n"
			    "path = a=b";

static void check_image(const struct describe_image *image)
{
	assert_true(image->given);
	assert_string_equal(image->input, "x");
	assert_string_equal(image->output, "y");
	assert_int_equal(image->width, 28);
	assert_int_equal(image->height, 29);
	assert_int_equal(image->channels, 3);
	assert_int_equal(image->layout, IMAGE_NCHW);
	assert_int_equal(image->resize, IMAGE_AREA);
	assert_int_equal(image->fit, IMAGE_PAD);
	assert_int_equal(image->mean.n, 3);
	assert_true(image->mean.values[1] == 2.5f && image->mean.values[2] == -30.0f);
	assert_int_equal(image->scale.n, 1);
	assert_int_equal(image->softmax, 1);
}

static void test_whole(void **state)
{
	struct describe d;
	struct error error = { 0 };

	if (describe_parse(whole, &d, &error) < 0)
		fail_msg("%s", error.text);
	assert_string_equal(d.framework, "tensorflow");
	assert_string_equal(d.file, "saved/model");
	assert_string_equal(d.signature, "serve");
	assert_string_equal(d.labels, "labels.txt");
	assert_string_equal(d.text, "Digits, light on dark");
	check_image(&d.image);
	assert_true(d.batch.given);
	assert_int_equal(d.batch.max, 16);
	assert_int_equal(d.batch.delay_us, 100);
	assert_int_equal(d.n_keys, 3);
	assert_string_equal(d.values[1], "3");
	assert_string_equal(d.values[2], "a=b");
	describe_free(&d);
}

static void test_defaults(void **state)
{
	struct describe d;

	assert_int_equal(describe_parse("[model]\nframework=x\n[batch]\nmax=2\n", &d, NULL), 0);
	assert_string_equal(d.file, "");
	assert_false(d.image.given);
	describe_free(&d);
	assert_int_equal(describe_parse("[image]\n[model]\nframework=x\n[batch]\nmax=2\n[x]\n", &d, NULL), 0);
	assert_true(d.image.given);
	assert_int_equal(d.image.resize, IMAGE_BILINEAR);
	assert_int_equal(d.batch.delay_us, 2000);
	assert_int_equal(d.n_keys, 0);
	describe_free(&d);
}

/* Each is line 4 and below of a description, and what its error says. */
static const struct {
	const char *text;
	const char *says;
} mistakes[] = {
	{ "[model]\nfile = /etc", "model.conf:4: [model] file: leads out" },
	{ "[model]\nfile = a/../../b", "[model] file: leads out" },
	{ "[model]\nlabels = ..", "[model] labels: leads out" },
	{ "[model]\nfile =", "[model] file: has no value" },
	{ "[model]\nfiel = x", "model.conf:4: [model] fiel: no such key" },
	{ "[model]\nframework = again", "[model] framework: is there twice" },
	{ "[model]\nframework", "model.conf:4: neither [section] nor key = value" },
	{ "[model]\nsignature = \x01", "[model] signature: has control characters" },
	{ "[image]\nwidth = 0", "model.conf:4: [image] width: '0' is not a number from 1 to 8192" },
	{ "[image]\nwidth = 8193", "is not a number" },
	{ "[image]\nwidth = 12x", "is not a number" },
	{ "[image]\nwidth = -1", "is not a number" },
	{ "[image]\nheight = 99999999999999999999", "is not a number" },
	{ "[image]\nchannels = 2", "[image] channels: '2' is none of its values: 1 3" },
	{ "[image]\nresize = cubic", "'cubic' is none of its values: nearest bilinear bicubic area" },
	{ "[image]\nlayout = NHWC", "none of its values: nhwc nchw" },
	{ "[image]\nfit = fill", "none of its values: stretch crop pad" },
	{ "[image]\nsoftmax = yes", "none of its values: off on" },
	{ "[image]\nmean = 1 2 3 4", "more numbers than" },
	{ "[image]\nmean = abc", "[image] mean: is not a list of numbers" },
	{ "[image]\nscale = nan", "is not a list of numbers" },
	{ "[image]\nscale = inf", "is not a list of numbers" },
	{ "[image]\nscale = 1e99", "is not a list of numbers" },
	{ "[image]\nscale = ,", "has no value" },
	{ "[batch]\nmax = 1", "[batch] max: '1' is not a number from 2 to 256" },
	{ "[batch]\ndelay_us = 5", "[batch] max: is missing" },
	{ "[batch]", "[batch] max: is missing" },
	{ "[other]", "model.conf:3: [other]: no such section" },
	{ "[other]\nkey = 1", "model.conf:3: [other]: no such section, and the model's framework is some" },
	{ "[some]\na = 1\n[other]\nkey = 1", "model.conf:5: [other]: no such section" },
};

static void test_mistakes(void **state)
{
	char text[512];

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		struct error error = { 0 };
		struct describe d;
		int r;

		snprintf(text, sizeof(text), "[model]\nframework = some\n%s\n", mistakes[i].text);
		r = describe_parse(text, &d, &error);
		if (r != -EINVAL)
			fail_msg("'%s' gives %d", mistakes[i].text, r);
		assert_text(error, mistakes[i].says);
	}
}

static void test_odd_texts(void **state)
{
	struct error error = { 0 };
	struct describe d;
	char text[1024];
	size_t len;

	assert_int_equal(describe_parse("", &d, &error), -EINVAL);
	assert_text(error, "[model] framework: is missing");
	assert_int_equal(describe_parse("framework = x\n", &d, &error), -EINVAL);
	assert_text(error, "model.conf:1: framework: is in no section");
	len = (size_t)snprintf(text, sizeof(text), "[model]\nframework = x\ndescription = ");
	memset(text + len, 'a', 400);
	text[len + 400] = '\0';
	assert_int_equal(describe_parse(text, &d, &error), -EINVAL);
	assert_text(error, "model.conf:3: the line is too long");
	len = (size_t)snprintf(text, sizeof(text), "[model]\nframework = ");
	memset(text + len, 'a', 40);
	text[len + 40] = '\0';
	assert_int_equal(describe_parse(text, &d, &error), -EINVAL);
	assert_text(error, "is longer than 31 bytes");
}

static void test_many_keys(void **state)
{
	struct error error = { 0 };
	struct describe d;
	char text[4096];
	size_t len = (size_t)snprintf(text, sizeof(text), "[model]\nframework = x\n[x]\n");

	for (int i = 0; i <= DESCRIBE_KEYS; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "k%d = 1\n", i);
	assert_int_equal(describe_parse(text, &d, &error), -EINVAL);
	assert_text(error, "is one key too many");
}

/* In some locales numbers have commas: whoever set one gets the same models. */
static void test_locale(void **state)
{
	static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C.UTF-8" };
	struct describe d;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (setlocale(LC_ALL, names[i]))
			break;
	assert_int_equal(describe_parse("[model]\nframework=x\n[image]\nscale = 0.5\n", &d, NULL), 0);
	assert_true(d.image.scale.values[0] == 0.5f);
	describe_free(&d);
	setlocale(LC_ALL, "C");
}

/* ---- Labels ---- */

static int parse_labels(const char *text, size_t len, struct labels *labels, struct error *error)
{
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return labels_parse(copy, len, "labels.txt", labels, error);
}

static void test_labels(void **state)
{
	static const char text[] = "\xef\xbb\xbfzero\r\none two\n\xc3\xa9t\xc3\xa9\nlast";
	struct labels labels;

	assert_int_equal(parse_labels(text, sizeof(text) - 1, &labels, NULL), 0);
	assert_int_equal(labels.n, 4);
	assert_string_equal(labels.names[0], "zero");
	assert_string_equal(labels.names[1], "one two");
	assert_string_equal(labels.names[2], "\xc3\xa9t\xc3\xa9");
	assert_string_equal(labels.names[3], "last");
	assert_int_equal(labels.len, sizeof("zero") + sizeof("one two") + 6 + sizeof("last"));
	labels_free(&labels);
}

static void test_bad_labels(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *says;
	} cases[] = {
		{ "", 0, "labels.txt: has no labels" },
		{ "a\n\nb\n", 5, "labels.txt:2: the label is empty" },
		{ "a\nb\xff\n", 5, "labels.txt:2: the label is not UTF-8" },
		{ "a\xc3", 2, "labels.txt:1: the label is not UTF-8" },
		{ "\xc0\x80", 2, "not UTF-8" },
		{ "\xed\xa0\x80", 3, "not UTF-8" },
		{ "\xf5\x80\x80\x80", 4, "not UTF-8" },
		{ "a\tb\n", 4, "not UTF-8" },
		{ "a\x1b[1m\n", 6, "not UTF-8" },
		{ "a\0b\n", 4, "has a NUL in it" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error error = { 0 };
		struct labels labels;

		assert_int_equal(parse_labels(cases[i].text, cases[i].len, &labels, &error), -EINVAL);
		assert_text(error, cases[i].says);
	}
}

static void test_cut(void **state)
{
	assert_int_equal(labels_cut("abc", 3), 3);
	assert_int_equal(labels_cut("abcd", 3), 3);
	assert_int_equal(labels_cut("ab\xc3\xa9", 3), 2);
	assert_int_equal(labels_cut("ab\xc3\xa9", 4), 4);
	assert_int_equal(labels_cut("\xf0\x9f\x98\x80", 3), 0);
}

/* ---- Keys ---- */

static void test_settings(void **state)
{
	char text[192] = "";
	const struct vaccel_plugin_report report = { text, sizeof(text) };
	struct model_settings settings;

	model_settings_init(&settings);
	assert_int_equal(settings.settle_ms, 300);
	assert_int_equal(settings.max_bytes, 64 << 20);
	assert_int_equal(model_settings_set(&settings, "max_bytes", "2K", &report), 0);
	assert_int_equal(settings.max_bytes, 2048);
	assert_int_equal(model_settings_set(&settings, "decode_ms", "0", &report), 0);
	assert_int_equal(settings.decode_ms, 0);
	assert_int_equal(model_settings_set(&settings, "max_side", "70000", &report), -EINVAL);
	assert_string_equal(text, "models: max_side = '70000' is not a number from 1 to 65535");
	assert_int_equal(model_settings_set(&settings, "max_side", "5x", &report), -EINVAL);
	assert_int_equal(model_settings_set(&settings, "max_side", "", &report), -EINVAL);
	assert_int_equal(model_settings_set(&settings, "max_bytes", "99999999999G", &report), -EINVAL);
	assert_int_equal(model_settings_set(&settings, "side", "5", &report), -EINVAL);
	assert_string_equal(text, "models: unknown key 'side'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),	  cmocka_unit_test(test_defaults),   cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_odd_texts), cmocka_unit_test(test_many_keys),  cmocka_unit_test(test_locale),
		cmocka_unit_test(test_labels),	  cmocka_unit_test(test_bad_labels), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_settings),
	};

	return cmocka_run_group_tests_name("describe", tests, NULL, NULL);
}
