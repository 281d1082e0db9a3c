/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of rules, see rule.h. One table names every word; what follows the '=' is read by the word's function. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rule.h"

#define MAX_RULE_LENGTH 1024
#define ANY		UINT64_MAX

struct word {
	const char *name;
	int (*read)(struct fault_rule *rule, const char *value);
};

static int number(const char *text, uint64_t max, uint64_t *ret)
{
	unsigned long long value;
	char *end = NULL;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

int fault_errno(const char *text)
{
	uint64_t value = 0;
	int e;

	if (!number(text, 4095, &value))
		return (int)value;
	for (e = 1; e < 256; e++) {
		const char *name = strerrorname_np(e);

		if (name && !strcmp(name, text))
			return e;
	}
	return 0;
}

static int add_step(struct fault_rule *rule, enum fault_action action, uint64_t argument)
{
	if (rule->n_steps == FAULT_MAX_ACTIONS)
		return -E2BIG;
	rule->steps[rule->n_steps++] = (struct fault_step){ .action = action, .argument = (uint32_t)argument };
	return 0;
}

static int read_op(struct fault_rule *rule, const char *value)
{
	static const char *const names[] = { "noop", "sgemm", "dgemm" };
	uint32_t op;

	for (op = 0; op < sizeof(names) / sizeof(names[0]); op++)
		if (!strcmp(value, names[op])) {
			rule->op = op;
			return 0;
		}
	return -EINVAL;
}

static int read_m(struct fault_rule *rule, const char *value)
{
	return number(value, ANY - 1, &rule->m);
}

static int read_n(struct fault_rule *rule, const char *value)
{
	return number(value, ANY - 1, &rule->n);
}

static int read_k(struct fault_rule *rule, const char *value)
{
	return number(value, ANY - 1, &rule->k);
}

static int read_every(struct fault_rule *rule, const char *value)
{
	return number(value, UINT32_MAX, &rule->every) < 0 || !rule->every ? -EINVAL : 0;
}

static int read_times(struct fault_rule *rule, const char *value)
{
	uint64_t times = 0;

	if (number(value, UINT8_MAX, &times) < 0 || !times)
		return -EINVAL;
	rule->times = (uint8_t)times;
	return 0;
}

static int read_file(struct fault_rule *rule, const char *value)
{
	free(rule->file);
	rule->file = *value ? strdup(value) : NULL;
	return rule->file ? 0 : -EINVAL;
}

static int read_error(struct fault_rule *rule, const char *value)
{
	int error = fault_errno(value);

	return error ? add_step(rule, FAULT_ERROR, (uint64_t)error) : -EINVAL;
}

static int read_delay(struct fault_rule *rule, const char *value)
{
	uint64_t ms = 0;

	return number(value, UINT32_MAX, &ms) < 0 ? -EINVAL : add_step(rule, FAULT_DELAY, ms);
}

static int read_crash(struct fault_rule *rule, const char *value)
{
	static const struct {
		const char *name;
		enum fault_action action;
	} ways[] = {
		{ "segv", FAULT_SEGV }, { "bus", FAULT_BUS },	{ "abort", FAULT_ABORT }, { "kill", FAULT_KILL },
		{ "exit", FAULT_EXIT }, { "hang", FAULT_HANG }, { "spin", FAULT_SPIN },
	};
	size_t i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(value, ways[i].name))
			return add_step(rule, ways[i].action, ways[i].action == FAULT_EXIT ? 1 : 0);
	return -EINVAL;
}

static int read_scribble(struct fault_rule *rule, const char *value)
{
	return *value ? -EINVAL : add_step(rule, FAULT_SCRIBBLE, 0);
}

static int read_attack(struct fault_rule *rule, const char *value)
{
	return *value ? -EINVAL : add_step(rule, FAULT_ATTACK, 0);
}

static const struct word words[] = {
	{ "op", read_op },
	{ "m", read_m },
	{ "n", read_n },
	{ "k", read_k },
	{ "every", read_every },
	{ "times", read_times },
	{ "file", read_file },
	{ "error", read_error },
	{ "delay", read_delay },
	{ "crash", read_crash },
	{ "scribble", read_scribble },
	{ "attack", read_attack },
};

static int read_word(struct fault_rule *rule, char *text, struct vaccel_plugin_report *report)
{
	char *value = strchr(text, '=');
	size_t i, len = value ? (size_t)(value - text) : strlen(text);

	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i].name) != len || memcmp(words[i].name, text, len))
			continue;
		if (words[i].read(rule, value ? value + 1 : "") < 0)
			return vaccel_plugin_error(
				report, -EINVAL, "fault: rule word '%s' has no valid value, or is one too many", text);
		return 0;
	}
	return vaccel_plugin_error(report, -EINVAL, "fault: unknown rule word '%s'", text);
}

static void rule_init(struct fault_rule *rule)
{
	*rule = (struct fault_rule){ .op = UINT32_MAX, .m = ANY, .n = ANY, .k = ANY, .every = 1 };
}

static int read_rule(struct fault_rule *rule, char *text, struct vaccel_plugin_report *report)
{
	char *save = NULL, *word;
	int r;

	rule_init(rule);
	for (word = strtok_r(text, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		r = read_word(rule, word, report);
		if (r < 0)
			return r;
	}
	if (!rule->n_steps)
		return vaccel_plugin_error(report, -EINVAL,
					   "fault: a rule says no error, delay, crash, scribble or attack");
	return 0;
}

int fault_rules_parse(struct fault_rules *rules, const char *text, struct vaccel_plugin_report *report)
{
	char buffer[MAX_RULE_LENGTH], *save = NULL, *part;
	int r;

	if (snprintf(buffer, sizeof(buffer), "%s", text) >= (int)sizeof(buffer))
		return vaccel_plugin_error(report, -E2BIG, "fault: rules are longer than %zu characters",
					   sizeof(buffer) - 1);
	for (part = strtok_r(buffer, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		struct fault_rule *rule = &rules->rules[rules->n_rules];

		if (rules->n_rules == FAULT_MAX_RULES)
			return vaccel_plugin_error(report, -E2BIG, "fault: more than %d rules", FAULT_MAX_RULES);
		r = read_rule(rule, part, report);
		if (r < 0) {
			free(rule->file);
			rule->file = NULL;
			return r;
		}
		rules->n_rules++;
	}
	return 0;
}

void fault_rules_fini(struct fault_rules *rules)
{
	unsigned int i;

	for (i = 0; i < rules->n_rules; i++)
		free(rules->rules[i].file);
	rules->n_rules = 0;
}

bool fault_rule_matches(const struct fault_rule *rule, uint32_t op, const struct vaccel_gemm *gemm)
{
	if (rule->op != UINT32_MAX && rule->op != op)
		return false;
	if (!gemm)
		return rule->m == ANY && rule->n == ANY && rule->k == ANY;
	return (rule->m == ANY || rule->m == gemm->m) && (rule->n == ANY || rule->n == gemm->n) &&
	       (rule->k == ANY || rule->k == gemm->k);
}
