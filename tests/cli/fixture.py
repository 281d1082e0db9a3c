# SPDX-License-Identifier: Apache-2.0
"""What the tests of vaccel(1) share: running the tool, in a private folder, and looking at what it says.

From the environment: VACCEL (the program), VACCELD (the daemon; may be absent), VACCEL_PLUGIN_DIR, VACCEL_SOURCE (the
source tree). A test file is a unittest script; end it with fixture.main().
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
PROGRAM = os.environ.get("VACCEL", "vaccel")
DAEMON = os.environ.get("VACCELD")
SOURCE = pathlib.Path(os.environ.get("VACCEL_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
OK, FAILED, USAGE, NO_CONNECTION = range(4)
CONFIGURATION = "[engine]\nthreads = 1\nop_threads = 1\n\n[order]\ndefault = reference\n"


class Test(unittest.TestCase):
    """Gives each test a private folder with a configuration of the reference plugin."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-cli."))
        self.addCleanup(shutil.rmtree, self.folder)
        self.config = self.folder / "vaccel.conf"
        self.config.write_text(CONFIGURATION)
        self.local = f"local:{self.config}"

    def vaccel(self, *arguments, status=OK, prefix=(), environment=None):
        """Runs the tool; returns the completed process. Its status must be the one given."""
        env = {name: value for name, value in os.environ.items() if name != "VACCEL_TRANSPORT"}
        env["HOME"] = str(self.folder)
        env.update(environment or {})
        done = subprocess.run([*prefix, PROGRAM, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, cwd=self.folder, env=env, check=False, timeout=300)
        self.assertEqual(done.returncode, status, f"status of {arguments}: {done.stdout}{done.stderr}")
        return done

    def json(self, *arguments, **options):
        """The object that --json prints on success, and nothing beside it."""
        done = self.vaccel(*arguments, "--json", **options)
        self.assertEqual(done.stderr, "")
        return json.loads(done.stdout)

    def fails(self, *arguments, status, code, says, **options):
        """The command fails: one line on standard error with the words given, the same as JSON; returns the line."""
        done = self.vaccel(*arguments, status=status, **options)
        self.assertEqual(done.stdout, "")
        line = done.stderr.rstrip("\n")
        self.assertNotIn("\n", line)
        for words in says:
            self.assertIn(words, line)
        done = self.vaccel(*arguments, "--json", status=status, **options)
        self.assertEqual(done.stderr.rstrip("\n"), line)
        said = json.loads(done.stdout)
        self.assertEqual(list(said), ["error"])
        self.assertEqual(sorted(said["error"]), ["code", "message"])
        self.assertTrue(line.endswith(said["error"]["message"]), (line, said))
        self.assertIn(said["error"]["code"], code if isinstance(code, tuple) else (code,))
        return line

    def start_daemon(self):
        """A private daemon; returns the URL of its socket."""
        if not DAEMON or not os.path.exists(DAEMON):
            self.skipTest("there is no daemon in this build")
        socket = self.folder / "vaccel.sock"
        log = open(self.folder / "log", "wb")  # pylint: disable=consider-using-with # closed below
        self.addCleanup(log.close)
        # pylint: disable-next=consider-using-with # ended by the clean-up
        daemon = subprocess.Popen([DAEMON, f"--config={self.config}", f"--socket-path={socket}"],
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        self.addCleanup(self._end, daemon)
        self.daemon = daemon
        for _ in range(600):
            if socket.exists():
                return f"shm:{socket}"
            if daemon.poll() is not None:
                break
            time.sleep(0.05)
        self.fail("the daemon did not make its socket: " + (self.folder / "log").read_text())

    @staticmethod
    def children(pid):
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    @staticmethod
    def _end(daemon):
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def main():
    """Runs the tests of the calling script; 77 when all of them were skipped."""
    result = unittest.main(exit=False, verbosity=2).result
    if not result.wasSuccessful():
        sys.exit(1)
    for _, reason in result.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
