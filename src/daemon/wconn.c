/* SPDX-License-Identifier: Apache-2.0 */
/* A connection in the worker: its memory, its registered buffers, its helper thread, its end. See worker.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/worker.h"
#include "util/log.h"
#include "util/util.h"

/* Rings that are never idle must not keep the control thread out. No thread takes it for reading twice. */
static void init_memory_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
	pthread_rwlockattr_destroy(&attr);
}

struct wconn *wconn_get(struct worker *worker, uint32_t id)
{
	struct wconn *conn;

	if (id < 1 || id > worker->n_conns)
		return NULL;
	/* Its predecessor of that id took itself out of the table in another thread. */
	pthread_mutex_lock(&worker->lock);
	conn = worker->conns[id - 1];
	pthread_mutex_unlock(&worker->lock);
	if (conn)
		return conn;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	conn->worker = worker;
	conn->id = id;
	conn->helper_tail = &conn->helper_head;
	conn->memory.owner = id;
	init_memory_lock(&conn->memory_lock);
	pthread_mutex_init(&conn->helper_lock, NULL);
	pthread_cond_init(&conn->helper_work, NULL);
	pthread_mutex_lock(&worker->lock);
	worker->conns[id - 1] = conn;
	pthread_mutex_unlock(&worker->lock);
	return conn;
}

struct wring *wconn_swap_ring(struct wconn *conn, uint32_t index, struct wring *ring)
{
	struct wring *old;

	pthread_mutex_lock(&conn->worker->lock);
	old = conn->rings[index];
	conn->rings[index] = ring;
	pthread_mutex_unlock(&conn->worker->lock);
	return old;
}

/* ---- memory ---- */

static struct vhost_extent next_extent(const void *opaque, uint32_t i)
{
	const struct state_extent *extents = opaque;

	return (struct vhost_extent){ .gpa = extents[i].addr, .len = extents[i].len };
}

static void release(void *data, uint64_t len, void *opaque)
{
	vhost_alias_unmap(opaque);
	free(opaque);
}

int wconn_map_buffer(struct wconn *conn, const struct state_extent *extents, uint32_t n,
		     struct engine_mapping *ret_mapping, struct error *error)
{
	struct vhost_alias *alias = calloc(1, sizeof(*alias));
	int r;

	if (!alias)
		return error_set(error, -ENOMEM, "no memory");
	pthread_rwlock_rdlock(&conn->memory_lock);
	r = vhost_alias_map(&conn->memory, next_extent, extents, n, &conn->worker->alias_budget, alias, error);
	pthread_rwlock_unlock(&conn->memory_lock);
	if (r < 0) {
		free(alias);
		return r;
	}
	*ret_mapping =
		(struct engine_mapping){ .data = alias->data, .len = alias->len, .release = release, .opaque = alias };
	return 0;
}

/*
 * The extents come from the state, which a worker before may have damaged: they are checked like a guest's. level is
 * that of the line about a buffer whose memory is not there.
 */
static void bind_buffer(struct wconn *conn, const struct state_buffer *row, int level)
{
	struct engine_mapping mapping;
	struct error error = { 0 };

	if (wconn_map_buffer(conn, row->extents, row->n_extents, &mapping, &error) < 0) {
		log_line(level, "connection %u: buffer %#" PRIx64 " cannot be used: %s", conn->id, row->id, error.text);
		return;
	}
	/* Only what rings do meanwhile can be in the way: it was unregistered, say. */
	if (engine_buffer_bind(conn->worker->engine, row->id, &mapping, &error) < 0) {
		log_debug("connection %u: %s", conn->id, error.text);
		mapping.release(mapping.data, mapping.len, mapping.opaque);
	}
}

static void bind_buffers(struct wconn *conn, int level)
{
	struct error error = { 0 };
	struct state_buffer row;
	uint32_t cursor = 0;
	int r;

	do {
		_cleanup_free_ struct state_extent *extents = NULL;

		r = engine_buffer_unbound(conn->worker->engine, conn->id, &cursor, &row, &extents, &error);
		if (r > 0)
			bind_buffer(conn, &row, level);
	} while (r > 0);
	if (r < 0)
		log_warning("connection %u: %s", conn->id, error.text);
}

int wconn_memory_add(struct wconn *conn, const struct vhost_region *region, int fd, struct error *error)
{
	int r;

	pthread_rwlock_wrlock(&conn->memory_lock);
	r = vhost_memory_add(&conn->memory, region, fd, error);
	pthread_rwlock_unlock(&conn->memory_lock);
	/* Buffers whose memory was taken away may have it back. */
	if (r == 0 && conn->committed)
		bind_buffers(conn, LOG_DEBUG);
	return r;
}

void wconn_memory_clear(struct wconn *conn)
{
	conn->committed = false;
	engine_owner_unbind(conn->worker->engine, conn->id);
	pthread_rwlock_wrlock(&conn->memory_lock);
	vhost_memory_clear(&conn->memory);
	pthread_rwlock_unlock(&conn->memory_lock);
}

void wconn_memory_commit(struct wconn *conn)
{
	bind_buffers(conn, LOG_WARNING);
	conn->committed = true;
}

/* ---- helper thread ---- */

/*
 * The rings were told to stop. What waits in the engine is cancelled, so that they drain soon; what a ring still took
 * meanwhile goes with the second round, when nobody can add anything any more. Then nothing uses the memory.
 */
static void end_connection(struct wconn *conn)
{
	struct worker *worker = conn->worker;

	engine_owner_gone(worker->engine, conn->id);
	for (uint32_t i = 0; i < VHOST_MAX_QUEUES; i++)
		ring_free(wconn_swap_ring(conn, i, NULL));
	engine_owner_gone(worker->engine, conn->id);
	vhost_memory_clear(&conn->memory);
	pthread_mutex_lock(&worker->lock);
	worker->conns[conn->id - 1] = NULL;
	pthread_mutex_unlock(&worker->lock);
	worker_ack(worker, conn->id, conn->gone_seq, 0, 0, NULL);
	pthread_rwlock_destroy(&conn->memory_lock);
	pthread_mutex_destroy(&conn->helper_lock);
	pthread_cond_destroy(&conn->helper_work);
	free(conn);
}

static void *helper_main(void *opaque)
{
	struct wconn *conn = opaque;
	struct request *request;

	for (;;) {
		pthread_mutex_lock(&conn->helper_lock);
		while (!conn->helper_head && !conn->going)
			pthread_cond_wait(&conn->helper_work, &conn->helper_lock);
		request = conn->helper_head;
		if (request) {
			conn->helper_head = request->next;
			if (!conn->helper_head)
				conn->helper_tail = &conn->helper_head;
		}
		pthread_mutex_unlock(&conn->helper_lock);
		if (!request)
			break;
		accel_control_deferred(request);
	}
	end_connection(conn);
	return NULL;
}

/* Under helper_lock. */
static int ensure_helper(struct wconn *conn)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	if (conn->helper_started)
		return 0;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, helper_main, conn);
	pthread_attr_destroy(&attr);
	conn->helper_started = r == 0;
	return -r;
}

int wconn_defer(struct wconn *conn, struct request *request)
{
	int r;

	pthread_mutex_lock(&conn->helper_lock);
	/* Once it goes, the helper looks at its queue no more. */
	r = conn->going ? -ESHUTDOWN : ensure_helper(conn);
	if (r == 0) {
		request->next = NULL;
		*conn->helper_tail = request;
		conn->helper_tail = &request->next;
		pthread_cond_signal(&conn->helper_work);
	}
	pthread_mutex_unlock(&conn->helper_lock);
	return r;
}

void wconn_go(struct wconn *conn, uint32_t seq)
{
	/* Acknowledgements of seq 0 go to nobody. */
	for (size_t i = 0; i < VHOST_MAX_QUEUES; i++)
		if (conn->rings[i])
			ring_stop(conn->rings[i], 0);
	pthread_mutex_lock(&conn->helper_lock);
	conn->gone_seq = seq;
	conn->going = true;
	if (ensure_helper(conn) < 0)
		_exit(WORKER_EXIT_FAILED); /* the next worker is told again */
	pthread_cond_signal(&conn->helper_work);
	pthread_mutex_unlock(&conn->helper_lock);
}
