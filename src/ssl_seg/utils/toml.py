"""Reading and writing TOML, and reading JSON."""

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_seg.errors import UsageError
from ssl_seg.utils.files import similar_name

_RENAME = "rename it, or create a link to it: ln -s"


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: it is missing or malformed; with the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        near = similar_name(path)
        raise UsageError(f"no such file: {path}{near}", next=f"ls {path.parent}") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", next=f"ls -ld {path}") from error
    except RecursionError as error:
        raise UsageError("not valid TOML: nested too deeply", where=str(path)) from error
    except ValueError as error:  # among others of a number with too many digits
        raise UsageError(f"not valid TOML: {error}", where=str(path)) from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else.
    """
    return _object(path.read_text(encoding="utf-8-sig"))


def _object(text: str) -> dict[str, Any]:
    content = parse_json(text)
    if isinstance(content, dict):
        return content
    raise ValueError("not a JSON object")


def parse_json(text: str | bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def to_toml(values: Mapping[str, Any], table: str = "") -> str:
    """A nested dict of numbers, texts, lists and truths as TOML; None is left out.

    Raises:
        UsageError: a text that is not Unicode (a file name of other bytes), which TOML cannot hold.
    """
    lines, tables = [], []
    for key, value in values.items():
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)
        if isinstance(value, Mapping):
            path = f"{table}.{name}" if table else name
            tables.append(f"\n[{path}]\n{to_toml(value, path)}")
        elif value is not None:
            lines.append(f"{name} = {_toml_value(value)}\n")
    return "".join(lines + tables)


def _toml_value(value: Any) -> str:
    """As JSON, where TOML is the same: all but DEL, and numbers that are not finite."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UsageError(f"not Unicode text: {value!r}", next=_RENAME)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
