"""Where the values of flags come from besides the shell.

A TOML file holds nothing but defaults for flags: `batch_size = 64`, or `o.ssl.decay = 0.99` for
`-o ssl.decay=0.99`. A run's own `run.toml` is such a file; its table `record` is passed over.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import typer

from ssl_seg.engine.run_settings import RESUME_OVERRIDABLE, can_resume, read_settings
from ssl_seg.errors import UsageError, WeightsError
from ssl_seg.utils.code_names import name_it_again, names_code, resuming
from ssl_seg.utils.toml import read_toml
from ssl_seg.workflows.flag_values import (
    defaults_from,
    line_of,
    read_options,  # noqa: F401  plugins take it from here
)

_OPTIONS = "ssl_seg.options"  # where a context keeps the options of a TOML file


def config_callback(context: typer.Context, path: Path | None) -> Path | None:
    """Callback of `--config`: what the file says become defaults."""
    if path is not None:
        _set_defaults(context, read_toml(path), path)
    return path


def _set_defaults(
    context: typer.Context, values: Mapping[str, Any], path: Path, run: Path | None = None
) -> None:
    """Make what a TOML file says the defaults of flags.

    Args:
        run: the file is this run's own, and not the person's: code that it names must be typed again. A
            default that is a function is called only where there is no other value.
    """
    parameters = {parameter.name: parameter for parameter in context.command.params if parameter.name}
    values_of_file, options = defaults_from(values, path, parameters)
    defaults: dict[str, Any] = dict(context.default_map or {})
    for name, value in values_of_file.items():
        if run is not None and name not in RESUME_OVERRIDABLE and names_code(value):
            resume_command = resuming(str(context.info_name), run, values_of_file)
            defaults.setdefault(name, partial(name_it_again, value, path, resume_command))
        else:
            several = [value] if parameters[name].nargs == -1 else value
            _check_value(context, parameters[name], several, path)
            defaults[name] = several
    context.default_map = defaults
    context.meta[_OPTIONS] = [*context.meta.get(_OPTIONS, []), *options]


def _check_value(context: typer.Context, parameter: Any, value: str | list[str], path: Path) -> None:
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
        where = f"{path}{line_of(path, parameter.name)}"
        raise UsageError(f"{parameter.name!r}: {reason}, got {value!r}", where=where) from error


def add_options(context: typer.Context, typed: list[str] | None) -> list[str]:
    """Those of the file, then those of the shell: of two that say different things the last holds."""
    return [*context.meta.get(_OPTIONS, []), *(typed or [])]


def run_callback(context: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    """Callback of `--out`, `--resume` and `--auto-resume`, whichever comes last: see `_load_run_defaults`."""
    values = {**context.params, parameter.name: value}
    out = values.get("out")
    if out is not None and (values.get("resume") or (values.get("auto_resume") and can_resume(out))):
        _load_run_defaults(context, out)
    return value


def _load_run_defaults(context: typer.Context, out: Path) -> None:
    """`--resume --out RUN`: what the run was started with holds, unless a flag says otherwise.

    Raises:
        WeightsError: there is no run; `run.toml` is damaged or was edited. UsageError: it is of another command.
    """
    config, path = read_settings(out), out / "run.toml"
    record = config.get("record")
    command = record.get("command") if isinstance(record, dict) else None
    if not isinstance(command, str):
        raise WeightsError("run.toml is corrupt: its table [record] names no command", where=str(path))
    if command != context.info_name:
        resume_command = resuming(command, out, config)
        raise UsageError(f"{out} holds a run of `ssl-seg {command}`", next=resume_command)
    try:
        _set_defaults(context, config, path, out)
    except UsageError as error:
        raise WeightsError(f"run.toml is corrupt: {error.what}", where=error.where or str(path)) from error
