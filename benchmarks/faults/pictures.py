"""Image files of every format that is read, and what can be wrong with one."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageCms


@cache
def images() -> dict[str, bytes]:
    """Pictures by name, in every format and most of its kinds."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    rgb = coarse.resize((64, 48), Image.Resampling.BICUBIC)
    alpha = rgb.copy()
    alpha.putalpha(rgb.convert("L"))
    wide = Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "baseline.jpg": _saved(rgb, "JPEG", quality=90),
        "progressive.jpg": _saved(rgb, "JPEG", quality=80, progressive=True),
        "grey.jpg": _saved(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": _saved(rgb.convert("CMYK"), "JPEG"),
        "turned.jpeg": _saved(rgb, "JPEG", exif=exif, icc_profile=profile, comment=b"a comment"),
        "rgb.png": _saved(rgb, "PNG"),
        "alpha.png": _saved(alpha, "PNG", icc_profile=profile),
        "palette.png": _saved(rgb.quantize(16), "PNG"),
        "wide.png": _saved(wide, "PNG"),
        "bits.png": _saved(rgb.convert("1"), "PNG"),
        "lossy.webp": _saved(rgb, "WEBP", quality=80),
        "lossless.webp": _saved(alpha, "WEBP", lossless=True),
        "raw.tif": _saved(rgb, "TIFF"),
        "lzw.tiff": _saved(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _saved(wide, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _saved(rgb, "TIFF", compression="jpeg"),
        "rgb.bmp": _saved(rgb, "BMP"),
        "palette.bmp": _saved(rgb.quantize(16), "BMP"),
    }


@cache
def masks() -> dict[str, bytes]:
    """A mask of the colours of `material.pairs`, in every format that may hold one."""
    classes = np.random.default_rng(2).integers(0, 3, (4, 4)).repeat(6, 0).repeat(6, 1)
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], dtype=np.uint8)[classes]
    made = Image.fromarray(colours)
    return {
        "mask.png": _saved(made, "PNG"),
        "palette.png": _saved(made.quantize(3), "PNG"),
        "lossless.webp": _saved(made, "WEBP", lossless=True),
        "raw.tif": _saved(made, "TIFF"),
        "lzw.tif": _saved(made, "TIFF", compression="tiff_lzw"),
        "mask.bmp": _saved(made, "BMP"),
    }


def _saved(image: Image.Image, form: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=form, **how)
    return file.getvalue()


def damaged(random: Random, bases: Mapping[str, bytes]) -> tuple[str, Any]:
    """One of the files, damaged in one way; with the kind of damage."""
    from benchmarks.faults.images import Bad

    base = random.choice(list(bases))
    what = random.choice(list(_DAMAGE))
    # neither bitmaps nor WebP say what they hold: a black bottom is a black bottom
    untold = what == "zero tail" and Path(base).suffix in (".bmp", ".tif", ".tiff", ".webp")
    must = "any" if untold or what in ("flip", "burst", "flips") else "either"
    kind = f"{what} of {Path(base).suffix}"
    return kind, Bad(f"bad-{base}", _DAMAGE[what](random, bases[base]), must, base)


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(1, len(data))]


def _flips(count: int, random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        # half of them where the structure is
        changed[random.randrange(len(data) if random.random() < 0.5 else 64)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _burst(random: Random, data: bytes) -> bytes:
    start, length = random.randrange(len(data)), random.choice((4, 16, 64, 512))
    noise = bytes(random.randrange(256) for _ in range(min(length, len(data) - start)))
    return data[:start] + noise + data[start + len(noise) :]


def _zero_tail(random: Random, data: bytes) -> bytes:
    kept = random.randrange(1, len(data))
    return data[:kept] + bytes(len(data) - kept)


_DAMAGE: dict[str, Callable[[Random, bytes], bytes]] = {
    "cut": _cut,
    "zero tail": _zero_tail,
    "flip": partial(_flips, 1),
    "flips": partial(_flips, 12),
    "burst": _burst,
}


def strange() -> list[tuple[str, Any]]:
    """Files that are something else than their name says, links, bombs, and names that hurt."""
    from benchmarks.faults.images import Bad

    found: list[tuple[str, Any]] = []
    made = images()
    for name, base in (
        ("a.jpg", "rgb.png"),
        ("a.png", "baseline.jpg"),
        ("a.webp", "raw.tif"),
        ("a.tif", "rgb.bmp"),
    ):
        found.append(("wrong ending", Bad(name, made[base], "equal", base)))
    for ending in (".jpg", ".png", ".webp", ".tif", ".bmp"):
        found += [(f"no image, {what}", Bad(f"no{ending}", data, "named")) for what, data in _OTHERS.items()]
    found += [(f"bomb, {name}", Bad(name, data, "named")) for name, data in _bombs().items()]
    for what, (must, make) in _PLACES.items():
        found.append((what, Bad("place.png", make, must, "rgb.png")))
    for name in (
        "a\nb.png",
        "a\x1b[31mb.png",
        "\udcff.png",
        "x" * 250 + ".png",
        " .png",
        "-o.png",
        "é\u202e.png",
    ):
        found.append(("name", Bad(name, made["rgb.png"], "equal", "rgb.png")))
        found.append(("name of a bad one", Bad(name, made["rgb.png"][:60], "named")))
    return found


_OTHERS = {
    "empty": b"",
    "one byte": b"\xff",
    "zeros": bytes(5000),
    "text": b"this is no image\n" * 20,
    "a page": b"<!doctype html><title>404</title>",
    "a drawing": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "a GIF": b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
    "a ZIP": b"PK\x03\x04" + bytes(100),
    "a PDF": b"%PDF-1.4\n%%EOF\n",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%pipe%touch /tmp/x\n",
    "only a start": b"\x89PNG\r\n\x1a\n",
    "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(80),
}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *more: bytes, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [_chunk(b"IHDR", head), *more, _chunk(b"IDAT", zlib.compress(data, 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bombs() -> dict[str, bytes]:
    """Files that are small and would be large."""
    jpeg = bytearray(images()["baseline.jpg"])
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xdc\xff\xdc"
    bmp = bytearray(images()["rgb.bmp"])
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    tiff = struct.pack("<2sHIH", b"II", 42, 8, 4) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in ((256, 100_000), (257, 100_000), (273, 8), (279, 99))
    )
    return {
        "large.png": _png(30_000, 30_000),
        "zeros.png": _png(12_000, 12_000, data=bytes(12_000 * 36_001)[:40_000_000]),
        "huge.png": _png(2**31 - 1, 2**31 - 1),
        "none.png": _png(0, 5),
        "text.png": _png(4, 4, text, data=bytes(3)),
        "large.jpg": bytes(jpeg),
        "large.bmp": bytes(bmp),
        "negative.bmp": bytes(bmp[:18] + struct.pack("<ii", -5, 5) + bmp[26:]),
        "large.tif": tiff + bytes(4),
        "loop.tif": tiff + struct.pack("<I", 8),
    }


def _link(target: str, path: Path) -> None:
    path.symlink_to(target)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def _good_link(path: Path) -> None:
    path.with_name("hidden").mkdir()
    target = path.parents[1] / "elsewhere.png"
    target.write_bytes(images()["rgb.png"])
    path.symlink_to(target)


_PLACES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "FIFO": ("named", os.mkfifo),
    "a link to nothing": ("named", partial(_link, "nothing.png")),
    "a link to itself": ("named", partial(_link, "place.png")),
    "a link to a device": ("named", partial(_link, "/dev/zero")),
    "a link to a FIFO": ("named", lambda path: (os.mkfifo(path.with_name("pipe")), _link("pipe", path))[1]),
    "a link to a process": ("named", partial(_link, "/proc/self/mem")),
    "a socket": ("named", _socket),
    "a link to a good one": ("equal", _good_link),
}
