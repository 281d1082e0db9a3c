// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
/*
 * Linux driver of the virtio accel device: the virtio side.
 *
 * Removal (unbinding, hot-unplug, module removal) goes in this order, with accel_device.state:
 *   1. /dev/vaccelN is deregistered: no new open file
 *   2. STOPPING: no new request enters a ring, who waits for room or completions wakes up
 *   3. what is in flight may complete, for at most drain_ms; not if the queues broke
 *   4. GONE: the device is reset and the queues are deleted. Not every transport tells the device
 *      of the reset itself, but all have stopped it when the queues are deleted, so only then
 *   5. what is left is answered with ENODEV, and registrations and DMA mappings end
 * Open files keep the struct, and all they can do with it is to reap, to unmap and to close.
 *
 * A device that answers nothing any more is given up in the same way, but for 1 and 3: nothing may
 * complete while it could still touch memory, so it is reset first. It comes back when it is bound
 * again. Removal and suspending wait for that, and then find it gone.
 *
 * Suspending is possible while no file is open; what sessions and buffers a device has cannot be
 * saved.
 */
#include <linux/dma-mapping.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include "internal.h"
#include "compat.h"

struct workqueue_struct *accel_wq;

unsigned int accel_max_outstanding = 1024;
module_param_named(max_outstanding, accel_max_outstanding, uint, 0644);
MODULE_PARM_DESC(max_outstanding, "Requests of one open file that are submitted and not reaped");

static unsigned int accel_pin_limit_mb;
module_param_named(pin_limit_mb, accel_pin_limit_mb, uint, 0644);
MODULE_PARM_DESC(pin_limit_mb, "Memory pinned or registered by all users of one device, in MiB (0: half of all)");

unsigned int accel_poll_us = 50;
module_param_named(poll_us, accel_poll_us, uint, 0644);
MODULE_PARM_DESC(poll_us, "How long a waiting caller looks for the answer before it sleeps, in microseconds (0: not)");

static unsigned int accel_drain_ms = 10000;
module_param_named(drain_ms, accel_drain_ms, uint, 0644);
MODULE_PARM_DESC(drain_ms, "How long removal waits for requests in flight, in milliseconds");

static DEFINE_IDA(accel_ida);

static void accel_device_release(struct kref *ref)
{
	struct accel_device *dev = container_of(ref, struct accel_device, ref);

	ida_free(&accel_ida, dev->index);
	kfree(dev->queues);
	kfree(dev);
}

/**
 * accel_device_put() - Drop a reference.
 * @dev: the device
 *
 * Context: Process context.
 * Return: nothing.
 */
void accel_device_put(struct accel_device *dev)
{
	kref_put(&dev->ref, accel_device_release);
}

/**
 * accel_device_charge() - Account for pages before they are pinned or allocated.
 * @dev: the device
 * @pages: how many
 *
 * Context: Any context.
 * Return: 0, or -ENOMEM if that is more than the administrator allows.
 */
int accel_device_charge(struct accel_device *dev, unsigned long pages)
{
	unsigned int mb = READ_ONCE(accel_pin_limit_mb);
	unsigned long limit = mb ? (unsigned long)mb << (20 - PAGE_SHIFT) : totalram_pages() / 2;

	if (pages > limit)
		return -ENOMEM;
	if (atomic_long_add_return(pages, &dev->n_pages) > limit) {
		atomic_long_sub(pages, &dev->n_pages);
		return -ENOMEM;
	}
	return 0;
}

/**
 * accel_device_uncharge() - Undo accel_device_charge().
 * @dev: the device
 * @pages: how many
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_device_uncharge(struct accel_device *dev, unsigned long pages)
{
	atomic_long_sub(pages, &dev->n_pages);
}

static u64 accel_limit(u64 said, u64 own)
{
	return said ? min(said, own) : own;
}

/* Fields that the device does not have read as zero: then only the driver's own limit counts. */
static int accel_read_config(struct accel_device *dev)
{
	struct virtio_device *vdev = dev->vdev;
	struct vaccel_ioc_info *info = &dev->info;
	u32 queues = 0, sessions = 0, buffers = 0, args = 0, extents = 0, params = 0, message = 0;
	u64 request_bytes = 0, buffer_bytes = 0;
	unsigned int i;

	virtio_cread_le(vdev, struct virtio_accel_config, version_major, &info->version_major);
	virtio_cread_le(vdev, struct virtio_accel_config, version_minor, &info->version_minor);
	if (info->version_major != VIRTIO_ACCEL_VERSION_MAJOR) {
		dev_err(&vdev->dev, "device has interface version %u.%u, this driver knows %u\n",
			info->version_major, info->version_minor, VIRTIO_ACCEL_VERSION_MAJOR);
		return -EPROTO;
	}
	virtio_cread_le(vdev, struct virtio_accel_config, num_queues, &queues);
	virtio_cread_le(vdev, struct virtio_accel_config, max_sessions, &sessions);
	virtio_cread_le(vdev, struct virtio_accel_config, max_buffers, &buffers);
	virtio_cread_le(vdev, struct virtio_accel_config, max_buffer_bytes, &buffer_bytes);
	virtio_cread_le(vdev, struct virtio_accel_config, max_request_bytes, &request_bytes);
	virtio_cread_le(vdev, struct virtio_accel_config, max_args, &args);
	virtio_cread_le(vdev, struct virtio_accel_config, max_extents, &extents);
	virtio_cread_le(vdev, struct virtio_accel_config, max_params_len, &params);
	virtio_cread_le(vdev, struct virtio_accel_config, max_deadline_ms, &info->max_deadline_ms);
	virtio_cread_le(vdev, struct virtio_accel_config, max_message_bytes, &message);
	for (i = 0; i < ARRAY_SIZE(info->ops); i++)
		virtio_cread_le(vdev, struct virtio_accel_config, ops[i], &info->ops[i]);

	info->abi = VACCEL_IOC_ABI;
	info->features = vdev->features;
	info->num_queues = min_t(u64, accel_limit(queues, ACCEL_MAX_QUEUES), num_possible_cpus());
	info->max_sessions = accel_limit(sessions, ACCEL_MAX_HANDLES);
	info->max_buffers = accel_limit(buffers, ACCEL_MAX_HANDLES);
	info->max_buffer_bytes = accel_limit(buffer_bytes, U64_MAX);
	info->max_request_bytes = accel_limit(request_bytes, U64_MAX);
	info->max_args = accel_limit(args, ACCEL_MAX_ARGS);
	info->max_extents = accel_limit(extents, U32_MAX);
	info->max_params_len = accel_limit(params, U32_MAX);
	dev->max_message = accel_limit(message, U32_MAX);
	return 0;
}

static int accel_find_some_vqs(struct accel_device *dev, unsigned int n)
{
	const char *names[ACCEL_MAX_QUEUES];
	struct virtqueue **vqs;
	unsigned int i;
	int ret;

	vqs = kcalloc(n, sizeof(*vqs), GFP_KERNEL);
	if (!vqs)
		return -ENOMEM;
	for (i = 0; i < n; i++)
		names[i] = dev->queues[i].name;
	ret = accel_compat_find_vqs(dev->vdev, n, vqs, names, accel_queue_done);
	for (i = 0; i < n && !ret; i++)
		dev->queues[i].vq = vqs[i];
	kfree(vqs);
	return ret;
}

/* The transport may have fewer queues than the device speaks of. */
static int accel_find_vqs(struct accel_device *dev)
{
	unsigned int n = dev->info.num_queues;
	unsigned int size = UINT_MAX;
	unsigned int i;
	int ret;

	do
		ret = accel_find_some_vqs(dev, n);
	while (ret && --n);
	if (ret) {
		dev_err(&dev->vdev->dev, "no queue can be set up: %d\n", ret);
		return ret;
	}
	dev->info.num_queues = n;
	for (i = 0; i < n; i++)
		size = min(size, virtqueue_get_vring_size(dev->queues[i].vq));
	if (size < 4) {
		dev_err(&dev->vdev->dev, "queues of %u entries are too short\n", size);
		dev->vdev->config->del_vqs(dev->vdev);
		return -EINVAL;
	}
	/* a message in single pages, and the reply, must fit without indirect descriptors too */
	dev->max_message = min_t(u64, dev->max_message, (size - 2) * PAGE_SIZE);
	dev->info.max_params_len = min(dev->info.max_params_len, dev->max_message);
	dev->info.max_extents = min_t(u32, dev->info.max_extents,
				      dev->max_message / sizeof(struct virtio_accel_extent));
	return 0;
}

static void accel_set_state(struct accel_device *dev, enum accel_state state)
{
	unsigned int i;

	/* with submission: it counts itself, then reads the state */
	smp_store_mb(dev->state, state);
	for (i = 0; i < dev->info.num_queues; i++) {
		spin_lock_irq(&dev->queues[i].lock);
		spin_unlock_irq(&dev->queues[i].lock);
	}
}

/* Reset the device and delete its queues; requests stay on their lists. */
static void accel_stop(struct accel_device *dev)
{
	unsigned int i;

	accel_set_state(dev, ACCEL_GONE);
	virtio_reset_device(dev->vdev);
	for (i = 0; i < dev->info.num_queues; i++) {
		struct accel_queue *queue = &dev->queues[i];

		spin_lock_irq(&queue->lock);
		while (virtqueue_detach_unused_buf(queue->vq))
			;
		spin_unlock_irq(&queue->lock);
	}
	dev->vdev->config->del_vqs(dev->vdev);
	for (i = 0; i < dev->info.num_queues; i++)
		dev->queues[i].vq = NULL;
}

static void accel_wake_all(struct accel_device *dev)
{
	struct accel_file *file;
	unsigned int i;

	for (i = 0; i < dev->info.num_queues; i++)
		wake_up_all(&dev->queues[i].space);
	spin_lock_irq(&dev->lock);
	list_for_each_entry(file, &dev->files, node)
		wake_up_poll(&file->wait, EPOLLHUP | EPOLLERR);
	spin_unlock_irq(&dev->lock);
}

/* Steps 4 and 5. */
static void accel_end(struct accel_device *dev)
{
	unsigned int i;

	accel_stop(dev);
	for (i = 0; i < dev->info.num_queues; i++)
		accel_queue_abort(&dev->queues[i]);
	accel_buffers_of_device_gone(dev);
	accel_wake_all(dev);
}

static void accel_give_up_work(struct work_struct *work)
{
	struct accel_device *dev = container_of(work, struct accel_device, give_up);

	if (!accel_device_running(dev))
		goto put;
	dev_err(&dev->vdev->dev, "%s does not answer: it is reset, and gone until it is bound again\n",
		dev->name);
	accel_set_state(dev, ACCEL_STOPPING);
	synchronize_rcu(); /* notifications that are under way */
	accel_wake_all(dev);
	accel_end(dev);
put:
	accel_device_put(dev);
}

/* Nobody begins or is at it when this returns; who asks later finds the device gone, or running. */
static void accel_give_up_cancel(struct accel_device *dev)
{
	if (cancel_work_sync(&dev->give_up))
		accel_device_put(dev);
}

/**
 * accel_device_give_up() - End a device that answers nothing any more.
 * @dev: the device
 *
 * What is in flight completes with -ENODEV, a little later.
 *
 * Context: Any context.
 * Return: nothing.
 */
void accel_device_give_up(struct accel_device *dev)
{
	kref_get(&dev->ref);
	if (!queue_work(accel_wq, &dev->give_up))
		accel_device_put(dev);
}

static struct accel_device *accel_device_new(struct virtio_device *vdev)
{
	struct accel_device *dev;
	unsigned int i;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	dev->queues = kcalloc(ACCEL_MAX_QUEUES, sizeof(*dev->queues), GFP_KERNEL);
	if (!dev->queues) {
		kfree(dev);
		return ERR_PTR(-ENOMEM);
	}
	dev->index = ida_alloc(&accel_ida, GFP_KERNEL);
	if (dev->index < 0) {
		int ret = dev->index;

		kfree(dev->queues);
		kfree(dev);
		return ERR_PTR(ret);
	}
	snprintf(dev->name, sizeof(dev->name), "vaccel%d", dev->index);
	kref_init(&dev->ref);
	dev->vdev = vdev;
	dev->state = ACCEL_GONE;
	dev->dma_max = SIZE_MAX;
	if (!virtio_has_dma_quirk(vdev)) {
		dev->dma_dev = vdev->dev.parent;
		dev->dma_max = dma_max_mapping_size(dev->dma_dev) & PAGE_MASK;
	}
	INIT_WORK(&dev->give_up, accel_give_up_work);
	init_waitqueue_head(&dev->drained);
	init_waitqueue_head(&dev->torn);
	spin_lock_init(&dev->lock);
	INIT_LIST_HEAD(&dev->files);
	INIT_LIST_HEAD(&dev->buffers);
	for (i = 0; i < ACCEL_MAX_QUEUES; i++) {
		struct accel_queue *queue = &dev->queues[i];

		queue->dev = dev;
		spin_lock_init(&queue->lock);
		INIT_LIST_HEAD(&queue->in_flight);
		init_waitqueue_head(&queue->space);
		snprintf(queue->name, sizeof(queue->name), "requests.%u", i);
	}
	return dev;
}

static int accel_validate(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "device does not offer VIRTIO_F_VERSION_1\n");
		return -EINVAL;
	}
	return 0;
}

static int accel_start(struct accel_device *dev)
{
	int ret;

	ret = accel_find_vqs(dev);
	if (ret)
		return ret;
	accel_set_state(dev, ACCEL_RUNNING);
	virtio_device_ready(dev->vdev);
	return 0;
}

static int accel_probe(struct virtio_device *vdev)
{
	struct accel_device *dev;
	int ret;

	dev = accel_device_new(vdev);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	vdev->priv = dev;
	if (dev->dma_max < PAGE_SIZE) {
		dev_err(&vdev->dev, "device wants DMA, the platform has none\n");
		ret = -EOPNOTSUPP;
		goto put;
	}
	ret = accel_read_config(dev);
	if (ret)
		goto put;
	ret = accel_start(dev);
	if (ret)
		goto put;

	dev->misc.minor = MISC_DYNAMIC_MINOR;
	dev->misc.name = dev->name;
	dev->misc.fops = &accel_fops;
	dev->misc.parent = &vdev->dev;
	dev->misc.mode = 0660;
	ret = misc_register(&dev->misc);
	if (ret) {
		dev_err(&vdev->dev, "%s cannot be registered: %d\n", dev->name, ret);
		goto stop;
	}
	return 0;

stop:
	accel_stop(dev);
put:
	accel_device_put(dev);
	return ret;
}

/* Wait for what is in flight, as long as there is hope. */
static void accel_drain(struct accel_device *dev)
{
	unsigned long end = jiffies + msecs_to_jiffies(accel_drain_ms);

	while (!wait_event_timeout(dev->drained, !atomic_read(&dev->n_in_flight), HZ / 10)) {
		if (virtqueue_is_broken(dev->queues[0].vq))
			break;
		if (time_after(jiffies, end)) {
			dev_warn(&dev->vdev->dev, "%d requests did not complete before the reset\n",
				 atomic_read(&dev->n_in_flight));
			break;
		}
	}
}

static void accel_remove(struct virtio_device *vdev)
{
	struct accel_device *dev = vdev->priv;

	misc_deregister(&dev->misc);
	accel_give_up_cancel(dev);
	if (accel_device_running(dev)) {
		accel_set_state(dev, ACCEL_STOPPING);
		synchronize_rcu(); /* notifications that are under way */
		accel_wake_all(dev);
		accel_drain(dev);
		accel_end(dev);
	}
	accel_device_put(dev);
}

#ifdef CONFIG_PM_SLEEP
static int accel_freeze(struct virtio_device *vdev)
{
	struct accel_device *dev = vdev->priv;
	bool used;

	spin_lock_irq(&dev->lock);
	used = !list_empty(&dev->files);
	spin_unlock_irq(&dev->lock);
	if (used) {
		dev_warn(&vdev->dev, "%s is open: its state cannot be saved\n", dev->name);
		return -EBUSY;
	}
	accel_give_up_cancel(dev);
	if (!accel_device_running(dev))
		return 0;
	accel_set_state(dev, ACCEL_STOPPING);
	synchronize_rcu();
	accel_stop(dev);
	accel_buffers_of_device_gone(dev);
	return 0;
}

static int accel_restore(struct virtio_device *vdev)
{
	return accel_start(vdev->priv);
}
#endif

static const struct virtio_device_id accel_ids[] = {
	{ VIRTIO_ID_ACCEL, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, accel_ids);

static const unsigned int accel_features[] = {
	VIRTIO_ACCEL_F_BUFFERS,
	VIRTIO_ACCEL_F_CANCEL,
	VIRTIO_ACCEL_F_DEADLINE,
};

static struct virtio_driver accel_driver = {
	.driver.name = KBUILD_MODNAME,
	.driver.owner = THIS_MODULE,
	.id_table = accel_ids,
	.feature_table = accel_features,
	.feature_table_size = ARRAY_SIZE(accel_features),
	.validate = accel_validate,
	.probe = accel_probe,
	.remove = accel_remove,
#ifdef CONFIG_PM_SLEEP
	.freeze = accel_freeze,
	.restore = accel_restore,
#endif
};

static int __init accel_init(void)
{
	int ret;

	accel_wq = alloc_workqueue("vaccel", WQ_UNBOUND, 0);
	if (!accel_wq)
		return -ENOMEM;
	ret = register_virtio_driver(&accel_driver);
	if (ret)
		destroy_workqueue(accel_wq);
	return ret;
}

static void __exit accel_exit(void)
{
	unregister_virtio_driver(&accel_driver);
	/* the last files and buffers, closed but not yet freed */
	destroy_workqueue(accel_wq);
	rcu_barrier();
}

module_init(accel_init);
module_exit(accel_exit);

MODULE_DESCRIPTION("Virtio accel device: operations forwarded to the host's accelerators");
MODULE_AUTHOR("vAccel developers");
MODULE_VERSION("0.1.0");
MODULE_LICENSE("Dual BSD/GPL");
