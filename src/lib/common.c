/* SPDX-License-Identifier: Apache-2.0 */
/* Error text of the calling thread, structs that begin with their size, the calling process, version. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

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

/*
 * getpid() is a system call, a fifth of the shortest request. The page is empty in a child (Linux 4.14, whatever way the
 * child was made), so what it says is never another process.
 */
static pid_t *known_pid;

static void make_known_pid(void)
{
	void *page =
		mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) < 0)
		munmap(page, (size_t)sysconf(_SC_PAGESIZE));
	else
		known_pid = page;
}

HOT pid_t lib_process(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pid_t pid;

	pthread_once(&once, make_known_pid);
	if (!known_pid)
		return getpid();
	pid = __atomic_load_n(known_pid, __ATOMIC_RELAXED);
	if (!pid) {
		pid = getpid();
		__atomic_store_n(known_pid, pid, __ATOMIC_RELAXED);
	}
	return pid;
}

HOT static int check_size(size_t size, const char *name)
{
	if (size < sizeof(size_t) || size > 65536)
		return lib_failf(-EINVAL, "struct %s: its member size is %zu: set it to sizeof(struct %s)", name, size,
				 name);
	return 0;
}

HOT int lib_read_struct(void *dst, size_t known, const void *src, const char *name)
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
