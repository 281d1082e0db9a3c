# SPDX-License-Identifier: Apache-2.0
"""Guests under QEMU: which QEMU, how it is accelerated, its command line.

The system's QEMU is used when it is new enough for a generic vhost-user device; otherwise a newer Debian suite's is
unpacked in the cache, with the libraries it needs, and started through its own dynamic loader. The same for an old one
that was asked for.
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
# Of a version that was asked for (None: none was), the suite of Debian that has it.
SUITES = {None: "forky", "7.2": "bookworm"}
KVM_PROBE_SECONDS = 8
LAUNCHER = """#!/bin/sh
root=${0%/*}/root
export QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" \\
\t"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"""
# Emulating, this one crashes when a guest sets up the interrupt vectors of a crypto device with such a back-end.
CRYPTODEV_OPTIONS = {"7.2": ",vectors=0"}
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


def find(wanted):
    """The QEMU to use, as (path, version); wanted is a key of SUITES."""
    named = os.environ.get("VACCEL_QEMU") if wanted is None else None
    system = named or shutil.which("qemu-system-x86_64")
    if system:
        numbers, text = _version(system)
        if _is_wanted(system, numbers, text, wanted):
            return system, text
        if named:
            raise Failure(f"cannot use {system}, which VACCEL_QEMU names: version {text} lacks {NEEDED_DEVICE}")
    suite = SUITES[wanted]
    binary = cache.entry("qemu", f"{suite}-1", lambda folder: _make(folder, suite, wanted)) / "qemu"
    return str(binary), (binary.parent / "version").read_text().strip()


def _is_wanted(binary, numbers, text, wanted):
    if wanted is None:
        return numbers >= NEEDED_VERSION and _capable(binary)
    return f"{text}.".startswith(f"{wanted}.")


def _make(folder, suite, wanted):
    cache.say(f"fetching QEMU from Debian {suite} (about 42 MB, once)")
    apt = debian.PrivateApt(folder / "apt", suite)
    debs = apt.download_closure("qemu-system-x86")
    cache.say("unpacking QEMU")
    (folder / "root").mkdir()
    for deb in debs:
        debian.unpack(deb, folder / "root")
    _merge_usr(folder / "root")
    shutil.rmtree(folder / "apt")
    binary = folder / "qemu"
    binary.write_text(LAUNCHER)
    binary.chmod(0o755)
    numbers, text = _version(binary)
    if not _is_wanted(binary, numbers, text, wanted):
        raise Failure(f"cannot use the QEMU of Debian {suite}: version {text} " +
                      (f"is not {wanted}" if wanted else f"lacks {NEEDED_DEVICE}"))
    (folder / "version").write_text(text + "\n")


def _merge_usr(root):
    """Packages of older suites still have files in folders that are links where Debian is installed."""
    for name in ("lib", "lib64"):
        if (root / name).is_dir() and not (root / name).is_symlink():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)


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
        if options.qemu and (options.device or options.crypto):
            raise Failure(f"cannot give the guest this device: QEMU {options.qemu} lacks {NEEDED_DEVICE}")
        self.binary, self.vmm_version = find(options.qemu)
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

    def crypto_modules(self):
        """What a guest with a crypto device loads: names of the kernel's own modules, and files of others."""
        return ["virtio_crypto", "algif_skcipher", "pkcs8_key_parser"], []

    def _devices(self):
        # The control queue of a crypto device comes behind its data queues.
        queues = self.options.queues
        generic = [(path, 21, queues) for path in self.options.device]
        generic += [(path, 20, queues + 1) for path in self.options.crypto]
        for number, (path, virtio_id, count) in enumerate(generic):
            yield from (*_chardev(f"vu{number}", path), "-device", f"{NEEDED_DEVICE},chardev=vu{number},"
                        f"virtio-id={virtio_id},num_vqs={count},vq_size=256,config_size={self.options.config_size}")
        more = CRYPTODEV_OPTIONS.get(self.options.qemu, "")
        for number, path in enumerate(self.options.cryptodev):
            yield from (*_chardev(f"vc{number}", path),
                        "-object", f"cryptodev-vhost-user,id=cd{number},chardev=vc{number},queues={queues}",
                        "-device", f"virtio-crypto-pci,cryptodev=cd{number}{more}")

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


def _chardev(name, path):
    return "-chardev", f"socket,id={name},path={_comma(os.path.abspath(path))}"


def _comma(path):
    """QEMU's options are separated by commas; one in a value is doubled."""
    return str(path).replace(",", ",,")
