/* SPDX-License-Identifier: Apache-2.0 */
/* src/op: the table's rows agree with themselves; what the checks of GEMM accept and reject. */
#include "test.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "op/request.h"
#include "op/table.h"
#include "util/util.h"

static float memory[4096] __attribute__((aligned(64)));

/* ---- The table ---- */

static size_t param_size(const struct op_param *param)
{
	switch (param->type) {
	case OP_PARAM_U32:
		return 4;
	case OP_PARAM_TEXT:
		return param->len;
	default:
		return 8;
	}
}

static void check_params(const struct op_desc *op)
{
	size_t end = 0;

	assert_true(op->params_len <= OP_MAX_PARAMS);
	assert_int_equal(op->params_len == 0, op->n_params == 0);
	for (size_t i = 0; i < op->n_params; i++) {
		const struct op_param *param = &op->params[i];

		assert_non_null(param->name);
		/* In order and without holes: every byte is on the wire once. */
		assert_int_equal(param->offset, end);
		assert_true(param->len && param->len == param_size(param));
		end = param->offset + param_size(param);
	}
	assert_int_equal(end, op->params_len);
}

static void check_args(const struct op_desc *op)
{
	size_t n_parsed = 0;

	assert_true(op->n_args <= OP_MAX_ARGS);
	assert_true(op->n_args || !op->repeats);
	for (size_t i = 0; i < op->n_args; i++)
		n_parsed += op->args[i].parsed;
	assert_true(n_parsed <= OP_MAX_PARSED && (n_parsed || !op->check_parsed));
	/* One that repeats would be more than one. */
	assert_true(!op->repeats || !op->args[op->n_args - 1].parsed);
	for (size_t i = 0; i < op->n_args; i++) {
		const struct op_arg_desc *arg = &op->args[i];

		assert_non_null(arg->name);
		assert_true(arg->dirs && !(arg->dirs & ~(1u << 1 | 1u << 2 | 1u << 3)));
		assert_true(arg->align && !(arg->align & (arg->align - 1)));
		/* Nobody would see what is written into a copy. */
		assert_true(!arg->parsed || arg->dirs == 1u << 1);
		assert_ptr_equal(op_arg_desc(op, i), arg);
	}
}

static void rows_are_consistent(void **state)
{
	const struct op_desc *op;
	size_t n = 0;

	for (; (op = op_at(n)); n++) {
		assert_true(op->id <= UINT8_MAX);
		assert_non_null(op->name);
		/* Fits struct virtio_accel_op_info with its NUL. */
		assert_true(*op->name && strlen(op->name) < 24);
		assert_true(op->summary && *op->summary);
		assert_non_null(op->replayable);
		assert_non_null(op->partial);
		assert_non_null(op->cost);
		assert_ptr_equal(op_by_id(op->id), op);
		assert_ptr_equal(op_by_name(op->name), op);
		check_params(op);
		check_args(op);
	}
	assert_true(n);
	assert_null(op_at(n));
	assert_null(op_by_id(255));
	assert_null(op_by_id(UINT32_MAX));
	assert_null(op_by_name("SGEMM"));
	assert_null(op_by_name(""));
}

static void rows_are_unique(void **state)
{
	for (size_t i = 0; op_at(i); i++) {
		for (size_t j = 0; j < i; j++) {
			assert_int_not_equal(op_at(i)->id, op_at(j)->id);
			assert_string_not_equal(op_at(i)->name, op_at(j)->name);
		}
	}
}

static void params_travel_both_ways(void **state)
{
	uint64_t seed = 1;

	for (size_t i = 0; op_at(i); i++) {
		uint8_t native[OP_MAX_PARAMS], wire[OP_MAX_PARAMS], back[OP_MAX_PARAMS];
		const struct op_desc *op = op_at(i);

		for (size_t j = 0; j < op->params_len; j++)
			native[j] = (uint8_t)test_random(&seed);
		memset(wire, 0xee, sizeof(wire));
		op_params_encode(op, wire, native);
		if (op->params_len)
			assert_int_equal(wire[op->params_len], 0xee);
		op_params_decode(op, back, wire);
		assert_memory_equal(back, native, op->params_len);
		op_params_decode(op, wire, wire);
		assert_memory_equal(wire, native, op->params_len);
	}
}

/* The layout that docs/virtio-accel.md gives, byte by byte. */
static void gemm_params_are_little_endian(void **state)
{
	struct vaccel_gemm gemm = {
		.order = 101, .transa = 112, .transb = 113, .m = 0x0102030405060708, .ldc = 3, .alpha = 1, .beta = -2
	};
	static const uint8_t alpha[] = { 0, 0, 0, 0, 0, 0, 0xf0, 0x3f }, beta[] = { 0, 0, 0, 0, 0, 0, 0, 0xc0 };
	static const uint8_t m[] = { 8, 7, 6, 5, 4, 3, 2, 1 };
	uint8_t wire[sizeof(gemm)];

	op_params_encode(op_by_name("sgemm"), wire, &gemm);
	assert_int_equal(sizeof(gemm), 80);
	assert_int_equal(wire[0], 101);
	assert_int_equal(wire[4], 112);
	assert_int_equal(wire[8], 113);
	assert_memory_equal(wire + 16, m, 8);
	assert_int_equal(wire[56], 3);
	assert_memory_equal(wire + 64, alpha, 8);
	assert_memory_equal(wire + 72, beta, 8);
}

/* ---- Checks ---- */

/* Row-major 4 x 5 times 5 x 3, with room to spare in no leading dimension. */
static struct op_request good_request(uint32_t op)
{
	size_t element = op == VACCEL_OP_SGEMM ? 4 : 8;
	struct vaccel_gemm gemm = {
		.order = VACCEL_ROW_MAJOR,
		.transa = VACCEL_NO_TRANS,
		.transb = VACCEL_NO_TRANS,
		.m = 4,
		.n = 3,
		.k = 5,
		.lda = 5,
		.ldb = 3,
		.ldc = 3,
		.alpha = 1,
		.beta = 0,
	};
	struct op_request request = {
		.op = op,
		.n_args = 3,
		.params_len = sizeof(gemm),
		.args = { { memory, 20 * element, 1 },
			  { memory + 100, 15 * element, 1 },
			  { memory + 200, 12 * element, 2 } },
	};

	memcpy(request.params, &gemm, sizeof(gemm));
	return request;
}

static struct vaccel_gemm *gemm_of(struct op_request *request)
{
	return (struct vaccel_gemm *)request->params;
}

static void expect(const struct op_request *request, int code, const char *text)
{
	struct error error = { 0 };
	int r = op_check(request, &error);

	if (r != code)
		fail_msg("op_check() is %d, not %d: %s", r, code, error.text);
	if (code < 0) {
		assert_int_equal(error.code, code);
		assert_text(error, text);
	}
	assert_int_equal(op_check(request, NULL), code);
}

static void good_requests_pass(void **state)
{
	struct op_request sgemm = good_request(VACCEL_OP_SGEMM), dgemm = good_request(VACCEL_OP_DGEMM);
	struct op_request noop = { .op = VACCEL_OP_NOOP };

	expect(&sgemm, 0, NULL);
	expect(&dgemm, 0, NULL);
	expect(&noop, 0, NULL);
}

static void shape_of_request_is_checked(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM);

	request.op = 77;
	expect(&request, -EOPNOTSUPP, "operation 77 is not known");
	request = good_request(VACCEL_OP_SGEMM);
	request.params_len--;
	expect(&request, -EINVAL, "sgemm: 79 bytes of parameters, not 80");
	request.params_len = 0;
	expect(&request, -EINVAL, "parameters");
	request = good_request(VACCEL_OP_SGEMM);
	request.n_args = 2;
	expect(&request, -EINVAL, "sgemm: 2 arguments, not 3");
	request.n_args = 4;
	expect(&request, -EINVAL, "sgemm: 4 arguments, not 3");
	request = good_request(VACCEL_OP_SGEMM);
	request.op = VACCEL_OP_NOOP;
	expect(&request, -EINVAL, "noop");
}

static void directions_are_checked(void **state)
{
	static const uint32_t bad[3][4] = { { 0, 2, 3, 4 }, { 0, 2, 3, UINT32_MAX }, { 0, 1, 4, 33 } };

	for (size_t i = 0; i < 3; i++) {
		for (size_t j = 0; j < 4; j++) {
			struct op_request request = good_request(VACCEL_OP_SGEMM);

			request.args[i].dir = bad[i][j];
			expect(&request, -EINVAL, "direction");
		}
	}
}

static void places_are_checked(void **state)
{
	struct op_request request = good_request(VACCEL_OP_DGEMM);

	request.args[1].data = memory + 1;
	expect(&request, -EINVAL, "argument B starts at");
	request = good_request(VACCEL_OP_SGEMM);
	request.args[2].data = (char *)memory + 2;
	expect(&request, -EINVAL, "argument C starts at");
	request = good_request(VACCEL_OP_DGEMM);
	request.args[0] = (struct op_arg){ .len = request.args[0].len, .dir = 1, .buffer = 9, .offset = 12 };
	expect(&request, -EINVAL, "argument A starts at 0xc");
	request.args[0].offset = 16;
	expect(&request, 0, NULL);
	request.args[0].buffer = 0;
	request.args[0].offset = 0;
	expect(&request, -EINVAL, "no address");
}

static void enumerations_are_checked(void **state)
{
	static const uint32_t bad_orders[] = { 0, 100, 103, UINT32_MAX }, bad_trans[] = { 0, 110, 114, UINT32_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(bad_orders); i++) {
		struct op_request request = good_request(VACCEL_OP_SGEMM);

		gemm_of(&request)->order = bad_orders[i];
		expect(&request, -EINVAL, "order is");
		request = good_request(VACCEL_OP_SGEMM);
		gemm_of(&request)->transa = bad_trans[i];
		expect(&request, -EINVAL, "transa is");
		request = good_request(VACCEL_OP_SGEMM);
		gemm_of(&request)->transb = bad_trans[i];
		expect(&request, -EINVAL, "transb is");
		request = good_request(VACCEL_OP_SGEMM);
		gemm_of(&request)->reserved = 1u << (8 * i);
		expect(&request, -EINVAL, "reserved");
	}
}

struct shape {
	uint64_t lines, length;
};

static struct shape shape_of(bool row_major, bool trans, uint64_t rows, uint64_t cols)
{
	return row_major != trans ? (struct shape){ rows, cols } : (struct shape){ cols, rows };
}

/* For one order and pair of transposes: the smallest leading dimensions and sizes pass, one less of each does not. */
static void check_edges(uint32_t op, bool row_major, bool ta, bool tb, uint64_t pad)
{
	const uint64_t element = op == VACCEL_OP_SGEMM ? 4 : 8, m = 4, n = 3, k = 5;
	const struct shape shapes[] = { shape_of(row_major, ta, m, k), shape_of(row_major, tb, k, n),
					shape_of(row_major, false, m, n) };
	static const char *const ld_names[] = { "lda is", "ldb is", "ldc is" };
	static const char *const names[] = { "matrix A needs", "matrix B needs", "matrix C needs" };
	struct op_request request = good_request(op), good;
	struct vaccel_gemm *gemm = gemm_of(&request);

	gemm->order = row_major ? VACCEL_ROW_MAJOR : VACCEL_COL_MAJOR;
	gemm->transa = ta ? VACCEL_TRANS : VACCEL_NO_TRANS;
	gemm->transb = tb ? VACCEL_CONJ_TRANS : VACCEL_NO_TRANS;
	gemm->lda = shapes[0].length + pad;
	gemm->ldb = shapes[1].length + pad;
	gemm->ldc = shapes[2].length + pad;
	for (size_t i = 0; i < 3; i++)
		request.args[i].len = ((shapes[i].lines - 1) * (shapes[i].length + pad) + shapes[i].length) * element;
	expect(&request, 0, NULL);
	good = request;
	for (size_t i = 0; i < 3; i++) {
		request = good;
		request.args[i].len--;
		expect(&request, -ERANGE, names[i]);
		request = good;
		*(&gemm->lda + i) = shapes[i].length - 1;
		expect(&request, -EINVAL, ld_names[i]);
		*(&gemm->lda + i) = 0;
		expect(&request, -EINVAL, ld_names[i]);
	}
}

static void leading_dimensions_and_sizes(void **state)
{
	for (unsigned int bits = 0; bits < 32; bits++)
		check_edges(bits & 1 ? VACCEL_OP_SGEMM : VACCEL_OP_DGEMM, bits & 2, bits & 4, bits & 8,
			    bits & 16 ? 7 : 0);
}

static void huge_dimensions_do_not_wrap(void **state)
{
	static const uint64_t huge[] = { UINT64_MAX, UINT64_MAX / 4 + 2, UINT64_C(1) << 62, UINT64_C(1) << 63,
					 (UINT64_C(1) << 32) + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(huge); j++) {
			struct op_request request = good_request(VACCEL_OP_SGEMM);
			struct vaccel_gemm *gemm = gemm_of(&request);
			struct error error = { 0 };
			int r;

			gemm->m = huge[i];
			gemm->n = gemm->ldb = gemm->ldc = huge[j];
			r = op_check(&request, &error);
			assert_true(r == -E2BIG || r == -ERANGE);
			gemm->k = gemm->lda = huge[j];
			r = op_check(&request, &error);
			assert_true(r == -E2BIG || r == -ERANGE);
			assert_true(op_by_id(VACCEL_OP_SGEMM)->cost(&request) == UINT64_MAX);
		}
	}
}

static void absent_matrices(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM), empty;
	struct vaccel_gemm *gemm = gemm_of(&request);

	request.args[0] = (struct op_arg){ .dir = 1 };
	request.args[1] = (struct op_arg){ .dir = 1 };
	expect(&request, -ERANGE, "matrix A needs");
	gemm->alpha = 0;
	expect(&request, 0, NULL);
	gemm->alpha = NAN;
	expect(&request, -ERANGE, "matrix A needs");
	gemm->alpha = 1;
	gemm->k = 0;
	gemm->lda = gemm->ldb = 3;
	expect(&request, 0, NULL);
	/* BLAS wants leading dimensions of at least 1, whatever the sizes. */
	gemm->lda = 0;
	expect(&request, -EINVAL, "lda is 0");
	gemm->lda = 1;
	empty = request;
	empty.args[2] = (struct op_arg){ .dir = 2 };
	expect(&empty, -ERANGE, "matrix C needs");
	gemm_of(&empty)->m = 0;
	expect(&empty, 0, NULL);
	gemm_of(&empty)->m = 4;
	gemm_of(&empty)->n = 0;
	gemm_of(&empty)->ldb = gemm_of(&empty)->ldc = 1;
	expect(&empty, 0, NULL);
}

static void beta_reads_c(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM);
	static const double betas[] = { 1, -1, 0.5, 1e-300 };

	for (size_t i = 0; i < ARRAY_SIZE(betas); i++) {
		gemm_of(&request)->beta = betas[i];
		request.args[2].dir = 2;
		expect(&request, -EINVAL, "beta is not 0");
		request.args[2].dir = 3;
		expect(&request, 0, NULL);
	}
	gemm_of(&request)->beta = NAN;
	request.args[2].dir = 2;
	expect(&request, -EINVAL, "beta is not 0");
	/* Nothing is read when there is no C. */
	gemm_of(&request)->m = 0;
	expect(&request, 0, NULL);
	gemm_of(&request)->m = 4;
	gemm_of(&request)->beta = -0.0;
	expect(&request, 0, NULL);
	gemm_of(&request)->beta = 0;
	request.args[2].dir = 3;
	expect(&request, 0, NULL);
}

/* ---- Replay ---- */

static bool replayable(const struct op_request *request)
{
	return op_by_id(request->op)->replayable(request);
}

static void replay_needs_beta_zero(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM), noop = { .op = VACCEL_OP_NOOP };

	assert_true(replayable(&request));
	assert_true(replayable(&noop));
	gemm_of(&request)->beta = 1;
	request.args[2].dir = 3;
	assert_false(replayable(&request));
	gemm_of(&request)->beta = NAN;
	assert_false(replayable(&request));
	gemm_of(&request)->beta = 0;
	assert_true(replayable(&request));
}

static void replay_needs_c_apart(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM);

	/* By pointer: one byte of overlap at either end, then none. */
	for (size_t i = 0; i < 2; i++) {
		request.args[2].data = (char *)request.args[i].data + request.args[i].len - 4;
		assert_false(replayable(&request));
		request.args[2].data = (char *)request.args[i].data + request.args[i].len;
		assert_true(replayable(&request));
		request.args[2].data = (char *)request.args[i].data - request.args[2].len + 4;
		assert_false(replayable(&request));
		request.args[2].data = (char *)request.args[i].data - request.args[2].len;
		assert_true(replayable(&request));
	}
	/* A and B may lie over each other. */
	request = good_request(VACCEL_OP_SGEMM);
	request.args[1].data = request.args[0].data;
	assert_true(replayable(&request));
	request.args[2].data = request.args[0].data;
	request.args[2].len = 0;
	assert_true(replayable(&request));
}

static void replay_needs_c_apart_in_buffers(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM);

	request.args[0] = (struct op_arg){ .len = 80, .dir = 1, .buffer = 7, .offset = 64 };
	request.args[2] = (struct op_arg){ .len = 48, .dir = 2, .buffer = 7, .offset = 64 + 76 };
	assert_false(replayable(&request));
	request.args[2].offset = 64 + 80;
	assert_true(replayable(&request));
	request.args[2].offset = 64;
	assert_false(replayable(&request));
	request.args[2].buffer = 8;
	assert_true(replayable(&request));
	request.args[2].buffer = 7;
	request.args[2].offset = UINT64_MAX - 3;
	assert_true(replayable(&request));
}

/* ---- What is not written ---- */

static bool partial(const struct op_request *request)
{
	return op_by_id(request->op)->partial(request);
}

static void gaps_make_c_partial(void **state)
{
	struct op_request request = good_request(VACCEL_OP_SGEMM), noop = { .op = VACCEL_OP_NOOP };
	struct vaccel_gemm *gemm = gemm_of(&request);

	assert_false(partial(&request));
	assert_false(partial(&noop));
	request.args[2].len++;
	assert_true(partial(&request));
	request.args[2].len--;
	gemm->ldc = 4;
	request.args[2].len = (3 * 4 + 3) * 4;
	assert_true(partial(&request));
	/* A single row has no gaps, whatever its leading dimension. */
	gemm->m = 1;
	request.args[2].len = 3 * 4;
	assert_false(partial(&request));
	gemm->m = 0;
	assert_true(partial(&request));
	request.args[2].len = 0;
	assert_false(partial(&request));
	gemm->m = UINT64_MAX;
	gemm->ldc = UINT64_MAX;
	assert_true(partial(&request));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_consistent),
		cmocka_unit_test(rows_are_unique),
		cmocka_unit_test(params_travel_both_ways),
		cmocka_unit_test(gemm_params_are_little_endian),
		cmocka_unit_test(good_requests_pass),
		cmocka_unit_test(shape_of_request_is_checked),
		cmocka_unit_test(directions_are_checked),
		cmocka_unit_test(places_are_checked),
		cmocka_unit_test(enumerations_are_checked),
		cmocka_unit_test(leading_dimensions_and_sizes),
		cmocka_unit_test(huge_dimensions_do_not_wrap),
		cmocka_unit_test(absent_matrices),
		cmocka_unit_test(beta_reads_c),
		cmocka_unit_test(replay_needs_beta_zero),
		cmocka_unit_test(replay_needs_c_apart),
		cmocka_unit_test(replay_needs_c_apart_in_buffers),
		cmocka_unit_test(gaps_make_c_partial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
