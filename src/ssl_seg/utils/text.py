"""Text from outside, made safe for the place where it is shown.

A file's name, a class, or what a plugin says with its exception may hold anything: control characters that
move a terminal's cursor, line breaks that forge a line, bytes that are no letters, formulas.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# controls, the other line separators, what reverses the order of letters, and halves of surrogate pairs,
# which is how Python holds the bytes of a file name that is not UTF-8
_UNSAFE = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ESCAPE = re.compile(r"\\(x5c|x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2})")


def shown(text: object) -> str:
    r"""A text as one line that a terminal only prints: `\n`, `\x1b`, `\u202e`, and `\xff` of a byte."""
    return re.sub(f"[{_UNSAFE}]", lambda found: _escaped(found[0]), str(text))


def shown_lines(text: object) -> str:
    """As `shown`, of a text whose line breaks are meant."""
    return "\n".join(map(shown, str(text).split("\n")))


def listed(lines: Iterable[object]) -> str:
    """Lines for the `where` of an error, below one another; a line break in one of them is not one there."""
    return "\n       ".join(map(shown, lines))


def strip_unprintable(text: object) -> str:
    """A text for a document: what cannot be shown there is one replacement character each."""
    return re.sub(
        f"[{_UNSAFE}\ufffe\uffff]", lambda found: found[0] if found[0] in "\t\n" else "\ufffd", str(text)
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    escapes = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
    return escapes.get(letter) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")


def csv_text(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table as CSV; see `csv_cell`."""
    text = io.StringIO(newline="")
    lines = ([csv_cell(value) for value in line] for line in (header, *rows))
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def csv_cell(value: object) -> object:
    r"""A cell that no spreadsheet runs as a formula, in a file that is UTF-8.

    A text that begins with `=`, `+`, `-`, `@`, a tab or CR and is no number gets a `'` before it. A byte of a
    file name that is no letter becomes `\xff`, and then a backslash of the name `\x5c`. `from_csv_cell` reverses
    both, and leaves all other texts as they are.
    """
    if not isinstance(value, str):
        return value
    if re.search("[\ud800-\udfff]", value) or _ESCAPE.search(value):
        value = re.sub("[\ud800-\udfff]", lambda found: _escaped(found[0]), value.replace("\\", r"\x5c"))
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def from_csv_cell(text: str) -> str:
    """The text that `csv_cell` made a cell of."""
    text = text[1:] if text.startswith("'") and _FORMULA.match(text) else text
    return _ESCAPE.sub(lambda found: _unescaped(found[1]), text)


def _unescaped(code: str) -> str:
    number = int(code[1:], 16)
    return chr(number + 0xDC00 if code[0] == "x" and number >= 0x80 else number)


def first_lines(lines: Sequence[str], most: int = 5) -> str:
    """The first lines as the detail of an error, and how many more there are."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return listed([*lines[:most], *more])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, column below column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def size_text(count: float) -> str:
    """A number of bytes: `812 bytes`, `3.4 KiB`, `12 MiB`, `1.8 GiB`."""
    if count < 1024:
        return f"{count:.0f} byte{'s' * (round(count) != 1)}"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            break
    else:
        count, unit = count / 1024, "TiB"
    return f"{count:.1f}".removesuffix(".0") + f" {unit}"


def brief(number: int, digits: int = 3) -> str:
    """`134000000` -> `134 M`, with so many significant digits."""
    for unit, name in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit * 0.9995:  # 999,999 is 1 M
            return f"{number / unit:#.{digits}g}".rstrip(".") + name
    return str(number)


def short_name(spec: str) -> str:
    """`./my_method.py:Mine` -> `Mine`, `csv:office/train.csv` -> `train`: for the name of a folder."""
    return Path(spec.rpartition(".py:")[2]).stem or "data"


def split_names(text: str) -> list[str]:
    """`a, b` -> `["a", "b"]`; typed names if the text was typed."""
    return [type(text)(name) for word in text.split(",") if (name := word.strip())]


def format_duration(seconds: float) -> str:
    """`1 h 20 min`, `3 min 5 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole} s"
