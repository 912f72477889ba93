"""What may have been meant by the name of a file that is not there."""

import os
import shlex
from pathlib import Path

from ssl_seg.data.decode import EXTENSIONS
from ssl_seg.data.files import subfolders

_FOLDERS = 200  # that are looked into


def meant(table: Path, folder: Path, name: str) -> str:
    """What to do about a name in a CSV file, of which there is no file.

    Args:
        table: the CSV file.
        folder: the names are relative to.
        name: as written.
    """
    if "\\" in name:
        return f"folders are separated by /: sed -i.bak 's|\\\\|/|g' {shlex.quote(str(table))}"
    if found := _spelled(folder, name):
        return f"write {found}"
    if found := _elsewhere(table.parent, name):
        return f"-o data.images={shlex.quote(found)}  # for --val: -o val.images="
    parts = Path(name).parts
    for start in range(1, len(parts)):
        rest = Path(*parts[start:])
        if (folder / rest).exists():
            return f"names are relative to {folder}: write {rest}"
    return "-o data.images=FOLDER  # the names are relative to; for --val: -o val.images=FOLDER"


def _spelled(folder: Path, name: str) -> str:
    """The name of a file in the same folder: without quotes, with an ending, or in another case."""
    bare = name.strip("'\" ")
    if bare != name and (folder / bare).exists():
        return bare
    for suffix in sorted(EXTENSIONS):
        for tried in (f"{name}{suffix}", f"{name}{suffix.upper()}"):
            if (folder / tried).exists():
                return tried
    path = folder / name
    if path.parent.is_dir():
        for entry in sorted(os.listdir(path.parent)):
            if entry.casefold() == path.name.casefold():
                return str(Path(name).with_name(entry))
    return ""


def _elsewhere(root: Path, name: str) -> str:
    """The folder beside the CSV file in which there is such a file."""
    for below in subfolders(root)[:_FOLDERS]:
        if (root / below / name).exists():
            return str(root / below)
    return ""
