"""One hash of the files that a flag names."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def fingerprint(text: str, out: Path) -> str:
    """Return a hash of the files that a flag names (`photos`, `csv:office/train.csv`, `net.py:Net`), or "".

    Files are hashed by content, runs by their weights, folders by name, size and modification time of every
    file: reading a million images would take an hour. A CSV file includes the folder of its name, which
    holds the images. Hidden files and `out` are excluded.
    """
    head, _, tail = text.partition(":")
    parts = [text, tail, *tail.split("=")[1:], head if head.endswith(".py") else ""]
    digest, found = hashlib.sha256(), False
    for root in [Path(os.path.expanduser(part)) for part in dict.fromkeys(parts) if part]:
        weights = root / "backbone.safetensors"
        beside = [root.with_suffix("")] if root.suffix.lower() == ".csv" else []
        for path in [weights] if os.path.exists(weights) else [root, *beside]:
            if os.path.isfile(path):
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            elif os.path.isdir(path):
                for line in _files_below(path, out):
                    digest.update(line.encode(errors="surrogateescape"))
            found |= os.path.exists(path)
    return digest.hexdigest() if found else ""


def _files_below(root: Path, out: Path) -> Iterator[str]:
    """Yield one line per file under a folder; links are followed once."""
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
