/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kind of device a daemon is. Rings, guest memory, journal, ledger, recovery and what outlives a process are the same
 * for all kinds; here is what is not: what front-ends are told, and how a chain becomes a request of the engine and its
 * result an answer. One struct each, in accel.c and crypto.c; their requests are in accel_*.c and crypto_*.c.
 *
 * Supervisor and worker read the same struct; the supervisor only its first half.
 */
#ifndef VACCEL_DAEMON_DEVICE_H
#define VACCEL_DAEMON_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/config.h"
#include "util/error.h"
#include "vhost/crypto.h"
#include "vhost/vring.h"

struct request;
struct wconn;

#define DEVICE_MAX_CONFIG 256
/* Words of the set of operations that plugins serve. */
#define DEVICE_OP_WORDS 8

struct device {
	const char *name; /* of --device, and the type that --print-capabilities tells */
	uint32_t virtio_id;
	uint64_t features; /* its own, beside those of all virtio devices */
	uint16_t (*n_queues)(const struct config *config);
	/* The configuration space as long as no plugin serves anything; then with what they serve, bit N % 32 of word N / 32. */
	size_t config_len;
	void (*fill_config)(const struct config *config, void *ret_space);
	void (*fill_served)(void *space, const uint32_t ops[DEVICE_OP_WORDS]);

	/* In the worker, of a request that request_begin() has prepared. */

	/*
	 * Copies and checks what is parsed of a chain that was taken. 0, 1: it has no room for an answer and goes back without
	 * one, or a negative errno, with which it is to be answered.
	 */
	int (*decode)(struct request *request, const struct vq_chain *chain, struct error *error);
	/* Does what was decoded; leads to answer(), now or later. */
	void (*run)(struct request *request);
	/* Writes the answer and gives the chain back; the request is gone afterwards. */
	void (*answer)(struct request *request, int result, uint64_t value, const struct error *error);

	/*
	 * Sessions that front-ends make and end with messages; NULL: they cannot. The control thread calls. What a worker before
	 * has made with a tag is found again by it. -ESTALE: it is gone already.
	 */
	int (*session_create)(struct wconn *conn, const struct vhost_crypto_session *asked, uint64_t tag,
			      uint64_t *ret_id, struct error *error);
	int (*session_close)(struct wconn *conn, uint64_t id, struct error *error);
};

/* Row index; NULL past the end. The first is what a daemon is when nobody says. */
const struct device *device_at(size_t index);
const struct device *device_by_name(const char *name);

extern const struct device device_accel, device_crypto;

#endif
