/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue seen from the device.
 *
 * The guest can write everything in the ring at any moment. Each index and each descriptor is therefore read once, into
 * private memory, and only the copy is checked and used. Whatever is wrong breaks this ring alone: the function returns
 * a negative errno with a reason, and the ring must not be used any more except for vring_push() of what was popped.
 *
 * States of a head: free -> vring_pop() -> busy -> vring_take() -> in the journal too -> vring_push() -> free. What a
 * worker before left in the journal is busy from vring_init() on and comes back through vring_refetch(). A head offered
 * again while it is busy breaks the ring.
 *
 * Threads: one thread pops, refetches and asks for notifications. vring_push() and vring_signal() may be called from
 * any thread; push_lock serialises them. Lock order: push_lock is a leaf.
 */
#ifndef VACCEL_VHOST_VRING_H
#define VACCEL_VHOST_VRING_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/error.h"
#include "vhost/inflight.h"
#include "vhost/memory.h"

#define VRING_MAX_NUM	 1024
#define VRING_MAX_CHAIN	 1024 /* descriptors of one chain, an indirect table's included */
#define VRING_MAX_PIECES 2048 /* of one chain, after splitting at regions' ends */

struct vring_setup {
	uint16_t num;
	uint16_t base; /* next entry of the available ring, unless recovered */
	bool recover;  /* the ring was served before: base follows from the used ring and the journal */
	uint64_t desc; /* front-end addresses */
	uint64_t avail;
	uint64_t used;
	uint64_t features; /* negotiated */
	uint64_t counter;  /* first journal counter, see inflight_open() */
};

struct vring {
	const struct vhost_memory *memory;
	uint16_t num;
	bool event_idx;
	bool indirect;
	struct vring_desc_raw *desc;
	struct vring_avail_raw *avail;
	struct vring_used_raw *used;

	/* The popping thread's own. */
	uint16_t last_avail;
	struct iovec *pieces;	      /* VRING_MAX_PIECES, of the chain popped last */
	struct vring_desc_raw *table; /* VRING_MAX_CHAIN, copy of an indirect table */

	pthread_mutex_t push_lock;
	uint16_t used_idx;	  /* push_lock */
	uint16_t signalled;	  /* push_lock: used_idx when the guest's wish was last looked at */
	bool signalled_valid;	  /* push_lock */
	struct inflight inflight; /* take: popping thread; give back: push_lock */
	uint8_t *busy;		  /* per head, atomic */
	uint32_t n_busy;	  /* atomic */
};

/* What vring_pop() found. Pieces are valid until the next pop or refetch. */
struct vring_chain {
	uint16_t head;
	uint64_t counter; /* of the journal, by vring_refetch() */
	const struct iovec *readable;
	size_t n_readable;
	uint64_t readable_len;
	const struct iovec *writable;
	size_t n_writable;
	uint64_t writable_len;
};

/*
 * entries: room for setup->num; filled with what is still taken (in order), each of which is busy now and has to be
 * refetched and pushed. Returns their number. -EINVAL size or alignment, -EFAULT address, -ENOMEM.
 */
int vring_init(struct vring *vring, const struct vhost_memory *memory, const struct vring_setup *setup,
	       struct inflight_region *journal, struct inflight_entry *entries, struct error *error);
void vring_fini(struct vring *vring);

/* 1: a chain, busy from now on. 0: none. Negative errno: broken. */
int vring_pop(struct vring *vring, struct vring_chain *ret_chain, struct error *error);

/* Enters what was popped into the journal, before anything is done for it. vring_next_counter() says as what. */
void vring_take(struct vring *vring, uint16_t head);
uint64_t vring_next_counter(const struct vring *vring);

/* Reads the chain of a head that vring_init() reported. 0, or negative errno: it is broken (the ring is not). */
int vring_refetch(struct vring *vring, const struct inflight_entry *entry, struct vring_chain *ret_chain,
		  struct error *error);

/* Gives a chain back. len: bytes written to it. */
void vring_push(struct vring *vring, uint16_t head, uint32_t len);

/* Whether the guest wants a signal for what was pushed since the last call. */
bool vring_wants_signal(struct vring *vring);

/* Asks the guest not to kick. A hint. */
void vring_disable_kicks(struct vring *vring);
/* Asks for a kick on the next chain. True: there is one already (or the index is wrong): pop again before waiting. */
bool vring_enable_kicks(struct vring *vring);

/* Chains busy now. */
uint32_t vring_n_busy(const struct vring *vring);

#endif
