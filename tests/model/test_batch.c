/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that run together: the same answers as alone, and nobody's error is another's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "unit/test.h"
#include "util/util.h"

enum { MANY = 6 };

static struct rig rig;
static char error[RIG_ERROR];

static int start(void **state)
{
	rig_make(&rig);
	rig_model(&rig, "dense", "dense", "[image]\noutput = probabilities\n[batch]\nmax = 16");
	rig_model(&rig, "colour", "dense", "[image]\noutput = logits\n[reference]\nchannels = 3\n[batch]\nmax = 4");
	rig_model(&rig, "alone", "dense", "[image]\noutput = probabilities");
	rig_model(&rig, "add", "add", "[batch]\nmax = 16\ndelay_us = 500\n[reference]\nwidth = 2");
	rig_model(&rig, "picky", "picky", "[batch]\nmax = 16\n[reference]\nwidth = 2");
	rig_model(&rig, "echo", "echo", "");
	return rig_start(&rig, NULL);
}

static int stop(void **state)
{
	rig_stop(&rig);
	return 0;
}

static struct vaccel_plugin_batch key_of(const struct vaccel_plugin_call *call)
{
	struct vaccel_plugin_batch batch = { .key = 7 };

	rig.plugin.plugin->batch(call, &batch);
	return batch;
}

/* ---- Pictures ---- */

struct picture {
	struct vaccel_classify params;
	struct vaccel_classified answer;
	struct vaccel_label labels[3];
	struct vaccel_plugin_arg args[3];
	struct vaccel_plugin_call call;
	char error[RIG_ERROR];
	void *data;
	size_t len;
};

static void picture_make_sized(struct picture *p, const char *model, uint32_t seed, uint32_t width, uint32_t height)
{
	*p = (struct picture){ .params = { .k = 3 } };
	snprintf(p->params.model, sizeof(p->params.model), "%s", model);
	p->data = rig_png(width, height, 3, seed, &p->len);
	p->args[0] = (struct vaccel_plugin_arg){ .data = p->data, .len = p->len, .dir = 1 };
	p->args[1] = (struct vaccel_plugin_arg){ .data = &p->answer, .len = sizeof(p->answer), .dir = 2 };
	p->args[2] = (struct vaccel_plugin_arg){ .data = p->labels, .len = sizeof(p->labels), .dir = 2 };
	p->call = (struct vaccel_plugin_call){ .size = sizeof(p->call),
					       .op = VACCEL_OP_IMAGE_CLASSIFY,
					       .params = &p->params,
					       .params_len = sizeof(p->params),
					       .args = p->args,
					       .n_args = 3,
					       .report = { p->error, sizeof(p->error) } };
}

/* Sizes differ, too: what runs together is what is made of them. */
static void picture_make(struct picture *p, const char *model, uint32_t seed)
{
	picture_make_sized(p, model, seed, 5 + seed % 7, 4 + seed % 5);
}

/* The same alone. */
static void picture_check(const struct picture *p, uint32_t together)
{
	struct vaccel_classified answer;
	struct vaccel_label labels[3];

	assert_int_equal(rig_classify(&rig, p->params.model, p->data, p->len, 3, &answer, labels, error), 0);
	assert_memory_equal(p->labels, labels, sizeof(labels));
	assert_int_equal(p->answer.width, answer.width);
	assert_int_equal(p->answer.height, answer.height);
	assert_int_equal(p->answer.n_classes, answer.n_classes);
	assert_int_equal(p->answer.batch, together);
}

static void run_pictures(struct picture *pictures, int *results, size_t n)
{
	const struct vaccel_plugin_call *calls[32];

	for (size_t i = 0; i < n; i++) {
		calls[i] = &pictures[i].call;
		results[i] = -ENOSYS;
	}
	rig.plugin.plugin->run_batch(calls, results, n);
}

static void test_pictures(void **state)
{
	struct picture pictures[MANY];
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		picture_make(&pictures[i], "dense", i + 1);
	run_pictures(pictures, results, MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(results[i], 0);
		picture_check(&pictures[i], MANY);
		free(pictures[i].data);
	}
}

/* Two damaged ones are left out, the others run. */
static void test_bad_pictures(void **state)
{
	struct picture pictures[MANY];
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		picture_make(&pictures[i], "dense", i + 1);
	pictures[0].args[0].len -= 20;
	pictures[3].args[0].len = 5;
	run_pictures(pictures, results, MANY);
	assert_int_equal(results[0], -EBADMSG);
	assert_int_equal(results[3], -EINVAL);
	assert_true(*pictures[0].error && *pictures[3].error);
	for (size_t i = 0; i < MANY; i++) {
		if (i != 0 && i != 3) {
			assert_int_equal(results[i], 0);
			assert_string_equal(pictures[i].error, "");
			picture_check(&pictures[i], MANY - 2);
		}
		free(pictures[i].data);
	}
}

/* Large ones, which several threads decode. */
static void test_large_pictures(void **state)
{
	struct picture pictures[MANY];
	int results[MANY];

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < MANY; i++)
			picture_make_sized(&pictures[i], "colour", i + 1, 100 + 50 * i, 150);
		/* The first, and two side by side. */
		pictures[0].args[0].len -= round == 1 ? 1000 : 0;
		pictures[3].args[0].len -= round == 2 ? 1000 : 0;
		pictures[4].args[0].len -= round == 2 ? 1000 : 0;
		run_pictures(pictures, results, MANY);
		for (size_t i = 0; i < MANY; i++) {
			if (pictures[i].args[0].len < pictures[i].len) {
				assert_int_equal(results[i], -EBADMSG);
			} else {
				assert_int_equal(results[i], 0);
				picture_check(&pictures[i], MANY - round);
			}
			free(pictures[i].data);
		}
	}
}

/* Whatever the engine puts together: other models, unknown ones, other ops. */
static void test_mixed(void **state)
{
	static const char *const names[MANY] = { "dense", "colour", "none", "dense", "echo", "colour" };
	static const int ends[MANY] = { 0, 0, -ENOENT, 0, -EINVAL, 0 };
	struct picture pictures[MANY];
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		picture_make(&pictures[i], names[i], i + 1);
	run_pictures(pictures, results, MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(results[i], ends[i]);
		if (!ends[i])
			picture_check(&pictures[i], 2);
		free(pictures[i].data);
	}
	assert_string_equal(pictures[2].error, "there is no model 'none'");
}

static void test_picture_keys(void **state)
{
	struct picture p[4];
	static const char *const names[] = { "dense", "dense", "colour", "alone" };
	struct vaccel_plugin_batch keys[4];

	for (uint32_t i = 0; i < 4; i++) {
		picture_make(&p[i], names[i], i + 1);
		keys[i] = key_of(&p[i].call);
		free(p[i].data);
	}
	assert_int_equal(keys[0].max, 16);
	assert_int_equal(keys[0].delay_us, 2000);
	assert_int_equal(keys[2].max, 4);
	assert_true(keys[0].key && keys[0].key == keys[1].key && keys[0].key != keys[2].key);
	assert_true(keys[3].key == 0);
	snprintf(p[0].params.model, sizeof(p[0].params.model), "none");
	assert_true(key_of(&p[0].call).key == 0);
}

/* ---- Tensors ---- */

struct sum {
	float a[16], b[16], sum[16], difference[16];
	uint32_t rows;
	struct rig_infer infer;
};

static void sum_make(struct sum *s, uint32_t rows, uint32_t seed)
{
	const struct rig_tensor in[] = { { "a", VACCEL_FLOAT32, 2, { rows, 2 }, s->a, rows * 2 * sizeof(float) },
					 { "b", VACCEL_FLOAT32, 2, { rows, 2 }, s->b, rows * 2 * sizeof(float) } };
	const struct rig_tensor out[] = {
		{ .name = "sum", .data = s->sum, .len = rows * 2 * sizeof(float) },
		{ .name = "difference", .data = s->difference, .len = rows * 2 * sizeof(float) },
	};

	for (uint32_t i = 0; i < rows * 2; i++) {
		s->a[i] = (float)(seed * 100 + i);
		s->b[i] = (float)(seed * 1000 + i * 7);
		s->sum[i] = s->difference[i] = -1;
	}
	s->rows = rows;
	rig_infer_make(&s->infer, "add", in, 2, out, 2);
}

static void sum_check(const struct sum *s)
{
	for (uint32_t i = 0; i < s->rows * 2; i++)
		assert_true(s->sum[i] == s->a[i] + s->b[i] && s->difference[i] == s->a[i] - s->b[i]);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(s->infer.answers[i].dims[0], s->rows);
		assert_int_equal(s->infer.answers[i].dims[1], 2);
		assert_int_equal(s->infer.answers[i].len, s->rows * 2 * sizeof(float));
	}
}

/* Requests of one row and of several. */
static void test_tensors(void **state)
{
	static struct sum sums[MANY];
	const struct vaccel_plugin_call *calls[MANY];
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++) {
		sum_make(&sums[i], 1 + i % 3, i);
		calls[i] = &sums[i].infer.call;
	}
	rig.plugin.plugin->run_batch(calls, results, MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(results[i], 0);
		sum_check(&sums[i]);
		assert_string_equal(sums[i].infer.answers[0].name, "sum");
		/* Two inputs that were put behind others, and two outputs. */
		assert_int_equal(sums[i].infer.copied, 4 * sums[i].rows * 2 * sizeof(float));
	}
}

/* What is wrong with one, or does not go with the others, is no matter to them. */
static void test_odd_tensors(void **state)
{
	static struct sum sums[MANY];
	const struct vaccel_plugin_call *calls[MANY];
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++) {
		sum_make(&sums[i], 2, i);
		calls[i] = &sums[i].infer.call;
	}
	strcpy(sums[1].infer.descs[0].name, "c");
	/* One output alone, which has no room. */
	sums[2].infer.params.n_outputs = 1;
	sums[2].infer.args[4].len = 1;
	/* The outputs in another order. */
	strcpy(sums[5].infer.descs[2].name, "difference");
	strcpy(sums[5].infer.descs[3].name, "sum");
	sums[5].infer.args[4].data = sums[5].difference;
	sums[5].infer.args[5].data = sums[5].sum;
	sums[3].infer.descs[1].dims[0] = 1;
	sums[3].infer.descs[1].len /= 2;
	rig.plugin.plugin->run_batch(calls, results, MANY);
	assert_int_equal(results[1], -EINVAL);
	assert_string_equal(sums[1].infer.error, "model add: has no input 'c'; it has: a, b");
	assert_int_equal(results[2], 0);
	assert_int_equal(sums[2].infer.answers[0].len, 16);
	assert_true(sums[2].sum[0] == -1);
	assert_int_equal(results[3], -EINVAL);
	assert_string_equal(sums[3].infer.error, "model add: reference: a and b have different numbers of rows");
	for (size_t i = 0; i < MANY; i++) {
		if (i == 1 || i == 2 || i == 3)
			continue;
		assert_int_equal(results[i], 0);
		sum_check(&sums[i]);
	}
	assert_string_equal(sums[5].infer.answers[0].name, "difference");
}

/* The framework refuses all because of one: each runs by itself then. */
static void test_one_fails(void **state)
{
	static struct rig_infer infers[MANY];
	const struct vaccel_plugin_call *calls[MANY];
	float x[MANY][2], y[MANY][2] = { 0 };
	int results[MANY];

	for (uint32_t i = 0; i < MANY; i++) {
		const struct rig_tensor in = { "x", VACCEL_FLOAT32, 2, { 1, 2 }, x[i], sizeof(x[i]) };
		const struct rig_tensor out = { .name = "y", .data = y[i], .len = sizeof(y[i]) };

		x[i][0] = (float)i;
		x[i][1] = i == 4 ? -1 : 1;
		rig_infer_make(&infers[i], "picky", &in, 1, &out, 1);
		calls[i] = &infers[i].call;
	}
	rig.plugin.plugin->run_batch(calls, results, MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(results[i], i == 4 ? -EINVAL : 0);
		if (i != 4)
			assert_memory_equal(x[i], y[i], sizeof(x[i]));
	}
	assert_string_equal(infers[4].error, "model picky: reference: element 1 of x is below 0");
}

static void test_tensor_keys(void **state)
{
	static struct sum sums[3];
	struct vaccel_plugin_batch keys[3];
	float x = 1, y;
	const struct rig_tensor in = { "x", VACCEL_FLOAT32, 1, { 1 }, &x, sizeof(x) };
	const struct rig_tensor out = { .name = "y", .data = &y, .len = sizeof(y) };
	struct rig_infer infer;

	for (uint32_t i = 0; i < 3; i++) {
		sum_make(&sums[i], 1 + i / 2, i);
		keys[i] = key_of(&sums[i].infer.call);
	}
	assert_int_equal(keys[0].delay_us, 500);
	assert_true(keys[0].key && keys[0].key == keys[1].key && keys[0].key != keys[2].key);
	rig_infer_make(&infer, "echo", &in, 1, &out, 1);
	assert_true(key_of(&infer.call).key == 0);
}

/* A replaced model has another key: what has waited for the old one does not hold up those for the new one. */
static void test_new_key(void **state)
{
	static struct sum sum;
	struct vaccel_plugin_batch before, after;
	struct vaccel_model_row row;

	sum_make(&sum, 1, 1);
	before = key_of(&sum.infer.call);
	assert_true(rig_row(&rig, "add", &row));
	rig_model(&rig, ".new", "add", "description = another\n[batch]\nmax = 8\n[reference]\nwidth = 2");
	rig_exchange(&rig, ".new", "add");
	assert_true(rig_wait(&rig, "add", 0, row.hash));
	after = key_of(&sum.infer.call);
	assert_true(after.key && after.key != before.key);
	assert_int_equal(after.max, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pictures),       cmocka_unit_test(test_bad_pictures),
		cmocka_unit_test(test_large_pictures), cmocka_unit_test(test_mixed),
		cmocka_unit_test(test_picture_keys),   cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_odd_tensors),    cmocka_unit_test(test_one_fails),
		cmocka_unit_test(test_tensor_keys),    cmocka_unit_test(test_new_key),
	};

	return cmocka_run_group_tests_name("batch", tests, start, stop);
}
