/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring and its thread: takes chains, runs or submits them, gives them back, wakes the guest. See worker.h.
 *
 * Life: ring_start() -> thread: recovery, then serving until ring_stop() -> drain -> acknowledgement -> thread ends ->
 * ring_free() by the control thread when the ring is started anew or the connection goes. A thread that an operation holds
 * up is relieved: another one serves the ring from then on, and the first ends with its operation (ring_relieve()).
 *
 * Answers given by the ring's own thread are signalled once per batch (of BATCH, or before something long); those of
 * other threads at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/worker.h"
#include "util/calls.h"
#include "util/log.h"
#include "util/util.h"
#include "vhost/guard.h"

#define COMPLAINT_NS UINT64_C(1000000000)
#define BATCH	     16
/* How long the ring's thread may run an operation: as long as other sessions of the queue may have to wait for that. */
#define SPARE_NS UINT64_C(500000)

/* The ring whose thread this is. */
static __thread struct wring *own_ring;
/* And for how often the ring had changed hands then. */
static __thread uint64_t own_stint;

/* ---- waking the guest ---- */

static mode_t kind_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

/* UML gives a socket pair. */
static bool is_socket(int fd)
{
	return kind_of(fd) == S_IFSOCK;
}

static bool is_stream(int fd)
{
	return is_socket(fd) || kind_of(fd) == S_IFIFO;
}

/* O_NONBLOCK belongs to the open file, which the front-end has too: it may have been cleared since. */
static bool would_block(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return !(fcntl(fd, F_GETFL) & O_NONBLOCK) && poll(&p, 1, 0) <= 0;
}

/*
 * Does not wait: a full eventfd, pipe or socket holds a wake-up already. Asked each time, also for the ring's own thread: a
 * ring that waits here cannot be stopped, and a worker that is ended for it leaves the next one with the same descriptor, so
 * that all others would lose their worker again and again. What remains is a front-end that clears the flag of a full
 * descriptor right between question and write().
 */
HOT static void poke(int fd, bool socket)
{
	const uint64_t one = 1;
	ssize_t n = 0;

	if (fd < 0)
		return;
	if (socket)
		n = send(fd, &one, sizeof(one), MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (!would_block(fd))
		n = write(fd, &one, sizeof(one));
	if (n < 0 && errno != EAGAIN)
		log_debug("cannot wake a front-end: %s", strerror(errno));
}

HOT static void tell(struct wring *ring)
{
	poke(__atomic_load_n(&ring->call, __ATOMIC_ACQUIRE), __atomic_load_n(&ring->call_is_socket, __ATOMIC_RELAXED));
}

HOT static void tell_now(struct wring *ring)
{
	uint32_t kind;
	uint64_t begin = trace_signal_begin(ring, &kind);

	if (vq_wants_signal(&ring->vq))
		tell(ring);
	trace_signal_end(ring, kind, begin);
}

HOT void ring_tell(struct wring *ring)
{
	if (!ring->must_signal)
		return;
	ring->must_signal = false;
	tell_now(ring);
}

/* ---- requests ---- */

HOT struct request *ring_request(struct wring *ring, uint16_t head)
{
	/* The watchdog may be looking. */
	if (!ring->requests[head])
		__atomic_store_n(&ring->requests[head], calloc(1, sizeof(struct request)), __ATOMIC_RELEASE);
	return ring->requests[head];
}

HOT void ring_complete(struct wring *ring, struct request *request, uint32_t written)
{
	bool awaited = request->awaited;

	atomic_fetch_sub(&ring->conn->worker->in_flight, 1);
	atomic_fetch_sub(&ring->conn->n_requests, 1);
	vq_push(&ring->vq, request->head, written);
	if (own_ring == ring)
		ring->must_signal = true;
	else
		tell_now(ring);
	/* The last thing done with the ring: once active is 0 it may go. */
	pthread_mutex_lock(&ring->lock);
	stats_set(&ring->counts->in_flight, --ring->active);
	if (awaited)
		ring->awaiting = false;
	if (awaited || ring->active == 0)
		pthread_cond_broadcast(&ring->idle);
	pthread_mutex_unlock(&ring->lock);
}

HOT uint64_t ring_spare_ns(const struct wring *ring)
{
	if (ring->recovering)
		return 0;
	return vq_available(&ring->vq) ? ENGINE_SHORT_NS : SPARE_NS;
}

void ring_wait_awaited(struct wring *ring)
{
	pthread_mutex_lock(&ring->lock);
	while (ring->awaiting)
		pthread_cond_wait(&ring->idle, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
}

static void wait_idle(struct wring *ring)
{
	pthread_mutex_lock(&ring->lock);
	while (ring->active > 0)
		pthread_cond_wait(&ring->idle, &ring->lock);
	pthread_mutex_unlock(&ring->lock);
}

/* A guest can make us say this as often as it likes. */
static void complain(struct wring *ring, const char *what)
{
	uint64_t now = now_ns();

	if (now - ring->last_complaint_ns < COMPLAINT_NS)
		return;
	ring->last_complaint_ns = now;
	log_warning("connection %u: ring %u: %s", ring->conn->id, ring->index, what);
}

static void break_ring(struct wring *ring, const char *why)
{
	struct link_msg msg = { .type = LINK_BROKEN, .conn = ring->conn->id, .index = ring->index, LINK_MSG_INIT };

	snprintf(msg.text, sizeof(msg.text), "%s", why);
	ring->kicked_out = true;
	if (ring->kick >= 0)
		epoll_ctl(ring->epoll, EPOLL_CTL_DEL, ring->kick, NULL);
	pthread_mutex_lock(&ring->lock);
	poke(ring->err, is_socket(ring->err));
	pthread_mutex_unlock(&ring->lock);
	link_send(ring->conn->worker->link, &msg);
}

/* Into ledger and journal, in this order: the journal's entry makes the ledger's count. */
HOT static void take(struct wring *ring, uint16_t head, struct request *request)
{
	uint64_t counter = vq_next_counter(&ring->vq);
	struct ledger_entry *entry = &ring->ledger->entries[head];

	*entry = (struct ledger_entry){ .counter = counter };
	__atomic_store_n(&ring->ledger->next_counter, counter + 1, __ATOMIC_RELEASE);
	request->counter = counter;
	vq_take(&ring->vq, head);
	atomic_fetch_add(&ring->conn->n_requests, 1);
	atomic_fetch_add(&ring->conn->worker->in_flight, 1);
	pthread_mutex_lock(&ring->lock);
	stats_set(&ring->counts->in_flight, ++ring->active);
	pthread_mutex_unlock(&ring->lock);
}

/* The new one is counted already. */
static int check_in_flight(struct wconn *conn, struct error *error)
{
	const struct config_limits *limits = &conn->worker->config->limits;
	struct limit_counts *counts = conn->worker->limit_counts;

	if (atomic_load(&conn->n_requests) > limits->requests)
		return limit_refuse(counts, LIMIT_REQUESTS, limits->requests, error, -EDQUOT,
				    "request: as many as one connection may have are in flight");
	if (atomic_load(&conn->worker->in_flight) > limits->total_requests)
		return limit_refuse(counts, LIMIT_TOTAL_REQUESTS, limits->total_requests, error, -EDQUOT,
				    "request: as many as all connections may have are in flight");
	return 0;
}

HOT static void serve_chain(struct wring *ring, const struct vq_chain *chain)
{
	const struct device *device = ring->conn->worker->device;
	struct request *request = ring_request(ring, chain->head);
	struct error error;
	int r;

	error_clear(&error);
	if (!request) {
		complain(ring, "a request is dropped: no memory");
		vq_push(&ring->vq, chain->head, 0);
		ring->must_signal = true;
		return;
	}
	request_begin(ring, chain->head, request);
	take(ring, chain->head, request);
	r = device->decode(request, chain, &error);
	if (r > 0) {
		complain(ring, "a request has no room for its answer");
		trace_answered(request, VIRTIO_ACCEL_S_BADMSG);
		ring_complete(ring, request, 0);
		return;
	}
	if (r == 0)
		r = check_in_flight(ring->conn, &error);
	if (r < 0)
		device->answer(request, r, 0, &error);
	else
		device->run(request);
}

/* ---- the thread ---- */

HOT void ring_enter(struct wring *ring, uint64_t now)
{
	struct relief *relief = &ring->conn->worker->relief;

	if (own_ring != ring)
		return;
	__atomic_store_n(&ring->inside_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(&ring->inside, own_stint, __ATOMIC_RELEASE);
	if (!atomic_load_explicit(&relief->seen, memory_order_relaxed))
		relief_wake(relief);
}

/* Relieved meanwhile, this thread is like any other to the ring, and ends when it comes back to serve_available(). */
HOT void ring_leave(struct wring *ring)
{
	uint64_t stint = own_stint;

	if (own_ring == ring &&
	    !__atomic_compare_exchange_n(&ring->inside, &stint, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		own_ring = NULL;
}

/* False: the ring is broken, or no longer this thread's: own_ring tells. */
HOT static bool serve_available(struct wring *ring)
{
	struct vq_chain chain;
	struct error error;
	uint32_t n = 0;
	int r = 1;

	error_clear(&error);
	while (!atomic_load_explicit(&ring->stopping, memory_order_relaxed)) {
		ring->popped_ns = stats_ticks_begin(&ring->ticks);
		pthread_rwlock_rdlock(&ring->conn->memory_lock);
		r = vq_pop(&ring->vq, &chain, &error);
		pthread_rwlock_unlock(&ring->conn->memory_lock);
		if (r <= 0)
			break;
		stats_ticks_took(&ring->ticks, ring->popped_ns);
		serve_chain(ring, &chain);
		if (own_ring != ring)
			return false;
		if (++n % BATCH == 0)
			ring_tell(ring);
	}
	ring_tell(ring);
	if (r < 0)
		break_ring(ring, error.text);
	return r >= 0;
}

/*
 * An eventfd is watched for changes and never read: that saves a system call for each wake-up, and its counter is of no
 * interest. False: it cannot be waited for.
 */
static bool watch_kick(struct wring *ring)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = ring->kick };

	ring->kick_is_stream = is_stream(ring->kick);
	if (!ring->kick_is_stream)
		event.events |= EPOLLET;
	return ring->kick < 0 || epoll_ctl(ring->epoll, EPOLL_CTL_ADD, ring->kick, &event) == 0;
}

/* Empties a kick descriptor that has contents, or finds that it is of no use (any more). */
static void take_kick(struct wring *ring, uint32_t events)
{
	uint64_t count;
	ssize_t n = -1;

	errno = EAGAIN;
	if (ring->kick_is_stream)
		n = read(ring->kick, &count, sizeof(count));
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR) && !(events & (EPOLLERR | EPOLLHUP))))
		return;
	break_ring(ring, "its kick descriptor was closed by the other side");
}

HOT static void wait_for_work(struct wring *ring)
{
	struct epoll_event event;

	if (epoll_wait(ring->epoll, &event, 1, -1) > 0 && event.data.fd == ring->kick && !ring->kicked_out)
		take_kick(ring, event.events);
	spin_slept(&ring->spin);
}

HOT static bool worth_waking(void *opaque)
{
	struct wring *ring = opaque;

	return vq_available(&ring->vq) || atomic_load_explicit(&ring->stopping, memory_order_relaxed);
}

/*
 * Looks for the next request, while there are processors for all who look or run an operation, and one for those who send
 * requests. True: there is one.
 */
HOT static bool look_for_work(struct wring *ring)
{
	struct worker *worker = ring->conn->worker;
	bool found;

	/* Who sent what is still being worked on waits for that. */
	if (vq_n_busy(&ring->vq) > 0)
		return worth_waking(ring);
	if (atomic_fetch_add(&worker->n_looking, 1) + engine_n_running(worker->engine) + 1 < worker->n_cpus)
		found = spin_look(&ring->spin, UINT64_MAX, worth_waking, ring);
	else
		found = worth_waking(ring);
	atomic_fetch_sub(&worker->n_looking, 1);
	return found;
}

HOT static void serve(struct wring *ring)
{
	while (own_ring == ring && !atomic_load(&ring->stopping)) {
		if (!ring->kicked_out) {
			vq_disable_kicks(&ring->vq);
			if (!serve_available(ring))
				continue;
			if (look_for_work(ring) || vq_enable_kicks(&ring->vq))
				continue;
		}
		wait_for_work(ring);
		stats_ticks_slept(&ring->ticks);
	}
}

static void begin_stint(struct wring *ring)
{
	char name[16];

	own_ring = ring;
	own_stint = ring->stint;
	/* By itself: another thread would have to open a file for it. */
	snprintf(name, sizeof(name), "ring-%u.%u", ring->conn->id, ring->index);
	pthread_setname_np(pthread_self(), name);
}

/* Until the ring is stopped, and all of it has ended, or it is another thread's. */
static void serve_to_the_end(struct wring *ring)
{
	serve(ring);
	if (own_ring != ring)
		return;
	wait_idle(ring);
	worker_ack(ring->conn->worker, ring->conn->id, ring->stop_seq, ring->vq.num ? 0 : -EINVAL, ring->vq.last_avail,
		   NULL);
}

static void *ring_main(void *opaque)
{
	struct wring *ring = opaque;

	begin_stint(ring);
	if (!ring->kicked_out) {
		ring->recovering = true;
		ring_recover(ring);
		ring->recovering = false;
		ring_tell(ring);
	}
	serve_to_the_end(ring);
	return NULL;
}

static void *relief_of_ring(void *opaque)
{
	struct wring *ring = opaque;

	begin_stint(ring);
	/* What the thread before has answered and not told. */
	ring_tell(ring);
	serve_to_the_end(ring);
	return NULL;
}

void ring_relieve(struct wring *ring, uint64_t now, uint64_t after_ns)
{
	uint64_t stint = __atomic_load_n(&ring->inside, __ATOMIC_ACQUIRE);
	uint64_t since = __atomic_load_n(&ring->inside_ns, __ATOMIC_RELAXED);

	if (!stint || now < since + after_ns ||
	    !__atomic_compare_exchange_n(&ring->inside, &stint, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return;
	log_debug("connection %u: ring %u: an operation takes longer than it should; another thread goes on",
		  ring->conn->id, ring->index);
	pthread_detach(ring->thread);
	ring->stint++;
	if (pthread_create(&ring->thread, NULL, relief_of_ring, ring))
		_exit(WORKER_EXIT_FAILED);
}

/* ---- start and stop ---- */

static int map_ledger(struct wring *ring, int fd, struct error *error)
{
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < LEDGER_BYTES)
		return error_set(error, -EINVAL, "ledger: it is too short");
	map = mmap(NULL, LEDGER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return error_set(error, -errno, "ledger: cannot map it: %s", strerror(errno));
	ring->ledger = map;
	ring->journal = &ring->ledger->journal;
	return 0;
}

/* The front-end's journal. Its regions start anywhere, a mapping on a page. */
static int map_journal(struct wring *ring, int fd, struct error *error)
{
	uint64_t skip = ring->setup.journal_offset % 4096;
	size_t len = skip + inflight_size(ring->setup.num);
	void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(ring->setup.journal_offset - skip));

	if (map == MAP_FAILED)
		return error_set(error, -errno, "journal: cannot map it: %s", strerror(errno));
	ring->journal_map = map;
	ring->journal_len = len;
	ring->journal_guard = vhost_guard_add(map, len, ring->conn->id);
	ring->journal = (void *)((char *)map + skip);
	return 0;
}

static int open_vq(struct wring *ring, struct error *error)
{
	const struct vq_setup setup = {
		.num = ring->setup.num,
		.base = ring->setup.base,
		.recover = ring->setup.flags & LINK_RING_RECOVER,
		.desc = ring->setup.desc,
		.avail = ring->setup.avail,
		.used = ring->setup.used,
		.features = ring->setup.features,
		.counter = MAX(ring->ledger->next_counter, 1),
	};
	int n;

	if (setup.num > VRING_MAX_NUM)
		return error_set(error, -EINVAL, "ring size %u is not possible", setup.num);
	ring->requests = calloc(setup.num, sizeof(*ring->requests));
	ring->recovered = calloc(setup.num, sizeof(*ring->recovered));
	if (!ring->requests || !ring->recovered)
		return error_set(error, -ENOMEM, "no memory for a ring of %u", setup.num);
	n = vq_init(&ring->vq, &ring->conn->memory, &setup, ring->journal, ring->recovered, error);
	ring->n_recovered = MAX(n, 0);
	return MIN(n, 0);
}

static int set_up(struct wring *ring, struct link_msg *msg, struct error *error)
{
	int r = map_ledger(ring, msg->fds[LINK_FD_LEDGER], error);

	if (r == 0 && msg->fds[LINK_FD_JOURNAL] >= 0)
		r = map_journal(ring, msg->fds[LINK_FD_JOURNAL], error);
	if (r == 0)
		r = open_vq(ring, error);
	if (r < 0)
		ring->vq.num = 0;
	return r;
}

static bool open_events(struct wring *ring)
{
	struct epoll_event event = { .events = EPOLLIN };

	ring->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->epoll = epoll_create1(EPOLL_CLOEXEC);
	event.data.fd = ring->stop_event;
	return ring->stop_event >= 0 && ring->epoll >= 0 &&
	       epoll_ctl(ring->epoll, EPOLL_CTL_ADD, ring->stop_event, &event) == 0;
}

void ring_start(struct wconn *conn, struct link_msg *msg)
{
	bool aborting = msg->ring.flags & LINK_RING_ABORT;
	struct wring *ring = calloc(1, sizeof(*ring));
	struct error error = { 0 };

	if (!ring)
		_exit(WORKER_EXIT_FAILED); /* the next worker is told everything again */
	*ring = (struct wring){ .conn = conn,
				.index = msg->index,
				.setup = msg->ring,
				.kick = msg->fds[LINK_FD_KICK],
				.call = msg->fds[LINK_FD_CALL],
				.err = msg->fds[LINK_FD_ERR],
				.no_call = -1,
				.stint = 1 };
	ring->call_is_socket = is_socket(ring->call);
	msg->fds[LINK_FD_KICK] = msg->fds[LINK_FD_CALL] = msg->fds[LINK_FD_ERR] = -1;
	trace_ring(ring);
	pthread_mutex_init(&ring->lock, NULL);
	pthread_cond_init(&ring->idle, NULL);
	spin_init(&ring->spin, conn->worker->config->spin_us);
	if (!open_events(ring))
		_exit(WORKER_EXIT_FAILED);
	if (set_up(ring, msg, &error) < 0)
		break_ring(ring, error.text);
	else if (!watch_kick(ring))
		break_ring(ring, "its kick descriptor cannot be waited for");
	wconn_swap_ring(conn, msg->index, ring);
	if (aborting) {
		ring->stop_seq = msg->seq;
		atomic_store(&ring->stopping, true);
	}
	if (pthread_create(&ring->thread, NULL, ring_main, ring))
		_exit(WORKER_EXIT_FAILED);
}

/*
 * Threads that write to the descriptor hold no lock, so what its number stands for is replaced and the number stays: at
 * worst one of them still tells the old one.
 */
static void replace_call(struct wring *ring, int call)
{
	int number = ring->call >= 0 ? ring->call : ring->no_call;

	__atomic_store_n(&ring->call_is_socket, is_socket(call), __ATOMIC_RELAXED);
	if (call < 0) {
		ring->no_call = number;
		number = -1;
	} else if (number >= 0) {
		dup2(call, number);
		close_fd(&call);
		fcntl(number, F_SETFD, FD_CLOEXEC);
	} else {
		number = call;
	}
	__atomic_store_n(&ring->call, number, __ATOMIC_RELEASE);
}

void ring_set_call(struct wring *ring, int call, int err)
{
	replace_call(ring, call);
	pthread_mutex_lock(&ring->lock);
	close_fd(&ring->err);
	ring->err = err;
	pthread_mutex_unlock(&ring->lock);
	/* Nobody was told by the old one of what came between. */
	tell(ring);
}

void ring_stop(struct wring *ring, uint32_t seq)
{
	const uint64_t one = 1;

	if (atomic_load(&ring->stopping))
		return;
	ring->stop_seq = seq;
	atomic_store(&ring->stopping, true);
	if (write(ring->stop_event, &one, sizeof(one)) < 0)
		log_error("ring %u: cannot stop it: %s", ring->index, strerror(errno));
}

void ring_free(struct wring *ring)
{
	if (!ring)
		return;
	pthread_join(ring->thread, NULL);
	for (uint32_t i = 0; ring->requests && i < ring->setup.num; i++)
		free(ring->requests[i]);
	if (ring->vq.num)
		vq_fini(&ring->vq);
	free(ring->requests);
	free(ring->recovered);
	if (ring->ledger)
		munmap(ring->ledger, LEDGER_BYTES);
	vhost_guard_remove(ring->journal_guard);
	if (ring->journal_map)
		munmap(ring->journal_map, ring->journal_len);
	close_fd(&ring->kick);
	close_fd(&ring->call);
	if (ring->call < 0)
		close_fd(&ring->no_call);
	close_fd(&ring->err);
	close_fd(&ring->stop_event);
	close_fd(&ring->epoll);
	pthread_mutex_destroy(&ring->lock);
	pthread_cond_destroy(&ring->idle);
	free(ring);
}

/* Waiting for guests and waking them; the ring's ledger and journal are files. */
SANDBOX_CALLS({ "poll" }, { "ppoll" }, { "ppoll_time64" }, { "epoll_create1" }, { "epoll_ctl" }, { "epoll_wait" },
	      { "epoll_pwait" }, { "read" }, { "write" }, SANDBOX_IF("sendto", 4, UINT64_MAX, 0), { "close" },
	      { "eventfd2" }, { "dup2" }, { "dup3" }, { "fstat" }, { "newfstatat" }, { "fstatat64" },
	      SANDBOX_IF("fcntl", 1, UINT32_MAX, F_GETFL), SANDBOX_IF("fcntl", 1, UINT32_MAX, F_SETFD),
	      SANDBOX_IF("fcntl64", 1, UINT32_MAX, F_GETFL), SANDBOX_IF("fcntl64", 1, UINT32_MAX, F_SETFD),
	      SANDBOX_IF("mmap", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED),
	      SANDBOX_IF("mmap2", 3, MAP_ANONYMOUS | MAP_TYPE, MAP_SHARED), { "munmap" });
