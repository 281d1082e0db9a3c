# SPDX-License-Identifier: Apache-2.0
"""Plugin tensorflow in a daemon's worker: what it needs is let through by the sandbox, at the start and later.

From the environment: VACCEL, VACCELD, VACCEL_PLUGIN_DIR, SHARE (programs), PYTHON with TensorFlow, MAKER of models.
"""

import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
VACCEL, VACCELD, SHARE, PYTHON, MAKER = (os.environ.get(name, "") for name in
                                         ("VACCEL", "VACCELD", "SHARE", "PYTHON", "MAKER"))
STUCK = 240


def until(what, condition):
    deadline = time.monotonic() + STUCK
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"stuck waiting for {what}")
        time.sleep(0.05)
    return value


def floats(path):
    """The elements of an array of float32 in an .npy file, or of a file of nothing but elements."""
    data = pathlib.Path(path).read_bytes()
    if data[:6] == b"\x93NUMPY":
        data = data[10 + struct.unpack_from("<H", data, 8)[0]:]
    return struct.unpack(f"<{len(data) // 4}f", data)


def save(path, shape, data):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + data)


class TensorFlow(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="vaccel-test.")  # pylint: disable=consider-using-with
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.made = self.folder / "made"
        self.models = self.folder / "models"
        self.made.mkdir()
        self.models.mkdir()
        done = subprocess.run([PYTHON, MAKER, self.made], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def install(self, name, source):
        """A model as an administrator brings it: made aside, and renamed."""
        aside = self.folder / f"aside-{name}"
        shutil.copytree(source, aside / "saved_model")
        (aside / "model.conf").write_text("[model]\nframework = tensorflow\nfile = saved_model\n")
        aside.rename(self.models / name)

    def start(self):
        self.log = self.folder / "log"
        with open(self.log, "wb") as log:
            daemon = subprocess.Popen(  # pylint: disable=consider-using-with
                [VACCELD, "--config=", "--set=sandbox.mode=required", "--set=sandbox.violation=report",
                 f"--set=engine.cache_dir={self.folder}/cache", f"--socket-path={self.folder}/sock", f"--models={self.models}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def stop():
            daemon.terminate()
            daemon.wait(STUCK)
        self.addCleanup(stop)

        def ready():
            if daemon.poll() is not None and "is required" in self.said():
                print(f"skipped: no sandbox can be had here: {self.said()}")
                self.skipTest("no sandbox")
            self.assertIsNone(daemon.poll(), self.said())
            return "is ready" in self.said()
        until("a worker that is ready", ready)

    def said(self):
        return self.log.read_text(errors="replace")

    def answer(self, name):
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        data = (self.made / "dense.x").read_bytes()
        save(self.folder / "x.npy", (5, 8), data)
        done = subprocess.run([VACCEL, "infer", "-t", f"shm:{self.folder}/sock", "--model", name, "--input",
                               f"x={self.folder}/x.npy", "--output", out], capture_output=True, text=True, timeout=STUCK,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr + self.said())
        return floats(out / "y.npy")

    def test_sandbox(self):
        done = subprocess.run([SHARE, self.made / "dense", self.folder / "shared"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        want = floats(self.made / "dense.y")
        self.install("first", self.made / "dense")
        self.start()
        # One that is there from the start, one that comes later, one that comes with its weights in a file.
        self.install("later", self.made / "dense")
        self.install("shared", self.folder / "shared")
        for name in ("first", "later", "shared"):
            until(f"model {name}", lambda name=name: f"model {name}: " in self.said())
            for got, expected in zip(self.answer(name), want, strict=True):
                self.assertAlmostEqual(got, expected, places=5)
        self.assertNotIn("is not allowed", self.said())
        # All lines are the daemon's: TensorFlow has not written any by itself.
        for line in self.said().splitlines():
            self.assertRegex(line, r"^vacceld(-worker)?\[\d+\]: ")


if __name__ == "__main__":
    if not PYTHON:
        print("skipped: there is no Python with TensorFlow (tools/tensorflow)")
        sys.exit(77)
    unittest.main()
