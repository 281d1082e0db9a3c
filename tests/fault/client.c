/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program that is in the middle when something dies: run by test_fault.py, in a guest or beside the daemon. It says
 * what happened, a line at a time, each begun with its tag; what should have happened is the script's to know.
 *
 *   client URL SCENARIO [NAME=VALUE...]
 *
 * Products are of small integers, so that the right result is exact. The script learns from the plugin fault's count
 * files that a request is inside a plugin, and this program from files (go, stop) that it may go on: nobody sleeps in the
 * hope that something has happened meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vaccel/vaccel.h>

#include "fault.h"
#include "product.h"

#define QUEUE_MAX 64 /* products of one queue */

static struct {
	const char *go, *stop;
	unsigned int size, beta, registered;
	enum fault_action fault;
	unsigned int times, key, count, deadline;
} option = { .size = 16, .count = 1 };

static struct vaccel_context *context;
static struct vaccel_session *session;

/* ---- saying and waiting ---- */

static void say_result(const char *what, int r, bool right)
{
	if (r < 0)
		say("%s %d %s", what, r, vaccel_error());
	else
		say("%s 0 %s", what, right ? "right" : "wrong");
}

static void wait_file(const char *path)
{
	const struct timespec step = { .tv_nsec = 20000000 };

	while (access(path, F_OK) < 0)
		nanosleep(&step, NULL);
}

/* A product with nothing special, on the same memory. */
static void run_next(struct product *p, int seed)
{
	int r;

	p->gemm.alpha = 1;
	product_fill(p, seed);
	r = vaccel_run(session, &p->call);
	say_result("next", r, r == 0 && product_right(p));
}

static int open_all(const char *url)
{
	struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	int r = vaccel_context_new(&options, &context);

	return r < 0 ? r : vaccel_session_open(context, &session);
}

/* ---- scenarios ---- */

/* Which of several devices this is. */
static int scenario_limits(void)
{
	struct vaccel_info info = { .size = sizeof(info) };
	int r = vaccel_context_info(context, &info);

	if (r == 0)
		say("sessions %u", info.max_sessions);
	return r;
}

/* One product with the fault asked for, then one without, on the same memory in the same session. */
static int scenario_one(void)
{
	struct product p;
	int r = product_init(&p, session, option.size, 1, option.beta, option.registered);

	if (r < 0)
		return r;
	if (option.fault)
		p.gemm.alpha = fault_alpha(option.fault, (uint8_t)option.times, option.key);
	r = vaccel_run(session, &p.call);
	say_result("result", r, r == 0 && product_right(&p));
	say("inputs %s", product_intact(&p) ? "intact" : "changed");
	run_next(&p, 5);
	return product_fini(&p);
}

/* A product before and several after the file go appears; buffers are from before. */
static int scenario_between(void)
{
	struct product p[2] = { 0 };
	int r = product_init(&p[0], session, option.size, 1, option.beta, false);

	if (r == 0)
		r = product_init(&p[1], session, option.size, 2, option.beta, true);
	if (r < 0)
		return r;
	for (int i = 0; i < 2; i++) {
		r = vaccel_run(session, &p[i].call);
		say_result("result", r, r == 0 && product_right(&p[i]));
	}
	wait_file(option.go);
	/* What lies in a registered buffer has outlived the worker. */
	say("kept %s", product_right(&p[1]) ? "right" : "wrong");
	for (int i = 0; i < 2; i++) {
		p[i].call.deadline_ms = option.deadline;
		run_next(&p[i], 7 + i);
	}
	r = product_fini(&p[0]);
	return r < 0 ? r : product_fini(&p[1]);
}

static int reap(struct product *products, unsigned int *taken)
{
	struct pollfd poll_fd = { .fd = vaccel_context_fd(context), .events = POLLIN };
	struct vaccel_request *request;
	struct product *p;
	int r;

	while ((r = vaccel_context_next(context, &request)) == -EAGAIN)
		poll(&poll_fd, 1, -1);
	if (r < 0)
		return r;
	p = vaccel_request_user_data(request);
	r = vaccel_request_wait(request, 0);
	if (++taken[p - products] > 1)
		say("request %td completed twice", p - products);
	if (r < 0)
		say("request %td %d %s", p - products, r, vaccel_error());
	else
		say("request %td 0 %s", p - products, product_right(p) ? "right" : "wrong");
	vaccel_request_free(request);
	return 0;
}

/* Several at once, the first with the fault; each completes exactly once. */
static int scenario_queue(void)
{
	static struct product products[QUEUE_MAX];
	unsigned int taken[QUEUE_MAX] = { 0 };
	struct vaccel_request *request;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < option.count && i < QUEUE_MAX; i++)
		r = product_init(&products[i], session, option.size, (int)i, option.beta, option.registered);
	products[0].gemm.alpha = fault_alpha(option.fault, (uint8_t)option.times, option.key);
	for (unsigned int i = 0; r == 0 && i < option.count; i++)
		r = vaccel_submit(session, &products[i].call, &request);
	if (r < 0)
		return r;
	say("submitted");
	for (unsigned int i = 0; r == 0 && i < option.count; i++)
		r = reap(products, taken);
	if (r == 0 && vaccel_context_next(context, &request) != -EAGAIN)
		say("there is one more completion than requests");
	run_next(&products[0], 9);
	for (unsigned int i = 0; r == 0 && i < option.count; i++)
		r = product_fini(&products[i]);
	return r;
}

/* Products until the file stop appears, in turn with beta 0 and 1, plain and registered. */
static int scenario_load(void)
{
	struct product p[4] = { 0 };
	unsigned long n = 0;
	int r = 0;

	for (int i = 0; r == 0 && i < 4; i++)
		r = product_init(&p[i], session, option.size, i, i & 1, i & 2);
	for (; r == 0 && access(option.stop, F_OK) < 0; n++) {
		struct product *now = &p[n % 4];
		int result;

		product_fill(now, (int)(n % 1000));
		result = vaccel_run(session, &now->call);
		if (result < 0)
			say("load %lu beta %g: %d %s", n, now->beta, result, vaccel_error());
		else
			say("load %lu beta %g: 0 %s", n, now->beta, product_right(now) ? "right" : "wrong");
	}
	for (int i = 0; r == 0 && i < 4; i++)
		r = product_fini(&p[i]);
	say("ran %lu", n);
	return r;
}

static int churn_once(int seed)
{
	struct vaccel_session *shared = session;
	struct product p = { 0 };
	int r = vaccel_session_open(context, &session), close;

	if (r < 0) {
		session = shared;
		return r;
	}
	r = product_init(&p, session, option.size, seed, 0, true);
	if (r == 0)
		r = vaccel_run(session, &p.call);
	if (r == 0 && !product_right(&p))
		say("churn %d wrong", seed);
	if (r == 0)
		r = product_fini(&p);
	close = vaccel_session_close(session);
	session = shared;
	return r < 0 ? r : close;
}

/* Sessions and buffers come and go until the file stop appears. */
static int scenario_churn(void)
{
	int n = 0, r = 0;

	for (; r == 0 && access(option.stop, F_OK) < 0; n++) {
		r = churn_once(n % 1000);
		say("churn %d: %d %s", n, r, r < 0 ? vaccel_error() : "right");
	}
	return r;
}

/* As many sessions and buffers as the device has: none is lost to a client that is no more. */
static int scenario_fill(void)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct vaccel_session *more;
	struct vaccel_buffer *buffer;
	unsigned int sessions = 1, buffers = 0;
	int r = vaccel_context_info(context, &info);

	if (r < 0)
		return r;
	while (sessions <= info.max_sessions && vaccel_session_open(context, &more) == 0)
		sessions++;
	while (buffers <= info.max_buffers && vaccel_buffer_alloc(session, 4096, &buffer) == 0)
		buffers++;
	say("filled %u of %u sessions, %u of %u buffers", sessions, info.max_sessions, buffers, info.max_buffers);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(void);
} scenarios[] = {
	{ "limits", scenario_limits }, { "one", scenario_one },	  { "between", scenario_between },
	{ "queue", scenario_queue },   { "load", scenario_load }, { "churn", scenario_churn },
	{ "fill", scenario_fill },
};

/* ---- start ---- */

static enum fault_action fault_named(const char *name)
{
	static const char *const names[FAULT_N_ACTIONS] = {
		[FAULT_SEGV] = "segv", [FAULT_BUS] = "bus",   [FAULT_ABORT] = "abort", [FAULT_KILL] = "kill",
		[FAULT_EXIT] = "exit", [FAULT_HANG] = "hang", [FAULT_SPIN] = "spin",
	};

	for (int i = 0; i < FAULT_N_ACTIONS; i++)
		if (names[i] && !strcmp(names[i], name))
			return (enum fault_action)i;
	return FAULT_NONE;
}

static bool set(const char *word)
{
	const char *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) : 0;
	const struct {
		const char *name;
		const char **text;
		unsigned int *number;
	} names[] = {
		{ "tag", &say_tag, NULL },	  { "go", &option.go, NULL },
		{ "stop", &option.stop, NULL },	  { "size", NULL, &option.size },
		{ "beta", NULL, &option.beta },	  { "registered", NULL, &option.registered },
		{ "times", NULL, &option.times }, { "key", NULL, &option.key },
		{ "count", NULL, &option.count }, { "deadline", NULL, &option.deadline },
	};

	if (len == 5 && !strncmp(word, "fault", len))
		return (option.fault = fault_named(value + 1)) != FAULT_NONE;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strlen(names[i].name) != len || strncmp(names[i].name, word, len))
			continue;
		if (names[i].text)
			*names[i].text = value + 1;
		else
			*names[i].number = (unsigned int)strtoul(value + 1, NULL, 10);
		return true;
	}
	return false;
}

static int run(const char *url, const char *name)
{
	int r = open_all(url);

	if (r < 0) {
		say("open %d %s", r, vaccel_error());
		return 1;
	}
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, name))
			continue;
		r = scenarios[i].run();
		if (r < 0)
			say("failed %d %s", r, vaccel_error());
		else if ((r = vaccel_session_close(session)) < 0)
			say("close %d %s", r, vaccel_error());
		vaccel_context_free(context);
		return r < 0;
	}
	return 2;
}

int main(int argc, char **argv)
{
	for (int i = 3; i < argc; i++) {
		if (!set(argv[i])) {
			fprintf(stderr, "client: '%s' is not understood\n", argv[i]);
			return 2;
		}
	}
	if (argc < 3 || option.count < 1 || option.count > QUEUE_MAX) {
		fprintf(stderr, "usage: client URL SCENARIO [NAME=VALUE...]\n");
		return 2;
	}
	return run(argv[1], argv[2]);
}
