/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon that serves one model, and answers as a test wants. The model is called "tiny" and takes x, float32[?, 2], of which
 * it gives "sum", float32[?], and "words", string[2]; it tells two classes apart. A test may spoil an answer just before it is
 * sent.
 */
#ifndef TESTS_LIB_TINY_H
#define TESTS_LIB_TINY_H

#include "fixture.h"

#include "backend.h"

#define TINY_MODELS 3 /* in the list */

/* How the next answers are to be: changed with TINY_SET(). */
struct tiny {
	struct backend backend;
	void (*classified)(struct vaccel_classified *about, struct vaccel_label *labels);
	void (*output)(struct vaccel_tensor_desc *sum, struct vaccel_tensor_desc *words);
	void (*models)(struct vaccel_models *head, struct vaccel_model_row *rows);
	void (*about)(struct vaccel_model_about *about, struct vaccel_tensor_desc *tensors, char *labels);
	const char *words; /* elements of that output: 14 bytes */
	uint32_t n_models;
	bool growing;	      /* the list, each time that it is asked for */
	uint32_t deadline_ms; /* seen */
};

extern struct tiny tiny;
extern char tiny_url[64];

#define TINY_SET(member_, value_)                         \
	do {                                              \
		pthread_mutex_lock(&tiny.backend.lock);   \
		tiny.member_ = (value_);                  \
		pthread_mutex_unlock(&tiny.backend.lock); \
	} while (0)

/* Elements of "words" as they should be. */
#define TINY_WORDS "\2\0\0\0\4\0\0\0hiyou!"

/* cmocka group functions: the folder of its socket. */
int tiny_make_folder(void **state);
int tiny_remove_folder(void **state);

void tiny_start(void);
void tiny_stop(void);

/* Operations that it was asked for. */
uint32_t tiny_ops_seen(void);

#endif
