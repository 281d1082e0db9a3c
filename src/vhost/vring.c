/* SPDX-License-Identifier: Apache-2.0 */
/* See vring.h. Comments name sections of the virtio 1.2 specification. */
#include "vhost/vring.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "util/util.h"

/* 2.7.5 */
struct vq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/* 2.7.6; behind the ring: used_event */
struct vq_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[];
};

/* 2.7.8; behind the ring: avail_event */
struct vq_used {
	uint16_t flags;
	uint16_t idx;
	struct {
		uint32_t id;
		uint32_t len;
	} ring[];
};

/* A head and what its descriptor was when it was found; head num or more: there is no such descriptor. */
struct vq_ahead {
	uint16_t head;
	struct vq_desc desc;
};

#define DESC_F_NEXT	     1u
#define DESC_F_WRITE	     2u
#define DESC_F_INDIRECT	     4u
#define USED_F_NO_NOTIFY     1u
#define AVAIL_F_NO_INTERRUPT 1u

/* One read or write of memory that the guest shares. */
#define LOAD(field)	    __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

static int check_setup(const struct vq_setup *s, struct error *error)
{
	if (s->num == 0 || s->num > VRING_MAX_NUM || (s->num & (s->num - 1)))
		return error_set(error, -EINVAL, "ring size %u is not a power of two up to %d", s->num, VRING_MAX_NUM);
	if (s->desc % 16 || s->avail % 2 || s->used % 4)
		return error_set(error, -EINVAL,
				 "ring addresses %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 " are not aligned", s->desc,
				 s->avail, s->used);
	return 0;
}

static int map_part(const struct vhost_memory *memory, uint64_t uva, uint64_t len, const char *what, uintptr_t align,
		    void *ret_pp, struct error *error)
{
	void *data = vhost_memory_user(memory, uva, len);

	if (!data)
		return error_set(error, -EFAULT, "%s at %#" PRIx64 " is not in one region of shared memory", what, uva);
	/* A region's user address may be aligned otherwise than its mapping here. */
	if ((uintptr_t)data % align)
		return error_set(error, -EINVAL, "%s at %#" PRIx64 " is not aligned", what, uva);
	memcpy(ret_pp, &data, sizeof(data));
	return 0;
}

static int map_ring(struct vq *v, const struct vq_setup *s, struct error *error)
{
	int r = map_part(v->memory, s->desc, 16ul * s->num, "descriptor table", 16, &v->desc, error);

	if (r == 0)
		r = map_part(v->memory, s->avail, 6ul + 2ul * s->num, "available ring", 2, &v->avail, error);
	if (r == 0)
		r = map_part(v->memory, s->used, 6ul + 8ul * s->num, "used ring", 4, &v->used, error);
	return r;
}

/*
 * Whether n heads in the journal can have been offered in this ring: a driver that starts over has offered fewer. A
 * front-end that goes on after its back-end died knows only the used index; one that stopped in order knows more.
 */
static bool leftovers_fit(const struct vq *v, const struct vq_setup *setup, int n)
{
	uint16_t offered = (uint16_t)(le16toh(LOAD(v->avail->idx)) - v->used_idx);

	return (setup->base == v->used_idx || setup->base == (uint16_t)(v->used_idx + n)) && offered >= n &&
	       offered <= v->num;
}

int vq_init(struct vq *v, const struct vhost_memory *memory, const struct vq_setup *setup,
	    struct inflight_region *journal, struct inflight_entry *entries, struct error *error)
{
	int r = check_setup(setup, error);
	int n;

	*v = (struct vq){ .memory = memory, .num = setup->num };
	if (r == 0)
		r = map_ring(v, setup, error);
	if (r < 0)
		return r;
	/* QEMU's front-end for crypto devices does not pass on what its guest negotiated, not even this, which all do. */
	v->untold = !(setup->features & VHOST_BIT(VHOST_F_VERSION_1));
	v->event_idx = setup->features & VHOST_BIT(VHOST_F_EVENT_IDX);
	v->indirect = v->untold || (setup->features & VHOST_BIT(VHOST_F_INDIRECT_DESC));
	v->used_idx = le16toh(LOAD(v->used->idx));
	n = inflight_open(&v->inflight, journal, v->num, v->used_idx, setup->counter, entries, error);
	if (n < 0)
		return n;
	if (n > 0 && !setup->recover && !leftovers_fit(v, setup, n)) {
		inflight_forget(&v->inflight);
		n = 0;
	}
	/* Heads leave the available ring in order, so what was taken is what was given back and what is in flight. */
	v->last_avail = setup->recover || n > 0 ? (uint16_t)(v->used_idx + n) : setup->base;
	v->pieces = calloc(VRING_MAX_PIECES, sizeof(v->pieces[0]));
	v->table = calloc(VRING_MAX_CHAIN, sizeof(v->table[0]));
	v->busy = calloc(v->num, 1);
	v->ahead = calloc(VRING_AHEAD, sizeof(v->ahead[0]));
	if (!v->pieces || !v->table || !v->busy || !v->ahead) {
		free(v->pieces);
		free(v->table);
		free(v->ahead);
		free(v->busy);
		*v = (struct vq){ .num = 0 };
		return error_set(error, -ENOMEM, "no memory for a ring of %u", setup->num);
	}
	for (int i = 0; i < n; i++)
		v->busy[entries[i].head] = 1;
	v->n_busy = (uint32_t)n;
	pthread_mutex_init(&v->push_lock, NULL);
	return n;
}

void vq_fini(struct vq *v)
{
	if (!v->busy)
		return;
	pthread_mutex_destroy(&v->push_lock);
	free(v->pieces);
	free(v->table);
	free(v->ahead);
	free(v->busy);
	v->busy = NULL;
}

/* The descriptors of a chain come either from the ring's table or from the private copy of an indirect one. */
struct source {
	struct vq_desc *table;
	uint32_t num;
	bool indirect;
};

/* Reads a descriptor once. Each field is whole, and a change between fields harms only who makes it. */
HOT static struct vq_desc read_desc(const struct source *source, uint32_t index)
{
	struct vq_desc *d = &source->table[index];

	return (struct vq_desc){
		.addr = le64toh(LOAD(d->addr)),
		.len = le32toh(LOAD(d->len)),
		.flags = le16toh(LOAD(d->flags)),
		.next = le16toh(LOAD(d->next)),
	};
}

/* 2.7.5.3: copies an indirect table into private memory. */
HOT static int enter_indirect(struct vq *v, const struct vq_desc *d, struct source *source, struct error *error)
{
	if (!v->indirect)
		return error_set(error, -EINVAL, "indirect descriptor, which was not negotiated");
	if (source->indirect)
		return error_set(error, -EINVAL, "indirect descriptor inside an indirect table");
	if (d->flags & DESC_F_NEXT)
		return error_set(error, -EINVAL, "indirect descriptor with a next one");
	if (d->len == 0 || d->len % sizeof(*d) || d->len / sizeof(*d) > VRING_MAX_CHAIN)
		return error_set(error, -EINVAL, "indirect table of %u bytes", d->len);
	*source = (struct source){ .table = v->table, .num = (uint32_t)(d->len / sizeof(*d)), .indirect = true };
	return vhost_memory_read(v->memory, d->addr, v->table, d->len, error);
}

HOT static int add_pieces(struct vq *v, const struct vq_desc *d, struct vq_chain *chain, size_t *n_pieces,
			  struct error *error)
{
	size_t before = *n_pieces;
	int r;

	if (!(d->flags & DESC_F_WRITE) && chain->n_writable > 0)
		return error_set(error, -EINVAL, "readable descriptor after a writable one");
	r = vhost_memory_iov(v->memory, d->addr, d->len, v->pieces, VRING_MAX_PIECES, n_pieces, error);
	if (r < 0)
		return r;
	if (d->flags & DESC_F_WRITE) {
		chain->n_writable += *n_pieces - before;
		chain->writable_len += d->len;
	} else {
		chain->n_readable += *n_pieces - before;
		chain->readable_len += d->len;
	}
	return 0;
}

/*
 * Walks the chain from head, whose descriptor has been read. Bounded by the number of descriptors there are, so a loop ends as
 * an error.
 */
HOT static int walk_chain(struct vq *v, uint16_t head, const struct vq_desc *first, struct vq_chain *chain,
			  struct error *error)
{
	struct source source = { .table = v->desc, .num = v->num };
	uint32_t index = head, seen = 0;
	struct vq_desc d = *first;
	size_t n_pieces = 0;

	*chain = (struct vq_chain){ .head = head, .readable = v->pieces };
	for (;;) {
		int r;

		if (++seen > source.num)
			return error_set(error, -ELOOP, "chain of more than %u descriptors", source.num);
		if (d.flags & DESC_F_INDIRECT) {
			r = enter_indirect(v, &d, &source, error);
			if (r < 0)
				return r;
			index = 0;
			seen = 0;
			d = read_desc(&source, index);
			continue;
		}
		r = add_pieces(v, &d, chain, &n_pieces, error);
		if (r < 0)
			return r;
		if (!(d.flags & DESC_F_NEXT))
			break;
		if (d.next >= source.num)
			return error_set(error, -EINVAL, "next descriptor %u of %u", d.next, source.num);
		index = d.next;
		d = read_desc(&source, index);
	}
	chain->writable = v->pieces + chain->n_readable;
	return 0;
}

/* A head that is being pushed right now is free once the pusher has left the lock. */
HOT static bool head_is_busy(struct vq *v, uint16_t head)
{
	bool busy = __atomic_load_n(&v->busy[head], __ATOMIC_ACQUIRE);

	if (busy) {
		pthread_mutex_lock(&v->push_lock);
		busy = v->busy[head];
		pthread_mutex_unlock(&v->push_lock);
	}
	return busy;
}

/* ---- looking ahead ---- */

/*
 * What a driver writes lies in the caches of its processor, and the lines of its index, of the ring and of the descriptors are written
 * again with each chain that it adds. So several heads are copied at once, with their descriptors, and the chains that they
 * begin are fetched while the operations before them run: the table of the one after the next, message and answer of the next.
 * Prefetches are hints: nothing is believed of what they go by, addresses are translated as always.
 */
#define AHEAD_LINES 6 /* of a message: header, five arguments, parameters */
#define LINE	    64

static struct vq_ahead *ahead_at(const struct vq *v, uint16_t n)
{
	return &v->ahead[(uint16_t)(v->last_avail + n) % VRING_AHEAD];
}

/* How many chains are known, after a look for more if there are none; negative: the ring is broken. */
HOT static int count_ahead(struct vq *v, struct error *error)
{
	const struct source source = { .table = v->desc, .num = v->num };
	uint16_t idx, waiting;

	if (v->n_ahead)
		return v->n_ahead;
	idx = le16toh(__atomic_load_n(&v->avail->idx, __ATOMIC_ACQUIRE));
	waiting = (uint16_t)(idx - v->last_avail);
	if (waiting > v->num)
		return error_set(error, -EINVAL, "available index %u is %u ahead in a ring of %u", idx, waiting,
				 v->num);
	waiting = MIN(waiting, VRING_AHEAD);
	for (uint16_t i = 0; i < waiting; i++) {
		struct vq_ahead *ahead = ahead_at(v, i);

		ahead->head = le16toh(LOAD(v->avail->ring[(v->last_avail + i) & (v->num - 1)]));
		if (ahead->head < v->num)
			ahead->desc = read_desc(&source, ahead->head);
	}
	__atomic_store_n(&v->n_ahead, waiting, __ATOMIC_RELAXED);
	return waiting;
}

HOT static void fetch_data(const struct vq *v, const struct vq_desc *desc)
{
	uint64_t len = 0;
	const char *data = vhost_memory_at(v->memory, desc->addr, desc->len, &len);

	if (!data)
		return;
	if (desc->flags & DESC_F_WRITE) {
		__builtin_prefetch(data, 1);
		return;
	}
	for (uint64_t i = 0; i < MIN(len, AHEAD_LINES * LINE); i += LINE)
		__builtin_prefetch(data + i);
}

/* The first two of an indirect chain, message and answer, or the first of another. */
HOT static void fetch_chain(const struct vq *v, const struct vq_desc *desc)
{
	struct source source = { .num = 2, .indirect = true };
	uint64_t len = 0;

	if (!(desc->flags & DESC_F_INDIRECT)) {
		fetch_data(v, desc);
		return;
	}
	source.table = vhost_memory_at(v->memory, desc->addr, 2 * sizeof(*desc), &len);
	if (!source.table || len < 2 * sizeof(*desc) || (uintptr_t)source.table % _Alignof(struct vq_desc))
		return;
	for (uint32_t i = 0; i < source.num; i++) {
		struct vq_desc entry = read_desc(&source, i);

		fetch_data(v, &entry);
	}
}

HOT static void look_ahead(const struct vq *v)
{
	if (v->n_ahead > 0 && ahead_at(v, 0)->head < v->num)
		fetch_chain(v, &ahead_at(v, 0)->desc);
	if (v->n_ahead > 1 && ahead_at(v, 1)->head < v->num)
		fetch_data(v, &ahead_at(v, 1)->desc);
}

HOT int vq_pop(struct vq *v, struct vq_chain *ret_chain, struct error *error)
{
	int r = count_ahead(v, error);
	struct vq_desc desc;
	uint16_t head;

	if (r <= 0)
		return r;
	head = ahead_at(v, 0)->head;
	desc = ahead_at(v, 0)->desc;
	if (head >= v->num)
		return error_set(error, -EINVAL, "available descriptor %u in a ring of %u", head, v->num);
	if (head_is_busy(v, head))
		return error_set(error, -EINVAL, "descriptor %u was made available while it is in use", head);
	r = walk_chain(v, head, &desc, ret_chain, error);
	if (r < 0) {
		error_prefix(error, "descriptor chain %u", head);
		return r;
	}
	v->busy[head] = 1;
	__atomic_fetch_add(&v->n_busy, 1, __ATOMIC_RELAXED);
	v->last_avail++;
	__atomic_store_n(&v->n_ahead, v->n_ahead - 1, __ATOMIC_RELAXED);
	look_ahead(v);
	return 1;
}

HOT bool vq_available(const struct vq *v)
{
	return LOAD(v->n_ahead) || le16toh(LOAD(v->avail->idx)) != v->last_avail;
}

HOT uint64_t vq_next_counter(const struct vq *v)
{
	return v->inflight.counter;
}

HOT void vq_take(struct vq *v, uint16_t head)
{
	inflight_take(&v->inflight, head);
}

int vq_refetch(struct vq *v, const struct inflight_entry *entry, struct vq_chain *ret_chain, struct error *error)
{
	const struct source source = { .table = v->desc, .num = v->num };
	const struct vq_desc first = read_desc(&source, entry->head);
	int r = walk_chain(v, entry->head, &first, ret_chain, error);

	ret_chain->head = entry->head;
	ret_chain->counter = entry->counter;
	if (r < 0)
		error_prefix(error, "descriptor chain %u", entry->head);
	return r;
}

HOT void vq_push(struct vq *v, uint16_t head, uint32_t len)
{
	pthread_mutex_lock(&v->push_lock);
	STORE(v->used->ring[v->used_idx & (v->num - 1)].id, htole32(head));
	STORE(v->used->ring[v->used_idx & (v->num - 1)].len, htole32(len));
	v->used_idx++;
	inflight_give_begin(&v->inflight, head);
	/* 2.7.8.2: the element and all that was written to the chain before the index. */
	__atomic_store_n(&v->used->idx, htole16(v->used_idx), __ATOMIC_RELEASE);
	inflight_give_end(&v->inflight, head, v->used_idx);
	__atomic_store_n(&v->busy[head], 0, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&v->n_busy, 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&v->push_lock);
}

/* 2.7.10: whether event lies in (old, new], counted modulo 2^16. */
HOT static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

HOT bool vq_wants_signal(struct vq *v)
{
	uint16_t old, new, event;
	bool valid, wants;

	/* The index is visible before the guest's wish is read. */
	atomic_thread_fence(memory_order_seq_cst);
	pthread_mutex_lock(&v->push_lock);
	old = v->signalled;
	new = v->used_idx;
	valid = v->signalled_valid;
	if (!v->event_idx) {
		/* A driver that uses events leaves the flag alone: it is signalled too often. */
		wants = (!valid || new != old) && !(le16toh(LOAD(v->avail->flags)) & AVAIL_F_NO_INTERRUPT);
	} else {
		event = le16toh(LOAD(v->avail->ring[v->num]));
		wants = !valid || passed(event, new, old);
	}
	v->signalled = new;
	v->signalled_valid = true;
	pthread_mutex_unlock(&v->push_lock);
	return wants;
}

static uint16_t *avail_event(struct vq *v)
{
	return (uint16_t *)(void *)&v->used->ring[v->num];
}

HOT void vq_disable_kicks(struct vq *v)
{
	/* With event index the event simply stays behind. */
	if (!v->event_idx)
		STORE(v->used->flags, htole16(USED_F_NO_NOTIFY));
}

HOT bool vq_enable_kicks(struct vq *v)
{
	if (v->event_idx || v->untold)
		STORE(*avail_event(v), htole16(v->last_avail));
	if (!v->event_idx)
		STORE(v->used->flags, 0);
	/* The wish is visible before the index is looked at again. */
	atomic_thread_fence(memory_order_seq_cst);
	return le16toh(LOAD(v->avail->idx)) != v->last_avail;
}

HOT uint32_t vq_n_busy(const struct vq *v)
{
	return __atomic_load_n(&v->n_busy, __ATOMIC_ACQUIRE);
}
