/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys: handles of what the other end has. The library sees a key's bytes only while vaccel_key_import() runs, and where
 * the transport copies them, it overwrites the copy. So it cannot give them to a daemon that restarted: a key is bound to
 * the connection on which it was made, and any other one is never told its number, which there would be another key's.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "lib/answer.h"
#include "lib/internal.h"
#include "util/util.h"

/* ---- Handles ---- */

/* Called with the context's lock. */
static void detach(struct vaccel_key *key)
{
	if (!key->session)
		return;
	*key->prev = key->next;
	if (key->next)
		key->next->prev = key->prev;
	__atomic_store_n(&key->session, NULL, __ATOMIC_RELEASE);
}

static void attach(struct vaccel_key *key, struct vaccel_session *session)
{
	pthread_mutex_lock(&session->context->lock);
	session->context->refs++;
	key->context = session->context;
	key->session = session;
	key->next = session->keys;
	key->prev = &session->keys;
	if (key->next)
		key->next->prev = &key->next;
	session->keys = key;
	pthread_mutex_unlock(&session->context->lock);
}

void key_ref(struct vaccel_key *key)
{
	pthread_mutex_lock(&key->context->lock);
	key->refs++;
	pthread_mutex_unlock(&key->context->lock);
}

void key_unref(struct vaccel_key *key)
{
	struct vaccel_context *context = key->context;
	bool last;

	pthread_mutex_lock(&context->lock);
	last = --key->refs == 0;
	pthread_mutex_unlock(&context->lock);
	if (!last)
		return;
	free(key);
	context_unref(context);
}

void keys_free_all(struct vaccel_session *session)
{
	struct vaccel_key *key;

	for (;;) {
		pthread_mutex_lock(&session->context->lock);
		key = session->keys;
		if (key)
			detach(key);
		pthread_mutex_unlock(&session->context->lock);
		if (!key)
			return;
		key_unref(key);
	}
}

HOT struct vaccel_session *key_session(const struct vaccel_key *key, int *ret_error)
{
	struct vaccel_session *session = NULL;
	int r = key ? context_check(key->context, "key") : lib_failf(-EINVAL, "key: none given");

	if (r == 0)
		session = __atomic_load_n(&key->session, __ATOMIC_ACQUIRE);
	if (r == 0 && !session)
		r = lib_failf(-ESTALE, "key: it was freed, or its session was closed");
	*ret_error = r;
	return session;
}

/* ---- Making and freeing ---- */

/* The call's last argument is to be the answer. */
static int make(struct vaccel_session *session, struct vaccel_call *call, struct vaccel_arg *answer,
		const struct vaccel_key_about *wanted, struct vaccel_key **ret_key)
{
	struct journey journey;
	struct vaccel_key *key;
	struct error error;
	int r;

	if (!ret_key)
		return lib_failf(-EINVAL, "key: nowhere to return it");
	key = calloc(1, sizeof(*key));
	if (!key)
		return lib_failf(-ENOMEM, "key: out of memory");
	*answer = out_arg(&key->about, sizeof(key->about));
	r = request_run(session, call, 0, &journey);
	if (r == 0 && answer_key(&key->about, wanted, &error) < 0)
		r = lib_fail(&error);
	if (r < 0) {
		free(key);
		return r;
	}
	key->connection = journey.connection;
	key->refs = 1;
	attach(key, session);
	*ret_key = key;
	return 0;
}

PUBLIC int vaccel_key_import(struct vaccel_session *session, enum vaccel_key_type type, uint32_t modes, uint32_t rights,
			     const void *data, size_t len, struct vaccel_key **ret_key)
{
	const struct vaccel_key_import params = { .type = type, .modes = modes, .rights = rights };
	/* The number of bits of an RSA key is not that of its bytes. */
	const struct vaccel_key_about wanted = {
		.type = type, .bits = type == VACCEL_KEY_AES ? (uint32_t)len * 8 : 0, .modes = modes, .rights = rights
	};
	struct vaccel_arg args[2] = { in_arg(data, len) };
	struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_KEY_IMPORT,
		.params = &params,
		.params_len = sizeof(params),
		.args = args,
		.n_args = ARRAY_SIZE(args),
	};

	return make(session, &call, &args[1], &wanted, ret_key);
}

PUBLIC int vaccel_key_open(struct vaccel_session *session, const char *name, struct vaccel_key **ret_key)
{
	const struct vaccel_key_about wanted = { .held = 1 };
	struct vaccel_key_open params = { .name = "" };
	struct vaccel_arg arg;
	struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_KEY_OPEN,
		.params = &params,
		.params_len = sizeof(params),
		.args = &arg,
		.n_args = 1,
	};
	size_t len = name ? strnlen(name, sizeof(params.name)) : 0;

	if (!name || len == sizeof(params.name))
		return lib_failf(-EINVAL, "key: %s", name ? "its name has more than 63 characters" : "none is named");
	memcpy(params.name, name, len);
	return make(session, &call, &arg, &wanted, ret_key);
}

PUBLIC const struct vaccel_key_about *vaccel_key_about(const struct vaccel_key *key)
{
	return key ? &key->about : NULL;
}

PUBLIC int vaccel_key_free(struct vaccel_key *key)
{
	struct vaccel_session *session;
	struct vaccel_key_free params;
	const struct vaccel_call call = {
		.size = sizeof(call),
		.op = VACCEL_OP_KEY_FREE,
		.params = &params,
		.params_len = sizeof(params),
	};
	int r = 0;

	if (!key)
		return 0;
	session = key_session(key, &r);
	if (!session)
		return r;
	params.key = key->about.id;
	r = request_run(session, &call, key->connection, NULL);
	pthread_mutex_lock(&key->context->lock);
	detach(key);
	pthread_mutex_unlock(&key->context->lock);
	key_unref(key);
	/* It went with its daemon. */
	return r == -ESTALE || r == -ECONNRESET ? 0 : r;
}
