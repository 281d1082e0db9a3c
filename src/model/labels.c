/* SPDX-License-Identifier: Apache-2.0 */
/* See labels.h. */
#include "model/labels.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "model/settings.h"
#include "util/util.h"

/* Length of the character that begins here, 0 if none does; the NUL at the end of the text stops every look ahead. */
static size_t utf8_char(const unsigned char *s)
{
	static const struct {
		unsigned char mask, value;
		uint32_t least;
	} lengths[] = { { 0x80, 0, 0 }, { 0xe0, 0xc0, 0x80 }, { 0xf0, 0xe0, 0x800 }, { 0xf8, 0xf0, 0x10000 } };

	for (size_t len = 1; len <= ARRAY_SIZE(lengths); len++) {
		uint32_t c = *s & (uint32_t)(unsigned char)~lengths[len - 1].mask;

		if ((*s & lengths[len - 1].mask) != lengths[len - 1].value)
			continue;
		for (size_t i = 1; i < len; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		return c >= lengths[len - 1].least && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) ? len : 0;
	}
	return 0;
}

static bool line_ok(const char *line)
{
	const unsigned char *s = (const unsigned char *)line;

	while (*s) {
		size_t len = *s < ' ' || *s == 0x7f ? 0 : utf8_char(s);

		if (!len)
			return false;
		s += len;
	}
	return true;
}

size_t labels_cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	for (len = max; len && ((unsigned char)text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

static size_t count_lines(const char *text)
{
	size_t n = 1;

	for (; (text = strchr(text, '\n')); text++)
		n++;
	return n;
}

/* Cuts the text at its line ends, and moves the labels together. */
static int split(struct labels *labels, const char *name, struct error *error)
{
	char *to = labels->text, *line = labels->text, *next;

	if (!strncmp(line, "\xef\xbb\xbf", 3))
		line += 3;
	for (; line && *line; line = next) {
		size_t len = strcspn(line, "\n");

		next = line[len] ? line + len + 1 : NULL;
		len -= len && line[len - 1] == '\r';
		line[len] = '\0';
		if (!len || !line_ok(line))
			return error_set(error, -EINVAL, "%s:%zu: %s", name, labels->n + 1,
					 len ? "the label is not UTF-8 text" : "the label is empty");
		memmove(to, line, len + 1);
		labels->names[labels->n++] = to;
		to += len + 1;
	}
	labels->len = (size_t)(to - labels->text);
	return 0;
}

int labels_parse(char *text, size_t len, const char *name, struct labels *ret_labels, struct error *error)
{
	struct labels labels = { .text = text };
	size_t n = count_lines(text);
	int r = 0;

	if (strlen(text) != len)
		r = error_set(error, -EINVAL, "%s: has a NUL in it", name);
	else if (n > MODEL_MAX_LABELS)
		r = error_set(error, -E2BIG, "%s: has more than %d labels", name, MODEL_MAX_LABELS);
	if (r == 0) {
		labels.names = calloc(n, sizeof(*labels.names));
		r = labels.names ? split(&labels, name, error) : error_set(error, -ENOMEM, "%s: no memory", name);
	}
	if (r == 0 && !labels.n)
		r = error_set(error, -EINVAL, "%s: has no labels", name);
	if (r < 0) {
		labels_free(&labels);
		return r;
	}
	*ret_labels = labels;
	return 0;
}

void labels_free(struct labels *labels)
{
	free(labels->names);
	free(labels->text);
	*labels = (struct labels){ 0 };
}
