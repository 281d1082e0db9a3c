/* SPDX-License-Identifier: Apache-2.0 */
/* TAP as tests end, or one JSON object at the end. */
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "suite.h"

static json_object *rows; /* NULL: TAP */
static unsigned int n_tests, n_failed, n_skipped;

void report_as_json(void)
{
	rows = json_object_new_array();
}

static void add_row(const char *name, const char *result, const char *detail)
{
	json_object *row = json_object_new_object();

	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "result", json_object_new_string(result));
	if (detail)
		json_object_object_add(row, "detail", json_object_new_string(detail));
	json_object_array_add(rows, row);
}

void report(bool ok, const char *detail, const char *format, ...)
{
	char name[160];
	va_list ap;

	va_start(ap, format);
	vsnprintf(name, sizeof(name), format, ap);
	va_end(ap);
	n_tests++;
	n_failed += !ok;
	if (rows) {
		add_row(name, ok ? "ok" : "failed", ok ? NULL : detail);
		return;
	}
	printf("%s %u - %s\n", ok ? "ok" : "not ok", n_tests, name);
	if (!ok && detail)
		printf("# %s\n", detail);
	fflush(stdout);
}

void report_skip(const char *name, const char *why)
{
	n_tests++;
	n_skipped++;
	if (rows)
		add_row(name, "skipped", why);
	else
		printf("ok %u - %s # SKIP %s\n", n_tests, name, why);
}

int report_end(const struct suite *suite)
{
	json_object *all;

	if (rows) {
		all = json_object_new_object();
		json_object_object_add(all, "transport", json_object_new_string(suite->url));
		json_object_object_add(all, "seed", json_object_new_int64((int64_t)suite->seed));
		json_object_object_add(all, "tests", json_object_new_int64(n_tests));
		json_object_object_add(all, "failed", json_object_new_int64(n_failed));
		json_object_object_add(all, "skipped", json_object_new_int64(n_skipped));
		json_object_object_add(all, "results", rows);
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
		json_object_put(all);
	} else {
		printf("1..%u\n", n_tests);
	}
	return n_failed ? 1 : 0;
}
