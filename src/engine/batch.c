/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which requests run together. A plugin gives a request a key when it is submitted; those of one op and key that wait are
 * handed to it together, as many as it takes. The first of them waits for others until so many are there, or until its time
 * has come. Meanwhile all of them stay in their sessions' queues: so they are cancelled, expire and go with their session as
 * any other, a thread that waits for them does other work that comes, and none overtakes what its session asked for before.
 *
 * The request that is due takes the others with it, of the sessions that were given the least first. Together they are one
 * operation of the plugin: of a session only one, if the plugin runs one at a time for each.
 */
#include <string.h>

#include "engine/internal.h"
#include "util/util.h"

void batch_ask(struct engine *engine, struct engine_request *request)
{
	const struct plugin *plugin = engine->plugins.plugins[candidate_of(engine, request)->plugin];
	struct vaccel_plugin_arg args[OP_MAX_ARGS];
	const struct vaccel_plugin_call call = {
		.size = sizeof(call),
		.op = request->op.op,
		.params = request->op.params,
		.params_len = request->op.params_len,
		.args = args,
		.n_args = request->op.n_args,
	};
	struct vaccel_plugin_batch batch = { .key = 0 };
	uint64_t patience;

	for (uint32_t i = 0; i < request->op.n_args; i++)
		args[i] = (struct vaccel_plugin_arg){ .len = request->op.args[i].len, .dir = request->op.args[i].dir };
	plugin->decl.batch(&call, &batch);
	if (!batch.key || batch.max < 2)
		return;
	request->batch_key = batch.key;
	request->batch_max = MIN(batch.max, ENGINE_MAX_BATCH);
	patience = (uint64_t)batch.delay_us * 1000;
	/* It must have begun by its deadline. */
	if (request->deadline_ns)
		patience = MIN(patience, (request->deadline_ns - request->arrived_ns) / 2);
	request->batch_due_ns = request->arrived_ns + patience;
}

static bool together(const struct engine_request *a, const struct engine_request *b)
{
	return a->batch_key == b->batch_key && a->op.op == b->op.op && a->candidate == b->candidate;
}

/* Whether the plugin's thread model allows one more of the session in a batch that counts as one operation. */
static bool session_may_join(struct engine *engine, const struct engine_session *session,
			     const struct engine_request *request)
{
	unsigned int index = candidate_of(engine, request)->plugin;

	return engine->plugins.plugins[index]->decl.threads != VACCEL_THREADS_PER_SESSION ||
	       session->running_in[index] == 0;
}

bool batch_may_join(struct engine *engine, const struct engine_request *first, const struct engine_session *session,
		    uint64_t now)
{
	const struct engine_request *request = session->waiting.head;

	/* Who is late is told so by whoever comes to it. */
	return together(first, request) && (!request->deadline_ns || now < request->deadline_ns) &&
	       session_may_join(engine, session, request);
}

/* How many of one session could run with it, as far as that matters. */
static uint32_t n_mates(struct engine *engine, const struct engine_session *session,
			const struct engine_request *request, uint32_t most)
{
	unsigned int index = candidate_of(engine, request)->plugin;
	uint32_t n = 0;

	if (!session_may_join(engine, session, request))
		return 0;
	if (engine->plugins.plugins[index]->decl.threads == VACCEL_THREADS_PER_SESSION)
		most = 1;
	for (const struct engine_request *r = session->waiting.head; r && n < most && together(request, r); r = r->next)
		n++;
	return n;
}

static bool is_full(struct engine *engine, const struct engine_request *request)
{
	uint32_t n = 0;

	for (const struct engine_session *s = engine->ready_head; s && n < request->batch_max; s = s->next_ready)
		n += n_mates(engine, s, request, request->batch_max - n);
	return n >= request->batch_max;
}

/* Of sessions that wait for the same, all but the first have their answer here. */
static bool is_known_not_full(const struct batch_look *look, const struct engine_request *request)
{
	for (uint32_t i = 0; i < look->n_known; i++)
		if (together(look->known[i], request) && look->known[i]->batch_max <= request->batch_max)
			return true;
	return false;
}

bool batch_is_due(struct engine *engine, struct batch_look *look, const struct engine_request *request)
{
	if (!request->batch_key || look->now >= request->batch_due_ns)
		return true;
	if (!is_known_not_full(look, request)) {
		if (is_full(engine, request))
			return true;
		if (look->n_known < ARRAY_SIZE(look->known))
			look->known[look->n_known++] = request;
	}
	if (!look->nearest_ns || request->batch_due_ns < look->nearest_ns)
		look->nearest_ns = request->batch_due_ns;
	return false;
}
