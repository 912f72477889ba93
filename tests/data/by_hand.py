"""TIFF and PNG files written by hand, of kinds that Pillow does not write."""

import struct
import zlib

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


def write_tiff(path, *pages, **options):
    """(H, W, C) arrays, a page each; see `tiff`."""
    path.write_bytes(tiff(*pages, **options))
    return path


def tiff(
    *pages, photometric=None, extra=None, planar=1, order="<", deflate=False, kinds=None, bits=None, turn=1
):
    """The bytes of a TIFF file.

    Args:
        pages: (H, W) or (H, W, C) arrays.
        photometric: 1 for one or two bands, else 2 (RGB).
        extra: values of ExtraSamples; None leaves the tag out.
        planar: 1 keeps the bands of a pixel together, 2 writes a plane for each.
        order: `<` or `>`.
        kinds: NewSubfileType of each page.
        turn: the EXIF orientation.
        bits: of a sample, where not those of the array (12: two values in three bytes).
    """
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    link = 4
    for page, array in enumerate(pages):
        array = array[..., None] if array.ndim == 2 else array
        tags = _tags(out, array, photometric, extra, planar, order, deflate, bits)
        tags.append((274, 3, [turn]))
        if kinds:
            tags.append((254, 4, [kinds[page]]))
        entries = b"".join(_entry(out, tag, order) for tag in sorted(tags))
        struct.pack_into(order + "I", out, link, len(out))
        out += struct.pack(order + "H", len(tags)) + entries
        link = len(out)
        out += bytes(4)
    return bytes(out)


def _tags(out, array, photometric, extra, planar, order, deflate, bits):
    height, width, bands = array.shape
    planes = [array] if planar == 1 else [array[..., band] for band in range(bands)]
    places = []
    for plane in planes:
        data = plane.astype(array.dtype.newbyteorder(order)).tobytes() if bits != 12 else _twelve(plane)
        places.append(_add(out, zlib.compress(data) if deflate else data))
    if photometric is None:
        photometric = 1 if bands < 3 else 2
    tags = [
        (256, 3, [width]),
        (257, 3, [height]),
        (258, 3, [bits or array.dtype.itemsize * 8] * bands),
        (259, 3, [8 if deflate else 1]),
        (262, 3, [photometric]),
        (273, 4, [place for place, _ in places]),
        (277, 3, [bands]),
        (278, 3, [height]),
        (279, 4, [size for _, size in places]),
        (284, 3, [planar]),
        (339, 3, [FORMATS[array.dtype.kind]] * bands),
    ]
    return tags + ([(338, 3, extra)] if extra is not None else [])


def _twelve(plane):
    """Two values in three bytes, the high bits first; rows of an even number of pixels."""
    first, second = (plane.reshape(-1)[start::2].astype(int) for start in (0, 1))
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()


def _add(out, data):
    place = len(out)
    out += data + bytes(len(data) % 2)
    return place, len(data)


def _entry(out, tag, order):
    number, kind, values = tag
    raw = struct.pack(order + ("H" if kind == 3 else "I") * len(values), *values)
    if len(raw) > 4:
        raw = struct.pack(order + "I", _add(out, raw)[0])
    return struct.pack(order + "HHI", number, kind, len(values)) + raw.ljust(4, b"\0")


def write_png(path, array, transparent=None, exif=None):
    """A PNG of 16 bits: (H, W, C) uint16 of grey, grey and alpha, RGB or RGBA."""
    height, width, bands = array.shape
    rows = array.astype(">u2").tobytes()
    step = len(rows) // height
    data = b"".join(b"\0" + rows[start : start + step] for start in range(0, len(rows), step))
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    if transparent is not None:
        chunks.insert(1, (b"tRNS", np.asarray(transparent, ">u2").tobytes()))
    if exif:
        chunks.insert(1, (b"eXIf", exif))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    path.write_bytes(content)
    return path
