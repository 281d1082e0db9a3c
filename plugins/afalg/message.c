/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message to the kernel, as Documentation/crypto/userspace-if.rst of Linux has it: direction, IV and length of the additional
 * data as control data; then the source, which the kernel copies, and for which it has room (max_message), so that sending does
 * not wait; then reading, during which it works, and writes to where the result is to be.
 */
#include <errno.h>
#include <linux/if_alg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "afalg.h"

struct control {
	_Alignas(struct cmsghdr) char room[2 * CMSG_SPACE(sizeof(uint32_t)) +
					   CMSG_SPACE(sizeof(struct af_alg_iv) + BLOCK)];
	size_t len;
};

static void put(struct control *control, int type, const void *head, size_t head_len, const void *data, size_t len)
{
	struct cmsghdr *cmsg = (struct cmsghdr *)(control->room + control->len);

	cmsg->cmsg_level = SOL_ALG;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(head_len + len);
	memcpy(CMSG_DATA(cmsg), head, head_len);
	if (len)
		memcpy(CMSG_DATA(cmsg) + head_len, data, len);
	control->len += CMSG_SPACE(head_len + len);
}

static bool is_aead(const struct message *m)
{
	return m->mode->mode == VACCEL_GCM;
}

static void fill_control(struct control *control, const struct message *m)
{
	uint32_t operation = m->direction == VACCEL_ENCRYPT ? ALG_OP_ENCRYPT : ALG_OP_DECRYPT;
	uint32_t iv_len = (uint32_t)m->iv_len, aad_len = (uint32_t)m->aad_len;

	memset(control, 0, sizeof(*control));
	put(control, ALG_SET_OP, &operation, sizeof(operation), NULL, 0);
	if (m->iv_len)
		put(control, ALG_SET_IV, &iv_len, sizeof(iv_len), m->iv, m->iv_len);
	if (is_aead(m))
		put(control, ALG_SET_AEAD_ASSOCLEN, &aad_len, sizeof(aad_len), NULL, 0);
}

static int send_message(int fd, const struct message *m)
{
	bool checks = m->direction == VACCEL_DECRYPT && m->tag_len;
	struct iovec parts[] = {
		{ .iov_base = (void *)m->aad, .iov_len = m->aad_len },
		{ .iov_base = (void *)m->source, .iov_len = m->len },
		{ .iov_base = m->tag, .iov_len = checks ? m->tag_len : 0 },
	};
	struct control control;
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts), .msg_control = control.room };
	size_t total = m->aad_len + m->len + parts[2].iov_len;
	ssize_t n;

	fill_control(&control, m);
	msg.msg_controllen = control.len;
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == total ? 0 : -EMSGSIZE;
}

/*
 * All comes at once, unless the system has less room for it than it said: then it is not waited for more. Of an empty message a byte
 * is asked for that there is not: without room for any, the kernel would do nothing, and so not look at the tag.
 */
static int receive(int fd, const struct message *m)
{
	bool makes = m->direction == VACCEL_ENCRYPT && m->tag_len;
	uint8_t *aad = m->aad_len ? malloc(m->aad_len) : NULL, spare;
	struct iovec parts[] = {
		{ .iov_base = aad, .iov_len = m->aad_len },
		{ .iov_base = m->destination, .iov_len = m->len },
		{ .iov_base = m->tag, .iov_len = makes ? m->tag_len : 0 },
		{ .iov_base = &spare },
	};
	struct msghdr msg = { .msg_iov = parts, .msg_iovlen = ARRAY_SIZE(parts) };
	size_t total = m->aad_len + m->len + parts[2].iov_len;
	ssize_t n;
	int error;

	parts[3].iov_len = total == 0;
	if (m->aad_len && !aad)
		return -ENOMEM;
	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	error = errno;
	free(aad);
	if (n < 0)
		return -error;
	return (size_t)n == total ? 0 : -EMSGSIZE;
}

int message_exchange(int fd, const struct message *message)
{
	int r = send_message(fd, message);

	return r < 0 ? r : receive(fd, message);
}
