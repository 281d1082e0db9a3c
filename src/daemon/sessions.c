/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of a crypto device that front-ends ask for with messages (vhost/crypto.h), in the supervisor: it hands what it
 * was asked to the worker and answers when the worker has acknowledged.
 *
 * Nothing is lost or done twice, whoever dies. A worker that dies before it acknowledged leaves the command to the next
 * one. CREATE has a tag, by which the worker finds what one before it made: a number of the connection that goes up
 * with each answer. CLOSE says when it comes again. When the supervisor dies, a CREATE that is not acknowledged is read
 * and handled anew by the next one, with the same tag, since the record that it finds knows neither of the message nor of
 * a tag given (keep.h); so no key has to be in the record. What is acknowledged is in the record with its answer.
 *
 * A key lies in step.session from the message to its acknowledgement, and for a moment in what is sent to the worker. Both
 * are wiped.
 */
#include <string.h>

#include "daemon/supervisor.h"
#include "util/log.h"
#include "util/util.h"

/* Tags of requests are made of their ring's number, which is smaller: see request_tag(). */
#define TAG_OF_MESSAGES (UINT64_C(0xff) << 56)

void session_begin(struct connection *c)
{
	c->session.due = c->step.effects & (VHOST_EFFECT_CREATE | VHOST_EFFECT_CLOSE);
	c->session.seq = 0;
	c->session.again = false;
}

bool session_is_secret(const struct connection *c)
{
	return c->session.due && c->step.effects & VHOST_EFFECT_CREATE;
}

void session_sync(struct supervisor *s, struct connection *c)
{
	struct link_msg msg = { .conn = c->id, LINK_MSG_INIT };

	if (!c->session.due || c->session.seq)
		return;
	if (c->step.effects & VHOST_EFFECT_CREATE) {
		msg.type = LINK_SESSION_CREATE;
		msg.value = TAG_OF_MESSAGES | (c->session.n_asked + 1);
		msg.session = c->step.session;
	} else {
		msg.type = LINK_SESSION_CLOSE;
		msg.value = (uint64_t)c->step.session_id;
		msg.index = c->session.again;
	}
	mirror_command(s, c, &msg);
	c->session.seq = msg.seq;
	link_wipe(&msg);
}

bool session_acknowledge(struct supervisor *s, struct connection *c, const struct link_msg *msg)
{
	bool create = c->step.effects & VHOST_EFFECT_CREATE;
	/* The worker may say anything. */
	bool failed = msg->result < 0 || (create && msg->value > INT64_MAX);

	if (!c->session.due || !c->session.seq || msg->seq != c->session.seq)
		return false;
	if (create) {
		c->session.n_asked++;
		c->step.session_id = failed ? -1 : (int64_t)msg->value;
		explicit_bzero(&c->step.session, sizeof(c->step.session));
	} else {
		c->step.failed = failed;
	}
	if (failed)
		connection_say(s, c, LOG_WARNING, "refused: message %s: %s",
			       vhost_request_name(create ? VHOST_CREATE_CRYPTO_SESSION : VHOST_CLOSE_CRYPTO_SESSION),
			       msg->text);
	c->session.due = false;
	return true;
}

void session_lost(struct connection *c)
{
	c->session.again |= c->session.seq != 0;
	c->session.seq = 0;
}

void session_forget(struct connection *c)
{
	c->session.due = false;
	explicit_bzero(&c->step.session, sizeof(c->step.session));
}
