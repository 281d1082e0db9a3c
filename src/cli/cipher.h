/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file through a cipher of the host: what vaccel cipher does between its options and its summary.
 *
 * cipher_pipe.c has the modes whose pieces can be told apart beforehand: ECB, CBC, CTR, XTS. Pieces lie in registered
 * buffers and several are in flight, unless one needs the last one's result (CBC, encrypting). cipher_gcm.c has GCM, a
 * stream of the library; it writes what it decrypts before the tag was found to fit, so that cmd_cipher.c keeps that where
 * nobody finds it, in a file without a name or in memory, and gives it out afterwards.
 */
#ifndef VACCEL_CLI_CIPHER_H
#define VACCEL_CLI_CIPHER_H

#include "cli/cli.h"
#include "op/cipher.h"

#define CIPHER_MAX_IV 128

struct cipher_job {
	struct vaccel_session *session;
	struct vaccel_key *key;
	const struct cipher_mode *mode;
	uint32_t key_bytes; /* of such a cipher's key; XTS has two in one */
	uint32_t direction;
	bool padding;
	uint64_t unit;	      /* XTS: bytes of a data unit */
	uint64_t max_request; /* bytes that one may have */
	uint8_t iv[CIPHER_MAX_IV];
	size_t iv_len;
	void *aad;
	size_t aad_len;
	uint8_t tag[CIPHER_MAX_TAG]; /* GCM: as it is apart from the file, or was made */
	size_t tag_len;		     /* 0: it is the last 16 bytes of the file */
	const char *input;	     /* names for messages and progress */
	const char *output;
	int in, out;
	bool removable; /* output names a file, and not by a link */

	uint64_t bytes_in, bytes_out, n_requests;
};

/* Both: 0 or a negative errno, error says what failed. */
int cipher_pipe(struct cipher_job *job, struct error *error);
int cipher_gcm(struct cipher_job *job, struct error *error);

/* Reads until len bytes are there or the input has ended; counts them. */
int cipher_read(struct cipher_job *job, void *data, size_t len, size_t *ret_len, struct error *error);
/* All of it, to be freed. -EFBIG: more than max bytes. */
int cipher_read_all(struct cipher_job *job, size_t max, uint8_t **ret_data, size_t *ret_len, struct error *error);
int cipher_write(struct cipher_job *job, const void *data, size_t len, struct error *error);

/* Digits to at most room bytes; their number, or -EINVAL. */
int cipher_from_hex(const char *text, uint8_t *data, size_t room);
void cipher_to_hex(const uint8_t *data, size_t len, char *text);

#endif
