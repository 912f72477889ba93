"""Image files named, with their labels, in a CSV file: `id,filename,label`."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from ssl_seg.data.files import FileDataset
from ssl_seg.errors import DataError, did_you_mean
from ssl_seg.hooks import hookimpl


def csv_labels(
    root: str, split: str, *, images: str | None = None, range: tuple[float, float] | None = None
) -> "CsvDataset":
    """The images of a CSV file with the columns `filename` and, unless unlabelled, `label`.

    Args:
        root: the CSV file, or a folder that holds `split.csv`.
        split: used when `root` is a folder.
        images: the folder the names are relative to. By default the folder beside the CSV with its
            name (`train/` for `train.csv`) if the first image is there, else the CSV's own.
        range: the values that become black and white in images of more than 8 bits.

    Raises:
        DataError: a column, a file or a label is missing, or a file or an id is there twice; with
            the line.
    """
    path = Path(root)
    if path.is_dir():
        path = path / f"{split or 'train'}.csv"
    rows = list(_read(path))
    if not rows:
        raise DataError(f"{path} names no image")
    folder = Path(images) if images else _find_folder(path, rows[0][1])
    _check(path, folder, rows)
    classes = sorted({label for _, _, label in rows if label}, key=_label_order)
    index = {label: place for place, label in enumerate(classes)}
    pairs = [(line, name, index.get(label, -1)) for line, name, label in rows]
    return CsvDataset(path, folder, pairs, classes, range=range)


class CsvDataset(FileDataset):
    """The images that a CSV file names.

    Args:
        path: of the CSV file.
        folder: the names in it are relative to.
        rows: (line, file name, class index or -1).
        classes: names of the classes.
        range: see `FileDataset`.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        rows: Sequence[tuple[int, str, int]],
        classes: Sequence[str],
        *,
        range: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(folder, ((name, target) for _, name, target in rows), classes, range=range)
        self.path, self._lines = path, array("q", (line for line, _, _ in rows))

    def origin(self, index: int) -> str:
        return f"{self.path}, line {self._lines[index]}: {self.samples[index][0]}"


def _read(path: Path) -> Iterator[tuple[int, str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if "filename" not in columns:
                raise DataError(
                    f"no column 'filename'{did_you_mean('filename', columns)}",
                    where=f"{path}, line 1: {', '.join(columns)}",
                )
            ids: dict[str, int] = {}
            for row in reader:
                _only_once(ids, (row.get("id") or "").strip(), reader.line_num, path)
                name, label = (row["filename"] or "").strip(), (row.get("label") or "").strip()
                if not name:
                    raise DataError("an empty file name", where=f"{path}, line {reader.line_num}")
                if "label" in columns and not label:
                    raise DataError("an empty label", where=f"{path}, line {reader.line_num}")
                yield reader.line_num, name, label
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _only_once(ids: dict[str, int], id_: str, line: int, path: Path) -> None:
    if id_ in ids:
        raise DataError(f"id {id_!r} is also in line {ids[id_]}", where=f"{path}, line {line}")
    if id_:
        ids[id_] = line


def _find_folder(path: Path, first: str) -> Path:
    beside = path.with_suffix("")
    return beside if (beside / first).exists() else path.parent


def _check(path: Path, folder: Path, rows: list[tuple[int, str, str]]) -> None:
    seen: dict[str, int] = {}
    for line, name, _ in rows:
        if name in seen:
            raise DataError(f"{name} is also in line {seen[name]}", where=f"{path}, line {line}")
        seen[name] = line
        if not (folder / name).exists():
            raise DataError(f"no such image: {folder / name}", where=f"{path}, line {line}")


def _label_order(label: str) -> tuple[int, int, str]:
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


@hookimpl
def datasets() -> dict[str, object]:
    return {"csv_labels": csv_labels}
