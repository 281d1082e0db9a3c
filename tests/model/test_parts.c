/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a model, its hash, and the choice of the best classes. */
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "model/top.h"
#include "model/tree.h"
#include "unit/test.h"
#include "util/util.h"

/* ---- Files ---- */

static char folder[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int make_folder(void **state)
{
	strcpy(folder, "/tmp/vaccel-model-XXXXXX");
	return mkdtemp(folder) && chdir(folder) == 0 && mkdir("m", 0755) == 0 && chdir("m") == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
	return chdir("/") < 0 || nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* The tree of the working folder. */
static void read_here(struct tree *tree, size_t files)
{
	const struct tree_limits limits = { .files = files };
	struct error error = { 0 };
	int dir = open(".", O_RDONLY | O_DIRECTORY);

	if (tree_read(dir, &limits, tree, &error) < 0)
		fail_msg("%s", error.text);
	close(dir);
}

static void check_here(const char *says)
{
	struct error error = { 0 };
	struct tree tree;
	int r;

	read_here(&tree, 100);
	r = tree_check(&tree, &error);
	tree_free(&tree);
	if (!says) {
		if (r < 0)
			fail_msg("%s", error.text);
		return;
	}
	assert_int_equal(r, -EINVAL);
	assert_text(error, says);
}

static void test_links(void **state)
{
	put("a", "1");
	assert_int_equal(mkdir("d", 0755), 0);
	put("d/b", "22");
	assert_int_equal(symlink("../a", "d/link"), 0);
	assert_int_equal(symlink("d", "e"), 0);
	check_here(NULL);
	assert_int_equal(symlink("../../m/a", "d/out"), 0);
	check_here("d/out: leads out of the model's folder");
	unlink("d/out");
	assert_int_equal(symlink("/etc/passwd", "d/out"), 0);
	check_here("d/out: leads out of the model's folder");
	unlink("d/out");
	assert_int_equal(symlink("nothing", "f"), 0);
	check_here("f: No such file");
	unlink("f");
	assert_int_equal(symlink("f", "f"), 0);
	check_here("f: Too many levels");
	unlink("f");
	assert_int_equal(symlink(".", "d/self"), 0);
	check_here("lies too deep");
}

static void test_kinds(void **state)
{
	assert_int_equal(mkfifo("pipe", 0600), 0);
	check_here("pipe: is neither a file nor a folder");
	unlink("pipe");
	put("a\nb", "");
	check_here("has control characters");
	unlink("a\nb");
	check_here(NULL);
}

static void test_numbers(void **state)
{
	struct error error = { 0 };
	struct tree tree;
	char name[16];

	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(name, "xyz");
	}
	read_here(&tree, 5);
	assert_int_equal(tree.n_files, 5);
	assert_int_equal(tree.bytes, 15);
	assert_string_equal(tree.files[4].path, "f4");
	assert_int_equal(tree_check(&tree, NULL), 0);
	tree_free(&tree);
	read_here(&tree, 4);
	assert_int_equal(tree_check(&tree, &error), -EINVAL);
	assert_text(error, "is one file too many");
	tree_free(&tree);
}

static bool print_changes(struct tree *before)
{
	struct tree now;
	bool same;

	read_here(&now, 100);
	same = !memcmp(before->print, now.print, TREE_HASH);
	tree_free(before);
	*before = now;
	return !same;
}

static void test_print(void **state)
{
	struct tree tree;

	put("a", "1");
	assert_int_equal(mkdir("d", 0755), 0);
	read_here(&tree, 100);
	assert_false(print_changes(&tree));
	put("d/b", "");
	assert_true(print_changes(&tree));
	put("d/b", "1");
	assert_true(print_changes(&tree));
	assert_int_equal(rename("d/b", "d/c"), 0);
	assert_true(print_changes(&tree));
	assert_int_equal(symlink("../..", "d/out"), 0);
	assert_true(print_changes(&tree));
	assert_false(print_changes(&tree));
	unlink("d/out");
	assert_true(print_changes(&tree));
	tree_free(&tree);
}

static void test_open(void **state)
{
	int dir = open(".", O_RDONLY | O_DIRECTORY), fd;

	put("a", "1");
	fd = tree_open(dir, "a", O_RDONLY);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(tree_open(dir, "../m/a", O_RDONLY), -EXDEV);
	assert_int_equal(tree_open(dir, "/etc/passwd", O_RDONLY), -EXDEV);
	assert_int_equal(tree_open(dir, "b", O_RDONLY), -ENOENT);
	close(dir);
}

static void test_read_file(void **state)
{
	struct error error = { 0 };
	char *text = NULL;
	size_t len;
	int dir = open(".", O_RDONLY | O_DIRECTORY);

	put("a", "12345");
	assert_int_equal(tree_read_file(dir, "a", 5, &text, &len, &error), 0);
	assert_string_equal(text, "12345");
	assert_int_equal(len, 5);
	free(text);
	assert_int_equal(tree_read_file(dir, "a", 4, &text, &len, &error), -E2BIG);
	assert_int_equal(tree_read_file(dir, ".", 4, &text, &len, &error), -EINVAL);
	assert_int_equal(mkfifo("pipe", 0600), 0);
	assert_int_equal(tree_read_file(dir, "pipe", 4, &text, &len, &error), -EINVAL);
	close(dir);
}

/* What the manual says about it, word for word. */
static void hash_as_documented(char *line, int size)
{
	FILE *f = popen("find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum", "r");

	assert_non_null(f);
	assert_non_null(fgets(line, size, f));
	assert_int_equal(pclose(f), 0);
}

static void test_hash(void **state)
{
	char line[128], hex[2 * TREE_HASH + 1];
	uint8_t hash[TREE_HASH], again[TREE_HASH];
	const bool stop = true;
	struct tree tree;
	int dir = open(".", O_RDONLY | O_DIRECTORY);

	assert_int_equal(mkdir("b", 0755), 0);
	put("b/x y", "inner");
	put("b-c", "before b/");
	put("B", "");
	assert_int_equal(symlink("b/x y", "link"), 0);
	read_here(&tree, 100);
	assert_int_equal(tree_hash(dir, &tree, NULL, hash, NULL), 0);
	tree_hex(hash, hex);
	hash_as_documented(line, sizeof(line));
	assert_memory_equal(line, hex, 2 * TREE_HASH);
	assert_int_equal(tree_hash(dir, &tree, &stop, again, NULL), -ECANCELED);
	put("B", "x");
	assert_int_equal(tree_hash(dir, &tree, NULL, again, NULL), 0);
	assert_memory_not_equal(hash, again, TREE_HASH);
	tree_free(&tree);
	close(dir);
}

/* ---- The best classes ---- */

static void check_top(const struct top_values *values, size_t k, const uint32_t *expected, size_t n)
{
	struct top top[16];

	assert_int_equal(top_find(values, top, k, NULL), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(top[i].index, expected[i]);
}

static void test_order(void **state)
{
	const float data[] = { 0.1f, 0.5f, 0.1f, -1, 0.5f, 0.0f };
	const struct top_values values = { data, VACCEL_FLOAT32, ARRAY_SIZE(data), false };

	check_top(&values, 6, (const uint32_t[]){ 1, 4, 0, 2, 5, 3 }, 6);
	check_top(&values, 3, (const uint32_t[]){ 1, 4, 0 }, 3);
	check_top(&values, 1, (const uint32_t[]){ 1 }, 1);
	check_top(&values, 16, (const uint32_t[]){ 1, 4, 0, 2, 5, 3 }, 6);
}

static void test_types(void **state)
{
	const double wide[] = { 1, 3, 2 };
	const uint16_t half[] = { 0x3c00 /* 1 */, 0x4200 /* 3 */, 0x0001 /* 2^-24 */, 0xfc00 /* -inf */ };
	const uint16_t brain[] = { 0x3f80 /* 1 */, 0x4040 /* 3 */, 0x4000 /* 2 */ };
	struct top top[4];

	check_top(&(struct top_values){ wide, VACCEL_FLOAT64, 3, false }, 3, (const uint32_t[]){ 1, 2, 0 }, 3);
	check_top(&(struct top_values){ half, VACCEL_FLOAT16, 4, false }, 4, (const uint32_t[]){ 1, 0, 2, 3 }, 4);
	check_top(&(struct top_values){ brain, VACCEL_BFLOAT16, 3, false }, 3, (const uint32_t[]){ 1, 2, 0 }, 3);
	assert_int_equal(top_find(&(struct top_values){ half, VACCEL_FLOAT16, 4, false }, top, 4, NULL), 0);
	assert_true(top[0].value == 3 && top[2].value == 0x1p-24f && isinf(top[3].value));
}

static void test_softmax(void **state)
{
	const float data[] = { 1000, 1001, -INFINITY, 1000 };
	const struct top_values values = { data, VACCEL_FLOAT32, 4, true };
	const double e = exp(1);
	struct top top[4];

	check_top(&values, 4, (const uint32_t[]){ 1, 0, 3, 2 }, 4);
	assert_int_equal(top_find(&values, top, 4, NULL), 0);
	assert_true(fabs((double)top[0].value - e / (e + 2)) < 1e-7);
	assert_true(fabs((double)top[1].value - 1 / (e + 2)) < 1e-7);
	assert_true(top[3].value == 0);
}

static void test_not_numbers(void **state)
{
	const float nan[] = { 1, NAN, 2 }, inf[] = { 1, INFINITY };
	struct error error = { 0 };
	struct top top[4];

	assert_int_equal(top_find(&(struct top_values){ nan, VACCEL_FLOAT32, 3, false }, top, 1, &error), -EIO);
	assert_text(error, "class 1 of its output is not a number");
	assert_int_equal(top_find(&(struct top_values){ nan, VACCEL_FLOAT32, 3, true }, top, 1, &error), -EIO);
	assert_int_equal(top_find(&(struct top_values){ inf, VACCEL_FLOAT32, 2, true }, top, 1, &error), -EIO);
	assert_int_equal(top_find(&(struct top_values){ inf, VACCEL_FLOAT32, 2, false }, top, 1, &error), 0);
}

/* Against sorting everything. */
static const float *sorted_by;

static int by_value(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	if (sorted_by[x] != sorted_by[y])
		return sorted_by[x] < sorted_by[y] ? 1 : -1;
	return x > y ? 1 : -1;
}

static void test_many(void **state)
{
	enum { N = 1000, K = 100 };
	uint32_t order[N];
	float data[N];
	struct top top[K];
	uint64_t seed = 7;

	for (int round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < N; i++) {
			/* Few values, so that many are equal. */
			data[i] = (float)(test_random(&seed) % (round < 10 ? 50 : 100000));
			order[i] = i;
		}
		sorted_by = data;
		qsort(order, N, sizeof(*order), by_value);
		assert_int_equal(top_find(&(struct top_values){ data, VACCEL_FLOAT32, N, false }, top, K, NULL), 0);
		for (size_t i = 0; i < K; i++)
			assert_int_equal(top[i].index, order[i]);
	}
}

#define WITH_FOLDER(test_) cmocka_unit_test_setup_teardown(test_, make_folder, remove_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(test_links),
		WITH_FOLDER(test_kinds),
		WITH_FOLDER(test_numbers),
		WITH_FOLDER(test_print),
		WITH_FOLDER(test_open),
		WITH_FOLDER(test_read_file),
		WITH_FOLDER(test_hash),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_softmax),
		cmocka_unit_test(test_not_numbers),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("parts", tests, NULL, NULL);
}
