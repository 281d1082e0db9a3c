/* SPDX-License-Identifier: Apache-2.0 */
/* See rig.h. */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <vaccel/ops.h>

#include "util/util.h"

#define WAIT_STEPS 3000 /* of 20 ms */

struct daemon rig_daemon;

void rig_start(const char *config)
{
	char text[1024];

	snprintf(text, sizeof(text), "[order]\ndefault = fault reference\n%s", config);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	/* Where plugin fault keeps its counts. */
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	assert_int_equal(daemon_start(&rig_daemon), 0);
}

void rig_stop(void)
{
	daemon_stop(&rig_daemon);
}

/* Ended counts, whether or not anybody has collected it. */
static bool is_gone(pid_t pid)
{
	char path[64], line[256] = "";
	const char *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return true;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	state = strrchr(line, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

pid_t rig_worker(pid_t but)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)rig_daemon.pid, (int)rig_daemon.pid);
	for (int i = 0; i < WAIT_STEPS; i++) {
		FILE *file = fopen(path, "re");
		int pid = 0;

		assert_non_null(file);
		if (fscanf(file, "%d", &pid) != 1)
			pid = 0;
		fclose(file);
		if (pid && pid != but && !is_gone(pid))
			return pid;
		usleep(20000);
	}
	fail_msg("there is no (new) worker");
	return 0;
}

void rig_wait_gone(pid_t pid)
{
	for (int i = 0; i < WAIT_STEPS; i++) {
		if (is_gone(pid))
			return;
		usleep(20000);
	}
	fail_msg("process %d does not end", (int)pid);
}

pid_t rig_kill_worker(void)
{
	pid_t pid;

	/* One that was killed before may have answered before it died, and end between the look and the kill. */
	do
		pid = rig_worker(0);
	while (kill(pid, SIGKILL) < 0 && errno == ESRCH);
	return pid;
}

/* ---- guest ---- */

void guest_start_queue(struct guest *g, unsigned int queue)
{
	uint8_t *memory = (uint8_t *)g->rings->data + queue * ((dring_bytes(RING_SIZE) + 4095) & ~4095ul);
	struct error error = { 0 };

	memset(memory, 0, dring_bytes(RING_SIZE));
	assert_int_equal(
		dring_init(&g->ring[queue], memory, RING_SIZE, frontend_has_feature(g->frontend, VHOST_F_EVENT_IDX)),
		0);
	if (frontend_queue_start(g->frontend, queue, &g->ring[queue], g->rings, g->kick[queue], g->call[queue], &error))
		fail_msg("%s", error.text);
}

struct guest *guest_open(uint64_t features, uint64_t protocol_features)
{
	const struct frontend_options options = { .features = features,
						  .protocol_features = protocol_features,
						  .timeout_ms = 60000 };
	struct guest *g = calloc(1, sizeof(*g));
	struct error error = { 0 };

	assert_non_null(g);
	g->next_id = 1;
	if (frontend_connect(rig_daemon.socket, &options, &g->frontend, &error) < 0 ||
	    frontend_region_new(g->frontend, 65536, &g->rings, &error) < 0 ||
	    frontend_region_new(g->frontend, DATA_SIZE, &g->data, &error) < 0)
		fail_msg("%s", error.text);
	for (unsigned int i = 0; i < QUEUES; i++) {
		g->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		g->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		guest_start_queue(g, i);
	}
	g->session = guest_session(g);
	return g;
}

void guest_close(struct guest *g)
{
	frontend_free(g->frontend);
	for (unsigned int i = 0; i < QUEUES; i++) {
		dring_fini(&g->ring[i]);
		close(g->kick[i]);
		close(g->call[i]);
	}
	free(g);
}

struct job *guest_send_bytes(struct guest *g, unsigned int queue, const void *message, size_t len, size_t response_room)
{
	unsigned int slot = 0;
	struct dring_buf bufs[2];
	uint64_t base;
	struct job *job;

	while (g->slot_used[slot])
		assert_true(++slot < SLOTS);
	assert_true(len <= SLOT_SIZE / 2 && response_room <= SLOT_SIZE / 2);
	job = &g->jobs[slot];
	*job = (struct job){ .slot = slot };
	g->slot_used[slot] = true;
	base = slot * SLOT_SIZE;
	memcpy((char *)g->data->data + base, message, len);
	memset((char *)g->data->data + base + SLOT_SIZE / 2, 0xee, response_room);
	bufs[0] = (struct dring_buf){ .addr = g->data->guest_addr + base, .len = (uint32_t)len };
	bufs[1] = (struct dring_buf){ .addr = g->data->guest_addr + base + SLOT_SIZE / 2,
				      .len = (uint32_t)response_room,
				      .writable = true };
	assert_int_equal(dring_add(&g->ring[queue], bufs, response_room ? 2 : 1, NULL, job), 0);
	if (dring_publish(&g->ring[queue]))
		assert_int_equal(eventfd_write(g->kick[queue], 1), 0);
	return job;
}

struct job *guest_send(struct guest *g, unsigned int queue, struct wire_request *request)
{
	uint8_t message[SLOT_SIZE / 2];

	request->id = g->next_id++;
	assert_true(wire_encoded_len(request) <= sizeof(message));
	wire_encode(request, message);
	return guest_send_bytes(g, queue, message, wire_encoded_len(request), 512);
}

void guest_poll(struct guest *g, unsigned int queue)
{
	struct error error = { 0 };
	void *token;
	uint32_t len;
	int r;

	while ((r = dring_pop(&g->ring[queue], &token, &len, &error)) > 0) {
		struct job *job = token;
		const char *bytes = (const char *)g->data->data + job->slot * SLOT_SIZE + SLOT_SIZE / 2;

		assert_false(job->done);
		job->done = true;
		job->written = len;
		if (len == 0)
			continue;
		assert_int_equal(wire_decode_response(bytes, len, &job->response), 0);
		snprintf(job->detail, sizeof(job->detail), "%.*s", (int)job->response.detail_len, job->response.detail);
	}
	if (r < 0)
		fail_msg("%s", error.text);
}

void rig_await(struct dring *ring, int call)
{
	struct pollfd p = { .fd = call, .events = POLLIN };
	eventfd_t count;

	if (dring_arm(ring))
		return;
	/* A wake-up that does not come is a fault, too. */
	if (poll(&p, 1, 60000) == 0)
		fail_msg("no signal: a request %s answered", dring_pending(ring) ? "was" : "was not");
	eventfd_read(call, &count);
}

struct job *guest_wait(struct guest *g, unsigned int queue, struct job *job)
{
	uint64_t until = now_ns() + UINT64_C(60000000000);

	for (guest_poll(g, queue); !job->done; guest_poll(g, queue)) {
		if (now_ns() > until)
			fail_msg("a request was not answered");
		rig_await(&g->ring[queue], g->call[queue]);
	}
	return job;
}

void job_free(struct guest *g, struct job *job)
{
	assert_true(job->done);
	g->slot_used[job->slot] = false;
}

static void expect_status(const struct job *job, uint32_t status)
{
	if (job->response.status != status)
		fail_msg("status %u (%s), not %u", job->response.status, job->detail, status);
	if (status != VIRTIO_ACCEL_S_OK)
		assert_true(job->detail[0] != '\0');
}

uint64_t guest_call(struct guest *g, unsigned int queue, struct wire_request *request, uint32_t status)
{
	struct job *job = guest_wait(g, queue, guest_send(g, queue, request));
	uint64_t value = job->response.value;

	expect_status(job, status);
	assert_true(job->response.id == request->id);
	job_free(g, job);
	return value;
}

uint64_t guest_session(struct guest *g)
{
	struct wire_request request = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	uint64_t id = guest_call(g, 0, &request, VIRTIO_ACCEL_S_OK);

	assert_true(id != 0);
	return id;
}

void *guest_heap(struct guest *g, uint64_t offset)
{
	return (char *)g->data->data + HEAP + offset;
}

uint64_t guest_heap_addr(struct guest *g, uint64_t offset)
{
	return g->data->guest_addr + HEAP + offset;
}

uint64_t guest_register(struct guest *g, const struct wire_extent *extents, uint32_t n, uint32_t status)
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
	return guest_call(g, 0, &request, status);
}

/* ---- product ---- */

void product_fill(const struct product *p)
{
	float *a = guest_heap(p->guest, p->offset), *b = a + p->n * p->n, *c = b + p->n * p->n;

	for (uint32_t i = 0; i < p->n * p->n; i++) {
		a[i] = (float)(i * 7 % 11) - 5;
		b[i] = (float)(i * 5 % 13) - 6;
		c[i] = 1000;
	}
}

struct job *product_send(const struct product *p, unsigned int queue)
{
	uint64_t bytes = (uint64_t)p->n * p->n * sizeof(float);
	struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
				    .transa = VACCEL_NO_TRANS,
				    .transb = VACCEL_NO_TRANS,
				    .m = p->n,
				    .n = p->n,
				    .k = p->n,
				    .lda = p->n,
				    .ldb = p->n,
				    .ldc = p->n,
				    .alpha = p->alpha,
				    .beta = p->beta };
	struct wire_extent extents[3];
	struct wire_request request = {
		.type = VIRTIO_ACCEL_T_OP,
		.session = p->session ? p->session : p->guest->session,
		.op = VACCEL_OP_SGEMM,
		.n_args = 3,
		.n_extents = p->buffer ? 0 : 3,
		.params_len = sizeof(gemm),
		.extents = extents,
		.params = &gemm,
	};

	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	for (uint32_t i = 0; i < 3; i++) {
		extents[i] = (struct wire_extent){ guest_heap_addr(p->guest, p->offset + i * bytes), bytes };
		request.args[i] = (struct wire_arg){
			.kind = p->buffer ? VIRTIO_ACCEL_ARG_BUFFER : VIRTIO_ACCEL_ARG_EXTENTS,
			.dir = i < 2	      ? VIRTIO_ACCEL_DIR_IN
			       : p->beta == 0 ? VIRTIO_ACCEL_DIR_OUT
					      : VIRTIO_ACCEL_DIR_INOUT,
			.n_extents = p->buffer ? 0 : 1,
			.buffer = p->buffer,
			.offset = p->buffer ? i * bytes : 0,
			.len = bytes,
		};
	}
	return guest_send(p->guest, queue, &request);
}

void product_check(const struct product *p)
{
	const float *a = guest_heap(p->guest, p->offset), *b = a + p->n * p->n, *c = b + p->n * p->n;

	for (uint32_t i = 0; i < p->n; i++) {
		for (uint32_t j = 0; j < p->n; j++) {
			float sum = 0;

			for (uint32_t k = 0; k < p->n; k++)
				sum += a[i * p->n + k] * b[k * p->n + j];
			/* An alpha that is a NaN asks for a fault and counts as 1. */
			sum = sum * (float)(p->alpha == p->alpha ? p->alpha : 1) + (float)p->beta * 1000;
			if (c[i * p->n + j] != sum)
				fail_msg("element %u, %u is %g, not %g", i, j, c[i * p->n + j], sum);
		}
	}
}

void product_run(const struct product *p, unsigned int queue, uint32_t status)
{
	struct job *job;

	product_fill(p);
	job = guest_wait(p->guest, queue, product_send(p, queue));
	expect_status(job, status);
	if (status == VIRTIO_ACCEL_S_OK)
		product_check(p);
	job_free(p->guest, job);
}

int rig_setup(void **state)
{
	rig_start("[engine]\nthreads = 2\n");
	return 0;
}

int rig_teardown(void **state)
{
	rig_stop();
	return 0;
}

struct guest *guest_open_all(void)
{
	return guest_open(ALL_FEATURES, FRONTEND_PROTOCOL_FEATURES);
}

void guest_works(struct guest *g)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		product_run(&(struct product){ g, 8, 524288, 1, 0 }, i, VIRTIO_ACCEL_S_OK);
}
