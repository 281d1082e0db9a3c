# SPDX-License-Identifier: Apache-2.0
"""Things made once and kept: ${XDG_CACHE_HOME:-~/.cache}/vaccel/NAME/KEY.

An entry is a folder that is complete as soon as it is there: it is made beside its place and renamed. The key names
everything that the contents depend on, so a changed recipe makes a new entry, and an entry unused for a month goes
away when a sibling is made. A lock per name keeps two makers apart. Entries are never changed once made.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import sys
import tempfile
import time

UNUSED_DAYS = 30


def say(text):
    """One line of progress."""
    print(f"{os.path.basename(sys.argv[0])}: {text}", file=sys.stderr, flush=True)


def root():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "vaccel"


def key_of(*parts):
    """A short key from strings, bytes or file paths (their contents count)."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, pathlib.Path):
            part = part.read_bytes()
        elif isinstance(part, str):
            part = part.encode("utf-8", "surrogateescape")
        total.update(len(part).to_bytes(8, "little") + part)
    return total.hexdigest()[:16]


@contextlib.contextmanager
def lock(name):
    """Held for the length of the block; the caller hears of it when somebody else has it."""
    folder = root() / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / name.replace("/", "-"), "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that is making {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def entry(name, key, make):
    """The folder of NAME/KEY. When there is none, make(folder) fills an empty one, which then takes its place."""
    place = root() / name / key
    if not place.is_dir():
        with lock(name):
            if not place.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                _remove_unused(place.parent)
                _make(place, make)
    with contextlib.suppress(OSError):
        os.utime(place)
    return place


def _make(place, make):
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
    try:
        make(temporary)
        temporary.chmod(0o755)
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_unused(folder):
    """Drops siblings that nobody used for a month, and what a killed maker left (the caller has the lock)."""
    for sibling in folder.iterdir():
        age = time.time() - sibling.stat().st_mtime
        if sibling.name.startswith(".making-") or age > UNUSED_DAYS * 86400:
            shutil.rmtree(sibling, ignore_errors=True)


def remember(name, text):
    """Keeps a short text, such as the outcome of a probe."""
    place = root() / "facts" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as handle:
        handle.write(text)
    os.rename(handle.name, place)


def recall(name, days=None):
    """What was remembered, None if nothing was or it is older than so many days."""
    place = root() / "facts" / name
    try:
        if days is not None and time.time() - place.stat().st_mtime > days * 86400:
            return None
        return place.read_text()
    except OSError:
        return None
