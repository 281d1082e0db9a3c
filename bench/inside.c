/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-inside TRANSPORT DIR: what benches run in a guest. Does what it is told whenever it is: DIR/go.N, N from 0 on, has one
 * line
 *
 *     COMMAND MAX NS WARM KIND ARGUMENT...
 *
 * KIND and the arguments say what is to be measured (kinds[]): it is kept ready from the command "prepare" to "finish", several
 * at once. "turn" does it WARM times unrecorded, then until it has MAX samples or NS have gone by, "check" compares results.
 * It prints what stands for the result ("check"; else 0), how many operations the samples are of, how many there were besides,
 * the time of the former, what the other end spent in them, and the samples:
 *
 *     N ANSWER OPS OTHERS NS DECODE_NS PREPARE_NS RUN_NS SAMPLE_NS...
 *
 * or a line that begins with '-' and says why this kind is not possible here, or with '!' and says what went wrong, which ends it.
 * It looks for the next file at leisure, so that it takes nothing from others while it is their turn. An empty file ends it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cipher.h"
#include "bench/picture.h"
#include "util/util.h"

#define LOOK_MS	    20
#define MAX_SAMPLES 4096
#define MAX_WORKS   24

struct order {
	char command[16];
	uint64_t max, ns;
	unsigned int warm;
	char words[640];
};

/* Something that is prepared. */
struct work {
	const struct kind *kind; /* NULL: nothing */
	char words[640];
	struct bench_picture picture;
	struct bench_cipher *cipher;
};

/* What came of a command. */
struct outcome {
	uint64_t answer, n, n_ops, n_warm, elapsed_ns;
	struct bench_parts parts;
	uint64_t samples[MAX_SAMPLES];
};

struct kind {
	const char *name;
	int (*prepare)(struct work *work, struct vaccel_session *session, const char *arguments, struct error *error);
	int (*turn)(struct work *work, const struct order *order, struct outcome *outcome, struct error *error);
	int (*check)(struct work *work, struct error *error); /* NULL: each turn does */
	uint64_t (*answer)(const struct work *work);	      /* 0: none yet */
	void (*finish)(struct work *work);
};

/* ---- pictures: MODEL FILE ---- */

static int picture_prepare(struct work *work, struct vaccel_session *session, const char *arguments,
			   struct error *error)
{
	char model[VACCEL_MODEL_NAME], file[512];

	if (sscanf(arguments, "%63s %511[^\n]", model, file) != 2)
		return error_set(error, -EINVAL, "picture: not understood");
	return bench_picture_init(&work->picture, session, model, file, error);
}

static int picture_turn(struct work *work, const struct order *order, struct outcome *outcome, struct error *error)
{
	uint64_t until;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < order->warm; i++)
		r = bench_picture_classify(&work->picture, &outcome->samples[0], error);
	until = now_ns() + order->ns;
	do {
		if (r == 0)
			r = bench_picture_classify(&work->picture, &outcome->samples[outcome->n], error);
		if (r < 0)
			return r;
		outcome->elapsed_ns += outcome->samples[outcome->n++];
		bench_picture_add(&work->picture, &outcome->parts);
	} while (outcome->n < order->max && now_ns() < until);
	outcome->n_ops = outcome->n;
	outcome->n_warm = order->warm;
	return 0;
}

static uint64_t picture_answer(const struct work *work)
{
	return work->picture.any ? work->picture.first + 1 : 0;
}

static void picture_finish(struct work *work)
{
	bench_picture_fini(&work->picture);
}

/* ---- ciphers: WAY DIRECTION SIZE SLOTS IN_FLIGHT PLAIN SEED ---- */

static int cipher_prepare(struct work *work, struct vaccel_session *session, const char *arguments, struct error *error)
{
	struct bench_cipher_plan plan = { 0 };
	char way[32];
	int plain;

	if (sscanf(arguments, "%31s %" SCNu32 " %" SCNu64 " %u %u %d %" SCNu64, way, &plan.direction, &plan.size,
		   &plan.slots, &plan.in_flight, &plain, &plan.seed) != 7)
		return error_set(error, -EINVAL, "cipher: not understood");
	plan.way = way;
	plan.plain = plain;
	return bench_cipher_new(&plan, session, &work->cipher, error);
}

static int cipher_turn(struct work *work, const struct order *order, struct outcome *outcome, struct error *error)
{
	struct bench_cipher_turn turn;
	int r = bench_cipher_turn(work->cipher, order->max, order->ns, outcome->samples, &turn, error);

	outcome->n = turn.n;
	outcome->n_ops = turn.n_ops;
	outcome->n_warm = turn.n_warm;
	outcome->elapsed_ns = turn.elapsed_ns;
	return r;
}

static int cipher_check(struct work *work, struct error *error)
{
	return bench_cipher_check(work->cipher, error);
}

static uint64_t cipher_answer(const struct work *work)
{
	return bench_cipher_answer(work->cipher);
}

static void cipher_finish(struct work *work)
{
	bench_cipher_free(work->cipher);
}

static const struct kind kinds[] = {
	{ "picture", picture_prepare, picture_turn, NULL, picture_answer, picture_finish },
	{ "cipher", cipher_prepare, cipher_turn, cipher_check, cipher_answer, cipher_finish },
};

/* ---- orders ---- */

static void complain(char mark, const char *text)
{
	printf("%c %s\n", mark, text);
	fflush(stdout);
}

/* 0 at the end of all. */
static int next_order(const char *dir, unsigned int number, struct order *ret_order)
{
	char path[512], line[1024] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/go.%u", dir, number);
	while (!(file = fopen(path, "re")))
		poll(NULL, 0, LOOK_MS);
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	if (!line[0])
		return 0;
	*ret_order = (struct order){ 0 };
	if (sscanf(line, "%15s %" SCNu64 " %" SCNu64 " %u %639[^\n]", ret_order->command, &ret_order->max,
		   &ret_order->ns, &ret_order->warm, ret_order->words) != 5 ||
	    ret_order->max > MAX_SAMPLES)
		return -EINVAL;
	return 1;
}

/* The one with these words, or one that is free. */
static struct work *find_work(struct work *works, const char *words)
{
	struct work *free_work = NULL;

	for (size_t i = 0; i < MAX_WORKS; i++) {
		if (works[i].kind && !strcmp(works[i].words, words))
			return &works[i];
		if (!works[i].kind && !free_work)
			free_work = &works[i];
	}
	return free_work;
}

static int prepare(struct work *work, struct vaccel_session *session, const char *words, struct error *error)
{
	size_t len = strcspn(words, " ");
	int r = error_set(error, -EINVAL, "\"%.*s\" is no kind of work", (int)MIN(len, 32), words);

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strlen(kinds[i].name) != len || strncmp(kinds[i].name, words, len) != 0)
			continue;
		*work = (struct work){ 0 };
		r = kinds[i].prepare(work, session, words + len, error);
		if (r == 0)
			work->kind = &kinds[i];
	}
	snprintf(work->words, sizeof(work->words), "%s", words);
	return r;
}

static int do_order(struct work *works, struct vaccel_session *session, const struct order *order,
		    struct outcome *outcome, struct error *error)
{
	struct work *work = find_work(works, order->words);

	*outcome = (struct outcome){ 0 };
	if (!work || (!work->kind && strcmp(order->command, "prepare") != 0))
		return error_set(error, -EINVAL, "%s: %s is not prepared, or too many are", order->command,
				 order->words);
	if (!strcmp(order->command, "prepare"))
		return prepare(work, session, order->words, error);
	if (!strcmp(order->command, "finish")) {
		work->kind->finish(work);
		work->kind = NULL;
		return 0;
	}
	if (!strcmp(order->command, "check")) {
		outcome->answer = work->kind->answer(work);
		return work->kind->check ? work->kind->check(work, error) : 0;
	}
	return order->max ? work->kind->turn(work, order, outcome, error)
			  : error_set(error, -EINVAL, "turn of no samples");
}

static void tell(unsigned int number, const struct outcome *outcome)
{
	printf("%u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, number,
	       outcome->answer, outcome->n_ops, outcome->n_warm, outcome->elapsed_ns, outcome->parts.decode_ns,
	       outcome->parts.prepare_ns, outcome->parts.run_ns);
	for (uint64_t i = 0; i < outcome->n; i++)
		printf(" %" PRIu64, outcome->samples[i]);
	putchar('\n');
	fflush(stdout);
}

static int obey(struct vaccel_session *session, const char *dir, struct error *error)
{
	static struct work works[MAX_WORKS];
	static struct outcome outcome;
	struct order order;
	int r;

	for (unsigned int number = 0; (r = next_order(dir, number, &order)) > 0; number++) {
		r = do_order(works, session, &order, &outcome, error);
		if (r == -EOPNOTSUPP)
			complain('-', error->text);
		else if (r < 0)
			break;
		else
			tell(number, &outcome);
	}
	for (size_t i = 0; i < MAX_WORKS; i++)
		if (works[i].kind)
			works[i].kind->finish(&works[i]);
	return r == -EINVAL && !error->text[0] ? error_set(error, r, "order: not understood") : r;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	struct vaccel_context *context = NULL;
	struct vaccel_session *session = NULL;
	struct error error = { 0 };
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: bench-inside TRANSPORT DIR\n");
		return 2;
	}
	options.transport = argv[1];
	if (vaccel_context_new(&options, &context) < 0 || vaccel_session_open(context, &session) < 0) {
		complain('!', vaccel_error());
		return 1;
	}
	puts("ready");
	fflush(stdout);
	r = obey(session, argv[2], &error);
	if (r < 0)
		complain('!', error.text);
	vaccel_session_close(session);
	vaccel_context_free(context);
	return r < 0;
}
