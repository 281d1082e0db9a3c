/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What supervisor and worker say to each other, over a private SOCK_SEQPACKET pair: one struct per packet, descriptors
 * beside it. The supervisor commands, the worker does it in order and acknowledges each command by its seq, RING_STOP
 * and CONN_GONE only when they have taken effect. The worker holds nothing that a new one could not be told again.
 *
 * Both run the same program file, so the layout needs no version. The worker may have been taken over by a guest: the
 * supervisor uses of a packet only numbers, which it checks, and text, which it logs.
 */
#ifndef VACCEL_DAEMON_LINK_H
#define VACCEL_DAEMON_LINK_H

#include <stdint.h>

#include "daemon/device.h"
#include "engine/config.h"
#include "util/error.h"
#include "vhost/crypto.h"
#include "vhost/inflight.h"
#include "vhost/proto.h"
#include "vhost/vring.h"

enum link_type {
	/* Supervisor to worker. */
	LINK_OWNERS = 1,     /* owners; the first, not acknowledged: what others have in the state goes */
	LINK_MEM_CLEAR,	     /* of a connection none of whose rings runs */
	LINK_MEM_ADD,	     /* region, fds[0] */
	LINK_MEM_COMMIT,     /* memory is complete, no ring runs: map registered buffers again */
	LINK_RING_START,     /* ring; fds: enum link_fd */
	LINK_RING_CALL,	     /* fds: call and err as they are from now on */
	LINK_RING_STOP,	     /* acknowledged with the base when nothing of it is under way */
	LINK_CONN_RESET,     /* sessions and buffers go */
	LINK_CONN_GONE,	     /* everything of it goes */
	LINK_SESSION_CREATE, /* session; value: tag. Acknowledged with its id */
	LINK_SESSION_CLOSE,  /* value: id; index 1: maybe a worker before has done it */
	/* Worker to supervisor. */
	LINK_READY,  /* ready */
	LINK_ACK,    /* seq, result, value */
	LINK_BROKEN, /* ring index will do nothing until it is stopped; text says why */
	LINK_FAULT,  /* memory that conn shares is not there; the worker ends with WORKER_EXIT_FAULT */
};

enum link_fd {
	LINK_FD_KICK,
	LINK_FD_CALL,
	LINK_FD_ERR,
	LINK_FD_LEDGER,
	LINK_FD_JOURNAL, /* the front-end's, instead of the ledger's own */
	LINK_N_FDS,
};

enum link_ring_flags {
	LINK_RING_RECOVER = 1 << 0, /* a worker before served it and did not stop it */
	LINK_RING_BLAME = 1 << 1,   /* and it died by itself: of a request, maybe */
	LINK_RING_ABORT = 1 << 2, /* complete with an error what is in flight, then stop; acknowledged like RING_STOP */
	LINK_RING_KEEP = 1 << 3,  /* with ABORT: leave it in the journal, which is the front-end's */
};

struct link_ring {
	uint32_t flags;
	uint16_t num;
	uint16_t base;
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint64_t features;
	uint64_t journal_offset; /* in the front-end's journal file */
};

/* Connections that there are: number n is bit n - 1. */
struct link_owners {
	uint8_t bits[CONFIG_MAX_CONNECTIONS / 8];
};

struct link_ready {
	uint32_t ops[DEVICE_OP_WORDS]; /* that can be served, see device.h */
};

struct link_msg {
	uint32_t type;
	uint32_t conn; /* 1.. */
	uint32_t seq;
	uint32_t index; /* of the ring */
	int32_t result;
	uint32_t fd_mask; /* which of fds[] came; set by link_send() */
	uint64_t value;
	union {
		struct vhost_region region;
		struct link_ring ring;
		struct link_owners owners;
		struct link_ready ready;
		struct vhost_crypto_session session;
		char text[ERROR_TEXT];
	};
	int fds[LINK_N_FDS]; /* -1: none. On receiving the caller's */
};

#define LINK_MSG_INIT .fds = { -1, -1, -1, -1, -1 }

/* The ends of a worker's life, as exit statuses. */
#define WORKER_EXIT_FAILED   1
#define WORKER_EXIT_DEADLINE 75 /* it ended itself because an op took too long; the ledger says which */
#define WORKER_EXIT_FAULT    76 /* a front-end took memory away under it: see LINK_FAULT */

#define WORKER_EXIT_UNSAFE 77 /* sandbox.mode is required, and the sandbox cannot be had */

/* Blocking, -errno. Descriptors stay the caller's. */
int link_send(int fd, const struct link_msg *msg);
/* 1, 0 when the other end is gone, or -errno (-EAGAIN with dontwait). */
int link_recv(int fd, struct link_msg *ret_msg, int dontwait);
void link_close_fds(struct link_msg *msg);
/* Wipes a key that it has. Whoever has sent or obeyed a message does so, or has freed or written over it. */
void link_wipe(struct link_msg *msg);

/*
 * The ledger: one per ring of a connection, in a memfd that the supervisor makes and no guest sees. It says what happened
 * to each request that the journal calls in flight, and holds the journal if the front-end brought none.
 *
 * An entry belongs to the request with its counter; it is written before the journal says "in flight".
 */
struct ledger_entry {
	uint64_t counter;
	uint32_t started; /* a plugin has begun it at least once */
	uint32_t running; /* a plugin is in it, or opens its session */
	uint32_t blame;	  /* workers that died by themselves while it ran */
	uint32_t retaken; /* workers that found it in flight after such a death */
	uint32_t verdict; /* enum ledger_verdict */
	uint32_t reserved;
};

enum ledger_verdict {
	LEDGER_NONE,
	LEDGER_DEADLINE, /* the worker ended itself because of it */
};

struct ledger {
	uint64_t next_counter; /* never falls, so that tags of requests are unique while the connection lives */
	uint64_t reserved[7];
	struct ledger_entry entries[VRING_MAX_NUM];
	struct inflight_region journal; /* and its descriptors, VRING_MAX_NUM of them at most */
};

#define LEDGER_BYTES (sizeof(struct ledger) + VRING_MAX_NUM * sizeof(struct inflight_desc) + 64)

/* Blamed this often a request is not tried again. */
#define LEDGER_MAX_BLAME   2
#define LEDGER_MAX_RETAKEN 4

#endif
