/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts: which transport, connecting, the end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/internal.h"
#include "util/util.h"

#define DEFAULT_SOCKET "/run/vaccel/vaccel.sock"
#define URL_SHOWN      100 /* characters, so that the cause has room behind them */
#define MAX_DEVICES    64  /* of which the first is looked for */

int context_check(const struct vaccel_context *context, const char *what)
{
	if (!context)
		return lib_failf(-EINVAL, "%s: none given", what);
	if (context->pid != lib_process())
		return lib_failf(-ECHILD, "%s: belongs to process %d; after fork() a child must open its own context",
				 what, (int)context->pid);
	return 0;
}

void context_ref(struct vaccel_context *context)
{
	pthread_mutex_lock(&context->lock);
	context->refs++;
	pthread_mutex_unlock(&context->lock);
}

void context_unref(struct vaccel_context *context)
{
	bool last;

	pthread_mutex_lock(&context->lock);
	last = --context->refs == 0;
	pthread_mutex_unlock(&context->lock);
	if (!last)
		return;
	info_free_all(context);
	close_fd(&context->poll_fd);
	close_fd(&context->done_fd);
	pthread_mutex_destroy(&context->lock);
	free(context->url);
	free(context);
}

/* What is there: a device, a daemon, or else this process. room: for the URL. */
static const char *find_url(char *room, size_t len)
{
	for (int i = 0; i < MAX_DEVICES; i++) {
		snprintf(room, len, "virtio:/dev/vaccel%d", i);
		if (access(strchr(room, ':') + 1, F_OK) == 0)
			return room;
	}
	return access(DEFAULT_SOCKET, F_OK) == 0 ? "shm:" DEFAULT_SOCKET : "local:";
}

static char *choose_url(const struct vaccel_context_options *options)
{
	const char *url = options->transport;
	char room[64];

	if (!url)
		url = secure_getenv("VACCEL_TRANSPORT");
	if (!url || !*url)
		url = find_url(room, sizeof(room));
	return strdup(url);
}

static int not_known(const char *url)
{
	const struct transport_ops *ops;
	char schemes[64] = "";
	size_t len = 0;

	for (size_t i = 0; (ops = transport_at(i)) && len < sizeof(schemes); i++)
		len += (size_t)snprintf(schemes + len, sizeof(schemes) - len, "%s%s:", i ? ", " : "", ops->scheme);
	return lib_failf(-EINVAL, "transport %.*s: not known; a URL starts with one of %s", URL_SHOWN, url, schemes);
}

static int open_transport(struct vaccel_context *context, bool trace)
{
	const struct transport_sink sink = { .completed = request_completed, .opaque = context };
	const struct transport_ops *ops;
	struct error error = { 0 };
	const char *rest;
	int r;

	ops = transport_find(context->url, &rest);
	if (!ops)
		return not_known(context->url);
	r = ops->open(rest, &sink, &context->transport, &error);
	if (r < 0) {
		error.code = r;
		error_prefix(&error, "transport %.*s", URL_SHOWN, context->url);
		return lib_fail(&error);
	}
	context->transport->trace = trace;
	ops->limits(context->transport, &context->limits);
	return 0;
}

PUBLIC int vaccel_context_new(const struct vaccel_context_options *options, struct vaccel_context **ret_context)
{
	struct vaccel_context_options known = { 0 };
	struct vaccel_context *context;
	int r;

	if (!ret_context)
		return lib_failf(-EINVAL, "context: nowhere to return it");
	if (options) {
		r = lib_read_struct(&known, sizeof(known), options, "vaccel_context_options");
		if (r < 0)
			return r;
		if (known.trace > 1 || known.reserved)
			return lib_failf(-EINVAL, "context: trace is %u, not 0 or 1, or reserved is %u, not 0",
					 known.trace, known.reserved);
	}
	context = calloc(1, sizeof(*context));
	if (!context)
		return lib_failf(-ENOMEM, "context: out of memory");
	context->pid = lib_process();
	context->refs = 1;
	context->done_fd = context->poll_fd = context->watched_fd = -1;
	pthread_mutex_init(&context->lock, NULL);
	context->url = choose_url(&known);
	r = context->url ? open_transport(context, known.trace) : lib_failf(-ENOMEM, "context: out of memory");
	if (r < 0) {
		context_unref(context);
		return r;
	}
	*ret_context = context;
	return 0;
}

PUBLIC void vaccel_context_free(struct vaccel_context *context)
{
	struct vaccel_session *session;

	if (!context || context->pid != lib_process())
		return;
	do {
		pthread_mutex_lock(&context->lock);
		session = context->sessions;
		pthread_mutex_unlock(&context->lock);
		vaccel_session_close(session);
	} while (session);
	/* The descriptor may watch the transport's. */
	pthread_mutex_lock(&context->lock);
	close_fd(&context->poll_fd);
	context->poll_fd = -1;
	pthread_mutex_unlock(&context->lock);
	context->transport->ops->free(context->transport);
	context->transport = NULL;
	context_unref(context);
}

/* ---- The descriptor ---- */

static int watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Called with the lock; inner: the transport's descriptor or -1. */
static int make_fds(struct vaccel_context *context, int inner)
{
	int r = 0;

	context->done_fd = eventfd(context->done_first ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (context->done_fd < 0)
		return -errno;
	if (inner < 0)
		return 0;
	context->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (context->poll_fd < 0)
		r = -errno;
	if (r == 0)
		r = watch(context->poll_fd, context->done_fd);
	if (r == 0)
		r = watch(context->poll_fd, inner);
	if (r < 0) {
		close_fd(&context->poll_fd);
		close_fd(&context->done_fd);
		context->poll_fd = context->done_fd = -1;
		return r;
	}
	context->watched_fd = inner;
	return 0;
}

void context_unwatch(struct vaccel_context *context)
{
	if (context->watched_fd >= 0)
		epoll_ctl(context->poll_fd, EPOLL_CTL_DEL, context->watched_fd, NULL);
	context->watched_fd = -1;
}

PUBLIC int vaccel_context_fd(struct vaccel_context *context)
{
	int r = context_check(context, "context");
	int inner;

	if (r < 0)
		return r;
	inner = context->transport->ops->fd(context->transport);
	pthread_mutex_lock(&context->lock);
	if (context->done_fd < 0)
		r = make_fds(context, inner);
	if (r == 0)
		r = context->poll_fd >= 0 ? context->poll_fd : context->done_fd;
	pthread_mutex_unlock(&context->lock);
	return r < 0 ? lib_failf(r, "context: cannot make a descriptor: %s", strerror(-r)) : r;
}
