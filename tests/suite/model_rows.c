/* SPDX-License-Identifier: Apache-2.0 */
/* What models must give, and what they must refuse: the rows that models.c runs in every way. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models.h"

/* ---- Right answers ---- */

/* Whether an output is as described. */
static bool is_tensor(const struct vaccel_tensor *got, uint32_t dtype, uint32_t rank, const int64_t *dims, size_t bytes,
		      char *detail, size_t len)
{
	if (got->dtype == dtype && got->rank == rank && got->len == bytes &&
	    !memcmp(got->dims, dims, rank * sizeof(*dims)))
		return true;
	return wrong(detail, len, "output %s came as type %u, rank %u, %zu bytes", got->name, got->dtype, got->rank,
		     got->len);
}

static bool echo_one(struct way *way, uint32_t rank, const int64_t *dims, char *detail, size_t len)
{
	struct vaccel_tensor x, y;
	size_t n = 1;
	int r;

	for (uint32_t i = 0; i < rank; i++)
		n *= (size_t)dims[i];
	x = way_tensor(way, "x", VACCEL_FLOAT32, rank, dims, n * sizeof(float));
	y = way_output(way, "y", n * sizeof(float) + 64);
	for (size_t i = 0; i < n; i++)
		((float *)x.data)[i] = i % 7 == 3 ? NAN : (float)i / 3;
	memset((char *)y.data + n * sizeof(float), 0x5a, 64);
	r = way_infer(way, "echo", &x, 1, &y, 1);
	if (r < 0)
		return model_failed(r, detail, len);
	if (!is_tensor(&y, VACCEL_FLOAT32, rank, dims, n * sizeof(float), detail, len))
		return false;
	if (n && memcmp(x.data, y.data, n * sizeof(float)) != 0)
		return wrong(detail, len, "%zu elements came back other than they went", n);
	return true;
}

static bool echo(struct way *way, char *detail, size_t len)
{
	static const struct {
		uint32_t rank;
		int64_t dims[VACCEL_MAX_RANK];
	} shapes[] = {
		{ 0, { 0 } },	 { 1, { 1 } },	      { 1, { 0 } },
		{ 2, { 3, 0 } }, { 3, { 2, 3, 5 } },  { 8, { 1, 2, 1, 2, 1, 2, 1, 2 } },
		{ 1, { 1023 } }, { 2, { 100, 300 } },
	};

	for (size_t i = 0; i < COUNT(shapes); i++) {
		way_reset(way);
		if (!echo_one(way, shapes[i].rank, shapes[i].dims, detail, len))
			return false;
	}
	return true;
}

/* Of a type that is copied before the framework sees it. */
static bool integers(struct way *way, char *detail, size_t len)
{
	static const int64_t values[] = { 0, -1, INT64_MAX, INT64_MIN, 42 }, dims[] = { 5 };
	struct vaccel_tensor x = way_tensor(way, "x", VACCEL_INT64, 1, dims, sizeof(values));
	struct vaccel_tensor y = way_output(way, "y", sizeof(values));
	int r;

	memcpy(x.data, values, sizeof(values));
	r = way_infer(way, "integers", &x, 1, &y, 1);
	if (r < 0)
		return model_failed(r, detail, len);
	return is_tensor(&y, VACCEL_INT64, 1, dims, sizeof(values), detail, len) &&
	       (!memcmp(y.data, values, sizeof(values)) || wrong(detail, len, "wrong numbers"));
}

static bool strings(struct way *way, char *detail, size_t len)
{
	static const char *const expected[] = { "ONE", "", "TW\xc3\xb6 2" };
	static const char data[] = "\3\0\0\0\0\0\0\0\6\0\0\0onetw\xc3\xb6 2";
	static const int64_t dims[] = { 3, 1 };
	struct vaccel_tensor x = way_tensor(way, "x", VACCEL_STRING, 2, dims, sizeof(data) - 1);
	struct vaccel_tensor y[] = { way_output(way, "lengths", 12), way_output(way, "y", 64) };
	int r;

	memcpy(x.data, data, sizeof(data) - 1);
	r = way_infer(way, "strings", &x, 1, y, 2);
	if (r < 0)
		return model_failed(r, detail, len);
	if (!is_tensor(&y[0], VACCEL_UINT32, 2, dims, 12, detail, len) ||
	    !is_tensor(&y[1], VACCEL_STRING, 2, dims, sizeof(data) - 1, detail, len))
		return false;
	for (size_t i = 0; i < COUNT(expected); i++) {
		const char *text;
		size_t n;

		if (vaccel_tensor_string(&y[1], i, &text, &n) < 0 || n != strlen(expected[i]) ||
		    memcmp(text, expected[i], n) != 0 || ((const uint32_t *)y[0].data)[i] != n)
			return wrong(detail, len, "string %zu is not as expected", i);
	}
	return true;
}

/* Several of each, some of them, in another order than the model's. */
static bool sums(struct way *way, char *detail, size_t len)
{
	static const int64_t dims[] = { 3, 1000 };
	const size_t bytes = 3000 * sizeof(float);
	struct vaccel_tensor in[] = { way_tensor(way, "b", VACCEL_FLOAT32, 2, dims, bytes),
				      way_tensor(way, "a", VACCEL_FLOAT32, 2, dims, bytes) };
	struct vaccel_tensor out[] = { way_output(way, "difference", bytes), way_output(way, "sum", bytes) };
	float *b = in[0].data, *a = in[1].data;
	int r;

	for (size_t i = 0; i < 3000; i++) {
		a[i] = (float)i;
		b[i] = (float)(i % 13) * 0.5f;
	}
	r = way_infer(way, "add", in, 2, out, 2);
	for (int turn = 0; turn < 2 && r >= 0; turn++) {
		const float *difference = out[0].data, *sum = out[1].data;

		for (size_t i = 0; i < 3000; i++)
			if (difference[i] != a[i] - b[i] || (turn == 0 && sum[i] != a[i] + b[i]))
				return wrong(detail, len, "element %zu is wrong", i);
		memset(out[0].data, 0, bytes);
		if (turn == 0)
			r = way_infer(way, "add", in, 2, out, 1);
	}
	return r < 0 ? model_failed(r, detail, len) : true;
}

static bool network(struct way *way, char *detail, size_t len)
{
	static const int64_t dims[] = { 4, 8, 8, 1 }, out_dims[] = { 4, DIGITS_CLASSES };
	struct vaccel_tensor x = way_tensor(way, "image", VACCEL_FLOAT32, 4, dims, 4 * DIGITS_PIXELS * sizeof(float));
	struct vaccel_tensor y[] = { way_output(way, "logits", 4 * DIGITS_CLASSES * sizeof(float)),
				     way_output(way, "probabilities", 4 * DIGITS_CLASSES * sizeof(float)) };
	double logits[DIGITS_CLASSES], probabilities[DIGITS_CLASSES];
	unsigned char pixels[DIGITS_PIXELS];
	float *values = x.data;
	int r;

	for (uint64_t i = 0; i < 4; i++)
		digits_draw(i, pixels, values + i * DIGITS_PIXELS);
	r = way_infer(way, "digits", &x, 1, y, 2);
	if (r < 0)
		return model_failed(r, detail, len);
	if (!is_tensor(&y[0], VACCEL_FLOAT32, 2, out_dims, 4 * DIGITS_CLASSES * sizeof(float), detail, len))
		return false;
	for (size_t i = 0; i < 4; i++) {
		digits_expect(values + i * DIGITS_PIXELS, logits, probabilities);
		for (size_t j = 0; j < DIGITS_CLASSES; j++) {
			size_t at = i * DIGITS_CLASSES + j;

			if (!close_to((double)((float *)y[0].data)[at], logits[j]) ||
			    !close_to((double)((float *)y[1].data)[at], probabilities[j]))
				return wrong(detail, len, "row %zu, class %zu: a wrong number", i, j);
		}
	}
	return true;
}

static bool pictures(struct way *way, char *detail, size_t len)
{
	static const uint32_t ks[] = { 1, 3, DIGITS_CLASSES, DIGITS_CLASSES + 3, VACCEL_MAX_LABELS };
	static const struct vaccel_label zero;

	for (size_t i = 0; i < COUNT(ks); i++) {
		uint32_t n = ks[i] < DIGITS_CLASSES ? ks[i] : DIGITS_CLASSES;
		double logits[DIGITS_CLASSES], probabilities[DIGITS_CLASSES];
		struct vaccel_classified about = { .n_labels = 99 };
		unsigned char pixels[DIGITS_PIXELS];
		float values[DIGITS_PIXELS];
		struct vaccel_label *labels;
		void *png;
		int r;

		way_reset(way);
		png = way_take(way, 256);
		labels = way_take(way, ks[i] * sizeof(*labels));
		memset(labels, 0x77, ks[i] * sizeof(*labels));
		digits_draw(i + 10, pixels, values);
		digits_expect(values, logits, probabilities);
		r = way_classify(way, "digits", png, digits_png(pixels, png), ks[i], labels, &about);
		if (r < 0)
			return model_failed(r, detail, len);
		if ((uint32_t)r != n || about.n_labels != n || about.n_classes != DIGITS_CLASSES || about.width != 8 ||
		    about.height != 8 || !about.batch)
			return wrong(detail, len, "k %u: %d labels of %u classes, %u x %u pixels", ks[i], r,
				     about.n_classes, about.width, about.height);
		if (!digits_check_labels(labels, n, probabilities, detail, len))
			return false;
		if (n < ks[i] && memcmp(&labels[n], &zero, sizeof(zero)) != 0)
			return wrong(detail, len, "label %u, which there is none of, is not zero", n);
	}
	return true;
}

/* ---- Mistakes ---- */

static void unknown_model(struct attempt *x)
{
	x->model = "absent";
}

static void broken_model(struct attempt *x)
{
	x->model = "broken";
}

static void path_as_model(struct attempt *x)
{
	x->model = "../models/add";
}

static void wrong_input(struct attempt *x)
{
	x->in[1].name = "c";
}

static void no_input(struct attempt *x)
{
	x->n_in = 1;
}

static void wrong_output(struct attempt *x)
{
	x->out[1].name = "product";
}

static void input_twice(struct attempt *x)
{
	x->in[1].name = "a";
}

static void output_twice(struct attempt *x)
{
	x->out[1].name = "sum";
}

static void wrong_type(struct attempt *x)
{
	x->in[0].dtype = VACCEL_INT32;
}

static void no_type(struct attempt *x)
{
	x->in[0].dtype = 99;
}

static void wrong_rank(struct attempt *x)
{
	x->in[0].rank = 1;
	x->in[0].dims[0] = 2000;
}

static void wrong_length(struct attempt *x)
{
	x->in[0].dims[0] = 1;
	x->in[0].dims[1] = 2000;
}

static void shape_and_bytes(struct attempt *x)
{
	x->in[0].len -= 4;
}

static void other_rows(struct attempt *x)
{
	x->in[0].dims[0] = 1;
	x->in[0].len /= 2;
}

static void fails_at_run(struct attempt *x)
{
	x->model = "fails";
	x->n_in = x->n_out = 1;
	x->in[0].name = "x";
	x->out[0].name = "y";
}

static void picky(struct attempt *x)
{
	fails_at_run(x);
	x->model = "picky";
	x->in[0].dims[0] = 500;
	x->in[0].dims[1] = 4;
	((float *)x->in[0].data)[11] = -1;
}

static const struct {
	const char *name;
	void (*spoil)(struct attempt *x);
	int code;
	const char *words;
} mistakes[] = {
	{ "unknown model", unknown_model, -ENOENT, "absent" },
	{ "broken model", broken_model, -EIO, "broken" },
	{ "a path as a model", path_as_model, -EINVAL, "model's name" },
	{ "an input that there is none of", wrong_input, -EINVAL, "c" },
	{ "an input missing", no_input, -EINVAL, "input b is missing" },
	{ "an output that there is none of", wrong_output, -EINVAL, "product" },
	{ "an input twice", input_twice, -EINVAL, "input a is given twice" },
	{ "an output twice", output_twice, -EINVAL, "output sum is given twice" },
	{ "an input of another type", wrong_type, -EINVAL, "input a is float32" },
	{ "an input of no type", no_type, -EINVAL, "type 99" },
	{ "an input of another rank", wrong_rank, -EINVAL, "input a is float32" },
	{ "an input of another shape", wrong_length, -EINVAL, "input a is float32" },
	{ "bytes that are not the shape's", shape_and_bytes, -EINVAL, "input a" },
	{ "shapes that do not fit", other_rows, -EINVAL, "numbers of rows" },
	{ "a model that fails at run time", fails_at_run, -EIO, "fails whatever" },
	{ "an element that the model refuses", picky, -EINVAL, "element 11 of x" },
};

static bool next_works(struct way *way, char *detail, size_t len)
{
	struct attempt x;
	int r;

	attempt_init(way, &x);
	r = way_infer(way, x.model, x.in, x.n_in, x.out, x.n_out);
	if (r < 0)
		return wrong(detail, len, "the next request fails: %s (%s)", vaccel_error(), strerrorname_np(-r));
	return ((float *)x.out[0].data)[7] == 5 ? true : wrong(detail, len, "the next request has a wrong result");
}

static bool all_mistakes(struct way *way, char *detail, size_t len)
{
	for (size_t i = 0; i < COUNT(mistakes); i++) {
		struct attempt x;
		char why[300];
		int r;

		attempt_init(way, &x);
		mistakes[i].spoil(&x);
		r = way_infer(way, x.model, x.in, x.n_in, x.out, x.n_out);
		if (!model_is_error(r, mistakes[i].code, mistakes[i].words, why, sizeof(why)) ||
		    !next_works(way, why, sizeof(why)))
			return wrong(detail, len, "%s: %s", mistakes[i].name, why);
		if (x.out[0].len || x.out[0].dtype)
			return wrong(detail, len, "%s: the output was described all the same", mistakes[i].name);
	}
	return true;
}

/* As many arguments as there may be get there, even if no model here has so many tensors. */
static bool all_tensors(struct way *way, char *detail, size_t len)
{
	static const int64_t dims[] = { 3000 };
	static const char *const names[] = { "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o" };
	struct vaccel_tensor in[VACCEL_MAX_TENSORS - 1], out = way_output(way, "sum", ATTEMPT_BYTES);

	for (size_t i = 0; i < COUNT(in); i++)
		in[i] = way_tensor(way, names[i], VACCEL_FLOAT32, 1, dims, 3000 * sizeof(float));
	return model_is_error(way_infer(way, "add", in, COUNT(in), &out, 1), -EINVAL, "has no input", detail, len);
}

/* Says how much is needed, and a second call gets it. */
static bool small_room(struct way *way, char *detail, size_t len)
{
	struct attempt x;
	int r;

	attempt_init(way, &x);
	x.out[0].room = ATTEMPT_BYTES - 4;
	x.out[1].room = 0;
	memset(x.out[0].data, 0x5a, ATTEMPT_BYTES);
	r = way_infer(way, "add", x.in, 2, x.out, 2);
	if (!model_is_error(r, -ERANGE, "output sum needs 8000 bytes, there is room for 7996", detail, len))
		return false;
	if (!is_tensor(&x.out[0], VACCEL_FLOAT32, 2, attempt_dims, ATTEMPT_BYTES, detail, len) ||
	    !is_tensor(&x.out[1], VACCEL_FLOAT32, 2, attempt_dims, ATTEMPT_BYTES, detail, len))
		return false;
	for (size_t i = ATTEMPT_BYTES - 4; i < ATTEMPT_BYTES; i++)
		if (((unsigned char *)x.out[0].data)[i] != 0x5a)
			return wrong(detail, len, "memory behind the room was written");
	x.out[0].room = x.out[0].len;
	x.out[1].room = x.out[1].len;
	r = way_infer(way, "add", x.in, 2, x.out, 2);
	if (r < 0)
		return model_failed(r, detail, len);
	return ((float *)x.out[0].data)[7] == 5 ? true : wrong(detail, len, "the second call has a wrong result");
}

static bool bad_pictures(struct way *way, char *detail, size_t len)
{
	static const struct {
		const char *what, *model;
		size_t cut;
		int code;
		const char *words;
	} rows[] = {
		{ "text", "digits", 0, -EINVAL, "neither JPEG nor PNG" },
		{ "cut", "digits", 60, -EBADMSG, "ends early" },
		{ "other model", "echo", SIZE_MAX, -EINVAL, "echo" },
		{ "unknown model", "absent", SIZE_MAX, -ENOENT, "absent" },
	};

	for (size_t i = 0; i < COUNT(rows); i++) {
		struct vaccel_classified about = { .width = 77 };
		unsigned char pixels[DIGITS_PIXELS] = { 1, 2, 3 }, *png;
		struct vaccel_label labels[2];
		char why[300];
		size_t n;
		int r;

		way_reset(way);
		png = way_take(way, 256);
		n = digits_png(pixels, png);
		if (!rows[i].cut)
			n = (size_t)snprintf((char *)png, 256, "This is a text.");
		r = way_classify(way, rows[i].model, png, n < rows[i].cut || !rows[i].cut ? n : rows[i].cut, 2, labels,
				 &about);
		if (!model_is_error(r, rows[i].code, rows[i].words, why, sizeof(why)) ||
		    !next_works(way, why, sizeof(why)))
			return wrong(detail, len, "%s: %s", rows[i].what, why);
		if (about.width != 77)
			return wrong(detail, len, "%s: the picture was described all the same", rows[i].what);
	}
	return true;
}

const struct model_test model_tests[] = {
	{ "infer, shapes", echo },
	{ "infer, integers", integers },
	{ "infer, strings", strings },
	{ "infer, several tensors", sums },
	{ "infer, network", network },
	{ "image_classify", pictures },
	{ "infer, mistakes", all_mistakes },
	{ "infer, all tensors", all_tensors },
	{ "infer, too little room", small_room },
	{ "image_classify, mistakes", bad_pictures },
	{ 0 },
};
