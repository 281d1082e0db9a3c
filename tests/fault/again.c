/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load under which daemons are killed with their supervisors and started anew: threads that share one context, each
 * with a session and products in registered and plain memory, run and waited for, and with sessions and
 * buffers that come and go. Every result is right, or the connection was lost; after that the same
 * handles are good.
 *
 *   again URL SECONDS TAG STOP PROGRESS
 *
 * As storm.c: until the file STOP appears; counters in PROGRESS; SECONDS without a completion: stuck. Before and after, it
 * counts what it has of descriptors and memory, and says by how much that grew.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "product.h"

#define THREADS	 4
#define PRODUCTS 4
#define WARM_UP	 50 /* rounds of each thread before the first count */

/* One row per thread of the progress file. test_again.py knows the layout. */
struct progress {
	uint64_t right;
	uint64_t lost; /* -ECONNRESET */
};

struct worker {
	pthread_t thread;
	int index;
	struct vaccel_session *session;
	struct product products[PRODUCTS];
	struct progress progress;
	unsigned long rounds; /* 0: until the file STOP appears */
	int result;
};

static struct vaccel_context *context;
static const char *stop;
static int patience_ms, progress_fd;

/* Counts a result; what is neither right nor lost ends the thread. */
static int judge(struct worker *worker, const char *what, int r, bool right)
{
	const off_t at = (off_t)sizeof(struct progress) * worker->index;
	struct progress copy;

	if (!right || (r < 0 && r != -ECONNRESET)) {
		say("thread %d: %s: %d %s%s", worker->index, what, r, r < 0 ? vaccel_error() : "",
		    right ? "" : " wrong");
		return r < 0 ? r : -EBADMSG;
	}
	worker->progress.right += r == 0;
	worker->progress.lost += r < 0;
	copy = worker->progress;
	if (pwrite(progress_fd, &copy, sizeof(copy), at) < 0)
		return -errno;
	return 0;
}

static int judge_product(struct worker *worker, const char *what, int r, const struct product *p)
{
	return judge(worker, what, r, r == 0 ? product_right(p) : product_intact(p));
}

/* ---- What a thread does in turn ---- */

static int run_all(struct worker *worker, int seed)
{
	int r = 0;

	for (int i = 0; r == 0 && i < PRODUCTS; i++) {
		struct product *p = &worker->products[i];

		product_fill(p, seed);
		r = judge_product(worker, "run", vaccel_run(worker->session, &p->call), p);
	}
	return r;
}

static int wait_all(struct worker *worker, int seed)
{
	struct vaccel_request *requests[PRODUCTS] = { 0 };
	int r = 0;

	for (int i = 0; r == 0 && i < PRODUCTS; i++) {
		struct product *p = &worker->products[i];
		int submitted;

		product_fill(p, seed + i);
		submitted = vaccel_submit(worker->session, &p->call, &requests[i]);
		if (submitted < 0)
			r = judge_product(worker, "submit", submitted, p);
	}
	for (int i = 0; i < PRODUCTS; i++) {
		int result;

		if (!requests[i])
			continue;
		result = vaccel_request_wait(requests[i], (int64_t)patience_ms * 1000000);
		if (r == 0)
			r = judge_product(worker, "wait", result, &worker->products[i]);
		vaccel_request_free(requests[i]);
	}
	return r;
}

/* Sessions and buffers come and go. */
static int churn(struct worker *worker, int seed)
{
	struct vaccel_session *session;
	struct product p;
	int closed, r = vaccel_session_open(context, &session);

	if (r < 0)
		return judge(worker, "open", r, true);
	r = product_init(&p, session, 24, seed, seed & 1, true);
	if (r < 0) {
		r = judge(worker, "alloc", r, true);
	} else {
		r = judge_product(worker, "churn", vaccel_run(session, &p.call), &p);
		closed = product_fini(&p);
		if (r == 0)
			r = judge(worker, "free", closed, true);
	}
	closed = vaccel_session_close(session);
	return r < 0 ? r : judge(worker, "close", closed, true);
}

static int ask(struct worker *worker)
{
	struct vaccel_info info = { .size = sizeof(info) };
	int r = vaccel_context_info(context, &info);

	return judge(worker, "info", r, r < 0 || info.n_ops > 0);
}

/* ---- Threads ---- */

/* Not lost meanwhile: then it tries again, as nothing has begun yet. */
static int open_worker(struct worker *worker)
{
	int r;

	while ((r = vaccel_session_open(context, &worker->session)) == -ECONNRESET)
		continue;
	for (int i = 0; r == 0 && i < PRODUCTS; i++)
		while ((r = product_init(&worker->products[i], worker->session, worker->index & 1 ? 112 : 32, i, i & 1,
					 i & 2)) == -ECONNRESET)
			continue;
	return r;
}

static void *run(void *opaque)
{
	struct worker *worker = opaque;
	int r = open_worker(worker);

	for (unsigned long n = 0; r == 0 && (worker->rounds ? n < worker->rounds : access(stop, F_OK) < 0); n++) {
		const int seed = (int)(n % 1000);

		r = run_all(worker, seed);
		if (r == 0)
			r = wait_all(worker, seed);
		if (r == 0)
			r = churn(worker, seed);
		if (r == 0)
			r = ask(worker);
	}
	for (int i = 0; r == 0 && i < PRODUCTS; i++)
		r = product_fini(&worker->products[i]);
	if (r == 0)
		r = vaccel_session_close(worker->session);
	worker->result = r;
	if (r < 0)
		say("thread %d failed %d %s", worker->index, r, vaccel_error());
	return NULL;
}

/* ---- What there is of it ---- */

struct holdings {
	long descriptors;
	size_t bytes;
};

static struct holdings count(void)
{
	struct holdings holdings = { .bytes = mallinfo2().uordblks };
	DIR *dir = opendir("/proc/self/fd");

	while (dir && readdir(dir))
		holdings.descriptors++;
	if (dir)
		closedir(dir);
	return holdings;
}

static int run_threads(unsigned long rounds)
{
	static struct worker workers[THREADS];
	int failed = 0;

	for (int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ .index = i, .rounds = rounds };
		if (pthread_create(&workers[i].thread, NULL, run, &workers[i]))
			return 1;
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		failed |= workers[i].result < 0;
		say("thread %d: %ju right, %ju lost", i, (uintmax_t)workers[i].progress.right,
		    (uintmax_t)workers[i].progress.lost);
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	struct holdings before, after;

	if (argc != 6) {
		fprintf(stderr, "usage: again URL SECONDS TAG STOP PROGRESS\n");
		return 2;
	}
	options.transport = argv[1];
	patience_ms = atoi(argv[2]) * 1000;
	say_tag = argv[3];
	stop = argv[4];
	progress_fd = open(argv[5], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (progress_fd < 0) {
		perror(argv[5]);
		return 1;
	}
	if (vaccel_context_new(&options, &context) < 0 || vaccel_context_fd(context) < 0) {
		say("open %s", vaccel_error());
		return 1;
	}
	if (run_threads(WARM_UP))
		return 1;
	before = count();
	say("warm");
	if (run_threads(0))
		return 1;
	after = count();
	say("grew by %ld descriptors, %zd bytes", after.descriptors - before.descriptors,
	    (ssize_t)(after.bytes - before.bytes));
	vaccel_context_free(context);
	return 0;
}
