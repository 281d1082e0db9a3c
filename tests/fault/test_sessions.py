#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions of the crypto device, and supervisors that die under a parent that keeps their descriptors.

usage: test_sessions.py KILLS

Sessions and their keys outlive supervisor and worker; one that is being made or ended when they die is made or ended once;
and no key lies in what the parent keeps for the next supervisor.
"""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import fixture
import witness
from fixture import STUCK, until
from keeper import KeptDaemon

CLIENT = os.environ.get("VACCEL_FAULT_SESSIONS", "")
KILLS = 20
KEYS = 3
EREMOTEIO = 121
# SP 800-38A's key of 128 bits, and what it makes of a block of zeroes.
NIST_KEY = "2b7e151628aed2a6abf7158809cf4f3c"
NIST_ZERO = "7df76b0c1ab899b33e42f047b91b546f"


class Client:
    """The program that does what it is told."""

    def __init__(self, daemon):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by close()
            [CLIENT, str(daemon.socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.answer() == "open"

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, *words):
        self.say(*words)
        return self.answer()

    def create(self, key):
        return int(self.ask("create", key).removeprefix("id "))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(STUCK)


class Sessions(unittest.TestCase):
    """Each with a connection of its own; as many keys as the tenant may have are used."""

    @classmethod
    def setUpClass(cls):
        random.seed(int(os.environ.get("STORM_SEED", time.time_ns() % 1000000)))
        cls.folder = witness.scratch("vaccel-sessions.")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.daemon = KeptDaemon(cls.folder, "main", limits=f"keys = {KEYS}",
                                options=["--device=crypto", "--restart-delay=0", "--set=order.default=openssl reference",
                                         "--set=engine.queues=1", "--log-level=debug"])
        cls.addClassCleanup(cls.daemon.stop)

    @classmethod
    def tearDownClass(cls):
        status, left = cls.daemon.stop()
        assert status == 0 and not left, (status, left)
        assert not cls.daemon.store, f"the parent still keeps {cls.daemon.store}"

    def setUp(self):
        self.daemon.worker_ready()
        self.client = Client(self.daemon)
        self.addCleanup(self.client_gone)

    def client_gone(self):
        """And so are its keys, for the next test."""
        start = len(self.daemon.said())
        self.assertEqual(self.client.close(), 0)
        until("the connection to be freed", lambda: ": freed" in self.daemon.said()[start:])

    def expect_works(self, session):
        self.assertEqual(self.client.ask("run", session), f"status 0 {NIST_ZERO}", self.daemon.last())

    def test_open_sessions(self):
        """Whoever dies: they are still there, and so are their keys."""
        sessions = [self.client.create(NIST_KEY) for _ in range(KEYS)]
        self.assertEqual(len(set(sessions)), KEYS)
        self.assertEqual(self.client.create(NIST_KEY), -1)
        for n in range(KILLS):
            if n % 3:
                time.sleep(random.uniform(0, 0.05))
            if n % 4 == 3:
                self.daemon.kill_worker()
            self.daemon.restart(signal.SIGTERM if n % 5 == 4 else signal.SIGKILL)
            self.expect_works(sessions[n % KEYS])
        self.assertEqual(self.client.create(NIST_KEY), -1)
        for session in sessions:
            self.assertEqual(self.client.ask("end", session), "ended 0")
            self.assertEqual(self.client.ask("end", session), f"ended {-EREMOTEIO}")

    def test_random(self):
        """While sessions are made and ended. One that was made twice would take one of those that may be."""
        for n in range(KILLS):
            sessions = []
            for i in range(KEYS):
                self.client.say("create", NIST_KEY)
                if i == n % KEYS:
                    time.sleep(random.uniform(0, 0.02))
                    self.daemon.restart()
                sessions.append(int(self.client.answer().removeprefix("id ")))
                self.assertGreaterEqual(sessions[-1], 0, self.daemon.last())
            for i, session in enumerate(sessions):
                self.client.say("end", session)
                if i == (n + 1) % KEYS:
                    time.sleep(random.uniform(0, 0.02))
                    self.daemon.restart()
                self.assertEqual(self.client.answer(), "ended 0", self.daemon.last())

    def kept(self):
        """All bytes of the records that the parent keeps."""
        records = b""
        for _, read in self.daemon.boxes():
            with socket.socket(fileno=os.dup(read)) as end:
                try:
                    records += end.recv(65536, socket.MSG_DONTWAIT | socket.MSG_PEEK)
                except BlockingIOError:
                    continue
        return records

    @staticmethod
    def state_of(worker):
        return pathlib.Path(f"/proc/{worker}/fd/4").read_bytes()

    def expect_no_trace(self, key):
        """Neither half of it lies in a process of the daemon. What is between them is its client's own memory."""
        for pid in (self.daemon.pid, self.daemon.worker_ready()):
            with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for line in maps:
                    start, end = (int(text, 16) for text in line.split()[0].split("-"))
                    if line.split()[1][0] != "r" or "/memfd:vaccel (" in line or end - start > 1 << 32:
                        continue
                    try:
                        memory.seek(start)
                        found = memory.read(end - start)
                    except OSError:
                        continue
                    for half in key[:16], key[16:]:
                        self.assertNotIn(half, found, f"process {pid}: {line}")

    def hold_at_the_end(self, done, *words):
        """The worker has done what words ask, and its supervisor, which does not know, is killed."""
        worker = self.daemon.worker_ready()
        os.kill(worker, signal.SIGSTOP)
        self.client.say(*words)
        # Handed to the worker, most likely; otherwise the next supervisor does it for the first time.
        time.sleep(0.2)
        records = self.kept()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        os.kill(worker, signal.SIGCONT)
        until("the worker to obey", lambda: done(self.state_of(worker)))
        self.daemon.restart()
        return records

    def test_made_and_not_told(self):
        """The last session that may be is made, and the supervisor dies before it knows: the next one finds it."""
        other = os.urandom(32).hex()
        for _ in range(KEYS - 1):
            self.client.create(NIST_KEY)
        try:
            self.state_of(self.daemon.worker_ready())
        except PermissionError:
            self.skipTest("only root may look at the state")
        records = self.hold_at_the_end(lambda state: bytes.fromhex(other) in state, "create", other)
        session = int(self.client.answer().removeprefix("id "))
        self.assertGreaterEqual(session, 0, self.daemon.last())
        self.assertTrue(records)
        for bytes_kept in records, self.kept():
            self.assertNotIn(bytes.fromhex(other)[:16], bytes_kept)
            self.assertNotIn(bytes.fromhex(other)[16:], bytes_kept)
        self.assertEqual(self.client.ask("run", session).split()[:2], ["status", "0"])
        self.assertEqual(self.client.create(NIST_KEY), -1)
        # The same at its end, whose bytes are gone.
        self.hold_at_the_end(lambda state: bytes.fromhex(other) not in state, "end", session)
        self.assertEqual(self.client.answer(), "ended 0", self.daemon.last())
        self.assertEqual(self.client.ask("end", session), f"ended {-EREMOTEIO}")
        self.expect_no_trace(bytes.fromhex(other))
        again = self.client.create(NIST_KEY)
        self.assertGreaterEqual(again, 0)
        self.expect_works(again)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    KILLS = int(sys.argv.pop(1))
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCELD, CLIENT)):
        fixture.skip("VACCELD or VACCEL_FAULT_SESSIONS names no program")
    witness.main(240)
