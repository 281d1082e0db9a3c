# SPDX-License-Identifier: Apache-2.0
"""Guest kernels: Debian's own packages, unpacked in the cache, and what goes with them.

A kernel under QEMU is named by its package's version (6.1.0-56-amd64), by a line of versions (6.12: the newest that
the archive offers), or as "debian": the distribution's default. "uml" is the kernel of the user-mode-linux package.
"""

import glob
import lzma
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess

from . import Failure, cache, debian
from .debian import tool

# What a guest of ours may want; the rest of the package (drivers of hardware that no guest has) stays packed.
IMAGE_PATTERNS = ["./boot/vmlinuz-*", "./boot/config-*"] + [
    f"{lib}/modules/*/{part}" for lib in ("./lib", "./usr/lib") for part in (
        "modules.*", "kernel/fs/*", "kernel/net/9p/*", "kernel/net/vmw_vsock/*", "kernel/drivers/virtio/*",
        "kernel/drivers/crypto/virtio/*", "kernel/drivers/char/*", "kernel/drivers/vhost/*", "kernel/crypto/*",
        "kernel/arch/x86/crypto/*", "kernel/lib/*", "kernel/arch/x86/lib/*")]
QEMU_MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
                "virtio_console", "9pnet", "9pnet_virtio", "9p", "overlay"]
UML_MODULES = ["overlay"]
APPLETS = ["cat", "chroot", "cp", "dmesg", "echo", "grep", "halt", "hostname", "insmod", "ip", "kill", "ln", "mkdir",
           "mkfifo", "mount", "mv", "poweroff", "readlink", "reboot", "setsid", "sh", "sleep", "stty", "sync", "umount",
           "uname", "usleep"]
INIT = pathlib.Path(__file__).with_name("init")
RESOLVED_DAYS = 7


def resolve(name):
    """The version that a kernel's name stands for."""
    if re.fullmatch(r"\d+\.\d+\.\d.*", name):
        return name
    if name != "debian" and not re.fullmatch(r"\d+\.\d+", name):
        raise Failure(f"cannot choose kernel {name!r}: neither 'debian', a line such as 6.12, nor a version")
    fact = f"kernel-{name}"
    known = cache.recall(fact, RESOLVED_DAYS)
    if known:
        return known
    meta = "linux-image-amd64" if name == "debian" else f"linux-image-{name}-amd64"
    try:
        match = re.search(r"linux-image-(\d[^ ,]*)", debian.depends(meta))
    except Failure:
        known = cache.recall(fact)
        if known:
            return known
        raise
    if not match:
        raise Failure(f"cannot choose kernel {name!r}: package {meta} depends on no kernel")
    cache.remember(fact, match.group(1))
    return match.group(1)


def image(version):
    """A folder with vmlinux, config and lib/modules/VERSION of Debian's linux-image-VERSION."""
    return cache.entry("linux-image", f"{version}-1", lambda folder: _make_image(version, folder))


def _make_image(version, folder):
    cache.say(f"fetching Linux {version}")
    debian.fetch([f"linux-image-{version}"], folder, IMAGE_PATTERNS)
    packed = folder / f"boot/vmlinuz-{version}"
    if not packed.is_file():
        raise Failure(f"cannot use package linux-image-{version}: it has no boot/{packed.name}")
    (folder / "vmlinux").write_bytes(_unpack_bzimage(packed.read_bytes()))
    (folder / f"boot/config-{version}").rename(folder / "config")
    if (folder / "usr/lib/modules").is_dir():
        (folder / "usr/lib").rename(folder / "lib")
    tool([_sbin("depmod"), "-b", folder, version], f"list the modules of Linux {version}")
    shutil.rmtree(folder / "boot")


def _unpack_bzimage(data):
    """The ELF kernel in a bzImage. Entered as it is (PVH), it spares the guest unpacking itself, which takes seconds
    where processors are emulated."""
    setup_sectors = data[0x1f1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[(setup_sectors + 1) * 512 + offset:][:length]
    if payload.startswith(b"\xfd7zXZ"):
        unpacked = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        # Behind the compressed data comes its size, at which zstd stops with an error: the result is judged instead.
        unpacked = subprocess.run(["zstd", "-dcq"], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  check=False).stdout
    else:
        raise Failure("cannot unpack the kernel: it is compressed neither with xz nor with zstd")
    if not unpacked.startswith(b"\x7fELF"):
        raise Failure("cannot unpack the kernel: what it holds is no ELF file")
    return unpacked


def _sbin(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or name


def headers(version):
    """A folder to build modules for that kernel against: the installed headers package, else an unpacked one."""
    installed = pathlib.Path(f"/usr/src/linux-headers-{version}")
    if (installed / "Makefile").is_file():
        return installed
    place = cache.entry("linux-headers", f"{version}-1", lambda folder: _make_headers(version, folder))
    return place / f"usr/src/linux-headers-{version}"


def _make_headers(version, folder):
    cache.say(f"fetching headers of Linux {version}")
    wanted = [word for word in re.findall(r"linux-[^ ,]+", debian.depends(f"linux-headers-{version}"))
              if re.match(r"linux-(headers-.*-common|kbuild-)", word)]
    debian.fetch([f"linux-headers-{version}", *wanted], folder)
    makefile = folder / f"usr/src/linux-headers-{version}/Makefile"
    # It includes the common part by its absolute path, as installed.
    makefile.write_text(makefile.read_text().replace("include /usr/src/", "include ../"))


def initramfs(version, modules_dir, modules):
    """The initramfs: busybox, the modules named with all they need, in order, and init."""
    busybox = _busybox()
    key = cache.key_of(INIT, busybox, version, " ".join(modules + APPLETS), pathlib.Path(__file__))
    place = cache.entry("initramfs", key, lambda folder: _make_initramfs(folder, busybox, modules_dir, modules))
    return place / "initrd"


def _busybox():
    for path in ("/bin/busybox", "/usr/bin/busybox"):
        # The static build: it needs nothing else in the initramfs.
        if os.path.exists(path) and b"/lib64/ld-linux" not in pathlib.Path(path).read_bytes()[:4096]:
            return pathlib.Path(path)

    def make(folder):
        cache.say("fetching busybox")
        debian.fetch(["busybox-static"], folder)
    place = cache.entry("busybox", "1", make)
    return next(path for path in (place / "bin/busybox", place / "usr/bin/busybox") if path.exists())


def _module_order(modules_dir, names):
    """Paths of the modules, each behind what it depends on. Built-in ones drop out."""
    found, needs = {}, {}
    for line in (modules_dir / "modules.dep").read_text().splitlines():
        path, _, dependencies = line.partition(":")
        found[os.path.basename(path).split(".ko")[0].replace("-", "_")] = path
        needs[path] = dependencies.split()
    built_in = (modules_dir / "modules.builtin").read_text()
    order = []

    def add(path):
        if path not in order:
            for needed in needs[path]:
                add(needed)
            order.append(path)
    for name in names:
        if name in found:
            add(found[name])
        elif f"/{name}.ko" not in built_in:
            raise Failure(f"cannot make an initramfs: the kernel in {modules_dir} has no module {name}")
    return [modules_dir / path for path in order]


def _module_bytes(path):
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def _make_initramfs(folder, busybox, modules_dir, modules):
    archive = _Cpio()
    for name in ("bin", "dev", "proc", "sys", "modules", "lower", "rw", "share", "root"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    for applet in APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    names = []
    for path in _module_order(modules_dir, modules):
        names.append(path.name.split(".ko")[0] + ".ko")
        archive.add(f"modules/{names[-1]}", stat.S_IFREG | 0o644, _module_bytes(path))
    archive.add("modules/order", stat.S_IFREG | 0o644, "".join(f"{name}\n" for name in names).encode())
    archive.add("init", stat.S_IFREG | 0o755, INIT.read_bytes())
    (folder / "initrd").write_bytes(archive.finish())


class _Cpio:
    """A cpio archive of the kind that kernels unpack (newc)."""

    def __init__(self):
        self.parts, self.count = [], 0

    def add(self, name, mode, data=b""):
        self.count += 1
        raw = name.encode() + b"\0"
        fields = (self.count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        self.parts += [head, b"\0" * (-len(head) % 4), data, b"\0" * (-len(data) % 4)]

    def finish(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


def uml():
    """The User-Mode Linux kernel's path and the folder of its modules: those installed, else an unpacked package's."""
    prefix = pathlib.Path("/usr")
    if not (prefix / "bin/linux.uml").exists():
        def make(folder):
            cache.say("fetching User-Mode Linux")
            debian.fetch(["user-mode-linux"], folder)
        prefix = cache.entry("user-mode-linux", "1", make) / "usr"
    binary = prefix / "bin/linux.uml"
    version = tool([binary, "--version"], "start User-Mode Linux").strip()
    modules = prefix / "lib/uml/modules" / version
    if not (modules / "modules.dep").exists():
        raise Failure(f"cannot use {binary}: {modules}/modules.dep is missing")
    return binary, version, modules


# Of the kernel's source, what preparing a tree for modules reads.
UML_SOURCE = ["Makefile", "Kbuild", "Kconfig", "scripts", "include", "arch/um", "arch/x86", "tools/include",
              "tools/objtool", "tools/build", "tools/lib", "tools/scripts", "tools/arch/x86", "kernel/bounds.c",
              "kernel/time/timeconst.bc", "security/selinux/include", "*/Kconfig*"]


def uml_tree():
    """A kernel tree to build modules for the User-Mode Linux kernel against.

    The distribution has no headers package for it: the tree is made from the kernel's source, that kernel's own
    configuration, and the list of symbols that it exports. It has no module versions: the release string is all that
    must match when a module is loaded.
    """
    binary, version, _ = uml()
    line = ".".join(version.split(".")[:2])
    place = cache.entry("uml-tree", f"{version}-2", lambda folder: _make_uml_tree(folder, binary, version, line))
    return place / "tree"


def unpack_source(line, folder, tree, parts=()):
    """Unpacks the distribution's kernel source of a line of versions as the folder tree, or only those parts of it."""
    archives = sorted(glob.glob(f"/usr/src/linux-source-{line}.tar.xz"))
    if not archives:
        cache.say(f"fetching the source of Linux {line}")
        debian.fetch([f"linux-source-{line}"], folder, ["./usr/src/*"])
        archives = sorted(map(str, folder.glob("usr/src/*.tar.xz")))
    if not archives:
        raise Failure(f"cannot unpack the source of Linux {line}: package linux-source-{line} has no archive")
    tree.mkdir()
    top = f"linux-source-{line}"
    wanted = ["--wildcards", "--no-anchored", *(f"{top}/{part}" for part in parts)] if parts else []
    tool(["tar", "-xf", archives[0], "-C", tree, "--strip-components=1", "--no-same-owner", *wanted],
         "unpack the kernel's source")
    shutil.rmtree(folder / "usr", ignore_errors=True)


def _make_uml_tree(folder, binary, version, line):
    cache.say(f"preparing a tree to build modules for User-Mode Linux {version}")
    tree = folder / "tree"
    unpack_source(line, folder, tree, UML_SOURCE)
    config = tool([binary, "--showconfig"], "read the configuration of User-Mode Linux")
    (tree / ".config").write_text(config.replace("CONFIG_LOCALVERSION_AUTO=y",
                                                 "# CONFIG_LOCALVERSION_AUTO is not set"))
    makefile = tree / "Makefile"
    makefile.write_text(re.sub(r"(?m)^SUBLEVEL = .*", f"SUBLEVEL = {version.split('.')[2]}", makefile.read_text()))
    for target in ("olddefconfig", "modules_prepare"):
        tool(["make", "-s", "ARCH=um", f"-j{os.cpu_count()}", target], "prepare the kernel's tree", cwd=tree)
    (tree / "Module.symvers").write_text("".join(
        f"0x00000000\t{name}\tvmlinux\t{how}\t{space}\n" for name, how, space in _exported(binary.read_bytes())))


def _exported(elf):
    """The symbols that a kernel linked at fixed addresses exports: (name, kind of export, namespace)."""
    table, = struct.unpack_from("<Q", elf, 0x28)
    size, count, names_index = struct.unpack_from("<3H", elf, 0x3a)
    sections = [struct.unpack_from("<2I4Q", elf, table + number * size) for number in range(count)]
    names_offset = sections[names_index][4]

    def string(offset):
        return elf[offset:elf.index(b"\0", offset)].decode()

    def string_at(address):
        for _, _, _, start, offset, length in sections:
            if address and start <= address < start + length:
                return string(offset + address - start)
        return ""
    for name, _, _, _, offset, length in sections:
        section = string(names_offset + name)
        if section in ("__ksymtab", "__ksymtab_gpl"):
            how = "EXPORT_SYMBOL_GPL" if section.endswith("_gpl") else "EXPORT_SYMBOL"
            for _, at, space in struct.iter_unpack("<3Q", elf[offset:offset + length]):
                yield string_at(at), how, string_at(space)
