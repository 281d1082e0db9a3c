/* SPDX-License-Identifier: Apache-2.0 */
/* Which OpenCL device to use: see struct ocl_choice. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "opencl.h"

enum { MAX_PLATFORMS = 16, MAX_DEVICES = 64 };

static const struct {
	const char *name;
	cl_device_type type;
} types[] = {
	/* The order is that of preference. */
	{ "gpu", CL_DEVICE_TYPE_GPU },
	{ "accelerator", CL_DEVICE_TYPE_ACCELERATOR },
	{ "cpu", CL_DEVICE_TYPE_CPU },
	{ "any", CL_DEVICE_TYPE_ALL },
};

int ocl_type_parse(const char *text, cl_device_type *ret_type)
{
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcmp(types[i].name, text)) {
			*ret_type = types[i].type;
			return 0;
		}
	return -EINVAL;
}

/* What a search sees, and what it found. */
struct search {
	const struct ocl_choice *choice;
	cl_device_type type;
	unsigned int n_seen; /* devices of a matching platform and type so far */
	char names[384];     /* of all devices, for the message of a search in vain */
};

static bool is_index(const char *text, unsigned int *ret)
{
	char *end = NULL;
	unsigned long value;

	if (!isdigit((unsigned char)*text))
		return false;
	value = strtoul(text, &end, 10);
	*ret = (unsigned int)value;
	return !*end && value < MAX_DEVICES;
}

static bool matches(const char *wanted, const char *name, unsigned int index)
{
	unsigned int i = 0;

	if (!wanted)
		return true;
	return is_index(wanted, &i) ? i == index : strcasestr(name, wanted) != NULL;
}

static void trim(char *name)
{
	size_t len = strlen(name), lead = strspn(name, " ");

	while (len && isspace((unsigned char)name[len - 1]))
		name[--len] = '\0';
	if (lead && lead <= len)
		memmove(name, name + lead, len - lead + 1);
}

static void device_read(struct ocl_device *device)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	cl_device_fp_config fp = 0;
	cl_bool unified = CL_FALSE;
	cl_uint bits = 0;

	clGetDeviceInfo(device->id, CL_DEVICE_TYPE, sizeof(device->type), &device->type, NULL);
	clGetDeviceInfo(device->id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof(fp), &fp, NULL);
	clGetDeviceInfo(device->id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof(unified), &unified, NULL);
	clGetDeviceInfo(device->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof(bits), &bits, NULL);
	device->fp64 = fp != 0;
	device->unified = unified == CL_TRUE;
	/* Aligning an address down must not leave its page: what lies before may not be mapped. */
	device->align = bits / 8;
	if (!device->align || device->align > page || (device->align & (device->align - 1)))
		device->align = page;
}

static bool search_platform(struct search *search, cl_platform_id platform, struct ocl_device *ret)
{
	struct ocl_device d = { .platform = platform };
	cl_device_id ids[MAX_DEVICES];
	cl_uint n = 0, i;

	clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof(d.platform_name) - 1, d.platform_name, NULL);
	if (clGetDeviceIDs(platform, search->type, MAX_DEVICES, ids, &n) != CL_SUCCESS)
		return false;
	for (i = 0; i < n && i < MAX_DEVICES; i++) {
		size_t used = strlen(search->names);

		d.id = ids[i];
		clGetDeviceInfo(d.id, CL_DEVICE_NAME, sizeof(d.name) - 1, d.name, NULL);
		trim(d.name);
		snprintf(search->names + used, sizeof(search->names) - used, "%s%s", used ? ", " : "", d.name);
		if (matches(search->choice->device, d.name, search->n_seen++)) {
			device_read(&d);
			*ret = d;
			return true;
		}
	}
	return false;
}

static bool search_all(struct search *search, const cl_platform_id *platforms, cl_uint n, struct ocl_device *ret)
{
	cl_uint i;

	for (i = 0; i < n; i++) {
		char name[128] = "";

		clGetPlatformInfo(platforms[i], CL_PLATFORM_NAME, sizeof(name) - 1, name, NULL);
		if (matches(search->choice->platform, name, i) && search_platform(search, platforms[i], ret))
			return true;
	}
	return false;
}

int ocl_device_choose(const struct ocl_choice *choice, struct ocl_device *ret_device,
		      struct vaccel_plugin_report *report)
{
	struct search search = { .choice = choice };
	cl_platform_id platforms[MAX_PLATFORMS];
	cl_int status;
	cl_uint n = 0;
	size_t i;

	status = clGetPlatformIDs(MAX_PLATFORMS, platforms, &n);
	if (status != CL_SUCCESS || !n)
		return vaccel_plugin_error(report, -ENODEV, "opencl: no OpenCL platform is installed (%s)",
					   ocl_status_name(status));
	if (n > MAX_PLATFORMS)
		n = MAX_PLATFORMS;
	for (i = 0; i + 1 < sizeof(types) / sizeof(types[0]); i++) {
		if (!(choice->type & types[i].type))
			continue;
		search.type = types[i].type;
		if (search_all(&search, platforms, n, ret_device))
			return 0;
	}
	return vaccel_plugin_error(report, -ENODEV, "opencl: no device matches platform = %s, device = %s; there %s%s",
				   choice->platform ? choice->platform : "any", choice->device ? choice->device : "any",
				   *search.names ? "are: " : "is none of that platform and type", search.names);
}
