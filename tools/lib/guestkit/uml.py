# SPDX-License-Identifier: Apache-2.0
"""Guests under User-Mode Linux: a kernel that is a process of the host's, with guest code at native speed.

Such a kernel uses one processor. On one that stays the same its system calls are several times cheaper, so it is
pinned; each guest takes one that no other guest of ours has, from the last down, as long as there are enough.
"""

import fcntl
import os
import pathlib
import re

from . import Failure, cache, kernels, landlock, modules, umldebug
from .debian import tool

SHARED_MEMORY = "/dev/shm"


class Vmm:
    """What guest.py needs to know of a kind of guest."""

    says_to = "console"  # the kernel is the VMM

    def __init__(self, options):
        self.options = options
        if options.qemu or options.cryptodev:
            raise Failure("cannot use QEMU's front-end for crypto devices: User-Mode Linux has its own (--crypto)")
        if options.accel not in ("auto", "uml"):
            raise Failure(f"cannot use {options.accel}: User-Mode Linux needs no acceleration and has none")
        if options.cpus != 1:
            raise Failure(f"cannot give the guest {options.cpus} processors: User-Mode Linux has one")
        debug = options.kernel == umldebug.NAME
        self.binary, self.kernel, self.moddir = umldebug.kernel() if debug else kernels.uml()
        if options.kernel not in (None, "uml", "debian", umldebug.NAME):
            self.binary = pathlib.Path(options.kernel).absolute()
            version = tool([self.binary, "--version"], f"start {options.kernel}").strip()
            if version != self.kernel:
                raise Failure(f"cannot use {options.kernel}: there are modules for {self.kernel}, it is {version}")
        self.initrd = kernels.initramfs(f"uml-{self.kernel}", self.moddir, kernels.UML_MODULES)
        self.cpu, self.cpu_lock = _choose_cpu()

    def describe(self):
        return {"kind": "uml", "vmm": "User-Mode Linux", "vmm_version": self.kernel, "kernel": self.kernel,
                "acceleration": "UML"}

    def prepare_process(self, workdir):
        """Run in the VMM's process before it starts."""
        os.sched_setaffinity(0, {self.cpu})
        landlock.writes_only_below([workdir, SHARED_MEMORY, "/dev/null"])

    def environment(self, workdir):
        """The guest's memory is a file, which should not be on a disk: the kernel looks at TMPDIR first."""
        names = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TMP", "TEMP")}
        return names if os.access(SHARED_MEMORY, os.W_OK) else {**names, "TMPDIR": str(workdir)}

    def crypto_modules(self):
        """What a guest with a crypto device loads: names of the kernel's own modules, and files of others."""
        if self.options.kernel == umldebug.NAME:
            raise Failure("cannot give the guest a crypto device: that kernel was compiled without a driver for it")
        return ["algif_skcipher", "cbc", "rsa_generic"], modules.uml_crypto()

    def argv(self, workdir, out_fd, err_fd):
        """The command line; what the guest's command prints comes out of the two descriptors."""
        for path in (workdir, *self.options.device, *self.options.crypto):
            if re.search(r"[\s,:]", str(path)):
                raise Failure(f"cannot name {path} to User-Mode Linux: its name has a space, comma or colon")
        options = self.options
        devices = [f"virtio_uml.device={os.path.abspath(socket)}:{virtio_id}"
                   for virtio_id, sockets in ((21, options.device), (20, options.crypto)) for socket in sockets]
        return [str(self.binary), f"mem={options.memory}M", f"uml_dir={workdir}", "umid=uml",
                f"initrd={self.initrd}", "rdinit=/init", "con0=null,fd:1", "con=null", f"ssl0=null,fd:{out_fd}",
                f"ssl1=null,fd:{err_fd}", "ssl=null", "loglevel=7", "log_buf_len=1M", "panic=-1", "vaccel.kind=uml",
                f"vaccel.share={workdir}/share", *devices, *options.append]


def _choose_cpu():
    """A processor, and the lock that says we have it (None when all are taken: they are shared then)."""
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    folder = cache.root() / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    for cpu in allowed:
        handle = open(folder / f"cpu-{cpu}", "w")  # pylint: disable=consider-using-with # it lives as long as we do
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return cpu, handle
        except BlockingIOError:
            handle.close()
    return allowed[os.getpid() % len(allowed)], None
