/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto.h. */
#include "daemon/crypto.h"

#include <endian.h>
#include <linux/virtio_ids.h>

#include "daemon/device.h"
#include "op/cipher.h"
#include "util/util.h"
#include "vhost/server.h"

/* The control queue comes behind the data queues. */
static uint16_t n_data_queues(const struct config *config)
{
	return (uint16_t)MIN(config->queues, VHOST_MAX_QUEUES - 1);
}

static uint16_t n_queues(const struct config *config)
{
	return (uint16_t)(n_data_queues(config) + 1);
}

/* Two of 32 bytes, for XTS. */
#define MAX_CIPHER_KEY 64

static void fill_config(const struct config *config, void *space)
{
	*(struct virtio_crypto_config *)space = (struct virtio_crypto_config){
		.max_dataqueues = htole32(n_data_queues(config)),
		.max_cipher_key_len = htole32(MAX_CIPHER_KEY),
		.max_size = htole64(config->limits.request_bytes),
	};
}

static bool has_op(const uint32_t ops[DEVICE_OP_WORDS], uint32_t op)
{
	return ops[op / 32] & 1u << op % 32;
}

static uint64_t cipher_algorithms(void)
{
	const struct cipher_mode *mode;
	uint64_t set = 0;

	for (size_t i = 0; (mode = cipher_mode_at(i)); i++)
		if (mode->virtio)
			set |= UINT64_C(1) << mode->virtio;
	return set;
}

static void fill_served(void *space, const uint32_t ops[DEVICE_OP_WORDS])
{
	struct virtio_crypto_config *config = space;
	bool cipher = has_op(ops, VACCEL_OP_CIPHER), akcipher = has_op(ops, VACCEL_OP_AKCIPHER);
	uint64_t algorithms = cipher ? cipher_algorithms() : 0;

	config->status = htole32(cipher || akcipher ? VIRTIO_CRYPTO_S_HW_READY : 0);
	config->crypto_services = htole32((cipher ? 1u << VIRTIO_CRYPTO_SERVICE_CIPHER : 0) |
					  (akcipher ? 1u << VIRTIO_CRYPTO_SERVICE_AKCIPHER : 0));
	config->cipher_algo_l = htole32((uint32_t)algorithms);
	config->cipher_algo_h = htole32((uint32_t)(algorithms >> 32));
	config->akcipher_algo = htole32(akcipher ? 1u << VIRTIO_CRYPTO_AKCIPHER_RSA : 0);
}

_Static_assert(sizeof(struct virtio_crypto_config) <= DEVICE_MAX_CONFIG, "room for it");

const struct device device_crypto = {
	.name = "crypto",
	.virtio_id = VIRTIO_ID_CRYPTO,
	.n_queues = n_queues,
	.config_len = sizeof(struct virtio_crypto_config),
	.fill_config = fill_config,
	.fill_served = fill_served,
	.decode = crypto_decode,
	.run = crypto_run,
	.answer = crypto_answer,
	.session_create = crypto_message_create,
	.session_close = crypto_message_close,
};
