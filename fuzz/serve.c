/* SPDX-License-Identifier: Apache-2.0 */
/* See serve.h. */
#include "serve.h"
#include "fuzz.h"
#include "ground.h"

#define TOUCH_SETTING "plugin touch.path=" TOUCH_PLUGIN

struct worker serve_worker;
struct wconn serve_conn;
struct wring serve_ring;
struct request serve_request;
static struct config *config;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static unsigned int n_answers; /* lock */
static uint32_t written;       /* lock */

/* ---- in the place of ring.c and worker.c ---- */

void ring_complete(struct wring *r, struct request *done, uint32_t len)
{
	CHECK(r == &serve_ring && done == &serve_request);
	pthread_mutex_lock(&lock);
	n_answers++;
	written = len;
	pthread_cond_signal(&answered);
	pthread_mutex_unlock(&lock);
}

struct request *ring_request(struct wring *r, uint16_t head)
{
	return &serve_request;
}

void ring_tell(struct wring *r)
{
}

void ring_wait_awaited(struct wring *r)
{
}

void ring_enter(struct wring *r, uint64_t now)
{
}

void ring_leave(struct wring *r)
{
}

uint64_t ring_spare_ns(const struct wring *r)
{
	return ENGINE_SHORT_NS;
}

void ring_stop(struct wring *r, uint32_t seq)
{
}

void ring_free(struct wring *r)
{
}

void worker_hide(struct worker *w)
{
}

void worker_ack(struct worker *w, uint32_t id, uint32_t seq, int result, uint64_t value, const char *text)
{
}

/* For the plugin: whether a guest could write there. */
__attribute__((visibility("default"))) bool fuzz_is_guests(const void *data);
bool fuzz_is_guests(const void *data)
{
	return ground_has(data);
}

/* ---- the worker ---- */

static void set(const char *assignment)
{
	struct error error = { 0 };

	if (config_set(config, assignment, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		abort();
	}
}

static void start_engine(const char *const *settings)
{
	static const char *const common[] = { "order.default=touch",	  TOUCH_SETTING,
					      "engine.threads=1",	  "limits.sessions=4",
					      "limits.request_bytes=64K", "limits.gathered_bytes=64K" };
	struct worker *w = &serve_worker;
	struct error error = { 0 };

	CHECK(config_load("", &config, &error) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(common); i++)
		set(common[i]);
	for (size_t i = 0; settings[i]; i++)
		set(settings[i]);
	CHECK(state_attach(NULL, 0, &config->limits, &w->state, NULL, &error) == 0);
	CHECK(engine_new(config, w->state, &w->engine, &error) == 0 && engine_n_failures(w->engine) == 0);
}

void serve_start(const struct device *device, const char *const *settings)
{
	struct worker *w = &serve_worker;

	if (config)
		return;
	start_engine(settings);
	w->config = config;
	w->device = device;
	accel_wire_limits(config, &w->limits);
	w->max_message = accel_max_message(config);
	w->limits.counts = w->limit_counts = state_limits(w->state);
	w->stats =
		(struct stats){ calloc(1, stats_size(1, device->n_queues(config))), 1, device->n_queues(config), true };
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->replay_lock, NULL);
	serve_conn = (struct wconn){ .worker = w, .id = 1, .committed = true, .going = true };
	pthread_rwlock_init(&serve_conn.memory_lock, NULL);
	pthread_mutex_init(&serve_conn.helper_lock, NULL);
	pthread_cond_init(&serve_conn.helper_work, NULL);
	serve_ring = (struct wring){ .conn = &serve_conn, .ledger = calloc(1, sizeof(struct ledger)) };
	serve_ring.setup.features = ~UINT64_C(0);
	CHECK(serve_ring.ledger && w->stats.head);
	pthread_mutex_init(&serve_ring.lock, NULL);
	pthread_cond_init(&serve_ring.idle, NULL);
	trace_ring(&serve_ring);
	serve_ring.popped_ns = 1;
}

void serve_chain(const struct vq_chain *chain, unsigned int flags, void (*check)(const struct vq_chain *chain))
{
	const struct device *device = serve_worker.device;
	struct request *request = &serve_request;
	struct error error = { 0 };
	int r;

	n_answers = 0;
	request_begin(&serve_ring, 0, request);
	request->counter++;
	request->recovered = flags & SERVE_RECOVERED;
	r = device->decode(request, chain, &error);
	request->begun = flags & SERVE_BEGUN;
	if (r == 0 && check)
		check(chain);
	if (r > 0)
		ring_complete(&serve_ring, request, 0);
	else if (r < 0)
		device->answer(request, r, 0, &error);
	else
		device->run(request);
	pthread_mutex_lock(&lock);
	while (n_answers == 0)
		pthread_cond_wait(&answered, &lock);
	pthread_mutex_unlock(&lock);
	CHECK(n_answers == 1 && request->n_bounces == 0);
}

uint32_t serve_written(void)
{
	return written;
}

void serve_end(void)
{
	engine_owner_gone(serve_worker.engine, serve_conn.id);
	atomic_store(&serve_conn.home, 0);
	CHECK(atomic_load(&serve_worker.alias_budget) == 0 && serve_worker.engine->copies == 0);
	CHECK(state_n_keys(serve_worker.state) == 0 && serve_worker.engine->n_gone == 0);
}
