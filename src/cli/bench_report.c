/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a bench's result. */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"

static struct json_object *get(const struct json_object *object, const char *key, enum json_type type)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(object, json_type_object))
		return NULL;
	json_object_object_get_ex(object, key, &value);
	return json_object_is_type(value, type) ? value : NULL;
}

static const char *text_of(const struct json_object *object, const char *key)
{
	struct json_object *value = get(object, key, json_type_string);

	return value ? json_object_get_string(value) : "";
}

static bool side_valid(const struct json_object *row, const char *role, const char *value)
{
	struct json_object *side = get(row, role, json_type_object);
	struct json_object *number = NULL;

	return side && json_object_object_get_ex(side, value, &number) && get(side, "samples", json_type_int) &&
	       get(side, "median_ns", json_type_int) &&
	       (json_object_is_type(number, json_type_double) || json_object_is_type(number, json_type_int));
}

bool bench_result_valid(const struct json_object *result)
{
	static const char *const texts[] = { "bench", "key", "value", "value_title" };
	struct json_object *rows = get(result, "rows", json_type_array);
	bool baseline = get(result, "baseline", json_type_object);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (!get(result, texts[i], json_type_string))
			return false;
	if (!rows || !get(result, "where", json_type_object) || !get(result, "subject", json_type_object))
		return false;
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		if (!get(row, text_of(result, "key"), json_type_int) ||
		    !side_valid(row, "subject", text_of(result, "value")) ||
		    (baseline && !side_valid(row, "baseline", text_of(result, "value"))))
			return false;
	}
	return true;
}

static double number_of(const struct json_object *object, const char *key)
{
	return json_object_get_double(json_object_object_get(object, key));
}

static void side_cells(struct table *table, const struct json_object *result, const struct json_object *row,
		       const char *role)
{
	struct json_object *side = get(row, role, json_type_object);

	table_cell(table, "%.0f", number_of(side, text_of(result, "value")));
	table_cell(table, "%.1f", number_of(side, "median_ns") / 1e3);
	table_cell(table, "%.1f", number_of(side, "spread_percent"));
	table_cell(table, "%llu", (unsigned long long)number_of(side, "samples"));
}

static void print_side(const struct json_object *result, const char *role)
{
	struct json_object *side = get(result, role, json_type_object);
	struct json_object *ops = get(side, "ops", json_type_array);

	if (!side)
		return;
	printf("%s: %s, %s\n", text_of(side, "label"), text_of(side, "transport"), text_of(side, "device"));
	for (size_t i = 0; ops && i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);

		if (!strcmp(text_of(row, "name"), text_of(result, "bench")) && *text_of(row, "plugin"))
			printf("  served by %s: %s\n", text_of(row, "plugin"), text_of(row, "hardware"));
	}
}

static struct table *new_table(const struct json_object *result, bool baseline)
{
	const char *title = text_of(result, "value_title");
	char names[2][64];
	const char *titles[10] = { text_of(result, "key"),
				   names[0],
				   "us",
				   "spread %",
				   "samples",
				   names[1],
				   "us",
				   "spread %",
				   "samples",
				   "overhead %" };

	snprintf(names[0], sizeof(names[0]), "%s %s", text_of(get(result, "subject", json_type_object), "label"),
		 title);
	snprintf(names[1], sizeof(names[1]), "%s %s", text_of(get(result, "baseline", json_type_object), "label"),
		 title);
	return table_new(baseline ? 10 : 5, titles);
}

void bench_print(struct json_object *result)
{
	struct json_object *rows = get(result, "rows", json_type_array);
	struct json_object *where = get(result, "where", json_type_object);
	bool baseline = get(result, "baseline", json_type_object);
	struct table *table = new_table(result, baseline);

	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		table_cell(table, "%llu",
			   (unsigned long long)json_object_get_uint64(get(row, text_of(result, "key"), json_type_int)));
		side_cells(table, result, row, "subject");
		if (!baseline)
			continue;
		side_cells(table, result, row, "baseline");
		table_cell(table, "%.1f", number_of(row, "overhead_percent"));
	}
	table_print(table);
	table_free(&table);
	printf("medians; spread is the distance of the quartiles over the median\n");
	print_side(result, "subject");
	print_side(result, "baseline");
	printf("on %s, %s, guest: %s\n", text_of(where, "cpu"), text_of(where, "kernel"), text_of(where, "guest"));
}
