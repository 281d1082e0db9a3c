/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin afalg: CIPHER by the host kernel's crypto API, through sockets of AF_ALG, so that hardware with a kernel driver does
 * the work.
 *
 * A cipher with its key is a socket (transform); requests go through sockets that are accepted from it (channel), one request
 * at a time each. Both are kept by key, mode and length of the tag, and closed in key_gone(), upon which the kernel overwrites
 * the key: it is nowhere in this process but where the caller has it. A request owns the channel that it took.
 *
 * What the kernel does not do by this way is refused with -EOPNOTSUPP, so that the next plugin of the order gets it.
 */
#ifndef PLUGINS_AFALG_AFALG_H
#define PLUGINS_AFALG_AFALG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/plugin.h>
#include "steps.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum { BLOCK = STEPS_BLOCK, MAX_TAG = STEPS_MAX_TAG, GCM_IV = 12 };

/* A mode of operation, and what serves it here. */
struct mode {
	uint32_t mode;
	const char *key;  /* in the configuration */
	const char *type; /* of the socket's address */
	const char *name; /* the kernel's, of whatever driver has the highest priority */
	char driver[64];  /* by configuration: a driver's name; "none"; "": the name above */
	bool serves;
};

#define MAX_MODE STEPS_MAX_MODE
/* By enum vaccel_cipher_mode. */
extern struct mode modes[MAX_MODE + 1];

/* What one message to a channel may have, in and out, as the system's limits for sockets are. */
extern size_t max_message;

/* ---- channel.c ---- */

struct channel {
	struct transform *transform;
	int fd;
};

/* For a key in a mode, with tags of so many bytes; the caller's alone. */
int channel_take(const struct vaccel_plugin_crypto_key *key, const struct mode *mode, size_t tag_len,
		 const struct vaccel_plugin_report *report, struct channel *ret_channel);
/* failed: what is in it is not known; it is closed. */
void channel_give(struct channel *channel, bool failed);
void channels_key_gone(uint64_t key);
void channels_fini(void);

/* ---- message.c ---- */

/* One message to the kernel and its answer. GCM: additional data, tag; otherwise none. */
struct message {
	const struct mode *mode;
	uint32_t direction;
	const uint8_t *iv;
	size_t iv_len;
	const uint8_t *aad;
	size_t aad_len;
	const uint8_t *source;
	uint8_t *destination;
	size_t len;
	uint8_t *tag; /* made or looked at */
	size_t tag_len;
};

/* -EBADMSG: the tag does not fit. Without a sentence. */
int message_exchange(int fd, const struct message *message);

/* ---- cipher.c ---- */

int cipher_run(const struct vaccel_plugin_call *call);

#endif
