/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that the host holds (sections "key NAME" of the configuration). Their files are read once, when the engine is made:
 * before the worker's sandbox closes, which is the end of its access to them. What they say lies in memory that is in no
 * core dump and, where the system allows it, never in swap space.
 *
 * A key that cannot be read, or should not be because others could have, is left out, and why is noted: guests are told
 * that there is no such key.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/config_internal.h"
#include "engine/internal.h"
#include "op/cipher.h"
#include "util/util.h"

/* Where a key's file is: of a credential, in the folder that the service manager has made for this service. */
static int find_file(const struct config_held_key *key, char *ret_path, size_t len, struct error *error)
{
	const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");
	int n;

	if (!key->credential) {
		n = snprintf(ret_path, len, "%s", key->file);
	} else if (!folder || !*folder) {
		return error_set(error, -ENOENT, "key %s: no credentials were given: $CREDENTIALS_DIRECTORY is not set",
				 key->name);
	} else {
		n = snprintf(ret_path, len, "%s/%s", folder, key->credential);
	}
	return n > 0 && (size_t)n < len
		       ? 0
		       : error_set(error, -ENAMETOOLONG, "key %s: its file's name is too long", key->name);
}

/*
 * Whoever can write to it chooses the key, whoever can read it has it. The service manager gives its credentials to the
 * service by an access list, whose mask looks like a right of the group.
 */
static int check_file(const struct config_held_key *key, const char *path, const struct stat *st, struct error *error)
{
	mode_t forbidden = key->credential ? S_IRWXO | S_IWGRP | S_IXGRP : S_IRWXO | S_IRWXG;

	if (!S_ISREG(st->st_mode))
		return error_set(error, -EINVAL, "key %s: %s is not a regular file", key->name, path);
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return error_set(error, -EPERM, "key %s: %s belongs to user %u, not to root or the daemon's user %u",
				 key->name, path, st->st_uid, geteuid());
	if (st->st_mode & forbidden)
		return error_set(error, -EPERM, "key %s: %s has mode %04o: its owner alone may have access", key->name,
				 path, st->st_mode & 07777);
	return 0;
}

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

/* In place. The number of bytes, or -EINVAL. White space may be between the digits of two bytes. */
static int decode_hex(char *text, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		if (isspace((unsigned char)text[i]))
			continue;
		if (i + 1 == len || !isxdigit((unsigned char)text[i]) || !isxdigit((unsigned char)text[i + 1]))
			return -EINVAL;
		text[n++] = (char)(digit(text[i]) << 4 | digit(text[i + 1]));
		i++;
	}
	return (int)n;
}

/* Longer than any key, in digits with white space between them. */
#define FILE_BYTES 512

/* Reads to the end, or until it is too much. */
static ssize_t read_all(int fd, char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : (ssize_t)done;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int take_bytes(const struct config_held_key *key, const char *path, int fd, struct held_key *held,
		      struct error *error)
{
	char bytes[FILE_BYTES];
	ssize_t n = read_all(fd, bytes, sizeof(bytes));
	int r = 0;

	if (n < 0)
		r = error_set(error, (int)n, "key %s: cannot read %s: %s", key->name, path, strerror((int)-n));
	else if (key->hex && (n = decode_hex(bytes, (size_t)n)) < 0)
		r = error_set(error, -EINVAL, "key %s: %s has something other than pairs of hexadecimal digits",
			      key->name, path);
	else if ((size_t)n * 8 != key->bits)
		r = error_set(error, -EINVAL, "key %s: %s has %zd bytes%s, its cipher takes %u", key->name, path, n,
			      n == sizeof(bytes) ? " or more" : "", key->bits / 8);
	if (r == 0) {
		memcpy(held->data, bytes, (size_t)n);
		held->len = (uint32_t)n;
	}
	explicit_bzero(bytes, sizeof(bytes));
	return r;
}

static int load(const struct config_held_key *key, struct held_key *held, struct error *error)
{
	_cleanup_close_ int fd = -1;
	char path[4096];
	struct stat st;
	int r = config_check_held_key(key, error);

	if (r == 0)
		r = find_file(key, path, sizeof(path), error);
	if (r < 0)
		return r;
	/* What is no file must not make us wait. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(error, -errno, "key %s: cannot open %s: %s", key->name, path, strerror(errno));
	r = check_file(key, path, &st, error);
	return r < 0 ? r : take_bytes(key, path, fd, held, error);
}

int held_load(struct engine *engine, struct error *error)
{
	const struct config *config = engine->config;
	size_t size = config->n_keys * HELD_KEY_BYTES;
	char name[sizeof("key ") + VACCEL_KEY_NAME];
	struct error why;

	if (!config->n_keys)
		return 0;
	engine->held_bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (engine->held_bytes == MAP_FAILED) {
		engine->held_bytes = NULL;
		return error_set(error, -ENOMEM, "engine: no memory for the keys of its configuration");
	}
	madvise(engine->held_bytes, size, MADV_DONTDUMP);
	/* A limit may forbid it: then the administrator's swap space has to be as safe as his files. */
	mlock(engine->held_bytes, size);
	for (size_t i = 0; i < config->n_keys; i++) {
		struct held_key *held = &engine->held[engine->n_held];

		*held = (struct held_key){ &config->keys[i], engine->held_bytes + i * HELD_KEY_BYTES, 0 };
		why = (struct error){ 0 };
		snprintf(name, sizeof(name), "key %s", held->config->name);
		if (load(held->config, held, &why) == 0)
			engine->n_held++;
		else
			note_failure(engine, name, &why);
	}
	return 0;
}

void held_free(struct engine *engine)
{
	size_t size = engine->config->n_keys * HELD_KEY_BYTES;

	if (!engine->held_bytes)
		return;
	explicit_bzero(engine->held_bytes, size);
	munmap(engine->held_bytes, size);
}

const struct held_key *held_find(const struct engine *engine, const char *name)
{
	for (size_t i = 0; i < engine->n_held; i++)
		if (!strncmp(engine->held[i].config->name, name, VACCEL_KEY_NAME))
			return &engine->held[i];
	return NULL;
}

struct op_key held_about(const struct held_key *held)
{
	return (struct op_key){ VACCEL_KEY_AES, held->len * 8, 1u << held->config->mode, held->config->rights, true };
}

const char *engine_held_key(const struct engine *engine, size_t index)
{
	return index < engine->n_held ? engine->held[index].config->name : NULL;
}
