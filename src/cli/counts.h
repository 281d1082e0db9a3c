/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a daemon counted, as vaccel stats and bench --profile use it, from either of two places: a transport, which
 * tells of this connection alone (counts_ask()), or a daemon's metrics, which tell of all (counts_scrape()). What comes
 * from outside is checked as it is read: it may be malformed or made up, and is then refused with -EPROTO, or is just
 * numbers.
 */
#ifndef VACCEL_CLI_COUNTS_H
#define VACCEL_CLI_COUNTS_H

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/vaccel.h>

#include "util/error.h"
#include "util/hist.h"

#define COUNTS_NAME	24
#define COUNTS_STAGES	16
#define COUNTS_STATUSES 32
#define COUNTS_KINDS	64
#define COUNTS_GUESTS	2048

struct counts_stage {
	char name[COUNTS_NAME];
	struct hist hist;
};

/* Requests of an operation, or of another type. */
struct counts_kind {
	char name[COUNTS_NAME];
	uint64_t requests;
	uint64_t errors[COUNTS_STATUSES]; /* by status; [0] is not used */
	struct counts_stage stages[COUNTS_STAGES];
	size_t n_stages;
};

struct counts {
	char guest[COUNTS_NAME]; /* "" when it is who asks */
	uint64_t bytes_copied;
	uint64_t in_flight;
	uint64_t queued;
	uint64_t worker_starts; /* of a transport's answer */
	uint32_t sampling;	/* of a transport's answer */
	struct counts_kind *kinds;
	size_t n_kinds;
};

/* All guests of a daemon. */
struct counts_daemon {
	struct counts *guests;
	size_t n_guests;
	struct json_object *facts; /* of the daemon as a whole: worker_starts, worker_deaths, limit_hits, ... */
};

/* Of the context's connection. A negative errno and error. */
int counts_ask(struct vaccel_context *context, struct counts *ret_counts, struct error *error);
/* From an answer to VIRTIO_ACCEL_Q_STATS. */
int counts_decode(const void *data, size_t len, struct counts *ret_counts, struct error *error);
void counts_free(struct counts *counts);
/* NULL: there were none. */
const struct counts_kind *counts_kind(const struct counts *counts, const char *name);
const struct hist *counts_hist(const struct counts_kind *kind, const char *stage);

/* address: as in [metrics] listen. -ENOENT, -ECONNREFUSED, -EACCES: nothing to connect to. */
int counts_scrape(const char *address, struct counts_daemon *ret_daemon, struct error *error);
/* From the text; which is changed. */
int counts_parse(char *text, struct counts_daemon *ret_daemon, struct error *error);
void counts_daemon_free(struct counts_daemon *daemon);

#endif
