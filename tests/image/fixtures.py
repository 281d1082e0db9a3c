#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fixtures.py - make the pictures of tests/image/fixtures, and what TensorFlow decodes them to

usage: "$(tools/tensorflow --python)" tests/image/fixtures.py [FOLDER]

Every file shows the picture of pixel(), as good as its kind can; PNGs are written here, byte by byte, JPEGs by Pillow,
and what no encoder would write is made of those. FOLDER/expected has a line for each file that is to be decoded:

    NAME CHANNELS WIDTH HEIGHT HASH

HASH is 64-bit FNV-1a over the pixels that TensorFlow decodes, turned by Pillow where Exif data ask for it. TensorFlow
makes no grey of CMYK; there it is the luma of its RGB.
"""
import io
import os
import struct
import sys
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy
import tensorflow
from PIL import Image

WIDTH, HEIGHT = 40, 24
ORIENTATION = 0x0112
# What Pillow does to a picture of an orientation to make it upright; the other way round to make one of it.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
INVERSE = {**UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def pixel(x, y):
    """Red grows to the right, green downwards, blue is a chessboard, and a red corner shows which way is up."""
    return (255, 0, 0) if x < 8 and y < 8 else (x * 6, y * 10, (x // 8 + y // 8) % 2 * 200)


def picture():
    return numpy.array([[pixel(x, y) for x in range(WIDTH)] for y in range(HEIGHT)], numpy.uint8)


# ---- PNG ----

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def packed(row, depth):
    """A row of samples (a list) as bytes."""
    if depth == 16:
        return struct.pack(f">{len(row)}H", *row)
    if depth == 8:
        return bytes(row)
    bits = "".join(format(sample, f"0{depth}b") for sample in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def filtered(kind, row, above, step):
    """The specification's filters 0 to 4."""
    out = bytearray([kind])
    for i, byte in enumerate(row):
        left = row[i - step] if i >= step else 0
        up = above[i]
        corner = above[i - step] if i >= step else 0
        guess = left + up - corner
        nearest = min((left, up, corner), key=lambda value: abs(guess - value))
        out.append((byte - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
    return bytes(out)


def rows_of(samples, depth, filters):
    rows = [packed(list(row.reshape(-1)), depth) for row in samples]
    step = max(1, samples.shape[2] * depth // 8)
    above = bytes(len(rows[0]))
    out = b""
    for y, row in enumerate(rows):
        out += filtered(filters[y % len(filters)], row, above, step)
        above = row
    return out


def png(samples, depth, kind, extra=b"", interlaced=False, filters=(0,), more=b"", size=None):
    """samples: rows, columns, channels. extra: chunks in front of the pixels; more: bytes behind the last row."""
    height, width = size or samples.shape[:2]
    data = b""
    if interlaced:
        for x, y, dx, dy in PASSES:
            part = samples[y::dy, x::dx]
            if part.size:
                data += rows_of(part, depth, filters)
    else:
        data = rows_of(samples, depth, filters)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(data + more, 9)) +
            chunk(b"IEND", b""))


def grey_of(rgb):
    return rgb.astype(numpy.uint32).sum(axis=2, keepdims=True) // 3


def with_alpha(samples, top):
    """Less and less of it to the right, nothing at all in the first column."""
    alpha = numpy.arange(samples.shape[1], dtype=numpy.uint32)[None, :, None] * top // samples.shape[1]
    alpha = numpy.broadcast_to(alpha, samples.shape[:2] + (1,))
    return numpy.concatenate([samples.astype(numpy.uint32), alpha], axis=2)


def palette(n):
    return b"".join(bytes(pixel(i * WIDTH // n, i * HEIGHT // n)) for i in range(n))


def pngs():
    rgb = picture()
    wide = rgb.astype(numpy.uint32) * 257 // 2 + 77
    grey = grey_of(rgb)
    icc = chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(2500000), 9))
    exif = chunk(b"eXIf", tiff(6, ">"))
    out = {
        "rgb": png(rgb, 8, RGB, filters=(0, 1, 2, 3, 4)),
        "rgb-16": png(wide, 16, RGB, filters=(1,)),
        "rgb-interlaced": png(rgb, 8, RGB, interlaced=True, filters=(1, 4)),
        "rgb-transparent": png(rgb, 8, RGB, extra=chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0)), filters=(1,)),
        "rgb-gamma": png(rgb, 8, RGB, extra=chunk(b"gAMA", struct.pack(">I", 45455)), filters=(1,)),
        "rgb-srgb": png(rgb, 8, RGB, extra=chunk(b"sRGB", b"\0"), filters=(1,)),
        "rgb-exif-6": png(numpy.rot90(rgb), 8, RGB, extra=exif, filters=(2,)),
        "rgba": png(with_alpha(rgb, 256), 8, RGBA, filters=(1,)),
        "rgba-16": png(with_alpha(wide, 65536), 16, RGBA, filters=(1,)),
        "grey": png(grey, 8, GREY, filters=(2,)),
        "grey-16": png(grey * 257 // 2 + 77, 16, GREY, filters=(2,)),
        "grey-transparent": png(grey, 8, GREY, extra=chunk(b"tRNS", struct.pack(">H", 85)), filters=(2,)),
        "grey-alpha": png(with_alpha(grey, 256), 8, GREY_ALPHA, filters=(1,)),
        "grey-alpha-16": png(with_alpha(grey * 257, 65536), 16, GREY_ALPHA, filters=(1,)),
        "grey-1-interlaced": png(grey >> 7, 1, GREY, interlaced=True),
        "one": png(rgb[:1, :1], 8, RGB),
        "bomb-text": png(rgb[:4, :4], 8, RGB, extra=chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(2500000), 9))),
        "bomb-profile": png(rgb[:4, :4], 8, RGB, extra=icc),
        "bomb-rows": png(rgb[:4, :4], 8, RGB, more=bytes(2500000)),
    }
    for depth in (1, 2, 4):
        out[f"grey-{depth}"] = png(grey >> (8 - depth), depth, GREY)
    for depth in (1, 2, 4, 8):
        n = min(2**depth, 200)
        index = grey.astype(numpy.uint32) * (n - 1) // 255
        out[f"palette-{depth}"] = png(index, depth, PALETTE, extra=chunk(b"PLTE", palette(n)))
    index = grey.astype(numpy.uint32) * 15 // 255
    out["palette-short"] = png(index, 4, PALETTE, extra=chunk(b"PLTE", palette(9)))
    out["palette-transparent"] = png(index, 4, PALETTE, interlaced=True,
                                     extra=chunk(b"PLTE", palette(16)) + chunk(b"tRNS", bytes(range(0, 160, 10))))
    return {name + ".png": data for name, data in out.items()}


# ---- JPEG ----

def tiff(orientation, order):
    mark = b"II*\0" if order == "<" else b"MM\0*"
    # An entry before, the orientation, one behind it.
    value = orientation << (16 if order == ">" else 0)
    entries = ((0x0100, 4, 1, WIDTH), (ORIENTATION, 3, 1, value), (0x011a, 5, 1, 8))
    return (mark + struct.pack(order + "IH", 8, len(entries)) +
            b"".join(struct.pack(order + "HHII", *entry) for entry in entries) + bytes(4))


def segment(marker, data):
    return bytes([0xff, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, format="JPEG", **{"quality": 90, "optimize": True, **options})
    return out.getvalue()


def behind_start(data, *segments):
    return data[:2] + b"".join(segments) + data[2:]


def without(data, marker):
    at = data.index(bytes([0xff, marker]))
    return data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]:]


def scans(n):
    """A grey progressive JPEG of four blocks without content, with n scans. Each of its codes is one bit, 0: of a DC
    scan that the block is like the one before, of an AC scan that 2^14 and as many blocks as 14 bits say are empty."""
    codes = b"\1" + bytes(15)
    tables = segment(0xc4, b"\0" + codes + b"\0") + segment(0xc4, b"\x10" + codes + b"\xe0")
    first = segment(0xda, b"\1\1\0\0\0\0") + b"\x0f"
    more = segment(0xda, b"\1\1\0\1\x3f\0") + b"\0\1"
    frame = segment(0xc2, struct.pack(">BHHB", 8, 16, 16, 1) + b"\1\x11\0")
    return b"\xff\xd8" + segment(0xdb, b"\0" + b"\1" * 64) + frame + tables + first + more * (n - 1) + b"\xff\xd9"


def jpegs():
    image = Image.fromarray(picture())
    plain = jpeg(image)
    cmyk = jpeg(image.convert("CMYK"))
    # Adobe's marker ends with how inks are written: 0 as they are, 2 as luma, two chromas and black.
    adobe = cmyk.index(b"Adobe")
    out = {
        "plain": plain,
        "444": jpeg(image, subsampling=0),
        "422": jpeg(image, subsampling=1),
        "grey": jpeg(image.convert("L")),
        "progressive": jpeg(image, progressive=True),
        "restart": jpeg(image, restart_marker_blocks=2),
        "rgb": jpeg(image, keep_rgb=True),
        "cmyk": cmyk,
        "cmyk-plain": without(cmyk, 0xee),
        "ycck": cmyk[:adobe + 11] + b"\2" + cmyk[adobe + 12:],
        "one": jpeg(image.crop((20, 20, 21, 21))),
        "jfif-7": plain.replace(b"JFIF\0\1", b"JFIF\0\7"),
        "more-behind": plain + b"nothing of the picture",
        "more-before-end": plain[:-2] + b"\0\1\2\3" + plain[-2:],
        "scans-100": scans(100),
        "scans-101": scans(101),
        "bits-12": plain.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "exif-broken": behind_start(plain, segment(0xe1, b"Exif\0\0" + tiff(6, "<")[:20])),
        "exif-far": behind_start(plain, segment(0xe1, b"Exif\0\0II*\0" + struct.pack("<I", 0x7fffff00))),
        "exif-9": behind_start(plain, segment(0xe1, b"Exif\0\0" + tiff(9, "<"))),
    }
    for orientation in range(1, 9):
        turned = image.transpose(INVERSE[orientation]) if orientation > 1 else image
        exif = segment(0xe1, b"Exif\0\0" + tiff(orientation, "<>"[orientation % 2]))
        # Before and after other users of the marker; what comes first counts.
        others = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), segment(0xe1, b"Exif\0\0" + tiff(3, "<"))
        out[f"exif-{orientation}"] = behind_start(jpeg(turned), others[0], exif, others[1])
    return {name + ".jpg": data for name, data in out.items()}


# ---- What is broken ----

def broken():
    rgb = picture()
    plain = jpeg(Image.fromarray(rgb), restart_marker_blocks=2)
    whole = png(rgb, 8, RGB, filters=(1,))
    sof = plain.index(b"\xff\xc0")
    huge = plain[:sof + 5] + struct.pack(">HH", 20000, 20000) + plain[sof + 9:]
    return {
        "empty.bin": b"",
        "gif.bin": b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
        "jpeg-begin.bin": b"\xff\xd8",
        "truncated.jpg": plain[:len(plain) // 2],
        "truncated-head.jpg": plain[:100],
        "no-end.jpg": plain[:-2],
        "no-restart.jpg": plain.replace(b"\xff\xd1", b"\xff\xd4"),
        "no-table.jpg": without(plain, 0xc4),
        "huge.jpg": huge,
        "truncated.png": whole[:len(whole) // 2],
        "truncated-head.png": whole[:20],
        "no-end.png": whole[:-12],
        "bad-checksum.png": whole[:-13] + bytes([whole[-13] ^ 1]) + whole[-12:],
        "bad-filter.png": bad_filter(),
        "few-rows.png": png(rgb[:5], 8, RGB, size=(HEIGHT, WIDTH)),
        "no-palette.png": png(grey_of(rgb) >> 4, 4, PALETTE),
        "no-rows.png": png(rgb[:1, :1], 8, RGB, size=(0, 1)),
        "huge.png": png(rgb[:1, :1], 8, RGB, size=(20000, 20000)),
        "tower.png": png(rgb[:1, :1], 8, RGB, size=(2**31 - 1, 1)),
        "vast.png": png(rgb[:1, :1], 8, RGB, size=(2**31 - 1, 2**31 - 1)),
    }


def bad_filter():
    head = struct.pack(">IIBBBBB", 1, 1, 8, RGB, 0, 0, 0)
    data = zlib.compress(b"\7\1\2\3")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# ---- What TensorFlow says ----

def decoded(data, channels):
    try:
        return tensorflow.io.decode_image(data, channels=channels, expand_animations=False).numpy()
    except tensorflow.errors.InvalidArgumentError:
        if channels == 3:
            raise
        rgb = decoded(data, 3).astype(numpy.uint32)
        return ((rgb @ numpy.array([19595, 38470, 7471], numpy.uint32) + 32768) >> 16)[..., None].astype(numpy.uint8)


def upright(name, pixels):
    how = UPRIGHT.get(int(name[-5])) if name[:-5].endswith("exif-") else None
    if how is None:
        return pixels
    channels = [numpy.asarray(Image.fromarray(pixels[..., c]).transpose(how)) for c in range(pixels.shape[2])]
    return numpy.stack(channels, axis=2)


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return value


# Decoded by nobody, or refused by a limit of ours.
REFUSED = {"bits-12.jpg", "scans-101.jpg"}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures")
    os.makedirs(folder, exist_ok=True)
    good = {**pngs(), **jpegs()}
    lines = []
    for name, data in sorted({**good, **broken()}.items()):
        assert len(data) < 3000, (name, len(data))
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        for channels in (1, 3):
            if name in good and name not in REFUSED:
                pixels = upright(name, decoded(data, channels))
                lines.append(f"{name} {channels} {pixels.shape[1]} {pixels.shape[0]} {fnv(pixels.tobytes()):016x}\n")
    with open(os.path.join(folder, "expected"), "w", encoding="ascii") as file:
        file.writelines(lines)


if __name__ == "__main__":
    main()
