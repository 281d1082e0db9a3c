/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin some: ciphers of another plugin, some modes of them only, and some computed wrongly.
 *
 *	[plugin some]
 *	plugin = /path/of/vaccel-openssl.so
 *	modes = cbc ctr			; what it serves; default: all
 *	wrong = ctr			; what it computes, but for one bit of what comes out last,
 *	only = encrypt			; in one of the directions; default: in both
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <vaccel/plugin.h>

static const struct vaccel_plugin *other;
static uint32_t served = UINT32_MAX, wrong; /* sets of 1 << enum vaccel_cipher_mode */
static uint32_t only;			    /* enum vaccel_direction; 0: both */

/* ---- configuration ---- */

static uint32_t modes_of(const char *text)
{
	static const char *const names[] = { [VACCEL_ECB] = "ecb",
					     [VACCEL_CBC] = "cbc",
					     [VACCEL_CTR] = "ctr",
					     [VACCEL_XTS] = "xts",
					     [VACCEL_GCM] = "gcm" };
	uint32_t modes = 0;

	for (uint32_t mode = VACCEL_ECB; mode <= VACCEL_GCM; mode++)
		if (strstr(text, names[mode]))
			modes |= 1u << mode;
	return modes;
}

static int take_plugin(const char *path, const struct vaccel_plugin_report *report)
{
	const struct vaccel_plugin *(*entry)(void) = NULL;
	void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (module)
		*(void **)&entry = dlsym(module, VACCEL_PLUGIN_SYMBOL);
	if (!entry)
		return vaccel_plugin_error(report, -ENOENT, "plugin %s cannot be loaded: %s", path, dlerror());
	other = entry();
	return 0;
}

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	if (strcmp(key, "plugin") == 0)
		return take_plugin(value, report);
	if (strcmp(key, "modes") == 0)
		served = modes_of(value);
	else if (strcmp(key, "wrong") == 0)
		wrong = modes_of(value);
	else
		only = strcmp(value, "encrypt") == 0 ? VACCEL_ENCRYPT : VACCEL_DECRYPT;
	return 0;
}

/* ---- life ---- */

static int ready(struct vaccel_plugin_report *report)
{
	if (!other)
		return vaccel_plugin_error(report, -EINVAL, "no plugin is configured whose ciphers to serve");
	return other->ready(report);
}

static int session_open(void **ret_session, struct vaccel_plugin_report *report)
{
	return other->open(ret_session, report);
}

static void session_close(void *session)
{
	other->close(session);
}

static void key_gone(uint64_t key)
{
	other->key_gone(key);
}

static void unload(void)
{
	if (other)
		other->unload();
}

static const char *hardware(void)
{
	return "a part of another plugin's";
}

/* ---- the operation ---- */

/* The tag of what has one, else the destination. */
static void spoil(const struct vaccel_plugin_call *call)
{
	for (size_t i = call->n_args; i-- > 0;) {
		const struct vaccel_plugin_arg *arg = &call->args[i];

		if (arg->dir & 2 && arg->len) {
			((uint8_t *)arg->data)[arg->len - 1] ^= 1;
			return;
		}
	}
}

static int run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	uint32_t mode = 1u << cipher->mode;
	int r;

	if (!(served & mode))
		return vaccel_plugin_error(&call->report, -ENOTSUP, "mode %u is not among those that are served",
					   cipher->mode);
	r = other->ops[0].run(call);
	if (r == 0 && wrong & mode && (!only || only == cipher->direction))
		spoil(call);
	return r;
}

static const struct vaccel_plugin_key keys[] = {
	{ "plugin", "path of the plugin whose ciphers it serves" },
	{ "modes", "those that it serves" },
	{ "wrong", "those of them that it computes wrongly" },
	{ "only", "the direction in which it does" },
};

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(CIPHER, run),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "some",
	.version = "1",
	.description = "a part of another plugin's ciphers, for tests",
	.threads = VACCEL_THREADS_ANY,
	.keys = keys,
	.n_keys = sizeof(keys) / sizeof(keys[0]),
	.ops = ops,
	.n_ops = sizeof(ops) / sizeof(ops[0]),
	.config = config,
	.ready = ready,
	.open = session_open,
	.close = session_close,
	.unload = unload,
	.hardware = hardware,
	.key_gone = key_gone,
};
VACCEL_PLUGIN(plugin);
