/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the accel device about keys, built by hand as those of rig.h. */
#ifndef TESTS_DAEMON_KEYS_H
#define TESTS_DAEMON_KEYS_H

#include "rig.h"

#include <vaccel/ops.h>

/* The key lies in the heap in so many pieces, which are overwritten afterwards. Returns its id. */
uint64_t guest_import(struct guest *guest, uint64_t session, const void *key, size_t len, unsigned int pieces);
/* Another kind: a private key of RSA, say; also for what is not AES. */
uint64_t guest_import_as(struct guest *guest, uint64_t session, uint32_t type, uint32_t rights, const void *key,
			 size_t len, unsigned int pieces);
/* Signs len bytes, as many as the modulus has, as they are (RAW). */
void guest_sign(struct guest *guest, uint64_t session, uint64_t key, uint32_t len);
uint64_t guest_key_open(struct guest *guest, uint64_t session, const char *name);
void guest_key_free(struct guest *guest, uint64_t session, uint64_t key);
/* Encrypts and decrypts some blocks with CBC, and sees the same again; checks the status of both. */
void guest_crypt(struct guest *guest, unsigned int queue, uint64_t session, uint64_t key, uint32_t status);

#endif
