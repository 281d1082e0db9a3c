/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of <vaccel/vaccel.h>: sizes, missing things, bad parameters, results, buffers, limits. */
#include "fixture.h"

#include <endian.h>
#include <math.h>

#include "uapi/virtio_accel.h"

static void test_struct_sizes(void **state)
{
	struct {
		struct vaccel_context_options known;
		uint64_t more;
	} longer = { .known = { .size = sizeof(longer), .transport = fixture_url } };
	struct vaccel_context_options options = { .size = 0, .transport = fixture_url };
	struct vaccel_context *context = (void *)&options;

	assert_error(vaccel_context_new(&options, &context), -EINVAL, "vaccel_context_options");
	assert_ptr_equal(context, &options);
	options.size = sizeof(size_t) - 1;
	assert_error(vaccel_context_new(&options, &context), -EINVAL, "size is 7");
	longer.more = 1;
	assert_error(vaccel_context_new(&longer.known, &context), -EINVAL, "byte 24 is set");
	longer.more = 0;
	longer.known.reserved = 1;
	assert_error(vaccel_context_new(&longer.known, &context), -EINVAL, "reserved is 1");
	longer.known.reserved = 0;
	longer.known.trace = 2;
	assert_error(vaccel_context_new(&longer.known, &context), -EINVAL, "trace is 2");
	longer.known.trace = 0;
	assert_ok(vaccel_context_new(&longer.known, &context));
	vaccel_context_free(context);
	/* Shorter: only the size is there, so the transport is chosen as if there were no options. */
	setenv("VACCEL_TRANSPORT", fixture_url, 1);
	options = (struct vaccel_context_options){ .size = sizeof(size_t), .transport = "nowhere:" };
	assert_ok(vaccel_context_new(&options, &context));
	unsetenv("VACCEL_TRANSPORT");
	vaccel_context_free(context);
}

static void test_call_sizes(void **state)
{
	struct fixture *f = *state;
	struct {
		struct vaccel_call known;
		uint64_t more;
	} longer = { .known = { .size = sizeof(longer) } };
	struct vaccel_call call = { .size = 0 };

	assert_error(vaccel_run(f->session, &call), -EINVAL, "vaccel_call");
	/* Members behind the size are not looked at: an unknown operation there does not matter. */
	call = (struct vaccel_call){ .size = offsetof(struct vaccel_call, op), .op = 77 };
	assert_ok(vaccel_run(f->session, &call));
	assert_ok(vaccel_run(f->session, &longer.known));
	longer.more = 1;
	assert_error(vaccel_run(f->session, &longer.known), -EINVAL, "is set");
}

static void test_info_sizes(void **state)
{
	struct fixture *f = *state;
	struct vaccel_info info = { .size = 0 };
	struct {
		struct vaccel_op_info known;
		uint64_t more;
	} op = { .known = { .size = sizeof(op) }, .more = 7 };

	assert_error(vaccel_context_info(f->context, &info), -EINVAL, "vaccel_info");
	info.size = offsetof(struct vaccel_info, device);
	info.device = "mine";
	assert_ok(vaccel_context_info(f->context, &info));
	assert_string_equal(info.transport, fixture_url);
	assert_string_equal(info.device, "mine");
	assert_int_equal(info.size, offsetof(struct vaccel_info, device));
	assert_ok(vaccel_context_op(f->context, 0, &op.known));
	assert_int_equal(op.more, 0);
}

static void test_null(void **state)
{
	struct fixture *f = *state;
	struct vaccel_call call = { .size = sizeof(call) };
	struct vaccel_session *session;
	struct vaccel_request *request;
	struct vaccel_buffer *buffer;
	struct vaccel_info info = { .size = sizeof(info) };

	assert_error(vaccel_context_new(NULL, NULL), -EINVAL, "context");
	assert_error(vaccel_context_info(NULL, &info), -EINVAL, "context");
	assert_error(vaccel_context_info(f->context, NULL), -EINVAL, "vaccel_info");
	assert_error(vaccel_context_op(f->context, 0, NULL), -EINVAL, "vaccel_op_info");
	assert_error(vaccel_context_fd(NULL), -EINVAL, "context");
	assert_error(vaccel_context_next(NULL, &request), -EINVAL, "context");
	assert_error(vaccel_context_next(f->context, NULL), -EINVAL, "request");
	assert_error(vaccel_session_open(NULL, &session), -EINVAL, "context");
	assert_error(vaccel_session_open(f->context, NULL), -EINVAL, "session");
	assert_error(vaccel_buffer_alloc(NULL, 1, &buffer), -EINVAL, "session");
	assert_error(vaccel_buffer_alloc(f->session, 1, NULL), -EINVAL, "buffer");
	assert_error(vaccel_run(NULL, &call), -EINVAL, "session");
	assert_error(vaccel_run(f->session, NULL), -EINVAL, "vaccel_call");
	assert_error(vaccel_submit(f->session, &call, NULL), -EINVAL, "request");
	assert_error(vaccel_submit(f->session, NULL, &request), -EINVAL, "vaccel_call");
	assert_error(vaccel_request_wait(NULL, 0), -EINVAL, "request");
	assert_error(vaccel_request_cancel(NULL), -EINVAL, "request");
	assert_error(vaccel_noop(NULL), -EINVAL, "session");
	assert_null(vaccel_buffer_data(NULL));
	assert_int_equal(vaccel_buffer_size(NULL), 0);
	assert_null(vaccel_request_user_data(NULL));
	assert_ok(vaccel_buffer_free(NULL));
	assert_ok(vaccel_session_close(NULL));
	vaccel_request_free(NULL);
	vaccel_context_free(NULL);
}

static void test_info(void **state)
{
	struct fixture *f = *state;
	struct vaccel_info info = { .size = sizeof(info) }, again = { .size = sizeof(again) };
	struct vaccel_op_info op = { .size = sizeof(op) };
	char row[64];

	assert_ok(vaccel_context_info(f->context, &info));
	assert_string_equal(info.version, vaccel_version());
	assert_true(*info.host && *info.device);
	assert_int_equal(info.max_buffer_bytes, 16 << 20);
	assert_int_equal(info.max_request_bytes, 32 << 20);
	assert_true(info.n_ops > VACCEL_OP_DGEMM);
	for (size_t i = 0; i < info.n_ops; i++) {
		assert_ok(vaccel_context_op(f->context, i, &op));
		assert_int_equal(op.op, i);
		assert_true(*op.name);
		/* The plugin fault serves these, and need not serve others. */
		assert_true(i > VACCEL_OP_DGEMM || (!strcmp(op.plugin, "fault") && *op.hardware));
	}
	snprintf(row, sizeof(row), "row %zu: there are %zu rows", info.n_ops, info.n_ops);
	assert_error(vaccel_context_op(f->context, info.n_ops, &op), -ENOENT, row);
	/* The same answer is the same strings. */
	assert_ok(vaccel_context_info(f->context, &again));
	assert_ptr_equal(info.host, again.host);
}

static uint64_t counted(const void *answer, size_t len, const char *name, uint32_t status)
{
	struct virtio_accel_stats head;
	struct virtio_accel_stats_row row;

	memcpy(&head, answer, sizeof(head));
	assert_int_equal(le32toh(head.head_len), sizeof(head));
	assert_int_equal(le32toh(head.row_len), sizeof(row));
	assert_true(sizeof(head) + le32toh(head.n_rows) * sizeof(row) <= len);
	for (uint32_t i = 0; i < le32toh(head.n_rows); i++) {
		memcpy(&row, (const char *)answer + sizeof(head) + i * sizeof(row), sizeof(row));
		if (!strcmp(row.name, name))
			return le64toh(row.results[status]);
	}
	return 0;
}

/* What the other end counted is what was asked of it, by this context alone; a guest's are one connection together. */
/* How many operations have passed each stage, which must be the same for all. */
static uint64_t staged(struct vaccel_context *context)
{
	static const char *const names[] = { "encode", "submit", "wait", "take" };
	struct vaccel_stage_info info = { .size = sizeof(info) };
	uint64_t count = 0;

	for (size_t i = 0; i < 4; i++) {
		assert_ok(vaccel_context_stage(context, i, &info));
		assert_string_equal(info.name, names[i]);
		if (i > 0)
			assert_int_equal(info.count, count);
		count = info.count;
		assert_true(info.count > 0 || (info.sum_ns == 0 && info.median_ns == 0 && info.p99_ns == 0));
		assert_true(info.median_ns <= info.p99_ns);
	}
	assert_error(vaccel_context_stage(context, 4, &info), -ENOENT, "4 rows");
	return count;
}

static void test_stages(void **state)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = fixture_url, .trace = 1 };
	struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	struct fixture *f = *state;
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_request *request;

	assert_ok(vaccel_noop(f->session));
	assert_int_equal(staged(f->context), 0);
	assert_ok(vaccel_context_new(&options, &context));
	assert_ok(vaccel_session_open(context, &session));
	assert_int_equal(staged(context), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_ok(vaccel_noop(session));
		assert_int_equal(staged(context), i);
	}
	assert_ok(vaccel_submit(session, &call, &request));
	assert_ok(vaccel_request_wait(request, -1));
	vaccel_request_free(request);
	assert_int_equal(staged(context), 4);
	vaccel_context_free(context);
	assert_error(vaccel_context_stage(f->context, 0, NULL), -EINVAL, "vaccel_stage_info");
}

/* Only what shared memory makes necessary, and of no registered buffer. */
static void test_bytes_copied(void **state)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct fixture *f = *state;
	struct vaccel_buffer *buffer;
	struct product product;

	assert_ok(vaccel_buffer_alloc(f->session, sizeof(float) * 3 * 16 * 16, &buffer));
	product_init(&product, 16, 5, 1, vaccel_buffer_data(buffer));
	assert_ok(vaccel_run(f->session, &product.call));
	assert_ok(vaccel_context_info(f->context, &info));
	assert_int_equal(info.bytes_copied, 0);
	product_init(&product, 16, 5, 1, NULL);
	assert_ok(vaccel_run(f->session, &product.call));
	assert_ok(vaccel_context_info(f->context, &info));
	assert_int_equal(info.bytes_copied, !strncmp(fixture_url, "shm:", 4) ? sizeof(float) * 3 * 16 * 16 : 0);
	product_fini(&product);
	assert_ok(vaccel_buffer_free(buffer));
}

static void test_query(void **state)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = fixture_url };
	static char answer[64 << 10], again[16];
	struct fixture *f = *state;
	struct vaccel_context *other;
	struct vaccel_session *session;
	const bool guest = !strncmp(fixture_url, "virtio:", strlen("virtio:"));
	size_t len = 0, whole = 0;
	uint64_t before;

	assert_ok(vaccel_context_query(f->context, VIRTIO_ACCEL_Q_STATS, answer, sizeof(answer), &len));
	before = counted(answer, len, "noop", VIRTIO_ACCEL_S_OK);
	assert_ok(vaccel_context_new(&options, &other));
	assert_ok(vaccel_session_open(other, &session));
	for (int i = 0; i < 5; i++)
		assert_ok(vaccel_noop(f->session));
	for (int i = 0; i < 3; i++)
		assert_ok(vaccel_noop(session));
	assert_ok(vaccel_context_query(f->context, VIRTIO_ACCEL_Q_STATS, answer, sizeof(answer), &len));
	assert_int_equal(counted(answer, len, "noop", VIRTIO_ACCEL_S_OK), before + (guest ? 8 : 5));
	assert_ok(vaccel_context_query(other, VIRTIO_ACCEL_Q_STATS, answer, sizeof(answer), &len));
	assert_int_equal(counted(answer, len, "noop", VIRTIO_ACCEL_S_OK), guest ? before + 8 : 3);
	/* A short room gets the beginning. */
	assert_ok(vaccel_context_query(other, VIRTIO_ACCEL_Q_STATS, again, sizeof(again), &whole));
	assert_true(whole >= len);
	assert_memory_equal(again, answer, 8);
	assert_ok(vaccel_context_query(other, VIRTIO_ACCEL_Q_STATS, NULL, 0, &whole));
	assert_error(vaccel_context_query(other, 99, answer, sizeof(answer), &len), -EOPNOTSUPP, "query");
	assert_error(vaccel_context_query(other, VIRTIO_ACCEL_Q_STATS, NULL, 1, &len), -EINVAL, "nowhere");
	assert_error(vaccel_context_query(other, VIRTIO_ACCEL_Q_STATS, answer, 1, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_context_query(NULL, VIRTIO_ACCEL_Q_STATS, answer, 1, &len), -EINVAL, "context");
	vaccel_context_free(other);
}

/* What is wrong with one call, and what it is called. */
static void test_bad_calls(void **state)
{
	struct fixture *f = *state;
	struct product p;
	struct vaccel_call call;

	product_init(&p, 8, 1, 1, NULL);
#define BAD(change_, code_, text_)                                                \
	do {                                                                      \
		struct vaccel_gemm gemm_ = p.gemm;                                \
		struct vaccel_arg args_[3] = { p.args[0], p.args[1], p.args[2] }; \
		call = p.call;                                                    \
		call.params = &gemm_;                                             \
		call.args = args_;                                                \
		change_;                                                          \
		assert_error(vaccel_run(f->session, &call), code_, text_);        \
		product_untouched(&p);                                            \
	} while (0)
	BAD(call.op = 250, -EOPNOTSUPP, "250");
	BAD(gemm_.order = 1, -EINVAL, "order");
	BAD(gemm_.transa = 0, -EINVAL, "transa");
	BAD(gemm_.transb = 114, -EINVAL, "transb");
	BAD(gemm_.reserved = 1, -EINVAL, "reserved");
	BAD(gemm_.lda = 7, -EINVAL, "lda");
	BAD(gemm_.ldb = 0, -EINVAL, "ldb");
	BAD(gemm_.ldc = 3, -EINVAL, "ldc");
	BAD(gemm_.lda = 9, -ERANGE, "matrix A");
	BAD(gemm_.m = 9, -ERANGE, "matrix A");
	BAD(gemm_.m = UINT64_MAX / 2, -E2BIG, "matrix A");
	BAD(args_[1].len -= 4, -ERANGE, "matrix B");
	BAD(args_[2].len = 0, -ERANGE, "matrix C");
	BAD(gemm_.beta = 1, -EINVAL, "beta");
	BAD(args_[0].dir = VACCEL_OUT, -EINVAL, "A");
	BAD(args_[2].dir = VACCEL_IN, -EINVAL, "C");
	BAD(args_[2].dir = 4, -EINVAL, "direction 4");
	BAD(args_[0].dir = 0, -EINVAL, "direction 0");
	BAD(args_[0].reserved = 1, -EINVAL, "reserved");
	BAD(args_[0].data = NULL, -EINVAL, "NULL");
	BAD(args_[0].data = (char *)p.a + 1, -EINVAL, "multiple of 4");
	BAD(call.n_args = 2, -EINVAL, "2 arguments");
	BAD(call.n_args = 17, -EINVAL, "17 arguments");
	BAD(call.args = NULL, -EINVAL, "args is NULL");
	BAD(call.params_len--, -EINVAL, "parameters");
	BAD(call.params_len = 4096, -EINVAL, "parameters");
	BAD(call.params = NULL, -EINVAL, "params is NULL");
#undef BAD
	/* Nothing was lost by any of it. */
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	product_fini(&p);
}

static void test_gemm(void **state)
{
	struct fixture *f = *state;
	const float a[] = { 1, 2, 3, -1, 4, 5, 6, -1 }; /* 2 x 3, rows of 4 */
	const float b[] = { 7, 8, 9, 10, 11, 12 };	/* 3 x 2 */
	float c[] = { NAN, NAN, -7, NAN, NAN, -7 };	/* 2 x 2, rows of 3 */
	const double da[] = { 1, 4, 2, 5, 3, 6 };	/* the same by columns */
	double dc[] = { 1, 2, 3, 4 };

	assert_ok(vaccel_sgemm(f->session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 2, 2, 3, 1, a, 4, b, 2,
			       0, c, 3));
	assert_true(c[0] == 58 && c[1] == 64 && c[3] == 139 && c[4] == 154);
	/* What lies between the rows is not ours. */
	assert_true(c[2] == -7 && c[5] == -7);
	assert_ok(vaccel_dgemm(f->session, VACCEL_COL_MAJOR, VACCEL_NO_TRANS, VACCEL_TRANS, 2, 2, 3, 2, da, 2, da, 2, 1,
			       dc, 2));
	assert_true(dc[0] == 29 && dc[1] == 66 && dc[2] == 67 && dc[3] == 158);
	assert_error(vaccel_sgemm(f->session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 2, 2, 3, 1, a, 2, b,
				  2, 0, c, 3),
		     -EINVAL, "lda");
	/* Nothing to do: nothing is read or written. */
	assert_ok(vaccel_sgemm(f->session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 0, 2, 3, 1, NULL, 3,
			       NULL, 2, 0, NULL, 2));
	assert_ok(vaccel_sgemm(f->session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 2, 2, 0, 1, NULL, 1,
			       NULL, 2, 0, c, 3));
	assert_true(c[0] == 0 && c[4] == 0 && c[5] == -7);
}

static void test_no_work_no_write(void **state)
{
	struct fixture *f = *state;
	struct product p;

	product_init(&p, 8, 1, 1, NULL);
	p.gemm.m = 0;
	assert_ok(vaccel_run(f->session, &p.call));
	product_untouched(&p);
	product_fini(&p);
}

static void test_buffers(void **state)
{
	struct fixture *f = *state;
	struct vaccel_buffer *buffer, *other;
	struct product p;
	unsigned char *bytes;

	assert_error(vaccel_buffer_alloc(f->session, 0, &buffer), -EINVAL, "size is 0");
	assert_error(vaccel_buffer_alloc(f->session, (16 << 20) + 1, &buffer), -E2BIG, "16777216");
	assert_ok(vaccel_buffer_alloc(f->session, 3 * 32 * 32 * 4 + 100, &buffer));
	assert_int_equal(vaccel_buffer_size(buffer), 3 * 32 * 32 * 4 + 100);
	bytes = vaccel_buffer_data(buffer);
	assert_int_equal((uintptr_t)bytes % 4096, 0);
	for (size_t i = 0; i < vaccel_buffer_size(buffer); i++)
		assert_int_equal(bytes[i], 0);
	/* All inside; then one argument half outside, which makes it plain memory, of which there is not enough. */
	product_init(&p, 32, 3, 1, (float *)bytes);
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	/* A mixture: C is plain. */
	p.c = calloc(32 * 32, 4);
	p.args[2].data = p.c;
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	/* Two buffers in one request, and memory is zero again after use. */
	assert_ok(vaccel_buffer_alloc(f->session, 32 * 32 * 4, &other));
	p.args[0].data = memcpy(vaccel_buffer_data(other), p.a, 32 * 32 * 4);
	memset(p.c, 0, 32 * 32 * 4);
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	assert_ok(vaccel_buffer_free(other));
	assert_ok(vaccel_buffer_alloc(f->session, 32 * 32 * 4, &other));
	assert_int_equal(*(int *)vaccel_buffer_data(other), 0);
	free(p.c);
	assert_ok(vaccel_buffer_free(buffer));
	/* The other goes with the session. */
}

static void test_buffer_of_other_session(void **state)
{
	struct fixture *f = *state;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;
	struct product p;

	assert_ok(vaccel_session_open(f->context, &session));
	assert_ok(vaccel_buffer_alloc(session, 3 * 16 * 16 * 4, &buffer));
	product_init(&p, 16, 5, 1, vaccel_buffer_data(buffer));
	/* Plain memory here. */
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	assert_ok(vaccel_session_close(session));
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct vaccel_session *sessions[8];
	struct vaccel_buffer *buffers[17];
	struct product p;
	size_t n;

	for (n = 0; n < 7; n++)
		assert_ok(vaccel_session_open(f->context, &sessions[n]));
	assert_error(vaccel_session_open(f->context, &sessions[7]), -EDQUOT, "session");
	while (n)
		assert_ok(vaccel_session_close(sessions[--n]));
	for (n = 0; n < 16; n++)
		assert_ok(vaccel_buffer_alloc(f->session, 100, &buffers[n]));
	assert_error(vaccel_buffer_alloc(f->session, 100, &buffers[16]), -EDQUOT, "buffer");
	while (n)
		assert_ok(vaccel_buffer_free(buffers[--n]));
	product_init(&p, 1800, 1, 1, NULL);
	assert_error(vaccel_run(f->session, &p.call), -E2BIG, "33554432");
	product_fini(&p);
	assert_ok(vaccel_noop(f->session));
}

static void test_plugin_error(void **state)
{
	struct fixture *f = *state;
	struct product p;

	product_init(&p, 4, 1, fault_alpha(FAULT_ERROR, 0, EIO), NULL);
	assert_error(vaccel_run(f->session, &p.call), -EIO, "fault: error 5");
	product_untouched(&p);
	p.gemm.alpha = 1;
	assert_ok(vaccel_run(f->session, &p.call));
	product_check(&p);
	product_fini(&p);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_struct_sizes),
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, fixture_open, fixture_close)
		TEST(test_call_sizes),
		TEST(test_info_sizes),
		TEST(test_null),
		TEST(test_info),
		TEST(test_query),
		TEST(test_stages),
		TEST(test_bytes_copied),
		TEST(test_bad_calls),
		TEST(test_gemm),
		TEST(test_no_work_no_write),
		TEST(test_buffers),
		TEST(test_buffer_of_other_session),
		TEST(test_limits),
		TEST(test_plugin_error),
	};

	return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}

int main(int argc, char **argv)
{
	return fixture_main(argc, argv, run);
}
