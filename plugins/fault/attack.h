/* SPDX-License-Identifier: Apache-2.0 */
/* Plugin fault, for tests: what somebody would try who has taken the process over. */
#ifndef VACCEL_PLUGIN_FAULT_ATTACK_H
#define VACCEL_PLUGIN_FAULT_ATTACK_H

/*
 * Tries everything of the table in attack.c, and what FOLDER/targets asks for, a line each: an attempt's name, a blank
 * and its argument (a path or a process). FOLDER/report tells, in lines "NAME ARGUMENT: RESULT", what came of each:
 * "worked", or the error's name. An attempt that works does no harm and leaves nothing behind.
 * 0 when the report is written, or a negative errno: then not even the declared folder can be used.
 */
int fault_attack(const char *folder);

#endif
