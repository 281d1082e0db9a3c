/* SPDX-License-Identifier: Apache-2.0 */
/* See counts.h: the answer to VIRTIO_ACCEL_Q_STATS. */
#include "cli/counts.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "uapi/virtio_accel.h"
#include "util/util.h"

#define FIRST_ROOM (64u << 10)
#define MAX_ROOM   (1u << 20)

void counts_free(struct counts *counts)
{
	free(counts->kinds);
	*counts = (struct counts){ .guest = "" };
}

const struct counts_kind *counts_kind(const struct counts *counts, const char *name)
{
	for (size_t i = 0; i < counts->n_kinds; i++)
		if (!strcmp(counts->kinds[i].name, name))
			return &counts->kinds[i];
	return NULL;
}

const struct hist *counts_hist(const struct counts_kind *kind, const char *stage)
{
	for (size_t i = 0; kind && i < kind->n_stages; i++)
		if (!strcmp(kind->stages[i].name, stage))
			return &kind->stages[i].hist;
	return NULL;
}

/* The other end need not be trusted with a terminal. */
static void copy_name(char dst[COUNTS_NAME], const char *src, size_t size)
{
	size_t len = MIN(strnlen(src, size), (size_t)COUNTS_NAME - 1);

	for (size_t i = 0; i < len; i++)
		dst[i] = src[i] > ' ' && src[i] < 0x7f ? src[i] : '?';
	dst[len] = '\0';
}

static void decode_row(const struct virtio_accel_stats_row *row, struct counts_kind *kind)
{
	copy_name(kind->name, row->name, sizeof(row->name));
	for (size_t i = 0; i < COUNTS_STATUSES; i++) {
		kind->requests += le64toh(row->results[i]);
		kind->errors[i] = i ? le64toh(row->results[i]) : 0;
	}
}

/* len: of the time and its buckets, checked to be there. */
static int decode_time(const char *data, size_t len, const uint32_t *numbers, struct counts *counts)
{
	struct virtio_accel_stats_time time;
	struct counts_kind *kind = NULL;
	struct counts_stage *stage;
	uint32_t first, n;

	memcpy(&time, data, sizeof(time));
	first = le32toh(time.first);
	n = le32toh(time.n_buckets);
	if (!range_in(first, n, HIST_BUCKETS) || n > (len - sizeof(time)) / sizeof(uint64_t))
		return -EPROTO;
	for (size_t i = 0; i < counts->n_kinds; i++)
		if (numbers[i] == le32toh(time.kind))
			kind = &counts->kinds[i];
	/* One whose row came too early to have counted it. */
	if (!kind || kind->n_stages == COUNTS_STAGES)
		return 0;
	stage = &kind->stages[kind->n_stages++];
	copy_name(stage->name, time.stage, sizeof(time.stage));
	stage->hist.count = le64toh(time.count);
	stage->hist.sum_ns = le64toh(time.sum_ns);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t bucket;

		/* Later versions may have more between the struct that we know and its buckets, which end it. */
		memcpy(&bucket, data + len - (n - i) * sizeof(bucket), sizeof(bucket));
		stage->hist.buckets[first + i] = le64toh(bucket);
	}
	return 0;
}

static int decode_body(const char *data, size_t len, const struct virtio_accel_stats *head, struct counts *counts)
{
	size_t at = le32toh(head->head_len), row_len = le32toh(head->row_len);
	uint32_t numbers[COUNTS_KINDS];

	for (size_t i = 0; i < counts->n_kinds; i++, at += row_len) {
		struct virtio_accel_stats_row row;

		if (!range_in(at, row_len, len))
			return -EPROTO;
		memcpy(&row, data + at, sizeof(row));
		numbers[i] = le32toh(row.kind);
		decode_row(&row, &counts->kinds[i]);
	}
	for (uint32_t i = 0; i < le32toh(head->n_times); i++) {
		uint32_t time_len;

		if (!range_in(at, sizeof(struct virtio_accel_stats_time), len))
			return -EPROTO;
		memcpy(&time_len, data + at, sizeof(time_len));
		time_len = le32toh(time_len);
		if (time_len < sizeof(struct virtio_accel_stats_time) || !range_in(at, time_len, len) ||
		    decode_time(data + at, time_len, numbers, counts) < 0)
			return -EPROTO;
		at += time_len;
	}
	return 0;
}

int counts_decode(const void *data, size_t len, struct counts *ret_counts, struct error *error)
{
	struct virtio_accel_stats head;
	struct counts counts = { .guest = "" };
	uint32_t n_rows;

	if (len >= sizeof(head))
		memcpy(&head, data, sizeof(head));
	if (len < sizeof(head) || le32toh(head.head_len) < sizeof(head) || le32toh(head.head_len) > len ||
	    le32toh(head.row_len) < sizeof(struct virtio_accel_stats_row))
		return error_set(error, -EPROTO, "statistics: the answer of %zu bytes is malformed", len);
	n_rows = le32toh(head.n_rows);
	if (n_rows > COUNTS_KINDS)
		return error_set(error, -EPROTO, "statistics: %u kinds of requests are more than there can be", n_rows);
	counts.bytes_copied = le64toh(head.bytes_copied);
	counts.in_flight = le64toh(head.in_flight);
	counts.queued = le64toh(head.queued);
	counts.worker_starts = le64toh(head.worker_starts);
	counts.sampling = le32toh(head.sampling);
	counts.kinds = calloc(MAX(n_rows, 1), sizeof(*counts.kinds));
	if (!counts.kinds)
		return error_set(error, -ENOMEM, "statistics: out of memory");
	counts.n_kinds = n_rows;
	if (decode_body(data, len, &head, &counts) < 0) {
		counts_free(&counts);
		return error_set(error, -EPROTO, "statistics: the answer of %zu bytes is malformed", len);
	}
	*ret_counts = counts;
	return 0;
}

int counts_ask(struct vaccel_context *context, struct counts *ret_counts, struct error *error)
{
	size_t room = FIRST_ROOM, len = 0;

	/* It may have grown meanwhile. */
	for (int tries = 0; tries < 4; tries++) {
		_cleanup_free_ void *data = malloc(room);
		int r;

		if (!data)
			return error_set(error, -ENOMEM, "statistics: out of memory");
		r = vaccel_context_query(context, VIRTIO_ACCEL_Q_STATS, data, room, &len);
		if (r < 0)
			return error_set(error, r, "statistics: cannot ask for them: %s", vaccel_error());
		if (len <= room)
			return counts_decode(data, len, ret_counts, error);
		if (len > MAX_ROOM)
			break;
		room = len + len / 4;
	}
	return error_set(error, -EPROTO, "statistics: the answer of %zu bytes is too long", len);
}
