/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a connection: what one supervisor leaves to the next, of the same or another build. Its layout has a
 * version; whoever changes a struct here, or the meaning of a member, raises it. See keep.h.
 */
#ifndef VACCEL_DAEMON_KEEP_RECORD_H
#define VACCEL_DAEMON_KEEP_RECORD_H

#include <stdint.h>

#include "daemon/device.h"
#include "util/error.h"
#include "vhost/memory.h"
#include "vhost/server.h"

struct supervisor;
struct connection;

#define KEEP_MAGIC UINT64_C(0x7065656b6c656363) /* "ccelkeep" */
#ifndef KEEP_VERSION
#define KEEP_VERSION 2
#endif
/* The kernel passes no more with one message. */
#define KEEP_MAX_FDS 253

enum keep_flags {
	KEEP_GREETED = 1 << 0,
	KEEP_RESET_WANTED = 1 << 1,
	KEEP_BACKEND = 1 << 2, /* a descriptor of each of these follows, in this order */
	KEEP_JOURNAL = 1 << 3,
	KEEP_REPLY_FD = 1 << 4,
	KEEP_BUSY = 1 << 5, /* a message waits for its answer or for being taken out; pending, reply... say which */
	KEEP_HAS_REPLY = 1 << 6,
	KEEP_WANTS_BASE = 1 << 7,
	KEEP_CLOSES = 1 << 8, /* that message closes session session_id */
};

enum keep_ring_flags {
	KEEP_RING_ADDR = 1 << 0,
	KEEP_RING_ENABLED = 1 << 1,
	KEEP_RING_FRESH = 1 << 2,
	KEEP_RING_DIRTY = 1 << 3,
	KEEP_RING_BROKEN = 1 << 4,
	KEEP_RING_KICK = 1 << 5, /* a descriptor of each of these follows, in this order */
	KEEP_RING_CALL = 1 << 6,
	KEEP_RING_ERR = 1 << 7,
	KEEP_RING_LEDGER = 1 << 8,
};

struct keep_ring {
	uint64_t desc;
	uint64_t avail;
	uint64_t used;
	uint16_t num;
	uint16_t base;
	uint32_t flags; /* enum keep_ring_flags */
};

/*
 * Integers in host byte order. Descriptors come beside it: the socket, the page, those that flags name, one per region,
 * those that each ring's flags name.
 */
struct keep_record {
	/* These never move. */
	uint64_t magic;
	uint32_t version;
	uint32_t size; /* of the whole record */
	/* From here on the version counts. */
	uint64_t nonce;
	uint64_t generation;
	uint32_t id;
	uint32_t n_fds;
	uint64_t device_features;
	uint32_t virtio_id;
	uint32_t config_len;
	_Alignas(8) uint8_t config[DEVICE_MAX_CONFIG]; /* as front-ends were told, but for what plugins serve */
	uint32_t flags;				       /* enum keep_flags */
	uint32_t status;
	uint64_t features;
	uint64_t protocol_features;
	struct vhost_inflight inflight;
	uint32_t n_regions;
	uint32_t n_rings;
	struct vhost_region regions[VHOST_MAX_REGIONS];
	struct keep_ring rings[VHOST_MAX_QUEUES];
	uint32_t pending;
	uint32_t index; /* of the ring of that message */
	struct vhost_header reply;
	uint32_t reserved;
	uint64_t n_sessions; /* that messages have asked for and were answered */
	int64_t session_id;
	uint8_t payload[VHOST_MAX_PAYLOAD];
};

/* Fills record and fds, which stay the connection's. Returns their number, or -E2BIG: more than KEEP_MAX_FDS. */
int keep_record_fill(struct supervisor *supervisor, const struct connection *connection, struct keep_record *ret_record,
		     int *ret_fds);

/* -EPROTO: of another version or for another device; -EBADMSG: damaged. Descriptors are not looked at. */
int keep_record_check(const struct supervisor *supervisor, const struct keep_record *record, size_t len,
		      struct error *error);

/*
 * Makes a connection what the record, which was checked, says. Takes descriptors that it uses out of fds (leaving -1
 * there). On failure the connection is partly filled and has to be freed.
 */
int keep_record_apply(struct supervisor *supervisor, struct connection *connection, const struct keep_record *record,
		      int *fds, struct error *error);

#endif
