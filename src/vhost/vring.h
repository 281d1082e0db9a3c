/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue seen from the device.
 *
 * The guest can write everything in the ring at any moment. Each index and each descriptor is therefore read once, into
 * private memory, and only the copy is checked and used. Whatever is wrong breaks this ring alone: the function returns
 * a negative errno with a reason, and the ring must not be used any more except for vq_push() of what was popped.
 *
 * States of a head: free -> vq_pop() -> busy -> vq_take() -> in the journal too -> vq_push() -> free. What a
 * worker before left in the journal is busy from vq_init() on and comes back through vq_refetch(). A head offered
 * again while it is busy breaks the ring.
 *
 * Threads: one thread pops, refetches and asks for notifications. vq_push() and vq_signal() may be called from
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
#define VRING_AHEAD	 8    /* chains that are known of before they are popped; a power of two */
#define VRING_MAX_PIECES 2048 /* of one chain, after splitting at regions' ends */

struct vq_setup {
	uint16_t num;
	uint16_t base; /* next entry of the available ring, unless recovered */
	bool recover;  /* the ring was served before: base follows from the used ring and the journal */
	uint64_t desc; /* front-end addresses */
	uint64_t avail;
	uint64_t used;
	uint64_t features; /* negotiated; without VERSION_1 nobody knows what was: all is understood then */
	uint64_t counter;  /* first journal counter, see inflight_open() */
};

struct vq_ahead;

struct vq {
	const struct vhost_memory *memory;
	uint16_t num;
	bool event_idx;
	bool indirect;
	bool untold; /* the driver may use events or not */
	struct vq_desc *desc;
	struct vq_avail *avail;
	struct vq_used *used;

	/* The popping thread's own. */
	uint16_t last_avail;
	uint16_t n_ahead;	/* copied, from last_avail on; atomic */
	struct vq_ahead *ahead; /* VRING_AHEAD, by index modulo that */
	struct iovec *pieces;	/* VRING_MAX_PIECES, of the chain popped last */
	struct vq_desc *table;	/* VRING_MAX_CHAIN, copy of an indirect table */

	pthread_mutex_t push_lock;
	uint16_t used_idx;	  /* push_lock */
	uint16_t signalled;	  /* push_lock: used_idx when the guest's wish was last looked at */
	bool signalled_valid;	  /* push_lock */
	struct inflight inflight; /* take: popping thread; give back: push_lock */
	uint8_t *busy;		  /* per head, atomic */
	uint32_t n_busy;	  /* atomic */
};

/* What vq_pop() found. Pieces are valid until the next pop or refetch. */
struct vq_chain {
	uint16_t head;
	uint64_t counter; /* of the journal, by vq_refetch() */
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
int vq_init(struct vq *vq, const struct vhost_memory *memory, const struct vq_setup *setup,
	    struct inflight_region *journal, struct inflight_entry *entries, struct error *error);
void vq_fini(struct vq *vq);

/* 1: a chain, busy from now on. 0: none. Negative errno: broken. */
int vq_pop(struct vq *vq, struct vq_chain *ret_chain, struct error *error);

/* Enters what was popped into the journal, before anything is done for it. vq_next_counter() says as what. */
void vq_take(struct vq *vq, uint16_t head);
uint64_t vq_next_counter(const struct vq *vq);

/* Reads the chain of a head that vq_init() reported. 0, or negative errno: it is broken (the ring is not). */
int vq_refetch(struct vq *vq, const struct inflight_entry *entry, struct vq_chain *ret_chain, struct error *error);

/* Gives a chain back. len: bytes written to it. */
void vq_push(struct vq *vq, uint16_t head, uint32_t len);

/* Whether the guest wants a signal for what was pushed since the last call. */
bool vq_wants_signal(struct vq *vq);

/* Whether pop has something to look at. */
bool vq_available(const struct vq *vq);

/* Asks the guest not to kick. A hint. */
void vq_disable_kicks(struct vq *vq);
/* Asks for a kick on the next chain. True: there is one already (or the index is wrong): pop again before waiting. */
bool vq_enable_kicks(struct vq *vq);

/* Chains busy now. */
uint32_t vq_n_busy(const struct vq *vq);

#endif
