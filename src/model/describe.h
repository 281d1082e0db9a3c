/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model's description, the file model.conf in its folder, as read: words are known and numbers in their ranges, but
 * whether they fit the model itself is found out when it is loaded (load.c). What an administrator may write is in
 * vaccel-models(7).
 */
#ifndef VACCEL_MODEL_DESCRIBE_H
#define VACCEL_MODEL_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/ops.h>

#include "util/error.h"

#define DESCRIBE_FILE	  "model.conf"
#define DESCRIBE_CHANNELS 3
#define DESCRIBE_KEYS	  64 /* of the framework's section */

/* A number for all channels, or one for each. */
struct describe_numbers {
	uint32_t n; /* 0: none were given */
	float values[DESCRIBE_CHANNELS];
};

struct describe_image {
	bool given;			/* the section is there */
	char input[VACCEL_TENSOR_NAME]; /* "": the only one */
	char output[VACCEL_TENSOR_NAME];
	uint32_t width, height, channels; /* 0: as the model's signature has it */
	uint32_t layout;		  /* enum image_layout */
	uint32_t resize;		  /* enum image_resize */
	uint32_t fit;			  /* enum image_fit */
	struct describe_numbers mean, scale;
	uint32_t softmax; /* 1: the output is to go through it */
};

struct describe {
	char framework[32];
	char file[256]; /* "": the folder itself */
	char signature[VACCEL_TENSOR_NAME];
	char labels[256]; /* "": none */
	char text[256];
	struct describe_image image;
	struct {
		bool given;
		uint32_t max, delay_us;
	} batch;
	/* The framework's section, in order. */
	char *keys[DESCRIBE_KEYS], *values[DESCRIBE_KEYS];
	size_t n_keys;
};

/*
 * text: what model.conf holds, NUL-terminated. Errors name line, section and key. ret_describe is the caller's to free.
 */
int describe_parse(const char *text, struct describe *ret_describe, struct error *error);
void describe_free(struct describe *describe);

#endif
