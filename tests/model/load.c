/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load URL SESSIONS REQUESTS PICTURE: eight sessions' worth of work on two models, "pictures" and "sums", each answer checked.
 * SESSIONS threads, each with a session of its own, make REQUESTS requests in all, half of them IMAGE_CLASSIFY of the file
 * PICTURE, half INFER. REQUESTS 0: until standard input ends. Prints how many there were and the largest batch; exit status 1,
 * with the first error of each session, when one failed or had another answer than the first.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/vaccel.h>

enum { MOST_SESSIONS = 64, K = 3, WIDTH = 4 };

static struct {
	struct vaccel_context *context;
	char picture[1 << 16];
	size_t picture_len;
	unsigned long left; /* atomic; requests that nobody has begun */
	bool stop;	    /* atomic */
} work;

struct session {
	pthread_t thread;
	struct vaccel_session *session;
	unsigned int seed;
	unsigned long n_done;
	unsigned int batch; /* the largest */
	struct vaccel_label first[K];
	char error[256];
};

static int failed(struct session *s, const char *what)
{
	snprintf(s->error, sizeof(s->error), "%s: %s", what, vaccel_error());
	return -1;
}

static int classify(struct session *s)
{
	struct vaccel_label labels[K];
	struct vaccel_classified about;

	if (vaccel_classify(s->session, "pictures", work.picture, work.picture_len, K, labels, &about) != K)
		return failed(s, "classify");
	if (!s->n_done)
		memcpy(s->first, labels, sizeof(labels));
	if (memcmp(s->first, labels, sizeof(labels))) {
		snprintf(s->error, sizeof(s->error), "classify: class %u now, %u at first", labels[0].index,
			 s->first[0].index);
		return -1;
	}
	if (about.batch > s->batch)
		s->batch = about.batch;
	return 0;
}

static int infer(struct session *s)
{
	float a[WIDTH], b[WIDTH], sum[WIDTH];
	struct vaccel_tensor in[] = {
		{ .size = sizeof(*in),
		  .name = "a",
		  .dtype = VACCEL_FLOAT32,
		  .rank = 2,
		  .dims = { 1, WIDTH },
		  .data = a,
		  .len = sizeof(a) },
		{ .size = sizeof(*in),
		  .name = "b",
		  .dtype = VACCEL_FLOAT32,
		  .rank = 2,
		  .dims = { 1, WIDTH },
		  .data = b,
		  .len = sizeof(b) },
	};
	struct vaccel_tensor out = { .size = sizeof(out), .name = "sum", .data = sum, .room = sizeof(sum) };
	int i;

	for (i = 0; i < WIDTH; i++) {
		a[i] = (float)(rand_r(&s->seed) % 1000);
		b[i] = (float)(rand_r(&s->seed) % 1000);
	}
	if (vaccel_infer(s->session, "sums", in, 2, &out, 1) < 0)
		return failed(s, "infer");
	for (i = 0; i < WIDTH; i++) {
		if (sum[i] != a[i] + b[i]) {
			snprintf(s->error, sizeof(s->error), "infer: %g + %g is not %g", (double)a[i], (double)b[i],
				 (double)sum[i]);
			return -1;
		}
	}
	return 0;
}

/* Whether there is another request to make. */
static bool take(void)
{
	if (__atomic_load_n(&work.stop, __ATOMIC_RELAXED))
		return false;
	return (long)__atomic_sub_fetch(&work.left, 1, __ATOMIC_RELAXED) >= 0;
}

static void *run(void *arg)
{
	struct session *s = arg;

	if (vaccel_session_open(work.context, &s->session) < 0) {
		failed(s, "session");
		return NULL;
	}
	for (; take(); s->n_done++)
		if (s->n_done % 2 ? infer(s) : classify(s))
			break;
	vaccel_session_close(s->session);
	return NULL;
}

static int read_picture(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		return -errno;
	work.picture_len = fread(work.picture, 1, sizeof(work.picture), f);
	fclose(f);
	return work.picture_len ? 0 : -EINVAL;
}

static int end(struct session *sessions, int n)
{
	unsigned long n_done = 0;
	unsigned int batch = 0;
	int status = 0;

	for (int i = 0; i < n; i++) {
		pthread_join(sessions[i].thread, NULL);
		n_done += sessions[i].n_done;
		batch = sessions[i].batch > batch ? sessions[i].batch : batch;
		if (*sessions[i].error) {
			fprintf(stderr, "session %d, request %lu: %s\n", i, sessions[i].n_done, sessions[i].error);
			status = 1;
		}
	}
	printf("%lu requests, largest batch %u\n", n_done, batch);
	return status;
}

int main(int argc, char **argv)
{
	static struct session sessions[MOST_SESSIONS];
	struct vaccel_context_options options = { .size = sizeof(options) };
	int n = argc == 5 ? atoi(argv[2]) : 0;
	char byte;

	if (n < 1 || n > MOST_SESSIONS || read_picture(argv[4]) < 0)
		return 2;
	work.left = strtoul(argv[3], NULL, 10);
	options.transport = argv[1];
	if (vaccel_context_new(&options, &work.context) < 0) {
		fprintf(stderr, "%s\n", vaccel_error());
		return 3;
	}
	if (!work.left)
		work.left = (unsigned long)LONG_MAX;
	for (int i = 0; i < n; i++) {
		sessions[i].seed = (unsigned int)i + 1;
		if (pthread_create(&sessions[i].thread, NULL, run, &sessions[i]))
			abort();
	}
	if (!strcmp(argv[3], "0")) {
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
		__atomic_store_n(&work.stop, true, __ATOMIC_RELAXED);
	}
	n = end(sessions, n);
	vaccel_context_free(work.context);
	return n;
}
