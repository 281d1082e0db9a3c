/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Too much and too little: kicks without work, messages and connections without end, peers that are slow or say nothing at
 * all. Others are served meanwhile, and when it is over.
 */
#include "peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/util.h"

struct storm {
	struct peer *peer;
	void (*once)(struct peer *peer);
	pthread_t thread;
	bool stop; /* atomic */
};

static void *blow(void *opaque)
{
	struct storm *storm = opaque;

	while (!__atomic_load_n(&storm->stop, __ATOMIC_RELAXED))
		storm->once(storm->peer);
	return NULL;
}

/* Honest guests do their work while a peer does something over and over. */
static void beside(void (*once)(struct peer *peer), enum peer_stage stage)
{
	struct storm storm = { .peer = peer_new(stage), .once = once };

	assert_int_equal(pthread_create(&storm.thread, NULL, blow, &storm), 0);
	for (int i = 0; i < 100; i++)
		guest_works(honest);
	hostile_over();
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	pthread_join(storm.thread, NULL);
	peer_free(storm.peer);
	hostile_over();
}

static void kick(struct peer *p)
{
	eventfd_write(p->kick, 1);
}

static void kicks(void **state)
{
	beside(kick, PEER_RUNNING);
}

/* An index that says there is one more, which is the same head all the time. */
static void offer(struct peer *p)
{
	peer_request(p, 0, &(struct wire_request){ .type = 99 }, 0);
	p->avail->ring[p->avail->idx % PEER_NUM] = 0;
	__atomic_store_n(&p->avail->idx, (uint16_t)(p->used->idx + 1), __ATOMIC_RELEASE);
	eventfd_write(p->kick, 1);
}

static void offers(void **state)
{
	beside(offer, PEER_RUNNING);
}

static void ask(struct peer *p)
{
	peer_alive(p);
}

static void questions(void **state)
{
	beside(ask, PEER_RUNNING);
}

/* Everything that makes supervisor and worker do something. */
static void restart(struct peer *p)
{
	peer_start_ring(p, PEER_NUM);
}

static void restarts(void **state)
{
	beside(restart, PEER_RUNNING);
}

static void refuse(struct peer *p)
{
	assert_int_equal(peer_say(p, 4711, NULL, 0, -1), PEER_REFUSED);
}

static void refusals(void **state)
{
	beside(refuse, PEER_GREETED);
}

static void come_and_go(struct peer *unused)
{
	static unsigned int n;
	struct peer *p = peer_new(n++ % (PEER_RUNNING + 1));

	peer_free(p);
}

static void comings_and_goings(void **state)
{
	beside(come_and_go, PEER_FRESH);
}

/* Peers that say nothing, in whatever state: they are in nobody's way. */
static void silence(void **state)
{
	struct peer *peers[24];

	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peers[i] = peer_new(i % (PEER_RUNNING + 1));
	hostile_over();
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peer_free(peers[i]);
	hostile_over();
}

static void offer_one(struct peer *p)
{
	peer_request(p, 0, &(struct wire_request){ .type = 99 }, 0);
	peer_offer(p, 0);
}

/*
 * Nobody reads what it is woken by, and the descriptor is full and blocks whoever writes to it: answers come all the same,
 * the ring can be stopped, and the worker lives.
 */
static void deaf(struct peer *p)
{
	for (int i = 0; i < 2 * PEER_NUM; i++) {
		offer_one(p);
		peer_wait_used(p, 1);
	}
	hostile_over();
	peer_start_ring(p, PEER_NUM);
	offer_one(p);
	peer_wait_used(p, 1);
}

static void deaf_eventfd(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	pid_t worker = rig_worker(0);

	for (int i = 0; i < 2; i++) {
		assert_int_equal(eventfd_write(p->call, UINT64_MAX - 1), 0);
		assert_int_equal(fcntl(p->call, F_SETFL, 0), 0);
		deaf(p);
		assert_int_equal(fcntl(p->call, F_SETFL, O_NONBLOCK), 0);
		eventfd_read(p->call, &(eventfd_t){ 0 });
	}
	peer_free(p);
	hostile_over();
	assert_int_equal(rig_worker(0), worker);
}

static void deaf_pipe(void **state)
{
	struct peer *p = peer_new(PEER_RUNNING);
	static const char zeroes[65536];
	pid_t worker = rig_worker(0);
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(pipes[1], zeroes, sizeof(zeroes)) > 0)
		;
	assert_int_equal(peer_say_u64(p, VHOST_SET_VRING_CALL, 0, pipes[1]), PEER_ACCEPTED);
	assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
	deaf(p);
	close(pipes[0]);
	close(pipes[1]);
	peer_free(p);
	hostile_over();
	assert_int_equal(rig_worker(0), worker);
}

/* Lines of the log that a front-end causes are bounded, and the log says that it is not all. */
static void chatter(void **state)
{
	enum { N = 20000, BATCH = 100 };
	struct peer *p = peer_new(PEER_GREETED);
	const struct vhost_header header = { 4711, VHOST_FLAG_VERSION | VHOST_FLAG_NEED_REPLY, 0 };
	struct vhost_msg reply;
	unsigned int lines = 0;
	FILE *log;
	int c;

	for (int i = 0; i < N / BATCH; i++) {
		for (int j = 0; j < BATCH; j++)
			assert_true(peer_send(p, &header, sizeof(header), NULL, 0));
		for (int j = 0; j < BATCH; j++)
			assert_int_equal(vhost_msg_recv(p->fd, 60000, &reply, NULL), 0);
	}
	peer_free(p);
	hostile_over();
	log = fopen(rig_daemon.log, "re");
	assert_non_null(log);
	while ((c = fgetc(log)) != EOF)
		lines += c == '\n';
	fclose(log);
	assert_true(lines < N / 2);
	/* Said when there is room for a line again. */
	for (int i = 0; i < 20; i++) {
		peer_free(peer_new(PEER_GREETED));
		usleep(20000);
	}
	hostile_logged("lines about front-ends were left out");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kicks),     cmocka_unit_test(offers),	 cmocka_unit_test(questions),
		cmocka_unit_test(restarts),  cmocka_unit_test(refusals), cmocka_unit_test(comings_and_goings),
		cmocka_unit_test(silence),   cmocka_unit_test(chatter),	 cmocka_unit_test(deaf_eventfd),
		cmocka_unit_test(deaf_pipe),
	};

	return hostile_main("storms", tests, ARRAY_SIZE(tests));
}
