# SPDX-License-Identifier: Apache-2.0
"""A worker that fills the statistics with nonsense: whoever reads them gets nonsense, in good order, and goes on."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

VACCEL, VACCELD = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD"))
STUCK = 120


class Scribble(unittest.TestCase):
    def vaccel(self, *arguments):
        run = subprocess.run([VACCEL, *arguments], check=False, text=True, capture_output=True, timeout=STUCK)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return run.stdout

    def test_scribble(self):
        with tempfile.TemporaryDirectory() as folder:
            path, metrics = pathlib.Path(folder) / "sock", pathlib.Path(folder) / "metrics"
            with subprocess.Popen([VACCELD, "--config=", "--set=order.noop=scribble", "--set=metrics.trace=on",
                                   f"--set=metrics.listen=unix:{metrics}", f"--socket-path={path}"],
                                  stderr=subprocess.PIPE, text=True) as daemon:
                try:
                    deadline = time.monotonic() + STUCK
                    while not path.exists() and daemon.poll() is None and time.monotonic() < deadline:
                        time.sleep(0.02)
                    self.use(path, metrics)
                    children = pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text(encoding="ascii")
                finally:
                    daemon.send_signal(signal.SIGTERM)
                said = daemon.communicate(timeout=STUCK)[1]
        self.assertEqual(daemon.returncode, 0, said)
        # The one that it began with.
        self.assertIn(f"worker {children.strip()} is ready", said)
        self.assertNotIn("died", said)

    def use(self, path, metrics):
        # Three times: over one's own, over a closed connection's, over the sum of both.
        for _ in range(3):
            self.vaccel("ping", "--count=2", f"--transport=shm:{path}")
            self.vaccel("stats", f"--transport=shm:{path}")
            said = json.loads(self.vaccel("stats", f"--metrics=unix:{metrics}", "--json"))
            self.assertEqual((said["worker_starts"], said["worker_up"]), (1, 1))
            self.assertIn("closed", [guest["guest"] for guest in said["guests"]])
        text = self.vaccel("stats", f"--metrics=unix:{metrics}")
        self.assertTrue(re.search(r"(?m)^noop +\d+ ", text))


if __name__ == "__main__":
    unittest.main()
