"""`ssl-seg new-plugin`: a package with a working example component."""

from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from ssl_seg.utils.progress import echo
from ssl_seg.workflows.plugin_skeleton import write_skeleton


def new_plugin(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Component name: lowercase letters, digits, `-`.")],
    kind: Annotated[
        Literal["method", "backbone", "head", "dataset", "metric", "observer", "command"],
        typer.Option(help="Component type."),
    ] = "method",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Output folder; must not exist.", show_default="ssl-seg-NAME"),
    ] = None,
) -> None:
    """Create a plugin package with a working example component.

    One module, its test, metadata, README and license.
    """
    own = getattr(context.find_root().command, "commands", {})
    made = write_skeleton(name, kind, out, commands=own)
    echo(f"{made.folder}: {made.title[0].lower()}{made.title[1:]} in src/{made.module}.py", "", "Next:")
    echo(f"  cd {quote(str(made.folder))} && python -m pip install -e . pytest && python -m pytest")
    echo(f"  {made.command}")
