/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back-end's side of one vhost-user connection as a state machine: a message goes in, state changes, and what has
 * to happen comes out. It reads and writes no socket and touches no guest memory, so tests and fuzzers drive it directly.
 *
 * Way of a message: vhost_server_handle() checks it and changes the state; the caller carries out step.effects, which may
 * take a while (no further message is handled meanwhile); vhost_server_finish() completes the answer; the caller sends it.
 *
 * A ring is active (vhost_ring_active()) while it has addresses and a kick descriptor and is enabled: the caller keeps
 * active rings running and all others stopped. A stopped ring's position is written back into ring.base by the caller.
 *
 * Errors: a message that is refused leaves the state as it was. It is answered with an error if the front-end asked for
 * an answer, else the connection has to be closed: the two sides no longer agree.
 */
#ifndef VACCEL_VHOST_SERVER_H
#define VACCEL_VHOST_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "vhost/crypto.h"
#include "vhost/memory.h"
#include "vhost/msg.h"
#include "vhost/proto.h"

#define VHOST_MAX_QUEUES 64

/* What the back-end offers. Constant while connections use it, but for config. */
struct vhost_device {
	uint64_t features;
	uint16_t n_queues;
	const void *config;
	size_t config_len;
	bool crypto; /* sessions may be made and ended by messages */
};

/* Protocol features that this state machine implements, whatever the device. */
#define VHOST_SERVER_PROTOCOL_FEATURES                                                         \
	(VHOST_BIT(VHOST_PF_MQ) | VHOST_BIT(VHOST_PF_REPLY_ACK) | VHOST_BIT(VHOST_PF_CONFIG) | \
	 VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS) | VHOST_BIT(VHOST_PF_BACKEND_REQ) |           \
	 VHOST_BIT(VHOST_PF_INFLIGHT_SHMFD) | VHOST_BIT(VHOST_PF_RESET_DEVICE) | VHOST_BIT(VHOST_PF_STATUS))

struct vhost_ring {
	uint16_t num;
	uint16_t base; /* where to go on; the caller updates it when it has stopped the ring */
	bool have_addr;
	uint64_t desc; /* addresses of the front-end */
	uint64_t avail;
	uint64_t used;
	int kick; /* -1: not started */
	int call;
	int err;
	bool enabled;
	bool fresh; /* set up anew since it last ran: base counts, an old journal of our own does not */
};

struct vhost_server {
	const struct vhost_device *device;
	uint64_t features;
	uint64_t protocol_features;
	uint8_t status;
	struct vhost_regions regions;
	struct vhost_ring rings[VHOST_MAX_QUEUES];
	int backend_fd;	 /* our channel to the front-end; -1: none */
	int inflight_fd; /* the front-end's journal; -1: none */
	struct vhost_inflight inflight;
};

enum vhost_effect {
	VHOST_EFFECT_MEM_ADDED = 1 << 0,    /* step.region is new; rings may go on */
	VHOST_EFFECT_MEM_REPLACED = 1 << 1, /* the table is another: no ring may run while it is taken over */
	VHOST_EFFECT_RESTART = 1 << 2,	    /* ring step.index: stop it, then run it as it is now */
	VHOST_EFFECT_CALL = 1 << 3,	    /* ring step.index: other call or err descriptor */
	VHOST_EFFECT_RESET = 1 << 4,	    /* forget what the driver created in the device; no ring is active now */
	VHOST_EFFECT_CREATE = 1 << 5,	    /* make step.session and say in step.session_id which it is */
	VHOST_EFFECT_CLOSE = 1 << 6,	    /* end session step.session_id, or say that it failed */
};

struct vhost_step {
	uint32_t effects;
	uint32_t index;
	struct vhost_region region;
	struct error refused; /* code < 0: the message was refused, for the log */
	bool has_reply;
	bool wants_base;		     /* finish() puts the ring's base into the reply */
	int64_t session_id;		     /* CREATE: set by the caller before finish(); -1: there is none */
	bool failed;			     /* CLOSE: set by the caller before finish() */
	struct vhost_crypto_session session; /* CREATE: with a key, which the caller wipes */
	struct vhost_msg reply;		     /* owns its descriptors */
};

void vhost_server_init(struct vhost_server *server, const struct vhost_device *device);
/* Closes all descriptors. */
void vhost_server_fini(struct vhost_server *server);

/* Takes msg's descriptors or closes them. 0, or a negative errno: the connection has to be closed. */
int vhost_server_handle(struct vhost_server *server, struct vhost_msg *msg, struct vhost_step *ret_step,
			struct error *error);
void vhost_server_finish(struct vhost_server *server, struct vhost_step *step);

/* What GET_PROTOCOL_FEATURES tells. */
uint64_t vhost_device_protocol_features(const struct vhost_device *device);

bool vhost_ring_active(const struct vhost_server *server, uint32_t index);
bool vhost_server_has(const struct vhost_server *server, enum vhost_protocol_feature feature);

#endif
