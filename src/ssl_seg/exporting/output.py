"""Atomic output of files and folders."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_seg.errors import OutputInUseError
from ssl_seg.utils.files import atomic_path


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or a folder; it is renamed to `path` when the block succeeds.

    Raises:
        OutputInUseError: `path` exists.
        ResourceError: it cannot be written.
    """
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OutputInUseError(f"{path} already exists", next="use another --out, or remove it")
    with atomic_path(path) as tmp_path:
        yield tmp_path


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file in ASCII."""
    path.write_text(json.dumps(values, indent=2) + "\n")
