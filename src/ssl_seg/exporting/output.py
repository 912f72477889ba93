"""Files and folders that are there whole, or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssl_seg.errors import OccupiedError
from ssl_seg.utils.files import atomic_path


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to; it gets its name when the block ends well.

    Raises:
        OccupiedError: something is there already.
        ResourceError: it cannot be written.
    """
    if path.is_symlink() or path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise OccupiedError(f"{path} already exists", next="use another --out, or remove it")
    with atomic_path(path) as aside:
        yield aside


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """A JSON file in ASCII, for readers of any encoding."""
    path.write_text(json.dumps(values, indent=2) + "\n")
