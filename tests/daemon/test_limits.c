/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each limit of a tenant: beyond it a request fails with the status of its kind and a sentence that ends in the limit's
 * name and value, the host's metrics count it, and what is within the limit goes on.
 */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "op/limit.h"
#include "util/util.h"

#define PAGE 4096u
/* Too large to be run by the ring's thread. */
#define LARGE 64

static char metrics[96];

static void start(const char *limits)
{
	char config[900];

	snprintf(metrics, sizeof(metrics), "/tmp/vaccel-test-limits-%d", (int)getpid());
	snprintf(config, sizeof(config), "[metrics]\nlisten = unix:%s\n[engine]\nthreads = 2\n[limits]\n%s\n", metrics,
		 limits);
	rig_start(config);
}

static int end(void **state)
{
	unlink(metrics);
	return rig_teardown(state);
}

/* ---- what the host sees ---- */

static uint64_t hits(enum limit limit)
{
	static const char question[] = "GET /metrics HTTP/1.0\r\n\r\n";
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static char text[1 << 18];
	char wanted[96];
	const char *found;
	size_t used = 0;
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, metrics);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(write(fd, question, strlen(question)), strlen(question));
	while ((n = read(fd, text + used, sizeof(text) - used - 1)) > 0)
		used += (size_t)n;
	close(fd);
	text[used] = '\0';
	snprintf(wanted, sizeof(wanted), "vaccel_limit_hits_total{limit=\"%s\"} ", limit_name(limit));
	found = strstr(text, wanted);
	if (!found)
		fail_msg("the metrics have no '%s': %s", wanted, text);
	return strtoull(found + strlen(wanted), NULL, 10);
}

/* ---- what the guest sees ---- */

static void expect_refused(struct guest *g, struct job *job, enum limit limit, uint64_t value, uint32_t status)
{
	char says[64];

	guest_wait(g, 0, job);
	snprintf(says, sizeof(says), "(limits.%s = %llu)", limit_name(limit), (unsigned long long)value);
	if (job->response.status != status || !strstr(job->detail, says))
		fail_msg("status %u '%s' instead of %u '%s'", job->response.status, job->detail, status, says);
	job_free(g, job);
}

/* One request more than there may be. */
static void refused(struct guest *g, struct wire_request *request, enum limit limit, uint64_t value, uint32_t status)
{
	uint64_t before = hits(limit);

	expect_refused(g, guest_send(g, 0, request), limit, value, status);
	assert_int_equal(hits(limit), before + 1);
}

static struct wire_request registration(const struct guest *g, const struct wire_extent *extents, uint32_t n)
{
	struct wire_request request = {
		.type = VIRTIO_ACCEL_T_BUFFER_REGISTER,
		.session = g->session,
		.n_args = 1,
		.n_extents = n,
		.args = { { .kind = VIRTIO_ACCEL_ARG_EXTENTS, .dir = VIRTIO_ACCEL_DIR_INOUT, .n_extents = n } },
		.extents = extents,
	};

	for (uint32_t i = 0; i < n; i++)
		request.args[0].len += extents[i].len;
	return request;
}

static void sessions(void **state)
{
	struct wire_request open = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	struct guest *g, *other;

	start("sessions = 2");
	g = guest_open_all();
	other = guest_open_all();
	refused(g, &open, LIMIT_SESSIONS, 2, VIRTIO_ACCEL_S_LIMIT);
	refused(other, &open, LIMIT_SESSIONS, 2, VIRTIO_ACCEL_S_LIMIT);
	guest_works(g);
	guest_close(other);
	guest_close(g);
}

static void buffers(void **state)
{
	struct wire_request request;
	struct wire_extent one;
	struct guest *g;

	start("buffers = 2");
	g = guest_open_all();
	one = (struct wire_extent){ guest_heap_addr(g, 0), PAGE };
	for (int i = 0; i < 2; i++)
		guest_register(g, &one, 1, VIRTIO_ACCEL_S_OK);
	request = registration(g, &one, 1);
	refused(g, &request, LIMIT_BUFFERS, 2, VIRTIO_ACCEL_S_LIMIT);
	guest_works(g);
	guest_close(g);
}

static void registered_bytes(void **state)
{
	struct wire_request request;
	struct wire_extent large, half;
	struct guest *g;

	start("buffer_bytes = 64K\nregistered_bytes = 96K");
	g = guest_open_all();
	large = (struct wire_extent){ guest_heap_addr(g, 0), 17 * PAGE };
	half = (struct wire_extent){ guest_heap_addr(g, 0), 12 * PAGE };
	request = registration(g, &large, 1);
	refused(g, &request, LIMIT_BUFFER_BYTES, 16 * PAGE, VIRTIO_ACCEL_S_TOOBIG);
	for (int i = 0; i < 2; i++)
		guest_register(g, &half, 1, VIRTIO_ACCEL_S_OK);
	request = registration(g, &half, 1);
	refused(g, &request, LIMIT_REGISTERED_BYTES, 24 * PAGE, VIRTIO_ACCEL_S_LIMIT);
	guest_works(g);
	guest_close(g);
}

/* SGEMM of LARGE with matrix A in n equal pieces, the last first. */
static struct job *send_scattered(struct guest *g, uint32_t n)
{
	const uint64_t bytes = LARGE * LARGE * sizeof(float), piece = bytes / n;
	struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
				    .transa = VACCEL_NO_TRANS,
				    .transb = VACCEL_NO_TRANS,
				    .m = LARGE,
				    .n = LARGE,
				    .k = LARGE,
				    .lda = LARGE,
				    .ldb = LARGE,
				    .ldc = LARGE,
				    .alpha = 1 };
	struct wire_extent extents[40];
	struct wire_request request = { .type = VIRTIO_ACCEL_T_OP,
					.session = g->session,
					.op = VACCEL_OP_SGEMM,
					.n_args = 3,
					.n_extents = n + 2,
					.params_len = sizeof(gemm),
					.extents = extents,
					.params = &gemm };

	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	for (uint32_t i = 0; i < n; i++)
		extents[i] = (struct wire_extent){ guest_heap_addr(g, (n - 1 - i) * piece), piece };
	for (uint32_t i = 0; i < 3; i++)
		request.args[i] = (struct wire_arg){ .kind = VIRTIO_ACCEL_ARG_EXTENTS,
						     .dir = i < 2 ? VIRTIO_ACCEL_DIR_IN : VIRTIO_ACCEL_DIR_OUT,
						     .n_extents = i == 0 ? n : 1,
						     .len = bytes };
	for (uint32_t i = 1; i < 3; i++)
		extents[n + i - 1] = (struct wire_extent){ guest_heap_addr(g, i * bytes), bytes };
	return guest_send(g, 0, &request);
}

static void gathered_bytes(void **state)
{
	struct guest *g;
	struct job *job;

	start("gathered_bytes = 12K\nextents = 18");
	g = guest_open_all();
	expect_refused(g, send_scattered(g, 2), LIMIT_GATHERED_BYTES, 12 << 10, VIRTIO_ACCEL_S_LIMIT);
	assert_int_equal(hits(LIMIT_GATHERED_BYTES), 1);
	expect_refused(g, send_scattered(g, 32), LIMIT_EXTENTS, 18, VIRTIO_ACCEL_S_TOOBIG);
	assert_int_equal(hits(LIMIT_EXTENTS), 1);
	/* In one piece nothing is gathered. */
	job = guest_wait(g, 0, send_scattered(g, 1));
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	job_free(g, job);
	guest_close(g);
}

static void request_bytes(void **state)
{
	struct product p = { NULL, LARGE, 0, 1, 0 };
	struct guest *g;

	start("request_bytes = 32K");
	g = p.guest = guest_open_all();
	expect_refused(g, product_send(&p, 0), LIMIT_REQUEST_BYTES, 32 << 10, VIRTIO_ACCEL_S_TOOBIG);
	assert_int_equal(hits(LIMIT_REQUEST_BYTES), 1);
	guest_works(g);
	guest_close(g);
}

static void expect_right(struct guest *g, struct job *job, const struct product *product)
{
	guest_wait(g, 0, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(product);
	job_free(g, job);
}

/* Two requests hang in both threads until their worker is killed; the others wait behind them. */
static void requests(void **state)
{
	const uint64_t step = 3 * LARGE * LARGE * sizeof(float);
	struct wire_request noop = { .type = VIRTIO_ACCEL_T_OP, .op = VACCEL_OP_NOOP };
	struct product products[4];
	struct job *jobs[4];
	struct guest *g[2];

	start("requests = 3\ntotal_requests = 4");
	g[0] = guest_open_all();
	g[1] = guest_open_all();
	for (uint32_t i = 0; i < 4; i++) {
		double alpha = i < 2 ? fault_alpha(FAULT_HANG, 1, i) : 1;

		products[i] = (struct product){ g[i == 3], LARGE, i * step, alpha, 0 };
		product_fill(&products[i]);
		jobs[i] = product_send(&products[i], 0);
		if (i == 2) {
			noop.session = g[0]->session;
			refused(g[0], &noop, LIMIT_REQUESTS, 3, VIRTIO_ACCEL_S_LIMIT);
		}
	}
	noop.session = g[1]->session;
	refused(g[1], &noop, LIMIT_TOTAL_REQUESTS, 4, VIRTIO_ACCEL_S_LIMIT);
	assert_int_equal(hits(LIMIT_REQUESTS), 1);
	rig_kill_worker();
	for (uint32_t i = 0; i < 4; i++)
		expect_right(g[i == 3], jobs[i], &products[i]);
	/* The counts are the tenant's, not the worker's. */
	assert_int_equal(hits(LIMIT_REQUESTS), 1);
	guest_works(g[0]);
	guest_works(g[1]);
	guest_close(g[1]);
	guest_close(g[0]);
}

static void op_time(void **state)
{
	struct product p = { NULL, LARGE, 0, fault_alpha(FAULT_HANG, 0, 1), 0 };
	struct guest *g;

	start("op_time_ms = 200");
	g = p.guest = guest_open_all();
	product_fill(&p);
	expect_refused(g, product_send(&p, 0), LIMIT_OP_TIME, 200, VIRTIO_ACCEL_S_DEADLINE);
	assert_int_equal(hits(LIMIT_OP_TIME), 1);
	guest_works(g);
	guest_close(g);
}

static int raw_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, rig_daemon.socket);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Beyond it nobody is there to be told: the connection is closed. */
static void connections(void **state)
{
	struct guest *g;
	uint64_t before;
	int fds[3];

	start("connections = 2");
	g = guest_open_all();
	before = hits(LIMIT_CONNECTIONS);
	/* One of them takes what is left, if the connection that start() tried is gone by then. */
	for (int i = 0; i < 3; i++)
		fds[i] = raw_connect();
	for (int i = 0; i < 3000 && hits(LIMIT_CONNECTIONS) < before + 2; i++)
		usleep(20000);
	assert_in_range(hits(LIMIT_CONNECTIONS), before + 2, before + 3);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	guest_works(g);
	guest_close(g);
}

#define T(name) cmocka_unit_test_teardown(name, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sessions),	  T(buffers),  T(registered_bytes), T(gathered_bytes),
		T(request_bytes), T(requests), T(op_time),	    T(connections),
	};
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
