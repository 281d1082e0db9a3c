/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Linux driver of the virtio accel device: what its files share.
 *
 * The driver moves requests, not data. A request is one descriptor chain: a small device-readable
 * message and a device-writable answer. What an operation computes on never gets a descriptor;
 * the message holds a table of device-visible addresses of pinned user memory, or names a
 * registered buffer.
 *
 * main.c	the virtio driver: configuration, queues, removal, suspend
 * request.c	a request from submission to the last reference; theory of operation
 * poll.c	looking for an answer before sleeping
 * answer.c	what the device said: checked, translated to errno
 * pin.c	user memory, pinned, as a table of extents
 * buffer.c	registered buffers and their mappings; theory of operation
 * session.c	sessions of an open file
 * op.c		an operation, from the ioctl's structs to a request
 * file.c	the open file: its requests, completions, poll, teardown; theory of operation
 * ioctl.c	the remaining ioctls, and the table of all
 *
 * Lock order: accel_file.lock, then the locks inside its xarrays. accel_queue.lock and
 * accel_device.lock are never taken together with any other. All of them are taken in interrupts,
 * so with interrupts disabled.
 *
 * References go one way: request -> file -> device, and mapping, handle, request, registration ->
 * buffer -> device.
 */
#ifndef ACCEL_INTERNAL_H
#define ACCEL_INTERNAL_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "virtio_accel.h"

/* The driver's own bounds, whatever the device says. */
#define ACCEL_MAX_QUEUES	64
#define ACCEL_MAX_ARGS		256
#define ACCEL_MAX_HANDLES	65536
#define ACCEL_MAX_QUERY		(64 * 1024)

enum accel_state {
	ACCEL_RUNNING,	/* requests are taken */
	ACCEL_STOPPING,	/* none is taken any more, answers still come in */
	ACCEL_GONE,	/* the device was reset, its queues do not exist */
};

struct accel_device;
struct accel_file;
struct accel_request;

struct accel_queue {
	struct accel_device *dev;
	spinlock_t lock; /* the virtqueue and in_flight */
	struct virtqueue *vq;
	struct list_head in_flight; /* accel_request.queue_node */
	wait_queue_head_t space;    /* waiting for free descriptors */
	unsigned long polled;	    /* bit 0: somebody is in accel_request_poll() */
	u64 poll_ns;		    /* how long the next one looks; a hint */
	char name[24];
};

/* One device. Outlives its virtio device for as long as files are open. */
struct accel_device {
	struct kref ref;
	struct virtio_device *vdev; /* not used once the state is ACCEL_GONE */
	struct device *dma_dev;	    /* NULL: the device takes physical addresses */
	size_t dma_max;		    /* longest single mapping */
	struct miscdevice misc;
	int index;
	char name[24];

	/* Written by probe, remove and suspend; read under any queue's lock, or as a hint. */
	enum accel_state state;

	struct vaccel_ioc_info info; /* the device's limits, made to fit the driver's */
	u32 max_message;	     /* device-readable bytes of one request */
	struct accel_queue *queues;  /* [info.num_queues] */

	atomic64_t last_id; /* of requests and files */
	atomic_t n_in_flight;
	struct work_struct give_up; /* ends what a device does not answer any more */
	wait_queue_head_t drained; /* n_in_flight became 0 */
	wait_queue_head_t torn;	   /* a file left the list */
	atomic_long_t n_pages;	   /* pinned, or in registered buffers */

	spinlock_t lock;	  /* the two lists, accel_buffer.registered and .mapped */
	struct list_head files;	  /* accel_file.node */
	struct list_head buffers; /* accel_buffer.node */
};

/* Part of an argument list that lies in pages: pinned user memory, or the driver's own pages. */
struct accel_pages {
	struct page **pages;
	unsigned long n;
	unsigned int offset; /* of the first byte in the first page */
	bool pinned;	     /* by this struct, and counted in accel_device.n_pages */
	bool written;	     /* the device may write to them */
};

/* One argument of a request, resolved. */
struct accel_operand {
	u8 kind;
	u8 dir;
	u64 len;
	u32 n_extents;		     /* EXTENTS */
	struct accel_pages mem;	     /* EXTENTS */
	struct accel_buffer *buffer; /* BUFFER, or EXTENTS that are all of a buffer: a reference */
	u64 offset;		     /* BUFFER */
};

/* What a request asks for, besides its arguments; in native endianness. */
struct accel_command {
	enum virtio_accel_type type;
	u64 session;
	u64 object;
	u32 op;
	u32 deadline_ms;
	u32 params_len;
};

/* What came back: copied from the shared memory once, checked, and only then looked at. */
struct accel_answer {
	int error;
	bool unsure; /* not understood: the device may have done what was asked */
	u32 status;
	u64 value;
	u32 detail_len;
	char detail[VACCEL_IOC_DETAIL];
};

struct accel_reply {
	struct virtio_accel_resp resp;
	char detail[VACCEL_IOC_DETAIL - 1];
};

struct accel_request {
	struct kref ref;
	struct accel_file *file; /* a reference */
	u64 id;
	u64 user_data;
	u32 deadline_ms; /* 0: none */
	bool async;	 /* its completion goes to the file's list */

	struct accel_operand *operands;
	unsigned int n_operands;
	void *message; /* device-readable part, kvmalloc'ed */
	size_t message_len;
	struct virtio_accel_extent *extents; /* in the message */
	u32 n_extents;
	u32 n_mapped;	    /* extents that have an address */
	bool mapped;	    /* the device may use the memory */
	struct sg_table sg; /* of the message */

	struct accel_queue *queue;
	struct list_head queue_node; /* accel_queue.in_flight; its lock */
	struct list_head file_node;  /* accel_file.in_flight or .done; its lock */

	/*
	 * Called once, when the request is answered or will never be; any context. Whoever
	 * submitted it may have been killed by then.
	 */
	void (*on_done)(struct accel_request *req);
	struct accel_buffer *buffer;   /* for on_done: a reference, or NULL */
	struct accel_session *session; /* for on_done */

	struct completion done;	    /* answer is valid */
	struct work_struct release; /* of the last reference, if dropped where one must not sleep */
	struct accel_answer answer;
	struct accel_reply reply ____cacheline_aligned; /* written by the device */
};

/* Physically contiguous part of a buffer. */
struct accel_piece {
	struct page *page;
	unsigned int order;
	dma_addr_t dma;
};

enum accel_handle_state {
	ACCEL_HANDLE_OPENING, /* the device was asked to create the object */
	ACCEL_HANDLE_OPEN,
	ACCEL_HANDLE_CLOSING, /* the device was asked to free it */
	ACCEL_HANDLE_CLOSED,
};

struct accel_session {
	u32 handle;
	enum accel_handle_state state; /* accel_file.lock */
	u64 id;			       /* the device's; accel_file.lock */
};

struct accel_buffer {
	struct kref ref;
	struct accel_device *dev; /* a reference */
	struct list_head node;	  /* accel_device.buffers; its lock */
	bool registered;	  /* the device may know it, which counts as a reference */
	bool mapped;		  /* pieces[].dma is valid */
	struct accel_file *file;  /* compared, never followed */

	u32 handle;
	u32 session;		       /* handle */
	enum accel_handle_state state; /* accel_file.lock */
	u64 id;			       /* the device's; accel_file.lock */

	unsigned long n_pages;
	struct accel_piece *pieces; /* [n_pieces], kvmalloc'ed */
	unsigned long n_pieces;
	struct work_struct release;
	struct rcu_head rcu; /* walks of accel_file.buffers */
};

/* One open(2) of the device. */
struct accel_file {
	struct kref ref;
	struct accel_device *dev; /* a reference */
	struct list_head node;	  /* accel_device.files */
	u64 id;

	spinlock_t lock;	    /* states of handles, and down to done */
	bool closed;		    /* no one will reap */
	bool torn;		    /* teardown has begun, references are its own */
	unsigned int n_async;	    /* submitted and not reaped */
	struct list_head in_flight; /* accel_request.file_node */
	struct list_head done;	    /* likewise, oldest first; each is a reference */
	wait_queue_head_t wait;	    /* done grew, or the device went away */

	struct xarray sessions; /* handle -> accel_session */
	struct xarray buffers;	/* handle -> accel_buffer, a reference */
	u32 next_session;
	u32 next_buffer;
	atomic_t n_sessions;
	atomic_t n_buffers;

	struct work_struct teardown;
};

enum accel_wait {
	ACCEL_WAIT_KILLABLE,
	ACCEL_WAIT_NONE, /* for free descriptors: fail with -EAGAIN */
	ACCEL_WAIT_IDLE, /* in a worker, which nobody kills */
};

extern struct workqueue_struct *accel_wq;
extern unsigned int accel_max_outstanding;
extern unsigned int accel_poll_us;

/* main.c */
void accel_device_put(struct accel_device *dev);
void accel_device_give_up(struct accel_device *dev);
int accel_device_charge(struct accel_device *dev, unsigned long pages);
void accel_device_uncharge(struct accel_device *dev, unsigned long pages);

static inline bool accel_device_running(const struct accel_device *dev)
{
	return READ_ONCE(dev->state) == ACCEL_RUNNING;
}

static inline bool accel_device_has(const struct accel_device *dev, unsigned int feature)
{
	return dev->info.features & BIT_ULL(feature);
}

/* request.c */
struct accel_request *accel_request_new(struct accel_file *file, unsigned int n_operands);
void accel_request_put(struct accel_request *req);
void *accel_request_encode(struct accel_request *req, const struct accel_command *cmd);
int accel_request_submit(struct accel_request *req, enum accel_wait wait);
int accel_request_wait(struct accel_request *req, enum accel_wait wait);
int accel_request_run(struct accel_request *req, enum accel_wait wait);
void accel_queue_take(struct accel_queue *queue, bool arm);
void accel_queue_done(struct virtqueue *vq);
void accel_queue_abort(struct accel_queue *queue);

/* poll.c */
bool accel_request_poll(struct accel_request *req, u64 *ret_start);
void accel_queue_slept(struct accel_queue *queue, u64 start);

/* answer.c */
int accel_status_to_errno(u32 status);
void accel_answer_read(struct accel_request *req, u32 used);
bool accel_answer_freed(const struct accel_answer *answer);
void accel_answer_gone(struct accel_request *req);
void accel_answer_report(const struct accel_request *req, struct vaccel_ioc_completion *to);

/* pin.c */
int accel_pages_pin(struct accel_device *dev, struct accel_pages *mem, u64 addr, u64 len,
		    bool write);
int accel_pages_alloc(struct accel_pages *mem, size_t len);
void accel_pages_fini(struct accel_device *dev, struct accel_pages *mem);
u32 accel_pages_count(const struct accel_device *dev, const struct accel_pages *mem, u64 len);
int accel_pages_map(struct accel_request *req, const struct accel_operand *operand);
void accel_request_unmap(struct accel_request *req);

/* buffer.c */
int accel_buffer_create(struct accel_file *file, struct vaccel_ioc_buffer *arg);
int accel_buffer_destroy(struct accel_file *file, u32 handle);
struct accel_buffer *accel_buffer_find(struct accel_file *file, u32 handle);
void accel_buffer_put(struct accel_buffer *buffer);
u32 accel_buffer_extents(const struct accel_buffer *buffer, struct virtio_accel_extent *to);
void accel_buffer_sync(const struct accel_operand *operand, bool for_device);
int accel_buffer_mmap(struct accel_file *file, struct vm_area_struct *vma);
void accel_buffers_of_session_gone(struct accel_file *file, u32 session);
void accel_buffers_of_file_drop(struct accel_file *file);
void accel_buffers_of_device_gone(struct accel_device *dev);

/* session.c */
int accel_session_open(struct accel_file *file, u32 *ret_handle);
int accel_session_close(struct accel_file *file, u32 handle);
int accel_session_find(struct accel_file *file, u32 handle, u64 *ret_id);
void accel_sessions_of_file_close(struct accel_file *file);

/* op.c */
int accel_op_run(struct accel_file *file, struct vaccel_ioc_run __user *arg);
int accel_op_submit(struct accel_file *file, struct vaccel_ioc_request __user *arg, bool nonblock);

/* file.c */
extern const struct file_operations accel_fops;
void accel_file_get(struct accel_file *file);
void accel_file_put(struct accel_file *file);
int accel_file_reap(struct accel_file *file, struct vaccel_ioc_reap *arg);
int accel_file_enter(struct accel_file *file);
void accel_file_leave(struct accel_file *file);
int accel_file_knows(struct accel_file *file, u64 id);

/* ioctl.c */
long accel_ioctl(struct file *filp, unsigned int cmd, unsigned long arg);

#endif /* ACCEL_INTERNAL_H */
