"""The command line: one line per command, then the commands of installed packages."""

import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer

from ssl_seg.commands import catalog, demo, doctor, train
from ssl_seg.errors import SslSegError, render

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback(invoke_without_command=True)
def main_options(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks of errors.")] = False,
) -> None:
    """Pre-train vision backbones without labels, and show what they have learnt."""
    if show_version:
        typer.echo(version("ssl-seg"))
        raise typer.Exit


app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("list")(catalog.list_)
app.add_typer(catalog.app, name="plugins")
app.command("doctor")(doctor.doctor)


def _add_outside_commands() -> None:
    """Commands of the entry-point group `ssl_seg.commands`; only the one that is called is loaded."""
    for point in entry_points(group="ssl_seg.commands"):
        package = point.dist.metadata["Name"] if point.dist else point.value
        if point.name in sys.argv[1:]:
            try:
                app.add_typer(point.load(), name=point.name)
                continue
            except Exception as error:
                message = f"command {point.name!r} of {package} is broken: {error!r}"
                app.command(point.name, help=message)(_broken(point, message))
                continue
        app.command(point.name, help=f"(from {package})")(lambda: None)


def _broken(point: EntryPoint, message: str) -> Callable[[], None]:
    from ssl_seg.errors import PluginError

    def fail() -> None:
        raise PluginError(message, where=point.value)

    return fail


def main() -> None:
    """Run the command line; errors become a few lines on stderr and an exit code."""
    _add_outside_commands()
    try:
        app()
    except SslSegError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(render(error), file=sys.stderr)
        sys.exit(error.code)
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        place = traceback.extract_tb(error.__traceback__)[-1]
        print(
            f"error[1] a bug: {type(error).__name__}: {error}\n"
            f"where: {place.filename}:{place.lineno}\n"
            f"next: run it again with `ssl-seg --debug ...` and report what it prints",
            file=sys.stderr,
        )
        sys.exit(1)
