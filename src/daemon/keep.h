/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives the supervisor: a parent that keeps descriptors (systemd's descriptor store, see notify.h) gets what the
 * next supervisor needs to go on where this one was killed, so that front-ends notice nothing but a pause.
 *
 * In the store are, under these names:
 *   vaccel-listen     the listening socket, if this program made it
 *   vaccel-state      the tenant's sessions and buffers (engine/state.h)
 *   vaccel-reply      twice: the two ends of a pipe
 *   vaccel-conn-ID    twice: the two ends of a socket pair, the "box" of connection slot ID
 *
 * A box holds one message, a record of the connection (keep_record.h) with all its descriptors. To replace it the new one
 * is sent and then the old one taken out; whoever finds two believes the one with the higher generation. So record and
 * descriptors change together, in one system call, and the parent has to be told nothing but once per slot.
 *
 * A front-end's message must be neither lost nor answered twice. It is read with MSG_PEEK, and SO_PEEK_OFF, a property of
 * the socket that outlives us, says how much of what was read has not been taken out:
 *   1. read; handle; save a record that says "handled, so many bytes"
 *   2. carry it out; save a record with the answer
 *   3. put the answer into the pipe; page.sending = generation
 *   4. move it from the pipe into the socket, with splice(2)
 *   5. take the message out of the socket; page.done = generation
 * Killed before 1 is over: the next supervisor reads it again. Killed before 3 is over: it answers. Killed later: what is
 * not in the pipe any more was sent, since a process that is killed leaves a system call only when it is done; the rest
 * is sent, and what SO_PEEK_OFF says is left of the message is taken out. An answer with a descriptor, of which there is
 * one in a connection's life (GET_INFLIGHT_FD), cannot go through a pipe. If a kill hits the moment of sending that, and
 * neither the socket's queues nor SO_PEEK_OFF tell, the connection is closed rather than guessed at.
 *
 * A record never has a key in it: the parent may keep it anywhere. A message that brings one (CREATE_CRYPTO_SESSION) is not
 * in the record while it is handled, as if it had not been read; killed before the worker has made its session, or before
 * step 2 has saved the answer, the next supervisor reads it again, and hands it to its worker with the same tag, by which
 * that finds what was made already. The number that tags are made of goes up in the record that has the answer, of which
 * nothing but the session's id is filled in.
 *
 * What comes back from the parent is checked like a front-end's input, and of another version it is not used at all.
 */
#ifndef VACCEL_DAEMON_KEEP_H
#define VACCEL_DAEMON_KEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"

struct supervisor;
struct connection;

/* In shared memory, one per connection. */
struct keep_page {
	uint64_t sending; /* generation of the record whose answer is being sent, or was */
	uint64_t done;	  /* generation of the record whose message was answered and taken out */
};

struct keep_box {
	int ends[2];	/* to write, to read; -1: not made yet */
	unsigned int n; /* records in it */
};

struct keep {
	bool on;
	uint64_t nonce;		/* of this supervisor: its own records */
	struct keep_box *boxes; /* one per slot */
	int pipe[2];		/* to read, to write; -1: none */
};

/* A connection's part. */
struct keep_connection {
	bool off;     /* cannot be kept; the log says why */
	bool unsaved; /* its record is out of date */
	uint64_t generation;
	int page_fd; /* -1: none yet */
	struct keep_page *page;
	uint32_t pending; /* bytes at the head of its socket that were read, handled and not taken out */
};

/*
 * Takes over what the parent kept, or says in the log why not and begins with nothing; makes supervisor->state_fd. Without
 * such a parent only that.
 */
int keep_init(struct supervisor *supervisor, struct error *error);
void keep_fini(struct supervisor *supervisor);
/* The listening socket bound to path that the supervisor before had; -1: there is none. */
int keep_take_listener(struct supervisor *supervisor, const char *path);
void keep_listener(struct supervisor *supervisor);
/* We end for good: the parent is to keep nothing. */
void keep_nothing(struct supervisor *supervisor);

/* A connection that was accepted. */
void keep_begin(struct supervisor *supervisor, struct connection *connection);
/* Replaces its record: before anything happens that the next supervisor has to know of. */
void keep_save(struct supervisor *supervisor, struct connection *connection);
/* Sends step.reply without waiting, as vhost_msg_send() does. */
int keep_send(struct supervisor *supervisor, struct connection *connection, struct error *error);
/* Its message is answered, if it wanted that: takes it out of the socket. */
void keep_done(struct connection *connection);
/* It is freed. */
void keep_end(struct supervisor *supervisor, struct connection *connection);

#endif
