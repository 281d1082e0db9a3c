/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the op table's rows for CIPHER and AKCIPHER point to, and the modes of operation, one row each. A mode's virtio
 * number is that of virtio-crypto (virtio 1.2, 5.9); 0: that device does not have it.
 *
 * A row has what everybody has to know of a mode who checks, names or announces it. It has no function that computes
 * it: plugins do that, each by rows of its own (plugins/openssl/contexts.c); what one does not serve goes to the next.
 */
#ifndef VACCEL_OP_CIPHER_H
#define VACCEL_OP_CIPHER_H

#include "op/request.h"

#define CIPHER_BLOCK   16
#define CIPHER_MAX_TAG 16

struct cipher_mode {
	uint32_t mode;	  /* enum vaccel_cipher_mode */
	const char *name; /* as in OpenSSL's names: "cbc" of aes-128-cbc */
	uint32_t virtio;  /* VIRTIO_CRYPTO_CIPHER_AES_*, 0: none */
	uint32_t iv_min;  /* bytes */
	uint32_t iv_max;
	uint32_t unit;	    /* lengths are a multiple of this */
	uint64_t min, max;  /* bytes of one request */
	uint32_t key_bytes; /* set of 1 << (bytes / 8): of keys that it takes */
	bool keystream;	    /* encrypting with an IV of one's choice decrypts, too */
};

/* Row index; NULL past the end. By number, by virtio's number, by name; NULL: there is none. */
const struct cipher_mode *cipher_mode_at(size_t index);
const struct cipher_mode *cipher_mode(uint32_t mode);
const struct cipher_mode *cipher_mode_by_virtio(uint32_t virtio);
const struct cipher_mode *cipher_mode_by_name(const char *name);
/* OpenSSL's name of a cipher, such as aes-128-cbc, in any case of letters; false: it names none of these. */
bool cipher_by_name(const char *name, const struct cipher_mode **ret_mode, uint32_t *ret_key_bytes);
bool cipher_mode_takes_key(const struct cipher_mode *mode, uint64_t bytes);

int cipher_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int cipher_check_key(const struct op_desc *op, const struct op_request *request, const struct op_key *key,
		     struct error *error);
/* What lies over its own source has destroyed it, and a message in several requests goes on from where it was. */
bool cipher_replayable(const struct op_request *request);
uint64_t cipher_cost(const struct op_request *request);

int akcipher_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int akcipher_check_key(const struct op_desc *op, const struct op_request *request, const struct op_key *key,
		       struct error *error);
bool akcipher_replayable(const struct op_request *request);
uint64_t akcipher_cost(const struct op_request *request);

#endif
