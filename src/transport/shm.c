/* SPDX-License-Identifier: Apache-2.0 */
/* See shm.h: the connection, the wait, and the transport's functions. */
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

/* ---- Connecting ---- */

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

static int read_config(struct shm *shm, struct error *error)
{
	struct virtio_accel_config *c = &shm->config;
	int r = frontend_get_config(shm->frontend, 0, c, sizeof(*c), error);

	if (r < 0)
		return r;
	c->version_major = le16toh(c->version_major);
	c->version_minor = le16toh(c->version_minor);
	c->num_queues = le32toh(c->num_queues);
	c->max_sessions = le32toh(c->max_sessions);
	c->max_buffers = le32toh(c->max_buffers);
	c->max_buffer_bytes = le64toh(c->max_buffer_bytes);
	c->max_request_bytes = le64toh(c->max_request_bytes);
	c->max_message_bytes = le32toh(c->max_message_bytes);
	if (c->version_major != VIRTIO_ACCEL_VERSION_MAJOR)
		return error_set(error, -EPROTONOSUPPORT, "cannot connect: the device has version %u.%u, not %u.x",
				 c->version_major, c->version_minor, VIRTIO_ACCEL_VERSION_MAJOR);
	if (!c->num_queues)
		return error_set(error, -EPROTO, "cannot connect: the device has no queues");
	return 0;
}

static int start_queue(struct shm *shm, uint32_t index, struct error *error)
{
	struct shm_queue *queue = &shm->queues[index];
	uint8_t *memory = (uint8_t *)shm->rings->data + index * dring_bytes(SHM_RING_SIZE);
	int r = dring_init(&queue->ring, memory, SHM_RING_SIZE, frontend_has_feature(shm->frontend, VHOST_F_EVENT_IDX));

	if (r < 0)
		return error_set(error, r, "cannot connect: out of memory");
	queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick < 0)
		return error_set(error, -errno, "cannot connect: eventfd: %s", strerror(errno));
	return frontend_queue_start(shm->frontend, index, &queue->ring, shm->rings, queue->kick, shm->call, error);
}

static int set_status(struct shm *shm, uint8_t status, struct error *error)
{
	return frontend_has_protocol(shm->frontend, VHOST_PF_STATUS) ? frontend_set_status(shm->frontend, status, error)
								     : 0;
}

static int start_queues(struct shm *shm, struct error *error)
{
	const uint8_t driver = VHOST_STATUS_ACKNOWLEDGE | VHOST_STATUS_DRIVER | VHOST_STATUS_FEATURES_OK;
	uint32_t n = MIN(shm->config.num_queues, frontend_max_queues(shm->frontend));
	int r;

	n = MAX(MIN(n, SHM_MAX_QUEUES), 1);
	r = set_status(shm, driver, error);
	if (r == 0)
		r = frontend_region_new(shm->frontend, n * dring_bytes(SHM_RING_SIZE), &shm->rings, error);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = start_queue(shm, i, error);
		shm->n_queues = i + 1;
	}
	if (r == 0)
		r = set_status(shm, driver | VHOST_STATUS_DRIVER_OK, error);
	return r;
}

/* Both ways of waiting; only ours may leave the counter of call as it is. */
static int watch(struct shm *shm, int fd, uint32_t events, uint32_t edge)
{
	struct epoll_event event = { .events = events, .data.fd = fd };

	if (fd < 0)
		return 0;
	if (epoll_ctl(shm->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	event.events |= edge;
	return epoll_ctl(shm->wait, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int make_events(struct shm *shm, struct error *error)
{
	int r = 0;

	shm->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shm->epoll = epoll_create1(EPOLL_CLOEXEC);
	shm->wait = epoll_create1(EPOLL_CLOEXEC);
	if (shm->call < 0 || shm->epoll < 0 || shm->wait < 0)
		r = -errno;
	if (r == 0)
		r = watch(shm, shm->call, EPOLLIN, EPOLLET);
	if (r == 0)
		r = watch(shm, frontend_fd(shm->frontend), EPOLLRDHUP, 0);
	if (r == 0)
		r = watch(shm, frontend_backend_fd(shm->frontend), EPOLLIN, 0);
	return r < 0 ? error_set(error, r, "cannot connect: event descriptors: %s", strerror(-r)) : 0;
}

static int connect_daemon(struct shm *shm, const char *path, struct error *error)
{
	const struct frontend_options options = {
		.features = FRONTEND_RING_FEATURES | VHOST_BIT(VIRTIO_ACCEL_F_BUFFERS) |
			    VHOST_BIT(VIRTIO_ACCEL_F_CANCEL) | VHOST_BIT(VIRTIO_ACCEL_F_DEADLINE),
		/* The journal of what is in flight is for front-ends that reconnect. */
		.protocol_features = FRONTEND_PROTOCOL_FEATURES & ~VHOST_BIT(VHOST_PF_INFLIGHT_SHMFD),
	};
	int r = frontend_connect(path, &options, &shm->frontend, error);

	if (r == 0)
		r = read_config(shm, error);
	if (r == 0)
		r = make_events(shm, error);
	if (r == 0)
		r = start_queues(shm, error);
	return r;
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
	close_fd(&shm->epoll);
	close_fd(&shm->wait);
	transport_fini(&shm->transport);
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
	shm->call = shm->epoll = shm->wait = -1;
	spin_init(&shm->spin, spin_time());
	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		pthread_mutex_init(&shm->queues[i].lock, NULL);
		shm->queues[i].kick = -1;
	}
	r = connect_daemon(shm, rest, error);
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

static int shm_query(struct transport *transport, uint32_t what, void *data, size_t len, size_t *ret_len,
		     struct error *error)
{
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
	uint64_t value = 0;
	int r = shm_control(shm_of(transport), &wire, data, len, &value, error);

	if (r == 0)
		*ret_len = (size_t)value;
	return r;
}

static int shm_session_open(struct transport *transport, uint64_t *ret_id, struct error *error)
{
	struct shm *shm = shm_of(transport);

	for (;;) {
		struct wire_request wire = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
		bool closing = __atomic_load_n(&shm->n_posted, __ATOMIC_ACQUIRE);
		int r = shm_control(shm, &wire, NULL, 0, ret_id, error);

		/* Sessions whose closing has not been answered may still count. */
		if (r != -EDQUOT || !closing)
			return r;
	}
}

static int shm_session_close(struct transport *transport, uint64_t id, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE, .session = id };
	struct shm *shm = shm_of(transport);
	int r = shm_post(shm, &wire, error);

	return r == -EAGAIN ? shm_control(shm, &wire, NULL, 0, NULL, error) : r;
}

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

		if (r != -EAGAIN)
			return r;
		reaper_wait_progress(&shm->transport.reaper, ticket);
	}
}

static int shm_buffer_alloc(struct transport *transport, uint64_t session, size_t len,
			    struct transport_buffer *ret_buffer, struct error *error)
{
	struct shm *shm = shm_of(transport);
	struct arena_block *block = calloc(1, sizeof(*block));
	uint64_t id = 0;
	int r;

	if (!block)
		return error_set(error, -ENOMEM, "buffer: out of memory");
	r = frontend_has_feature(shm->frontend, VIRTIO_ACCEL_F_BUFFERS)
		    ? alloc_pages(shm, len, block, error)
		    : error_set(error, -EOPNOTSUPP, "buffer: the daemon knows no registered buffers");
	if (r == 0) {
		struct wire_extent extent = { .addr = block->addr, .len = block->len };
		struct wire_request wire = {
			.type = VIRTIO_ACCEL_T_BUFFER_REGISTER,
			.session = session,
			.n_args = 1,
			.n_extents = 1,
			.extents = &extent,
			.args[0] = { .kind = VIRTIO_ACCEL_ARG_EXTENTS,
				     .dir = VIRTIO_ACCEL_DIR_INOUT,
				     .n_extents = 1,
				     .len = block->len },
		};

		if (!block->fresh)
			memset(block->data, 0, block->len);
		r = shm_control(shm, &wire, NULL, 0, &id, error);
		if (r == 0 && !id)
			r = error_set(error, -EPROTO, "buffer: the daemon registered it as number 0");
		if (r < 0)
			arena_free(&shm->arena, block);
	}
	if (r < 0) {
		free(block);
		return r;
	}
	*ret_buffer = (struct transport_buffer){ .id = id, .data = block->data, .len = len, .priv = block };
	return 0;
}

static int shm_buffer_free(struct transport *transport, uint64_t session, struct transport_buffer *buffer,
			   struct error *error)
{
	struct shm *shm = shm_of(transport);
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER,
				     .session = session,
				     .object = buffer->id };
	int r = shm_control(shm, &wire, NULL, 0, NULL, error);

	if (r == -EBUSY)
		return r;
	/* After a failure the daemon may still write there: the memory is not used for anything else. */
	if (r == 0)
		arena_free(&shm->arena, buffer->priv);
	free(buffer->priv);
	return r;
}

static int shm_cancel(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct shm *shm = shm_of(transport);
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_CANCEL, .object = request->cookie };

	if (!frontend_has_feature(shm->frontend, VIRTIO_ACCEL_F_CANCEL))
		return error_set(error, -EBUSY, "request: the daemon cannot cancel");
	return shm_control(shm, &wire, NULL, 0, NULL, error);
}

/* ---- Waiting ---- */

static int shm_fd(struct transport *transport)
{
	struct shm *shm = shm_of(transport);

	if (!__atomic_exchange_n(&shm->polled, true, __ATOMIC_ACQ_REL) && shm_arm_elsewhere(shm))
		eventfd_write(shm->call, 1);
	return shm->epoll;
}

static int lose(struct shm *shm, const struct error *cause)
{
	const int fds[] = { shm->call, frontend_fd(shm->frontend), frontend_backend_fd(shm->frontend) };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			epoll_ctl(shm->epoll, EPOLL_CTL_DEL, fds[i], NULL);
	shm_give_up(shm, cause);
	return -ECONNRESET;
}

/* epoll_pwait2() has nanoseconds, and is not everywhere; rounded up, so that nobody looks again too early. */
static int milliseconds(int64_t timeout_ns)
{
	return timeout_ns < 0 ? -1 : (int)MIN((timeout_ns + 999999) / 1000000, 3600000);
}

/* Looks at the descriptors, waiting at most timeout_ns. Negative: the connection is lost. */
HOT static int sleep_on_events(struct shm *shm, int64_t timeout_ns, struct error *error)
{
	struct epoll_event events[3];
	int n = epoll_wait(shm->wait, events, ARRAY_SIZE(events), milliseconds(timeout_ns));
	bool gone = false;
	uint32_t request;

	for (int i = 0; i < n; i++) {
		/* The limits that are used were read at connect time; a change concerns the next connection. */
		if (events[i].data.fd == frontend_backend_fd(shm->frontend))
			frontend_backend_request(shm->frontend, &request, NULL);
		else
			gone |= events[i].data.fd == frontend_fd(shm->frontend);
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

	if (__atomic_load_n(&shm->lost, __ATOMIC_ACQUIRE))
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
	return n < 0 ? lose(shm, &error) : n;
}

const struct transport_ops transport_shm = {
	.scheme = "shm",
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
