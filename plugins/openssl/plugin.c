/* SPDX-License-Identifier: Apache-2.0 */
/* See openssl.h. Here: the declaration, the life of the plugin, and what it says about the hardware. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include "openssl.h"

OSSL_LIB_CTX *crypto_library;

static char hardware_text[96];

int crypto_error(const struct vaccel_plugin_report *report, int error, const char *action)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	if (code && ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
		return vaccel_plugin_error(report, -ENOMEM, "%s: no memory", action);
	return vaccel_plugin_error(report, error, "%s: %s", action, reason ? reason : "OpenSSL gives no reason");
}

/* ---- hardware ---- */

#define BIT(n) (UINT64_C(1) << (n))

/*
 * What libcrypto's code for AES chooses by, as libcrypto itself says it: the CPU's features less those that the environment
 * takes away. The words are those of OPENSSL_ia32cap(3) and of OPENSSL_armcap.
 */
static const char *instructions(void)
{
	const char *text = OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS);
	const uint64_t aes = BIT(57), clmul = BIT(33), ssse3 = BIT(41), vaes = BIT(41) | BIT(42) | BIT(16);
	unsigned long long word0 = 0, word1 = 0;

	if (text && sscanf(text, "OPENSSL_armcap=0x%llx", &word0) == 1)
		return word0 & BIT(2) ? "AES instructions" : "no AES instructions";
	if (!text || sscanf(text, "OPENSSL_ia32cap=0x%llx:0x%llx", &word0, &word1) < 1)
		return "CPU";
	if (!(word0 & aes))
		return word0 & ssse3 ? "SSSE3, no AES-NI" : "no AES-NI";
	/* For GCM only, and not before 3.1. */
	if ((word1 & vaes) == vaes && (OPENSSL_version_major() > 3 || OPENSSL_version_minor() >= 1))
		return "AES-NI, VAES";
	return word0 & clmul ? "AES-NI, PCLMULQDQ" : "AES-NI";
}

static const char *hardware(void)
{
	return hardware_text;
}

/* ---- life ---- */

static int ready(struct vaccel_plugin_report *report)
{
	int r;

	/* Threads may be in libcrypto when the process exits: it shall not tidy up under them. */
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT | OPENSSL_INIT_LOAD_CONFIG, NULL) != 1)
		return crypto_error(report, -ENOTSUP, "OpenSSL cannot be initialised");
	crypto_library = OSSL_LIB_CTX_new();
	if (!crypto_library)
		return crypto_error(report, -ENOMEM, "OpenSSL's context cannot be made");
	snprintf(hardware_text, sizeof(hardware_text), "OpenSSL %s, %s", OpenSSL_version(OPENSSL_VERSION_STRING),
		 instructions());
	r = contexts_init(report);
	return r < 0 ? r : rsa_init(report);
}

static void unload(void)
{
	if (!crypto_library)
		return;
	contexts_fini();
	rsa_fini();
	OSSL_LIB_CTX_free(crypto_library);
	crypto_library = NULL;
}

static void key_gone(uint64_t key)
{
	streams_key_gone(key);
	contexts_key_gone(key);
	rsa_key_gone(key);
}

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(CIPHER, cipher_run),
	VACCEL_IMPL(AKCIPHER, akcipher_run),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "openssl",
	.version = VACCEL_BUILD_VERSION,
	.description = "AES and RSA on the CPU with OpenSSL",
	.threads = VACCEL_THREADS_ANY,
	.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
	.ready = ready,
	.open = session_open,
	.close = session_close,
	.unload = unload,
	.hardware = hardware,
	.key_check = rsa_key_check,
	.key_gone = key_gone,
};
VACCEL_PLUGIN(plugin);
