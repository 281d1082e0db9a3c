/* SPDX-License-Identifier: Apache-2.0 */
/* See peer.h. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/util.h"

#define WAIT_STEPS 3000 /* of 20 ms */

struct guest *honest;
static long mark;

/* ---- memory and rings ---- */

static int memory_file(size_t len, uint8_t **ret_map)
{
	int fd = memfd_create("peer", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	*ret_map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*ret_map != MAP_FAILED);
	return fd;
}

void peer_desc(struct peer *p, uint16_t index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	p->desc[index] = (struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

void peer_offer(struct peer *p, uint16_t head)
{
	p->avail->ring[p->avail->idx % PEER_NUM] = head;
	__atomic_store_n(&p->avail->idx, (uint16_t)(p->avail->idx + 1), __ATOMIC_RELEASE);
	assert_int_equal(eventfd_write(p->kick, 1), 0);
}

void peer_request(struct peer *p, uint16_t head, struct wire_request *request, uint64_t offset)
{
	size_t len = wire_encoded_len(request);

	request->id = p->next_id++;
	wire_encode(request, p->data + offset);
	peer_desc(p, head, PEER_DATA + offset, (uint32_t)len, VRING_DESC_F_NEXT, (uint16_t)(head + 1));
	peer_desc(p, (uint16_t)(head + 1), PEER_DATA + PEER_ANSWERS + head * 128u, 256, VRING_DESC_F_WRITE, 0);
}

void peer_wait_used(struct peer *p, uint16_t n)
{
	for (int i = 0; i < WAIT_STEPS; i++) {
		uint16_t now = __atomic_load_n(&p->used->idx, __ATOMIC_ACQUIRE);

		if ((uint16_t)(now - p->last_used) >= n) {
			p->last_used = (uint16_t)(p->last_used + n);
			return;
		}
		usleep(i < 100 ? 100 : 20000);
	}
	fail_msg("a request was not given back");
}

/* ---- messages ---- */

bool peer_send(struct peer *p, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	assert_true(n_fds <= 16);
	if (n_fds) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	return sendmsg(p->fd, &mh, MSG_NOSIGNAL) == (ssize_t)len;
}

static int outcome(struct peer *p)
{
	struct vhost_msg reply;

	if (vhost_msg_recv(p->fd, 60000, &reply, NULL) < 0)
		return PEER_HUNG_UP;
	vhost_msg_close_fds(&reply);
	return reply.payload.u64 ? PEER_REFUSED : PEER_ACCEPTED;
}

int peer_say(struct peer *p, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct {
		struct vhost_header header;
		uint8_t payload[VHOST_MAX_PAYLOAD];
	} bytes = { .header = { request, VHOST_FLAG_VERSION | VHOST_FLAG_NEED_REPLY, size } };

	assert_true(size <= sizeof(bytes.payload));
	if (size)
		memcpy(bytes.payload, payload, size);
	if (!peer_send(p, &bytes, sizeof(bytes.header) + size, &fd, fd >= 0))
		return PEER_HUNG_UP;
	return outcome(p);
}

int peer_say_u64(struct peer *p, uint32_t request, uint64_t value, int fd)
{
	return peer_say(p, request, &value, sizeof(value), fd);
}

int peer_say_state(struct peer *p, uint32_t request, uint32_t index, uint32_t num)
{
	const struct vhost_vring_state state = { index, num };

	return peer_say(p, request, &state, sizeof(state), -1);
}

int peer_add_memory(struct peer *p, struct vhost_region region, int fd)
{
	const struct vhost_mem_reg reg = { .region = region };

	return peer_say(p, VHOST_ADD_MEM_REG, &reg, sizeof(reg), fd);
}

void peer_start_ring(struct peer *p, uint16_t num)
{
	const struct vhost_vring_addr addr = { .desc = PEER_UVA + PEER_RINGS,
					       .avail = PEER_UVA + PEER_RINGS + PEER_AVAIL,
					       .used = PEER_UVA + PEER_RINGS + PEER_USED };

	assert_true(peer_say_state(p, VHOST_GET_VRING_BASE, 0, 0) != PEER_HUNG_UP);
	memset(p->rings, 0, PEER_RINGS_LEN);
	p->last_used = 0;
	assert_int_equal(peer_say_state(p, VHOST_SET_VRING_NUM, 0, num), PEER_ACCEPTED);
	assert_int_equal(peer_say_state(p, VHOST_SET_VRING_BASE, 0, 0), PEER_ACCEPTED);
	assert_int_equal(peer_say(p, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1), PEER_ACCEPTED);
	assert_int_equal(peer_say_u64(p, VHOST_SET_VRING_CALL, 0, p->call), PEER_ACCEPTED);
	assert_int_equal(peer_say_u64(p, VHOST_SET_VRING_ERR, 0, p->err), PEER_ACCEPTED);
	assert_int_equal(peer_say_u64(p, VHOST_SET_VRING_KICK, 0, p->kick), PEER_ACCEPTED);
	assert_int_equal(peer_say_state(p, VHOST_SET_VRING_ENABLE, 0, 1), PEER_ACCEPTED);
}

void peer_alive(struct peer *p)
{
	assert_int_equal(peer_say(p, VHOST_GET_FEATURES, NULL, 0, -1), PEER_REFUSED); /* that is: not 0 */
}

void peer_expect_hangup(struct peer *p)
{
	struct pollfd poll_fd = { .fd = p->fd, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&poll_fd, 1, 60000), 1);
	assert_true(read(p->fd, &byte, 1) <= 0);
}

void peer_expect_broken(struct peer *p)
{
	struct pollfd poll_fd = { .fd = p->err, .events = POLLIN };
	eventfd_t count;

	if (poll(&poll_fd, 1, 60000) != 1)
		fail_msg("the ring is not broken");
	assert_int_equal(eventfd_read(p->err, &count), 0);
}

/* ---- life ---- */

static void greet(struct peer *p)
{
	assert_int_equal(peer_say_u64(p, VHOST_SET_PROTOCOL_FEATURES, FRONTEND_PROTOCOL_FEATURES, -1), PEER_ACCEPTED);
	assert_int_equal(peer_say(p, VHOST_SET_OWNER, NULL, 0, -1), PEER_ACCEPTED);
	assert_int_equal(
		peer_say_u64(p, VHOST_SET_FEATURES,
			     ALL_FEATURES | VHOST_BIT(VHOST_F_VERSION_1) | VHOST_BIT(VHOST_F_PROTOCOL_FEATURES), -1),
		PEER_ACCEPTED);
}

static void share(struct peer *p)
{
	const struct vhost_region rings = { PEER_RINGS, PEER_RINGS_LEN, PEER_UVA + PEER_RINGS, 0 };
	const struct vhost_region data = { PEER_DATA, PEER_DATA_LEN, PEER_UVA + PEER_DATA, 0 };

	assert_int_equal(peer_add_memory(p, rings, p->rings_fd), PEER_ACCEPTED);
	assert_int_equal(peer_add_memory(p, data, p->data_fd), PEER_ACCEPTED);
}

struct peer *peer_new(enum peer_stage stage)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->next_id = 1;
	p->rings_fd = memory_file(PEER_RINGS_LEN, &p->rings);
	p->data_fd = memory_file(PEER_DATA_LEN, &p->data);
	p->desc = (void *)p->rings;
	p->avail = (void *)(p->rings + PEER_AVAIL);
	p->used = (void *)(p->rings + PEER_USED);
	p->table = (void *)(p->data + PEER_TABLE);
	p->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, rig_daemon.socket);
	assert_int_equal(connect(p->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (stage >= PEER_GREETED)
		greet(p);
	if (stage >= PEER_SHARED)
		share(p);
	if (stage >= PEER_RUNNING)
		peer_start_ring(p, PEER_NUM);
	return p;
}

void peer_free(struct peer *p)
{
	munmap(p->rings, PEER_RINGS_LEN);
	munmap(p->data, PEER_DATA_LEN);
	close(p->rings_fd);
	close(p->data_fd);
	close(p->kick);
	close(p->call);
	close(p->err);
	close(p->fd);
	free(p);
}

/* ---- daemon and honest guests ---- */

int hostile_setup(void **state)
{
	static const char config[] = "[order]\ndefault = fault reference\ninfer = touch\nimage_classify = touch\n"
				     "[engine]\nthreads = 2\n";

	assert_int_equal(daemon_prepare(&rig_daemon, config), 0);
	snprintf(rig_daemon.log, sizeof(rig_daemon.log), "%s/log", rig_daemon.folder);
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	assert_int_equal(daemon_start(&rig_daemon), 0);
	honest = guest_open_all();
	mark = 0;
	return 0;
}

int hostile_teardown(void **state)
{
	guest_close(honest);
	honest = NULL;
	rig_stop();
	return 0;
}

/* The log from the mark on; the caller frees it. */
static char *read_log(void)
{
	FILE *file = fopen(rig_daemon.log, "re");
	char *text = calloc(1, 1 << 20);

	assert_non_null(file);
	assert_non_null(text);
	assert_int_equal(fseek(file, mark, SEEK_SET), 0);
	text[fread(text, 1, (1 << 20) - 1, file)] = '\0';
	fclose(file);
	return text;
}

void hostile_mark(void)
{
	FILE *file = fopen(rig_daemon.log, "re");

	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	mark = ftell(file);
	fclose(file);
}

void hostile_logged(const char *text)
{
	for (int i = 0; text && i < WAIT_STEPS; i++) {
		char *log = read_log();
		bool found = strstr(log, text) != NULL;

		if (!found && i == WAIT_STEPS - 1)
			fail_msg("the log does not say '%s' but:\n%s", text, log);
		free(log);
		if (found)
			return;
		usleep(20000);
	}
}

void hostile_over(void)
{
	struct guest *another;
	int status;

	assert_int_equal(waitpid(rig_daemon.pid, &status, WNOHANG), 0);
	guest_works(honest);
	another = guest_open_all();
	guest_works(another);
	guest_close(another);
}

int hostile_main(const char *name, const struct CMUnitTest *tests, size_t n)
{
	const char *daemon = getenv("VACCELD");

	if (!daemon || access(daemon, X_OK) < 0) {
		fprintf(stderr, "skipped: there is no daemon in this build\n");
		return 77;
	}
	return _cmocka_run_group_tests(name, tests, n, hostile_setup, hostile_teardown);
}
