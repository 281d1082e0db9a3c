// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * What the device said. The reply lies in memory that the device may change at any time: it is
 * copied once, the copy is checked, and only the copy is used. A device that answers nonsense has
 * its request failed with EIO.
 */
#include <linux/string.h>

#include "internal.h"

static const int accel_errnos[] = {
	[VIRTIO_ACCEL_S_OK] = 0,
	[VIRTIO_ACCEL_S_BADMSG] = -EBADMSG,
	[VIRTIO_ACCEL_S_INVAL] = -EINVAL,
	[VIRTIO_ACCEL_S_UNSUPPORTED] = -EOPNOTSUPP,
	[VIRTIO_ACCEL_S_NOSESSION] = -EBADF,
	[VIRTIO_ACCEL_S_STALE] = -ESTALE,
	[VIRTIO_ACCEL_S_NOBUFFER] = -ENXIO,
	[VIRTIO_ACCEL_S_RANGE] = -ERANGE,
	[VIRTIO_ACCEL_S_TOOBIG] = -E2BIG,
	[VIRTIO_ACCEL_S_FAULT] = -EFAULT,
	[VIRTIO_ACCEL_S_NOMEM] = -ENOMEM,
	[VIRTIO_ACCEL_S_LIMIT] = -EDQUOT,
	[VIRTIO_ACCEL_S_BUSY] = -EBUSY,
	[VIRTIO_ACCEL_S_DEADLINE] = -ETIMEDOUT,
	[VIRTIO_ACCEL_S_CANCELED] = -ECANCELED,
	[VIRTIO_ACCEL_S_INTERRUPTED] = -EOWNERDEAD,
	[VIRTIO_ACCEL_S_IO] = -EIO,
	[VIRTIO_ACCEL_S_DENIED] = -EPERM,
	[VIRTIO_ACCEL_S_NOENT] = -ENOENT,
	[VIRTIO_ACCEL_S_REJECTED] = -EKEYREJECTED,
};

/**
 * accel_status_to_errno() - Translate the device's status.
 * @status: enum virtio_accel_status
 *
 * Context: Any context.
 * Return: 0 or a negative errno; -EIO for a status that does not exist.
 */
int accel_status_to_errno(u32 status)
{
	return status < ARRAY_SIZE(accel_errnos) ? accel_errnos[status] : -EIO;
}

/* Return: bytes of the well-formed, printable UTF-8 character at @text, 0 if it is none. */
static unsigned int accel_character(const u8 *text, size_t len)
{
	unsigned int n, i;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] < 0xc2 || text[0] > 0xf4)
		return 0;
	n = text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	for (i = 1; i < n; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	/* second control set, overlong forms, surrogates, beyond U+10FFFF */
	if ((text[0] == 0xc2 && text[1] < 0xa0) || (text[0] == 0xe0 && text[1] < 0xa0) ||
	    (text[0] == 0xed && text[1] > 0x9f) || (text[0] == 0xf0 && text[1] < 0x90) ||
	    (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return n;
}

/* The text ends up on people's terminals. */
static void accel_detail_clean(struct accel_answer *answer, size_t len)
{
	u8 *text = answer->detail;
	size_t i = 0;

	len = strnlen(text, len);
	while (i < len) {
		unsigned int n = accel_character(text + i, len - i);

		if (!n) {
			text[i] = '?';
			n = 1;
		}
		i += n;
	}
	text[len] = '\0';
	answer->detail_len = len;
}

static void accel_answer_fail(struct accel_answer *answer, int error, const char *why)
{
	answer->unsure = error == -EIO;
	answer->error = error;
	answer->status = VIRTIO_ACCEL_S_IO;
	answer->value = 0;
	answer->detail_len = strscpy(answer->detail, why, sizeof(answer->detail));
}

/**
 * accel_answer_read() - Copy and check the device's reply.
 * @req: the request that the device has used
 * @used: bytes that it says it wrote
 *
 * Context: Any context.
 * Return: nothing; @req->answer is valid.
 */
void accel_answer_read(struct accel_request *req, u32 used)
{
	struct accel_answer *answer = &req->answer;
	struct virtio_accel_resp resp;
	size_t room;
	u64 id;

	if (used < sizeof(resp) || used > sizeof(req->reply)) {
		accel_answer_fail(answer, -EIO, "device: reply has a wrong length");
		return;
	}
	memcpy(&resp, &req->reply.resp, sizeof(resp));
	answer->status = le32_to_cpu(resp.status);
	id = le64_to_cpu(resp.id);
	/* the id is 0 if the device could not even read that */
	if (id != req->id && (id || !answer->status)) {
		accel_answer_fail(answer, -EIO, "device: reply is for another request");
		return;
	}
	if (answer->status >= ARRAY_SIZE(accel_errnos) || resp.reserved) {
		accel_answer_fail(answer, -EIO, "device: reply has an unknown status or field");
		return;
	}
	answer->error = accel_status_to_errno(answer->status);
	answer->value = answer->status ? 0 : le64_to_cpu(resp.value);
	room = min_t(size_t, used - sizeof(resp), sizeof(req->reply.detail));
	room = min_t(size_t, room, le32_to_cpu(resp.detail_len));
	memcpy(answer->detail, req->reply.detail, room);
	accel_detail_clean(answer, room);
}

/**
 * accel_answer_freed() - Does the device no longer know what it was asked to free?
 * @answer: the answer to SESSION_CLOSE or BUFFER_UNREGISTER
 *
 * Context: Any context.
 * Return: true if it freed it, or says that it has no such thing.
 */
bool accel_answer_freed(const struct accel_answer *answer)
{
	switch (answer->error) {
	case 0:
	case -EBADF:
	case -ESTALE:
	case -ENXIO:
		return true;
	default:
		return false;
	}
}

/**
 * accel_answer_gone() - Answer in the place of a device that was removed.
 * @req: the request
 *
 * Context: Any context.
 * Return: nothing; @req->answer is valid.
 */
void accel_answer_gone(struct accel_request *req)
{
	accel_answer_fail(&req->answer, -ENODEV, "device: removed before it answered");
}

/**
 * accel_answer_report() - Write a completion as user space sees it.
 * @req: the completed request
 * @to: where to
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_answer_report(const struct accel_request *req, struct vaccel_ioc_completion *to)
{
	const struct accel_answer *answer = &req->answer;

	memset(to, 0, sizeof(*to));
	to->id = req->id;
	to->user_data = req->user_data;
	to->value = answer->value;
	to->status = answer->status;
	to->error = answer->error;
	to->detail_len = answer->detail_len;
	memcpy(to->detail, answer->detail, answer->detail_len);
}
