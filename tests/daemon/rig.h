/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon of the test's own and drivers for its device: the front-end of src/vhost with requests built by hand, so that
 * a test can also send what no library would. Waits end in failure after a minute; nothing else depends on time.
 */
#ifndef TESTS_DAEMON_RIG_H
#define TESTS_DAEMON_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/daemon.h"
#include "op/wire.h"
#include "vhost/frontend.h"

#define QUEUES	  2
#define RING_SIZE 64
#define SLOTS	  32
#define SLOT_SIZE 8192
#define HEAP	  (SLOTS * SLOT_SIZE) /* in the data region; slots lie before it */
#define DATA_SIZE (HEAP + (1u << 20))

extern struct daemon rig_daemon;

/* Starts the daemon with these lines in its configuration, and ends it. Two threads: one may be held up. */
void rig_start(const char *config);
void rig_stop(void);
/* The same as fixtures of cmocka, with two threads. */
int rig_setup(void **state);
int rig_teardown(void **state);
/* The worker's process; waits until there is one other than `but`. */
pid_t rig_worker(pid_t but);
/* Waits until the process has ended. */
void rig_wait_gone(pid_t pid);
/* Kills the worker and returns which it was. */
pid_t rig_kill_worker(void);

/* Waits for a signal, unless there is something in the used ring already. */
void rig_await(struct dring *ring, int call);

struct job {
	bool done;
	uint32_t written; /* as the used ring says */
	struct wire_response response;
	char detail[200];
	unsigned int slot;
};

struct guest {
	struct frontend *frontend;
	struct frontend_region *rings, *data;
	struct dring ring[QUEUES];
	int kick[QUEUES], call[QUEUES];
	struct job jobs[SLOTS];
	bool slot_used[SLOTS];
	uint64_t next_id;
	uint64_t session;
};

#define ALL_FEATURES (FRONTEND_RING_FEATURES | 7)

/* Connects and starts all queues; opens a session. */
struct guest *guest_open(uint64_t features, uint64_t protocol_features);
/* With all features that there are. */
struct guest *guest_open_all(void);
void guest_start_queue(struct guest *guest, unsigned int queue);
void guest_close(struct guest *guest);

/* Sends; response_room bytes are offered for the answer. The job is the guest's until job_free(). */
struct job *guest_send_bytes(struct guest *guest, unsigned int queue, const void *message, size_t len,
			     size_t response_room);
struct job *guest_send(struct guest *guest, unsigned int queue, struct wire_request *request);
/* Takes all that is used, without waiting. */
void guest_poll(struct guest *guest, unsigned int queue);
struct job *guest_wait(struct guest *guest, unsigned int queue, struct job *job);
void job_free(struct guest *guest, struct job *job);
/* Sends, waits, checks the status, frees. Returns the value. */
uint64_t guest_call(struct guest *guest, unsigned int queue, struct wire_request *request, uint32_t status);
uint64_t guest_session(struct guest *guest);

/* Square product of small whole numbers in the heap at offset: A, B, C one after the other. */
struct product {
	struct guest *guest;
	uint32_t n;
	uint64_t offset;
	double alpha, beta;
	uint64_t session;
	uint64_t buffer; /* not 0: they lie in this registered buffer, which starts at offset */
};
void product_fill(const struct product *product);
struct job *product_send(const struct product *product, unsigned int queue);
void product_check(const struct product *product);
/* Sends, waits for this status, and checks the result if it is OK. */
void product_run(const struct product *product, unsigned int queue, uint32_t status);

/* A small product on each queue is right. */
void guest_works(struct guest *guest);

void *guest_heap(struct guest *guest, uint64_t offset);
uint64_t guest_heap_addr(struct guest *guest, uint64_t offset);
uint64_t guest_register(struct guest *guest, const struct wire_extent *extents, uint32_t n, uint32_t status);

#endif
