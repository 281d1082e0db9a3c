/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue seen from the driver, in memory that the device can write to at any time. What the device writes is
 * the used ring and the available event; nothing else of the shared part is ever read back: free descriptors, chain
 * lengths and tokens are kept in private memory, so that a hostile device can at worst answer too early or never.
 *
 * Not locked: the caller lets one thread at a time into a ring. Fields on the wire are little-endian (VIRTIO 1.x).
 */
#ifndef VACCEL_VHOST_DRIVER_RING_H
#define VACCEL_VHOST_DRIVER_RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define DRING_MAX_SIZE 1024

struct dring_slot {
	void *token;   /* of the chain that starts here; NULL: none does */
	uint16_t next; /* of the chain, or of the list of free descriptors */
	uint16_t n;    /* descriptors of the chain */
};

struct dring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct dring_slot *slots;
	uint16_t size;
	bool event_idx;
	uint16_t free_head;
	uint16_t n_free;
	uint16_t avail_idx; /* next entry of the available ring */
	uint16_t published; /* what the device was told */
	uint16_t last_used; /* next entry of the used ring */
};

struct dring_buf {
	uint64_t addr; /* device-visible */
	uint32_t len;
	bool writable; /* by the device; readable ones come first */
};

/* Where an indirect table may be built: room for as many descriptors as the chain has. */
struct dring_table {
	struct vring_desc *desc;
	uint64_t addr;
};

/* Bytes of shared memory that a ring takes; it starts at a multiple of 64. */
size_t dring_bytes(uint16_t size);

/* memory: dring_bytes(size), zeroed. size: a power of two up to DRING_MAX_SIZE. -EINVAL, -ENOMEM. */
int dring_init(struct dring *ring, void *memory, uint16_t size, bool event_idx);
void dring_fini(struct dring *ring);

/* Adds a chain, through an indirect table if one is given. token: not NULL. -ENOSPC: no free descriptors. */
int dring_add(struct dring *ring, const struct dring_buf *bufs, uint16_t n, const struct dring_table *table,
	      void *token);

/* Makes what was added visible; true when the device wants a kick. */
bool dring_publish(struct dring *ring);

/* Takes a used chain: 1, 0 when there is none, -EPROTO when the device broke the ring. */
int dring_pop(struct dring *ring, void **ret_token, uint32_t *ret_len, struct error *error);

/* Whether dring_pop() has something. */
bool dring_pending(const struct dring *ring);

/* Asks for an interrupt with the next used chain; true when one is there already. */
bool dring_arm(struct dring *ring);

/* Takes out a chain that the device will not answer any more, for the end of a connection. NULL: none is left. */
void *dring_detach(struct dring *ring);

#endif
