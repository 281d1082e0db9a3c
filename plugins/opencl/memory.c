/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matrices of a call as OpenCL memory.
 *
 * In place: where the device shares the host's memory, an OpenCL buffer is laid over the call's memory. OpenCL wants
 * its base aligned, so it begins at the aligned address at or before the matrix, and the matrix has an offset in it. For
 * a registered buffer one OpenCL buffer over all of it is kept until the buffer goes away; what the host wrote since the
 * last operation is handed over by mapping and unmapping, which copies nothing on such a device.
 *
 * Copied: everywhere else, and where elements are not naturally aligned or an offset would not fit CLBlast's 32 bits.
 * The matrix goes to the session's device memory and C comes back, without what lies between its lines.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include "gemm.h"
#include "opencl.h"

size_t ocl_matrix_span(const struct ocl_matrix *matrix)
{
	return gemm_span(matrix->lines, matrix->width, matrix->ld) * matrix->element;
}

static void *align_down(void *address, size_t align)
{
	return (void *)((uintptr_t)address & ~(uintptr_t)(align - 1));
}

/* ---- Registered buffers ---- */

static void registered_free(struct ocl_registered *r)
{
	clReleaseMemObject(r->mem);
	free(r);
}

void ocl_registered_drop(struct ocl *ocl, uint64_t buffer)
{
	struct ocl_registered **link, *r;

	pthread_mutex_lock(&ocl->lock);
	for (link = &ocl->registered; (r = *link);) {
		if (buffer && r->buffer != buffer) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		registered_free(r);
	}
	pthread_mutex_unlock(&ocl->lock);
}

static struct ocl_registered *registered_new(struct ocl *ocl, const struct vaccel_plugin_arg *arg)
{
	struct ocl_registered *r = calloc(1, sizeof(*r));
	cl_int status = CL_SUCCESS;

	if (!r)
		return NULL;
	r->buffer = arg->buffer;
	r->base = align_down(arg->buffer_data, ocl->device.align);
	r->len = arg->buffer_len + (size_t)((char *)arg->buffer_data - (char *)r->base);
	r->mem = clCreateBuffer(ocl->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, r->len, r->base, &status);
	if (!r->mem || status != CL_SUCCESS) {
		free(r);
		return NULL;
	}
	return r;
}

/* Finds or makes the buffer's OpenCL memory and takes a reference; false if it cannot be had. */
static bool registered_get(struct ocl *ocl, const struct vaccel_plugin_arg *arg, void **ret_base, cl_mem *ret_mem)
{
	struct ocl_registered *r;

	pthread_mutex_lock(&ocl->lock);
	for (r = ocl->registered; r && r->buffer != arg->buffer; r = r->next)
		;
	if (!r) {
		r = registered_new(ocl, arg);
		if (r) {
			r->next = ocl->registered;
			ocl->registered = r;
		}
	}
	if (r) {
		clRetainMemObject(r->mem);
		*ret_mem = r->mem;
		*ret_base = r->base;
	}
	pthread_mutex_unlock(&ocl->lock);
	return r != NULL;
}

/* ---- In place ---- */

static bool bind_registered(struct ocl *ocl, struct ocl_matrix *matrix)
{
	const struct vaccel_plugin_arg *arg = matrix->arg;
	size_t offset;
	void *base = NULL;
	cl_mem mem = NULL;

	if (!arg->buffer || !registered_get(ocl, arg, &base, &mem))
		return false;
	offset = (size_t)((char *)arg->data - (char *)base);
	if (offset % matrix->element || (offset + ocl_matrix_span(matrix)) / matrix->element > INT_MAX) {
		clReleaseMemObject(mem);
		return false;
	}
	matrix->mem = mem;
	matrix->offset = offset / matrix->element;
	matrix->kept = true;
	return true;
}

static bool bind_plain(struct ocl *ocl, struct ocl_matrix *matrix)
{
	void *base = align_down(matrix->arg->data, ocl->device.align);
	size_t offset = (size_t)((char *)matrix->arg->data - (char *)base);
	cl_int status = CL_SUCCESS;
	cl_mem mem;

	if (offset % matrix->element)
		return false;
	/* On a CPU the few bytes before the matrix are just not looked at; another device may hold copies of them. */
	if (offset && !(ocl->device.type & CL_DEVICE_TYPE_CPU))
		return false;
	mem = clCreateBuffer(ocl->context,
			     (matrix->written ? CL_MEM_READ_WRITE : CL_MEM_READ_ONLY) | CL_MEM_USE_HOST_PTR,
			     offset + ocl_matrix_span(matrix), base, &status);
	if (!mem || status != CL_SUCCESS)
		return false;
	matrix->mem = mem;
	matrix->offset = offset / matrix->element;
	return true;
}

/* Maps and unmaps the matrix: what one side wrote becomes visible to the other. */
static cl_int exchange(struct ocl_session *session, const struct ocl_matrix *matrix, cl_map_flags flags)
{
	cl_int status = CL_SUCCESS;
	void *mapped;

	mapped = clEnqueueMapBuffer(session->queue, matrix->mem, CL_FALSE, flags, matrix->offset * matrix->element,
				    ocl_matrix_span(matrix), 0, NULL, NULL, &status);
	if (!mapped || status != CL_SUCCESS)
		return status != CL_SUCCESS ? status : CL_MAP_FAILURE;
	return clEnqueueUnmapMemObject(session->queue, matrix->mem, mapped, 0, NULL, NULL);
}

/* ---- Copied ---- */

static int bind_copy(struct ocl_session *session, unsigned int slot, struct ocl_matrix *matrix,
		     const struct vaccel_plugin_report *report)
{
	const size_t size = ocl_matrix_span(matrix);
	cl_int status = CL_SUCCESS;

	if (session->staging[slot].size < size) {
		if (session->staging[slot].mem)
			clReleaseMemObject(session->staging[slot].mem);
		session->staging[slot].size = 0;
		session->staging[slot].mem =
			clCreateBuffer(session->ocl->context, CL_MEM_READ_WRITE, size, NULL, &status);
		if (!session->staging[slot].mem || status != CL_SUCCESS) {
			session->staging[slot].mem = NULL;
			return ocl_error(report, status, "no %zu bytes of device memory for matrix %c", size,
					 'A' + slot);
		}
		session->staging[slot].size = size;
	}
	matrix->mem = session->staging[slot].mem;
	clRetainMemObject(matrix->mem);
	matrix->offset = 0;
	matrix->copied = true;
	if (!matrix->read)
		return 0;
	status = clEnqueueWriteBuffer(session->queue, matrix->mem, CL_FALSE, 0, size, matrix->arg->data, 0, NULL, NULL);
	return status == CL_SUCCESS ? 0 : ocl_error(report, status, "cannot copy matrix %c to the device", 'A' + slot);
}

static cl_int fetch_copy(struct ocl_session *session, const struct ocl_matrix *matrix)
{
	const size_t pitch = matrix->ld * matrix->element, origin[3] = { 0, 0, 0 };
	const size_t region[3] = { matrix->width * matrix->element, matrix->lines, 1 };

	if (matrix->lines == 1 || matrix->ld == matrix->width)
		return clEnqueueReadBuffer(session->queue, matrix->mem, CL_FALSE, 0, ocl_matrix_span(matrix),
					   matrix->arg->data, 0, NULL, NULL);
	return clEnqueueReadBufferRect(session->queue, matrix->mem, CL_FALSE, origin, origin, region, pitch, 0, pitch,
				       0, matrix->arg->data, 0, NULL, NULL);
}

/* ---- Both ---- */

int ocl_matrix_bind(struct ocl_session *session, unsigned int slot, struct ocl_matrix *matrix,
		    const struct vaccel_plugin_report *report)
{
	struct ocl *ocl = session->ocl;
	cl_int status;

	if (!ocl->in_place || (!bind_registered(ocl, matrix) && !bind_plain(ocl, matrix)))
		return bind_copy(session, slot, matrix, report);
	if (!matrix->kept)
		return 0;
	/* C too, even where it is only written: what lies between its lines must survive. */
	status = exchange(session, matrix, CL_MAP_WRITE_INVALIDATE_REGION);
	return status == CL_SUCCESS ? 0 : ocl_error(report, status, "cannot map matrix %c", 'A' + slot);
}

int ocl_matrix_fetch(struct ocl_session *session, const struct ocl_matrix *matrix,
		     const struct vaccel_plugin_report *report)
{
	cl_int status;

	status = matrix->copied ? fetch_copy(session, matrix) : exchange(session, matrix, CL_MAP_READ);
	return status == CL_SUCCESS ? 0 : ocl_error(report, status, "cannot fetch the result");
}

void ocl_matrix_unbind(struct ocl_matrix *matrix)
{
	if (matrix->mem)
		clReleaseMemObject(matrix->mem);
	matrix->mem = NULL;
}
