/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's start, its control thread and its watchdog. See worker.h. */
#include "daemon/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#ifdef VACCEL_ADDRESS_SANITIZED
#include <sanitizer/lsan_interface.h>
#endif

#include "daemon/sandbox.h"
#include "daemon/setup.h"
#include "daemon/supervisor.h"
#include "util/calls.h"
#include "util/log.h"
#include "util/util.h"
#include "vhost/guard.h"

/* ---- answers to the supervisor ---- */

/* Without a supervisor there is nothing to live for. */
static void tell(struct worker *w, const struct link_msg *msg)
{
	if (link_send(w->link, msg) < 0)
		_exit(EXIT_SUCCESS);
}

void worker_ack(struct worker *w, uint32_t conn, uint32_t seq, int result, uint64_t value, const char *text)
{
	struct link_msg msg = {
		.type = LINK_ACK, .conn = conn, .seq = seq, .result = result, .value = value, LINK_MSG_INIT
	};

	snprintf(msg.text, sizeof(msg.text), "%s", text ? text : "");
	tell(w, &msg);
}

HOT void worker_hide(struct worker *w)
{
	int r;

	if (atomic_load_explicit(&w->hidden, memory_order_relaxed) || atomic_exchange(&w->hidden, true))
		return;
	r = sandbox_hide(true);
	if (r < 0)
		log_warning("worker: its keys cannot be protected from being looked at: %s", strerror(-r));
}

static void report_engine(struct worker *w)
{
	int level = w->options->restarted ? LOG_DEBUG : LOG_INFO;
	struct link_msg ready = { .type = LINK_READY, LINK_MSG_INIT };
	struct engine_op_info info;

	memset(&ready.ready, 0, sizeof(ready.ready));
	for (size_t i = 0; engine_op_info(w->engine, i, &info); i++) {
		if (!info.plugin[0]) {
			log_line(level, "operation %s: served by nothing", info.name);
			continue;
		}
		log_line(level, "operation %s: plugin %s, %s", info.name, info.plugin, info.hardware);
		if (info.op < 256)
			ready.ready.ops[info.op / 32] |= 1u << (info.op % 32);
	}
	for (size_t i = 0; engine_held_key(w->engine, i); i++)
		log_line(level, "key %s: is held", engine_held_key(w->engine, i));
	tell(w, &ready);
}

/* ---- commands ---- */

static void start_ring(struct worker *w, struct wconn *conn, struct link_msg *msg)
{
	bool aborting = msg->ring.flags & LINK_RING_ABORT;

	ring_free(wconn_swap_ring(conn, msg->index, NULL));
	ring_start(conn, msg);
	/* An aborting ring acknowledges itself. */
	if (!aborting)
		worker_ack(w, msg->conn, msg->seq, 0, 0, NULL);
}

static void change_memory(struct worker *w, struct wconn *conn, struct link_msg *msg)
{
	struct error error = { 0 };
	int r = 0;

	if (msg->type == LINK_MEM_CLEAR) {
		wconn_memory_clear(conn);
	} else if (msg->type == LINK_MEM_COMMIT) {
		wconn_memory_commit(conn);
	} else {
		r = wconn_memory_add(conn, &msg->region, msg->fds[0], &error);
		if (r == 0)
			msg->fds[0] = -1;
	}
	worker_ack(w, msg->conn, msg->seq, r, 0, error.text);
}

static void change_session(struct worker *w, struct wconn *conn, struct link_msg *msg)
{
	const struct device *device = w->options->device;
	struct error error = { 0 };
	uint64_t id = 0;
	int r;

	if (!device->session_create)
		r = error_set(&error, -EOPNOTSUPP, "device %s: has no sessions of messages", device->name);
	else if (msg->type == LINK_SESSION_CREATE)
		r = device->session_create(conn, &msg->session, msg->value, &id, &error);
	else
		r = device->session_close(conn, msg->value, &error);
	/* It was a worker before that closed it. */
	if (r == -ESTALE && msg->type == LINK_SESSION_CLOSE && msg->index)
		r = 0;
	worker_ack(w, msg->conn, msg->seq, r, id, r < 0 ? error.text : NULL);
}

/* Before anything else is served: nobody else looks at the state yet. */
static void forget_others(struct worker *w, const struct link_owners *owners)
{
	uint32_t cursor = 0;
	uint64_t id;

	while (state_session_next(w->state, 0, &cursor, &id)) {
		uint32_t owner = state_session_owner(w->state, id);

		if (owners->bits[(owner - 1) / 8] & 1u << (owner - 1) % 8)
			continue;
		log_info("connection %u: what it left behind goes", owner);
		engine_owner_gone(w->engine, owner);
	}
}

static void obey(struct worker *w, struct link_msg *msg)
{
	struct wconn *conn;

	if (msg->type == LINK_OWNERS) {
		forget_others(w, &msg->owners);
		return;
	}
	conn = wconn_get(w, msg->conn);
	if (!conn || msg->index >= VHOST_MAX_QUEUES) {
		worker_ack(w, msg->conn, msg->seq, -ENOMEM, 0, "no memory for another connection");
		return;
	}
	switch (msg->type) {
	case LINK_MEM_CLEAR:
	case LINK_MEM_ADD:
	case LINK_MEM_COMMIT:
		change_memory(w, conn, msg);
		return;
	case LINK_RING_START:
		start_ring(w, conn, msg);
		return;
	case LINK_RING_CALL:
		if (conn->rings[msg->index]) {
			ring_set_call(conn->rings[msg->index], msg->fds[LINK_FD_CALL], msg->fds[LINK_FD_ERR]);
			msg->fds[LINK_FD_CALL] = msg->fds[LINK_FD_ERR] = -1;
		}
		worker_ack(w, msg->conn, msg->seq, 0, 0, NULL);
		return;
	case LINK_RING_STOP:
		if (conn->rings[msg->index])
			ring_stop(conn->rings[msg->index], msg->seq);
		else
			worker_ack(w, msg->conn, msg->seq, -ENOENT, 0, NULL);
		return;
	case LINK_CONN_RESET:
		engine_owner_gone(w->engine, msg->conn);
		atomic_store(&conn->home, 0);
		worker_ack(w, msg->conn, msg->seq, 0, 0, NULL);
		return;
	case LINK_CONN_GONE:
		wconn_go(conn, msg->seq);
		return;
	case LINK_SESSION_CREATE:
	case LINK_SESSION_CLOSE:
		change_session(w, conn, msg);
		return;
	default:
		log_error("supervisor: command %u is not known", msg->type);
	}
}

/* Until the supervisor is gone. */
static void control(struct worker *w)
{
	struct link_msg msg;
	int r;

	while ((r = link_recv(w->link, &msg, 0)) > 0) {
		obey(w, &msg);
		link_close_fds(&msg);
		link_wipe(&msg);
	}
	if (r < 0)
		log_error("supervisor: cannot read its commands: %s", strerror(-r));
}

/* ---- watchdog ---- */

/* The ledger entry of a running request. Under w->lock. */
static struct ledger_entry *find_running(struct worker *w, uint32_t owner, uint64_t id)
{
	struct wconn *conn = owner >= 1 && owner <= w->n_conns ? w->conns[owner - 1] : NULL;

	for (size_t i = 0; conn && i < VHOST_MAX_QUEUES; i++) {
		struct wring *ring = conn->rings[i];

		for (uint32_t head = 0; ring && ring->requests && head < ring->setup.num; head++) {
			struct request *request = __atomic_load_n(&ring->requests[head], __ATOMIC_ACQUIRE);

			/* In this order: a request that runs has its id. */
			if (request && __atomic_load_n(&ring->ledger->entries[head].running, __ATOMIC_ACQUIRE) &&
			    request->engine.id == id)
				return &ring->ledger->entries[head];
		}
	}
	return NULL;
}

/* An op cannot be stopped, only its process. The next worker answers the request, and runs the others. */
static void *watchdog(void *opaque)
{
	struct worker *w = opaque;
	uint64_t limit_ms = w->config->limits.op_time_ms;
	uint64_t step_ms = MAX(MIN(limit_ms / 4, 250), 1);

	for (;;) {
		struct ledger_entry *entry;
		uint32_t owner = 0;
		uint64_t id = 0, start;

		poll(NULL, 0, (int)step_ms);
		start = engine_oldest(w->engine, &owner, &id);
		if (start == 0 || now_ns() - start < limit_ms * 1000000)
			continue;
		pthread_mutex_lock(&w->lock);
		entry = find_running(w, owner, id);
		if (entry) {
			log_warning("connection %u: request %" PRIu64 " ran longer than %" PRIu64 " ms", owner, id,
				    limit_ms);
			limit_count(w->limit_counts, LIMIT_OP_TIME);
			__atomic_store_n(&entry->verdict, LEDGER_DEADLINE, __ATOMIC_SEQ_CST);
			_exit(WORKER_EXIT_DEADLINE);
		}
		pthread_mutex_unlock(&w->lock);
	}
	return NULL;
}

static int start_watchdog(struct worker *w, struct error *error)
{
	pthread_t thread;

	if (w->config->limits.op_time_ms == 0)
		return 0;
	if (pthread_create(&thread, NULL, watchdog, w))
		return error_set(error, -EAGAIN, "watchdog: cannot start its thread");
	pthread_detach(thread);
	return 0;
}

/* ---- memory that goes away ---- */

/* For the signal handler, which has no other way to it. */
static const struct worker *faulting_worker;

/*
 * A front-end that cuts its memory file short kills whoever touches the rest. That must cost it its own connection, not
 * the worker of all others over and over. Only what is safe in a signal handler: a look into a table, and one sendmsg().
 */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
	struct link_msg msg = { .type = LINK_FAULT, .conn = vhost_guard_find(info->si_addr), LINK_MSG_INIT };

	if (msg.conn) {
		link_send(faulting_worker->link, &msg);
		_exit(WORKER_EXIT_FAULT);
	}
	/* Not ours to explain: happens again, and then ends the process. */
	signal(number, SIG_DFL);
}

static void catch_bus_errors(struct worker *w)
{
	struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO };

	faulting_worker = w;
	sigaction(SIGBUS, &action, NULL);
}

/* ---- start and end ---- */

static int open_state(struct worker *w, struct error *error)
{
	size_t size = state_size(&w->config->limits);
	unsigned int dropped = 0;
	struct stat st;
	void *map;
	int r;

	if (fstat(WORKER_FD_STATE, &st) < 0 || (uint64_t)st.st_size < size)
		return error_set(error, -EINVAL, "state: it is too short");
	/*
	 * The supervisor before may have died a moment ago and its worker with it, but not quite: a process that is killed
	 * holds its locks until its last thread runs no more. Nobody else may be in the rings.
	 */
	while (fcntl(WORKER_FD_STATE, F_SETLKW, &(struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET }) < 0)
		if (errno != EINTR)
			return error_set(error, -errno, "state: cannot lock it: %s", strerror(errno));
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_STATE, 0);
	if (map == MAP_FAILED)
		return error_set(error, -errno, "state: cannot map it: %s", strerror(errno));
	/* Guests' keys are in it. */
	madvise(map, size, MADV_DONTDUMP);
	r = state_attach(map, size, &w->config->limits, &w->state, &dropped, error);
	if (r == 0 && dropped)
		log_warning("state: %u damaged rows of the worker before were dropped", dropped);
	return r;
}

static int open_stats(struct worker *w, struct error *error)
{
	uint32_t n_rings = w->device->n_queues(w->config);
	size_t size = stats_size(w->n_conns, n_rings);
	struct stat st;
	void *map;

	if (fstat(WORKER_FD_STATS, &st) < 0 || (uint64_t)st.st_size < size)
		return error_set(error, -EINVAL, "statistics: their memory is too short");
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, WORKER_FD_STATS, 0);
	if (map == MAP_FAILED)
		return error_set(error, -errno, "statistics: cannot map them: %s", strerror(errno));
	w->stats = (struct stats){
		.head = map, .n_conns = w->n_conns, .n_rings = n_rings, .trace = w->config->metrics_trace
	};
	return 0;
}

/* Nothing that another worker could do better. */
__attribute__((noreturn)) static void refuse(const struct error *error)
{
	log_error("%s", error->text);
	_exit(WORKER_EXIT_UNSAFE);
}

static int worker_init(struct worker *w, const struct options *options, struct error *error)
{
	struct sandbox sandbox;
	int r;

	*w = (struct worker){ .options = options, .device = options->device, .link = WORKER_FD_LINK };
	pthread_mutex_init(&w->lock, NULL);
	pthread_mutex_init(&w->replay_lock, NULL);
	r = setup_config(options, &w->config, error);
	if (r < 0)
		return r;
	accel_wire_limits(w->config, &w->limits);
	w->max_message = accel_max_message(w->config);
	w->n_cpus = spin_cpus(w->config->spin_us);
	w->n_conns = w->config->limits.connections;
	w->conns = calloc(w->n_conns, sizeof(*w->conns));
	if (!w->conns)
		return error_set(error, -ENOMEM, "no memory for %u connections", w->n_conns);
	/* Plugins that kill their worker while they are loaded must not take the guest's other requests along. */
	if (options->safe)
		w->config->n_plugins = 0;
	r = sandbox_enter(&sandbox, w->config, setup_max_fds(options->device, w->config, VHOST_MAX_REGIONS), error);
	if (r < 0)
		refuse(error);
	/* Without a sandbox only when there are keys: who debugs plugins wants to look. */
	w->hidden = w->config->sandbox.mode != SANDBOX_OFF;
	if (w->device->session_create || w->config->n_keys)
		worker_hide(w);
	r = open_state(w, error);
	if (r == 0 && state_n_keys(w->state))
		worker_hide(w);
	if (r == 0)
		w->limits.counts = w->limit_counts = state_limits(w->state);
	if (r == 0)
		r = open_stats(w, error);
	/* What a plugin's libcrypto would load by the system's configuration nobody meant for this process. */
	if (r == 0 && setenv("OPENSSL_CONF", "/dev/null", 0) < 0)
		r = error_set(error, -ENOMEM, "no memory for the environment");
	if (r == 0)
		r = engine_new(w->config, w->state, &w->engine, error);
	if (r == 0)
		r = relief_start(w, error);
	if (r == 0)
		r = start_watchdog(w, error);
	if (r < 0)
		return r;
	r = sandbox_close(&sandbox, w->engine, options->restarted ? LOG_DEBUG : LOG_INFO, error);
	if (r < 0)
		refuse(error);
	return 0;
}

/*
 * What a build with AddressSanitizer can tell although nothing is torn down: whether there is memory that no thread and no
 * variable leads to. To look it must be let trace itself, which the sandbox forbids; without that, such a build, which is for
 * tests, allows it now that it has no more use for keys.
 */
static bool memory_is_lost(const struct config *config)
{
	bool lost = false;

#ifdef VACCEL_ADDRESS_SANITIZED
	if (config->sandbox.mode != SANDBOX_OFF || prctl(PR_SET_DUMPABLE, 1) < 0)
		return false;
	lost = __lsan_do_recoverable_leak_check() != 0;
	log_info("worker: %s", lost ? "memory was lost" : "no memory was lost");
#endif
	return lost;
}

int worker_run(const struct options *options)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct error error = { 0 };

	signal(SIGPIPE, SIG_IGN);
	/* The terminal's Ctrl-C is for the supervisor, which ends its worker in good order. */
	signal(SIGINT, SIG_IGN);
	prctl(PR_SET_NAME, "vacceld-worker");
	fcntl(WORKER_FD_LINK, F_SETFD, FD_CLOEXEC);
	fcntl(WORKER_FD_STATE, F_SETFD, FD_CLOEXEC);
	fcntl(WORKER_FD_STATS, F_SETFD, FD_CLOEXEC);
	if (!w || worker_init(w, options, &error) < 0) {
		log_error("worker: %s", w ? error.text : "no memory");
		return WORKER_EXIT_FAILED;
	}
	catch_bus_errors(w);
	report_engine(w);
	control(w);
	log_info("worker: %" PRIuFAST64 " requests answered, %" PRIuFAST64 " argument bytes copied",
		 atomic_load(&w->n_requests), atomic_load(&w->bytes_copied));
	/* Threads may still be inside plugins: no orderly way out, and none needed. */
	_exit(memory_is_lost(w->config) ? WORKER_EXIT_FAILED : EXIT_SUCCESS);
}

/* The watchdog, and the handler of SIGBUS. */
SANDBOX_CALLS({ "poll" }, { "ppoll" }, { "ppoll_time64" }, { "rt_sigaction" }, { "exit_group" });
