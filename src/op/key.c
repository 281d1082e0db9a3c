/* SPDX-License-Identifier: Apache-2.0 */
/* See key.h. */
#include "op/key.h"

#include <errno.h>
#include <inttypes.h>

#include "op/cipher.h"
#include "op/name.h"
#include "util/util.h"

enum { IMPORT_KEY, IMPORT_ANSWER }; /* arguments */
enum { OPEN_ANSWER };

static int check_answer(const struct op_desc *op, const struct op_arg *arg, struct error *error)
{
	return arg->len < sizeof(struct vaccel_key_about)
		       ? error_set(error, -ERANGE, "%s: argument answer needs %zu bytes, it has %" PRIu64, op->name,
				   sizeof(struct vaccel_key_about), arg->len)
		       : 0;
}

/* A key that names modes has to fit each of them; one that names none has to fit some. */
static bool aes_fits(uint32_t modes, uint64_t len)
{
	const struct cipher_mode *mode;
	bool any = false;

	for (size_t i = 0; (mode = cipher_mode_at(i)); i++) {
		bool fits = cipher_mode_takes_key(mode, len);

		if (modes & 1u << mode->mode && !fits)
			return false;
		any = any || fits;
	}
	return any;
}

static uint32_t known_modes(void)
{
	const struct cipher_mode *mode;
	uint32_t set = 0;

	for (size_t i = 0; (mode = cipher_mode_at(i)); i++)
		set |= 1u << mode->mode;
	return set;
}

int key_check_kind(uint32_t type, uint32_t modes, uint64_t len, struct error *error)
{
	if (type < VACCEL_KEY_AES || type > VACCEL_KEY_RSA_PRIVATE)
		return error_set(error, -EINVAL, "key: type %u is not known", type);
	if (modes & ~known_modes())
		return error_set(error, -EINVAL, "key: modes %#x are not known", modes & ~known_modes());
	if (type != VACCEL_KEY_AES && modes)
		return error_set(error, -EINVAL, "key: one of RSA has no modes");
	if (!len || len > VACCEL_KEY_BYTES)
		return error_set(error, -EINVAL, "key: %" PRIu64 " bytes, not 1 to %d", len, VACCEL_KEY_BYTES);
	if (type == VACCEL_KEY_AES && !aes_fits(modes, len))
		return error_set(error, -EINVAL, "key: its modes take no key of %" PRIu64 " bytes", len);
	return 0;
}

int key_import_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_key_import *params = (const struct vaccel_key_import *)request->params;
	int r = key_check_kind(params->type, params->modes, request->args[IMPORT_KEY].len, error);

	if (r < 0) {
		error_prefix(error, "%s", op->name);
		return r;
	}
	if (!params->rights || params->rights & ~(uint32_t)VACCEL_MAY_ALL || params->reserved)
		return error_set(error, -EINVAL, "%s: rights are %#x and reserved is %u: not 1 to 0xf, and 0", op->name,
				 params->rights, params->reserved);
	return check_answer(op, &request->args[IMPORT_ANSWER], error);
}

int key_open_check(const struct op_desc *op, const struct op_request *request, struct error *error)
{
	const struct vaccel_key_open *params = (const struct vaccel_key_open *)request->params;

	if (!op_text_ends(params->name, sizeof(params->name)) || !op_model_name_valid(params->name))
		return error_set(error, -EINVAL,
				 "%s: a key's name is of 1 to 63 letters, digits, '.', '_' and '-', and does not begin "
				 "with '.' or '-'",
				 op->name);
	return check_answer(op, &request->args[OPEN_ANSWER], error);
}
