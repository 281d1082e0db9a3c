/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the driver, through /dev/vaccelN, against a real device: to be run in a guest, whose daemon serves the
 * plugins reference and, for the slow ones, fault. Usage:
 *
 *   ioctl [--device=/dev/vaccel0] [--fault] [--unbind] [--failing] [--gone=FILE] [--list] [NAME...]
 *
 *   --fault    the daemon serves DGEMM with the plugin fault: run the tests that need slow requests too
 *   --unbind   take the driver away from the device under running requests, and give it back (needs root)
 *   --failing  let allocations fail (needs root, and a kernel that can: uml-debug)
 *   --gone     only the test in which the daemon is killed: it makes FILE when that is to happen
 *
 * Prints a line for each test. Exit status: 0 if all passed, 1 if one failed, 77 if there is no device.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define SKIPPED 77

static const char *device = "/dev/vaccel0";
const char *gone_file;

const char *error_name(int error)
{
	const char *name = strerrorname_np(error);

	return error && name ? name : "none";
}

_Noreturn void fail(const char *file, int line, const char *format, ...)
{
	const char *base = strrchr(file, '/');
	va_list args;

	va_start(args, format);
	printf("  %s:%d: ", base ? base + 1 : file, line);
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(1);
}

_Noreturn void skip(const char *why)
{
	printf("  %s\n", why);
	fflush(stdout);
	_exit(SKIPPED);
}

int open_device(void)
{
	int fd = open(device, O_RDWR | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

struct vaccel_ioc_info get_info(int fd)
{
	struct vaccel_ioc_info info;

	CHECK(ioctl(fd, VACCEL_IOC_INFO, &info) == 0);
	return info;
}

uint32_t open_session(int fd)
{
	struct vaccel_ioc_session session = { 0 };

	CHECK(ioctl(fd, VACCEL_IOC_SESSION_OPEN, &session) == 0);
	CHECK(session.handle != 0);
	return session.handle;
}

int close_session(int fd, uint32_t handle)
{
	struct vaccel_ioc_session session = { .handle = handle };

	return ioctl(fd, VACCEL_IOC_SESSION_CLOSE, &session);
}

struct vaccel_ioc_buffer create_buffer(int fd, uint32_t session, uint64_t size)
{
	struct vaccel_ioc_buffer buffer = { .session = session, .size = size };

	CHECK(ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &buffer) == 0);
	CHECK(buffer.handle != 0);
	CHECK(buffer.size >= size);
	return buffer;
}

int destroy_buffer(int fd, uint32_t handle)
{
	struct vaccel_ioc_buffer buffer = { .handle = handle };

	return ioctl(fd, VACCEL_IOC_BUFFER_DESTROY, &buffer);
}

void *map_buffer(int fd, const struct vaccel_ioc_buffer *buffer)
{
	void *at = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)buffer->mmap_offset);

	CHECK(at != MAP_FAILED);
	return at;
}

struct vaccel_ioc_arg plain(const void *addr, uint64_t len, uint32_t dir)
{
	return (struct vaccel_ioc_arg){
		.kind = VIRTIO_ACCEL_ARG_EXTENTS,
		.dir = dir,
		.addr = (uintptr_t)addr,
		.len = len,
	};
}

struct vaccel_ioc_arg part(uint32_t buffer, uint64_t offset, uint64_t len, uint32_t dir)
{
	return (struct vaccel_ioc_arg){
		.kind = VIRTIO_ACCEL_ARG_BUFFER,
		.dir = dir,
		.buffer = buffer,
		.offset = offset,
		.len = len,
	};
}

void run_noop(int fd, uint32_t session)
{
	struct vaccel_ioc_run run = { .request = { .session = session, .op = OP_NOOP, .user_data = 42 } };

	CHECK(ioctl(fd, VACCEL_IOC_RUN, &run) == 0);
	CHECK(run.completion.error == 0);
	CHECK(run.completion.status == VIRTIO_ACCEL_S_OK);
	CHECK(run.completion.user_data == 42);
	CHECK(run.request.id != 0);
	CHECK(run.completion.id == run.request.id);
}

void product_init(struct product *p, uint32_t session, double a, double b)
{
	*p = (struct product){
		.a = a,
		.b = b,
		.c = -1,
		.gemm = { 101, 111, 111, 0, 1, 1, 1, 1, 1, 1, 1, 0 },
		.args = {
			plain(&p->a, sizeof(p->a), VIRTIO_ACCEL_DIR_IN),
			plain(&p->b, sizeof(p->b), VIRTIO_ACCEL_DIR_IN),
			plain(&p->c, sizeof(p->c), VIRTIO_ACCEL_DIR_OUT),
		},
		.run.request = {
			.session = session,
			.op = OP_DGEMM,
			.user_data = (uintptr_t)p,
			.params = (uintptr_t)&p->gemm,
			.params_len = sizeof(p->gemm),
			.args = (uintptr_t)p->args,
			.n_args = 3,
		},
	};
}

void product_delay(struct product *p, uint32_t ms)
{
	/* a NaN that asks the plugin fault for a delay, see plugins/fault/fault.h */
	uint64_t bits = 0x7ff8000200000000u | ms;

	memcpy(&p->gemm.alpha, &bits, sizeof(bits));
}

struct vaccel_ioc_completion reap_one(int fd)
{
	struct vaccel_ioc_completion completion;
	struct vaccel_ioc_reap reap = { .completions = (uintptr_t)&completion, .max = 1, .timeout_ns = -1 };

	CHECK(ioctl(fd, VACCEL_IOC_REAP, &reap) == 0);
	CHECK(reap.n == 1);
	return completion;
}

/* Makes every session the device has, as soon as they are free again. */
void all_sessions_come_back(void)
{
	int fd = open_device(), tries;
	uint32_t max = get_info(fd).max_sessions, n = 0;
	struct vaccel_ioc_session s = { 0 };

	for (tries = 0; n < max && tries < 3000; tries++) {
		if (!ioctl(fd, VACCEL_IOC_SESSION_OPEN, &s)) {
			n++;
			continue;
		}
		CHECK(errno == EDQUOT);
		usleep(10000);
	}
	CHECK(n == max);
	CHECK(close(fd) == 0);
}

void find_bound(char *name, size_t size)
{
	struct dirent *entry;
	DIR *folder = opendir(DRIVER);

	CHECK(folder);
	while ((entry = readdir(folder)))
		if (!strncmp(entry->d_name, "virtio", 6) && strlen(entry->d_name) < size) {
			strcpy(name, entry->d_name);
			break;
		}
	closedir(folder);
	CHECK(entry);
}

void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0);
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	CHECK(close(fd) == 0);
}

void wait_for_device(void)
{
	for (int i = 0; i < 3000 && access(device, F_OK); i++)
		usleep(10000);
	CHECK(access(device, F_OK) == 0);
}

/* Return: whether the test passed. */
static bool run_test(const struct test *test)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		test->run();
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		printf("FAIL %s: cannot run: %s\n", test->name, strerror(errno));
		return false;
	}
	if (WIFSIGNALED(status))
		printf("FAIL %s: killed by signal %d\n", test->name, WTERMSIG(status));
	else if (WEXITSTATUS(status) == SKIPPED)
		printf("skip %s\n", test->name);
	else
		printf("%s %s\n", WEXITSTATUS(status) ? "FAIL" : "ok", test->name);
	return WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == SKIPPED);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "fault", no_argument, NULL, 'f' },
		{ "unbind", no_argument, NULL, 'u' },
		{ "failing", no_argument, NULL, 'm' },
		{ "gone", required_argument, NULL, 'g' },
		{ "list", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	/* Each with the option that asks for it, if any. */
	const struct {
		const struct test *tests;
		int option;
	} tables[] = {
		{ ioctl_tests, 0 },	{ memory_tests, 0 },	{ async_tests, 0 },
		{ failing_tests, 'm' }, { removal_tests, 'u' }, { gone_tests, 'g' },
	};
	bool asked[128] = { 0 };
	int n_failed = 0, n_run = 0;
	size_t i;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == '?')
			return 2;
		device = c == 'd' ? optarg : device;
		gone_file = c == 'g' ? optarg : gone_file;
		asked[c] = true;
	}
	asked[0] = !asked['g']; /* the device does not come back */
	if (!asked['l'] && access(device, F_OK)) {
		printf("skipped: there is no %s\n", device);
		return SKIPPED;
	}
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct test *test;

		for (test = tables[i].tests; asked[tables[i].option] && test->name; test++) {
			if (!wanted(test->name, argv + optind) || (test->slow && !asked['f']))
				continue;
			if (asked['l']) {
				printf("%s\n", test->name);
				continue;
			}
			n_failed += !run_test(test);
			n_run++;
		}
	}
	if (!asked['l'])
		printf("%d tests, %d failed\n", n_run, n_failed);
	return n_failed ? 1 : 0;
}
