"""Digests of the contents of files, remembered: only files that are new or have changed are read.

The table is one file in the cache folder: 32 bytes that name its format, the SHA-256 of the rest, and three
columns of N rows, sorted by the first:

    paths    uint64    hash of the absolute path
    states   uint64    hash of size, modification time, change time and inode, when the file was read
    digests  16 bytes  BLAKE2b of the content

That is 32 bytes a file, mapped and not loaded. A damaged table is passed over: the files are read again.
"""

import hashlib
import mmap
import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from time import time_ns

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.errors import ResourceError
from ssl_seg.utils.files import atomic_file
from ssl_seg.utils.lock import try_lock

TABLE = "digests.table"
_HEAD = b"ssl-seg file digests 1".ljust(32)  # what follows is aligned
_ROW = 32
_FRESH = 2_000_000_000  # ns: a file written so short a time ago may be written again with the same times
_BLOCK, _PART = 512, 32  # images between two ticks; images that a thread takes at a time

_current: ContextVar["FileDigests | None"] = ContextVar("file digests", default=None)


def content_digest(path: str) -> str:
    """The digest of a file's content as 32 hexadecimal digits; `special` for a pipe or a device.

    Raises:
        OSError: it cannot be read.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        return "special"
    digests = _current.get()
    return file_digest(path).hex() if digests is None else digests.of(path, info).hex()


def identities(
    dataset: Dataset, table: Path | None, threads: int, on_progress: Callable[[int, int], None]
) -> Iterator[str]:
    """`dataset.identity` of each image, in order, by threads; what `content_digest` has read is remembered.

    Args:
        table: the file of the digests; None remembers nothing.
        on_progress: called with (done, total) now and then, never at the end.
    """
    digests = FileDigests(table)

    def look(rows: range) -> list[str]:
        token = _current.set(digests)
        try:
            return [dataset.identity(row) for row in rows]
        finally:
            _current.reset(token)

    count = len(dataset)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, count, _BLOCK):
                if start:
                    on_progress(start, count)
                block = range(start, min(start + _BLOCK, count))
                for part in pool.map(look, [block[i : i + _PART] for i in range(0, len(block), _PART)]):
                    yield from part
    finally:
        digests.keep()


class FileDigests:
    """The table of digests of a cache folder, and what has been read since it was opened.

    Args:
        table: the file; it need not exist.
    """

    def __init__(self, table: Path | None) -> None:
        self._table = table
        self._paths, self._states, self._digests = _columns(_body(table))
        self._new, self._adding = array("Q"), Lock()  # four numbers a file

    def of(self, path: str, info: os.stat_result) -> bytes:
        """The digest of a file with these properties: the remembered one, or that of what is read now.

        Raises:
            OSError: it cannot be read.
        """
        key, state = _hash(os.fsencode(os.path.abspath(path))), _state(info)
        row = bisect_left(self._paths, key)
        if row < len(self._paths) and self._paths[row] == key and self._states[row] == state:
            return bytes(self._digests[16 * row : 16 * (row + 1)])
        digest = file_digest(path)
        if time_ns() - max(info.st_mtime_ns, info.st_ctime_ns) > _FRESH and _state(os.stat(path)) == state:
            with self._adding:
                self._new.extend((key, state, *np.frombuffer(digest, np.uint64).tolist()))
        return digest

    def keep(self) -> None:
        """Add what has been read to the table; one that cannot be written only costs reading it again."""
        if not self._new or self._table is None:
            return
        with suppress(ResourceError, OSError):
            self._table.parent.mkdir(parents=True, exist_ok=True)
            with self._table.with_name(f".{self._table.name}.lock").open("w") as lock:
                if try_lock(lock, seconds=5.0):
                    self._merge(self._table)

    def _merge(self, table: Path) -> None:
        new = np.frombuffer(self._new, np.uint64).reshape(-1, 4)
        old = _rows(_body(table))  # another process may have added to it
        rows = np.concatenate([new[::-1], old])  # `unique` keeps the first of each, here the newest
        rows = rows[np.unique(rows[:, 0], return_index=True)[1]]
        parts = [part.tobytes() for part in (rows[:, 0], rows[:, 1], rows[:, 2:])]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        with atomic_file(table) as file:
            file.write(_HEAD + digest.digest())
            for part in parts:
                file.write(part)


def _body(table: Path | None) -> memoryview:
    """The columns of a table, mapped; empty when there is none, or one that is damaged."""
    with suppress(OSError, ValueError):  # missing, or empty
        if table is not None:
            with table.open("rb") as file:
                whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            body = whole[len(_HEAD) + 32 :]
            sound = whole[: len(_HEAD)] == _HEAD and len(body) % _ROW == 0
            if sound and hashlib.sha256(body).digest() == whole[len(_HEAD) : len(_HEAD) + 32]:
                return body
    return memoryview(b"")


def _columns(body: memoryview) -> tuple[memoryview, memoryview, memoryview]:
    count = len(body) // _ROW
    return body[: 8 * count].cast("Q"), body[8 * count : 16 * count].cast("Q"), body[16 * count :]


def _rows(body: memoryview) -> NDArray[np.uint64]:
    """(N, 4): path, state, and the two halves of the digest."""
    paths, states, digests = (np.frombuffer(part, np.uint64) for part in _columns(body))
    return np.column_stack([paths, states, digests.reshape(-1, 2)])


def _state(info: os.stat_result) -> int:
    return _hash(f"{info.st_size} {info.st_mtime_ns} {info.st_ctime_ns} {info.st_ino}".encode())


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def file_digest(path: str | Path) -> bytes:
    """The digest of a file's content, which is read.

    Raises:
        OSError: it cannot be.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
