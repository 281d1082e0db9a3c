/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of a virtio-crypto device (virtio 1.2, 5.9) as bytes, in the layout that is used when the feature
 * VIRTIO_CRYPTO_F_REVISION_1 is not negotiated; layouts and numbers are those of linux/virtio_crypto.h. Pure functions: no
 * memory of a guest, no engine. What they read is the caller's own copy.
 *
 * Which ciphers there are, with their numbers, sizes of keys and IVs and blocks, is the table of op/cipher.c.
 */
#ifndef VACCEL_DAEMON_CRYPTO_WIRE_H
#define VACCEL_DAEMON_CRYPTO_WIRE_H

#include <linux/virtio_crypto.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/state.h"
#include "util/error.h"

/* What requests begin with; behind it comes the key of a session, or IV, source and, to verify, what it is compared with. */
#define CRYPTO_CONTROL_HEADER sizeof(struct virtio_crypto_op_ctrl_req)
#define CRYPTO_DATA_HEADER    sizeof(struct virtio_crypto_op_data_req)
#define CRYPTO_MAX_IV	      16

enum crypto_kind {
	CRYPTO_CREATE = 1,
	CRYPTO_DESTROY,
	CRYPTO_CIPHER,
	CRYPTO_AKCIPHER,
};

/* A session to be made, in the numbers of virtio-crypto, whichever way they came. */
struct crypto_session {
	uint32_t opcode; /* VIRTIO_CRYPTO_CIPHER_CREATE_SESSION, VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION */
	uint32_t algorithm;
	uint32_t kind;	    /* CIPHER: VIRTIO_CRYPTO_SYM_OP_*; AKCIPHER: VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_* */
	uint32_t direction; /* CIPHER: VIRTIO_CRYPTO_OP_* */
	uint32_t padding;   /* AKCIPHER: VIRTIO_CRYPTO_RSA_*_PADDING */
	uint32_t hash;	    /* AKCIPHER: VIRTIO_CRYPTO_RSA_* */
	const void *key;
	uint32_t key_len;
};

struct crypto_wire {
	enum crypto_kind kind;
	uint64_t session;	      /* all but CREATE */
	struct crypto_session create; /* CREATE; its key lies in the message */
	uint32_t operation;	      /* CIPHER: enum vaccel_direction; AKCIPHER: enum vaccel_akcipher_operation */
	uint32_t iv_len;
	uint32_t src_len;
	uint32_t dst_len;
	bool verifies; /* AKCIPHER: what is called the destination is read */
};

/* Longest message of the control queue. */
size_t crypto_max_control(void);

/*
 * -EBADMSG: shorter than it says. -EOPNOTSUPP: service or opcode are not known here. In either case ret_wire->kind tells how
 * the answer is laid out: as DESTROY's, or else as CREATE's.
 */
int crypto_wire_control(const void *message, size_t len, struct crypto_wire *ret_wire, struct error *error);

/*
 * header: CRYPTO_DATA_HEADER bytes, or readable ones if those are fewer; the chain it comes from has so many. -EBADMSG: too few;
 * -EOPNOTSUPP; -EINVAL: an IV that is too long for any cipher. What depends on the session is not checked.
 */
int crypto_wire_data(const void *header, uint64_t readable, uint64_t writable, struct crypto_wire *ret_wire,
		     struct error *error);

/*
 * The key that a session is: type, mode, rights, and padding and hash as its note. ret_key->data is session->key.
 * -EOPNOTSUPP: algorithm, padding or hash are not known here; -EINVAL: a direction or a type of key that cannot be. Whether the
 * key fits is not looked at: who takes it does (op/key.h).
 */
int crypto_session_key(const struct crypto_session *session, struct state_key *ret_key, struct error *error);
/* What was noted of one of RSA. */
uint32_t crypto_key_padding(const struct state_key *key);
uint32_t crypto_key_hash(const struct state_key *key);

/* VIRTIO_CRYPTO_OK and so on, of 0 or a negative errno. creating: of a new session. */
uint8_t crypto_status(int result, bool creating);

#endif
