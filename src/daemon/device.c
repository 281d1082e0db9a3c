/* SPDX-License-Identifier: Apache-2.0 */
/* See device.h. */
#include "daemon/device.h"

#include <string.h>

#include "util/util.h"

static const struct device *const devices[] = { &device_accel, &device_crypto };

const struct device *device_at(size_t index)
{
	return index < ARRAY_SIZE(devices) ? devices[index] : NULL;
}

const struct device *device_by_name(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (!strcmp(devices[i]->name, name))
			return devices[i];
	return NULL;
}
