/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of plugin fault: conditions on a call, and what happens when all of them hold. A rule is words with blanks
 * between them, such as "op=sgemm m=13 times=1 crash=segv"; rules are parted by commas. vaccel-fault(7) lists the words.
 */
#ifndef VACCEL_PLUGIN_FAULT_RULE_H
#define VACCEL_PLUGIN_FAULT_RULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <vaccel/plugin.h>
#include "fault.h"

#define FAULT_MAX_RULES	  32
#define FAULT_MAX_ACTIONS 4

struct fault_step {
	enum fault_action action;
	uint32_t argument;
};

struct fault_rule {
	/* Conditions; UINT64_MAX (op: UINT32_MAX) where there is none. */
	uint32_t op;
	uint64_t m, n, k;
	uint64_t every;	   /* strikes each every'th call that the other conditions let through */
	atomic_ulong seen; /* such calls so far */
	uint8_t times;	   /* strikes so many calls, spares one; 0: always strikes */
	char *file;	   /* strikes if it can be removed */

	struct fault_step steps[FAULT_MAX_ACTIONS]; /* in the order written */
	unsigned int n_steps;
};

struct fault_rules {
	struct fault_rule rules[FAULT_MAX_RULES];
	unsigned int n_rules;
};

/* Appends the rules in text. On failure what was appended before the faulty rule stays. */
int fault_rules_parse(struct fault_rules *rules, const char *text, struct vaccel_plugin_report *report);
void fault_rules_fini(struct fault_rules *rules);

/* True if the rule's conditions on the call itself hold. every, times and file are the caller's to look at. */
bool fault_rule_matches(const struct fault_rule *rule, uint32_t op, const struct vaccel_gemm *gemm);

/* "EIO" or "5" as 5; 0 if it is no error. */
int fault_errno(const char *text);

#endif
