/* SPDX-License-Identifier: Apache-2.0 */
/* What the program prints: error messages, tables for people, JSON for programs. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int cli_fail(struct cli *cli, int status, int code, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	progress_end();
	fprintf(stderr, "vaccel %s: %s\n", cli->command->name, text);
	if (cli->json) {
		struct json_object *object = json_object_new_object();
		struct json_object *inner = json_object_new_object();

		js_text(inner, "code", error_name(code));
		js_text(inner, "message", text);
		json_object_object_add(object, "error", inner);
		cli_print_json(object);
	}
	return status;
}

void cli_print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

size_t cli_utf8(const char *text, size_t len)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *at = (const unsigned char *)text;
	size_t n = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
	uint32_t c;

	if (n < 2)
		return n;
	if (n > len)
		return 0;
	c = *at & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (at[i] & 0x3f);
	}
	return c >= least[n] && c <= 0x10ffff && c >> 11 != 0x1b ? n : 0;
}

struct json_object *js_string(const char *text, size_t len)
{
	_cleanup_free_ char *copy = malloc(len + 1);
	size_t n;

	if (!copy)
		return NULL;
	for (size_t i = 0; i < len; i += n) {
		n = cli_utf8(text + i, len - i);
		if (n)
			memcpy(copy + i, text + i, n);
		else
			copy[i] = '?';
		n = MAX(n, 1u);
	}
	return json_object_new_string_len(copy, (int)MIN(len, (size_t)INT32_MAX));
}

void js_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, text ? js_string(text, strlen(text)) : NULL);
}

void js_count(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

void js_number(struct json_object *object, const char *key, double value)
{
	char text[32];

	if (!isfinite(value)) {
		json_object_object_add(object, key, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%.6g", value);
	json_object_object_add(object, key, json_object_new_double_s(value, text));
}

void js_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

struct table {
	size_t n_columns;
	size_t n_cells; /* the first n_columns are the titles */
	char **cells;
};

struct table *table_new(size_t n_columns, const char *const *titles)
{
	struct table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->n_columns = n_columns;
	for (size_t i = 0; i < n_columns; i++)
		table_cell(table, "%s", titles[i]);
	return table;
}

void table_cell(struct table *table, const char *format, ...)
{
	char *text = NULL;
	char **cells;
	va_list ap;

	if (!table)
		return;
	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	cells = realloc(table->cells, (table->n_cells + 1) * sizeof(*cells));
	if (!cells) {
		free(text);
		return;
	}
	table->cells = cells;
	cells[table->n_cells++] = text;
}

static const char *cell_at(const struct table *table, size_t index)
{
	return table->cells[index] ? table->cells[index] : "";
}

static bool column_is_number(const struct table *table, size_t column)
{
	for (size_t i = table->n_columns + column; i < table->n_cells; i += table->n_columns) {
		const char *text = cell_at(table, i);

		if (strspn(text, "0123456789.+-% e") != strlen(text))
			return false;
	}
	return table->n_cells > table->n_columns;
}

static void print_cell(const struct table *table, size_t index, int width, bool right, bool last)
{
	const char *text = cell_at(table, index);

	if (right)
		printf("%*s", width, text);
	else
		printf("%-*s", last ? 0 : width, text);
	fputs(last ? "\n" : "  ", stdout);
}

void table_print(const struct table *table)
{
	int width[16] = { 0 };
	bool right[16];

	if (!table || table->n_columns > ARRAY_SIZE(width))
		return;
	for (size_t i = 0; i < table->n_cells; i++)
		width[i % table->n_columns] = MAX(width[i % table->n_columns], (int)strlen(cell_at(table, i)));
	for (size_t i = 0; i < table->n_columns; i++)
		right[i] = column_is_number(table, i);
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns;

		print_cell(table, i, width[column], right[column], column == table->n_columns - 1);
	}
}

void table_free(struct table **table)
{
	if (!*table)
		return;
	for (size_t i = 0; i < (*table)->n_cells; i++)
		free((*table)->cells[i]);
	free((*table)->cells);
	free(*table);
	*table = NULL;
}
