/* SPDX-License-Identifier: Apache-2.0 */
/*
 * models-load TRANSPORT SESSIONS REQUESTS EXPECTED [STOP]: many sessions classify at once, each in a thread of its own.
 *
 * EXPECTED has lines "MODEL<tab>PICTURE<tab>CLASS<tab>PROBABILITY". Request after request takes the next line (each session
 * begins at another), until REQUESTS were made in all, or the file STOP is there. Prints one line when it ends:
 *
 *     requests N failed N wrong N batched N other N
 *
 * and meanwhile "at N" whenever another 40 requests have an answer.
 *
 * wrong: another class, or a probability that is off by more than 1e-4; batched: the most that ran together; other: answers
 * whose label is not the class in digits. "begun" is printed once every session has an answer.
 */
#include <err.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/vaccel.h>

#define MAX_SESSIONS 64
#define MAX_EXPECTED 1024
#define CLOSE	     1e-4
#define STEP	     40

struct expected {
	char model[VACCEL_MODEL_NAME];
	void *picture;
	size_t len;
	uint32_t class;
	double probability;
};

static struct expected expected[MAX_EXPECTED];
static size_t n_expected;
static struct vaccel_context *context;
static const char *stop_file;
static unsigned long wanted;
static unsigned int n_sessions;
static atomic_ulong begun, answered, failed, wrong, other;
static atomic_uint batched, sessions_begun;

static void *read_picture(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "re");
	void *data = malloc(16 << 20);

	if (!file || !data)
		err(2, "%s", path);
	*ret_len = fread(data, 1, 16 << 20, file);
	fclose(file);
	return data;
}

static void read_expected(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024], picture[768];

	if (!file)
		err(2, "%s", path);
	while (fgets(line, sizeof(line), file) && n_expected < MAX_EXPECTED) {
		struct expected *e = &expected[n_expected++];

		if (sscanf(line, "%63[^\t]\t%767[^\t]\t%u\t%lf", e->model, picture, &e->class, &e->probability) != 4)
			errx(2, "%s: not a line: %s", path, line);
		e->picture = read_picture(picture, &e->len);
	}
	fclose(file);
}

static void judge(const struct expected *e, const struct vaccel_label *label, const struct vaccel_classified *about)
{
	unsigned int most = atomic_load(&batched);
	char digits[16];

	if (label->index != e->class || fabs((double)label->probability - e->probability) > CLOSE) {
		if (atomic_fetch_add(&wrong, 1) < 5)
			fprintf(stderr, "wrong: %s says class %u (%g), not %u (%g)\n", e->model, label->index,
				(double)label->probability, e->class, e->probability);
	}
	snprintf(digits, sizeof(digits), "%u", label->index);
	if (strcmp(label->name, digits))
		atomic_fetch_add(&other, 1);
	while (about->batch > most && !atomic_compare_exchange_weak(&batched, &most, about->batch))
		;
}

static void *session_main(void *data)
{
	size_t next = (size_t)(uintptr_t)data * 7;
	struct vaccel_session *session;
	unsigned int done = 0;

	if (vaccel_session_open(context, &session) < 0)
		errx(2, "%s", vaccel_error());
	while (atomic_fetch_add(&begun, 1) < wanted && !(stop_file && access(stop_file, F_OK) == 0)) {
		const struct expected *e = &expected[next++ % n_expected];
		struct vaccel_classified about;
		struct vaccel_label label;

		if (vaccel_classify(session, e->model, e->picture, e->len, 1, &label, &about) != 1) {
			if (atomic_fetch_add(&failed, 1) < 5)
				fprintf(stderr, "failed: %s\n", vaccel_error());
		} else {
			judge(e, &label, &about);
		}
		if (atomic_fetch_add(&answered, 1) % STEP == STEP - 1) {
			printf("at %lu\n", atomic_load(&answered));
			fflush(stdout);
		}
		if (!done++ && atomic_fetch_add(&sessions_begun, 1) + 1 == n_sessions) {
			puts("begun");
			fflush(stdout);
		}
	}
	atomic_fetch_sub(&begun, 1);
	vaccel_session_close(session);
	return NULL;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	pthread_t threads[MAX_SESSIONS];

	if (argc < 5 || (n_sessions = (unsigned int)atoi(argv[2])) < 1 || n_sessions > MAX_SESSIONS)
		errx(2, "usage: models-load TRANSPORT SESSIONS REQUESTS EXPECTED [STOP]");
	options.transport = argv[1];
	wanted = strtoul(argv[3], NULL, 10);
	read_expected(argv[4]);
	stop_file = argv[5];
	if (vaccel_context_new(&options, &context) < 0)
		errx(2, "%s", vaccel_error());
	for (uintptr_t i = 0; i < n_sessions; i++)
		if (pthread_create(&threads[i], NULL, session_main, (void *)i))
			errx(2, "cannot start a thread");
	for (unsigned int i = 0; i < n_sessions; i++)
		pthread_join(threads[i], NULL);
	printf("requests %lu failed %lu wrong %lu batched %u other %lu\n", atomic_load(&begun), atomic_load(&failed),
	       atomic_load(&wrong), atomic_load(&batched), atomic_load(&other));
	vaccel_context_free(context);
	return atomic_load(&failed) || atomic_load(&wrong);
}
