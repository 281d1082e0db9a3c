/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An input of target crypto: a row of struct fuzz_crypto, each followed by header_len bytes of a header, tail_len bytes behind
 * it (a key, an IV), and n_readable plus n_writable struct fuzz_piece.
 */
#ifndef FUZZ_CRYPTO_H
#define FUZZ_CRYPTO_H

#include <stdint.h>

enum {
	FUZZ_CRYPTO_CONTROL = 1,   /* of the control queue */
	FUZZ_CRYPTO_RECOVERED = 2, /* a worker before took it */
	FUZZ_CRYPTO_BEGUN = 4,	   /* and a plugin began it */
	FUZZ_CRYPTO_SESSION = 8,   /* the header's session is the one that `session` picks */
};

struct fuzz_crypto {
	uint8_t flags;
	uint8_t session; /* 0: none, 1: one that never was, then those that were made */
	uint8_t header_len;
	uint8_t n_readable, n_writable;
	uint8_t room;  /* bytes that can be written behind the pieces: status or answer */
	uint8_t split; /* header and tail come in two descriptors, cut here; 0: in one */
	uint8_t reserved;
	uint16_t tail_len;
};

/* In the guest's memory, see ground.h. */
struct fuzz_piece {
	uint16_t offset;
	uint16_t len;
};

#endif
