"""Images that are named one by one: as arguments, by a pattern, or on standard input."""

import glob
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ssl_seg.data.decode import EXTENSIONS
from ssl_seg.data.files import FileDataset
from ssl_seg.data.levels import Range
from ssl_seg.errors import DataError, UsageError, pluralize

STDIN = "-"


def given_files(names: Sequence[str], *, range: Range = None, bands: str | None = None) -> FileDataset:
    """Image files in the order in which they were named, each once; `samples` has the names as they were given.

    Raises:
        DataError: none was named, or one is not there.
    """
    once: dict[str, str] = {}
    for name in names:
        once.setdefault(os.path.normpath(name), name)
    names = list(once.values())
    if not names:
        raise DataError("no image is named", next="find photos -name '*.jpg' | ssl-seg predict RUN -")
    if missing := [name for name in names if not os.path.isfile(name)]:
        more = f", and {len(missing) - 1} more" if missing[1:] else ""
        is_folder = os.path.isdir(missing[0])
        raise DataError(
            f"{missing[0]} is a folder" if is_folder else f"image not found: {missing[0]}{more}",
            where=f"{pluralize(len(names), 'name')} given",
            next="name a folder alone, or files only" if is_folder else f"ls {Path(missing[0]).parent}",
            faults=[(name, "file not found") for name in missing],
        )
    dataset = FileDataset(Path(), ((name, -1) for name in names), range=range, bands=bands)
    dataset.is_listed = True
    return dataset


def named_files(words: Sequence[str]) -> list[str] | None:
    """The image files that words name; None for a single word that names a data set.

    `-` stands for the names on standard input, one a line, or separated by NUL bytes. A pattern, `photos/*.jpg`,
    stands for the image files that match it, in sorted order; `**` matches any number of folders.

    Raises:
        UsageError: `-` is not alone. DataError: no image matches a pattern.
    """
    if STDIN in words:
        if len(words) > 1:
            raise UsageError("- reads the names from standard input, and stands alone")
        return _from_stdin()
    if len(words) == 1 and not (_is_image(words[0]) or _is_pattern(words[0])):
        return None
    return [name for word in words for name in _files_of(word)]


def _files_of(word: str) -> list[str]:
    return _matches(word) if _is_pattern(word) else [os.path.expanduser(word)]


def _is_image(word: str) -> bool:
    path = os.path.expanduser(word)
    return os.path.isfile(path) and os.path.splitext(path)[1].lower() != ".csv"


def _is_pattern(word: str) -> bool:
    path = os.path.expanduser(word)
    named = path, path.partition(":")[2]  # of `FORMAT:PATH`
    return glob.has_magic(path) and not any(map(os.path.exists, named))


def _matches(pattern: str) -> list[str]:
    found = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    names = [name for name in found if os.path.splitext(name)[1].lower() in EXTENSIONS]
    if not names:
        where = f"{pluralize(len(found), 'other file')}" if found else "nothing"
        raise DataError(f"no image matches {pattern}", where=f"found {where}", next=f"ls {pattern}")
    return names


def _from_stdin() -> list[str]:
    raw = getattr(sys.stdin, "buffer", None)
    data = raw.read() if raw else os.fsencode(sys.stdin.read())
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(line) for line in lines if line.strip()]
