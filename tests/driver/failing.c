/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every allocation that a system call on /dev/vaccelN makes, and every copy from and to its caller, fails in turn: the
 * call is made again and again, its first, second, third ... of them failing, until nothing is left to fail. The kernel
 * must be built for it (tools/guest --kernel=uml-debug). How to run: device.c.
 *
 * A call that fails leaves nothing behind and changes nothing, and can be made again: that is what undo() of an attempt
 * sees to, together with a limit for memory that soon is reached if any is forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define FAULTS	"/sys/kernel/debug/"
#define LIMIT	"/sys/module/virtio_accel/parameters/pin_limit_mb"
#define LARGE	(3u << 20)
#define SCATTER 701u /* pages; not a multiple of 7 */

/* What a call works on. */
struct world {
	int fd;
	uint32_t session;
	struct vaccel_ioc_buffer buffer;
	char *at;
	pid_t child;
	struct product product;
};

struct attempt {
	const char *name;
	void (*prepare)(struct world *w); /* nothing fails in it */
	int (*call)(struct world *w);	  /* returns 0, or -1 with errno */
	void (*undo)(struct world *w, bool done);
};

/* ---- Failures on demand ---- */

static void set_fault(const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), FAULTS "%s", file);
	write_to(path, text);
}

/* The kernel's text of the driver, as two numbers that the files of debugfs take. */
static void driver_text(char *start, char *end, size_t size)
{
	FILE *modules = fopen("/proc/modules", "re");
	unsigned long length, at;
	char line[256];

	CHECK(modules);
	while (fgets(line, sizeof(line), modules)) {
		if (sscanf(line, "virtio_accel %lu %*u %*s %*s %lx", &length, &at) != 2)
			continue;
		CHECK(at);
		snprintf(start, size, "%#lx", at);
		snprintf(end, size, "%#lx", at + length);
		fclose(modules);
		return;
	}
	fail(__FILE__, __LINE__, "virtio_accel is not among the modules");
}

/* Is it a function of User-Mode Linux's transport, as /proc/kallsyms has them? All are in one place. */
static bool transports(const char *line, unsigned long *at)
{
	char name[128], type;

	return sscanf(line, "%lx %c %127s", at, &type, name) == 3 && type == 't' && !strncmp(name, "vu_", 3) &&
	       !strchr(name, '.');
}

/*
 * Their text, likewise: when memory fails them, they keep interrupts for ever,
 * or read anything for the device's limits.
 */
static void transport_text(char *start, char *end, size_t size)
{
	unsigned long at, from = ULONG_MAX, last = 0, to = ULONG_MAX;
	FILE *symbols = fopen("/proc/kallsyms", "re");
	char line[256];

	CHECK(symbols);
	while (fgets(line, sizeof(line), symbols)) {
		if (!transports(line, &at))
			continue;
		from = at < from ? at : from;
		last = at > last ? at : last;
	}
	rewind(symbols);
	while (fgets(line, sizeof(line), symbols))
		if (sscanf(line, "%lx", &at) == 1 && at > last && at < to)
			to = at;
	fclose(symbols);
	CHECK(from < last && last < to && to - from < 1 << 16);
	snprintf(start, size, "%#lx", from);
	snprintf(end, size, "%#lx", to);
}

static const char *const kinds[] = { "failslab", "fail_page_alloc" };

/*
 * What may fail, when starve() says so: allocations below the driver's functions, whoever runs them, also those that
 * could wait for memory. For nth_arm() it is everything. Nothing fails yet.
 */
static void faults_init(void)
{
	char start[32], end[32], not_start[32], not_end[32], file[64];

	set_fault("fail_usercopy/verbose", "0");
	set_fault("fail_page_alloc/ignore-gfp-highmem", "N");
	set_fault("fail_page_alloc/min-order", "0");
	driver_text(start, end, sizeof(start));
	transport_text(not_start, not_end, sizeof(not_start));
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *const settings[][2] = {
			{ "verbose", "0" },
			{ "ignore-gfp-wait", "N" },
			{ "probability", "0" },
			{ "require-start", start },
			{ "require-end", end },
			{ "reject-start", not_start },
			{ "reject-end", not_end },
			{ "stacktrace-depth", "32" },
			{ "task-filter", "N" },
			{ "interval", "1" },
			{ "times", "-1" },
		};

		for (size_t k = 0; k < sizeof(settings) / sizeof(settings[0]); k++) {
			snprintf(file, sizeof(file), "%s/%s", kinds[i], settings[k][0]);
			set_fault(file, settings[k][1]);
		}
	}
}

/* From now on so many of a hundred fail. */
static void starve(const char *percent)
{
	char file[64];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(file, sizeof(file), "%s/probability", kinds[i]);
		set_fault(file, percent);
	}
}

static int nth_open(void)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

static void nth_arm(int fd, unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	CHECK(pwrite(fd, text, (size_t)n, 0) == n);
}

/* Return: whether something was made to fail since. These calls may fail as well; then it is not what was meant. */
static bool nth_disarm(int fd)
{
	char text[16] = "";
	bool struck = pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	while (pwrite(fd, "0", 1, 0) != 1)
		CHECK(errno == EFAULT || errno == ENOMEM);
	return struck;
}

static bool expected(int error)
{
	return error == ENOMEM || error == EFAULT;
}

static void attempt(const struct attempt *a)
{
	int nth_fd = nth_open(), ret, error;
	unsigned int nth, survived = 0;
	bool struck;

	for (nth = 1;; nth++) {
		struct world w = { .fd = -1 };

		a->prepare(&w);
		nth_arm(nth_fd, nth);
		ret = a->call(&w);
		error = errno;
		struck = nth_disarm(nth_fd);
		if (ret && !(struck && expected(error)))
			fail(__FILE__, __LINE__, "%s: %s, with failure %u %s", a->name, error_name(error), nth,
			     struck ? "made" : "not made");
		survived += struck && !ret;
		a->undo(&w, !ret);
		if (!struck)
			break;
		CHECK(nth < 5000);
	}
	printf("  %s: %u failures, %u of them survived\n", a->name, nth - 1, survived);
	CHECK(close(nth_fd) == 0);
}

/* ---- What is attempted ---- */

static void with_nothing(struct world *w)
{
	(void)w;
}

static void with_file(struct world *w)
{
	w->fd = open_device();
}

static void with_session(struct world *w)
{
	with_file(w);
	w->session = open_session(w->fd);
}

static void with_buffer(struct world *w)
{
	with_session(w);
	w->buffer = create_buffer(w->fd, w->session, LARGE);
}

static void with_mapping(struct world *w)
{
	with_buffer(w);
	w->at = map_buffer(w->fd, &w->buffer);
	memset(w->at, 0x55, w->buffer.size);
}

static void undo_file(struct world *w, bool done)
{
	(void)done;
	if (w->fd >= 0)
		CHECK(close(w->fd) == 0);
}

/* The session serves, and can be closed: once. */
static void undo_session(struct world *w, bool done)
{
	run_noop(w->fd, w->session);
	CHECK(close_session(w->fd, w->session) == 0);
	FAILS(ESTALE, close_session(w->fd, w->session));
	undo_file(w, done);
}

static void undo_buffer(struct world *w, bool done)
{
	CHECK(destroy_buffer(w->fd, w->buffer.handle) == 0);
	FAILS(ESTALE, destroy_buffer(w->fd, w->buffer.handle));
	undo_session(w, done);
}

static void undo_mapping(struct world *w, bool done)
{
	CHECK(w->at[0] == 0x55 && w->at[w->buffer.size - 1] == 0x55);
	CHECK(munmap(w->at, w->buffer.size) == 0);
	undo_buffer(w, done);
}

static int try_open(struct world *w)
{
	w->fd = open("/dev/vaccel0", O_RDWR | O_CLOEXEC);
	return w->fd < 0 ? -1 : 0;
}

static int try_info(struct world *w)
{
	struct vaccel_ioc_info info;

	return ioctl(w->fd, VACCEL_IOC_INFO, &info);
}

static int try_session_open(struct world *w)
{
	struct vaccel_ioc_session s = { 0 };
	int ret = ioctl(w->fd, VACCEL_IOC_SESSION_OPEN, &s);

	w->session = s.handle;
	return ret;
}

/* Whether one was opened or not, all that the device has can be. */
static void undo_session_open(struct world *w, bool done)
{
	uint32_t max = get_info(w->fd).max_sessions, i;

	for (i = done; i < max; i++)
		open_session(w->fd);
	FAILS(EDQUOT, ioctl(w->fd, VACCEL_IOC_SESSION_OPEN, &(struct vaccel_ioc_session){ 0 }));
	if (done)
		run_noop(w->fd, w->session);
	undo_file(w, done);
}

static int try_session_close(struct world *w)
{
	return close_session(w->fd, w->session);
}

static void undo_session_close(struct world *w, bool done)
{
	if (!done)
		return undo_session(w, done);
	FAILS(ESTALE, close_session(w->fd, w->session));
	undo_file(w, done);
}

static int try_buffer_create(struct world *w)
{
	w->buffer = (struct vaccel_ioc_buffer){ .session = w->session, .size = LARGE };
	return ioctl(w->fd, VACCEL_IOC_BUFFER_CREATE, &w->buffer);
}

static void undo_buffer_create(struct world *w, bool done)
{
	uint32_t max = get_info(w->fd).max_buffers, i;

	for (i = done; i < max; i++)
		create_buffer(w->fd, w->session, 1);
	FAILS(EDQUOT,
	      ioctl(w->fd, VACCEL_IOC_BUFFER_CREATE, &(struct vaccel_ioc_buffer){ .session = w->session, .size = 1 }));
	undo_session(w, done);
}

static int try_buffer_destroy(struct world *w)
{
	return destroy_buffer(w->fd, w->buffer.handle);
}

static void undo_buffer_destroy(struct world *w, bool done)
{
	if (!done)
		return undo_buffer(w, done);
	FAILS(ESTALE, destroy_buffer(w->fd, w->buffer.handle));
	undo_session(w, done);
}

static int try_mmap(struct world *w)
{
	void *at = mmap(NULL, w->buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, (off_t)w->buffer.mmap_offset);

	w->at = at == MAP_FAILED ? NULL : at;
	return w->at ? 0 : -1;
}

static void undo_mmap(struct world *w, bool done)
{
	if (!done)
		return undo_buffer(w, done);
	memset(w->at, 0x55, w->buffer.size);
	undo_mapping(w, done);
}

/* With a mapping that is inherited. */
static int try_fork(struct world *w)
{
	w->child = fork();
	if (!w->child)
		_exit(w->at[LARGE / 2] != 0x55);
	return w->child < 0 ? -1 : 0;
}

static void undo_fork(struct world *w, bool done)
{
	int status;

	if (done)
		CHECK(waitpid(w->child, &status, 0) == w->child && status == 0);
	undo_mapping(w, done);
}

static int try_run(struct world *w)
{
	return ioctl(w->fd, VACCEL_IOC_RUN, &w->product.run);
}

static void undo_run(struct world *w, bool done)
{
	CHECK(!done || w->product.run.completion.error == 0);
	undo_session(w, done);
}

static void with_product(struct world *w)
{
	with_session(w);
	product_init(&w->product, w->session, 6, 7);
}

/* c = a * b with both in one range of many extents, so that the message takes many pages. */
static void with_scattered(struct world *w)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	with_product(w);
	w->at = scattered(SCATTER);
	w->product.args[0] = plain(w->at, SCATTER * page, VIRTIO_ACCEL_DIR_INOUT);
	w->product.args[0].dir = VIRTIO_ACCEL_DIR_IN;
}

static void undo_scattered(struct world *w, bool done)
{
	CHECK(munmap(w->at, SCATTER * (size_t)sysconf(_SC_PAGESIZE)) == 0);
	undo_run(w, done);
}

static void with_buffer_product(struct world *w)
{
	with_mapping(w);
	product_init(&w->product, w->session, 6, 7);
	w->product.args[2] = part(w->buffer.handle, 8, 8, VIRTIO_ACCEL_DIR_OUT);
}

static void undo_buffer_product(struct world *w, bool done)
{
	CHECK(!done || w->product.run.completion.error == 0);
	undo_mapping(w, done);
}

static int try_submit(struct world *w)
{
	return ioctl(w->fd, VACCEL_IOC_SUBMIT, &w->product.run.request);
}

static void undo_submit(struct world *w, bool done)
{
	struct vaccel_ioc_completion c;
	struct vaccel_ioc_reap r = { .completions = (uintptr_t)&c, .max = 1 };

	if (done)
		CHECK(reap_one(w->fd).error == 0 && w->product.c == 42);
	CHECK(ioctl(w->fd, VACCEL_IOC_REAP, &r) == 0 && r.n == 0);
	undo_session(w, done);
}

static void with_submitted(struct world *w)
{
	with_product(w);
	CHECK(try_submit(w) == 0);
}

static int try_reap(struct world *w)
{
	struct vaccel_ioc_completion c;
	struct vaccel_ioc_reap r = { .completions = (uintptr_t)&c, .max = 1, .timeout_ns = -1 };

	return ioctl(w->fd, VACCEL_IOC_REAP, &r);
}

/* A completion that was taken but not reported with a count is not counted on; the request is over in any case. */
static void undo_reap(struct world *w, bool done)
{
	struct vaccel_ioc_completion c;
	struct vaccel_ioc_reap r = { .completions = (uintptr_t)&c, .max = 1 };

	CHECK(ioctl(w->fd, VACCEL_IOC_REAP, &r) == 0 && r.n <= !done);
	undo_session(w, done);
}

static int try_poll(struct world *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLOUT };

	return poll(&p, 1, -1) < 0 ? -1 : 0;
}

static int try_query(struct world *w)
{
	static char room[65536];
	struct vaccel_ioc_query q = { .addr = (uintptr_t)room, .len = sizeof(room) };

	return ioctl(w->fd, VACCEL_IOC_QUERY, &q);
}

/* A slow request in flight, if there is the plugin fault; else one that may be. */
static void with_slow(struct world *w)
{
	with_product(w);
	product_delay(&w->product, 50);
	CHECK(try_submit(w) == 0);
}

static int try_cancel(struct world *w)
{
	struct vaccel_ioc_cancel c = { .id = w->product.run.request.id };
	int ret = ioctl(w->fd, VACCEL_IOC_CANCEL, &c);

	return ret && (errno == EBUSY || errno == ENOENT) ? 0 : ret;
}

static void undo_cancel(struct world *w, bool done)
{
	struct vaccel_ioc_completion c = reap_one(w->fd);

	CHECK(c.error == 0 || c.error == -ECANCELED);
	undo_session(w, done);
}

static int try_close(struct world *w)
{
	return close(w->fd);
}

static void undo_close(struct world *w, bool done)
{
	CHECK(done && w->at[0] == 0x55);
	CHECK(munmap(w->at, w->buffer.size) == 0);
}

static const struct attempt attempts[] = {
	{ "open", with_nothing, try_open, undo_file },
	{ "INFO", with_file, try_info, undo_file },
	{ "SESSION_OPEN", with_file, try_session_open, undo_session_open },
	{ "SESSION_CLOSE", with_session, try_session_close, undo_session_close },
	{ "BUFFER_CREATE", with_session, try_buffer_create, undo_buffer_create },
	{ "BUFFER_DESTROY", with_buffer, try_buffer_destroy, undo_buffer_destroy },
	{ "mmap", with_buffer, try_mmap, undo_mmap },
	{ "fork", with_mapping, try_fork, undo_fork },
	{ "RUN", with_product, try_run, undo_run },
	{ "RUN, scattered", with_scattered, try_run, undo_scattered },
	{ "RUN, buffer", with_buffer_product, try_run, undo_buffer_product },
	{ "SUBMIT", with_product, try_submit, undo_submit },
	{ "REAP", with_submitted, try_reap, undo_reap },
	{ "poll", with_submitted, try_poll, undo_session },
	{ "QUERY", with_file, try_query, undo_file },
	{ "CANCEL", with_slow, try_cancel, undo_cancel },
	{ "close", with_mapping, try_close, undo_close },
};

static void calls(void)
{
	faults_init();
	write_to(LIMIT, "48"); /* of 3 MiB for each attempt that forgets them */
	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		attempt(&attempts[i]);
		all_sessions_come_back();
	}
	write_to(LIMIT, "0");
}

/* ---- Memory is short ---- */

/* The driver gets the device, or not, and lets go of it. */
static void probing(void)
{
	int fd = open(DRIVER "/bind", O_WRONLY | O_CLOEXEC), refused = 0;
	char bound[64];

	CHECK(fd >= 0);
	faults_init();
	find_bound(bound, sizeof(bound));
	for (int round = 0; round < 40; round++) {
		struct world w = { 0 };

		starve("3");
		write_to(DRIVER "/unbind", bound);
		if (write(fd, bound, strlen(bound)) < 0) {
			CHECK(errno == ENOMEM);
			refused++;
			starve("0");
			write_to(DRIVER "/bind", bound);
		}
		starve("0");
		wait_for_device();
		with_session(&w);
		undo_session(&w, true);
	}
	printf("  the device could not be taken in %d of 40 rounds\n", refused);
	CHECK(close(fd) == 0);
}

/* One user's life, in which anything may fail for want of memory. Return: whether nothing did. */
static bool live(void)
{
	struct vaccel_ioc_session s = { 0 };
	struct world w = { .fd = open("/dev/vaccel0", O_RDWR | O_CLOEXEC) };
	bool fine;

	if (w.fd < 0) {
		CHECK(errno == ENOMEM);
		return false;
	}
	fine = ioctl(w.fd, VACCEL_IOC_SESSION_OPEN, &s) == 0;
	CHECK(fine || errno == ENOMEM || errno == EDQUOT);
	w.session = s.handle;
	fine = fine && try_buffer_create(&w) == 0 && try_mmap(&w) == 0;
	if (w.at)
		CHECK(w.at[0] == 0 && w.at[LARGE - 1] == 0);
	product_init(&w.product, w.session, 6, 7);
	if (fine && try_run(&w) == 0)
		CHECK(w.product.run.completion.error == 0 && w.product.c == 42);
	fine = fine && try_submit(&w) == 0; /* in flight, most likely, when the file is closed */
	CHECK(close(w.fd) == 0);
	if (w.at)
		CHECK(munmap(w.at, LARGE) == 0);
	return fine;
}

/*
 * Memory is short for whatever the driver does, also behind its callers' backs. When there is memory again, all is as
 * it was: what was closed meanwhile has been closed at the device too.
 */
static void starved(void)
{
	static const char *const percents[] = { "2", "10", "50", "100" };
	int fd, fine, status;

	faults_init();
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
		struct world w = { 0 };

		with_mapping(&w);
		starve(percents[i]);
		for (int child = 0; child < 3; child++) {
			pid_t pid = fork();

			CHECK(pid >= 0);
			if (pid)
				continue;
			for (int round = fine = 0; round < 12; round++)
				fine += live();
			printf("  %s of 100 fail: %d of 12 rounds saw none\n", percents[i], fine);
			fflush(stdout);
			_exit(0);
		}
		CHECK(close(w.fd) == 0); /* with a session and a buffer */
		for (int child = 0; child < 3; child++)
			CHECK(wait(&status) > 0 && status == 0);
		starve("0");
		CHECK(munmap(w.at, LARGE) == 0);
		all_sessions_come_back();
	}
	fd = open_device();
	run_noop(fd, open_session(fd));
}

const struct test failing_tests[] = {
	{ "calls", calls },
	{ "probing", probing },
	{ "starved", starved },
	{ 0 },
};
