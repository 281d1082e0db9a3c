/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of the engine, and the operations on them that it serves itself. The state says which keys exist (state_key.c), the
 * objects here, one per row of it, hold what dies with the process: who uses a key. An object is filled when its key is
 * first used, so that a new worker goes on with the keys of the one before.
 *
 * A key ends in two steps. First it is retired, under the lock: its id is stale for all that come from now on. When the
 * last request that had it by then has ended, or at once if there is none, plugins are told, its bytes are overwritten and
 * its row is free, in the thread that ended that request and before its done(). In between the object is `gone`, and
 * counted in engine->n_gone, so that who closes a session can wait for it.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "engine/internal.h"
#include "op/key.h"
#include "util/util.h"

static uint32_t row_of(uint64_t id)
{
	return (uint32_t)id - 1;
}

/* ---- objects ---- */

static int fill_held(const struct engine *engine, const struct state_key *row, struct engine_key *object,
		     struct error *error)
{
	char name[VACCEL_KEY_NAME] = "";
	const struct held_key *held;

	memcpy(name, row->data, MIN(row->len, sizeof(name) - 1));
	held = held_find(engine, name);
	if (!held)
		return error_set(error, -ENOENT, "key %#" PRIx64 ": the host holds no key %s any more", row->id, name);
	object->about = held_about(held);
	object->plugin.data = held->data;
	object->plugin.len = held->len;
	return 0;
}

static int object_fill(struct engine *engine, const struct state_key *row, struct error *error)
{
	struct engine_key object = { .id = row->id, .session = row->session, .owner = row->owner };
	int r = 0;

	if (row->held) {
		r = fill_held(engine, row, &object, error);
	} else {
		object.about = (struct op_key){ row->type, row->bits, row->modes, row->rights, false };
		object.plugin.data = row->data;
		object.plugin.len = row->len;
	}
	if (r < 0)
		return r;
	object.plugin.id = row->id;
	object.plugin.type = object.about.type;
	object.plugin.modes = object.about.modes;
	object.plugin.rights = object.about.rights;
	object.plugin.held = object.about.held;
	engine->keys[row_of(row->id)] = object;
	return 0;
}

/* The row of a key that can be used. */
static int row_get(const struct engine *engine, uint32_t owner, uint64_t session, uint64_t id,
		   struct state_key *ret_row, struct error *error)
{
	struct state_key row;
	int r = state_key_get(engine->state, owner, id, &row, error);

	if (r < 0)
		return r;
	if (row.session != session)
		return error_set(error, -ENOENT, "key %#" PRIx64 ": belongs to another session", id);
	*ret_row = row;
	return 0;
}

/* Most requests use a key that others have used: then nothing but its object is looked at. */
HOT static int object_get(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id,
			  struct engine_key **ret_object, struct error *error)
{
	struct engine_key *object = &engine->keys[row_of(id)];
	struct state_key row;
	int r = 0;

	if (row_of(id) >= engine->config->limits.keys || object->id != id || object->gone || object->owner != owner ||
	    object->session != session) {
		r = row_get(engine, owner, session, id, &row, error);
		if (r == 0)
			r = object_fill(engine, &row, error);
	}
	if (r == 0)
		*ret_object = &engine->keys[row_of(id)];
	return r;
}

HOT int key_pin(struct engine *engine, struct engine_request *request, const struct op_desc *op, struct error *error)
{
	struct engine_key *object;
	uint64_t id;
	int r;

	memcpy(&id, request->op.params, sizeof(id));
	r = object_get(engine, request->owner, request->op.session, id, &object, error);
	/* Its worker died while it ran, and what it needs to run again is gone. */
	if (r == -ESTALE && request->again)
		return error_set(error, -EOWNERDEAD, "%s: interrupted, and key %#" PRIx64 " is gone since", op->name,
				 id);
	if (r == 0)
		r = op->check_key(op, &request->op, &object->about, error);
	if (r < 0)
		return r;
	object->refs++;
	request->key = object;
	return 0;
}

/* ---- the end of a key ---- */

/* Under the lock. Whoever calls it sees to it that key_end() is called when refs is 0. */
static void retire(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id)
{
	struct engine_key *object = &engine->keys[row_of(id)];

	state_key_retire(engine->state, owner, id, NULL);
	if (object->id != id)
		*object = (struct engine_key){ .id = id, .session = session, .owner = owner };
	object->gone = true;
	engine->n_gone++;
}

void key_end(struct engine *engine, struct engine_key *object)
{
	uint64_t id = object->id;

	for (unsigned int i = 0; i < engine->plugins.n; i++)
		if (engine->plugins.plugins[i]->decl.key_gone)
			engine->plugins.plugins[i]->decl.key_gone(id);
	pthread_mutex_lock(&engine->lock);
	state_key_wipe(engine->state, id);
	*object = (struct engine_key){ 0 };
	engine->n_gone--;
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
}

bool session_has_keys(const struct engine *engine, uint32_t owner, uint64_t session)
{
	struct state_key row;
	uint32_t cursor = 0;

	while (state_key_next(engine->state, owner, &cursor, &row))
		if (row.session == session)
			return true;
	for (uint32_t i = 0; engine->n_gone && i < engine->config->limits.keys; i++)
		if (engine->keys[i].gone && engine->keys[i].session == session)
			return true;
	return false;
}

void release_keys(struct engine *engine, uint32_t owner, uint64_t session)
{
	struct state_key row;
	uint32_t cursor = 0;

	pthread_mutex_lock(&engine->lock);
	while (state_key_next(engine->state, owner, &cursor, &row)) {
		if (row.session != session)
			continue;
		retire(engine, owner, session, row.id);
		if (engine->keys[row_of(row.id)].refs)
			continue;
		pthread_mutex_unlock(&engine->lock);
		key_end(engine, &engine->keys[row_of(row.id)]);
		pthread_mutex_lock(&engine->lock);
	}
	/* Those that other threads are about to end. */
	while (session_has_keys(engine, owner, session))
		pthread_cond_wait(&engine->idle, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
}

/* ---- what others ask for ---- */

/* The operation that a key of this type is for; a key that nobody here can use is not taken. */
static int find_route(struct engine *engine, uint32_t type, const struct route **ret_route, struct error *error)
{
	const struct route *route =
		engine_route(engine, type == VACCEL_KEY_AES ? VACCEL_OP_CIPHER : VACCEL_OP_AKCIPHER);

	*ret_route = route;
	return route->n_candidates ? 0
				   : error_set(error, -EOPNOTSUPP, "key: no plugin here serves %s", route->op->name);
}

/* Has the plugin look at a key of RSA. */
static int ask_plugin(struct engine *engine, const struct route *route, struct state_key *key, struct error *error)
{
	const struct vaccel_plugin_crypto_key asked = {
		.data = key->data, .len = key->len, .type = key->type, .rights = key->rights
	};
	char text[ERROR_TEXT] = "";
	const struct vaccel_plugin_report report = { text, sizeof(text) };

	for (unsigned int i = 0; i < route->n_candidates; i++) {
		const struct vaccel_plugin *decl = &engine->plugins.plugins[route->candidates[i].plugin]->decl;
		int r = decl->key_check ? decl->key_check(&asked, &key->bits, &report) : -EOPNOTSUPP;

		if (r == -EOPNOTSUPP)
			continue;
		if (r == 0)
			return 0;
		return error_set(error, r > 0 ? -EIO : r, "key: plugin %s: %s", decl->name,
				 *text ? text : strerror(r > 0 ? EIO : -r));
	}
	return 0;
}

/* Fills in what follows from the rest. */
static int check_import(struct engine *engine, struct state_key *key, struct error *error)
{
	const struct route *route = NULL;
	int r = key_check_kind(key->type, key->modes, key->len, error);

	if (r == 0 && (!key->rights || key->rights & ~(uint32_t)VACCEL_MAY_ALL))
		r = error_set(error, -EINVAL, "key: rights are %#x, not 1 to 0xf", key->rights);
	if (r == 0)
		r = find_route(engine, key->type, &route, error);
	if (r < 0)
		return r;
	key->held = false;
	key->bits = key->len * 8;
	if (key->type == VACCEL_KEY_AES)
		return 0;
	key->bits = 0;
	return ask_plugin(engine, route, key, error);
}

static int add(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag, const struct state_key *key,
	       uint64_t *ret_id, struct error *error)
{
	struct engine_session *object;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = session_get(engine, owner, session, &object, error);
	if (r == 0)
		r = state_key_add(engine->state, owner, session, tag, key, ret_id, error);
	pthread_mutex_unlock(&engine->lock);
	return r;
}

int engine_key_import(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag,
		      const struct state_key *key, uint64_t *ret_id, struct error *error)
{
	struct state_key checked = *key;
	int r = check_import(engine, &checked, error);

	return r < 0 ? r : add(engine, owner, session, tag, &checked, ret_id, error);
}

int engine_key_open(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag, const char *name,
		    uint64_t *ret_id, struct error *error)
{
	const struct state_key key = {
		.type = VACCEL_KEY_AES, .held = true, .data = name, .len = (uint32_t)strnlen(name, VACCEL_KEY_NAME)
	};
	const struct route *route;
	int r = find_route(engine, VACCEL_KEY_AES, &route, error);

	if (r == 0 && !held_find(engine, name))
		r = error_set(error, -ENOENT, "key: the host holds no key %.*s", (int)key.len, name);
	return r < 0 ? r : add(engine, owner, session, tag, &key, ret_id, error);
}

int engine_key_free(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct error *error)
{
	struct engine_key *unused = NULL;
	struct state_key row;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = row_get(engine, owner, session, id, &row, error);
	if (r == 0) {
		retire(engine, owner, session, id);
		if (!engine->keys[row_of(id)].refs)
			unused = &engine->keys[row_of(id)];
	}
	pthread_mutex_unlock(&engine->lock);
	if (unused)
		key_end(engine, unused);
	return r;
}

int engine_key_about(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct state_key *ret_key,
		     struct error *error)
{
	struct engine_key *object;
	struct state_key row;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = row_get(engine, owner, session, id, &row, error);
	if (r == 0)
		r = object_get(engine, owner, session, id, &object, error);
	if (r == 0) {
		row.type = object->about.type;
		row.bits = object->about.bits;
		row.modes = object->about.modes;
		row.rights = object->about.rights;
		row.data = NULL;
		row.len = 0;
		*ret_key = row;
	}
	pthread_mutex_unlock(&engine->lock);
	return r;
}

/* ---- operations ---- */

/* Written last: until then the key has no user. */
static int answer(struct engine *engine, const struct engine_request *request, uint64_t id, const struct op_arg *arg,
		  struct error *error)
{
	struct vaccel_key_about about = { .id = htole64(id) };
	struct state_key key;
	int r = engine_key_about(engine, request->owner, request->op.session, id, &key, error);

	if (r < 0)
		return r;
	about.type = htole32(key.type);
	about.bits = htole32(key.bits);
	about.modes = htole32(key.modes);
	about.rights = htole32(key.rights);
	about.held = htole32(key.held);
	memcpy(arg->data, &about, sizeof(about));
	return 0;
}

/* The key's bytes are copied before they are looked at: they may lie in memory that others can write to. */
static int run_import(struct engine *engine, struct engine_request *request, struct error *error)
{
	const struct vaccel_key_import *params = (const struct vaccel_key_import *)request->op.params;
	const struct op_arg *args = request->op.args;
	uint8_t bytes[VACCEL_KEY_BYTES];
	const struct state_key key = {
		.type = params->type,
		.modes = params->modes,
		.rights = params->rights,
		.data = bytes,
		.len = (uint32_t)args[0].len,
	};
	uint64_t id = 0;
	int r;

	memcpy(bytes, args[0].data, key.len);
	r = engine_key_import(engine, request->owner, request->op.session, request->tag, &key, &id, error);
	explicit_bzero(bytes, key.len);
	return r < 0 ? r : answer(engine, request, id, &args[1], error);
}

static int run_open(struct engine *engine, struct engine_request *request, struct error *error)
{
	const struct vaccel_key_open *params = (const struct vaccel_key_open *)request->op.params;
	uint64_t id = 0;
	int r = engine_key_open(engine, request->owner, request->op.session, request->tag, params->name, &id, error);

	return r < 0 ? r : answer(engine, request, id, &request->op.args[0], error);
}

static int run_free(struct engine *engine, struct engine_request *request, struct error *error)
{
	const struct vaccel_key_free *params = (const struct vaccel_key_free *)request->op.params;
	int r = engine_key_free(engine, request->owner, request->op.session, params->key, error);

	return r == -ESTALE && request->again ? 0 : r;
}

static const struct {
	uint32_t op;
	int (*run)(struct engine *engine, struct engine_request *request, struct error *error);
} builtins[] = {
	{ VACCEL_OP_KEY_IMPORT, run_import },
	{ VACCEL_OP_KEY_OPEN, run_open },
	{ VACCEL_OP_KEY_FREE, run_free },
};

int builtin_run(struct engine *engine, struct engine_request *request)
{
	struct engine_session *session;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = session_get(engine, request->owner, request->op.session, &session, &request->error);
	if (r == 0)
		r = buffers_pin(engine, request, &request->error);
	pthread_mutex_unlock(&engine->lock);
	if (r < 0)
		return r;
	r = -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_SIZE(builtins); i++)
		if (builtins[i].op == request->op.op)
			r = builtins[i].run(engine, request, &request->error);
	if (r < 0)
		error_prefix(&request->error, "%s", op_by_id(request->op.op)->name);
	pthread_mutex_lock(&engine->lock);
	buffers_unpin(request);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	return r;
}
