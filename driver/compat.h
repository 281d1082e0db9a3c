/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What differs between the kernels that the driver builds for (6.1 and newer). Nothing else in
 * driver/ asks for a kernel version.
 */
#ifndef ACCEL_COMPAT_H
#define ACCEL_COMPAT_H

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/virtio_config.h>

/* Names and callbacks of the virtqueues became one array of structs in 6.11. */
static inline int accel_compat_find_vqs(struct virtio_device *vdev, unsigned int n,
					struct virtqueue *vqs[], const char *const names[],
					vq_callback_t *callback)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	struct virtqueue_info *info;
	unsigned int i;
	int ret;

	info = kcalloc(n, sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		info[i].name = names[i];
		info[i].callback = callback;
	}
	ret = virtio_find_vqs(vdev, n, vqs, info, NULL);
	kfree(info);
	return ret;
#else
	vq_callback_t **callbacks;
	unsigned int i;
	int ret;

	callbacks = kcalloc(n, sizeof(*callbacks), GFP_KERNEL);
	if (!callbacks)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		callbacks[i] = callback;
	ret = virtio_find_vqs(vdev, n, vqs, callbacks, names, NULL);
	kfree(callbacks);
	return ret;
#endif
}

/* vm_flags is written through functions since 6.3. */
static inline void accel_compat_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

#endif /* ACCEL_COMPAT_H */
