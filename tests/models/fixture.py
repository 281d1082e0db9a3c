# SPDX-License-Identifier: Apache-2.0
"""What the tests of classification stand on: daemons with models, TensorFlow's own answers, and places where clients run.

From the environment: VACCEL, VACCELD, VACCEL_MODELS_CLIENT (programs), VACCEL_PLUGIN_DIR, VACCEL_SOURCE (the tree).
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
VACCEL, VACCELD, CLIENT = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD", "VACCEL_MODELS_CLIENT"))
SOURCE = pathlib.Path(os.environ.get("VACCEL_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
# Only what is stuck takes so long, however slow the machine.
STUCK = 400
# Where the guest sees the host's files, and where it does not: a tmpfs of the guest's own may be over /run.
KINDS = ("local", "shm", "uml", "qemu")


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(77)


def run(*words, **options):
    """A program's standard output; its standard error is in the failure."""
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, timeout=options.pop("timeout", STUCK), **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, words[:6]))}: status {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def need_tensorflow():
    """Both the plugin and Python's; ends with 77 where they are not."""
    folders = os.environ.get("VACCEL_PLUGIN_DIR", "").split(":")
    for plugin in ("models", "tensorflow"):
        if not any((pathlib.Path(folder) / f"vaccel-{plugin}.so").exists() for folder in folders):
            skip(f"the plugin {plugin} was not built")
    done = subprocess.run([SOURCE / "tools/tensorflow", "--python"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        skip("there is no TensorFlow for Python here: tools/tensorflow installs it")


def zoo(*models):
    """A folder with these models; made now, if nobody has yet."""
    return pathlib.Path(run(SOURCE / "models/zoo", *models).splitlines()[-1])


def photographs(*sizes):
    folder = pathlib.Path(run(SOURCE / "models/zoo", "--pictures", ",".join(map(str, sizes))).splitlines()[-1])
    return [str(folder / f"{size}.jpg") for size in sizes]


def real_photographs():
    """Those that come with scikit-learn; read from where TensorFlow is, so that nothing needs to import it here."""
    python = run(SOURCE / "tools/tensorflow", "--python").strip()
    library = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    return sorted(str(path) for path in pathlib.Path(library, "sklearn/datasets/images").glob("*.jpg"))


def answers(model, pictures):
    """TensorFlow's own: {picture: probabilities}"""
    return json.loads(run(SOURCE / "tests/models/answers", model, *pictures))


def build_module(kind):
    """The driver for this kind of guest, and all that the guest needs; ends with 77 where they cannot be had."""
    for words in (["tools/guest", f"--kind={kind}", "--prepare"],
                  ["tools/module", "--kernel", "uml" if kind == "uml" else "debian"]):
        done = subprocess.run([SOURCE / words[0], *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode:
            skip(f"{' '.join(words)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout.split()[-1]


class Test(unittest.TestCase):
    """Gives each test a private folder, which a guest sees too."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-models."))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def daemon(self, store, extra=""):
        daemon = Daemon(self.folder, store, extra)
        self.addCleanup(daemon.stop)
        return daemon

    def store(self, *models):
        """A folder of the test's own with copies of models."""
        made, place = zoo(*models), self.folder / "store"
        for model in models:
            shutil.copytree(made / model, place / model)
        return place


class Daemon:
    """A vacceld that serves models."""

    def __init__(self, folder, store, extra=""):
        self.config = folder / "vaccel.conf"
        self.config.write_text(configuration(store) + extra)
        self.socket = folder / "sock"
        self.log = folder / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by stop()
                [VACCELD, f"--config={self.config}", f"--socket-path={self.socket}"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        self.pid = self.process.pid
        self.url = f"shm:{self.socket}"
        self.worker_ready()

    def said(self):
        return self.log.read_text(errors="replace")

    def children(self):
        return [int(pid) for pid in pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def worker_ready(self):
        """The worker's pid, once there is one that serves."""
        deadline = time.monotonic() + STUCK
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"vacceld ended with status {self.process.returncode}: {self.said()}")
            ready = [pid for pid in self.children() if f"worker {pid} is ready" in self.said()]
            if ready:
                return ready[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"no worker is ready: {self.said()}")
            time.sleep(0.05)

    def worker_memory(self):
        """Bytes that the worker has written to; pages of files are private or shared as other processes come and go."""
        text = pathlib.Path(f"/proc/{self.worker_ready()}/smaps_rollup").read_text()
        return int(re.search(r"^Private_Dirty: +(\d+) kB", text, re.M)[1]) << 10

    def kill_worker(self):
        """kill -9, and the next one serves."""
        pid = self.worker_ready()
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STUCK
        while pid in self.children() and time.monotonic() < deadline:
            time.sleep(0.01)
        return pid

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def configuration(store):
    return f"[engine]\nthreads = 2\nop_threads = 1\n[models]\ndir = {store}\n[order]\ndefault = models tensorflow\n"


def guest_words(kind, module, socket, *words):
    """The command that runs words in a guest with the daemon's device."""
    return [SOURCE / "tools/guest", f"--kind={kind}", "--timeout=600", "--device", socket, "--module", module, "--", *words]


def main():
    """Runs the tests of the calling script; 77 when all of them were skipped."""
    need_tensorflow()
    result = unittest.main(exit=False, verbosity=2, argv=sys.argv[:1]).result
    if not result.wasSuccessful():
        sys.exit(1)
    for _, reason in result.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
