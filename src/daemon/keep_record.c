/* SPDX-License-Identifier: Apache-2.0 */
/* See keep_record.h. Filling and applying walk the descriptors in the same order. */
#include "daemon/keep_record.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/listener.h"
#include "daemon/supervisor.h"
#include "util/util.h"
#include "vhost/inflight.h"
#include "vhost/vring.h"

/* ---- filling ---- */

struct fd_list {
	int *fds;
	int n;
	bool full;
};

/* Returns flag if there is such a descriptor. */
static uint32_t add_fd(struct fd_list *list, int fd, uint32_t flag)
{
	if (fd < 0)
		return 0;
	if (list->n == KEEP_MAX_FDS)
		list->full = true;
	else
		list->fds[list->n++] = fd;
	return flag;
}

static void fill_ring(const struct vhost_ring *from, const struct mirror_ring *mirror, struct keep_ring *to,
		      struct fd_list *list)
{
	*to = (struct keep_ring){
		.desc = from->desc, .avail = from->avail, .used = from->used, .num = from->num, .base = from->base
	};
	to->flags = (from->have_addr ? KEEP_RING_ADDR : 0) | (from->enabled ? KEEP_RING_ENABLED : 0) |
		    (from->fresh ? KEEP_RING_FRESH : 0) | (mirror->dirty ? KEEP_RING_DIRTY : 0) |
		    (mirror->broken ? KEEP_RING_BROKEN : 0);
	to->flags |= add_fd(list, from->kick, KEEP_RING_KICK);
	to->flags |= add_fd(list, from->call, KEEP_RING_CALL);
	to->flags |= add_fd(list, from->err, KEEP_RING_ERR);
	to->flags |= add_fd(list, mirror->ledger_fd, KEEP_RING_LEDGER);
}

/* The same device, and told front-ends the same. */
static bool same_device(const struct supervisor *s, const struct keep_record *record)
{
	const struct device *device = s->options->device;
	_Alignas(8) uint8_t config[DEVICE_MAX_CONFIG] = { 0 };

	device->fill_config(s->config, config);
	return record->virtio_id == device->virtio_id && record->config_len == device->config_len &&
	       !(record->device_features & ~s->device.features) && memcmp(record->config, config, sizeof(config)) == 0;
}

/* The message that is not answered and taken out yet, if there is one. */
static void fill_message(const struct connection *c, struct keep_record *record, struct fd_list *list)
{
	const struct vhost_msg *reply = &c->step.reply;

	/* With a key in it: as if it had not come. The next supervisor reads it again. */
	if (!c->keep.pending || session_is_secret(c))
		return;
	record->flags |= KEEP_BUSY | (c->step.has_reply ? KEEP_HAS_REPLY : 0) |
			 (c->step.wants_base ? KEEP_WANTS_BASE : 0) | (c->session.due ? KEEP_CLOSES : 0);
	record->session_id = c->session.due ? c->step.session_id : 0;
	record->pending = c->keep.pending;
	record->index = c->step.index;
	if (!c->step.has_reply)
		return;
	record->reply = reply->header;
	memcpy(record->payload, reply->payload.bytes, MIN(reply->header.size, sizeof(record->payload)));
	record->flags |= add_fd(list, reply->n_fds ? reply->fds[0] : -1, KEEP_REPLY_FD);
}

int keep_record_fill(struct supervisor *s, const struct connection *c, struct keep_record *record, int *fds)
{
	struct fd_list list = { .fds = fds };

	memset(record, 0, sizeof(*record));
	record->magic = KEEP_MAGIC;
	record->version = KEEP_VERSION;
	record->size = sizeof(*record);
	record->nonce = s->keep.nonce;
	record->generation = c->keep.generation;
	record->id = c->id;
	record->device_features = s->device.features;
	record->virtio_id = s->options->device->virtio_id;
	record->config_len = (uint32_t)s->options->device->config_len;
	s->options->device->fill_config(s->config, record->config);
	record->flags = (c->greeted ? KEEP_GREETED : 0) | (c->reset_wanted || c->reset_seq ? KEEP_RESET_WANTED : 0);
	record->n_sessions = c->session.n_asked;
	record->status = c->server.status;
	record->features = c->server.features;
	record->protocol_features = c->server.protocol_features;
	record->inflight = c->server.inflight;
	add_fd(&list, c->fd, 0);
	add_fd(&list, c->keep.page_fd, 0);
	record->flags |= add_fd(&list, c->server.backend_fd, KEEP_BACKEND);
	record->flags |= add_fd(&list, c->server.inflight_fd, KEEP_JOURNAL);
	fill_message(c, record, &list);
	record->n_regions = (uint32_t)c->server.regions.n;
	for (uint32_t i = 0; i < record->n_regions; i++) {
		record->regions[i] = c->server.regions.rows[i].region;
		add_fd(&list, c->server.regions.rows[i].fd, 0);
	}
	record->n_rings = s->device.n_queues;
	for (uint32_t i = 0; i < record->n_rings; i++)
		fill_ring(&c->server.rings[i], &c->rings[i], &record->rings[i], &list);
	record->n_fds = (uint32_t)list.n;
	return list.full ? -E2BIG : list.n;
}

/* ---- checking ---- */

static uint32_t count_fds(const struct keep_record *record)
{
	const uint32_t own = KEEP_BACKEND | KEEP_JOURNAL | KEEP_REPLY_FD;
	const uint32_t of_ring = KEEP_RING_KICK | KEEP_RING_CALL | KEEP_RING_ERR | KEEP_RING_LEDGER;
	uint32_t n = 2 + (uint32_t)__builtin_popcount(record->flags & own) + record->n_regions;

	for (uint32_t i = 0; i < record->n_rings; i++)
		n += (uint32_t)__builtin_popcount(record->rings[i].flags & of_ring);
	return n;
}

static int check_ring(const struct keep_ring *ring, uint32_t index, struct error *error)
{
	if (ring->num > VRING_MAX_NUM || (ring->num & (ring->num - 1)))
		return error_set(error, -EBADMSG, "ring %u: size %u", index, ring->num);
	if (ring->desc % 16 || ring->avail % 2 || ring->used % 4)
		return error_set(error, -EBADMSG, "ring %u: its addresses are not aligned", index);
	return 0;
}

int keep_record_check(const struct supervisor *s, const struct keep_record *record, size_t len, struct error *error)
{
	int r = 0;

	if (len < offsetof(struct keep_record, nonce) || record->magic != KEEP_MAGIC || record->size != len)
		return error_set(error, -EPROTO, "%zu bytes are no record of a connection", len);
	if (record->version != KEEP_VERSION || len != sizeof(*record))
		return error_set(error, -EPROTO, "its records have version %u (%zu bytes), this one's %u (%zu)",
				 record->version, len, KEEP_VERSION, sizeof(*record));
	if (!same_device(s, record))
		return error_set(error, -EPROTO,
				 "it was another device, or had told front-ends other limits, queues or features");
	if (record->id < 1 || record->id > s->n_slots || record->n_rings != s->device.n_queues ||
	    record->n_regions > VHOST_MAX_REGIONS || record->n_fds != count_fds(record) ||
	    record->features & ~s->device.features ||
	    record->protocol_features & ~vhost_device_protocol_features(&s->device) ||
	    record->index >= VHOST_MAX_QUEUES || record->reply.size > sizeof(record->payload) ||
	    record->status > UINT8_MAX || record->pending > sizeof(struct vhost_header) + VHOST_MAX_PAYLOAD ||
	    !(record->flags & KEEP_BUSY) != !record->pending ||
	    (!record->pending && record->flags & (KEEP_HAS_REPLY | KEEP_WANTS_BASE | KEEP_REPLY_FD | KEEP_CLOSES)))
		return error_set(error, -EBADMSG, "its record contradicts itself");
	for (uint32_t i = 0; r == 0 && i < record->n_rings; i++)
		r = check_ring(&record->rings[i], i, error);
	return r;
}

/* ---- applying ---- */

/* A memory file of at least so many bytes, which will not become shorter. */
static int check_memory(int fd, uint64_t bytes, const char *what, struct error *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size < bytes)
		return error_set(error, -EBADF, "its %s is too short, or no memory file", what);
	return 0;
}

static int take(int **fds)
{
	int fd = **fds;

	*(*fds)++ = -1;
	return fd;
}

static int apply_own(struct connection *c, const struct keep_record *record, int **fds, struct error *error)
{
	const struct vhost_inflight *inflight = &record->inflight;
	int r;

	c->fd = take(fds);
	if (listener_kind(c->fd) != 0)
		return error_set(error, -ENOTSOCK, "its first descriptor is not a connected Unix stream socket");
	c->keep.page_fd = take(fds);
	r = check_memory(c->keep.page_fd, sizeof(struct keep_page), "page", error);
	if (r < 0)
		return r;
	c->keep.page = mmap(NULL, sizeof(struct keep_page), PROT_READ | PROT_WRITE, MAP_SHARED, c->keep.page_fd, 0);
	if (c->keep.page == MAP_FAILED) {
		c->keep.page = NULL;
		return error_set(error, -errno, "its page cannot be mapped: %s", strerror(errno));
	}
	if (record->flags & KEEP_BACKEND)
		c->server.backend_fd = take(fds);
	if (!(record->flags & KEEP_JOURNAL))
		return 0;
	c->server.inflight_fd = take(fds);
	c->server.inflight = *inflight;
	if (inflight->n_queues > record->n_rings || inflight->queue_size > VRING_MAX_NUM ||
	    inflight->mmap_offset % 4096 || inflight->mmap_offset > INT64_MAX)
		return error_set(error, -EBADMSG, "its journal contradicts itself");
	return check_memory(c->server.inflight_fd,
			    inflight->mmap_offset + (uint64_t)inflight->n_queues * inflight_size(inflight->queue_size),
			    "journal", error);
}

static void apply_message(struct connection *c, const struct keep_record *record, int **fds)
{
	c->keep.pending = record->pending;
	c->busy = record->flags & KEEP_BUSY;
	c->step.index = record->index;
	c->step.has_reply = record->flags & KEEP_HAS_REPLY;
	c->step.wants_base = record->flags & KEEP_WANTS_BASE;
	if (record->flags & KEEP_CLOSES) {
		c->step.effects = VHOST_EFFECT_CLOSE;
		c->step.session_id = record->session_id;
		c->session.due = c->session.again = true;
	}
	c->step.reply.header = record->reply;
	memcpy(c->step.reply.payload.bytes, record->payload, record->reply.size);
	if (record->flags & KEEP_REPLY_FD)
		c->step.reply.fds[c->step.reply.n_fds++] = take(fds);
}

static int apply_ring(const struct keep_ring *from, struct vhost_ring *to, struct mirror_ring *mirror, int **fds,
		      struct error *error)
{
	to->desc = from->desc;
	to->avail = from->avail;
	to->used = from->used;
	to->num = from->num;
	to->base = from->base;
	to->have_addr = from->flags & KEEP_RING_ADDR;
	to->enabled = from->flags & KEEP_RING_ENABLED;
	to->fresh = from->flags & KEEP_RING_FRESH;
	mirror->dirty = from->flags & KEEP_RING_DIRTY;
	mirror->broken = from->flags & KEEP_RING_BROKEN;
	if (from->flags & KEEP_RING_KICK)
		to->kick = take(fds);
	if (from->flags & KEEP_RING_CALL)
		to->call = take(fds);
	if (from->flags & KEEP_RING_ERR)
		to->err = take(fds);
	if (from->flags & KEEP_RING_LEDGER)
		mirror->ledger_fd = take(fds);
	return mirror->ledger_fd < 0 ? 0 : check_memory(mirror->ledger_fd, LEDGER_BYTES, "ledger", error);
}

int keep_record_apply(struct supervisor *s, struct connection *c, const struct keep_record *record, int *fds,
		      struct error *error)
{
	int r;

	c->greeted = record->flags & KEEP_GREETED;
	c->reset_wanted = record->flags & KEEP_RESET_WANTED;
	c->session.n_asked = record->n_sessions;
	c->keep.generation = record->generation;
	c->server.status = (uint8_t)record->status;
	c->server.features = record->features;
	c->server.protocol_features = record->protocol_features;
	r = apply_own(c, record, &fds, error);
	if (r == 0)
		apply_message(c, record, &fds);
	for (uint32_t i = 0; r == 0 && i < record->n_regions; i++, fds++) {
		r = vhost_regions_add(&c->server.regions, &record->regions[i], *fds, error);
		if (r == 0)
			*fds = -1;
	}
	for (uint32_t i = 0; r == 0 && i < record->n_rings; i++)
		r = apply_ring(&record->rings[i], &c->server.rings[i], &c->rings[i], &fds, error);
	return r;
}
