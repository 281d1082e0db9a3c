/* SPDX-License-Identifier: Apache-2.0 */
/* Ciphers of the kernel's, by the name of the driver that is to do it, through AF_ALG sockets. */
#ifndef TESTS_CRYPTO_AFALG_H
#define TESTS_CRYPTO_AFALG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AFALG_BLOCK 16u
/* Of one piece, a multiple of AFALG_BLOCK: a socket takes about 200 KiB before somebody reads. */
#define AFALG_PIECE 65536u

/* How the source gets into the kernel; the destination is always written where it lies. */
enum afalg_way {
	AFALG_COPY,   /* sendmsg() */
	AFALG_SPLICE, /* its pages, through a pipe */
};

struct afalg_message {
	const uint8_t *source;
	uint8_t *destination; /* may be the source: with AFALG_SPLICE the driver then sees the same memory twice */
	size_t len;	      /* a multiple of AFALG_BLOCK, not 0 */
	size_t piece;	      /* bytes of a request; what it chains is up to the kernel */
	const uint8_t *iv;
	enum afalg_way way;
	bool encrypt;
};

/* A socket of the driver with that key, to be closed; or a negative errno: -ENOENT for no such driver. */
int afalg_key(const char *driver, const void *key, size_t len);
/* A socket for messages under that key, one after the other. */
int afalg_open(int key_fd);
/* 0 or a negative errno. */
int afalg_run(int fd, const struct afalg_message *message);

#endif
