# SPDX-License-Identifier: Apache-2.0
"""What the tests of dying stand on: daemons whose worker can be killed, and a place where their clients run.

From the environment: VACCEL, VACCELD, VACCEL_FAULT_CLIENT (programs), VACCEL_PLUGIN_DIR, VACCEL_SOURCE (the tree).
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True

import witness  # pylint: disable=wrong-import-position

VACCEL, VACCELD, CLIENT = (os.environ.get(name, "") for name in ("VACCEL", "VACCELD", "VACCEL_FAULT_CLIENT"))
SOURCE = pathlib.Path(os.environ.get("VACCEL_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
# Only what is stuck takes so long, however slow the machine.
STUCK = 90
BUFFERS = 128

# Runs the scripts do.0, do.1, ... as they appear in the folder that both sides see.
LOOP = """
out=$VACCEL_GUEST_OUT
n=0
echo loop ready
while :; do
    until [ -e $out/do.$n ]; do sleep 0.05; done
    [ -s $out/do.$n ] || exit 0
    . $out/do.$n
    echo "loop did $n"
    n=$((n + 1))
done
"""


def skip(reason):
    print(f"skipped: {reason}", file=sys.stderr)
    sys.exit(77)


def build_module(kind):
    """The driver for this kind of guest, and all that the guest needs; ends with 77 where they cannot be had."""
    for words in (["tools/guest", f"--kind={kind}", "--prepare"],
                  ["tools/module", "--kernel", "uml" if kind == "uml" else "debian"]):
        done = subprocess.run([SOURCE / words[0], *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        if done.returncode:
            skip(f"{' '.join(words)}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout.split()[-1]


def until(what, condition):
    """Waits for condition() and returns its value."""
    deadline = time.monotonic() + STUCK
    while not (value := condition()):
        if time.monotonic() > deadline:
            witness.stuck(f"stuck waiting for {what}")
        time.sleep(0.01)
    return value


class Daemon:
    """A vacceld with the plugin fault in front, or with a configuration of the test's own."""

    def __init__(self, folder, name, limits="", sessions=64, threads=2, options=(), text=None):
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        self.socket = self.folder / "sock"
        self.cache = self.folder / "cache/fault"
        # In the one folder that the plugin may write to.
        self.hang = self.cache / "hang"
        self.log = self.folder / "log"
        config = self.folder / "vaccel.conf"
        config.write_text(text or f"[engine]\nthreads = {threads}\nop_threads = 1\ncache_dir = {self.folder}/cache\n"
                          f"[limits]\nsessions = {sessions}\nbuffers = {BUFFERS}\n{limits}\n"
                          "[order]\ndefault = fault reference\n"
                          f"[plugin fault]\nrules = m=77 file={self.hang} crash=hang\n")
        self.argv = [VACCELD, f"--config={config}", f"--socket-path={self.socket}", *options]
        self.process = self.launch()
        self.pid = self.process.pid
        witness.sources.append(self.last)
        self.sessions = sessions
        self.url = None
        until("vacceld's socket", lambda: self.socket.exists() or self.process.poll() is not None)
        self.worker_ready()
        self.descriptors_at_start = self.descriptors()

    def launch(self):
        with open(self.log, "wb") as log:
            return subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def children(self):
        return [int(pid) for pid in pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def said(self):
        return self.log.read_text(errors="replace")

    def last(self):
        """For the witness."""
        said = "\n".join(self.said().splitlines()[-40:]) if self.log.exists() else ""
        return f"--- {self.name}, vacceld {self.pid}, status {self.process.returncode}:\n{said}"

    def worker_ready(self):
        """The worker's pid, once there is one that serves."""
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"vacceld ended with status {self.process.returncode}: {self.said()}")
            return [pid for pid in self.children() if f"worker {pid} is ready" in self.said()]
        return until("a worker that is ready", ready)[0]

    def kill_worker(self):
        """kill -9; does not wait for the next one."""
        pid = self.worker_ready()
        os.kill(pid, signal.SIGKILL)
        # Gone before anything else happens, or the next request might still be taken by it.
        until("the worker's end", lambda: pid not in self.children())
        return pid

    def inside(self, action, key):
        """Waits until a plugin is in the request with that fault (whose count is written before it strikes)."""
        path = self.cache / f"alpha-{action}-{key}"
        until(f"a plugin to begin request {key}", lambda: path.exists() and path.read_bytes() == b"\x01")

    def descriptors(self):
        """Open descriptors of supervisor and worker, by what they are."""
        def kinds(pid):
            links = []
            for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                try:
                    links.append(re.sub(r"\[\d+\]", "", os.readlink(link)))
                except FileNotFoundError:
                    pass
            return sorted(links)
        return kinds(self.pid), kinds(self.worker_ready())

    def stop(self, signal_number=signal.SIGTERM):
        """Ends it; returns its status and the children that it left."""
        children = self.children() if self.process.poll() is None else []
        self.process.send_signal(signal_number)
        try:
            status = self.process.wait(STUCK)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        left = []
        for pid in children:
            try:
                until("the worker's end", lambda pid=pid: witness.is_gone(pid))
            except AssertionError:
                left.append(pid)
        return status, left


class Side:
    """Where clients run: a shell beside the daemons (kind shm), or in a guest. Takes scripts, gives lines."""

    def __init__(self, kind, folder, daemons, module, words=None):
        """words: of tools/guest, instead of those that give the guest the daemons' devices and the driver."""
        self.kind = kind
        self.lines = []
        self.n_scripts = 0
        self.news = threading.Condition()
        self.ended = False
        loop = folder / "loop.sh"
        loop.write_text(LOOP)
        env = dict(os.environ, TMPDIR=str(folder))
        if kind == "shm":
            self.out = folder / "out"
            self.out.mkdir()
            argv = ["/bin/sh", loop]
            env["VACCEL_GUEST_OUT"] = str(self.out)
        else:
            self.out = None
            if words is None:
                words = ["--module", f"{module} drain_ms=1000"]
                for daemon in daemons:
                    words += ["--device", daemon.socket]
            argv = [SOURCE / "tools/guest", f"--kind={kind}", "--timeout=800", *words, "--", "/bin/sh", loop]
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with # ended by stop()
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", env=env)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        witness.sources.append(lambda: "--- the clients:\n" + "\n".join(self.lines[-40:]))
        self.expect("loop ready", limit=600)
        if not self.out:
            self.out = next(folder.glob("vaccel-guest.*/share/out"))

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def path(self, name):
        """A file of the shared folder, as the client sees it."""
        return f"$VACCEL_GUEST_OUT/{name}"

    def touch(self, name):
        (self.out / name).touch()

    def find(self, pattern):
        """All lines that match, as match objects."""
        with self.news:
            return [match for line in self.lines if (match := re.search(pattern, line))]

    def expect(self, pattern, limit=STUCK, times=1):
        """Waits for that many lines that match; returns the last one's match."""
        deadline = time.monotonic() + limit
        with self.news:
            while len(found := [m for line in self.lines if (m := re.search(pattern, line))]) < times:
                left = deadline - time.monotonic()
                if self.ended or left <= 0:
                    break
                self.news.wait(left)
        if len(found) < times:
            witness.stuck(f"{'the end came' if self.ended else 'stuck'} instead of '{pattern}'")
        return found[-1]

    def send(self, script):
        """Has it run a script; returns what expect() waits for when it has ended."""
        number = self.n_scripts
        self.n_scripts += 1
        part = self.out / f"part.{number}"
        part.write_text(script + "\n")
        part.rename(self.out / f"do.{number}")
        return f"^loop did {number}$"

    def run(self, script):
        self.expect(self.send(script))

    def stop(self):
        """Ends the loop, and the guest with it; returns the status."""
        if self.process.poll() is None and not self.ended:
            (self.out / f"do.{self.n_scripts}").touch()
        try:
            status = self.process.wait(STUCK)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            status = self.process.wait()
        # Clients of a test that failed hold the pipe, and may run for ever.
        self.reader.join(STUCK / 6)
        while self.reader.is_alive():
            for pid in witness.having(f"VACCEL_GUEST_OUT={self.out}"):
                os.kill(pid, signal.SIGKILL)
            self.reader.join(0.1)
        self.process.stdout.close()
        return status
