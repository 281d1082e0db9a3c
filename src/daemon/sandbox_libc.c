/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls inside the sandbox that no file of ours makes, but libc for all of them, plugins' libraries included:
 * memory, threads, signals to itself, clocks. What these can do is bounded: memory by RLIMIT_DATA, threads by the
 * service's limit of tasks, and neither leads out of the process. See util/calls.h.
 */
#include "util/calls.h"

#include <linux/prctl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>

/* Names for allocations, as libc sets them from 2.39 on. */
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* A new thread, never a process or namespace: the flags that must be set, among those that matter. */
#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define THREAD (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND)

/* Private memory, and not of the kind that grows downwards, which RLIMIT_DATA does not count. */
#define MEMORY_MASK (MAP_ANONYMOUS | MAP_TYPE | MAP_GROWSDOWN)
#define MEMORY	    (MAP_ANONYMOUS | MAP_PRIVATE)

SANDBOX_CALLS(
	/* malloc() and stacks of threads */
	{ "brk" }, SANDBOX_IF("mmap", 3, MEMORY_MASK, MEMORY), SANDBOX_IF("mmap2", 3, MEMORY_MASK, MEMORY),
	{ "munmap" }, { "mremap" }, { "mprotect" }, { "madvise" }, { "getrandom" },
	SANDBOX_IF("prctl", 0, UINT32_MAX, PR_SET_VMA),
	/* Threads */
	SANDBOX_IF("clone", 0, NAMESPACES | THREAD, THREAD), { "set_robust_list" }, { "rseq" }, { "exit" },
	{ "exit_group" }, { "gettid" }, { "getpid" }, { "futex" }, { "futex_time64" }, { "futex_waitv" },
	{ "sched_yield" }, { "sched_getaffinity" }, { "getcpu" }, { "membarrier" },
	SANDBOX_IF("prctl", 0, UINT32_MAX, PR_SET_NAME),
	/* pthread_getattr_np() asks for the stack's limit: of this process. None can be raised */
	SANDBOX_IF("prlimit64", 0, UINT32_MAX, 0), { "getrlimit" }, { "ugetrlimit" },
	/* Signals; whom they may go to is said in sandbox_calls.c */
	{ "rt_sigaction" }, { "rt_sigprocmask" }, { "rt_sigreturn" }, { "rt_sigtimedwait" }, { "sigaltstack" },
	{ "restart_syscall" }, { "pause" },
	/* Clocks, where the vDSO cannot serve, and sleeping */
	{ "clock_gettime" }, { "clock_gettime64" }, { "gettimeofday" }, { "time" }, { "clock_getres" }, { "nanosleep" },
	{ "clock_nanosleep" }, { "clock_nanosleep_time64" },
	/* How the machine and this process are doing, in numbers only */
	{ "sysinfo" }, { "getrusage" }, { "getuid" }, { "geteuid" }, { "getgid" },
	{ "getegid" }
#ifdef VACCEL_SANITIZED
	/* Reports of the run-time checks: the program's mappings, and whether an address can be read */
	,
	{ "open" }, { "openat" }, { "close" }, { "read" }, { "readlink" }, { "readlinkat" }, { "newfstatat" },
	{ "fstat" }, { "stat" }, { "pipe2" }, { "pipe" }, { "mincore" }, { "write" }, { "getppid" }, { "uname" },
	{ "msync" }, { "sched_setaffinity" }, { "tkill" } /* Shadow memory of what is mapped */
	,
	{ "mmap" }
#endif
);
