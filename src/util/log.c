/* SPDX-License-Identifier: Apache-2.0 */
/* See log.h. State is set once, before threads start. */
#include "util/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/calls.h"

#define LINE_MAX_BYTES 512

/* Each byte of a message may take six in JSON; what is before it, a name included, far less than the rest. */
#define JSON_MAX_BYTES (6 * LINE_MAX_BYTES + 512)

static const char *log_name;
static int log_level = -1;
static bool log_journal;
static bool log_json;

void log_open(const char *name, int level)
{
	log_name = name;
	log_level = level;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
	log_json = false;
}

void log_use_json(void)
{
	log_json = true;
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

/* Bytes of the UTF-8 character at text; 0: it is none (RFC 3629), or a piece of one. */
static size_t utf8_len(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, low, high; /* of the first byte; of the second */
		size_t len;
	} rows[] = {
		{ 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (*text < rows[i].first || *text > rows[i].last)
			continue;
		if (rows[i].len > 1 && (text[1] < rows[i].low || text[1] > rows[i].high))
			return 0;
		for (size_t k = 2; k < rows[i].len; k++)
			if ((text[k] & 0xc0) != 0x80)
				return 0;
		return rows[i].len;
	}
	return 0;
}

/* The text as a JSON string without its quotes: out has room for six bytes of each. Returns its end. */
static char *escape(char *out, const char *text)
{
	const unsigned char *c = (const unsigned char *)text;

	while (*c) {
		size_t len = utf8_len(c);

		if (len == 0) {
			out = stpcpy(out, "\\ufffd");
			len = 1;
		} else if (*c == '"' || *c == '\\') {
			*out++ = '\\';
			*out++ = (char)*c;
		} else if (*c < 0x20 || *c == 0x7f) {
			out += sprintf(out, "\\u%04x", *c);
		} else if (c[0] == 0xc2 && c[1] < 0xa0) {
			out += sprintf(out, "\\u%04x", c[1]);
		} else {
			memcpy(out, c, len);
			out += len;
		}
		c += len;
	}
	return out;
}

static const char *level_name(int priority)
{
	static const char *const names[] = { [LOG_ERR] = "error",
					     [LOG_WARNING] = "warning",
					     [LOG_NOTICE] = "notice",
					     [LOG_INFO] = "info",
					     [LOG_DEBUG] = "debug" };

	return priority >= LOG_ERR && priority <= LOG_DEBUG ? names[priority] : "error";
}

/* connection: 0: none. */
static void write_json(int priority, unsigned int connection, const char *message)
{
	char line[JSON_MAX_BYTES], stamp[40], *at = line;
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	if (log_journal)
		at += sprintf(at, "<%d>", priority);
	at += sprintf(at, "{\"time\":\"%s.%06ldZ\",\"level\":\"%s\",\"program\":\"%.64s\",\"pid\":%d,", stamp,
		      now.tv_nsec / 1000, level_name(priority), log_name, (int)getpid());
	if (connection)
		at += sprintf(at, "\"connection\":%u,", connection);
	at = stpcpy(at, "\"message\":\"");
	at = stpcpy(escape(at, message), "\"}\n");
	if (write(STDERR_FILENO, line, (size_t)(at - line)) < 0)
		return;
}

static void write_text(int priority, const char *message)
{
	char line[LINE_MAX_BYTES];
	int head = log_journal ? snprintf(line, sizeof(line), "<%d>", priority)
			       : snprintf(line, sizeof(line), "%s[%d]: ", log_name, (int)getpid());

	snprintf(line + head, sizeof(line) - (size_t)head - 1, "%s", message);
	replace_controls(line + head);
	strcat(line, "\n");
	/* A log that cannot be written must not stop the work. */
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

void log_line(int priority, const char *format, ...)
{
	char message[LINE_MAX_BYTES];
	unsigned int connection = 0;
	va_list ap;

	if (priority > log_level)
		return;
	va_start(ap, format);
	if (!strncmp(format, LOG_CONNECTION, strlen(LOG_CONNECTION))) {
		va_list first;

		va_copy(first, ap);
		connection = va_arg(first, unsigned int);
		va_end(first);
	}
	if (vsnprintf(message, sizeof(message), format, ap) < 0)
		message[0] = '\0';
	va_end(ap);
	if (log_json)
		write_json(priority, connection, message);
	else
		write_text(priority, message);
}

/* Lines to standard error. */
SANDBOX_CALLS({ "write" }, { "getpid" });
