/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of GCM that come in several requests. A session has a list of those that have begun, by the caller's number; each owns
 * a context, which it gives back at its end. One that fails has ended.
 *
 * A request takes its stream (busy) under the session's lock and works without it. key_gone() and close() come when no request
 * uses what they end, so they find no stream of theirs busy. Lock order: sessions_lock, then a session's.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "openssl.h"

enum { MAX_STREAMS = 64 };

struct stream {
	struct stream *next;
	uint64_t number;
	struct context *context; /* NULL before its first request has it */
	bool busy;
	bool text; /* there was source: no more additional data */
};

struct session {
	struct session *next, *prev;
	pthread_mutex_t lock;
	struct stream *streams;
	unsigned int n;
};

static pthread_mutex_t sessions_lock = PTHREAD_MUTEX_INITIALIZER;
static struct session *sessions;

static void stream_free(struct stream *stream)
{
	if (stream)
		context_free(stream->context);
	free(stream);
}

/* ---- under the session's lock ---- */

static struct stream **find(struct session *session, uint64_t number)
{
	struct stream **at = &session->streams;

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

static struct stream *take_out(struct session *session, struct stream **at)
{
	struct stream *stream = *at;

	*at = stream->next;
	session->n--;
	return stream;
}

/* A message that begins anew with a number takes the place of the one that had it. */
static int begin(const struct vaccel_plugin_call *call, struct session *session, uint64_t number,
		 struct stream **ret_stream)
{
	struct stream **at = find(session, number), *stream;

	if (*at && (*at)->busy)
		return vaccel_plugin_error(&call->report, -EBUSY, "message %llu has a request that runs",
					   (unsigned long long)number);
	if (*at)
		stream_free(take_out(session, at));
	if (session->n >= MAX_STREAMS)
		return vaccel_plugin_error(&call->report, -EDQUOT, "a session has %d messages at once at most",
					   MAX_STREAMS);
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return vaccel_plugin_error(&call->report, -ENOMEM, "no memory for a message");
	*stream = (struct stream){ .next = session->streams, .number = number, .busy = true };
	session->streams = stream;
	session->n++;
	*ret_stream = stream;
	return 0;
}

static int go_on(const struct vaccel_plugin_call *call, struct session *session, const struct vaccel_cipher *cipher,
		 struct stream **ret_stream)
{
	struct stream *stream = *find(session, cipher->stream);
	unsigned long long number = cipher->stream;

	if (!stream)
		return vaccel_plugin_error(&call->report, -EOWNERDEAD,
					   "message %llu is not known (any more): it has to begin again", number);
	if (stream->busy)
		return vaccel_plugin_error(&call->report, -EBUSY, "message %llu has a request that runs", number);
	if (stream->context->key != call->key->id || stream->context->direction != cipher->direction)
		return vaccel_plugin_error(&call->report, -EINVAL, "message %llu began with another key or direction",
					   number);
	stream->busy = true;
	*ret_stream = stream;
	return 0;
}

/* ---- requests ---- */

static int take(const struct vaccel_plugin_call *call, struct session *session, struct stream **ret_stream)
{
	const struct vaccel_cipher *cipher = call->params;
	int r;

	pthread_mutex_lock(&session->lock);
	if (cipher->flags & VACCEL_CIPHER_BEGIN)
		r = begin(call, session, cipher->stream, ret_stream);
	else
		r = go_on(call, session, cipher, ret_stream);
	pthread_mutex_unlock(&session->lock);
	return r;
}

static int work(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher, struct stream *stream)
{
	int r = 0;

	if (cipher->flags & VACCEL_CIPHER_BEGIN) {
		r = context_take(call, cipher, &stream->context);
		if (r == 0)
			r = message_begin(call, stream->context);
	}
	if (r == 0 && stream->text && call->args[AAD].len)
		r = vaccel_plugin_error(&call->report, -EINVAL,
					"additional data come before the message, not within it");
	if (r == 0)
		r = message_go_on(call, stream->context);
	stream->text |= call->args[SOURCE].len != 0;
	if (r == 0 && cipher->flags & VACCEL_CIPHER_END)
		r = message_end(call, stream->context);
	if (r < 0 && call->args[DESTINATION].len)
		memset(call->args[DESTINATION].data, 0, call->args[DESTINATION].len);
	return r;
}

int stream_run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	struct session *session = call->session;
	struct stream *stream = NULL;
	int r = take(call, session, &stream);
	bool over;

	if (r < 0)
		return r;
	r = work(call, cipher, stream);
	over = r < 0 || cipher->flags & VACCEL_CIPHER_END;
	pthread_mutex_lock(&session->lock);
	stream->busy = false;
	if (over)
		take_out(session, find(session, cipher->stream));
	pthread_mutex_unlock(&session->lock);
	if (!over)
		return 0;
	if (stream->context)
		context_settle(stream->context, r);
	free(stream);
	return r;
}

/* ---- sessions ---- */

int session_open(void **ret_session, struct vaccel_plugin_report *report)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return vaccel_plugin_error(report, -ENOMEM, "no memory for a session");
	pthread_mutex_init(&session->lock, NULL);
	pthread_mutex_lock(&sessions_lock);
	session->next = sessions;
	if (sessions)
		sessions->prev = session;
	sessions = session;
	pthread_mutex_unlock(&sessions_lock);
	*ret_session = session;
	return 0;
}

void session_close(void *opaque)
{
	struct session *session = opaque;

	pthread_mutex_lock(&sessions_lock);
	if (session->prev)
		session->prev->next = session->next;
	else
		sessions = session->next;
	if (session->next)
		session->next->prev = session->prev;
	pthread_mutex_unlock(&sessions_lock);
	while (session->streams)
		stream_free(take_out(session, &session->streams));
	pthread_mutex_destroy(&session->lock);
	free(session);
}

static void forget(struct session *session, uint64_t key)
{
	struct stream **at = &session->streams;

	pthread_mutex_lock(&session->lock);
	while (*at)
		if (!(*at)->busy && (*at)->context && (*at)->context->key == key)
			stream_free(take_out(session, at));
		else
			at = &(*at)->next;
	pthread_mutex_unlock(&session->lock);
}

void streams_key_gone(uint64_t key)
{
	pthread_mutex_lock(&sessions_lock);
	for (struct session *session = sessions; session; session = session->next)
		forget(session, key);
	pthread_mutex_unlock(&sessions_lock);
}
