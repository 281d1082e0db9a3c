/* SPDX-License-Identifier: Apache-2.0 */
/* See limit.h. */
#include "op/limit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
	const char *name;
	const char *help;
} limits[LIMIT_N] = {
	[LIMIT_SESSIONS] = { "sessions", "sessions open at once" },
	[LIMIT_BUFFERS] = { "buffers", "buffers registered at once" },
	[LIMIT_BUFFER_BYTES] = { "buffer_bytes", "bytes of one registered buffer" },
	[LIMIT_REGISTERED_BYTES] = { "registered_bytes", "bytes of all registered buffers" },
	[LIMIT_GATHERED_BYTES] = { "gathered_bytes", "bytes of arguments copied at once" },
	[LIMIT_REQUESTS] = { "requests", "requests of one connection in flight" },
	[LIMIT_TOTAL_REQUESTS] = { "total_requests", "requests of all connections in flight" },
	[LIMIT_REQUEST_BYTES] = { "request_bytes", "bytes of all arguments of one request" },
	[LIMIT_EXTENTS] = { "extents", "pieces of memory of one request or of registered buffers" },
	[LIMIT_OP_TIME] = { "op_time_ms", "milliseconds that one operation ran" },
	[LIMIT_CONNECTIONS] = { "connections", "connections at once" },
	[LIMIT_KEYS] = { "keys", "keys of all sessions at once" },
};

const char *limit_name(enum limit limit)
{
	return limits[limit].name;
}

const char *limit_help(enum limit limit)
{
	return limits[limit].help;
}

void limit_count(struct limit_counts *counts, enum limit limit)
{
	if (counts)
		__atomic_fetch_add(&counts->hits[limit], 1, __ATOMIC_RELAXED);
}

uint64_t limit_hits(const struct limit_counts *counts, enum limit limit)
{
	return counts ? __atomic_load_n(&counts->hits[limit], __ATOMIC_RELAXED) : 0;
}

int limit_refuse(struct limit_counts *counts, enum limit limit, uint64_t value, struct error *error, int code,
		 const char *format, ...)
{
	char text[ERROR_TEXT];
	va_list ap;

	limit_count(counts, limit);
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return error_set(error, code, "%s (limits.%s = %" PRIu64 ")", text, limits[limit].name, value);
}
