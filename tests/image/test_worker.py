#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Pictures of every kind, good and bad, for a model behind a sandboxed daemon: right sizes or clear errors, one worker."""

import pathlib
import struct
import sys
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import fixture  # noqa: E402 pylint: disable=wrong-import-position

PICTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
CONFIGURATION = """[engine]
threads = 2

[order]
default = reference models

[models]
dir = {folder}/models

[plugin models]
decode_ms = 500
max_side = 16384

[sandbox]
violation = report
"""
MODEL = """[model]
framework = reference

[image]
output = probabilities
scale = 0.00392156862745098
fit = pad

[reference]
graph = dense
"""


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def bomb():
    """A pixel, and after it what unpacks into eight gigabytes: the same piece again and again."""
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(2)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", head + piece * 128) + chunk(b"IEND", b""))


class Worker(fixture.Test):
    def setUp(self):
        super().setUp()
        (self.folder / "models" / "digits").mkdir(parents=True)
        (self.folder / "models" / "digits" / "model.conf").write_text(MODEL)
        self.config.write_text(CONFIGURATION.format(folder=self.folder))
        self.sizes = {}
        for line in (PICTURES / "expected").read_text().splitlines():
            name, _, width, height, _ = line.split()
            self.sizes[name] = (int(width), int(height))

    def good(self, url):
        files = [PICTURES / name for name in sorted(self.sizes)]
        said = self.json("classify", *files, "--model", "digits", "--verbose", "--transport", url)["images"]
        self.assertEqual(len(said), len(files))
        for picture, file in zip(said, files):
            self.assertEqual((picture["width"], picture["height"]), self.sizes[file.name], file.name)

    def bad(self, url, file, *says):
        done = self.vaccel("classify", file, "--model", "digits", "--transport", url, status=fixture.FAILED)
        for words in ("image_classify: ", *says):
            self.assertIn(words, done.stderr)

    def everything(self, url):
        self.good(url)
        names = {path.name for path in PICTURES.iterdir()} - set(self.sizes) - {"expected"}
        self.assertGreater(len(names), 20)
        for name in sorted(names):
            self.bad(url, PICTURES / name)
        self.bad(url, PICTURES / "huge.png", "20000 x 20000")
        self.good(url)

    def test_daemon(self):
        url = self.start_daemon()
        (worker,) = self.children(self.daemon.pid)
        self.everything(url)
        file = self.folder / "bomb.png"
        file.write_bytes(bomb())
        self.bad(url, file, "takes more than 500 ms to decode")
        self.good(url)
        self.assertEqual(self.children(self.daemon.pid), [worker], "the worker died")
        self.assertNotIn("is not allowed", (self.folder / "log").read_text())

    def test_local(self):
        self.everything(self.local)


if __name__ == "__main__":
    fixture.main()
