/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to where ciphers are computed, and keys there.
 *
 * One struct host per provider. It connects when it has to, once per process: what a parent had is not used after fork(),
 * nor freed, for it is the parent's. A connection that was lost is replaced by the next one who asks, but not at once after
 * an attempt that failed. Keys hold the connection that they are on.
 */
#ifndef VACCEL_OPENSSL_HOST_H
#define VACCEL_OPENSSL_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/vaccel.h>

struct host;
struct host_key;

/** transport: a URL; NULL: a device or a daemon of this machine, never this process. Connects to nothing yet. */
struct host *host_new(const char *transport);
void host_free(struct host *host);

/**
 * Why host_key_import() or host_key_open(), which has just failed in this thread, did: the library's sentence, or one of
 * here. What fails with a key that there is has vaccel_error() only.
 */
const char *host_error(void);

/** Imports an AES key for one mode. The caller holds one reference of *ret_key. */
int host_key_import(struct host *host, uint32_t mode, const void *data, size_t len, struct host_key **ret_key);
/** Opens one that the host holds. */
int host_key_open(struct host *host, const char *name, struct host_key **ret_key);
struct host_key *host_key_ref(struct host_key *key);
/** The last reference frees it, there too. NULL is allowed. */
void host_key_unref(struct host_key *key);

/** NULL for NULL, and for a key of another process or of a connection that was lost: it has to be made again. */
struct vaccel_key *host_key_handle(struct host_key *key);
/** What the other end said of it when it was made. */
const struct vaccel_key_about *host_key_about(const struct host_key *key);

/** Bytes that one request may move, a multiple of 4096. */
size_t host_key_chunk(const struct host_key *key);

/** A request with the key has failed: notes what that means for its connection. */
void host_key_failed(struct host_key *key, int error);

#endif
