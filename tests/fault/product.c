/* SPDX-License-Identifier: Apache-2.0 */
/* See product.h. */
#include "product.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 4096 /* bytes around the matrices, which nobody may change */

const char *say_tag = "client";

void say(const char *format, ...)
{
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	printf("%s %s\n", say_tag, line);
	fflush(stdout);
}

static size_t matrix_bytes(const struct product *p)
{
	return p->n * p->n * sizeof(float);
}

static float element(size_t i, int seed)
{
	return (float)((int)((i * 7 + (size_t)seed * 3) % 11) - 5);
}

void product_fill(struct product *p, int seed)
{
	size_t bytes = matrix_bytes(p), n = p->n * p->n;

	p->seed = seed;
	memset(p->memory, 0x5a, GUARD);
	memset(p->memory + GUARD + 3 * bytes, 0x5a, GUARD);
	for (size_t i = 0; i < n; i++) {
		p->a[i] = element(i, seed);
		p->b[i] = element(i, seed + 1);
		/* With beta = 0 whatever C holds must not matter. */
		p->c[i] = p->beta != 0 ? element(i, seed + 2) : NAN;
	}
}

int product_init(struct product *p, struct vaccel_session *session, size_t n, int seed, double beta, bool registered)
{
	size_t bytes = n * n * sizeof(float), total = 2 * GUARD + 3 * bytes;

	memset(p, 0, sizeof(*p));
	p->n = n;
	p->beta = beta;
	if (registered) {
		int r = vaccel_buffer_alloc(session, total, &p->buffer);

		if (r < 0)
			return r;
		p->memory = vaccel_buffer_data(p->buffer);
	} else {
		p->memory = malloc(total);
		if (!p->memory)
			return -ENOMEM;
	}
	p->a = (float *)(p->memory + GUARD);
	p->b = p->a + bytes / sizeof(float);
	p->c = p->b + bytes / sizeof(float);
	p->gemm = (struct vaccel_gemm){ .order = VACCEL_ROW_MAJOR,
					.transa = VACCEL_NO_TRANS,
					.transb = VACCEL_NO_TRANS,
					.m = n,
					.n = n,
					.k = n,
					.lda = n,
					.ldb = n,
					.ldc = n,
					.alpha = 1,
					.beta = beta };
	p->args[0] = (struct vaccel_arg){ p->a, bytes, VACCEL_IN, 0 };
	p->args[1] = (struct vaccel_arg){ p->b, bytes, VACCEL_IN, 0 };
	p->args[2] = (struct vaccel_arg){ p->c, bytes, beta != 0 ? VACCEL_INOUT : VACCEL_OUT, 0 };
	p->call = (struct vaccel_call){ .size = sizeof(p->call),
					.op = VACCEL_OP_SGEMM,
					.params = &p->gemm,
					.params_len = sizeof(p->gemm),
					.args = p->args,
					.n_args = 3,
					.user_data = p };
	product_fill(p, seed);
	return 0;
}

int product_fini(struct product *p)
{
	if (p->buffer)
		return vaccel_buffer_free(p->buffer);
	free(p->memory);
	return 0;
}

bool product_intact(const struct product *p)
{
	size_t bytes = matrix_bytes(p);

	for (size_t i = 0; i < GUARD; i++)
		if (p->memory[i] != 0x5a || p->memory[GUARD + 3 * bytes + i] != 0x5a)
			return false;
	for (size_t i = 0; i < bytes / sizeof(float); i++)
		if (p->a[i] != element(i, p->seed) || p->b[i] != element(i, p->seed + 1))
			return false;
	return true;
}

bool product_right(const struct product *p)
{
	size_t n = p->n;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < n; j++) {
			double sum = p->beta != 0 ? p->beta * element(i * n + j, p->seed + 2) : 0;

			for (size_t l = 0; l < n; l++)
				sum += (double)p->a[i * n + l] * p->b[l * n + j];
			if (p->c[i * n + j] != (float)sum) {
				say("c[%zu][%zu] is %g, not %g", i, j, (double)p->c[i * n + j], sum);
				return false;
			}
		}
	}
	return product_intact(p);
}
