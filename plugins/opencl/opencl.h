/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugin opencl, inside: GEMM on any OpenCL device, by CLBlast or by kernels from a pre-built binary.
 *
 *	plugin.c   what the plugin declares; configuration; start
 *	device.c   which device
 *	program.c  kernels from binaries
 *	memory.c   matrices of a call as OpenCL memory: in place or copied
 *	gemm.c     the operations
 *	tune.c     CLBlast's parameters for CPUs
 *	warm.c     kernels compiled and linked ahead
 *	status.c   OpenCL's and CLBlast's status codes as errnos
 *
 * Ownership: one struct ocl, made by ready(), holds device, context and programs, and is constant from then on but for
 * the list of registered buffers, which has a lock. A session owns its in-order queue, its device buffers and its kernel
 * objects; the loader lets one operation at a time use it (VACCEL_THREADS_PER_SESSION).
 *
 * Invariant: when an operation returns, in success or failure, its queue is empty: nothing touches the call's memory.
 */
#ifndef VACCEL_PLUGIN_OPENCL_H
#define VACCEL_PLUGIN_OPENCL_H

#include <CL/cl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vaccel/plugin.h>

/* ---- status.c ---- */

/* "CL_OUT_OF_RESOURCES"; "unknown status" if it is none of the table. */
const char *ocl_status_name(cl_int status);
/* 0 or a negative errno. */
int ocl_status_errno(cl_int status);
/* "opencl: WHAT: NAME (status)" as the report; returns the errno. */
int ocl_error(const struct vaccel_plugin_report *report, cl_int status, const char *what, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- device.c ---- */

struct ocl_choice {
	const char *platform; /* part of its name, or its index; NULL: any */
	const char *device;   /* part of its name, or its index among those of that platform and type; NULL: any */
	cl_device_type type;  /* CL_DEVICE_TYPE_ALL: GPUs before accelerators before CPUs */
};

struct ocl_device {
	cl_platform_id platform;
	cl_device_id id;
	cl_device_type type;
	bool fp64;
	bool unified; /* shares the host's memory */
	size_t align; /* of buffers, in bytes: a power of two */
	char platform_name[128];
	char name[128];
};

/* "gpu", "cpu", "accelerator" or "any"; -EINVAL otherwise. */
int ocl_type_parse(const char *text, cl_device_type *ret_type);
int ocl_device_choose(const struct ocl_choice *choice, struct ocl_device *ret_device,
		      struct vaccel_plugin_report *report);

/* ---- program.c ---- */

enum ocl_precision { OCL_SINGLE, OCL_DOUBLE, OCL_N_PRECISIONS };

/* A kernel of a pre-built binary; program is NULL where no binary has one. */
struct ocl_prebuilt {
	cl_program program;
	size_t group[3]; /* work-group size that it was built for; 0: any */
};

/* The whole file, to be freed. Bounded. */
int ocl_file_read(const char *path, unsigned char **ret_data, size_t *ret_len, struct vaccel_plugin_report *report);
/* Kernel names by precision: "vaccel_sgemm", "vaccel_dgemm". */
const char *ocl_kernel_name(enum ocl_precision precision);
/* paths: files parted by colons. The first that has a kernel provides it. */
int ocl_prebuilt_load(cl_context context, const struct ocl_device *device, const char *paths,
		      struct ocl_prebuilt ret_prebuilt[OCL_N_PRECISIONS], struct vaccel_plugin_report *report);
void ocl_prebuilt_fini(struct ocl_prebuilt prebuilt[OCL_N_PRECISIONS]);

/* ---- The plugin ---- */

/* A registered buffer as OpenCL memory, kept until buffer_gone(). */
struct ocl_registered {
	struct ocl_registered *next;
	uint64_t buffer;
	void *base; /* aligned for the device: at or a little before the buffer's first byte */
	size_t len; /* from base */
	cl_mem mem;
};

struct ocl {
	struct ocl_device device;
	cl_context context;
	bool in_place; /* use the call's own memory where that is possible */
	bool prebuilt_only;
	struct ocl_prebuilt prebuilt[OCL_N_PRECISIONS];

	pthread_mutex_t lock;
	struct ocl_registered *registered; /* under lock */
};

struct ocl_session {
	struct ocl *ocl;
	cl_command_queue queue;
	cl_kernel kernels[OCL_N_PRECISIONS]; /* of prebuilt; NULL until first used */
	struct {
		cl_mem mem;
		size_t size;
	} staging[3]; /* device memory for A, B and C where they are copied; grows as needed */
};

int ocl_session_new(struct ocl *ocl, struct ocl_session **ret_session, struct vaccel_plugin_report *report);
void ocl_session_free(struct ocl_session *session);

/* ---- memory.c ---- */

/* A matrix as it is stored: lines lines of width elements, ld elements apart. */
struct ocl_matrix {
	const struct vaccel_plugin_arg *arg;
	size_t lines, width, ld;
	bool by_rows;	/* a line is a row, else a column */
	size_t element; /* bytes */
	bool read, written;

	/* Set by ocl_matrix_bind(). */
	cl_mem mem;
	size_t offset; /* of the matrix in mem, in elements */
	bool copied;   /* mem is a copy, else the call's own memory */
	bool kept;     /* mem outlives the call: what the host wrote since the last one must be handed over */
};

/* Bytes from the first element to the last. */
size_t ocl_matrix_span(const struct ocl_matrix *matrix);
/* Finds or makes memory for the matrix in the slot (0: A, 1: B, 2: C) and hands its contents over. */
int ocl_matrix_bind(struct ocl_session *session, unsigned int slot, struct ocl_matrix *matrix,
		    const struct vaccel_plugin_report *report);
/* After the kernels: what was written becomes visible in the call's memory. */
int ocl_matrix_fetch(struct ocl_session *session, const struct ocl_matrix *matrix,
		     const struct vaccel_plugin_report *report);
/* Drops the references of bind; a matrix that was not bound is allowed. The queue must be empty. */
void ocl_matrix_unbind(struct ocl_matrix *matrix);

/* Forgets a registered buffer, or all of them if buffer is 0. */
void ocl_registered_drop(struct ocl *ocl, uint64_t buffer);

/* ---- gemm.c ---- */

int ocl_sgemm(const struct vaccel_plugin_call *call);
int ocl_dgemm(const struct vaccel_plugin_call *call);

/* ---- tune.c ---- */

/* Sets CLBlast's parameters for the device, before its first operation. */
int ocl_tune(const struct ocl_device *device, struct vaccel_plugin_report *report);

/* ---- warm.c ---- */

/* Runs every kernel that operations can need, so that none is compiled or linked later. */
int ocl_warm_up(struct ocl *ocl, struct vaccel_plugin_report *report);

#endif
