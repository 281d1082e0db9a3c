#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_load.py [uml]: models under load. Eight sessions on two models, ten thousand requests, models that are replaced, batches,
and workers that are killed meanwhile: answers are right and no request fails. With "uml": two guests at once, instead.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import fixture

KIND = sys.argv[1] if len(sys.argv) > 1 else "shm"
SESSIONS = 8
# What a worker may be larger by after REQUESTS than after WARM. Its allocators' arenas settle by then.
WARM, REQUESTS, GROWTH = 2000, 10000, 3 << 20


def said(line):
    """The numbers of models-load's last line."""
    words = line.split()
    return dict(zip(words[::2], map(int, words[1::2])))


class Load(fixture.Test):
    """Each with a daemon and a folder of models of its own. What TensorFlow says to the pictures is asked for once."""

    @classmethod
    def setUpClass(cls):
        cls.pictures = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-models."))
        cls.addClassCleanup(shutil.rmtree, cls.pictures)
        cls.truth = {}

    def setUp(self):
        super().setUp()
        if (KIND == "uml") != self.id().endswith("_guests"):
            self.skipTest("for another kind")

    def expected(self, *rows, name="expected"):
        """A file for models-load, of (model, its folder, pictures)."""
        path = self.folder / name
        lines = []
        for model, folder, pictures in rows:
            known = (model.removesuffix("-batch"), *pictures)
            if known not in self.truth:
                self.truth[known] = fixture.answers(folder, pictures)
            for picture, probabilities in self.truth[known].items():
                best = max(range(len(probabilities)), key=probabilities.__getitem__)
                lines.append(f"{model}\t{picture}\t{best}\t{probabilities[best]:.9g}\n")
        path.write_text("".join(lines))
        return path

    def digits(self, n=40):
        folder = self.pictures / f"{n}"
        if not folder.exists():
            fixture.run(fixture.SOURCE / "models/digits/pictures", folder, n)
        return sorted(map(str, folder.glob("*.png")))

    def load(self, daemon, requests, expected, sessions=SESSIONS):
        out = fixture.run(fixture.CLIENT, daemon.url, sessions, requests, expected)
        return said(out.splitlines()[-1])

    def clean(self, result, requests=None):
        self.assertEqual((result["failed"], result["wrong"]), (0, 0), result)
        if requests:
            self.assertEqual(result["requests"], requests)

    def start(self, daemon, expected, sessions=SESSIONS):
        """Load until stop(), which returns what came of it."""
        end = self.folder / "stop"
        process = subprocess.Popen([fixture.CLIENT, daemon.url, str(sessions), str(10 ** 9), expected, end],  # pylint: disable=consider-using-with
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        lines, news = [], threading.Condition()

        def read():
            for line in process.stdout:
                with news:
                    lines.append(line)
                    news.notify_all()
        threading.Thread(target=read, daemon=True).start()

        def goes_on(what=r"at \d+", times=1):
            """Waits until another line says so."""
            with news:
                start = len(lines)
                self.assertTrue(news.wait_for(lambda: sum(bool(re.match(what, line)) for line in lines[start:]) >= times,
                                              fixture.STUCK), lines[-5:])
        self.assertTrue(self.wait(lambda: "begun\n" in lines), lines)

        def stop():
            end.touch()
            self.assertTrue(self.wait(lambda: lines and lines[-1].startswith("requests ")), lines[-5:])
            end.unlink()
            return said(lines[-1]), process.stderr.read()
        return goes_on, stop

    @staticmethod
    def wait(condition):
        deadline = time.monotonic() + fixture.STUCK
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        return condition()

    def models(self, daemon):
        rows = json.loads(fixture.run(fixture.VACCEL, "models", "-t", daemon.url, "--json"))["models"]
        return {row["name"]: row for row in rows}

    # ---- two models, two guests

    def test_two_guests(self):
        module = fixture.build_module("uml")
        store = self.store("digits", "mobilenetv2")
        expected = self.expected(("digits", store / "digits", self.digits()),
                                 ("mobilenetv2", store / "mobilenetv2", fixture.photographs(5000, 65536)))
        daemon = self.daemon(store)
        results = [None, None]

        def guest(i):
            try:
                results[i] = fixture.run(*fixture.guest_words("uml", module, daemon.socket, fixture.CLIENT,
                                                              "virtio:/dev/vaccel0", SESSIONS // 2, 300, expected))
            except AssertionError as error:
                results[i] = error
        threads = [threading.Thread(target=guest, args=(i,)) for i in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            self.assertIsInstance(result, str, result)
            self.clean(said(result.splitlines()[-1]), 300)

    def test_two_models_and_memory(self):
        """Eight sessions; then the worker's memory over ten thousand requests, one in forty of them a large model's."""
        store = self.store("digits", "mobilenetv2")
        both = self.expected(("digits", store / "digits", self.digits()),
                             ("mobilenetv2", store / "mobilenetv2", fixture.photographs(5000)))
        daemon = self.daemon(store)
        self.clean(self.load(daemon, WARM, both), WARM)
        before = daemon.worker_memory()
        pid = daemon.worker_ready()
        self.clean(self.load(daemon, REQUESTS, both), REQUESTS)
        grown = daemon.worker_memory() - before
        print(f"the worker has {before >> 20} MB, and {grown / 2 ** 20:.2f} MB more after {REQUESTS} requests",
              file=sys.stderr)
        self.assertEqual(daemon.worker_ready(), pid)
        self.assertLessEqual(grown, GROWTH)

    # ---- a model is replaced

    def put_version(self, store, version):
        """A folder in place of another: two renames."""
        made = self.folder / f"version.{version}"
        shutil.copytree(store / "digits", made)
        (made / "labels.txt").write_text("".join(f"{version}:{digit}\n" for digit in range(10)))
        (store / "digits").rename(self.folder / f"old.{version}")
        made.rename(store / "digits")
        return f"{version}:"

    def test_replaced(self):
        store = self.store("digits")
        expected = self.expected(("digits", store / "digits", self.digits()))
        daemon = self.daemon(store)
        goes_on, stop = self.start(daemon, expected)
        hashes = {self.models(daemon)["digits"]["sha256"]}
        for version in range(5):
            label = self.put_version(store, version)
            deadline = time.monotonic() + fixture.STUCK
            while True:
                row = json.loads(fixture.run(fixture.VACCEL, "classify", "-t", daemon.url, "-m", "digits", "-j",
                                             self.digits()[0]))["images"][0]
                if row["labels"][0]["label"].startswith(label):
                    break
                self.assertLess(time.monotonic(), deadline, f"still {row}: {daemon.said()[-2000:]}")
                time.sleep(0.05)
            goes_on()
            hashes.add(self.models(daemon)["digits"]["sha256"])
        result, error = stop()
        self.clean(result)
        self.assertEqual(error, "")
        self.assertEqual(len(hashes), 6)
        self.assertGreater(result["other"], 0)
        self.assertLess(result["other"], result["requests"])

    # ---- batches

    def test_batched(self):
        store = self.store("digits-batch", "digits")
        expected = self.expected(("digits-batch", store / "digits-batch", self.digits()))
        daemon = self.daemon(store)
        result = self.load(daemon, 2000, expected)
        self.clean(result, 2000)
        print(f"up to {result['batched']} together", file=sys.stderr)
        self.assertGreater(result["batched"], 1, "nothing ran together: the test is blind")
        self.assertLessEqual(result["batched"], 8)
        one = self.expected(("digits", store / "digits", self.digits()), name="alone")
        self.assertEqual(self.load(daemon, 200, one)["batched"], 1)

    # ---- the worker dies

    def test_killed(self):
        store = self.store("digits", "mobilenetv2")
        expected = self.expected(("digits", store / "digits", self.digits()),
                                 ("mobilenetv2", store / "mobilenetv2", fixture.photographs(5000)))
        daemon = self.daemon(store)
        goes_on, stop = self.start(daemon, expected, sessions=4)
        for _ in range(3):
            # A request that was in flight at two deaths would be taken for their cause.
            goes_on(times=3)
            daemon.kill_worker()
        goes_on()
        result, error = stop()
        self.clean(result)
        self.assertEqual(error, "")
        recovered = re.findall(r"recover|again|in flight", daemon.said())
        self.assertTrue(recovered, f"no request was in flight when workers died: the test is blind: {daemon.said()[-3000:]}")


if __name__ == "__main__":
    fixture.main()
