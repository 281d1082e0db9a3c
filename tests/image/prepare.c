/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image-prepare: what src/image makes of a file, for test_tensorflow.py and for whoever wants to see.
 *
 *     image-prepare decode CHANNELS FILE
 *     image-prepare prepare CHANNELS WIDTH HEIGHT LAYOUT RESIZE FIT TYPE MEAN SCALE FILE
 *     image-prepare --time RUNS FILE...
 *
 * decode writes width, height and channels in a line and then the pixels, prepare the elements; MEAN and SCALE are one
 * number, or three with commas between. --time prints how much CPU time decoding, preparing (224 x
 * 224) and copying the pixels take, the median of RUNS. A picture that cannot be decoded is a sentence on standard error and exit status 1.
 */
#include "image/image.h"

#include <stdio.h>
#include <string.h>

#include "util/util.h"

static const struct image_limits limits = { .ms = 60000 };

static const char *const layouts[] = { "nhwc", "nchw" };
static const char *const resizes[] = { "nearest", "bilinear", "bicubic", "area" };
static const char *const fits[] = { "stretch", "crop", "pad" };
static const char *const types[] = { "float32", "uint8" };

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static unsigned int word(const char *text, const char *const words[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(text, words[i]))
			return (unsigned int)i;
	}
	die(text);
}

static void numbers(const char *text, float ret[3])
{
	if (sscanf(text, "%f,%f,%f", &ret[0], &ret[1], &ret[2]) == 1)
		ret[1] = ret[2] = ret[0];
}

static void *read_file(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	long len;
	char *bytes;

	if (!file || fseek(file, 0, SEEK_END) < 0 || (len = ftell(file)) < 0)
		die(path);
	rewind(file);
	bytes = malloc((size_t)len + 1);
	if (!bytes || fread(bytes, 1, (size_t)len, file) != (size_t)len)
		die(path);
	fclose(file);
	*ret_len = (size_t)len;
	return bytes;
}

static struct image decode_file(const char *path, unsigned int channels)
{
	struct error error;
	struct image image;
	size_t len;
	void *bytes = read_file(path, &len);

	if (image_decode(bytes, len, &limits, channels, &image, &error) < 0)
		die(error.text);
	free(bytes);
	return image;
}

static void decode(const char *channels, const char *path)
{
	struct image image = decode_file(path, (unsigned int)atoi(channels));

	printf("%u %u %u\n", image.width, image.height, image.channels);
	fwrite(image.pixels, 1, (size_t)image.width * image.height * image.channels, stdout);
	image_free(&image);
}

static void prepare(char **argv)
{
	struct image_rule rule = { .channels = (uint32_t)atoi(argv[0]),
				   .width = (uint32_t)atoi(argv[1]),
				   .height = (uint32_t)atoi(argv[2]),
				   .layout = word(argv[3], layouts, ARRAY_SIZE(layouts)),
				   .resize = word(argv[4], resizes, ARRAY_SIZE(resizes)),
				   .fit = word(argv[5], fits, ARRAY_SIZE(fits)),
				   .type = word(argv[6], types, ARRAY_SIZE(types)) };
	struct image image = decode_file(argv[9], rule.channels);
	size_t len = image_prepared_len(&rule);
	void *dst = malloc(len);
	struct error error;

	numbers(argv[7], rule.mean);
	numbers(argv[8], rule.scale);
	if (!dst || image_prepare(&image, &rule, dst, len, &error) < 0)
		die(error.text);
	fwrite(dst, 1, len, stdout);
	free(dst);
	image_free(&image);
}

/* ---- Times ---- */

#define MAX_RUNS 1000

/* CPU time: others may use the machine. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct times {
	uint64_t ns[MAX_RUNS];
	size_t n;
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void say(const char *what, struct times *times, double pixels)
{
	double ns;

	qsort(times->ns, times->n, sizeof(times->ns[0]), compare);
	ns = (double)times->ns[times->n / 2];
	printf("%-22s %10.3f ms %8.3f ms per megapixel\n", what, ns / 1e6, ns / pixels);
	times->n = 0;
}

static void time_resizes(const struct image *image, size_t runs)
{
	static struct times times;
	static float dst[224 * 224 * 3];
	char what[64];

	for (unsigned int resize = 0; resize < ARRAY_SIZE(resizes); resize++) {
		struct image_rule rule = { 224, 224, 3, .resize = resize, .scale = { 1, 1, 1 } };

		for (size_t i = 0; i < runs; i++) {
			uint64_t begin = cpu_ns();

			if (image_prepare(image, &rule, dst, sizeof(dst), NULL) < 0)
				die("image_prepare() failed");
			times.ns[times.n++] = cpu_ns() - begin;
		}
		snprintf(what, sizeof(what), "  prepare %s", resizes[resize]);
		say(what, &times, (double)image->width * image->height);
	}
}

/* What the same pixels cost to copy, into memory that is there. */
static void time_copies(const struct image *image, size_t runs)
{
	static struct times times;
	size_t len = (size_t)image->width * image->height * image->channels;
	void *copy = malloc(len);

	if (!copy)
		die("no memory");
	memset(copy, 1, len);
	for (size_t i = 0; i < runs; i++) {
		uint64_t begin = cpu_ns();

		memcpy(copy, image->pixels, len);
		/* So that the copy is made. */
		__asm__ volatile("" : : "r"(copy) : "memory");
		times.ns[times.n++] = cpu_ns() - begin;
	}
	say("  copy the pixels", &times, (double)image->width * image->height);
	free(copy);
}

static void time_file(const char *path, size_t runs)
{
	static struct times times;
	struct image image = { .pixels = NULL };
	struct error error;
	size_t len;
	void *bytes = read_file(path, &len);

	for (size_t i = 0; i < runs; i++) {
		uint64_t begin = cpu_ns();

		image_free(&image);
		if (image_decode(bytes, len, &limits, 3, &image, &error) < 0)
			die(error.text);
		times.ns[times.n++] = cpu_ns() - begin;
	}
	printf("%s: %zu bytes, %u x %u pixels\n", path, len, image.width, image.height);
	say("  decode", &times, (double)image.width * image.height);
	time_copies(&image, runs);
	time_resizes(&image, runs);
	image_free(&image);
	free(bytes);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "decode")) {
		decode(argv[2], argv[3]);
	} else if (argc == 12 && !strcmp(argv[1], "prepare")) {
		prepare(argv + 2);
	} else if (argc >= 4 && !strcmp(argv[1], "--time")) {
		for (int i = 3; i < argc; i++)
			time_file(argv[i], MIN(MAX((size_t)atoi(argv[2]), 1), MAX_RUNS));
	} else {
		fprintf(stderr, "usage: %s decode|prepare|--time ARGUMENTS, see its source\n", argv[0]);
		return 2;
	}
	return 0;
}
