/* SPDX-License-Identifier: Apache-2.0 */
/* See keep.h. */
#include "daemon/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/keep_record.h"
#include "daemon/listener.h"
#include "daemon/setup.h"
#include "daemon/supervisor.h"
#include "engine/state.h"
#include "util/log.h"
#include "util/util.h"

#define NAME_LISTEN "vaccel-listen"
#define NAME_STATE  "vaccel-state"
#define NAME_PIPE   "vaccel-reply"
/* What the parent keeps. */
#define KEEP_FDS(n) (2 * (uint64_t)(n) + 4)
#define STATE_SEALS (F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)
/* A box has the record, its successor, and while the box is taken over their copies. */
#define BOX_MAX 8

static void box_name(uint32_t id, char *name, size_t len)
{
	snprintf(name, len, "vaccel-conn-%u", id);
}

/* ---- boxes ---- */

union control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * KEEP_MAX_FDS)];
};

static int box_put(const struct keep_box *box, const struct keep_record *record, const int *fds, size_t n)
{
	struct iovec iov = { .iov_base = (void *)record, .iov_len = sizeof(*record) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control = { .bytes = { 0 } };
	struct cmsghdr *c;

	mh.msg_control = &control;
	mh.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	c = CMSG_FIRSTHDR(&mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	return sendmsg(box->ends[0], &mh, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Copies the oldest record, which stays. Bytes, or -EAGAIN: the box is empty. */
static ssize_t box_look(const struct keep_box *box, struct keep_record *ret_record, int *ret_fds, size_t *ret_n)
{
	struct iovec iov = { .iov_base = ret_record, .iov_len = sizeof(*ret_record) };
	union control control;
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(box->ends[1], &mh, MSG_DONTWAIT | MSG_PEEK | MSG_CMSG_CLOEXEC | MSG_TRUNC);

	*ret_n = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(ret_fds + *ret_n, CMSG_DATA(c), bytes);
		*ret_n += bytes / sizeof(int);
	}
	return n;
}

/* Takes the oldest record out; its descriptors are closed without becoming ours. */
static bool box_drop(struct keep_box *box)
{
	char byte;

	return recv(box->ends[1], &byte, sizeof(byte), MSG_DONTWAIT) >= 0;
}

static void box_empty(struct keep_box *box)
{
	while (box->ends[1] >= 0 && box_drop(box))
		;
	box->n = 0;
}

static void box_close(struct keep_box *box)
{
	close_fd(&box->ends[0]);
	close_fd(&box->ends[1]);
	*box = (struct keep_box){ .ends = { -1, -1 } };
}

static int box_make(struct supervisor *s, uint32_t id)
{
	struct keep_box *box = &s->keep.boxes[id - 1];
	char name[32];
	int r;

	if (box->ends[0] >= 0)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, box->ends) < 0)
		return -errno;
	box_name(id, name, sizeof(name));
	r = notify_store(&s->notify, name, box->ends[0], false);
	if (r == 0)
		r = notify_store(&s->notify, name, box->ends[1], false);
	if (r < 0) {
		notify_forget(&s->notify, name);
		box_close(box);
	}
	return r;
}

/* ---- saving ---- */

static void give_up(struct supervisor *s, struct connection *c, const char *why)
{
	log_warning("connection %u: will not outlive this supervisor: %s", c->id, why);
	c->keep.off = true;
	/* Better none than one that is out of date. */
	box_empty(&s->keep.boxes[c->id - 1]);
}

static int make_page(struct keep_connection *keep)
{
	int r = keep->page ? 0 : setup_memory("vaccel-keep", sizeof(*keep->page), &keep->page_fd, NULL);

	if (r < 0 || keep->page)
		return r;
	keep->page = mmap(NULL, sizeof(*keep->page), PROT_READ | PROT_WRITE, MAP_SHARED, keep->page_fd, 0);
	if (keep->page != MAP_FAILED)
		return 0;
	keep->page = NULL;
	return -errno;
}

void keep_save(struct supervisor *s, struct connection *c)
{
	struct keep_box *box = s->keep.on ? &s->keep.boxes[c->id - 1] : NULL;
	int fds[KEEP_MAX_FDS];
	struct keep_record record;
	int r, n;

	c->keep.unsaved = false;
	if (c->keep.off || c->fd < 0)
		return;
	r = box_make(s, c->id);
	if (r == 0)
		r = make_page(&c->keep);
	if (r < 0) {
		give_up(s, c, strerror(-r));
		return;
	}
	c->keep.generation++;
	n = keep_record_fill(s, c, &record, fds);
	r = n < 0 ? n : box_put(box, &record, fds, (size_t)n);
	if (r < 0) {
		give_up(s, c, r == -E2BIG ? "it has too many descriptors" : strerror(-r));
		return;
	}
	for (; box->n > 0; box->n--)
		box_drop(box);
	box->n = 1;
}

void keep_begin(struct supervisor *s, struct connection *c)
{
	const int zero = 0;

	c->keep.page_fd = -1;
	c->keep.off = !s->keep.on;
	if (c->keep.off)
		return;
	if (setsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) < 0) {
		give_up(s, c, strerror(errno));
		return;
	}
	c->rx.peek = true;
	/* At once: what is accepted and not in a box is lost with us. */
	keep_save(s, c);
}

static void set_sending(struct connection *c)
{
	if (c->keep.page)
		__atomic_store_n(&c->keep.page->sending, c->keep.generation, __ATOMIC_SEQ_CST);
}

static void pipe_empty(struct supervisor *s)
{
	char bytes[4096];

	while (read(s->keep.pipe[0], bytes, sizeof(bytes)) > 0)
		;
}

/* Moves len bytes from the pipe into a connection's socket; what does not fit is lost, and the connection with it. */
static int pipe_send(struct supervisor *s, struct connection *c, size_t len, struct error *error)
{
	while (len > 0) {
		ssize_t n = splice(s->keep.pipe[0], NULL, c->fd, NULL, len, SPLICE_F_NONBLOCK);
		int r = n < 0 ? -errno : -EPIPE;

		if (n > 0) {
			len -= (size_t)n;
		} else if (r != -EINTR) {
			pipe_empty(s);
			return error_set(error, r, "its answer cannot be sent: %s", strerror(-r));
		}
	}
	return 0;
}

int keep_send(struct supervisor *s, struct connection *c, struct error *error)
{
	const struct vhost_msg *reply = &c->step.reply;
	struct {
		struct vhost_header header;
		uint8_t payload[VHOST_MAX_PAYLOAD];
	} bytes = { .header = reply->header };
	size_t len = sizeof(bytes.header) + reply->header.size;

	if (c->keep.off || reply->n_fds || s->keep.pipe[0] < 0) {
		set_sending(c);
		return vhost_msg_send(c->fd, reply, 0, error);
	}
	memcpy(bytes.payload, reply->payload.bytes, reply->header.size);
	if (write(s->keep.pipe[1], &bytes, len) != (ssize_t)len) {
		pipe_empty(s);
		return error_set(error, -EIO, "its answer cannot be sent: the pipe has no room");
	}
	set_sending(c);
	return pipe_send(s, c, len, error);
}

/* Takes so many bytes out of the socket, with the descriptors that came along. */
static void take_out(struct connection *c, size_t len)
{
	char bytes[512];

	while (len > 0) {
		ssize_t n = recv(c->fd, bytes, MIN(len, sizeof(bytes)), MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len -= (size_t)n;
	}
	/* There may have been a key in it. */
	explicit_bzero(bytes, sizeof(bytes));
}

void keep_done(struct connection *c)
{
	if (!c->rx.peek)
		return;
	take_out(c, c->keep.pending);
	c->keep.pending = 0;
	if (c->keep.page)
		__atomic_store_n(&c->keep.page->done, c->keep.generation, __ATOMIC_SEQ_CST);
}

void keep_end(struct supervisor *s, struct connection *c)
{
	if (s->keep.on)
		box_empty(&s->keep.boxes[c->id - 1]);
	if (c->keep.page)
		munmap(c->keep.page, sizeof(*c->keep.page));
	close_fd(&c->keep.page_fd);
}

/* ---- taking over ---- */

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close_fd(&fds[i]);
}

/*
 * Finds the newest record of a box and leaves it there alone. At no moment is it in the box less than once: it is copied
 * to the end, marked as ours, before anything is taken out. 1, 0: the box is empty, or a negative errno.
 */
static int box_take_over(struct supervisor *s, struct keep_box *box, struct keep_record *ret_record, int *ret_fds,
			 size_t *ret_n, struct error *error)
{
	struct keep_record record;
	int fds[KEEP_MAX_FDS];
	size_t n;

	for (int i = 0; i < BOX_MAX; i++) {
		ssize_t len = box_look(box, &record, fds, &n);
		bool ours, newer;
		int r;

		if (len == -EAGAIN)
			break;
		r = len < 0 ? error_set(error, (int)len, "its box cannot be read: %s", strerror((int)-len))
			    : keep_record_check(s, &record, (size_t)len, error);
		if (r == 0 && n != record.n_fds)
			r = error_set(error, -EBADMSG, "%zu of %u descriptors came back", n, record.n_fds);
		ours = r == 0 && record.nonce == s->keep.nonce;
		newer = r == 0 && !ours && (!box->n || record.generation > ret_record->generation);
		if (newer) {
			record.nonce = s->keep.nonce;
			r = box_put(box, &record, fds, n);
			if (r < 0)
				error_set(error, r, "its record cannot be copied: %s", strerror(-r));
		}
		if (newer && r == 0) {
			close_all(ret_fds, *ret_n);
			*ret_record = record;
			memcpy(ret_fds, fds, sizeof(int) * n);
			*ret_n = n;
			box->n++;
		} else {
			close_all(fds, n);
		}
		if (r < 0)
			return r;
		if (ours)
			break;
		box_drop(box);
	}
	for (; box->n > 1; box->n--)
		box_drop(box);
	return (int)box->n;
}

/* Bytes that lie in a socket: what came and was not taken out, or what was sent and not read yet. */
static int bytes_in(int fd, unsigned long request)
{
	int n = 0;

	return ioctl(fd, request, &n) < 0 ? 0 : n;
}

/* Sends what is not sent yet of an answer whose sending had begun; left: bytes of its message that were not taken out. */
static void settle_answer(struct supervisor *s, struct connection *c, const struct keep_record *record, int left)
{
	size_t rest = (size_t)bytes_in(s->keep.pipe[0], FIONREAD);
	struct error error = { 0 };
	int r = 0;

	if (!(record->flags & KEEP_REPLY_FD))
		r = pipe_send(s, c, MIN(rest, sizeof(record->reply) + record->reply.size), &error);
	else if (left == (int)record->pending && bytes_in(c->fd, SIOCOUTQ) == 0 && bytes_in(c->fd, SIOCINQ) <= left)
		r = error_set(&error, -EPROTO, "nothing tells whether the supervisor before answered its last message");
	if (r == 0)
		return;
	log_warning("connection %u: is lost with the supervisor before: %s", c->id, error.text);
	shutdown(c->fd, SHUT_RDWR);
}

/* The message that the supervisor before had handled: whether it is answered, and taken out. See keep.h. */
static void settle_message(struct supervisor *s, struct connection *c, const struct keep_record *record)
{
	int left = 0;
	socklen_t len = sizeof(left);

	/* It stays as it is until the message is taken out: the next supervisor may need it as well. */
	getsockopt(c->fd, SOL_SOCKET, SO_PEEK_OFF, &left, &len);
	c->rx.peek = true;
	if (!c->busy)
		return;
	if (__atomic_load_n(&c->keep.page->done, __ATOMIC_SEQ_CST) != record->generation) {
		bool sending = __atomic_load_n(&c->keep.page->sending, __ATOMIC_SEQ_CST) == record->generation;

		/* Nothing of it was taken out, nor was an answer begun. */
		if (!sending && left >= (int)record->pending)
			return;
		if (sending && c->step.has_reply)
			settle_answer(s, c, record, left);
		take_out(c, (size_t)MAX(MIN(left, (int)record->pending), 0));
		/* The record stays for now: whoever reads it next must not do this again. */
		__atomic_store_n(&c->keep.page->done, record->generation, __ATOMIC_SEQ_CST);
	}
	vhost_msg_close_fds(&c->step.reply);
	c->busy = false;
	c->keep.pending = 0;
}

/* 1: there is one again; 0: there was none; -EPROTO: nothing of what was kept is of use; another negative errno: it is lost. */
static int restore(struct supervisor *s, uint32_t id, struct error *error)
{
	struct keep_box *box = &s->keep.boxes[id - 1];
	struct keep_record record;
	int fds[KEEP_MAX_FDS];
	struct connection *c;
	size_t n = 0;
	int r = box_take_over(s, box, &record, fds, &n, error);

	if (r == 0)
		return 0;
	c = connection_alloc(s, id);
	if (!c)
		r = error_set(error, -ENOMEM, "no memory");
	if (r > 0 && record.id != id)
		r = error_set(error, -EBADMSG, "its record is that of connection %u", record.id);
	if (r > 0)
		r = keep_record_apply(s, c, &record, fds, error);
	close_all(fds, n);
	if (r == 0)
		settle_message(s, c, &record);
	if (r == 0)
		return 1;
	/* drop_all() is next, and has an order of its own. */
	if (r == -EPROTO || !c)
		return r;
	/* What it has in the state must go, and goes with a connection that hangs up. */
	log_warning("connection %u: is lost with the supervisor before: %s", id, error->text);
	c->keep.off = true;
	box_empty(box);
	connection_close(s, c, NULL);
	return r;
}

static int new_state(struct supervisor *s, struct error *error)
{
	int r = setup_memory("vaccel-state", state_size(&s->config->limits), &s->state_fd, error);

	if (r < 0)
		return r;
	if (s->keep.on && notify_store(&s->notify, NAME_STATE, s->state_fd, false) < 0) {
		log_warning("state: the parent does not take it: nothing will outlive this supervisor");
		s->keep.on = false;
	}
	return 0;
}

/* The one that was kept, if it is what this configuration makes. */
static bool take_state(struct supervisor *s)
{
	struct stat st;

	s->state_fd = notify_take(&s->notify, NAME_STATE);
	if (s->state_fd < 0)
		return false;
	if (fstat(s->state_fd, &st) == 0 && (uint64_t)st.st_size == state_size(&s->config->limits) &&
	    fcntl(s->state_fd, F_GET_SEALS) == STATE_SEALS)
		return true;
	log_warning(
		"what the supervisor before had kept is dropped: its tables have other sizes: the limits were changed");
	close_fd(&s->state_fd);
	s->state_fd = -1;
	return false;
}

/* Without it answers are sent directly, which can be told from a record alone only nearly always. */
static void make_pipe(struct supervisor *s)
{
	if (s->keep.pipe[1] >= 0 || pipe2(s->keep.pipe, O_NONBLOCK | O_CLOEXEC) < 0)
		return;
	if (notify_store(&s->notify, NAME_PIPE, s->keep.pipe[0], false) == 0 &&
	    notify_store(&s->notify, NAME_PIPE, s->keep.pipe[1], false) == 0)
		return;
	log_warning("the parent does not take a pipe: what is being answered may be lost with this supervisor");
	close_all(s->keep.pipe, 2);
	s->keep.pipe[0] = s->keep.pipe[1] = -1;
}

/* Which end is which nobody says. */
static void take_pipe(struct supervisor *s)
{
	for (int i = 0; i < 2; i++) {
		int fd = notify_take(&s->notify, NAME_PIPE);
		int end = fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;

		if (fd >= 0 && s->keep.pipe[end] < 0)
			s->keep.pipe[end] = fd;
		else
			close_fd(&fd);
	}
	if (s->keep.pipe[0] >= 0 && s->keep.pipe[1] >= 0)
		return;
	close_all(s->keep.pipe, 2);
	s->keep.pipe[0] = s->keep.pipe[1] = -1;
	notify_forget(&s->notify, NAME_PIPE);
}

static void take_boxes(struct supervisor *s)
{
	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct keep_box *box = &s->keep.boxes[i];
		char name[32];
		int wrong;

		box_name(i + 1, name, sizeof(name));
		box->ends[0] = notify_take(&s->notify, name);
		box->ends[1] = box->ends[0] < 0 ? -1 : notify_take(&s->notify, name);
		wrong = box->ends[1] < 0 ? -1 : notify_take(&s->notify, name);
		if (box->ends[0] >= 0 && (box->ends[1] < 0 || wrong >= 0)) {
			log_warning("connection %u: the parent kept another number of its descriptors than 2", i + 1);
			close_fd(&wrong);
			box_close(box);
			notify_forget(&s->notify, name);
		}
	}
}

/* The state first: killed in between, we must not leave it to the next supervisor without the records of who filled it. */
static void drop_all(struct supervisor *s)
{
	notify_forget(&s->notify, NAME_STATE);
	close_fd(&s->state_fd);
	s->state_fd = -1;
	for (uint32_t i = 0; i < s->n_slots; i++) {
		if (s->connections[i])
			connection_free(s, s->connections[i]);
		box_empty(&s->keep.boxes[i]);
	}
}

static void restore_all(struct supervisor *s)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct error error = { 0 };
		int r = s->keep.boxes[i].ends[0] < 0 ? 0 : restore(s, i + 1, &error);

		if (r == -EPROTO) {
			log_warning("what the supervisor before had kept is dropped: %s", error.text);
			drop_all(s);
			return;
		}
		n += r > 0;
	}
	log_info("goes on for the supervisor before, with %u connection%s", n, n == 1 ? "" : "s");
}

/* Names of slots that this configuration does not have, and whatever else is left of ours. */
static void forget_others(struct supervisor *s)
{
	for (size_t i = 0; i < s->notify.n_fds; i++) {
		struct notify_fd *row = &s->notify.fds[i];

		if (row->fd < 0 || strncmp(row->name, "vaccel-", 7) != 0 || !strcmp(row->name, NAME_LISTEN))
			continue;
		notify_forget(&s->notify, row->name);
		close_fd(&row->fd);
		row->fd = -1;
	}
}

int keep_init(struct supervisor *s, struct error *error)
{
	s->keep.on = notify_wanted(&s->notify) && s->options->fd < 0 &&
		     (s->options->fd_store || s->notify.max_stored > 0);
	if (!s->keep.on)
		return new_state(s, error);
	s->keep.boxes = calloc(s->n_slots, sizeof(*s->keep.boxes));
	if (!s->keep.boxes)
		return error_set(error, -ENOMEM, "no memory for %u connections", s->n_slots);
	if (getrandom(&s->keep.nonce, sizeof(s->keep.nonce), 0) < 0)
		return error_set(error, -errno, "no random number: %s", strerror(errno));
	if (s->notify.max_stored && s->notify.max_stored < KEEP_FDS(s->n_slots))
		log_warning("the parent keeps %" PRIu64 " descriptors, and limits.connections = %u takes %" PRIu64,
			    s->notify.max_stored, s->n_slots, KEEP_FDS(s->n_slots));
	take_boxes(s);
	take_pipe(s);
	if (take_state(s))
		restore_all(s);
	else
		drop_all(s);
	forget_others(s);
	make_pipe(s);
	pipe_empty(s);
	return s->state_fd >= 0 ? 0 : new_state(s, error);
}

void keep_fini(struct supervisor *s)
{
	for (uint32_t i = 0; s->keep.boxes && i < s->n_slots; i++)
		box_close(&s->keep.boxes[i]);
	free(s->keep.boxes);
	close_all(s->keep.pipe, 2);
}

/* ---- the listening socket ---- */

static bool bound_to(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t len = sizeof(address);

	return listener_kind(fd) > 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0 &&
	       strncmp(address.sun_path, path, sizeof(address.sun_path)) == 0;
}

int keep_take_listener(struct supervisor *s, const char *path)
{
	int fd = notify_take(&s->notify, NAME_LISTEN);

	if (fd < 0 || (s->keep.on && bound_to(fd, path)))
		return fd;
	close(fd);
	notify_forget(&s->notify, NAME_LISTEN);
	return -1;
}

void keep_listener(struct supervisor *s)
{
	if (s->keep.on && notify_store(&s->notify, NAME_LISTEN, s->listen_fd, false) < 0)
		log_warning("socket %s: the parent does not take it", s->options->socket_path);
}

void keep_nothing(struct supervisor *s)
{
	if (!s->keep.on)
		return;
	for (uint32_t i = 0; i < s->n_slots; i++) {
		char name[32];

		if (s->connections[i])
			s->connections[i]->keep.off = true;
		box_empty(&s->keep.boxes[i]);
		box_name(i + 1, name, sizeof(name));
		if (s->keep.boxes[i].ends[0] >= 0)
			notify_forget(&s->notify, name);
	}
	notify_forget(&s->notify, NAME_LISTEN);
	notify_forget(&s->notify, NAME_STATE);
	notify_forget(&s->notify, NAME_PIPE);
	s->keep.on = false;
}
