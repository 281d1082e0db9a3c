/* SPDX-License-Identifier: Apache-2.0 */
/* See backend.h. It serves one connection after the other until its listener is shut down. */
#include "backend.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/util.h"

#define HOLD_MS 300 /* long enough for what is to come meanwhile; nothing depends on how long it takes */

static pthread_t thread;

void backend_init(struct backend *b, const char *path)
{
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
	b->features = VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES) |
		      VHOST_BIT(VHOST_F_INDIRECT_DESC) | 7;
	b->protocol_features = VHOST_BIT(VHOST_PF_REPLY_ACK) | VHOST_BIT(VHOST_PF_CONFIG) |
			       VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS) | VHOST_BIT(VHOST_PF_MQ);
	b->max_slots = BACKEND_REGIONS;
	b->config = (struct virtio_accel_config){
		.version_major = htole16(1),
		.num_queues = htole32(1),
		.max_sessions = htole32(4),
		.max_buffers = htole32(4),
		.max_buffer_bytes = htole64(64 << 20),
		.max_request_bytes = htole64(64 << 20),
		.max_args = htole32(16),
		.max_extents = htole32(16),
		.max_params_len = htole32(1024),
		.max_message_bytes = htole32(65536),
	};
	snprintf(b->path, sizeof(b->path), "%s", path);
	b->listener = b->fd = -1;
}

/* ---- Memory ---- */

static void *find(struct backend *b, uint64_t addr, uint64_t len, bool user)
{
	for (int i = 0; i < BACKEND_REGIONS; i++) {
		uint64_t base = user ? b->regions[i].where.user_addr : b->regions[i].where.guest_addr;

		if (b->regions[i].data && addr >= base && range_in(addr - base, len, b->regions[i].where.size))
			return b->regions[i].data + (addr - base);
	}
	return NULL;
}

static void forget_regions(struct backend *b)
{
	for (int i = 0; i < BACKEND_REGIONS; i++) {
		if (b->regions[i].data)
			munmap(b->regions[i].data, b->regions[i].where.size);
		b->regions[i].data = NULL;
	}
	b->n_regions = 0;
}

static void add_region(struct backend *b, const struct vhost_region *where, int fd)
{
	for (int i = 0; i < BACKEND_REGIONS; i++) {
		if (b->regions[i].data)
			continue;
		b->regions[i].where = *where;
		b->regions[i].data = mmap(NULL, where->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		b->n_regions++;
		return;
	}
}

static bool in_flight(struct backend *b)
{
	bool any = false;

	for (int i = 0; i < BACKEND_QUEUES; i++) {
		struct backend_queue *q = &b->queues[i];
		struct vring_avail *avail = q->enabled ? find(b, q->avail, sizeof(*avail), true) : NULL;

		any |= q->n_held || (avail && __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) != q->last_avail);
	}
	return any;
}

static void remove_region(struct backend *b, uint64_t guest_addr)
{
	b->n_removed++;
	b->n_removed_busy += in_flight(b);
	for (int i = 0; i < BACKEND_REGIONS; i++) {
		if (!b->regions[i].data || b->regions[i].where.guest_addr != guest_addr)
			continue;
		munmap(b->regions[i].data, b->regions[i].where.size);
		b->regions[i].data = NULL;
		b->n_regions--;
	}
}

/* ---- Messages ---- */

static void set_fd(int *fd, struct vhost_msg *msg)
{
	if (*fd >= 0)
		close(*fd);
	*fd = vhost_msg_take_fd(msg, 0);
}

/* Fills the answer, if the message has one of its own. */
static bool handle(struct backend *b, struct vhost_msg *msg)
{
	struct vhost_config config;
	struct backend_queue *q = &b->queues[msg->payload.u64 % BACKEND_QUEUES];

	switch (msg->header.request) {
	case VHOST_GET_FEATURES:
		msg->payload.u64 = b->features;
		return true;
	case VHOST_GET_PROTOCOL_FEATURES:
		msg->payload.u64 = b->protocol_features;
		return true;
	case VHOST_GET_QUEUE_NUM:
		msg->payload.u64 = BACKEND_QUEUES;
		return true;
	case VHOST_GET_MAX_MEM_SLOTS:
		msg->payload.u64 = b->max_slots;
		return true;
	case VHOST_GET_CONFIG:
		memcpy(&config, msg->payload.bytes, sizeof(config));
		memcpy(msg->payload.bytes + sizeof(config), &b->config, MIN(config.size, sizeof(b->config)));
		return true;
	case VHOST_SET_MEM_TABLE:
		forget_regions(b);
		b->n_tables++;
		for (uint32_t i = 0; i < msg->payload.table.n_regions; i++)
			add_region(b, &msg->payload.table.regions[i], msg->fds[i]);
		return false;
	case VHOST_ADD_MEM_REG:
		if (b->refuse != VHOST_ADD_MEM_REG)
			add_region(b, &msg->payload.mem_reg.region, msg->fds[0]);
		return false;
	case VHOST_REM_MEM_REG:
		remove_region(b, msg->payload.mem_reg.region.guest_addr);
		return false;
	case VHOST_SET_VRING_NUM:
		q->size = msg->payload.state.num;
		return false;
	case VHOST_SET_VRING_ADDR:
		q->desc = msg->payload.addr.desc;
		q->avail = msg->payload.addr.avail;
		q->used = msg->payload.addr.used;
		return false;
	case VHOST_SET_VRING_KICK:
		set_fd(&q->kick, msg);
		return false;
	case VHOST_SET_VRING_CALL:
		set_fd(&q->call, msg);
		return false;
	case VHOST_SET_VRING_ERR:
		set_fd(&q->err, msg);
		return false;
	case VHOST_SET_VRING_ENABLE:
		q->enabled = msg->payload.state.num;
		return false;
	default:
		return false;
	}
}

static void send_answer(struct backend *b, struct vhost_msg *msg, uint32_t size)
{
	msg->header.flags = VHOST_FLAG_VERSION | VHOST_FLAG_REPLY;
	msg->header.size = size;
	msg->n_fds = 0;
	vhost_msg_send(b->fd, msg, -1, NULL);
}

static bool one_message(struct backend *b)
{
	struct vhost_msg msg;
	bool wants_ack, own;

	if (vhost_msg_recv(b->fd, -1, &msg, NULL) < 0 || msg.header.request == b->hang_up_on)
		return false;
	wants_ack = msg.header.flags & VHOST_FLAG_NEED_REPLY;
	own = handle(b, &msg);
	vhost_msg_close_fds(&msg);
	if (own) {
		send_answer(b, &msg, msg.header.size ? msg.header.size : 8);
	} else if (wants_ack) {
		msg.payload.u64 = msg.header.request == b->refuse;
		send_answer(b, &msg, 8);
	}
	return true;
}

/* ---- Requests ---- */

void *backend_arg(struct backend *b, const struct wire_request *request, uint32_t index, uint64_t *ret_len)
{
	const struct wire_arg *arg = &request->args[index];
	struct wire_extent extent;

	*ret_len = index < request->n_args && arg->kind == VIRTIO_ACCEL_ARG_EXTENTS ? arg->len : 0;
	if (!*ret_len || arg->n_extents != 1)
		return NULL;
	extent = wire_extent(request, arg->first_extent);
	return find(b, extent.addr, extent.len, false);
}

const struct vring_avail *backend_avail(struct backend *b, const struct backend_queue *q)
{
	return find(b, q->avail, sizeof(struct vring_avail) + q->size * sizeof(uint16_t), true);
}

static void default_answer(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	response->id = request->id;
	if (request->type == VIRTIO_ACCEL_T_SESSION_OPEN || request->type == VIRTIO_ACCEL_T_BUFFER_REGISTER)
		response->value = ++b->next_value;
	b->n_ops += request->type == VIRTIO_ACCEL_T_OP;
	b->used_id = b->used_len = -1;
	b->used_more = 0;
	b->hold = false;
	if (b->answer)
		b->answer(b, request, response);
}

static void put_used(struct backend *b, struct backend_queue *q, uint16_t head, uint32_t len)
{
	struct vring_used *used = find(b, q->used, sizeof(*used) + q->size * sizeof(struct vring_used_elem), true);
	uint16_t at = used->idx;

	used->ring[at % q->size].id = b->used_id >= 0 ? (uint32_t)b->used_id : head;
	used->ring[at % q->size].len = b->used_len >= 0 ? (uint32_t)b->used_len : len;
	__atomic_store_n(&used->idx, (uint16_t)(at + 1 + b->used_more), __ATOMIC_RELEASE);
	eventfd_write(q->call, 1);
}

static void one_request(struct backend *b, struct backend_queue *q, uint16_t head)
{
	const struct wire_limits limits = { 1ull << 30, 16, 16, 1024 };
	struct vring_desc *table = find(b, q->desc, q->size * sizeof(*table), true);
	struct wire_response response = { 0 };
	struct wire_request request;
	uint8_t message[4096];
	uint32_t len, second = table[head].next;

	/* Both chains that the driver makes: indirect, or two descriptors in a row. */
	if (table[head].flags & VRING_DESC_F_INDIRECT) {
		table = find(b, table[head].addr, 2 * sizeof(*table), false);
		head = 0;
		second = 1;
	}
	len = MIN(table[head].len, (uint32_t)sizeof(message));
	memcpy(message, find(b, table[head].addr, len, false), len);
	if (wire_decode(message, len, &limits, &request, NULL) < 0)
		response.status = VIRTIO_ACCEL_S_BADMSG;
	default_answer(b, &request, &response);
	len = (uint32_t)wire_encode_response(&response, find(b, table[second].addr, table[second].len, false),
					     table[second].len);
	b->used_len = b->used_len >= 0 ? b->used_len : (int64_t)len;
}

static void give_held(struct backend *b)
{
	b->used_id = b->used_len = -1;
	b->used_more = 0;
	for (int i = 0; i < BACKEND_QUEUES; i++)
		while (b->queues[i].n_held)
			put_used(b, &b->queues[i], b->queues[i].held[--b->queues[i].n_held],
				 sizeof(struct virtio_accel_resp));
}

static bool run_queue(struct backend *b, struct backend_queue *q)
{
	const struct vring_avail *avail = backend_avail(b, q);

	while (avail && __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) != q->last_avail) {
		uint16_t head = avail->ring[q->last_avail++ % q->size];

		one_request(b, q, head);
		if (b->hang_up)
			return false;
		if (b->hold && q->n_held < BACKEND_HELD)
			q->held[q->n_held++] = head;
		else
			put_used(b, q, head, 0);
	}
	return true;
}

static bool deal(struct backend *b, const struct pollfd *fds)
{
	eventfd_t count;

	if (fds[0].revents && !one_message(b))
		return false;
	for (int i = 0; i < BACKEND_QUEUES; i++) {
		if (!fds[1 + i].revents)
			continue;
		eventfd_read(b->queues[i].kick, &count);
		if (!run_queue(b, &b->queues[i]))
			return false;
	}
	return true;
}

static bool serve(struct backend *b)
{
	struct pollfd fds[1 + BACKEND_QUEUES] = { { .fd = b->fd, .events = POLLIN } };
	bool going_on, held = false;
	int n;

	for (int i = 0; i < BACKEND_QUEUES; i++) {
		held |= b->queues[i].n_held > 0;
		fds[1 + i] = (struct pollfd){ .fd = b->queues[i].enabled ? b->queues[i].kick : -1, .events = POLLIN };
	}
	n = poll(fds, ARRAY_SIZE(fds), held ? HOLD_MS : -1);
	if (n < 0)
		return errno == EINTR;
	pthread_mutex_lock(&b->lock);
	if (n == 0)
		give_held(b);
	going_on = deal(b, fds);
	pthread_mutex_unlock(&b->lock);
	return going_on;
}

static void set_connection(struct backend *b, int fd)
{
	pthread_mutex_lock(&b->lock);
	close_fd(&b->fd);
	b->fd = fd;
	pthread_mutex_unlock(&b->lock);
}

static void write_late(struct backend *b)
{
	uint8_t *late = b->late_addr ? find(b, b->late_addr, 1, false) : NULL;

	if (!late)
		return;
	usleep(HOLD_MS * 1000);
	*late = 0xff;
	pthread_mutex_lock(&b->lock);
	b->n_late++;
	pthread_mutex_unlock(&b->lock);
}

static void *main_loop(void *opaque)
{
	struct backend *b = opaque;
	int fd;

	while ((fd = accept(b->listener, NULL, NULL)) >= 0) {
		set_connection(b, fd);
		for (int i = 0; i < BACKEND_QUEUES; i++)
			b->queues[i] = (struct backend_queue){ .kick = -1, .call = -1, .err = -1 };
		b->hang_up = false;
		while (serve(b))
			;
		set_connection(b, -1);
		write_late(b);
		for (int i = 0; i < BACKEND_QUEUES; i++) {
			close_fd(&b->queues[i].err);
			close_fd(&b->queues[i].kick);
			close_fd(&b->queues[i].call);
		}
		forget_regions(b);
	}
	return NULL;
}

void backend_start(struct backend *b)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	unlink(b->path);
	memcpy(addr.sun_path, b->path, sizeof(b->path));
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(b->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(b->listener, 4) < 0 ||
	    pthread_create(&thread, NULL, main_loop, b))
		abort();
}

void backend_stop(struct backend *b)
{
	shutdown(b->listener, SHUT_RDWR);
	/* A test that failed has not hung up. */
	pthread_mutex_lock(&b->lock);
	if (b->fd >= 0)
		shutdown(b->fd, SHUT_RDWR);
	pthread_mutex_unlock(&b->lock);
	pthread_join(thread, NULL);
	close(b->listener);
	unlink(b->path);
	pthread_mutex_destroy(&b->lock);
}
