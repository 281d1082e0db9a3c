/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver for the virtio-crypto device of a daemon, over the front-end of src/vhost: as under QEMU's cryptodev-vhost-user,
 * with sessions that messages make and data queues, and as under a VMM that leaves the control queue to the device.
 *
 * One request at a time, one thread. Nothing here asserts. After a minute without an answer: -ETIMEDOUT.
 */
#ifndef TESTS_COMMON_CRYPT_H
#define TESTS_COMMON_CRYPT_H

#include <linux/virtio_crypto.h>
#include <stdbool.h>
#include <stdint.h>

#include "session.h"
#include "util/error.h"

#define CRYPT_HEAP 65536u /* bytes that are the caller's, for data and keys */

struct crypt;

/* control: starts the control queue as well. */
int crypt_open(const char *socket, bool control, struct crypt **ret_crypt, struct error *error);
void crypt_close(struct crypt *crypt);
void *crypt_heap(struct crypt *crypt, uint32_t offset);
/* Of the front-end's socket. */
int crypt_fd(const struct crypt *crypt);

/* A plan for AES in CBC. */
struct session_plan crypt_cbc(uint32_t size, const void *key, uint32_t key_len, uint32_t direction);

/* By message. *ret_id: what the answer says, -1 if there is no session. A negative errno: there was no answer. */
int crypt_create(struct crypt *crypt, const struct session_plan *plan, int64_t *ret_id, struct error *error);
/* acknowledged: asks whether it was done, -EREMOTEIO: it was not. Without, as QEMU, nobody learns. */
int crypt_end(struct crypt *crypt, uint64_t id, bool acknowledged, struct error *error);

/* By the control queue. The key is at an offset of the heap, in pieces of so many bytes that lie twice as far apart. */
int crypt_control_create(struct crypt *crypt, uint32_t key, uint32_t key_len, uint32_t piece, uint32_t direction,
			 int64_t *ret_id);
int crypt_control_end(struct crypt *crypt, uint64_t id);

/*
 * Encrypts or decrypts len bytes of the heap, from one offset to another, with an IV of zeroes. The status of the answer
 * (VIRTIO_CRYPTO_OK is 0), or a negative errno: there was none.
 */
int crypt_run(struct crypt *crypt, uint32_t queue, uint64_t id, uint32_t opcode, uint32_t from, uint32_t to,
	      uint32_t len);

#endif
