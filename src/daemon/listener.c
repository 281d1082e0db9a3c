/* SPDX-License-Identifier: Apache-2.0 */
/* See listener.h. */
#include "daemon/listener.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/util.h"

/* How long a socket may be held by what is left of a daemon that was killed. */
#define RELEASE_STEPS	20
#define RELEASE_STEP_MS 50

static int make_address(const char *path, struct sockaddr_un *ret_address, struct error *error)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(ret_address->sun_path))
		return error_set(error, -ENAMETOOLONG, "socket %s: the path has %zu bytes, 1 to %zu are possible", path,
				 len, sizeof(ret_address->sun_path) - 1);
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret_address->sun_path, path, len);
	return 0;
}

/* Somebody listens, or at least holds the socket. */
static bool is_taken(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
}

/* A daemon that was killed just now may hold it a little longer, in a child that was to become its worker. */
static void await_release(const struct sockaddr_un *address)
{
	for (int i = 0; i < RELEASE_STEPS && is_taken(address); i++)
		poll(NULL, 0, RELEASE_STEP_MS);
}

/* Removes what an earlier daemon left behind, and nothing else. */
static int clear_stale(const struct sockaddr_un *address, struct error *error)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_set(error, -errno, "socket %s: %s", address->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(error, -EEXIST, "socket %s: there is a file of that name which is not a socket",
				 address->sun_path);
	await_release(address);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "socket %s: %s", address->sun_path, strerror(errno));
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return error_set(error, -EADDRINUSE, "socket %s: another daemon listens on it", address->sun_path);
	if (errno != ECONNREFUSED)
		return error_set(error, -errno, "socket %s: cannot tell whether it is in use: %s", address->sun_path,
				 strerror(errno));
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return error_set(error, -errno, "socket %s: cannot remove the one left behind: %s", address->sun_path,
				 strerror(errno));
	return 0;
}

static int give_to_group(const char *path, const char *name, struct error *error)
{
	const struct group *group = getgrnam(name);

	if (!group)
		return error_set(error, -ENOENT, "socket %s: there is no group %s", path, name);
	if (chown(path, (uid_t)-1, group->gr_gid) < 0)
		return error_set(error, -errno, "socket %s: cannot give it to group %s: %s", path, name,
				 strerror(errno));
	return 0;
}

int listener_open(const char *path, const char *group, struct error *error)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	mode_t mask;
	int r = make_address(path, &address, error);

	if (r == 0)
		r = clear_stale(&address, error);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(error, -errno, "socket %s: %s", path, strerror(errno));
	/* Nobody gets in between bind() and the right mode and group. */
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (r < 0)
		return error_set(error, r, "socket %s: cannot create it: %s", path, strerror(-r));
	if (group)
		r = give_to_group(path, group, error);
	if (r == 0 && chmod(path, 0660) < 0)
		r = error_set(error, -errno, "socket %s: cannot set its mode: %s", path, strerror(errno));
	if (r == 0 && listen(fd, 16) < 0)
		r = error_set(error, -errno, "socket %s: cannot listen: %s", path, strerror(errno));
	if (r < 0) {
		unlink(path);
		return r;
	}
	r = fd;
	fd = -1;
	return r;
}

int listener_kind(int fd)
{
	int domain = 0, type = 0, listening = 0;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -1;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
		return -1;
	return listening;
}
