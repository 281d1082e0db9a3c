/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions and buffers of the engine. The state (state.h) says which exist; the objects here hold what dies with the
 * process: queues, plugin sessions, mappings. An object is made when its id is first used, so that a new worker serves
 * the sessions of the one before.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "util/util.h"

static uint32_t row_of(uint64_t id)
{
	return (uint32_t)id - 1;
}

HOT int session_get(struct engine *engine, uint32_t owner, uint64_t id, struct engine_session **ret_session,
		    struct error *error)
{
	struct engine_session **slot;
	int r = state_session_check(engine->state, owner, id, error);

	if (r < 0)
		return r;
	slot = &engine->sessions[row_of(id)];
	if (!*slot) {
		*slot = calloc(1, sizeof(**slot));
		if (!*slot)
			return error_set(error, -ENOMEM, "session %#" PRIx64 ": no memory", id);
		(*slot)->id = id;
		(*slot)->owner = owner;
	}
	if ((*slot)->closing)
		return error_set(error, -ESTALE, "session %#" PRIx64 ": is being closed", id);
	*ret_session = *slot;
	return 0;
}

int engine_session_open(struct engine *engine, uint32_t owner, uint64_t tag, uint64_t *ret_id, struct error *error)
{
	int r;

	pthread_mutex_lock(&engine->lock);
	r = state_session_open(engine->state, owner, tag, ret_id, error);
	pthread_mutex_unlock(&engine->lock);
	return r;
}

static void close_plugin_sessions(struct engine *engine, struct engine_session *session)
{
	for (unsigned int i = 0; i < engine->plugins.n; i++) {
		struct plugin *plugin = engine->plugins.plugins[i];

		pthread_mutex_lock(&plugin->lock);
		if (session->opened[i] && plugin->decl.close)
			plugin->decl.close(session->plugin_session[i]);
		session->opened[i] = false;
		pthread_mutex_unlock(&plugin->lock);
	}
}

void release_mapping(struct engine *engine, uint64_t id, const struct engine_mapping *mapping)
{
	for (unsigned int i = 0; i < engine->plugins.n; i++) {
		struct plugin *plugin = engine->plugins.plugins[i];

		if (!plugin->decl.buffer_gone)
			continue;
		pthread_mutex_lock(&plugin->lock);
		plugin->decl.buffer_gone(id);
		pthread_mutex_unlock(&plugin->lock);
	}
	if (mapping->release)
		mapping->release(mapping->data, mapping->len, mapping->opaque);
}

static void buffer_clear(struct engine *engine, struct engine_buffer *buffer)
{
	engine->n_bound -= buffer->id != 0;
	*buffer = (struct engine_buffer){ 0 };
}

static void buffer_set(struct engine *engine, const struct state_buffer *row, const struct engine_mapping *mapping)
{
	engine->buffers[row_of(row->id)] = (struct engine_buffer){
		.id = row->id,
		.session = row->session,
		.owner = row->owner,
		.len = row->len,
		.mapping = *mapping,
	};
	engine->n_bound++;
}

/* Takes one mapping of the session (id 0: of the owner) out of the tables; false when none is left. Waits for users. */
static bool take_mapping(struct engine *engine, uint32_t owner, uint64_t session, uint64_t *ret_id,
			 struct engine_mapping *ret_mapping)
{
	for (uint32_t i = 0; engine->n_bound && i < engine->config->limits.buffers; i++) {
		struct engine_buffer *buffer = &engine->buffers[i];

		if (!buffer->id || buffer->owner != owner || (session && buffer->session != session))
			continue;
		if (buffer->refs) {
			/* What is in this row after the wait may be another's: look again from the start. */
			pthread_cond_wait(&engine->idle, &engine->lock);
			i = UINT32_MAX;
			continue;
		}
		*ret_id = buffer->id;
		*ret_mapping = buffer->mapping;
		buffer_clear(engine, buffer);
		return true;
	}
	return false;
}

static void release_buffers(struct engine *engine, uint32_t owner, uint64_t session)
{
	struct engine_mapping mapping;
	uint64_t id;
	bool more;

	do {
		pthread_mutex_lock(&engine->lock);
		more = take_mapping(engine, owner, session, &id, &mapping);
		pthread_mutex_unlock(&engine->lock);
		if (more)
			release_mapping(engine, id, &mapping);
	} while (more);
}

static bool has_plugin_session(const struct engine *engine, const struct engine_session *session)
{
	for (unsigned int i = 0; i < engine->plugins.n; i++)
		if (session->opened[i] && engine->plugins.plugins[i]->decl.close)
			return true;
	return false;
}

static bool has_buffers(const struct engine *engine, uint64_t id)
{
	for (uint32_t i = 0; engine->n_bound && i < engine->config->limits.buffers; i++)
		if (engine->buffers[i].id && engine->buffers[i].session == id)
			return true;
	return false;
}

/* Under the lock. */
static bool is_busy(const struct engine *engine, const struct engine_session *session, uint32_t owner, uint64_t id)
{
	return has_buffers(engine, id) || session_has_keys(engine, owner, id) ||
	       (session && (session->closing || session->n_running || session->waiting.head ||
			    has_plugin_session(engine, session)));
}

int engine_session_close_idle(struct engine *engine, uint32_t owner, uint64_t id, struct error *error)
{
	struct engine_session *session = NULL;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = state_session_check(engine->state, owner, id, error);
	if (r == 0 && is_busy(engine, engine->sessions[row_of(id)], owner, id))
		r = -EAGAIN;
	if (r == 0) {
		session = engine->sessions[row_of(id)];
		engine->sessions[row_of(id)] = NULL;
		r = state_session_close(engine->state, owner, id, error);
		pthread_cond_broadcast(&engine->idle);
	}
	pthread_mutex_unlock(&engine->lock);
	free(session);
	return r;
}

int engine_session_close(struct engine *engine, uint32_t owner, uint64_t id, struct error *error)
{
	struct engine_session *session;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = session_get(engine, owner, id, &session, error);
	if (r < 0) {
		pthread_mutex_unlock(&engine->lock);
		return r;
	}
	session->closing = true;
	schedule_cancel_waiting(engine, session, "its session was closed");
	while (session->n_running)
		pthread_cond_wait(&engine->idle, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
	close_plugin_sessions(engine, session);
	release_buffers(engine, owner, id);
	release_keys(engine, owner, id);
	pthread_mutex_lock(&engine->lock);
	engine->sessions[row_of(id)] = NULL;
	r = state_session_close(engine->state, owner, id, error);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	free(session);
	return r;
}

void engine_owner_gone(struct engine *engine, uint32_t owner)
{
	uint32_t cursor = 0;
	uint64_t id;
	bool more;

	/* All first: what waits in one session must not start while another one is being closed. */
	pthread_mutex_lock(&engine->lock);
	while (state_session_next(engine->state, owner, &cursor, &id))
		if (engine->sessions[row_of(id)])
			schedule_cancel_waiting(engine, engine->sessions[row_of(id)], "its connection is gone");
	pthread_mutex_unlock(&engine->lock);
	cursor = 0;
	do {
		pthread_mutex_lock(&engine->lock);
		more = state_session_next(engine->state, owner, &cursor, &id);
		pthread_mutex_unlock(&engine->lock);
		if (more)
			engine_session_close(engine, owner, id, NULL);
	} while (more);
	/* One that another thread is closing was passed over: it must be gone too before the owner is. */
	pthread_mutex_lock(&engine->lock);
	for (cursor = 0; state_session_next(engine->state, owner, &cursor, &id); cursor = 0)
		pthread_cond_wait(&engine->idle, &engine->lock);
	/* The caller frees what done() looks at. */
	while (owner_is_ending(engine, owner))
		pthread_cond_wait(&engine->idle, &engine->lock);
	pthread_mutex_unlock(&engine->lock);
}

int engine_buffer_add(struct engine *engine, uint32_t owner, uint64_t session, uint64_t tag,
		      const struct engine_mapping *mapping, const struct state_extent *extents, uint32_t n_extents,
		      uint64_t *ret_id, struct error *error)
{
	struct engine_session *object;
	bool surplus = false;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = session_get(engine, owner, session, &object, error);
	if (r == 0)
		r = state_buffer_add(engine->state, owner, session, tag, mapping->len, extents, n_extents, ret_id,
				     error);
	if (r == 0) {
		/* The request ran before, and its buffer has been bound since. */
		surplus = engine->buffers[row_of(*ret_id)].id == *ret_id;
		if (!surplus)
			buffer_set(engine,
				   &(struct state_buffer){
					   .id = *ret_id, .session = session, .owner = owner, .len = mapping->len },
				   mapping);
	}
	pthread_mutex_unlock(&engine->lock);
	if (surplus && mapping->release)
		mapping->release(mapping->data, mapping->len, mapping->opaque);
	return r;
}

/* Once a session is being closed nothing may be bound in it: what is bound last would be left over. */
static bool is_closing(const struct engine *engine, uint64_t session)
{
	const struct engine_session *object = engine->sessions[row_of(session)];

	return object && object->closing;
}

static int copy_extents(const struct state_buffer *row, struct state_extent **ret_extents, struct error *error)
{
	*ret_extents = calloc(row->n_extents, sizeof(**ret_extents));
	if (!*ret_extents)
		return error_set(error, -ENOMEM, "buffer %#" PRIx64 ": no memory for its %u extents", row->id,
				 row->n_extents);
	memcpy(*ret_extents, row->extents, row->n_extents * sizeof(**ret_extents));
	return 0;
}

int engine_buffer_unbound(struct engine *engine, uint32_t owner, uint32_t *cursor, struct state_buffer *ret_row,
			  struct state_extent **ret_extents, struct error *error)
{
	int r = 0;

	pthread_mutex_lock(&engine->lock);
	while (state_buffer_next(engine->state, owner, cursor, ret_row)) {
		if (!ret_row->n_extents || engine->buffers[row_of(ret_row->id)].id == ret_row->id ||
		    is_closing(engine, ret_row->session))
			continue;
		r = copy_extents(ret_row, ret_extents, error);
		if (r == 0) {
			ret_row->extents = *ret_extents;
			r = 1;
		}
		break;
	}
	pthread_mutex_unlock(&engine->lock);
	return r;
}

int engine_buffer_bind(struct engine *engine, uint64_t id, const struct engine_mapping *mapping, struct error *error)
{
	struct state_buffer row;
	uint32_t cursor = 0;
	int r = error_set(error, -ENXIO, "buffer %#" PRIx64 ": is not registered", id);

	pthread_mutex_lock(&engine->lock);
	while (state_buffer_next(engine->state, 0, &cursor, &row)) {
		if (row.id != id)
			continue;
		if (row.len != mapping->len || engine->buffers[row_of(id)].id) {
			r = error_set(error, -EINVAL, "buffer %#" PRIx64 ": is bound, or has another size", id);
			break;
		}
		if (is_closing(engine, row.session)) {
			r = error_set(error, -ESTALE, "buffer %#" PRIx64 ": its session is being closed", id);
			break;
		}
		buffer_set(engine, &row, mapping);
		r = 0;
		break;
	}
	pthread_mutex_unlock(&engine->lock);
	return r;
}

void engine_owner_unbind(struct engine *engine, uint32_t owner)
{
	release_buffers(engine, owner, 0);
}

/* The object of a live buffer. */
static int buffer_get(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id,
		      struct engine_buffer **ret_buffer, struct error *error)
{
	struct state_buffer row;
	int r = state_buffer_get(engine->state, owner, id, &row, error);

	if (r < 0)
		return r;
	if (row.session != session)
		return error_set(error, -ENXIO, "buffer %#" PRIx64 ": belongs to another session", id);
	if (engine->buffers[row_of(id)].id != id)
		return error_set(error, -EFAULT, "buffer %#" PRIx64 ": its memory is no longer shared", id);
	*ret_buffer = &engine->buffers[row_of(id)];
	return 0;
}

int engine_buffer_remove(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, struct error *error)
{
	struct engine_mapping mapping = { 0 };
	struct engine_buffer *buffer;
	struct state_buffer row;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = state_buffer_get(engine->state, owner, id, &row, error);
	if (r == 0 && row.session != session)
		r = error_set(error, -ENXIO, "buffer %#" PRIx64 ": belongs to another session", id);
	if (r == 0) {
		buffer = &engine->buffers[row_of(id)];
		if (buffer->id == id && buffer->refs) {
			r = error_set(error, -EBUSY, "buffer %#" PRIx64 ": a request uses it", id);
		} else {
			mapping = buffer->mapping;
			buffer_clear(engine, buffer);
			r = state_buffer_remove(engine->state, owner, id, error);
		}
	}
	pthread_mutex_unlock(&engine->lock);
	if (r == 0)
		release_mapping(engine, id, &mapping);
	return r;
}

int engine_buffer_range(struct engine *engine, uint32_t owner, uint64_t session, uint64_t id, uint64_t offset,
			uint64_t len, void **ret_data, struct error *error)
{
	struct engine_buffer *buffer;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = buffer_get(engine, owner, session, id, &buffer, error);
	if (r == 0 && !range_in(offset, len, buffer->len))
		r = error_set(error, -ERANGE, "buffer %#" PRIx64 ": %" PRIu64 " bytes at %" PRIu64 " leave it", id, len,
			      offset);
	if (r == 0)
		*ret_data = (char *)buffer->mapping.data + offset;
	pthread_mutex_unlock(&engine->lock);
	return r;
}

int engine_buffer_extents(struct engine *engine, uint32_t owner, uint64_t id, struct state_extent **ret_extents)
{
	struct state_buffer row;
	int r;

	pthread_mutex_lock(&engine->lock);
	r = state_buffer_get(engine->state, owner, id, &row, NULL);
	if (r == 0) {
		*ret_extents = calloc(MAX(row.n_extents, 1), sizeof(**ret_extents));
		if (*ret_extents)
			memcpy(*ret_extents, row.extents, row.n_extents * sizeof(**ret_extents));
		r = *ret_extents ? (int)row.n_extents : -ENOMEM;
	}
	pthread_mutex_unlock(&engine->lock);
	return r;
}

HOT void buffers_unpin(struct engine_request *request)
{
	for (uint32_t i = 0; i < request->op.n_args; i++) {
		if (request->pinned[i])
			request->pinned[i]->refs--;
		request->pinned[i] = NULL;
	}
}

HOT int buffers_pin(struct engine *engine, struct engine_request *request, struct error *error)
{
	int r = 0;

	for (uint32_t i = 0; i < request->op.n_args; i++)
		request->pinned[i] = NULL;
	for (uint32_t i = 0; r == 0 && i < request->op.n_args; i++) {
		struct op_arg *arg = &request->op.args[i];
		struct engine_buffer *buffer;

		if (!arg->buffer)
			continue;
		r = buffer_get(engine, request->owner, request->op.session, arg->buffer, &buffer, error);
		if (r < 0)
			break;
		if (!range_in(arg->offset, arg->len, buffer->len)) {
			r = error_set(error, -ERANGE,
				      "argument %u: %" PRIu64 " bytes at %" PRIu64 " leave buffer %#" PRIx64
				      " of %" PRIu64,
				      i, arg->len, arg->offset, arg->buffer, buffer->len);
			break;
		}
		arg->data = (char *)buffer->mapping.data + arg->offset;
		request->pinned[i] = buffer;
		buffer->refs++;
	}
	if (r < 0)
		buffers_unpin(request);
	return r;
}
