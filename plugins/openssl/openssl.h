/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin openssl: CIPHER and AKCIPHER with OpenSSL's libcrypto.
 *
 * libcrypto is used through a library context of its own (crypto_library): it meets nothing of what a program that it runs in
 * (transport local) does with OpenSSL, the provider vaccel included. The process's configuration, which libcrypto loads at its
 * first use whatever the context, is loaded in ready(), before the sandbox closes; the daemon's is empty, unless its
 * administrator says otherwise (OPENSSL_CONF in vacceld(8)).
 *
 * What is made of keys lives in two places, and in no third: contexts.c (prepared AES contexts that are idle), and the streams
 * of sessions (stream.c, messages of GCM that have begun); keys.c has RSA keys. All forget a key in key_gone(). A request that
 * runs owns the context that it took, and gives it back or frees it before it returns.
 */
#ifndef PLUGINS_OPENSSL_OPENSSL_H
#define PLUGINS_OPENSSL_OPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/crypto.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <vaccel/plugin.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Arguments of CIPHER. */
enum { IV, AAD, SOURCE, DESTINATION, TAG };

extern OSSL_LIB_CTX *crypto_library;

/*
 * Says that an action failed, and why, by libcrypto's own reason. Empties libcrypto's list of errors. Returns error; -ENOMEM
 * if it was for memory.
 */
int crypto_error(const struct vaccel_plugin_report *report, int error, const char *action);

/* ---- contexts.c ---- */

/* A cipher whose key is set, for one key, mode and direction. The IV is set for each message. */
struct context {
	struct context *next, *prev;
	uint64_t key;
	uint32_t mode;
	uint32_t direction;
	size_t iv_len; /* that it is set to */
	bool begun;    /* it has had an IV */
	EVP_CIPHER_CTX *evp;
};

int contexts_init(struct vaccel_plugin_report *report);
void contexts_fini(void);
/* One for the call's key and mode, the caller's alone. */
int context_take(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher,
		 struct context **ret_context);
/* Keeps it for the next request. */
void context_give(struct context *context);
/* What it has of the key is overwritten. NULL is allowed. */
void context_free(struct context *context);
void contexts_key_gone(uint64_t key);

/* ---- aes.c ---- */

int cipher_run(const struct vaccel_plugin_call *call);
/* The steps of a message, with arguments of the call: its IV; additional data, then source to destination; its tag. */
int message_begin(const struct vaccel_plugin_call *call, struct context *context);
int message_go_on(const struct vaccel_plugin_call *call, struct context *context);
int message_end(const struct vaccel_plugin_call *call, struct context *context);
/* Whether the context may have another message after one that ended so; otherwise it is freed. */
void context_settle(struct context *context, int result);

/* ---- stream.c ---- */

/* A request of a message that comes in several. */
int stream_run(const struct vaccel_plugin_call *call);
int session_open(void **ret_session, struct vaccel_plugin_report *report);
void session_close(void *session);
void streams_key_gone(uint64_t key);

/* ---- keys.c, rsa.c ---- */

int akcipher_run(const struct vaccel_plugin_call *call);
int rsa_init(struct vaccel_plugin_report *report);
void rsa_fini(void);
int rsa_key_check(const struct vaccel_plugin_crypto_key *key, uint32_t *ret_bits,
		  const struct vaccel_plugin_report *report);
/* The call's key, in libcrypto's form, until it goes. */
int rsa_key_get(const struct vaccel_plugin_call *call, EVP_PKEY **ret_key);
void rsa_key_gone(uint64_t id);
void rsa_keys_fini(void);

#endif
