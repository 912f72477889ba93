"""A disk that is full, in one process: the n-th thing that would be written is not."""

import builtins
import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = set("wax+")


class Disk:
    """Counts what is opened, written, synced, renamed and made below a folder, and lets one of these fail.

    Args:
        folder: what lies elsewhere is not counted.
        number: which one fails, from 1; 0: none.
        stays: all that come after it fail too, but for renaming.
        record: a file for a line about each.
    """

    def __init__(self, folder: str, number: int, stays: bool, record: str) -> None:
        self.folder, self.number, self.stays, self.record = folder, number, stays, record
        self.count, self.pid = 0, os.getpid()

    def asked(self, what: str, path: Any) -> None:
        """Something is to be done to a path, or to what a handle has open."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith(self.folder + os.sep) or os.getpid() != self.pid or place.endswith(".lock"):
            return
        self.count += 1
        if self.record:
            with real_open(self.record, "a") as file:
                file.write(json.dumps([what, os.path.relpath(place, self.folder)]) + "\n")
        full = self.stays and self.number and self.count > self.number and what != "rename"
        if self.count == self.number or full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


real_open = builtins.open


def fill(folder: str, number: int, stays: bool, record: str = "") -> None:
    """Let the disk be full, in this process, from its n-th use on or at that one alone; see `Disk`."""
    disk = Disk(folder, number, stays, record)

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            disk.asked("write", self.name)
            return super().write(data)

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if not _WRITING & set(mode) or isinstance(file, int):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        disk.asked("open", file)
        raw = Raw(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        return io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)

    builtins.open = io.open = opened
    for name, what, at in (
        ("replace", "rename", 1),
        ("rename", "rename", 1),
        ("fsync", "sync", 0),
        ("mkdir", "make", 0),
    ):
        setattr(os, name, _asking(getattr(os, name), disk, what, at))


def _asking(real: Callable[..., Any], disk: Disk, what: str, at: int) -> Callable[..., Any]:
    def asking(*given: Any, **named: Any) -> Any:
        disk.asked(what, given[at])
        return real(*given, **named)

    return asking


def used(record: Path) -> list[tuple[str, str]]:
    """What was done to which path, in order."""
    if not record.exists():
        return []
    return [(what, path) for what, path in map(json.loads, record.read_text().splitlines())]
