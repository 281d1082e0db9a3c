/* SPDX-License-Identifier: Apache-2.0 */
/* src/op/model.c: what the checks of the operations on models accept and reject. */
#include "test.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "op/name.h"
#include "op/request.h"
#include "op/table.h"
#include "op/tensor.h"
#include "util/util.h"

static uint8_t memory[1 << 18] __attribute__((aligned(64)));

/* ---- Requests that are right ---- */

static struct op_request classify_request(void)
{
	static const struct vaccel_classify params = { .model = "digits", .k = 3 };
	struct op_request request = {
		.op = VACCEL_OP_IMAGE_CLASSIFY,
		.n_args = 3,
		.params_len = sizeof(params),
		.args = { { memory, 100, 1 },
			  { memory + 1000, sizeof(struct vaccel_classified), 2 },
			  { memory + 2000, 3 * sizeof(struct vaccel_label), 2 } },
	};

	memcpy(request.params, &params, sizeof(params));
	return request;
}

static struct vaccel_classify *classify_of(struct op_request *request)
{
	return (struct vaccel_classify *)request->params;
}

static struct vaccel_infer *infer_of(struct op_request *request)
{
	return (struct vaccel_infer *)request->params;
}

/* Where good_infer() puts the descriptions. */
static struct vaccel_tensor_desc *descs(void)
{
	return (struct vaccel_tensor_desc *)memory;
}

/* Sets an input's description as the wire has it. */
static void describe(struct vaccel_tensor_desc *desc, const char *name, uint32_t dtype, uint32_t rank,
		     const int64_t *dims, uint64_t len)
{
	*desc = (struct vaccel_tensor_desc){ .dtype = htole32(dtype), .rank = htole32(rank), .len = htole64(len) };
	snprintf(desc->name, sizeof(desc->name), "%s", name);
	for (uint32_t i = 0; i < rank && i < VACCEL_MAX_RANK; i++)
		desc->dims[i] = (int64_t)htole64((uint64_t)dims[i]);
}

/* Inputs "x" (2 x 3 floats) and "n" (one int64), output "y". */
static struct op_request infer_request(void)
{
	static const struct vaccel_infer params = { .model = "m", .n_inputs = 2, .n_outputs = 1 };
	static const int64_t dims[] = { 2, 3 };
	struct op_request request = {
		.op = VACCEL_OP_INFER,
		.n_args = 5,
		.params_len = sizeof(params),
		.args = { { memory, 3 * sizeof(struct vaccel_tensor_desc), 1 },
			  { memory + 4096, sizeof(struct vaccel_tensor_desc), 2 },
			  { memory + 8192, 24, 1 },
			  { memory + 9000, 8, 1 },
			  { memory + 10000, 40, 2 } },
	};

	memcpy(request.params, &params, sizeof(params));
	describe(&descs()[0], "x", VACCEL_FLOAT32, 2, dims, 24);
	describe(&descs()[1], "n", VACCEL_INT64, 0, NULL, 8);
	describe(&descs()[2], "y", 0, 0, NULL, 0);
	return request;
}

static struct op_request list_request(void)
{
	return (struct op_request){
		.op = VACCEL_OP_MODEL_LIST,
		.n_args = 2,
		.params_len = sizeof(struct vaccel_model_list),
		.args = { { memory, sizeof(struct vaccel_models), 2 }, { NULL, 0, 2 } },
	};
}

static struct op_request info_request(void)
{
	struct op_request request = {
		.op = VACCEL_OP_MODEL_INFO,
		.n_args = 3,
		.params_len = sizeof(struct vaccel_model_query),
		.args = { { memory, sizeof(struct vaccel_model_about), 2 }, { NULL, 0, 2 }, { NULL, 0, 2 } },
	};

	strcpy((char *)request.params, "digits");
	return request;
}

static void expect(const struct op_request *request, int code, const char *text)
{
	struct error error = { 0 };
	int r = op_check(request, &error);

	if (r != code)
		fail_msg("op_check() is %d, not %d: %s", r, code, error.text);
	if (code < 0)
		assert_text(error, text);
}

static void expect_parsed(const struct op_request *request, int code, const char *text)
{
	struct error error = { 0 };
	int r = op_check(request, &error);

	assert_int_equal(r, 0);
	r = op_check_parsed(request, &error);
	if (r != code)
		fail_msg("op_check_parsed() is %d, not %d: %s", r, code, error.text);
	if (code < 0)
		assert_text(error, text);
}

static void good_requests_pass(void **state)
{
	struct op_request classify = classify_request(), infer = infer_request(), list = list_request(),
			  info = info_request(), noop = { .op = VACCEL_OP_NOOP };

	expect_parsed(&classify, 0, NULL);
	expect_parsed(&infer, 0, NULL);
	expect_parsed(&list, 0, NULL);
	expect_parsed(&info, 0, NULL);
	expect_parsed(&noop, 0, NULL);
}

/* The numbers are those of the wire: a compiler that laid the structs out otherwise would be found here. */
static void structs_have_no_holes(void **state)
{
	assert_int_equal(sizeof(struct vaccel_classify), 72);
	assert_int_equal(sizeof(struct vaccel_classified), 48);
	assert_int_equal(sizeof(struct vaccel_label), 128);
	assert_int_equal(sizeof(struct vaccel_infer), 72);
	assert_int_equal(sizeof(struct vaccel_tensor_desc), 208);
	assert_int_equal(sizeof(struct vaccel_model_list), 8);
	assert_int_equal(sizeof(struct vaccel_models), 16);
	assert_int_equal(sizeof(struct vaccel_model_row), 144);
	assert_int_equal(sizeof(struct vaccel_model_query), 64);
	assert_int_equal(sizeof(struct vaccel_model_about), 560);
}

static void params_keep_their_texts(void **state)
{
	struct vaccel_classify params = { .model = "digits", .k = 0x01020304 };
	uint8_t wire[sizeof(params)];

	op_params_encode(op_by_name("image_classify"), wire, &params);
	assert_memory_equal(wire, params.model, sizeof(params.model));
	assert_int_equal(wire[64], 4);
	assert_int_equal(wire[67], 1);
}

/* ---- Names ---- */

static void names_of_models(void **state)
{
	static const char *const good[] = { "a", "digits", "resnet-50", "Mobile_Net.v2", "0", "_x" };
	static const char *const bad[] = {
		"", ".", "..", ".x", "-x", "a/b", "a b", "caf\xc3\xa9", "a\n", "a%s", "a\\b"
	};
	char name[VACCEL_MODEL_NAME + 1];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(op_model_name_valid(good[i]));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(op_model_name_valid(bad[i]));
	memset(name, 'a', sizeof(name));
	name[VACCEL_MODEL_NAME - 1] = '\0';
	assert_true(op_model_name_valid(name));
	name[VACCEL_MODEL_NAME - 1] = 'a';
	name[VACCEL_MODEL_NAME] = '\0';
	assert_false(op_model_name_valid(name));
}

static void names_in_requests(void **state)
{
	struct op_request requests[] = { classify_request(), infer_request(), info_request() };

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		char *model = (char *)requests[i].params, good[VACCEL_MODEL_NAME];

		memcpy(good, model, sizeof(good));
		memset(model, 'a', VACCEL_MODEL_NAME);
		expect(&requests[i], -EINVAL, "name does not end");
		memcpy(model, good, sizeof(good));
		model[VACCEL_MODEL_NAME - 1] = 'x';
		expect(&requests[i], -EINVAL, "behind its end");
		memcpy(model, good, sizeof(good));
		*model = '/';
		expect(&requests[i], -EINVAL, "name is of letters");
		memset(model, 0, VACCEL_MODEL_NAME);
		expect(&requests[i], -EINVAL, "name is of letters");
	}
}

/* ---- Parameters and lengths ---- */

static void classify_is_checked(void **state)
{
	struct op_request request = classify_request();

	classify_of(&request)->k = 0;
	expect(&request, -EINVAL, "k is 0, not 1 to 1024");
	classify_of(&request)->k = 1025;
	expect(&request, -EINVAL, "k is 1025");
	classify_of(&request)->k = 4;
	expect(&request, -ERANGE, "argument labels needs 512 bytes, it has 384");
	classify_of(&request)->k = 1024;
	request.args[2].len = 131072;
	expect(&request, 0, NULL);
	classify_of(&request)->reserved = 1;
	expect(&request, -EINVAL, "reserved parameter is 1");
	request = classify_request();
	request.args[0].len = 0;
	expect(&request, -EINVAL, "the picture has no bytes");
	request = classify_request();
	request.args[1].len--;
	expect(&request, -ERANGE, "argument answer needs 48 bytes, it has 47");
	request = classify_request();
	request.args[0].dir = 3;
	expect(&request, -EINVAL, "argument image has direction 3");
	request = classify_request();
	request.args[2].dir = 1;
	expect(&request, -EINVAL, "argument labels has direction 1");
	request = classify_request();
	request.n_args = 4;
	expect(&request, -EINVAL, "4 arguments, not 3");
}

static void infer_counts_are_checked(void **state)
{
	struct op_request request = infer_request();

	infer_of(&request)->n_inputs = 3;
	expect(&request, -EINVAL, "5 arguments, not the 6 of 3 inputs and 1 outputs");
	infer_of(&request)->n_inputs = 14;
	expect(&request, -E2BIG, "14 inputs and 1 outputs are more than 14 tensors");
	infer_of(&request)->n_inputs = UINT32_MAX;
	expect(&request, -E2BIG, "more than 14 tensors");
	infer_of(&request)->n_inputs = 3;
	infer_of(&request)->n_outputs = 0;
	expect(&request, -EINVAL, "asks for no output");
	infer_of(&request)->n_inputs = UINT32_MAX;
	infer_of(&request)->n_outputs = 4;
	expect(&request, -E2BIG, "more than 14 tensors");
	request = infer_request();
	request.n_args = 2;
	expect(&request, -EINVAL, "2 arguments, not 3 or more");
	request.n_args = OP_MAX_ARGS + 1;
	expect(&request, -E2BIG, "17 arguments, at most 16 are possible");
}

static void infer_takes_as_many_as_there_are(void **state)
{
	struct op_request request = infer_request();

	infer_of(&request)->n_inputs = 0;
	infer_of(&request)->n_outputs = 14;
	request.n_args = 16;
	request.args[0].len = 14 * sizeof(struct vaccel_tensor_desc);
	request.args[1].len = 14 * sizeof(struct vaccel_tensor_desc);
	for (uint32_t i = 2; i < 16; i++) {
		char name[8];

		snprintf(name, sizeof(name), "y%u", i);
		request.args[i] = (struct op_arg){ memory + 16384 + 64 * i, 64, 2 };
		describe(&descs()[i - 2], name, 0, 0, NULL, 0);
	}
	expect_parsed(&request, 0, NULL);
	request.args[15].dir = 1;
	expect(&request, -EINVAL, "tensor 13 is an output, but its argument has direction 1");
	request.args[15].dir = 3;
	expect(&request, -EINVAL, "argument tensor 13 has direction 3, which it cannot have");
	request.args[15].dir = 2;
	request.args[15].data = NULL;
	expect(&request, -EINVAL, "argument tensor 13 has 64 bytes but no address");
}

static void infer_lengths_are_checked(void **state)
{
	struct op_request request = infer_request();

	request.args[0].len--;
	expect(&request, -ERANGE, "argument descriptions has 623 bytes, not the 624 of 3 tensors");
	request.args[0].len += 2;
	expect(&request, -ERANGE, "argument descriptions has 625 bytes");
	request = infer_request();
	request.args[1].len--;
	expect(&request, -ERANGE, "argument answers needs 208 bytes, it has 207");
	request = infer_request();
	request.args[2].dir = 2;
	expect(&request, -EINVAL, "tensor 0 is an input, but its argument has direction 2");
	/* Room for outputs may be of any length. */
	request = infer_request();
	request.args[4] = (struct op_arg){ NULL, 0, 2 };
	expect_parsed(&request, 0, NULL);
}

static void questions_are_checked(void **state)
{
	struct op_request list = list_request(), info = info_request();

	list.args[0].len = 15;
	expect(&list, -ERANGE, "argument answer needs 16 bytes, it has 15");
	list = list_request();
	list.params[0] = 200;
	expect(&list, 0, NULL);
	list.params[4] = 1;
	expect(&list, -EINVAL, "reserved parameter is 1");
	info.args[0].len = 559;
	expect(&info, -ERANGE, "argument answer needs 560 bytes, it has 559");
}

/* ---- Descriptions ---- */

/* One thing is wrong with the description of a tensor of an otherwise good request. */
static void tensor(uint32_t index, const struct vaccel_tensor_desc *desc, int code, const char *text)
{
	struct op_request request = infer_request();

	descs()[index] = *desc;
	expect_parsed(&request, code, text);
}

#define WRONG(index_, code_, text_, ...)          \
	do {                                      \
		struct vaccel_tensor_desc d;      \
		infer_request();                  \
		d = descs()[index_];              \
		__VA_ARGS__;                      \
		tensor(index_, &d, code_, text_); \
	} while (0)

static void descriptions_are_checked(void **state)
{
	WRONG(0, -EINVAL, "tensor 0: its name is empty", memset(d.name, 0, sizeof(d.name)));
	WRONG(1, -EINVAL, "tensor 1: its name", memset(d.name, 'n', sizeof(d.name)));
	WRONG(2, -EINVAL, "tensor 2: its name", d.name[VACCEL_TENSOR_NAME - 1] = 'x');
	WRONG(1, -EINVAL, "input x is given twice", strcpy(d.name, "x"));
	/* An input and an output may have one name: they are looked for in different lists. */
	WRONG(2, 0, NULL, strcpy(d.name, "x"));
	WRONG(0, -EINVAL, "input x: type 0 is not known", d.dtype = 0);
	WRONG(0, -EINVAL, "input x: type 99 is not known", d.dtype = htole32(99));
	WRONG(0, -EINVAL, "input x: it has more than 8 dimensions", d.rank = htole32(9));
	WRONG(0, -EINVAL, "input x: it has more than 8", d.rank = UINT32_MAX);
	WRONG(0, -EINVAL, "behind its rank 2 is not 0", d.dims[7] = 1);
	WRONG(0, -EINVAL, "takes 24 bytes, it says 23", d.len = htole64(23));
	WRONG(0, -EINVAL, "takes 24 bytes, it says 25", d.len = htole64(25));
	WRONG(0, -EINVAL, "takes 48 bytes, it says 24", d.dtype = htole32(VACCEL_COMPLEX64));
	WRONG(0, -ERANGE, "its argument has 24 bytes, it says 28", d.rank = htole32(1), d.dims[0] = (int64_t)htole64(7),
	      d.dims[1] = 0, d.len = htole64(28));
	WRONG(2, -EINVAL, "output y: something is set", d.dtype = htole32(1));
	WRONG(2, -EINVAL, "output y: something is set", d.rank = htole32(1));
	WRONG(2, -EINVAL, "output y: something is set", d.dims[7] = 1);
	WRONG(2, -EINVAL, "output y: something is set", d.len = 1);
}

static void outputs_alone_are_checked(void **state)
{
	const struct vaccel_infer params = { .model = "m", .n_outputs = 2 };
	struct op_request request = infer_request();

	memcpy(request.params, &params, sizeof(params));
	request.n_args = 4;
	request.args[0].len = 2 * sizeof(struct vaccel_tensor_desc);
	request.args[1].len = 2 * sizeof(struct vaccel_tensor_desc);
	request.args[2].dir = request.args[3].dir = 2;
	describe(&descs()[0], "y", 0, 0, NULL, 0);
	describe(&descs()[1], "z", 0, 0, NULL, 0);
	expect_parsed(&request, 0, NULL);
	describe(&descs()[1], "y", 0, 0, NULL, 0);
	expect_parsed(&request, -EINVAL, "output y is given twice");
}

static void shapes_do_not_overflow(void **state)
{
	static const struct {
		int64_t dims[3];
		uint32_t rank;
		int code;
	} wrong[] = {
		{ { -1 }, 1, -EINVAL },
		{ { 0, -1 }, 2, -EINVAL },
		{ { INT64_MAX, INT64_MAX, -1 }, 3, -EINVAL },
		{ { 1, INT64_MIN }, 2, -EINVAL },
		{ { INT64_MAX }, 1, -E2BIG },
		{ { INT64_C(1) << 61 }, 1, -E2BIG },
		{ { INT64_C(1) << 32, INT64_C(1) << 32 }, 2, -E2BIG },
		{ { INT64_MAX, INT64_MAX }, 2, -E2BIG },
		/* Nothing of it, but somebody may multiply from the other end. */
		{ { 0, INT64_MAX, 3 }, 3, -E2BIG },
		{ { INT64_C(1) << 31, INT64_C(1) << 30, 0 }, 3, -E2BIG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct op_request request = infer_request();

		describe(&descs()[0], "x", VACCEL_FLOAT32, wrong[i].rank, wrong[i].dims, 0);
		expect_parsed(&request, wrong[i].code, wrong[i].code == -E2BIG ? "larger than any memory" : "below 0");
	}
}

static void empty_tensors_pass(void **state)
{
	struct op_request request = infer_request();
	static const int64_t dims[] = { 0, 28, 28, 1, 1, 1, 1, 1 };

	describe(&descs()[0], "x", VACCEL_FLOAT32, 8, dims, 0);
	request.args[2] = (struct op_arg){ NULL, 0, 1 };
	expect_parsed(&request, 0, NULL);
}

/* Their table is for who has copied it; here it has to have room. */
static void strings_have_a_table(void **state)
{
	struct op_request request = infer_request();
	static const int64_t dims[] = { 3 };

	describe(&descs()[0], "x", VACCEL_STRING, 1, dims, 24);
	expect_parsed(&request, 0, NULL);
	request.args[2].len = 11;
	describe(&descs()[0], "x", VACCEL_STRING, 1, dims, 11);
	expect_parsed(&request, -EINVAL, "takes at least 12 bytes, it says 11");
}

static void string_tables(void **state)
{
	const struct {
		uint32_t lens[3];
		uint64_t n, len;
		bool valid;
	} cases[] = {
		{ { 2, 0, 3 }, 3, 17, true },
		{ { 2, 0, 3 }, 3, 16, false },
		{ { 2, 0, 3 }, 3, 18, false },
		{ { 0, 0, 0 }, 3, 12, true },
		{ { 0, 0, 0 }, 3, 11, false },
		{ { 0 }, 0, 0, true },
		{ { 0 }, 0, 1, false },
		{ { 1 }, 0, 1, false },
		{ { UINT32_MAX, 1, 0 }, 3, 12, false },
		{ { UINT32_MAX }, 1, 4, false },
		{ { 0 }, UINT64_MAX, 12, false },
		{ { 0 }, UINT64_C(1) << 62, 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t bytes[32] = { 0 };

		for (size_t j = 0; j < 3; j++) {
			uint32_t len = htole32(cases[i].lens[j]);

			memcpy(bytes + j * sizeof(len), &len, sizeof(len));
		}
		if ((op_strings_check(bytes, cases[i].len, cases[i].n) == 0) != cases[i].valid)
			fail_msg("case %zu", i);
	}
}

/* ---- Replay ---- */

static void replay_needs_outputs_apart(void **state)
{
	struct op_request request = infer_request();
	const struct op_desc *op = op_by_id(VACCEL_OP_INFER);

	assert_true(op->replayable(&request));
	request.args[4].data = (uint8_t *)request.args[2].data + 23;
	assert_false(op->replayable(&request));
	request = infer_request();
	request.args[1].data = memory + 600;
	assert_false(op->replayable(&request));
}

static void costs_do_not_overflow(void **state)
{
	struct op_request classify = classify_request(), infer = infer_request();

	classify.args[0].len = UINT64_MAX;
	assert_true(op_by_id(classify.op)->cost(&classify) == UINT64_MAX);
	infer.args[2].len = infer.args[3].len = UINT64_MAX;
	assert_true(op_by_id(infer.op)->cost(&infer) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_requests_pass),	      cmocka_unit_test(structs_have_no_holes),
		cmocka_unit_test(params_keep_their_texts),    cmocka_unit_test(names_of_models),
		cmocka_unit_test(names_in_requests),	      cmocka_unit_test(classify_is_checked),
		cmocka_unit_test(infer_counts_are_checked),   cmocka_unit_test(infer_takes_as_many_as_there_are),
		cmocka_unit_test(infer_lengths_are_checked),  cmocka_unit_test(questions_are_checked),
		cmocka_unit_test(descriptions_are_checked),   cmocka_unit_test(shapes_do_not_overflow),
		cmocka_unit_test(outputs_alone_are_checked),  cmocka_unit_test(empty_tensors_pass),
		cmocka_unit_test(strings_have_a_table),	      cmocka_unit_test(string_tables),
		cmocka_unit_test(replay_needs_outputs_apart), cmocka_unit_test(costs_do_not_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
