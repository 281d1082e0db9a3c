/* SPDX-License-Identifier: Apache-2.0 */
/* What the other end says of itself. Its strings are made safe for a terminal, since a daemon need not be trusted. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "util/util.h"

#define FIRST_ROOM 8192
#define MAX_ROOM   (1u << 20) /* an answer longer than that is none */

struct info {
	struct info *next;
	struct virtio_accel_info head;
	size_t n_ops;
	size_t len; /* of what came */
	struct virtio_accel_op_info ops[];
};

void info_free_all(struct vaccel_context *context)
{
	while (context->info) {
		struct info *info = context->info;

		context->info = info->next;
		free(info);
	}
}

static struct info *decode(const void *data, size_t len)
{
	struct info *info = calloc(1, sizeof(*info) + len);

	if (!info)
		return NULL;
	info->len = len;
	memcpy(&info->head, data, sizeof(info->head));
	info->n_ops = MIN(le32toh(info->head.n_ops), (len - sizeof(info->head)) / sizeof(info->ops[0]));
	memcpy(info->ops, (const char *)data + sizeof(info->head), info->n_ops * sizeof(info->ops[0]));
	answer_text(info->head.version, sizeof(info->head.version));
	answer_text(info->head.host, sizeof(info->head.host));
	for (size_t i = 0; i < info->n_ops; i++) {
		answer_text(info->ops[i].name, sizeof(info->ops[i].name));
		answer_text(info->ops[i].plugin, sizeof(info->ops[i].plugin));
		answer_text(info->ops[i].hardware, sizeof(info->ops[i].hardware));
	}
	return info;
}

/* Asks with room bytes. *ret_len: what there is, perhaps more than fits. */
static int ask(struct vaccel_context *context, size_t room, void **ret_data, size_t *ret_len)
{
	struct error error = { 0 };
	void *data = calloc(1, room);
	int r;

	if (!data)
		return lib_failf(-ENOMEM, "info: out of memory");
	r = context->transport->ops->query(context->transport, VIRTIO_ACCEL_Q_INFO, data, room, ret_len, &error);
	if (r < 0) {
		free(data);
		error.code = r;
		return lib_fail(&error);
	}
	*ret_data = data;
	return 0;
}

static int ask_all(struct vaccel_context *context, struct info **ret_info)
{
	void *data = NULL;
	size_t len = 0;
	int r = ask(context, FIRST_ROOM, &data, &len);

	if (r == 0 && len > FIRST_ROOM && len <= MAX_ROOM) {
		size_t room = len;

		free(data);
		r = ask(context, room, &data, &len);
		len = MIN(len, room);
	}
	if (r < 0)
		return r;
	if (len < sizeof(struct virtio_accel_info) || len > MAX_ROOM) {
		free(data);
		return lib_failf(-EPROTO, "info: the answer of %zu bytes is malformed", len);
	}
	*ret_info = decode(data, len);
	free(data);
	return *ret_info ? 0 : lib_failf(-ENOMEM, "info: out of memory");
}

static bool same(const struct info *a, const struct info *b)
{
	return a && a->n_ops == b->n_ops && !memcmp(&a->head, &b->head, sizeof(a->head)) &&
	       !memcmp(a->ops, b->ops, a->n_ops * sizeof(a->ops[0]));
}

/* The newest answer, which is in the context's list: one that says what the one before said is dropped. */
static int refresh(struct vaccel_context *context, const struct info **ret_info)
{
	struct info *info;
	int r = ask_all(context, &info);

	if (r < 0)
		return r;
	pthread_mutex_lock(&context->lock);
	if (same(context->info, info)) {
		free(info);
	} else {
		info->next = context->info;
		context->info = info;
	}
	*ret_info = context->info;
	pthread_mutex_unlock(&context->lock);
	return 0;
}

PUBLIC int vaccel_context_query(struct vaccel_context *context, uint32_t what, void *data, size_t len, size_t *ret_len)
{
	struct error error = { 0 };
	size_t there = 0;
	int r = context_check(context, "context");

	if (r < 0)
		return r;
	if (!ret_len || (!data && len))
		return lib_failf(-EINVAL, "query: nowhere to return its answer");
	error.code = context->transport->ops->query(context->transport, what, data, len, &there, &error);
	if (error.code < 0)
		return lib_fail(&error);
	*ret_len = there;
	return 0;
}

PUBLIC int vaccel_context_info(struct vaccel_context *context, struct vaccel_info *ret_info)
{
	const struct transport_limits *limits;
	const struct info *info;
	struct vaccel_info out;
	int r = context_check(context, "context");

	if (r == 0)
		r = refresh(context, &info);
	if (r < 0)
		return r;
	limits = &context->limits;
	out = (struct vaccel_info){
		.transport = context->url,
		.device = context->transport->ops->device(context->transport),
		.version = info->head.version,
		.host = info->head.host,
		.n_ops = info->n_ops,
		.max_request_bytes = limits->max_request_bytes,
		.max_buffer_bytes = limits->max_buffer_bytes,
		.max_sessions = limits->max_sessions,
		.max_buffers = limits->max_buffers,
		.n_queues = limits->n_queues,
		.bytes_copied = __atomic_load_n(&context->transport->bytes_copied, __ATOMIC_RELAXED),
	};
	return lib_write_struct(ret_info, &out, sizeof(out), "vaccel_info");
}

PUBLIC int vaccel_context_op(struct vaccel_context *context, size_t index, struct vaccel_op_info *ret_info)
{
	const struct virtio_accel_op_info *row;
	struct vaccel_op_info out;
	const struct info *info;
	int r = context_check(context, "context");

	if (r < 0)
		return r;
	pthread_mutex_lock(&context->lock);
	info = context->info;
	pthread_mutex_unlock(&context->lock);
	if (!info)
		r = refresh(context, &info);
	if (r < 0)
		return r;
	if (index >= info->n_ops)
		return lib_failf(-ENOENT, "operation in row %zu: there are %zu rows", index, info->n_ops);
	row = &info->ops[index];
	out = (struct vaccel_op_info){
		.op = le32toh(row->op),
		.name = row->name,
		.plugin = row->plugin,
		.hardware = row->hardware,
	};
	return lib_write_struct(ret_info, &out, sizeof(out), "vaccel_op_info");
}

PUBLIC int vaccel_context_stage(struct vaccel_context *context, size_t index, struct vaccel_stage_info *ret_info)
{
	const struct op_stage_desc *stage;
	struct vaccel_stage_info out;
	struct hist hist = { 0 };
	int r = context_check(context, "context");

	if (r < 0)
		return r;
	if (index >= STAGE_FIRST_OF_DAEMON)
		return lib_failf(-ENOENT, "stage in row %zu: there are %d rows", index, STAGE_FIRST_OF_DAEMON);
	stage = op_stage_at(index);
	hist_merge(&hist, &context->transport->times[index]);
	out = (struct vaccel_stage_info){
		.name = stage->name,
		.count = hist.count,
		.sum_ns = hist.sum_ns,
		.median_ns = (uint64_t)hist_quantile(&hist, 0.5),
		.p99_ns = (uint64_t)hist_quantile(&hist, 0.99),
	};
	return lib_write_struct(ret_info, &out, sizeof(out), "vaccel_stage_info");
}
