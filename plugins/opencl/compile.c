/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel-opencl-compile(1): OpenCL source in, a program binary for one device out, as the plugin's key `binary` takes
 * it. For devices whose driver compiles; FPGA vendors have their own compilers for the same source.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "opencl.h"

enum { FAILED = 1, USAGE = 2 };

struct options {
	struct ocl_choice choice;
	const char *build; /* options for the compiler */
	const char *source, *output;
};

static const char usage[] = "usage: vaccel-opencl-compile [-p PLATFORM] [-d DEVICE] [-t gpu|accelerator|cpu|any] [-o "
			    "OPTIONS] SOURCE OUTPUT\n";

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "platform", required_argument, NULL, 'p' },
		{ "device", required_argument, NULL, 'd' },
		{ "type", required_argument, NULL, 't' },
		{ "options", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "p:d:t:o:hV", longs, NULL)) >= 0) {
		if (c == 'p')
			o->choice.platform = optarg;
		else if (c == 'd')
			o->choice.device = optarg;
		else if (c == 'o')
			o->build = optarg;
		else if (c == 'h' || c == 'V') {
			fputs(c == 'h' ? usage : "vaccel-opencl-compile " VACCEL_BUILD_VERSION "\n", stdout);
			exit(0);
		} else if (c != 't' || ocl_type_parse(optarg, &o->choice.type) < 0)
			return -EINVAL;
	}
	if (argc - optind != 2)
		return -EINVAL;
	o->source = argv[optind];
	o->output = argv[optind + 1];
	return 0;
}

static void print_build_log(cl_program program, cl_device_id device)
{
	size_t len = 0;
	char *text;

	clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, 0, NULL, &len);
	text = calloc(1, len + 1);
	if (!text)
		return;
	clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, len, text, NULL);
	fputs(text, stderr);
	free(text);
}

static int build(const struct ocl_device *device, const struct options *o, const char *source, size_t len,
		 cl_program *ret_program, struct vaccel_plugin_report *report)
{
	cl_int status = CL_SUCCESS;
	cl_context context;
	cl_program program;

	context = clCreateContext(NULL, 1, &device->id, NULL, NULL, &status);
	if (!context || status != CL_SUCCESS)
		return ocl_error(report, status, "no context on %s", device->name);
	program = clCreateProgramWithSource(context, 1, &source, &len, &status);
	/* The program keeps the context alive. */
	clReleaseContext(context);
	if (!program || status != CL_SUCCESS)
		return ocl_error(report, status, "cannot make a program of %s", o->source);
	status = clBuildProgram(program, 1, &device->id, o->build, NULL, NULL);
	if (status != CL_SUCCESS) {
		print_build_log(program, device->id);
		clReleaseProgram(program);
		return ocl_error(report, status, "cannot compile %s", o->source);
	}
	*ret_program = program;
	return 0;
}

/* The binary for the one device, to be freed. */
static int get_binary(cl_program program, unsigned char **ret_data, size_t *ret_len,
		      struct vaccel_plugin_report *report)
{
	unsigned char *data;
	cl_int status;
	size_t len = 0;

	status = clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof(len), &len, NULL);
	if (status != CL_SUCCESS || !len)
		return ocl_error(report, status, "the driver gives no binary");
	data = malloc(len);
	if (!data)
		return vaccel_plugin_error(report, -ENOMEM, "opencl: no memory for a binary of %zu bytes", len);
	status = clGetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof(data), &data, NULL);
	if (status != CL_SUCCESS) {
		free(data);
		return ocl_error(report, status, "the driver gives no binary");
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

/* Whole or not at all: another program may be about to load the file. */
static int write_file(const char *path, const unsigned char *data, size_t len, struct vaccel_plugin_report *report)
{
	char temporary[4096];
	size_t written = 0;
	FILE *file;
	int fd, r = 0;

	if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
		return vaccel_plugin_error(report, -ENAMETOOLONG, "opencl: %s: name too long", path);
	fd = mkostemp(temporary, O_CLOEXEC);
	file = fd < 0 ? NULL : fdopen(fd, "w");
	if (file) {
		written = fwrite(data, 1, len, file);
		if (fchmod(fd, 0644) < 0 || fclose(file) || written != len || rename(temporary, path) < 0)
			r = errno ? -errno : -EIO;
	} else {
		r = -errno;
	}
	if (r < 0 && fd >= 0)
		unlink(temporary);
	return r < 0 ? vaccel_plugin_error(report, r, "opencl: cannot write %s: %s", path, strerror(-r)) : 0;
}

static int compile(const struct options *o, struct vaccel_plugin_report *report)
{
	unsigned char *source = NULL, *binary = NULL;
	struct ocl_device device = { 0 };
	cl_program program = NULL;
	size_t len = 0;
	int r;

	r = ocl_device_choose(&o->choice, &device, report);
	if (!r)
		r = ocl_file_read(o->source, &source, &len, report);
	if (!r)
		r = build(&device, o, (const char *)source, len, &program, report);
	if (!r)
		r = get_binary(program, &binary, &len, report);
	if (!r)
		r = write_file(o->output, binary, len, report);
	if (!r)
		fprintf(stderr, "%s: %zu bytes for %s (%s)\n", o->output, len, device.name, device.platform_name);
	if (program)
		clReleaseProgram(program);
	free(binary);
	free(source);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = { .choice.type = CL_DEVICE_TYPE_ALL, .build = "" };
	char text[1024] = "";
	struct vaccel_plugin_report report = { .text = text, .len = sizeof(text) };

	if (parse(argc, argv, &o) < 0) {
		fputs(usage, stderr);
		return USAGE;
	}
	if (compile(&o, &report) < 0) {
		fprintf(stderr, "vaccel-opencl-compile: %s\n", text);
		return FAILED;
	}
	return 0;
}
