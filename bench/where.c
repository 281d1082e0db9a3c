/* SPDX-License-Identifier: Apache-2.0 */
/* Where a measurement was taken. */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "bench/bench.h"

/* The value of the first line of /proc/cpuinfo that starts with name. */
static bool cpuinfo(const char *name, char *text, size_t len)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');

		if (!value || strncmp(line, name, strlen(name)))
			continue;
		value += 1 + strspn(value + 1, " \t");
		value[strcspn(value, "\n")] = 0;
		snprintf(text, len, "%s", value);
		found = true;
	}
	if (file)
		fclose(file);
	return found;
}

/* "none", or what kind of guest this is, as far as the processor tells. */
static const char *guest_kind(const char *cpu)
{
#if defined(__x86_64__) || defined(__i386__)
	static const struct {
		const char *signature;
		const char *kind;
	} kinds[] = {
		{ "KVMKVMKVM", "kvm" },	   { "TCGTCGTCGTCG", "tcg" },	 { "Microsoft Hv", "hyper-v" },
		{ "XenVMMXenVMM", "xen" }, { "VMwareVMware", "vmware" },
	};
	unsigned int a, b, c, d;
	char signature[13] = "";
#endif

	if (!strncmp(cpu, "UML", 3) || !strncmp(cpu, "User Mode Linux", 15))
		return "uml";
#if defined(__x86_64__) || defined(__i386__)
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 31))
		return "none";
	__cpuid(0x40000000, a, b, c, d);
	memcpy(signature, &b, 4);
	memcpy(signature + 4, &c, 4);
	memcpy(signature + 8, &d, 4);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].signature, signature))
			return kinds[i].kind;
	return "other";
#else
	return "unknown";
#endif
}

struct json_object *bench_where(void)
{
	struct json_object *object = json_object_new_object();
	char cpu[128] = "unknown", kernel[160];
	struct utsname name;
	double load = 0;

	if (!cpuinfo("model name", cpu, sizeof(cpu)))
		cpuinfo("vendor_id", cpu, sizeof(cpu));
	uname(&name);
	snprintf(kernel, sizeof(kernel), "%s %s", name.sysname, name.release);
	js_text(object, "cpu", cpu);
	js_count(object, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
	js_text(object, "machine", name.machine);
	js_text(object, "kernel", kernel);
	js_text(object, "guest", guest_kind(cpu));
	/* What else the machine was doing just before. */
	getloadavg(&load, 1);
	js_number(object, "load", load);
	js_text(object, "version", vaccel_version());
	return object;
}
