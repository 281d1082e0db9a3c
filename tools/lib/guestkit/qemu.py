# SPDX-License-Identifier: Apache-2.0
"""Guests under QEMU: which QEMU, how it is accelerated, its command line.

The system's QEMU is used when it is new enough for a generic vhost-user device; otherwise a newer Debian suite's is
unpacked in the cache, with the libraries it needs, and started through its own dynamic loader.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import Failure, cache, debian, kernels
from .debian import tool

NEEDED_VERSION = (10, 2)
NEEDED_DEVICE = "vhost-user-test-device-pci"
SUITE = "forky"
KVM_PROBE_SECONDS = 8
LAUNCHER = """#!/bin/sh
root=${0%/*}/root
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \\
\t"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"""
# What speeds a boot on emulated processors up: no calibrations, and no stall alarms that a busy host would set off.
TCG_APPEND = ["tsc=reliable", "no_timer_check", "mitigations=off", "rcupdate.rcu_cpu_stall_timeout=120",
              "watchdog_thresh=60"]


def _version(binary):
    said = tool([binary, "--version"], f"start {binary}")
    match = re.search(r"version (\d+)\.(\d+)(\S*)", said)
    if not match:
        raise Failure(f"cannot use {binary}: it does not say its version")
    return (int(match.group(1)), int(match.group(2))), f"{match.group(1)}.{match.group(2)}{match.group(3)}"


def _capable(binary):
    return NEEDED_DEVICE in tool([binary, "-device", "help"], f"list the devices of {binary}")


def find():
    """The QEMU to use, as (path, version)."""
    system = os.environ.get("VACCEL_QEMU") or shutil.which("qemu-system-x86_64")
    if system:
        numbers, text = _version(system)
        if numbers >= NEEDED_VERSION and _capable(system):
            return system, text
        if os.environ.get("VACCEL_QEMU"):
            raise Failure(f"cannot use {system}, which VACCEL_QEMU names: version {text} lacks {NEEDED_DEVICE}")
    binary = cache.entry("qemu", f"{SUITE}-1", _make) / "qemu"
    return str(binary), (binary.parent / "version").read_text().strip()


def _make(folder):
    cache.say(f"fetching QEMU from Debian {SUITE} (about 42 MB, once)")
    apt = debian.PrivateApt(folder / "apt", SUITE)
    debs = apt.download_closure("qemu-system-x86")
    cache.say("unpacking QEMU")
    (folder / "root").mkdir()
    for deb in debs:
        debian.unpack(deb, folder / "root")
    shutil.rmtree(folder / "apt")
    binary = folder / "qemu"
    binary.write_text(LAUNCHER)
    binary.chmod(0o755)
    numbers, text = _version(binary)
    if numbers < NEEDED_VERSION or not _capable(binary):
        raise Failure(f"cannot use the QEMU of Debian {SUITE}: version {text} lacks {NEEDED_DEVICE}")
    (folder / "version").write_text(text + "\n")


def _initramfs(image, version):
    return kernels.initramfs(version, image / "lib/modules" / version, kernels.QEMU_MODULES)


def acceleration(wanted, binary, version):
    """kvm or tcg. With auto, KVM is tried once per boot of this machine: it may be there and yet not run a kernel."""
    if wanted != "auto":
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    fact = f"kvm-{cache.key_of(boot, binary)}"
    outcome = cache.recall(fact)
    if outcome not in ("kvm", "tcg"):
        with cache.lock("kvm-probe"):
            outcome = cache.recall(fact)
            if outcome not in ("kvm", "tcg"):
                outcome = "kvm" if _kvm_works(binary, version) else "tcg"
                cache.remember(fact, outcome)
    return outcome


def _kvm_works(binary, version):
    cache.say(f"trying KVM (up to {KVM_PROBE_SECONDS} s, once per boot of this machine)")
    image = kernels.image(version)
    argv = [binary, "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-M", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-kernel", image / "vmlinux",
            "-initrd", _initramfs(image, version), "-serial", "stdio",
            "-append", "console=ttyS0 quiet panic=-1 vaccel.kind=probe"]
    with tempfile.TemporaryFile() as said:
        try:
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL,
                           timeout=KVM_PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pass
        said.seek(0)
        works = b"vaccel-guest: alive" in said.read()
    cache.say("KVM works" if works else "KVM does not run a kernel here: guests are emulated (TCG)")
    return works


class Vmm:
    """What guest.py needs to know of a kind of guest."""

    says_to = "vmm"  # QEMU's own messages; the guest's console is a device of its own

    def __init__(self, options):
        self.options = options
        self.binary, self.vmm_version = find()
        self.kernel = kernels.resolve(options.kernel or "debian")
        self.image = kernels.image(self.kernel)
        self.moddir = self.image / "lib/modules" / self.kernel
        self.initrd = _initramfs(self.image, self.kernel)
        self.accel = acceleration(options.accel, self.binary, self.kernel)

    def describe(self):
        return {"kind": "qemu", "vmm": "QEMU", "vmm_version": self.vmm_version, "kernel": self.kernel,
                "acceleration": self.accel.upper()}

    def prepare_process(self, _workdir):
        """Run in the VMM's process before it starts."""

    def environment(self, _workdir):
        """The VMM's environment."""
        return os.environ

    def _devices(self):
        for number, socket in enumerate(self.options.device):
            yield from ("-chardev", f"socket,id=vu{number},path={_comma(os.path.abspath(socket))}",
                        "-device", f"{NEEDED_DEVICE},chardev=vu{number},virtio-id=21,"
                        f"num_vqs={self.options.queues},vq_size=256,config_size={self.options.config_size}")

    def argv(self, workdir, out_fd, err_fd):
        """The command line; what the guest's command prints comes out of the two sockets."""
        options = self.options
        append = ["console=ttyS0", "loglevel=7", "panic=-1", "log_buf_len=1M", "vaccel.kind=qemu"]
        append += TCG_APPEND if self.accel == "tcg" else []
        size = f"size={options.memory}M"
        ports = []
        for name, descriptor in (("out", out_fd), ("err", err_fd)):
            ports += ["-chardev", f"socket,id={name},fd={descriptor}",
                      "-device", f"virtserialport,chardev={name},name=vaccel.{name}"]
        return [
            self.binary, "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
            "-M", "q35,memory-backend=m0", "-object", f"memory-backend-memfd,id=m0,{size},share=on",
            "-m", f"{options.memory}M", "-smp", str(options.cpus),
            *(["-accel", "kvm", "-cpu", "host"] if self.accel == "kvm" else
              ["-accel", "tcg,thread=multi", "-cpu", "max"]),
            "-kernel", str(self.image / "vmlinux"), "-initrd", str(self.initrd),
            "-append", " ".join(append + options.append),
            "-chardev", f"file,id=log,path={_comma(workdir)}/console", "-serial", "chardev:log",
            "-device", "virtio-serial-pci", *ports,
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=share,path={_comma(workdir)}/share,security_model=none,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
            *self._devices()]


def _comma(path):
    """QEMU's options are separated by commas; one in a value is doubled."""
    return str(path).replace(",", ",,")
