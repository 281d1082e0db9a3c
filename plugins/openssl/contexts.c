/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prepared AES contexts. Making one expands the key, which takes longer than a short request; so those that are idle are kept,
 * in buckets by key. The list of a bucket begins with the one that was used last, and has a length that it does not exceed: the
 * last is freed. A lock of a bucket is held for a walk along its list, never while libcrypto works.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include "openssl.h"

/* As many requests as run at once with one key need a context each; keys that are not used lose theirs. */
enum { BUCKETS = 64, MAX_IDLE = 64 };

static struct bucket {
	pthread_mutex_t lock;
	struct context *first, *last;
	unsigned int n;
} buckets[BUCKETS];

/* By mode and by 8 bytes of key. */
static const struct {
	uint32_t mode;
	size_t key_len;
	const char *name;
} names[] = {
	{ VACCEL_ECB, 16, "AES-128-ECB" }, { VACCEL_ECB, 24, "AES-192-ECB" }, { VACCEL_ECB, 32, "AES-256-ECB" },
	{ VACCEL_CBC, 16, "AES-128-CBC" }, { VACCEL_CBC, 24, "AES-192-CBC" }, { VACCEL_CBC, 32, "AES-256-CBC" },
	{ VACCEL_CTR, 16, "AES-128-CTR" }, { VACCEL_CTR, 24, "AES-192-CTR" }, { VACCEL_CTR, 32, "AES-256-CTR" },
	{ VACCEL_XTS, 32, "AES-128-XTS" }, { VACCEL_XTS, 64, "AES-256-XTS" }, { VACCEL_GCM, 16, "AES-128-GCM" },
	{ VACCEL_GCM, 24, "AES-192-GCM" }, { VACCEL_GCM, 32, "AES-256-GCM" },
};
static EVP_CIPHER *ciphers[ARRAY_SIZE(names)];

int contexts_init(struct vaccel_plugin_report *report)
{
	for (size_t i = 0; i < BUCKETS; i++)
		pthread_mutex_init(&buckets[i].lock, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		ciphers[i] = EVP_CIPHER_fetch(crypto_library, names[i].name, NULL);
		if (!ciphers[i])
			return crypto_error(report, -ENOTSUP, names[i].name);
	}
	return 0;
}

static struct bucket *bucket_of(uint64_t key)
{
	return &buckets[(key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (BUCKETS - 1)];
}

static void unlink_context(struct bucket *bucket, struct context *context)
{
	if (context->prev)
		context->prev->next = context->next;
	else
		bucket->first = context->next;
	if (context->next)
		context->next->prev = context->prev;
	else
		bucket->last = context->prev;
	bucket->n--;
}

static struct context *find_idle(uint64_t key, uint32_t mode, uint32_t direction)
{
	struct bucket *bucket = bucket_of(key);
	struct context *context;

	pthread_mutex_lock(&bucket->lock);
	for (context = bucket->first; context; context = context->next)
		if (context->key == key && context->mode == mode && context->direction == direction)
			break;
	if (context)
		unlink_context(bucket, context);
	pthread_mutex_unlock(&bucket->lock);
	return context;
}

static const EVP_CIPHER *find_cipher(uint32_t mode, size_t key_len)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].mode == mode && names[i].key_len == key_len)
			return ciphers[i];
	return NULL;
}

static int make(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher, struct context *context)
{
	const struct vaccel_plugin_crypto_key *key = call->key;
	const EVP_CIPHER *evp = find_cipher(cipher->mode, key->len);
	/* EVP_CIPHER_CTX_set_padding() would have it set again with each IV, by looking for its name. */
	unsigned int padding = 0;
	const OSSL_PARAM no_padding[] = { OSSL_PARAM_construct_uint(OSSL_CIPHER_PARAM_PADDING, &padding),
					  OSSL_PARAM_construct_end() };

	if (!evp)
		return vaccel_plugin_error(&call->report, -EINVAL, "mode %u takes no key of %zu bytes", cipher->mode,
					   key->len);
	context->key = key->id;
	context->mode = cipher->mode;
	context->direction = cipher->direction;
	context->evp = EVP_CIPHER_CTX_new();
	if (!context->evp || EVP_CipherInit_ex2(context->evp, evp, key->data, NULL, cipher->direction == VACCEL_ENCRYPT,
						no_padding) != 1)
		return crypto_error(&call->report, -EINVAL, "the key cannot be used");
	context->iv_len = (size_t)EVP_CIPHER_CTX_get_iv_length(context->evp);
	return 0;
}

int context_take(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher,
		 struct context **ret_context)
{
	struct context *context = find_idle(call->key->id, cipher->mode, cipher->direction);
	int r = 0;

	if (!context) {
		context = calloc(1, sizeof(*context));
		if (!context)
			return vaccel_plugin_error(&call->report, -ENOMEM, "no memory for a context");
		r = make(call, cipher, context);
	}
	if (r < 0)
		context_free(context);
	else
		*ret_context = context;
	return r;
}

void context_give(struct context *context)
{
	struct bucket *bucket = bucket_of(context->key);
	struct context *surplus = NULL;

	pthread_mutex_lock(&bucket->lock);
	context->prev = NULL;
	context->next = bucket->first;
	if (context->next)
		context->next->prev = context;
	else
		bucket->last = context;
	bucket->first = context;
	if (++bucket->n > MAX_IDLE) {
		surplus = bucket->last;
		unlink_context(bucket, surplus);
	}
	pthread_mutex_unlock(&bucket->lock);
	context_free(surplus);
}

/* libcrypto overwrites what it expanded of the key. */
void context_free(struct context *context)
{
	if (context)
		EVP_CIPHER_CTX_free(context->evp);
	free(context);
}

void contexts_key_gone(uint64_t key)
{
	struct bucket *bucket = bucket_of(key);
	struct context *gone = NULL, *next;

	pthread_mutex_lock(&bucket->lock);
	for (struct context *context = bucket->first; context; context = next) {
		next = context->next;
		if (context->key != key)
			continue;
		unlink_context(bucket, context);
		context->next = gone;
		gone = context;
	}
	pthread_mutex_unlock(&bucket->lock);
	for (; gone; gone = next) {
		next = gone->next;
		context_free(gone);
	}
}

void contexts_fini(void)
{
	for (size_t i = 0; i < BUCKETS; i++)
		while (buckets[i].first)
			contexts_key_gone(buckets[i].first->key);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		EVP_CIPHER_free(ciphers[i]);
		ciphers[i] = NULL;
	}
}
