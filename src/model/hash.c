/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash of a model, see tree_hash(). Files are read, not mapped: one that is cut short meanwhile is an error, not
 * SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/tree.h"
#include "util/util.h"

#define PIECE (256 << 10)

_Static_assert(TREE_HASH == SHA256_DIGEST_SIZE, "a hash has the size of the library's");

void tree_hex(const uint8_t hash[TREE_HASH], char ret_text[2 * TREE_HASH + 1])
{
	for (size_t i = 0; i < TREE_HASH; i++)
		snprintf(ret_text + 2 * i, 3, "%02x", hash[i]);
}

static int hash_file(int fd, uint8_t *piece, const bool *stop, uint8_t ret_hash[TREE_HASH])
{
	struct sha256_ctx sha;
	ssize_t n;

	sha256_init(&sha);
	while ((n = read(fd, piece, PIECE)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			sha256_update(&sha, (size_t)n, piece);
		if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
			return -ECANCELED;
	}
	sha256_digest(&sha, TREE_HASH, ret_hash);
	return 0;
}

static int hash_line(struct sha256_ctx *sha, int dir, const char *path, uint8_t *piece, const bool *stop)
{
	char hex[2 * TREE_HASH + 1];
	uint8_t hash[TREE_HASH];
	_cleanup_close_ int fd = tree_open(dir, path, O_RDONLY | O_NONBLOCK);
	int r = fd < 0 ? fd : hash_file(fd, piece, stop, hash);

	if (r < 0)
		return r;
	tree_hex(hash, hex);
	sha256_update(sha, 2 * TREE_HASH, (const uint8_t *)hex);
	sha256_update(sha, 2, (const uint8_t *)"  ");
	sha256_update(sha, strlen(path), (const uint8_t *)path);
	sha256_update(sha, 1, (const uint8_t *)"\n");
	return 0;
}

int tree_hash(int dir, const struct tree *tree, const bool *stop, uint8_t ret_hash[TREE_HASH], struct error *error)
{
	_cleanup_free_ uint8_t *piece = malloc(PIECE);
	struct sha256_ctx sha;

	if (!piece)
		return error_set(error, -ENOMEM, "no memory");
	sha256_init(&sha);
	for (size_t i = 0; i < tree->n_files; i++) {
		int r = hash_line(&sha, dir, tree->files[i].path, piece, stop);

		if (r < 0)
			return error_set(error, r, "%s: cannot read: %s", tree->files[i].path, strerror(-r));
	}
	sha256_digest(&sha, TREE_HASH, ret_hash);
	return 0;
}
