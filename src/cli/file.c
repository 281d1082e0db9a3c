/* SPDX-License-Identifier: Apache-2.0 */
/* Files of users, whole: what is read to be sent, and what came back. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cli/cli.h"

#define FIRST_ROOM 65536

static int grow(char **data, size_t *room, size_t max)
{
	size_t wanted = *room ? *room * 2 : FIRST_ROOM;
	char *grown;

	/* One byte more than may be: whether there is more is seen by reading it. */
	wanted = MIN(wanted, max + 1);
	grown = realloc(*data, wanted);
	if (!grown)
		return -ENOMEM;
	*data = grown;
	*room = wanted;
	return 0;
}

static int read_all(int fd, size_t max, char **data, size_t *len)
{
	size_t room = 0;

	for (;;) {
		ssize_t n;

		if (*len == room && grow(data, &room, max) < 0)
			return -ENOMEM;
		n = read(fd, *data + *len, room - *len);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		*len += n > 0 ? (size_t)n : 0;
		if (*len > max)
			return -EFBIG;
	}
}

int cli_read_file(const char *path, size_t max, void **ret_data, size_t *ret_len, struct error *error)
{
	bool standard = !strcmp(path, "-");
	int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	char *data = NULL;
	size_t len = 0;
	int r;

	if (fd < 0)
		return error_set(error, -errno, "cannot open: %s", strerror(errno));
	r = read_all(fd, MIN(max, SIZE_MAX / 4), &data, &len);
	if (!standard)
		close(fd);
	if (r == 0) {
		*ret_data = data;
		*ret_len = len;
		return 0;
	}
	free(data);
	if (r == -EFBIG)
		return error_set(error, r, "cannot read: it has more than the %zu bytes that are possible", max);
	return error_set(error, r, "cannot read: %s", strerror(-r));
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		data += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

int cli_write_file(const char *path, const void *data, size_t len, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int r;

	if (fd < 0)
		return error_set(error, -errno, "cannot create: %s", strerror(errno));
	cli_unfinished_file(path);
	r = write_all(fd, data, len);
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r < 0)
		unlink(path);
	cli_keep_file();
	return r < 0 ? error_set(error, r, "cannot write: %s", strerror(-r)) : 0;
}
