# SPDX-License-Identifier: Apache-2.0
"""Kernel modules built out of tree for a guest's kernel, in the cache: the source tree stays as it is."""

import os
import pathlib
import shutil
import subprocess

from . import Failure, cache, kernels, umldebug

SOURCES = {".c", ".h", ".S", ".conf"}
NAMES = {"Kbuild", "Makefile"}
UML_CRYPTO_SOURCE = ["drivers/crypto/virtio/*", "crypto/crypto_engine.c", "crypto/internal.h"]


def _sources(folder):
    return sorted(path for path in folder.rglob("*")
                  if (path.suffix in SOURCES and not path.name.endswith(".mod.c")) or path.name in NAMES)


def build(driver, uapi, kernel, arguments):
    """Builds the module in the folder driver; uapi, if there is one, is found from it as ../include/uapi. Returns the
    .ko files and what the compiler said. The same sources, kernel and arguments are built once."""
    files = {f"driver/{path.relative_to(driver)}": path for path in _sources(driver)}
    if not files:
        raise Failure(f"cannot build a module: there are no sources in {driver}")
    if uapi:
        files.update({f"include/uapi/{path.relative_to(uapi)}": path for path in _sources(uapi)})
    if kernel == "uml":
        tree, version, more = kernels.uml_tree(), kernels.uml()[1], ["ARCH=um"]
    elif kernel == umldebug.NAME:
        tree, version, more = umldebug.tree(), umldebug.kernel()[1], ["ARCH=um"]
    else:
        version = kernels.resolve(kernel)
        tree, more = kernels.headers(version), []
    key = cache.key_of(str(bool(more)), version, str(tree), *arguments,
                       *(part for name, path in files.items() for part in (name, path)))

    def make(folder):
        cache.say(f"building {driver.name} for Linux {version}")
        for name, path in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
        _make(tree, folder, [*more, *arguments], version)
    place = cache.entry("module", key, make)
    return sorted((place / "driver").rglob("*.ko")), (place / "log").read_text()


def uml_crypto():
    """The driver of crypto devices for Debian's User-Mode Linux, which comes without it: from the distribution's source
    of that kernel, unchanged. The .ko files, in the order in which they are to be loaded."""
    version = kernels.uml()[1]
    line = ".".join(version.split(".")[:2])

    def make(folder):
        kernels.unpack_source(line, folder, folder / "source", UML_CRYPTO_SOURCE)
        driver = folder / "virtio_crypto"
        (folder / "source/drivers/crypto/virtio").rename(driver)
        for name in ("crypto_engine.c", "internal.h"):
            (folder / "source/crypto" / name).rename(driver / name)
        shutil.rmtree(folder / "source")
        (driver / "Makefile").rename(driver / "Kbuild")
        with open(driver / "Kbuild", "a") as kbuild:
            kbuild.write("obj-m += crypto_engine.o\n")
    source = cache.entry("uml-crypto", f"{version}-1", make) / "virtio_crypto"
    # What other modules export is in no list of symbols: modpost is to believe it.
    found, _ = build(source, None, "uml", ["CONFIG_CRYPTO_DEV_VIRTIO=m", "KBUILD_MODPOST_WARN=1"])
    return [path for name in ("crypto_engine.ko", "virtio_crypto.ko") for path in found if path.name == name]


def _make(tree, folder, arguments, version):
    argv = ["make", "-C", str(tree), f"M={folder}/driver", f"-j{os.cpu_count()}", *arguments, "modules"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", check=False)
    # Compiled in a folder that is renamed afterwards: name the files as they are in the source.
    said = done.stdout.replace(f"{folder}/", "")
    if done.returncode:
        raise Failure(f"cannot build the module for Linux {version}:\n{said}")
    (folder / "log").write_text(said)
    if not any(pathlib.Path(folder, "driver").rglob("*.ko")):
        raise Failure(f"cannot build the module for Linux {version}: the build made no .ko file")
