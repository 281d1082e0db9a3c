/* SPDX-License-Identifier: Apache-2.0 */
/* One SGEMM through the four calls of <vaccel/basic.h>. Build: cc basic.c $(pkg-config --cflags --libs vaccel) */
#include <stdio.h>
#include <vaccel/basic.h>
#include <vaccel/vaccel.h>

int main(void)
{
	static float a[] = { 1, 2, 3, 4, 5, 6 };    /* 2 x 3 */
	static float b[] = { 7, 8, 9, 10, 11, 12 }; /* 3 x 2 */
	static const float expected[] = { 58, 64, 139, 154 };
	float c[4];
	struct vaccel_sgemm_input in = {
		.size = sizeof(in),
		/* m, n, k = 2, 2, 3; leading dimensions 3, 2, 2; alpha and beta */
		.gemm = { VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 0, 2, 2, 3, 3, 2, 2, 1, 0 },
		.a = a,
		.b = b,
	};
	struct vaccel_sgemm_output out = { .size = sizeof(out), .c = c };
	uint8_t available[VACCEL_OPERATIONS_MAX];
	vaccel_session_t *session;
	int r = vaccel_get_operations(available);

	if (r < 0 || !available[VACCEL_OP_SGEMM]) {
		fprintf(stderr, "no SGEMM here: %s\n", r < 0 ? vaccel_error() : "nothing serves it");
		return 1;
	}
	session = create_vaccel_session();
	if (!session || do_operation(session, VACCEL_OP_SGEMM, &in, &out) < 0) {
		fprintf(stderr, "%s\n", vaccel_error());
		destroy_vaccel_session(session);
		return 1;
	}
	destroy_vaccel_session(session);
	for (int i = 0; i < 4; i++) {
		if (c[i] != expected[i]) {
			fprintf(stderr, "element %d is %g, not %g\n", i, c[i], expected[i]);
			return 1;
		}
	}
	printf("%g %g\n%g %g\n", c[0], c[1], c[2], c[3]);
	return 0;
}
