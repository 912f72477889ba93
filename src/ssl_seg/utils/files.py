"""The one way to write a file that has a final name: aside, whole, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ssl_seg.errors import ResourceError, did_you_mean
from ssl_seg.utils.lock import check_held

_LONGEST = 200  # bytes of a name that are kept in that of its temporary file: 255 are the limit


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` for a file or a folder; it gets its final name when the block ends well.

    Until then readers see what was there before. A link at `path` is replaced, never followed.
    Missing parent folders are made.

    Raises:
        ResourceError: it cannot be written, or lies in a folder that is gone, see `check_held`; what was there
            before is untouched.
    """
    aside = temporary(path)
    check_held(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        if aside.is_file():
            sync(aside)
        is_new = not os.path.lexists(path)
        os.replace(aside, path)
        try:
            sync(path.parent)
        except OSError:  # where an error is raised, the next try must not find an output in its way
            if is_new:
                discard(path)
            raise
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        discard(aside)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """As `atomic_path`, opened for writing bytes. Nobody else can have planted the temporary file.

    Raises:
        ResourceError: it cannot be written; what was there before is untouched.
    """
    with atomic_path(path) as aside, aside.open("xb") as file:
        yield file


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part.

    Raises:
        ResourceError: it cannot be written; the old one stays.
    """
    with atomic_file(path) as file:
        file.write(content)


def atomic_write_text(path: Path, text: str) -> None:
    """As `atomic_write_bytes`, of text in UTF-8; of half a surrogate pair its escape, as JSON has it.

    Raises:
        ResourceError: it cannot be written; the old one stays.
    """
    atomic_write_bytes(path, text.encode(errors="backslashreplace"))


def atomic_link(path: Path, target: str) -> None:
    """Make a link, in place of what was at `path`.

    Args:
        target: relative to the folder of `path`; it need not be there.

    Raises:
        ResourceError: it cannot be made: no file system has to have links.
    """
    with atomic_path(path) as aside:
        os.symlink(target, aside)


def temporary(path: Path) -> Path:
    """A free name beside `path`, so that renaming never crosses file systems."""
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
    return path.with_name(f".{name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Remove a file or a folder that nobody needs; a link, and not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # as a rule it has its final name by now
            path.unlink()


def similar_name(path: Path) -> str:
    """`; did you mean 'x'?` for a path that is not there, of what its folder holds; or nothing."""
    beside: list[str] = []
    with suppress(OSError):
        beside = os.listdir(path.parent)
    return did_you_mean(path.name, beside)


def total_size(paths: Iterable[Path]) -> int:
    """Bytes of some files; those that are gone have none."""
    num_bytes = 0
    for path in paths:
        with suppress(OSError):
            num_bytes += path.stat().st_size
    return num_bytes
