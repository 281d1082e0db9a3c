/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-inside TRANSPORT DIR: what bench classify runs in a guest. Takes turns whenever it is told to: DIR/go.N, N from 0 on,
 * has one line
 *
 *     MODEL MAX NS WARM FILE
 *
 * It classifies the picture FILE with MODEL, WARM times unrecorded, then until it has MAX samples or NS have gone by, and
 * prints the answer's class, what the other end spent in the samples, and the samples:
 *
 *     N CLASS DECODE_NS PREPARE_NS RUN_NS SAMPLE_NS...
 *
 * or a line that begins with '!' and says what went wrong, which ends it. It looks for the next file at leisure, so that it
 * takes nothing from others while it is their turn. An empty file ends it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/picture.h"
#include "util/util.h"

#define LOOK_MS	    20
#define MAX_SAMPLES 4096

struct turn {
	char model[VACCEL_MODEL_NAME];
	uint64_t max, ns;
	unsigned int warm;
	char file[512];
};

static void complain(const char *text)
{
	printf("! %s\n", text);
	fflush(stdout);
}

/* 0 at the end of all turns. */
static int next_turn(const char *dir, unsigned int number, struct turn *ret_turn)
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
	*ret_turn = (struct turn){ 0 };
	if (sscanf(line, "%63s %" SCNu64 " %" SCNu64 " %u %511[^\n]", ret_turn->model, &ret_turn->max, &ret_turn->ns,
		   &ret_turn->warm, ret_turn->file) != 5 ||
	    !ret_turn->max || ret_turn->max > MAX_SAMPLES)
		return -EINVAL;
	return 1;
}

static int take(struct bench_picture *picture, const struct turn *turn, unsigned int number, struct error *error)
{
	static uint64_t samples[MAX_SAMPLES];
	struct bench_parts parts = { 0 };
	uint64_t n = 0, until;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < turn->warm; i++)
		r = bench_picture_classify(picture, &samples[0], error);
	until = now_ns() + turn->ns;
	do {
		if (r == 0)
			r = bench_picture_classify(picture, &samples[n++], error);
		if (r < 0)
			return r;
		bench_picture_add(picture, &parts);
	} while (n < turn->max && now_ns() < until);
	printf("%u %u %" PRIu64 " %" PRIu64 " %" PRIu64, number, picture->first, parts.decode_ns, parts.prepare_ns,
	       parts.run_ns);
	for (uint64_t i = 0; i < n; i++)
		printf(" %" PRIu64, samples[i]);
	putchar('\n');
	fflush(stdout);
	return 0;
}

/* The picture stays where it is from turn to turn, as that of the host's sides does. */
static int obey(struct vaccel_session *session, const char *dir, struct error *error)
{
	struct bench_picture picture = { 0 };
	struct turn turn, last = { 0 };
	int r;

	for (unsigned int number = 0; (r = next_turn(dir, number, &turn)) > 0; number++) {
		if (strcmp(turn.file, last.file) || strcmp(turn.model, last.model)) {
			bench_picture_fini(&picture);
			r = bench_picture_init(&picture, session, turn.model, turn.file, error);
			if (r < 0)
				return r;
		}
		last = turn;
		r = take(&picture, &turn, number, error);
		if (r < 0)
			break;
	}
	bench_picture_fini(&picture);
	return r == -EINVAL && !error->text[0] ? error_set(error, r, "turn: not understood") : r;
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
		complain(vaccel_error());
		return 1;
	}
	puts("ready");
	fflush(stdout);
	r = obey(session, argv[2], &error);
	if (r < 0)
		complain(error.text);
	vaccel_session_close(session);
	vaccel_context_free(context);
	return r < 0;
}
