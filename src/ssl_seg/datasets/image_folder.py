"""A folder with one subfolder of images per class."""

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_seg.data.files import FileDataset, find_images, subfolders
from ssl_seg.data.levels import Range
from ssl_seg.data.splits import kind_of, split_folder
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded

_IMAGES, _MASKS = {"image", "images", "img", "imgs"}, {"annotations", "labels", "mask", "masks"}


def image_folder(
    root: str, split: str, *, splits: bool = True, range: Range = None, bands: str | None = None
) -> FileDataset:
    """Images under `root/CLASS/`, or `root/SPLIT/CLASS/` if there are split folders.

    Classes are in natural order (`class2` before `class10`). Subfolders belong to their class.

    Args:
        root: the folder.
        split: `train`, `val` or `test`, which finds folders of these names in any spelling: `Training`, `valid`.
        splits: false: folders named after splits are classes.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: no class folder, an empty one, or two whose names differ only in case; no split that fits,
            or folders called after splits of which it cannot be known what they are.
    """
    folder = expanded(root)
    if splits:
        folder = split_folder(folder, split, labelled=True)
    classes = sorted((name for name in subfolders(folder) if not name.startswith("__")), key=natural_sort_key)
    if not classes:
        raise DataError(f"{folder} has no class folders", next=f"flat_folder:{folder}  # without labels")
    if len(classes) == 1 and (inside := [name for name in subfolders(folder / classes[0]) if kind_of(name)]):
        raise DataError(
            f"{folder} has a single class, {classes[0]}, which contains {', '.join(inside)}",
            next=f"use {folder / classes[0]}",
        )
    lower = [name.lower() for name in classes]
    if len(classes) == 2 and set(lower) & _IMAGES and set(lower) & _MASKS:
        raise DataError(
            f"{folder} holds images and masks, not a folder for each class",
            where=", ".join(classes),
            next=f"ssl-seg segment {folder}  # if they are classes: rename them",
        )
    for name in classes:
        if lower.count(name.lower()) > 1:
            raise DataError(
                f"two class folders differ only in case: {name}",
                where=str(folder),
                next="rename or merge them",
            )
    return FileDataset(folder, _pairs(folder, classes), classes, range=range, bands=bands)


def _pairs(folder: Path, classes: list[str]) -> Iterator[tuple[str, int]]:
    for target, name in enumerate(classes):
        for path in find_images(folder / name, f"add images, or remove the class folder: {folder / name}"):
            yield f"{name}/{path}", target


def natural_sort_key(text: str) -> list[tuple[int, int, str]]:
    """A sort key that reads digits as numbers; names that then agree (`a1`, `a01`) go by their text."""
    parts = re.findall(r"\d+|\D+", text)
    return [*((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), (-1, 0, text)]


@hookimpl
def datasets() -> dict[str, object]:
    return {"image_folder": image_folder}
