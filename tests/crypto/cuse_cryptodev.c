/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A /dev/crypto for the test of the plugin cryptodev, since the real one's module is packaged nowhere: a character device in user
 * space (CUSE) that takes the requests of cryptodev-linux 1.9 to 1.14 and computes with libcrypto.
 *
 *	cuse-cryptodev [FUSE-OPTION...]
 *
 * A caller's structs and what they point to are fetched by asking the kernel to try the request again with the ranges of memory
 * that are needed: first the struct, then key, or source and IV.
 */
#define FUSE_USE_VERSION 31
#include <cuse_lowlevel.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "abi.h"

enum { MAX_SESSIONS = 4096, MAX_KEY = 64, BLOCK = 16, MAX_LEN = 1 << 16 };

static struct {
	uint32_t cipher; /* 0: free */
	size_t key_len;
	uint8_t key[MAX_KEY];
} sessions[MAX_SESSIONS];

static const struct {
	uint32_t cipher;
	const char *mode;
	bool iv;
} ciphers[] = {
	{ CRYPTODEV_AES_ECB, "ecb", false },
	{ CRYPTODEV_AES_CBC, "cbc", true },
	{ CRYPTODEV_AES_CTR, "ctr", true },
	{ CRYPTODEV_AES_XTS, "xts", true },
};

static const EVP_CIPHER *evp_of(uint32_t cipher, size_t key_len, bool *ret_iv)
{
	char name[32];

	for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++) {
		if (ciphers[i].cipher != cipher)
			continue;
		*ret_iv = ciphers[i].iv;
		snprintf(name, sizeof(name), "aes-%zu-%s", (cipher == CRYPTODEV_AES_XTS ? key_len / 2 : key_len) * 8,
			 ciphers[i].mode);
		return EVP_get_cipherbyname(name);
	}
	return NULL;
}

/* Asks for memory of the caller's: with it the request comes again. */
static void ask(fuse_req_t req, const struct iovec *in, size_t n_in, const struct iovec *out, size_t n_out)
{
	fuse_reply_ioctl_retry(req, in, n_in, out, n_out);
}

static void open_session(fuse_req_t req, void *arg, const uint8_t *in, size_t in_len)
{
	struct cryptodev_session open;
	struct iovec parts[2] = { { arg, sizeof(open) } };
	const EVP_CIPHER *evp;
	uint32_t id = 1;
	bool iv;

	if (in_len < sizeof(open)) {
		ask(req, parts, 1, NULL, 0);
		return;
	}
	memcpy(&open, in, sizeof(open));
	evp = open.key_len <= MAX_KEY ? evp_of(open.cipher, open.key_len, &iv) : NULL;
	if (!evp || open.mac) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (in_len < sizeof(open) + open.key_len) {
		parts[1] = (struct iovec){ (void *)open.key, open.key_len };
		ask(req, parts, 2, parts, 1);
		return;
	}
	while (id < MAX_SESSIONS && sessions[id].cipher)
		id++;
	if (id == MAX_SESSIONS) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	sessions[id].cipher = open.cipher;
	sessions[id].key_len = open.key_len;
	memcpy(sessions[id].key, in + sizeof(open), open.key_len);
	open.id = id;
	fuse_reply_ioctl(req, 0, &open, sizeof(open));
}

static void close_session(fuse_req_t req, void *arg, const uint8_t *in, size_t in_len)
{
	struct iovec part = { arg, sizeof(uint32_t) };
	uint32_t id;

	if (in_len < sizeof(id)) {
		ask(req, &part, 1, NULL, 0);
		return;
	}
	memcpy(&id, in, sizeof(id));
	if (id >= MAX_SESSIONS || !sessions[id].cipher) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	memset(&sessions[id], 0, sizeof(sessions[id]));
	fuse_reply_ioctl(req, 0, NULL, 0);
}

static bool compute(const struct cryptodev_crypt *crypt, const uint8_t *source, const uint8_t *iv, uint8_t *destination)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	bool has_iv, ok;
	const EVP_CIPHER *evp = evp_of(sessions[crypt->session].cipher, sessions[crypt->session].key_len, &has_iv);
	int n;

	ok = context && evp &&
	     EVP_CipherInit_ex(context, evp, NULL, sessions[crypt->session].key, has_iv ? iv : NULL,
			       crypt->operation == CRYPTODEV_ENCRYPT) &&
	     EVP_CIPHER_CTX_set_padding(context, 0) &&
	     EVP_CipherUpdate(context, destination, &n, source, (int)crypt->len) && n == (int)crypt->len;
	EVP_CIPHER_CTX_free(context);
	return ok;
}

static void run(fuse_req_t req, void *arg, const uint8_t *in, size_t in_len)
{
	static uint8_t result[MAX_LEN];
	struct cryptodev_crypt crypt;
	struct iovec parts[3] = { { arg, sizeof(crypt) } }, out;
	size_t iv_len;

	if (in_len < sizeof(crypt)) {
		ask(req, parts, 1, NULL, 0);
		return;
	}
	memcpy(&crypt, in, sizeof(crypt));
	iv_len = crypt.iv ? BLOCK : 0;
	if (crypt.session >= MAX_SESSIONS || !sessions[crypt.session].cipher || crypt.operation > CRYPTODEV_DECRYPT ||
	    crypt.len > MAX_LEN || crypt.flags || crypt.mac) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (in_len < sizeof(crypt) + crypt.len + iv_len) {
		parts[1] = (struct iovec){ (void *)crypt.source, crypt.len };
		parts[2] = (struct iovec){ (void *)crypt.iv, iv_len };
		out = (struct iovec){ crypt.destination, crypt.len };
		ask(req, parts, iv_len ? 3 : 2, &out, 1);
		return;
	}
	if (compute(&crypt, in + sizeof(crypt), in + sizeof(crypt) + crypt.len, result))
		fuse_reply_ioctl(req, 0, result, crypt.len);
	else
		fuse_reply_err(req, EINVAL);
}

static void on_open(fuse_req_t req, struct fuse_file_info *fi)
{
	fuse_reply_open(req, fi);
}

static void on_ioctl(fuse_req_t req, int command, void *arg, struct fuse_file_info *fi, unsigned int flags,
		     const void *in, size_t in_len, size_t out_len)
{
	switch ((unsigned int)command) {
	case CRYPTODEV_OPEN:
		open_session(req, arg, in, in_len);
		break;
	case CRYPTODEV_CLOSE:
		close_session(req, arg, in, in_len);
		break;
	case CRYPTODEV_CRYPT:
		run(req, arg, in, in_len);
		break;
	default:
		fuse_reply_err(req, ENOTTY);
	}
}

int main(int argc, char **argv)
{
	static const char *name[] = { "DEVNAME=crypto" };
	static const struct cuse_lowlevel_ops ops = { .open = on_open, .ioctl = on_ioctl };
	const struct cuse_info info = { .dev_info_argc = 1, .dev_info_argv = name, .flags = CUSE_UNRESTRICTED_IOCTL };

	return cuse_lowlevel_main(argc, argv, &info, &ops, NULL);
}
