"""Which folder or CSV file below a root is the split asked for: one rule for all formats.

`train` is found as train or training; `val` as val, valid or validation, else as test or testing; `test` as test
or testing: in any case, and with an ending such as `_set` or `2017`. Of two that fit one must be named, and a
root with splits of which none fits is an error. The whole root never stands in for a split of it.
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
    """The split that a folder or CSV file is called after: `Training` is `train`, `testimony` is none."""
    found = _NAME.fullmatch(name.casefold())
    if not found:
        return None
    train, val, _ = found.groups()
    return "train" if train else "val" if val else "test"


def choose(names: Sequence[str], kind: Kind, root: Path) -> Path:
    """The split of a kind; test stands in for validation where there is none, with a warning.

    Args:
        names: of folders or files in `root`, each called after a split.
        kind: what is asked for.
        root: where they lie.

    Raises:
        DataError: none fits, or more than one.
    """
    fitting = [name for name in names if kind_of(name) == kind]
    if not fitting and kind == "val" and (fitting := [name for name in names if kind_of(name) == "test"]):
        log.warning("%s has no validation split: using %s", root, " and ".join(fitting))
    if len(fitting) == 1:
        return root / fitting[0]
    if fitting:
        what = f"{root} has {len(fitting)} splits for {_WORDS[kind]}"
    else:
        what = f"{root} has no split for {_WORDS[kind]}"
    raise DataError(what, where=f"found: {', '.join(names)}", next=_paths(root, fitting or names))


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
    doubt = _doubt_of_classes(root, splits, others) if labelled else _doubt_of_images(root, others)
    if doubt == _CLASSES or (doubt and mixed == "whole"):
        return root
    if kind and not doubt:
        return choose(splits, kind, root)
    raise DataError(
        f"ambiguous: {_some(splits)} in {root} may be splits or classes"
        if doubt
        else f"the classes of {root} would be {_some(splits)}",
        where=doubt or None,
        next=f"{_paths(root, splits)}; if they are classes: -o data.splits=false",
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
        where=f"found: {_some(others)}" if others else None,
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


def _doubt_of_classes(root: Path, splits: Sequence[str], others: Sequence[str]) -> str:
    """What speaks against splits; nothing if they are some."""
    held = {name: _classes_in(root / name) for name in splits}
    real = {name: classes for name, classes in held.items() if classes}
    if not others:
        return "" if real else f"they hold no folder per class; as classes they would be {_some(splits)}"
    if not real:
        return _CLASSES
    kinds = {kind_of(name) for name in real}
    if len(kinds) > 1 and set.intersection(*real.values()):
        return ""
    return f"{_some(list(real))} with a folder per class, and beside it images in {_some(others)}"


def _classes_in(folder: Path) -> set[str]:
    """Names of the folders per class, if it holds nothing else: a class may hold folders, too."""
    if has_images(folder, below=False):
        return set()
    return {name for name in subfolders(folder) if has_images(folder / name)}


def _doubt_of_images(root: Path, others: Sequence[str]) -> str:
    if has_images(root, below=False):
        return "images lie beside them"
    return f"images lie beside them, in {_some(others)}" if others else ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _paths(root: Path, names: Sequence[str]) -> str:
    return f"type the path: {' or '.join(str(root / name) for name in names[:_SHOWN])}"
