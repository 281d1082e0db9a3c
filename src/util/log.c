/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. State is set once, before threads start. */
#include "util/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 512

static const char *log_name;
static int log_level = -1;
static bool log_journal;

void log_open(const char *name, int level)
{
	log_name = name;
	log_level = level;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void replace_controls(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		/* U+0080 to U+009F control terminals too. */
		if (*c < 0x20 || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)) {
			if (*c == 0xc2)
				c[1] = '?';
			*c = '?';
		}
	}
}

void log_line(int priority, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	int head, body;
	va_list ap;

	if (priority > log_level)
		return;
	head = log_journal ? snprintf(line, sizeof(line), "<%d>", priority)
			   : snprintf(line, sizeof(line), "%s[%d]: ", log_name, (int)getpid());
	va_start(ap, format);
	body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, ap);
	va_end(ap);
	if (body < 0)
		return;
	replace_controls(line + head);
	strcat(line, "\n");
	/* A log that cannot be written must not stop the work. */
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}
