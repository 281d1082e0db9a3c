/* SPDX-License-Identifier: Apache-2.0 */
/* See memory.h. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "memory.h"

enum { MASK = 0x5a };

void memory_remember(struct memory_pattern *pattern, const void *secret)
{
	for (size_t i = 0; i < pattern->len; i++)
		pattern->masked[i] = ((const uint8_t *)secret)[i] ^ MASK;
}

/* What lies there may be the sanitizers' own. */
__attribute__((no_sanitize("address"))) static unsigned int count_in(const uint8_t *at, const uint8_t *end,
								     const struct memory_pattern *pattern)
{
	unsigned int n = 0;

	for (; at + pattern->len <= end; at++) {
		size_t i = 0;

		while (i < pattern->len && at[i] == (pattern->masked[i] ^ MASK))
			i++;
		n += i == pattern->len;
	}
	return n;
}

/* The sanitizers' own are of terabytes. */
static bool is_looked_at(const char *rights, const char *name, unsigned long len)
{
	if (strncmp(rights, "rw", 2) || len > 1UL << 32)
		return false;
	return *name != '[' || !strcmp(name, "[heap]") || !strcmp(name, "[stack]");
}

unsigned int memory_count(const struct memory_pattern *pattern)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to;
	unsigned int n = 0;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps)) {
		char rights[8] = "", name[256] = "";

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, name) >= 3 &&
		    is_looked_at(rights, name, to - from))
			n += count_in((const uint8_t *)from, (const uint8_t *)to, pattern);
	}
	if (maps)
		fclose(maps);
	return n;
}
