"""Reading a CSV file by the names of its columns, and what is said of one that cannot be read so."""

import csv
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ssl_seg.data.decode import EXTENSIONS
from ssl_seg.errors import DataError, did_you_mean

_SEPARATORS = ",;\t"
_LIKE = {
    "filename": r"file|image|img|path|name|picture|photo",
    "mask": r"mask|label|annotation|target|truth|gt|seg",
    "label": r"class|categor|target|labels|species|y$|annotation",
}


def read_table(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of a CSV file with the column `filename`, each with the line it ends in.

    Columns are named by the first line, in any case. They are separated by commas, or by semicolons or tabs if
    the first line is. Values come without the space around them.

    Raises:
        DataError: no such column, two of one name, a row of other length, or no text in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns, separator = _header(file.readline(), path)
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            next(reader)
            for values in reader:
                if not values:
                    continue
                if any(value.strip() for value in values[len(columns) :]):
                    raise DataError(
                        f"{len(values)} values for {len(columns)} columns",
                        where=f"{path}, line {reader.line_num}",
                        next="put double quotes around a value with a comma",
                    )
                filled = [value.strip() for value in values] + [""] * len(columns)
                yield reader.line_num, dict(zip(columns, filled, strict=False))
    except UnicodeDecodeError as error:
        raise _no_utf8(path) from error
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}", next=f"ls -l {path.parent}") from error


def column_names(path: Path) -> list[str]:
    """Names in the first line; see `read_table`."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return _header(file.readline(), path)[0]


def one_hot_columns(path: Path) -> list[str]:
    """Columns of 0 and 1 alone, if there are several: each is a class that an image has or not."""
    rows = [row for _, row in read_table(path)]
    names = [name for name in column_names(path) if name not in ("filename", "id")]
    found = [name for name in names if rows and {row[name] for row in rows} <= {"0", "1"}]
    return found if len(found) > 1 else []


def like(column: str, columns: Sequence[str]) -> str:
    """The one of several columns that may be meant by another name; empty if none is."""
    near = [name for name in columns if did_you_mean(column, [name])]
    alike = [name for name in columns if re.search(_LIKE[column], name)]
    return next(iter(near + alike), "")


def how_to_name(path: Path, column: str, columns: Sequence[str]) -> str:
    """How a column gets the name it must have: a command, if it can be guessed which one it is."""
    if not (found := like(column, columns)):
        return f"rename one of them to {column}"
    return f"sed -i.bak {shlex.quote(f'1s/{re.escape(found)}/{column}/I')} {shlex.quote(str(path))}"


def _header(line: str, path: Path) -> tuple[list[str], str]:
    """The names in the first line, and what separates them."""
    read = {one: next(csv.reader([line], delimiter=one, skipinitialspace=True), []) for one in _SEPARATORS}
    named = {one: [name.strip().casefold() for name in names] for one, names in read.items()}
    separator = max(_SEPARATORS, key=lambda one: ("filename" in named[one], len(named[one])))
    columns = named[separator]
    shown = f"{path}, line 1: {', '.join(columns)}"
    if "filename" not in columns:
        if any(Path(name).suffix in EXTENSIONS for name in columns):
            raise DataError(
                "the first line has no column names",
                where=shown,
                next=f"sed -i.bak '1i filename,label' {shlex.quote(str(path))}",
            )
        found = like("filename", columns)
        guess = f"; did you mean {found!r}?" if found else ""
        raise DataError(
            f"no column 'filename'{guess}", where=shown, next=how_to_name(path, "filename", columns)
        )
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise DataError(f"duplicate column {twice[0]!r}", where=shown, next="rename or remove one of them")
    return columns, separator


def _no_utf8(path: Path) -> DataError:
    with path.open("rb") as file:
        start = file.read(2)
    coding = "UTF-16" if start in (b"\xff\xfe", b"\xfe\xff") else "WINDOWS-1252"
    name = shlex.quote(str(path))
    return DataError(
        f"cannot read {path}: not UTF-8 text",
        next=f"iconv -f {coding} -t UTF-8 {name} > utf8.csv && mv utf8.csv {name}",
    )
