/* SPDX-License-Identifier: Apache-2.0 */
/* Requests under way: threads, poll(2), cancellation, deadlines, endings, fork. Delays come from plugin fault. */
#include "fixture.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define DELAY_MS 200 /* long enough for what is done meanwhile; nothing depends on how long it takes */
#define SECOND	 1000000000ll

static double delay(void)
{
	return fault_alpha(FAULT_DELAY, 0, DELAY_MS);
}

static struct vaccel_request *submit(struct fixture *f, struct product *p)
{
	struct vaccel_request *request = NULL;

	assert_ok(vaccel_submit(f->session, &p->call, &request));
	return request;
}

static void test_wait(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *request;
	struct product p;

	product_init(&p, 16, 1, delay(), NULL);
	request = submit(f, &p);
	assert_ptr_equal(vaccel_request_user_data(request), &p);
	assert_error(vaccel_request_wait(request, 0), -ETIME, "running");
	assert_error(vaccel_request_wait(request, 1000000), -ETIME, "running");
	assert_ok(vaccel_request_wait(request, -1));
	assert_ok(vaccel_request_wait(request, 0));
	assert_ok(vaccel_request_wait(request, 60 * SECOND));
	product_check(&p);
	vaccel_request_free(request);
	/* An error is there as often as it is asked for. */
	p.gemm.alpha = fault_alpha(FAULT_ERROR, 0, EIO);
	request = submit(f, &p);
	assert_error(vaccel_request_wait(request, -1), -EIO, "fault: error 5");
	assert_error(vaccel_request_wait(request, 0), -EIO, "fault: error 5");
	vaccel_request_free(request);
	product_fini(&p);
}

static void test_free_running(void **state)
{
	struct fixture *f = *state;
	struct product p;

	product_init(&p, 16, 1, delay(), NULL);
	vaccel_request_free(submit(f, &p));
	product_check(&p);
	product_fini(&p);
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void test_poll(void **state)
{
	enum { N = 20 };
	struct fixture *f = *state;
	struct vaccel_request *request, *waited = NULL;
	struct product p[N], *q;
	int fd = vaccel_context_fd(f->context);
	bool seen[N] = { false };

	assert_ok(fd);
	assert_int_equal(vaccel_context_fd(f->context), fd);
	assert_error(vaccel_context_next(f->context, &request), -EAGAIN, "completed");
	assert_false(readable(fd, 0));
	for (int i = 0; i < N; i++) {
		product_init(&p[i], 8, (unsigned int)i, 1, NULL);
		request = submit(f, &p[i]);
		if (i == 0)
			waited = request;
	}
	/* What was waited for is not given again. */
	assert_ok(vaccel_request_wait(waited, -1));
	vaccel_request_free(waited);
	for (int i = 1; i < N; i++) {
		while (vaccel_context_next(f->context, &request) == -EAGAIN)
			assert_true(readable(fd, 60000));
		q = vaccel_request_user_data(request);
		assert_in_range(q - p, 1, N - 1);
		assert_false(seen[q - p]);
		seen[q - p] = true;
		assert_ok(vaccel_request_wait(request, 0));
		product_check(q);
		vaccel_request_free(request);
	}
	assert_int_equal(vaccel_context_next(f->context, &request), -EAGAIN);
	assert_false(readable(fd, 0));
	for (int i = 0; i < N; i++)
		product_fini(&p[i]);
}

/* The descriptor tells of what another thread's wait has found, too. */
static void test_poll_beside_run(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *request, *next;
	struct product p, q;
	int fd = vaccel_context_fd(f->context);

	assert_ok(fd);
	product_init(&p, 8, 1, 1, NULL);
	product_init(&q, 8, 2, 1, NULL);
	for (int i = 0; i < 100; i++) {
		request = submit(f, &p);
		assert_ok(vaccel_run(f->session, &q.call));
		while (vaccel_context_next(f->context, &next) == -EAGAIN)
			assert_true(readable(fd, 60000));
		assert_ptr_equal(next, request);
		vaccel_request_free(next);
	}
	product_check(&p);
	product_check(&q);
	product_fini(&p);
	product_fini(&q);
}

/* More than the rings hold, with memory to match. */
static void test_many(void **state)
{
	enum { N = 900 };
	struct fixture *f = *state;
	struct vaccel_request **requests = calloc(N, sizeof(*requests));
	struct product *p = calloc(N, sizeof(*p));

	for (int i = 0; i < N; i++) {
		product_init(&p[i], 8, (unsigned int)i, 1, NULL);
		requests[i] = submit(f, &p[i]);
	}
	for (int i = N - 1; i >= 0; i--) {
		assert_ok(vaccel_request_wait(requests[i], -1));
		product_check(&p[i]);
		vaccel_request_free(requests[i]);
		product_fini(&p[i]);
	}
	free(requests);
	free(p);
}

struct worker {
	struct fixture *fixture;
	pthread_t thread;
	unsigned int seed;
	int failures;
};

static bool right(const struct product *p)
{
	for (size_t i = 0; i < p->n; i++) {
		float sum = 0;

		for (size_t k = 0; k < p->n; k++)
			sum += p->a[i * p->n + k] * p->b[k * p->n];
		if (p->c[i * p->n] != sum)
			return false;
	}
	return true;
}

/* Synchronous and asynchronous calls in turn, plain and registered memory. No assertions outside the main thread. */
static void *work(void *opaque)
{
	struct worker *w = opaque;

	for (unsigned int i = 0; i < 40; i++) {
		struct vaccel_buffer *buffer = NULL;
		struct vaccel_request *request;
		struct product p;

		if (i % 4 == 0 && vaccel_buffer_alloc(w->fixture->session, 3 * 24 * 24 * 4, &buffer) < 0)
			w->failures++;
		product_init(&p, 24, w->seed + i, 1, vaccel_buffer_data(buffer));
		if (i % 2) {
			w->failures += vaccel_run(w->fixture->session, &p.call) < 0;
		} else if (vaccel_submit(w->fixture->session, &p.call, &request) < 0) {
			w->failures++;
		} else {
			w->failures += vaccel_request_wait(request, -1) < 0;
			vaccel_request_free(request);
		}
		w->failures += !right(&p);
		if (buffer)
			w->failures += vaccel_buffer_free(buffer) < 0;
		else
			product_fini(&p);
	}
	return NULL;
}

static void test_threads(void **state)
{
	enum { N = 8 };
	struct worker workers[N];

	for (unsigned int i = 0; i < N; i++) {
		workers[i] = (struct worker){ .fixture = *state, .seed = i * 100 };
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < N; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].failures, 0);
	}
}

static void test_buffer_in_use(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *request;
	struct vaccel_buffer *buffer;
	struct product p;

	assert_ok(vaccel_buffer_alloc(f->session, 3 * 8 * 8 * 4, &buffer));
	product_init(&p, 8, 1, delay(), vaccel_buffer_data(buffer));
	request = submit(f, &p);
	assert_error(vaccel_buffer_free(buffer), -EBUSY, "uses it");
	assert_ok(vaccel_request_wait(request, -1));
	product_check(&p);
	vaccel_request_free(request);
	assert_ok(vaccel_buffer_free(buffer));
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *first, *second;
	struct product p, q;

	product_init(&p, 8, 1, delay(), NULL);
	product_init(&q, 8, 2, 1, NULL);
	first = submit(f, &p);
	second = submit(f, &q);
	assert_ok(vaccel_request_cancel(second));
	assert_int_equal(vaccel_request_wait(second, -1), -ECANCELED);
	product_untouched(&q);
	assert_ok(vaccel_request_wait(first, -1));
	product_check(&p);
	assert_error(vaccel_request_cancel(first), -EBUSY, "has completed");
	assert_error(vaccel_request_cancel(second), -EBUSY, "has completed");
	vaccel_request_free(first);
	vaccel_request_free(second);
	assert_ok(vaccel_run(f->session, &q.call));
	product_check(&q);
	product_fini(&p);
	product_fini(&q);
}

static void test_deadline(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *first, *second;
	struct product p, q;

	product_init(&p, 8, 1, delay(), NULL);
	product_init(&q, 8, 2, 1, NULL);
	q.call.deadline_ms = 20;
	first = submit(f, &p);
	second = submit(f, &q);
	assert_int_equal(vaccel_request_wait(second, -1), -ETIMEDOUT);
	assert_true(strlen(vaccel_error()) > 0);
	product_untouched(&q);
	assert_ok(vaccel_request_wait(first, -1));
	vaccel_request_free(first);
	vaccel_request_free(second);
	q.call.deadline_ms = 60000;
	assert_ok(vaccel_run(f->session, &q.call));
	product_check(&q);
	product_fini(&p);
	product_fini(&q);
}

static void test_close_in_flight(void **state)
{
	struct fixture *f = *state;
	struct vaccel_context *context = fixture_context();
	struct vaccel_request *request, *other;
	struct vaccel_session *session;
	struct product p, q;

	product_init(&p, 8, 1, delay(), NULL);
	product_init(&q, 8, 1, delay(), NULL);
	assert_ok(vaccel_session_open(context, &session));
	assert_ok(vaccel_submit(session, &p.call, &request));
	assert_ok(vaccel_session_close(session));
	product_check(&p);
	assert_ok(vaccel_request_wait(request, 0));
	vaccel_request_free(request);
	assert_ok(vaccel_session_open(context, &session));
	assert_ok(vaccel_submit(session, &q.call, &other));
	vaccel_context_free(context);
	product_check(&q);
	/* The handle is good until it is freed. */
	assert_ok(vaccel_request_wait(other, -1));
	assert_error(vaccel_request_cancel(other), -EBUSY, "has completed");
	vaccel_request_free(other);
	assert_ok(vaccel_noop(f->session));
	product_fini(&p);
	product_fini(&q);
}

/* Returns what is wrong in the child; 0: nothing. */
static int in_child(struct fixture *f, struct vaccel_request *request, struct vaccel_buffer *buffer)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = fixture_url };
	struct vaccel_context *own;
	struct vaccel_session *session;

	if (vaccel_noop(f->session) != -ECHILD || !strstr(vaccel_error(), "fork"))
		return 1;
	if (vaccel_request_wait(request, -1) != -ECHILD || vaccel_request_cancel(request) != -ECHILD)
		return 2;
	if (vaccel_session_open(f->context, &session) != -ECHILD || vaccel_context_fd(f->context) != -ECHILD)
		return 3;
	if (vaccel_buffer_free(buffer) != -ECHILD || vaccel_session_close(f->session) != -ECHILD)
		return 4;
	vaccel_request_free(request);
	vaccel_context_free(f->context);
	/* One of its own; the engine of local: has lost its threads. */
	if (!fixture_remote)
		return vaccel_context_new(&options, &own) == -ECHILD && strstr(vaccel_error(), "fork") ? 0 : 5;
	if (vaccel_context_new(&options, &own) < 0 || vaccel_session_open(own, &session) < 0 ||
	    vaccel_noop(session) < 0)
		return 6;
	vaccel_context_free(own);
	return 0;
}

static void test_fork(void **state)
{
	struct fixture *f = *state;
	struct vaccel_request *request;
	struct vaccel_buffer *buffer;
	struct product p;
	int status;
	pid_t pid;

	assert_ok(vaccel_buffer_alloc(f->session, 4096, &buffer));
	product_init(&p, 8, 1, delay(), NULL);
	request = submit(f, &p);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(in_child(f, request, buffer));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_ok(vaccel_request_wait(request, -1));
	product_check(&p);
	vaccel_request_free(request);
	assert_ok(vaccel_buffer_free(buffer));
	assert_ok(vaccel_noop(f->session));
	product_fini(&p);
}

/* The daemon dies under requests in flight: all end, what comes later fails at once, everything can be freed. */
static void test_daemon_gone(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_request *request, *polled;
	struct vaccel_info info = { .size = sizeof(info) };
	struct vaccel_buffer *buffer, *unused;
	struct vaccel_session *other;
	struct product p, q;
	int fd, r;

	if (!fixture_own)
		skip();
	context = fixture_context();
	assert_ok(vaccel_session_open(context, &session));
	assert_ok(vaccel_buffer_alloc(session, 3 * 8 * 8 * 4, &buffer));
	fd = vaccel_context_fd(context);
	product_init(&p, 8, 1, delay(), NULL);
	product_init(&q, 8, 1, delay(), vaccel_buffer_data(buffer));
	assert_ok(vaccel_submit(session, &p.call, &request));
	assert_ok(vaccel_submit(session, &q.call, &polled));
	daemon_kill(&fixture_daemon, SIGKILL);
	assert_error(vaccel_request_wait(request, -1), -ECONNRESET, "went away");
	vaccel_request_free(request);
	assert_true(readable(fd, 60000));
	assert_ok(vaccel_context_next(context, &request));
	assert_ptr_equal(request, polled);
	assert_int_equal(vaccel_request_wait(request, 0), -ECONNRESET);
	vaccel_request_free(request);
	assert_error(vaccel_context_next(context, &request), -ECONNRESET, "lost");
	assert_false(readable(fd, 0));
	/* No daemon: each call looks for one, and says that there is none; what is closed needs none. */
	assert_error(vaccel_run(session, &p.call), -ECONNRESET, "none takes its place");
	assert_error(vaccel_noop(session), -ECONNRESET, "(ECONNREFUSED)");
	assert_int_equal(vaccel_session_open(context, &other), -ECONNRESET);
	assert_int_equal(vaccel_buffer_alloc(session, 4096, &unused), -ECONNRESET);
	assert_int_equal(vaccel_context_info(context, &info), -ECONNRESET);
	assert_false(readable(fd, 0));
	/* A new daemon, the same context, session and buffer, with what is in it, and the same descriptor. */
	assert_int_equal(daemon_start(&fixture_daemon), 0);
	p.gemm.alpha = q.gemm.alpha = 1;
	assert_ok(vaccel_submit(session, &q.call, &polled));
	assert_int_equal(vaccel_context_fd(context), fd);
	assert_true(readable(fd, 60000));
	while ((r = vaccel_context_next(context, &request)) == -EAGAIN)
		assert_true(readable(fd, 60000));
	assert_ok(r);
	assert_ptr_equal(request, polled);
	vaccel_request_free(request);
	product_check(&q);
	assert_int_equal(vaccel_context_next(context, &request), -EAGAIN);
	assert_ok(vaccel_run(session, &p.call));
	product_check(&p);
	assert_ok(vaccel_context_info(context, &info));
	assert_ok(vaccel_session_open(context, &other));
	assert_ok(vaccel_session_close(other));
	assert_ok(vaccel_buffer_free(buffer));
	assert_ok(vaccel_session_close(session));
	vaccel_context_free(context);
	product_fini(&p);
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, fixture_open, fixture_close)
		TEST(test_wait),	  TEST(test_free_running),
		TEST(test_poll),	  TEST(test_poll_beside_run),
		TEST(test_many),	  TEST(test_threads),
		TEST(test_buffer_in_use), TEST(test_cancel),
		TEST(test_deadline),	  TEST(test_close_in_flight),
		TEST(test_fork),	  cmocka_unit_test(test_daemon_gone),
	};

	return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}

int main(int argc, char **argv)
{
	return fixture_main(argc, argv, run);
}
