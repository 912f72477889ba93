"""Image files named, with their labels, in a CSV file: `id,filename,label`."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ssl_seg.data.files import FileDataset
from ssl_seg.data.levels import Range
from ssl_seg.data.missing_files import meant
from ssl_seg.data.splits import split_table
from ssl_seg.data.tables import read_table
from ssl_seg.errors import DataError
from ssl_seg.hooks import hookimpl
from ssl_seg.utils.home import expanded
from ssl_seg.utils.text import from_csv_cell

_FRACTION = re.compile(r"-?\d+\.0+")  # what pandas writes of whole numbers, where one of them is missing
_ONE = "keep one of the two lines"


def csv_labels(
    root: str, split: str, *, images: str | None = None, range: Range = None, bands: str | None = None
) -> FileDataset:
    """Images of a CSV file with the columns `filename` and, for labeled images, `label`.

    Args:
        root: the CSV file, or a folder that holds `train.csv`, `val.csv` and the like.
        split: `train` (the default), `val` or `test`; used when `root` is a folder.
        images: folder that filenames are relative to. Default: the folder with the name of the CSV file
            (`train/` for `train.csv`) if it has the first image, else the folder of the CSV file.
        range: values that become black and white in images of more than 8 bits, or percentiles: `0,4095`, `p2,p98`.
        bands: bands to read, numbered from 1, in this order: `4,3,2`, `1-13`. Default: colours.

    Raises:
        DataError: a column, a file or a label is missing, or a file or an id is there twice; with
            the line.
    """
    path = expanded(root)
    if path.is_dir():
        path = split_table(path, split)
    rows = list(_read(path))
    if not rows:
        raise DataError(f"{path} lists no images", next="a line for each image, below: filename,label")
    folder = expanded(images) if images else _find_folder(path, rows[0][1])
    rows = [(line, _file_name(folder, name), label) for line, name, label in rows]
    _check(path, folder, rows)
    classes = sorted({label for _, _, label in rows if label}, key=_label_order)
    class_indices = {label: index for index, label in enumerate(classes)}
    pairs = ((name, class_indices.get(label, -1)) for _, name, label in rows)
    return FileDataset(
        folder, pairs, classes, range=range, bands=bands, table=path, lines=(line for line, _, _ in rows)
    )


def _read(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, file name and label of each row; no label is empty."""
    ids: dict[str, int] = {}
    for line, row in read_table(path):
        where = f"{path}, line {line}"
        if (id_ := row.get("id", "")) in ids:
            raise DataError(f"duplicate id {id_!r} (first in line {ids[id_]})", where=where, next=_ONE)
        if id_:
            ids[id_] = line
        name, label = row["filename"], from_csv_cell(row.get("label", ""))
        if not name:
            raise DataError("empty filename", where=where, next="add the filename, or remove the line")
        if "label" in row and not label:
            raise DataError("empty label", where=where, next="add the label, or remove the line")
        if _FRACTION.fullmatch(label):
            raise DataError(
                f"label {label!r} is not an integer",
                where=where,
                next=f"write {label.partition('.')[0]}; with pandas: frame.label.astype(int)",
            )
        yield line, name, label


def _find_folder(path: Path, first: str) -> Path:
    beside = path.with_suffix("")
    return beside if (beside / _file_name(beside, first)).exists() else path.parent


def _file_name(folder: Path, cell: str) -> str:
    """The name in a cell: as it stands there, unless only the file that `predict` would write so is there."""
    written = from_csv_cell(cell)
    there = written != cell and not os.path.exists(folder / cell) and os.path.exists(folder / written)
    return written if there else cell


def _check(path: Path, folder: Path, rows: list[tuple[int, str, str]]) -> None:
    """Every file is there, and in one line alone, however its name is spelled."""
    seen: dict[str, tuple[str, int, str]] = {}
    for line, name, label in rows:
        key = os.path.normpath(name)
        if key in seen:
            first, earlier, other_label = seen[key]
            one = _ONE if label == other_label else f"an image has one label here: {_ONE}"
            other = f" as {first}" if first != name else ""
            where = f"{path}, line {line}"
            raise DataError(
                f"duplicate filename {name} (first in line {earlier}{other})", where=where, next=one
            )
        seen[key] = name, line, label
    missing = [(line, name) for line, name, _ in rows if not os.path.exists(folder / name)]
    if missing:
        line, name = missing[0]
        more = f", and {len(missing) - 1} more" if missing[1:] else ""
        where = f"{path}, line {line}{more}"
        faults = [(str(folder / name), f"file not found; {path}, line {line}") for line, name in missing]
        advice = meant(path, folder, name)
        raise DataError(f"image not found: {folder / name}", where=where, next=advice, faults=faults)


def _label_order(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


@hookimpl
def datasets() -> dict[str, object]:
    return {"csv_labels": csv_labels}
