/* SPDX-License-Identifier: Apache-2.0 */
/* The operations on models: answers, and what is answered to requests that do not fit. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "unit/test.h"
#include "util/util.h"

static struct rig rig;
static char error[RIG_ERROR];

static const struct {
	const char *name, *graph, *more;
} models[] = {
	{ "dense", "dense",
	  "labels = labels.txt\ndescription = a network\n[image]\noutput = probabilities\nscale = 0.00392156863" },
	{ "logits", "dense", "labels = labels.txt\n[image]\noutput = logits\nscale = 0.00392156863\nsoftmax = on" },
	{ "bytes", "dense", "[image]\noutput = probabilities\n[reference]\ntype = uint8" },
	{ "colour", "dense",
	  "[image]\noutput = probabilities\nfit = crop\n[reference]\nchannels = 3\nheight = 6\nwidth = 10" },
	{ "huge", "dense", "[image]\noutput = logits\nscale = 1e38\n[reference]\nclasses = 3" },
	{ "add", "add", "[reference]\nwidth = 3" },
	{ "echo", "echo", "" },
	{ "int64", "echo", "[reference]\ntype = int64" },
	{ "bool", "echo", "[reference]\ntype = bool" },
	{ "strings", "strings", "" },
	{ "fail", "fail", "" },
	{ "picky", "picky", "[reference]\nwidth = 2" },
};

static int start(void **state)
{
	rig_make(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(models); i++)
		rig_model(&rig, models[i].name, models[i].graph, models[i].more);
	rig_text(&rig, "dense/labels.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\nnine\n");
	rig_text(&rig, "logits/labels.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\nnine\n");
	return rig_start(&rig, NULL);
}

static int stop(void **state)
{
	rig_stop(&rig);
	return 0;
}

#define assert_says(part_)                                                \
	do {                                                              \
		if (!strstr(error, part_))                                \
			fail_msg("'%s' does not say '%s'", error, part_); \
	} while (0)

/* ---- IMAGE_CLASSIFY ---- */

/* The model's own answer to a picture of its size: pixels / 255 through INFER. */
static void expected(const uint8_t *pixels, float *ret_probabilities)
{
	float x[64];
	const struct rig_tensor in = { "image", VACCEL_FLOAT32, 4, { 1, 8, 8, 1 }, x, sizeof(x) };
	struct rig_tensor out = { .name = "probabilities", .data = ret_probabilities, .len = 10 * sizeof(float) };

	for (size_t i = 0; i < 64; i++)
		x[i] = (float)pixels[i] * 0.00392156863f;
	assert_int_equal(rig_infer(&rig, "dense", &in, 1, &out, 1, NULL, error), 0);
}

/* Pixels as rig_png() makes them. */
static void pixels_of(uint32_t seed, uint8_t *ret_pixels)
{
	for (size_t i = 0; i < 64; i++)
		ret_pixels[i] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
}

static void check_classified(const char *model, const float *probabilities, const struct vaccel_classified *answer,
			     const struct vaccel_label *labels)
{
	bool seen[10] = { false };
	char name[16];

	assert_int_equal(answer->n_labels, 10);
	assert_int_equal(answer->n_classes, 10);
	assert_int_equal(answer->width, 8);
	assert_int_equal(answer->height, 8);
	assert_int_equal(answer->batch, 1);
	assert_true(answer->decode_ns && answer->prepare_ns && answer->run_ns);
	for (size_t i = 0; i < 10; i++) {
		assert_true(labels[i].index < 10 && !seen[labels[i].index]);
		seen[labels[i].index] = true;
		assert_true(!i || labels[i].probability <= labels[i - 1].probability);
		if (fabsf(labels[i].probability - probabilities[labels[i].index]) > 1e-6f)
			fail_msg("%s: class %u has %g, not %g", model, labels[i].index, (double)labels[i].probability,
				 (double)probabilities[labels[i].index]);
		snprintf(name, sizeof(name), "%u", labels[i].index);
		assert_string_equal(labels[i].name, labels[i].index == 9 && strcmp(model, "bytes") ? "nine" : name);
	}
}

static void test_classify(void **state)
{
	static const char *const names[] = { "dense", "logits", "bytes" };
	struct vaccel_classified answer;
	struct vaccel_label labels[12];
	float probabilities[10];
	uint8_t pixels[64];

	for (uint32_t seed = 1; seed < 20; seed++) {
		size_t len;
		void *png = rig_png(8, 8, 1, seed, &len);

		pixels_of(seed, pixels);
		expected(pixels, probabilities);
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			if (rig_classify(&rig, names[i], png, len, 12, &answer, labels, error) < 0)
				fail_msg("%s", error);
			check_classified(names[i], probabilities, &answer, labels);
		}
		free(png);
	}
}

static void test_k(void **state)
{
	struct vaccel_classified answer;
	struct vaccel_label all[10], some[10];
	size_t len;
	void *png = rig_png(20, 12, 3, 5, &len);

	assert_int_equal(rig_classify(&rig, "colour", png, len, 10, &answer, all, error), 0);
	assert_int_equal(answer.width, 20);
	assert_int_equal(answer.height, 12);
	for (uint32_t k = 1; k < 10; k++) {
		memset(some, 0x55, sizeof(some));
		assert_int_equal(rig_classify(&rig, "colour", png, len, k, &answer, some, error), 0);
		assert_int_equal(answer.n_labels, k);
		assert_memory_equal(some, all, k * sizeof(*some));
		assert_int_equal(some[k].index, 0x55555555);
	}
	free(png);
}

static void test_bad_pictures(void **state)
{
	struct vaccel_classified answer;
	struct vaccel_label label;
	size_t len;
	void *png = rig_png(8, 8, 1, 1, &len);

	assert_int_equal(rig_classify(&rig, "dense", "no picture", 10, 1, &answer, &label, error), -EINVAL);
	assert_int_equal(rig_classify(&rig, "dense", png, len - 30, 1, &answer, &label, error), -EBADMSG);
	assert_true(*error);
	assert_int_equal(rig_classify(&rig, "echo", png, len, 1, &answer, &label, error), -EINVAL);
	assert_string_equal(error, "model echo: does not classify pictures");
	assert_int_equal(rig_classify(&rig, "none", png, len, 1, &answer, &label, error), -ENOENT);
	assert_string_equal(error, "there is no model 'none'");
	/* 1e38 * 255 * a weight is no number that a float holds. */
	assert_int_equal(rig_classify(&rig, "huge", png, len, 1, &answer, &label, error), -EIO);
	assert_says("model huge: class 0 of its output is not a number");
	free(png);
}

static void test_picture_limits(void **state)
{
	char *keys[] = { (char[]){ "max_side=7" }, NULL };
	struct vaccel_classified answer;
	struct vaccel_label label;
	struct rig small;
	size_t len;
	void *png = rig_png(8, 8, 1, 1, &len);

	/* A process has one of each plugin. */
	rig_stop(&rig);
	rig_make(&small);
	rig_model(&small, "dense", "dense", "[image]\noutput = logits");
	assert_int_equal(rig_start(&small, keys), 0);
	assert_int_equal(rig_classify(&small, "dense", png, len, 1, &answer, &label, error), -E2BIG);
	rig_stop(&small);
	free(png);
	assert_int_equal(start(NULL), 0);
}

/* The limit is the host's: a caller who gave a deadline must not take it for that. */
static void test_picture_takes_long(void **state)
{
	char *keys[] = { (char[]){ "decode_ms=1" }, NULL };
	struct vaccel_classified answer;
	struct vaccel_label label;
	struct rig hasty;
	size_t len;
	void *png = rig_png(2000, 1500, 3, 1, &len);

	rig_stop(&rig);
	rig_make(&hasty);
	rig_model(&hasty, "dense", "dense", "[image]\noutput = logits");
	assert_int_equal(rig_start(&hasty, keys), 0);
	assert_int_equal(rig_classify(&hasty, "dense", png, len, 1, &answer, &label, error), -E2BIG);
	assert_says("takes more than 1 ms to decode");
	rig_stop(&hasty);
	free(png);
	assert_int_equal(start(NULL), 0);
}

/* The plugin has one state; a second engine of the process is told so, and the first one goes on. */
static void test_second_engine(void **state)
{
	struct vaccel_plugin_report report = { error, sizeof(error) };
	struct vaccel_model_row row;

	assert_int_equal(rig.plugin.plugin->load(&rig.host, &report), -EBUSY);
	assert_says("another engine of this process has models already");
	assert_true(rig_row(&rig, "dense", &row));
}

/* ---- INFER ---- */

static float one[] = { 1, 2, 3, 4, 5, 6 }, other[] = { 10, 20, 30, 40, 50, 60 };
static const struct rig_tensor a = { "a", VACCEL_FLOAT32, 2, { 2, 3 }, one, sizeof(one) };
static const struct rig_tensor b = { "b", VACCEL_FLOAT32, 2, { 2, 3 }, other, sizeof(other) };

static void test_infer(void **state)
{
	const struct rig_tensor in[] = { b, a };
	float sum[6], difference[6];
	struct rig_tensor out[] = {
		{ .name = "difference", .data = difference, .len = sizeof(difference) },
		{ .name = "sum", .data = sum, .len = sizeof(sum) },
	};
	uint64_t copied = 0;

	if (rig_infer(&rig, "add", in, 2, out, 2, &copied, error) < 0)
		fail_msg("%s", error);
	for (size_t i = 0; i < 6; i++)
		assert_true(sum[i] == one[i] + other[i] && difference[i] == one[i] - other[i]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(out[i].dtype, VACCEL_FLOAT32);
		assert_int_equal(out[i].rank, 2);
		assert_int_equal(out[i].dims[0], 2);
		assert_int_equal(out[i].dims[1], 3);
		assert_int_equal(out[i].len, sizeof(sum));
	}
	/* Both outputs, once; no input. */
	assert_int_equal(copied, sizeof(sum) + sizeof(difference));
}

/* A caller may ask for an output where the input is: it runs once, so nobody is hurt. */
static void test_output_over_input(void **state)
{
	float x[64], y[64];
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 1, { 60 }, x, 60 * sizeof(float) };
	struct rig_tensor out = { .name = "y", .data = x + 1, .len = 60 * sizeof(float) };

	for (size_t i = 0; i < 64; i++)
		x[i] = y[i] = (float)i;
	assert_int_equal(rig_infer(&rig, "echo", &in, 1, &out, 1, NULL, error), 0);
	assert_memory_equal(x + 1, y, 60 * sizeof(float));
	assert_true(x[0] == y[0] && x[61] == y[61]);
}

static void test_too_small(void **state)
{
	const struct rig_tensor in[] = { a, b };
	float sum[6] = { -1, -1, -1, -1, -1, -1 };
	struct rig_tensor out[] = { { .name = "sum", .data = sum, .len = sizeof(sum) - 1 }, { .name = "difference" } };
	uint64_t copied = 0;

	assert_int_equal(rig_infer(&rig, "add", in, 2, out, 2, &copied, error), 0);
	assert_int_equal(out[0].len, sizeof(sum));
	assert_int_equal(out[1].len, sizeof(sum));
	assert_int_equal(out[1].dims[1], 3);
	assert_true(sum[0] == -1);
	assert_int_equal(copied, 0);
}

/* Tensors of a request for "add", and what is said about it. */
static void test_wrong_tensors(void **state)
{
	static const struct {
		struct rig_tensor in[2];
		const char *output;
		const char *says;
	} cases[] = {
		{ { { "a", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 }, { "c", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 } },
		  "sum",
		  "model add: has no input 'c'; it has: a, b" },
		{ { { "a", VACCEL_FLOAT64, 2, { 1, 3 }, one, 24 }, { "b", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 } },
		  "sum",
		  "model add: input a is float32[?, 3], not float64[1, 3]" },
		{ { { "a", VACCEL_FLOAT32, 2, { 3, 2 }, one, 24 }, { "b", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 } },
		  "sum",
		  "model add: input a is float32[?, 3], not float32[3, 2]" },
		{ { { "a", VACCEL_FLOAT32, 1, { 6 }, one, 24 }, { "b", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 } },
		  "sum",
		  "model add: input a is float32[?, 3], not float32[6]" },
		{ { { "a", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 }, { "b", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 } },
		  "product",
		  "model add: has no output 'product'; it has: sum, difference" },
		/* The framework's own objection. */
		{ { { "a", VACCEL_FLOAT32, 2, { 2, 3 }, one, 24 }, { "b", VACCEL_FLOAT32, 2, { 1, 3 }, one, 12 } },
		  "sum",
		  "model add: reference: a and b have different numbers of rows" },
	};
	float sum[6];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig_tensor out = { .name = cases[i].output, .data = sum, .len = sizeof(sum) };

		assert_int_equal(rig_infer(&rig, "add", cases[i].in, 2, &out, 1, NULL, error), -EINVAL);
		assert_string_equal(error, cases[i].says);
	}
}

static void test_missing_input(void **state)
{
	float sum[6];
	struct rig_tensor out = { .name = "sum", .data = sum, .len = sizeof(sum) };

	assert_int_equal(rig_infer(&rig, "add", &b, 1, &out, 1, NULL, error), -EINVAL);
	assert_string_equal(error, "model add: input a is missing");
	assert_int_equal(rig_infer(&rig, "nowhere", &b, 1, &out, 1, NULL, error), -ENOENT);
	assert_string_equal(error, "there is no model 'nowhere'");
}

static void test_fails(void **state)
{
	float x[] = { 1, -1 }, y[2];
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 2, { 1, 2 }, x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = y, .len = sizeof(y) };

	assert_int_equal(rig_infer(&rig, "fail", &in, 1, &out, 1, NULL, error), -EIO);
	assert_says("model fail: reference: the graph of ");
	assert_int_equal(rig_infer(&rig, "picky", &in, 1, &out, 1, NULL, error), -EINVAL);
	assert_string_equal(error, "model picky: reference: element 1 of x is below 0");
}

/* A framework says which file it cannot read; the guest learns no more than the model's name. */
static void test_no_paths(void **state)
{
	float x = 1, y;
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 1, { 1 }, &x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = &y, .len = sizeof(y) };

	assert_int_equal(rig_infer(&rig, "fail", &in, 1, &out, 1, NULL, error), -EIO);
	assert_string_equal(error, "model fail: reference: the graph of MODELS/fail fails whatever it is given");
}

/* What is no number goes through as it is. */
static void test_nan(void **state)
{
	const uint32_t x[] = { 0x7fc12345, 0x7f800000, 0xff800000, 0x80000000, 1 };
	uint32_t y[5];
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 1, { 5 }, (void *)x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = y, .len = sizeof(y) };

	assert_int_equal(rig_infer(&rig, "echo", &in, 1, &out, 1, NULL, error), 0);
	assert_memory_equal(x, y, sizeof(x));
}

static void test_shapes(void **state)
{
	float x = 3, y = 0;
	struct rig_tensor in = { "x", VACCEL_FLOAT32, 0, { 0 }, &x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = &y, .len = sizeof(y) };

	assert_int_equal(rig_infer(&rig, "echo", &in, 1, &out, 1, NULL, error), 0);
	assert_int_equal(out.rank, 0);
	assert_true(y == 3);
	/* Nothing, in eight dimensions. */
	in = (struct rig_tensor){ "x", VACCEL_FLOAT32, 8, { 1, 2, 3, 0, 5, 6, 7, 8 }, NULL, 0 };
	assert_int_equal(rig_infer(&rig, "echo", &in, 1, &out, 1, NULL, error), 0);
	assert_int_equal(out.rank, 8);
	assert_int_equal(out.len, 0);
	assert_int_equal(out.dims[7], 8);
}

/* Indices and conditions are copied, and conditions are made 0 or 1. */
static void test_copied_types(void **state)
{
	int64_t x[] = { 1, -2 }, y[2];
	uint8_t t[] = { 0, 1, 2, 0xff }, u[4];
	struct rig_tensor in = { "x", VACCEL_INT64, 1, { 2 }, x, sizeof(x) };
	struct rig_tensor out = { .name = "y", .data = y, .len = sizeof(y) };
	uint64_t copied = 0;

	assert_int_equal(rig_infer(&rig, "int64", &in, 1, &out, 1, &copied, error), 0);
	assert_memory_equal(x, y, sizeof(x));
	assert_int_equal(copied, 2 * sizeof(x));
	in = (struct rig_tensor){ "x", VACCEL_BOOL, 1, { 4 }, t, sizeof(t) };
	out = (struct rig_tensor){ .name = "y", .data = u, .len = sizeof(u) };
	assert_int_equal(rig_infer(&rig, "bool", &in, 1, &out, 1, &copied, error), 0);
	assert_memory_equal(u, ((const uint8_t[]){ 0, 1, 1, 1 }), 4);
}

static void test_strings(void **state)
{
	static const char x[] = "\2\0\0\0"
				"\0\0\0\0"
				"\5\0\0\0"
				"ab"
				"C-d\0\xff";
	char y[64];
	uint32_t lengths[3];
	struct rig_tensor in = { "x", VACCEL_STRING, 2, { 3, 1 }, (void *)x, sizeof(x) - 1 };
	struct rig_tensor out[] = { { .name = "y", .data = y, .len = sizeof(y) },
				    { .name = "lengths", .data = lengths, .len = sizeof(lengths) } };

	if (rig_infer(&rig, "strings", &in, 1, out, 2, NULL, error) < 0)
		fail_msg("%s", error);
	assert_int_equal(out[0].len, sizeof(x) - 1);
	assert_int_equal(out[0].dims[0], 3);
	assert_memory_equal(y + 12, "ABC-D\0\xff", 7);
	assert_int_equal(lengths[2], 5);
	/* Lengths that do not add up to what there is, as when they change after the engine has looked. */
	in.len--;
	assert_int_equal(rig_infer(&rig, "strings", &in, 1, out, 2, NULL, error), -EINVAL);
	assert_says("the strings of input x do not fill their 18 bytes");
	in.dims[0] = 40;
	assert_int_equal(rig_infer(&rig, "strings", &in, 1, out, 2, NULL, error), -EINVAL);
}

/* ---- MODEL_LIST, MODEL_INFO ---- */

static uint32_t list(uint32_t first, struct vaccel_model_row *rows, size_t len, struct vaccel_models *ret_models)
{
	const struct vaccel_model_list params = { .first = first };
	const struct vaccel_plugin_arg args[] = { { .data = ret_models, .len = sizeof(*ret_models), .dir = 2 },
						  { .data = rows, .len = len, .dir = 2 } };

	assert_int_equal(rig_run(&rig, VACCEL_OP_MODEL_LIST, &params, sizeof(params), args, 2, NULL, error), 0);
	return ret_models->n_rows;
}

static void test_list(void **state)
{
	struct vaccel_model_row all[20], some[20];
	struct vaccel_models answer;

	assert_int_equal(list(0, all, sizeof(all), &answer), ARRAY_SIZE(models));
	assert_int_equal(answer.n_models, ARRAY_SIZE(models));
	for (size_t i = 1; i < ARRAY_SIZE(models); i++)
		assert_true(strcmp(all[i - 1].name, all[i].name) < 0);
	assert_string_equal(all[0].name, "add");
	assert_string_equal(all[0].framework, "reference");
	assert_int_equal(all[0].flags, 0);
	assert_int_equal(all[4].flags, VACCEL_MODEL_CLASSIFIES);
	assert_string_equal(all[4].name, "dense");
	assert_int_equal(all[4].n_labels, 10);
	assert_int_equal(list(3, some, 2 * sizeof(*some) + 5, &answer), 2);
	assert_int_equal(answer.n_models, ARRAY_SIZE(models));
	assert_memory_equal(some, all + 3, 2 * sizeof(*some));
	assert_int_equal(list(0, NULL, 0, &answer), 0);
	assert_int_equal(list(UINT32_MAX, some, sizeof(some), &answer), 0);
	assert_int_equal(answer.n_models, ARRAY_SIZE(models));
}

static int info(const char *name, struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors,
		size_t tensors_len, char *labels, size_t labels_len)
{
	struct vaccel_model_query params = { 0 };
	const struct vaccel_plugin_arg args[] = { { .data = about, .len = sizeof(*about), .dir = 2 },
						  { .data = tensors, .len = tensors_len, .dir = 2 },
						  { .data = labels, .len = labels_len, .dir = 2 } };

	snprintf(params.model, sizeof(params.model), "%s", name);
	return rig_run(&rig, VACCEL_OP_MODEL_INFO, &params, sizeof(params), args, 3, NULL, error);
}

static void test_info(void **state)
{
	struct vaccel_model_about about;
	struct vaccel_tensor_desc tensors[4];
	char labels[64];

	assert_int_equal(info("dense", &about, tensors, sizeof(tensors), labels, sizeof(labels)), 0);
	assert_string_equal(about.row.name, "dense");
	assert_string_equal(about.description, "a network");
	assert_string_equal(about.signature, "");
	assert_int_equal(about.n_inputs, 1);
	assert_int_equal(about.n_outputs, 2);
	assert_int_equal(about.n_tensors, 3);
	assert_int_equal(about.width, 8);
	assert_int_equal(about.channels, 1);
	assert_int_equal(about.labels_len, 9 * 2 + 5);
	assert_string_equal(tensors[0].name, "image");
	assert_int_equal(tensors[0].dims[0], -1);
	assert_string_equal(tensors[2].name, "logits");
	assert_memory_equal(labels, "0\0001\0002\0003\0004\0005\0006\0007\0008\0nine", 23);
	/* As much as there is room for. */
	memset(labels, '#', sizeof(labels));
	assert_int_equal(info("dense", &about, tensors, 2 * sizeof(*tensors), labels, 20), 0);
	assert_int_equal(about.n_tensors, 2);
	assert_memory_equal(labels, "0\0001\0002\0003\0004\0005\0006\0007\0008\0##", 20);
	assert_int_equal(info("add", &about, NULL, 0, NULL, 0), 0);
	assert_int_equal(about.n_tensors, 0);
	assert_int_equal(about.n_inputs, 2);
	assert_int_equal(about.width, 0);
	assert_int_equal(info("none", &about, NULL, 0, NULL, 0), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classify),
		cmocka_unit_test(test_k),
		cmocka_unit_test(test_bad_pictures),
		cmocka_unit_test(test_picture_limits),
		cmocka_unit_test(test_picture_takes_long),
		cmocka_unit_test(test_second_engine),
		cmocka_unit_test(test_infer),
		cmocka_unit_test(test_too_small),
		cmocka_unit_test(test_output_over_input),
		cmocka_unit_test(test_wrong_tensors),
		cmocka_unit_test(test_missing_input),
		cmocka_unit_test(test_fails),
		cmocka_unit_test(test_no_paths),
		cmocka_unit_test(test_nan),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_copied_types),
		cmocka_unit_test(test_strings),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests_name("ops", tests, start, stop);
}
