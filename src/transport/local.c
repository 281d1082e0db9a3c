/* SPDX-License-Identifier: Apache-2.0 */
/*
 * local: the engine inside this process, with the configuration file named in the URL ("local:FILE"), or the installed
 * one, or the built-in defaults. Completions come from the engine's threads. Registered buffers are plain mappings.
 *
 * Contexts share one engine, each as an owner of its own: a plugin is loaded into a process once and has one state there,
 * so it can be started only once. For the same reason there is one configuration at a time. This is the one piece of
 * state of the library that hangs from no context; the process that made it is remembered, since a forked child has it
 * without its threads.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/config.h"
#include "engine/engine.h"
#include "engine/info.h"
#include "engine/stats.h"
#include "op/wire.h"
#include "transport/transport.h"
#include "util/util.h"

struct shared {
	char *rest; /* of the URL */
	struct config *config;
	struct engine *engine;
	unsigned int refs;
	uint32_t next_owner;
	pid_t pid;
};

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared *shared; /* under the lock */

struct local {
	struct transport transport;
	struct transport_sink sink;
	struct shared *shared;
	struct engine *engine; /* of shared */
	uint32_t owner;
	uint64_t next_id;
	struct stats stats; /* of this context alone */
};

/* A request on its way through the engine. */
struct local_request {
	struct engine_request engine;
	struct local *local;
	struct transport_request *request;
	struct reaper_item finished; /* run(): instead of the sink */
};

static struct local *local_of(struct transport *transport)
{
	return container_of(transport, struct local, transport);
}

static void shared_free(struct shared *old)
{
	engine_free(old->engine);
	config_free(old->config);
	free(old->rest);
	free(old);
}

static int shared_new(const char *rest, struct shared **ret, struct error *error)
{
	struct shared *new = calloc(1, sizeof(*new));
	int r;

	if (new)
		new->rest = strdup(rest);
	if (!new || !new->rest) {
		free(new);
		return error_set(error, -ENOMEM, "out of memory");
	}
	new->pid = getpid();
	r = config_load(*rest ? rest : NULL, &new->config, error);
	if (r == 0)
		r = engine_new(new->config, NULL, &new->engine, error);
	if (r < 0) {
		shared_free(new);
		return r;
	}
	*ret = new;
	return 0;
}

/* Called with the lock. */
static int shared_get(const char *rest, struct local *local, struct error *error)
{
	int r;

	if (shared && shared->pid != getpid())
		return error_set(error, -ECHILD,
				 "cannot start: the engine of process %d came with fork(); use execve()",
				 (int)shared->pid);
	if (shared && strcmp(shared->rest, rest))
		return error_set(error, -EBUSY, "cannot start: this process uses configuration '%s' already",
				 shared->rest);
	if (!shared) {
		r = shared_new(rest, &shared, error);
		if (r < 0)
			return r;
	}
	shared->refs++;
	local->shared = shared;
	local->engine = shared->engine;
	local->owner = ++shared->next_owner;
	return 0;
}

static void shared_put(struct shared *used)
{
	pthread_mutex_lock(&shared_lock);
	if (--used->refs == 0) {
		shared = NULL;
		shared_free(used);
	}
	pthread_mutex_unlock(&shared_lock);
}

/* Before it is seen to have ended. */
static void count(struct local *local, uint32_t type, uint32_t op, int result)
{
	struct stats_ring *counts = &stats_conn(&local->stats, 1)->rings[0];

	stats_add(&counts->results[stats_kind(type, op)][wire_status(result) % STATS_STATUSES], 1);
}

static int stats_start(struct local *local)
{
	/* A large block that is zero costs nothing until it is used. */
	local->stats = (struct stats){
		.head = mmap(NULL, stats_size(1, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		.n_conns = 1,
		.n_rings = 1,
	};
	if (local->stats.head == MAP_FAILED)
		return -ENOMEM;
	local->stats.head->worker_starts = 1;
	return 0;
}

static void local_free(struct transport *transport)
{
	struct local *local = local_of(transport);

	engine_owner_gone(local->engine, local->owner);
	shared_put(local->shared);
	transport_fini(&local->transport);
	munmap(local->stats.head, stats_size(1, 1));
	free(local);
}

static int local_open(const char *rest, const struct transport_sink *sink, struct transport **ret_transport,
		      struct error *error)
{
	struct local *local = calloc(1, sizeof(*local));
	int r;

	if (!local || stats_start(local) < 0) {
		free(local);
		return error_set(error, -ENOMEM, "out of memory");
	}
	pthread_mutex_lock(&shared_lock);
	r = shared_get(rest, local, error);
	pthread_mutex_unlock(&shared_lock);
	if (r < 0) {
		munmap(local->stats.head, stats_size(1, 1));
		free(local);
		return r;
	}
	local->stats.trace = local->shared->config->metrics_trace;
	transport_init(&local->transport, &transport_local);
	local->sink = *sink;
	*ret_transport = &local->transport;
	return 0;
}

static const char *local_device(struct transport *transport)
{
	return "engine in this process";
}

static void local_limits(struct transport *transport, struct transport_limits *ret_limits)
{
	const struct config_limits *limits = &local_of(transport)->shared->config->limits;

	*ret_limits = (struct transport_limits){
		.max_request_bytes = limits->request_bytes,
		.max_buffer_bytes = limits->buffer_bytes,
		.max_sessions = limits->sessions,
		.max_buffers = limits->buffers,
	};
}

static int local_query(struct transport *transport, uint32_t what, void *data, size_t len, size_t *ret_len,
		       struct error *error)
{
	struct local *local = local_of(transport);

	if (what == VIRTIO_ACCEL_Q_INFO)
		*ret_len = engine_info_encode(local->engine, data, len);
	else if (what == VIRTIO_ACCEL_Q_STATS)
		*ret_len = stats_encode(&local->stats, stats_conn(&local->stats, 1), data, len);
	else
		return error_set(error, -EOPNOTSUPP, "query %u is not known", what);
	count(local, VIRTIO_ACCEL_T_QUERY, 0, 0);
	return 0;
}

static int local_session_open(struct transport *transport, uint64_t *ret_id, struct error *error)
{
	struct local *local = local_of(transport);
	int r = engine_session_open(local->engine, local->owner, 0, ret_id, error);

	count(local, VIRTIO_ACCEL_T_SESSION_OPEN, 0, r);
	return r;
}

static int local_session_close(struct transport *transport, uint64_t id, struct error *error)
{
	struct local *local = local_of(transport);
	int r = engine_session_close(local->engine, local->owner, id, error);

	count(local, VIRTIO_ACCEL_T_SESSION_CLOSE, 0, r);
	return r;
}

static void unmap(void *data, uint64_t len, void *opaque)
{
	munmap(data, len);
}

static int local_buffer_alloc(struct transport *transport, uint64_t session, size_t len,
			      struct transport_buffer *ret_buffer, struct error *error)
{
	struct engine_mapping mapping = { .len = len, .release = unmap };
	uint64_t id = 0;
	int r;

	mapping.data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapping.data == MAP_FAILED)
		return error_set(error, -ENOMEM, "buffer: cannot map %zu bytes: %s", len, strerror(errno));
	r = engine_buffer_add(local_of(transport)->engine, local_of(transport)->owner, session, 0, &mapping, NULL, 0,
			      &id, error);
	count(local_of(transport), VIRTIO_ACCEL_T_BUFFER_REGISTER, 0, r);
	if (r < 0) {
		munmap(mapping.data, len);
		return r;
	}
	*ret_buffer = (struct transport_buffer){ .id = id, .data = mapping.data, .len = len };
	return 0;
}

static int local_buffer_free(struct transport *transport, uint64_t session, struct transport_buffer *buffer,
			     struct error *error)
{
	struct local *local = local_of(transport);
	int r = engine_buffer_remove(local->engine, local->owner, session, buffer->id, error);

	count(local, VIRTIO_ACCEL_T_BUFFER_UNREGISTER, 0, r);
	return r;
}

/* Only the parts in use: the struct is large. */
static void copy_op(struct op_request *dst, const struct op_request *src)
{
	dst->op = src->op;
	dst->deadline_ms = src->deadline_ms;
	dst->session = src->session;
	dst->n_args = src->n_args;
	dst->params_len = src->params_len;
	memcpy(dst->args, src->args, src->n_args * sizeof(src->args[0]));
	memcpy(dst->params, src->params, src->params_len);
}

static void prepare(struct local *local, struct local_request *lr, struct transport_request *request,
		    void (*done)(struct engine_request *))
{
	memset(&lr->engine, 0, offsetof(struct engine_request, op));
	copy_op(&lr->engine.op, &request->op);
	memset((char *)&lr->engine + offsetof(struct engine_request, owner), 0,
	       sizeof(lr->engine) - offsetof(struct engine_request, owner));
	lr->engine.owner = local->owner;
	lr->engine.id = request->cookie = __atomic_add_fetch(&local->next_id, 1, __ATOMIC_RELAXED);
	lr->engine.done = done;
	/* The caller is trusted with itself. */
	lr->engine.own_args = UINT32_MAX;
	lr->local = local;
	lr->request = request;
	lr->finished.done = false;
}

/* The engine's times of a sample, or of all. */
static void count_request(struct local_request *lr)
{
	const struct engine_request *engine = &lr->engine;
	struct stats_conn *stats = stats_conn(&lr->local->stats, 1);
	uint32_t kind = stats_kind(VIRTIO_ACCEL_T_OP, engine->op.op);

	if (engine->end_ns && (lr->local->stats.trace || engine->id % STATS_SAMPLE == 1)) {
		stats_time(stats, kind, STAGE_QUEUE, engine->arrived_ns, engine->start_ns);
		stats_time(stats, kind, STAGE_PLUGIN, engine->start_ns, engine->end_ns);
		stats_time(stats, kind, STAGE_TOTAL, engine->arrived_ns, engine->end_ns);
	}
	if (engine->copied) {
		stats_add(&stats->rings[0].bytes_copied, engine->copied);
		__atomic_fetch_add(&lr->local->transport.bytes_copied, engine->copied, __ATOMIC_RELAXED);
	}
	count(lr->local, VIRTIO_ACCEL_T_OP, engine->op.op, engine->result);
}

static void take_result(struct local_request *lr)
{
	lr->request->result = lr->engine.result;
	lr->request->error = lr->engine.error;
}

static void done_submitted(struct engine_request *engine)
{
	struct local_request *lr = container_of(engine, struct local_request, engine);
	struct local *local = lr->local;
	struct transport_request *request = lr->request;

	count_request(lr);
	take_result(lr);
	free(lr);
	local->sink.completed(local->sink.opaque, request);
}

static int local_submit(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct local *local = local_of(transport);
	struct local_request *lr = malloc(sizeof(*lr));

	if (!lr)
		return error_set(error, -ENOMEM, "request: out of memory");
	prepare(local, lr, request, done_submitted);
	/* Not inline: who submits wants to go on. */
	engine_submit(local->engine, &lr->engine, 0);
	return 0;
}

static void done_run(struct engine_request *engine)
{
	struct local_request *lr = container_of(engine, struct local_request, engine);

	count_request(lr);
	reaper_done(&lr->local->transport.reaper, &lr->finished);
}

static int local_run(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct local *local = local_of(transport);
	struct local_request lr;

	prepare(local, &lr, request, done_run);
	/* The caller has nothing else to do. */
	engine_submit(local->engine, &lr.engine, UINT64_MAX);
	reaper_wait(&local->transport.reaper, &lr.finished, -1);
	take_result(&lr);
	return 0;
}

static int local_cancel(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct local *local = local_of(transport);
	int r = engine_cancel(local->engine, local->owner, request->cookie, error);

	count(local, VIRTIO_ACCEL_T_CANCEL, 0, r);
	return r;
}

static int local_fd(struct transport *transport)
{
	return -1;
}

const struct transport_ops transport_local = {
	.scheme = "local",
	.open = local_open,
	.free = local_free,
	.device = local_device,
	.limits = local_limits,
	.query = local_query,
	.session_open = local_session_open,
	.session_close = local_session_close,
	.buffer_alloc = local_buffer_alloc,
	.buffer_free = local_buffer_free,
	.submit = local_submit,
	.cancel = local_cancel,
	.run = local_run,
	.fd = local_fd,
};
