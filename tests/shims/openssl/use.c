/* SPDX-License-Identifier: Apache-2.0 */
/*
 * use COMMAND...: a program that encrypts with the provider, and cannot know it: it has OpenSSL's functions only.
 *
 *	vectors FILE...			    all of them, in one update and in three
 *	pipe CIPHER encrypt|decrypt KEY IV  standard input to standard output, one update for each read; KEY and IV in
 *					    hexadecimal, KEY - for none; the tag of GCM comes last
 *	named CIPHER NAME IV		    the same, encrypting, with the parameter "vaccel-key"
 *	fork CIPHER...			    a message goes on in a child and in its parent
 *	fork-asking CIPHER		    says "forked" when a child has been made while a thread fetches the cipher; the
 *					    child fetches it, too
 *	held-fork CIPHER		    with a key of the host's: a child cannot go on, and begins again
 *	guarded CIPHER OTHER		    what OTHER, a key of the host's for GCM, has encrypted CIPHER, the same key for
 *					    decrypting only, decrypts in one update, or not at all
 *	held-copy CIPHER		    a copy with a key of the host's goes on as the original does; a counter is not
 *					    used for another message
 *	change CIPHER NAME		    keys of one context: NAME, the host's, its own, and both again
 *	lost CIPHER			    says "ready", and when standard input has ended the errors of making contexts
 *					    with a key of a host that is gone
 *	threads				    eight of them, beside the default provider
 *	count CIPHER...			    how many of them the provider offers
 *
 * Exits with 0, 1 and a sentence on standard error, or 2 for usage.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <vaccel/ops.h>

#include "use.h"
#include "vector.h"

#define N_THREADS 8
#define ROUNDS	  30
#define PATIENCE  60 /* seconds that a child may take which may be stuck */

OSSL_LIB_CTX *library;

int failed(const char *what)
{
	fprintf(stderr, "%s\n", what);
	ERR_print_errors_fp(stderr);
	return 1;
}

bool is_gcm(const EVP_CIPHER_CTX *context)
{
	return EVP_CIPHER_CTX_get_mode(context) == EVP_CIPH_GCM_MODE;
}

/* ---- Vectors ---- */

static EVP_CIPHER *fetch_for(const struct vector *vector)
{
	static const char *const modes[] = { [VACCEL_ECB] = "ECB",
					     [VACCEL_CBC] = "CBC",
					     [VACCEL_CTR] = "CTR",
					     [VACCEL_XTS] = "XTS",
					     [VACCEL_GCM] = "GCM" };
	size_t bits = vector->key.len * 8 / (vector->mode == VACCEL_XTS ? 2 : 1);
	char name[32];

	snprintf(name, sizeof(name), "AES-%zu-%s", bits, modes[vector->mode]);
	return EVP_CIPHER_fetch(library, name, "provider=vaccel");
}

/* In that many updates. A final that fails is told apart: it says that the tag does not fit. */
static int vector_run(const struct vector *vector, EVP_CIPHER_CTX *context, unsigned char *out, unsigned char *tag,
		      size_t pieces, bool *ret_rejected)
{
	size_t iv_len = vector->iv.len, done = 0, n;
	bool encrypt = vector->direction == VACCEL_ENCRYPT;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_IVLEN, &iv_len), OSSL_PARAM_END };
	int len = 0;

	if (!EVP_CipherInit_ex2(context, NULL, NULL, NULL, encrypt, is_gcm(context) ? params : NULL) ||
	    !EVP_CipherInit_ex2(context, NULL, vector->key.data, iv_len ? vector->iv.data : NULL, encrypt, NULL))
		return failed("init");
	EVP_CIPHER_CTX_set_padding(context, 0);
	if (is_gcm(context) && !encrypt &&
	    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, (int)vector->tag.len, vector->tag.data) != 1)
		return failed("tag");
	if (vector->aad.len && !EVP_CipherUpdate(context, NULL, &len, vector->aad.data, (int)vector->aad.len))
		return failed("additional data");
	for (size_t at = 0; at < vector->source.len; at += n) {
		n = (vector->source.len + pieces - 1) / pieces;
		n = n < vector->source.len - at ? n : vector->source.len - at;
		if (!EVP_CipherUpdate(context, out + done, &len, vector->source.data + at, (int)n))
			return failed("update");
		done += (size_t)len;
	}
	*ret_rejected = !EVP_CipherFinal_ex(context, out + done, &len);
	if (*ret_rejected)
		return 0;
	if (is_gcm(context) && encrypt &&
	    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, (int)vector->tag.len, tag) != 1)
		return failed("no tag");
	return done + (size_t)len == vector->source.len ? 0 : failed("length");
}

static int vector_check(const struct vector *vector, size_t pieces)
{
	EVP_CIPHER *cipher = fetch_for(vector);
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	unsigned char *out = malloc(vector->source.len + 32), tag[TAG] = { 0 };
	bool rejected = false;
	int r = 1;

	if (cipher && context && EVP_CipherInit_ex2(context, cipher, NULL, NULL, 1, NULL))
		r = vector_run(vector, context, out, tag, pieces, &rejected);
	if (r == 0 && rejected != vector->rejected)
		r = failed("the tag");
	if (r == 0 && !rejected && memcmp(out, vector->result.data, vector->result.len) != 0)
		r = failed("the result");
	if (r == 0 && !rejected && vector->direction == VACCEL_ENCRYPT &&
	    memcmp(tag, vector->tag.data, vector->tag.len) != 0)
		r = failed("the tag");
	if (r)
		fprintf(stderr, "%s in %zu pieces: is another\n", vector->origin, pieces);
	free(out);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(cipher);
	ERR_clear_error();
	return r;
}

static int vectors(char **paths)
{
	struct vector_file file;
	struct vector vector;
	unsigned long n = 0;
	int r = 0;

	for (; *paths; paths++) {
		if (vector_open(&file, *paths) < 0) {
			fprintf(stderr, "%s: cannot be read\n", *paths);
			return 1;
		}
		while (r == 0 && (r = vector_next(&file, &vector)) == 1) {
			r = vector_check(&vector, 1) || (vector.mode != VACCEL_XTS && vector_check(&vector, 3));
			n++;
		}
		vector_close(&file);
		if (r)
			return 1;
	}
	printf("%lu vectors\n", n);
	return !n;
}

/* ---- A pipe ---- */

static bool write_all(const unsigned char *data, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* The context is ready. A tag to check is not in the input: a pipe that decrypts GCM is given none, and only shows. */
static int pump(EVP_CIPHER_CTX *context, bool encrypt)
{
	static unsigned char in[MESSAGE], out[MESSAGE + 32];
	unsigned char tag[TAG];
	ssize_t n;
	int len = 0;

	while ((n = read(STDIN_FILENO, in, sizeof(in))) > 0) {
		if (!EVP_CipherUpdate(context, out, &len, in, (int)n))
			return failed("update");
		if (!write_all(out, (size_t)len))
			return failed("write");
	}
	if (is_gcm(context) && !encrypt)
		return 0;
	if (n < 0 || !EVP_CipherFinal_ex(context, out, &len) || !write_all(out, (size_t)len))
		return failed("final");
	if (!is_gcm(context))
		return 0;
	return EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1 && write_all(tag, TAG)
		       ? 0
		       : failed("tag");
}

static int pipe_with(const char *name, bool encrypt, const unsigned char *key, const char *iv_text,
		     const OSSL_PARAM *params)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	unsigned char *iv = OPENSSL_hexstr2buf(iv_text, NULL);
	int r;

	if (!cipher)
		r = failed("not offered");
	else if (!EVP_CipherInit_ex2(context, cipher, key, iv, encrypt, params))
		r = failed("init");
	else
		r = pump(context, encrypt);
	OPENSSL_free(iv);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(cipher);
	return r;
}

static int pipe_through(char **words)
{
	unsigned char *key = strcmp(words[2], "-") ? OPENSSL_hexstr2buf(words[2], NULL) : NULL;
	int r = pipe_with(words[0], strcmp(words[1], "encrypt") == 0, key, words[3], NULL);

	OPENSSL_free(key);
	return r;
}

static int pipe_named(char **words)
{
	const OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("vaccel-key", words[1], 0), OSSL_PARAM_END };

	return pipe_with(words[0], true, NULL, words[2], params);
}

/* ---- Beside the default provider ---- */

bool work_part(EVP_CIPHER_CTX *context, const struct work *work, size_t first, size_t len, unsigned char *out,
	       size_t *done)
{
	int n = 0;

	if (!EVP_EncryptUpdate(context, out + *done, &n, work->source + first, (int)len))
		return false;
	*done += (size_t)n;
	return true;
}

bool work_end(EVP_CIPHER_CTX *context, unsigned char *out, size_t *done)
{
	int n = 0;

	if (!EVP_EncryptFinal_ex(context, out + *done, &n))
		return false;
	*done += (size_t)n;
	if (!is_gcm(context))
		return true;
	n = EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, out + *done);
	*done += TAG;
	return n == 1;
}

static bool expect(struct work *work)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, work->name, "provider=default");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	bool fine;

	work->len = 0;
	fine = RAND_bytes(work->key, sizeof(work->key)) > 0 && RAND_bytes(work->iv, sizeof(work->iv)) > 0 &&
	       RAND_bytes(work->source, sizeof(work->source)) > 0 &&
	       EVP_EncryptInit_ex2(context, cipher, work->key, work->iv, NULL) &&
	       work_part(context, work, 0, MESSAGE, work->expected, &work->len) &&
	       work_end(context, work->expected, &work->len);
	EVP_CIPHER_CTX_free(context);
	EVP_CIPHER_free(cipher);
	return fine;
}

/* The second half of a message; the first has been encrypted. */
static bool goes_on(EVP_CIPHER_CTX *context, struct work *work, size_t done)
{
	return work_part(context, work, MESSAGE / 2, MESSAGE / 2, work->result, &done) &&
	       work_end(context, work->result, &done) && done == work->len &&
	       memcmp(work->result, work->expected, done) == 0;
}

static EVP_CIPHER_CTX *begin(struct work *work, size_t *done)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(library, work->name, "provider=vaccel");
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	bool fine = EVP_EncryptInit_ex2(context, cipher, work->key, work->iv, NULL) &&
		    work_part(context, work, 0, MESSAGE / 2, work->result, done);

	EVP_CIPHER_free(cipher);
	if (fine)
		return context;
	EVP_CIPHER_CTX_free(context);
	return NULL;
}

/* ---- Children ---- */

/* Another message of the child's own, too. */
static int in_child(EVP_CIPHER_CTX *context, struct work *work, size_t done)
{
	EVP_CIPHER_CTX *own;
	size_t own_done = 0;
	bool fine = goes_on(context, work, done);

	own = begin(work, &own_done);
	fine = fine && own && goes_on(own, work, own_done);
	EVP_CIPHER_CTX_free(own);
	EVP_CIPHER_CTX_free(context);
	return fine ? 0 : failed("the child's result is another");
}

static int fork_with(const char *name)
{
	static struct work work;
	EVP_CIPHER_CTX *context;
	int status = 1, r = 0;
	size_t done = 0;
	pid_t child;

	work.name = name;
	context = expect(&work) ? begin(&work, &done) : NULL;
	if (!context)
		return failed(name);
	child = fork();
	if (child == 0)
		_exit(in_child(context, &work, done));
	if (child < 0 || !goes_on(context, &work, done))
		r = failed("the parent's result is another");
	EVP_CIPHER_CTX_free(context);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return r || status;
}

static void *fetch(void *name)
{
	EVP_CIPHER_free(EVP_CIPHER_fetch(library, name, "provider=vaccel"));
	return NULL;
}

/* A child whose parent is asking the host what it serves, in another thread. */
static int fork_asking(char *name)
{
	const struct timespec while_asking = { .tv_nsec = 300000000 };
	EVP_CIPHER *cipher;
	int status = 1;
	pthread_t asks;
	pid_t child;

	if (pthread_create(&asks, NULL, fetch, name))
		return failed("thread");
	nanosleep(&while_asking, NULL);
	child = fork();
	if (child == 0) {
		alarm(PATIENCE);
		cipher = EVP_CIPHER_fetch(library, name, "provider=vaccel");
		_exit(cipher ? 0 : failed("the child is offered nothing"));
	}
	puts("forked");
	fflush(stdout);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	pthread_join(asks, NULL);
	return status;
}

/* ---- Threads ---- */

static void *thread(void *opaque)
{
	static const char *const names[] = { "AES-128-CBC", "AES-256-CTR", "AES-256-GCM", "AES-192-ECB" };
	struct work *work = calloc(1, sizeof(*work));
	bool fine = work;

	for (uintptr_t i = 0; fine && i < ROUNDS; i++) {
		EVP_CIPHER_CTX *context;
		size_t done = 0;

		work->name = names[((uintptr_t)opaque + i) % 4];
		context = expect(work) ? begin(work, &done) : NULL;
		fine = context && goes_on(context, work, done);
		EVP_CIPHER_CTX_free(context);
	}
	if (!fine)
		failed("a thread's result is another");
	free(work);
	return fine ? NULL : (void *)1;
}

static int threads(void)
{
	pthread_t all[N_THREADS];
	void *result;
	int r = 0;

	for (uintptr_t i = 0; i < N_THREADS; i++)
		if (pthread_create(&all[i], NULL, thread, (void *)i))
			return failed("thread");
	for (int i = 0; i < N_THREADS; i++) {
		pthread_join(all[i], &result);
		r |= result != NULL;
	}
	return r;
}

/* ---- The rest ---- */

static int count(char **names)
{
	EVP_CIPHER *cipher;
	int n = 0;

	for (; *names; names++) {
		cipher = EVP_CIPHER_fetch(library, *names, "provider=vaccel");
		n += cipher != NULL;
		EVP_CIPHER_free(cipher);
	}
	printf("%d\n", n);
	return 0;
}

static int run(int argc, char **argv)
{
	int r = 0;

	if (argc > 2 && strcmp(argv[1], "vectors") == 0)
		return vectors(argv + 2);
	if (argc == 6 && strcmp(argv[1], "pipe") == 0)
		return pipe_through(argv + 2);
	if (argc == 5 && strcmp(argv[1], "named") == 0)
		return pipe_named(argv + 2);
	if (argc > 2 && strcmp(argv[1], "fork") == 0) {
		for (int i = 2; i < argc && !r; i++)
			r = fork_with(argv[i]);
		return r;
	}
	if (argc == 3 && strcmp(argv[1], "fork-asking") == 0)
		return fork_asking(argv[2]);
	if (argc == 3 && strcmp(argv[1], "held-fork") == 0)
		return held_fork(argv[2]);
	if (argc == 3 && strcmp(argv[1], "held-copy") == 0)
		return held_copy(argv[2]);
	if (argc == 4 && strcmp(argv[1], "change") == 0)
		return held_change(argv[2], argv[3]);
	if (argc == 3 && strcmp(argv[1], "lost") == 0)
		return held_lost(argv[2]);
	if (argc == 4 && strcmp(argv[1], "guarded") == 0)
		return held_guarded(argv[2], argv[3]);
	if (argc == 2 && strcmp(argv[1], "threads") == 0)
		return threads();
	if (argc > 2 && strcmp(argv[1], "count") == 0)
		return count(argv + 2);
	fprintf(stderr,
		"usage: use vectors FILE... | pipe CIPHER DIRECTION KEY IV | named CIPHER NAME IV | fork CIPHER... |"
		" fork-asking CIPHER | held-fork CIPHER | held-copy CIPHER | change CIPHER NAME | lost CIPHER | "
		"guarded CIPHER OTHER | "
		"threads | count "
		"CIPHER...\n");
	return 2;
}

int main(int argc, char **argv)
{
	OSSL_PROVIDER *base, *provider;
	int r;

	library = OSSL_LIB_CTX_new();
	base = OSSL_PROVIDER_load(library, "default");
	provider = OSSL_PROVIDER_load(library, "vaccel");
	r = base && provider ? run(argc, argv) : failed("the provider cannot be loaded");
	OSSL_PROVIDER_unload(provider);
	OSSL_PROVIDER_unload(base);
	OSSL_LIB_CTX_free(library);
	return r ? (r == 2 ? 2 : 1) : 0;
}
