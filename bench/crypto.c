/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench crypto: AES-128-CBC both ways, in chunks of 16 bytes to 16 MiB, by everybody who can do it: libcrypto in the measuring
 * process (native), the same plugin in it (local), a daemon over shm with ordinary memory and registered buffers, one request
 * at a time and pipelined; and in guests libcrypto, the kernel's software, the kernel's driver for virtio-crypto, and the
 * operation. All do the same requests over as many buffers of the same size, so that caches see the same.
 *
 * native computes on the CPU on which the daemon does. "shm, one CPU" has client and daemon on one, as native has but one;
 * the other sides over shm have a CPU for the client besides, whose time is told.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/cipher.h"
#include "bench/guest.h"

#define MANY_SLOTS  16		/* of small requests */
#define SLOTS	    8		/* of those that fill the caches by themselves */
#define MANY_BYTES  (16u << 10) /* in requests of up to that */
#define GUEST_BYTES (4u << 20)	/* a guest has less memory, and may be slow: in all its buffers about that much */

static unsigned int slots_of(const struct bench_job *job, uint64_t size)
{
	uint64_t slots = size <= MANY_BYTES ? MANY_SLOTS : SLOTS;

	if (job->side->end == BENCH_GUEST)
		slots = MAX(2, MIN(slots, GUEST_BYTES / size));
	return (unsigned int)slots;
}

static struct bench_cipher_plan plan_of(const struct bench_job *job, uint64_t size)
{
	unsigned int slots = slots_of(job, size);

	return (struct bench_cipher_plan){
		.way = job->side->way,
		.direction = strcmp(job->variant, "decrypt") ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.size = size,
		.slots = slots,
		.in_flight = job->side->pipelined ? slots : 1,
		.plain = job->side->memory == BENCH_PLAIN,
		.seed = job->options->seed,
	};
}

/* ---- on the host ---- */

static int prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct bench_cipher_plan plan = plan_of(job, size);
	struct bench_cipher *cipher;
	int r = bench_cipher_new(&plan, job->session, &cipher, error);

	if (r < 0)
		return r;
	job->state = cipher;
	job->answer = bench_cipher_answer(cipher);
	return 0;
}

static int turn(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples, struct bench_turn *ret_turn,
		struct error *error)
{
	struct bench_cipher_turn done;
	int r = bench_cipher_turn(job->state, max, turn_ns, samples, &done, error);

	*ret_turn = (struct bench_turn){
		.n = done.n, .n_ops = done.n_ops, .n_warm = done.n_warm, .elapsed_ns = done.elapsed_ns
	};
	return r;
}

/* The round that the preparation did is enough. */
static int once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	*ret_ns = 0;
	return 0;
}

static int check(struct bench_job *job, struct error *error)
{
	return bench_cipher_check(job->state, error);
}

static void finish(struct bench_job *job)
{
	bench_cipher_free(job->state);
	job->state = NULL;
}

static const struct bench_task here = {
	.prepare = prepare,
	.turn = turn,
	.once = once,
	.check = check,
	.finish = finish,
};

/* ---- in a guest ---- */

static int guest_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct bench_cipher_plan plan = plan_of(job, size);
	char words[BENCH_GUEST_WORDS];

	snprintf(words, sizeof(words), "cipher %s %u %llu %u %u %d %llu", plan.way, plan.direction,
		 (unsigned long long)plan.size, plan.slots, plan.in_flight, plan.plain, (unsigned long long)plan.seed);
	return bench_guest_prepare(job, words, error);
}

static const struct bench_task inside = {
	.open = bench_guest_open,
	.prepare = guest_prepare,
	.turn = bench_guest_turn,
	.once = once,
	.check = bench_guest_check,
	.finish = bench_guest_finish,
	.close = bench_guest_close,
};

/* ---- what came out ---- */

/* MB/s, of the median. */
static double megabytes(const struct bench_row *row)
{
	return (double)row->size / (double)MAX(row->stats.median, 1) * 1e3;
}

static const struct bench_row *find(const struct bench_row *rows, size_t n, const char *side,
				    const struct bench_row *of)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].size == of->size && !strcmp(rows[i].variant, of->variant) &&
		    !strcmp(rows[i].side->name, side))
			return &rows[i];
	return NULL;
}

__attribute__((format(printf, 2, 3))) static void say(struct json_object *sentences, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	json_object_array_add(sentences, json_object_new_string(text));
}

/* Sides whose throughput is compared: forwarding and what it is instead of. */
static const struct {
	const char *forwarded, *native;
} pairs[] = {
	{ "shm, plain", "native" },
	{ "shm, registered", "native" },
	{ "shm, registered, pipelined", "native" },
	{ "shm, one CPU", "native" },
	{ "UML op, plain", "UML native" },
	{ "UML op, registered", "UML native" },
	{ "UML op, pipelined", "UML native" },
	{ "UML virtio-crypto", "UML native" },
	{ "UML virtio-crypto", "UML kernel" },
	{ "QEMU op, plain", "QEMU native" },
	{ "QEMU op, registered", "QEMU native" },
	{ "QEMU op, pipelined", "QEMU native" },
	{ "QEMU virtio-crypto", "QEMU native" },
	{ "QEMU virtio-crypto", "QEMU kernel" },
};

/* From where on a condition holds for all sizes that were measured; 0: nowhere. Rows of a side are in order of size. */
static uint64_t crossover(const struct bench_row *rows, size_t n, size_t pair, const char *variant,
			  bool (*better)(const struct bench_row *forwarded, const struct bench_row *native))
{
	uint64_t from = 0;

	for (size_t i = 0; i < n; i++) {
		const struct bench_row *native;

		if (strcmp(rows[i].variant, variant) || strcmp(rows[i].side->name, pairs[pair].forwarded))
			continue;
		native = find(rows, n, pairs[pair].native, &rows[i]);
		if (!native || !better(&rows[i], native))
			from = 0;
		else if (!from)
			from = rows[i].size;
	}
	return from;
}

static bool faster(const struct bench_row *forwarded, const struct bench_row *native)
{
	return forwarded->stats.median < native->stats.median;
}

static bool less_cpu(const struct bench_row *forwarded, const struct bench_row *native)
{
	return forwarded->client_ns < native->client_ns;
}

static bool measured(const struct bench_row *rows, size_t n, size_t pair, const char *variant,
		     const struct bench_row **ret_smallest, const struct bench_row **ret_largest)
{
	*ret_smallest = *ret_largest = NULL;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(rows[i].variant, variant) || strcmp(rows[i].side->name, pairs[pair].forwarded) ||
		    !find(rows, n, pairs[pair].native, &rows[i]))
			continue;
		*ret_smallest = *ret_smallest ? *ret_smallest : &rows[i];
		*ret_largest = &rows[i];
	}
	return *ret_smallest;
}

/* "slower" and from where on it is not. */
static void put_crossover(char *text, size_t len, uint64_t from, const struct bench_row *smallest, const char *what)
{
	if (from == smallest->size)
		snprintf(text, len, "%s at every size", what);
	else if (from)
		snprintf(text, len, "%s from %llu bytes on", what, (unsigned long long)from);
	else
		snprintf(text, len, "not %s, not at the largest size either", what);
}

static void conclude_pair(const struct bench_row *rows, size_t n, size_t pair, const char *variant,
			  struct json_object *sentences)
{
	const char *forwarded = pairs[pair].forwarded, *native = pairs[pair].native;
	const struct bench_row *smallest, *largest, *native_smallest, *native_largest;
	char speed[128], cpu[128];

	if (!measured(rows, n, pair, variant, &smallest, &largest))
		return;
	native_smallest = find(rows, n, native, smallest);
	native_largest = find(rows, n, native, largest);
	put_crossover(speed, sizeof(speed), crossover(rows, n, pair, variant, faster), smallest, "faster");
	put_crossover(cpu, sizeof(cpu), crossover(rows, n, pair, variant, less_cpu), smallest, "cheaper");
	say(sentences,
	    "%s, %s: beside \"%s\", \"%s\" is %s: %.3g times as fast at %llu bytes, %.3g times at %llu. In CPU time of "
	    "the "
	    "client it is %s: %.3g ns per byte against %.3g at %llu bytes, and %.3g of the host.",
	    largest->side->group, variant, native, forwarded, speed,
	    (double)native_smallest->stats.median / (double)smallest->stats.median, (unsigned long long)smallest->size,
	    (double)native_largest->stats.median / (double)largest->stats.median, (unsigned long long)largest->size,
	    cpu, largest->client_ns / (double)largest->size, native_largest->client_ns / (double)largest->size,
	    (unsigned long long)largest->size, largest->other_ns / (double)largest->size);
}

static void conclude(const struct bench_row *rows, size_t n, struct json_object *sentences)
{
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		conclude_pair(rows, n, i, "encrypt", sentences);
		conclude_pair(rows, n, i, "decrypt", sentences);
	}
}

/* ---- the bench ---- */

#define HOST "host"
#define UML  "UML guest: native speed, slow system calls"
#define QEMU "QEMU guest: emulated where there is no KVM"

/* Over shm with a CPU for the client. */
#define SHM(name_, memory_, pipelined_, ratio_)                                                                      \
	{                                                                                                            \
		.name = name_, .task = &here, .end = BENCH_DAEMON, .waiting = BENCH_POLLED, .place = BENCH_TWO_CPUS, \
		.memory = memory_, .way = "op", .pipelined = pipelined_, .group = HOST, .base = "native",            \
		.stat = BENCH_SPEED, .ratio = ratio_, .ratio_per_size = true                                         \
	}

/* The first side of a guest boots it, and has no base; the others measure in the same guest. One has a device of another daemon. */
#define GUEST(guest_, group_, first_, name_, way_, memory_, pipelined_, crypto_, ratio_)                           \
	{                                                                                                          \
		.name = name_, .task = &inside, .end = BENCH_GUEST, .guest = guest_, .group = group_, .way = way_, \
		.memory = memory_, .pipelined = pipelined_, .crypto = crypto_, .with = first_, .base = first_,     \
		.stat = BENCH_SPEED, .ratio = ratio_, .ratio_per_size = true                                       \
	}

#define SIDES_OF_GUEST(guest_, group_, name_)                                                                         \
	GUEST(guest_, group_, NULL, name_ " native", "native", BENCH_PLAIN, false, false, NULL),                      \
		GUEST(guest_, group_, name_ " native", name_ " kernel", "kernel", BENCH_PLAIN, false, false,          \
		      guest_ "_kernel_over_native"),                                                                  \
		GUEST(guest_, group_, name_ " native", name_ " virtio-crypto", "virtio-crypto", BENCH_PLAIN, false,   \
		      true, guest_ "_virtio_crypto_over_native"),                                                     \
		GUEST(guest_, group_, name_ " native", name_ " op, plain", "op", BENCH_PLAIN, false, false,           \
		      guest_ "_plain_over_native"),                                                                   \
		GUEST(guest_, group_, name_ " native", name_ " op, registered", "op", BENCH_REGISTERED, false, false, \
		      guest_ "_registered_over_native"),                                                              \
		GUEST(guest_, group_, name_ " native", name_ " op, pipelined", "op", BENCH_REGISTERED, true, false,   \
		      guest_ "_pipelined_over_native")

static const struct bench_side sides[] = {
	{ .name = "native", .task = &here, .end = BENCH_NONE, .place = BENCH_TWO_CPUS, .way = "native", .group = HOST },
	{ .name = "local",
	  .task = &here,
	  .end = BENCH_LOCAL,
	  .place = BENCH_TWO_CPUS,
	  .way = "op",
	  .group = HOST,
	  .base = "native",
	  .stat = BENCH_SPEED,
	  .ratio = "local_over_native",
	  .ratio_per_size = true },
	SHM("shm, plain", BENCH_PLAIN, false, "shm_plain_sync_over_native"),
	SHM("shm, registered", BENCH_REGISTERED, false, "shm_sync_over_native"),
	SHM("shm, plain, pipelined", BENCH_PLAIN, true, "shm_plain_over_native"),
	SHM("shm, registered, pipelined", BENCH_REGISTERED, true, "shm_over_native"),
	{ .name = "shm, one CPU",
	  .task = &here,
	  .end = BENCH_DAEMON,
	  .waiting = BENCH_PARKED,
	  .place = BENCH_ONE_CPU,
	  .memory = BENCH_REGISTERED,
	  .way = "op",
	  .pipelined = true,
	  .group = HOST,
	  .base = "native",
	  .stat = BENCH_SPEED,
	  .ratio = "shm_one_cpu_over_native",
	  .ratio_per_size = true },
	SIDES_OF_GUEST("uml", UML, "UML"),
	SIDES_OF_GUEST("qemu", QEMU, "QEMU"),
};

const struct bench bench_crypto = {
	.name = "crypto",
	.summary = "AES-128-CBC, from the host and from guests, beside libcrypto",
	.op = "cipher",
	.key = "bytes",
	.value = "megabytes_per_second",
	.value_title = "MB/s",
	.sizes = { 16, 64, 256, 1u << 10, 4u << 10, 16u << 10, 64u << 10, 256u << 10, 1u << 20, 4u << 20, 16u << 20 },
	.variant_key = "direction",
	.variants = "encrypt decrypt",
	.chosen = "encrypt,decrypt",
	.size_first = true,
	.order = "openssl",
	.per_byte = true,
	.panels = true,
	.seconds = 0.15,
	.turn_ns = 20000000,
	.turn_samples = 4096,
	.threads = 1,
	.poll_us = 1000,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.value_of = megabytes,
	.conclude = conclude,
};
