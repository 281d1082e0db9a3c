/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load under which workers and supervisors are killed a thousand times: several sessions, each with a thread, a
 * connection and several products in flight, some of which may run again and some not. Every result is checked, and
 * that each request completes exactly once.
 *
 *   storm URL SECONDS TAG STOP PROGRESS [again]
 *
 * It runs until the file STOP appears, and keeps its counters in the file PROGRESS, where the script sees without a line
 * per request how far each session is. SECONDS: nothing completes for so long: it gives up.
 * again: a lost connection is followed by another one; otherwise it ends a session.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "product.h"

#define SESSIONS 4
#define DEPTH	 4

/* One row per session of the progress file. test_storm.py knows the layout. */
struct progress {
	uint64_t submitted;
	uint64_t done;	      /* completed, however */
	uint64_t interrupted; /* with EOWNERDEAD, as they may not run twice */
	uint64_t died;	      /* with EIO: two workers died in it */
	uint64_t lost;	      /* with ECONNRESET, and that is no failure */
	uint64_t wrong;	      /* anything else */
};

struct slot {
	struct product product;
	struct vaccel_request *request; /* NULL: none in flight */
	struct storm *storm;
};

struct storm {
	pthread_t thread;
	int index;
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct slot slots[DEPTH];
	struct progress progress;
	int result;
};

static const char *url, *stop;
static int patience_ms;
static int progress_fd;
static bool again;

/* In one piece, so that the script never sees half of it. */
static void publish(const struct storm *storm)
{
	const off_t at = (off_t)sizeof(storm->progress) * storm->index;

	if (pwrite(progress_fd, &storm->progress, sizeof(storm->progress), at) < 0)
		say("session %d progress: errno %d", storm->index, errno);
}

static int open_storm(struct storm *storm)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	int r = vaccel_context_new(&options, &storm->context);

	if (r == 0)
		r = vaccel_session_open(storm->context, &storm->session);
	/* Run by the ring's thread and by the engine's; in turn plain and registered, and such as may run twice or not. */
	for (int i = 0; r == 0 && i < DEPTH; i++) {
		storm->slots[i].storm = storm;
		r = product_init(&storm->slots[i].product, storm->session, storm->index & 1 ? 112 : 32, i, i & 1,
				 i & 2);
		storm->slots[i].product.call.user_data = &storm->slots[i];
	}
	return r;
}

static int submit_all(struct storm *storm)
{
	int r = 0;

	for (int i = 0; r == 0 && i < DEPTH; i++) {
		struct slot *slot = &storm->slots[i];

		if (slot->request)
			continue;
		product_fill(&slot->product, (int)(storm->progress.submitted % 1000));
		storm->progress.submitted++;
		r = vaccel_submit(storm->session, &slot->product.call, &slot->request);
		if (r == -ECONNRESET && again) {
			/* As if it had completed. */
			slot->request = NULL;
			storm->progress.done++;
			storm->progress.lost++;
			r = 0;
		}
	}
	publish(storm);
	return r;
}

static int judge(struct storm *storm, const struct slot *slot, int r)
{
	bool right = r == 0 ? product_right(&slot->product) : product_intact(&slot->product);

	storm->progress.done++;
	if (right && r == -EOWNERDEAD && slot->product.beta != 0) {
		storm->progress.interrupted++;
	} else if (right && r == -EIO) {
		storm->progress.died++;
		say("session %d died: %s", storm->index, vaccel_error());
	} else if (right && r == -ECONNRESET) {
		storm->progress.lost++;
		return again ? 0 : r;
	} else if (!right || r < 0) {
		storm->progress.wrong++;
		say("session %d beta %g: %d %s%s", storm->index, slot->product.beta, r, r < 0 ? vaccel_error() : "",
		    right ? "" : " wrong");
	}
	return 0;
}

static bool any_in_flight(const struct storm *storm)
{
	return storm->progress.done < storm->progress.submitted;
}

/* Takes one completion. */
static int reap(struct storm *storm)
{
	struct pollfd p = { .fd = vaccel_context_fd(storm->context), .events = POLLIN };
	struct vaccel_request *request;
	struct slot *slot;
	int r;

	while ((r = vaccel_context_next(storm->context, &request)) == -EAGAIN && any_in_flight(storm))
		if (poll(&p, 1, patience_ms) == 0)
			return -ETIME;
	if ((r == -ECONNRESET && again && !any_in_flight(storm)) || r == -EAGAIN)
		return 0;
	if (r < 0)
		return r;
	slot = vaccel_request_user_data(request);
	if (slot->request != request) {
		say("session %d: completed twice", storm->index);
		return -EBADMSG;
	}
	r = judge(storm, slot, vaccel_request_wait(request, 0));
	vaccel_request_free(request);
	slot->request = NULL;
	return r;
}

static int close_storm(struct storm *storm)
{
	struct vaccel_request *request;
	int r = 0;

	while (r == 0 && any_in_flight(storm))
		r = reap(storm);
	if (r == 0 && vaccel_context_next(storm->context, &request) >= 0) {
		say("session %d: one more completion than requests", storm->index);
		r = -EBADMSG;
	}
	publish(storm);
	for (int i = 0; r == 0 && i < DEPTH; i++)
		r = product_fini(&storm->slots[i].product);
	if (r == 0)
		r = vaccel_session_close(storm->session);
	return r;
}

static void *run(void *opaque)
{
	struct storm *storm = opaque;

	storm->result = open_storm(storm);
	while (storm->result == 0 && access(stop, F_OK) < 0) {
		storm->result = submit_all(storm);
		if (storm->result == 0)
			storm->result = reap(storm);
	}
	if (storm->result == 0)
		storm->result = close_storm(storm);
	if (storm->result < 0)
		say("session %d failed %d %s", storm->index, storm->result, vaccel_error());
	else
		vaccel_context_free(storm->context);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct storm storms[SESSIONS];
	int failed = 0;

	if (argc != 6 && (argc != 7 || strcmp(argv[6], "again"))) {
		fprintf(stderr, "usage: storm URL SECONDS TAG STOP PROGRESS [again]\n");
		return 2;
	}
	url = argv[1];
	patience_ms = atoi(argv[2]) * 1000;
	say_tag = argv[3];
	stop = argv[4];
	again = argc == 7;
	progress_fd = open(argv[5], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (progress_fd < 0) {
		perror(argv[5]);
		return 1;
	}
	for (int i = 0; i < SESSIONS; i++) {
		storms[i].index = i;
		if (pthread_create(&storms[i].thread, NULL, run, &storms[i]))
			return 1;
	}
	for (int i = 0; i < SESSIONS; i++) {
		const struct progress *p = &storms[i].progress;

		pthread_join(storms[i].thread, NULL);
		failed |= storms[i].result < 0;
		say("session %d: %ju submitted, %ju done, %ju interrupted, %ju died, %ju lost, %ju wrong", i,
		    (uintmax_t)p->submitted, (uintmax_t)p->done, (uintmax_t)p->interrupted, (uintmax_t)p->died,
		    (uintmax_t)p->lost, (uintmax_t)p->wrong);
	}
	return failed;
}
