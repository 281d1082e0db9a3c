# SPDX-License-Identifier: Apache-2.0
"""A User-Mode Linux kernel that checks what runs in it: memory (KASAN, kmemleak), locks and sleeping (lockdep),
undefined behaviour, lists, object lives; and that can make any one allocation or copy fail.

No distribution has one, so it is compiled from the distribution's kernel source, once, and kept with the tree that
modules for it are built against. Everything is built in: there are no modules but ours.
"""

import os
import shutil
import subprocess

from . import Failure, cache, kernels
from .debian import tool

NAME = "uml-debug"
# What the guest needs.
GUEST = {"MODULES": "y", "MODULE_UNLOAD": "y", "MODULE_FORCE_UNLOAD": "y", "VIRTIO_UML": "y", "HOSTFS": "y",
         "OVERLAY_FS": "y", "TMPFS": "y", "TMPFS_XATTR": "y", "DEVTMPFS": "y", "BLK_DEV_INITRD": "y", "UNIX": "y"}
# What only takes time to compile.
ABSENT = ["STATIC_LINK", "WERROR", "INET", "IPV6", "NETFILTER", "EXT4_FS", "REISERFS_FS", "AUTOFS_FS", "AUTOFS4_FS",
          "ISO9660_FS", "SOUND", "UML_SOUND", "BLK_DEV_UBD", "DEBUG_INFO", "DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT",
          "LOCALVERSION_AUTO", "WIRELESS", "WLAN", "ETHERNET"]
CHECKERS = {
    "DEBUG_KERNEL": "y", "DEBUG_FS": "y", "FRAME_POINTER": "y",
    # use of memory that is not (or no longer) the user's; leaks, looked for when asked
    "KASAN": "y", "KASAN_GENERIC": "y", "KASAN_OUTLINE": "y", "KASAN_VMALLOC": "y",
    "DEBUG_KMEMLEAK": "y", "DEBUG_KMEMLEAK_MEM_POOL_SIZE": "8000", "DEBUG_KMEMLEAK_AUTO_SCAN": "n",
    "UBSAN": "y", "DEBUG_VM": "y",
    # order and context of locks, sleeping where one must not
    "PROVE_LOCKING": "y", "DEBUG_ATOMIC_SLEEP": "y", "DETECT_HUNG_TASK": "y",
    # lists, scatterlists; work, timers and RCU heads that are freed while they wait
    "DEBUG_LIST": "y", "DEBUG_SG": "y", "DEBUG_OBJECTS": "y", "DEBUG_OBJECTS_FREE": "y", "DEBUG_OBJECTS_TIMERS": "y",
    "DEBUG_OBJECTS_WORK": "y", "DEBUG_OBJECTS_RCU_HEAD": "y",
    # failures on demand, also only those below given code
    "FAULT_INJECTION": "y", "FAILSLAB": "y", "FAIL_PAGE_ALLOC": "y", "FAULT_INJECTION_USERCOPY": "y",
    "FAULT_INJECTION_DEBUG_FS": "y", "FAULT_INJECTION_STACKTRACE_FILTER": "y",
}
PROGRESS_SECONDS = 30
# Objects that this configuration compiles, for the progress only.
ABOUT = 880


def kernel():
    """The kernel's path, its version, and the folder of its modules (there are none, and so it says)."""
    place = _place()
    version = (place / "version").read_text().strip()
    return place / "linux", version, place / "lib/modules" / version


def tree():
    """The tree to build modules for it."""
    return _place() / "tree"


def _place():
    line = ".".join(kernels.uml()[1].split(".")[:2])
    key = cache.key_of("1", line, *_config())
    return cache.entry(NAME, key, lambda folder: _make(folder, line))


def _config():
    """The arguments of the kernel's scripts/config."""
    words = ["--set-str", "LOCALVERSION", "-vaccel-debug"]
    for name in ABSENT:
        words += ["--disable", name]
    for name, value in {**GUEST, **CHECKERS}.items():
        words += ["--set-val", name, value]
    return words


def _make(folder, line):
    source = folder / "tree"
    kernels.unpack_source(line, folder, source)
    environment = {**os.environ, "ARCH": "um", "LC_ALL": "C"}
    _permit(source / "lib/Kconfig.debug")
    tool(["make", "-s", "defconfig"], "configure the kernel", cwd=source, env=environment)
    tool(["scripts/config", *_config()], "configure the kernel", cwd=source)
    tool(["make", "-s", "olddefconfig"], "configure the kernel", cwd=source, env=environment)
    _check_config((source / ".config").read_text().splitlines())
    cache.say("compiling a User-Mode Linux kernel with checkers (5 minutes of two processors, once)")
    _compile(source, environment)
    version = tool(["make", "-s", "kernelrelease"], "ask for the kernel's version", cwd=source, env=environment)
    (folder / "version").write_text(version)
    modules = folder / "lib/modules" / version.strip()
    modules.mkdir(parents=True)
    shutil.copyfile(source / "modules.builtin", modules / "modules.builtin")
    (modules / "modules.dep").touch()
    shutil.copy(source / "linux", folder / "linux")
    _shrink(source)


# What the kernel refuses on User-Mode Linux, and why that does not hold here: text of lib/Kconfig.debug, and what it
# becomes. A change here needs another number in the cache's key.
PERMITTED = [
    # It cannot be preempted, but it can count what forbids sleeping, and DEBUG_ATOMIC_SLEEP needs no more.
    ("select PREEMPT_COUNT if !ARCH_NO_PREEMPT\n", "select PREEMPT_COUNT\n"),
    ("\tdepends on DEBUG_KERNEL\n\tdepends on !ARCH_NO_PREEMPT\n", "\tdepends on DEBUG_KERNEL\n"),
    # Its stacks are walked by frame pointers, unlike those of the processor that it is named after.
    ("\tdepends on !X86_64\n\tselect STACKTRACE\n\tdepends on FRAME_POINTER ",
     "\tselect STACKTRACE\n\tdepends on FRAME_POINTER "),
]


def _permit(path):
    text = path.read_text()
    for old, new in PERMITTED:
        if text.count(old) < 1:
            raise Failure(f"cannot configure the kernel: its {path.name} is not as expected")
        text = text.replace(old, new)
    path.write_text(text)


def _check_config(lines):
    """An option that the kernel drops, for want of another one, must not go unseen: its checker would find nothing."""
    dropped = [f"{name}={value}" for name, value in {**GUEST, **CHECKERS}.items()
               if (f"# CONFIG_{name} is not set" if value == "n" else f"CONFIG_{name}={value}") not in lines]
    if dropped:
        raise Failure("cannot configure the kernel: it does not take " + ", ".join(dropped))


def _compile(source, environment):
    """make, with a line of progress now and then."""
    log = source / "build.log"
    argv = ["make", f"-j{len(os.sched_getaffinity(0))}"]
    with open(log, "wb") as said, subprocess.Popen(argv, cwd=source, env=environment, stdin=subprocess.DEVNULL,
                                                   stdout=said, stderr=subprocess.STDOUT) as make:
        try:
            while True:
                try:
                    status = make.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    done = sum(1 for line in log.read_bytes().splitlines() if line.lstrip().startswith(b"CC "))
                    cache.say(f"compiled {done} of about {ABOUT} files")
        except BaseException:
            make.terminate()
            raise
    if status:
        raise Failure("cannot compile the kernel:\n  " + "\n  ".join(log.read_text().splitlines()[-15:]))


def _shrink(source):
    """Of the tree stays what building modules needs."""
    keep = {"Makefile", "Kbuild", "Kconfig", "scripts", "include", "arch", "tools", ".config", "Module.symvers",
            "modules.builtin"}
    for item in source.iterdir():
        if item.name in keep:
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
    for item in (source / "arch").iterdir():
        if item.is_dir() and item.name not in ("um", "x86"):
            shutil.rmtree(item)
    for folder in (source / "arch", source / "include"):
        for item in folder.rglob("*.o"):
            item.unlink()
