"""Conformance checks of commands."""

from collections.abc import Iterator

import typer
from typer.testing import CliRunner


def check_command(app: typer.Typer) -> None:
    """Check the commands of a plugin: the app has at least one, and each has a help text.

    Args:
        app: the object that the entry point of the group `ssl_seg.commands` names.
    """
    assert isinstance(app, typer.Typer), f"a command must be a typer.Typer, not {type(app).__name__}"
    functions = list(_functions(app))
    assert functions, "the app has no command"
    for name, help_text in functions:
        assert help_text.strip(), f"{name} has no help text; add a docstring or help="
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0, f"--help failed: {result.exception or result.output}"


def _functions(app: typer.Typer) -> Iterator[tuple[str, str]]:
    """Name and help of every command, those of groups included."""
    for command in app.registered_commands:
        function = command.callback
        name = str(command.name or getattr(function, "__name__", "command"))
        yield name, str(command.help or getattr(function, "__doc__", None) or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _functions(group.typer_instance)
