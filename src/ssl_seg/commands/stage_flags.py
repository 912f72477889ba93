"""Checks the flags of a study's stages against the parameters of the commands."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer

from ssl_seg.engine.run_settings import RESUME_OVERRIDABLE
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.study.config import LABELING, is_reference
from ssl_seg.study.planner import Check
from ssl_seg.workflows.flag_values import GROUPS, PARTS, read_options

_RESERVED_FLAGS = frozenset({"out", "config", "resume", "option"})  # a command that has them can be a stage
_LABELING_FLAGS = _RESERVED_FLAGS - {"resume"}


def flag_validator(context: typer.Context) -> Check:
    """Return a function that checks flags against the parameters of the registered commands."""
    commands = getattr(context.find_root().command, "commands", {})

    def check(
        command: str, flags: Mapping[str, Any], where: Callable[[str], str]
    ) -> tuple[dict[str, Any], list[str]]:
        parameters = {p.name: p for p in commands[command].params} if command in commands else {}
        if not _needed(command) <= parameters.keys():
            able = [name for name, each in commands.items() if _needed(name) <= {p.name for p in each.params}]
            raise UsageError(
                f"no command {command!r} for a stage{did_you_mean(command, able)}",
                where=where("command"),
                next=f"one of {', '.join(able)}",
            )
        names = (parameters.keys() | {"o"}) - _RESERVED_FLAGS - {"auto_resume", "progress", "dry_run"}
        texts = []
        for key, value in flags.items():
            if key not in names:
                raise UsageError(f"unknown key {key!r}{did_you_mean(key, names)}", where=where(key))
            if key == "o":
                texts += [
                    text
                    for text in _options(value, PARTS.get(command, GROUPS), where)
                    if not text.isidentifier()
                ]
            elif not isinstance(value, str | int | float):
                raise UsageError(f"{key!r} takes one value, not {value!r}", where=where(key))
            elif is_reference(value):
                if not parameters[key].metavar:
                    raise UsageError(f"{key!r} takes no run of another stage", where=where(key))
            else:
                _check_value(context, parameters[key], value, where)
                # a bare word may be a folder only where one is asked for: `byol` is a method
                named = isinstance(value, str) and (parameters[key].metavar or not value.isidentifier())
                texts += [str(value)] if named and key not in RESUME_OVERRIDABLE else []
        return {key: value for key, value in flags.items() if key not in RESUME_OVERRIDABLE}, texts

    return check


def _needed(command: str) -> frozenset[str]:
    """The flags of a command that can be a stage."""
    return _LABELING_FLAGS if command in LABELING else _RESERVED_FLAGS


def _options(tables: Any, parts: Sequence[str], where: Callable[[str], str]) -> Iterator[str]:
    """The texts among the options of parts, once all are known to be options."""
    for part, table in (tables if isinstance(tables, dict) else {"o": tables}).items():
        values = list(table.values()) if isinstance(table, dict) else [None]
        if not all(isinstance(value, str | int | float | list) for value in values):
            raise UsageError(
                f"{part!r} must be a table of options", where=where("o"), next="o.ssl.decay = 0.97"
            )
        try:
            read_options([f"{part}.{key}={value}" for key, value in table.items()], parts)
        except UsageError as error:
            raise UsageError(error.what, where=where("o"), next=error.next) from error
        yield from (value for value in values if isinstance(value, str))


def _check_value(context: typer.Context, parameter: Any, value: object, where: Callable[[str], str]) -> None:
    """As the shell's own check, before anything is run."""
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        parameter.process_value(context, [text] if parameter.nargs == -1 else text)
    except typer.BadParameter as error:
        reason = error.message.strip().rstrip(".").lower()
        name = parameter.name
        raise UsageError(f"{name!r}: {reason}, got {text!r}", where=where(name)) from error
