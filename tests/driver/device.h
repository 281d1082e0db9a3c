/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of /dev/vaccelN: checks, and the calls that most tests begin with. Every test runs in a process of its
 * own; a check that fails is reported and ends it.
 */
#ifndef TESTS_DRIVER_DEVICE_H
#define TESTS_DRIVER_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "uapi/virtio_accel.h"

struct test {
	const char *name;
	void (*run)(void);
	bool slow; /* needs the plugin fault */
};

extern const struct test ioctl_tests[];
extern const struct test memory_tests[];
extern const struct test async_tests[];
extern const struct test removal_tests[];
extern const struct test failing_tests[];
extern const struct test gone_tests[];

extern const char *gone_file; /* made when the daemon is to be killed */

#define OP_NOOP	 0
#define OP_DGEMM 2
#define OP_NONE	 255 /* served by nothing */

/* The parameters of SGEMM and DGEMM, little-endian as every machine that runs this is. */
struct gemm {
	uint32_t order, transa, transb, reserved;
	uint64_t m, n, k, lda, ldb, ldc;
	double alpha, beta;
};

_Noreturn void fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void skip(const char *why);

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			fail(__FILE__, __LINE__, "%s (errno %d)", #condition, errno); \
	} while (0)

/* The call fails with exactly this errno. */
#define FAILS(error, call) \
	do { \
		long ret_ = (errno = 0, (long)(call)); \
		if (ret_ != -1 || errno != (error)) \
			fail(__FILE__, __LINE__, "%s: %ld, %s instead of %s", #call, ret_, error_name(errno), #error); \
	} while (0)

const char *error_name(int error);

/* These succeed or end the test. */
int open_device(void);
struct vaccel_ioc_info get_info(int fd);
uint32_t open_session(int fd);
struct vaccel_ioc_buffer create_buffer(int fd, uint32_t session, uint64_t size);
void *map_buffer(int fd, const struct vaccel_ioc_buffer *buffer);
void run_noop(int fd, uint32_t session);

int close_session(int fd, uint32_t handle);
int destroy_buffer(int fd, uint32_t handle);
struct vaccel_ioc_arg plain(const void *addr, uint64_t len, uint32_t dir);
struct vaccel_ioc_arg part(uint32_t buffer, uint64_t offset, uint64_t len, uint32_t dir);

/* A DGEMM of 1 x 1, ready to RUN or SUBMIT: c = a * b. It points to itself: neither copy nor free it too early. */
struct product {
	double a, b, c;
	struct gemm gemm;
	struct vaccel_ioc_arg args[3];
	struct vaccel_ioc_run run;
};
void product_init(struct product *p, uint32_t session, double a, double b);

/* The same, after so many milliseconds in the plugin fault. */
void product_delay(struct product *p, uint32_t ms);

/* Takes one completion, waiting for ever. */
struct vaccel_ioc_completion reap_one(int fd);

/* A mapping whose neighbouring pages are far from each other; their number is no multiple of 7. */
char *scattered(size_t n_pages);

/* Makes every session the device has, as soon as they are free again. */
void all_sessions_come_back(void);

/* The virtio device that the driver has. */
#define DRIVER "/sys/bus/virtio/drivers/virtio_accel"
void find_bound(char *name, size_t size);
void write_to(const char *path, const char *text);

/* Until udev or the kernel has made its file. */
void wait_for_device(void);

#endif
