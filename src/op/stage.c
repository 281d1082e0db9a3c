/* SPDX-License-Identifier: Apache-2.0 */
/* See stage.h. */
#include "op/stage.h"

static const struct op_stage_desc stages[STAGE_N] = {
	[STAGE_ENCODE] = { "encode", "library", "the request is checked and written in its encoding" },
	[STAGE_SUBMIT] = { "submit", "library", "it is put into the ring, and the daemon woken if it sleeps" },
	[STAGE_WAIT] = { "wait", "library", "until its answer is there" },
	[STAGE_TAKE] = { "take", "library", "the answer is read and what was copied is copied back" },
	[STAGE_FETCH] = { "fetch", "daemon", "it is taken from the ring, copied, decoded and checked" },
	[STAGE_RESOLVE] = { "resolve", "daemon", "its arguments are found in guest memory, scattered ones gathered" },
	[STAGE_QUEUE] = { "queue", "daemon", "until a plugin begins it" },
	[STAGE_PLUGIN] = { "plugin", "daemon", "the plugin runs it" },
	[STAGE_ANSWER] = { "answer", "daemon", "what was gathered is scattered back, the answer is written" },
	[STAGE_TOTAL] = { "total", "daemon", "all of the above, from the ring to the answer" },
	[STAGE_SIGNAL] = { "signal", "daemon", "the guest is woken, if it wants to be; once for several answers" },
};

const struct op_stage_desc *op_stage_at(size_t stage)
{
	return stage < STAGE_N ? &stages[stage] : NULL;
}
