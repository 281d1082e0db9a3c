/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues and threads of the engine.
 *
 * A request waits in its session; a session with requests waiting is in engine->ready, once. Of those whose first
 * request may start now (its plugin's thread model allows it) a thread takes the one that was given the least work, the
 * first of several, moves it to the end, and runs the request: that is the fairness between sessions. Work is counted in
 * the costs of the op table, which are about proportional to time, known before, and the same on a busy machine. A session
 * that had nothing waiting for a while saves nothing up: it begins where the others are. A plugin that answers
 * -EOPNOTSUPP passes the request on to the next candidate: it goes back to the head of its session's queue.
 *
 * A short request is run by the submitting thread when nothing stands in its way (may_run_inline()). Requests that a plugin
 * runs together may wait for others (batch.c): then their session is passed over until they are due.
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

static bool past_deadline(const struct engine_request *request, uint64_t now)
{
	return request->deadline_ns && now >= request->deadline_ns;
}

/*
 * The next request that may start, taken off its queue: of the session that was given the least. first: one that runs already,
 * and with which it is to run.
 */
static struct engine_request *take_next(struct engine *engine, struct batch_look *look,
					const struct engine_request *first)
{
	struct engine_session *prev = NULL, *best = NULL, *before_best = NULL;
	struct engine_request *request;

	for (struct engine_session *s = engine->ready_head; s; prev = s, s = s->next_ready) {
		if (best && s->served >= best->served)
			continue;
		if (first ? !batch_may_join(engine, first, s, look->now)
			  : !may_start(engine, s, s->waiting.head) || !batch_is_due(engine, look, s->waiting.head))
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
	request_unpin(request);
	pthread_cond_broadcast(&engine->idle);
	pthread_mutex_unlock(&engine->lock);
	error_set(&request->error, -ETIMEDOUT, "%s: its deadline of %u ms passed before it could start",
		  op_by_id(request->op.op)->name, request->op.deadline_ms);
	finish(engine, request, -ETIMEDOUT);
	pthread_mutex_lock(&engine->lock);
	ending_end(engine, &ending);
}

/* Until there is work, or those that wait for others are due. One thread watches for that: the others need not wake. */
static void wait_for_work(struct engine *engine, uint64_t due_ns)
{
	struct timespec until = { .tv_sec = (time_t)(due_ns / 1000000000u), .tv_nsec = (long)(due_ns % 1000000000u) };

	if (!due_ns || (engine->watched_ns && engine->watched_ns <= due_ns)) {
		pthread_cond_wait(&engine->work, &engine->lock);
		return;
	}
	engine->watched_ns = due_ns;
	pthread_cond_timedwait(&engine->work, &engine->lock, &until);
	if (engine->watched_ns == due_ns)
		engine->watched_ns = 0;
}

/* Takes what may run with the first, and marks all of it. */
static size_t take_mates(struct engine *engine, struct batch_look *look, struct engine_request **requests)
{
	size_t n = 1;

	mark_running(engine, requests[0], look->now);
	while (requests[0]->batch_key && n < requests[0]->batch_max &&
	       (requests[n] = take_next(engine, look, requests[0])))
		mark_running(engine, requests[n++], look->now);
	return n;
}

static void *worker_main(void *arg)
{
	struct engine_request *requests[ENGINE_MAX_BATCH];
	struct engine *engine = arg;
	struct ending ending;

	pthread_mutex_lock(&engine->lock);
	while (!engine->stopping) {
		struct batch_look look = { .now = now_ns() };
		size_t n;

		requests[0] = take_next(engine, &look, NULL);
		if (!requests[0]) {
			wait_for_work(engine, look.nearest_ns);
			continue;
		}
		if (past_deadline(requests[0], look.now)) {
			expire(engine, requests[0]);
			continue;
		}
		n = take_mates(engine, &look, requests);
		/* More may be ready than the one signal that woke this thread stood for. */
		if (engine->ready_head)
			pthread_cond_signal(&engine->work);
		pthread_mutex_unlock(&engine->lock);
		if (n > 1)
			run_batch(engine, requests, n, &ending);
		else
			run_request(engine, requests[0], &ending);
		pthread_mutex_lock(&engine->lock);
	}
	pthread_mutex_unlock(&engine->lock);
	return NULL;
}

/* Off its queue, without having run: the next one of its session may be one that can start, or that others wait for. */
static void drop_waiting(struct engine *engine, struct engine_session *session, struct engine_request *request)
{
	list_remove(&session->waiting, request);
	if (session->waiting.head)
		pthread_cond_signal(&engine->work);
	else
		ready_remove(engine, session);
}

/* The first waiting request that is past its deadline, taken off its queue; else the nearest deadline, 0: none. */
static struct engine_request *take_expired(struct engine *engine, uint64_t *ret_nearest)
{
	uint64_t now = now_ns();

	*ret_nearest = 0;
	for (struct engine_session *s = engine->ready_head; s; s = s->next_ready) {
		for (struct engine_request *request = s->waiting.head; request; request = request->next) {
			if (past_deadline(request, now)) {
				drop_waiting(engine, s, request);
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

void schedule_put_back(struct engine *engine, struct engine_request *request)
{
	/* Whoever runs it now was not asked whether it may run with others. */
	request->batch_key = 0;
	list_push_front(&request->from->waiting, request);
	tell_queued(request);
	ready_append(engine, request->from);
	/* Without a clock the deadline is seen when the request's turn comes. */
	if (request->deadline_ns)
		watch_deadline(engine, NULL);
}

HOT static bool may_run_inline(struct engine *engine, const struct engine_request *request, uint64_t spare_ns)
{
	const struct engine_session *session = request->from;
	uint64_t took = __atomic_load_n(took_of(candidate_of(engine, request), request), __ATOMIC_RELAXED);
	bool idle = !engine->n_running && !engine->ready_head;

	return !request->batch_key && took && took < (idle ? spare_ns : MIN(spare_ns, ENGINE_SHORT_NS)) &&
	       !session->waiting.head && !session->n_running && may_start(engine, session, request);
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
	const struct op_desc *op;

	request->result = session_get(engine, request->owner, request->op.session, &session, error);
	if (request->result < 0)
		return REFUSED;
	request->from = session;
	request->result = buffers_pin(engine, request, error);
	if (request->result < 0)
		return REFUSED;
	op = op_by_id(request->op.op);
	if (op->check_key) {
		request->result = key_pin(engine, request, op, error);
		if (request->result < 0) {
			request_unpin(request);
			return REFUSED;
		}
	}
	if (may_run_inline(engine, request, spare_ns)) {
		mark_running(engine, request, request->arrived_ns);
		return INLINE;
	}
	if (request->deadline_ns) {
		request->result = watch_deadline(engine, error);
		if (request->result < 0) {
			request_unpin(request);
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
	request->copied_args = 0;
	request->candidate = 0;
	request->key = NULL;
	if (r < 0)
		return r;
	route = engine_route(engine, request->op.op);
	if (route->op->builtin ? !engine->uses_keys : !route->n_candidates)
		return error_set(&request->error, -EOPNOTSUPP, "%s: no plugin here serves it", route->op->name);
	if (!request->arrived_ns)
		request->arrived_ns = now_ns();
	request->deadline_ns =
		request->op.deadline_ms ? request->arrived_ns + (uint64_t)request->op.deadline_ms * 1000000u : 0;
	request->cost = route->op->cost(&request->op);
	request->batch_key = 0;
	if (route->n_candidates && engine->plugins.plugins[route->candidates[0].plugin]->decl.batch && !request->alone)
		batch_ask(engine, request);
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
	if (op_by_id(request->op.op)->builtin) {
		finish(engine, request, builtin_run(engine, request));
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
		request_unpin(request);
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
		drop_waiting(engine, session, request);
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
	pthread_cond_init(&engine->idle, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&engine->work, &monotonic);
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
