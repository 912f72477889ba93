"""Output paths that are made of names from data: within one folder, over no input, through no link.

A name in a CSV file, a data set of a plugin or a TOML file may be absolute, have `..` in it, or meet a link in
the output folder. Whoever joins such a name to a folder does it by `output_path`, and asks before the work.
"""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from ssl_seg.errors import OutputInUseError, UsageError, pluralize
from ssl_seg.utils.text import shown

_SHOWN = 3
_OTHER = "use another --out, or remove it"


def output_path(folder: Path, name: str) -> Path:
    """Where the output of a name lies: below `folder`, whatever the name is.

    The folder itself may be a link: a person has named it. Nothing below it may be one.

    Raises:
        UsageError: the name leads out of the folder, through a link or a file, or is none.
    """
    if not is_inside(name):
        raise UsageError(f"the name {name!r} leads out of {shown(folder)}", next="rename it")
    path, parts = folder, PurePath(name).parts
    for depth, part in enumerate(parts, start=1):
        path = path / part
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # a name that is too long
            raise UsageError(f"cannot write {shown(path)}: {error.strerror}", next="rename it") from error
        if stat.S_ISLNK(info.st_mode):
            raise UsageError(
                f"{shown(path)} is a symbolic link; links are never followed for output", next=_OTHER
            )
        if stat.S_ISDIR(info.st_mode) == (depth == len(parts)):
            kind = "folder" if depth == len(parts) else "file"
            raise UsageError(f"{shown(path)} is a {kind}", next=_OTHER)
    return path


def is_inside(name: str) -> bool:
    """Whether a name, joined to a folder, stays below it."""
    parts = PurePath(name).parts
    return bool(parts) and not os.path.isabs(name) and ".." not in parts and "\0" not in name


def names_below(names: Sequence[str], root: Path, *, common: bool = False) -> list[str]:
    """The names of files, each relative to a folder that holds them all.

    Names that stay below `root` are what they are. If one of them does not, all are taken relative to the
    deepest folder that has all the files: of `/a/x.png` and `/a/b/y.png` that is `/a`.

    Args:
        root: what relative names are relative to.
        common: take them relative to the deepest common folder in any case.
    """
    if not common and all(map(is_inside, names)):
        return list(names)
    paths = [os.path.abspath(root / name) for name in names]
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [os.path.relpath(path, folder) for path in paths]


def output_paths(folder: Path, names: Sequence[str], owners: Sequence[str]) -> list[Path]:
    """As `output_path`, of many names, no two of which may lead to one file.

    Args:
        owners: what each name is made from, for people.

    Raises:
        UsageError: see `output_path`; or two have one output, or the one's is the other's folder.
    """
    taken: dict[str, str] = {}
    for name, owner in zip(names, owners, strict=True):
        key = str(PurePath(name))
        if key in taken:
            raise UsageError(
                f"{shown(taken[key])} and {shown(owner)} would have the same output {shown(name)}",
                next="rename one of them",
            )
        taken[key] = owner
    for name in taken:
        for above in map(str, PurePath(name).parents):
            if above in taken:
                raise UsageError(f"{shown(above)} would be an output, and the folder of {shown(name)}")
    return [output_path(folder, name) for name in names]


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> list[Path]:
    """The outputs that already exist.

    Raises:
        UsageError: one of them is an input.
    """
    there = [path for path in outputs if os.path.lexists(path)]
    known = set(map(_identity, inputs)) - {None} if there else set()
    for path in there:
        if _identity(path) in known:
            raise UsageError(
                f"{shown(path)} is an input; inputs are never overwritten", next="use another --out"
            )
    return there


def refuse_taken(outputs: Sequence[Path], inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Outputs must be no inputs and, unless they may be overwritten, not be there.

    Raises:
        UsageError: one is an input.
        OutputInUseError: one already exists.
    """
    there = refuse_inputs(outputs, inputs)
    if not there or overwrite:
        return
    first = ", ".join(shown(path) for path in there[:_SHOWN])
    way = "use another --out, or --overwrite"
    if len(outputs) == 1:
        raise OutputInUseError(f"{first} already exists", next=way)
    more = ", ..." if len(there) > _SHOWN else ""
    count = f"{len(there)} of {pluralize(len(outputs), 'output')}"
    raise OutputInUseError(f"{count} already exist", where=first + more, next=way)


def _identity(path: Path) -> tuple[int, int] | None:
    """What two names of one file have in common."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
