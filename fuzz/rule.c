/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of plugin fault, the one plugin whose configuration is a language. */
#include "fuzz.h"

#include <vaccel/ops.h>

#include "rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fault_rules rules;
	const struct vaccel_gemm gemm = { .m = 13, .n = 1, .k = 7 };
	char *text = strndup((const char *)data, size);
	char why[64] = "";
	struct vaccel_plugin_report report = { .text = why, .len = sizeof(why) };
	int r;

	CHECK(text);
	memset(&rules, 0, sizeof(rules));
	r = fault_rules_parse(&rules, text, &report);
	CHECK(r == 0 || why[0]);
	CHECK(rules.n_rules <= FAULT_MAX_RULES);
	for (unsigned int i = 0; i < rules.n_rules; i++) {
		CHECK(rules.rules[i].n_steps <= FAULT_MAX_ACTIONS);
		fault_rule_matches(&rules.rules[i], VACCEL_OP_SGEMM, &gemm);
		fault_rule_matches(&rules.rules[i], VACCEL_OP_NOOP, NULL);
	}
	fault_rules_fini(&rules);
	free(text);
	return 0;
}
