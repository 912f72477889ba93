"""Files that labelling tools write beside masks, as palettes: CVAT's `labelmap.txt`, Roboflow's `_classes.csv`."""

import csv
import re
from collections.abc import Iterator

from ssl_seg.data.palettes import Colour, voc_colormap

Entry = tuple[str, Colour]

NAMES = ("palette.json", "labelmap.txt", "_classes.csv")


def entries_of(name: str, text: str) -> tuple[list[Entry], list[int]] | None:
    """Names and colours of the classes, and their ids if the file says them; None of a file with another name.

    Raises:
        ValueError: it is no such file; the text says why.
    """
    if name == "labelmap.txt":
        return list(_label_map(text)), []
    if name == "_classes.csv":
        return _classes(text)
    return None


def _label_map(text: str) -> Iterator[Entry]:
    """`# label:color_rgb:parts:actions`, then `cat:128,0,0::`."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = re.fullmatch(r"(.+?):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(?::.*)?", line.strip())
        if not found or max(map(int, found.groups()[1:])) > 255:
            raise ValueError(f"line {number}: {line!r} is not NAME:RED,GREEN,BLUE::")
        yield found[1], (int(found[2]), int(found[3]), int(found[4]))


def _classes(text: str) -> tuple[list[Entry], list[int]]:
    """`Pixel Value, Class`, then `1, cat`."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]
    if not rows or [cell.casefold() for cell in rows[0]] != ["pixel value", "class"]:
        raise ValueError("its first line is not 'Pixel Value, Class'")
    for row in rows[1:]:
        if len(row) != 2 or not row[0].isdecimal() or int(row[0]) > 255:
            raise ValueError(f"{', '.join(row)!r} is not a pixel value and a class")
    ids = [int(row[0]) for row in rows[1:]]
    return list(zip((row[1] for row in rows[1:]), voc_colormap(len(ids)), strict=True)), ids
