/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon tells of itself, in the Prometheus text format 0.0.4. One row of families[] per family of metrics;
 * all lines of a family stand together, so each is written to a text of its own while guests are gone through once.
 *
 * A guest is a connection, by its number; numbers are used again, and then count from 0. What those that are closed
 * have counted is in the guest "closed", so that sums over guests never fall. Names and label values are our own
 * words: nothing that a guest or the worker wrote is in the text but numbers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/metrics.h"
#include "daemon/supervisor.h"
#include "engine/state.h"
#include "op/wire.h"
#include "util/util.h"

/* Histograms are told in powers of two from 256 ns to 34 s; finer ones would be many more lines. */
#define FIRST_POWER 8
#define LAST_POWER  35
/* Histograms are left out beyond this many bytes: a worker that was taken over could fill all of them. */
#define MAX_STAGES (16 << 20)

enum family {
	FAMILY_BUILD,
	FAMILY_UP,
	FAMILY_STARTS,
	FAMILY_DEATHS,
	FAMILY_CONNECTIONS,
	FAMILY_LIMITS,
	FAMILY_REQUESTS,
	FAMILY_ERRORS,
	FAMILY_COPIED,
	FAMILY_IN_FLIGHT,
	FAMILY_QUEUED,
	FAMILY_STAGES,
	FAMILY_N,
};

static const struct {
	const char *name;
	const char *type;
	const char *help;
} families[FAMILY_N] = {
	[FAMILY_BUILD] = { "vaccel_build_info", "gauge", "1, with the daemon's version." },
	[FAMILY_UP] = { "vaccel_worker_up", "gauge", "1 while the worker serves, with plugins or without." },
	[FAMILY_STARTS] = { "vaccel_worker_starts_total", "counter", "Workers started." },
	[FAMILY_DEATHS] = { "vaccel_worker_deaths_total", "counter", "Workers that ended, by cause." },
	[FAMILY_CONNECTIONS] = { "vaccel_connections", "gauge", "Front-ends connected." },
	[FAMILY_LIMITS] = { "vaccel_limit_hits_total", "counter", "What was refused because of a limit of [limits]." },
	[FAMILY_REQUESTS] = { "vaccel_requests_total", "counter", "Requests answered, with success or an error." },
	[FAMILY_ERRORS] = { "vaccel_request_errors_total", "counter", "Of them, those answered with an error." },
	[FAMILY_COPIED] = { "vaccel_copied_bytes_total", "counter", "Bytes of arguments gathered and scattered." },
	[FAMILY_IN_FLIGHT] = { "vaccel_requests_in_flight", "gauge", "Requests taken and not answered." },
	[FAMILY_QUEUED] = { "vaccel_requests_queued", "gauge", "Of them, those that wait for a plugin." },
	[FAMILY_STAGES] = { "vaccel_stage_seconds", "histogram",
			    "Time spent in a stage: of a sample of requests, or of all with [metrics] trace." },
};

struct texts {
	FILE *files[FAMILY_N];
	char *data[FAMILY_N];
	size_t len[FAMILY_N];
};

#define say(texts, family, format, ...) \
	fprintf((texts)->files[family], "%s" format, families[family].name, ##__VA_ARGS__)

static void say_hist(struct texts *t, const char *guest, const char *op, const char *stage, const struct hist *hist)
{
	FILE *file = t->files[FAMILY_STAGES];
	const char *name = families[FAMILY_STAGES].name;
	char labels[128];
	uint64_t below = 0;
	unsigned int bucket = 0;

	if (ftell(file) > MAX_STAGES)
		return;
	snprintf(labels, sizeof(labels), "guest=\"%s\",op=\"%s\",stage=\"%s\"", guest, op, stage);
	for (unsigned int power = FIRST_POWER; power <= LAST_POWER; power++) {
		for (; bucket < HIST_BUCKETS && hist_start(bucket + 1) <= UINT64_C(1) << power; bucket++)
			below += hist->buckets[bucket];
		fprintf(file, "%s_bucket{%s,le=\"%.10g\"} %" PRIu64 "\n", name, labels,
			(double)(UINT64_C(1) << power) / 1e9, below);
	}
	for (; bucket < HIST_BUCKETS; bucket++)
		below += hist->buckets[bucket];
	/* Their sum and not hist->count, which the worker may be about to add to, or have made up. */
	fprintf(file, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, below);
	fprintf(file, "%s_sum{%s} %.9f\n", name, labels, (double)hist->sum_ns / 1e9);
	fprintf(file, "%s_count{%s} %" PRIu64 "\n", name, labels, below);
}

static void say_kind(struct texts *t, const char *guest, const struct stats_conn *stats, uint32_t kind)
{
	const uint64_t *results = stats->rings[0].results[kind];
	const char *op = stats_kind_name(kind);
	uint64_t sum = 0;

	for (uint32_t status = 0; status < STATS_STATUSES; status++) {
		const char *cause = wire_status_name(status);

		sum += results[status];
		if (status != VIRTIO_ACCEL_S_OK && results[status] && cause)
			say(t, FAMILY_ERRORS, "{guest=\"%s\",op=\"%s\",cause=\"%s\"} %" PRIu64 "\n", guest, op, cause,
			    results[status]);
	}
	if (sum)
		say(t, FAMILY_REQUESTS, "{guest=\"%s\",op=\"%s\"} %" PRIu64 "\n", guest, op, sum);
	for (size_t stage = 0; stage < STAGE_N_OF_DAEMON; stage++)
		if (stats->times[kind][stage].count)
			say_hist(t, guest, op, op_stage_at(STAGE_FIRST_OF_DAEMON + stage)->name,
				 &stats->times[kind][stage]);
}

static void say_guest(struct texts *t, const char *guest, const struct stats_conn *stats)
{
	const struct stats_ring *ring = &stats->rings[0];

	say(t, FAMILY_COPIED, "{guest=\"%s\"} %" PRIu64 "\n", guest, ring->bytes_copied);
	say(t, FAMILY_IN_FLIGHT, "{guest=\"%s\"} %" PRIu64 "\n", guest, ring->in_flight);
	say(t, FAMILY_QUEUED, "{guest=\"%s\"} %" PRIu64 "\n", guest, ring->queued);
	for (uint32_t kind = 0; kind < stats_n_kinds(); kind++)
		say_kind(t, guest, stats, kind);
}

static void say_guests(struct texts *t, struct supervisor *s)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < s->n_slots; i++) {
		char guest[16];

		if (!s->connections[i])
			continue;
		n++;
		snprintf(guest, sizeof(guest), "%" PRIu32, i + 1);
		say_guest(t, guest, tally_read(&s->tally, s->stats_fd, i + 1));
	}
	say_guest(t, "closed", s->tally.closed);
	say(t, FAMILY_CONNECTIONS, " %u\n", n);
}

/* The worker counts in the tenant's state; what concerns connections is counted here. */
static void say_limits(struct texts *t, const struct supervisor *s)
{
	struct limit_counts worker = { 0 };

	if (pread(s->state_fd, &worker, sizeof(worker), (off_t)state_limits_offset()) != (ssize_t)sizeof(worker))
		worker = (struct limit_counts){ 0 };
	for (size_t i = 0; i < LIMIT_N; i++)
		say(t, FAMILY_LIMITS, "{limit=\"%s\"} %" PRIu64 "\n", limit_name(i),
		    limit_hits(&worker, i) + limit_hits(&s->limit_counts, i));
}

static void say_worker(struct texts *t, const struct supervisor *s)
{
	say(t, FAMILY_BUILD, "{version=\"%s\"} 1\n", VACCEL_BUILD_VERSION);
	say(t, FAMILY_UP, "{plugins=\"%s\"} %d\n", s->launch.safe ? "no" : "yes", s->launch.ready);
	say(t, FAMILY_STARTS, " %u\n", s->launch.n_started);
	for (size_t i = 0; i < DEATH_N; i++)
		say(t, FAMILY_DEATHS, "{cause=\"%s\"} %u\n", launch_death_name(i), s->launch.deaths[i]);
}

static int open_texts(struct texts *t)
{
	for (size_t i = 0; i < FAMILY_N; i++) {
		t->files[i] = open_memstream(&t->data[i], &t->len[i]);
		if (!t->files[i])
			return -ENOMEM;
		fprintf(t->files[i], "# HELP %s %s\n# TYPE %s %s\n", families[i].name, families[i].help,
			families[i].name, families[i].type);
	}
	return 0;
}

/* Puts them together; NULL if any failed. */
static char *close_texts(struct texts *t, int result, size_t *ret_len)
{
	char *whole = NULL;
	size_t len = 0, at = 0;

	for (size_t i = 0; i < FAMILY_N && t->files[i]; i++) {
		if (fclose(t->files[i]) != 0)
			result = -ENOMEM;
		len += t->len[i];
	}
	whole = result == 0 ? malloc(len) : NULL;
	for (size_t i = 0; i < FAMILY_N; i++) {
		if (whole)
			memcpy(whole + at, t->data[i], t->len[i]);
		at += t->len[i];
		free(t->data[i]);
	}
	*ret_len = whole ? len : 0;
	return whole;
}

char *exposition_text(struct supervisor *s, size_t *ret_len)
{
	struct texts texts = { 0 };
	int r = open_texts(&texts);

	if (r == 0) {
		say_worker(&texts, s);
		say_limits(&texts, s);
		say_guests(&texts, s);
	}
	return close_texts(&texts, r, ret_len);
}
