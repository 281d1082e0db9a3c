# SPDX-License-Identifier: Apache-2.0
"""Debian packages, downloaded and unpacked in a folder of ours. Nothing is installed, no root is needed, and apt
verifies the archive's signatures as it always does.

The system's package lists are used where they will do. Where they are absent or stale, or another suite is wanted, a
private set of lists is fetched, which leaves the system's alone.
"""

import atexit
import functools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from . import Failure
from .cache import say

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DOCUMENTS = ["--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale",
             "--exclude=./usr/share/lintian", "--exclude=./usr/share/info"]


def tool(argv, what, **options):
    """Runs a command quietly; its failure becomes ours, with the last of what it said."""
    options.setdefault("env", {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"})
    try:
        done = subprocess.run([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace", **options)
    except FileNotFoundError as error:
        raise Failure(f"cannot {what}: {error.filename} is not installed") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise Failure(f"cannot {what}: {os.path.basename(str(argv[0]))} failed:\n  " + "\n  ".join(said))
    return done.stdout


def mirror():
    """The archive that the system's sources name, whichever of apt's formats they are written in."""
    if os.environ.get("VACCEL_DEBIAN_MIRROR"):
        return os.environ["VACCEL_DEBIAN_MIRROR"]
    with tempfile.TemporaryDirectory(prefix="vaccel-apt.") as empty:
        pathlib.Path(empty, "partial").mkdir()
        uris = tool(["apt-get", "-o", f"Dir::State::lists={empty}", "--print-uris", "update"],
                    "find the Debian mirror in apt's sources")
    found = re.findall(r"'(\S+?)/+dists/([^/']+)/", uris)
    for uri, suite in found:
        if re.fullmatch(r"[a-z]+", suite) and "security" not in uri:
            return uri
    raise Failure("cannot find a Debian mirror: apt's sources name none; set VACCEL_DEBIAN_MIRROR to one's address")


class PrivateApt:
    """apt with lists and cache in a folder of its own. With a suite, that suite of the mirror on an empty system (so
    that every dependency is downloaded); without one, the system's own sources."""

    def __init__(self, folder, suite=None):
        self.folder = folder
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        lines = [f'Dir::State "{folder}/state";', f'Dir::Cache "{folder}/cache";', 'APT::Sandbox::User "root";',
                 'APT::Install-Recommends "false";', 'Acquire::Languages "none";',
                 # hooks meant for the system's own cache, which some images configure
                 "#clear APT::Update::Pre-Invoke;", "#clear APT::Update::Post-Invoke;",
                 "#clear APT::Update::Post-Invoke-Success;", "#clear DPkg::Pre-Invoke;",
                 "#clear DPkg::Post-Invoke;", "#clear DPkg::Pre-Install-Pkgs;"]
        if suite:
            (folder / "status").touch()
            (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
            lines += [f'Dir::State::status "{folder}/status";', f'Dir::Etc::sourcelist "{folder}/sources.list";',
                      'Dir::Etc::sourceparts "/dev/null";']
        (folder / "apt.conf").write_text("\n".join(lines) + "\n")
        self.apt("update", what="fetch package lists" + (f" of {suite}" if suite else ""))

    def apt(self, *args, what):
        return tool(["apt-get", "-q", "-c", self.folder / "apt.conf", *args], what)

    def download_closure(self, *packages):
        """A package and all it depends on; the downloaded files."""
        self.apt("install", "-y", "--download-only", *packages, what="download " + " ".join(packages))
        return sorted((self.folder / "cache/archives").glob("*.deb"))


@functools.cache
def _private():
    """apt with lists of its own of the system's sources, for this process."""
    folder = tempfile.mkdtemp(prefix="vaccel-apt.")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    say("fetching Debian's package lists")
    return PrivateApt(pathlib.Path(folder))


def depends(package):
    """The Depends field of a package's newest version, from the system's lists, else from fresh ones."""
    lists = [["apt-cache"], ["apt-cache", "-c"]]
    for argv in lists:
        if argv[1:]:
            argv.append(_private().folder / "apt.conf")
        done = subprocess.run([*argv, "show", "--no-all-versions", package], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
        match = re.search(r"^Depends: (.*)$", done.stdout, re.MULTILINE)
        if done.returncode == 0 and match:
            return match.group(1)
    raise Failure(f"cannot look up package {package}: apt's sources have none of that name")


def download(packages, folder):
    """Downloads packages, without what they depend on, in the folder; the files."""
    before = set(folder.glob("*.deb"))
    try:
        tool(["apt-get", "-q", "download", *packages], "download " + " ".join(packages), cwd=folder)
    except Failure:
        private = _private()
        tool(["apt-get", "-q", "-c", private.folder / "apt.conf", "download", *packages],
             "download " + " ".join(packages), cwd=folder)
    return sorted(set(folder.glob("*.deb")) - before)


def unpack(deb, folder, patterns=()):
    """Unpacks a package, or only what the patterns name (./usr/...), without its documents."""
    options = ["--wildcards", *patterns] if patterns else DOCUMENTS
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as packed:
        # A pattern that matches nothing makes tar fail at its end; the caller looks for what it needs.
        done = subprocess.run(["tar", "-x", "--no-same-owner", "-C", str(folder), *options], stdin=packed.stdout,
                              stderr=subprocess.PIPE, text=True, check=False)
    if packed.returncode or (done.returncode and not patterns):
        raise Failure(f"cannot unpack {deb.name}: {done.stderr.strip()}")


def fetch(packages, folder, patterns=()):
    """Downloads and unpacks packages in the folder."""
    archives = pathlib.Path(tempfile.mkdtemp(prefix=".archives-", dir=folder))
    try:
        for deb in download(packages, archives):
            unpack(deb, folder, patterns)
    finally:
        shutil.rmtree(archives, ignore_errors=True)
