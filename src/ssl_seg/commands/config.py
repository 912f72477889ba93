"""Where the values of flags come from besides the shell.

A TOML file holds nothing but defaults for flags: `batch_size = 64`, or `o.ssl.decay = 0.99` for
`-o ssl.decay=0.99`. A run's own `run.toml` is such a file; its table `record` is passed over.
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from ssl_seg.engine.run_settings import FREE, check_parts, read_settings
from ssl_seg.errors import UsageError, WeightsError, did_you_mean
from ssl_seg.utils.code_names import TypedName, name_it_again, names_code, resuming
from ssl_seg.utils.toml import read_toml, to_toml

_OPTIONS = "ssl_seg.options"  # where a context keeps the options of a TOML file
GROUPS = ("ssl", "backbone", "head", "data", "val", "probe", "metric")


def settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a training command's parameters as `run.toml` holds them, `-o` read as `o`.

    All of them have been typed by a person: what `run.toml` names at `--resume` gets no further than `_take_values`.

    Raises:
        UsageError: a malformed `-o`, a batch that cannot be cut, or a value that is no Unicode text.
    """
    given = {
        name: TypedName(value) if isinstance(value, str | Path) else value for name, value in values.items()
    }
    for name in ("out", "config", "resume", "option", "progress"):
        del given[name]
    given["o"] = read_options(values["option"] or [])
    check_parts(given, 1)
    to_toml(given)  # what run.toml cannot hold is found before the images are read
    return given


def read_options(texts: list[str]) -> dict[str, dict[str, str]]:
    """`["ssl.decay=0.99"]` -> `{"ssl": {"decay": "0.99"}}`.

    Raises:
        UsageError: malformed, or not of a part that has options.
    """
    options: dict[str, dict[str, str]] = {}
    for text in texts:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", text)
        if not match:
            raise UsageError(f"not an option: {text!r}", next="-o ssl.decay=0.99")
        group, key, value = match.groups()
        if group not in GROUPS:
            raise UsageError(
                f"no part {group!r} has options{did_you_mean(group, GROUPS)}",
                where=text,
                next=f"one of {', '.join(GROUPS)}",
            )
        options.setdefault(group, {})[key] = value
    return options


def defaults_from(
    values: Mapping[str, Any], path: Path, known: Iterable[str]
) -> tuple[dict[str, str], list[str]]:
    """What a TOML file says, as the shell would have said it: values of flags, and texts for `-o`.

    Args:
        values: what was read from the file at `path`.

    Raises:
        UsageError: a key that is no flag, or a value that no flag takes; with its line.
    """
    values = {key: value for key, value in values.items() if key != "record"}
    options = [
        f"{group}.{key}={as_text(value)}"
        for group, table in _table(path, "o", values.pop("o", {})).items()
        for key, value in _table(path, f"o.{group}", table).items()
    ]
    defaults: dict[str, str] = {}
    flags = {name.replace("-", "_") for name in known} - {"config", "resume", "option", "help"}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in flags:
            raise UsageError(
                f"unknown key {key!r}{did_you_mean(name, [*flags, 'o'])}", where=f"{path}{_line(path, key)}"
            )
        if isinstance(value, dict | list):
            raise UsageError(f"{key!r} takes one value", where=f"{path}{_line(path, key)}")
        defaults[name] = as_text(value)
    return defaults, options


def _table(path: Path, key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        where = f"{path}{_line(path, key.rpartition('.')[2])}"
        raise UsageError(f"{key!r} must be a table", where=where, next="o.ssl.decay = 0.99")
    return value


def as_text(value: Any) -> str:
    """A value of a TOML file, as the shell would have it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _line(path: Path, key: str) -> str:
    if not path.exists():  # it is read from a checkpoint
        return ""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = line.split("=")[0].strip().strip("[]").replace("-", "_").split(".")
        if key.replace("-", "_") in (word.strip().strip("\"'") for word in words):
            return f", line {number}"
    return ""


def take_config(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of `--config`: what the file says become defaults."""
    if path is not None:
        _take_values(context, read_toml(path), path)
    return path


def _take_values(
    context: typer.Context, values: Mapping[str, Any], path: Path, run: Path | None = None
) -> None:
    """Make what a TOML file says the defaults of flags.

    Args:
        run: the file is this run's own, and not the person's: code that it names must be typed again. A
            default that is a function is called only where there is no other value.
    """
    known = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    found, options = defaults_from(values, path, known)
    defaults: dict[str, Any] = dict(context.default_map or {})
    for name, value in found.items():
        if run is not None and name not in FREE and names_code(value):
            again = resuming(str(context.info_name), run, found)
            defaults.setdefault(name, partial(name_it_again, value, path, again))
        else:
            _check_value(context, known[name], value, path)
            defaults[name] = value
    context.default_map = defaults
    context.meta[_OPTIONS] = [*context.meta.get(_OPTIONS, []), *options]


def _check_value(context: typer.Context, parameter: Any, value: str, path: Path) -> None:
    """The shell's own check, so that what is wrong can be told with the file and the line.

    Raises:
        UsageError: the flag does not take the value.
    """
    if parameter.callback is not None:  # only --out has one, and it takes any text
        return
    try:
        parameter.process_value(context, value)
    except typer.BadParameter as error:
        reason = error.message.strip().rstrip(".").lower()
        where = f"{path}{_line(path, parameter.name)}"
        raise UsageError(f"{parameter.name!r}: {reason}, got {value!r}", where=where) from error


def add_options(context: typer.Context, given: list[str] | None) -> list[str]:
    """Those of the file, then those of the shell: of two that say different things the last holds."""
    return [*context.meta.get(_OPTIONS, []), *(given or [])]


def note_out(context: typer.Context, out: Path | None) -> Path | None:
    """Callback of `--out`: see `_take_run`."""
    _take_run(context, out, context.params.get("resume", False))
    return out


def note_resume(context: typer.Context, resume: bool) -> bool:
    """Callback of `--resume`: see `_take_run`."""
    _take_run(context, context.params.get("out"), resume)
    return resume


def _take_run(context: typer.Context, out: Path | None, resume: bool) -> None:
    """`--resume --out RUN`: what the run was started with holds, unless a flag says otherwise.

    Raises:
        WeightsError: there is no run; `run.toml` is damaged or was edited. UsageError: it is of another command.
    """
    if not resume or out is None:
        return
    settings, path = read_settings(out), out / "run.toml"
    record = settings.get("record")
    command = record.get("command") if isinstance(record, dict) else None
    if not isinstance(command, str):
        raise WeightsError("run.toml is damaged: its table [record] names no command", where=str(path))
    if command != context.info_name:
        way = resuming(command, out, settings)
        raise UsageError(f"{out} holds a run of `ssl-seg {command}`", next=way)
    try:
        _take_values(context, settings, path, out)
    except UsageError as error:
        raise WeightsError(f"run.toml is damaged: {error.what}", where=error.where or str(path)) from error
