/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations on models, over the models in the folder beside this file, which the other end serves with the framework
 * reference: what they must give is computed here. Each row of the tables is run in every way: plain memory and registered
 * buffers, waited for and submitted.
 */
#include <endian.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uapi/virtio_accel.h>

#include "models.h"

#define MEMORY (2u << 20)

/* ---- Ways ---- */

bool wrong(char *detail, size_t len, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(detail, len, format, ap);
	va_end(ap);
	return false;
}

void *way_take(struct way *way, size_t len)
{
	unsigned char *at = way->memory + way->used;

	if (len > way->size - way->used) {
		fprintf(stderr, "op-suite: a test needs more than its memory\n");
		exit(1);
	}
	way->used += (len + 63) / 64 * 64;
	return memset(at, 0, len);
}

void way_reset(struct way *way)
{
	way->used = 0;
}

static int finish(int r, struct vaccel_request *request)
{
	if (r < 0)
		return r;
	r = vaccel_request_wait(request, -1);
	vaccel_request_free(request);
	return r;
}

int way_infer(struct way *way, const char *model, const struct vaccel_tensor *in, size_t n_in,
	      struct vaccel_tensor *out, size_t n_out)
{
	struct vaccel_request *request = NULL;
	int r;

	if (!way->submit)
		return vaccel_infer(way->suite->session, model, in, n_in, out, n_out);
	r = vaccel_infer_submit(way->suite->session, model, in, n_in, out, n_out, NULL, &request);
	return finish(r, request);
}

int way_classify(struct way *way, const char *model, const void *image, size_t len, uint32_t k,
		 struct vaccel_label *labels, struct vaccel_classified *about)
{
	struct vaccel_request *request = NULL;
	int r;

	if (!way->submit)
		return vaccel_classify(way->suite->session, model, image, len, k, labels, about);
	r = vaccel_classify_submit(way->suite->session, model, image, len, k, labels, about, NULL, &request);
	r = finish(r, request);
	return r < 0 ? r : (int)about->n_labels;
}

struct vaccel_tensor way_tensor(struct way *way, const char *name, uint32_t dtype, uint32_t rank, const int64_t *dims,
				size_t len)
{
	struct vaccel_tensor tensor = {
		.size = sizeof(tensor), .name = name, .dtype = dtype, .rank = rank, .len = len
	};

	memcpy(tensor.dims, dims, rank * sizeof(dims[0]));
	tensor.data = way_take(way, len);
	return tensor;
}

struct vaccel_tensor way_output(struct way *way, const char *name, size_t room)
{
	struct vaccel_tensor tensor = { .size = sizeof(tensor), .name = name, .room = room };

	tensor.data = way_take(way, room);
	return tensor;
}

/* ---- What rows use ---- */

bool model_failed(int r, char *detail, size_t len)
{
	return wrong(detail, len, "%s (%s)", vaccel_error(), strerrorname_np(-r));
}

bool model_is_error(int r, int code, const char *words, char *detail, size_t len)
{
	if (r >= 0)
		return wrong(detail, len, "success, not %s", strerrorname_np(-code));
	if (r != code)
		return wrong(detail, len, "%s, not %s: %s", strerrorname_np(-r), strerrorname_np(-code),
			     vaccel_error());
	return strstr(vaccel_error(), words) ? true
					     : wrong(detail, len, "'%s' does not say '%s'", vaccel_error(), words);
}

bool close_to(double got, double want)
{
	return fabs(got - want) <= 1e-6 * (1 + fabs(want));
}

void digits_draw(uint64_t seed, unsigned char pixels[DIGITS_PIXELS], float values[DIGITS_PIXELS])
{
	uint64_t random = seed * 977 + 1;

	for (size_t i = 0; i < DIGITS_PIXELS; i++) {
		pixels[i] = (unsigned char)(suite_random(&random) >> 40);
		values[i] = (float)pixels[i] / 256;
	}
}

/* The k of the highest probability, in that order. */
bool digits_check_labels(const struct vaccel_label *labels, uint32_t k, const double probabilities[DIGITS_CLASSES],
			 char *detail, size_t len)
{
	static const char *const names[] = { "none", "one", "two", "three", "many" };
	bool given[DIGITS_CLASSES] = { false };

	for (uint32_t i = 0; i < k; i++) {
		size_t best = DIGITS_CLASSES;

		for (size_t j = 0; j < DIGITS_CLASSES; j++)
			if (!given[j] && (best == DIGITS_CLASSES || probabilities[j] > probabilities[best]))
				best = j;
		given[best] = true;
		if (labels[i].index != best || strcmp(labels[i].name, names[best]) != 0 ||
		    !close_to((double)labels[i].probability, probabilities[best]))
			return wrong(detail, len, "label %u is %s (%u) with %g, not %s with %g", i, labels[i].name,
				     labels[i].index, (double)labels[i].probability, names[best], probabilities[best]);
	}
	return true;
}

const int64_t attempt_dims[2] = { 2, 1000 };

void attempt_init(struct way *way, struct attempt *x)
{
	way_reset(way);
	*x = (struct attempt){ .n_in = 2, .n_out = 2, .model = "add" };
	x->in[0] = way_tensor(way, "a", VACCEL_FLOAT32, 2, attempt_dims, ATTEMPT_BYTES);
	x->in[1] = way_tensor(way, "b", VACCEL_FLOAT32, 2, attempt_dims, ATTEMPT_BYTES);
	x->out[0] = way_output(way, "sum", ATTEMPT_BYTES);
	x->out[1] = way_output(way, "difference", ATTEMPT_BYTES);
	((float *)x->in[0].data)[7] = 2;
	((float *)x->in[1].data)[7] = 3;
}

/* ---- Once, whatever the memory ---- */

static bool list(struct suite *suite, char *detail, size_t len)
{
	static const char *const names[] = {
		"add", "broken", "digits", "echo", "fails", "integers", "picky", "strings"
	};
	const struct vaccel_model_row *row = NULL;
	struct vaccel_catalog *catalog;
	bool ok = true;
	int r = vaccel_catalog_new(suite->session, &catalog);

	if (r < 0)
		return model_failed(r, detail, len);
	for (size_t i = 0; ok && i < COUNT(names); i++) {
		uint32_t flags = i == 1 ? VACCEL_MODEL_BROKEN : i == 2 ? VACCEL_MODEL_CLASSIFIES : 0;

		row = vaccel_catalog_row(catalog, i);
		ok = row && !strcmp(row->name, names[i]) && row->flags == flags &&
		     (i == 1 || !strcmp(row->framework, "reference")) && row->n_labels == (i == 2 ? 5 : 0);
	}
	if (!ok)
		wrong(detail, len, "model %s is not listed as expected", row ? row->name : "(none)");
	else if (vaccel_catalog_row(catalog, COUNT(names)))
		ok = wrong(detail, len, "there are more than %zu models", COUNT(names));
	vaccel_catalog_free(catalog);
	return ok;
}

static bool check_about(const struct vaccel_model *model)
{
	const struct vaccel_model_about *about = vaccel_model_about(model);
	const struct vaccel_tensor_desc *in = vaccel_model_tensor(model, VACCEL_IN, 0);
	const struct vaccel_tensor_desc *out = vaccel_model_tensor(model, VACCEL_OUT, 1);

	return about->n_inputs == 1 && about->n_outputs == 2 && about->width == 8 && about->height == 8 &&
	       about->channels == 1 && !strcmp(about->row.name, "digits") && in->rank == 4 && in->dims[0] == -1 &&
	       in->dims[3] == 1 && in->dtype == VACCEL_FLOAT32 && !strcmp(in->name, "image") &&
	       !strcmp(out->name, "logits") && out->dims[1] == DIGITS_CLASSES &&
	       strstr(about->description, "five things") && !strcmp(vaccel_model_label(model, 4), "many") &&
	       !vaccel_model_label(model, 5);
}

static bool info(struct suite *suite, char *detail, size_t len)
{
	struct vaccel_model *model;
	int r = vaccel_model_new(suite->session, "digits", &model);
	bool ok;

	if (r < 0)
		return model_failed(r, detail, len);
	ok = check_about(model);
	vaccel_model_free(model);
	if (!ok)
		return wrong(detail, len, "model digits is not described as expected");
	return model_is_error(vaccel_model_new(suite->session, "absent", &model), -ENOENT, "absent", detail, len);
}

/* ---- Many at once ---- */

#define MANY 24

struct flight {
	unsigned char png[256];
	struct vaccel_label label;
	struct vaccel_classified about;
	double probabilities[DIGITS_CLASSES];
	struct attempt sum;
};

/* Requests of both operations, one after the other, without waiting for any. */
static int take_off(struct way *way, struct flight *f, size_t i)
{
	struct vaccel_submit_options options = { .size = sizeof(options), .user_data = f };
	unsigned char pixels[DIGITS_PIXELS];
	double logits[DIGITS_CLASSES];
	float values[DIGITS_PIXELS];
	struct vaccel_request *request;
	size_t used = way->used;

	if (i % 2) {
		digits_draw(i, pixels, values);
		digits_expect(values, logits, f->probabilities);
		return vaccel_classify_submit(way->suite->session, "digits", f->png, digits_png(pixels, f->png), 1,
					      &f->label, &f->about, &options, &request);
	}
	/* Their memory is one behind the other. */
	way->memory += used;
	way->size -= used;
	attempt_init(way, &f->sum);
	way->memory -= used;
	way->size += used;
	way->used += used;
	((float *)f->sum.in[0].data)[9] = (float)i;
	return vaccel_infer_submit(way->suite->session, "add", f->sum.in, 2, f->sum.out, 2, &options, &request);
}

static bool land(struct suite *suite, const struct flight *flights, char *detail, size_t len)
{
	struct pollfd fd = { .fd = vaccel_context_fd(suite->context), .events = POLLIN };
	struct vaccel_request *request = NULL;
	const struct flight *f;
	int r;

	while ((r = vaccel_context_next(suite->context, &request)) == -EAGAIN)
		poll(&fd, 1, -1);
	if (r < 0)
		return model_failed(r, detail, len);
	f = vaccel_request_user_data(request);
	r = vaccel_request_wait(request, 0);
	vaccel_request_free(request);
	if (r < 0)
		return model_failed(r, detail, len);
	if ((f - flights) % 2)
		return digits_check_labels(&f->label, 1, f->probabilities, detail, len);
	return ((float *)f->sum.out[1].data)[9] == (float)(f - flights)
		       ? true
		       : wrong(detail, len, "request %zu has a wrong result", (size_t)(f - flights));
}

static bool many(struct way *way, char *detail, size_t len)
{
	struct flight *flights = calloc(MANY, sizeof(*flights));
	size_t n = 0;
	bool ok = true;
	int r = 0;

	way_reset(way);
	while (r >= 0 && n < MANY) {
		r = take_off(way, &flights[n], n);
		n += r >= 0;
	}
	if (r < 0)
		ok = model_failed(r, detail, len);
	for (; n; n--)
		ok = land(way->suite, flights, ok ? detail : (char[8]){ 0 }, ok ? len : 8) && ok;
	free(flights);
	return ok;
}

/* ---- Copies ---- */

bool bytes_copied(struct suite *suite, uint64_t *ret_bytes)
{
	struct virtio_accel_stats stats = { 0 };
	size_t len;

	if (vaccel_context_query(suite->context, VIRTIO_ACCEL_Q_STATS, &stats, sizeof(stats), &len) < 0)
		return false;
	*ret_bytes = le64toh(stats.bytes_copied);
	return true;
}

/*
 * Tensors in registered buffers: the input is not copied, the output just once. What is copied besides are descriptions of
 * tensors, here two in the request and one in the answer, which may also be gathered.
 */
#define COPY_ELEMENTS 32768
#define COPY_SLACK    (6 * sizeof(struct vaccel_tensor_desc))

static bool copies(struct way *way, char *detail, size_t len)
{
	static const int64_t dims[] = { COPY_ELEMENTS };
	const uint64_t bytes = COPY_ELEMENTS * sizeof(float);
	struct vaccel_info before = { .size = sizeof(before) }, after = { .size = sizeof(after) };
	uint64_t there = 0, now = 0;
	struct vaccel_tensor x, y;
	int r;

	way_reset(way);
	x = way_tensor(way, "x", VACCEL_FLOAT32, 1, dims, bytes);
	y = way_output(way, "y", bytes);
	if (vaccel_context_info(way->suite->context, &before) < 0 || !bytes_copied(way->suite, &there))
		return wrong(detail, len, "cannot ask: %s", vaccel_error());
	r = way_infer(way, "echo", &x, 1, &y, 1);
	if (r < 0)
		return model_failed(r, detail, len);
	if (vaccel_context_info(way->suite->context, &after) < 0 || !bytes_copied(way->suite, &now))
		return wrong(detail, len, "cannot ask: %s", vaccel_error());
	/* Over local: the library is the other end. */
	if (strncmp(way->suite->url, "local:", 6) != 0 && after.bytes_copied - before.bytes_copied > COPY_SLACK)
		return wrong(detail, len, "the library copied %llu bytes",
			     (unsigned long long)(after.bytes_copied - before.bytes_copied));
	now -= there;
	return now >= bytes && now <= bytes + COPY_SLACK
		       ? true
		       : wrong(detail, len, "%llu bytes were copied for an output of %llu", (unsigned long long)now,
			       (unsigned long long)bytes);
}

/* ---- All of it ---- */

void run_ways(struct suite *suite, const char *what, size_t size, void (*run)(struct way *way, size_t index),
	      void (*once)(struct way *registered))
{
	struct vaccel_buffer *buffer = NULL;
	void *plain = NULL;
	struct way ways[] = {
		{ .suite = suite, .name = "plain, call" },
		{ .suite = suite, .name = "registered, submit" },
		{ .suite = suite, .name = "plain, submit" },
		{ .suite = suite, .name = "registered, call" },
	};

	if (posix_memalign(&plain, 4096, size) != 0 || vaccel_buffer_alloc(suite->session, size, &buffer) < 0) {
		report(false, vaccel_error(), "%s: memory", what);
		free(plain);
		return;
	}
	for (size_t i = 0; i < COUNT(ways); i++) {
		bool registered = i % 2;

		ways[i].submit = i == 1 || i == 2;
		ways[i].memory = registered ? vaccel_buffer_data(buffer) : plain;
		ways[i].size = size;
		/* A slow machine runs each kind of memory and of call once. */
		if (!suite->quick || i < 2)
			run(&ways[i], i);
	}
	once(&ways[3]);
	vaccel_buffer_free(buffer);
	free(plain);
}

static void run_way(struct way *way, size_t index)
{
	for (const struct model_test *test = model_tests; test->name; test++) {
		char detail[512] = "";
		bool ok;

		way_reset(way);
		ok = test->run(way, detail, sizeof(detail));
		report(ok, detail, "models: %s, %s", test->name, way->name);
	}
}

static void run_once(struct way *registered)
{
	char detail[512] = "";

	report(list(registered->suite, detail, sizeof(detail)), detail, "models: model_list");
	report(info(registered->suite, detail, sizeof(detail)), detail, "models: model_info");
	report(many(registered, detail, sizeof(detail)), detail, "models: %d requests at once", MANY);
	report(copies(registered, detail, sizeof(detail)), detail, "models: copies of registered tensors");
}

void run_models(struct suite *suite)
{
	run_ways(suite, "models", MEMORY, run_way, run_once);
}
