/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transport: how a request reaches an engine. libvaccel (src/lib) sees only this interface; each transport is one
 * row of transport_table[] and one file (local.c, virtio.c, shm.c).
 *
 * Threads: all functions may be called from any thread at once, except free() (no other call may be under way), and
 * reap(), which only the reaper calls, one thread at a time.
 *
 * Completion: submit() either fails, and then the request is untouched, or the request will be completed exactly once by
 * a call of the sink: from inside reap(), from a thread of the transport, or from inside submit() itself. Memory of its
 * arguments is in use until then. The library keeps the request until it has completed and submit() has returned.
 */
#ifndef VACCEL_TRANSPORT_TRANSPORT_H
#define VACCEL_TRANSPORT_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#include "op/request.h"
#include "op/stage.h"
#include "transport/reaper.h"
#include "uapi/virtio_accel.h"
#include "util/error.h"
#include "util/hist.h"

struct transport_ops;

/* First member of each transport's own struct. */
struct transport {
	const struct transport_ops *ops;
	struct reaper reaper;			  /* waits for completions; the library's sink calls reaper_done() */
	uint64_t bytes_copied;			  /* of arguments, by this process; atomic */
	bool trace;				  /* times are taken; set before the first request */
	struct hist times[STAGE_FIRST_OF_DAEMON]; /* of the library\'s stages */
};

/* When a request passed from one stage to the next (trace.h); 0: it did not say. */
struct transport_times {
	uint64_t began;	    /* the call */
	uint64_t encoded;   /* written for the other end, or given to the transport that does */
	uint64_t submitted; /* the other end has it, and knows */
	uint64_t answered;  /* the answer is seen */
};

/* Embedded in the library's request object. */
struct transport_request {
	struct op_request op; /* arguments as pointers of this process; buffer and offset set for registered ones */
	uint64_t cookie;      /* set by submit(): names it for cancel() */
	/*
	 * Of a transport that reconnects: with what the other end of an earlier connection knew, that connection's number, and
	 * submit() fails with -ESTALE when it is over; otherwise 0. Set by submit(): the one that it went over.
	 */
	uint64_t connection;

	struct transport_times times; /* if the transport takes times */

	/* Set before the sink is called. */
	int result;
	struct error error;

	/* The transport's own, from submit() until completion. */
	void *priv;
	struct transport_request *next;
	struct transport_request **prev;
};

struct transport_sink {
	void (*completed)(void *opaque, struct transport_request *request);
	void *opaque;
};

struct transport_buffer {
	uint64_t id; /* what op_arg.buffer is to say */
	void *data;
	size_t len; /* as asked for */
	void *priv;
};

struct transport_limits {
	uint64_t max_request_bytes;
	uint64_t max_buffer_bytes;
	uint32_t max_sessions;
	uint32_t max_buffers;
	uint32_t n_queues;
};

struct transport_ops {
	const char *scheme; /* "local" of "local:REST" */
	/* A lost connection may be followed by another one: fd() stays good, and is not ready for the loss for ever. */
	bool reconnects;
	int (*open)(const char *rest, const struct transport_sink *sink, struct transport **ret_transport,
		    struct error *error);
	void (*free)(struct transport *transport);
	/* Words for the device: "virtio-accel 1.0, 2 queues, /dev/vaccel0". Valid as long as the transport. */
	const char *(*device)(struct transport *transport);
	void (*limits)(struct transport *transport, struct transport_limits *ret_limits);
	/* VIRTIO_ACCEL_Q_*: fills at most len bytes in wire format, *ret_len: bytes that there are. */
	int (*query)(struct transport *transport, uint32_t what, void *data, size_t len, size_t *ret_len,
		     struct error *error);
	int (*session_open)(struct transport *transport, uint64_t *ret_id, struct error *error);
	int (*session_close)(struct transport *transport, uint64_t id, struct error *error);
	int (*buffer_alloc)(struct transport *transport, uint64_t session, size_t len,
			    struct transport_buffer *ret_buffer, struct error *error);
	/* -EBUSY: the other end still uses it, nothing is freed. Otherwise it is gone, whatever is returned. */
	int (*buffer_free)(struct transport *transport, uint64_t session, struct transport_buffer *buffer,
			   struct error *error);
	/* -EAGAIN: no room until another request has completed; never when none is in flight. */
	int (*submit)(struct transport *transport, struct transport_request *request, struct error *error);
	/* 0: asked for. -EBUSY, -ENOENT: it is too late. */
	int (*cancel)(struct transport *transport, struct transport_request *request, struct error *error);
	/*
	 * Submits and waits, if the transport has a faster way for that than submit() and reap(); NULL: it has none.
	 * Sets request->result and error; the sink is not called. Fails only if nothing was submitted.
	 */
	int (*run)(struct transport *transport, struct transport_request *request, struct error *error);
	/*
	 * For poll(2): from the first call on readable when reap() has something to do. -1: the transport completes
	 * from its own threads.
	 */
	int (*fd)(struct transport *transport);
	/*
	 * Calls the sink for what has completed. Waits at most timeout_ns for the first one (0: not; negative: for
	 * ever). May return early. Returns the number delivered or a negative errno (the connection is lost; then all
	 * requests in flight were completed with an error). NULL: the transport completes from its own threads.
	 */
	int (*reap)(struct transport *transport, int64_t timeout_ns);
};

/* Rows of the table; NULL past the end. */
const struct transport_ops *transport_at(size_t index);
/* By the scheme of a URL; *ret_rest: what follows the colon. NULL: none such. */
const struct transport_ops *transport_find(const char *url, const char **ret_rest);

/* For the transports: sets up and tears down what is common. */
void transport_init(struct transport *transport, const struct transport_ops *ops);
void transport_fini(struct transport *transport);

/* Adds the stages of a request that completes now. Only for trace_done(). */
void trace_add(struct transport *transport, const struct transport_request *request);

extern const struct transport_ops transport_local, transport_virtio, transport_shm;

#endif
