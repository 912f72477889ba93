"""Files of Arrow and Parquet, as Hugging Face's `datasets` writes them: which columns there are, and rows of them."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

from ssl_seg.data.files import subfolders
from ssl_seg.data.splits import kind_of
from ssl_seg.errors import DataError, did_you_mean
from ssl_seg.utils.toml import parse_json

_MASK_NAMES = ("mask", "label", "annotation", "segmentation", "label_map", "gt")
_GROUPS = 4  # of Parquet rows that stay decoded


def find_tables(root: Path, split: str) -> list[Path]:
    """The files of a folder, in order: those of a split, where files or subfolders are named after splits.

    Raises:
        DataError: there is none.
    """
    if root.is_file():
        return [root]
    found = [path for ending in ("arrow", "parquet") for path in sorted(root.rglob(f"*.{ending}"))]
    found = [path for path in found if not path.name.startswith(("cache-", "."))]
    if not found:
        what = f"no Arrow or Parquet file in {root}" if root.is_dir() else f"folder not found: {root}"
        raise DataError(what, next="datasets.load_dataset(NAME).save_to_disk(FOLDER)  # writes such files")
    kinds = [_kind(path, root) for path in found]
    named = {kind for kind in kinds if kind}
    wanted = kind_of(split) or "train"
    if not named:
        return found
    if wanted not in named:
        folders = [name for name in subfolders(root) if kind_of(name) in named]
        raise DataError(
            f"{root} has no split {wanted}; there are {', '.join(sorted(named))}",
            next=f"hf:{root / folders[0]}" if folders else f"ls {root}",
        )
    return [path for path, kind in zip(found, kinds, strict=True) if kind == wanted]


def _kind(path: Path, root: Path) -> str | None:
    """`train`, `val` or `test`, by the name of a folder, or the first word of the file's."""
    words = [*path.relative_to(root).parts[:-1], path.stem.split("-")[0].split("_")[0].split(".")[0]]
    return next((kind for kind in map(kind_of, words) if kind), None)


class ArrowTable:
    """Rows of several files.

    Args:
        paths: of files of one schema.

    Raises:
        DataError: pyarrow is not installed, or a file cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            what = "to read tables of Hugging Face, pyarrow is needed"
            raise DataError(what, next="pip install 'ssl-seg[hf]'") from error
        self._parts: list[tuple[Path, int, int]] = []  # file, group of rows, first row of it in the file
        self._opened: dict[Path, Any] = {}
        counts = []
        for path in paths:
            first = 0
            for group, count in enumerate(self._open(path)):
                self._parts.append((path, group, first))
                counts.append(count)
                first += count
        self._ends = list(accumulate(counts))
        if not self._ends or not self._ends[-1]:
            raise DataError(f"{paths[0]} has no rows", next="another folder")
        self.schema: Any = _schema(self._opened[paths[0]])
        self._lock = Lock()
        self._group = lru_cache(_GROUPS)(self._read_group)

    def __len__(self) -> int:
        return self._ends[-1]

    def _open(self, path: Path) -> list[int]:
        """Open a file, and return the lengths of its groups of rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if path.suffix == ".parquet":
                opened = pq.ParquetFile(path, memory_map=True)
                self._opened[path] = opened
                return [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
            source = pa.memory_map(str(path))
            try:
                table = pa.ipc.open_stream(source).read_all()
            except pa.ArrowInvalid:  # the format of `feather`, with an index at its end
                table = pa.ipc.open_file(source).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"cannot read {path.name}: {reason}", where=str(path), next="write it again"
            ) from error
        self._opened[path] = table
        return [table.num_rows]

    def _read_group(self, path: Path, group: int, column: str) -> Any:
        opened = self._opened[path]
        if path.suffix != ".parquet":
            return opened.column(column)
        return opened.read_row_group(group, columns=[column]).column(column)

    def _at(self, index: int) -> tuple[Path, int, int, int]:
        """The file of a row, its group, the first row of that in the file, and the number of the row in the group."""
        part = bisect_right(self._ends, index)
        return *self._parts[part], index - (self._ends[part - 1] if part else 0)

    def location(self, index: int) -> tuple[Path, int]:
        """The file of a row, and its number there."""
        path, _, first, row = self._at(index)
        return path, first + row

    def content(self, index: int, column: str) -> bytes:
        """The bytes of an image.

        Raises:
            ValueError: there are none: the table has a path, or nothing.
        """
        path, group, _, row = self._at(index)
        with self._lock:
            values = self._group(path, group, column)
        value = values[row].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(content, bytes):
            return content
        if isinstance(value, dict) and value.get("path"):
            raise ValueError(
                f"the table names {value['path']} and does not hold it: save_to_disk embeds images"
            )
        raise ValueError(f"column {column!r} has no bytes of an image, but {type(content).__name__}")

    def image_columns(self, image: str | None, mask: str | None) -> tuple[str, str]:
        """The columns of images and of masks; the second is empty if there is none.

        Raises:
            DataError: there is no such column.
        """
        there = [name for name in self.schema.names if self._holds_images(name)]
        for name in (image, mask):
            if name is not None and name not in self.schema.names:
                raise self._missing(name)
        masks = [name for name in there if name.lower() in _MASK_NAMES and name != image]
        images = [name for name in there if name not in masks and name != mask]
        if image is None and not images:
            raise self._missing("image")
        found = image or images[0]
        return found, mask or next((name for name in masks if name != found), "")

    def labels(self, column: str | None) -> tuple[list[str], list[int]]:
        """Names of the classes, and the index of each row; no names and -1 without labels.

        Raises:
            DataError: there is no such column, or it holds something else.
        """
        features = self._features()
        if column is None:
            kinds = [name for name, feature in features.items() if _type(feature) == "ClassLabel"]
            column = next(iter(kinds), "label" if "label" in self.schema.names else None)
        if column is None:
            return [], [-1] * len(self)
        if column not in self.schema.names:
            raise self._missing(column)
        values: list[Any] = []
        for path, group, _ in self._parts:
            values += self._read_group(path, group, column).to_pylist()
        return self._named(column, values, features.get(column, {}).get("names"))

    def _named(self, column: str, values: list[Any], names: Any) -> tuple[list[str], list[int]]:
        if all(value is None or type(value) is int for value in values):
            highest = max((value for value in values if value is not None), default=-1)
            known = list(map(str, names)) if isinstance(names, list) else [str(n) for n in range(highest + 1)]
            if highest >= len(known):
                raise DataError(
                    f"label {highest} with {len(known)} classes", next="-o data.classes=NAME,NAME,..."
                )
            return known, [-1 if value is None or value < 0 else value for value in values]
        if all(value is None or isinstance(value, str) for value in values):
            known = sorted({value for value in values if value})
            index = {name: number for number, name in enumerate(known)}
            return known, [index.get(value or "", -1) for value in values]
        kind = type(next(value for value in values if value is not None)).__name__
        raise DataError(f"column {column!r} holds {kind}, and not one label", next="-o data.label=COLUMN")

    def _features(self) -> dict[str, Any]:
        """What `datasets` says of the columns."""
        text = (self.schema.metadata or {}).get(b"huggingface", b"{}")
        try:
            features = parse_json(text)["info"]["features"]
        except (ValueError, KeyError, TypeError):
            return {}
        return {key: value for key, value in features.items() if isinstance(value, dict)}

    def _holds_images(self, name: str) -> bool:
        import pyarrow as pa

        kind = self.schema.field(name).type
        has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        return bool(has_bytes or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def _missing(self, name: str) -> DataError:
        names = list(self.schema.names)
        return DataError(
            f"no column {name!r} of images or labels{did_you_mean(name, names)}",
            where=f"columns: {', '.join(names)}",
            next="-o data.image=COLUMN -o data.label=COLUMN",
        )


def _type(feature: Any) -> str:
    return str(feature.get("_type", "")) if isinstance(feature, dict) else ""


def _schema(opened: Any) -> Any:
    return opened.schema_arrow if hasattr(opened, "schema_arrow") else opened.schema
