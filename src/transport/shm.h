/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shm: a daemon on this machine as if it were a device: libvaccel is the vhost-user front-end and the driver in one.
 * shm.c connects and speaks for the transport; shm_request.c builds requests and takes their answers.
 *
 * Memory: everything that the daemon sees lies in regions of the front-end. The rings have one of their own; requests
 * and registered buffers are blocks of the arena. One block holds all of a request:
 *
 *   indirect table | message (read by the daemon) | response, detail (written) | copies of plain arguments
 *
 * An argument in a registered buffer travels as a range of it; any other memory is copied into the block and, if it is
 * an output and the request succeeded, out of it again.
 *
 * Locks: a queue's lock covers its ring and the lost flag's decision: a request is either in the ring before the
 * connection is found lost, and completed by that, or refused. The reaper's rule makes take-out single-threaded. Lock
 * order: none is taken inside another, but the arena's inside none and the front-end's inside the arena's.
 *
 * The daemon is believed as little as a guest believes a device: ids and lengths of the ring are checked against
 * private memory, responses are copied before they are read, and a broken ring ends the connection.
 */
#ifndef VACCEL_TRANSPORT_SHM_H
#define VACCEL_TRANSPORT_SHM_H

#include <pthread.h>

#include "op/wire.h"
#include "transport/arena.h"
#include "transport/transport.h"
#include "util/spin.h"
#include "vhost/driver_ring.h"
#include "vhost/frontend.h"

#define SHM_MAX_QUEUES 4
#define SHM_RING_SIZE  256

struct shm_queue {
	pthread_mutex_t lock;
	struct dring ring;
	int kick;
};

struct shm {
	struct transport transport;
	struct transport_sink sink;
	struct frontend *frontend;
	struct virtio_accel_config config; /* in host byte order */
	struct frontend_region *rings;
	struct arena arena;
	struct shm_queue queues[SHM_MAX_QUEUES];
	uint32_t n_queues;
	int call;	  /* eventfd of all queues */
	int epoll;	  /* call, socket and back-end channel, for poll(2) of others */
	int wait;	  /* epoll as well, with call edge-triggered: for the thread in reap() */
	struct spin spin; /* of the thread in reap() */
	char device[160];
	uint64_t next_id;
	uint32_t n_posted; /* requests that nobody waits for; atomic */
	bool polled;	   /* somebody polls the epoll descriptor */
	bool lost;
};

/* One request in the ring: a transport_request's, or one that the transport itself waits for. */
struct shm_request {
	struct shm *shm;
	struct shm_queue *queue;
	struct arena_block block;
	struct dring_table table;
	struct dring_buf bufs[2]; /* message, response */
	uint8_t *response;
	size_t response_room;
	uint64_t id;

	struct transport_request *request; /* NULL: control */
	void *copies[OP_MAX_ARGS];	   /* of plain arguments, in the block */

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
 * A request of the transport's own; waits. room: bytes that args[0] of the request is to point to (QUERY), whose
 * contents land in data; 0: none. *ret_value may be NULL.
 */
int shm_control(struct shm *shm, struct wire_request *wire, void *data, size_t room, uint64_t *ret_value,
		struct error *error);

/* The same, without waiting for the answer, whatever it is. -EAGAIN: no room. */
int shm_post(struct shm *shm, struct wire_request *wire, struct error *error);

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

#endif
