/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio: the guest driver's character device (include/uapi/virtio_accel.h, part 2). The kernel owns rings, pins memory
 * and copies nothing; here is only the translation of structs. Sessions, buffers and requests are handles of the open
 * file.
 *
 * Requests in flight are in a list, so that they can be completed when the device goes away under them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "transport/transport.h"
#include "util/util.h"

#define REAP_MAX 16 /* completions of one ioctl */

struct virtio {
	struct transport transport;
	struct transport_sink sink;
	int fd;
	struct vaccel_ioc_info info;
	char device[160];
	pthread_mutex_t lock;
	struct transport_request *in_flight; /* under the lock */
	bool lost;			     /* under the lock */
};

static struct virtio *virtio_of(struct transport *transport)
{
	return container_of(transport, struct virtio, transport);
}

/* 0 or a negative errno; a signal is no reason to fail. */
static int call(struct virtio *virtio, unsigned long request, void *arg)
{
	int r;

	do
		r = ioctl(virtio->fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int fail(struct error *error, int code, const char *what)
{
	return error_set(error, code, "%s: the driver says %s (%s)", what, strerror(-code), error_name(code));
}

static int open_device(struct virtio *virtio, const char *path, struct error *error)
{
	int r;

	virtio->fd = open(path, O_RDWR | O_CLOEXEC);
	if (virtio->fd < 0)
		return error_set(error, -errno, "cannot open the device: %s (%s)",
				 errno == ENOENT   ? "there is no such device"
				 : errno == EACCES ? "no permission; are you in its group?"
						   : strerror(errno),
				 error_name(errno));
	r = call(virtio, VACCEL_IOC_INFO, &virtio->info);
	if (r < 0)
		return error_set(error, r == -ENOTTY ? -ENODEV : r, "cannot open the device: not a vaccel device (%s)",
				 error_name(r));
	if (virtio->info.abi != VACCEL_IOC_ABI)
		return error_set(error, -ENODEV, "cannot open the device: the driver speaks ABI %u, not %u",
				 virtio->info.abi, VACCEL_IOC_ABI);
	return 0;
}

static void virtio_free(struct transport *transport)
{
	struct virtio *virtio = virtio_of(transport);

	if (virtio->fd >= 0)
		close(virtio->fd);
	pthread_mutex_destroy(&virtio->lock);
	transport_fini(&virtio->transport);
	free(virtio);
}

static int virtio_open(const char *rest, const struct transport_sink *sink, struct transport **ret_transport,
		       struct error *error)
{
	struct virtio *virtio = calloc(1, sizeof(*virtio));
	int r;

	if (!virtio)
		return error_set(error, -ENOMEM, "out of memory");
	transport_init(&virtio->transport, &transport_virtio);
	pthread_mutex_init(&virtio->lock, NULL);
	virtio->sink = *sink;
	r = open_device(virtio, rest, error);
	if (r < 0) {
		virtio_free(&virtio->transport);
		return r;
	}
	snprintf(virtio->device, sizeof(virtio->device), "virtio-accel %u.%u, %u queue%s, %s",
		 virtio->info.version_major, virtio->info.version_minor, virtio->info.num_queues,
		 virtio->info.num_queues == 1 ? "" : "s", rest);
	*ret_transport = &virtio->transport;
	return 0;
}

static const char *virtio_device(struct transport *transport)
{
	return virtio_of(transport)->device;
}

static void virtio_limits(struct transport *transport, struct transport_limits *ret_limits)
{
	const struct vaccel_ioc_info *info = &virtio_of(transport)->info;

	*ret_limits = (struct transport_limits){
		.max_request_bytes = info->max_request_bytes,
		.max_buffer_bytes = info->max_buffer_bytes,
		.max_sessions = info->max_sessions,
		.max_buffers = info->max_buffers,
		.n_queues = info->num_queues,
	};
}

static int virtio_query(struct transport *transport, uint32_t what, void *data, size_t len, size_t *ret_len,
			struct error *error)
{
	struct vaccel_ioc_query query = { .what = what, .addr = (uintptr_t)data, .len = len };
	int r = call(virtio_of(transport), VACCEL_IOC_QUERY, &query);

	if (r < 0)
		return fail(error, r, "query");
	*ret_len = query.len;
	return 0;
}

static int virtio_session_open(struct transport *transport, uint64_t *ret_id, struct error *error)
{
	struct vaccel_ioc_session session = { 0 };
	int r = call(virtio_of(transport), VACCEL_IOC_SESSION_OPEN, &session);

	if (r < 0)
		return fail(error, r, "session: cannot open it");
	*ret_id = session.handle;
	return 0;
}

static int virtio_session_close(struct transport *transport, uint64_t id, struct error *error)
{
	struct vaccel_ioc_session session = { .handle = (uint32_t)id };
	int r = call(virtio_of(transport), VACCEL_IOC_SESSION_CLOSE, &session);

	return r < 0 ? fail(error, r, "session: cannot close it") : 0;
}

static size_t whole_pages(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static int virtio_buffer_alloc(struct transport *transport, uint64_t session, size_t len,
			       struct transport_buffer *ret_buffer, struct error *error)
{
	struct virtio *virtio = virtio_of(transport);
	struct vaccel_ioc_buffer buffer = { .session = (uint32_t)session, .size = len };
	void *data;
	int r = call(virtio, VACCEL_IOC_BUFFER_CREATE, &buffer);

	if (r < 0)
		return fail(error, r, "buffer: cannot create it");
	data = mmap(NULL, whole_pages(len), PROT_READ | PROT_WRITE, MAP_SHARED, virtio->fd, (off_t)buffer.mmap_offset);
	if (data == MAP_FAILED) {
		r = error_set(error, -errno, "buffer: cannot map %zu bytes: %s", len, strerror(errno));
		call(virtio, VACCEL_IOC_BUFFER_DESTROY, &buffer);
		return r;
	}
	*ret_buffer = (struct transport_buffer){ .id = buffer.handle, .data = data, .len = len };
	return 0;
}

static int virtio_buffer_free(struct transport *transport, uint64_t session, struct transport_buffer *buffer,
			      struct error *error)
{
	struct vaccel_ioc_buffer destroy = { .session = (uint32_t)session, .handle = (uint32_t)buffer->id };
	int r = call(virtio_of(transport), VACCEL_IOC_BUFFER_DESTROY, &destroy);

	if (r == -EBUSY)
		return fail(error, r, "buffer: cannot free it");
	munmap(buffer->data, whole_pages(buffer->len));
	return r < 0 ? fail(error, r, "buffer: cannot free it") : 0;
}

/* ---- Requests ---- */

struct ioc_args {
	struct vaccel_ioc_arg args[OP_MAX_ARGS];
	_Alignas(16) uint8_t params[OP_MAX_PARAMS];
};

static void fill_request(const struct transport_request *request, struct ioc_args *room,
			 struct vaccel_ioc_request *ret_request)
{
	const struct op_request *op = &request->op;

	for (uint32_t i = 0; i < op->n_args; i++) {
		const struct op_arg *arg = &op->args[i];

		room->args[i] = (struct vaccel_ioc_arg){
			.kind = arg->buffer ? VIRTIO_ACCEL_ARG_BUFFER : VIRTIO_ACCEL_ARG_EXTENTS,
			.dir = arg->dir,
			.buffer = (uint32_t)arg->buffer,
			.addr = arg->buffer || !arg->len ? 0 : (uintptr_t)arg->data,
			.offset = arg->buffer ? arg->offset : 0,
			.len = arg->len,
		};
	}
	op_params_encode(op_by_id(op->op), room->params, op->params);
	*ret_request = (struct vaccel_ioc_request){
		.session = (uint32_t)op->session,
		.op = op->op,
		.deadline_ms = op->deadline_ms,
		.user_data = (uintptr_t)request,
		.params = op->params_len ? (uintptr_t)room->params : 0,
		.args = op->n_args ? (uintptr_t)room->args : 0,
		.params_len = op->params_len,
		.n_args = op->n_args,
	};
}

static void take_completion(struct transport_request *request, const struct vaccel_ioc_completion *completion)
{
	request->result = completion->error;
	if (completion->error && completion->detail_len)
		error_set(&request->error, completion->error, "%.*s", (int)sizeof(completion->detail) - 1,
			  completion->detail);
	else if (completion->error)
		error_set(&request->error, completion->error, "request: the device answered %s",
			  error_name(completion->error));
}

static void link_request(struct virtio *virtio, struct transport_request *request)
{
	request->next = virtio->in_flight;
	request->prev = &virtio->in_flight;
	if (request->next)
		request->next->prev = &request->next;
	virtio->in_flight = request;
}

static void unlink_request(struct transport_request *request)
{
	*request->prev = request->next;
	if (request->next)
		request->next->prev = request->prev;
	request->prev = NULL;
}

static int gone(struct error *error)
{
	return error_set(error, -ENODEV, "request: the device went away");
}

/*
 * In the list before the ioctl, since another thread may reap it before this one returns; an ioctl that fails has
 * submitted nothing.
 */
static int virtio_submit(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct virtio *virtio = virtio_of(transport);
	struct vaccel_ioc_request submit;
	struct ioc_args room;
	bool lost;
	int r;

	fill_request(request, &room, &submit);
	pthread_mutex_lock(&virtio->lock);
	lost = virtio->lost;
	if (!lost)
		link_request(virtio, request);
	pthread_mutex_unlock(&virtio->lock);
	if (lost)
		return gone(error);
	r = call(virtio, VACCEL_IOC_SUBMIT, &submit);
	if (r == 0) {
		request->cookie = submit.id;
		return 0;
	}
	pthread_mutex_lock(&virtio->lock);
	lost = !request->prev;
	if (!lost)
		unlink_request(request);
	pthread_mutex_unlock(&virtio->lock);
	/* Given up by reap() meanwhile: then it has completed, with an error. */
	return lost ? 0 : fail(error, r, "request: cannot submit it");
}

static int virtio_run(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct vaccel_ioc_run run = { 0 };
	struct ioc_args room;
	int r;

	fill_request(request, &room, &run.request);
	r = call(virtio_of(transport), VACCEL_IOC_RUN, &run);
	if (r < 0)
		return fail(error, r, "request: cannot submit it");
	take_completion(request, &run.completion);
	return 0;
}

static int virtio_cancel(struct transport *transport, struct transport_request *request, struct error *error)
{
	struct vaccel_ioc_cancel cancel = { .id = request->cookie };
	int r = call(virtio_of(transport), VACCEL_IOC_CANCEL, &cancel);

	return r < 0 ? fail(error, r, "request: cannot cancel it") : 0;
}

static int virtio_fd(struct transport *transport)
{
	return virtio_of(transport)->fd;
}

static void complete(struct virtio *virtio, struct transport_request *request)
{
	virtio->sink.completed(virtio->sink.opaque, request);
}

/* The device is gone and the driver will not complete anything any more. */
static void give_up(struct virtio *virtio)
{
	for (;;) {
		struct transport_request *request;

		pthread_mutex_lock(&virtio->lock);
		virtio->lost = true;
		request = virtio->in_flight;
		if (request)
			unlink_request(request);
		pthread_mutex_unlock(&virtio->lock);
		if (!request)
			return;
		request->result = gone(&request->error);
		complete(virtio, request);
	}
}

static bool is_lost(struct virtio *virtio)
{
	bool lost;

	pthread_mutex_lock(&virtio->lock);
	lost = virtio->lost;
	pthread_mutex_unlock(&virtio->lock);
	return lost;
}

static int virtio_reap(struct transport *transport, int64_t timeout_ns)
{
	struct virtio *virtio = virtio_of(transport);
	struct vaccel_ioc_completion completions[REAP_MAX];
	struct vaccel_ioc_reap reap = {
		.completions = (uintptr_t)completions,
		.max = REAP_MAX,
		.timeout_ns = timeout_ns,
	};

	/* What the driver may still say is about requests that were given up. */
	if (is_lost(virtio))
		return -ENODEV;
	if (ioctl(virtio->fd, VACCEL_IOC_REAP, &reap) < 0) {
		int r = -errno;

		if (r == -EINTR || r == -EAGAIN || r == -ETIME || r == -ETIMEDOUT)
			return 0;
		give_up(virtio);
		return r;
	}
	for (uint32_t i = 0; i < reap.n; i++) {
		struct transport_request *request = (struct transport_request *)(uintptr_t)completions[i].user_data;

		pthread_mutex_lock(&virtio->lock);
		unlink_request(request);
		pthread_mutex_unlock(&virtio->lock);
		take_completion(request, &completions[i]);
		complete(virtio, request);
	}
	return (int)reap.n;
}

const struct transport_ops transport_virtio = {
	.scheme = "virtio",
	.open = virtio_open,
	.free = virtio_free,
	.device = virtio_device,
	.limits = virtio_limits,
	.query = virtio_query,
	.session_open = virtio_session_open,
	.session_close = virtio_session_close,
	.buffer_alloc = virtio_buffer_alloc,
	.buffer_free = virtio_buffer_free,
	.submit = virtio_submit,
	.cancel = virtio_cancel,
	.run = virtio_run,
	.fd = virtio_fd,
	.reap = virtio_reap,
};
