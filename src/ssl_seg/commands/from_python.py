"""Commands as Python functions: the same names, defaults and checks, a result instead of printed lines."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from ssl_seg.errors import UsageError
from ssl_seg.utils.progress import showing

P = ParamSpec("P")
R = TypeVar("R")
_PROGRAM: ContextVar[bool] = ContextVar("program", default=False)


@contextmanager
def as_program() -> Iterator[None]:
    """What is called inside has been typed in a shell, and has been checked by Typer."""
    token = _PROGRAM.set(True)
    try:
        with showing(lines=True):
            yield
    finally:
        _PROGRAM.reset(token)


def from_python(command: Callable[P, R]) -> Callable[P, R]:
    """A command that may also be called from Python, with texts, paths and numbers for its flags.

    What is given is checked exactly as in a shell; `config` and `resume` work as there. Nothing is printed but
    progress, which `progress=False` silences, and warnings.

    Raises:
        UsageError: a value that the flag does not take. SslSegError: whatever ends the command.
    """

    @wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _PROGRAM.get():
            return command(*args, **kwargs)
        arguments = inspect.signature(command).bind(*args, **kwargs).arguments
        with as_program(), showing(lines=False):
            result: R = _invoke(command, arguments)
            return result

    return call


def _invoke(command: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    parsed = typer.main.get_command(app)
    name = command.__name__
    try:
        with parsed.make_context(name, list(_words(parsed, arguments))) as context:
            return parsed.invoke(context)
    except typer.BadParameter as error:
        flag = error.param.name if error.param else ""
        raise UsageError(
            f"{flag}: {error.message.strip().rstrip('.')}", next=f"help(ssl_seg.{name})"
        ) from error


def _words(command: Any, arguments: Mapping[str, Any]) -> Iterator[str]:
    """What a person would type; what is None is left open."""
    positional: list[str] = []
    for parameter in command.params:
        value = arguments.get(parameter.name)
        if value is None:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            positional += map(str, values)
        elif getattr(parameter, "is_flag", False):
            yield from (parameter.opts if value else parameter.secondary_opts)[-1:]
        else:
            yield from (f"{parameter.opts[-1]}={each}" for each in values)
    yield from ("--", *positional)
