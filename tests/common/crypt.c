/* SPDX-License-Identifier: Apache-2.0 */
/* See crypt.h. Requests in the layout that is used without VIRTIO_CRYPTO_F_REVISION_1. */
#include "crypt.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/util.h"
#include "vhost/frontend.h"

#define MAX_QUEUES 8
#define RING_SIZE  64
#define WAIT_MS	   60000
/* In the data region, behind the heap. */
#define AT_HEADER CRYPT_HEAP
#define AT_IV	  (AT_HEADER + 128)
#define AT_STATUS (AT_IV + 64)
#define DATA_SIZE (AT_STATUS + 64)

struct crypt {
	struct frontend *frontend;
	struct frontend_region *rings, *data;
	uint32_t n_queues; /* that run, the control queue aside */
	uint32_t control;  /* its number; 0: it does not run */
	struct dring ring[MAX_QUEUES];
	int kick[MAX_QUEUES], call[MAX_QUEUES];
};

static int start_queue(struct crypt *c, uint32_t index, struct error *error)
{
	int r = dring_init(&c->ring[index], (char *)c->rings->data + index * 4096, RING_SIZE,
			   frontend_has_feature(c->frontend, VHOST_F_EVENT_IDX));

	c->kick[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->call[index] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r < 0 || c->kick[index] < 0 || c->call[index] < 0)
		return error_set(error, r < 0 ? r : -errno, "queue %u cannot be made", index);
	return frontend_queue_start(c->frontend, index, &c->ring[index], c->rings, c->kick[index], c->call[index],
				    error);
}

int crypt_open(const char *socket, bool control, struct crypt **ret_crypt, struct error *error)
{
	const struct frontend_options options = { .features = FRONTEND_RING_FEATURES,
						  .protocol_features = FRONTEND_PROTOCOL_FEATURES |
								       VHOST_BIT(VHOST_PF_CRYPTO_SESSION),
						  .timeout_ms = WAIT_MS };
	struct crypt *c = calloc(1, sizeof(*c));
	uint32_t n;
	int r;

	if (!c)
		return -ENOMEM;
	for (uint32_t i = 0; i < MAX_QUEUES; i++)
		c->kick[i] = c->call[i] = -1;
	r = frontend_connect(socket, &options, &c->frontend, error);
	if (r == 0)
		r = frontend_region_new(c->frontend, MAX_QUEUES * 4096, &c->rings, error);
	if (r == 0)
		r = frontend_region_new(c->frontend, DATA_SIZE, &c->data, error);
	n = r == 0 ? frontend_max_queues(c->frontend) : 0;
	if (r == 0 && (n < 2 || n > MAX_QUEUES))
		r = error_set(error, -ERANGE, "the device has %u queues", n);
	c->n_queues = n - 1;
	for (uint32_t i = 0; r == 0 && i < c->n_queues; i++)
		r = start_queue(c, i, error);
	if (r == 0 && control) {
		c->control = c->n_queues;
		r = start_queue(c, c->control, error);
	}
	if (r < 0)
		crypt_close(c);
	else
		*ret_crypt = c;
	return r;
}

void crypt_close(struct crypt *c)
{
	if (!c)
		return;
	frontend_free(c->frontend);
	for (uint32_t i = 0; i < MAX_QUEUES; i++) {
		dring_fini(&c->ring[i]);
		close_fd(&c->kick[i]);
		close_fd(&c->call[i]);
	}
	free(c);
}

void *crypt_heap(struct crypt *c, uint32_t offset)
{
	return (char *)c->data->data + offset;
}

int crypt_fd(const struct crypt *c)
{
	return frontend_fd(c->frontend);
}

/* ---- messages ---- */

struct session_plan crypt_cbc(uint32_t size, const void *key, uint32_t key_len, uint32_t direction)
{
	return (struct session_plan){
		.size = size,
		.opcode = VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
		.algorithm = VIRTIO_CRYPTO_CIPHER_AES_CBC,
		.type = VIRTIO_CRYPTO_SYM_OP_CIPHER,
		.direction = direction,
		.key = key,
		.key_len = key_len,
		.key_bytes = key_len,
	};
}

int crypt_create(struct crypt *c, const struct session_plan *plan, int64_t *ret_id, struct error *error)
{
	struct vhost_msg msg;
	int r;

	vhost_msg_init(&msg, VHOST_CREATE_CRYPTO_SESSION, plan->size);
	session_write(plan, msg.payload.bytes);
	r = frontend_message(c->frontend, &msg, true, error);
	if (r < 0)
		return r;
	vhost_msg_close_fds(&msg);
	if (msg.header.size != plan->size)
		return error_set(error, -EPROTO, "an answer of %u bytes, not %u", msg.header.size, plan->size);
	*ret_id = session_id(msg.payload.bytes, plan->size);
	return 0;
}

int crypt_end(struct crypt *c, uint64_t id, bool acknowledged, struct error *error)
{
	struct vhost_msg msg;

	vhost_msg_init(&msg, VHOST_CLOSE_CRYPTO_SESSION, 8);
	msg.payload.u64 = id;
	if (acknowledged)
		return frontend_message(c->frontend, &msg, false, error);
	return vhost_msg_send(frontend_fd(c->frontend), &msg, WAIT_MS, error);
}

/* ---- queues ---- */

static struct dring_buf piece(const struct crypt *c, uint32_t at, uint32_t len, bool writable)
{
	return (struct dring_buf){ .addr = c->data->guest_addr + at, .len = len, .writable = writable };
}

static int run(struct crypt *c, uint32_t queue, const struct dring_buf *bufs, uint16_t n)
{
	struct error error = { 0 };
	void *token;
	uint32_t len;
	int r = dring_add(&c->ring[queue], bufs, n, NULL, c);

	if (r < 0)
		return r;
	if (dring_publish(&c->ring[queue]))
		eventfd_write(c->kick[queue], 1);
	while ((r = dring_pop(&c->ring[queue], &token, &len, &error)) == 0) {
		struct pollfd p = { .fd = c->call[queue], .events = POLLIN };
		eventfd_t count;

		if (dring_arm(&c->ring[queue]))
			continue;
		if (poll(&p, 1, WAIT_MS) == 0)
			return -ETIMEDOUT;
		eventfd_read(c->call[queue], &count);
	}
	return MIN(r, 0);
}

int crypt_control_create(struct crypt *c, uint32_t key, uint32_t key_len, uint32_t size, uint32_t direction,
			 int64_t *ret_id)
{
	struct virtio_crypto_op_ctrl_req *req = crypt_heap(c, AT_HEADER);
	const struct virtio_crypto_session_input *input = crypt_heap(c, AT_STATUS);
	struct dring_buf bufs[RING_SIZE] = { piece(c, AT_HEADER, sizeof(*req), false) };
	uint16_t n = 1;
	int r;

	memset(req, 0, sizeof(*req));
	req->header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_CREATE_SESSION);
	req->header.algo = htole32(VIRTIO_CRYPTO_CIPHER_AES_CBC);
	req->u.sym_create_session.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req->u.sym_create_session.u.cipher.para.algo = htole32(VIRTIO_CRYPTO_CIPHER_AES_CBC);
	req->u.sym_create_session.u.cipher.para.keylen = htole32(key_len);
	req->u.sym_create_session.u.cipher.para.op = htole32(direction);
	for (uint32_t at = 0; at < key_len && n + 1 < RING_SIZE; at += size)
		bufs[n++] = piece(c, key + 2 * at, MIN(size, key_len - at), false);
	bufs[n++] = piece(c, AT_STATUS, sizeof(*input), true);
	memset(crypt_heap(c, AT_STATUS), 0xee, sizeof(*input));
	r = run(c, c->control, bufs, n);
	if (r < 0)
		return r;
	*ret_id = (int64_t)le64toh(input->session_id);
	return (int)le32toh(input->status);
}

int crypt_control_end(struct crypt *c, uint64_t id)
{
	struct virtio_crypto_op_ctrl_req *req = crypt_heap(c, AT_HEADER);
	uint8_t *status = crypt_heap(c, AT_STATUS);
	const struct dring_buf bufs[] = { piece(c, AT_HEADER, sizeof(*req), false), piece(c, AT_STATUS, 1, true) };
	int r;

	memset(req, 0, sizeof(*req));
	req->header.opcode = htole32(VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION);
	req->u.destroy_session.session_id = htole64(id);
	*status = 0xee;
	r = run(c, c->control, bufs, ARRAY_SIZE(bufs));
	return r < 0 ? r : *status;
}

int crypt_run(struct crypt *c, uint32_t queue, uint64_t id, uint32_t opcode, uint32_t from, uint32_t to, uint32_t len)
{
	struct virtio_crypto_op_data_req *req = crypt_heap(c, AT_HEADER);
	uint8_t *status = crypt_heap(c, AT_STATUS);
	const struct dring_buf bufs[] = {
		piece(c, AT_HEADER, sizeof(*req), false),
		piece(c, AT_IV, 16, false),
		piece(c, from, len, false),
		piece(c, to, len, true),
		piece(c, AT_STATUS, 1, true),
	};
	int r;

	memset(req, 0, sizeof(*req));
	req->header.opcode = htole32(opcode);
	req->header.algo = htole32(VIRTIO_CRYPTO_CIPHER_AES_CBC);
	req->header.session_id = htole64(id);
	req->u.sym_req.op_type = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
	req->u.sym_req.u.cipher.para.iv_len = htole32(16);
	req->u.sym_req.u.cipher.para.src_data_len = htole32(len);
	req->u.sym_req.u.cipher.para.dst_data_len = htole32(len);
	memset(crypt_heap(c, AT_IV), 0, 16);
	*status = 0xee;
	r = run(c, queue, bufs, ARRAY_SIZE(bufs));
	return r < 0 ? r : *status;
}
