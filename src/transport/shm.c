/* SPDX-License-Identifier: Apache-2.0 */
/* See shm.h: beginning and end, sessions and buffers, the wait. */
#include "transport/shm.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "util/util.h"

/* Pauses of 10, 20, ... ms: 150 in all. */
#define CONNECT_AGAIN 4

static struct shm *shm_of(struct transport *transport)
{
	return container_of(transport, struct shm, transport);
}

static struct shm_session *session_of(uint64_t id)
{
	return (struct shm_session *)(uintptr_t)id;
}

/* ---- Beginning and end ---- */

/* Half of the machine's memory: the rest is for what the arguments are copied from. */
static uint64_t arena_limit(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return UINT64_C(1) << 30;
	return (uint64_t)info.totalram * info.mem_unit / 2;
}

/* How long a thread looks at the rings before it sleeps: $VACCEL_SPIN_US, for measurements and for who pays for CPU. */
static uint32_t spin_time(void)
{
	const char *text = secure_getenv("VACCEL_SPIN_US");
	unsigned long us;
	char *end;

	if (!text || !*text)
		return SPIN_AUTO;
	errno = 0;
	us = strtoul(text, &end, 10);
	return errno || *end || us > SPIN_MAX_US ? SPIN_AUTO : (uint32_t)us;
}

static void shm_free(struct transport *transport)
{
	struct shm *shm = shm_of(transport);

	shm_forget(shm);
	/* First: after it nobody else writes to what is unmapped here. */
	arena_fini(&shm->arena);
	frontend_free(shm->frontend);
	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		dring_fini(&shm->queues[i].ring);
		close_fd(&shm->queues[i].kick);
		pthread_mutex_destroy(&shm->queues[i].lock);
	}
	close_fd(&shm->call);
	close_fd(&shm->held);
	close_fd(&shm->patience);
	close_fd(&shm->epoll);
	close_fd(&shm->wait);
	pthread_mutex_destroy(&shm->again_lock);
	transport_fini(&shm->transport);
	free(shm->path);
	free(shm);
}

static int try_new(const char *rest, const struct transport_sink *sink, struct transport **ret_transport,
		   struct error *error)
{
	struct shm *shm = calloc(1, sizeof(*shm));
	int r;

	if (!shm)
		return error_set(error, -ENOMEM, "out of memory");
	transport_init(&shm->transport, &transport_shm);
	shm->sink = *sink;
	shm->call = shm->epoll = shm->wait = shm->held = shm->patience = -1;
	pthread_mutex_init(&shm->again_lock, NULL);
	shm->path = strdup(rest);
	spin_init(&shm->spin, spin_time());
	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		pthread_mutex_init(&shm->queues[i].lock, NULL);
		shm->queues[i].kick = -1;
	}
	r = shm->path ? shm_connect(shm, error) : error_set(error, -ENOMEM, "out of memory");
	arena_init(&shm->arena, shm->frontend, arena_limit());
	if (r < 0) {
		shm_free(&shm->transport);
		return r;
	}
	snprintf(shm->device, sizeof(shm->device), "virtio-accel %u.%u, %u queue%s, %s", shm->config.version_major,
		 shm->config.version_minor, shm->n_queues, shm->n_queues == 1 ? "" : "s", rest);
	*ret_transport = &shm->transport;
	return 0;
}

/* A daemon that accepts and dies before all is said has a successor soon, on the same socket. */
static int shm_new(const char *rest, const struct transport_sink *sink, struct transport **ret_transport,
		   struct error *error)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	int r;

	for (int i = 0; (r = try_new(rest, sink, ret_transport, error)) == -ECONNRESET && i < CONNECT_AGAIN; i++) {
		nanosleep(&pause, NULL);
		pause.tv_nsec *= 2;
	}
	return r;
}

static const char *shm_device(struct transport *transport)
{
	return shm_of(transport)->device;
}

static void shm_limits(struct transport *transport, struct transport_limits *ret_limits)
{
	struct shm *shm = shm_of(transport);

	*ret_limits = (struct transport_limits){
		.max_request_bytes = shm->config.max_request_bytes,
		.max_buffer_bytes = shm->config.max_buffer_bytes,
		.max_sessions = shm->config.max_sessions,
		.max_buffers = shm->config.max_buffers,
		.n_queues = shm->n_queues,
	};
}

/* ---- Control ---- */

/* What the daemon has of ours is told again with another connection, so such a request may be sent again as well. */
static int shm_query(struct transport *transport, uint32_t what, void *data, size_t len, size_t *ret_len,
		     struct error *error)
{
	struct shm *shm = shm_of(transport);
	uint64_t value = 0, connection;
	int r, tries = 0;

	do {
		struct wire_request wire = {
			.type = VIRTIO_ACCEL_T_QUERY,
			.object = what,
			.n_args = 1,
			.n_extents = len ? 1 : 0,
			.args[0] = { .kind = VIRTIO_ACCEL_ARG_EXTENTS,
				     .dir = VIRTIO_ACCEL_DIR_OUT,
				     .n_extents = len ? 1 : 0,
				     .len = len },
		};

		r = shm_ready(shm, &connection, error);
		if (r < 0)
			return r;
		r = shm_control(shm, connection, &wire, data, len, &value, error);
	} while (r == -ECONNRESET && shm_lost(shm, connection) && ++tries < SHM_TRIES);
	if (r == 0)
		*ret_len = (size_t)value;
	return r;
}

/* ---- Sessions ---- */

static int open_once(struct shm *shm, uint64_t connection, struct shm_session *session, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	bool closing;
	int r;

	do {
		closing = __atomic_load_n(&shm->n_posted, __ATOMIC_ACQUIRE);
		r = shm_control(shm, connection, &wire, NULL, 0, &session->id, error);
		/* Sessions whose closing has not been answered may still count. */
	} while (r == -EDQUOT && closing);
	if (r < 0)
		return r;
	pthread_mutex_lock(&shm->again_lock);
	if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) == connection)
		LIST_INSERT_HEAD(&shm->sessions, session, entry);
	else
		r = error_set(error, -ECONNRESET, "session: the connection to the daemon is lost");
	pthread_mutex_unlock(&shm->again_lock);
	return r;
}

static int shm_session_open(struct transport *transport, uint64_t *ret_id, struct error *error)
{
	struct shm_session *session = calloc(1, sizeof(*session));
	struct shm *shm = shm_of(transport);
	uint64_t connection;
	int r, tries = 0;

	if (!session)
		return error_set(error, -ENOMEM, "session: out of memory");
	do {
		r = shm_ready(shm, &connection, error);
		if (r < 0)
			break;
		r = open_once(shm, connection, session, error);
	} while (r == -ECONNRESET && shm_lost(shm, connection) && ++tries < SHM_TRIES);
	if (r < 0) {
		free(session);
		return r;
	}
	*ret_id = (uintptr_t)session;
	return 0;
}

/* What was open at a daemon that is gone needs no closing. */
static int close_at(struct shm *shm, uint64_t connection, uint64_t id, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = id };
	int r;

	if (!connection)
		return 0;
	r = shm_post(shm, connection, &wire, error);
	if (r == -EAGAIN)
		r = shm_control(shm, connection, &wire, NULL, 0, NULL, error);
	return r == -ECONNRESET && shm_lost(shm, connection) ? 0 : r;
}

static int shm_session_close(struct transport *transport, uint64_t id, struct error *error)
{
	struct shm_session *session = session_of(id);
	struct shm *shm = shm_of(transport);
	uint64_t connection;
	int r;

	pthread_mutex_lock(&shm->again_lock);
	connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	LIST_REMOVE(session, entry);
	pthread_mutex_unlock(&shm->again_lock);
	r = close_at(shm, connection, session->id, error);
	free(session);
	return r;
}

/* ---- Buffers ---- */

/* Whole pages, so that the daemon can map it by itself. */
static int alloc_pages(struct shm *shm, size_t len, struct arena_block *block, struct error *error)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t pages;

	if (add_u64(len, page - 1, &pages))
		return error_set(error, -ENOMEM, "buffer: %zu bytes are more than any memory", len);
	for (;;) {
		uint64_t ticket = reaper_ticket(&shm->transport.reaper);
		int r = arena_alloc(&shm->arena, pages / page * page, page, false, block, error);

		if (r == 0 && !block->fresh)
			memset(block->data, 0, block->len);
		if (r != -EAGAIN)
			return r;
		reaper_wait_progress(&shm->transport.reaper, ticket);
	}
}

static int register_once(struct shm *shm, uint64_t connection, struct shm_session *session, struct shm_buffer *buffer,
			 struct error *error)
{
	struct wire_extent extent;
	struct wire_request wire;
	int r;

	shm_describe_buffer(buffer, &extent, &wire);
	wire.session = __atomic_load_n(&session->id, __ATOMIC_RELAXED);
	r = shm_control(shm, connection, &wire, NULL, 0, &buffer->id, error);
	if (r == 0 && !buffer->id)
		r = error_set(error, -EPROTO, "buffer: the daemon registered it as number 0");
	if (r < 0)
		return r;
	pthread_mutex_lock(&shm->again_lock);
	if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) == connection)
		LIST_INSERT_HEAD(&session->buffers, buffer, entry);
	else
		r = error_set(error, -ECONNRESET, "buffer: the connection to the daemon is lost");
	pthread_mutex_unlock(&shm->again_lock);
	return r;
}

static int add_buffer(struct shm *shm, struct shm_session *session, size_t len, struct shm_buffer *buffer,
		      struct error *error)
{
	uint64_t connection;
	int r, tries = 0;

	if (!frontend_has_feature(shm->frontend, VIRTIO_ACCEL_F_BUFFERS))
		return error_set(error, -EOPNOTSUPP, "buffer: the daemon knows no registered buffers");
	do {
		r = shm_ready(shm, &connection, error);
		if (r == 0 && !buffer->block.region)
			r = alloc_pages(shm, len, &buffer->block, error);
		if (r == 0)
			r = register_once(shm, connection, session, buffer, error);
		else if (!shm_is_ready(connection))
			break;
	} while (r == -ECONNRESET && shm_lost(shm, connection) && ++tries < SHM_TRIES);
	if (r < 0)
		arena_free(&shm->arena, &buffer->block);
	return r;
}

static int shm_buffer_alloc(struct transport *transport, uint64_t session, size_t len,
			    struct transport_buffer *ret_buffer, struct error *error)
{
	struct shm_buffer *buffer = calloc(1, sizeof(*buffer));
	int r;

	if (!buffer)
		return error_set(error, -ENOMEM, "buffer: out of memory");
	r = add_buffer(shm_of(transport), session_of(session), len, buffer, error);
	if (r < 0) {
		free(buffer);
		return r;
	}
	*ret_buffer = (struct transport_buffer){
		.id = (uintptr_t)buffer, .data = buffer->block.data, .len = len, .priv = buffer
	};
	return 0;
}

/*
 * Out of the list first, or another connection might be told of it meanwhile; back into it if it is still in use there.
 * What was registered with a daemon that is gone is free.
 */
static int remove_buffer(struct shm *shm, struct shm_session *session, struct shm_buffer *buffer, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER };
	uint64_t connection;
	int r = 0;

	pthread_mutex_lock(&shm->again_lock);
	connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	LIST_REMOVE(buffer, entry);
	wire.session = session->id;
	wire.object = buffer->id;
	pthread_mutex_unlock(&shm->again_lock);
	if (connection)
		r = shm_control(shm, connection, &wire, NULL, 0, NULL, error);
	if (r == -EBUSY) {
		pthread_mutex_lock(&shm->again_lock);
		if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) == connection)
			LIST_INSERT_HEAD(&session->buffers, buffer, entry);
		else
			r = 0;
		pthread_mutex_unlock(&shm->again_lock);
	}
	return r == -ECONNRESET && shm_lost(shm, connection) ? 0 : r;
}

static int shm_buffer_free(struct transport *transport, uint64_t session, struct transport_buffer *memory,
			   struct error *error)
{
	struct shm_buffer *buffer = memory->priv;
	struct shm *shm = shm_of(transport);
	int r = remove_buffer(shm, session_of(session), buffer, error);

	if (r == -EBUSY)
		return r;
	/* After a failure the daemon may still write there: the memory is not used for anything else. */
	if (r == 0)
		arena_free(&shm->arena, &buffer->block);
	free(buffer);
	return r;
}

static int shm_cancel(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_CANCEL, .object = request->cookie };
	struct shm *shm = shm_of(transport);
	uint64_t connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	int r = -ECONNRESET;

	if (!frontend_has_feature(shm->frontend, VIRTIO_ACCEL_F_CANCEL))
		return error_set(error, -EBUSY, "request: the daemon cannot cancel");
	if (shm_is_ready(connection))
		r = shm_control(shm, connection, &wire, NULL, 0, NULL, error);
	/* It has completed with its connection. */
	return r == -ECONNRESET ? error_set(error, -ENOENT, "request: the connection to the daemon is lost") : r;
}

/* ---- Waiting ---- */

static int shm_fd(struct transport *transport)
{
	struct shm *shm = shm_of(transport);

	if (!__atomic_exchange_n(&shm->polled, true, __ATOMIC_ACQ_REL) && shm_arm_elsewhere(shm))
		eventfd_write(shm->call, 1);
	return shm->epoll;
}

/* epoll_pwait2() has nanoseconds, and is not everywhere; rounded up, so that nobody looks again too early. */
static int milliseconds(int64_t timeout_ns)
{
	return timeout_ns < 0 ? -1 : (int)MIN((timeout_ns + 999999) / 1000000, 3600000);
}

/* Looks at the descriptors, waiting at most timeout_ns. Negative: the connection is lost. */
HOT static int sleep_on_events(struct shm *shm, int64_t timeout_ns, struct error *error)
{
	struct epoll_event events[4];
	int n = epoll_wait(shm->wait, events, ARRAY_SIZE(events), milliseconds(timeout_ns));
	bool gone = false;
	uint32_t request;

	for (int i = 0; i < n; i++) {
		const int fd = events[i].data.fd;

		/* The limits that are used were read at connect time; a change concerns the next connection. */
		if (fd == frontend_backend_fd(shm->frontend))
			frontend_backend_request(shm->frontend, &request, NULL);
		else if (fd == frontend_fd(shm->frontend))
			gone |= shm_hung_up(shm) < 0;
		else
			gone |= fd == shm->held || fd == shm->patience;
	}
	return gone ? error_set(error, -ECONNRESET, "request: the daemon went away") : 0;
}

HOT static bool pending(void *opaque)
{
	return shm_pending(opaque);
}

/* Waits for the first answer and takes what there is. What the daemon answered before it died still counts. */
HOT static int drain_or_wait(struct shm *shm, int64_t timeout_ns, struct error *error)
{
	uint64_t limit = timeout_ns < 0 ? UINT64_MAX : (uint64_t)timeout_ns;
	int n = shm_drain(shm, error);
	int r;

	if (n || (limit && spin_look(&shm->spin, limit, pending, shm) && (n = shm_drain(shm, error))))
		return n;
	if (timeout_ns && shm_arm(shm))
		timeout_ns = 0;
	r = sleep_on_events(shm, timeout_ns, error);
	if (limit)
		spin_slept(&shm->spin);
	n = shm_drain(shm, error);
	return n ? n : r;
}

HOT static int shm_reap(struct transport *transport, int64_t timeout_ns)
{
	struct shm *shm = shm_of(transport);
	struct error error = { 0 };
	eventfd_t count;
	int n;

	if (!__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE))
		return -ECONNRESET;
	n = drain_or_wait(shm, timeout_ns, &error);
	/* Others poll: leave with notifications asked for, and nothing behind that came before. */
	while (n >= 0 && __atomic_load_n(&shm->polled, __ATOMIC_ACQUIRE)) {
		int more;

		eventfd_read(shm->call, &count);
		if (!shm_arm(shm))
			break;
		more = shm_drain(shm, &error);
		n = more < 0 ? more : n + more;
	}
	return n < 0 ? shm_lose(shm, &error) : n;
}

const struct transport_ops transport_shm = {
	.scheme = "shm",
	.reconnects = true,
	.open = shm_new,
	.free = shm_free,
	.device = shm_device,
	.limits = shm_limits,
	.query = shm_query,
	.session_open = shm_session_open,
	.session_close = shm_session_close,
	.buffer_alloc = shm_buffer_alloc,
	.buffer_free = shm_buffer_free,
	.submit = shm_submit,
	.cancel = shm_cancel,
	.fd = shm_fd,
	.reap = shm_reap,
};
