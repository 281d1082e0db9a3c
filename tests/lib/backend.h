/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A back-end that a test can make misbehave: it speaks just enough vhost-user and answers every request of the accel
 * device, in a thread of its own. What it does wrong is set before it starts.
 */
#ifndef TESTS_LIB_BACKEND_H
#define TESTS_LIB_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "op/wire.h"
#include "vhost/msg.h"

#define BACKEND_REGIONS 64
#define BACKEND_QUEUES	4
#define BACKEND_HELD	8

struct vring_avail;

struct backend_queue {
	uint64_t desc, avail, used; /* user addresses */
	uint32_t size;
	uint16_t last_avail;
	uint16_t held[BACKEND_HELD];
	uint32_t n_held;
	int kick, call, err;
	bool enabled;
};

struct backend {
	pthread_mutex_t lock; /* held while it deals with messages and requests */
	/* How it behaves: changed with BACKEND_SET() once it runs. */
	uint64_t features;
	uint64_t protocol_features;
	uint32_t max_slots;
	struct virtio_accel_config config;
	uint32_t refuse;     /* message answered with an error (REPLY_ACK) */
	uint32_t hang_up_on; /* message after which it hangs up */
	uint64_t late_addr;  /* 0, or where it goes on writing for a while after it has hung up, as a worker might */
	/* Called for each request instead of the good answer: sets status and detail, or the fields below. */
	void (*answer)(struct backend *backend, const struct wire_request *request, struct wire_response *response);
	/* What answer() may ask for, for this one answer. */
	bool hang_up;
	bool hold;	    /* give it only when nothing else has come for a while, or nothing more can be held */
	int64_t used_id;    /* instead of the right one; -1: the right one */
	int64_t used_len;   /* instead of the bytes written; -1: those */
	uint16_t used_more; /* entries that were never asked for */

	/* What it saw. */
	uint32_t n_regions;
	uint32_t n_tables; /* SET_MEM_TABLE messages */
	uint32_t n_ops;
	uint32_t n_removed; /* REM_MEM_REG messages, and those of them that came while a request was in flight */
	uint32_t n_removed_busy;
	uint32_t n_late; /* times that it wrote to late_addr */

	/* Its own. */
	char path[108];
	int listener, fd;
	struct {
		struct vhost_region where;
		uint8_t *data;
	} regions[BACKEND_REGIONS];
	struct backend_queue queues[BACKEND_QUEUES];
	uint64_t next_value;
};

#define BACKEND_SET(backend_, member_, value_)           \
	do {                                             \
		pthread_mutex_lock(&(backend_)->lock);   \
		(backend_)->member_ = (value_);          \
		pthread_mutex_unlock(&(backend_)->lock); \
	} while (0)

/* For answer(): the bytes of a plain argument of a request, which lie in one piece; NULL when there are none. */
void *backend_arg(struct backend *backend, const struct wire_request *request, uint32_t index, uint64_t *ret_len);

/* For answer(): what the driver has put into the ring. */
const struct vring_avail *backend_avail(struct backend *backend, const struct backend_queue *queue);

/* A good one; *backend can be changed until backend_start(). */
void backend_init(struct backend *backend, const char *path);
void backend_start(struct backend *backend);
/* Ends it; after that what it saw can be read. */
void backend_stop(struct backend *backend);

#endif
