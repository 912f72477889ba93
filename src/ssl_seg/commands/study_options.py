"""The flags of a study's stages, held against the commands and the components before anything is run."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from ssl_seg.engine.run_settings import FREE
from ssl_seg.errors import PluginError, UsageError, did_you_mean
from ssl_seg.study.config import Stage, StudyFile, is_reference
from ssl_seg.study.planner import Check
from ssl_seg.utils.code_names import TypedName
from ssl_seg.utils.text import names_in
from ssl_seg.workflows.flag_values import as_text, read_options

if TYPE_CHECKING:
    from ssl_seg.registry import Registry

_OURS = frozenset({"out", "config", "resume", "option"})  # a command that has them can be a stage
# flags that name components
_KINDS = {"ssl": "ssl", "backbone": "backbones", "head": "heads", "metric": "metrics"}


def checker(context: typer.Context) -> Check:
    """Judges flags by the parameters of the commands that this program has."""
    commands = getattr(context.find_root().command, "commands", {})

    def check(
        command: str, given: Mapping[str, Any], where: Callable[[str], str]
    ) -> tuple[dict[str, Any], list[str]]:
        parameters = {p.name: p for p in commands[command].params} if command in commands else {}
        if not _OURS <= parameters.keys():
            able = [name for name, each in commands.items() if _OURS <= {p.name for p in each.params}]
            raise UsageError(
                f"no command {command!r} for a stage{did_you_mean(command, able)}",
                where=where("command"),
                next=f"one of {', '.join(able)}",
            )
        known = (parameters.keys() | {"o"}) - _OURS - {"progress"}
        texts = []
        for key, value in given.items():
            if key not in known:
                raise UsageError(f"unknown key {key!r}{did_you_mean(key, known)}", where=where(key))
            if key == "o":
                texts += [text for text in _options(value, where) if not text.isidentifier()]
            elif not isinstance(value, str | int | float):
                raise UsageError(f"{key!r} takes one value, not {value!r}", where=where(key))
            elif is_reference(value):
                if not parameters[key].metavar:
                    raise UsageError(f"{key!r} takes no run of another stage", where=where(key))
            else:
                _check_value(context, parameters[key], value, where)
                # a bare word may be a folder only where one is asked for: `byol` is a method
                named = isinstance(value, str) and (parameters[key].metavar or not value.isidentifier())
                texts += [str(value)] if named and key not in FREE else []
        return {key: value for key, value in given.items() if key not in FREE}, texts

    return check


def _options(parts: Any, where: Callable[[str], str]) -> Iterator[str]:
    """The texts among the options of parts, once all are known to be options."""
    tables: dict[str, Any] = parts if isinstance(parts, dict) else {"o": parts}
    for part, table in tables.items():
        values = list(table.values()) if isinstance(table, dict) else [None]
        if not all(isinstance(value, str | int | float | list) for value in values):
            raise UsageError(
                f"{part!r} must be a table of options", where=where("o"), next="o.ssl.decay = 0.97"
            )
        try:
            read_options([f"{part}.{key}={value}" for key, value in table.items()])
        except UsageError as error:
            raise UsageError(error.what, where=where("o"), next=error.next) from error
        yield from (value for value in values if isinstance(value, str))


def _check_value(context: typer.Context, parameter: Any, value: object, where: Callable[[str], str]) -> None:
    """As the shell's own check, before anything is run."""
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        parameter.process_value(context, text)
    except typer.BadParameter as error:
        reason = error.message.strip().rstrip(".").lower()
        name = parameter.name
        raise UsageError(f"{name!r}: {reason}, got {text!r}", where=where(name)) from error


def check_parts(file: StudyFile) -> None:
    """Whether there are the methods, backbones, heads and metrics that stages name, and have the options given to them.

    Likewise whether a rate is known for an optimizer that a stage names.

    Raises:
        UsageError: with the line in the study's file.
        PluginError: one cannot be loaded.
    """
    named = [(stage, flag) for stage in file.stages.values() for flag in _KINDS if flag in stage.flags]
    optimized = [stage for stage in file.stages.values() if "optimizer" in stage.flags]
    if not named and not optimized:  # the usual ones
        return
    from ssl_seg.plugins import load_plugins
    from ssl_seg.registry import check_options

    registry = load_plugins().registry
    for stage, flag in named:
        text, place = TypedName(stage.flags[flag]), file.where_flag(stage, flag)  # in a person's own file
        try:
            if flag == "metric":  # its options are those of the command's own
                for name in names_in(text):
                    registry.factory("metrics", name)
                continue
            factory = registry.factory(_KINDS[flag], text)
            given = stage.flags.get("o", {}).get(flag, {})
            place = _where_option(file, stage, flag) if given else place
            check_options(factory, f"{flag} {text}", {key: as_text(value) for key, value in given.items()})
        except (UsageError, PluginError) as error:
            error.where = place
            raise
    for stage in optimized:
        try:
            _check_rate(stage, registry)
        except (UsageError, PluginError) as error:
            error.where = file.where_flag(stage, "optimizer")
            raise


def _check_rate(stage: Stage, registry: "Registry") -> None:
    from ssl_seg.engine.recipe import resolve
    from ssl_seg.workflows.classify import CLASSIFICATION
    from ssl_seg.workflows.segment import SEGMENTATION

    recipes = {"classify": CLASSIFICATION.recipe, "segment": SEGMENTATION.recipe}
    whose, recipe = f"ssl-seg {stage.command}", recipes.get(stage.command)
    if stage.command == "train":
        whose = f"ssl method {stage.flags.get('ssl', 'byol')}"
        recipe = getattr(registry.factory("ssl", str(stage.flags.get("ssl", "byol"))), "recipe", {})
    if recipe is not None:
        given = {"lr": None, "weight_decay": None, "warmup": None, "batch_size": 64} | dict(stage.flags)
        resolve(given, recipe, whose)


def _where_option(file: StudyFile, stage: Stage, flag: str) -> str:
    own = flag in file.flags("stages", stage.name).get("o", {})
    return file.where(*(("stages", stage.name) if own else ("defaults", stage.command)), "o", flag)
