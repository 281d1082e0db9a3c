/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: one thread, one poll(2) loop. It owns the sockets, what front-ends told (struct vhost_server each), the
 * tenant's state (a memfd that it never reads) and the worker process; it touches no guest memory, no ring and no plugin.
 *
 * What front-ends want and what the worker was told are two separate records; mirror.c compares them and sends the
 * difference. A worker that dies simply takes the second record with it, and everything is sent again. A message of a
 * front-end is answered when the two agree ("settled").
 *
 * Where the parent keeps descriptors the supervisor may die too, and the next one goes on (keep.h).
 *
 * Files: supervisor.c the loop and its sources; connection.c messages of front-ends; mirror.c what the worker is told;
 * sessions.c sessions that messages make; launch.c the life of the worker process; keep.c, keep_record.c what outlives the supervisor; notify.c its parent.
 */
#ifndef VACCEL_DAEMON_SUPERVISOR_H
#define VACCEL_DAEMON_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/device.h"
#include "daemon/keep.h"
#include "daemon/link.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/tally.h"
#include "engine/config.h"
#include "op/limit.h"
#include "vhost/server.h"

/* The descriptors that a worker finds open. */
#define WORKER_FD_LINK	 3
#define WORKER_FD_STATE	 4
#define WORKER_FD_STATS	 5
#define WORKER_FD_CONFIG 6 /* not there with the built-in defaults */

enum ring_phase {
	RING_OFF,      /* the worker does not have it */
	RING_ON,       /* it was told to start it */
	RING_STOPPING, /* it was told to stop it; not acknowledged yet */
};

struct mirror_ring {
	enum ring_phase phase;
	uint32_t stop_seq;    /* STOPPING: whose acknowledgement ends it */
	uint64_t deadline_ns; /* STOPPING: then the worker is killed */
	int ledger_fd;	      /* -1: none yet */
	bool dirty;	      /* a worker that is no more left it unfinished, or it runs */
	bool blame;	      /* that worker died by itself */
	bool restart;	      /* stop it once before it may run again */
	bool broken;	      /* stays off until the front-end sets it up anew */
};

/* What a message asks of a session of a crypto device: sessions.c. */
struct connection_session {
	uint64_t n_asked; /* answered, ever */
	bool due;	  /* the worker has not acknowledged yet */
	bool again;	  /* a worker that is no more had it, too */
	uint32_t seq;	  /* of the command; 0: the worker does not have it */
};

struct connection {
	uint32_t id; /* 1.., also the owner of what it creates in the engine */
	int fd;	     /* -1: hung up */
	struct vhost_rx rx;
	struct vhost_server server;
	struct vhost_step step;
	bool busy; /* step waits until the worker knows */
	bool greeted;
	uint64_t read_ns; /* part of a message is there: do not look again before this */
	struct keep_connection keep;
	struct connection_session session;

	/* What the worker was told. */
	struct mirror_ring rings[VHOST_MAX_QUEUES];
	bool mem_synced;
	bool reset_wanted;
	uint32_t reset_seq; /* not 0: it was told to, and has not acknowledged it */
	bool gone_sent;
	uint32_t gone_seq;
	uint64_t gone_ns; /* gone_sent: if it has not been acknowledged by then the worker is killed */
	uint32_t unacked; /* commands sent and not acknowledged, RING_STOP and CONN_GONE aside */
	uint32_t queued;  /* its entries in launch.queue, which borrow descriptors: until 0 nothing closes any */
};

/* A command that the worker's socket had no room for yet. */
struct launch_command {
	struct launch_command *next;
	struct connection *connection; /* NULL: of none */
	struct link_msg msg;
};

/* Why workers ended. */
enum death {
	DEATH_SIGNAL,	/* of one that nobody here sent */
	DEATH_EXIT,	/* with a status of its own */
	DEATH_DEADLINE, /* ended itself: an op took too long */
	DEATH_FAULT,	/* ended itself: a front-end took memory away */
	DEATH_KILLED,	/* ended by the supervisor */
	DEATH_N,
};

struct launch {
	pid_t pid; /* 0: none */
	int link;  /* -1: none (any more) */
	struct launch_command *queue, **queue_tail;
	uint32_t unacked;     /* of all connections */
	uint64_t progress_ns; /* unacked > 0: when it was 0 or fell for the last time */
	bool ready;
	bool killed;	/* by us, for a reason that is no fault of its requests */
	bool safe;	/* runs without plugins */
	bool want_safe; /* the next one does */
	bool ever_ready;
	unsigned int n_started;
	unsigned int deaths[DEATH_N];
	unsigned int failures; /* short lives in a row */
	unsigned int unready;  /* lives in a row that ended before the worker was ready */
	uint64_t started_ns;
	uint64_t next_ns;  /* not before this, if there is none */
	uint64_t retry_ns; /* safe: when to try again with plugins */
};

struct supervisor {
	const struct options *options;
	struct notify notify; /* the parent, if it is a service manager */
	struct config *config;
	int config_fd; /* copy of the configuration file; -1: built-in defaults */
	int state_fd;
	int stats_fd; /* engine/stats.h */
	struct tally tally;
	struct metrics metrics;
	int listen_fd;	       /* -1: none (any more) */
	uint64_t accept_ns;    /* no connection is accepted before this */
	bool accept_failed;    /* and the log says why */
	uint64_t complaint_ns; /* when the log last said that a connection was refused */
	uint64_t said_ns;      /* connection_say(): when the count below was right */
	uint32_t said;	       /* lines, less those that time has forgiven */
	uint32_t unsaid;       /* lines left out since */
	bool unlink_socket;
	bool one_connection; /* came with --fd: its end is ours */
	int signal_fd;
	bool stopping;
	bool leaving; /* with stopping: another supervisor will go on with the connections */
	struct keep keep;
	bool unsafe; /* a worker could not have the sandbox that is required */
	struct launch launch;
	uint32_t next_seq;
	struct limit_counts limit_counts; /* of LIMIT_CONNECTIONS; the worker counts the others */
	_Alignas(8) uint8_t device_config[DEVICE_MAX_CONFIG];
	struct vhost_device device;
	struct connection **connections; /* config->limits.connections of them, NULL: free */
	uint32_t n_slots;
	uint64_t max_regions; /* of all connections: each is a descriptor here and in the worker */
};

/* Returns the exit status. */
int supervisor_run(const struct options *options);

/* ---- connection.c ---- */
int connection_new(struct supervisor *supervisor, int fd);
/* Hung up and empty, in its slot. NULL: no memory. */
struct connection *connection_alloc(struct supervisor *supervisor, uint32_t id);
/* The front-end's socket is readable. */
void connection_readable(struct supervisor *supervisor, struct connection *connection);
/* Answers the message that was waiting, if worker and front-end agree now. */
void connection_progress(struct supervisor *supervisor, struct connection *connection);
/* Hangs up; the slot is freed when the worker has let go. */
void connection_close(struct supervisor *supervisor, struct connection *connection, const char *why);
/* A line about a front-end, if there have not been too many: it can cause them as often as it likes. */
__attribute__((format(printf, 4, 5))) void connection_say(struct supervisor *supervisor,
							  const struct connection *connection, int priority,
							  const char *format, ...);
void connection_free(struct supervisor *supervisor, struct connection *connection);

/* ---- mirror.c ---- */
/* Sends what the worker has to know and may know now. */
void mirror_sync(struct supervisor *supervisor, struct connection *connection);
bool mirror_settled(const struct supervisor *supervisor, const struct connection *connection);
/* No ring of any connection runs. */
bool mirror_quiet(const struct supervisor *supervisor);
/* The front-end hung up and the worker has nothing of it any more. */
bool mirror_gone(const struct connection *connection);
void mirror_message(struct supervisor *supervisor, const struct link_msg *msg);
/* The worker is no more. */
void mirror_lost(struct supervisor *supervisor, bool blame);
/* The next time at which a command has taken too long, and what to say then; 0: none. */
uint64_t mirror_deadline(const struct supervisor *supervisor, const char **ret_why);
/* Sends a command that is acknowledged as soon as it is executed. */
void mirror_command(struct supervisor *supervisor, struct connection *connection, struct link_msg *msg);

/* ---- sessions.c ---- */
/* Has the worker do what step.effects asks, if it is about a session. */
void session_begin(struct connection *connection);
/* step.session has a key; a message that brought it has not been dealt with. */
bool session_is_secret(const struct connection *connection);
/* Tells the worker, if it has not been told. */
void session_sync(struct supervisor *supervisor, struct connection *connection);
/* False: it acknowledges something else. */
bool session_acknowledge(struct supervisor *supervisor, struct connection *connection, const struct link_msg *msg);
/* The worker is no more. */
void session_lost(struct connection *connection);
/* The connection is: wipes. */
void session_forget(struct connection *connection);

/* ---- launch.c ---- */
void launch_init(struct launch *launch);
/* Starts a worker if there is none and its time has come; ends a safe one whose time is over. */
void launch_tick(struct supervisor *supervisor);
/* When launch_tick() has something to do next; 0: nothing. */
uint64_t launch_deadline(const struct supervisor *supervisor);
void launch_ready(struct supervisor *supervisor, const struct link_ready *ready);
/* Sends, or keeps until there is room: the worker may be waiting for room itself, so nobody waits here. */
void launch_send(struct supervisor *supervisor, struct connection *connection, const struct link_msg *msg);
/* Sends what was kept, as far as there is room. */
void launch_flush(struct supervisor *supervisor);
/* The worker's end of the link is closed, or what comes from it cannot be read. */
void launch_hung_up(struct supervisor *supervisor);
/* Ends the worker at once; its requests are not blamed. */
void launch_kill(struct supervisor *supervisor, const char *why);
/* Collects the worker if it has ended. */
void launch_reap(struct supervisor *supervisor);
/* "signal", for the metrics. */
const char *launch_death_name(enum death death);

#endif
