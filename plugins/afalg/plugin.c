/* SPDX-License-Identifier: Apache-2.0 */
/* See afalg.h. Here: the declaration, the life of the plugin, and which modes the kernel serves. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "afalg.h"

struct mode modes[MAX_MODE + 1] = {
	[VACCEL_ECB] = { .mode = VACCEL_ECB, .key = "ecb", .type = "skcipher", .name = "ecb(aes)" },
	[VACCEL_CBC] = { .mode = VACCEL_CBC, .key = "cbc", .type = "skcipher", .name = "cbc(aes)" },
	[VACCEL_CTR] = { .mode = VACCEL_CTR, .key = "ctr", .type = "skcipher", .name = "ctr(aes)" },
	[VACCEL_XTS] = { .mode = VACCEL_XTS, .key = "xts", .type = "skcipher", .name = "xts(aes)" },
	[VACCEL_GCM] = { .mode = VACCEL_GCM, .key = "gcm", .type = "aead", .name = "gcm(aes)" },
};
size_t max_message;

static char hardware_text[320];

/* ---- configuration ---- */

static int config(const char *key, const char *value, struct vaccel_plugin_report *report)
{
	for (uint32_t i = VACCEL_ECB; i <= MAX_MODE; i++) {
		if (strcmp(key, modes[i].key))
			continue;
		if (!*value || strlen(value) >= sizeof(modes[i].driver))
			return vaccel_plugin_error(report, -EINVAL, "afalg: %s = '%s' is not the name of a driver", key,
						   value);
		snprintf(modes[i].driver, sizeof(modes[i].driver), "%s", value);
		return 0;
	}
	return vaccel_plugin_error(report, -EINVAL, "afalg: unknown key '%s'", key);
}

/* ---- what the kernel serves ---- */

static size_t iv_len(const struct mode *mode)
{
	if (mode->mode == VACCEL_GCM)
		return GCM_IV;
	return mode->mode == VACCEL_ECB ? 0 : BLOCK;
}

/* Whatever driver a name finds, it has to do what its mode says before guests' data reach it. */
static int try_known(const struct channel *channel, const struct mode *mode)
{
	uint8_t result[STEPS_KNOWN + MAX_TAG] = { 0 };
	struct steps_known known;
	const struct message message = {
		.mode = mode,
		.direction = VACCEL_ENCRYPT,
		.iv = known.iv,
		.iv_len = iv_len(mode),
		.source = known.text,
		.destination = result,
		.len = sizeof(known.text),
		.tag = result + STEPS_KNOWN,
		.tag_len = mode->mode == VACCEL_GCM ? MAX_TAG : 0,
	};
	int r;

	steps_known(mode->mode, &known);
	r = message_exchange(channel->fd, &message);
	if (r < 0)
		return r;
	return memcmp(result, known.result, sizeof(result)) ? -EILSEQ : 0;
}

/* A kernel that lets an empty message pass with any tag is not asked for GCM. */
static int try_wrong_tag(const struct channel *channel, const struct mode *mode)
{
	uint8_t iv[GCM_IV] = { 0 }, tag[MAX_TAG] = { 0 };
	const struct message message = {
		.mode = mode,
		.direction = VACCEL_DECRYPT,
		.iv = iv,
		.iv_len = sizeof(iv),
		.tag = tag,
		.tag_len = sizeof(tag),
	};
	int r = message_exchange(channel->fd, &message);

	if (r == -EBADMSG)
		return 0;
	return r < 0 ? r : -EILSEQ;
}

/* Half of what a socket has room for by the kernel's own books is in pages that are not full. */
static void find_limit(int fd)
{
	int in = 0, out = 0;
	socklen_t len = sizeof(in);
	size_t limit;

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &in, &len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &out, &len) < 0)
		return;
	limit = (size_t)(in < out ? in : out) / 2 & ~(size_t)4095;
	if (!max_message || limit < max_message)
		max_message = limit;
}

/* Whether the kernel serves the mode; if not, report says why. */
static int try_mode(struct mode *mode, const struct vaccel_plugin_report *report)
{
	struct steps_known known;
	const struct vaccel_plugin_crypto_key key = { .id = UINT64_MAX,
						      .data = known.key,
						      .len = mode->mode == VACCEL_XTS ? 2 * BLOCK : BLOCK };
	struct channel channel;
	int r;

	if (!strcmp(mode->driver, "none"))
		return vaccel_plugin_error(report, -ENOENT, "%s is switched off", mode->key);
	steps_known(mode->mode, &known);
	r = channel_take(&key, mode, mode->mode == VACCEL_GCM ? MAX_TAG : 0, report, &channel);
	if (r < 0)
		return r;
	find_limit(channel.fd);
	if (!max_message) {
		channel_give(&channel, false);
		return vaccel_plugin_error(report, -ENOBUFS,
					   "the system's limits leave its sockets less than 8192 bytes");
	}
	r = try_known(&channel, mode);
	if (r == 0 && mode->mode == VACCEL_GCM)
		r = try_wrong_tag(&channel, mode);
	if (r < 0)
		vaccel_plugin_error(report, 0, "%s of the kernel %s: %s", *mode->driver ? mode->driver : mode->name,
				    r == -EILSEQ ? "does not do what its mode is" : "fails", strerror(-r));
	channel_give(&channel, r < 0);
	channels_key_gone(key.id);
	return r;
}

/* ---- what to call it ---- */

/* The driver that the kernel takes for a name is that of the highest priority. */
static void find_driver(FILE *file, const char *name, char *ret, size_t len)
{
	char line[256], word[128], this_name[128] = "", driver[128] = "";
	long priority, highest = -1;

	rewind(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "name : %127s", word) == 1)
			snprintf(this_name, sizeof(this_name), "%s", word);
		else if (sscanf(line, "driver : %127s", word) == 1)
			snprintf(driver, sizeof(driver), "%s", word);
		else if (sscanf(line, "priority : %ld", &priority) == 1 && !strcmp(this_name, name) &&
			 priority > highest) {
			highest = priority;
			snprintf(ret, len, "%s", driver);
		}
	}
}

static void describe(void)
{
	FILE *file = fopen("/proc/crypto", "re");
	struct utsname host;
	size_t at;

	at = (size_t)snprintf(hardware_text, sizeof(hardware_text), "Linux %s", uname(&host) == 0 ? host.release : "");
	for (uint32_t i = VACCEL_ECB; i <= MAX_MODE && at < sizeof(hardware_text); i++) {
		char driver[64] = "";

		if (!modes[i].serves)
			continue;
		snprintf(driver, sizeof(driver), "%s", *modes[i].driver ? modes[i].driver : modes[i].name);
		if (file && !*modes[i].driver)
			find_driver(file, modes[i].name, driver, sizeof(driver));
		at += (size_t)snprintf(hardware_text + at, sizeof(hardware_text) - at, ", %s", driver);
	}
	if (file)
		fclose(file);
}

static const char *hardware(void)
{
	return hardware_text;
}

/* ---- life ---- */

/* What was asked for by name has to be there; of the rest, something. */
static int ready(struct vaccel_plugin_report *report)
{
	bool any = false;
	int r = -ENOENT;

	for (uint32_t i = VACCEL_ECB; i <= MAX_MODE; i++) {
		int tried = try_mode(&modes[i], report);

		modes[i].serves = tried == 0;
		any |= modes[i].serves;
		if (tried < 0 && *modes[i].driver && strcmp(modes[i].driver, "none"))
			return tried;
		r = tried < 0 && r == -ENOENT ? tried : r;
	}
	if (!any)
		return r;
	describe();
	return 0;
}

static void unload(void)
{
	channels_fini();
}

static const struct vaccel_plugin_key keys[] = {
	{ "ecb", "the kernel's driver for ECB, by name; none: not served; default: what the kernel prefers" },
	{ "cbc", "the same for CBC, such as cbc-aes-ccp" },
	{ "ctr", "the same for CTR" },
	{ "xts", "the same for XTS" },
	{ "gcm", "the same for GCM" },
};

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(CIPHER, cipher_run),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "afalg",
	.version = VACCEL_BUILD_VERSION,
	.description = "AES by the host's kernel and its drivers (AF_ALG)",
	.threads = VACCEL_THREADS_ANY,
	.needs = VACCEL_NEED_AF_ALG,
	.keys = keys,
	.n_keys = ARRAY_SIZE(keys),
	.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
	.config = config,
	.ready = ready,
	.unload = unload,
	.hardware = hardware,
	.key_gone = channels_key_gone,
};
VACCEL_PLUGIN(plugin);
