// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * The ioctls of /dev/vaccelN, and the table of all. Reserved fields and unknown flags must be
 * zero, so that they can be given a meaning.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

static int accel_ioctl_info(struct accel_file *file, void __user *arg)
{
	return copy_to_user(arg, &file->dev->info, sizeof(file->dev->info)) ? -EFAULT : 0;
}

static int accel_ioctl_session_open(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_session session;
	int ret;

	if (copy_from_user(&session, arg, sizeof(session)))
		return -EFAULT;
	if (session.flags)
		return -EINVAL;
	ret = accel_session_open(file, &session.handle);
	if (ret)
		return ret;
	if (copy_to_user(arg, &session, sizeof(session))) {
		accel_session_close(file, session.handle);
		return -EFAULT;
	}
	return 0;
}

static int accel_ioctl_session_close(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_session session;

	if (copy_from_user(&session, arg, sizeof(session)))
		return -EFAULT;
	return session.flags ? -EINVAL : accel_session_close(file, session.handle);
}

static int accel_ioctl_buffer_create(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_buffer buffer;
	int ret;

	if (copy_from_user(&buffer, arg, sizeof(buffer)))
		return -EFAULT;
	if (buffer.flags || buffer.reserved)
		return -EINVAL;
	ret = accel_buffer_create(file, &buffer);
	if (ret)
		return ret;
	if (copy_to_user(arg, &buffer, sizeof(buffer))) {
		accel_buffer_destroy(file, buffer.handle);
		return -EFAULT;
	}
	return 0;
}

static int accel_ioctl_buffer_destroy(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_buffer buffer;

	if (copy_from_user(&buffer, arg, sizeof(buffer)))
		return -EFAULT;
	if (buffer.flags || buffer.reserved)
		return -EINVAL;
	return accel_buffer_destroy(file, buffer.handle);
}

static int accel_ioctl_run(struct accel_file *file, void __user *arg)
{
	return accel_op_run(file, arg);
}

static int accel_ioctl_submit(struct accel_file *file, void __user *arg)
{
	return accel_op_submit(file, arg, false);
}

static int accel_ioctl_submit_nonblock(struct accel_file *file, void __user *arg)
{
	return accel_op_submit(file, arg, true);
}

static int accel_ioctl_reap(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_reap reap;
	int ret;

	if (copy_from_user(&reap, arg, sizeof(reap)))
		return -EFAULT;
	if (reap.reserved || !reap.max)
		return -EINVAL;
	ret = accel_file_reap(file, &reap);
	if (!ret && copy_to_user(arg, &reap, sizeof(reap)))
		ret = -EFAULT;
	return ret;
}

static int accel_ioctl_cancel(struct accel_file *file, void __user *arg)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_CANCEL };
	struct vaccel_ioc_cancel cancel;
	struct accel_request *req;
	int ret;

	if (copy_from_user(&cancel, arg, sizeof(cancel)))
		return -EFAULT;
	if (cancel.reserved)
		return -EINVAL;
	if (!accel_device_has(file->dev, VIRTIO_ACCEL_F_CANCEL))
		return -EOPNOTSUPP;
	ret = accel_file_knows(file, cancel.id);
	if (ret)
		return ret;
	cmd.object = cancel.id;
	req = accel_request_new(file, 0);
	if (IS_ERR(req))
		return PTR_ERR(req);
	ret = PTR_ERR_OR_ZERO(accel_request_encode(req, &cmd));
	if (!ret)
		ret = accel_request_run(req, ACCEL_WAIT_KILLABLE);
	accel_request_put(req);
	return ret;
}

static int accel_query_copy(const struct accel_pages *mem, void __user *to, size_t len)
{
	unsigned long i;

	for (i = 0; len; i++) {
		size_t part = min_t(size_t, len, PAGE_SIZE);
		void *from = kmap_local_page(mem->pages[i]);
		bool fault = copy_to_user(to, from, part);

		kunmap_local(from);
		if (fault)
			return -EFAULT;
		to += part;
		len -= part;
	}
	return 0;
}

/* The device fills pages of the driver's: the caller's room may be anything. */
static int accel_query(struct accel_file *file, struct vaccel_ioc_query *query)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_QUERY, .object = query->what };
	size_t room = min_t(u64, query->len, ACCEL_MAX_QUERY);
	struct accel_operand *operand;
	struct accel_request *req;
	int ret = 0;

	req = accel_request_new(file, 1);
	if (IS_ERR(req))
		return PTR_ERR(req);
	operand = &req->operands[0];
	operand->kind = VIRTIO_ACCEL_ARG_EXTENTS;
	operand->dir = VIRTIO_ACCEL_DIR_OUT;
	operand->len = room;
	if (room)
		ret = accel_pages_alloc(&operand->mem, room);
	if (!ret) {
		operand->n_extents = accel_pages_count(file->dev, &operand->mem, room);
		ret = PTR_ERR_OR_ZERO(accel_request_encode(req, &cmd));
	}
	if (!ret)
		ret = accel_request_run(req, ACCEL_WAIT_KILLABLE);
	if (!ret) {
		query->len = req->answer.value;
		ret = accel_query_copy(&operand->mem, u64_to_user_ptr(query->addr),
				       min_t(u64, query->len, room));
	}
	accel_request_put(req);
	return ret;
}

static int accel_ioctl_query(struct accel_file *file, void __user *arg)
{
	struct vaccel_ioc_query query;
	int ret;

	if (copy_from_user(&query, arg, sizeof(query)))
		return -EFAULT;
	if (query.reserved)
		return -EINVAL;
	ret = accel_query(file, &query);
	if (!ret && copy_to_user(arg, &query, sizeof(query)))
		ret = -EFAULT;
	return ret;
}

static const struct accel_ioctl {
	unsigned int cmd;
	int (*call)(struct accel_file *file, void __user *arg);
	int (*nonblock)(struct accel_file *file, void __user *arg); /* instead, with O_NONBLOCK */
	bool without_device; /* also once the device is gone */
} accel_ioctls[] = {
	{ VACCEL_IOC_INFO, accel_ioctl_info },
	{ VACCEL_IOC_SESSION_OPEN, accel_ioctl_session_open },
	{ VACCEL_IOC_SESSION_CLOSE, accel_ioctl_session_close },
	{ VACCEL_IOC_BUFFER_CREATE, accel_ioctl_buffer_create },
	{ VACCEL_IOC_BUFFER_DESTROY, accel_ioctl_buffer_destroy },
	{ VACCEL_IOC_SUBMIT, accel_ioctl_submit, accel_ioctl_submit_nonblock },
	{ VACCEL_IOC_RUN, accel_ioctl_run },
	{ VACCEL_IOC_REAP, accel_ioctl_reap, NULL, true },
	{ VACCEL_IOC_CANCEL, accel_ioctl_cancel },
	{ VACCEL_IOC_QUERY, accel_ioctl_query },
};

/**
 * accel_ioctl() - The ioctl(2) of /dev/vaccelN.
 * @filp: the open file
 * @cmd: VACCEL_IOC_...
 * @arg: address of the command's struct
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno: -ENOTTY for an unknown command, -ENODEV once the device is gone.
 */
long accel_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct accel_file *file = filp->private_data;
	const struct accel_ioctl *ioctl;

	for (ioctl = accel_ioctls; ioctl < accel_ioctls + ARRAY_SIZE(accel_ioctls); ioctl++) {
		if (ioctl->cmd != cmd)
			continue;
		if (!ioctl->without_device && !accel_device_running(file->dev))
			return -ENODEV;
		if (ioctl->nonblock && filp->f_flags & O_NONBLOCK)
			return ioctl->nonblock(file, (void __user *)arg);
		return ioctl->call(file, (void __user *)arg);
	}
	return -ENOTTY;
}
