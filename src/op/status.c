/* SPDX-License-Identifier: Apache-2.0 */
/* The one table between the wire's status and errno. The driver holds the same (driver/), checked by tests/unit. */
#include <errno.h>

#include "op/wire.h"
#include "util/util.h"

static const struct {
	uint32_t status;
	int error;
	const char *name;
} statuses[] = {
	{ VIRTIO_ACCEL_S_OK, 0, "OK" },
	{ VIRTIO_ACCEL_S_BADMSG, EBADMSG, "BADMSG" },
	{ VIRTIO_ACCEL_S_INVAL, EINVAL, "INVAL" },
	{ VIRTIO_ACCEL_S_UNSUPPORTED, EOPNOTSUPP, "UNSUPPORTED" },
	{ VIRTIO_ACCEL_S_NOSESSION, EBADF, "NOSESSION" },
	{ VIRTIO_ACCEL_S_STALE, ESTALE, "STALE" },
	{ VIRTIO_ACCEL_S_NOBUFFER, ENXIO, "NOBUFFER" },
	{ VIRTIO_ACCEL_S_RANGE, ERANGE, "RANGE" },
	{ VIRTIO_ACCEL_S_TOOBIG, E2BIG, "TOOBIG" },
	{ VIRTIO_ACCEL_S_FAULT, EFAULT, "FAULT" },
	{ VIRTIO_ACCEL_S_NOMEM, ENOMEM, "NOMEM" },
	{ VIRTIO_ACCEL_S_LIMIT, EDQUOT, "LIMIT" },
	{ VIRTIO_ACCEL_S_BUSY, EBUSY, "BUSY" },
	{ VIRTIO_ACCEL_S_DEADLINE, ETIMEDOUT, "DEADLINE" },
	{ VIRTIO_ACCEL_S_CANCELED, ECANCELED, "CANCELED" },
	{ VIRTIO_ACCEL_S_INTERRUPTED, EOWNERDEAD, "INTERRUPTED" },
	{ VIRTIO_ACCEL_S_IO, EIO, "IO" },
	{ VIRTIO_ACCEL_S_DENIED, EPERM, "DENIED" },
	{ VIRTIO_ACCEL_S_NOENT, ENOENT, "NOENT" },
	{ VIRTIO_ACCEL_S_REJECTED, EKEYREJECTED, "REJECTED" },
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

const char *wire_status_name(uint32_t status)
{
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].name;
	return NULL;
}
