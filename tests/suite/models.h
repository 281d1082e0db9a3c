/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the suite's tests of models share, and in part those of ciphers: memory of each kind, calls of each kind, and the
 * model "digits" of the folder models/, computed again.
 */
#ifndef TESTS_SUITE_MODELS_H
#define TESTS_SUITE_MODELS_H

#include "suite.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define DIGITS_PIXELS  64
#define DIGITS_CLASSES 5

/* Where tensors lie and how they travel. */
struct way {
	struct suite *suite;
	const char *name;
	bool submit;
	unsigned char *memory; /* 64-byte aligned */
	size_t size, used;
};

/* Runs run() in every way, with memory of that size, and once(), what concerns registered buffers alone. */
void run_ways(struct suite *suite, const char *what, size_t size, void (*run)(struct way *way, size_t index),
	      void (*once)(struct way *registered));

/* Zeroed memory of a test, until way_reset(). */
void *way_take(struct way *way, size_t len);
void way_reset(struct way *way);
/* vaccel_infer() and vaccel_classify(), waited for or submitted. */
int way_infer(struct way *way, const char *model, const struct vaccel_tensor *in, size_t n_in,
	      struct vaccel_tensor *out, size_t n_out);
int way_classify(struct way *way, const char *model, const void *image, size_t len, uint32_t k,
		 struct vaccel_label *labels, struct vaccel_classified *about);

/* A tensor in the way's memory. len: its bytes, or the room of an output. */
struct vaccel_tensor way_tensor(struct way *way, const char *name, uint32_t dtype, uint32_t rank, const int64_t *dims,
				size_t len);
struct vaccel_tensor way_output(struct way *way, const char *name, size_t room);

/* Says what failed; returns false. */
__attribute__((format(printf, 3, 4))) bool wrong(char *detail, size_t len, const char *format, ...);

/* An operation failed: says how, returns false. */
bool model_failed(int r, char *detail, size_t len);
/* Bytes of arguments that the other end has copied for us so far. */
bool bytes_copied(struct suite *suite, uint64_t *ret_bytes);
/* It failed as it has to. */
bool model_is_error(int r, int code, const char *words, char *detail, size_t len);

/* A good request of the model "add", to make a mistake in. Element 7 of the sum is 5. */
struct attempt {
	struct vaccel_tensor in[2], out[2];
	size_t n_in, n_out;
	const char *model;
};

#define ATTEMPT_BYTES (2000 * sizeof(float))
extern const int64_t attempt_dims[2];
void attempt_init(struct way *way, struct attempt *x);

/* Within a millionth. */
bool close_to(double got, double want);
/* A picture for the model "digits", and its pixels as the model sees them. */
void digits_draw(uint64_t seed, unsigned char pixels[DIGITS_PIXELS], float values[DIGITS_PIXELS]);
/* The first k labels for these probabilities. */
bool digits_check_labels(const struct vaccel_label *labels, uint32_t k, const double probabilities[DIGITS_CLASSES],
			 char *detail, size_t len);

/* ---- model_rows.c ---- */

/* Ends with a row without a name. */
extern const struct model_test {
	const char *name;
	bool (*run)(struct way *way, char *detail, size_t len);
} model_tests[];

/* ---- digits.c ---- */

/* What the model makes of a picture whose pixels are these numbers. */
void digits_expect(const float pixels[DIGITS_PIXELS], double logits[DIGITS_CLASSES],
		   double probabilities[DIGITS_CLASSES]);
/* A grey picture of 8 by 8 as PNG; returns its bytes. room: at least 256. */
size_t digits_png(const unsigned char pixels[DIGITS_PIXELS], unsigned char *png);

#endif
