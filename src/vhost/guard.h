/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose memory lies at an address. A peer that cuts its memory file short has whoever touches the rest killed by SIGBUS;
 * a handler of that signal finds out here who it was.
 *
 * A range is entered when it has been mapped, before anything touches it, and taken out before it is unmapped. Looking
 * up needs no lock and is safe in a signal handler, whatever other threads enter and take out meanwhile.
 */
#ifndef VACCEL_VHOST_GUARD_H
#define VACCEL_VHOST_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* Returns what vhost_guard_remove() wants. 0, of which it takes no notice: owner is 0, or there are too many ranges. */
unsigned int vhost_guard_add(const void *start, size_t len, uint32_t owner);
void vhost_guard_remove(unsigned int guard);

/* 0: nobody's. */
uint32_t vhost_guard_find(const void *at);

#endif
