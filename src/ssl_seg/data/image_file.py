"""Opening an image or mask file: a regular file, and whole as far as its format can say.

Decoders fill up what is missing: of a file whose last blocks became zeros in a crash, or were never downloaded,
they return a picture with a grey or black bottom. PNG has a checksum for each chunk, JPEG an end marker.
TIFF, BMP and WebP have neither; what is cut off of them, the decoders notice themselves.
"""

import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ssl_seg.data.quiet_libtiff import quiet_libtiff

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_SCAN, _END = 0xDA, b"\xff\xd9"
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers of a JPEG that nothing follows
_PIECE = 2**20


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """A file for reading and decoding; what is no file would be waited for without end.

    Raises:
        ValueError: it is a FIFO, a folder, a device, or empty.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("not a regular file")
    if info.st_size == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file, quiet_libtiff():
        yield file


@contextmanager
def open_image(source: Path | bytes) -> Iterator[IO[bytes]]:
    """A file, or what is the content of one: an image in a container.

    Raises:
        ValueError: see `open_regular`.
    """
    if isinstance(source, Path):
        with open_regular(source) as file:
            yield file
    elif source:
        with quiet_libtiff():
            yield io.BytesIO(source)
    else:
        raise ValueError("the file is empty")


def check_whole(file: IO[bytes]) -> None:
    """Look for what only a whole file has; the file is where it was afterwards.

    Raises:
        ValueError: a PNG whose picture is damaged or that has no end; a JPEG without its end marker.
    """
    offset = file.tell()
    start = file.read(len(_PNG))
    if start == _PNG:
        _check_png(file)
    elif start.startswith(_JPEG):
        file.seek(offset + 2)
        _check_jpeg(file)
    file.seek(offset)


def _check_png(file: IO[bytes]) -> None:
    """Chunks are length, name, data and checksum; those with a large letter first make the picture."""
    while len(head := file.read(8)) == 8:
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if not name[:1].isupper():
            file.seek(length + 4, os.SEEK_CUR)
            continue
        checksum = zlib.crc32(name)
        while length and (piece := file.read(min(length, _PIECE))):
            checksum, length = zlib.crc32(piece, checksum), length - len(piece)
        if length:
            break
        if int.from_bytes(file.read(4), "big") != checksum:
            raise ValueError("the file is corrupt: PNG checksum mismatch")
        if name == b"IEND":
            return
    raise ValueError("the file is truncated: the PNG has no end")


def _check_jpeg(file: IO[bytes]) -> None:
    """Segments up to the first scan have a length; after it the end marker comes, and perhaps more files."""
    while len(head := file.read(2)) == 2 and head[0] == 0xFF:
        marker = head[1]
        if marker == 0xFF:  # a fill byte
            file.seek(-1, os.SEEK_CUR)
        elif marker == _SCAN:
            if _END in file.read():
                return
            break
        elif marker not in _ALONE:
            file.seek(int.from_bytes(file.read(2), "big") - 2, os.SEEK_CUR)
    else:
        return  # of another structure: the decoder says what is wrong
    raise ValueError("the file is truncated: the JPEG has no end marker")
