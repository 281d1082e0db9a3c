/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ECB, CBC, CTR and XTS: the bulk of one update goes to the host.
 *
 * The chain is taken out of the local context (its updated IV), whole blocks are sent, and the chain that follows is put back
 * as an IV. What is left of the update, and what the host did not do, is the local context's again: a host that fails in
 * the middle costs time only. For that the source has to be there still, so that one in the way of its destination is
 * copied first; requests whose source and destination differ can also be run again by the host itself.
 *
 * Source and destination that overlap otherwise than exactly are never forwarded: what comes out then depends on the order
 * of the bytes.
 */
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/params.h>

#include "provider.h"

static bool overlap(const unsigned char *a, size_t a_len, const unsigned char *b, size_t b_len)
{
	uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;

	return first < second + b_len && second < first + a_len;
}

bool forward_wanted(struct cipher *cipher, const unsigned char *out, size_t room, const unsigned char *in, size_t len)
{
	size_t n_pending = cipher->n_pending;

	if (len < cipher_threshold(cipher) || !out || !in || !cipher->key_set || len > INT_MAX - 2 * AES_BLOCK ||
	    room < len + n_pending || len < 2 * AES_BLOCK)
		return false;
	if (cipher->algorithm->iv_len && !cipher->iv_set)
		return false;
	if (cipher->algorithm->mode != VACCEL_CTR && cipher->encrypt != cipher->key_encrypts)
		return false;
	if (cipher->algorithm->mode == VACCEL_XTS && len > MAX_UNIT_BYTES)
		return false;
	return (out == in && n_pending == 0) || !overlap(out, len + n_pending, in, len);
}

/* ---- The local context's state ---- */

static bool take_chain(struct cipher *cipher, unsigned char *chain)
{
	OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_UPDATED_IV, chain, AES_BLOCK),
				OSSL_PARAM_construct_end() };

	return !cipher->algorithm->iv_len || EVP_CIPHER_CTX_get_params(cipher->local, params) == 1;
}

/* Nothing is pending then. */
static bool put_chain(struct cipher *cipher, const unsigned char *chain, unsigned int padding)
{
	OSSL_PARAM params[] = { OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_PADDING, &padding),
				OSSL_PARAM_construct_end() };

	cipher->moved = true;
	return EVP_CipherInit_ex2(cipher->local, NULL, NULL, cipher->algorithm->iv_len ? chain : NULL, -1, params) == 1;
}

/* ---- The host ---- */

/* Counts blocks, as a number of 16 bytes that begins with its highest. */
static void count(unsigned char *counter, size_t blocks)
{
	for (unsigned int i = AES_BLOCK; i-- > 0 && blocks; blocks >>= 8) {
		blocks += counter[i];
		counter[i] = (unsigned char)blocks;
	}
}

static int run(struct cipher *cipher, const unsigned char *chain, unsigned char *out, const unsigned char *in,
	       size_t len)
{
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = cipher->algorithm->mode,
		.direction = cipher->encrypt ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.iv = cipher->algorithm->iv_len ? chain : NULL,
		.iv_len = cipher->algorithm->iv_len,
		.source = in,
		.destination = out,
		.len = len,
	};
	int r;

	/* A key that is gone with a daemon, or a parent, is taken there once more. */
	for (int attempt = 0; attempt < 2; attempt++) {
		r = cipher_key_ready(cipher);
		if (r < 0)
			return r;
		r = vaccel_cipher(host_key_handle(cipher->key), &message);
		if (r == 0)
			return 0;
		host_key_failed(cipher->key, r);
		if (host_key_handle(cipher->key))
			return r;
	}
	return r;
}

/* One request, from memory that is not the destination's. */
static int run_apart(struct cipher *cipher, const unsigned char *chain, unsigned char *out, const unsigned char *in,
		     size_t len)
{
	int r;

	if (out != in)
		return run(cipher, chain, out, in, len);
	if (!cipher->scratch)
		cipher->scratch = OPENSSL_malloc(SCRATCH_BYTES);
	if (!cipher->scratch)
		return -1;
	memcpy(cipher->scratch, in, len);
	r = run(cipher, chain, out, cipher->scratch, len);
	/* The host may have begun to write. */
	if (r < 0)
		memcpy(out, cipher->scratch, len);
	return r;
}

/* What one request may have. 0: nothing, for there is no host. */
static size_t most_at_once(struct cipher *cipher, bool in_place)
{
	size_t most;

	if (cipher_key_ready(cipher) < 0)
		return 0;
	most = host_key_chunk(cipher->key);
	return in_place && most > SCRATCH_BYTES ? SCRATCH_BYTES : most;
}

/* Whole blocks; returns how many bytes of them were done. chain moves with them. */
static size_t run_blocks(struct cipher *cipher, unsigned char *chain, unsigned char *out, const unsigned char *in,
			 size_t len)
{
	unsigned char last[AES_BLOCK];
	size_t done = 0, n;

	while (done < len) {
		n = most_at_once(cipher, out == in);
		n = n < len - done ? n : len - done;
		if (!n)
			break;
		memcpy(last, in + done + n - AES_BLOCK, AES_BLOCK);
		if (run_apart(cipher, chain, out + done, in + done, n) < 0)
			break;
		done += n;
		if (cipher->algorithm->mode == VACCEL_CTR)
			count(chain, n / AES_BLOCK);
		else if (cipher->algorithm->mode == VACCEL_CBC)
			memcpy(chain, cipher->encrypt ? out + done - AES_BLOCK : last, AES_BLOCK);
	}
	OPENSSL_cleanse(last, sizeof(last));
	return done;
}

/* ---- Updates ---- */

/* What the host left, behind what is done. */
static int finish_here(struct cipher *cipher, unsigned char *out, size_t *ret_len, size_t written,
		       const unsigned char *in, size_t len)
{
	size_t rest = 0;

	if (len && !cipher_local_update(cipher, out + written, &rest, in, len))
		return 0;
	*ret_len = written + rest;
	return 1;
}

/* The block that is begun, with bytes of the source, which begins with the next one then. Done here: it is one block. */
static int first_block(struct cipher *cipher, unsigned char *chain, unsigned char *out, const unsigned char **in,
		       size_t *len)
{
	size_t take = AES_BLOCK - cipher->n_pending, written;
	unsigned char block[AES_BLOCK];
	int r;

	memcpy(block, cipher->pending, cipher->n_pending);
	memcpy(block + cipher->n_pending, *in, take);
	*in += take;
	*len -= take;
	r = put_chain(cipher, chain, 0) && cipher_local_update(cipher, out, &written, block, sizeof(block)) &&
	    written == sizeof(block) && take_chain(cipher, chain);
	OPENSSL_cleanse(block, sizeof(block));
	return r;
}

/* ECB and CBC. With padding the last block of what is decrypted stays behind: it may be the one with the padding. */
static int update_blocks(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in,
			 size_t len)
{
	unsigned char chain[AES_BLOCK];
	unsigned int padding;
	size_t written = 0, bulk, done;

	if (!cipher_local_uint(cipher, OSSL_CIPHER_PARAM_PADDING, &padding) || !take_chain(cipher, chain))
		return cipher_local_update(cipher, out, ret_len, in, len);
	if (cipher->n_pending) {
		if (!first_block(cipher, chain, out, &in, &len))
			return 0;
		written = AES_BLOCK;
	}
	bulk = len / AES_BLOCK * AES_BLOCK;
	if (bulk == len && padding && !cipher->encrypt)
		bulk -= AES_BLOCK;
	done = run_blocks(cipher, chain, out + written, in, bulk);
	if (!put_chain(cipher, chain, padding))
		return 0;
	return finish_here(cipher, out, ret_len, written + done, in + done, len - done);
}

/* CTR. The rest of a block of key stream is the local context's. */
static int update_counter(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in,
			  size_t len)
{
	unsigned char chain[AES_BLOCK];
	unsigned int used, padding;
	size_t written = 0, done;

	if (!cipher_local_uint(cipher, OSSL_CIPHER_PARAM_NUM, &used) || used >= AES_BLOCK ||
	    !cipher_local_uint(cipher, OSSL_CIPHER_PARAM_PADDING, &padding))
		return cipher_local_update(cipher, out, ret_len, in, len);
	if (used && !cipher_local_update(cipher, out, &written, in, AES_BLOCK - used))
		return 0;
	if (!take_chain(cipher, chain))
		return 0;
	done = run_blocks(cipher, chain, out + written, in + written, (len - written) / AES_BLOCK * AES_BLOCK);
	if (done && !put_chain(cipher, chain, padding))
		return 0;
	written += done;
	return finish_here(cipher, out, ret_len, written, in + written, len - written);
}

/* XTS: all of it is one data unit, and no state follows. */
static int update_unit(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	if (len > most_at_once(cipher, out == in) || run_apart(cipher, cipher->iv, out, in, len) < 0)
		return cipher_local_update(cipher, out, ret_len, in, len);
	*ret_len = len;
	return 1;
}

int forward_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	switch (cipher->algorithm->mode) {
	case VACCEL_CTR:
		return update_counter(cipher, out, ret_len, in, len);
	case VACCEL_XTS:
		return update_unit(cipher, out, ret_len, in, len);
	default:
		return update_blocks(cipher, out, ret_len, in, len);
	}
}

int forward_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len)
{
	unsigned char chain[AES_BLOCK];
	unsigned int padding;
	size_t done = 0;

	if (cipher->algorithm->block_len == 1)
		return forward_update(cipher, out, ret_len, in, len);
	if (!cipher_local_uint(cipher, OSSL_CIPHER_PARAM_PADDING, &padding) || !take_chain(cipher, chain))
		return raise_reason(PROV_R_CIPHER_OPERATION_FAILED);
	done = run_blocks(cipher, chain, out, in, len);
	if (done && !put_chain(cipher, chain, padding))
		return 0;
	if (done < len && EVP_Cipher(cipher->local, out + done, in + done, (unsigned int)(len - done)) < 0)
		return 0;
	*ret_len = len;
	return 1;
}
