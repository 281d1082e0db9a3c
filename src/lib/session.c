/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and their registered buffers. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "lib/internal.h"
#include "util/util.h"

/* ---- Sessions ---- */

PUBLIC int vaccel_session_open(struct vaccel_context *context, struct vaccel_session **ret_session)
{
	struct vaccel_session *session;
	struct error error = { 0 };
	int r = context_check(context, "context");

	if (r < 0)
		return r;
	if (!ret_session)
		return lib_failf(-EINVAL, "session: nowhere to return it");
	session = calloc(1, sizeof(*session));
	if (!session)
		return lib_failf(-ENOMEM, "session: out of memory");
	r = context->transport->ops->session_open(context->transport, &session->id, &error);
	if (r < 0) {
		free(session);
		error.code = r;
		return lib_fail(&error);
	}
	session->context = context;
	pthread_rwlock_init(&session->buffers_lock, NULL);
	pthread_mutex_lock(&context->lock);
	session->next = context->sessions;
	context->sessions = session;
	pthread_mutex_unlock(&context->lock);
	*ret_session = session;
	return 0;
}

/* Waits until nothing of the session is in flight. */
static void drain(struct vaccel_session *session)
{
	struct vaccel_context *context = session->context;

	for (;;) {
		uint64_t ticket = reaper_ticket(&context->transport->reaper);
		bool idle;

		pthread_mutex_lock(&context->lock);
		idle = !session->in_flight;
		pthread_mutex_unlock(&context->lock);
		if (idle)
			return;
		reaper_wait_progress(&context->transport->reaper, ticket);
	}
}

static void unlink_session(struct vaccel_session *session)
{
	struct vaccel_context *context = session->context;

	pthread_mutex_lock(&context->lock);
	for (struct vaccel_session **at = &context->sessions; *at; at = &(*at)->next) {
		if (*at == session) {
			*at = session->next;
			break;
		}
	}
	pthread_mutex_unlock(&context->lock);
}

PUBLIC int vaccel_session_close(struct vaccel_session *session)
{
	struct transport *transport;
	struct error error = { 0 };
	int r;

	if (!session)
		return 0;
	r = context_check(session->context, "session");
	if (r < 0)
		return r;
	transport = session->context->transport;
	drain(session);
	buffers_free_all(session);
	keys_free_all(session);
	r = transport->ops->session_close(transport, session->id, &error);
	unlink_session(session);
	pthread_rwlock_destroy(&session->buffers_lock);
	free(session);
	error.code = r;
	return r < 0 ? lib_fail(&error) : 0;
}

/* ---- Buffers ---- */

/* Index of the first buffer that starts behind address; called with the lock. */
static size_t position(const struct vaccel_session *session, uintptr_t address)
{
	size_t low = 0, high = session->n_buffers;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if ((uintptr_t)session->buffers[middle]->memory.data <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* An argument that lies partly inside a buffer is plain memory. */
static struct vaccel_buffer *find(const struct vaccel_session *session, const void *data, size_t len)
{
	uintptr_t address = (uintptr_t)data;
	size_t at = position(session, address);
	struct vaccel_buffer *buffer;

	if (!at)
		return NULL;
	buffer = session->buffers[at - 1];
	if (buffer->closing || !range_in(address - (uintptr_t)buffer->memory.data, len, buffer->memory.len))
		return NULL;
	return buffer;
}

HOT void buffers_resolve(struct vaccel_session *session, struct vaccel_request *request)
{
	struct op_request *op = &request->transport.op;

	request->n_buffers = 0;
	if (!op->n_args)
		return;
	pthread_rwlock_rdlock(&session->buffers_lock);
	for (uint32_t i = 0; session->n_buffers && i < op->n_args; i++) {
		struct op_arg *arg = &op->args[i];
		struct vaccel_buffer *buffer = arg->len ? find(session, arg->data, arg->len) : NULL;

		if (!buffer)
			continue;
		arg->buffer = buffer->memory.id;
		arg->offset = (uintptr_t)arg->data - (uintptr_t)buffer->memory.data;
		__atomic_add_fetch(&buffer->in_use, 1, __ATOMIC_ACQ_REL);
		request->buffers[request->n_buffers++] = buffer;
	}
	pthread_rwlock_unlock(&session->buffers_lock);
}

HOT void buffers_release(struct vaccel_request *request)
{
	for (size_t i = 0; i < request->n_buffers; i++)
		__atomic_sub_fetch(&request->buffers[i]->in_use, 1, __ATOMIC_ACQ_REL);
	request->n_buffers = 0;
}

static int insert(struct vaccel_session *session, struct vaccel_buffer *buffer)
{
	size_t at;
	int r = 0;

	pthread_rwlock_wrlock(&session->buffers_lock);
	if (session->n_buffers == session->room) {
		size_t room = session->room ? session->room * 2 : 8;
		struct vaccel_buffer **grown = reallocarray(session->buffers, room, sizeof(struct vaccel_buffer *));

		if (grown) {
			session->buffers = grown;
			session->room = room;
		} else {
			r = -ENOMEM;
		}
	}
	if (r == 0) {
		at = position(session, (uintptr_t)buffer->memory.data);
		memmove(&session->buffers[at + 1], &session->buffers[at],
			(session->n_buffers - at) * sizeof(struct vaccel_buffer *));
		session->buffers[at] = buffer;
		session->n_buffers++;
	}
	pthread_rwlock_unlock(&session->buffers_lock);
	return r;
}

static int check_alloc(struct vaccel_session *session, size_t len, struct vaccel_buffer **ret_buffer)
{
	uint64_t max;
	int r;

	if (!session)
		return lib_failf(-EINVAL, "session: none given");
	r = context_check(session->context, "session");
	if (r < 0)
		return r;
	if (!ret_buffer)
		return lib_failf(-EINVAL, "buffer: nowhere to return it");
	if (!len)
		return lib_failf(-EINVAL, "buffer: its size is 0");
	max = session->context->limits.max_buffer_bytes;
	if (len > max)
		return lib_failf(-E2BIG, "buffer: %zu bytes are more than the %" PRIu64 " that one may have", len, max);
	return 0;
}

PUBLIC int vaccel_buffer_alloc(struct vaccel_session *session, size_t len, struct vaccel_buffer **ret_buffer)
{
	struct vaccel_buffer *buffer;
	struct transport *transport;
	struct error error = { 0 };
	int r = check_alloc(session, len, ret_buffer);

	if (r < 0)
		return r;
	buffer = calloc(1, sizeof(*buffer));
	if (!buffer)
		return lib_failf(-ENOMEM, "buffer: out of memory");
	transport = session->context->transport;
	r = transport->ops->buffer_alloc(transport, session->id, len, &buffer->memory, &error);
	if (r < 0) {
		free(buffer);
		error.code = r;
		return lib_fail(&error);
	}
	buffer->session = session;
	r = insert(session, buffer);
	if (r < 0) {
		transport->ops->buffer_free(transport, session->id, &buffer->memory, NULL);
		free(buffer);
		return lib_failf(r, "buffer: out of memory");
	}
	*ret_buffer = buffer;
	return 0;
}

PUBLIC void *vaccel_buffer_data(const struct vaccel_buffer *buffer)
{
	return buffer ? buffer->memory.data : NULL;
}

PUBLIC size_t vaccel_buffer_size(const struct vaccel_buffer *buffer)
{
	return buffer ? buffer->memory.len : 0;
}

/* From here on no request finds it. -EBUSY: one has it. */
static int begin_close(struct vaccel_buffer *buffer)
{
	struct vaccel_session *session = buffer->session;
	int r = 0;

	pthread_rwlock_wrlock(&session->buffers_lock);
	if (__atomic_load_n(&buffer->in_use, __ATOMIC_ACQUIRE))
		r = -EBUSY;
	else
		buffer->closing = true;
	pthread_rwlock_unlock(&session->buffers_lock);
	return r;
}

static void end_close(struct vaccel_buffer *buffer, bool gone)
{
	struct vaccel_session *session = buffer->session;

	pthread_rwlock_wrlock(&session->buffers_lock);
	buffer->closing = false;
	for (size_t i = 0; gone && i < session->n_buffers; i++) {
		if (session->buffers[i] != buffer)
			continue;
		session->n_buffers--;
		memmove(&session->buffers[i], &session->buffers[i + 1],
			(session->n_buffers - i) * sizeof(struct vaccel_buffer *));
		break;
	}
	pthread_rwlock_unlock(&session->buffers_lock);
}

PUBLIC int vaccel_buffer_free(struct vaccel_buffer *buffer)
{
	struct vaccel_session *session;
	struct transport *transport;
	struct error error = { 0 };
	int r;

	if (!buffer)
		return 0;
	session = buffer->session;
	r = context_check(session->context, "buffer");
	if (r < 0)
		return r;
	r = begin_close(buffer);
	if (r < 0)
		return lib_failf(r, "buffer: a request uses it");
	transport = session->context->transport;
	r = transport->ops->buffer_free(transport, session->id, &buffer->memory, &error);
	end_close(buffer, r != -EBUSY);
	if (r != -EBUSY)
		free(buffer);
	error.code = r;
	return r < 0 ? lib_fail(&error) : 0;
}

void buffers_free_all(struct vaccel_session *session)
{
	struct transport *transport = session->context->transport;

	/* From the end: an address behind a freed one stays found. */
	while (session->n_buffers) {
		struct vaccel_buffer *buffer = session->buffers[--session->n_buffers];

		transport->ops->buffer_free(transport, session->id, &buffer->memory, NULL);
		free(buffer);
	}
	free(session->buffers);
	session->buffers = NULL;
	session->room = 0;
}
