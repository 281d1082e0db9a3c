/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from pre-built program binaries. What such a kernel looks like is written down in vaccel-opencl(7). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "opencl.h"

#define MAX_BINARY (1L << 30)

enum { N_ARGS = 16 }; /* of a kernel: set in gemm.c */

const char *ocl_kernel_name(enum ocl_precision precision)
{
	return precision == OCL_SINGLE ? "vaccel_sgemm" : "vaccel_dgemm";
}

static int read_all(int fd, unsigned char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int ocl_file_read(const char *path, unsigned char **ret_data, size_t *ret_len, struct vaccel_plugin_report *report)
{
	unsigned char *data = NULL;
	struct stat st = { 0 };
	int fd, r = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return vaccel_plugin_error(report, -errno, "opencl: cannot open %s: %s", path, strerror(errno));
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EINVAL;
	else if (!st.st_size || st.st_size > MAX_BINARY)
		r = -EFBIG;
	if (!r) {
		data = malloc((size_t)st.st_size);
		r = data ? read_all(fd, data, (size_t)st.st_size) : -ENOMEM;
	}
	close(fd);
	if (r < 0) {
		free(data);
		return vaccel_plugin_error(report, r, "opencl: cannot read %s: %s", path, strerror(-r));
	}
	*ret_data = data;
	*ret_len = (size_t)st.st_size;
	return 0;
}

static int program_load(cl_context context, const struct ocl_device *device, const char *path, cl_program *ret,
			struct vaccel_plugin_report *report)
{
	cl_int status = CL_SUCCESS, binary_status = CL_SUCCESS;
	unsigned char *data = NULL;
	cl_program program;
	size_t len = 0;
	int r;

	r = ocl_file_read(path, &data, &len, report);
	if (r < 0)
		return r;
	program = clCreateProgramWithBinary(context, 1, &device->id, &len, (const unsigned char **)&data,
					    &binary_status, &status);
	free(data);
	if (!program || status != CL_SUCCESS)
		return ocl_error(report, status != CL_SUCCESS ? status : binary_status, "%s is no program for %s", path,
				 device->name);
	status = clBuildProgram(program, 1, &device->id, "", NULL, NULL);
	if (status != CL_SUCCESS) {
		clReleaseProgram(program);
		return ocl_error(report, status, "cannot build the program in %s", path);
	}
	*ret = program;
	return 0;
}

/* Takes the kernel of that precision from the program, if it has one and none was found before. */
static int take_kernel(cl_program program, const char *path, enum ocl_precision precision,
		       const struct ocl_device *device, struct ocl_prebuilt *prebuilt,
		       struct vaccel_plugin_report *report)
{
	cl_int status = CL_SUCCESS;
	cl_uint n_args = 0;
	cl_kernel kernel;

	if (prebuilt->program)
		return 0;
	kernel = clCreateKernel(program, ocl_kernel_name(precision), &status);
	if (!kernel || status != CL_SUCCESS)
		return 0;
	clGetKernelInfo(kernel, CL_KERNEL_NUM_ARGS, sizeof(n_args), &n_args, NULL);
	clGetKernelWorkGroupInfo(kernel, device->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE, sizeof(prebuilt->group),
				 prebuilt->group, NULL);
	clReleaseKernel(kernel);
	if (n_args != N_ARGS)
		return vaccel_plugin_error(report, -ENOEXEC, "opencl: kernel %s in %s has %u arguments, not %d",
					   ocl_kernel_name(precision), path, n_args, N_ARGS);
	clRetainProgram(program);
	prebuilt->program = program;
	return 0;
}

int ocl_prebuilt_load(cl_context context, const struct ocl_device *device, const char *paths,
		      struct ocl_prebuilt ret_prebuilt[OCL_N_PRECISIONS], struct vaccel_plugin_report *report)
{
	char *copy = strdup(paths), *save = NULL, *path;
	cl_program program = NULL;
	int r = copy ? 0 : -ENOMEM, p;

	for (path = copy ? strtok_r(copy, ":", &save) : NULL; path && !r; path = strtok_r(NULL, ":", &save)) {
		r = program_load(context, device, path, &program, report);
		for (p = 0; p < OCL_N_PRECISIONS && !r; p++)
			r = take_kernel(program, path, (enum ocl_precision)p, device, &ret_prebuilt[p], report);
		if (program)
			clReleaseProgram(program);
		program = NULL;
	}
	free(copy);
	if (!r && !ret_prebuilt[OCL_SINGLE].program && !ret_prebuilt[OCL_DOUBLE].program)
		r = vaccel_plugin_error(report, -ENOEXEC, "opencl: binary = %s has neither kernel %s nor %s", paths,
					ocl_kernel_name(OCL_SINGLE), ocl_kernel_name(OCL_DOUBLE));
	if (r < 0)
		ocl_prebuilt_fini(ret_prebuilt);
	return r;
}

void ocl_prebuilt_fini(struct ocl_prebuilt prebuilt[OCL_N_PRECISIONS])
{
	int p;

	for (p = 0; p < OCL_N_PRECISIONS; p++) {
		if (prebuilt[p].program)
			clReleaseProgram(prebuilt[p].program);
		prebuilt[p].program = NULL;
	}
}
