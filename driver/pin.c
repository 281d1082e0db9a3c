// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Memory as the device sees it: a table of extents, each a physically contiguous run of bytes.
 *
 * User memory is pinned with FOLL_LONGTERM. How long a request runs is up to the device and may
 * be long, so its pages must not sit in a movable zone or in CMA, nor belong to a file system
 * that cannot bear it: on newer kernels a shared mapping of a file whose pages are written back
 * cannot be an output for this reason (EFAULT). Anonymous memory, memfd, shmem and hugetlbfs can.
 *
 * Pinned pages and the pages of registered buffers count against one limit for each device
 * (module parameter pin_limit_mb), rather than against RLIMIT_MEMLOCK, whose usual 8 MiB is less
 * than one matrix: who may open the device is trusted with that much.
 */
#include <linux/dma-mapping.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* One call of pin_user_pages_fast(): it runs with a signal pending and must end. */
#define ACCEL_PIN_BATCH 8192UL

static enum dma_data_direction accel_dma_direction(u8 dir)
{
	return dir == VIRTIO_ACCEL_DIR_IN ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

static int accel_pin_all(struct accel_pages *mem, unsigned long start, bool write)
{
	unsigned int flags = FOLL_LONGTERM | (write ? FOLL_WRITE : 0);
	unsigned long n = mem->n;

	mem->n = 0;
	while (mem->n < n) {
		unsigned long batch = min(n - mem->n, ACCEL_PIN_BATCH);
		int got;

		if (fatal_signal_pending(current))
			return -EINTR;
		got = pin_user_pages_fast(start + mem->n * PAGE_SIZE, batch, flags,
					  mem->pages + mem->n);
		if (got < 0)
			return got;
		if (!got)
			return -EFAULT;
		mem->n += got;
		cond_resched();
	}
	return 0;
}

/**
 * accel_pages_pin() - Pin a range of the caller's memory.
 * @dev: the device
 * @mem: all zeros
 * @addr: first byte
 * @len: bytes; may be 0
 * @write: the device will write to it
 *
 * Context: Process context of the memory's owner, may sleep.
 * Return: 0, -EFAULT, -ENOMEM (also for the device's limit), -E2BIG, -EINTR if killed. On failure
 * nothing is pinned.
 */
int accel_pages_pin(struct accel_device *dev, struct accel_pages *mem, u64 addr, u64 len,
		    bool write)
{
	unsigned long start, n;
	u64 end;
	int ret;

	if (!len)
		return 0;
	if (check_add_overflow(addr, len, &end) || end > ULONG_MAX - PAGE_SIZE)
		return -EFAULT;
	start = addr & PAGE_MASK;
	n = (PAGE_ALIGN((unsigned long)end) - start) >> PAGE_SHIFT;
	if (n > INT_MAX / sizeof(*mem->pages))
		return -E2BIG;
	ret = accel_device_charge(dev, n);
	if (ret)
		return ret;
	mem->pages = kvmalloc_array(n, sizeof(*mem->pages), GFP_KERNEL_ACCOUNT);
	if (!mem->pages) {
		accel_device_uncharge(dev, n);
		return -ENOMEM;
	}
	mem->n = n;
	mem->offset = offset_in_page(addr);
	mem->pinned = true;
	mem->written = write;
	ret = accel_pin_all(mem, start, write);
	if (ret) {
		accel_device_uncharge(dev, n - mem->n);
		accel_pages_fini(dev, mem);
	}
	return ret;
}

/**
 * accel_pages_alloc() - Allocate zeroed memory of the driver's own.
 * @mem: all zeros
 * @len: bytes, not 0
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int accel_pages_alloc(struct accel_pages *mem, size_t len)
{
	unsigned long n = DIV_ROUND_UP(len, PAGE_SIZE);
	int ret = -ENOMEM;

	mem->pages = kvcalloc(n, sizeof(*mem->pages), GFP_KERNEL_ACCOUNT);
	if (!mem->pages)
		return ret;
	for (mem->n = 0; mem->n < n; mem->n++) {
		mem->pages[mem->n] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!mem->pages[mem->n]) {
			accel_pages_fini(NULL, mem);
			return ret;
		}
	}
	return 0;
}

/**
 * accel_pages_fini() - Unpin or free.
 * @dev: the device for which it was pinned
 * @mem: from accel_pages_pin() or accel_pages_alloc(), or all zeros
 *
 * Context: Process context, may sleep.
 * Return: nothing.
 */
void accel_pages_fini(struct accel_device *dev, struct accel_pages *mem)
{
	unsigned long i;

	if (!mem->pages)
		return;
	if (mem->pinned) {
		unpin_user_pages_dirty_lock(mem->pages, mem->n, mem->written);
		accel_device_uncharge(dev, mem->n);
	} else {
		for (i = 0; i < mem->n; i++)
			__free_page(mem->pages[i]);
	}
	kvfree(mem->pages);
	memset(mem, 0, sizeof(*mem));
}

/* The contiguous run of bytes that begins @from bytes in, at most @left and @max long. */
static size_t accel_pages_run(const struct accel_pages *mem, u64 from, u64 left, size_t max)
{
	u64 at = mem->offset + from;
	unsigned long i = at >> PAGE_SHIFT;
	unsigned long pfn = page_to_pfn(mem->pages[i]);
	u64 run = PAGE_SIZE - offset_in_page(at);

	left = min_t(u64, left, max);
	while (run < left && page_to_pfn(mem->pages[++i]) == ++pfn)
		run += PAGE_SIZE;
	return min(run, left);
}

/**
 * accel_pages_count() - How many extents a range takes.
 * @dev: the device
 * @mem: the range
 * @len: its bytes
 *
 * Context: Process context, may sleep.
 * Return: the number of extents.
 */
u32 accel_pages_count(const struct accel_device *dev, const struct accel_pages *mem, u64 len)
{
	u32 n = 0;
	u64 at;

	for (at = 0; at < len; n++)
		at += accel_pages_run(mem, at, len - at, dev->dma_max);
	return n;
}

static int accel_extent_map(struct accel_request *req, struct page *page, unsigned int offset,
			    size_t len, u8 dir)
{
	struct virtio_accel_extent *extent = &req->extents[req->n_mapped];
	struct device *dma_dev = req->file->dev->dma_dev;
	u64 addr = page_to_phys(page) + offset;

	if (dma_dev) {
		addr = dma_map_page(dma_dev, page, offset, len, accel_dma_direction(dir));
		if (dma_mapping_error(dma_dev, addr))
			return -ENOMEM;
	}
	extent->addr = cpu_to_le64(addr);
	extent->len = cpu_to_le64(len);
	req->n_mapped++;
	return 0;
}

/**
 * accel_pages_map() - Write the extents of an argument into the message.
 * @req: the request; operands are mapped in their order
 * @operand: of kind VIRTIO_ACCEL_ARG_EXTENTS
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM; accel_request_unmap() undoes this also after a failure.
 */
int accel_pages_map(struct accel_request *req, const struct accel_operand *operand)
{
	const struct accel_pages *mem = &operand->mem;
	size_t max = req->file->dev->dma_max;
	size_t run;
	u64 from;
	int ret;

	if (operand->buffer) {
		req->n_mapped += accel_buffer_extents(operand->buffer,
						      req->extents + req->n_mapped);
		return 0;
	}
	for (from = 0; from < operand->len; from += run) {
		u64 at = mem->offset + from;

		run = accel_pages_run(mem, from, operand->len - from, max);
		ret = accel_extent_map(req, mem->pages[at >> PAGE_SHIFT], offset_in_page(at), run,
				       operand->dir);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * accel_request_unmap() - Take a request's memory back from the device.
 * @req: the request, not in a ring
 *
 * May be called again; later calls do nothing.
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_request_unmap(struct accel_request *req)
{
	struct device *dma_dev = req->file->dev->dma_dev;
	unsigned int i;
	u32 n = 0;
	u32 k;

	for (i = 0; i < req->n_operands && dma_dev && req->mapped; i++) {
		const struct accel_operand *operand = &req->operands[i];

		if (operand->kind == VIRTIO_ACCEL_ARG_BUFFER) {
			accel_buffer_sync(operand, false);
			continue;
		}
		if (operand->buffer) { /* mapped for as long as it lives */
			n += operand->n_extents;
			continue;
		}
		for (k = 0; k < operand->n_extents && n < req->n_mapped; k++, n++)
			dma_unmap_page(dma_dev, le64_to_cpu(req->extents[n].addr),
				       le64_to_cpu(req->extents[n].len),
				       accel_dma_direction(operand->dir));
	}
	req->mapped = false;
}
