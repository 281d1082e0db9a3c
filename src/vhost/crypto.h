/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages with which QEMU's cryptodev-vhost-user makes and ends sessions of a virtio-crypto device, whose control
 * queue it serves itself. Their payload is QEMU's C structure as it lies in the memory of an x86-64 host, pointers
 * included, and not described anywhere else; two kinds are in use, which only their length tells apart. Here is what they
 * say. What the numbers mean (virtio 1.2, 5.9) is for others: they pass through.
 */
#ifndef VACCEL_VHOST_CRYPTO_H
#define VACCEL_VHOST_CRYPTO_H

#include <stdint.h>

#include "util/error.h"
#include "vhost/msg.h"

#define VHOST_CRYPTO_OLD_SIZE 632u  /* QEMU up to 7.2: ciphers only */
#define VHOST_CRYPTO_NEW_SIZE 1072u /* QEMU from 8.0 on */

#define VHOST_CRYPTO_MAX_KEY  1024
#define VHOST_CRYPTO_CREATE   0x02u /* VIRTIO_CRYPTO_CIPHER_CREATE_SESSION, which the old layout leaves out */
#define VHOST_CRYPTO_AKCIPHER 4u    /* service, bits 8 and up of the opcode, that has a layout of its own */

struct vhost_crypto_session {
	uint64_t opcode;
	uint32_t algorithm;
	uint32_t kind;	    /* ciphers: how they are combined with a hash; others: type of key */
	uint32_t direction; /* ciphers: to encrypt or to decrypt */
	uint32_t padding;   /* others */
	uint32_t hash;
	uint32_t key_len; /* at most VHOST_CRYPTO_MAX_KEY, or what the layout has room for */
	uint8_t key[VHOST_CRYPTO_MAX_KEY];
};

/*
 * Reads a CREATE_CRYPTO_SESSION. -EBADMSG: its length is that of neither layout; -EINVAL: it has a key that is longer than
 * its room. Then nothing was filled in. Whoever calls wipes the result, and the message.
 */
int vhost_crypto_parse(const struct vhost_msg *msg, struct vhost_crypto_session *ret_session, struct error *error);

/* Writes the id of the session, or -1, into an answer, which has the length of its message. */
void vhost_crypto_set_id(struct vhost_msg *reply, int64_t id);

#endif
