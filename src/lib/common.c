/* SPDX-License-Identifier: Apache-2.0 */
/* Error text of the calling thread, structs that begin with their size, version. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/internal.h"
#include "util/util.h"

static _Thread_local char error_text[ERROR_TEXT];

PUBLIC const char *vaccel_version(void)
{
	return VACCEL_BUILD_VERSION;
}

PUBLIC const char *vaccel_error(void)
{
	return error_text;
}

int lib_fail(const struct error *error)
{
	memcpy(error_text, error->text, sizeof(error_text));
	error_text[sizeof(error_text) - 1] = 0;
	return error->code;
}

int lib_failf(int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error_text, sizeof(error_text), format, ap);
	va_end(ap);
	return code;
}

static int check_size(size_t size, const char *name)
{
	if (size < sizeof(size_t) || size > 65536)
		return lib_failf(-EINVAL, "struct %s: its member size is %zu: set it to sizeof(struct %s)", name, size,
				 name);
	return 0;
}

int lib_read_struct(void *dst, size_t known, const void *src, const char *name)
{
	const unsigned char *bytes = src;
	size_t size;
	int r;

	if (!src)
		return lib_failf(-EINVAL, "struct %s: none given", name);
	memcpy(&size, src, sizeof(size));
	r = check_size(size, name);
	if (r < 0)
		return r;
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return lib_failf(-EINVAL, "struct %s: byte %zu is set, which library %s does not know", name, i,
					 VACCEL_BUILD_VERSION);
	memset(dst, 0, known);
	memcpy(dst, src, MIN(size, known));
	return 0;
}

int lib_write_struct(void *dst, const void *src, size_t known, const char *name)
{
	const size_t head = sizeof(size_t);
	size_t size;
	int r;

	if (!dst)
		return lib_failf(-EINVAL, "struct %s: none given", name);
	memcpy(&size, dst, sizeof(size));
	r = check_size(size, name);
	if (r < 0)
		return r;
	memcpy((char *)dst + head, (const char *)src + head, MIN(size, known) - head);
	if (size > known)
		memset((char *)dst + known, 0, size - known);
	return 0;
}
