#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Photographs, and pictures like them from a pixel to ten megabytes, decoded and prepared here and by TensorFlow.

usage: test_tensorflow.py PROGRAM FIXTURES

PROGRAM is image-prepare. Decoded pixels have to be equal to the bit. Elements may differ by BOUND, where a pixel is 0
to 255; what they did differ by is printed. Goes on under the interpreter of tools/tensorflow; without one the test is
skipped.
"""
import io
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TENSORFLOW = os.path.join(os.path.dirname(os.path.dirname(HERE)), "tools", "tensorflow")
BOUND = 1e-3
RESIZES = ("nearest", "bilinear", "bicubic", "area")


def go_on_with_tensorflow():
    found = subprocess.run([TENSORFLOW, "--python"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                           check=False)
    if found.returncode:
        print("skipped: there is no TensorFlow (tools/tensorflow installs it)")
        sys.exit(77)
    if os.environ.get("VACCEL_TEST_TENSORFLOW") != found.stdout:
        os.environ["VACCEL_TEST_TENSORFLOW"] = found.stdout
        os.execv(found.stdout.strip(), [found.stdout.strip(), *sys.argv])


go_on_with_tensorflow()
import fixtures  # makes TensorFlow quiet, so it comes first
import numpy
import sklearn
import tensorflow
from keras.preprocessing.image import smart_resize
from PIL import Image, ImageOps


class Program:
    def __init__(self, path, folder):
        self.path = path
        self.file = os.path.join(folder, "picture")
        self.data = None

    def run(self, data, *args):
        if data is not self.data:
            with open(self.file, "wb") as file:
                file.write(data)
            self.data = data
        done = subprocess.run([self.path, *map(str, args), self.file], stdout=subprocess.PIPE, check=True)
        return done.stdout

    def decode(self, data, channels):
        head, _, pixels = self.run(data, "decode", channels).partition(b"\n")
        width, height, channels = map(int, head.split())
        return numpy.frombuffer(pixels, numpy.uint8).reshape(height, width, channels)

    def prepare(self, data, rule):
        out = self.run(data, "prepare", rule.channels, rule.width, rule.height, rule.layout, rule.resize, rule.fit,
                       rule.type, rule.mean, rule.scale)
        elements = numpy.frombuffer(out, numpy.float32 if rule.type == "float32" else numpy.uint8)
        if rule.layout == "nhwc":
            return elements.reshape(rule.height, rule.width, rule.channels)
        return elements.reshape(rule.channels, rule.height, rule.width).transpose(1, 2, 0)


class Rule:
    def __init__(self, width, height, **other):
        self.width, self.height = width, height
        self.channels, self.layout, self.resize, self.fit, self.type = 3, "nhwc", "bilinear", "stretch", "float32"
        self.mean, self.scale = "0", "1"
        self.__dict__.update(other)

    def __str__(self):
        return " ".join(f"{name}={value}" for name, value in self.__dict__.items())

    def means(self):
        return numpy.array([float(number) for number in self.mean.split(",")], numpy.float32)

    def scales(self):
        return numpy.array([float(number) for number in self.scale.split(",")], numpy.float32)


# ---- What TensorFlow says ----

def fitted(pixels, rule):
    size = (rule.height, rule.width)
    if rule.fit == "pad":
        return tensorflow.image.resize_with_pad(pixels, *size, method=rule.resize)
    if rule.fit == "crop":
        return smart_resize(pixels, size, interpolation=rule.resize)
    return tensorflow.image.resize(pixels, size, method=rule.resize)


def prepared(pixels, rule):
    elements = (tensorflow.cast(fitted(pixels, rule), tensorflow.float32) - rule.means()) * rule.scales()
    if rule.type == "uint8":
        elements = tensorflow.cast(tensorflow.clip_by_value(tensorflow.round(elements), 0, 255), tensorflow.uint8)
    return numpy.asarray(elements)


# ---- Pictures ----

def photograph(width, height, seed=1):
    """Soft shapes of all sizes, edges, and a sensor's noise."""
    random = numpy.random.default_rng(seed)
    out = numpy.full((height, width, 3), 20, numpy.float32)
    for octave in range(1, 8):
        cells = random.integers(0, 256, (2**octave + 1, 2**octave + 1, 3), dtype=numpy.uint8)
        soft = numpy.asarray(Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC))
        out += soft * numpy.float32(0.9 / 2**octave)
    out[height // 3:height // 2, width // 4:width // 2] = (250, 10, 30)
    out[height * 2 // 3:, width // 2:] *= 0.4
    noise = random.normal(0, 6, (min(height, 512), min(width, 512), 3)).astype(numpy.float32)
    tiles = (-(-height // noise.shape[0]), -(-width // noise.shape[1]), 1)
    return numpy.clip(out + numpy.tile(noise, tiles)[:height, :width], 0, 255).astype(numpy.uint8)


def real_photographs():
    """Those that come with scikit-learn, as they are."""
    folder = os.path.join(os.path.dirname(sklearn.__file__), "datasets", "images")
    names = sorted(name for name in os.listdir(folder) if name.endswith(".jpg"))
    check(names, "scikit-learn has no photographs")
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            yield name, file.read()


def encoded(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, **options)
    return out.getvalue()


# Width, height, how they are encoded: from a pixel to ten megabytes.
MADE = (
    (1, 1, {"format": "JPEG"}),
    (40, 30, {"format": "PNG"}),
    (640, 480, {"format": "JPEG", "quality": 88}),
    (1500, 1001, {"format": "JPEG", "quality": 90, "progressive": True}),
    (640, 640, {"format": "PNG"}),
    (2000, 1500, {"format": "JPEG", "quality": 95, "subsampling": 0}),
    (5600, 4200, {"format": "JPEG", "quality": 96}),
)


def pictures():
    yield from real_photographs()
    for width, height, options in MADE:
        data = encoded(photograph(width, height), **options)
        yield f"{width} x {height} {options['format']} of {len(data)} bytes", data


def rules():
    """Every way of scaling and fitting; what else a rule says in turn."""
    n = 0
    for resize in RESIZES:
        for fit in ("stretch", "crop", "pad"):
            yield Rule(224, 224, resize=resize, fit=fit, layout=("nhwc", "nchw")[n % 2], mean="127.5",
                       scale="0.0078431372549")
            n += 1
    for resize in RESIZES:
        yield Rule(299, 160, resize=resize, mean="123.68,116.779,103.939", scale="0.017,0.018,0.019")
        yield Rule(28, 28, resize=resize, channels=1, scale="0.00392156862745")
        yield Rule(192, 192, resize=resize, type="uint8")


# ---- The tests ----

def check(condition, *what):
    if not condition:
        print("failed:", *what)
        sys.exit(1)


def fixtures_are_up_to_date(folder):
    """The hashes that are in the tree are those of this TensorFlow."""
    n = 0
    with open(os.path.join(folder, "expected"), encoding="ascii") as file:
        for line in file:
            name, channels, width, height, value = line.split()
            with open(os.path.join(folder, name), "rb") as picture:
                pixels = fixtures.upright(name, fixtures.decoded(picture.read(), int(channels)))
            check(pixels.shape == (int(height), int(width), int(channels)), line)
            check(fixtures.fnv(pixels.tobytes()) == int(value, 16), line)
            n += 1
    check(n > 100, "there are only", n, "lines")
    print(f"{n} hashes of fixtures are those of TensorFlow {tensorflow.__version__}")


def pixels_are_equal(program, name, data):
    for channels in (3, 1):
        theirs = tensorflow.io.decode_image(data, channels=channels, expand_animations=False).numpy()
        ours = program.decode(data, channels)
        check(ours.shape == theirs.shape and (ours == theirs).all(), name, "is decoded otherwise into", channels)


def orientations_are_applied(program):
    pixels = photograph(1203, 801)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[fixtures.ORIENTATION] = orientation
        data = encoded(pixels, format="JPEG", exif=exif)
        theirs = numpy.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
        raw = tensorflow.io.decode_image(data, channels=3, expand_animations=False).numpy()
        turned = fixtures.upright(f"exif-{orientation}.jpg", raw)
        ours = program.decode(data, 3)
        check(ours.shape == theirs.shape, "orientation", orientation, "has the shape", ours.shape)
        check((ours == turned).all(), "orientation", orientation, "is turned otherwise")
        # Pillow decodes with the accurate DCT.
        check(numpy.abs(ours.astype(int) - theirs).mean() < 2, "orientation", orientation, "looks otherwise to Pillow")


def elements_agree(program, name, data, worst):
    pixels = {c: tensorflow.io.decode_image(data, channels=c, expand_animations=False) for c in (1, 3)}
    for rule in rules():
        ours, theirs = program.prepare(data, rule), prepared(pixels[rule.channels], rule)
        check(ours.shape == theirs.shape, name, rule, "has the shape", ours.shape)
        difference = numpy.abs(ours.astype(numpy.float64) - theirs)
        if rule.type == "uint8":
            # One more or less where the two sides of a half differ by less than the bound.
            check(difference.max() <= 1 and (difference > 0).mean() < 1e-3, name, rule, "differs by", difference.max())
            continue
        difference = (difference / rule.scales()).max()
        worst[rule.resize] = max(worst[rule.resize], difference)
        # The elements' own last bit, after they were normalised.
        check(difference <= (BOUND if rule.resize != "nearest" else 1e-4), name, rule, "differs by", difference)


def main():
    worst = dict.fromkeys(RESIZES, 0.0)
    fixtures_are_up_to_date(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        program = Program(sys.argv[1], folder)
        orientations_are_applied(program)
        for name, data in pictures():
            pixels_are_equal(program, name, data)
            elements_agree(program, name, data, worst)
            print(f"{name}: agrees", flush=True)
    print("elements differ at most by", ", ".join(f"{value:.2g} ({resize})" for resize, value in worst.items()))


main()
