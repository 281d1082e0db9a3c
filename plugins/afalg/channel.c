/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets with keys, and those that requests go through. All are in one list, the last used first, under one lock, which is not
 * held while the kernel is asked for anything that takes time. A transform that nobody uses is closed when there are too many.
 */
#include <errno.h>
#include <linux/if_alg.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "afalg.h"

/* Descriptors are what is scarce (daemon/setup.c): MAX_TRANSFORMS * (1 + MAX_IDLE) of them at most lie idle. */
enum { MAX_TRANSFORMS = 16, MAX_IDLE = 2 };
enum { WANTED_ROOM = 1 << 20 };

struct transform {
	struct transform *next;
	uint64_t key;
	const struct mode *mode;
	size_t tag_len;
	int fd;
	unsigned int users; /* channels that were taken */
	int idle[MAX_IDLE];
	unsigned int n_idle;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct transform *transforms;
static unsigned int n_transforms;

static void transform_free(struct transform *transform)
{
	if (!transform)
		return;
	for (unsigned int i = 0; i < transform->n_idle; i++)
		close(transform->idle[i]);
	if (transform->fd >= 0)
		close(transform->fd);
	free(transform);
}

/* ---- the kernel's side ---- */

static int open_transform(const struct vaccel_plugin_crypto_key *key, const struct mode *mode, size_t tag_len,
			  const struct vaccel_plugin_report *report)
{
	struct sockaddr_alg address = { .salg_family = AF_ALG };
	const char *name = *mode->driver ? mode->driver : mode->name;
	int fd = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return vaccel_plugin_error(report, -errno, "the kernel gives no socket of AF_ALG: %s", strerror(errno));
	snprintf((char *)address.salg_type, sizeof(address.salg_type), "%s", mode->type);
	snprintf((char *)address.salg_name, sizeof(address.salg_name), "%s", name);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		error = errno;
		vaccel_plugin_error(report, 0, "the kernel has no %s that is called %s: %s", mode->type, name,
				    strerror(error));
	} else if (setsockopt(fd, SOL_ALG, ALG_SET_KEY, key->data, (socklen_t)key->len) < 0) {
		/* Hardware need not have all lengths. */
		error = errno == EINVAL ? EOPNOTSUPP : errno;
		vaccel_plugin_error(report, 0, "%s takes no key of %zu bytes: %s", name, key->len, strerror(error));
	} else if (tag_len && setsockopt(fd, SOL_ALG, ALG_SET_AEAD_AUTHSIZE, NULL, (socklen_t)tag_len) < 0) {
		error = errno == EINVAL ? EOPNOTSUPP : errno;
		vaccel_plugin_error(report, 0, "%s makes no tag of %zu bytes: %s", name, tag_len, strerror(error));
	} else {
		return fd;
	}
	close(fd);
	return -error;
}

/* With as much room for messages as the system gives. */
static int open_channel(int transform_fd)
{
	const int wanted = WANTED_ROOM;
	int fd = accept4(transform_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted));
	return fd;
}

/* ---- the list, under the lock ---- */

/* Moves it to the front. */
static struct transform *find(uint64_t key, const struct mode *mode, size_t tag_len)
{
	for (struct transform **at = &transforms; *at; at = &(*at)->next) {
		struct transform *transform = *at;

		if (transform->key != key || transform->mode != mode || transform->tag_len != tag_len)
			continue;
		*at = transform->next;
		transform->next = transforms;
		transforms = transform;
		return transform;
	}
	return NULL;
}

/* Takes the last one that nobody uses out of a list that is too long; NULL if there is none. */
static struct transform *surplus(void)
{
	struct transform **last = NULL, *transform;

	if (n_transforms <= MAX_TRANSFORMS)
		return NULL;
	for (struct transform **at = &transforms; *at; at = &(*at)->next)
		if (!(*at)->users)
			last = at;
	if (!last)
		return NULL;
	transform = *last;
	*last = transform->next;
	n_transforms--;
	return transform;
}

/* ---- channels ---- */

/* An idle one, or -1. NULL: there is no such transform. */
static struct transform *take_known(uint64_t key, const struct mode *mode, size_t tag_len, int *ret_fd)
{
	struct transform *transform;

	pthread_mutex_lock(&lock);
	transform = find(key, mode, tag_len);
	*ret_fd = -1;
	if (transform) {
		transform->users++;
		if (transform->n_idle)
			*ret_fd = transform->idle[--transform->n_idle];
	}
	pthread_mutex_unlock(&lock);
	return transform;
}

static int take_new(const struct vaccel_plugin_crypto_key *key, const struct mode *mode, size_t tag_len,
		    const struct vaccel_plugin_report *report, struct transform **ret_transform)
{
	struct transform *transform = calloc(1, sizeof(*transform)), *gone;

	if (!transform)
		return vaccel_plugin_error(report, -ENOMEM, "no memory for a transform");
	*transform = (struct transform){ .key = key->id, .mode = mode, .tag_len = tag_len, .users = 1 };
	transform->fd = open_transform(key, mode, tag_len, report);
	if (transform->fd < 0) {
		int r = transform->fd;

		free(transform);
		return r;
	}
	/* Another thread may have made the same meanwhile: both serve. */
	pthread_mutex_lock(&lock);
	transform->next = transforms;
	transforms = transform;
	n_transforms++;
	gone = surplus();
	pthread_mutex_unlock(&lock);
	transform_free(gone);
	*ret_transform = transform;
	return 0;
}

int channel_take(const struct vaccel_plugin_crypto_key *key, const struct mode *mode, size_t tag_len,
		 const struct vaccel_plugin_report *report, struct channel *ret_channel)
{
	struct channel channel = { .fd = -1 };
	int r = 0;

	channel.transform = take_known(key->id, mode, tag_len, &channel.fd);
	if (!channel.transform)
		r = take_new(key, mode, tag_len, report, &channel.transform);
	if (r < 0)
		return r;
	if (channel.fd < 0)
		channel.fd = open_channel(channel.transform->fd);
	if (channel.fd < 0) {
		r = channel.fd;
		channel_give(&channel, true);
		return vaccel_plugin_error(report, r, "the kernel gives no channel to %s: %s", mode->name,
					   strerror(-r));
	}
	*ret_channel = channel;
	return 0;
}

void channel_give(struct channel *channel, bool failed)
{
	struct transform *transform = channel->transform;
	int fd = channel->fd;

	pthread_mutex_lock(&lock);
	transform->users--;
	if (!failed && transform->n_idle < MAX_IDLE) {
		transform->idle[transform->n_idle++] = fd;
		fd = -1;
	}
	pthread_mutex_unlock(&lock);
	if (fd >= 0)
		close(fd);
}

/* key 0: all. */
static void drop(uint64_t key)
{
	struct transform **at = &transforms, *gone = NULL, *transform;

	pthread_mutex_lock(&lock);
	while (*at) {
		transform = *at;
		if (key && transform->key != key) {
			at = &transform->next;
			continue;
		}
		*at = transform->next;
		n_transforms--;
		transform->next = gone;
		gone = transform;
	}
	pthread_mutex_unlock(&lock);
	while (gone) {
		transform = gone;
		gone = transform->next;
		transform_free(transform);
	}
}

void channels_key_gone(uint64_t key)
{
	drop(key);
}

void channels_fini(void)
{
	drop(0);
}
