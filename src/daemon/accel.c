/* SPDX-License-Identifier: Apache-2.0 */
/* See accel.h. */
#include "daemon/accel.h"

#include <endian.h>
#include <string.h>

#include "daemon/device.h"
#include "util/util.h"
#include "vhost/server.h"

void accel_wire_limits(const struct config *config, struct wire_limits *ret_limits)
{
	*ret_limits = (struct wire_limits){
		.max_request_bytes = config->limits.request_bytes,
		.max_args = OP_MAX_ARGS,
		.max_extents = MIN(config->limits.max_extents, WIRE_MAX_EXTENTS),
		.max_params_len = OP_MAX_PARAMS,
	};
}

size_t accel_max_message(const struct config *config)
{
	struct wire_limits limits;

	accel_wire_limits(config, &limits);
	return sizeof(struct virtio_accel_req) + limits.max_args * sizeof(struct virtio_accel_arg) +
	       limits.max_extents * sizeof(struct virtio_accel_extent) + limits.max_params_len;
}

static uint16_t n_queues(const struct config *config)
{
	return (uint16_t)MIN(config->queues, VHOST_MAX_QUEUES);
}

static void fill_config(const struct config *config, void *space)
{
	struct wire_limits limits;

	accel_wire_limits(config, &limits);
	*(struct virtio_accel_config *)space = (struct virtio_accel_config){
		.version_major = htole16(VIRTIO_ACCEL_VERSION_MAJOR),
		.version_minor = htole16(VIRTIO_ACCEL_VERSION_MINOR),
		.num_queues = htole32(n_queues(config)),
		.max_sessions = htole32(config->limits.sessions),
		.max_buffers = htole32(config->limits.buffers),
		.max_buffer_bytes = htole64(config->limits.buffer_bytes),
		.max_request_bytes = htole64(limits.max_request_bytes),
		.max_args = htole32(limits.max_args),
		.max_extents = htole32(limits.max_extents),
		.max_params_len = htole32(limits.max_params_len),
		.max_message_bytes = htole32((uint32_t)accel_max_message(config)),
	};
}

static void fill_served(void *space, const uint32_t ops[DEVICE_OP_WORDS])
{
	struct virtio_accel_config *config = space;

	for (size_t i = 0; i < DEVICE_OP_WORDS; i++)
		config->ops[i] = htole32(ops[i]);
}

_Static_assert(sizeof(struct virtio_accel_config) <= DEVICE_MAX_CONFIG, "room for it");
_Static_assert(sizeof(((struct virtio_accel_config *)0)->ops) == DEVICE_OP_WORDS * sizeof(uint32_t), "as many ops");

const struct device device_accel = {
	.name = "accel",
	.virtio_id = VIRTIO_ID_ACCEL,
	.features = VHOST_BIT(VIRTIO_ACCEL_F_BUFFERS) | VHOST_BIT(VIRTIO_ACCEL_F_CANCEL) |
		    VHOST_BIT(VIRTIO_ACCEL_F_DEADLINE),
	.n_queues = n_queues,
	.config_len = sizeof(struct virtio_accel_config),
	.fill_config = fill_config,
	.fill_served = fill_served,
	.decode = accel_decode,
	.run = accel_run,
	.answer = accel_answer,
};
