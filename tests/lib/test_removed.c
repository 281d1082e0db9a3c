/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device that is removed: requests end, and an event loop learns of it once. The device is a FIFO and this
 * program's ioctl(), which the library's calls find first; a byte in the FIFO keeps it ready as a removed device is.
 */
#include "fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "uapi/virtio_accel.h"

static char path[] = "/tmp/vaccel-removed.XXXXXX/fifo";
static char url[64];
static bool removed;

static int fail_with(int code)
{
	errno = code;
	return -1;
}

static int device(unsigned long request, void *arg)
{
	struct vaccel_ioc_info *info = arg;
	struct vaccel_ioc_session *session = arg;
	struct vaccel_ioc_request *submit = arg;

	if (removed)
		return fail_with(ENODEV);
	switch (request) {
	case VACCEL_IOC_INFO:
		*info = (struct vaccel_ioc_info){ .abi = VACCEL_IOC_ABI, .version_major = 1, .num_queues = 1 };
		info->max_request_bytes = info->max_buffer_bytes = 1 << 20;
		return 0;
	case VACCEL_IOC_SESSION_OPEN:
		session->handle = 1;
		return 0;
	case VACCEL_IOC_SUBMIT:
		submit->id = 1;
		return 0;
	case VACCEL_IOC_REAP:
		return fail_with(EAGAIN);
	default:
		return fail_with(ENOTTY);
	}
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	return device(request, arg);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void test_removed(void **state)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	const struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	struct vaccel_request *request, *next = NULL;
	struct vaccel_context *context;
	struct vaccel_session *session;
	int fd, other = open(path, O_RDWR | O_CLOEXEC);

	assert_ok(vaccel_context_new(&options, &context));
	assert_ok(vaccel_session_open(context, &session));
	fd = vaccel_context_fd(context);
	assert_ok(fd);
	assert_ok(vaccel_submit(session, &call, &request));
	assert_error(vaccel_context_next(context, &next), -EAGAIN, "completed");
	assert_false(readable(fd));
	assert_int_equal(write(other, "", 1), 1);
	removed = true;
	assert_true(readable(fd));
	assert_ok(vaccel_context_next(context, &next));
	assert_ptr_equal(next, request);
	assert_error(vaccel_request_wait(request, 0), -ENODEV, "went away");
	vaccel_request_free(request);
	assert_error(vaccel_context_next(context, &next), -ENODEV, "lost");
	assert_error(vaccel_context_next(context, &next), -ENODEV, "lost");
	assert_false(readable(fd));
	assert_int_equal(vaccel_noop(session), -ENODEV);
	vaccel_context_free(context);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_removed) };
	char *slash = strrchr(path, '/');
	int r;

	*slash = 0;
	if (!mkdtemp(path))
		return 1;
	*slash = '/';
	if (mkfifo(path, 0600) < 0)
		return 1;
	snprintf(url, sizeof(url), "virtio:%s", path);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	*slash = 0;
	rmdir(path);
	return r;
}
