/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a call to its completion.
 *
 * vaccel_run() keeps its request on the stack: it is in no list, and its waiter is the only one who knows it.
 * vaccel_submit() makes one that is in its session's list while in flight, then in the context's list of completed ones
 * until somebody takes it. The step between the two is one critical section, in which it also becomes done: so a request
 * is never done and still in flight, and never given out before its result can be read.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>

#include "lib/internal.h"
#include "transport/trace.h"
#include "util/util.h"

/* ---- Lists and counts ---- */

/* Called with the context's lock. */
static void list_done(struct vaccel_context *context, struct vaccel_request *request)
{
	request->listed = true;
	request->done_next = NULL;
	request->done_prev = context->done_last;
	if (context->done_last)
		context->done_last->done_next = request;
	else
		context->done_first = request;
	context->done_last = request;
	if (context->done_fd >= 0 && context->done_first == request)
		eventfd_write(context->done_fd, 1);
}

/* Nobody is given the request (any more). Called with the context's lock. */
static void take(struct vaccel_context *context, struct vaccel_request *request)
{
	eventfd_t count;

	request->taken = true;
	if (!request->listed)
		return;
	request->listed = false;
	if (request->done_prev)
		request->done_prev->done_next = request->done_next;
	else
		context->done_first = request->done_next;
	if (request->done_next)
		request->done_next->done_prev = request->done_prev;
	else
		context->done_last = request->done_prev;
	if (context->done_fd >= 0 && !context->done_first)
		eventfd_read(context->done_fd, &count);
}

/* Called with the context's lock. */
static void link_flight(struct vaccel_request *request)
{
	struct vaccel_session *session = request->session;

	request->next = session->in_flight;
	request->prev = &session->in_flight;
	if (request->next)
		request->next->prev = &request->next;
	session->in_flight = request;
}

static void unlink_flight(struct vaccel_request *request)
{
	*request->prev = request->next;
	if (request->next)
		request->next->prev = request->prev;
}

static void unref(struct vaccel_request *request)
{
	struct vaccel_context *context = request->context;
	bool last;

	pthread_mutex_lock(&context->lock);
	last = --request->refs == 0;
	pthread_mutex_unlock(&context->lock);
	if (!last)
		return;
	free(request->pending);
	free(request);
	context_unref(context);
}

/* The answer is looked at before anybody can be given the request, and while the memory that it is in cannot be freed. */
static void finish(struct vaccel_request *request)
{
	struct transport_request *transport = &request->transport;

	if (request->pending && transport->result >= 0)
		transport->result = request->pending->finish(request->pending, &transport->error);
}

HOT void request_completed(void *opaque, struct transport_request *transport)
{
	struct vaccel_request *request = container_of(transport, struct vaccel_request, transport);
	struct vaccel_context *context = opaque;

	if (!request->sync)
		finish(request);
	buffers_release(request);
	trace_done(context->transport, &request->transport);
	if (request->sync) {
		reaper_done(&context->transport->reaper, &request->item);
		return;
	}
	pthread_mutex_lock(&context->lock);
	unlink_flight(request);
	request->session = NULL;
	if (!request->taken)
		list_done(context, request);
	reaper_done(&context->transport->reaper, &request->item);
	pthread_mutex_unlock(&context->lock);
	unref(request);
}

/* ---- From a call to a request ---- */

HOT static int fill_args(struct op_request *op, const struct vaccel_call *call)
{
	if (call->n_args > OP_MAX_ARGS)
		return lib_failf(-EINVAL, "call: %zu arguments, at most %d are possible", call->n_args, OP_MAX_ARGS);
	if (call->n_args && !call->args)
		return lib_failf(-EINVAL, "call: %zu arguments, but args is NULL", call->n_args);
	for (size_t i = 0; i < call->n_args; i++) {
		const struct vaccel_arg *arg = &call->args[i];

		if (arg->dir < VACCEL_IN || arg->dir > VACCEL_INOUT)
			return lib_failf(-EINVAL,
					 "call: argument %zu has direction %u, not 1 (in), 2 (out) or 3 (both)", i,
					 arg->dir);
		if (arg->reserved)
			return lib_failf(-EINVAL, "call: argument %zu: reserved is %u, not 0", i, arg->reserved);
		if (arg->len && !arg->data)
			return lib_failf(-EINVAL, "call: argument %zu has %zu bytes at address NULL", i, arg->len);
		op->args[i] = (struct op_arg){ .data = arg->data, .len = arg->len, .dir = arg->dir };
	}
	op->n_args = (uint32_t)call->n_args;
	return 0;
}

HOT static int fill_params(struct op_request *op, const struct vaccel_call *call)
{
	if (call->params_len > OP_MAX_PARAMS)
		return lib_failf(-EINVAL, "call: %zu bytes of parameters, at most %d are possible", call->params_len,
				 OP_MAX_PARAMS);
	if (call->params_len && !call->params)
		return lib_failf(-EINVAL, "call: %zu bytes of parameters, but params is NULL", call->params_len);
	if (call->params_len)
		memcpy(op->params, call->params, call->params_len);
	op->params_len = (uint32_t)call->params_len;
	return 0;
}

HOT static int check_bytes(const struct vaccel_context *context, const struct op_request *op)
{
	uint64_t max = context->limits.max_request_bytes, sum = 0;

	for (uint32_t i = 0; i < op->n_args; i++)
		if (add_u64(sum, op->args[i].len, &sum) || sum > max)
			return lib_failf(
				-E2BIG,
				"request: its arguments are larger than the %" PRIu64 " bytes that one may have", max);
	return 0;
}

/* Only members that are used are set: the struct is large. */
HOT static int fill(struct vaccel_request *request, struct vaccel_session *session, const struct vaccel_call *in,
		    uint64_t connection)
{
	struct op_request *op = &request->transport.op;
	struct error error = { 0 };
	struct vaccel_call call;
	int r = lib_read_struct(&call, sizeof(call), in, "vaccel_call");

	if (r < 0)
		return r;
	op->op = call.op;
	op->deadline_ms = call.deadline_ms;
	op->session = session->id;
	r = fill_args(op, &call);
	if (r == 0)
		r = fill_params(op, &call);
	if (r < 0)
		return r;
	/* Here already, so that a mistake costs no journey and reads the same whatever the transport. */
	r = op_check(op, &error);
	if (r == 0)
		r = op_check_parsed(op, &error);
	if (r < 0) {
		error.code = r;
		return lib_fail(&error);
	}
	request->transport.result = 0;
	request->transport.connection = connection;
	request->item.done = false;
	request->context = session->context;
	request->session = session;
	request->user_data = call.user_data;
	return check_bytes(session->context, op);
}

/* Submits as soon as there is room; the request's buffers are marked. */
HOT static int start(struct vaccel_request *request)
{
	struct transport *transport = request->context->transport;
	struct error error = { 0 };
	int r;

	trace_mark(transport, &request->transport.times.encoded);
	for (;;) {
		uint64_t ticket = reaper_ticket(&transport->reaper);

		r = transport->ops->submit(transport, &request->transport, &error);
		if (r != -EAGAIN)
			break;
		reaper_wait_progress(&transport->reaper, ticket);
	}
	error.code = r;
	return r < 0 ? lib_fail(&error) : 0;
}

static int run_at_once(struct vaccel_request *request)
{
	struct transport *transport = request->context->transport;
	struct error error = { 0 };
	int r;

	trace_mark(transport, &request->transport.times.encoded);
	r = transport->ops->run(transport, &request->transport, &error);
	if (r == 0)
		trace_done(transport, &request->transport);
	error.code = r;
	return r < 0 ? lib_fail(&error) : 0;
}

HOT static int result(const struct vaccel_request *request)
{
	int r = request->transport.result;

	if (r < 0) {
		lib_fail(&request->transport.error);
		return r;
	}
	return 0;
}

HOT static int check_session(const struct vaccel_session *session)
{
	return session ? context_check(session->context, "session") : lib_failf(-EINVAL, "session: none given");
}

HOT int request_run(struct vaccel_session *session, const struct vaccel_call *call, uint64_t connection,
		    struct journey *ret_journey)
{
	struct vaccel_request request;
	struct transport *transport;
	int r = check_session(session);

	if (ret_journey)
		ret_journey->sent = false;
	if (r < 0)
		return r;
	request.sync = true;
	trace_begin(session->context->transport, &request.transport);
	r = fill(&request, session, call, connection);
	if (r < 0)
		return r;
	transport = session->context->transport;
	buffers_resolve(session, &request);
	if (transport->ops->run) {
		r = run_at_once(&request);
		buffers_release(&request);
	} else {
		r = start(&request);
		if (r == 0)
			reaper_wait(&transport->reaper, &request.item, -1);
		else
			buffers_release(&request);
	}
	if (ret_journey)
		*ret_journey = (struct journey){ .connection = request.transport.connection, .sent = r == 0 };
	return r < 0 ? r : result(&request);
}

HOT PUBLIC int vaccel_run(struct vaccel_session *session, const struct vaccel_call *call)
{
	return request_run(session, call, 0, NULL);
}

int request_options(struct vaccel_call *call, const struct vaccel_submit_options *options)
{
	struct vaccel_submit_options known = { .size = 0 };
	int r = options ? lib_read_struct(&known, sizeof(known), options, "vaccel_submit_options") : 0;

	if (r == 0 && known.reserved)
		r = lib_failf(-EINVAL, "struct vaccel_submit_options: reserved is %u, not 0", known.reserved);
	call->user_data = known.user_data;
	call->deadline_ms = known.deadline_ms;
	return r;
}

int request_submit(struct vaccel_session *session, const struct vaccel_call *call, uint64_t connection,
		   struct pending *pending, struct vaccel_request **ret_request)
{
	struct vaccel_request *request;
	int r = check_session(session);

	if (r < 0)
		return r;
	if (!ret_request)
		return lib_failf(-EINVAL, "request: nowhere to return it");
	request = calloc(1, sizeof(*request));
	if (!request)
		return lib_failf(-ENOMEM, "request: out of memory");
	trace_begin(session->context->transport, &request->transport);
	r = fill(request, session, call, connection);
	if (r < 0) {
		free(request);
		return r;
	}
	request->pending = pending;
	request->refs = 3; /* the caller's, the flight's, this function's */
	buffers_resolve(session, request);
	pthread_mutex_lock(&session->context->lock);
	session->context->refs++;
	link_flight(request);
	pthread_mutex_unlock(&session->context->lock);
	r = start(request);
	if (r < 0) {
		buffers_release(request);
		pthread_mutex_lock(&session->context->lock);
		unlink_flight(request);
		pthread_mutex_unlock(&session->context->lock);
		free(request);
		context_unref(session->context);
		return r;
	}
	/* Before the count goes down: with another thread's vaccel_context_next() it may be the last. */
	*ret_request = request;
	unref(request);
	return 0;
}

PUBLIC int vaccel_submit(struct vaccel_session *session, const struct vaccel_call *call,
			 struct vaccel_request **ret_request)
{
	return request_submit(session, call, 0, NULL, ret_request);
}

/* ---- Requests ---- */

/* A request outlives its context's transport only when it is done. */
static int wait_done(struct vaccel_request *request, int64_t timeout_ns)
{
	if (reaper_is_done(&request->item))
		return 0;
	return reaper_wait(&request->context->transport->reaper, &request->item, timeout_ns);
}

static int check_request(const struct vaccel_request *request)
{
	return request ? context_check(request->context, "request") : lib_failf(-EINVAL, "request: none given");
}

PUBLIC int vaccel_request_wait(struct vaccel_request *request, int64_t timeout_ns)
{
	int r = check_request(request);

	if (r < 0)
		return r;
	if (wait_done(request, timeout_ns) < 0)
		return lib_failf(-ETIME, "request: still running");
	pthread_mutex_lock(&request->context->lock);
	take(request->context, request);
	pthread_mutex_unlock(&request->context->lock);
	return result(request);
}

PUBLIC int vaccel_request_cancel(struct vaccel_request *request)
{
	struct transport *transport;
	struct error error = { 0 };
	int r = check_request(request);

	if (r < 0)
		return r;
	if (reaper_is_done(&request->item))
		return lib_failf(-EBUSY, "request: cannot cancel it: it has completed");
	transport = request->context->transport;
	r = transport->ops->cancel(transport, &request->transport, &error);
	/* What the other end does not know any more has just completed. */
	if (r == -EBUSY || r == -ENOENT)
		return lib_failf(-EBUSY, "request: cannot cancel it: it %s", r == -EBUSY ? "runs" : "has completed");
	error.code = r;
	return r < 0 ? lib_fail(&error) : 0;
}

PUBLIC void *vaccel_request_user_data(const struct vaccel_request *request)
{
	return request ? request->user_data : NULL;
}

PUBLIC void vaccel_request_free(struct vaccel_request *request)
{
	if (!request || request->context->pid != lib_process())
		return;
	wait_done(request, -1);
	pthread_mutex_lock(&request->context->lock);
	take(request->context, request);
	pthread_mutex_unlock(&request->context->lock);
	unref(request);
}

PUBLIC int vaccel_context_next(struct vaccel_context *context, struct vaccel_request **ret_request)
{
	struct vaccel_request *request;
	int r = context_check(context, "context");

	if (r < 0)
		return r;
	if (!ret_request)
		return lib_failf(-EINVAL, "request: nowhere to return it");
	reaper_look(&context->transport->reaper);
	r = reaper_lost(&context->transport->reaper);
	pthread_mutex_lock(&context->lock);
	if (r < 0 && !context->transport->ops->reconnects)
		context_unwatch(context);
	request = context->done_first;
	if (request)
		take(context, request);
	pthread_mutex_unlock(&context->lock);
	if (!request && r < 0)
		return lib_failf(r, "context: the connection is lost (%s), nothing is in flight", error_name(r));
	if (!request)
		return lib_failf(-EAGAIN, "context: no request has completed");
	*ret_request = request;
	return 0;
}
