/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks through the memory of a process for a key: its bytes, and what AES makes of them, the key schedules of encryption
 * and decryption, each of whose parts gives the key away.
 */
#ifndef TESTS_DAEMON_SEARCH_H
#define TESTS_DAEMON_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NEEDLE_LEN  16
#define MAX_NEEDLES 40

struct needles {
	struct {
		uint8_t bytes[NEEDLE_LEN];
		char what[48];
	} rows[MAX_NEEDLES];
	size_t n;
};

/* Of AES: 16, 24 or 32 bytes. */
void needles_of_key(struct needles *needles, const void *key, size_t len);
/* Any other secret: pieces of it. */
void needles_of_bytes(struct needles *needles, const void *bytes, size_t len);
/* Without schedules: for a key that may be somewhere as it is. */
void needles_only_schedules(struct needles *needles);

struct search {
	unsigned int n;	       /* places where one of them is */
	unsigned int n_dumped; /* those of them that a core dump would have */
	char text[2000];       /* the first of them */
};

/*
 * Whatever a process has mapped and can read; shared: what clients of a daemon share with it as well. 0, or a negative errno when its memory cannot be
 * looked at (-EACCES, -EPERM: by us).
 */
int search_process(pid_t pid, const struct needles *needles, bool shared, struct search *ret);

#endif
