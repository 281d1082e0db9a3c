/* SPDX-License-Identifier: Apache-2.0 */
/* A library that ends the process that opens it, as one does that was built for a newer processor. */
#include <stdlib.h>

__attribute__((constructor)) static void end(void)
{
	abort();
}
