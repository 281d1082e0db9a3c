/* SPDX-License-Identifier: Apache-2.0 */
/* A request of CIPHER, as one call and a stream make it. */
#ifndef VACCEL_LIB_CIPHER_H
#define VACCEL_LIB_CIPHER_H

#include <vaccel/vaccel.h>

/* What a call points to. */
struct cipher_call {
	struct vaccel_cipher params;
	struct vaccel_arg args[5];
	struct vaccel_call call;
};

/* message: all of its members count; the call is one for a message in one piece. */
void cipher_call_init(struct cipher_call *cipher, const struct vaccel_key *key, const struct vaccel_message *message);

#endif
