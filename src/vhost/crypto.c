/* SPDX-License-Identifier: Apache-2.0 */
/* See crypto.h. The layouts are written out with their gaps, so that compiler and machine have no say in them. */
#include "vhost/crypto.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "util/util.h"

#define CIPHER_ROOM 64
#define AUTH_ROOM   512

/* Of ciphers, alone or with a hash. */
struct cipher {
	uint32_t algorithm;
	uint32_t key_len;
	uint32_t hash;
	uint32_t hash_len;
	uint32_t auth_len;
	uint32_t aad_len;
	uint8_t type;
	uint8_t direction;
	uint8_t hash_mode;
	uint8_t order;
	uint32_t gap;
	uint64_t pointers[2];
	uint8_t key[CIPHER_ROOM];
	uint8_t auth[AUTH_ROOM];
};

struct akcipher {
	uint32_t algorithm;
	uint32_t type;
	uint32_t key_len;
	uint32_t gap;
	uint64_t pointer;
	uint32_t padding;
	uint32_t hash;
	uint8_t key[VHOST_CRYPTO_MAX_KEY];
};

struct layout_old {
	int64_t id;
	struct cipher cipher;
};

struct layout_new {
	uint64_t opcode;
	union {
		struct cipher cipher;
		struct akcipher akcipher;
	};
	int64_t id;
};

_Static_assert(sizeof(struct layout_old) == VHOST_CRYPTO_OLD_SIZE, "the layout of QEMU 7.2 has no other gaps");
_Static_assert(sizeof(struct layout_new) == VHOST_CRYPTO_NEW_SIZE, "the layout of QEMU 8.0 has no other gaps");
_Static_assert(VHOST_CRYPTO_NEW_SIZE <= VHOST_MAX_PAYLOAD, "a message may be that long");

static int parse_cipher(const struct cipher *from, uint64_t opcode, struct vhost_crypto_session *ret,
			struct error *error)
{
	if (from->key_len > sizeof(from->key) || from->auth_len > sizeof(from->auth))
		return error_set(error, -EINVAL, "keys of %u and %u bytes, where there is room for %zu and %zu",
				 from->key_len, from->auth_len, sizeof(from->key), sizeof(from->auth));
	*ret = (struct vhost_crypto_session){
		.opcode = opcode,
		.algorithm = from->algorithm,
		.kind = from->type,
		.direction = from->direction,
		.hash = from->hash,
		.key_len = from->key_len,
	};
	memcpy(ret->key, from->key, from->key_len);
	return 0;
}

static int parse_akcipher(const struct akcipher *from, uint64_t opcode, struct vhost_crypto_session *ret,
			  struct error *error)
{
	if (from->key_len > sizeof(from->key))
		return error_set(error, -EINVAL, "a key of %u bytes, where there is room for %zu", from->key_len,
				 sizeof(from->key));
	*ret = (struct vhost_crypto_session){
		.opcode = opcode,
		.algorithm = from->algorithm,
		.kind = from->type,
		.padding = from->padding,
		.hash = from->hash,
		.key_len = from->key_len,
	};
	memcpy(ret->key, from->key, from->key_len);
	return 0;
}

int vhost_crypto_parse(const struct vhost_msg *msg, struct vhost_crypto_session *ret, struct error *error)
{
	const struct layout_old *old = (const void *)msg->payload.bytes;
	const struct layout_new *new = (const void *)msg->payload.bytes;

	switch (msg->header.size) {
	case VHOST_CRYPTO_OLD_SIZE:
		return parse_cipher(&old->cipher, VHOST_CRYPTO_CREATE, ret, error);
	case VHOST_CRYPTO_NEW_SIZE:
		if (new->opcode >> 8 == VHOST_CRYPTO_AKCIPHER)
			return parse_akcipher(&new->akcipher, new->opcode, ret, error);
		return parse_cipher(&new->cipher, new->opcode, ret, error);
	default:
		return error_set(error, -EBADMSG, "payload of %u bytes, not %u or %u", msg->header.size,
				 VHOST_CRYPTO_OLD_SIZE, VHOST_CRYPTO_NEW_SIZE);
	}
}

void vhost_crypto_set_id(struct vhost_msg *reply, int64_t id)
{
	size_t at = reply->header.size == VHOST_CRYPTO_OLD_SIZE ? offsetof(struct layout_old, id)
								: offsetof(struct layout_new, id);

	memcpy(reply->payload.bytes + at, &id, sizeof(id));
}
