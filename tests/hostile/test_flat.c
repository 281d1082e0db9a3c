/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A million hostile messages and ring operations in all, of many kinds, over connections that come and go: after a tenth
 * of them and at the end, supervisor and worker have the same descriptors, threads, mappings and memory. Neither process has
 * ended in between.
 *
 * Memory may differ by SLACK_KIB: allocators keep what was freed, for each thread apart. The least that malloc() gives
 * away, lost in each tenth operation, would be 2.8 MiB.
 */
#include "peer.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/util.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

/* A sanitizer keeps freed memory on purpose, and is slow: then only the rest is compared, after fewer. */
#ifdef SANITIZED
#define OPERATIONS 100000
#define SLACK_KIB  (1 << 20)
#else
#define OPERATIONS 1000000
#define SLACK_KIB  2048
#endif
/* Thread stacks that the C library keeps for the next thread, arenas that threads share. */
#define SLACK_MAPPINGS 24

struct usage {
	pid_t pid;
	unsigned int fds, threads, mappings;
	unsigned long rss_kib;
};

static unsigned int entries_of(pid_t pid, const char *what)
{
	char path[64];
	struct dirent *entry;
	unsigned int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

/* Private memory alone: what guests share with the daemon counts as it comes. */
static unsigned long private_kib(pid_t pid)
{
	char path[64], line[256];
	unsigned long kib = 0, value;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "RssAnon: %lu", &value) == 1)
			kib = value;
	fclose(file);
	return kib;
}

static unsigned int mappings_of(pid_t pid)
{
	char path[64];
	unsigned int n = 0;
	FILE *file;
	int c;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while ((c = fgetc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static struct usage usage_of(pid_t pid)
{
	return (struct usage){ .pid = pid,
			       .fds = entries_of(pid, "fd"),
			       .threads = entries_of(pid, "task"),
			       .mappings = mappings_of(pid),
			       .rss_kib = private_kib(pid) };
}

/* What a connection leaves behind is taken away soon, not at once: when nothing changes any more. */
static struct usage settled_usage_of(pid_t pid)
{
	struct usage usage = usage_of(pid), last;
	int calm = 0;

	while (calm < 5) {
		last = usage;
		usleep(20000);
		usage = usage_of(pid);
		calm = usage.fds == last.fds && usage.threads == last.threads ? calm + 1 : 0;
	}
	return usage;
}

static void compare(const char *who, const struct usage *before)
{
	struct usage after;

	for (int i = 0; i < 3000; i++) {
		after = usage_of(before->pid);
		if (after.fds <= before->fds && after.threads <= before->threads &&
		    after.mappings <= before->mappings + SLACK_MAPPINGS && after.rss_kib <= before->rss_kib + SLACK_KIB)
			break;
		usleep(20000);
	}
	print_message("  %s: %u descriptors, was %u; %u threads, was %u; %u mappings, was %u; %lu KiB, was %lu\n", who,
		      after.fds, before->fds, after.threads, before->threads, after.mappings, before->mappings,
		      after.rss_kib, before->rss_kib);
	assert_true(after.fds <= before->fds);
	assert_true(after.threads <= before->threads);
	assert_true(after.mappings <= before->mappings + SLACK_MAPPINGS);
	assert_true(after.rss_kib <= before->rss_kib + SLACK_KIB);
}

/* ---- operations: each returns how many it was ---- */

static uint64_t seed = 88172645463325252u;

static uint32_t dice(uint32_t sides)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % sides;
}

/* A ring full of requests that are wrong somewhere, or right: what each is depends on the dice. */
static unsigned int many_requests(struct peer *p)
{
	const struct wire_extent extent = { PEER_DATA + PEER_HEAP, 8192 };
	uint16_t n = PEER_NUM / 2;

	for (uint16_t i = 0; i < n; i++) {
		struct wire_request r = { .type = dice(9), .extents = &extent };

		if (dice(2)) {
			r.n_args = r.n_extents = 1;
			r.args[0] =
				(struct wire_arg){ (uint8_t)(1 + dice(2)), (uint8_t)dice(5), 0, 1, dice(2), 0, 8192 };
		}
		r.session = dice(3) ? 0 : UINT64_C(0x100000001) + dice(40);
		r.object = dice(3) ? 0 : UINT64_C(0x100000001) + dice(40);
		r.op = dice(4);
		peer_request(p, (uint16_t)(2 * i), &r, i * 256u);
		/* Some messages are cut, some have no room for an answer. */
		if (dice(8) == 0)
			p->desc[2 * i].len -= 1 + dice(60);
		if (dice(8) == 0)
			p->desc[2 * i + 1].len = dice(40);
		p->avail->ring[(uint16_t)(p->avail->idx + i) % PEER_NUM] = (uint16_t)(2 * i);
	}
	__atomic_store_n(&p->avail->idx, (uint16_t)(p->avail->idx + n), __ATOMIC_RELEASE);
	eventfd_write(p->kick, 1);
	peer_wait_used(p, n);
	return n;
}

/* Sessions and buffers that nobody closes: the connection's end does. */
static unsigned int break_ring(struct peer *p)
{
	peer_desc(p, 0, dice(2) ? PEER_DATA : 0, dice(2) ? 1 : UINT32_MAX, VRING_DESC_F_NEXT, (uint16_t)dice(100));
	p->avail->ring[p->avail->idx % PEER_NUM] = 0;
	__atomic_store_n(&p->avail->idx, (uint16_t)(p->avail->idx + 1 + (dice(2) ? 100 : 0)), __ATOMIC_RELEASE);
	p->desc[0].next = 0;
	eventfd_write(p->kick, 1);
	peer_expect_broken(p);
	peer_start_ring(p, PEER_NUM);
	return 9;
}

/* Many messages of wrong size at once, with descriptors; then their answers. */
static unsigned int bad_messages(struct peer *p)
{
	enum { BATCH = 32 };
	struct vhost_msg reply;

	for (int i = 0; i < BATCH; i++) {
		struct {
			struct vhost_header header;
			uint64_t payload[5];
		} bytes = { { dice(50), VHOST_FLAG_VERSION | VHOST_FLAG_NEED_REPLY, 33 + dice(7) },
			    { dice(9), dice(9) } };
		const int fds[] = { p->call, p->data_fd, p->fd };

		assert_true(peer_send(p, &bytes, sizeof(bytes.header) + bytes.header.size, fds, dice(4)));
	}
	for (int i = 0; i < BATCH; i++) {
		assert_int_equal(vhost_msg_recv(p->fd, 60000, &reply, NULL), 0);
		vhost_msg_close_fds(&reply);
	}
	return BATCH;
}

/* Memory that comes and goes, in part over what there is. */
static unsigned int regions(struct peer *p)
{
	struct vhost_mem_reg reg = { .region = { 0x10000000, 0x1000, 0x10000000, 0 } };

	assert_int_equal(peer_add_memory(p, reg.region, p->data_fd), PEER_ACCEPTED);
	assert_int_equal(peer_add_memory(p, reg.region, p->data_fd), PEER_REFUSED);
	assert_int_equal(peer_say(p, VHOST_REM_MEM_REG, &reg, sizeof(reg), -1), PEER_ACCEPTED);
	assert_int_equal(peer_say(p, VHOST_REM_MEM_REG, &reg, sizeof(reg), -1), PEER_REFUSED);
	return 4;
}

/* The connection ends in the middle of a message, with a descriptor in it; another comes. */
static unsigned int hang_up(struct peer **p)
{
	const struct vhost_header header = { VHOST_SET_FEATURES, VHOST_FLAG_VERSION, 8 };
	const char *cut = (const char *)&header;

	if (dice(2))
		peer_send(*p, cut, 1 + dice(11), &(*p)->call, 1);
	peer_free(*p);
	*p = peer_new(PEER_RUNNING);
	return 15;
}

static unsigned long operate(struct peer **p, unsigned long todo)
{
	unsigned long done = 0;

	while (done < todo) {
		switch (dice(64)) {
		case 0:
			done += hang_up(p);
			break;
		case 1:
			done += break_ring(*p);
			break;
		case 2:
			done += regions(*p);
			break;
		case 3 ... 15:
			done += bad_messages(*p);
			break;
		default:
			done += many_requests(*p);
		}
	}
	return done;
}

static void a_million(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	pid_t pid = rig_worker(0);
	struct usage supervisor, worker;
	unsigned long done;

	done = operate(&p, OPERATIONS / 10);
	guest_works(honest);
	supervisor = settled_usage_of(rig_daemon.pid);
	worker = settled_usage_of(pid);
	done += operate(&p, OPERATIONS - done);
	guest_works(honest);
	print_message("  %lu operations\n", done);
	compare("supervisor", &supervisor);
	assert_int_equal(rig_worker(0), pid);
	compare("worker", &worker);
	peer_free(p);
	hostile_over();
}

/* Workers that die of their front-ends' doing leave nothing in the supervisor. */
static void deaths(void **state)
{
	struct usage supervisor = { 0 };

	for (int i = 0; i < 14; i++) {
		struct peer *p = peer_new(PEER_RUNNING);

		assert_int_equal(ftruncate(p->rings_fd, 0), 0);
		eventfd_write(p->kick, 1);
		peer_expect_hangup(p);
		peer_free(p);
		guest_works(honest);
		if (i == 4)
			supervisor = settled_usage_of(rig_daemon.pid);
	}
	compare("supervisor", &supervisor);
	hostile_over();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_million),
		cmocka_unit_test(deaths),
	};

	return hostile_main("flat", tests, ARRAY_SIZE(tests));
}
