/* SPDX-License-Identifier: Apache-2.0 */
/* See picture.h. */
#include "bench/picture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/util.h"

static int fail(struct error *error, int code)
{
	return error_set(error, code, "%s", vaccel_error());
}

static int read_all(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)data + done, len - done);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int bench_picture_init(struct bench_picture *picture, struct vaccel_session *session, const char *model,
		       const char *file, struct error *error)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	*picture = (struct bench_picture){ .session = session };
	snprintf(picture->model, sizeof(picture->model), "%s", model);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(error, -errno, "picture %s: cannot read: %s", file, strerror(errno));
	picture->len = (size_t)st.st_size;
	r = vaccel_buffer_alloc(session, picture->len, &picture->buffer);
	if (r < 0)
		return fail(error, r);
	r = read_all(fd, vaccel_buffer_data(picture->buffer), picture->len);
	if (r < 0) {
		bench_picture_fini(picture);
		return error_set(error, r, "picture %s: cannot read: %s", file, strerror(-r));
	}
	return 0;
}

void bench_picture_fini(struct bench_picture *picture)
{
	vaccel_buffer_free(picture->buffer);
	picture->buffer = NULL;
}

const void *bench_picture_data(const struct bench_picture *picture)
{
	return vaccel_buffer_data(picture->buffer);
}

int bench_picture_look(struct bench_picture *picture, struct error *error)
{
	const struct vaccel_label *label = &picture->labels[0];

	if (!picture->about.n_labels || !(label->probability > 0))
		return error_set(error, -EBADMSG, "model %s: no label came back", picture->model);
	if (picture->any++ == 0)
		picture->first = label->index;
	if (label->index != picture->first)
		return error_set(error, -EBADMSG, "model %s: the answer was class %u, now it is %u", picture->model,
				 picture->first, label->index);
	return 0;
}

int bench_picture_classify(struct bench_picture *picture, uint64_t *ret_ns, struct error *error)
{
	uint64_t start = now_ns();
	int r = vaccel_classify(picture->session, picture->model, bench_picture_data(picture), picture->len,
				BENCH_LABELS, picture->labels, &picture->about);

	*ret_ns = now_ns() - start;
	return r < 0 ? fail(error, r) : bench_picture_look(picture, error);
}

void bench_picture_add(const struct bench_picture *picture, struct bench_parts *parts)
{
	parts->decode_ns += picture->about.decode_ns;
	parts->prepare_ns += picture->about.prepare_ns;
	parts->run_ns += picture->about.run_ns;
	parts->n++;
}
