/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of a tenant: one enum and one table, used by whoever enforces one, by the error that its caller gets, and
 * by the host's metrics. Values come from the section [limits] of the configuration, whose keys are the names here.
 *
 * Counts lie in the tenant's state (state_limits()), so that they outlive the worker; the supervisor, which refuses
 * connections, has its own. Whoever shows them adds up. A worker that was taken over can write any number into them.
 */
#ifndef VACCEL_OP_LIMIT_H
#define VACCEL_OP_LIMIT_H

#include <stdint.h>

#include "util/error.h"

enum limit {
	LIMIT_SESSIONS,		/* open */
	LIMIT_BUFFERS,		/* registered */
	LIMIT_BUFFER_BYTES,	/* of one registered buffer */
	LIMIT_REGISTERED_BYTES, /* of all registered buffers */
	LIMIT_GATHERED_BYTES,	/* of arguments copied for requests under way */
	LIMIT_REQUESTS,		/* in flight, of one connection */
	LIMIT_TOTAL_REQUESTS,	/* in flight, of all connections */
	LIMIT_REQUEST_BYTES,	/* of one request's arguments */
	LIMIT_EXTENTS,		/* pieces of memory: of one request, and of all registered buffers */
	LIMIT_OP_TIME,		/* of one operation, in milliseconds */
	LIMIT_CONNECTIONS,	/* of front-ends */
	LIMIT_KEYS,		/* of all sessions */
	LIMIT_N,
};

struct limit_counts {
	uint64_t hits[LIMIT_N]; /* relaxed atomics */
};

/* The key in [limits], which is also the metric's label. */
const char *limit_name(enum limit limit);
/* One line for people: what it limits. */
const char *limit_help(enum limit limit);

/* counts may be NULL, here and below. */
void limit_count(struct limit_counts *counts, enum limit limit);
uint64_t limit_hits(const struct limit_counts *counts, enum limit limit);

/* Counts a refusal and explains it: the sentence, then which limit it was and how large it is. Returns code. */
int limit_refuse(struct limit_counts *counts, enum limit limit, uint64_t value, struct error *error, int code,
		 const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
