/* SPDX-License-Identifier: Apache-2.0 */
/* Looking for a secret in this process's own memory. What is looked for is kept changed, so that it is not found itself. */
#ifndef TESTS_PLUGINS_MEMORY_H
#define TESTS_PLUGINS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct memory_pattern {
	uint8_t masked[64];
	size_t len;
};

/* pattern->len bytes of the secret. */
void memory_remember(struct memory_pattern *pattern, const void *secret);
/* So often it lies in memory that this process may write to. */
unsigned int memory_count(const struct memory_pattern *pattern);

#endif
