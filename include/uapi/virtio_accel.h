/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The accel device: what driver, library and daemon must agree on, byte for byte.
 *
 * Part 1 is the virtio device (configuration space, requests, responses), all little-endian, specified in
 * docs/virtio-accel.md. Part 2 is the character device /dev/vaccelN of the Linux driver (native endianness).
 * Reserved fields are zero when sent and checked when received; a number once given is never given again.
 */
#ifndef _UAPI_VIRTIO_ACCEL_H
#define _UAPI_VIRTIO_ACCEL_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* ---- Part 1: the virtio device ------------------------------------------------------------------------ */

/* Provisional: QEMU's generic vhost-user device wants an id that it has a name for. */
#define VIRTIO_ID_ACCEL 21

#define VIRTIO_ACCEL_VERSION_MAJOR 1
#define VIRTIO_ACCEL_VERSION_MINOR 0

/* Feature bits. */
#define VIRTIO_ACCEL_F_BUFFERS	0 /* BUFFER_REGISTER, BUFFER_UNREGISTER and ARG_BUFFER are understood */
#define VIRTIO_ACCEL_F_CANCEL	1 /* CANCEL is understood */
#define VIRTIO_ACCEL_F_DEADLINE 2 /* deadline_ms is honoured: what has not begun by then is not run */

/* Device configuration. Fields that a shorter configuration space does not hold read as zero. */
struct virtio_accel_config {
	__le16 version_major;	  /* a driver must refuse a major version that it does not know */
	__le16 version_minor;
	__le32 num_queues;	  /* request queues that the device offers, at least 1 */
	__le32 max_sessions;	  /* open at once */
	__le32 max_buffers;	  /* registered at once */
	__le64 max_buffer_bytes;  /* of one registered buffer */
	__le64 max_request_bytes; /* of all arguments of one request together */
	__le32 max_args;	  /* of one request */
	__le32 max_extents;	  /* of one request */
	__le32 max_params_len;	  /* bytes of parameters of one request */
	__le32 max_deadline_ms;	  /* longest deadline of a request; 0: no limit */
	__le32 max_message_bytes; /* device-readable bytes of one request */
	__le32 reserved;
	__le32 ops[8];		  /* bit N % 32 of word N / 32: operation N (0..255) can be served */
};

/* Request types. */
enum virtio_accel_type {
	VIRTIO_ACCEL_T_OP = 1,		       /* run an operation in a session */
	VIRTIO_ACCEL_T_SESSION_OPEN = 2,       /* -> value: session id */
	VIRTIO_ACCEL_T_SESSION_CLOSE = 3,      /* frees the session's buffers too */
	VIRTIO_ACCEL_T_BUFFER_REGISTER = 4,    /* args[0]: the extents, INOUT -> value: buffer id */
	VIRTIO_ACCEL_T_BUFFER_UNREGISTER = 5,  /* object: id of a buffer of the session */
	VIRTIO_ACCEL_T_CANCEL = 6,	       /* object: id of the request to cancel */
	VIRTIO_ACCEL_T_QUERY = 7,	       /* object: enum virtio_accel_query; args[0]: where to -> value: bytes */
};

/*
 * Device-readable part of a request, one byte stream, however it is spread over descriptors:
 *   struct virtio_accel_req
 *   struct virtio_accel_arg    [n_args]
 *   struct virtio_accel_extent [n_extents]
 *   params                     [params_len]
 * Device-writable part: struct virtio_accel_resp, then room for a text (any length, also 0).
 */
struct virtio_accel_req {
	__le32 type;	    /* enum virtio_accel_type */
	__le32 flags;	    /* reserved */
	__le64 id;	    /* chosen by the driver, unique among its requests in flight */
	__le64 session;	    /* OP, SESSION_CLOSE, BUFFER_*; otherwise 0 */
	__le64 object;	    /* see the request types; otherwise 0 */
	__le32 op;	    /* OP: operation id; otherwise 0 */
	__le32 deadline_ms; /* OP: from arrival until it has to begin, what runs is not stopped; 0: none */
	__le32 params_len;  /* OP: size of the operation's parameters; otherwise 0 */
	__le32 n_extents;   /* of all arguments together */
	__le16 n_args;
	__u8 reserved[14];
};

/* How an argument says where its bytes are. */
enum virtio_accel_arg_kind {
	VIRTIO_ACCEL_ARG_EXTENTS = 1, /* the next n_extents of the request's extent table */
	VIRTIO_ACCEL_ARG_BUFFER = 2,  /* a range of a registered buffer */
};

/* Seen from the device, and a set: INOUT is both. */
enum virtio_accel_dir {
	VIRTIO_ACCEL_DIR_IN = 1,  /* the device reads it */
	VIRTIO_ACCEL_DIR_OUT = 2, /* the device writes it */
	VIRTIO_ACCEL_DIR_INOUT = 3,
};

struct virtio_accel_arg {
	__u8 kind;	  /* enum virtio_accel_arg_kind */
	__u8 dir;	  /* enum virtio_accel_dir */
	__le16 reserved;
	__le32 n_extents; /* EXTENTS; their lengths add up to len. BUFFER: 0 */
	__le64 buffer;	  /* BUFFER: id; otherwise 0 */
	__le64 offset;	  /* BUFFER: first byte; otherwise 0 */
	__le64 len;	  /* bytes; 0 is allowed */
};

/* A range of device-visible memory. */
struct virtio_accel_extent {
	__le64 addr;
	__le64 len; /* not 0 */
};

enum virtio_accel_status {
	VIRTIO_ACCEL_S_OK = 0,
	VIRTIO_ACCEL_S_BADMSG = 1,	/* the request itself is malformed */
	VIRTIO_ACCEL_S_INVAL = 2,	/* a parameter or argument is not valid for the operation */
	VIRTIO_ACCEL_S_UNSUPPORTED = 3, /* operation, type or flag unknown, or served by nothing here */
	VIRTIO_ACCEL_S_NOSESSION = 4,	/* this session id was never given out here */
	VIRTIO_ACCEL_S_STALE = 5,	/* this session or buffer id was valid once */
	VIRTIO_ACCEL_S_NOBUFFER = 6,	/* this buffer id was never given out here, or is another session's */
	VIRTIO_ACCEL_S_RANGE = 7,	/* an argument is smaller than the operation needs, or leaves its buffer */
	VIRTIO_ACCEL_S_TOOBIG = 8,	/* larger than a limit of the configuration space */
	VIRTIO_ACCEL_S_FAULT = 9,	/* an address is not in the memory shared with the device */
	VIRTIO_ACCEL_S_NOMEM = 10,
	VIRTIO_ACCEL_S_LIMIT = 11,	/* too many sessions, buffers or requests */
	VIRTIO_ACCEL_S_BUSY = 12,	/* in use: cannot be freed, or no longer be cancelled */
	VIRTIO_ACCEL_S_DEADLINE = 13,	/* not begun by its deadline, or stopped because it ran too long */
	VIRTIO_ACCEL_S_CANCELED = 14,
	VIRTIO_ACCEL_S_INTERRUPTED = 15, /* the host's worker died in it, and it may not be run again */
	VIRTIO_ACCEL_S_IO = 16,		 /* the host's plugin or hardware failed */
	VIRTIO_ACCEL_S_DENIED = 17,	 /* the host's administrator does not allow it */
	VIRTIO_ACCEL_S_NOENT = 18,	 /* no request, model or key of that name or id */
	VIRTIO_ACCEL_S_REJECTED = 19,	 /* a tag or a signature does not fit what it is of */
};

struct virtio_accel_resp {
	__le64 id;	   /* of the request; 0 if it could not be read */
	__le64 value;	   /* see the request types; 0 on failure */
	__le32 status;	   /* enum virtio_accel_status */
	__le32 detail_len; /* bytes of UTF-8 text behind this struct that say what failed and why */
	__le64 reserved;
};

enum virtio_accel_query {
	VIRTIO_ACCEL_Q_INFO = 0,  /* struct virtio_accel_info, then n_ops struct virtio_accel_op_info */
	VIRTIO_ACCEL_Q_STATS = 1, /* struct virtio_accel_stats and what it announces */
};

/* Strings are UTF-8, NUL-padded and always NUL-terminated. */
struct virtio_accel_info {
	__le32 n_ops;
	__le32 reserved;
	char version[24]; /* of the daemon */
	char host[96];	  /* the host's processor or machine, for people */
};

struct virtio_accel_op_info {
	__le32 op;
	__le32 reserved;
	char name[24];
	char plugin[32];   /* "" if nothing serves it */
	char hardware[64]; /* as the plugin names it */
};

/*
 * What the device counted of whoever asks, since it connected; of nobody else. Behind the struct come n_rows rows and
 * n_times times. Later versions append to the structs: a reader goes by the lengths, not by its own sizes.
 */
struct virtio_accel_stats {
	__le32 head_len;      /* bytes of this struct */
	__le32 row_len;
	__le32 n_rows;
	__le32 n_times;	      /* each has a length of its own */
	__le32 sampling;      /* of about one request in so many times are taken; 1: of all */
	__le32 reserved;
	__le64 bytes_copied;  /* of arguments, to gather and to scatter them */
	__le64 in_flight;     /* requests now, this one included */
	__le64 queued;	      /* of them, waiting for a plugin */
	__le64 worker_starts; /* of the device's worker process: 1 if it never died */
};

/* Requests of a kind that were answered. Kinds that there were none of have no row. */
struct virtio_accel_stats_row {
	__le32 kind;	    /* names it to the times below; not the same from daemon to daemon */
	__le32 reserved;
	char name[24];	    /* of the operation, "session_open", ..., or "undecoded" */
	__le64 results[32]; /* by enum virtio_accel_status */
};

/*
 * How long requests of a kind spent in a stage. Buckets 0 to 3 are 0 to 3 ns, from there on every power of two has
 * four of the same width; the last one, 143, has no end. Buckets before and behind those that follow are 0.
 */
struct virtio_accel_stats_time {
	__le32 len;	  /* of this struct and its buckets */
	__le32 kind;
	char stage[16];
	__le32 first;	  /* number of the first bucket that follows */
	__le32 n_buckets; /* that follow, 8 bytes each */
	__le64 count;
	__le64 sum_ns;
};

/* ---- Part 2: the character device -------------------------------------------------------------------- */

/*
 * Sessions, buffers and requests are handles of one open file and go with it. Handle 0 is none.
 * Calls return 0 or fail with an errno; for what the device refused the errno of its status is used.
 */
#define VACCEL_IOC_ABI 1

struct vaccel_ioc_info {
	__u32 abi;	  /* VACCEL_IOC_ABI */
	__u32 num_queues; /* that the driver uses */
	__u16 version_major;
	__u16 version_minor;
	__u32 max_sessions;
	__u32 max_buffers;
	__u32 max_args;
	__u32 max_extents;
	__u32 max_params_len;
	__u32 max_deadline_ms;
	__u32 reserved0;
	__u64 max_buffer_bytes;
	__u64 max_request_bytes;
	__u64 features; /* negotiated virtio feature bits */
	__u32 ops[8];
	__u64 reserved[4];
};

struct vaccel_ioc_session {
	__u32 flags;  /* 0 */
	__u32 handle; /* OPEN: out; CLOSE: in */
};

/* Memory that the driver allocates and registers with the device; map it with mmap(fd, size, mmap_offset). */
struct vaccel_ioc_buffer {
	__u32 session;
	__u32 flags;	   /* 0 */
	__u32 handle;	   /* CREATE: out; DESTROY: in */
	__u32 reserved;
	__u64 size;	   /* CREATE: in, bytes; rounded up to pages */
	__u64 mmap_offset; /* CREATE: out */
};

struct vaccel_ioc_arg {
	__u32 kind;	/* VIRTIO_ACCEL_ARG_EXTENTS: plain memory at addr; VIRTIO_ACCEL_ARG_BUFFER */
	__u32 dir;	/* enum virtio_accel_dir */
	__u32 buffer;	/* BUFFER: handle; otherwise 0 */
	__u32 reserved;
	__u64 addr;	/* EXTENTS: user address; otherwise 0. Pinned until the completion is delivered */
	__u64 offset;	/* BUFFER: first byte; otherwise 0 */
	__u64 len;
};

struct vaccel_ioc_request {
	__u32 session;
	__u32 op;
	__u32 flags;	   /* 0 */
	__u32 deadline_ms; /* from arrival at the device until it has to begin; 0: none */
	__u64 user_data;   /* comes back with the completion */
	__u64 params;	   /* address of the operation's parameters, in wire format */
	__u64 args;	   /* address of struct vaccel_ioc_arg [n_args] */
	__u32 params_len;
	__u32 n_args;
	__u64 id; /* out; names the request to CANCEL */
	__u64 reserved;
};

#define VACCEL_IOC_DETAIL 192

struct vaccel_ioc_completion {
	__u64 id;
	__u64 user_data;
	__u64 value;
	__u32 status;	  /* enum virtio_accel_status */
	__s32 error;	  /* 0 or a negative errno */
	__u32 detail_len; /* bytes of detail, which is NUL-terminated too */
	__u32 reserved;
	char detail[VACCEL_IOC_DETAIL];
};

/* Synchronous: SUBMIT and its completion in one call. Fails only if nothing was submitted. */
struct vaccel_ioc_run {
	struct vaccel_ioc_request request;
	struct vaccel_ioc_completion completion; /* out */
};

/* Takes completions of SUBMIT, oldest first; n is 0 if there were none in time. poll(2) reports POLLIN while there are
 * any, POLLHUP and POLLERR once the device is gone, then REAP fails with ENODEV when all completions are taken. */
struct vaccel_ioc_reap {
	__u64 completions; /* address of struct vaccel_ioc_completion [max] */
	__u32 max;
	__u32 n;	   /* out */
	__s64 timeout_ns;  /* for the first one; 0: do not wait; negative: wait for ever */
	__u64 reserved;
};

struct vaccel_ioc_cancel {
	__u64 id;
	__u64 reserved;
};

struct vaccel_ioc_query {
	__u32 what; /* enum virtio_accel_query */
	__u32 reserved;
	__u64 addr;
	__u64 len;     /* in: room at addr; out: bytes that there are, of which at most the room was filled */
};

#define VACCEL_IOC_MAGIC 0xb6
#define VACCEL_IOC_INFO		  _IOR(VACCEL_IOC_MAGIC, 0x00, struct vaccel_ioc_info)
#define VACCEL_IOC_SESSION_OPEN	  _IOWR(VACCEL_IOC_MAGIC, 0x01, struct vaccel_ioc_session)
#define VACCEL_IOC_SESSION_CLOSE  _IOW(VACCEL_IOC_MAGIC, 0x02, struct vaccel_ioc_session)
#define VACCEL_IOC_BUFFER_CREATE  _IOWR(VACCEL_IOC_MAGIC, 0x03, struct vaccel_ioc_buffer)
#define VACCEL_IOC_BUFFER_DESTROY _IOW(VACCEL_IOC_MAGIC, 0x04, struct vaccel_ioc_buffer)
#define VACCEL_IOC_SUBMIT	  _IOWR(VACCEL_IOC_MAGIC, 0x05, struct vaccel_ioc_request)
#define VACCEL_IOC_RUN		  _IOWR(VACCEL_IOC_MAGIC, 0x06, struct vaccel_ioc_run)
#define VACCEL_IOC_REAP		  _IOWR(VACCEL_IOC_MAGIC, 0x07, struct vaccel_ioc_reap)
#define VACCEL_IOC_CANCEL	  _IOW(VACCEL_IOC_MAGIC, 0x08, struct vaccel_ioc_cancel)
#define VACCEL_IOC_QUERY	  _IOWR(VACCEL_IOC_MAGIC, 0x09, struct vaccel_ioc_query)

#endif /* _UAPI_VIRTIO_ACCEL_H */
