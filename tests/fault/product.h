/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the clients of these tests compute and check: products of small integers, so that the right result is exact, in
 * memory with guards around it.
 */
#ifndef TESTS_FAULT_PRODUCT_H
#define TESTS_FAULT_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <vaccel/vaccel.h>

/* Begins every line. */
extern const char *say_tag;
/* A line in one piece: several clients share the descriptor. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* A, B and C, n by n each, in one piece of memory with guards around it. */
struct product {
	struct vaccel_buffer *buffer; /* NULL: plain memory */
	unsigned char *memory;
	float *a, *b, *c;
	size_t n;
	int seed;
	double beta;
	struct vaccel_gemm gemm;
	struct vaccel_arg args[3];
	struct vaccel_call call;
};

int product_init(struct product *product, struct vaccel_session *session, size_t n, int seed, double beta,
		 bool registered);
int product_fini(struct product *product);
/* Makes A, B and C what they are before the product with this seed. */
void product_fill(struct product *product, int seed);
/* What no request may change, failed or not. */
bool product_intact(const struct product *product);
/* The result is exact, and all else is intact; if not, a line says where. */
bool product_right(const struct product *product);

#endif
