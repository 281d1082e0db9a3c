/* SPDX-License-Identifier: Apache-2.0 */
/* See driver_ring.h. Chapter numbers are those of the virtio 1.2 specification. */
#include "vhost/driver_ring.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) / to * to;
}

static size_t avail_offset(uint16_t size)
{
	return sizeof(struct vring_desc) * size;
}

/* The available ring ends in used_event; the device's part starts on a cache line of its own. */
static size_t used_offset(uint16_t size)
{
	return round_up(avail_offset(size) + sizeof(struct vring_avail) + sizeof(uint16_t) * (size + 1u), 64);
}

size_t dring_bytes(uint16_t size)
{
	size_t used = sizeof(struct vring_used) + sizeof(struct vring_used_elem) * size + sizeof(uint16_t);

	return round_up(used_offset(size) + used, 64);
}

static uint16_t *used_event(const struct dring *ring)
{
	return &ring->avail->ring[ring->size];
}

static const uint16_t *avail_event(const struct dring *ring)
{
	return (const uint16_t *)&ring->used->ring[ring->size];
}

int dring_init(struct dring *ring, void *memory, uint16_t size, bool event_idx)
{
	uint8_t *bytes = memory;

	memset(ring, 0, sizeof(*ring));
	if (!size || size > DRING_MAX_SIZE || size & (size - 1))
		return -EINVAL;
	ring->slots = calloc(size, sizeof(*ring->slots));
	if (!ring->slots)
		return -ENOMEM;
	ring->desc = memory;
	ring->avail = (struct vring_avail *)(bytes + avail_offset(size));
	ring->used = (struct vring_used *)(bytes + used_offset(size));
	ring->size = size;
	ring->event_idx = event_idx;
	ring->n_free = size;
	for (uint16_t i = 0; i < size; i++)
		ring->slots[i].next = (uint16_t)(i + 1);
	return 0;
}

void dring_fini(struct dring *ring)
{
	free(ring->slots);
	memset(ring, 0, sizeof(*ring));
}

HOT static void write_desc(struct vring_desc *desc, const struct dring_buf *buf, bool last, uint16_t next)
{
	desc->addr = htole64(buf->addr);
	desc->len = htole32(buf->len);
	desc->flags = htole16((buf->writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT));
	desc->next = htole16(last ? 0 : next);
}

/* Takes n descriptors from the list; they stay linked through slots[].next. */
HOT static uint16_t take_chain(struct dring *ring, uint16_t n, void *token)
{
	uint16_t head = ring->free_head, last = head;

	for (uint16_t i = 1; i < n; i++)
		last = ring->slots[last].next;
	ring->free_head = ring->slots[last].next;
	ring->n_free = (uint16_t)(ring->n_free - n);
	ring->slots[head].n = n;
	ring->slots[head].token = token;
	return head;
}

HOT static void give_chain(struct dring *ring, uint16_t head)
{
	uint16_t last = head;

	for (uint16_t i = 1; i < ring->slots[head].n; i++)
		last = ring->slots[last].next;
	ring->slots[last].next = ring->free_head;
	ring->free_head = head;
	ring->n_free = (uint16_t)(ring->n_free + ring->slots[head].n);
	ring->slots[head].token = NULL;
}

HOT static uint16_t add_indirect(struct dring *ring, const struct dring_buf *bufs, uint16_t n,
				 const struct dring_table *table, void *token)
{
	uint16_t head = take_chain(ring, 1, token);
	struct vring_desc *desc = &ring->desc[head];

	for (uint16_t i = 0; i < n; i++)
		write_desc(&table->desc[i], &bufs[i], i == n - 1, (uint16_t)(i + 1));
	desc->addr = htole64(table->addr);
	desc->len = htole32((uint32_t)(n * sizeof(struct vring_desc)));
	desc->flags = htole16(VRING_DESC_F_INDIRECT);
	desc->next = 0;
	return head;
}

static uint16_t add_direct(struct dring *ring, const struct dring_buf *bufs, uint16_t n, void *token)
{
	uint16_t head = take_chain(ring, n, token), at = head;

	for (uint16_t i = 0; i < n; i++) {
		write_desc(&ring->desc[at], &bufs[i], i == n - 1, ring->slots[at].next);
		at = ring->slots[at].next;
	}
	return head;
}

HOT int dring_add(struct dring *ring, const struct dring_buf *bufs, uint16_t n, const struct dring_table *table,
		  void *token)
{
	uint16_t head;

	if (!n || !token)
		return -EINVAL;
	if (ring->n_free < (table ? 1 : n))
		return -ENOSPC;
	head = table ? add_indirect(ring, bufs, n, table, token) : add_direct(ring, bufs, n, token);
	ring->avail->ring[ring->avail_idx & (ring->size - 1)] = htole16(head);
	ring->avail_idx++;
	return 0;
}

/* 2.7.13: the index after what it counts; 2.7.13.4.1: a full barrier before the look at the device's wish. */
HOT bool dring_publish(struct dring *ring)
{
	uint16_t old = ring->published, event;

	ring->published = ring->avail_idx;
	__atomic_store_n(&ring->avail->idx, htole16(ring->avail_idx), __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring->event_idx)
		return !(le16toh(__atomic_load_n(&ring->used->flags, __ATOMIC_RELAXED)) & VRING_USED_F_NO_NOTIFY);
	event = le16toh(__atomic_load_n(avail_event(ring), __ATOMIC_RELAXED));
	return vring_need_event(event, ring->avail_idx, old);
}

HOT static uint16_t used_idx(const struct dring *ring)
{
	return le16toh(__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE));
}

HOT bool dring_pending(const struct dring *ring)
{
	return used_idx(ring) != ring->last_used;
}

HOT int dring_pop(struct dring *ring, void **ret_token, uint32_t *ret_len, struct error *error)
{
	uint16_t n = (uint16_t)(used_idx(ring) - ring->last_used);
	const struct vring_used_elem *elem;
	uint32_t id;

	if (!n)
		return 0;
	if (n > ring->size - ring->n_free)
		return error_set(error, -EPROTO, "used ring: %u new entries, only %u were asked for", n,
				 ring->size - ring->n_free);
	elem = &ring->used->ring[ring->last_used & (ring->size - 1)];
	id = le32toh(__atomic_load_n(&elem->id, __ATOMIC_RELAXED));
	if (id >= ring->size || !ring->slots[id].token)
		return error_set(error, -EPROTO, "used ring: entry names descriptor %u, which starts no request", id);
	*ret_token = ring->slots[id].token;
	*ret_len = le32toh(__atomic_load_n(&elem->len, __ATOMIC_RELAXED));
	give_chain(ring, (uint16_t)id);
	ring->last_used++;
	return 1;
}

HOT bool dring_arm(struct dring *ring)
{
	if (ring->event_idx)
		__atomic_store_n(used_event(ring), htole16(ring->last_used), __ATOMIC_RELAXED);
	else
		__atomic_store_n(&ring->avail->flags, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return dring_pending(ring);
}

void *dring_detach(struct dring *ring)
{
	for (uint16_t i = 0; i < ring->size; i++) {
		void *token = ring->slots[i].token;

		if (token) {
			give_chain(ring, i);
			return token;
		}
	}
	return NULL;
}
