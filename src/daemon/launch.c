/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker process: started, watched, and started again when it dies. See supervisor.h.
 *
 * A worker that dies after it was ready is replaced at once; several in short order are slowed down. Three that die
 * before they are ready have a plugin that cannot be loaded, most likely: then one without plugins takes over, so that
 * requests fail instead of hanging, and the plugins get another chance after a while.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/supervisor.h"
#include "util/log.h"
#include "util/util.h"

#define MS		UINT64_C(1000000)
#define SHORT_LIFE_NS	(2000 * MS) /* a worker that lived shorter counts as a failure */
#define RETRY_NS	(500 * MS)  /* the system would not start one */
#define UNREADY_TO_SAFE 3
#define SAFE_NS		(30000 * MS)

void launch_init(struct launch *launch)
{
	*launch = (struct launch){ .link = -1 };
	launch->queue_tail = &launch->queue;
}

static void move_fd(int from, int to)
{
	if (from == to)
		fcntl(to, F_SETFD, 0);
	else
		dup2(from, to);
}

/* The child's way to exec: only descriptors of its own, no blocked signals. */
static void exec_worker(const struct supervisor *s, int link, pid_t parent)
{
	char level[32], config[32];
	char *argv[OPTIONS_MAX_SETS * 2 + 18];
	int fds[] = { link, s->state_fd, s->stats_fd, s->config_fd };
	sigset_t none;
	size_t n = 0;

	/* Whoever takes over the rings from a supervisor that died must find its worker dead. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(WORKER_EXIT_FAILED);
	/* Out of the way first: the numbers 3 to 6 may be in use by one another. */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD, 16);
	move_fd(fds[0], WORKER_FD_LINK);
	move_fd(fds[1], WORKER_FD_STATE);
	move_fd(fds[2], WORKER_FD_STATS);
	if (fds[3] >= 0)
		move_fd(fds[3], WORKER_FD_CONFIG);
	close_range(fds[3] >= 0 ? WORKER_FD_CONFIG + 1 : WORKER_FD_CONFIG, ~0u, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(level, sizeof(level), "--log-level=%s",
		 s->options->log_level == LOG_ERR	? "error"
		 : s->options->log_level == LOG_WARNING ? "warning"
		 : s->options->log_level == LOG_DEBUG	? "debug"
							: "info");
	config[0] = '\0';
	if (fds[3] >= 0)
		snprintf(config, sizeof(config), "/proc/self/fd/%d", WORKER_FD_CONFIG);
	argv[n++] = (char *)"vacceld";
	argv[n++] = (char *)"--worker";
	argv[n++] = level;
	argv[n++] = (char *)"--device";
	argv[n++] = (char *)s->options->device->name;
	if (s->options->log_json)
		argv[n++] = (char *)"--log-format=json";
	argv[n++] = (char *)"--config";
	argv[n++] = config;
	for (size_t i = 0; i < s->options->n_sets; i++) {
		argv[n++] = (char *)"--set";
		argv[n++] = (char *)s->options->sets[i];
	}
	if (s->options->models) {
		argv[n++] = (char *)"--models";
		argv[n++] = (char *)s->options->models;
	}
	if (s->launch.want_safe)
		argv[n++] = (char *)"--safe";
	if (s->launch.n_started > 1)
		argv[n++] = (char *)"--restarted";
	argv[n] = NULL;
	execv("/proc/self/exe", argv);
	_exit(WORKER_EXIT_FAILED);
}

static void start(struct supervisor *s)
{
	struct launch *l = &s->launch;
	pid_t pid, parent;
	int pair[2];

	l->next_ns = now_ns() + RETRY_NS;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		log_error("worker: cannot start it: %s", strerror(errno));
		return;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	l->n_started++;
	tally_worker_starts(s->stats_fd, l->n_started);
	parent = getpid();
	pid = fork();
	if (pid == 0)
		exec_worker(s, pair[1], parent);
	close(pair[1]);
	if (pid < 0) {
		log_error("worker: cannot start it: %s", strerror(errno));
		close(pair[0]);
		return;
	}
	l->pid = pid;
	l->link = pair[0];
	l->ready = false;
	l->killed = false;
	l->safe = l->want_safe;
	l->started_ns = now_ns();
	l->retry_ns = l->safe ? l->started_ns + SAFE_NS : 0;
}

void launch_tick(struct supervisor *s)
{
	struct launch *l = &s->launch;

	if (l->pid == 0) {
		if (!s->stopping && now_ns() >= l->next_ns)
			start(s);
	} else if (l->safe && l->ready && now_ns() >= l->retry_ns) {
		l->want_safe = false;
		l->unready = UNREADY_TO_SAFE - 1; /* one attempt */
		launch_kill(s, "to try the plugins again");
	}
}

uint64_t launch_deadline(const struct supervisor *s)
{
	const struct launch *l = &s->launch;

	if (l->pid == 0)
		return s->stopping ? 0 : MAX(l->next_ns, 1);
	return l->safe && l->ready ? l->retry_ns : 0;
}

void launch_ready(struct supervisor *s, const struct link_ready *ready)
{
	struct launch *l = &s->launch;

	notify_send(&s->notify, "%sSTATUS=Worker %d serves%s", l->ever_ready ? "" : "READY=1\n", (int)l->pid,
		    l->safe ? " without plugins: operations fail" : "");
	l->ready = true;
	l->ever_ready = true;
	s->options->device->fill_served(s->device_config, ready->ops);
	if (l->n_started == 1)
		log_info("worker %d is ready", (int)l->pid);
	else
		log_info("worker %d is ready%s", (int)l->pid, l->safe ? ", without plugins: operations fail" : "");
}

/* ---- commands ---- */

static void pop(struct launch *l)
{
	struct launch_command *first = l->queue;

	if (first->connection)
		first->connection->queued--;
	l->queue = first->next;
	if (!l->queue)
		l->queue_tail = &l->queue;
	link_wipe(&first->msg);
	free(first);
}

/* False: there is no room. */
static bool try_send(struct launch *l, const struct link_msg *msg)
{
	int r = link_send(l->link, msg);

	/* -EPIPE: it has died, which SIGCHLD will tell. */
	if (r < 0 && r != -EAGAIN && r != -EPIPE && r != -ECONNRESET)
		log_error("worker: cannot send it a command: %s", strerror(-r));
	return r != -EAGAIN;
}

void launch_send(struct supervisor *s, struct connection *c, const struct link_msg *msg)
{
	struct launch *l = &s->launch;
	struct launch_command *command;

	if (l->link < 0 || (!l->queue && try_send(l, msg)))
		return;
	command = malloc(sizeof(*command));
	if (!command) {
		launch_kill(s, "because there is no memory for what it has to be told");
		return;
	}
	/* Straight to its place: a copy on the way would stay on the stack, with a key in it. */
	command->next = NULL;
	command->connection = c;
	command->msg = *msg;
	if (c)
		c->queued++;
	*l->queue_tail = command;
	l->queue_tail = &command->next;
}

void launch_flush(struct supervisor *s)
{
	struct launch *l = &s->launch;

	while (l->queue && try_send(l, &l->queue->msg))
		pop(l);
}

static void close_link(struct launch *l)
{
	while (l->queue)
		pop(l);
	close_fd(&l->link);
	l->link = -1;
}

/* ---- its end ---- */

void launch_hung_up(struct supervisor *s)
{
	/* One that lives is of no use. One that dies keeps the exit status that it has. */
	kill(s->launch.pid, SIGKILL);
	close_link(&s->launch);
	launch_reap(s);
}

void launch_kill(struct supervisor *s, const char *why)
{
	struct launch *l = &s->launch;

	if (l->pid == 0 || l->killed)
		return;
	log_warning("worker %d is ended %s", (int)l->pid, why);
	l->killed = true;
	kill(l->pid, SIGKILL);
}

static enum death death_of(const struct launch *l, int status)
{
	if (l->killed)
		return DEATH_KILLED;
	if (WIFSIGNALED(status))
		return DEATH_SIGNAL;
	return WEXITSTATUS(status) == WORKER_EXIT_DEADLINE ? DEATH_DEADLINE
	       : WEXITSTATUS(status) == WORKER_EXIT_FAULT  ? DEATH_FAULT
							   : DEATH_EXIT;
}

const char *launch_death_name(enum death death)
{
	static const char *const names[DEATH_N] = {
		[DEATH_SIGNAL] = "signal", [DEATH_EXIT] = "exit",     [DEATH_DEADLINE] = "deadline",
		[DEATH_FAULT] = "fault",   [DEATH_KILLED] = "killed",
	};

	return names[death];
}

static void say_end(const struct launch *l, int status)
{
	const char *when = l->ready ? "" : " before it was ready";

	if (l->killed)
		return;
	if (WIFSIGNALED(status))
		log_warning("worker %d died of signal %d (%s)%s", (int)l->pid, WTERMSIG(status),
			    strsignal(WTERMSIG(status)), when);
	else if (WEXITSTATUS(status) == WORKER_EXIT_DEADLINE)
		log_warning("worker %d ended itself: an operation took too long", (int)l->pid);
	else if (WEXITSTATUS(status) == WORKER_EXIT_FAULT)
		log_warning("worker %d ended itself: memory that a front-end shares is not there", (int)l->pid);
	else if (WEXITSTATUS(status) == WORKER_EXIT_UNSAFE)
		log_error("worker %d cannot have its sandbox: nothing is served", (int)l->pid);
	else
		log_warning("worker %d ended with status %d%s", (int)l->pid, WEXITSTATUS(status), when);
}

/* When the next one may start, and whether it may have plugins. */
static void plan_next(struct supervisor *s, bool expected)
{
	struct launch *l = &s->launch;
	uint64_t now = now_ns();
	bool lived = l->ready && now - l->started_ns >= SHORT_LIFE_NS;

	if (l->ready)
		l->unready = 0;
	else if (!expected)
		l->unready++;
	l->failures = expected || lived ? 0 : l->failures + 1;
	if (l->unready >= UNREADY_TO_SAFE && !l->want_safe) {
		log_error("worker: died %u times before it was ready; one without plugins takes over", l->unready);
		l->want_safe = true;
		l->failures = 0;
	}
	/* The first two in a row at once, then 20, 40, ... ms. */
	l->next_ns = now;
	if (l->failures >= 3 && s->options->restart_delay_ms) {
		l->next_ns += MIN((10 * MS) << MIN(l->failures - 2, 20u), s->options->restart_delay_ms * MS);
		log_info("worker: %u died young; the next one starts in %u ms", l->failures,
			 (unsigned int)((l->next_ns - now) / MS));
	}
}

/* Whether its requests have nothing to do with its end. */
static bool is_blameless(const struct launch *l, int status)
{
	return l->killed || (WIFEXITED(status) &&
			     (WEXITSTATUS(status) == WORKER_EXIT_DEADLINE || WEXITSTATUS(status) == WORKER_EXIT_FAULT));
}

/* An op's time limit slows its caller down; a guest that takes its memory away may do so all the time. */
static bool is_expected(const struct supervisor *s, int status)
{
	const struct launch *l = &s->launch;
	uint64_t op_time_ns = s->config->limits.op_time_ms * MS;

	return l->killed || (op_time_ns && WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_DEADLINE &&
			     now_ns() - l->started_ns >= op_time_ns);
}

void launch_reap(struct supervisor *s)
{
	struct launch *l = &s->launch;
	bool blame;
	int status;

	if (l->pid == 0 || waitpid(l->pid, &status, WNOHANG) != l->pid)
		return;
	if (!s->stopping)
		say_end(l, status);
	if (!s->stopping)
		notify_send(&s->notify, "STATUS=Worker %d ended, another is started", (int)l->pid);
	l->deaths[death_of(l, status)]++;
	s->unsafe |= WIFEXITED(status) && WEXITSTATUS(status) == WORKER_EXIT_UNSAFE;
	blame = !is_blameless(l, status);
	plan_next(s, is_expected(s, status));
	close_link(l);
	l->unacked = 0;
	l->pid = 0;
	l->ready = false;
	mirror_lost(s, blame);
}
