/* SPDX-License-Identifier: Apache-2.0 */
/* See counts.h: a daemon's metrics, fetched and read. Lines of families that are not known are passed over. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/counts.h"
#include "op/wire.h"
#include "util/address.h"
#include "util/util.h"

#define MAX_TEXT (64u << 20)
#define WAIT_MS	 10000

/* ---- fetching ---- */

static int connect_to(const char *text, struct error *error)
{
	_cleanup_close_ int fd = -1;
	const struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
	union address address;
	socklen_t len = 0;
	int r;

	if (address_parse(text, &address, &len) < 0)
		return error_set(error, -EINVAL, "metrics %s: neither unix:PATH nor ADDRESS:PORT", text);
	fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(error, -errno, "metrics %s: %s", text, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (connect(fd, &address.any, len) < 0)
		return error_set(error, -errno, "metrics %s: cannot connect (%s)", text, error_name(errno));
	r = fd;
	fd = -1;
	return r;
}

/* All that comes, NUL-terminated. */
static int read_all(int fd, char **ret_text)
{
	size_t room = 64 << 10, len = 0;
	char *text = malloc(room);
	ssize_t n = -1;

	while (text && (n = read(fd, text + len, room - len - 1)) > 0) {
		len += (size_t)n;
		if (room - len > 1)
			continue;
		if (room >= MAX_TEXT) {
			free(text);
			return -E2BIG;
		}
		room *= 2;
		*ret_text = realloc(text, room);
		if (!*ret_text)
			free(text);
		text = *ret_text;
	}
	if (!text)
		return -ENOMEM;
	if (n < 0) {
		n = -errno;
		free(text);
		return (int)(n == -EAGAIN ? -ETIMEDOUT : n);
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

int counts_scrape(const char *address, struct counts_daemon *ret_daemon, struct error *error)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	_cleanup_close_ int fd = connect_to(address, error);
	_cleanup_free_ char *text = NULL;
	unsigned int minor, status = 0;
	char *body;
	int r;

	if (fd < 0)
		return fd;
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return error_set(error, -errno, "metrics %s: cannot ask: %s", address, strerror(errno));
	r = read_all(fd, &text);
	if (r < 0) {
		text = NULL;
		return error_set(error, r, "metrics %s: cannot read the answer: %s", address, strerror(-r));
	}
	body = strstr(text, "\r\n\r\n");
	if (!body || sscanf(text, "HTTP/1.%u %u ", &minor, &status) != 2 || status != 200)
		return error_set(error, -EPROTO, "metrics %s: the answer is none (status %u)", address, status);
	r = counts_parse(body + 4, ret_daemon, error);
	if (r < 0)
		error_prefix(error, "metrics %s", address);
	return r;
}

/* ---- reading ---- */

struct line {
	const char *name;
	const char *guest, *op, *stage, *cause, *limit, *le, *plugins, *version; /* "" when there is none */
	double value;
};

static const struct {
	const char *key;
	size_t offset;
} labels[] = {
	{ "guest", offsetof(struct line, guest) },     { "op", offsetof(struct line, op) },
	{ "stage", offsetof(struct line, stage) },     { "cause", offsetof(struct line, cause) },
	{ "limit", offsetof(struct line, limit) },     { "le", offsetof(struct line, le) },
	{ "plugins", offsetof(struct line, plugins) }, { "version", offsetof(struct line, version) },
};

static bool word_ok(const char *word)
{
	for (; *word; word++)
		if (*word <= ' ' || *word >= 0x7f || *word == '\\')
			return false;
	return true;
}

/* KEY="VALUE",... up to the brace; returns what is behind it, NULL if it is malformed. Cuts the text into words. */
static char *parse_labels(char *at, struct line *line)
{
	while (*at != '}') {
		char *key = at, *value, *end;

		at = strchr(at, '=');
		if (!at || at[1] != '"')
			return NULL;
		*at = '\0';
		value = at + 2;
		end = strchr(value, '"');
		if (!end)
			return NULL;
		*end = '\0';
		if (!word_ok(value) || strlen(value) >= COUNTS_NAME)
			return NULL;
		for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
			if (!strcmp(labels[i].key, key))
				*(const char **)((char *)line + labels[i].offset) = value;
		at = end + 1;
		if (*at == ',')
			at++;
		else if (*at != '}')
			return NULL;
	}
	return at + 1;
}

static int parse_line(char *text, struct line *line)
{
	char *at = text + strcspn(text, "{ ");
	char *end;

	*line = (struct line){ .name = text };
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++)
		*(const char **)((char *)line + labels[i].offset) = "";
	if (*at == '{') {
		*at++ = '\0';
		at = parse_labels(at, line);
		if (!at || *at != ' ')
			return -EPROTO;
	} else if (!*at) {
		return -EPROTO;
	}
	*at++ = '\0';
	line->value = strtod(at, &end);
	return end == at || *end || !(line->value >= 0) ? -EPROTO : 0;
}

/* Exact up to 2^53; what is beyond 2^64 was made up. */
static uint64_t whole(double value)
{
	return value < 1.8e19 ? (uint64_t)value : UINT64_MAX;
}

/* The guest of that name, made when it is new. */
static struct counts *guest_of(struct counts_daemon *d, const char *name)
{
	struct counts *guests;

	for (size_t i = 0; i < d->n_guests; i++)
		if (!strcmp(d->guests[i].guest, name))
			return &d->guests[i];
	if (d->n_guests == COUNTS_GUESTS)
		return NULL;
	guests = reallocarray(d->guests, d->n_guests + 1, sizeof(*guests));
	if (!guests)
		return NULL;
	d->guests = guests;
	guests[d->n_guests] = (struct counts){ .guest = "" };
	snprintf(guests[d->n_guests].guest, COUNTS_NAME, "%s", name);
	return &guests[d->n_guests++];
}

static struct counts_kind *kind_of(struct counts *guest, const char *name)
{
	struct counts_kind *kinds;

	if (!guest)
		return NULL;
	for (size_t i = 0; i < guest->n_kinds; i++)
		if (!strcmp(guest->kinds[i].name, name))
			return &guest->kinds[i];
	if (guest->n_kinds == COUNTS_KINDS)
		return NULL;
	kinds = reallocarray(guest->kinds, guest->n_kinds + 1, sizeof(*kinds));
	if (!kinds)
		return NULL;
	guest->kinds = kinds;
	memset(&kinds[guest->n_kinds], 0, sizeof(*kinds));
	snprintf(kinds[guest->n_kinds].name, COUNTS_NAME, "%s", name);
	return &kinds[guest->n_kinds++];
}

static struct hist *hist_of(struct counts_kind *kind, const char *stage)
{
	if (!kind)
		return NULL;
	for (size_t i = 0; i < kind->n_stages; i++)
		if (!strcmp(kind->stages[i].name, stage))
			return &kind->stages[i].hist;
	if (kind->n_stages == COUNTS_STAGES)
		return NULL;
	snprintf(kind->stages[kind->n_stages].name, COUNTS_NAME, "%s", stage);
	return &kind->stages[kind->n_stages++].hist;
}

static void take_error(struct counts *guest, const struct line *line)
{
	struct counts_kind *kind = kind_of(guest, line->op);

	for (uint32_t i = 1; kind && i < COUNTS_STATUSES; i++)
		if (wire_status_name(i) && !strcmp(wire_status_name(i), line->cause))
			kind->errors[i] = whole(line->value);
}

/*
 * Buckets are told as how many there are up to a power of two. Those of one power are spread evenly over the four that
 * it has here. count holds what was there up to the bucket before.
 */
static void take_bucket(struct hist *hist, const struct line *line)
{
	uint64_t here = whole(line->value);
	double end = strtod(line->le, NULL) * 1e9;
	uint64_t n = here > hist->count ? here - hist->count : 0;
	unsigned int first = 4;

	hist->count = here;
	if (!(end >= 16 && end < 1e12)) {
		hist->buckets[HIST_BUCKETS - 1] += n;
		return;
	}
	/* The power that ends here; of the first one all that is below is in it. */
	while (first + 4 < HIST_BUCKETS && (double)hist_start(first + 4) < end * 0.99)
		first += 4;
	for (unsigned int i = 0; i < 4; i++)
		hist->buckets[first + i] += n / 4 + (i < n % 4);
}

static void take_fact(struct json_object *facts, const char *group, const char *key, double value)
{
	struct json_object *object = facts;

	if (group) {
		if (!json_object_object_get_ex(facts, group, &object)) {
			object = json_object_new_object();
			json_object_object_add(facts, group, object);
		}
	}
	json_object_object_add(object, key, json_object_new_uint64(whole(value)));
}

static void take_guest(struct counts_daemon *d, const struct line *line)
{
	struct counts *guest = guest_of(d, line->guest);
	const char *name = line->name;
	struct counts_kind *kind;
	struct hist *hist;

	if (!guest)
		return;
	if (!strcmp(name, "vaccel_copied_bytes_total")) {
		guest->bytes_copied = whole(line->value);
	} else if (!strcmp(name, "vaccel_requests_in_flight")) {
		guest->in_flight = whole(line->value);
	} else if (!strcmp(name, "vaccel_requests_queued")) {
		guest->queued = whole(line->value);
	} else if (!strcmp(name, "vaccel_request_errors_total")) {
		take_error(guest, line);
	} else if (!strcmp(name, "vaccel_requests_total")) {
		kind = kind_of(guest, line->op);
		if (kind)
			kind->requests = whole(line->value);
	} else if (!strncmp(name, "vaccel_stage_seconds_", 21)) {
		hist = hist_of(kind_of(guest, line->op), line->stage);
		if (hist && !strcmp(name + 21, "bucket"))
			take_bucket(hist, line);
		else if (hist && !strcmp(name + 21, "sum"))
			hist->sum_ns = whole(line->value * 1e9);
	}
}

static void take_line(struct counts_daemon *d, const struct line *line)
{
	const char *name = line->name;

	if (*line->guest)
		take_guest(d, line);
	else if (!strcmp(name, "vaccel_worker_starts_total"))
		take_fact(d->facts, NULL, "worker_starts", line->value);
	else if (!strcmp(name, "vaccel_worker_up"))
		take_fact(d->facts, NULL, "worker_up", line->value);
	else if (!strcmp(name, "vaccel_connections"))
		take_fact(d->facts, NULL, "connections", line->value);
	else if (!strcmp(name, "vaccel_worker_deaths_total"))
		take_fact(d->facts, "worker_deaths", line->cause, line->value);
	else if (!strcmp(name, "vaccel_limit_hits_total"))
		take_fact(d->facts, "limit_hits", line->limit, line->value);
	else if (!strcmp(name, "vaccel_build_info"))
		json_object_object_add(d->facts, "version", json_object_new_string(line->version));
}

int counts_parse(char *text, struct counts_daemon *ret_daemon, struct error *error)
{
	struct counts_daemon d = { .facts = json_object_new_object() };
	char *save = NULL;

	for (char *at = strtok_r(text, "\n", &save); at; at = strtok_r(NULL, "\n", &save)) {
		struct line line;

		if (*at == '#')
			continue;
		if (parse_line(at, &line) < 0) {
			counts_daemon_free(&d);
			return error_set(error, -EPROTO, "a line is malformed: %.60s", at);
		}
		take_line(&d, &line);
	}
	if (!json_object_object_get_ex(d.facts, "worker_starts", NULL)) {
		counts_daemon_free(&d);
		return error_set(error, -EPROTO, "these are not the metrics of vacceld");
	}
	*ret_daemon = d;
	return 0;
}

void counts_daemon_free(struct counts_daemon *d)
{
	for (size_t i = 0; i < d->n_guests; i++)
		counts_free(&d->guests[i]);
	free(d->guests);
	json_object_put(d->facts);
	*d = (struct counts_daemon){ .guests = NULL };
}
