/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts how often each place of some memory is read: the pages are taken away, and each instruction that wants one is let
 * through by itself and written down with its address. x86-64 only. One memory at a time.
 */
#ifndef TESTS_HOSTILE_WATCH_H
#define TESTS_HOSTILE_WATCH_H

#include <stdint.h>

#ifdef __x86_64__
#define WATCH 0x4000ul /* bytes, whole pages */

/* By the first byte of the access. */
extern uint16_t watch_reads[WATCH];

/* memory: WATCH bytes, on a page. */
void watch_begin(char *memory);
void watch_end(void);
unsigned int watch_total(void);
#endif

#endif
