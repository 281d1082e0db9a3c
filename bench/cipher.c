/* SPDX-License-Identifier: Apache-2.0 */
/* See cipher.h. */
#include "bench/cipher.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "util/util.h"

#define LINE  64   /* cache lines: what lies in the slots begins at one */
#define SPOIL 0x5a /* what destinations end with until they are written */

/* A sample is as many whole rounds as fit: where asking for the time is a slow system call, it is lost in them. */
#define SAMPLE_NS 500000u

static const struct bench_cipher_way *const ways[] = { &bench_cipher_native, &bench_cipher_kernel, &bench_cipher_virtio,
						       &bench_cipher_op };

/* ---- memory ---- */

static size_t source_len(const struct bench_cipher_plan *plan)
{
	return (plan->size + LINE - 1) & ~(size_t)(LINE - 1);
}

static size_t slot_len(const struct bench_cipher_plan *plan)
{
	return 2 * source_len(plan) + LINE;
}

static int get_memory(struct bench_cipher *cipher, struct error *error)
{
	size_t len = slot_len(&cipher->plan) * cipher->plan.slots;
	void *memory;
	int r;

	if (cipher->session && !cipher->plan.plain) {
		r = vaccel_buffer_alloc(cipher->session, len, &cipher->buffer);
		if (r < 0)
			return error_set(error, r, "%s", vaccel_error());
		cipher->memory = vaccel_buffer_data(cipher->buffer);
		return 0;
	}
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return error_set(error, -ENOMEM, "buffers of %zu bytes: out of memory", len);
	cipher->memory = memory;
	return 0;
}

static void put_memory(struct bench_cipher *cipher)
{
	if (cipher->buffer)
		vaccel_buffer_free(cipher->buffer);
	else if (cipher->memory)
		munmap(cipher->memory, slot_len(&cipher->plan) * cipher->plan.slots);
}

/* splitmix64: bytes that look random, the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void fill_random(unsigned char *data, size_t len, uint64_t *state)
{
	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = next_random(state);

		memcpy(data + i, &word, MIN(sizeof(word), len - i));
	}
}

/* The sources are alike, the IVs are not, so that neither are the destinations. */
static void fill(struct bench_cipher *cipher)
{
	const struct bench_cipher_plan *plan = &cipher->plan;
	uint64_t state = plan->seed;

	fill_random(cipher->key, sizeof(cipher->key), &state);
	for (unsigned int i = 0; i < plan->slots; i++) {
		struct bench_cipher_slot *slot = &cipher->slots[i];

		slot->source = cipher->memory + i * slot_len(plan);
		slot->destination = slot->source + source_len(plan);
		slot->iv = slot->destination + source_len(plan);
		if (i == 0)
			fill_random(slot->source, plan->size, &state);
		else
			memcpy(slot->source, cipher->slots[0].source, plan->size);
		memset(slot->iv, (int)i, 16);
		memset(slot->destination, SPOIL, plan->size);
	}
}

/* ---- rounds ---- */

static int start(struct bench_cipher *cipher, uint64_t number, struct error *error)
{
	return cipher->way->start(cipher, &cipher->slots[number % cipher->plan.slots], error);
}

static int take(struct bench_cipher *cipher, uint64_t number, struct error *error)
{
	return cipher->way->take ? cipher->way->take(cipher, &cipher->slots[number % cipher->plan.slots], error) : 0;
}

static int do_round(struct bench_cipher *cipher, struct error *error)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < cipher->plan.slots; i++) {
		r = start(cipher, i, error);
		if (r == 0)
			r = take(cipher, i, error);
	}
	return r;
}

/* Twice: what is first touched takes its time, unless that does not matter. */
static int calibrate(struct bench_cipher *cipher, struct error *error)
{
	uint64_t start = now_ns(), ns;
	int r = do_round(cipher, error);

	ns = now_ns() - start;
	start = now_ns();
	if (r == 0 && ns < 10 * SAMPLE_NS) {
		r = do_round(cipher, error);
		ns = now_ns() - start;
	}
	cipher->rounds = MAX(SAMPLE_NS / MAX(ns, 1), 1);
	return r;
}

static uint64_t *tail_of(const struct bench_cipher *cipher, const struct bench_cipher_slot *slot)
{
	return (uint64_t *)(void *)(slot->destination + cipher->plan.size - sizeof(uint64_t));
}

static void spoil(struct bench_cipher *cipher)
{
	for (unsigned int i = 0; i < cipher->plan.slots; i++)
		memset(tail_of(cipher, &cipher->slots[i]), SPOIL, sizeof(uint64_t));
}

static int look(const struct bench_cipher *cipher, struct error *error)
{
	for (unsigned int i = 0; cipher->known && i < cipher->plan.slots; i++)
		if (*tail_of(cipher, &cipher->slots[i]) != cipher->slots[i].tail)
			return error_set(error, -EBADMSG, "buffer %u does not end as it should", i);
	return 0;
}

int bench_cipher_turn(struct bench_cipher *cipher, uint64_t max, uint64_t ns, uint64_t *samples,
		      struct bench_cipher_turn *ret_turn, struct error *error)
{
	uint64_t started = 0, taken = 0, first = 0, last = 0, n = 0, each = cipher->plan.slots * cipher->rounds;
	uint64_t now;
	bool stop = false;
	int r = 0;

	spoil(cipher);
	while (r == 0 && (!stop || taken < started)) {
		while (r == 0 && !stop && started - taken < cipher->plan.in_flight)
			r = start(cipher, started++, error);
		if (r == 0)
			r = take(cipher, taken++, error);
		if (stop || taken % each != cipher->plan.slots % each)
			continue;
		now = now_ns();
		/* The first round brings back to the caches what others' turns took. */
		if (taken == cipher->plan.slots)
			first = now;
		else
			samples[n++] = (now - last) / each;
		last = now;
		stop = n && (n == max || last - first >= ns);
	}
	*ret_turn = (struct bench_cipher_turn){
		.n = n, .n_ops = n * each, .n_warm = taken - n * each, .elapsed_ns = last - first
	};
	return r < 0 ? r : look(cipher, error);
}

/* ---- right or wrong ---- */

static int check_slot(struct bench_cipher *cipher, struct bench_cipher_slot *slot, void *expected, struct error *error)
{
	int r = bench_cipher_expect(cipher, slot, expected, error);

	if (r == -EOPNOTSUPP)
		return 0;
	if (r < 0)
		return r;
	if (memcmp(expected, slot->destination, cipher->plan.size) != 0)
		return error_set(error, -EBADMSG, "buffer %u is not what libcrypto makes of its source",
				 (unsigned int)(slot - cipher->slots));
	return 0;
}

int bench_cipher_check(struct bench_cipher *cipher, struct error *error)
{
	_cleanup_free_ void *expected = malloc(cipher->plan.size);
	int r = expected ? 0 : error_set(error, -ENOMEM, "out of memory");

	for (unsigned int i = 0; r == 0 && i < cipher->plan.slots; i++) {
		r = check_slot(cipher, &cipher->slots[i], expected, error);
		cipher->slots[i].tail = *tail_of(cipher, &cipher->slots[i]);
	}
	cipher->known = r == 0;
	return r;
}

uint64_t bench_cipher_answer(const struct bench_cipher *cipher)
{
	const unsigned char *data = cipher->slots[0].destination;
	uint64_t hash = cipher->plan.size, word;

	for (size_t i = 0; i < cipher->plan.size; i += sizeof(word)) {
		memcpy(&word, data + i, sizeof(word));
		hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
		hash ^= hash >> 32;
	}
	return hash | 1;
}

/* ---- life ---- */

static const struct bench_cipher_way *find_way(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i]->name, name))
			return ways[i];
	return NULL;
}

int bench_cipher_new(const struct bench_cipher_plan *plan, struct vaccel_session *session,
		     struct bench_cipher **ret_cipher, struct error *error)
{
	const struct bench_cipher_way *way = find_way(plan->way);
	struct bench_cipher *cipher;
	int r;

	if (!way || !plan->size || plan->size % 16 || plan->size > 1u << 30)
		return error_set(error, -EINVAL, "%s bytes: sizes are multiples of 16 up to 1 GiB", plan->way);
	if (!plan->slots || plan->slots > BENCH_CIPHER_MAX_SLOTS || !plan->in_flight || plan->in_flight > plan->slots)
		return error_set(error, -EINVAL, "%u of %u buffers: at most %d are possible", plan->in_flight,
				 plan->slots, BENCH_CIPHER_MAX_SLOTS);
	cipher = calloc(1, sizeof(*cipher));
	if (!cipher)
		return error_set(error, -ENOMEM, "out of memory");
	cipher->plan = *plan;
	cipher->way = way;
	cipher->session = session;
	r = get_memory(cipher, error);
	if (r == 0) {
		fill(cipher);
		r = way->open(cipher, error);
	}
	if (r == 0)
		r = calibrate(cipher, error);
	if (r < 0) {
		bench_cipher_free(cipher);
		return r;
	}
	*ret_cipher = cipher;
	return 0;
}

void bench_cipher_free(struct bench_cipher *cipher)
{
	if (!cipher)
		return;
	cipher->way->close(cipher);
	put_memory(cipher);
	free(cipher);
}
