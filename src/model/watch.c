/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See watch.h. inotify only tells that something has happened, never what: what is there is found by looking
 * (store_scan()). Each look has an inotify instance of its own, so that there are no watches of folders that went away
 * to be kept account of. A folder is watched before it is read: whatever happens after that wakes the keeper.
 *
 *	idle -- an event --> look -> nothing pending --> idle
 *			      ^           |
 *			      +-- time ---+ something has not settled yet: until then events are not even read
 *
 * Looks are settle_ms apart at least. The parent of the folder of models is watched too: the folder may be removed, and
 * made again.
 */
#include "model/watch.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <syslog.h>
#include <unistd.h>

#include "util/util.h"

/* Between looks where nothing tells of changes, unless rescan_s says otherwise. */
#define BLIND_S 5

#define CHANGES                                                                                         \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF)

struct watch {
	const struct vaccel_plugin_host *host;
	const struct model_settings *settings;
	struct store *store;
	pthread_t thread;
	bool started;
	bool stop; /* atomic */
	int wake;  /* eventfd: something to unload, or stop */

	/* The keeper's own. */
	int inotify; /* below 0: none */
	int parent;  /* its watch of the folder's parent */
	bool blind;  /* some folder could not be watched */
	bool told;   /* said already */
	uint64_t looked_ns;
	uint64_t next_ns; /* 0: not before something happens */
};

static void wake(void *opaque)
{
	const struct watch *watch = opaque;
	const uint64_t one = 1;

	/* It can only fail when it has been woken 2^64 times. */
	if (write(watch->wake, &one, sizeof(one)) < 0)
		return;
}

/* ---- Watching ---- */

static void cannot_watch(struct watch *watch, const char *path)
{
	watch->blind = true;
	if (!watch->told)
		model_log(watch->host, LOG_WARNING, "models: cannot watch %s: %s; looking at it every %u s instead",
			  path, strerror(errno), watch->settings->rescan_s ? watch->settings->rescan_s : BLIND_S);
	watch->told = true;
}

static void watch_folder(const char *path, void *opaque)
{
	struct watch *watch = opaque;

	if (watch->inotify >= 0 && inotify_add_watch(watch->inotify, path, CHANGES | IN_ONLYDIR) < 0 &&
	    errno != ENOENT && errno != ENOTDIR)
		cannot_watch(watch, path);
}

/* The name of the folder in its parent, which is cut off path. */
static const char *split_path(char *path)
{
	size_t len = strlen(path);
	char *slash;

	while (len > 1 && path[len - 1] == '/')
		path[--len] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return path;
	*slash = '\0';
	return slash + 1;
}

static void watch_parent(struct watch *watch)
{
	char path[PATH_MAX];

	watch->parent = -1;
	if (watch->inotify < 0 || (size_t)snprintf(path, sizeof(path), "%s", watch->host->models_dir) >= sizeof(path))
		return;
	split_path(path);
	watch->parent = inotify_add_watch(watch->inotify, *path ? path : "/",
					  IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR);
}

/* Of the parent only what concerns the folder of models. */
static bool concerns(const struct watch *watch, const struct inotify_event *event)
{
	char path[PATH_MAX];

	if (event->wd != watch->parent || event->mask & IN_Q_OVERFLOW)
		return !(event->mask & IN_IGNORED);
	snprintf(path, sizeof(path), "%s", watch->host->models_dir);
	return event->len && !strcmp(event->name, split_path(path));
}

/* Whether something has happened. */
static bool read_events(const struct watch *watch)
{
	_Alignas(struct inotify_event) char events[4096];
	bool any = false;
	ssize_t n;

	while ((n = read(watch->inotify, events, sizeof(events))) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *event = (const struct inotify_event *)(events + at);

			any |= concerns(watch, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
	return any;
}

/* ---- Looking ---- */

static void look(struct watch *watch, bool at_once)
{
	int before = watch->inotify;

	watch->blind = false;
	watch->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->inotify < 0)
		cannot_watch(watch, watch->host->models_dir);
	if (before >= 0)
		close(before);
	watch_parent(watch);
	watch_folder(watch->host->models_dir, watch);
	watch->next_ns = store_scan(watch->store, at_once, watch_folder, watch);
	watch->looked_ns = now_ns();
	store_reap(watch->store);
}

/* Time until the next look without an event, for poll(). */
static int timeout_ms(const struct watch *watch)
{
	uint32_t every_s = watch->settings->rescan_s ? watch->settings->rescan_s : watch->blind ? BLIND_S : 0;
	uint64_t at_ns = every_s ? watch->looked_ns + every_s * UINT64_C(1000000000) : 0, now = now_ns();

	if (watch->next_ns && (!at_ns || watch->next_ns < at_ns))
		at_ns = watch->next_ns;
	if (!at_ns)
		return -1;
	return at_ns <= now ? 0 : (int)MIN((at_ns - now + 999999) / 1000000, INT_MAX);
}

static uint64_t earliest_ns(const struct watch *watch)
{
	return watch->looked_ns + watch->settings->settle_ms * UINT64_C(1000000);
}

static void on_event(struct watch *watch)
{
	uint64_t at_ns = MAX(now_ns(), earliest_ns(watch));

	if (read_events(watch) && (!watch->next_ns || at_ns < watch->next_ns))
		watch->next_ns = at_ns;
}

static void *keeper_main(void *opaque)
{
	struct watch *watch = opaque;

	while (!__atomic_load_n(&watch->stop, __ATOMIC_ACQUIRE)) {
		const bool soon = watch->next_ns && watch->next_ns <= earliest_ns(watch);
		struct pollfd fds[] = {
			{ .fd = watch->wake, .events = POLLIN },
			{ .fd = soon ? -1 : watch->inotify, .events = POLLIN },
		};
		int n = poll(fds, ARRAY_SIZE(fds), timeout_ms(watch));
		uint64_t count;

		if (n > 0 && fds[0].revents && read(watch->wake, &count, sizeof(count)) > 0)
			store_reap(watch->store);
		if (n > 0 && fds[1].revents)
			on_event(watch);
		else if (n == 0 && timeout_ms(watch) == 0)
			look(watch, false);
	}
	return NULL;
}

/* ---- Life ---- */

static int start(struct watch *watch, struct error *error)
{
	int r;

	watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watch->wake < 0)
		return error_set(error, -errno, "models: no event descriptor: %s", strerror(errno));
	r = store_new(watch->host, watch->settings, wake, watch, &watch->store, error);
	if (r < 0)
		return r;
	look(watch, true);
	r = -pthread_create(&watch->thread, NULL, keeper_main, watch);
	if (r < 0)
		return error_set(error, r, "models: cannot start a thread: %s", strerror(-r));
	watch->started = true;
	return 0;
}

int watch_new(const struct vaccel_plugin_host *host, const struct model_settings *settings, struct watch **ret_watch,
	      struct error *error)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int r;

	if (!watch)
		return error_set(error, -ENOMEM, "models: no memory");
	watch->host = host;
	watch->settings = settings;
	watch->inotify = -1;
	r = start(watch, error);
	if (r < 0)
		watch_free(watch);
	else
		*ret_watch = watch;
	return r;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	__atomic_store_n(&watch->stop, true, __ATOMIC_RELEASE);
	if (watch->started) {
		store_stop(watch->store);
		wake(watch);
		pthread_join(watch->thread, NULL);
	}
	store_free(watch->store);
	close_fd(&watch->inotify);
	close_fd(&watch->wake);
	free(watch);
}

struct store *watch_store(struct watch *watch)
{
	return watch->store;
}
