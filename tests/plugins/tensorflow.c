/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin tensorflow, through the functions of its framework: answers against TensorFlow's own, copies, errors, threads.
 *
 *	plugin-tensorflow PLUGIN.so PYTHON MAKER ABORTING.so SHARE
 *
 * SHARE is the tool vaccel-tensorflow-share. MAKER (tensorflow-models) makes the models, with PYTHON. ABORTING.so is a library that ends the process that opens it.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "harness.h"

enum { MAX_DATA = 1 << 16, THREADS = 8, ROUNDS = 100 };

static struct harness h;
static const char *folder, *share_tool;

/* One run: what goes in, and copies of what came out. */
struct io {
	struct vaccel_plugin_tensor in[16];
	size_t n_in;
	const char *out[16];
	size_t n_out;
	struct vaccel_plugin_tensor got[16];
	uint8_t data[16][MAX_DATA];
	uint64_t copied;
	char error[512];
};

static int keep(const struct vaccel_plugin_run *run, size_t output, const struct vaccel_plugin_tensor *t)
{
	struct io *io = run->opaque;

	if (t->len > MAX_DATA)
		return -ENOBUFS;
	io->got[output] = *t;
	if (t->len)
		memcpy(io->data[output], t->data, t->len);
	io->got[output].data = io->data[output];
	return 0;
}

static int run(void *model, struct io *io)
{
	struct vaccel_plugin_run r = {
		.size = sizeof(r),
		.model = model,
		.inputs = io->in,
		.n_inputs = io->n_in,
		.outputs = io->out,
		.n_outputs = io->n_out,
		.emit = keep,
		.opaque = io,
		.copied = &io->copied,
		.report = { .text = io->error, .len = sizeof(io->error) },
	};

	io->copied = 0;
	*io->error = '\0';
	return h.plugin->framework->model_run(&r);
}

/* keys: "key", "value", ... up to NULL. */
static int load(const char *name, const char *signature, const char *const *keys, void **ret_model)
{
	const char *names[8], *values[8];
	char path[512];
	struct vaccel_plugin_model model = {
		.size = sizeof(model),
		.name = name,
		.path = path,
		.signature = signature,
		.keys = names,
		.values = values,
	};

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	for (; keys && keys[0]; keys += 2) {
		names[model.n_keys] = keys[0];
		values[model.n_keys++] = keys[1];
	}
	*h.error = '\0';
	return h.plugin->framework->model_load(&model, ret_model, &h.report);
}

static void *must_load(const char *name)
{
	void *model = NULL;
	int r = load(name, "", NULL, &model);

	CHECK(!r, "%s: error %d: %s", name, r, h.error);
	return model;
}

static void unload(void *model)
{
	if (model)
		h.plugin->framework->model_unload(model);
}

/* FOLDER/NAME, at a multiple of 64, to be freed. */
static void *read_data(const char *name, size_t *ret_len)
{
	char path[512];
	void *data = aligned_alloc(64, MAX_DATA);
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "r");
	if (!f || !data)
		abort();
	*ret_len = fread(data, 1, MAX_DATA, f);
	fclose(f);
	return data;
}

static struct vaccel_plugin_tensor tensor(const char *name, uint32_t dtype, const void *data, size_t len, uint32_t rank,
					  int64_t d0, int64_t d1)
{
	return (struct vaccel_plugin_tensor){
		.name = name,
		.dtype = dtype,
		.rank = rank,
		.dims = { d0, d1 },
		.data = data,
		.len = len,
	};
}

static bool near(const float *a, const float *b, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!(fabsf(a[i] - b[i]) <= 1e-6F * (1 + fabsf(b[i]))))
			return false;
	return true;
}

static struct io *new_io(void)
{
	struct io *io = calloc(1, sizeof(*io));

	if (!io)
		abort();
	return io;
}

/* ---- answers ---- */

static void check_row(void *model, uint32_t dir, size_t index, const char *name, uint32_t dtype, uint32_t rank,
		      int64_t d0, int64_t d1)
{
	struct vaccel_plugin_tensor t = { 0 };
	int r = h.plugin->framework->model_tensor(model, dir, index, &t);

	if (!name) {
		CHECK(r == -ENOENT, "tensor %u.%zu: %d instead of the end", dir, index, r);
		return;
	}
	if (CHECK(!r, "tensor %s: %d", name, r))
		CHECK(!strcmp(t.name, name) && t.dtype == dtype && t.rank == rank &&
			      (rank < 1 || rank > 8 || t.dims[0] == d0) && (rank < 2 || rank > 8 || t.dims[1] == d1),
		      "tensor %s is '%s', type %u, rank %u, %lld x %lld", name, t.name, t.dtype, t.rank,
		      (long long)t.dims[0], (long long)t.dims[1]);
}

static void check_signature(void)
{
	void *model = must_load("dense");

	if (!model)
		return;
	check_row(model, 1, 0, "x", VACCEL_FLOAT32, 2, -1, 8);
	check_row(model, 1, 1, NULL, 0, 0, 0, 0);
	check_row(model, 2, 0, "y", VACCEL_FLOAT32, 2, -1, 3);
	check_row(model, 2, 1, NULL, 0, 0, 0, 0);
	unload(model);
	model = NULL;
	CHECK(!load("dense", "other", NULL, &model), "signature 'other': %s", h.error);
	if (model)
		check_row(model, 2, 0, "sum", VACCEL_FLOAT32, 0, 0, 0);
	unload(model);
	model = must_load("any");
	if (model)
		check_row(model, 1, 0, "x", VACCEL_FLOAT32, UINT32_MAX, 0, 0);
	unload(model);
}

/* The answers of Python, for the model NAME with NAME.x and NAME.y, in place and off by four bytes. */
static void check_answers(const char *name, void *model, const struct vaccel_plugin_tensor *like)
{
	char file[64];
	size_t len = 0, want_len = 0;
	struct io *io = new_io();
	uint8_t *x, *moved = aligned_alloc(64, MAX_DATA + 64);
	float *want;
	int r;

	snprintf(file, sizeof(file), "%s.x", name);
	x = read_data(file, &len);
	snprintf(file, sizeof(file), "%s.y", name);
	want = read_data(file, &want_len);
	io->in[0] = *like;
	io->in[0].data = x;
	io->in[0].len = len;
	io->n_in = io->n_out = 1;
	io->out[0] = "y";
	r = run(model, io);
	CHECK(!r, "%s: error %d: %s", name, r, io->error);
	CHECK(!r && io->copied == 0, "%s: %llu bytes copied of an aligned input", name, (unsigned long long)io->copied);
	CHECK(!r && io->got[0].len == want_len && near((float *)io->data[0], want, want_len / 4),
	      "%s: not Python's answer", name);
	memcpy(moved + 4, x, len);
	io->in[0].data = moved + 4;
	r = run(model, io);
	CHECK(!r && io->copied == len, "%s: unaligned: error %d, %llu bytes copied of %zu", name, r,
	      (unsigned long long)io->copied, len);
	CHECK(!r && near((float *)io->data[0], want, want_len / 4), "%s: unaligned: not Python's answer", name);
	free(moved);
	free(want);
	free(x);
	free(io);
}

static void check_dense(void)
{
	const struct vaccel_plugin_tensor like = tensor("x", VACCEL_FLOAT32, NULL, 0, 2, 5, 8);
	void *model = must_load("dense");

	if (model)
		check_answers("dense", model, &like);
	unload(model);
}

static void check_convolution(void)
{
	const struct vaccel_plugin_tensor like = {
		.name = "x", .dtype = VACCEL_FLOAT32, .rank = 4, .dims = { 2, 32, 32, 3 }
	};
	void *model = must_load("convolution");

	if (model)
		check_answers("convolution", model, &like);
	unload(model);
}

/* Input that may not be written, and of which nothing may be known when the run has ended. */
static void check_lent(void)
{
	float *x = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io *io = new_io();
	void *model = must_load("any");
	int r;

	if (x == MAP_FAILED)
		abort();
	x[0] = 1;
	x[1] = NAN;
	mprotect(x, 4096, PROT_READ);
	io->in[0] = tensor("x", VACCEL_FLOAT32, x, 4096, 2, 32, 32);
	io->n_in = io->n_out = 1;
	io->out[0] = "y";
	r = model ? run(model, io) : -1;
	munmap(x, 4096);
	CHECK(!r && io->copied == 0 && io->got[0].rank == 2 && io->got[0].dims[1] == 32 &&
		      ((float *)io->data[0])[0] == 1 && isnan(((float *)io->data[0])[1]),
	      "identity of read-only memory: error %d: %s", r, io->error);
	io->in[0] = tensor("x", VACCEL_FLOAT32, NULL, 0, 2, 0, 7);
	r = model ? run(model, io) : -1;
	CHECK(!r && io->got[0].len == 0 && io->got[0].dims[1] == 7, "no elements: error %d: %s", r, io->error);
	unload(model);
	free(io);
}

static void check_two(void)
{
	static const float a[2] __attribute__((aligned(64))) = { 0.5F, 2 };
	static const int32_t b[2] __attribute__((aligned(64))) = { 7, -12 };
	static const uint32_t lengths[2] = { 3, 5 };
	struct io *io = new_io();
	void *model = must_load("two");
	int r;

	io->in[0] = tensor("b", VACCEL_INT32, b, sizeof(b), 1, 2, 0);
	io->in[1] = tensor("a", VACCEL_FLOAT32, a, sizeof(a), 1, 2, 0);
	io->n_in = io->n_out = 2;
	io->out[0] = "text";
	io->out[1] = "sum";
	r = model ? run(model, io) : -1;
	CHECK(!r && io->got[0].dtype == VACCEL_STRING && io->got[0].len == 16 && !memcmp(io->data[0], lengths, 8) &&
		      !memcmp(io->data[0] + 8, "7<--12<-", 8),
	      "strings: error %d: %s", r, io->error);
	CHECK(!r && ((float *)io->data[1])[0] == 7.5F && ((float *)io->data[1])[1] == -10, "sum");
	CHECK(!r && io->copied == 0, "two inputs: %llu bytes copied", (unsigned long long)io->copied);
	unload(model);
	free(io);
}

static void check_text(void)
{
	/* Long enough for TensorFlow to put the second elsewhere. */
	static const char second[] = "a text that is longer than what fits into an object of TensorFlow's";
	uint8_t data[256];
	uint32_t lengths[2] = { 1, sizeof(second) - 1 };
	struct io *io = new_io();
	void *model = must_load("text");
	size_t i;
	int r;

	memcpy(data, lengths, 8);
	data[8] = 'z';
	memcpy(data + 9, second, sizeof(second) - 1);
	io->in[0] = tensor("text", VACCEL_STRING, data, 9 + sizeof(second) - 1, 2, 1, 2);
	io->n_in = 1;
	io->n_out = 2;
	io->out[0] = "upper";
	io->out[1] = "n";
	r = model ? run(model, io) : -1;
	CHECK(!r && io->copied == io->in[0].len && ((int32_t *)io->data[1])[1] == (int32_t)sizeof(second) - 1,
	      "strings in: error %d: %s", r, io->error);
	CHECK(!r && io->got[0].len == io->in[0].len && io->data[0][8] == 'Z' && io->data[0][9] == 'A' &&
		      !memcmp(io->data[0] + 9, "A TEXT", 6),
	      "strings out");
	for (i = 0; i < 4; i++) {
		static const uint32_t wrong[4][2] = { { 1, 1 }, { UINT32_MAX, 1 }, { 1, UINT32_MAX }, { 0, 200 } };

		memcpy(data, wrong[i], 8);
		r = model ? run(model, io) : 0;
		CHECK(r == -EINVAL, "lengths that are wrong (%zu): %d", i, r);
	}
	unload(model);
	free(io);
}

static void check_types(void)
{
	static const struct {
		const char *model, *name, *out;
		uint32_t dtype, size;
	} types[] = {
		{ "types1", "float32", "out_float32", VACCEL_FLOAT32, 4 },
		{ "types1", "float64", "out_float64", VACCEL_FLOAT64, 8 },
		{ "types1", "int32", "out_int32", VACCEL_INT32, 4 },
		{ "types1", "uint8", "out_uint8", VACCEL_UINT8, 1 },
		{ "types1", "int16", "out_int16", VACCEL_INT16, 2 },
		{ "types1", "int8", "out_int8", VACCEL_INT8, 1 },
		{ "types1", "complex64", "out_complex64", VACCEL_COMPLEX64, 8 },
		{ "types2", "int64", "out_int64", VACCEL_INT64, 8 },
		{ "types2", "bool", "out_bool", VACCEL_BOOL, 1 },
		{ "types2", "bfloat16", "out_bfloat16", VACCEL_BFLOAT16, 2 },
		{ "types2", "uint16", "out_uint16", VACCEL_UINT16, 2 },
		{ "types2", "complex128", "out_complex128", VACCEL_COMPLEX128, 16 },
		{ "types2", "float16", "out_float16", VACCEL_FLOAT16, 2 },
		{ "types2", "uint32", "out_uint32", VACCEL_UINT32, 4 },
		{ "types2", "uint64", "out_uint64", VACCEL_UINT64, 8 },
	};
	static const uint8_t ones[64] __attribute__((aligned(64))) = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	static const char *const names[] = { "types1", "types2" };
	size_t i, j;

	for (j = 0; j < 2; j++) {
		void *model = must_load(names[j]);
		struct io *io = new_io();
		int r;

		for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
			if (!strcmp(types[i].model, names[j])) {
				io->in[io->n_in++] =
					tensor(types[i].name, types[i].dtype, ones, 3 * types[i].size, 1, 3, 0);
				io->out[io->n_out++] = types[i].out;
			}
		r = model ? run(model, io) : -1;
		CHECK(!r && io->copied == 0, "%s: error %d: %s", names[j], r, io->error);
		for (i = 0; i < io->n_out && !r; i++)
			CHECK(io->got[i].dtype == io->in[i].dtype && io->got[i].len == io->in[i].len &&
				      !memcmp(io->data[i], ones, io->in[i].len),
			      "%s comes back as type %u", io->out[i], io->got[i].dtype);
		unload(model);
		free(io);
	}
}

/* Models that would keep an input get a copy, which outlives the caller's. */
static void check_keepers(void)
{
	static const struct {
		const char *name, *out;
	} models[] = { { "keeper", "before" }, { "sometimes", "y" } };
	size_t i;

	for (i = 0; i < 2; i++) {
		float *x = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		void *model = must_load(models[i].name);
		struct io *io = new_io();
		int r;

		if (x == MAP_FAILED)
			abort();
		x[0] = 3;
		io->in[0] = tensor("x", VACCEL_FLOAT32, x, 16, 1, 4, 0);
		io->n_in = io->n_out = 1;
		io->out[0] = models[i].out;
		r = model ? run(model, io) : -1;
		CHECK(!r && io->copied == 16, "%s: error %d (%s), %llu bytes copied", models[i].name, r, io->error,
		      (unsigned long long)io->copied);
		/* The variable is what was assigned, though that memory is gone. */
		munmap(x, 4096);
		x = aligned_alloc(64, 64);
		if (!x)
			abort();
		memset(x, 0, 64);
		io->in[0].data = x;
		r = model ? run(model, io) : -1;
		CHECK(!r && ((float *)io->data[0])[0] == (i ? 3 : 0), "%s: then %g", models[i].name,
		      (double)((float *)io->data[0])[0]);
		unload(model);
		free(x);
		free(io);
	}
}

/* More choices of outputs than are prepared for. */
static void check_choices(void)
{
	static const char *const names[] = { "y00", "y01", "y02", "y03", "y04", "y05",
					     "y06", "y07", "y08", "y09", "y10", "y11" };
	static const float x __attribute__((aligned(64))) = 100;
	struct io *io = new_io();
	void *model = must_load("many");
	unsigned int choice, i;
	int r = model ? 0 : -1;

	io->in[0] = tensor("x", VACCEL_FLOAT32, &x, 4, 0, 0, 0);
	io->n_in = 1;
	for (choice = 1; choice < 4096 && !r; choice += 37) {
		unsigned int number[12];

		io->n_out = 0;
		for (i = 12; i-- > 0;)
			if (choice >> i & 1) {
				number[io->n_out] = i;
				io->out[io->n_out++] = names[i];
			}
		r = run(model, io);
		for (i = 0; i < io->n_out && !r; i++)
			r = ((float *)io->data[i])[0] == 100 + (float)number[i] ? 0 : -EBADMSG;
		CHECK(!r, "choice %u: error %d: %s", choice, r, io->error);
	}
	io->n_out = 2;
	io->out[0] = io->out[1] = "y03";
	r = model ? run(model, io) : -1;
	CHECK(!r && ((float *)io->data[1])[0] == 103, "the same output twice: %d", r);
	unload(model);
	free(io);
}

static void check_frozen(void)
{
	static const char *const keys[] = { "inputs", "picture=x:0", "outputs", "y=Identity:0, again=Identity", NULL };
	static const char *const output[] = { "outputs", "times", NULL };
	static const char *const wrong[] = { "outputs", "y=nothing:0", NULL };
	struct vaccel_plugin_tensor like = tensor("x", VACCEL_FLOAT32, NULL, 0, 2, 5, 8);
	void *model = NULL;
	int r = load("frozen.pb", "", keys, &model);

	like.name = "picture";
	if (CHECK(!r, "frozen graph: error %d: %s", r, h.error)) {
		check_row(model, 1, 0, "picture", VACCEL_FLOAT32, 2, -1, 8);
		check_row(model, 2, 0, "again", VACCEL_FLOAT32, 2, -1, 3);
		check_row(model, 2, 1, "y", VACCEL_FLOAT32, 2, -1, 3);
		check_answers("dense", model, &like);
	}
	unload(model);
	model = must_load("frozen.pb");
	if (model) {
		check_row(model, 1, 0, "x", VACCEL_FLOAT32, 2, -1, 8);
		check_row(model, 2, 0, "Identity", VACCEL_FLOAT32, 2, -1, 3);
	}
	unload(model);
	model = NULL;
	r = load("open.pb", "", NULL, &model);
	CHECK(r == -EINVAL && strstr(h.error, "plus, times") && strstr(h.error, "'outputs'"), "two ends: %d: %s", r,
	      h.error);
	CHECK(!load("open.pb", "", output, &model), "one of two ends: %s", h.error);
	unload(model);
	r = load("open.pb", "", wrong, &model);
	CHECK(r == -ENOENT && strstr(h.error, "nothing:0"), "no such output: %d: %s", r, h.error);
	r = load("open.pb", "serving_default", NULL, &model);
	CHECK(r == -EINVAL && strstr(h.error, "signature"), "signature of a frozen graph: %d: %s", r, h.error);
}

/* ---- errors ---- */

static void check_broken(void)
{
	static const char *const tags[] = { "tags", "serve, gpu", NULL }, *const train[] = { "tags", "train", NULL };
	static const char *const unknown[] = { "colour", "red", NULL };
	static const struct {
		const char *name, *signature;
		const char *const *keys;
		int error;
		const char *text;
	} rows[] = {
		{ "absent", "", NULL, -ENOENT, "its file cannot be found" },
		{ "empty", "", NULL, -ENOENT, "Could not find SavedModel" },
		{ "truncated", "", NULL, 0, "SavedModel" },
		{ "headless", "", NULL, -ENOENT, "variables" },
		{ "tagged", "", NULL, -ENOENT, "serve" },
		{ "dense", "", tags, -ENOENT, "gpu" },
		{ "dense", "nothing", NULL, -ENOENT, "no signature 'nothing'; there '" },
		{ "dense", "", unknown, -EINVAL, "'colour'" },
		{ "quantised", "", NULL, -ENOTSUP, "type 11" },
		{ "garbage.pb", "", NULL, -EINVAL, "frozen graph" },
	};
	void *model = NULL;
	size_t i;
	int r;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r = load(rows[i].name, rows[i].signature, rows[i].keys, &model);
		CHECK(r < 0 && (!rows[i].error || r == rows[i].error), "%s: error %d instead of %d", rows[i].name, r,
		      rows[i].error);
		CHECK(strstr(h.error, rows[i].text) && !strchr(h.error, '\n'), "%s: says '%s'", rows[i].name, h.error);
	}
	CHECK(!load("tagged", "", train, &model), "tags = train: %s", h.error);
	unload(model);
}

struct wrong {
	const char *model;
	struct vaccel_plugin_tensor in;
	const char *out;
	int error;
	const char *text;
};

static void check_run_errors(void)
{
	static float x[24] __attribute__((aligned(64))) = { 1000, 1 };
	static int64_t index[2] __attribute__((aligned(64))) = { 3, 10 };
	const struct wrong rows[] = {
		{ "dense", tensor("x", VACCEL_FLOAT32, x, 96, 2, 3, 8), "z", -EINVAL, "no output 'z'" },
		{ "dense", tensor("z", VACCEL_FLOAT32, x, 96, 2, 3, 8), "y", -EINVAL, "no input 'z'" },
		{ "dense", tensor("x", VACCEL_INT32, x, 96, 2, 3, 8), "y", -EINVAL, "type" },
		{ "dense", tensor("x", VACCEL_FLOAT32, x, 96, 2, 8, 3), "y", -EINVAL,
		  "the shape [8, 3], the model takes [?, 8]" },
		{ "dense", tensor("x", VACCEL_FLOAT32, x, 96, 1, 24, 0), "y", -EINVAL, "shape" },
		{ "dense", tensor("x", VACCEL_FLOAT32, x, 96, 2, 4, 8), "y", -EINVAL, "96 bytes" },
		{ "dense", tensor("x", VACCEL_FLOAT32, x, 96, 2, INT64_MAX, 8), "y", -EINVAL, "shape" },
		{ "any", tensor("x", VACCEL_FLOAT32, x, 96, 2, -3, -8), "y", -EINVAL, "shape" },
		{ "any", tensor("x", VACCEL_FLOAT32, x, 96, 9, 1, 1), "y", -EINVAL, "shape" },
		{ "gather", tensor("index", VACCEL_INT64, index, 16, 1, 2, 0), "row", -EINVAL, "[0, 10)" },
		{ "refuse", tensor("x", VACCEL_FLOAT32, x, 8, 1, 2, 0), "y", -EINVAL, "x is large" },
	};
	struct io *io = new_io();
	size_t i;
	int r;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		void *model = must_load(rows[i].model);

		io->in[0] = rows[i].in;
		io->n_in = io->n_out = 1;
		io->out[0] = rows[i].out;
		r = model ? run(model, io) : 0;
		CHECK(r == rows[i].error && strstr(io->error, rows[i].text) && !strchr(io->error, '\n'),
		      "%s, row %zu: %d: %s", rows[i].model, i, r, io->error);
		/* It goes on serving. */
		x[0] = 2;
		index[1] = 9;
		if (i >= 9)
			CHECK(model && !run(model, io), "%s after its failure: %s", rows[i].model, io->error);
		x[0] = 1000;
		index[1] = 10;
		io->n_in = 0;
		r = model ? run(model, io) : 0;
		CHECK(r == -EINVAL, "%s without inputs: %d: %s", rows[i].model, r, io->error);
		unload(model);
	}
	free(io);
}

/* Reading a variable that a frozen graph has left: the model's fault, and it says so when it runs. */
static void check_unset(void)
{
	static const float x[2] __attribute__((aligned(64)));
	struct io *io = new_io();
	void *model = must_load("variable.pb");
	int r;

	io->in[0] = tensor("x", VACCEL_FLOAT32, x, 8, 1, 2, 0);
	io->n_in = io->n_out = 1;
	io->out[0] = "y";
	r = model ? run(model, io) : 0;
	CHECK(r == -EIO && strstr(io->error, "uninitialized"), "a variable without value: %d: %s", r, io->error);
	unload(model);
	free(io);
}

/* ---- shared weights ---- */

/* FOLDER/NAME-shared out of FOLDER/NAME. */
static int share(const char *name)
{
	char command[2048];

	snprintf(command, sizeof(command), "'%s' '%s/%s' '%s/%s-shared' > '%s/share.log' 2>&1", share_tool, folder,
		 name, folder, name, folder);
	return system(command);
}

/* Where the file is mapped, or NULL; all mappings of it have to be shared and not writable. */
static void *find_mapping(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[1024], access[8];
	void *at = NULL;

	while (f && fgets(line, sizeof(line), f)) {
		const char *found = strstr(line, name);

		if (!found || !strstr(found, "weights.vaccel") || sscanf(line, "%p-%*x %7s", &at, access) != 2)
			continue;
		CHECK(!strcmp(access, "r--s"), "weights are mapped %s", access);
	}
	if (f)
		fclose(f);
	return at;
}

static void check_shared(void)
{
	static const float one[4] __attribute__((aligned(64))) = { 1, 1, 1, 1 };
	const struct vaccel_plugin_tensor like = tensor("x", VACCEL_FLOAT32, NULL, 0, 2, 5, 8);
	struct io *io = new_io();
	void *model, *at;
	int i, r;

	CHECK(!share("dense") && !share("counter"), "%s fails", share_tool);
	CHECK(share("dense") && share("absent"), "%s does not fail", share_tool);
	model = must_load("dense-shared");
	at = find_mapping("dense-shared");
	CHECK(at != NULL, "the weights are not mapped");
	CHECK(mprotect(at, 1, PROT_READ | PROT_WRITE) < 0 && errno == EACCES, "weights can be made writable");
	if (model)
		check_answers("dense", model, &like);
	unload(model);
	CHECK(!find_mapping("dense-shared"), "the weights stay mapped");
	/* A variable that changes is a copy. */
	io->in[0] = tensor("x", VACCEL_FLOAT32, one, sizeof(one), 1, 4, 0);
	io->n_in = io->n_out = 1;
	io->out[0] = "sum";
	for (i = 0; i < 2; i++) {
		model = must_load("counter-shared");
		r = model ? run(model, io) : -1;
		r = r ? r : run(model, io);
		CHECK(!r && ((float *)io->data[0])[3] == 3, "a counter on shared weights, %d: error %d, %g", i, r,
		      (double)((float *)io->data[0])[3]);
		unload(model);
	}
	free(io);
}

/* Changes one byte of the file, or cuts it off there; then it is refused, or a variable has another value. */
static void check_shared_broken(void)
{
	static const struct {
		long at;
		int byte; /* -1: the end */
		int error;
	} rows[] = {
		{ 0, 'w', -EINVAL },	   { 8, 255, -EINVAL },	     { 16, 1, -EINVAL },
		{ 24 + 512, 2, -EINVAL },  { 24, 'X', -EINVAL },     { 24 + 516, 9, -EINVAL },
		{ 24 + 520, 77, -EINVAL }, { 24 + 584, 1, -EINVAL }, { 24 + 591, 127, -EINVAL },
		{ 24 + 592, 1, -EINVAL },  { 1200, -1, -EINVAL },    { 3, -1, -EINVAL },
		{ 0, -1, -EINVAL },
	};
	char path[512];
	size_t i;

	snprintf(path, sizeof(path), "%s/dense-shared/weights.vaccel", folder);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		FILE *f = fopen(path, "r+");
		void *model = NULL;
		uint8_t all[4096];
		size_t len;
		int r;

		if (!f)
			abort();
		len = fread(all, 1, sizeof(all), f);
		fseek(f, rows[i].at, SEEK_SET);
		if (rows[i].byte < 0)
			r = ftruncate(fileno(f), rows[i].at);
		else
			r = fputc(rows[i].byte, f) < 0;
		fclose(f);
		r = r ? r : load("dense-shared", "", NULL, &model);
		CHECK(r == rows[i].error && strstr(h.error, "weights.vaccel"), "weights, row %zu: %d: %s", i, r,
		      h.error);
		unload(r ? NULL : model);
		f = fopen(path, "w");
		if (!f || fwrite(all, 1, len, f) != len)
			abort();
		fclose(f);
	}
	unload(must_load("dense-shared"));
}

/* ---- threads ---- */

struct worker {
	pthread_t thread;
	void *model;
	const char *name;
	unsigned int index;
	int failed;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	const bool dense = !strcmp(w->name, "dense");
	char file[64];
	size_t len = 0, want_len = 0, i;
	struct io *io = new_io();
	void *x;
	float *want;

	snprintf(file, sizeof(file), "%s.x", w->name);
	x = read_data(file, &len);
	snprintf(file, sizeof(file), "%s.y", w->name);
	want = read_data(file, &want_len);
	io->in[0] = (struct vaccel_plugin_tensor){ .name = "x", .dtype = VACCEL_FLOAT32, .data = x, .len = len };
	io->in[0].rank = dense ? 2 : 4;
	memcpy(io->in[0].dims, dense ? (const int64_t[4]){ 5, 8 } : (const int64_t[4]){ 2, 32, 32, 3 },
	       4 * sizeof(int64_t));
	io->n_in = io->n_out = 1;
	io->out[0] = "y";
	for (i = 0; i < ROUNDS && !w->failed; i++)
		w->failed = run(w->model, io) || !near((float *)io->data[0], want, want_len / 4);
	free(want);
	free(x);
	free(io);
	return NULL;
}

/* Eight at once on two models, while a third comes and goes. */
static void check_threads(void)
{
	static const char *const names[] = { "dense", "convolution" };
	void *models[2] = { must_load("dense"), must_load("convolution") };
	struct worker workers[THREADS];
	unsigned int i;

	for (i = 0; i < THREADS && models[0] && models[1]; i++) {
		workers[i] = (struct worker){ .model = models[i % 2], .name = names[i % 2], .index = i };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	unload(must_load("gather"));
	while (i-- > 0) {
		pthread_join(workers[i].thread, NULL);
		CHECK(!workers[i].failed, "thread %u on %s", i, workers[i].name);
	}
	unload(models[0]);
	unload(models[1]);
}

/* ---- the start ---- */

/* Starts the plugin in a new process; the error as a positive number. */
static int start_elsewhere(const char *path, const char *const *keys, char *text, size_t size)
{
	int status = 0, pipes[2];
	ssize_t n;
	pid_t pid;

	fflush(NULL);
	if (pipe(pipes) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		struct harness mine;
		int r = harness_open(&mine, path);

		r = r ? r : harness_start(&mine, NULL, 0, (char *const *)keys);
		if (write(pipes[1], r ? mine.error : mine.plugin->hardware(),
			  strlen(r ? mine.error : mine.plugin->hardware())) < 0)
			_exit(254);
		_exit(-r);
	}
	close(pipes[1]);
	n = read(pipes[0], text, size - 1);
	text[n > 0 ? n : 0] = '\0';
	close(pipes[0]);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		abort();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static void check_start(const char *path, const char *aborting)
{
	static const char *const wrong[][2] = {
		{ "intra_op_threads=-1" }, { "inter_op_threads=x" },	{ "log=loud" },
		{ "probe=never" },	   { "library=tensorflow.so" },
	};
	char library[PATH_MAX + 16], text[512], real[PATH_MAX];
	const char *const absent[] = { "library=/nonexistent/libtensorflow.so.2", NULL };
	const char *const other[] = { library, NULL }, *const bad[] = { library, "probe=always", NULL };
	const char *const threads[] = { "probe=always", "intra_op_threads=1", "inter_op_threads=1", "log=info", NULL };
	size_t i;
	int r;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CHECK(start_elsewhere(path, wrong[i], text, sizeof(text)) == EINVAL, "%s: %s", wrong[i][0], text);
	r = start_elsewhere(path, absent, text, sizeof(text));
	CHECK(r == ENOENT && strstr(text, "/nonexistent"), "no library: %d: %s", r, text);
	snprintf(library, sizeof(library), "library=%s", realpath(path, real) ? real : "");
	r = start_elsewhere(path, other, text, sizeof(text));
	CHECK(r == ENOEXEC && strstr(text, "has no TF_"), "another library: %d: %s", r, text);
	snprintf(library, sizeof(library), "library=%s", realpath(aborting, real) ? real : "");
	r = start_elsewhere(path, bad, text, sizeof(text));
	CHECK(r == ENOEXEC && strstr(text, "processor"), "a library that aborts: %d: %s", r, text);
	r = start_elsewhere(path, threads, text, sizeof(text));
	CHECK(r == 0 && !strncmp(text, "TensorFlow 2.", 13) && strstr(text, "CPU)"), "start: %d: %s", r, text);
}

/* A process that loads a model and runs it into a failure; its standard error goes to a file. */
static void be_loud(const char *path, const char *file)
{
	static char info[] = "log=info";
	static const float x[2] __attribute__((aligned(64))) = { 1000 };
	char *keys[] = { info, NULL };
	struct io *io = new_io();
	void *model = NULL;
	int r;

	if (!freopen(file, "w", stderr))
		_exit(1);
	r = harness_open(&h, path);
	r = r ? r : harness_start(&h, NULL, 0, keys);
	r = r ? r : load("refuse", "", NULL, &model);
	io->in[0] = tensor("x", VACCEL_FLOAT32, x, 8, 1, 2, 0);
	io->n_in = io->n_out = 1;
	io->out[0] = "y";
	r = r ? r : run(model, io) == -EINVAL ? 0 : -1;
	unload(model);
	harness_stop(&h);
	fflush(NULL);
	_exit(r ? 2 : 0);
}

/* What TensorFlow says reaches the host's log, which the harness prints as "log PRIORITY: TEXT", and nothing else. */
static void check_log(const char *path)
{
	unsigned int n_lines = 0;
	char file[512], line[1024];
	int status = 0;
	pid_t pid;
	FILE *f;

	snprintf(file, sizeof(file), "%s/stderr", folder);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		be_loud(path, file);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		abort();
	CHECK(status == 0, "a process that loads a model: %#x", status);
	f = fopen(file, "r");
	while (f && fgets(line, sizeof(line), f)) {
		n_lines += !strncmp(line, "log 6: tensorflow: ", 19);
		CHECK(!strncmp(line, "log ", 4), "on standard error: %s", line);
	}
	if (f)
		fclose(f);
	CHECK(n_lines >= 3, "%u lines of TensorFlow's in the log", n_lines);
}

static int make_models(const char *python, const char *maker)
{
	char command[1024];

	snprintf(command, sizeof(command), "'%s' '%s' '%s' > '%s/log' 2>&1 || { cat '%s/log' >&2; exit 1; }", python,
		 maker, folder, folder, folder);
	return system(command);
}

int main(int argc, char **argv)
{
	static void (*const checks[])(void) = {
		check_shared, check_shared_broken, check_signature, check_dense,   check_convolution, check_lent,
		check_two,    check_text,	   check_types,	    check_keepers, check_choices,     check_frozen,
		check_broken, check_run_errors,	   check_unset,	    check_threads,
	};
	size_t i;
	int r;

	if (argc != 6)
		return 2;
	if (!*argv[2]) {
		printf("skipped: there is no Python with TensorFlow (tools/tensorflow)\n");
		return SKIPPED;
	}
	share_tool = argv[5];
	folder = harness_folder();
	if (!folder || make_models(argv[2], argv[3]))
		return 1;
	check_start(argv[1], argv[4]);
	check_log(argv[1]);
	r = harness_open(&h, argv[1]);
	if (!r)
		r = harness_start(&h, NULL, 0, NULL);
	CHECK(!r, "start: error %d: %s", r, h.error);
	for (i = 0; !r && i < sizeof(checks) / sizeof(checks[0]); i++)
		checks[i]();
	harness_stop(&h);
	return harness_end();
}
