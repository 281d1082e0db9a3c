# SPDX-License-Identifier: Apache-2.0
"""vacceld's log as JSON: each line of supervisor and worker is an object with the members that vacceld(8) names."""

import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

VACCEL, VACCELD = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD"))
STUCK = 120


class Logs(unittest.TestCase):
    def run_daemon(self, *options, bad=False):
        """The lines that a daemon writes which served a client."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "sock"
            with subprocess.Popen([VACCELD, "--config=", "--set=order.default=reference", f"--socket-path={path}",
                                   *options], stderr=subprocess.PIPE, text=True) as daemon:
                try:
                    while not path.exists() and daemon.poll() is None:
                        pass
                    subprocess.run([VACCEL, "ping", "--count=2", f"--transport=shm:{path}"], check=not bad,
                                   capture_output=True, timeout=STUCK)
                finally:
                    daemon.send_signal(signal.SIGTERM)
                return daemon.communicate(timeout=STUCK)[1].splitlines(), daemon.pid

    def test_objects(self):
        lines, pid = self.run_daemon("--log-format=json", "--log-level=debug")
        rows = [json.loads(line) for line in lines]
        programs = {}
        for row in rows:
            self.assertLessEqual({"time", "level", "program", "pid", "message"}, set(row))
            self.assertLessEqual(set(row), {"time", "level", "program", "pid", "connection", "message"})
            self.assertIn(row["level"], ("error", "warning", "info", "debug"))
            self.assertRegex(row["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
            age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
                row["time"].replace("Z", "+00:00"))
            self.assertLess(abs(age.total_seconds()), 3600)
            programs.setdefault(row["program"], set()).add(row["pid"])
            self.assertEqual(row.get("connection"), 1 if row["message"].startswith("connection 1: ") else None)
        self.assertEqual(programs["vacceld"], {pid})
        self.assertEqual(set(programs), {"vacceld", "vacceld-worker"})
        self.assertIn(1, [row.get("connection") for row in rows])
        self.assertIn("debug", [row["level"] for row in rows])

    def test_text(self):
        for options in [], ["--log-format=text"]:
            lines, pid = self.run_daemon(*options)
            self.assertEqual([line for line in lines if not re.match(r"vacceld(-worker)?\[\d+\]: ", line)], [])
            self.assertTrue(any(line.startswith(f"vacceld[{pid}]: ") for line in lines))

    def test_hostile_text(self):
        """What the configuration says comes back in an error, whatever it is."""
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / 'bad"\\\n\x1b'
            config.write_bytes(b"[limits]\nsessions = \"\\ \xff\xc2\x9b\x01\xe2\x82\xac\n")
            done = subprocess.run([VACCELD, f"--config={config}", "--socket-path=/nonexistent/x", "--log-format=json"],
                                  stderr=subprocess.PIPE, check=False, timeout=STUCK)
        line, = done.stderr.decode("utf-8").splitlines()
        row = json.loads(line)
        self.assertEqual(row["level"], "error")
        self.assertIn('/bad"\\\n\x1b:2: ', row["message"])
        self.assertIn('sessions = "\\ \ufffd\x9b\x01\u20ac', row["message"])
        self.assertNotIn(b"\x9b", done.stderr)

    def test_usage(self):
        done = subprocess.run([VACCELD, "--log-format=xml", "--socket-path=x"], stderr=subprocess.PIPE, text=True,
                              check=False)
        self.assertEqual((done.returncode, done.stderr),
                         (2, "vacceld: --log-format: 'xml' is not one of text, json\n"))


if __name__ == "__main__":
    unittest.main()
