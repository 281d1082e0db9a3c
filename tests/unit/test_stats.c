/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics: their layout, what a client is sent and what it makes of it, and of an answer that somebody made up. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/counts.h"
#include "engine/stats.h"
#include "uapi/virtio_accel.h"

#define RINGS 2

static struct stats stats_new(uint32_t n_conns)
{
	size_t size = stats_size(n_conns, RINGS);
	struct stats stats = { .head = aligned_alloc(4096, size), .n_conns = n_conns, .n_rings = RINGS };

	assert_non_null(stats.head);
	memset(stats.head, 0, size);
	return stats;
}

static void parts_do_not_overlap(void **state)
{
	struct stats stats = stats_new(3);

	for (uint32_t conn = 1; conn <= 3; conn++) {
		struct stats_conn *part = stats_conn(&stats, conn);

		assert_int_equal((uintptr_t)part % 4096, 0);
		assert_true((char *)(part->rings + RINGS) <= (char *)stats.head + stats_conn_offset(RINGS, conn + 1));
		assert_true((char *)part >= (char *)(stats.head + 1));
		assert_int_equal((uintptr_t)part->rings % 64, 0);
	}
	assert_int_equal(stats_size(3, RINGS), stats_conn_offset(RINGS, 4));
	free(stats.head);
}

static void kinds_have_names(void **state)
{
	assert_true(stats_n_kinds() <= STATS_MAX_KINDS);
	for (uint32_t i = 0; i < stats_n_kinds(); i++) {
		assert_true(strlen(stats_kind_name(i)) < COUNTS_NAME);
		for (uint32_t j = 0; j < i; j++)
			assert_string_not_equal(stats_kind_name(i), stats_kind_name(j));
	}
	assert_string_equal(stats_kind_name(stats_kind(VIRTIO_ACCEL_T_OP, VACCEL_OP_SGEMM)), "sgemm");
	assert_string_equal(stats_kind_name(stats_kind(VIRTIO_ACCEL_T_CANCEL, 0)), "cancel");
	assert_string_equal(stats_kind_name(stats_kind(VIRTIO_ACCEL_T_OP, 0xffffffff)), "undecoded");
	assert_string_equal(stats_kind_name(stats_kind(99, 0)), "undecoded");
	for (uint32_t type = VIRTIO_ACCEL_T_SESSION_OPEN; type <= VIRTIO_ACCEL_T_QUERY; type++)
		assert_true(stats_kind(type, 0) != stats_kind_undecoded());
	for (size_t i = 0; i < STAGE_N; i++)
		assert_true(op_stage_at(i)->name && op_stage_at(i)->what && strlen(op_stage_at(i)->name) < 16);
	assert_null(op_stage_at(STAGE_N));
}

/* How many of n requests are timed. */
static unsigned int timed(struct stats_ticks ticks, unsigned int n, bool sleeps)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t begin = stats_ticks_begin(&ticks);

		count += begin != 0;
		stats_ticks_took(&ticks, begin);
		if (sleeps)
			stats_ticks_slept(&ticks);
	}
	return count;
}

static void a_sample_is_timed(void **state)
{
	struct stats some = { .trace = false }, all = { .trace = true };

	assert_int_equal(timed(stats_ticks(&some), 64 * 100, false), 100);
	assert_int_equal(timed(stats_ticks(&some), 64 * 100, true), 800);
	assert_int_equal(timed(stats_ticks(&all), 1000, false), 1000);
	assert_int_equal(timed(stats_ticks(&all), 1000, true), 1000);
	/* The first is one of them: there may be no more. */
	assert_int_equal(timed(stats_ticks(&some), 1, false), 1);
}

static struct stats filled(void)
{
	struct stats stats = stats_new(2);
	struct stats_conn *conn = stats_conn(&stats, 2);

	stats.head->worker_starts = 3;
	for (uint32_t ring = 0; ring < RINGS; ring++) {
		stats_add(&conn->rings[ring].bytes_copied, 1000);
		stats_set(&conn->rings[ring].in_flight, 5);
		stats_set(&conn->rings[ring].queued, 2);
		stats_add(&conn->rings[ring].results[0][VIRTIO_ACCEL_S_OK], 40);
		stats_add(&conn->rings[ring].results[1][VIRTIO_ACCEL_S_INVAL], 7);
	}
	for (uint64_t ns = 100; ns < 10000; ns += 100) {
		stats_time(conn, 0, STAGE_FETCH, 5000, 5000 + ns);
		stats_time(conn, 0, STAGE_TOTAL, 5000, 5000 + 3 * ns);
	}
	/* A clock that went back. */
	stats_time(conn, 1, STAGE_PLUGIN, 1000, 999);
	return stats;
}

static void answers_are_what_was_counted(void **state)
{
	static char answer[STATS_MAX_ENCODED], whole[STATS_MAX_ENCODED];
	struct stats stats = filled();
	size_t len = stats_encode(&stats, stats_conn(&stats, 2), answer, sizeof(answer));
	struct counts counts;
	struct error error = { 0 };
	const struct hist *hist;

	assert_int_equal(counts_decode(answer, len, &counts, &error), 0);
	assert_int_equal(counts.bytes_copied, 2000);
	assert_int_equal(counts.in_flight, 10);
	assert_int_equal(counts.queued, 4);
	assert_int_equal(counts.worker_starts, 3);
	assert_int_equal(counts.sampling, STATS_SAMPLE);
	assert_int_equal(counts.n_kinds, 2);
	assert_int_equal(counts_kind(&counts, stats_kind_name(0))->requests, 80);
	assert_int_equal(counts_kind(&counts, stats_kind_name(1))->errors[VIRTIO_ACCEL_S_INVAL], 14);
	hist = counts_hist(counts_kind(&counts, stats_kind_name(0)), "total");
	assert_memory_equal(hist, &stats_conn(&stats, 2)->times[0][STAGE_TOTAL - STAGE_FIRST_OF_DAEMON], sizeof(*hist));
	hist = counts_hist(counts_kind(&counts, stats_kind_name(1)), "plugin");
	assert_int_equal(hist->buckets[0], 1);
	assert_null(counts_hist(counts_kind(&counts, stats_kind_name(1)), "fetch"));
	assert_null(counts_kind(&counts, "sgem"));
	counts_free(&counts);
	/* Nothing of the other connection, and no more than there is room for. */
	assert_int_equal(stats_encode(&stats, stats_conn(&stats, 1), whole, sizeof(whole)),
			 sizeof(struct virtio_accel_stats));
	memset(whole, 0x55, sizeof(whole));
	assert_int_equal(stats_encode(&stats, stats_conn(&stats, 2), whole, 100), len);
	assert_memory_equal(whole, answer, 100);
	assert_int_equal(whole[100], 0x55);
	free(stats.head);
}

/* In memory of exactly that size, so that sanitizers see a step beyond. */
static int decode_copy(const char *answer, size_t len)
{
	struct error error = { 0 };
	struct counts counts;
	char *copy = malloc(len ? len : 1);
	int r;

	assert_non_null(copy);
	memcpy(copy, answer, len);
	r = counts_decode(copy, len, &counts, &error);
	if (r == 0)
		counts_free(&counts);
	else
		assert_int_equal(r, -EPROTO);
	free(copy);
	return r;
}

static void made_up_answers_do_no_harm(void **state)
{
	static char answer[STATS_MAX_ENCODED], changed[STATS_MAX_ENCODED];
	struct stats stats = filled();
	size_t len = stats_encode(&stats, stats_conn(&stats, 2), answer, sizeof(answer));
	uint64_t seed = 1;

	for (size_t i = 0; i < len; i++)
		assert_int_equal(decode_copy(answer, i), -EPROTO);
	assert_int_equal(decode_copy(answer, len), 0);
	for (size_t at = 0; at + 4 <= len; at += 4) {
		static const uint32_t words[] = { 0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8 };

		for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
			memcpy(changed, answer, len);
			memcpy(changed + at, &words[i], sizeof(words[i]));
			decode_copy(changed, len);
		}
	}
	for (int round = 0; round < 2000; round++) {
		memcpy(changed, answer, len);
		for (int i = 0; i < 4; i++) {
			uint64_t random = test_random(&seed);

			changed[random % len] = (char)(random >> 56);
		}
		decode_copy(changed, len);
	}
	free(stats.head);
}

static const char metrics[] =
	"# HELP vaccel_worker_starts_total Workers started.\n"
	"# TYPE vaccel_worker_starts_total counter\n"
	"vaccel_worker_starts_total 2\n"
	"vaccel_worker_deaths_total{cause=\"signal\"} 1\n"
	"vaccel_new_metric{guest=\"1\",new=\"x\"} 0.5\n"
	"vaccel_requests_total{guest=\"1\",op=\"noop\"} 12\n"
	"vaccel_request_errors_total{guest=\"1\",op=\"noop\",cause=\"INVAL\"} 3\n"
	"vaccel_copied_bytes_total{guest=\"1\"} 99\n"
	"vaccel_stage_seconds_bucket{guest=\"1\",op=\"noop\",stage=\"total\",le=\"1.024e-06\"} 0\n"
	"vaccel_stage_seconds_bucket{guest=\"1\",op=\"noop\",stage=\"total\",le=\"2.048e-06\"} 8\n"
	"vaccel_stage_seconds_bucket{guest=\"1\",op=\"noop\",stage=\"total\",le=\"+Inf\"} 9\n"
	"vaccel_stage_seconds_sum{guest=\"1\",op=\"noop\",stage=\"total\"} 0.000014\n"
	"vaccel_stage_seconds_count{guest=\"1\",op=\"noop\",stage=\"total\"} 9\n"
	"vaccel_requests_total{guest=\"closed\",op=\"noop\"} 1\n";

static void metrics_are_read(void **state)
{
	char text[sizeof(metrics)];
	struct counts_daemon daemon;
	struct error error = { 0 };
	const struct counts_kind *noop;
	const struct hist *hist;

	memcpy(text, metrics, sizeof(metrics));
	assert_int_equal(counts_parse(text, &daemon, &error), 0);
	assert_int_equal(daemon.n_guests, 2);
	assert_string_equal(daemon.guests[0].guest, "1");
	assert_int_equal(daemon.guests[0].bytes_copied, 99);
	noop = counts_kind(&daemon.guests[0], "noop");
	assert_int_equal(noop->requests, 12);
	assert_int_equal(noop->errors[VIRTIO_ACCEL_S_INVAL], 3);
	hist = counts_hist(noop, "total");
	assert_int_equal(hist->count, 9);
	assert_int_equal(hist->sum_ns, 14000);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(hist->buckets[hist_bucket(1024) + i], 2);
	assert_int_equal(hist->buckets[HIST_BUCKETS - 1], 1);
	counts_daemon_free(&daemon);
}

static void made_up_metrics_do_no_harm(void **state)
{
	static const char bytes[] = "\0\n\"{},= x9\x1b\xff";
	struct counts_daemon daemon;
	struct error error;

	for (size_t at = 0; at + 1 < sizeof(metrics); at++) {
		for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
			char *text = malloc(sizeof(metrics));
			int r;

			assert_non_null(text);
			memcpy(text, metrics, sizeof(metrics));
			text[at] = bytes[i];
			r = counts_parse(text, &daemon, &error);
			if (r == 0)
				counts_daemon_free(&daemon);
			else
				assert_int_equal(r, -EPROTO);
			free(text);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_do_not_overlap),	      cmocka_unit_test(kinds_have_names),
		cmocka_unit_test(a_sample_is_timed),	      cmocka_unit_test(answers_are_what_was_counted),
		cmocka_unit_test(made_up_answers_do_no_harm), cmocka_unit_test(metrics_are_read),
		cmocka_unit_test(made_up_metrics_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
