# SPDX-License-Identifier: Apache-2.0
"""Models behind a sandboxed daemon, and in the process itself: replaced under load, broken, many requests.

Beside the environment of tests/cli/fixture.py: MODEL_LOAD, the program load.c; SANITIZED, not empty in a build whose memory
grows by its own account.
"""

import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import fixture  # noqa: E402 pylint: disable=wrong-import-position

LOAD = os.environ.get("MODEL_LOAD", "load")
SANITIZED = os.environ.get("SANITIZED")
PICTURE = fixture.SOURCE / "models" / "digits" / "heldout" / "3-0013.png"
SESSIONS = 8
# What the daemon's worker may grow by in 10,000 requests: arenas of threads that had not allocated before, no more.
GROWTH_KIB = 4096

CONFIGURATION = """[engine]
threads = 2

[order]
default = reference models

[models]
dir = {folder}/models

[plugin models]
settle_ms = 50
"""

PICTURES = """[model]
framework = reference
description = version {version}

[image]
output = probabilities
scale = 0.00392156862745098
{more}
[reference]
graph = dense
"""

SUMS = """[model]
framework = reference
description = version {version}
{more}
[reference]
graph = add
width = 4
"""


class Models(fixture.Test):
    def setUp(self):
        super().setUp()
        self.models = self.folder / "models"
        self.models.mkdir()
        self.config.write_text(CONFIGURATION.format(folder=self.folder))
        self.install("pictures", PICTURES, 0)
        self.install("sums", SUMS, 0)

    def install(self, name, text, version, more=""):
        """A version in a folder of its own, which a link of the model's name leads to."""
        folder = self.models / f".{name}-{version}"
        folder.mkdir()
        (folder / "model.conf").write_text(text.format(version=version, more=more))
        link = self.models / f".{name}"
        link.symlink_to(folder.name)
        link.rename(self.models / name)

    def load(self, url, requests):
        """The load is over and had no error; what it printed."""
        done = subprocess.run([LOAD, url, str(SESSIONS), str(requests), PICTURE], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def load_of_two(self, url, requests):
        """The same, of two clients that have half of the sessions and requests each."""
        loads = [subprocess.Popen([LOAD, url, str(SESSIONS // 2), str(requests // 2), PICTURE],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  text=True) for _ in range(2)]
        for load in loads:
            self.addCleanup(load.kill)
        for load in loads:
            _, errors = load.communicate(timeout=600)
            self.assertEqual(load.returncode, 0, errors)

    def start_load(self, url):
        load = subprocess.Popen([LOAD, url, str(SESSIONS), "0", PICTURE], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(load.kill)
        return load

    def end_load(self, load):
        out, errors = load.communicate(timeout=300)
        self.assertEqual(load.returncode, 0, errors)
        self.assertGreater(int(out.split()[0]), 0)

    def wait_for(self, url, name, **expected):
        """Until the list has a model like that; None: until it has none of that name."""
        for _ in range(600):
            rows = {row["name"]: row for row in self.json("models", "--transport", url)["models"]}
            row = rows.get(name)
            if row is not None and all(row.get(key) == value for key, value in expected.items()):
                return row
            time.sleep(0.05)
        return self.fail(f"{name} is not {expected} but {row}")

    def description(self, url, name, wanted):
        for _ in range(600):
            said = self.json("models", name, "--transport", url)["description"]
            if said == wanted:
                return
            time.sleep(0.05)
        self.fail(f"{name} is still '{said}'")

    def log(self):
        return (self.folder / "log").read_text()

    def wait_logged(self, text):
        for _ in range(1200):
            if text in self.log():
                return
            time.sleep(0.05)
        self.fail(f"not logged: {text}; but: {self.log()}")

    def worker(self):
        return self.children(self.daemon.pid)[0]

    def private_kib(self):
        status = pathlib.Path(f"/proc/{self.worker()}/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0])


class Replace(Models):
    def replace(self, url, load):
        for version in range(1, 11):
            self.install("pictures", PICTURES, version)
            self.install("sums", SUMS, version)
            self.description(url, "pictures", f"version {version}")
            self.description(url, "sums", f"version {version}")
            self.assertIsNone(load.poll(), "the load has ended")
        self.end_load(load)

    def test_daemon(self):
        """No request fails while both models are replaced ten times, in a sandbox that allows no call that is in no list."""
        self.config.write_text(self.config.read_text() + "\n[sandbox]\nviolation = report\n")
        url = self.start_daemon()
        worker = self.worker()
        self.replace(url, self.start_load(url))
        self.assertEqual(self.worker(), worker, "the worker died")
        self.assertNotIn("is not allowed", self.log())

    def test_broken(self):
        """A broken version does not replace one that works; the cause is in the log and no guest's business."""
        url = self.start_daemon()
        self.wait_for(url, "sums", broken=False)
        load = self.start_load(url)
        self.install("sums", SUMS.replace("graph = add", "graph = none"), 1)
        self.install("bad", "[model]\nframework = reference\nfile = {version}\n{more}", 1)
        self.wait_for(url, "bad", broken=True)
        self.wait_logged("model sums: what is installed now is broken, the version before it still serves: reference: "
                         "[reference] graph = 'none' is none of the graphs")
        self.assertIn("model bad: broken: 1: cannot open", self.log())
        done = self.vaccel("classify", PICTURE, "--model", "bad", "--transport", url, status=fixture.FAILED)
        self.assertIn("bad: is installed but broken", done.stderr)
        self.assertNotIn(str(self.models), done.stderr)
        self.end_load(load)

    def test_removed(self):
        url = self.start_daemon()
        self.wait_for(url, "sums", broken=False)
        (self.models / "sums").unlink()
        self.wait_logged("model sums: removed")
        done = self.vaccel("models", "sums", "--transport", url, status=fixture.FAILED)
        self.assertIn("there is no model 'sums'", done.stderr)
        self.wait_for(url, "pictures", broken=False)


class Many(Models):
    def test_growth(self):
        """10,000 requests of two clients and eight sessions on two models leave the worker as large as it was."""
        url = self.start_daemon()
        self.load_of_two(url, 1000)
        before = self.private_kib()
        self.load_of_two(url, 10000 if not SANITIZED else 1000)
        growth = self.private_kib() - before
        print(f"worker: {before} KiB of private memory, {growth} more after 10,000 requests", file=sys.stderr)
        self.assertLess(growth, GROWTH_KIB if not SANITIZED else 1 << 30)

    def test_replaced_growth(self):
        """Nor do versions stay in memory: each of these has 16 MiB of weights."""
        large = PICTURES.replace("graph = dense", "graph = dense\nhidden = 2048\nwidth = 64\nheight = 32\n")
        url = self.start_daemon()
        for version in range(1, 13 if not SANITIZED else 6):
            self.install("pictures", large, version)
            self.description(url, "pictures", f"version {version}")
            if version == 4:
                before = self.private_kib()
        growth = self.private_kib() - before
        print(f"worker: {before} KiB of private memory, {growth} more after 8 versions", file=sys.stderr)
        self.assertLess(growth, 40 << 10 if not SANITIZED else 1 << 30)

    def test_batches(self):
        """Eight sessions' requests run together, with the answers that they have alone."""
        batch = "[batch]\nmax = 8\ndelay_us = 20000\n"
        self.install("pictures", PICTURES, 1, more=batch)
        self.install("sums", SUMS, 1, more=batch)
        url = self.start_daemon()
        self.wait_for(url, "pictures", broken=False)
        printed = self.load(url, 400)
        self.assertGreater(int(printed.split()[-1]), 1, printed)

    def test_local(self):
        self.assertIn("2000 requests", self.load(self.local, 2000))


if __name__ == "__main__":
    fixture.main()
