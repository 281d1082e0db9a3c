/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvaccel: the objects behind <vaccel/vaccel.h> over a transport (src/transport). Start reading in request.c: a call
 * becomes a request there, and completes there.
 *
 * Ownership: a context owns its sessions, a session its buffers and keys. Keys are counted: the caller's handle and each
 * stream hold one; one that has left its session is of no use but to be let go. Requests are counted: the caller's handle, the flight,
 * and vaccel_submit() itself hold one each; a request holds its context, so that a handle stays good after the context
 * is gone (the transport is not: it ends with vaccel_context_free()).
 *
 * Locks, in this order: session.buffers_lock; context.lock; the reaper's own. No transport function is called under one,
 * except that a transport may complete a request, and so take context.lock, from inside any of its functions.
 *
 * Fork: a context remembers the process that made it. In another one every function fails with -ECHILD and the
 * destructors do nothing: rings, locks and threads belong to the parent.
 */
#ifndef VACCEL_LIB_INTERNAL_H
#define VACCEL_LIB_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <vaccel/vaccel.h>

#include "transport/transport.h"
#include "util/error.h"

#define PUBLIC __attribute__((visibility("default")))

struct info;

struct vaccel_context {
	pid_t pid;
	struct transport *transport;
	struct transport_limits limits;
	char *url;
	pthread_mutex_t lock;
	/* Under the lock: */
	unsigned int refs;
	struct vaccel_session *sessions;
	struct info *info; /* newest first; older ones stay, since callers have their strings */
	struct vaccel_request *done_first, *done_last; /* completed and not taken */
	int done_fd;	/* eventfd: readable while that list is not empty; -1: nobody asked for it */
	int poll_fd;	/* epoll over done_fd and the transport's; -1: done_fd alone does */
	int watched_fd; /* the transport's, in that; -1: not (any more) */
};

struct vaccel_session {
	struct vaccel_context *context;
	uint64_t id;
	/* Under the context's lock: */
	struct vaccel_session *next;
	struct vaccel_request *in_flight;
	struct vaccel_key *keys;

	uint64_t n_streams; /* that were numbered; atomic */
	pthread_rwlock_t buffers_lock;
	/* Under that lock: */
	struct vaccel_buffer **buffers; /* by address */
	size_t n_buffers, room;
};

struct vaccel_key {
	struct vaccel_context *context; /* counted */
	/* NULL: it was freed, or its session closed. Atomic, written under the context's lock. */
	struct vaccel_session *session;
	struct vaccel_key_about about;
	uint64_t connection; /* that it was made on, see transport_request */
	/* Under the context's lock: */
	unsigned int refs;
	struct vaccel_key *next, **prev; /* of the session's */
};

struct vaccel_buffer {
	struct vaccel_session *session;
	struct transport_buffer memory;
	unsigned int in_use; /* requests in flight; atomic, raised under the lock held for reading */
	bool closing;	     /* under the lock held for writing */
};

/*
 * What an operation needs of the library until it has completed, and after: one allocation, of which this is the first
 * member. finish() is called once, when the operation has succeeded, by whichever thread sees that; it returns the
 * operation's result. The request owns it from vaccel_submit() on.
 */
struct pending {
	int (*finish)(struct pending *pending, struct error *error);
};

struct vaccel_request {
	struct transport_request transport;
	struct reaper_item item;
	struct vaccel_context *context;
	struct vaccel_session *session; /* until completion */
	void *user_data;
	struct pending *pending;		    /* NULL: the answer needs nobody to look at it */
	bool sync;				    /* on the stack of vaccel_run(): in no list */
	struct vaccel_buffer *buffers[OP_MAX_ARGS]; /* in use until completion */
	size_t n_buffers;
	/* Under the context's lock: */
	unsigned int refs;
	bool taken;			     /* waited for or given out: not for vaccel_context_next() (any more) */
	bool listed;			     /* in the list of completed ones */
	struct vaccel_request *next, **prev; /* of the session's in flight */
	struct vaccel_request *done_next, *done_prev; /* of the context's completed ones */
};

/* The calling process; cheaper than getpid(). */
pid_t lib_process(void);

/* Makes error the calling thread's vaccel_error(); returns its code. */
__attribute__((cold)) int lib_fail(const struct error *error);
/* The same from code and text. */
__attribute__((cold, format(printf, 2, 3))) int lib_failf(int code, const char *format, ...);

/*
 * Copies a caller's struct that begins with its size into one of known size: missing members are zero, unknown ones must
 * be. name is for the error text.
 */
int lib_read_struct(void *dst, size_t known, const void *src, const char *name);
/* The way back for structs that the library fills: as much as the caller has room for; its size member stays. */
int lib_write_struct(void *dst, const void *src, size_t known, const char *name);

/* 0, or a failure when context is NULL or of another process. */
int context_check(const struct vaccel_context *context, const char *what);
void context_ref(struct vaccel_context *context);
void context_unref(struct vaccel_context *context);
/* A descriptor of a lost connection stays ready for ever: takes it out of the poll descriptor. Called with the lock. */
void context_unwatch(struct vaccel_context *context);
/* For the transport: a request has completed. */
void request_completed(void *opaque, struct transport_request *request);

/* Of a request that has ended: how far it got. */
struct journey {
	uint64_t connection; /* that it went over */
	bool sent;	     /* the other end may have seen it; otherwise it failed here, and nothing has happened */
};

/*
 * vaccel_run() and vaccel_submit() of a call that uses what only one connection knows (see transport_request), or 0.
 * ret_journey may be NULL. pending: finishes the answer, may be NULL; on success it is the request's, to be freed with it.
 */
int request_run(struct vaccel_session *session, const struct vaccel_call *call, uint64_t connection,
		struct journey *ret_journey);
int request_submit(struct vaccel_session *session, const struct vaccel_call *call, uint64_t connection,
		   struct pending *pending, struct vaccel_request **ret_request);
/* Arguments carry no const; what is IN is only read. */
static inline struct vaccel_arg in_arg(const void *data, size_t len)
{
	return (struct vaccel_arg){ .data = (void *)(uintptr_t)data, .len = len, .dir = VACCEL_IN };
}

static inline struct vaccel_arg out_arg(void *data, size_t len)
{
	return (struct vaccel_arg){ .data = data, .len = len, .dir = VACCEL_OUT };
}

/* Takes what options say, which may be NULL, into the call. */
int request_options(struct vaccel_call *call, const struct vaccel_submit_options *options);

/* Looks up arguments by address and marks their buffers used, or unmarks those that the request has. */
void buffers_resolve(struct vaccel_session *session, struct vaccel_request *request);
void buffers_release(struct vaccel_request *request);
/* Frees all that are left of a session. */
void buffers_free_all(struct vaccel_session *session);

/* The key's session, or NULL with vaccel_error() set and *ret_error the reason: -EINVAL, -ECHILD, -ESTALE. */
struct vaccel_session *key_session(const struct vaccel_key *key, int *ret_error);
void key_ref(struct vaccel_key *key);
void key_unref(struct vaccel_key *key);
/* The session closes, and takes them with it at the other end. */
void keys_free_all(struct vaccel_session *session);

void info_free_all(struct vaccel_context *context);

#endif
