"""Finds the folder or CSV file of a split: one rule for all formats.

`train` is found as train or training; `val` as val, valid or validation, else as test or testing; `test` as test
or testing: in any case, and with a suffix such as `_set` or `2017`. If two match, the user must name one. A root
with splits of which none matches is an error: the complete root never substitutes for a split.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ssl_seg.data.files import has_images, subfolders
from ssl_seg.data.tables import read_table
from ssl_seg.errors import DataError
from ssl_seg.utils.log import log

Kind = Literal["train", "val", "test"]

_NAME = re.compile(
    r"(?:(train|training)|(val|valid|validation)|(test|testing))"
    r"(?:[ _-]?(?:set|data|images|imgs|split|\d{4}))?(?:\.csv)?"
)
_WORDS = {"train": "training", "val": "validation", "test": "testing"}
_SHOWN = 4


def kind_of(name: str) -> Kind | None:
    """Return the split that a folder or CSV file is named after: `Training` is `train`, `testimony` is none."""
    found = _NAME.fullmatch(name.casefold())
    if not found:
        return None
    train, val, _ = found.groups()
    return "train" if train else "val" if val else "test"


def choose(names: Sequence[str], kind: Kind, root: Path) -> Path:
    """Return the path of a split; without a validation split, test is used with a warning.

    Args:
        names: of folders or files in `root`, each named after a split.
        kind: the requested split.
        root: their folder.

    Raises:
        DataError: none matches, or more than one.
    """
    matches = [name for name in names if kind_of(name) == kind]
    if not matches and kind == "val" and (matches := [name for name in names if kind_of(name) == "test"]):
        log.warning("%s has no validation split: using %s", root, " and ".join(matches))
    if len(matches) == 1:
        return root / matches[0]
    if matches:
        what = f"{root} has {len(matches)} {_WORDS[kind]} splits"
    else:
        what = f"{root} has no {_WORDS[kind]} split"
    raise DataError(what, where=f"found: {', '.join(names)}", next=_paths(root, matches or names))


def split_folder(
    root: Path, split: str, *, labelled: bool = False, mixed: Literal["ask", "whole"] = "ask"
) -> Path:
    """The folder of a split below `root`; `root` itself where it holds none.

    Folders called `train` or `test` may also be classes or albums. They are splits if no other images lie
    beside them, and of images with a folder per class only if there are such folders in them.

    Args:
        split: `train`, `val` or `test`; any other name is that of a folder, if there is one. Empty is the
            root, which must not hold splits if they would be taken for classes.
        labelled: the format has a folder per class.
        mixed: where other images lie beside splits, ask, or take the whole root.

    Raises:
        DataError: none fits, or it cannot be known what the folders are; with the paths to choose from.
    """
    kind, names = kind_of(split), subfolders(root)
    if kind is None and (split or not labelled):
        return root / split if split in names else root
    splits = [name for name in names if kind_of(name)]
    if not splits:
        return root
    others = [name for name in names if name not in splits and has_images(root / name)]
    ambiguity = _class_ambiguity(root, splits, others) if labelled else _image_ambiguity(root, others)
    if ambiguity == _CLASSES or (ambiguity and mixed == "whole"):
        return root
    if kind and not ambiguity:
        return choose(splits, kind, root)
    raise DataError(
        f"ambiguous folders in {root}: {_preview(splits)} may be splits or classes"
        if ambiguity
        else f"{root} has splits, not classes: {_preview(splits)}",
        where=ambiguity or None,
        next=f"{_paths(root, splits)}, or -o data.splits=false if they are classes",
    )


def split_table(root: Path, split: str) -> Path:
    """The CSV file of a split in a folder: `train.csv` and the like; other files do not matter.

    Args:
        split: `train` if empty; a name that is no split is that of a file, without `.csv`.

    Raises:
        DataError: none fits, or more than one.
    """
    kind = kind_of(split or "train")
    if kind is None:
        return root / f"{split}.csv"
    if names := split_tables(root):
        return choose(names, kind, root)
    others = tables(root)
    raise DataError(
        f"no train.csv or val.csv in {root}",
        where=f"found: {_preview(others)}" if others else None,
        next=_paths(root, others) if others else "image_folder:FOLDER  # a folder per class",
    )


def split_tables(root: Path) -> list[str]:
    """Names of the CSV files in a folder that are called after splits."""
    return [name for name in tables(root) if kind_of(name)]


def tables(root: Path) -> list[str]:
    """Names of the CSV files in a folder."""
    return sorted(path.name for path in root.iterdir() if path.suffix.lower() == ".csv")


def has_classes(root: Path) -> bool:
    """Whether images lie in folders per class: two of them, or some below the folder of a split."""
    names = subfolders(root)
    if any(_classes_in(root / name) for name in names if kind_of(name)):
        return True
    return sum(has_images(root / name) for name in names if not kind_of(name)) > 1


def label_against_folder(table: Path) -> str | None:
    """The first line of a CSV file that gives an image another label than its folder does; None if there is none.

    A file without the columns of labels contradicts nothing.
    """
    try:
        for line, row in read_table(table):
            parts = [part for part in Path(row["filename"]).parts[:-1] if not kind_of(part)]
            if (label := row.get("label")) and parts and parts[0] != label:
                return f"{table}, line {line}: {row['filename']} is {label!r}"
    except DataError:
        return None
    return None


_CLASSES = "they are classes"


def _class_ambiguity(root: Path, splits: Sequence[str], others: Sequence[str]) -> str:
    """Return why folders may not be splits; empty if they are."""
    class_folders = {name: _classes_in(root / name) for name in splits}
    with_classes = {name: classes for name, classes in class_folders.items() if classes}
    if not others:
        return (
            "" if with_classes else f"no class folders in them; as classes they would be {_preview(splits)}"
        )
    if not with_classes:
        return _CLASSES
    kinds = {kind_of(name) for name in with_classes}
    if len(kinds) > 1 and set.intersection(*with_classes.values()):
        return ""
    return f"{_preview(list(with_classes))} with class folders, and further images in {_preview(others)}"


def _classes_in(folder: Path) -> set[str]:
    """Names of the folders per class, if it holds nothing else: a class may hold folders, too."""
    if has_images(folder, below=False):
        return set()
    return {name for name in subfolders(folder) if has_images(folder / name)}


def _image_ambiguity(root: Path, others: Sequence[str]) -> str:
    if has_images(root, below=False):
        return "there are images next to them"
    return f"there are images next to them, in {_preview(others)}" if others else ""


def _preview(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _paths(root: Path, names: Sequence[str]) -> str:
    return f"use a path: {' or '.join(str(root / name) for name in names[:_SHOWN])}"
