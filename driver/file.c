// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * The open file: owner of sessions, buffers and requests.
 *
 * References: the open file itself, and each request. close(2) drops completions that nobody will
 * reap and its own reference. Requests still in flight go on, detached, and release themselves; it
 * does not wait for them. When the last one has, the file is torn down by a worker: it closes the
 * sessions at the device (the buffers go with them) and then frees the file. The requests that
 * this takes are references again, hence accel_file.torn. If nothing is in flight, close(2) waits a
 * little for that, so that whoever comes next finds the sessions free.
 *
 * Asynchronous requests are on in_flight until they complete, then on done until they are reaped,
 * and counted in n_async all the while. Their pages stay pinned until they are reaped, so that
 * completing them in an interrupt is cheap; the number of them is bounded.
 */
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

/* A device that closes no session within this time does not hold up close(2). */
#define ACCEL_CLOSE_WAIT HZ

static void accel_file_free(struct accel_file *file)
{
	struct accel_device *dev = file->dev;
	struct accel_session *session;
	unsigned long handle;

	xa_for_each(&file->sessions, handle, session)
		kfree(session);
	xa_destroy(&file->sessions);
	xa_destroy(&file->buffers);
	spin_lock_irq(&dev->lock);
	list_del(&file->node);
	spin_unlock_irq(&dev->lock);
	wake_up_all(&dev->torn);
	kfree(file);
	accel_device_put(dev);
}

static void accel_file_teardown(struct work_struct *work)
{
	struct accel_file *file = container_of(work, struct accel_file, teardown);

	if (!file->torn) {
		file->torn = true;
		kref_init(&file->ref);
		accel_sessions_of_file_close(file);
		accel_buffers_of_file_drop(file);
		accel_file_put(file);
		return;
	}
	accel_file_free(file);
}

static void accel_file_release_ref(struct kref *ref)
{
	queue_work(accel_wq, &container_of(ref, struct accel_file, ref)->teardown);
}

/**
 * accel_file_get() - Take a reference.
 * @file: the file
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_file_get(struct accel_file *file)
{
	kref_get(&file->ref);
}

/**
 * accel_file_put() - Drop a reference.
 * @file: the file
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_file_put(struct accel_file *file)
{
	kref_put(&file->ref, accel_file_release_ref);
}

/* The misc core's lock, held here, keeps the device registered and so referenced. */
static int accel_open(struct inode *inode, struct file *filp)
{
	struct accel_device *dev = container_of(filp->private_data, struct accel_device, misc);
	struct accel_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	kref_init(&file->ref);
	spin_lock_init(&file->lock);
	INIT_LIST_HEAD(&file->in_flight);
	INIT_LIST_HEAD(&file->done);
	init_waitqueue_head(&file->wait);
	xa_init_flags(&file->sessions, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	xa_init_flags(&file->buffers, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_IRQ);
	INIT_WORK(&file->teardown, accel_file_teardown);
	kref_get(&dev->ref);
	file->dev = dev;
	file->id = atomic64_inc_return(&dev->last_id);
	spin_lock_irq(&dev->lock);
	list_add_tail(&file->node, &dev->files);
	spin_unlock_irq(&dev->lock);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static bool accel_file_exists(struct accel_device *dev, u64 id)
{
	struct accel_file *file;
	bool exists = false;

	spin_lock_irq(&dev->lock);
	list_for_each_entry(file, &dev->files, node)
		exists |= file->id == id;
	spin_unlock_irq(&dev->lock);
	return exists;
}

static int accel_release(struct inode *inode, struct file *filp)
{
	struct accel_file *file = filp->private_data;
	struct accel_device *dev = file->dev;
	struct accel_request *req, *next;
	u64 id = file->id;
	LIST_HEAD(done);
	bool idle;

	spin_lock_irq(&file->lock);
	file->closed = true;
	idle = list_empty(&file->in_flight);
	list_splice_init(&file->done, &done);
	spin_unlock_irq(&file->lock);
	list_for_each_entry_safe(req, next, &done, file_node) {
		list_del_init(&req->file_node);
		accel_request_put(req);
	}
	kref_get(&dev->ref);
	accel_file_put(file);
	if (idle)
		wait_event_killable_timeout(dev->torn, !accel_file_exists(dev, id),
					    ACCEL_CLOSE_WAIT);
	accel_device_put(dev);
	return 0;
}

static __poll_t accel_poll(struct file *filp, poll_table *wait)
{
	struct accel_file *file = filp->private_data;
	__poll_t mask = 0;

	poll_wait(filp, &file->wait, wait);
	spin_lock_irq(&file->lock);
	if (!list_empty(&file->done))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (file->n_async < accel_max_outstanding)
		mask |= EPOLLOUT | EPOLLWRNORM;
	spin_unlock_irq(&file->lock);
	if (!accel_device_running(file->dev))
		mask |= EPOLLHUP | EPOLLERR;
	return mask;
}

static int accel_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct accel_file *file = filp->private_data;

	return accel_device_running(file->dev) ? accel_buffer_mmap(file, vma) : -ENODEV;
}

const struct file_operations accel_fops = {
	.owner = THIS_MODULE,
	.open = accel_open,
	.release = accel_release,
	.poll = accel_poll,
	.mmap = accel_mmap,
	.unlocked_ioctl = accel_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/**
 * accel_file_enter() - Make room for an asynchronous request.
 * @file: the file
 *
 * Context: Process context.
 * Return: 0 or -EAGAIN.
 */
int accel_file_enter(struct accel_file *file)
{
	int ret = -EAGAIN;

	spin_lock_irq(&file->lock);
	if (file->n_async < accel_max_outstanding) {
		file->n_async++;
		ret = 0;
	}
	spin_unlock_irq(&file->lock);
	return ret;
}

/**
 * accel_file_leave() - An asynchronous request was reaped, or not submitted.
 * @file: the file
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_file_leave(struct accel_file *file)
{
	bool wake;

	spin_lock_irq(&file->lock);
	wake = file->n_async-- == accel_max_outstanding || !accel_device_running(file->dev);
	spin_unlock_irq(&file->lock);
	if (wake)
		wake_up_all(&file->wait);
}

/**
 * accel_file_knows() - Is this request of the file's still running?
 * @file: the file
 * @id: the request's id
 *
 * Context: Process context.
 * Return: 0 or -ENOENT.
 */
int accel_file_knows(struct accel_file *file, u64 id)
{
	struct accel_request *req;
	int ret = -ENOENT;

	spin_lock_irq(&file->lock);
	list_for_each_entry(req, &file->in_flight, file_node) {
		if (req->id == id) {
			ret = 0;
			break;
		}
	}
	spin_unlock_irq(&file->lock);
	return ret;
}

static struct accel_request *accel_file_take(struct accel_file *file)
{
	struct accel_request *req;

	spin_lock_irq(&file->lock);
	req = list_first_entry_or_null(&file->done, struct accel_request, file_node);
	if (req)
		list_del_init(&req->file_node);
	spin_unlock_irq(&file->lock);
	return req;
}

/* The completion could not be delivered: it is the oldest one again. */
static void accel_file_take_back(struct accel_file *file, struct accel_request *req)
{
	spin_lock_irq(&file->lock);
	list_add(&req->file_node, &file->done);
	spin_unlock_irq(&file->lock);
}

/* Return: whether there is no completion, and never will be one. With the file's lock. */
static bool accel_file_over(const struct accel_file *file)
{
	return list_empty(&file->done) && !file->n_async && !accel_device_running(file->dev);
}

/* Return: whether a reaper has no more to wait for. */
static bool accel_file_ready(struct accel_file *file)
{
	bool ready;

	spin_lock_irq(&file->lock);
	ready = !list_empty(&file->done) || accel_file_over(file);
	spin_unlock_irq(&file->lock);
	return ready;
}

/* Return: 0 if it is worth looking again, -ETIME if not. */
static int accel_file_wait(struct accel_file *file, s64 timeout_ns, ktime_t end)
{
	ktime_t left;
	int ret;

	if (timeout_ns < 0)
		return wait_event_interruptible(file->wait, accel_file_ready(file));
	left = ktime_sub(end, ktime_get());
	if (left <= 0)
		return -ETIME;
	ret = wait_event_interruptible_hrtimeout(file->wait, accel_file_ready(file), left);
	return ret == -ERESTARTSYS ? -EINTR : ret; /* a restart would wait anew */
}

static int accel_file_reap_ready(struct accel_file *file, struct vaccel_ioc_reap *arg)
{
	struct vaccel_ioc_completion __user *to = u64_to_user_ptr(arg->completions);
	struct vaccel_ioc_completion completion;
	struct accel_request *req;

	while (arg->n < arg->max) {
		req = accel_file_take(file);
		if (!req)
			break;
		accel_answer_report(req, &completion);
		if (copy_to_user(to + arg->n, &completion, sizeof(completion))) {
			accel_file_take_back(file, req);
			return arg->n ? 0 : -EFAULT;
		}
		arg->n++;
		accel_file_leave(file);
		accel_request_put(req);
	}
	return 0;
}

/**
 * accel_file_reap() - Take completions.
 * @file: the file
 * @arg: where to, how many, how long to wait for the first; the number taken is filled in
 *
 * Context: Process context, may sleep.
 * Return: 0, also if there was none in time; -ENODEV if the device is gone and no completion is
 * left; -EINTR, -ERESTARTSYS, -EFAULT.
 */
int accel_file_reap(struct accel_file *file, struct vaccel_ioc_reap *arg)
{
	ktime_t end = ktime_add_safe(ktime_get(), ns_to_ktime(max_t(s64, arg->timeout_ns, 0)));
	int late = 0;
	bool over;
	int ret;

	arg->n = 0;
	for (;;) {
		ret = accel_file_reap_ready(file, arg);
		if (ret || arg->n)
			return ret;
		/* not accel_file_ready(): a completion may have come since */
		spin_lock_irq(&file->lock);
		over = accel_file_over(file);
		spin_unlock_irq(&file->lock);
		if (over)
			return -ENODEV;
		if (late)
			return late == -ETIME ? 0 : late;
		late = accel_file_wait(file, arg->timeout_ns, end);
	}
}
