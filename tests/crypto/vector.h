/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Test vectors of AES, as the file sp800-38a beside this and tests/crypto/vectors have them: one a line,
 *
 *	MODE DIRECTION KEY IV AAD SOURCE RESULT TAG ORIGIN
 *
 * MODE is ecb, cbc, ctr, xts or gcm, DIRECTION encrypt or decrypt, ORIGIN says where it comes from, and the rest are bytes in
 * hexadecimal, "-" for none. RESULT "!": the tag does not fit. A line that begins with '#' is for people.
 *
 * RSA has lines of its own, of which keys are DER of PKCS #1:
 *
 *	OPERATION PADDING HASH KEY SOURCE RESULT ORIGIN
 *
 * OPERATION is encrypt, decrypt, sign or verify, PADDING raw or pkcs1, HASH sha1, sha224... or "-"; SOURCE of sign is a digest,
 * of verify a signature, and RESULT of verify the digest, or "!" and a digest: they do not fit.
 */
#ifndef TESTS_CRYPTO_VECTOR_H
#define TESTS_CRYPTO_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct vector_bytes {
	uint8_t *data; /* not NULL, also if there are none */
	size_t len;
};

/* Valid until the next line is read. Numbers are those of <vaccel/ops.h>. */
struct vector {
	uint32_t mode;	    /* enum vaccel_cipher_mode */
	uint32_t direction; /* enum vaccel_direction */
	struct vector_bytes key, iv, aad, source, result, tag;
	bool rejected; /* the tag does not fit; result is empty */
	const char *origin;
};

struct vector_rsa {
	uint32_t operation; /* enum vaccel_akcipher_operation */
	uint32_t padding;   /* enum vaccel_rsa_padding */
	uint32_t hash;	    /* enum vaccel_rsa_hash */
	struct vector_bytes key, source, result;
	bool private;  /* the key is */
	bool rejected; /* signature and digest do not fit */
	const char *origin;
};

/* A file that is read line by line. */
struct vector_file {
	FILE *file;
	const char *path;
	char *line; /* with its bytes in place */
	size_t room;
	unsigned long number; /* of the line */
};

/* 0 or a negative errno. */
int vector_open(struct vector_file *file, const char *path);
/* The next line: 1; 0 at the end; -EBADMSG: standard error has what is wrong with it. */
int vector_next(struct vector_file *file, struct vector *ret_vector);
int vector_next_rsa(struct vector_file *file, struct vector_rsa *ret_vector);
void vector_close(struct vector_file *file);

#endif
