"""Where images and their masks lie: in one folder, in two, or in a list."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_seg.data.file_pairs import pair_files
from ssl_seg.data.files import FileDataset
from ssl_seg.data.levels import Range
from ssl_seg.data.pair_lists import list_advice, read_list, read_pairs
from ssl_seg.data.pair_names import Affixes
from ssl_seg.data.pair_patterns import Patterns
from ssl_seg.data.splits import split_folder
from ssl_seg.errors import DataError, UsageError
from ssl_seg.utils.text import first_lines


@dataclass(frozen=True)
class Pairs:
    """Images with a mask each.

    Attributes:
        base: the folder in which files about both may lie.
        images, masks: the folders that names are relative to.
        names: of each image and its mask.
        table, lines: the list that names them, and the line of each.
    """

    base: Path
    images: Path
    masks: Path
    names: Sequence[tuple[str, str]]
    table: Path | None = None
    lines: Iterable[int] = ()

    def image_files(self, range: Range, bands: str | None) -> FileDataset:
        """The images; `range` and `bands`: see `FileDataset`."""
        named = ((image, -1) for image, _ in self.names)
        return FileDataset(self.images, named, range=range, bands=bands, table=self.table, lines=self.lines)


def find_pairs(
    root: Path,
    split: str,
    folders: tuple[str | None, str | None],
    names_of: Affixes | Patterns,
    only: str | None,
    *,
    skip_unpaired: bool,
) -> Pairs:
    """The pairs below a folder, or in a file that lists them.

    Args:
        root: the folder, or the list; see `read_pairs`.
        split: see `split_folder`.
        folders: of images and masks, relative to `root`; for a list, to its folder.
        names_of: how names of images and masks belong together.
        only: a list of the images that are used; see `read_list`.

    Raises:
        DataError: see `pair_files`, `read_list` and `read_pairs`. UsageError: one folder alone is named.
    """
    if root.is_file():
        return _from_list(root, folders, skip_unpaired=skip_unpaired)
    base = split_folder(root, split)
    if (folders[0] is None) != (folders[1] is None):
        name = "masks" if folders[1] is None else "images"
        raise UsageError(
            "images and masks must be given together", next=f"-o data.{name}=FOLDER, or =. for {base}"
        )
    images, masks = (split_folder(base / part, split) if part else base for part in folders)
    found = read_list(base, only, split) if only else None
    advice = "" if only else list_advice(base)
    names = pair_files(images, masks, names_of, skip_unpaired=skip_unpaired, only=found, advice=advice)
    return Pairs(base, images, masks, names)


def _from_list(path: Path, folders: tuple[str | None, str | None], *, skip_unpaired: bool) -> Pairs:
    rows = read_pairs(path, skip_unlabelled=skip_unpaired)
    beside = path.with_suffix("")
    base = beside if (beside / rows[0][1]).exists() else path.parent
    images, masks = (base / part if part else base for part in folders)
    faults = [
        (str(folder / name), f"{path}, line {line}")
        for line, *names in rows
        for folder, name in zip((images, masks), names, strict=True)
        if not os.path.exists(folder / name)
    ]
    if faults:
        raise DataError(
            f"{len(faults)} files of {path} are not there",
            where=first_lines([f"{name} ({line})" for name, line in faults]),
            next="-o data.images=FOLDER -o data.masks=FOLDER  # that the names are relative to",
            faults=faults,
        )
    names = [(image, mask) for _, image, mask in rows]
    return Pairs(path.parent, images, masks, names, path, [line for line, _, _ in rows])
