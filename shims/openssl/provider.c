/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module's entry: settings, and which algorithms there are.
 *
 * Loading asks nobody. When OpenSSL first asks for ciphers, the host is asked what it serves, by having it encrypt and
 * decrypt a message in each mode, which has to be right; what it does not serve is not offered, so that programs fetch it elsewhere. What is
 * offered stays: later on a host that fails is replaced by the default provider's code, see cipher.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "provider.h"

#define PROPERTIES	"provider=vaccel"
#define PROPERTIES_HELD "provider=vaccel,vaccel.held=yes"

unsigned int openssl_mode(uint32_t mode)
{
	static const unsigned int modes[] = {
		[VACCEL_ECB] = EVP_CIPH_ECB_MODE, [VACCEL_CBC] = EVP_CIPH_CBC_MODE, [VACCEL_CTR] = EVP_CIPH_CTR_MODE,
		[VACCEL_XTS] = EVP_CIPH_XTS_MODE, [VACCEL_GCM] = EVP_CIPH_GCM_MODE,
	};

	return modes[mode];
}

/* ---- What the host serves ---- */

struct proof {
	unsigned char clear[2 * AES_BLOCK], coded[2 * AES_BLOCK], tag[MAX_TAG_BYTES];
};

static const unsigned char proof_key[MAX_KEY_BYTES] = { [MAX_KEY_BYTES / 4] = 1 }, proof_iv[AES_BLOCK] = { 2 };

/* What is right, by the default provider. */
static bool proof_make(const EVP_CIPHER *cipher, struct proof *ret_proof)
{
	EVP_CIPHER_CTX *local = EVP_CIPHER_CTX_new();
	int len, none;
	bool r;

	*ret_proof = (struct proof){ .clear = { 3 } };
	r = local && EVP_EncryptInit_ex2(local, cipher, proof_key, proof_iv, NULL) &&
	    EVP_EncryptUpdate(local, ret_proof->coded, &len, ret_proof->clear, sizeof(ret_proof->clear)) &&
	    len == sizeof(ret_proof->coded);
	if (r && EVP_CIPHER_get_mode(cipher) == EVP_CIPH_GCM_MODE)
		r = EVP_EncryptFinal_ex(local, ret_proof->coded + len, &none) &&
		    EVP_CIPHER_CTX_ctrl(local, EVP_CTRL_AEAD_GET_TAG, MAX_TAG_BYTES, ret_proof->tag) == 1;
	EVP_CIPHER_CTX_free(local);
	return r;
}

/* Whether the host's answer is that, in one direction. */
static bool proof_fits(struct host_key *key, const struct algorithm *algorithm, const struct proof *proof, bool encrypt)
{
	unsigned char result[sizeof(proof->clear)], tag[MAX_TAG_BYTES];
	struct vaccel_message message = {
		.size = sizeof(message),
		.mode = algorithm->mode,
		.direction = encrypt ? VACCEL_ENCRYPT : VACCEL_DECRYPT,
		.iv = algorithm->iv_len ? proof_iv : NULL,
		.iv_len = algorithm->iv_len,
		.source = encrypt ? proof->clear : proof->coded,
		.destination = result,
		.len = sizeof(result),
		.tag = algorithm->mode == VACCEL_GCM ? tag : NULL,
		.tag_len = algorithm->mode == VACCEL_GCM ? sizeof(tag) : 0,
	};

	memcpy(tag, proof->tag, sizeof(tag));
	return vaccel_cipher(host_key_handle(key), &message) == 0 &&
	       memcmp(result, encrypt ? proof->coded : proof->clear, sizeof(result)) == 0 &&
	       memcmp(tag, proof->tag, sizeof(tag)) == 0;
}

static bool proves(struct provider *provider, const struct offer *offer, size_t index)
{
	const struct algorithm *algorithm = &algorithms[index];
	struct host_key *key = NULL;
	struct proof proof;
	bool r;

	r = proof_make(offer->ciphers[index], &proof) &&
	    host_key_import(provider->host, algorithm->mode, proof_key, algorithm->key_len, &key) == 0 &&
	    proof_fits(key, algorithm, &proof, true) && proof_fits(key, algorithm, &proof, false);
	host_key_unref(key);
	return r;
}

/* One algorithm of a mode tells for all of them. */
static bool serves(struct provider *provider, const struct offer *offer, size_t index, uint32_t *asked,
		   uint32_t *served)
{
	uint32_t mode = 1u << algorithms[index].mode;

	if (!(*asked & mode) && proves(provider, offer, index))
		*served |= mode;
	*asked |= mode;
	return *served & mode;
}

/* The default provider's parameters, and ours. */
static OSSL_PARAM *settable_new(const EVP_CIPHER *cipher)
{
	const OSSL_PARAM *theirs = EVP_CIPHER_settable_ctx_params(cipher);
	OSSL_PARAM *all;
	size_t n = 0;

	while (theirs && theirs[n].key)
		n++;
	all = OPENSSL_zalloc((n + 2) * sizeof(*all));
	if (!all)
		return NULL;
	if (n)
		memcpy(all, theirs, n * sizeof(*all));
	all[n] = (OSSL_PARAM)OSSL_PARAM_utf8_string(PARAM_KEY, NULL, 0);
	all[n + 1] = (OSSL_PARAM)OSSL_PARAM_END;
	return all;
}

static void withdraw(struct offer *offer, size_t index)
{
	EVP_CIPHER_free(offer->ciphers[index]);
	offer->ciphers[index] = NULL;
	OPENSSL_free(offer->settable[index]);
	offer->settable[index] = NULL;
}

static bool offer_one(struct provider *provider, struct offer *offer, size_t index, uint32_t *asked, uint32_t *served)
{
	const char *names = algorithms[index].names;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(names, ":"), names);
	offer->ciphers[index] = EVP_CIPHER_fetch(provider->library, name, NULL);
	if (offer->ciphers[index] && serves(provider, offer, index, asked, served))
		offer->settable[index] = settable_new(offer->ciphers[index]);
	if (!offer->settable[index])
		withdraw(offer, index);
	return offer->ciphers[index];
}

/* ---- Keys that the host holds ---- */

/* The one mode of the set; 0 if it is not one that is known. */
static uint32_t mode_of(uint32_t modes)
{
	for (uint32_t mode = VACCEL_ECB; mode <= VACCEL_GCM; mode++)
		if (modes == 1u << mode)
			return mode;
	return 0;
}

/* Whether there is such a key for us, and what it is. Its rights are the host's to enforce. */
static bool offer_held(struct provider *provider, struct held_key *held, const char *name, size_t len)
{
	const struct vaccel_key_about *about;
	struct host_key *key;

	snprintf(held->name, sizeof(held->name), "%.*s", (int)len, name);
	snprintf(held->algorithm, sizeof(held->algorithm), "vaccel-%.*s", (int)len, name);
	if (host_key_open(provider->host, held->name, &key) < 0)
		return false;
	about = host_key_about(key);
	held->mode = about->type == VACCEL_KEY_AES && about->held ? mode_of(about->modes) : 0;
	held->bits = about->bits;
	host_key_unref(key);
	return held->mode != 0;
}

#define SEPARATORS " ,\t"

static void offer_all_held(struct provider *provider, struct offer *offer, size_t row)
{
	struct held_key *held;
	size_t len;

	for (const char *name = provider->held_names; name; name += len) {
		name += strspn(name, SEPARATORS);
		len = strcspn(name, SEPARATORS);
		if (!len)
			break;
		held = &offer->held[offer->n_held];
		if (!offer_held(provider, held, name, len))
			continue;
		offer->table[row++] = (OSSL_ALGORITHM){
			.algorithm_names = held->algorithm,
			.property_definition = PROPERTIES_HELD,
			.implementation = held_functions(offer->n_held, held->mode),
			.algorithm_description = "AES with a key of the host's",
		};
		offer->n_held++;
	}
}

/* ---- The table ---- */

static struct offer *offer_new(struct provider *provider)
{
	struct offer *offer = OPENSSL_zalloc(sizeof(*offer));
	uint32_t asked = 0, served = 0;
	size_t row = 0;

	if (!offer)
		return NULL;
	/* What cannot be fetched or reached is not an error of the program that looks for ciphers. */
	ERR_set_mark();
	for (size_t i = 0; i < N_ALGORITHMS; i++)
		if (offer_one(provider, offer, i, &asked, &served))
			offer->table[row++] = (OSSL_ALGORITHM){
				.algorithm_names = algorithms[i].names,
				.property_definition = PROPERTIES,
				.implementation = algorithms[i].functions,
				.algorithm_description = "AES by the host",
			};
	offer_all_held(provider, offer, row);
	ERR_pop_to_mark();
	return offer;
}

static void offer_free(struct offer *offer)
{
	if (!offer)
		return;
	for (size_t i = 0; i < N_ALGORITHMS; i++)
		withdraw(offer, i);
	OPENSSL_free(offer);
}

static const OSSL_ALGORITHM *query(void *opaque, int operation, int *no_cache)
{
	struct provider *provider = opaque;
	struct offer *offer = atomic_load(&provider->offer), *made;

	*no_cache = 0;
	if (operation != OSSL_OP_CIPHER)
		return NULL;
	if (offer)
		return offer->table;
	made = offer_new(provider);
	*no_cache = !made;
	if (!made || atomic_compare_exchange_strong(&provider->offer, &offer, made))
		return made ? made->table : NULL;
	/* Another thread has asked at the same time. */
	offer_free(made);
	return offer->table;
}

/* ---- Settings ---- */

/* The environment's, else the configuration's, else NULL. */
static const char *setting(const struct provider *provider, OSSL_FUNC_core_get_params_fn *get_params, const char *name,
			   const char *variable)
{
	const char *value = variable ? secure_getenv(variable) : NULL;
	char *configured = NULL;
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_ptr(name, &configured, 0), OSSL_PARAM_construct_end() };

	if (value && *value)
		return value;
	if (get_params && get_params(provider->core, params))
		value = configured;
	return value && *value ? value : NULL;
}

/*
 * Unless a setting says otherwise. With AES instructions a processor works on several blocks at once wherever the mode lets it,
 * and is done about as soon as the data are copied, so that sending them never pays; only where CBC encrypts is the host as
 * fast, from this size on. Without them a host that has some is ahead once what a request costs does not count any more, for
 * CBC's encrypting sooner than for what other instructions still do on several blocks.
 * docs/openssl.md and docs/performance.md have the measurements.
 */
static const struct thresholds with_instructions = { .serial = 64u << 10, .parallel = SIZE_MAX };
static const struct thresholds in_software = { .serial = 16u << 10, .parallel = 64u << 10 };

/* Whether libcrypto here has AES instructions and uses them. Where it does not say so, nothing is lost with yes. */
static bool has_instructions(void)
{
	const char *text = OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS);
	unsigned long long word;

	if (text && sscanf(text, "OPENSSL_ia32cap=0x%llx", &word) == 1)
		return word >> 57 & 1;
	if (text && sscanf(text, "OPENSSL_armcap=0x%llx", &word) == 1)
		return word >> 2 & 1;
	return true;
}

static bool is_bytes(const char *text, size_t *ret_bytes)
{
	unsigned long long bytes;
	char *end;

	errno = 0;
	bytes = strtoull(text, &end, 10);
	*ret_bytes = (size_t)bytes;
	return *text >= '0' && *text <= '9' && !*end && !errno && bytes <= SIZE_MAX;
}

static bool read_threshold(struct provider *provider, const char *text)
{
	size_t bytes = SIZE_MAX;

	if (text && strcmp(text, "never") != 0 && !is_bytes(text, &bytes))
		return ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_CONFIG_DATA,
				      "vaccel: threshold %s: is a number of bytes, or \"never\"", text),
		       false;
	if (text)
		provider->thresholds = (struct thresholds){ .serial = bytes, .parallel = bytes };
	else
		provider->thresholds = has_instructions() ? with_instructions : in_software;
	return true;
}

static bool name_is_good(const char *name, size_t len)
{
	static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

	return len < VACCEL_KEY_NAME && *name != '.' && *name != '-' && strspn(name, characters) >= len;
}

/* The name of those before `name` in the list that OpenSSL, which does not tell cases apart, takes for the same; NULL: none. */
static const char *same_name(const char *list, const char *name, size_t len)
{
	size_t n;

	for (list += strspn(list, SEPARATORS); list < name; list += n, list += strspn(list, SEPARATORS)) {
		n = strcspn(list, SEPARATORS);
		if (n == len && strncasecmp(list, name, len) == 0)
			return list;
	}
	return NULL;
}

static bool read_keys(struct provider *provider, const char *text)
{
	const char *same;
	size_t n = 0, len;

	for (const char *name = text; name && *(name += strspn(name, SEPARATORS)); name += len) {
		len = strcspn(name, SEPARATORS);
		if (!name_is_good(name, len))
			return ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_CONFIG_DATA,
					      "vaccel: keys %s: %.*s cannot be the name of a key", text, (int)len,
					      name),
			       false;
		same = same_name(text, name, len);
		if (same)
			return ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_CONFIG_DATA,
					      "vaccel: keys %s: %.*s and %.*s are the same name to OpenSSL", text,
					      (int)len, same, (int)len, name),
			       false;
		if (++n > MAX_HELD_KEYS)
			return ERR_raise_data(ERR_LIB_PROV, PROV_R_INVALID_CONFIG_DATA, "vaccel: keys: more than %u",
					      MAX_HELD_KEYS),
			       false;
	}
	provider->held_names = text ? OPENSSL_strdup(text) : NULL;
	return !text || provider->held_names;
}

static bool read_settings(struct provider *provider, OSSL_FUNC_core_get_params_fn *get_params)
{
	const char *url = secure_getenv("VACCEL_TRANSPORT");

	/* The library reads that variable itself. */
	url = url && *url ? NULL : setting(provider, get_params, "transport", NULL);
	provider->host = host_new(url);
	return provider->host &&
	       read_threshold(provider, setting(provider, get_params, "threshold", "VACCEL_OPENSSL_THRESHOLD")) &&
	       read_keys(provider, setting(provider, get_params, "keys", "VACCEL_OPENSSL_KEYS"));
}

/* ---- Life ---- */

static void teardown(void *opaque)
{
	struct provider *provider = opaque;

	if (!provider)
		return;
	offer_free(provider->offer);
	host_free(provider->host);
	OSSL_PROVIDER_unload(provider->base);
	OSSL_LIB_CTX_free(provider->library);
	OPENSSL_free(provider->held_names);
	OPENSSL_free(provider);
}

static const OSSL_PARAM *gettable_params(void *provider)
{
	static const OSSL_PARAM list[] = {
		OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_NAME, NULL, 0),
		OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_VERSION, NULL, 0),
		OSSL_PARAM_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, NULL, 0),
		OSSL_PARAM_int(OSSL_PROV_PARAM_STATUS, NULL),
		OSSL_PARAM_END,
	};

	return list;
}

static int get_params(void *provider, OSSL_PARAM params[])
{
	const struct {
		const char *name;
		const char *text;
	} texts[] = {
		{ OSSL_PROV_PARAM_NAME, "vAccel: ciphers of the host's" },
		{ OSSL_PROV_PARAM_VERSION, VACCEL_BUILD_VERSION },
		{ OSSL_PROV_PARAM_BUILDINFO, VACCEL_BUILD_VERSION },
	};
	OSSL_PARAM *param;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		param = OSSL_PARAM_locate(params, texts[i].name);
		if (param && !OSSL_PARAM_set_utf8_ptr(param, texts[i].text))
			return 0;
	}
	param = OSSL_PARAM_locate(params, OSSL_PROV_PARAM_STATUS);
	return !param || OSSL_PARAM_set_int(param, 1);
}

static const OSSL_DISPATCH provider_functions[] = {
	{ OSSL_FUNC_PROVIDER_TEARDOWN, (void (*)(void))teardown },
	{ OSSL_FUNC_PROVIDER_GETTABLE_PARAMS, (void (*)(void))gettable_params },
	{ OSSL_FUNC_PROVIDER_GET_PARAMS, (void (*)(void))get_params },
	{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query },
	{ 0, NULL },
};

__attribute__((visibility("default"))) OSSL_provider_init_fn OSSL_provider_init;

int OSSL_provider_init(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
		       void **ret_provider)
{
	OSSL_FUNC_core_get_params_fn *core_get_params = NULL;
	struct provider *provider = OPENSSL_zalloc(sizeof(*provider));

	if (!provider)
		return 0;
	for (; in->function_id; in++)
		if (in->function_id == OSSL_FUNC_CORE_GET_PARAMS)
			core_get_params = OSSL_FUNC_core_get_params(in);
	provider->core = core;
	provider->library = OSSL_LIB_CTX_new();
	if (provider->library)
		provider->base = OSSL_PROVIDER_load(provider->library, "default");
	if (!provider->base || !read_settings(provider, core_get_params)) {
		teardown(provider);
		return 0;
	}
	*out = provider_functions;
	*ret_provider = provider;
	return 1;
}
