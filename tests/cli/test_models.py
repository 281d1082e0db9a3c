#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""classify, infer and models, in this process and over a daemon's socket, on models of the framework reference."""

import ast
import json
import os
import pathlib
import shutil
import struct
import subprocess
import zlib

import fixture
from fixture import FAILED, USAGE

PLUGINS = [pathlib.Path(folder) for folder in os.environ.get("VACCEL_PLUGIN_DIR", "").split(":")]
MODELS = {
    "add": "[reference]\ngraph = add\nwidth = 3\n",
    "digits": "labels = labels.txt\ndescription = Tells nothing.\n[image]\nwidth = 4\nheight = 4\nchannels = 1\n"
              "output = probabilities\nscale = 0.003921568627\n[reference]\ngraph = dense\nheight = 4\nwidth = 4\nclasses = 3\n",
    "echo": "[reference]\ngraph = echo\n",
    "fails": "[reference]\ngraph = fail\n",
    "ints": "[reference]\ngraph = echo\ntype = int64\n",
    "truths": "[reference]\ngraph = echo\ntype = bool\n",
    "halves": "[reference]\ngraph = echo\ntype = float16\n",
    "complexes": "[reference]\ngraph = echo\ntype = complex64\n",
    "words": "[reference]\ngraph = strings\n",
}


def npy(path, descr, shape, data, version=1, fortran=False):
    """A file of NumPy's, as its documentation has it."""
    header = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    head = b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(header))
    path.write_bytes(head + header + data)
    return path


def read_npy(path):
    """Type, shape and elements of a file."""
    data = path.read_bytes()
    if data[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError(data[:8])
    end = 10 + struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:end].decode())
    if end % 64 or header["fortran_order"]:
        raise ValueError(header)
    return header["descr"], header["shape"], data[end:]


def png(path, width, height, pixels):
    """A grey picture."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(pixels[y * width:(y + 1) * width]) for y in range(height))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


class Models:
    """What both transports run: its subclasses say which."""

    def setUp(self):
        super().setUp()
        if not any((folder / "vaccel-models.so").exists() for folder in PLUGINS):
            self.skipTest("the plugin models is not in this build")
        self.models = self.folder / "models"
        for name, text in MODELS.items():
            self.install(name, "[model]\nframework = reference\n" + text)
        (self.models / "digits" / "labels.txt").write_text("zero\none\nzwölf\n")
        self.install("broken", "[model]\nframework = none\n")
        self.config.write_text("[engine]\nthreads = 1\nop_threads = 1\n[order]\ndefault = reference models\n"
                               f"[models]\ndir = {self.models}\n")
        self.url = self.connect()

    def install(self, name, text):
        (self.models / name).mkdir(parents=True)
        (self.models / name / "model.conf").write_text(text)

    def floats(self, name, *numbers, shape=None):
        return npy(self.folder / name, "<f4", shape or (1, len(numbers)), struct.pack(f"<{len(numbers)}f", *numbers))

    def infer(self, model, *arguments):
        said = self.json("infer", "-t", self.url, "--model", model, *arguments)
        self.assertEqual(said["model"], model)
        self.assertGreater(said["total_ns"], 0)
        return {row["name"]: row for row in said["outputs"]}

    def test_list(self):
        said = self.json("models", "-t", self.url)
        rows = {row["name"]: row for row in said["models"]}
        self.assertEqual(list(rows), sorted([*MODELS, "broken"]))
        row = rows["digits"]
        self.assertEqual((row["framework"], row["broken"], row["outdated"], row["classifies"], row["n_labels"]),
                         ("reference", False, False, True, 3))
        self.assertEqual(row["inputs"], [{"name": "image", "dtype": "float32", "shape": [None, 4, 4, 1]}])
        self.assertRegex(row["sha256"], "^[0-9a-f]{64}$")
        self.assertNotEqual(row["sha256"], rows["echo"]["sha256"])
        self.assertGreater(row["bytes"], 100)
        self.assertEqual(rows["echo"]["inputs"][0]["shape"], None)
        self.assertFalse(rows["echo"]["classifies"])
        self.assertTrue(rows["broken"]["broken"])
        self.assertIsNone(rows["broken"]["inputs"])
        text = self.vaccel("models", "-t", self.url).stdout
        self.assertIn("a float32[?, 3]; b float32[?, 3] -> sum float32[?, 3]; difference float32[?, 3]\n", text)
        self.assertRegex(text, r"(?m)^broken .* broken: see the host's log$")
        self.assertIn(f" {row['sha256'][:12]} ", text)

    def test_classify(self):
        picture = png(self.folder / "a.png", 4, 4, range(16))
        said = self.json("classify", "-t", self.url, "-m", "digits", "-k", 5, picture, "a.png")
        self.assertEqual([row["image"] for row in said["images"]], [str(picture), "a.png"])
        row = said["images"][0]
        self.assertEqual((row["width"], row["height"], row["classes"], row["batch"]), (4, 4, 3, 1))
        self.assertEqual({label["index"]: label["label"] for label in row["labels"]}, {0: "zero", 1: "one", 2: "zwölf"})
        probabilities = [label["probability"] for label in row["labels"]]
        self.assertEqual(probabilities, sorted(probabilities, reverse=True))
        self.assertAlmostEqual(sum(probabilities), 1, delta=1e-5)
        self.assertEqual(row["labels"], said["images"][1]["labels"])
        self.assertGreater(row["total_ns"], row["run_ns"])
        # The same through infer: pixels are scaled by 1/255.
        pixels = self.floats("p.npy", *(i * 0.003921568627 for i in range(16)), shape=(1, 4, 4, 1))
        values = self.infer("digits", "-i", pixels)["probabilities"]["values"]
        for label in row["labels"]:
            self.assertAlmostEqual(label["probability"], values[label["index"]], delta=1e-6)

    def test_standard_input(self):
        picture = png(self.folder / "a.png", 4, 4, range(16))
        with open(picture, "rb") as file:
            done = subprocess.run([fixture.PROGRAM, "classify", "-t", self.url, "-m", "digits", "-"], stdin=file,
                                  capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(done.stdout.startswith("-: "))

    def test_one_bad_picture(self):
        png(self.folder / "a.png", 4, 4, range(16))
        (self.folder / "text.png").write_text("no picture")
        (self.folder / "empty.png").touch()
        whole = (self.folder / "a.png").read_bytes()
        (self.folder / "half.png").write_bytes(whole[:-30])
        files = ["text.png", "a.png", "absent.png", "empty.png", "half.png", "."]
        done = self.vaccel("classify", "-t", self.url, "-m", "digits", *files, status=FAILED)
        self.assertRegex(done.stdout, r"^a\.png: \S+ \d\.\d{6}\n$")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 5)
        for line, name in zip(lines, ["text.png", "absent.png", "empty.png", "half.png", "."]):
            self.assertTrue(line.startswith(f"vaccel classify: picture {name}: "), line)
        said = json.loads(self.vaccel("classify", "-t", self.url, "-m", "digits", *files, "--json", status=FAILED).stdout)
        codes = [row.get("error", {}).get("code") for row in said["images"]]
        self.assertEqual(codes[1:4], [None, "ENOENT", "EINVAL"])
        self.assertEqual(codes[5], "EISDIR")
        self.assertIn("labels", said["images"][1])

    def test_infer(self):
        x = self.floats("x.npy", 1, 2.5, -3)
        row = self.infer("echo", "--input", x)["y"]
        self.assertEqual(row, {"name": "y", "dtype": "float32", "shape": [1, 3], "bytes": 12, "file": None,
                               "values": [1, 2.5, -3]})
        self.assertEqual(self.vaccel("infer", "-t", self.url, "-m", "echo", "-i", x).stdout, "y float32[1, 3]: 1 2.5 -3\n")
        self.floats("a=b.npy", 5, 6, 7)
        rows = self.infer("add", "-i", "a=x.npy", "-i", "b=./a=b.npy")
        self.assertEqual((rows["sum"]["values"], rows["difference"]["values"]), ([6, 8.5, 4], [-4, -3.5, -10]))
        rows = self.infer("add", "-i", "b=x.npy", "-i", "a=./a=b.npy", "--only", "difference")
        self.assertEqual({name: row["values"] for name, row in rows.items()}, {"difference": [4, 3.5, 10]})

    def test_more_than_expected(self):
        # Its shape is not known before: there is room for a page at first.
        x = self.floats("x.npy", *range(5000))
        self.assertEqual(self.infer("echo", "-i", x, "-o", ".")["y"]["bytes"], 20000)
        self.assertEqual(read_npy(self.folder / "y.npy")[2], struct.pack("<5000f", *range(5000)))

    def test_infer_fails(self):
        self.floats("x.npy", 1, 2, 3)
        npy(self.folder / "d.npy", "<f8", (1, 3), bytes(24))
        for arguments, code, says in (
                (["absent"], "ENOENT", ["model absent", "no model"]),
                (["add", "-i", "c=x.npy"], "ENOENT", ["--input", 'no input "c"', "it has: a, b"]),
                (["add", "-i", "a=x.npy", "--only", "product"], "ENOENT", ["--only", 'no output "product"', "sum, difference"]),
                (["add", "-i", "a=x.npy"], "EINVAL", ["model add", "input b is missing"]),
                (["echo", "-i", "d.npy"], "EINVAL", ["float32[...]", "float64[1, 3]"]),
                (["fails", "-i", "x.npy"], ("EIO", "EINVAL"), ["model fails", "cannot be run"]),
                (["echo", "-i", "absent.npy"], "ENOENT", ["file absent.npy", "cannot open"])):
            with self.subTest(arguments):
                self.fails("infer", "-t", self.url, "-m", *arguments, status=FAILED, code=code, says=says)


class Remote(Models, fixture.Test):
    def connect(self):
        return self.start_daemon()


class Local(Models, fixture.Test):
    def connect(self):
        return self.local

    def test_names(self):
        names = sorted([*MODELS, "broken"])
        self.assertEqual(self.vaccel("models", "-t", self.url, "--names").stdout.split("\n"), [*names, ""])
        self.assertEqual(self.json("models", "-t", self.url, "--names"), {"names": names})

    def test_one(self):
        said = self.json("models", "-t", self.url, "digits")
        self.assertEqual(said["labels"], ["zero", "one", "zwölf"])
        self.assertEqual(said["picture"], {"width": 4, "height": 4, "channels": 1})
        self.assertEqual((said["description"], said["signature"]), ("Tells nothing.", None))
        self.assertEqual([row["name"] for row in said["outputs"]], ["probabilities", "logits"])
        text = self.vaccel("models", "-t", self.url, "digits").stdout
        for words in ("4 x 4 pixels, 1 channel\n", "input        image float32[?, 4, 4, 1]\n", "label        2 zwölf\n",
                      said["sha256"]):
            self.assertIn(words, text)
        said = self.json("models", "-t", self.url, "echo")
        self.assertEqual((said["labels"], said["picture"]), ([], None))

    def test_models_fails(self):
        self.fails("models", "-t", self.url, "absent", status=FAILED, code="ENOENT", says=["model absent", "no model"])
        self.fails("models", "-t", self.url, "..", status=FAILED, code="EINVAL", says=["model .."])
        self.fails("models", "-t", self.url, "broken", status=FAILED, code=("EIO", "ENOEXEC", "EINVAL"), says=["broken"])

    def test_nothing_serves(self):
        # The daemon of this test serves models; another configuration does not.
        config = self.folder / "other.conf"
        config.write_text("[order]\ndefault = reference\n")
        for command in (["models"], ["models", "echo"], ["infer", "-m", "echo"], ["classify", "-m", "echo", "x.png"]):
            self.fails(*command, "-t", f"local:{config}", status=FAILED, code="EOPNOTSUPP", says=["model"])

    def test_jobs(self):
        names = [png(self.folder / f"{i}.png", 4, 4, range(i, i + 16)).name for i in range(9)] + ["absent.png"]
        alone = json.loads(self.vaccel("classify", "-t", self.url, "-m", "digits", "--json", *names, status=FAILED).stdout)
        for jobs in (2, 9, 10, 200):
            done = self.vaccel("classify", "-t", self.url, "-m", "digits", "--json", "-J", jobs, *names, status=FAILED)
            said = json.loads(done.stdout)
            self.assertEqual([(row["image"], row.get("labels")) for row in said["images"]],
                             [(row["image"], row.get("labels")) for row in alone["images"]])

    def test_classify_text(self):
        png(self.folder / "a.png", 4, 4, range(16))
        said = self.vaccel("classify", "-t", self.url, "-m", "digits", "a.png").stdout
        self.assertRegex(said, r"^a\.png: \S+ \d\.\d{6}\n$")
        said = self.vaccel("classify", "-t", self.url, "-m", "digits", "-k", 2, "-v", "a.png").stdout.splitlines()
        self.assertEqual(len(said), 3)
        self.assertRegex(said[2], r"^a\.png: 4 x 4 pixels; decoded in .* ms, prepared in .* ms, run in .* ms; .* ms in all$")

    def test_classify_fails(self):
        png(self.folder / "a.png", 4, 4, range(16))
        self.fails("classify", "-t", self.url, "-m", "absent", "a.png", status=FAILED, code="ENOENT", says=["model absent"])
        self.fails("classify", "-t", self.url, "-m", "echo", "a.png", status=FAILED, code="EINVAL",
                   says=["model echo", "does not classify"])

    def test_infer_types(self):
        data = struct.pack("<3q", 1, -2, 1 << 62)
        self.assertEqual(self.infer("ints", "-i", npy(self.folder / "i.npy", "<i8", (3,), data))["y"]["values"],
                         [1, -2, 1 << 62])
        self.assertEqual(self.infer("truths", "-i", npy(self.folder / "b.npy", "|b1", (2,), b"\1\0"))["y"]["values"],
                         [True, False])
        data = struct.pack("<4e", 1.5, -65504, 5.960464477539063e-08, float("inf"))
        self.assertEqual(self.infer("halves", "-i", npy(self.folder / "h.npy", "<f2", (2, 2), data))["y"]["values"],
                         [1.5, -65504, 5.9605e-08, None])
        data = struct.pack("<2f", 1, -2)
        path = npy(self.folder / "c.npy", "<c8", (), data, version=2)
        row = self.infer("complexes", "-i", path)["y"]
        self.assertEqual((row["shape"], row["values"]), ([], [[1, -2]]))
        self.assertEqual(self.vaccel("infer", "-t", self.url, "-m", "complexes", "-i", path).stdout, "y complex64[]: 1-2j\n")
        data = struct.pack("<3f", float("nan"), float("-inf"), 1e-45)
        path = npy(self.folder / "n.npy", "<f4", (3,), data, version=3)
        self.assertEqual(self.vaccel("infer", "-t", self.url, "-m", "echo", "-i", path).stdout,
                         "y float32[3]: nan -inf 1.40129846e-45\n")

    def test_strings(self):
        words = "".join(word.ljust(3, "\0") for word in ("a", "", "zß\u20ac")).encode("utf-32-le")
        rows = self.infer("words", "-i", npy(self.folder / "w.npy", "<U3", (3, 1), words), "-o", "out")
        self.assertEqual(rows["y"]["values"], ["A", "", "Zß\u20ac"])
        self.assertEqual(rows["lengths"]["values"], [1, 0, 6])
        self.assertEqual(read_npy(self.folder / "out" / "y.npy"),
                         ("|S6", (3, 1), b"A".ljust(6, b"\0") + bytes(6) + "Zß\u20ac".encode()))
        self.assertEqual(read_npy(self.folder / "out" / "lengths.npy"), ("<u4", (3, 1), struct.pack("<3I", 1, 0, 6)))
        path = npy(self.folder / "s.npy", "|S4", (2,), b"ab\0\0\x1b\"\xffz")
        said = self.vaccel("infer", "-t", self.url, "-m", "words", "-i", path, "--only", "y").stdout
        self.assertEqual(said, 'y string[2]: "AB" "\\x1b\\x22\\xffZ"\n')

    def test_infer_files(self):
        x = self.floats("x.npy", *range(40), shape=(2, 5, 4))
        rows = self.infer("echo", "-i", x, "--output", "new")
        self.assertEqual((rows["y"]["file"], len(rows["y"]["values"])), ("new/y.npy", 8))
        self.assertEqual(read_npy(self.folder / "new" / "y.npy"), ("<f4", (2, 5, 4), struct.pack("<40f", *range(40))))
        self.assertEqual(self.vaccel("infer", "-t", self.url, "-m", "echo", "-i", "new/y.npy", "-o", "new").stdout,
                         "y float32[2, 5, 4] in new/y.npy\n")
        self.assertEqual(len(self.infer("echo", "-i", x, "--values", 0)["y"]["values"]), 40)
        self.assertIn(" 2 ... (40 elements)\n",
                      self.vaccel("infer", "-t", self.url, "-m", "echo", "-i", x, "--values", 3).stdout)
        (self.folder / "file").touch()
        self.fails("infer", "-t", self.url, "-m", "echo", "-i", x, "-o", "file/x", status=FAILED, code="ENOTDIR",
                   says=["folder file/x", "cannot make it"])
        self.fails("infer", "-t", self.url, "-m", "echo", "-i", x, "-o", "file", status=FAILED, code="ENOTDIR",
                   says=["file file/y.npy", "cannot create"])

    def test_infer_usage(self):
        self.floats("x.npy", 1, 2, 3)
        for arguments, says in (
                (["add", "-i", "x.npy"], ["--input", "names no input", "a, b"]),
                (["add", "-i", "a=x.npy", "-i", "a=x.npy"], ["--input", '"a" is given twice']),
                (["echo", "-i", "x" * 200 + "=x.npy"], ["--input", "too long"])):
            with self.subTest(arguments):
                self.fails("infer", "-t", self.url, "-m", *arguments, status=USAGE, code="EINVAL", says=says)

    def test_files_that_are_refused(self):
        def file(descr="<f4", shape=(2,), data=bytes(8), **options):
            return npy(self.folder / "x.npy", descr, shape, data, **options)
        good = file().read_bytes()
        cases = {
            "no .npy file": lambda: (self.folder / "x.npy").write_text("no such thing"),
            "of a version": lambda: file(version=4),
            "longer than the file": lambda: (self.folder / "x.npy").write_bytes(good[:8] + b"\xff\xff" + good[10:]),
            "no dictionary": lambda: (self.folder / "x.npy").write_bytes(good.replace(b"{", b"[")),
            "not understood": lambda: (self.folder / "x.npy").write_bytes(good.replace(b"shape", b"forme")),
            "lacks type": lambda: (self.folder / "x.npy").write_bytes(b"\x93NUMPY\1\0\2\0{}"),
            "by columns": lambda: file(shape=(1, 2), fortran=True),
            "big-endian": lambda: file(">f4"),
            "type |O": lambda: file("|O"),
            "type <M8[us]": lambda: file("<M8[us]"),
            "8 bytes of elements": lambda: file(shape=(3,)),
            "8 bytes of element": lambda: file(shape=(1 << 62, 1 << 62)),
            "more than 8 dimensions": lambda: file(shape=(1,) * 9),
            "not Unicode": lambda: file("<U1", (1,), struct.pack("<I", 0xd800)),
        }
        for words, write in cases.items():
            with self.subTest(words):
                write()
                self.fails("infer", "-t", self.url, "-m", "echo", "-i", "x.npy", status=FAILED, code="EINVAL",
                           says=["file x.npy: cannot use it: ", words])

    def test_completion(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not installed")
        script = ('. "$1"; shift; COMP_LINE="$*"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
                  '_vaccel; printf "%s\\n" "${COMPREPLY[@]}"')
        for words in (["classify", "-m", "d"], ["models", "d"], ["infer", "--model", "d"]):
            done = subprocess.run(["bash", "-c", script, "bash", str(fixture.SOURCE / "src/cli/vaccel.bash"), fixture.PROGRAM,
                                   words[0], "-t", self.url, *words[1:]], capture_output=True, text=True, check=False)
            self.assertEqual((done.stderr, done.stdout), ("", "digits\n"))
        # Somebody else's program may say anything.
        liar = self.folder / "vaccel"
        liar.write_text('#!/bin/sh\n[ "$1" = models ] || exec "$REAL" "$@"\necho \'$(touch pwned)\'; echo "d*"; echo dee\n')
        liar.chmod(0o755)
        done = subprocess.run(["bash", "-c", script, "bash", str(fixture.SOURCE / "src/cli/vaccel.bash"), str(liar), "models", ""],
                              capture_output=True, text=True, check=False, cwd=self.folder,
                              env={**os.environ, "REAL": fixture.PROGRAM})
        self.assertEqual((done.stderr, [word for word in done.stdout.split() if word[0] != "-"]), ("", ["dee"]))
        self.assertFalse((self.folder / "pwned").exists())


class Usage(fixture.Test):
    def test_missing(self):
        self.fails("classify", "a.png", status=USAGE, code="EINVAL", says=["--model: is missing"])
        self.fails("classify", "-m", "x", status=USAGE, code="EINVAL", says=["IMAGE: is missing"])
        self.fails("classify", "-m", "x", "-k", 0, "a.png", status=USAGE, code="EINVAL", says=["--labels", "between 1 and 1024"])
        self.fails("infer", status=USAGE, code="EINVAL", says=["--model: is missing"])
        self.fails("infer", "-m", "x", "a.npy", status=USAGE, code="EINVAL", says=['"a.npy"', "too many"])
        self.fails("infer", *["--only", "y"] * 33, status=USAGE, code="EINVAL", says=["--only", "too often"])
        self.fails("models", "a", "b", status=USAGE, code="EINVAL", says=['"b"', "too many"])
        self.fails("models", "a", "--names", status=USAGE, code="EINVAL", says=["--names"])


if __name__ == "__main__":
    fixture.main()
