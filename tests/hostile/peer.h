/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A front-end that keeps no rule: bytes on the vhost-user socket as a test writes them, memory files that it can cut short,
 * rings that it fills by hand. Beside it the honest guests of tests/daemon/rig.h, which must not notice: a test ends with
 * hostile_over().
 *
 * The peer has two memory files: one for its rings, one for everything else. Neither is sealed.
 */
#ifndef TESTS_HOSTILE_PEER_H
#define TESTS_HOSTILE_PEER_H

#include "daemon/rig.h"

#include <linux/virtio_ring.h>

#define PEER_NUM       64
#define PEER_RINGS     0x100000ul /* guest addresses; user addresses are PEER_UVA more */
#define PEER_RINGS_LEN 0x10000ul
#define PEER_DATA      0x400000ul
#define PEER_DATA_LEN  0x100000ul
#define PEER_UVA       0x7f0000000000ul
#define PEER_AVAIL     0x4000ul /* in the ring's memory; descriptors are at 0 */
#define PEER_USED      0x8000ul
#define PEER_TABLE     0x8000ul /* in the data: room for an indirect table */
#define PEER_ANSWERS   0x4000ul /* and for answers */
#define PEER_HEAP      0x20000ul

struct peer {
	int fd;
	int rings_fd, data_fd;
	uint8_t *rings, *data;
	int kick, call, err;
	struct vring_desc *desc, *table;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_used;
	uint64_t next_id;
};

/* How far a peer behaves before it does not. */
enum peer_stage {
	PEER_FRESH,
	PEER_GREETED, /* features are agreed on */
	PEER_SHARED,  /* both memory files, too */
	PEER_RUNNING, /* ring 0 serves */
};

struct peer *peer_new(enum peer_stage stage);
void peer_free(struct peer *peer);

enum { PEER_ACCEPTED = 0, PEER_REFUSED = 1, PEER_HUNG_UP = 2 };

/* Any bytes with any descriptors. False: the daemon has hung up. */
bool peer_send(struct peer *peer, const void *bytes, size_t len, const int *fds, size_t n_fds);
/* A message that asks for an acknowledgement, and what came of it. */
int peer_say(struct peer *peer, uint32_t request, const void *payload, uint32_t size, int fd);
int peer_say_u64(struct peer *peer, uint32_t request, uint64_t value, int fd);
int peer_say_state(struct peer *peer, uint32_t request, uint32_t index, uint32_t num);
int peer_add_memory(struct peer *peer, struct vhost_region region, int fd);
/* Sets ring 0 up (again) from its first entry on. */
void peer_start_ring(struct peer *peer, uint16_t num);
/* The connection still answers. */
void peer_alive(struct peer *peer);
void peer_expect_hangup(struct peer *peer);
/* The daemon says that the ring is broken. */
void peer_expect_broken(struct peer *peer);

void peer_desc(struct peer *peer, uint16_t index, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Makes a head available, and kicks. */
void peer_offer(struct peer *peer, uint16_t head);
/* A whole request from descriptor head on: message in the data at offset, answer behind PEER_ANSWERS. */
void peer_request(struct peer *peer, uint16_t head, struct wire_request *request, uint64_t offset);
/* Waits until n more were given back. */
void peer_wait_used(struct peer *peer, uint16_t n);

/* ---- daemon and honest guests ---- */

/* Fixtures: a daemon whose log is kept, and a guest that works. */
int hostile_setup(void **state);
int hostile_teardown(void **state);
/* What the log says from now on is looked at by hostile_logged(), which waits for it. NULL: nothing is asked. */
void hostile_mark(void);
void hostile_logged(const char *text);
/* The daemon lives, the guest from before works, and a new one does. */
void hostile_over(void);
/* Exit status of a program of such tests. */
int hostile_main(const char *name, const struct CMUnitTest *tests, size_t n);

/* The guest from before. */
extern struct guest *honest;

#endif
