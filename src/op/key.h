/* SPDX-License-Identifier: Apache-2.0 */
/* What the op table's rows for the operations that make keys point to. The engine serves them (engine/keys.c). */
#ifndef VACCEL_OP_KEY_H
#define VACCEL_OP_KEY_H

#include "op/request.h"

int key_import_check(const struct op_desc *op, const struct op_request *request, struct error *error);
int key_open_check(const struct op_desc *op, const struct op_request *request, struct error *error);

/* Whether a key of that type can have so many bytes, and be meant for those modes (0: any). Looks at no contents. */
int key_check_kind(uint32_t type, uint32_t modes, uint64_t len, struct error *error);

#endif
