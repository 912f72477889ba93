"""`ssl-seg list` and `ssl-seg plugins`: components, options and their packages."""

from typing import Annotated

import typer

from ssl_seg.commands import completion
from ssl_seg.commands.component_text import describe, methods_table
from ssl_seg.commands.help import Command
from ssl_seg.errors import UsageError, did_you_mean
from ssl_seg.utils.entry_points import DISABLE, disabled_in_vain, iter_entry_points
from ssl_seg.utils.progress import echo

_MANY = 40

app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    short_help="List installed plugins and check components.",
)


def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[ssl|backbones|heads|datasets|metrics|NAME]",
            help="Component type or name.",
            autocompletion=completion.types_and_components,
        ),
    ] = None,
) -> None:
    """List components and their options.

    Without NAME: all components. With a component name: its documentation and options.
    """
    from ssl_seg.plugins import load_plugins
    from ssl_seg.registry import KINDS

    registry = load_plugins().registry
    if what == "ssl":
        echo(*methods_table(registry))
    for kind in [what] if what in KINDS and what != "ssl" else [] if what else list(KINDS):
        names = registry.names(str(kind))
        shown = names if what or len(names) <= _MANY else [*names[:8], f"... {len(names)} in all"]
        echo(f"{kind}:")
        for name in shown:
            sources = registry.providers(str(kind), name)
            echo(f"  {name:<28} {', '.join(map(str, sources))}".rstrip())
    if what and what not in KINDS:
        found = [kind for kind in KINDS if registry.providers(kind, what)]
        if not found:
            known = [*KINDS, *(name for kind in KINDS for name in registry.names(kind))]
            raise UsageError(f"no component named {what!r}{did_you_mean(what, known)}", next="ssl-seg list")
        for kind in found:
            name = registry.canonical(kind, what)
            echo(*describe(kind, name, registry.factory(kind, name), registry.providers(kind, name)))
    for error in registry.conflicts_and_errors():
        echo(error, err=True)


@app.callback()
def plugins(context: typer.Context) -> None:
    """List installed plugins with versions, components and load errors.

    The environment variable SSL_SEG_DISABLE_PLUGINS=NAME,... disables plugins or packages by name, for example
    one that hangs or crashes on import.
    """
    if context.invoked_subcommand:
        return
    from ssl_seg.hooks import GROUP
    from ssl_seg.plugins import load_plugins
    from ssl_seg.registry import BUILT_IN, KINDS

    loaded = load_plugins()
    registry = loaded.registry
    components: dict[str, dict[str, list[str]]] = {}
    for kind in KINDS:
        for table in registry.tables(kind):
            components.setdefault(str(table.source), {}).setdefault(kind, []).extend(table.names)
    for point, source in iter_entry_points(GROUP, lambda trouble: None):
        if loaded.is_observer(f"{source.name}:{point.name}"):
            components.setdefault(str(source), {}).setdefault("observers", []).append(point.name)
    for point, source in iter_entry_points("ssl_seg.commands", registry.failures.append):
        components.setdefault(str(source), {}).setdefault("commands", []).append(point.name)
    for name, kinds in components.items():
        echo(f"{name}{' (built in)' if name == str(BUILT_IN) else ''}")
        for kind, names in kinds.items():
            if names:
                text = ", ".join(sorted(names)) if len(names) <= _MANY else f"{len(names)} names"
                echo(f"  {kind}: {text}")
    echo(*dict.fromkeys([*registry.conflicts_and_errors(), *registry.notes]))
    for name in disabled_in_vain():
        echo(f"{DISABLE}: no plugin or package named {name!r}")
    if registry.failures:
        echo(f"{DISABLE}=NAME,... disables plugins")


@app.command(cls=Command)
def check(
    name: Annotated[
        str, typer.Argument(help="Component name or FILE.py:NAME.", autocompletion=completion.components)
    ],
) -> None:
    """Run the conformance checks on a component.

    The checks run in a separate process.
    """
    from ssl_seg.workflows.component_check import run_check

    code, text = run_check(name)
    if text:
        echo(*text.rstrip().split("\n"))
    raise typer.Exit(code)
