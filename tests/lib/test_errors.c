/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting to what is not there, or not allowed; which transport is taken; <vaccel/basic.h>. */
#include "fixture.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <vaccel/basic.h>

static int try(const char *url)
{
	const struct vaccel_context_options options = { .size = sizeof(options), .transport = url };
	struct vaccel_context *context = NULL;
	int r = vaccel_context_new(&options, &context);

	if (r == 0)
		vaccel_context_free(context);
	else
		assert_null(context);
	return r;
}

static const char *in_folder(const char *scheme, const char *name)
{
	static char url[160];

	snprintf(url, sizeof(url), "%s:%s/%s", scheme, fixture_daemon.folder, name);
	return url;
}

/* A socket file that nobody listens on any more. */
static void dead_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

static void test_nothing_there(void **state)
{
	char url[256];

	assert_error(try("tcp:host:1"), -EINVAL, "transport tcp:host:1: not known");
	assert_error(try("local"), -EINVAL, "transport local: not known");
	assert_error(try(in_folder("local", "none.conf")), -ENOENT, "none.conf");
	snprintf(url, sizeof(url), "transport %s: cannot connect: there is no such socket (ENOENT)",
		 in_folder("shm", "none.sock"));
	assert_error(try(in_folder("shm", "none.sock")), -ENOENT, url);
	dead_socket(strchr(in_folder("shm", "dead.sock"), ':') + 1);
	assert_error(try(in_folder("shm", "dead.sock")), -ECONNREFUSED, "no daemon listens there (ECONNREFUSED)");
	assert_error(try("shm:"), -EINVAL, "path");
	memset(url, 'x', sizeof(url));
	memcpy(url, "shm:/", 5);
	url[sizeof(url) - 1] = 0;
	assert_error(try(url), -ENAMETOOLONG, "path");
	assert_error(try(in_folder("virtio", "none")), -ENOENT, "there is no such device (ENOENT)");
	assert_error(try("virtio:/dev/null"), -ENODEV, "not a vaccel device");
}

/* In a child without privileges; 0: as it should be. */
static int without_permission(void)
{
	struct vaccel_context_options options = { .size = sizeof(options) };
	struct vaccel_context *context;

	if (setgid(65534) < 0 || setuid(65534) < 0)
		return 77;
	options.transport = in_folder("shm", "dead.sock");
	if (vaccel_context_new(&options, &context) != -EACCES || !strstr(vaccel_error(), "no permission (EACCES)"))
		return 1;
	options.transport = in_folder("virtio", "device");
	if (vaccel_context_new(&options, &context) != -EACCES || !strstr(vaccel_error(), "no permission"))
		return 2;
	return 0;
}

static void test_no_permission(void **state)
{
	FILE *file;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	chmod(fixture_daemon.folder, 0755);
	chmod(strchr(in_folder("shm", "dead.sock"), ':') + 1, 0600);
	file = fopen(strchr(in_folder("virtio", "device"), ':') + 1, "we");
	assert_non_null(file);
	fclose(file);
	chmod(strchr(in_folder("virtio", "device"), ':') + 1, 0600);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(without_permission());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_choice(void **state)
{
	struct vaccel_info info = { .size = sizeof(info) };
	struct vaccel_context *context;

	setenv("VACCEL_TRANSPORT", "shm:/nowhere", 1);
	assert_error(try(NULL), -ENOENT, "transport shm:/nowhere");
	/* What the call says comes first. */
	assert_ok(try(fixture_url));
	setenv("VACCEL_TRANSPORT", fixture_url, 1);
	assert_ok(vaccel_context_new(NULL, &context));
	assert_ok(vaccel_context_info(context, &info));
	assert_string_equal(info.transport, fixture_url);
	/* A process has one engine of its own: a second context joins it, with another configuration it cannot. */
	assert_ok(try(fixture_url));
	if (!fixture_remote)
		assert_error(try("local:"), -EBUSY, fixture_daemon.config);
	vaccel_context_free(context);
	unsetenv("VACCEL_TRANSPORT");
}

static void test_nothing_serves(void **state)
{
	const struct vaccel_context_options options = { .size = sizeof(options),
							.transport = in_folder("local", "none-serves.conf") };
	struct vaccel_op_info op = { .size = sizeof(op) };
	struct vaccel_context *context;
	struct vaccel_session *session;
	FILE *file = fopen(strchr(options.transport, ':') + 1, "we");

	assert_non_null(file);
	fputs("[order]\ndefault = no-such-plugin\n", file);
	fclose(file);
	/* A plugin that is missing is reported, not fatal. */
	assert_ok(vaccel_context_new(&options, &context));
	assert_ok(vaccel_context_op(context, VACCEL_OP_SGEMM, &op));
	assert_string_equal(op.plugin, "");
	assert_string_equal(op.name, "sgemm");
	assert_ok(vaccel_session_open(context, &session));
	assert_error(vaccel_sgemm(session, VACCEL_ROW_MAJOR, VACCEL_NO_TRANS, VACCEL_NO_TRANS, 1, 1, 1, 1,
				  (float[]){ 1 }, 1, (float[]){ 1 }, 1, 0, (float[]){ 1 }, 1),
		     -EOPNOTSUPP, "sgemm");
	vaccel_context_free(context);
}

static void test_basic(void **state)
{
	const float a[] = { 1, 2, 3, 4 }, b[] = { 5, 6, 7, 8 };
	const double da[] = { 1, 2, 3, 4 };
	float c[4] = { 0 };
	double dc[4] = { 0 };
	const struct vaccel_gemm gemm = { .order = VACCEL_ROW_MAJOR,
					  .transa = VACCEL_NO_TRANS,
					  .transb = VACCEL_NO_TRANS,
					  .m = 2,
					  .n = 2,
					  .k = 2,
					  .lda = 2,
					  .ldb = 2,
					  .ldc = 2,
					  .alpha = 1 };
	struct vaccel_sgemm_input in = { .size = sizeof(in), .gemm = gemm, .a = a, .b = b };
	struct vaccel_sgemm_output out = { .size = sizeof(out), .c = c };
	struct vaccel_dgemm_input din = { .size = sizeof(din), .gemm = gemm, .a = da, .b = da };
	struct vaccel_dgemm_output dout = { .size = sizeof(dout), .c = dc };
	uint8_t available[VACCEL_OPERATIONS_MAX];
	vaccel_session_t *session;

	assert_error(vaccel_get_operations(NULL), -EINVAL, "operations");
	setenv("VACCEL_TRANSPORT", "shm:/nowhere", 1);
	memset(available, 9, sizeof(available));
	assert_error(vaccel_get_operations(available), -ENOENT, "shm:/nowhere");
	assert_int_equal(available[0], 9);
	errno = 0;
	assert_null(create_vaccel_session());
	assert_int_equal(errno, ENOENT);
	setenv("VACCEL_TRANSPORT", fixture_url, 1);
	assert_ok(vaccel_get_operations(available));
	/* The plugin's, and those of keys, which need none. Ciphers are there if this build has them. */
	for (int i = 0; i < VACCEL_OPERATIONS_MAX; i++)
		if (i != VACCEL_OP_CIPHER && i != VACCEL_OP_AKCIPHER)
			assert_int_equal(available[i], i <= VACCEL_OP_DGEMM ||
							       (i >= VACCEL_OP_KEY_IMPORT && i <= VACCEL_OP_KEY_FREE));
	session = create_vaccel_session();
	assert_non_null(session);
	assert_ok(do_operation(session, VACCEL_OP_NOOP, NULL, NULL));
	assert_error(do_operation(session, VACCEL_OP_NOOP, &in, NULL), -EINVAL, "noop");
	assert_ok(do_operation(session, VACCEL_OP_SGEMM, &in, &out));
	assert_true(c[0] == 19 && c[1] == 22 && c[2] == 43 && c[3] == 50);
	assert_ok(do_operation(session, VACCEL_OP_DGEMM, &din, &dout));
	assert_true(dc[0] == 7 && dc[1] == 10 && dc[2] == 15 && dc[3] == 22);
	assert_error(do_operation(session, 99, &in, &out), -EOPNOTSUPP, "99");
	assert_error(do_operation(NULL, VACCEL_OP_NOOP, NULL, NULL), -EINVAL, "session");
	assert_error(do_operation(session, VACCEL_OP_SGEMM, NULL, &out), -EINVAL, "vaccel_sgemm_input");
	assert_error(do_operation(session, VACCEL_OP_SGEMM, &in, NULL), -EINVAL, "vaccel_sgemm_output");
	in.size = 0;
	assert_error(do_operation(session, VACCEL_OP_SGEMM, &in, &out), -EINVAL, "vaccel_sgemm_input");
	in.size = sizeof(in);
	in.gemm.reserved = 1;
	assert_error(do_operation(session, VACCEL_OP_SGEMM, &in, &out), -EINVAL, "reserved");
	in.gemm.reserved = 0;
	in.gemm.lda = 1;
	assert_error(do_operation(session, VACCEL_OP_SGEMM, &in, &out), -EINVAL, "lda");
	assert_ok(destroy_vaccel_session(session));
	assert_ok(destroy_vaccel_session(NULL));
	session = create_vaccel_session();
	assert_non_null(session);
	assert_ok(destory_vaccel_session(session));
	unsetenv("VACCEL_TRANSPORT");
}

static int run(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_there), cmocka_unit_test(test_no_permission),
		cmocka_unit_test(test_choice),	      cmocka_unit_test(test_nothing_serves),
		cmocka_unit_test(test_basic),
	};

	return cmocka_run_group_tests(tests, fixture_start, fixture_stop);
}

int main(int argc, char **argv)
{
	return fixture_main(argc, argv, run);
}
