/* SPDX-License-Identifier: Apache-2.0 */
/* See server.h. One row of requests[] per message; handlers see a payload whose size and descriptors were checked. */
#include "vhost/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util/util.h"
#include "vhost/inflight.h"
#include "vhost/vring.h"

void vhost_server_init(struct vhost_server *server, const struct vhost_device *device)
{
	*server = (struct vhost_server){ .device = device, .backend_fd = -1, .inflight_fd = -1 };
	for (size_t i = 0; i < VHOST_MAX_QUEUES; i++)
		server->rings[i] = (struct vhost_ring){ .kick = -1, .call = -1, .err = -1, .fresh = true };
}

/* Puts a descriptor (or none, -1) in the place of another. */
static void replace_fd(int *place, int fd)
{
	if (*place >= 0)
		close(*place);
	*place = fd;
}

void vhost_server_fini(struct vhost_server *server)
{
	vhost_regions_clear(&server->regions);
	for (size_t i = 0; i < VHOST_MAX_QUEUES; i++) {
		replace_fd(&server->rings[i].kick, -1);
		replace_fd(&server->rings[i].call, -1);
		replace_fd(&server->rings[i].err, -1);
	}
	replace_fd(&server->backend_fd, -1);
	replace_fd(&server->inflight_fd, -1);
}

bool vhost_server_has(const struct vhost_server *server, enum vhost_protocol_feature feature)
{
	return server->protocol_features & VHOST_BIT(feature);
}

uint64_t vhost_device_protocol_features(const struct vhost_device *device)
{
	return VHOST_SERVER_PROTOCOL_FEATURES | (device->crypto ? VHOST_BIT(VHOST_PF_CRYPTO_SESSION) : 0);
}

bool vhost_ring_active(const struct vhost_server *server, uint32_t index)
{
	const struct vhost_ring *ring = &server->rings[index];
	/* Without PROTOCOL_FEATURES there is no SET_VRING_ENABLE: a started ring is enabled. */
	bool enabled = ring->enabled || !(server->features & VHOST_BIT(VHOST_F_PROTOCOL_FEATURES));

	return enabled && ring->kick >= 0 && ring->have_addr && ring->num > 0 && server->regions.n > 0;
}

static bool any_active(const struct vhost_server *server)
{
	for (uint32_t i = 0; i < server->device->n_queues; i++)
		if (vhost_ring_active(server, i))
			return true;
	return false;
}

static void set_reply(struct vhost_step *step, uint32_t request, uint32_t size)
{
	vhost_msg_init(&step->reply, request, size);
	step->reply.header.flags |= VHOST_FLAG_REPLY;
	step->has_reply = true;
}

static void reply_u64(struct vhost_step *step, uint32_t request, uint64_t value)
{
	set_reply(step, request, sizeof(uint64_t));
	step->reply.payload.u64 = value;
}

static int check_index(const struct vhost_server *s, uint64_t index, struct error *error)
{
	if (index < s->device->n_queues)
		return 0;
	return error_set(error, -EINVAL, "ring %" PRIu64 " of %u", index, s->device->n_queues);
}

/* ---- features and status ---- */

static int get_features(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	reply_u64(step, msg->header.request, s->device->features);
	return 0;
}

static int set_features(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint64_t features = msg->payload.u64;

	if (features & ~s->device->features)
		return error_set(error, -EINVAL, "features %#" PRIx64 " were not offered",
				 features & ~s->device->features);
	if (features != s->features && any_active(s))
		return error_set(error, -EBUSY, "features change while rings run");
	s->features = features;
	return 0;
}

static int get_protocol(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	reply_u64(step, msg->header.request, vhost_device_protocol_features(s->device));
	return 0;
}

static int set_protocol(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint64_t unknown = msg->payload.u64 & ~vhost_device_protocol_features(s->device);

	if (unknown)
		return error_set(error, -EINVAL, "protocol features %#" PRIx64 " were not offered", unknown);
	s->protocol_features = msg->payload.u64;
	return 0;
}

static int get_queue_num(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	reply_u64(step, msg->header.request, s->device->n_queues);
	return 0;
}

static int accept_quietly(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	return 0;
}

static void stop_all(struct vhost_server *s)
{
	for (size_t i = 0; i < s->device->n_queues; i++) {
		replace_fd(&s->rings[i].kick, -1);
		s->rings[i].enabled = false;
	}
}

/* Deprecated; the specification recommends to disable the rings and keep everything else. */
static int reset_owner(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	stop_all(s);
	return 0;
}

static int reset_device(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	stop_all(s);
	for (size_t i = 0; i < s->device->n_queues; i++) {
		s->rings[i].base = 0;
		s->rings[i].fresh = true;
	}
	s->status = 0;
	step->effects |= VHOST_EFFECT_RESET;
	return 0;
}

/*
 * Status 0 alone does not discard what the driver created: QEMU also sends it when a VM is only paused. Whether the
 * driver is a new one shows in set_base().
 */
static int set_status(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	s->status = (uint8_t)msg->payload.u64;
	return 0;
}

static int get_status(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	reply_u64(step, msg->header.request, s->status);
	return 0;
}

static int set_backend_fd(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	replace_fd(&s->backend_fd, vhost_msg_take_fd(msg, 0));
	return 0;
}

/* ---- configuration space ---- */

static int get_config(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	const struct vhost_config *asked = (const void *)msg->payload.bytes;
	uint32_t offset = asked->offset, size = asked->size, flags = asked->flags;
	struct vhost_config *reply = (void *)step->reply.payload.bytes;

	if (size > VHOST_MAX_CONFIG) {
		set_reply(step, msg->header.request, 0); /* how this message is refused */
		return 0;
	}
	set_reply(step, msg->header.request, (uint32_t)sizeof(*reply) + size);
	reply->offset = offset;
	reply->size = size;
	reply->flags = flags;
	if (offset < s->device->config_len)
		memcpy(reply->data, (const char *)s->device->config + offset,
		       MIN(size, s->device->config_len - offset));
	return 0;
}

static int set_config(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	return error_set(error, -EPERM, "the configuration space is read-only");
}

/* ---- memory ---- */

static int set_mem_table(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	const struct vhost_mem_table *table = &msg->payload.table;
	struct vhost_regions regions = { .n = 0 };

	if (table->n_regions == 0 || table->n_regions > VHOST_MAX_TABLE || table->n_regions != msg->n_fds ||
	    msg->header.size < offsetof(struct vhost_mem_table, regions[table->n_regions]))
		return error_set(error, -EINVAL, "%u regions with %zu descriptors in %u bytes", table->n_regions,
				 msg->n_fds, msg->header.size);
	for (uint32_t i = 0; i < table->n_regions; i++) {
		int r = vhost_regions_add(&regions, &table->regions[i], msg->fds[i], error);

		if (r < 0) {
			vhost_regions_clear(&regions);
			return r;
		}
		vhost_msg_take_fd(msg, i);
	}
	vhost_regions_clear(&s->regions);
	s->regions = regions;
	step->effects |= VHOST_EFFECT_MEM_REPLACED;
	return 0;
}

static int get_slots(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	reply_u64(step, msg->header.request, VHOST_MAX_REGIONS);
	return 0;
}

static int add_region(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	const struct vhost_region *region = &msg->payload.mem_reg.region;
	int r = msg->n_fds == 1 ? 0 : error_set(error, -EINVAL, "%zu descriptors with a region", msg->n_fds);

	if (r == 0)
		r = vhost_regions_add(&s->regions, region, msg->fds[0], error);
	if (r < 0)
		return r;
	vhost_msg_take_fd(msg, 0);
	step->region = *region;
	step->effects |= VHOST_EFFECT_MEM_ADDED;
	return 0;
}

static int remove_region(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	int r = vhost_regions_remove(&s->regions, &msg->payload.mem_reg.region, error);

	if (r == 0)
		step->effects |= VHOST_EFFECT_MEM_REPLACED;
	return r;
}

/* ---- rings ---- */

static int set_num(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint32_t index = msg->payload.state.index, num = msg->payload.state.num;
	int r = check_index(s, index, error);

	if (r < 0)
		return r;
	if (num == 0 || num > VRING_MAX_NUM || (num & (num - 1)))
		return error_set(error, -EINVAL, "ring %u: size %u is not a power of two up to %d", index, num,
				 VRING_MAX_NUM);
	if (vhost_ring_active(s, index))
		return error_set(error, -EBUSY, "ring %u: its size cannot change while it runs", index);
	if (s->rings[index].num != num)
		s->rings[index].fresh = true;
	s->rings[index].num = (uint16_t)num;
	return 0;
}

static int set_addr(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	const struct vhost_vring_addr *addr = &msg->payload.addr;
	struct vhost_ring *ring;
	int r = check_index(s, addr->index, error);

	if (r < 0)
		return r;
	if (addr->flags & VHOST_VRING_F_LOG)
		return error_set(error, -EINVAL, "ring %u: logging was not offered", addr->index);
	if (addr->desc % 16 || addr->avail % 2 || addr->used % 4)
		return error_set(error, -EINVAL, "ring %u: its addresses are not aligned", addr->index);
	ring = &s->rings[addr->index];
	ring->desc = addr->desc;
	ring->avail = addr->avail;
	ring->used = addr->used;
	ring->have_addr = true;
	step->index = addr->index;
	step->effects |= VHOST_EFFECT_RESTART;
	return 0;
}

/*
 * A base other than the one where the ring stopped: a driver starts over. What its predecessor created is of no use to
 * anybody any more. (Front-ends do not reliably report a reset of the device; this they have to send.)
 */
static int set_base(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint32_t index = msg->payload.state.index, num = msg->payload.state.num;
	int r = check_index(s, index, error);

	if (r < 0)
		return r;
	if (num > UINT16_MAX)
		return error_set(error, -EINVAL, "ring %u: base %u", index, num);
	if (vhost_ring_active(s, index))
		return error_set(error, -EBUSY, "ring %u: its base cannot change while it runs", index);
	if (s->rings[index].base != num && !any_active(s))
		step->effects |= VHOST_EFFECT_RESET;
	s->rings[index].base = (uint16_t)num;
	s->rings[index].fresh = true;
	return 0;
}

static int get_base(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint32_t index = msg->payload.state.index;
	int r = check_index(s, index, error);

	if (r < 0)
		return r;
	replace_fd(&s->rings[index].kick, -1);
	set_reply(step, msg->header.request, sizeof(struct vhost_vring_state));
	step->reply.payload.state.index = index;
	step->wants_base = true;
	step->index = index;
	return 0;
}

static int set_enable(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	uint32_t index = msg->payload.state.index, num = msg->payload.state.num;
	int r = check_index(s, index, error);

	if (r < 0)
		return r;
	if (num > 1)
		return error_set(error, -EINVAL, "ring %u: enable %u", index, num);
	s->rings[index].enabled = num;
	return 0;
}

/* An eventfd, a pipe or a socket: something that is readable only when somebody wrote to it. Never blocks afterwards. */
static int check_event_fd(int fd, uint32_t index, struct error *error)
{
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
	    S_ISCHR(st.st_mode))
		return error_set(error, -EBADF, "ring %u: its descriptor is not an eventfd", index);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return error_set(error, -errno, "ring %u: its descriptor: %s", index, strerror(errno));
	return 0;
}

/* The common part of KICK, CALL and ERR: *ret_fd is still in msg, -1 for none. */
static int ring_fd(struct vhost_server *s, struct vhost_msg *msg, uint32_t *ret_index, int *ret_fd, struct error *error)
{
	uint64_t index = msg->payload.u64 & VHOST_VRING_INDEX_MASK;
	bool none = msg->payload.u64 & VHOST_VRING_NOFD;
	int r = check_index(s, index, error);

	if (r < 0)
		return r;
	if (msg->payload.u64 & ~(VHOST_VRING_INDEX_MASK | VHOST_VRING_NOFD) || msg->n_fds != (none ? 0 : 1))
		return error_set(error, -EINVAL, "ring %" PRIu64 ": value %#" PRIx64 " with %zu descriptors", index,
				 msg->payload.u64, msg->n_fds);
	*ret_index = (uint32_t)index;
	*ret_fd = none ? -1 : msg->fds[0];
	return none ? 0 : check_event_fd(*ret_fd, *ret_index, error);
}

static int set_kick(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	int fd = -1;
	int r = ring_fd(s, msg, &step->index, &fd, error);

	if (r < 0)
		return r;
	if (fd < 0)
		return error_set(error, -EOPNOTSUPP, "ring %u: no kick descriptor, and polling is not supported",
				 step->index);
	replace_fd(&s->rings[step->index].kick, vhost_msg_take_fd(msg, 0));
	/* QEMU's front-end for crypto devices passes no features on, and never enables a ring though it negotiates that. */
	if (s->device->crypto && !(s->features & VHOST_BIT(VHOST_F_VERSION_1)))
		s->rings[step->index].enabled = true;
	step->effects |= VHOST_EFFECT_RESTART;
	return 0;
}

static int set_call(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	int fd = -1;
	int r = ring_fd(s, msg, &step->index, &fd, error);

	if (r < 0)
		return r;
	replace_fd(&s->rings[step->index].call, vhost_msg_take_fd(msg, 0));
	step->effects |= VHOST_EFFECT_CALL;
	return 0;
}

static int set_err(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	int fd = -1;
	int r = ring_fd(s, msg, &step->index, &fd, error);

	if (r < 0)
		return r;
	replace_fd(&s->rings[step->index].err, vhost_msg_take_fd(msg, 0));
	step->effects |= VHOST_EFFECT_CALL;
	return 0;
}

/* ---- journal ---- */

static int check_inflight(const struct vhost_server *s, const struct vhost_inflight *i, struct error *error)
{
	if (i->n_queues == 0 || i->n_queues > s->device->n_queues || i->queue_size == 0 ||
	    i->queue_size > VRING_MAX_NUM)
		return error_set(error, -EINVAL, "journal for %u rings of %u", i->n_queues, i->queue_size);
	return 0;
}

static int get_inflight(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	struct vhost_inflight asked = msg->payload.inflight;
	_cleanup_close_ int fd = -1;
	uint64_t size;
	int r = check_inflight(s, &asked, error);

	if (r < 0)
		return r;
	size = (uint64_t)asked.n_queues * inflight_size(asked.queue_size);
	fd = memfd_create("vaccel-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_set(error, -errno, "cannot create a journal: %s", strerror(errno));
	set_reply(step, msg->header.request, msg->header.size); /* in the size that the front-end uses */
	step->reply.payload.inflight = (struct vhost_inflight){ .mmap_size = size,
								.n_queues = asked.n_queues,
								.queue_size = asked.queue_size };
	step->reply.fds[0] = fd;
	step->reply.n_fds = 1;
	fd = -1;
	return 0;
}

static int set_inflight(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	const struct vhost_inflight *i = &msg->payload.inflight;
	struct stat st;
	int r = check_inflight(s, i, error);

	if (r < 0)
		return r;
	if (any_active(s))
		return error_set(error, -EBUSY, "journal: cannot change while rings run");
	if (msg->n_fds != 1 || fstat(msg->fds[0], &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(error, -EBADF, "journal: its descriptor is not a memory file");
	if (i->mmap_offset % 4096 || !range_in(i->mmap_offset, i->mmap_size, (uint64_t)st.st_size) ||
	    i->mmap_size < (uint64_t)i->n_queues * inflight_size(i->queue_size))
		return error_set(error, -EINVAL,
				 "journal: %" PRIu64 " bytes at %" PRIu64 " are not enough or not there", i->mmap_size,
				 i->mmap_offset);
	s->inflight = *i;
	replace_fd(&s->inflight_fd, vhost_msg_take_fd(msg, 0));
	return 0;
}

/* ---- sessions ---- */

/*
 * The answer is the message again, with the id of the session. Of what came only the length returns: nobody reads the
 * rest, and a key that is not there is in nobody's way. What cannot be made is answered with -1, like what the caller
 * cannot make: front-ends ask in a guest's name, who may ask for anything.
 */
static int create_session(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	int r = vhost_crypto_parse(msg, &step->session, error);

	if (r == -EBADMSG)
		return r;
	set_reply(step, msg->header.request, msg->header.size);
	if (r == 0) {
		step->effects |= VHOST_EFFECT_CREATE;
		return 0;
	}
	vhost_crypto_set_id(&step->reply, -1);
	error_prefix(error, "message %s", vhost_request_name(msg->header.request));
	step->refused = *error;
	return 0;
}

static int close_session(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	step->session_id = (int64_t)msg->payload.u64;
	step->effects |= VHOST_EFFECT_CLOSE;
	return 0;
}

/* ---- the table ---- */

#define FEATURE_NONE 0xff

static const struct {
	uint32_t request;
	uint32_t min_size;
	uint32_t max_size;
	uint8_t max_fds;
	uint8_t feature; /* protocol feature that it belongs to */
	bool harmless;	 /* refusing it without an answer needs no hang-up */
	int (*handle)(struct vhost_server *server, struct vhost_msg *msg, struct vhost_step *step, struct error *error);
} requests[] = {
	{ VHOST_GET_FEATURES, 0, 0, 0, FEATURE_NONE, false, get_features },
	{ VHOST_SET_FEATURES, 8, 8, 0, FEATURE_NONE, false, set_features },
	{ VHOST_SET_OWNER, 0, 0, 0, FEATURE_NONE, false, accept_quietly },
	{ VHOST_RESET_OWNER, 0, 0, 0, FEATURE_NONE, false, reset_owner },
	{ VHOST_GET_PROTOCOL_FEATURES, 0, 0, 0, FEATURE_NONE, false, get_protocol },
	{ VHOST_SET_PROTOCOL_FEATURES, 8, 8, 0, FEATURE_NONE, false, set_protocol },
	{ VHOST_GET_QUEUE_NUM, 0, 0, 0, VHOST_PF_MQ, false, get_queue_num },
	{ VHOST_SET_MEM_TABLE, 8, sizeof(struct vhost_mem_table), VHOST_MAX_TABLE, FEATURE_NONE, false, set_mem_table },
	{ VHOST_GET_MAX_MEM_SLOTS, 0, 0, 0, VHOST_PF_CONFIGURE_MEM_SLOTS, false, get_slots },
	{ VHOST_ADD_MEM_REG, 40, 40, 1, VHOST_PF_CONFIGURE_MEM_SLOTS, false, add_region },
	{ VHOST_REM_MEM_REG, 40, 40, 1, VHOST_PF_CONFIGURE_MEM_SLOTS, false, remove_region },
	{ VHOST_SET_VRING_NUM, 8, 8, 0, FEATURE_NONE, false, set_num },
	{ VHOST_SET_VRING_ADDR, 40, 40, 0, FEATURE_NONE, false, set_addr },
	{ VHOST_SET_VRING_BASE, 8, 8, 0, FEATURE_NONE, false, set_base },
	{ VHOST_GET_VRING_BASE, 8, 8, 0, FEATURE_NONE, false, get_base },
	{ VHOST_SET_VRING_ENABLE, 8, 8, 0, FEATURE_NONE, false, set_enable },
	{ VHOST_SET_VRING_KICK, 8, 8, 1, FEATURE_NONE, false, set_kick },
	{ VHOST_SET_VRING_CALL, 8, 8, 1, FEATURE_NONE, false, set_call },
	{ VHOST_SET_VRING_ERR, 8, 8, 1, FEATURE_NONE, false, set_err },
	{ VHOST_SET_BACKEND_REQ_FD, 0, 8, 1, VHOST_PF_BACKEND_REQ, false, set_backend_fd },
	{ VHOST_GET_CONFIG, sizeof(struct vhost_config), VHOST_MAX_PAYLOAD, 0, VHOST_PF_CONFIG, false, get_config },
	{ VHOST_SET_CONFIG, sizeof(struct vhost_config), VHOST_MAX_PAYLOAD, 0, VHOST_PF_CONFIG, true, set_config },
	{ VHOST_GET_INFLIGHT_FD, VHOST_INFLIGHT_MIN_SIZE, sizeof(struct vhost_inflight), 0, VHOST_PF_INFLIGHT_SHMFD,
	  false, get_inflight },
	{ VHOST_SET_INFLIGHT_FD, VHOST_INFLIGHT_MIN_SIZE, sizeof(struct vhost_inflight), 1, VHOST_PF_INFLIGHT_SHMFD,
	  false, set_inflight },
	{ VHOST_RESET_DEVICE, 0, 0, 0, VHOST_PF_RESET_DEVICE, false, reset_device },
	{ VHOST_CREATE_CRYPTO_SESSION, VHOST_CRYPTO_OLD_SIZE, VHOST_CRYPTO_NEW_SIZE, 0, VHOST_PF_CRYPTO_SESSION, false,
	  create_session },
	{ VHOST_CLOSE_CRYPTO_SESSION, 8, 8, 0, VHOST_PF_CRYPTO_SESSION, true, close_session },
	{ VHOST_SET_STATUS, 8, 8, 0, VHOST_PF_STATUS, false, set_status },
	{ VHOST_GET_STATUS, 0, 0, 0, VHOST_PF_STATUS, false, get_status },
};

static int dispatch(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, bool *ret_harmless,
		    struct error *error)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		if (requests[i].request != msg->header.request)
			continue;
		*ret_harmless = requests[i].harmless;
		if (requests[i].feature != FEATURE_NONE && !vhost_server_has(s, requests[i].feature))
			return error_set(error, -EPROTO, "its protocol feature was not negotiated");
		if (msg->header.size < requests[i].min_size || msg->header.size > requests[i].max_size)
			return error_set(error, -EBADMSG, "payload of %u bytes", msg->header.size);
		if (msg->n_fds > requests[i].max_fds)
			return error_set(error, -EBADMSG, "%zu descriptors", msg->n_fds);
		return requests[i].handle(s, msg, step, error);
	}
	return error_set(error, -EOPNOTSUPP, "it is not supported");
}

int vhost_server_handle(struct vhost_server *s, struct vhost_msg *msg, struct vhost_step *step, struct error *error)
{
	struct error cause = { 0 };
	bool harmless = false;
	bool wants_ack;
	int r = 0;

	step->effects = 0;
	step->refused.code = 0;
	step->has_reply = false;
	step->wants_base = false;
	step->session_id = -1;
	step->failed = false;
	step->reply.n_fds = 0;
	if (msg->header.flags & VHOST_FLAG_REPLY)
		r = error_set(&cause, -EBADMSG, "it is marked as a reply");
	if (r == 0)
		r = dispatch(s, msg, step, &harmless, &cause);
	vhost_msg_close_fds(msg);
	/* Asked after handling, so that SET_PROTOCOL_FEATURES itself is answered; UML waits for that. */
	wants_ack = (msg->header.flags & VHOST_FLAG_NEED_REPLY) && vhost_server_has(s, VHOST_PF_REPLY_ACK) &&
		    !step->has_reply;
	if (r < 0) {
		error_prefix(&cause, "message %s", vhost_request_name(msg->header.request));
		step->refused = cause;
		step->effects = 0;
		if (!wants_ack && !harmless) {
			if (error)
				*error = cause;
			return r;
		}
	}
	if (wants_ack)
		reply_u64(step, msg->header.request, r < 0);
	return 0;
}

void vhost_server_finish(struct vhost_server *s, struct vhost_step *step)
{
	if (step->wants_base)
		step->reply.payload.state.num = s->rings[step->index].base;
	if (step->effects & VHOST_EFFECT_CREATE)
		vhost_crypto_set_id(&step->reply, step->session_id);
	if (step->effects & VHOST_EFFECT_CLOSE && step->has_reply)
		step->reply.payload.u64 = step->failed;
}
