/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of those who cut a message into requests: what comes after a piece, and the padding of the last one. */
#ifndef VACCEL_OP_BLOCK_H
#define VACCEL_OP_BLOCK_H

#include <stdint.h>
#include <string.h>

#include "op/cipher.h"

/* CTR: adds blocks to the counter, which begins with its highest byte. */
static inline void block_count(uint8_t counter[CIPHER_BLOCK], uint64_t blocks)
{
	for (int i = CIPHER_BLOCK - 1; i >= 0 && blocks; i--) {
		uint64_t sum = (blocks & 0xff) + counter[i];

		counter[i] = (uint8_t)sum;
		blocks = (blocks >> 8) + (sum >> 8);
	}
}

/* XTS: the number of the next data unit, which begins with its lowest byte. */
static inline void block_next_unit(uint8_t number[CIPHER_BLOCK])
{
	for (int i = 0; i < CIPHER_BLOCK && ++number[i] == 0; i++)
		;
}

/* PKCS #7: fills up a block with so many bytes of the message, fewer than a block. */
static inline void block_pad(uint8_t block[CIPHER_BLOCK], uint32_t len)
{
	memset(block + len, (int)(CIPHER_BLOCK - len), CIPHER_BLOCK - len);
}

/* Bytes of padding, 0: it is none. Looks at the same bytes whatever they are. */
static inline uint32_t block_padding(const uint8_t block[CIPHER_BLOCK])
{
	uint32_t pad = block[CIPHER_BLOCK - 1], bad = pad - 1 >= CIPHER_BLOCK;

	for (uint32_t i = 0; i < CIPHER_BLOCK; i++)
		bad |= (uint32_t)(i < pad) & (uint32_t)(block[CIPHER_BLOCK - 1 - i] != pad);
	return bad ? 0 : pad;
}

#endif
