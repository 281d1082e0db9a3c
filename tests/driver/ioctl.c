/* SPDX-License-Identifier: Apache-2.0 */
/* Every ioctl of /dev/vaccelN and every way in which it must refuse. How to run: device.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

#define BAD ((void *)8)

static void info(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);

	CHECK(i.abi == VACCEL_IOC_ABI);
	CHECK(i.version_major == VIRTIO_ACCEL_VERSION_MAJOR);
	CHECK(i.num_queues >= 1);
	CHECK(i.max_sessions && i.max_buffers && i.max_args && i.max_extents && i.max_params_len);
	CHECK(i.max_buffer_bytes && i.max_request_bytes);
	CHECK(!i.reserved0 && !i.reserved[0] && !i.reserved[1] && !i.reserved[2] && !i.reserved[3]);
	CHECK(i.features & 1ull << 32); /* VIRTIO_F_VERSION_1 */
	CHECK(i.ops[0] & 1);
	FAILS(EFAULT, ioctl(fd, VACCEL_IOC_INFO, BAD));
}

static void unknown(void)
{
	int fd = open_device();
	char data[512] = { 0 };

	FAILS(ENOTTY, ioctl(fd, _IO(VACCEL_IOC_MAGIC, 0x0a), data));
	FAILS(ENOTTY, ioctl(fd, _IO(VACCEL_IOC_MAGIC, 0x00), data));
	FAILS(ENOTTY, ioctl(fd, _IOWR(VACCEL_IOC_MAGIC, 0x06, char[16]), data));
	FAILS(ENOTTY, ioctl(fd, _IOR('v', 0x00, struct vaccel_ioc_info), data));
	FAILS(EINVAL, read(fd, data, sizeof(data)));
	FAILS(EINVAL, write(fd, data, sizeof(data)));
	FAILS(ESPIPE, lseek(fd, 0, SEEK_SET));
}

static void addresses(void)
{
	static const unsigned long commands[] = {
		VACCEL_IOC_INFO, VACCEL_IOC_SESSION_OPEN, VACCEL_IOC_SESSION_CLOSE, VACCEL_IOC_BUFFER_CREATE,
		VACCEL_IOC_BUFFER_DESTROY, VACCEL_IOC_SUBMIT, VACCEL_IOC_RUN, VACCEL_IOC_REAP, VACCEL_IOC_CANCEL,
		VACCEL_IOC_QUERY,
	};
	int fd = open_device();
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		FAILS(EFAULT, ioctl(fd, commands[i], NULL));
		FAILS(EFAULT, ioctl(fd, commands[i], BAD));
		FAILS(EFAULT, ioctl(fd, commands[i], (void *)~0xfffull));
	}
}

static void session(void)
{
	struct vaccel_ioc_session s = { .flags = 1 };
	int fd = open_device(), other = open_device();
	uint32_t handle;

	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_SESSION_OPEN, &s));
	handle = open_session(fd);
	s.handle = handle;
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_SESSION_CLOSE, &s));
	run_noop(fd, handle);
	FAILS(EBADF, close_session(fd, 0));
	FAILS(EBADF, close_session(fd, handle + 1000));
	FAILS(EBADF, close_session(fd, UINT32_MAX));
	FAILS(EBADF, close_session(other, handle));
	CHECK(close_session(fd, handle) == 0);
	FAILS(ESTALE, close_session(fd, handle));
	CHECK(open_session(fd) != handle);
}

static void session_limit(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	struct vaccel_ioc_session s = { 0 };
	uint32_t n, last = 0;

	for (n = 0; n <= i.max_sessions && !ioctl(fd, VACCEL_IOC_SESSION_OPEN, &s); n++) {
		last = s.handle;
		s = (struct vaccel_ioc_session){ 0 };
	}
	CHECK(errno == EDQUOT);
	CHECK(n <= i.max_sessions && n > 0);
	CHECK(close_session(fd, last) == 0);
	run_noop(fd, open_session(fd));
}

static void run(void)
{
	int fd = open_device();
	struct product p;

	product_init(&p, open_session(fd), 6, 7);
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(p.run.completion.error == 0);
	CHECK(p.run.completion.user_data == (uintptr_t)&p);
	CHECK(p.run.completion.id == p.run.request.id);
	CHECK(p.c == 42);
	CHECK(p.a == 6 && p.b == 7);
}

/* Like RUN, SUBMIT refuses what is wrong with the request itself. */
static void refused(int fd, int error, const struct vaccel_ioc_request *request, int line)
{
	struct vaccel_ioc_run whole = { .request = *request };
	struct vaccel_ioc_request alone = *request;

	errno = 0;
	if (ioctl(fd, VACCEL_IOC_RUN, &whole) != -1 || errno != error)
		fail(__FILE__, line, "RUN: %s instead of %s", error_name(errno), error_name(error));
	errno = 0;
	if (ioctl(fd, VACCEL_IOC_SUBMIT, &alone) != -1 || errno != error)
		fail(__FILE__, line, "SUBMIT: %s instead of %s", error_name(errno), error_name(error));
}

#define REFUSED(error, ...) \
	do { \
		struct product p_; \
		product_init(&p_, session_, 2, 3); \
		struct vaccel_ioc_request *r = &p_.run.request; \
		struct vaccel_ioc_arg *a = p_.args; \
		(void)a; \
		__VA_ARGS__; \
		refused(fd, error, r, __LINE__); \
	} while (0)

static void request_fields(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	uint32_t session_ = open_session(fd), stale = open_session(fd);

	CHECK(close_session(fd, stale) == 0);
	REFUSED(EBADF, r->session = 0);
	REFUSED(EBADF, r->session = stale + 1000);
	REFUSED(ESTALE, r->session = stale);
	REFUSED(EINVAL, r->flags = 1);
	REFUSED(EINVAL, r->flags = 0x80000000);
	REFUSED(EINVAL, r->reserved = 1);
	REFUSED(E2BIG, r->n_args = i.max_args + 1);
	REFUSED(E2BIG, r->n_args = UINT32_MAX);
	REFUSED(E2BIG, r->params_len = i.max_params_len + 1);
	REFUSED(E2BIG, r->params_len = UINT32_MAX);
	REFUSED(EFAULT, r->args = 0);
	REFUSED(EFAULT, r->args = ~0ull);
	REFUSED(EFAULT, r->params = 0);
	REFUSED(EFAULT, r->params = ~0ull);
	if (!(i.features & 1 << VIRTIO_ACCEL_F_DEADLINE))
		REFUSED(EOPNOTSUPP, r->deadline_ms = 1);
	else if (i.max_deadline_ms && i.max_deadline_ms < UINT32_MAX)
		REFUSED(E2BIG, r->deadline_ms = i.max_deadline_ms + 1);
	run_noop(fd, session_);
}

static void request_args(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	uint32_t session_ = open_session(fd);

	REFUSED(EINVAL, a[1].kind = 0);
	REFUSED(EINVAL, a[1].kind = 3);
	REFUSED(EINVAL, a[2].dir = 0);
	REFUSED(EINVAL, a[2].dir = 4);
	REFUSED(EINVAL, a[0].reserved = 1);
	REFUSED(EINVAL, a[0].buffer = 1);
	REFUSED(EINVAL, a[0].offset = 1);
	REFUSED(EINVAL, a[0] = part(1, 0, 8, VIRTIO_ACCEL_DIR_IN), a[0].addr = 8);
	REFUSED(ENXIO, a[0] = part(0, 0, 8, VIRTIO_ACCEL_DIR_IN));
	REFUSED(ENXIO, a[0] = part(77, 0, 8, VIRTIO_ACCEL_DIR_IN));
	REFUSED(EFAULT, a[2].addr = 8);
	REFUSED(EFAULT, a[0].addr = 0xffffffffff600000); /* beyond all user memory */
	REFUSED(EFAULT, a[0].addr = ~7ull);
	REFUSED(EFAULT, a[0].addr = ~0ull);
	if (i.max_request_bytes < UINT64_MAX)
		REFUSED(E2BIG, a[0].len = i.max_request_bytes + 1);
	if (i.max_request_bytes < UINT64_MAX)
		REFUSED(E2BIG, a[0].len = i.max_request_bytes, a[1].len = 1);
	REFUSED(E2BIG, a[0].len = UINT64_MAX, a[1].len = UINT64_MAX);
	REFUSED(E2BIG, a[2].len = UINT64_MAX);
	run_noop(fd, session_);
}

static void protections(void)
{
	long page = sysconf(_SC_PAGESIZE);
	int fd = open_device();
	uint32_t session_ = open_session(fd);
	double *ro = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double *none = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct product p;

	CHECK(ro != MAP_FAILED && none != MAP_FAILED && two != MAP_FAILED);
	CHECK(munmap(two + page, page) == 0);
	REFUSED(EFAULT, a[2].addr = (uintptr_t)ro);
	REFUSED(EFAULT, a[2].addr = (uintptr_t)ro, a[2].dir = VIRTIO_ACCEL_DIR_INOUT);
	REFUSED(EFAULT, a[0].addr = (uintptr_t)none);
	REFUSED(EFAULT, a[0].addr = (uintptr_t)two + page - 4); /* ends in what is not mapped */
	REFUSED(EFAULT, a[0].addr = (uintptr_t)two + page - 8, a[0].len = 9);

	product_init(&p, session_, 0, 3); /* reading what may only be read */
	p.args[0].addr = (uintptr_t)ro;
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(p.run.completion.error == 0 && p.c == 0);
}

/* What only the device can refuse is a completion, not a failed call. */
static void device_errors(void)
{
	int fd = open_device();
	struct vaccel_ioc_completion *c;
	uint32_t session_ = open_session(fd);
	struct product p;

	product_init(&p, session_, 2, 3);
	p.run.request.op = OP_NONE;
	c = &p.run.completion;
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(c->status == VIRTIO_ACCEL_S_UNSUPPORTED && c->error == -EOPNOTSUPP);
	CHECK(c->detail_len > 0 && c->detail_len < VACCEL_IOC_DETAIL);
	CHECK(strlen(c->detail) == c->detail_len);

	product_init(&p, session_, 2, 3);
	p.gemm.lda = 0;
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(c->status == VIRTIO_ACCEL_S_INVAL && c->error == -EINVAL);

	product_init(&p, session_, 2, 3);
	p.args[2].len = 4; /* smaller than the result */
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(c->status == VIRTIO_ACCEL_S_RANGE && c->error == -ERANGE);
	CHECK(p.c == -1);

	product_init(&p, session_, 2, 3);
	p.run.request.params_len = 8;
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(c->error != 0);
	run_noop(fd, session_);
}

static void query(void)
{
	int fd = open_device();
	struct {
		struct virtio_accel_info info;
		struct virtio_accel_op_info ops[256];
		char beyond[8];
	} all;
	struct vaccel_ioc_query q = { .addr = (uintptr_t)&all, .len = sizeof(all) };
	uint64_t total;

	memset(&all, 0x5a, sizeof(all));
	CHECK(ioctl(fd, VACCEL_IOC_QUERY, &q) == 0);
	total = q.len;
	CHECK(total >= sizeof(all.info) && total < sizeof(all));
	CHECK(total == sizeof(all.info) + all.info.n_ops * sizeof(all.ops[0]));
	CHECK(memchr(all.info.version, 0, sizeof(all.info.version)));
	CHECK(all.beyond[0] == 0x5a);

	memset(&all, 0x5a, sizeof(all));
	q = (struct vaccel_ioc_query){ .addr = (uintptr_t)&all, .len = 4 };
	CHECK(ioctl(fd, VACCEL_IOC_QUERY, &q) == 0);
	CHECK(q.len == total);
	CHECK(((char *)&all)[4] == 0x5a && ((char *)&all)[0] != 0x5a);

	q = (struct vaccel_ioc_query){ 0 };
	CHECK(ioctl(fd, VACCEL_IOC_QUERY, &q) == 0);
	CHECK(q.len == total);

	q = (struct vaccel_ioc_query){ .addr = 8, .len = 64 };
	FAILS(EFAULT, ioctl(fd, VACCEL_IOC_QUERY, &q));
	q = (struct vaccel_ioc_query){ .reserved = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_QUERY, &q));
	q = (struct vaccel_ioc_query){ .what = 4711, .addr = (uintptr_t)&all, .len = sizeof(all) };
	CHECK(ioctl(fd, VACCEL_IOC_QUERY, &q) == -1 && errno != EFAULT);
}

/* A child that inherited the file uses its session; that it ends takes nothing from the parent. */
static void inherited(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	int status;
	pid_t pid;

	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		struct product p;

		product_init(&p, s, 3, 5);
		_exit(ioctl(fd, VACCEL_IOC_RUN, &p.run) || p.run.completion.error || p.c != 15);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	run_noop(fd, s);
}

const struct test ioctl_tests[] = {
	{ "info", info },
	{ "unknown", unknown },
	{ "addresses", addresses },
	{ "session", session },
	{ "session-limit", session_limit },
	{ "run", run },
	{ "request-fields", request_fields },
	{ "request-args", request_args },
	{ "protections", protections },
	{ "device-errors", device_errors },
	{ "query", query },
	{ "inherited", inherited },
	{ 0 },
};
