/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent that started the daemon, if it is one that speaks systemd's protocol (sd_notify(3), sd_listen_fds(3)): it
 * is told how the daemon fares, it hands over descriptors (a listening socket, or what the daemon before had it keep),
 * and it keeps descriptors for the next one.
 *
 * Spoken here rather than with libsystemd: it is a datagram of lines and three environment variables, and the
 * supervisor stays free of a library that brings liblzma, libgcrypt and others into the process that must not die.
 *
 * The supervisor's thread alone uses it. Its variables are removed from the environment, so that neither the worker nor
 * a plugin can speak for the daemon.
 */
#ifndef VACCEL_DAEMON_NOTIFY_H
#define VACCEL_DAEMON_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "util/error.h"

struct notify_fd {
	int fd;	    /* -1: taken */
	char *name; /* as the parent calls it; "unknown" when it does not say */
};

struct notify {
	int fd; /* -1: no parent listens */
	struct sockaddr_un address;
	unsigned int address_len;
	uint64_t watchdog_ns; /* the parent wants to hear WATCHDOG=1 more often than this; 0: it does not */
	uint64_t watchdog_next_ns;
	struct notify_fd *fds;
	size_t n_fds;
	uint64_t max_stored; /* descriptors that the parent says it keeps; 0: it does not say, or keeps none */
};

/*
 * Reads the environment: call it before anything opens a descriptor. Without such a parent notify->fd is -1, n_fds 0,
 * and all functions below do nothing. Fails when the parent's promises are not kept: descriptors that are not there.
 */
int notify_init(struct notify *notify, struct error *error);
/* Closes descriptors that nobody took. */
void notify_fini(struct notify *notify);

/* Whether a parent that can keep descriptors listens. */
static inline bool notify_wanted(const struct notify *notify)
{
	return notify->fd >= 0;
}

/* The first descriptor of that name (NULL: of any), now the caller's, with FD_CLOEXEC set; -1: there is none. */
int notify_take(struct notify *notify, const char *name);

/* Lines as in sd_notify(3), "READY=1\nSTATUS=...". Does not wait: what finds no room is lost, which -EAGAIN says. */
__attribute__((format(printf, 2, 3))) int notify_send(const struct notify *notify, const char *format, ...);

/* Tells a parent that watches that we live, if it is time to. Returns when to call again; 0: never. */
uint64_t notify_alive(struct notify *notify);

/*
 * Has the parent keep a copy of fd under a name (no colons, at most 255 printable characters); several may share one.
 * The parent drops by itself what hangs up if watch is true. Waits up to a second for room. -ENOTCONN: there is no
 * parent.
 */
int notify_store(const struct notify *notify, const char *name, int fd, bool watch);
/* Has it close all that it keeps under a name. */
int notify_forget(const struct notify *notify, const char *name);
/* Returns when the parent has processed all that was sent before; -ETIMEDOUT after timeout_ms. */
int notify_barrier(const struct notify *notify, int timeout_ms);

#endif
