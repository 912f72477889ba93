"""A folder with one subfolder of images per class."""

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_seg.data.files import FileDataset, find_images
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl

_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "test"))


def image_folder(root: str, split: str, *, range: tuple[float, float] | None = None) -> FileDataset:
    """Images under `root/CLASS/`, or `root/split/CLASS/` if there is such a folder.

    Classes are in natural order (`class2` before `class10`). Folders below a class belong to it.

    Args:
        root: the folder.
        split: `train` or `val`; passed over if there is no such folder.
        range: the values that become black and white in images of more than 8 bits.

    Raises:
        DataError: no class folder, an empty one, two whose names differ only in case, or folders
            `train` and `val` with classes in them and no split asked for.
    """
    folder = Path(root)
    if split and (folder / split).is_dir():
        folder = folder / split
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    classes = sorted((p.name for p in folder.iterdir() if _is_class(p)), key=natural)
    if not classes:
        raise DataError(
            f"{folder} has no subfolder per class", next=f"flat_folder:{folder}  # without labels"
        )
    if (
        not split
        and _SPLITS.issuperset(classes)
        and any(_is_class(p) for p in (folder / classes[0]).iterdir())
    ):
        raise DataError(
            f"the classes of {folder} would be {' and '.join(classes)}",
            next=f"name one of them: {folder / classes[0]}",
        )
    lower = [name.lower() for name in classes]
    for name in classes:
        if lower.count(name.lower()) > 1:
            raise DataError(f"two class folders differ only in case: {name}", where=str(folder))
    return FileDataset(folder, _pairs(folder, classes), classes, range=range)


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))


def _pairs(folder: Path, classes: list[str]) -> Iterator[tuple[str, int]]:
    for target, name in enumerate(classes):
        for path in find_images(folder / name):
            yield f"{name}/{path}", target


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key that reads digits as numbers; names that then agree (`a1`, `a01`) go by their text."""
    parts = re.findall(r"\d+|\D+", text)
    return [*((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), (-1, 0, text)]


@hookimpl
def datasets() -> dict[str, object]:
    return {"image_folder": image_folder}
