/* SPDX-License-Identifier: Apache-2.0 */
/* See watch.h. */
#include "watch.h"

#ifdef __x86_64__

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define TRAP_FLAG   0x100 /* of the flags register: one instruction, then a trap */
#define WRITE_FAULT 2	  /* of the page fault's error code */

uint16_t watch_reads[WATCH];
static char *watched; /* NULL: nothing is */

static void protect(int how)
{
	if (mprotect(watched, WATCH, how) < 0)
		_exit(1);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t at = (uintptr_t)info->si_addr - (uintptr_t)watched;

	if (!watched || at >= WATCH) {
		signal(number, SIG_DFL);
		return;
	}
	if (!(registers[REG_ERR] & WRITE_FAULT))
		watch_reads[at]++;
	protect(PROT_READ | PROT_WRITE);
	registers[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int number, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	protect(PROT_NONE);
}

void watch_begin(char *memory)
{
	struct sigaction fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct sigaction step = { .sa_sigaction = on_step, .sa_flags = SA_SIGINFO };

	memset(watch_reads, 0, sizeof(watch_reads));
	if (sigaction(SIGSEGV, &fault, NULL) < 0 || sigaction(SIGTRAP, &step, NULL) < 0)
		abort();
	watched = memory;
	protect(PROT_NONE);
}

void watch_end(void)
{
	protect(PROT_READ | PROT_WRITE);
	watched = NULL;
}

unsigned int watch_total(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < WATCH; i++)
		n += watch_reads[i];
	return n;
}

#endif
