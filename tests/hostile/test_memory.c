/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory regions that overlap, wrap, are not there or cannot be mapped, and files that are cut short under the daemon, at
 * every place where it reads or writes them. That costs the connection that did it, and nobody else's requests.
 */
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "fault.h"
#include "util/util.h"
#include "vhost/memory.h"

#define FILE_LEN 0x10000ul

/* Regions beside those at PEER_RINGS and PEER_DATA; files have FILE_LEN bytes. */
static const struct {
	const char *name;
	struct vhost_region region; /* guest address, size, user address, offset */
	const char *log;
} regions[] = {
	{ "no bytes", { 0x10000000, 0, 0x10000000, 0 }, "size is 0" },
	{ "guest address inside a page", { 0x10000800, 0x1000, 0x10000000, 0 }, "is not on a page" },
	{ "offset inside a page", { 0x10000000, 0x1000, 0x10000000, 0x10 }, "is not on a page" },
	{ "longer than its file", { 0x10000000, FILE_LEN + 1, 0x10000000, 0 }, "leave its file" },
	{ "behind its file", { 0x10000000, 0x1000, 0x10000000, FILE_LEN }, "leave its file" },
	{ "guest addresses wrap", { UINT64_MAX - 0xfff, 0x2000, 0x10000000, 0 }, "wraps" },
	{ "user addresses wrap", { 0x10000000, 0x2000, UINT64_MAX - 0xfff, 0 }, "wraps" },
	{ "offsets wrap", { 0x10000000, 0x2000, 0x10000000, UINT64_MAX - 0xfff }, "wraps" },
	{ "offset beyond all files", { 0x10000000, 0x1000, 0x10000000, INT64_MAX - 0xfff }, "wraps" },
	{ "everything", { 0, UINT64_MAX, 0, 0 }, "wraps" },
	{ "the same again", { PEER_RINGS, 0x1000, 0x10000000, 0 }, "overlaps the one at" },
	{ "over the end of another", { PEER_RINGS + PEER_RINGS_LEN - 0x1000, 0x2000, 0x10000000, 0 }, "overlaps" },
	{ "over its beginning", { PEER_RINGS - 0x1000, 0x2000, 0x10000000, 0 }, "overlaps" },
	{ "around another", { PEER_RINGS - 0x1000, 0x10000, 0x10000000, 0 }, "overlaps" },
	{ "user addresses overlap", { 0x10000000, 0x1000, PEER_UVA + PEER_DATA + 0x800, 0 }, "overlaps" },
};

static int new_file(void)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_LEN), 0);
	return fd;
}

static void bad_regions(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	int fd = new_file();

	for (size_t i = 0; i < ARRAY_SIZE(regions); i++) {
		print_message("  %s\n", regions[i].name);
		hostile_mark();
		assert_int_equal(peer_add_memory(p, regions[i].region, fd), PEER_REFUSED);
		hostile_logged(regions[i].log);
		/* The ring goes on, over the memory that there was before. */
		peer_request(p, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0);
		peer_offer(p, 0);
		peer_wait_used(p, 1);
		guest_works(honest);
	}
	close(fd);
	peer_free(p);
	hostile_over();
}

/* What only the worker finds out when it maps the file: the front-end is hung up on. */
static void cannot_be_mapped(void **state)
{
	const struct vhost_region region = { 0x10000000, 0x1000, 0x10000000, 0 };
	char path[64];

	for (int i = 0; i < 2; i++) {
		struct peer *p = peer_new(PEER_RUNNING);
		int fd = new_file(), shown = fd;

		if (i == 0) {
			assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
		} else {
			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			shown = open(path, O_RDONLY | O_CLOEXEC);
		}
		hostile_mark();
		peer_add_memory(p, region, shown);
		peer_expect_hangup(p);
		hostile_logged("cannot map it");
		if (shown != fd)
			close(shown);
		close(fd);
		peer_free(p);
		hostile_over();
	}
}

/* As many regions as there are slots, and one more; then all away again while the ring runs. */
static void all_slots(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	struct vhost_mem_reg reg = { .region = { 0x10000000, 0x1000, 0x10000000, 0 } };
	int fd = new_file();
	uint32_t n = 0;

	while (peer_add_memory(p, reg.region, fd) == PEER_ACCEPTED) {
		reg.region.guest_addr += 0x2000;
		reg.region.user_addr += 0x2000;
		assert_true(++n < 1000);
	}
	assert_int_equal(n, VHOST_MAX_REGIONS - 2);
	hostile_logged("slots are in use");
	guest_works(honest);
	while (n-- > 0) {
		reg.region.guest_addr -= 0x2000;
		reg.region.user_addr -= 0x2000;
		assert_int_equal(peer_say(p, VHOST_REM_MEM_REG, &reg, sizeof(reg), -1), PEER_ACCEPTED);
	}
	assert_int_equal(peer_say(p, VHOST_REM_MEM_REG, &reg, sizeof(reg), -1), PEER_REFUSED);
	hostile_logged("there is none to remove");
	close(fd);
	peer_free(p);
	hostile_over();
}

/* ---- files that are cut short ---- */

static uint64_t open_session(struct peer *p)
{
	struct virtio_accel_resp response;

	peer_request(p, 0, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0);
	peer_offer(p, 0);
	peer_wait_used(p, 1);
	memcpy(&response, p->data + PEER_ANSWERS, sizeof(response));
	assert_int_equal(response.status, VIRTIO_ACCEL_S_OK);
	return response.value;
}

/* An SGEMM of order n whose matrices lie in the heap. delay_ms: before it begins. */
static void put_product(struct peer *p, uint16_t head, uint64_t session, uint32_t n, uint32_t delay_ms)
{
	uint64_t bytes = (uint64_t)n * n * sizeof(float);
	struct vaccel_gemm gemm = { VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 0, n, n, n, n, n, n, 1, 0 };
	struct wire_extent extents[3];
	struct wire_request request = { .type = VIRTIO_ACCEL_T_OP,
					.session = session,
					.op = VACCEL_OP_SGEMM,
					.n_args = 3,
					.n_extents = 3,
					.params_len = sizeof(gemm),
					.extents = extents,
					.params = &gemm };

	if (delay_ms)
		gemm.alpha = fault_alpha(FAULT_DELAY, 0, delay_ms);
	op_params_encode(op_by_id(VACCEL_OP_SGEMM), &gemm, &gemm);
	for (uint32_t i = 0; i < 3; i++) {
		extents[i] = (struct wire_extent){ PEER_DATA + PEER_HEAP + i * bytes, bytes };
		request.args[i] = (struct wire_arg){
			VIRTIO_ACCEL_ARG_EXTENTS, i < 2 ? VIRTIO_ACCEL_DIR_IN : VIRTIO_ACCEL_DIR_OUT, 0, 1, 0, 0, bytes
		};
	}
	peer_request(p, head, &request, 0x1000);
}

/* Puts one argument of the chain at head somewhere else: the file that is cut holds only it. */
enum cut { CUT_RINGS, CUT_MESSAGE, CUT_ANSWER, CUT_INPUT, CUT_RUNNING, CUT_INDIRECT, N_CUTS };

static const char *const cut_names[N_CUTS] = {
	[CUT_RINGS] = "the ring itself", [CUT_MESSAGE] = "the request",		 [CUT_ANSWER] = "room for the answer",
	[CUT_INPUT] = "a matrix",	 [CUT_RUNNING] = "a matrix, as it runs", [CUT_INDIRECT] = "an indirect table",
};

/* Leaves everything else of the request in the rings' file, which stays. */
static void prepare_cut(struct peer *p, enum cut cut)
{
	const uint64_t spare = 0xc000; /* of the rings' memory */

	put_product(p, 2, open_session(p), 72, cut == CUT_RUNNING ? 300 : 0);
	if (cut != CUT_MESSAGE) {
		memcpy(p->rings + spare, p->data + 0x1000, p->desc[2].len);
		p->desc[2].addr = PEER_RINGS + spare;
	}
	if (cut != CUT_ANSWER)
		p->desc[3].addr = PEER_RINGS + spare + 0x1000;
	if (cut == CUT_INDIRECT) {
		p->table[0] = p->desc[2];
		p->table[0].next = 1;
		p->table[1] = p->desc[3];
		peer_desc(p, 2, PEER_DATA + PEER_TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	}
}

static void cut_short(enum cut cut)
{
	struct peer *p = peer_new(PEER_RUNNING);
	struct product busy = { honest, 72, 0, fault_alpha(FAULT_DELAY, 0, 100), 0 };
	struct job *job;

	prepare_cut(p, cut);
	/* Somebody else's request is under way meanwhile. */
	product_fill(&busy);
	job = product_send(&busy, 1);
	hostile_mark();
	if (cut == CUT_RUNNING) {
		/* It may have ended before its memory goes: then the same once more hits it. */
		p->desc[6] = p->desc[2];
		peer_offer(p, 2);
		/* The op has been taken when another request of the ring was answered behind it. */
		peer_request(p, 4, &(struct wire_request){ .type = VIRTIO_ACCEL_T_SESSION_OPEN }, 0x2000);
		peer_offer(p, 4);
		peer_wait_used(p, 1);
	}
	assert_int_equal(ftruncate(cut == CUT_RINGS ? p->rings_fd : p->data_fd, 0), 0);
	if (cut == CUT_RINGS)
		eventfd_write(p->kick, 1);
	else
		peer_offer(p, cut == CUT_RUNNING ? 6 : 2);
	peer_expect_hangup(p);
	hostile_logged("it took away memory that it shares");
	guest_wait(honest, 1, job);
	assert_int_equal(job->response.status, VIRTIO_ACCEL_S_OK);
	product_check(&busy);
	job_free(honest, job);
	peer_free(p);
	hostile_over();
}

static void cut_anywhere(void **state)
{
	for (int cut = 0; cut < N_CUTS; cut++) {
		print_message("  %s\n", cut_names[cut]);
		cut_short(cut);
	}
}

/* Cut and grown again, all the time, by another thread's view of the same file: whatever it hits, others are served. */
static void flickering(void **state)
{
	for (int i = 0; i < 6; i++) {
		struct peer *p = peer_new(PEER_RUNNING);
		uint64_t session = open_session(p);

		for (int j = 0; j < 20; j++) {
			put_product(p, 2, session, 40, 0);
			peer_offer(p, 2);
			assert_int_equal(ftruncate(p->data_fd, j % 3 ? 0 : PEER_HEAP), 0);
			assert_int_equal(ftruncate(p->data_fd, PEER_DATA_LEN), 0);
		}
		peer_free(p);
		guest_works(honest);
	}
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_regions),	cmocka_unit_test(cannot_be_mapped), cmocka_unit_test(all_slots),
		cmocka_unit_test(cut_anywhere), cmocka_unit_test(flickering),
	};

	return hostile_main("memory", tests, ARRAY_SIZE(tests));
}
