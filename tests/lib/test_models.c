/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on models, against a daemon that answers as a test wants (tiny.h): what arrives there, what a caller gets of a
 * good answer, and that an answer which cannot be is refused and harms nobody.
 */
#include "tiny.h"

#include <endian.h>
#include <poll.h>
#include <vaccel/basic.h>

static struct vaccel_context *context;
static struct vaccel_session *session;

static int setup(void **state)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = tiny_url };

	tiny_start();
	return vaccel_context_new(&options, &context) < 0 || vaccel_session_open(context, &session) < 0;
}

static int teardown(void **state)
{
	vaccel_context_free(context);
	tiny_stop();
	return 0;
}

/* ---- IMAGE_CLASSIFY ---- */

static const char picture[] = "not a picture, but nobody looks";

static int classify(uint32_t k, struct vaccel_label *labels, struct vaccel_classified *about)
{
	return vaccel_classify(session, "tiny", picture, sizeof(picture), k, labels, about);
}

static void check_labels(const struct vaccel_label labels[3])
{
	static const struct vaccel_label zero;

	assert_int_equal(labels[0].index, 1);
	assert_true(labels[0].probability == 0.75f && labels[1].probability == 0.25f);
	assert_string_equal(labels[0].name, "one");
	assert_int_equal(labels[1].index, 0);
	assert_string_equal(labels[1].name, "zero?[2J");
	assert_memory_equal(&labels[2], &zero, sizeof(zero));
}

static void test_classify(void **state)
{
	struct vaccel_classified about;
	struct vaccel_label labels[3];

	memset(labels, 0x55, sizeof(labels));
	assert_int_equal(classify(3, labels, &about), 2);
	check_labels(labels);
	assert_true(about.n_labels == 2 && about.n_classes == 2 && about.width == 28 && about.height == 14);
	assert_true(about.decode_ns == 11 && about.prepare_ns == 22 && about.run_ns == 33);
	assert_true(about.batch == 1 && about.reserved == 0);
	assert_int_equal(classify(1, labels, NULL), 1);
	assert_error(vaccel_classify(session, "absent", picture, 9, 1, labels, NULL), -ENOENT, "no such model");
}

static void no_end(struct vaccel_classified *about, struct vaccel_label *labels)
{
	memset(labels[0].name, 'x', sizeof(labels[0].name));
}

static void too_many(struct vaccel_classified *about, struct vaccel_label *labels)
{
	about->n_labels = htole32(4);
}

static void test_classify_bad_answers(void **state)
{
	struct vaccel_classified about = { .width = 4711 };
	struct vaccel_label labels[3];

	TINY_SET(classified, no_end);
	assert_int_equal(classify(3, labels, NULL), 2);
	assert_int_equal(strlen(labels[0].name), sizeof(labels[0].name) - 1);
	TINY_SET(classified, too_many);
	assert_error(classify(3, labels, &about), -EPROTO, "4 labels");
	assert_int_equal(about.width, 4711);
	TINY_SET(classified, NULL);
	assert_int_equal(classify(3, labels, &about), 2);
}

static void test_classify_mistakes(void **state)
{
	struct vaccel_label labels[1];
	char name[80];
	uint32_t before = tiny_ops_seen();

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	assert_error(vaccel_classify(session, NULL, picture, 9, 1, labels, NULL), -EINVAL, "no model is named");
	assert_error(vaccel_classify(session, name, picture, 9, 1, labels, NULL), -EINVAL, "63 characters");
	assert_error(vaccel_classify(session, "", picture, 9, 1, labels, NULL), -EINVAL, "model's name");
	assert_error(vaccel_classify(session, "../etc", picture, 9, 1, labels, NULL), -EINVAL, "model's name");
	assert_error(vaccel_classify(session, "tiny", picture, 9, 0, labels, NULL), -EINVAL, "k is 0");
	assert_error(vaccel_classify(session, "tiny", picture, 9, UINT32_MAX, labels, NULL), -EINVAL,
		     "k is 4294967295");
	assert_error(vaccel_classify(session, "tiny", picture, 9, 1, NULL, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_classify(session, "tiny", NULL, 9, 1, labels, NULL), -EINVAL, "NULL");
	assert_error(vaccel_classify(session, "tiny", picture, 0, 1, labels, NULL), -EINVAL, "no bytes");
	assert_error(vaccel_classify(NULL, "tiny", picture, 9, 1, labels, NULL), -EINVAL, "session");
	assert_int_equal(tiny_ops_seen(), before);
}

/* ---- INFER ---- */

struct run {
	float x[6];
	float sum[3];
	char words[32];
	struct vaccel_tensor in, out[2];
};

static void run_init(struct run *run)
{
	memset(run, 0, sizeof(*run));
	for (int i = 0; i < 6; i++)
		run->x[i] = (float)i;
	run->in = (struct vaccel_tensor){ .size = sizeof(run->in),
					  .name = "x",
					  .dtype = VACCEL_FLOAT32,
					  .rank = 2,
					  .dims = { 3, 2 },
					  .data = run->x,
					  .len = sizeof(run->x) };
	run->out[0] = (struct vaccel_tensor){
		.size = sizeof(run->out[0]), .name = "sum", .data = run->sum, .room = sizeof(run->sum)
	};
	run->out[1] = (struct vaccel_tensor){
		.size = sizeof(run->out[1]), .name = "words", .data = run->words, .room = sizeof(run->words)
	};
}

static int infer(struct run *run)
{
	return vaccel_infer(session, "tiny", &run->in, 1, run->out, 2);
}

static void run_check(const struct run *run)
{
	const char *text;
	size_t len;

	assert_true(run->sum[0] == 1 && run->sum[1] == 5 && run->sum[2] == 9);
	assert_int_equal(run->out[0].dtype, VACCEL_FLOAT32);
	assert_true(run->out[0].rank == 1 && run->out[0].dims[0] == 3 && run->out[0].len == 12);
	assert_int_equal(run->out[1].dtype, VACCEL_STRING);
	assert_int_equal(run->out[1].len, 14);
	assert_ok(vaccel_tensor_string(&run->out[1], 0, &text, &len));
	assert_true(len == 2 && !memcmp(text, "hi", 2));
	assert_ok(vaccel_tensor_string(&run->out[1], 1, &text, &len));
	assert_true(len == 4 && !memcmp(text, "you!", 4));
	assert_error(vaccel_tensor_string(&run->out[1], 2, &text, &len), -ENOENT, "string 2");
	assert_error(vaccel_tensor_string(&run->out[0], 0, &text, &len), -EINVAL, "string");
}

static void test_infer(void **state)
{
	struct run run;

	run_init(&run);
	assert_ok(infer(&run));
	run_check(&run);
	assert_error(vaccel_infer(session, "absent", &run.in, 1, run.out, 2), -ENOENT, "no such model");
}

static void test_infer_small_room(void **state)
{
	struct run run;

	run_init(&run);
	run.out[0].room = 8;
	run.out[1].room = 0;
	run.out[1].data = NULL;
	assert_error(infer(&run), -ERANGE, "output sum needs 12 bytes, there is room for 8");
	assert_true(run.out[0].len == 12 && run.out[0].dims[0] == 3 && run.out[0].room == 8);
	assert_int_equal(run.out[1].len, 14);
	assert_true(run.sum[0] == 0 && run.sum[2] == 0);
	/* What fits is there all the same. */
	run.out[1].data = run.words;
	run.out[1].room = run.out[1].len;
	assert_error(infer(&run), -ERANGE, "output sum");
	assert_memory_equal(run.words, tiny.words, 14);
	run.out[0].room = run.out[0].len;
	assert_ok(infer(&run));
	run_check(&run);
}

static void other_name(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	strcpy(sum->name, "mus");
}

static void endless_name(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	memset(words->name, 'w', sizeof(words->name));
}

static void no_type(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->dtype = htole32(20);
}

static void rank_9(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->rank = htole32(9);
}

static void any_rank(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->rank = htole32(UINT32_MAX);
}

static void negative(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->dims[0] = (int64_t)htole64((uint64_t)-1);
}

static void enormous(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->rank = htole32(2);
	sum->dims[0] = sum->dims[1] = (int64_t)htole64(UINT64_C(1) << 32);
	sum->len = 0;
}

/* 2 to the 62nd elements of 4 bytes: the product is 0 when nobody looks. */
static void wraps(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->dims[0] = (int64_t)htole64(UINT64_C(1) << 62);
	sum->len = 0;
}

static void other_len(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	sum->len = htole64(8);
}

static void huge_len(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	words->len = htole64(UINT64_MAX);
}

static void no_table(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	words->len = htole64(7);
}

static void words_and_more(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words)
{
	words->len = htole64(15);
}

static void test_infer_bad_answers(void **state)
{
	static const struct {
		void (*spoil)(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words);
		const char *words;
	} cases[] = {
		{ other_name, "about output mus, not sum" },
		{ endless_name, "not words" },
		{ no_type, "type 20" },
		{ rank_9, "shape that cannot be" },
		{ any_rank, "shape that cannot be" },
		{ negative, "shape that cannot be" },
		{ enormous, "shape that cannot be" },
		{ wraps, "shape that cannot be" },
		{ other_len, "8 bytes, which its shape does not have" },
		{ huge_len, "which its shape does not have" },
		{ no_table, "7 bytes, which its shape does not have" },
		{ words_and_more, "strings of output words" },
	};
	struct run run;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run_init(&run);
		run.out[0].len = 4711;
		TINY_SET(output, cases[i].spoil);
		assert_error(infer(&run), -EPROTO, cases[i].words);
		assert_true(run.out[0].len == 4711 && run.out[0].dtype == 0 && run.out[1].len == 0);
	}
	TINY_SET(output, NULL);
	TINY_SET(words, "\2\0\0\0\5\0\0\0hiyou!");
	run_init(&run);
	assert_error(infer(&run), -EPROTO, "strings of output words");
	TINY_SET(words, "\2\0\0\0\xff\xff\xff\xffhiyou!");
	assert_error(infer(&run), -EPROTO, "strings of output words");
	TINY_SET(words, TINY_WORDS);
	assert_ok(infer(&run));
	run_check(&run);
}

static void test_infer_mistakes(void **state)
{
	struct vaccel_tensor many[VACCEL_MAX_TENSORS + 1];
	uint32_t before = tiny_ops_seen();
	char name[200];
	struct run run;

#define WRONG(member_, value_, code_, words_)             \
	do {                                              \
		run_init(&run);                           \
		run.member_ = (value_);                   \
		assert_error(infer(&run), code_, words_); \
	} while (0)
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	WRONG(in.name, NULL, -EINVAL, "input 0 has no name");
	WRONG(in.name, name, -EINVAL, "127 characters");
	WRONG(in.name, "", -EINVAL, "empty");
	WRONG(out[1].name, NULL, -EINVAL, "output 1 has no name");
	WRONG(out[1].name, "sum", -EINVAL, "given twice");
	WRONG(in.size, 0, -EINVAL, "input 0 has size 0");
	WRONG(in.size, 8, -EINVAL, "input 0 has size 8");
	WRONG(in.size, SIZE_MAX, -EINVAL, "input 0 has size");
	WRONG(out[1].size, sizeof(struct vaccel_tensor) + 8, -EINVAL, "output 1 has size");
	WRONG(in.dtype, 0, -EINVAL, "type 0");
	WRONG(in.rank, 9, -EINVAL, "9 dimensions");
	WRONG(in.dims[0], -1, -EINVAL, "below 0");
	WRONG(in.dims[0], 4, -EINVAL, "input x");
	WRONG(in.dims[0], INT64_MAX, -E2BIG, "larger than any memory");
	WRONG(in.len, 20, -EINVAL, "input x");
	WRONG(in.data, NULL, -EINVAL, "NULL");
	WRONG(out[0].data, NULL, -EINVAL, "NULL");
	run_init(&run);
	assert_error(vaccel_infer(session, NULL, &run.in, 1, run.out, 2), -EINVAL, "no model is named");
	assert_error(vaccel_infer(session, "tiny", NULL, 1, run.out, 2), -EINVAL, "inputs");
	assert_error(vaccel_infer(session, "tiny", &run.in, 1, NULL, 2), -EINVAL, "outputs");
	assert_error(vaccel_infer(session, "tiny", &run.in, 1, run.out, 0), -EINVAL, "no output");
	for (int i = 0; i <= VACCEL_MAX_TENSORS; i++)
		many[i] = run.in;
	assert_error(vaccel_infer(session, "tiny", many, 14, run.out, 1), -EINVAL, "14 inputs and 1 outputs");
	assert_error(vaccel_infer(session, "tiny", many, SIZE_MAX, run.out, 2), -EINVAL, "inputs");
	assert_int_equal(tiny_ops_seen(), before);
}

/* Elements of strings are read within their bounds, whatever they say by now. */
static void test_strings(void **state)
{
	char data[16] = { 1, 0, 0, 0, 7, 0, 0, 0, 'a' };
	struct vaccel_tensor tensor = {
		.size = sizeof(tensor), .dtype = VACCEL_STRING, .rank = 1, .dims = { 2 }, .data = data, .len = 16
	};
	const char *text;
	size_t len;

	assert_ok(vaccel_tensor_string(&tensor, 1, &text, &len));
	assert_true(text == data + 9 && len == 7);
	data[4] = 8;
	assert_ok(vaccel_tensor_string(&tensor, 0, &text, &len));
	assert_error(vaccel_tensor_string(&tensor, 1, &text, &len), -EINVAL, "string 1");
	memset(data, 0xff, 8);
	assert_error(vaccel_tensor_string(&tensor, 0, &text, &len), -EINVAL, "string 0");
	tensor.dims[0] = INT64_MAX;
	assert_error(vaccel_tensor_string(&tensor, 0, &text, &len), -EINVAL, "none");
	tensor.rank = 9;
	assert_error(vaccel_tensor_string(&tensor, 0, &text, &len), -EINVAL, "none");
	assert_error(vaccel_tensor_string(NULL, 0, &text, &len), -EINVAL, "no tensor");
}

static void test_types(void **state)
{
	assert_int_equal(vaccel_dtype_size(VACCEL_FLOAT32), 4);
	assert_int_equal(vaccel_dtype_size(VACCEL_COMPLEX128), 16);
	assert_int_equal(vaccel_dtype_size(VACCEL_STRING), 0);
	assert_string_equal(vaccel_dtype_name(VACCEL_BFLOAT16), "bfloat16");
	assert_null(vaccel_dtype_name(VACCEL_DTYPE_ANY));
	assert_null(vaccel_dtype_name(20));
	assert_int_equal(vaccel_dtype_size(UINT32_MAX), 0);
}

/* ---- Without waiting ---- */

static struct vaccel_request *next(void)
{
	struct pollfd p = { .fd = vaccel_context_fd(context), .events = POLLIN };
	struct vaccel_request *request = NULL;
	int r;

	while ((r = vaccel_context_next(context, &request)) == -EAGAIN)
		poll(&p, 1, -1);
	assert_ok(r);
	return request;
}

static void test_submit(void **state)
{
	struct vaccel_submit_options options = { .size = sizeof(options), .user_data = &options, .deadline_ms = 60000 };
	struct vaccel_request *first, *second;
	struct vaccel_classified about;
	struct vaccel_label labels[3];
	struct run run;

	run_init(&run);
	assert_ok(vaccel_infer_submit(session, "tiny", &run.in, 1, run.out, 2, &options, &first));
	assert_ok(vaccel_request_wait(first, -1));
	/* It may be asked again. */
	assert_ok(vaccel_request_wait(first, 0));
	run_check(&run);
	assert_ptr_equal(vaccel_request_user_data(first), &options);
	pthread_mutex_lock(&tiny.backend.lock);
	assert_int_equal(tiny.deadline_ms, 60000);
	pthread_mutex_unlock(&tiny.backend.lock);
	vaccel_request_free(first);
	assert_ok(vaccel_classify_submit(session, "tiny", picture, sizeof(picture), 3, labels, &about, NULL, &first));
	second = next();
	assert_ptr_equal(first, second);
	assert_ok(vaccel_request_wait(second, 0));
	check_labels(labels);
	assert_int_equal(about.width, 28);
	vaccel_request_free(second);
	/* Nobody asks for its result. */
	assert_ok(vaccel_classify_submit(session, "tiny", picture, sizeof(picture), 3, labels, NULL, NULL, &first));
	vaccel_request_free(first);
}

static void test_submit_fails(void **state)
{
	struct vaccel_submit_options options = { .size = sizeof(options), .reserved = 1 };
	struct vaccel_request *request = NULL;
	struct vaccel_label labels[3];
	struct run run;

	run_init(&run);
	run.out[0].room = 4;
	assert_ok(vaccel_infer_submit(session, "tiny", &run.in, 1, run.out, 2, NULL, &request));
	assert_error(vaccel_request_wait(request, -1), -ERANGE, "output sum needs 12 bytes");
	assert_error(vaccel_request_wait(request, -1), -ERANGE, "output sum needs 12 bytes");
	assert_int_equal(run.out[0].len, 12);
	vaccel_request_free(request);
	TINY_SET(classified, too_many);
	assert_ok(vaccel_classify_submit(session, "tiny", picture, 9, 3, labels, NULL, NULL, &request));
	assert_error(vaccel_request_wait(request, -1), -EPROTO, "4 labels");
	vaccel_request_free(request);
	assert_ok(vaccel_classify_submit(session, "absent", picture, 9, 3, labels, NULL, NULL, &request));
	assert_error(vaccel_request_wait(request, -1), -ENOENT, "no such model");
	vaccel_request_free(request);
	request = NULL;
	assert_error(vaccel_classify_submit(session, "tiny", picture, 9, 3, labels, NULL, &options, &request), -EINVAL,
		     "reserved");
	assert_error(vaccel_infer_submit(session, "tiny", &run.in, 1, run.out, 0, NULL, &request), -EINVAL,
		     "no output");
	assert_error(vaccel_infer_submit(session, "tiny", &run.in, 1, run.out, 2, NULL, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_classify_submit(session, NULL, picture, 9, 3, labels, NULL, NULL, &request), -EINVAL,
		     "model");
	assert_null(request);
}

/* ---- What there is ---- */

static void test_catalog(void **state)
{
	const struct vaccel_model_row *row;
	struct vaccel_catalog *catalog;

	assert_ok(vaccel_catalog_new(session, &catalog));
	row = vaccel_catalog_row(catalog, 2);
	assert_non_null(row);
	assert_string_equal(row->name, "model-2");
	assert_string_equal(row->framework, "none?");
	assert_true(row->bytes == 1002 && row->n_labels == 2 && row->flags == VACCEL_MODEL_CLASSIFIES);
	assert_int_equal(row->hash[31], 2);
	assert_null(vaccel_catalog_row(catalog, 3));
	assert_null(vaccel_catalog_row(catalog, SIZE_MAX));
	assert_int_equal(vaccel_catalog_changes(catalog), 77);
	vaccel_catalog_free(catalog);
	vaccel_catalog_free(NULL);
	assert_null(vaccel_catalog_row(NULL, 0));
	assert_error(vaccel_catalog_new(session, NULL), -EINVAL, "nowhere");
	assert_error(vaccel_catalog_new(NULL, &catalog), -EINVAL, "session");
	/* More than the first question had room for. */
	TINY_SET(n_models, 2000);
	assert_ok(vaccel_catalog_new(session, &catalog));
	assert_string_equal(vaccel_catalog_row(catalog, 1999)->name, "model-1999");
	assert_null(vaccel_catalog_row(catalog, 2000));
	vaccel_catalog_free(catalog);
	TINY_SET(n_models, 0);
	assert_ok(vaccel_catalog_new(session, &catalog));
	assert_null(vaccel_catalog_row(catalog, 0));
	vaccel_catalog_free(catalog);
}

static void more_rows(struct vaccel_models *head, struct vaccel_model_row *rows)
{
	head->n_rows = htole32(le32toh(head->n_rows) + 1);
}

static void all_models(struct vaccel_models *head, struct vaccel_model_row *rows)
{
	head->n_models = UINT32_MAX;
	head->n_rows = htole32(64);
}

static void nameless(struct vaccel_models *head, struct vaccel_model_row *rows)
{
	rows[1].name[0] = 0;
}

static void strange(struct vaccel_models *head, struct vaccel_model_row *rows)
{
	strcpy(rows[2].name, "$(reboot)");
}

static void no_ends(struct vaccel_models *head, struct vaccel_model_row *rows)
{
	memset(&rows[1], 'x', sizeof(rows[1]));
}

static void test_catalog_bad_answers(void **state)
{
	struct vaccel_catalog *catalog;

	TINY_SET(models, more_rows);
	assert_error(vaccel_catalog_new(session, &catalog), -EPROTO, "4 rows of 3");
	TINY_SET(models, all_models);
	assert_error(vaccel_catalog_new(session, &catalog), -EPROTO, "malformed");
	TINY_SET(models, nameless);
	assert_error(vaccel_catalog_new(session, &catalog), -EPROTO, "one that is called \"\"");
	TINY_SET(models, strange);
	assert_error(vaccel_catalog_new(session, &catalog), -EPROTO, "one that is called \"$(reboot)\"");
	TINY_SET(models, no_ends);
	assert_ok(vaccel_catalog_new(session, &catalog));
	assert_int_equal(strlen(vaccel_catalog_row(catalog, 1)->name), 63);
	assert_int_equal(strlen(vaccel_catalog_row(catalog, 1)->framework), 31);
	vaccel_catalog_free(catalog);
	TINY_SET(models, NULL);
	TINY_SET(n_models, 1000);
	TINY_SET(growing, true);
	assert_error(vaccel_catalog_new(session, &catalog), -EAGAIN, "more of them each time");
}

static void test_model(void **state)
{
	const struct vaccel_tensor_desc *tensor;
	const struct vaccel_model_about *about;
	struct vaccel_model *model;

	assert_ok(vaccel_model_new(session, "tiny", &model));
	about = vaccel_model_about(model);
	assert_string_equal(about->row.name, "tiny-7");
	assert_string_equal(about->signature, "serving");
	assert_string_equal(about->description, "adds?up");
	assert_true(about->width == 28 && about->height == 14 && about->channels == 3);
	tensor = vaccel_model_tensor(model, VACCEL_IN, 0);
	assert_string_equal(tensor->name, "x");
	assert_true(tensor->dtype == VACCEL_FLOAT32 && tensor->rank == 2 && tensor->dims[0] == -1 &&
		    tensor->dims[1] == 2);
	assert_null(vaccel_model_tensor(model, VACCEL_IN, 1));
	tensor = vaccel_model_tensor(model, VACCEL_OUT, 0);
	assert_string_equal(tensor->name, "sum");
	assert_true(tensor->rank == UINT32_MAX && tensor->dims[0] == 0);
	assert_string_equal(vaccel_model_tensor(model, VACCEL_OUT, 1)->name, "words");
	assert_null(vaccel_model_tensor(model, VACCEL_OUT, 2));
	assert_null(vaccel_model_tensor(model, VACCEL_INOUT, 0));
	assert_string_equal(vaccel_model_label(model, 0), "zero");
	assert_string_equal(vaccel_model_label(model, 1), "o?e");
	assert_null(vaccel_model_label(model, 2));
	vaccel_model_free(model);
	vaccel_model_free(NULL);
	assert_error(vaccel_model_new(session, "absent", &model), -ENOENT, "no such model");
	assert_error(vaccel_model_new(session, "", &model), -EINVAL, "model's name");
	assert_error(vaccel_model_new(session, "tiny", NULL), -EINVAL, "nowhere");
}

static void many_tensors(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->n_inputs = htole32(UINT32_MAX);
}

static void tensors_missing(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->n_tensors = htole32(2);
}

static void deep_tensor(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	tensors[2].rank = htole32(9);
}

static void below_any(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	tensors[0].dims[1] = (int64_t)htole64((uint64_t)-2);
}

static void endless_label(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	labels[8] = 'x';
}

static void labels_missing(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->row.n_labels = htole32(3);
}

static void endless_text(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->labels_len = UINT64_MAX;
}

static void endless_labels(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->row.n_labels = UINT32_MAX;
}

static void nameless_model(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->row.name[0] = 0;
}

static void test_model_bad_answers(void **state)
{
	static const struct {
		void (*spoil)(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels);
		const char *words;
	} cases[] = {
		{ many_tensors, "4294967295 inputs" },
		{ tensors_missing, "2 tensors of 3" },
		{ deep_tensor, "rank 9" },
		{ below_any, "dimension -2" },
		{ endless_label, "label 1 of 2" },
		{ labels_missing, "label 2 of 3" },
		{ endless_text, "malformed" },
		{ endless_labels, "4294967295 labels" },
		{ nameless_model, "called \"\"" },
	};
	struct vaccel_model *model = NULL;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		TINY_SET(about, cases[i].spoil);
		assert_error(vaccel_model_new(session, "tiny", &model), -EPROTO, cases[i].words);
	}
	assert_null(model);
	TINY_SET(about, NULL);
	assert_ok(vaccel_model_new(session, "tiny", &model));
	vaccel_model_free(model);
}

/* As many labels as one asked for is not the room that there was. */
static void long_text(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels)
{
	about->labels_len = htole64(100000);
}

static void test_model_grows(void **state)
{
	struct vaccel_model *model;
	uint32_t before = tiny_ops_seen();

	TINY_SET(about, long_text);
	assert_ok(vaccel_model_new(session, "tiny", &model));
	assert_int_equal(tiny_ops_seen(), before + 2);
	assert_string_equal(vaccel_model_label(model, 0), "zero");
	vaccel_model_free(model);
}

/* ---- <vaccel/basic.h> ---- */

static void test_basic(void **state)
{
	struct vaccel_label labels[3];
	struct vaccel_model_row rows[2];
	struct vaccel_tensor_desc tensors[2];
	struct run run;
	struct vaccel_classify_input picture_in = {
		.size = sizeof(picture_in), .model = "tiny", .image = picture, .len = sizeof(picture), .k = 3
	};
	struct vaccel_classify_output picture_out = { .size = sizeof(picture_out), .labels = labels };
	struct vaccel_infer_input in = { .size = sizeof(in), .model = "tiny", .tensors = &run.in, .n_tensors = 1 };
	struct vaccel_infer_output out = { .size = sizeof(out), .tensors = run.out, .n_tensors = 2 };
	struct vaccel_model_list_output list = { .size = sizeof(list), .rows = rows, .room = 2 };
	struct vaccel_model_info_input which = { .size = sizeof(which), .model = "tiny" };
	struct vaccel_model_info_output info = { .size = sizeof(info), .tensors = tensors, .room = 2 };
	vaccel_session_t *basic;

	setenv("VACCEL_TRANSPORT", tiny_url, 1);
	/* The fake has one connection at a time. */
	vaccel_context_free(context);
	context = NULL;
	basic = create_vaccel_session();
	assert_non_null(basic);
	assert_ok(do_operation(basic, VACCEL_OP_IMAGE_CLASSIFY, &picture_in, &picture_out));
	check_labels(labels);
	assert_true(picture_out.about.n_labels == 2 && picture_out.about.width == 28 && picture_out.labels == labels);
	run_init(&run);
	assert_ok(do_operation(basic, VACCEL_OP_INFER, &in, &out));
	run_check(&run);
	assert_ok(do_operation(basic, VACCEL_OP_MODEL_LIST, NULL, &list));
	assert_int_equal(list.n_models, 3);
	assert_string_equal(rows[1].name, "model-1");
	assert_ok(do_operation(basic, VACCEL_OP_MODEL_INFO, &which, &info));
	assert_true(info.about.n_tensors == 3 && info.about.width == 28);
	assert_string_equal(tensors[0].name, "x");
	assert_string_equal(tensors[1].name, "sum");
	assert_error(do_operation(basic, VACCEL_OP_MODEL_LIST, &in, &list), -EINVAL, "no input");
	list.rows = NULL;
	assert_error(do_operation(basic, VACCEL_OP_MODEL_LIST, NULL, &list), -EINVAL, "NULL");
	info.tensors = NULL;
	assert_error(do_operation(basic, VACCEL_OP_MODEL_INFO, &which, &info), -EINVAL, "NULL");
	assert_error(do_operation(basic, VACCEL_OP_INFER, NULL, &out), -EINVAL, "vaccel_infer_input");
	assert_error(do_operation(basic, VACCEL_OP_IMAGE_CLASSIFY, &picture_in, NULL), -EINVAL,
		     "vaccel_classify_output");
	assert_ok(destroy_vaccel_session(basic));
	unsetenv("VACCEL_TRANSPORT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
		TEST(test_classify),
		TEST(test_classify_bad_answers),
		TEST(test_classify_mistakes),
		TEST(test_infer),
		TEST(test_infer_small_room),
		TEST(test_infer_bad_answers),
		TEST(test_infer_mistakes),
		TEST(test_strings),
		TEST(test_types),
		TEST(test_submit),
		TEST(test_submit_fails),
		TEST(test_catalog),
		TEST(test_catalog_bad_answers),
		TEST(test_model),
		TEST(test_model_bad_answers),
		TEST(test_model_grows),
		TEST(test_basic),
	};

	return cmocka_run_group_tests(tests, tiny_make_folder, tiny_remove_folder);
}
