// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * A request, from its making to its last reference.
 *
 *   new ── encode ── submit ──┬── in the ring ── finish ── released
 *                             └── not submitted ── released
 *
 * References: one belongs to whoever made the request (the waiting ioctl; for an asynchronous
 * request the open file's in_flight or done list), one to the ring while the device has it. A
 * waiter that is killed drops its reference and leaves; the request completes by itself, and only
 * then are its pages unpinned, its buffers put, its message and its reply freed: nothing that the
 * device may still touch is ever given back. Releasing unpins user pages, which may sleep, so a
 * last reference that falls in an interrupt is handed to a worker.
 *
 * The ring holds a request on accel_queue.in_flight, under the queue's lock, from
 * virtqueue_add_sgs() to virtqueue_get_buf(), or until the queue is aborted after a reset. Both
 * end in finish(), exactly once.
 *
 * accel_device.n_in_flight counts requests from before their memory is mapped for the device to
 * after it is unmapped: removal waits for it. A request is added only while the device runs,
 * tested under the queue's lock; the notification follows outside that lock, and inside RCU's
 * read side so that removal can wait for it too.
 */
#include <linux/err.h>
#include <linux/overflow.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/vmalloc.h>

#include "internal.h"

/* A queue that broke without any notice is noticed after at most so long. */
#define ACCEL_CHECK_INTERVAL HZ
/* How long a device may take to answer what takes no time. */
#define ACCEL_PROBE_WAIT (2 * HZ)

static void accel_request_release(struct accel_request *req)
{
	struct accel_file *file = req->file;
	unsigned int i;

	for (i = 0; i < req->n_operands; i++) {
		accel_pages_fini(file->dev, &req->operands[i].mem);
		accel_buffer_put(req->operands[i].buffer);
	}
	accel_buffer_put(req->buffer);
	kvfree(req->operands);
	sg_free_table(&req->sg);
	kvfree(req->message);
	kfree(req);
	accel_file_put(file);
}

static void accel_request_release_now(struct kref *ref)
{
	accel_request_release(container_of(ref, struct accel_request, ref));
}

static void accel_request_release_work(struct work_struct *work)
{
	accel_request_release(container_of(work, struct accel_request, release));
}

static void accel_request_release_later(struct kref *ref)
{
	struct accel_request *req = container_of(ref, struct accel_request, ref);

	queue_work(accel_wq, &req->release);
}

/**
 * accel_request_new() - Make an empty request.
 * @file: the open file that it belongs to
 * @n_operands: number of its arguments, to be filled in by the caller
 *
 * Context: Process context, may sleep.
 * Return: the request, with one reference for the caller, or an ERR_PTR().
 */
struct accel_request *accel_request_new(struct accel_file *file, unsigned int n_operands)
{
	struct accel_request *req;

	req = kzalloc(sizeof(*req), GFP_KERNEL_ACCOUNT);
	if (!req)
		return ERR_PTR(-ENOMEM);
	if (n_operands) {
		req->operands = kvcalloc(n_operands, sizeof(*req->operands), GFP_KERNEL_ACCOUNT);
		if (!req->operands) {
			kfree(req);
			return ERR_PTR(-ENOMEM);
		}
	}
	req->n_operands = n_operands;
	kref_init(&req->ref);
	accel_file_get(file);
	req->file = file;
	req->id = atomic64_inc_return(&file->dev->last_id);
	INIT_LIST_HEAD(&req->queue_node);
	INIT_LIST_HEAD(&req->file_node);
	init_completion(&req->done);
	INIT_WORK(&req->release, accel_request_release_work);
	return req;
}

/**
 * accel_request_put() - Drop a reference.
 * @req: the request
 *
 * Context: Process context, may sleep.
 * Return: nothing.
 */
void accel_request_put(struct accel_request *req)
{
	kref_put(&req->ref, accel_request_release_now);
}

static int accel_message_scatter(struct accel_request *req)
{
	size_t left = req->message_len;
	u8 *at = req->message;
	struct scatterlist *sg;
	unsigned int n = 1;
	unsigned int i;
	int ret;

	if (is_vmalloc_addr(at))
		n = DIV_ROUND_UP(left, PAGE_SIZE);
	ret = sg_alloc_table(&req->sg, n, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	if (n == 1 && !is_vmalloc_addr(at)) {
		sg_set_buf(req->sg.sgl, at, left);
		return 0;
	}
	for_each_sg(req->sg.sgl, sg, n, i) {
		size_t part = min_t(size_t, left, PAGE_SIZE);

		sg_set_page(sg, vmalloc_to_page(at), part, 0);
		at += part;
		left -= part;
	}
	return 0;
}

static void accel_message_fill(struct accel_request *req, const struct accel_command *cmd)
{
	struct virtio_accel_req *head = req->message;
	struct virtio_accel_arg *arg = (void *)(head + 1);
	unsigned int i;

	head->type = cpu_to_le32(cmd->type);
	head->id = cpu_to_le64(req->id);
	head->session = cpu_to_le64(cmd->session);
	head->object = cpu_to_le64(cmd->object);
	head->op = cpu_to_le32(cmd->op);
	head->deadline_ms = cpu_to_le32(cmd->deadline_ms);
	head->params_len = cpu_to_le32(cmd->params_len);
	head->n_extents = cpu_to_le32(req->n_extents);
	head->n_args = cpu_to_le16(req->n_operands);
	for (i = 0; i < req->n_operands; i++, arg++) {
		const struct accel_operand *operand = &req->operands[i];

		arg->kind = operand->kind;
		arg->dir = operand->dir;
		arg->len = cpu_to_le64(operand->len);
		if (operand->kind == VIRTIO_ACCEL_ARG_BUFFER) {
			arg->buffer = cpu_to_le64(operand->buffer->id);
			arg->offset = cpu_to_le64(operand->offset);
		} else {
			arg->n_extents = cpu_to_le32(operand->n_extents);
		}
	}
	req->extents = (void *)arg;
}

/**
 * accel_request_encode() - Write the message, but for extents and parameters.
 * @req: a request whose operands are complete
 * @cmd: what it asks for
 *
 * Context: Process context, may sleep.
 * Return: where @cmd->params_len bytes of parameters go, or an ERR_PTR(): -E2BIG if a limit of
 * the device is exceeded.
 */
void *accel_request_encode(struct accel_request *req, const struct accel_command *cmd)
{
	const struct vaccel_ioc_info *info = &req->file->dev->info;
	u64 n_extents = 0;
	unsigned int i;
	u64 len;
	int ret;

	for (i = 0; i < req->n_operands; i++)
		n_extents += req->operands[i].n_extents;
	if (n_extents > info->max_extents)
		return ERR_PTR(-E2BIG);
	len = sizeof(struct virtio_accel_req) + cmd->params_len +
	      (u64)req->n_operands * sizeof(struct virtio_accel_arg) +
	      n_extents * sizeof(struct virtio_accel_extent);
	if (len > req->file->dev->max_message)
		return ERR_PTR(-E2BIG);
	req->message = kvzalloc(len, GFP_KERNEL_ACCOUNT);
	if (!req->message)
		return ERR_PTR(-ENOMEM);
	req->message_len = len;
	req->n_extents = n_extents;
	accel_message_fill(req, cmd);
	ret = accel_message_scatter(req);
	if (ret)
		return ERR_PTR(ret);
	return req->extents + n_extents;
}

static void accel_uncount(struct accel_device *dev)
{
	if (atomic_dec_and_test(&dev->n_in_flight))
		wake_up_all(&dev->drained);
}

/* The answer is valid: tell whoever wants to know, and drop the ring's reference. */
static void accel_request_finish(struct accel_request *req)
{
	struct accel_file *file = req->file;
	bool drop = false;
	unsigned long flags;

	accel_request_unmap(req);
	if (req->on_done)
		req->on_done(req);

	spin_lock_irqsave(&file->lock, flags);
	list_del_init(&req->file_node);
	if (req->async) {
		drop = file->closed;
		if (!drop)
			list_add_tail(&req->file_node, &file->done);
	}
	spin_unlock_irqrestore(&file->lock, flags);

	if (req->async)
		wake_up_all(&file->wait);
	else
		complete(&req->done);
	accel_uncount(file->dev);
	if (drop)
		kref_put(&req->ref, accel_request_release_later);
	kref_put(&req->ref, accel_request_release_later);
}

/* Return: whether there is nothing to wait for; then *ret says if the device has the request. */
static bool accel_request_try(struct accel_request *req, int *ret)
{
	struct accel_queue *queue = req->queue;
	struct scatterlist reply, *sgs[2] = { req->sg.sgl, &reply };
	bool notify = false;
	unsigned long flags;

	sg_init_one(&reply, &req->reply, sizeof(req->reply));
	rcu_read_lock();
	spin_lock_irqsave(&queue->lock, flags);
	if (!accel_device_running(queue->dev)) {
		*ret = -ENODEV;
	} else {
		*ret = virtqueue_add_sgs(queue->vq, sgs, 1, 1, req, GFP_ATOMIC);
		if (!*ret) {
			kref_get(&req->ref);
			list_add_tail(&req->queue_node, &queue->in_flight);
			notify = virtqueue_kick_prepare(queue->vq);
		}
	}
	spin_unlock_irqrestore(&queue->lock, flags);
	if (notify)
		virtqueue_notify(queue->vq);
	rcu_read_unlock();
	return *ret != -ENOSPC;
}

static int accel_request_add(struct accel_request *req, enum accel_wait wait)
{
	struct accel_queue *queue = req->queue;
	int ret = 0;
	long left;

	if (wait == ACCEL_WAIT_NONE)
		return accel_request_try(req, &ret) ? ret : -EAGAIN;
	do {
		if (wait == ACCEL_WAIT_IDLE)
			left = wait_event_idle_timeout(queue->space, accel_request_try(req, &ret),
						       ACCEL_CHECK_INTERVAL);
		else
			left = wait_event_killable_timeout(queue->space,
							   accel_request_try(req, &ret),
							   ACCEL_CHECK_INTERVAL);
	} while (!left);
	return left < 0 ? left : ret;
}

/* Give the extents their addresses; no copy from user memory comes between this and the ring. */
static int accel_request_map(struct accel_request *req)
{
	unsigned int i;
	int ret;

	req->mapped = true;
	for (i = 0; i < req->n_operands; i++) {
		if (req->operands[i].kind == VIRTIO_ACCEL_ARG_BUFFER) {
			accel_buffer_sync(&req->operands[i], true);
			continue;
		}
		ret = accel_pages_map(req, &req->operands[i]);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * accel_request_submit() - Hand a request to the device.
 * @req: an encoded request, its parameters in place
 * @wait: how to wait while the ring is full
 *
 * For an asynchronous request the caller's reference goes to the open file, if this succeeds.
 *
 * Context: Process context, may sleep.
 * Return: 0 if the device has it, or will be found never to answer it. Otherwise nothing was
 * submitted: -ENODEV after removal, -EIO for a broken queue, -ERESTARTSYS if killed, -EAGAIN for
 * ACCEL_WAIT_NONE and a full ring, -ENOMEM.
 */
int accel_request_submit(struct accel_request *req, enum accel_wait wait)
{
	struct accel_file *file = req->file;
	struct accel_device *dev = file->dev;
	unsigned long flags;
	int ret;

	req->queue = &dev->queues[raw_smp_processor_id() % dev->info.num_queues];
	atomic_inc(&dev->n_in_flight);
	smp_mb__after_atomic(); /* with removal: it writes the state, then reads the count */
	if (!accel_device_running(dev)) {
		accel_uncount(dev);
		return -ENODEV;
	}
	spin_lock_irqsave(&file->lock, flags);
	list_add_tail(&req->file_node, &file->in_flight);
	spin_unlock_irqrestore(&file->lock, flags);

	ret = accel_request_map(req);
	if (!ret)
		ret = accel_request_add(req, wait);
	if (!ret)
		return 0;

	spin_lock_irqsave(&file->lock, flags);
	list_del_init(&req->file_node);
	spin_unlock_irqrestore(&file->lock, flags);
	accel_request_unmap(req);
	accel_uncount(dev);
	return ret;
}

static bool accel_queue_broken(struct accel_queue *queue)
{
	unsigned long flags;
	bool broken;

	spin_lock_irqsave(&queue->lock, flags);
	broken = READ_ONCE(queue->dev->state) != ACCEL_GONE && virtqueue_is_broken(queue->vq);
	spin_unlock_irqrestore(&queue->lock, flags);
	return broken;
}

/*
 * Not every VMM tells its guest that the back-end has gone away. A device that lives answers a
 * CANCEL at once: that its deadline has passed, or that the request runs or has completed.
 * Return: false if it did not.
 */
static bool accel_device_answers(struct accel_request *req)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_CANCEL, .object = req->id };
	struct accel_request *probe;
	bool answers = true; /* not to have asked is no reason to give up */

	if (!accel_device_has(req->file->dev, VIRTIO_ACCEL_F_CANCEL))
		return answers;
	probe = accel_request_new(req->file, 0);
	if (IS_ERR(probe))
		return answers;
	if (!IS_ERR(accel_request_encode(probe, &cmd)) &&
	    !accel_request_submit(probe, ACCEL_WAIT_NONE))
		answers = wait_for_completion_killable_timeout(&probe->done, ACCEL_PROBE_WAIT);
	accel_request_put(probe);
	return answers;
}

/* One look after another, until the answer is there, its waiter was killed, or there is no hope. */
static long accel_request_sleep(struct accel_request *req, enum accel_wait wait)
{
	unsigned long period = max_t(unsigned long, msecs_to_jiffies(req->deadline_ms), HZ);
	unsigned long probe_at = jiffies + period;
	long left;

	for (;;) {
		if (wait == ACCEL_WAIT_IDLE)
			left = wait_for_completion_timeout(&req->done, ACCEL_CHECK_INTERVAL);
		else
			left = wait_for_completion_killable_timeout(&req->done,
								    ACCEL_CHECK_INTERVAL);
		if (left)
			return left;
		if (accel_queue_broken(req->queue))
			return -EIO;
		if (!req->deadline_ms || time_before(jiffies, probe_at))
			continue;
		if (!accel_device_answers(req))
			accel_device_give_up(req->file->dev); /* which completes the request */
		probe_at = jiffies + period;
	}
}

/**
 * accel_request_wait() - Wait for the answer of a submitted request.
 * @req: a request that is not asynchronous
 * @wait: ACCEL_WAIT_KILLABLE or ACCEL_WAIT_IDLE
 *
 * Context: Process context, may sleep.
 * Return: 0 if @req->answer is valid, -ERESTARTSYS if killed, -EIO if the queue broke. In the
 * last two cases the device may still have the request, which goes on without its waiter.
 */
int accel_request_wait(struct accel_request *req, enum accel_wait wait)
{
	u64 start;
	long left;

	if (accel_request_poll(req, &start))
		return 0;
	left = accel_request_sleep(req, wait);
	if (left < 0)
		return left;
	accel_queue_slept(req->queue, start);
	return 0;
}

/**
 * accel_request_run() - Submit a request, wait for its answer, return its error.
 * @req: an encoded request
 * @wait: ACCEL_WAIT_KILLABLE or ACCEL_WAIT_IDLE
 *
 * If this fails before the device has the request, @req->on_done is called here, with the error
 * as the answer: it is called exactly once whatever happens.
 *
 * Context: Process context, may sleep.
 * Return: 0, or what failed here or at the device.
 */
int accel_request_run(struct accel_request *req, enum accel_wait wait)
{
	int ret;

	ret = accel_request_submit(req, wait);
	if (ret) {
		req->answer.error = ret;
		if (req->on_done)
			req->on_done(req);
		return ret;
	}
	ret = accel_request_wait(req, wait);
	return ret ? ret : req->answer.error;
}

/**
 * accel_queue_take() - Take what the device has used.
 * @queue: the queue
 * @arm: ask for the next interrupt too
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_queue_take(struct accel_queue *queue, bool arm)
{
	struct accel_request *req, *next;
	struct virtqueue *vq;
	unsigned long flags;
	LIST_HEAD(done);
	u32 used;

	spin_lock_irqsave(&queue->lock, flags);
	vq = queue->vq;
	if (READ_ONCE(queue->dev->state) == ACCEL_GONE || !vq) {
		spin_unlock_irqrestore(&queue->lock, flags);
		return;
	}
	do {
		virtqueue_disable_cb(vq);
		while ((req = virtqueue_get_buf(vq, &used))) {
			list_move_tail(&req->queue_node, &done);
			accel_answer_read(req, used);
		}
		if (!arm || virtqueue_is_broken(vq))
			break;
	} while (!virtqueue_enable_cb(vq));
	spin_unlock_irqrestore(&queue->lock, flags);

	if (list_empty(&done))
		return;
	if (wq_has_sleeper(&queue->space))
		wake_up_all(&queue->space);
	list_for_each_entry_safe(req, next, &done, queue_node) {
		list_del_init(&req->queue_node);
		accel_request_finish(req);
	}
}

/**
 * accel_queue_done() - The virtqueue's callback.
 * @vq: the virtqueue
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_queue_done(struct virtqueue *vq)
{
	struct accel_device *dev = vq->vdev->priv;

	accel_queue_take(&dev->queues[vq->index], true);
}

/**
 * accel_queue_abort() - Finish what a device that no longer exists has not answered.
 * @queue: a queue whose virtqueue is deleted, the state being ACCEL_GONE
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_queue_abort(struct accel_queue *queue)
{
	struct accel_request *req, *next;
	LIST_HEAD(left);

	spin_lock_irq(&queue->lock);
	list_splice_init(&queue->in_flight, &left);
	spin_unlock_irq(&queue->lock);

	list_for_each_entry_safe(req, next, &left, queue_node) {
		list_del_init(&req->queue_node);
		accel_answer_gone(req);
		accel_request_finish(req);
	}
}
