/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front-end: what a VMM does, without a VM. It connects to a back-end, agrees on features, shares memory
 * that it allocates, and starts queues. It knows no accelerator. The shm transport is its user; so are the daemon's
 * tests, which exercise through it what QEMU and UML leave out.
 *
 * Memory: each region is a memfd of its own, sealed against resizing, so that the peer cannot take pages away under us.
 * Guest addresses are handed out by counting up; addresses "in the front-end's address space" are those plus a constant:
 * neither tells the peer where anything is mapped here.
 *
 * Threads: all functions may be called from any thread at once, except frontend_free(). One message is under way at a
 * time. After a failure of the connection itself every later message fails with -ECONNRESET.
 */
#ifndef VACCEL_VHOST_FRONTEND_H
#define VACCEL_VHOST_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "vhost/driver_ring.h"
#include "vhost/msg.h"
#include "vhost/proto.h"

struct frontend;

struct frontend_options {
	uint64_t features;	    /* taken where offered; VERSION_1 and PROTOCOL_FEATURES are always asked for */
	uint64_t protocol_features; /* taken where offered */
	int timeout_ms;		    /* for one answer; 0: FRONTEND_TIMEOUT_MS; negative: none */
};

/* A back-end may drain its queues before it answers; longer than that is a back-end that hangs. */
#define FRONTEND_TIMEOUT_MS 30000

/* Everything that the front-end can use. */
#define FRONTEND_RING_FEATURES (VHOST_BIT(VHOST_F_INDIRECT_DESC) | VHOST_BIT(VHOST_F_EVENT_IDX))
#define FRONTEND_PROTOCOL_FEATURES                                                                            \
	(VHOST_BIT(VHOST_PF_MQ) | VHOST_BIT(VHOST_PF_REPLY_ACK) | VHOST_BIT(VHOST_PF_BACKEND_REQ) |           \
	 VHOST_BIT(VHOST_PF_CONFIG) | VHOST_BIT(VHOST_PF_INFLIGHT_SHMFD) | VHOST_BIT(VHOST_PF_RESET_DEVICE) | \
	 VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS) | VHOST_BIT(VHOST_PF_STATUS))

/* Connects to a socket and negotiates. -ENOENT, -ECONNREFUSED, -EACCES, -EPROTO. */
int frontend_connect(const char *path, const struct frontend_options *options, struct frontend **ret_frontend,
		     struct error *error);
/* The same over a connected socket, which it takes over, also on failure. */
int frontend_attach(int fd, const struct frontend_options *options, struct frontend **ret_frontend,
		    struct error *error);
/* Hangs up and unmaps all regions. */
void frontend_free(struct frontend *frontend);

/* Ends the conversation: the back-end sees it at once, the descriptors stay ours. Not beside frontend_adopt(). */
void frontend_hang_up(const struct frontend *frontend);
/*
 * Goes on with the connection of next, which it takes over, also on failure: with the features of before, and the same
 * regions at the same addresses; its own connection is closed. -EOPNOTSUPP, -ENOSPC: the back-end behind next has fewer
 * features or regions; then nothing has changed. Nobody else may use the descriptors meanwhile.
 */
int frontend_adopt(struct frontend *frontend, struct frontend *next, struct error *error);

uint64_t frontend_features(const struct frontend *frontend);
uint64_t frontend_protocol_features(const struct frontend *frontend);
static inline bool frontend_has_feature(const struct frontend *frontend, unsigned int bit)
{
	return frontend_features(frontend) & VHOST_BIT(bit);
}
static inline bool frontend_has_protocol(const struct frontend *frontend, unsigned int bit)
{
	return frontend_protocol_features(frontend) & VHOST_BIT(bit);
}
uint32_t frontend_max_queues(const struct frontend *frontend);
uint32_t frontend_max_regions(const struct frontend *frontend);
/* The socket: watch it for hang-up only (POLLRDHUP); reading belongs to the front-end. */
int frontend_fd(const struct frontend *frontend);
/* The back-end's channel to us, -1 without BACKEND_REQ: when readable, call frontend_backend_request(). */
int frontend_backend_fd(const struct frontend *frontend);
/*
 * Deals with one message of it, without waiting. 1: *ret_request was dealt with; 0: there was none. An error, such as
 * -EPIPE, closes the channel. One thread at a time.
 */
int frontend_backend_request(struct frontend *frontend, uint32_t *ret_request, struct error *error);

/*
 * One message as it is, NEED_REPLY and the wait for the answer included. has_reply: the message has an answer of its
 * own, which replaces *msg (its descriptors are the caller's). A refusal (REPLY_ACK with an error) is -EREMOTEIO.
 */
int frontend_message(struct frontend *frontend, struct vhost_msg *msg, bool has_reply, struct error *error);

struct frontend_region {
	void *data;
	size_t size;
	uint64_t guest_addr; /* of data, as descriptors name it */
	uint64_t user_addr;  /* of data, as ring addresses name it */
	int fd;
	struct frontend_region *next;
};

/* New zeroed memory of whole pages, shared with the back-end. -ENOSPC: no more regions are possible. -ENOMEM. */
int frontend_region_new(struct frontend *frontend, size_t size, struct frontend_region **ret_region,
			struct error *error);
/* Takes it away again (REM_MEM_REG, or a new table) and unmaps it. It is gone here whatever the back-end says. */
int frontend_region_free(struct frontend *frontend, struct frontend_region *region, struct error *error);

/* Starts queue index: number, base, addresses, descriptors, enable. The ring lies in the region. */
int frontend_queue_start(struct frontend *frontend, uint32_t index, const struct dring *ring,
			 const struct frontend_region *region, int kick_fd, int call_fd, struct error *error);
/* Disables it and asks for its base: after that the back-end does not touch it. */
int frontend_queue_stop(struct frontend *frontend, uint32_t index, uint16_t *ret_base, struct error *error);

/* Single messages. fd -1 with the _fd ones: none (NOFD). */
int frontend_vring_fd(struct frontend *frontend, uint32_t request, uint32_t index, int fd, struct error *error);
int frontend_vring_state(struct frontend *frontend, uint32_t request, uint32_t index, uint32_t num,
			 struct error *error);
int frontend_get_vring_base(struct frontend *frontend, uint32_t index, uint16_t *ret_base, struct error *error);
int frontend_get_u64(struct frontend *frontend, uint32_t request, uint64_t *ret_value, struct error *error);
int frontend_set_u64(struct frontend *frontend, uint32_t request, uint64_t value, struct error *error);
/* CONFIG: fills len bytes of configuration space. */
int frontend_get_config(struct frontend *frontend, uint32_t offset, void *data, uint32_t len, struct error *error);
/* STATUS. */
int frontend_set_status(struct frontend *frontend, uint8_t status, struct error *error);
int frontend_get_status(struct frontend *frontend, uint8_t *ret_status, struct error *error);
/* RESET_DEVICE. */
int frontend_reset_device(struct frontend *frontend, struct error *error);
/* INFLIGHT_SHMFD: *ret_fd is the caller's. */
int frontend_get_inflight(struct frontend *frontend, uint16_t n_queues, uint16_t queue_size,
			  struct vhost_inflight *ret_inflight, int *ret_fd, struct error *error);
int frontend_set_inflight(struct frontend *frontend, const struct vhost_inflight *inflight, int fd,
			  struct error *error);

#endif
