/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections "key NAME": keys that the host holds. What a section says is checked as it comes, what its keys say together
 * when all has been read (config_check()): only then is the key's file looked for (held.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/config_internal.h"
#include "op/cipher.h"
#include "op/name.h"
#include "util/util.h"

/* The parser cuts names of sections after 49 characters: a name that may have been cut must not be taken for another. */
#define MAX_NAME (49 - 1 - strlen("key "))

static int get_key(struct config *config, const char *name, struct config_held_key **ret, struct error *error)
{
	struct config_held_key *key;

	for (size_t i = 0; i < config->n_keys; i++) {
		if (!strcmp(config->keys[i].name, name)) {
			*ret = &config->keys[i];
			return 0;
		}
	}
	if (!op_model_name_valid(name) || strlen(name) > MAX_NAME)
		return error_set(
			error, -EINVAL,
			"key name '%s': only letters, digits, '.', '_' and '-', at most %zu, and '.' or '-' not "
			"first",
			name, MAX_NAME);
	if (config->n_keys == CONFIG_MAX_HELD_KEYS)
		return error_set(error, -E2BIG, "key %s: more than %d keys", name, CONFIG_MAX_HELD_KEYS);
	key = &config->keys[config->n_keys];
	if (config_set_string(&key->name, name) < 0)
		return error_set(error, -ENOMEM, "key %s: no memory", name);
	config->n_keys++;
	*ret = key;
	return 0;
}

static int set_text(struct config_held_key *key, char **field, const char *value, struct error *error)
{
	return config_set_string(field, value) < 0 ? error_set(error, -ENOMEM, "[key %s]: no memory", key->name) : 0;
}

static int set_file(struct config_held_key *key, const char *value, struct error *error)
{
	if (*value && *value != '/')
		return error_set(error, -EINVAL, "[key %s] file = %s: not an absolute path", key->name, value);
	return set_text(key, &key->file, value, error);
}

/* It names a file of one folder. */
static int set_credential(struct config_held_key *key, const char *value, struct error *error)
{
	if (strchr(value, '/') || !strcmp(value, ".") || !strcmp(value, ".."))
		return error_set(error, -EINVAL, "[key %s] credential = %s: not the name of a credential", key->name,
				 value);
	return set_text(key, &key->credential, value, error);
}

static int set_format(struct config_held_key *key, const char *value, struct error *error)
{
	if (strcmp(value, "raw") && strcmp(value, "hex"))
		return error_set(error, -EINVAL, "[key %s] format = %s: neither raw nor hex", key->name, value);
	key->hex = !strcmp(value, "hex");
	return 0;
}

static int set_cipher(struct config_held_key *key, const char *value, struct error *error)
{
	const struct cipher_mode *mode;
	uint32_t bytes;

	if (!cipher_by_name(value, &mode, &bytes))
		return error_set(
			error, -EINVAL,
			"[key %s] cipher = %s: none of AES-128, -192 and -256 in ecb, cbc, ctr, xts and gcm, such "
			"as aes-256-cbc",
			key->name, value);
	key->mode = mode->mode;
	key->bits = bytes * 8;
	return 0;
}

static int set_allow(struct config_held_key *key, const char *value, struct error *error)
{
	_cleanup_free_ char *copy = strdup(value);
	uint32_t rights = 0;
	char *save = NULL;

	if (!copy)
		return error_set(error, -ENOMEM, "[key %s] allow: no memory", key->name);
	for (char *word = strtok_r(copy, " \t,", &save); word; word = strtok_r(NULL, " \t,", &save)) {
		if (!strcmp(word, "encrypt"))
			rights |= VACCEL_MAY_ENCRYPT;
		else if (!strcmp(word, "decrypt"))
			rights |= VACCEL_MAY_DECRYPT;
		else
			return error_set(error, -EINVAL, "[key %s] allow = %s: %s is neither encrypt nor decrypt",
					 key->name, value, word);
	}
	key->rights = rights;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct config_held_key *key, const char *value, struct error *error);
} settings[] = {
	{ "file", set_file },	  { "credential", set_credential }, { "format", set_format },
	{ "cipher", set_cipher }, { "allow", set_allow },
};

int config_set_held_key(struct config *config, const char *name, const char *key, const char *value,
			struct error *error)
{
	struct config_held_key *row = NULL;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		if (strcmp(settings[i].name, key))
			continue;
		r = get_key(config, name, &row, error);
		return r < 0 ? r : settings[i].set(row, value, error);
	}
	return error_set(error, -EINVAL, "[key %s] %s: no such key", name, key);
}

static bool is_given(const char *text)
{
	return text && *text;
}

/*
 * A right by which the other one can be computed is not granted alone. A mode that combines a key stream with the text
 * gives the key stream of any IV to whoever may encrypt, or decrypt, with that IV; only GCM's tag keeps decryption from
 * that. What it is not about is forging: with CBC, whoever may decrypt makes valid messages by an IV of his choice.
 */
static int check_rights(const struct config_held_key *key, struct error *error)
{
	const struct cipher_mode *mode = cipher_mode(key->mode);
	bool encrypts = key->rights & VACCEL_MAY_ENCRYPT, decrypts = key->rights & VACCEL_MAY_DECRYPT;

	if (mode->keystream && encrypts && !decrypts)
		return error_set(error, -EINVAL,
				 "[key %s] allow = encrypt: with %s, whoever may encrypt with an IV of his choice can "
				 "decrypt: allow both, or take another mode",
				 key->name, mode->name);
	if (mode->mode == VACCEL_CTR && decrypts && !encrypts)
		return error_set(error, -EINVAL,
				 "[key %s] allow = decrypt: with ctr, to decrypt is to encrypt: allow both, or take "
				 "another mode",
				 key->name);
	return 0;
}

int config_check_held_key(const struct config_held_key *key, struct error *error)
{
	if (is_given(key->file) == is_given(key->credential))
		return error_set(error, -EINVAL, "[key %s]: has %s file and credential, one is needed", key->name,
				 is_given(key->file) ? "both" : "neither");
	if (!key->bits)
		return error_set(error, -EINVAL, "[key %s]: has no cipher", key->name);
	if (!key->rights)
		return error_set(error, -EINVAL, "[key %s]: allows nothing", key->name);
	return check_rights(key, error);
}

void config_clear_held_key(struct config_held_key *key)
{
	free(key->name);
	free(key->file);
	free(key->credential);
}
