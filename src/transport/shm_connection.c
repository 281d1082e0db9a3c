/* SPDX-License-Identifier: Apache-2.0 */
/* See shm.h: connecting, and connecting again when the daemon has died. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "transport/shm.h"
#include "util/util.h"

/* How long a call waits for a daemon, and the pauses between looks for it: 10, 20, ... ms. */
#define AGAIN_NS       UINT64_C(2000000000)
#define FIRST_PAUSE_NS 10000000L
#define LAST_PAUSE_NS  200000000L
/* A daemon that hung up while an operation runs has half a minute for it. After that it is not waited for any more. */
#define PATIENCE_S    35
#define LOOK_PAUSE_NS 1000000L

/* ---- Connecting ---- */

static int read_config(struct frontend *frontend, struct virtio_accel_config *c, struct error *error)
{
	int r = frontend_get_config(frontend, 0, c, sizeof(*c), error);

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
	/* The beginning of a crypto device's configuration says the same as that of version 1.0. */
	if (!c->max_message_bytes)
		return error_set(error, -EPROTONOSUPPORT, "cannot connect: it is no accel device, but of another kind");
	if (c->version_major != VIRTIO_ACCEL_VERSION_MAJOR)
		return error_set(error, -EPROTONOSUPPORT, "cannot connect: the device has version %u.%u, not %u.x",
				 c->version_major, c->version_minor, VIRTIO_ACCEL_VERSION_MAJOR);
	if (!c->num_queues)
		return error_set(error, -EPROTO, "cannot connect: the device has no queues");
	return 0;
}

static int start_queue(struct shm *shm, uint32_t index, int hold, struct error *error)
{
	struct shm_queue *queue = &shm->queues[index];
	uint8_t *memory = (uint8_t *)shm->rings->data + index * dring_bytes(SHM_RING_SIZE);
	int r;

	pthread_mutex_lock(&queue->lock);
	r = dring_init(&queue->ring, memory, SHM_RING_SIZE, frontend_has_feature(shm->frontend, VHOST_F_EVENT_IDX));
	pthread_mutex_unlock(&queue->lock);
	if (r < 0)
		return error_set(error, r, "cannot connect: out of memory");
	/* The same for all connections: a sender may write to it late. */
	if (queue->kick < 0)
		queue->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->kick < 0)
		return error_set(error, -errno, "cannot connect: eventfd: %s", strerror(errno));
	r = frontend_vring_fd(shm->frontend, VHOST_SET_VRING_ERR, index, hold, error);
	if (r < 0)
		return r;
	return frontend_queue_start(shm->frontend, index, &queue->ring, shm->rings, queue->kick, shm->call, error);
}

static int set_status(struct shm *shm, uint8_t status, struct error *error)
{
	return frontend_has_protocol(shm->frontend, VHOST_PF_STATUS) ? frontend_set_status(shm->frontend, status, error)
								     : 0;
}

/* *ret_hold: for the daemon, and the caller's to close. */
static int make_hold(struct shm *shm, int *ret_hold, struct error *error)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(error, -errno, "cannot connect: pipe: %s", strerror(errno));
	shm->held = ends[0];
	*ret_hold = ends[1];
	return 0;
}

static int start_queues(struct shm *shm, uint32_t n_offered, struct error *error)
{
	const uint8_t driver = VHOST_STATUS_ACKNOWLEDGE | VHOST_STATUS_DRIVER | VHOST_STATUS_FEATURES_OK;
	uint32_t n = MIN(n_offered, frontend_max_queues(shm->frontend));
	_cleanup_close_ int hold = -1;
	int r = make_hold(shm, &hold, error);

	if (r < 0)
		return r;
	n = MAX(MIN(n, SHM_MAX_QUEUES), 1);
	r = set_status(shm, driver, error);
	if (r == 0)
		r = frontend_region_new(shm->frontend, n * dring_bytes(SHM_RING_SIZE), &shm->rings, error);
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = start_queue(shm, i, hold, error);
		__atomic_store_n(&shm->n_queues, i + 1, __ATOMIC_RELAXED);
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

static int watch_all(struct shm *shm, struct error *error)
{
	int r = watch(shm, shm->call, EPOLLIN, EPOLLET);

	if (r == 0)
		r = watch(shm, frontend_fd(shm->frontend), EPOLLRDHUP, 0);
	if (r == 0)
		r = watch(shm, frontend_backend_fd(shm->frontend), EPOLLIN, 0);
	return r < 0 ? error_set(error, r, "cannot connect: event descriptors: %s", strerror(-r)) : 0;
}

static void unwatch(struct shm *shm, int fd)
{
	if (fd < 0)
		return;
	epoll_ctl(shm->epoll, EPOLL_CTL_DEL, fd, NULL);
	epoll_ctl(shm->wait, EPOLL_CTL_DEL, fd, NULL);
}

/* Before they are closed: a child after fork() may have them too, and then they would go on to be seen here. */
static void unwatch_all(struct shm *shm)
{
	unwatch(shm, shm->call);
	unwatch(shm, frontend_fd(shm->frontend));
	unwatch(shm, frontend_backend_fd(shm->frontend));
	unwatch(shm, shm->held);
	unwatch(shm, shm->patience);
	close_fd(&shm->held);
	shm->held = -1;
}

static int make_events(struct shm *shm, struct error *error)
{
	shm->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	shm->epoll = epoll_create1(EPOLL_CLOEXEC);
	shm->wait = epoll_create1(EPOLL_CLOEXEC);
	shm->patience = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (shm->call < 0 || shm->epoll < 0 || shm->wait < 0 || shm->patience < 0)
		return error_set(error, -errno, "cannot connect: event descriptors: %s", strerror(errno));
	return watch_all(shm, error);
}

int shm_connect(struct shm *shm, struct error *error)
{
	const struct frontend_options options = {
		.features = FRONTEND_RING_FEATURES | VHOST_BIT(VIRTIO_ACCEL_F_BUFFERS) |
			    VHOST_BIT(VIRTIO_ACCEL_F_CANCEL) | VHOST_BIT(VIRTIO_ACCEL_F_DEADLINE),
		/* The journal of what is in flight is for front-ends that leave it to the next daemon. */
		.protocol_features = FRONTEND_PROTOCOL_FEATURES & ~VHOST_BIT(VHOST_PF_INFLIGHT_SHMFD),
	};
	int r = frontend_connect(shm->path, &options, &shm->frontend, error);

	if (r == 0)
		r = read_config(shm->frontend, &shm->config, error);
	if (r == 0)
		r = make_events(shm, error);
	if (r == 0)
		r = start_queues(shm, shm->config.num_queues, error);
	if (r == 0)
		shm->connection = shm->n_connections = 2;
	return r;
}

/* ---- Connecting again ---- */

int shm_hung_up(struct shm *shm)
{
	const struct itimerspec limit = { .it_value = { .tv_sec = PATIENCE_S } };
	uint64_t connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	int r = timerfd_settime(shm->patience, 0, &limit, NULL) < 0 ? -errno : 0;

	unwatch(shm, frontend_fd(shm->frontend));
	if (shm_is_ready(connection))
		__atomic_store_n(&shm->connection, connection - 1, __ATOMIC_RELEASE);
	/* Not before: a daemon need not keep what it is given. */
	if (r == 0)
		r = watch(shm, shm->held, 0, 0);
	if (r == 0)
		r = watch(shm, shm->patience, EPOLLIN, 0);
	return r;
}

int shm_lose(struct shm *shm, const struct error *cause)
{
	unwatch_all(shm);
	/* A daemon that only broke the rules lets go of what it has of ours. */
	frontend_hang_up(shm->frontend);
	shm_give_up(shm, cause);
	return -ECONNRESET;
}

bool shm_lost(struct shm *shm, uint64_t connection)
{
	/* The front-end may have seen it before anybody looked. */
	reaper_look(&shm->transport.reaper);
	return __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) != connection;
}

/* What the library and its callers were told holds on. */
static int check_limits(const struct shm *shm, const struct virtio_accel_config *now, struct error *error)
{
	const struct virtio_accel_config *before = &shm->config;
	const struct {
		const char *name;
		uint64_t before, now;
	} limits[] = {
		{ "max_sessions", before->max_sessions, now->max_sessions },
		{ "max_buffers", before->max_buffers, now->max_buffers },
		{ "max_buffer_bytes", before->max_buffer_bytes, now->max_buffer_bytes },
		{ "max_request_bytes", before->max_request_bytes, now->max_request_bytes },
		{ "max_message_bytes", before->max_message_bytes, now->max_message_bytes },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		if (limits[i].now < limits[i].before)
			return error_set(error, -EOPNOTSUPP,
					 "the new daemon's %s is %" PRIu64 ", the old one's was %" PRIu64,
					 limits[i].name, limits[i].now, limits[i].before);
	return 0;
}

/* With the reaper seized. The rings of before are nobody's any more. */
static void drop_rings(struct shm *shm)
{
	for (uint32_t i = 0; i < SHM_MAX_QUEUES; i++) {
		pthread_mutex_lock(&shm->queues[i].lock);
		dring_fini(&shm->queues[i].ring);
		pthread_mutex_unlock(&shm->queues[i].lock);
	}
	frontend_region_free(shm->frontend, shm->rings, NULL);
	shm->rings = NULL;
}

/* With the reaper seized: next takes the place of the connection that was lost. */
static int change_over(struct shm *shm, struct frontend *next, uint32_t n_queues, struct error *error)
{
	int r;

	drop_rings(shm);
	r = frontend_adopt(shm->frontend, next, error);
	if (r == 0)
		r = watch_all(shm, error);
	if (r == 0)
		r = start_queues(shm, n_queues, error);
	if (r < 0) {
		unwatch_all(shm);
		frontend_hang_up(shm->frontend);
	}
	return r;
}

void shm_describe_buffer(const struct shm_buffer *buffer, struct wire_extent *extent, struct wire_request *ret_wire)
{
	*extent = (struct wire_extent){ .addr = buffer->block.addr, .len = buffer->block.len };
	*ret_wire = (struct wire_request){
		.type = VIRTIO_ACCEL_T_BUFFER_REGISTER,
		.n_args = 1,
		.n_extents = 1,
		.extents = extent,
		.args[0] = { .kind = VIRTIO_ACCEL_ARG_EXTENTS,
			     .dir = VIRTIO_ACCEL_DIR_INOUT,
			     .n_extents = 1,
			     .len = buffer->block.len },
	};
}

static int restore_buffer(struct shm *shm, uint64_t connection, uint64_t session, struct shm_buffer *buffer,
			  struct error *error)
{
	struct wire_extent extent;
	struct wire_request wire;
	uint64_t id = 0;
	int r;

	shm_describe_buffer(buffer, &extent, &wire);
	wire.session = session;
	r = shm_control(shm, connection, &wire, NULL, 0, &id, error);
	if (r == 0 && !id)
		r = error_set(error, -EPROTO, "buffer: the daemon registered it as number 0");
	if (r == 0)
		__atomic_store_n(&buffer->id, id, __ATOMIC_RELAXED);
	else
		error_prefix(error, "a buffer of %zu bytes", buffer->block.len);
	return r;
}

static int restore_session(struct shm *shm, uint64_t connection, struct shm_session *session, struct error *error)
{
	struct wire_request wire = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	uint64_t id = 0;
	int r = shm_control(shm, connection, &wire, NULL, 0, &id, error);

	if (r < 0) {
		error_prefix(error, "a session");
		return r;
	}
	__atomic_store_n(&session->id, id, __ATOMIC_RELAXED);
	for (struct shm_buffer *buffer = LIST_FIRST(&session->buffers); r == 0 && buffer;
	     buffer = LIST_NEXT(buffer, entry))
		r = restore_buffer(shm, connection, id, buffer, error);
	return r;
}

/* Tells the new daemon what the old one knew, and lets requests in. */
static int restore(struct shm *shm, uint64_t connection, struct error *error)
{
	uint64_t expected = connection;
	int r = 0;

	for (struct shm_session *session = LIST_FIRST(&shm->sessions); r == 0 && session;
	     session = LIST_NEXT(session, entry))
		r = restore_session(shm, connection, session, error);
	/* It may have been lost already. */
	if (r == 0 && !__atomic_compare_exchange_n(&shm->connection, &expected, connection + 1, false, __ATOMIC_ACQ_REL,
						   __ATOMIC_ACQUIRE))
		r = error_set(error, -ECONNRESET, "the new daemon went away");
	return r;
}

/* Called with again_lock: a connection that cannot be used is lost when the daemon has let go. */
static void await_end(struct shm *shm)
{
	const struct timespec pause = { .tv_nsec = LOOK_PAUSE_NS };

	for (;;) {
		reaper_look(&shm->transport.reaper);
		if (!__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE))
			return;
		nanosleep(&pause, NULL);
	}
}

static int connect_next(struct shm *shm, struct frontend **ret_next, uint32_t *ret_n_queues, struct error *error)
{
	const struct frontend_options options = {
		.features = frontend_features(shm->frontend),
		.protocol_features = frontend_protocol_features(shm->frontend),
	};
	struct virtio_accel_config config;
	struct frontend *next;
	int r = frontend_connect(shm->path, &options, &next, error);

	if (r < 0)
		return r;
	r = read_config(next, &config, error);
	if (r == 0)
		r = check_limits(shm, &config, error);
	if (r < 0) {
		frontend_free(next);
		return r;
	}
	*ret_next = next;
	*ret_n_queues = config.num_queues;
	return 0;
}

/* Called with again_lock, while the connection is lost. */
static int try_again(struct shm *shm, struct error *error)
{
	struct frontend *next;
	uint64_t connection;
	uint32_t n_queues;
	int r = connect_next(shm, &next, &n_queues, error);

	if (r < 0)
		return r;
	reaper_seize(&shm->transport.reaper);
	r = change_over(shm, next, n_queues, error);
	shm->n_connections += 2;
	connection = shm->n_connections - 1;
	if (r == 0)
		__atomic_store_n(&shm->connection, connection, __ATOMIC_RELEASE);
	reaper_release(&shm->transport.reaper, r < 0 ? -ECONNRESET : 0);
	if (r < 0)
		return r;
	r = restore(shm, connection, error);
	if (r < 0) {
		frontend_hang_up(shm->frontend);
		await_end(shm);
	}
	return r;
}

/* No daemon yet, one that dies at once, or that has not forgotten what a connection before this one had. */
static bool may_pass(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -EACCES || r == -ECONNRESET || r == -EDQUOT;
}

static int try_for_a_while(struct shm *shm, struct error *error)
{
	uint64_t deadline = now_ns() + AGAIN_NS;
	struct timespec pause = { .tv_nsec = FIRST_PAUSE_NS };
	int r;

	while ((r = try_again(shm, error)) < 0 && may_pass(r) && now_ns() < deadline) {
		nanosleep(&pause, NULL);
		pause.tv_nsec = MIN(pause.tv_nsec * 2, LAST_PAUSE_NS);
	}
	if (r == 0)
		return 0;
	error_prefix(error, "request: the connection to the daemon is lost, and none takes its place");
	error->code = -ECONNRESET;
	return -ECONNRESET;
}

/* Those that waited for one who tried in vain do not try again one after another. */
int shm_connect_again(struct shm *shm, uint64_t *ret_connection, struct error *error)
{
	uint32_t n_failures = __atomic_load_n(&shm->n_failures, __ATOMIC_ACQUIRE);
	int r = 0;

	pthread_mutex_lock(&shm->again_lock);
	if (__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE) & 1)
		await_end(shm);
	if (!__atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE)) {
		if (shm->n_failures != n_failures) {
			r = -ECONNRESET;
		} else {
			r = try_for_a_while(shm, &shm->failure);
			if (r < 0)
				__atomic_store_n(&shm->n_failures, n_failures + 1, __ATOMIC_RELEASE);
		}
		if (r < 0)
			*error = shm->failure;
	}
	*ret_connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&shm->again_lock);
	return r;
}
