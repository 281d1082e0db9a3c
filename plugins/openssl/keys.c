/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of RSA: from DER, as PKCS #1 has it, to libcrypto's form, which is kept until the key goes.
 *
 * The DER is read here: libcrypto's own decoders leave copies of a private key in memory that was freed. Numbers are checked
 * for size, so that nobody's key makes an operation take longer than its modulus has to, and for what libcrypto's arithmetic
 * takes for granted. Whether they belong together is the owner's business: a key that is wrong gives wrong results to
 * whoever brought it.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>
#include "openssl.h"

/* libcrypto's own limits, but for the least. */
enum { MIN_BITS = 512, MAX_BITS = 16384, SMALL_BITS = 3072, SMALL_EXPONENT = 256, LARGE_EXPONENT = 64 };
enum { BUCKETS = 64 };

/* The numbers of a key, in the order of RSAPrivateKey; a public key has the first two. */
enum { N, E, D, P, Q, DP, DQ, QINV, N_NUMBERS };

static const struct {
	const char *param; /* libcrypto's name */
	const char *name;  /* for people */
} number_names[N_NUMBERS] = {
	[N] = { OSSL_PKEY_PARAM_RSA_N, "modulus" },
	[E] = { OSSL_PKEY_PARAM_RSA_E, "public exponent" },
	[D] = { OSSL_PKEY_PARAM_RSA_D, "private exponent" },
	[P] = { OSSL_PKEY_PARAM_RSA_FACTOR1, "first prime" },
	[Q] = { OSSL_PKEY_PARAM_RSA_FACTOR2, "second prime" },
	[DP] = { OSSL_PKEY_PARAM_RSA_EXPONENT1, "first prime's exponent" },
	[DQ] = { OSSL_PKEY_PARAM_RSA_EXPONENT2, "second prime's exponent" },
	[QINV] = { OSSL_PKEY_PARAM_RSA_COEFFICIENT1, "coefficient" },
};

/* Big-endian, without zeros in front, within the DER. */
struct number {
	const uint8_t *data;
	size_t len;
};

struct numbers {
	struct number number[N_NUMBERS];
	unsigned int n;
};

/* ---- DER ---- */

struct der {
	const uint8_t *at;
	size_t left;
};

/* Takes the head of an element with that tag: its contents' length, which are there. */
static bool der_head(struct der *der, uint8_t tag, size_t *ret_len)
{
	size_t len, bytes;

	if (der->left < 2 || der->at[0] != tag)
		return false;
	len = der->at[1];
	der->at += 2;
	der->left -= 2;
	if (len & 0x80) {
		bytes = len & 0x7f;
		if (bytes < 1 || bytes > 2 || der->left < bytes)
			return false;
		for (len = 0; bytes; bytes--, der->at++, der->left--)
			len = len << 8 | *der->at;
	}
	*ret_len = len;
	return len <= der->left;
}

/* None is negative: what looks so lacks a zero in front, as moduli do with which Linux tests its drivers. */
static bool der_number(struct der *der, struct number *ret)
{
	size_t len;

	if (!der_head(der, 2, &len) || len == 0)
		return false;
	*ret = (struct number){ .data = der->at, .len = len };
	der->at += len;
	der->left -= len;
	while (ret->len && !*ret->data) {
		ret->data++;
		ret->len--;
	}
	return true;
}

static int read_der(const struct vaccel_plugin_crypto_key *key, struct numbers *ret,
		    const struct vaccel_plugin_report *report)
{
	struct der der = { .at = key->data, .left = key->len };
	bool private = key->type == VACCEL_KEY_RSA_PRIVATE;
	struct number version = { 0 };
	size_t len;

	*ret = (struct numbers){ .n = private ? N_NUMBERS : D };
	if (!der_head(&der, 0x30, &len) || len != der.left)
		return vaccel_plugin_error(report, -EINVAL, "the key is not DER of PKCS #1: no sequence of its length");
	if (private && (!der_number(&der, &version) || version.len))
		return vaccel_plugin_error(report, -EINVAL, "the key is not a private one of PKCS #1 with two primes");
	for (unsigned int i = 0; i < ret->n; i++)
		if (!der_number(&der, &ret->number[i]) || !ret->number[i].len)
			return vaccel_plugin_error(report, -EINVAL, "the key has no %s where PKCS #1 has it",
						   number_names[i].name);
	return der.left ? vaccel_plugin_error(report, -EINVAL, "the key goes on after its %s",
					      number_names[ret->n - 1].name)
			: 0;
}

/* ---- what numbers may be ---- */

static unsigned int bits(const struct number *number)
{
	return (unsigned int)(8 * number->len) - ((unsigned int)__builtin_clz(number->data[0]) - 24);
}

static bool is_odd(const struct number *number)
{
	return number->data[number->len - 1] & 1;
}

static int check_public(const struct numbers *numbers, const struct vaccel_plugin_report *report)
{
	const struct number *n = &numbers->number[N], *e = &numbers->number[E];
	unsigned int most = bits(n) > SMALL_BITS ? LARGE_EXPONENT : SMALL_EXPONENT;

	if (bits(n) < MIN_BITS || bits(n) > MAX_BITS)
		return vaccel_plugin_error(report, -EINVAL, "the key's modulus has %u bits, %d to %d are possible",
					   bits(n), MIN_BITS, MAX_BITS);
	if (bits(e) < 2 || bits(e) > most)
		return vaccel_plugin_error(
			report, -EINVAL,
			"the key's public exponent has %u bits, with this modulus 2 to %u are possible", bits(e), most);
	if (!is_odd(n) || !is_odd(e))
		return vaccel_plugin_error(report, -EINVAL, "the key's %s is even",
					   is_odd(n) ? "public exponent" : "modulus");
	return 0;
}

static BIGNUM *to_bn(const struct number *number)
{
	return BN_bin2bn(number->data, (int)number->len, NULL);
}

/* The primes' product is the modulus. */
static bool product_fits(const struct numbers *numbers)
{
	BIGNUM *n = to_bn(&numbers->number[N]), *p = to_bn(&numbers->number[P]), *q = to_bn(&numbers->number[Q]);
	BIGNUM *product = BN_new();
	BN_CTX *context = BN_CTX_new_ex(crypto_library);
	bool fits = n && p && q && product && context && BN_mul(product, p, q, context) == 1 && BN_cmp(product, n) == 0;

	BN_clear_free(p);
	BN_clear_free(q);
	BN_clear_free(product);
	BN_free(n);
	BN_CTX_free(context);
	return fits;
}

static int check_private(const struct numbers *numbers, const struct vaccel_plugin_report *report)
{
	static const int bounds[] = { [D] = N, [P] = N, [Q] = N, [DP] = P, [DQ] = Q, [QINV] = P };

	for (unsigned int i = D; i < N_NUMBERS; i++)
		if (bits(&numbers->number[i]) > bits(&numbers->number[bounds[i]]))
			return vaccel_plugin_error(report, -EINVAL, "the key's %s is longer than its %s",
						   number_names[i].name, number_names[bounds[i]].name);
	if (!is_odd(&numbers->number[P]) || !is_odd(&numbers->number[Q]) || bits(&numbers->number[P]) < 2 ||
	    bits(&numbers->number[Q]) < 2)
		return vaccel_plugin_error(report, -EINVAL, "the key's primes are none");
	if (!product_fits(numbers))
		return vaccel_plugin_error(report, -EINVAL, "the key's modulus is not the product of its primes");
	return 0;
}

static int read_key(const struct vaccel_plugin_crypto_key *key, struct numbers *ret,
		    const struct vaccel_plugin_report *report)
{
	int r = read_der(key, ret, report);

	if (r == 0)
		r = check_public(ret, report);
	return r == 0 && ret->n == N_NUMBERS ? check_private(ret, report) : r;
}

int rsa_key_check(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
		  const struct vaccel_plugin_report *report)
{
	struct numbers numbers;
	int r;

	if (key->type != VACCEL_KEY_RSA_PUBLIC && key->type != VACCEL_KEY_RSA_PRIVATE)
		return vaccel_plugin_error(report, -EOPNOTSUPP, "keys of type %u are not RSA's", key->type);
	r = read_key(key, &numbers, report);
	if (r == 0)
		*ret_bits = bits(&numbers.number[N]);
	return r;
}

/* ---- libcrypto's form ---- */

/* Numbers in the machine's order, one behind the other, as libcrypto takes them. */
static void fill_params(const struct numbers *numbers, uint8_t *room, OSSL_PARAM *params)
{
	for (unsigned int i = 0; i < numbers->n; i++) {
		const struct number *number = &numbers->number[i];

		for (size_t j = 0; j < number->len; j++)
#if __BYTE_ORDER == __LITTLE_ENDIAN
			room[j] = number->data[number->len - 1 - j];
#else
			room[j] = number->data[j];
#endif
		params[i] = OSSL_PARAM_construct_BN(number_names[i].param, room, number->len);
		room += number->len;
	}
	params[numbers->n] = OSSL_PARAM_construct_end();
}

static int make(const struct vaccel_plugin_crypto_key *key, EVP_PKEY **ret_key,
		const struct vaccel_plugin_report *report)
{
	OSSL_PARAM params[N_NUMBERS + 1];
	struct numbers numbers;
	EVP_PKEY_CTX *context;
	uint8_t *room;
	int r = read_key(key, &numbers, report);

	if (r < 0)
		return r;
	/* All numbers are parts of it. */
	room = malloc(key->len);
	context = EVP_PKEY_CTX_new_from_name(crypto_library, "RSA", NULL);
	if (!room || !context) {
		r = crypto_error(report, -ENOMEM, "no memory for the key");
	} else {
		fill_params(&numbers, room, params);
		if (EVP_PKEY_fromdata_init(context) != 1 ||
		    EVP_PKEY_fromdata(context, ret_key, numbers.n == N_NUMBERS ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
				      params) != 1)
			r = crypto_error(report, -EINVAL, "the key cannot be used");
	}
	EVP_PKEY_CTX_free(context);
	OPENSSL_clear_free(room, room ? key->len : 0);
	return r;
}

/* ---- those that are kept ---- */

struct kept {
	struct kept *next;
	uint64_t id;
	EVP_PKEY *key;
};

static struct bucket {
	pthread_mutex_t lock;
	struct kept *first;
} buckets[BUCKETS] = { [0 ... BUCKETS - 1] = { .lock = PTHREAD_MUTEX_INITIALIZER } };

static struct bucket *bucket_of(uint64_t id)
{
	return &buckets[id % BUCKETS];
}

static EVP_PKEY *find(struct bucket *bucket, uint64_t id)
{
	struct kept *kept;

	pthread_mutex_lock(&bucket->lock);
	for (kept = bucket->first; kept && kept->id != id; kept = kept->next)
		;
	pthread_mutex_unlock(&bucket->lock);
	return kept ? kept->key : NULL;
}

/* Another thread may have made the same meanwhile: both are kept, and the one that is found first is used. */
static int keep(struct bucket *bucket, uint64_t id, EVP_PKEY *key)
{
	struct kept *kept = malloc(sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	pthread_mutex_lock(&bucket->lock);
	*kept = (struct kept){ .next = bucket->first, .id = id, .key = key };
	bucket->first = kept;
	pthread_mutex_unlock(&bucket->lock);
	return 0;
}

int rsa_key_get(const struct vaccel_plugin_call *call, EVP_PKEY **ret_key)
{
	struct bucket *bucket = bucket_of(call->key->id);
	EVP_PKEY *key = find(bucket, call->key->id);
	int r = 0;

	if (!key) {
		r = make(call->key, &key, &call->report);
		if (r == 0 && keep(bucket, call->key->id, key) < 0) {
			EVP_PKEY_free(key);
			r = vaccel_plugin_error(&call->report, -ENOMEM, "no memory for the key");
		}
	}
	if (r == 0)
		*ret_key = key;
	return r;
}

/* libcrypto overwrites private numbers. */
void rsa_key_gone(uint64_t id)
{
	struct bucket *bucket = bucket_of(id);
	struct kept **at = &bucket->first, *gone = NULL, *kept;

	pthread_mutex_lock(&bucket->lock);
	while (*at) {
		kept = *at;
		if (kept->id != id) {
			at = &kept->next;
			continue;
		}
		*at = kept->next;
		kept->next = gone;
		gone = kept;
	}
	pthread_mutex_unlock(&bucket->lock);
	while (gone) {
		kept = gone;
		gone = kept->next;
		EVP_PKEY_free(kept->key);
		free(kept);
	}
}

void rsa_keys_fini(void)
{
	for (unsigned int i = 0; i < BUCKETS; i++)
		while (buckets[i].first)
			rsa_key_gone(buckets[i].first->id);
}
