/* SPDX-License-Identifier: Apache-2.0 */
/* A bench's result as text: a table of its rows, what the sides are, the ratios. */
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"

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

static bool is_number(const struct json_object *object, const char *key)
{
	return get(object, key, json_type_double) || get(object, key, json_type_int);
}

static bool row_valid(const struct json_object *result, const struct json_object *row)
{
	const char *key = text_of(result, "key");

	return (!*key || get(row, key, json_type_int)) && get(row, "side", json_type_string) &&
	       get(row, "samples", json_type_int) && get(row, "median_ns", json_type_int) &&
	       get(row, "p99_ns", json_type_int) && is_number(row, text_of(result, "value"));
}

bool bench_result_valid(const struct json_object *result)
{
	static const char *const texts[] = { "bench", "value", "value_title" };
	struct json_object *rows = get(result, "rows", json_type_array);
	struct json_object *sides = get(result, "sides", json_type_array);

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (!get(result, texts[i], json_type_string))
			return false;
	if (!rows || !sides || !get(result, "where", json_type_object) || !get(result, "ratios", json_type_object))
		return false;
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		if (!row_valid(result, json_object_array_get_idx(rows, i)))
			return false;
	return true;
}

static void number_cell(struct table *table, const struct json_object *row, const char *key, double unit, int digits)
{
	struct json_object *number = json_object_object_get(row, key);

	if (number)
		table_cell(table, "%.*f", digits, json_object_get_double(number) / unit);
	else
		table_cell(table, "-");
}

/* What the other end says it spent, for rows that have that. */
static const char *const part_keys[] = { "decode_ns", "prepare_ns", "run_ns" };
static const char *const part_titles[] = { "decode us", "prepare us", "run us" };

static bool has_parts(const struct json_object *result)
{
	struct json_object *row = json_object_array_get_idx(get(result, "rows", json_type_array), 0);

	return row && json_object_object_get_ex(row, part_keys[0], NULL);
}

/* CPU time, where sizes are bytes. */
static const char *const per_byte_keys[] = { "client_cpu_ns_per_byte", "other_cpu_ns_per_byte" };
static const char *const per_byte_titles[] = { "client ns/B", "other ns/B" };

static bool has_per_byte(const struct json_object *result)
{
	struct json_object *row = json_object_array_get_idx(get(result, "rows", json_type_array), 0);

	return row && json_object_object_get_ex(row, per_byte_keys[0], NULL);
}

static void add_row(struct table *table, const struct json_object *result, const struct json_object *row)
{
	const char *key = text_of(result, "key"), *variant_key = text_of(result, "variant_key");
	double value;

	if (*variant_key)
		table_cell(table, "%s", text_of(row, variant_key));
	table_cell(table, "%s", text_of(row, "side"));
	if (*key)
		number_cell(table, row, key, 1, 0);
	value = json_object_get_double(json_object_object_get(row, text_of(result, "value")));
	table_cell(table, "%.*f", value < 100 ? 2 : 0, value);
	number_cell(table, row, "median_ns", 1e3, 2);
	number_cell(table, row, "p99_ns", 1e3, 2);
	number_cell(table, row, "spread_percent", 1, 1);
	for (size_t i = 0; has_parts(result) && i < ARRAY_SIZE(part_keys); i++)
		number_cell(table, row, part_keys[i], 1e3, 1);
	number_cell(table, row, "client_cpu_ns", 1e3, 2);
	number_cell(table, row, "other_cpu_ns", 1e3, 2);
	for (size_t i = 0; has_per_byte(result) && i < ARRAY_SIZE(per_byte_keys); i++)
		number_cell(table, row, per_byte_keys[i], 1, 3);
	number_cell(table, row, "samples", 1, 0);
	number_cell(table, row, "over_base", 1, 3);
}

static void print_rows(const struct json_object *result)
{
	struct json_object *rows = get(result, "rows", json_type_array);
	const char *titles[16], *key = text_of(result, "key"), *variant_key = text_of(result, "variant_key");
	struct table *table;
	size_t n = 0;

	if (*variant_key)
		titles[n++] = variant_key;
	titles[n++] = "side";
	if (*key)
		titles[n++] = key;
	titles[n++] = text_of(result, "value_title");
	titles[n++] = "us";
	titles[n++] = "p99 us";
	titles[n++] = "spread %";
	for (size_t i = 0; has_parts(result) && i < ARRAY_SIZE(part_titles); i++)
		titles[n++] = part_titles[i];
	titles[n++] = "client CPU us";
	titles[n++] = "other CPU us";
	for (size_t i = 0; has_per_byte(result) && i < ARRAY_SIZE(per_byte_titles); i++)
		titles[n++] = per_byte_titles[i];
	titles[n++] = "samples";
	titles[n++] = "over base";
	table = table_new(n, titles);
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		add_row(table, result, json_object_array_get_idx(rows, i));
	table_print(table);
	table_free(&table);
}

static void print_profile(const struct json_object *result)
{
	static const char *const titles[] = { "side", "stage", "where", "count", "mean us", "median us", "p99 us" };
	struct json_object *stages = get(result, "profile", json_type_array);
	struct table *table;

	if (!stages)
		return;
	table = table_new(ARRAY_SIZE(titles), titles);
	for (size_t i = 0; i < json_object_array_length(stages); i++) {
		struct json_object *row = json_object_array_get_idx(stages, i);

		table_cell(table, "%s", text_of(row, "side"));
		table_cell(table, "%s", text_of(row, "stage"));
		table_cell(table, "%s", text_of(row, "where"));
		number_cell(table, row, "count", 1, 0);
		number_cell(table, row, "mean_ns", 1e3, 3);
		number_cell(table, row, "median_ns", 1e3, 3);
		number_cell(table, row, "p99_ns", 1e3, 3);
	}
	table_print(table);
	table_free(&table);
	printf("between: what is waited for and not in the daemon's total, which has the daemon's other stages but "
	       "signal\n\n");
}

/* What serves the operation that is measured. */
static void print_served(const struct json_object *result, const struct json_object *side)
{
	struct json_object *ops = get(side, "ops", json_type_array);

	for (size_t i = 0; ops && i < json_object_array_length(ops); i++) {
		struct json_object *row = json_object_array_get_idx(ops, i);
		bool wanted = !strcmp(text_of(row, "name"), text_of(result, "op"));

		if (wanted && *text_of(row, "plugin"))
			printf(", served by %s: %s", text_of(row, "plugin"), text_of(row, "hardware"));
	}
}

static void print_side(const struct json_object *result, const struct json_object *side)
{
	printf("%s: %s", text_of(side, "name"), text_of(side, "placement"));
	if (*text_of(side, "device"))
		printf(", %s", text_of(side, "device"));
	print_served(result, side);
	if (*text_of(side, "group"))
		printf(", %s", text_of(side, "group"));
	if (*text_of(side, "acceleration"))
		printf(" (%s %s, %s)", text_of(side, "vmm"), text_of(side, "vmm_version"),
		       text_of(side, "acceleration"));
	if (*text_of(side, "base"))
		printf("; compared with %s", text_of(side, "base"));
	if (*text_of(side, "left_out"))
		printf("; left out: %s", text_of(side, "left_out"));
	putchar('\n');
}

static void print_conclusions(const struct json_object *result)
{
	struct json_object *sentences = get(result, "conclusions", json_type_array);

	putchar('\n');
	for (size_t i = 0; sentences && i < json_object_array_length(sentences); i++)
		printf("%s\n", json_object_get_string(json_object_array_get_idx(sentences, i)));
	if (sentences)
		putchar('\n');
}

void bench_print(struct json_object *result)
{
	struct json_object *sides = get(result, "sides", json_type_array);
	struct json_object *where = get(result, "where", json_type_object);
	struct json_object *ratios = get(result, "ratios", json_type_object);

	print_rows(result);
	printf("medians; spread is the distance of the quartiles over the median; CPU time is per operation\n\n");
	print_profile(result);
	for (size_t i = 0; i < json_object_array_length(sides); i++)
		print_side(result, json_object_array_get_idx(sides, i));
	putchar('\n');
	json_object_object_foreach(ratios, name, ratio) printf("%s %s\n", name, json_object_get_string(ratio));
	print_conclusions(result);
	printf("on %s, %s, guest: %s, load %.1f\n", text_of(where, "cpu"), text_of(where, "kernel"),
	       text_of(where, "guest"), json_object_get_double(json_object_object_get(where, "load")));
}
