/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests other than ops: sessions, registered buffers, cancelling, queries. One row per type. They run in the ring's
 * thread, but for closing a session that is busy, which waits for the session's ops and therefore runs in the
 * connection's helper.
 *
 * Exactly once: what creates something carries a tag made of the request's journal counter, by which the state finds
 * what an interrupted run of the same request has created; what removes something has succeeded if it is gone already
 * and the request is one of a worker before.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/worker.h"
#include "engine/info.h"
#include "util/util.h"

static int session_open(struct request *request, uint64_t *ret_value, struct error *error)
{
	struct wconn *conn = request->ring->conn;

	return engine_session_open(conn->worker->engine, conn->id, request_tag(request), ret_value, error);
}

/* -EAGAIN in the ring's thread: it may have to wait. */
static int session_close(struct request *request, uint64_t *ret_value, struct error *error)
{
	struct wconn *conn = request->ring->conn;
	struct engine *engine = conn->worker->engine;
	int r = request->deferred ? engine_session_close(engine, conn->id, request->accel.wire.session, error)
				  : engine_session_close_idle(engine, conn->id, request->accel.wire.session, error);

	return r == -ESTALE && request->recovered ? 0 : r;
}

static int buffer_register(struct request *request, uint64_t *ret_value, struct error *error)
{
	const struct wire_arg *arg = &request->accel.wire.args[0];
	struct wconn *conn = request->ring->conn;
	struct worker *worker = conn->worker;
	_cleanup_free_ struct state_extent *extents = NULL;
	struct engine_mapping mapping;
	int r;

	if (arg->dir != VIRTIO_ACCEL_DIR_INOUT)
		return error_set(error, -EINVAL, "buffer: its direction is %u, not INOUT", arg->dir);
	if (arg->len > worker->config->limits.buffer_bytes)
		return limit_refuse(worker->limit_counts, LIMIT_BUFFER_BYTES, worker->config->limits.buffer_bytes,
				    error, -E2BIG, "buffer: %" PRIu64 " bytes are too many", arg->len);
	extents = calloc(arg->n_extents, sizeof(*extents));
	if (!extents)
		return error_set(error, -ENOMEM, "buffer: no memory for %u extents", arg->n_extents);
	for (uint32_t i = 0; i < arg->n_extents; i++) {
		struct wire_extent extent = wire_extent(&request->accel.wire, arg->first_extent + i);

		extents[i] = (struct state_extent){ .addr = extent.addr, .len = extent.len };
	}
	r = wconn_map_buffer(conn, extents, arg->n_extents, &mapping, error);
	if (r < 0) {
		error_prefix(error, "buffer");
		return r;
	}
	r = engine_buffer_add(worker->engine, conn->id, request->accel.wire.session, request_tag(request), &mapping,
			      extents, arg->n_extents, ret_value, error);
	if (r < 0)
		mapping.release(mapping.data, mapping.len, mapping.opaque);
	return r;
}

static int buffer_unregister(struct request *request, uint64_t *ret_value, struct error *error)
{
	struct wconn *conn = request->ring->conn;
	int r = engine_buffer_remove(conn->worker->engine, conn->id, request->accel.wire.session,
				     request->accel.wire.object, error);

	return r == -ESTALE && request->recovered ? 0 : r;
}

static int cancel(struct request *request, uint64_t *ret_value, struct error *error)
{
	struct wconn *conn = request->ring->conn;

	return engine_cancel(conn->worker->engine, conn->id, request->accel.wire.object, error);
}

/* Answers of queries, which the caller frees. 0 or -ENOMEM. */
static int query_info(const struct wconn *conn, void **ret_bytes, size_t *ret_len)
{
	const struct engine *engine = conn->worker->engine;

	*ret_len = engine_info_encode(engine, NULL, 0);
	*ret_bytes = calloc(1, *ret_len);
	if (!*ret_bytes)
		return -ENOMEM;
	engine_info_encode(engine, *ret_bytes, *ret_len);
	return 0;
}

static int query_stats(const struct wconn *conn, void **ret_bytes, size_t *ret_len)
{
	const struct stats *stats = &conn->worker->stats;

	*ret_bytes = calloc(1, STATS_MAX_ENCODED);
	if (!*ret_bytes)
		return -ENOMEM;
	*ret_len = stats_encode(stats, stats_conn(stats, conn->id), *ret_bytes, STATS_MAX_ENCODED);
	return 0;
}

static int (*const queries[])(const struct wconn *, void **, size_t *) = {
	[VIRTIO_ACCEL_Q_INFO] = query_info,
	[VIRTIO_ACCEL_Q_STATS] = query_stats,
};

static int query(struct request *request, uint64_t *ret_value, struct error *error)
{
	const struct wire_arg *arg = &request->accel.wire.args[0];
	struct wconn *conn = request->ring->conn;
	size_t there, len;
	_cleanup_free_ void *bytes = NULL;
	int r = 0;

	if (request->accel.wire.object >= ARRAY_SIZE(queries))
		return error_set(error, -EOPNOTSUPP, "query %" PRIu64 " is not known", request->accel.wire.object);
	if (arg->dir != VIRTIO_ACCEL_DIR_OUT || arg->kind != VIRTIO_ACCEL_ARG_EXTENTS)
		return error_set(error, -EINVAL, "query: its argument is not plain memory to write to");
	r = queries[request->accel.wire.object](conn, &bytes, &there);
	if (r < 0)
		return error_set(error, -ENOMEM, "query: no memory for its answer");
	len = MIN(there, arg->len);
	pthread_rwlock_rdlock(&conn->memory_lock);
	r = accel_copy(request, arg, bytes, len, true, error);
	pthread_rwlock_unlock(&conn->memory_lock);
	if (r == 0)
		*ret_value = there;
	return r;
}

static const struct {
	uint32_t type;
	int (*run)(struct request *request, uint64_t *ret_value, struct error *error);
} types[] = {
	{ VIRTIO_ACCEL_T_SESSION_OPEN, session_open },
	{ VIRTIO_ACCEL_T_SESSION_CLOSE, session_close },
	{ VIRTIO_ACCEL_T_BUFFER_REGISTER, buffer_register },
	{ VIRTIO_ACCEL_T_BUFFER_UNREGISTER, buffer_unregister },
	{ VIRTIO_ACCEL_T_CANCEL, cancel },
	{ VIRTIO_ACCEL_T_QUERY, query },
};

static int run(struct request *request, uint64_t *ret_value, struct error *error)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (types[i].type == request->accel.wire.type)
			return types[i].run(request, ret_value, error);
	return error_set(error, -EOPNOTSUPP, "request type %u is not known", request->accel.wire.type);
}

void accel_control_deferred(struct request *request)
{
	struct error error = { 0 };
	uint64_t value = 0;
	int r;

	request->deferred = true;
	r = run(request, &value, &error);
	accel_answer(request, r, value, &error);
}

void accel_control(struct request *request)
{
	struct error error = { 0 };
	uint64_t value = 0;
	int r = run(request, &value, &error);

	if (r != -EAGAIN)
		accel_answer(request, r, value, &error);
	else if (wconn_defer(request->ring->conn, request) < 0)
		accel_control_deferred(request);
}
