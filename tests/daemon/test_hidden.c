/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that have keys, or may get them, are not to be looked at by others of their user and leave no core files, even
 * without a sandbox. This program gives up its capabilities, so that it is such another user, root or not.
 */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/crypt.h"
#include "util/util.h"

static const uint8_t key[16] = "not to be seen";

static void give_up_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	/* Nor shall the daemon have any, whose memory would be protected by them. */
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	assert_int_equal(syscall(SYS_capset, &header, none), 0);
}

static void start(const char *config, const char *device)
{
	const struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };
	char text[1024];

	setrlimit(RLIMIT_CORE, &any);
	snprintf(text, sizeof(text),
		 "[order]\ndefault = fault openssl reference\n[engine]\nqueues = 2\nthreads = 2\n[sandbox]\nmode = "
		 "off\n%s",
		 config);
	assert_int_equal(daemon_prepare(&rig_daemon, text), 0);
	rig_daemon.words[0] = device;
	setenv("XDG_CACHE_HOME", rig_daemon.folder, 1);
	/* Where a core file would be. */
	assert_int_equal(chdir(rig_daemon.folder), 0);
	assert_int_equal(daemon_start(&rig_daemon), 0);
}

static void stop(void)
{
	assert_int_equal(chdir("/"), 0);
	rig_stop();
}

static bool can_look(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		assert_true(errno == EACCES || errno == EPERM);
	close_fd(&fd);
	return fd >= 0;
}

static bool may_dump(pid_t pid)
{
	char path[64], line[128];
	bool may = true;
	FILE *limits;

	snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	limits = fopen(path, "re");
	assert_non_null(limits);
	while (fgets(line, sizeof(line), limits))
		if (!strncmp(line, "Max core file size", 18))
			may = strtoul(line + 18, NULL, 10) > 0 || strstr(line, "unlimited");
	fclose(limits);
	return may;
}

static void expect_hidden(pid_t pid, bool hidden)
{
	assert_int_equal(can_look(pid), !hidden);
	assert_int_equal(may_dump(pid), !hidden);
}

/* With a fault of the worker; true: its memory is in a file now. */
static bool leaves_core(void)
{
	pid_t pid = rig_worker(0);
	char name[32];

	kill(pid, SIGSEGV);
	rig_worker(pid);
	rig_wait_gone(pid);
	snprintf(name, sizeof(name), "core.%d", (int)pid);
	return access("core", F_OK) == 0 || access(name, F_OK) == 0;
}

/* Without keys and without a sandbox everything is to be seen; from the first key on nothing is. */
static void from_the_first_key_on(void **state)
{
	struct guest *g;
	uint64_t id;

	start("", NULL);
	g = guest_open_all();
	guest_works(g);
	expect_hidden(rig_worker(0), false);
	/* The supervisor has descriptors of all that a worker will put keys into. */
	assert_false(can_look(rig_daemon.pid));
	if (!leaves_core())
		print_message("core files go elsewhere here: only the limit of their size is looked at\n");
	unlink("core");
	guest_works(g);
	expect_hidden(rig_worker(0), false);
	id = guest_import(g, g->session, key, sizeof(key), 1);
	expect_hidden(rig_worker(0), true);
	assert_false(leaves_core());
	/* The next worker has the key from the beginning. */
	guest_works(g);
	expect_hidden(rig_worker(0), true);
	guest_crypt(g, 0, g->session, id, VIRTIO_ACCEL_S_OK);
	guest_close(g);
	stop();
}

static void with_a_held_key(void **state)
{
	char config[256], path[128];
	struct guest *g;
	int fd;

	snprintf(path, sizeof(path), "/tmp/vaccel-test-key.%d", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, key, sizeof(key)), sizeof(key));
	close(fd);
	snprintf(config, sizeof(config),
		 "[key backup]\nfile = %s\nformat = raw\ncipher = aes-128-cbc\nallow = encrypt decrypt\n", path);
	start(config, NULL);
	g = guest_open_all();
	expect_hidden(rig_worker(0), true);
	assert_false(leaves_core());
	guest_close(g);
	unlink(path);
	stop();
}

/* Keys come to the supervisor, in messages. */
static void crypto_device(void **state)
{
	struct session_plan plan = crypt_cbc(SESSION_OLD, key, sizeof(key), VIRTIO_CRYPTO_OP_ENCRYPT);
	struct error error = { 0 };
	struct crypt *c;
	int64_t id = -1;

	start("", "--device=crypto");
	if (crypt_open(rig_daemon.socket, false, &c, &error) < 0)
		fail_msg("%s", error.text);
	expect_hidden(rig_worker(0), true);
	expect_hidden(rig_daemon.pid, true);
	if (crypt_create(c, &plan, &id, &error) < 0)
		fail_msg("%s", error.text);
	assert_true(id >= 0);
	expect_hidden(rig_worker(0), true);
	assert_false(leaves_core());
	crypt_close(c);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_the_first_key_on),
		cmocka_unit_test(with_a_held_key),
		cmocka_unit_test(crypto_device),
	};

	give_up_capabilities();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
