/* SPDX-License-Identifier: Apache-2.0 */
/* src/util: errors, checked arithmetic, log lines. */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/error.h"
#include "util/hist.h"
#include "util/log.h"
#include "util/util.h"

static void error_keeps_code_and_text(void **state)
{
	struct error error = { 0 };

	assert_int_equal(error_set(&error, -ENOENT, "file %s: missing", "x"), -ENOENT);
	assert_int_equal(error.code, -ENOENT);
	assert_string_equal(error.text, "file x: missing");
	assert_int_equal(error_set(NULL, -EINVAL, "nobody listens"), -EINVAL);
	error_prefix(&error, "config %d", 7);
	assert_int_equal(error.code, -ENOENT);
	assert_string_equal(error.text, "config 7: file x: missing");
	error_prefix(NULL, "nobody");
}

static void error_cuts_long_text(void **state)
{
	struct {
		struct error error;
		char guard[8];
	} box = { .guard = "guard!" };
	char longer[2 * ERROR_TEXT];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	error_set(&box.error, -EIO, "%s", longer);
	assert_int_equal(strlen(box.error.text), ERROR_TEXT - 1);
	error_prefix(&box.error, "head");
	assert_int_equal(strlen(box.error.text), ERROR_TEXT - 1);
	assert_int_equal(strncmp(box.error.text, "head: xxx", 9), 0);
	error_prefix(&box.error, "%s", longer);
	assert_int_equal(strlen(box.error.text), ERROR_TEXT - 1);
	assert_int_equal(box.error.code, -EIO);
	assert_string_equal(box.guard, "guard!");
}

/* Each length of prefix around the place where the old text no longer fits. */
static void error_prefix_at_every_length(void **state)
{
	char head[ERROR_TEXT + 2];

	for (size_t n = 0; n < sizeof(head); n++) {
		struct error error = { 0 };

		memset(head, 'h', n);
		head[n] = '\0';
		error_set(&error, -EIO, "tail");
		error_prefix(&error, "%s", head);
		assert_int_equal(error.code, -EIO);
		assert_true(strlen(error.text) < ERROR_TEXT);
		if (n + 2 + 4 < ERROR_TEXT)
			assert_string_equal(error.text + n, ": tail");
	}
}

static void error_names(void **state)
{
	assert_string_equal(error_name(ENOENT), "ENOENT");
	assert_string_equal(error_name(-ENOENT), "ENOENT");
	assert_string_equal(error_name(-99999), "-99999");
}

static void arithmetic_tells_overflow(void **state)
{
	uint64_t sum = 1;

	assert_false(add_u64(UINT64_MAX - 1, 1, &sum));
	assert_true(sum == UINT64_MAX);
	assert_true(add_u64(UINT64_MAX, 1, &sum));
	assert_false(mul_u64(UINT64_MAX / 3, 3, &sum));
	assert_true(mul_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &sum));
	assert_false(mul_u64(0, UINT64_MAX, &sum));
	assert_true(sum == 0);
}

static void range_holds_at_its_edges(void **state)
{
	assert_true(range_in(0, 0, 0));
	assert_true(range_in(0, 8, 8));
	assert_true(range_in(8, 0, 8));
	assert_false(range_in(8, 1, 8));
	assert_false(range_in(9, 0, 8));
	assert_false(range_in(1, UINT64_MAX, 8));
	assert_false(range_in(UINT64_MAX, 2, 8));
	assert_true(range_in(0, UINT64_MAX, UINT64_MAX));
}

/* Runs emit() with standard error in a file and returns what it wrote. */
static void capture(void (*emit)(void), char *text, size_t len)
{
	int saved = dup(STDERR_FILENO), file = open(P_tmpdir, O_TMPFILE | O_RDWR, 0600);
	ssize_t n;

	assert_true(saved >= 0 && file >= 0);
	dup2(file, STDERR_FILENO);
	emit();
	dup2(saved, STDERR_FILENO);
	n = pread(file, text, len - 1, 0);
	close(file);
	close(saved);
	assert_true(n >= 0);
	text[n] = '\0';
}

static void emit_hostile(void)
{
	log_line(LOG_ERR, "guest says '%s'",
		 "a\nb\rc\x1b[31md\x7f"
		 "e\xc2\x9b"
		 "f\tg");
}

static void emit_debug(void)
{
	log_line(LOG_DEBUG, "not wanted");
}

static void emit_long(void)
{
	char text[4096];

	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_line(LOG_ERR, "%s", text);
}

static void log_is_silent_until_opened(void **state)
{
	char text[256];

	capture(emit_hostile, text, sizeof(text));
	assert_string_equal(text, "");
}

static void log_replaces_controls(void **state)
{
	char text[256], expected[256];

	unsetenv("JOURNAL_STREAM");
	log_open("test", LOG_INFO);
	capture(emit_hostile, text, sizeof(text));
	snprintf(expected, sizeof(expected), "test[%d]: guest says 'a?b?c?[31md?e??f?g'\n", (int)getpid());
	assert_string_equal(text, expected);
	capture(emit_debug, text, sizeof(text));
	assert_string_equal(text, "");
}

static void log_cuts_long_lines(void **state)
{
	char text[8192];

	log_open("test", LOG_INFO);
	capture(emit_long, text, sizeof(text));
	assert_true(strlen(text) <= 512);
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void log_speaks_to_the_journal(void **state)
{
	char text[256];

	setenv("JOURNAL_STREAM", "1:2", 1);
	log_open("test", LOG_INFO);
	capture(emit_hostile, text, sizeof(text));
	assert_int_equal(strncmp(text, "<3>guest says", strlen("<3>guest says")), 0);
}

static void emit_connection(void)
{
	log_line(LOG_WARNING, LOG_CONNECTION "says \"%s\"", 7, "connection 8: \\");
}

static void emit_bad_utf8(void)
{
	/* A byte of no character, one cut short, a surrogate, one too large, one too long; then good ones. */
	log_line(LOG_ERR, "%s",
		 "\xff \xc3 \xed\xa0\x80 \xf4\x90\x80\x80 \xc0\xaf \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
}

/* The line without its time, which is checked to be one. */
static void capture_json(void (*emit)(void), char *text, size_t size, const char *level)
{
	char line[8192], head[64];
	struct tm tm = { 0 };
	int at = 0;

	capture(emit, line, sizeof(line));
	assert_int_equal(sscanf(line, "{\"time\":\"%d-%d-%dT%d:%d:%d.%*6[0-9]Z\",%n", &tm.tm_year, &tm.tm_mon,
				&tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &at),
			 6);
	assert_true(at > 0);
	snprintf(head, sizeof(head), "\"level\":\"%s\",\"program\":\"test\",\"pid\":%d,", level, (int)getpid());
	assert_int_equal(strncmp(line + at, head, strlen(head)), 0);
	snprintf(text, size, "%s", line + at + strlen(head));
}

static void log_writes_json(void **state)
{
	char text[8192];

	unsetenv("JOURNAL_STREAM");
	log_open("test", LOG_INFO);
	log_use_json();
	capture_json(emit_hostile, text, sizeof(text), "error");
	assert_string_equal(text,
			    "\"message\":\"guest says 'a\\u000ab\\u000dc\\u001b[31md\\u007fe\\u009bf\\u0009g'\"}\n");
	capture_json(emit_connection, text, sizeof(text), "warning");
	assert_string_equal(text, "\"connection\":7,\"message\":\"connection 7: says \\\"connection 8: \\\\\\\"\"}\n");
	capture_json(emit_bad_utf8, text, sizeof(text), "error");
	assert_string_equal(text, "\"message\":\"\\ufffd \\ufffd \\ufffd\\ufffd\\ufffd \\ufffd\\ufffd\\ufffd\\ufffd "
				  "\\ufffd\\ufffd \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"}\n");
	capture_json(emit_long, text, sizeof(text), "error");
	assert_true(strlen(text) < 600);
	assert_string_equal(text + strlen(text) - 4, "y\"}\n");
}

/* All quotes: nothing takes more room but controls. */
static void emit_controls(void)
{
	char text[4096];

	memset(text, 1, sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_line(LOG_ERR, "%s", text);
}

static void log_json_has_room(void **state)
{
	char text[8192];

	log_open("test", LOG_INFO);
	log_use_json();
	capture_json(emit_controls, text, sizeof(text), "error");
	assert_string_equal(text + strlen(text) - 9, "\\u0001\"}\n");
	assert_true(strlen(text) > 6 * 500);
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_open("test", LOG_INFO);
	log_use_json();
	capture(emit_debug, text, sizeof(text));
	assert_string_equal(text, "");
	capture(emit_hostile, text, sizeof(text));
	assert_int_equal(strncmp(text, "<3>{\"time\":", strlen("<3>{\"time\":")), 0);
	unsetenv("JOURNAL_STREAM");
}

static void hist_buckets_follow_each_other(void **state)
{
	for (unsigned int i = 0; i < HIST_BUCKETS - 1; i++) {
		assert_true(hist_start(i) < hist_start(i + 1));
		assert_int_equal(hist_bucket(hist_start(i)), i);
		assert_int_equal(hist_bucket(hist_start(i + 1) - 1), i);
	}
	assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
	assert_int_equal(hist_start(4 * 9), 1024);
	/* A quarter of the value at worst. */
	for (unsigned int i = 4; i < HIST_BUCKETS; i++)
		assert_true((hist_start(i + 1) - hist_start(i)) * 4 <= hist_start(i));
}

static void hist_finds_quantiles(void **state)
{
	struct hist hist = { 0 }, both = { 0 };

	assert_true(hist_quantile(&hist, 0.5) == 0);
	for (uint64_t i = 1; i <= 1000; i++)
		hist_add(&hist, i * 1000);
	assert_int_equal(hist.count, 1000);
	assert_int_equal(hist.sum_ns, 500500000);
	for (double part = 0.1; part < 1; part += 0.1) {
		double found = hist_quantile(&hist, part);

		assert_true(found > part * 1e6 * 0.95 && found < part * 1e6 * 1.05);
	}
	hist_merge(&both, &hist);
	hist_merge(&both, &hist);
	assert_int_equal(both.count, 2000);
	assert_true(hist_quantile(&both, 0.5) == hist_quantile(&hist, 0.5));
	/* Made up by whoever shares the memory. */
	memset(&hist, 0xff, sizeof(hist));
	assert_true(hist_quantile(&hist, 0.99) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_keeps_code_and_text),
		cmocka_unit_test(error_cuts_long_text),
		cmocka_unit_test(error_prefix_at_every_length),
		cmocka_unit_test(error_names),
		cmocka_unit_test(arithmetic_tells_overflow),
		cmocka_unit_test(range_holds_at_its_edges),
		cmocka_unit_test(log_is_silent_until_opened),
		cmocka_unit_test(log_replaces_controls),
		cmocka_unit_test(log_cuts_long_lines),
		cmocka_unit_test(log_speaks_to_the_journal),
		cmocka_unit_test(log_writes_json),
		cmocka_unit_test(log_json_has_room),
		cmocka_unit_test(hist_buckets_follow_each_other),
		cmocka_unit_test(hist_finds_quantiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
