/* SPDX-License-Identifier: Apache-2.0 */
/* See search.h. AES' key expansion is done here by FIPS 197, from nothing but its definition. */
#include "search.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/util.h"

/* Shadows of sanitizers and what is only reserved: nobody keeps a key there. */
#define MAX_MAPPING (UINT64_C(4) << 30)
#define CHUNK	    (1u << 20)
#define STEP	    1024u

/* ---- AES ---- */

static uint8_t times(uint8_t a, uint8_t b)
{
	uint8_t product = 0;

	for (; b; b >>= 1, a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0)))
		if (b & 1)
			product ^= a;
	return product;
}

static uint8_t substitute(uint8_t x)
{
	uint8_t inverse = 0, result = 0x63;

	for (unsigned int i = 1; i < 256 && !inverse; i++)
		if (times(x, (uint8_t)i) == 1)
			inverse = (uint8_t)i;
	for (unsigned int i = 0; i < 5; i++)
		result ^= (uint8_t)(inverse << i | inverse >> (8 - i));
	return result;
}

/* Returns the number of round keys. */
static size_t expand(const uint8_t *key, size_t len, uint8_t words[60][4])
{
	size_t n_key = len / 4, rounds = n_key + 6;
	uint8_t constant = 1;

	memcpy(words, key, len);
	for (size_t i = n_key; i < 4 * (rounds + 1); i++) {
		uint8_t t[4];

		memcpy(t, words[i - 1], 4);
		if (i % n_key == 0) {
			const uint8_t first = t[0];

			for (size_t j = 0; j < 3; j++)
				t[j] = substitute(t[j + 1]);
			t[3] = substitute(first);
			t[0] ^= constant;
			constant = times(constant, 2);
		} else if (n_key > 6 && i % n_key == 4) {
			for (size_t j = 0; j < 4; j++)
				t[j] = substitute(t[j]);
		}
		for (size_t j = 0; j < 4; j++)
			words[i][j] = words[i - n_key][j] ^ t[j];
	}
	return rounds + 1;
}

/* As decryption in the order of the hardware has them. */
static void unmix(const uint8_t *from, uint8_t *to)
{
	static const uint8_t factors[4] = { 14, 11, 13, 9 };

	for (size_t i = 0; i < NEEDLE_LEN; i++) {
		to[i] = 0;
		for (size_t j = 0; j < 4; j++)
			to[i] ^= times(from[i / 4 * 4 + j], factors[(j + 4 - i % 4) % 4]);
	}
}

/* ---- needles ---- */

static void add(struct needles *needles, const uint8_t *bytes, const char *what, size_t number)
{
	if (needles->n == MAX_NEEDLES)
		return;
	memcpy(needles->rows[needles->n].bytes, bytes, NEEDLE_LEN);
	snprintf(needles->rows[needles->n].what, sizeof(needles->rows[0].what), "%s %zu", what, number);
	needles->n++;
}

void needles_of_key(struct needles *needles, const void *key, size_t len)
{
	uint8_t words[60][4], unmixed[NEEDLE_LEN];
	size_t n = expand(key, len, words);

	needles_of_bytes(needles, key, len);
	for (size_t i = 0; i < n; i++)
		add(needles, words[4 * i], "round key", i);
	for (size_t i = 1; i + 1 < n; i++) {
		unmix(words[4 * i], unmixed);
		add(needles, unmixed, "inverse round key", i);
	}
}

void needles_of_bytes(struct needles *needles, const void *bytes, size_t len)
{
	for (size_t at = 0; at + NEEDLE_LEN <= len; at += MAX(NEEDLE_LEN, len / 8))
		add(needles, (const uint8_t *)bytes + at, "key", at);
}

void needles_only_schedules(struct needles *needles)
{
	size_t kept = 0;

	for (size_t i = 0; i < needles->n; i++) {
		bool first = !strcmp(needles->rows[i].what, "round key 0") ||
			     !strcmp(needles->rows[i].what, "round key 1");

		/* Round keys 0 and, of a long key, 1 are the key. */
		if (strncmp(needles->rows[i].what, "key", 3) != 0 && !first)
			needles->rows[kept++] = needles->rows[i];
	}
	needles->n = kept;
}

/* ---- memory ---- */

struct mapping {
	uint64_t start, end;
	bool readable;
	bool dumped;
	char name[200];
};

static void say(const struct mapping *mapping, uint64_t address, const char *what, struct search *ret)
{
	size_t used = strlen(ret->text);

	snprintf(ret->text + used, sizeof(ret->text) - used, "%s at %#" PRIx64 " of %s%s; ", what, address,
		 mapping->name, mapping->dumped ? "" : " (not dumped)");
	ret->n++;
	ret->n_dumped += mapping->dumped;
}

/* By their first two bytes: most of what is looked at begins like none of them. */
static void look_at(const struct mapping *mapping, uint64_t address, const uint8_t *bytes, size_t len,
		    const struct needles *needles, struct search *ret)
{
	static const uint8_t zeroes[STEP];
	static bool begins[1 << 16];

	memset(begins, 0, sizeof(begins));
	for (size_t i = 0; i < needles->n; i++)
		begins[needles->rows[i].bytes[0] << 8 | needles->rows[i].bytes[1]] = true;
	for (size_t at = 0; at + NEEDLE_LEN <= len; at++) {
		/* Of what is mapped most was never written to. */
		if (at % STEP == 0 && at + STEP <= len && !memcmp(bytes + at, zeroes, STEP))
			at += STEP - NEEDLE_LEN;
		if (!begins[bytes[at] << 8 | bytes[at + 1]])
			continue;
		for (size_t i = 0; i < needles->n; i++)
			if (!memcmp(bytes + at, needles->rows[i].bytes, NEEDLE_LEN))
				say(mapping, address + at, needles->rows[i].what, ret);
	}
}

static void look_through(int memory, const struct mapping *mapping, const struct needles *needles, struct search *ret)
{
	static uint8_t chunk[CHUNK + NEEDLE_LEN];
	size_t kept = 0;

	for (uint64_t at = mapping->start; at < mapping->end;) {
		ssize_t n = pread(memory, chunk + kept, MIN(CHUNK, mapping->end - at), (off_t)at);

		if (n <= 0)
			return;
		look_at(mapping, at - kept, chunk, kept + (size_t)n, needles, ret);
		at += (uint64_t)n;
		/* What lies across two pieces. */
		n += (ssize_t)kept;
		kept = (size_t)MIN(n, NEEDLE_LEN - 1);
		memmove(chunk, chunk + n - kept, kept);
	}
}

/* The next mapping of smaps, whose last line says what it is for. */
static bool next_mapping(FILE *smaps, struct mapping *ret)
{
	char line[512], rights[8];
	bool begun = false;

	while (fgets(line, sizeof(line), smaps)) {
		struct mapping mapping = { .dumped = true, .name = "(nothing)" };

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %*s %199[^\n]", &mapping.start, &mapping.end,
			   rights, mapping.name) >= 3) {
			mapping.readable = rights[0] == 'r';
			*ret = mapping;
			begun = true;
		} else if (begun && !strncmp(line, "VmFlags:", 8)) {
			ret->dumped = !strstr(line, " dd");
			return true;
		}
	}
	return false;
}

/* Their own memory, in which they may leave what they like. */
static bool is_client_memory(const struct mapping *mapping)
{
	return strstr(mapping->name, "/memfd:vaccel (deleted)") != NULL;
}

int search_process(pid_t pid, const struct needles *needles, bool shared, struct search *ret)
{
	char path[64];
	_cleanup_close_ int memory = -1;
	struct mapping mapping;
	FILE *smaps;

	*ret = (struct search){ 0 };
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	memory = open(path, O_RDONLY | O_CLOEXEC);
	if (memory < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	smaps = fopen(path, "re");
	if (!smaps)
		return -errno;
	while (next_mapping(smaps, &mapping))
		if (mapping.readable && mapping.end - mapping.start <= MAX_MAPPING &&
		    (shared || !is_client_memory(&mapping)))
			look_through(memory, &mapping, needles, ret);
	fclose(smaps);
	return 0;
}
