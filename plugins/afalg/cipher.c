/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIPHER. ECB, CBC and CTR come in messages as large as the kernel takes; what one hands on to the next in CBC and CTR is its IV,
 * which is made here: that holds with every driver. XTS and GCM are one message each.
 */
#include <errno.h>
#include <string.h>
#include "afalg.h"

enum { IV, AAD, SOURCE, DESTINATION, TAG }; /* arguments of CIPHER */

/* A request, as far as it has come. */
struct work {
	const struct vaccel_plugin_call *call;
	const struct vaccel_cipher *cipher;
	const struct mode *mode;
	int fd;
	uint8_t iv[BLOCK]; /* of the next message */
	const uint8_t *source;
	uint8_t *destination;
	size_t left;
};

static int explain(const struct work *w, int r)
{
	if (r == -EBADMSG)
		return vaccel_plugin_error(&w->call->report, -EKEYREJECTED, "the tag does not fit");
	return vaccel_plugin_error(&w->call->report, r == -ENOMEM ? r : -EIO, "the kernel's %s fails: %s",
				   *w->mode->driver ? w->mode->driver : w->mode->name, strerror(-r));
}

static int exchange(const struct work *w, const uint8_t *source, uint8_t *destination, size_t len)
{
	const struct message message = {
		.mode = w->mode,
		.direction = w->cipher->direction,
		.iv = w->iv,
		.iv_len = w->call->args[IV].len,
		.source = source,
		.destination = destination,
		.len = len,
	};
	int r = message_exchange(w->fd, &message);

	return r < 0 ? explain(w, r) : 0;
}

static void count_up(uint8_t *counter, uint64_t blocks)
{
	for (unsigned int i = BLOCK; i-- > 0;) {
		blocks += counter[i];
		counter[i] = (uint8_t)blocks;
		blocks >>= 8;
	}
}

/* The rest of a block of CTR that was begun before. */
static int finish_block(struct work *w)
{
	size_t skip = w->cipher->skip, len = BLOCK - skip < w->left ? BLOCK - skip : w->left;
	uint8_t block[BLOCK] = { 0 };
	int r;

	memcpy(block + skip, w->source, len);
	r = exchange(w, block, block, BLOCK);
	if (r == 0)
		memcpy(w->destination, block + skip, len);
	explicit_bzero(block, sizeof(block));
	count_up(w->iv, 1);
	w->source += len;
	w->destination += len;
	w->left -= len;
	return r;
}

static int one_step(struct work *w)
{
	size_t len = w->left < max_message ? w->left : max_message;
	const uint8_t *from = w->cipher->direction == VACCEL_ENCRYPT ? w->destination : w->source;
	uint8_t next[BLOCK] = { 0 };
	int r;

	/* In place, what is decrypted is gone afterwards. */
	if (w->mode->mode == VACCEL_CBC && w->cipher->direction == VACCEL_DECRYPT)
		memcpy(next, from + len - BLOCK, BLOCK);
	r = exchange(w, w->source, w->destination, len);
	if (r < 0)
		return r;
	if (w->mode->mode == VACCEL_CBC)
		memcpy(w->iv, w->cipher->direction == VACCEL_DECRYPT ? next : from + len - BLOCK, BLOCK);
	if (w->mode->mode == VACCEL_CTR)
		count_up(w->iv, len / BLOCK);
	w->source += len;
	w->destination += len;
	w->left -= len;
	return 0;
}

static int run_steps(struct work *w)
{
	int r = 0;

	if (w->cipher->skip && w->left)
		r = finish_block(w);
	while (r == 0 && w->left)
		r = one_step(w);
	return r;
}

static int run_aead(const struct work *w)
{
	const struct vaccel_plugin_arg *arg = w->call->args;
	bool checks = w->cipher->direction == VACCEL_DECRYPT;
	uint8_t tag[MAX_TAG] = { 0 };
	const struct message message = {
		.mode = w->mode,
		.direction = w->cipher->direction,
		.iv = w->iv,
		.iv_len = arg[IV].len,
		.aad = arg[AAD].data,
		.aad_len = arg[AAD].len,
		.source = w->source,
		.destination = w->destination,
		.len = w->left,
		.tag = tag,
		.tag_len = arg[TAG].len,
	};
	int r;

	if (checks)
		memcpy(tag, arg[TAG].data, arg[TAG].len);
	r = message_exchange(w->fd, &message);
	if (r == 0 && !checks)
		memcpy(arg[TAG].data, tag, arg[TAG].len);
	/* What did not pass its check is nobody's to read. */
	if (r < 0 && w->left)
		memset(w->destination, 0, w->left);
	return r < 0 ? explain(w, r) : 0;
}

/* Whether it can be done by this way at all. */
static int check(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher, const struct mode *mode)
{
	const struct vaccel_plugin_arg *arg = call->args;
	size_t whole = mode->mode == VACCEL_XTS || mode->mode == VACCEL_GCM
			       ? arg[AAD].len + arg[SOURCE].len + arg[TAG].len
			       : 0;

	if (!mode->serves)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "the kernel does not serve %s", mode->key);
	if (cipher->stream)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "a message comes in one request");
	if (mode->mode == VACCEL_GCM && call->key->held && !(call->key->rights & VACCEL_MAY_ENCRYPT))
		return vaccel_plugin_error(
			&call->report, -EOPNOTSUPP,
			"a key that may only decrypt needs a plugin that gives nothing out too early");
	if (mode->mode == VACCEL_GCM && arg[IV].len != GCM_IV)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "IV of %zu bytes, the kernel's gcm takes %d",
					   arg[IV].len, GCM_IV);
	if (whole > max_message)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP,
					   "%zu bytes in one piece, the system's sockets have room for %zu", whole,
					   max_message);
	return 0;
}

int cipher_run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	const struct mode *mode = &modes[cipher->mode];
	struct work w = {
		.call = call,
		.cipher = cipher,
		.mode = mode,
		.source = call->args[SOURCE].data,
		.destination = call->args[DESTINATION].data,
		.left = call->args[SOURCE].len,
	};
	struct channel channel;
	int r = check(call, cipher, mode);

	if (r < 0)
		return r;
	r = channel_take(call->key, mode, call->args[TAG].len, &call->report, &channel);
	if (r < 0)
		return r;
	w.fd = channel.fd;
	if (call->args[IV].len)
		memcpy(w.iv, call->args[IV].data, call->args[IV].len);
	r = mode->mode == VACCEL_GCM ? run_aead(&w) : run_steps(&w);
	/* A message whose tag was wrong has been taken off. */
	channel_give(&channel, r < 0 && r != -EKEYREJECTED);
	return r;
}
