/* SPDX-License-Identifier: Apache-2.0 */
/* See error.h. Texts that do not fit are cut, never overrun. */
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, int code, const char *format, ...)
{
	va_list ap;

	if (!error)
		return code;
	error->code = code;
	va_start(ap, format);
	vsnprintf(error->text, sizeof(error->text), format, ap);
	va_end(ap);
	return code;
}

void error_prefix(struct error *error, const char *format, ...)
{
	char text[ERROR_TEXT];
	size_t used, left;
	va_list ap;
	int n;

	if (!error)
		return;
	memcpy(text, error->text, sizeof(text));
	va_start(ap, format);
	n = vsnprintf(error->text, sizeof(error->text), format, ap);
	va_end(ap);
	used = n < 0 ? 0 : (size_t)n;
	if (used + 2 >= sizeof(error->text))
		return;
	memcpy(error->text + used, ": ", 2);
	used += 2;
	left = strnlen(text, sizeof(error->text) - used - 1);
	memcpy(error->text + used, text, left);
	error->text[used + left] = '\0';
}

const char *error_name(int code)
{
	static __thread char number[16];
	const char *name = strerrorname_np(code < 0 ? -code : code);

	if (name)
		return name;
	snprintf(number, sizeof(number), "%d", code);
	return number;
}
