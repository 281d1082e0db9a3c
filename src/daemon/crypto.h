/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-crypto device, docs/virtio-crypto.md: crypto.c says what front-ends are told, crypto_wire.c reads requests,
 * crypto_request.c takes them from their descriptor chains and answers them, crypto_session.c makes and ends sessions.
 *
 * A session of the device is a key (engine/state.h): its id is the key's, its cipher the key's mode, its direction the
 * key's rights. All keys of a connection lie in one session of the engine, which the device opens when it is first needed
 * and finds again by its tag. So they survive the worker, go with the connection, and are of no use to any other.
 */
#ifndef VACCEL_DAEMON_CRYPTO_H
#define VACCEL_DAEMON_CRYPTO_H

#include <sys/uio.h>

#include "daemon/crypto_wire.h"
#include "op/request.h"
#include "vhost/crypto.h"
#include "vhost/vring.h"

struct request;
struct wconn;

/* Pieces of an argument that are kept without an allocation; and of the answer of the control queue. */
#define CRYPTO_PIECES 40

/* Where an argument lies in guest memory: adjacent pieces are one. */
struct crypto_pieces {
	struct iovec *rows;
	size_t n;
};

/* Its part of a struct request. */
struct crypto_request {
	struct crypto_wire wire;
	uint8_t iv[CRYPTO_MAX_IV];
	struct vaccel_akcipher_answer answer;
	bool control;	 /* of the control queue */
	uint8_t *status; /* in guest memory; of a data queue */
	struct crypto_pieces source, destination, response;
	struct iovec pieces[CRYPTO_PIECES];
	struct iovec *more; /* in the place of pieces, when those are not enough */
	void *message;	    /* control queue: with a key, so it is wiped; heap */
	size_t message_len;
};

/* ---- crypto_request.c: device.h says what these do ---- */
int crypto_decode(struct request *request, const struct vq_chain *chain, struct error *error);
void crypto_run(struct request *request);
void crypto_answer(struct request *request, int result, uint64_t value, const struct error *error);

/* ---- crypto_session.c ---- */
/*
 * Makes a session of a connection; the same tag gives the same one again. Its key is copied, the caller wipes its own.
 * -EOPNOTSUPP: no plugin serves it; -EDQUOT; -EINVAL.
 */
int crypto_session_create(struct wconn *conn, uint64_t tag, const struct crypto_session *session, uint64_t *ret_id,
			  struct error *error);
/* again: what is gone already was ended by an interrupted run of the same. -ENOENT never made here, -ESTALE gone. */
int crypto_session_destroy(struct wconn *conn, uint64_t id, bool again, struct error *error);
/* The same for who asks with messages: device.h. */
int crypto_message_create(struct wconn *conn, const struct vhost_crypto_session *asked, uint64_t tag, uint64_t *ret_id,
			  struct error *error);
int crypto_message_close(struct wconn *conn, uint64_t id, struct error *error);
/* The session of the engine in which a connection's keys lie. */
int crypto_session_home(struct wconn *conn, uint64_t *ret_session, struct error *error);
/* What the key of a session is. -ENOENT, -ESTALE. */
int crypto_session_about(struct wconn *conn, uint64_t id, struct state_key *ret_key, struct error *error);

#endif
