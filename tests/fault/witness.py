# SPDX-License-Identifier: Apache-2.0
"""What is told of a test that fails, at once: cleaning up behind it may hang on the same thing.

limit() bounds a whole program; stuck() ends one wait. Both show what the test's processes did last and where each of them
is, with stacks if there is a gdb.
"""

import faulthandler
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

# Functions that return text: what a daemon or a client said.
sources = []
folders = []
# In the environment of all that is started here.
os.environ["VACCEL_TEST_PID"] = str(os.getpid())
MARK = f"VACCEL_TEST_PID={os.getpid()}"


def say(text):
    print(text, file=sys.stderr, flush=True)


def proc(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def is_gone(pid):
    """It runs no more, whether or not its new parent has seen that."""
    fields = proc(pid, "stat").rpartition(")")[2].split()
    # With its first thread the others need not have ended.
    return not fields or fields[0] in "ZX" and len(list(pathlib.Path(f"/proc/{pid}/task").glob("*"))) < 2


def having(words):
    """The processes with that in their environment."""
    pids = [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if words in proc(pid, "environ").split("\0")]


def relatives():
    """All that this program started, whoever its parent is now."""
    return [pid for pid in having(MARK) if pid != os.getpid()]


def show_process(pid):
    say(f"process {pid}: {proc(pid, 'cmdline').replace(chr(0), ' ')}")
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").glob("*")):
        status = dict(re.findall(r"^(\w+):\s*(.*)$", proc(pid, f"task/{task.name}/status"), re.M))
        say(f"  {task.name} {status.get('Name')}: {status.get('State')}, {proc(pid, f'task/{task.name}/wchan')}, "
            f"system call {proc(pid, f'task/{task.name}/syscall').strip()}")
    if not shutil.which("gdb"):
        return
    try:
        done = subprocess.run(["gdb", "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all backtrace"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              errors="replace", timeout=20, check=False)
        say("\n".join(line for line in done.stdout.splitlines() if re.match("#|Thread ", line)))
    except subprocess.TimeoutExpired:
        say("  gdb took too long")


def show(why):
    say(f"\n{why}")
    for source in sources:
        say(source())
    for pid in relatives():
        show_process(pid)


def stuck(why):
    show(why)
    raise AssertionError(why)


def scratch(prefix):
    """A folder that is gone however the program ends."""
    folders.append(pathlib.Path(tempfile.mkdtemp(prefix=prefix)))
    return folders[-1]


def end(why):
    """At once. An exception would be one more failure to unittest, after which it goes on."""
    show(why)
    faulthandler.dump_traceback(all_threads=True)
    for pid in relatives():
        os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def limit(seconds):
    """Less than what meson waits, and more than what a slow machine needs."""
    signal.signal(signal.SIGTERM, lambda *_: end("told to end"))
    timer = threading.Timer(seconds, end, [f"not through after {seconds} s"])
    timer.daemon = True
    timer.start()


class Result(unittest.TextTestResult):
    """Says what failed before anything is cleaned up."""

    def addError(self, test, err):
        super().addError(test, err)
        say(self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        say(self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            say(f"{subtest.id()}: {err[1]}")


class Runner(unittest.TextTestRunner):
    resultclass = Result


def main(seconds):
    limit(seconds)
    program = unittest.main(module="__main__", verbosity=2, failfast=True, testRunner=Runner, exit=False)
    # Whoever reads what this program says waits for all that can still say something.
    for pid in relatives():
        os.kill(pid, signal.SIGKILL)
    sys.exit(not program.result.wasSuccessful())
