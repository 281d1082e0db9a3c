/* SPDX-License-Identifier: Apache-2.0 */
/* The one table between the wire's status and errno. The driver holds the same (driver/), checked by tests/unit. */
#include <errno.h>

#include "op/wire.h"
#include "util/util.h"

static const struct {
	uint32_t status;
	int error;
} statuses[] = {
	{ VIRTIO_ACCEL_S_OK, 0 },
	{ VIRTIO_ACCEL_S_BADMSG, EBADMSG },
	{ VIRTIO_ACCEL_S_INVAL, EINVAL },
	{ VIRTIO_ACCEL_S_UNSUPPORTED, EOPNOTSUPP },
	{ VIRTIO_ACCEL_S_NOSESSION, EBADF },
	{ VIRTIO_ACCEL_S_STALE, ESTALE },
	{ VIRTIO_ACCEL_S_NOBUFFER, ENXIO },
	{ VIRTIO_ACCEL_S_RANGE, ERANGE },
	{ VIRTIO_ACCEL_S_TOOBIG, E2BIG },
	{ VIRTIO_ACCEL_S_FAULT, EFAULT },
	{ VIRTIO_ACCEL_S_NOMEM, ENOMEM },
	{ VIRTIO_ACCEL_S_LIMIT, EDQUOT },
	{ VIRTIO_ACCEL_S_BUSY, EBUSY },
	{ VIRTIO_ACCEL_S_DEADLINE, ETIMEDOUT },
	{ VIRTIO_ACCEL_S_CANCELED, ECANCELED },
	{ VIRTIO_ACCEL_S_INTERRUPTED, EOWNERDEAD },
	{ VIRTIO_ACCEL_S_IO, EIO },
	{ VIRTIO_ACCEL_S_DENIED, EPERM },
	{ VIRTIO_ACCEL_S_NOENT, ENOENT },
};

uint32_t wire_status(int error)
{
	int positive = error < 0 ? -error : error;

	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].error == positive)
			return statuses[i].status;
	return VIRTIO_ACCEL_S_IO;
}

int wire_errno(uint32_t status)
{
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == status)
			return -statuses[i].error;
	return -EIO;
}
