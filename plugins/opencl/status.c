/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes of OpenCL, its loader and CLBlast: the one table that gives each its name and errno. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <clblast_c.h>
#include "opencl.h"

#ifndef CL_PLATFORM_NOT_FOUND_KHR /* of the loader */
#define CL_PLATFORM_NOT_FOUND_KHR (-1001)
#endif

#define ROW(status_, error_)                  \
	{                                     \
		(status_), (error_), #status_ \
	}

static const struct {
	cl_int status;
	int error;
	const char *name;
} table[] = {
	ROW(CL_SUCCESS, 0),
	ROW(CL_DEVICE_NOT_FOUND, ENODEV),
	ROW(CL_DEVICE_NOT_AVAILABLE, ENODEV),
	ROW(CL_COMPILER_NOT_AVAILABLE, EOPNOTSUPP),
	ROW(CL_MEM_OBJECT_ALLOCATION_FAILURE, ENOMEM),
	ROW(CL_OUT_OF_RESOURCES, ENOMEM),
	ROW(CL_OUT_OF_HOST_MEMORY, ENOMEM),
	ROW(CL_PROFILING_INFO_NOT_AVAILABLE, EIO),
	ROW(CL_MEM_COPY_OVERLAP, EIO),
	ROW(CL_BUILD_PROGRAM_FAILURE, EIO),
	ROW(CL_MAP_FAILURE, EIO),
	ROW(CL_MISALIGNED_SUB_BUFFER_OFFSET, EIO),
	ROW(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, EIO),
	ROW(CL_COMPILE_PROGRAM_FAILURE, EIO),
	ROW(CL_LINKER_NOT_AVAILABLE, EOPNOTSUPP),
	ROW(CL_LINK_PROGRAM_FAILURE, EIO),
	ROW(CL_DEVICE_PARTITION_FAILED, EIO),
	ROW(CL_INVALID_VALUE, EINVAL),
	ROW(CL_INVALID_DEVICE_TYPE, EINVAL),
	ROW(CL_INVALID_PLATFORM, ENODEV),
	ROW(CL_INVALID_DEVICE, ENODEV),
	ROW(CL_INVALID_CONTEXT, EIO),
	ROW(CL_INVALID_QUEUE_PROPERTIES, EINVAL),
	ROW(CL_INVALID_COMMAND_QUEUE, EIO),
	ROW(CL_INVALID_HOST_PTR, EINVAL),
	ROW(CL_INVALID_MEM_OBJECT, EIO),
	ROW(CL_INVALID_BINARY, ENOEXEC),
	ROW(CL_INVALID_BUILD_OPTIONS, EINVAL),
	ROW(CL_INVALID_PROGRAM, EIO),
	ROW(CL_INVALID_PROGRAM_EXECUTABLE, ENOEXEC),
	ROW(CL_INVALID_KERNEL_NAME, ENOENT),
	ROW(CL_INVALID_KERNEL_DEFINITION, ENOEXEC),
	ROW(CL_INVALID_KERNEL, EIO),
	ROW(CL_INVALID_ARG_INDEX, ENOEXEC),
	ROW(CL_INVALID_ARG_VALUE, ENOEXEC),
	ROW(CL_INVALID_ARG_SIZE, ENOEXEC),
	ROW(CL_INVALID_KERNEL_ARGS, ENOEXEC),
	ROW(CL_INVALID_WORK_DIMENSION, EIO),
	ROW(CL_INVALID_WORK_GROUP_SIZE, EIO),
	ROW(CL_INVALID_WORK_ITEM_SIZE, EIO),
	ROW(CL_INVALID_GLOBAL_OFFSET, EIO),
	ROW(CL_INVALID_EVENT_WAIT_LIST, EIO),
	ROW(CL_INVALID_EVENT, EIO),
	ROW(CL_INVALID_OPERATION, EIO),
	ROW(CL_INVALID_BUFFER_SIZE, E2BIG),
	ROW(CL_INVALID_GLOBAL_WORK_SIZE, E2BIG),
	ROW(CL_PLATFORM_NOT_FOUND_KHR, ENODEV),
	ROW(CLBlastNotImplemented, EOPNOTSUPP),
	ROW(CLBlastInvalidMatrixA, EINVAL),
	ROW(CLBlastInvalidMatrixB, EINVAL),
	ROW(CLBlastInvalidMatrixC, EINVAL),
	ROW(CLBlastInvalidDimension, EINVAL),
	ROW(CLBlastInvalidLeadDimA, EINVAL),
	ROW(CLBlastInvalidLeadDimB, EINVAL),
	ROW(CLBlastInvalidLeadDimC, EINVAL),
	ROW(CLBlastInsufficientMemoryA, ERANGE),
	ROW(CLBlastInsufficientMemoryB, ERANGE),
	ROW(CLBlastInsufficientMemoryC, ERANGE),
	ROW(CLBlastInsufficientMemoryTemp, ENOMEM),
	ROW(CLBlastInvalidLocalMemUsage, EOPNOTSUPP),
	ROW(CLBlastNoDoublePrecision, EOPNOTSUPP),
	ROW(CLBlastDatabaseError, EIO),
	ROW(CLBlastUnknownError, EIO),
	ROW(CLBlastUnexpectedError, EIO),
};

static size_t find(cl_int status)
{
	size_t i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].status == status)
			break;
	return i;
}

const char *ocl_status_name(cl_int status)
{
	size_t i = find(status);

	return i < sizeof(table) / sizeof(table[0]) ? table[i].name : "unknown status";
}

int ocl_status_errno(cl_int status)
{
	size_t i = find(status);

	return i < sizeof(table) / sizeof(table[0]) ? -table[i].error : -EIO;
}

int ocl_error(const struct vaccel_plugin_report *report, cl_int status, const char *what, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, what);
	vsnprintf(text, sizeof(text), what, ap);
	va_end(ap);
	return vaccel_plugin_error(report, ocl_status_errno(status), "opencl: %s: %s (%d)", text,
				   ocl_status_name(status), status);
}
