/* SPDX-License-Identifier: Apache-2.0 */
/* The supervisor's loop and what feeds it. See supervisor.h. */
#include "daemon/supervisor.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "daemon/listener.h"
#include "daemon/sandbox.h"
#include "daemon/setup.h"
#include "engine/state.h"
#include "engine/stats.h"
#include "util/log.h"
#include "util/util.h"

/* Memory in pieces that a connection can have in any case: its rings and its data. */
#define MIN_REGIONS 2
/* How long to wait for descriptors or memory to be free again. */
#define ACCEPT_PAUSE_NS UINT64_C(100000000)

/* ---- start ---- */

/* What front-ends make us open has to fit, in the worker too, which inherits the limit. Regions share what is left. */
static int raise_limit(struct supervisor *s, struct error *error)
{
	uint64_t fixed = setup_max_fds(s->options->device, s->config, 0);
	uint64_t needed = setup_max_fds(s->options->device, s->config, MIN_REGIONS);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return error_set(error, -errno, "descriptors: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return error_set(error, -errno, "descriptors: cannot raise their number to %" PRIu64 ": %s",
				 (uint64_t)limit.rlim_max, strerror(errno));
	if (limit.rlim_max < needed)
		return error_set(error, -EMFILE,
				 "descriptors: limits.connections = %u with engine.queues = %u may need %" PRIu64
				 ", and RLIMIT_NOFILE is %" PRIu64,
				 s->n_slots, s->device.n_queues, needed, (uint64_t)limit.rlim_max);
	s->max_regions = MIN(limit.rlim_max - fixed, s->n_slots * (uint64_t)VHOST_MAX_REGIONS);
	return 0;
}

static int open_signals(struct supervisor *s, struct error *error)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return error_set(error, -errno, "signals: %s", strerror(errno));
	return 0;
}

/* Socket activation: the parent listens already. */
static int take_socket(struct supervisor *s, struct error *error)
{
	for (size_t i = 0; i < s->notify.n_fds && s->listen_fd < 0; i++) {
		struct notify_fd *row = &s->notify.fds[i];

		if (row->fd < 0 || listener_kind(row->fd) <= 0)
			continue;
		fcntl(row->fd, F_SETFL, fcntl(row->fd, F_GETFL) | O_NONBLOCK);
		log_info("listening on the parent's socket %s", row->name);
		s->listen_fd = row->fd;
		row->fd = -1;
	}
	if (s->listen_fd < 0)
		return error_set(error, -ENOTSOCK,
				 "socket: none of the %zu descriptors of the parent is a listening Unix stream socket",
				 s->notify.n_fds);
	return 0;
}

static int open_socket(struct supervisor *s, struct error *error)
{
	const struct options *o = s->options;
	int kind;

	if (o->socket_path) {
		s->listen_fd = keep_take_listener(s, o->socket_path);
		if (s->listen_fd < 0) {
			s->listen_fd = listener_open(o->socket_path, o->socket_group, error);
			if (s->listen_fd >= 0)
				keep_listener(s);
		}
		s->unlink_socket = s->listen_fd >= 0;
		return MIN(s->listen_fd, 0);
	}
	if (o->fd < 0)
		return take_socket(s, error);
	kind = listener_kind(o->fd);
	if (kind < 0)
		return error_set(error, -ENOTSOCK, "--fd %d: is not a Unix stream socket", o->fd);
	fcntl(o->fd, F_SETFD, FD_CLOEXEC);
	fcntl(o->fd, F_SETFL, fcntl(o->fd, F_GETFL) | O_NONBLOCK);
	if (kind > 0) {
		s->listen_fd = o->fd;
		return 0;
	}
	s->one_connection = true;
	return connection_new(s, o->fd) < 0 ? error_set(error, -ENOMEM, "--fd %d: no memory", o->fd) : 0;
}

/* Of a parent that listens for it, or where the configuration says. */
static int open_metrics(struct supervisor *s, struct error *error)
{
	int fd = notify_take(&s->notify, "metrics");

	if (fd < 0)
		return metrics_open(&s->metrics, s->config->metrics_listen, error);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	metrics_take(&s->metrics, fd);
	return 0;
}

static int supervisor_init(struct supervisor *s, const struct options *options, struct error *error)
{
	int r;

	*s = (struct supervisor){
		.options = options,
		.config_fd = -1,
		.state_fd = -1,
		.stats_fd = -1,
		.listen_fd = -1,
		.signal_fd = -1,
		.keep = { .pipe = { -1, -1 } },
	};
	launch_init(&s->launch);
	metrics_init(&s->metrics);
	r = notify_init(&s->notify, error);
	if (r == 0)
		r = setup_config(options, &s->config, error);
	if (r == 0)
		r = setup_config_copy(s->config, &s->config_fd, error);
	if (r < 0)
		return r;
	options->device->fill_config(s->config, s->device_config);
	s->device = (struct vhost_device){
		.features = setup_features(options->device),
		.n_queues = options->device->n_queues(s->config),
		.config = s->device_config,
		.config_len = options->device->config_len,
		.crypto = options->device->session_create != NULL,
	};
	s->n_slots = s->config->limits.connections;
	/* It holds the state, in which workers put keys; those of a crypto device come here first, in messages. */
	r = sandbox_hide(s->device.crypto);
	if (r < 0)
		return error_set(error, r, "device %s: its keys cannot be protected from being looked at: %s",
				 options->device->name, strerror(-r));
	r = raise_limit(s, error);
	if (r < 0)
		return r;
	s->connections = calloc(s->n_slots, sizeof(*s->connections));
	if (!s->connections)
		return error_set(error, -ENOMEM, "no memory for %u connections", s->n_slots);
	r = tally_init(&s->tally, s->device.n_queues, error);
	if (r == 0)
		r = setup_memory("vaccel-stats", stats_size(s->n_slots, s->device.n_queues), &s->stats_fd, error);
	if (r == 0)
		r = open_signals(s, error);
	if (r == 0)
		r = keep_init(s, error);
	if (r == 0)
		r = open_metrics(s, error);
	if (r == 0)
		r = open_socket(s, error);
	return r;
}

static void supervisor_fini(struct supervisor *s)
{
	/* What is kept now stays kept. */
	s->keep.on = false;
	for (uint32_t i = 0; s->connections && i < s->n_slots; i++)
		if (s->connections[i])
			connection_free(s, s->connections[i]);
	free(s->connections);
	keep_fini(s);
	tally_fini(&s->tally);
	metrics_fini(&s->metrics);
	if (s->unlink_socket)
		unlink(s->options->socket_path);
	close_fd(&s->listen_fd);
	close_fd(&s->signal_fd);
	close_fd(&s->state_fd);
	close_fd(&s->stats_fd);
	close_fd(&s->config_fd);
	config_free(s->config);
	notify_fini(&s->notify);
}

/* ---- the loop ---- */

static void accept_all(struct supervisor *s)
{
	int fd;

	s->accept_ns = 0;
	while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		s->accept_failed = false;
		connection_new(s, fd);
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	/* The connection stays where it is, and the socket readable. */
	s->accept_ns = now_ns() + ACCEPT_PAUSE_NS;
	if (!s->accept_failed)
		log_warning("cannot accept a connection: %s", strerror(errno));
	s->accept_failed = true;
}

/*
 * SIGTERM is how a service manager stops a service, to start it again or not, which it does not say. A manager that keeps
 * our descriptors decides with them: it hands them to the next supervisor, or closes them, and front-ends are hung up on
 * then. So nobody is told good-bye; what runs may end, and what waits in the rings is the next one's.
 */
static void begin_leave(struct supervisor *s)
{
	s->leaving = true;
	s->unlink_socket = false;
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->connections[i])
			connection_progress(s, s->connections[i]);
}

static void begin_stop(struct supervisor *s, int signal_number)
{
	if (s->stopping && !s->leaving)
		return;
	log_info("ending: %s", strsignal(signal_number));
	s->stopping = true;
	notify_send(&s->notify, "STOPPING=1\nSTATUS=Ends: %s", strsignal(signal_number));
	if (s->keep.on && signal_number == SIGTERM) {
		begin_leave(s);
		return;
	}
	s->leaving = false;
	keep_nothing(s);
	if (s->unlink_socket)
		unlink(s->options->socket_path);
	s->unlink_socket = false;
	close_fd(&s->listen_fd);
	s->listen_fd = -1;
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->connections[i])
			connection_close(s, s->connections[i], "the daemon ends");
}

static void take_worker(struct supervisor *s)
{
	struct link_msg msg;
	int r;

	while (s->launch.link >= 0 && (r = link_recv(s->launch.link, &msg, 1)) != -EAGAIN) {
		if (r == -EBADMSG)
			launch_kill(s, "because it sent nonsense");
		if (r <= 0) {
			launch_hung_up(s);
			return;
		}
		link_close_fds(&msg);
		/* What a worker that is being ended has still sent is out of date. */
		if (!s->launch.killed)
			mirror_message(s, &msg);
	}
}

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGCHLD) {
			begin_stop(s, (int)info.ssi_signo);
			continue;
		}
		/* What it has acknowledged is done, and must not be asked of the next one. */
		take_worker(s);
		launch_reap(s);
	}
}

static void check_times(struct supervisor *s)
{
	const char *why = NULL;
	uint64_t deadline = mirror_deadline(s, &why);

	if (deadline && now_ns() >= deadline)
		launch_kill(s, why);
	launch_tick(s);
}

/* When a front-end's message that was incomplete is looked for again; 0: there is none. */
static uint64_t read_deadline(const struct supervisor *s)
{
	uint64_t first = 0;

	for (uint32_t i = 0; !s->leaving && i < s->n_slots; i++) {
		const struct connection *c = s->connections[i];

		if (c && c->fd >= 0 && !c->busy && c->queued == 0 && c->read_ns && (!first || c->read_ns < first))
			first = c->read_ns;
	}
	return first;
}

static int poll_timeout(struct supervisor *s, uint64_t stop_ns)
{
	uint64_t alive_ns = notify_alive(&s->notify);
	const char *why = NULL;
	uint64_t times[] = { s->launch.killed ? 0 : mirror_deadline(s, &why),
			     launch_deadline(s),
			     stop_ns,
			     s->listen_fd >= 0 && !s->stopping ? s->accept_ns : 0,
			     read_deadline(s),
			     metrics_deadline(&s->metrics),
			     alive_ns };
	uint64_t first = 0, now = now_ns();

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		if (times[i] && (!first || times[i] < first))
			first = times[i];
	if (!first)
		return -1;
	return first <= now ? 0 : (int)MIN((first - now + 999999) / 1000000, 3600000);
}

enum { POLL_SIGNALS, POLL_WORKER, POLL_LISTEN, POLL_METRICS, POLL_CONNECTIONS = POLL_METRICS + METRICS_POLLS };

/* For one poll(2): connections come last, each with its slot. */
struct poll_set {
	struct pollfd *fds;
	uint32_t *slots;
	nfds_t n;
};

static int poll_set_new(struct poll_set *set, const struct supervisor *s, struct error *error)
{
	set->fds = calloc(POLL_CONNECTIONS + s->n_slots, sizeof(*set->fds));
	set->slots = calloc(POLL_CONNECTIONS + s->n_slots, sizeof(*set->slots));
	if (!set->fds || !set->slots)
		return error_set(error, -ENOMEM, "no memory for %u connections", s->n_slots);
	return 0;
}

/* Nothing is read that could close a descriptor which a command for the worker borrows. */
static bool may_read(const struct supervisor *s, const struct connection *c)
{
	return !c->busy && c->queued == 0 && s->launch.ever_ready && !s->leaving && now_ns() >= c->read_ns;
}

static void fill_poll(const struct supervisor *s, struct poll_set *set)
{
	const struct launch *l = &s->launch;
	bool accepting = l->ever_ready && !s->stopping && now_ns() >= s->accept_ns;

	set->fds[POLL_SIGNALS] = (struct pollfd){ .fd = s->signal_fd, .events = POLLIN };
	set->fds[POLL_WORKER] = (struct pollfd){ .fd = l->link, .events = l->queue ? POLLIN | POLLOUT : POLLIN };
	set->fds[POLL_LISTEN] = (struct pollfd){ .fd = accepting ? s->listen_fd : -1, .events = POLLIN };
	metrics_poll(&s->metrics, &set->fds[POLL_METRICS]);
	set->n = POLL_CONNECTIONS;
	for (uint32_t i = 0; i < s->n_slots; i++) {
		const struct connection *c = s->connections[i];

		if (!c || c->fd < 0)
			continue;
		set->slots[set->n] = i;
		set->fds[set->n++] = (struct pollfd){ .fd = c->fd, .events = may_read(s, c) ? POLLIN : 0 };
	}
}

static void serve_connections(struct supervisor *s, const struct poll_set *set)
{
	for (nfds_t i = POLL_CONNECTIONS; i < set->n; i++) {
		const struct pollfd *p = &set->fds[i];
		struct connection *c = s->connections[set->slots[i]];

		if (!c || c->fd != p->fd || !p->revents)
			continue;
		if (may_read(s, c) && (p->revents & POLLIN))
			connection_readable(s, c);
		else if (p->revents & (POLLHUP | POLLERR | POLLNVAL)) {
			connection_close(s, c, NULL);
			connection_progress(s, c);
		}
	}
}

static bool any_connection(const struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++)
		if (s->connections[i])
			return true;
	return false;
}

/* Waits for what comes next and deals with it. */
static int run_once(struct supervisor *s, struct poll_set *set, uint64_t stop_ns)
{
	fill_poll(s, set);
	if (poll(set->fds, set->n, poll_timeout(s, stop_ns)) < 0) {
		int r = errno == EINTR ? 0 : -errno;

		if (r < 0)
			log_error("cannot wait for connections: %s", strerror(-r));
		return r;
	}
	if (set->fds[POLL_WORKER].revents & POLLOUT)
		launch_flush(s);
	if (set->fds[POLL_WORKER].revents)
		take_worker(s);
	if (set->fds[POLL_SIGNALS].revents)
		take_signals(s);
	if (set->fds[POLL_LISTEN].revents && s->listen_fd >= 0)
		accept_all(s);
	serve_connections(s, set);
	metrics_serve(s, &set->fds[POLL_METRICS]);
	return 0;
}

static int run(struct supervisor *s, struct poll_set *set)
{
	uint64_t stop_ns = 0;
	int r = 0;

	while (r == 0) {
		if (s->unsafe)
			return -EPERM;
		check_times(s);
		if (s->one_connection && s->launch.ever_ready && !any_connection(s))
			return 0;
		if (s->stopping) {
			if (!stop_ns)
				stop_ns = now_ns() + (uint64_t)s->options->drain_ms * 1000000;
			if (!any_connection(s) || s->launch.pid == 0 || now_ns() >= stop_ns ||
			    (s->leaving && mirror_quiet(s)))
				return 0;
		}
		r = run_once(s, set, stop_ns);
	}
	return r;
}

/* The worker ends when its link closes; not in time, it is killed. */
static void end_worker(struct supervisor *s)
{
	struct pollfd p = { .fd = s->signal_fd, .events = POLLIN };
	uint64_t until = now_ns() + UINT64_C(1000000000);

	s->stopping = true;
	if (s->launch.pid == 0)
		return;
	shutdown(s->launch.link, SHUT_RDWR);
	while (s->launch.pid != 0 && now_ns() < until) {
		poll(&p, 1, 100);
		take_signals(s);
		launch_reap(s);
	}
	if (s->launch.pid != 0) {
		pid_t pid = s->launch.pid;

		launch_hung_up(s);
		waitpid(pid, NULL, 0);
	}
}

int supervisor_run(const struct options *options)
{
	struct supervisor s;
	struct error error = { 0 };
	struct poll_set set = { 0 };
	int r;

	/* Whoever reads the log, or a front-end, may be gone at any time. */
	signal(SIGPIPE, SIG_IGN);
	r = supervisor_init(&s, options, &error);
	if (r == 0)
		r = poll_set_new(&set, &s, &error);
	if (r < 0) {
		log_error("%s", error.text);
	} else {
		if (options->socket_path)
			log_info("listening on %s", options->socket_path);
		r = run(&s, &set);
		end_worker(&s);
	}
	free(set.fds);
	free(set.slots);
	supervisor_fini(&s);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
