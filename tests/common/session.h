/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CREATE_CRYPTO_SESSION as QEMU sends it, byte by byte: positions instead of the structures of src/vhost/crypto.c, so that
 * the two can disagree.
 */
#ifndef TESTS_COMMON_SESSION_H
#define TESTS_COMMON_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define SESSION_OLD 632u  /* QEMU 7.2 */
#define SESSION_NEW 1072u /* QEMU 8.0 and later */

struct session_plan {
	uint32_t size;	 /* SESSION_OLD, SESSION_NEW */
	uint64_t opcode; /* in the new one only */
	bool akcipher;	 /* is laid out otherwise */
	uint32_t algorithm;
	uint32_t type;	    /* of ciphers: 1 alone, 2 with a hash; of others: 1 public key, 2 private key */
	uint32_t direction; /* 1 encrypt, 2 decrypt */
	uint32_t padding, hash;
	uint32_t key_len, auth_len;
	const void *key;
	uint32_t key_bytes; /* that are written, whatever key_len says */
};

static inline void session_u32(uint8_t *bytes, uint32_t at, uint32_t value)
{
	memcpy(bytes + at, &value, sizeof(value));
}

static inline uint32_t session_write(const struct session_plan *plan, uint8_t *bytes)
{
	uint32_t at = 8;

	/* Pointers of another process, and an id that is none yet. */
	memset(bytes, 0xa5, plan->size);
	if (plan->size == SESSION_NEW)
		memcpy(bytes, &plan->opcode, 8);
	session_u32(bytes, at, plan->algorithm);
	if (plan->akcipher) {
		session_u32(bytes, at + 4, plan->type);
		session_u32(bytes, at + 8, plan->key_len);
		session_u32(bytes, at + 24, plan->padding);
		session_u32(bytes, at + 28, plan->hash);
		memcpy(bytes + at + 32, plan->key, plan->key_bytes);
		return plan->size;
	}
	session_u32(bytes, at + 4, plan->key_len);
	session_u32(bytes, at + 8, plan->hash);
	session_u32(bytes, at + 16, plan->auth_len);
	bytes[at + 24] = (uint8_t)plan->type;
	bytes[at + 25] = (uint8_t)plan->direction;
	memcpy(bytes + at + 48, plan->key, plan->key_bytes);
	return plan->size;
}

/* The id in an answer. */
static inline int64_t session_id(const uint8_t *bytes, uint32_t size)
{
	int64_t id;

	memcpy(&id, bytes + (size == SESSION_OLD ? 0 : 1064), sizeof(id));
	return id;
}

#endif
