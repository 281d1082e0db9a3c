/* SPDX-License-Identifier: Apache-2.0 */
/* image_decode() over the files of fixtures/ (fixtures.py makes them) and over bombs; limits; memory that is short. */
#include "../unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bomb.h"
#include "image/image.h"
#include "util/util.h"

#ifdef VACCEL_SANITIZED
#define SANITIZED 1
#else
#define SANITIZED 0
#endif
#define WIDTH  40u
#define HEIGHT 24u

static const struct image_limits no_limits;

/* ---- Memory that src/image takes itself; the libraries' own is not seen ---- */

static struct {
	unsigned int n;
	unsigned int fail_at; /* this one is not given; 0: all are */
	size_t largest;
} taken;

void *__real_malloc(size_t len);
void *__wrap_malloc(size_t len);

void *__wrap_malloc(size_t len)
{
	taken.largest = MAX(taken.largest, len);
	return ++taken.n == taken.fail_at ? NULL : __real_malloc(len);
}

void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	taken.largest = MAX(taken.largest, len);
	return ++taken.n == taken.fail_at ? NULL : __real_aligned_alloc(align, len);
}

static void watch_memory(unsigned int fail_at)
{
	memset(&taken, 0, sizeof(taken));
	taken.fail_at = fail_at;
}

/* ---- Files ---- */

/* Exactly as long as the file, so that a sanitizer sees who reads past its end. */
static struct file fixture(const char *name)
{
	struct file file = { .len = 0 };
	char path[512];
	FILE *from;
	long len;

	snprintf(path, sizeof(path), "%s/%s", FIXTURES, name);
	from = fopen(path, "re");
	if (!from)
		fail_msg("there is no %s", path);
	assert_int_equal(fseek(from, 0, SEEK_END), 0);
	len = ftell(from);
	rewind(from);
	file.len = (size_t)len;
	file.bytes = malloc(file.len ? file.len : 1);
	assert_int_equal(fread(file.bytes, 1, file.len, from), file.len);
	fclose(from);
	return file;
}

static int decode_file(const struct file *file, const struct image_limits *limits, unsigned int channels,
		       struct image *image, struct error *error)
{
	struct image untouched = { .width = 7, .pixels = (uint8_t *)1 };
	int r;

	*image = untouched;
	memset(error, 0, sizeof(*error));
	r = image_decode(file->bytes, file->len, limits, channels, image, error);
	if (r < 0) {
		assert_memory_equal(image, &untouched, sizeof(untouched));
		assert_int_equal(error->code, r);
		assert_text(*error, "picture: ");
		image->pixels = NULL;
	}
	return r;
}

static int decode(const char *name, const struct image_limits *limits, unsigned int channels, struct image *image,
		  struct error *error)
{
	struct file file = fixture(name);
	int r = decode_file(&file, limits, channels, image, error);

	free(file.bytes);
	return r;
}

static struct image decode_good(const char *name, unsigned int channels)
{
	struct error error;
	struct image image;

	if (decode(name, &no_limits, channels, &image, &error) < 0)
		fail_msg("%s: %s", name, error.text);
	return image;
}

/* ---- Good files ---- */

static uint64_t fnv(const uint8_t *bytes, size_t len)
{
	uint64_t value = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		value = (value ^ bytes[i]) * UINT64_C(0x100000001b3);
	return value;
}

static void pixels_are_those_of_tensorflow(void **state)
{
	unsigned int channels, width, height, n = 0;
	FILE *file = fopen(FIXTURES "/expected", "re");
	uint64_t hash;
	char name[64];

	assert_non_null(file);
	while (fscanf(file, "%63s %u %u %u %lx", name, &channels, &width, &height, &hash) == 5) {
		struct image image = decode_good(name, channels);

		if (image.width != width || image.height != height || image.channels != channels)
			fail_msg("%s: %u x %u x %u", name, image.width, image.height, image.channels);
		if (fnv(image.pixels, (size_t)width * height * channels) != hash)
			fail_msg("%s: its %u channels are not those of TensorFlow", name, channels);
		image_free(&image);
		n++;
	}
	fclose(file);
	/* Two for each file. */
	assert_true(n > 100);
}

/* What fixtures.py draws. */
static void drawn(uint32_t x, uint32_t y, uint8_t ret[3])
{
	bool corner = x < 8 && y < 8;

	ret[0] = corner ? 255 : (uint8_t)(x * 6);
	ret[1] = corner ? 0 : (uint8_t)(y * 10);
	ret[2] = corner ? 0 : (uint8_t)((x / 8 + y / 8) % 2 * 200);
}

/* The mean difference from what was drawn. */
static double difference(const struct image *image)
{
	double sum = 0;

	assert_int_equal(image->width, WIDTH);
	assert_int_equal(image->height, HEIGHT);
	for (uint32_t y = 0; y < HEIGHT; y++) {
		for (uint32_t x = 0; x < WIDTH; x++) {
			uint8_t want[3];

			drawn(x, y, want);
			for (unsigned int c = 0; c < 3; c++)
				sum += abs(image->pixels[(y * WIDTH + x) * 3 + c] - want[c]);
		}
	}
	return sum / (WIDTH * HEIGHT * 3);
}

static void png_is_what_was_drawn(void **state)
{
	static const char *const names[] = { "rgb.png", "rgb-interlaced.png", "rgb-transparent.png", "rgba.png",
					     "rgb-exif-6.png" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct image image = decode_good(names[i], 3);

		assert_true(difference(&image) == 0);
		image_free(&image);
	}
}

/* Nothing else but upright is near what was drawn: the next best is 50 away. */
static void jpeg_is_upright(void **state)
{
	for (int i = 1; i <= 9; i++) {
		char name[32];
		struct image image;

		snprintf(name, sizeof(name), "exif-%d.jpg", i);
		image = decode_good(name, 3);
		if (difference(&image) > 15)
			fail_msg("%s: %g away from what was drawn", name, difference(&image));
		image_free(&image);
	}
}

/* ---- Bad files ---- */

static const struct image_limits usual = { .bytes = 64 << 20, .side = 16384, .pixels = 100000000, .ms = 60000 };

static const struct {
	const char *name;
	int code;
	const char *text;
} bad[] = {
	{ "empty.bin", -EINVAL, "is empty" },
	{ "gif.bin", -EINVAL, "neither JPEG nor PNG, but begins with the bytes 47 49 46 38 39 61 01 00" },
	{ "jpeg-begin.bin", -EINVAL, "begins with the bytes ff d8" },
	{ "truncated.jpg", -EBADMSG, "JPEG: ends early" },
	{ "truncated-head.jpg", -EBADMSG, "JPEG: ends early" },
	{ "no-end.jpg", -EBADMSG, "JPEG: ends early" },
	{ "no-restart.jpg", -EBADMSG, "RST1" },
	{ "no-table.jpg", -EBADMSG, "JPEG: " },
	{ "bits-12.jpg", -EOPNOTSUPP, "precision 12" },
	{ "huge.jpg", -E2BIG, "is 20000 x 20000 pixels, a side has at most 16384" },
	{ "scans-101.jpg", -E2BIG, "more than 100 scans" },
	{ "truncated.png", -EBADMSG, "PNG: " },
	{ "truncated-head.png", -EBADMSG, "PNG: ends early, after 20 bytes" },
	{ "no-end.png", -EBADMSG, "PNG: ends early" },
	{ "bad-checksum.png", -EBADMSG, "CRC error" },
	{ "bad-filter.png", -EBADMSG, "filter" },
	{ "few-rows.png", -EBADMSG, "Not enough image data" },
	{ "no-palette.png", -EBADMSG, "PLTE" },
	{ "no-rows.png", -EBADMSG, "IHDR" },
	{ "huge.png", -E2BIG, "is 20000 x 20000 pixels, a side has at most 16384" },
	{ "tower.png", -E2BIG, "is 1 x 2147483647 pixels" },
	{ "vast.png", -E2BIG, "is 2147483647 x 2147483647 pixels" },
};

static void bad_files_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned int channels = 1; channels <= 3; channels += 2) {
			struct error error;
			struct image image;
			int r = decode(bad[i].name, &usual, channels, &image, &error);

			if (r != bad[i].code || !strstr(error.text, bad[i].text))
				fail_msg("%s: %d, %s", bad[i].name, r, r ? error.text : "");
		}
	}
}

/* A file that is cut anywhere, even before its last byte, is no picture. */
static void cut_files_are_refused(void **state)
{
	static const char *const names[] = { "plain.jpg",     "progressive.jpg",    "exif-6.jpg",
					     "cmyk.jpg",      "rgb-interlaced.png", "palette-transparent.png",
					     "rgb-exif-6.png" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct file whole = fixture(names[i]);

		for (size_t len = 0; len < whole.len; len++) {
			struct file cut = { malloc(len ? len : 1), len };
			struct image image;
			struct error error;
			int r;

			memcpy(cut.bytes, whole.bytes, len);
			r = decode_file(&cut, &no_limits, 3, &image, &error);
			if (r != -EBADMSG && r != -EINVAL)
				fail_msg("%s: of its first %zu bytes: %d, %s", names[i], len, r, r ? error.text : "");
			free(cut.bytes);
		}
		free(whole.bytes);
	}
}

static void nothing_is_printed(void **state)
{
	int saved = dup(STDERR_FILENO), file = memfd_create("stderr", MFD_CLOEXEC);
	int out = dup(STDOUT_FILENO);
	struct error error;
	struct image image;
	off_t len;

	fflush(NULL);
	assert_true(dup2(file, STDERR_FILENO) >= 0 && dup2(file, STDOUT_FILENO) >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		decode(bad[i].name, &usual, 3, &image, &error);
	decode("jfif-7.jpg", &usual, 3, &image, &error);
	image_free(&image);
	decode("bomb-profile.png", &usual, 3, &image, &error);
	image_free(&image);
	fflush(NULL);
	len = lseek(file, 0, SEEK_END);
	dup2(saved, STDERR_FILENO);
	dup2(out, STDOUT_FILENO);
	assert_int_equal(len, 0);
	close(saved);
	close(out);
	close(file);
}

static void channels_are_1_or_3(void **state)
{
	static const unsigned int wrong[] = { 0, 2, 4, UINT32_MAX };
	struct error error;
	struct image image;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(decode("rgb.png", &no_limits, wrong[i], &image, &error), -EINVAL);
}

/* ---- Limits ---- */

static void limits_hold_to_the_pixel(void **state)
{
	static const char *const names[] = { "plain.jpg", "rgb.png", "exif-6.jpg" };
	struct error error;
	struct image image;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct file file = fixture(names[i]);
		const struct image_limits just = { .bytes = file.len, .side = WIDTH, .pixels = WIDTH * HEIGHT };
		struct image_limits bytes = just, side = just, pixels = just;

		bytes.bytes--;
		side.side--;
		pixels.pixels--;
		assert_int_equal(decode_file(&file, &just, 3, &image, &error), 0);
		image_free(&image);
		assert_int_equal(decode_file(&file, &bytes, 3, &image, &error), -E2BIG);
		assert_text(error, "bytes, at most");
		assert_int_equal(decode_file(&file, &side, 3, &image, &error), -E2BIG);
		assert_text(error, "a side has at most 39");
		assert_int_equal(decode_file(&file, &pixels, 3, &image, &error), -E2BIG);
		assert_text(error, "at most 959 are taken");
		free(file.bytes);
	}
}

static void huge_heads_take_no_memory(void **state)
{
	static const struct image_limits pixels = { .pixels = 399999999 };
	static const char *const names[] = { "huge.jpg", "huge.png", "vast.png" };
	struct error error;
	struct image image;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct file file = fixture(names[i]);

		watch_memory(0);
		assert_int_equal(decode_file(&file, &pixels, 3, &image, &error), -E2BIG);
		assert_true(taken.largest < 1 << 20);
		free(file.bytes);
	}
}

/* Sampling that pads most: what the formula of image.h allows has to be enough for every picture that is allowed. */
static void thin_pictures_have_memory_enough(void **state)
{
	struct file file = bomb_jpeg(8, 3);
	struct error error;
	struct image image;

	assert_int_equal(decode_file(&file, &usual, 3, &image, &error), 0);
	assert_int_equal(image.width, 8);
	image_free(&image);
	free(file.bytes);
}

/* Memory comes in large pages, then. */
static void large_pictures(void **state)
{
	enum { SIDE = 2048 };
	struct file file = bomb_jpeg(SIDE, 3);
	struct error error;
	struct image image;

	for (unsigned int channels = 1; channels <= 3; channels += 2) {
		watch_memory(1);
		assert_int_equal(decode_file(&file, &usual, channels, &image, &error), -ENOMEM);
		watch_memory(0);
		assert_int_equal(decode_file(&file, &usual, channels, &image, &error), 0);
		assert_true(taken.largest >= SIDE * SIDE * channels);
		assert_int_equal(image.pixels[SIDE * SIDE * channels - 1], 128);
		image_free(&image);
	}
	free(file.bytes);
}

/* RLIMIT_DATA counts what statm calls data. */
static uint64_t data_len(void)
{
	unsigned long data = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file || fscanf(file, "%*u %*u %*u %*u %*u %lu", &data) != 1)
		exit(2);
	fclose(file);
	return (uint64_t)data * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* In a process of its own: may take more bytes of memory, and decode the file. */
static void decode_within(const struct file *file, uint64_t more)
{
	struct rlimit limit;
	struct error error;
	struct image image;

	/* What tests before this one left free would not be counted. */
	malloc_trim(0);
	limit.rlim_cur = limit.rlim_max = data_len() + more;
	if (setrlimit(RLIMIT_DATA, &limit) < 0)
		exit(3);
	exit(decode_file(file, &usual, 3, &image, &error) < 0 ? 1 : 0);
}

/* What image.h promises, for a picture that is gathered before its rows come out. */
static void memory_stays_within_the_formula(void **state)
{
	enum { SIDE = 4096 };
	const uint64_t pixels = SIDE * SIDE, gathered = 2 * pixels, shown = 3 * pixels;
	const uint64_t most = 2 * shown + 8 * (SIDE + 32) * (SIDE + 32) + IMAGE_MEMORY;
	struct file file;
	int status;

	/* Shadow memory is private memory, too. */
	if (SANITIZED)
		skip();
	file = bomb_jpeg(SIDE, 3);
	/* The second shows that the limit is one. */
	for (int enough = 1; enough >= 0; enough--) {
		pid_t pid = fork();

		if (pid == 0)
			decode_within(&file, enough ? most : gathered + shown - (1 << 20));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), enough ? 0 : 1);
	}
	free(file.bytes);
}

/* ---- Threads ---- */

static void *decode_often(void *name)
{
	struct image first = decode_good(name, 3);
	uintptr_t differ = 0;

	for (int i = 0; i < 200; i++) {
		struct image image = decode_good(name, 3);

		differ += memcmp(image.pixels, first.pixels, (size_t)image.width * image.height * 3) != 0;
		image_free(&image);
	}
	image_free(&first);
	return (void *)differ;
}

static void threads_do_not_meet(void **state)
{
	static const char *const names[] = { "progressive.jpg", "rgb-interlaced.png", "cmyk.jpg", "exif-6.jpg" };
	pthread_t threads[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, decode_often, (void *)(uintptr_t)names[i]), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		void *differ;

		pthread_join(threads[i], &differ);
		assert_null(differ);
	}
}

/* ---- Bombs ---- */

#define MUCH (128u << 20)

static void chunks_that_unpack_to_much_are_not_unpacked(void **state)
{
	static const struct {
		const char *chunk;
		size_t len;
		size_t most; /* bytes taken at once */
	} chunks[] = {
		{ "zTXt", MUCH, 1 << 20 },
		{ "iCCP", MUCH, 1 << 20 },
		{ "iCCP", 6 << 20, 1 << 20 },
		/* To see that profiles are looked at. */
		{ "iCCP", 2 << 20, 3 << 20 },
	};
	struct error error;
	struct image image;

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		struct file file = bomb_png(chunks[i].chunk, chunks[i].len);

		watch_memory(0);
		assert_int_equal(decode_file(&file, &usual, 1, &image, &error), 0);
		assert_true(taken.largest <= chunks[i].most);
		assert_int_equal(taken.largest >= 2 << 20, chunks[i].most > 2 << 20);
		assert_int_equal(image.pixels[0], 0);
		image_free(&image);
		free(file.bytes);
	}
}

/* CPU time: however slow or fast the machine is, this takes longer than 5 ms. */
static void too_much_behind_the_rows_takes_too_long(void **state)
{
	static const struct image_limits hasty = { .ms = 5 };
	struct file file = bomb_png("IDAT", MUCH);
	struct error error;
	struct image image;

	assert_int_equal(decode_file(&file, &hasty, 1, &image, &error), -ETIME);
	assert_text(error, "takes more than 5 ms to decode");
	assert_int_equal(decode_file(&file, &usual, 1, &image, &error), 0);
	image_free(&image);
	free(file.bytes);
}

static void scans_take_too_long(void **state)
{
	static const struct image_limits hasty = { .ms = 5 };
	struct file file = bomb_jpeg(4096, IMAGE_MAX_SCANS);
	struct error error;
	struct image image;

	assert_int_equal(decode_file(&file, &hasty, 1, &image, &error), -ETIME);
	assert_int_equal(decode_file(&file, &usual, 1, &image, &error), 0);
	assert_int_equal(image.pixels[0], 128);
	image_free(&image);
	free(file.bytes);
}

static void scans_are_counted(void **state)
{
	struct file file = bomb_jpeg(64, 5000);
	struct error error;
	struct image image;

	assert_int_equal(decode_file(&file, &no_limits, 1, &image, &error), -E2BIG);
	assert_text(error, "more than 100 scans");
	free(file.bytes);
}

/* ---- Memory that is short ---- */

static void each_allocation_may_fail(void **state)
{
	static const char *const names[] = { "plain.jpg", "exif-6.jpg", "rgb-exif-6.png", "rgb-srgb.png",
					     "bomb-profile.png" };
	struct error error;
	struct image image;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct file file = fixture(names[i]);
		unsigned int n = 0;
		int r;

		do {
			watch_memory(++n);
			r = decode_file(&file, &no_limits, 3, &image, &error);
			/* A chunk that may be missing is, then. */
			if (r != 0 && r != -ENOMEM)
				fail_msg("%s: without allocation %u: %s", names[i], n, error.text);
			image_free(&image);
		} while (taken.n >= n);
		watch_memory(0);
		assert_int_equal(r, 0);
		assert_true(n > 1);
		free(file.bytes);
	}
	image_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pixels_are_those_of_tensorflow),
		cmocka_unit_test(png_is_what_was_drawn),
		cmocka_unit_test(jpeg_is_upright),
		cmocka_unit_test(bad_files_are_refused),
		cmocka_unit_test(cut_files_are_refused),
		cmocka_unit_test(nothing_is_printed),
		cmocka_unit_test(channels_are_1_or_3),
		cmocka_unit_test(limits_hold_to_the_pixel),
		cmocka_unit_test(huge_heads_take_no_memory),
		cmocka_unit_test(thin_pictures_have_memory_enough),
		cmocka_unit_test(large_pictures),
		cmocka_unit_test(memory_stays_within_the_formula),
		cmocka_unit_test(threads_do_not_meet),
		cmocka_unit_test(chunks_that_unpack_to_much_are_not_unpacked),
		cmocka_unit_test(too_much_behind_the_rows_takes_too_long),
		cmocka_unit_test(scans_take_too_long),
		cmocka_unit_test(scans_are_counted),
		cmocka_unit_test(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
