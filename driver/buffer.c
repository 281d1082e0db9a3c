// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Registered buffers: memory that the driver allocates, the device knows by an id, and user space
 * maps.
 *
 * A buffer is made of naturally aligned pieces, the largest that can be had, so that its table of
 * extents is short and the host can map it as one linear range. References: the handle in its
 * open file, each mapping, each request that uses it, and its registration. The registration ends
 * when the device confirms BUFFER_UNREGISTER or SESSION_CLOSE, or was reset; as long as it stands
 * the memory is not freed, whatever user space does. The pages are freed by a worker, as the last
 * reference may fall in an interrupt.
 *
 * States of a handle, under accel_file.lock: OPENING until the device knows the buffer, OPEN,
 * CLOSING while the device is asked to forget it, CLOSED when it has; only the thread that began
 * OPENING or CLOSING leaves that state, or on_done in its place. A handle is taken out of the
 * table only by a thread that made it CLOSED, or by the teardown of its file.
 *
 * accel_device.buffers lists all buffers, so that removal ends every registration and DMA mapping
 * while the virtio device is still there.
 */
#include <linux/dma-mapping.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"
#include "compat.h"

#define ACCEL_MAX_PIECE_ORDER 10U

/* How many pages enter a page table at a time. */
#define ACCEL_MMAP_BATCH 64UL

static void accel_buffer_unmap_dma(struct accel_buffer *buffer)
{
	unsigned long i;

	for (i = 0; buffer->mapped && i < buffer->n_pieces; i++)
		dma_unmap_page(buffer->dev->dma_dev, buffer->pieces[i].dma,
			       PAGE_SIZE << buffer->pieces[i].order, DMA_BIDIRECTIONAL);
	buffer->mapped = false;
}

static void accel_buffer_free(struct accel_buffer *buffer)
{
	struct accel_device *dev = buffer->dev;
	unsigned long i;

	spin_lock_irq(&dev->lock);
	list_del_init(&buffer->node);
	accel_buffer_unmap_dma(buffer);
	spin_unlock_irq(&dev->lock);

	for (i = 0; i < buffer->n_pieces; i++) {
		__free_pages(buffer->pieces[i].page, buffer->pieces[i].order);
		cond_resched();
	}
	kvfree(buffer->pieces);
	accel_device_uncharge(dev, buffer->n_pages);
	kfree_rcu(buffer, rcu);
	accel_device_put(dev);
}

static void accel_buffer_release_work(struct work_struct *work)
{
	accel_buffer_free(container_of(work, struct accel_buffer, release));
}

static void accel_buffer_release(struct kref *ref)
{
	queue_work(accel_wq, &container_of(ref, struct accel_buffer, ref)->release);
}

/**
 * accel_buffer_put() - Drop a reference.
 * @buffer: the buffer, or NULL
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_buffer_put(struct accel_buffer *buffer)
{
	if (buffer)
		kref_put(&buffer->ref, accel_buffer_release);
}

/* The largest piece that can be had and is not larger than what is missing. */
static struct page *accel_piece_alloc(unsigned long missing, unsigned int *order)
{
	struct page *page;

	while (*order && (1UL << *order) > missing)
		(*order)--;
	for (;; (*order)--) {
		gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO;

		if (*order)
			gfp |= __GFP_COMP | __GFP_NOWARN | __GFP_NORETRY;
		page = alloc_pages(gfp, *order);
		if (page || !*order)
			return page;
	}
}

static void accel_pieces_free(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_pages(page, compound_order(page));
	}
}

/* Until their number is known, the pieces hang on a list. */
static int accel_pieces_alloc(struct accel_buffer *buffer, struct list_head *pages,
			      unsigned long *ret_n)
{
	unsigned int order = ACCEL_MAX_PIECE_ORDER;
	unsigned long missing = buffer->n_pages;
	struct page *page;

	while (order && (PAGE_SIZE << order) > buffer->dev->dma_max)
		order--;
	for (*ret_n = 0; missing; (*ret_n)++) {
		page = accel_piece_alloc(missing, &order);
		if (!page)
			return -ENOMEM;
		list_add_tail(&page->lru, pages);
		missing -= 1UL << order;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int accel_buffer_populate(struct accel_buffer *buffer)
{
	struct page *page, *next;
	unsigned long n;
	LIST_HEAD(pages);
	int ret;

	ret = accel_pieces_alloc(buffer, &pages, &n);
	if (!ret) {
		buffer->pieces = kvcalloc(n, sizeof(*buffer->pieces), GFP_KERNEL_ACCOUNT);
		if (!buffer->pieces)
			ret = -ENOMEM;
	}
	if (ret) {
		accel_pieces_free(&pages);
		return ret;
	}
	list_for_each_entry_safe(page, next, &pages, lru) {
		struct accel_piece *piece = &buffer->pieces[buffer->n_pieces++];

		list_del(&page->lru);
		piece->page = page;
		piece->order = compound_order(page);
	}
	return 0;
}

/* Everything under the device's lock, against removal. */
static int accel_buffer_map_dma(struct accel_buffer *buffer)
{
	struct accel_device *dev = buffer->dev;
	unsigned long i;
	int ret = -ENODEV;

	spin_lock_irq(&dev->lock);
	if (!accel_device_running(dev))
		goto unlock;
	for (i = 0; dev->dma_dev && i < buffer->n_pieces; i++) {
		struct accel_piece *piece = &buffer->pieces[i];

		piece->dma = dma_map_page(dev->dma_dev, piece->page, 0, PAGE_SIZE << piece->order,
					  DMA_BIDIRECTIONAL);
		if (dma_mapping_error(dev->dma_dev, piece->dma)) {
			while (i--)
				dma_unmap_page(dev->dma_dev, buffer->pieces[i].dma,
					       PAGE_SIZE << buffer->pieces[i].order,
					       DMA_BIDIRECTIONAL);
			ret = -ENOMEM;
			goto unlock;
		}
	}
	buffer->mapped = dev->dma_dev;
	ret = 0;
unlock:
	spin_unlock_irq(&dev->lock);
	return ret;
}

/**
 * accel_buffer_extents() - The extents of a whole buffer.
 * @buffer: the buffer
 * @to: where to write them, or NULL to count them
 *
 * Context: Any context.
 * Return: how many there are.
 */
u32 accel_buffer_extents(const struct accel_buffer *buffer, struct virtio_accel_extent *to)
{
	u64 start = 0, end = 0;
	unsigned long i;
	u32 n = 0;

	for (i = 0; i < buffer->n_pieces; i++) {
		const struct accel_piece *piece = &buffer->pieces[i];
		u64 addr = buffer->mapped ? piece->dma : page_to_phys(piece->page);

		if (!n || addr != end) {
			start = addr;
			n++;
		}
		end = addr + (PAGE_SIZE << piece->order);
		if (to) {
			to[n - 1].addr = cpu_to_le64(start);
			to[n - 1].len = cpu_to_le64(end - start);
		}
	}
	return n;
}

static struct accel_buffer *accel_buffer_new(struct accel_file *file, u32 session, u64 size)
{
	struct accel_device *dev = file->dev;
	unsigned long n_pages = size >> PAGE_SHIFT;
	struct accel_buffer *buffer;
	int ret;

	ret = accel_device_charge(dev, n_pages);
	if (ret)
		return ERR_PTR(ret);
	buffer = kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT);
	if (!buffer) {
		accel_device_uncharge(dev, n_pages);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&buffer->ref);
	kref_get(&dev->ref);
	buffer->dev = dev;
	buffer->file = file;
	buffer->session = session;
	buffer->n_pages = n_pages;
	INIT_WORK(&buffer->release, accel_buffer_release_work);
	spin_lock_irq(&dev->lock);
	list_add_tail(&buffer->node, &dev->buffers);
	spin_unlock_irq(&dev->lock);

	ret = accel_buffer_populate(buffer);
	if (!ret)
		ret = accel_buffer_map_dma(buffer);
	if (ret) {
		accel_buffer_put(buffer);
		return ERR_PTR(ret);
	}
	return buffer;
}

/* The device knows the buffer no more. */
static void accel_buffer_unregistered(struct accel_buffer *buffer)
{
	unsigned long flags;
	bool was;

	spin_lock_irqsave(&buffer->dev->lock, flags);
	was = buffer->registered;
	buffer->registered = false;
	spin_unlock_irqrestore(&buffer->dev->lock, flags);
	if (was)
		accel_buffer_put(buffer);
}

static void accel_buffer_registered(struct accel_request *req)
{
	struct accel_buffer *buffer = req->buffer;
	bool fine = !req->answer.error;
	unsigned long flags;

	spin_lock_irqsave(&req->file->lock, flags);
	buffer->id = req->answer.value;
	buffer->state = fine ? ACCEL_HANDLE_OPEN : ACCEL_HANDLE_CLOSED;
	spin_unlock_irqrestore(&req->file->lock, flags);
	if (!fine && !req->answer.unsure)
		accel_buffer_unregistered(buffer);
}

static int accel_buffer_register(struct accel_file *file, struct accel_buffer *buffer, u64 session)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_BUFFER_REGISTER, .session = session };
	struct accel_request *req;
	void *params;
	int ret;

	req = accel_request_new(file, 1);
	if (IS_ERR(req))
		return PTR_ERR(req);
	kref_get(&buffer->ref);
	req->operands[0].buffer = buffer;
	req->operands[0].kind = VIRTIO_ACCEL_ARG_EXTENTS;
	req->operands[0].dir = VIRTIO_ACCEL_DIR_INOUT;
	req->operands[0].len = (u64)buffer->n_pages << PAGE_SHIFT;
	req->operands[0].n_extents = accel_buffer_extents(buffer, NULL);
	params = accel_request_encode(req, &cmd);
	ret = PTR_ERR_OR_ZERO(params);
	if (!ret) {
		spin_lock_irq(&file->dev->lock);
		buffer->registered = true;
		kref_get(&buffer->ref);
		spin_unlock_irq(&file->dev->lock);
		kref_get(&buffer->ref);
		req->buffer = buffer;
		req->on_done = accel_buffer_registered;
		ret = accel_request_run(req, ACCEL_WAIT_KILLABLE);
	}
	accel_request_put(req);
	return ret;
}

/* Take a handle out of the table, with its reference, unless somebody else just did. */
static void accel_buffer_forget(struct accel_file *file, struct accel_buffer *buffer)
{
	bool mine;

	spin_lock_irq(&file->lock);
	buffer->state = ACCEL_HANDLE_CLOSED;
	mine = xa_load(&file->buffers, buffer->handle) == buffer;
	if (mine)
		xa_erase(&file->buffers, buffer->handle);
	spin_unlock_irq(&file->lock);
	if (mine) {
		atomic_dec(&file->n_buffers);
		accel_buffer_put(buffer);
	}
}

/**
 * accel_buffer_create() - Allocate and register a buffer.
 * @file: the open file
 * @arg: session and size; handle, size in whole pages and offset for mmap(2) are filled in
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno.
 */
int accel_buffer_create(struct accel_file *file, struct vaccel_ioc_buffer *arg)
{
	const struct vaccel_ioc_info *info = &file->dev->info;
	struct accel_buffer *buffer;
	u64 session;
	int ret;

	if (!accel_device_has(file->dev, VIRTIO_ACCEL_F_BUFFERS))
		return -EOPNOTSUPP;
	if (!arg->size)
		return -EINVAL;
	if (arg->size > info->max_buffer_bytes || arg->size > LONG_MAX - PAGE_SIZE)
		return -E2BIG;
	ret = accel_session_find(file, arg->session, &session);
	if (ret)
		return ret;
	if (atomic_inc_return(&file->n_buffers) > info->max_buffers) {
		atomic_dec(&file->n_buffers);
		return -EDQUOT;
	}
	buffer = accel_buffer_new(file, arg->session, PAGE_ALIGN(arg->size));
	if (IS_ERR(buffer)) {
		atomic_dec(&file->n_buffers);
		return PTR_ERR(buffer);
	}
	ret = xa_alloc_cyclic_irq(&file->buffers, &buffer->handle, buffer, XA_LIMIT(1, INT_MAX),
				  &file->next_buffer, GFP_KERNEL_ACCOUNT);
	if (ret < 0) {
		atomic_dec(&file->n_buffers);
		accel_buffer_put(buffer);
		return ret;
	}
	kref_get(&buffer->ref);
	ret = accel_buffer_register(file, buffer, session);
	if (!ret) {
		arg->handle = buffer->handle;
		arg->size = (u64)buffer->n_pages << PAGE_SHIFT;
		arg->mmap_offset = (u64)buffer->handle << PAGE_SHIFT;
	} else {
		accel_buffer_forget(file, buffer);
	}
	accel_buffer_put(buffer);
	return ret;
}

static int accel_buffer_missing(struct accel_file *file, u32 handle)
{
	return handle && handle < READ_ONCE(file->next_buffer) ? -ESTALE : -ENXIO;
}

/**
 * accel_buffer_find() - Look up a handle.
 * @file: the open file
 * @handle: the handle
 *
 * Context: Process context.
 * Return: the buffer, with a reference for the caller, or an ERR_PTR(): -ENXIO for a handle that
 * never was, -ESTALE for one that was.
 */
struct accel_buffer *accel_buffer_find(struct accel_file *file, u32 handle)
{
	struct accel_buffer *buffer;

	spin_lock_irq(&file->lock);
	buffer = xa_load(&file->buffers, handle);
	if (buffer && buffer->state == ACCEL_HANDLE_OPEN)
		kref_get(&buffer->ref);
	else
		buffer = ERR_PTR(accel_buffer_missing(file, handle));
	spin_unlock_irq(&file->lock);
	return buffer;
}

static void accel_buffer_unregister_done(struct accel_request *req)
{
	struct accel_buffer *buffer = req->buffer;
	bool freed = accel_answer_freed(&req->answer);
	unsigned long flags;

	spin_lock_irqsave(&req->file->lock, flags);
	if (buffer->state == ACCEL_HANDLE_CLOSING)
		buffer->state = freed ? ACCEL_HANDLE_CLOSED : ACCEL_HANDLE_OPEN;
	spin_unlock_irqrestore(&req->file->lock, flags);
	if (freed)
		accel_buffer_unregistered(buffer);
}

/* Return: the buffer with a reference, whose state is now CLOSING and the caller's to change. */
static struct accel_buffer *accel_buffer_begin_close(struct accel_file *file, u32 handle)
{
	struct accel_buffer *buffer;

	spin_lock_irq(&file->lock);
	buffer = xa_load(&file->buffers, handle);
	if (buffer && buffer->state == ACCEL_HANDLE_OPEN) {
		buffer->state = ACCEL_HANDLE_CLOSING;
		kref_get(&buffer->ref);
	} else {
		buffer = ERR_PTR(accel_buffer_missing(file, handle));
	}
	spin_unlock_irq(&file->lock);
	return buffer;
}

/**
 * accel_buffer_destroy() - Have the device forget a buffer, and drop its handle.
 * @file: the open file
 * @handle: the handle
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno; -EBUSY while a request uses it.
 */
int accel_buffer_destroy(struct accel_file *file, u32 handle)
{
	struct accel_command cmd = { .type = VIRTIO_ACCEL_T_BUFFER_UNREGISTER };
	struct accel_buffer *buffer;
	struct accel_request *req;
	int ret;

	buffer = accel_buffer_begin_close(file, handle);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	cmd.object = buffer->id;
	ret = accel_session_find(file, buffer->session, &cmd.session);
	if (ret)
		goto reopen;
	req = accel_request_new(file, 0);
	ret = PTR_ERR_OR_ZERO(req);
	if (ret)
		goto reopen;
	ret = PTR_ERR_OR_ZERO(accel_request_encode(req, &cmd));
	if (ret) {
		accel_request_put(req);
		goto reopen;
	}
	kref_get(&buffer->ref);
	req->buffer = buffer;
	req->on_done = accel_buffer_unregister_done;
	ret = accel_request_run(req, ACCEL_WAIT_KILLABLE);
	accel_request_put(req);
	if (READ_ONCE(buffer->state) == ACCEL_HANDLE_CLOSED)
		accel_buffer_forget(file, buffer);
	accel_buffer_put(buffer);
	return ret;

reopen:
	spin_lock_irq(&file->lock);
	if (buffer->state == ACCEL_HANDLE_CLOSING)
		buffer->state = ACCEL_HANDLE_OPEN;
	spin_unlock_irq(&file->lock);
	accel_buffer_put(buffer);
	return ret;
}

/**
 * accel_buffer_sync() - Pass a range between processor and device.
 * @operand: an argument of kind VIRTIO_ACCEL_ARG_BUFFER
 * @for_device: towards the device, or back
 *
 * Does nothing unless the platform bounces or caches DMA. Whole ranges are passed in both
 * directions, for a bounced output that the device fills in part must not lose the rest.
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_buffer_sync(const struct accel_operand *operand, bool for_device)
{
	const struct accel_buffer *buffer = operand->buffer;
	u64 start = operand->offset, end = start + operand->len;
	u64 at = 0;
	unsigned long i;

	if (!buffer->mapped || (!for_device && operand->dir == VIRTIO_ACCEL_DIR_IN))
		return;
	for (i = 0; i < buffer->n_pieces && at < end; i++) {
		const struct accel_piece *piece = &buffer->pieces[i];
		u64 next = at + (PAGE_SIZE << piece->order);
		u64 from = max(at, start), to = min(next, end);

		if (from < to && for_device)
			dma_sync_single_for_device(buffer->dev->dma_dev, piece->dma + (from - at),
						   to - from, DMA_BIDIRECTIONAL);
		else if (from < to)
			dma_sync_single_for_cpu(buffer->dev->dma_dev, piece->dma + (from - at),
						to - from, DMA_BIDIRECTIONAL);
		at = next;
	}
}

static void accel_vma_open(struct vm_area_struct *vma)
{
	struct accel_buffer *buffer = vma->vm_private_data;

	kref_get(&buffer->ref);
}

static void accel_vma_close(struct vm_area_struct *vma)
{
	accel_buffer_put(vma->vm_private_data);
}

static const struct vm_operations_struct accel_vm_ops = {
	.open = accel_vma_open,
	.close = accel_vma_close,
};

static int accel_piece_insert(struct vm_area_struct *vma, unsigned long *addr,
			      const struct accel_piece *piece)
{
	unsigned long left = 1UL << piece->order;
	struct page *page = piece->page;
	struct page *batch[ACCEL_MMAP_BATCH];

	while (left) {
		unsigned long n = min(left, ACCEL_MMAP_BATCH);
		unsigned long i, rest = n;
		int ret;

		for (i = 0; i < n; i++)
			batch[i] = page++;
		ret = vm_insert_pages(vma, *addr, batch, &rest);
		if (ret)
			return ret;
		*addr += n << PAGE_SHIFT;
		left -= n;
		cond_resched();
	}
	return 0;
}

/**
 * accel_buffer_mmap() - Map a whole buffer.
 * @file: the open file
 * @vma: its offset, in pages, is the buffer's handle
 *
 * The mapping stays valid whatever becomes of the handle, the file and the device.
 *
 * Context: Process context, may sleep.
 * Return: 0 or a negative errno; -EINVAL for a private mapping or one of another size.
 */
int accel_buffer_mmap(struct accel_file *file, struct vm_area_struct *vma)
{
	struct accel_buffer *buffer;
	unsigned long addr = vma->vm_start;
	unsigned long i;
	int ret = 0;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff > INT_MAX)
		return -ENXIO;
	buffer = accel_buffer_find(file, vma->vm_pgoff);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	if (vma_pages(vma) != buffer->n_pages) {
		accel_buffer_put(buffer);
		return -EINVAL;
	}
	accel_compat_vm_flags_set(vma, VM_DONTEXPAND | VM_MIXEDMAP);
	for (i = 0; !ret && i < buffer->n_pieces; i++)
		ret = accel_piece_insert(vma, &addr, &buffer->pieces[i]);
	if (ret) {
		accel_buffer_put(buffer);
		return ret;
	}
	vma->vm_private_data = buffer;
	vma->vm_ops = &accel_vm_ops;
	return 0;
}

/**
 * accel_buffers_of_session_gone() - The device has closed a session, and forgotten its buffers.
 * @file: the open file
 * @session: the session's handle
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_buffers_of_session_gone(struct accel_file *file, u32 session)
{
	struct accel_device *dev = file->dev;
	struct accel_buffer *buffer;
	unsigned long handle;

	spin_lock_irq(&dev->lock);
	list_for_each_entry(buffer, &dev->buffers, node) {
		if (buffer->file != file || buffer->session != session || !buffer->registered)
			continue;
		buffer->registered = false;
		accel_buffer_put(buffer); /* freed by a worker, so later */
	}
	spin_unlock_irq(&dev->lock);

	rcu_read_lock();
	xa_for_each(&file->buffers, handle, buffer)
		if (buffer->session == session)
			accel_buffer_forget(file, buffer);
	rcu_read_unlock();
}

/**
 * accel_buffers_of_file_drop() - Drop all handles of a file.
 * @file: the file, which nobody uses any more
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_buffers_of_file_drop(struct accel_file *file)
{
	struct accel_device *dev = file->dev;
	struct accel_buffer *buffer;
	unsigned long handle;

	spin_lock_irq(&dev->lock);
	list_for_each_entry(buffer, &dev->buffers, node)
		if (buffer->file == file)
			buffer->file = NULL;
	spin_unlock_irq(&dev->lock);

	xa_for_each(&file->buffers, handle, buffer)
		accel_buffer_forget(file, buffer);
}

/**
 * accel_buffers_of_device_gone() - The device was reset: it knows no buffer any more.
 * @dev: the device
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_buffers_of_device_gone(struct accel_device *dev)
{
	struct accel_buffer *buffer;

	spin_lock_irq(&dev->lock);
	list_for_each_entry(buffer, &dev->buffers, node) {
		accel_buffer_unmap_dma(buffer);
		if (!buffer->registered)
			continue;
		buffer->registered = false;
		accel_buffer_put(buffer); /* freed by a worker, so later */
	}
	spin_unlock_irq(&dev->lock);
}
