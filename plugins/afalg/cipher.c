/* SPDX-License-Identifier: Apache-2.0 */
/* CIPHER. ECB, CBC and CTR come in messages as large as the kernel takes (steps.h); XTS and GCM are one message each. */
#include <errno.h>
#include <string.h>
#include "afalg.h"

enum { IV, AAD, SOURCE, DESTINATION, TAG }; /* arguments of CIPHER */

/* A request, on its way. */
struct work {
	const struct vaccel_plugin_call *call;
	const struct vaccel_cipher *cipher;
	const struct mode *mode;
	int fd;
};

static int explain(const struct work *w, int r)
{
	if (r == -EBADMSG)
		return vaccel_plugin_error(&w->call->report, -EKEYREJECTED, "the tag does not fit");
	return vaccel_plugin_error(&w->call->report, r == -ENOMEM ? r : -EIO, "the kernel's %s fails: %s",
				   *w->mode->driver ? w->mode->driver : w->mode->name, strerror(-r));
}

static int exchange(const struct steps *steps, const uint8_t *source, uint8_t *destination, size_t len)
{
	const struct work *w = steps->opaque;
	const struct message message = {
		.mode = w->mode,
		.direction = steps->direction,
		.iv = steps->iv,
		.iv_len = w->call->args[IV].len,
		.source = source,
		.destination = destination,
		.len = len,
	};

	return message_exchange(w->fd, &message);
}

static int run_steps(const struct work *w)
{
	const struct vaccel_plugin_arg *arg = w->call->args;
	struct steps steps = {
		.mode = w->cipher->mode,
		.direction = w->cipher->direction,
		.skip = w->cipher->skip,
		.max = max_message,
		.source = arg[SOURCE].data,
		.destination = arg[DESTINATION].data,
		.left = arg[SOURCE].len,
		.exchange = exchange,
		.opaque = w,
	};
	int r;

	if (arg[IV].len)
		memcpy(steps.iv, arg[IV].data, arg[IV].len);
	r = steps_run(&steps);
	return r < 0 ? explain(w, r) : 0;
}

static int run_aead(const struct work *w)
{
	const struct vaccel_plugin_arg *arg = w->call->args;
	bool checks = w->cipher->direction == VACCEL_DECRYPT;
	uint8_t tag[MAX_TAG] = { 0 };
	const struct message message = {
		.mode = w->mode,
		.direction = w->cipher->direction,
		.iv = arg[IV].data,
		.iv_len = arg[IV].len,
		.aad = arg[AAD].data,
		.aad_len = arg[AAD].len,
		.source = arg[SOURCE].data,
		.destination = arg[DESTINATION].data,
		.len = arg[SOURCE].len,
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
	if (r < 0 && arg[SOURCE].len)
		memset(arg[DESTINATION].data, 0, arg[SOURCE].len);
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
	struct work w = { .call = call, .cipher = cipher, .mode = mode };
	struct channel channel;
	int r = check(call, cipher, mode);

	if (r < 0)
		return r;
	r = channel_take(call->key, mode, call->args[TAG].len, &call->report, &channel);
	if (r < 0)
		return r;
	w.fd = channel.fd;
	r = mode->mode == VACCEL_GCM ? run_aead(&w) : run_steps(&w);
	/* A message whose tag was wrong has been taken off. */
	channel_give(&channel, r < 0 && r != -EKEYREJECTED);
	return r;
}
