"""The command line: one line per command, then the commands of installed packages."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from ssl_seg.commands import (
    classify,
    demo,
    doctor,
    embed,
    evaluate,
    export,
    figure,
    list_plugins,
    new_plugin,
    pack,
    predict,
    process,
    pseudo_label,
    report,
    runs,
    segment,
    study,
    train,
    watch,
)
from ssl_seg.commands.from_python import as_program
from ssl_seg.commands.help import Command
from ssl_seg.distributed.launcher import world_size_from_env
from ssl_seg.errors import PluginError, UsageError
from ssl_seg.utils.entry_points import iter_entry_points
from ssl_seg.utils.foreign import Owner, fenced, know
from ssl_seg.utils.home import default_cache_dir
from ssl_seg.utils.importing import ImportFault, import_fence
from ssl_seg.utils.progress import echo
from ssl_seg.utils.text import shown_lines

DISTRIBUTED_COMMANDS = ("train", "classify", "segment")  # what several processes can do together
OWN_PLUGINS = {"sam": "ssl-seg-sam"}  # commands of packages that are developed and released with this one


class _Group(TyperGroup):
    """The commands; what Typer says of a wrong word is shown as text, whatever a file is called."""

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        with _shown_errors():
            return super().make_context(*arguments, **named)

    def invoke(self, ctx: Any) -> Any:
        with _shown_errors(), fenced(may_raise=_is_command_exit):
            return super().invoke(ctx)


@contextmanager
def _shown_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
            error.message = shown_lines(error.message)  # type: ignore[attr-defined]
        raise


_called_plugins: list[str] = []  # who has brought the command that is called, if not we


def _is_command_exit(owner: Owner, error: BaseException) -> bool:
    """Whether somebody's command ends as a command may, and not a part of ours that it uses."""
    return (
        owner.source in _called_plugins
        and not owner.part
        and (isinstance(error, SystemExit) or hasattr(error, "exit_code"))
    )


# plain help: Rich alone takes longer to import than all the rest of `ssl-seg --help`
app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def main_options(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Self-supervised pre-training of vision backbones, with evaluation, fine-tuning and reports.

    Exit codes and common errors: page "Errors and exit codes" of the documentation (docs/faults.md).
    """
    if show_version:
        echo(version("ssl-seg"))
        raise typer.Exit
    called, count = context.invoked_subcommand, world_size_from_env()
    if called and called not in DISTRIBUTED_COMMANDS and count > 1:
        raise UsageError(
            f"`{called}` runs in a single process, but {count} were started",
            next=f"run it without torchrun, accelerate launch or srun; distributed commands: {', '.join(DISTRIBUTED_COMMANDS)}",
        )


for command in (
    demo.demo,
    train.train,
    classify.classify,
    segment.segment,
    evaluate.evaluate,
    predict.predict,
    pseudo_label.pseudo_label,
    embed.embed,
    pack.pack,
    study.study,
    report.report,
    runs.runs,
    watch.watch,
    export.export,
    list_plugins.list_,
    new_plugin.new_plugin,
    doctor.doctor,
):
    app.command(command.__name__.strip("_").replace("_", "-"), cls=Command)(command)
app.add_typer(figure.app, name="figure")
app.add_typer(list_plugins.app, name="plugins")


def add_plugin_commands(app: typer.Typer, called: str) -> None:
    """Add the commands of the entry-point group `ssl_seg.commands`.

    Only the one that is called is loaded; of the others `--help` shows who brought them. One that
    is broken, or has the name of another, fails when it is called, and harms nothing else. One of a package that is
    not installed says so.
    """
    owners, left_out = dict.fromkeys(_own_commands(app), "ssl-seg"), list[str]()
    for point, source in iter_entry_points("ssl_seg.commands", left_out.append):
        if point.name in owners:
            both = f"command {point.name!r} is provided by both {owners[point.name]} and {source}"
            if owners[point.name] != "ssl-seg":
                _add_failing(app, point.name, both)
            continue
        owners[point.name] = str(source)
        if point.name != called:
            app.command(point.name, help=f"(from {source})")(lambda: None)
            continue
        whose = f"command {point.name!r} of {source}"
        try:
            with import_fence(
                whose, name=point.name, module=point.module, notes=default_cache_dir() / "importing"
            ):
                know(point.module, str(source))
                _add_loaded(app, point.name, point.load())
                _called_plugins[:] = [str(source)]
        except ImportFault as fault:
            _add_failing(app, point.name, f"{whose} failed to load: {fault}")
    if called in OWN_PLUGINS and called not in owners:
        name = OWN_PLUGINS[called]
        install = f"pip install {name}  # or from a copy of the repository: pip install plugins/{name}"
        reason = f": {left_out[0]}" if left_out else ", which is not installed"
        _add_failing(
            app, called, f"`ssl-seg {called}` is a command of {name}{reason}", "" if left_out else install
        )


def _own_commands(app: typer.Typer) -> list[str]:
    return [str(c.name) for c in app.registered_commands] + [str(g.name) for g in app.registered_groups]


def _add_loaded(app: typer.Typer, name: str, loaded: Any) -> None:
    """A Typer app with one command is that command; one with several is a group of them."""
    if not isinstance(loaded, typer.Typer):
        raise TypeError(f"it must be a typer.Typer, not {type(loaded).__name__}")
    typer.main.get_command(loaded)  # now, and not where nobody could say whose it is
    commands = loaded.registered_commands
    if len(commands) == 1 and not loaded.registered_groups and not loaded.registered_callback:
        commands[0].name = name
        commands[0].cls = Command if commands[0].cls is TyperCommand else commands[0].cls
        app.registered_commands.append(commands[0])
    else:
        app.add_typer(loaded, name=name)


def _add_failing(app: typer.Typer, name: str, message: str, way: str = "") -> None:
    app.registered_commands = [entry for entry in app.registered_commands if entry.name != name]
    app.registered_groups = [entry for entry in app.registered_groups if entry.name != name]

    def fail(context: typer.Context) -> NoReturn:
        raise PluginError(message, next=way or "ssl-seg plugins")

    anything = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help=f"{message}\n\n{way}", context_settings=anything)(fail)


def run() -> None:
    """What was typed. Errors are raised; `main` says what they are."""
    arguments = [word for word in sys.argv[1:] if not word.startswith("-")]
    # what a decoder thinks of a file is not for the terminal: what cannot be read is listed with its reason
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    add_plugin_commands(app, arguments[0] if arguments else "")
    with as_program():
        app()


def main() -> None:
    """Run the command line; errors become a few lines on stderr and an exit code."""
    process.run_and_exit(run)
