"""Lists that say which images are used, or which image has which mask."""

import csv
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssl_seg.data.decode import EXTENSIONS
from ssl_seg.data.splits import choose, kind_of
from ssl_seg.data.tables import how_to_name, read_table
from ssl_seg.errors import DataError, pluralize
from ssl_seg.utils.text import first_lines, from_csv_cell

_SPLIT = "{split}"

Row = tuple[int, str, str]  # line, image, mask


def read_pairs(path: Path, *, skip_unlabelled: bool) -> list[Row]:
    """The rows of a file with the columns `filename` and `mask`, or without a header but with two file names a line.

    Args:
        path: separated by commas, semicolons, tabs, or without a header by spaces.
        skip_unlabelled: leave out rows without a mask.

    Raises:
        DataError: it cannot be read so, or lists an image twice.
    """
    rows = list(_bare(path) or _named(path))
    if empty := [row for row in rows if not row[2]]:
        if not skip_unlabelled:
            where = f"{path}, line {empty[0][0]}: {empty[0][1]}"
            raise DataError(
                f"{pluralize(len(empty), 'image')} without a mask", where=where, next="-o data.unpaired=skip"
            )
        rows = [row for row in rows if row[2]]
    twice = [name for name, count in Counter(image for _, image, _ in rows).items() if count > 1]
    if twice:
        lines = [str(line) for line, image, _ in rows if image == twice[0]]
        where = f"{path}, lines {' and '.join(lines)}"
        raise DataError(f"duplicate filename {twice[0]}", where=where, next="keep one of the lines")
    if not rows:
        raise DataError(
            f"{path} lists no images with masks", next="a line for each image, below: filename,mask"
        )
    return rows


def _named(path: Path) -> Iterator[Row]:
    for line, row in read_table(path):
        if "mask" not in row:
            raise DataError(f"{path} has no column 'mask'", next=how_to_name(path, "mask", list(row)))
        yield line, from_csv_cell(row["filename"]), from_csv_cell(row["mask"])


def _bare(path: Path) -> list[Row]:
    """The rows of a file without a header; none if it has one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []  # `read_table` says what is wrong
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    cells = [
        next((found for one in ",;\t " if len(found := _cells(line, one)) == 2), []) for _, line in lines
    ]
    if (
        not cells
        or not cells[0]
        or not all(os.path.splitext(cell)[1].lower() in EXTENSIONS for cell in cells[0])
    ):
        return []
    for (number, line), found in zip(lines, cells, strict=True):
        if not found:
            raise DataError(
                f"not an image and a mask: {line!r}", where=f"{path}, line {number}", next="two file names"
            )
    return [(number, found[0], found[1]) for (number, _), found in zip(lines, cells, strict=True)]


def _cells(line: str, separator: str) -> list[str]:
    found = (
        line.split()
        if separator == " "
        else next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    )
    return [cell.strip() for cell in found]


def read_list(base: Path, text: str, split: str) -> tuple[Path, list[str]]:
    """The file of a list of images, and its lines.

    Args:
        base: the folder that the option is relative to.
        text: of the option, in which `{split}` stands for a split in any spelling.
        split: `train`, `val` or `test`.

    Raises:
        DataError: no such file, or none of the split.
    """
    path = base / text
    if _SPLIT in text:
        before, _, after = text.partition(_SPLIT)
        pattern = re.compile(re.escape(before) + "(.+)" + re.escape(after))
        files = {
            match[1]: file
            for file in base.glob(f"{before}*{after}")
            if (match := pattern.fullmatch(str(file.relative_to(base))))
        }
        names = [name for name in sorted(files) if kind_of(name)]
        if not names:
            found = ", ".join(sorted(files)) or "none"
            raise DataError(f"no list {base / text}", where=f"found: {found}", next="-o data.list=FILE.txt")
        path = files[choose(names, kind_of(split or "train") or "train", Path()).name]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the list {path}: {error}", next="a text file with an image name in each line"
        ) from error
    return path, [line for line in lines if line]


def listed(images: Mapping[str, str], wanted: Sequence[str], path: Path) -> dict[str, str]:
    """The images that a list names: by path, by name, with or without ending, or by the part they share with masks.

    Args:
        images: with their keys.
        wanted: lines of the list at `path`.

    Raises:
        DataError: a line that names no image, or several.
    """
    known: dict[str, list[str]] = {}
    for name, key in images.items():
        stem = os.path.splitext(name)[0]
        for spelled in {
            name,
            stem,
            os.path.basename(name),
            os.path.basename(stem),
            key,
            os.path.basename(key),
        }:
            known.setdefault(spelled, []).append(name)
    missing = [line for line in wanted if line not in known]
    if missing:
        more = f" of {len(wanted)} lines of {path} name no image"
        where = (
            f"{first_lines(missing)}\n       images are called {', '.join(list(images)[:2]) or 'otherwise'}"
        )
        raise DataError(f"{len(missing)}{more}", where=where, next="a name such as 2007_000032 in each line")
    if several := [line for line in wanted if len(known[line]) > 1]:
        where = f"{path}: {several[0]} is {' and '.join(known[several[0]][:3])}"
        raise DataError(
            "a line of the list names several images", where=where, next="write their folders, too"
        )
    chosen = {known[line][0] for line in wanted}
    return {name: key for name, key in images.items() if name in chosen}


def list_advice(base: Path) -> str:
    """The option that uses the split lists below a folder, as VOC has them; empty if there are none."""
    for file in sorted(base.glob("ImageSets/*/*.txt")):
        if kind_of(file.stem):
            name = file.parent.relative_to(base) / f"{_SPLIT}.txt"
            return f"-o {shlex.quote(f'data.list={name}')}"
    return ""
