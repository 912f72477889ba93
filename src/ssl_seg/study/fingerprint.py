"""What the files that a flag names hold, as one hash."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def fingerprint(text: str, out: Path) -> str:
    """A hash of the files that a flag names: `photos`, `csv:office/train.csv`, `mine.py:Net`; or nothing.

    Of a file it is the content, of a run its weights; beside a CSV file also the folder of its name, as
    images lie there. Of a folder it is name, size and time of every file below: a plan is made at once, and
    to read a million images takes an hour. Hidden files and `out` do not count.
    """
    head, _, tail = text.partition(":")
    parts = [text, tail, *tail.split("=")[1:], head if head.endswith(".py") else ""]
    digest, found = hashlib.sha256(), False
    for place in [Path(os.path.expanduser(part)) for part in dict.fromkeys(parts) if part]:
        weights = place / "backbone.safetensors"
        beside = [place.with_suffix("")] if place.suffix.lower() == ".csv" else []
        for path in [weights] if os.path.exists(weights) else [place, *beside]:
            if os.path.isfile(path):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            elif os.path.isdir(path):
                for line in _files_below(path, out):
                    digest.update(line.encode(errors="surrogateescape"))
            found |= os.path.exists(path)
    return digest.hexdigest() if found else ""


def _files_below(root: Path, out: Path) -> Iterator[str]:
    """One line per file below a folder; links are followed, once."""
    visited = {os.path.realpath(out)}
    for folder, names, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        names[:] = [] if real in visited else sorted(name for name in names if not name.startswith("."))
        if real in visited:
            continue
        visited.add(real)
        for name in sorted(name for name in files if not name.startswith(".")):
            path = os.path.join(folder, name)
            with suppress(OSError):  # a link that leads nowhere
                info = os.stat(path)
                yield f"{os.path.relpath(path, root)}\0{info.st_size}\0{info.st_mtime_ns}\n"
