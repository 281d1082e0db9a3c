/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's listening socket in the file system. */
#ifndef VACCEL_DAEMON_LISTENER_H
#define VACCEL_DAEMON_LISTENER_H

#include "util/error.h"

/*
 * Binds and listens, mode 0660, group if not NULL. A socket file that nobody listens on any more is replaced.
 * Returns the descriptor (non-blocking). -EADDRINUSE somebody listens there; -EEXIST it is not a socket; -ENOENT group or
 * folder; -EACCES, -EPERM.
 */
int listener_open(const char *path, const char *group, struct error *error);

/* -1 when fd is no Unix stream socket; else whether it listens. */
int listener_kind(int fd);

#endif
