// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Operations: RUN and SUBMIT. The caller's structs are copied once and checked against the limits
 * of the device before anything is pinned or allocated in proportion to them.
 */
#include <linux/err.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

static int accel_arg_check(const struct vaccel_ioc_arg *arg)
{
	if (arg->dir < VIRTIO_ACCEL_DIR_IN || arg->dir > VIRTIO_ACCEL_DIR_INOUT || arg->reserved)
		return -EINVAL;
	switch (arg->kind) {
	case VIRTIO_ACCEL_ARG_EXTENTS:
		return arg->buffer || arg->offset ? -EINVAL : 0;
	case VIRTIO_ACCEL_ARG_BUFFER:
		return arg->addr ? -EINVAL : 0;
	default:
		return -EINVAL;
	}
}

static int accel_request_check(const struct accel_device *dev, const struct vaccel_ioc_request *arg)
{
	const struct vaccel_ioc_info *info = &dev->info;

	if (arg->flags || arg->reserved)
		return -EINVAL;
	if (arg->deadline_ms && !accel_device_has(dev, VIRTIO_ACCEL_F_DEADLINE))
		return -EOPNOTSUPP;
	if (info->max_deadline_ms && arg->deadline_ms > info->max_deadline_ms)
		return -E2BIG;
	if (arg->n_args > info->max_args || arg->params_len > info->max_params_len)
		return -E2BIG;
	return 0;
}

static struct vaccel_ioc_arg *accel_args_get(const struct accel_device *dev,
					     const struct vaccel_ioc_request *arg)
{
	struct vaccel_ioc_arg *args;
	u64 total = 0;
	unsigned int i;
	int ret = 0;

	args = memdup_user(u64_to_user_ptr(arg->args), arg->n_args * sizeof(*args));
	if (IS_ERR(args))
		return args;
	for (i = 0; i < arg->n_args && !ret; i++) {
		ret = accel_arg_check(&args[i]);
		if (!ret && (check_add_overflow(total, args[i].len, &total) ||
			     total > dev->info.max_request_bytes))
			ret = -E2BIG;
	}
	if (ret) {
		kfree(args);
		return ERR_PTR(ret);
	}
	return args;
}

static int accel_operand_resolve(struct accel_request *req, struct accel_operand *operand,
				 const struct vaccel_ioc_arg *arg, u32 session)
{
	struct accel_file *file = req->file;
	struct accel_buffer *buffer;
	int ret;

	operand->kind = arg->kind;
	operand->dir = arg->dir;
	operand->len = arg->len;
	if (arg->kind == VIRTIO_ACCEL_ARG_EXTENTS) {
		ret = accel_pages_pin(file->dev, &operand->mem, arg->addr, arg->len,
				      arg->dir & VIRTIO_ACCEL_DIR_OUT);
		if (!ret)
			operand->n_extents = accel_pages_count(file->dev, &operand->mem, arg->len);
		return ret;
	}
	buffer = accel_buffer_find(file, arg->buffer);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	operand->buffer = buffer;
	operand->offset = arg->offset;
	if (buffer->session != session)
		return -ENXIO;
	if (arg->offset > buffer->n_pages << PAGE_SHIFT ||
	    arg->len > (buffer->n_pages << PAGE_SHIFT) - arg->offset)
		return -ERANGE;
	return 0;
}

static int accel_operands_resolve(struct accel_request *req, const struct vaccel_ioc_request *arg)
{
	struct vaccel_ioc_arg *args;
	unsigned int i;
	int ret = 0;

	if (!arg->n_args)
		return 0;
	args = accel_args_get(req->file->dev, arg);
	if (IS_ERR(args))
		return PTR_ERR(args);
	for (i = 0; i < arg->n_args && !ret; i++)
		ret = accel_operand_resolve(req, &req->operands[i], &args[i], arg->session);
	kfree(args);
	return ret;
}

/* Return: an encoded request, or an ERR_PTR(). */
static struct accel_request *accel_op_new(struct accel_file *file,
					  const struct vaccel_ioc_request *arg)
{
	struct accel_command cmd = {
		.type = VIRTIO_ACCEL_T_OP,
		.op = arg->op,
		.deadline_ms = arg->deadline_ms,
		.params_len = arg->params_len,
	};
	struct accel_request *req;
	void *params;
	int ret;

	ret = accel_request_check(file->dev, arg);
	if (ret)
		return ERR_PTR(ret);
	ret = accel_session_find(file, arg->session, &cmd.session);
	if (ret)
		return ERR_PTR(ret);
	req = accel_request_new(file, arg->n_args);
	if (IS_ERR(req))
		return req;
	req->user_data = arg->user_data;
	req->deadline_ms = arg->deadline_ms;
	ret = accel_operands_resolve(req, arg);
	if (ret)
		goto put;
	params = accel_request_encode(req, &cmd);
	ret = PTR_ERR_OR_ZERO(params);
	if (ret)
		goto put;
	ret = -EFAULT;
	if (copy_from_user(params, u64_to_user_ptr(arg->params), arg->params_len))
		goto put;
	return req;
put:
	accel_request_put(req);
	return ERR_PTR(ret);
}

/**
 * accel_op_run() - VACCEL_IOC_RUN.
 * @file: the open file
 * @arg: the caller's struct
 *
 * Context: Process context, may sleep.
 * Return: 0 if the completion says how it went, otherwise a negative errno.
 */
int accel_op_run(struct accel_file *file, struct vaccel_ioc_run __user *arg)
{
	struct vaccel_ioc_completion completion;
	struct vaccel_ioc_request request;
	struct accel_request *req;
	int ret;

	if (copy_from_user(&request, &arg->request, sizeof(request)))
		return -EFAULT;
	req = accel_op_new(file, &request);
	if (IS_ERR(req))
		return PTR_ERR(req);
	ret = accel_request_submit(req, ACCEL_WAIT_KILLABLE);
	if (!ret)
		ret = accel_request_wait(req, ACCEL_WAIT_KILLABLE);
	if (!ret) {
		accel_answer_report(req, &completion);
		if (put_user(req->id, &arg->request.id) ||
		    copy_to_user(&arg->completion, &completion, sizeof(completion)))
			ret = -EFAULT;
	}
	accel_request_put(req);
	return ret;
}

/**
 * accel_op_submit() - VACCEL_IOC_SUBMIT.
 * @file: the open file
 * @arg: the caller's struct
 * @nonblock: fail rather than wait for room in the ring
 *
 * Context: Process context, may sleep.
 * Return: 0 if there will be a completion to reap, otherwise a negative errno: -EAGAIN if there
 * are too many already.
 */
int accel_op_submit(struct accel_file *file, struct vaccel_ioc_request __user *arg, bool nonblock)
{
	struct vaccel_ioc_request request;
	struct accel_request *req;
	int ret;

	if (copy_from_user(&request, arg, sizeof(request)))
		return -EFAULT;
	ret = accel_file_enter(file);
	if (ret)
		return ret;
	req = accel_op_new(file, &request);
	if (IS_ERR(req)) {
		accel_file_leave(file);
		return PTR_ERR(req);
	}
	req->async = true;
	ret = put_user(req->id, &arg->id);
	if (!ret)
		ret = accel_request_submit(req, nonblock ? ACCEL_WAIT_NONE : ACCEL_WAIT_KILLABLE);
	if (ret) {
		accel_file_leave(file);
		accel_request_put(req);
	}
	return ret;
}
