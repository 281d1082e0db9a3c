# SPDX-License-Identifier: Apache-2.0
"""What the scripts that make models and pictures share: the interpreter that has TensorFlow, files that appear whole, PNG."""

import contextlib
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.dont_write_bytecode = True
TOP = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "vaccel"
UNDER = "VACCEL_UNDER_TENSORFLOW"


def say(text):
    print(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def need_tensorflow():
    """Goes on under the interpreter of tools/tensorflow, which has TensorFlow, Pillow and scikit-learn."""
    if os.environ.get(UNDER) == str(os.getpid()):
        # One order of additions, whatever the machine: what is trained and computed can be had again.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        return
    done = subprocess.run([TOP / "tools/tensorflow", "--python"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        say("needs TensorFlow, which tools/tensorflow installs")
        sys.exit(1)
    python = done.stdout.strip().splitlines()[-1]
    # exec keeps the process id: a child of ours starts afresh.
    os.environ[UNDER] = str(os.getpid())
    os.execv(python, [python, "-B", *sys.argv])


@contextlib.contextmanager
def whole(place):
    """A folder to fill, which becomes place when all went well: whoever looks there never sees half of it."""
    place = pathlib.Path(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        yield folder
        folder.chmod(0o755)
        old = pathlib.Path(tempfile.mkdtemp(prefix=".old.", dir=place.parent))
        if place.exists():
            place.rename(old / "was")
        folder.rename(place)
        shutil.rmtree(old)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def png(width, height, channels, pixels):
    """The bytes of a PNG of 8 bits: 1 channel grey, 3 RGB. pixels: bytes, row by row."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = width * channels
    if len(pixels) != row * height:
        raise ValueError(f"{len(pixels)} bytes are no {width} x {height} x {channels} picture")
    lines = b"".join(b"\0" + pixels[at:at + row] for at in range(0, len(pixels), row))
    head = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 3: 2}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
