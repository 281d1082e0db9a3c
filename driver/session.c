// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Sessions of an open file. The states of a handle are those of a buffer's (buffer.c). The memory
 * of a session is freed by the thread that closed it, or with the file: a session whose opener or
 * closer was killed stays in the table until then, for the answer will still come in and be noted
 * there.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "internal.h"

/* Until a session is closed again that could not be, for want of memory, when its file was. */
#define ACCEL_RETRY_INTERVAL (HZ / 10)

static void accel_session_opened(struct accel_request *req)
{
	struct accel_session *session = req->session;
	unsigned long flags;

	spin_lock_irqsave(&req->file->lock, flags);
	session->id = req->answer.value;
	session->state = req->answer.error ? ACCEL_HANDLE_CLOSED : ACCEL_HANDLE_OPEN;
	spin_unlock_irqrestore(&req->file->lock, flags);
}

static void accel_session_closed(struct accel_request *req)
{
	struct accel_session *session = req->session;
	unsigned long flags;

	spin_lock_irqsave(&req->file->lock, flags);
	session->state = accel_answer_freed(&req->answer) ? ACCEL_HANDLE_CLOSED : ACCEL_HANDLE_OPEN;
	spin_unlock_irqrestore(&req->file->lock, flags);
}

/* The device cannot be asked: to it the session is what it was. */
static void accel_session_unasked(struct accel_file *file, struct accel_session *session)
{
	spin_lock_irq(&file->lock);
	if (session->state == ACCEL_HANDLE_OPENING)
		session->state = ACCEL_HANDLE_CLOSED;
	else
		session->state = ACCEL_HANDLE_OPEN;
	spin_unlock_irq(&file->lock);
}

static int accel_session_command(struct accel_file *file, struct accel_session *session,
				 const struct accel_command *cmd,
				 void (*on_done)(struct accel_request *req), enum accel_wait wait)
{
	struct accel_request *req;
	void *params;
	int ret;

	req = accel_request_new(file, 0);
	if (IS_ERR(req)) {
		accel_session_unasked(file, session);
		return PTR_ERR(req);
	}
	req->session = session;
	req->on_done = on_done;
	params = accel_request_encode(req, cmd);
	if (IS_ERR(params)) {
		ret = PTR_ERR(params);
		req->answer.error = ret;
		on_done(req);
	} else {
		ret = accel_request_run(req, wait);
	}
	accel_request_put(req);
	return ret;
}

/* If the session is closed, free it and let its buffers go. */
static void accel_session_reap(struct accel_file *file, struct accel_session *session)
{
	u32 handle = session->handle;
	bool closed;

	spin_lock_irq(&file->lock);
	closed = session->state == ACCEL_HANDLE_CLOSED;
	if (closed)
		xa_erase(&file->sessions, session->handle);
	spin_unlock_irq(&file->lock);
	if (closed) {
		atomic_dec(&file->n_sessions);
		kfree(session);
		accel_buffers_of_session_gone(file, handle);
	}
}

/**
 * accel_session_open() - Open a session at the device.
 * @file: the open file
 * @ret_handle: its handle
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno.
 */
int accel_session_open(struct accel_file *file, u32 *ret_handle)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_SESSION_OPEN };
	struct accel_session *session;
	int ret;

	if (atomic_inc_return(&file->n_sessions) > file->dev->info.max_sessions) {
		atomic_dec(&file->n_sessions);
		return -EDQUOT;
	}
	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session) {
		atomic_dec(&file->n_sessions);
		return -ENOMEM;
	}
	session->state = ACCEL_HANDLE_OPENING;
	ret = xa_alloc_cyclic_irq(&file->sessions, &session->handle, session,
				  XA_LIMIT(1, INT_MAX), &file->next_session, GFP_KERNEL_ACCOUNT);
	if (ret < 0) {
		atomic_dec(&file->n_sessions);
		kfree(session);
		return ret;
	}
	*ret_handle = session->handle;
	ret = accel_session_command(file, session, &cmd, accel_session_opened,
				    ACCEL_WAIT_KILLABLE);
	if (ret)
		accel_session_reap(file, session);
	return ret;
}

static int accel_session_missing(struct accel_file *file, u32 handle)
{
	return handle && handle < READ_ONCE(file->next_session) ? -ESTALE : -EBADF;
}

/**
 * accel_session_find() - Look up a handle.
 * @file: the open file
 * @handle: the handle
 * @ret_id: the device's id of the session
 *
 * Context: Process context.
 * Return: 0, -EBADF for a handle that never was, -ESTALE for one that was.
 */
int accel_session_find(struct accel_file *file, u32 handle, u64 *ret_id)
{
	struct accel_session *session;
	int ret = 0;

	spin_lock_irq(&file->lock);
	session = xa_load(&file->sessions, handle);
	if (session && session->state == ACCEL_HANDLE_OPEN)
		*ret_id = session->id;
	else
		ret = accel_session_missing(file, handle);
	spin_unlock_irq(&file->lock);
	return ret;
}

/**
 * accel_session_close() - Close a session at the device, and its buffers with it.
 * @file: the open file
 * @handle: the handle
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno; -EBUSY while it has requests in flight.
 */
int accel_session_close(struct accel_file *file, u32 handle)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_SESSION_CLOSE };
	struct accel_session *session;
	int ret = 0;

	spin_lock_irq(&file->lock);
	session = xa_load(&file->sessions, handle);
	if (session && session->state == ACCEL_HANDLE_OPEN) {
		session->state = ACCEL_HANDLE_CLOSING;
		cmd.session = session->id;
	} else {
		ret = accel_session_missing(file, handle);
	}
	spin_unlock_irq(&file->lock);
	if (ret)
		return ret;
	ret = accel_session_command(file, session, &cmd, accel_session_closed,
				    ACCEL_WAIT_KILLABLE);
	accel_session_reap(file, session);
	return ret;
}

/**
 * accel_sessions_of_file_close() - Close what is still open.
 * @file: the file, which nobody uses any more
 *
 * Buffers of a session that the device did not confirm to be closed stay registered, and so
 * allocated, until the device is reset. For want of memory alone no session is left open, since
 * nobody is there who could try again.
 *
 * Context: Process context, may sleep for as long as the device takes.
 * Return: nothing.
 */
void accel_sessions_of_file_close(struct accel_file *file)
{
	struct accel_session *session;
	unsigned long handle;

	xa_for_each(&file->sessions, handle, session) {
		struct accel_command cmd = {
			.type = VIRTIO_ACCEL_T_SESSION_CLOSE,
			.session = session->id,
		};

		while (session->state != ACCEL_HANDLE_CLOSED &&
		       accel_session_command(file, session, &cmd, accel_session_closed,
					     ACCEL_WAIT_IDLE) == -ENOMEM)
			schedule_timeout_idle(ACCEL_RETRY_INTERVAL);
		accel_session_reap(file, session);
	}
}
