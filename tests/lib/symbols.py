#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What libvaccel exports is what the symbol map says, what the headers declare, and what the man pages document."""

import pathlib
import re
import shutil
import subprocess
import sys

SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUE", "ERRORS", "EXAMPLES")
PAGES = ("vaccel.3", "vaccel_crypto.3", "vaccel_models.3", "vaccel_basic.3", "vaccel_ops.3", "vaccel_plugin.3")


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def mapped(path):
    """Names in the sections of the symbol map."""
    text = without_comments(path.read_text())
    return {name for part in re.findall(r"global:(.*?)local:", text, re.S) for name in re.findall(r"(\w+);", part)}


def declared(path):
    """Functions that a header declares; inline ones are not in the library."""
    text = re.sub(r"^#.*?[^\\]$", "", without_comments(path.read_text()), flags=re.M | re.S)
    return {m.group(1) for m in re.finditer(r"^[a-z][\w\s*]*?\b(\w+)\([^;{]*\);", text, re.M)}


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in lines.splitlines() if line.split()[-2] in "TDBRVW"}
    return {name for name in names if not name.startswith("_")}


def compare(what, left, right):
    problems = [f"{what}: {name} is only in the first" for name in sorted(left - right)]
    return problems + [f"{what}: {name} is only in the second" for name in sorted(right - left)]


def check_page(path):
    text = path.read_text()
    missing = [s for s in SECTIONS if not re.search(rf"^\.Sh {s}$", text, re.M)]
    problems = [f"{path.name}: section {s} is missing" for s in missing]
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-z", "-ww", "-rCHECKSTYLE=3", str(path)],
                              capture_output=True, text=True, check=False)
        problems += done.stderr.splitlines()
    return problems


def main():
    library, source = sys.argv[1], pathlib.Path(sys.argv[2])
    headers = [source / "include/vaccel" / name for name in ("vaccel.h", "basic.h", "ops.h")]
    pages = [source / "src/lib" / name for name in PAGES]
    symbols = mapped(source / "src/lib/libvaccel.map")
    functions = set().union(*map(declared, headers))
    problems = compare("symbol map, library", symbols, exported(library))
    problems += compare("symbol map, headers", symbols, functions)
    synopses = ""
    texts = ""
    for page in pages:
        problems += check_page(page)
        text = page.read_text().replace(r"\-", "-")
        texts += text
        synopses += re.search(r"^\.Sh SYNOPSIS$(.*?)^\.Sh", text, re.M | re.S).group(1)
    links = (source / "src/lib/meson.build").read_text()
    for name in sorted(symbols):
        if f"'{name}'" not in links:
            problems.append(f"man pages: {name}(3) does not lead to one")
        if not re.search(rf"^\.F[no] {name}\b", synopses, re.M):
            problems.append(f"man pages: {name}() has no synopsis")
        if not re.search(rf"^\.It Fn {name}$", texts, re.M):
            problems.append(f"man pages: {name}() is not described")
    ops = without_comments((source / "include/vaccel/ops.h").read_text())
    for name in re.findall(r"\b(VACCEL_[A-Z_]+) =", ops):
        if name not in texts:
            problems.append(f"man pages: {name} is not mentioned")
    plugin = without_comments((source / "include/vaccel/plugin.h").read_text())
    for name in re.findall(r"\b(VACCEL_[A-Z_]+) =", plugin) + re.findall(r"\(\*(\w+)\)\(", plugin):
        if name not in texts:
            problems.append(f"man pages: {name} of the plugin contract is not mentioned")
    print("\n".join(problems) if problems else f"{len(symbols)} functions: declared, exported and documented")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
