/* SPDX-License-Identifier: Apache-2.0 */
/* A library that a plugin needs, and that the loader will not find: nothing says in which folder it lies. */
__attribute__((visibility("default"))) int vaccel_test_gone(void);

int vaccel_test_gone(void)
{
	return 0;
}
