#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills the worker again and again, at random moments, under load from four sessions.

usage: test_storm.py shm|uml|qemu KILLS

No request is lost, none completes twice, every result is right; what may not run twice may be interrupted, and nothing
else fails. The one exception is what two workers died in, which only the rounds with a second kill right after the first
can bring about.
"""

import collections
import os
import random
import shutil
import signal
import struct
import sys
import time

import fixture
import witness
from fixture import Daemon, Side, until

STORM = os.environ.get("VACCEL_FAULT_STORM", "")
SESSIONS = 4
# Every so manieth kill comes while the next worker is still busy with what the one before left.
DOUBLE = 10
PAUSE = 0.02

Row = collections.namedtuple("Row", "submitted done interrupted died lost wrong")


class Storm:
    """The load, seen through its counters."""

    def __init__(self, side, url, tag="storm", more=""):
        self.side, self.tag = side, tag
        self.file = side.out / f"{tag}.progress"
        side.run(f"{{ {STORM} {url} {fixture.STUCK} {tag} {side.path(tag + '.stop')} {side.path(self.file.name)} {more}; "
                 f"echo \"{tag} status $?\"; }} &")
        until("the load to begin", lambda: all(row.done for row in self.rows()))

    def rows(self):
        """The counters of each session."""
        try:
            data = self.file.read_bytes()
        except FileNotFoundError:
            data = b""
        data = data.ljust(SESSIONS * 48, b"\0")
        return [Row(*struct.unpack_from("<6Q", data, 48 * i)) for i in range(SESSIONS)]

    def beyond(self, rows):
        """Waits until all that these rows had in flight has completed."""
        def done():
            if self.side.find(rf"^{self.tag} (status|session \d failed)"):
                raise AssertionError("the load ended: " + "\n".join(self.said()))
            return all(now.done >= row.submitted for now, row in zip(self.rows(), rows))
        until("what was in flight", done)

    def said(self):
        return [match.string for match in self.side.find(rf"^{self.tag} ")]

    def stop(self):
        """Ends it; returns the sums of its counters."""
        self.side.touch(f"{self.tag}.stop")
        self.side.expect(rf"^{self.tag} status 0$")
        rows = self.rows()
        assert all(row.done == row.submitted for row in rows), rows
        total = Row(*(sum(column) for column in zip(*rows)))
        assert total.wrong == 0, "\n".join(self.said())
        return total


def kill_worker(daemon):
    """As soon as there is one."""
    pid = until("a worker", daemon.children)[0]
    os.kill(pid, signal.SIGKILL)
    until("the worker's end", lambda: pid not in daemon.children())


def kill_all(daemon, storm, kills):
    """Returns how many second kills there were."""
    doubles = 0
    killed = 0
    while killed < kills:
        time.sleep(random.uniform(0, PAUSE))
        before = storm.rows()
        kill_worker(daemon)
        killed += 1
        if killed % DOUBLE == 0 and killed < kills:
            until("a worker", daemon.children)
            time.sleep(random.uniform(0, PAUSE))
            kill_worker(daemon)
            killed += 1
            doubles += 1
        storm.beyond(before)
    return doubles


def check(daemon, total, kills, doubles):
    """What the daemon says agrees with what the load counted."""
    said = daemon.said()
    assert said.count("died of signal 9") == kills, said.count("died of signal 9")
    assert "without plugins" not in said and "damaged" not in said and "is lost" not in said, said
    # Four in flight in each session, and each second kill may have met them all.
    assert total.died <= doubles * SESSIONS * 4, total
    until("descriptors to be closed", lambda: daemon.descriptors() == daemon.descriptors_at_start)


def main(kind, kills):
    module = None if kind == "shm" else fixture.build_module(kind)
    folder = witness.scratch("vaccel-storm.")
    daemon = side = None
    seed = int(os.environ.get("STORM_SEED", time.time_ns() % 1000000))
    random.seed(seed)
    try:
        daemon = Daemon(folder, "main", options=["--restart-delay=0"])
        side = Side(kind, folder, [daemon], module)
        storm = Storm(side, f"shm:{daemon.socket}" if kind == "shm" else "virtio:/dev/vaccel0")
        begin = time.monotonic()
        doubles = kill_all(daemon, storm, kills)
        total = storm.stop()
        assert side.stop() == 0, "the side of the clients ended badly (123: its kernel warned)"
        check(daemon, total, kills, doubles)
        print(f"seed {seed}: {kills} workers killed in {time.monotonic() - begin:.0f} s, {doubles} of them right after "
              f"another; {total.done} requests, {total.interrupted} interrupted, {total.died} given up")
    finally:
        if side:
            side.stop()
        if daemon:
            status, left = daemon.stop()
        shutil.rmtree(folder)
    assert status == 0 and not left, (status, left)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("shm", "uml", "qemu"):
        sys.exit(__doc__)
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCELD, STORM)):
        fixture.skip("VACCELD or VACCEL_FAULT_STORM names no program")
    witness.limit(540 if sys.argv[1] == "shm" else 840)
    main(sys.argv[1], int(sys.argv[2]))
