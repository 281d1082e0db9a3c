#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The supervisor dies, is replaced and is stopped, under a parent that keeps its descriptors.

usage: test_keep.py shm|uml|qemu KILLS

Clients keep their devices, sessions and registered buffers, and notice only that requests take longer. What may not run
twice may be interrupted when the supervisor is killed, and not even that when it is asked to end.
"""

import os
import random
import shutil
import signal
import struct
import sys
import time
import unittest

import fixture
import test_storm
import witness
from fixture import Side, until
from keeper import KeptDaemon
from test_storm import Storm

KIND = "shm"
KILLS = 50
ECONNRESET = 104


class Keep(unittest.TestCase):
    """In whatever order, each with a load of its own."""

    @classmethod
    def setUpClass(cls):
        module = None if KIND == "shm" else fixture.build_module(KIND)
        cls.seed = int(os.environ.get("STORM_SEED", time.time_ns() % 1000000))
        random.seed(cls.seed)
        cls.folder = witness.scratch("vaccel-keep.")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.daemon = KeptDaemon(cls.folder, "main", options=["--restart-delay=0"])
        cls.addClassCleanup(cls.daemon.stop)
        cls.side = Side(KIND, cls.folder, [cls.daemon], module)
        cls.addClassCleanup(cls.side.stop)
        cls.url = f"shm:{cls.daemon.socket}" if KIND == "shm" else "virtio:/dev/vaccel0"
        cls.n_tags = 0

    @classmethod
    def tearDownClass(cls):
        assert cls.side.stop() == 0, "the side of the clients ended badly (123: its kernel warned)"
        if KIND == "shm":
            until("descriptors to be closed", lambda: cls.daemon.descriptors()[1] == cls.daemon.descriptors_at_start[1])
        status, left = cls.daemon.stop()
        assert status == 0 and not left, (status, left)
        assert not cls.daemon.store, f"the parent still keeps {cls.daemon.store}"
        assert not cls.daemon.socket.exists(), "vacceld left its socket"

    def setUp(self):
        self.log_start = len(self.daemon.said())

    def said(self):
        """What the log got in this test, without what workers say."""
        lines = self.daemon.said()[self.log_start:].splitlines()
        return "\n".join(line for line in lines if not line.startswith("vacceld-worker"))

    def storm(self):
        Keep.n_tags += 1
        tag = f"storm{Keep.n_tags}"
        self.addCleanup(self.side.touch, f"{tag}.stop")
        return Storm(self.side, self.url, tag)

    def one(self, *words):
        """A client that comes and goes; returns what to wait for."""
        Keep.n_tags += 1
        tag = f"one{Keep.n_tags}"
        self.side.run(f"{{ {fixture.CLIENT} {self.url} one tag={tag} size=48 {' '.join(words)}; echo \"{tag} status $?\"; }} &")
        return tag

    def ended(self, tag):
        self.side.expect(rf"^{tag} status \d")
        said = [match.string for match in self.side.find(f"^{tag} ")]
        for what in "result 0 right", "next 0 right", "status 0":
            self.assertIn(f"{tag} {what}", said, self.said())

    def end(self, storm, n, interrupted=True):
        """The load went on over n supervisors, and all is well."""
        total = storm.stop()
        self.assertEqual(total.died, 0, storm.said())
        if not interrupted:
            self.assertEqual(total.interrupted, 0, storm.said())
        said = self.said()
        for what in "is lost", "is dropped", "damaged", "cannot be told", "will not outlive", "without plugins":
            self.assertNotIn(what, said)
        print(f"seed {self.seed}: {n} supervisors, {total.done} requests, {total.interrupted} interrupted", file=sys.stderr)

    def test_killed(self):
        """At random moments, while clients come and go."""
        storm = self.storm()
        comers = []
        for n in range(KILLS):
            before = storm.rows()
            if n % 5 == 0:
                comers.append(self.one("registered=1"))
            time.sleep(random.uniform(0, 0.06))
            self.daemon.restart()
            # Now and then the next one dies before it has got anywhere.
            if n % 4 == 1:
                time.sleep(random.uniform(0, 0.06))
                self.daemon.restart()
            storm.beyond(before)
        for tag in comers:
            self.ended(tag)
        self.end(storm, KILLS)

    def test_worker_too(self):
        """The worker dies, and the supervisor before it could start another."""
        storm = self.storm()
        for _ in range(KILLS // 5):
            before = storm.rows()
            os.kill(until("a worker", self.daemon.children)[0], signal.SIGKILL)
            self.daemon.restart()
            storm.beyond(before)
        self.end(storm, KILLS // 5)

    def test_replaced(self):
        """Asked to end, by another program file: running operations end, and nobody notices."""
        other = self.folder / "vacceld.new"
        shutil.copy(fixture.VACCELD, other)
        storm = self.storm()
        for n in range(KILLS // 5):
            before = storm.rows()
            time.sleep(random.uniform(0, 0.06))
            # One that has hardly begun dies of the signal.
            self.assertIn(self.daemon.end(signal.SIGTERM), (0, -signal.SIGTERM))
            self.assertTrue(self.daemon.socket.exists())
            self.daemon.argv[0] = str(fixture.VACCELD if n % 2 else other)
            self.daemon.begin()
            storm.beyond(before)
        self.end(storm, KILLS // 5, interrupted=False)

    def refused(self, change, says):
        """Records that a daemon does not believe: the log says so, front-ends are hung up on, and it serves others."""
        storm = self.storm()
        self.daemon.end()
        self.assertGreaterEqual(self.daemon.change_records(change), test_storm.SESSIONS)
        self.daemon.begin()
        self.side.expect(rf"^{storm.tag} status \d")
        self.assertEqual(len(self.side.find(rf"^{storm.tag} session \d failed -{ECONNRESET} ")), test_storm.SESSIONS)
        self.assertIn(says, self.said())
        self.ended(self.one())

    def test_version(self):
        """Of another version nothing is taken over."""
        if KIND != "shm":
            self.skipTest("a guest would have lost its device")
        self.refused(lambda data: data[:8] + struct.pack("<I", 77) + data[12:], "version 77")
        self.refused(lambda data: data[:12] + struct.pack("<I", 99999) + data[16:], "no record")
        self.refused(lambda data: b"", "no record")

    def test_damaged(self):
        """Whatever lies in the boxes: no crash, and who comes next is served."""
        if KIND != "shm":
            self.skipTest("a guest would have lost its device")

        def flip(data):
            changed = bytearray(data)
            for _ in range(random.randint(1, 40)):
                changed[random.randrange(16, 3000)] = random.choice((0, 1, 255, random.randrange(256)))
            return bytes(changed)
        for _ in range(10):
            storm = self.storm()
            self.daemon.end()
            self.daemon.change_records(flip)
            self.daemon.begin()
            self.daemon.worker_ready()
            self.ended(self.one())
            self.side.touch(f"{storm.tag}.stop")
            self.daemon.restart()
            # It may have hung on what a record named wrongly: the connections end with their boxes.
            self.daemon.end()
            self.daemon.drop()
            self.daemon.begin()
            self.daemon.worker_ready()
            self.side.expect(rf"^{storm.tag} status \d")
            self.ended(self.one())

    def test_stopped(self):
        """The parent drops what it kept: front-ends are hung up on."""
        if KIND != "shm":
            self.skipTest("a guest would have lost its device")
        storm = self.storm()
        self.daemon.worker_ready()
        self.assertEqual(self.daemon.end(signal.SIGTERM), 0)
        self.daemon.drop()
        self.side.expect(rf"^{storm.tag} status 1$")
        self.assertEqual(len(self.side.find(rf"^{storm.tag} session \d failed -{ECONNRESET} ")), test_storm.SESSIONS)
        self.daemon.begin()
        self.daemon.worker_ready()
        self.ended(self.one())

    def test_state_alone(self):
        """The parent has the state and no record of who had filled it: nobody finds anything there."""
        if KIND != "shm":
            self.skipTest("a guest would have lost its device")
        storm = self.storm()
        self.daemon.end()
        for name in {name for name, _ in self.daemon.store if name.startswith("vaccel-conn-")}:
            self.daemon.drop(name)
        self.daemon.begin()
        self.side.expect(rf"^{storm.tag} status 1$")
        self.side.run(f"{fixture.CLIENT} {self.url} fill tag={storm.tag}.fill")
        sessions, buffers = self.daemon.sessions, fixture.BUFFERS
        self.assertEqual([match.group(1) for match in self.side.find(rf"^{storm.tag}.fill filled (.*)")],
                         [f"{sessions} of {sessions} sessions, {buffers} of {buffers} buffers"])
        # In the slots of others, under the tags of their requests.
        self.end(self.storm(), 1, interrupted=False)

    def test_limits_changed(self):
        """With other limits than front-ends were told nothing is taken over."""
        if KIND != "shm":
            self.skipTest("a guest would have lost its device")
        storm = self.storm()
        self.daemon.end()
        self.daemon.argv.append("--set=limits.buffer_bytes=65536")
        self.daemon.begin()
        self.side.expect(rf"^{storm.tag} status 1$")
        self.assertIn("other limits", self.said())
        self.daemon.end()
        self.daemon.argv.pop()
        self.daemon.begin()
        self.daemon.worker_ready()
        self.ended(self.one())


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("shm", "uml", "qemu"):
        sys.exit(__doc__)
    KIND = sys.argv.pop(1)
    KILLS = int(sys.argv.pop(1))
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCELD, fixture.CLIENT, test_storm.STORM)):
        fixture.skip("VACCELD, VACCEL_FAULT_CLIENT or VACCEL_FAULT_STORM names no program")
    witness.main(240 if KIND == "shm" else 840)
