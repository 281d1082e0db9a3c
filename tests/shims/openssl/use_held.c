/* SPDX-License-Identifier: Apache-2.0 */
/* `use` with keys of the host's. See use.c for what each command does. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/params.h>

#include "use.h"

#define ATTEMPTS 30

/* What a child does with a context of its parent's whose message is at the host. */
static int held_child(EVP_CIPHER_CTX *context, const struct work *work, const unsigned char *expected, size_t len)
{
	unsigned char result[256];
	size_t done = 0;

	if (work_part(context, work, 0, 64, result, &done))
		return failed("the child goes on with the parent's message");
	ERR_clear_error();
	if (!EVP_EncryptInit_ex2(context, NULL, NULL, work->iv, NULL) ||
	    !work_part(context, work, 0, 100, result, &done) || !work_end(context, result, &done))
		return failed("the child does not begin again");
	return done == len && memcmp(result, expected, len) == 0 ? 0 : failed("the child's result is another");
}

int held_fork(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new(), *other = EVP_CIPHER_CTX_new();
	unsigned char result[256], expected[256];
	static struct work work;
	size_t len = 0, done = 0;
	int status = 1;
	pid_t child;

	if (!EVP_EncryptInit_ex2(other, cipher, NULL, work.iv, NULL) ||
	    !work_part(other, &work, 0, 100, expected, &len) || !work_end(other, expected, &len) ||
	    !EVP_EncryptInit_ex2(context, cipher, NULL, work.iv, NULL) ||
	    !work_part(context, &work, 0, 50, result, &done))
		return failed(name);
	child = fork();
	if (child == 0)
		_exit(held_child(context, &work, expected, len));
	if (child < 0 || !work_part(context, &work, 50, 50, result, &done) || !work_end(context, result, &done) ||
	    done != len || memcmp(result, expected, len) != 0)
		return failed("the parent's result is another");
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_CTX_free(other);
	EVP_CIPHER_free(cipher);
	return status;
}

int held_copy(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new(), *copy = EVP_CIPHER_CTX_new();
	unsigned char first[256], second[256];
	static struct work work;
	size_t len = 0, other = 0;
	bool fine;

	fine = EVP_EncryptInit_ex2(context, cipher, NULL, work.iv, NULL) &&
	       work_part(context, &work, 0, 75, first, &len);
	memcpy(second, first, sizeof(first));
	other = len;
	fine = fine && EVP_CIPHER_CTX_copy(copy, context) && work_part(context, &work, 75, 75, first, &len) &&
	       work_end(context, first, &len) && work_part(copy, &work, 75, 75, second, &other) &&
	       work_end(copy, second, &other) && len == other && memcmp(first, second, len) == 0;
	if (fine && EVP_CIPHER_CTX_get_mode(context) == EVP_CIPH_CTR_MODE)
		fine = EVP_EncryptInit_ex2(context, NULL, NULL, NULL, NULL) &&
		       !work_part(context, &work, 0, 75, first, &len);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_CTX_free(copy);
	EVP_CIPHER_free(cipher);
	return fine ? 0 : failed("the copy goes another way, or a counter is used twice");
}

/* One message of 96 bytes without padding. Negative: not to be had. */
static int short_message(EVP_CIPHER_CTX *context, const struct work *work, unsigned char *out)
{
	size_t done = 0;

	EVP_CIPHER_CTX_set_padding(context, 0);
	return work_part(context, work, 0, 96, out, &done) && work_end(context, out, &done) ? (int)done : -1;
}

struct change {
	const unsigned char *key, *iv; /* NULL: none is given */
	const OSSL_PARAM *params;
	const unsigned char *expected;
	const char *wrong;
};

static bool change_one(EVP_CIPHER_CTX *context, const struct work *work, const struct change *change)
{
	unsigned char result[128];
	int len;

	if (!EVP_EncryptInit_ex2(context, NULL, change->key, change->iv, change->params))
		return false;
	len = short_message(context, work, result);
	return len > 0 && memcmp(result, change->expected, (size_t)len) == 0;
}

/* A context has a key of the host's, one of its own, the former and the latter again: nothing is encrypted with the wrong one. */
static int changes(EVP_CIPHER_CTX *context, EVP_CIPHER_CTX *other, const char *held_name)
{
	const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("vaccel-key", (char *)held_name, 0),
				      OSSL_PARAM_END };
	const unsigned char iv[16] = { 5 }, second_iv[16] = { 6 };
	const bool counts = is_gcm(context) || EVP_CIPHER_CTX_get_mode(context) == EVP_CIPH_CTR_MODE;
	unsigned char held[128], own[128], second[128];
	static struct work work;
	const struct change all[] = {
		{ work.key, second_iv, NULL, second, "the key of the program is not taken" },
		{ NULL, iv, NULL, own, "the key of the program does not stay" },
		{ work.key, iv, params, held, "the key of the host's is not taken where there is another" },
		{ work.key, counts ? iv : NULL, NULL, own, "the IV or the padding does not stay" },
	};

	for (size_t i = 0; i < sizeof(work.key); i++)
		work.key[i] = (unsigned char)i;
	if (!EVP_EncryptInit_ex2(other, NULL, work.key, iv, NULL) || short_message(other, &work, own) < 0 ||
	    !EVP_EncryptInit_ex2(other, NULL, work.key, second_iv, NULL) || short_message(other, &work, second) < 0 ||
	    !EVP_EncryptInit_ex2(context, NULL, NULL, iv, params) || short_message(context, &work, held) < 0)
		return failed("a message");
	if (EVP_CIPHER_CTX_get_key_length(context) != EVP_CIPHER_CTX_get_key_length(other))
		return failed("a key of the host's has another length");
	if (memcmp(held, own, 96) == 0)
		return failed("the key of the host's is the program's");
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!change_one(context, &work, &all[i]))
			return failed(all[i].wrong);
	return 0;
}

int held_change(const char *name, const char *held_name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	EVP_CIPHER *base = EVP_CIPHER_fetch(library, name, "provider=default");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new(), *other = EVP_CIPHER_CTX_new();
	int r;

	if (EVP_EncryptInit_ex2(context, cipher, NULL, NULL, NULL) &&
	    EVP_EncryptInit_ex2(other, base, NULL, NULL, NULL))
		r = changes(context, other, held_name);
	else
		r = failed(name);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_CTX_free(other);
	EVP_CIPHER_free(cipher);
	EVP_CIPHER_free(base);
	return r;
}

/* When standard input has ended, with which words a key is refused that the host had until then. */
int held_lost(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	const unsigned char iv[16] = { 0 };
	EVP_CIPHER_CTX *context;
	bool refused = true;
	char none;

	if (!cipher)
		return failed("not offered");
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &none, 1) > 0)
		;
	for (int i = 0; i < ATTEMPTS; i++) {
		context = EVP_CIPHER_CTX_new();
		refused &= !EVP_EncryptInit_ex2(context, cipher, NULL, iv, NULL);
		ERR_print_errors_fp(stdout);
		EVP_CIPHER_CTX_free(context);
	}
	EVP_CIPHER_free(cipher);
	return refused ? 0 : failed("the key is still there");
}

/* ---- Messages whose tag is checked before anything is given out ---- */

static bool open_sealed(EVP_CIPHER *cipher, const struct work *work, const unsigned char *sealed, unsigned char *tag,
			unsigned char *out)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	int n = 0;
	bool fine;

	fine = EVP_DecryptInit_ex2(context, cipher, NULL, work->iv, NULL) &&
	       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
	       EVP_DecryptUpdate(context, NULL, &n, work->iv, 5) && EVP_DecryptUpdate(context, out, &n, sealed, 100) &&
	       n == 100 && EVP_DecryptFinal_ex(context, out + 100, &n) && n == 0;
	EVP_CIPHER_CTX_free(context);
	return fine;
}

int held_guarded(const char *name, const char *other)
{
	EVP_CIPHER *opens = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	EVP_CIPHER *seals = EVP_CIPHER_fetch(library, other, "provider=vaccel");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	unsigned char sealed[256], clear[256];
	static struct work work;
	size_t len = 0;
	int n, r = 0;

	memset(work.source, 7, 100);
	if (!EVP_EncryptInit_ex2(context, seals, NULL, work.iv, NULL) ||
	    !EVP_EncryptUpdate(context, NULL, &n, work.iv, 5) || !work_part(context, &work, 0, 100, sealed, &len) ||
	    !work_end(context, sealed, &len))
		r = failed(other);
	else if (!open_sealed(opens, &work, sealed, sealed + 100, clear) || memcmp(clear, work.source, 100) != 0)
		r = failed("it does not decrypt");
	memset(clear, 1, sizeof(clear));
	sealed[100] ^= 1;
	if (r == 0 && open_sealed(opens, &work, sealed, sealed + 100, clear))
		r = failed("a wrong tag fits");
	if (r == 0 && memcmp(clear, work.source, 16) == 0)
		r = failed("something was given out before the tag was checked");
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(opens);
	EVP_CIPHER_free(seals);
	return r;
}
