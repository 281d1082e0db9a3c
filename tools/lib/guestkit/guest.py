# SPDX-License-Identifier: Apache-2.0
"""Runs one command in one guest.

A run has a folder of its own: `console` is what the guest's kernel said, `share` is the only thing of the host's that
the guest can write. The command's output comes through two descriptors of the VMM's, its status and files through the
share; the kernel's console is kept apart from all three. The folder and every process go when the run ends, whichever
way it ends.
"""

import contextlib
import ctypes
import os
import pathlib
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import Failure
from .cache import say

STATUS_WARNINGS = 123  # the guest's kernel warned or crashed
STATUS_TIMEOUT = 124
STATUS_FAILURE = 125  # this tool failed: the command did not run, or nobody knows how it ended

STOPPED_BY = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

GUEST_SHARE = "/run/vaccel-guest"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

WARNING = re.compile(
    r"\bWARNING:|\bBUG\b|\bOops\b|Kernel panic|general protection|Unable to handle kernel|kernel stack overflow"
    r"|\bKASAN\b|\bUBSAN\b|\bKCSAN\b|\bDEBUG_LOCKS_WARN|self-detected stall|detected stalls|soft lockup|hard LOCKUP"
    r"|possible (recursive locking|circular locking|deadlock|irq lock inversion)|suspicious RCU usage"
    r"|inconsistent lock state|INFO: task .* blocked|list_(add|del) corruption|refcount_t: |unreferenced object"
    r"|scheduling while atomic|sleeping function called|hung_task|[Ss]egfault at .* in .*\.ko|slab-use-after-free")
# Reports that mean nothing, each with its reason: the line that matches the above, and what its report must name besides.
HARMLESS = [
    # a kernel built with a checker says so when it starts
    (re.compile(r"KernelAddressSanitizer initialized"), None),
    # User-Mode Linux: at each fork it walks the new process's mappings without the lock that lockdep asks for, which
    # nobody else has yet
    (re.compile(r"WARNING: suspicious RCU usage"), re.compile(r"\bforce_flush_all\+")),
    # User-Mode Linux: its transport has no other way to say that a back-end went away
    (re.compile(r"WARNING: .* at arch/um/drivers/virtio_uml\.c:\d+ (vu_interrupt|vu_del_vqs)\b"), None),
    # the kernel's opinion of the processor
    (re.compile(r"(Spectre V\d|RETBleed|MDS|TAA|MMIO Stale Data|Register File Data Sampling|L1TF|SRSO|GDS|ITS)\b.*"
                r"(WARNING|[Bb]ug)"), None),
]
REPORT_LINES = 100  # at most


class Interrupted(Exception):
    """A signal asks us to stop."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def _interrupt(number, _frame):
    raise Interrupted(number)


def stop_on_signals():
    """From now on these signals raise Interrupted, so that what was begun is undone on the way out."""
    for number in STOPPED_BY:
        signal.signal(number, _interrupt)


def job_script(options):
    """The script that the guest runs: a clean environment, the caller's folder, the command."""
    environment = {"PATH": PATH, "HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": "dumb",
                   "VACCEL_GUEST": options.kind, "VACCEL_GUEST_OUT": f"{GUEST_SHARE}/out"}
    environment.update(pair.split("=", 1) for pair in options.env)
    words = [f"{name}={value}" for name, value in environment.items()] + options.command
    directory = shlex.quote(os.getcwd())
    return (f"cd {directory} || exit 126\n"
            "exec env -i " + " ".join(shlex.quote(word) for word in words) + "\n")


def check_devices(options):
    """A device that nobody serves is found out here: User-Mode Linux would start without it."""
    for path in [*options.device, *options.crypto, *options.cryptodev]:
        if not pathlib.Path(path).is_socket():
            raise Failure(f"cannot give the guest device {path}: there is no such socket")


def fill_share(share, vmm, options):
    (share / "out").mkdir(parents=True)
    (share / "modules").mkdir()
    (share / "moddir").write_text(f"{vmm.moddir}\n")
    (share / "job").write_text(job_script(options), encoding="utf-8", errors="surrogateescape")
    names, files = vmm.crypto_modules() if options.crypto or options.cryptodev else ([], [])
    (share / "modprobe").write_text("".join(f"{name}\n" for name in names))
    for number, text in enumerate([shlex.quote(str(path)) for path in files] + options.module):
        path, *parameters = shlex.split(text)
        place = share / "modules" / f"{number:02}-{os.path.basename(path)}"
        try:
            shutil.copyfile(path, place)
        except OSError as error:
            raise Failure(f"cannot take module {path}: {error.strerror}") from error
        place.with_suffix(".args").write_text(" ".join(parameters) + "\n")


class Process:
    """The VMM, with the two streams that come out of it."""

    def __init__(self, vmm, workdir):
        self.streams = {}
        child_ends = []
        for target in (1, 2):
            ours, theirs = socket.socketpair()
            self.streams[ours] = target
            child_ends.append(theirs)
        parent = os.getpid()
        # What the VMM leaves behind becomes our child, so that it can be ended and waited for.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)

        def prepare():
            # The VMM must not outlive us, not even if we are killed.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            vmm.prepare_process(workdir)
        try:
            argv = [str(word) for word in vmm.argv(workdir, *(end.fileno() for end in child_ends))]
            with open(workdir / vmm.says_to, "ab") as said:
                self.process = subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
                    argv, env=vmm.environment(workdir), stdin=subprocess.DEVNULL, stdout=said,
                    stderr=subprocess.STDOUT, preexec_fn=prepare, start_new_session=True,
                    pass_fds=[end.fileno() for end in child_ends])
        finally:
            for end in child_ends:
                end.close()

        self.watchdog, self.leash = _watch(self.process.pid, workdir)

    def relay(self, deadline):
        """Passes on what the command prints, until the guest is gone; False if the deadline comes first."""
        with selectors.DefaultSelector() as selector:
            for stream in self.streams:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # A VMM's helper may keep the streams open after the VMM itself has ended: look at times.
                ready = selector.select(1 if left is None else min(left, 1))
                for key, _ in ready:
                    data = key.fileobj.recv(65536)
                    if data:
                        _write(self.streams[key.fileobj], data)
                    else:
                        selector.unregister(key.fileobj)
                if not ready and self.process.poll() is not None:
                    break
        try:
            self.process.wait(None if deadline is None else max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.watchdog:
            os.write(self.leash, b".")
            os.close(self.leash)
            os.waitpid(self.watchdog, 0)
            self.watchdog = None
        _end_children()
        for stream in self.streams:
            stream.close()


def _watch(group, workdir):
    """Starts a process that, should we be killed outright, ends the VMM's process group (User-Mode Linux has helpers
    that do not end with it) and removes the folder. It sees the end of the pipe whose other end we hold."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child:
        os.close(read_end)
        return child, write_end
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.dup2(read_end, 3)
        os.closerange(4, 1024)
        for number in STOPPED_BY:
            signal.signal(number, signal.SIG_IGN)
        if not os.read(3, 1):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            shutil.rmtree(workdir, ignore_errors=True)
    finally:
        os._exit(0)


def _end_children():
    """Kills and reaps processes that the VMM left to us; what they leave in turn comes to us as well."""
    while True:
        children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return
        for child in map(int, children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _write(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


def _report(lines, start):
    """The report that begins there: up to the next one."""
    end = start + 1
    while end < min(len(lines), start + REPORT_LINES) and not WARNING.search(lines[end]):
        end += 1
    return lines[start:end]


def _harmless(lines, start):
    return any(first.search(lines[start]) and (not inside or any(map(inside.search, _report(lines, start))))
               for first, inside in HARMLESS)


def kernel_warnings(workdir):
    """Lines of the guest's kernel that tell of a fault in it."""
    found = []
    for name in ("console", "share/dmesg"):
        lines = (_read(workdir / name) or "").splitlines()
        found += [line for number, line in enumerate(lines) if WARNING.search(line) and not _harmless(lines, number)]
    return found


def _read(path):
    return path.read_text(errors="replace").strip() if path.is_file() else None


def show_log(workdir, why):
    """The guest's kernel log, on stderr, for who has to find out."""
    log = _read(workdir / "share/dmesg") or _read(workdir / "console") or ""
    vmm = _read(workdir / "vmm") or ""
    say(f"{why}; what the guest's kernel said:")
    for line in (vmm + "\n" + log).strip().splitlines()[-200:]:
        print(f"  | {line}", file=sys.stderr)


def copy_out(source, target):
    """What the command left in its folder: plain files, folders and links; anything else a guest makes stays out."""
    pathlib.Path(target).mkdir(parents=True, exist_ok=True)
    for item in source.iterdir():
        place = pathlib.Path(target) / item.name
        if place.is_symlink() or place.is_file():
            place.unlink()
        if item.is_symlink():
            place.symlink_to(os.readlink(item))
        elif item.is_dir():
            copy_out(item, place)
        elif item.is_file():
            shutil.copyfile(item, place)
            place.chmod(item.stat().st_mode & 0o777 | 0o600)


def _verdict(workdir, finished, options):
    """The exit status of a run that has ended, explained on stderr where it is not the command's own."""
    status = _read(workdir / "share/status")
    failed = _read(workdir / "share/failed")
    warnings = kernel_warnings(workdir)
    if warnings and not options.allow_warnings:
        ended = f"the command's status was {status}" if status else "the command did not end"
        show_log(workdir, f"the guest's kernel warned ({warnings[0].strip()}); {ended}")
        return STATUS_WARNINGS
    if not finished:
        show_log(workdir, f"the guest did not end within {options.timeout} s")
        return STATUS_TIMEOUT
    if failed is not None:
        show_log(workdir, f"the command did not run: {failed}")
        return STATUS_FAILURE
    if not status or not status.isdigit():
        show_log(workdir, "the guest went away without the command's status")
        return STATUS_FAILURE
    if options.verbose:
        show_log(workdir, f"the command ended with status {status}")
    return int(status)


def run(vmm, options):
    """Runs the command in a guest; returns the exit status for the caller. Interrupted, it leaves nothing behind."""
    check_devices(options)
    workdir = pathlib.Path(tempfile.mkdtemp(prefix="vaccel-guest."))
    process = None
    try:
        fill_share(workdir / "share", vmm, options)
        (workdir / "console").touch()
        deadline = time.monotonic() + options.timeout if options.timeout else None
        process = Process(vmm, workdir)
        finished = process.relay(deadline)
        process.kill()
        status = _verdict(workdir, finished, options)
        if options.out:
            copy_out(workdir / "share/out", options.out)
        return status
    finally:
        for number in STOPPED_BY:
            signal.signal(number, signal.SIG_IGN)
        if process:
            process.kill()
        shutil.rmtree(workdir, ignore_errors=True)
