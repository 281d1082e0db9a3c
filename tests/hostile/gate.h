/* SPDX-License-Identifier: Apache-2.0 */
/* Where the plugin gate and a test meet. */
#ifndef TESTS_HOSTILE_GATE_H
#define TESTS_HOSTILE_GATE_H

#include <stdatomic.h>

#define GATE_FILE "gate" /* in the plugin's cache folder */

struct gate {
	atomic_int closed; /* operations wait */
	atomic_int inside; /* so many; those of a worker that is killed stay counted */
};

#endif
