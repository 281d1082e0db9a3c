# SPDX-License-Identifier: Apache-2.0
"""vacceld under a parent that speaks systemd's protocol: socket activation, notices, what is wrong with either."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

VACCEL, VACCELD = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD"))
STUCK = 120

# Puts the descriptors in sys.argv[1] at 3, 4, ... and becomes the daemon, as service managers do.
LAUNCH = """
import os, sys
fds = [os.dup(int(fd)) for fd in sys.argv[1].split(",") if fd]
fds = [__import__("fcntl").fcntl(fd, 0, 64) for fd in fds]
for at, fd in enumerate(fds):
    os.dup2(fd, 3 + at, inheritable=True)
if os.environ.get("LISTEN_PID") == "mine":
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Parent:
    """Listens for notices; starts one daemon."""

    def __init__(self, folder, abstract=False):
        self.folder = pathlib.Path(folder)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"\0vaccel-test-{os.getpid()}" if abstract else str(self.folder / "notify")
        self.notices.bind(name)
        self.address = name.replace("\0", "@")
        self.process = None
        self.lines = []

    def start(self, *options, fds=(), pid="mine", **environment):
        env = {**os.environ, "NOTIFY_SOCKET": self.address, **environment}
        if fds:
            env.setdefault("LISTEN_FDS", str(len(fds)))
            env["LISTEN_PID"] = pid
        numbers = [fd.fileno() for fd in fds]
        command = [sys.executable, "-c", LAUNCH, ",".join(map(str, numbers)), VACCELD, "--config=",
                   "--set=order.default=reference", *options]
        self.process = subprocess.Popen(command, env=env, pass_fds=numbers,  # pylint: disable=consider-using-with
                                        stderr=subprocess.PIPE, text=True)

    def wait_for(self, line):
        while line not in self.lines:
            self.receive()

    def receive(self):
        ready, _, _ = select.select([self.notices], [], [], STUCK)
        if not ready:
            raise AssertionError(f"no notice within {STUCK} s, only {self.lines}")
        self.lines += self.notices.recv(4096).decode().splitlines()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=STUCK)[1]
        self.notices.close()
        return self.process.returncode, said


def listening(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(path))
    sock.listen(4)
    return sock


class Notices(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name) / "sock"

    def ping(self):
        run = subprocess.run([VACCEL, "ping", "--count=1", f"--transport=shm:{self.path}"], check=False, text=True,
                             capture_output=True, timeout=STUCK)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_ready_and_stopping(self):
        for abstract in False, True:
            parent = Parent(self.folder.name, abstract)
            parent.start(f"--socket-path={self.path}")
            parent.wait_for("READY=1")
            self.ping()
            parent.process.send_signal(signal.SIGTERM)
            parent.wait_for("STOPPING=1")
            self.assertEqual(parent.end()[0], 0)
            self.assertEqual(parent.lines.count("READY=1"), 1)
            self.assertTrue(any(line.startswith("STATUS=Worker ") for line in parent.lines), parent.lines)

    def test_the_worker_cannot_speak(self):
        parent = Parent(self.folder.name)
        parent.start(f"--socket-path={self.path}")
        parent.wait_for("READY=1")
        pid = parent.process.pid
        worker, = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        environment = pathlib.Path(f"/proc/{worker}/environ").read_bytes()
        self.assertNotIn(b"NOTIFY_SOCKET", environment)
        self.assertEqual(parent.end()[0], 0)

    def test_socket_activation(self):
        parent = Parent(self.folder.name)
        with listening(self.path) as sock:
            parent.start(fds=[sock], LISTEN_FDNAMES="vacceld@a.socket")
            self.ping()
            status, said = parent.end()
        self.assertEqual(status, 0, said)
        self.assertIn("listening on the parent's socket vacceld@a.socket", said)
        # It is the parent's.
        self.assertTrue(self.path.exists())

    def test_metrics(self):
        path = self.path.parent / "metrics"
        parent = Parent(self.folder.name)
        with listening(self.path) as sock, listening(path) as metrics:
            parent.start(fds=[metrics, sock], LISTEN_FDNAMES="metrics:front-ends")
            self.ping()
            said = subprocess.run([VACCEL, "stats", f"--metrics=unix:{path}", "--json"], check=True, text=True,
                                  capture_output=True, timeout=STUCK).stdout
            status, log = parent.end()
        self.assertEqual(status, 0, log)
        self.assertEqual(json.loads(said)["worker_starts"], 1)
        self.assertTrue(path.exists())

    def test_watchdog(self):
        parent = Parent(self.folder.name)
        parent.start(f"--socket-path={self.path}", WATCHDOG_USEC="100000")
        while parent.lines.count("WATCHDOG=1") < 3:
            parent.receive()
        self.assertEqual(parent.end()[0], 0)
        (self.path.parent / "notify").unlink()
        parent = Parent(self.folder.name)
        parent.start(f"--socket-path={self.path}", WATCHDOG_USEC="100000", WATCHDOG_PID="1")
        parent.wait_for("READY=1")
        self.ping()
        self.assertEqual(parent.end()[0], 0)
        self.assertNotIn("WATCHDOG=1", parent.lines)

    def test_the_socket_is_found_among_others(self):
        parent = Parent(self.folder.name)
        with listening(self.path) as sock, socket.socket() as other, open("/dev/null", "rb") as null:
            parent.start(fds=[null, other, sock])
            self.ping()
            status, said = parent.end()
        self.assertEqual(status, 0, said)
        self.assertIn("listening on the parent's socket unknown", said)

    def refused(self, words, *options, **how):
        parent = Parent(self.folder.name)
        parent.start(*options, **how)
        parent.process.wait(STUCK)
        status, said = parent.end()
        (self.path.parent / "notify").unlink()
        self.assertNotIn(status, (0, -signal.SIGTERM), said)
        self.assertIn(words, said)

    def test_what_does_not_hold(self):
        with open("/dev/null", "rb") as null:
            self.refused("none of the 1 descriptors of the parent is a listening", fds=[null])
            self.refused("descriptor 2 of 3 is not there", fds=[null], LISTEN_FDS="3")
            # Somebody else's.
            self.refused("none of the 0 descriptors", fds=[null], pid="1")
        self.refused("neither a path nor an abstract name", f"--socket-path={self.path}", NOTIFY_SOCKET="here")


if __name__ == "__main__":
    unittest.main()
