/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See guard.h. A fixed table: it is never moved or freed under a reader. A row's version is odd while it changes; a row
 * that changes is not the one that is looked for, since that one's memory is in use.
 */
#include "vhost/guard.h"

#include <pthread.h>
#include <stdatomic.h>

/* As many mappings as a process can have, by default. Row 0 stays empty. */
#define MAX_ROWS 65536u

static struct row {
	atomic_uint version;
	atomic_uint owner;
	atomic_uintptr_t start;
	atomic_size_t len; /* 0: free */
	unsigned int next; /* lock; the next free row */
} rows[MAX_ROWS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int first_free; /* lock; of rows that were used before; 0: none */
static atomic_uint n_rows = 1;	/* lock for changing; rows from here on were never used */

static void set_row(struct row *row, uintptr_t start, size_t len, uint32_t owner)
{
	atomic_fetch_add(&row->version, 1);
	atomic_store(&row->start, start);
	atomic_store(&row->len, len);
	atomic_store(&row->owner, owner);
	atomic_fetch_add(&row->version, 1);
}

unsigned int vhost_guard_add(const void *start, size_t len, uint32_t owner)
{
	unsigned int guard = 0;

	if (!owner)
		return 0;
	pthread_mutex_lock(&lock);
	if (first_free) {
		guard = first_free;
		first_free = rows[guard].next;
	} else if (atomic_load(&n_rows) < MAX_ROWS) {
		guard = atomic_fetch_add(&n_rows, 1);
	}
	if (guard)
		set_row(&rows[guard], (uintptr_t)start, len, owner);
	pthread_mutex_unlock(&lock);
	return guard;
}

void vhost_guard_remove(unsigned int guard)
{
	if (!guard)
		return;
	pthread_mutex_lock(&lock);
	set_row(&rows[guard], 0, 0, 0);
	rows[guard].next = first_free;
	first_free = guard;
	pthread_mutex_unlock(&lock);
}

uint32_t vhost_guard_find(const void *at)
{
	unsigned int n = atomic_load(&n_rows);

	for (unsigned int i = 1; i < n; i++) {
		struct row *row = &rows[i];
		unsigned int version = atomic_load(&row->version);
		uintptr_t start = atomic_load(&row->start);
		size_t len = atomic_load(&row->len);
		uint32_t owner = atomic_load(&row->owner);

		if (version % 2 == 0 && (uintptr_t)at - start < len && atomic_load(&row->version) == version)
			return owner;
	}
	return 0;
}
