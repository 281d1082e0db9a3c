/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin cryptodev: CIPHER by the device /dev/crypto, an older way to hardware that has a driver in the host's kernel.
 *
 * The device is opened once. A cipher with its key is a session of the device, which does one request at a time; so there is
 * one for each request that runs at once with a key. Those that are idle are in one list, the last used first; key_gone()
 * closes them, upon which the kernel overwrites the key. A request owns the session that it took.
 *
 * ECB, CBC and CTR of any length, XTS of what is one step; GCM is another call of the device, and is left to other plugins.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/plugin.h>
#include "abi.h"
#include "steps.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

enum { IV, AAD, SOURCE, DESTINATION, TAG }; /* arguments of CIPHER */

/* The kernel has the pages of a request in its memory while it works. Idle sessions are bounded by number. */
enum { MAX_STEP = 1 << 16, MAX_IDLE = 256 };

static struct mode {
	const char *name;
	uint32_t cipher; /* the device's; 0: it has none */
	bool serves;
} modes[STEPS_MAX_MODE + 1] = {
	[VACCEL_ECB] = { "ecb", CRYPTODEV_AES_ECB, false },
	[VACCEL_CBC] = { "cbc", CRYPTODEV_AES_CBC, false },
	[VACCEL_CTR] = { "ctr", CRYPTODEV_AES_CTR, false },
	[VACCEL_XTS] = { "xts", CRYPTODEV_AES_XTS, false },
	[VACCEL_GCM] = { "gcm", 0, false },
};

static int device = -1;
static char hardware_text[320];

/* ---- sessions of the device ---- */

struct session {
	struct session *next;
	uint64_t key;
	uint32_t mode;
	uint32_t id; /* the device's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct session *idle;
static unsigned int n_idle;

static void session_free(struct session *session)
{
	if (!session)
		return;
	(void)ioctl(device, CRYPTODEV_CLOSE, &session->id);
	free(session);
}

static struct session *take_idle(uint64_t key, uint32_t mode)
{
	struct session **at = &idle, *found;

	pthread_mutex_lock(&lock);
	while (*at && ((*at)->key != key || (*at)->mode != mode))
		at = &(*at)->next;
	found = *at;
	if (found) {
		*at = found->next;
		n_idle--;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static int session_take(const struct vaccel_plugin_crypto_key *key, uint32_t mode,
			const struct vaccel_plugin_report *report, struct session **ret_session)
{
	struct session *session = take_idle(key->id, mode);
	struct cryptodev_session open = { .cipher = modes[mode].cipher,
					  .key_len = (uint32_t)key->len,
					  .key = key->data };
	int error;

	if (!session) {
		session = malloc(sizeof(*session));
		if (!session)
			return vaccel_plugin_error(report, -ENOMEM, "no memory for a session");
		if (ioctl(device, CRYPTODEV_OPEN, &open) < 0) {
			error = errno;
			free(session);
			/* Hardware need not have all lengths of keys. */
			return vaccel_plugin_error(report, error == EINVAL ? -EOPNOTSUPP : -error,
						   CRYPTODEV_PATH " has no %s with a key of %zu bytes: %s",
						   modes[mode].name, key->len, strerror(error));
		}
		*session = (struct session){ .key = key->id, .mode = mode, .id = open.id };
	}
	*ret_session = session;
	return 0;
}

static void session_give(struct session *session)
{
	struct session *surplus = NULL, **last = &idle;

	pthread_mutex_lock(&lock);
	session->next = idle;
	idle = session;
	if (++n_idle > MAX_IDLE) {
		while ((*last)->next)
			last = &(*last)->next;
		surplus = *last;
		*last = NULL;
		n_idle--;
	}
	pthread_mutex_unlock(&lock);
	session_free(surplus);
}

/* key 0: all. */
static void drop(uint64_t key)
{
	struct session **at = &idle, *gone = NULL, *session;

	pthread_mutex_lock(&lock);
	while (*at) {
		session = *at;
		if (key && session->key != key) {
			at = &session->next;
			continue;
		}
		*at = session->next;
		n_idle--;
		session->next = gone;
		gone = session;
	}
	pthread_mutex_unlock(&lock);
	while (gone) {
		session = gone;
		gone = session->next;
		session_free(session);
	}
}

static void key_gone(uint64_t key)
{
	drop(key);
}

/* ---- requests ---- */

static int exchange(const struct steps *steps, const uint8_t *source, uint8_t *destination, size_t len)
{
	const struct session *session = steps->opaque;
	struct cryptodev_crypt crypt = {
		.session = session->id,
		.operation = steps->direction == VACCEL_ENCRYPT ? CRYPTODEV_ENCRYPT : CRYPTODEV_DECRYPT,
		.len = (uint32_t)len,
		.source = source,
		.destination = destination,
		.iv = steps->mode == VACCEL_ECB ? NULL : steps->iv,
	};

	return ioctl(device, CRYPTODEV_CRYPT, &crypt) < 0 ? -errno : 0;
}

static int check(const struct vaccel_plugin_call *call, const struct vaccel_cipher *cipher)
{
	const struct mode *mode = &modes[cipher->mode];
	size_t len = call->args[SOURCE].len;

	if (!mode->serves)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, CRYPTODEV_PATH " does not serve %s", mode->name);
	if (cipher->mode == VACCEL_XTS && len > MAX_STEP)
		return vaccel_plugin_error(&call->report, -EOPNOTSUPP, "XTS of %zu bytes, %d can be done in one piece",
					   len, MAX_STEP);
	return 0;
}

static int cipher_run(const struct vaccel_plugin_call *call)
{
	const struct vaccel_cipher *cipher = call->params;
	const struct vaccel_plugin_arg *arg = call->args;
	struct steps steps = {
		.mode = cipher->mode,
		.direction = cipher->direction,
		.skip = cipher->skip,
		.max = MAX_STEP,
		.source = arg[SOURCE].data,
		.destination = arg[DESTINATION].data,
		.left = arg[SOURCE].len,
		.exchange = exchange,
	};
	struct session *session = NULL;
	int r = check(call, cipher);

	if (r == 0)
		r = session_take(call->key, cipher->mode, &call->report, &session);
	if (r < 0)
		return r;
	steps.opaque = session;
	if (arg[IV].len)
		memcpy(steps.iv, arg[IV].data, arg[IV].len);
	r = steps_run(&steps);
	if (r < 0) {
		vaccel_plugin_error(&call->report, 0, CRYPTODEV_PATH " fails: %s", strerror(-r));
		session_free(session);
		return r == -ENOMEM ? r : -EIO;
	}
	session_give(session);
	return 0;
}

/* ---- life ---- */

/* Whether the device serves the mode; if not, report says why. */
static int try_mode(uint32_t mode, const struct vaccel_plugin_report *report)
{
	struct steps_known known;
	const struct vaccel_plugin_crypto_key key = { .id = UINT64_MAX,
						      .data = known.key,
						      .len = mode == VACCEL_XTS ? sizeof(known.key)
										: sizeof(known.key) / 2 };
	struct steps steps = { .mode = mode, .direction = VACCEL_ENCRYPT };
	uint8_t result[STEPS_KNOWN] = { 0 };
	struct session *session;
	int r;

	steps_known(mode, &known);
	memcpy(steps.iv, known.iv, sizeof(steps.iv));
	r = session_take(&key, mode, report, &session);
	if (r < 0)
		return r;
	steps.opaque = session;
	r = exchange(&steps, known.text, result, sizeof(result));
	if (r == 0 && memcmp(result, known.result, sizeof(result)))
		r = -EILSEQ;
	if (r < 0)
		vaccel_plugin_error(report, 0, "%s of " CRYPTODEV_PATH " %s: %s", modes[mode].name,
				    r == -EILSEQ ? "does not do what its mode is" : "fails", strerror(-r));
	session_free(session);
	return r;
}

/* The kernel's names of what serves each mode, as far as the device tells them. */
static void describe(void)
{
	static const uint8_t bytes[2 * STEPS_BLOCK] = { 1 };
	size_t at = (size_t)snprintf(hardware_text, sizeof(hardware_text), CRYPTODEV_PATH);

	for (uint32_t i = VACCEL_ECB; i <= STEPS_MAX_MODE && at < sizeof(hardware_text); i++) {
		const struct vaccel_plugin_crypto_key key = { .id = UINT64_MAX,
							      .data = bytes,
							      .len = i == VACCEL_XTS ? 32 : 16 };
		struct cryptodev_info info = { 0 };
		struct session *session;

		if (!modes[i].serves || session_take(&key, i, NULL, &session) < 0)
			continue;
		info.session = session->id;
		if (ioctl(device, CRYPTODEV_INFO, &info) < 0 || !*info.cipher.driver)
			snprintf(info.cipher.driver, sizeof(info.cipher.driver), "%s", modes[i].name);
		info.cipher.driver[sizeof(info.cipher.driver) - 1] = '\0';
		at += (size_t)snprintf(hardware_text + at, sizeof(hardware_text) - at, ", %s", info.cipher.driver);
		session_free(session);
	}
}

static int ready(struct vaccel_plugin_report *report)
{
	bool any = false;
	int r = -ENOENT;

	device = open(CRYPTODEV_PATH, O_RDWR | O_CLOEXEC);
	if (device < 0)
		return vaccel_plugin_error(report, -errno, "cannot open " CRYPTODEV_PATH ": %s", strerror(errno));
	for (uint32_t i = VACCEL_ECB; i <= STEPS_MAX_MODE; i++) {
		int tried = modes[i].cipher ? try_mode(i, report) : -EOPNOTSUPP;

		modes[i].serves = tried == 0;
		any |= modes[i].serves;
		r = tried < 0 && r == -ENOENT ? tried : r;
	}
	if (!any)
		return r;
	describe();
	return 0;
}

static void unload(void)
{
	drop(0);
	if (device >= 0)
		close(device);
	device = -1;
}

static const char *hardware(void)
{
	return hardware_text;
}

static const struct vaccel_op_impl ops[] = {
	VACCEL_IMPL(CIPHER, cipher_run),
};

static const struct vaccel_plugin plugin = {
	VACCEL_PLUGIN_HEADER,
	.name = "cryptodev",
	.version = VACCEL_BUILD_VERSION,
	.description = "AES by the host's " CRYPTODEV_PATH,
	.threads = VACCEL_THREADS_ANY,
	.needs = VACCEL_NEED_DEVICE,
	.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
	.ready = ready,
	.unload = unload,
	.hardware = hardware,
	.key_gone = key_gone,
};
VACCEL_PLUGIN(plugin);
