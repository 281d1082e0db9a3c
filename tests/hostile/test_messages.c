/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages of wrong size, kind, order and number of descriptors. One row each: it is refused where an answer is
 * asked for, and ends the connection where none is; the log says which message, and why.
 */
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/util.h"

enum kind { EVENT, MEMORY, DEVNULL, SOCKET };

static const struct bad {
	const char *name;
	enum peer_stage stage;
	uint32_t request;
	uint32_t flags; /* besides version and NEED_REPLY */
	uint32_t size;
	uint64_t words[5]; /* the payload; what is longer is 0 */
	size_t n_fds;
	enum kind kind;
	const char *log;
	bool framing; /* it cannot be answered at all */
} rows[] = {
	/* frames */
	{ "version 0", PEER_FRESH, VHOST_SET_OWNER, VHOST_FLAG_VERSION, 0, { 0 }, 0, 0, "version 0, not 1", true },
	{ "version 3", PEER_FRESH, VHOST_SET_OWNER, 2, 0, { 0 }, 0, 0, "version 3, not 1", true },
	{ "enormous",
	  PEER_FRESH,
	  VHOST_SET_FEATURES,
	  0,
	  1u << 30,
	  { 0 },
	  0,
	  0,
	  "SET_FEATURES: payload of 1073741824",
	  true },
	{ "longest", PEER_FRESH, VHOST_SET_FEATURES, 0, UINT32_MAX, { 0 }, 0, 0, "payload of 4294967295", true },
	{ "nine descriptors",
	  PEER_GREETED,
	  VHOST_SET_MEM_TABLE,
	  0,
	  40,
	  { 9 },
	  9,
	  MEMORY,
	  "more than 8 descriptors",
	  true },
	{ "a reply", PEER_GREETED, VHOST_GET_FEATURES, VHOST_FLAG_REPLY, 0, { 0 }, 0, 0, "marked as a reply", false },
	/* kinds */
	{ "unknown", PEER_GREETED, 4711, 0, 0, { 0 }, 0, 0, "request 4711: it is not supported", false },
	{ "number 0", PEER_GREETED, 0, 0, 0, { 0 }, 0, 0, "it is not supported", false },
	{ "log base",
	  PEER_GREETED,
	  VHOST_SET_LOG_BASE,
	  0,
	  16,
	  { 0 },
	  1,
	  MEMORY,
	  "SET_LOG_BASE: it is not supported",
	  false },
	{ "crypto session",
	  PEER_GREETED,
	  VHOST_CREATE_CRYPTO_SESSION,
	  0,
	  40,
	  { 0 },
	  0,
	  0,
	  "its protocol feature was not negotiated",
	  false },
	/* sizes */
	{ "features, nothing", PEER_GREETED, VHOST_SET_FEATURES, 0, 0, { 0 }, 0, 0, "payload of 0 bytes", false },
	{ "features, half", PEER_GREETED, VHOST_SET_FEATURES, 0, 4, { 0 }, 0, 0, "payload of 4 bytes", false },
	{ "features, two", PEER_GREETED, VHOST_SET_FEATURES, 0, 16, { 0 }, 0, 0, "payload of 16 bytes", false },
	{ "address, short", PEER_SHARED, VHOST_SET_VRING_ADDR, 0, 39, { 0 }, 0, 0, "payload of 39 bytes", false },
	{ "region, short", PEER_GREETED, VHOST_ADD_MEM_REG, 0, 32, { 0 }, 1, MEMORY, "payload of 32 bytes", false },
	{ "owner, long", PEER_GREETED, VHOST_SET_OWNER, 0, 1, { 0 }, 0, 0, "payload of 1 bytes", false },
	{ "configuration, short", PEER_GREETED, VHOST_GET_CONFIG, 0, 11, { 0 }, 0, 0, "payload of 11 bytes", false },
	{ "journal, short",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  16,
	  { 0 },
	  1,
	  MEMORY,
	  "payload of 16 bytes",
	  false },
	{ "table, too many",
	  PEER_GREETED,
	  VHOST_SET_MEM_TABLE,
	  0,
	  264,
	  { 9 },
	  8,
	  MEMORY,
	  "9 regions with 8 descriptors",
	  false },
	{ "table, none", PEER_GREETED, VHOST_SET_MEM_TABLE, 0, 8, { 0 }, 0, 0, "0 regions", false },
	{ "table, cut",
	  PEER_GREETED,
	  VHOST_SET_MEM_TABLE,
	  0,
	  8,
	  { 1 },
	  1,
	  MEMORY,
	  "1 regions with 1 descriptors in 8",
	  false },
	/* descriptors */
	{ "one too many",
	  PEER_GREETED,
	  VHOST_SET_FEATURES,
	  0,
	  8,
	  { 0 },
	  1,
	  EVENT,
	  "SET_FEATURES: 1 descriptors",
	  false },
	{ "region without", PEER_GREETED, VHOST_ADD_MEM_REG, 0, 40, { 0 }, 0, 0, "0 descriptors with a region", false },
	{ "region with two", PEER_GREETED, VHOST_ADD_MEM_REG, 0, 40, { 0 }, 2, MEMORY, "2 descriptors", false },
	{ "kick without", PEER_SHARED, VHOST_SET_VRING_KICK, 0, 8, { 0 }, 0, 0, "value 0 with 0 descriptors", false },
	{ "kick with two", PEER_SHARED, VHOST_SET_VRING_KICK, 0, 8, { 0 }, 2, EVENT, "2 descriptors", false },
	{ "kick, none", PEER_SHARED, VHOST_SET_VRING_KICK, 0, 8, { 0x100 }, 0, 0, "polling is not supported", false },
	{ "none and one", PEER_SHARED, VHOST_SET_VRING_CALL, 0, 8, { 0x100 }, 1, EVENT, "with 1 descriptors", false },
	{ "kick, memory", PEER_SHARED, VHOST_SET_VRING_KICK, 0, 8, { 0 }, 1, MEMORY, "is not an eventfd", false },
	{ "call, device", PEER_SHARED, VHOST_SET_VRING_CALL, 0, 8, { 0 }, 1, DEVNULL, "is not an eventfd", false },
	{ "memory, eventfd",
	  PEER_GREETED,
	  VHOST_ADD_MEM_REG,
	  0,
	  40,
	  { 0, 0x1000, 0x1000, 0x1000, 0 },
	  1,
	  EVENT,
	  "is not a memory file",
	  false },
	{ "memory, socket",
	  PEER_GREETED,
	  VHOST_ADD_MEM_REG,
	  0,
	  40,
	  { 0, 0x1000, 0x1000, 0x1000, 0 },
	  1,
	  SOCKET,
	  "is not a memory file",
	  false },
	{ "journal, eventfd",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 4096, 0, 1 | 64 << 16 },
	  1,
	  EVENT,
	  "journal: its descriptor is not a memory file",
	  false },
	/* order */
	{ "before negotiation", PEER_FRESH, VHOST_GET_QUEUE_NUM, 0, 0, { 0 }, 0, 0, "was not negotiated", true },
	{ "region before it", PEER_FRESH, VHOST_ADD_MEM_REG, 0, 40, { 0 }, 1, MEMORY, "was not negotiated", true },
	{ "not offered", PEER_GREETED, VHOST_SET_FEATURES, 0, 8, { ~UINT64_C(0) }, 0, 0, "were not offered", false },
	{ "protocol, not offered",
	  PEER_GREETED,
	  VHOST_SET_PROTOCOL_FEATURES,
	  0,
	  8,
	  { 1u << 8 },
	  0,
	  0,
	  "were not offered",
	  false },
	{ "features of a running ring",
	  PEER_RUNNING,
	  VHOST_SET_FEATURES,
	  0,
	  8,
	  { 0 },
	  0,
	  0,
	  "features change while rings run",
	  false },
	{ "size of a running ring",
	  PEER_RUNNING,
	  VHOST_SET_VRING_NUM,
	  0,
	  8,
	  { UINT64_C(128) << 32 },
	  0,
	  0,
	  "its size cannot change while it runs",
	  false },
	{ "base of a running ring",
	  PEER_RUNNING,
	  VHOST_SET_VRING_BASE,
	  0,
	  8,
	  { UINT64_C(3) << 32 },
	  0,
	  0,
	  "its base cannot change while it runs",
	  false },
	{ "journal of a running ring",
	  PEER_RUNNING,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 4096, 0, 1 | 64 << 16 },
	  1,
	  MEMORY,
	  "journal: cannot change while rings run",
	  false },
	/* rings */
	{ "ring that is not",
	  PEER_SHARED,
	  VHOST_SET_VRING_NUM,
	  0,
	  8,
	  { 2 | UINT64_C(64) << 32 },
	  0,
	  0,
	  "ring 2 of 2",
	  false },
	{ "last ring there is",
	  PEER_SHARED,
	  VHOST_SET_VRING_ENABLE,
	  0,
	  8,
	  { UINT32_MAX },
	  0,
	  0,
	  "ring 4294967295",
	  false },
	{ "kick of ring 255", PEER_SHARED, VHOST_SET_VRING_KICK, 0, 8, { 255 }, 1, EVENT, "ring 255 of 2", false },
	{ "odd size",
	  PEER_SHARED,
	  VHOST_SET_VRING_NUM,
	  0,
	  8,
	  { UINT64_C(65) << 32 },
	  0,
	  0,
	  "size 65 is not a power of two",
	  false },
	{ "size 0", PEER_SHARED, VHOST_SET_VRING_NUM, 0, 8, { 0 }, 0, 0, "size 0 is not a power of two", false },
	{ "size 32768",
	  PEER_SHARED,
	  VHOST_SET_VRING_NUM,
	  0,
	  8,
	  { UINT64_C(32768) << 32 },
	  0,
	  0,
	  "size 32768 is not",
	  false },
	{ "base 65536", PEER_SHARED, VHOST_SET_VRING_BASE, 0, 8, { UINT64_C(65536) << 32 }, 0, 0, "base 65536", false },
	{ "enable 2", PEER_SHARED, VHOST_SET_VRING_ENABLE, 0, 8, { UINT64_C(2) << 32 }, 0, 0, "enable 2", false },
	{ "descriptors at 8",
	  PEER_SHARED,
	  VHOST_SET_VRING_ADDR,
	  0,
	  40,
	  { 0, 8, 0, 0, 0 },
	  0,
	  0,
	  "are not aligned",
	  false },
	{ "used at 2", PEER_SHARED, VHOST_SET_VRING_ADDR, 0, 40, { 0, 0, 2, 0, 0 }, 0, 0, "are not aligned", false },
	{ "available at 1",
	  PEER_SHARED,
	  VHOST_SET_VRING_ADDR,
	  0,
	  40,
	  { 0, 0, 0, 1, 0 },
	  0,
	  0,
	  "are not aligned",
	  false },
	{ "logged ring",
	  PEER_SHARED,
	  VHOST_SET_VRING_ADDR,
	  0,
	  40,
	  { UINT64_C(1) << 32, 0, 0, 0, 0 },
	  0,
	  0,
	  "logging was not offered",
	  false },
	/* journals */
	{ "journal too small",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 4096, 0, 2 | 1024 << 16 },
	  1,
	  MEMORY,
	  "are not enough or not there",
	  false },
	{ "journal not there",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 1 << 30, 0, 1 | 64 << 16 },
	  1,
	  MEMORY,
	  "are not enough or not there",
	  false },
	{ "journal that wraps",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 4096, ~UINT64_C(4095), 1 | 64 << 16 },
	  1,
	  MEMORY,
	  "are not enough or not there",
	  false },
	{ "journal for no ring",
	  PEER_GREETED,
	  VHOST_SET_INFLIGHT_FD,
	  0,
	  24,
	  { 4096, 0, 64 << 16 },
	  1,
	  MEMORY,
	  "journal for 0 rings",
	  false },
	{ "journal for many",
	  PEER_GREETED,
	  VHOST_GET_INFLIGHT_FD,
	  0,
	  24,
	  { 0, 0, 65535 | 64 << 16 },
	  0,
	  0,
	  "journal for 65535",
	  false },
};

static int descriptor(enum kind kind, struct peer *p)
{
	switch (kind) {
	case MEMORY:
		return p->data_fd;
	case DEVNULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case SOCKET:
		return p->fd;
	default:
		return p->call;
	}
}

/* What the row says, with a question for an answer or without. */
static void send_row(struct peer *p, const struct bad *row, uint32_t flags)
{
	struct {
		struct vhost_header header;
		uint8_t payload[512];
	} bytes = { .header = { row->request, (VHOST_FLAG_VERSION ^ row->flags) | flags, row->size } };
	size_t n = row->size > sizeof(bytes.payload) ? 64 : row->size;
	int fds[16], fd = descriptor(row->kind, p);

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd;
	memcpy(bytes.payload, row->words, MIN(n, sizeof(row->words)));
	assert_true(peer_send(p, &bytes, sizeof(bytes.header) + n, fds, row->n_fds));
	if (row->kind == DEVNULL)
		close(fd);
}

static void run_row(const struct bad *row)
{
	struct peer *p = peer_new(row->stage);
	struct vhost_msg reply;

	hostile_mark();
	if (!row->framing) {
		send_row(p, row, VHOST_FLAG_NEED_REPLY);
		assert_int_equal(vhost_msg_recv(p->fd, 60000, &reply, NULL), 0);
		assert_true(reply.payload.u64 != 0);
		hostile_logged(row->log);
		peer_alive(p);
		hostile_mark();
	}
	send_row(p, row, 0);
	peer_expect_hangup(p);
	hostile_logged(row->log);
	peer_free(p);
}

static void bad_messages(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("  %s\n", rows[i].name);
		run_row(&rows[i]);
		/* A new guest each time would take long under a sanitizer, and tells no more. */
		guest_works(honest);
	}
	hostile_over();
}

/* A message in as many pieces as it has bytes; one that stops half-way; one that ends with the connection. */
static void pieces(void **state)
{
	const struct vhost_header header = { VHOST_GET_FEATURES, VHOST_FLAG_VERSION, 0 };
	struct peer *slow = peer_new(PEER_GREETED), *half = peer_new(PEER_GREETED), *gone = peer_new(PEER_GREETED);
	struct vhost_msg reply;

	for (size_t i = 0; i < sizeof(header); i++) {
		assert_true(peer_send(slow, (const char *)&header + i, 1, NULL, 0));
		guest_works(honest);
	}
	assert_int_equal(vhost_msg_recv(slow->fd, 60000, &reply, NULL), 0);
	/* With descriptors that nobody will ever take. */
	assert_true(peer_send(half, &header, 7, &half->call, 1));
	assert_true(peer_send(gone, &header, 7, &gone->call, 1));
	peer_free(gone);
	hostile_over();
	peer_free(half);
	peer_free(slow);
	hostile_over();
}

/* Who never reads its answers is hung up on, however many it asks for. */
static void never_reads(void **state)
{
	const struct vhost_header header = { VHOST_GET_FEATURES, VHOST_FLAG_VERSION, 0 };
	struct peer *p = peer_new(PEER_GREETED);

	hostile_mark();
	while (peer_send(p, &header, sizeof(header), NULL, 0))
		;
	hostile_logged("GET_FEATURES: cannot send it");
	hostile_over();
	peer_free(p);
}

/* A ring is larger than the journal that its front-end brought: it does not run. */
static void ring_over_journal(void **state)
{
	const struct vhost_inflight journal = { .mmap_size = 4096, .n_queues = 1, .queue_size = PEER_NUM };
	struct peer *p = peer_new(PEER_SHARED);
	int fd = memfd_create("journal", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(peer_say(p, VHOST_SET_INFLIGHT_FD, &journal, sizeof(journal), fd), PEER_ACCEPTED);
	hostile_mark();
	peer_start_ring(p, 4 * PEER_NUM);
	hostile_logged("ring 0 stops: it is larger than its journal");
	/* One that fits does. */
	peer_start_ring(p, PEER_NUM);
	peer_request(p, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0);
	peer_offer(p, 0);
	peer_wait_used(p, 1);
	close(fd);
	peer_free(p);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_messages),
		cmocka_unit_test(pieces),
		cmocka_unit_test(never_reads),
		cmocka_unit_test(ring_over_journal),
	};

	return hostile_main("messages", tests, ARRAY_SIZE(tests));
}
