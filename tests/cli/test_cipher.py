#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cipher, in this process and over a daemon's socket: files there and back, and what openssl(1) makes of them."""

import os
import pathlib
import pty
import shutil
import signal
import subprocess
import time

import fixture
from fixture import FAILED, OK, USAGE

PLUGINS = [pathlib.Path(folder) for folder in os.environ.get("VACCEL_PLUGIN_DIR", "").split(":")]
KEY = bytes(range(1, 65))
IV = bytes(range(16, 32))
NONCE = bytes(range(12))
# A piece of the tool is a MiB, a block 16 bytes, and a data unit 512.
LENGTHS = (0, 1, 15, 16, 17, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 16, 9 * (1 << 20) + 7)
LARGE = (1 << 20) + 1000
HELD = KEY[:16]


def data_of(length):
    return bytes(i * 7 + (i >> 8) & 255 for i in range(251)) * (length // 251 + 1)


class Cipher:
    """What both transports run: its subclasses say which."""

    def setUp(self):
        super().setUp()
        if not any((folder / "vaccel-openssl.so").exists() for folder in PLUGINS):
            self.skipTest("the plugin openssl is not in this build")
        for name, key, mode, allow in (("both", HELD, "cbc", "encrypt decrypt"), ("inward", HELD, "cbc", "encrypt"),
                                       ("opened", HELD, "gcm", "decrypt")):
            path = self.folder / f"held-{name}"
            path.touch(mode=0o600)
            path.write_bytes(key)
            with self.config.open("a") as config:
                config.write(f"[key {name}]\nfile = {path}\nformat = raw\ncipher = aes-128-{mode}\nallow = {allow}\n")
        self.config.write_text(self.config.read_text().replace("default = reference", "default = openssl reference"))
        self.key = self.folder / "key"
        self.url = self.connect()

    def write(self, name, data):
        (self.folder / name).write_bytes(data)
        return name

    def read(self, name):
        return (self.folder / name).read_bytes()

    def cipher(self, name, key, *arguments, status=OK, **options):
        """Runs it with a key file of so many bytes."""
        self.key.write_bytes(key)
        return self.vaccel("cipher", "-t", self.url, "-c", name, "-k", self.key, *arguments, status=status, **options)

    def openssl(self, *arguments):
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        subprocess.run(["openssl", "enc", *arguments], cwd=self.folder, check=True, stdin=subprocess.DEVNULL)

    def test_as_openssl(self):
        for bits in (128, 192, 256):
            key = KEY[:bits // 8]
            for mode in ("ecb", "cbc", "ctr"):
                name = f"aes-{bits}-{mode}"
                iv = [] if mode == "ecb" else ["--iv", IV.hex()]
                theirs = [f"-{name}", "-K", key.hex(), *([] if mode == "ecb" else ["-iv", IV.hex()])]
                for length in LENGTHS if bits == 128 else (17, 1 << 20):
                    with self.subTest(name, length=length):
                        data = data_of(length)[:length]
                        self.write("plain", data)
                        self.cipher(name, key, *iv, "plain", "-o", "ours")
                        self.openssl(*theirs, "-in", "plain", "-out", "theirs")
                        self.assertEqual(self.read("ours"), self.read("theirs"))
                        self.cipher(name, key, *iv, "-d", "theirs", "-o", "back")
                        self.assertEqual(self.read("back"), data)

    def test_no_padding(self):
        self.write("plain", data_of(1 << 20)[:1 << 20])
        for mode in ("ecb", "cbc"):
            iv = [] if mode == "ecb" else ["--iv", IV.hex()]
            theirs = [f"-aes-128-{mode}", "-nopad", "-K", KEY[:16].hex(), *([] if mode == "ecb" else ["-iv", IV.hex()])]
            self.cipher(f"aes-128-{mode}", KEY[:16], *iv, "--no-padding", "plain", "-o", "ours")
            self.openssl(*theirs, "-in", "plain", "-out", "theirs")
            self.assertEqual(self.read("ours"), self.read("theirs"))
            self.openssl(*theirs, "-d", "-in", "ours", "-out", "back")
            self.assertEqual(self.read("back"), self.read("plain"))
            self.cipher(f"aes-128-{mode}", KEY[:16], *iv, "--no-padding", "-d", "theirs", "-o", "again")
            self.assertEqual(self.read("again"), self.read("plain"))
            self.write("odd", b"x" * 17)
            done = self.cipher(f"aes-128-{mode}", KEY[:16], *iv, "--no-padding", "odd", "-o", "none", status=FAILED)
            self.assertIn("17 bytes are not a whole number of blocks", done.stderr)
            self.assertFalse((self.folder / "none").exists())

    def test_counter_carries(self):
        """The counter goes from one piece into the next, over all of its bytes."""
        self.write("plain", data_of(3 << 20)[:3 << 20])
        iv = b"\x12" + b"\xff" * 13 + b"\x00\x01"
        self.cipher("aes-128-ctr", KEY[:16], "--iv", iv.hex(), "plain", "-o", "ours")
        self.openssl("-aes-128-ctr", "-K", KEY[:16].hex(), "-iv", iv.hex(), "-in", "plain", "-out", "theirs")
        self.assertEqual(self.read("ours"), self.read("theirs"))

    def test_xts(self):
        for bits, unit in ((128, 512), (256, 4096)):
            key = KEY[:bits // 4]
            for length in (16, 511, 512, 528, 3 * unit, 100 * unit + 31):
                data = data_of(length)[:length]
                self.write("plain", data)
                options = ["--iv", (b"\xff" + bytes(15)).hex(), "--unit", unit]
                self.cipher(f"aes-{bits}-xts", key, *options, "plain", "-o", "ours")
                self.assertEqual(len(self.read("ours")), length)
                self.cipher(f"aes-{bits}-xts", key, *options, "-d", "ours", "-o", "back")
                self.assertEqual(self.read("back"), data)
                # A unit by itself, under its number: 255 and one more.
                if length > unit + 16:
                    self.write("one", data[unit:2 * unit])
                    self.cipher(f"aes-{bits}-xts", key, "--iv", (b"\x00\x01" + bytes(14)).hex(), "--unit", unit, "one",
                                "-o", "unit")
                    self.assertEqual(self.read("ours")[unit:2 * unit], self.read("unit"))
        self.write("plain", b"x" * 520)
        done = self.cipher("aes-128-xts", KEY[:32], "--iv", bytes(16).hex(), "plain", "-o", "none", status=FAILED)
        self.assertIn("last data unit has 8 bytes", done.stderr)

    def test_gcm(self):
        for length in LENGTHS:
            data = data_of(length)[:length]
            self.write("plain", data)
            options = ["--iv", NONCE.hex(), "--aad", b"header".hex()]
            self.cipher("aes-256-gcm", KEY[:32], *options, "plain", "-o", "ours")
            self.assertEqual(len(self.read("ours")), length + 16)
            self.cipher("aes-256-gcm", KEY[:32], *options, "-d", "ours", "-o", "back")
            self.assertEqual(self.read("back"), data)
            # The tag apart from the file: whole, and cut as others may have it.
            self.cipher("aes-256-gcm", KEY[:32], *options, "--tag", "tag", "plain", "-o", "bare")
            tag = self.read("tag").decode()
            self.assertEqual(self.read("bare") + bytes.fromhex(tag), self.read("ours"))
            self.write("tag", tag[:24].encode())
            self.cipher("aes-256-gcm", KEY[:32], *options, "--tag", "tag", "-d", "bare", "-o", "back")
            self.assertEqual(self.read("back"), data)

    def test_gcm_rejects(self):
        data = data_of(3 << 20)[:3 << 20]
        self.write("plain", data)
        options = ["--iv", NONCE.hex()]
        self.cipher("aes-128-gcm", KEY[:16], *options, "plain", "-o", "good")
        good = self.read("good")
        for at in (0, len(data) - 1, len(good) - 1):
            self.write("bad", good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
            done = self.cipher("aes-128-gcm", KEY[:16], *options, "-d", "bad", "-o", "none", status=FAILED)
            self.assertIn("tag", done.stderr)
            self.assertFalse((self.folder / "none").exists())
            # Nothing of it is given out.
            self.assertEqual(self.cipher("aes-128-gcm", KEY[:16], *options, "-d", "bad", status=FAILED).stdout, "")
            self.give_nothing_out([*options, "-d", "bad"])
        done = self.cipher("aes-128-gcm", KEY[:16], *options, "--aad", "00", "-d", "good", "-o", "none", status=FAILED)
        self.assertIn("tag", done.stderr)
        self.write("short", good[:15])
        done = self.cipher("aes-128-gcm", KEY[:16], *options, "-d", "short", "-o", "none", status=FAILED)
        self.assertIn("fewer than its tag", done.stderr)

    def give_nothing_out(self, arguments):
        """Standard output is a file, by several names, and nothing gets there; those names stay."""
        (self.folder / "link").symlink_to("/proc/self/fd/1")
        for name in "-", "link", "/proc/self/fd/1":
            with open(self.folder / "given", "wb") as given:
                done = subprocess.run([fixture.PROGRAM, "cipher", "-t", self.url, "-c", "aes-128-gcm", "-k", self.key,
                                       *arguments, "-o", name], stdout=given, stderr=subprocess.PIPE, cwd=self.folder,
                                      check=False)
            self.assertEqual(done.returncode, FAILED)
            self.assertEqual(os.path.getsize(self.folder / "given"), 0)
        (self.folder / "link").unlink()

    def test_gcm_waits(self):
        """Until the tag was checked nothing is in the output, or in another file that has a name."""
        data = data_of(3 << 20)[:3 << 20]
        self.write("plain", data)
        self.cipher("aes-128-gcm", KEY[:16], "--iv", NONCE.hex(), "plain", "-o", "closed")
        before = set(os.listdir(self.folder))
        with subprocess.Popen([fixture.PROGRAM, "cipher", "-t", self.url, "-c", "aes-128-gcm", "-k", self.key, "--iv",
                               NONCE.hex(), "-d", "-o", "out"], stdin=subprocess.PIPE, cwd=self.folder) as tool:
            # A pipe holds less than one piece: when this returns, what comes of the first one was written.
            tool.stdin.write(self.read("closed"))
            tool.stdin.flush()
            self.assertEqual(os.path.getsize(self.folder / "out"), 0)
            self.assertEqual(set(os.listdir(self.folder)), before | {"out"})
            tool.kill()
        self.assertEqual(os.path.getsize(self.folder / "out"), 0)

    def test_streams(self):
        """Standard input and output, and the key's digits from a file."""
        self.key.write_bytes(KEY[:16].hex().encode() + b"\n")
        data = data_of(300000)[:300000]
        for name, iv in (("aes-128-cbc", IV), ("aes-128-gcm", NONCE)):
            command = [fixture.PROGRAM, "cipher", "-t", self.url, "-c", name, "-k", self.key, "--iv", iv.hex()]
            there = subprocess.run(command, input=data, capture_output=True, check=True, cwd=self.folder)
            back = subprocess.run([*command, "-d", "-"], input=there.stdout, capture_output=True, check=True,
                                  cwd=self.folder)
            self.assertEqual((back.stdout, back.stderr), (data, b""))

    def test_json(self):
        self.write("plain", b"x" * 100)
        self.key.write_bytes(KEY[:16])
        said = self.json("cipher", "-t", self.url, "-c", "aes-128-gcm", "-k", self.key, "--iv", NONCE.hex(), "plain",
                         "-o", "ours")
        self.assertEqual((said["cipher"], said["direction"], said["key"], said["bytes_in"], said["bytes_out"]),
                         ("aes-128-gcm", "encrypt", "imported", 100, 116))
        self.assertEqual(bytes.fromhex(said["tag"]), self.read("ours")[-16:])
        self.assertGreater(said["total_ns"], 0)
        said = self.json("cipher", "-t", self.url, "-c", "aes-128-gcm", "-d", "-k", self.key, "--iv", NONCE.hex(), "ours",
                         "-o", "back")
        self.assertEqual((said["direction"], said["bytes_out"], said["tag"]), ("decrypt", 100, None))

    def test_held_keys(self):
        self.write("plain", b"held by the host")
        options = ["cipher", "-t", self.url, "-c", "aes-128-cbc", "--iv", IV.hex()]
        for name in ("both", "inward"):
            said = self.json(*options, "--host-key", name, "plain", "-o", name)
            self.assertEqual(said["key"], "held")
        self.cipher("aes-128-cbc", HELD, "--iv", IV.hex(), "plain", "-o", "ours")
        self.assertEqual(self.read("both"), self.read("ours"))
        self.vaccel(*options, "-d", "--host-key", "both", "both", "-o", "back")
        self.assertEqual(self.read("back"), b"held by the host")
        self.fails(*options, "-d", "--host-key", "inward", "both", "-o", "none", status=FAILED, code="EPERM",
                   says=["may not decrypt"])
        self.fails(*options, "--host-key", "absent", "plain", "-o", "none", status=FAILED, code="ENOENT", says=["absent"])
        self.fails("cipher", "-t", self.url, "-c", "aes-256-cbc", "--iv", IV.hex(), "--host-key", "both", "plain", "-o",
                   "none", status=FAILED, code="EINVAL", says=["has 128 bits"])
        # What a key gives out only when its tag fits comes in one piece.
        gcm = ["--iv", NONCE.hex(), "--aad", "0102"]
        self.cipher("aes-128-gcm", HELD, *gcm, "plain", "-o", "closed")
        self.vaccel("cipher", "-t", self.url, "-c", "aes-128-gcm", "-d", "--host-key", "opened", *gcm, "closed", "-o", "open")
        self.assertEqual(self.read("open"), b"held by the host")
        self.write("closed", self.read("closed")[:-1] + b"?")
        self.fails("cipher", "-t", self.url, "-c", "aes-128-gcm", "-d", "--host-key", "opened", *gcm, "closed", "-o", "none",
                   status=FAILED, code="EKEYREJECTED", says=["tag"])

    def test_wrong_key(self):
        self.write("plain", b"x" * 100)
        self.cipher("aes-128-cbc", KEY[:16], "--iv", IV.hex(), "plain", "-o", "ours")
        done = self.cipher("aes-128-cbc", KEY[16:32], "--iv", IV.hex(), "-d", "ours", "-o", "none", status=FAILED)
        self.assertIn("padding", done.stderr)
        self.assertFalse((self.folder / "none").exists())
        self.write("empty", b"")
        done = self.cipher("aes-128-cbc", KEY[:16], "--iv", IV.hex(), "-d", "empty", "-o", "none", status=FAILED)
        self.assertIn("is empty", done.stderr)

    def test_mistakes(self):
        self.write("plain", b"x")
        self.key.write_bytes(KEY[:16])
        good = {"-c": "aes-128-cbc", "-k": self.key, "--iv": IV.hex(), "-o": "none"}
        for change, status, says in (
                ({"-c": None}, USAGE, "--cipher: is missing"), ({"-c": "des"}, USAGE, "aes-256-gcm"),
                ({"-k": None}, USAGE, "one of --key-file"), ({"--key": KEY[:16].hex()}, USAGE, "one of --key-file"),
                ({"-k": None, "--key": "00"}, USAGE, "takes 32 digits"),
                ({"-k": None, "--key": "+1" * 16}, USAGE, "takes 32 digits"),
                ({"-k": "absent"}, FAILED, "cannot open"), ({"-k": "plain"}, FAILED, "neither the 16 bytes"),
                ({"-c": "aes-256-cbc"}, FAILED, "neither the 32 bytes"),
                ({"--iv": None}, USAGE, "has 0 bytes, aes-128-cbc takes 16"), ({"--iv": "0"}, USAGE, "hexadecimal"),
                ({"--iv": "0g" * 16}, USAGE, "hexadecimal"), ({"--iv": "00" * 129}, USAGE, "128 at most"),
                ({"-c": "aes-128-ecb"}, USAGE, "takes 0"), ({"-c": "aes-128-gcm", "--iv": None}, USAGE, "1 to 128"),
                ({"--aad": "00"}, USAGE, "--aad"), ({"--tag": "x"}, USAGE, "--tag"),
                ({"-c": "aes-128-ctr", "--no-padding": ""}, USAGE, "no padding"), ({"--unit": 15}, USAGE, "between 16"),
                ({"-k": "-", "operand": "-"}, USAGE, "cannot be both"),
                ({"--tag": "-", "-c": "aes-128-gcm", "-d": "", "operand": "-"}, USAGE, "cannot be both"),
                ({"--tag": "-", "-k": "-", "-c": "aes-128-gcm", "-d": ""}, USAGE, "cannot be both"),
                ({"-o": "plain"}, USAGE, "is the input"), ({"-o": "absent/none"}, FAILED, "cannot create"),
                ({"--tag": "absent", "-c": "aes-128-gcm", "-d": ""}, FAILED, "absent"),
                ({"--tag": "plain", "-c": "aes-128-gcm", "-d": ""}, FAILED, "not pairs")):
            with self.subTest(change):
                wanted = {**good, **change}
                operand = wanted.pop("operand", "plain")
                words = [str(word) for pair in wanted.items() if pair[1] is not None for word in pair if word != ""]
                done = self.vaccel("cipher", "-t", self.url, *words, operand, status=status)
                self.assertIn(says, done.stderr)
                self.assertFalse((self.folder / "none").exists())
        self.assertEqual(self.read("plain"), b"x")
        self.vaccel("cipher", "-c", "aes-128-cbc", "-k", self.key, "--iv", IV.hex(), "--json", "plain", status=USAGE)
        self.fails("cipher", "-t", self.url, "-c", "aes-128-cbc", "-k", self.key, "--iv", IV.hex(), "absent", "-o", "none",
                   status=FAILED, code="ENOENT", says=["input absent: cannot open"])


class Local(Cipher, fixture.Test):
    def connect(self):
        return self.local

    def test_key_is_not_shown(self):
        """The argument is overwritten as soon as it was read."""
        reader, writer = os.pipe()
        digits = KEY[:16].hex()
        with subprocess.Popen([fixture.PROGRAM, "cipher", "-t", self.url, "-c", "aes-128-ctr", "--key", digits, "--iv",
                               IV.hex()], stdin=reader, stdout=subprocess.PIPE, cwd=self.folder) as tool:
            os.close(reader)
            os.write(writer, b"x" * (2 << 10))
            shown = b""
            for _ in range(600):
                shown = pathlib.Path(f"/proc/{tool.pid}/cmdline").read_bytes()
                # Before it was started there is nothing to see.
                if b"--key" in shown and digits.encode() not in shown:
                    break
                time.sleep(0.05)
            os.close(writer)
            self.assertEqual(len(tool.stdout.read()), 2 << 10)
        self.assertNotIn(digits.encode(), shown)
        self.assertIn(b"--key", shown)

    def interrupt(self, stderr):
        """Ctrl-C in a file that is not finished; returns the process."""
        self.key.write_bytes(KEY[:16])
        reader, writer = os.pipe()
        tool = subprocess.Popen([fixture.PROGRAM, "cipher", "-t", self.url, "-c", "aes-128-ctr", "-k", self.key, "--iv",
                                 IV.hex(), "-o", "out"], stdin=reader, stderr=stderr, cwd=self.folder)
        os.close(reader)
        # More than a pipe holds: when this returns, the tool has begun to read, and has its output.
        with os.fdopen(os.dup(writer), "wb") as pipe:
            pipe.write(bytes(LARGE))
        self.assertTrue((self.folder / "out").exists())
        return tool, writer

    def test_interrupted(self):
        tool, writer = self.interrupt(subprocess.DEVNULL)
        tool.send_signal(signal.SIGINT)
        self.assertEqual(tool.wait(60), -signal.SIGINT)
        os.close(writer)
        self.assertFalse((self.folder / "out").exists())

    def test_progress(self):
        master, slave = pty.openpty()
        tool, writer = self.interrupt(slave)
        os.close(slave)
        said = os.read(master, 1000)
        os.close(writer)
        self.assertEqual(tool.wait(60), OK)
        os.close(master)
        self.assertIn(b"MiB", said)
        self.assertEqual(len(self.read("out")), LARGE)


class Shm(Cipher, fixture.Test):
    def connect(self):
        return self.start_daemon()


if __name__ == "__main__":
    fixture.main()
