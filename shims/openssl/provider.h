/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider for OpenSSL 3 that has AES computed by the host.
 *
 * A cipher context whose key the program knows is a context of the default provider's (`local`), which is the authority on
 * everything that OpenSSL defines: padding, sizes, parameters, errors. Only the bulk of a large update leaves it
 * (forward.c, message.c): the state is taken out of the local context, the host works, and the state that follows is put
 * back. So a program cannot tell, but by time, and what the host does not do is done here.
 *
 * A context whose key the host holds (held.c) has nothing local: all of it goes to the host, or fails.
 *
 *     provider.c    entry, settings, which algorithms there are
 *     cipher.c      what OpenSSL calls of a cipher whose key the program has
 *     forward.c     ECB, CBC, CTR, XTS: the bulk of one update
 *     message.c     GCM: a whole message
 *     held.c        keys that the host holds
 *     held_table.c  what OpenSSL calls of their ciphers
 *     host.c        the connection, keys there
 *
 * Threads: OpenSSL lets one thread at a time use a cipher context; the provider and the connection are used by many.
 */
#ifndef VACCEL_OPENSSL_PROVIDER_H
#define VACCEL_OPENSSL_PROVIDER_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/proverr.h>
#include <vaccel/vaccel.h>

#include "host.h"

#define AES_BLOCK      16u
#define MAX_KEY_BYTES  64u  /* two of 32 for XTS */
#define MAX_IV_BYTES   128u /* of GCM */
#define MAX_TAG_BYTES  16u
#define MAX_HELD_KEYS  16u
#define MAX_UNIT_BYTES (1u << 24) /* of XTS */

/*
 * An algorithm for a key that the program has: symbol, enum vaccel_cipher_mode, bits, OpenSSL's mode and flags, length of
 * key, block and IV in bytes, names as the default provider has them.
 */
#define ALGORITHMS(X)                                                                       \
	X(ecb_128, ECB, 128, 0, 16, 16, 0, "AES-128-ECB:2.16.840.1.101.3.4.1.1")            \
	X(ecb_192, ECB, 192, 0, 24, 16, 0, "AES-192-ECB:2.16.840.1.101.3.4.1.21")           \
	X(ecb_256, ECB, 256, 0, 32, 16, 0, "AES-256-ECB:2.16.840.1.101.3.4.1.41")           \
	X(cbc_128, CBC, 128, 0, 16, 16, 16, "AES-128-CBC:AES128:2.16.840.1.101.3.4.1.2")    \
	X(cbc_192, CBC, 192, 0, 24, 16, 16, "AES-192-CBC:AES192:2.16.840.1.101.3.4.1.22")   \
	X(cbc_256, CBC, 256, 0, 32, 16, 16, "AES-256-CBC:AES256:2.16.840.1.101.3.4.1.42")   \
	X(ctr_128, CTR, 128, 0, 16, 1, 16, "AES-128-CTR")                                   \
	X(ctr_192, CTR, 192, 0, 24, 1, 16, "AES-192-CTR")                                   \
	X(ctr_256, CTR, 256, 0, 32, 1, 16, "AES-256-CTR")                                   \
	X(xts_128, XTS, 128, FLAG_CUSTOM_IV, 32, 1, 16, "AES-128-XTS:1.3.111.2.1619.0.1.1") \
	X(xts_256, XTS, 256, FLAG_CUSTOM_IV, 64, 1, 16, "AES-256-XTS:1.3.111.2.1619.0.1.2") \
	X(gcm_128, GCM, 128, FLAG_AEAD | FLAG_CUSTOM_IV, 16, 1, 12,                         \
	  "AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6")                               \
	X(gcm_192, GCM, 192, FLAG_AEAD | FLAG_CUSTOM_IV, 24, 1, 12,                         \
	  "AES-192-GCM:id-aes192-GCM:2.16.840.1.101.3.4.1.26")                              \
	X(gcm_256, GCM, 256, FLAG_AEAD | FLAG_CUSTOM_IV, 32, 1, 12, "AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46")

enum cipher_flag {
	FLAG_AEAD = 1 << 0,
	FLAG_CUSTOM_IV = 1 << 1,
};

enum algorithm_index {
#define ROW(symbol, ...) ALGORITHM_##symbol,
	ALGORITHMS(ROW)
#undef ROW
		N_ALGORITHMS
};

struct algorithm {
	const char *names; /* the first is what the default provider is asked for */
	uint32_t mode;	   /* enum vaccel_cipher_mode */
	uint32_t bits;
	uint32_t flags; /* set of enum cipher_flag */
	size_t key_len;
	size_t block_len;
	size_t iv_len;
	const OSSL_DISPATCH *functions;
};

extern const struct algorithm algorithms[N_ALGORITHMS];

/** OpenSSL's number for an enum vaccel_cipher_mode. */
unsigned int openssl_mode(uint32_t mode);

/** Answers OSSL_FUNC_cipher_get_params. */
int cipher_constants(OSSL_PARAM *params, uint32_t mode, uint32_t flags, size_t key_len, size_t block_len,
		     size_t iv_len);

const OSSL_PARAM *cipher_gettable_constants(void *provider);

/** A key that the host holds, as the configuration names it. */
struct held_key {
	char name[VACCEL_KEY_NAME];
	char algorithm[VACCEL_KEY_NAME + sizeof("vaccel-")]; /* what programs fetch */
	uint32_t mode;
	uint32_t bits;	 /* of the key as it was given: twice as many for XTS */
	uint32_t rights; /* set of enum vaccel_key_right */
};

/** Bytes of an update from which on it is forwarded; SIZE_MAX: never. */
struct thresholds {
	size_t serial;	 /* CBC encrypts: each block waits for the one before */
	size_t parallel; /* everything else */
};

/** What the host serves, and what OpenSSL is told of that. Never changes. */
struct offer {
	EVP_CIPHER *ciphers[N_ALGORITHMS]; /* the default provider's; NULL: not offered */
	OSSL_PARAM *settable[N_ALGORITHMS];
	struct held_key held[MAX_HELD_KEYS];
	size_t n_held;
	OSSL_ALGORITHM table[N_ALGORITHMS + MAX_HELD_KEYS + 1];
};

struct provider {
	const OSSL_CORE_HANDLE *core;
	OSSL_LIB_CTX *library; /* with the default provider and nothing else: what is computed here */
	OSSL_PROVIDER *base;
	struct host *host;
	struct thresholds thresholds;
	char *held_names;
	/* NULL until the host was asked; whoever has been told of an algorithm finds it. Under no lock: a child of fork() could
	 * not have one that another thread of its parent's held, who was asking. */
	_Atomic(struct offer *) offer;
};

/** The parameter of a cipher context that names a key of the host's: a text. */
#define PARAM_KEY "vaccel-key"

/* ---- held.c ---- */

struct held;

/** A context with the key of that name, which must be of the mode and bits. NULL, with an error raised. */
struct held *held_new(struct provider *provider, const char *name, uint32_t mode, uint32_t bits);
int held_init(struct held *held, bool encrypt, const unsigned char *iv, size_t iv_len, const OSSL_PARAM *params);

/** Copies the IV with which another message may begin to MAX_IV_BYTES, if there is one. */
bool held_iv(const struct held *held, unsigned char *iv);

/* OpenSSL's functions, of a struct held. */
void held_free(void *opaque);
void *held_dup(void *opaque);
int held_update(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in, size_t len);
int held_final(void *opaque, unsigned char *out, size_t *ret_len, size_t room);
int held_once(void *opaque, unsigned char *out, size_t *ret_len, size_t room, const unsigned char *in, size_t len);
int held_get_params(void *opaque, OSSL_PARAM params[]);
int held_set_params(void *opaque, const OSSL_PARAM params[]);

/* held_table.c: the functions of a cipher whose key is held[index] of the offer, for each mode that it may have. */
const OSSL_DISPATCH *held_functions(size_t index, uint32_t mode);

/* ---- Ciphers whose key the program has ---- */

enum message_state {
	MESSAGE_NEW,	/* nothing of its source came yet */
	MESSAGE_LOCAL,	/* the local context has it */
	MESSAGE_HOST,	/* the host has it */
	MESSAGE_FAILED, /* the host had it, and lost it */
	MESSAGE_DONE,	/* the host had it, and it is over: needs another IV */
};

/** GCM: what is kept of a message so that it can begin again here, and what the host answered. */
struct message {
	enum message_state state;
	struct vaccel_stream *stream; /* MESSAGE_HOST */
	uint8_t *log;		      /* additional data, then source */
	size_t log_aad, log_len;
	size_t log_room;
	bool log_whole;		    /* all of the message is in the log */
	uint8_t tag[MAX_TAG_BYTES]; /* made by the host, or to be checked */
	size_t tag_len;		    /* 0: none */
	bool own_tag;		    /* it is that of the last message that was encrypted, and the host's */
};

struct cipher {
	struct provider *provider;
	const struct algorithm *algorithm;
	size_t index; /* of that */
	EVP_CIPHER_CTX *local;
	struct host_key *key; /* NULL until something is forwarded */
	struct held *held;    /* a key of the host's instead; nothing else is used then */
	bool encrypt;
	bool key_set;
	bool key_encrypts; /* direction that the key was set for: the other has another schedule in most modes */
	bool iv_set;
	bool pinned;  /* in a state that only the local context knows: nothing is forwarded before the next init */
	bool foreign; /* has a parameter that is only the local context's, of TLS, say: nothing is forwarded any more */
	bool moved;   /* the local context's original IV is not the message's, which is in iv */
	uint8_t key_bytes[MAX_KEY_BYTES];
	uint8_t iv[AES_BLOCK];	    /* original IV, of modes other than GCM */
	uint8_t pending[AES_BLOCK]; /* ECB, CBC: bytes that the local context keeps */
	size_t n_pending;
	uint8_t *scratch; /* SCRATCH_BYTES, or NULL */
	struct message message;
};

/** A source in the way of its destination is copied, so that it is still there when the host fails; at most this at once. */
#define SCRATCH_BYTES (256u << 10)

/** From how many bytes on the host shall have an update. */
size_t cipher_threshold(const struct cipher *cipher);

/** Takes the key to the host, if it is not there yet. 0 or a negative errno. */
int cipher_key_ready(struct cipher *cipher);

/** One update by the local context: its errors are raised. */
int cipher_local_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in,
			size_t len);

/** The same past padding, as EVP_Cipher(). */
int cipher_local_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len);
int cipher_local_final(struct cipher *cipher, unsigned char *out, size_t *ret_len);

/** An unsigned parameter of the local context. */
bool cipher_local_uint(struct cipher *cipher, const char *name, unsigned int *ret_value);

/* forward.c: whether the update is one for the host, and if so, all of it: what the host leaves is done here. */
bool forward_wanted(struct cipher *cipher, const unsigned char *out, size_t room, const unsigned char *in, size_t len);
int forward_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len);

/* The same without keeping back what may be padding; whole blocks. */
int forward_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len);

/* message.c: a GCM cipher's functions. The local context has had the same init and parameters. */
void message_init(struct cipher *cipher, const unsigned char *iv);
void message_param(struct cipher *cipher, const OSSL_PARAM *param);
/* Something comes that is only the local context's to know: what the host has of the message is computed here, too. */
void message_settle(struct cipher *cipher);
int message_update(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len);
int message_final(struct cipher *cipher, unsigned char *out, size_t *ret_len);
int message_once(struct cipher *cipher, unsigned char *out, size_t *ret_len, const unsigned char *in, size_t len);
int message_get_params(struct cipher *cipher, OSSL_PARAM *params);
/* copy is a copy but for its message. */
int message_dup(struct cipher *copy, const struct cipher *cipher);
void message_fini(struct message *message);

/* ---- Errors ---- */

/** Raises reason, PROV_R_... or ERR_R_..., with the library's sentence. Returns 0, as OpenSSL's functions do. */
#define host_raise(reason)   (ERR_raise_data(ERR_LIB_PROV, (reason), "vaccel: %s", vaccel_error()), 0)
#define raise_reason(reason) (ERR_raise(ERR_LIB_PROV, (reason)), 0)

#endif
