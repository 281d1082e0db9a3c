#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a client sees when workers, daemons, devices and other clients die.

usage: test_fault.py shm|uml|qemu [unittest's arguments]

One guest (none for shm) and four daemons serve all tests: main; one with a time limit; one with a single thread, which
is unbound from its driver as well; and one that is killed with its supervisor. Clients run in the background of the
guest's shell; what they should say is expected here.
"""

import itertools
import os
import shutil
import signal
import sys
import unittest

import fixture
import witness
from fixture import Daemon, Side, until

KIND = "shm"
HANG, EIO, ENODEV, ECONNRESET, ETIMEDOUT, EOWNERDEAD = 8, 5, 19, 104, 110, 130
SMALL, LARGE = 16, 96  # run by the ring's thread; by the engine's


class Faults(unittest.TestCase):
    """In whatever order."""

    @classmethod
    def setUpClass(cls):
        cls.keys = itertools.count(1)
        module = None if KIND == "shm" else fixture.build_module(KIND)
        cls.folder = witness.scratch("vaccel-fault.")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.daemons = []
        for number, (name, limits) in enumerate([("main", ""), ("limited", "op_time_ms = 4000"), ("single", ""),
                                                 ("doomed", "")]):
            daemon = Daemon(cls.folder, name, limits, sessions=64 + number, threads=1 if name == "single" else 2)
            cls.addClassCleanup(daemon.stop)
            cls.daemons.append(daemon)
        cls.main, cls.limited, cls.single, cls.doomed = cls.daemons
        cls.side = Side(KIND, cls.folder, cls.daemons, module)
        cls.addClassCleanup(cls.side.stop)
        cls.find_devices()

    @classmethod
    def find_devices(cls):
        """Which device is whose: every daemon has its own limit of sessions."""
        if KIND == "shm":
            for daemon in cls.daemons:
                daemon.url = f"shm:{daemon.socket}"
            return
        for number in range(len(cls.daemons)):
            url = f"virtio:/dev/vaccel{number}"
            cls.side.run(f"{fixture.CLIENT} {url} limits tag=device{number}")
            sessions = int(cls.side.expect(rf"^device{number} sessions (\d+)").group(1))
            next(daemon for daemon in cls.daemons if daemon.sessions == sessions).url = url

    @classmethod
    def tearDownClass(cls):
        """Nobody is connected any more: the daemons are as they were before."""
        status = cls.side.stop()
        assert status == 0, f"the side of the clients ended with status {status} (123: its kernel warned)"
        for daemon in cls.daemons:
            if daemon is cls.doomed and daemon.process.poll() is not None:
                continue
            at_start = daemon.descriptors_at_start
            try:
                until("descriptors to be closed", lambda d=daemon, a=at_start: d.descriptors() == a)
            except AssertionError:
                raise AssertionError(f"{daemon.name}: descriptors {daemon.descriptors()}, at the start {at_start}; "
                                     f"vacceld said:\n{daemon.said()}") from None
            assert len(daemon.children()) == 1, daemon.children()
            status, left = daemon.stop()
            assert status == 0, f"vacceld ended with status {status}: {daemon.said()}"
            assert not left, f"vacceld left processes {left}"
            assert not daemon.socket.exists(), "vacceld left its socket"

    def start(self, daemon, scenario, before="", **words):
        """Starts a client in the background; returns its tag."""
        tag = f"{self.id().split('.')[-1]}-{next(self.keys)}"
        text = " ".join(f"{name}={value}" for name, value in words.items())
        self.side.run(f"{{ {before} {fixture.CLIENT} {daemon.url} {scenario} tag={tag} {text}; "
                      f"echo \"{tag} status $?\"; }} &")
        return tag

    def hang(self, daemon, scenario="one", times=1, **words):
        """A client whose request is inside the plugin, and stays there until its worker dies."""
        key = next(self.keys)
        tag = self.start(daemon, scenario, fault="hang", times=times, key=key, **words)
        daemon.inside(HANG, key)
        return tag, key

    def ends(self, tag, *patterns):
        """The client said all these, and ended well."""
        self.side.expect(rf"^{tag} status 0$")
        for pattern in patterns:
            self.assertTrue(self.side.find(rf"^{tag} {pattern}"), f"{pattern} in {self.said(tag)}")
        self.assertFalse(self.side.find(rf"^{tag} .*(wrong$|changed$|completed twice|one more)"), self.said(tag))

    def said(self, tag):
        return [match.string for match in self.side.find(rf"^{tag} ")]

    def works(self, daemon):
        """A new client gets a right result."""
        self.ends(self.start(daemon, "one", size=LARGE), "result 0 right", "next 0 right")

    # ---- the worker is killed

    def test_between_requests(self):
        for size in SMALL, LARGE:
            with self.subTest(size=size):
                go = f"go.{next(self.keys)}"
                tag = self.start(self.main, "between", size=size, go=self.side.path(go))
                self.side.expect(rf"^{tag} result 0 right", times=2)
                self.main.kill_worker()
                self.side.touch(go)
                self.ends(tag, "kept right", "next 0 right")
                self.assertEqual(len(self.side.find(rf"^{tag} next 0 right")), 2)

    def test_during_request(self):
        """Without beta it runs again; with beta it may have changed C already, and fails."""
        for size, registered, beta in itertools.product((SMALL, LARGE), (0, 1), (0, 1)):
            with self.subTest(size=size, registered=registered, beta=beta):
                tag, _ = self.hang(self.main, size=size, registered=registered, beta=beta)
                self.main.kill_worker()
                self.ends(tag, f"result -{EOWNERDEAD} .*interrupted" if beta else "result 0 right", "inputs intact",
                          "next 0 right")

    def test_during_tool(self):
        """The tool itself, in its usual way."""
        for beta, says, status in (0, "verified: ", 0), (1, "interrupted", 1):
            with self.subTest(beta=beta):
                self.main.hang.touch()
                tag = f"tool-{next(self.keys)}"
                ended = self.side.send(f"{{ {fixture.VACCEL} sgemm -t {self.main.url} -m 77 -n 77 -k 77 --beta {beta} "
                                       f"2>&1; echo status $?; }} | sed 's/^/{tag} /'")
                until("a plugin to begin the request", lambda: not self.main.hang.exists())
                self.main.kill_worker()
                self.side.expect(ended)
                self.side.expect(rf"^{tag} .*{says}")
                self.side.expect(rf"^{tag} status {status}$")

    def test_twice(self):
        """What was in two workers that died is not given to a third."""
        tag, key = self.hang(self.main, size=LARGE, times=2)
        self.main.kill_worker()
        path = self.main.cache / f"alpha-{HANG}-{key}"
        until("the request to run again", lambda: path.read_bytes() == b"\x02")
        self.main.kill_worker()
        self.ends(tag, f"result -{EIO} .*died", "inputs intact", "next 0 right")

    def test_queue(self):
        """What had not begun runs once, whatever beta. One may run beside that which hangs, in the thread of its ring."""
        for size, registered, beta in itertools.product((SMALL, LARGE), (0, 1), (0, 1)):
            with self.subTest(size=size, registered=registered, beta=beta):
                tag, _ = self.hang(self.single, "queue", size=size, registered=registered, beta=beta, count=12)
                self.side.expect(f"^{tag} submitted")
                self.single.kill_worker()
                self.ends(tag, f"request 0 -{EOWNERDEAD} .*interrupted" if beta else "request 0 0 right",
                          "next 0 right")
                self.assertEqual(len(self.side.find(rf"^{tag} request ")), 12, self.said(tag))
                begun = self.side.find(rf"^{tag} request [1-9]\d* -{EOWNERDEAD} .*interrupted")
                self.assertLessEqual(len(begun), beta, self.said(tag))
                self.assertEqual(len(self.side.find(rf"^{tag} request [1-9]\d* 0 right")), 11 - len(begun), self.said(tag))

    def progress(self, scenario, tags):
        """Every client has done two things more than until now."""
        seen = {tag: len(self.side.find(rf"^{tag} {scenario} ")) for tag in tags}
        for tag in tags:
            self.side.expect(rf"^{tag} {scenario} ", times=seen[tag] + 2)

    def kill_under(self, scenario):
        """Kills the worker again and again under four clients; returns their tags when they have ended."""
        stop = f"stop.{next(self.keys)}"
        tags = [self.start(self.main, scenario, size=size, stop=self.side.path(stop))
                for size in (SMALL, SMALL, LARGE, LARGE)]
        for _ in range(8):
            # A request that is killed twice fails, rightly: every client must have got on since the last time.
            self.progress(scenario, tags)
            self.main.kill_worker()
        self.progress(scenario, tags)
        self.side.touch(stop)
        for tag in tags:
            self.ends(tag)
        return tags

    def only_interrupted(self, tag):
        """All that went wrong under this load is what may not run twice."""
        unexpected = [line for line in self.said(tag) if " load " in line and not line.endswith("0 right") and
                      not (f"beta 1: -{EOWNERDEAD} " in line and "interrupted" in line)]
        self.assertEqual(unexpected, [])

    def test_load(self):
        """beta = 0 never fails, and all of them go on."""
        for tag in self.kill_under("load"):
            self.only_interrupted(tag)

    def test_churn(self):
        """What opens and closes sessions and buffers happens once, and nothing of it is left over."""
        self.kill_under("churn")
        expected = f"filled {self.main.sessions} of {self.main.sessions} sessions, " \
                   f"{fixture.BUFFERS} of {fixture.BUFFERS} buffers"

        def filled():
            # A driver cleans up behind a client after its end.
            tag = self.start(self.main, "fill")
            self.ends(tag)
            return self.side.find(f"^{tag} {expected}$")
        until("all sessions and buffers to be free", filled)

    # ---- requests that kill it

    def test_crash_once(self):
        for fault in "segv", "bus", "abort", "exit", "kill":
            with self.subTest(fault):
                tag = self.start(self.main, "one", fault=fault, times=1, key=next(self.keys), size=LARGE)
                self.ends(tag, "result 0 right", "next 0 right")

    def test_crash_always(self):
        """Such a request fails after two deaths; beside it results are right, or interrupted where that must be."""
        stop = f"stop.{next(self.keys)}"
        beside = self.start(self.main, "load", size=SMALL, stop=self.side.path(stop))
        for fault in "segv", "bus", "abort", "exit", "kill":
            with self.subTest(fault):
                self.progress("load", [beside])
                workers = self.main.said().count(" is ready")
                tag = self.start(self.main, "one", fault=fault, key=0, size=LARGE)
                self.ends(tag, f"result -{EIO} .*died", "inputs intact", "next 0 right")
                self.assertEqual(self.main.said().count(" is ready"), workers + 2)
        self.side.touch(stop)
        self.ends(beside)
        self.only_interrupted(beside)

    def test_time_limit(self):
        for size in SMALL, LARGE:
            with self.subTest(size=size):
                tag = self.start(self.limited, "one", fault="hang", key=next(self.keys), size=size)
                self.ends(tag, f"result -{ETIMEDOUT} .*longer", "inputs intact", "next 0 right")

    # ---- others that die

    def test_client_killed(self):
        """Its request goes on without it, and is in nobody's way."""
        tag, key = f"victim-{next(self.keys)}", next(self.keys)
        now = f"now.{key}"
        self.side.run(f"{{ {fixture.CLIENT} {self.main.url} one tag={tag} fault=hang times=1 key={key} size={LARGE} "
                      f"registered=1 & victim=$!; until [ -e {self.side.path(now)} ]; do sleep 0.05; done; "
                      f"kill -9 $victim; wait $victim; echo {tag} status $?; }} &")
        self.main.inside(HANG, key)
        self.side.touch(now)
        self.side.expect(rf"^{tag} status 137$")
        self.assertEqual(self.said(tag), [f"{tag} status 137"])
        self.works(self.main)
        self.main.kill_worker()
        self.works(self.main)

    def test_device_unbound(self):
        """Requests in flight and those after them fail with ENODEV; bound again, the device works."""
        if KIND == "shm":
            self.skipTest("no guest, no driver")
        device = self.single.url.rsplit("/", 1)[-1]
        drivers = "/sys/bus/virtio/drivers/virtio_accel"
        waiting, _ = self.hang(self.single, size=LARGE, registered=1)
        key = next(self.keys)
        queue = self.start(self.single, "queue", fault="hang", times=1, key=key, size=LARGE, count=4)
        self.side.expect(rf"^{queue} submitted")
        self.side.run(f"name=$(basename $(readlink /sys/class/misc/{device}/device)); echo $name > {drivers}/unbind; "
                      f"echo unbound $name $?")
        self.side.expect(r"^unbound virtio\d+ 0$")
        self.side.expect(rf"^{waiting} status ")
        self.side.expect(rf"^{queue} status ")
        for pattern in rf"{waiting} result -{ENODEV} ", rf"{waiting} next -{ENODEV} ", rf"{queue} next -{ENODEV} ":
            self.assertTrue(self.side.find(f"^{pattern}"), self.said(waiting) + self.said(queue))
        self.assertEqual(len(self.side.find(rf"^{queue} request \d -{ENODEV} ")), 4, self.said(queue))
        self.side.run(f"[ ! -e /dev/{device} ] && echo gone; echo $name > {drivers}/bind; echo bound $?")
        self.side.expect("^gone$")
        self.side.expect("^bound 0$")
        self.works(self.single)

    def test_daemon_killed(self):
        """With its supervisor. QEMU does not tell its guest: a request waits and can be killed, until one has a deadline that
        passes; the driver then finds that nobody answers, and gives the device up for all."""
        go = f"go.{next(self.keys)}"
        late = self.start(self.doomed, "between", size=SMALL, go=self.side.path(go), deadline=200)
        self.side.expect(rf"^{late} result 0 right", times=2)
        tag, key = f"victim-{next(self.keys)}", next(self.keys)
        now = f"now.{key}"
        device = self.doomed.url.rsplit("/", 1)[-1]
        self.side.run(f"{{ {fixture.CLIENT} {self.doomed.url} one tag={tag} fault=hang times=1 key={key} size={LARGE} "
                      f"& victim=$!; until [ -e {self.side.path(now)} ]; do sleep 0.05; done; "
                      f"kill -9 $victim 2>&-; wait $victim; echo {tag} status $?; }} &")
        self.doomed.inside(HANG, key)
        _, left = self.doomed.stop(signal.SIGKILL)
        self.assertEqual(left, [], "the worker outlives its supervisor")
        if KIND != "qemu":
            self.side.expect(rf"^{tag} result -{ECONNRESET if KIND == 'shm' else ENODEV} ")
            self.side.expect(rf"^{tag} next -")
            self.side.touch(now)
            self.side.expect(rf"^{tag} status ")
            self.side.touch(go)
            self.side.expect(rf"^{late} next -", times=2)
            return
        self.side.touch(now)
        self.side.expect(rf"^{tag} status 137$")
        self.assertEqual(self.said(tag), [f"{tag} status 137"])
        other = self.start(self.doomed, "one", size=LARGE)
        self.side.run(f"until ls -l /proc/[0-9]*/fd 2>&- | grep -q {device}; do sleep 0.05; done; echo {other} waits")
        self.side.expect(rf"^{other} waits")
        self.side.touch(go)
        self.side.expect(rf"^{late} next -{ENODEV} ", times=2)
        self.side.expect(rf"^{other} open -{ENODEV} ")
        self.side.expect(rf"^{other} status 1$")
        self.side.run(f"basename $(readlink /sys/class/misc/{device}/device) > "
                      "/sys/bus/virtio/drivers/virtio_accel/unbind; echo given up $?")
        self.side.expect("^given up 0$")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("shm", "uml", "qemu"):
        sys.exit(__doc__)
    KIND = sys.argv.pop(1)
    if not all(os.access(program, os.X_OK) for program in (fixture.VACCEL, fixture.VACCELD, fixture.CLIENT)):
        fixture.skip("VACCEL, VACCELD or VACCEL_FAULT_CLIENT names no program")
    witness.main(240 if KIND == "shm" else 840)
