"""Files that are there whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from ssl_seg.errors import ResourceError


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part.

    Raises:
        ResourceError: it cannot be written; the old one stays.
    """
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """As `replace_text`, of bytes."""
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
