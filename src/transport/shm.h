/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm: a daemon on this machine as if it were a device: libvaccel is the vhost-user front-end and the driver in one.
 * shm_connection.c connects, and does so again; shm_request.c builds requests and takes their answers; shm.c has
 * sessions, buffers, and waits.
 *
 * Memory: everything that the daemon sees lies in regions of the front-end. The rings have one of their own; requests
 * and registered buffers are blocks of the arena. One block holds all of a request:
 *
 *   indirect table | message (read by the daemon) | response, detail (written) | copies of plain arguments
 *
 * An argument in a registered buffer travels as a range of it; any other memory is copied into the block and, if it is
 * an output and the request succeeded, out of it again.
 *
 * Connections are numbered. One that is lost completes all that was in flight; whoever calls next connects to the daemon
 * that listens now, which is offered the same memory and told of the same sessions and buffers. What it calls them is in
 * struct shm_session and struct shm_buffer; the library's ids are pointers to those. A request is built for a connection
 * and goes into the ring of that one only: otherwise it is built again. The rings are new with each connection.
 *
 * A daemon that hung up may not have let go: the sockets of one that is killed are closed before its worker is. The
 * descriptor that it is given to tell errors by is the end of a pipe, which hangs up when no process of the daemon has it
 * any more. Only then is the connection lost, and memory that was given to the daemon one's own again.
 *
 * Locks: a queue's lock covers its ring and the connection's decision: a request is either in the ring before the
 * connection is found lost, and completed by that, or refused. The reaper's rule makes take-out single-threaded; who
 * connects again seizes the reaper to change what is only read there. Lock order: again_lock comes first, and calls may
 * be waited for under it; otherwise none is taken inside another, but the arena's inside none and the front-end's inside
 * the arena's.
 *
 * The daemon is believed as little as a guest believes a device: ids and lengths of the ring are checked against
 * private memory, responses are copied before they are read, and a broken ring ends the connection.
 */
#ifndef VACCEL_TRANSPORT_SHM_H
#define VACCEL_TRANSPORT_SHM_H

#include <pthread.h>
#include <sys/queue.h>

#include "op/wire.h"
#include "transport/arena.h"
#include "transport/transport.h"
#include "util/spin.h"
#include "util/util.h"
#include "vhost/driver_ring.h"
#include "vhost/frontend.h"

#define SHM_MAX_QUEUES 4
#define SHM_RING_SIZE  256
#define SHM_TRIES      16 /* connections for one call: a daemon that always goes away keeps nobody for ever */

struct shm_queue {
	pthread_mutex_t lock;
	struct dring ring;
	int kick;
};

/* What the library's ids of sessions and buffers point to. id changes with the connection; atomic. */
struct shm_buffer {
	uint64_t id;
	struct arena_block block;
	/* Under again_lock: */
	LIST_ENTRY(shm_buffer) entry;
};

struct shm_session {
	uint64_t id;
	/* Under again_lock: */
	LIST_HEAD(, shm_buffer) buffers;
	LIST_ENTRY(shm_session) entry;
};

struct shm {
	struct transport transport;
	struct transport_sink sink;
	char *path;
	struct frontend *frontend;
	struct virtio_accel_config config; /* in host byte order */
	struct frontend_region *rings;
	struct arena arena;
	struct shm_queue queues[SHM_MAX_QUEUES];
	uint32_t n_queues;
	int call;     /* eventfd of all queues */
	int held;     /* a pipe's end to read, -1: none. The daemon has the other one as long as it has our memory */
	int patience; /* timerfd: for how long it may, after it has hung up */
	int epoll;    /* call, socket and back-end channel, for poll(2) of others */
	int wait;     /* epoll as well, with call edge-triggered: for the thread in reap() */
	struct spin spin; /* of the thread in reap() */
	char device[160];
	uint64_t next_id;
	uint32_t n_posted; /* requests that nobody waits for; atomic */
	bool polled;	   /* somebody polls the epoll descriptor */

	/*
	 * Even: the number of the connection in use; odd: one less, while it is being set up or after the daemon hung up;
	 * 0: lost. Atomic.
	 */
	uint64_t connection;
	pthread_mutex_t again_lock; /* held by who connects again */
	/* Under it: */
	uint64_t n_connections; /* twice the number of tries */
	LIST_HEAD(, shm_session) sessions;
	uint32_t n_failures;  /* to connect again; atomic */
	struct error failure; /* the last one */
};

/* One request in the ring: a transport_request's, or one that the transport itself waits for. */
struct shm_request {
	struct shm *shm;
	uint64_t connection; /* whose ids are in the message */
	struct shm_queue *queue;
	struct arena_block block;
	struct dring_table table;
	struct dring_buf bufs[2]; /* message, response */
	uint8_t *response;
	size_t response_room;
	uint64_t id;

	struct transport_request *request; /* NULL: control */
	void *copies[OP_MAX_ARGS];	   /* of plain arguments, in the block */
	uint32_t secrets;		   /* set of those to overwrite */

	/* Control: */
	bool posted; /* nobody waits */
	struct reaper_item item;
	struct virtio_accel_resp header; /* in host byte order */
	int result;
	struct error error;
};

/* Builds and sends the requests of the library. -EAGAIN as transport_ops.submit(). */
int shm_submit(struct transport *transport, struct transport_request *request, struct error *error);

/*
 * A request of the transport's own, with the ids of a connection; waits. room: bytes that args[0] of the request is to
 * point to (QUERY), whose contents land in data; 0: none. *ret_value may be NULL. -ECONNRESET: see shm_lost().
 */
int shm_control(struct shm *shm, uint64_t connection, struct wire_request *wire, void *data, size_t room,
		uint64_t *ret_value, struct error *error);

/* The same, without waiting for the answer, whatever it is. -EAGAIN: no room. */
int shm_post(struct shm *shm, uint64_t connection, struct wire_request *wire, struct error *error);

/* When nobody uses the transport any more: frees what was posted and has not been answered. */
void shm_forget(struct shm *shm);

/* Takes out and completes all that the daemon has answered. Negative: a ring is broken. Only from reap(). */
int shm_drain(struct shm *shm, struct error *error);
bool shm_pending(struct shm *shm);
/* Asks for notifications; true when something is there already. */
bool shm_arm(struct shm *shm);
/* The same, not from reap(). */
bool shm_arm_elsewhere(struct shm *shm);
/* Ends the connection: completes everything with -ECONNRESET. Only from reap(). */
void shm_give_up(struct shm *shm, const struct error *cause);

/* The first connection. */
int shm_connect(struct shm *shm, struct error *error);
/* Connects again, or waits for who does. -ECONNRESET: not now; the sentence says why. */
int shm_connect_again(struct shm *shm, uint64_t *ret_connection, struct error *error);
/* From reap(): the daemon hung up. Nothing new is sent; shm->held or shm->patience will say that the connection is lost. */
int shm_hung_up(struct shm *shm);
/* From reap(): the connection is lost. Returns -ECONNRESET. */
int shm_lose(struct shm *shm, const struct error *cause);
/* After an -ECONNRESET: whether it was for want of the connection, so that the next shm_ready() finds another. */
bool shm_lost(struct shm *shm, uint64_t connection);

static inline bool shm_is_ready(uint64_t connection)
{
	return connection && !(connection & 1);
}

/* The connection to build a request for, after connecting again if that must be. */
HOT static inline int shm_ready(struct shm *shm, uint64_t *ret_connection, struct error *error)
{
	*ret_connection = __atomic_load_n(&shm->connection, __ATOMIC_ACQUIRE);
	return shm_is_ready(*ret_connection) ? 0 : shm_connect_again(shm, ret_connection, error);
}

/* REGISTER for a buffer, whose session is set by the caller. extent: for the message to point to. */
void shm_describe_buffer(const struct shm_buffer *buffer, struct wire_extent *extent, struct wire_request *ret_wire);

#endif
