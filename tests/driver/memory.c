/* SPDX-License-Identifier: Apache-2.0 */
/* Registered buffers and plain memory of /dev/vaccelN. How to run: device.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static void buffer_fields(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	uint32_t s = open_session(fd);
	struct vaccel_ioc_buffer b;

	b = (struct vaccel_ioc_buffer){ .session = s };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	b = (struct vaccel_ioc_buffer){ .session = s, .size = 1, .flags = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	b = (struct vaccel_ioc_buffer){ .session = s, .size = 1, .reserved = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	b = (struct vaccel_ioc_buffer){ .session = s + 1000, .size = 1 };
	FAILS(EBADF, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	b = (struct vaccel_ioc_buffer){ .session = s, .size = UINT64_MAX };
	FAILS(E2BIG, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	if (i.max_buffer_bytes < UINT64_MAX) {
		b = (struct vaccel_ioc_buffer){ .session = s, .size = i.max_buffer_bytes + 1 };
		FAILS(E2BIG, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
	}
	b = (struct vaccel_ioc_buffer){ .handle = 1, .flags = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_BUFFER_DESTROY, &b));
	b = (struct vaccel_ioc_buffer){ .handle = 1, .reserved = 1 };
	FAILS(EINVAL, ioctl(fd, VACCEL_IOC_BUFFER_DESTROY, &b));
	FAILS(ENXIO, destroy_buffer(fd, 0));
	FAILS(ENXIO, destroy_buffer(fd, 4711));
	b = create_buffer(fd, s, 1);
	CHECK(b.size == page_size());
	CHECK(destroy_buffer(fd, b.handle) == 0);
	FAILS(ESTALE, destroy_buffer(fd, b.handle));
	CHECK(close_session(fd, s) == 0);
	b = (struct vaccel_ioc_buffer){ .session = s, .size = 1 };
	FAILS(ESTALE, ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b));
}

static void buffer_limit(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	uint32_t s = open_session(fd), n, last = 0;
	struct vaccel_ioc_buffer b;

	for (n = 0; n <= i.max_buffers; n++) {
		b = (struct vaccel_ioc_buffer){ .session = s, .size = 1 };
		if (ioctl(fd, VACCEL_IOC_BUFFER_CREATE, &b))
			break;
		last = b.handle;
	}
	CHECK(errno == EDQUOT);
	CHECK(n && n <= i.max_buffers);
	CHECK(destroy_buffer(fd, last) == 0);
	create_buffer(fd, s, 1);
}

static void buffer_map(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	size_t page = page_size(), n;
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 3 * page - 5);
	off_t offset = (off_t)b.mmap_offset;
	unsigned char *at;

	CHECK(b.size == 3 * page);
#define MAP(len, flags, off) \
	((intptr_t)mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, off) == -1 ? -1 : 0)
	FAILS(EINVAL, MAP(page, MAP_SHARED, offset));
	FAILS(EINVAL, MAP(4 * page, MAP_SHARED, offset));
	FAILS(EINVAL, MAP(3 * page, MAP_PRIVATE, offset));
	FAILS(ENXIO, MAP(3 * page, MAP_SHARED, 0));
	FAILS(ENXIO, MAP(3 * page, MAP_SHARED, offset + (off_t)(1000 * page)));
	FAILS(ENXIO, MAP(3 * page, MAP_SHARED, (off_t)(1ull << 55)));
#undef MAP
	at = map_buffer(fd, &b);
	for (n = 0; n < b.size; n++)
		CHECK(at[n] == 0);
	CHECK(mremap(at, b.size, b.size + page, MREMAP_MAYMOVE) == MAP_FAILED);
	memset(at, 0xaa, b.size);
	/* the memory is there for as long as the mapping is, whatever becomes of handle, session and file */
	CHECK(destroy_buffer(fd, b.handle) == 0);
	FAILS(ESTALE, (intptr_t)mmap(NULL, b.size, PROT_READ, MAP_SHARED, fd, offset));
	CHECK(at[0] == 0xaa && at[b.size - 1] == 0xaa);
	CHECK(close_session(fd, s) == 0);
	CHECK(close(fd) == 0);
	CHECK(at[0] == 0xaa && at[b.size - 1] == 0xaa);
	CHECK(munmap(at + page, page) == 0);
	at[2 * page] = 1;
	CHECK(munmap(at, b.size) == 0);
}

static void buffer_large(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	uint64_t size = 12 << 20 | 12 << 10;
	struct vaccel_ioc_buffer b;
	uint64_t *at;
	size_t n;

	if (i.max_buffer_bytes < size)
		skip("the device takes no buffers of 12 MiB");
	b = create_buffer(fd, open_session(fd), size);
	at = map_buffer(fd, &b);
	for (n = 0; n < size / 8; n++)
		CHECK(at[n] == 0);
	for (n = 0; n < size / 8; n++)
		at[n] = n;
	for (n = 0; n < size / 8; n++)
		CHECK(at[n] == n);
}

static void buffer_use(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd), other = open_session(fd);
	struct vaccel_ioc_buffer b = create_buffer(fd, s, 2 * page_size());
	struct vaccel_ioc_buffer stale = create_buffer(fd, s, 1);
	double *at = map_buffer(fd, &b);
	size_t last = b.size / 8 - 1;
	struct product p;

	at[0] = 4;
	at[100] = 5;
	product_init(&p, s, 0, 0);
	p.args[0] = part(b.handle, 0, 8, VIRTIO_ACCEL_DIR_IN);
	p.args[1] = part(b.handle, 800, 8, VIRTIO_ACCEL_DIR_IN);
	p.args[2] = part(b.handle, last * 8, 8, VIRTIO_ACCEL_DIR_OUT);
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(p.run.completion.error == 0);
	CHECK(at[last] == 20);

	p.args[2].offset = last * 8 + 8;
	FAILS(ERANGE, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	p.args[2].offset = last * 8 + 1;
	FAILS(ERANGE, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	p.args[2].offset = UINT64_MAX;
	FAILS(ERANGE, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	p.args[2].offset = 0;
	CHECK(destroy_buffer(fd, stale.handle) == 0);
	p.args[2].buffer = stale.handle;
	FAILS(ESTALE, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	p.args[2].buffer = b.handle;
	p.run.request.session = other;
	FAILS(ENXIO, ioctl(fd, VACCEL_IOC_RUN, &p.run));

	/* the mapping is plain memory too */
	product_init(&p, s, 8, 9);
	p.args[2].addr = (uintptr_t)&at[7];
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	CHECK(p.run.completion.error == 0);
	CHECK(at[7] == 72);

	/* with its session goes the buffer */
	CHECK(close_session(fd, s) == 0);
	FAILS(ESTALE, destroy_buffer(fd, b.handle));
	CHECK(at[7] == 72);
}

/* The last process that maps it, not the one that made it, holds the memory. */
static void buffer_shared(void)
{
	int fd = open_device();
	struct vaccel_ioc_buffer b = create_buffer(fd, open_session(fd), page_size());
	volatile int *at = map_buffer(fd, &b);
	int pipes[2], status;
	pid_t pid;
	char c;

	CHECK(pipe(pipes) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(pipes[1]);
		close(fd);
		CHECK(read(pipes[0], &c, 1) == 0); /* the parent has let go of it */
		_exit(at[3] != 99);
	}
	at[3] = 99;
	CHECK(munmap((void *)at, b.size) == 0);
	CHECK(destroy_buffer(fd, b.handle) == 0);
	CHECK(close(fd) == 0);
	CHECK(close(pipes[1]) == 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* c = A * B for A of 1 x n and B of n x 1, at odd addresses, over many pages. */
static void dot(int fd, uint32_t session, double *a, double *b, uint64_t n)
{
	struct product p;
	double sum = 0;
	uint64_t i;

	for (i = 0; i < n; i++) {
		a[i] = (double)(i % 7);
		b[i] = (double)(i % 5);
		sum += a[i] * b[i];
	}
	product_init(&p, session, 0, 0);
	p.gemm.k = n;
	p.gemm.lda = n;
	p.args[0] = plain(a, n * 8, VIRTIO_ACCEL_DIR_IN);
	p.args[1] = plain(b, n * 8, VIRTIO_ACCEL_DIR_IN);
	CHECK(ioctl(fd, VACCEL_IOC_RUN, &p.run) == 0);
	if (p.run.completion.error)
		fail(__FILE__, __LINE__, "%s: %s", error_name(-p.run.completion.error), p.run.completion.detail);
	CHECK(p.c == sum);
}

static void plain_offsets(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	size_t n = 3000, page = page_size(), offset;
	char *memory = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	for (offset = 0; offset < 2 * page; offset += page / 8 + 8)
		dot(fd, s, (double *)(memory + offset), (double *)(memory + 32 * page + 2 * offset), n);
	dot(fd, s, (double *)memory, (double *)memory, 1);
}

/* A mapping whose neighbouring pages are far from each other in its file, and so most likely in memory. */
char *scattered(size_t n_pages)
{
	size_t page = page_size(), i;
	int fd = memfd_create("scattered", MFD_CLOEXEC);
	char *at = mmap(NULL, n_pages * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *fill = mmap(NULL, n_pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(fd >= 0 && at != MAP_FAILED && fill != MAP_FAILED);
	CHECK(n_pages % 7 && ftruncate(fd, (off_t)(n_pages * page)) == 0);
	for (i = 0; i < n_pages; i++)
		fill[i * page] = 1; /* in the order of the file */
	for (i = 0; i < n_pages; i++)
		CHECK(mmap(at + i * page, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			   (off_t)(i * 7 % n_pages * page)) != MAP_FAILED);
	CHECK(munmap(fill, n_pages * page) == 0 && close(fd) == 0);
	return at;
}

static void plain_scattered(void)
{
	int fd = open_device();
	uint32_t s = open_session(fd);
	size_t page = page_size();
	char *memory = scattered(512);

	dot(fd, s, (double *)(memory + 24), (double *)(memory + 256 * page + 8), 250 * page / 8);
}

static void plain_too_scattered(void)
{
	int fd = open_device();
	struct vaccel_ioc_info i = get_info(fd);
	size_t page = page_size(), n = i.max_extents / 7 * 8 + 16;
	uint32_t s = open_session(fd);
	struct product p;

	n += n % 7 == 0;
	if (n > 30000 || n * page > i.max_request_bytes)
		skip("as many extents as the device takes cannot be had");
	product_init(&p, s, 1, 2);
	p.args[0] = plain(scattered(n), n * page, VIRTIO_ACCEL_DIR_IN);
	FAILS(E2BIG, ioctl(fd, VACCEL_IOC_RUN, &p.run));
	run_noop(fd, s);
}

const struct test memory_tests[] = {
	{ "buffer-fields", buffer_fields },
	{ "buffer-limit", buffer_limit },
	{ "buffer-map", buffer_map },
	{ "buffer-large", buffer_large },
	{ "buffer-use", buffer_use },
	{ "buffer-shared", buffer_shared },
	{ "plain-offsets", plain_offsets },
	{ "plain-scattered", plain_scattered },
	{ "plain-too-scattered", plain_too_scattered },
	{ 0 },
};
