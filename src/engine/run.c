/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running: from a request that was taken off its queue to the plugin, and from its return to done(), or back into the queue
 * for the next plugin. One request, or several that a plugin runs together; each keeps its own books, whichever it is.
 *
 * A request that runs is marked so by who took it, under the lock: it counts against its plugin's thread model, its session
 * cannot be closed, and the watchdog sees it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "util/util.h"

/* How many times the usual a request may take before it counts as no more than that, */
#define OUTLIER 8
/* unless it took longer than the kernel leaves others the processor: then it is long itself. */
#define LONG_NS UINT64_C(20000000)

HOT void mark_running(struct engine *engine, struct engine_request *request, uint64_t now)
{
	unsigned int index = candidate_of(engine, request)->plugin;

	request->from->n_running++;
	request->from->running_in[index]++;
	engine->plugins.plugins[index]->n_running++;
	/* Plain writes: read by engine_oldest() under the same lock. */
	request->start_ns = now;
	list_add(&engine->running, request);
	__atomic_store_n(&engine->n_running, engine->n_running + 1, __ATOMIC_RELAXED);
}

HOT static void mark_stopped(struct engine *engine, struct engine_request *request)
{
	unsigned int index = candidate_of(engine, request)->plugin;

	request->from->n_running--;
	request->from->running_in[index]--;
	engine->plugins.plugins[index]->n_running--;
	list_remove(&engine->running, request);
	__atomic_store_n(&engine->n_running, engine->n_running - 1, __ATOMIC_RELAXED);
}

/*
 * The mean of the last few. One that took much longer, since the processor was given to somebody else meanwhile, says little about
 * the next; several in a row raise the mean as fast as they have to.
 */
HOT static void note_time(struct candidate *candidate, const struct engine_request *request)
{
	uint64_t took = request->end_ns - request->start_ns;
	uint64_t *known = took_of(candidate, request);
	uint64_t before = __atomic_load_n(known, __ATOMIC_RELAXED);

	if (before && took < LONG_NS)
		took = MIN(took, OUTLIER * before);
	__atomic_store_n(known, before ? (3 * before + took) / 4 + 1 : took + 1, __ATOMIC_RELAXED);
}

HOT static int open_plugin_session(struct plugin *plugin, unsigned int index, struct engine_session *session,
				   const struct vaccel_plugin_report *report)
{
	int r = 0;

	if (__atomic_load_n(&session->opened[index], __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&plugin->lock);
	if (!session->opened[index]) {
		if (plugin->decl.open)
			r = plugin->decl.open(&session->plugin_session[index], (struct vaccel_plugin_report *)report);
		__atomic_store_n(&session->opened[index], r == 0, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&plugin->lock);
	return r;
}

HOT static void fill_args(const struct engine_request *request, struct vaccel_plugin_arg *args)
{
	for (uint32_t i = 0; i < request->op.n_args; i++) {
		const struct op_arg *arg = &request->op.args[i];

		args[i] = (struct vaccel_plugin_arg){ .data = arg->data, .len = arg->len, .dir = arg->dir };
		/* A copy lies in no buffer. */
		if (request->pinned[i] && !(request->copied_args & 1u << i)) {
			args[i].buffer = arg->buffer;
			args[i].buffer_data = request->pinned[i]->mapping.data;
			args[i].buffer_len = request->pinned[i]->len;
		}
	}
}

/* What a plugin is told of a request. */
struct one {
	struct vaccel_plugin_call call;
	struct vaccel_plugin_arg args[OP_MAX_ARGS];
};

HOT static void fill_call(struct one *one, struct engine_request *request)
{
	one->call = (struct vaccel_plugin_call){
		.size = sizeof(one->call),
		.op = request->op.op,
		.params = request->op.params,
		.params_len = request->op.params_len,
		.args = one->args,
		.n_args = request->op.n_args,
		.report = { request->error.text, sizeof(request->error.text) },
		.copied = &request->copied,
		.key = request->key ? &request->key->plugin : NULL,
	};
	fill_args(request, one->args);
}

/* Everything before the op itself. The request is entered, whatever comes of it. */
HOT static int enter(struct engine *engine, struct engine_request *request, struct one *one)
{
	const struct route *route = engine_route(engine, request->op.op);
	unsigned int index = route->candidates[request->candidate].plugin;
	struct plugin *plugin = engine->plugins.plugins[index];
	int r = 0;

	request->error.text[0] = '\0';
	request->plugin = NULL;
	if (request->entered)
		request->entered(request);
	if (route->parsed)
		r = copy_parsed(engine, request, route);
	if (r < 0)
		return r;
	request->plugin = plugin->decl.name;
	fill_call(one, request);
	r = open_plugin_session(plugin, index, request->from, &one->call.report);
	if (r < 0)
		return r;
	one->call.session = request->from->plugin_session[index];
	if (request->started)
		request->started(request);
	return r;
}

HOT static int leave(struct engine_request *request, int r)
{
	if (request->left)
		request->left(request);
	request->end_ns = now_ns();
	return r > 0 ? error_set(&request->error, -EIO, "returned %d, neither 0 nor an error", r) : r;
}

HOT void finish(struct engine *engine, struct engine_request *request, int result)
{
	copies_free(engine, request);
	if (request->key)
		key_end(engine, request->key);
	request->result = result;
	request->error.code = result;
	request->done(request);
}

/* Under the lock, as soon as the request is in no list of the engine. */
void ending_begin(struct engine *engine, struct ending *ending, uint32_t owner)
{
	*ending = (struct ending){ .owner = owner, .next = engine->endings };
	if (ending->next)
		ending->next->prev = ending;
	engine->endings = ending;
}

/* Under the lock. */
void ending_end(struct engine *engine, struct ending *ending)
{
	if (ending->prev)
		ending->prev->next = ending->next;
	else
		engine->endings = ending->next;
	if (ending->next)
		ending->next->prev = ending->prev;
	pthread_cond_broadcast(&engine->idle);
}

bool owner_is_ending(const struct engine *engine, uint32_t owner)
{
	for (const struct ending *ending = engine->endings; ending; ending = ending->next)
		if (ending->owner == owner)
			return true;
	return false;
}

static void set_plugin_error(struct engine_request *request, int result)
{
	const struct op_desc *op = op_by_id(request->op.op);

	/* It did not get as far as the plugin, and says so itself. */
	if (!request->plugin)
		return;
	if (!request->error.text[0])
		error_set(&request->error, result, "%s", strerror(-result));
	error_prefix(&request->error, "%s: plugin %s", op->name, request->plugin);
}

/*
 * What a plugin returned for a request that is marked running: its end, or the way back into its queue. ending: for the time
 * in which done() is called by a thread that its owner does not know of; NULL in the submitting one.
 */
HOT static void settle(struct engine *engine, struct engine_request *request, int r, struct ending *ending)
{
	bool pass_on;

	pthread_mutex_lock(&engine->lock);
	mark_stopped(engine, request);
	pass_on = r == -EOPNOTSUPP && request->plugin && !request->from->closing && !engine->stopping &&
		  request->candidate + 1 < engine_route(engine, request->op.op)->n_candidates;
	if (pass_on) {
		request->candidate++;
		schedule_put_back(engine, request);
	} else {
		request_unpin(request);
		if (ending)
			ending_begin(engine, ending, request->owner);
	}
	if (engine->ready_head)
		pthread_cond_signal(&engine->work);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	if (pass_on)
		return;
	if (r < 0)
		set_plugin_error(request, r);
	finish(engine, request, r);
	if (!ending)
		return;
	pthread_mutex_lock(&engine->lock);
	ending_end(engine, ending);
	pthread_mutex_unlock(&engine->lock);
}

HOT void run_request(struct engine *engine, struct engine_request *request, struct ending *ending)
{
	struct candidate *candidate = candidate_of(engine, request);
	struct one one;
	int r = enter(engine, request, &one);

	if (r == 0)
		r = candidate->run(&one.call);
	r = leave(request, r);
	if (r == 0)
		note_time(candidate, request);
	settle(engine, request, r, ending);
}

/* ---- Several at once ---- */

struct several {
	size_t n;			/* of those that got as far as the op: */
	size_t which[ENGINE_MAX_BATCH]; /* which they are, */
	const struct vaccel_plugin_call *calls[ENGINE_MAX_BATCH];
	int results[ENGINE_MAX_BATCH]; /* and what came of them */
	struct one ones[];
};

static void call_plugin(const struct candidate *candidate, const struct plugin *plugin, struct several *several)
{
	if (several->n == 1)
		several->results[0] = candidate->run(several->calls[0]);
	else if (several->n > 1)
		plugin->decl.run_batch(several->calls, several->results, several->n);
}

void run_batch(struct engine *engine, struct engine_request *const *requests, size_t n, struct ending *ending)
{
	const struct candidate *candidate = candidate_of(engine, requests[0]);
	struct several *several = malloc(sizeof(*several) + n * sizeof(several->ones[0]));
	int results[ENGINE_MAX_BATCH];

	if (!several) {
		for (size_t i = 0; i < n; i++)
			run_request(engine, requests[i], ending);
		return;
	}
	several->n = 0;
	for (size_t i = 0; i < n; i++) {
		results[i] = enter(engine, requests[i], &several->ones[i]);
		if (results[i] < 0)
			continue;
		several->which[several->n] = i;
		several->calls[several->n] = &several->ones[i].call;
		/* Should the plugin forget one. */
		several->results[several->n++] = -EIO;
	}
	call_plugin(candidate, engine->plugins.plugins[candidate->plugin], several);
	for (size_t i = 0; i < several->n; i++)
		results[several->which[i]] = several->results[i];
	for (size_t i = 0; i < n; i++)
		results[i] = leave(requests[i], results[i]);
	free(several);
	for (size_t i = 0; i < n; i++)
		settle(engine, requests[i], results[i], ending);
}
