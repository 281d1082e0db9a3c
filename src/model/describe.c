/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See describe.h. Each key is one row of rows[]. A section with another name is a framework's; whether it is this
 * model's framework is known at the end.
 */
#include "model/describe.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "model/settings.h"
#include "util/util.h"

enum type {
	TEXT,	 /* max: bytes with the NUL */
	PATH,	 /* a text that leads nowhere but down */
	WHOLE,	 /* uint32_t, min to max */
	WORD,	 /* uint32_t, the index of one of words */
	NUMBERS, /* struct describe_numbers */
};

/* In the order of their enumerations. */
static const char *const layouts[] = { [IMAGE_NHWC] = "nhwc", [IMAGE_NCHW] = "nchw", NULL };
static const char *const resizes[] = { [IMAGE_NEAREST] = "nearest",
				       [IMAGE_BILINEAR] = "bilinear",
				       [IMAGE_BICUBIC] = "bicubic",
				       [IMAGE_AREA] = "area",
				       NULL };
static const char *const fits[] = { [IMAGE_STRETCH] = "stretch", [IMAGE_CROP] = "crop", [IMAGE_PAD] = "pad", NULL };
static const char *const channels[] = { "", "1", "", "3", NULL };
static const char *const switches[] = { "off", "on", NULL };

#define AT(field_)   offsetof(struct describe, field_)
#define ROOM(field_) AT(field_), 0, sizeof(((struct describe *)0)->field_)

static const struct row {
	const char *section;
	const char *key;
	enum type type;
	size_t offset;
	uint32_t min, max;
	const char *const *words;
} rows[] = {
	{ "model", "framework", TEXT, ROOM(framework) },
	{ "model", "file", PATH, ROOM(file) },
	{ "model", "signature", TEXT, ROOM(signature) },
	{ "model", "labels", PATH, ROOM(labels) },
	{ "model", "description", TEXT, ROOM(text) },
	{ "image", "input", TEXT, ROOM(image.input) },
	{ "image", "output", TEXT, ROOM(image.output) },
	{ "image", "width", WHOLE, AT(image.width), 1, 8192 },
	{ "image", "height", WHOLE, AT(image.height), 1, 8192 },
	{ "image", "channels", WORD, AT(image.channels), 0, 0, channels },
	{ "image", "layout", WORD, AT(image.layout), 0, 0, layouts },
	{ "image", "resize", WORD, AT(image.resize), 0, 0, resizes },
	{ "image", "fit", WORD, AT(image.fit), 0, 0, fits },
	{ "image", "mean", NUMBERS, AT(image.mean), 0, 0 },
	{ "image", "scale", NUMBERS, AT(image.scale), 0, 0 },
	{ "image", "softmax", WORD, AT(image.softmax), 0, 0, switches },
	{ "batch", "max", WHOLE, AT(batch.max), 2, MODEL_MAX_BATCH },
	{ "batch", "delay_us", WHOLE, AT(batch.delay_us), 0, 1000000 },
};

struct parse {
	struct describe *describe;
	const char *at; /* what is left of the text */
	int line;	/* of what is being parsed; the first is 1 */
	bool cut;	/* the last one does not fit */
	uint32_t seen;	/* set of rows */
	/* Of the first section that is none of ours. */
	char section[64];
	int section_line;
	struct error error; /* the first */
};

_Static_assert(ARRAY_SIZE(rows) <= 32, "a bit for each row");

static int bad(struct parse *parse, const char *section, const char *key, const char *what)
{
	return error_set(&parse->error, -EINVAL, DESCRIBE_FILE ":%d: [%s] %s: %s", parse->line, section, key, what);
}

/* ---- Values ---- */

static bool path_ok(const char *path)
{
	if (*path == '/')
		return false;
	for (const char *part = path; part; part = strchr(part, '/')) {
		part += *part == '/';
		if (!strncmp(part, "..", 2) && (!part[2] || part[2] == '/'))
			return false;
	}
	return true;
}

static bool text_ok(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' && *text != '\t')
			return false;
	return true;
}

static int set_text(struct parse *parse, const struct row *row, void *field, const char *value)
{
	char what[64];

	if (!*value || !text_ok(value))
		return bad(parse, row->section, row->key, *value ? "has control characters" : "has no value");
	if (row->type == PATH && !path_ok(value))
		return bad(parse, row->section, row->key, "leads out of the model's folder");
	if (strlen(value) >= row->max) {
		snprintf(what, sizeof(what), "is longer than %u bytes", row->max - 1);
		return bad(parse, row->section, row->key, what);
	}
	strcpy(field, value);
	return 0;
}

static int set_whole(struct parse *parse, const struct row *row, uint32_t *field, const char *value)
{
	unsigned long long number = 0;
	char what[96], *end = NULL;

	if (isdigit((unsigned char)*value)) {
		errno = 0;
		number = strtoull(value, &end, 10);
	}
	if (!end || *end || errno || number < row->min || number > row->max) {
		snprintf(what, sizeof(what), "'%.32s' is not a number from %u to %u", value, row->min, row->max);
		return bad(parse, row->section, row->key, what);
	}
	*field = (uint32_t)number;
	return 0;
}

static int set_word(struct parse *parse, const struct row *row, uint32_t *field, const char *value)
{
	char what[128];
	size_t len;

	for (uint32_t i = 0; row->words[i]; i++) {
		if (*row->words[i] && !strcmp(row->words[i], value)) {
			*field = i;
			return 0;
		}
	}
	len = (size_t)snprintf(what, sizeof(what), "'%.32s' is none of its values:", value);
	for (uint32_t i = 0; row->words[i]; i++)
		if (*row->words[i] && len < sizeof(what))
			len += (size_t)snprintf(what + len, sizeof(what) - len, " %s", row->words[i]);
	return bad(parse, row->section, row->key, what);
}

/* The program may have set a locale in which numbers have commas. */
static float parse_float(const char *text, char **ret_end)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	float number = c ? strtof_l(text, ret_end, c) : strtof(text, ret_end);

	if (c)
		freelocale(c);
	return number;
}

static int set_numbers(struct parse *parse, const struct row *row, struct describe_numbers *field, const char *value)
{
	struct describe_numbers numbers = { 0 };
	const char *at = value + strspn(value, " \t,");

	while (*at) {
		char *end = NULL;
		float number = parse_float(at, &end);

		if (end == at || !isfinite(number) || (*end && !strchr(" \t,", *end)))
			return bad(parse, row->section, row->key, "is not a list of numbers");
		if (numbers.n == DESCRIBE_CHANNELS)
			return bad(parse, row->section, row->key, "has more numbers than a picture has channels");
		numbers.values[numbers.n++] = number;
		at = end + strspn(end, " \t,");
	}
	if (!numbers.n)
		return bad(parse, row->section, row->key, "has no value");
	*field = numbers;
	return 0;
}

static int set_row(struct parse *parse, size_t index, const char *value)
{
	const struct row *row = &rows[index];
	void *field = (char *)parse->describe + row->offset;

	if (parse->seen & UINT32_C(1) << index)
		return bad(parse, row->section, row->key, "is there twice");
	parse->seen |= UINT32_C(1) << index;
	switch (row->type) {
	case WHOLE:
		return set_whole(parse, row, field, value);
	case WORD:
		return set_word(parse, row, field, value);
	case NUMBERS:
		return set_numbers(parse, row, field, value);
	default:
		return set_text(parse, row, field, value);
	}
}

/* ---- Sections ---- */

static int set_framework_key(struct parse *parse, const char *section, const char *key, const char *value)
{
	struct describe *d = parse->describe;

	if (d->n_keys == DESCRIBE_KEYS)
		return bad(parse, section, key, "is one key too many");
	d->keys[d->n_keys] = strdup(key);
	d->values[d->n_keys] = strdup(value);
	d->n_keys++;
	if (!d->keys[d->n_keys - 1] || !d->values[d->n_keys - 1])
		return bad(parse, section, key, "no memory");
	return 0;
}

/* A line that begins a section, which the parser itself tells of only with its keys. */
static void begin_section(struct parse *parse, const char *line)
{
	const size_t len = strcspn(line + 1, "]");
	char name[sizeof(parse->section)];

	snprintf(name, sizeof(name), "%.*s", (int)MIN(len, sizeof(name) - 1), line + 1);
	if (!strcmp(name, "image"))
		parse->describe->image.given = true;
	else if (!strcmp(name, "batch"))
		parse->describe->batch.given = true;
	else if (strcmp(name, "model") && *parse->section && strcmp(name, parse->section))
		error_set(&parse->error, -EINVAL, DESCRIBE_FILE ":%d: [%s]: no such section", parse->line, name);
	else if (strcmp(name, "model") && !*parse->section) {
		memcpy(parse->section, name, sizeof(name));
		parse->section_line = parse->line;
	}
}

static int set_key(struct parse *parse, const char *section, const char *key, const char *value)
{
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].section, section))
			continue;
		known = true;
		if (!strcmp(rows[i].key, key))
			return set_row(parse, i, value);
	}
	if (known)
		return bad(parse, section, key, "no such key");
	if (!*section)
		return error_set(&parse->error, -EINVAL, DESCRIBE_FILE ":%d: %s: is in no section", parse->line, key);
	return set_framework_key(parse, section, key, value);
}

static int on_key(void *user, const char *section, const char *key, const char *value)
{
	struct parse *parse = user;

	/* The parser goes on after an error; the first one is what helps. */
	if (parse->error.code)
		return 0;
	return set_key(parse, section, key, value ? value : "") == 0;
}

/* A line for the parser, less the indentation, which it would take for a continued value. */
static char *read_line(char *text, int size, void *stream)
{
	struct parse *parse = stream;
	size_t len = strcspn(parse->at, "\n"), blank;

	if (parse->error.code || parse->cut || !*parse->at)
		return NULL;
	parse->line++;
	blank = strspn(parse->at, " \t\r");
	blank = MIN(blank, len);
	parse->cut = len - blank >= (size_t)size;
	if (parse->cut)
		return NULL;
	memcpy(text, parse->at + blank, len - blank);
	text[len - blank] = '\0';
	parse->at += len + (parse->at[len] == '\n');
	if (*text == '[')
		begin_section(parse, text);
	return parse->error.code ? NULL : text;
}

static int check_whole(struct parse *parse)
{
	const struct describe *d = parse->describe;

	if (!*d->framework)
		return error_set(&parse->error, -EINVAL, DESCRIBE_FILE ": [model] framework: is missing");
	if (*parse->section && strcmp(parse->section, d->framework))
		return error_set(&parse->error, -EINVAL,
				 DESCRIBE_FILE ":%d: [%s]: no such section, and the model's framework is %s",
				 parse->section_line, parse->section, d->framework);
	if (d->batch.given && !d->batch.max)
		return error_set(&parse->error, -EINVAL, DESCRIBE_FILE ": [batch] max: is missing");
	return 0;
}

int describe_parse(const char *text, struct describe *ret_describe, struct error *error)
{
	struct describe d = { .image.resize = IMAGE_BILINEAR, .batch.delay_us = 2000 };
	struct parse parse = { .describe = &d, .at = text };
	int line;

	line = ini_parse_stream(read_line, &parse, on_key, &parse);
	if (line < 0)
		error_set(&parse.error, -ENOMEM, DESCRIBE_FILE ": no memory");
	else if (parse.cut)
		error_set(&parse.error, -EINVAL, DESCRIBE_FILE ":%d: the line is too long", parse.line);
	else if (line > 0 && !parse.error.code)
		error_set(&parse.error, -EINVAL, DESCRIBE_FILE ":%d: neither [section] nor key = value", line);
	if (!parse.error.code)
		check_whole(&parse);
	if (parse.error.code) {
		describe_free(&d);
		return error_set(error, parse.error.code, "%s", parse.error.text);
	}
	*ret_describe = d;
	return 0;
}

void describe_free(struct describe *describe)
{
	for (size_t i = 0; i < describe->n_keys; i++) {
		free(describe->keys[i]);
		free(describe->values[i]);
	}
	describe->n_keys = 0;
}
