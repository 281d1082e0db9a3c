/* SPDX-License-Identifier: Apache-2.0 */
/* A daemon that lies, breaks off, or can do less: the library fails the request or the connection, and nothing else. */
#include "fixture.h"

#include <dirent.h>
#include <endian.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

#include "backend.h"

static struct backend backend;
static char path[] = "/tmp/vaccel-hostile.XXXXXX/sock";
static char url[64];

static int make_folder(void **state)
{
	char *slash = strrchr(path, '/');

	*slash = 0;
	if (!mkdtemp(path))
		return -1;
	*slash = '/';
	snprintf(url, sizeof(url), "shm:%s", path);
	return 0;
}

static int remove_folder(void **state)
{
	*strrchr(path, '/') = 0;
	return rmdir(path);
}

static int setup(void **state)
{
	backend_init(&backend, path);
	return 0;
}

static int teardown(void **state)
{
	backend_stop(&backend);
	return 0;
}

static uint32_t seen(const uint32_t *count)
{
	uint32_t n;

	pthread_mutex_lock(&backend.lock);
	n = *count;
	pthread_mutex_unlock(&backend.lock);
	return n;
}

static int try(struct vaccel_context **ret)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = url };

	return vaccel_context_new(&options, ret);
}

static struct vaccel_session *start(struct vaccel_context **ret_context)
{
	struct vaccel_session *session = NULL;

	backend_start(&backend);
	assert_ok(try(ret_context));
	assert_ok(vaccel_session_open(*ret_context, &session));
	return session;
}

/* The fake itself is good enough, with indirect descriptors and without. */
static void test_good(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;

	session = start(&context);
	for (int i = 0; i < 1000; i++)
		assert_ok(vaccel_noop(session));
	vaccel_context_free(context);
}

static void test_direct_descriptors(void **state)
{
	backend.features &= ~VHOST_BIT(VHOST_F_INDIRECT_DESC);
	test_good(state);
}

/* The fake takes the channel to us and closes it. */
static void test_channel_closed(void **state)
{
	backend.protocol_features |= VHOST_BIT(VHOST_PF_BACKEND_REQ);
	test_good(state);
}

static void test_handshake(void **state)
{
	static const struct {
		uint32_t message;
		bool refuse;
		int error;
	} cases[] = {
		{ VHOST_GET_FEATURES, false, -ECONNRESET },   { VHOST_SET_OWNER, false, -ECONNRESET },
		{ VHOST_GET_CONFIG, false, -ECONNRESET },     { VHOST_ADD_MEM_REG, false, -ECONNRESET },
		{ VHOST_SET_VRING_KICK, false, -ECONNRESET }, { VHOST_SET_FEATURES, true, -EREMOTEIO },
		{ VHOST_SET_VRING_ENABLE, true, -EREMOTEIO }, { VHOST_ADD_MEM_REG, true, -EREMOTEIO },
	};
	struct vaccel_context *context = NULL;

	backend_start(&backend);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		BACKEND_SET(&backend, refuse, cases[i].refuse ? cases[i].message : 0);
		BACKEND_SET(&backend, hang_up_on, cases[i].refuse ? 0 : cases[i].message);
		assert_error(try(&context), cases[i].error, url);
	}
	BACKEND_SET(&backend, refuse, 0);
	BACKEND_SET(&backend, hang_up_on, 0);
	BACKEND_SET(&backend, config.version_major, 2);
	assert_error(try(&context), -EPROTONOSUPPORT, "version 2.0");
	BACKEND_SET(&backend, config.version_major, 1);
	BACKEND_SET(&backend, config.num_queues, 0);
	assert_error(try(&context), -EPROTO, "no queues");
	BACKEND_SET(&backend, config.num_queues, htole32(1));
	BACKEND_SET(&backend, config.max_message_bytes, 0);
	assert_error(try(&context), -EPROTONOSUPPORT, "another kind");
	BACKEND_SET(&backend, features, VHOST_BIT(VHOST_F_PROTOCOL_FEATURES));
	assert_error(try(&context), -EPROTO, "VERSION_1");
	assert_null(context);
}

static void no_config_start(void)
{
	backend.protocol_features &= ~VHOST_BIT(VHOST_PF_CONFIG);
	backend_start(&backend);
}

static void test_no_config(void **state)
{
	struct vaccel_context *context;

	no_config_start();
	assert_error(try(&context), -EOPNOTSUPP, "GET_CONFIG");
}

static void wrong_id(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_OP)
		response->id += 1;
}

static void short_answer(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_OP)
		b->used_len = 7;
}

static void test_malformed_answer(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;

	session = start(&context);
	BACKEND_SET(&backend, answer, wrong_id);
	assert_error(vaccel_noop(session), -EPROTO, "to request");
	BACKEND_SET(&backend, answer, short_answer);
	assert_error(vaccel_noop(session), -EPROTO, "malformed");
	/* The connection is none the worse. */
	BACKEND_SET(&backend, answer, NULL);
	assert_ok(vaccel_noop(session));
	vaccel_context_free(context);
}

static void bad_text(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	static const char text[] = "\033[2Jno\nway";

	if (request->type != VIRTIO_ACCEL_T_OP)
		return;
	response->status = request->deadline_ms ? 4711 : VIRTIO_ACCEL_S_IO;
	response->detail = text;
	response->detail_len = request->deadline_ms ? 0 : sizeof(text) - 1;
}

static void test_text(void **state)
{
	struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP, .deadline_ms = 1 };
	struct vaccel_context *context;
	struct vaccel_session *session;

	session = start(&context);
	BACKEND_SET(&backend, answer, bad_text);
	assert_int_equal(vaccel_noop(session), -EIO);
	assert_string_equal(vaccel_error(), "?[2Jno?way");
	assert_error(vaccel_run(session, &call), -EIO, "EIO");
	BACKEND_SET(&backend, answer, NULL);
	vaccel_context_free(context);
}

static void alien_id(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_OP)
		b->used_id = 60000;
}

static void unused_id(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_OP)
		b->used_id = 255;
}

static void too_many(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_OP)
		b->used_more = 300;
}

static void hang_up(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	b->hang_up = request->type == VIRTIO_ACCEL_T_OP;
}

static void test_broken_ring(void **state)
{
	static void (*const answers[])(struct backend *, const struct wire_request *, struct wire_response *) = {
		alien_id,
		unused_id,
		too_many,
		hang_up,
	};
	static const char *const texts[] = { "60000", "255", "301 new entries", "went away" };

	backend_start(&backend);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct vaccel_context *context;
		struct vaccel_session *session;

		BACKEND_SET(&backend, answer, NULL);
		assert_ok(try(&context));
		assert_ok(vaccel_session_open(context, &session));
		assert_ok(vaccel_noop(session));
		BACKEND_SET(&backend, answer, answers[i]);
		assert_error(vaccel_noop(session), -ECONNRESET, texts[i]);
		assert_int_equal(vaccel_noop(session), -ECONNRESET);
		vaccel_context_free(context);
	}
}

/* Hangs up on an operation, and goes on writing to the last buffer that was registered. */
static void die_slowly(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_BUFFER_REGISTER)
		b->late_addr = wire_extent(request, 0).addr;
	b->hang_up = request->type == VIRTIO_ACCEL_T_OP;
}

/*
 * The socket of a daemon that is killed is closed before its worker is dead: a request that it had ends when nobody has the
 * memory any more, whoever waits for it.
 */
static void test_late_worker(void **state)
{
	const struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	struct vaccel_request *request, *next;
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;
	struct pollfd p = { .events = POLLIN };
	uint8_t *data;

	backend.answer = die_slowly;
	session = start(&context);
	assert_ok(vaccel_buffer_alloc(session, 4096, &buffer));
	data = vaccel_buffer_data(buffer);
	for (uint32_t i = 1; i <= 2; i++) {
		if (i == 1) {
			assert_error(vaccel_run(session, &call), -ECONNRESET, "went away");
		} else {
			p.fd = vaccel_context_fd(context);
			assert_ok(vaccel_submit(session, &call, &request));
			while (vaccel_context_next(context, &next) == -EAGAIN)
				assert_int_equal(poll(&p, 1, -1), 1);
			assert_ptr_equal(next, request);
			assert_error(vaccel_request_wait(request, 0), -ECONNRESET, "went away");
			vaccel_request_free(request);
		}
		*data = 0x11;
		while (seen(&backend.n_late) < i)
			usleep(1000);
		assert_int_equal(*data, 0x11);
	}
	vaccel_context_free(context);
}

static void huge_info(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	if (request->type == VIRTIO_ACCEL_T_QUERY)
		response->value = UINT64_MAX;
}

static void test_info(void **state)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct vaccel_context *context;

	start(&context);
	BACKEND_SET(&backend, answer, huge_info);
	assert_error(vaccel_context_info(context, &info), -EPROTO, "malformed");
	BACKEND_SET(&backend, answer, NULL);
	/* No bytes at all. */
	assert_error(vaccel_context_info(context, &info), -EPROTO, "malformed");
	vaccel_context_free(context);
}

/* Fewer regions than wanted, told one table at a time; the rings take one of them. */
static void test_memory_table(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_buffer *buffers[9];
	size_t n;
	int r = 0;

	backend.protocol_features &= ~VHOST_BIT(VHOST_PF_CONFIGURE_MEM_SLOTS);
	session = start(&context);
	/* Each is more than half a region. */
	for (n = 0; n < 9 && (r = vaccel_buffer_alloc(session, 15 << 20, &buffers[n])) == 0; n++)
		;
	assert_int_equal(n, 7);
	assert_error(r, -ENOMEM, "8 regions");
	assert_in_range(seen(&backend.n_tables), 8, 20);
	/* What is left still serves, and what is freed can be had again. */
	assert_ok(vaccel_noop(session));
	assert_ok(vaccel_buffer_free(buffers[3]));
	assert_ok(vaccel_buffer_alloc(session, 15 << 20, &buffers[3]));
	vaccel_context_free(context);
}

static void test_regions_come_back(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;

	backend.max_slots = 4;
	session = start(&context);
	/* Many times what fits at once. */
	for (size_t i = 0; i < 20; i++) {
		assert_ok(vaccel_buffer_alloc(session, (40 + i) << 20, &buffer));
		assert_ok(vaccel_buffer_free(buffer));
	}
	assert_error(vaccel_buffer_alloc(session, 65 << 20, &buffer), -E2BIG, "buffer");
	vaccel_context_free(context);
}

/* Bytes of pages that all memfds of this process have. */
static uint64_t shared_bytes(void)
{
	DIR *fds = opendir("/proc/self/fd");
	uint64_t sum = 0;
	struct dirent *entry;

	while ((entry = readdir(fds))) {
		char target[64] = { 0 };
		struct stat st;

		if (readlinkat(dirfd(fds), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    !strncmp(target, "/memfd:", 7) && fstat(atoi(entry->d_name), &st) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	}
	closedir(fds);
	return sum;
}

static void hold(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	b->hold = request->type == VIRTIO_ACCEL_T_OP;
}

static struct vaccel_request *submit_noop(struct vaccel_session *session)
{
	const struct vaccel_call call = { .size = sizeof(call), .op = VACCEL_OP_NOOP };
	struct vaccel_request *request = NULL;

	assert_ok(vaccel_submit(session, &call, &request));
	return request;
}

/* Waits until the ring is full and somebody had time to find that out, then hangs up; the next connection is a good one. */
static void die_when_full(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	const struct backend_queue *q = &b->queues[0];
	const struct vring_avail *avail = backend_avail(b, q);

	if (request->type != VIRTIO_ACCEL_T_OP)
		return;
	/* This request has left the ring's list already, but not its descriptors. */
	while ((uint16_t)(__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) - q->last_avail + 1) < q->size)
		usleep(1000);
	usleep(100000);
	b->answer = NULL;
	b->hang_up = true;
}

/* What waits for room in the ring has not been seen by anybody: another daemon will do. */
static void test_full_ring_and_restart(void **state)
{
	enum { MOST = 256 }; /* SHM_RING_SIZE */
	struct vaccel_request *requests[MOST];
	struct vaccel_context *context;
	struct vaccel_session *session;

	backend.answer = die_when_full;
	session = start(&context);
	for (int i = 0; i < MOST; i++)
		requests[i] = submit_noop(session);
	assert_ok(vaccel_noop(session));
	for (int i = 0; i < MOST; i++) {
		assert_error(vaccel_request_wait(requests[i], -1), -ECONNRESET, "went away");
		vaccel_request_free(requests[i]);
	}
	assert_int_equal(seen(&backend.n_ops), 2);
	vaccel_context_free(context);
}

/* A large buffer that is freed takes its pages with it, but no region: for that a daemon would stop what runs. */
static void test_freed_beside_request(void **state)
{
	const size_t len = 300 << 20;
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_request *request;
	struct vaccel_buffer *buffer;
	uint64_t before;
	char *data;

	backend.config.max_buffer_bytes = htole64(len);
	session = start(&context);
	BACKEND_SET(&backend, answer, hold);
	request = submit_noop(session);
	before = shared_bytes();
	assert_ok(vaccel_buffer_alloc(session, len, &buffer));
	data = vaccel_buffer_data(buffer);
	memset(data, 1, 1 << 20);
	data[len - 1] = 1;
	assert_true(shared_bytes() > before);
	assert_ok(vaccel_buffer_free(buffer));
	assert_true(shared_bytes() <= before + 65536);
	assert_ok(vaccel_buffer_alloc(session, len, &buffer));
	data = vaccel_buffer_data(buffer);
	assert_true(data[0] == 0 && data[(1 << 20) - 1] == 0 && data[len - 1] == 0);
	assert_ok(vaccel_buffer_free(buffer));
	assert_int_equal(seen(&backend.n_removed), 0);
	assert_ok(vaccel_request_wait(request, -1));
	vaccel_request_free(request);
	vaccel_context_free(context);
}

/* Room that only another region's end can make is waited for. */
static void test_region_for_region(void **state)
{
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_request *request;
	struct vaccel_buffer *buffer;

	backend.max_slots = 3;
	session = start(&context);
	BACKEND_SET(&backend, answer, hold);
	request = submit_noop(session);
	for (size_t i = 1; i <= 3; i++) {
		assert_ok(vaccel_buffer_alloc(session, 16 * i << 20, &buffer));
		assert_ok(vaccel_buffer_free(buffer));
	}
	assert_int_equal(seen(&backend.n_removed_busy), 0);
	assert_true(seen(&backend.n_removed) > 0);
	assert_ok(vaccel_request_wait(request, -1));
	vaccel_request_free(request);
	vaccel_context_free(context);
}

struct traffic {
	struct vaccel_session *session;
	pthread_t thread;
	bool stop; /* atomic */
	int failures;
};

static void *run_traffic(void *opaque)
{
	struct traffic *t = opaque;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED))
		t->failures += vaccel_noop(t->session) < 0;
	return NULL;
}

/* The same beside threads that leave no moment without a request. */
static void test_region_for_region_beside_traffic(void **state)
{
	enum { N = 4 };
	struct traffic traffic[N];
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;

	backend.max_slots = 3;
	session = start(&context);
	for (int i = 0; i < N; i++) {
		traffic[i] = (struct traffic){ .session = session };
		assert_int_equal(pthread_create(&traffic[i].thread, NULL, run_traffic, &traffic[i]), 0);
	}
	for (size_t i = 0; i < 100; i++) {
		assert_ok(vaccel_buffer_alloc(session, (20 + 2 * (i % 20)) << 20, &buffer));
		assert_ok(vaccel_buffer_free(buffer));
	}
	for (int i = 0; i < N; i++) {
		__atomic_store_n(&traffic[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(traffic[i].thread, NULL);
		assert_int_equal(traffic[i].failures, 0);
	}
	assert_int_equal(seen(&backend.n_removed_busy), 0);
	assert_true(seen(&backend.n_removed) > 0);
	vaccel_context_free(context);
}

/* What is wrong with a call is found here. */
static void test_bad_call_stays(void **state)
{
	struct vaccel_call call = { .size = sizeof(call), .op = 99 };
	struct vaccel_context *context;
	struct vaccel_session *session;
	float one = 1;

	session = start(&context);
	assert_ok(vaccel_noop(session));
	assert_error(vaccel_run(session, &call), -EOPNOTSUPP, "99");
	assert_error(vaccel_sgemm(session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 1, 2, 1, 1, &one, 1,
				  &one, 1, 0, &one, 2),
		     -EINVAL, "ldb");
	assert_int_equal(seen(&backend.n_ops), 1);
	vaccel_context_free(context);
}

/* ---- Answers about keys ---- */

static struct vaccel_key_about key_answer; /* under the backend's lock */
static uint32_t rsa_answer;

static void answer_keys(struct backend *b, const struct wire_request *request, struct wire_response *response)
{
	struct vaccel_akcipher_answer rsa = { .len = htole32(rsa_answer), .reserved = 99 };
	uint64_t len = 0;
	void *at;

	if (request->type != VIRTIO_ACCEL_T_OP)
		return;
	at = request->n_args ? backend_arg(b, request, request->n_args - 1, &len) : NULL;
	if (request->op == VACCEL_OP_KEY_IMPORT || request->op == VACCEL_OP_KEY_OPEN)
		memcpy(at, &key_answer, sizeof(key_answer));
	else if (request->op == VACCEL_OP_AKCIPHER)
		memcpy(at, &rsa, sizeof(rsa));
}

static void set_key_answer(const struct vaccel_key_about *about)
{
	BACKEND_SET(&backend, answer, answer_keys);
	pthread_mutex_lock(&backend.lock);
	key_answer = (struct vaccel_key_about){
		.id = htole64(about->id),
		.type = htole32(about->type),
		.bits = htole32(about->bits),
		.modes = htole32(about->modes),
		.rights = htole32(about->rights),
		.held = htole32(about->held),
		.reserved = htole32(about->reserved),
	};
	pthread_mutex_unlock(&backend.lock);
}

/* What cannot be a key of ours is refused, and nothing comes of it. */
static void test_key_answers(void **state)
{
	static const struct {
		struct vaccel_key_about about;
		bool imported, opened; /* it can be one */
	} rows[] = {
		{ { 7, VACCEL_KEY_AES, 128, 4, 3, 0, 0 }, true, false },
		{ { 7, VACCEL_KEY_AES, 128, 4, 3, 0, 99 }, true, false },
		{ { 7, VACCEL_KEY_AES, 512, 8, 1, 1, 0 }, false, true },
		{ { 7, VACCEL_KEY_RSA_PRIVATE, 2048, 0, 4, 1, 0 }, false, true },
		{ { 0, VACCEL_KEY_AES, 128, 4, 3, 0, 0 }, false, false },
		{ { 7, 0, 128, 4, 3, 0, 0 }, false, false },
		{ { 7, 4, 128, 4, 3, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_RSA_PUBLIC, 128, 4, 3, 0, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 192, 4, 3, 0, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 129, 4, 3, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 0, 4, 3, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 384, 4, 3, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_RSA_PRIVATE, 0, 0, 4, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_RSA_PRIVATE, UINT32_MAX, 0, 4, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 128, 0, 3, 0, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 128, 4, 1, 0, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 128, 4, 0, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 128, 4, 0x13, 1, 0 }, false, false },
		{ { 7, VACCEL_KEY_AES, 128, 4, 3, 2, 0 }, false, false },
	};
	static const uint8_t bytes[16];
	struct vaccel_context *context;
	struct vaccel_session *session;

	session = start(&context);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vaccel_key *key = NULL;
		int r;

		set_key_answer(&rows[i].about);
		r = vaccel_key_import(session, VACCEL_KEY_AES, 1u << VACCEL_CBC, 3, bytes, sizeof(bytes), &key);
		assert_int_equal(r, rows[i].imported ? 0 : -EPROTO);
		assert_true(!key == !rows[i].imported);
		assert_true(!key || (vaccel_key_about(key)->id == 7 && !vaccel_key_about(key)->reserved));
		assert_ok(vaccel_key_free(key));
		key = NULL;
		r = vaccel_key_open(session, "backup", &key);
		assert_int_equal(r, rows[i].opened ? 0 : -EPROTO);
		assert_true(!key == !rows[i].opened);
		assert_ok(vaccel_key_free(key));
	}
	vaccel_context_free(context);
}

static void test_rsa_answers(void **state)
{
	static const struct vaccel_key_about about = { 7, VACCEL_KEY_RSA_PRIVATE, 1024, 0, 15, 0, 0 };
	uint8_t data[200] = { 0 };
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_key *key = NULL;

	session = start(&context);
	set_key_answer(&about);
	assert_ok(vaccel_key_import(session, VACCEL_KEY_RSA_PRIVATE, 0, VACCEL_MAY_ALL, data, sizeof(data), &key));
	pthread_mutex_lock(&backend.lock);
	rsa_answer = 128;
	pthread_mutex_unlock(&backend.lock);
	assert_int_equal(vaccel_akcipher(key, VACCEL_AK_SIGN, VACCEL_RSA_PKCS1, VACCEL_RSA_SHA256, data, 32, data, 128),
			 128);
	assert_error(vaccel_akcipher(key, VACCEL_AK_SIGN, VACCEL_RSA_PKCS1, VACCEL_RSA_SHA256, data, 32, data, 127),
		     -EPROTO, "128 bytes in room for 127");
	/* What is only read has not been written. */
	assert_error(vaccel_akcipher(key, VACCEL_AK_VERIFY, VACCEL_RSA_PKCS1, VACCEL_RSA_SHA256, data, 128, data, 128),
		     -EPROTO, "room for 0");
	vaccel_context_free(context);
}

/* One region for all requests: the next waits until the one before has left it, or fails if that will never be. */
static void test_room(void **state)
{
	enum { N = 10 };
	const size_t len = 9 << 20;
	float *memory = calloc(1, len), b = 1, c;
	const struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
					  .transa = VACCEL_NO_TRANS,
					  .transb = VACCEL_NO_TRANS,
					  .m = 1,
					  .n = 1,
					  .k = 1,
					  .lda = 1,
					  .ldb = 1,
					  .ldc = 1,
					  .alpha = 1 };
	struct vaccel_arg args[] = { { memory, len, VACCEL_IN, 0 },
				     { &b, sizeof(b), VACCEL_IN, 0 },
				     { &c, sizeof(c), VACCEL_OUT, 0 } };
	const struct vaccel_call call = { .size = sizeof(call),
					  .op = VACCEL_OP_SGEMM,
					  .params = &gemm,
					  .params_len = sizeof(gemm),
					  .args = args,
					  .n_args = 3 };
	struct vaccel_request *requests[N];
	struct vaccel_context *context;
	struct vaccel_session *session;
	struct vaccel_buffer *buffer;

	backend.max_slots = 2;
	session = start(&context);
	for (int i = 0; i < N; i++)
		assert_ok(vaccel_submit(session, &call, &requests[i]));
	for (int i = 0; i < N; i++) {
		assert_ok(vaccel_request_wait(requests[i], -1));
		vaccel_request_free(requests[i]);
	}
	assert_ok(vaccel_buffer_alloc(session, len, &buffer));
	assert_error(vaccel_run(session, &call), -ENOMEM, "2 regions");
	assert_ok(vaccel_noop(session));
	assert_ok(vaccel_buffer_free(buffer));
	assert_ok(vaccel_run(session, &call));
	vaccel_context_free(context);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, setup, teardown)
		TEST(test_good),
		TEST(test_direct_descriptors),
		TEST(test_channel_closed),
		TEST(test_handshake),
		TEST(test_no_config),
		TEST(test_malformed_answer),
		TEST(test_text),
		TEST(test_late_worker),
		TEST(test_broken_ring),
		TEST(test_info),
		TEST(test_memory_table),
		TEST(test_regions_come_back),
		TEST(test_bad_call_stays),
		TEST(test_key_answers),
		TEST(test_rsa_answers),
		TEST(test_room),
		TEST(test_full_ring_and_restart),
		TEST(test_freed_beside_request),
		TEST(test_region_for_region),
		TEST(test_region_for_region_beside_traffic),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
