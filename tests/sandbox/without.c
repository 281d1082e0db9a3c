/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: without CALL... -- PROGRAM [ARGUMENT...]
 *
 * Runs the program as a kernel would that lacks these system calls: they fail with ENOSYS.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int i = 1, r = filter ? 0 : -ENOMEM;

	for (; r == 0 && i < argc && strcmp(argv[i], "--"); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), seccomp_syscall_resolve_name(argv[i]), 0);
	if (r == 0)
		r = seccomp_load(filter);
	if (r < 0 || i + 1 >= argc) {
		fprintf(stderr, "without: %s\n", r < 0 ? strerror(-r) : "names no program");
		return 2;
	}
	execv(argv[i + 1], argv + i + 1);
	perror("without");
	return 2;
}
