/* SPDX-License-Identifier: Apache-2.0 */
/* See vector.h. Words become bytes in place: two digits have room for one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vaccel/ops.h>
#include "vector.h"

enum { MAX_WORDS = 9 };

struct word {
	const char *text;
	uint32_t value;
};

static const struct word modes[] = { { "ecb", VACCEL_ECB }, { "cbc", VACCEL_CBC }, { "ctr", VACCEL_CTR },
				     { "xts", VACCEL_XTS }, { "gcm", VACCEL_GCM }, { NULL, 0 } };
static const struct word directions[] = { { "encrypt", VACCEL_ENCRYPT }, { "decrypt", VACCEL_DECRYPT }, { NULL, 0 } };
static const struct word operations[] = { { "encrypt", VACCEL_AK_ENCRYPT },
					  { "decrypt", VACCEL_AK_DECRYPT },
					  { "sign", VACCEL_AK_SIGN },
					  { "verify", VACCEL_AK_VERIFY },
					  { NULL, 0 } };
static const struct word paddings[] = { { "raw", VACCEL_RSA_RAW }, { "pkcs1", VACCEL_RSA_PKCS1 }, { NULL, 0 } };
static const struct word hashes[] = { { "-", VACCEL_RSA_NO_HASH },     { "md5", VACCEL_RSA_MD5 },
				      { "sha1", VACCEL_RSA_SHA1 },     { "sha224", VACCEL_RSA_SHA224 },
				      { "sha256", VACCEL_RSA_SHA256 }, { "sha384", VACCEL_RSA_SHA384 },
				      { "sha512", VACCEL_RSA_SHA512 }, { NULL, 0 } };

int vector_open(struct vector_file *file, const char *path)
{
	*file = (struct vector_file){ .file = fopen(path, "re"), .path = path };
	return file->file ? 0 : -errno;
}

void vector_close(struct vector_file *file)
{
	if (file->file)
		fclose(file->file);
	free(file->line);
	*file = (struct vector_file){ 0 };
}

static int complain(const struct vector_file *file, const char *what)
{
	fprintf(stderr, "%s:%lu: %s\n", file->path, file->number, what);
	return -EBADMSG;
}

/* The words of the next line that has any: 1; 0 at the end. */
static int next_words(struct vector_file *file, char **words, unsigned int n)
{
	char *save = NULL, *word;
	unsigned int i = 0;

	do {
		file->number++;
		if (getline(&file->line, &file->room, file->file) < 0)
			return 0;
	} while (*file->line == '#' || *file->line == '\n');
	for (word = strtok_r(file->line, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (i == n)
			return complain(file, "too many words");
		words[i++] = word;
	}
	return i == n ? 1 : complain(file, "too few words");
}

static bool look_up(const struct word *table, const char *text, uint32_t *ret)
{
	for (; table->text; table++)
		if (!strcmp(table->text, text)) {
			*ret = table->value;
			return true;
		}
	return false;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool to_bytes(char *text, struct vector_bytes *ret)
{
	size_t len = strcmp(text, "-") ? strlen(text) : 0;

	*ret = (struct vector_bytes){ .data = (uint8_t *)text, .len = len / 2 };
	for (size_t i = 0; i < len / 2; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ret->data[i] = (uint8_t)(high << 4 | low);
	}
	return len % 2 == 0;
}

int vector_next(struct vector_file *file, struct vector *ret_vector)
{
	char *words[MAX_WORDS];
	struct vector v = { 0 };
	int r = next_words(file, words, 9);

	if (r <= 0)
		return r;
	v.rejected = !strcmp(words[6], "!");
	if (v.rejected)
		words[6][0] = '-';
	if (!look_up(modes, words[0], &v.mode) || !look_up(directions, words[1], &v.direction))
		return complain(file, "mode or direction is not known");
	if (!to_bytes(words[2], &v.key) || !to_bytes(words[3], &v.iv) || !to_bytes(words[4], &v.aad) ||
	    !to_bytes(words[5], &v.source) || !to_bytes(words[6], &v.result) || !to_bytes(words[7], &v.tag))
		return complain(file, "not bytes in hexadecimal");
	if (!v.rejected && v.result.len != v.source.len)
		return complain(file, "source and result differ in length");
	v.origin = words[8];
	*ret_vector = v;
	return 1;
}

int vector_next_rsa(struct vector_file *file, struct vector_rsa *ret_vector)
{
	char *words[MAX_WORDS];
	struct vector_rsa v = { 0 };
	int r = next_words(file, words, 7);

	if (r <= 0)
		return r;
	v.rejected = *words[5] == '!';
	if (!look_up(operations, words[0], &v.operation) || !look_up(paddings, words[1], &v.padding) ||
	    !look_up(hashes, words[2], &v.hash))
		return complain(file, "operation, padding or hash is not known");
	if (!to_bytes(words[3], &v.key) || !to_bytes(words[4], &v.source) ||
	    !to_bytes(words[5] + v.rejected, &v.result))
		return complain(file, "not bytes in hexadecimal");
	v.private = v.operation == VACCEL_AK_SIGN || v.operation == VACCEL_AK_DECRYPT;
	v.origin = words[6];
	*ret_vector = v;
	return 1;
}
