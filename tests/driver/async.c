/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous requests of /dev/vaccelN: completions, cancellation, callers that leave, and the removal of the device.
 * How to run: device.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

/* How long a request takes that must still be running when something else happens; that it is, nobody relies on. */
#define DELAY 1500

static short poll_now(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	CHECK(poll(&p, 1, 0) >= 0);
	return p.revents;
}

static int reap(int fd, struct vaccel_ioc_completion *to, uint32_t max, int64_t timeout_ns)
{
	struct vaccel_ioc_reap r = { .completions = (uintptr_t)to, .max = max, .timeout_ns = timeout_ns };

	return ioctl(fd, VACCEL_IOC_REAP, &r) ? -1 : (int)r.n;
}

static void reap_fields(void)
{
	struct vaccel_ioc_completion c[4];
	int fd = open_device();
	struct vaccel_ioc_reap r;

	r = (struct vaccel_ioc_reap){ .completions = (uintptr_t)c };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_REAP, &r));
	r = (struct vaccel_ioc_reap){ .completions = (uintptr_t)c, .max = 1, .reserved = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_REAP, &r));
	r = (struct vaccel_ioc_reap){ .completions = (uintptr_t)c, .max = 4, .n = 3 };
	CHECK(ioctl(fd, VACCEL_IOC_REAP, &r) == 0 && r.n == 0);
	CHECK(reap(fd, c, 4, 1000000) == 0);
	CHECK(poll_now(fd, POLLIN | POLLOUT) == POLLOUT);
}

static void submit(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	struct vaccel_ioc_completion c[8];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct product products[8];
	int i, k, n, got = 0;

	for (i = 0; i < 8; i++) {
		product_init(&products[i], s, i, i);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &products[i].run.request) == 0);
		CHECK(products[i].run.request.id != 0);
	}
	while (got < 8) {
		CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
		n = reap(fd, c, 3, 0);
		CHECK(n >= 1 && n <= 3);
		for (k = 0; k < n; k++) {
			struct product *done = (struct product *)(uintptr_t)c[k].user_data;

			CHECK(done >= products && done < products + 8);
			CHECK(c[k].error == 0 && c[k].id == done->run.request.id);
			CHECK(done->c == done->a * done->a);
			done->c = -1; /* none completes twice */
		}
		got += n;
	}
	CHECK(reap(fd, c, 8, 0) == 0);
	CHECK(poll_now(fd, POLLIN) == 0);
}

/* Looking for completions while they come in never fails. */
static void reap_meanwhile(void)
{
	enum { ROUNDS = 200, MANY = 16 };
	static struct product products[MANY];
	struct vaccel_ioc_completion c[MANY];
	int fd = open_device(), i, got, n;
	uint32_t s = open_session(fd);

	for (int round = 0; round < ROUNDS; round++) {
		for (i = 0; i < MANY; i++) {
			product_init(&products[i], s, i, round);
			CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &products[i].run.request) == 0);
		}
		for (got = 0; got < MANY; got += n) {
			n = reap(fd, c, MANY, 0);
			CHECK(n >= 0);
		}
		CHECK(got == MANY);
	}
}

/* A completion that cannot be delivered is not lost. */
static void reap_fault(void)
{
	int fd = open_device();
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct vaccel_ioc_completion c;
	struct product product;

	product_init(&product, open_session(fd), 2, 5);
	CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &product.run.request) == 0);
	CHECK(poll(&p, 1, -1) == 1);
	FAILS(EFAULT, reap(fd, NULL, 1, 0));
	FAILS(EFAULT, reap(fd, (void *)~0xfffull, 1, 0));
	CHECK(reap(fd, &c, 1, 0) == 1);
	CHECK(c.id == product.run.request.id && product.c == 10);
}

/* There is a bound on what one file may have outstanding, and it comes back with reaping. */
static void submit_limit(void)
{
	static struct vaccel_ioc_completion c[64];
	int fd = open_device(), n = 0, got = 0, k;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_request r;

	for (;;) {
		r = (struct vaccel_ioc_request){ .session = s, .op = OP_NOOP };
		if (ioctl(fd, VACCEL_IOC_SUBMIT, &r))
			break;
		CHECK(++n < 100000);
	}
	CHECK(errno == EAGAIN || errno == EDQUOT);
	CHECK(n > 0);
	CHECK(!(poll_now(fd, POLLOUT) & POLLOUT));
	while (got < n) {
		k = reap(fd, c, 64, -1);
		CHECK(k > 0);
		got += k;
	}
	CHECK(got == n && reap(fd, c, 64, 0) == 0);
	CHECK(poll_now(fd, POLLOUT) & POLLOUT);
	run_noop(fd, s);
}

static void cancel_fields(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	struct vaccel_ioc_cancel c = { .id = 1, .reserved = 1 };
	struct product p;

	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_CANCEL, &c));
	c = (struct vaccel_ioc_cancel){ .id = UINT64_MAX };
	FAILS(ENOENT, ioctl(fd, VACCEL_IOC_CANCEL, &c));
	c = (struct vaccel_ioc_cancel){ 0 };
	FAILS(ENOENT, ioctl(fd, VACCEL_IOC_CANCEL, &c));
	product_init(&p, s, 1, 1);
	CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &p.run.request) == 0);
	reap_one(fd);
	c.id = p.run.request.id; /* of a request that has completed */
	FAILS(ENOENT, ioctl(fd, VACCEL_IOC_CANCEL, &c));
}

/* Of two slow requests of one session the second one waits in the daemon, or runs; both complete, once. */
static void cancel(void)
{
	int fd = open_device(), other = open_device(), i;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_completion c;
	struct vaccel_ioc_cancel cancel;
	struct product p[2];
	int canceled = 0, ret;

	for (i = 0; i < 2; i++) {
		product_init(&p[i], s, 1, 1);
		product_delay(&p[i], DELAY);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &p[i].run.request) == 0);
	}
	cancel = (struct vaccel_ioc_cancel){ .id = p[1].run.request.id };
	FAILS(ENOENT, ioctl(other, VACCEL_IOC_CANCEL, &cancel)); /* not the other file's */
	ret = ioctl(fd, VACCEL_IOC_CANCEL, &cancel);
	CHECK(ret == 0 || errno == EBUSY || errno == ENOENT);
	for (i = 0; i < 2; i++) {
		c = reap_one(fd);
		CHECK(c.error == 0 || (c.error == -ECANCELED && c.status == VIRTIO_ACCEL_S_CANCELED));
		CHECK(c.error == 0 || c.id == p[1].run.request.id);
		canceled += c.error != 0;
	}
	CHECK(canceled == (ret == 0));
	run_noop(fd, s);
}

/*
 * Of many slow requests those that cannot start in time never do. How many run at a time is the daemon's affair, so are
 * those that run for longer.
 */
static void deadline(void)
{
	int fd = open_device(), late = 0, i;
	struct vaccel_ioc_info info = get_info(fd);
	uint32_t s = open_session(fd);
	struct product p[64];

	if (!(info.features & 1 << VIRTIO_ACCEL_F_DEADLINE))
		skip("the device knows no deadlines");
	for (i = 0; i < 64; i++) {
		product_init(&p[i], s, 1, i);
		product_delay(&p[i], 300);
		p[i].run.request.deadline_ms = 200;
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &p[i].run.request) == 0);
	}
	for (i = 0; i < 64; i++) {
		struct vaccel_ioc_completion c = reap_one(fd);
		struct product *done = (struct product *)(uintptr_t)c.user_data;

		if (c.error != 0 && c.error != -ETIMEDOUT)
			fail(__FILE__, __LINE__, "%s: %s", error_name(-c.error), c.detail);
		CHECK((c.status == VIRTIO_ACCEL_S_DEADLINE) == (c.error == -ETIMEDOUT));
		CHECK(c.error || done->c == done->b);
		late += c.error != 0;
	}
	if (!late)
		skip("the device ran all 64 requests at once");
	run_noop(fd, s);
}

/* close(2) leaves slow requests behind, with memory that is unmapped and reused at once. */
static void close_in_flight(void)
{
	int fd = open_device(), i;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 1 << 16);
	size_t size = 4 * sizeof(struct product);
	struct product *p;
	char *again;

	for (i = 0; i < 4; i++)
		open_session(fd);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	for (i = 0; i < 4; i++) {
		product_init(&p[i], s, 3, 3);
		product_delay(&p[i], DELAY / 4);
		if (i & 1)
			p[i].args[2] = part(b.handle, 8 * (uint64_t)i, 8, VIRTIO_ACCEL_DIR_OUT);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &p[i].run.request) == 0);
	}
	CHECK(munmap(p, size) == 0);
	CHECK(close(fd) == 0);
	again = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(again != MAP_FAILED);
	all_sessions_come_back();
	for (i = 0; i < 1 << 20; i++)
		CHECK(again[i] == 0);
}

/* Requests belong to the open file: a child takes the completions of what its parent submitted, and left. */
static void inherit_in_flight(void)
{
	int fd = open_device(), status, i;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 1 << 16);
	double *at = map_buffer(fd, &b);
	struct product p[4];
	pid_t pid;

	for (i = 0; i < 4; i++) {
		product_init(&p[i], s, 3, i);
		product_delay(&p[i], DELAY / 4);
		p[i].args[2] = part(b.handle, 8 * (uint64_t)i, 8, VIRTIO_ACCEL_DIR_OUT);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &p[i].run.request) == 0);
	}
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		for (i = 0; i < 4; i++)
			CHECK(reap_one(fd).error == 0);
		for (i = 0; i < 4; i++)
			CHECK(at[i] == 3 * i);
		run_noop(fd, s);
		_exit(0);
	}
	CHECK(munmap(at, b.size) == 0);
	CHECK(close(fd) == 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	all_sessions_come_back();
}

/* A process killed in RUN dies, and its request completes without it. */
static void kill_runner(void)
{
	int pipes[2], status, i;
	pid_t pids[4];
	char c;

	CHECK(pipe(pipes) == 0);
	for (i = 0; i < 4; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (!pids[i]) {
			int fd = open_device();
			struct product p;

			product_init(&p, open_session(fd), 3, 3);
			product_delay(&p, DELAY);
			if (write(pipes[1], "", 1) != 1)
				_exit(1);
			ioctl(fd, VACCEL_IOC_RUN, &p.run);
			_exit(1);
		}
	}
	for (i = 0; i < 4; i++)
		CHECK(read(pipes[0], &c, 1) == 1);
	usleep(50000); /* they are in the call by now, most likely */
	for (i = 0; i < 4; i++) {
		CHECK(kill(pids[i], SIGKILL) == 0);
		CHECK(waitpid(pids[i], &status, 0) == pids[i]);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	all_sessions_come_back();
}

static void on_alarm(int number)
{
	(void)number;
}

static void interrupted_reap(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	int fd = open_device();
	struct vaccel_ioc_completion c;

	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	alarm(1);
	FAILS(EINTR, reap(fd, &c, 1, -1));
	alarm(1);
	FAILS(EINTR, reap(fd, &c, 1, 3600000000000));
}

static void *worker(void *argument)
{
	int fd = *(int *)argument, i, k;

	for (i = 0; i < 40; i++) {
		uint32_t s = open_session(fd);
		struct vaccel_ioc_buffer b = { .session = s, .size = 65536 };
		struct product p[4];

		if (!ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b)) {
			double *at = map_buffer(fd, &b);

			product_init(&p[0], s, 3, i);
			p[0].args[2] = part(b.handle, 8, 8, VIRTIO_ACCEL_DIR_OUT);
			CHECK(ioctl(fd, VACCEL_IOC_RUN, &p[0].run) == 0);
			CHECK(p[0].run.completion.error == 0 && at[1] == 3 * i);
			if (i & 1)
				CHECK(destroy_buffer(fd, b.handle) == 0);
			CHECK(munmap(at, b.size) == 0);
		} else {
			CHECK(errno == EDQUOT);
		}
		for (k = 0; k < 4; k++) {
			product_init(&p[k], s, k, i);
			CHECK(ioctl(fd, VACCEL_IOC_RUN, &p[k].run) == 0);
			CHECK(p[k].run.completion.error == 0 && p[k].c == k * i);
		}
		CHECK(close_session(fd, s) == 0);
	}
	return NULL;
}

/* Threads that share one file. */
static void threads(void)
{
	int fd = open_device(), i;
	pthread_t thread[4];

	if (get_info(fd).max_sessions < 4)
		skip("the device has fewer than 4 sessions");
	for (i = 0; i < 4; i++)
		CHECK(pthread_create(&thread[i], NULL, worker, &fd) == 0);
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(thread[i], NULL) == 0);
}

const struct test async_tests[] = {
	{ "reap-fields", reap_fields },
	{ "submit", submit },
	{ "reap-meanwhile", reap_meanwhile },
	{ "reap-fault", reap_fault },
	{ "submit-limit", submit_limit },
	{ "cancel-fields", cancel_fields },
	{ "cancel", cancel, true },
	{ "deadline", deadline, true },
	{ "close-in-flight", close_in_flight, true },
	{ "inherit-in-flight", inherit_in_flight, true },
	{ "kill-runner", kill_runner, true },
	{ "interrupted-reap", interrupted_reap },
	{ "threads", threads },
	{ 0 },
};

/* ---- Removal ---- */

static void *run_one(void *product)
{
	struct product *p = product;
	int fd = (int)p->run.request.user_data;

	if (ioctl(fd, VACCEL_IOC_RUN, &p->run))
		p->run.completion.error = -errno;
	return NULL;
}

/* All calls say that the device is gone; what was allocated stays. */
static void gone(int fd, uint32_t s, struct vaccel_ioc_buffer *b, volatile char *at)
{
	struct vaccel_ioc_completion c;
	struct vaccel_ioc_info i;
	struct product p;

	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_INFO, &i));
	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_SESSION_OPEN, &(struct vaccel_ioc_session){ 0 }));
	FAILS(ENODEV, close_session(fd, s));
	FAILS(ENODEV, destroy_buffer(fd, b->handle));
	product_init(&p, s, 1, 2);
	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_SUBMIT, &p.run.request));
	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_CANCEL, &(struct vaccel_ioc_cancel){ 1, 0 }));
	FAILS(ENODEV, ioctl(fd, VACCEL_IOC_QUERY, &(struct vaccel_ioc_query){ 0 }));
	FAILS(ENODEV, reap(fd, &c, 1, -1));
	FAILS(ENODEV, reap(fd, &c, 1, 0));
	FAILS(ENODEV, (intptr_t)mmap(NULL, b->size, PROT_READ, MAP_SHARED, fd, (off_t)b->mmap_offset));
	CHECK((poll_now(fd, POLLIN) & (POLLHUP | POLLERR | POLLIN)) == (POLLHUP | POLLERR));
	CHECK(at[0] == 77 && at[b->size - 1] == 78);
}

/* With its last user gone the device has its name back, if it is bound anew. */
static void first_again(const char *name)
{
	for (int i = 0; i < 300 && access("/dev/vaccel0", F_OK); i++) {
		usleep(10000);
		write_to(DRIVER "/unbind", name);
		write_to(DRIVER "/bind", name);
	}
	wait_for_device();
}

/*
 * The driver leaves the device while requests run and wait: each of them completes, with its result if the device still
 * gave it, and nothing hangs. With the driver back, so is the device.
 */
static void unbind(void)
{
	int fd = open_device(), i, n = 0;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 1 << 16);
	volatile char *at = map_buffer(fd, &b);
	struct product running, submitted[6];
	struct pollfd p = { .fd = fd };
	pthread_t thread;
	char name[64];

	at[0] = 77;
	at[b.size - 1] = 78;
	find_bound(name, sizeof(name));
	product_init(&running, s, 2, 2);
	product_delay(&running, DELAY);
	running.run.request.user_data = (unsigned int)fd;
	CHECK(pthread_create(&thread, NULL, run_one, &running) == 0);
	for (i = 0; i < 6; i++) {
		product_init(&submitted[i], s, 4, 4);
		product_delay(&submitted[i], DELAY / 3);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &submitted[i].run.request) == 0);
	}
	usleep(50000);
	write_to(DRIVER "/unbind", name);
	CHECK(poll(&p, 1, -1) == 1 && p.revents & POLLHUP);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(running.run.completion.error == 0 || running.run.completion.error == -ENODEV);
	for (i = 0; i < 6; i++) {
		struct vaccel_ioc_completion c = reap_one(fd);

		CHECK(c.error == 0 || c.error == -ENODEV);
		n += c.error == 0;
	}
	printf("  %d of 6 requests completed at the device\n", n);
	gone(fd, s, &b, at);

	write_to(DRIVER "/bind", name);
	for (i = 0; i < 500 && access("/dev/vaccel0", F_OK) && access("/dev/vaccel1", F_OK); i++)
		usleep(10000);
	gone(fd, s, &b, at);
	CHECK(close(fd) == 0);
	CHECK(at[0] == 77);
	CHECK(munmap((void *)at, b.size) == 0);
	first_again(name);
}

/* A user that goes on, whatever becomes of the device, until it is killed. */
static _Noreturn void busy(void)
{
	struct vaccel_ioc_session s;
	struct vaccel_ioc_buffer b;
	struct product p;
	void *at;
	int fd;

	for (;;) {
		fd = open("/dev/vaccel0", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		s = (struct vaccel_ioc_session){ 0 };
		at = MAP_FAILED;
		if (!ioctl(fd, VACCEL_IOC_SESSION_OPEN, &s)) {
			b = (struct vaccel_ioc_buffer){ .session = s.handle, .size = 1 << 16 };
			if (!ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b))
				at = mmap(NULL, b.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)b.mmap_offset);
			product_init(&p, s.handle, 2, 3);
			if (!ioctl(fd, VACCEL_IOC_RUN, &p.run))
				CHECK(p.run.completion.error == -ENODEV || p.c == 6);
			ioctl(fd, VACCEL_IOC_SUBMIT, &p.run.request);
		}
		CHECK(close(fd) == 0);
		if (at != MAP_FAILED) {
			memset(at, 1, b.size);
			CHECK(munmap(at, b.size) == 0);
		}
	}
}

/* The driver leaves and the device is reset again and again under users that do all they can. */
static void unbind_busy(void)
{
	enum { USERS = 4, ROUNDS = 8 };
	pid_t pids[USERS];
	char name[64];
	int status, i;

	find_bound(name, sizeof(name));
	for (i = 0; i < USERS; i++) {
		pids[i] = fork();
		CHECK(pids[i] >= 0);
		if (!pids[i])
			busy();
	}
	for (i = 0; i < ROUNDS; i++) {
		usleep(150000);
		write_to(DRIVER "/unbind", name);
		write_to(DRIVER "/bind", name);
	}
	for (i = 0; i < USERS; i++) {
		CHECK(kill(pids[i], SIGKILL) == 0);
		CHECK(waitpid(pids[i], &status, 0) == pids[i]);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	first_again(name);
}

const struct test removal_tests[] = {
	{ "unbind", unbind, true },
	{ "unbind-busy", unbind_busy },
	{ 0 },
};

/*
 * The daemon is killed while requests run and wait. What the guest then sees is its transport's to decide; this one
 * (User-Mode Linux) takes the device away: requests end, and say why.
 */
static void daemon_gone(void)
{
	int fd = open_device(), i, made;
	uint32_t s = open_session(fd);
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 1 << 16);
	volatile char *at = map_buffer(fd, &b);
	struct product running, submitted[6];
	struct pollfd p = { .fd = fd };
	pthread_t thread;

	at[0] = 77;
	at[b.size - 1] = 78;
	product_init(&running, s, 2, 2);
	product_delay(&running, 600000);
	running.run.request.user_data = (unsigned int)fd;
	CHECK(pthread_create(&thread, NULL, run_one, &running) == 0);
	for (i = 0; i < 6; i++) {
		product_init(&submitted[i], s, 4, 4);
		product_delay(&submitted[i], 600000);
		CHECK(ioctl(fd, VACCEL_IOC_SUBMIT, &submitted[i].run.request) == 0);
	}
	usleep(50000);
	made = open(gone_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	CHECK(made >= 0 && close(made) == 0);
	CHECK(poll(&p, 1, -1) == 1 && p.revents & POLLHUP);
	CHECK(pthread_join(thread, NULL) == 0);
	CHECK(running.run.completion.error == -ENODEV);
	for (i = 0; i < 6; i++)
		CHECK(reap_one(fd).error == -ENODEV);
	gone(fd, s, &b, at);
	CHECK(access("/dev/vaccel0", F_OK) == -1);
	CHECK(close(fd) == 0);
	CHECK(at[0] == 77 && at[b.size - 1] == 78);
}

const struct test gone_tests[] = {
	{ "daemon-gone", daemon_gone, true },
	{ 0 },
};
