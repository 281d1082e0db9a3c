/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a model: everything in its folder, found without ever leaving it. Symbolic links are followed as long as
 * they stay inside; what leads out, and what is neither file nor folder, is an error, and so is more of anything than a
 * model may have.
 */
#ifndef VACCEL_MODEL_TREE_H
#define VACCEL_MODEL_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define TREE_HASH 32 /* bytes of SHA-256 */

struct tree_file {
	char *path; /* relative to the folder */
	uint64_t size;
	int error; /* not 0: why it cannot be one of the model's files */
};

struct tree {
	struct tree_file *files; /* by path, in the order of its bytes */
	size_t n_files;
	uint64_t bytes; /* of all of them */
	/* Of names, numbers, sizes and times of files and folders: equal while nobody changes anything. */
	uint8_t print[TREE_HASH];
};

struct tree_limits {
	size_t files;
	/* May be NULL. Called with each folder, relative ("" is the first), before its contents are read. */
	void (*folder)(const char *path, void *opaque);
	void *opaque;
};

/*
 * Opens what path names below the folder dir; flags as open(2). -EXDEV: it leads out of it; -ELOOP: links that never
 * end, or any link on kernels before 5.6.
 */
int tree_open(int dir, const char *path, int flags);

/* Reads the whole of a file below dir, NUL-terminated and the caller's to free. -E2BIG: it has more than max bytes. */
int tree_read_file(int dir, const char *path, size_t max, char **ret_text, size_t *ret_len, struct error *error);

/*
 * Walks the folder. Whatever is wrong with a file is noted at the file, so that the print is right; tree_check() tells.
 * -ENOMEM, or an error of reading the folder itself.
 */
int tree_read(int dir, const struct tree_limits *limits, struct tree *ret_tree, struct error *error);
/* 0, or the error of the first file that has one. */
int tree_check(const struct tree *tree, struct error *error);
void tree_free(struct tree *tree);

/*
 * SHA-256 over the lines "HASH  PATH\n" of the files in their order, HASH being SHA-256 of a file in hexadecimal
 * digits: what sha256sum(1) prints for sorted paths, hashed again. *stop, which may be set meanwhile, ends it with
 * -ECANCELED.
 */
int tree_hash(int dir, const struct tree *tree, const bool *stop, uint8_t ret_hash[TREE_HASH], struct error *error);

/* Two digits a byte, and a NUL. */
void tree_hex(const uint8_t hash[TREE_HASH], char ret_text[2 * TREE_HASH + 1]);

#endif
