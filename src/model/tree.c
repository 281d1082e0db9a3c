/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See tree.h. Every path is opened anew from the model's folder with openat2(RESOLVE_BENEATH), so the kernel itself
 * keeps links and '..' inside. Before Linux 5.6 there is no such call: then each part of a path is opened by itself and
 * must not be a link at all.
 */
#include "model/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "model/settings.h"
#include "util/util.h"

/* ---- Opening ---- */

/* Part by part, without links; ".." is refused. */
static int open_parts(int dir, const char *path, int flags)
{
	_cleanup_free_ char *copy = strdup(path);
	char *save = NULL, *part = copy ? strtok_r(copy, "/", &save) : NULL;
	int fd = fcntl(dir, F_DUPFD_CLOEXEC, 0);

	if (!copy || fd < 0)
		return copy ? -errno : -ENOMEM;
	while (part && fd >= 0) {
		char *next = strtok_r(NULL, "/", &save);
		int below = !strcmp(part, "..") ? -EXDEV
						: openat(fd, part, O_NOFOLLOW | (next ? O_PATH | O_CLOEXEC : flags));

		if (below == -1)
			below = -errno;
		close(fd);
		fd = below;
		part = next;
	}
	return fd;
}

int tree_open(int dir, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
	int fd = -1;

	/* EAGAIN: something was renamed meanwhile, and the kernel cannot tell whether ".." led out. */
	for (int tries = 0; tries < 16; tries++) {
		fd = (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return open_parts(dir, *path ? path : ".", flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int read_all(int fd, char *text, size_t size, size_t *ret_len)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, text + len, size - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	*ret_len = len;
	return 0;
}

int tree_read_file(int dir, const char *path, size_t max, char **ret_text, size_t *ret_len, struct error *error)
{
	_cleanup_close_ int fd = tree_open(dir, path, O_RDONLY | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int r = fd;

	if (fd >= 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return error_set(error, r, "%s: cannot open: %s", path,
				 r == -EXDEV ? "it leads out of the model's folder" : strerror(-r));
	if (!S_ISREG(st.st_mode))
		return error_set(error, -EINVAL, "%s: is no file", path);
	if ((uint64_t)st.st_size > max)
		return error_set(error, -E2BIG, "%s: has more than %zu bytes", path, max);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_set(error, -ENOMEM, "%s: no memory", path);
	r = read_all(fd, text, (size_t)st.st_size, ret_len);
	if (r < 0)
		return error_set(error, r, "%s: cannot read: %s", path, strerror(-r));
	text[*ret_len] = '\0';
	*ret_text = text;
	text = NULL;
	return 0;
}

/* ---- The walk ---- */

struct walk {
	int dir;
	const struct tree_limits *limits;
	struct tree *tree;
	size_t room; /* in tree->files */
	struct sha256_ctx folders;
	char path[PATH_MAX];
};

static int add_file(struct walk *walk, uint64_t size, int problem)
{
	struct tree *tree = walk->tree;

	if (tree->n_files == walk->room) {
		size_t room = walk->room ? 2 * walk->room : 16;
		struct tree_file *files = reallocarray(tree->files, room, sizeof(*files));

		if (!files)
			return -ENOMEM;
		tree->files = files;
		walk->room = room;
	}
	tree->files[tree->n_files] = (struct tree_file){ strdup(walk->path), size, problem };
	if (!tree->files[tree->n_files].path)
		return -ENOMEM;
	tree->n_files++;
	tree->bytes += size;
	return 0;
}

/* What tells that a file or folder is another, or has been written to. */
static void print_stat(struct sha256_ctx *sha, const char *path, const struct stat *st)
{
	const uint64_t facts[] = {
		st->st_dev,
		st->st_ino,
		(uint64_t)st->st_mode,
		(uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec,
		(uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec,
		(uint64_t)st->st_ctim.tv_nsec,
	};

	sha256_update(sha, strlen(path) + 1, (const uint8_t *)path);
	sha256_update(sha, sizeof(facts), (const uint8_t *)facts);
}

/* sha256sum(1) escapes such names, and log lines replace them. */
static bool name_ok(const char *name)
{
	for (; *name; name++)
		if ((unsigned char)*name < ' ' || *name == '\\' || *name == 0x7f)
			return false;
	return true;
}

static int walk_folder(struct walk *walk, unsigned int depth);

/* What walk->path names. Only -ENOMEM ends the walk. */
static int walk_entry(struct walk *walk, unsigned int depth)
{
	_cleanup_close_ int fd = tree_open(walk->dir, walk->path, O_PATH);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return add_file(walk, 0, fd < 0 ? fd : -errno);
	print_stat(&walk->folders, walk->path, &st);
	if (!name_ok(walk->path))
		return add_file(walk, 0, -EILSEQ);
	if (S_ISDIR(st.st_mode))
		return depth < MODEL_MAX_DEPTH ? walk_folder(walk, depth + 1) : add_file(walk, 0, -ENAMETOOLONG);
	return add_file(walk, (uint64_t)st.st_size, S_ISREG(st.st_mode) ? 0 : -ENOTSUP);
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* scandir() sorts, so that the print does not depend on how the folder happens to be stored. */
static int folder_names(int fd, struct dirent ***ret_names)
{
	int n = scandirat(fd, ".", ret_names, NULL, compare_names);

	return n < 0 ? -errno : n;
}

static int walk_names(struct walk *walk, struct dirent **names, int n, unsigned int depth)
{
	size_t len = strlen(walk->path);
	int r = 0;

	for (int i = 0; i < n && r == 0; i++) {
		int more;

		if (!strcmp(names[i]->d_name, ".") || !strcmp(names[i]->d_name, ".."))
			continue;
		if (walk->tree->n_files > walk->limits->files)
			break;
		more = snprintf(walk->path + len, sizeof(walk->path) - len, "%s%s", len ? "/" : "", names[i]->d_name);
		if (more < 0 || len + (size_t)more >= sizeof(walk->path))
			r = add_file(walk, 0, -ENAMETOOLONG);
		else
			r = walk_entry(walk, depth);
		walk->path[len] = '\0';
	}
	return r;
}

static int walk_folder(struct walk *walk, unsigned int depth)
{
	struct dirent **names = NULL;
	int fd, n, r;

	if (walk->limits->folder)
		walk->limits->folder(walk->path, walk->limits->opaque);
	fd = tree_open(walk->dir, walk->path, O_RDONLY | O_DIRECTORY);
	n = fd < 0 ? fd : folder_names(fd, &names);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		return *walk->path ? add_file(walk, 0, n) : n;
	r = walk_names(walk, names, n, depth);
	while (n-- > 0)
		free(names[n]);
	free(names);
	return r;
}

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct tree_file *)a)->path, ((const struct tree_file *)b)->path);
}

int tree_read(int dir, const struct tree_limits *limits, struct tree *ret_tree, struct error *error)
{
	struct tree tree = { 0 };
	struct walk *walk = calloc(1, sizeof(*walk));
	struct stat st;
	int r;

	if (!walk)
		return error_set(error, -ENOMEM, "no memory");
	walk->dir = dir;
	walk->limits = limits;
	walk->tree = &tree;
	sha256_init(&walk->folders);
	if (fstat(dir, &st) == 0)
		print_stat(&walk->folders, "", &st);
	r = walk_folder(walk, 0);
	if (r == 0) {
		if (tree.n_files)
			qsort(tree.files, tree.n_files, sizeof(*tree.files), compare_files);
		for (size_t i = 0; i < tree.n_files; i++)
			sha256_update(&walk->folders, sizeof(int), (const uint8_t *)&tree.files[i].error);
		sha256_digest(&walk->folders, TREE_HASH, tree.print);
		if (tree.n_files > limits->files)
			tree.files[limits->files].error = -E2BIG;
		*ret_tree = tree;
	} else {
		error_set(error, r, "cannot read the folder: %s", strerror(-r));
		tree_free(&tree);
	}
	free(walk);
	return r;
}

int tree_check(const struct tree *tree, struct error *error)
{
	for (size_t i = 0; i < tree->n_files; i++) {
		const struct tree_file *file = &tree->files[i];
		const char *cause = file->error == -EXDEV	   ? "leads out of the model's folder"
				    : file->error == -ENOTSUP	   ? "is neither a file nor a folder"
				    : file->error == -ENAMETOOLONG ? "lies too deep in folders"
				    : file->error == -EILSEQ	   ? "has control characters or '\\' in its name"
				    : file->error == -E2BIG	   ? "is one file too many"
								   : strerror(-file->error);

		if (file->error)
			return error_set(error, -EINVAL, "%s: %s", file->path, cause);
	}
	return 0;
}

void tree_free(struct tree *tree)
{
	for (size_t i = 0; i < tree->n_files; i++)
		free(tree->files[i].path);
	free(tree->files);
	*tree = (struct tree){ 0 };
}
