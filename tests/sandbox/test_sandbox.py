# SPDX-License-Identifier: Apache-2.0
"""A worker that is taken over: plugin fault tries what it must not be able to do (plugins/fault/attack.c).

The same attempts are made without a sandbox, where they have to work: so it is the sandbox that stops them.
From the environment: VACCEL, VACCELD, VACCEL_WITHOUT (programs), VACCEL_PLUGIN_DIR.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
VACCEL, VACCELD, WITHOUT = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD", "VACCEL_WITHOUT"))
STUCK = 120
CAPSET, PROCESS_VM_READV = {"x86_64": (126, 310), "aarch64": (91, 270)}.get(os.uname().machine, (None, None))

# Work without a sandbox for anybody, on any machine.
HARMLESS = {"open /etc/passwd", "open /proc/self/mem", "open /proc/self/environ", "open /proc/cpuinfo", "open /usr/bin/env",
            "open /", "open /tmp", "open-symlink /etc/passwd", "open-handle /", "write /dev/null", "create /tmp",
            "chmod /nonexistent", "socket unix", "socketpair", "connect /nonexistent", "bind", "fork", "clone 0",
            "spawn /bin/true", "exec", "signal parent", "thread-signal parent", "queue-signal parent", "pidfd parent",
            "limits parent", "unshare", "keys", "inotify", "shmget", "ioctl", "setuid", "capset", "dumpable", "memfd",
            "map-shared"}


def until(what, condition):
    deadline = time.monotonic() + STUCK
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"stuck waiting for {what}")
        time.sleep(0.01)
    return value


class Daemon:
    """A vacceld whose plugin fault attacks when it is asked for a no-op."""

    def __init__(self, folder, name, sandbox, wrap=(), plugin="fault", models=""):
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir()
        self.socket = self.folder / "sock"
        self.cache = self.folder / "cache" / plugin
        self.log = self.folder / "log"
        config = self.folder / "vaccel.conf"
        config.write_text(f"[engine]\nthreads = 2\ncache_dir = {self.folder}/cache\n[order]\ndefault = {plugin}\n"
                          f"[sandbox]\n{sandbox}\n[plugin {plugin}]\nrules = op=noop attack\n[models]\ndir = {models}\n")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by stop()
                [*wrap, VACCELD, f"--config={config}", f"--socket-path={self.socket}"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        self.pid = self.process.pid

    def said(self):
        return self.log.read_text(errors="replace")

    def worker(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"vacceld ended with status {self.process.returncode}: {self.said()}")
            children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [int(pid) for pid in children if f"worker {pid} is ready" in self.said()]
        return until("a worker that is ready", ready)[0]

    def ping(self):
        return subprocess.run([VACCEL, "ping", "-t", f"shm:{self.socket}"], capture_output=True, text=True,
                              timeout=STUCK, check=False)

    def sgemm(self):
        return subprocess.run([VACCEL, "sgemm", "-t", f"shm:{self.socket}", "-m", "9", "-n", "9", "-k", "9"],
                              capture_output=True, text=True, timeout=STUCK, check=False)

    def attack(self, targets=()):
        """What came of each attempt."""
        (self.cache / "targets").write_text("".join(f"{line}\n" for line in targets))
        result = self.ping()
        if result.returncode != 0:
            raise AssertionError(f"the attack was not reported: {result.stderr}{self.said()}")
        rows = (self.cache / "report").read_text().splitlines()
        return dict(row.rsplit(": ", 1) for row in rows)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(STUCK)


class Sandbox(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="vaccel-test.")  # pylint: disable=consider-using-with
        self.addCleanup(self.folder.cleanup)

    def start(self, name, sandbox="", wrap=(), **more):
        daemon = Daemon(self.folder.name, name, sandbox, wrap, **more)
        self.addCleanup(daemon.stop)
        return daemon

    def targets(self, daemon, other):
        """What is another tenant's, or the daemon's own but not the worker's."""
        lines = [f"open {path}" for path in (
            daemon.folder, daemon.folder / "vaccel.conf", daemon.folder / "cache", other.folder, other.socket,
            other.folder / "log", other.cache, other.cache / "secret", f"{daemon.cache}/../../../{other.folder.name}")]
        lines += [f"create {path}" for path in (daemon.folder, daemon.folder / "cache", other.cache)]
        lines += [f"connect {path}" for path in (daemon.socket, other.socket)]
        for pid in (other.pid, other.worker()):
            lines += [f"{what} {pid}" for what in ("read-memory", "write-memory", "trace", "signal", "thread-signal",
                                                   "queue-signal", "pidfd", "limits", "compare")]
            lines += [f"open /proc/{pid}/{what}" for what in ("mem", "maps", "environ", "fd")]
        # The other's memory files: its state, with the supervisor.
        lines += [f"open {path}" for path in sorted(pathlib.Path(f"/proc/{other.pid}/fd").iterdir())
                  if "memfd:" in os.readlink(path)]
        return lines

    def test_closed(self):
        """In its sandbox, a worker can do what its plugins declared and nothing else."""
        daemon, other = self.start("a"), self.start("b")
        daemon.worker()
        other.worker()
        (other.cache / "secret").write_text("secret")
        declared = [f"open {daemon.cache}/targets", f"write {daemon.cache}/targets", f"create {daemon.cache}",
                    f"open {daemon.cache}"]
        targets = self.targets(daemon, other)
        results = daemon.attack(declared + targets)
        self.assertLessEqual(set(targets) | HARMLESS, set(results))
        expected = set(declared)
        if "a limit of memory" in daemon.said():  # a build with sanitizers
            expected |= {"map-much", "map-shared"} & {name for name, result in results.items() if result == "worked"}
        self.assertEqual({name for name, result in results.items() if result == "worked"}, expected)

    def test_open(self):
        """Without one, what is tried works: that it does not above is the sandbox's doing."""
        daemon, other = self.start("a", "mode = off"), self.start("b", "mode = off")
        daemon.worker()
        other.worker()
        (other.cache / "secret").write_text("secret")
        targets = self.targets(daemon, other)
        results = daemon.attack(targets)
        self.assertIn("sandbox: off", daemon.said())
        failed = {name: results[name] for name in HARMLESS | set(targets)
                  if results[name] != "worked" and not name.startswith(("open-parent", "compare", f"open {other.socket}"))}
        # Only with rights that not every user has.
        if os.geteuid() != 0:
            failed = {name: result for name, result in failed.items() if result not in ("EPERM", "EACCES")}
        self.assertEqual(failed, {})

    def test_models(self):
        """Who needs models reads below their folder, at any time, and does nothing else there or elsewhere."""
        models = pathlib.Path(self.folder.name, "models")
        (models / "digits").mkdir(parents=True)
        (models / "digits" / "model.conf").write_text("[model]\n")
        outside = pathlib.Path(self.folder.name, "outside")
        outside.write_text("secret")
        (models / "digits" / "out").symlink_to(outside)
        readable = [f"open {path}" for path in (models, models / "digits", models / "digits" / "model.conf")]
        targets = [f"write {models}/digits/model.conf", f"create {models}", f"create {models}/digits",
                   f"open {models}/digits/out", f"open {models}/..", f"open {outside}", f"open {models}/digits/../../outside"]
        daemon = self.start("a", plugin="fault-models", models=models)
        daemon.worker()
        results = daemon.attack(readable + targets)
        worked = {name for name, result in results.items() if result == "worked"}
        self.assertEqual({name for name in worked if name.startswith(("open ", "write ", "create "))}, set(readable))
        # Watching has no right of its own.
        expected = set(readable) | {"inotify"}
        if "a limit of memory" in daemon.said():  # a build with sanitizers
            expected |= {"map-much", "map-shared"} & worked
        self.assertEqual(worked, expected)
        # Without a folder there is nothing to read.
        daemon = self.start("b", plugin="fault-models")
        daemon.worker()
        results = daemon.attack(readable)
        self.assertEqual({results[name] for name in readable + ["inotify"]} & {"worked"}, set())

    def test_every_thread(self):
        """Also those that were there before the sandbox closed."""
        pid = self.start("a").worker()
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
            with self.subTest(status["Name"]):
                self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
                for caps in ("CapInh", "CapPrm", "CapEff", "CapAmb") + (("CapBnd",) if os.geteuid() == 0 else ()):
                    self.assertEqual(int(status[caps], 16), 0, caps)

    def test_limits(self):
        pid = self.start("a", "memory = 512M").worker()
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")
        self.assertRegex(limits, r"Max open files +(\d+) +\1 ")
        if "a limit of memory" not in pathlib.Path(self.folder.name, "a/log").read_text():
            self.assertRegex(limits, r"Max data size +536870912 +536870912 ")

    @unittest.skipUnless(CAPSET, "numbers of system calls are not known for this processor")
    def test_seen_from_outside(self):
        """Another process of the same user cannot read its memory."""
        # One that any process of the user may look into, if it has no more capabilities than that one.
        plain = subprocess.Popen(  # pylint: disable=consider-using-with
            [sys.executable, "-c", f"import ctypes, time; ctypes.CDLL(None).syscall({CAPSET}, "
             "(ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()); print('ready', flush=True); "
             "time.sleep(600)"], stdout=subprocess.PIPE)
        self.addCleanup(plain.stdout.close)
        self.addCleanup(plain.wait)
        self.addCleanup(plain.kill)
        plain.stdout.readline()
        closed, bare = self.start("a").worker(), self.start("b", "mode = off").worker()
        script = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
assert libc.syscall({CAPSET}, (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()) == 0
for pid in {plain.pid}, {closed}, {bare}:
    here, there = ctypes.create_string_buffer(1), ctypes.c_uint64 * 2
    local, remote = there(ctypes.addressof(here), 1), there(4096, 1)
    libc.syscall({PROCESS_VM_READV}, *map(ctypes.c_ulong, (pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)))
    print(ctypes.get_errno())
"""
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        # EFAULT: it may, but there is nothing. Root's own processes have capabilities that the reader has not.
        self.assertEqual(said, ["14", "1", "14" if os.geteuid() != 0 else "1"])

    def test_kill(self):
        daemon = self.start("a", "violation = kill")
        daemon.worker()
        result = daemon.ping()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("worker died", result.stderr)
        self.assertIn(f"died of signal {int(signal.SIGSYS)}", daemon.said())
        result = daemon.sgemm()
        self.assertEqual(result.returncode, 0, result.stderr + daemon.said())

    def test_report(self):
        daemon = self.start("a", "violation = report")
        daemon.worker()
        results = daemon.attack()
        self.assertEqual(results["socket unix"], "EPERM")
        for call in ("socket", "execve", "process_vm_readv", "bpf"):
            self.assertEqual(daemon.said().count(f"sandbox: system call {call} ("), 1, call)

    def test_says_what_is_lacking(self):
        """A kernel without Landlock, and one without seccomp: told, and refused where they are required."""
        for call, part in ("landlock_create_ruleset", "Landlock"), ("seccomp", "seccomp"):
            with self.subTest(part):
                daemon = self.start(f"lax-{part}", wrap=[WITHOUT, call, "--"])
                daemon.worker()
                self.assertRegex(daemon.said(), f"sandbox: not in force: .*{part} \\(")
                result = daemon.sgemm()
                self.assertEqual(result.returncode, 0, result.stderr)
                daemon = self.start(f"strict-{part}", "mode = required", wrap=[WITHOUT, call, "--"])
                self.assertEqual(daemon.process.wait(STUCK), 1, daemon.said())
                self.assertRegex(daemon.said(), f"sandbox: is required, but these are not to be had: .*{part} \\(")
                self.assertFalse(daemon.socket.exists())

    def test_restarted(self):
        """The next worker has it too."""
        daemon = self.start("a")
        first = daemon.worker()
        os.kill(first, signal.SIGKILL)
        until("the worker's end", lambda: not pathlib.Path(f"/proc/{first}").exists())
        self.assertNotEqual(daemon.worker(), first)
        self.assertEqual(daemon.attack()["open /etc/passwd"], "EACCES")


if __name__ == "__main__":
    if not all(os.access(program, os.X_OK) for program in (VACCEL, VACCELD, WITHOUT)):
        print("skipped: VACCEL, VACCELD or VACCEL_WITHOUT names no program", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
