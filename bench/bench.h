/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vaccel bench: measurements that are rows of one table (src/cli/cmd_bench.c). This folder has the benches, one file
 * each (rtt.c, sgemm.c, copy.c, session.c, many.c, classify.c, crypto.c), the raw baselines (raw.c), and the one mechanism that all
 * of them use: processes that measure (runner.c), private daemons (daemon.c), CPUs (place.c), guests (guest.c), scripts that make
 * what a bench needs (script.c), taking turns (run.c), JSON (result.c), table and plot (report.c, plot.c).
 *
 * A side is one of the things that are compared. Each has one process of its own, or several, so that no side shares a
 * library, a connection or a BLAS with another; what they do is the side's task. For each size all sides are prepared
 * and run once unmeasured, then they take turns of a few milliseconds, so that what the machine does meanwhile falls on
 * all of them alike. Results are checked after the first run and after the last, and looked at in between.
 *
 * Without a transport to measure, a bench starts daemons of its own, in a folder of their own: one for each way of
 * waiting and each placement that its sides ask for. They end with this process, however it ends (daemon.c).
 *
 * The result is one JSON object, whose format vaccel-bench(1) has; table and plot are made from that object, so that a
 * stored one (--from) gives the same.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <sys/types.h>

#include "bench/picture.h"
#include "cli/cli.h"

#define BENCH_MAX_SAMPLES   100000 /* of one side and size */
#define BENCH_MAX_SIDES	    24
#define BENCH_MAX_PROCESSES 8 /* of one side */
#define BENCH_MAX_DAEMONS   6
#define BENCH_MAX_VARIANTS  8
#define BENCH_TURN_SAMPLES  4096 /* of one process in one turn */
#define BENCH_MAX_STAGES    24

struct bench_options {
	struct cli_common common;
	struct cli_sizes sizes;
	uint64_t repeat; /* 0: as many as fit seconds */
	double seconds;	 /* for each size and side; 0: the bench's own */
	const char *against;
	const char *plot;
	const char *from;
	const char *models; /* names with commas between them; NULL: the bench's own */
	const char *guests;
	int plain, is_double, raw, profile;
	uint64_t seed;
};

/* What a side's task talks to. */
enum bench_end {
	BENCH_RAW,    /* a process that the task starts */
	BENCH_DAEMON, /* a private daemon, or the transport that the user named */
	BENCH_LOCAL,  /* an engine in the measuring process */
	BENCH_URL,    /* the transport in .url */
	BENCH_GUEST,  /* a private daemon, seen from a guest that the task starts */
	BENCH_NONE,   /* nothing: the measuring process does it all */
};

/* How both ends wait for each other. */
enum bench_waiting {
	BENCH_WAIT_DEFAULT, /* as the installation does */
	BENCH_PARKED,	    /* asleep at once */
	BENCH_POLLED,	    /* looking, for so long that they never sleep in a bench */
};

/* Which CPUs the measuring process and the other end are bound to. */
enum bench_place {
	BENCH_ANY_CPU, /* to none */
	BENCH_ONE_CPU, /* both to the same one */
	BENCH_TWO_CPUS,
};

/* Where matrices lie. */
enum bench_memory {
	BENCH_ANY_MEMORY, /* as the options say */
	BENCH_REGISTERED,
	BENCH_PLAIN,
};

/* What of two sides is compared. */
enum bench_stat {
	BENCH_MEDIAN,
	BENCH_P99,
	BENCH_RATE,  /* operations per second, of all processes */
	BENCH_SPEED, /* operations per second, of the medians */
};

struct bench_side {
	const char *name;
	const struct bench_task *task;
	enum bench_end end;
	enum bench_waiting waiting;
	enum bench_place place;
	unsigned int processes; /* 0: one */
	enum bench_memory memory;
	uint64_t max_size; /* larger sizes are not for this side; 0: all are */
	bool extra;	   /* left out where the user names the transport */
	const char *url;   /* BENCH_URL; NULL: the library's choice */
	const char *guest; /* BENCH_GUEST: kind of guest, as tools/guest has it */
	const char
		*with; /* the side before it in whose process it measures, as those of one guest do; NULL: in its own */
	const char *group; /* whose plot it belongs to, where a bench draws several; and a note for people */
	bool crypto;	   /* its daemon is a virtio-crypto device */
	const char *way;   /* of bench crypto: who does the work, see cipher.h */
	bool pipelined;	   /* of bench crypto: all its requests are in flight at once */
	/* Compared with this side; NULL: with none. */
	const char *base;
	enum bench_stat stat;
	/*
	 * The quotient's name in "ratios": ratio, suffix and, with ratio_per_size, "_SIZE". The name without the suffix
	 * is there too, with the largest of those that have the same ratio. Where a bench has variants, "_VARIANT" comes first,
	 * and with ratio_per_size the largest of all variants is there without it.
	 */
	const char *ratio;
	const char *suffix;
	bool ratio_per_size;
};

/* In a measuring process. */
struct bench_job {
	const struct bench *bench;
	const struct bench_side *side;
	const struct bench_options *options;
	const char *url;
	const char *crypto_url;		/* of a virtio-crypto device for the same guest; NULL: it gets none */
	struct vaccel_context *context; /* unless BENCH_RAW, BENCH_GUEST or BENCH_NONE */
	struct vaccel_session *session;
	pid_t other;	     /* BENCH_RAW: the process at the other end */
	pid_t client;	     /* whose processes work for the client, too; 0: none */
	char about[512];     /* filled by open(): a JSON object for the side; "": there is none */
	const char *variant; /* that is measured; NULL: the bench has none */
	void *state;	     /* of the task, from prepare() to finish() */
	void *other_state;   /* of the task, from open() to close() */
	/* Filled by tasks that classify: what the other end spent, and the answer's class plus 1; 0: none. */
	struct bench_parts parts;
	uint64_t answer;
};

/* What came of a turn. */
struct bench_turn {
	uint64_t n;	     /* samples */
	const uint64_t *ns;  /* valid until the runner's next command */
	uint64_t n_ops;	     /* with those that the task's end() finished */
	uint64_t n_warm;     /* operations before the first sample */
	uint64_t elapsed_ns; /* from then on */
	uint64_t cpu_ns;     /* of the measuring process */
	uint64_t copied_bytes;
	struct bench_parts parts;
};

/* What a measuring process does. On failure of a function nothing of it is left behind. */
struct bench_task {
	/* BENCH_RAW, BENCH_GUEST: starts the other end, which ends with this process; sets job->other or job->client. */
	int (*open)(struct bench_job *job, struct error *error);
	void (*close)(struct bench_job *job); /* of open(); NULL: nothing to do */
	/* NULL: nothing to do. -EOPNOTSUPP: what the side needs is not here; it is left out from then on. */
	int (*prepare)(struct bench_job *job, uint64_t size, struct error *error);
	/* Around a turn; NULL: nothing to do. *ret_ops: operations that end() has finished. */
	int (*begin)(struct bench_job *job, struct error *error);
	int (*end)(struct bench_job *job, uint64_t *ret_ops, struct error *error);
	/* One operation, whose time is *ret_ns. */
	int (*once)(struct bench_job *job, uint64_t *ret_ns, struct error *error);
	/*
	 * A whole turn, with the warming up, of at most max samples; NULL: as often once(). ret_turn: n, n_ops, n_warm and
	 * elapsed_ns are its to tell.
	 */
	int (*turn)(struct bench_job *job, uint64_t max, uint64_t turn_ns, uint64_t *samples,
		    struct bench_turn *ret_turn, struct error *error);
	/* Whether the results are right; NULL: there are none. */
	int (*check)(struct bench_job *job, struct error *error);
	void (*finish)(struct bench_job *job); /* of prepare() */
};

/* What came out for one size and side. */
struct bench_row {
	const char *variant; /* NULL: the bench has none */
	uint64_t size;
	const struct bench_side *side;
	struct stats stats;
	double rate;	  /* operations per second */
	double client_ns; /* CPU time per operation */
	double other_ns;  /* of the other end; negative: not known */
	uint64_t n_ops;
	uint64_t copied_bytes; /* by the library and by the daemon, if the bench counts them */
	struct bench_parts parts;
};

/* How long operations spent in a stage of their way. */
struct bench_stage {
	char name[24];
	char where[8]; /* "library", "daemon" or "both" */
	uint64_t count;
	double mean_ns, median_ns, p99_ns; /* NAN: not known */
};

struct bench {
	const char *name;
	const char *summary;
	const char *op;		 /* the operation that is measured */
	const char *key;	 /* what a size is: "size"; NULL: there is one size */
	const char *value;	 /* what is computed from a row: "mflops" */
	const char *value_title; /* "MFlop/s" */
	uint64_t sizes[16];	 /* default, 0-terminated */
	/* What is measured of each size, one after the other; NULL: there is one thing. Chosen with --models. */
	const char *variant_key; /* "model" */
	const char *variants;	 /* all, with spaces between them */
	const char *chosen;	 /* default, with commas between them */
	bool size_first;	 /* in names of ratios the size comes before the variant */
	bool models;		 /* daemons serve the folder of bench_models() */
	const char *order;	 /* of plugins; NULL: those for matrices, or for models */
	bool per_byte;		 /* sizes are bytes: rows tell CPU time per byte */
	bool panels;		 /* the plot has one for each variant and group of sides, and logarithmic axes */
	double seconds;		 /* default time for each size and side */
	uint64_t turn_ns;	 /* time of one turn */
	uint64_t turn_samples;	 /* of one process in one turn, at most */
	unsigned int warm;	 /* operations at the begin of a turn that are not recorded */
	unsigned int threads;	 /* of the engines, 0: one per CPU */
	bool counts_copies;	 /* rows tell of bytes that were copied */
	unsigned int poll_us;	 /* how long a client that polls does */
	const struct bench_side *sides;
	size_t n_sides;
	/* What a transport that the user names does beside the one it is compared with; NULL: sides are used as they are. */
	const struct bench_task *task;
	/* Makes what the bench needs, before anything is started; NULL: nothing. variants: chosen, with commas. */
	int (*setup)(const struct bench *bench, const struct bench_options *options, const char *variants,
		     struct error *error);
	double (*value_of)(const struct bench_row *row);
	/* Adds ratios of its own; NULL: it has none. */
	void (*ratios)(const struct bench_row *rows, size_t n, struct json_object *ratios);
	/* Adds sentences about what came out; NULL: numbers say it all. */
	void (*conclude)(const struct bench_row *rows, size_t n, struct json_object *sentences);
};

extern const struct bench bench_rtt, bench_sgemm, bench_copy, bench_session, bench_many, bench_classify, bench_crypto;
extern const struct bench_task bench_noop, bench_products, bench_raw_eventfd, bench_raw_spin;

/* ---- run.c ---- */

/* Runs all sizes. *ret_result: the JSON object. CLI_OK or the status (told). */
int bench_run(struct cli *cli, const struct bench *bench, const struct bench_options *options,
	      struct json_object **ret_result);

/* ---- result.c ---- */

/* A new result; sides and rows are added to it, rows in the order in which bench_result_ratios() is given them. */
struct json_object *bench_result(const struct bench *bench, const struct bench_options *options);
/* described: cli_describe()'s object; NULL: there is none. */
void bench_result_side(struct json_object *result, const struct bench *bench, const struct bench_side *side,
		       struct json_object *described);
/* A side that is not there, and why. */
void bench_result_left_out(struct json_object *result, const struct bench_side *side, const char *why);
/* raw: all samples, which it takes; NULL: not asked for. */
void bench_result_row(struct json_object *result, const struct bench *bench, const struct bench_row *row,
		      struct json_object *raw);
/* Fills in the ratios, and what is concluded, all rows being there. */
void bench_result_ratios(struct json_object *result, const struct bench *bench, const struct bench_row *rows, size_t n);

/* ---- profile.c ---- */

/* In a measuring process: the stages of all its operations so far; room for BENCH_MAX_STAGES. */
int bench_profile_collect(struct bench_job *job, struct bench_stage *stages, size_t *ret_n, struct error *error);
void bench_profile_add(struct json_object *result, const struct bench_side *side, const struct bench_stage *stages,
		       size_t n);

/* ---- report.c, plot.c, where.c ---- */

/* Whether an object has the shape that table and plot rely on. */
bool bench_result_valid(const struct json_object *result);
void bench_print(struct json_object *result);
/* file: *.png or *.svg, made by gnuplot. CLI_OK or the status (told). */
int bench_plot(struct cli *cli, struct json_object *result, const char *file);
/* Processor, kernel, kind of guest: where this process runs. */
struct json_object *bench_where(void);

/* ---- runner.c ---- */

/* A measuring process, seen from the one that has it measure. */
struct bench_runner;

/* Why a command failed: an enum cli_status, what it was at, and the cause. */
struct bench_failure {
	int status;
	const char *action;
	struct error error;
};

/*
 * Starts the process; it does nothing yet. To be called before there are threads. url: what its task talks to; NULL leaves
 * that to the library, or to BENCH_RAW. crypto_url: see struct bench_job.
 */
int bench_runner_new(const struct bench *bench, const struct bench_side *side, const struct bench_options *options,
		     const char *url, const char *crypto_url, struct bench_runner **ret_runner);
void bench_runner_free(struct bench_runner *runner);
/* Connects. *ret_described: cli_describe()'s object, NULL for BENCH_RAW. *ret_other: BENCH_RAW's other process, else 0. */
int bench_runner_open(struct bench_runner *runner, struct json_object **ret_described, pid_t *ret_other,
		      struct bench_failure *failure);
/*
 * Prepares, runs once, checks. variant and side must be valid before the runner was made; sides other than its own are those
 * that measure in its process. *ret_answer: the job's.
 */
int bench_runner_prepare(struct bench_runner *runner, const struct bench_side *side, const char *variant, uint64_t size,
			 uint64_t *ret_answer, struct bench_failure *failure);
/* A turn of at most max samples: begins, and waits for the end. Several runners may have begun at once. */
int bench_runner_begin(struct bench_runner *runner, const struct bench_side *side, uint64_t max, uint64_t turn_ns);
int bench_runner_end(struct bench_runner *runner, struct bench_turn *ret_turn, struct bench_failure *failure);
/* Valid until the next command. */
int bench_runner_profile(struct bench_runner *runner, const struct bench_stage **ret_stages, size_t *ret_n,
			 struct bench_failure *failure);
/* Checks and finishes. */
int bench_runner_finish(struct bench_runner *runner, const struct bench_side *side, struct bench_failure *failure);

/* ---- daemon.c ---- */

/* The private daemons of one run. All zero but fd: there are none. */
struct bench_daemons {
	char folder[96];
	pid_t keeper;
	int fd; /* of the keeper; -1: none */
	const struct bench_options *options;
	size_t n;
	struct bench_daemon {
		const struct bench_side *side; /* one of those that it is for */
		pid_t pid;
		char url[128];
	} daemons[BENCH_MAX_DAEMONS];
};

/* Makes the folder and the process that will tidy up. */
int bench_daemons_init(struct bench_daemons *daemons, const struct bench_options *options, struct error *error);
/* The daemon for a side; starts it if it is the first that asks. */
int bench_daemons_get(struct bench_daemons *daemons, const struct bench *bench, const struct bench_side *side,
		      struct bench_daemon **ret_daemon, struct error *error);
/* A configuration for sides that are BENCH_LOCAL: its URL. */
int bench_daemons_local(struct bench_daemons *daemons, const struct bench *bench, char *url, size_t len,
			struct error *error);
/* Ends them and waits for that. */
void bench_daemons_fini(struct bench_daemons *daemons);
/* Its worker; 0: not found. */
pid_t bench_daemon_worker(const struct bench_daemon *daemon);

/* ---- place.c ---- */

const char *bench_place_name(enum bench_place place);
/* Binds the calling process. other: to where the other end is, which is where BENCH_LOCAL computes. */
void bench_place(enum bench_place place, bool other);
/* CPU time that a process has used; 0: not known. */
uint64_t bench_cpu_ns(pid_t pid);
/* With that of its children and theirs, those that live. */
uint64_t bench_tree_cpu_ns(pid_t pid);

/* ---- script.c ---- */

/* The path of a script of the source tree. */
int bench_script_find(const char *name, char *path, size_t len, struct error *error);
/* Runs a program, whose standard error is ours; line: the last that it prints. */
int bench_script_run(char *const *argv, char *line, size_t len, struct error *error);
/* Starts it; *ret_fd: what it prints. It is told to end when the calling process does. Its process id, or a negative errno. */
pid_t bench_script_start(char *const *argv, int *ret_fd, struct error *error);

/* ---- many.c ---- */

/* The user data of the request of the job's context that completes next. */
int bench_next_request(struct bench_job *job, void **ret_user_data, struct error *error);

/* ---- classify.c ---- */

/* Of benches that serve models: their folder. */
const char *bench_models(void);

#endif
