/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See attack.h. Attempts of two kinds: those with a result of their own (a file that opens), and those that only show
 * whether a system call reaches the kernel: an error that the call itself has thought of counts as having worked.
 */
#include "attack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct attempt {
	const char *name;
	int (*run)(const char *argument, const char *folder); /* 0: it worked; else the errno */
	const char *const *arguments;			      /* NULL: it has none */
};

/* A descriptor that should not have been had. */
static int opened(int fd)
{
	int error = errno;

	if (fd < 0)
		return error;
	close(fd);
	return 0;
}

/* The call got through to the kernel, if only to be told that its arguments are wrong. */
static int reached(long result)
{
	int error = errno;

	return result < 0 && (error == EPERM || error == EACCES || error == ENOSYS) ? error : 0;
}

/* The same for calls that make descriptors. */
static int reached_fd(long fd)
{
	return fd >= 0 ? opened((int)fd) : reached(fd);
}

static pid_t process(const char *argument)
{
	return !strcmp(argument, "parent") ? getppid() : (pid_t)atoi(argument);
}

/* ---- Files ---- */

static int open_file(const char *path, const char *folder)
{
	return opened(open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

static int write_file(const char *path, const char *folder)
{
	return opened(open(path, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

static int create_file(const char *parent, const char *folder)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/vaccel-attack-%d", parent, (int)gettid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlink(path);
	return opened(fd);
}

static int of_parent(const char *name, const char *folder)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)getppid(), name);
	return open_file(path, folder);
}

/* By a name in the folder that may be used. */
static int through(int made, const char *name, const char *folder)
{
	char path[4096];
	int error = errno;

	if (made < 0)
		return error;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	error = open_file(path, folder);
	unlink(path);
	return error;
}

static int open_symlink(const char *path, const char *folder)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/soft", folder);
	return through(symlink(path, name), "soft", folder);
}

static int open_hardlink(const char *path, const char *folder)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s/hard", folder);
	return through(link(path, name), "hard", folder);
}

static int open_handle(const char *path, const char *folder)
{
	struct file_handle handle = { .handle_bytes = 0 };
	int mount = 0;

	return reached(name_to_handle_at(AT_FDCWD, path, &handle, &mount, 0));
}

static int change_mode(const char *path, const char *folder)
{
	return reached(chmod(path, 0));
}

/* ---- Sockets ---- */

static const struct {
	const char *name;
	int family, type;
} sockets[] = {
	{ "unix", AF_UNIX, SOCK_STREAM },
	{ "inet", AF_INET, SOCK_STREAM },
	{ "inet6", AF_INET6, SOCK_DGRAM },
	{ "netlink", AF_NETLINK, SOCK_RAW },
	{ "packet", AF_PACKET, SOCK_DGRAM },
	{ "alg", AF_ALG, SOCK_SEQPACKET },
	/* Of a type that this family has not: no such socket comes to be, wherever this runs. */
	{ "vsock", AF_VSOCK, SOCK_RDM + 5 },
};

static int make_socket(const char *name, const char *folder)
{
	for (size_t i = 0; i < LENGTH(sockets); i++)
		if (!strcmp(sockets[i].name, name))
			return reached_fd(socket(sockets[i].family, sockets[i].type | SOCK_CLOEXEC, 0));
	return EINVAL;
}

static int make_pair(const char *none, const char *folder)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return errno;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

/* On descriptor 0, which is no socket: a call that gets through says ENOTSOCK. */
static int connect_to(const char *path, const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	r = connect(fd >= 0 ? fd : 0, (struct sockaddr *)&address, sizeof(address));
	r = reached(r);
	if (fd >= 0)
		close(fd);
	return r;
}

static int bind_or_listen(const char *none, const char *folder)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r = reached(bind(0, (struct sockaddr *)&address, sizeof(address)));

	return r ? reached(listen(0, 1)) : 0;
}

/* ---- Programs ---- */

static int make_process(const char *none, const char *folder)
{
	pid_t pid = fork();
	int error = errno;

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return error;
	waitpid(pid, NULL, 0);
	return 0;
}

static int make_process_by_clone(const char *flags, const char *folder)
{
	long pid = syscall(SYS_clone, (unsigned long)strtoul(flags, NULL, 0) | SIGCHLD, NULL, NULL, NULL, NULL);
	int error = errno;

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
	return pid < 0 ? error : 0;
}

static int run_program(const char *path, const char *folder)
{
	char *const argv[] = { (char *)path, NULL };
	pid_t pid = vfork();
	int error = errno, status = 0;

	if (pid == 0) {
		execv(path, argv);
		_exit(127);
	}
	if (pid < 0)
		return error;
	waitpid(pid, &status, 0);
	return status ? EPERM : 0;
}

/* Of a file that is not there, or this process would be no more. */
static int become_program(const char *none, const char *folder)
{
	char *const argv[] = { NULL };
	int r = reached(execve("/nonexistent", argv, argv));

	return r ? reached(syscall(SYS_execveat, -1, "/nonexistent", argv, argv, 0)) : 0;
}

/* ---- Processes ---- */

static int read_memory(const char *argument, const char *folder)
{
	char byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)(uintptr_t)4096, 1 };

	return reached(process_vm_readv(process(argument), &local, 1, &remote, 1, 0));
}

static int write_memory(const char *argument, const char *folder)
{
	char byte = 0;
	struct iovec local = { &byte, 1 }, remote = { NULL, 1 };

	return reached(process_vm_writev(process(argument), &local, 1, &remote, 1, 0));
}

struct tracing {
	pid_t pid;
	int result;
};

static void *trace_in_thread(void *opaque)
{
	struct tracing *tracing = opaque;

	tracing->result = reached(ptrace(PTRACE_SEIZE, tracing->pid, NULL, NULL));
	return NULL;
}

/* In a thread, whose end is the end of its tracing. */
static int trace(const char *argument, const char *folder)
{
	struct tracing tracing = { .pid = process(argument), .result = EAGAIN };
	pthread_t thread;

	if (pthread_create(&thread, NULL, trace_in_thread, &tracing))
		return EAGAIN;
	pthread_join(thread, NULL);
	return tracing.result;
}

static int send_signal(const char *argument, const char *folder)
{
	return reached(kill(process(argument), 0));
}

static int send_thread_signal(const char *argument, const char *folder)
{
	return reached(syscall(SYS_tgkill, process(argument), process(argument), 0));
}

static int queue_signal(const char *argument, const char *folder)
{
	union sigval value = { .sival_int = 0 };

	return reached(sigqueue(process(argument), 0, value));
}

static int by_pidfd(const char *argument, const char *folder)
{
	int fd = (int)syscall(SYS_pidfd_open, process(argument), 0);

	return fd < 0 ? reached(fd) : opened(fd);
}

static int change_limits(const char *argument, const char *folder)
{
	struct rlimit limit;

	return reached(prlimit(process(argument), RLIMIT_NOFILE, NULL, &limit));
}

static int compare(const char *argument, const char *folder)
{
	return reached(syscall(SYS_kcmp, getpid(), process(argument), 0, 0, 0));
}

/* ---- The kernel ---- */

static int mount_here(const char *none, const char *folder)
{
	char path[4096];
	int r;

	snprintf(path, sizeof(path), "%s/mnt", folder);
	mkdir(path, 0700);
	r = reached(mount("none", path, "tmpfs", 0, NULL));
	umount2(path, MNT_DETACH);
	rmdir(path);
	return r;
}

static int unmount(const char *none, const char *folder)
{
	return reached(umount2("/nonexistent", 0));
}

static int change_root(const char *none, const char *folder)
{
	return reached(chroot("/"));
}

static int unshare_thread(const char *none, const char *folder)
{
	return reached(unshare(CLONE_FS));
}

static int enter_namespace(const char *none, const char *folder)
{
	return reached(setns(-1, 0));
}

static int load_bpf(const char *none, const char *folder)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };

	return reached_fd(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int make_uring(const char *none, const char *folder)
{
	char params[256] = { 0 };

	return reached_fd(syscall(SYS_io_uring_setup, 1, params));
}

static int catch_faults(const char *none, const char *folder)
{
	return reached_fd(syscall(SYS_userfaultfd, O_CLOEXEC));
}

static int count_events(const char *none, const char *folder)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .exclude_kernel = 1 };

	return reached_fd(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}

static int use_keys(const char *none, const char *folder)
{
	int r = reached(syscall(SYS_keyctl, 0, -3, 0));

	return r ? reached(syscall(SYS_add_key, "user", NULL, NULL, 0, -3)) : 0;
}

static int load_module(const char *none, const char *folder)
{
	return reached(syscall(SYS_init_module, NULL, 0, ""));
}

static int read_log(const char *none, const char *folder)
{
	return reached(syscall(SYS_syslog, 10, NULL, 0));
}

static int watch_files(const char *none, const char *folder)
{
	return reached_fd(syscall(SYS_inotify_init1, O_CLOEXEC));
}

static int share_memory(const char *none, const char *folder)
{
	return reached(syscall(SYS_shmget, 0x76616363, 4096, 0));
}

static int use_device(const char *none, const char *folder)
{
	int n;

	return reached(ioctl(STDERR_FILENO, FIONREAD, &n));
}

static int change_user(const char *none, const char *folder)
{
	return reached(syscall(SYS_setresuid, -1, -1, -1));
}

static int change_capabilities(const char *none, const char *folder)
{
	return reached(syscall(SYS_capset, NULL, NULL));
}

static int change_process(const char *none, const char *folder)
{
	int dumpable = prctl(PR_GET_DUMPABLE);

	return reached(prctl(PR_SET_DUMPABLE, dumpable < 0 ? 1 : dumpable));
}

/* ---- Memory ---- */

/* Files and shared memory of its own would be memory that no limit counts. */
static int make_memory_file(const char *none, const char *folder)
{
	return opened(memfd_create("vaccel-attack", MFD_CLOEXEC));
}

static int mapped(void *map, size_t len)
{
	int error = errno;

	if (map == MAP_FAILED)
		return error;
	munmap(map, len);
	return 0;
}

static int map_shared(const char *none, const char *folder)
{
	return mapped(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), 4096);
}

static int map_much(const char *none, const char *folder)
{
	const size_t len = (size_t)1 << 42;

	return mapped(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), len);
}

/* ---- All of them ---- */

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const struct attempt attempts[] = {
	{ "open", open_file,
	  WORDS("/", "/etc/passwd", "/etc/hostname", "/proc/self/mem", "/proc/self/environ", "/proc/self/maps",
		"/proc/1/stat", "/proc/cpuinfo", "/sys/kernel", "/usr/bin/env", "/tmp", "/dev/null", "/dev/mem",
		"/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/proc/self/fd/2") },
	{ "open-parent", of_parent,
	  WORDS("mem", "environ", "maps", "fd", "fd/0", "fd/3", "fd/4", "fd/5", "root", "cwd/") },
	{ "open-symlink", open_symlink, WORDS("/etc/passwd") },
	{ "open-hardlink", open_hardlink, WORDS("/etc/hostname") },
	{ "open-handle", open_handle, WORDS("/") },
	{ "write", write_file,
	  WORDS("/dev/null", "/proc/self/oom_score_adj", "/proc/self/mem", "/proc/sys/kernel/core_pattern") },
	{ "create", create_file, WORDS("/", "/tmp", "/dev/shm", "/var/tmp", "/run") },
	{ "chmod", change_mode, WORDS("/nonexistent") },
	{ "socket", make_socket, WORDS("unix", "inet", "inet6", "netlink", "packet", "alg", "vsock") },
	{ "socketpair", make_pair },
	{ "connect", connect_to, WORDS("/nonexistent") },
	{ "bind", bind_or_listen },
	{ "fork", make_process },
	{ "clone", make_process_by_clone, WORDS("0", "0x10000000", "0x4000" /* NEWUSER, VFORK */) },
	{ "spawn", run_program, WORDS("/bin/true") },
	{ "exec", become_program },
	{ "read-memory", read_memory, WORDS("parent") },
	{ "write-memory", write_memory, WORDS("parent") },
	{ "trace", trace, WORDS("parent") },
	{ "signal", send_signal, WORDS("parent", "1", "-1") },
	{ "thread-signal", send_thread_signal, WORDS("parent") },
	{ "queue-signal", queue_signal, WORDS("parent") },
	{ "pidfd", by_pidfd, WORDS("parent") },
	{ "limits", change_limits, WORDS("parent") },
	{ "compare", compare, WORDS("parent") },
	{ "mount", mount_here },
	{ "unmount", unmount },
	{ "chroot", change_root },
	{ "unshare", unshare_thread },
	{ "setns", enter_namespace },
	{ "bpf", load_bpf },
	{ "io_uring", make_uring },
	{ "userfaultfd", catch_faults },
	{ "perf", count_events },
	{ "keys", use_keys },
	{ "module", load_module },
	{ "syslog", read_log },
	{ "inotify", watch_files },
	{ "shmget", share_memory },
	{ "ioctl", use_device },
	{ "setuid", change_user },
	{ "capset", change_capabilities },
	{ "dumpable", change_process },
	{ "memfd", make_memory_file },
	{ "map-shared", map_shared },
	{ "map-much", map_much },
};

static void report(FILE *out, const struct attempt *attempt, const char *argument, const char *folder)
{
	int error;

	errno = 0;
	error = attempt->run(argument, folder);
	fprintf(out, "%s%s%s: %s\n", attempt->name, *argument ? " " : "", argument,
		error ? strerrorname_np(error) : "worked");
}

/* One line of FOLDER/targets. */
static void report_target(FILE *out, char *line, const char *folder)
{
	char *argument = strchr(line, ' ');

	line[strcspn(line, "\n")] = '\0';
	if (argument)
		*argument++ = '\0';
	for (size_t i = 0; i < LENGTH(attempts); i++)
		if (!strcmp(attempts[i].name, line)) {
			report(out, &attempts[i], argument ? argument : "", folder);
			return;
		}
	fprintf(out, "%s: no such attempt\n", line);
}

static void report_targets(FILE *out, const char *folder)
{
	char path[4096], line[4096];
	FILE *in;

	snprintf(path, sizeof(path), "%s/targets", folder);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		report_target(out, line, folder);
	if (in)
		fclose(in);
}

int fault_attack(const char *folder)
{
	char unfinished[4096], path[4096];
	FILE *out;

	if (snprintf(unfinished, sizeof(unfinished), "%s/report.new", folder) >= (int)sizeof(unfinished) ||
	    snprintf(path, sizeof(path), "%s/report", folder) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	out = fopen(unfinished, "we");
	if (!out)
		return -errno;
	for (size_t i = 0; i < LENGTH(attempts); i++) {
		for (size_t j = 0; attempts[i].arguments && attempts[i].arguments[j]; j++)
			report(out, &attempts[i], attempts[i].arguments[j], folder);
		if (!attempts[i].arguments)
			report(out, &attempts[i], "", folder);
	}
	report_targets(out, folder);
	if (fclose(out) || rename(unfinished, path))
		return -errno;
	return 0;
}
