/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See frontend.h. One lock covers the socket's conversation and the list of regions, since both change together: a
 * region is in the list exactly while the back-end was told of it.
 */
#include "vhost/frontend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util/util.h"

#define FIRST_GUEST_ADDR (UINT64_C(1) << 32)
#define USER_ADDR_OFFSET (UINT64_C(1) << 46)
#define REGION_GAP	 (UINT64_C(1) << 21) /* unshared, so that a range cannot run from one region into the next */

struct frontend {
	int fd;
	int backend_fd; /* our end of the back-end's channel; -1: none */
	int timeout_ms;
	uint64_t features;
	uint64_t protocol_features;
	uint32_t max_queues;
	uint32_t max_regions;
	struct vhost_rx backend_rx;

	pthread_mutex_t lock;
	/* Under the lock: */
	bool broken;
	uint64_t next_addr;
	struct frontend_region *regions;
	uint32_t n_regions;
};

uint64_t frontend_features(const struct frontend *frontend)
{
	return frontend->features;
}

uint64_t frontend_protocol_features(const struct frontend *frontend)
{
	return frontend->protocol_features;
}

uint32_t frontend_max_queues(const struct frontend *frontend)
{
	return frontend->max_queues;
}

uint32_t frontend_max_regions(const struct frontend *frontend)
{
	return frontend->max_regions;
}

int frontend_fd(const struct frontend *frontend)
{
	return frontend->fd;
}

int frontend_backend_fd(const struct frontend *frontend)
{
	return frontend->backend_fd;
}

/* ---- One message ---- */

static int receive_reply(struct frontend *frontend, struct vhost_msg *msg, struct error *error)
{
	uint32_t request = msg->header.request;
	int r = vhost_msg_recv(frontend->fd, frontend->timeout_ms, msg, error);

	if (r < 0)
		return r;
	if (msg->header.request == request && msg->header.flags & VHOST_FLAG_REPLY)
		return 0;
	vhost_msg_close_fds(msg);
	return error_set(error, -EPROTO, "vhost-user %s: the back-end answered with %s", vhost_request_name(request),
			 vhost_request_name(msg->header.request));
}

static int converse(struct frontend *frontend, struct vhost_msg *msg, bool has_reply, bool ack, struct error *error)
{
	int r = vhost_msg_send(frontend->fd, msg, frontend->timeout_ms, error);

	if (r < 0 || !(has_reply || ack))
		return r;
	return receive_reply(frontend, msg, error);
}

static int check_ack(struct vhost_msg *msg, uint32_t request, struct error *error)
{
	vhost_msg_close_fds(msg);
	if (msg->header.size != sizeof(uint64_t))
		return error_set(error, -EPROTO, "vhost-user %s: acknowledged with %u bytes",
				 vhost_request_name(request), msg->header.size);
	if (msg->payload.u64)
		return error_set(error, -EREMOTEIO, "vhost-user %s: refused by the back-end",
				 vhost_request_name(request));
	return 0;
}

static int message_locked(struct frontend *frontend, struct vhost_msg *msg, bool has_reply, struct error *error)
{
	bool ack = !has_reply && frontend_has_protocol(frontend, VHOST_PF_REPLY_ACK);
	uint32_t request = msg->header.request;
	int r;

	if (frontend->broken)
		return error_set(error, -ECONNRESET, "vhost-user %s: the connection is lost",
				 vhost_request_name(request));
	if (ack)
		msg->header.flags |= VHOST_FLAG_NEED_REPLY;
	r = converse(frontend, msg, has_reply, ack, error);
	if (r < 0) {
		/* Nobody knows any more which answer belongs to what. */
		frontend->broken = true;
		shutdown(frontend->fd, SHUT_RDWR);
		if (r == -EPIPE)
			r = -ECONNRESET;
		return r;
	}
	return ack ? check_ack(msg, request, error) : 0;
}

int frontend_message(struct frontend *frontend, struct vhost_msg *msg, bool has_reply, struct error *error)
{
	int r;

	pthread_mutex_lock(&frontend->lock);
	r = message_locked(frontend, msg, has_reply, error);
	pthread_mutex_unlock(&frontend->lock);
	return r;
}

/* A message with an answer of known size. */
static int query(struct frontend *frontend, struct vhost_msg *msg, uint32_t min_size, struct error *error)
{
	uint32_t request = msg->header.request;
	int r = frontend_message(frontend, msg, true, error);

	if (r < 0)
		return r;
	if (msg->header.size < min_size) {
		vhost_msg_close_fds(msg);
		return error_set(error, -EPROTO, "vhost-user %s: answered with %u bytes, not %u",
				 vhost_request_name(request), msg->header.size, min_size);
	}
	return 0;
}

int frontend_get_u64(struct frontend *frontend, uint32_t request, uint64_t *ret_value, struct error *error)
{
	struct vhost_msg msg;
	int r;

	vhost_msg_init(&msg, request, 0);
	r = query(frontend, &msg, sizeof(uint64_t), error);
	if (r < 0)
		return r;
	vhost_msg_close_fds(&msg);
	*ret_value = msg.payload.u64;
	return 0;
}

int frontend_set_u64(struct frontend *frontend, uint32_t request, uint64_t value, struct error *error)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request, sizeof(uint64_t));
	msg.payload.u64 = value;
	return frontend_message(frontend, &msg, false, error);
}

static int plain_message(struct frontend *frontend, uint32_t request, struct error *error)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request, 0);
	return frontend_message(frontend, &msg, false, error);
}

/* ---- Connecting ---- */

static int negotiate_protocol(struct frontend *frontend, uint64_t wanted, struct error *error)
{
	uint64_t offered = 0, value;
	int r = frontend_get_u64(frontend, VHOST_GET_PROTOCOL_FEATURES, &offered, error);

	if (r == 0)
		r = frontend_set_u64(frontend, VHOST_SET_PROTOCOL_FEATURES, offered & wanted, error);
	if (r < 0)
		return r;
	frontend->protocol_features = offered & wanted;
	if (frontend_has_protocol(frontend, VHOST_PF_MQ)) {
		r = frontend_get_u64(frontend, VHOST_GET_QUEUE_NUM, &value, error);
		if (r < 0)
			return r;
		frontend->max_queues = (uint32_t)MIN(value, 256);
	}
	if (frontend_has_protocol(frontend, VHOST_PF_CONFIGURE_MEM_SLOTS)) {
		r = frontend_get_u64(frontend, VHOST_GET_MAX_MEM_SLOTS, &value, error);
		if (r < 0)
			return r;
		frontend->max_regions = (uint32_t)MIN(value, 4096);
	}
	return 0;
}

/* Gives the back-end a channel to us. */
static int offer_channel(struct frontend *frontend, struct error *error)
{
	struct vhost_msg msg;
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(error, -errno, "vhost-user channel of the back-end: socketpair: %s", strerror(errno));
	vhost_msg_init(&msg, VHOST_SET_BACKEND_REQ_FD, 0);
	msg.fds[0] = pair[1];
	msg.n_fds = 1;
	r = frontend_message(frontend, &msg, false, error);
	close(pair[1]);
	if (r < 0) {
		close(pair[0]);
		return r;
	}
	frontend->backend_fd = pair[0];
	return 0;
}

static int negotiate(struct frontend *frontend, const struct frontend_options *options, struct error *error)
{
	const uint64_t needed = VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES);
	uint64_t offered = 0;
	int r;

	r = frontend_get_u64(frontend, VHOST_GET_FEATURES, &offered, error);
	if (r < 0)
		return r;
	if ((offered & needed) != needed)
		return error_set(error, -EPROTO,
				 "vhost-user back-end: offers features %#llx without VERSION_1 and "
				 "PROTOCOL_FEATURES",
				 (unsigned long long)offered);
	r = negotiate_protocol(frontend, options->protocol_features, error);
	if (r == 0)
		r = plain_message(frontend, VHOST_SET_OWNER, error);
	if (r == 0 && frontend_has_protocol(frontend, VHOST_PF_BACKEND_REQ))
		r = offer_channel(frontend, error);
	if (r == 0)
		r = frontend_set_u64(frontend, VHOST_SET_FEATURES, (offered & options->features) | needed, error);
	if (r == 0)
		frontend->features = (offered & options->features) | needed;
	return r;
}

int frontend_attach(int fd, const struct frontend_options *options, struct frontend **ret_frontend, struct error *error)
{
	struct frontend *frontend = calloc(1, sizeof(*frontend));
	int r;

	if (!frontend) {
		close(fd);
		return error_set(error, -ENOMEM, "vhost-user front-end: out of memory");
	}
	frontend->fd = fd;
	frontend->backend_fd = -1;
	frontend->timeout_ms = options->timeout_ms ? options->timeout_ms : FRONTEND_TIMEOUT_MS;
	frontend->max_queues = 1;
	frontend->max_regions = VHOST_MAX_TABLE;
	frontend->next_addr = FIRST_GUEST_ADDR;
	pthread_mutex_init(&frontend->lock, NULL);
	r = negotiate(frontend, options, error);
	if (r < 0) {
		frontend_free(frontend);
		return r;
	}
	*ret_frontend = frontend;
	return 0;
}

static int connect_error(int code, struct error *error)
{
	const char *cause = code == -ENOENT	    ? "there is no such socket"
			    : code == -ECONNREFUSED ? "no daemon listens there"
			    : code == -EACCES	    ? "no permission"
						    : strerror(-code);

	return error_set(error, code, "cannot connect: %s (%s)", cause, error_name(code));
}

int frontend_connect(const char *path, const struct frontend_options *options, struct frontend **ret_frontend,
		     struct error *error)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, r;

	if (!*path || strlen(path) >= sizeof(addr.sun_path))
		return error_set(error, *path ? -ENAMETOOLONG : -EINVAL,
				 "cannot connect: the path of a socket has 1 to %zu characters",
				 sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "cannot connect: socket: %s", strerror(errno));
	do
		r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	while (r == -EINTR);
	if (r < 0) {
		close(fd);
		return connect_error(r, error);
	}
	return frontend_attach(fd, options, ret_frontend, error);
}

static void region_unmap(struct frontend_region *region)
{
	munmap(region->data, region->size);
	close(region->fd);
	free(region);
}

static void close_connection(struct frontend *frontend)
{
	close_fd(&frontend->fd);
	if (frontend->backend_fd >= 0)
		vhost_rx_reset(&frontend->backend_rx);
	close_fd(&frontend->backend_fd);
}

void frontend_free(struct frontend *frontend)
{
	if (!frontend)
		return;
	close_connection(frontend);
	while (frontend->regions) {
		struct frontend_region *region = frontend->regions;

		frontend->regions = region->next;
		region_unmap(region);
	}
	pthread_mutex_destroy(&frontend->lock);
	free(frontend);
}

/* ---- The back-end's channel ---- */

static int answer_backend(struct frontend *frontend, const struct vhost_msg *request, uint64_t code,
			  struct error *error)
{
	struct vhost_msg answer;

	if (!(request->header.flags & VHOST_FLAG_NEED_REPLY))
		return 0;
	vhost_msg_init(&answer, request->header.request, sizeof(uint64_t));
	answer.header.flags |= VHOST_FLAG_REPLY;
	answer.payload.u64 = code;
	return vhost_msg_send(frontend->backend_fd, &answer, 0, error);
}

/* What changed is read again by whoever needs it; everything else is refused. */
int frontend_backend_request(struct frontend *frontend, uint32_t *ret_request, struct error *error)
{
	int r;

	if (frontend->backend_fd < 0)
		return 0;
	pthread_mutex_lock(&frontend->lock);
	r = vhost_rx_step(&frontend->backend_rx, frontend->backend_fd, error);
	if (r > 0) {
		const struct vhost_msg *msg = &frontend->backend_rx.msg;
		bool known = msg->header.request == VHOST_BACKEND_CONFIG_CHANGE_MSG;
		int sent;

		*ret_request = msg->header.request;
		sent = answer_backend(frontend, msg, known ? 0 : (uint64_t)-ENOTSUP, error);
		vhost_rx_reset(&frontend->backend_rx);
		if (sent < 0)
			r = sent;
	}
	if (r < 0) {
		/* The back-end has no use for it: nothing is lost by that. */
		close(frontend->backend_fd);
		frontend->backend_fd = -1;
	}
	pthread_mutex_unlock(&frontend->lock);
	return r;
}

/* ---- Memory ---- */

static int region_map(size_t size, struct frontend_region **ret_region, struct error *error)
{
	struct frontend_region *region = calloc(1, sizeof(*region));

	if (!region)
		return error_set(error, -ENOMEM, "shared memory: out of memory");
	region->size = size;
	region->fd = memfd_create("vaccel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (region->fd < 0)
		goto fail;
	if (ftruncate(region->fd, (off_t)size) < 0 ||
	    fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		goto fail_fd;
	region->data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
	if (region->data == MAP_FAILED)
		goto fail_fd;
	*ret_region = region;
	return 0;

fail_fd:
	error_set(error, -errno, "shared memory: cannot map %zu bytes: %s", size, strerror(errno));
	close(region->fd);
	free(region);
	return -ENOMEM;
fail:
	error_set(error, -errno, "shared memory: cannot make a memory file: %s", strerror(errno));
	free(region);
	return -ENOMEM;
}

static struct vhost_region describe(const struct frontend_region *region)
{
	return (struct vhost_region){
		.guest_addr = region->guest_addr,
		.size = region->size,
		.user_addr = region->user_addr,
	};
}

/* Without CONFIGURE_MEM_SLOTS: all regions anew. */
static int send_table(struct frontend *frontend, struct error *error)
{
	struct vhost_msg msg;
	uint32_t n = 0;

	vhost_msg_init(&msg, VHOST_SET_MEM_TABLE,
		       (uint32_t)(offsetof(struct vhost_mem_table, regions) +
				  frontend->n_regions * sizeof(struct vhost_region)));
	msg.payload.table.n_regions = frontend->n_regions;
	for (struct frontend_region *r = frontend->regions; r; r = r->next) {
		msg.payload.table.regions[n] = describe(r);
		msg.fds[n++] = r->fd;
	}
	msg.n_fds = n;
	return message_locked(frontend, &msg, false, error);
}

static int send_region(struct frontend *frontend, uint32_t request, const struct frontend_region *region,
		       struct error *error)
{
	struct vhost_msg msg;

	if (!frontend_has_protocol(frontend, VHOST_PF_CONFIGURE_MEM_SLOTS))
		return send_table(frontend, error);
	vhost_msg_init(&msg, request, sizeof(struct vhost_mem_reg));
	msg.payload.mem_reg.region = describe(region);
	if (request == VHOST_ADD_MEM_REG) {
		msg.fds[0] = region->fd;
		msg.n_fds = 1;
	}
	return message_locked(frontend, &msg, false, error);
}

static void unlink_region(struct frontend *frontend, struct frontend_region *region)
{
	for (struct frontend_region **at = &frontend->regions; *at; at = &(*at)->next) {
		if (*at != region)
			continue;
		*at = region->next;
		frontend->n_regions--;
		return;
	}
}

static int region_add(struct frontend *frontend, struct frontend_region *region, struct error *error)
{
	int r;

	if (frontend->n_regions >= frontend->max_regions)
		return error_set(error, -ENOSPC, "shared memory: the back-end takes %u regions, all are in use",
				 frontend->max_regions);
	region->guest_addr = frontend->next_addr;
	region->user_addr = region->guest_addr + USER_ADDR_OFFSET;
	frontend->next_addr += (region->size + 2 * REGION_GAP - 1) / REGION_GAP * REGION_GAP;
	region->next = frontend->regions;
	frontend->regions = region;
	frontend->n_regions++;
	r = send_region(frontend, VHOST_ADD_MEM_REG, region, error);
	if (r < 0)
		unlink_region(frontend, region);
	return r;
}

int frontend_region_new(struct frontend *frontend, size_t size, struct frontend_region **ret_region,
			struct error *error)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct frontend_region *region = NULL;
	int r;

	if (!size || size > SIZE_MAX / 2)
		return error_set(error, -EINVAL, "shared memory: a region cannot have %zu bytes", size);
	r = region_map((size + page - 1) / page * page, &region, error);
	if (r < 0)
		return r;
	pthread_mutex_lock(&frontend->lock);
	r = region_add(frontend, region, error);
	pthread_mutex_unlock(&frontend->lock);
	if (r < 0) {
		region_unmap(region);
		return r;
	}
	*ret_region = region;
	return 0;
}

int frontend_region_free(struct frontend *frontend, struct frontend_region *region, struct error *error)
{
	int r;

	if (!region)
		return 0;
	pthread_mutex_lock(&frontend->lock);
	unlink_region(frontend, region);
	r = send_region(frontend, VHOST_REM_MEM_REG, region, error);
	pthread_mutex_unlock(&frontend->lock);
	region_unmap(region);
	return r;
}

/* ---- Another connection ---- */

void frontend_hang_up(const struct frontend *frontend)
{
	shutdown(frontend->fd, SHUT_RDWR);
}

static int check_successor(const struct frontend *frontend, const struct frontend *next, struct error *error)
{
	uint64_t missing = frontend->features & ~next->features;
	uint64_t missing_protocol = frontend->protocol_features & ~next->protocol_features;

	if (missing || missing_protocol)
		return error_set(error, -EOPNOTSUPP,
				 "the new back-end lacks features %#llx and protocol features %#llx, which are in use",
				 (unsigned long long)missing, (unsigned long long)missing_protocol);
	if (frontend->n_regions > next->max_regions)
		return error_set(error, -ENOSPC, "shared memory: the new back-end takes %u regions, %u are in use",
				 next->max_regions, frontend->n_regions);
	return 0;
}

static int offer_regions(struct frontend *frontend, struct error *error)
{
	int r = 0;

	if (!frontend_has_protocol(frontend, VHOST_PF_CONFIGURE_MEM_SLOTS))
		return frontend->n_regions ? send_table(frontend, error) : 0;
	for (struct frontend_region *region = frontend->regions; region && r == 0; region = region->next)
		r = send_region(frontend, VHOST_ADD_MEM_REG, region, error);
	return r;
}

int frontend_adopt(struct frontend *frontend, struct frontend *next, struct error *error)
{
	int r;

	pthread_mutex_lock(&frontend->lock);
	r = check_successor(frontend, next, error);
	if (r == 0) {
		close_connection(frontend);
		frontend->fd = next->fd;
		frontend->backend_fd = next->backend_fd;
		frontend->max_queues = next->max_queues;
		frontend->max_regions = next->max_regions;
		frontend->broken = false;
		next->fd = next->backend_fd = -1;
		r = offer_regions(frontend, error);
	}
	pthread_mutex_unlock(&frontend->lock);
	frontend_free(next);
	return r;
}

/* ---- Queues ---- */

int frontend_vring_fd(struct frontend *frontend, uint32_t request, uint32_t index, int fd, struct error *error)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request, sizeof(uint64_t));
	msg.payload.u64 = index & VHOST_VRING_INDEX_MASK;
	if (fd >= 0) {
		msg.fds[0] = fd;
		msg.n_fds = 1;
	} else {
		msg.payload.u64 |= VHOST_VRING_NOFD;
	}
	return frontend_message(frontend, &msg, false, error);
}

int frontend_vring_state(struct frontend *frontend, uint32_t request, uint32_t index, uint32_t num, struct error *error)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, request, sizeof(struct vhost_vring_state));
	msg.payload.state = (struct vhost_vring_state){ .index = index, .num = num };
	return frontend_message(frontend, &msg, false, error);
}

int frontend_get_vring_base(struct frontend *frontend, uint32_t index, uint16_t *ret_base, struct error *error)
{
	struct vhost_msg msg;
	int r;

	vhost_msg_init(&msg, VHOST_GET_VRING_BASE, sizeof(struct vhost_vring_state));
	msg.payload.state.index = index;
	r = query(frontend, &msg, sizeof(struct vhost_vring_state), error);
	if (r < 0)
		return r;
	vhost_msg_close_fds(&msg);
	if (ret_base)
		*ret_base = (uint16_t)msg.payload.state.num;
	return 0;
}

static int send_addr(struct frontend *frontend, uint32_t index, const struct dring *ring,
		     const struct frontend_region *region, struct error *error)
{
	const uint64_t base = region->user_addr - (uintptr_t)region->data;
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_SET_VRING_ADDR, sizeof(struct vhost_vring_addr));
	msg.payload.addr = (struct vhost_vring_addr){
		.index = index,
		.desc = base + (uintptr_t)ring->desc,
		.avail = base + (uintptr_t)ring->avail,
		.used = base + (uintptr_t)ring->used,
	};
	return frontend_message(frontend, &msg, false, error);
}

int frontend_queue_start(struct frontend *frontend, uint32_t index, const struct dring *ring,
			 const struct frontend_region *region, int kick_fd, int call_fd, struct error *error)
{
	int r;

	r = frontend_vring_state(frontend, VHOST_SET_VRING_NUM, index, ring->size, error);
	if (r == 0)
		r = frontend_vring_state(frontend, VHOST_SET_VRING_BASE, index, ring->last_used, error);
	if (r == 0)
		r = send_addr(frontend, index, ring, region, error);
	if (r == 0)
		r = frontend_vring_fd(frontend, VHOST_SET_VRING_CALL, index, call_fd, error);
	if (r == 0)
		r = frontend_vring_fd(frontend, VHOST_SET_VRING_KICK, index, kick_fd, error);
	if (r == 0)
		r = frontend_vring_state(frontend, VHOST_SET_VRING_ENABLE, index, 1, error);
	return r;
}

int frontend_queue_stop(struct frontend *frontend, uint32_t index, uint16_t *ret_base, struct error *error)
{
	int r = frontend_vring_state(frontend, VHOST_SET_VRING_ENABLE, index, 0, error);

	return r < 0 ? r : frontend_get_vring_base(frontend, index, ret_base, error);
}

/* ---- The rest of the protocol ---- */

static int need_protocol(const struct frontend *frontend, unsigned int bit, const char *what, struct error *error)
{
	if (frontend_has_protocol(frontend, bit))
		return 0;
	return error_set(error, -EOPNOTSUPP, "vhost-user %s: the back-end does not offer it", what);
}

int frontend_get_config(struct frontend *frontend, uint32_t offset, void *data, uint32_t len, struct error *error)
{
	const uint32_t size = (uint32_t)sizeof(struct vhost_config) + len;
	struct vhost_config header = { .offset = offset, .size = len };
	struct vhost_msg msg;
	int r = need_protocol(frontend, VHOST_PF_CONFIG, "GET_CONFIG", error);

	if (r < 0)
		return r;
	if (len > VHOST_MAX_CONFIG)
		return error_set(error, -EINVAL, "vhost-user GET_CONFIG: %u bytes, at most %u are possible", len,
				 VHOST_MAX_CONFIG);
	vhost_msg_init(&msg, VHOST_GET_CONFIG, size);
	memcpy(msg.payload.bytes, &header, sizeof(header));
	r = query(frontend, &msg, size, error);
	if (r < 0)
		return r;
	vhost_msg_close_fds(&msg);
	memcpy(data, msg.payload.bytes + sizeof(header), len);
	return 0;
}

int frontend_set_status(struct frontend *frontend, uint8_t status, struct error *error)
{
	int r = need_protocol(frontend, VHOST_PF_STATUS, "SET_STATUS", error);

	return r < 0 ? r : frontend_set_u64(frontend, VHOST_SET_STATUS, status, error);
}

int frontend_get_status(struct frontend *frontend, uint8_t *ret_status, struct error *error)
{
	uint64_t value = 0;
	int r = need_protocol(frontend, VHOST_PF_STATUS, "GET_STATUS", error);

	if (r == 0)
		r = frontend_get_u64(frontend, VHOST_GET_STATUS, &value, error);
	if (r == 0)
		*ret_status = (uint8_t)value;
	return r;
}

int frontend_reset_device(struct frontend *frontend, struct error *error)
{
	int r = need_protocol(frontend, VHOST_PF_RESET_DEVICE, "RESET_DEVICE", error);

	return r < 0 ? r : plain_message(frontend, VHOST_RESET_DEVICE, error);
}

int frontend_get_inflight(struct frontend *frontend, uint16_t n_queues, uint16_t queue_size,
			  struct vhost_inflight *ret_inflight, int *ret_fd, struct error *error)
{
	struct vhost_msg msg;
	int r = need_protocol(frontend, VHOST_PF_INFLIGHT_SHMFD, "GET_INFLIGHT_FD", error);

	if (r < 0)
		return r;
	vhost_msg_init(&msg, VHOST_GET_INFLIGHT_FD, sizeof(struct vhost_inflight));
	msg.payload.inflight = (struct vhost_inflight){ .n_queues = n_queues, .queue_size = queue_size };
	r = query(frontend, &msg, VHOST_INFLIGHT_MIN_SIZE, error);
	if (r < 0)
		return r;
	*ret_inflight = msg.payload.inflight;
	*ret_fd = vhost_msg_take_fd(&msg, 0);
	vhost_msg_close_fds(&msg);
	if (*ret_fd < 0)
		return error_set(error, -EPROTO, "vhost-user GET_INFLIGHT_FD: answered without a descriptor");
	return 0;
}

int frontend_set_inflight(struct frontend *frontend, const struct vhost_inflight *inflight, int fd, struct error *error)
{
	struct vhost_msg msg;
	int r = need_protocol(frontend, VHOST_PF_INFLIGHT_SHMFD, "SET_INFLIGHT_FD", error);

	if (r < 0)
		return r;
	vhost_msg_init(&msg, VHOST_SET_INFLIGHT_FD, sizeof(struct vhost_inflight));
	msg.payload.inflight = *inflight;
	msg.fds[0] = fd;
	msg.n_fds = 1;
	return frontend_message(frontend, &msg, false, error);
}
