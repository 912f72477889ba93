"""Flags that `ssl-seg figure` commands share."""

from pathlib import Path
from typing import Any

import typer

from ssl_seg.errors import UsageError


def check_filename(path: Path | None) -> Path | None:
    """Callback of an output path that gets an extension: it must end with a name, unlike '', '.' or '/'."""
    if path is not None and path.name in ("", ".."):
        raise UsageError(f"--out {str(path)!r} names a folder, not a file")
    return path


def stem(default: str) -> Any:
    """`--out` of a figure; the files are the stem with .png and .svg.

    Args:
        default: for the help.
    """
    text = "Output path without extension; writes .png and .svg."
    return typer.Option(metavar="STEM", help=text, show_default=default, callback=check_filename)
