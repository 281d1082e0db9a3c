/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench classify: pictures of several sizes, shown to models of real size. The same plugins in the measuring process (local),
 * behind a daemon (shm), and seen from guests; eight sessions at once, each request on its own and batched; and the model alone,
 * fed with a tensor that is ready (infer), where what is copied is counted. All sides have to give the same class.
 *
 * Models and pictures are made by models/zoo, a script of the source tree, once per user.
 */
#include <errno.h>
#include <ftw.h>
#include <link.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/guest.h"

#define SESSIONS 8
#define ROUNDS	 3
#define SMALLEST (64u << 10) /* the size for sides that the picture's does not concern */

/* Where models/zoo has put what it made; read by the processes that are forked later, too. */
static char models_dir[512], pictures_dir[512], framework_dir[512];

const char *bench_models(void)
{
	return models_dir;
}

static int picture_file(uint64_t size, char *path, size_t len, struct error *error)
{
	if (snprintf(path, len, "%s/%llu.jpg", pictures_dir, (unsigned long long)size) < (int)len)
		return 0;
	return error_set(error, -ENAMETOOLONG, "folder %s: its name is too long", pictures_dir);
}

/* ---- setting up ---- */

static int make_models(char *zoo, const char *variants, struct error *error)
{
	char names[256], *argv[4 + 2 * BENCH_MAX_VARIANTS] = { zoo }, *rest = NULL, batched[BENCH_MAX_VARIANTS][80];
	size_t n = 1, i = 0;

	snprintf(names, sizeof(names), "%s", variants);
	for (char *name = strtok_r(names, ",", &rest); name && i < BENCH_MAX_VARIANTS;
	     name = strtok_r(NULL, ",", &rest), i++) {
		snprintf(batched[i], sizeof(batched[i]), "%s-batch", name);
		argv[n++] = name;
		argv[n++] = batched[i];
	}
	return bench_script_run(argv, models_dir, sizeof(models_dir), error);
}

/* The system may have it, where no script knows of it. */
static void find_framework(void)
{
	char script[4096];
	char *argv[] = { script, (char *)"--prefix", NULL };
	struct error error = { 0 };

	if (bench_script_find("tools/tensorflow", script, sizeof(script), &error) < 0 ||
	    bench_script_run(argv, framework_dir, sizeof(framework_dir), &error) < 0)
		framework_dir[0] = 0;
}

static int setup(const struct bench *bench, const struct bench_options *options, const char *variants,
		 struct error *error)
{
	const uint64_t *sizes = options->sizes.n ? options->sizes.size : bench->sizes;
	char zoo[4096], list[CLI_MAX_SIZES * 21] = "";
	char *argv[] = { zoo, (char *)"--pictures", list, NULL };
	int r = bench_script_find("models/zoo", zoo, sizeof(zoo), error);

	for (size_t i = 0; options->sizes.n ? i < options->sizes.n : sizes[i] != 0; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%llu", i ? "," : "",
			 (unsigned long long)sizes[i]);
	progress("%s: making models and pictures", bench->name);
	find_framework();
	if (r == 0)
		r = make_models(zoo, variants, error);
	return r < 0 ? r : bench_script_run(argv, pictures_dir, sizeof(pictures_dir), error);
}

/* ---- one at a time ---- */

static int one_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct bench_picture *picture = calloc(1, sizeof(*picture));
	char file[768];
	int r = picture ? picture_file(size, file, sizeof(file), error) : -ENOMEM;

	if (r == 0)
		r = bench_picture_init(picture, job->session, job->variant, file, error);
	if (r < 0)
		free(picture);
	else
		job->state = picture;
	return r;
}

static int one_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct bench_picture *picture = job->state;
	int r = bench_picture_classify(picture, ret_ns, error);

	if (r < 0)
		return r;
	bench_picture_add(picture, &job->parts);
	job->answer = picture->first + 1;
	return 0;
}

static int check(struct bench_job *job, struct error *error)
{
	return job->answer ? 0 : error_set(error, -EBADMSG, "there is no answer");
}

static void one_finish(struct bench_job *job)
{
	bench_picture_fini(job->state);
	free(job->state);
	job->state = NULL;
}

static const struct bench_task one = {
	.prepare = one_prepare,
	.once = one_once,
	.check = check,
	.finish = one_finish,
};

/* ---- in a guest ---- */

static int guest_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	char words[BENCH_GUEST_WORDS], file[512];
	int r = picture_file(size, file, sizeof(file), error);

	if (r < 0)
		return r;
	snprintf(words, sizeof(words), "picture %s %s", job->variant, file);
	return bench_guest_prepare(job, words, error);
}

static const struct bench_task in_guest = {
	.open = bench_guest_open,
	.prepare = guest_prepare,
	.turn = bench_guest_turn,
	.once = bench_guest_once,
	.check = bench_guest_check,
	.finish = bench_guest_finish,
	.close = bench_guest_close,
};

/* ---- eight sessions ---- */

struct seat {
	struct vaccel_session *session;
	struct bench_picture picture;
	struct vaccel_request *request; /* in flight; NULL: none */
	uint64_t start_ns;
};

struct eight {
	size_t n;
	struct seat seats[SESSIONS];
};

static int fail(struct error *error, int code)
{
	return error_set(error, code, "%s", vaccel_error());
}

static void eight_finish(struct bench_job *job)
{
	struct eight *eight = job->state;

	for (size_t i = 0; i < eight->n; i++) {
		vaccel_request_free(eight->seats[i].request);
		bench_picture_fini(&eight->seats[i].picture);
		vaccel_session_close(eight->seats[i].session);
	}
	free(eight);
	job->state = NULL;
}

static int seat_init(struct seat *seat, struct bench_job *job, const char *model, const char *file, struct error *error)
{
	int r = vaccel_session_open(job->context, &seat->session);

	if (r < 0)
		return fail(error, r);
	r = bench_picture_init(&seat->picture, seat->session, model, file, error);
	if (r < 0)
		vaccel_session_close(seat->session);
	return r;
}

static int seats_prepare(struct bench_job *job, uint64_t size, const char *ending, struct error *error)
{
	struct eight *eight = calloc(1, sizeof(*eight));
	char file[768], model[VACCEL_MODEL_NAME];
	int r = eight ? picture_file(size, file, sizeof(file), error) : -ENOMEM;

	if (!eight)
		return r;
	job->state = eight;
	snprintf(model, sizeof(model), "%.48s%s", job->variant, ending);
	while (r == 0 && eight->n < SESSIONS) {
		r = seat_init(&eight->seats[eight->n], job, model, file, error);
		eight->n += r == 0;
	}
	if (r < 0)
		eight_finish(job);
	return r;
}

static int eight_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	return seats_prepare(job, size, "", error);
}

static int batched_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	return seats_prepare(job, size, "-batch", error);
}

static int seat_submit(struct seat *seat, struct error *error)
{
	struct vaccel_submit_options options = { .size = sizeof(options), .user_data = seat };
	struct bench_picture *picture = &seat->picture;
	int r;

	seat->start_ns = now_ns();
	r = vaccel_classify_submit(seat->session, picture->model, bench_picture_data(picture), picture->len,
				   BENCH_LABELS, picture->labels, &picture->about, &options, &seat->request);
	return r < 0 ? fail(error, r) : 0;
}

static int seat_take(struct bench_job *job, struct seat *seat, uint64_t *ret_ns, struct error *error)
{
	int r = vaccel_request_wait(seat->request, -1);

	*ret_ns = now_ns() - seat->start_ns;
	if (r < 0)
		return fail(error, r);
	vaccel_request_free(seat->request);
	seat->request = NULL;
	bench_picture_add(&seat->picture, &job->parts);
	r = bench_picture_look(&seat->picture, error);
	job->answer = seat->picture.first + 1;
	return r;
}

/*
 * From the first request to the last answer, so that no work is done outside of the time: several rounds at least, since what is
 * batched completes in rounds, and both ends of a turn are uneven.
 */
static int eight_turn(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples,
		      struct bench_turn *ret_turn, struct error *error)
{
	uint64_t start = now_ns(), submitted = 0, n = 0;
	struct eight *eight = job->state;
	void *done = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < eight->n && submitted < max; i++, submitted++)
		r = seat_submit(&eight->seats[i], error);
	while (r == 0 && n < submitted) {
		r = bench_next_request(job, &done, error);
		if (r == 0)
			r = seat_take(job, done, &samples[n], error);
		n += r == 0;
		if (r < 0 || submitted == max || (submitted >= ROUNDS * eight->n && now_ns() - start >= turn_ns))
			continue;
		r = seat_submit(done, error);
		submitted++;
	}
	*ret_turn = (struct bench_turn){ .n = n, .n_ops = n, .elapsed_ns = now_ns() - start };
	return r;
}

/* One round. */
static int eight_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	uint64_t samples[SESSIONS];
	struct bench_turn turn;
	int r = eight_turn(job, SESSIONS, 0, samples, &turn, error);

	*ret_ns = samples[0];
	return r;
}

static const struct bench_task eight_sessions = {
	.prepare = eight_prepare,
	.once = eight_once,
	.turn = eight_turn,
	.check = check,
	.finish = eight_finish,
};

static const struct bench_task eight_batched = {
	.prepare = batched_prepare,
	.once = eight_once,
	.turn = eight_turn,
	.check = check,
	.finish = eight_finish,
};

/* ---- the model alone ---- */

struct infer {
	struct vaccel_model *model;
	struct vaccel_buffer *buffer; /* the input, then, at a multiple of 64 bytes, the output */
	struct vaccel_tensor input, output;
	double first; /* what the output amounts to, the first time */
};

static void infer_finish(struct bench_job *job)
{
	struct infer *infer = job->state;

	vaccel_buffer_free(infer->buffer);
	vaccel_model_free(infer->model);
	free(infer);
	job->state = NULL;
}

/* As the signature has it, with 1 for the dimension that is any. */
static void describe(struct vaccel_tensor *tensor, const struct vaccel_tensor_desc *desc)
{
	*tensor = (struct vaccel_tensor){ .size = sizeof(*tensor),
					  .name = desc->name,
					  .dtype = desc->dtype,
					  .rank = MIN(desc->rank, VACCEL_MAX_RANK),
					  .len = 4 };
	for (uint32_t i = 0; i < tensor->rank; i++) {
		tensor->dims[i] = desc->dims[i] < 0 ? 1 : desc->dims[i];
		tensor->len *= (size_t)tensor->dims[i];
	}
}

static int infer_init(struct infer *infer, struct bench_job *job, struct error *error)
{
	const struct vaccel_tensor_desc *in, *out;
	size_t room, len;
	int r = vaccel_model_new(job->session, job->variant, &infer->model);

	if (r < 0)
		return fail(error, r);
	in = vaccel_model_tensor(infer->model, VACCEL_IN, 0);
	out = vaccel_model_tensor(infer->model, VACCEL_OUT, 0);
	if (!in || !out || in->dtype != VACCEL_FLOAT32 || out->dtype != VACCEL_FLOAT32)
		return error_set(error, -EINVAL, "model %s: does not take and give 32 bit floats", job->variant);
	describe(&infer->input, in);
	describe(&infer->output, out);
	len = infer->input.len;
	room = (len + 63) & ~(size_t)63;
	infer->output.room = infer->output.len;
	r = vaccel_buffer_alloc(job->session, room + infer->output.room, &infer->buffer);
	if (r < 0)
		return fail(error, r);
	infer->input.data = vaccel_buffer_data(infer->buffer);
	infer->output.data = (char *)infer->input.data + room;
	for (size_t i = 0; i < len / sizeof(float); i++)
		((float *)infer->input.data)[i] = (float)(i * 2654435761u % 255) / 127.5f - 1;
	return 0;
}

static int infer_prepare(struct bench_job *job, uint64_t size, struct error *error)
{
	struct infer *infer = calloc(1, sizeof(*infer));
	int r;

	if (!infer)
		return error_set(error, -ENOMEM, "out of memory");
	job->state = infer;
	r = infer_init(infer, job, error);
	if (r < 0)
		infer_finish(job);
	return r;
}

/* The mean class, of probabilities that add up to one; NAN: they do not. */
static double mean_class(const struct infer *infer)
{
	const float *said = infer->output.data;
	double sum = 0, mean = 0;

	for (size_t i = 0; i < infer->output.len / sizeof(float); i++) {
		sum += (double)said[i];
		mean += (double)(i + 1) * (double)said[i];
	}
	return sum > 0.999 && sum < 1.001 ? mean : NAN;
}

/* It is the same every time. */
static int look(struct infer *infer, struct error *error)
{
	double mean = mean_class(infer);

	infer->first = infer->first > 0 ? infer->first : mean;
	if (fabs(mean - infer->first) <= infer->first * 1e-4)
		return 0;
	return error_set(error, -EBADMSG, "the output amounts to class %g, and to %g before", mean, infer->first);
}

static int infer_check(struct bench_job *job, struct error *error)
{
	return look(job->state, error);
}

static int infer_once(struct bench_job *job, uint64_t *ret_ns, struct error *error)
{
	struct infer *infer = job->state;
	uint64_t start = now_ns();
	int r = vaccel_infer(job->session, job->variant, &infer->input, 1, &infer->output, 1);

	*ret_ns = now_ns() - start;
	if (r < 0)
		return fail(error, r);
	return look(infer, error);
}

static const struct bench_task infer = {
	.prepare = infer_prepare,
	.once = infer_once,
	.check = infer_check,
	.finish = infer_finish,
};

/* ---- what a guest needs ---- */

static int add_object(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *name = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
	struct stat st;

	/* The kernel's own, the vdso, is no file. */
	if (stat(name, &st) == 0)
		*(uint64_t *)data += (uint64_t)st.st_size;
	return 0;
}

static uint64_t file_bytes(const char *folder, const char *name)
{
	char path[1100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static uint64_t tree;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (type == FTW_F)
		tree += (uint64_t)st->st_size;
	return 0;
}

/*
 * Bytes of this program, libvaccel and all that both are linked with, beside those of TensorFlow's two libraries and the model.
 * The libraries of the system that TensorFlow needs besides are not counted.
 */
static void add_bytes(const char *model, struct json_object *ratios)
{
	uint64_t ours = 0, theirs;
	char path[1100];

	dl_iterate_phdr(add_object, &ours);
	js_count(ratios, "guest_bytes_needed", ours);
	if (!framework_dir[0])
		return;
	snprintf(path, sizeof(path), "%s/%s", models_dir, model);
	tree = 0;
	nftw(path, add_file, 16, FTW_PHYS);
	theirs = tree + file_bytes(framework_dir, "libtensorflow_cc.so.2") +
		 file_bytes(framework_dir, "libtensorflow_framework.so.2");
	js_count(ratios, "tensorflow_bytes_needed", theirs);
	js_number(ratios, "guest_bytes_over_tensorflow", (double)ours / (double)theirs);
}

/* ---- the bench ---- */

static double per_second(const struct bench_row *row)
{
	return row->side->stat == BENCH_RATE ? row->rate : 1e9 / (double)row->stats.median;
}

static void ratios(const struct bench_row *rows, size_t n, struct json_object *ratios_)
{
	for (size_t i = 0; i < n; i++) {
		char name[96];

		if (rows[i].side->task != &infer || rows[i].side->end == BENCH_LOCAL)
			continue;
		snprintf(name, sizeof(name), "infer_copied_bytes_%s", rows[i].variant);
		js_number(ratios_, name, (double)rows[i].copied_bytes / (double)MAX(rows[i].n_ops, 1));
	}
	if (n)
		add_bytes(rows[0].variant, ratios_);
}

static const struct bench_side sides[] = {
	{ .name = "local", .task = &one, .end = BENCH_LOCAL },
	{ .name = "shm", .task = &one, .end = BENCH_DAEMON, .base = "local", .ratio = "shm_over_local" },
	{ .name = "uml",
	  .task = &in_guest,
	  .end = BENCH_GUEST,
	  .guest = "uml",
	  .base = "local",
	  .ratio = "uml_over_host",
	  .ratio_per_size = true },
	{ .name = "qemu",
	  .task = &in_guest,
	  .end = BENCH_GUEST,
	  .guest = "qemu",
	  .base = "local",
	  .ratio = "qemu_over_host",
	  .ratio_per_size = true },
	{ .name = "8 sessions",
	  .task = &eight_sessions,
	  .end = BENCH_DAEMON,
	  .max_size = SMALLEST,
	  .stat = BENCH_RATE },
	{ .name = "8 sessions, batched",
	  .task = &eight_batched,
	  .end = BENCH_DAEMON,
	  .max_size = SMALLEST,
	  .base = "8 sessions",
	  .stat = BENCH_RATE,
	  .ratio = "throughput_batched_over_single" },
	{ .name = "infer, local", .task = &infer, .end = BENCH_LOCAL, .max_size = SMALLEST },
	{ .name = "infer, shm",
	  .task = &infer,
	  .end = BENCH_DAEMON,
	  .max_size = SMALLEST,
	  .base = "infer, local",
	  .ratio = "infer_shm_over_local" },
};

const struct bench bench_classify = {
	.name = "classify",
	.summary = "pictures shown to models, from the host and from guests",
	.op = "image_classify",
	.key = "bytes",
	.value = "pictures_per_second",
	.value_title = "pictures/s",
	.sizes = { SMALLEST, 256u << 10, 1u << 20, 4u << 20, 10u << 20 },
	.variant_key = "model",
	.variants = "mobilenetv2 resnet50 digits",
	.chosen = "mobilenetv2,resnet50",
	.models = true,
	.seconds = 4,
	.turn_ns = 250000000,
	.turn_samples = 500,
	.warm = 1,
	.threads = 0,
	.counts_copies = true,
	.sides = sides,
	.n_sides = ARRAY_SIZE(sides),
	.setup = setup,
	.value_of = per_second,
	.ratios = ratios,
};
