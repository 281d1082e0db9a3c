/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of a virtio-crypto device: chains as Linux's driver builds them, and as it never would. The daemon is that of
 * rig.h, started with crypto_rig_start(). A guest has two data queues and the control queue.
 *
 * Its memory: slots, one for each request, with header, IV, key, answer and a table for indirect descriptors; then a heap for
 * sources and destinations.
 */
#ifndef TESTS_DAEMON_CRYPTO_RIG_H
#define TESTS_DAEMON_CRYPTO_RIG_H

#include "rig.h"

#include <linux/virtio_crypto.h>

#define CRYPTO_DATA_QUEUES 2
#define CRYPTO_CONTROL	   CRYPTO_DATA_QUEUES
#define CRYPTO_QUEUES	   (CRYPTO_DATA_QUEUES + 1)
#define CRYPTO_RING	   256
#define CRYPTO_SLOTS	   32
#define CRYPTO_SLOT	   (32u << 10)
#define CRYPTO_HEAP	   (CRYPTO_SLOTS * CRYPTO_SLOT)
#define CRYPTO_HEAP_LEN	   (4u << 20)

/* Starts a crypto device whose operations go to these plugins, with more lines in its configuration. */
void crypto_rig_start(const char *order, const char *config);

struct crypto_job {
	bool done;
	uint32_t written; /* as the used ring says */
	unsigned int slot;
};

struct crypto_guest {
	struct frontend *frontend;
	struct frontend_region *rings, *data;
	struct dring ring[CRYPTO_QUEUES];
	int kick[CRYPTO_QUEUES], call[CRYPTO_QUEUES];
	struct crypto_job jobs[CRYPTO_SLOTS];
	bool slot_used[CRYPTO_SLOTS];
};

struct crypto_guest *crypto_open(void);
void crypto_close(struct crypto_guest *guest);
/* Resets the device, and starts its queues again. */
void crypto_reset(struct crypto_guest *guest);
/* Any chain: bufs name addresses of the guest. table: through an indirect table. */
struct crypto_job *crypto_send(struct crypto_guest *guest, unsigned int queue, const struct dring_buf *bufs, uint16_t n,
			       bool table);
void crypto_poll(struct crypto_guest *guest, unsigned int queue);
void crypto_wait(struct crypto_guest *guest, unsigned int queue, struct crypto_job *job);
void crypto_free(struct crypto_guest *guest, struct crypto_job *job);
uint8_t *crypto_heap(struct crypto_guest *guest, uint32_t offset);
uint64_t crypto_addr(struct crypto_guest *guest, const void *data);
/* The memory of the slot that the next request will have: header, key, answer. */
uint8_t *crypto_next_slot(struct crypto_guest *guest);

/* ---- sessions ---- */

struct crypto_make {
	uint32_t opcode; /* 0: CIPHER_CREATE_SESSION */
	uint32_t algorithm;
	uint32_t kind; /* 0: plain cipher, or the private key */
	uint32_t direction;
	uint32_t padding, hash;
	const void *key;
	uint32_t key_len;
	uint32_t key_said; /* 0: key_len; what the header says */
	uint32_t header;   /* 0: all of it; so many bytes of the header are there */
	uint32_t room;	   /* 0: as much as needed; for the answer */
	uint32_t piece;	   /* not 0: in descriptors of so many bytes */
	bool without_room; /* no writable bytes at all */
};

/* Returns the status, or UINT32_MAX if nothing was written. */
uint32_t crypto_create(struct crypto_guest *guest, const struct crypto_make *make, uint64_t *ret_id);
/* Of plain ciphers; has to succeed. */
uint64_t crypto_cipher_session(struct crypto_guest *guest, uint32_t algorithm, uint32_t direction, const void *key,
			       uint32_t key_len);
/* opcode 0: CIPHER_DESTROY_SESSION. */
uint32_t crypto_destroy(struct crypto_guest *guest, uint32_t opcode, uint64_t id);

/* ---- requests ---- */

/* Lengths that are 0 in the second half are those of the first. */
struct crypto_plan {
	uint32_t opcode;
	uint64_t session;
	const void *iv;
	uint32_t iv_len, src_len, dst_len; /* as the header says */
	uint32_t src, dst;		   /* where in the heap */
	uint32_t kind;			   /* 0: plain cipher */
	uint32_t piece, gap;		   /* not 0: in descriptors of so many bytes, which lie so far apart */
	bool table;
	bool verifies;			     /* the destination is read, too */
	uint32_t header;		     /* bytes of the header that are there */
	int32_t iv_more, src_more, dst_more; /* bytes that are there beyond what the header says */
	bool no_status, dst_readable, no_dst;
};

struct crypto_job *crypto_plan_send(struct crypto_guest *guest, unsigned int queue, const struct crypto_plan *plan);
/* Its status, or UINT32_MAX: nothing was written. Frees the job. */
uint32_t crypto_finish(struct crypto_guest *guest, unsigned int queue, struct crypto_job *job);
uint32_t crypto_run(struct crypto_guest *guest, unsigned int queue, const struct crypto_plan *plan);
/* Between memory of ours and the heap as the plan lays it out. */
void crypto_put(struct crypto_guest *guest, const struct crypto_plan *plan, uint32_t at, const void *data,
		uint32_t len);
void crypto_take(struct crypto_guest *guest, const struct crypto_plan *plan, uint32_t at, void *data, uint32_t len);

/* A session of its own, used on each data queue, gives what it should. */
void crypto_works(struct crypto_guest *guest);

#endif
