#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Daemons that die with their supervisors, and others that listen at the same path after them: what clients over shm see.

usage: test_again.py KILLS [unittest's arguments]
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
from fixture import Daemon, Side, until

AGAIN = os.environ.get("VACCEL_FAULT_AGAIN", "")
KILLS = 20
THREADS = 4
ECONNRESET = 104
LIMIT = 480
# Memory of a client that has lost nothing: what the libraries below it keep of threads that ended.
GROWTH = 64 << 10


class Again(unittest.TestCase):
    """Each with a daemon and a shell of its own."""

    def setUp(self):
        self.folder = witness.scratch("vaccel-again.")
        self.addCleanup(shutil.rmtree, self.folder)
        self.daemon = Daemon(self.folder, "main")
        self.addCleanup(lambda: self.daemon.process.poll() is None and self.daemon.stop())
        self.url = f"shm:{self.daemon.socket}"
        self.side = Side("shm", self.folder, [self.daemon], None)
        self.addCleanup(self.side.stop)

    def kill(self):
        """The supervisor; waits for the worker's end, since a child that is being killed may still listen."""
        self.daemon.stop(signal.SIGKILL)

    def begin(self, **change):
        """Another daemon at the same path, perhaps with another configuration."""
        config = self.daemon.folder / "vaccel.conf"
        text = config.read_text()
        for name, value in change.items():
            text = text.replace("[limits]\n", f"[limits]\n{name} = {value}\n")
        config.write_text(text)
        self.daemon.process = self.daemon.launch()
        self.daemon.pid = self.daemon.process.pid

    def start(self, program, tag, *more):
        self.side.run(f"{{ {program} {self.url} {fixture.STUCK} {tag} {self.side.path(tag + '.stop')} "
                      f"{self.side.path(tag + '.progress')} {' '.join(more)}; echo \"{tag} status $?\"; }} &")

    def rows(self):
        data = (self.side.out / "again.progress").read_bytes().ljust(THREADS * 16, b"\0")
        return [struct.unpack_from("<2Q", data, 16 * i) for i in range(THREADS)]

    def beyond(self, rows):
        """Each thread has had a right result since."""
        def done():
            if self.side.find(r"^again (status|thread \d failed)"):
                raise AssertionError("the load ended: " + "\n".join(m.string for m in self.side.find("^again ")))
            # Where a child of the one before was not seen, and still listened: as whoever starts daemons would.
            if self.daemon.process.poll() is not None:
                self.begin()
            return all(now[0] > row[0] for now, row in zip(self.rows(), rows))
        until("results of each thread", done)

    def test_killed(self):
        """Under threads that share a context, and under contexts that are polled. All go on."""
        seed = int(os.environ.get("AGAIN_SEED", time.time_ns() % 1000000))
        random.seed(seed)
        print(f"seed {seed}", file=sys.stderr)
        self.start(AGAIN, "again")
        storm = test_storm.Storm(self.side, self.url, more="again")
        self.side.expect("^again warm$")
        for _ in range(KILLS):
            self.kill()
            time.sleep(random.choice((0, random.uniform(0, 0.1))))
            self.begin()
            # Some die before they have done anything, or while they are told what the one before knew.
            if random.random() < 0.3:
                time.sleep(random.uniform(0, 0.3))
                self.kill()
                self.begin()
            rows, storm_rows = self.rows(), storm.rows()
            self.beyond(rows)
            storm.beyond(storm_rows)
            time.sleep(random.uniform(0, 0.05))
        total = storm.stop()
        self.assertEqual((total.interrupted, total.died), (0, 0))
        self.side.touch("again.stop")
        self.side.expect("^again status 0$")
        grown = self.side.find(r"^again grew by (-?\d+) descriptors, (-?\d+) bytes$")[0]
        print(f"{grown.string}, {total}", file=sys.stderr)
        self.assertLess(int(grown.group(1)), KILLS // 2)
        self.assertLess(int(grown.group(2)), GROWTH)

    def between(self, tag, change):
        """What a client says that had another daemon before; its session has a registered buffer."""
        go = f"{tag}.go"
        self.side.run(f"{{ {fixture.CLIENT} {self.url} between tag={tag} size=96 go={self.side.path(go)}; "
                      f"echo {tag} status $?; }} &")
        self.side.expect(f"^{tag} result 0 right", times=2)
        self.kill()
        change()
        self.side.touch(go)
        self.side.expect(f"^{tag} kept right$")
        self.side.expect(f"^{tag} status 0$")
        return [match.string for match in self.side.find(f"^{tag} next ")]

    def test_other(self):
        """The first request may have gone to the one before; what is in the registered buffer is kept."""
        def change():
            self.begin()
            self.daemon.worker_ready()
        first, second = self.between("other", change)
        self.assertRegex(first, f"next (0 right|-{ECONNRESET} .*went away)")
        self.assertEqual(second, "other next 0 right")

    def test_none(self):
        first, second = self.between("none", lambda: None)
        self.assertRegex(first, f"next -{ECONNRESET} ")
        self.assertRegex(second, f"next -{ECONNRESET} .*none takes its place.*no daemon listens")

    def test_less(self):
        """One that has less to give."""
        for number, (name, value, says) in enumerate([
                ("sessions", 2, "max_sessions is 2, the old one's was 64"),
                ("buffers", 4, "max_buffers is 4, the old one's was 128"),
                ("buffer_bytes", "64K", "max_buffer_bytes is 65536, "),
                ("request_bytes", "64K", "max_request_bytes is 65536, "),
                ("registered_bytes", "64K", "a buffer of .* bytes: .*")]):
            with self.subTest(name=name):
                config = self.daemon.folder / "vaccel.conf"
                before = config.read_text()
                if name in ("sessions", "buffers"):
                    config.write_text("\n".join(line for line in before.split("\n") if not line.startswith(name)))
                _, second = self.between(f"less{number}", lambda: (self.begin(**{name: value}),
                                                                  self.daemon.worker_ready()))
                self.assertRegex(second, f"next -{ECONNRESET} .*none takes its place: .*{says}")
                self.kill()
                config.write_text(before)
                self.begin()
                self.daemon.worker_ready()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    KILLS = int(sys.argv.pop(1))
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCELD, fixture.CLIENT, AGAIN, test_storm.STORM)):
        fixture.skip("VACCELD, VACCEL_FAULT_CLIENT, VACCEL_FAULT_AGAIN or VACCEL_FAULT_STORM names no program")
    witness.main(LIMIT)
