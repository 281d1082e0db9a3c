/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions of the virtio-crypto device, for the control queue and for messages of front-ends that keep that queue to
 * themselves. See crypto.h. */
#include <errno.h>

#include "daemon/worker.h"
#include "util/util.h"

/* Of the engine's session; nothing else of the connection opens one. */
#define HOME_TAG 1

int crypto_session_home(struct wconn *conn, uint64_t *ret_session, struct error *error)
{
	uint64_t id = atomic_load_explicit(&conn->home, memory_order_acquire);
	int r = 0;

	/* Whoever comes at the same time is given the same one. */
	if (!id) {
		r = engine_session_open(conn->worker->engine, conn->id, HOME_TAG, &id, error);
		if (r == 0)
			atomic_store_explicit(&conn->home, id, memory_order_release);
	}
	if (r == 0)
		*ret_session = id;
	return r;
}

int crypto_session_create(struct wconn *conn, uint64_t tag, const struct crypto_session *session, uint64_t *ret_id,
			  struct error *error)
{
	struct state_key key;
	uint64_t home = 0;
	int r = crypto_session_key(session, &key, error);

	if (r == 0)
		r = crypto_session_home(conn, &home, error);
	return r < 0 ? r : engine_key_import(conn->worker->engine, conn->id, home, tag, &key, ret_id, error);
}

int crypto_session_destroy(struct wconn *conn, uint64_t id, bool again, struct error *error)
{
	uint64_t home = 0;
	int r = crypto_session_home(conn, &home, error);

	if (r == 0)
		r = engine_key_free(conn->worker->engine, conn->id, home, id, error);
	return r == -ESTALE && again ? 0 : r;
}

int crypto_message_create(struct wconn *conn, const struct vhost_crypto_session *asked, uint64_t tag, uint64_t *ret_id,
			  struct error *error)
{
	const struct crypto_session session = {
		.opcode = asked->opcode <= UINT32_MAX ? (uint32_t)asked->opcode : 0,
		.algorithm = asked->algorithm,
		.kind = asked->kind,
		.direction = asked->direction,
		.padding = asked->padding,
		.hash = asked->hash,
		.key = asked->key,
		.key_len = asked->key_len,
	};

	return crypto_session_create(conn, tag, &session, ret_id, error);
}

int crypto_message_close(struct wconn *conn, uint64_t id, struct error *error)
{
	return crypto_session_destroy(conn, id, false, error);
}

HOT int crypto_session_about(struct wconn *conn, uint64_t id, struct state_key *ret_key, struct error *error)
{
	uint64_t home = 0;
	int r = crypto_session_home(conn, &home, error);

	return r < 0 ? r : engine_key_about(conn->worker->engine, conn->id, home, id, ret_key, error);
}
