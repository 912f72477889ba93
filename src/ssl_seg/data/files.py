"""Finding image files, and the dataset made of them."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_seg.base import Dataset
from ssl_seg.data.bands import parse_bands, read_bands
from ssl_seg.data.decode import EXTENSIONS, read_image, read_size
from ssl_seg.data.file_digests import content_digest
from ssl_seg.data.file_list import FileList
from ssl_seg.data.levels import Levels, Percentiles, Range
from ssl_seg.data.percentiles import measured_range
from ssl_seg.data.tables import column_names, how_to_name, one_hot_columns
from ssl_seg.data.tiff_bands import tiff_size
from ssl_seg.errors import DataError

_SYSTEM = frozenset({"__MACOSX", "@eaDir", "System Volume Information"})


Share = Callable[[Callable[[], bytes]], bytes]  # calls a function in one process, and gives its result to all
_share: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def listed_once(share: Share) -> Iterator[None]:
    """Inside, `find_images` lists a folder in one process for all; all must call it in the same order."""
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


class FileDataset(Dataset):
    """Images in files below one folder.

    Args:
        root: the folder.
        pairs: (path relative to `root`, class index or -1).
        classes: names of the classes.
        range: the values that become black and white in images of more than 8 bits; see `Levels`. `Percentiles` are
            measured now, see `measured_range`.
        bands: which are read, and in which order, as `4,3,2`; None reads colours.
        table, lines: the CSV file that names the images, and the line of each.

    Attributes:
        path, lines: of the CSV file, if there is one.
        levels: how such values are scaled, and which ones were seen.
        is_listed: whether a person named the files one by one; they may lie anywhere.
    """

    samples: FileList
    is_listed = False

    def __init__(
        self,
        root: Path,
        pairs: Iterable[tuple[str, int]],
        classes: Sequence[str] = (),
        *,
        range: Range = None,
        bands: str | None = None,
        table: Path | None = None,
        lines: Iterable[int] = (),
    ) -> None:
        self.root, self.path, self.lines = root, table, array("q", lines)
        self.samples = FileList(pairs)
        self.classes = list(classes)
        self.bands = parse_bands(bands)
        self.channels = len(self.bands) or 3
        if isinstance(range, Percentiles):
            range = measured_range(root, self.samples, self.bands, range)
        self.levels = Levels(range)
        self.levels.check(self.channels if self.bands else 1)

    @property
    def advice(self) -> str:
        """How it gets the labels that it lacks; empty where nothing but the folder says so."""
        if self.path is None:
            return ""
        if several := one_hot_columns(self.path):
            return f"one column label: {', '.join(several[:4])} look like several labels, and an image has one here"
        return how_to_name(self.path, "label", column_names(self.path))

    def origin(self, index: int) -> str:
        name, _ = self.samples[index]
        return name if self.path is None else f"{self.path}, line {self.lines[index]}: {name}"

    def file(self, index: int) -> str:
        return os.path.join(self.root, self.samples[index][0])

    def identity(self, index: int) -> str:
        """Name and content of the file, and how it is read: a copy, or a folder that was moved, has the same."""
        name, _ = self.samples[index]
        try:
            bands = f"bands={self.bands}" if self.bands else ""
            return f"{name}\0{content_digest(os.path.join(self.root, name))}{self.levels}{bands}"
        except OSError:
            return f"{name}\0missing"

    def size(self, index: int) -> tuple[int, int]:
        path = self.root / self.samples[index][0]
        return (tiff_size(path) if self.bands else None) or read_size(path)

    def image(self, index: int, canvas: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        path = self.root / self.samples[index][0]
        if self.bands:
            return read_bands(path, canvas, self.bands, self.levels)
        return read_image(path, canvas, self.levels)


def find_images(root: Path, advice: str = "add images, or use another folder") -> Iterator[str]:
    """Paths of all image files below `root`, relative to it, folder by folder in sorted order.

    Hidden and system folders and files are passed over; links are followed, once. See also `listed_once`.

    Args:
        root: the folder.
        advice: what to do if there is no image.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    share = _share.get()
    if share is None:
        yield from _found(root, advice)
        return
    joined = share(lambda: b"\0".join(map(os.fsencode, _found(root, advice))))
    for match in re.finditer(rb"[^\0]+", joined):
        yield os.fsdecode(match[0])


def _found(root: Path, advice: str) -> Iterator[str]:
    if not root.is_dir():
        raise DataError(f"folder not found: {root}", next=f"ls {root.parent}")
    others: Counter[str] = Counter()
    found = 0
    for name in _walk(root, "", set(), others):
        found += 1
        yield name
    if not found:
        seen = ", ".join(f"{count} {end}" for end, count in others.most_common(5)) or "nothing"
        raise DataError(
            f"no images found in {root}",
            where=f"found {seen}; supported suffixes: {' '.join(sorted(EXTENSIONS))}",
            next=advice,
        )


def has_images(folder: Path, *, below: bool = True) -> bool:
    """Whether there is an image file in a folder, or anywhere below it."""
    if below:
        return next(_walk(folder, "", set(), Counter()), None) is not None
    return any(not is_folder and _is_image(name) for name, is_folder in _entries(folder))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; none of hidden and system ones.

    Raises:
        DataError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"folder not found: {folder}", next=f"ls {folder.parent}")
    return [name for name, is_folder in _entries(folder) if is_folder]


def _entries(folder: str | Path) -> list[tuple[str, bool]]:
    """Names in a folder, and whether they are folders; sorted, without hidden and system ones."""
    try:
        with os.scandir(folder) as found:
            entries = [(entry.name, _is_folder(entry)) for entry in found]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(entry for entry in entries if not entry[0].startswith(".") and entry[0] not in _SYSTEM)


def _unreadable(folder: str | Path, error: OSError) -> DataError:
    return DataError(f"cannot read the folder {folder}: {error.strerror}", next=f"ls -ld {folder}")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _walk(root: Path, below: str, visited: set[tuple[int, int]], others: Counter[str]) -> Iterator[str]:
    folder = os.path.join(root, below)
    try:
        info = os.stat(folder)
        if (info.st_dev, info.st_ino) in visited:
            return
        visited.add((info.st_dev, info.st_ino))
    except OSError as error:
        raise _unreadable(folder, error) from error
    folders = []
    for name, is_folder in _entries(folder):
        path = os.path.join(below, name)
        if is_folder:
            folders.append(path)
        elif _is_image(name):
            yield path
        else:
            others[os.path.splitext(name)[1] or "without a suffix"] += 1
    for path in folders:
        yield from _walk(root, path, visited, others)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
