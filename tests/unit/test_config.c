/* SPDX-License-Identifier: Apache-2.0 */
/* src/engine/config.c: each key, each mistake with its line, the settings of the command line, the manual page. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vaccel/ops.h>

#include "engine/config.h"
#include "op/limit.h"
#include "util/util.h"

static char path[] = P_tmpdir "/vaccel-test-config-XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static struct config *load(const char *text)
{
	struct config *config = NULL;
	struct error error = { 0 };

	write_file(text);
	if (config_load(path, &config, &error) < 0)
		fail_msg("%s", error.text);
	return config;
}

static void reject(const char *text, int line, const char *cause)
{
	struct config *config = NULL;
	struct error error = { 0 };
	char where[64];

	write_file(text);
	assert_true(config_load(path, &config, &error) < 0);
	assert_null(config);
	snprintf(where, sizeof(where), "%s:%d: ", path, line);
	assert_text(error, where);
	assert_text(error, cause);
}

static struct config *defaults(void)
{
	struct config *config = NULL;

	assert_int_equal(config_load("", &config, NULL), 0);
	return config;
}

static void built_in_defaults(void **state)
{
	struct config *config = defaults();
	const struct config_order *order = config_order(config, "sgemm");

	assert_null(config->path);
	assert_int_equal(config->limits.sessions, 1024);
	assert_int_equal(config->queues, 2);
	assert_string_equal(order->op, "default");
	assert_int_equal(order->n_plugins, 3);
	assert_string_equal(order->plugins[0], "openblas");
	assert_string_equal(order->plugins[1], "openssl");
	assert_string_equal(order->plugins[2], "reference");
	assert_non_null(config_plugin(config, "openblas"));
	assert_null(config_plugin(config, "fault"));
	config_free(config);
	config_free(NULL);
}

static void every_key(void **state)
{
	struct config *config = load("[engine]\n"
				     "threads = 3\nop_threads = 4\nqueues = 5\nspin_us = 6\ncache_dir = /var/cache/x\n"
				     "[limits]\n"
				     "sessions = 6\nbuffers = 7\nrequests = 8\ntotal_requests = 10\nconnections = 9\n"
				     "buffer_bytes = 64K\nregistered_bytes = 1M\ngathered_bytes = 2M\nrequest_bytes = "
				     "3g\nextents = 100\nop_time_ms = 2500\n"
				     "[order]\n"
				     "default = reference\nsgemm = openblas, fault\treference\n"
				     "[plugin fault]\n"
				     "path = /opt/x.so\nrules = op=sgemm error=EIO\nseed = 1\nseed = 2\n");

	assert_string_equal(config->path, path);
	assert_int_equal(config->threads, 3);
	assert_int_equal(config->op_threads, 4);
	assert_int_equal(config->queues, 5);
	assert_int_equal(config->spin_us, 6);
	assert_string_equal(config->cache_dir, "/var/cache/x");
	assert_int_equal(config->limits.sessions, 6);
	assert_int_equal(config->limits.buffers, 7);
	assert_int_equal(config->limits.requests, 8);
	assert_int_equal(config->limits.total_requests, 10);
	assert_int_equal(config->limits.connections, 9);
	assert_true(config->limits.registered_bytes == 1 << 20);
	assert_true(config->limits.gathered_bytes == 2 << 20);
	assert_true(config->limits.buffer_bytes == 64 << 10);
	assert_true(config->limits.request_bytes == 3ull << 30);
	assert_int_equal(config->limits.max_extents, 100);
	assert_int_equal(config->limits.op_time_ms, 2500);
	assert_int_equal(config_order(config, "sgemm")->n_plugins, 3);
	assert_string_equal(config_order(config, "sgemm")->plugins[2], "reference");
	assert_int_equal(config_order(config, "dgemm")->n_plugins, 1);
	assert_string_equal(config_plugin(config, "fault")->path, "/opt/x.so");
	assert_int_equal(config_plugin(config, "fault")->n_keys, 2);
	assert_string_equal(config_plugin(config, "fault")->keys[0].value, "op=sgemm error=EIO");
	assert_string_equal(config_plugin(config, "fault")->keys[1].value, "2");
	config_free(config);
}

/* Each scalar key takes its two ends and nothing beyond. */
static void every_range(void **state)
{
	struct config_key_info key;

	for (size_t i = 0; config_key_at(i, &key); i++) {
		struct config *config = defaults();
		const uint64_t good[] = { key.min, key.max }, bad[] = { key.min - 1, key.max + 1 };
		struct error error;
		char text[128];

		for (size_t j = 0; !key.text && j < 2; j++) {
			snprintf(text, sizeof(text), "%s.%s=%llu", key.section, key.key, (unsigned long long)good[j]);
			assert_int_equal(config_set(config, text, &error), 0);
			if (j == 0 && !key.min)
				continue;
			snprintf(text, sizeof(text), "%s.%s=%llu", key.section, key.key, (unsigned long long)bad[j]);
			assert_int_equal(config_set(config, text, &error), -EINVAL);
			assert_text(error, key.key);
			assert_text(error, key.section);
		}
		config_free(config);
	}
}

static void numbers(void **state)
{
	static const char *const bad[] = { "",
					   "-1",
					   "+1",
					   "0x10",
					   "1KB",
					   "1.5G",
					   "K",
					   "1 K",
					   "one",
					   "64KK",
					   "1P",
					   "99999999999999999999",
					   "18446744073709551615T",
					   "1k1" };
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = { { "4096", 4096 },	{ "4K", 4096 },	   { "4k", 4096 },	 { "1M", 1 << 20 },
		     { "2m", 2 << 20 }, { "1G", 1 << 30 }, { "1T", 1ull << 40 }, { "0004096", 4096 } };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[128];

		snprintf(text, sizeof(text), "[limits]\nsessions = 5\nbuffer_bytes = %s\n", bad[i]);
		reject(text, 3, "[limits] buffer_bytes = ");
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct config *config;
		char text[128];

		snprintf(text, sizeof(text), "[limits]\nbuffer_bytes = %s\n", good[i].text);
		config = load(text);
		assert_true(config->limits.buffer_bytes == good[i].value);
		config_free(config);
	}
}

static void mistakes_name_their_line(void **state)
{
	reject("[engine]\nthreads = 1\n\n# comment\nthread = 2\n", 5, "[engine] thread: no such key");
	reject("[limit]\nsessions = 2\n", 2, "[limit]: no such section");
	reject("sessions = 2\n", 1, "no such section");
	reject("[engine]\nthreads\n", 2, "neither [section] nor key = value");
	reject("[engine\n", 1, "neither [section] nor key = value");
	reject("[order]\nxgemm = reference\n", 2, "[order] xgemm: no operation has that name");
	/* The first of several. */
	reject("[engine]\nthreads = x\nqueues = y\n", 2, "threads = x");
}

static void plugin_names_are_no_paths(void **state)
{
	static const char *const bad[] = { "..",  "../x", "/x",	      "a/b", "A",
					   "a.b", "a b",  "\xc3\xa4", "a*",  "abcdefghijklmnopqrstuvwxyz0123456789" };
	char text[128];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "[plugin %s]\nkey = 1\n", bad[i]);
		reject(text, 2, "plugin name");
		if (strchr(bad[i], ' '))
			continue;
		snprintf(text, sizeof(text), "[order]\ndefault = reference %s\n", bad[i]);
		reject(text, 2, "plugin name");
	}
	reject("[plugin ]\nkey = 1\n", 2, "plugin name ''");
}

static void too_many(void **state)
{
	char text[4096] = "[plugin a]\n";

	for (int i = 0; i < CONFIG_MAX_KEYS; i++)
		sprintf(text + strlen(text), "key%d = 1\n", i);
	config_free(load(text));
	strcat(text, "more = 1\n");
	reject(text, CONFIG_MAX_KEYS + 2, "more than 32 keys");
	strcpy(text, "[order]\ndefault =");
	for (int i = 0; i < CONFIG_MAX_PLUGINS - 3; i++)
		sprintf(text + strlen(text), " p%d", i);
	config_free(load(text));
	strcat(text, " one-more");
	reject(text, 2, "more than 16 plugins");
	strcpy(text, "[order]\ndefault =");
	for (int i = 0; i < CONFIG_MAX_PLUGINS + 1; i++)
		strcat(text, " reference");
	reject(text, 2, "more than 16 plugins");
}

/* The parser would take the rest of a long line for another one. */
static void long_lines(void **state)
{
	char text[1024] = "[engine]\ncache_dir = /";

	memset(text + strlen(text), 'x', 400);
	strcat(text, "\n[limits]\nsessions = 1\n");
	reject(text, 2, "too long");
}

/* An indented line is a line of its own, not the value above going on. */
static void indentation(void **state)
{
	struct config *config =
		load("[plugin fault]\n  rules = crash=segv\n\tpath = /x.so\n  [limits]\n  sessions = 4\n");

	assert_string_equal(config_plugin(config, "fault")->keys[0].value, "crash=segv");
	assert_string_equal(config_plugin(config, "fault")->path, "/x.so");
	assert_int_equal(config->limits.sessions, 4);
	config_free(config);
}

static void comments(void **state)
{
	struct config *config = load("; a\n# b\n[engine] ; c\nthreads = 2 ; d\ncache_dir = /a#b\n");

	assert_int_equal(config->threads, 2);
	assert_string_equal(config->cache_dir, "/a#b");
	config_free(config);
}

static void files_that_cannot_be_read(void **state)
{
	struct config *config = NULL;
	struct error error = { 0 };

	assert_int_equal(config_load("/nonexistent/vaccel.conf", &config, &error), -ENOENT);
	assert_text(error, "/nonexistent/vaccel.conf");
	assert_int_equal(config_load("/", &config, &error), -EIO);
	assert_text(error, "cannot read");
	assert_null(config);
}

static void settings(void **state)
{
	static const char *const bad[] = { "", "threads", "engine.threads", "threads=1", "engine=1", "=", ".=" };
	struct config *config = defaults();
	struct error error;

	assert_int_equal(config_set(config, "engine.threads=7", &error), 0);
	assert_int_equal(config->threads, 7);
	assert_int_equal(config_set(config, "plugin fault.rules=op=sgemm crash=segv", &error), 0);
	assert_string_equal(config_plugin(config, "fault")->keys[0].value, "op=sgemm crash=segv");
	assert_int_equal(config_set(config, "plugin fault.path=/a.b/c=d.so", &error), 0);
	assert_string_equal(config_plugin(config, "fault")->path, "/a.b/c=d.so");
	assert_int_equal(config_set(config, "order.sgemm=fault", &error), 0);
	assert_int_equal(config_set(config, "order.sgemm=reference", &error), 0);
	assert_int_equal(config_order(config, "sgemm")->n_plugins, 1);
	assert_string_equal(config_order(config, "sgemm")->plugins[0], "reference");
	assert_int_equal(config_set(config, "order.sgemm=", &error), 0);
	assert_int_equal(config_order(config, "sgemm")->n_plugins, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(config_set(config, bad[i], &error), -EINVAL);
	assert_int_equal(config_set(config, "limits.sessions=0", &error), -EINVAL);
	assert_text(error, "[limits] sessions = 0");
	config_free(config);
}

/* Whether a line begins with before, key and after, and then ends or goes on behind a blank. */
static bool file_has(const char *file_path, const char *before, const char *key, const char *after)
{
	FILE *file = fopen(file_path, "re");
	char line[512], wanted[128];
	bool found = false;

	assert_non_null(file);
	snprintf(wanted, sizeof(wanted), "%s%s%s", before, key, after);
	while (!found && fgets(line, sizeof(line), file))
		found = !strncmp(line, wanted, strlen(wanted)) && strchr(" \n", line[strlen(wanted)]);
	fclose(file);
	return found;
}

/* vaccel.conf(5) has an item for each key of the table, and no item for a key that is not there. */
static void manual_page_is_complete(void **state)
{
	static const char page[] = SOURCE_ROOT "/src/engine/vaccel.conf.5";
	static const char *const others[] = { "path", "default", "file", "credential", "format", "cipher", "allow" };
	struct config_key_info key;
	size_t n = 0, items = 0;
	char line[512];
	FILE *file;

	for (; config_key_at(n, &key); n++)
		if (!file_has(page, ".It Cm ", key.key, " Ns No ="))
			fail_msg("%s has no item for %s", page, key.key);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_true(file_has(page, ".It Cm ", others[i], " Ns No ="));
	file = fopen(page, "re");
	while (fgets(line, sizeof(line), file))
		items += !strncmp(line, ".It Cm ", 7);
	fclose(file);
	assert_int_equal(items, n + ARRAY_SIZE(others));
}

/* packaging/vaccel.conf says what holds without it: its comments, uncommented, change nothing. */
static void example_file_is_the_defaults(void **state)
{
	FILE *in = fopen(SOURCE_ROOT "/packaging/vaccel.conf", "re"), *out = fopen(path, "we");
	struct config *config = NULL, *built_in = defaults();
	struct config_key_info key;
	struct error error = { 0 };
	char line[512];

	assert_non_null(in);
	assert_non_null(out);
	while (fgets(line, sizeof(line), in))
		/* "#key = value" is a default; "# text" is text. */
		fputs(line[0] == '#' && line[1] != ' ' ? line + 1 : line, out);
	fclose(in);
	fclose(out);
	if (config_load(path, &config, &error) < 0)
		fail_msg("%s", error.text);
	assert_memory_equal(&config->limits, &built_in->limits, sizeof(config->limits));
	assert_int_equal(config->threads, built_in->threads);
	assert_int_equal(config->op_threads, built_in->op_threads);
	assert_int_equal(config->queues, built_in->queues);
	assert_string_equal(config_order(config, "default")->plugins[0], "openblas");
	config_free(config);
	config_free(built_in);
	for (size_t i = 0; config_key_at(i, &key); i++)
		if (!file_has(SOURCE_ROOT "/packaging/vaccel.conf", "#", key.key, ""))
			fail_msg("packaging/vaccel.conf does not show %s", key.key);
}

/* Plugins that take long to load are asked for models only where there are any, unless somebody names an order. */
static void models_change_the_order(void **state)
{
	struct config *config = NULL;

	assert_int_equal(config_load("", &config, NULL), 0);
	assert_int_equal(config_order(config, "infer")->n_plugins, 3);
	assert_int_equal(config_set(config, "models.dir=/srv/models", NULL), 0);
	assert_string_equal(config->models_dir, "/srv/models");
	assert_int_equal(config_order(config, "infer")->n_plugins, 5);
	assert_string_equal(config_order(config, "infer")->plugins[3], "models");
	assert_int_equal(config_set(config, "models.dir=", NULL), 0);
	assert_int_equal(config_order(config, "infer")->n_plugins, 3);
	assert_int_equal(config_set(config, "order.default=reference", NULL), 0);
	assert_int_equal(config_set(config, "models.dir=/srv/models", NULL), 0);
	assert_int_equal(config_order(config, "infer")->n_plugins, 1);
	config_free(config);
}

/* Each limit that can be hit is a key of [limits], and each key of [limits] can be hit. */
static void limits_are_keys(void **state)
{
	struct config_key_info key;
	int keys = 0;

	for (size_t i = 0; config_key_at(i, &key); i++) {
		bool found = false;

		if (strcmp(key.section, "limits"))
			continue;
		keys++;
		for (int limit = 0; limit < LIMIT_N; limit++)
			found |= !strcmp(limit_name((enum limit)limit), key.key);
		if (!found)
			fail_msg("limits.%s is no limit of op/limit.h", key.key);
	}
	assert_int_equal(keys, LIMIT_N);
}

/* ---- Keys that the host holds ---- */

#define A_KEY "[key k]\nfile = /k\ncipher = aes-256-cbc\nallow = encrypt decrypt\n"

static void held_keys(void **state)
{
	struct config *config =
		load("[key backup.2]\nfile = /etc/k\nformat = hex\ncipher = AES-256-CBC\nallow = encrypt\n"
		     "[key other]\ncredential = c\ncipher = aes-128-xts ; two keys\nallow = decrypt,encrypt\n");
	const struct config_held_key *key = config->keys;

	assert_int_equal(config->n_keys, 2);
	assert_string_equal(key[0].name, "backup.2");
	assert_string_equal(key[0].file, "/etc/k");
	assert_null(key[0].credential);
	assert_true(key[0].hex);
	assert_int_equal(key[0].bits, 256);
	assert_int_equal(key[0].mode, VACCEL_CBC);
	assert_int_equal(key[0].rights, VACCEL_MAY_ENCRYPT);
	assert_string_equal(key[1].credential, "c");
	assert_false(key[1].hex);
	assert_int_equal(key[1].bits, 256);
	assert_int_equal(key[1].mode, VACCEL_XTS);
	assert_int_equal(key[1].rights, VACCEL_MAY_ENCRYPT | VACCEL_MAY_DECRYPT);
	/* The command line changes what the file says, and may add what it does not. */
	assert_int_equal(config_set(config, "key backup.2.file=/a.b/c=d", NULL), 0);
	assert_string_equal(key[0].file, "/a.b/c=d");
	assert_int_equal(config_check(config, NULL), 0);
	assert_int_equal(config_set(config, "key new.file=/x", NULL), 0);
	assert_int_equal(config_check(config, NULL), -EINVAL);
	config_free(config);
}

/* What lies in the way of a sentence of its own, at its line. */
static void mistakes_about_keys_name_their_line(void **state)
{
	static const char *const names[] = { "",
					     ".x",
					     "-x",
					     "a/b",
					     "a b",
					     "\xc3\xa4",
					     "012345678901234567890123456789012345678901234",
					     "0123456789012345678901234567890123456789012345678901234567890123" };
	static const char *const ciphers[] = { "",
					       "aes",
					       "aes-256",
					       "aes-256-",
					       "aes-256-ofb",
					       "aes-512-cbc",
					       "aes-64-cbc",
					       "aes--128-cbc",
					       "aes-+128-cbc",
					       "aes-192-xts",
					       "aes-0-cbc",
					       "aes-256-cbc-sha",
					       "des-128-cbc",
					       "128-cbc",
					       "aes-128 -cbc",
					       "aes-4294967424-cbc" };
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(text, sizeof(text), "[key %s]\nfile = /k\n", names[i]);
		reject(text, 2, "key name '");
	}
	for (size_t i = 0; i < ARRAY_SIZE(ciphers); i++) {
		snprintf(text, sizeof(text), "[key k]\ncipher = %s\n", ciphers[i]);
		reject(text, 2, "such as aes-256-cbc");
	}
	reject("[key k]\nfile = etc/k\n", 2, "[key k] file = etc/k: not an absolute path");
	reject("[key k]\ncredential = ../k\n", 2, "not the name of a credential");
	reject("[key k]\ncredential = ..\n", 2, "not the name of a credential");
	reject("[key k]\nformat = base64\n", 2, "neither raw nor hex");
	reject("[key k]\nallow = encrypt sign\n", 2, "sign is neither encrypt nor decrypt");
	reject("[key k]\nrights = encrypt\n", 2, "[key k] rights: no such key");
}

/* What keys of a section say together is known at its end only. */
static void reject_whole(const char *text, const char *cause)
{
	struct config *config = NULL;
	struct error error = { 0 };

	write_file(text);
	assert_int_equal(config_load(path, &config, &error), -EINVAL);
	assert_null(config);
	assert_text(error, path);
	assert_text(error, "[key k]");
	assert_text(error, cause);
}

static void sections_of_keys_are_whole(void **state)
{
	config_free(load(A_KEY));
	reject_whole("[key k]\ncipher = aes-256-cbc\nallow = encrypt\n", "neither file and credential");
	reject_whole(A_KEY "credential = k\n", "both file and credential");
	reject_whole("[key k]\nfile = /k\nallow = encrypt\n", "has no cipher");
	reject_whole("[key k]\nfile = /k\ncipher = aes-256-cbc\n", "allows nothing");
	reject_whole(A_KEY "allow =\n", "allows nothing");
}

/* A right that gives another one away is not granted alone. */
static void rights_that_mean_more_are_refused(void **state)
{
	static const struct {
		const char *cipher, *allow, *cause; /* NULL: it is accepted */
	} rows[] = {
		{ "aes-128-ecb", "encrypt", NULL },
		{ "aes-128-ecb", "decrypt", NULL },
		{ "aes-192-cbc", "encrypt", NULL },
		{ "aes-192-cbc", "decrypt", NULL },
		{ "aes-256-xts", "encrypt", NULL },
		{ "aes-256-xts", "decrypt", NULL },
		{ "aes-128-ctr", "encrypt", "with ctr, whoever may encrypt with an IV of his choice can decrypt" },
		{ "aes-128-ctr", "decrypt", "with ctr, to decrypt is to encrypt" },
		{ "aes-128-ctr", "decrypt encrypt", NULL },
		{ "aes-256-gcm", "encrypt", "with gcm, whoever may encrypt with an IV of his choice can decrypt" },
		{ "aes-256-gcm", "decrypt", NULL },
		{ "aes-256-gcm", "encrypt decrypt", NULL },
	};
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		/* Whichever comes first. */
		snprintf(text, sizeof(text), "[key k]\nallow = %s\nfile = /k\ncipher = %s\n", rows[i].allow,
			 rows[i].cipher);
		if (rows[i].cause)
			reject_whole(text, rows[i].cause);
		else
			config_free(load(text));
	}
}

static void too_many_keys(void **state)
{
	char text[16384] = "";

	for (int i = 0; i <= CONFIG_MAX_HELD_KEYS; i++) {
		sprintf(text + strlen(text), "[key k%d]\nfile = /k\ncipher = aes-128-cbc\nallow = encrypt\n", i);
		if (i == CONFIG_MAX_HELD_KEYS - 1)
			config_free(load(text));
	}
	reject(text, 4 * CONFIG_MAX_HELD_KEYS + 2, "more than 64 keys");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(built_in_defaults),
		cmocka_unit_test(every_key),
		cmocka_unit_test(every_range),
		cmocka_unit_test(limits_are_keys),
		cmocka_unit_test(models_change_the_order),
		cmocka_unit_test(numbers),
		cmocka_unit_test(mistakes_name_their_line),
		cmocka_unit_test(plugin_names_are_no_paths),
		cmocka_unit_test(too_many),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(indentation),
		cmocka_unit_test(comments),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(settings),
		cmocka_unit_test(held_keys),
		cmocka_unit_test(mistakes_about_keys_name_their_line),
		cmocka_unit_test(sections_of_keys_are_whole),
		cmocka_unit_test(rights_that_mean_more_are_refused),
		cmocka_unit_test(too_many_keys),
		cmocka_unit_test(manual_page_is_complete),
		cmocka_unit_test(example_file_is_the_defaults),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
