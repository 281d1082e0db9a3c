/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vhost-user message: receive it whole, send it whole, never lose a descriptor.
 *
 * A message owns the descriptors in fds[] until vhost_msg_take_fd() moves one out or vhost_msg_close_fds() closes the
 * rest. After any failure of the functions here no received descriptor is open.
 *
 * Two ways to receive: struct vhost_rx keeps a partial message between calls, so that one thread can serve many peers
 * and none of them can hold it up; vhost_msg_recv() waits, for front-ends.
 */
#ifndef VACCEL_VHOST_MSG_H
#define VACCEL_VHOST_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "vhost/proto.h"

struct vhost_msg {
	struct vhost_header header;
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct vhost_mem_table table;
		struct vhost_mem_reg mem_reg;
		struct vhost_inflight inflight;
		struct vhost_log log;
		/* A struct vhost_config with its bytes is the longest payload. */
		uint8_t bytes[VHOST_MAX_PAYLOAD];
	} payload;
	int fds[VHOST_MAX_FDS];
	size_t n_fds;
};

struct vhost_rx {
	struct vhost_msg msg;
	size_t have; /* bytes of header and payload so far */
	bool peek;   /* what is read stays in the socket, and SO_PEEK_OFF says how much that is */
};

/* Empty message of a request; header.size says how much of the payload is sent. */
void vhost_msg_init(struct vhost_msg *msg, uint32_t request, uint32_t size);

/* Moves descriptor number index out; -1 if there is none. */
int vhost_msg_take_fd(struct vhost_msg *msg, size_t index);
void vhost_msg_close_fds(struct vhost_msg *msg);

/*
 * Reads what is there without waiting (with peek: all of a message, or nothing of it). 1: rx->msg is complete and the caller's (take or close its descriptors, then
 * vhost_rx_reset()). 0: more is needed. Negative errno: the connection is of no use any more: -EPIPE the peer closed
 * it between messages, -ECONNRESET in the middle of one, -EMSGSIZE payload too long, -EBADMSG too many descriptors
 * or a version that is not 1.
 */
int vhost_rx_step(struct vhost_rx *rx, int fd, struct error *error);
/* Forgets a partial message, or one that was dealt with, closing the descriptors that are left and wiping keys. */
void vhost_rx_reset(struct vhost_rx *rx);

/* Waits for one message. timeout_ms < 0: for ever. 0 or a negative errno as above, or -ETIMEDOUT. */
int vhost_msg_recv(int fd, int timeout_ms, struct vhost_msg *ret_msg, struct error *error);

/*
 * Sends the message with its descriptors, which stay open and the caller's. timeout_ms < 0: waits for ever; 0: fails with
 * -EAGAIN if the peer's queue is full. A failure in the middle leaves a connection that is of no use any more.
 */
int vhost_msg_send(int fd, const struct vhost_msg *msg, int timeout_ms, struct error *error);

/* "SET_MEM_TABLE"; "request 77" for unknown ones (static storage per thread). */
const char *vhost_request_name(uint32_t request);

#endif
