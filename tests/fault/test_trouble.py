#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an administrator gets wrong, or a machine lacks: full disks, plugins that cannot be had, no memory for a worker, a
log that nobody reads; and SIGTERM under load. Each with an error that names what, where and why.

Folders that are full or read-only are mounts in a namespace of their own.
"""

import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import unittest

import fixture
import test_storm
import witness
from fixture import Daemon, Side, until
from test_storm import Storm

BAD_PLUGINS = os.environ.get("VACCEL_BAD_PLUGINS", "")


def in_namespace(script, *words):
    """Runs a shell script where it may mount; None where that is not allowed."""
    probe = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL, check=False)
    if probe.returncode:
        return None
    return subprocess.run(["unshare", "-m", "/bin/sh", "-ec", script, "sh", *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=fixture.STUCK, check=False)


class Trouble(unittest.TestCase):
    """Each with a daemon of its own, if any."""

    def setUp(self):
        self.folder = witness.scratch("vaccel-trouble.")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, **words):
        daemon = Daemon(self.folder, "main", **words)
        self.addCleanup(daemon.stop)
        return daemon

    def tool(self, *words, env=None):
        return subprocess.run([fixture.VACCEL, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=fixture.STUCK, check=False,
                              env=dict(os.environ, **(env or {})))

    def works(self, daemon):
        done = self.tool("sgemm", "-t", f"shm:{daemon.socket}", "-m", 48, "-n", 48, "-k", 48)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("verified", done.stdout)

    # ---- folders

    def socket_in(self, mount):
        """Has a daemon make its socket in a folder that was mounted so; returns what it says."""
        done = in_namespace(f'mount -t tmpfs {mount} none "$1"; shift; touch "$1/one" 2>&- || :; set +e; '
                            '"$2" --config= --socket-path="$1/sock"; echo "status $?"', self.folder, self.folder,
                            fixture.VACCELD)
        if done is None:
            self.skipTest("unshare -m is not allowed here")
        self.assertIn("status 1", done.stdout)
        return done.stdout

    def test_full_run_directory(self):
        said = self.socket_in("-o size=64k,nr_inodes=2")
        self.assertIn(f"socket {self.folder}/sock: cannot create it: No space left on device", said)

    def test_unwritable_run_directory(self):
        said = self.socket_in("-o ro,size=64k")
        self.assertIn(f"socket {self.folder}/sock: cannot create it: Read-only file system", said)

    def test_full_disk(self):
        """Log and caches on a full disk: operations go on. A result that cannot be written is an error."""
        script = """
            mount -t tmpfs -o size=64k none "$1"; cd "$1"; mkdir cache; : > log; : > plot.svg
            printf '[engine]\\ncache_dir = %s/cache\\n[order]\\ndefault = fault reference\\n' "$1" > conf
            dd if=/dev/zero of=fill bs=4k 2>&- || :
            "$2" --config="$1/conf" --socket-path="$1/sock" 2>> log & daemon=$!
            until "$3" ping -c 1 -t "shm:$1/sock" > /dev/null 2>&1; do sleep 0.05; done
            set +e
            "$3" sgemm -t "shm:$1/sock" -m 48 -n 48 -k 48 | grep -o "verified"; echo "sgemm"
            "$3" info -t "shm:$1/sock" > info; echo "info $?"
            "$3" bench rtt -t "shm:$1/sock" --against none --seconds 0.05 --plot plot.svg > /dev/null; echo "plot $?"
            kill "$daemon"; wait "$daemon"; echo "ended $?"
            """
        done = in_namespace(script, self.folder, fixture.VACCELD, fixture.VACCEL)
        if done is None:
            self.skipTest("unshare -m is not allowed here")
        for what in ("verified", "info 1", "standard output: cannot write: No space left on device", "plot 1",
                     "ended 0"):
            self.assertIn(what, done.stdout)
        self.assertRegex(done.stdout, r"plot plot\.svg: cannot write: .*no space")

    # ---- plugins

    def test_plugins(self):
        """What cannot be had is said, each with its reason; the next one of the order serves."""
        if not BAD_PLUGINS:
            self.skipTest("VACCEL_BAD_PLUGINS is not set")
        path = os.environ["VACCEL_PLUGIN_DIR"]
        os.environ["VACCEL_PLUGIN_DIR"] = f"{path}:{BAD_PLUGINS}"
        try:
            daemon = self.daemon(limits="[order]\nsgemm = absent broken no-dependency abi reference\n"
                                        "dgemm = absent abi\n[limits]")
        finally:
            os.environ["VACCEL_PLUGIN_DIR"] = path
        self.works(daemon)
        for what in (r"plugin absent: no vaccel-absent\.so in ", r"plugin broken: cannot load: ",
                     r"plugin no-dependency: cannot load: .*libvaccel-test-gone\.so", r"plugin .*/vaccel-abi\.so: built for plugin ABI 2, this is 1"):
            self.assertRegex(daemon.said(), what)
        done = self.tool("sgemm", "--double", "-t", f"shm:{daemon.socket}", "-m", 8, "-n", 8, "-k", 8)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, "dgemm.*plugin")

    # ---- no memory

    def test_no_memory_for_worker(self):
        """Requests wait, or fail within the deadline, and go on as soon as there is memory."""
        daemon = self.daemon(options=["--restart-delay=50"])
        self.works(daemon)
        for kind, little in (resource.RLIMIT_AS, 24 << 20), (resource.RLIMIT_AS, 1 << 20):
            with self.subTest(little=little):
                _, most = resource.prlimit(daemon.pid, kind)
                start = len(daemon.said())
                resource.prlimit(daemon.pid, kind, (little, most))
                os.kill(until("a worker", daemon.children)[0], signal.SIGKILL)
                until("workers that fail", lambda: daemon.said()[start:].count("before it was ready") >= 3)
                self.assertRegex(daemon.said()[start:], r"(?i)worker.*(memory|status 127|status 1|signal)")
                self.assertIsNone(daemon.process.poll())
                resource.prlimit(daemon.pid, kind, (most, most))
                until("a worker with plugins", lambda: re.search(r"worker \d+ is ready", daemon.said()[start:]))
                # The one without plugins is replaced after half a minute: not waited for here.
                if "without plugins" in daemon.said()[start:]:
                    os.kill(daemon.worker_ready(), signal.SIGKILL)

    # ---- a log that nobody reads

    def test_log_closed(self):
        """Standard error is a pipe without a reader: nothing else changes, for supervisor and workers."""
        read, write = os.pipe()
        os.close(read)

        class Mute(Daemon):
            """One whose lines cannot be read."""

            def launch(self):
                return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=write, stderr=write)

            def said(self):
                return "".join(f"worker {pid} is ready" for pid in self.children())
        self.folder.joinpath("main.log").touch()
        daemon = Mute(self.folder, "main", options=["--log-level=debug"])
        self.addCleanup(daemon.stop)
        os.close(write)
        self.works(daemon)
        os.kill(until("a worker", daemon.children)[0], signal.SIGKILL)
        self.works(daemon)
        self.assertEqual(daemon.stop(), (0, []))

    # ---- a daemon that dies while a client connects

    def test_connecting(self):
        """It is tried again, a few times."""
        daemon = self.daemon()
        for deaths in 2, 20:
            with self.subTest(deaths=deaths):
                own = self.folder / f"own{deaths}"
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
                    listener.bind(str(own))
                    listener.listen()
                    tool = subprocess.Popen([fixture.VACCEL, "ping", "-c", "1", "-t", f"shm:{own}"],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    for _ in range(deaths):
                        if not select.select([listener], [], [], 5)[0]:
                            break
                        listener.accept()[0].close()
                    # In one step, so that the socket is never absent.
                    os.link(daemon.socket, own.with_suffix(".new"))
                    own.with_suffix(".new").rename(own)
                    said = tool.communicate(timeout=fixture.STUCK)[1]
                self.assertEqual(tool.returncode, 0 if deaths == 2 else 3, said)

    # ---- SIGTERM under load

    def test_sigterm(self):
        """What is in flight ends right, or with the connection; nothing is left."""
        for _ in range(5):
            name = f"term{_}"
            daemon = Daemon(self.folder, name)
            self.addCleanup(daemon.stop)
            own = self.folder / f"{name}.side"
            own.mkdir()
            side = Side("shm", own, [daemon], None)
            storm = Storm(side, f"shm:{daemon.socket}")
            self.assertEqual(daemon.stop(), (0, []))
            self.assertFalse(daemon.socket.exists())
            side.expect(rf"^{storm.tag} status 1$")
            said = storm.said()
            for session in range(test_storm.SESSIONS):
                self.assertTrue(any(f"session {session} failed -104 " in line for line in said), said)
            # Whatever did not end right says what became of it.
            others = [line for line in said if re.search(r" beta ", line) and not re.search(
                r": -(104|125) .*(went away|closed|stopped|canceled|connection)", line)]
            self.assertEqual(others, [])
            side.stop()


if __name__ == "__main__":
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCEL, fixture.VACCELD, test_storm.STORM)):
        fixture.skip("VACCEL, VACCELD or VACCEL_FAULT_STORM names no program")
    witness.main(240)
