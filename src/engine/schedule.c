/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues, threads and running of the engine.
 *
 * A request waits in its session; a session with requests waiting is in engine->ready, once. Of those whose first
 * request may start now (its plugin's thread model allows it) a thread takes the one that was given the least work, the
 * first of several, moves it to the end, and runs the request: that is the fairness between sessions. Work is counted in
 * the costs of the op table, which are about proportional to time, known before, and the same on a busy machine. A session
 * that had nothing waiting for a while saves nothing up: it begins where the others are. A plugin that answers
 * -EOPNOTSUPP passes the request on to the next candidate: it goes back to the head of its session's queue.
 *
 * A short request is run by the submitting thread when nothing stands in its way (may_run_inline()).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/internal.h"
#include "util/util.h"

/* What a request counts at least, for the overhead of any, and at most, so that sums stay far from wrapping. */
#define LEAST_WORK (1u << 14)
#define MOST_WORK  (UINT64_C(1) << 44)

HOT void list_add(struct request_list *list, struct engine_request *request)
{
	request->next = NULL;
	request->prev = list->tail;
	if (list->tail)
		list->tail->next = request;
	else
		list->head = request;
	list->tail = request;
}

static void list_push_front(struct request_list *list, struct engine_request *request)
{
	request->prev = NULL;
	request->next = list->head;
	if (list->head)
		list->head->prev = request;
	else
		list->tail = request;
	list->head = request;
}

HOT void list_remove(struct request_list *list, struct engine_request *request)
{
	if (request->prev)
		request->prev->next = request->next;
	else
		list->head = request->next;
	if (request->next)
		request->next->prev = request->prev;
	else
		list->tail = request->prev;
}

static void tell_queued(struct engine_request *request)
{
	if (request->queued)
		request->queued(request);
}

static void ready_append(struct engine *engine, struct engine_session *session)
{
	if (session->queued)
		return;
	session->queued = true;
	session->served = MAX(session->served, engine->served);
	session->next_ready = NULL;
	if (engine->ready_tail)
		engine->ready_tail->next_ready = session;
	else
		engine->ready_head = session;
	engine->ready_tail = session;
}

/* prev: the session before it in the list, or NULL. */
static void ready_unlink(struct engine *engine, struct engine_session *prev, struct engine_session *session)
{
	if (prev)
		prev->next_ready = session->next_ready;
	else
		engine->ready_head = session->next_ready;
	if (engine->ready_tail == session)
		engine->ready_tail = prev;
	session->queued = false;
}

static void ready_remove(struct engine *engine, struct engine_session *session)
{
	struct engine_session *prev = NULL;

	for (struct engine_session *s = engine->ready_head; s; prev = s, s = s->next_ready) {
		if (s == session) {
			ready_unlink(engine, prev, s);
			return;
		}
	}
}

HOT static struct candidate *candidate_of(struct engine *engine, const struct engine_request *request)
{
	return &engine_route(engine, request->op.op)->candidates[request->candidate];
}

HOT static bool may_start(struct engine *engine, const struct engine_session *session,
			  const struct engine_request *request)
{
	unsigned int index = candidate_of(engine, request)->plugin;

	switch (engine->plugins.plugins[index]->decl.threads) {
	case VACCEL_THREADS_ONE:
		return engine->plugins.plugins[index]->n_running == 0;
	case VACCEL_THREADS_PER_SESSION:
		return session->running_in[index] == 0;
	default:
		return true;
	}
}

HOT static void mark_running(struct engine *engine, struct engine_request *request, uint64_t now)
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

HOT static int open_plugin_session(struct plugin *plugin, unsigned int index, struct engine_session *session,
				   const struct vaccel_plugin_report *report)
{
	int r = 0;

	pthread_mutex_lock(&plugin->lock);
	if (!session->opened[index]) {
		if (plugin->decl.open)
			r = plugin->decl.open(&session->plugin_session[index], (struct vaccel_plugin_report *)report);
		session->opened[index] = r == 0;
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
		if (request->pinned[i] && !(request->own_args & 1u << i)) {
			args[i].buffer = arg->buffer;
			args[i].buffer_data = request->pinned[i]->mapping.data;
			args[i].buffer_len = request->pinned[i]->len;
		}
	}
}

HOT static uint64_t *took_of(struct candidate *candidate, const struct engine_request *request)
{
	return &candidate->took_ns[request->cost ? 64 - __builtin_clzll(request->cost) : 0];
}

HOT static void note_time(struct candidate *candidate, const struct engine_request *request)
{
	uint64_t took = request->end_ns - request->start_ns;
	uint64_t *known = took_of(candidate, request);
	uint64_t before = __atomic_load_n(known, __ATOMIC_RELAXED);

	__atomic_store_n(known, before ? (3 * before + took) / 4 + 1 : took + 1, __ATOMIC_RELAXED);
}

/* Calls the plugin; the request is marked running. */
HOT static int run_plugin(struct engine *engine, struct engine_request *request)
{
	struct candidate *candidate = candidate_of(engine, request);
	struct plugin *plugin = engine->plugins.plugins[candidate->plugin];
	struct vaccel_plugin_arg args[OP_MAX_ARGS];
	struct vaccel_plugin_call call = {
		.size = sizeof(call),
		.op = request->op.op,
		.params = request->op.params,
		.params_len = request->op.params_len,
		.args = args,
		.n_args = request->op.n_args,
		.report = { request->error.text, sizeof(request->error.text) },
		.copied = &request->copied,
	};
	const struct route *route = engine_route(engine, request->op.op);
	int r = 0;

	request->error.text[0] = '\0';
	request->plugin = NULL;
	if (request->entered)
		request->entered(request);
	if (route->parsed)
		r = copy_parsed(engine, request, route);
	if (r == 0) {
		request->plugin = plugin->decl.name;
		fill_args(request, args);
		r = open_plugin_session(plugin, candidate->plugin, request->from, &call.report);
	}
	if (r == 0) {
		call.session = request->from->plugin_session[candidate->plugin];
		if (request->started)
			request->started(request);
		r = candidate->run(&call);
	}
	if (request->left)
		request->left(request);
	request->end_ns = now_ns();
	if (r == 0)
		note_time(candidate, request);
	return r > 0 ? error_set(&request->error, -EIO, "returned %d, neither 0 nor an error", r) : r;
}

HOT static void finish(struct engine *engine, struct engine_request *request, int result)
{
	copies_free(engine, request);
	request->result = result;
	request->error.code = result;
	request->done(request);
}

/* Under the lock, as soon as the request is in no list of the engine. */
static void ending_begin(struct engine *engine, struct ending *ending, uint32_t owner)
{
	*ending = (struct ending){ .owner = owner, .next = engine->endings };
	if (ending->next)
		ending->next->prev = ending;
	engine->endings = ending;
}

/* Under the lock. */
static void ending_end(struct engine *engine, struct ending *ending)
{
	if (ending->prev)
		ending->prev->next = ending->next;
	else
		engine->endings = ending->next;
	if (ending->next)
		ending->next->prev = ending->prev;
	pthread_cond_broadcast(&engine->idle);
}

bool schedule_owner_ending(const struct engine *engine, uint32_t owner)
{
	for (const struct ending *ending = engine->endings; ending; ending = ending->next)
		if (ending->owner == owner)
			return true;
	return false;
}

static int watch_deadline(struct engine *engine, struct error *error);

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
 * Runs a request that is marked running, to its end or back into its queue. ending: for the time in which done() is called
 * by a thread that its owner does not know of; NULL in the submitting one.
 */
HOT static void run_request(struct engine *engine, struct engine_request *request, struct ending *ending)
{
	int r = run_plugin(engine, request);
	bool pass_on;

	pthread_mutex_lock(&engine->lock);
	mark_stopped(engine, request);
	pass_on = r == -EOPNOTSUPP && request->plugin && !request->from->closing && !engine->stopping &&
		  request->candidate + 1 < engine_route(engine, request->op.op)->n_candidates;
	if (pass_on) {
		request->candidate++;
		list_push_front(&request->from->waiting, request);
		tell_queued(request);
		ready_append(engine, request->from);
		/* Without a clock the deadline is seen when the request's turn comes. */
		if (request->deadline_ns)
			watch_deadline(engine, NULL);
	} else {
		buffers_unpin(request);
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

static bool past_deadline(const struct engine_request *request, uint64_t now)
{
	return request->deadline_ns && now >= request->deadline_ns;
}

/* The next request that may start, taken off its queue: of the session that was given the least. */
static struct engine_request *take_next(struct engine *engine)
{
	struct engine_session *prev = NULL, *best = NULL, *before_best = NULL;
	struct engine_request *request;

	for (struct engine_session *s = engine->ready_head; s; prev = s, s = s->next_ready) {
		if ((best && s->served >= best->served) || !may_start(engine, s, s->waiting.head))
			continue;
		best = s;
		before_best = prev;
	}
	if (!best)
		return NULL;
	request = best->waiting.head;
	engine->served = best->served;
	/* Not again when a plugin has passed it on. */
	if (request->candidate == 0)
		best->served += MIN(MAX(request->cost, LEAST_WORK), MOST_WORK);
	list_remove(&best->waiting, request);
	ready_unlink(engine, before_best, best);
	if (best->waiting.head)
		ready_append(engine, best);
	return request;
}

static void expire(struct engine *engine, struct engine_request *request)
{
	struct ending ending;

	ending_begin(engine, &ending, request->owner);
	buffers_unpin(request);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	error_set(&request->error, -ETIMEDOUT, "%s: its deadline of %u ms passed before it could start",
		  op_by_id(request->op.op)->name, request->op.deadline_ms);
	finish(engine, request, -ETIMEDOUT);
	pthread_mutex_lock(&engine->lock);
	ending_end(engine, &ending);
}

static void *worker_main(void *arg)
{
	struct engine *engine = arg;
	struct engine_request *request;
	struct ending ending;

	pthread_mutex_lock(&engine->lock);
	while (!engine->stopping) {
		request = take_next(engine);
		if (!request) {
			pthread_cond_wait(&engine->work, &engine->lock);
			continue;
		}
		if (past_deadline(request, now_ns())) {
			expire(engine, request);
			continue;
		}
		mark_running(engine, request, now_ns());
		/* More may be ready than the one signal that woke this thread stood for. */
		if (engine->ready_head)
			pthread_cond_signal(&engine->work);
		pthread_mutex_unlock(&engine->lock);
		run_request(engine, request, &ending);
		pthread_mutex_lock(&engine->lock);
	}
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

/* The first waiting request that is past its deadline, taken off its queue; else the nearest deadline, 0: none. */
static struct engine_request *take_expired(struct engine *engine, uint64_t *ret_nearest)
{
	uint64_t now = now_ns();

	*ret_nearest = 0;
	for (struct engine_session *s = engine->ready_head; s; s = s->next_ready) {
		for (struct engine_request *request = s->waiting.head; request; request = request->next) {
			if (past_deadline(request, now)) {
				list_remove(&s->waiting, request);
				if (!s->waiting.head)
					ready_remove(engine, s);
				return request;
			}
			if (request->deadline_ns && (!*ret_nearest || request->deadline_ns < *ret_nearest))
				*ret_nearest = request->deadline_ns;
		}
	}
	return NULL;
}

static void *clock_main(void *arg)
{
	struct engine *engine = arg;

	pthread_mutex_lock(&engine->lock);
	while (!engine->stopping) {
		struct engine_request *request;
		struct timespec until;
		uint64_t nearest;

		request = take_expired(engine, &nearest);
		if (request) {
			expire(engine, request);
			continue;
		}
		if (!nearest) {
			pthread_cond_wait(&engine->clock_wake, &engine->lock);
			continue;
		}
		until.tv_sec = (time_t)(nearest / 1000000000u);
		until.tv_nsec = (long)(nearest % 1000000000u);
		pthread_cond_timedwait(&engine->clock_wake, &engine->lock, &until);
	}
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

/* Under the lock. Started with the first deadline: most callers set none. */
static int watch_deadline(struct engine *engine, struct error *error)
{
	if (!engine->clock_started) {
		if (pthread_create(&engine->clock, NULL, clock_main, engine))
			return error_set(error, -EAGAIN, "deadline: cannot start a thread");
		engine->clock_started = true;
	}
	pthread_cond_signal(&engine->clock_wake);
	return 0;
}

HOT static bool may_run_inline(struct engine *engine, const struct engine_request *request, uint64_t spare_ns)
{
	const struct engine_session *session = request->from;
	uint64_t took = __atomic_load_n(took_of(candidate_of(engine, request), request), __ATOMIC_RELAXED);
	bool idle = !engine->n_running && !engine->ready_head;

	return took && took < (idle ? spare_ns : MIN(spare_ns, ENGINE_SHORT_NS)) && !session->waiting.head &&
	       !session->n_running && may_start(engine, session, request);
}

enum verdict {
	REFUSED,
	QUEUED,
	INLINE,
};

/* Under the lock. */
HOT static enum verdict admit(struct engine *engine, struct engine_request *request, uint64_t spare_ns,
			      struct error *error)
{
	struct engine_session *session;

	request->result = session_get(engine, request->owner, request->op.session, &session, error);
	if (request->result < 0)
		return REFUSED;
	request->from = session;
	request->result = buffers_pin(engine, request, error);
	if (request->result < 0)
		return REFUSED;
	if (may_run_inline(engine, request, spare_ns)) {
		mark_running(engine, request, request->arrived_ns);
		return INLINE;
	}
	if (request->deadline_ns) {
		request->result = watch_deadline(engine, error);
		if (request->result < 0) {
			buffers_unpin(request);
			return REFUSED;
		}
	}
	list_add(&session->waiting, request);
	tell_queued(request);
	ready_append(engine, session);
	pthread_cond_signal(&engine->work);
	return QUEUED;
}

HOT static int prepare(struct engine *engine, struct engine_request *request)
{
	const struct route *route;
	int r = op_check(&request->op, &request->error);

	request->plugin = NULL;
	request->start_ns = 0;
	request->end_ns = 0;
	request->copied = 0;
	request->n_copies = 0;
	request->candidate = 0;
	if (r < 0)
		return r;
	route = engine_route(engine, request->op.op);
	if (!route->n_candidates)
		return error_set(&request->error, -EOPNOTSUPP, "%s: no plugin here serves it", route->op->name);
	if (!request->arrived_ns)
		request->arrived_ns = now_ns();
	request->deadline_ns =
		request->op.deadline_ms ? request->arrived_ns + (uint64_t)request->op.deadline_ms * 1000000u : 0;
	request->cost = route->op->cost(&request->op);
	return 0;
}

HOT void engine_submit(struct engine *engine, struct engine_request *request, uint64_t spare_ns)
{
	enum verdict verdict = REFUSED;
	int r = prepare(engine, request);

	if (r < 0) {
		finish(engine, request, r);
		return;
	}
	pthread_mutex_lock(&engine->lock);
	verdict = admit(engine, request, spare_ns, &request->error);
	pthread_mutex_unlock(&engine->lock);
	if (verdict == INLINE)
		run_request(engine, request, NULL);
	else if (verdict == REFUSED)
		finish(engine, request, request->result);
}

/* Under the lock, which it gives up meanwhile: completes a list of one owner's requests that are in no queue. */
static void cancel_all(struct engine *engine, struct engine_request *list, const char *text)
{
	struct ending ending;

	if (!list)
		return;
	for (struct engine_request *request = list; request; request = request->next)
		buffers_unpin(request);
	ending_begin(engine, &ending, list->owner);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	while (list) {
		struct engine_request *next = list->next;

		error_set(&list->error, -ECANCELED, "%s: %s", op_by_id(list->op.op)->name, text);
		finish(engine, list, -ECANCELED);
		list = next;
	}
	pthread_mutex_lock(&engine->lock);
	ending_end(engine, &ending);
}

void schedule_cancel_waiting(struct engine *engine, struct engine_session *session, const char *text)
{
	struct engine_request *list = session->waiting.head;

	session->waiting = (struct request_list){ 0 };
	ready_remove(engine, session);
	cancel_all(engine, list, text);
}

static struct engine_request *find_waiting(struct engine *engine, uint32_t owner, uint64_t id,
					   struct engine_session **ret_session)
{
	for (struct engine_session *s = engine->ready_head; s; s = s->next_ready) {
		if (s->owner != owner)
			continue;
		for (struct engine_request *request = s->waiting.head; request; request = request->next) {
			if (request->id == id) {
				*ret_session = s;
				return request;
			}
		}
	}
	return NULL;
}

static bool is_running(const struct engine *engine, uint32_t owner, uint64_t id)
{
	for (const struct engine_request *request = engine->running.head; request; request = request->next)
		if (request->owner == owner && request->id == id)
			return true;
	return false;
}

int engine_cancel(struct engine *engine, uint32_t owner, uint64_t id, struct error *error)
{
	struct engine_request *request;
	struct engine_session *session;
	int r = 0;

	pthread_mutex_lock(&engine->lock);
	request = find_waiting(engine, owner, id, &session);
	if (request) {
		list_remove(&session->waiting, request);
		if (!session->waiting.head)
			ready_remove(engine, session);
		request->next = NULL;
		cancel_all(engine, request, "was cancelled");
	} else if (is_running(engine, owner, id)) {
		r = error_set(error, -EBUSY, "request %#" PRIx64 ": runs already, cannot be cancelled", id);
	} else {
		r = error_set(error, -ENOENT, "request %#" PRIx64 ": is not here, or has completed", id);
	}
	pthread_mutex_unlock(&engine->lock);
	return r;
}

HOT uint32_t engine_n_running(const struct engine *engine)
{
	return __atomic_load_n(&engine->n_running, __ATOMIC_RELAXED);
}

uint64_t engine_oldest(struct engine *engine, uint32_t *ret_owner, uint64_t *ret_id)
{
	uint64_t start = 0;

	pthread_mutex_lock(&engine->lock);
	if (engine->running.head) {
		start = engine->running.head->start_ns;
		*ret_owner = engine->running.head->owner;
		*ret_id = engine->running.head->id;
	}
	pthread_mutex_unlock(&engine->lock);
	return start;
}

int schedule_start(struct engine *engine, struct error *error)
{
	unsigned int n = engine->config->threads;
	pthread_condattr_t monotonic;

	if (!n)
		n = (unsigned int)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
	pthread_mutex_init(&engine->lock, NULL);
	pthread_cond_init(&engine->work, NULL);
	pthread_cond_init(&engine->idle, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->clock_wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	engine->threads = calloc(n, sizeof(*engine->threads));
	if (!engine->threads)
		return error_set(error, -ENOMEM, "engine: no memory for %u threads", n);
	while (engine->n_threads < n) {
		if (pthread_create(&engine->threads[engine->n_threads], NULL, worker_main, engine))
			return error_set(error, -EAGAIN, "engine: cannot start thread %u of %u", engine->n_threads + 1,
					 n);
		engine->n_threads++;
	}
	return 0;
}

void schedule_stop(struct engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->stopping = true;
	pthread_cond_broadcast(&engine->work);
	pthread_cond_broadcast(&engine->clock_wake);
	pthread_mutex_unlock(&engine->lock);
	for (unsigned int i = 0; i < engine->n_threads; i++)
		pthread_join(engine->threads[i], NULL);
	if (engine->clock_started)
		pthread_join(engine->clock, NULL);
	free(engine->threads);
	pthread_cond_destroy(&engine->work);
	pthread_cond_destroy(&engine->idle);
	pthread_cond_destroy(&engine->clock_wake);
	pthread_mutex_destroy(&engine->lock);
}
